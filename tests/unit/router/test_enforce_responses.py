"""What reaches an app of an answer in the responses format, read by the official SDK."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from router.sse import data_of
from router.stages.conversation import response_item
from router.stages.enforce import Enforced, StreamEnforcer, enforce_json
from router.usage import Usage
from routing_rules.decisions import ToolGrant
from routing_rules.task import Endpoint

SEARCH = ToolGrant(granted=(("function", "search"),))
USAGE = {
    "input_tokens": 120,
    "input_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 3},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 8},
    "total_tokens": 140,
}
TEXT_PART = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
MESSAGE = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [TEXT_PART]}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": []}


def function(name: str, number: int = 1, arguments: str = '{"q":"x"}', **fields: Any) -> dict[str, Any]:
    called = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "status": "completed"}
    return {**called, "name": name, "arguments": arguments, **fields}


def response(output: list[dict[str, Any]], status: str = "completed", usage: Any = USAGE) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1750000000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": "small-1",
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }


def body(output: list[dict[str, Any]], **fields: Any) -> bytes:
    return msgspec.json.encode({**response(output), **fields})


BEGUN: dict[str, dict[str, Any]] = {
    "message": {"content": []},
    "function_call": {"arguments": ""},
    "custom_tool_call": {"input": ""},
}
"""What an item lacks as long as it is streamed."""


def stream_of(output: list[dict[str, Any]], end: str = "completed") -> list[bytes]:
    """The events by which a provider streams such an output."""
    told: list[dict[str, Any]] = [
        {"type": f"response.{kind}", "response": response([], "in_progress", None)} for kind in ("created", "in_progress")
    ]
    for index, item in enumerate(output):
        where = {"output_index": index, "item_id": item.get("id")}
        begun = BEGUN.get(item["type"], {})
        told.append(
            {"type": "response.output_item.added", "output_index": index, "item": {**item, "status": "in_progress", **begun}}
        )
        if item["type"] == "message":
            part = {**where, "content_index": 0}
            told.append({"type": "response.content_part.added", **part, "part": {**TEXT_PART, "text": ""}})
            told += [
                {"type": "response.output_text.delta", **part, "delta": letter, "logprobs": []}
                for letter in item["content"][0]["text"]
            ]
            told.append({"type": "response.output_text.done", **part, "text": item["content"][0]["text"], "logprobs": []})
            told.append({"type": "response.content_part.done", **part, "part": item["content"][0]})
        elif item["type"] == "function_call":
            told += [{"type": "response.function_call_arguments.delta", **where, "delta": letter} for letter in item["arguments"]]
            told.append(
                {"type": "response.function_call_arguments.done", **where, "arguments": item["arguments"], "name": item["name"]}
            )
        elif item["type"] == "custom_tool_call":
            told.append({"type": "response.custom_tool_call_input.delta", **where, "delta": item["input"]})
            told.append({"type": "response.custom_tool_call_input.done", **where, "input": item["input"]})
        elif item["type"] == "web_search_call":
            told += [
                {"type": f"response.web_search_call.{state}", **where} for state in ("in_progress", "searching", "completed")
            ]
        told.append({"type": "response.output_item.done", "output_index": index, "item": item})
    told.append({"type": f"response.{end}", "response": response(output, end)})
    return [as_event({**event, "sequence_number": number}) for number, event in enumerate(told)]


def as_event(event: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), msgspec.json.encode(event))


def judged(raw: bytes, grant: ToolGrant = SEARCH, denial_is_error: bool = False) -> Enforced:
    return enforce_json(Endpoint.RESPONSES, raw, grant, denial_is_error=denial_is_error)


def streamed(events: list[bytes], grant: ToolGrant = SEARCH, denial_is_error: bool = False) -> tuple[bytes, Enforced]:
    enforcer = StreamEnforcer(Endpoint.RESPONSES, grant, strip_usage=False, denial_is_error=denial_is_error)
    passed = b"".join(enforcer.feed(event) for event in events)
    end = enforcer.end()
    return passed + end.body, end


EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


def checked(stream: bytes) -> tuple[Response, list[dict[str, Any]]]:
    """The final response as the SDK's stream helper has it, and the raw events, each one valid and numbered without a gap."""

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream)

    transport = httpx.Client(transport=httpx.MockTransport(answer))
    with (
        openai.OpenAI(api_key="test", base_url="http://provider.test/v1", http_client=transport) as client,
        client.responses.stream(model="m", input="hi") as stream_of_sdk,
    ):
        final = stream_of_sdk.get_final_response()
    events = [msgspec.json.decode(data_of(event + b"\n\n")) for event in stream.split(b"\n\n") if event]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        EVENT.validate_python(event)
    begun = [event["output_index"] for event in events if event["type"] == "response.output_item.added"]
    assert begun == list(range(len(final.output)))
    whole = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert whole == events[-1]["response"]["output"]
    return final, events


