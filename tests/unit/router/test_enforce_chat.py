"""What reaches an app of an answer in the chat format, read by the official SDK."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import openai
import pytest
from openai.types.chat import ChatCompletion

from router.errors import RouterError
from router.stages.conversation import chat_message
from router.stages.enforce import Enforced, StreamEnforcer, enforce_json
from router.usage import Usage
from routing_rules.decisions import ToolGrant
from routing_rules.task import Endpoint

SEARCH = ToolGrant(granted=(("function", "search"),))
USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 20,
    "total_tokens": 140,
    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 8, "audio_tokens": 0},
}
ENVELOPE = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1750000000, "model": "small-1"}
DONE = b"data: [DONE]\n\n"


def called(name: str, arguments: str = "{}", id: str = "call_1", kind: str = "function") -> dict[str, Any]:
    return {"id": id, "type": kind, kind: {"name": name, "arguments" if kind == "function" else "input": arguments}}


def completion(message: dict[str, Any], finish: str = "stop", **fields: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "logprobs": None, "finish_reason": finish}
    whole = {**ENVELOPE, "object": "chat.completion", "choices": [choice], "usage": USAGE, **fields}
    return msgspec.json.encode(whole)


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0, **fields: Any) -> bytes:
    choices = [] if delta is None else [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}]
    return b"data: " + msgspec.json.encode({**ENVELOPE, "choices": choices, "usage": None, **fields}) + b"\n\n"


def fragment(index: int, **call: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, **call}]}


def judged(raw: bytes, grant: ToolGrant = SEARCH, denial_is_error: bool = False) -> Enforced:
    return enforce_json(Endpoint.CHAT, raw, grant, denial_is_error=denial_is_error)


def streamed(
    events: list[bytes], grant: ToolGrant = SEARCH, strip_usage: bool = False, denial_is_error: bool = False
) -> tuple[bytes, Enforced]:
    enforcer = StreamEnforcer(Endpoint.CHAT, grant, strip_usage=strip_usage, denial_is_error=denial_is_error)
    passed = b"".join(enforcer.feed(event) for event in events)
    end = enforcer.end()
    return passed + end.body, end


def accumulated(stream: bytes) -> ChatCompletion:
    """The whole completion, as the SDK's stream helper puts it together."""

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream)

    transport = httpx.Client(transport=httpx.MockTransport(answer))
    with (
        openai.OpenAI(api_key="test", base_url="http://provider.test/v1", http_client=transport) as client,
        client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "hi"}]) as stream_of_sdk,
    ):
        return stream_of_sdk.get_final_completion()


TEXT_STREAM = [
    chunk({"role": "assistant", "content": "", "refusal": None}),
    b": keep-alive\n\n",
    chunk({"content": "Hello "}),
    chunk({"content": "world"}),
    chunk({}, "stop"),
    chunk(usage=USAGE),
    DONE,
]


