"""Budgets of owners: what is left of each, and how it will go on until its period ends."""

from __future__ import annotations

import secrets
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate
from urllib.parse import quote, urlencode

from router.console.charts import Chart, Series
from router.console.figures import Column, Panel, Row, Table, Value, dollars_of
from router.console.pages.finance import DOWNLOADS
from router.console.shown import dollars, moment, words
from router.console.site import Answer, Asked, Handler, Move, Page, Site, in_sql, not_found
from router.console.view_models import FinanceBudget, FinanceBudgets, Raised
from router.errors import Refused
from router.governance import raises as governance
from router.reports.burn import BudgetRow
from router.reports.forecast import COVERAGE, MOST_DAYS, forecast
from router.reports.spans import day_begins
from routing_rules.calendars import Per
from routing_rules.reading import nano_usd

NEVER = ""


DONE = {
    "asked": "The raise waits for somebody else of finance, or an admin, to approve it.",
    "approve": "The raise is in force everywhere.",
    "end": "The raise is over.",
}


async def listed(site: Site, asked: Asked) -> Answer:
    """Every budget in the period that runs, and every raise."""
    return await _page(site, asked)


async def ask(site: Site, asked: Asked) -> Answer:
    """Ask for a raise of a budget until the end of a day."""
    form = asked.form
    zone = site.directory.rules().time_zone
    try:
        try:
            last = date.fromisoformat(form.get("until", ""))
            percent = int(form["percent"]) if form.get("percent") else None
            amount = nano_usd(form["amount"]) if form.get("amount") else None
        except ValueError:
            raise Refused(
                "invalid_request", "the last day is written as 2027-01-31, an amount as 250.00, percents as 20"
            ) from None
        await in_sql(
            lambda: governance.ask(
                site.raises,
                site.directory.rules(),
                raise_id=f"raise_{secrets.token_hex(8)}",
                owner=form.get("owner", ""),
                per=form.get("per", ""),
                amount_nano=amount,
                percent=percent,
                ends=datetime.combine(last + timedelta(days=1), time(), zone).astimezone(UTC),
                reason=form.get("reason", ""),
                actor=_actor(asked),
                at=site.clock(),
                governance=asked.governance,
            )
        )
    except Refused as refusal:
        return await _page(site, asked, refusal)
    return Move("/finance/budgets?done=asked")


async def decide(site: Site, asked: Asked) -> Answer:
    """Put a raise in force, or end it."""
    act = {"approve": governance.approve, "end": governance.end}.get(asked.form.get("decision", ""))
    if act is None:
        raise Refused("invalid_request", "a raise is approved or ended")
    raise_id = asked.names["raise_id"]
    try:
        await in_sql(lambda: act(site.raises, raise_id, actor=_actor(asked), at=site.clock(), governance=asked.governance))
    except Refused as refusal:
        if refusal.code == "not_found":
            raise
        return await _page(site, asked, refusal)
    await site.changed(None)
    return Move(f"/finance/budgets?done={asked.form['decision']}")


def _actor(asked: Asked) -> governance.Actor:
    return governance.Actor(asked.person.email, asked.person)


async def _page(site: Site, asked: Asked, refusal: Refused | None = None) -> Page:
    def work() -> FinanceBudgets:
        rules = site.directory.rules()
        owners = sorted({*rules.owner_budgets, *(app.owner for app in rules.apps.values())})
        rows = site.budgets(asked.at)
        over = [row for row in rows if row.remaining_nano is not None and row.remaining_nano < 0]
        ahead = [
            row for row in rows if row.limit_nano is not None and (row.expected_nano or 0) > row.limit_nano and row not in over
        ]
        return FinanceBudgets(
            over=tuple(row.owner for row in over),
            ahead=tuple(row.owner for row in ahead),
            panel=_budgets(site, asked),
            raises=tuple(_raised(each, asked.at) for each in site.raises.all()),
            owners=tuple(owner for owner in owners if any(each.hard_nano is not None for each in rules.budgets_of(owner))),
            periods=tuple(each.value for each in Per),
            me=asked.person.email,
            asked=dict(asked.form),
            done=DONE.get(asked.query.get("done", ""), ""),
            fault=refusal.message if refusal is not None else "",
        )

    return Page("finance_budgets.html", await in_sql(work), 200 if refusal is None else refusal.row.status)


