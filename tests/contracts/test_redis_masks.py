"""A session's mapping gives each value one placeholder however many ask at once, tells nothing to Redis, and ends with the session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol

import pytest

from router.errors import Refused, Unavailable
from router.exchange import Admitted, HoldRequest, shard_of
from router.storage import redis_keys
from router.storage.embedded_redis import EmbeddedRedis
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient
from router.storage.redis_masks import MOST_FIELDS, UNUSED_SECONDS, RedisMasks
from router.storage.redis_sessions import SESSION_SECONDS, RedisSessions
from routing_rules.facts import Labels
from routing_rules.vocabulary import Integrity, Sensitivity

APP, SECRET = "assistant", b"s" * 32
EMAIL, CARD = ("EMAIL_ADDRESS", "anna@northwind-trading.com"), ("PAYMENT_CARD", "4539 1488 0343 6467")


class Store(Protocol):
    client: Callable[..., AbstractAsyncContextManager[RedisClient]]


class Requests(Protocol):
    now: datetime
    hold: Callable[..., HoldRequest]
    admitted: Callable[[HoldRequest], Admitted]


def key(session_id: str) -> str:
    return redis_keys.session(shard_of(session_id), APP, session_id)


async def test_a_value_keeps_its_placeholder_and_kinds_are_counted_apart(store: Store) -> None:
    async with store.client() as client:
        masks = RedisMasks(client, SECRET)
        assert await masks.assign(APP, "s1", []) == {}
        first = await masks.assign(APP, "s1", [EMAIL, CARD, ("EMAIL_ADDRESS", "bert@northwind-trading.com")])
        assert first == {
            EMAIL[1]: "[EMAIL_ADDRESS_1]",
            CARD[1]: "[PAYMENT_CARD_1]",
            "bert@northwind-trading.com": "[EMAIL_ADDRESS_2]",
        }
        again = await masks.assign(APP, "s1", [("PHONE_NUMBER", EMAIL[1]), ("EMAIL_ADDRESS", "ümit@northwind-trading.com")])
        assert again == {**first, "ümit@northwind-trading.com": "[EMAIL_ADDRESS_3]"}


async def test_no_placeholder_stands_for_two_values_however_many_ask_at_once(store: Store) -> None:
    async with store.client() as one, store.client() as other:
        asked = [[("EMAIL_ADDRESS", f"user-{n % 30}@northwind-trading.com")] for n in range(120)]
        masks = (RedisMasks(one, SECRET), RedisMasks(other, SECRET))
        told = await asyncio.gather(*(masks[n % 2].assign(APP, "s1", values) for n, values in enumerate(asked)))
        last = await masks[0].assign(APP, "s1", [])
        assert len(last) == len(set(last.values())) == 30
        assert all(known.items() <= last.items() for known in told)
        assert all(values[0][1] in known for values, known in zip(asked, told, strict=True))


async def test_each_session_of_each_app_has_a_mapping_of_its_own(store: Store) -> None:
    async with store.client() as client:
        masks = RedisMasks(client, SECRET)
        await masks.assign(APP, "s1", [EMAIL])
        assert await masks.assign(APP, "s2", [CARD]) == {CARD[1]: "[PAYMENT_CARD_1]"}
        assert await masks.assign("another", "s1", []) == {}


async def test_redis_is_told_no_value_and_no_kind_and_reads_none_under_another_secret(single: Store) -> None:
    async with single.client() as client:
        await RedisMasks(client, SECRET).assign(APP, "s1", [EMAIL, CARD])
        held = b"\n".join(await client.call("HGETALL", key("s1")))
        for told in (EMAIL[1], CARD[1], "northwind", "6467", "EMAIL", "PAYMENT"):
            assert told.encode() not in held
        with pytest.raises(Unavailable):
            await RedisMasks(client, b"t" * 32).assign(APP, "s1", [])
        fields = await client.call("HGETALL", key("s1"))
        moved = dict(zip(fields[::2], fields[1::2], strict=True))
        texts = [name for name in moved if name.startswith(b"mask:")]
        await client.call("HSET", key("s1"), texts[0], moved[texts[1]])
        with pytest.raises(Unavailable):
            await RedisMasks(client, SECRET).assign(APP, "s1", [])


async def test_a_mapping_lives_as_long_as_its_session_and_goes_with_its_end(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        masks, sessions = RedisMasks(client, SECRET), RedisSessions(client)
        await masks.assign(APP, "s1", [EMAIL])
        assert (await sessions.open("s1", APP, ())).new
        assert 0 < await client.call("TTL", key("s1")) <= UNUSED_SECONDS
        hold = requests.hold("r1", "s1")
        await RedisBudgets(client).reserve(hold, requests.admitted(hold))
        assert await client.call("TTL", key("s1")) > SESSION_SECONDS - 60
        await masks.assign(APP, "s1", [CARD])
        assert await client.call("TTL", key("s1")) > SESSION_SECONDS - 60

        assert await sessions.end("s1", "over", APP)
        left = await client.call("HKEYS", key("s1"))
        assert not [field for field in left if field.startswith(b"mask:")]
        with pytest.raises(Refused) as ended:
            await masks.assign(APP, "s1", [EMAIL])
        assert ended.value.code == "session_ended"


async def test_a_session_that_was_idle_too_long_forgets_its_values_but_not_its_numbers(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        masks, budgets = RedisMasks(client, SECRET), RedisBudgets(client)
        first = requests.hold("r1", "s1")
        await budgets.reserve(first, requests.admitted(first))
        await masks.assign(APP, "s1", [EMAIL])
        late = requests.hold("r2", "s1", at=requests.now + timedelta(hours=1), budget_idle_seconds=600)
        with pytest.raises(Refused):
            await budgets.reserve(late, requests.admitted(late))
        assert await masks.assign(APP, "s1", []) == {}
        assert await masks.assign(APP, "s1", [EMAIL]) == {EMAIL[1]: "[EMAIL_ADDRESS_2]"}


async def test_a_session_that_holds_too_many_values_takes_no_more(single: Store) -> None:
    async with single.client() as client:
        masks = RedisMasks(client, SECRET)
        many = [("EMAIL_ADDRESS", f"user-{n}@northwind-trading.com") for n in range(MOST_FIELDS + 50)]
        known = await masks.assign(APP, "s1", many)
        assert MOST_FIELDS - 10 <= len(known) <= MOST_FIELDS
        assert await masks.assign(APP, "s1", many) == known


async def test_a_store_that_is_down_masks_nothing(single: Store, redis_server: EmbeddedRedis) -> None:
    async with single.client(time_limit=0.5) as client:
        masks = RedisMasks(client, SECRET)
        await masks.assign(APP, "s1", [EMAIL])
        redis_server.stop()
        with pytest.raises(Unavailable) as down:
            await masks.assign(APP, "s1", [EMAIL])
        assert down.value.code == "store_unavailable"


async def test_what_left_a_session_rises_apart_from_what_it_was_sent(store: Store, requests: Requests) -> None:
    labels = Labels(Integrity.TRUSTED, Sensitivity.RESTRICTED)
    async with store.client() as client:
        budgets, sessions = RedisBudgets(client), RedisSessions(client)

        async def ask(name: str, forwarded: Sensitivity | None) -> None:
            hold = requests.hold(name, "s1", labels=labels, forwarded=forwarded)
            await budgets.reserve(hold, requests.admitted(hold))

        await ask("masked", Sensitivity.INTERNAL)
        state = await sessions.open("s1", APP, ())
        assert (state.labels, state.forwarded) == (labels, Sensitivity.INTERNAL)
        await ask("as it was", None)
        assert (await sessions.open("s1", APP, ())).forwarded is Sensitivity.RESTRICTED
        with pytest.raises(Refused) as changed:
            await ask("decided before", Sensitivity.INTERNAL)
        assert changed.value.code == "session_changed"
