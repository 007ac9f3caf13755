"""Detectors compiled together: which of them can match a text, and what they find in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import re2

from classifiers.sensitivity import decode, prefilter, seams
from classifiers.sensitivity.kinds.rule import Rule

_MOST_CHECKED = 4_000  # characters of a value that a check looks at: no value of a known form is longer
_LINE = 1_000
_DISTINCTIVE = 4  # literals at least so long are their own trigger: they compile and scan faster than a pattern


# RE2 takes these two letters for `s` and `k` where case does not matter, the prefilter does not. Something of the same length
# stands for them while a text is read as it is; as a disguise they are taken off later.
_LONG_S = "\u017f".encode(), "\u00a4".encode()
_KELVIN = "\u212a".encode(), "\u2030".encode()


class Candidate(NamedTuple):
    """A value that passed its checks, at characters `start` to `end` of the text that was read."""

    rule: Rule
    start: int
    end: int
    value: str


class Budget:
    """How many matches may still be checked, and whether everything was looked at."""

    def __init__(self, matches: int) -> None:
        self.left = matches
        self.complete = True


class _Compiled(NamedTuple):
    rule: Rule
    regex: re2._Regexp
    groups: range
    unless: re.Pattern[bytes] | None
    anywhere: re.Pattern[bytes] | None


class Bank:
    """Some detectors behind one prefilter. Immutable once built, so that several threads may use it.

    The prefilter answers with ids: those below `_first_words` are triggers, those from there groups of context words, the
    last two (`coded`, `broken`; only with `disguises`) stand for texts that say something else than they show.
    A detector with context runs only where its trigger and its words are both present.
    Raises `ValueError` naming the id of a detector whose pattern does not compile.
    """

    def __init__(self, rules: Sequence[Rule], engine: str | None = None, *, disguises: bool = True) -> None:
        triggers: dict[tuple[str, bool, tuple[str, ...]], int] = {}
        words: dict[tuple[str, ...], int] = {}
        for rule in rules:
            triggers.setdefault(_trigger(rule), len(triggers))
            if rule.context:
                words.setdefault(rule.context, len(words))
        self._by_trigger: list[list[_Compiled]] = [[] for _ in triggers]
        self._by_words: list[list[tuple[int, _Compiled]]] = [[] for _ in words]
        for rule in rules:
            regex = _compile(rule)
            compiled = _Compiled(
                rule,
                regex,
                range(rule.group, rule.group + 1) if rule.group else range(1, regex.groups + 1),
                _parts_pattern(rule.unless),
                _parts_pattern(rule.anywhere),
            )
            trigger = triggers[_trigger(rule)]
            if rule.context:
                self._by_words[words[rule.context]].append((trigger, compiled))
            else:
                self._by_trigger[trigger].append(compiled)
        self._ours = disguises
        self._first_words = len(triggers)
        self.coded = len(triggers) + len(words)
        self.broken = self.coded + 1
        watched = [prefilter.Watched(number, pattern, keywords, ours) for (pattern, ours, keywords), number in triggers.items()]
        # One word a pattern: as alternatives of one they take twice as long to compile.
        watched += [
            prefilter.Watched(self._first_words + number, prefilter.word_pattern(word), (word,))
            for group, number in words.items()
            for word in group
        ]
        if disguises:
            watched += [prefilter.Watched(self.coded, pattern) for pattern in decode.TRIGGERS]
            watched.append(prefilter.Watched(self.broken, seams.TRIGGER))
        self._prefilter = prefilter.prefilter(watched, engine)
        self.engine = self._prefilter.name

    def present(self, text: str, data: bytes) -> set[int]:
        """The ids of what can match in a text, given also as UTF-8."""
        return set(self._prefilter.hits(text, data))

    def candidates(self, present: set[int], data: bytes, budget: Budget, *, ascii_only: bool) -> list[Candidate]:
        """What the detectors called for find in a text, given as UTF-8, with offsets in characters."""
        found: list[Candidate] = []
        if self._ours and not ascii_only:
            data = data.replace(*_LONG_S).replace(*_KELVIN)
        for number in present:
            if number < self._first_words:
                for compiled in self._by_trigger[number]:
                    _try(compiled, data, budget, found)
            elif number < self.coded:
                for trigger, compiled in self._by_words[number - self._first_words]:
                    if trigger in present:
                        _try(compiled, data, budget, found)
        return found if ascii_only or not found else _in_characters(found, data)


@lru_cache(maxsize=4)
def bank_of(rules: tuple[Rule, ...], engine: str | None) -> Bank:
    """The bank of these detectors, compiled once per process: it takes some tenths of a second."""
    return Bank(rules, engine)


def _try(compiled: _Compiled, data: bytes, budget: Budget, found: list[Candidate]) -> None:
    try:
        _find(compiled, data, budget, found)
    except Exception:  # one failing detector must not silence the others
        budget.complete = False


def _find(compiled: _Compiled, data: bytes, budget: Budget, found: list[Candidate]) -> None:
    rule = compiled.rule
    if compiled.anywhere is not None and not compiled.anywhere.search(data):
        return
    for match in compiled.regex.finditer(data):
        start, end = match.span()
        if start == end:  # a pattern of the organisation's may match nothing
            continue
        if budget.left <= 0:
            budget.complete = False
            return
        budget.left -= 1
        if rule.context and not _near(_window_pattern(rule.context), data, start - rule.before, end + rule.after):
            continue
        if compiled.unless is not None and compiled.unless.search(data, max(start - 24, 0), end):
            continue
        whole = start, end
        for group in compiled.groups:
            if match.start(group) >= 0:
                start, end = match.span(group)
                break
        value = data[start:end].decode("utf-8", "replace")
        if rule.struck is not None and rule.struck(value, *_surroundings(data, *whole)):
            continue
        if rule.locate is not None:
            for begin, finish in rule.locate(value):
                found.append(Candidate(rule, start + begin, start + finish, value[begin:finish]))
        elif rule.check is None or rule.check(value[:_MOST_CHECKED]):
            found.append(Candidate(rule, start, end, value))


def _surroundings(data: bytes, start: int, end: int) -> tuple[str, str]:
    """The text between two offsets, and the line on which it begins, as far as `_LINE` bytes to both sides."""
    first = data.rfind(b"\n", max(start - _LINE, 0), start) + 1 or max(start - _LINE, 0)
    last = data.find(b"\n", start, end + _LINE)
    line = data[first : end + _LINE if last < 0 else last]
    return data[start:end].decode("utf-8", "replace"), line.decode("utf-8", "replace")


def _near(pattern: re.Pattern[bytes], data: bytes, start: int, end: int) -> bool:
    """Whether a word stands between two offsets; a word that the end would cut is read to its own end."""
    end = min(end, len(data))
    limit = min(end + 24, len(data))
    while end < limit and data[end : end + 1].isalnum():
        end += 1
    return pattern.search(data, max(start, 0), end) is not None


def _in_characters(found: list[Candidate], data: bytes) -> list[Candidate]:
    """The same candidates with offsets in characters instead of bytes, in one pass over the data."""
    places: dict[int, int] = {}
    byte = character = 0
    for offset in sorted({candidate.start for candidate in found} | {candidate.end for candidate in found}):
        character += len(data[byte:offset].decode("utf-8", "replace"))
        byte = offset
        places[offset] = character
    return [candidate._replace(start=places[candidate.start], end=places[candidate.end]) for candidate in found]


@cache
def _window_pattern(words: tuple[str, ...]) -> re.Pattern[bytes]:
    # Made when a value first stands where the words matter: to make all of them at start takes a tenth of a second.
    plain = "|".join(re.escape(word) for word in words if word.isascii())
    foreign = "|".join(prefilter.any_case(re.escape(word)) for word in words if not word.isascii())
    options = [rf"(?<![A-Za-z0-9])(?:{plain})s?(?![A-Za-z])"] if plain else []
    return re.compile("|".join([*options, *([foreign] if foreign else [])]).encode(), re.IGNORECASE)


def _parts_pattern(words: tuple[str, ...]) -> re.Pattern[bytes] | None:
    return re.compile("|".join(map(re.escape, words)).encode(), re.IGNORECASE) if words else None


def _trigger(rule: Rule) -> tuple[str, bool, tuple[str, ...]]:
    """What the prefilter looks for on behalf of a detector: pattern, whether it is a shipped one, literals."""
    if rule.trigger is not None or rule.own:
        return rule.trigger or rule.pattern, not rule.own, rule.keywords
    if rule.keywords and min(map(len, rule.keywords)) >= _DISTINCTIVE:
        return "(?i)" + "|".join(map(re.escape, rule.keywords)), True, rule.keywords
    return prefilter.lighter(rule.pattern), True, rule.keywords


def _compile(rule: Rule) -> re2._Regexp:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(rule.pattern, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"pattern `{rule.id}` does not compile: {reason}") from None
