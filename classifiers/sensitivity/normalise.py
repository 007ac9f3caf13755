"""A second view of a text with disguises taken off, and the way back from its offsets to the original's."""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
import zlib
from bisect import bisect_right
from urllib.parse import unquote_to_bytes

INVISIBLE = "\u00ad\u034f\u061c\u180b-\u180e\u200b-\u200f\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff\u20e3\U000e0000-\U000e001f\U000e007f"
_SPACES = "\u00a0\u2000-\u200a\u202f\u205f\u3000"
_COMBINING = "\u0300-\u036f\u20d0-\u20e2"
_STYLED = (
    "\u017f\u212a\u00b2\u00b3\u00b9\u2070-\u209c\u2460-\u24ff\u2776-\u2793\uff01-\uff5e\U0001d400-\U0001d7ff\U0001f100-\U0001f16f"
)
_OTHER_DIGITS = "\u0660-\u0669\u06f0-\u06f9\u07c0-\u07c9\u0966-\u096f\u09e6-\u09ef\u0a66-\u0a6f\u0ae6-\u0aef\u0b66-\u0b6f\u0be6-\u0bef\u0c66-\u0c6f\u0ce6-\u0cef\u0d66-\u0d6f\u0e50-\u0e59\u0ed0-\u0ed9\u0f20-\u0f29\u1040-\u1049\u17e0-\u17e9\u1810-\u1819"
_TAGS = "\U000e0020-\U000e007e"
_LOOKALIKES = dict(zip("АВЕКМНОРСТУХаеорсухіјѕԁԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧοι", "ABEKMHOPCTYXaeopcyxijsdqwABEZHIKMNOPTYXoi", strict=True))
_ALIKE = "".join(_LOOKALIKES)

_DISGUISED = re.compile(
    rf"(?P<gone>[{INVISIBLE}{_COMBINING}]+)"
    rf"|(?P<styled>[{_STYLED}{_OTHER_DIGITS}{_SPACES}{_TAGS}])"
    r"|\u202e(?P<reversed>[^\u202c\n]{1,400})\u202c?"
    rf"|(?P<alike>(?<=[A-Za-z0-9])[{_ALIKE}]+|[{_ALIKE}]+(?=[A-Za-z0-9]))"
    r"|(?<=\d)(?P<dash>[\u2010-\u2015\u2212])(?=\d)"
)
_EMPHASIS = re.compile(r"(?<=[A-Za-z0-9\-@.])\*{2,3}(?=[A-Za-z0-9\-@.])")

ENCODED_TRIGGER = r"[A-Za-z0-9+/_\-]{16}|%[0-9A-Fa-f]{2}|&#[0-9xXa-fA-F]{2,6};&#|\\u[0-9a-fA-F]{4}\\u[0-9a-fA-F]{4}|[A-Za-z0-9\-@.]\*\*[A-Za-z0-9\-@.]"
"""What stands in every text that `reveal` could decode; for the prefilter, over UTF-8 bytes."""

_ENCODED = re.compile(
    r"(?P<percent>(?:[A-Za-z0-9._~\-]{0,40}(?:%[0-9A-Fa-f]{2})+)+[A-Za-z0-9._~\-]{0,40})"
    r"|(?P<entity>(?:&#(?:[0-9]{2,6}|[xX][0-9a-fA-F]{2,5});){2,})"
    r"|(?P<escape>(?:\\u[0-9a-fA-F]{4}){2,})"
    r"|(?P<run>[A-Za-z0-9+/_\-]{16,}={0,2})"
)
_HEXADECIMAL = re.compile(r"(?:[0-9a-f]{2})+|(?:[0-9A-F]{2})+")

_MOST_DECODED = 4_000_000  # bytes of encoded text looked into per view; beyond it the text is left as it is
_MOST_INFLATED = 200_000
_DEPTH = 3


_Replaced = tuple[int, int, list[tuple[str, int, int]]]
"""Start and end of a disguised span, and the pieces that stand for it, each with its own span."""


