"""What an export is made of: ledger lines with what is known of their requests, in batches, and the months they were booked in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from router.money import cost_nano

BATCH = 5_000
"""Lines that are held at once."""


class FinanceLine(NamedTuple):
    """One ledger line. Money in nano-USD, prices in nano-USD per million of `unit`; times in UTC.

    `at` is when it was booked, which decides its month; `incurred_at` when the use was. `corrects` is the number of the line of the same
    request that this one takes back or replaces. `model`, `deployment` and `provider` are those of the attempt.
    """

    at: datetime
    incurred_at: datetime
    correction: bool
    request_id: str
    line: int
    attempt: int
    model: str
    deployment: str
    provider: str
    token_class: str
    unit: str
    quantity: int
    unit_price: int | None
    list_price: int | None
    cost_nano: int
    basis: str
    outcome: str
    price_source: str
    price_book: str
    corrects: int | None
    app: str
    owner: str
    team: str
    cost_center: str
    purpose: str
    session: str
    task: str
    sensitivity: str
    complexity: str
    impact: str
    latency_class: str
    rule: str
    revision: str
    tier: str
    asked_model: str


OF_REQUEST = FinanceLine._fields.index("app")
"""From this place on, a line has what its request has."""


def at_list(line: FinanceLine) -> int | None:
    """What a line costs at list prices, in nano-USD; None where nobody knows its price."""
    price = line.list_price
    if price is None or price == line.unit_price:
        return None if line.unit_price is None else line.cost_nano
    return cost_nano(line.quantity, price) if line.quantity >= 0 else -cost_nano(-line.quantity, price)


class Month(NamedTuple):
    """A month or a day of the reports' time zone: its name (`2026-03`), its first moment and the one behind its last, in UTC."""

    name: str
    begins: datetime
    ends: datetime


class Period(NamedTuple):
    """What has become of a month: FOCUS's word for it (`Open`, `Closed`), and when that was last changed."""

    month: Month
    state: str
    changed: datetime | None


@dataclass(frozen=True, slots=True)
class Source:
    """The lines to export, as one reading of the store sees them.

    `count` and `total_nano` are what the database itself counts and adds up. `batches` can be read once. `account` names the
    installation, `periods` are all months in which something was booked, `providers` all who were used, `regions` where deployments are.
    """

    zone: ZoneInfo
    since: datetime | None
    until: datetime | None
    where: Mapping[str, Sequence[str]]
    count: int
    total_nano: int
    account: str
    read_at: datetime
    batches: Callable[[], Iterator[list[FinanceLine]]]
    periods: Sequence[Period] = ()
    providers: Sequence[str] = ()
    regions: Mapping[str, str] = field(default_factory=dict)


class Calendar:
    """Finds the months, or the days, of a time zone that moments lie in, and remembers them."""

    def __init__(self, span_of: Callable[[datetime, ZoneInfo], Month], zone: ZoneInfo) -> None:
        self._span_of = span_of
        self._zone = zone
        self._begins: list[datetime] = []
        self._spans: list[Month] = []
        self._last: Month | None = None

    def of(self, moment: datetime) -> Month:
        """The one that a moment (UTC) lies in."""
        last = self._last
        if last is None or not last.begins <= moment < last.ends:
            last = self._last = self._found(moment)
        return last

    def _found(self, moment: datetime) -> Month:
        place = bisect_right(self._begins, moment) - 1
        if place >= 0 and moment < self._spans[place].ends:
            return self._spans[place]
        span = self._span_of(moment, self._zone)
        self._begins.insert(place + 1, span.begins)
        self._spans.insert(place + 1, span)
        return span


def day_of(moment: datetime, zone: ZoneInfo) -> Month:
    """The day of a time zone that a moment lies in."""
    day = moment.astimezone(zone).date()
    return Month(day.isoformat(), begin_of(day, zone), begin_of(day + timedelta(days=1), zone))


def month_of(moment: datetime, zone: ZoneInfo) -> Month:
    """The month of a time zone that a moment lies in."""
    first = moment.astimezone(zone).date().replace(day=1)
    behind = (first + timedelta(days=31)).replace(day=1)
    return Month(first.isoformat()[:7], begin_of(first, zone), begin_of(behind, zone))


def begin_of(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of a day in a time zone, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
