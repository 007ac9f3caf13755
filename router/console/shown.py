"""How values look on a page: amounts, moments, durations, words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

NANO = 1_000_000_000


def dollars(nano: int | None) -> str:
    """An amount with as many digits as it takes to see it."""
    if nano is None:
        return "–"
    if nano == 0:
        return "$0"
    sign, amount = "−" if nano < 0 else "", abs(nano) / NANO
    if amount >= 1:
        return f"{sign}${amount:,.2f}"
    return f"{sign}${amount:.4f}" if amount >= 0.001 else f"{sign}${amount:.6f}" if amount >= 0.000001 else f"{sign}<$0.000001"


def moment(at: datetime | str | None) -> str:
    """A moment in UTC, to the second."""
    if at is None or at == "":
        return "–"
    told = datetime.fromisoformat(at) if isinstance(at, str) else at
    return told.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def day(at: datetime | str | None) -> str:
    """The day of a moment."""
    return moment(at)[:10]


def clock(at: datetime | str | None) -> str:
    """The time of day of a moment, to the tenth of a second."""
    if at is None or at == "":
        return "–"
    told = datetime.fromisoformat(at) if isinstance(at, str) else at
    return told.astimezone(UTC).strftime("%H:%M:%S.%f")[:-5]


def words(name: str) -> str:
    """A word of the vocabularies for people to read."""
    return name.replace("_", " ")


def count(number: int | None) -> str:
    """A number with its thousands apart."""
    return "–" if number is None else f"{number:,}"


def short(text: str, most: int = 14) -> str:
    """The beginning of a long id."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def duration(seconds: float | None) -> str:
    """A duration in the unit in which it is easy to read."""
    if seconds is None:
        return "–"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return (
        f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
        if seconds < 172_800
        else f"{seconds / 86400:.0f} days"
    )


FILTERS: Mapping[str, Callable[..., Any]] = {
    "dollars": dollars,
    "moment": moment,
    "day": day,
    "clock": clock,
    "words": words,
    "count": count,
    "short": short,
    "duration": duration,
}
"""By the names under which templates know them."""
