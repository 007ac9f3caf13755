"""Budgets of owners against the ledger: what is settled and held in the periods that run, and what will be by their end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import Engine

from router.reports.burn import BudgetRow, budget_row
from router.reports.forecast import MOST_DAYS
from router.storage.sql.ledger import spend
from router.storage.sql.owner_spend import held_since, spent_between
from routing_rules.budgets import Raise
from routing_rules.calendars import Period
from routing_rules.rules import RuleSet

Raised = Callable[[str], Sequence[Raise]]
"""What an owner's limits were raised by."""


def budget_rows(engine: Engine, rules: RuleSet, raised: Raised, now: datetime, owner: str | None = None) -> list[BudgetRow]:
    """Every budget of every owner, or of one, in the period that runs: settled and held as the ledger has it at this moment."""
    owners = [owner] if owner is not None else sorted({*rules.owner_budgets, *(app.owner for app in rules.apps.values())})
    today = rules.day(now)
    since = datetime.combine(today - timedelta(days=MOST_DAYS), time(), rules.time_zone).astimezone(UTC)
    daily: dict[str, dict[date, int]] = defaultdict(dict)
    for row in spend(engine, ("owner", "day"), since, None).rows:
        daily[row.group[0]][date.fromisoformat(row.group[1])] = row.figures.cost_nano
    sums: dict[Period, tuple[dict[str, int], dict[str, int]]] = {}
    rows = []
    for each in owners:
        known, first = _series(daily.get(each, {}), today)
        for budget in rules.budgets_of(each):
            period = rules.period(budget.per, now)
            if period not in sums:
                begins, ends = period.moments(rules.time_zone)
                sums[period] = spent_between(engine, begins, ends), held_since(engine, begins)
            settled, held = (found.get(each, 0) for found in sums[period])
            rows.append(budget_row(each, budget, period, today, now, raised(each), settled, held, known, first))
    return rows


def _series(costs: dict[date, int], today: date) -> tuple[list[int], date]:
    """What each day cost from the first that cost something up to yesterday, and which day that was."""
    first = min((day for day in costs if day < today), default=today)
    return [costs.get(first + timedelta(days=at), 0) for at in range((today - first).days)], first
