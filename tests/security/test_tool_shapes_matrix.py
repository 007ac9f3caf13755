"""The conformance matrix: every shape of a tool, asked for, called uninvited and in the history, in one piece and as a stream.

Everything runs through the service over HTTP; what leaves is looked at where it arrives, at the provider, in the whole body.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from governed import deployment, rule_files
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from running import Running, running
from stub_provider import StubProvider, serving
from tool_shapes import (
    CALLED,
    CUT,
    DEFINED,
    DENIED,
    LEVER,
    NAMED,
    NEVER,
    PINNED,
    REFUSED,
    SAID,
    SHAPES,
    SIBLING,
    SIBLING_ARGUMENTS,
    SIBLING_CALL,
    USAGE,
    WITHHELD,
    Json,
    Shape,
    answer_of,
    body_of,
    history_of,
    page,
)

from router.clock import utc_now
from routing_rules.load import shipped
from routing_rules.server_lists import tool_digest

PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
EVERYTHING = f"""
  - {{id: lever, owner: tests@example.org, capabilities: [pure], functions: ["{NAMED}*"], hosted: ["computer*", "file_search", "programmatic_tool_calling"]}}
  - {{id: server, owner: tests@example.org, capabilities: [pure], servers: ["{NAMED}*"], server_urls: ["https://{DEFINED}.example.org/mcp", "connector:connector_{DEFINED}"]}}
"""
WIKI = """  - {id: wiki, owner: tests@example.org, capabilities: [pure], servers: [wiki], server_urls: ["https://wiki.example.org/mcp"], pinned: {lookup: DIGEST}}
"""
SETS = """sets:
  - {id: standard, owner: tests@example.org, business_purpose: tests, approver: tests@example.org, review_by: 2099-01-01, tools: [calculator, wiki]}
  - {id: everything, owner: tests@example.org, business_purpose: tests, approver: tests@example.org, review_by: 2099-01-01, tools: [ALL]}
"""
STATE = f"provider_state: [vs_{DEFINED}, cntr_{DEFINED}, cntr_1]"  # the matrix is about tools, not about who may name what
APPS = f"""apps:
  - {{id: few, owner: tests@example.org, clearance: restricted, ceiling: standard, purposes: [general], {STATE}}}
  - {{id: open, owner: tests@example.org, clearance: restricted, ceiling: everything, purposes: [general], {STATE}}}
"""
ROUTE = """  - id: open
    owner: tests@example.org
    reason: a control that is granted everything
    when: {app: open}
    then: {tier: fast, set: everything, budget: test, wish: honour}
"""
STREAM_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])


def named(*shapes: Shape) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("shape", shapes, ids=[shape.id for shape in shapes])


class Governed(NamedTuple):
    """The service, the provider behind it, and a key of each app."""

    service: Running
    stub: StubProvider
    few: str
    open: str

    def ask(self, shape: Shape, body: Json, *, key: str | None = None, exact: bytes | None = None) -> httpx.Response:
        """Send a request; the provider answers with `exact` where it is given."""
        self.stub.requests.clear()
        self.stub.exact = exact or b""
        self.stub.scripts.clear()
        if exact is not None:
            self.stub.script("m", "exact")
        headers = {"authorization": f"Bearer {key or self.few}"}
        return httpx.post(self.service.base_url + PATHS[shape.api], json=body, headers=headers, timeout=30)

    def left(self) -> tuple[Json, str]:
        """The one body that has reached the provider."""
        assert len(self.stub.requests) == 1
        return self.stub.requests[0].body, self.stub.requests[0].text


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    with serving() as stub:
        searching = deployment("stub-search-preview", stub.url, clearance="restricted", more="model_names: [stub-search-preview]")
        plain = deployment("m", stub.url, clearance="restricted")
        files = rule_files([plain, searching], routes=ROUTE, then="wish: honour")
        tools = (
            shipped(utc_now().date())["tools.yaml"]
            .replace('hosted: ["computer*"]', "hosted: []")
            .replace("hosted: [file_search]", "hosted: []")
        )
        tools = tools.rstrip() + EVERYTHING + WIKI.replace("DIGEST", tool_digest(PINNED))
        names = [line.split("id: ")[1].split(",")[0] for line in tools.splitlines() if line.strip().startswith("- {id: ")]
        files |= {"tools.yaml": tools, "entitlements.yaml": SETS.replace("ALL", ", ".join(names)), "apps.yaml": APPS}
        with running(tmp_path_factory.mktemp("matrix") / "data", rules=files) as service:
            few = service.key("few", "tests@example.org")
            yield Governed(service, stub, few, service.key("open", "tests@example.org"))


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every field of a body, at whatever depth."""
    if isinstance(value, dict):
        for name, held in value.items():
            yield name, held
            yield from walk(held)
    elif isinstance(value, list):
        for held in value:
            yield from walk(held)


def offered(body: Json) -> list[str]:
    """What a body offers, by name."""
    tools = [tool.get("function", tool) for tool in body.get("tools", [])] + body.get("functions", [])
    return [tool.get("name", tool.get("type")) for tool in tools]