def _raised(each: governance.BudgetRaise, now: datetime) -> Raised:
    more = dollars(each.amount_nano) if each.amount_nano is not None else f"{each.percent} %"
    return Raised(
        each.id,
        each.owner,
        each.per.value,
        more,
        each.reason,
        each.asked_by,
        each.approved_by or "",
        moment(each.ends),
        each.state(now),
    )


async def show(site: Site, asked: Asked) -> Answer:
    """One budget, day by day."""

    def work() -> FinanceBudget:
        row = _row(site, asked, asked.names["owner"])
        return FinanceBudget(
            owner=row.owner,
            period=_named(row),
            query=urlencode({"owner": row.owner, "from": row.begins, "to": row.ends - timedelta(days=1), "by": "app"}),
            headlines=_headlines(row),
            panel=_burned(site, asked, row),
        )

    return Page("finance_budget.html", await in_sql(work))


def _row(site: Site, asked: Asked, owner: str) -> BudgetRow:
    per = asked.query.get("per", "month")
    found = next((row for row in site.budgets(asked.at, owner) if row.per == per), None)
    if found is None or not _is_known(site, owner):
        raise not_found("budget")
    return found


def _is_known(site: Site, owner: str) -> bool:
    rules = site.directory.rules()
    return owner in rules.owner_budgets or any(app.owner == owner for app in rules.apps.values())


def _named(row: BudgetRow) -> str:
    return f"{words(row.per)} {row.begins} to {row.ends - timedelta(days=1)}"


def _headlines(row: BudgetRow) -> tuple[tuple[str, str, str], ...]:
    limit, left = row.limit_nano, row.remaining_nano
    raised = f"raised by {dollars(row.raised_nano)}" if row.raised_nano else "as the rules have it"
    told = "no hard limit" if limit is None else f"then {words(row.on_hard)}; {raised}"
    interval = (
        f"{dollars(row.low_nano)} to {dollars(row.high_nano)}, in {COVERAGE:.0%} of cases"
        if row.low_nano is not None
        else "too few days are known"
    )
    return (
        ("Limit", dollars(limit), told),
        ("Spent", dollars(row.settled_nano), f"{dollars(row.held_nano)} more are held now"),
        (
            "Left",
            dollars(left),
            f"used up on {row.used_up} at this pace"
            if row.used_up is not None
            else "enough at this pace"
            if left is not None
            else "nothing stops it",
        ),
        ("A day", dollars(row.daily_nano), f"on average, day {row.day} of {row.days}"),
        ("By the end", dollars(row.expected_nano), interval),
    )


def _budgets(site: Site, asked: Asked) -> Panel:
    columns = (
        Column("owner"),
        Column("period"),
        Column("limit", "money"),
        Column("soft limit", "money"),
        Column("raised by", "money", aside=True),
        Column("spent", "money"),
        Column("held", "money", aside=True),
        Column("left", "money"),
        Column("a day", "money"),
        Column("used up on"),
        Column("by the end", "money"),
        Column("at least", "money"),
        Column("at most", "money"),
    )
    rows = []
    for row in site.budgets(asked.at):
        over = row.remaining_nano is not None and row.remaining_nano < 0
        soon = row.limit_nano is not None and row.expected_nano is not None and row.expected_nano > row.limit_nano
        values: tuple[Value, ...] = (
            row.owner,
            row.period,
            row.limit_nano,
            row.soft_nano,
            row.raised_nano,
            row.settled_nano,
            row.held_nano,
            row.remaining_nano,
            row.daily_nano,
            row.used_up.isoformat() if row.used_up is not None else NEVER,
            row.expected_nano,
            row.low_nano,
            row.high_nano,
        )
        href = f"/finance/budgets/{quote(row.owner, safe='')}?" + urlencode({"per": row.per})
        soft = row.soft_nano is not None and row.settled_nano > row.soft_nano
        mark = "over budget" if over else "will be over" if soon else "over soft limit" if soft else ""
        rows.append(Row(values, href, mark))
    told = f"In the periods that run. By the end is a forecast; in {COVERAGE:.0%} of cases it lies between at least and at most."
    return Panel("budgets", "All budgets", told, Table("Budgets", columns, tuple(rows)), "", empty="No owner has a budget.")


