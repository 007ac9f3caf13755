"""The single requests behind a figure, and the lines of one: what was booked, never what was said."""

from __future__ import annotations

from router.console.figures import Column, Panel, Row, Table
from router.console.pages.finance import CHOICES, DOWNLOADS, label, months_of, view_of
from router.console.shown import dollars, duration, moment
from router.console.site import Answer, Asked, Handler, Page, Site, in_sql, not_found
from router.console.view_models import FinanceRequest, FinanceRequests
from router.errors import Refused
from router.reports.requests import MOST, Booking, position

A_PAGE = 100
MOST_DOWNLOADED = 10_000
"""Requests of one table; longer ones are exports, which are streamed."""

SHOWN = ("owner", "app", "model", "tier", "sensitivity", "rule")
ASIDE = ("session", "team", "cost_center", "purpose", "task", "outcome", "basis")


async def listed(site: Site, asked: Asked) -> Answer:
    """The requests of a span and its filters, in the order of their bookings."""

    def work() -> FinanceRequests:
        zone = site.books.zone()
        view = view_of(asked, zone)
        panel, following = _bookings(site, asked, A_PAGE, asked.query.get("after", ""))
        return FinanceRequests(
            subject=view.subject,
            span=view.name,
            months=months_of(asked, zone, view),
            month=view.month,
            kept=tuple(view.where.items()),
            narrowed=tuple((label(name), value, view.query(**{name: None})) for name, value in view.where.items()),
            up=view.query(),
            panel=panel,
            following=view.query(after=following) if following else "",
        )

    return Page("finance_requests.html", await in_sql(work))


async def show(site: Site, asked: Asked) -> Answer:
    """What was booked for one request."""

    def work() -> FinanceRequest:
        request_id = asked.names["request_id"]
        found = site.books.request(request_id)
        if found is None:
            raise not_found("request")
        entry, _ = found
        facts = [(label(name), f"{value}") for name in CHOICES if (value := entry.get(name))]
        facts += [
            ("time in the router", duration(entry["router_us"] / 1e6)),
            ("time at the provider", duration(entry["upstream_us"] / 1e6)),
        ]
        return FinanceRequest(
            request_id=request_id,
            opened=moment(entry["opened_at"]),
            closed=moment(entry["closed_at"]),
            settled=entry["closed_at"] is not None,
            cost=dollars(entry["cost_nano"]) if entry["closed_at"] is not None else "",
            held=dollars(entry["held_nano"]),
            outcome=entry["outcome"] or "",
            facts=tuple(facts),
            panel=_lines(site, asked, request_id),
        )

    return Page("finance_request.html", await in_sql(work))


def _bookings(site: Site, asked: Asked, most: int, after: str = "") -> tuple[Panel, str]:
    """So many bookings behind another one, and where the next ones begin."""
    view = view_of(asked, site.books.zone())
    found: list[Booking] = []
    while True:
        try:
            behind = position(after) if after else None
        except ValueError:
            raise Refused("invalid_request", "this page has no following one") from None
        page = site.books.bookings(view.narrowed, view.since, view.until, behind, min(most - len(found), MOST))
        found += page.bookings
        after = page.next or ""
        if not after or len(found) >= most:
            break
    columns = (
        Column("request"),
        Column("booked (UTC)", "moment"),
        Column("cost", "money"),
        *(Column(label(name)) for name in SHOWN),
        *(Column(label(name), aside=True) for name in ASIDE),
        Column("lines", "count", aside=True),
    )
    rows = tuple(
        Row(
            (each.request_id, each.at, each.cost_nano, *(each.request.get(name, "") for name in (*SHOWN, *ASIDE)), each.lines),
            f"/finance/requests/{each.request_id}",
            "not settled" if each.open else "" if each.settled else "correction",
        )
        for each in found
    )
    title = f"Requests, {view.name}" + (f", {view.subject}" if view.where else "")
    told = "In the order in which they were booked."
    return Panel("requests", "Requests", told, Table(title, columns, rows), view.query()), after


def _lines(site: Site, asked: Asked, request_id: str) -> Panel:
    found = site.books.request(request_id)
    if found is None:
        raise not_found("request")
    entry, lines = found
    columns = (
        Column("line"),
        Column("booked (UTC)", "moment"),
        Column("attempt", "count"),
        Column("deployment"),
        Column("model"),
        Column("kind of use"),
        Column("quantity", "count"),
        Column("unit"),
        Column("price per million", "money"),
        Column("list price", "money", aside=True),
        Column("price book"),
        Column("basis"),
        Column("outcome", aside=True),
        Column("cost", "money"),
    )
    rows = tuple(
        Row(
            (
                str(each["line"]),
                each["at"],
                each["attempt"],
                each["deployment"],
                each["model"],
                each["token_class"].replace("_", " "),
                each["quantity"],
                each["unit"],
                each["unit_price"],
                each["list_price"],
                each["price_book"],
                each["basis"],
                each["outcome"],
                each["cost_nano"],
            ),
            mark="correction" if each["correction"] else "",
        )
        for each in lines
    )
    total = Row(("Total", *[""] * (len(columns) - 2), entry["cost_nano"]))
    title = f"Lines of {request_id}"
    return Panel("lines", "Lines", "A price of – is not known: such a line costs nothing until it is.", Table(title, columns, rows, total), f"request={request_id}")  # fmt: skip


def _downloaded(site: Site, asked: Asked) -> Panel:
    panel, following = _bookings(site, asked, MOST_DOWNLOADED)
    if following:
        raise Refused("invalid_request", f"these are more than {MOST_DOWNLOADED:,} requests: narrow them down, or take an export")
    return panel


def _downloaded_lines(site: Site, asked: Asked) -> Panel:
    return _lines(site, asked, asked.query.get("request", ""))


DOWNLOADS["requests"] = _downloaded
DOWNLOADS["lines"] = _downloaded_lines

HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/finance/requests"): listed,
    ("GET", "/finance/requests/{request_id}"): show,
}
