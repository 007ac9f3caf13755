"""`router explain`: what would be decided on a request body or on facts, or was on a recorded request, by which rule, and what would
have decided otherwise."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from router.cli.classify import endpoint_of
from router.cli.data import classifying_key, rules_for
from router.cli.explain_recorded import explain_facts, explain_request, reasons
from router.clock import utc_now
from router.errors import Refused
from router.exchange import JsonObject, SessionState
from router.money import usd
from router.settings import load_settings
from routing_rules.decisions import Hold, Permit
from routing_rules.facts import Facts, Labels
from routing_rules.rules import RuleSet
from routing_rules.task import Endpoint, Task
from routing_rules.vocabulary import Assessment


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False, exists=True, allow_dash=True))
@click.option("--request", "request_id", help="A recorded request, under the revision that decided it, instead of a body.")
@click.option(
    "--facts",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Facts in the words of a case (YAML or JSON) instead of a body.",
)
@click.option("--app", default="demo", show_default=True, help="The app that would ask.")
@click.option("--purpose", help="The purpose it would name; default: its first.")
@click.option("--endpoint", type=click.Choice([endpoint.value for endpoint in Endpoint]), help="Default: told from the body.")
@click.option(
    "--rules", "directory", type=click.Path(path_type=Path, file_okay=False), help="Rule files; default: those in force."
)
@click.option("--wait", is_flag=True, help="First wait until no record is on its way from Redis to SQL any more.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def explain(
    file: Path | None,
    request_id: str | None,
    facts: Path | None,
    app: str,
    purpose: str | None,
    endpoint: str | None,
    directory: Path | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Decide on a request body as the service would in a new session, without forwarding anything; or say why a recorded request was
    decided as it was."""
    if sum(each is not None for each in (file, request_id, facts)) != 1:
        raise click.UsageError("give a request body (FILE), --request ID or --facts FILE")
    if request_id is not None:
        click.echo(explain_request(request_id, directory, wait, as_json))
    elif facts is not None:
        click.echo(explain_facts(facts, directory, as_json))
    elif file is not None:
        click.echo(_body(file, app, purpose, endpoint, directory, as_json))


def _body(file: Path, app: str, purpose: str | None, endpoint: str | None, directory: Path | None, as_json: bool) -> str:
    rules = rules_for(load_settings(), directory)
    raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    try:
        given = msgspec.json.decode(raw)
        if not isinstance(given, dict):
            raise ValueError("an object was expected")
        form = Endpoint(endpoint) if endpoint else endpoint_of(given)
        document = explained(rules, form, msgspec.json.encode({"model": "auto", **given}), app, purpose)
    except (msgspec.DecodeError, ValueError) as error:
        raise click.ClickException(f"{file}: {error}") from None
    except Refused as refusal:
        raise click.ClickException(f"{file}: {refusal.param or 'body'}: {refusal.message}") from None
    return msgspec.json.encode(document).decode() if as_json else told(document)


