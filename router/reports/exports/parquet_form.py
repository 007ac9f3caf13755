"""A table as Parquet: 64-bit integers, exact decimals, times in UTC and dictionaries of words."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from router.reports.exports.table import Batch, Column, Kind, Table

ROWS_TOGETHER = 40_000
"""In one row group, of which the writer holds one."""

DECIMAL_BYTES = 16
DECIMAL_DIGITS = 38


def write_parquet(table: Table, sink: BinaryIO, seen: Callable[[Batch], None]) -> None:
    """Write the table, one row group after the other. `seen` is told of each batch."""
    schema = pa.schema([pa.field(column.name, _type(column), nullable=column.empty) for column in table.columns])
    words = [column.name for column in table.columns if column.kind in (Kind.TEXT, Kind.JSON)]
    pool = pa.default_memory_pool()
    with pq.ParquetWriter(sink, schema, use_dictionary=words, compression="zstd", compression_level=1, version="2.6") as writer:
        waiting: list[pa.RecordBatch] = []
        rows = 0
        for batch in table.rows():
            if not batch:
                continue
            cells = zip(*batch, strict=True)
            arrays = [_array(column, values) for column, values in zip(table.columns, cells, strict=True)]
            waiting.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
            rows += len(batch)
            if rows >= ROWS_TOGETHER:
                writer.write_table(pa.Table.from_batches(waiting, schema))
                waiting, rows = [], 0
                pool.release_unused()
            seen(batch)
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, schema))


def _type(column: Column) -> pa.DataType:
    if column.kind is Kind.DECIMAL:
        return pa.decimal128(DECIMAL_DIGITS, column.digits)
    types = {Kind.TIME: pa.timestamp("us", tz="UTC"), Kind.INTEGER: pa.int64(), Kind.FLAG: pa.bool_()}
    return types.get(column.kind, pa.string())


def _array(column: Column, values: Sequence[Any]) -> pa.Array:
    kind = _type(column)
    if column.kind is not Kind.DECIMAL:
        return pa.array(values, kind)
    # As the format itself holds them: from `Decimal` values it takes many times as long.
    missing = None in values
    there = pa.array([value is not None for value in values]).buffers()[1] if missing else None
    return pa.Array.from_buffers(kind, len(values), [there, pa.py_buffer(_digits([each or 0 for each in values]))])


def _digits(values: Sequence[int]) -> bytes:
    try:
        low = array("q", values)
    except OverflowError:  # more than 64 bits
        return b"".join([value.to_bytes(DECIMAL_BYTES, sys.byteorder, signed=True) for value in values])
    halves = array("q", bytes(DECIMAL_BYTES * len(values)))
    first = 0 if sys.byteorder == "little" else 1
    halves[first::2] = low
    halves[1 - first :: 2] = array("q", [value >> 63 for value in values])
    return halves.tobytes()