class TestJson:
    def test_an_answer_without_calls_is_the_identical_object(self) -> None:
        raw = completion({"content": "Hello"})
        assert judged(raw).body is raw

    def test_an_answer_with_granted_calls_is_the_identical_object(self) -> None:
        raw = completion({"tool_calls": [called("search")]}, "tool_calls")
        enforced = judged(raw)
        assert enforced.body is raw
        assert enforced.released == ("search",)
        assert enforced.issued_ids == ("call_1",)

    def test_a_call_that_was_not_granted_becomes_a_note(self) -> None:
        enforced = judged(completion({"tool_calls": [called("wipe")]}, "tool_calls"))
        (choice,) = ChatCompletion.model_validate_json(enforced.body).choices
        assert choice.finish_reason == "stop"
        assert choice.message.tool_calls is None
        assert "`wipe`" in (choice.message.content or "")
        assert (enforced.refused, enforced.released, enforced.issued_ids) == (("wipe",), (), ())

    def test_granted_siblings_of_a_refused_call_are_kept_and_nothing_is_said(self) -> None:
        calls = [called("wipe", id="call_1"), called("search", id="call_2")]
        enforced = judged(completion({"tool_calls": calls}, "tool_calls"), denial_is_error=True)
        (choice,) = ChatCompletion.model_validate_json(enforced.body).choices
        assert choice.finish_reason == "tool_calls"
        assert [call.id for call in choice.message.tool_calls or ()] == ["call_2"]
        assert choice.message.content is None
        assert (enforced.refused, enforced.released, enforced.error) == (("wipe",), ("search",), None)

    def test_the_note_follows_what_the_model_said(self) -> None:
        enforced = judged(completion({"content": "Let me look.", "tool_calls": [called("wipe")]}, "tool_calls"))
        (choice,) = ChatCompletion.model_validate_json(enforced.body).choices
        assert (choice.message.content or "").startswith("Let me look.\n\nThe tool `wipe` is not entitled")

    def test_a_grant_is_for_one_kind_of_tool(self) -> None:
        grant = ToolGrant(granted=(("custom", "search"),))
        assert judged(completion({"tool_calls": [called("search")]}, "tool_calls"), grant).refused == ("search",)
        assert judged(completion({"tool_calls": [called("search", kind="custom")]}, "tool_calls"), grant).released == ("search",)

    def test_a_legacy_function_call_is_held_to_the_grant_too(self) -> None:
        enforced = judged(completion({"function_call": {"name": "wipe", "arguments": "{}"}}, "function_call"))
        (choice,) = ChatCompletion.model_validate_json(enforced.body).choices
        assert (choice.finish_reason, choice.message.function_call, enforced.refused) == ("stop", None, ("wipe",))
        assert judged(completion({"function_call": {"name": "search", "arguments": "{}"}}, "function_call")).released == (
            "search",
        )

    @pytest.mark.parametrize(
        "call",
        [
            "wipe",
            {},
            {"id": "c", "type": "function"},
            {"id": "c", "type": "function", "function": "search"},
            {"id": "c", "type": "function", "function": {"name": ["search"], "arguments": "{}"}},
            {"id": "c", "type": "function", "function": {"name": "search", "arguments": {"a": 1}}},
            {"id": "c", "type": "custom", "function": {"name": "search", "arguments": "{}"}},
            {**called("search"), "custom": {"name": "wipe", "input": ""}},
        ],
        ids=str,
    )
    def test_a_call_that_is_not_clearly_a_granted_one_is_refused(self, call: Any) -> None:
        enforced = judged(completion({"tool_calls": [call]}, "tool_calls"))
        assert len(enforced.refused) == 1
        assert b"tool_calls" not in enforced.body

    def test_each_choice_is_judged_by_itself(self) -> None:
        choices = [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "tool_calls": [called("wipe")]},
                "finish_reason": "tool_calls",
            },
            {"index": 1, "message": {"role": "assistant", "content": "Plain"}, "finish_reason": "stop"},
            {
                "index": 2,
                "message": {"role": "assistant", "content": None, "tool_calls": [called("search")]},
                "finish_reason": "tool_calls",
            },
        ]
        enforced = judged(completion({}, choices=choices))
        answer = ChatCompletion.model_validate_json(enforced.body)
        assert [choice.finish_reason for choice in answer.choices] == ["stop", "stop", "tool_calls"]
        assert enforced.assistant == tuple(chat_message(choice.message.model_dump()) for choice in answer.choices)

    def test_a_denial_is_an_error_where_prose_would_be_wrong(self) -> None:
        enforced = judged(completion({"tool_calls": [called("wipe")]}, "tool_calls"), denial_is_error=True)
        assert enforced.error is not None
        assert (enforced.error.code, enforced.body, enforced.assistant) == ("tool_not_entitled", b"", ())
        assert enforced.usage is not None

    def test_a_name_that_looks_like_no_name_is_never_repeated(self) -> None:
        enforced = judged(completion({"tool_calls": [called("my card is 4111 1111 1111 1111")]}, "tool_calls"))
        assert enforced.refused == ("(unnamed)",)
        assert b"4111" not in enforced.body

    def test_usage_comes_with_its_details(self) -> None:
        assert judged(completion({"content": "x"})).usage == Usage(input=120, cached_input=64, output=20, reasoning=8)

    def test_reported_zeros_stay_zeros_and_silence_is_none(self) -> None:
        zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        assert judged(completion({"content": "x"}, usage=zeros)).usage == Usage()
        assert judged(completion({"content": "x"}, usage=None)).usage is None
        assert judged(completion({"content": "x"}, usage={"prompt_tokens": -1, "completion_tokens": 2})).usage is None

    def test_reasoning_that_is_counted_beside_the_output_is_billed_as_output(self) -> None:
        usage = {**USAGE, "total_tokens": 148}
        assert judged(completion({"content": "x"}, usage=usage)).usage == Usage(
            input=120, cached_input=64, output=28, reasoning=8
        )

    def test_text_and_arguments_are_counted_for_estimates(self) -> None:
        message = {"content": "four", "tool_calls": [called("wipe", "12345")]}
        assert judged(completion(message, "tool_calls")).output_chars == 9

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"<html>",
            b"[]",
            b"{}",
            b'{"choices":[{}]}',
            b'{"choices":"x"}',
            b'{"choices":[{"message":{"content":"\xff"}}]}',
            b"[" * 100_000,
        ],
        ids=["empty", "html", "list", "object", "no message", "wrong type", "not UTF-8", "deep"],
    )
    def test_garbage_is_an_upstream_error(self, raw: bytes) -> None:
        enforced = judged(raw)
        assert enforced.error is not None
        assert (enforced.error.code, enforced.body, enforced.complete) == ("upstream_error", b"", False)

    @pytest.mark.parametrize(
        ("reported", "code"),
        [
            ({"message": "secret words", "type": "server_error", "code": None}, "upstream_error"),
            ({"message": "secret words", "code": "rate_limit_exceeded"}, "rate_limit_exceeded"),
            ({"message": "secret words", "code": "context_length_exceeded"}, "context_length_exceeded"),
            ("secret words", "upstream_error"),
        ],
        ids=["server_error", "rate_limit", "context", "text"],
    )
    def test_an_error_inside_a_success_is_an_error_without_the_providers_words(self, reported: Any, code: str) -> None:
        error = judged(msgspec.json.encode({"error": reported})).error
        assert error is not None
        assert error.code == code
        assert "secret" not in str(error.body())


