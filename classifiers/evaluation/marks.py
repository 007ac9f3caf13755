"""What a measurement says: a value with its interval and its N, the mark it should reach, and whether it does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_Z95 = 1.959963984540054


class Mark(msgspec.Struct, frozen=True):
    """One measured figure. `ci` is its 95 % interval, None for a single timing; `mark` reads like `>= 0.92`.

    `beside` holds the same figure of other ways to do it, by their names.
    """

    name: str
    value: float
    ci: tuple[float, float] | None
    n: int
    mark: str
    holds: bool
    beside: dict[str, float] = {}


def at_least(
    name: str, value: float, ci: tuple[float, float] | None, n: int, bound: float, beside: Mapping[str, float] | None = None
) -> Mark:
    """A figure that should not be below a bound. One that was measured on nothing holds nothing."""
    return Mark(name, value, ci, n, f">= {bound:g}", n > 0 and value >= bound, dict(beside or {}))


def at_most(
    name: str, value: float, ci: tuple[float, float] | None, n: int, bound: float, beside: Mapping[str, float] | None = None
) -> Mark:
    """A figure that should not be above a bound. One that was measured on nothing holds nothing."""
    return Mark(name, value, ci, n, f"<= {bound:g}", n > 0 and value <= bound, dict(beside or {}))


def reported(name: str, value: float, ci: tuple[float, float] | None, n: int) -> Mark:
    """A figure without a bound."""
    return Mark(name, value, ci, n, "reported", True)


def share(hits: int, n: int) -> tuple[float, tuple[float, float]]:
    """A proportion and its 95 % interval, by E. B. Wilson (Probable inference, JASA 22, 1927). Of nothing: nan, (0, 1)."""
    if n == 0:
        return math.nan, (0.0, 1.0)
    p = hits / n
    centre = (p + _Z95**2 / (2 * n)) / (1 + _Z95**2 / n)
    half = _Z95 * math.sqrt(p * (1 - p) / n + _Z95**2 / (4 * n * n)) / (1 + _Z95**2 / n)
    return p, (max(centre - half, 0.0), min(centre + half, 1.0))


def f1(true: int, false: int, missed: int) -> float:
    """Harmonic mean of precision and recall from counts; nan where there is nothing to find and nothing was found."""
    return 2 * true / (2 * true + false + missed) if true + false + missed else math.nan


def bootstrap(
    n: int, statistic: Callable[[npt.NDArray[np.intp]], float], rounds: int = 500, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of a statistic of `n` rows, given as a function of drawn row numbers."""
    if n == 0:
        return 0.0, 1.0
    rng = np.random.default_rng(seed)
    drawn = [statistic(rng.integers(0, n, n)) for _ in range(rounds)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def document(marks: Sequence[Mark]) -> dict[str, Any]:
    """The JSON form: `{"marks": [{"name", "value", "ci", "n", "mark", "holds", "beside"}], "hold": how many hold}`."""
    return {"marks": [msgspec.to_builtins(mark) for mark in marks], "hold": sum(mark.holds for mark in marks)}


def table(marks: Sequence[Mark]) -> str:
    """The marks as an aligned text table, a line each, with what stands beside them."""
    others = sorted({name for mark in marks for name in mark.beside})
    rows = [("mark", "value", "95 % interval", "N", "should be", "holds", *others)]
    for mark in marks:
        ci = f"{_short(mark.ci[0])} – {_short(mark.ci[1])}" if mark.ci else ""
        beside = (_short(mark.beside[name]) if name in mark.beside else "" for name in others)
        rows.append((mark.name, _short(mark.value), ci, f"{mark.n:,}", mark.mark, "yes" if mark.holds else "NO", *beside))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
