"""Masking and putting back are each other's inverse for every text and every cut, and a masked value is nowhere in what is sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.sensitivity.engine import Detector
from router import sse
from router.api.wire import parse
from router.stages.enforce import StreamEnforcer, enforce_json
from router.stages.mask import Masked, Value, mask, numbered
from router.stages.read_task import NO_HEADERS, read_task
from router.stages.unmask import Placeholders
from routing_rules.decisions import ToolGrant
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.task import Endpoint
from routing_rules.vocabulary import Sensitivity

NO_TOOLS = ToolGrant()
WANTED = ("email_address", "payment_card", "iban")
DETECTOR = Detector(SensitivityPolicy(), b"a key of the tests")
VALUES = (
    "anna.sommer@northwind-trading.com",
    "müller@bäckerei-sommer.de",
    "oneill+box@mail.northwind-trading.co.uk",
    "4539 1488 0343 6467",
    "4539148803436467",
    "GB33BUKB20201555555555",
)
SIGNS = (
    "[EMAIL_ADDRESS_1]",
    "[EMAIL_ADDRESS_",
    "[PAYMENT_CARD_2]",
    "[TEXT_1]",
    "[",
    "]",
    "[[",
    '"',
    "\\",
    "\n",
    "{",
    "é",
    "\u2028",
    "😀",
    "[E",
)
texts = st.lists(
    st.one_of(st.sampled_from(VALUES), st.sampled_from(SIGNS), st.text(max_size=8), st.sampled_from((" to ", ", ", " card "))),
    max_size=14,
).map(" ".join)


class OneSession:
    """A mapping in memory, numbered as the store numbers it."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    async def assign(self, app: str, session_id: str, values: Sequence[tuple[str, str]]) -> dict[str, str]:
        self.known = numbered([Value(*value) for value in values], self.known)
        return self.known


def masked_body(endpoint: Endpoint, body: dict[str, Any], session: OneSession | None = None) -> Masked:
    given = parse(endpoint, json.dumps(body).encode(), frozenset())
    task = read_task(endpoint, given, NO_HEADERS, {}, Sensitivity.RESTRICTED)
    findings = DETECTOR.scan(task.parts).findings
    result = asyncio.run(mask(session or OneSession(), "app", "s", given, task, findings, WANTED))
    assert given == parse(endpoint, json.dumps(body).encode(), frozenset()), "the body as received is not changed"
    return result


def chat(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"model": "auto", "messages": list(messages)}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def cut(text: str, sizes: Sequence[int]) -> list[str]:
    """The text in fragments of these sizes, over and over."""
    pieces, at, turn = [], 0, 0
    while at < len(text):
        pieces.append(text[at : at + sizes[turn % len(sizes)]])
        at += sizes[turn % len(sizes)]
        turn += 1
    return pieces


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=6)


@settings(max_examples=300, deadline=None)
@given(texts, sizes, st.integers(1, 40))
def test_a_streamed_chat_answer_that_repeats_the_text_is_the_text(text: str, fragments: list[int], network: int) -> None:
    result = masked_body(Endpoint.CHAT, chat(user(text)))
    sent = result.body["messages"][0]["content"]
    events = [chunk({"content": piece}) for piece in cut(sent, fragments)]
    told = through(Endpoint.CHAT, [*events, chunk({}, "stop"), sse.DONE], result.placeholders, network)
    assert "".join(piece["choices"][0]["delta"].get("content") or "" for piece in told) == text


@settings(max_examples=200, deadline=None)
@given(texts, sizes, st.booleans())
def test_a_stream_that_ends_at_once_loses_nothing(text: str, fragments: list[int], done: bool) -> None:
    result = masked_body(Endpoint.CHAT, chat(user(text)))
    pieces = cut(result.body["messages"][0]["content"], fragments) or [""]
    events = [chunk({"content": piece}) for piece in pieces[:-1]] + [chunk({"content": pieces[-1]}, "length")]
    told = through(Endpoint.CHAT, [*events, *([sse.DONE] if done else [])], result.placeholders, 7)
    assert "".join(piece["choices"][0]["delta"].get("content") or "" for piece in told) == text


