"""What routing saved, in dollars with an interval and in seconds, beside what the router itself took."""

from __future__ import annotations

from router.console.charts import Chart, Series
from router.console.figures import Column, Panel, Row, Table, Value, dollars_of
from router.console.pages.finance import CHOICES, DOWNLOADS, View, about, label, months_of, view_of
from router.console.shown import dollars
from router.console.site import Answer, Asked, Handler, Page, Site, in_sql
from router.console.view_models import FinanceSavings
from router.errors import Refused
from router.reports.analysis import savings_of
from router.reports.question import Question
from router.reports.savings import Row as Saved
from router.reports.savings import SavingsReport

DRAWN = 12
OF_LINES = ("token_class", "basis", "priced")
BY = tuple(name for name in CHOICES if name not in (*OF_LINES, "session"))
MICROSECONDS = 1_000_000


async def show(site: Site, asked: Asked) -> Answer:
    """What routing saved in a span, by rule or another dimension."""

    def work() -> FinanceSavings:
        zone = site.books.zone()
        view = _view(site, asked)
        found = _saved(site, asked, view, (view.by,))
        return FinanceSavings(
            subject=view.subject,
            span=view.name,
            months=months_of(asked, zone, view),
            month=view.month,
            by=view.by,
            choices=tuple((name, label(name)) for name in BY if name not in view.where),
            kept=tuple(view.where.items()),
            panels=(_money(view, found), _time(view, _saved(site, asked, view, ("impact", "latency_class")))),
            assumptions=found.assumptions,
        )

    return Page("finance_savings.html", await in_sql(work))


def _view(site: Site, asked: Asked) -> View:
    view = view_of(asked, site.books.zone(), "rule")
    if view.by not in BY or any(name in view.where for name in OF_LINES):
        raise Refused("invalid_request", f"savings are of whole requests, by one of {', '.join(BY)}")
    return view


def _saved(site: Site, asked: Asked, view: View, by: tuple[str, ...]) -> SavingsReport:
    question = Question(by, view.narrowed, view.since, view.until, view.span)
    return savings_of(site.books, question, asked.at, site.directory.rules(), site.known_prices)


def _money(view: View, found: SavingsReport) -> Panel:
    columns = (
        Column(label(view.by)),
        Column("requests", "count"),
        Column("billed", "money"),
        Column("saved against the reasoning tier", "money"),
        Column("at least", "money"),
        Column("at most", "money"),
        Column("saved against what was asked for", "money"),
        Column("at least ", "money"),
        Column("at most ", "money"),
        Column("billed without a price asked for", "money", aside=True),
        Column("unpriced tokens", "count", aside=True),
    )

    def values(name: str, row: Saved) -> tuple[Value, ...]:
        low, middle, high = row.reasoning.saved if found.reasoning is not None else (None, None, None)
        asked_low, asked_middle, asked_high = row.asked.saved if row.asked.billed_nano or row.asked.middle else (None, None, None)
        reasoning, asked = (middle, low, high), (asked_middle, asked_low, asked_high)
        return (name, row.requests, row.cost_nano, *reasoning, *asked, row.not_compared_nano, row.unpriced_tokens)

    rows = tuple(
        Row(
            values(each.group[0], each),
            "/finance?" + view.query(**{view.by: each.group[0], "by": None, "grain": None}),
        )
        for each in found.rows
    )
    drawn = found.rows[:DRAWN]
    against = (
        Series("against the reasoning tier", tuple(dollars_of(each.reasoning.saved[1]) for each in drawn)),
        Series("against what was asked for", tuple(dollars_of(each.asked.saved[1]) for each in drawn)),
    )
    told = "No price of the reasoning tier is known."
    if found.reasoning is not None:
        low, middle, high = found.total.reasoning.saved
        told = (
            f"Against the reasoning tier {dollars(middle)} were saved, between {dollars(low)} and {dollars(high)}: an estimate."
        )
    title = f"What routing saved by {label(view.by)}, {view.name}" + (f", {view.subject}" if view.where else "")
    chart = Chart("bars", title, told, tuple(each.group[0] for each in drawn), against) if drawn else None
    table = Table(title, columns, rows, Row(values("Total", found.total)), about(view))
    return Panel("savings", "Dollars", told, table, view.query(), chart)


def _time(view: View, found: SavingsReport) -> Panel:
    columns = (
        Column("business impact"),
        Column("latency"),
        Column("requests", "count"),
        Column("billed", "money"),
        Column("saved against the reasoning tier", "money"),
        Column("seconds in the router", "seconds"),
        Column("seconds at providers", "seconds"),
        Column("seconds saved", "seconds"),
        Column("of requests", "count"),
    )

    def values(names: tuple[str, str], row: Saved) -> tuple[Value, ...]:
        saved = row.reasoning.saved[1] if found.reasoning is not None else None
        seconds = (row.router_us / MICROSECONDS, row.upstream_us / MICROSECONDS)
        return (
            *names,
            row.requests,
            row.cost_nano,
            saved,
            *seconds,
            row.saved_us / MICROSECONDS if row.timed else None,
            row.timed,
        )

    rows = tuple(Row(values((each.group[0], each.group[1]), each)) for each in found.rows)
    title = f"Dollars and seconds by business impact and latency class, {view.name}"
    told = "Seconds saved are against the median of the reasoning tier for the same task and complexity."
    table = Table(title, columns, rows, Row(values(("Total", ""), found.total)), about(view))
    return Panel("savings-time", "Seconds beside the dollars", told, table, view.query())


def _downloaded(site: Site, asked: Asked) -> Panel:
    view = _view(site, asked)
    return _money(view, _saved(site, asked, view, (view.by,)))


def _downloaded_time(site: Site, asked: Asked) -> Panel:
    view = _view(site, asked)
    return _time(view, _saved(site, asked, view, ("impact", "latency_class")))


DOWNLOADS["savings"] = _downloaded
DOWNLOADS["savings-time"] = _downloaded_time

HANDLERS: dict[tuple[str, str], Handler] = {("GET", "/finance/savings"): show}
