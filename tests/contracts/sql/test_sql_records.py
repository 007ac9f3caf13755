"""However often and in whatever pieces records come: one entry, closed once, its lines its cost, one link per record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sql_records import NOON, admitted, line, outcome, raw, turned
from sqlalchemy import Engine, func, select, text

from router.exchange import Admitted, Outcome, Turned
from router.storage.sql.engine import writing
from router.storage.sql.evidence import account_of, search
from router.storage.sql.ledger import UNITEMISED, UNKNOWN, entry_of, open_entries
from router.storage.sql.records import SqlRecords, Written
from router.storage.sql.tables import chain_heads, evidence, ledger_entries, ledger_lines, quarantine
from router.usage import Basis

SHARED = settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(store: Engine, *records: Admitted | Turned | Outcome, shard: int = 3) -> Written:
    return SqlRecords(store).write([(shard, raw(record)) for record in records])


def contents(store: Engine) -> list[Sequence[tuple[object, ...]]]:
    """Everything a batch can change, but the hashes, which rest on the store's name."""
    queries = (
        select(*(column for column in evidence.c if column.name != "hash")).order_by(evidence.c.shard, evidence.c.seq),
        select(ledger_entries).order_by(ledger_entries.c.request_id),
        select(ledger_lines).order_by(ledger_lines.c.request_id, ledger_lines.c.line),
        select(chain_heads.c.chain, chain_heads.c.seq).order_by(chain_heads.c.chain),
        select(quarantine.c.digest, quarantine.c.reason).order_by(quarantine.c.digest),
    )
    with store.connect() as connection:
        return [[tuple(row) for row in connection.execute(query)] for query in queries]


def count(store: Engine, table: object) -> int:
    with store.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0  # type: ignore[arg-type]


def test_an_admitted_request_has_evidence_and_an_open_entry(store: Engine) -> None:
    assert write(store, admitted("r1")) == Written(entered=1)
    found = entry_of(store, "r1")
    assert found is not None
    entry, lines = found
    assert (entry.closed_at, entry.held_nano, entry.cost_nano, lines) == (None, 9_000, 0, [])
    assert (entry.owner, entry.team, entry.rule, entry.tier, entry.sensitivity) == (
        "ana@example.com",
        "team of desk",
        "r-fast",
        "fast",
        "internal",
    )
    assert [one.request_id for one in open_entries(store, NOON + timedelta(hours=1))] == ["r1"]


def test_an_outcome_closes_the_entry_with_lines_that_add_up(store: Engine) -> None:
    write(store, admitted("r1"))
    write(store, outcome("r1"))
    found = entry_of(store, "r1")
    assert found is not None
    entry, lines = found
    assert entry.closed_at == NOON + timedelta(seconds=3)
    assert (entry.outcome, entry.basis, entry.model, entry.line_count) == ("completed", "reported", "model of fast-1", 2)
    assert entry.cost_nano == 750 == sum(one.cost_nano for one in lines)
    assert open_entries(store, NOON + timedelta(hours=1)) == []


def test_a_refused_request_has_evidence_and_no_entry(store: Engine) -> None:
    assert write(store, turned("r1"), turned("r2", decided=False)) == Written(entered=2)
    assert count(store, ledger_entries) == 0
    assert {row.request_id: row.decision for row in search(store, {"code": "no_cleared_deployment"})} == {
        "r1": "refuse",
        "r2": None,
    }


def test_a_request_admitted_but_reported_as_refused_keeps_both_accounts(store: Engine) -> None:
    write(store, admitted("r1"), turned("r1"), outcome("r1", ()))
    account = account_of(store, "r1")
    assert account is not None
    assert account.admitted == admitted("r1")
    assert account.refused == turned("r1")
    assert account.outcomes == (outcome("r1", ()),)


def test_evidence_gives_back_the_very_record(store: Engine) -> None:
    write(store, admitted("r1"), outcome("r1"))
    account = account_of(store, "r1")
    assert account is not None
    assert account.admitted == admitted("r1")
    assert account_of(store, "unheard of") is None


def test_a_second_outcome_that_is_no_correction_is_put_aside(store: Engine) -> None:
    write(store, admitted("r1"), outcome("r1"))
    late = outcome("r1", how="reaped", cost=9_000, lines=())
    assert write(store, late) == Written(quarantined=1)
    found = entry_of(store, "r1")
    assert found is not None
    assert (found[0].outcome, found[0].cost_nano, found[0].corrections) == ("completed", 750, 0)


def test_a_correction_takes_back_what_was_estimated(store: Engine) -> None:
    estimate = outcome("r1", (), cost=9_000, how="reaped", basis=Basis.ESTIMATED)
    truth = outcome("r1", correction=True, at=NOON + timedelta(minutes=2))
    write(store, admitted("r1"), estimate)
    write(store, truth)
    found = entry_of(store, "r1")
    assert found is not None
    entry, lines = found
    assert [(one.token_class, one.cost_nano, one.correction) for one in lines] == [
        (UNITEMISED, 9_000, False),
        (UNITEMISED, -9_000, True),
        ("input", 150, True),
        ("output", 600, True),
    ]
    assert entry.cost_nano == 750 == sum(one.cost_nano for one in lines)
    assert (entry.closed_at, entry.outcome, entry.basis, entry.corrections) == (estimate.at, "completed", "reported", 1)


