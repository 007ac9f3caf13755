"""What must hold for every stream: fragments change nothing, nothing that was not granted passes, and SDKs can read the rest."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import httpx
import msgspec
import openai
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.sse import data_of
from router.stages.enforce import Enforced, StreamEnforcer, enforce_json
from routing_rules.decisions import ToolGrant
from routing_rules.task import Endpoint

GRANT = ToolGrant(granted=(("function", "read"), ("function", "find"), ("custom", "query"), ("web_search", "web_search")))
ALLOWED = {"read", "find", "query"}
FORBIDDEN = {"wipe", "send", "readx", "pay"}
BOUND = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])

NAMES = st.sampled_from(sorted(ALLOWED | FORBIDDEN))
ARGUMENTS = st.lists(st.sampled_from(["{", "}", '"q"', ":", "1", "é\\u0000", "data: \\n\\n"]), max_size=5)
LINE_ENDS = st.sampled_from([b"\n", b"\r\n"])


def chat_event(choices: list[dict[str, Any]], end: bytes, **fields: Any) -> bytes:
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **fields}
    return b"data: " + msgspec.json.encode(chunk) + end + end


@st.composite
def chat_streams(draw: st.DrawFn) -> tuple[bytes, dict[int, list[tuple[str, str]]]]:
    """A stream of one or two choices with text and parallel calls whose fragments interleave at will, and the calls by choice."""
    line_end = draw(LINE_ENDS)
    calls_of: dict[int, list[tuple[str, str]]] = {}
    pieces: list[list[bytes]] = []
    finishes = []
    for index in range(draw(st.integers(1, 2))):
        calls = []
        first = {
            "index": index,
            "delta": {"role": "assistant", "content": draw(st.sampled_from([None, "", "Well. "]))},
            "finish_reason": None,
        }
        pieces.append([chat_event([first], line_end)])
        for number in range(draw(st.integers(0, 4))):
            name = draw(NAMES)
            kind, written = ("custom", "input") if name == "query" else ("function", "arguments")
            fragments = draw(ARGUMENTS)
            calls.append((name, "".join(fragments)))
            deltas = [{"index": number, "id": f"call_{index}_{number}", "type": kind, kind: {"name": name, written: ""}}]
            deltas += [{"index": number, kind: {written: fragment}} for fragment in fragments]
            pieces.append(
                [
                    chat_event([{"index": index, "delta": {"tool_calls": [delta]}, "finish_reason": None}], line_end)
                    for delta in deltas
                ]
            )
        texts = draw(st.lists(st.sampled_from(["one ", "two\n", "data: x"]), max_size=3))
        pieces.append(
            [chat_event([{"index": index, "delta": {"content": text}, "finish_reason": None}], line_end) for text in texts]
        )
        calls_of[index] = calls
        finishes.append(chat_event([{"index": index, "delta": {}, "finish_reason": "tool_calls" if calls else "stop"}], line_end))
    events = [pieces_of.pop(0) for pieces_of in draw(interleavings(pieces))]
    usage = chat_event([], line_end, usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
    return b"".join([*events, *finishes, usage, b"data: [DONE]" + line_end * 2]), calls_of


@st.composite
def interleavings(draw: st.DrawFn, pieces: list[list[bytes]]) -> list[list[bytes]]:
    """The lists, each as often as it has members, in any order; the roles come first."""
    turns = [index for index, members in enumerate(pieces) for _ in members]
    return [pieces[index] for index in draw(st.permutations(turns))]


@st.composite
def responses_streams(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, str]]]:
    """A stream of messages, function calls and web searches one after the other, and its calls."""
    line_end = draw(LINE_ENDS)
    calls: list[tuple[str, str]] = []
    output: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"id": "resp_1", "model": "m", "status": "in_progress", "output": []}}
    ]
    for index in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(["message", "function_call", "function_call", "web_search_call", "file_search_call"]))
        where = {"output_index": index, "item_id": f"item_{index}"}
        if kind == "message":
            text = draw(st.sampled_from(["Hello", "data: x"]))
            part = {"type": "output_text", "text": text, "annotations": []}
            item: dict[str, Any] = {
                "type": kind,
                "id": f"item_{index}",
                "role": "assistant",
                "status": "completed",
                "content": [part],
            }
            events.append({"type": "response.output_item.added", "output_index": index, "item": {**item, "content": []}})
            events.append({"type": "response.content_part.added", **where, "content_index": 0, "part": {**part, "text": ""}})
            events.append({"type": "response.output_text.delta", **where, "content_index": 0, "delta": text})
        elif kind == "function_call":
            name, fragments = draw(NAMES.filter(lambda name: name != "query")), draw(ARGUMENTS)
            calls.append((name, "".join(fragments)))
            item = {
                "type": kind,
                "id": f"item_{index}",
                "call_id": f"call_{index}",
                "name": name,
                "arguments": "".join(fragments),
            }
            events.append({"type": "response.output_item.added", "output_index": index, "item": {**item, "arguments": ""}})
            events += [{"type": "response.function_call_arguments.delta", **where, "delta": fragment} for fragment in fragments]
            events.append(
                {"type": "response.function_call_arguments.done", **where, "name": name, "arguments": item["arguments"]}
            )
        else:
            item = {"type": kind, "id": f"item_{index}", "status": "completed", "queries": []}
            events.append({"type": "response.output_item.added", "output_index": index, "item": item})
            events.append({"type": f"response.{kind}.completed", **where})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
        output.append(item)
    final = {
        "id": "resp_1",
        "model": "m",
        "status": "completed",
        "output": output,
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    events.append({"type": "response.completed", "response": final})
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    raw = [
        b"event: %s" % event["type"].encode() + line_end + b"data: " + msgspec.json.encode(event) + line_end * 2
        for event in numbered
    ]
    return b"".join(raw), calls


def enforced(endpoint: Endpoint, fragments: list[bytes], strip_usage: bool = False) -> tuple[bytes, Enforced]:
    enforcer = StreamEnforcer(endpoint, GRANT, strip_usage=strip_usage, denial_is_error=False)
    passed = b"".join(enforcer.feed(fragment) for fragment in fragments)
    end = enforcer.end()
    return passed + end.body, end


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(bounds)]


def events_of(stream: bytes) -> list[dict[str, Any]]:
    whole = stream.replace(b"\r\n", b"\n").split(b"\n\n")
    return [msgspec.json.decode(data) for event in whole if (data := data_of(event + b"\n\n")) and not data.startswith(b"[DONE]")]


def sdk(stream: bytes) -> openai.OpenAI:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream)

    return openai.OpenAI(
        api_key="test", base_url="http://provider.test/v1", http_client=httpx.Client(transport=httpx.MockTransport(answer))
    )


PLACES = st.lists(st.integers(0, 10_000), max_size=12)


@BOUND
@given(made=chat_streams(), places=PLACES, strip=st.booleans(), broken=st.integers(0, 3000))
def test_fragments_change_nothing_of_a_chat_stream(made: tuple[bytes, Any], places: list[int], strip: bool, broken: int) -> None:
    for stream in (made[0], made[0][:broken]):  # also of one that breaks off
        assert enforced(Endpoint.CHAT, cut(stream, places), strip) == enforced(Endpoint.CHAT, [stream], strip)


@BOUND
@given(made=responses_streams(), places=PLACES, broken=st.integers(0, 3000))
def test_fragments_change_nothing_of_a_responses_stream(made: tuple[bytes, Any], places: list[int], broken: int) -> None:
    for stream in (made[0], made[0][:broken]):
        assert enforced(Endpoint.RESPONSES, cut(stream, places)) == enforced(Endpoint.RESPONSES, [stream])


@BOUND
@given(made=chat_streams(), broken=st.integers(0, 3000))
def test_a_broken_chat_stream_passes_whole_events_and_no_forbidden_name(made: tuple[bytes, Any], broken: int) -> None:
    passed, end = enforced(Endpoint.CHAT, [made[0][:broken]])
    assert not passed or passed.endswith((b"\n\n", b"\r\n\r\n"))
    assert end.error is None
    for event in events_of(passed):
        for choice in event["choices"]:
            for call in choice["delta"].get("tool_calls") or ():
                assert (call.get("function") or call.get("custom"))["name"] in ALLOWED


@BOUND
@given(made=chat_streams())
def test_of_interleaved_chat_calls_the_sdk_sees_the_granted_ones_whole_and_in_order(
    made: tuple[bytes, dict[int, list[tuple[str, str]]]],
) -> None:
    stream, calls_of = made
    passed, end = enforced(Endpoint.CHAT, [stream])
    with sdk(passed + end.tail) as client:
        merged: dict[int, dict[int, dict[str, str]]] = {}
        finish: dict[int, str] = {}
        text: dict[int, str] = {}
        for chunk in client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True):
            for choice in chunk.choices:
                assert choice.index not in finish, "nothing of a choice may follow its finish reason"
                text[choice.index] = text.get(choice.index, "") + (choice.delta.content or "")
                for call in choice.delta.tool_calls or ():
                    raw = call.model_dump()
                    held = raw.get("function") or raw["custom"]
                    whole = merged.setdefault(choice.index, {}).setdefault(call.index, {"id": "", "name": "", "written": ""})
                    whole["id"] += call.id or ""
                    whole["name"] += held.get("name") or ""
                    whole["written"] += held.get("arguments") or held.get("input") or ""
                if choice.finish_reason:
                    finish[choice.index] = choice.finish_reason
    released = []
    for index, calls in calls_of.items():
        granted = [(name, written) for name, written in calls if name in ALLOWED]
        seen = merged.get(index, {})
        assert list(seen) == list(range(len(granted)))
        assert [(call["name"], call["written"]) for call in seen.values()] == granted
        assert finish[index] == ("tool_calls" if granted else "stop")
        assert ("is not entitled" in text[index] or "are not entitled" in text[index]) == (bool(calls) and not granted)
        released += [call["id"] for call in seen.values()]
    assert sorted(end.issued_ids) == sorted(released)
    assert sorted(end.refused) == sorted(name for calls in calls_of.values() for name, _ in calls if name in FORBIDDEN)
    assert end.complete


@BOUND
@given(made=responses_streams())
def test_of_a_responses_stream_the_sdk_sees_the_granted_calls_and_consistent_numbers(
    made: tuple[bytes, list[tuple[str, str]]],
) -> None:
    stream, calls = made
    passed, end = enforced(Endpoint.RESPONSES, [stream])
    with sdk(passed + end.tail) as client:
        events = list(client.responses.create(model="m", input="hi", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    granted = [call for call in calls if call[0] in ALLOWED]
    assert [(item.name, item.arguments) for item in last.response.output if item.type == "function_call"] == granted
    begun = [event for event in events if event.type == "response.output_item.added"]
    assert [event.output_index for event in begun] == list(range(len(last.response.output)))
    assert [event.item.id for event in begun] == [item.id for item in last.response.output]
    for event in events:
        if event.type == "response.function_call_arguments.done":
            assert last.response.output[event.output_index].id == event.item_id
    assert not any(item.type == "file_search_call" for item in last.response.output)
    assert end.released.count("read") + end.released.count("find") + end.released.count("query") == len(granted)
    if len(granted) == len(calls) and b"file_search" not in stream:
        assert passed + end.tail == stream


@BOUND
@given(made=chat_streams())
def test_a_chat_stream_without_calls_passes_byte_for_byte(made: tuple[bytes, dict[int, list[tuple[str, str]]]]) -> None:
    stream, calls_of = made
    if not any(calls_of.values()):
        passed, end = enforced(Endpoint.CHAT, [stream])
        assert passed + end.tail == stream


WORDS = st.sampled_from(
    "id model choices index delta message content tool_calls function function_call custom name arguments input finish_reason usage type "
    "response output output_index item item_id call_id sequence_number status role text error code namespace server_label data".split()
)
VALUES = st.sampled_from(
    "function custom message function_call mcp_call web_search_call reasoning response.completed response.output_item.added "
    "response.output_item.done response.output_text.delta error tool_calls stop wipe read".split()
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-2, 3), st.just(1.5), VALUES)
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=5)), max_leaves=12
)
CALL = st.fixed_dictionaries(
    {}, optional={"index": LEAVES, "id": LEAVES, "type": VALUES, "function": ANYTHING, "custom": ANYTHING}
)
DELTA = st.fixed_dictionaries(
    {}, optional={"content": ANYTHING, "tool_calls": st.lists(CALL, max_size=2) | ANYTHING, "function_call": ANYTHING}
)
CHOICE = st.fixed_dictionaries(
    {"message": DELTA}, optional={"delta": DELTA, "index": st.integers(0, 1), "finish_reason": LEAVES, "logprobs": LEAVES}
)
ITEM = st.fixed_dictionaries(
    {"type": VALUES}, optional={"id": LEAVES, "call_id": LEAVES, "name": LEAVES, "arguments": LEAVES, "content": ANYTHING}
)
ANSWER = st.fixed_dictionaries(
    {},
    optional={
        "type": VALUES,
        "choices": st.lists(CHOICE, max_size=2) | ANYTHING,
        "output": st.lists(ITEM, max_size=3) | ANYTHING,
        "response": st.fixed_dictionaries({"output": st.lists(ITEM, max_size=3)}),
        "item": ITEM,
        "output_index": st.integers(0, 2) | LEAVES,
        "delta": LEAVES,
        "usage": ANYTHING,
        "error": ANYTHING,
        "id": LEAVES,
    },
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    endpoint=st.sampled_from(list(Endpoint)),
    answers=st.lists(ANSWER | ANYTHING, min_size=1, max_size=4),
    denial_is_error=st.booleans(),
)
def test_whatever_a_provider_sends_the_answer_is_judged_and_never_a_crash(
    endpoint: Endpoint, answers: list[Any], denial_is_error: bool
) -> None:
    raw = [msgspec.json.encode(answer) for answer in answers]
    one = enforce_json(endpoint, raw[0], GRANT, denial_is_error=denial_is_error)
    enforcer = StreamEnforcer(endpoint, GRANT, strip_usage=True, denial_is_error=denial_is_error)
    passed = b"".join(enforcer.feed(b"data: " + data + b"\n\n") for data in [*raw, b"[DONE]"])
    end = enforcer.end()
    if endpoint is Endpoint.EMBEDDINGS:
        return
    assert not (calls_in(one.body, endpoint, streamed=False) & FORBIDDEN)
    for event in (passed + end.body + end.tail).split(b"\n\n"):
        data = data_of(event + b"\n\n")
        if not data.startswith(b"[DONE]"):
            assert not (calls_in(data, endpoint, streamed=True) & FORBIDDEN)


def calls_in(raw: bytes, endpoint: Endpoint, *, streamed: bool) -> set[Any]:
    """Names of the calls that a client of this format would find."""
    answer = msgspec.json.decode(raw) if raw else None
    if not isinstance(answer, dict):
        return set()
    if endpoint is Endpoint.RESPONSES:
        if not streamed:
            items = answer.get("output") or []
        else:
            held = answer.get("response")
            items = [answer.get("item"), *((held.get("output") or []) if isinstance(held, dict) else [])]
        return {
            item.get("name")
            for item in items
            if isinstance(item, dict) and item.get("type") in ("function_call", "custom_tool_call")
        }
    found = set()
    for choice in answer.get("choices") or []:
        for said in (choice.get("delta"), choice.get("message")):
            if isinstance(said, dict):
                listed = said.get("tool_calls")
                calls = [call for call in listed if isinstance(call, dict)] if isinstance(listed, list) else []
                for call in [*calls, {"function": said.get("function_call")}]:
                    for called in (call.get("function"), call.get("custom")):
                        if isinstance(called, dict) and isinstance(called.get("name"), str):
                            found.add(called["name"])
    return found
