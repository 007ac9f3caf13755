"""What was spent: a month by any dimension, as a chart and a table, narrowed step by step down to single requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from importlib import import_module
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec

from router.console.charts import FORMS, Chart, Series, stacked
from router.console.figures import Column, Panel, Row, Table, Value, as_csv, dollars_of
from router.console.shown import dollars, words
from router.console.site import Answer, Asked, Books, Handler, Move, Page, Raw, Site, in_sql, not_found
from router.console.view_models import Finance
from router.errors import Refused
from router.reports import spans
from router.reports.movers import periods
from router.reports.spans import Span
from router.reports.spend import DIMENSIONS, UNALLOCATED, Figures, SpendReport
from routing_rules.calendars import Per
from routing_rules.vocabulary import Sensitivity

GRAINS = ("hour", "day", "week", "month", "quarter", "year")
CHOICES = tuple(name for name in DIMENSIONS if name not in GRAINS)
"""What spend can be broken down by."""

LABELS = {
    "cost_center": "cost centre",
    "token_class": "kind of use",
    "asked_model": "asked-for model",
    "latency_class": "latency",
}
NEXT = ("team", "owner", "app", "purpose", "model", "rule", "session")
"""What a narrower page is broken down by, by itself."""

FINEST_DAYS = 3
MOST_DAYS = 120
"""Beyond this many days a chart has a column for a month, up to `FINEST_DAYS` one for an hour."""

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class View(msgspec.Struct, frozen=True):
    """What a finance page is asked for: a span of days, narrowed to `where`, broken down `by` something, over time by `grain`.

    `until` is the end of the span, or now where that comes first; `before` is the span before it, of a span that is not over as much as
    has passed of it: what it is compared with is as long.
    """

    span: Span
    by: str
    grain: str
    where: dict[str, str]
    running: bool
    before: tuple[datetime, datetime]
    before_name: str

    @property
    def since(self) -> datetime:
        """When it begins."""
        return self.span.since

    @property
    def until(self) -> datetime:
        """When it has ended."""
        return self.span.until

    @property
    def name(self) -> str:
        """The span in words."""
        return named(self.span)

    @property
    def month(self) -> str:
        """The month, where it is one."""
        return f"{self.span.first:%Y-%m}" if self.span.months == 1 else ""

    @property
    def narrowed(self) -> dict[str, tuple[str, ...]]:
        """The filters as reports take them."""
        return {name: (value,) for name, value in self.where.items()}

    @property
    def subject(self) -> str:
        """What it is narrowed to, in words."""
        return ", ".join(f"{label(name)} {value}" for name, value in self.where.items())

    def query(self, **changed: str | None) -> str:
        """Its address, with some of it changed; None leaves something out."""
        span, last = self.span, self.span.behind - timedelta(days=1)
        told: dict[str, str | None] = (
            {"period": self.month or span.name} if span.months else {"from": f"{span.first}", "to": f"{last}"}
        )
        told |= {"by": self.by, "grain": self.grain if self.grain != _grain(span) else None, **self.where, **changed}
        return urlencode({name: value for name, value in told.items() if value})


def named(span: Span) -> str:
    """A span in words."""
    return f"{span.first:%B %Y}" if span.months == 1 else span.name


def label(dimension: str) -> str:
    """A dimension in words."""
    return LABELS.get(dimension, words(dimension))


def view_of(asked: Asked, zone: ZoneInfo, usual: str = "team") -> View:
    """What the address asks for, by the dimension `usual` where it names none.

    Days win over a period, unless a form brings another period than the one that it was shown with. Raises Refused(`invalid_request`) where
    that is no period, no day or no dimension.
    """
    query = asked.query
    today = asked.at.astimezone(zone).date()
    try:
        chosen = query.get("period", "")
        if (query.get("from") or query.get("to")) and chosen in ("", query.get("was", chosen)):
            first = date.fromisoformat(query.get("from") or f"{today:%Y-%m}-01")
            span = spans.days(first, date.fromisoformat(query.get("to") or f"{today}") + timedelta(days=1), zone)
        else:
            span = spans.span(chosen or "this-month", asked.at, zone)
        earlier = spans.before(span, zone)
    except (ValueError, OverflowError):
        message = f"a period is one of {spans.WORDS}; a first and a last day are written as 2027-01-31"
        raise Refused("invalid_request", message) from None
    by = query.get("by") or usual
    if by not in CHOICES:
        raise Refused("invalid_request", f"spend is broken down by one of {', '.join(CHOICES)}")
    grain = query.get("grain") or _grain(span)
    if grain not in GRAINS:
        raise Refused("invalid_request", f"spend is shown by one of {', '.join(GRAINS)}")
    where = {name: query[name][:500] for name in CHOICES if query.get(name)}
    before, _, running = periods(span, asked.at, zone)
    before_name = f"as much of {named(earlier)}" if running else named(earlier)
    return View(span, by, grain, where, running, before, before_name)


def _grain(span: Span) -> str:
    days = (span.behind - span.first).days
    return "hour" if days <= FINEST_DAYS else "day" if days <= MOST_DAYS else "month"


async def show(site: Site, asked: Asked) -> Answer:
    """A month, or what it is narrowed to."""

    def work() -> Finance:
        books = site.books
        zone = books.zone()
        view = view_of(asked, zone)
        now = books.spend((view.by,), view.since, view.until, view.narrowed)
        before = books.spend((view.by,), *view.before, view.narrowed)
        owners = books.spend(("owner", "team", "cost_center"), view.since, view.until, view.narrowed)
        budgets = budgets_of(site, view)
        return Finance(
            title=view.subject or "Spend",
            span=view.name,
            zone=str(zone),
            months=months_of(asked, zone, view),
            month=view.month,
            first=f"{view.span.first}",
            last=f"{view.span.behind - timedelta(days=1)}",
            by=view.by,
            choices=tuple((name, label(name)) for name in CHOICES if name not in view.where),
            grain=asked.query.get("grain", ""),
            grains=GRAINS,
            kept=tuple(view.where.items()),
            narrowed=tuple((label(name), value, view.query(**{name: None, "by": name})) for name, value in view.where.items()),
            headlines=(*_headlines(now.total, before.total, _unallocated(owners), view), *_budget_headline(budgets)),
            requests=view.query(by=None),
            panels=(_over_time(books, view), _groups(view, now, before, budgets), _tiers(books.spend, view)),
        )

    return Page("finance.html", await in_sql(work))


def months_of(asked: Asked, zone: ZoneInfo, view: View) -> tuple[tuple[str, str, bool], ...]:
    """This month and the last one, as (name, query, whether it is the one that is shown)."""
    shown = []
    for name, word in (("This month", "this-month"), ("Last month", "last-month")):
        month = f"{spans.span(word, asked.at, zone).first:%Y-%m}"
        shown.append((name, view.query(**{"period": month, "from": None, "to": None, "grain": None}), view.month == month))
    return tuple(shown)


def _headlines(now: Figures, before: Figures, unallocated: int, view: View) -> tuple[tuple[str, str, str], ...]:
    change = _change(now.cost_nano, before.cost_nano)
    against = "nothing" if not before.cost_nano else dollars(before.cost_nano)
    told = f"{against} in {view.before_name}"
    if change is not None:
        told += f", {change:+.1f} %".replace("-", "−")
    waiting = f"{now.open_requests:,} not settled yet hold {dollars(now.open_held_nano)}" if now.open_requests else "all settled"
    return (
        ("Spend", dollars(now.cost_nano), told),
        ("Requests", f"{now.requests:,}", waiting),
        ("Unallocated", dollars(unallocated), _share(unallocated, now.cost_nano) + " has no owner, team or cost centre"),
        ("Unpriced", f"{now.unpriced_tokens:,}", "tokens used where no price is known: in no amount yet"),
        ("Estimated", dollars(now.estimated_nano), _share(now.estimated_nano, now.cost_nano) + " that no provider reported"),
    )


class Budget(msgspec.Struct, frozen=True):
    """What the owners of a group may spend in a month, and by how much those exceeded it who did. Nano-USD."""

    limit_nano: int
    over_nano: int


def budgets_of(site: Site, view: View) -> dict[str, Budget]:
    """The monthly budgets of each group, where a month is broken down by who pays. An owner's budget is told where all that they spent is in
    one group and in view, else nowhere: a part of it says nothing about the budget. Asks SQL."""
    if not view.month or view.by not in ("owner", "team", "cost_center") or view.where.keys() - {"owner", "team", "cost_center"}:
        return {}
    rules = site.directory.rules()
    whole = {row.group[0]: row.figures.cost_nano for row in site.books.spend(("owner",), view.since, view.until).rows}
    spent: dict[str, dict[str, int]] = {}
    for row in site.books.spend(
        (view.by, "owner") if view.by != "owner" else ("owner",), view.since, view.until, view.narrowed
    ).rows:
        spent.setdefault(row.group[-1], {})[row.group[0]] = row.figures.cost_nano
    found: dict[str, Budget] = {}
    for owner, groups in spent.items():
        budget = next((each for each in rules.budgets_of(owner) if each.per is Per.MONTH), None)
        limit = None if budget is None else budget.soft_nano if budget.hard_nano is None else budget.hard_nano
        group, cost = next(iter(groups.items()))
        if limit is None or owner == UNALLOCATED or len(groups) > 1 or cost != whole.get(owner):
            continue
        there = found.get(group, Budget(0, 0))
        found[group] = Budget(there.limit_nano + limit, there.over_nano + max(cost - limit, 0))
    return found


def _budget_headline(budgets: Mapping[str, Budget]) -> tuple[tuple[str, str, str], ...]:
    if not budgets:
        return ()
    over = {name: each.over_nano for name, each in budgets.items() if each.over_nano}
    told = (
        f"over it by {dollars(sum(over.values()))}: {', '.join(sorted(over, key=lambda name: -over[name])[:3])}"
        if over
        else "nobody is over it"
    )
    return (("Monthly budgets", dollars(sum(each.limit_nano for each in budgets.values())), told),)


def _unallocated(owners: SpendReport) -> int:
    return sum(row.figures.cost_nano for row in owners.rows if UNALLOCATED in row.group)


def _over_time(books: Books, view: View) -> Panel:
    """Spend over time: a column for each hour, day or longer, a part of it for each group."""
    split = view.by != "session"  # there are as many as there are conversations: drawn together
    found = books.spend((view.by, view.grain) if split else (view.grain,), view.since, view.until, view.narrowed)
    amounts: dict[str, dict[str, int]] = {}
    for row in found.rows:
        name, when = row.group[0] if split else "all sessions", row.group[-1]
        amounts.setdefault(name, {})[when] = row.figures.cost_nano
    whens = _whens(view, {when for each in amounts.values() for when in each}, books.zone())
    names = sorted(amounts, key=lambda name: (-sum(amounts[name].values()), name))
    title = f"Spend by {view.grain} and {label(view.by)}, {view.name}" + (f", {view.subject}" if view.where else "")
    most = max(whens, key=lambda when: sum(amounts[name].get(when, 0) for name in names), default="")
    told = f"{dollars(found.total.cost_nano)} in all" + (
        f"; the most, {dollars(sum(each.get(most, 0) for each in amounts.values()))}, in {most}; " if amounts else ". "
    )
    told += "in all sessions." if not split else f"the largest {label(view.by)} is {names[0]}." if names else "Nothing was spent."
    parts = {name: {when: dollars_of(nano) for when, nano in each.items()} for name, each in amounts.items()}
    # Drawn by the moments themselves: where clocks are put back, two hours are called the same.
    chart = msgspec.structs.replace(stacked(title, told, whens, parts), labels=tuple(_short(when, view) for when in whens))
    columns = (Column(view.grain), Column(label(view.by)), Column("spend", "money"))
    rows = tuple(Row((when, name, amounts[name][when])) for when in whens for name in names if amounts[name].get(when))
    total = Row(("Total", "", found.total.cost_nano))
    return Panel("over-time", "Over time", told, Table(title, columns, rows, total, about(view)), view.query(), chart)


def _groups(view: View, now: SpendReport, before: SpendReport, budgets: Mapping[str, Budget]) -> Panel:
    """Each group of a span beside the span before it."""
    earlier = {row.group[0]: row.figures for row in before.rows}
    present = {row.group[0]: row.figures for row in now.rows}
    total = now.total
    narrower = _narrower(view)
    rows = []
    for name in sorted({*present, *earlier}, key=lambda name: (-present.get(name, Figures()).cost_nano, name)):
        href = ""
        if view.by == "session":
            href = "/finance/requests?" + view.query(by=None, grain=None, session=name)
        elif narrower:
            href = "/finance?" + view.query(**{"by": narrower, view.by: name, "grain": None})
        mark = "unallocated" if name == UNALLOCATED else ""
        budget = budgets.get(name)
        held = (budget.limit_nano, budget.over_nano or None) if budget is not None else (None, None)
        if budget is not None and budget.over_nano:
            mark = "over budget"
        measured = _measured(name, present.get(name, Figures()), earlier.get(name, Figures()), total)
        rows.append(Row((*measured[:2], *held, *measured[2:]), href, mark))
    title = f"Spend by {label(view.by)}, {view.name}" + (f", {view.subject}" if view.where else "")
    told = f"Each {label(view.by)} beside {view.before_name}."
    columns = (
        Column(label(view.by)),
        Column("spend", "money"),
        Column("budget", "money", aside=not budgets),
        Column("over budget", "money", aside=not budgets),
        Column("share", "percent", aside=True),
        Column(view.before_name, "money"),
        Column("more or less", "money"),
        Column("change", "percent"),
        Column("requests", "count"),
        Column("input tokens", "count"),
        Column("output tokens", "count"),
        Column("estimated", "money", aside=True),
        Column("unpriced tokens", "count", aside=bool(budgets)),
    )
    measured = _measured("Total", total, before.total, total)
    limits = (
        (sum(each.limit_nano for each in budgets.values()), sum(each.over_nano for each in budgets.values()))
        if budgets
        else (None, None)
    )
    sum_of_all = Row((*measured[:2], *limits, *measured[2:]))
    return Panel(
        "groups", f"By {label(view.by)}", told, Table(title, columns, tuple(rows), sum_of_all, about(view)), view.query()
    )


def _measured(name: str, now: Figures, before: Figures, total: Figures) -> tuple[Value, ...]:
    share = 100 * now.cost_nano / total.cost_nano if total.cost_nano else None
    taken = now.input_tokens + now.cached_input_tokens + now.cache_write_tokens
    return (
        name,
        now.cost_nano,
        share,
        before.cost_nano,
        now.cost_nano - before.cost_nano,
        _change(now.cost_nano, before.cost_nano),
        now.requests,
        taken,
        now.output_tokens + now.reasoning_tokens,
        now.estimated_nano,
        now.unpriced_tokens,
    )


def _tiers(spend: Callable[..., SpendReport], view: View) -> Panel:
    """Where the money meets the data: sensitivity by tier."""
    found = spend(("sensitivity", "tier"), view.since, view.until, view.narrowed)
    amounts = {row.group: row.figures for row in found.rows}
    levels = _ordered({level for level, _ in amounts}, [each.value for each in Sensitivity])
    tiers = _ordered({tier for _, tier in amounts}, ("fast", "reasoning"))
    title = f"Spend by sensitivity and tier, {view.name}" + (f", {view.subject}" if view.where else "")
    most = max(amounts, key=lambda group: amounts[group].cost_nano, default=None)
    told = (
        f"The most, {dollars(amounts[most].cost_nano)}, is for {most[0]} data on the {most[1]} tier."
        if most
        else "Nothing was spent."
    )
    series = tuple(
        Series(level, tuple(dollars_of(amounts.get((level, tier), Figures()).cost_nano) for tier in tiers)) for level in levels
    )
    chart = Chart("heat", title, told, tuple(tiers), series)
    columns = (Column("sensitivity"), Column("tier"), Column("spend", "money"), Column("requests", "count"))
    rows = tuple(
        Row((level, tier, figures.cost_nano, figures.requests))
        for level in levels
        for tier in tiers
        if (figures := amounts.get((level, tier))) is not None
    )
    total = Row(("Total", "", found.total.cost_nano, found.total.requests))
    return Panel(
        "tiers",
        "Sensitivity by tier",
        told,
        Table(title, columns, rows, total, about(view)),
        view.query(),
        chart if amounts else None,
    )


def _narrower(view: View) -> str:
    """What the next page down is broken down by."""
    place = NEXT.index(view.by) + 1 if view.by in NEXT else 0
    return next((name for name in (*NEXT[place:], *NEXT) if name != view.by and name not in view.where), "")


def _ordered(found: Iterable[str], order: Sequence[str]) -> list[str]:
    there = set(found)
    return [name for name in order if name in there] + sorted(there - set(order))


def _whens(view: View, found: set[str], zone: ZoneInfo) -> list[str]:
    """Every hour or day of the span, whether something was spent or not; of other grains those with spend."""
    if view.grain == "hour" and view.until - view.since <= timedelta(days=FINEST_DAYS + 1):
        hours = range(round((view.until - view.since) / timedelta(hours=1)))
        told = ((view.since + timedelta(hours=each)).astimezone(zone).isoformat(timespec="minutes") for each in hours)
        return sorted({*told, *found}, key=datetime.fromisoformat)
    if view.grain != "day":
        return sorted(found)
    first = view.span.first
    days = [f"{first + timedelta(days=each)}" for each in range((view.span.behind - first).days)]
    return days if len(days) <= 2 * MOST_DAYS else sorted(found)


def _short(when: str, view: View) -> str:
    if view.grain == "day":
        day = date.fromisoformat(when)
        return f"{day:%-d %b}" if view.span.first.year == view.span.behind.year else f"{day:%-d %b %y}"
    return when[5:16].replace("T", " ") if view.grain == "hour" else when


def about(view: View) -> tuple[tuple[str, str], ...]:
    """What a table is of, for whoever has only the file."""
    told = [
        ("period", view.name),
        ("compared with", view.before_name),
        ("from (UTC)", f"{view.since:%Y-%m-%d %H:%M}"),
        ("until (UTC)", f"{view.until:%Y-%m-%d %H:%M}"),
    ]
    return (*told, *((label(name), value) for name, value in view.where.items()), ("currency", "USD"))


def _change(now: int, before: int) -> float | None:
    return 100 * (now - before) / before if before else None


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"


async def file(site: Site, asked: Asked) -> Answer:
    """A chart as a picture, or a table as CSV or a workbook: of the page with the same query."""
    name, _, form = asked.names["name"].rpartition(".")
    make = DOWNLOADS.get(name)
    if make is None or form not in (*FORMS, "csv", "xlsx"):
        raise not_found("file")
    panel = await in_sql(partial(make, site, asked))
    if form in FORMS:
        if panel.chart is None:
            raise not_found("chart")
        return Raw(await site.artist.draw(panel.chart, form), FORMS[form])
    saved = f"{name}.{form}"
    if form == "csv":
        return Raw(as_csv(panel.table), "text/csv; charset=utf-8", name=saved)
    return Raw(await in_sql(lambda: _sheets().workbook(panel.table)), XLSX, name=saved)


def _panel(name: str, site: Site, asked: Asked) -> Panel:
    view = view_of(asked, site.books.zone())
    spend = site.books.spend
    if name == "over-time":
        return _over_time(site.books, view)
    if name == "tiers":
        return _tiers(spend, view)
    now, before = (spend((view.by,), since, until, view.narrowed) for since, until in ((view.since, view.until), view.before))
    return _groups(view, now, before, budgets_of(site, view))


def _sheets() -> Any:
    """What makes workbooks, imported when the first one is asked for."""
    return import_module("router.console.sheets")


async def moved(_: Site, asked: Asked) -> Answer:
    """Where this was before."""
    return Move("/finance")


DOWNLOADS: dict[str, Callable[[Site, Asked], Panel]] = {name: partial(_panel, name) for name in ("over-time", "groups", "tiers")}
"""What can be downloaded, by name; the pages beside this one add theirs."""

HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/finance"): show,
    ("GET", "/finance/files/{name}"): file,
    ("GET", "/spend"): moved,
}
