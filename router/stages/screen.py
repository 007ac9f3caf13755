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
_FURTHEST = 2_000  # characters from a sign behind which a destination stands to where it is known what it is
_HTML, _MARKDOWN, _CSS = range(3)

_END = r"""[^\s<>"'`)\]]"""
_SCHEMES = "http https ftp ws wss javascript vbscript sms smsto whatsapp tg view-source".split()
"""Those that need no strokes: `https:host` is read as `https://host`."""
_FURTHER_SCHEMES = "ftps file blob filesystem intent xmpp sip".split()
"""The same where a destination is expected."""
_PREFIXES = "|".join(
    sorted({scheme[:end] for scheme in [*_SCHEMES, "mailto", "data"] for end in range(1, len(scheme) + 1)}, reverse=True)
)
_DATA = "data:(?=text/html|text/xml|image/svg|application/)"
_TEXT = rf"(?:{_END}{{0,200}}\?|{_END}{{200}})"
_PLACES = "com|org|net|info|biz|io|dev|app|xyz|ai|co|me|example|site|online|shop|top|link|click|page|cloud|live|club|pro|test"
_START = rf"""
    (?:[a-z][a-z0-9+.-]{{0,30}})?:[/\\]{{2,}}(?={_END})  # any scheme
  | (?<![a-z0-9])(?:(?:{"|".join(_SCHEMES)}):(?={_END})|{_DATA})
  | (?<![a-z0-9])mailto:(?={_TEXT})  # with a text in it
  | (?<![\w.@-])www\.
  | (?P<host>(?<![\w.@/\\-])[\w-]{{1,63}})\.(?:[\w-]{{1,63}}\.)*(?:(?:{_PLACES})(?::[0-9]{{1,5}})?[/?\#]  # `host.com/…`, which clients make a link of
      | [a-z][a-z0-9-]{{1,30}}(?::[0-9]{{1,5}})?(?:/{_END}{{0,99}})?\?(?={_END}{{0,200}}=)
      | [a-z][a-z0-9-]{{1,30}}(?::[0-9]{{1,5}})?/{_END}{{100}})
"""
_LINK = re.compile(rf"(?:{_START}){_END}*", re.VERBOSE | re.IGNORECASE)
_STARTS = re.compile(_START, re.VERBOSE | re.IGNORECASE)
_BEGINS = re.compile(
    rf"""(?:
        (?:[a-z][a-z0-9+.-]{{0,30}})?:[/\\]*
      | (?<![a-z0-9])(?:{_PREFIXES}):?
      | (?<![a-z0-9])(?:mailto:{_END}*|data:[a-z/+-]{{0,40}})
      | (?<![\w.@-])(?:w|ww|www)
      | (?<=[\w-])\.{_END}*
    )\Z""",
    re.VERBOSE | re.IGNORECASE,
)

_PLAIN = re.compile(r"""[^"'=<(`\],{&.:/\\@]*""")
"""A text in which no link begins."""
_LAST_SIGN = re.compile(r"""["'=<(`\],{:&][^"'=<(`\],{:&]*\Z""")
_SCHEME_BEGINS = re.compile(rf"(?<![a-z0-9])(?:{_PREFIXES}|www?)\Z", re.IGNORECASE)
_LONGEST_BEGINNING = 12

