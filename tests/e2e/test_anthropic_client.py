"""Anthropic's official Python client, unmodified, against the running service: with the simulated provider, and with a stub behind it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import msgspec
import pytest
from governed import rule_files
from inspecting import rows
from running import Running, running
from stub_provider import StubProvider, serving

WEATHER: Any = {
    "name": "get_weather",
    "description": "Current weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
DROP: Any = {"name": "drop_database", "input_schema": {"type": "object", "properties": {}}}
ASK: Any = [{"role": "user", "content": "What is the weather in Lisbon?"}]
HELLO: Any = [{"role": "user", "content": "Translate into French: the train leaves at nine."}]
PRICE = "{input_usd_per_million: 3.00, cached_input_usd_per_million: 0.30, cache_write_usd_per_million: 3.75, output_usd_per_million: 15.00}"


def speaks(name: str, url: str) -> str:
    """A deployment that speaks Anthropic's format, at an address as its clients write it."""
    address = url.removesuffix("/v1")
    return (
        f"  - {{id: {name}, provider: anthropic_compatible, base_url: '{address}', model: {name}, tier: fast, clearance: internal, "
        f"api_key: 'env:STUB_KEY', price: {PRICE}}}\n"
    )


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The service as it is after `make run`: shipped rules, simulated provider."""
    with running(tmp_path_factory.mktemp("simulated") / "data") as started:
        yield started


@pytest.fixture(scope="module")
def client(service: Running) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=service.base_url, api_key=service.key(), max_retries=0) as made:
        yield made


class Behind:
    """A service with a stub behind it that speaks Anthropic's format, and a client of it."""

    def __init__(self, service: Running, stub: StubProvider) -> None:
        self.service = service
        self.stub = stub
        self.key = service.key()
        self.client = anthropic.Anthropic(base_url=service.base_url, api_key=self.key, max_retries=0)

    def post(self, body: dict[str, Any], **headers: str) -> httpx.Response:
        told = {"x-api-key": self.key, **headers}
        whole = {"model": "m", "max_tokens": 64, "messages": HELLO, **body}
        return httpx.post(f"{self.service.base_url}/v1/messages", json=whole, headers=told, timeout=30)

    def answers(self, body: dict[str, Any]) -> None:
        """What the stub says next, byte for byte."""
        self.stub.exact = msgspec.json.encode(body)
        self.stub.script("m", "exact")

    def streams(self, *events: dict[str, Any]) -> None:
        """The same as a stream."""
        self.stub.exact = b"".join(
            b"event: %s\ndata: %s\n\n" % (event["type"].encode(), msgspec.json.encode(event)) for event in events
        )
        self.stub.script("m", "exact")


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    with serving() as stub:
        files = rule_files([speaks("m", stub.url)])
        environment = {"STUB_KEY": "sk-ant-stub"}
        with running(tmp_path_factory.mktemp("stubbed") / "data", rules=files, environment=environment) as started:
            yield Behind(started, stub)


@pytest.fixture
def fresh(behind: Behind) -> Behind:
    behind.stub.requests.clear()
    behind.stub.scripts.clear()
    return behind


def message(*content: dict[str, Any], stop: str = "end_turn", **usage: int) -> dict[str, Any]:
    """An answer in one piece."""
    counted = {"input_tokens": 10, "output_tokens": 5, **usage}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    return {**head, "content": list(content), "stop_reason": stop, "stop_sequence": None, "usage": counted}


