"""Redis dies, hangs and comes back: nothing is let through meanwhile, nothing is lost or counted twice afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from router.errors import Unavailable
from router.exchange import Admitted, HoldRequest, Outcome
from router.storage.embedded_redis import EmbeddedRedis
from router.storage.reaper import reap
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient
from router.storage.redis_outbox import RedisOutbox

APP, SESSION, HOLD = "assistant", "conversation-1", 2_000_000


class Requests(Protocol):
    now: datetime
    hold: Callable[..., HoldRequest]
    admitted: Callable[[HoldRequest], Admitted]
    outcome: Callable[..., Outcome]


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(data_dir)
    server.start()
    yield server
    server.stop()


async def crash(server: EmbeddedRedis) -> None:
    assert server.pid is not None
    process = psutil.Process(server.pid)
    process.kill()
    await asyncio.to_thread(process.wait, 10)


async def test_balances_holds_and_records_survive_a_crash(server: EmbeddedRedis, requests: Requests) -> None:
    client = RedisClient(server.start())
    budgets = RedisBudgets(client)
    hold = requests.hold("r1", budget_cost_nano=10 * HOLD, owner_hard_nano=10 * HOLD)
    reservation = await budgets.reserve(hold, requests.admitted(hold))
    await crash(server)
    started = time.monotonic()
    with pytest.raises(Unavailable):
        await budgets.settle(reservation, requests.outcome("r1", 5))
    assert time.monotonic() - started < 1.0
    server.start()

    assert await budgets.session_balance(APP, SESSION) == (0, HOLD)
    assert await budgets.owner_balance(hold.owner, "2026-08") == (0, HOLD)
    assert await budgets.retry() == 0
    assert await budgets.session_balance(APP, SESSION) == (5, 0)
    assert await RedisOutbox(client).backlog() == 2
    await client.aclose()


async def test_steps_whose_answer_was_lost_in_a_hang_are_made_up_for_once(server: EmbeddedRedis, requests: Requests) -> None:
    client = RedisClient(server.start(), time_limit=0.3)
    budgets = RedisBudgets(client)
    first, second = requests.hold("r1"), requests.hold("r2")
    reservation = await budgets.reserve(first, requests.admitted(first))
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    started = time.monotonic()
    failed = await asyncio.gather(
        budgets.settle(reservation, requests.outcome("r1", 5)),
        budgets.reserve(second, requests.admitted(second)),
        return_exceptions=True,
    )
    assert all(isinstance(one, Unavailable) for one in failed)
    assert time.monotonic() - started < 1.0
    assert budgets.owed == 2
    os.kill(server.pid, signal.SIGCONT)

    # What was sent before the hang may run before or after it is made up for: the end is the same.
    assert await budgets.retry() == 0
    await client.call("PING")
    assert await budgets.session_balance(APP, SESSION) == (5, 0)
    assert await reap(client, requests.now + timedelta(days=1)) == 0
    await client.aclose()
