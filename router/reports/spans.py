"""Spans of time by the words that people use for them: `last-month`, `2026-10`, `2026-Q3`, a day; in the reports' time zone."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

WORDS = (
    "today, yesterday, this-week, last-week, this-month, last-month, this-quarter, last-quarter, this-year, last-year, last-30-days, "
    "2026, 2026-Q3, 2026-10, 2026-W40 or 2026-10-05"
)
"""What a span may be called, for messages."""

_DAYS = re.compile(r"last-([1-9][0-9]{0,3})-days")
_WRITTEN = re.compile(r"([0-9]{4})(?:-(?:Q([1-4])|W([0-9]{2})|([0-9]{2})(?:-([0-9]{2}))?))?")
_MONTHS = {"month": 1, "quarter": 3, "year": 12}


class Span(msgspec.Struct, frozen=True):
    """Whole days of a time zone, from `first` to before `behind`; `since` and `until` are the moments, in UTC. `months` is how many
    calendar months it consists of, 0 where it is counted in days."""

    name: str
    first: date
    behind: date
    since: datetime
    until: datetime
    months: int = 0


def day_begins(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of a day in a time zone, in UTC. Where clocks are put forward at midnight, that is not 00:00."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def span(name: str, now: datetime, zone: ZoneInfo) -> Span:
    """The span of a name (`WORDS`), as seen at `now`. Raises ValueError naming what is understood."""
    today = now.astimezone(zone).date()
    try:
        first, behind, months = _days_of(name.strip(), today)
        return _span(name.strip(), first, behind, months, zone)
    except (ValueError, OverflowError):
        raise ValueError(f"`{name}` is no period; one is called {WORDS}") from None


def days(first: date, behind: date, zone: ZoneInfo) -> Span:
    """The days from `first` to before `behind`. Raises ValueError where there is none."""
    if behind <= first:
        raise ValueError(f"a period from {first} to before {behind} has no day")
    return _span(f"{first} to {behind - timedelta(days=1)}", first, behind, 0, zone)


def before(later: Span, zone: ZoneInfo) -> Span:
    """The span of the same kind that ends where this one begins: of a month the month before, of ten days the ten days before."""
    first = _months_on(later.first, -later.months) if later.months else later.first - (later.behind - later.first)
    return _span(_named(first, later), first, later.first, later.months, zone)


def _span(name: str, first: date, behind: date, months: int, zone: ZoneInfo) -> Span:
    return Span(name, first, behind, day_begins(first, zone), day_begins(behind, zone), months)


def _named(first: date, later: Span) -> str:
    if later.months == 1:
        return f"{first:%Y-%m}"
    if later.months == 3:
        return f"{first:%Y}-Q{(first.month + 2) // 3}"
    if later.months == 12:
        return f"{first:%Y}"
    last = later.first - timedelta(days=1)
    return f"{first}" if first == last else f"{first} to {last}"


def _days_of(name: str, today: date) -> tuple[date, date, int]:
    if name in ("today", "yesterday"):
        first = today - timedelta(days=name == "yesterday")
        return first, first + timedelta(days=1), 0
    if found := _DAYS.fullmatch(name):
        return today - timedelta(days=int(found[1])), today, 0
    which, _, unit = name.partition("-")
    if which in ("this", "last") and unit == "week":
        first = today - timedelta(days=today.weekday() + 7 * (which == "last"))
        return first, first + timedelta(days=7), 0
    if which in ("this", "last") and unit in _MONTHS:
        months = _MONTHS[unit]
        first = date(today.year, 1 + (today.month - 1) // months * months, 1)
        if which == "last":
            first = _months_on(first, -months)
        return first, _months_on(first, months), months
    return _written(name)


def _written(name: str) -> tuple[date, date, int]:
    found = _WRITTEN.fullmatch(name)
    if found is None:
        raise ValueError
    year, quarter, week, month, day = found.groups()
    if week:
        first = date.fromisocalendar(int(year), int(week), 1)
        return first, first + timedelta(days=7), 0
    if day:
        first = date(int(year), int(month), int(day))
        return first, first + timedelta(days=1), 0
    months = 1 if month else 3 if quarter else 12
    first = date(int(year), int(month) if month else 3 * int(quarter) - 2 if quarter else 1, 1)
    return first, _months_on(first, months), months


def _months_on(first: date, months: int) -> date:
    count = first.year * 12 + first.month - 1 + months
    return date(count // 12, count % 12 + 1, 1)
