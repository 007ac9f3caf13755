"""Redis dies, hangs and comes back: nothing is let through meanwhile, nothing is lost or counted twice afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import msgspec
import psutil
import pytest

from router.clock import utc_now
from router.errors import Unavailable
from router.exchange import Admitted, HoldRequest, Outcome, Record
from router.storage import redis_keys
from router.storage.embedded_redis import EmbeddedRedis
from router.storage.reaper import reap
from router.storage.redis_announce import RedisAnnouncements
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient
from router.storage.redis_outbox import RedisOutbox

APP, SESSION, HOLD = "assistant", "conversation-1", 2_000_000


class Requests(Protocol):
    now: datetime
    hold: Callable[..., HoldRequest]
    admitted: Callable[[HoldRequest], Admitted]
    outcome: Callable[..., Outcome]


WORKER = """
import asyncio, importlib.util, sys
from router.clock import utc_now
from router.storage.redis_announce import RedisAnnouncements
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient

module = importlib.util.spec_from_file_location("requests", sys.argv[2])
requests_of = importlib.util.module_from_spec(module)
sys.modules["requests"] = requests_of
module.loader.exec_module(requests_of)

async def main():
    client = RedisClient(sys.argv[1], time_limit=10)
    budgets, requests = RedisBudgets(client), requests_of.Requests(utc_now())
    await RedisAnnouncements(client).heartbeat("worker-1")

    async def work(name):
        for n in range(100_000):
            hold = requests.hold(f"{name}-{n}", f"session-{name}")
            reservation = await budgets.reserve(hold, requests.admitted(hold))
            await budgets.settle(reservation, requests.outcome(hold.request_id, 100))
            if n == 20:
                print("under load", flush=True)

    slow = requests.hold("slow", "session-0")  # its provider has not answered yet, so that there is one whenever the kill comes
    await budgets.reserve(slow, requests.admitted(slow))
    await asyncio.gather(*(work(name) for name in range(16)))

asyncio.run(main())
"""


def kill_a_worker_under_load(url: str) -> None:
    factory = str(Path(__file__).with_name("conftest.py"))
    with subprocess.Popen([sys.executable, "-c", WORKER, url, factory], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"under load\n"
        worker.kill()


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
    assert time.monotonic() - started < 5.0
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
    assert time.monotonic() - started < 5.0
    assert budgets.owed == 2
    os.kill(server.pid, signal.SIGCONT)

    # What was sent before the hang may run before or after it is made up for: the end is the same.
    assert await budgets.retry() == 0
    await client.call("PING")
    assert await budgets.session_balance(APP, SESSION) == (5, 0)
    assert await reap(client, requests.now + timedelta(days=1)) == 0
    await client.aclose()


@pytest.mark.parametrize("attempt", range(3))
async def test_every_request_of_a_worker_killed_under_load_is_closed_exactly_once(redis_url: str, attempt: int) -> None:
    kill_a_worker_under_load(redis_url)
    client = RedisClient(redis_url, time_limit=10)
    await RedisAnnouncements(client).farewell("worker-1")
    left = sum([await client.call("ZCARD", name) for name in redis_keys.OPEN])
    assert 0 < left <= 17

    assert await reap(client, utc_now() + timedelta(seconds=6)) == left
    records = [msgspec.json.decode(raw, type=Record) for _, _, raw in await RedisOutbox(client).read(1_000_000)]
    admitted = [one.request_id for one in records if isinstance(one, Admitted)]
    closed = [one.request_id for one in records if isinstance(one, Outcome)]
    assert len(set(admitted)) == len(admitted) >= 16 * 20
    assert sorted(closed) == sorted(admitted)
    for name in range(16):
        assert (await RedisBudgets(client).session_balance(APP, f"session-{name}"))[1] == 0
    await client.aclose()