@settings(max_examples=200, deadline=None)
@given(st.lists(texts, min_size=1, max_size=3), sizes)
def test_streamed_responses_interleave_and_keep_their_numbers(said: list[str], fragments: list[int]) -> None:
    result = masked_body(Endpoint.RESPONSES, {"model": "auto", "input": [user(text) for text in said]})
    sent = [item["content"] for item in result.body["input"]]
    number = iter(range(10_000))

    def event(kind: str, **fields: Any) -> bytes:
        return sse.event(json.dumps({"type": kind, "sequence_number": next(number), **fields}).encode(), kind)

    items = [
        {"type": "message", "id": f"m{i}", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
        for i, text in enumerate(sent)
    ]
    queues = [cut(text, fragments) for text in sent]
    events = [event("response.output_item.added", output_index=i, item={**item, "content": []}) for i, item in enumerate(items)]
    while any(queues):
        for i, queue in enumerate(queues):
            if queue:
                where = {"item_id": f"m{i}", "output_index": i, "content_index": 0}
                events.append(event("response.output_text.delta", **where, delta=queue.pop(0)))
    for i, (item, text) in enumerate(zip(items, sent, strict=True)):
        events.append(event("response.output_text.done", item_id=f"m{i}", output_index=i, content_index=0, text=text))
        events.append(event("response.output_item.done", output_index=i, item=item))
    events.append(event("response.completed", response={"id": "r", "status": "completed", "output": items}))
    told = through(Endpoint.RESPONSES, events, result.placeholders, 11)
    for i, text in enumerate(said):
        deltas = [one for one in told if one["type"] == "response.output_text.delta" and one["output_index"] == i]
        assert "".join(one["delta"] for one in deltas) == text
    assert [item["content"][0]["text"] for item in told[-1]["response"]["output"]] == said
    assert [one["sequence_number"] for one in told] == list(range(len(told)))


@settings(max_examples=200, deadline=None)
@given(texts, sizes)
def test_arguments_come_back_as_the_json_they_are(text: str, fragments: list[int]) -> None:
    result = masked_body(Endpoint.CHAT, chat(user(text)))
    sent = result.body["messages"][0]["content"]
    arguments = json.dumps({"said": sent, "inner": json.dumps({"again": sent})}, ensure_ascii=False)
    wanted = {"said": text, "inner": json.dumps({"again": text}, ensure_ascii=False)}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    body = {"id": "a", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    grant = ToolGrant(granted=(("function", "f"),))
    whole = enforce_json(
        Endpoint.CHAT,
        json.dumps(body).encode(),
        grant,
        denial_is_error=False,
        placeholders=Placeholders(result.placeholders),
    )
    assert plain(json.loads(whole.body)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]) == plain(wanted)
    first = {**call, "index": 0, "function": {"name": "f", "arguments": ""}}
    events = [chunk({"tool_calls": [first]})]
    events += [chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}) for piece in cut(arguments, fragments)]
    told = through(Endpoint.CHAT, [*events, chunk({}, "tool_calls"), sse.DONE], result.placeholders, 13, grant)
    calls = [one for piece in told for one in piece["choices"][0]["delta"].get("tool_calls") or ()]
    assert plain("".join(one["function"].get("arguments", "") for one in calls)) == plain(wanted)


@settings(max_examples=300, deadline=None)
@given(texts, st.sampled_from(VALUES), st.booleans())
def test_a_masked_value_is_nowhere_in_what_is_sent(text: str, value: str, ascii_only: bool) -> None:
    inner = json.dumps(
        {"from": value, "note": text, "deep": json.dumps([value, text], ensure_ascii=ascii_only)}, ensure_ascii=ascii_only
    )
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": inner}}
    body = chat(
        {"role": "system", "content": f"Serve {value}, please"},
        user(text),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": inner},
        user(f"again {value}"),
    )
    result = masked_body(Endpoint.CHAT, {**body, "user": value, "metadata": {"who": value}})
    assert value in result.placeholders.values()
    assert not any(
        masked in leaf
        for masked in result.placeholders.values()
        for leaf in leaves(result.body)
        if "@" in masked or masked[0].isalnum()
    )
    back = json.loads(Placeholders(result.placeholders).whole(json.dumps(result.body, ensure_ascii=False).encode()))
    assert plain(back) == plain(json.loads(json.dumps({**body, "user": value, "metadata": {"who": value}})))


@settings(max_examples=100, deadline=None)
@given(st.lists(texts, min_size=2, max_size=4))
def test_a_session_gives_each_value_one_placeholder_for_all_its_turns(turns: list[str]) -> None:
    session = OneSession()
    meanings: dict[str, str] = {}
    for turn in range(1, len(turns) + 1):
        result = masked_body(Endpoint.CHAT, chat(*map(user, turns[:turn])), session)
        assert meanings.items() <= result.placeholders.items()
        meanings = dict(result.placeholders)
        assert len(set(meanings.values())) == len(meanings)


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return sse.event(json.dumps({"id": "a", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}).encode())


def through(
    endpoint: Endpoint, events: list[bytes], placeholders: Any, network: int, grant: ToolGrant = NO_TOOLS
) -> list[dict[str, Any]]:
    """What an app receives of a stream that comes in fragments of `network` bytes."""
    enforcer = StreamEnforcer(endpoint, grant, strip_usage=False, denial_is_error=False, placeholders=Placeholders(placeholders))
    raw = b"".join(events)
    out = b"".join(enforcer.feed(raw[at : at + network]) for at in range(0, len(raw), network))
    end = enforcer.end()
    assert end.error is None
    splitter = sse.SseSplitter()
    told = [sse.data_of(event) for event in splitter.feed(out + end.body + end.tail)]
    assert splitter.end() == b""
    return [json.loads(data) for data in told if data and data != b"[DONE]"]


def leaves(value: Any) -> list[str]:
    """Every text of a body, those of JSON in texts included."""
    if isinstance(value, str):
        try:
            inner = json.loads(value)
        except ValueError:
            return [value]
        return [value] if isinstance(inner, int | float) else [value, *leaves(inner)]
    if isinstance(value, dict):
        return [leaf for key, held in value.items() for leaf in (key, *leaves(held))]
    return [leaf for held in value for leaf in leaves(held)] if isinstance(value, list) else [str(value)]


def plain(value: Any) -> Any:
    """The body with JSON in texts read, so that only what it says counts."""
    if isinstance(value, str):
        try:
            inner = json.loads(value)
        except ValueError:
            return value
        return plain(inner) if isinstance(inner, dict | list) else value
    if isinstance(value, dict):
        return {key: plain(held) for key, held in value.items()}
    return [plain(held) for held in value] if isinstance(value, list) else value
