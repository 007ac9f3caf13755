"""Enforce a grant on answers of Anthropic's Messages API: text at once, tool calls when they are whole and only if they were granted."""

from __future__ import annotations

from typing import Any

import msgspec

from router import sse
from router.errors import RouterError, UpstreamFailed
from router.exchange import JsonObject
from router.stages.conversation import messages_message
from router.stages.enforced import (
    UNREADABLE,
    Enforced,
    canonical,
    denial,
    not_understood,
    provider_error,
    refusal_note,
    text_or_none,
)
from router.stages.messages_keys import CLIENT_CALLS, PROVIDER_CALLS, RESULT, MessagesGranted, block_name
from router.stages.plain import Fragments, plain_event
from router.stages.read_usage import messages_usage, searches_of
from router.stages.sealed import seals
from router.stages.tool_keys import Judge

_WAITING = frozenset({"tool_use", "pause_turn"})
"""Stop reasons that say that somebody has to go on with a call."""

_NAMED = {
    kind: f"event: {kind}\n".encode()
    for kind in (
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
    )
}
"""Events of a stream → how each begins."""


class _Delta(msgspec.Struct, gc=False):
    type: Any = None
    text: Any = None
    thinking: Any = None
    partial_json: Any = None
    stop_reason: Any = None
    citation: Any = None


class _Event(msgspec.Struct, gc=False):
    type: Any = None
    index: Any = None
    delta: _Delta | None = None
    content_block: JsonObject | None = None
    message: JsonObject | None = None
    usage: Any = None
    error: Any = None


class _Message(msgspec.Struct, gc=False):
    id: Any = None
    type: Any = None
    model: Any = None
    content: list[JsonObject] | None = None
    stop_reason: Any = None
    usage: Any = None
    error: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def enforce_messages_json(raw: bytes, granted: MessagesGranted, denial_is_error: bool) -> Enforced:
    """See `enforce_json`. Raises one of UNREADABLE where the bytes are no message."""
    answer = _decode_message(raw)
    if answer.content is None:
        return Enforced(b"", error=failure(answer.error) if answer.error else not_understood("a message"))
    verdict = _Verdict(granted)
    kept = [block for block in answer.content if verdict.passes(block)]
    refused = verdict.refused
    error = verdict.error
    if refused and error is None:
        body = _decode(raw)
        body["content"] = kept
        if verdict.needs_note(kept):
            if denial_is_error:
                error = denial(refused, granted.judge)
            kept.append({"type": "text", "text": refusal_note(refused, granted.judge)})
            if text_or_none(answer.stop_reason) in _WAITING:
                body["stop_reason"] = "end_turn"
        raw = _encode(body)
    verdict.issued += seals(kept)
    return Enforced(
        body=raw if error is None else b"",
        usage=messages_usage(answer.usage),
        hosted=searches_of(answer.content),
        complete=True,
        model=text_or_none(answer.model),
        response_id=text_or_none(answer.id),
        issued_ids=_issued(answer.id, verdict) if error is None else (),
        assistant=canonical(messages_message, [{"role": "assistant", "content": kept}]) if error is None else (),
        released=tuple(verdict.released) if error is None else (),
        refused=tuple(refused),
        output_chars=sum(map(_chars, answer.content)),
        error=error,
    )


def failure(error: Any) -> UpstreamFailed:
    """The error that a provider put into an answer, in the words that all formats share."""
    if isinstance(error, dict) and error.get("type") == "rate_limit_error":
        error = {"code": "rate_limit_exceeded"}
    return provider_error(error)


