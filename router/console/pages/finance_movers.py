"""What changed: the groups that cost more or less than before, and the days out of the ordinary with their cause."""

from __future__ import annotations

from router.console.charts import Chart, Series
from router.console.figures import Column, Panel, Row, Table, dollars_of
from router.console.pages.finance import CHOICES, DOWNLOADS, View, about, label, months_of, view_of
from router.console.shown import dollars, words
from router.console.site import Answer, Asked, Handler, Page, Site, in_sql
from router.console.view_models import FinanceMovers
from router.reports.analysis import anomalies_of, movers_of
from router.reports.anomalies import meaning
from router.reports.question import Question

DRAWN = 12


async def show(site: Site, asked: Asked) -> Answer:
    """A span beside the one before it."""

    def work() -> FinanceMovers:
        zone = site.books.zone()
        view = view_of(asked, zone)
        return FinanceMovers(
            subject=view.subject,
            span=view.name,
            months=months_of(asked, zone, view),
            month=view.month,
            by=view.by,
            choices=tuple((name, label(name)) for name in CHOICES if name not in (*view.where, "session")),
            kept=tuple(view.where.items()),
            panels=(_movers(site, asked, view), _anomalies(site, asked, view)),
        )

    return Page("finance_movers.html", await in_sql(work))


def _question(view: View) -> Question:
    return Question((view.by,), view.narrowed, view.since, view.until, view.span)


def _movers(site: Site, asked: Asked, view: View) -> Panel:
    found = movers_of(site.books.spend, _question(view), asked.at, site.books.zone())
    columns = (
        Column(label(view.by)),
        Column(view.before_name, "money"),
        Column(view.name, "money"),
        Column("more or less", "money"),
        Column("change", "percent"),
    )
    rows = tuple(
        Row(
            (
                each.group[0],
                each.before_nano,
                each.after_nano,
                each.change_nano,
                each.percent_hundredths / 100 if each.percent_hundredths is not None else None,
            ),
            "/finance?" + view.query(**{view.by: each.group[0], "by": None, "grain": None}),
            each.kind if each.kind != "changed" else "",
        )
        for each in found.movers
    )
    all_of_it = found.total
    change = 100 * all_of_it.change_nano / all_of_it.before_nano if all_of_it.before_nano else None
    total = Row(("Total", all_of_it.before_nano, all_of_it.after_nano, all_of_it.change_nano, change))
    title = f"What changed by {label(view.by)}, {view.name}"
    told = f"The largest changes first, beside {'as much of ' if found.running else ''}the {'month' if view.month else 'days'} before."
    drawn = found.movers[:DRAWN]
    chart = Chart("bars", title, told, tuple(each.group[0] for each in drawn), (Series("more or less", tuple(dollars_of(each.change_nano) for each in drawn)),))  # fmt: skip
    return Panel(
        "movers", "Top movers", told, Table(title, columns, rows, total, about(view)), view.query(), chart if drawn else None
    )


def _anomalies(site: Site, asked: Asked, view: View) -> Panel:
    found = anomalies_of(site.books.spend, _question(view), asked.at, site.books.zone())
    columns = (
        Column("day"),
        Column(label(view.by)),
        Column("spend", "money"),
        Column("usual", "money"),
        Column("usual, at least", "money", aside=True),
        Column("usual, at most", "money", aside=True),
        Column("cause", "prose"),
        Column("compared with"),
        Column("parts of the change", "prose"),
    )
    rows = tuple(
        Row(
            (
                each.suspect.day,
                each.suspect.group,
                each.suspect.cost_nano,
                each.suspect.expected_nano,
                each.suspect.low_nano,
                each.suspect.high_nano,
                meaning(each.cause) + (f" ({each.detail})" if each.detail else ""),
                each.suspect.compared,
                "; ".join(f"{words(name)} {dollars(nano)}" for name, nano in each.parts.items()),
            ),
            "/finance?"
            + view.query(
                **{
                    view.by: each.suspect.group,
                    "by": None,
                    "grain": "hour",
                    "period": None,
                    "from": each.suspect.day,
                    "to": each.suspect.day,
                }
            ),
        )
        for each in found.anomalies
    )
    told = (
        f"Days far from what the same weekday cost in the eight weeks before: {found.judged:,} were judged, "
        f"{found.unjudged:,} have too few such days before them."
    )
    title = f"Days out of the ordinary by {label(view.by)}, {view.name}"
    return Panel(
        "anomalies",
        "Days out of the ordinary",
        told,
        Table(title, columns, rows, None, about(view)),
        view.query(),
        empty="No day stands out.",
    )


def _downloaded_movers(site: Site, asked: Asked) -> Panel:
    return _movers(site, asked, view_of(asked, site.books.zone()))


def _downloaded_anomalies(site: Site, asked: Asked) -> Panel:
    return _anomalies(site, asked, view_of(asked, site.books.zone()))


DOWNLOADS["movers"] = _downloaded_movers
DOWNLOADS["anomalies"] = _downloaded_anomalies

HANDLERS: dict[tuple[str, str], Handler] = {("GET", "/finance/movers"): show}