def call(name: str, place: int = 1, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{name}_{place}", "name": name, "input": given}


# ── with the simulated provider ───────────────────────────────────────────────────────────────────────────────────────


def test_a_message_is_answered_and_says_how_it_was_governed(client: anthropic.Anthropic) -> None:
    raw = client.messages.with_raw_response.create(model="auto", max_tokens=200, messages=HELLO)
    answer = raw.parse()
    assert answer.content[0].type == "text"
    assert "simulated" in answer.content[0].text
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens > 0
    assert raw.headers["x-router-tier"] == "fast"
    assert raw.headers["x-router-sensitivity"] == "public"
    assert raw.headers["request-id"] == raw.headers["x-request-id"]
    assert float(raw.headers["x-router-cost-usd"]) > 0


def test_the_streaming_helper_gives_text_and_the_whole(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model="auto", max_tokens=200, messages=HELLO, system="Be brief.") as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text.startswith("[simulated]")
    assert final.content[0].type == "text"
    assert final.content[0].text == text
    assert final.usage.output_tokens > 1


@pytest.mark.parametrize("streamed", [False, True])
def test_a_round_of_tools(client: anthropic.Anthropic, streamed: bool) -> None:
    def ask(messages: Any) -> anthropic.types.Message:
        given: Any = {"model": "auto", "max_tokens": 200, "messages": messages, "tools": [WEATHER, DROP]}
        if not streamed:
            answer: anthropic.types.Message = client.messages.create(**given)
            return answer
        with client.messages.stream(**given) as stream:
            return stream.get_final_message()

    first = ask(ASK)
    assert first.stop_reason == "tool_use"
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [(made.name, made.input) for made in calls] == [("get_weather", {"city": "Lisbon"})]
    result: Any = {"type": "tool_result", "tool_use_id": calls[0].id, "content": "21 degrees"}
    second = ask([*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}])
    assert second.stop_reason == "end_turn"
    assert second.content[0].type == "text"
    assert "get_weather" in second.content[0].text


def test_a_growing_conversation_stays_one_session(client: anthropic.Anthropic) -> None:
    messages: Any = [{"role": "user", "content": "Suggest names for a small boat that is kept on a lake in the north."}]
    sessions = set()
    for turn in range(4):
        raw = client.messages.with_raw_response.create(model="auto", max_tokens=100, messages=messages)
        sessions.add(raw.headers["x-router-session"])
        messages += [
            {"role": "assistant", "content": raw.parse().content},
            {"role": "user", "content": f"And another, number {turn}."},
        ]
    assert len(sessions) == 1
    other = client.messages.with_raw_response.create(model="auto", max_tokens=100, messages=messages[:1])
    assert other.headers["x-router-session"] not in sessions


def test_structured_output_is_parsed(client: anthropic.Anthropic) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
    answer = client.messages.create(
        model="auto", max_tokens=200, messages=ASK, output_config={"format": {"type": "json_schema", "schema": schema}}
    )
    assert answer.content[0].type == "text"
    assert json.loads(answer.content[0].text)["city"]


def test_what_may_not_be_sent_is_refused_in_the_words_of_this_wire(client: anthropic.Anthropic) -> None:
    secret: Any = [{"role": "user", "content": [{"type": "text", "text": "Our key is AKIAQX3NIK4FVVJ2T7PZ, keep it."}]}]
    with pytest.raises(anthropic.PermissionDeniedError) as refused:
        client.messages.create(model="auto", max_tokens=100, messages=secret)
    body: Any = refused.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] == "permission_error"
    assert body["error"]["code"] in ("sensitivity_not_permitted", "no_cleared_deployment")
    assert body["request_id"] == refused.value.request_id
    assert "AKIAQX3NIK4FVVJ2T7PZ" not in str(body)


def test_a_key_that_nobody_knows_is_an_authentication_error(service: Running) -> None:
    with anthropic.Anthropic(base_url=service.base_url, api_key="rk-nobody", max_retries=0) as stranger:
        with pytest.raises(anthropic.AuthenticationError):
            stranger.messages.create(model="auto", max_tokens=10, messages=HELLO)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"max_tokens": None}, "`max_tokens` must be an integer"),
        ({"thread": {"type": "create"}}, "`thread` is not accepted here"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "colour": "red"}]}]}, "colour"),
        ({"tool_choice": {"type": "tool", "name": "get_weather"}}, "names a tool that is not in `tools`"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "other"}}, "names a tool that is not in `tools`"),
    ],
)
def test_a_malformed_request_is_refused_with_what_is_wrong(
    service: Running, client: anthropic.Anthropic, body: Any, message: str
) -> None:
    whole = {"model": "auto", "max_tokens": 10, "messages": HELLO, **body}
    told = {"x-api-key": str(client.api_key)}
    answer = httpx.post(f"{service.base_url}/v1/messages", json=whole, headers=told)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert message in answer.json()["error"]["message"]


