"""What Redis says an owner has spent in a period is what the ledger says, from the moment on that a budget is set for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest
from sql_records import admitted, outcome, raw
from sqlalchemy import Engine

from router.governance import rules as governance
from router.storage.audit_chain import Checkpoints
from router.storage.drainer import Drainer
from router.storage.owner_periods import OwnerPeriods
from router.storage.redis_announce import RedisAnnouncements
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient
from router.storage.redis_outbox import RedisOutbox
from router.storage.sql.engine import open_engine
from router.storage.sql.migrate import migrate
from router.storage.sql.records import SqlRecords
from router.storage.sql.rules import RuleStore
from routing_rules.load import complete

OWNER = "ana@example.com"
NOW = datetime(2026, 12, 31, 12, tzinfo=UTC)
SESSIONS = "session_budgets: [{id: default}, {id: reasoning}, {id: tiny}]\n"
YEARLY = SESSIONS + f"owner_budgets: [{{owner: {OWNER}, per: year, hard_usd: 9}}]\n"


class Store(Protocol):
    client: Callable[..., AbstractAsyncContextManager[RedisClient]]


@pytest.fixture
def sql(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'router.db'}")
    migrate(engine)
    governance.seed(RuleStore(engine), complete({"budgets.yaml": YEARLY}, date(2026, 1, 1)), governance="single", at=NOW)
    yield engine
    engine.dispose()


def spend(engine: Engine, request_id: str, at: datetime) -> None:
    """An entry of 750 nano-USD, opened at a moment and closed a day later."""
    closed = at + timedelta(days=1)
    SqlRecords(engine).write([(0, raw(admitted(request_id, owner=OWNER, at=at))), (0, raw(outcome(request_id, at=closed)))])


async def test_a_limit_that_is_new_begins_with_what_was_spent_before_it(single: Store, sql: Engine) -> None:
    spend(sql, "r1", datetime(2026, 1, 1, tzinfo=UTC))
    spend(sql, "r2", datetime(2026, 12, 30, tzinfo=UTC))
    spend(sql, "r3", datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC))  # paid from another year, though it was closed in this one
    async with single.client() as client:
        budgets = RedisBudgets(client)
        assert await budgets.owner_balances([(OWNER, "2026")]) == [None]
        assert await OwnerPeriods(sql, client).keep(NOW) > 0
        wanted = [(OWNER, period) for period in ("2026", "2027", "2028")]
        assert await budgets.owner_balances(wanted) == [(1500, 0), (0, 0), None]


async def test_what_is_booked_already_is_not_added_up_again_at_every_start(single: Store, sql: Engine) -> None:
    async with single.client() as client:
        await OwnerPeriods(sql, client).keep(NOW)
        assert await OwnerPeriods(sql, client).keep(NOW) == 0


async def test_a_redis_that_lost_its_balances_has_them_added_up_anew(
    single: Store, sql: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.storage.owner_periods.LOOK_SECONDS", 0.0)
    spend(sql, "r1", datetime(2026, 1, 1, tzinfo=UTC))
    async with single.client() as client:
        periods, budgets = OwnerPeriods(sql, client), RedisBudgets(client)
        await RedisAnnouncements(client).announce()
        await periods.keep(NOW)
        assert await periods.keep(NOW) == 0
        await client.call("FLUSHALL")
        await periods.keep(NOW)
        assert await budgets.owner_balances([(OWNER, "2026")]) == [(750, 0)]


async def test_a_month_without_the_mark_of_the_ledger_is_added_up_at_once(single: Store, sql: Engine) -> None:
    spend(sql, "r1", datetime(2026, 12, 30, tzinfo=UTC))
    async with single.client() as client:
        budgets = RedisBudgets(client)
        await OwnerPeriods(sql, client).keep(NOW)
        assert await budgets.owner_balances([(OWNER, "2026-12")]) == [(750, 0)]
        assert await budgets.counted([(OWNER, "2026-12"), (OWNER, "2026-11")]) == [True, False]


async def test_bookings_that_come_while_the_ledger_is_read_count_on_top(single: Store, sql: Engine) -> None:
    async with single.client() as client:
        budgets = RedisBudgets(client)
        await budgets.set_owner_spent(OWNER, "2026", 100)
        booked, _ = await budgets.owner_balance(OWNER, "2026")
        await budgets.set_owner_spent(OWNER, "2026", 130)  # thirty more meanwhile
        await budgets.correct_owner_spent(OWNER, "2026", booked, 90)
        assert await budgets.owner_balance(OWNER, "2026") == (120, 0)


async def test_the_drainer_leaves_time_for_it_once_sql_has_all_that_is_booked(single: Store, sql: Engine, tmp_path: Path) -> None:
    async with single.client() as client:
        stop = asyncio.Event()
        called: list[datetime] = []

        async def between(now: datetime) -> None:
            called.append(now)
            stop.set()

        drainer = Drainer(RedisOutbox(client), sql, Checkpoints(tmp_path / "audit"), clock=lambda: NOW, between=between)
        await asyncio.wait_for(drainer.run(stop), 20)
        assert called == [NOW]
