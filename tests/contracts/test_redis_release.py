"""Calls are let through in one atomic step: whatever is fired at once, a session never ends up with what must not meet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import date
from typing import Protocol

import msgspec
import pytest

from router.errors import Refused, RouterError
from router.exchange import Admitted, CallState, HoldRequest, IssuedCall, Release
from router.stages.judge_calls import Asked, CallJudge
from router.stages.release import let_through
from router.stages.tool_keys import Called
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient
from router.storage.redis_sessions import RedisSessions
from routing_rules.budgets import CallLimits, SessionBudget
from routing_rules.decisions import Permit, ToolGrant
from routing_rules.facts import Labels
from routing_rules.load import complete, load
from routing_rules.loops import seen
from routing_rules.rules import RuleSet
from routing_rules.task import Endpoint, Part, Provenance, Role, Task
from routing_rules.vocabulary import (
    Access,
    Assessment,
    Capability,
    Complexity,
    Confidence,
    Integrity,
    Intent,
    ScanState,
    Sensitivity,
    TaskKind,
)

APP = "assistant"
C = Capability
Proposed = tuple[str, dict[str, str]]
PRIVATE: Proposed = ("lookup_customer", {"name": "Ada"})
UNTRUSTED: Proposed = ("get_weather", {})
EGRESS: Proposed = ("send_message", {"channel": "x9"})
TOOLS = """tools:
  - {id: a, owner: o@example.org, capabilities: [reads_private], functions: [lookup_customer], highest_read: confidential}
  - {id: b, owner: o@example.org, capabilities: [reads_untrusted], functions: [get_weather], highest_read: public}
  - {id: c, owner: o@example.org, capabilities: [egress], functions: [send_message], destination_arguments: [channel]}
