"""Put the values back where an answer holds their placeholders: in one piece, and in streams also where chunks cut them in two.

Values hold no sign that JSON escapes (`mask.py` sees to it), so in the bytes of an answer, in arguments that are JSON within JSON
and in events alike, a placeholder is replaced by the value itself.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

import msgspec

from router import sse
from router.exchange import JsonObject
from routing_rules.task import Endpoint

_PLACEHOLDER = re.compile(r"\[[A-Z][A-Z0-9_]{0,63}_[0-9]{1,9}\]")
_IN_BYTES = re.compile(_PLACEHOLDER.pattern.encode())
_LONGEST = 76  # characters of a placeholder

_NO_TEXT = frozenset({"role", "type", "id", "name", "index"})
"""Fields of a delta whose strings are not fragments of a text."""

_UNREADABLE = (ValueError, RecursionError)
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

BLOCK_DELTA = "content_block_delta"
_LAST = frozenset({"response.completed", "response.incomplete", "response.failed", "error"})

Path = tuple[Any, ...]
"""Where a text of a stream stands: the choice and the fields of its delta, or the kind of event, the item and the part."""


class Placeholders:
    """What the placeholders of one session stand for: placeholder → value."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._raw = {name.encode(): value.encode() for name, value in values.items()}
        self._names = sorted(values)

    def whole(self, raw: bytes) -> bytes:
        """Bytes of JSON with the values in place of their placeholders; one that nobody gave out stays."""
        return _IN_BYTES.sub(lambda match: self._raw.get(match[0], match[0]), raw)

    def message(self, raw: bytes) -> bytes:
        """The same for an answer of the Messages API, whose thoughts are signed as they were written."""
        if b'"thinking"' not in raw:
            return self.whole(raw)
        body = _decode(raw)
        blocks = body.get("content") if type(body) is dict else None
        if type(blocks) is not list:
            return self.whole(raw)
        signed = [type(block) is dict and block.get("type") in ("thinking", "redacted_thinking") for block in blocks]
        body["content"] = [
            block if stays else _decode(self.whole(_encode(block))) for block, stays in zip(blocks, signed, strict=True)
        ]
        return bytes(_encode(body))

    def text(self, text: str) -> str:
        """The same for a text."""
        return _PLACEHOLDER.sub(lambda match: self._values.get(match[0], match[0]), text)

    def beginning(self, text: str) -> int:
        """Where the end of a text could be the beginning of a placeholder that goes on; its length where it could not."""
        at = text.rfind("[", max(len(text) - _LONGEST, 0))
        if at < 0:
            return len(text)
        tail = text[at:]
        place = bisect_left(self._names, tail)
        begins = place < len(self._names) and self._names[place] != tail and self._names[place].startswith(tail)
        return at if begins else len(text)