def test_another_version_of_the_api_is_refused(service: Running, client: anthropic.Anthropic) -> None:
    told = {"x-api-key": str(client.api_key), "anthropic-version": "2023-01-01"}
    answer = httpx.post(
        f"{service.base_url}/v1/messages", json={"model": "auto", "max_tokens": 9, "messages": HELLO}, headers=told
    )
    assert answer.status_code == 400
    assert "anthropic-version" in answer.json()["error"]["message"]


def test_only_a_post_is_served(service: Running) -> None:
    answer = httpx.get(f"{service.base_url}/v1/messages")
    assert answer.status_code == 405
    assert answer.json()["type"] == "error"


# ── with a stub behind the service ────────────────────────────────────────────────────────────────────────────────────


def test_bytes_pass_through_where_nothing_had_to_change(fresh: Behind) -> None:
    fresh.answers(message({"type": "thinking", "thinking": "hm", "signature": "c2ln"}, {"type": "text", "text": "Le train."}))
    assert fresh.post({}).content == fresh.stub.exact
    sent = fresh.stub.requests[0]
    assert sent.path == "/v1/messages"
    assert sent.headers["x-api-key"] == "sk-ant-stub"
    assert sent.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in sent.headers
    assert sent.body == {"model": "m", "max_tokens": 64, "messages": HELLO}


