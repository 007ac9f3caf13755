"""What is under way is seen from anywhere, and orders reach every worker once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

import pytest

from router.clock import utc_now
from router.errors import Unavailable
from router.exchange import Admitted, HoldRequest, Outcome
from router.storage.embedded_redis import EmbeddedRedis
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient
from router.storage.redis_running import RedisRunning
from router.streaming import Order, Progress


class Store(Protocol):
    client: Callable[..., AbstractAsyncContextManager[RedisClient]]


class Requests(Protocol):
    now: datetime
    hold: Callable[..., HoldRequest]
    admitted: Callable[[HoldRequest], Admitted]
    outcome: Callable[..., Outcome]


async def test_what_is_under_way_is_seen_from_its_hold_to_its_settlement(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets, running = RedisBudgets(client), RedisRunning(client)
        made = {}
        for number, session in enumerate(("s1", "s1", "s2")):
            hold = requests.hold(f"r{number}", session, at=utc_now(), budget_cost_nano=10_000_000)
            made[f"r{number}"] = await budgets.reserve(hold, requests.admitted(hold))
        assert {each.request_id for each in await running.under_way()} == {"r0", "r1", "r2"}
        assert {each.request_id for each in await running.under_way("assistant", "s1")} == {"r0", "r1"}
        assert await running.under_way("another") == []
        (one,) = await running.under_way("assistant", "s2")
        assert (one.session, one.deployment, one.worker, one.owner) == ("s2", "fast-1", "worker-1", "ann@example.org")
        assert 0 <= one.elapsed_seconds < 60
        assert 60 < one.seconds_left <= 120
        assert (one.held_nano, one.most_output_tokens, one.budget_left_nano) == (2_000_000, 100, 8_000_000)
        await budgets.settle(made["r2"], requests.outcome("r2", 5))
        assert {each.request_id for each in await running.under_way()} == {"r0", "r1"}
        assert await running.apps("s1") == ["assistant"]
        assert await running.apps("s9") == []


async def test_an_order_reaches_every_worker_once_and_none_that_came_later(store: Store) -> None:
    async with store.client() as one, store.client() as other:
        early, second, giver = RedisRunning(one), RedisRunning(other), RedisRunning(one)
        assert await early.orders() == await second.orders() == []
        await giver.end("assistant", "s1", None, "session_ended")
        await giver.end("assistant", "s1", "r1", "inference_ended")
        expected = [
            Order("end", app="assistant", session="s1"),
            Order("end", app="assistant", session="s1", request="r1", code="inference_ended"),
        ]
        assert await early.orders() == await second.orders() == expected
        assert await early.orders() == []


async def test_who_looks_is_told_how_far_everything_is(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets, running, worker = RedisBudgets(client), RedisRunning(client), RedisRunning(client)
        await worker.orders()
        for request in ("r1", "r2"):
            hold = requests.hold(request, "s1", at=utc_now())
            await budgets.reserve(hold, requests.admitted(hold))

        async def work() -> None:
            async with asyncio.timeout(5):
                orders = await worker.orders()
                while not orders:
                    orders = await worker.orders()
            await worker.tell(orders[0].look, [Progress("r1", True, 12, 4, {"seconds": 3.5})])

        found, _ = await asyncio.gather(running.looked_at("assistant", "s1"), work())
        by = {each.request_id: each.progress for each in found}
        assert by == {
            "r1": Progress("r1", True, 12, 4, {"seconds": 3.5}),
            "r2": None,
        }  # a worker that is too busy is not waited for
        assert await running.looked_at("assistant", "s9") == []


async def test_a_store_that_is_down_says_so(single: Store, redis_server: EmbeddedRedis) -> None:
    async with single.client(time_limit=0.5) as client:
        running = RedisRunning(client)
        redis_server.stop()
        for failing in (running.under_way(), running.orders(), running.end("assistant", "s1", None, "session_ended")):
            with pytest.raises(Unavailable):
                await failing