def explained(rules: RuleSet, endpoint: Endpoint, raw: bytes, app: str, purpose: str | None) -> JsonObject:
    """The whole account as plain values. Raises Refused, as the service would before it decides."""
    from classifiers.assess import Assessor
    from router.api.wire import parse
    from router.principals import Key
    from router.stages.authenticate import narrowed
    from router.stages.gather import gather
    from router.stages.mask import mask
    from router.stages.open_session import carried
    from router.stages.read_task import NO_HEADERS, read_task
    from router.stages.reserve import hold_request, hosted_calls
    from router.upstream.prices import known_models
    from routing_rules.decide import cleared
    from routing_rules.entitlements import authorise, authorise_masked, capabilities_of
    from routing_rules.explain import explain as why

    now = utc_now()
    known = rules.apps.get(app)
    if known is None:
        raise ValueError(f"--app: the rules know no app `{app}`; they know {', '.join(rules.apps)}")
    caller = narrowed(known, Key("", "", "", app, now), purpose, now.date())
    extra = frozenset().union(*(deployment.allowed_fields for deployment in rules.deployments.values()))
    assessor = Assessor(rules.sensitivity, classifying_key(load_settings(), rules))
    session = SessionState("(new)", 0, True, Labels(), 0)

    def read(body: JsonObject, masked: bool) -> tuple[Task, Assessment, Facts]:
        task = read_task(
            endpoint, body, NO_HEADERS, rules.sensitivity.labels, rules.sensitivity.unmapped_label, rules.sensitivity
        )
        assessment = assessor.assess(task, [capabilities_of(rules, ask) for ask in task.tools])
        facts = gather(
            now=now,
            caller=caller,
            task=task,
            wish_known=task.wish in rules.models or task.wish in known_models(),
            assessment=assessment,
            session=session,
            labels=carried(task, assessment),
            pinned=None,
            masked=masked,
        )
        return task, assessment, facts

    body = parse(endpoint, raw, extra)
    task, assessment, facts = read(body, False)
    labels, account = facts.labels, why(rules, facts)
    masking: JsonObject = {}
    before: tuple[Facts, Permit] | None = None
    if isinstance(account.decision, Permit) and account.decision.mask:
        orders = account.decision
        before = (facts, orders)
        left = asyncio.run(mask(_OneRequest(), app, session.id, body, task, assessment.findings, orders.mask))
        task, assessment, facts = read(left.body, True)
        account = why(rules, facts)
        masking = {"rule": orders.rule, "masked": left.counts, "sensitivity": labels.confidentiality.value}
    document: JsonObject = {
        "revision": rules.revision,
        "sensitivity": facts.labels.confidentiality.value,
        "integrity": facts.labels.integrity.value,
        "categories": sorted(assessment.categories),
        "access": assessment.access.value,
        "complexity": {"score": round(assessment.complexity_score, 4), "band": assessment.complexity.value},
        "task": assessment.task.value,
        **({"masking": masking} if masking else {}),
        **msgspec.to_builtins(account),
    }
    decision = account.decision.permit if isinstance(account.decision, Hold) else account.decision
    candidates = cleared(rules, decision) if isinstance(decision, Permit) else ()
    if isinstance(decision, Permit) and candidates:
        grant = authorise_masked(rules, before, (facts, decision)) if before else authorise(rules, facts, decision)
        first = candidates[0]
        hold = hold_request(
            request_id="explain",
            task=task,
            caller=caller,
            permit=decision,
            deployment=first,
            session=session,
            labels=labels,
            owner=rules.limits_of(caller.owner, now),
            new_sessions_per_hour=rules.new_sessions_per_hour,
            worker="",
            now=now,
            hosted_calls=hosted_calls(grant, decision),
        )
        amount = hold.fixed_nano + hold.output_nano * hold.output_tokens
        document["tools"] = msgspec.to_builtins(grant)
        document["hold"] = {"nano_usd": amount, "usd": usd(amount), "output_tokens": hold.output_tokens, "deployment": first.id}
    return document


class _OneRequest:
    """The mapping of a session that has one request."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    async def assign(self, app: str, session_id: str, values: Sequence[tuple[str, str]]) -> dict[str, str]:
        from router.stages.mask import Value, numbered

        self._known = numbered([Value(*value) for value in values], self._known)
        return self._known


def told(document: JsonObject) -> str:
    """The account in sentences."""
    decision = document["decision"]
    lines = [
        f"{decision['type']} by rule {document['rule'] or '(none)'} of {document['revision']}"
        + (f": {document['reason']}" if document["reason"] else ""),
        f"  facts    {document['sensitivity']} ({', '.join(document['categories']) or 'no findings'}), access {document['access']}, "
        f"{document['complexity']['band']} {document['task']}, session {document['integrity']}",
    ]
    if "masking" in document:
        before = document["masking"]
        names = ", ".join(f"{count} {name}" for name, count in before["masked"].items()) or "nothing that could be masked"
        lines.append(f"  masked   {names} by rule {before['rule']}; as it was sent, it is {before['sensitivity']}")
    if "hold" in document:
        permit = decision.get("permit", decision)
        lines.append(f"  goes to  {' → '.join(permit['candidates'])} (tier {permit['tier']})")
        lines.append(f"  budget   {permit['budget']['name']}; this request would hold ${document['hold']['usd']}")
        granted = ", ".join(name for _, name in document["tools"]["granted"])
        lines.append(f"  tools    {granted or 'none'}")
        lines += [f"           without {tool['name']}: {tool['reason']}" for tool in document["tools"]["withheld"]]
        # An app that is only watched: what is not refused, but would be.
        lines += [
            f"           held to the rules, without {tool['name']}: {tool['reason']}"
            for tool in document["tools"]["would_withhold"]
        ]
        if permit.get("would_refuse"):
            lines.append(
                f"  watched  held to the rules, it would be refused: {permit['would_refuse']} by rule {permit['would_rule']}"
            )
    if "message" in decision:
        lines.append(f"  because  {decision['message']}")
    lines += reasons(document)
    return "\n".join(lines)