class MessagesStream:
    """One stream of a message, event by event."""

    def __init__(self, granted: MessagesGranted, *, denial_is_error: bool) -> None:
        self._verdict = _Verdict(granted)
        self._denial_is_error = denial_is_error
        self._open: dict[int, _Block] = {}  # by the provider's index
        self._blocks: list[_Block] = []
        self._told = 0  # blocks that the app has been told of: the index of the next one
        self._chars = 0
        self._held = 0
        self._usage: JsonObject = {}
        self._id: Any = None
        self._model: Any = None
        self._ended = False
        self._tail = b""
        self._fragments = Fragments()
        self._speaks: list[str] | None = None  # where the words of such a fragment go, if they are words of the answer
        self.error: RouterError | None = None

    @property
    def held_chars(self) -> int:
        """Characters kept in memory for this stream."""
        return self._chars + self._held

    def event(self, raw: bytes, out: list[bytes]) -> None:
        """Take one raw event; append to `out` what may be passed on now. Raises one of UNREADABLE where it breaks the format."""
        if self._tail:
            return
        text = self._fragments.text(raw)
        if text is not None:
            self._chars += len(text)
            if self._speaks is not None:
                self._speaks.append(text)
            out.append(raw)
            return
        self._fragments.forget()
        raw, data = plain_event(raw)
        if not data:
            out.append(raw)
            return
        event = _decode_event(data)
        kind = event.type
        if kind == "error" or event.error:
            if self.error is None:
                self.error = failure(event.error)
            return
        named = _NAMED.get(kind) if type(kind) is str else None
        if named is None:
            return  # whatever a later version of the format tells there, nobody has judged it
        if not raw.startswith(named):
            raw = sse.event(_encode(_decode(data)), kind)  # clients go by the name: it must be that of what was judged
        if kind == "content_block_delta":
            self._delta(event, raw, data, out)
        elif kind == "content_block_start":
            self._start(event, raw, data, out)
        elif kind == "content_block_stop":
            self._stop(event, raw, data, out)
        elif kind == "message_start":
            self._begin(event, raw, data, out)
        elif kind == "message_delta":
            self._end(event, raw, data, out)
        elif kind == "message_stop":
            self._tail = raw
        else:
            out.append(raw)

    def end(self) -> Enforced:
        """What is known at the end. Calls that were still held are not released: they may not be whole."""
        verdict = self._verdict
        content = [told for block in self._blocks if (told := block.content()) is not None]
        return Enforced(
            body=b"",
            tail=self._tail if self.error is None else b"",
            usage=messages_usage(self._usage),
            hosted=searches_of(block.start for block in self._blocks),
            complete=bool(self._tail),
            model=text_or_none(self._model),
            response_id=text_or_none(self._id),
            issued_ids=_issued(self._id, verdict),
            assistant=canonical(messages_message, [{"role": "assistant", "content": content}]) if self.error is None else (),
            released=tuple(verdict.released),
            refused=tuple(verdict.refused),
            output_chars=self._chars,
            error=self.error,
        )

    def _begin(self, event: _Event, raw: bytes, data: bytes, out: list[bytes]) -> None:
        message = event.message or {}
        self._id, self._model = message.get("id"), message.get("model")
        if isinstance(message.get("usage"), dict):
            self._usage = dict(message["usage"])
        if message.get("content"):  # nothing stands there by the format, so nothing may
            body = _decode(data)
            body["message"]["content"] = []
            raw = sse.event(_encode(body), "message_start")
        out.append(raw)

    def _start(self, event: _Event, raw: bytes, data: bytes, out: list[bytes]) -> None:
        if type(event.index) is not int or event.content_block is None or self._ended:
            return
        block = _Block(event.content_block)
        self._open[event.index] = block
        self._blocks.append(block)
        self._chars += _chars(event.content_block)
        if text_or_none(event.content_block.get("type")) in CLIENT_CALLS:
            block.held = [(raw, data)]  # judged when it is whole
        elif self._verdict.passes(event.content_block):
            self._verdict.issued += seals(event.content_block)
            self._show(block)
            out.append(self._indexed(block, event.index, raw, data))
        else:
            block.dropped = True

    def _delta(self, event: _Event, raw: bytes, data: bytes, out: list[bytes]) -> None:
        block = self._open.get(event.index) if type(event.index) is int else None
        delta = event.delta
        if block is None or delta is None:
            return
        text = delta.text if type(delta.text) is str else delta.thinking if type(delta.thinking) is str else delta.partial_json
        if type(text) is str:
            self._chars += len(text)
            if delta.thinking is None and not block.dropped:
                block.text.append(text)
        if delta.citation is not None and not block.dropped:
            self._verdict.issued += seals(delta.citation)
        if block.held is not None:
            block.held.append((raw, data))
            self._held += len(data)
        elif not block.dropped and block.index == event.index:
            out.append(raw)
            if type(text) is str:
                self._fragments.learn(raw, text)
                self._speaks = block.text if delta.thinking is None else None
        elif not block.dropped:
            out.append(self._indexed(block, event.index, raw, data))

    def _stop(self, event: _Event, raw: bytes, data: bytes, out: list[bytes]) -> None:
        block = self._open.pop(event.index, None) if type(event.index) is int else None
        if block is None or block.dropped:
            return
        if block.held is None:
            out.append(self._indexed(block, event.index, raw, data))
            return
        held, block.held = block.held, None
        self._held -= sum(len(kept) for _, kept in held)
        passes = self._verdict.passes(block.whole(), "".join(block.text))
        if self.error is None:
            self.error = self._verdict.error
        if not passes:
            block.dropped = True
            return
        self._show(block)
        out.extend(self._indexed(block, event.index, *each) for each in (*held, (raw, data)))

    def _end(self, event: _Event, raw: bytes, data: bytes, out: list[bytes]) -> None:
        """The reason why the answer ends, and what it used."""
        if isinstance(event.usage, dict):
            self._usage |= {name: count for name, count in event.usage.items() if count is not None}
        reason = event.delta.stop_reason if event.delta is not None else None
        verdict = self._verdict
        for block in self._open.values():  # nobody will ever say that they are whole
            if block.held is not None:
                block.dropped, block.held = True, None
                verdict.refused.append(block_name(block.start))
        shown = [block.start for block in self._blocks if not block.dropped]
        if not self._ended and verdict.refused and verdict.needs_note(shown):
            if self._denial_is_error:
                if self.error is None:
                    self.error = denial(verdict.refused, verdict.judge)
                return
            self._note(refusal_note(verdict.refused, verdict.judge), out)
            if text_or_none(reason) in _WAITING:
                body = _decode(data)
                body["delta"]["stop_reason"] = "end_turn"
                raw = sse.event(_encode(body), "message_delta")
        self._ended = True
        out.append(raw)

    def _note(self, text: str, out: list[bytes]) -> None:
        """The events of a text of ours."""
        block = _Block({"type": "text", "text": ""})
        block.text.append(text)
        self._show(block)
        self._blocks.append(block)
        for kind, fields in (
            ("content_block_start", {"content_block": block.start}),
            ("content_block_delta", {"delta": {"type": "text_delta", "text": text}}),
            ("content_block_stop", {}),
        ):
            out.append(sse.event(_encode({"type": kind, "index": block.index, **fields}), kind))

    def _show(self, block: _Block) -> None:
        block.index = self._told
        self._told += 1

    def _indexed(self, block: _Block, index: int, raw: bytes, data: bytes) -> bytes:
        """An event of a block, with the index that the app knows it by."""
        if block.index == index:
            return raw
        body = _decode(data)
        body["index"] = block.index
        return sse.event(_encode(body), body["type"])


