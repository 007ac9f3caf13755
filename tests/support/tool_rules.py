"""Rules, provider answers and an app for tests of tool calls over HTTP: a small catalogue, and calls as a provider would send them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import httpx
from governed import deployment, rule_files
from running import Running
from stub_provider import StubProvider

from routing_rules.load import COMPATIBLE_FEATURES, MESSAGES_FEATURES

Body = dict[str, Any]
Call = tuple[str, dict[str, Any]]

TOOLS = """tools:
  - {id: web, owner: web@example.org, capabilities: [reads_untrusted, egress], functions: [search_web], hosted: ["web_search*"], highest_read: public}
  - {id: customers, owner: crm@example.org, capabilities: [reads_private], functions: [lookup_customer], highest_read: confidential}
  - {id: mail, owner: mail@example.org, capabilities: [egress], functions: [send_email], destination_arguments: [to]}
  - {id: poll, owner: ops@example.org, capabilities: [pure], functions: [get_status, get_page], highest_read: public}
  - {id: notes, owner: ops@example.org, capabilities: [writes_state], functions: [write_note], highest_read: public,
     arguments_schema: '{"type": "object", "properties": {"text": {"type": "string", "maxLength": 20}}}'}
  - {id: pay, owner: finance@example.org, capabilities: [spends_money], functions: [pay], destination_arguments: [iban]}
  - {id: asks, owner: owner@example.org, capabilities: [pure], functions: [ask_first], approval_boundary: every_call, highest_read: public}
"""
SETS = """sets:
  - id: none
    owner: o@example.org
    business_purpose: nothing
    approver: approver@example.org
    review_by: 2099-01-01
    tools: []
  - id: standard
    owner: o@example.org
    business_purpose: tests
    approver: approver@example.org
    review_by: 2099-01-01
    tools: [web, customers, mail, poll, notes, pay, asks]
"""
APPS = """apps:
  - {id: agent, owner: agent@example.org, clearance: restricted, ceiling: standard, purposes: [general]}
  - {id: other, owner: other@example.org, clearance: restricted, ceiling: standard, purposes: [general]}
"""
NAMES = ("search_web", "lookup_customer", "send_email", "get_status", "get_page", "write_note", "pay", "ask_first")
OFFERED = [{"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}} for name in NAMES]
FLAT = [{"type": "function", **tool["function"]} for tool in OFFERED]  # type: ignore[dict-item]
SCHEMED = [{"name": name, "input_schema": {"type": "object", "properties": {}}} for name in NAMES]
FEATURES = f"features: [{', '.join(sorted(COMPATIBLE_FEATURES | MESSAGES_FEATURES))}]"
PATHS = {"chat": ("chat/completions", OFFERED), "responses": ("responses", FLAT), "messages": ("messages", SCHEMED)}

SEARCH = "web_search"
"""A call of this name is one that the provider makes and answers by itself."""

_ids = itertools.count(1)


def tool_rules(stub: StubProvider, *, budget: str = "cost_usd: 1000", sets: str = SETS, more: str = "") -> dict[str, str]:
    """Rule files: every tool of the catalogue in one set, and a deployment that is cleared for everything."""
    rules = rule_files([deployment("m", stub.url, clearance="restricted", more=FEATURES)], budget=budget, routes=more)
    return {**rules, "tools.yaml": TOOLS, "entitlements.yaml": sets, "apps.yaml": APPS}


def answers(
    stub: StubProvider,
    *calls: Call,
    text: str = "",
    api: str = "chat",
    stream: bool = False,
    ids: Sequence[str] = (),
    searches: int = 0,
) -> list[str]:
    """Let the provider's next answer make these calls, after `searches` of its own; their ids."""
    made = list(ids) or [f"call_{next(_ids):06d}" for _ in calls]
    build = {
        ("chat", False): _chat,
        ("chat", True): _chat_stream,
        ("responses", False): _response,
        ("responses", True): _response_stream,
        ("messages", False): _message,
        ("messages", True): _message_stream,
    }
    own: list[tuple[str, Call]] = [(f"srvtoolu_{next(_ids):06d}", (SEARCH, {"query": "x"})) for _ in range(searches)]
    stub.exact = build[api, stream](text, [*own, *zip(made, calls, strict=True)])
    stub.script("m", "exact")
    return made


def _usage(api: str) -> Body:
    if api == "chat":
        return {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


def _chat(text: str, calls: list[tuple[str, Call]]) -> bytes:
    message: Body = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = [
            {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(args)}}
            for id, (name, args) in calls
        ]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": _usage("chat"),
        }
    ).encode()


