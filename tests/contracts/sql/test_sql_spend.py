"""Spend ties to the nano-dollar, by whatever it is grouped, and open or unpriced use has its own figure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sql_records import NOON, admitted, line, outcome, raw
from sqlalchemy import Engine, func, select

from router.exchange import Admitted, Outcome
from router.reports.spend import DIMENSIONS, Figures
from router.storage.sql.ledger import spend
from router.storage.sql.owner_spend import spent_between
from router.storage.sql.records import SqlRecords
from router.storage.sql.tables import ledger_entries
from router.usage import Basis
from routing_rules.vocabulary import TaskKind

DAY = timedelta(days=1)


def write(store: Engine, *records: Admitted | Outcome) -> None:
    SqlRecords(store).write([(1, raw(record)) for record in records])


@pytest.fixture
def used(store: Engine) -> Engine:
    write(
        store,
        admitted("r1", owner="ana"),
        outcome("r1"),
        admitted("r2", owner="bob", app="bench", task=TaskKind.CODING, at=NOON + DAY),
        outcome(
            "r2",
            (line(40, attempt=1, deployment="fast-1"), line(2_000, attempt=2, deployment="fast-2")),
            deployment="fast-2",
            at=NOON + DAY,
        ),
        admitted("r3", owner="ana", at=NOON + DAY),
        outcome("r3", (line(0, unit_price=None, quantity=77, token_class="reasoning"),), at=NOON + DAY),
        admitted("r4", owner="ana", held=5_000),
    )
    return store


def by(store: Engine, *dimensions: str) -> dict[tuple[str, ...], Figures]:
    return {row.group: row.figures for row in spend(store, dimensions).rows}


def test_owners_see_requests_tokens_and_cost(used: Engine) -> None:
    rows = by(used, "owner")
    assert rows[("bob",)] == Figures(requests=1, cost_nano=2_040, list_nano=2_040, input_tokens=2_000, upstream_us=800_000)
    assert rows[("ana",)] == Figures(
        requests=2,
        open_requests=1,
        open_held_nano=5_000,
        cost_nano=750,
        list_nano=750,
        upstream_us=1_600_000,
        unpriced_tokens=77,
        input_tokens=1_000,
        output_tokens=100,
        reasoning_tokens=77,
    )


def test_the_dearest_group_comes_first(used: Engine) -> None:
    assert [row.group for row in spend(used, ("owner",)).rows] == [("bob",), ("ana",)]


def test_each_attempt_is_charged_to_its_own_deployment_and_the_request_to_the_last(used: Engine) -> None:
    rows = by(used, "deployment")
    assert (rows[("fast-1",)].cost_nano, rows[("fast-1",)].requests) == (790, 2)
    assert (rows[("fast-2",)].cost_nano, rows[("fast-2",)].requests) == (2_000, 1)
    assert by(used, "model")[("model of fast-2",)].cost_nano == 2_000


def test_groups_combine(used: Engine) -> None:
    assert {group: figures.cost_nano for group, figures in by(used, "app", "task", "day").items()} == {
        ("bench", "coding", "2026-03-11"): 2_040,
        ("desk", "summarisation", "2026-03-10"): 750,
        ("desk", "summarisation", "2026-03-11"): 0,
    }


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_every_dimension_adds_up_to_the_same_total(used: Engine, dimension: str) -> None:
    assert spend(used, (dimension,)).total == spend(used, ("owner",)).total


def test_a_period_takes_its_first_moment_and_not_its_last(used: Engine) -> None:
    closed = NOON + timedelta(seconds=3)
    assert spend(used, ("owner",), closed, closed + timedelta(microseconds=1)).total.requests == 1
    assert spend(used, ("owner",), NOON, closed).total == Figures(open_requests=1, open_held_nano=5_000)
    assert spend(used, ("owner",), NOON + DAY).total.cost_nano == 2_040


def test_a_correction_counts_when_it_is_booked(store: Engine) -> None:
    estimate = outcome("r1", (), cost=9_000, how="reaped", basis=Basis.ESTIMATED)
    write(store, admitted("r1"), estimate, outcome("r1", correction=True, at=NOON + DAY))
    assert {group: figures.cost_nano for group, figures in by(store, "day").items()} == {
        ("2026-03-10",): 9_000,
        ("2026-03-11",): -8_250,
    }
    total = spend(store, ("day",)).total
    assert (total.cost_nano, total.estimated_nano, total.corrected_nano, total.requests) == (750, 0, -8_250, 1)


def test_days_are_those_of_utc(store: Engine) -> None:
    late = datetime(2026, 3, 10, 23, 59, 59, 999_999, tzinfo=UTC)
    write(store, admitted("r1", at=late), outcome("r1", at=late))
    assert set(by(store, "day")) == {("2026-03-10",)}


def test_an_empty_ledger_has_no_rows(store: Engine) -> None:
    report = spend(store, ("owner", "model"))
    assert report.rows == ()
    assert report.total == Figures()


def test_owners_months_are_those_in_which_requests_were_admitted(store: Engine) -> None:
    new_year = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    write(store, admitted("r1", owner="ana", at=new_year), outcome("r1", at=new_year + DAY))
    write(store, admitted("r2", owner="ana", at=new_year + DAY), outcome("r2", (line(1),), at=new_year + DAY))
    write(store, admitted("r3", owner="bob", at=new_year))
    january = datetime(2027, 1, 1, tzinfo=UTC)
    assert spent_between(store, january - 31 * DAY, january) == {"ana": 750}
    assert spent_between(store, january, january + 31 * DAY) == {"ana": 1}


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    costs=st.lists(
        st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 10**13), max_size=4), st.integers(0, 10**6)), max_size=8
    )
)
def test_spend_is_what_the_entries_cost_to_the_nano(
    new_store: Callable[[], Engine], costs: list[tuple[str, list[int], int]]
) -> None:
    store = new_store()
    for number, (owner, amounts, unaccounted) in enumerate(costs):
        lines = tuple(line(cost, attempt=place, deployment=f"d{place}") for place, cost in enumerate(amounts))
        write(store, admitted(f"r{number}", owner=owner), outcome(f"r{number}", lines, cost=sum(amounts) + unaccounted))
    expected = sum(sum(amounts) + unaccounted for _, amounts, unaccounted in costs)
    with store.connect() as connection:
        assert int(connection.scalar(select(func.coalesce(func.sum(ledger_entries.c.cost_nano), 0))) or 0) == expected
    for dimensions in (("owner",), ("deployment", "owner"), ("provider", "day", "session")):
        report = spend(store, dimensions)
        assert report.total.cost_nano == expected
        assert report.total.requests == len(costs)