class _Block:
    """What came of one block of a stream. `held`: its events so far (raw, data), while nobody has judged it."""

    __slots__ = ("dropped", "held", "index", "start", "text")

    def __init__(self, start: JsonObject) -> None:
        self.start = start
        self.index = -1
        self.text: list[str] = []
        self.held: list[tuple[bytes, bytes]] | None = None
        self.dropped = False

    def whole(self) -> JsonObject:
        """The block as an answer in one piece has it. An input that broke off is none; who judges the call sees what was written."""
        kind = text_or_none(self.start.get("type"))
        if kind == "text":
            return {**self.start, "text": (self.start.get("text") or "") + "".join(self.text)}
        if kind in CLIENT_CALLS and self.text:
            try:
                given = _decode("".join(self.text) or "{}")
            except UNREADABLE:
                given = {}
            return {**self.start, "input": given if isinstance(given, dict) else {}}
        return self.start

    def content(self) -> JsonObject | None:
        """The same as far as the app received it."""
        return None if self.dropped or self.held is not None else self.whole()


class _Verdict:
    """Judges the blocks of an answer and remembers the outcome."""

    __slots__ = ("_granted", "_refused_calls", "client_refused", "issued", "refused", "released")

    def __init__(self, granted: MessagesGranted) -> None:
        self._granted = granted
        self._refused_calls: set[Any] = set()
        self.client_refused = False
        self.released: list[str] = []
        self.refused: list[str] = []
        self.issued: list[str] = []

    @property
    def judge(self) -> Judge | None:
        """Who judges what is granted."""
        return self._granted.judge

    @property
    def error(self) -> RouterError | None:
        """What ends the answer by the judge's word."""
        return None if self.judge is None else self.judge.error

    def passes(self, block: JsonObject, written: str = "") -> bool:
        """Whether the app may have this block; `written`: the input of a call as the model wrote it. What a refused call of the
        provider's brought goes with it."""
        kind, call_id = text_or_none(block.get("type")), block.get("id")
        is_call = kind in CLIENT_CALLS or kind in PROVIDER_CALLS
        if not is_call and kind is not None and kind.endswith(RESULT):
            answers = block.get("tool_use_id")
            return not (isinstance(answers, str) and answers in self._refused_calls) and self._result(block)
        if is_call and not (isinstance(call_id, str) and isinstance(block.get("input"), dict)):
            passes = False
        else:
            passes = self._granted.block(block) and self._granted.released(block, written)
        if passes:
            if is_call:
                self.released.append(block_name(block))
                self.issued.append(str(call_id))
            return True
        self.refused.append(block_name(block))
        self.client_refused |= kind in CLIENT_CALLS
        if isinstance(call_id, str):
            self._refused_calls.add(call_id)
        return False

    def _result(self, block: JsonObject) -> bool:
        if self._granted.block(block):
            return True
        self.refused.append(block_name(block))
        return False

    def needs_note(self, kept: list[JsonObject]) -> bool:
        """Whether the app would be left without an answer, or waiting for a call that never comes."""
        kinds = {text_or_none(block.get("type")) for block in kept}
        if kinds & CLIENT_CALLS:
            return False
        return "text" not in kinds or self.client_refused


def _issued(message_id: Any, verdict: _Verdict) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*([message_id] if isinstance(message_id, str) else []), *verdict.issued]))


def _chars(block: JsonObject) -> int:
    written = sum(len(block[key]) for key in ("text", "thinking") if isinstance(block.get(key), str))
    return written + (len(_encode(block["input"])) if block.get("input") else 0)
