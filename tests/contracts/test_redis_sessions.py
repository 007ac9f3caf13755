"""Requests find their session, forks included; labels cannot be washed off by ambiguity; ended sessions stay ended."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec.structs import replace

from router.exchange import Admitted, Asked, HoldRequest, shard_of
from router.ports import Linked
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient
from router.storage.redis_sessions import SESSIONS_PER_PREFIX, RedisSessions
from routing_rules.facts import Labels
from routing_rules.vocabulary import Complexity, Integrity, Sensitivity, TaskKind

APP = "assistant"
SECRET = Labels(Integrity.TRUSTED, Sensitivity.RESTRICTED)
TAINTED = Labels(Integrity.UNTRUSTED, Sensitivity.PUBLIC)


class Store(Protocol):
    client: Callable[..., AbstractAsyncContextManager[RedisClient]]
    cluster: bool


class Requests(Protocol):
    hold: Callable[..., HoldRequest]
    admitted: Callable[[HoldRequest], Admitted]


async def labelled(client: RedisClient, requests: Requests, session_id: str, labels: Labels) -> None:
    hold = requests.hold(f"first of {session_id}", session_id, labels=labels)
    await RedisBudgets(client).reserve(hold, requests.admitted(hold))


async def test_an_issued_id_leads_back_to_its_session_and_deployment_within_its_app(store: Store) -> None:
    async with store.client() as client:
        sessions = RedisSessions(client)
        await sessions.remember(APP, "s1", ["call_1", "resp_1"], [], "fast-1")

        found = await sessions.link(APP, ["call_unknown", "resp_1"], [])
        assert found == Linked("s1", Labels(), "fast-1", unknown=frozenset({"call_unknown"}), exact=True)
        assert await sessions.link("another", ["resp_1"], []) == Linked(None, Labels(), unknown=frozenset({"resp_1"}))


async def test_the_last_known_prefix_wins_and_an_issued_id_wins_over_it(store: Store) -> None:
    async with store.client() as client:
        sessions = RedisSessions(client)
        await sessions.remember(APP, "s1", ["call_1"], ["after turn 1"], "fast-1")
        await sessions.remember(APP, "s2", [], ["after turn 2"], "fast-1")

        assert (await sessions.link(APP, [], ["after turn 1", "after turn 2", "unknown"])).session_id == "s2"
        assert (await sessions.link(APP, [], ["after turn 1", "unknown"])).session_id == "s1"
        assert (await sessions.link(APP, ["call_1"], ["after turn 2"])).session_id == "s1"
        assert (await sessions.link(APP, [], [])) == Linked(None, Labels())


async def test_a_fork_and_a_repeat_stay_in_their_session(store: Store) -> None:
    async with store.client() as client:
        sessions = RedisSessions(client)
        for _ in range(3):
            await sessions.remember(APP, "s1", [], ["after turn 1"], "fast-1")

        assert (await sessions.link(APP, [], ["after turn 1"])).session_id == "s1"


async def test_a_prefix_of_several_sessions_starts_a_new_one_with_the_maximum_of_their_labels(
    store: Store, requests: Requests
) -> None:
    async with store.client() as client:
        sessions = RedisSessions(client)
        await sessions.remember(APP, "s1", [], ["hello"], "fast-1")
        await sessions.remember(APP, "s2", [], ["hello"], "fast-1")
        await labelled(client, requests, "s1", SECRET)
        await labelled(client, requests, "s2", TAINTED)

        assert await sessions.link(APP, [], ["hello"]) == Linked(None, SECRET.join(TAINTED), followed=True)


async def test_ids_of_several_sessions_start_a_new_one_with_the_maximum_of_their_labels(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        sessions = RedisSessions(client)
        await sessions.remember(APP, "s1", ["call_1"], [], "fast-1")
        await sessions.remember(APP, "s2", ["call_2"], [], "fast-2")
        await labelled(client, requests, "s1", SECRET)
        await labelled(client, requests, "s2", TAINTED)

        assert await sessions.link(APP, ["call_1", "call_2"], []) == Linked(None, SECRET.join(TAINTED), "fast-1", exact=True)


async def test_what_was_said_carries_its_labels_however_much_is_asked_for_and_names_no_session(store: Store) -> None:
    async with store.client() as client:
        sessions = RedisSessions(client)
        await sessions.remember(APP, "1", [], ["said"], "fast-1", SECRET, Sensitivity.INTERNAL)
        many = [f"never said {number}" for number in range(1500)]
        assert await sessions.link(APP, (), (), [*many, "said"]) == Linked(None, SECRET, None, Sensitivity.INTERNAL)
        known = await sessions.link(APP, ("call_unknown",), ("no prefix",), [*many, "said", *many])
        assert known == Linked(None, SECRET, None, Sensitivity.INTERNAL, frozenset({"call_unknown"}))


async def test_what_was_said_keeps_the_highest_labels_that_it_was_ever_said_with(store: Store) -> None:
    async with store.client() as client:
        sessions = RedisSessions(client)
        for session, labels in (("1", SECRET), ("2", Labels()), ("3", TAINTED)):
            await sessions.remember(APP, session, [], ["said"], "fast-1", labels)
        assert (await sessions.link(APP, (), (), ["said"])).labels == SECRET.join(TAINTED)


async def test_however_many_sessions_hold_a_prefix_none_of_their_labels_is_lost(store: Store) -> None:
    async with store.client() as client:
        sessions = RedisSessions(client)
        many = SESSIONS_PER_PREFIX + 10
        for n in range(many):
            labels = SECRET if n == many - 1 else Labels()
            await sessions.remember(APP, f"s{n}", [], ["hello"], "fast-1", labels)

        assert await sessions.link(APP, [], ["hello"]) == Linked(None, SECRET, followed=True)


async def test_a_prefix_of_several_sessions_tells_what_has_left_them_beside_what_they_were_sent(store: Store) -> None:
    async with store.client() as client:
        sessions = RedisSessions(client)
        for session in ("1", "2"):
            await sessions.remember(APP, session, [], ["hello"], "fast-1", SECRET, Sensitivity.INTERNAL)
        assert await sessions.link(APP, [], ["hello"]) == Linked(None, SECRET, None, Sensitivity.INTERNAL, followed=True)
        await sessions.remember(APP, "3", [], ["hello"], "fast-1", SECRET)
        assert await sessions.link(APP, [], ["hello"]) == Linked(None, SECRET, followed=True)


async def test_opening_a_session_creates_nothing_and_tells_what_it_holds(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        sessions = RedisSessions(client)
        fresh = await sessions.open("s1", APP, ())
        assert fresh.new
        assert (fresh.id, fresh.shard, fresh.label_version) == ("s1", shard_of("s1"), 0)
        assert (await sessions.open("s1", APP, ())).new

        await labelled(client, requests, "s1", SECRET)
        state = await sessions.open("s1", APP, ())
        assert not state.new
        assert (state.labels, state.label_version, state.requests) == (SECRET, 1, 1)
        assert (state.spent_nano, state.held_nano) == (0, 2_000_000)
        assert state.created == state.last_seen == requests.hold("any").now


async def test_the_same_id_from_another_app_is_another_session(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        sessions = RedisSessions(client)
        await labelled(client, requests, "s1", SECRET)

        assert (await sessions.open("s1", "another", ())).new
        assert not await sessions.end("s1", "over", "another")


async def test_a_deployment_in_cool_down_is_known_to_all_and_the_longer_rest_counts(store: Store) -> None:
    async with store.client() as client, store.client() as other:
        sessions, elsewhere = RedisSessions(client), RedisSessions(other)
        await sessions.cool_down("fast-1", 60)
        await sessions.cool_down("fast-1", 0.001)
        await sessions.cool_down("fast-2", 60)
        await sessions.cool_down("fast-3", -1)

        state = await elsewhere.open("s1", APP, ("fast-1", "fast-3"))
        assert state.unavailable == {"fast-1"}


async def test_an_ended_session_says_why_and_can_be_ended_without_naming_its_app(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        sessions = RedisSessions(client)
        assert not await sessions.end("s1", "over")
        await labelled(client, requests, "s1", Labels())
        await labelled(client, requests, "s11", Labels())

        assert await sessions.end("s1", "over")
        assert await sessions.end("s1", "again", APP)
        assert (await sessions.open("s1", APP, ())).ended == "over"
        assert (await sessions.open("s11", APP, ())).ended is None


async def test_no_id_that_an_app_sends_is_written_to_redis(single: Store) -> None:
    async with single.client() as client:
        sessions = RedisSessions(client)
        await sessions.link(APP, ["sk-canary-1"], ["sk-canary-2"])
        await sessions.remember(APP, "s1", ["sk-canary-3"], ["sk-canary-4"], "fast-1")
        found = await client.call("KEYS", "*")
        kept = found + await client.call("MGET", *found)

        assert len(found) == 2
        assert not [one for one in kept if b"canary" in one]


async def test_a_session_remembers_what_its_last_ask_was_taken_for_until_another_says_otherwise(
    store: Store, requests: Requests
) -> None:
    async with store.client() as client:
        sessions, budgets = RedisSessions(client), RedisBudgets(client)
        proof, lookup = Asked(Complexity.COMPLEX, TaskKind.MATHEMATICS), Asked(Complexity.SIMPLE, TaskKind.LOOKUP)
        seen: list[Asked | None] = []
        for number, asked in enumerate((proof, None, lookup)):
            hold = replace(requests.hold(f"ask {number}", "s1"), asked=asked)
            await budgets.reserve(hold, requests.admitted(hold))
            seen.append((await sessions.open("s1", APP, ())).asked)

        assert seen == [proof, proof, lookup]
        assert (await sessions.open("s2", APP, ())).asked is None