# Where a client takes what follows for a destination whatever it looks like: attributes, destinations of links, definitions, styles.
_OPENER = re.compile(
    r"""content[\s\x00-\x1f]*=[\s\x00-\x1f]*["']?[\s\x00-\x1f]*[0-9.]+[\s;,\x00-\x1f]+(?:url[\s\x00-\x1f]*=[\s\x00-\x1f]*["']?)?"""
    r"""|["'=<(`]|\]:|,(?=[\s\x00-\x1f]*(?:[/\\&]|\Z))|(?:href|url|graphics)\s?\{"""
    r"""|&(?:quot|apos|lt|lpar|grave|\#0*(?:34|39|40|60|96)|\#x0*(?:22|27|28|3c|60));?""",
    re.IGNORECASE,
)
_DECIDED = re.compile(r"""[^a-z0-9+.:/\\&#;@%_?~\s\x00-\x1f-]""", re.IGNORECASE)
_TOKEN = re.compile(r"&(?:#x[0-9a-f]+|#[0-9]+|[a-z][a-z0-9]*);?|\\[0-9a-f]{1,6}[ \t\r\n\f]?|\\?.", re.IGNORECASE | re.DOTALL)
_UNENDED = re.compile(r"(?:&[#\w]*|\\[0-9a-f]{0,6})\Z", re.IGNORECASE)
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_LEADING = "".join(map(chr, range(33)))
_PASSED_OVER = {9: None, 10: None, 13: None}  # within a URL
_AWAY = re.compile(
    rf"[a-z][a-z0-9+.-]{{0,63}}:[/\\]{{2,}}(?={_END})|(?:{'|'.join([*_SCHEMES, *_FURTHER_SCHEMES])}):(?={_END})|{_DATA}|mailto:(?={_TEXT})|[/\\]{{2,}}(?=[^\s/\\])",
    re.IGNORECASE,
)
_AWAY_IN_MARKDOWN = re.compile(rf"{_AWAY.pattern}|(?!mailto:|data:)[a-z][a-z0-9+.-]{{1,63}}:(?={_END})", re.IGNORECASE)
_MAY_LEAD_AWAY = re.compile(
    rf"(?:[a-z][a-z0-9+.-]{{0,63}}(?::[/\\]*)?|[/\\]*|mailto:{_END}*|data:[a-z/+-]{{0,40}})", re.IGNORECASE
)
_SURELY_NOT = re.compile(r"""[\s\x00-\x1f>]*(?:[^a-z/\\&\s\x00-\x1f>]|[a-z][a-z0-9+.-]*[^a-z0-9+.:/\\&\t\r\n-])""", re.IGNORECASE)
_RUN = re.compile(r"[\t\r\n]{2,}")
_IN_LINK = re.compile(rf"{_END}+")
_IN_CLOSED_LINK = re.compile(rf"(?:[\t\r\n]*{_END})*[\t\r\n]*")
_CLOSED = frozenset("\"'<")
_STRETCHED = re.compile(r"\s\s|&#")
_BLANKS = re.compile(r"\s{2,}")

_WORD = re.compile(r"[^\s<>\"'`()\]]+")
_LAST_WORD = re.compile(r"[^\s<>\"'`()\]]*")  # of a text that is read from its end
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_ZEROS = re.compile(r"(&#x?)0+(?=[0-9a-f])", re.IGNORECASE)
_IGNORED = re.compile(r"[\t\r\n\0]")

_SPOKEN = frozenset({"content", "refusal", "reasoning_content", "reasoning", "thinking", "text", "transcript", "summary"})
"""Fields of a chat's delta that are words, and go on in the next one."""

_CALLED = ("_call", "arguments", "audio.delta")
_WORDS = _SPOKEN | {"url", "title", "quote", "cited_text", "output_text"}
"""Fields whose strings a client may show."""

_SIGNED = frozenset({"thinking", "redacted_thinking"})
_SILENT = frozenset({"thinking_delta", "signature_delta", "input_json_delta"})
_NOT_WORDS = frozenset({"arguments", "input", "metadata", "tools", "instructions", "signature", "encrypted_content"})
_CALLS = frozenset({"tool_calls", "function_call", "function"})

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
        shown = self.shown(body)
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
        return self.waiting(text, before)[0]

    def waiting(self, text: str, before: str = "") -> tuple[int, bool]:
        """The same, and whether it is one already, or would be one for all that is known."""
        whole, offset = before + text, len(before)
        place, known = len(whole), False
        for span in _LINK.finditer(whole) if ":" in whole or "." in whole else ():
            if span.end() == len(whole):
                place, known = span.start(), True
        for opener in _OPENER.finditer(whole):
            found = _led_away(whole, opener)
            if found is not None and found[1] == len(whole) and (found[2] or found[0] < len(whole)):
                place, known = min(place, found[0]), True
        if known:
            return max(place - offset, 0), True
        start = len(whole) - len(_LAST_WORD.match(whole[: -MOST_HELD - _BEFORE - 1 : -1])[0])  # type: ignore[index]
        if "&" in whole[start:] or "\\" in whole[start:]:
            return max(start - offset, 0), False
        begins = _BEGINS.search(whole, start)
        return (len(text) if begins is None else max(begins.start() - offset, 0)), False

    def is_listed(self, link: str) -> bool:
        """Whether a link leads to a listed place, and has nothing in it that is read differently by different programs."""
        return any(_is_at(link, entry) for entry in self.listed)

    def judge(self, link: str) -> str:
        """What stands for a link."""
        if self.is_listed(link):
            return link
        self.removed.add(hash(link))
        return NOTE

    def shown(self, value: Any, field: str = "") -> Any:
        """A decoded value with the words in it screened. Signed thoughts stay as they were written."""
        kind = type(value)
        if kind is str:
            return self.text(value) if field in _WORDS else value
        if kind is dict:
            kept = _NOT_WORDS | {"thinking"} if value.get("type") in _SIGNED else _NOT_WORDS
            return {name: held if name in kept else self.shown(held, name) for name, held in value.items()}
        return [self.shown(held, field) for held in value] if kind is list else value