def _chat_stream(text: str, calls: list[tuple[str, Call]]) -> bytes:
    deltas: list[tuple[Body, str | None]] = [({"role": "assistant", "content": text}, None)]
    for index, (id, (name, args)) in enumerate(calls):
        written = json.dumps(args)
        deltas.append(
            ({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}]}, None)
        )
        for piece in (written[: len(written) // 2], written[len(written) // 2 :]):
            deltas.append(({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, None))
    deltas.append(({}, "tool_calls" if calls else "stop"))
    events = [
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        }
        for delta, reason in deltas
    ]
    events.append(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [],
            "usage": _usage("chat"),
        }
    )
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def _response_body(text: str, calls: list[tuple[str, Call]], number: int) -> Body:
    output: list[Body] = []
    if text:
        part = {"type": "output_text", "text": text, "annotations": []}
        output.append({"type": "message", "id": f"msg_{number}", "status": "completed", "role": "assistant", "content": [part]})
    for id, (name, args) in calls:
        if name == SEARCH:
            output.append({"type": "web_search_call", "id": id, "status": "completed", "action": {"type": "search", **args}})
            continue
        output.append(
            {
                "type": "function_call",
                "id": f"fc_{id}",
                "call_id": id,
                "name": name,
                "arguments": json.dumps(args),
                "status": "completed",
            }
        )
    return {
        "id": f"resp_{number:08d}",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "m",
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": _usage("responses"),
    }


def _response(text: str, calls: list[tuple[str, Call]]) -> bytes:
    return json.dumps(_response_body(text, calls, next(_ids))).encode()


def _response_stream(text: str, calls: list[tuple[str, Call]]) -> bytes:
    body = _response_body(text, calls, next(_ids))
    events: list[Body] = [
        {"type": "response.created", "response": {**body, "status": "in_progress", "output": [], "usage": None}}
    ]
    for index, item in enumerate(body["output"]):
        begun = {**item, "arguments": ""} if item["type"] == "function_call" else item
        if item["type"] == "message":
            begun = {**item, "content": []}
        events.append({"type": "response.output_item.added", "output_index": index, "item": {**begun, "status": "in_progress"}})
        if item["type"] == "function_call":
            where = {"item_id": item["id"], "output_index": index}
            events.append({"type": "response.function_call_arguments.delta", **where, "delta": item["arguments"]})
            events.append(
                {"type": "response.function_call_arguments.done", **where, "arguments": item["arguments"], "name": item["name"]}
            )
        elif item["type"] == "message":
            where = {"item_id": item["id"], "output_index": index, "content_index": 0}
            events.append({"type": "response.output_text.delta", **where, "delta": text, "logprobs": []})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": "response.completed", "response": body})
    told = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in told)


