"""Where a value may run on across the border of two parts or the end of a line: both sides read as one."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

from classifiers.sensitivity.normalise import View
from routing_rules.task import Part

SEPARATOR = "\n\x00\n"
"""Stands between texts that are read together; no pattern matches across it."""

TRIGGER = r"[A-Za-z0-9@+/=_\-.]\r?\n[A-Za-z0-9@+/=_\-.]|[0-9]\r?\n [0-9]"
"""Stands in every text in which `between_lines` joins something, for the prefilter."""

_BORDER = 300  # characters of each of two neighbouring parts that are read as one
_LINE = 100  # the same for two lines
_CARRIES_ON = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_@.+/=")
_TOKEN = re.compile(r"[A-Za-z0-9@+/=_.\-]+[,;:!?)\"']*")


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

    def crossed(self, start: int, end: int) -> bool:
        """Whether a seam lies inside the span of the view."""
        place = bisect_right(self._places, start)
        return place < len(self._places) and self._places[place] < end

    def __bool__(self) -> bool:
        return bool(self._places)


def between_parts(seams: Seams, parts: Sequence[Part], readable: Sequence[int], starts: Sequence[int]) -> None:
    """Join the ends and beginnings of neighbouring parts of the conversation.

    Neighbours are parts in a row and parts in a row of the same role: an answer may stand between two halves.
    `readable` are the indices of parts with text, `starts` their places in the joined text.
    """
    latest: dict[str, int] = {}
    for place, index in enumerate(readable):
        part = parts[index]
        if part.turn < 0:
            continue
        role = part.role.value
        for earlier in {latest.get(role, -1), latest.get("", -1)} - {-1}:
            left = parts[readable[earlier]].text
            if _runs_on(left, len(left), part.text, 0):
                tail = left[-_BORDER:]
                seams.join(tail, starts[earlier] + len(left) - len(tail), part.text[:_BORDER], starts[place])
        latest[role] = latest[""] = place


def between_lines(seams: Seams, text: str) -> None:
    """Join lines where a value may have been broken: not where both sides are alone on their lines, as in a column."""
    end = text.find("\n")
    while end > 0:
        start = end + 1
        if text[end - 1] == "\r":
            end -= 1
        if end and _runs_on(text, end, text, start) and not _column(text, end, start):
            left = text[max(end - _LINE, 0) : end]
            seams.join(left, end - len(left), text[start : start + _LINE], start)
        end = text.find("\n", start)


def _runs_on(left: str, end: int, right: str, start: int) -> bool:
    """Whether the last word of `left[:end]` and the first of `right[start:]` can be one value: a digit or an `@` is in them."""
    if left[end - 1] not in _CARRIES_ON:
        return False
    following = right[start : start + 1]
    if following not in _CARRIES_ON:
        return following == " " and left[end - 1].isdigit() and right[start + 1 : start + 2].isdigit()
    last, first = _last_word(left, end), _first_word(right, start)
    if "." in last.partition("@")[2]:
        return False  # an address that is whole already
    return "@" in last or "@" in first or any(map(str.isdigit, last + first))


def _last_word(text: str, end: int) -> str:
    words = text[max(end - _LINE, 0) : end].rsplit(None, 1)
    return words[-1] if words else ""


def _first_word(text: str, start: int) -> str:
    words = text[start : start + _LINE].split(None, 1)
    return words[0] if words else ""


def _column(text: str, end: int, start: int) -> bool:
    """Whether the words on both sides of a line's end stand alone on their lines, or are not single words at all."""
    last, first = _last_word(text, end), _first_word(text, start)
    if not _TOKEN.fullmatch(last) or not _TOKEN.fullmatch(first):
        return True
    alone = end == len(last) or text[end - len(last) - 1] == "\n"
    after = start + len(first)
    return alone and (after >= len(text) or text[after] in "\r\n")
