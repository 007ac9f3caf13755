"""The single requests behind a figure of a report: what was booked for each, page by page, and all lines of one. Never their text."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from router.money import usd
from router.reports.spend import UNALLOCATED, UNALLOCATED_DIMENSIONS, UNKNOWN, plain_cell

MOST = 1_000
"""Bookings on one page at most."""


class Booking(msgspec.Struct, frozen=True):
    """What was booked for one request at one moment, of the lines that the report is narrowed to: `cost_nano` is their sum. `settled` and
    `open` say whether it counts as a request of the report, settled or not yet; a later correction is a booking that does not.
    `request` holds the request's own values by dimension; a retried one may have lines of other deployments.
    """

    at: datetime
    request_id: str
    cost_nano: int
    lines: int
    settled: bool
    open: bool
    held_nano: int
    code: str | None
    request: dict[str, str]


class BookingsPage(msgspec.Struct, frozen=True):
    """Bookings in the order of their moments, and where the next page begins (None: nowhere)."""

    bookings: tuple[Booking, ...]
    next: str | None


def cursor(at: datetime, request_id: str) -> str:
    """Where a page goes on, as text: behind this booking."""
    return f"{at.isoformat(timespec='microseconds')}~{request_id}"


def position(text: str) -> tuple[datetime, str]:
    """The booking behind which a page goes on. Raises ValueError."""
    moment, mark, request_id = text.partition("~")
    try:
        at = datetime.fromisoformat(moment.replace(" ", "+"))  # a `+` in an address that nobody encoded
        if mark and request_id and at.tzinfo is not None:
            return at, request_id
    except ValueError:
        pass
    raise ValueError("this is no `next` of an earlier page")


def said(values: Mapping[str, Any]) -> dict[str, str]:
    """Dimensions of a request as reports say them."""
    return {
        name: UNALLOCATED if name in UNALLOCATED_DIMENSIONS and value in ("", UNKNOWN) else str(value or UNKNOWN)
        for name, value in values.items()
    }


def flat(booking: Booking) -> dict[str, Any]:
    """A booking as one object of JSON."""
    return {
        "at": booking.at,
        "request_id": booking.request_id,
        "cost_nano": booking.cost_nano,
        "cost_usd": usd(booking.cost_nano),
        "lines": booking.lines,
        "settled": booking.settled,
        "open": booking.open,
        "held_nano": booking.held_nano,
        "code": booking.code,
        **booking.request,
    }


def document(page: BookingsPage) -> dict[str, Any]:
    """A page as JSON has it."""
    return {"currency": "USD", "data": [flat(each) for each in page.bookings], "next": page.next}


def render(page: BookingsPage, form: str) -> str:
    """The page as `table`, `csv` or `json`, ending in a newline."""
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(document(page)), indent=2).decode() + "\n"
    if form == "csv":
        return _csv([flat(each) for each in page.bookings])
    shown = ("owner", "app", "model", "task", "sensitivity", "tier", "rule", "outcome")
    lines = [["booked", "request", *shown, "lines", "cost USD"]]
    for each in page.bookings:
        cells = (each.request.get(name, "") for name in shown)
        lines.append(
            [
                f"{each.at:%Y-%m-%d %H:%M:%S}",
                each.request_id,
                *cells,
                str(each.lines),
                "open" if each.open else usd(each.cost_nano),
            ]
        )
    text = aligned(lines, right=2)
    return text + (f"more: --after '{page.next}'\n" if page.next else "")


def one(entry: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A request with all its lines as JSON has it."""
    return {
        "currency": "USD",
        "request": {**_with_usd(entry), **said({name: entry[name] for name in UNALLOCATED_DIMENSIONS})},
        "lines": [_with_usd(line) for line in lines],
    }


def render_one(entry: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], form: str) -> str:
    """A request with all its lines as `table`, `csv` (the lines) or `json`, ending in a newline."""
    found = one(entry, lines)
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"
    if form == "csv":
        return _csv(found["lines"])
    width = max(len(name) for name in found["request"])
    head = "".join(f"{name.ljust(width)}  {'' if value is None else value}\n" for name, value in found["request"].items())
    shown = (
        "line",
        "at",
        "attempt",
        "deployment",
        "token_class",
        "quantity",
        "unit_price",
        "cost_usd",
        "basis",
        "outcome",
        "correction",
    )
    rows = [list(shown), *([_cell(line[name]) for name in shown] for line in found["lines"])]
    return head + "\n" + aligned(rows, right=0)


def aligned(rows: Sequence[Sequence[str]], right: int) -> str:
    """Rows as columns of text, the last `right` of them to the right; the first row is the heading."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    edge = len(widths) - right
    texts = [
        "  ".join(
            cell.ljust(width) if place < edge else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return (
        "\n".join([texts[0].rstrip(), "  ".join("-" * width for width in widths), *(text.rstrip() for text in texts[1:])]) + "\n"
    )


def _cell(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)


def _with_usd(values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found[name] = value
        if name.endswith("_nano"):
            found[name.removesuffix("_nano") + "_usd"] = usd(value)
    return found


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if rows:
        writer.writerow(rows[0])
    for row in rows:
        writer.writerow(
            [value if isinstance(value, int) else plain_cell("" if value is None else _plain(value)) for value in row.values()]
        )
    return text.getvalue()


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
