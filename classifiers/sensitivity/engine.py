"""Finds structured sensitive data in the parts of a task, in time linear in their length."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec
import re2

from classifiers.sensitivity import decode, normalise, prefilter, seams
from classifiers.sensitivity.kinds.rule import Rule
from classifiers.sensitivity.kinds.shipped import RULES
from classifiers.sensitivity.seams import SEPARATOR, Seams
from routing_rules.sensitivity import CustomPattern, SensitivityPolicy
from routing_rules.task import Part
from routing_rules.vocabulary import Finding, ScanState

_MOST_CANDIDATES = 20_000
_DISTINCTIVE = 4  # literals at least so long are their own trigger: they compile and scan faster than a pattern
_DOCUMENTED = frozenset(
    {
        "078051120", "219099999", "123456789", "gb82west12345698765432", "de89370400440532013000", "gb29nwbk60161331926819",
        "akiaiosfodnn7example", "wjalrxutnfemik7mdengbpxrficyexamplekey", "9434765919", "5558675309", "8675309",
    }
)  # fmt: skip
"""Values that public documentation prints as examples, in the form that `_essence` gives them."""

_NOT_ESSENTIAL = re.compile(r"[\W_]+")


class Scan(msgspec.Struct, frozen=True):
    """What was found, whether all of it was looked at, and by which rules. Never holds a value that was found.

    `scanned_bytes` are the UTF-8 bytes of the parts' texts; `version` changes with the detectors.
    """

    findings: tuple[Finding, ...]
    state: ScanState
    scanned_bytes: int
    version: str


class _Compiled(NamedTuple):
    rule: Rule
    regex: re2._Regexp
    groups: int
    context: re.Pattern[bytes] | None
    unless: re.Pattern[bytes] | None


class _Plan(NamedTuple):
    """Which detectors the ids of the prefilter call for.

    Ids below `first_words` are triggers, ids from there groups of context words; `coded`, `disguised` and `broken` stand for
    texts that say something else than they show. A detector with context runs only where its trigger and its words are
    both present.
    """

    by_trigger: list[list[_Compiled]]
    by_words: list[list[tuple[int, _Compiled]]]
    first_words: int
    coded: int
    disguised: int
    broken: int


class _Candidate(NamedTuple):
    """A value that passed its checks, at characters `start` to `end` of the joined parts."""

    rule: Rule
    start: int
    end: int
    value: str


class Detector:
    """The shipped detectors and the organisation's own, compiled once.

    Raises `ValueError` naming the id of a pattern of the organisation's that does not compile. `key` is the secret of the
    digests (any length). `engine` forces a prefilter (`hyperscan`, `aho-corasick`); by default the fastest there is.
    Safe to use from several threads.
    """

    def __init__(self, policy: SensitivityPolicy, key: bytes, engine: str | None = None) -> None:
        self._key = blake2b(key, digest_size=32).digest()
        self._allow_listed = _DOCUMENTED | {_essence(value) for value in policy.allow_listed}
        rules = [*RULES, *map(_own_rule, policy.patterns)]
        triggers: dict[tuple[str, bool, tuple[str, ...]], int] = {}
        words: dict[tuple[str, ...], int] = {}
        for rule in rules:
            triggers.setdefault(_trigger(rule), len(triggers))
            if rule.context:
                words.setdefault(rule.context, len(words))
        self._plan = _Plan(
            by_trigger=[[] for _ in triggers],
            by_words=[[] for _ in words],
            first_words=len(triggers),
            coded=len(triggers) + len(words),
            disguised=len(triggers) + len(words) + 1,
            broken=len(triggers) + len(words) + 2,
        )
        for rule in rules:
            regex = _compile(rule)
            compiled = _Compiled(rule, regex, regex.groups, _window_pattern(rule.context), _parts_pattern(rule.unless))
            trigger = triggers[_trigger(rule)]
            if rule.context:
                self._plan.by_words[words[rule.context]].append((trigger, compiled))
            else:
                self._plan.by_trigger[trigger].append(compiled)
        watched = [prefilter.Watched(number, pattern, keywords, ours) for (pattern, ours, keywords), number in triggers.items()]
        watched += [
            prefilter.Watched(self._plan.first_words + number, prefilter.words_pattern(group), group)
            for group, number in words.items()
        ]
        watched.append(prefilter.Watched(self._plan.coded, decode.TRIGGER))
        watched.append(prefilter.Watched(self._plan.disguised, normalise.TRIGGER, exact=False))
        watched.append(prefilter.Watched(self._plan.broken, seams.TRIGGER))
        self._prefilter = prefilter.prefilter(watched, engine)
        described = "\n".join(f"{rule.id} {rule.pattern} {rule.context}" for rule in rules)
        self.engine = self._prefilter.name
        self.version = "structural-" + blake2b(described.encode(), digest_size=6).hexdigest()

    def scan(self, parts: Sequence[Part]) -> Scan:
        """Read the text of all parts. Never raises: what could not be looked at makes the state `unscanned`."""
        readable = [index for index, part in enumerate(parts) if part.text]
        starts: list[int] = []
        position = 0
        for index in readable:
            starts.append(position)
            position += len(parts[index].text) + len(SEPARATOR)
        text = parts[readable[0]].text if len(readable) == 1 else SEPARATOR.join([parts[index].text for index in readable])
        plain = text.isascii()
        data = text.encode("utf-8", "replace")  # a lone surrogate becomes one `?`, so characters keep their places
        scanned_bytes = len(data) - len(SEPARATOR) * max(len(readable) - 1, 0)
        run = _Run(self._plan, self._prefilter)
        try:
            candidates = run.read(text, data, plain)
            candidates += run.read_again(text, data, plain)
            joined = Seams()
            if len(readable) > 1:
                seams.between_parts(joined, parts, readable, starts)
            if run.broken:
                seams.between_lines(joined, text)
            if joined:
                candidates += _new(run.read_joined(joined), candidates)
            findings = self._findings(candidates, parts, readable, starts) if candidates else ()
        except Exception:  # a failure here must neither fail the request nor pass for a clean scan
            return Scan((), ScanState.UNSCANNED, scanned_bytes, self.version)
        return Scan(findings, ScanState.COMPLETE if run.complete else ScanState.UNSCANNED, scanned_bytes, self.version)

    def _findings(
        self, candidates: list[_Candidate], parts: Sequence[Part], readable: list[int], starts: list[int]
    ) -> tuple[Finding, ...]:
        findings: list[Finding] = []
        for rule, start, end, value in _without_overlaps(candidates):
            essence = _essence(value)
            if essence in self._allow_listed or (rule.category == "credentials" and essence.endswith("example")):
                continue
            masked = mask(value, secret=rule.category == "credentials")
            digest = blake2b(f"{rule.kind}\0{essence}".encode(), key=self._key, digest_size=16).hexdigest()
            first, last = bisect_right(starts, start) - 1, bisect_right(starts, end - 1) - 1
            for place in (first,) if first == last else (first, last):
                part = readable[place]
                begin = max(start - starts[place], 0) if place == first else 0
                finish = end - starts[place] if place == last else len(parts[part].text)
                findings.append(Finding(rule.category, rule.kind, rule.id, part, begin, finish, rule.score, masked, digest))
        findings.sort(key=lambda finding: (finding.part, finding.start))
        return tuple(findings)


class _Run:
    """One scan: what is left of its budget, and whether everything was looked at."""

    def __init__(self, plan: _Plan, filter_: prefilter.Prefilter) -> None:
        self._plan = plan
        self._prefilter = filter_
        self._left = _MOST_CANDIDATES
        self.coded = self.disguised = self.broken = False
        self.complete = True

    def read(self, text: str, data: bytes, plain: bool) -> list[_Candidate]:
        """The candidates in a text as it stands; notes what should be looked at again."""
        present = set(self._prefilter.hits(text, data))
        self.coded = self._plan.coded in present
        self.disguised = not plain and self._plan.disguised in present
        self.broken = self._plan.broken in present
        return self._candidates(present, data, plain) if present else []

    def read_again(self, text: str, data: bytes, plain: bool) -> list[_Candidate]:
        """The candidates in the text with its disguises taken off and its codes read, at their original places."""
        found = normalise.undisguised(text, data) if self.disguised else []
        if self.coded:
            replaced, complete = decode.decoded(data, ascii_only=plain)
            found += replaced
            self.complete = self.complete and complete
        view = normalise.view_of(text, found)
        if view is None:
            return []
        return [_at(candidate, *view.origin(candidate.start, candidate.end)) for candidate in self._in_view(view)]

    def read_joined(self, joined: Seams) -> list[_Candidate]:
        """The candidates that run from one text into the next."""
        view = joined.view
        return [
            _at(candidate, *view.origin(candidate.start, candidate.end))
            for candidate in self._in_view(view)
            if joined.crossed(candidate.start, candidate.end)
        ]

    def _in_view(self, view: normalise.View) -> list[_Candidate]:
        text = view.text
        data = text.encode("utf-8", "replace")
        return self._candidates(set(self._prefilter.hits(text, data)), data, text.isascii())

    def _candidates(self, present: set[int], data: bytes, plain: bool) -> list[_Candidate]:
        plan = self._plan
        found: list[_Candidate] = []
        for number in present:
            if number < plan.first_words:
                for compiled in plan.by_trigger[number]:
                    self._try(compiled, data, found)
            elif number < plan.coded:
                for trigger, compiled in plan.by_words[number - plan.first_words]:
                    if trigger in present:
                        self._try(compiled, data, found)
        return found if plain or not found else _in_characters(found, data)

    def _try(self, compiled: _Compiled, data: bytes, found: list[_Candidate]) -> None:
        try:
            self._find(compiled, data, found)
        except Exception:  # one failing detector must not silence the others
            self.complete = False

    def _find(self, compiled: _Compiled, data: bytes, found: list[_Candidate]) -> None:
        rule = compiled.rule
        for match in compiled.regex.finditer(data):
            start, end = match.span()
            if start == end:  # a pattern of the organisation's may match nothing
                continue
            if self._left <= 0:
                self.complete = False
                return
            self._left -= 1
            if compiled.context is not None and not _near(compiled.context, data, start - rule.before, end + rule.after):
                continue
            if compiled.unless is not None and compiled.unless.search(data, max(start - 24, 0), end):
                continue
            for group in range(1, compiled.groups + 1):
                if match.start(group) >= 0:
                    start, end = match.span(group)
                    break
            value = data[start:end].decode("utf-8", "replace")
            if rule.locate is not None:
                for begin, finish in rule.locate(value):
                    found.append(_Candidate(rule, start + begin, start + finish, value[begin:finish]))
            elif rule.check is None or rule.check(value):
                found.append(_Candidate(rule, start, end, value))


def _at(candidate: _Candidate, start: int, end: int) -> _Candidate:
    return candidate._replace(start=start, end=end)


def _new(more: list[_Candidate], known: list[_Candidate]) -> list[_Candidate]:
    """Those that do not reach into a known one of the same detector: what is whole where it stands does not run on."""
    places: dict[str, list[tuple[int, int]]] = {}
    for candidate in known:
        places.setdefault(candidate.rule.id, []).append((candidate.start, candidate.end))
    for spans in places.values():
        spans.sort()
    new: list[_Candidate] = []
    for candidate in more:
        spans = places.get(candidate.rule.id, [])
        before = bisect_left(spans, (candidate.end, 0)) - 1
        if before < 0 or spans[before][1] <= candidate.start:
            new.append(candidate)
    return new


def _near(pattern: re.Pattern[bytes], data: bytes, start: int, end: int) -> bool:
    """Whether a word stands between two offsets; a word that the end would cut is read to its own end."""
    end = min(end, len(data))
    limit = min(end + 24, len(data))
    while end < limit and data[end : end + 1].isalnum():
        end += 1
    return pattern.search(data, max(start, 0), end) is not None


def _in_characters(found: list[_Candidate], data: bytes) -> list[_Candidate]:
    """The same candidates with offsets in characters instead of bytes, in one pass over the data."""
    places: dict[int, int] = {}
    byte = character = 0
    for offset in sorted({candidate.start for candidate in found} | {candidate.end for candidate in found}):
        character += len(data[byte:offset].decode("utf-8", "replace"))
        byte = offset
        places[offset] = character
    return [candidate._replace(start=places[candidate.start], end=places[candidate.end]) for candidate in found]


def _without_overlaps(candidates: list[_Candidate]) -> list[_Candidate]:
    """The most specific, then longest, then surest of those that overlap."""
    if len(candidates) == 1:
        return candidates
    ranked = sorted(
        candidates, key=lambda one: (-one.rule.specific, one.start - one.end, -one.rule.score, one.start, one.rule.id)
    )
    starts: list[int] = []
    kept: dict[int, _Candidate] = {}
    for candidate in ranked:
        place = bisect_left(starts, candidate.end)
        if place and kept[starts[place - 1]].end > candidate.start:
            continue
        insort(starts, candidate.start)
        kept[candidate.start] = candidate
    return [kept[start] for start in starts]


def mask(value: str, *, secret: bool) -> str:
    """A form that can be shown: at most the last four characters, and only of a value long enough to stay unknown."""
    shown = 4 if len(value) >= (24 if secret else 12) else 0 if secret or len(value) < 8 else 2
    tail = value[-shown:] if shown else ""
    return "****" + "".join(character if character.isalnum() else "*" for character in tail)


def _essence(value: str) -> str:
    """What makes two spellings of a value the same: its letters and digits, in lower case."""
    return _NOT_ESSENTIAL.sub("", value).lower()


def _window_pattern(words: tuple[str, ...]) -> re.Pattern[bytes] | None:
    if not words:
        return None
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


def _own_rule(pattern: CustomPattern) -> Rule:
    """A detector from the organisation's pattern or terms; anchors match at lines."""
    if (pattern.pattern is None) == (not pattern.terms):
        raise ValueError(f"pattern `{pattern.id}` needs either a pattern or terms")
    if pattern.pattern is not None:
        return Rule(
            id=pattern.id,
            category=pattern.category,
            kind=pattern.id,
            pattern=f"(?m){pattern.pattern}",
            score=0.9,
            specific=3,
            own=True,
        )
    terms = sorted(set(pattern.terms), key=len, reverse=True)
    return Rule(
        id=pattern.id,
        category=pattern.category,
        kind=pattern.id,
        pattern="(?i)" + "|".join(map(_whole_word, terms)),
        keywords=tuple(term.lower() for term in terms),
        score=0.9,
        specific=3,
        own=True,
    )


def _whole_word(term: str) -> str:
    left = r"\b" if term[:1].isascii() and term[:1].isalnum() else ""
    right = r"\b" if term[-1:].isascii() and term[-1:].isalnum() else ""
    return left + re.escape(term) + right
