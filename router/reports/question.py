"""What a report is asked for, read the same from the command line and over HTTP: dimensions, a period, what it is narrowed to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

import msgspec

from router.money import parse_usd
from router.reports.requests import MOST, position
from router.reports.spans import Span, day_begins, span
from router.reports.spend import DIMENSIONS, conditions, dimensions

T = TypeVar("T")


class Misread(ValueError):
    """A parameter of a report that cannot be read; the message says what it may be."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class Question(msgspec.Struct, frozen=True):
    """What a report is asked for. `since` and `until` in UTC, None: no bound; `span` where a period was named."""

    by: tuple[str, ...]
    where: dict[str, tuple[str, ...]]
    since: datetime | None
    until: datetime | None
    span: Span | None = None


def asked(
    now: datetime,
    zone: ZoneInfo,
    *,
    by: str = "",
    where: Iterable[str] = (),
    period: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Question:
    """Read a question. `by` are dimensions with commas between them, '' the total only; `where` are texts such as `owner=ana`; `since` and
    `until` a day of the reports' time zone or a moment. Raises Misread."""
    named: Span | None = None
    if period is not None:
        if since is not None or until is not None:
            raise Misread("period", "either `period` or `since` and `until`, not both")
        named = _read("period", lambda: span(period, now, zone))
    first = _read("since", lambda: moment(since, zone)) if since is not None else named.since if named else None
    behind = _read("until", lambda: moment(until, zone)) if until is not None else named.until if named else None
    if first is not None and behind is not None and behind <= first:
        raise Misread("until", "the report ends before it begins: `until` is the first day or moment that is not in it")
    return Question(
        by=_read("by", lambda: dimensions(by)) if by.strip() else (),
        where=_read("where", lambda: conditions(where)),
        since=first,
        until=behind,
        span=named,
    )


def moment(text: str, zone: ZoneInfo) -> datetime:
    """A day of the time zone, as its first moment, or a moment with its own zone. Raises ValueError."""
    try:
        if len(text) == len("2026-10-05"):
            return day_begins(date.fromisoformat(text), zone)
        found = datetime.fromisoformat(text.replace(" ", "+"))  # a `+` in an address that nobody encoded
        if found.tzinfo is not None:
            return found
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"`{text[:40]}` is neither a day (2026-10-05) nor a moment with its zone (2026-10-05T08:00:00+02:00)")


def page(after: str | None, limit: str | int | None) -> tuple[tuple[datetime, str] | None, int]:
    """Behind which booking a page begins, and how many it may have. Raises Misread."""
    return (None if after is None else _read("after", lambda: position(after))), at_most(limit, 100)


def at_most(limit: str | int | None, usual: int) -> int:
    """How many rows a report may have. Raises Misread."""
    if limit is None:
        return usual
    if not str(limit).isdecimal() or not 1 <= int(limit) <= MOST:
        raise Misread("limit", f"`limit` is a number from 1 to {MOST}")
    return int(limit)


def amount(parameter: str, text: str | None, usual: int) -> int:
    """An amount in dollars, as nano-USD that are not negative. Raises Misread."""
    if text is None:
        return usual
    found = _read(parameter, lambda: parse_usd(text))
    if found < 0:
        raise Misread(parameter, f"`{parameter}` is an amount in dollars of nought or more")
    return found


def parameters(given: Iterable[tuple[str, str]], known: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Parameters of an address: those that are `known`, and what narrows the report, dimensions by their names, as texts for `where`.
    Raises Misread for one that is unknown or comes twice."""
    names = tuple(known)
    found: dict[str, str] = {}
    where = []
    for name, value in given:
        if name in DIMENSIONS:
            where.append(f"{name}={value}")
        elif name == "where":
            where.append(value)
        elif name not in names:
            raise Misread(
                name[:40], f"there is no parameter `{name[:40]}`; there are {', '.join(names)} and the dimensions by their names"
            )
        elif name in found:
            raise Misread(name, f"`{name}` is given twice")
        else:
            found[name] = value
    return found, where


def _read(parameter: str, reading: Callable[[], T]) -> T:
    try:
        return reading()
    except ValueError as error:
        raise Misread(parameter, str(error)) from None
