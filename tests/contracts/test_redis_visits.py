"""Visits of the console in a real Redis: their idle and their absolute end, and what ends them before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Protocol

from router.principals import Visit
from router.storage.redis_client import RedisClient
from router.storage.redis_visits import RedisVisits

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
IDLE, ABSOLUTE = 1800, 43_200


class Store(Protocol):
    client: Callable[..., AbstractAsyncContextManager[RedisClient]]


def of(client: RedisClient) -> RedisVisits:
    return RedisVisits(client, idle=IDLE, absolute=ABSOLUTE)


async def test_a_visit_is_found_by_its_token_only_and_redis_does_not_hold_that(store: Store) -> None:
    async with store.client() as client:
        token = await of(client).begin("person_1", "ann@example.org", "in", NOW)
        found = await of(client).find(token, NOW)
        assert isinstance(found, Visit)
        assert (found.person, found.email, found.step) == ("person_1", "ann@example.org", "in")
        assert await of(client).find(token + "x", NOW) is None
        (name,) = await client.scan("router:visit:*")
        assert token not in name + (await client.call("GET", name)).decode()


async def test_each_page_puts_the_idle_end_off_and_nothing_puts_off_the_absolute_one(store: Store) -> None:
    async with store.client() as client:
        visits = of(client)
        token = await visits.begin("person_1", "ann@example.org", "in", NOW)
        (name,) = await client.scan("router:visit:*")
        assert 0 < await client.call("PTTL", name) <= 1000 * IDLE
        await client.call("PEXPIRE", name, 5000)
        assert await visits.find(token, NOW) is not None
        assert await client.call("PTTL", name) > 1000 * (IDLE - 60)
        assert await visits.find(token, NOW + timedelta(seconds=ABSOLUTE - 60)) is not None
        assert await client.call("PTTL", name) <= 60_000, "what is left of it"
        assert await visits.find(token, NOW + timedelta(seconds=ABSOLUTE)) is None


async def test_a_step_changes_the_token_and_keeps_the_beginning(store: Store) -> None:
    async with store.client() as client:
        visits = of(client)
        token = await visits.begin("person_1", "ann@example.org", "code", NOW)
        before = await visits.find(token, NOW)
        assert before is not None
        new, moved = await visits.go_on(token, before, "in", NOW + timedelta(minutes=5))
        assert await visits.find(token, NOW) is None
        assert await visits.find(new, NOW) == moved
        assert (moved.begun, moved.form == before.form) == (before.begun, False)


async def test_all_other_visits_of_a_person_end_at_once(store: Store) -> None:
    async with store.client() as client:
        visits = of(client)
        mine = await visits.begin("person_1", "ann@example.org", "in", NOW)
        other = await visits.begin("person_1", "ann@example.org", "in", NOW)
        somebody = await visits.begin("person_2", "bob@example.org", "in", NOW)
        visit = await visits.find(mine, NOW)
        assert visit is not None
        await visits.end_all("person_1", mine, visit, NOW)
        assert await visits.find(mine, NOW) is not None
        assert await visits.find(other, NOW) is None
        assert await visits.find(somebody, NOW) is not None


async def test_failures_are_counted_and_trying_on_keeps_nobody_out_for_longer(store: Store) -> None:
    async with store.client() as client:
        visits = of(client)
        assert [await visits.failed("ann", 900, 2) for _ in range(2)] == [1, 2]
        (name,) = await client.scan("router:failures:*")
        await client.call("EXPIRE", name, 100)
        assert await visits.failed("ann", 900, 2) == 3
        assert await client.call("TTL", name) <= 100
        await visits.succeeded("ann")
        assert await visits.failed("ann", 900, 2) == 1


async def test_what_counts_once_counts_once(store: Store) -> None:
    async with store.client() as client:
        visits = of(client)
        assert [await visits.first_time("step", 60) for _ in range(2)] == [True, False]
        await visits.keep_once("state", b"value", 60)
        assert [await visits.take_once("state") for _ in range(2)] == [b"value", None]
