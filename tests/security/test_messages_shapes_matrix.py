"""Every shape in which tools stand in Anthropic's Messages API, over HTTP, in both directions, in one piece and as a stream.

What is not granted does not reach the provider, and a call of it does not reach the app; its granted sibling does; what a history says
was done grants nothing; and Anthropic's own client can read every answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import anthropic
import httpx
import httpx2
import pytest
from governed import rule_files
from running import Running, running
from stub_provider import StubProvider, serving

Json = dict[str, Any]

NAMED = "quagga"
"""Part of every name that is not granted and that an app can choose."""
TOLD = "numbat"
"""A word that stands only in uninvited calls and in what they brought."""

SIBLING: Json = {"name": "calculator", "description": "Works out a sum.", "input_schema": {"type": "object"}}
SIBLING_CALL: Json = {"type": "tool_use", "id": "toolu_sibling", "name": "calculator", "input": {"expression": "6 * 7"}}
ASK: Json = {"role": "user", "content": "What is six times seven? Please use the calculator."}
SERVER: Json = {
    "type": "url",
    "name": f"{NAMED}_server",
    "url": "https://mcp.example.org/",
    "authorization_token": f"{NAMED}-token",
}


def used(kind: str, name: str, **more: Any) -> Json:
    return {"type": kind, "id": "use_1", "name": name, "input": {"what": TOLD}, **more}


def brought(kind: str, content: Any) -> Json:
    return {"type": kind, "tool_use_id": "use_1", "content": content}


@dataclass(frozen=True)
class Shape:
    """One shape: `request` are fields beside the sibling's (tools are added to it), `withheld` what the header tells of them, `answer` the
    blocks of an uninvited answer, `types` words that must not reach the provider as a type, `history` blocks
    of an earlier turn of the model, and `cut` whether they leave without what they bring."""

    id: str
    request: Json
    answer: tuple[Json, ...] = ()
    withheld: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    history: tuple[Json, ...] = ()
    cut: bool = False


def own(kind: str, name: str | None, *answer: Json, **more: Any) -> Shape:
    tool = {"type": kind, **({} if name is None else {"name": name}), **more}
    return Shape(kind, {"tools": [tool]}, answer, (kind,), (kind,), answer)


LEVER: Json = {"name": f"{NAMED}_lever", "input_schema": {"type": "object"}}
LISTED: list[Json] = [{"name": f"{NAMED}_read", "input_schema": {}}]
MCP_ANSWER = (
    used("mcp_tool_use", f"{NAMED}_read", server_name=SERVER["name"]),
    {**brought("mcp_tool_result", [{"type": "text", "text": TOLD}]), "is_error": False},
)
ADDED_SYSTEM: Json = {
    "role": "system",
    "content": [{"type": "tool_addition", "tool": {"type": "tool_definition", "definition": LEVER}}],
}

SHAPES = (
    Shape(
        "client tool",
        {"tools": [LEVER]},
        (used("tool_use", LEVER["name"]),),
        (LEVER["name"],),
        (),
        (used("tool_use", LEVER["name"]),),
    ),
    Shape("custom tool", {"tools": [{"type": "custom", **LEVER}]}, (used("tool_use", LEVER["name"]),), (LEVER["name"],)),
    Shape(
        "tool called by code",
        {"tools": [{**LEVER, "allowed_callers": ["code_execution_20250825"]}]},
        (used("tool_use", "calculator", caller={"type": "code_execution_20250825", "tool_id": "srv_1"}),),
        (LEVER["name"],),
        ("code_execution_20250825",),
    ),
    own("bash_20250124", "bash", used("tool_use", "bash")),
    own("text_editor_20250728", "str_replace_based_edit_tool", used("tool_use", "str_replace_based_edit_tool")),
    own("memory_20250818", "memory", used("tool_use", "memory")),
    own("computer_20251124", "computer", used("tool_use", "computer"), display_width_px=800, display_height_px=600),
    own("computer_toolset_20260801", None, used("tool_use", "left_click", toolset_name="computer")),
    own("browser_toolset_20260801", None, used("tool_use", "navigate", toolset_name="browser")),
    own(
        "web_search_20250305",
        "web_search",
        used("server_tool_use", "web_search"),
        brought(
            "web_search_tool_result",
            [
                {
                    "type": "web_search_result",
                    "title": TOLD,
                    "url": "https://example.org",
                    "encrypted_content": "eA==",
                    "page_age": None,
                }
            ],
        ),
    ),
    own(
        "web_fetch_20250910",
        "web_fetch",
        used("server_tool_use", "web_fetch"),
        brought("web_fetch_tool_result", {"type": "web_fetch_tool_result_error", "error_code": TOLD}),
    ),
    own(
        "code_execution_20250825",
        "code_execution",
        used("server_tool_use", "bash_code_execution"),
        brought(
            "bash_code_execution_tool_result",
            {"type": "bash_code_execution_result", "content": [], "return_code": 0, "stdout": TOLD, "stderr": ""},
        ),
    ),
    replace(
        own(
            "tool_search_tool_regex_20251119",
            "tool_search_tool_regex",
            used("server_tool_use", "tool_search_tool_regex"),
            brought(
                "tool_search_tool_result",
                {
                    "type": "tool_search_tool_search_result",
                    "tool_references": [{"type": "tool_reference", "tool_name": f"{NAMED}_lever"}],
                },
            ),
        ),
        cut=True,
    ),
    own("advisor_20260301", "advisor", used("server_tool_use", "advisor"), model="claude-opus-4-8"),
    own(f"{NAMED}_20270101", f"{NAMED}", used("tool_use", NAMED)),
    Shape(
        "mcp server",
        {"mcp_servers": [{**SERVER, "tool_configuration": {"allowed_tools": [f"{NAMED}_read"]}}]},
        MCP_ANSWER,
        (SERVER["name"],),
        (),
        MCP_ANSWER,
    ),
    Shape(
        "mcp toolset",
        {
            "mcp_servers": [SERVER],
            "tools": [
                {
                    "type": "mcp_toolset",
                    "mcp_server_name": SERVER["name"],
                    "configs": {f"{NAMED}_read": {"enabled": True}},
                    "tools": LISTED,
                }
            ],
        },
        ({"type": "mcp_tool_listing", "mcp_server_name": SERVER["name"], "tools": LISTED}, *MCP_ANSWER),
        (SERVER["name"],),
        ("mcp_toolset",),
        ({"type": "mcp_tool_listing", "mcp_server_name": SERVER["name"], "tools": LISTED},),
        cut=True,
    ),
    Shape("tool addition", {"messages": [ASK, ADDED_SYSTEM]}, (), (LEVER["name"],), ("tool_addition",)),
    Shape(
        "tool reference in a result",
        {},
        (),
        history=(
            used("tool_use", "calculator"),
            brought("tool_result", [{"type": "tool_reference", "tool_name": f"{NAMED}_lever"}]),
        ),
        cut=True,
    ),
    Shape("container upload", {}, ({"type": "container_upload", "file_id": f"file_{TOLD}"},)),
    Shape("compaction", {}, ({"type": "compaction", "content": TOLD},)),
    Shape("a block that nobody knows", {}, ({"type": f"{NAMED}_tool_use", "id": "x", "name": TOLD, "input": {}},)),
)

both = pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])


class World:
    def __init__(self, service: Running, stub: StubProvider) -> None:
        self.service, self.stub, self.key = service, stub, service.key()

    def ask(self, body: Json, stream: bool, *answer: Json) -> httpx.Response:
        """Ask for something beside the sibling; the provider answers with these blocks."""
        whole = {"model": "m", "max_tokens": 64, "messages": [ASK], "stream": stream, **body}
        whole["tools"] = [*body.get("tools", ()), SIBLING]
        self.stub.requests.clear()
        self.stub.exact = said(answer or ({"type": "text", "text": "42"},), stream)
        self.stub.script("m", "exact")
        return httpx.post(f"{self.service.base_url}/v1/messages", json=whole, headers={"x-api-key": self.key}, timeout=30)

    def read(self, answer: httpx.Response, stream: bool) -> anthropic.types.Message:
        """The answer as Anthropic's own client reads it."""
        kind = "text/event-stream" if stream else "application/json"
        transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=answer.content, headers={"content-type": kind}))
        with anthropic.Anthropic(api_key="k", http_client=httpx2.Client(transport=transport)) as client:
            if stream:
                with client.messages.stream(model="m", max_tokens=9, messages=[]) as events:
                    return events.get_final_message()
            return client.messages.create(model="m", max_tokens=9, messages=[])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving() as stub:
        line = (
            f"  - {{id: m, provider: anthropic_compatible, base_url: '{stub.url}', model: m, tier: fast, clearance: restricted, "
            "price: {input_usd_per_million: 3.00, output_usd_per_million: 15.00}}\n"
        )
        apps = "apps:\n  - {id: demo, owner: demo@example.org, clearance: restricted, ceiling: pure, purposes: [general]}\n"
        files = {**rule_files([line]), "apps.yaml": apps}
        with running(tmp_path_factory.mktemp("shapes") / "data", rules=files) as service:
            yield World(service, stub)


