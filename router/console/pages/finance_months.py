"""Months: closed in order with their totals frozen, opened again by two people, and charged to cost centres by statements."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any
from urllib.parse import urlencode

from router.console.figures import Column, Panel, Row, Table
from router.console.pages.finance import DOWNLOADS
from router.console.shown import dollars, moment, short
from router.console.site import Answer, Asked, Handler, Move, Page, Raw, Site, in_sql, not_found
from router.console.view_models import FinanceMonth, FinanceMonths, FinanceStatement
from router.errors import Refused
from router.governance import months as governance
from router.governance.months import CLOSED, OPEN, Actor
from router.principals import Role
from router.reports.spend import UNALLOCATED
from router.reports.statement import FORMATS, ROUNDING, Statement, StatementLine, exact
from router.reports.statement import dollars as shown_cents

DONE = {
    "closed": "The month is closed: its totals are frozen, and what is corrected later falls into the next open month.",
    "asked": "You asked for the month to be opened again; somebody else with the role finance confirms it.",
    "reopened": "The month is open again.",
}


async def listed(site: Site, asked: Asked) -> Answer:
    """Every month, the one that is closed next, and what holds it up."""
    return await _page(site, asked)


async def close(site: Site, asked: Asked) -> Answer:
    """Close a month."""
    month, by = asked.names["month"], Actor(asked.person.email, asked.person)
    at = site.clock()
    try:
        standing = await in_sql(lambda: site.months.standing(at))
        undrained = await site.undrained(governance.written_before(standing, at))
        await in_sql(
            lambda: governance.close(site.months, month, actor=by, at=at, governance=asked.governance, undrained=undrained)
        )
    except Refused as refusal:
        return await _page(site, asked, refusal)
    return Move("/finance/months?done=closed")


async def reopen(site: Site, asked: Asked) -> Answer:
    """Ask for a month to be opened again, or confirm it."""
    month, by = asked.names["month"], Actor(asked.person.email, asked.person)
    try:
        period = await in_sql(lambda: governance.reopen(site.months, month, actor=by, at=site.clock()))
    except Refused as refusal:
        return await _page(site, asked, refusal)
    return Move(f"/finance/months?done={'asked' if period.state == CLOSED else 'reopened'}")


async def _page(site: Site, asked: Asked, refusal: Refused | None = None) -> Page:
    may = asked.person.holds(Role.FINANCE)

    def work() -> FinanceMonths:
        standing = site.months.standing(asked.at)
        periods = site.months.all()
        last = max((each.month for each in periods if each.state == CLOSED), default="")
        following = standing.next
        return FinanceMonths(
            next=following.month if following is not None else "",
            begins=moment(following.begins) if following is not None else "",
            ends=moment(following.ends) if following is not None else "",
            spent=dollars(site.books.spend((), following.begins, following.ends).total.cost_nano)
            if following is not None
            else "",
            ended=standing.ended,
            hindrances=tuple((each.what, each.count, each.examples) for each in standing.hindrances),
            last=last,
            asked_by=next((each.asked_by or "" for each in periods if each.month == last), ""),
            mine=any(each.month == last and each.asked_by == asked.person.email for each in periods),
            may=may,
            panel=_panel(site),
            done=DONE.get(asked.query.get("done", ""), ""),
            fault=refusal.message if refusal is not None else "",
        )

    return Page("finance_months.html", await in_sql(work), 200 if refusal is None else refusal.row.status)


def _panel(site: Site, asked: Asked | None = None) -> Panel:
    columns = (
        Column("month"),
        Column("state"),
        Column("total", "money"),
        Column("closed (UTC)", "moment"),
        Column("closed by"),
        Column("times closed", "count"),
        Column("digest"),
        Column("whole digest", aside=True),
    )
    rows = tuple(
        Row(
            (
                each.month,
                each.state,
                each.total_nano,
                each.closed_at,
                each.closed_by or "",
                each.version,
                short(each.digest or "", 20),
                each.digest or "",
            ),
            f"/finance/months/{each.month}",
        )
        for each in sorted(site.months.all(), key=lambda each: each.month, reverse=True)
    )
    told = "The digest is that of the frozen totals; it is a link of the audit chain." if rows else ""
    return Panel("months", "Months that were closed", told, Table("Months", columns, rows), "", empty="No month was closed yet.")


async def show(site: Site, asked: Asked) -> Answer:
    """The cost centres of a month, each with its statement."""

    def work() -> FinanceMonth:
        month = asked.names["month"]
        panel = _cost_centers(site, month)
        period = next((each for each in site.months.all() if each.month == month), None)
        return FinanceMonth(month=month, state=period.state if period is not None else OPEN, panel=panel)

    return Page("finance_month.html", await in_sql(work))


def _cost_centers(site: Site, month: str) -> Panel:
    found = site.statements.cost_centers(month)
    columns = (Column("cost centre"), Column("lines", "count"), Column("spend", "money"))
    rows = tuple(
        Row(
            (each.name, each.lines, each.cost_nano),
            f"/finance/months/{month}/statement?" + urlencode({"cost_center": each.name}),
            "nobody answers for it" if each.name == UNALLOCATED else "",
        )
        for each in found
    )
    total = Row(("Total", sum(each.lines for each in found), sum(each.cost_nano for each in found)))
    return Panel("cost-centres", "Cost centres", "Each has a statement.", Table(f"Cost centres, {month}", columns, rows, total), f"month={month}")  # fmt: skip


async def statement(site: Site, asked: Asked) -> Answer:
    """What a cost centre pays for in a month."""
    return Page("finance_statement.html", await in_sql(lambda: _stated(site, asked)))


async def statement_file(site: Site, asked: Asked) -> Answer:
    """A statement as CSV, JSON, a workbook, or one page to be sent on."""
    form = asked.names["form"]
    if form not in FORMATS:
        raise not_found("form of a statement")
    one = await in_sql(lambda: _statement(site, asked))
    files: Any = import_module("router.reports.statement_files")  # with openpyxl, when the first one is asked for
    body = await asyncio.to_thread(files.rendered, one, form)
    return Raw(body, files.TYPES[form], name=f"statement-{one.month}-{_plain(one.cost_center)}.{form}")


def _statement(site: Site, asked: Asked) -> Statement:
    cost_center, month = asked.query.get("cost_center", ""), asked.names["month"]
    one = site.statements.statement(cost_center, month, asked.at)
    if not one.all_lines:
        raise not_found("statement: nothing was booked on this cost centre in that month")
    return one


def _stated(site: Site, asked: Asked) -> FinanceStatement:
    one = _statement(site, asked)
    columns = (
        Column("app"),
        Column("owner"),
        Column("purpose"),
        Column("model"),
        Column("tokens", "count"),
        Column("unpriced tokens", "count"),
        Column("at list price", "money"),
        Column("discount", "money"),
        Column("cost", "money"),
    )

    def rows(lines: Sequence[StatementLine]) -> tuple[Row, ...]:
        return tuple(
            Row(
                (
                    each.app,
                    each.owner,
                    each.purpose,
                    each.model,
                    sum(each.quantities.values()),
                    sum(each.unpriced.values()),
                    each.list_nano,
                    each.discount_nano,
                    each.cost_nano,
                ),
                mark=f"{each.month}, {'late' if each.late else 'correction'}" if each.month else "",
            )
            for each in lines
        )

    def total(lines: Sequence[StatementLine]) -> Row:
        sums = [sum(each) for each in zip(*(row.values[4:] for row in rows(lines)), strict=True)]
        return Row(("Total", "", "", "", *sums))

    title = f"Statement of {one.cost_center}, {one.month}"
    panels = [Panel("", "What was used", "", Table(title, columns, rows(one.lines), total(one.lines)), "")] if one.lines else []
    if one.earlier:
        told = "Booked in this month for uses in earlier ones."
        panels.append(Panel("", "For earlier months", told, Table(title, columns, rows(one.earlier), total(one.earlier)), ""))
    return FinanceStatement(
        cost_center=one.cost_center,
        month=one.month,
        final=one.close is not None,
        facts=(
            ("to pay", f"${shown_cents(one.total_cents)}"),
            ("exactly", f"${exact(one.total_nano)}"),
            ("at list prices", dollars(one.list_nano)),
            ("estimated part", dollars(one.estimated_nano)),
            ("from (UTC)", moment(one.begins)),
            ("until (UTC)", moment(one.ends)),
            ("days are those of", one.zone),
            (
                "closed by",
                f"{one.close.by}, {moment(one.close.at)} UTC" if one.close is not None else "nobody yet: figures may change",
            ),
            ("digest of the frozen month", one.close.digest if one.close is not None else "–"),
        ),
        panels=tuple(panels),
        rounding=ROUNDING,
        query=urlencode({"cost_center": one.cost_center}),
        forms=FORMATS,
    )


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:80]


def _downloaded_cost_centers(site: Site, asked: Asked) -> Panel:
    return _cost_centers(site, asked.query.get("month", ""))


DOWNLOADS["months"] = _panel
DOWNLOADS["cost-centres"] = _downloaded_cost_centers

HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/finance/months"): listed,
    ("GET", "/finance/months/{month}"): show,
    ("GET", "/finance/months/{month}/statement"): statement,
    ("GET", "/finance/months/{month}/statement/{form}"): statement_file,
    ("POST", "/finance/months/{month}/close"): close,
    ("POST", "/finance/months/{month}/reopen"): reopen,
}
