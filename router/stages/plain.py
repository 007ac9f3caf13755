"""Make an answer say one thing to every reader: each key once and spelt as its format has it, each event in one line (pure).

What is judged here is read by one parser, and what is handed on by others: some take the first of two equal keys, some take `Tool_calls`
for `tool_calls`, some read an event line by line. Bytes that no reader can understand otherwise pass as they came.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from router import sse

_WORDS = frozenset(
    """
    action actions arguments call_id caller choices citations content content_block custom delta error event finish_reason function
    function_call headers id index input item message model name namespace operation output output_index partial_json phase refusal
    response role server_label server_name status stop_reason text thinking tool_calls tool_use_id tools toolset_name type usage
    """.split()
)
"""Keys by which an answer is judged. All are lower case."""

_FREE = frozenset(
    "annotations attributes env headers input input_schema metadata output_schema parameters parsed properties schema tools".split()
)
"""Fields that hold JSON of an app's or a tool's own, in which a key means what its author says. What is called by it is judged as a whole."""

_ODD_KEY = re.compile(rb'(?<!\\)"[a-z0-9_.]*+[^a-z0-9_."][^"]{0,128}"\s*:')  # no key begins behind a backslash
_EVENT = re.compile(
    rb"""\A(?:\xef\xbb\xbf)?
    (?:(?:id:|retry:|:)[^\r\n]*(?:\r\n|\n|\r))*(?:event:[^\r\n]*(?:\r\n|\n|\r))?
    (?:(?:id:|retry:|:)[^\r\n]*(?:\r\n|\n|\r))*(?:data:[^\r\n]*(?:\r\n|\n|\r))
    (?:(?:id:|retry:|:)[^\r\n]*(?:\r\n|\n|\r))*(?:\r\n|\n|\r)?\Z""",
    re.VERBOSE,
)
_QUIET = re.compile(rb"\A(?:\xef\xbb\xbf)?(?:(?:(?:id:|retry:|event:|:)[^\r\n]*|data:[ ]?)?(?:\r\n|\n|\r))*\Z")
_NAME = re.compile(rb"(?:\A(?:\xef\xbb\xbf)?|[\r\n])event:[ ]?([^\r\n]*)")
_PADDING = re.compile(rb'"obfuscation":[ ]?"([^"\\]*)"')
_NUMBER = re.compile(rb'"sequence_number":[ ]?([0-9]+)')
_COUNT = re.compile(rb"0|[1-9][0-9]{0,15}")
_TEXT = re.compile(rb'(?:[^"\\\x00-\x1f]|\\["\\/bfnrt])*')

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_format = msgspec.json.format
_decode_text = msgspec.json.Decoder(str).decode


def plain_json(raw: bytes) -> bytes:
    """The identical bytes where they can be read in one way; else the same JSON anew, as it is read here. Raises one of UNREADABLE."""
    body = _decode(raw)
    if _ODD_KEY.search(raw) is None and _format(raw, indent=-1) == _encode(body):
        return raw
    told = _without_odd_keys(body)
    return raw if told is body and not _stands_twice(raw) else _encode(told)


def reads_one_way(written: str) -> bool:
    """Whether no object in a JSON text has a key twice. What is no JSON is read as the text that it is."""
    try:
        return _format(written, indent=-1) == _encode(_decode(written)).decode() or not _stands_twice(written.encode())
    except (ValueError, RecursionError):
        return True


def plain_event(raw: bytes) -> tuple[bytes, bytes]:
    """A raw event and its data, the identical bytes where they can be read in one way. One without data that is more than a comment is
    dropped: ("", ""). Raises one of UNREADABLE."""
    data = sse.data_of(raw)
    if not data:
        return (raw if _QUIET.match(raw) else b""), b""
    if data.startswith(b"[DONE]"):
        return (raw, data) if _EVENT.match(raw) and data.rstrip() == b"[DONE]" else (sse.DONE, b"[DONE]")
    told = plain_json(data)
    if raw.startswith(b"data: ") and raw.find(b"\n") == len(raw) - 2 and b"\r" not in raw:
        if told is data:
            return raw, data
        return sse.event(told), told
    named, kind = _NAME.search(raw), _kind(told)
    if told is data and (named is None or not kind or named[1] == kind) and _EVENT.match(raw):
        return raw, data
    told = _format(told, indent=-1)
    return rebuilt(raw, told), told


def rebuilt(raw: bytes, data: bytes) -> bytes:
    """An event with other data, named by its type where the one before had a name."""
    # A name with a line break in it would end its line, and begin one that nobody has judged.
    name = _kind(data).decode() if _NAME.search(raw) is not None else ""
    return sse.event(data, name if name.replace(".", "_").isidentifier() else None)


class Typed(msgspec.Struct, gc=False):
    """An event that says what it is."""

    type: Any = None


_decode_typed = msgspec.json.Decoder(Typed).decode


def _kind(data: bytes) -> bytes:
    """The `type` of an event; nothing where it has none."""
    kind = _decode_typed(data).type
    return kind.encode() if type(kind) is str else b""


def _without_odd_keys(value: Any) -> Any:
    """The value without keys that only a careless reader takes for one that is judged; the identical object where there are none."""
    kind = type(value)
    if kind is list:
        told = [_without_odd_keys(held) for held in value]
        return value if all(one is other for one, other in zip(told, value, strict=True)) else told
    if kind is not dict:
        return value
    kept = {
        name: held if name in _FREE and type(held) is not list else _without_odd_keys(held)
        for name, held in value.items()
        if name in _WORDS or name.strip().casefold() not in _WORDS
    }
    return value if len(kept) == len(value) and all(kept[name] is held for name, held in value.items()) else kept


def _stands_twice(raw: bytes) -> bool:
    """Whether an object in it has a key twice."""
    twice = False

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        found = dict(pairs)
        twice = twice or len(found) < len(pairs)
        return found

    json.loads(raw.decode(), object_pairs_hook=look)
    return twice


class Fragments:
    """Knows a fragment of a text again that differs in nothing but its words from one that was looked at closely.

    Most events of a stream are such fragments: they need not be parsed again.
    """

    __slots__ = ("_between", "_counted", "_end", "_head", "_padded", "number")

    def __init__(self) -> None:
        self._head = self._between = self._end = b""
        self._counted: bytes | None = None  # what stands before the number of the event, where it has one
        self._padded = False
        self.number = 0

    def learn(self, raw: bytes, text: str, number: int | None = None) -> None:
        """An event that may pass as it came, with its text and its sequence number."""
        written = _encode(text)
        head, found, tail = raw.partition(written)
        counts = list(_NUMBER.finditer(head)) if number is not None else []
        self._head, self._counted = b"", None
        if not text or not found or raw.find(written, len(head) + 1) >= 0 or len(counts) != (number is not None):
            return
        if counts:
            self._counted, head = head[: counts[0].start(1)], head[counts[0].end(1) :]
        self._head, self._between, self._end = head + b'"', b'"' + tail, b""
        padding = _PADDING.search(tail)
        self._padded = padding is not None
        if padding is not None:
            self._between, self._end = b'"' + tail[: padding.start(1)], tail[padding.end(1) :]

    def forget(self) -> None:
        """Something else came between, after which nothing is as before."""
        self._head = b""

    def text(self, raw: bytes) -> str | None:
        """The text of an event that is like the one which was learnt, and then its `number`; None of any other."""
        head, between, at = self._head, self._between, 0
        if not head:
            return None
        if self._counted is not None:
            count = _COUNT.match(raw, len(self._counted)) if raw.startswith(self._counted) else None
            if count is None:
                return None
            self.number, at = int(count[0]), count.end()
        words = _TEXT.match(raw, at + len(head)) if raw.startswith(head, at) else None
        if words is None or not raw.startswith(between, words.end()):
            return None
        at = words.end() + len(between)
        if self._padded and (padding := _TEXT.match(raw, at)) is not None:
            at = padding.end()
        if raw[at:] != self._end:
            return None
        written = words[0]
        return _decode_text(b'"%b"' % written) if b"\\" in written else written.decode()
