"""An approval is for one use of what it was asked for; whatever is not exactly that gets nothing, and Redis is told no content."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
import pytest

from router.clock import utc_now
from router.errors import Refused, Unavailable
from router.exchange import Admitted, Held, HeldCall, HoldRequest, Taken, shard_of
from router.governance.approvals import DENIED, EXPIRED, PENDING, USED
from router.storage import redis_keys
from router.storage.embedded_redis import EmbeddedRedis
from router.storage.redis_approvals import MOST_ANSWER_BYTES, MOST_WAITING, RedisApprovals
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient
from router.storage.redis_sessions import RedisSessions
from routing_rules.facts import Labels
from routing_rules.task import Endpoint
from routing_rules.vocabulary import Capability, Integrity, Sensitivity

SECRET = b"s" * 32
ANSWER = b'{"choices": [{"message": {"tool_calls": "to anna@northwind-trading.com"}}]}'
CALL = HeldCall(
    tool="mail",
    name="send_email",
    owner="mail@example.org",
    capabilities=frozenset({Capability.EGRESS}),
    arguments_digest="d1",
    arguments='{"to": "[EMAIL_ADDRESS_1]", "subject": "the quarterly figures"}',
    objections=(("destination_not_vouched", "the user names the destination"),),
)


class Store(Protocol):
    client: Callable[..., AbstractAsyncContextManager[RedisClient]]


class Requests(Protocol):
    now: datetime
    hold: Callable[..., HoldRequest]
    admitted: Callable[[HoldRequest], Admitted]


def held(session_id: str = "s1", **changes: Any) -> Held:
    now = utc_now()
    values: dict[str, Any] = {
        "request_id": "req_1",
        "app": "assistant",
        "owner": "ann@example.org",
        "team": "core",
        "key_id": "key_1",
        "purpose": "support",
        "session_id": session_id,
        "endpoint": Endpoint.CHAT,
        "body_digest": "b1",
        "revision": "rev-1",
        "rule": "r-1",
        "message": "the tool's owner approves this call",
        "at": now,
        "expires": now + timedelta(minutes=10),
        "calls": (CALL,),
        "approvers": ("mail@example.org",),
        "labels": Labels(Integrity.UNTRUSTED, Sensitivity.CONFIDENTIAL),
        "answer": ANSWER,
    }
    return Held(**values | changes)


async def take(approvals: RedisApprovals, approval_id: str, **changes: Any) -> Taken | None:
    values: dict[str, Any] = {
        "app": "assistant",
        "session_id": "s1",
        "body_digest": "b1",
        "revision": "rev-1",
        "now": utc_now(),
    }
    return await approvals.take(approval_id, **values | changes)


async def approve(approvals: RedisApprovals, approval_id: str, *, yes: bool = True, now: datetime | None = None) -> str | None:
    return await approvals.decide(approval_id, approve=yes, by="eve@example.org", via="api", note="", now=now or utc_now())


async def status(approvals: RedisApprovals, approval_id: str) -> str:
    state = await approvals.state(approval_id, "assistant")
    assert state is not None
    return state.status


async def test_what_was_approved_gives_the_kept_answer_once(store: Store) -> None:
    async with store.client() as client:
        approvals = RedisApprovals(client, SECRET)
        asked = held()
        one = await approvals.request(asked)
        assert await status(approvals, one) == PENDING
        assert await take(approvals, one) is None
        assert await approve(approvals, one) is None
        state = await approvals.state(one, "assistant")
        assert state is not None
        assert (state.status, state.decided_by, state.is_task) == ("approved", "eve@example.org", False)
        assert await take(approvals, one) == Taken("s1", "rev-1", (("mail", "d1"),), ANSWER)
        assert await take(approvals, one) is None
        assert await status(approvals, one) == USED


async def test_of_many_who_use_an_approval_at_once_one_does(store: Store) -> None:
    async with store.client() as one, store.client() as other:
        both = (RedisApprovals(one, SECRET), RedisApprovals(other, SECRET))
        approval = await both[0].request(held())
        await approve(both[0], approval)
        taken = await asyncio.gather(*(take(both[n % 2], approval) for n in range(60)))
        assert [each for each in taken if each is not None] == [Taken("s1", "rev-1", (("mail", "d1"),), ANSWER)]


@pytest.mark.parametrize(
    "changes",
    [{"app": "another"}, {"session_id": "s2"}, {"body_digest": "b2"}, {"revision": "rev-2"}],
    ids=lambda each: min(each),
)
async def test_an_approval_is_of_no_use_for_anything_else(store: Store, changes: dict[str, str]) -> None:
    async with store.client() as client:
        approvals = RedisApprovals(client, SECRET)
        one = await approvals.request(held())
        await approve(approvals, one)
        assert await take(approvals, one, **changes) is None
        assert await take(approvals, one) is not None


async def test_an_answer_may_be_taken_without_the_body_but_a_task_may_not(store: Store) -> None:
    async with store.client() as client:
        approvals = RedisApprovals(client, SECRET)
        answer, task = await approvals.request(held()), await approvals.request(held(calls=(), answer=b"", body_digest="b9"))
        for one in (answer, task):
            await approve(approvals, one)
        assert await take(approvals, answer, body_digest=None) is not None
        assert await take(approvals, task, body_digest=None) is None
        assert await take(approvals, task, body_digest="b9") == Taken("s1", "rev-1", (), b"")


async def test_nothing_is_taken_after_its_time_approved_or_not(store: Store) -> None:
    async with store.client() as client:
        approvals = RedisApprovals(client, SECRET)
        asked = held()
        one, late = await approvals.request(asked), await approvals.request(held(body_digest="b2"))
        await approve(approvals, one)
        after = asked.expires + timedelta(seconds=1)
        assert await take(approvals, one, now=after) is None
        assert await approve(approvals, late, now=after) == EXPIRED
        assert await approvals.expire(utc_now()) == 0
        assert await approvals.expire(after) == 2
        assert await approvals.expire(after) == 0
        assert {await status(approvals, each) for each in (one, late)} == {EXPIRED}
        assert await take(approvals, one) is None
        assert await approvals.pending(utc_now()) == []


async def test_the_same_request_asks_once_and_another_one_anew(store: Store) -> None:
    async with store.client() as client:
        approvals = RedisApprovals(client, SECRET)
        first = await asyncio.gather(*(approvals.request(held(request_id=f"req_{n}")) for n in range(10)))
        assert len(set(first)) == 1
        others = [
            held("s2"),
            held(app="another"),
            held(body_digest="b2"),
            held(revision="rev-2"),
            held(calls=(msgspec.structs.replace(CALL, arguments_digest="d2"),)),
        ]
        assert len({first[0], *[await approvals.request(each) for each in others]}) == 6
        await approve(approvals, first[0])
        assert await approvals.request(held()) == first[0]
        await take(approvals, first[0])
        assert await approvals.request(held()) != first[0]


async def test_what_was_denied_stays_denied_for_the_same_calls_whatever_is_said_around_them(store: Store) -> None:
    async with store.client() as client:
        approvals = RedisApprovals(client, SECRET)
        one = await approvals.request(held())
        assert await approve(approvals, one, yes=False) is None
        assert await status(approvals, one) == DENIED
        assert await take(approvals, one) is None
        assert await approve(approvals, one) == DENIED
        assert await approvals.request(held()) == one
        assert await approvals.request(held(body_digest="b2")) == one
        assert await approvals.request(held("s2")) != one
        assert await client.call("EXISTS", f"{{s{shard_of('s1'):02d}}}:apr:{one}:kept") == 0


async def test_a_denied_call_is_known_again_however_it_is_written_and_in_whatever_order(store: Store) -> None:
    async with store.client() as client:
        approvals = RedisApprovals(client, SECRET)
        mail = msgspec.structs.replace(CALL, meaning_digest="m1")
        pay = msgspec.structs.replace(CALL, tool="pay", arguments_digest="d7", meaning_digest="m7")
        one, both = await approvals.request(held(calls=(mail,))), await approvals.request(held(calls=(mail, pay)))
        for each in (one, both):
            await approve(approvals, each, yes=False)
        otherwise = msgspec.structs.replace(mail, arguments_digest="d2")
        assert await approvals.request(held(calls=(otherwise,), body_digest="b2")) == one
        assert await approvals.request(held(calls=(pay, otherwise), body_digest="b3")) == both
        other = msgspec.structs.replace(mail, arguments_digest="d3", meaning_digest="m3")
        assert await approvals.request(held(calls=(other,), body_digest="b2")) not in (one, both)


async def test_what_an_approval_was_asked_for_is_known_before_it_is_used(store: Store) -> None:
    async with store.client() as client:
        approvals = RedisApprovals(client, SECRET)
        state = await approvals.state(await approvals.request(held(endpoint=Endpoint.MESSAGES, stream=True)), "assistant")
        assert state is not None
        assert (state.endpoint, state.stream, state.tools, state.revision) == (
            Endpoint.MESSAGES,
            True,
            frozenset({"mail"}),
            "rev-1",
        )


async def test_a_decision_is_made_once(store: Store) -> None:
    async with store.client() as client:
        approvals = RedisApprovals(client, SECRET)
        one = await approvals.request(held())
        made = await asyncio.gather(*(approve(approvals, one, yes=n % 2 == 0) for n in range(20)))
        assert made.count(None) == 1
        assert await approve(approvals, "apr_00" + "0" * 24) == "unknown"
        for nonsense in ("", "apr_", "apr_64" + "0" * 24, "apr_00*", "../x"):
            assert await approve(approvals, nonsense) == "unknown"
            assert await approvals.state(nonsense, "assistant") is None
            assert await approvals.waiting(nonsense) is None
            assert await take(approvals, nonsense) is None


async def test_an_ended_session_gets_nothing_and_asks_for_nothing(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        approvals, sessions = RedisApprovals(client, SECRET), RedisSessions(client)
        hold = requests.hold("r1", "s1")
        await RedisBudgets(client).reserve(hold, requests.admitted(hold))
        one, other = await approvals.request(held()), await approvals.request(held(body_digest="b2"))
        await approve(approvals, one)
        assert await sessions.end("s1", "enough", "assistant")
        assert await take(approvals, one) is None
        assert await approve(approvals, other) == "ended"
        with pytest.raises(Refused) as refused:
            await approvals.request(held(body_digest="b3"))
        assert refused.value.code == "session_ended"


async def test_people_see_what_waits_without_the_answer_and_an_app_sees_only_its_own(store: Store) -> None:
    async with store.client() as client:
        approvals = RedisApprovals(client, SECRET)
        ids = [await approvals.request(held(f"s{n}")) for n in range(5)]
        waiting = await approvals.pending(utc_now())
        assert {each.history.id for each in waiting} == set(ids)
        first = await approvals.waiting(ids[0])
        assert first is not None
        assert (first.held.answer, first.held.calls) == (b"", (CALL,))
        assert (first.history.tools, first.history.reasons) == (("mail",), ("destination_not_vouched",))
        assert await approvals.state(ids[0], "another") is None
        assert [each.history.id for each in await approvals.of_session("assistant", "s3")] == [ids[3]]
        await approve(approvals, ids[3], yes=False)
        assert await approvals.of_session("assistant", "s3") == []
        assert len(await approvals.pending(utc_now())) == 4


async def test_a_session_cannot_fill_the_days_of_those_who_decide(store: Store) -> None:
    async with store.client() as client:
        approvals = RedisApprovals(client, SECRET)
        ids = [await approvals.request(held(body_digest=f"b{n}")) for n in range(MOST_WAITING)]
        with pytest.raises(Refused) as refused:
            await approvals.request(held(body_digest="one more"))
        assert refused.value.code == "rate_limit_exceeded"
        await approvals.request(held("s2"))
        await approve(approvals, ids[0], yes=False)
        calls = (msgspec.structs.replace(CALL, arguments_digest="d2"),)
        await approvals.request(held(body_digest="one more", calls=calls))
        with pytest.raises(Refused):
            await approvals.request(held("s3", answer=b"x" * (MOST_ANSWER_BYTES + 1)))


async def test_redis_is_told_no_content_and_another_secret_reads_none(single: Store) -> None:
    async with single.client() as client:
        approvals = RedisApprovals(client, SECRET)
        one = await approvals.request(held())
        stored = []
        for name in await client.scan("*"):
            kind = await client.call("TYPE", name)
            stored.append(name.encode())
            if kind == b"hash":
                stored += await client.call("HGETALL", name)
            elif kind == b"string":
                stored.append(await client.call("GET", name))
        text = b"\n".join(stored)
        for told in (b"anna", b"northwind", b"quarterly", b"EMAIL_ADDRESS", b"choices"):
            assert told not in text
        await approve(approvals, one)
        with pytest.raises(Unavailable):
            await RedisApprovals(client, b"t" * 32).waiting(one)


async def test_what_is_kept_goes_with_its_time(store: Store) -> None:
    async with store.client() as client:
        one = await RedisApprovals(client, SECRET).request(held())
        name = f"{{s{shard_of('s1'):02d}}}:apr:{one}"
        assert 0 < await client.call("PTTL", f"{name}:kept") <= 600_000
        assert await client.call("PTTL", name) > 6 * 86400 * 1000


async def test_every_change_is_news_until_it_was_heard(store: Store) -> None:
    async with store.client() as client:
        approvals = RedisApprovals(client, SECRET)
        one = await approvals.request(held())
        (first,) = await approvals.news()
        assert (first.id, first.status, first.decided) == (one, PENDING, None)
        await approve(approvals, one)
        await approvals.heard([first])  # it has changed since
        (second,) = await approvals.news()
        assert (second.status, second.decided_by, second.via) == ("approved", "eve@example.org", "api")
        await approvals.heard([second])
        assert await approvals.news() == []
        await take(approvals, one)
        (last,) = await approvals.news()
        assert last.status == USED
        assert last.ended is not None


async def test_a_store_that_is_down_releases_nothing(single: Store, redis_server: EmbeddedRedis) -> None:
    async with single.client(time_limit=0.5) as client:
        approvals = RedisApprovals(client, SECRET)
        one = await approvals.request(held())
        await approve(approvals, one)
        redis_server.stop()
        for failing in (
            approvals.request(held()),
            take(approvals, one),
            approvals.state(one, "assistant"),
            approve(approvals, one),
        ):
            with pytest.raises(Unavailable):
                await failing


def test_the_session_key_is_where_sessions_are() -> None:
    assert redis_keys.session(shard_of("s1"), "assistant", "s1").startswith(f"{{s{shard_of('s1'):02d}}}:")