"""
SETS = (
    "sets:\n  - {id: none, owner: o@example.org, business_purpose: p, approver: o@example.org, review_by: 2099-01-01, tools: []}\n"
    "  - {id: all, owner: o@example.org, business_purpose: p, approver: o@example.org, review_by: 2099-01-01, tools: [a, b, c]}\n"
)
ROUTES = "routes: [{id: r, owner: o@example.org, reason: r, then: {tier: fast, set: all, budget: default}}]\n"
APPS = "apps: [{id: assistant, owner: o@example.org, clearance: restricted, ceiling: all, purposes: [general]}]\n"


class Store(Protocol):
    client: Callable[..., AbstractAsyncContextManager[RedisClient]]
    cluster: bool


class Requests(Protocol):
    hold: Callable[..., HoldRequest]
    admitted: Callable[[HoldRequest], Admitted]


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    files = {"tools.yaml": TOOLS, "entitlements.yaml": SETS, "routes.yaml": ROUTES, "apps.yaml": APPS}
    return load(complete(files, date(2026, 11, 23)))


def judge(rules: RuleSet, session_id: str, state: CallState) -> CallJudge:
    text = "Look up Ada, get the weather, and send a message with both."
    parts = (Part(Role.USER, Provenance.USER, text, "messages[0].content", 0),)
    intent = Intent(frozenset({C.READS_PRIVATE, C.READS_UNTRUSTED, C.EGRESS}))
    assessment = Assessment(
        sensitivity=Sensitivity.PUBLIC,
        categories=frozenset(),
        findings=(),
        access=Access.ACT,
        intent=intent,
        task=TaskKind.AGENTIC,
        complexity_score=0.1,
        complexity=Complexity.SIMPLE,
        confidence=Confidence(intent=1.0),
        state=ScanState.COMPLETE,
        scanned_bytes=0,
        versions={},
    )
    permit = Permit("r", "rev", "fast", (), "all", SessionBudget("default"), CallLimits())
    grant = ToolGrant(tuple(("function", name) for name, _ in (PRIVATE, UNTRUSTED, EGRESS)))
    task = Task(Endpoint.CHAT, "auto", parts)
    return CallJudge(Asked(rules, permit, grant, task, assessment, {}, APP, session_id, b"secret"), state)


async def opened(client: RedisClient, requests: Requests, session_id: str) -> CallState:
    hold = requests.hold(f"first of {session_id}", session_id)
    await RedisBudgets(client).reserve(hold, requests.admitted(hold))
    state = (await RedisSessions(client).open(session_id, APP, (), calls=True)).calls
    assert state is not None
    return state


async def test_private_untrusted_and_egress_calls_fired_at_once_a_thousand_times_are_never_all_released(
    single: Store, requests: Requests, rules: RuleSet
) -> None:
    async with single.client() as client:
        sessions = RedisSessions(client)
        most = 0
        for number in range(1000):
            session_id = f"s{number}"
            state = await opened(client, requests, session_id)
            judges = [judge(rules, session_id, state) for _ in range(3)]
            called = [
                Called("function", name, json.dumps(arguments), f"call_{number}_{name}")
                for name, arguments in (PRIVATE, UNTRUSTED, EGRESS)
            ]
            assert all(one.released(call) for one, call in zip(judges, called, strict=True))  # each by itself may pass
            errors: list[RouterError | None] = await asyncio.gather(*(let_through(sessions, one) for one in judges))
            assert {error.code for error in errors if error is not None} == {"approval_required"}
            after = (await sessions.open(session_id, APP, (), calls=True)).calls
            assert after is not None
            assert not after.used >= {C.READS_PRIVATE, C.READS_UNTRUSTED, C.EGRESS}
            assert after.count == errors.count(None)
            most = max(most, errors.count(None))
        assert most == 2


def release(session_id: str, before: CallState, **changes: object) -> Release:
    call = IssuedCall("digest", "b", seen("get_weather", {}, looks=True))
    values = {
        "app": APP,
        "session_id": session_id,
        "before": before,
        "labels": before.labels,
        "used": before.used,
        "used_tools": before.used_tools,
        "issued": (call,),
    }
    return Release(**values | changes)  # type: ignore[arg-type]


async def test_a_release_is_in_the_session_at_once_with_its_labels_calls_and_capabilities(
    store: Store, requests: Requests
) -> None:
    async with store.client() as client:
        sessions = RedisSessions(client)
        before = await opened(client, requests, "s")
        labels = Labels(Integrity.UNTRUSTED, Sensitivity.CONFIDENTIAL)
        used = frozenset({C.READS_UNTRUSTED, C.PURE})
        told = release("s", before, labels=labels, used=used, used_tools=frozenset({"b", "a"}), drift=0.25)

        assert await sessions.release(told) is None
        now = await sessions.open("s", APP, (), calls=True)
        assert now.labels == labels
        assert now.forwarded is Sensitivity.CONFIDENTIAL
        assert now.calls == CallState(labels, used, frozenset({"a", "b"}), 1, {1: told.issued[0]}, 0.25)


async def test_a_release_on_what_the_session_no_longer_holds_changes_nothing_and_tells_what_it_holds(
    store: Store, requests: Requests
) -> None:
    async with store.client() as client:
        sessions = RedisSessions(client)
        before = await opened(client, requests, "s")
        assert await sessions.release(release("s", before, used=frozenset({C.EGRESS}))) is None
        late = release("s", before, used=frozenset({C.READS_PRIVATE}))

        changed = await sessions.release(late)
        assert changed is not None
        assert (changed.used, changed.count) == (frozenset({C.EGRESS}), 1)
        # What was raised by another request stands in its way as well.
        hold = requests.hold("raises", "s", labels=Labels(Integrity.UNTRUSTED), session_is_new=False)
        await RedisBudgets(client).reserve(hold, requests.admitted(hold))
        raised = await sessions.release(release("s", changed))
        assert raised is not None
        assert raised.labels.integrity is Integrity.UNTRUSTED


async def test_a_request_that_was_decided_before_the_labels_rose_is_told_to_decide_again(
    store: Store, requests: Requests
) -> None:
    async with store.client() as client:
        sessions = RedisSessions(client)
        before = await opened(client, requests, "s")
        await sessions.release(release("s", before, labels=Labels(Integrity.TRUSTED, Sensitivity.CONFIDENTIAL)))
        hold = requests.hold("late", "s", session_is_new=False)
        with pytest.raises(Refused) as refused:
            await RedisBudgets(client).reserve(hold, requests.admitted(hold))
        assert refused.value.code == "session_changed"


async def test_what_came_back_of_a_call_is_remembered_with_the_next_one(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        sessions = RedisSessions(client)
        await sessions.release(release("s", await opened(client, requests, "s")))
        before = (await sessions.open("s", APP, (), calls=True)).calls
        assert before is not None
        known = msgspec.structs.replace(before.calls[1], seen=msgspec.structs.replace(before.calls[1].seen, result="r"))
        await sessions.release(release("s", before, answered=((1, known), (7, known))))
        after = (await sessions.open("s", APP, (), calls=True)).calls
        assert after is not None
        assert {number: call.seen.result for number, call in after.calls.items()} == {1: "r", 2: ""}


async def test_a_session_that_was_ended_or_has_made_all_its_calls_releases_none(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        sessions = RedisSessions(client)
        before = await opened(client, requests, "s")
        assert await sessions.release(release("s", before, most_calls=1)) is None
        with pytest.raises(Refused) as refused:
            await sessions.release(release("s", before, most_calls=1))
        assert refused.value.code == "session_budget_exceeded"
        await sessions.end("s", "by a person", APP)
        with pytest.raises(Refused) as ended:
            await sessions.release(release("s", before))
        assert ended.value.code == "session_ended"


async def test_a_body_leads_to_the_approval_that_was_asked_for_it_within_its_app(store: Store) -> None:
    async with store.client() as client:
        sessions = RedisSessions(client)
        await sessions.wait_for(APP, "digest", "apr_1", 60)
        assert (await sessions.open("s", APP, (), body_digest="digest")).waiting == "apr_1"
        assert (await sessions.open("s", APP, (), calls=True, body_digest="digest")).waiting == "apr_1"
        assert (await sessions.open("s", APP, (), body_digest="other")).waiting is None
        assert (await sessions.open("s", "other", (), body_digest="digest")).waiting is None
