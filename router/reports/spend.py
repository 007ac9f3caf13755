"""The spend report: who asked, for what, on which model, what it cost; as a table, CSV or JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from router.money import usd

DIMENSIONS = (
    "owner",
    "app",
    "team",
    "cost_center",
    "purpose",
    "model",
    "deployment",
    "provider",
    "task",
    "sensitivity",
    "complexity",
    "rule",
    "tier",
    "revision",
    "asked_model",
    "impact",
    "latency_class",
    "session",
    "token_class",
    "outcome",
    "basis",
    "priced",
    "price_book",
    "hour",
    "day",
    "week",
    "month",
    "quarter",
    "year",
)
"""What spend is told apart by. `priced` is `priced` or `unpriced`; hours to years are those of the reports' time zone."""

UNKNOWN = "unknown"
"""What stands where nobody ever said."""

UNALLOCATED = "unallocated"
"""What reports say of a cost that no owner, team, cost centre or purpose is known of."""

UNALLOCATED_DIMENSIONS = frozenset({"owner", "team", "cost_center", "purpose"})

WHOLE_REQUEST = "whole request"
"""Where a report is by what only lines have (token class, basis, priced), the group of what is counted of requests as a whole."""

OPEN = "open"
"""The outcome of a request that has none yet."""

PRICED, UNPRICED = "priced", "unpriced"

UNITEMISED = "unitemised"
"""The token class of a cost that no line of the outcome accounts for, as when a dead process is charged its hold."""

FIGURES_OF_CLASSES = {
    "input_tokens": ("input",),
    "cached_input_tokens": ("cached_input",),
    "cache_write_tokens": ("cache_write", "cache_write_1h"),
    "output_tokens": ("output",),
    "reasoning_tokens": ("reasoning",),
    "audio_tokens": ("audio_input", "audio_cached_input", "audio_output"),
    "image_tokens": ("image_input", "image_output"),
}
"""Which token classes each figure of a report is the sum of."""

TOKEN_CLASSES = tuple(name for names in FIGURES_OF_CLASSES.values() for name in names)
"""All classes that are counted in tokens; the others are uses of hosted tools, and `UNITEMISED`, which has no quantity."""

FORMATS = ("table", "csv", "json")


class Figures(msgspec.Struct, frozen=True):
    """What is counted and summed. Money in nano-USD.

    `requests` are settled ones; `open_requests` are not settled yet, and hold `open_held_nano`, which is in no cost.
    `estimated_nano` and `corrected_nano` are parts of the cost: what no provider reported, and what later corrections
    added or took back. `unpriced_tokens` and `unpriced_uses` (of hosted tools) were used where no price is known, so they cost 0 here.
    `list_nano` is the same use at list prices, before discounts. `router_us` and `upstream_us` are how long settled requests took in
    this program and with providers, in microseconds.
    Token classes do not overlap; `tool_uses` are calls or seconds of hosted tools. `over_hold` counts requests whose cost exceeded
    what was held for them.
    """

    requests: int = 0
    open_requests: int = 0
    open_held_nano: int = 0
    over_hold: int = 0
    cost_nano: int = 0
    estimated_nano: int = 0
    corrected_nano: int = 0
    unpriced_tokens: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0
    tool_uses: int = 0
    unpriced_uses: int = 0
    list_nano: int = 0
    router_us: int = 0
    upstream_us: int = 0

    def __add__(self, other: Figures) -> Figures:
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return Figures(*(one + another for one, another in zip(mine, theirs, strict=True)))


class SpendRow(msgspec.Struct, frozen=True):
    """The figures of one group; `group` has one value per dimension of the report."""

    group: tuple[str, ...]
    figures: Figures


class SpendReport(msgspec.Struct, frozen=True):
    """Rows, the dearest first, and their total. `since` is inclusive, `until` exclusive, both UTC; None: no bound. `where` is what it is
    narrowed to: of each dimension any of the values."""

    by: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    rows: tuple[SpendRow, ...]
    where: dict[str, tuple[str, ...]] = {}

    @property
    def total(self) -> Figures:
        """The sum of all rows, exact."""
        return sum((row.figures for row in self.rows), Figures())

    @property
    def unpriced(self) -> tuple[SpendRow, ...]:
        """The rows with use that no price is known of: their true cost is higher than it says."""
        return tuple(row for row in self.rows if row.figures.unpriced_tokens or row.figures.unpriced_uses)


