"""Writes an export: checks that it adds up to the ledger's own total, and leaves nothing half-written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO, cast

import msgspec

from router.money import usd
from router.reports.exports.csv_form import write_csv
from router.reports.exports.focus import BILLING_PERIODS, GRAINS, VERSIONS, billing_periods, cost_and_usage
from router.reports.exports.json_form import write_json
from router.reports.exports.lines import Source
from router.reports.exports.plain import plain
from router.reports.exports.table import Batch, Table

FORMATS = ("csv", "json", "parquet", "xlsx")
FOCUS_FORMATS = ("csv", "parquet")
DATASETS = ("CostAndUsage", BILLING_PERIODS)

MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
SUFFIXES = {"csv": "csv", "json": "jsonl", "parquet": "parquet", "xlsx": "xlsx"}

_Writer = Callable[[Table, BinaryIO, Callable[[Batch], None]], None]


class Form(msgspec.Struct, frozen=True):
    """What kind of export is wanted. `focus` is a version of FOCUS, '' for the ledger's own columns.

    `grain` is `request` (a row for each line) or `day`; `dataset` one of FOCUS's, of which 1.2 has only `CostAndUsage`.
    """

    format: str
    focus: str = ""
    grain: str = "request"
    dataset: str = DATASETS[0]


class Written(msgspec.Struct, frozen=True):
    """What was written: rows, the sum of their cost in nano-USD, bytes and their SHA-256 as hexadecimal digits."""

    rows: int
    total_nano: int
    bytes: int
    sha256: str


class DoesNotAddUp(RuntimeError):
    """An export is not what the ledger says, so there is none."""


def check(form: Form) -> None:
    """Raises ValueError with a sentence about a form that there is not."""
    if form.format not in FORMATS:
        raise ValueError(f"an export is {', '.join(FORMATS)}, not `{form.format[:20]}`")
    if form.focus and form.focus not in VERSIONS:
        raise ValueError(f"FOCUS is exported in the versions {', '.join(VERSIONS)}, not `{form.focus[:20]}`")
    if form.focus and form.format not in FOCUS_FORMATS:
        raise ValueError(f"FOCUS is exported as {' or '.join(FOCUS_FORMATS)}, not `{form.format}`")
    if form.grain not in GRAINS:
        raise ValueError(f"the grain of an export is {' or '.join(GRAINS)}, not `{form.grain[:20]}`")
    if form.dataset not in DATASETS:
        raise ValueError(f"a dataset is {' or '.join(DATASETS)}, not `{form.dataset[:30]}`")
    if form.grain != GRAINS[0] and not form.focus:
        raise ValueError("only FOCUS is exported by day: the ledger's own columns are those of a line")
    if form.dataset == BILLING_PERIODS and form.focus != VERSIONS[-1]:
        raise ValueError(f"the dataset {BILLING_PERIODS} is of FOCUS {VERSIONS[-1]}")


def table_of(source: Source, form: Form) -> Table:
    """What is to be written. Raises ValueError as `check` does."""
    check(form)
    if form.dataset == BILLING_PERIODS:
        return billing_periods(source)
    return cost_and_usage(source, form.focus, form.grain) if form.focus else plain(source)


def file_name(form: Form) -> str:
    """A name for a file of this form."""
    if not form.focus:
        return f"spend.{SUFFIXES[form.format]}"
    return f"focus-{form.focus}-{form.dataset}.{SUFFIXES[form.format]}"


def write(source: Source, form: Form, sink: BinaryIO, progress: Callable[[int], None] = lambda _: None) -> Written:
    """Write an export, forwards only. `progress` is told how many rows there are so far.

    Raises ValueError as `check` does, and DoesNotAddUp where the rows are not worth what the ledger's lines are.
    """
    table = table_of(source, form)
    counted = _Counted(sink)
    rows = total = 0

    def seen(batch: Batch) -> None:
        nonlocal rows, total
        rows += len(batch)
        if table.cost is not None:
            total += sum(cast(int, row[table.cost]) for row in batch)
        progress(rows)

    _writer(form, source)(table, cast(BinaryIO, counted), seen)
    if table.cost is not None and total != source.total_nano:
        raise DoesNotAddUp(f"the rows add up to {usd(total)} dollars, the ledger to {usd(source.total_nano)}")
    if not form.focus and rows != source.count:
        raise DoesNotAddUp(f"{rows} rows were written of {source.count} lines")
    return Written(rows, total, counted.size, counted.digest.hexdigest())


def write_file(source: Source, form: Form, path: Path, progress: Callable[[int], None] = lambda _: None) -> Written:
    """Write an export to a file, which is there only once it is complete, and then takes the place of an earlier one.

    Raises what `write` does, and OSError.
    """
    part = unfinished(path)
    try:
        with part.open("xb") as sink:
            written = write(source, form, sink, progress)
            sink.flush()
            os.fsync(sink.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return written


def unfinished(path: Path) -> Path:
    """Where beside it a file is written until it is whole. Whoever opens it gives it the mode of other new files, so that others may
    read what is for them."""
    return path.with_name(f".{path.name}.{token_hex(8)}.part")


def _writer(form: Form, source: Source) -> _Writer:
    if form.format == "csv":
        return write_csv
    if form.format == "json":
        return write_json
    # Imported only now: each takes a second and tens of megabytes.
    module = import_module(f"router.reports.exports.{form.format}_form")
    if form.format == "parquet":
        return cast(_Writer, module.write_parquet)
    return cast(_Writer, partial(module.write_xlsx, said=_said(source)))


def _said(source: Source) -> list[tuple[str, str]]:
    said = [
        ("read at (UTC)", f"{source.read_at:%Y-%m-%d %H:%M:%S}"),
        ("booked from (UTC)", f"{source.since:%Y-%m-%d %H:%M:%S}" if source.since else "the beginning"),
        ("booked until (UTC)", f"{source.until:%Y-%m-%d %H:%M:%S}" if source.until else "now"),
        ("time zone of reports", source.zone.key),
    ]
    return said + [(f"only {name}", ", ".join(values)) for name, values in source.where.items()]


class _Counted:
    """Passes bytes on, and counts and digests them."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self.size = 0
        self.digest = hashlib.sha256()
        self.closed = False

    def write(self, data: Any) -> int:
        """All of the bytes."""
        view = memoryview(data)
        self._sink.write(view)
        self.digest.update(view)
        self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        """How many bytes there are so far."""
        return self.size

    def flush(self) -> None:
        """Have the bytes go on."""
        self._sink.flush()

    def readable(self) -> bool:
        """It is not."""
        return False

    def writable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is not: what is written has gone on."""
        return False

    def close(self) -> None:
        """Whoever opened the sink closes it."""
