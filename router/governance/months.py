"""Closing a month of the ledger: which one is next, what holds it up, who may close it, and how two people open one again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import msgspec

from router.errors import Refused
from router.exchange import JsonObject
from router.principals import SINGLE, Person, Role
from routing_rules.calendars import Per, following, period_of

OPEN, CLOSED = "Open", "Closed"
"""The states of a month, in the words of FOCUS 1.4's BillingPeriodStatus."""

DOCUMENT_FORMAT = 1
MOST_NAMED = 10
"""So many of the requests that hold up a month are named."""

WRITTEN_LATER = timedelta(minutes=1)
"""How long after its end records of a month may still have been written."""

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_encoder = msgspec.json.Encoder(order="deterministic")


class Actor(msgspec.Struct, frozen=True):
    """Who acts: a person, or (None) whoever holds the admin key or the data directory. `name` is what records say."""

    name: str
    person: Person | None = None


class Period(msgspec.Struct, frozen=True):
    """A month of the report zone. `begins` and `ends` (exclusive) in UTC, money in nano-USD.

    `version` counts how often it was closed. What was frozen (`total_nano`, `document` and its `digest`, `closed_by`, `closed_at`) is
    there while it is closed. `asked_by`: who asked to open it again, which somebody else has yet to confirm.
    """

    month: str
    begins: datetime
    ends: datetime
    state: str = OPEN
    total_nano: int | None = None
    digest: str | None = None
    document: str | None = None
    version: int = 0
    closed_by: str | None = None
    closed_at: datetime | None = None
    asked_by: str | None = None


class Version(msgspec.Struct, frozen=True):
    """One act on a month, as the administrative chain holds it: `act` is closed, reopen asked, or reopened."""

    act: str
    at: datetime
    by: str
    version: int
    total_nano: int | None
    digest: str | None
    document: str | None


class Hindrance(msgspec.Struct, frozen=True):
    """What holds up the close of a month: what it is, how many there are, and the ids of the first of them."""

    what: str
    count: int
    examples: tuple[str, ...] = ()


class Standing(msgspec.Struct, frozen=True):
    """The month that is to be closed next (None: nothing was ever booked), whether it has ended, and what holds it up in SQL."""

    next: Period | None
    ended: bool
    hindrances: tuple[Hindrance, ...]


class Months(Protocol):
    """The months of a store. Each change is one transaction, in which nothing else is booked, and one administrative act."""

    def all(self) -> Sequence[Period]: ...
    def standing(self, at: datetime) -> Standing: ...
    def close(self, month: str, *, by: str, at: datetime) -> Period: ...
    def ask(self, month: str, *, by: str, at: datetime) -> Period: ...
    def reopen(self, month: str, *, by: str, at: datetime) -> Period: ...


def month_of(moment: datetime, zone: str) -> Period:
    """The month of a time zone that a moment lies in. Raises zoneinfo.ZoneInfoNotFoundError."""
    where = ZoneInfo(zone)
    period = period_of(Per.MONTH, moment.astimezone(where).date())
    return Period(period.id, *period.moments(where))


def named(month: str, zone: str) -> Period:
    """The month that is written as `2026-10`. Raises Refused(`invalid_request`)."""
    if not _MONTH.fullmatch(month) or month < "0001-02":
        raise Refused("invalid_request", "a month is written as `2026-10`", param="month")
    year, number = (int(part) for part in month.split("-"))
    where = ZoneInfo(zone)
    period = period_of(Per.MONTH, datetime(year, number, 1, tzinfo=where).date())
    return Period(period.id, *period.moments(where))


def next_month(periods: Sequence[Period], first: datetime | None, zone: str) -> Period | None:
    """The month that is to be closed next: after the last closed one, which it follows without a gap even where the zone was changed
    meanwhile; before there is one, that of the first booking. None where nothing was ever booked."""
    closed = [period for period in periods if period.state == CLOSED]
    if not closed:
        return None if first is None else _with_version(month_of(first, zone), periods)
    last = max(closed, key=lambda period: period.month)
    after = following(period_of(Per.MONTH, named(last.month, "UTC").begins.date()))
    return _with_version(msgspec.structs.replace(named(after.id, zone), begins=last.ends), periods)


