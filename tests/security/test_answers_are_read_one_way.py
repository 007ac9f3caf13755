"""No call reaches an app in bytes that another reader understands otherwise than the one by which they were judged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.stages.enforce import StreamEnforcer, enforce_json
from router.stages.plain import plain_event, plain_json, reads_one_way
from router.stages.tool_keys import Called
from routing_rules.decisions import ToolGrant
from routing_rules.task import Endpoint

LEVER = "quagga_lever"
NOTHING = ToolGrant()
CALL = {"id": "call_q", "type": "function", "function": {"name": LEVER, "arguments": "{}"}}
ITEM = {"id": "fc_q", "type": "function_call", "call_id": "call_q", "name": LEVER, "arguments": "{}", "status": "completed"}
SAID = {
    "id": "m1",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "hi", "annotations": []}],
}
RESPONSE = {"id": "resp_x", "object": "response", "status": "completed", "model": "m", "output": [SAID]}
MESSAGE = {"id": "msg_x", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
TEXT_BLOCK = [{"type": "text", "text": "hi"}]
USE = [{"type": "tool_use", "id": "t", "name": LEVER, "input": {}}]


def chat(message: str) -> str:
    choice = '{"index":0,%s,"finish_reason":"tool_calls"}'.replace("%s", message.replace("%s", json.dumps([CALL])))
    return '{"id":"x","model":"m","choices":[%s]}'.replace("%s", choice)


def after(first: dict[str, Any], rest: dict[str, Any]) -> str:
    """One object with the fields of both, also where they have the same name."""
    return json.dumps(first)[:-1] + ", " + json.dumps(rest)[1:]


def event(body: dict[str, Any]) -> bytes:
    return f"event: {body['type']}\ndata: {json.dumps(body)}\n\n".encode()


def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + json.dumps({"id": "c", "model": "m", "choices": [choice]}).encode() + b"\n\n"


def streamed(endpoint: Endpoint, stream: bytes, grant: ToolGrant = NOTHING, judge: Any = None) -> tuple[bytes, Any]:
    enforcer = StreamEnforcer(endpoint, grant, strip_usage=False, denial_is_error=False, judge=judge)
    told = enforcer.feed(stream)
    enforced = enforcer.end()
    return told + enforced.body + enforced.tail, enforced.error


ANSWERS = {
    "a response's `Output`": (Endpoint.RESPONSES, json.dumps({**RESPONSE, "Output": [ITEM]})),
    "a chat's `Tool_calls`": (Endpoint.CHAT, chat('"message":{"content":"a","Tool_calls":%s}')),
    "a chat's `tool_callſ`": (Endpoint.CHAT, chat('"message":{"content":"a","tool_callſ":%s}')),
    "an escaped `Tool_calls`": (Endpoint.CHAT, chat('"message":{"content":"a","\\u0054ool_calls":%s}')),
    "a chat's `Message`": (Endpoint.CHAT, chat('"message":{"content":"a"},"Message":{"tool_calls":%s}')),
    "a message twice": (Endpoint.CHAT, chat('"message":{"tool_calls":%s},"message":{"content":"a"}')),
    "an output twice": (Endpoint.RESPONSES, after({"output": [ITEM]}, RESPONSE)),
    "a message's `Content`": (Endpoint.MESSAGES, json.dumps({**MESSAGE, "content": TEXT_BLOCK, "Content": USE})),
    "content twice": (
        Endpoint.MESSAGES,
        after({"content": USE}, {**MESSAGE, "content": TEXT_BLOCK}),
    ),
}


@pytest.mark.parametrize(("api", "body"), ANSWERS.values(), ids=ANSWERS)
def test_a_call_that_only_another_reader_sees_is_left_out(api: Endpoint, body: str) -> None:
    enforced = enforce_json(api, body.encode(), NOTHING, denial_is_error=False)
    assert enforced.error is None
    assert b"quagga" not in enforced.body
    assert b"hi" in enforced.body or b'"a"' in enforced.body


BEGUN = event({"type": "response.created", "sequence_number": 0, "response": {**RESPONSE, "status": "in_progress", "output": []}})
SPEAKS = event({"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": SAID})
ENDED = event({"type": "response.completed", "sequence_number": 9, "response": RESPONSE})
TOLD = {
    "type": "response.function_call_arguments.done",
    "item_id": "fc_q",
    "name": LEVER,
    "arguments": "{}",
    "sequence_number": 2,
}
STREAMS = {
    "arguments of no place": (Endpoint.RESPONSES, BEGUN + event(TOLD) + ENDED),
    "arguments where a message stands": (Endpoint.RESPONSES, BEGUN + SPEAKS + event({**TOLD, "output_index": 0}) + ENDED),
    "behind the end of a chat": (
        Endpoint.CHAT,
        chunk({"content": "hi"}, "stop") + b"data: [DONE]\n" + chunk({"tool_calls": [CALL]}),
    ),
    "behind the end, in its line": (
        Endpoint.CHAT,
        chunk({"content": "hi"}, "stop") + b"data: [DONE]" + chunk({"tool_calls": [CALL]}),
    ),
    "an event of no data": (
        Endpoint.CHAT,
        chunk({"tool_calls": [CALL]}).replace(b"data", b"Data") + chunk({"content": "hi"}, "stop"),
    ),
    "a chunk's `Choices`": (
        Endpoint.CHAT,
        chunk({"tool_calls": [CALL]}).replace(b"choices", b"Choices") + chunk({"content": "hi"}, "stop"),
    ),
    "a delta's `Tool_calls`": (Endpoint.CHAT, chunk({"content": "hi", "Tool_calls": [CALL]}, "stop")),
    "after a fragment that is like it": (
        Endpoint.CHAT,
        chunk({"content": "hi"}) * 2
        + chunk({"content": "yo"}).replace(b'"yo"', b'"yo","Tool_calls":%s' % json.dumps([CALL]).encode()),
    ),
    "a block's `Content_block`": (
        Endpoint.MESSAGES,
        event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}, "Content_block": USE[0]})
        + event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}),
    ),
}


@pytest.mark.parametrize(("api", "stream"), STREAMS.values(), ids=STREAMS)
def test_a_call_that_only_another_reader_of_a_stream_sees_is_left_out(api: Endpoint, stream: bytes) -> None:
    told, error = streamed(api, stream)
    assert error is None
    assert b"hi" in told
    assert b"quagga" not in told


def test_a_line_of_an_event_is_no_event() -> None:
    inner = b"data: " + chunk({"tool_calls": [CALL]})[6:-1]
    told, error = streamed(
        Endpoint.CHAT, b'data: {"x":\n' + inner + b'data: ,"choices":[]}\n\n' + chunk({"content": "hi"}, "stop")
    )
    assert error is None
    assert inner not in told
    assert all("choices" in json.loads(line[6:]) for line in told.splitlines() if line)


def test_an_event_has_the_name_of_what_was_judged() -> None:
    named = SPEAKS.replace(b"event: response.output_item.added", b"event: quagga_lever")
    told, error = streamed(Endpoint.RESPONSES, BEGUN + named + ENDED)
    assert (told, error) == (BEGUN + SPEAKS.replace(b'": ', b'":').replace(b', "', b',"') + ENDED, None)


class Lenient:
    """A judge that lets every call through."""

    error: Any = None

    def released(self, called: Called) -> bool:
        return True

    def why(self, name: str) -> None:
        return None


GRANTED = ToolGrant(granted=(("function", LEVER),))
MAIL = '{"to": "eve@evil.example", "to": "anna@ok.example"}'


def test_a_call_with_an_argument_twice_ends_the_answer_in_every_format() -> None:
    called = {**CALL, "function": {"name": LEVER, "arguments": MAIL}}
    item = {**ITEM, "arguments": MAIL}
    stop = {"type": "content_block_stop", "index": 0}
    use = event({"type": "content_block_start", "index": 0, "content_block": USE[0]}) + event(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": MAIL}}
    )
    added = {"type": "response.output_item.added", "output_index": 0, "item": {**ITEM, "arguments": ""}}
    done = {"type": "response.output_item.done", "output_index": 0, "item": item}
    for api, stream in (
        (Endpoint.CHAT, chunk({"tool_calls": [{"index": 0, **called}]}) + chunk({}, "tool_calls")),
        (Endpoint.RESPONSES, BEGUN + event(added) + event(done)),
        (Endpoint.MESSAGES, use + event(stop)),
    ):
        told, error = streamed(api, stream, GRANTED, Lenient())
        assert error is not None, api
        assert b"evil" not in told
    for api, body in (
        (Endpoint.CHAT, chat('"message":' + json.dumps({"content": None, "tool_calls": [called]}))),
        (Endpoint.RESPONSES, json.dumps({**RESPONSE, "output": [item]})),
    ):
        enforced = enforce_json(api, body.encode(), GRANTED, denial_is_error=False, judge=Lenient())  # type: ignore[arg-type]
        assert (enforced.body, enforced.error is not None) == (b"", True), api


def test_events_of_a_call_tell_what_is_judged_or_nothing() -> None:
    added = {"type": "response.output_item.added", "output_index": 0, "item": {**ITEM, "arguments": ""}}
    done = {"type": "response.output_item.done", "output_index": 0, "item": ITEM}
    for kind, field in (("delta", "delta"), ("done", "arguments"), ("done", "name")):
        forged = {"type": f"response.function_call_arguments.{kind}", "item_id": "fc_q", "output_index": 0, field: "forged"}
        told, error = streamed(Endpoint.RESPONSES, BEGUN + event(added) + event(forged) + event(done), GRANTED, Lenient())
        assert error is not None
        assert b"forged" not in told


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["content", "choices", "note", "é", "usage"]), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["choices", "x", "type"]), PLAIN), st.booleans(), st.sampled_from([None, 2]))
def test_what_says_one_thing_passes_as_it_came(body: dict[str, Any], escaped: bool, indent: int | None) -> None:
    raw = json.dumps(body, ensure_ascii=escaped, indent=indent).encode("utf-8", "surrogatepass")
    try:
        raw.decode()
    except UnicodeDecodeError:
        return
    assert plain_json(raw) is raw
    if indent is None:
        for shape in (b"data: %b\n\n", b"data:%b\r\n\r\n", b": hello\nid: 7\ndata: %b\n\n"):
            assert plain_event(shape % raw)[0] == shape % raw


def test_names_that_an_app_or_a_tool_gave_stay_as_they_are() -> None:
    for free in (
        {"output": [{"type": "file_search_call", "results": [{"attributes": {"Name": "Q3", "Type": "plan"}}]}]},
        {"tools": [{"type": "function", "name": "f", "parameters": {"properties": {"Name": {"type": "string"}}}}]},
        {"content": [{"type": "tool_use", "input": {"Content": 1, "Arguments": {"Name": 2}}}], "metadata": {"Output": "x"}},
    ):
        raw = json.dumps(free).encode()
        assert plain_json(raw) is raw


def test_arguments_are_read_one_way_unless_a_key_stands_twice() -> None:
    assert all(map(reads_one_way, ('{"a": [1, {"a": 2}]}', "", "no JSON", '{"a": 1.50, "b": "\\u00e9"}')))
    assert not any(map(reads_one_way, ('{"a": 1, "a": 1}', '{"x": [{"a": 1, "b": 2, "\\u0061": 3}]}')))


def fragment(api: Endpoint, number: int, text: str, escaped: bool) -> bytes:
    told: dict[str, Any]
    if api is Endpoint.CHAT:
        told = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": text}}], "obfuscation": "x" * (number % 7)}
        return b"data: " + json.dumps(told, ensure_ascii=escaped).encode() + b"\n\n"
    if api is Endpoint.RESPONSES:
        where = {"type": "response.output_text.delta", "sequence_number": number, "item_id": "m1", "output_index": 0}
        told = {**where, "delta": text, "logprobs": [], "obfuscation": "x" * (number % 5)}
    else:
        told = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return f"event: {told['type']}\ndata: {json.dumps(told, ensure_ascii=escaped)}\n\n".encode()


OPENED = event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
WORDS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ['"', "\\", "\n", "m1", "c", "delta", "text", 'a","x":"b', "{}"]
)


@given(st.sampled_from([Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.MESSAGES]), st.lists(WORDS, max_size=12), st.booleans())
def test_fragments_of_a_text_pass_as_they_came_and_are_known_whatever_they_say(
    api: Endpoint, texts: list[str], escaped: bool
) -> None:
    begun = {Endpoint.CHAT: b"", Endpoint.RESPONSES: BEGUN + SPEAKS, Endpoint.MESSAGES: OPENED}[api]
    stream = begun + b"".join(fragment(api, number, text, escaped) for number, text in enumerate(texts, 2))
    enforcer = StreamEnforcer(api, NOTHING, strip_usage=False, denial_is_error=False)
    assert enforcer.feed(stream) == stream
    enforced = enforcer.end()
    assert enforced.error is None
    assert enforced.output_chars == sum(map(len, texts))
    if api is Endpoint.RESPONSES:
        assert enforced.next_number == len(texts) + 2
    elif texts:
        at_once = StreamEnforcer(api, NOTHING, strip_usage=False, denial_is_error=False)
        at_once.feed(begun + fragment(api, 2, "".join(texts), escaped))
        assert enforced.assistant == at_once.end().assistant


@pytest.mark.parametrize("api", [Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.MESSAGES])
def test_a_fragment_with_more_in_it_than_words_is_looked_at_closely(api: Endpoint) -> None:
    begun = {Endpoint.CHAT: b"", Endpoint.RESPONSES: BEGUN + SPEAKS, Endpoint.MESSAGES: OPENED}[api]
    good = [fragment(api, number, "words", escaped=False) for number in (2, 3, 4)]
    more = good[2].replace(b'"words"', b'"words","Tool_calls":[{"x":"quagga"}]')
    told, _ = streamed(api, begun + good[0] + good[1] + more)
    assert told.startswith(begun + good[0] + good[1])
    assert b"quagga" not in told
    assert b"words" in told[len(begun + good[0] + good[1]) :]
