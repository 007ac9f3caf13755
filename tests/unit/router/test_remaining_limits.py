"""What a session may still use is told in numbers, and limits that are nearly used up are named."""

from __future__ import annotations

import pytest

from router.errors import Refused
from router.exchange import CallState, SessionState
from router.stages.remaining import remaining, with_tool_calls_left
from routing_rules.budgets import SessionBudget
from routing_rules.facts import Labels
from routing_rules.task import Endpoint

NEW = SessionState("s", 0, True, Labels(), 0)
NOW = 1_000_000.0


def test_a_session_without_limits_is_told_nothing() -> None:
    assert remaining(SessionBudget("free", cost_nano=5), NEW, NOW, 0) == ("", "")


def test_each_limit_says_what_remains_of_it() -> None:
    budget = SessionBudget("b", requests=10, tool_calls=4, output_tokens=100, reasoning_tokens=50, total_seconds=60)
    session = SessionState(
        "s", 0, False, Labels(), 1, requests=2, created=NOW - 20, output_tokens=30, reasoning_tokens=10, input_tokens=7
    )
    told, near = remaining(budget, session, NOW, 1)
    assert told == "requests=7, tool_calls=3, output_tokens=70, reasoning_tokens=40, total_seconds=40"
    assert near == ""


def test_a_limit_is_warned_of_from_the_configured_share_on_and_never_below_zero() -> None:
    session = SessionState("s", 0, False, Labels(), 1, requests=8, created=NOW - 90)
    told, near = remaining(SessionBudget("b", requests=10, total_seconds=60, warn_percent=90), session, NOW, 0)
    assert (told, near) == ("requests=1, total_seconds=0", "requests, total_seconds")
    assert remaining(SessionBudget("b", requests=10, warn_percent=95), session, NOW, 0)[1] == ""


def test_a_provider_may_make_no_more_calls_by_itself_than_the_session_has_left() -> None:
    budget = SessionBudget("b", tool_calls=10)
    session = SessionState("s", 0, False, Labels(), 1, calls=CallState(count=7))
    responses = Endpoint.RESPONSES
    assert with_tool_calls_left(responses, {"input": "x"}, budget, session, 9)["max_tool_calls"] == 3
    assert with_tool_calls_left(responses, {"max_tool_calls": 2}, budget, session, 9)["max_tool_calls"] == 2
    assert with_tool_calls_left(responses, {"max_tool_calls": 9}, budget, session, 9)["max_tool_calls"] == 3
    searches = [{"type": "web_search_20250305", "name": "web_search"}, {"name": "get_status"}]
    searched = with_tool_calls_left(Endpoint.MESSAGES, {"tools": searches}, budget, session, 9)
    assert searched["tools"] == [{**searches[0], "max_uses": 3}, searches[1]]
    few = with_tool_calls_left(Endpoint.MESSAGES, {"tools": [{**searches[0], "max_uses": 2}]}, budget, session, 9)
    assert few["tools"][0]["max_uses"] == 2
    free = SessionBudget("free")
    assert with_tool_calls_left(Endpoint.CHAT, {}, free, session, 9) == {}
    assert with_tool_calls_left(responses, {}, free, session, 9) == {"max_tool_calls": 9}
    for endpoint in (Endpoint.CHAT, responses, Endpoint.MESSAGES):
        with pytest.raises(Refused) as refused:
            with_tool_calls_left(endpoint, {}, SessionBudget("b", tool_calls=7), session, 9)
        assert refused.value.code == "session_budget_exceeded"
