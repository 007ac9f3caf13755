"""The canonical form of a conversation's messages, equal for what an app was answered and what it sends back.

Apps rebuild an answer before they send it again: they drop ids, send `null` or nothing, a string or a list of text parts, tool
calls in another order, arguments printed anew. None of that changes the canonical form; a changed word does.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import msgspec

from router.exchange import JsonObject

_ENCODER = msgspec.json.Encoder(order="deterministic")

_TEXT_KEYS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""Content part type → the key that holds its text."""

_VOLATILE = frozenset({"id", "status", "caller", "call_id", "prompt_cache_breakpoint", "cache_control", "pending_safety_checks"})
"""What a provider adds to an item or part and an app may leave out."""

_ACTIONS = {
    "computer_call": ("action", "actions"),
    "local_shell_call": ("action",),
    "shell_call": ("action",),
    "apply_patch_call": ("operation",),
}
"""Calls that the app carries out itself → the fields that say what to do."""

_RESULTS = frozenset(
    {
        "function_call_output",
        "custom_tool_call_output",
        "computer_call_output",
        "local_shell_call_output",
        "shell_call_output",
        "apply_patch_call_output",
    }
)


def chat_message(message: JsonObject) -> bytes:
    """The canonical form of a chat message, be it from `messages` of a request or from `choices[].message` of an answer."""
    role = message.get("role") or "assistant"
    content = message.get("content")
    if type(content) is str and role != "assistant":  # most messages
        return _ENCODER.encode((_speaker(role), content.strip(), message.get("name") or ""))
    text, others = _content(content)
    if role != "assistant":
        return _message(role, text, [], others, message.get("name") or "")
    calls = [_chat_call(call) for call in message.get("tool_calls") or ()]
    if legacy := message.get("function_call"):
        calls.append(_call(legacy["name"], legacy.get("arguments") or ""))
    return _message(role, text or (message.get("refusal") or "").strip(), calls, others)


def messages_message(message: JsonObject) -> bytes:
    """The canonical form of a message of the Messages API, from `messages` of a request or of an answer's content.

    What apps may leave out does not count: thoughts, and what the provider did by itself.
    """
    role, content = message.get("role") or "assistant", message.get("content")
    if type(content) is str:
        return _ENCODER.encode((role, content.strip(), ""))
    texts: list[str] = []
    calls: list[list[str]] = []
    others: list[str] = []
    for block in content or ():
        kind = block.get("type")
        if kind == "text":
            texts.append(block["text"])
        elif kind == "tool_use":
            calls.append([block["name"], _ENCODER.encode(block.get("input") or {}).decode()])
        elif kind == "tool_result":
            text, more = _content(block.get("content"))
            others += [_digest([block.get("tool_use_id"), text]), *more]
        elif role != "assistant":
            others.append(_digest(_without_nulls(block)))
    return _message(role, "".join(texts).strip(), calls, others)


def response_item(item: JsonObject) -> bytes | None:
    """The canonical form of an item of the responses format, from `input` or from `output`; a message equals its chat form.

    None for what apps may leave out without changing the conversation: reasoning, the provider's own tool calls, references.
    """
    kind = item.get("type") or ("message" if "role" in item else None)
    if kind == "message":
        text, others = _content(item.get("content"))
        return _message(item["role"], text, [], others)
    if kind == "function_call":
        return _message("assistant", "", [_call(_qualified(item), item["arguments"])], [])
    if kind == "custom_tool_call":
        return _message("assistant", "", [[_qualified(item), item["input"]]], [])
    if kind in _RESULTS:
        output = item.get("output")
        if output is None or type(output) is str:
            return _message("tool", (output or "").strip(), [], [])
        text, others = _content(output if type(output) is list else [output])
        return _message("tool", text, [], others)
    if kind in _ACTIONS:
        action = [_without_nulls(item.get(field)) for field in _ACTIONS[kind]]
        return _message("assistant", "", [[kind, _digest(action)]], [])
    return None


def joined(turns: Iterable[bytes]) -> bytes | None:
    """The canonical form of one message with the texts of several turns of the model, as an app may join them; None for less than two."""
    texts = [text for turn in turns if (text := text_of(turn))]
    return _message("assistant", "".join(texts), [], []) if len(texts) > 1 else None


class _Turn(msgspec.Struct, array_like=True, gc=False):
    """The canonical form of a message, of which only the text is looked at."""

    role: str
    text: str


_decode_turn = msgspec.json.Decoder(_Turn).decode


def text_of(turn: bytes) -> str:
    """The text of a message in its canonical form."""
    return _decode_turn(turn).text


def spoken_by_model(message: JsonObject) -> bool:
    """Whether a message or item that has a canonical form is the model's."""
    if "role" in message:
        return bool(message["role"] == "assistant")
    kind = message.get("type")
    return type(kind) is str and kind.endswith("_call")


def _message(role: str, text: str, calls: list[list[str]], others: list[str], name: str = "") -> bytes:
    if calls or others:
        return _ENCODER.encode((_speaker(role), text, name, sorted(calls), others))
    return _ENCODER.encode((_speaker(role), text, name))


def _speaker(role: str) -> str:
    return "tool" if role == "function" else role


def _content(content: Any) -> tuple[str, list[str]]:
    """The text of a content, and a digest of every part that is not text."""
    if content is None:
        return "", []
    if type(content) is str:
        return content.strip(), []
    texts: list[str] = []
    others: list[str] = []
    for part in content:
        key = _TEXT_KEYS.get(part.get("type"))
        if key is None:
            others.append(_digest(_without_nulls(part)))
        else:
            texts.append(part[key])
    return "".join(texts).strip(), others


def _chat_call(call: JsonObject) -> list[str]:
    if call.get("type") == "custom":
        return [call["custom"]["name"], call["custom"]["input"]]
    return _call(call["function"]["name"], call["function"].get("arguments") or "")


def _call(name: str, arguments: str) -> list[str]:
    """Arguments printed anew by the app are still the same arguments."""
    try:
        return [name, _ENCODER.encode(msgspec.json.decode(arguments)).decode()]
    except (msgspec.MsgspecError, ValueError, RecursionError):  # a model may write anything
        return [name, arguments]


def _qualified(item: JsonObject) -> str:
    namespace = item.get("namespace")
    return f"{namespace}.{item['name']}" if namespace else str(item["name"])


def _digest(value: Any) -> str:
    return sha256(_ENCODER.encode(value)).hexdigest()


def _without_nulls(value: Any) -> Any:
    if type(value) is dict:
        return {key: _without_nulls(held) for key, held in value.items() if held is not None and key not in _VOLATILE}
    if type(value) is list:
        return [_without_nulls(held) for held in value]
    return value
