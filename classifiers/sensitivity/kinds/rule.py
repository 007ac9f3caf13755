"""What one structural detector is: a pattern, what its value must pass, and the words that must stand near it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from classifiers.sensitivity.validators import Check

SOME_DIGITS = r"\d[^A-Za-z0-9]{0,2}\d[^A-Za-z0-9]{0,2}\d[^A-Za-z0-9]{0,2}\d"
"""A trigger shared by detectors of numbers that need a word nearby: one pattern for the prefilter instead of dozens."""

Locate = Callable[[str], Iterator[tuple[int, int]]]


class Rule(msgspec.Struct, frozen=True):
    """One detector.

    `pattern` is in RE2 syntax over UTF-8; its first group, where there is one, is the value, otherwise the whole match.
    `trigger` is a lighter pattern for the prefilter that matches in every text in which `pattern` does (default: `pattern`).
    `keywords` are lower-case literals, one of which is in every match; empty where there is none.
    `check` decides whether a value counts; `locate` finds several values inside one match instead.
    `context` are lower-case words, one of which must stand within `before` bytes before or `after` bytes behind the match.
    `unless` are lower-case words that strike a match off if they stand in it or up to 24 bytes before it.
    `group` is the number of the group that is the value, where it is not the first that took part in the match.
    `anywhere` are lower-case literals, one of which must stand somewhere in the text.
    `struck` decides by the value, the whole match and the line on which it begins whether a match is struck off.
    `detail` says what `check` and `struck` were made of, where that is not code of ours: a version must change with it.
    `own` marks a detector of the organisation's, whose pattern may hold anything RE2 takes.
    `specific` decides between overlapping findings before their length does. `score` lies in [0, 1].
    """

    id: str
    category: str
    kind: str
    pattern: str
    score: float = 0.9
    trigger: str | None = None
    keywords: tuple[str, ...] = ()
    check: Check | None = None
    locate: Locate | None = None
    context: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    before: int = 60
    after: int = 30
    specific: int = 2
    own: bool = False
    group: int = 0
    anywhere: tuple[str, ...] = ()
    struck: Callable[[str, str, str], bool] | None = None
    detail: str = ""