def _with_version(period: Period, periods: Sequence[Period]) -> Period:
    there = next((each for each in periods if each.month == period.month), None)
    return period if there is None else msgspec.structs.replace(period, version=there.version, begins=there.begins)


def closable(month: str, standing: Standing) -> Period:
    """The month, if it may be closed now. Raises Refused: `invalid_request` for one that is no month or not the next,
    `month_held_up` while something in it is not settled."""
    named(month, "UTC")
    if standing.next is None:
        raise Refused("month_held_up", "nothing was ever booked: there is no month to close")
    if standing.next.month != month:
        told = "is closed already" if month < standing.next.month else "cannot be closed yet"
        raise Refused("month_held_up", f"{month} {told}: months are closed in order, the next one is {standing.next.month}")
    if not standing.ended:
        raise Refused("month_held_up", f"{month} ends at {standing.next.ends.isoformat()}")
    if standing.hindrances:
        raise held_up(month, standing.hindrances)
    return standing.next


def written_before(standing: Standing, at: datetime) -> datetime:
    """Up to which moment records must be in SQL before the next month is closed at another one."""
    return at if standing.next is None else min(at, standing.next.ends + WRITTEN_LATER)


def held_up(month: str, hindrances: Sequence[Hindrance]) -> Refused:
    """The refusal that names what holds up a month."""
    told = "; ".join(_told(each) for each in hindrances)
    details: JsonObject = {"held_up_by": msgspec.to_builtins(list(hindrances))}
    return Refused("month_held_up", f"{month} is held up by {told}", details=details)


def _told(one: Hindrance) -> str:
    named = f" ({', '.join(one.examples)}{', …' if one.count > len(one.examples) else ''})" if one.examples else ""
    return f"{one.count} {one.what}{named}"


def close(months: Months, month: str, *, actor: Actor, at: datetime, governance: str, undrained: Sequence[str] | None) -> Period:
    """Close a month: its totals are frozen, and what is booked from then on lies behind it.

    `undrained` are ids of records that were written before `written_before` and are not in SQL yet (None: nobody could be asked). Raises Refused: `role_required`, `invalid_request`, `month_held_up`.
    """
    if actor.person is not None or governance != SINGLE:
        _holder(actor, "closes a month")
    if undrained is None:
        raise Refused("month_held_up", "nobody knows whether records wait in Redis: it does not answer, so no month is closed")
    if undrained:
        one = Hindrance("records on their way from Redis to SQL", len(undrained), tuple(undrained[:MOST_NAMED]))
        raise held_up(month, [one])
    return months.close(month, by=actor.name, at=at)


def reopen(months: Months, month: str, *, actor: Actor, at: datetime) -> Period:
    """Open the last closed month again: the first person who says so asks, and another one confirms.

    Raises Refused: `role_required` (also for whoever asked), `invalid_request`, `month_held_up` where it is not the last closed month.
    """
    named(month, "UTC")
    person = _holder(actor, "opens a month again")
    period = next((each for each in months.all() if each.month == month and each.state == CLOSED), None)
    if period is None:
        raise Refused("month_held_up", f"{month} is not closed")
    if period.asked_by is None:
        return months.ask(month, by=person.email, at=at)
    if period.asked_by == person.email:
        raise Refused(
            "role_required", f"you asked for {month} to be opened again: somebody else with the role `finance` confirms"
        )
    return months.reopen(month, by=person.email, at=at)


def _holder(actor: Actor, what: str) -> Person:
    if actor.person is None or not actor.person.holds(Role.FINANCE):
        raise Refused("role_required", f"the role `finance` {what}: send the token of a person who has it")
    return actor.person


def canonical(document: JsonObject) -> str:
    """A document as the JSON text of which the digest is taken: keys sorted, no spaces."""
    return _encoder.encode(document).decode()


def digest_of(document: str) -> str:
    """SHA-256 of a document's text, in hex."""
    return hashlib.sha256(document.encode()).hexdigest()
