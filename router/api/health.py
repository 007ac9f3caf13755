"""Liveness, readiness with its reasons, and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import date

from routing_rules.reviews import due_reviews
from routing_rules.rules import RuleSet

Check = Callable[[], Awaitable[str | None]]
"""Answers None where all is well, else one sentence that says what is wrong."""

CHECK_SECONDS = 1.0


async def readiness(checks: Mapping[str, Check], notes: Mapping[str, str]) -> tuple[int, dict[str, object]]:
    """(status, body): 200 where every check passes within a second, else 503 with each failure's sentence."""
    faults = await asyncio.gather(*(_within(check) for check in checks.values()))
    results = dict(zip(checks, faults, strict=True))
    ready = all(fault is None for fault in faults)
    body: dict[str, object] = {
        "ready": ready,
        "checks": {name: "ok" if fault is None else fault for name, fault in results.items()},
        "notes": dict(notes),
    }
    return (200 if ready else 503), body


def reviews(rules: RuleSet, today: date) -> list[dict[str, object]]:
    """The reviews that are due within 30 days or overdue, the most pressing first: for whoever may know, not for everybody who asks."""
    found = sorted(due_reviews(rules, today), key=lambda due: (due.counts_until, due.kind, due.id))
    return [
        {
            "kind": due.kind,
            "id": due.id,
            "owner": due.owner,
            "due": due.due.isoformat(),
            "counts_until": due.counts_until.isoformat(),
            "reminder_days": due.reminder,
            "overdue": due.overdue(today),
            "grace_by": list(due.grace.approved_by) if due.grace is not None else [],
        }
        for due in found
    ]


async def _within(check: Check) -> str | None:
    try:
        return await asyncio.wait_for(check(), CHECK_SECONDS)
    except TimeoutError:
        return "no answer within a second"
