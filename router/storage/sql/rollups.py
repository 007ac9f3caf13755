"""The ledger added up by day, in the same transaction that books its lines, so that a month's report need not read the month."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Numeric,
    String,
    case,
    cast,
    delete,
    func,
    literal,
    or_,
    select,
    type_coerce,
)

from router.exchange import SHARDS
from router.money import TOKENS_PER_PRICE_UNIT, cost_nano
from router.storage.sql import bulk
from router.storage.sql.chain import lock_heads
from router.storage.sql.engine import writing
from router.storage.sql.tables import (
    ledger_entries,
    ledger_lines,
    request_days,
    spend_days,
    spend_groups,
    store_facts,
)

ZONE_FACT = "report_zone"
"""The store's fact that names the time zone whose days are added up. Without it the sums are not kept, and must not be read."""

ENTRY_COLUMNS = (
    "app",
    "owner",
    "team",
    "cost_center",
    "purpose",
    "task",
    "sensitivity",
    "complexity",
    "rule",
    "revision",
    "tier",
    "asked_model",
    "impact",
    "latency_class",
)
"""What a line has from its entry; deployment, model and provider are its own."""

GROUP_COLUMNS = (*ENTRY_COLUMNS, "deployment", "model", "provider")

_of_entry, _of_group = attrgetter(*ENTRY_COLUMNS), attrgetter(*GROUP_COLUMNS)

_Day = Callable[[datetime], str]


def zone_of(connection: Connection) -> str | None:
    """The time zone whose days the sums are of; None where they are not kept."""
    return connection.scalar(select(store_facts.c.value).where(store_facts.c.name == ZONE_FACT))


def day_of(zone: str) -> _Day:
    """Which day of a time zone a moment lies in, as ISO text. Raises zoneinfo.ZoneInfoNotFoundError."""
    if zone == "UTC":
        return lambda moment: moment.astimezone(UTC).date().isoformat()
    where = ZoneInfo(zone)
    return lambda moment: moment.astimezone(where).date().isoformat()


Group = tuple[str, ...]
"""The values of `GROUP_COLUMNS`, in order."""


def group_id(values: Group) -> int:
    """The number of a group, from 0 to 2^63 - 1: of two that would have the same, the later one gets the next that is free."""
    text = b"".join(len(value).to_bytes(4) + value for value in (each.encode("utf-8", "surrogatepass") for each in values))
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


def numbered(connection: Connection, groups: Iterable[Group]) -> dict[Group, int]:
    """The numbers of groups, which are entered where they are not there yet."""
    found: dict[Group, int] = {}
    wanted = {group: group_id(group) for group in groups}
    while wanted:
        # In one order everywhere, so that two writers wait for each other and not both.
        bulk.add(connection, spend_groups, sorted((number, *group) for group, number in wanted.items()), bulk.Clash.IS_LEFT)
        there: dict[int, Group] = {}
        numbers = list(wanted.values())
        for first in range(0, len(numbers), MOST_ASKED):
            query = select(spend_groups).where(spend_groups.c.id.in_(numbers[first : first + MOST_ASKED]))
            there |= {row.id: tuple(getattr(row, name) for name in GROUP_COLUMNS) for row in connection.execute(query)}
        found |= {group: number for group, number in wanted.items() if there[number] == group}
        wanted = {group: (number + 1) % 2**63 for group, number in wanted.items() if there[number] != group}
    return found


MOST_ASKED = 500
"""Numbers in one query: SQLite takes a bounded count of them."""


def list_cost(quantity: int, cost: int, unit_price: int | None, list_price: int | None) -> int:
    """What a line would have cost before any discount, in nano-USD; one without a list price of its own: what it did cost."""
    if list_price is None or list_price == unit_price:
        return cost
    return cost_nano(quantity, list_price) if quantity >= 0 else -cost_nano(-quantity, list_price)


