"""Top movers: what a period cost against the one before it, by any dimension, the largest changes first."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from router.money import usd
from router.reports.requests import aligned
from router.reports.spans import Span, before
from router.reports.spend import SpendReport, plain_cell

NEW, GONE, CHANGED = "new", "gone", "changed"


class Mover(msgspec.Struct, frozen=True):
    """One group's cost in both periods, in nano-USD. `percent` of the earlier cost in hundredths of a percent; None: there was none.
    `kind` is `new` where only the later period has a cost or use of it, `gone` where only the earlier one has."""

    group: tuple[str, ...]
    before_nano: int
    after_nano: int
    percent_hundredths: int | None
    kind: str

    @property
    def change_nano(self) -> int:
        """How much more it cost, in nano-USD."""
        return self.after_nano - self.before_nano


class MoversReport(msgspec.Struct, frozen=True):
    """Both periods, from since to before until in UTC, and the groups with the largest changes first. `total` is of all groups; `running`:
    the later period is not over, and is compared with as much of the one before."""

    by: tuple[str, ...]
    where: dict[str, tuple[str, ...]]
    before: tuple[datetime, datetime]
    after: tuple[datetime, datetime]
    running: bool
    movers: tuple[Mover, ...]
    total: Mover
    left_out: int = 0


def periods(span: Span, now: datetime, zone: Any) -> tuple[tuple[datetime, datetime], tuple[datetime, datetime], bool]:
    """The period before a span, the span itself, and whether it is still running: then both end as long after they began."""
    earlier = before(span, zone)
    if not span.since < now < span.until:
        return (earlier.since, earlier.until), (span.since, span.until), False
    return (earlier.since, min(earlier.since + (now - span.since), earlier.until)), (span.since, now), True


def movers_report(earlier: SpendReport, later: SpendReport, *, running: bool = False, most: int | None = None) -> MoversReport:
    """The changes from one report to another by the same dimensions; `most`: the largest so many only. Raises ValueError where either has
    no bounds."""
    if None in (earlier.since, earlier.until, later.since, later.until):
        raise ValueError("movers compare two periods that begin and end")
    once = {row.group: row.figures.cost_nano for row in earlier.rows}
    now = {row.group: row.figures.cost_nano for row in later.rows}
    found = []
    for group in once.keys() | now.keys():
        kind = NEW if group not in once else GONE if group not in now else CHANGED
        found.append(_mover(group, once.get(group, 0), now.get(group, 0), kind))
    found.sort(key=lambda mover: (-abs(mover.change_nano), mover.group))
    shown = found if most is None else found[:most]
    return MoversReport(
        by=later.by,
        where=later.where,
        before=(earlier.since, earlier.until),  # type: ignore[arg-type]
        after=(later.since, later.until),  # type: ignore[arg-type]
        running=running,
        movers=tuple(shown),
        total=_mover((), earlier.total.cost_nano, later.total.cost_nano, CHANGED),
        left_out=len(found) - len(shown),
    )


def _mover(group: tuple[str, ...], once: int, now: int, kind: str) -> Mover:
    percent = None if once <= 0 else _nearest(10_000 * (now - once), once)
    return Mover(group, once, now, percent, kind)


def _nearest(value: int, by: int) -> int:
    """The whole number nearest to a quotient, halves away from nought."""
    sign = -1 if value < 0 else 1
    return sign * ((2 * abs(value) + by) // (2 * by))


def percent(mover: Mover) -> str | None:
    """The change as text with two decimals, such as `-12.50`."""
    if mover.percent_hundredths is None:
        return None
    whole, fraction = divmod(abs(mover.percent_hundredths), 100)
    return f"{'-' if mover.percent_hundredths < 0 else ''}{whole}.{fraction:02}"


def document(report: MoversReport) -> dict[str, Any]:
    """The report as JSON has it."""
    return {
        "by": report.by,
        "where": report.where,
        "before": dict(zip(("since", "until"), report.before, strict=True)),
        "after": dict(zip(("since", "until"), report.after, strict=True)),
        "running": report.running,
        "currency": "USD",
        "rows": [_row(report.by, mover) for mover in report.movers],
        "left_out": report.left_out,
        "total": _row((), report.total),
    }


def _row(by: Sequence[str], mover: Mover) -> dict[str, Any]:
    amounts: dict[str, Any] = {}
    for name, nano in (("before", mover.before_nano), ("after", mover.after_nano), ("change", mover.change_nano)):
        amounts |= {f"{name}_nano": nano, f"{name}_usd": usd(nano)}
    return {**dict(zip(by, mover.group, strict=True)), **amounts, "percent": percent(mover), "kind": mover.kind}


def render(report: MoversReport, form: str) -> str:
    """The report as `table`, `csv` or `json`, ending in a newline."""
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(document(report)), indent=2).decode() + "\n"
    if form == "csv":
        return csv_of([_row(report.by, mover) for mover in report.movers])
    rows = [[*report.by, "kind", "before USD", "after USD", "change USD", "%"]]
    for mover in (*report.movers, report.total):
        names = list(mover.group) if mover is not report.total else (["total"] + [""] * len(report.by))[: len(report.by)]
        amounts = (usd(each) for each in (mover.before_nano, mover.after_nano, mover.change_nano))
        rows.append([*names, "" if mover is report.total else mover.kind, *amounts, percent(mover) or "-"])
    return aligned(rows, right=4) + (f"{report.left_out} smaller changes are left out\n" if report.left_out else "")


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same names as CSV, without what a spreadsheet would run; nothing where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number, row in enumerate(rows):
        if not number:
            writer.writerow(row)
        writer.writerow(
            [value if isinstance(value, int) else plain_cell("" if value is None else str(value)) for value in row.values()]
        )
    return text.getvalue()