class TestStream:
    def test_text_passes_byte_for_byte_and_the_end_is_kept_back(self) -> None:
        passed, end = streamed(TEXT_STREAM)
        assert passed + end.tail == b"".join(TEXT_STREAM)
        assert end.tail == DONE
        assert end.complete
        assert end.usage == Usage(input=120, cached_input=64, output=20, reasoning=8)
        assert (end.model, end.response_id, end.output_chars) == ("small-1", "chatcmpl-1", 11)
        assert end.assistant == (chat_message({"role": "assistant", "content": "Hello world"}),)

    def test_text_passes_at_once(self) -> None:
        enforcer = StreamEnforcer(Endpoint.CHAT, SEARCH, strip_usage=True, denial_is_error=True)
        for event in TEXT_STREAM[:-2]:
            assert enforcer.feed(event) == event

    def test_only_the_usage_chunk_is_kept_from_an_app_that_did_not_ask(self) -> None:
        passed, end = streamed(TEXT_STREAM, strip_usage=True)
        assert passed == b"".join(TEXT_STREAM[:-2])
        assert end.usage is not None

    def test_a_chunk_without_choices_that_is_no_usage_passes(self) -> None:
        filters = chunk(None, prompt_filter_results=[])
        assert streamed([filters, *TEXT_STREAM], strip_usage=True)[0].startswith(filters)

    def test_a_granted_call_comes_whole_in_one_chunk(self) -> None:
        events = [
            chunk(
                {
                    "role": "assistant",
                    "content": None,
                    **fragment(0, id="call_1", type="function", function={"name": "search", "arguments": ""}),
                }
            ),
            chunk(fragment(0, function={"arguments": '{"q":'})),
            chunk(fragment(0, function={"arguments": '"x"}'})),
            chunk({}, "tool_calls"),
            DONE,
        ]
        passed, end = streamed(events)
        (choice,) = accumulated(passed + end.tail).choices
        assert choice.finish_reason == "tool_calls"
        (call,) = choice.message.model_dump()["tool_calls"]
        assert (call["id"], call["function"]["name"], call["function"]["arguments"]) == ("call_1", "search", '{"q":"x"}')
        assert passed.count(b'"tool_calls":[') == 1
        assert (end.released, end.issued_ids) == (("search",), ("call_1",))
        assert end.assistant == (chat_message(choice.message.model_dump()),)

    def test_calls_are_counted_from_zero_again_when_one_before_them_is_refused(self) -> None:
        events = [
            chunk({"role": "assistant", "content": None}),
            chunk(fragment(0, id="call_1", type="function", function={"name": "wipe", "arguments": '{"a'})),
            chunk(fragment(1, id="call_2", type="function", function={"name": "search", "arguments": "{"})),
            chunk(fragment(0, function={"arguments": '":1}'})),
            chunk(fragment(1, function={"arguments": "}"})),
            chunk({}, "tool_calls"),
            chunk(usage=USAGE),
            DONE,
        ]
        passed, end = streamed(events)
        (choice,) = accumulated(passed + end.tail).choices
        assert [(call["index"], call["id"]) for call in choice.message.model_dump()["tool_calls"]] == [(0, "call_2")]
        assert b"wipe" not in passed
        assert (end.refused, end.released) == (("wipe",), ("search",))

    def test_a_refused_call_becomes_a_note_and_a_normal_end(self) -> None:
        events = [
            chunk({"role": "assistant", "content": "One moment."}),
            chunk(fragment(0, id="call_1", type="function", function={"name": "wipe", "arguments": "{}"})),
            chunk({}, "tool_calls"),
            DONE,
        ]
        passed, end = streamed(events)
        (choice,) = accumulated(passed + end.tail).choices
        assert choice.finish_reason == "stop"
        assert (choice.message.content or "").startswith("One moment.\n\nThe tool `wipe` is not entitled")
        assert not choice.message.tool_calls
        assert end.assistant == (chat_message(choice.message.model_dump()),)

    def test_a_call_may_come_whole_in_the_last_chunk(self) -> None:
        for name, finish in (("search", "tool_calls"), ("wipe", "stop")):
            whole = {"role": "assistant", "tool_calls": [called(name)]}
            passed, end = streamed([chunk(whole, "tool_calls"), DONE])
            (choice,) = accumulated(passed + end.tail).choices
            assert choice.finish_reason == finish
            assert [call["function"]["name"] for call in choice.message.model_dump()["tool_calls"] or ()] == (
                ["search"] if name == "search" else []
            )

    def test_what_is_said_in_the_last_chunk_comes_before_the_note(self) -> None:
        passed, end = streamed(
            [chunk({"role": "assistant", "content": "Well.", "tool_calls": [called("wipe")]}, "tool_calls"), DONE]
        )
        (choice,) = accumulated(passed + end.tail).choices
        assert (choice.message.content or "").startswith("Well.\n\nThe tool `wipe`")
        assert end.assistant == (chat_message(choice.message.model_dump()),)

    def test_calls_without_a_finish_reason_are_whole_when_the_stream_is_done(self) -> None:
        passed, end = streamed([chunk({"tool_calls": [{"index": 0, **called("search")}]}), DONE])
        assert b'"name":"search"' in passed
        assert (end.released, end.complete) == (("search",), True)

    def test_what_servers_add_to_a_call_is_kept(self) -> None:
        call = {**called("search"), "extra_content": {"google": {"thought_signature": "abc"}}}
        passed, _ = streamed([chunk({"tool_calls": [{"index": 0, **call}]}), chunk({}, "tool_calls"), DONE])
        assert b'"thought_signature":"abc"' in passed

    def test_custom_and_legacy_calls_are_held_to_the_grant(self) -> None:
        grant = ToolGrant(granted=(("custom", "shell"), ("function", "old")))
        custom = [
            chunk(fragment(0, id="c", type="custom", custom={"name": "shell", "input": "l"})),
            chunk(fragment(0, custom={"input": "s"})),
        ]
        passed, end = streamed([*custom, chunk({}, "tool_calls"), DONE], grant)
        assert b'"custom":{"name":"shell","input":"ls"}' in passed
        assert end.released == ("shell",)
        legacy = [chunk({"function_call": {"name": "old", "arguments": ""}}), chunk({"function_call": {"arguments": "{}"}})]
        passed, end = streamed([*legacy, chunk({}, "function_call"), DONE], grant)
        assert b'"function_call":{"name":"old","arguments":"{}"}' in passed
        passed, end = streamed([*legacy, chunk({}, "function_call"), DONE])
        assert end.refused == ("old",)
        assert b'"finish_reason":"stop"' in passed

    def test_the_text_of_one_choice_does_not_wait_for_the_call_of_another(self) -> None:
        enforcer = StreamEnforcer(Endpoint.CHAT, SEARCH, strip_usage=True, denial_is_error=False)
        assert (
            enforcer.feed(chunk(fragment(0, id="c", type="function", function={"name": "search", "arguments": ""}), index=0))
            == b""
        )
        text = chunk({"content": "hi"}, index=1)
        assert enforcer.feed(text) == text

    def test_a_denial_is_an_error_where_prose_would_be_wrong(self) -> None:
        events = [
            chunk({"role": "assistant", "content": None}),
            chunk(fragment(0, id="call_1", type="function", function={"name": "wipe", "arguments": "{}"})),
            chunk({}, "tool_calls"),
            chunk(usage=USAGE),
            DONE,
        ]
        passed, end = streamed(events, denial_is_error=True)
        assert passed == events[0]
        assert end.error is not None
        assert (end.error.code, end.tail, end.assistant) == ("tool_not_entitled", b"", ())
        assert end.usage is not None

    def test_a_stream_that_breaks_off_releases_no_call_that_may_be_half(self) -> None:
        events = [
            chunk({"role": "assistant", "content": "Well"}),
            chunk(fragment(0, id="call_1", type="function", function={"name": "search", "arguments": '{"q'})),
        ]
        passed, end = streamed([*events, b'data: {"choices":[{"index":0,"del'])
        assert passed == events[0]
        assert (end.complete, end.tail, end.released, end.usage, end.error) == (False, b"", (), None, None)
        assert end.output_chars == 7

    def test_a_finish_reason_for_every_choice_is_a_proper_end_without_done(self) -> None:
        assert streamed([chunk({"content": "a"}), chunk({}, "stop")])[1].complete
        assert not streamed([chunk({"content": "a"}, index=1), chunk({}, "stop")])[1].complete

    def test_done_without_its_last_line_feed_still_ends_the_stream(self) -> None:
        end = streamed([chunk({"content": "a"}, "stop"), b"data: [DONE]"])[1]
        assert (end.tail, end.complete) == (DONE, True)

    def test_nothing_follows_the_end(self) -> None:
        late = chunk({"tool_calls": [{"index": 0, **called("search")}]}, "tool_calls")
        passed, end = streamed([chunk({"content": "a"}, "stop"), DONE, late])
        assert (passed + end.tail).endswith(DONE)

    def test_calls_after_the_finish_of_their_choice_are_dropped(self) -> None:
        first = chunk({"tool_calls": [{"index": 0, **called("search")}]}, "tool_calls")
        late = chunk({"tool_calls": [{"index": 0, **called("wipe", id="call_9")}]}, "tool_calls")
        passed, end = streamed([first, late, DONE])
        assert b"wipe" not in passed
        assert end.released == ("search",)

    @pytest.mark.parametrize(
        "event",
        [b"data: oops\n\n", b'data: {"choices":{}}\n\n', b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n'],
        ids=repr,
    )
    def test_garbage_in_a_stream_is_an_upstream_error(self, event: bytes) -> None:
        passed, end = streamed([TEXT_STREAM[0], event, *TEXT_STREAM[1:]])
        assert passed == TEXT_STREAM[0]
        assert isinstance(end.error, RouterError)
        assert (end.error.code, end.tail) == ("upstream_error", b"")

    def test_a_providers_error_event_is_not_passed_on(self) -> None:
        passed, end = streamed([TEXT_STREAM[0], b'data: {"error":{"message":"secret words","type":"server_error"}}\n\n'])
        assert passed == TEXT_STREAM[0]
        assert end.error is not None
        assert "secret" not in str(end.error.body())

    def test_calls_in_a_whole_message_inside_a_chunk_do_not_pass(self) -> None:
        choice = {"index": 0, "delta": {"content": "a"}, "message": {"tool_calls": [called("wipe")]}, "finish_reason": None}
        passed, _ = streamed([chunk(None, choices=[choice]), DONE])
        assert b"wipe" not in passed


def test_embeddings_pass_with_their_usage() -> None:
    raw = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1]}],"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}'
    enforced = enforce_json(Endpoint.EMBEDDINGS, raw, ToolGrant(), denial_is_error=False)
    assert enforced.body is raw
    assert (enforced.usage, enforced.model, enforced.complete) == (Usage(input=8), "e", True)
