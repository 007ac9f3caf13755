"""The ledger's own columns: one row for each line, with everything that is known of it."""

from __future__ import annotations

from collections.abc import Iterator

from router.reports.exports.lines import FinanceLine, Source, at_list
from router.reports.exports.table import NANO_DIGITS, Batch, Column, Kind, Table

TIMES = ("at", "incurred_at")
INTEGERS = ("line", "attempt", "quantity", "unit_price", "list_price", "cost_nano", "corrects")
EMPTY = ("unit_price", "list_price", "corrects")


def _column(name: str) -> Column:
    kind = Kind.TIME if name in TIMES else Kind.INTEGER if name in INTEGERS else Kind.FLAG if name == "correction" else Kind.TEXT
    names = {"unit_price": "unit_price_nano", "list_price": "list_price_nano"}
    return Column(names.get(name, name), kind, empty=name in EMPTY)


COLUMNS = (
    *(_column(name) for name in FinanceLine._fields),
    Column("list_nano", Kind.INTEGER, empty=True),
    Column("cost_usd", Kind.DECIMAL, NANO_DIGITS),
    Column("list_usd", Kind.DECIMAL, NANO_DIGITS, empty=True),
)
COST = FinanceLine._fields.index("cost_nano")


def plain(source: Source) -> Table:
    """The lines as they are in the ledger, with their costs in dollars beside the integers."""

    def rows() -> Iterator[Batch]:
        for batch in source.batches():
            yield [(*line, listed := at_list(line), line.cost_nano, listed) for line in batch]

    return Table(COLUMNS, rows, COST)