class ScreenedStream(StreamPlaceholders):
    """Screens one stream, event by event."""

    def __init__(self, endpoint: Endpoint, screen: Screen) -> None:
        super().__init__(endpoint, screen)
        self._screen = screen
        self._before: dict[Path, str] = {}  # what was passed on last, by the place of its text

    def _fragment(self, path: Path, text: str, raw: bytes, frame: JsonObject, *, last: bool = False) -> str:
        before = self._before.get(path, "")
        if path not in self._held and _PLAIN.fullmatch(text) is not None and _is_settled(before):
            whole = before + text
            if _SCHEME_BEGINS.search(whole, max(len(whole) - _LONGEST_BEGINNING, 0)) is None:
                self._passed(path, whole)
                return text
        text = self._held.pop(path, "") + text
        end, known = (len(text), False) if last else self._screen.waiting(text, before)
        held = text[end:]
        if len(held) > MOST_HELD:
            if self._screen.is_listed(held):
                end, held = len(text), ""
            elif known:
                # A link is replaced as a whole in the end, so the rest of it may be forgotten.
                kept = held[:_KEPT_OF_LONG]
                return self._fragment_of_long(path, text[:end], before, kept, raw, frame)
            else:
                end = len(text) - _KEPT_OF_LONG
                held = text[end:]
        if held:
            self._held[path] = held
            self._frame[path] = (raw, frame)
        told = text[:end]
        self._passed(path, before + told)
        return self._screen.text(told, before)

    def _fragment_of_long(self, path: Path, told: str, before: str, kept: str, raw: bytes, frame: JsonObject) -> str:
        self._passed(path, before + told)
        if NOTE in self._screen.text(kept, before + told):
            self._held[path], self._frame[path] = kept, (raw, frame)
            return self._screen.text(told, before)
        # So much that clients pass over, and no end of it: what follows is a link to nowhere.
        self._screen.removed.add(hash(kept))
        self._passed(path, NOTE)
        return self._screen.text(told, before) + NOTE

    def _passed(self, path: Path, text: str) -> None:
        if _STRETCHED.search(text) is None:
            self._before[path] = text[-_BEFORE:]
            return
        # However many blanks a text is stretched by, what stands before them is remembered.
        short = _ZEROS.sub(r"\1", _RUN.sub("\n", text[-4 * MOST_HELD :]))
        self._before[path] = _BLANKS.sub(
            lambda blanks: "\n" if "\n" in blanks[0] and not blanks[0].strip("\t\r\n") else " ", short
        )[-_BEFORE:]

    def _told(self, path: Path, number: Any = None) -> bytes:
        self._held[path] = self._screen.text(self._held[path], self._before.get(path, ""))
        return super()._told(path, number)

    def _delta(self, path: Path, value: Any, raw: bytes, frame: JsonObject, last: bool) -> Any:
        kind = type(value)
        if kind is dict:
            kept = _NOT_WORDS | _CALLS | (_SIGNED if value.get("type") in _SIGNED else frozenset())
            return {
                name: held if name in kept else self._delta((*path, name), held, raw, frame, last) for name, held in value.items()
            }
        if kind is str and path[-1] not in _SPOKEN:
            return self._screen.shown(value, str(path[-1]))
        return super()._delta(path, value, raw, frame, last)

    def _responses(self, raw: bytes, event: Any) -> list[bytes]:
        kind = event.get("type") if type(event) is dict else None
        if type(kind) is str and kind.endswith(".delta") and any(each in kind for each in _CALLED):
            return [self._renumbered(raw, event)] if self._added else [raw]
        return super()._responses(raw, event)

    def _messages(self, raw: bytes, event: Any) -> list[bytes]:
        kind = event.get("type") if type(event) is dict else None
        if kind == "content_block_start" and type(block := event.get("content_block")) is dict and type(block.get("text")) is str:
            index = event.get("index")
            self._passed((BLOCK_DELTA, index if type(index) is int else None, "text"), block["text"])
        delta = event.get("delta") if kind == BLOCK_DELTA else None
        if type(delta) is dict and type(delta.get("text")) is not str:
            return [raw if delta.get("type") in _SILENT else self._screen.whole(raw)]
        return super()._messages(raw, event)


def _is_settled(before: str) -> bool:
    """Whether no sign behind which clients expect a destination still waits for one, given that nothing is held back."""
    sign = _LAST_SIGN.search(before)
    return sign is None or (sign[0][0] != "&" and _SURELY_NOT.match(before, sign.start() + 1) is not None)


