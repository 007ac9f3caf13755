"""What the outbox holds comes to SQL once, whatever fails in between, and a drainer that is told to stop leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import Engine, func, select, text

from router.exchange import Admitted, HoldRequest, Outcome, shard_of
from router.storage import redis_keys
from router.storage.audit_chain import Checkpoints, public_key, verify
from router.storage.drainer import Drainer
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient
from router.storage.redis_outbox import RedisOutbox
from router.storage.sql.engine import writing
from router.storage.sql.records import SqlRecords
from router.storage.sql.tables import evidence, ledger_entries, quarantine


class Redis(Protocol):
    client: Callable[..., AbstractAsyncContextManager[RedisClient]]


class Requests(Protocol):
    hold: Callable[..., HoldRequest]
    admitted: Callable[[HoldRequest], Admitted]
    outcome: Callable[..., Outcome]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "audit"


async def serve(client: RedisClient, requests: Requests, count: int, *, first: int = 0) -> None:
    """Let requests through and settle all but every fifth."""
    budgets = RedisBudgets(client)
    for n in range(first, first + count):
        hold = requests.hold(f"r{n:03d}", f"s{n % 7}")
        reservation = await budgets.reserve(hold, requests.admitted(hold))
        if n % 5:
            await budgets.settle(reservation, requests.outcome(hold.request_id, 1_000 + n))


def drainer(client: RedisClient, store: Engine, folder: Path, name: str = "first") -> Drainer:
    return Drainer(RedisOutbox(client), store, Checkpoints(folder), drainer_id=name, batch=40)


def at_once() -> asyncio.Event:
    stop = asyncio.Event()
    stop.set()
    return stop


def counts(store: Engine) -> tuple[int, int, int]:
    """Links of evidence, entries, entries that are closed."""
    with store.connect() as connection:
        closed = select(func.count()).select_from(ledger_entries).where(ledger_entries.c.closed_at.is_not(None))
        queries = (select(func.count()).select_from(evidence), select(func.count()).select_from(ledger_entries), closed)
        links, entries, settled = (connection.scalar(query) or 0 for query in queries)
        return links, entries, settled


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - a drainer tells nobody how far it is
            await asyncio.sleep(0.01)


async def test_a_drainer_that_is_told_to_stop_first_drains_what_is_there(
    store: Engine, single: Redis, requests: Requests, folder: Path
) -> None:
    async with single.client() as client:
        await serve(client, requests, 100)
        first = drainer(client, store, folder)
        await first.run(at_once())
        assert await RedisOutbox(client).backlog() == 0
        assert await RedisOutbox(client).lead("second")
    assert counts(store) == (180, 100, 80)
    assert (first.progress.entered, first.progress.repeated, first.progress.backlog) == (180, 0, 0)
    report = verify(store, folder / "checkpoints.jsonl", public_key(folder))
    assert report.intact
    assert (report.links, report.unanchored) == (180, 0)


async def test_entries_written_but_not_acknowledged_are_not_written_twice(
    store: Engine, single: Redis, requests: Requests, folder: Path
) -> None:
    async with single.client() as client:
        await serve(client, requests, 30)
        # As a drainer leaves it that dies between its commit and the acknowledgement.
        SqlRecords(store).write([(shard, record) for shard, _, record in await RedisOutbox(client).read(40)])
        again = drainer(client, store, folder)
        await again.run(at_once())
    assert counts(store) == (54, 30, 24)
    assert again.progress.repeated > 0


async def test_while_sql_is_down_records_wait_and_none_is_lost(
    store: Engine, single: Redis, requests: Requests, folder: Path
) -> None:
    def rename(table: str, name: str) -> None:
        with writing(store) as connection:
            connection.execute(text(f"ALTER TABLE {table} RENAME TO {name}"))

    async with single.client() as client:
        await serve(client, requests, 20)
        rename("evidence", "elsewhere")
        stop, first = asyncio.Event(), drainer(client, store, folder)
        running = asyncio.create_task(first.run(stop))
        await until(lambda: first.progress.down is not None)
        await serve(client, requests, 20, first=20)
        assert await RedisOutbox(client).backlog() == 72
        rename("elsewhere", "evidence")
        await until(lambda: counts(store) == (72, 40, 32))
        stop.set()
        await running
    assert counts(store) == (72, 40, 32)
    assert first.progress.down is None


async def test_two_drainers_enter_everything_once(store: Engine, single: Redis, requests: Requests, folder: Path) -> None:
    async with single.client() as client, single.client() as other:
        stop = asyncio.Event()
        both = [drainer(client, store, folder, "first"), drainer(other, store, folder, "second")]
        running = [asyncio.create_task(one.run(stop)) for one in both]
        await serve(client, requests, 60)
        await until(lambda: counts(store) == (108, 60, 48))
        assert sum(one.progress.leading for one in both) == 1
        stop.set()
        await asyncio.gather(*running)
    assert counts(store) == (108, 60, 48)
    assert sum(one.progress.repeated for one in both) == 0


async def test_an_entry_that_is_no_record_does_not_hold_up_its_shard(
    store: Engine, single: Redis, requests: Requests, folder: Path
) -> None:
    async with single.client() as client:
        await client.call("XADD", redis_keys.OUTBOXES[shard_of("s1")], "*", "r", b"\x00 no record")
        await serve(client, requests, 10)
        first = drainer(client, store, folder)
        await first.run(at_once())
        assert await RedisOutbox(client).backlog() == 0
    assert counts(store) == (18, 10, 8)
    assert first.progress.quarantined == 1
    with store.connect() as connection:
        assert connection.scalar(select(quarantine.c.reason)) == "not a record"
