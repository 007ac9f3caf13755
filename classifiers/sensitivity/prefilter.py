"""Which detectors can match a text at all, answered in one pass over it."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import re
import sys
import threading
from collections.abc import Iterable, Sequence
from importlib.util import cache_from_source
from pathlib import Path
from typing import Protocol

import ahocorasick
import msgspec
import re2

try:
    import hyperscan
except ImportError:  # no wheel for this platform: Aho-Corasick does the same, slower
    hyperscan = None  # type: ignore[assignment]


class Watched(msgspec.Struct, frozen=True):
    """What a prefilter looks for on behalf of one id: a pattern that matches wherever the detector does, and literals.

    `keywords` are lower-case literals of which one is in every match; without them the id is always reported by the
    keyword engine. `exact` are patterns of ours, over bytes; the others are an operator's, over UTF-8.
    """

    id: int
    pattern: str
    keywords: tuple[str, ...] = ()
    exact: bool = True


class Prefilter(Protocol):
    """Reports ids; may report too many, never too few."""

    name: str

    def hits(self, text: str, data: bytes) -> list[int]:
        """The ids that can match in a text, given also as UTF-8."""


def _note(identifier: int, _start: int, _end: int, _flags: int, hits: object) -> None:
    hits.append(identifier)  # type: ignore[attr-defined]


class HyperscanPrefilter:
    """All patterns in one automaton; what Hyperscan cannot compile is always reported."""

    name = "hyperscan"

    def __init__(self, watched: Sequence[Watched]) -> None:
        single = hyperscan.HS_FLAG_SINGLEMATCH
        foreign = hyperscan.HS_FLAG_UTF8 | hyperscan.HS_FLAG_MULTILINE | hyperscan.HS_FLAG_PREFILTER | single

        def together(these: Sequence[Watched]) -> hyperscan.Database | None:
            return self._compile(these, [single if watch.exact else foreign for watch in these]) if these else None

        self._always: list[int] = []
        try:
            self._database = together(watched)
        except hyperscan.error:  # one of an operator's is not for Hyperscan: each alone, which takes long, tells which
            usable = [watch for watch in watched if watch.exact or self._compiles(watch, foreign)]
            self._always = [watch.id for watch in watched if watch not in usable]
            self._database = together(usable)
        self._scratch = threading.local()
        _give_back()

    @classmethod
    def _compiles(cls, watch: Watched, flags: int) -> bool:
        try:
            cls._compile([watch], [flags])
        except hyperscan.error:
            return False
        return True

    @staticmethod
    def _compile(watched: Sequence[Watched], flags: list[int]) -> hyperscan.Database:
        expressions = [(any_case(watch.pattern) if watch.exact else watch.pattern).encode() for watch in watched]
        identifiers = [watch.id for watch in watched]
        kept = _kept_at(repr((expressions, identifiers, flags)).encode()) if len(watched) > 1 else None
        if kept is not None:
            with contextlib.suppress(OSError, hyperscan.error):
                return hyperscan.loadb(kept.read_bytes(), hyperscan.HS_MODE_BLOCK)
        database = hyperscan.Database()
        database.compile(expressions=expressions, ids=identifiers, elements=len(watched), flags=flags)
        if kept is not None and not sys.dont_write_bytecode:
            with contextlib.suppress(OSError):  # where nothing may be written it is compiled at every start
                _keep(kept, hyperscan.dumpb(database))
        return database

    def hits(self, text: str, data: bytes) -> list[int]:
        """The ids that can match in a text, given also as UTF-8."""
        found = self._always.copy()
        if self._database is None:
            return found
        try:
            scratch = self._scratch.value
        except AttributeError:  # scratch space must not be shared between threads
            scratch = self._scratch.value = hyperscan.Scratch(self._database)
        self._database.scan(data, match_event_handler=_note, context=found, scratch=scratch)
        return found


def _give_back() -> None:
    """Return what compiling left behind, some 15 MiB, to the system: the C library would keep it for later."""
    with contextlib.suppress(OSError, AttributeError):  # a C library that cannot
        ctypes.CDLL(None).malloc_trim(0)


_MOST_KEPT = 4


def _kept_at(patterns: bytes) -> Path:
    """Where an automaton is kept once compiled, which takes more than half a second: beside the bytecode, as what a compiler made."""
    name = f"{hashlib.blake2b(patterns, digest_size=16).hexdigest()}.hyperscan"
    return Path(cache_from_source(__file__)).with_name(name)


def _keep(path: Path, data: bytes) -> None:
    """Write it whole or not at all; of older ones the newest stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    partial.write_bytes(data)
    partial.replace(path)
    for old in sorted(path.parent.glob(f"*{path.suffix}"), key=lambda each: each.stat().st_mtime)[:-_MOST_KEPT]:
        old.unlink(missing_ok=True)


