"""Movers, anomalies and savings of a ledger: which figures each is made from, asked for through one reading function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from router.reports import anomalies, movers, savings
from router.reports.question import Misread, Question
from router.reports.spans import Span, day_begins, days, span
from router.reports.spend import WHOLE_REQUEST, SpendReport
from routing_rules.catalogue import Price
from routing_rules.rules import RuleSet

MOST = 50
"""How many movers or anomalies a report lists unless another number is asked for."""


class Spend(Protocol):
    """Reads cost and use by dimensions, as `router.storage.sql.finance.spend`."""

    def __call__(
        self,
        by: Sequence[str],
        since: datetime | None = None,
        until: datetime | None = None,
        where: Mapping[str, Sequence[str]] | None = None,
    ) -> SpendReport:
        """The figures of [since, until), both UTC."""
        ...


class KnownPrice(Protocol):
    """What is publicly known of a model."""

    @property
    def price(self) -> Price:
        """What it costs."""
        ...

    @property
    def reasoning(self) -> bool:
        """Whether it reasons."""
        ...


class TimedLedger(Protocol):
    """What savings are read from."""

    @property
    def spend(self) -> Spend:
        """Cost and use."""
        ...

    def upstream_medians(self, since: datetime | None = None, until: datetime | None = None) -> savings.Medians:
        """How long providers took, by kind of task and tier."""
        ...


def _price_books(spend: Spend, day: str, where: Mapping[str, Sequence[str]], zone: ZoneInfo) -> tuple[str, ...]:
    """The versions of the price book that gave the prices of a day."""
    first = date.fromisoformat(day)
    since, until = day_begins(first, zone), day_begins(first + timedelta(days=1), zone)
    rows = spend(("price_book",), since, until, {**where, "day": (day,)}).rows
    return tuple(sorted(row.group[0] for row in rows if row.group[0] != WHOLE_REQUEST))


def span_of(what: Question, now: datetime, zone: ZoneInfo, usual: str) -> Span:
    """The days that a question is about, those of the period `usual` where it names none. Raises Misread where they are no days."""
    if what.span is not None:
        return what.span
    if what.since is None and what.until is None:
        return span(usual, now, zone)
    if what.since is None:
        raise Misread("since", "`until` needs `since`: two periods are compared")
    until = what.until or now
    first, behind = what.since.astimezone(zone).date(), until.astimezone(zone).date()
    if day_begins(first, zone) != what.since or (what.until is not None and day_begins(behind, zone) != until):
        raise Misread("since", "this report is of whole days: give days, as in `2026-10-05`")
    return days(first, behind if what.until is not None else behind + timedelta(days=1), zone)


def movers_of(spend: Spend, what: Question, now: datetime, zone: ZoneInfo, most: int = MOST) -> movers.MoversReport:
    """The top movers of a question's period (this month) by its dimensions. Raises Misread."""
    chosen = span_of(what, now, zone, "this-month")
    earlier, later, running = movers.periods(chosen, now, zone)
    return movers.movers_report(
        spend(what.by, *earlier, what.where), spend(what.by, *later, what.where), running=running, most=most
    )


def savings_of(
    ledger: TimedLedger,
    what: Question,
    now: datetime,
    rules: RuleSet,
    known: Callable[[Iterable[str]], Mapping[str, KnownPrice]],
    rate_nano: int | None = None,
) -> savings.SavingsReport:
    """What routing saved in a question's period by its dimensions, at the prices of `rules` now; `known` looks up models that the rules do not
    have. Raises Misread."""
    for name in (*what.by, *what.where):
        if name in ("token_class", "basis", "priced", "price_book"):
            raise Misread(
                "by" if name in what.by else "where", f"savings are of whole requests, `{name}` is of some lines of them"
            )
    used = ledger.spend(savings.dimensions(what.by), what.since, what.until, what.where)
    names = savings.asked_names(used)
    own = savings.asked_rates(names, rules, now)
    others = known(names - own.keys())
    asked = {name: savings.Rate(name, each.price, each.reasoning) for name, each in others.items() if each.price.known} | own
    reasoning = savings.reasoning_rate(used, rules, now)
    medians = ledger.upstream_medians(what.since, what.until)
    return savings.savings_report(used, what.by, rules, reasoning, asked, medians, rate_nano)


def anomalies_of(
    spend: Spend,
    what: Question,
    now: datetime,
    zone: ZoneInfo,
    most: int = MOST,
    least_nano: int = anomalies.LEAST_NANO,
) -> anomalies.AnomaliesReport:
    """The days of a question's period (the last thirty) that stand out by its one dimension. Days that are not over are not judged. Raises
    Misread."""
    if len(what.by) != 1 or what.by[0] in ("hour", "day", "week", "month", "quarter", "year"):
        raise Misread("by", "anomalies are by one dimension, and not by time: owner, app, model …")
    chosen = span_of(what, now, zone, "last-30-days")
    behind = min(chosen.behind, now.astimezone(zone).date())
    since = day_begins(anomalies.looked_back(chosen.first), zone)
    until = day_begins(behind, zone)
    if until <= since:
        return anomalies.AnomaliesReport(what.by[0], chosen.first, behind, 0, 0, ())
    daily = spend((*what.by, "day"), since, until, what.where)
    found, judged, unjudged = anomalies.suspects(daily, chosen.first, behind, least_nano)
    told = []
    for suspect in found[:most]:
        first, last = sorted((date.fromisoformat(suspect.compared), date.fromisoformat(suspect.day)))
        where = {**what.where, what.by[0]: (suspect.group,), "day": (suspect.compared, suspect.day)}
        parts = spend(anomalies.PARTS_BY, day_begins(first, zone), day_begins(last + timedelta(days=1), zone), where)
        found_so = anomalies.anomaly(what.by[0], suspect, parts)
        if found_so.cause == anomalies.PRICE:
            books = [_price_books(spend, day, where, zone) for day in (suspect.compared, suspect.day)]
            found_so = anomalies.with_price_books(found_so, *books)
        told.append(found_so)
    return anomalies.AnomaliesReport(what.by[0], chosen.first, behind, judged, unjudged, tuple(told))
