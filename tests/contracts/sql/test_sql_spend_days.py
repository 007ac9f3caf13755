"""What is added up by day is what the ledger holds, whatever was booked in whichever order, in any time zone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sql_records import admitted, line, outcome, raw
from sqlalchemy import Engine, select

from router.exchange import Admitted, Outcome
from router.reports.spend import DIMENSIONS, SpendReport
from router.storage.sql import rollups
from router.storage.sql.engine import writing
from router.storage.sql.ledger import report_zone, spend
from router.storage.sql.records import SqlRecords
from router.storage.sql.tables import request_days, spend_days, spend_groups
from router.usage import Basis
from routing_rules.vocabulary import TaskKind

EVER = datetime(1990, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
"""Not the beginning of a day anywhere: a report from here on is read from the lines themselves."""


def write(store: Engine, *records: Admitted | Outcome) -> None:
    SqlRecords(store).write([(1, raw(record)) for record in records])


def days(store: Engine) -> list[tuple[Any, ...]]:
    """All sums that are not nought."""
    with store.connect() as connection:
        found = []
        for table in (spend_days, request_days):
            query = select(table, spend_groups).join(spend_groups, table.c.group_id == spend_groups.c.id)
            found += [tuple(row) for row in connection.execute(query) if row[7 if table is spend_days else 3]]
        return sorted(found, key=repr)


def told(report: SpendReport) -> dict[tuple[str, ...], Any]:
    return {row.group: row.figures for row in report.rows}


MOMENTS = st.integers(0, 34 * 86_400).map(lambda seconds: datetime(2026, 2, 27, tzinfo=UTC) + timedelta(seconds=seconds))


@st.composite
def _bookings(draw: st.DrawFn) -> list[Admitted | Outcome]:
    records: list[Admitted | Outcome] = []
    for number in range(draw(st.integers(1, 6))):
        name = f"r{number}"
        opened_at = draw(MOMENTS)

        def end(correction: bool, name: str = name) -> Outcome:
            lines = draw(
                st.lists(
                    st.builds(
                        line,
                        cost=st.integers(0, 10**12),
                        token_class=st.sampled_from(["input", "output", "reasoning"]),
                        quantity=st.integers(0, 10**6),
                        deployment=st.sampled_from(["fast-1", "slow-2"]),
                        unit_price=st.sampled_from([None, 150_000]),
                    ),
                    max_size=3,
                )
            )
            return outcome(
                name,
                tuple(lines),
                cost=sum(each.cost_nano for each in lines) + draw(st.sampled_from([0, 9_000])),
                how=draw(st.sampled_from(["completed", "cancelled", "reaped"])),
                basis=draw(st.sampled_from(list(Basis))),
                deployment=draw(st.sampled_from(["fast-1", "slow-2", None])),
                at=draw(MOMENTS),
                correction=correction,
            )

        intent = admitted(
            name,
            app=draw(st.sampled_from(["desk", "bench"])),
            owner=draw(st.sampled_from(["ana", "bob"])),
            task=draw(st.sampled_from([TaskKind.CODING, TaskKind.LOOKUP])),
            at=opened_at,
        )
        ends = [end(False)] * draw(st.integers(0, 1))
        ends += [end(True) for _ in range(draw(st.integers(0, 2)))] if ends else []
        first = draw(st.integers(0, len(ends)))  # an outcome may be written before its intent
        records += [*ends[:first], intent, *ends[first:]]
    return records


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=_bookings(),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"]),
    cut=st.integers(0, 12),
    data=st.data(),
)
def test_days_add_up_to_the_lines_and_are_rebuilt_the_same(
    new_store: Callable[[], Engine], records: list[Admitted | Outcome], zone: str, cut: int, data: st.DataObject
) -> None:
    store = new_store()
    rollups.ensure(store, zone)
    write(store, *records[:cut])
    write(store, *records[cut:])
    kept = days(store)
    dimensions = tuple(data.draw(st.sets(st.sampled_from([name for name in DIMENSIONS if name != "session"]), max_size=3)))
    assert told(spend(store, dimensions)) == told(spend(store, dimensions, EVER))
    where = ZoneInfo(zone)
    first, last = datetime(2026, 3, 1, tzinfo=where), datetime(2026, 4, 1, tzinfo=where)
    by_session = spend(store, (*dimensions, "session"), first, last)
    assert spend(store, dimensions, first, last).total == by_session.total
    with writing(store) as connection:
        rollups.rebuild(connection, zone)
    assert days(store) == kept


def test_a_store_keeps_its_sums_from_its_first_day_on(store: Engine) -> None:
    write(store, admitted("r1"), outcome("r1"))
    assert len(days(store)) == 3
    assert not rollups.ensure(store, "UTC")


def test_another_time_zone_has_everything_added_up_anew(store: Engine) -> None:
    late = datetime(2026, 3, 10, 23, 30, tzinfo=UTC)
    write(store, admitted("r1", at=late), outcome("r1", at=late))
    assert rollups.ensure(store, "Europe/Berlin")
    assert report_zone(store).key == "Europe/Berlin"
    assert set(told(spend(store, ("day",)))) == {("2026-03-11",)}
    assert set(told(spend(store, ("day",), EVER))) == {("2026-03-11",)}
    write(store, admitted("r2", at=late), outcome("r2", at=late))
    assert told(spend(store, ("day",)))[("2026-03-11",)].requests == 2


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),  # clocks go forward
        ("Europe/Berlin", "2026-10-25", 25),  # and back
        ("America/Havana", "2026-03-08", 23),  # at midnight: the day begins at one
        ("UTC", "2028-02-29", 24),
    ],
)
def test_a_day_has_the_hours_that_its_clocks_give_it(store: Engine, zone: str, day: str, hours: int) -> None:
    rollups.ensure(store, zone)
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    moments = [noon + timedelta(minutes=30 * step) for step in range(-60, 60)]
    for number, moment in enumerate(moments):
        write(store, admitted(f"r{number}", at=moment), outcome(f"r{number}", at=moment))
    within = [moment for moment in moments if moment.astimezone(ZoneInfo(zone)).date().isoformat() == day]
    assert told(spend(store, ("day",)))[(day,)].requests == len(within)
    assert len(within) == 2 * hours
    first, behind = within[0], within[-1] + timedelta(minutes=30)
    assert rollups.whole_days(zone, first, behind) is not None
    assert spend(store, (), first, behind).total.requests == len(within)


def test_a_span_that_is_not_of_whole_days_is_read_from_the_lines(store: Engine) -> None:
    noon = datetime(2026, 3, 10, 12, tzinfo=UTC)
    write(store, admitted("r1", at=noon), outcome("r1", at=noon))
    write(store, admitted("r2", at=noon), outcome("r2", at=noon + timedelta(hours=2)))
    assert spend(store, ("owner",), noon, noon + timedelta(hours=1)).total.requests == 1
    assert rollups.whole_days("UTC", noon, None) is None


def test_a_writer_that_has_seen_a_group_before_the_days_were_added_up_anew_books_into_it_afterwards(store: Engine) -> None:
    rollups.ensure(store, "UTC")
    records = SqlRecords(store)
    # The outcome comes first, so that its costs are nobody's until the intent says whose: that group is without rows then.
    records.write([(1, raw(outcome("r1")))])
    records.write([(1, raw(admitted("r1")))])
    assert rollups.ensure(store, "Europe/Berlin")
    records.write([(1, raw(outcome("r2")))])
    for dimensions in ((), ("app",), ("deployment",)):
        assert told(spend(store, dimensions)) == told(spend(store, dimensions, EVER))
    assert spend(store, ()).total.cost_nano == 2 * 750
