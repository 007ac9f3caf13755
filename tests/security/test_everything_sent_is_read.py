"""No string reaches a provider that the classifier has not read, wherever in the body an app hides it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from router.api.wire import parse
from router.stages.read_task import NO_HEADERS, read_task
from routing_rules.task import Endpoint, Task
from routing_rules.vocabulary import Sensitivity

HIDDEN = "card 4242 4242 4242 4242"
HELLO = {"role": "user", "content": "Hello"}
CALCULATOR = {"type": "function", "name": "calculator"}


def read(endpoint: Endpoint, body: dict[str, Any]) -> Task:
    checked = parse(endpoint, msgspec.json.encode({"model": "auto", **body}))
    return read_task(endpoint, checked, NO_HEADERS, {}, Sensitivity.RESTRICTED)


def call(call_id: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "calculator", "arguments": "{}"}}


CHATS: dict[str, dict[str, Any]] = {
    "the id of a tool call": {"messages": [HELLO, {"role": "assistant", "tool_calls": [call(HIDDEN)]}]},
    "the id a tool result answers": {"messages": [HELLO, {"role": "tool", "tool_call_id": HIDDEN, "content": "4"}]},
    "the id of a voice": {"messages": [HELLO], "audio": {"format": "wav", "voice": {"id": HIDDEN}}},
    "the id of spoken words": {"messages": [HELLO, {"role": "assistant", "audio": {"id": HIDDEN}}]},
    "words in place of sound": {
        "messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": HIDDEN, "format": "wav"}}]}]
    },
    "words in place of a picture": {
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{HIDDEN}"}}]}
        ]
    },
    "words in the head of a picture": {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;{HIDDEN};base64,iVBORw0KGgo="}}],
            }
        ]
    },
    "a text file in place of a picture": {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"data:text/plain,{HIDDEN}"}}]}]
    },
    "words in place of a file": {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": HIDDEN}}]}]},
    "the id of a file": {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": HIDDEN}}]}]},
    "a hosted tool that chat does not know": {
        "messages": [HELLO],
        "tools": [{"type": "web_search", "container": {"id": HIDDEN, "type": HIDDEN, "status": HIDDEN}}],
    },
}

RESPONSES: dict[str, dict[str, Any]] = {
    "the id of a message": {"input": [{"type": "message", "role": "user", "content": "Hello", "id": HIDDEN}]},
    "the id of a call": {"input": [{"type": "function_call", "call_id": HIDDEN, "name": "calculator", "arguments": "{}"}]},
    "the id of a caller": {
        "input": [
            {
                "type": "function_call",
                "call_id": "c",
                "name": "calculator",
                "arguments": "{}",
                "caller": {"type": "program", "caller_id": HIDDEN},
            }
        ]
    },
    "the id of a container": {
        "input": [{"type": "code_interpreter_call", "id": "i", "status": "completed", "code": "1", "container_id": HIDDEN}]
    },
    "the id of a request for approval": {
        "input": [{"type": "mcp_approval_response", "approval_request_id": HIDDEN, "approve": False}]
    },
    "the id of added tools": {"input": [{"type": "additional_tools", "role": "developer", "id": HIDDEN, "tools": [CALCULATOR]}]},
    "the id of a picture": {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": HIDDEN}]}]},
    "words in place of a generated picture": {
        "input": [{"type": "image_generation_call", "id": "i", "status": "completed", "result": HIDDEN}]
    },
    "a field beside a chosen tool": {
        "input": "Hello",
        "tools": [CALCULATOR],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{**CALCULATOR, "note": HIDDEN}]},
    },
    "the chosen tool of a server": {
        "input": "Hello",
        "tools": [{"type": "mcp", "server_label": "wiki"}],
        "tool_choice": {"type": "mcp", "server_label": "wiki", "name": HIDDEN},
    },
}


@pytest.mark.parametrize("body", CHATS.values(), ids=CHATS)
def test_what_a_chat_hides_is_read(body: dict[str, Any]) -> None:
    assert any(HIDDEN in part.text for part in read(Endpoint.CHAT, body).parts)


@pytest.mark.parametrize("body", RESPONSES.values(), ids=RESPONSES)
def test_what_a_responses_request_hides_is_read(body: dict[str, Any]) -> None:
    assert any(HIDDEN in part.text for part in read(Endpoint.RESPONSES, body).parts)


def test_what_is_hidden_also_counts_as_input_that_is_paid_for() -> None:
    body = {"messages": [HELLO, {"role": "tool", "tool_call_id": "x" * 100_000, "content": "4"}]}
    assert read(Endpoint.CHAT, body).input_bytes > 100_000