def _message_body(text: str, calls: list[tuple[str, Call]]) -> Body:
    content: list[Body] = [{"type": "text", "text": text}] if text else []
    for id, (name, args) in calls:
        own = name == SEARCH
        content.append({"type": "server_tool_use" if own else "tool_use", "id": id, "name": name, "input": args})
        if own:
            content.append({"type": "web_search_tool_result", "tool_use_id": id, "content": []})
    return {
        "id": f"msg_{next(_ids):08d}",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": content,
        "stop_reason": "tool_use" if calls else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


def _message(text: str, calls: list[tuple[str, Call]]) -> bytes:
    return json.dumps(_message_body(text, calls)).encode()


def _message_stream(text: str, calls: list[tuple[str, Call]]) -> bytes:
    body = _message_body(text, calls)
    events: list[Body] = [{"type": "message_start", "message": {**body, "content": [], "stop_reason": None}}]
    for index, block in enumerate(body["content"]):
        if block["type"] == "text":
            begun: Body = {**block, "text": ""}
            deltas: list[Body] = [{"type": "text_delta", "text": text}]
        elif block["type"] == "web_search_tool_result":
            begun, deltas = block, []
        else:
            written = json.dumps(block["input"])
            begun = {**block, "input": {}}
            deltas = [
                {"type": "input_json_delta", "partial_json": piece}
                for piece in (written[: len(written) // 2], written[len(written) // 2 :])
            ]
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": body["stop_reason"], "stop_sequence": None}
    events += [{"type": "message_delta", "delta": ending, "usage": {"output_tokens": 5}}, {"type": "message_stop"}]
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


class Agent:
    """An app that offers all tools and keeps its conversation, in any wire format, in one piece or as a stream."""

    def __init__(
        self,
        service: Running,
        key: str,
        stub: StubProvider,
        *,
        api: str = "chat",
        stream: bool = False,
        http: httpx.Client | None = None,
    ) -> None:
        self.url, self.key, self.stub, self.api, self.stream = service.base_url + "/v1/", key, stub, api, stream
        self.history: list[Body] = []
        self.headers: dict[str, str] = {}
        self.tools: list[Body] | None = None
        self.more: Body = {}
        self._http = http  # one that is kept spares each request a connection

    def ask(self, text: str, *calls: Call, said: str = "", **headers: str) -> httpx.Response:
        """Say something; the provider answers with these calls."""
        self.history.append({"role": "user", "content": text})
        return self.send(*calls, said=said, **headers)

    def send(self, *calls: Call, said: str = "", ids: Sequence[str] = (), **headers: str) -> httpx.Response:
        """Send the conversation as it stands; the provider answers with these calls."""
        answers(self.stub, *calls, text=said, api=self.api, stream=self.stream, ids=ids)
        return self.post(**headers)

    def post(self, **headers: str) -> httpx.Response:
        """Send the conversation, whatever the provider does."""
        path, offered = PATHS[self.api]
        body: Body = {"model": "auto", "stream": self.stream, "tools": self.tools or offered, **self.more}
        body["input" if self.api == "responses" else "messages"] = self.history
        if self.api == "messages":
            body["max_tokens"] = 256
        told = {"authorization": f"Bearer {self.key}", **self.headers}
        told |= {name.replace("_", "-"): value for name, value in headers.items()}
        if self._http is not None:
            return self._http.post(self.url + path, json=body, headers=told)
        return httpx.post(self.url + path, json=body, headers=told, timeout=60)

    def called(self, answer: httpx.Response) -> list[tuple[str, str]]:
        """(id, name) of the calls that reached the app."""
        if answer.status_code != 200:
            return []
        if self.stream:
            return _streamed_calls(answer.text)
        body = answer.json()
        if self.api == "chat":
            return [(call["id"], call["function"]["name"]) for call in body["choices"][0]["message"].get("tool_calls") or ()]
        if self.api == "messages":
            return [(block["id"], block["name"]) for block in body["content"] if block["type"] == "tool_use"]
        return [(item["call_id"], item["name"]) for item in body["output"] if item["type"] == "function_call"]

    def results(self, answer: httpx.Response, *results: Any) -> None:
        """Carry out the calls of an answer: what they were goes into the history, with these results."""
        calls = self.called(answer)
        assert len(calls) == len(results), answer.text
        if self.api == "chat":
            made = [{"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}} for id, name in calls]
            self.history.append({"role": "assistant", "content": None, "tool_calls": made})
        if self.api == "messages":
            uses = [{"type": "tool_use", "id": id, "name": name, "input": {}} for id, name in calls]
            told = [result if isinstance(result, str) else json.dumps(result) for result in results]
            given = [
                {"type": "tool_result", "tool_use_id": id, "content": text} for (id, _), text in zip(calls, told, strict=True)
            ]
            self.history += [{"role": "assistant", "content": uses}, {"role": "user", "content": given}]
            return
        for (id, name), result in zip(calls, results, strict=True):
            text = result if isinstance(result, str) else json.dumps(result)
            if self.api == "chat":
                self.history.append({"role": "tool", "tool_call_id": id, "content": text})
            else:
                self.history.append({"type": "function_call", "call_id": id, "name": name, "arguments": "{}"})
                self.history.append({"type": "function_call_output", "call_id": id, "output": text})

    def code(self, answer: httpx.Response) -> str | None:
        """The code of the error that an answer is, or ends with."""
        error = self.error(answer)
        return None if error is None else str(error["code"])

    def approval(self, answer: httpx.Response) -> str:
        """The id of the approval that an answer waits for."""
        error = self.error(answer)
        assert error is not None, answer.text
        return str(error["approval"]["id"])

    def error(self, answer: httpx.Response) -> Body | None:
        """The error that an answer is, or ends with."""
        if answer.status_code != 200:
            return dict(answer.json()["error"])
        for line in answer.text.splitlines() if self.stream else ():
            if line.startswith("data: {"):
                event = json.loads(line[6:])
                if event.get("type") == "error" or event.get("error"):
                    return dict(event.get("error") or event)
        return None


def _streamed_calls(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if not line.startswith("data: {"):
            continue
        event = json.loads(line[6:])
        for choice in event.get("choices") or ():
            found += [
                (call["id"], call["function"]["name"]) for call in choice["delta"].get("tool_calls") or () if call.get("id")
            ]
        if event.get("type") == "content_block_start" and event["content_block"]["type"] == "tool_use":
            found.append((event["content_block"]["id"], event["content_block"]["name"]))
        if event.get("type") == "response.output_item.done" and event["item"]["type"] == "function_call":
            found.append((event["item"]["call_id"], event["item"]["name"]))
    return found
