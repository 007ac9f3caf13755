"""Requests as the types of the installed official client describe them, so that tests follow its releases."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any, get_args, get_origin, get_type_hints

import openai.types.chat.completion_create_params as chat_params
import openai.types.embedding_create_params as embedding_params
import openai.types.responses.response_create_params as responses_params
import typing_extensions

from routing_rules.task import Endpoint

PARAMS = {
    Endpoint.CHAT: (chat_params.CompletionCreateParamsNonStreaming, chat_params.CompletionCreateParamsStreaming),
    Endpoint.RESPONSES: (responses_params.ResponseCreateParamsNonStreaming, responses_params.ResponseCreateParamsStreaming),
    Endpoint.EMBEDDINGS: (embedding_params.EmbeddingCreateParams,),
}

BASE: dict[Endpoint, dict[str, Any]] = {
    Endpoint.CHAT: {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]},
    Endpoint.RESPONSES: {"model": "auto", "input": "Hello"},
    Endpoint.EMBEDDINGS: {"model": "text-embedding-3-small", "input": "Hello"},
}

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
    elif typing_extensions.is_typeddict(kind):
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
            fields.setdefault(name, []).append(kind)
    return fields


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
