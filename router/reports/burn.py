"""Budgets against what was spent: settled, held, what remains, how fast it goes, and where it will end (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import msgspec

from router.exchange import JsonObject
from router.money import usd
from router.reports.forecast import COVERAGE, Forecast, forecast
from routing_rules.budgets import OwnerBudget, Raise, limit_of
from routing_rules.calendars import Period


class BudgetRow(msgspec.Struct, frozen=True):
    """One budget in the period that runs. Money in nano-USD.

    `limit_nano` has what it was raised by; `daily_nano` is what a day of the period cost on average, `used_up` the day on which the limit
    is reached at that pace, where that lies in the period. `expected_nano`, `low_nano` and `high_nano` are what will have been spent at its
    end; None where too few days are known.
    """

    owner: str
    per: str
    period: str
    begins: date
    ends: date
    soft_nano: int | None
    hard_nano: int | None
    raised_nano: int
    limit_nano: int | None
    on_hard: str
    settled_nano: int
    held_nano: int
    remaining_nano: int | None
    day: int
    days: int
    daily_nano: int
    used_up: date | None
    expected_nano: int | None
    low_nano: int | None
    high_nano: int | None


def budget_row(
    owner: str,
    budget: OwnerBudget,
    period: Period,
    today: date,
    now: datetime,
    raised: Sequence[Raise],
    settled_nano: int,
    held_nano: int,
    known: Sequence[int],
    first: date,
) -> BudgetRow:
    """One row. `known` is what each day cost from `first` up to the day before `today`, days without any cost included."""
    limit = limit_of(budget, now, raised)
    day = (today - period.begins).days + 1
    daily = settled_nano // day
    remaining = None if limit is None else limit - settled_nano - held_nano
    ahead = _ahead(known, first, period, today, settled_nano)
    return BudgetRow(
        owner=owner,
        per=budget.per.value,
        period=period.id,
        begins=period.begins,
        ends=period.ends,
        soft_nano=budget.soft_nano,
        hard_nano=budget.hard_nano,
        raised_nano=0 if limit is None or budget.hard_nano is None else limit - budget.hard_nano,
        limit_nano=limit,
        on_hard=budget.on_hard,
        settled_nano=settled_nano,
        held_nano=held_nano,
        remaining_nano=remaining,
        day=day,
        days=period.days,
        daily_nano=daily,
        used_up=_used_up(remaining, daily, today, period),
        expected_nano=None if ahead is None else ahead.expected_nano,
        low_nano=None if ahead is None else ahead.low_nano,
        high_nano=None if ahead is None else ahead.high_nano,
    )


def _ahead(known: Sequence[int], first: date, period: Period, today: date, settled: int) -> Forecast | None:
    """What the whole period will have cost: what is settled, and today and the days after it as they are foretold. Of today that is
    counted which is foretold beyond what it cost already."""
    found = forecast(known, first, (period.ends - today).days)
    if found is None:
        return None
    before = sum(cost for at, cost in enumerate(known) if first.toordinal() + at >= period.begins.toordinal())
    today_so_far = max(settled - before, 0)
    return Forecast(*(settled + max(nano - today_so_far, 0) for nano in (found.expected_nano, found.low_nano, found.high_nano)))


def _used_up(remaining: int | None, daily: int, today: date, period: Period) -> date | None:
    if remaining is None:
        return None
    if remaining <= 0:
        return today
    if daily <= 0:
        return None
    ordinal = today.toordinal() + -(-remaining // daily)
    return date.fromordinal(ordinal) if ordinal < period.ends.toordinal() else None


def document(rows: Sequence[BudgetRow], now: datetime) -> JsonObject:
    """The report for programs; amounts as exact dollars beside the nano-USD."""
    shown = []
    for row in rows:
        built = msgspec.to_builtins(row)
        amounts = {
            f"{name.removesuffix('_nano')}_usd": usd(value)
            for name, value in built.items()
            if name.endswith("_nano") and value is not None
        }
        shown.append({**built, **amounts})
    return {"at": now.isoformat(), "interval": COVERAGE, "data": shown}


HEADINGS = ("owner", "period", "limit", "raised", "settled", "held", "remaining", "a day", "used up", "by the end", "interval")


def table(rows: Sequence[BudgetRow]) -> str:
    """The report for people, in whole cents."""
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)


def _cells(row: BudgetRow) -> tuple[str, ...]:
    interval = "" if row.low_nano is None or row.high_nano is None else f"{_cents(row.low_nano)} - {_cents(row.high_nano)}"
    return (
        row.owner,
        f"{row.period} (day {row.day} of {row.days})",
        _cents(row.limit_nano),
        _cents(row.raised_nano or None),
        _cents(row.settled_nano),
        _cents(row.held_nano),
        _cents(row.remaining_nano),
        _cents(row.daily_nano),
        "" if row.used_up is None else str(row.used_up),
        "too few days" if row.expected_nano is None else _cents(row.expected_nano),
        interval,
    )


def _cents(nano: int | None) -> str:
    return "" if nano is None else f"{nano / 1e9:,.2f}"