def nothing_of_it_left(shape: Shape, body: Json, text: str) -> None:
    assert DEFINED not in text
    found = list(walk(body))
    assert not [held for name, held in found if name == "type" and held in shape.types]
    assert not [name for name, _ in found if name in shape.fields]


def events(answer: httpx.Response) -> list[Json]:
    """The events of a stream, as objects."""
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]


# Asked for


@STREAMED
@named(*(shape for shape in SHAPES if shape.asked == WITHHELD))
def test_what_is_not_granted_does_not_reach_the_provider_and_what_is_does(governed: Governed, shape: Shape, stream: bool) -> None:
    answer = governed.ask(shape, body_of(shape, stream))
    assert answer.status_code == 200, answer.text
    body, text = governed.left()
    nothing_of_it_left(shape, body, text)
    assert NAMED not in text
    assert body["model"] == "m"
    assert offered(body) == [*(name for name in offered(shape.request) if name == SIBLING), *("mcp" for _ in shape.kept)]
    assert [tool for tool in body.get("tools", []) if tool["type"] == "mcp"] == list(shape.kept)
    told = answer.headers.get("x-router-tools-withheld", "")
    assert [item.split(";")[0] for item in told.split(", ") if item] == list(shape.names)


def offered_types(shape: Shape) -> list[str]:
    return [tool.get("type", "") for tool in shape.request.get("tools", [])]


@STREAMED
@named(*(shape for shape in SHAPES if shape.asked == REFUSED))
def test_what_cannot_be_kept_without_it_is_refused_before_anything_leaves(governed: Governed, shape: Shape, stream: bool) -> None:
    answer = governed.ask(shape, body_of(shape, stream))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (shape.status, shape.code, shape.param), answer.text
    assert governed.stub.requests == []
    assert answer.headers["x-should-retry"] == "false"


@STREAMED
@named(*(shape for shape in SHAPES if shape.asked != NEVER and shape.control))
def test_an_app_that_is_granted_it_has_it_forwarded(governed: Governed, shape: Shape, stream: bool) -> None:
    answer = governed.ask(shape, body_of(shape, stream), key=governed.open)
    assert answer.status_code == 200, answer.text
    body, _ = governed.left()
    asked = body_of(shape, stream)
    for field in ("tools", "functions", "tool_choice", "function_call", "web_search_options"):
        if field == "tools" and "mcp" in offered_types(shape):
            assert [tool["type"] for tool in body[field]] == [tool["type"] for tool in asked[field]]
        else:
            assert body.get(field) == asked.get(field)
    assert asked["model"] in ("auto", body["model"])


# Called all the same


@named(*(shape for shape in SHAPES if shape.answer is not None))
def test_a_call_that_was_not_granted_does_not_reach_the_app_and_its_granted_sibling_does(
    governed: Governed, shape: Shape
) -> None:
    answer = governed.ask(shape, body_of(shape, False), exact=answer_of(shape, False))
    assert answer.status_code == 200, answer.text
    assert CALLED not in answer.text
    told = answer.json()
    if shape.api == "chat":
        ChatCompletion.model_validate(told, strict=True)
        (choice,) = told["choices"]
        legacy = "function_call" in (shape.answer or {})
        assert choice["finish_reason"] == ("stop" if legacy else "tool_calls")
        assert [call["id"] for call in choice["message"].get("tool_calls", [])] == ([] if legacy else [SIBLING_CALL])
        assert choice["message"].get("function_call") is None
        assert told["usage"]["completion_tokens"] == USAGE[2]
    else:
        Response.model_validate(told)
        assert told["status"] == "completed"
        calls = [item for item in told["output"] if item["type"] != "message"]
        assert [(item["name"], item["call_id"], item["arguments"]) for item in calls] == [
            (SIBLING, SIBLING_CALL, SIBLING_ARGUMENTS)
        ]
        assert told["usage"]["output_tokens"] == USAGE[2]


@named(*(shape for shape in SHAPES if shape.answer is not None))
def test_the_same_holds_for_a_stream_whose_numbers_and_end_stay_right(governed: Governed, shape: Shape) -> None:
    body = body_of(shape, True)
    if shape.api == "chat":
        body["stream_options"] = {"include_usage": True}
    answer = governed.ask(shape, body, exact=answer_of(shape, True))
    assert answer.status_code == 200, answer.text
    assert CALLED not in answer.text
    told = events(answer)
    if shape.api == "chat":
        chat_stream_is_right(shape, told, answer.text)
    else:
        responses_stream_is_right(told, [SIBLING])


