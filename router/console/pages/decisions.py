"""Decisions: searched, and told one by one with everything that led to them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from router.console.drawing import bars
from router.console.shown import dollars
from router.console.site import Answer, Asked, Handler, Move, Page, Site, in_sql, not_found
from router.console.view_models import Decision, Decisions, Filter
from router.errors import Refused
from router.exchange import Admitted, Turned
from router.governance import rules as governance
from router.governance.cases import NoCase, made_case
from router.governance.explaining import explained_record
from router.governance.rules import Actor, NotAllowed
from router.principals import Role
from routing_rules.decisions import Hold, Permit
from routing_rules.facts import Facts
from routing_rules.faults import RuleFaults
from routing_rules.rules import AUTO_WISHES, DIMENSIONS, RuleSet

A_PAGE = 50
OUTCOMES = ("completed", "cancelled", "failed", "truncated", "refused_in_answer", "reaped")
BASE_FILTERS = ("app", "owner", "rule", "deployment", "sensitivity", "task", "tool", "decision", "outcome", "code", "session")


async def search(site: Site, asked: Asked) -> Answer:
    """The latest decisions that match what was asked for."""
    rules = site.directory.rules()
    where = {name: value.strip()[:200] for name in BASE_FILTERS if (value := asked.query.get(name, "")).strip()}
    fault, since, until, before = "", None, None, None
    try:
        since, until = _moment(asked.query.get("since", "")), _moment(asked.query.get("until", ""), end=True)
        if at := asked.query.get("before", ""):
            before = (datetime.fromisoformat(at), asked.query.get("after_id", ""))
    except ValueError:
        fault = "A time is written as 2027-01-31 or 2027-01-31 14:30."
    rows = (
        []
        if fault
        else await in_sql(lambda: site.decisions.search(where, since=since, until=until, before=before, limit=A_PAGE + 1))
    )
    older = ""
    if len(rows) > A_PAGE:
        rows = rows[:A_PAGE]
        kept = {name: value for name, value in asked.query.items() if name not in ("before", "after_id") and value}
        older = "?" + urlencode({**kept, "before": rows[-1].at.isoformat(), "after_id": rows[-1].request_id})
    return Page(
        "decisions.html", Decisions(_filters(rules, asked.query), tuple(rows), older, bool(where or since or until), fault)
    )


async def show(site: Site, asked: Asked) -> Answer:
    """One decision's whole story."""
    story = await in_sql(lambda: site.decisions.story(asked.names["request_id"]))
    record = (story.admitted or story.refused) if story is not None else None
    if story is None or record is None:
        raise not_found("decision")
    facts, decision = record.facts, record.decision
    rules = await in_sql(lambda: site.rules_of(decision.revision)) if decision is not None else None
    found = explained_record(record, rules) if rules is not None else None
    case, case_fault = _case(record, rules)
    permit = decision.permit if isinstance(decision, Hold) else decision
    judged = [call for outcome in story.outcomes for call in outcome.judgements]
    timings = sorted(
        (record.timings_us | {name: took for each in story.outcomes for name, took in each.timings_us.items()}).items(),
        key=lambda pair: -pair[1],
    )
    model = Decision(
        request_id=record.request_id,
        at=record.at,
        decision=_word(record),
        code=record.code if isinstance(record, Turned) else "",
        message=record.message if isinstance(record, Turned) else decision.message if isinstance(decision, Hold) else "",
        rule=(record.rule if isinstance(record, Turned) else record.decision.rule) or "",
        revision=decision.revision if decision is not None else "",
        about=_about(record),
        facts=_facts(facts) if facts is not None else (),
        findings=tuple(sorted(record.findings.items())),
        granted=tuple(name for _, name in record.grant.granted) if isinstance(record, Admitted) else (),
        withheld=tuple((tool.name, tool.reason) for tool in record.grant.withheld) if isinstance(record, Admitted) else (),
        calls=tuple(judged),
        limits=_limits(permit) if isinstance(permit, Permit) else (),
        timings=bars([(name.replace("_", " "), float(took), f"{took:,} µs") for name, took in timings]),
        total_us=sum(took for name, took in timings if name != "forward"),
        lines=story.lines,
        cost_nano=story.entry.cost_nano if story.entry is not None and story.entry.closed_at is not None else None,
        outcome=(story.entry.outcome or "") if story.entry is not None else "",
        basis=(story.entry.basis or "") if story.entry is not None else "",
        session=record.session or "",
        app=facts.caller.app if facts is not None else record.app if isinstance(record, Turned) else "",
        explanation=found.explanation if found is not None else None,
        masking=found.masking if found is not None else None,
        same=found.same if found is not None else None,
        case=case,
        case_fault=case_fault,
        may_propose=asked.person.holds(Role.EDITOR),
    )
    return Page("decision.html", model)


async def propose_case(site: Site, asked: Asked) -> Answer:
    """Make a case of a decision, and propose it for the rules in force."""
    request_id = asked.names["request_id"]

    def work() -> str:
        story = site.decisions.story(request_id)
        record = (story.admitted or story.refused) if story is not None else None
        if record is None:
            raise not_found("decision")
        active = governance.in_force(site.rules)
        made = made_case(record, site.directory.rules())
        reason = f"keep the decision on {request_id} as it was"
        by = Actor(asked.person.email, asked.person, "console")
        files = made.added_to(active.files)
        changed = {name: text for name, text in files.items() if active.files.get(name) != text}
        mode, people = site.mode(), site.people.all()
        return governance.save(
            site.rules,
            changed,
            by=by,
            reason=reason,
            governance=mode,
            at=asked.at,
            people=people,
            base=active.revision,
            beside=True,
        ).id

    try:
        return Move(f"/proposals/{await in_sql(work)}?done=saved")
    except (NoCase, RuleFaults) as error:
        raise Refused("invalid_request", f"no case can be made of it: {error}") from None
    except NotAllowed as error:
        raise Refused("role_required", str(error)) from None


