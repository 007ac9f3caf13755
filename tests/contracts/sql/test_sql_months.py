"""Closing months: totals are frozen while others book, stay as they were, and are held against the lines."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sql_records import admitted, line, outcome, raw
from sqlalchemy import Engine, delete, select, update

from router.errors import Refused
from router.exchange import Admitted, JsonObject, Outcome
from router.governance.months import CLOSED, OPEN, Actor, Period, close, digest_of, reopen
from router.principals import Person, Role
from router.storage.audit_chain import Checkpoints, public_key
from router.storage.audit_chain import verify as audited
from router.storage.sql import rollups
from router.storage.sql.engine import writing
from router.storage.sql.ledger import entry_of, spend
from router.storage.sql.months import SqlMonths, faults
from router.storage.sql.records import SqlRecords
from router.storage.sql.tables import admin_events, finance_periods, ledger_lines, spend_groups, store_facts
from router.usage import Basis

OCTOBER = datetime(2026, 10, 15, 9, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 3, 9, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 2, 9, tzinfo=UTC)


def write(store: Engine, *records: Admitted | Outcome, shard: int = 1) -> None:
    SqlRecords(store).write([(shard, raw(record)) for record in records])


def request(store: Engine, name: str, at: datetime, cost: int = 1_000, app: str = "desk", owner: str = "ana") -> None:
    """One settled request that cost so much."""
    write(store, admitted(name, at=at, app=app, owner=owner), outcome(name, (line(cost),), at=at))


def person(name: str, *roles: Role) -> Actor:
    email = f"{name}@example.org"
    return Actor(email, Person(f"person_{name}", email, roles, "rp-", name, OCTOBER))


ANN, BOB, EVE = person("ann", Role.FINANCE), person("bob", Role.FINANCE), person("eve", Role.ADMIN)


def closed(store: Engine, month: str, at: datetime = NOVEMBER, actor: Actor = ANN) -> Period:
    return close(SqlMonths(store), month, actor=actor, at=at, governance="four_eyes", undrained=())


def frozen(period: Period) -> JsonObject:
    assert period.document is not None
    return msgspec.json.decode(period.document, type=JsonObject)


def test_a_closed_month_holds_the_totals_of_its_lines_by_every_dimension_and_their_digest(store: Engine) -> None:
    request(store, "r1", OCTOBER, 700, app="desk", owner="ana")
    request(store, "r2", OCTOBER, 300, app="bench", owner="bob")
    request(store, "r3", NOVEMBER, 5_000)
    period = closed(store, "2026-10")
    assert (period.state, period.version, period.total_nano, period.closed_by) == (CLOSED, 1, 1_000, "ann@example.org")
    document = frozen(period)
    assert document["total"]["cost_nano"] == 1_000
    assert document["requests"] == 2
    assert {name: row["cost_nano"] for name, row in document["by"]["owner"].items()} == {"ana": 700, "bob": 300}
    assert all(sum(row["cost_nano"] for row in rows.values()) == 1_000 for rows in document["by"].values())
    assert period.document is not None
    assert period.digest == digest_of(period.document)
    assert SqlMonths(store).wrong() == []
    with store.connect() as connection:
        record = connection.scalar(select(admin_events.c.record).where(admin_events.c.act == "period.closed"))
    assert record is not None
    assert msgspec.json.decode(record)["state"]["digest"] == period.digest


def test_what_comes_late_is_booked_in_the_next_open_month_and_says_when_it_was_incurred(store: Engine) -> None:
    request(store, "r1", OCTOBER)
    period = closed(store, "2026-10")
    request(store, "late", OCTOBER, 77)
    found = entry_of(store, "late")
    assert found is not None
    booked = found[1][0]
    assert (booked.at, booked.incurred_at) == (period.ends, OCTOBER)
    assert SqlMonths(store).wrong() == []
    assert closed(store, "2026-11", DECEMBER).total_nano == 77


def test_a_correction_across_a_closed_month_leaves_it_as_it_was_and_stands_in_the_next(store: Engine) -> None:
    write(store, admitted("r1", at=OCTOBER), outcome("r1", (line(900),), at=OCTOBER, basis=Basis.ESTIMATED))
    october = closed(store, "2026-10")
    write(store, outcome("r1", (line(400),), at=OCTOBER + timedelta(minutes=5), correction=True))
    assert SqlMonths(store).wrong() == []
    assert SqlMonths(store).all() == [october]
    document = frozen(closed(store, "2026-11", DECEMBER))
    assert (document["total"]["cost_nano"], document["total"]["corrected_nano"]) == (-500, -500)
    assert spend(store, ("owner",)).total.cost_nano == 400


def test_the_drainer_writes_while_a_month_is_closed_and_no_line_of_it_is_missed_or_comes_later(store: Engine) -> None:
    request(store, "r0", OCTOBER)
    failed: list[BaseException] = []
    running, shut = threading.Event(), threading.Event()

    def drain() -> None:
        try:
            records, left = SqlRecords(store), 5
            for number in count(1):
                name, at = f"d{number}", OCTOBER + timedelta(seconds=number)
                batch = [(number % 64, raw(each)) for each in (admitted(name, at=at), outcome(name, (line(number),), at=at))]
                records.write(batch)
                left -= shut.is_set()
                if number >= 5:
                    running.set()
                if not left:
                    return
        except BaseException as error:  # pytest does not see it in this thread
            failed.append(error)
            running.set()

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        assert running.wait(60)
        period = closed(store, "2026-10")
    finally:
        shut.set()
        thread.join()
    assert failed == []
    assert SqlMonths(store).wrong() == []
    with store.connect() as connection:
        lines = connection.execute(select(ledger_lines.c.at, ledger_lines.c.cost_nano)).all()
    inside = [row.cost_nano for row in lines if period.begins <= row.at < period.ends]
    later = [row for row in lines if row.at == period.ends]
    assert sum(inside) == period.total_nano
    assert frozen(period)["total"]["lines"] == len(inside)
    assert len(later) >= 5


def test_months_are_closed_in_order_and_only_once_they_have_ended(store: Engine) -> None:
    with pytest.raises(Refused, match="nothing was ever booked"):
        closed(store, "2026-10")
    request(store, "r1", OCTOBER)
    for month, at, told in (
        ("2026-11", DECEMBER, "the next one is 2026-10"),
        ("2026-09", DECEMBER, "is closed already"),
        ("2026-10", OCTOBER, "ends at 2026-11-01"),
        ("October", DECEMBER, "is written as"),
        ("2026-13", DECEMBER, "is written as"),
    ):
        with pytest.raises(Refused, match=told):
            closed(store, month, at)
    closed(store, "2026-10", DECEMBER)
    with pytest.raises(Refused, match="2026-10 is closed already"):
        closed(store, "2026-10", DECEMBER)
    empty = closed(store, "2026-11", DECEMBER)  # nothing happened in it, and it is closed all the same
    assert (empty.total_nano, frozen(empty)["by"]["owner"]) == (0, {})


def test_open_requests_hold_up_a_month_and_are_named(store: Engine) -> None:
    request(store, "r1", OCTOBER)
    write(store, admitted("r2", at=OCTOBER))
    with pytest.raises(Refused, match=r"1 open requests \(r2\)") as refusal:
        closed(store, "2026-10")
    assert refusal.value.details == {"held_up_by": [{"what": "open requests", "count": 1, "examples": ("r2",)}]}
    assert SqlMonths(store).all() == []
    write(store, outcome("r2", (line(5),), at=OCTOBER))
    assert closed(store, "2026-10").total_nano == 1_005


def test_records_that_are_not_in_sql_yet_hold_up_a_month_and_so_does_not_knowing(store: Engine) -> None:
    request(store, "r1", OCTOBER)
    months = SqlMonths(store)
    for undrained, told in ((("1-0", "2-0"), "2 records on their way"), (None, "nobody knows")):
        with pytest.raises(Refused, match=told):
            close(months, "2026-10", actor=ANN, at=NOVEMBER, governance="single", undrained=undrained)
    assert months.all() == []


def test_only_finance_closes_and_under_single_also_who_holds_the_data_directory(store: Engine) -> None:
    request(store, "r1", OCTOBER)
    months = SqlMonths(store)
    for actor, governance in ((EVE, "single"), (EVE, "four_eyes"), (Actor("root"), "four_eyes")):
        with pytest.raises(Refused, match="finance"):
            close(months, "2026-10", actor=actor, at=NOVEMBER, governance=governance, undrained=())
    assert close(months, "2026-10", actor=Actor("root"), at=NOVEMBER, governance="single", undrained=()).closed_by == "root"


def test_a_closed_month_is_opened_again_by_two_people_and_all_its_versions_are_kept(store: Engine) -> None:
    request(store, "r1", OCTOBER)
    months = SqlMonths(store)
    first = closed(store, "2026-10")
    for actor in (EVE, Actor("root")):
        with pytest.raises(Refused, match="finance"):
            reopen(months, "2026-10", actor=actor, at=NOVEMBER)
    asked = reopen(months, "2026-10", actor=ANN, at=NOVEMBER)
    assert (asked.state, asked.asked_by) == (CLOSED, "ann@example.org")
    with pytest.raises(Refused, match="somebody else"):
        reopen(months, "2026-10", actor=ANN, at=NOVEMBER)
    assert reopen(months, "2026-10", actor=BOB, at=NOVEMBER).state == OPEN
    request(store, "r2", OCTOBER, 23)  # lies in it again
    second = closed(store, "2026-10", actor=BOB)
    assert (second.version, second.total_nano, second.asked_by) == (2, 1_023, None)
    versions = months.versions("2026-10")
    assert [each.act for each in versions] == ["closed", "reopen asked", "reopened", "closed"]
    assert [each.by.partition("@")[0] for each in versions] == ["ann", "ann", "bob", "bob"]
    assert [each.document for each in versions if each.act == "closed"] == [first.document, second.document]
    assert SqlMonths(store).wrong() == []


def test_only_the_last_closed_month_is_opened_again(store: Engine) -> None:
    request(store, "r1", OCTOBER)
    closed(store, "2026-10", DECEMBER)
    closed(store, "2026-11", DECEMBER)
    months = SqlMonths(store)
    for month in ("2026-10", "2026-12"):
        with pytest.raises(Refused, match="2026"):
            reopen(months, month, actor=ANN, at=DECEMBER)
    assert reopen(months, "2026-11", actor=ANN, at=DECEMBER).asked_by == "ann@example.org"


def test_a_changed_line_a_removed_line_and_a_changed_document_are_found(store: Engine) -> None:
    request(store, "r1", OCTOBER, app="desk")
    request(store, "r2", OCTOBER, app="bench")
    closed(store, "2026-10")
    of_r1 = update(ledger_lines).where(ledger_lines.c.request_id == "r1")
    for change, told in (
        (of_r1.values(cost_nano=1_001), "`cost_nano` was 2000 and is 2001"),
        (of_r1.values(model="other"), "by `model`"),
        (of_r1.values(at=NOVEMBER), "`cost_nano` was 2000 and is 1000"),
        (ledger_lines.delete().where(ledger_lines.c.request_id == "r1"), "`cost_nano` was 2000 and is 1000"),
        (update(finance_periods).values(document="{}"), "digest"),
        (update(finance_periods).values(total_nano=1), "frozen"),
    ):
        with writing(store) as connection:
            connection.execute(change)
            found = list(faults(connection))
            assert [month for month, _ in found] == ["2026-10"], told
            assert told in found[0][1]
            connection.rollback()
    assert SqlMonths(store).wrong() == []


def test_an_audit_finds_a_month_that_is_not_as_it_was_closed(store: Engine, tmp_path: Path) -> None:
    request(store, "r1", OCTOBER)
    closed(store, "2026-10")
    request(store, "late", OCTOBER)
    Checkpoints(tmp_path).write(store, NOVEMBER)

    def found() -> set[tuple[str, str]]:
        report = audited(store, tmp_path / "checkpoints.jsonl", public_key(tmp_path))
        return {(fault.kind, fault.message) for fault in report.faults}

    assert found() == set()
    with writing(store) as connection:
        connection.execute(update(finance_periods).values(digest="0" * 64))
    assert {kind for kind, _ in found()} == {"period", "administration"}


def test_sums_by_day_that_no_report_can_tell_the_group_of_hold_up_a_month(store: Engine) -> None:
    request(store, "r1", OCTOBER)
    with writing(store) as connection:
        connection.execute(delete(spend_groups))
    with pytest.raises(Refused, match="sums by day"):
        closed(store, "2026-10")


def test_sums_by_day_that_are_not_those_of_the_lines_hold_up_a_month(store: Engine) -> None:
    request(store, "r1", OCTOBER)
    with writing(store) as connection:
        connection.execute(update(ledger_lines).values(cost_nano=5))
    with pytest.raises(Refused, match="sums by day"):
        closed(store, "2026-10")


def test_without_a_report_zone_no_month_is_closed(store: Engine) -> None:
    request(store, "r1", OCTOBER)
    with writing(store) as connection:  # as an update of the tables leaves it until the drainer has started
        connection.execute(store_facts.delete().where(store_facts.c.name == rollups.ZONE_FACT))
    with pytest.raises(Refused, match="report zone"):
        closed(store, "2026-10")
    rollups.ensure(store, "Europe/Berlin")
    assert frozen(closed(store, "2026-10"))["zone"] == "Europe/Berlin"


@pytest.mark.parametrize(
    ("zone", "month", "begins", "hours"),
    [
        ("Europe/Berlin", "2026-03", "2026-02-28T23:00:00+00:00", 31 * 24 - 1),  # clocks go forward
        ("Europe/Berlin", "2026-10", "2026-09-30T22:00:00+00:00", 31 * 24 + 1),  # and back
        ("America/New_York", "2026-11", "2026-11-01T04:00:00+00:00", 30 * 24 + 1),
        ("Asia/Kathmandu", "2026-12", "2026-11-30T18:15:00+00:00", 31 * 24),
        ("Africa/Cairo", "2026-04", "2026-03-31T22:00:00+00:00", 30 * 24 - 1),  # at midnight: a day begins at one
        ("UTC", "2028-02", "2028-02-01T00:00:00+00:00", 29 * 24),  # with a leap day
        ("UTC", "2100-02", "2100-02-01T00:00:00+00:00", 28 * 24),
    ],
)
def test_a_month_has_the_hours_that_its_clocks_give_it_and_ends_where_the_next_begins(
    store: Engine, zone: str, month: str, begins: str, hours: int
) -> None:
    rollups.ensure(store, zone)
    start = datetime.fromisoformat(begins)
    ends = start + timedelta(hours=hours)
    request(store, "before", start - timedelta(microseconds=1), 1)
    for name, at, cost in (("first", start, 10), ("last", ends - timedelta(microseconds=1), 100), ("after", ends, 1_000)):
        request(store, name, at, cost)
    months = SqlMonths(store)
    earlier = months.standing(ends).next
    assert earlier is not None
    closed(store, earlier.month, ends)
    period = closed(store, month, ends)
    assert (period.begins, period.ends, period.total_nano) == (start, ends, 110)
    following = months.standing(ends).next
    assert following is not None
    assert following.begins == ends


def test_where_the_zone_was_changed_meanwhile_the_next_month_begins_where_the_closed_one_ended(store: Engine) -> None:
    request(store, "r1", OCTOBER)
    october = closed(store, "2026-10")
    rollups.ensure(store, "America/New_York")
    standing = SqlMonths(store).standing(DECEMBER)
    assert standing.next is not None
    assert (standing.next.month, standing.next.begins) == ("2026-11", october.ends)
    assert SqlMonths(store).wrong() == []


MOMENTS = st.integers(0, 120 * 86_400).map(lambda seconds: datetime(2026, 7, 20, tzinfo=UTC) + timedelta(seconds=seconds))


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns"]))
def test_whatever_is_booked_between_closes_closed_months_stay_and_all_months_are_the_ledger(
    new_store: Callable[[], Engine], data: st.DataObject, zone: str
) -> None:
    store = new_store()
    rollups.ensure(store, zone)
    months = SqlMonths(store)
    costs, kept = st.integers(0, 10**12), {}
    names: list[str] = []
    for number in range(data.draw(st.integers(1, 8))):
        step = data.draw(st.sampled_from(["request", "request", "correction", "close"]))
        if step == "close" and (standing := months.standing(DECEMBER)).next is not None:
            period = closed(store, standing.next.month, standing.next.ends)
            kept[period.month] = period
        elif step == "correction" and names:
            write(
                store,
                outcome(data.draw(st.sampled_from(names)), (line(data.draw(costs)),), at=data.draw(MOMENTS), correction=True),
            )
        else:
            names.append(f"r{number}")
            lines = tuple(
                line(data.draw(costs), deployment=each) for each in data.draw(st.sets(st.sampled_from(["fast-1", "slow-2"])))
            )
            at = data.draw(MOMENTS)
            write(
                store,
                admitted(names[-1], at=at, app=data.draw(st.sampled_from(["desk", "bench"]))),
                outcome(names[-1], lines, at=at),
            )
    assert {period.month: period for period in months.all()} == kept
    assert months.wrong() == []
    while (standing := months.standing(datetime(2027, 3, 1, tzinfo=UTC))).next is not None and standing.next.month < "2027-01":
        period = closed(store, standing.next.month, standing.next.ends)
        kept[period.month] = period
    assert sum(period.total_nano or 0 for period in kept.values()) == spend(store, ("owner",)).total.cost_nano
    assert months.wrong() == []
