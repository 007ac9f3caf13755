"""Finds structured sensitive data in the parts of a task, in time linear in their length."""

from __future__ import annotations

import inspect
import re
import sys
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b, sha256
from typing import NamedTuple, TypeVar

import msgspec

from classifiers.sensitivity import bank, decode, normalise, prefilter, seams, validators
from classifiers.sensitivity.bank import Bank, Budget, Candidate, bank_of
from classifiers.sensitivity.kinds import shipped
from classifiers.sensitivity.kinds.rule import Rule
from classifiers.sensitivity.kinds.shipped import RULES
from classifiers.sensitivity.normalise import Replaced, View
from classifiers.sensitivity.seams import MEETS, SEPARATOR, Seams
from routing_rules.sensitivity import CustomPattern, SensitivityPolicy
from routing_rules.task import Part
from routing_rules.vocabulary import Finding, ScanState

_MOST_CANDIDATES = 10_000
_MOST_KNOWN = 8_000
_CONTEXT = 200  # characters of the part before that can say what a value is; no detector looks further back
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


class Detector:
    """The shipped detectors and the organisation's own, compiled once.

    Raises `ValueError` naming the id of a pattern of the organisation's that does not compile. `key` is the secret of the
    digests (any length). `engine` forces a prefilter (`hyperscan`, `aho-corasick`); by default the fastest there is. `more` are
    further detectors of the organisation's, such as `kinds.gitleaks` reads from a rule file.
    Safe to use from several threads.

    What was found in a part is kept by a keyed hash (the interpreter's own, whose key is drawn at its start) of its text and of what
    stands before it, so that a conversation which grows by a turn costs that turn. Nothing is kept from which a text or a value could be read.
    """

    def __init__(self, policy: SensitivityPolicy, key: bytes, engine: str | None = None, more: Sequence[Rule] = ()) -> None:
        self._key = blake2b(key, digest_size=32).digest()
        self._allow_listed = _DOCUMENTED | {_essence(value) for value in policy.allow_listed}
        own = [*map(_own_rule, policy.patterns), *more]
        self._banks = [bank_of(RULES, engine), *([Bank(own, engine, disguises=False)] if own else [])]
        described = "\n".join(f"{rule.id} {rule.category} {rule.pattern} {rule.detail}" for rule in (*RULES, *own))
        self.engine = self._banks[0].engine
        self.version = "structural-" + blake2b(described.encode() + _code(), digest_size=6).hexdigest()
        self._known = _Known()

    def scan(self, parts: Sequence[Part]) -> Scan:
        """Read the text of all parts. Never raises: what could not be looked at makes the state `unscanned`."""
        run = _Run(self._banks)
        try:
            findings, scanned_bytes = self._scan(parts, run)
        except Exception:  # a failure here must neither fail the request nor pass for a clean scan
            size = sum(len(part.text.encode("utf-8", "replace")) for part in parts)
            return Scan((), ScanState.UNSCANNED, size, self.version)
        return Scan(findings, ScanState.COMPLETE if run.complete else ScanState.UNSCANNED, scanned_bytes, self.version)

    def _scan(self, parts: Sequence[Part], run: _Run) -> tuple[tuple[Finding, ...], int]:
        """The findings and the size of all texts in bytes. Parts that are known already must cost next to nothing."""
        known = self._known
        recent = known.young.get
        numbers: list[int] = []  # of the parts with text, the digest of each, and what is in it
        digests: list[_Digest] = []
        reads: list[_Read] = []
        meetings: list[tuple[int, int]] = []
        holding: list[tuple[int, _Read]] = []
        latest: dict[int, int] = {}  # by the identity of the role: an enumeration's own hash is slow
        before, before_text = -1, ""
        size = 0
        for number, part in enumerate(parts):
            text = part.text
            if not text:
                continue
            in_turn = part.turn >= 0
            follows = in_turn and before >= 0
            # The interpreter's own keyed hash; of the text before only the end matters, but all of it is hashed already.
            digest = (hash(text), len(text), hash(before_text) if follows else 0)
            read = recent(digest) or known.get(digest)
            if read is None:
                whole = run.complete
                read = self._read(before_text[-_CONTEXT:] + SEPARATOR if follows else "", text, number, run)
                if whole and run.complete:
                    known.put(digest, read)
            if in_turn:
                place, role = len(reads), id(part.role)
                head = read.head
                if head and before >= 0:
                    earlier = latest.get(role, before)  # an answer may stand between two halves
                    if MEETS[reads[before].tail][head] and known.get((digests[before], digest)) is None:
                        meetings.append((before, place))
                    if earlier != before and MEETS[reads[earlier].tail][head] and known.get((digests[earlier], digest)) is None:
                        meetings.append((earlier, place))
                latest[role] = before = place
                before_text = text
            numbers.append(number)
            digests.append(digest)
            reads.append(read)
            size += read.size
            if read.found:
                holding.append((number, read))
        if meetings:
            crossing = self._across(parts, numbers, reads, meetings, run)
            if crossing is not None:
                return crossing, size
            if run.complete:
                for left, right in meetings:
                    known.put((digests[left], digests[right]), _APART)
        if not holding:
            return (), size
        return tuple([finding for number, read in holding for finding in read.findings(number)]), size

    def _read(self, tail: str, text: str, number: int, run: _Run) -> _Read:
        """What is in a text; `tail` is what stands before it, whose words count as context."""
        data = text.encode("utf-8", "replace")  # a lone surrogate becomes one `?`, so characters keep their places
        if tail:
            text = tail + text
            candidates = run.read(text, tail.encode("utf-8", "replace") + data, text.isascii())
        else:
            candidates = run.read(text, data, len(data) == len(text))
        first = len(tail)
        found = [self._found(one, -first) for one in _without_overlaps(candidates) if one.start >= first] if candidates else []
        found.sort(key=_place)
        return _Read(number, tuple(found), len(data), *seams.edges(text[first:] if tail else text))

    def _found(self, candidate: Candidate, shift: int) -> _Found:
        rule, start, end, value = candidate
        essence = _essence(value)
        secret = rule.category == "credentials"
        struck = essence in self._allow_listed or (secret and essence.endswith("example"))
        digest = "" if struck else blake2b(f"{rule.kind}\0{essence}".encode(), key=self._key, digest_size=16).hexdigest()
        return _Found(rule, start + shift, end + shift, mask(value, secret=secret), digest, struck)

    def _across(
        self, parts: Sequence[Part], numbers: list[int], reads: list[_Read], meetings: list[tuple[int, int]], run: _Run
    ) -> tuple[Finding, ...] | None:
        """All findings, where something runs from one part into another; None where nothing does."""
        starts: list[int] = []
        position = 0
        for number in numbers:
            starts.append(position)
            position += len(parts[number].text) + len(SEPARATOR)
        joined = Seams()
        for left, right in meetings:
            joined.meet(parts[numbers[left]].text, starts[left], parts[numbers[right]].text, starts[right])
        candidates = run.read_joined(joined)
        if not candidates:
            return None
        inside = [found.moved(start) for start, read in zip(starts, reads, strict=True) for found in read.found]
        crossing = [self._found(candidate, 0) for candidate in _new(candidates, inside)]
        if not crossing:
            return None
        findings: list[Finding] = []
        for found in _without_overlaps(crossing + inside):
            if found.struck:
                continue
            first, last = bisect_right(starts, found.start) - 1, bisect_right(starts, found.end - 1) - 1
            for place in (first,) if first == last else (first, last):
                number = numbers[place]
                begin = max(found.start - starts[place], 0) if place == first else 0
                finish = found.end - starts[place] if place == last else len(parts[number].text)
                findings.append(found.as_finding(number, begin, finish))
        findings.sort(key=lambda finding: (finding.part, finding.start))
        return tuple(findings)


