"""The account of one session: what it holds now, and its timeline from the evidence: asks, decisions, grants, calls, labels, budgets, drift, approvals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from router.exchange import Admitted, ApprovalHistory, JsonObject, Outcome, Record, SessionState, Turned
from routing_rules.decisions import Hold, Permit
from routing_rules.facts import Facts, Labels

ASK, DECISION, GRANT, LABELS, CALL, OUTCOME, CORRECTION, APPROVAL, ENDED = (
    "ask",
    "decision",
    "grant",
    "labels",
    "call",
    "outcome",
    "correction",
    "approval",
    "ended",
)


class Event(msgspec.Struct, frozen=True):
    """One thing that happened, at a moment in UTC. `what` is one of the words above; `told` is what there is to say of it, never text
    of a request."""

    at: datetime
    what: str
    request_id: str | None
    told: JsonObject


def timeline(
    records: Sequence[Record], approvals: Iterable[ApprovalHistory] = (), endings: Iterable[tuple[datetime, str, str]] = ()
) -> list[Event]:
    """What happened in a session, in the order in which it did. `records` are in the order in which they were entered; `endings` are
    (when, who, why) of people who ended it or something in it."""
    events: list[Event] = []
    labels = Labels()
    for record in records:
        if isinstance(record, Outcome):
            events += _ended(record)
            continue
        facts = record.masking.facts if record.masking is not None else record.facts
        if facts is not None:
            events.append(Event(record.at, ASK, record.request_id, _ask(facts, record)))
        events.append(Event(record.at, DECISION, record.request_id, _decision(record)))
        if isinstance(record, Admitted):
            if record.facts.tools:
                events.append(Event(record.at, GRANT, record.request_id, _grant(record)))
            if facts is not None and facts.labels.join(labels) != labels:
                labels = labels.join(facts.labels)
                events.append(Event(record.at, LABELS, record.request_id, _labels(labels)))
    for approval in approvals:
        events += _approval(approval)
    events += [Event(at, ENDED, None, {"by": by, "why": why}) for at, by, why in endings]
    return sorted(events, key=lambda event: event.at)  # stable: what happened at once stays in order


def now_of(state: SessionState) -> JsonObject:
    """What the session holds now."""
    document: JsonObject = {
        "new": state.new,
        "labels": _labels(state.labels),
        "forwarded": state.forwarded.value,
        "spent_nano": state.spent_nano,
        "held_nano": state.held_nano,
        "requests": state.requests,
        "created": _moment(state.created),
        "last_seen": _moment(state.last_seen),
        "ended": state.ended,
    }
    if state.calls is not None:
        document["tool_calls"] = state.calls.count
        document["tools_used"] = sorted(state.calls.used_tools)
        document["used"] = sorted(capability.value for capability in state.calls.used)
        document["drift"] = state.calls.drift
    return document


def budget_of(records: Sequence[Record], state: SessionState) -> JsonObject | None:
    """The session budget that the latest request was let through under, with what is `left` of it; None where none was yet. Limits that
    it does not set are left out."""
    permits = [permit for record in records if isinstance(record, Admitted) and (permit := _permit(record)) is not None]
    if not permits:
        return None
    budget = permits[-1].budget
    used = {
        "cost_nano": state.spent_nano + state.held_nano,
        "requests": state.requests,
        "tool_calls": state.calls.count if state.calls is not None else 0,
    }
    limits = {name: value for name, value in msgspec.structs.asdict(budget).items() if value is not None}
    return limits | {"left": {name: max(limits[name] - value, 0) for name, value in used.items() if name in limits}}


def told(event: JsonObject) -> str:
    """One line of a timeline, for people; `event` as plain JSON values."""
    facts = ", ".join(f"{name} {_plain(value)}" for name, value in event["told"].items() if value not in (None, [], {}, ""))
    return f"{event['at'][:23]:23}  {event['what']:10}  {event['request_id'] or '':32}  {facts}"


def _plain(value: object) -> str:
    if isinstance(value, list):
        return "+".join(_plain(each) for each in value)
    if isinstance(value, dict):
        return "/".join(f"{name}={_plain(each)}" for name, each in value.items())
    return str(value)


def _ask(facts: Facts, record: Admitted | Turned) -> JsonObject:
    return {
        "endpoint": facts.endpoint.value,
        "purpose": facts.caller.purpose,
        "wish": facts.wish,
        "task": facts.task.value,
        "complexity": facts.complexity.value,
        "sensitivity": facts.detected.value,
        "declared": None if facts.declared is None else facts.declared.value,
        "findings": record.findings,
        "intent": sorted(capability.value for capability in facts.intent),
        "tools": [tool.name for tool in facts.tools],
        "masked": record.masking.masked if record.masking is not None else {},
    }


def _decision(record: Admitted | Turned) -> JsonObject:
    decision = record.decision
    document: JsonObject = {"governance": record.governance}
    if isinstance(record, Turned):
        document |= {"decision": "refuse", "code": record.code, "rule": record.rule, "message": record.message}
        if decision is not None:
            document["revision"] = decision.revision
        if isinstance(decision, Hold) and record.code == "approval_required":
            document["decision"] = "hold"
        return document
    permit = _permit(record)
    document |= {"decision": "permit", "rule": record.decision.rule, "revision": record.decision.revision}
    document |= {"deployment": record.deployment, "held_nano": record.held_nano, "output_tokens": record.output_tokens}
    if permit is not None:
        document |= {"tier": permit.tier, "set": permit.entitlement_set, "budget": permit.budget.name}
        document["obligations"] = sorted(permit.obligations)
    document["approval"] = record.approval
    return document


def _permit(record: Admitted) -> Permit | None:
    decision = record.decision.permit if isinstance(record.decision, Hold) else record.decision
    return decision if isinstance(decision, Permit) else None


def _grant(record: Admitted) -> JsonObject:
    return {
        "granted": [name for _, name in record.grant.granted],
        "withheld": [{"name": tool.name, "reason": tool.reason} for tool in record.grant.withheld],
    }


def _labels(labels: Labels) -> JsonObject:
    return {"integrity": labels.integrity.value, "confidentiality": labels.confidentiality.value}


def _ended(record: Outcome) -> list[Event]:
    calls = [
        Event(
            record.at,
            CALL,
            record.request_id,
            {
                "name": call.name,
                "tool": call.tool,
                "outcome": call.outcome,
                "why": list(call.codes),
                "vouched_by": dict(call.sources),
                "drift": call.drift,
                "adds": list(call.adds),
                "approval": call.by,
            },
        )
        for call in record.judgements
    ]
    tokens: dict[str, int] = {}
    for line in record.lines:
        tokens[line.token_class] = tokens.get(line.token_class, 0) + line.quantity
    document: JsonObject = {
        "outcome": record.outcome,
        "code": record.code,
        "deployment": record.deployment,
        "cost_nano": record.cost_nano,
        "basis": record.basis.value,
        "tokens": tokens,
        "released": list(record.tools_released),
        "refused": list(record.tools_refused),
    }
    return [*calls, Event(record.at, CORRECTION if record.correction else OUTCOME, record.request_id, document)]


def _approval(row: ApprovalHistory) -> list[Event]:
    about: JsonObject = {"approval": row.id, "kind": row.kind, "tools": list(row.tools), "why": list(row.reasons)}
    events = [Event(row.asked, APPROVAL, row.request_id, {"step": "asked", **about})]
    if row.decided is not None:
        step = row.status if row.status == "denied" else "approved"
        how: JsonObject = {"step": step, "by": row.decided_by, "via": row.via, "note": row.note, "approval": row.id}
        events.append(Event(row.decided, APPROVAL, row.request_id, how))
    if row.ended is not None:
        events.append(Event(row.ended, APPROVAL, row.request_id, {"step": row.status, "approval": row.id}))
    return events


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