def _case(record: Admitted | Turned, rules: RuleSet | None) -> tuple[str, str]:
    if rules is None:
        return "", ""
    try:
        return made_case(record, rules).text(), ""
    except (NoCase, RuleFaults) as error:
        return "", str(error)


def _word(record: Admitted | Turned) -> str:
    decision = record.decision
    if isinstance(record, Turned):
        return "hold" if isinstance(decision, Hold) and record.code == "approval_required" else "refuse"
    return "permit"


def _about(record: Admitted | Turned) -> tuple[tuple[str, str], ...]:
    rows = [("governance", record.governance.replace("_", " "))]
    decision = record.decision
    permit = decision.permit if isinstance(decision, Hold) else decision
    if isinstance(permit, Permit):
        rows += [("tier", permit.tier), ("candidates", ", ".join(permit.candidates)), ("entitlement set", permit.entitlement_set)]
        rows.append(("obligations", ", ".join(sorted(permit.obligations)) or "none"))
        if permit.mask:
            rows.append(("masks", ", ".join(permit.mask)))
        if record.facts is not None and record.facts.degraded:
            rows.append(("degraded", f"the owner's budget of {record.facts.degraded} left only the fast tier"))
        if permit.would_refuse:
            rows.append(("would refuse", f"{permit.would_refuse} by {permit.would_rule}"))
    if isinstance(record, Admitted):
        rows += [("deployment", record.deployment), ("held", f"{dollars(record.held_nano)}, {record.output_tokens:,} tokens")]
        if record.approval:
            rows.append(("approval", record.approval))
    if record.masking is not None:
        rows.append(("masked", ", ".join(f"{count} {kind}" for kind, count in record.masking.masked.items())))
    return tuple(rows)


def _facts(facts: Facts) -> tuple[tuple[str, str], ...]:
    caller = facts.caller
    return (
        ("app", caller.app),
        ("owner", f"{caller.owner} ({caller.team}, {caller.cost_center})"),
        ("purpose", caller.purpose),
        (
            "sensitivity",
            f"{facts.labels.confidentiality} (found here: {facts.detected}; declared: {facts.declared or 'nothing'})",
        ),
        ("clearance of the app", str(caller.clearance)),
        ("categories", ", ".join(sorted(facts.categories)) or "none"),
        ("task", f"{facts.task.value.replace('_', ' ')}, {facts.complexity} ({facts.complexity_score:.2f})"),
        ("access", str(facts.access)),
        ("integrity", str(facts.labels.integrity)),
        ("scan", facts.state.value),
        ("endpoint", facts.endpoint.value),
        ("model asked for", facts.wish if facts.wish_known or facts.wish in AUTO_WISHES else "one that nobody knows"),
        ("tools asked for", ", ".join(ask.server or ask.name for ask in facts.tools) or "none"),
        ("input", f"{facts.input_bytes:,} bytes"),
    )


def _limits(permit: Permit) -> tuple[tuple[str, str], ...]:
    budget = permit.budget
    rows = [("session budget", budget.name)]
    for name in ("input_tokens", "output_tokens", "reasoning_tokens", "requests", "tool_calls"):
        if (value := getattr(budget, name)) is not None:
            rows.append((name.replace("_", " "), f"{value:,}"))
    if budget.cost_nano is not None:
        rows.insert(1, ("cost of the session", dollars(budget.cost_nano)))
    rows.append(("output of this call", f"{permit.limits.max_output_tokens:,} tokens"))
    rows.append(("time of this call", f"{permit.limits.request_seconds:g} s"))
    if permit.limits.reasoning_effort:
        rows.append(("reasoning effort", str(permit.limits.reasoning_effort)))
    return tuple(rows)


def _filters(rules: RuleSet, query: Mapping[str, str]) -> tuple[Filter, ...]:
    words = {
        "app": tuple(rules.apps),
        "rule": tuple(rule.id for rule in rules.rules),
        "deployment": tuple(rules.deployments),
        "sensitivity": DIMENSIONS["sensitivity"],
        "task": DIMENSIONS["task"],
        "decision": ("permit", "hold", "refuse"),
        "outcome": OUTCOMES,
    }
    labels = {"deployment": "Model", "code": "Refusal code"}
    filters = [
        Filter(name, labels.get(name, name.capitalize()), query.get(name, ""), _with(words.get(name, ()), query.get(name, "")))
        for name in BASE_FILTERS
    ]
    return (*filters, *(Filter(name, f"{name.capitalize()} (UTC)", query.get(name, "")) for name in ("since", "until")))


def _with(words: tuple[str, ...], chosen: str) -> tuple[str, ...]:
    """The words, with one that is chosen and that the rules in force no longer know."""
    return (*words, chosen) if words and chosen and chosen not in words else words


def _moment(text: str, end: bool = False) -> datetime | None:
    text = text.strip()
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return moment + timedelta(days=1) if end and len(text) == 10 else moment


HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/decisions"): search,
    ("GET", "/decisions/{request_id}"): show,
    ("POST", "/decisions/{request_id}/case"): propose_case,
}