def said(blocks: tuple[Json, ...], stream: bool) -> bytes:
    """An answer of these blocks."""
    stop = "tool_use" if any(block["type"] == "tool_use" for block in blocks) else "end_turn"
    whole: Json = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": list(blocks),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }
    if not stream:
        return json.dumps(whole).encode()
    events: list[Json] = [{"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}}]
    for index, block in enumerate(blocks):
        begun, deltas = block, []
        if block["type"] == "text":
            begun, deltas = {**block, "text": ""}, [{"type": "text_delta", "text": block["text"]}]
        elif "input" in block:
            begun, deltas = {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events += [
        {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def of(*having: str) -> pytest.MarkDecorator:
    shapes = [shape for shape in SHAPES if all(getattr(shape, name) for name in having)]
    return pytest.mark.parametrize("shape", shapes, ids=[shape.id.replace(" ", "-") for shape in shapes])


@of("request")
@both
def test_what_is_not_granted_does_not_reach_the_provider_and_its_sibling_does(world: World, shape: Shape, stream: bool) -> None:
    answer = world.ask(shape.request, stream)
    assert answer.status_code == 200, answer.text
    sent = world.stub.requests[0]
    assert NAMED not in sent.text
    for word in shape.types:
        assert f'"{word}"' not in sent.text
    assert sent.body["tools"] == [SIBLING]
    for name in shape.withheld:
        assert f"{name};" in answer.headers["x-router-tools-withheld"]


@of("answer")
@both
def test_an_uninvited_call_does_not_reach_the_app_and_its_granted_sibling_does(world: World, shape: Shape, stream: bool) -> None:
    answer = world.ask({}, stream, {"type": "text", "text": "Both."}, *shape.answer, SIBLING_CALL)
    assert answer.status_code == 200, answer.text
    assert TOLD not in answer.text
    read = world.read(answer, stream)
    assert [block.type for block in read.content] == ["text", "tool_use"]
    assert read.content[1].model_dump(exclude_none=True)["input"] == SIBLING_CALL["input"]
    assert read.stop_reason == "tool_use"
    assert read.usage.output_tokens == 5


@of("answer")
@both
def test_where_nothing_else_is_left_a_sentence_stands_there(world: World, shape: Shape, stream: bool) -> None:
    answer = world.ask({}, stream, *shape.answer)
    assert TOLD not in answer.text
    read = world.read(answer, stream)
    assert [block.type for block in read.content] == ["text"]
    assert "not entitled" in read.content[0].model_dump()["text"]
    assert read.stop_reason == "end_turn"


@of("answer")
@both
def test_where_the_app_insists_on_a_call_the_removal_is_an_error(world: World, shape: Shape, stream: bool) -> None:
    answer = world.ask({"tool_choice": {"type": "any"}}, stream, *shape.answer)
    assert TOLD not in answer.text
    error = json.loads(next(line[6:] for line in answer.text.splitlines() if '"error"' in line) if stream else answer.text)
    assert error["type"] == "error"
    assert error["error"]["code"] == "tool_not_entitled"


@of("history")
@both
def test_a_history_with_it_grants_nothing(world: World, shape: Shape, stream: bool) -> None:
    results = [block for block in shape.history if block["type"] == "tool_result"]
    calls = [block for block in shape.history if block not in results]
    answered = [{"type": "tool_result", "tool_use_id": "use_1", "content": "done"}] if calls[-1]["type"] == "tool_use" else []
    after = {"role": "user", "content": [*(results or answered), {"type": "text", "text": "Go on."}]}
    answer = world.ask({"messages": [ASK, {"role": "assistant", "content": calls}, after]}, stream, *(shape.answer or ()))
    assert answer.status_code == 200, answer.text
    sent = world.stub.requests[0]
    assert sent.body["tools"] == [SIBLING]
    assert (NAMED in sent.text) == (NAMED in json.dumps(shape.history) and not shape.cut)
    assert not [block for block in world.read(answer, stream).content if block.type != "text"]


def test_every_shape_is_there_once() -> None:
    assert len({shape.id for shape in SHAPES}) == len(SHAPES)
