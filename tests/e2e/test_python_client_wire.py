"""What stands on the wire on both sides of the router: the provider's bytes as the app gets them, the app's request as the provider does."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from governed import deployment, rule_files
from running import Running, running
from stub_provider import Received, StubProvider, serving

ASK: Any = [{"role": "user", "content": "What is the weather in Lisbon?"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Any = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}
DROP: Any = {"type": "function", "function": {"name": "drop_database", "parameters": PARAMETERS}}
FLAT: Any = [{"type": "function", **tool["function"]} for tool in (WEATHER, DROP)]
PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SECRET_ARGUMENT = "only-the-refused-call-says-this"

CHAT_JSON = (
    b'{ "id":"chatcmpl-1",\n\t"vendor_note": "caf\\u00e9 \\ud83d\\ude00", "object":"chat.completion","created":1750000000,'
    b'"model" : "m-2026", "choices":[{"message":{"content":"Sunny\\/warm","role":"assistant","refusal":null},'
    b'"logprobs":{"content":[{"token":"S","logprob":-1.50E-2,"bytes":[83],"top_logprobs":[]}],"refusal":null},'
    b'"finish_reason":"stop","index":0}],"usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15 } }\n'
)
CALL_JSON = (
    b'{"id":"chatcmpl-2","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"tool_calls",'
    b'"message":{"role":"assistant","content":null,"tool_calls":[{"function":{"arguments":"{\\"city\\" : \\"Lisbon\\"}",'
    b'"name":"get_weather"},"id":"call_exact","type":"function"}]}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
)
RESPONSE_JSON = (
    b'{"object":"response","id":"resp_exact","created_at":1.0,"status":"completed", "model":"m","vendor":[1, 2],'
    b'"output":[{"type":"reasoning","id":"rs_1","summary":[ ]},{"content":[{"type":"output_text","text":"Sunny","annotations":[]}],'
    b'"id":"msg_1","role":"assistant","status":"completed","type":"message"}],"parallel_tool_calls":true,"tool_choice":"auto",'
    b'"tools":[],"usage":{"input_tokens":9,"output_tokens":2,"total_tokens":11}}'
)
CHUNK = b'{"id":"chatcmpl-3","object":"chat.completion.chunk","created":1,"model":"m","choices":%s}'
LAST_CHUNK = CHUNK % b"[]" + b"\r\n\r\n"
CHAT_EVENTS = [
    b": the provider says hello\n\n",
    b"data:" + CHUNK % b'[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]' + b"\r\n\r\n",
    b"id: 7\ndata: " + CHUNK % b'[{"index":0,"delta":{"content":"Sun\\u006ey"},"vendor":1.0}]' + b"\n\n",
    b"event: ping\n\n",
    b"data: " + CHUNK % b'[{"index":0,"delta":{},"finish_reason":"stop"}]' + b"\n\n",
    b'data: {"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":2,"total_tokens":14},"id":"chatcmpl-3"}\n\n',
    b"data: [DONE]\n\n",
]
USAGE_EVENT = CHAT_EVENTS[5]
RESPONSE_EVENTS = [
    b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{"id":"resp_exact","object":"response",'
    b'"status":"in_progress","output":[]}}\n\n',
    b'event: keepalive\ndata: {"type":"keepalive", "sequence_number":1}\n\n',
    b'data: {"type":"response.completed","sequence_number":2,"response":' + RESPONSE_JSON + b"}\n\n",
]
EMBEDDINGS_JSON = (
    b'{ "data":[{"embedding":[0.1, -2.5e-3],"index":0,"object":"embedding"}],"model":"e","object":"list",'
    b'"usage":{"prompt_tokens":2,"total_tokens":2}}'
)


class World:
    """A service with three deployments of a stub behind it, and a client of it."""

    def __init__(self, service: Running, stub: StubProvider) -> None:
        self.service = service
        self.stub = stub
        self.key = service.key()
        self.client = openai.OpenAI(base_url=service.base_url + "/v1", api_key=self.key, max_retries=0)

    def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        told = {"authorization": f"Bearer {self.key}", **headers}
        return httpx.post(f"{self.service.base_url}/v1/{path}", json={"model": "auto", **body}, headers=told, timeout=30)

    def answers(self, exact: bytes) -> None:
        """Every deployment answers with these bytes from now on."""
        self.stub.exact = exact
        for name in ("m", "other", "embed"):
            self.stub.script(name, "exact")

    @property
    def received(self) -> Received:
        return self.stub.requests[-1]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving() as stub:
        deployments = [
            deployment("m", stub.url),
            deployment("other", stub.url, more="allowed_fields: [top_k, 'messages[].mood']"),
            deployment("embed", stub.url, more="features: [embeddings]"),
        ]
        with running(tmp_path_factory.mktemp("wire") / "data", rules=rule_files(deployments)) as service:
            yield World(service, stub)


@pytest.fixture
def world(started: World) -> World:
    started.stub.requests.clear()
    started.stub.scripts.clear()
    return started


# ── what comes back ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "body", "exact"),
    [
        ("chat/completions", {"messages": ASK}, CHAT_JSON),
        ("chat/completions", {"messages": ASK, "tools": [WEATHER]}, CALL_JSON),
        ("responses", {"input": "What is the weather?"}, RESPONSE_JSON),
        ("embeddings", {"model": "embed", "input": "weather"}, EMBEDDINGS_JSON),
        ("chat/completions", {"messages": ASK, "stream": True, "stream_options": {"include_usage": True}}, b"".join(CHAT_EVENTS)),
        ("responses", {"input": "What is the weather?", "stream": True}, b"".join(RESPONSE_EVENTS)),
    ],
    ids=["chat", "chat with a granted call", "response", "embeddings", "chat stream", "response stream"],
)
def test_an_unusually_written_answer_is_not_rewritten(world: World, path: str, body: dict[str, Any], exact: bytes) -> None:
    world.answers(exact)
    assert world.post(path, body).content == exact


def test_the_usage_that_only_the_router_wanted_is_all_that_is_left_out_of_a_stream(world: World) -> None:
    world.answers(b"".join(CHAT_EVENTS))
    told = world.post("chat/completions", {"messages": ASK, "stream": True})
    assert world.received.body["stream_options"] == {"include_usage": True}
    assert told.content == b"".join(event for event in CHAT_EVENTS if event is not USAGE_EVENT)


def test_of_the_providers_headers_only_the_useful_ones_come_through(world: World) -> None:
    told = world.post("chat/completions", {"messages": ASK}).headers
    assert told["x-upstream-request-id"] == "req_stub"
    assert told["openai-processing-ms"] == "1"
    assert told["x-request-id"].startswith("req_")
    assert told["x-request-id"] != "req_stub"
    assert not {"set-cookie", "x-internal", "server"} & set(told)


def test_vectors_packed_by_the_provider_reach_the_client(world: World) -> None:
    packed = base64.b64encode(struct.pack("<3f", 0.5, -0.25, 2.0)).decode()
    world.answers(EMBEDDINGS_JSON.replace(b"[0.1, -2.5e-3]", f'"{packed}"'.encode()))
    assert world.client.embeddings.create(model="embed", input="weather").data[0].embedding == [0.5, -0.25, 2.0]
    assert world.received.body == {"model": "embed", "input": "weather", "encoding_format": "base64"}


# ── what was not granted ──────────────────────────────────────────────────────────────────────────────────────────────


def chat_call(index: int, name: str, argument: str) -> dict[str, Any]:
    return {
        "index": index,
        "id": f"call_{name}",
        "type": "function",
        "function": {"name": name, "arguments": json.dumps({"city": argument})},
    }


def interleaved(*names: str) -> bytes:
    """A chat stream that calls these tools in parallel, fragment by fragment."""
    calls = [chat_call(index, name, "Lisbon" if name == "get_weather" else SECRET_ARGUMENT) for index, name in enumerate(names)]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "Let me look."}]
    deltas += [{"tool_calls": [{**call, "function": {**call["function"], "arguments": ""}}]} for call in calls]
    for half in (0, 1):
        for call in calls:
            written = call["function"]["arguments"]
            part = written[: len(written) // 2] if half == 0 else written[len(written) // 2 :]
            deltas.append({"tool_calls": [{"index": call["index"], "function": {"arguments": part}}]})
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
    events = [b"data: " + CHUNK % json.dumps([choice]).encode() + b"\n\n" for choice in choices]
    return b"".join([*events, b"data: [DONE]\n\n"])


def whole(*names: str) -> bytes:
    """The same as one completion."""
    calls = [chat_call(index, name, "Lisbon" if name == "get_weather" else SECRET_ARGUMENT) for index, name in enumerate(names)]
    message = {"role": "assistant", "content": "Let me look.", "tool_calls": calls}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "tool_calls", "message": message}
    return json.dumps({"id": "chatcmpl-4", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}).encode()


def items(*names: str) -> list[dict[str, Any]]:
    arguments = {name: json.dumps({"city": "Lisbon" if name == "get_weather" else SECRET_ARGUMENT}) for name in names}
    return [
        {
            "type": "function_call",
            "id": f"fc_{name}",
            "call_id": f"call_{name}",
            "name": name,
            "arguments": arguments[name],
            "status": "completed",
        }
        for name in names
    ]


def response(*names: str) -> dict[str, Any]:
    return {**json.loads(RESPONSE_JSON), "output": items(*names)}


def response_stream(*names: str) -> bytes:
    """A responses stream with these calls, each argument given thrice, as the format does."""
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {**response(), "status": "in_progress"}}]
    for index, item in enumerate(items(*names)):
        where: dict[str, Any] = {"output_index": index, "item_id": item["id"]}
        events += [
            {"type": "response.output_item.added", "output_index": index, "item": {**item, "arguments": ""}},
            {"type": "response.function_call_arguments.delta", **where, "delta": item["arguments"]},
            {"type": "response.function_call_arguments.done", **where, "name": item["name"], "arguments": item["arguments"]},
            {"type": "response.output_item.done", "output_index": index, "item": item},
        ]
    events.append({"type": "response.completed", "response": response(*names)})
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n".encode()
        for number, event in enumerate(events)
    )


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_the_granted_sibling_of_a_refused_call_is_kept_in_a_chat(world: World, stream: bool) -> None:
    calls = ("drop_database", "get_weather", "run_shell_command")
    world.answers(interleaved(*calls) if stream else whole(*calls))
    raw = world.post("chat/completions", {"messages": ASK, "tools": [WEATHER, DROP], "stream": stream})
    assert SECRET_ARGUMENT not in raw.text
    assert "call_drop_database" not in raw.text
    choice: Any
    if stream:
        with world.client.chat.completions.stream(model="auto", messages=ASK, tools=[WEATHER, DROP]) as events:
            choice = events.get_final_completion().choices[0]
    else:
        choice = world.client.chat.completions.create(model="auto", messages=ASK, tools=[WEATHER, DROP]).choices[0]
    assert choice.message.tool_calls is not None
    ((call_id, name, arguments),) = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls]
    assert (call_id, name, json.loads(arguments)) == ("call_get_weather", "get_weather", {"city": "Lisbon"})
    assert choice.finish_reason == "tool_calls"


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_the_granted_sibling_of_a_refused_call_is_kept_in_a_response(world: World, stream: bool) -> None:
    calls = ("drop_database", "get_weather", "run_shell_command")
    world.answers(response_stream(*calls) if stream else json.dumps(response(*calls)).encode())
    raw = world.post("responses", {"input": "What is the weather?", "tools": FLAT, "stream": stream})
    assert SECRET_ARGUMENT not in raw.text
    assert "call_drop_database" not in raw.text
    if stream:
        with world.client.responses.stream(model="auto", input="What is the weather?", tools=FLAT) as events:
            kinds = [event.type for event in events]
            final: Any = events.get_final_response()
        assert kinds.count("response.function_call_arguments.done") == 1
    else:
        final = world.client.responses.create(model="auto", input="What is the weather?", tools=FLAT)
    called = [(item.call_id, item.name, json.loads(item.arguments)) for item in final.output if item.type == "function_call"]
    assert called == [("call_get_weather", "get_weather", {"city": "Lisbon"})]


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize(
    "insisting", [{"response_format": {"type": "json_object"}}, {"tool_choice": "required"}], ids=["json-mode", "required"]
)
def test_where_structure_was_asked_for_a_refused_call_is_an_error_and_not_prose(
    world: World, stream: bool, insisting: dict[str, Any]
) -> None:
    world.answers(interleaved("drop_database") if stream else whole("drop_database"))
    asking: dict[str, Any] = {"model": "auto", "messages": ASK, "tools": [WEATHER, DROP], **insisting}
    if stream:
        with pytest.raises(openai.APIError, match="drop_database") as refused:
            list(world.client.chat.completions.create(**asking, stream=True))
    else:
        with pytest.raises(openai.PermissionDeniedError, match="drop_database") as refused:
            world.client.chat.completions.create(**asking)
    assert refused.value.code == "tool_not_entitled"


def test_nothing_of_an_answer_to_an_app_without_tools_is_a_call(world: World) -> None:
    world.answers(whole("get_weather"))
    choice = world.client.chat.completions.create(model="auto", messages=ASK).choices[0]
    assert choice.message.tool_calls is None
    assert choice.finish_reason == "stop"
    world.answers(json.dumps(response("get_weather")).encode())
    answered = world.client.responses.create(model="auto", input="What is the weather?")
    assert [item.type for item in answered.output] == ["message"]


# ── what goes out ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_content_of_every_kind_goes_out_as_it_came_in(world: World) -> None:
    messages: Any = [
        {"role": "system", "content": "Answer in one line."},
        {"role": "developer", "content": [{"type": "text", "text": "No jokes — naïve ones least of all."}]},
        {
            "role": "user",
            "name": "traveller",
            "content": [
                {"type": "text", "text": "Which colour?"},
                {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
            ],
        },
    ]
    world.client.chat.completions.create(
        model="auto", messages=messages, n=2, logprobs=True, top_logprobs=3, seed=7, stop=["END"], parallel_tool_calls=False,
        tools=[WEATHER], tool_choice="auto", presence_penalty=0.5, logit_bias={"50256": -100}, user="someone",
    )  # fmt: skip
    sent = world.received.body
    assert sent.pop("model") == "m"
    assert sent.pop("max_completion_tokens") == 256
    assert sent == {
        "messages": messages, "n": 2, "logprobs": True, "top_logprobs": 3, "seed": 7, "stop": ["END"], "parallel_tool_calls": False,
        "tools": [WEATHER], "tool_choice": "auto", "presence_penalty": 0.5, "logit_bias": {"50256": -100}, "user": "someone",
    }  # fmt: skip


def test_what_the_clients_helpers_add_to_a_call_comes_in_and_does_not_go_out(world: World) -> None:
    (call,) = items("get_weather")
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "{}"}
    given = [{"role": "user", "content": "What is the weather?"}, {**call, "parsed_arguments": {"city": "Lisbon"}}, result]
    assert world.post("responses", {"input": given}).status_code == 200
    assert world.received.body["input"] == [given[0], call, result]


def test_only_known_headers_go_out(world: World) -> None:
    extra = {
        "x-router-purpose": "general",
        "x-router-debug": "1",
        "x-session-id": "headers",
        "cookie": "a=b",
        "x-forwarded-for": "10.0.0.1",
        "x-entitlement-token": "forged",
        "openai-organization": "org-of-the-app",
    }
    assert world.post("chat/completions", {"messages": ASK}, **extra).status_code == 200
    assert set(world.received.headers) == {
        *("host", "content-type", "content-length", "accept", "accept-encoding", "user-agent"),
    }
    assert world.key not in json.dumps(world.received.headers)


def test_who_asks_for_detail_is_told_why_it_was_decided_so(world: World) -> None:
    mail = "Write to ana.silva@brightwater.pt about the meeting of tomorrow."
    answer = world.post("chat/completions", {"messages": [{"role": "user", "content": mail}]}, **{"x-router-debug": "1"})
    told = json.loads(answer.headers["x-router-debug"])
    assert answer.headers["x-router-rule"] in told["matched"]
    assert answer.headers["x-router-model"] in told["candidates"]
    assert told["findings"] == {"pii/email_address": 1}
    assert told["state"] == "complete"
    assert {"classify", "decide"} <= set(told["timings_us"])
    assert "brightwater" not in answer.headers["x-router-debug"]
    assert "x-router-debug" not in world.post("chat/completions", {"messages": ASK}).headers


def test_a_wider_limit_than_the_rules_is_cut_and_a_narrower_one_kept(world: World) -> None:
    for asked, sent in (({"max_tokens": 9_999}, 256), ({"max_completion_tokens": 20}, 20), ({}, 256)):
        world.post("chat/completions", {"messages": ASK, **asked})
        assert world.received.body["max_completion_tokens"] == sent
        assert "max_tokens" not in world.received.body
    for asked, sent in (({"max_output_tokens": 9_999}, 256), ({"max_output_tokens": 20}, 20), ({}, 256)):
        world.post("responses", {"input": "Weather?", **asked})
        assert world.received.body["max_output_tokens"] == sent


def test_hosted_and_foreign_tools_are_cut_like_functions(world: World) -> None:
    tools: Any = [
        *FLAT,
        {"type": "web_search"},
        {"type": "computer_use_preview", "display_width": 8, "display_height": 8, "environment": "linux"},
        {"type": "mcp", "server_label": "anyone", "server_url": "https://mcp.example.net"},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "tool_of_tomorrow", "anything": 1},
    ]
    told = world.post("responses", {"input": "What is the weather?", "tools": tools})
    assert told.status_code == 200, told.text
    sent = [tool.get("name", tool["type"]) for tool in world.received.body["tools"]]
    assert sent == ["get_weather", "web_search"]
    withheld = dict(each.split(";") for each in told.headers["x-router-tools-withheld"].split(", "))
    assert withheld["drop_database"] == "over_ceiling"
    assert withheld["tool_of_tomorrow"] == "unregistered"
    assert len(withheld) == 5


def test_a_field_within_a_message_goes_only_where_the_catalogue_allows_it(world: World) -> None:
    told = world.post("chat/completions", {"messages": [{**ASK[0], "mood": "calm"}]})
    assert told.headers["x-router-model"] == "other"
    assert world.received.body["messages"][0]["mood"] == "calm"
    refused = world.post("chat/completions", {"messages": [{**ASK[0], "moods": "calm"}]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "messages[0].moods")


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_held_state_goes_back_to_its_deployment_also_where_another_comes_first(world: World, stream: bool) -> None:
    # `top_k` is taken by `other` alone, which therefore answers although `m` stands before it.
    world.stub.script("other", "ok")
    first = world.post("responses", {"input": "Remember: blue.", "top_k": 3})
    assert first.headers["x-router-model"] == "other"
    again = world.post("responses", {"input": "Which colour?", "previous_response_id": first.json()["id"], "stream": stream})
    assert again.headers["x-router-model"] == "other"
    assert again.headers["x-router-session"] == first.headers["x-router-session"]
    assert world.received.body["previous_response_id"] == first.json()["id"]
    # Not even when it fails: the state is nowhere else.
    world.stub.script("other", "status:500")
    failed = world.post("responses", {"input": "Which colour?", "previous_response_id": first.json()["id"], "stream": stream})
    assert failed.status_code == 502
    assert {received.model for received in world.stub.requests} == {"other"}


def test_an_embedding_that_fails_is_not_tried_elsewhere(world: World) -> None:
    world.stub.script("embed", "status:500")
    with pytest.raises(openai.InternalServerError):
        world.client.embeddings.create(model="embed", input="weather")
    assert {received.path for received in world.stub.requests} == {"/v1/embeddings"}
    assert {received.model for received in world.stub.requests} == {"embed"}
