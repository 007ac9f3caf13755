"""What an app has of a stream is read from what was passed on of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router.stages.conversation import chat_message
from router.stages.told import ENOUGH, Told
from routing_rules.task import Endpoint


def events(*data: dict[str, Any], end: str = "\n") -> bytes:
    return "".join(f"data: {json.dumps(one)}{end}{end}" for one in data).encode()


def chat(text: str, index: int = 0) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {"content": text}}]}


def item(text: str, index: int = 0) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "output_index": index, "delta": text}


def block(text: str, index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}


def said(*texts: str) -> tuple[bytes, ...]:
    return tuple(chat_message({"role": "assistant", "content": text}) for text in texts)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_choices_items_and_blocks_are_told_apart_and_blocks_are_one_turn(end: str) -> None:
    for endpoint, piece, turns in (
        (Endpoint.CHAT, chat, said("Good day", "Hello")),
        (Endpoint.RESPONSES, item, said("Good day", "Hello")),
        (Endpoint.MESSAGES, block, said("Good dayHello")),
    ):
        told = Told(endpoint, 2)
        for text, index in (("Good", 0), ("Hel", 1), (" day", 0), ("lo", 1)):
            assert told.feed(events(piece(text, index), end=end)) or end == "\r"
        told.feed(events({"type": "ping"}, end=end))
        assert told.turns() == turns


def test_what_is_no_text_says_nothing() -> None:
    call = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}}]}
    for endpoint, data in (
        (Endpoint.CHAT, call),
        (Endpoint.CHAT, {"choices": [{"delta": 7}]}),
        (Endpoint.RESPONSES, {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{}"}),
        (Endpoint.MESSAGES, {"type": "content_block_delta", "index": 0, "delta": {"partial_json": "{}"}}),
    ):
        told = Told(endpoint)
        assert not told.feed(events(data) + b": a comment\n\ndata: [DONE]\n\n")
        assert told.turns() == ()


def test_no_more_is_read_than_is_needed_of_each_choice() -> None:
    told = Told(Endpoint.CHAT, 2)
    while told.feed(events(chat("word " * 100))):
        pass
    assert 2 * ENOUGH <= told.chars < 2 * ENOUGH + 500