def test_a_stream_passes_through_byte_for_byte(fresh: Behind) -> None:
    fresh.streams(
        {"type": "message_start", "message": {**message(), "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Looking."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": call("get_weather")},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"city": '}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '"Lisbon"}'}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    )
    assert fresh.post({"stream": True, "tools": [WEATHER], "messages": ASK}).content == fresh.stub.exact


def test_a_tool_that_is_not_granted_never_leaves(fresh: Behind) -> None:
    raw = fresh.client.messages.with_raw_response.create(model="m", max_tokens=64, messages=ASK, tools=[WEATHER, DROP])
    assert raw.headers["x-router-tools-withheld"].startswith("drop_database;")
    assert "drop_database" not in fresh.stub.requests[0].text
    assert fresh.stub.requests[0].body["tools"] == [WEATHER]


@pytest.mark.parametrize("kind", ["any", "tool"])
def test_a_choice_that_cannot_be_kept_is_refused(fresh: Behind, kind: str) -> None:
    choice: Any = {"type": kind} | ({"name": "drop_database"} if kind == "tool" else {})
    with pytest.raises(anthropic.PermissionDeniedError, match="tool_choice"):
        fresh.client.messages.create(model="m", max_tokens=64, messages=ASK, tools=[DROP], tool_choice=choice)
    assert fresh.stub.requests == []


@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_that_was_not_granted_becomes_a_note(fresh: Behind, streamed: bool) -> None:
    fresh.stub.script("m", "tools:drop_database")
    given: Any = {"model": "m", "max_tokens": 64, "messages": ASK, "tools": [WEATHER, DROP]}
    if streamed:
        with fresh.client.messages.stream(**given) as stream:
            answer = stream.get_final_message()
    else:
        answer = fresh.client.messages.create(**given)
    assert answer.stop_reason == "end_turn"
    assert [block.type for block in answer.content] == ["text"]
    assert "`drop_database` is not entitled" in answer.content[0].text  # type: ignore[union-attr]
    assert answer.usage.output_tokens == fresh.stub.usage[2]


def test_granted_siblings_of_a_refused_call_survive(fresh: Behind) -> None:
    fresh.answers(
        message({"type": "text", "text": "Both."}, call("drop_database"), call("get_weather", city="Lisbon"), stop="tool_use")
    )
    answer = fresh.client.messages.create(model="m", max_tokens=64, messages=ASK, tools=[WEATHER, DROP])
    assert [block.type for block in answer.content] == ["text", "tool_use"]
    assert answer.content[1].name == "get_weather"  # type: ignore[union-attr]
    assert answer.stop_reason == "tool_use"


def test_granted_siblings_survive_in_a_stream_with_indices_that_fit(fresh: Behind) -> None:
    blocks = [{"type": "text", "text": "Both."}, call("drop_database"), call("get_weather", city="Lisbon")]
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {**message(), "stop_reason": None}}]
    for index, block in enumerate(blocks):
        if block["type"] == "text":
            delta = {"type": "text_delta", "text": block["text"]}
            begun = {**block, "text": ""}
        else:
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            begun = {**block, "input": {}}
        events += [
            {"type": "content_block_start", "index": index, "content_block": begun},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]
    ending = {"stop_reason": "tool_use", "stop_sequence": None}
    fresh.streams(*events, {"type": "message_delta", "delta": ending, "usage": {"output_tokens": 9}}, {"type": "message_stop"})
    with fresh.client.messages.stream(model="m", max_tokens=64, messages=ASK, tools=[WEATHER, DROP]) as stream:
        answer = stream.get_final_message()
    assert [block.type for block in answer.content] == ["text", "tool_use"]
    assert answer.content[1].input == {"city": "Lisbon"}  # type: ignore[union-attr]
    assert answer.stop_reason == "tool_use"


def test_a_tool_of_the_providers_own_goes_out_where_it_is_granted(fresh: Behind) -> None:
    search: Any = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    shell: Any = {"type": "bash_20250124", "name": "bash"}
    raw = fresh.client.messages.with_raw_response.create(model="m", max_tokens=64, messages=ASK, tools=[search, shell])
    assert fresh.stub.requests[0].body["tools"] == [search]
    assert raw.headers["x-router-tools-withheld"].startswith("bash_20250124;")


def test_code_at_the_provider_calls_no_search_unless_code_is_granted(fresh: Behind) -> None:
    search: Any = {"type": "web_search_20260318", "name": "web_search"}
    fresh.client.messages.create(model="m", max_tokens=64, messages=ASK, tools=[search])
    assert fresh.stub.requests[0].body["tools"] == [{**search, "allowed_callers": ["direct"], "max_uses": 10}]


def test_a_server_that_nobody_registered_never_leaves(fresh: Behind) -> None:
    server: Any = {
        "type": "url",
        "name": "notes",
        "url": "https://mcp.example.org/notes",
        "authorization_token": "tok-4711-secret",
    }
    raw = fresh.client.beta.messages.with_raw_response.create(
        model="m",
        max_tokens=64,
        messages=ASK,
        mcp_servers=[server],
        tools=[{"type": "mcp_toolset", "mcp_server_name": "notes"}],
        betas=["mcp-client-2025-11-20"],
    )
    sent = fresh.stub.requests[0]
    assert "mcp_servers" not in sent.body
    assert "tools" not in sent.body
    assert "tok-4711-secret" not in sent.text
    assert sent.headers["anthropic-beta"] == "mcp-client-2025-11-20"
    assert "notes;" in raw.headers["x-router-tools-withheld"]


def test_a_call_of_a_server_that_was_not_granted_does_not_reach_the_app(fresh: Behind) -> None:
    used = {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "read_all", "server_name": "notes", "input": {}}
    brought = {
        "type": "mcp_tool_result",
        "tool_use_id": "mcptoolu_1",
        "is_error": False,
        "content": [{"type": "text", "text": "private"}],
    }
    fresh.answers(message(used, brought, {"type": "text", "text": "Done."}))
    answer = fresh.post({"messages": ASK})
    assert [block["type"] for block in answer.json()["content"]] == ["text"]
    assert "private" not in answer.text


def test_features_that_could_bring_other_models_or_prices_are_left_out(fresh: Behind) -> None:
    raw = fresh.client.beta.messages.with_raw_response.create(
        model="m",
        max_tokens=64,
        messages=HELLO,
        speed="fast",
        betas=["interleaved-thinking-2025-05-14", "server-side-fallback-2026-07-01", "fast-mode-2026-02-01"],
    )
    sent = fresh.stub.requests[0]
    assert sent.headers["anthropic-beta"] == "interleaved-thinking-2025-05-14"
    assert "speed" not in sent.body
    dropped = raw.headers["x-router-params-dropped"]
    assert dropped == "speed, anthropic-beta:server-side-fallback-2026-07-01, anthropic-beta:fast-mode-2026-02-01"


def test_output_and_thought_are_held_to_the_limit_of_the_rule(fresh: Behind) -> None:
    fresh.client.messages.create(
        model="m", max_tokens=9_000, messages=HELLO, thinking={"type": "enabled", "budget_tokens": 4_000}
    )
    sent = fresh.stub.requests[0].body
    assert sent["max_tokens"] == 256
    assert sent["thinking"] == {"type": "disabled"}


def test_cache_reads_and_writes_are_in_the_ledger(fresh: Behind) -> None:
    fresh.answers(
        message(
            {"type": "text", "text": "Oui."},
            input_tokens=10,
            cache_read_input_tokens=100,
            cache_creation_input_tokens=40,
            output_tokens=7,
        )
    )
    raw = fresh.client.messages.with_raw_response.create(model="m", max_tokens=64, messages=HELLO)
    cost = 10 * 3_000 + 100 * 300 + 40 * 3_750 + 7 * 15_000
    assert raw.headers["x-router-cost-usd"] == f"{cost / 1e9:.6f}".rstrip("0")
    fresh.service.settled()
    found = rows(
        fresh.service.data_dir,
        f"SELECT token_class, quantity, basis FROM ledger_lines WHERE request_id = '{raw.headers['x-request-id']}'",
    )
    assert {line["token_class"]: line["quantity"] for line in found} == {
        "input": 10,
        "cached_input": 100,
        "cache_write": 40,
        "output": 7,
    }
    assert {line["basis"] for line in found} == {"reported"}


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.InternalServerError),
        (429, anthropic.RateLimitError),
        (529, anthropic.InternalServerError),
    ],
)
def test_a_providers_error_comes_in_the_words_of_this_wire(tmp_path: Any, status: int, raised: type[Exception]) -> None:
    with serving() as stub:
        files = rule_files([speaks("m", stub.url)])
        with running(tmp_path / "data", rules=files, environment={"STUB_KEY": "k"}) as service:
            stub.script("m", f"status:{status}:20")
            with anthropic.Anthropic(base_url=service.base_url, api_key=service.key(), max_retries=0) as client:
                with pytest.raises(raised):
                    client.messages.create(model="m", max_tokens=64, messages=HELLO)


