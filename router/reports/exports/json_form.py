"""A table as JSON lines: one object for each row, so that a reader needs no more memory than a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

import msgspec

from router.reports.exports.table import Batch, Kind, Table, decimal_text


def write_json(table: Table, sink: BinaryIO, seen: Callable[[Batch], None]) -> None:
    """Write the table. Decimals are texts: a reader's own numbers would not hold all of their digits. `seen` is told of each batch."""
    names = [column.name for column in table.columns]
    decimals = [(place, column.digits) for place, column in enumerate(table.columns) if column.kind is Kind.DECIMAL]
    times = [place for place, column in enumerate(table.columns) if column.kind is Kind.TIME]
    encoder = msgspec.json.Encoder()
    for batch in table.rows():
        objects = []
        for row in batch:
            cells: list[object] = list(row)
            for place, digits in decimals:
                value = row[place]
                cells[place] = decimal_text(value, digits) if isinstance(value, int) else None
            for place in times:
                moment = row[place]
                cells[place] = None if moment is None else table.time_text(moment)  # type: ignore[arg-type]
            objects.append(dict(zip(names, cells, strict=True)))
        sink.write(encoder.encode_lines(objects))
        seen(batch)
