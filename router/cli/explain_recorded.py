"""What `router explain` tells of a recorded request, and of facts that somebody made up."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from router.cli.data import rules_for, store, until_drained
from router.clock import utc_now
from router.exchange import JsonObject
from router.governance.explaining import RecordedExplanation, explained_record, revision_that_decided
from router.settings import load_settings
from router.storage.sql.evidence import account_of
from router.storage.sql.rules import RuleStore
from routing_rules.cases import facts_in
from routing_rules.decisions import Hold, Refuse
from routing_rules.explain import Explanation, explain
from routing_rules.facts import Facts
from routing_rules.faults import RuleFaults
from routing_rules.load import load

MOST_LOSERS_TOLD = 20


def explain_request(request_id: str, directory: Path | None, wait: bool, as_json: bool) -> str:
    """A recorded request, under the revision that decided it, or under a directory of rules."""
    settings = load_settings()
    if wait:
        until_drained(settings)
    with store(settings) as engine:
        account = account_of(engine, request_id)
        record = None if account is None else account.admitted or account.refused
        if record is None:
            raise click.ClickException(f"there is no record of a request `{request_id}`")
        revision = revision_that_decided(record)
        kept = RuleStore(engine).get(revision) if revision is not None and directory is None else None
    if revision is not None and directory is None and kept is None:
        raise click.ClickException(
            f"revision `{revision}`, which decided it, is not kept here; --rules DIR explains it under other rules"
        )
    rules = load(kept.files) if kept is not None else rules_for(settings, directory)
    found = explained_record(record, rules)
    return msgspec.json.encode(found).decode() if as_json else _told(found, rules.revision)


def explain_facts(file: Path, directory: Path | None, as_json: bool) -> str:
    """Facts in the words of a case, as YAML or JSON."""
    rules = rules_for(load_settings(), directory)
    try:
        using, facts = facts_in(rules, str(file), file.read_text(encoding="utf-8"), utc_now())
    except (RuleFaults, UnicodeDecodeError) as error:
        raise click.ClickException(str(error)) from None
    account = explain(using, facts)
    if as_json:
        return msgspec.json.encode({"revision": rules.revision, **msgspec.to_builtins(account)}).decode()
    message = [f"  because  {account.decision.message}"] if isinstance(account.decision, Refuse | Hold) else []
    return "\n".join([_headline(account, rules.revision), *_facts(facts), *message, *reasons(msgspec.to_builtins(account))])


def reasons(account: JsonObject) -> list[str]:
    """Why: the clauses of the rule that decided, the rules that came close, and the nearest changes."""
    lines = []
    if account["clauses"]:
        lines += [
            f"  clause   {clause['dimension']} is {', '.join(clause['shows']) or 'nothing'}; asked for: {', '.join(clause['admits'])}"
            for clause in account["clauses"]
        ]
    elif account["reason"]:
        lines.append("  clause   none: the rule admits every task that comes to it")
    losers = sorted(account["losers"], key=lambda loser: bool(loser["dimension"]))  # those that matched come first
    lines += [f"  not by   {loser['rule']}: {loser['why']}" for loser in losers[:MOST_LOSERS_TOLD]]
    if len(losers) > MOST_LOSERS_TOLD:
        lines.append(f"  not by   {len(losers) - MOST_LOSERS_TOLD} more, which do not match; --json tells all")
    for near in account["nearest"]:
        changes = " and ".join(
            f"{change['dimension']} {change['after']} instead of {change['before']}" for change in near["changes"]
        )
        tier = f", tier {near['tier']}" if near["tier"] else ""
        lines.append(f"  nearest  with {changes}: {near['outcome']} by {near['rule']}{tier}")
    if not account["nearest"]:
        lines.append("  nearest  no one or two changes of the task alone would have decided otherwise")
    return lines


def _told(found: RecordedExplanation, under: str) -> str:
    if found.explanation is None or found.facts is None:
        return f"{found.request_id} was refused before the rules were asked: {found.code}: {found.message}"
    lines = [f"{found.request_id} of {found.at:%Y-%m-%d %H:%M:%S} UTC", _headline(found.explanation, under), *_facts(found.facts)]
    if found.same is False:
        why = (
            "the stored facts or the stored decision were changed"
            if under == found.revision
            else f"it was decided by {found.revision}"
        )
        lines.append(f"  differs  this is not what was recorded: {why}")
    if found.code is not None:
        lines.append(f"  refused  {found.code}: {found.message}")
    if found.masking is not None:
        lines.append(f"  masked   by rule {found.masking.rule}, after which it was decided once more")
    return "\n".join([*lines, *reasons(msgspec.to_builtins(found.explanation))])


def _headline(account: Explanation, revision: str) -> str:
    kind = msgspec.to_builtins(account.decision)["type"]
    return f"{kind} by rule {account.rule} of {revision}" + (f": {account.reason}" if account.reason else "")


def _facts(facts: Facts) -> list[str]:
    tools = ", ".join(ask.server or ask.name for ask in facts.tools) or "none"
    return [
        f"  facts    {facts.labels.confidentiality} ({', '.join(sorted(facts.categories)) or 'no findings'}), access {facts.access}, "
        f"{facts.complexity} {facts.task}, session {facts.labels.integrity}, for {facts.caller.app} ({facts.caller.purpose})",
        f"  tools    asked for: {tools}",
        *([f"  degraded by the owner's budget of {facts.degraded}, which left the fast tier"] if facts.degraded else []),
    ]
