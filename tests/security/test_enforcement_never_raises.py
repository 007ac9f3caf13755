"""Whatever a provider sends, enforcing the grant ends in an answer or in a clear error, and nothing that was not granted passes."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from router.stages.enforce import StreamEnforcer, enforce_json
from routing_rules.decisions import ToolGrant
from routing_rules.task import Endpoint

GRANT = ToolGrant(granted=(("function", "granted"), ("web_search", "web_search")))
REFUSED = "wipe_disk"
KINDS = st.sampled_from(
    "function_call custom_tool_call web_search_call shell_call mcp_call message reasoning response.output_item.added "
    "response.output_item.done response.completed response.created response.function_call_arguments.delta error".split()
)
SCALARS = st.none() | st.booleans() | st.integers(-1, 3) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
NAMES = st.sampled_from(["granted", REFUSED])
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KINDS, inner, max_size=2), max_leaves=4
)
FIELDS = {"type": KINDS, "id": ANYTHING, "call_id": ANYTHING, "content": ANYTHING, "arguments": ANYTHING, "namespace": SCALARS}
CALL_KINDS = st.sampled_from(["function_call", "custom_tool_call", "shell_call", "mcp_call"])
ITEMS = st.fixed_dictionaries({}, optional=FIELDS) | st.fixed_dictionaries(
    {"type": CALL_KINDS, "name": NAMES}, optional={field: kind for field, kind in FIELDS.items() if field != "type"}
)
CALLS = st.fixed_dictionaries(
    {},
    optional={**FIELDS, "index": SCALARS, "function": st.fixed_dictionaries({}, optional={"name": NAMES, "arguments": ANYTHING})},
)
MESSAGES = st.fixed_dictionaries(
    {}, optional={"content": ANYTHING, "tool_calls": st.lists(CALLS, max_size=2) | ANYTHING, "function_call": CALLS | ANYTHING}
)
RESPONSES = st.fixed_dictionaries({}, optional={"id": SCALARS, "output": st.lists(ITEMS, max_size=3), "usage": ANYTHING})
EVENTS = st.fixed_dictionaries(
    {"output_index": st.integers(0, 2)},
    optional={"type": KINDS, "item": ITEMS, "response": RESPONSES, "sequence_number": st.integers(0, 9)},
)
CHUNKS = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries(
                {"index": st.integers(0, 1)}, optional={"delta": MESSAGES, "message": MESSAGES, "finish_reason": SCALARS}
            ),
            max_size=2,
        )
    }
)


def calls_the_refused(told: bytes) -> bool:
    return f'"name":"{REFUSED}"'.encode() in told.replace(b": ", b":")


def streamed(endpoint: Endpoint, events: list[dict[str, Any]], named: bool) -> bytes:
    enforcer = StreamEnforcer(endpoint, GRANT, strip_usage=True, denial_is_error=False)
    told = b""
    for event in events:
        name = b"event: x\n" if named else b""
        told += enforcer.feed(name + b"data: " + msgspec.json.encode(event) + b"\n\n")
    last = enforcer.end()
    return told + last.body + last.tail


@given(st.lists(EVENTS, max_size=5), st.booleans())
@example(
    [{"output_index": 0, "type": "response.created", "item": {"type": "function_call", "name": REFUSED}, "response": {}}], True
)
def test_a_responses_stream_of_any_shape(events: list[dict[str, Any]], named: bool) -> None:
    assert not calls_the_refused(streamed(Endpoint.RESPONSES, events, named))


@given(st.lists(CHUNKS, max_size=5), st.booleans())
def test_a_chat_stream_of_any_shape(events: list[dict[str, Any]], named: bool) -> None:
    assert not calls_the_refused(streamed(Endpoint.CHAT, events, named))


@given(RESPONSES, st.booleans())
def test_a_response_of_any_shape(answer: dict[str, Any], denial_is_error: bool) -> None:
    told = enforce_json(Endpoint.RESPONSES, msgspec.json.encode(answer), GRANT, denial_is_error=denial_is_error)
    assert not calls_the_refused(told.body)


@given(st.lists(MESSAGES, max_size=2), st.booleans())
def test_a_chat_completion_of_any_shape(messages: list[dict[str, Any]], denial_is_error: bool) -> None:
    answer = {"id": "a", "choices": [{"index": 0, "message": message} for message in messages]}
    told = enforce_json(Endpoint.CHAT, msgspec.json.encode(answer), GRANT, denial_is_error=denial_is_error)
    assert not calls_the_refused(told.body)


def test_a_line_break_in_the_type_of_an_event_begins_no_line_of_its_own() -> None:
    smuggled = {
        "type": 'x\ndata: {"type":"response.output_item.done","output_index":0,"item":{"type":"shell_call"}}',
        "response": {"id": "r", "output": [{"type": "shell_call", "call_id": "c"}]},
    }
    assert b"\ndata: {" not in streamed(Endpoint.RESPONSES, [smuggled], named=True)[6:]
