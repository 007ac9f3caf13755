"""What will have been spent by the end of a period, with an interval: exponential smoothing with weekday factors, simulated (pure).

The level of a day is smoothed with the rate that would have foretold the days before best. Each of `PATHS` futures draws its daily errors
from those that the smoothing made on the days that are known, and moves its own level with them, so that the interval widens with the days
to come. What is measured of it stands in docs/owner-budgets.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import msgspec
import numpy as np
from numpy.typing import NDArray

RATES = (0.05, 0.1, 0.2, 0.35, 0.5)
PATHS = 600
MOST_DAYS = 91
LEAST_DAYS = 7
"""With fewer known days nothing is foretold."""

DAYS_FOR_WEEKDAYS = 21
WEEK = 7
SHRINKAGE = 0.5
"""Each weekday counts as if so many of them had been ordinary days, besides those that were seen."""

UNLIKE = 0.8
"""Weekdays must leave no more of the days' squared deviations than this to be believed: chance alone leaves most of them."""

STEADY = 0.9
"""A level that moves must foretell so much better than the plain mean of all days, by its squared errors, to be believed."""

LOWER, UPPER = 0.1, 0.9
COVERAGE = UPPER - LOWER
"""In how many cases the interval ought to hold what comes."""

Days = NDArray[np.float64]


class Forecast(msgspec.Struct, frozen=True):
    """What days to come will cost in all, in nano-USD: the expected sum, and an interval that ought to hold `COVERAGE` of all cases."""

    expected_nano: int
    low_nano: int
    high_nano: int


def forecast(known: Sequence[int], first: date, days: int, seed: int = 0) -> Forecast | None:
    """What the `days` after the known ones will cost. `known` has the cost of each day from `first` on, in nano-USD, days without any
    included. None where too few days are known. The same input has the same answer."""
    if len(known) < LEAST_DAYS:
        return None
    if days <= 0:
        return Forecast(0, 0, 0)
    taken = np.asarray(known[-MOST_DAYS:], dtype=np.float64)
    begins = first + timedelta(days=len(known) - len(taken))
    factors = weekday_factors(taken, begins)
    weekdays = (begins.weekday() + np.arange(len(taken) + days)) % WEEK
    plain = taken / factors[weekdays[: len(taken)]]
    rate, level, errors = _level(plain)
    ahead = factors[weekdays[len(taken) :]]
    sums = _futures(level, errors, rate, len(taken), ahead, np.random.default_rng(seed))
    low, high = np.quantile(sums, (LOWER, UPPER))
    expected = level * ahead.sum()
    return Forecast(round(expected), round(min(low, expected)), round(max(high, expected)))


def weekday_factors(known: Days, first: date) -> Days:
    """How dear each weekday is beside the mean day, Monday first; 1 for all where too few weeks are known, or they hardly differ."""
    if len(known) < DAYS_FOR_WEEKDAYS or not known.any():
        return np.ones(WEEK)
    weekdays = (first.weekday() + np.arange(len(known))) % WEEK
    mean, left = known.mean(), 0.0
    factors = np.ones(WEEK)
    for weekday in range(WEEK):
        these = known[weekdays == weekday]
        factors[weekday] = (these.sum() / mean + SHRINKAGE) / (len(these) + SHRINKAGE)
        left += float(np.square(these - these.mean()).sum())
    if left > UNLIKE * float(np.square(known - mean).sum()):
        return np.ones(WEEK)
    even: Days = factors / factors.mean()
    return even


def _level(plain: Days) -> tuple[float, float, Days]:
    """The rate at which the level moves (0: not at all), the level, and the errors of the days that are known."""
    mean = float(plain.mean())
    errors = plain - mean
    best = (0.0, mean, errors)
    least = STEADY * float(np.square(errors[WEEK:]).sum())
    for rate in RATES:
        level, missed = _smoothed(plain, rate)
        if (loss := float(np.square(missed).sum())) < least:
            best, least = (rate, level, missed), loss
    return best


def _smoothed(plain: Days, rate: float) -> tuple[float, Days]:
    """The level after the last day, and by how much each day after the first week was missed by the level before it."""
    level = float(plain[:WEEK].mean())
    errors = np.empty(max(len(plain) - WEEK, 0))
    for at, value in enumerate(plain[WEEK:]):
        errors[at] = value - level
        level += rate * errors[at]
    return max(level, 0.0), errors


def _futures(level: float, errors: Days, rate: float, known: int, ahead: Days, draw: np.random.Generator) -> Days:
    """The sum of each of `PATHS` futures. The level that each begins with is as uncertain as the mean of the days that made it."""
    share = rate / (2 - rate) if rate else 1 / known
    levels = np.maximum(level + draw.normal(0.0, 1.0, PATHS) * float(errors.std()) * np.sqrt(share), 0.0)
    sums = np.zeros(PATHS)
    for factor in ahead:
        error = draw.choice(errors, PATHS)
        sums += np.maximum(levels + error, 0.0) * factor
        levels = np.maximum(levels + rate * error, 0.0)
    return sums