_Digest = tuple[int, int, int]
_Place = _Digest | tuple[_Digest, _Digest]


class _Found(NamedTuple):
    """A value that was found, at characters `start` to `end`, without the value. `struck`: a published example, no finding."""

    rule: Rule
    start: int
    end: int
    masked: str
    digest: str
    struck: bool

    def moved(self, by: int) -> _Found:
        """The same at another place."""
        return self._replace(start=self.start + by, end=self.end + by)

    def as_finding(self, part: int, start: int, end: int) -> Finding:
        """The finding in a part."""
        rule = self.rule
        return Finding(rule.category, rule.kind, rule.id, part, start, end, rule.score, self.masked, self.digest)


class _Read:
    """What is in one part: what was found, its size in bytes, and how it begins and ends (see `seams.edges`)."""

    __slots__ = ("_findings", "_number", "found", "head", "size", "tail")

    def __init__(self, number: int, found: tuple[_Found, ...], size: int, head: int, tail: int) -> None:
        self.found, self.size, self.head, self.tail = found, size, head, tail
        self._number, self._findings = number, self._built(number)

    def findings(self, number: int) -> tuple[Finding, ...]:
        """The findings, in the part of that number; most often the same as when it was first read."""
        return self._findings if number == self._number else self._built(number)

    def _built(self, number: int) -> tuple[Finding, ...]:
        return tuple(found.as_finding(number, found.start, found.end) for found in self.found if not found.struck)


_APART = _Read(0, (), 0, 0, 0)
"""Known of two parts between which nothing runs on."""


class _Known:
    """The parts read last, by their hashes: at least `_MOST_KNOWN` of them, at most about twice as many."""

    def __init__(self) -> None:
        self.young: dict[_Place, _Read] = {}
        self._old: dict[_Place, _Read] = {}
        self._weight = 0

    def get(self, digest: _Place) -> _Read | None:
        """What is known of a part."""
        read = self.young.get(digest)
        if read is None:
            read = self._old.get(digest)
            if read is not None:
                self.put(digest, read)
        return read

    def put(self, digest: _Place, read: _Read) -> None:
        """Keep what was read. Parts with many findings count for more."""
        if self._weight >= _MOST_KNOWN:
            self._old, self.young, self._weight = self.young, {}, 0
        self._weight += 1 + len(read.found)
        self.young[digest] = read