def _burned(site: Site, asked: Asked, row: BudgetRow) -> Panel:
    """What is left day by day, and what will be: without a limit, what is spent."""
    zone = site.books.zone()
    today = row.begins + timedelta(days=row.day - 1)
    first = min(row.begins, today - timedelta(days=MOST_DAYS))
    found = site.books.spend(("day",), day_begins(first, zone), day_begins(row.ends, zone), {"owner": (row.owner,)})
    costs = {date.fromisoformat(each.group[0]): each.figures.cost_nano for each in found.rows}
    days = [row.begins + timedelta(days=each) for each in range(row.days)]
    spent = list(accumulate(costs.get(day, 0) for day in days if day <= today))
    known_from = min((day for day in costs if day < today), default=today)
    known = [costs.get(known_from + timedelta(days=each), 0) for each in range((today - known_from).days)]
    so_far, todays = (spent[-1] if spent else 0), costs.get(today, 0)
    ahead: dict[date, tuple[int, int, int]] = {}
    for day in days:
        if day >= today and (each := forecast(known, known_from, (day - today).days + 1)) is not None:
            sums = (each.expected_nano, each.low_nano, each.high_nano)
            ahead[day] = tuple(so_far + max(nano - todays, 0) for nano in sums)  # type: ignore[assignment]
    limit = row.limit_nano
    columns = (
        Column("day"),
        Column("spent that day", "money"),
        Column("spent until then", "money"),
        Column("left", "money", aside=limit is None),
        Column("forecast", "money"),
        Column("at least", "money"),
        Column("at most", "money"),
    )
    rows = []
    for place, day in enumerate(days):
        done = spent[place] if place < len(spent) else None
        left = limit - done if limit is not None and done is not None else None
        rows.append(
            Row((f"{day}", costs.get(day, 0) if done is not None else None, done, left, *ahead.get(day, (None, None, None))))
        )
    title = f"Budget of {row.owner}, {_named(row)}"
    end = (
        f"{dollars(row.expected_nano)} by the end, between {dollars(row.low_nano)} and {dollars(row.high_nano)}"
        if row.expected_nano is not None
        else "too few days for a forecast"
    )
    told = f"{dollars(so_far)} spent" + (f" of {dollars(limit)}" if limit is not None else "") + f"; {end}."
    return Panel("budget", "Day by day", told, Table(title, columns, tuple(rows)), urlencode({"owner": row.owner, "per": row.per}), _drawn(title, told, row, days, spent, ahead))  # fmt: skip


def _drawn(
    title: str, told: str, row: BudgetRow, days: list[date], spent: list[int], ahead: dict[date, tuple[int, int, int]]
) -> Chart:
    limit = row.limit_nano

    def left(nano: int | None) -> float | None:
        return None if nano is None else dollars_of(nano if limit is None else limit - nano)

    done = tuple(left(spent[place] if place < len(spent) else None) for place in range(len(days)))
    foretold = tuple(left(ahead[day][0] if day in ahead else None) for day in days)
    low = tuple(left(ahead[day][1] if day in ahead else None) for day in days)
    high = tuple(left(ahead[day][2] if day in ahead else None) for day in days)
    series = [Series("spent" if limit is None else "left", done), Series("forecast", foretold)]
    limits: list[tuple[str, float]] = []
    if limit is not None:
        pace = tuple(dollars_of(limit - limit * (place + 1) // len(days)) for place in range(len(days)))
        series.append(Series("even pace", pace))
        if row.soft_nano is not None and row.soft_nano < limit:
            limits.append(("soft limit", dollars_of(limit - row.soft_nano)))
        limits.append(("hard limit", 0.0))
    elif row.soft_nano is not None:
        limits.append(("soft limit", dollars_of(row.soft_nano)))
    return Chart("burn", title, told, tuple(f"{day:%-d %b}" for day in days), tuple(series), low, high, tuple(limits))


def _downloaded(site: Site, asked: Asked) -> Panel:
    return _burned(site, asked, _row(site, asked, asked.query.get("owner", "")))


DOWNLOADS["budgets"] = _budgets
DOWNLOADS["budget"] = _downloaded

HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/finance/budgets"): listed,
    ("GET", "/finance/budgets/{owner}"): show,
    ("POST", "/finance/raises"): ask,
    ("POST", "/finance/raises/{raise_id}"): decide,
}
