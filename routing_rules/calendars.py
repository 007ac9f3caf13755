"""The periods over which a budget runs: calendar months, quarters and years, and those of a fiscal year."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache

import msgspec

WEEK = 7
WEEKS_OF_A_QUARTER = 13
PATTERNS = {"4-4-5": (4, 4, 5), "4-5-4": (4, 5, 4), "5-4-4": (5, 4, 4)}
"""Weeks of the three periods of a fiscal quarter. What a year of 53 weeks has over belongs to its last period."""

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class Per(StrEnum):
    """How long a budget runs before it begins anew."""

    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"
    FISCAL_PERIOD = "fiscal_period"  # a month of the fiscal year, or four to six weeks of it
    FISCAL_QUARTER = "fiscal_quarter"
    FISCAL_YEAR = "fiscal_year"


class FiscalYear(msgspec.Struct, frozen=True):
    """When a fiscal year begins: on the first day of `first_month`; with `weeks` (one of `PATTERNS`) on the `weekday` (0: Monday) that is
    nearest to it, so that a year has 52 or 53 whole weeks."""

    first_month: int = 1
    weeks: str = ""
    weekday: int = 0


class Period(msgspec.Struct, frozen=True):
    """One run of a budget: `begins` is its first day, `ends` the day after its last. `id` names it for good."""

    per: Per
    id: str
    begins: date
    ends: date

    def moments(self, zone: tzinfo) -> tuple[datetime, datetime]:
        """When it begins and when it has ended (UTC), where days are those of a time zone."""
        return _midnight(self.begins, zone), _midnight(self.ends, zone)

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.ends - self.begins).days


CALENDAR_YEAR = FiscalYear()


@lru_cache(maxsize=4096)
def period_of(per: Per, day: date, fiscal: FiscalYear = CALENDAR_YEAR) -> Period:
    """The one period of a kind that a day is in."""
    match per:
        case Per.MONTH:
            return Period(per, f"{day.year}-{day.month:02d}", _first(day.year, day.month), _first(day.year, day.month + 1))
        case Per.QUARTER:
            quarter = (day.month - 1) // 3
            return Period(per, f"{day.year}-Q{quarter + 1}", _first(day.year, 3 * quarter + 1), _first(day.year, 3 * quarter + 4))
        case Per.YEAR:
            return Period(per, f"{day.year}", _first(day.year, 1), _first(day.year + 1, 1))
    begins, ends = _span(per, day, fiscal)
    return Period(per, f"{_FISCAL_PREFIX[per]}{begins}", begins, ends)


FISCAL = frozenset({Per.FISCAL_PERIOD, Per.FISCAL_QUARTER, Per.FISCAL_YEAR})


def following(period: Period, fiscal: FiscalYear = CALENDAR_YEAR) -> Period:
    """The period after this one."""
    return period_of(period.per, period.ends, fiscal)


_FISCAL_PREFIX = {Per.FISCAL_PERIOD: "fp", Per.FISCAL_QUARTER: "fq", Per.FISCAL_YEAR: "fy"}
"""The ids of fiscal periods name their first day: where the fiscal year is moved, no balance is taken for that of another period."""


def _span(per: Per, day: date, fiscal: FiscalYear) -> tuple[date, date]:
    year = next(year for year in (day.year + 1, day.year, day.year - 1) if fiscal_year_begins(year, fiscal) <= day)
    bounds = (fiscal_year_begins(year, fiscal), fiscal_year_begins(year + 1, fiscal))
    if per is Per.FISCAL_YEAR:
        return bounds
    if fiscal.weeks:
        quarters = [bounds[0] + timedelta(weeks=WEEKS_OF_A_QUARTER * each) for each in range(4)]
        starts = quarters
        if per is Per.FISCAL_PERIOD:
            one, two, _ = PATTERNS[fiscal.weeks]
            starts = [start + timedelta(weeks=weeks) for start in quarters for weeks in (0, one, one + two)]
    else:
        step = 1 if per is Per.FISCAL_PERIOD else 3
        starts = [_first(year, fiscal.first_month + each) for each in range(0, 12, step)]
    at = max(at for at, start in enumerate(starts) if start <= day)
    return starts[at], (*starts, bounds[1])[at + 1]


def fiscal_year_begins(year: int, fiscal: FiscalYear) -> date:
    """The first day of the fiscal year that begins in a calendar year (or, in weeks, up to three days before it)."""
    first = _first(year, fiscal.first_month)
    if not fiscal.weeks:
        return first
    after = (fiscal.weekday - first.weekday()) % WEEK
    return first + timedelta(days=after if after <= WEEK // 2 else after - WEEK)


def _first(year: int, month: int) -> date:
    """The first day of a month; the thirteenth is the next year's first."""
    return date(year + (month - 1) // 12, (month - 1) % 12 + 1, 1)


def _midnight(day: date, zone: tzinfo) -> datetime:
    """When a day begins; where the clocks skip midnight, when they do."""
    return datetime.combine(day, time(), zone).astimezone(UTC)
