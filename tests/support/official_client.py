"""Requests as the types of the installed official clients describe them, so that tests follow their releases."""

from __future__ import annotations

import os
import typing
from collections.abc import Iterator
from typing import Any, get_args, get_origin, get_type_hints

import anthropic.types.beta.message_create_params as messages_params
import anthropic.types.message_create_params as plain_messages_params
import openai.types.chat.completion_create_params as chat_params
import openai.types.embedding_create_params as embedding_params
import openai.types.responses.response_create_params as responses_params
import pydantic
import typing_extensions
from anthropic.types.beta import BetaJSONOutputFormatParam

from routing_rules.task import Endpoint

PARAMS = {
    Endpoint.CHAT: (chat_params.CompletionCreateParamsNonStreaming, chat_params.CompletionCreateParamsStreaming),
    Endpoint.RESPONSES: (responses_params.ResponseCreateParamsNonStreaming, responses_params.ResponseCreateParamsStreaming),
    Endpoint.EMBEDDINGS: (embedding_params.EmbeddingCreateParams,),
    Endpoint.MESSAGES: (
        messages_params.MessageCreateParamsNonStreaming,
        messages_params.MessageCreateParamsStreaming,
        plain_messages_params.MessageCreateParamsNonStreaming,
    ),
}

SENT_AS_HEADERS = {Endpoint.MESSAGES: frozenset({"betas", "user_profile_id", "workspace_id"})}
"""Parameters of the client that are no fields of the body."""

OLDER: dict[Endpoint, dict[str, Any]] = {
    Endpoint.MESSAGES: {"temperature": float, "top_k": int, "top_p": float, "output_format": BetaJSONOutputFormatParam}
}
"""What earlier releases of a client sent."""

BASE: dict[Endpoint, dict[str, Any]] = {
    Endpoint.CHAT: {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]},
    Endpoint.RESPONSES: {"model": "auto", "input": "Hello"},
    Endpoint.EMBEDDINGS: {"model": "text-embedding-3-small", "input": "Hello"},
    Endpoint.MESSAGES: {"model": "auto", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]},
}

TOOL = {"name": "word", "input_schema": {"type": "object"}}
NEEDED: dict[tuple[Endpoint, str], dict[str, Any]] = {
    (Endpoint.CHAT, "stream_options"): {"stream": True},
    (Endpoint.RESPONSES, "stream_options"): {"stream": True},
    (Endpoint.RESPONSES, "background"): {"stream": True},
    (Endpoint.CHAT, "function_call"): {"functions": [{"name": "word"}]},
    (Endpoint.CHAT, "tool_choice"): {
        "tools": [{"type": "function", "function": {"name": "word"}}, {"type": "custom", "custom": {"name": "word"}}]
    },
    (Endpoint.RESPONSES, "tool_choice"): {
        "tools": [
            {"type": "function", "name": "word"},
            {"type": "custom", "name": "word"},
            {"type": "mcp", "server_label": "word"},
            {"type": "programmatic_tool_calling"},
            {"type": "file_search", "vector_store_ids": ["word"]},
            {"type": "web_search_preview"},
            {"type": "computer"},
            {"type": "image_generation"},
            {"type": "code_interpreter", "container": "word"},
            {"type": "apply_patch"},
            {"type": "shell"},
        ]
    },
    (Endpoint.MESSAGES, "tool_choice"): {"tools": [TOOL]},
    (Endpoint.MESSAGES, "tools"): {"mcp_servers": [{"type": "url", "name": "word", "url": "https://mcp.example.org"}]},
}
"""What a field cannot go without."""

ALLOWED_TOOLS = {
    "ChatCompletionAllowedToolsParam": [{"type": "function", "function": {"name": "word"}}],
    "ToolChoiceAllowedParam": [{"type": "function", "name": "word"}, {"type": "mcp", "server_label": "word"}, {"type": "shell"}],
}
"""Where the client's types only say `object`."""


def examples(kind: Any) -> Iterator[Any]:
    """Values of a type of the official client, so that every branch of every union and every field occurs at least once."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (typing_extensions.Required, typing_extensions.NotRequired, typing.Annotated):
        yield from examples(inner[0])
    elif origin is typing.Union:
        for one in inner:
            yield from examples(one)
    elif origin is typing.Literal:
        yield from inner
    elif origin is typing.IO or kind is os.PathLike:
        return  # the client reads such a file, and sends its text
    elif typing_extensions.is_typeddict(kind) or (isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)):
        if issubclass(kind, pydantic.BaseModel):  # what was answered and is sent back
            hints = {
                field.alias or name: typing_extensions.Required[field.annotation] if field.is_required() else field.annotation
                for name, field in kind.model_fields.items()
            }
        else:
            hints = get_type_hints(kind, include_extras=True)
        fields = {name: list(examples(held)) for name, held in hints.items()}
        if kind.__name__ in ALLOWED_TOOLS:
            fields["tools"] = [ALLOWED_TOOLS[kind.__name__]]
        first = {name: held[0] for name, held in fields.items()}
        yield first
        least = {name: first[name] for name, held in hints.items() if get_origin(held) is typing_extensions.Required}
        yield least
        yield from ({**least, name: held} for name, held in first.items() if name not in least)
        for name, held in fields.items():
            yield from ({**first, name: other} for other in held[1:])
    elif origin is dict:
        yield from ({"1": held} for held in examples(inner[1]))
    elif origin is not None:
        yield from ([held] for held in examples(inner[0]))
    else:
        yield {str: "word", int: 1, float: 0.5, bool: True, type(None): None, object: {"word": 1}}[kind]


def client_fields(endpoint: Endpoint) -> dict[str, list[Any]]:
    fields: dict[str, list[Any]] = {}
    for params in PARAMS[endpoint]:
        for name, kind in get_type_hints(params, include_extras=True).items():
            if name in SENT_AS_HEADERS.get(endpoint, ()):
                continue
            fields.setdefault(name, []).append(kind)
    return fields | {name: [kind] for name, kind in OLDER.get(endpoint, {}).items()}


def bodies(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    """Request bodies of the official client: each field with each of its values, beside what it cannot go without."""
    for field, kinds in client_fields(endpoint).items():
        for kind in kinds:
            for value in examples(kind):
                yield {**BASE[endpoint], **NEEDED.get((endpoint, field), {}), field: value}


def is_reference(value: Any) -> bool:
    """An item that stands for one the router has never seen."""
    return isinstance(value, list) and any(
        isinstance(item, dict) and item.get("type", "item_reference") in ("item_reference", None) and "role" not in item
        for item in value
    )


NOT_SERVED = frozenset({"compaction", "compact_20260112", "fallback", "advisor_tool_result"})
"""Types of blocks and edits of the Messages API that are not accepted: they bring what the router can neither see nor price."""


def is_not_served(value: Any) -> bool:
    """Whether a value of the Messages API holds what is not accepted anywhere."""
    if isinstance(value, dict):
        sets_effort = value.get("role") == "system" and ("output_config" in value or "content" not in value)
        adds_set = value.get("type") == "tool_definition" and value["definition"].get("type") == "mcp_toolset"
        return str(value.get("type")) in NOT_SERVED or sets_effort or adds_set or any(map(is_not_served, value.values()))
    return isinstance(value, list) and any(map(is_not_served, value))