class TestJson:
    def test_an_answer_of_granted_and_spoken_items_is_the_identical_object(self) -> None:
        raw = body([REASONING, MESSAGE, function("search")])
        enforced = judged(raw)
        assert enforced.body is raw
        assert enforced.usage == Usage(input=120, cached_input=64, cache_write=3, output=20, reasoning=8)
        assert enforced.issued_ids == ("resp_1", "rs_1", "call_1")
        assert enforced.assistant == (response_item(MESSAGE), response_item(function("search")))
        assert (enforced.released, enforced.model, enforced.response_id) == (("search",), "small-1", "resp_1")

    def test_a_refused_call_that_leaves_nothing_becomes_a_message(self) -> None:
        enforced = judged(body([REASONING, function("wipe")]))
        answer = Response.model_validate_json(enforced.body)
        assert [item.type for item in answer.output] == ["reasoning", "message"]
        assert "`wipe`" in answer.output_text
        assert enforced.refused == ("wipe",)
        assert enforced.issued_ids == ("resp_1", "rs_1")

    def test_granted_siblings_are_kept_and_nothing_is_said(self) -> None:
        enforced = judged(body([function("wipe", 1), function("search", 2)]), denial_is_error=True)
        answer = Response.model_validate_json(enforced.body)
        assert [item.type for item in answer.output] == ["function_call"]
        assert (enforced.error, enforced.refused, enforced.released) == (None, ("wipe",), ("search",))

    def test_an_app_that_would_wait_for_the_call_is_told_even_where_a_message_is_left(self) -> None:
        answer = Response.model_validate_json(judged(body([MESSAGE, function("wipe")])).body)
        assert [item.type for item in answer.output] == ["message", "message"]

    def test_a_hosted_call_that_was_not_granted_is_removed_and_recorded(self) -> None:
        search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}
        enforced = judged(body([search, MESSAGE]))
        assert [item.type for item in Response.model_validate_json(enforced.body).output] == ["message"]
        assert enforced.refused == ("web_search",)
        granted = judged(body([search, MESSAGE]), ToolGrant(granted=(("web_search_preview", "web_search_preview"),)))
        assert granted.released == ("web_search",)

    @pytest.mark.parametrize(
        ("item", "grant"),
        [
            (function("lookup", namespace="crm"), ("function", "crm.lookup")),
            ({"type": "custom_tool_call", "id": "c", "call_id": "c", "name": "sql", "input": "x"}, ("custom", "sql")),
            ({"type": "mcp_call", "id": "m", "server_label": "wiki", "name": "read", "arguments": "{}"}, ("mcp", "wiki")),
            ({"type": "mcp_list_tools", "id": "m", "server_label": "wiki", "tools": []}, ("mcp", "wiki")),
            (
                {"type": "mcp_approval_request", "id": "m", "server_label": "wiki", "name": "read", "arguments": "{}"},
                ("mcp", "wiki"),
            ),
            ({"type": "code_interpreter_call", "id": "c", "code": "1"}, ("code_interpreter", "code_interpreter")),
            ({"type": "computer_call", "id": "c", "call_id": "c"}, ("computer_use_preview", "computer_use_preview")),
            ({"type": "shell_call", "id": "c", "call_id": "c"}, ("shell", "shell")),
            ({"type": "local_shell_call", "id": "c", "call_id": "c"}, ("local_shell", "local_shell")),
            ({"type": "tool_search_output", "id": "c", "tools": []}, ("tool_search", "tool_search")),
        ],
        ids=lambda value: value["type"] if isinstance(value, dict) else "",
    )
    def test_an_item_passes_with_its_own_grant_and_no_other(self, item: dict[str, Any], grant: tuple[str, str]) -> None:
        raw = body([MESSAGE, item])
        assert judged(raw, ToolGrant(granted=(grant,))).body is raw
        others = (("function", "lookup"), ("function", "sql"), ("mcp", "other"), ("mcp", "mcp"), ("file_search", "file_search"))
        assert len(judged(raw, ToolGrant(granted=others)).refused) == 1

    @pytest.mark.parametrize(
        "item", [{}, {"type": None}, {"type": ["message"]}, {"type": "new_call"}, {"type": "function_call"}], ids=str
    )
    def test_an_item_of_no_known_kind_does_not_pass(self, item: dict[str, Any]) -> None:
        enforced = judged(body([MESSAGE, item]))
        assert msgspec.json.decode(enforced.body)["output"][0] == MESSAGE
        assert len(enforced.refused) == 1

    def test_a_denial_is_an_error_where_prose_would_be_wrong(self) -> None:
        enforced = judged(body([function("wipe")]), denial_is_error=True)
        assert enforced.error is not None
        assert (enforced.error.code, enforced.body, enforced.issued_ids) == ("tool_not_entitled", b"", ())
        assert enforced.usage is not None

    def test_a_failed_response_passes_and_says_so(self) -> None:
        raw = body([], status="failed", error={"code": "server_error", "message": "x"})
        enforced = judged(raw)
        assert (enforced.body, enforced.failed, enforced.error) == (raw, True, None)

    @pytest.mark.parametrize("raw", [b"", b"{}", b'{"error":{"message":"x"}}', b'{"id":"r","output":{}}'], ids=repr)
    def test_garbage_is_an_upstream_error(self, raw: bytes) -> None:
        error = judged(raw).error
        assert error is not None
        assert error.code == "upstream_error"