def test_corrections_follow_one_another_and_the_sum_stays_the_cost(store: Engine) -> None:
    write(store, admitted("r1"), outcome("r1"))
    for cost in (10, 0, 4_000):
        write(store, outcome("r1", (line(cost),), correction=True))
        found = entry_of(store, "r1")
        assert found is not None
        assert found[0].cost_nano == cost == sum(one.cost_nano for one in found[1])


def test_an_outcome_whose_intent_never_came_is_booked_and_completed_later(store: Engine) -> None:
    write(store, outcome("r1"))
    found = entry_of(store, "r1")
    assert found is not None
    assert (found[0].owner, found[0].cost_nano, found[0].opened_at) == (UNKNOWN, 750, None)
    write(store, admitted("r1"))
    found = entry_of(store, "r1")
    assert found is not None
    assert (found[0].owner, found[0].cost_nano, found[0].opened_at, len(found[1])) == ("ana@example.com", 750, NOON, 2)


def test_a_cost_that_no_line_accounts_for_gets_a_line(store: Engine) -> None:
    write(store, admitted("r1"), outcome("r1", (line(100),), cost=130))
    found = entry_of(store, "r1")
    assert found is not None
    assert [(one.token_class, one.cost_nano, one.deployment) for one in found[1]] == [
        ("input", 100, "fast-1"),
        (UNITEMISED, 30, "fast-1"),
    ]


@pytest.mark.parametrize("bad", [b"", b"not json", b"\xff\xfe", b'{"type":"admitted"}', b'{"type":"unheard of"}'])
def test_what_is_no_record_is_put_aside_and_holds_up_nothing(store: Engine, bad: bytes) -> None:
    batch = [(3, raw(admitted("r1"))), (3, bad), (3, raw(outcome("r1")))]
    assert SqlRecords(store).write(batch) == Written(entered=2, quarantined=1)
    SqlRecords(store).write(batch)
    with store.connect() as connection:
        assert [(row.record, row.reason) for row in connection.execute(select(quarantine))] == [(bad, "not a record")]


def test_what_the_database_cannot_hold_is_put_aside_alone(store: Engine) -> None:
    too_much = outcome("r2", (line(2**70),))
    no_zone = msgspec.structs.replace(admitted("r3"), at=NOON.replace(tzinfo=None))
    batch = [admitted("r1"), admitted("r2"), too_much, no_zone, outcome("r1")]
    assert write(store, *batch) == Written(entered=3, quarantined=2)
    found = entry_of(store, "r1")
    assert found is not None
    assert found[0].cost_nano == 750
    assert [one.request_id for one in open_entries(store, NOON + timedelta(hours=1))] == ["r2"]


def test_a_record_of_no_shard_is_put_aside(store: Engine) -> None:
    assert SqlRecords(store).write([(64, raw(admitted("r1"))), (-1, raw(admitted("r2")))]) == Written(quarantined=2)


def test_a_batch_that_fails_half_way_leaves_nothing(store: Engine) -> None:
    with writing(store) as connection:
        connection.execute(text("ALTER TABLE ledger_lines RENAME TO elsewhere"))
    with pytest.raises(Exception, match="ledger_lines"):
        write(store, admitted("r1"), outcome("r1"))
    with writing(store) as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO ledger_lines"))
    assert count(store, evidence) == 0
    assert write(store, admitted("r1"), outcome("r1")) == Written(entered=2)


def _stories() -> st.SearchStrategy[list[tuple[int, bytes]]]:
    """Streams as the outbox holds them: per request its records in order, shards of several requests mixed."""

    def story(number: int) -> st.SearchStrategy[list[tuple[int, bytes]]]:
        name, shard = f"r{number}", number % 3
        open_ = admitted(name, app=f"app{number % 2}")
        costs = st.lists(st.integers(0, 10**12), max_size=3).map(lambda costs: tuple(line(cost) for cost in costs))
        closed = costs.map(lambda lines: [open_, outcome(name, lines)])
        twice = costs.map(lambda lines: [open_, outcome(name, lines), outcome(name, (line(7),), how="reaped")])
        corrected = st.tuples(costs, costs).map(
            lambda both: [open_, outcome(name, both[0], cost=9_000), outcome(name, both[1], correction=True)]
        )
        ends = st.one_of(
            st.just([open_]), closed, twice, corrected, st.just([turned(name)]), costs.map(lambda c: [outcome(name, c)])
        )
        return ends.map(lambda records: [(shard, raw(record)) for record in records])

    return (
        st.integers(1, 6)
        .flatmap(lambda n: st.tuples(*map(story, range(n))))
        .map(lambda all_: [one for each in all_ for one in each])
    )


@SHARED
@given(stream=_stories(), data=st.data())
def test_any_split_and_any_repetition_end_in_the_same_store(
    new_store: Callable[[], Engine], stream: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    whole, pieces = new_store(), new_store()
    SqlRecords(whole).write(stream)
    records, done = SqlRecords(pieces), 0
    while done < len(stream):
        # A drainer begins again with whatever it had not acknowledged.
        begin = data.draw(st.integers(0, done))
        end = data.draw(st.integers(done + 1, len(stream)))
        records.write(stream[begin:end])
        done = end
    records.write(stream)
    assert contents(pieces) == contents(whole)
    for request_id, cost in _costs(whole):
        found = entry_of(whole, request_id)
        assert found is not None
        assert sum(one.cost_nano for one in found[1]) == cost


def _costs(store: Engine) -> list[tuple[str, int]]:
    with store.connect() as connection:
        return [(row.request_id, row.cost_nano) for row in connection.execute(select(ledger_entries))]
