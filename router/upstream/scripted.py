"""The simulated provider: answers in OpenAI's wire shapes without a network, says in every answer that it is simulated."""

from __future__ import annotations

import asyncio
import math
import re
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import count
from typing import Any
from uuid import uuid4
from zlib import crc32

import msgspec

from router.clock import utc_now
from router.errors import UpstreamFailed
from router.exchange import JsonObject
from router.ports import UpstreamRequest
from router.upstream.script import BYTES_PER_TOKEN, Script, ToolCall, script
from router.upstream.scripted_messages import ScriptedMessage
from routing_rules.decide import ClearedDeployment
from routing_rules.task import Endpoint

CHUNKS = 20
DIMENSIONS = 256
FINGERPRINT = "simulated"
DONE = b"data: [DONE]\n\n"

encode = msgspec.json.Encoder().encode


class ScriptedAnswer:
    """An answer of the simulated provider: a body, or events that come one by one."""

    __slots__ = ("_body", "_events", "dropped", "headers", "status")

    def __init__(self, body: JsonObject | None, events: Iterator[bytes]) -> None:
        self.status = 200
        self.headers: Mapping[str, str] = {"content-type": "text/event-stream" if body is None else "application/json"}
        self.dropped: tuple[str, ...] = ()
        self._body = body
        self._events = events

    async def read(self) -> bytes:
        """The whole body."""
        return encode(self._body)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The events; other work runs between them."""
        for event in self._events:
            yield event
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        """Nothing to give back."""


class Scripted:
    """Upstream for deployments of the provider `simulated`. It reaches nobody, and fails only on a schema that it cannot read."""

    def __init__(self) -> None:
        self._counter = count(1)

    async def send(self, deployment: ClearedDeployment, request: UpstreamRequest) -> ScriptedAnswer:
        """Answer at once; the same ask gets the same words, with other token counts each time."""
        body, model = request.body, deployment.model
        if request.endpoint is Endpoint.EMBEDDINGS:
            return ScriptedAnswer(_embeddings(body, model), iter(()))
        try:
            said = script(request.endpoint, body, reasoning=deployment.reasoning_model, count=next(self._counter))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # whatever a malformed schema can cause
            message = "the simulated provider cannot make a value for a schema of this request"
            raise UpstreamFailed("invalid_request", message, sent=False, detail="unreadable schema") from None
        created = int(utc_now().timestamp())
        if request.endpoint is Endpoint.CHAT:
            chat = _Chat(body, model, said, created)
            return ScriptedAnswer(None if request.stream else chat.whole(), chat.events())
        if request.endpoint is Endpoint.MESSAGES:
            made = ScriptedMessage(body, model, said)
            return ScriptedAnswer(None if request.stream else made.whole(), made.events())
        response = _Response(body, model, said, created)
        return ScriptedAnswer(None if request.stream else response.whole(), response.events())

    async def aclose(self) -> None:
        """Nothing to close."""


class _Chat:
    """One chat completion, whole or as chunks."""

    def __init__(self, body: JsonObject, model: str, said: Script, created: int) -> None:
        self._body = body
        self._said = said
        self._head = {"id": f"chatcmpl-sim-{uuid4().hex}", "created": created, "model": model, "system_fingerprint": FINGERPRINT}
        self._legacy = bool(body.get("functions")) and not body.get("tools")
        self._calls = [_chat_call(call) for call in said.calls]

    def whole(self) -> JsonObject:
        choices = []
        for index, tokens in enumerate(self._said.choices):
            message: JsonObject = {
                "role": "assistant",
                "content": None if self._calls else "".join(tokens),
                "refusal": None,
                "annotations": [],
            }
            if self._legacy and self._calls:
                message["function_call"] = self._calls[0]["function"]
            elif self._calls:
                message["tool_calls"] = self._calls
            choices.append(
                {"index": index, "message": message, "logprobs": self._logprobs(tokens), "finish_reason": self._finish()}
            )
        return {**self._head, "object": "chat.completion", "choices": choices, "usage": self._usage(), "service_tier": "default"}

    def events(self) -> Iterator[bytes]:
        with_usage = bool((self._body.get("stream_options") or {}).get("include_usage"))
        head = {**self._head, "object": "chat.completion.chunk", "service_tier": "default"}
        if with_usage:
            head["usage"] = None

        def chunk(index: int, delta: JsonObject, finish: str | None = None, logprobs: JsonObject | None = None) -> bytes:
            choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
            return b"data: " + encode({**head, "choices": [choice]}) + b"\n\n"

        for index, tokens in enumerate(self._said.choices):
            yield chunk(index, {"role": "assistant", "content": None if self._calls else "", "refusal": None})
            for position, call in enumerate(self._calls):
                yield from (chunk(index, delta) for delta in self._call_deltas(position, call))
            for group in _groups(tokens):
                yield chunk(index, {"content": "".join(group)}, None, self._logprobs(group))
            yield chunk(index, {}, self._finish())
        if with_usage:
            yield b"data: " + encode({**head, "choices": [], "usage": self._usage()}) + b"\n\n"
        yield DONE

    def _call_deltas(self, position: int, call: JsonObject) -> Iterator[JsonObject]:
        kind = call["type"]
        field = "arguments" if kind == "function" else "input"
        named = call[kind]
        if self._legacy:
            yield {"function_call": {"name": named["name"], "arguments": ""}}
            yield from ({"function_call": {"arguments": part}} for part in _fragments(named[field]))
            return
        yield {"tool_calls": [{"index": position, "id": call["id"], "type": kind, kind: {"name": named["name"], field: ""}}]}
        for part in _fragments(named[field]):
            yield {"tool_calls": [{"index": position, kind: {field: part}}]}

    def _finish(self) -> str:
        if self._calls:
            return "function_call" if self._legacy else "tool_calls"
        return "length" if self._said.truncated else "stop"

    def _logprobs(self, tokens: Sequence[str]) -> JsonObject | None:
        if not self._body.get("logprobs"):
            return None
        top = int(self._body.get("top_logprobs") or 0)
        content = []
        for token in tokens:
            likely = {"token": token, "logprob": -0.05, "bytes": list(token.encode())}
            content.append({**likely, "top_logprobs": [likely] if top else []})
        return {"content": content, "refusal": None}

    def _usage(self) -> JsonObject:
        said = self._said
        return {
            "prompt_tokens": said.input_tokens,
            "completion_tokens": said.output_tokens,
            "total_tokens": said.input_tokens + said.output_tokens,
            "prompt_tokens_details": {"cached_tokens": said.cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": said.reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


class _Response:
    """One response, whole or as events."""

    def __init__(self, body: JsonObject, model: str, said: Script, created: int) -> None:
        self._body = body
        self._model = model
        self._said = said
        self._created = created
        self._id = f"resp_sim_{uuid4().hex}"
        self._tokens = said.choices[0] if said.choices else ()
        self._output: list[JsonObject] = []
        if said.reasoning_tokens:
            thought: JsonObject = {"id": f"rs_sim_{uuid4().hex}", "type": "reasoning", "summary": []}
            if "reasoning.encrypted_content" in (body.get("include") or ()):
                thought["encrypted_content"] = b64encode(f"simulated {self._id}".encode()).decode()
            self._output.append(thought)
        if said.calls:
            self._output.extend(_response_call(call) for call in said.calls)
        else:
            part = {"type": "output_text", "text": "".join(self._tokens), "annotations": [], "logprobs": []}
            status = "incomplete" if said.truncated else "completed"
            self._output.append(
                {"id": f"msg_sim_{uuid4().hex}", "type": "message", "status": status, "role": "assistant", "content": [part]}
            )

    def whole(self) -> JsonObject:
        return self._object("incomplete" if self._said.truncated else "completed", self._output)

    def events(self) -> Iterator[bytes]:
        numbers = count()

        def event(kind: str, **fields: Any) -> bytes:
            return b"event: %s\ndata: %s\n\n" % (
                kind.encode(),
                encode({"type": kind, "sequence_number": next(numbers), **fields}),
            )

        yield event("response.created", response=self._object("in_progress", []))
        yield event("response.in_progress", response=self._object("in_progress", []))
        for index, item in enumerate(self._output):
            where = {"item_id": item["id"], "output_index": index}
            kind = item["type"]
            if kind == "reasoning":
                yield event("response.output_item.added", output_index=index, item=item)
            elif kind == "message":
                part = item["content"][0]
                yield event(
                    "response.output_item.added", output_index=index, item={**item, "status": "in_progress", "content": []}
                )
                yield event("response.content_part.added", **where, content_index=0, part={**part, "text": ""})
                for group in _groups(self._tokens):
                    yield event("response.output_text.delta", **where, content_index=0, delta="".join(group), logprobs=[])
                yield event("response.output_text.done", **where, content_index=0, text=part["text"], logprobs=[])
                yield event("response.content_part.done", **where, content_index=0, part=part)
            else:
                field, stem = (
                    ("arguments", "function_call_arguments") if kind == "function_call" else ("input", "custom_tool_call_input")
                )
                yield event("response.output_item.added", output_index=index, item={**item, "status": "in_progress", field: ""})
                for fragment in _fragments(item[field]):
                    yield event(f"response.{stem}.delta", **where, delta=fragment)
                named = {"name": item["name"]} if kind == "function_call" else {}
                yield event(f"response.{stem}.done", **where, **named, **{field: item[field]})
            yield event("response.output_item.done", output_index=index, item=item)
        whole = self.whole()
        yield event(f"response.{whole['status']}", response=whole)

    def _object(self, status: str, output: list[JsonObject]) -> JsonObject:
        body, said = self._body, self._said
        ended = status != "in_progress"
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": bool(body.get("background")),
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"),
            "max_tool_calls": body.get("max_tool_calls"),
            "model": self._model,
            "output": output,
            "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
            "previous_response_id": body.get("previous_response_id"),
            "reasoning": {"effort": (body.get("reasoning") or {}).get("effort"), "summary": None},
            "service_tier": "default",
            "store": body.get("store") is not False,
            "temperature": body.get("temperature", 1.0),
            "text": body.get("text") or {"format": {"type": "text"}},
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": body.get("tools") or [],
            "top_p": body.get("top_p", 1.0),
            "truncation": body.get("truncation") or "disabled",
            "usage": {
                "input_tokens": said.input_tokens,
                "input_tokens_details": {"cached_tokens": said.cached_tokens},
                "output_tokens": said.output_tokens,
                "output_tokens_details": {"reasoning_tokens": said.reasoning_tokens},
                "total_tokens": said.input_tokens + said.output_tokens,
            }
            if ended
            else None,
            "user": body.get("user"),
            "metadata": body.get("metadata") or {},
        }


def _chat_call(call: ToolCall) -> JsonObject:
    kind, field = ("custom", "input") if call.custom else ("function", "arguments")
    return {"id": f"call_sim_{uuid4().hex}", "type": kind, kind: {"name": call.name, field: call.arguments}}


def _response_call(call: ToolCall) -> JsonObject:
    kind, field = ("custom_tool_call", "input") if call.custom else ("function_call", "arguments")
    return {
        "id": f"{'ctc' if call.custom else 'fc'}_sim_{uuid4().hex}",
        "type": kind,
        "status": "completed",
        "call_id": f"call_sim_{uuid4().hex}",
        "name": call.name,
        field: call.arguments,
    }


def _groups(tokens: Sequence[str]) -> Iterator[Sequence[str]]:
    """The tokens in at most CHUNKS groups of about the same size."""
    size = max(math.ceil(len(tokens) / CHUNKS), 1)
    return (tokens[start : start + size] for start in range(0, len(tokens), size))


def _fragments(text: str) -> tuple[str, str]:
    middle = len(text) // 2
    return text[:middle], text[middle:]


def _embeddings(body: JsonObject, model: str) -> JsonObject:
    given = body.get("input")
    # A list of numbers is one text given as tokens; a list of anything else is several texts.
    texts = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    dimensions = int(body.get("dimensions") or DIMENSIONS)
    packed = body.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(texts):
        vector = _vector(text, dimensions)
        embedding = b64encode(struct.pack(f"<{dimensions}f", *vector)).decode() if packed else vector
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    taken = max(sum(len(encode(text)) for text in texts) // BYTES_PER_TOKEN, 1)
    return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": taken, "total_tokens": taken}}


def _vector(text: object, dimensions: int) -> list[float]:
    """A unit vector in which each word adds to one place, so that texts with the same words lie near each other."""
    words = (
        re.findall(r"\w+", text.lower())
        if isinstance(text, str)
        else [str(token) for token in text]
        if isinstance(text, list)
        else []
    )
    vector = [0.0] * dimensions
    for word in words or ["nothing"]:
        digest = crc32(word.encode())
        vector[digest % dimensions] += 1.0 if digest & 0x80000000 else -1.0
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector] if length else [1.0, *vector[1:]]
