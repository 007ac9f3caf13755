"""The ledger line by line as a file, in the forms that finance tools read."""

from __future__ import annotations

from router.console.pages.finance import months_of, view_of
from router.console.site import Answer, Asked, Handler, Page, Sent, Site, in_sql
from router.console.view_models import FinanceExports

FORMS = (
    ("csv", "", "CSV, every column of the ledger"),
    ("xlsx", "", "Workbook with a summary, numbers and dates"),
    ("parquet", "", "Parquet, for DuckDB, Spark and BigQuery"),
    ("json", "", "JSON, a line for each line"),
    ("csv", "1.2", "FOCUS 1.2 as CSV"),
    ("parquet", "1.2", "FOCUS 1.2 as Parquet"),
    ("csv", "1.4", "FOCUS 1.4 as CSV"),
    ("parquet", "1.4", "FOCUS 1.4 as Parquet"),
)


async def show(site: Site, asked: Asked) -> Answer:
    """What can be taken along of a span."""

    def work() -> FinanceExports:
        zone = site.books.zone()
        view = view_of(asked, zone)
        spans = (("since", view.since.isoformat()), ("until", view.until.isoformat()))
        return FinanceExports(
            span=view.name,
            months=months_of(asked, zone, view),
            month=view.month,
            kept=tuple(view.where.items()),
            spans=spans,
            where=tuple(f"{name}={value}" for name, value in view.where.items()),
            forms=FORMS,
        )

    return Page("finance_exports.html", await in_sql(work))


async def file(site: Site, asked: Asked) -> Answer:
    """One of them, as it is written."""
    return Sent(await site.export([pair for pair in asked.pairs if pair[1]]))


HANDLERS: dict[tuple[str, str], Handler] = {("GET", "/finance/exports"): show, ("GET", "/finance/exports/file"): file}