def test_a_stream_that_breaks_off_ends_with_an_error_event(fresh: Behind) -> None:
    fresh.stub.script("m", "half")
    with pytest.raises(anthropic.APIError):
        with fresh.client.messages.stream(model="m", max_tokens=64, messages=HELLO) as stream:
            stream.get_final_message()


def test_a_budget_that_is_used_up_is_a_billing_error(tmp_path: Any) -> None:
    with serving() as stub:
        files = rule_files([speaks("m", stub.url)], budget="cost_usd: 0.000001")
        with running(tmp_path / "data", rules=files, environment={"STUB_KEY": "k"}) as service:
            with anthropic.Anthropic(base_url=service.base_url, api_key=service.key()) as client:
                with pytest.raises(anthropic.APIStatusError) as refused:
                    client.messages.create(model="m", max_tokens=64, messages=HELLO)
    assert refused.value.status_code == 402
    assert refused.value.body["error"]["type"] == "billing_error"  # type: ignore[index]
    assert refused.value.body["error"]["code"] == "session_budget_exceeded"  # type: ignore[index]
    assert stub.requests == []


def test_a_deployment_of_another_format_is_no_candidate(tmp_path: Any) -> None:
    with serving() as stub:
        other = f"  - {{id: m, base_url: '{stub.url}', model: m, tier: fast, clearance: internal, price: {PRICE}}}\n"
        with running(tmp_path / "data", rules=rule_files([other])) as service:
            with anthropic.Anthropic(base_url=service.base_url, api_key=service.key(), max_retries=0) as client:
                with pytest.raises(anthropic.BadRequestError, match="messages_api"):
                    client.messages.create(model="m", max_tokens=64, messages=HELLO)


