"""Reports tell spend apart by any dimension, narrowed to any, down to the single request, and everything adds up to the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sql_records import NOON, admitted, line, outcome, raw
from sqlalchemy import Engine

from router.exchange import Admitted, Outcome
from router.reports.analysis import anomalies_of
from router.reports.question import asked
from router.reports.requests import Booking, position
from router.reports.spend import DIMENSIONS, OPEN, UNALLOCATED, WHOLE_REQUEST, Figures
from router.storage.sql import rollups
from router.storage.sql.finance import spend
from router.storage.sql.finance_requests import bookings
from router.storage.sql.finance_store import SqlFinance
from router.storage.sql.records import SqlRecords
from router.usage import Basis
from routing_rules.vocabulary import TaskKind

EVER = datetime(1990, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
"""Not the beginning of a day anywhere: a report from here on is read from the lines themselves."""

DAY = timedelta(days=1)


def write(store: Engine, *records: Admitted | Outcome) -> None:
    SqlRecords(store).write([(1, raw(record)) for record in records])


def by(store: Engine, *dimensions: str, **where: str) -> dict[tuple[str, ...], Figures]:
    return {row.group: row.figures for row in spend(store, dimensions, where=wanted(**where)).rows}


def wanted(**where: str) -> dict[str, tuple[str, ...]]:
    return {name: (value,) for name, value in where.items()}


def pages(
    store: Engine, where: dict[str, tuple[str, ...]], since: datetime | None = None, until: datetime | None = None, limit: int = 2
) -> list[Booking]:
    found: list[Booking] = []
    after = None
    while True:
        page = bookings(store, where, since, until, after, limit)
        found += page.bookings
        if page.next is None:
            return found
        assert len(page.bookings) == limit
        after = position(page.next)


def begin(moment: datetime, store: Engine, zone: str) -> None:
    rollups.ensure(store, zone)
    write(store, admitted("r1", at=moment), outcome("r1", at=moment))


def test_who_has_no_owner_or_cost_centre_is_a_line_of_its_own(store: Engine) -> None:
    nobody = admitted("r1", owner="")
    caller = msgspec.structs.replace(nobody.facts.caller, cost_center="")
    write(store, msgspec.structs.replace(nobody, facts=msgspec.structs.replace(nobody.facts, caller=caller)), outcome("r1"))
    write(store, outcome("r2"), admitted("r3", owner="ana"), outcome("r3", (line(40),)))  # of r2 nobody knows more
    assert {group: figures.cost_nano for group, figures in by(store, "owner").items()} == {(UNALLOCATED,): 1_500, ("ana",): 40}
    assert by(store, "cost_center")[(UNALLOCATED,)].requests == 2
    assert by(store, "cost_center", owner="ana") == {("cc-desk",): by(store, "owner")[("ana",)]}
    assert spend(store, ("purpose",), where={"owner": (UNALLOCATED, "ana")}).total == spend(store, ()).total


def test_unpriced_use_is_a_line_of_its_own(store: Engine) -> None:
    lines = (
        line(40),
        line(0, token_class="output", quantity=9, unit_price=None),
        line(0, token_class="web_search", quantity=2, unit_price=None),
    )
    write(store, admitted("r1"), outcome("r1", lines))
    report = spend(store, ("owner",))
    assert [(row.group, row.figures.unpriced_tokens, row.figures.unpriced_uses) for row in report.unpriced] == [
        (("ana@example.com",), 9, 2)
    ]
    rows = by(store, "priced")
    assert rows[("unpriced",)] == Figures(unpriced_tokens=9, unpriced_uses=2, tool_uses=2, output_tokens=9)
    assert rows[("priced",)].cost_nano == 40


def test_a_charged_hold_has_a_cost_and_is_not_unpriced(store: Engine) -> None:
    write(store, admitted("r1"), outcome("r1", (), cost=9_000, how="reaped", basis=Basis.ESTIMATED))
    assert set(by(store, "priced")) == {("priced",), (WHOLE_REQUEST,)}


def test_token_classes_and_outcomes_have_their_own_cost(store: Engine) -> None:
    failed = msgspec.structs.replace(line(40, quantity=5), outcome="failed")
    write(
        store, admitted("r1"), outcome("r1", (failed, line(600, token_class="reasoning", quantity=7, attempt=2))), admitted("r2")
    )
    assert {group[0]: figures.cost_nano for group, figures in by(store, "token_class").items()} == {
        "input": 40,
        "reasoning": 600,
        WHOLE_REQUEST: 0,
    }
    outcomes = by(store, "outcome")
    assert outcomes[("failed",)] == Figures(cost_nano=40, list_nano=40, input_tokens=5)
    assert (outcomes[("completed",)].cost_nano, outcomes[("completed",)].requests) == (600, 1)
    assert outcomes[(OPEN,)] == Figures(open_requests=1, open_held_nano=9_000)
    assert by(store, "model", token_class="reasoning")[("model of fast-1",)].cost_nano == 600


@pytest.mark.parametrize(
    ("zone", "moment", "dimension", "said"),
    [
        ("UTC", "2028-02-29T23:59:59+00:00", "month", "2028-02"),
        ("UTC", "2028-02-29T23:59:59+00:00", "day", "2028-02-29"),
        ("UTC", "2027-01-03T12:00:00+00:00", "week", "2026-W53"),
        ("UTC", "2026-12-31T12:00:00+00:00", "year", "2026"),
        ("Europe/Berlin", "2026-12-31T23:30:00+00:00", "year", "2027"),
        ("Europe/Berlin", "2026-09-30T22:00:00+00:00", "quarter", "2026-Q4"),
        ("Europe/Berlin", "2026-09-30T21:59:59+00:00", "quarter", "2026-Q3"),
        ("Europe/Berlin", "2026-03-31T22:30:00+00:00", "month", "2026-04"),
        ("Europe/Berlin", "2026-10-25T00:30:00+00:00", "hour", "2026-10-25T02:00+02:00"),
        ("Europe/Berlin", "2026-10-25T01:30:00+00:00", "hour", "2026-10-25T02:00+01:00"),
        ("America/St_Johns", "2026-03-10T12:00:00+00:00", "hour", "2026-03-10T09:00-02:30"),
        ("Asia/Kathmandu", "2026-03-10T12:20:00+00:00", "hour", "2026-03-10T18:00+05:45"),
    ],
)
def test_hours_to_years_are_those_of_the_reports_time_zone(
    store: Engine, zone: str, moment: str, dimension: str, said: str
) -> None:
    begin(datetime.fromisoformat(moment), store, zone)
    assert set(by(store, dimension)) == {(said,)}
    assert {row.group for row in spend(store, (dimension,), EVER).rows} == {(said,)}
    assert by(store, "owner", **{dimension: said})[("ana@example.com",)].requests == 1
    assert by(store, "owner", **{dimension: "1999"}) == {}


def test_a_span_until_now_takes_whole_days_and_the_rest_of_today(store: Engine) -> None:
    for number, moment in enumerate((NOON - DAY, NOON, NOON + timedelta(hours=2))):
        write(store, admitted(f"r{number}", at=moment), outcome(f"r{number}", (line(10**number),), at=moment))
    month = datetime(2026, 3, 1, tzinfo=UTC)
    assert spend(store, ("day",), month, NOON + timedelta(hours=1)).total.cost_nano == 11
    assert spend(store, ("day",), month, NOON + timedelta(hours=3)).total.cost_nano == 111


def test_a_later_correction_is_a_booking_of_its_own_and_no_further_request(store: Engine) -> None:
    estimate = outcome("r1", (), cost=9_000, how="reaped", basis=Basis.ESTIMATED)
    write(store, admitted("r1"), estimate, outcome("r1", correction=True, at=NOON + DAY))
    assert [(each.cost_nano, each.settled) for each in pages(store, {})] == [(9_000, True), (-8_250, False)]
    assert [each.cost_nano for each in pages(store, {}, NOON + DAY)] == [-8_250]


def test_a_request_that_cost_nothing_and_one_that_is_open_are_listed_too(store: Engine) -> None:
    write(store, admitted("r1"), outcome("r1", (), how="failed"), admitted("r2"))
    assert [(each.request_id, each.settled, each.open, each.lines) for each in pages(store, {})] == [
        ("r2", False, True, 0),
        ("r1", True, False, 0),
    ]


def test_pages_hold_still_while_more_is_booked(store: Engine) -> None:
    for number in range(3):
        write(store, admitted(f"r{number}"), outcome(f"r{number}"))
    first = bookings(store, {}, None, None, None, 2)
    assert first.next is not None
    write(store, admitted("r9"), outcome("r9", at=NOON + DAY))
    after = bookings(store, {}, None, None, position(first.next), 2)
    assert [each.request_id for each in (*first.bookings, *after.bookings)] == ["r0", "r1", "r2", "r9"]


def test_a_day_out_of_the_ordinary_is_found_with_its_cause_and_leads_to_the_same_cost(store: Engine) -> None:
    records: list[Admitted | Outcome] = []
    for week in range(9):
        at = NOON - week * timedelta(weeks=1)
        for number in range(2):
            count = 9_000 if week == 0 else 100
            used = (line(150), line(600 * count, token_class="reasoning", quantity=count, unit_price=600_000_000))
            records += [admitted(f"r{week}-{number}", at=at), outcome(f"r{week}-{number}", used, at=at)]
    write(store, *records)
    now, zone = NOON + DAY, ZoneInfo("UTC")
    what = asked(now, zone, by="app", period="last-7-days", where=["owner=ana@example.com"])
    (found,) = anomalies_of(SqlFinance(store).spend, what, now, zone, least_nano=1).anomalies
    assert (found.suspect.group, found.suspect.day, found.cause) == ("desk", "2026-03-10", "reasoning per request")
    assert found.suspect.cost_nano == spend(store, (), where={"day": ("2026-03-10",), "app": ("desk",)}).total.cost_nano
    assert sum(found.parts.values()) == found.suspect.cost_nano - found.suspect.compared_nano == 2 * 600 * 8_900


def test_a_new_version_of_the_price_book_is_named_as_the_cause(store: Engine) -> None:
    records: list[Admitted | Outcome] = []
    for week in range(9):
        at = NOON - week * timedelta(weeks=1)
        used = line(9_000 if week == 0 else 150)
        book = "book-2" if week == 0 else "book-1"
        records += [admitted(f"r{week}", at=at), outcome(f"r{week}", (msgspec.structs.replace(used, price_book=book),), at=at)]
    write(store, *records)
    now, zone = NOON + DAY, ZoneInfo("UTC")
    what = asked(now, zone, by="owner", period="yesterday")
    (found,) = anomalies_of(SqlFinance(store).spend, what, now, zone, least_nano=1).anomalies
    assert (found.cause, found.parts) == ("price", {"price": 8_850})
    assert found.detail == "price of fast-1: price book book-1 before, book-2 now"
    assert {group for group, figures in by(store, "price_book").items() if figures.cost_nano} == {("book-1",), ("book-2",)}


@pytest.mark.parametrize(("times", "middle"), [([7], 7), ([1, 9], 1), ([1, 2, 900], 2), ([5, 5, 6, 7], 5)])
def test_medians_are_of_completed_requests_of_one_kind(store: Engine, times: list[int], middle: int) -> None:
    for number, took in enumerate([*times, 10**6]):
        ended = outcome(f"r{number}", how="completed" if number < len(times) else "failed")
        write(store, admitted(f"r{number}"), msgspec.structs.replace(ended, timings_us={"forward": took, "decide": 3}))
    write(store, admitted("other", task=TaskKind.CODING), outcome("other"))
    kind = ("summarisation", "simple", "fast")
    assert SqlFinance(store).upstream_medians()[kind] == (len(times), middle)
    assert spend(store, (), where={"task": ("summarisation",)}).total.router_us == 3 * (len(times) + 1)


@st.composite
def _traffic(draw: st.DrawFn) -> list[Admitted | Outcome]:
    moments = st.integers(0, 40 * 86_400).map(lambda seconds: datetime(2026, 2, 20, tzinfo=UTC) + timedelta(seconds=seconds))
    made = st.builds(
        line,
        cost=st.integers(0, 10**12),
        token_class=st.sampled_from(["input", "output", "reasoning", "cache_write_1h", "audio_input", "web_search"]),
        quantity=st.integers(0, 10**6),
        deployment=st.sampled_from(["fast-1", "slow-2"]),
        attempt=st.integers(1, 2),
        unit_price=st.sampled_from([None, 150_000]),
    )
    records: list[Admitted | Outcome] = []
    for number in range(draw(st.integers(1, 6))):
        name, at = f"r{number}", draw(moments)
        owner, app = draw(st.sampled_from(["ana", "", "unknown"])), draw(st.sampled_from(["desk", "bench"]))
        records.append(
            admitted(name, owner=owner, app=app, task=draw(st.sampled_from([TaskKind.CODING, TaskKind.LOOKUP])), at=at)
        )
        for correction in (False, True)[: draw(st.integers(0, 2))]:
            lines = tuple(draw(st.lists(made, max_size=3)))
            cost = sum(each.cost_nano for each in lines) + draw(st.sampled_from([0, 9_000]))
            how = draw(st.sampled_from(["completed", "cancelled", "reaped"]))
            records.append(outcome(name, lines, cost=cost, how=how, at=draw(moments), correction=correction))
    return records


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=_traffic(), zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]), data=st.data())
def test_whatever_is_asked_for_adds_up_to_the_same_down_to_the_single_request(
    new_store: Callable[[], Engine], records: list[Admitted | Outcome], zone: str, data: st.DataObject
) -> None:
    store = new_store()
    rollups.ensure(store, zone)
    write(store, *records)
    everything = spend(store, ())
    assert everything.total == spend(store, (), EVER).total
    for dimension in DIMENSIONS:
        assert spend(store, (dimension,)).total == everything.total, dimension
    by_names = tuple(data.draw(st.sets(st.sampled_from(DIMENSIONS), min_size=1, max_size=3)))
    report = spend(store, by_names)
    where: dict[str, Any] = {}
    for row in report.rows:  # each cell, asked for by name, is what it was
        where = {name: (value,) for name, value in zip(by_names, row.group, strict=True)}
        assert spend(store, (), where=where).total == row.figures
        assert spend(store, ("app", "token_class"), EVER, where=where).total == row.figures
    first, last = (datetime(2026, month, 1, tzinfo=ZoneInfo(zone)) for month in (3, 4))
    for conditions in ({}, where):
        total = spend(store, (), first, last, conditions).total
        listed = pages(store, conditions, first.astimezone(UTC), last.astimezone(UTC))
        assert sum(each.cost_nano for each in listed) == total.cost_nano
        assert sum(each.settled for each in listed) == total.requests
        assert sum(each.open for each in listed) == total.open_requests
        assert sum(each.held_nano for each in listed if each.open) == total.open_held_nano
        assert len({(each.at, each.request_id) for each in listed}) == len(listed)