class TestStream:
    @pytest.mark.parametrize(
        "output", [[MESSAGE], [REASONING, MESSAGE, function("search"), function("search", 2)]], ids=["text", "calls"]
    )
    def test_what_is_granted_passes_byte_for_byte_and_the_end_is_kept_back(self, output: list[dict[str, Any]]) -> None:
        events = stream_of(output)
        passed, end = streamed(events)
        assert passed == b"".join(events[:-1])
        assert end.tail == events[-1]
        assert end.complete
        assert end.usage == Usage(input=120, cached_input=64, cache_write=3, output=20, reasoning=8)
        whole = judged(body(output))
        assert (end.assistant, end.issued_ids, end.released) == (whole.assistant, whole.issued_ids, whole.released)
        assert (end.model, end.response_id, end.output_chars) == ("small-1", "resp_1", whole.output_chars)

    def test_text_passes_at_once(self) -> None:
        enforcer = StreamEnforcer(Endpoint.RESPONSES, SEARCH, strip_usage=False, denial_is_error=True)
        for event in stream_of([MESSAGE])[:-1]:
            assert enforcer.feed(event) == event

    def test_a_call_passes_only_when_it_is_whole(self) -> None:
        enforcer = StreamEnforcer(Endpoint.RESPONSES, SEARCH, strip_usage=False, denial_is_error=False)
        events = stream_of([function("search")])
        assert [bool(enforcer.feed(event)) for event in events[2:-2]] == [False] * (len(events) - 4)
        assert enforcer.feed(events[-2]) == b"".join(events[2:-1])

    def test_a_refused_call_leaves_a_message_and_right_numbers(self) -> None:
        passed, end = streamed(stream_of([REASONING, function("wipe")]))
        final, _ = checked(passed + end.tail)
        assert [item.type for item in final.output] == ["reasoning", "message"]
        assert "`wipe`" in final.output_text
        assert b"fc_1" not in passed + end.tail
        assert (end.refused, end.released) == (("wipe",), ())
        assert end.assistant == (response_item(final.output[1].model_dump()),)

    def test_items_after_a_refused_one_move_up(self) -> None:
        passed, end = streamed(stream_of([function("wipe", 1), MESSAGE, function("wipe", 2), function("search", 3)]))
        final, _ = checked(passed + end.tail)
        assert [item.type for item in final.output] == ["message", "function_call"]
        assert end.issued_ids == ("resp_1", "call_3")
        assert (end.refused, end.released) == (("wipe", "wipe"), ("search",))

    def test_hosted_calls_that_were_not_granted_are_dropped_with_all_their_events(self) -> None:
        search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}
        events = stream_of([search, MESSAGE])
        passed, end = streamed(events)
        final, _ = checked(passed + end.tail)
        assert [item.type for item in final.output] == ["message"]
        assert b"web_search" not in passed
        assert end.refused == ("web_search",)
        assert streamed(events, ToolGrant(granted=(("web_search", "web_search"),)))[0] == b"".join(events[:-1])

    def test_a_name_that_changes_when_the_call_is_whole_is_judged_again(self) -> None:
        events = stream_of([function("search")])
        events = [
            event if b"output_item.added" in event else event.replace(b'"name":"search"', b'"name":"wipe"') for event in events
        ]
        passed, end = streamed(events)
        assert b"fc_1" not in passed + end.tail
        assert end.refused == ("wipe",)

    def test_a_call_that_was_never_announced_does_not_pass(self) -> None:
        events = [event for event in stream_of([MESSAGE, function("wipe")]) if b"output_item" not in event]
        passed, end = streamed(events)
        assert b"fc_1" not in passed + end.tail
        assert b"Hello" in passed

    def test_only_the_last_event_may_name_a_call_and_is_held_to_the_grant(self) -> None:
        events = [
            *stream_of([MESSAGE])[:-1],
            as_event({"type": "response.completed", "response": response([MESSAGE, function("wipe")]), "sequence_number": 90}),
        ]
        passed, end = streamed(events)
        assert b"fc_1" not in passed + end.tail
        assert end.refused == ("wipe",)

    def test_calls_that_interleave_are_released_together(self) -> None:
        first, second = function("search", 1), function("search", 2)
        events = stream_of([first, second])
        half = [event for event in events if b'"output_index":0' in event]
        other = [event for event in events if b'"output_index":1' in event]
        mixed = [events[0], events[1], *[event for pair in zip(half, other, strict=True) for event in pair], events[-1]]
        passed, end = streamed(mixed)
        assert passed == b"".join(mixed[:-1])
        assert end.released == ("search", "search")

    def test_a_denial_is_an_error_where_prose_would_be_wrong(self) -> None:
        passed, end = streamed(stream_of([function("wipe")]), denial_is_error=True)
        assert end.error is not None
        assert (end.error.code, end.tail, end.next_number) == ("tool_not_entitled", b"", 2)
        assert passed.count(b"event:") == 2
        assert end.usage is not None

    def test_a_stream_that_breaks_off_releases_no_call_that_may_be_half(self) -> None:
        events = stream_of([MESSAGE, function("search")])
        passed, end = streamed(events[:-4])
        assert b"fc_1" not in passed
        assert (end.complete, end.tail, end.usage, end.released) == (False, b"", None, ())
        assert end.next_number == passed.count(b"event:")
        assert end.assistant == (response_item(MESSAGE),)

    @pytest.mark.parametrize("kind", ["incomplete", "failed"])
    def test_other_ends_are_proper_ends_too(self, kind: str) -> None:
        events = stream_of([MESSAGE], kind)
        _, end = streamed(events)
        assert (end.tail, end.complete, end.failed) == (events[-1], True, kind == "failed")

    def test_a_providers_error_event_is_not_passed_on(self) -> None:
        failure = {"type": "error", "code": "server_error", "message": "secret words", "param": None, "sequence_number": 2}
        passed, end = streamed([*stream_of([MESSAGE])[:2], as_event(failure)])
        assert b"secret" not in passed
        assert end.error is not None
        assert (end.error.code, end.complete) == ("upstream_error", False)

    @pytest.mark.parametrize(
        "event",
        [b"data: oops\n\n", b'data: {"type":"response.output_item.added"}\n\n', b'data: {"output_index":"a"}\n\n'],
        ids=repr,
    )
    def test_garbage_in_a_stream_is_an_upstream_error(self, event: bytes) -> None:
        passed, end = streamed([*stream_of([MESSAGE])[:2], event, *stream_of([MESSAGE])[2:]])
        assert passed.count(b"event:") == 2
        assert end.error is not None
        assert end.error.code == "upstream_error"

    def test_a_done_marker_after_the_end_stays_at_the_end(self) -> None:
        events = stream_of([MESSAGE])
        assert streamed([*events, b"data: [DONE]\n\n"])[1].tail == events[-1] + b"data: [DONE]\n\n"
