"""A scriptable provider on loopback, for tests: real HTTP, recorded requests, and every way in which a provider can misbehave.

In an async test:   `async with StubProvider() as stub:` … `stub.url`, `stub.requests`, `stub.script("model", "status:500", "ok")`.
In a sync test:     `with serving() as stub:` (the same, in a thread of its own).
As a process:       `python tests/support/stub_provider.py --port 9100`, steered by `/control/…` (see `StubProvider.control`).

What it does with a request is, in this order: the script of the request's model (each request takes the next behaviour, the last
one stays), a marker `[[stub:BEHAVIOUR]]` anywhere in the body, the model's name where that is a behaviour (`model: "hang"`), `ok`.

Behaviours:
  ok                   an answer; a stream where one is asked for
  tools[:NAME]         calls the tool NAME (default: the first one offered) with arguments made from its schema
  two_tools            calls the first two tools offered, in parallel
  status:CODE[:WAIT]   an error in OpenAI's shape, with `retry-after: WAIT` where given
  complains            400 with a sentence that repeats the tools it was sent
  hang                 never answers            silent    sends headers, then nothing
  stall                stops after the third chunk of a stream and keeps the connection open
  half                 announces a whole answer, sends half, cuts the connection
  disconnect           cuts the connection before the headers
  garbage              200 with something that is neither JSON nor a stream
  empty                a stream that ends without a chunk
  error_event          a stream that carries an error event after the second chunk
  slow:SECONDS         that long between chunks, or before an answer in one piece
  barrier              waits until `release()` (or until `barrier_size` requests wait)
  no_usage             reports no usage         length      ends by `length`
  strict               400 `unknown_parameter` for `temperature`, `stop` or `max_tokens`, as reasoning models do
  echo[:SIZE]          repeats the last text it was sent, in fragments of SIZE characters (default: 3)
  echo_tool:NAME       calls the tool NAME with `{"said": that text}`
  exact                the bytes of `exact`, as JSON or as a stream, whatever was asked
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from aiohttp import web

Json = dict[str, Any]

NAMED = frozenset(
    "ok tools two_tools complains hang silent stall half disconnect garbage empty error_event barrier no_usage length strict exact echo echo_tool".split()
)
MARKER = re.compile(rb"\[\[stub:([^\]]+)\]\]")
CREATED = 1_750_000_000


@dataclass
class Received:
    """One request as it arrived. `cut`: the caller left before the answer had ended; `answered`: it got all of it."""

    path: str
    headers: dict[str, str]
    body: Json
    raw: bytes
    query: dict[str, str] = field(default_factory=dict)
    peer: int = 0  # the caller's port: the same for requests on the same connection
    cut: bool = False
    answered: bool = False

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def text(self) -> str:
        """Everything that was sent, for searches."""
        return self.raw.decode(errors="replace")


@dataclass
class Kept:
    """A response as it will be, how often it is looked at before it is so, and what was sent with it."""

    whole: Json
    looks: int | None
    items: list[Json]

    def now(self) -> Json:
        """The response as it is; one under way tells what there is of it."""
        return self.whole if self.looks == 0 else {**self.whole, "status": "in_progress", "usage": None}


@dataclass
class StubProvider:
    """The provider. `chunks` is the number of text chunks of a stream; `usage` what every answer reports.

    Responses are `kept` by their id, unless the request says `store: false`. One in the background ends when it was looked at
    `looks` times (None: only when it is cancelled). `asked_for` are the requests for kept responses, as `GET resp_1`.
    """

    port: int = 0
    answer: str = "stub answer"
    chunks: int = 20
    usage: tuple[int, int, int, int] = (120, 64, 20, 8)  # input, cached of it, output, reasoning of it
    barrier_size: int | None = None
    exact: bytes = b""
    requests: list[Received] = field(default_factory=list)
    scripts: dict[str, list[str]] = field(default_factory=dict)
    waiting: int = 0
    looks: int | None = 2
    kept: dict[str, Kept] = field(default_factory=dict)
    asked_for: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._gate = asyncio.Event()
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self._answers = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        """Base URL of the OpenAI-compatible surface."""
        return f"http://127.0.0.1:{self.port}/v1"

    def script(self, model: str, *behaviours: str) -> None:
        """What the next requests for `model` get, one behaviour each; the last one stays. None: forget the script."""
        self.scripts[model] = list(behaviours)

    def release(self) -> None:
        """Open the barrier, from any thread, for those who wait and all who come."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._gate.set)

    def close_barrier(self) -> None:
        """Let requests wait again."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._gate.clear)

    async def arrived(self, count: int) -> None:
        """Wait until `count` requests were received."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)

    async def left(self, count: int = 1) -> None:
        """Wait until `count` callers have cut their connection."""
        async with self._changed:
            await self._changed.wait_for(lambda: sum(received.cut for received in self.requests) >= count)

    async def __aenter__(self) -> StubProvider:
        self._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/responses", self._responses)
        app.router.add_get("/v1/responses/{id}", self._show)
        app.router.add_delete("/v1/responses/{id}", self._delete)
        app.router.add_post("/v1/responses/{id}/cancel", self._cancel)
        app.router.add_get("/v1/responses/{id}/input_items", self._input_items)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_get("/v1/models", self._models)
        app.router.add_route("*", "/control/{verb}", self.control)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def control(self, request: web.Request) -> web.Response:
        """`POST script {model, behaviours}` · `POST release` · `POST close_barrier` · `POST reset` · `GET requests[?at_least=N]` · `GET state`.

        `requests?at_least=N` answers once that many have arrived. `POST barrier {size}` sets how many open the barrier by themselves.
        """
        verb = request.match_info["verb"]
        if verb == "script":
            wanted = await request.json()
            self.script(wanted["model"], *wanted["behaviours"])
        elif verb == "barrier":
            self.barrier_size = (await request.json())["size"]
        elif verb == "release":
            self.release()
        elif verb == "close_barrier":
            self.close_barrier()
        elif verb == "reset":
            self.requests.clear()
            self.scripts.clear()
            self.barrier_size = None
            self.close_barrier()
        elif verb == "requests":
            await self.arrived(int(request.query.get("at_least", "0")))
            return web.json_response([{**asdict(received), "raw": received.text} for received in self.requests])
        elif verb != "state":
            raise web.HTTPNotFound
        return web.json_response(
            {"received": len(self.requests), "waiting": self.waiting, "cut": sum(r.cut for r in self.requests)}
        )

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, _chat_body, _chat_events)

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, _responses_body, _responses_events)

    async def _show(self, request: web.Request) -> web.Response:
        kept = self._kept(request)
        if kept is None:
            return _error(404)
        if kept.looks:
            kept.looks -= 1
        return web.json_response(kept.now())

    async def _delete(self, request: web.Request) -> web.Response:
        if self._kept(request) is None:
            return _error(404)
        del self.kept[request.match_info["id"]]
        return web.json_response({"id": request.match_info["id"], "object": "response", "deleted": True})

    async def _cancel(self, request: web.Request) -> web.Response:
        kept = self._kept(request)
        if kept is None:
            return _error(404)
        if kept.looks == 0:
            return _error(400)
        kept.whole, kept.looks = {**kept.whole, "status": "cancelled", "output": []}, 0
        return web.json_response(kept.now())

    async def _input_items(self, request: web.Request) -> web.Response:
        kept = self._kept(request)
        if kept is None:
            return _error(404)
        ends = {"first_id": kept.items[0].get("id"), "last_id": kept.items[-1].get("id")}
        return web.json_response({"object": "list", "data": kept.items, **ends, "has_more": False})

    def _kept(self, request: web.Request) -> Kept | None:
        self.asked_for.append(f"{request.method} {request.path.removeprefix('/v1/responses/')}")
        return self.kept.get(request.match_info["id"])

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, _embeddings_body, None)

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, _messages_body, _messages_events)

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"object": "list", "data": [{"id": "stub", "object": "model", "created": CREATED, "owned_by": "stub"}]}
        )

    async def _serve(self, request: web.Request, body_of: Any, events_of: Any) -> web.StreamResponse:
        raw = await request.read()
        received = Received(
            path=request.path,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=json.loads(raw),
            raw=raw,
            query=dict(request.query),
            peer=request.transport.get_extra_info("peername")[1] if request.transport else 0,
        )
        self.requests.append(received)
        await self._announce()
        try:
            answer = await self._behave(request, received, body_of, events_of)
            received.answered = True
            return answer
        except (asyncio.CancelledError, ConnectionResetError):
            received.cut = True
            await asyncio.shield(self._announce())
            raise

    async def _announce(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _behaviour(self, received: Received) -> str:
        if script := self.scripts.get(received.model):
            return script.pop(0) if len(script) > 1 else script[0]
        if marker := MARKER.search(received.raw):
            return marker[1].decode()
        name, _, _ = received.model.partition(":")
        return received.model if name in NAMED or name in ("status", "slow") else "ok"

    async def _behave(self, request: web.Request, received: Received, body_of: Any, events_of: Any) -> web.StreamResponse:
        name, _, argument = self._behaviour(received).partition(":")
        if name == "barrier":
            await self._wait_at_barrier()
        if name == "hang":
            await asyncio.Event().wait()
        if name == "disconnect":
            return _cut(request)
        if name == "status":
            return _error(int(argument.partition(":")[0]), retry_after=argument.partition(":")[2])
        if name == "complains":
            return _error(400, message=f"Invalid tools: {json.dumps(received.body.get('tools'))}")
        if name == "strict" and (refused := [field for field in ("temperature", "stop", "max_tokens") if field in received.body]):
            return _error(400, code="unsupported_parameter", param=refused[0], message=f"Unsupported parameter: '{refused[0]}'")
        if name == "garbage":
            return web.Response(body=b"<html>not what you asked for</html>", content_type="text/html")
        if name == "exact":
            kind = "text/event-stream" if received.body.get("stream") else "application/json"
            return web.Response(body=self.exact, content_type=kind, headers=HEADERS)
        self._answers += 1
        answer = Answer(
            number=self._answers,
            text=_last_text(received.body) if name == "echo" else self.answer,
            chunks=self.chunks,
            usage=None if name == "no_usage" else self.usage,
            calls=_calls(received.body, name, argument),
            finish="length" if name == "length" else "stop",
            fragment=int(argument or 3) if name == "echo" else None,
        )
        if body_of is _responses_body and received.body.get("store") is not False:
            stream, background = received.body.get("stream"), received.body.get("background")
            whole, given = _responses_body(received.body, answer), received.body["input"]
            items = [{"id": f"in_{at}", "type": "message", **item} for at, item in enumerate(_items(given))]
            goes_on = background and (not stream or name in ("half", "stall"))
            kept = self.kept[whole["id"]] = Kept(whole, self.looks if goes_on else 0, items)
            if background and not stream:
                return web.json_response(kept.now(), headers=HEADERS)
        pause = float(argument) if name == "slow" else 0.0
        if not received.body.get("stream") or events_of is None:
            if name == "stall" or name == "silent":
                await asyncio.Event().wait()
            await asyncio.sleep(pause)
            text = json.dumps(body_of(received.body, answer)).encode()
            return (
                await _half(request, text)
                if name == "half"
                else web.Response(body=text, content_type="application/json", headers=HEADERS)
            )
        return await _stream(request, name, pause, list(events_of(received.body, answer)))

    async def _wait_at_barrier(self) -> None:
        self.waiting += 1
        try:
            if self.barrier_size is not None and self.waiting >= self.barrier_size:
                self._gate.set()
            await self._gate.wait()
        finally:
            self.waiting -= 1


@dataclass(frozen=True)
class Answer:
    """What to say: `calls` are (name, arguments as JSON)."""

    number: int
    text: str
    chunks: int
    usage: tuple[int, int, int, int] | None
    calls: list[tuple[str, str]]
    finish: str
    fragment: int | None = None

    def pieces(self) -> list[str]:
        if self.fragment is not None:
            return [self.text[at : at + self.fragment] for at in range(0, len(self.text), self.fragment)]
        return [f"{self.text} "] * self.chunks


HEADERS = {"x-request-id": "req_stub", "openai-processing-ms": "1", "set-cookie": "tracking=1", "x-internal": "not for apps"}


async def _stream(request: web.Request, name: str, pause: float, events: list[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers={**HEADERS, "content-type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    if name == "silent":
        await asyncio.Event().wait()
    if name == "empty":
        events = []
    if name == "error_event":
        events = [
            *events[:2],
            b'event: error\ndata: {"type":"error","error":{"message":"stub error","type":"server_error","code":null,"param":null}}\n\n',
        ]
    for sent, event in enumerate(events):
        if name == "stall" and sent == 3:
            await asyncio.Event().wait()
        if name == "half" and sent == len(events) // 2:
            return _cut(request)
        await response.write(event)
        if pause:
            await asyncio.sleep(pause)
    await response.write_eof()
    return response


async def _half(request: web.Request, text: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "application/json", "content-length": str(len(text))})
    await response.prepare(request)
    await response.write(text[: len(text) // 2])
    return _cut(request)


def _cut(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.close()
    return web.Response(status=500)


def _error(
    status: int, *, retry_after: str = "", code: str = "stub_error", param: str | None = None, message: str = "the stub refuses"
) -> web.Response:
    headers = {"retry-after": retry_after} if retry_after else {}
    return web.json_response(
        {"error": {"message": message, "type": "stub", "code": code, "param": param}}, status=status, headers=headers
    )


def _items(given: Any) -> list[Json]:
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


def _last_text(body: Json) -> str:
    """The text of the last message or item."""
    given = body.get("messages", body.get("input"))
    last = given if isinstance(given, str) else given[-1].get("content", given[-1].get("output"))
    return last if isinstance(last, str) else "".join(part.get("text", "") for part in last)


def _calls(body: Json, name: str, wanted: str) -> list[tuple[str, str]]:
    if name == "echo_tool":
        return [(wanted, json.dumps({"said": _last_text(body)}))]
    functions = [tool.get("function", tool) for tool in body.get("tools", ()) if "name" in tool.get("function", tool)]
    if name == "tools" and wanted:
        known = {function["name"]: function for function in functions}
        return [(wanted, _arguments(known.get(wanted, {})))]
    count = {"tools": 1, "two_tools": 2}.get(name, 0)
    return [(function["name"], _arguments(function)) for function in functions[:count]]


def _arguments(function: Json) -> str:
    schema = function.get("parameters") or function.get("input_schema") or {}
    made = {"string": "stub", "integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}
    properties = schema.get("properties", {})
    return json.dumps({key: made.get(properties.get(key, {}).get("type"), "stub") for key in schema.get("required", properties)})


def _call_id(answer: Answer, index: int) -> str:
    return f"call_stub_{answer.number}_{index}"


def _chat_usage(answer: Answer) -> Json | None:
    if answer.usage is None:
        return None
    taken, cached, given, reasoning = answer.usage
    return {
        "prompt_tokens": taken,
        "completion_tokens": given,
        "total_tokens": taken + given,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": 0},
    }


def _chat_call(answer: Answer, index: int) -> Json:
    name, arguments = answer.calls[index]
    return {"id": _call_id(answer, index), "type": "function", "function": {"name": name, "arguments": arguments}}


def _chat_body(body: Json, answer: Answer) -> Json:
    message: Json = {"role": "assistant", "content": None if answer.calls else answer.text, "refusal": None}
    if answer.calls:
        message["tool_calls"] = [_chat_call(answer, index) for index in range(len(answer.calls))]
    finish = "tool_calls" if answer.calls else answer.finish
    made = {
        "id": f"chatcmpl-stub-{answer.number}",
        "object": "chat.completion",
        "created": CREATED,
        "model": body.get("model"),
        "choices": [
            {"index": index, "message": message, "logprobs": None, "finish_reason": finish} for index in range(body.get("n") or 1)
        ],
        "service_tier": "default",
        "system_fingerprint": "fp_stub",
    }
    if answer.usage is not None:
        made["usage"] = _chat_usage(answer)
    return made


def _chat_events(body: Json, answer: Answer) -> Iterator[bytes]:
    wants_usage = (body.get("stream_options") or {}).get("include_usage")

    def event(choices: list[Json], usage: Json | None = None) -> bytes:
        made: Json = {
            "id": f"chatcmpl-stub-{answer.number}",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": body.get("model"),
            "service_tier": "default",
            "system_fingerprint": "fp_stub",
            "choices": choices,
        }
        if wants_usage:
            made["usage"] = usage
        return b"data: " + json.dumps(made).encode() + b"\n\n"

    def delta(content: Json, index: int = 0, finish: str | None = None) -> bytes:
        return event([{"index": index, "delta": content, "logprobs": None, "finish_reason": finish}])

    for choice in range(body.get("n") or 1):
        yield delta({"role": "assistant", "content": None if answer.calls else "", "refusal": None}, choice)
        for index in range(len(answer.calls)):
            call = _chat_call(answer, index)
            arguments = call["function"]["arguments"]
            call["function"]["arguments"] = ""
            yield delta({"tool_calls": [{"index": index, **call}]}, choice)
            middle = len(arguments) // 2
            for fragment in (arguments[:middle], arguments[middle:]):
                yield delta({"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}, choice)
        for piece in [] if answer.calls else answer.pieces():
            yield delta({"content": piece}, choice)
        yield delta({}, choice, "tool_calls" if answer.calls else answer.finish)
    if wants_usage and answer.usage is not None:
        yield event([], _chat_usage(answer))
    yield b"data: [DONE]\n\n"


def _responses_output(answer: Answer, text: str) -> list[Json]:
    if answer.calls:
        return [
            {
                "id": f"fc_stub_{answer.number}_{index}",
                "type": "function_call",
                "status": "completed",
                "call_id": _call_id(answer, index),
                "name": name,
                "arguments": arguments,
            }
            for index, (name, arguments) in enumerate(answer.calls)
        ]
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return [{"id": f"msg_stub_{answer.number}", "type": "message", "status": "completed", "role": "assistant", "content": [part]}]


def _response_object(body: Json, answer: Answer, status: str, output: list[Json]) -> Json:
    usage = None
    if status != "in_progress" and answer.usage is not None:
        taken, cached, given, reasoning = answer.usage
        usage = {
            "input_tokens": taken,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": given,
            "output_tokens_details": {"reasoning_tokens": reasoning},
            "total_tokens": taken + given,
        }
    return {
        "id": f"resp_stub_{answer.number}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": body.get("model"),
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "store": body.get("store", True),
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage,
        "user": None,
        "metadata": body.get("metadata") or {},
    }


def _responses_body(body: Json, answer: Answer) -> Json:
    status = "incomplete" if answer.finish == "length" else "completed"
    return _response_object(body, answer, status, _responses_output(answer, answer.text))


def _responses_events(body: Json, answer: Answer) -> Iterator[bytes]:
    number = -1

    def event(kind: str, **fields: Any) -> bytes:
        nonlocal number
        number += 1
        return f"event: {kind}\ndata: {json.dumps({'type': kind, 'sequence_number': number, **fields})}\n\n".encode()

    status = "incomplete" if answer.finish == "length" else "completed"
    output = _responses_output(answer, "".join(answer.pieces()))
    yield event("response.created", response=_response_object(body, answer, "in_progress", []))
    yield event("response.in_progress", response=_response_object(body, answer, "in_progress", []))
    for index, item in enumerate(output):
        where = {"item_id": item["id"], "output_index": index}
        if item["type"] == "function_call":
            yield event("response.output_item.added", output_index=index, item={**item, "status": "in_progress", "arguments": ""})
            middle = len(item["arguments"]) // 2
            for fragment in (item["arguments"][:middle], item["arguments"][middle:]):
                yield event("response.function_call_arguments.delta", **where, delta=fragment)
            yield event("response.function_call_arguments.done", **where, name=item["name"], arguments=item["arguments"])
        else:
            part = item["content"][0]
            yield event("response.output_item.added", output_index=index, item={**item, "status": "in_progress", "content": []})
            yield event("response.content_part.added", **where, content_index=0, part={**part, "text": ""})
            for piece in answer.pieces():
                yield event("response.output_text.delta", **where, content_index=0, delta=piece, logprobs=[])
            yield event("response.output_text.done", **where, content_index=0, text=part["text"], logprobs=[])
            yield event("response.content_part.done", **where, content_index=0, part=part)
        yield event("response.output_item.done", output_index=index, item=item)
    yield event(f"response.{status}", response=_response_object(body, answer, status, output))


def _embeddings_body(body: Json, answer: Answer) -> Json:
    given = body.get("input")
    # A list of numbers is one text as tokens; a list of anything else is several texts.
    count = len(given) if isinstance(given, list) and given and not isinstance(given[0], int) else 1
    vectors = [
        {"object": "embedding", "index": index, "embedding": [0.25] * (body.get("dimensions") or 8)} for index in range(count)
    ]
    return {"object": "list", "data": vectors, "model": body.get("model"), "usage": {"prompt_tokens": 8, "total_tokens": 8}}


def _messages_content(answer: Answer) -> list[Json]:
    if answer.calls:
        return [
            {"type": "tool_use", "id": f"toolu_stub_{answer.number}_{index}", "name": name, "input": json.loads(arguments)}
            for index, (name, arguments) in enumerate(answer.calls)
        ]
    return [{"type": "text", "text": answer.text}]


def _messages_usage(answer: Answer) -> Json:
    taken, cached, given, _ = answer.usage or (0, 0, 0, 0)
    return {
        "input_tokens": taken - cached,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": given,
    }


def _messages_body(body: Json, answer: Answer) -> Json:
    return {
        "id": f"msg_stub_{answer.number}",
        "type": "message",
        "role": "assistant",
        "model": body.get("model"),
        "content": _messages_content(answer),
        "stop_reason": "tool_use" if answer.calls else "max_tokens" if answer.finish == "length" else "end_turn",
        "stop_sequence": None,
        "usage": _messages_usage(answer),
    }


def _messages_events(body: Json, answer: Answer) -> Iterator[bytes]:
    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    whole = _messages_body(body, answer)
    yield event(
        "message_start", message={**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    )
    for index, block in enumerate(whole["content"]):
        if block["type"] == "tool_use":
            yield event("content_block_start", index=index, content_block={**block, "input": {}})
            yield event(
                "content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            )
        else:
            yield event("content_block_start", index=index, content_block={"type": "text", "text": ""})
            for piece in answer.pieces():
                yield event("content_block_delta", index=index, delta={"type": "text_delta", "text": piece})
        yield event("content_block_stop", index=index)
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield event("message_delta", delta=delta, usage={"output_tokens": whole["usage"]["output_tokens"]})
    yield event("message_stop")


@contextlib.contextmanager
def serving(**options: Any) -> Iterator[StubProvider]:
    """A StubProvider in a thread of its own, for tests that are not async."""
    stub = StubProvider(**options)
    ready = threading.Event()
    stop: list[Any] = []

    async def run() -> None:
        ended = asyncio.Event()
        stop.append(lambda: loop.call_soon_threadsafe(ended.set))
        loop = asyncio.get_running_loop()
        async with stub:
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    if not ready.wait(10):
        raise RuntimeError("the stub provider did not start")
    try:
        yield stub
    finally:
        stop[0]()
        thread.join(10)


@contextlib.asynccontextmanager
async def several(count: int) -> AsyncIterator[list[StubProvider]]:
    """Several providers, for fallback chains."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(StubProvider()) for _ in range(count)]


async def _main() -> None:
    parser = argparse.ArgumentParser(description="A scriptable OpenAI-compatible provider on loopback.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--chunks", type=int, default=20)
    options = parser.parse_args()
    async with StubProvider(port=options.port, chunks=options.chunks) as stub:
        sys.stdout.write(f"{stub.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main())