def list_cost_column(connection: Connection) -> ColumnElement[int]:
    """`list_cost` of each row of `ledger_lines`, exact also where a product leaves the integers of the database."""
    line = ledger_lines.c
    if connection.dialect.name == "postgresql":
        product = type_coerce(cast(line.quantity, Numeric) * line.list_price / TOKENS_PER_PRICE_UNIT, Numeric)
        exact: ColumnElement[Any] = func.sign(product) * func.ceil(func.abs(product))
    else:
        driver: Any = connection.connection.driver_connection
        driver.create_function("list_cost", 4, list_cost, deterministic=True)
        exact = func.list_cost(line.quantity, line.cost_nano, line.unit_price, line.list_price)
    as_billed = or_(line.list_price.is_(None), line.list_price == line.unit_price)
    return case((as_billed, line.cost_nano), else_=exact)


class Sums:
    """What one transaction adds to the days. Nothing reaches the store before `save`."""

    def __init__(self, zone: str) -> None:
        self._day = day_of(zone)
        self._groups: dict[Group, int] = {}  # to their place here; their numbers are known when they are saved
        self._lines: dict[tuple[Any, ...], list[int]] = {}
        self._requests: dict[tuple[Any, ...], list[int]] = {}

    def lines(self, entry: Any, lines: Iterable[Any], sign: int = 1) -> None:
        """Add the lines of an entry, or with `sign` -1 take them away again."""
        common = _of_entry(entry)
        for line in lines:
            key = (
                self._day(line.at),
                self._group((*common, line.deployment, line.model, line.provider)),
                line.token_class,
                line.basis,
                line.outcome,
                line.correction,
                line.unit_price is not None,
            )
            amounts = (line.quantity, line.cost_nano, list_cost(line.quantity, line.cost_nano, line.unit_price, line.list_price))
            _add(self._lines, key, (sign, *(sign * amount for amount in amounts)))

    def request(self, entry: Any, sign: int = 1) -> None:
        """Count a settled entry, or with `sign` -1 no longer; one that is not settled does not count."""
        if entry.closed_at is None:
            return
        group = self._group(_of_group(entry))
        amounts = (entry.over_hold, entry.router_us, entry.upstream_us)
        key = (self._day(entry.closed_at), group, entry.outcome or "")
        _add(self._requests, key, (sign, *(sign * amount for amount in amounts)))

    def save(self, connection: Connection, known: Mapping[Group, int]) -> dict[Group, int]:
        """Write what there is. `known`: numbers of groups that are there already; returns the others, true once this is committed."""
        fresh = numbered(connection, [group for group in self._groups if group not in known])
        numbers = [fresh[group] if group in fresh else known[group] for group in self._groups]
        bulk.add(connection, spend_days, _rows(self._lines, numbers), bulk.Clash.ADDS)
        bulk.add(connection, request_days, _rows(self._requests, numbers), bulk.Clash.ADDS)
        return fresh

    def _group(self, values: Group) -> int:
        return self._groups.setdefault(values, len(self._groups))


def _add(sums: dict[tuple[Any, ...], list[int]], key: tuple[Any, ...], amounts: tuple[int, ...]) -> None:
    there = sums.get(key)
    if there is None:
        sums[key] = list(amounts)
    else:
        for place, amount in enumerate(amounts):
            there[place] += amount


def _rows(sums: dict[tuple[Any, ...], list[int]], numbers: Sequence[int]) -> list[tuple[Any, ...]]:
    return sorted((day, numbers[group], *rest, *amounts) for (day, group, *rest), amounts in sums.items() if any(amounts))


def ensure(engine: Engine, zone: str | None = None) -> bool:
    """Have the days of a time zone (None: of the one there is, else UTC) added up, from the whole ledger; False where they are.

    Takes as long as reading the ledger; nothing else can be booked meanwhile. Raises zoneinfo.ZoneInfoNotFoundError.
    """
    if zone is not None:
        day_of(zone)
    with engine.connect() as connection:
        if _as_it_should_be(connection, zone):
            return False
    with writing(engine) as connection:
        if _as_it_should_be(connection, zone):
            return False
        rebuild(connection, zone or "UTC")
    return True


