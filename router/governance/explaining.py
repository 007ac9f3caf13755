"""Why a recorded request was decided as it was: under the revision that decided it, from the facts that were recorded."""

from __future__ import annotations

from datetime import datetime

import msgspec

from router.exchange import Admitted, Turned
from routing_rules.decide import decide
from routing_rules.decisions import Decision
from routing_rules.explain import Explanation, explain
from routing_rules.facts import Facts
from routing_rules.rules import RuleSet


class RecordedExplanation(msgspec.Struct, frozen=True):
    """Why a recorded request was decided as it was.

    `explanation` is None where the request was refused before the rules were asked. `masking` explains the decision that ordered
    masking, where one did. `same`: the recorded facts still come to the recorded decision; None where no rule was asked. `code` and
    `message` are those of a refusal, also of one that came after the rules had let the request through (a budget, a limit).
    """

    request_id: str
    at: datetime
    revision: str | None
    facts: Facts | None
    decision: Decision | None
    explanation: Explanation | None
    masking: Explanation | None
    same: bool | None
    code: str | None
    message: str | None


def revision_that_decided(record: Admitted | Turned) -> str | None:
    """The revision to explain it under; None where the rules were not asked."""
    return None if record.decision is None else record.decision.revision


def explained_record(record: Admitted | Turned, rules: RuleSet) -> RecordedExplanation:
    """Why this was decided. `rules` are those of the revision that did; under others it tells what they would have decided, and `same`
    is whether that comes to the same thing."""
    facts, decision = record.facts, record.decision
    explanation = explain(rules, facts) if facts is not None and decision is not None else None
    before = record.masking
    same = None
    if facts is not None and decision is not None:
        same = decide(rules, facts) == decision and (before is None or decide(rules, before.facts) == before.decision)
    refused = record if isinstance(record, Turned) else None
    return RecordedExplanation(
        request_id=record.request_id,
        at=record.at,
        revision=revision_that_decided(record),
        facts=facts,
        decision=decision,
        explanation=explanation,
        masking=explain(rules, before.facts) if before is not None else None,
        same=same,
        code=refused.code if refused is not None else None,
        message=refused.message if refused is not None else None,
    )
