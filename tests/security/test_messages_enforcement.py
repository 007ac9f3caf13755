"""Whatever a provider sends in Anthropic's format, nothing that was not granted passes, and what passes can be put together by its client."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from router.sse import SseSplitter, data_of
from router.stages.enforce import StreamEnforcer, enforce_json
from router.stages.unmask import Placeholders
from routing_rules.decisions import ToolGrant
from routing_rules.task import Endpoint

GRANT = ToolGrant(granted=(("function", "granted"), ("web_search_20250305", "web_search_20250305"), ("mcp", "notes")))
REFUSED = "wipe_disk"
BLOCK_KINDS = st.sampled_from(
    "text thinking tool_use server_tool_use mcp_tool_use mcp_tool_result mcp_tool_listing web_search_tool_result "
    "code_execution_tool_result container_upload tool_result compaction".split()
)
KINDS = (
    st.sampled_from(
        "message_start content_block_start content_block_delta content_block_stop message_delta message_stop ping error new_event".split()
    )
    | BLOCK_KINDS
)
SCALARS = st.none() | st.booleans() | st.integers(-1, 3) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KINDS, inner, max_size=2), max_leaves=4
)
NAMES = st.sampled_from(["granted", REFUSED, "web_search", "code_execution"])
BLOCKS = st.fixed_dictionaries(
    {},
    optional={
        "type": BLOCK_KINDS | ANYTHING,
        "id": st.sampled_from(["a", "b"]) | ANYTHING,
        "name": NAMES | ANYTHING,
        "input": st.just({}) | ANYTHING,
        "text": st.text(max_size=3) | ANYTHING,
        "caller": ANYTHING | st.just({"type": "code_execution_20250825", "tool_id": "a"}),
        "toolset_name": st.sampled_from(["computer"]) | ANYTHING,
        "server_name": st.sampled_from(["notes", "other"]) | ANYTHING,
        "tool_use_id": st.sampled_from(["a", "b"]) | ANYTHING,
        "content": ANYTHING,
    },
)
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "type": KINDS,
        "text": st.text(max_size=3) | ANYTHING,
        "partial_json": st.text(max_size=3) | ANYTHING,
        "stop_reason": st.sampled_from(["tool_use", "end_turn"]) | ANYTHING,
    },
)
EVENTS = ANYTHING | st.fixed_dictionaries(
    {"type": KINDS},
    optional={
        "index": st.integers(0, 2) | ANYTHING,
        "content_block": BLOCKS,
        "delta": DELTAS,
        "message": st.fixed_dictionaries(
            {}, optional={"content": st.lists(BLOCKS, max_size=2), "usage": ANYTHING, "id": SCALARS}
        ),
        "usage": ANYTHING,
        "error": ANYTHING,
    },
)


def calls_the_refused(told: bytes) -> bool:
    return f'"name":"{REFUSED}"'.encode() in told.replace(b": ", b":")


def streamed(events: list[Any], named: bool, placeholders: Placeholders | None = None) -> bytes:
    enforcer = StreamEnforcer(Endpoint.MESSAGES, GRANT, strip_usage=True, denial_is_error=False, placeholders=placeholders)
    told = b""
    for event in events:
        kind = event.get("type") if isinstance(event, dict) else None
        name = f"event: {kind}\n".encode() if named and isinstance(kind, str) and kind.isidentifier() else b""
        told += enforcer.feed(name + b"data: " + msgspec.json.encode(event) + b"\n\n")
    last = enforcer.end()
    return told + last.body + last.tail


@given(st.lists(EVENTS, max_size=6), st.booleans())
@example(
    [{"type": "message_start", "message": {"content": [{"type": "tool_use", "id": "a", "name": REFUSED, "input": {}}]}}], True
)
@example([{"type": "ping", "content_block": {"type": "tool_use", "id": "a", "name": REFUSED, "input": {}}}], False)
def test_a_stream_of_any_shape(events: list[Any], named: bool) -> None:
    told = streamed(events, named)
    for event in SseSplitter().feed(told):
        said = msgspec.json.decode(data_of(event))
        if said["type"] == "content_block_start":
            assert not calls_the_refused(data_of(event))
        assert event.startswith(f"event: {said['type']}\n".encode())


@given(st.lists(EVENTS, max_size=6), st.booleans())
def test_putting_values_back_into_a_stream_of_any_shape(events: list[Any], named: bool) -> None:
    streamed(events, named, Placeholders({"[EMAIL_ADDRESS_1]": "anna@example.org"}))


@given(st.lists(BLOCKS, max_size=4), ANYTHING, st.booleans())
def test_a_message_of_any_shape(blocks: list[dict[str, Any]], stop: Any, denial_is_error: bool) -> None:
    answer = {
        "id": "msg",
        "type": "message",
        "content": blocks,
        "stop_reason": stop,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    told = enforce_json(Endpoint.MESSAGES, msgspec.json.encode(answer), GRANT, denial_is_error=denial_is_error)
    for block in msgspec.json.decode(told.body)["content"] if told.body else ():
        assert block["type"] != "tool_use" or block["name"] in ("granted",)
        assert block["type"] != "server_tool_use" or block["name"] == "web_search"
        assert block["type"] not in ("mcp_tool_use",) or block["server_name"] == "notes"
        assert block["type"] not in ("code_execution_tool_result", "container_upload", "compaction", "tool_result")


SHORT = st.text("abc \n", min_size=1, max_size=6)
SAID = st.fixed_dictionaries({"type": st.just("text"), "text": SHORT})
CALLED = st.fixed_dictionaries(
    {
        "type": st.just("tool_use"),
        "name": st.sampled_from(["granted", REFUSED]),
        "input": st.dictionaries(SHORT, SHORT, max_size=2),
    }
)


@given(st.lists(SAID | CALLED, min_size=1, max_size=6), st.integers(1, 60))
def test_a_stream_comes_to_the_same_as_the_answer_in_one_piece(blocks: list[dict[str, Any]], network: int) -> None:
    content = [{**block, "id": f"toolu_{at}"} if block["type"] == "tool_use" else block for at, block in enumerate(blocks)]
    stop = "tool_use" if any(block["type"] == "tool_use" for block in content) else "end_turn"
    head = {"id": "msg", "type": "message", "role": "assistant", "model": "m"}
    usage = {"input_tokens": 3, "output_tokens": 4}
    whole = enforce_json(
        Endpoint.MESSAGES,
        msgspec.json.encode({**head, "content": content, "stop_reason": stop, "usage": usage}),
        GRANT,
        denial_is_error=False,
    )
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {**head, "content": [], "usage": usage}}]
    for index, block in enumerate(content):
        field, kind = ("text", "text_delta") if block["type"] == "text" else ("input", "input_json_delta")
        written = block["text"] if field == "text" else msgspec.json.encode(block["input"]).decode()
        name = "text" if field == "text" else "partial_json"
        events.append(
            {"type": "content_block_start", "index": index, "content_block": {**block, field: "" if field == "text" else {}}}
        )
        middle = len(written) // 2
        events += [
            {"type": "content_block_delta", "index": index, "delta": {"type": kind, name: part}}
            for part in (written[:middle], written[middle:])
        ]
        events.append({"type": "content_block_stop", "index": index})
    events += [
        {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ]
    raw = b"".join(b"event: %s\ndata: %s\n\n" % (event["type"].encode(), msgspec.json.encode(event)) for event in events)
    enforcer = StreamEnforcer(Endpoint.MESSAGES, GRANT, strip_usage=False, denial_is_error=False)
    told = b"".join(enforcer.feed(raw[at : at + network]) for at in range(0, len(raw), network))
    last = enforcer.end()
    told += last.body + last.tail
    if all(block.get("name") != REFUSED for block in content):
        assert told == raw
    assert last.error is None
    assert last.complete
    assert (last.released, last.refused, last.issued_ids) == (whole.released, whole.refused, whole.issued_ids)
    assert last.assistant == whole.assistant
    assert last.usage == whole.usage
    together, ended = accumulated(told)
    expected = msgspec.json.decode(whole.body)
    assert together == expected["content"]
    assert ended == expected["stop_reason"]


def accumulated(told: bytes) -> tuple[list[dict[str, Any]], Any]:
    """The content and the stop reason as a client puts them together: blocks in the order in which they begin."""
    content: list[dict[str, Any]] = []
    written: dict[int, str] = {}
    ended: Any = None
    for raw in SseSplitter().feed(told):
        event = msgspec.json.decode(data_of(raw))
        if event["type"] == "content_block_start":
            assert event["index"] == len(content)
            content.append(event["content_block"])
        elif event["type"] == "content_block_delta":
            block, delta = content[event["index"]], event["delta"]
            if "text" in delta:
                block["text"] += delta["text"]
            else:
                written[event["index"]] = written.get(event["index"], "") + delta["partial_json"]
        elif event["type"] == "content_block_stop" and event["index"] in written:
            content[event["index"]]["input"] = msgspec.json.decode(written[event["index"]])
        elif event["type"] == "message_delta":
            ended = event["delta"]["stop_reason"]
    return content, ended


def call_of(name: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 60), st.sampled_from(["text", "partial_json"]))
def test_masked_values_come_back_wherever_a_stream_is_cut(cuts: list[int], network: int, field: str) -> None:
    written = '{"to": "[EMAIL_ADDRESS_1]", "and": "[EMAIL_ADDRESS_2]"}'
    kind = "text_delta"
    start: dict[str, Any] = {"type": "text", "text": ""}
    if field == "partial_json":
        kind, start = "input_json_delta", call_of("granted")
    pieces: list[str] = []
    at = 0
    while at < len(written):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(written[at : at + size])
        at += size
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"id": "msg", "usage": {}}}]
    events.append({"type": "content_block_start", "index": 0, "content_block": start})
    events += [{"type": "content_block_delta", "index": 0, "delta": {"type": kind, field: piece}} for piece in pieces]
    events += [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ]
    raw = b"".join(b"event: %s\ndata: %s\n\n" % (event["type"].encode(), msgspec.json.encode(event)) for event in events)
    values = Placeholders({"[EMAIL_ADDRESS_1]": "anna@example.org", "[EMAIL_ADDRESS_2]": "bo@example.org"})
    enforcer = StreamEnforcer(Endpoint.MESSAGES, GRANT, strip_usage=False, denial_is_error=False, placeholders=values)
    told = b"".join(enforcer.feed(raw[at : at + network]) for at in range(0, len(raw), network))
    last = enforcer.end()
    content, _ = accumulated(told + last.body + last.tail)
    expected = {"to": "anna@example.org", "and": "bo@example.org"}
    assert msgspec.json.decode(content[0]["text"]) == expected if field == "text" else content[0]["input"] == expected
