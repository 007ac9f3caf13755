"""Screen the words of an answer: links and images that lead to hosts nobody has listed could carry out what the session has read.

What a client shows as a link, or fetches by itself, is replaced by a note; arguments of tool calls are judged elsewhere and stay as
they are. In streams a link is held back until it is known where it leads, and never more than `MOST_HELD` characters of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import unescape
from typing import Any

import msgspec

from router import sse
from router.exchange import JsonObject
from router.stages.unmask import BLOCK_DELTA, Path, Placeholders, StreamPlaceholders
from routing_rules.task import Endpoint

NOTE = "[link removed]"
MOST_HELD = 256
"""Characters of a text that are held back at most."""

_KEPT_OF_LONG = 128  # of a link that goes on and on: enough to know that it leads nowhere that is listed
_BEFORE = 32  # characters before a text that say whether it is one of a link

_START = r"""
    (?:[a-z][a-z0-9+.-]{0,30})?:[/\\]{2,}(?=[^\s<>"'`)\]])  # any scheme
  | (?<![a-z0-9])(?:https?|ftp|wss?):(?=[^\s<>"'`)\]])  # `https:host` is read as `https://host`
  | (?<![\w.@-])www\.
  | (?<=[("'=<])\s*[/\\]{2,}(?=[^\s/\\])           # `//host` in a link, an attribute or a definition
  | (?<=\]:)\s*[/\\]{2,}(?=[^\s/\\])
"""
_LINK = re.compile(rf"(?:{_START})[^\s<>\"'`)\]]*", re.VERBOSE | re.IGNORECASE)
_STARTS = re.compile(_START, re.VERBOSE | re.IGNORECASE)
_BEGINS = re.compile(
    r"""(?:
        (?:[a-z][a-z0-9+.-]{0,30})?:[/\\]*
      | (?<![a-z0-9])(?:h|ht|htt|https?|https?:|f|ft|ftp|ftp:|w|ws|wss|wss?:)
      | (?<![\w.@-])(?:w|ww|www)
      | (?:(?<=[("'=<])|(?<=\]:))\s*[/\\]+
    )\Z""",
    re.VERBOSE | re.IGNORECASE,
)
_WORD = re.compile(r"[^\s<>\"'`()\]]+")
_LAST_WORD = re.compile(r"[^\s<>\"'`()\]]*\Z")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_IGNORED = re.compile(r"[\t\r\n\0]")

_SPOKEN = frozenset({"content", "refusal", "reasoning_content", "reasoning"})
"""Fields of a chat's delta that are words."""

_SPOKEN_EVENTS = ("response.output_text.", "response.refusal.", "response.reasoning")
_WORDS = _SPOKEN | {"text", "transcript", "url", "title", "quote", "cited_text"}
"""Fields whose strings a client may show."""

_NOT_WORDS = frozenset({"arguments", "input", "metadata", "tools", "instructions", "thinking", "signature", "encrypted_content"})

_UNREADABLE = (ValueError, RecursionError)
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Screen(Placeholders):
    """Replaces links that lead to no listed place. `listed` are URLs, those that end in `/` with everything below them.

    `removed` are the digests of the links that were replaced, so that one that is told several times counts once.
    """

    def __init__(self, listed: Iterable[str] = ()) -> None:
        super().__init__({})
        self.listed = tuple(entry for entry in listed if "://" in entry)
        self.removed: set[int] = set()

    def text(self, text: str, before: str = "") -> str:
        """The text with a note in place of each such link. `before` is what stands before it."""
        if not (":" in text or "/" in text or "\\" in text or "&" in text or "." in text):
            return text
        return _screened(before + text, len(before), self)

    def whole(self, raw: bytes) -> bytes:
        """The same for a body, or an event of a stream; one that is no JSON object stays as it is."""
        bare = raw.lstrip()[:1] == b"{"
        try:
            body = _decode(raw if bare else sse.data_of(raw) or b"null")
        except _UNREADABLE:
            return raw
        shown = self._shown(body)
        if shown == body or type(shown) is not dict:
            return raw
        if bare:
            return _encode(shown)
        kind = shown.get("type")
        named = raw.startswith(b"event:") and type(kind) is str and kind.replace(".", "_").isidentifier()
        return sse.event(_encode(shown), kind if named else None)

    def message(self, raw: bytes) -> bytes:
        """The same for an answer of the Messages API, whose thoughts are signed as they were written."""
        return self.whole(raw)

    def beginning(self, text: str, before: str = "") -> int:
        """Where the end of a text could be a link that goes on; its length where it could not."""
        whole, offset = before + text, len(before)
        word = _LAST_WORD.search(whole)
        start = word.start() if word is not None else len(whole)
        links = list(_LINK.finditer(whole))
        if links and links[-1].end() == len(whole):
            return max(links[-1].start() - offset, 0)
        if "&" in whole[start:] or "\\" in whole[start:]:
            return max(start - offset, 0)
        begins = _BEGINS.search(whole, max(len(whole) - _BEFORE, 0))
        return len(text) if begins is None else max(begins.start() - offset, 0)

    def is_listed(self, link: str) -> bool:
        """Whether a link leads to a listed place."""
        return any(link.startswith(entry) if entry.endswith("/") else link == entry for entry in self.listed)

    def judge(self, link: str) -> str:
        """What stands for a link."""
        if self.is_listed(link):
            return link
        self.removed.add(hash(link))
        return NOTE

    def _shown(self, value: Any, field: str = "") -> Any:
        kind = type(value)
        if kind is str:
            return self.text(value) if field in _WORDS else value
        if kind is dict:
            return {name: held if name in _NOT_WORDS else self._shown(held, name) for name, held in value.items()}
        return [self._shown(held, field) for held in value] if kind is list else value


class ScreenedStream(StreamPlaceholders):
    """Screens one stream, event by event."""

    def __init__(self, endpoint: Endpoint, screen: Screen) -> None:
        super().__init__(endpoint, screen)
        self._screen = screen
        self._before: dict[Path, str] = {}  # what was passed on last, by the place of its text

    def _fragment(self, path: Path, text: str, raw: bytes, frame: JsonObject, *, last: bool = False) -> str:
        before = self._before.get(path, "")
        text = self._held.pop(path, "") + text
        end = len(text) if last else self._screen.beginning(text, before)
        held = text[end:]
        if len(held) > MOST_HELD:
            if self._screen.is_listed(held):
                end, held = len(text), ""
            elif _STARTS.match(held) or _STARTS.search(before + held):
                held = held[:_KEPT_OF_LONG]  # it is replaced as a whole in the end, so the rest of it may be forgotten
            else:
                end = len(text) - _KEPT_OF_LONG
                held = text[end:]
        if held:
            self._held[path] = held
            self._frame[path] = (raw, frame)
        told = text[:end]
        self._before[path] = (before + told)[-_BEFORE:]
        return self._screen.text(told, before)

    def _told(self, path: Path, number: Any = None) -> bytes:
        self._held[path] = self._screen.text(self._held[path], self._before.get(path, ""))
        return super()._told(path, number)

    def _delta(self, path: Path, value: Any, raw: bytes, frame: JsonObject, last: bool) -> Any:
        if len(path) > 1 or type(value) is not dict:
            return super()._delta(path, value, raw, frame, last)
        return {
            name: super(ScreenedStream, self)._delta((*path, name), held, raw, frame, last) if name in _SPOKEN else held
            for name, held in value.items()
        }

    def _responses(self, raw: bytes, event: Any) -> list[bytes]:
        kind = event.get("type") if type(event) is dict else None
        if type(kind) is str and kind.endswith(".delta") and not kind.startswith(_SPOKEN_EVENTS):
            return [self._renumbered(raw, event)] if self._added else [raw]
        return super()._responses(raw, event)

    def _messages(self, raw: bytes, event: Any) -> list[bytes]:
        delta = event.get("delta") if type(event) is dict and event.get("type") == BLOCK_DELTA else None
        if type(delta) is dict and type(delta.get("text")) is not str:
            return [self._screen.whole(raw)] if delta.get("type") == "citations_delta" else [raw]
        return super()._messages(raw, event)


def _screened(whole: str, skipped: int, screen: Screen) -> str:
    """A text, of which the first characters only say what stands before it, with its links judged."""
    pieces: list[str] = []
    at = skipped
    for link in _LINK.finditer(whole):
        if link.end() <= at:
            continue
        begin = max(link.start(), at)
        pieces += (_decoded(whole[at:begin], whole[:at], screen), screen.judge(link[0].strip()))
        at = link.end()
    pieces.append(_decoded(whole[at:], whole[:at], screen))
    return "".join(pieces)


def _decoded(text: str, before: str, screen: Screen) -> str:
    """A text without words that are links only once their entities and escapes are read."""
    if "&" not in text and "\\" not in text:
        return text

    def judged(word: re.Match[str]) -> str:
        if "&" not in word[0] and "\\" not in word[0]:
            return word[0]
        plain = _IGNORED.sub("", _ESCAPED.sub(r"\1", unescape(word[0])))
        last = (before + text[: word.start()])[-1:]
        return screen.judge(word[0]) if plain != word[0] and _STARTS.search(last + plain) else word[0]

    return _WORD.sub(judged, text)
