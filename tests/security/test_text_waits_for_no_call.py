"""Text of a stream is passed on at once, also while a call beside it is held; and what comes after is numbered as it was passed on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tool_shapes import LEVER, SIBLING, SIBLING_ARGUMENTS, call, chat_call, fragments, response_object

from router.stages.enforce import StreamEnforcer
from routing_rules.decisions import ToolGrant
from routing_rules.task import Endpoint

GRANT = ToolGrant(granted=(("function", SIBLING),))
TEXT = "The meadow is green."


def enforcer(endpoint: Endpoint) -> StreamEnforcer:
    return StreamEnforcer(endpoint, GRANT, strip_usage=False, denial_is_error=False)


def told(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: {")]


def responses_events(name: str) -> list[dict[str, Any]]:
    """A stream in which a message begins and ends while a call beside it is still on its way."""
    made = call("function_call", call_id="call_1", name=name, arguments=SIBLING_ARGUMENTS)
    part = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}
    message = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    at, beside = {"item_id": made["id"], "output_index": 0}, {"item_id": "msg_1", "output_index": 1}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response_object("in_progress", [])},
        {"type": "response.output_item.added", "output_index": 0, "item": {**made, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", **at, "delta": SIBLING_ARGUMENTS[:5]},
        {"type": "response.output_item.added", "output_index": 1, "item": {**message, "content": []}},
        {"type": "response.output_text.delta", **beside, "content_index": 0, "delta": TEXT, "logprobs": []},
        {"type": "response.output_item.done", "output_index": 1, "item": message},
        {"type": "response.function_call_arguments.delta", **at, "delta": SIBLING_ARGUMENTS[5:]},
        {"type": "response.function_call_arguments.done", **at, "name": name, "arguments": SIBLING_ARGUMENTS},
        {"type": "response.output_item.done", "output_index": 0, "item": made},
        {"type": "response.completed", "response": response_object("completed", [made, message])},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


@pytest.mark.parametrize("name", [SIBLING, LEVER], ids=["granted", "refused"])
def test_a_message_beside_a_held_call_is_passed_on_at_once(name: str) -> None:
    stream = enforcer(Endpoint.RESPONSES)
    passed: list[dict[str, Any]] = []
    for event in responses_events(name):
        given = told(stream.feed(f"data: {json.dumps(event)}\n\n".encode()))
        if event["type"] == "response.output_text.delta":
            assert [each.get("delta") for each in given] == [TEXT]
        passed += given
    passed += told(stream.end().tail)
    assert [event["sequence_number"] for event in passed] == list(range(len(passed)))
    added = [(event["output_index"], event["item"]["type"]) for event in passed if event["type"] == "response.output_item.added"]
    assert added == [(0, "message"), *([(1, "function_call")] if name == SIBLING else [(1, "message")])]
    output = {event["output_index"]: event["item"] for event in passed if event["type"] == "response.output_item.done"}
    assert passed[-1]["response"]["output"] == [output[place] for place in sorted(output)]


@pytest.mark.parametrize("name", [SIBLING, LEVER], ids=["granted", "refused"])
def test_a_text_between_the_pieces_of_a_call_is_passed_on_at_once(name: str) -> None:
    stream = enforcer(Endpoint.CHAT)

    def fed(delta: dict[str, Any], finish: str | None = None) -> list[dict[str, Any]]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        return told(stream.feed(f"data: {json.dumps(chunk)}\n\n".encode()))

    pieces = list(fragments(chat_call(name, SIBLING_ARGUMENTS)))
    assert fed({"tool_calls": [{"index": 0, **pieces[0]}]}) == []
    (chunk,) = fed({"content": TEXT})
    assert chunk["choices"][0]["delta"]["content"] == TEXT
    (chunk,) = fed({"content": TEXT, "tool_calls": [{"index": 0, **pieces[1]}]})
    assert chunk["choices"][0]["delta"] == {"content": TEXT}
