"""Generated daily spend of several kinds, and how well the forecast foretells the rest of a month of it beside naive methods.

Run it to measure the figures of docs/owner-budgets.md anew: `PYTHONPATH=.:tests/support python tests/support/spend_series.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.reports.forecast import forecast

Days = NDArray[np.float64]
NANO = 10**9
HISTORY = 90
MONTH = 30
SEEN = (2, 10, 20, 27)
"""After how many days of the month it is foretold."""

FIRST = date(2026, 1, 1)


def _noisy(mean: NDArray[Any], draw: np.random.Generator, spread: float = 0.25) -> Days:
    return np.asarray(mean * draw.lognormal(-spread * spread / 2, spread, len(mean)))


def flat(days: int, draw: np.random.Generator) -> Days:
    """The same every day, but for noise."""
    return _noisy(np.full(days, 100.0), draw)


def weekly(days: int, draw: np.random.Generator) -> Days:
    """Working days, and weekends with a tenth of them."""
    weekend = (FIRST.weekday() + np.arange(days)) % 7 >= 5
    return _noisy(np.where(weekend, 10.0, 100.0), draw)


def trend(days: int, draw: np.random.Generator) -> Days:
    """One percent more each day."""
    return _noisy(100.0 * 1.01 ** np.arange(days), draw)


def step(days: int, draw: np.random.Generator) -> Days:
    """Three times as much from some day of the last five weeks on."""
    change = draw.integers(days - 35, days)
    return _noisy(np.where(np.arange(days) < change, 100.0, 300.0), draw)


def bursts(days: int, draw: np.random.Generator) -> Days:
    """Little, and on one day in fifteen twenty times as much."""
    return _noisy(np.where(draw.random(days) < 1 / 15, 400.0, 20.0), draw)


def seldom(days: int, draw: np.random.Generator) -> Days:
    """Nothing on two days of three."""
    return _noisy(np.where(draw.random(days) < 1 / 3, 100.0, 0.0), draw)


def new(days: int, draw: np.random.Generator) -> Days:
    """An owner who began two weeks before the month."""
    return np.where(np.arange(days) < HISTORY - 14, 0.0, _noisy(np.full(days, 100.0), draw))


def nothing(days: int, _: np.random.Generator) -> Days:
    """Nothing at all."""
    return np.zeros(days)


KINDS: tuple[Callable[[int, np.random.Generator], Days], ...] = (flat, weekly, trend, step, bursts, seldom, new, nothing)


class Measured:
    """Of forecasts of one kind of series: how often the interval held what came, how wide it was, and how far off each method lay; all
    beside what was really spent in the month."""

    def __init__(self) -> None:
        self.held: list[bool] = []
        self.widths: list[float] = []
        self.missed: dict[str, list[float]] = {"forecast": [], "pace": [], "last 28 days": [], "last month": []}

    @property
    def coverage(self) -> float:
        """The share of cases that lay in the interval."""
        return float(np.mean(self.held))

    def error(self, method: str) -> float:
        """By how much a method missed the month on average, as a share of it."""
        return float(np.mean(self.missed[method]))

    @property
    def width(self) -> float:
        """How wide the interval was on average, as a share of the month."""
        return float(np.mean(self.widths))


def measure(kind: Callable[[int, np.random.Generator], Days], seen: int, runs: int, seed: int = 1) -> Measured:
    """Foretell the rest of a month from its first `seen` days and the 90 days before it, `runs` times."""
    draw = np.random.default_rng(seed)
    measured = Measured()
    for run in range(runs):
        nano = [round(value * NANO) for value in kind(HISTORY + MONTH, draw)]
        known, rest = nano[: HISTORY + seen], nano[HISTORY + seen :]
        spent, came = sum(known[HISTORY:]), sum(rest)
        whole = spent + came
        found = forecast(known, FIRST, len(rest), seed=run)
        assert found is not None
        measured.held.append(found.low_nano <= came <= found.high_nano)
        measured.widths.append((found.high_nano - found.low_nano) / max(whole, 1))
        told = {
            "forecast": spent + found.expected_nano,
            "pace": spent / seen * MONTH,
            "last 28 days": spent + sum(known[-28:]) / 28 * len(rest),
            "last month": sum(known[HISTORY - MONTH : HISTORY]),
        }
        for method, value in told.items():
            measured.missed[method].append(abs(value - whole) / max(whole, 1))
    return measured


def main(runs: int = 300) -> None:
    """Print the table."""
    out = sys.stdout.write
    out(
        "| series | day | in the interval | its width | forecast | pace so far | last 28 days | last month |\n|---|---|---|---|---|---|---|---|\n"
    )
    for kind in KINDS:
        for seen in SEEN:
            m = measure(kind, seen, runs)
            missed = " | ".join(f"{m.error(name):.1%}" for name in m.missed)
            out(f"| {kind.__name__} | {seen} | {m.coverage:.0%} | {m.width:.0%} | {missed} |\n")


if __name__ == "__main__":
    main()