def _as_it_should_be(connection: Connection, zone: str | None) -> bool:
    found = zone_of(connection)
    return found is not None and zone in (None, found)


def rebuild(connection: Connection, zone: str) -> None:
    """Add everything up anew from the lines, in the caller's transaction."""
    lock_heads(connection, set(range(SHARDS)))  # whoever books holds one of these
    # The groups stay, those without days too: whoever books remembers their numbers.
    for table in (spend_days, request_days):
        connection.execute(delete(table))
    for source, table, key_columns, sums in _sources(connection, zone):
        count = len(GROUP_COLUMNS)
        groups: dict[Group, int] = {}
        rows: dict[tuple[Any, ...], list[int]] = {}
        for day, *rest in connection.execute(source):
            place = groups.setdefault(tuple(rest[:count]), len(groups))
            _add(rows, (day, place, *rest[count : count + key_columns]), tuple(int(each) for each in rest[-sums:]))
        numbers = numbered(connection, groups)
        bulk.add(connection, table, _rows(rows, [numbers[group] for group in groups]))
    connection.execute(delete(store_facts).where(store_facts.c.name == ZONE_FACT))
    connection.execute(store_facts.insert().values(name=ZONE_FACT, value=zone))


def _sources(connection: Connection, zone: str) -> Iterable[tuple[Any, Any, int, int]]:
    """The queries that add up: for each the table it is for, how many columns its key has beyond day and group, and its sums."""
    entry, line = ledger_entries.c, ledger_lines.c
    day = day_column(connection, zone, line.at)
    priced = line.unit_price.is_not(None)
    common = [entry[name] for name in ENTRY_COLUMNS]
    keys = [day, *common, line.deployment, line.model, line.provider]
    keys += [line.token_class, line.basis, line.outcome, line.correction, priced]
    sums = [func.count(), func.sum(line.quantity), func.sum(line.cost_nano), func.sum(list_cost_column(connection))]
    yield select(*keys, *sums).select_from(ledger_lines.join(ledger_entries)).group_by(*keys), spend_days, 5, 4
    keys = [day_column(connection, zone, entry.closed_at), *(entry[name] for name in GROUP_COLUMNS)]
    keys.append(func.coalesce(entry.outcome, ""))
    sums = [func.count(), func.sum(case((entry.over_hold.is_(True), literal(1)), else_=0))]
    sums += [func.sum(entry.router_us), func.sum(entry.upstream_us)]
    yield select(*keys, *sums).where(entry.closed_at.is_not(None)).group_by(*keys), request_days, 1, 4


def whole_days(zone: str, since: datetime | None, until: datetime | None) -> tuple[str | None, str | None] | None:
    """The first day of a span and the one behind its last, as ISO text (None: no bound); None where it does not consist of days."""
    where = ZoneInfo(zone)
    days: list[str | None] = []
    for moment in (since, until):
        if moment is None:
            days.append(None)
            continue
        # A day begins at the first moment of its date: where clocks are put forward at midnight, that is not 00:00.
        day = moment.astimezone(where).date()
        if (moment.astimezone(UTC) - timedelta(microseconds=1)).astimezone(where).date() == day:
            return None
        days.append(day.isoformat())
    return days[0], days[1]


def day_column(connection: Connection, zone: str, moment: ColumnElement[datetime]) -> ColumnElement[str]:
    """The day of a time zone that a moment lies in, as ISO text."""
    if connection.dialect.name == "postgresql":
        return func.to_char(func.timezone(zone, moment), "YYYY-MM-DD")
    if zone == "UTC":
        return func.substr(type_coerce(moment, String), 1, 10)
    day = day_of(zone)
    driver: Any = connection.connection.driver_connection
    driver.create_function("local_day", 1, lambda text: day(datetime.fromisoformat(text)), deterministic=True)
    return func.local_day(type_coerce(moment, String))
