"""The forecast of the rest of a period: what always holds of it, and how well it did on generated series of several kinds."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spend_series import KINDS, bursts, flat, measure, nothing, seldom, step, trend, weekly

from router.reports.forecast import LEAST_DAYS, Forecast, forecast

FIRST = date(2026, 1, 1)


@given(known=st.lists(st.integers(0, 10**15), min_size=LEAST_DAYS, max_size=120), days=st.integers(0, 40))
def test_a_forecast_lies_in_its_interval_is_never_negative_and_is_the_same_again(known: list[int], days: int) -> None:
    found = forecast(known, FIRST, days)
    assert found is not None
    assert 0 <= found.low_nano <= found.expected_nano <= found.high_nano
    assert found == forecast(known, FIRST, days)


def test_of_too_few_days_nothing_is_foretold() -> None:
    assert forecast([5] * (LEAST_DAYS - 1), FIRST, 10) is None


def test_where_nothing_was_spent_nothing_will_be() -> None:
    assert forecast([0] * 60, FIRST, 10) == Forecast(0, 0, 0)


def test_days_that_are_all_the_same_go_on_so_to_the_nano_dollar() -> None:
    assert forecast([1_000_000_007] * 60, FIRST, 10) == Forecast(10_000_000_070, 10_000_000_070, 10_000_000_070)


def test_a_weekend_ahead_costs_what_weekends_cost() -> None:
    known = [10 if (FIRST.weekday() + day) % 7 >= 5 else 1000 for day in range(63)]
    friday = next(at for at in range(56, 63) if (FIRST.weekday() + at) % 7 == 5)
    found = forecast(known[:friday], FIRST, 2)
    assert found is not None
    assert found.expected_nano < 100


@pytest.mark.parametrize("kind", [flat, weekly, trend, bursts, seldom])
def test_the_interval_holds_what_comes_about_as_often_as_it_says(kind: object) -> None:
    measured = measure(kind, seen=10, runs=60)  # type: ignore[arg-type]
    assert measured.coverage >= 0.6


@pytest.mark.parametrize("seen", [2, 10, 20])
def test_where_weekdays_matter_the_pace_so_far_is_farther_off(seen: int) -> None:
    measured = measure(weekly, seen, runs=40)
    assert measured.error("forecast") < measured.error("pace")


def test_a_step_that_nobody_can_foresee_is_missed_and_found_soon_after() -> None:
    assert measure(step, seen=2, runs=40).coverage < 0.5
    late = measure(step, seen=27, runs=40)
    assert late.error("forecast") < late.error("last 28 days")


def test_every_kind_is_measured() -> None:
    assert len({kind.__name__ for kind in KINDS}) == 8
    assert measure(nothing, seen=10, runs=2).error("forecast") == 0.0