class KeywordPrefilter:
    """Literals by Aho-Corasick; a detector without literals is tried by its own pattern."""

    name = "aho-corasick"

    def __init__(self, watched: Sequence[Watched]) -> None:
        owners: dict[str, list[int]] = {}
        self._shapes: list[tuple[int, re2._Regexp]] = []
        self._always: list[int] = []
        for watch in watched:
            for keyword in watch.keywords:
                owners.setdefault(keyword.lower(), []).append(watch.id)
            if not watch.keywords:
                if watch.exact:
                    self._shapes.append((watch.id, re2.compile(watch.pattern)))
                else:
                    self._always.append(watch.id)
        self._automaton = None
        if owners:  # an empty one refuses to look
            self._automaton = ahocorasick.Automaton()
            for keyword, identifiers in owners.items():
                self._automaton.add_word(keyword, identifiers)
            self._automaton.make_automaton()

    def hits(self, text: str, data: bytes) -> list[int]:
        """The ids that can match in a text, given also as UTF-8."""
        found: set[int] = set(self._always)
        if self._automaton is not None:
            for _, identifiers in self._automaton.iter(text.lower()):
                found.update(identifiers)
        found.update(identifier for identifier, shape in self._shapes if shape.search(data))
        return list(found)


def prefilter(watched: Iterable[Watched], engine: str | None = None) -> Prefilter:
    """The fastest prefilter that this platform has, or the named one (`hyperscan`, `aho-corasick`)."""
    watched = list(watched)
    if engine == HyperscanPrefilter.name or (engine is None and hyperscan is not None):
        return HyperscanPrefilter(watched)
    return KeywordPrefilter(watched)


_LONGEST_REPEAT = 8
_REPEAT = re.compile(r"\{(\d+)(?:,(\d*))?\}")


def lighter(pattern: str) -> str:
    """A pattern that matches wherever the given one does, with long repeats cut short: automata grow with every step."""

    def cut(match: re.Match[str]) -> str:
        least, most = int(match.group(1)), match.group(2)
        longest = least if most is None else int(most) if most else least
        return match.group() if longest <= _LONGEST_REPEAT else f"{{{min(least, _LONGEST_REPEAT)},}}"

    return _REPEAT.sub(cut, pattern)


def any_case(pattern: str) -> str:
    """The pattern with each letter outside ASCII in both cases: engines that read bytes fold only the ASCII ones."""
    return _FOREIGN_LETTER.sub(lambda match: f"(?:{match[0].lower()}|{match[0].upper()})", pattern)


_FOREIGN_LETTER = re.compile(r"[^\W\x00-\x7f]")


def word_pattern(word: str) -> str:
    """A pattern, for RE2 and Hyperscan alike, that matches at least where the word stands as a word.

    A word of some length is looked for wherever it stands: it rarely is a part of others, and compiles in half the time.
    """
    if not word.isascii() or len(word) >= _RARELY_A_PART:
        return "(?i)" + re.escape(word)
    return rf"(?i)(?:^|[^A-Za-z0-9]){re.escape(word)}s?(?:[^A-Za-z]|$)"


_RARELY_A_PART = 5
