"""Finds what is written in another code (base64, hexadecimal, escapes, digits as words) and the text that it stands for."""

from __future__ import annotations

import base64
import binascii
import html
import re
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import re2

from classifiers.sensitivity.normalise import Replaced, most_pieces
from classifiers.sensitivity.seams import SEPARATOR

_DIGIT_WORDS = {"zero": "0", "oh": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9"}  # fmt: skip
_WORD = f"(?:{'|'.join(_DIGIT_WORDS)})"
_SPELLED = rf"\b{_WORD}(?:[ ,\-]{{1,3}}{_WORD}){{6,}}\b"
_SHORTEST_RUN = 14

TRIGGERS = (
    # Base64 of a text changes from lower to upper case sooner or later; a long word does not.
    r"[a-z0-9+/][A-Z][A-Za-z0-9+/_\-]{6}",
    r"[A-Za-z0-9+/_\-]{6}[a-z0-9+/][A-Z]",
    r"[0-9a-f]{16}|[0-9A-F]{16}",
    r"%[0-9A-Fa-f]{2}",
    r"&#[0-9xXa-fA-F]{2,6};",
    r"\\u[0-9a-fA-F]{4}",
    r"[A-Za-z0-9@._\-]\*\*[A-Za-z0-9@.\-]|[A-Za-z0-9]\*\* [0-9]",
    rf"(?i:{_WORD}[ ,\-]{{1,3}}{_WORD}[ ,\-]{{1,3}}{_WORD}[ ,\-])",
)
"""One of them matches every text in which `decoded` looks for something, for the prefilter: as one pattern they take long to
compile."""

_CODED = re2.compile(
    (
        r"(?:%[0-9A-Fa-f]{2})+"
        r"|(?:&#(?:[0-9]{2,6}|[xX][0-9a-fA-F]{2,5});)+"
        r"|(?:\\u[0-9a-fA-F]{4})+"
        r"|\*{2,3}"
        rf"|(?i:{_SPELLED})"
        rf"|[A-Za-z0-9+/_\-]{{{_SHORTEST_RUN},}}={{0,2}}"
    ).encode()
)
_HEXADECIMAL = re.compile(rb"(?:[0-9a-f]{2})+|(?:[0-9A-F]{2})+")
_LETTERS = re.compile(r"[A-Za-z]+")
_PRINTABLE = bytes([9, 10, 13, *range(32, 127), *range(128, 256)])
_BEFORE_EMPHASIS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@._-")
_AFTER_EMPHASIS = _BEFORE_EMPHASIS - frozenset(b"_")
_DIGITS = frozenset(b"0123456789")
_ESCAPING = frozenset(b"%&\\*")  # with one of them begins what is surely an escape, or emphasis

_MOST_DECODED = 4_000_000  # bytes looked into per text
_MOST_INFLATED = 500_000  # the same of what comes out of compressed data
_DEPTH = 3


def decoded(data: bytes, *, ascii_only: bool) -> tuple[list[Replaced], bool]:
    """What in the UTF-8 text stands for another text, in order, and whether there was time to look into all of it.

    Spans count characters. Marks of emphasis inside a word stand for nothing.
    """
    found: list[_Plain] = []
    outer: list[_Plain] = []
    budget = _Budget(len(data))
    for match in _CODED.finditer(data):
        start, end = match.span()
        if not budget.take(end - start):
            break
        found.extend(_texts(data, start, end, budget))
    for _ in range(_DEPTH - 1):
        if not found or not budget.complete:
            break
        unfolded = _Unfolded(data, found)
        inner = unfolded.codes(budget)
        if not inner:
            break
        found = unfolded.replaced(inner, outer)
    return _replaced(found, sorted(outer), data, ascii_only), budget.complete


_Plain = tuple[int, int, str]
"""Start and end of a code, in bytes, and the text that it stands for."""


class _Budget:
    """How much may still be looked into, and whether that was enough."""

    def __init__(self, size: int) -> None:
        self.complete = True
        self._bytes = _MOST_DECODED
        self._pieces = most_pieces(size)
        self._inflated = _MOST_INFLATED

    def take(self, size: int) -> bool:
        """Whether one more piece of so many bytes may be looked into."""
        self._bytes -= size
        self._pieces -= 1
        self.complete = self.complete and self._bytes >= 0 and self._pieces >= 0
        return self.complete

    def inflate(self, raw: bytes) -> bytes | None:
        """The beginning of what was compressed by gzip, as much as may still be read; None for what is none."""
        inflater = zlib.decompressobj(31)
        try:
            plain = inflater.decompress(raw, self._inflated) if self._inflated else b""
        except zlib.error:
            return None
        self._inflated -= len(plain)
        if not self._inflated or inflater.unconsumed_tail:
            self.complete = False
        return plain


class _Unfolded:
    """A text with plain texts in place of its codes, and where each stretch of it comes from: codes may hold codes."""

    def __init__(self, data: bytes, found: list[_Plain]) -> None:
        self._stretches: list[_Stretch] = []
        pieces: list[bytes] = []
        length = position = 0
        for start, end, plain in [*found, (len(data), len(data), "")]:
            inner = plain.encode("utf-8", "surrogatepass")
            for piece, first, last, coded in ((data[position:start], position, start, False), (inner, start, end, True)):
                self._stretches.append(_Stretch(length, length + len(piece), first, last, coded))
                pieces.append(piece)
                length += len(piece)
            position = end
        self._stretches.pop()  # the end of the text stands for nothing
        self._starts = [stretch.start for stretch in self._stretches]
        self._data = b"".join(pieces)

    def codes(self, budget: _Budget) -> list[_Plain]:
        """The codes that were not there before: at least a part of each stands in place of something."""
        found: list[_Plain] = []
        for match in _CODED.finditer(self._data):
            start, end = match.span()
            first = self._at(start)
            if end <= first.end and not first.coded:
                continue
            if not budget.take(end - start):
                break
            found.extend(_texts(self._data, start, end, budget))
        return found

    def replaced(self, codes: list[_Plain], outer: list[_Plain]) -> list[_Plain]:
        """What stands for the codes of the original now that these are replaced too. Those that overlap become one.

        What stood there before a run of letters was read as a code is added to `outer`: a key may look like one.
        """
        spans = [stretch for stretch in self._stretches if stretch.coded]
        spans += [self._from(start, end) for start, end, _ in codes]
        joined: list[_Stretch] = []
        for span in sorted(spans):
            if joined and span.start < joined[-1].end:
                last = joined[-1]
                span = _Stretch(last.start, max(last.end, span.end), min(last.first, span.first), max(last.last, span.last), True)
                joined.pop()
            joined.append(span)
        following = iter([*codes, (len(self._data) + 1, 0, "")])
        start, end, plain = next(following)
        found: list[_Plain] = []
        for span in joined:
            place, pieces = span.start, []
            alike = False
            while start < span.end:
                alike = alike or self._data[start] not in _ESCAPING
                pieces += [self._between(place, start), plain]
                place = end
                start, end, plain = next(following)
            if alike:
                outer.append((span.first, span.last, self._between(span.start, span.end)))
            found.append((span.first, span.last, "".join([*pieces, self._between(place, span.end)])))
        return found

    def _between(self, start: int, end: int) -> str:
        return self._data[start:end].decode("utf-8", "surrogatepass")

    def _at(self, place: int) -> _Stretch:
        return self._stretches[bisect_right(self._starts, place) - 1]

    def _from(self, start: int, end: int) -> _Stretch:
        left, right = self._at(start), self._at(end - 1)
        first = left.first if left.coded else left.first + start - left.start
        return _Stretch(start, end, first, right.last if right.coded else right.first + end - right.start, True)


class _Stretch(NamedTuple):
    """Start and end in a text that was unfolded, first and last in its original, and whether it stands for a code there."""

    start: int
    end: int
    first: int
    last: int
    coded: bool


def _replaced(found: list[_Plain], outer: list[_Plain], data: bytes, ascii_only: bool) -> list[Replaced]:
    """The spans in characters. `outer` are texts in which more was found, in the spans of that: both are read."""
    answer: list[Replaced] = []
    byte = character = following = 0
    for start, end, plain in found:
        plains = [plain] if plain else []
        while following < len(outer) and outer[following][0] < end:
            plains[:0] = [outer[following][2], SEPARATOR]
            following += 1
        if not ascii_only:  # the spans stand in order, so one pass turns bytes into characters
            character += len(data[byte:start].decode("utf-8", "replace"))
            byte = start
            start, end = character, character + (end - start)  # what is coded is ASCII itself
        answer.append((start, end, [(each, start, end) for each in plains]))
    return answer


def _texts(data: bytes, start: int, end: int, budget: _Budget) -> Iterator[_Plain]:
    value = data[start:end]
    first = value[:1]
    if first == b"*":
        after = data[end : end + 2]
        inside = after[:1] and (after[0] in _AFTER_EMPHASIS or (after[0] == 32 and after[1:] and after[1] in _DIGITS))
        if inside and start and data[start - 1] in _BEFORE_EMPHASIS:
            yield start, end, ""
    elif first == b"%":
        plain = _readable(unquote_to_bytes(value))
        if plain:
            yield start, end, plain
    elif first == b"&":
        yield start, end, html.unescape(value.decode())
    elif first == b"\\":
        yield start, end, "".join(chr(int(code, 16)) for code in value.decode().split("\\u")[1:])
    else:
        words = _LETTERS.findall(value[:80].decode())
        if words and words[0].lower() in _DIGIT_WORDS and len(words) > 1:
            yield start, end, "".join(_DIGIT_WORDS.get(word.lower(), "") for word in _LETTERS.findall(value.decode()))
        else:
            yield from _runs(value, start, budget)


def _runs(value: bytes, start: int, budget: _Budget) -> Iterator[_Plain]:
    """A run as a whole, or else the pieces between its slashes, as in an address."""
    bare = value.lstrip(b"/")
    start += len(value) - len(bare)
    value = bare
    plain = _run(value, budget)
    if plain:
        yield start, start + len(value), plain
    elif b"/" in value:
        place = start
        for piece in value.split(b"/"):
            plain = _run(piece, budget) if len(piece) >= _SHORTEST_RUN else None
            if plain:
                yield place, place + len(piece), plain
            place += len(piece) + 1


def _run(value: bytes, budget: _Budget) -> str | None:
    """The text that a run of base64 or hexadecimal stands for, if it is text."""
    body = value.rstrip(b"=")
    if _HEXADECIMAL.fullmatch(body):
        plain = _readable(bytes.fromhex(body.decode()))
        if plain and len(plain) >= 6:
            return plain
    if value.islower() or value.isupper():
        return None
    if len(body) % 4 == 1:
        return None
    try:
        raw = base64.b64decode(body.translate(_STANDARD) + b"=" * (-len(body) % 4))
    except binascii.Error:
        return None
    if raw[:2] == b"\x1f\x8b":
        inflated = budget.inflate(raw)
        if inflated is None:
            return None
        raw = inflated
    plain = _readable(raw)
    return plain if plain is not None and len(plain) >= 6 else None


_STANDARD = bytes.maketrans(b"-_", b"+/")


def _readable(raw: bytes) -> str | None:
    """The bytes as text, if they are UTF-8 without control characters."""
    if raw[:64].translate(None, _PRINTABLE) or raw.translate(None, _PRINTABLE):
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
