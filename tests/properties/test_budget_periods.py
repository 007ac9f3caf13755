"""Every moment is in exactly one period of each kind, whatever the clocks do and however long the year is."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_rules.calendars import PATTERNS, FiscalYear, Per, fiscal_year_begins, following, period_of

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "America/Havana", "America/Sao_Paulo", "Africa/Cairo", "Pacific/Apia")
fiscal_years = st.builds(
    FiscalYear,
    first_month=st.integers(1, 12),
    weeks=st.sampled_from(["", *PATTERNS]),
    weekday=st.integers(0, 6),
)


@given(
    at=st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds of hypothesis are naive
    zone=st.sampled_from(ZONES),
    per=st.sampled_from(Per),
    fiscal=fiscal_years,
)
def test_every_moment_is_in_exactly_one_period(at: datetime, zone: str, per: Per, fiscal: FiscalYear) -> None:
    here = ZoneInfo(zone)
    period = period_of(per, at.astimezone(here).date(), fiscal)
    begins, ends = period.moments(here)
    assert begins <= at < ends
    assert following(period, fiscal).moments(here)[0] == ends
    before = period_of(per, period.begins - timedelta(days=1), fiscal)
    assert before.ends == period.begins
    assert before.id != period.id


@given(day=st.dates(date(1990, 1, 1), date(2090, 1, 1)), per=st.sampled_from(Per), fiscal=fiscal_years)
def test_all_days_of_a_period_name_the_same_period(day: date, per: Per, fiscal: FiscalYear) -> None:
    period = period_of(per, day, fiscal)
    assert {period_of(per, period.begins + timedelta(days=n), fiscal) for n in range(period.days)} == {period}


@given(year=st.integers(1990, 2090), fiscal=fiscal_years)
def test_a_fiscal_year_is_twelve_periods_and_four_quarters_end_to_end(year: int, fiscal: FiscalYear) -> None:
    whole = period_of(Per.FISCAL_YEAR, fiscal_year_begins(year, fiscal), fiscal)
    for per, parts in ((Per.FISCAL_PERIOD, 12), (Per.FISCAL_QUARTER, 4)):
        part = period_of(per, whole.begins, fiscal)
        for _ in range(parts - 1):
            part = following(part, fiscal)
        assert part.ends == whole.ends
    if fiscal.weeks:
        assert whole.days in (364, 371)
        assert whole.begins.weekday() == fiscal.weekday
        assert abs((whole.begins - date(whole.begins.year, fiscal.first_month, 1)).days) <= 3 or fiscal.first_month == 1


def test_the_leap_day_is_the_last_of_february_and_of_no_other_month() -> None:
    period = period_of(Per.MONTH, date(2028, 2, 29))
    assert (period.id, period.begins, period.ends, period.days) == ("2028-02", date(2028, 2, 1), date(2028, 3, 1), 29)
    assert period_of(Per.YEAR, date(2028, 2, 29)).days == 366


@pytest.mark.parametrize(("day", "month"), [(date(2026, 4, 30), "2026-04"), (date(2026, 12, 31), "2026-12")])
def test_the_last_day_of_a_month_is_still_in_it_and_the_next_is_not(day: date, month: str) -> None:
    assert period_of(Per.MONTH, day).id == month
    assert period_of(Per.MONTH, day + timedelta(days=1)).id != month


def test_a_month_with_a_change_of_the_clocks_is_an_hour_shorter_or_longer() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    begins, ends = period_of(Per.MONTH, date(2026, 3, 29)).moments(berlin)
    assert ends - begins == timedelta(days=31, hours=-1)
    assert begins == datetime(2026, 2, 28, 23, tzinfo=UTC)
    begins, ends = period_of(Per.MONTH, date(2026, 10, 25)).moments(berlin)
    assert ends - begins == timedelta(days=31, hours=1)


def test_where_the_clocks_skip_midnight_the_day_begins_when_they_do() -> None:
    # On 1 October 2017 nothing happened there; on 15 October the clocks went from 0:00 to 1:00.
    sao_paulo = ZoneInfo("America/Sao_Paulo")
    begins, _ = period_of(Per.MONTH, date(2017, 10, 1)).moments(sao_paulo)
    assert begins == datetime(2017, 10, 1, 3, tzinfo=UTC)
    weeks = FiscalYear(first_month=10, weeks="4-4-5", weekday=6)
    assert period_of(Per.FISCAL_PERIOD, date(2017, 10, 15), weeks).begins == date(2017, 10, 1)


def test_the_names_of_periods() -> None:
    day = date(2026, 8, 14)
    april = FiscalYear(first_month=4)
    assert [period_of(per, day, april).id for per in Per] == [
        "2026-08",
        "2026-Q3",
        "2026",
        "fp2026-08-01",
        "fq2026-07-01",
        "fy2026-04-01",
    ]


def test_a_retail_year_of_53_weeks_gives_the_last_period_the_week_over() -> None:
    # Sundays nearest to 1 February: 2023 began on 29 January and had 53 weeks.
    retail = FiscalYear(first_month=2, weeks="4-5-4", weekday=6)
    year = period_of(Per.FISCAL_YEAR, date(2023, 6, 1), retail)
    assert (year.begins, year.days) == (date(2023, 1, 29), 53 * 7)
    assert period_of(Per.FISCAL_PERIOD, date(2024, 2, 1), retail).days == 5 * 7
    assert period_of(Per.FISCAL_PERIOD, date(2023, 2, 1), retail).days == 4 * 7
