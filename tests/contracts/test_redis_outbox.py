"""Records leave the outbox in order, none is lost, one drainer works at a time; announcements reach everybody."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from router.exchange import Admitted, HoldRequest, Outcome, shard_of
from router.storage import redis_keys
from router.storage.redis_announce import Announced, RedisAnnouncements
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient
from router.storage.redis_outbox import RedisOutbox


class Store(Protocol):
    client: Callable[..., AbstractAsyncContextManager[RedisClient]]
    cluster: bool


class Requests(Protocol):
    hold: Callable[..., HoldRequest]
    admitted: Callable[[HoldRequest], Admitted]
    outcome: Callable[..., Outcome]


async def test_entries_stay_until_acknowledged_and_come_in_order_within_their_shard(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets, outbox = RedisBudgets(client), RedisOutbox(client)
        for n in range(60):
            hold = requests.hold(f"r{n:02d}", f"s{n % 7}")
            await budgets.reserve(hold, requests.admitted(hold))
        seen: dict[int, list[str]] = defaultdict(list)
        assert await outbox.read(25) == await outbox.read(25)
        while entries := await outbox.read(25):
            assert len(entries) <= 25
            for shard, entry_id, _ in entries:
                seen[shard].append(entry_id)
            await outbox.ack([(shard, entry_id) for shard, entry_id, _ in entries])

        assert sum(map(len, seen.values())) == 60
        assert set(seen) == {shard_of(f"s{n}") for n in range(7)}
        assert all(ids == sorted(ids, key=lambda one: tuple(map(int, one.split("-")))) for ids in seen.values())
        assert await outbox.backlog() == 0


async def test_one_drainer_leads_until_it_steps_down_or_falls_silent(store: Store) -> None:
    async with store.client() as client:
        outbox = RedisOutbox(client)
        assert await outbox.lead("first")
        assert await outbox.lead("first")
        assert not await outbox.lead("second")
        await outbox.step_down("second")
        assert not await outbox.lead("second")
        assert 0 < await client.call("PTTL", redis_keys.DRAINER) <= 5000
        await outbox.step_down("first")
        assert await outbox.lead("second")


async def test_everybody_hears_of_changes_and_revoked_keys(store: Store) -> None:
    async with store.client() as client, store.client() as other:
        here, there = RedisAnnouncements(client), RedisAnnouncements(other)
        assert await there.look() == Announced(0, None)
        await here.announce()
        await here.revoke("key-7")

        assert await there.look() == Announced(2, None)
        assert await there.revoked() == {"key-7"}


async def test_the_first_epoch_stays_unless_it_is_set_on_purpose(store: Store) -> None:
    async with store.client() as client:
        announcements = RedisAnnouncements(client)
        assert await announcements.set_epoch("one") == "one"
        assert await announcements.set_epoch("two") == "one"
        assert await announcements.set_epoch("three", only_if_new=False) == "three"
        assert (await announcements.look()).epoch == "three"