class View:
    """A text made of pieces of another: copied verbatim, or standing for a span of it."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._starts: list[int] = []
        self._origins: list[tuple[int, int, bool]] = []
        self._length = 0

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


def disguised(text: str) -> bool:
    """Whether a text that is not ASCII holds characters that can hide another text."""
    return _DISGUISED.search(text) is not None


def reveal(text: str, *, encoded: bool, ascii_only: bool) -> tuple[View | None, bool]:
    """The view of a text without disguises (None: there are none), and whether everything encoded was looked into."""
    found: list[_Replaced] = []
    complete = True
    if not ascii_only:
        found.extend(_undisguised(text))
    if encoded:
        found.extend((match.start(), match.end(), []) for match in _EMPHASIS.finditer(text))
        decoded, complete = _decoded(text)
        found.extend(decoded)
    if not found:
        return None, complete
    found.sort(key=lambda entry: entry[0])
    view = View()
    position = 0
    for start, end, pieces in found:
        if start < position:
            continue
        view.copy(text, position, start)
        for piece, piece_start, piece_end in pieces:
            view.replace(piece, piece_start, piece_end)
        position = end
    view.copy(text, position, len(text))
    return view, complete


def _undisguised(text: str) -> list[_Replaced]:
    found: list[_Replaced] = []
    for match in _DISGUISED.finditer(text):
        start, end = match.span()
        name = match.lastgroup
        if name == "gone":
            pieces: list[tuple[str, int, int]] = []
        elif name == "reversed":
            pieces = [
                (text[index], index, index + 1) for index in range(match.end("reversed") - 1, match.start("reversed") - 1, -1)
            ]
        elif name == "dash":
            pieces = [("-", start, end)]
        else:
            pieces = [(_plain(text[index]), index, index + 1) for index in range(start, end)]
        found.append((start, end, pieces))
    return found


def _plain(character: str) -> str:
    code = ord(character)
    if 0xE0020 <= code <= 0xE007E:
        return chr(code - 0xE0000)
    if character in _LOOKALIKES:
        return _LOOKALIKES[character]
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    plain = unicodedata.normalize("NFKC", character)
    return " " if plain.isspace() else plain


def _decoded(text: str) -> tuple[list[_Replaced], bool]:
    found: list[_Replaced] = []
    left = _MOST_DECODED
    for match in _ENCODED.finditer(text):
        start, end = match.span()
        left -= end - start
        if left < 0:
            return found, False
        name = match.lastgroup
        value = match.group()
        if name == "percent":
            plain = _readable(unquote_to_bytes(value))
        elif name == "entity":
            plain = html.unescape(value)
        elif name == "escape":
            plain = "".join(chr(int(code, 16)) for code in value.split("\\u")[1:])
        else:
            plain = _run(value, _DEPTH)
        if plain:
            found.append((start, end, [(plain, start, end)]))
    return found, True


def _run(value: str, depth: int) -> str | None:
    """The text that a run of base64 or hexadecimal stands for, if it is text."""
    if _HEXADECIMAL.fullmatch(value) and not value.isdigit():
        plain = _readable(bytes.fromhex(value))
        if plain:
            return plain
    elif _HEXADECIMAL.fullmatch(value):
        plain = _readable(bytes.fromhex(value))
        return plain if plain and plain.isprintable() and len(plain) >= 8 else None
    if not (any(map(str.isupper, value)) and any(map(str.islower, value))):
        return None
    body = value.rstrip("=")
    if len(body) % 4 == 1:
        return None
    try:
        raw = base64.b64decode(body.replace("-", "+").replace("_", "/") + "=" * (-len(body) % 4))
    except binascii.Error:
        return None
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = zlib.decompressobj(31).decompress(raw, _MOST_INFLATED)
        except zlib.error:
            return None
    plain = _readable(raw)
    if plain and depth > 1 and len(plain) >= 16 and re.fullmatch(r"[A-Za-z0-9+/_\-]+={0,2}", plain):
        return _run(plain, depth - 1) or plain
    return plain


def _readable(raw: bytes) -> str | None:
    """The bytes as text, if they are UTF-8 without control characters."""
    if len(raw) < 6 or raw[:64].translate(None, _PRINTABLE):
        return None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    return text if not raw.translate(None, _PRINTABLE) else None


_PRINTABLE = bytes([9, 10, 13, *range(32, 127), *range(128, 256)])