def test_no_name_of_a_withheld_tool_reaches_the_provider_whatever_is_asked_for(fresh: Behind) -> None:
    chance = random.Random("tools of all shapes")
    for _ in range(60):
        withheld = [f"zz_{chance.randrange(10**9)}" for _ in range(4)]
        tools: list[Any] = [
            {"name": withheld[0], "description": withheld[0], "input_schema": {"type": "object"}},
            {
                "type": "custom",
                "name": withheld[1],
                "input_schema": {"type": "object"},
                "allowed_callers": ["code_execution_20250825"],
            },
            {"type": f"{withheld[2]}_20250101", "name": withheld[2]},
            {"type": "mcp_toolset", "mcp_server_name": withheld[3], "configs": {withheld[0]: {"enabled": True}}},
            {"type": "bash_20250124", "name": "bash"},
            WEATHER,
        ]
        added: list[Any] = [
            {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tools[0]}},
            {"type": "tool_addition", "tool": {"type": "tool_reference", "name": withheld[1]}},
            {"type": "tool_removal", "tool": {"type": "mcp_toolset_reference", "server_name": withheld[3]}},
        ]
        offered = chance.sample(tools, chance.randrange(1, len(tools) + 1))
        body: dict[str, Any] = {
            "tools": offered,
            "messages": [*ASK, {"role": "system", "content": chance.sample(added, chance.randrange(1, 4))}, *ASK],
            "stream": chance.random() < 0.3,
        }
        if any(tool.get("type") == "mcp_toolset" for tool in offered) or chance.random() < 0.3:
            body["mcp_servers"] = [
                {
                    "type": "url",
                    "name": withheld[3],
                    "url": "https://mcp.example.org",
                    "tool_configuration": {"allowed_tools": [withheld[0]]},
                }
            ]
        if chance.random() < 0.3:
            body["context_management"] = {"edits": [{"type": "clear_tool_uses_20250919", "exclude_tools": withheld}]}
        before = len(fresh.stub.requests)
        answer = fresh.post(body)
        assert answer.status_code == 200, answer.text
        sent = fresh.stub.requests[before].text
        assert not [name for name in (*withheld, "bash") if f'"{name}' in sent], sent


def test_tokens_are_counted_before_anything_is_sent(fresh: Behind) -> None:
    short = fresh.client.messages.count_tokens(model="m", messages=HELLO).input_tokens
    fields: Any = {"system": "Be brief. " * 400, "tools": [WEATHER], "tool_choice": {"type": "auto"}}
    long = fresh.client.messages.count_tokens(model="m", messages=HELLO, **fields).input_tokens
    assert 0 < short < 100
    assert 800 < long - short < 1_500
    assert fresh.client.beta.messages.count_tokens(model="m", messages=HELLO).input_tokens == short
    assert fresh.stub.requests == []


def test_who_may_not_send_a_message_may_not_have_it_counted(fresh: Behind) -> None:
    url = f"{fresh.service.base_url}/v1/messages/count_tokens"
    stranger = httpx.post(url, json={"model": "m", "messages": HELLO}, headers={"x-api-key": "rk-nobody"})
    assert (stranger.status_code, stranger.json()["error"]["type"]) == (401, "authentication_error")
    known = {"x-api-key": fresh.key}
    for more, param in (({"stream": True}, "stream"), ({"messages": []}, "messages"), ({"container": "c"}, "container")):
        refused = httpx.post(url, json={"model": "m", "messages": HELLO, **more}, headers=known)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert httpx.get(url, headers=known).status_code == 405


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_that_cannot_be_read_count_as_their_session_where_they_were_given_here(fresh: Behind, stream: bool) -> None:
    hidden: Any = {"type": "redacted_thinking", "data": f"sealed by the provider, {stream}"}
    text: Any = {"type": "text", "text": "The train leaves at nine."}
    if stream:
        fresh.streams(
            {"type": "message_start", "message": message()},
            {"type": "content_block_start", "index": 0, "content_block": hidden},
            {"type": "content_block_stop", "index": 0},
            {"type": "content_block_start", "index": 1, "content_block": text},
            {"type": "content_block_stop", "index": 1},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
            {"type": "message_stop"},
        )
    else:
        fresh.answers(message(hidden, text))
    history = [*HELLO, {"role": "assistant", "content": [hidden, text]}, {"role": "user", "content": "Thank you."}]
    foreign = fresh.post({"messages": history})
    assert (foreign.status_code, foreign.headers["x-router-sensitivity"]) == (403, "restricted")
    first = fresh.post({"stream": stream})
    assert first.status_code == 200
    fresh.answers(message(text))
    second = fresh.post({"messages": history})
    assert second.status_code == 200, second.text
    assert second.headers["x-router-session"] == first.headers["x-router-session"]
    assert second.headers["x-router-sensitivity"] == first.headers["x-router-sensitivity"]
    other = fresh.service.key("other", "other@example.org")
    stranger = fresh.post({"messages": history}, **{"x-api-key": other})
    assert stranger.headers.get("x-router-sensitivity") == "restricted"
