"""What a session may still use, and of which limits it has used so much that the app is warned (pure)."""

from __future__ import annotations

from router.errors import Refused
from router.exchange import JsonObject, SessionState
from routing_rules.budgets import SessionBudget
from routing_rules.task import Endpoint


def remaining(budget: SessionBudget, session: SessionState, now: float, tool_calls: int) -> tuple[str, str]:
    """(what remains of each limit in numbers, the limits that are nearly used up), as two headers tell it; empty: nothing to tell.

    `session` is what was held before this request, which counts as one more; `tool_calls` are those made by now. Money is told
    elsewhere. `now` in epoch seconds.
    """
    counted = (
        ("requests", budget.requests, session.requests + 1),
        ("tool_calls", budget.tool_calls, tool_calls),
        ("input_tokens", budget.input_tokens, session.input_tokens),
        ("output_tokens", budget.output_tokens, session.output_tokens),
        ("reasoning_tokens", budget.reasoning_tokens, session.reasoning_tokens),
        ("total_seconds", budget.total_seconds, int(now - session.created) if session.created else 0),
        ("idle_seconds", budget.idle_seconds, 0),
    )
    told: list[str] = []
    near: list[str] = []
    for name, limit, used in counted:
        if limit is not None:
            told.append(f"{name}={max(limit - used, 0)}")
            if used * 100 >= limit * budget.warn_percent:
                near.append(name)
    return ", ".join(told), ", ".join(near)


def with_tool_calls_left(
    endpoint: Endpoint, body: JsonObject, budget: SessionBudget, session: SessionState, most: int
) -> JsonObject:
    """A body that lets the provider make no more calls by itself than `most`, and than the session has left, as far as its format
    can say so. Raises Refused `session_budget_exceeded` where that is none."""
    left = most
    if budget.tool_calls is not None:
        left = min(most, budget.tool_calls - (session.calls.count if session.calls is not None else 0))
    if left < 1:
        why = (
            f"the session's budget of {budget.tool_calls} tool calls is used up: start a new session, or ask without hosted tools"
        )
        raise Refused("session_budget_exceeded", why)
    if endpoint is Endpoint.RESPONSES:
        return {**body, "max_tool_calls": min(body.get("max_tool_calls") or left, left)}
    if endpoint is Endpoint.MESSAGES and body.get("tools"):
        return {**body, "tools": [_used_at_most(tool, left) for tool in body["tools"]]}
    return body


def _used_at_most(tool: JsonObject, left: int) -> JsonObject:
    if not str(tool.get("type")).startswith(_COUNTED):
        return tool
    return {**tool, "max_uses": min(tool.get("max_uses") or left, left)}


_COUNTED = ("web_search_", "web_fetch_")
"""Tools of the Messages API that can be told how often they may be used."""