def chat_stream_is_right(shape: Shape, told: list[Json], text: str) -> None:
    for chunk in told:
        ChatCompletionChunk.model_validate(chunk)
    calls: dict[int, Json] = {}
    for chunk in told:
        for choice in chunk["choices"]:
            assert not choice["delta"].get("function_call")
            for fragment in choice["delta"].get("tool_calls") or []:
                held = calls.setdefault(fragment["index"], {"id": "", "arguments": ""})
                held["id"] += fragment.get("id") or ""
                held["arguments"] += fragment["function"].get("arguments") or ""
    finishes = [choice["finish_reason"] for chunk in told for choice in chunk["choices"] if choice["finish_reason"]]
    legacy = "function_call" in (shape.answer or {})
    assert calls == ({} if legacy else {0: {"id": SIBLING_CALL, "arguments": SIBLING_ARGUMENTS}})
    assert finishes == ["stop" if legacy else "tool_calls"]
    assert told[-1]["usage"]["completion_tokens"] == USAGE[2]
    assert text.rstrip().endswith("data: [DONE]")


def responses_stream_is_right(told: list[Json], calls: list[str]) -> None:
    for event in told:
        STREAM_EVENT.validate_python(event)
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    added = [event["output_index"] for event in told if event["type"] == "response.output_item.added"]
    done = [event for event in told if event["type"] == "response.output_item.done"]
    assert added == list(range(len(added))) == [event["output_index"] for event in done]
    last = told[-1]
    assert last["type"] == "response.completed"
    assert last["response"]["output"] == [event["item"] for event in done]
    assert [item["name"] for item in last["response"]["output"] if item["type"] != "message"] == calls
    assert last["response"]["usage"]["output_tokens"] == USAGE[2]


@STREAMED
@named(*(shape for shape in SHAPES if shape.answer is not None))
def test_where_nothing_else_is_left_a_sentence_names_what_was_removed(governed: Governed, shape: Shape, stream: bool) -> None:
    answer = governed.ask(shape, body_of(shape, stream), exact=answer_of(shape, stream, alone=True))
    assert answer.status_code == 200, answer.text
    assert CALLED not in answer.text
    if stream:
        told = events(answer)
        if shape.api == "responses":
            responses_stream_is_right(told, [])
            note = told[-1]["response"]["output"][-1]["content"][0]["text"]
        else:
            deltas = [choice for chunk in told for choice in chunk["choices"]]
            assert [choice["finish_reason"] for choice in deltas if choice["finish_reason"]] == ["stop"]
            note = "".join(choice["delta"].get("content") or "" for choice in deltas)
    elif shape.api == "responses":
        (item,) = answer.json()["output"]
        note = item["content"][0]["text"]
    else:
        (choice,) = answer.json()["choices"]
        assert choice["finish_reason"] == "stop"
        note = choice["message"]["content"]
    assert f"`{shape.shown}`" in note


@STREAMED
@named(*(shape for shape in SHAPES if shape.id in ("chat-function", "responses-function", "responses-shell")))
def test_where_the_app_insists_on_a_call_the_removal_is_an_error_and_no_prose(
    governed: Governed, shape: Shape, stream: bool
) -> None:
    body = {**body_of(shape, stream), "tool_choice": "required"}
    answer = governed.ask(shape, body, exact=answer_of(shape, stream, alone=True))
    assert CALLED not in answer.text
    if stream and answer.status_code == 200:
        assert "tool_not_entitled" in events(answer)[-1].get("code", "") + json.dumps(events(answer)[-1].get("error", ""))
        assert "response.completed" not in answer.text
    else:
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "tool_not_entitled")


# In the history


@STREAMED
@named(*(shape for shape in SHAPES if shape.history and shape.remembered in (SAID, CUT)))
def test_a_history_with_it_grants_nothing_and_brings_no_tool_along(governed: Governed, shape: Shape, stream: bool) -> None:
    answer = governed.ask(shape, history_of(shape, stream))
    assert answer.status_code == 200, answer.text
    body, text = governed.left()
    nothing_of_it_left(shape, body, text)
    assert offered(body) == [SIBLING]
    if shape.remembered == CUT:
        assert NAMED not in text
        kept = [item["tools"] for item in body["input"] if "tools" in item]
        assert all(offered({"tools": tools}) == [SIBLING] for tools in kept)


@STREAMED
@named(*(shape for shape in SHAPES if shape.history and shape.remembered == SAID and shape.answer is not None))
def test_a_call_that_the_history_shows_as_made_is_not_granted_by_that(governed: Governed, shape: Shape, stream: bool) -> None:
    answer = governed.ask(shape, history_of(shape, stream), exact=answer_of(shape, stream))
    assert answer.status_code == 200, answer.text
    assert CALLED not in answer.text


@STREAMED
@named(*(shape for shape in SHAPES if shape.history and shape.remembered == DENIED))
def test_a_history_that_would_go_on_with_it_is_refused(governed: Governed, shape: Shape, stream: bool) -> None:
    answer = governed.ask(shape, history_of(shape, stream))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, shape.history_code), answer.text
    assert governed.stub.requests == []


# The page


def test_the_page_on_shapes_is_what_the_matrix_says() -> None:
    assert (Path(__file__).parents[2] / "docs" / "tool-shapes.md").read_text() == page()


def test_every_shape_is_there_once_and_every_marker_is_told_apart() -> None:
    assert len({shape.id for shape in SHAPES}) == len(SHAPES)
    assert LEVER.startswith(NAMED)
    assert len({NAMED, DEFINED, CALLED}) == 3
