"""The hosted calls of an answer that came to no end are paid for: they are counted as they are seen."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from router.stages.enforce import StreamEnforcer
from router.stages.settle import attempt_lines, seen_usage
from router.usage import Basis, Usage
from routing_rules.catalogue import Deployment, Price
from routing_rules.decisions import ToolGrant
from routing_rules.task import Endpoint, Task
from routing_rules.vocabulary import Sensitivity

GRANT = ToolGrant(granted=(("web_search", "web_search"), ("code_interpreter", "code_interpreter")))
NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)
A_CENT = 10_000_000 * 1_000_000  # nano-USD per million calls
PRICE = Price(input=0, output=0, tools={"web_search": A_CENT, "code_interpreter": 3 * A_CENT})


def used(endpoint: Endpoint, *events: dict[str, Any], grant: ToolGrant = GRANT) -> Usage:
    """What is booked of a stream that was cut after these events."""
    enforcer = StreamEnforcer(endpoint, grant, strip_usage=False, denial_is_error=False)
    for event in events:
        name = f"event: {event['type']}\n".encode() if "type" in event else b""
        enforcer.feed(name + b"data: " + msgspec.json.encode(event) + b"\n\n")
    end = enforcer.end()
    task = Task(endpoint=endpoint, wish="auto", parts=(), input_bytes=400)
    return seen_usage(task, end.usage, end.output_chars, complete=end.complete, tools=end.hosted)


def item(kind: str, index: int, *, done: bool = True, **fields: Any) -> list[dict[str, Any]]:
    """The events that announce an item and, where it is done, tell it whole."""
    begun = {"id": f"it_{index}", "type": kind, "status": "in_progress"}
    events = [{"type": "response.output_item.added", "output_index": index, "item": begun}]
    whole = {**begun, "status": "completed", **fields}
    return events + [{"type": "response.output_item.done", "output_index": index, "item": whole}] * done


def test_a_response_that_is_cut_costs_the_searches_begun_and_each_container_once_but_no_page_that_was_opened() -> None:
    found = used(
        Endpoint.RESPONSES,
        {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}},
        *item("web_search_call", 0, action={"type": "search", "query": "x"}),
        *item("web_search_call", 1, action={"type": "open_page", "url": "x"}),
        *item("code_interpreter_call", 2, container_id="c1"),
        *item("code_interpreter_call", 3, container_id="c1"),
        *item("web_search_call", 4, done=False),
    )
    assert (found.tools, found.basis) == ((("web_search", 2), ("code_interpreter", 1)), Basis.ESTIMATED)
    deployment = Deployment("d", "p", "m", "fast", Sensitivity.PUBLIC, price=PRICE)
    assert sum(line.cost_nano for line in attempt_lines(1, deployment, found, "cancelled", NOON)) == 50_000_000


def test_a_search_that_was_refused_was_made_all_the_same() -> None:
    searched = item("web_search_call", 0, action={"type": "search", "query": "x"})
    assert used(Endpoint.RESPONSES, *searched, grant=ToolGrant()).tools == (("web_search", 1),)


def test_a_message_that_is_cut_costs_the_searches_begun() -> None:
    def block(index: int, **fields: Any) -> list[dict[str, Any]]:
        started = {"type": "content_block_start", "index": index, "content_block": fields}
        return [started, {"type": "content_block_stop", "index": index}]

    def call(index: int, name: str) -> list[dict[str, Any]]:
        return block(index, type="server_tool_use", id=f"srvtoolu_{index}", name=name, input={})

    begun = {"id": "msg_1", "role": "assistant", "content": [], "usage": {"input_tokens": 9, "output_tokens": 1}}
    found = used(
        Endpoint.MESSAGES,
        {"type": "message_start", "message": begun},
        *call(0, "web_search"),
        *call(1, "web_fetch"),
        *call(2, "web_search"),
    )
    assert (found.input, found.tools, found.basis) == (9, (("web_search", 2),), Basis.ESTIMATED)


def test_a_model_that_searches_for_every_answer_has_searched_also_where_it_was_cut() -> None:
    chunk = {"id": "c", "model": "gpt-4o-search-preview", "choices": [{"index": 0, "delta": {"content": "So"}}]}
    assert used(Endpoint.CHAT, chunk).tools == (("web_search", 1),)
    assert used(Endpoint.CHAT, {**chunk, "model": "gpt-4o"}).tools == ()
