"""A second view of a text with disguises taken off, and the way back from its offsets to the original's."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from functools import lru_cache

import re2

_INVISIBLE = (
    "\u00ad\u034f\u061c\u180b-\u180e\u200b-\u200f\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff\u20e3\U000e0000-\U000e001f\U000e007f"
    "\u0300-\u036f\u20d0-\u20e2"  # combining marks
)
_SPACES = "\u00a0\u2000-\u200a\u202f\u205f\u3000"
_STYLED = "\u017f\u212a\u00b2\u00b3\u00b9\u2070-\u209c\u2460-\u24ff\u2776-\u2793\uff02-\uff07\uff0a\uff0b\uff0d-\uff1a\uff1c-\uff1e\uff20-\uff5e\U0001d400-\U0001d7ff\U0001f100-\U0001f16f"
# Without the wide comma, semicolon, brackets, exclamation and question mark: East Asian writing is full of them, and no value is.
_OTHER_DIGITS = "\u0660-\u0669\u06f0-\u06f9\u07c0-\u07c9\u0966-\u096f\u09e6-\u09ef\u0a66-\u0a6f\u0ae6-\u0aef\u0b66-\u0b6f\u0be6-\u0bef\u0c66-\u0c6f\u0ce6-\u0cef\u0d66-\u0d6f\u0e50-\u0e59\u0ed0-\u0ed9\u0f20-\u0f29\u1040-\u1049\u17e0-\u17e9\u1810-\u1819"
_TAGS = "\U000e0020-\U000e007e"
_DASHES = "\u2010-\u2015\u2212"
_TURN = "\u202e"
_TURNED = re.compile("[^\u202c\u202e\n]{1,400}")
_LOOKALIKES = dict(zip("АВЕКМНОРСТУХаеорсухіјѕԁԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧοι", "ABEKMHOPCTYXaeopcyxijsdqwABEZHIKMNOPTYXoi", strict=True))
_ALIKE = "".join(_LOOKALIKES)
_IS_INVISIBLE = re.compile(f"[{_INVISIBLE}]")
_IS_DASH = re.compile(f"[{_DASHES}]")

_DISGUISED = re2.compile(
    f"[{_INVISIBLE}]+|[{_STYLED}{_OTHER_DIGITS}{_SPACES}{_TAGS}]+|{_TURN}+"
    f"|[A-Za-z0-9][{_ALIKE}]+|[{_ALIKE}]+[A-Za-z0-9]|[0-9](?:[{_DASHES}][0-9]+)+"
)

Replaced = tuple[int, int, list[tuple[str, int, int]]]
"""Start and end of a disguised span, and the pieces that stand for it, each with its own span."""


class View:
    """A text made of pieces of another: copied verbatim, or standing for a span of it."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._starts: list[int] = []
        self._origins: list[tuple[int, int, bool]] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def text(self) -> str:
        """The pieces joined."""
        return "".join(self._pieces)

    def copy(self, text: str, start: int, end: int, offset: int = 0) -> None:
        """Append `text[start:end]` as it is; `offset` is where `text` itself begins in the original."""
        if end > start:
            self._append(text[start:end], start + offset, end + offset, True)

    def replace(self, piece: str, start: int, end: int) -> None:
        """Append a piece that stands for the original's characters from `start` to `end`."""
        if piece:
            self._append(piece, start, end, False)

    def separate(self, separator: str) -> None:
        """Append text that stands for nothing."""
        self._append(separator, 0, 0, False)

    def _append(self, piece: str, start: int, end: int, verbatim: bool) -> None:
        self._pieces.append(piece)
        self._starts.append(self._length)
        self._origins.append((start, end, verbatim))
        self._length += len(piece)

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original that characters `start` to `end` of this view (not empty) come from."""
        first = bisect_right(self._starts, start) - 1
        last = bisect_right(self._starts, end - 1) - 1
        spans: list[tuple[int, int]] = []
        for piece in range(first, last + 1):
            begin, finish, verbatim = self._origins[piece]
            if verbatim and piece == last:
                finish = begin + (end - self._starts[piece])
            if verbatim and piece == first:
                begin += start - self._starts[piece]
            spans.append((begin, finish))
        # The pieces of a text that was written backwards stand in the original's order reversed.
        return min(begin for begin, _ in spans), max(finish for _, finish in spans)


def view_of(text: str, found: list[Replaced]) -> View | None:
    """The text with what was found put in place (None: nothing was found). Of overlapping spans the first counts."""
    if not found:
        return None
    view = View()
    position = 0
    for start, end, pieces in sorted(found, key=lambda entry: entry[0]):
        if start < position:
            continue
        view.copy(text, position, start)
        for piece, piece_start, piece_end in pieces:
            view.replace(piece, piece_start, piece_end)
        position = end
    view.copy(text, position, len(text))
    return view


def undisguised(text: str, data: bytes) -> tuple[list[Replaced], bool]:
    """Characters that hide or imitate others, with what they stand for, and whether there was time to look at all of them.

    `data` is the text in UTF-8.
    """
    found: list[Replaced] = []
    left = most_pieces(len(data))
    byte = start = finish = 0
    for match in _DISGUISED.finditer(data):
        left -= 1
        if left < 0:
            return found, False
        first, last = match.span()
        start += len(data[byte:first].decode("utf-8", "replace"))  # in order, so one pass turns bytes into characters
        byte = first
        end = start + len(data[first:last].decode("utf-8", "replace"))
        begin = max(start, finish)
        if begin >= end:  # inside turned text, whose characters are all looked at
            continue
        if text[begin] == _TURN:
            turned = _TURNED.match(text, end)
            finish = turned.end() if turned else end
            found.append((begin, finish, [(_plain(text[index]), index, index + 1) for index in range(finish - 1, end - 1, -1)]))
        else:
            found.append((begin, end, [(_plain(text[index]), index, index + 1) for index in range(begin, end)]))
    return found, True


def most_pieces(size: int) -> int:
    """How many spans of a text of so many bytes may be replaced: more than any writing has, fewer than would take long."""
    return max(20_000, size // 24)


@lru_cache(maxsize=20_000)
def _plain(character: str) -> str:
    if character.isascii():
        return character
    code = ord(character)
    if 0xE0020 <= code <= 0xE007E:
        return chr(code - 0xE0000)
    if _IS_INVISIBLE.match(character):
        return ""
    if _IS_DASH.match(character):
        return "-"
    if character in _LOOKALIKES:
        return _LOOKALIKES[character]
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    plain = unicodedata.normalize("NFKC", character)
    return " " if plain.isspace() else plain
