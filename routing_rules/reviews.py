"""Which reviews of entitlement sets and deployments are due, how soon, and how long what was not reviewed still counts (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

from routing_rules.catalogue import Grace
from routing_rules.rules import RuleSet

REMINDERS = (30, 7, 1)
"""So many days ahead somebody is reminded."""


class Due(NamedTuple):
    """A review that is due or overdue. `kind` is `set`, `access_review` or `capability_review`, `id` what is reviewed and `owner`
    whom to ask. `reminder` is how many days ahead the reminder is that holds today (30, 7, 1), 0 once the day has passed. Until
    `counts_until` it still counts: later than `due` only where two people have given it a grace."""

    kind: str
    id: str
    owner: str
    due: date
    counts_until: date
    reminder: int
    grace: Grace | None

    def overdue(self, today: date) -> bool:
        """Whether it counts no more."""
        return self.counts_until < today


def due_reviews(rules: RuleSet, today: date) -> Iterator[Due]:
    """Every review that is due within the longest reminder, or overdue."""
    for each in rules.sets.values():
        yield from _due("set", each.id, each.owner, each.review_by, each.grace, today)
    for deployment in rules.deployments.values():
        for kind, review in (
            ("access_review", deployment.access_review),
            ("capability_review", deployment.capability_review),
        ):
            if review is not None:
                yield from _due(kind, deployment.id, review.reviewer, review.expires, review.grace, today)


def _due(kind: str, id: str, owner: str, due: date, grace: Grace | None, today: date) -> Iterator[Due]:
    left = (due - today).days
    if left <= REMINDERS[0]:
        reminder = 0 if left < 0 else min(days for days in REMINDERS if left <= days)
        yield Due(kind, id, owner, due, due if grace is None else grace.until, reminder, grace)
