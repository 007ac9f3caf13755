"""Where a value may run on across the border of two parts or the end of a line: both sides read as one."""

from __future__ import annotations

import re
from bisect import bisect_right

from classifiers.sensitivity.normalise import View

SEPARATOR = "\n\x00\n"
"""Stands between texts that are read together; no pattern matches across it."""

TRIGGER = r"[A-Za-z0-9@+/=_\-.]\r?\n[A-Za-z0-9@+/=_\-.]|[0-9](?: \r?\n|\r?\n )[0-9]"
"""Stands in every text in which `between_lines` joins something, for the prefilter."""

_BORDER = 300  # characters of each of two neighbouring parts that are read as one
_LINE = 100  # the same for two lines
_CARRIES_ON = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_@.+/=")
_MAY_CARRY_ON = _CARRIES_ON | {" "}
_MARK = re.compile(r"[\d@]")
_OPEN, _MARKED, _NUMBER, _SPACED = 1, 2, 4, 8
_TOKEN = re.compile(r"[A-Za-z0-9@+/=_.:\-]+[,;:!?)\"']*")


class Seams:
    """A view of texts put together, and where they meet in it."""

    def __init__(self) -> None:
        self.view = View()
        self._places: list[int] = []

    def join(self, left: str, left_start: int, right: str, right_start: int) -> None:
        """Put two texts together, given with their places in the original."""
        self.view.copy(left, 0, len(left), left_start)
        self._places.append(len(self.view))
        self.view.copy(right, 0, len(right), right_start)
        self.view.separate(SEPARATOR)

    def meet(self, left: str, left_start: int, right: str, right_start: int) -> None:
        """Put the end of one text and the beginning of another together, given with their places in the original."""
        tail = left[-_BORDER:]
        self.join(tail, left_start + len(left) - len(tail), right[:_BORDER], right_start)

    def crossed(self, start: int, end: int) -> bool:
        """Whether a seam lies inside the span of the view."""
        place = bisect_right(self._places, start)
        return place < len(self._places) and self._places[place] < end

    def __bool__(self) -> bool:
        return bool(self._places)


def edges(text: str) -> tuple[int, int]:
    """How a text (not empty) begins and ends, for `meet`: whether a value may go on before its first or after its last word."""
    head = tail = 0
    if text[0] in _CARRIES_ON:
        head = _OPEN | (_MARKED if _MARK.search(_first_word(text, 0)) else 0) | (_SPACED if text[0].isdigit() else 0)
    elif text[0] == " " and text[1:2].isdigit():
        head = _NUMBER
    if text[-1] in _CARRIES_ON:
        tail = _NUMBER if text[-1].isdigit() else 0
        last = _last_word(text, len(text))
        if "." not in last.partition("@")[2]:  # an address that is whole already does not go on
            tail |= _OPEN | (_MARKED if _MARK.search(last) else 0)
    elif text[-1] == " " and text[-2:-1].isdigit():
        tail = _SPACED
    return head, tail


def meet(tail: int, head: int) -> bool:
    """Whether the last word of one text and the first of the next can be one value: a digit or an `@` is in them."""
    return bool((tail & head & _OPEN and (tail | head) & _MARKED) or tail & head & (_NUMBER | _SPACED))


MEETS = tuple(tuple(meet(tail, head) for head in range(16)) for tail in range(16))
"""`meet` for every end and beginning: looked up for each part of every request."""


def between_lines(seams: Seams, text: str) -> bool:
    """Join lines where a value may have been broken: not where both sides are alone on their lines, as in a column.

    Returns whether there was time to look at all of them.
    """
    budget = max(20_000, len(text) // 12)
    start = 0
    left = last = ""
    for line in text.split("\n"):
        right = line[:-1] if line[-1:] == "\r" else line
        if right and last in _MAY_CARRY_ON and right[0] in _MAY_CARRY_ON and last:
            # Two short lines of one word each stand in a column.
            if (_several_words(left) or _several_words(right)) and _runs_on(left, right):
                end = start - 1 - (text[start - 2] == "\r")
                tail = left[-_LINE:]
                seams.join(tail, end - len(tail), right[:_LINE], start)
            budget -= 1
            if budget < 0:
                return False
        start += len(line) + 1
        left, last = right, right[-1:]
    return True


def _several_words(line: str) -> bool:
    return len(line) > _LINE or " " in line or "\t" in line


def _runs_on(left: str, right: str) -> bool:
    """Whether the last word of a line and the first of the next can be one value, both sides being single words."""
    if left[-1] not in _CARRIES_ON:
        return left[-1] == " " and left[-2:-1].isdigit() and right[0].isdigit()
    if right[0] not in _CARRIES_ON:
        return right[0] == " " and left[-1].isdigit() and right[1:2].isdigit()
    last, first = _last_word(left, len(left)), _first_word(right, 0)
    if not (_MARK.search(last) or _MARK.search(first)) or "." in last.partition("@")[2]:
        return False
    return bool(_TOKEN.fullmatch(last) and _TOKEN.fullmatch(first))


def _last_word(text: str, end: int) -> str:
    words = text[max(end - _LINE, 0) : end].rsplit(None, 1)
    return words[-1] if words else ""


def _first_word(text: str, start: int) -> str:
    words = text[start : start + _LINE].split(None, 1)
    return words[0] if words else ""