def _screened(whole: str, skipped: int, screen: Screen) -> str:
    """A text, of which the first characters only say what stands before it, with its links judged."""
    # A host without a scheme is known as one by its first dot, when a stream has passed on what stands before.
    spans = [
        (link.start(), link.end("host") if link["host"] else link.start(), link.end())
        for link in (_LINK.finditer(whole) if ":" in whole or "." in whole else ())
    ]
    for opener in _OPENER.finditer(whole):
        found = _led_away(whole, opener)
        if found is not None and found[2]:
            spans.append((found[0], found[0], found[1]))
    spans.sort()
    pieces: list[str] = []
    at = skipped
    place = 0
    while place < len(spans):
        start, cut, end = spans[place]
        place += 1
        while place < len(spans) and spans[place][0] < end:
            cut, end = min(cut, spans[place][1]), max(end, spans[place][2])
            place += 1
        if end <= at:
            continue
        begin = max(cut, at)
        told = screen.judge(whole[start:end]) if start or skipped < _BEFORE else screen.judge("")
        pieces += (_decoded(whole[at:begin], whole[:at], screen), NOTE if told is NOTE else whole[begin:end])
        at = end
    pieces.append(_decoded(whole[at:], whole[:at], screen))
    return "".join(pieces)


def _led_away(whole: str, opener: re.Match[str]) -> tuple[int, int, bool] | None:
    """Of what follows a sign behind which clients expect a destination: where it begins, where it ends, and whether it is a link as
    they read it, with entities and escapes decoded and line breaks passed over. None where it is none, whatever follows."""
    at = opener.end()
    if _SURELY_NOT.match(whole, at, at + _FURTHEST) is not None:
        return None
    leading = _LEADING + ">" if opener[0] in ("(", "]:") else _LEADING
    raw = whole[at : at + _FURTHEST]
    first = len(raw) - len(raw.lstrip(leading))
    ended = _DECIDED.search(raw, first)
    if ended is not None:
        raw = raw[: ended.end()]
    open_end = ended is None and at + len(raw) == len(whole)
    if open_end and (tail := _UNENDED.search(raw)) is not None:
        raw = raw[: tail.start()]
    away = _AWAY_IN_MARKDOWN if opener[0] == "(" and whole[at - 2 : at - 1] == "]" else _AWAY
    undecided = False
    for way in (_HTML, _MARKDOWN, _CSS) if "\\" in raw else (_HTML,):
        plain, ends = _read(raw, leading, way)
        led = away.match(plain)
        if led is not None:
            end = at + ends[led.end() - 1]
            rest = (_IN_CLOSED_LINK if opener[0] in _CLOSED else _IN_LINK).match(whole, end)
            return at + first, end if rest is None else rest.end(), True
        undecided = undecided or _MAY_LEAD_AWAY.fullmatch(plain) is not None
    if not undecided:
        return None
    if open_end:
        return at + first if first < len(raw) else at, len(whole), False
    return (at + first, at + len(raw), True) if ended is None else None  # nobody writes so much before a destination


def _read(raw: str, leading: str, way: int) -> tuple[str, list[int]]:
    """A destination as a client reads it, and where in what was written each of its characters ends."""
    plain: list[str] = []
    ends: list[int] = []
    for token in _TOKEN.finditer(raw):
        told = token[0]
        if told[0] == "&":
            told = _unescaped(told)
        elif told[0] == "\\" and len(told) > 1:
            if way == _CSS and told[1] in "0123456789abcdefABCDEF":
                code = int(told[1:].strip(), 16)
                told = chr(code) if code < 0x110000 else ""
            elif way == _MARKDOWN and len(told) == 2 and told[1] in _PUNCTUATION:
                told = told[1]
        told = told.translate(_PASSED_OVER)
        if not plain:
            told = told.lstrip(leading)
        for sign in told:
            plain.append(sign)
            ends.append(token.end())
    return "".join(plain), ends


def _unescaped(text: str) -> str:
    """A text with its entities read; numbers beyond all reason stay as they are."""
    try:
        return unescape(_ZEROS.sub(r"\1", text) if "&#" in text else text)
    except ValueError:
        return text


def _is_at(link: str, entry: str) -> bool:
    """Whether a link is a listed one, or lies below it; one without a scheme has that of the list."""
    if link.partition("//")[0][-1:] != ":" and not link.startswith("//"):
        entry = entry.partition("://")[2]
    if not entry.endswith("/"):
        return link == entry
    rest = _unescaped(link).lower()
    return link.startswith(entry) and not any(sign in rest for sign in ("..", "\\", "%2e", "%2f", "%5c", "\t", "\n", "\r"))


def _decoded(text: str, before: str, screen: Screen) -> str:
    """A text without words that are links only once their entities and escapes are read."""
    if "&" not in text and "\\" not in text:
        return text

    def judged(word: re.Match[str]) -> str:
        if "&" not in word[0] and "\\" not in word[0]:
            return word[0]
        plain = _IGNORED.sub("", _ESCAPED.sub(r"\1", _unescaped(word[0])))
        last = (before[-1:] + text[: word.start()])[-1:]
        return screen.judge(word[0]) if plain != word[0] and _STARTS.search(last + plain) else word[0]

    return _WORD.sub(judged, text)