class StreamPlaceholders:
    """Puts values back into one stream, event by event. Only what may be the beginning of a placeholder is held back."""

    def __init__(self, endpoint: Endpoint, placeholders: Placeholders) -> None:
        self._placeholders = placeholders
        self._held: dict[Path, str] = {}  # what may go on, by the place of its text
        self._frame: dict[Path, tuple[bytes, JsonObject]] = {}  # the event that brought it, and what of it is no text
        self._added = 0  # events of ours, by which later ones are numbered higher
        self._read = {Endpoint.RESPONSES: self._responses, Endpoint.MESSAGES: self._messages}.get(endpoint, self._chat)

    def event(self, raw: bytes) -> list[bytes]:
        """The events that stand for this one. One that has no placeholder passes as it came; never raises."""
        data = sse.data_of(raw)
        if not data:
            return [raw]
        if data.startswith(b"[DONE]"):
            return [*self.end(), raw]
        try:
            return self._read(raw, _decode(data))
        except _UNREADABLE:
            return [raw]  # whoever judges the event will say what is wrong with it

    def end(self) -> list[bytes]:
        """What is still held, now that nothing follows."""
        return [self._told(path) for path in list(self._held)]

    def _fragment(self, path: Path, text: str, raw: bytes, frame: JsonObject, *, last: bool = False) -> str:
        """What of a text may be passed on, after its next fragment."""
        text = self._held.pop(path, "") + text
        end = len(text) if last else self._placeholders.beginning(text)
        if end < len(text):
            self._held[path] = text[end:]
            self._frame[path] = (raw, frame)
        return self._placeholders.text(text[:end])

    # Chat: deltas of each choice, at any depth; a choice ends with its finish reason.

    def _chat(self, raw: bytes, chunk: Any) -> list[bytes]:
        choices = chunk.get("choices") if type(chunk) is dict else None
        if type(choices) is not list or not choices:
            return [self._placeholders.whole(raw)]
        frame = {name: value for name, value in chunk.items() if name not in ("choices", "usage")}
        before: list[bytes] = []
        changed = False
        for choice in choices:
            if type(choice) is not dict:
                continue
            index = _sure(choice.get("index", 0))
            last = bool(choice.get("finish_reason"))
            delta = self._delta((index,), choice.get("delta"), raw, frame, last)
            if last:
                before += [self._told(path) for path in list(self._held) if path[0] == index]
            if delta != choice.get("delta"):
                choice["delta"] = delta
                changed = True
            if choice.get("message") is not None:
                choice["message"] = _decode(self._placeholders.whole(_encode(choice["message"])))
                changed = True
        return [*before, sse.event(_encode(chunk)) if changed else raw]

    def _delta(self, path: Path, value: Any, raw: bytes, frame: JsonObject, last: bool) -> Any:
        kind = type(value)
        if kind is str:
            return self._fragment(path, value, raw, frame, last=last)
        if kind is dict:
            return {
                name: held if name in _NO_TEXT else self._delta((*path, name), held, raw, frame, last)
                for name, held in value.items()
            }
        if kind is list:
            return [self._delta((*path, _place(held, at)), held, raw, frame, last) for at, held in enumerate(value)]
        return value

    # Responses: each text has its own events, and one that says that it is done.

    def _responses(self, raw: bytes, event: Any) -> list[bytes]:
        kind = event.get("type") if type(event) is dict else None
        if type(kind) is not str:
            return [raw]
        delta, item = event.get("delta"), _sure(event.get("output_index"))
        if kind.endswith(".delta") and type(delta) is str:
            path = (kind, *(_sure(event.get(name)) for name in ("output_index", "item_id", "content_index", "summary_index")))
            frame = {name: value for name, value in event.items() if name not in ("delta", "logprobs", "obfuscation")}
            text = self._fragment(path, delta, raw, frame)
            return [raw] if text == delta and not self._added else [self._renumbered(raw, {**event, "delta": text})]
        before: list[bytes] = []
        if self._held and (kind.endswith(".done") or kind in _LAST):
            for path in [path for path in self._held if kind in _LAST or path[1] == item]:
                before.append(self._told(path, event.get("sequence_number")))
                self._added += 1
        if self._added:
            raw = self._renumbered(raw, event)
        return [*before, self._placeholders.whole(raw)]

    # Messages: each block has its own events. A thought is signed as it was written, so it stays so.

    def _messages(self, raw: bytes, event: Any) -> list[bytes]:
        kind = event.get("type") if type(event) is dict else None
        if kind != BLOCK_DELTA:
            ended = event.get("index") if kind == "content_block_stop" else None
            over = kind in ("message_delta", "message_stop", "error")
            before = [self._told(path) for path in list(self._held) if over or (ended is not None and path[1] == ended)]
            return [*before, self._placeholders.whole(raw)]
        delta = event.get("delta")
        for field in ("text", "partial_json"):
            if type(delta) is dict and type(delta.get(field)) is str:
                path = (kind, _sure(event.get("index")), field)
                text = self._fragment(path, delta[field], raw, event)
                return [raw] if text == delta[field] else [_named(raw, {**event, "delta": {**delta, field: text}})]
        return [raw]

    def _renumbered(self, raw: bytes, event: JsonObject) -> bytes:
        number = event.get("sequence_number")
        if type(number) is int:
            event = {**event, "sequence_number": number + self._added}
        return _named(raw, event)

    def _told(self, path: Path, number: Any = None) -> bytes:
        """An event of ours with what was held of a text; `number` is that of the event before which it comes."""
        text = self._held.pop(path)
        raw, frame = self._frame.pop(path)
        if path[0] == BLOCK_DELTA:
            return _named(raw, {**frame, "delta": {**frame["delta"], path[2]: text}})
        if type(path[0]) is str:
            event = {**frame, "delta": text}
            if type(number) is int:
                event["sequence_number"] = number + self._added
            return _named(raw, event)
        choice = {"index": path[0], "delta": _nested(path[1:], text), "logprobs": None, "finish_reason": None}
        return sse.event(_encode({**frame, "choices": [choice]}))


def _named(raw: bytes, event: JsonObject) -> bytes:
    kind = event["type"]
    # A name with a line break in it would end its line, and begin one that nobody has judged.
    named = raw.startswith(b"event:") and kind.replace(".", "_").isidentifier()
    return sse.event(_encode(event), kind if named else None)


def _sure(value: Any) -> str | int | None:
    """A name or a number of a place; a provider may write anything there."""
    return value if type(value) is str or type(value) is int else None


def _place(held: Any, at: int) -> int:
    """Which element of a list goes on here: fragments of parallel calls say so by their index."""
    index = held.get("index") if type(held) is dict else None
    return index if type(index) is int else at


def _nested(path: Path, text: str) -> Any:
    value: Any = text
    for step in reversed(path):
        value = {step: value} if type(step) is str else [{"index": step, **value} if type(value) is dict else value]
    return value