def dimensions(text: str) -> tuple[str, ...]:
    """The dimensions named in `owner,model`, in that order. Raises ValueError naming one that is unknown or repeated."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in DIMENSIONS:
            raise ValueError(f"spend has no dimension `{name}`; it has {', '.join(DIMENSIONS)}")
        if names.count(name) > 1:
            raise ValueError(f"the dimension `{name}` is named twice")
    return names


def conditions(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """What a report is narrowed to by `owner=ana` and the like: a dimension that is named again takes another value as well. Raises
    ValueError naming what is no dimension, or has no value."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        name = name.strip()
        if not mark or not value.strip():
            raise ValueError(f"`{name}` needs a value, as in `owner=ana@example.com`")
        if name not in DIMENSIONS:
            raise ValueError(f"spend has no dimension `{name}`; it has {', '.join(DIMENSIONS)}")
        found[name] = (*found.get(name, ()), value.strip())
    return found


def render(report: SpendReport, form: str) -> str:
    """The report in one of `FORMATS`, ending in a newline. Raises ValueError for another one."""
    if form == "table":
        return _table(report)
    if form == "csv":
        return _csv(report)
    if form == "json":
        return _json(report)
    raise ValueError(f"a report is rendered as {', '.join(FORMATS)}, not `{form}`")


def _json(report: SpendReport) -> str:
    return msgspec.json.format(msgspec.json.encode(document(report)), indent=2).decode() + "\n"


def document(report: SpendReport) -> dict[str, Any]:
    """The report as JSON has it. `unpriced` lists the groups with use that no price is known of."""
    return {
        "by": report.by,
        "since": report.since,
        "until": report.until,
        "where": report.where,
        "currency": "USD",
        "rows": [{**dict(zip(report.by, row.group, strict=True)), **_amounts(row.figures)} for row in report.rows],
        "unpriced": [
            {
                **dict(zip(report.by, row.group, strict=True)),
                "unpriced_tokens": row.figures.unpriced_tokens,
                "unpriced_uses": row.figures.unpriced_uses,
            }
            for row in report.unpriced
        ],
        "total": _amounts(report.total),
    }


def _amounts(figures: Figures) -> dict[str, int | str]:
    # Both forms: the integer to calculate with, the exact decimal for readers whose numbers are doubles.
    amounts: dict[str, int | str] = {}
    for name, value in msgspec.structs.asdict(figures).items():
        amounts[name] = value
        if name.endswith("_nano"):
            amounts[name.removesuffix("_nano") + "_usd"] = usd(value)
    return amounts


def _csv(report: SpendReport) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*report.by, *_amounts(Figures())])
    for row in report.rows:
        writer.writerow([*(plain_cell(value) for value in row.group), *_amounts(row.figures).values()])
    return text.getvalue()


def plain_cell(value: str) -> str:
    """A text that a spreadsheet shows as it is."""
    # A spreadsheet runs text that begins like a formula; an app chooses its own session names.
    return f"'{value}" if value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


_COLUMNS = {
    "requests": "requests",
    "cost_nano": "cost USD",
    "estimated_nano": "estimated USD",
    "input_tokens": "input",
    "cached_input_tokens": "cached",
    "cache_write_tokens": "cache write",
    "output_tokens": "output",
    "reasoning_tokens": "reasoning",
    "unpriced_tokens": "unpriced",
    "open_requests": "open",
    "open_held_nano": "held USD",
}


def _table(report: SpendReport) -> str:
    lines = [
        [*report.by, *_COLUMNS.values()],
        *([*row.group, *_cells(row.figures)] for row in report.rows),
        [*_total_label(len(report.by)), *_cells(report.total)],
    ]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    rule = "  ".join("-" * width for width in widths)
    texts = ["  ".join(_aligned(line, widths, len(report.by))).rstrip() for line in lines]
    texts = [texts[0], rule, *texts[1:-1], rule, texts[-1]]
    for row in report.unpriced:
        uses = f" and {row.figures.unpriced_uses} uses" if row.figures.unpriced_uses else ""
        texts.append(f"unpriced: {', '.join(row.group) or 'all'}: {row.figures.unpriced_tokens} tokens{uses} in no cost above")
    return "\n".join(texts) + "\n"


def _cells(figures: Figures) -> Iterable[str]:
    values = msgspec.structs.asdict(figures)
    return (usd(values[name]) if name.endswith("_nano") else str(values[name]) for name in _COLUMNS)


def _total_label(groups: int) -> list[str]:
    return (["total"] + [""] * groups)[:groups]


def _aligned(cells: Sequence[str], widths: Sequence[int], texts: int) -> Iterable[str]:
    for place, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        yield cell.ljust(width) if place < texts else cell.rjust(width)
