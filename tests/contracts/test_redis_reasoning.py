"""Reasoning is bounded: in all, and for as long as nothing new comes from outside."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import pytest

from router.errors import Refused
from router.exchange import Admitted, HoldRequest, Outcome
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient


class Store(Protocol):
    client: Callable[..., AbstractAsyncContextManager[RedisClient]]


class Requests(Protocol):
    hold: Callable[..., HoldRequest]
    admitted: Callable[[HoldRequest], Admitted]
    outcome: Callable[..., Outcome]


async def think(client: RedisClient, requests: Requests, name: str, tokens: int, **limits: Any) -> None:
    budgets = RedisBudgets(client)
    hold = requests.hold(name, "s", **limits)
    reservation = await budgets.reserve(hold, requests.admitted(hold))
    await budgets.settle(reservation, requests.outcome(name, 100, thought=tokens))


async def test_a_session_thinks_no_more_once_its_reasoning_tokens_are_used_up(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        await think(client, requests, "one", 60, budget_reasoning_tokens=100)
        await think(client, requests, "two", 60, budget_reasoning_tokens=100)
        with pytest.raises(Refused) as refused:
            await think(client, requests, "three", 1, budget_reasoning_tokens=100)
        assert refused.value.code == "session_budget_exceeded"


async def test_thinking_on_without_anything_new_is_stopped_and_something_new_lets_it_go_on(
    store: Store, requests: Requests
) -> None:
    async with store.client() as client:
        await think(client, requests, "one", 60, budget_reasoning_growth=100, news="a")
        await think(client, requests, "two", 60, budget_reasoning_growth=100, news="a")
        with pytest.raises(Refused) as refused:
            await think(client, requests, "three", 1, budget_reasoning_growth=100, news="a")
        assert refused.value.code == "loop_detected"
        await think(client, requests, "four", 60, budget_reasoning_growth=100, news="b")
        await think(client, requests, "five", 60, budget_reasoning_growth=100, news="b")
        with pytest.raises(Refused):
            await think(client, requests, "six", 1, budget_reasoning_growth=100, news="b")