class _Run:
    """One scan of a text: as it stands, with its disguises off and its codes read, and across borders."""

    def __init__(self, banks: list[Bank]) -> None:
        self._banks = banks
        self._budget = Budget(_MOST_CANDIDATES)

    @property
    def complete(self) -> bool:
        """Whether everything was looked at."""
        return self._budget.complete

    def read(self, text: str, data: bytes, plain: bool) -> list[Candidate]:
        """The candidates in a text as it stands, as it reads without disguises, and over its broken lines, at their places."""
        first = self._banks[0]
        present = first.present(text, data)
        found = first.candidates(present, data, self._budget, ascii_only=plain) if present else []
        for own in self._banks[1:]:
            found += own.candidates(own.present(text, data), data, self._budget, ascii_only=plain)
        replaced: list[Replaced] = []
        if not plain:
            replaced, complete = normalise.undisguised(text, data)
            self._budget.complete = self._budget.complete and complete
        if first.coded in present:
            coded, complete = decode.decoded(data, ascii_only=plain)
            replaced += coded
            self._budget.complete = self._budget.complete and complete
        view = normalise.view_of(text, replaced) if replaced else None
        if view:
            found += [_at_origin(view, candidate) for candidate in self._in(view)]
        if first.broken in present:
            joined = Seams()
            complete = seams.between_lines(joined, text)
            self._budget.complete = self._budget.complete and complete
            if joined:
                found += _new(self.read_joined(joined), found)
        return found

    def read_joined(self, joined: Seams) -> list[Candidate]:
        """The candidates that run from one text into the next."""
        view = joined.view
        return [_at_origin(view, candidate) for candidate in self._in(view) if joined.crossed(candidate.start, candidate.end)]

    def _in(self, view: View) -> list[Candidate]:
        text = view.text
        data = text.encode("utf-8", "replace")
        found: list[Candidate] = []
        for detectors in self._banks:
            present = detectors.present(text, data)
            found += detectors.candidates(present, data, self._budget, ascii_only=text.isascii())
        return found


def _at_origin(view: View, candidate: Candidate) -> Candidate:
    start, end = view.origin(candidate.start, candidate.end)
    return candidate._replace(start=start, end=end)


def _new(more: list[Candidate], known: Sequence[Candidate | _Found]) -> list[Candidate]:
    """Those that do not reach into a known one of the same detector: what is whole where it stands does not run on."""
    places: dict[str, list[tuple[int, int]]] = {}
    for candidate in known:
        places.setdefault(candidate.rule.id, []).append((candidate.start, candidate.end))
    for spans in places.values():
        spans.sort()
    new: list[Candidate] = []
    for candidate in more:
        spans = places.get(candidate.rule.id, [])
        before = bisect_left(spans, (candidate.end, 0)) - 1
        if before < 0 or spans[before][1] <= candidate.start:
            new.append(candidate)
    return new


_Any = TypeVar("_Any", Candidate, _Found)


def _without_overlaps(candidates: list[_Any]) -> list[_Any]:
    """The most specific, then longest, then surest of those that overlap."""
    if len(candidates) == 1:
        return candidates
    ranked = sorted(
        candidates, key=lambda one: (-one.rule.specific, one.start - one.end, -one.rule.score, one.start, one.rule.id)
    )
    starts: list[int] = []
    kept: dict[int, _Any] = {}
    for candidate in ranked:
        place = bisect_left(starts, candidate.end)
        if place and kept[starts[place - 1]].end > candidate.start:
            continue
        insort(starts, candidate.start)
        kept[candidate.start] = candidate
    return [kept[start] for start in starts]


def _place(found: _Found) -> int:
    return found.start


def mask(value: str, *, secret: bool) -> str:
    """A form that can be shown: at most the last four characters, and only of a value long enough to stay unknown."""
    shown = 4 if len(value) >= (24 if secret else 12) else 0 if secret or len(value) < 8 else 2
    tail = value[-shown:] if shown else ""
    return "****" + "".join(character if character.isalnum() else "*" for character in tail)


@cache
def _code() -> bytes:
    """A hash of the code that decides what is found: what another version of it found may be something else."""
    total = sha256()
    kinds = (module for module in vars(shipped).values() if inspect.ismodule(module))
    for module in (bank, decode, normalise, prefilter, seams, validators, sys.modules[__name__], *kinds):
        total.update(inspect.getsource(module).encode())
    return total.digest()


def _essence(value: str) -> str:
    """What makes two spellings of a value the same: its letters and digits, in lower case."""
    return _NOT_ESSENTIAL.sub("", value).lower()


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
            score=pattern.score,
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
        score=pattern.score,
        specific=3,
        own=True,
    )


def _whole_word(term: str) -> str:
    left = r"\b" if term[:1].isascii() and term[:1].isalnum() else ""
    right = r"\b" if term[-1:].isascii() and term[-1:].isalnum() else ""
    return left + re.escape(term) + right
