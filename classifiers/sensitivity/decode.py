"""Finds what is written in another code (base64, hexadecimal, escapes, digits as words) and the text that it stands for."""

from __future__ import annotations

import base64
import binascii
import html
import re
import zlib
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

import re2

from classifiers.sensitivity.normalise import Replaced, most_pieces

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
    r"&#[0-9xXa-fA-F]{2,6};&#",
    r"\\u[0-9a-fA-F]{4}\\u[0-9a-fA-F]{4}",
    r"[A-Za-z0-9@._\-]\*\*[A-Za-z0-9@.\-]|[A-Za-z0-9]\*\* [0-9]",
    rf"(?i:{_WORD}[ ,\-]{{1,3}}{_WORD}[ ,\-]{{1,3}}{_WORD}[ ,\-])",
)
"""One of them matches every text in which `decoded` looks for something, for the prefilter: as one pattern they take long to
compile."""

_CODED = re2.compile(
    (
        r"(?:%[0-9A-Fa-f]{2})+"
        r"|(?:&#(?:[0-9]{2,6}|[xX][0-9a-fA-F]{2,5});){2,}"
        r"|(?:\\u[0-9a-fA-F]{4}){2,}"
        r"|\*{2,3}"
        rf"|(?i:{_SPELLED})"
        rf"|[A-Za-z0-9+/_\-]{{{_SHORTEST_RUN},}}={{0,2}}"
    ).encode()
)
_HEXADECIMAL = re.compile(rb"(?:[0-9a-f]{2})+|(?:[0-9A-F]{2})+")
_RUN = re.compile(rb"[A-Za-z0-9+/_\-]+={0,2}")
_LETTERS = re.compile(r"[A-Za-z]+")
_PRINTABLE = bytes([9, 10, 13, *range(32, 127), *range(128, 256)])
_BEFORE_EMPHASIS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@._-")
_AFTER_EMPHASIS = _BEFORE_EMPHASIS - frozenset(b"_")
_DIGITS = frozenset(b"0123456789")

_MOST_DECODED = 4_000_000  # bytes looked into per text
_MOST_INFLATED = 500_000  # the same of what comes out of compressed data
_DEPTH = 3


def decoded(data: bytes, *, ascii_only: bool) -> tuple[list[Replaced], bool]:
    """What in the UTF-8 text stands for another text, in order, and whether there was time to look into all of it.

    Spans count characters. Marks of emphasis inside a word stand for nothing.
    """
    found: list[tuple[int, int, str]] = []
    budget = _Budget(len(data))
    for match in _CODED.finditer(data):
        start, end = match.span()
        if not budget.take(end - start):
            break
        found.extend(_texts(data, start, end, budget))
    return _replaced(found, data, ascii_only), budget.complete


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


def _replaced(found: list[tuple[int, int, str]], data: bytes, ascii_only: bool) -> list[Replaced]:
    answer: list[Replaced] = []
    byte = character = 0
    for start, end, plain in found:
        if not ascii_only:  # the spans stand in order, so one pass turns bytes into characters
            character += len(data[byte:start].decode("utf-8", "replace"))
            byte = start
            start, end = character, character + (end - start)  # what is coded is ASCII itself
        answer.append((start, end, [(plain, start, end)] if plain else []))
    return answer


def _texts(data: bytes, start: int, end: int, budget: _Budget) -> Iterator[tuple[int, int, str]]:
    value = data[start:end]
    first = value[:1]
    if first == b"*":
        after = data[end : end + 2]
        inside = after[:1] and (after[0] in _AFTER_EMPHASIS or (after[0] == 32 and after[1:] and after[1] in _DIGITS))
        if inside and start and data[start - 1] in _BEFORE_EMPHASIS:
            yield start, end, ""
    elif first == b"%":
        plain = _readable(unquote_to_bytes(value))
        if plain and not plain.isspace():
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


def _runs(value: bytes, start: int, budget: _Budget) -> Iterator[tuple[int, int, str]]:
    """A run as a whole, or else the pieces between its slashes, as in an address."""
    bare = value.lstrip(b"/")
    start += len(value) - len(bare)
    value = bare
    plain = _run(value, _DEPTH, budget)
    if plain:
        yield start, start + len(value), plain
    elif b"/" in value:
        place = start
        for piece in value.split(b"/"):
            plain = _run(piece, _DEPTH, budget) if len(piece) >= _SHORTEST_RUN else None
            if plain:
                yield place, place + len(piece), plain
            place += len(piece) + 1


def _run(value: bytes, depth: int, budget: _Budget) -> str | None:
    """The text that a run of base64 or hexadecimal stands for, if it is text."""
    if _HEXADECIMAL.fullmatch(value):
        plain = _readable(bytes.fromhex(value.decode()))
        if plain and len(plain) >= 6:
            return plain
    if value.islower() or value.isupper():
        return None
    body = value.rstrip(b"=")
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
    if plain is None or len(plain) < 6:
        return None
    inner = raw.strip()
    if depth > 1 and len(inner) >= _SHORTEST_RUN and _RUN.fullmatch(inner):
        return _run(inner, depth - 1, budget) or plain
    return plain


_STANDARD = bytes.maketrans(b"-_", b"+/")


def _readable(raw: bytes) -> str | None:
    """The bytes as text, if they are UTF-8 without control characters."""
    if raw[:64].translate(None, _PRINTABLE) or raw.translate(None, _PRINTABLE):
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
