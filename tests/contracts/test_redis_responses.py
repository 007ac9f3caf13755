"""A kept response is known to its app alone, and of any number of workers one follows it while it is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from router.exchange import Reservation
from router.stages.keep_responses import KeptResponse, UnderWay
from router.storage import redis_keys
from router.storage.redis_client import RedisClient
from router.storage.redis_responses import RedisResponses
from router.storage.redis_sessions import LINK_SECONDS
from router.usage import Usage
from routing_rules.decisions import ToolGrant

REST = UnderWay(
    reservation=Reservation("req_1", "s_1", 3, "owner@example.org", 1_000, 64, None, "assistant", "2026-08"),
    attempt=1,
    booked=(),
    longest=Usage(input=10, output=64),
    stop_at=datetime(2026, 8, 3, 12, tzinfo=UTC),
)
ENDED = KeptResponse("resp_1", "assistant", "s_1", "m", "req_1", ToolGrant(granted=(("function", "calculator"),)))
BEGUN = msgspec.structs.replace(ENDED, under_way=REST)


class Store(Protocol):
    client: Callable[..., AbstractAsyncContextManager[RedisClient]]


async def test_it_is_found_by_its_app_until_its_ids_lead_back_no_more_or_it_is_forgotten(store: Store) -> None:
    async with store.client() as client:
        responses = RedisResponses(client)
        await responses.keep(BEGUN)
        assert await responses.find("assistant", "resp_1") == BEGUN
        assert await responses.find("another", "resp_1") is None
        assert await responses.find("assistant", "resp_2") is None
        assert LINK_SECONDS - 60 < await client.call("TTL", redis_keys.kept("assistant", "resp_1")) <= LINK_SECONDS
        await responses.forget(BEGUN)
        assert await responses.find("assistant", "resp_1") is None


async def test_of_many_workers_one_follows_and_another_does_when_it_has_let_go(store: Store) -> None:
    async with store.client() as client:
        responses = RedisResponses(client)
        await responses.keep(BEGUN)
        taken = await asyncio.gather(*(responses.lease(BEGUN, f"w{number}", 5.0) for number in range(8)))
        assert sum(taken) == 1
        first = f"w{taken.index(True)}"
        assert await responses.lease(BEGUN, first, 5.0)
        assert list(await responses.left_alone()) == []
        await responses.release(BEGUN, "somebody else")
        assert not await responses.lease(BEGUN, "w9", 5.0)
        await responses.release(BEGUN, first)
        assert list(await responses.left_alone()) == [BEGUN]


async def test_what_has_ended_or_is_forgotten_is_left_alone_by_nobody(store: Store) -> None:
    async with store.client() as client:
        responses = RedisResponses(client)
        other = msgspec.structs.replace(BEGUN, id="resp_2")
        await responses.keep(BEGUN)
        await responses.keep(other)
        await responses.keep(ENDED)
        await responses.forget(other)
        assert list(await responses.left_alone()) == []
        assert await client.call("SMEMBERS", redis_keys.UNDER_WAY) == []
