"""Finds structured sensitive data in the parts of a task, in time linear in their length."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from classifiers.sensitivity import decode, normalise, seams
from classifiers.sensitivity.bank import Bank, Budget, Candidate, bank_of
from classifiers.sensitivity.kinds.rule import Rule
from classifiers.sensitivity.kinds.shipped import RULES
from classifiers.sensitivity.normalise import View
from classifiers.sensitivity.seams import SEPARATOR, Seams
from routing_rules.sensitivity import CustomPattern, SensitivityPolicy
from routing_rules.task import Part
from routing_rules.vocabulary import Finding, ScanState

_MOST_CANDIDATES = 20_000
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
    digests (any length). `engine` forces a prefilter (`hyperscan`, `aho-corasick`); by default the fastest there is.
    Safe to use from several threads.
    """

    def __init__(self, policy: SensitivityPolicy, key: bytes, engine: str | None = None) -> None:
        self._key = blake2b(key, digest_size=32).digest()
        self._allow_listed = _DOCUMENTED | {_essence(value) for value in policy.allow_listed}
        own = [_own_rule(pattern) for pattern in policy.patterns]
        self._banks = [bank_of(RULES, engine), *([Bank(own, engine, disguises=False)] if own else [])]
        described = "\n".join(f"{rule.id} {rule.pattern} {rule.context}" for rule in (*RULES, *own))
        self.engine = self._banks[0].engine
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
        run = _Run(self._banks)
        try:
            candidates = run.read(text, data, plain)
            if run.broken or len(readable) > 1:
                joined = Seams()
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
        self, candidates: list[Candidate], parts: Sequence[Part], readable: list[int], starts: list[int]
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
    """One scan of a text: as it stands, with its disguises off and its codes read, and across borders."""

    def __init__(self, banks: list[Bank]) -> None:
        self._banks = banks
        self._budget = Budget(_MOST_CANDIDATES)
        self.broken = False

    @property
    def complete(self) -> bool:
        """Whether everything was looked at."""
        return self._budget.complete

    def read(self, text: str, data: bytes, plain: bool) -> list[Candidate]:
        """The candidates in a text as it stands and as it reads without disguises, at their places in it."""
        shipped = self._banks[0]
        present = shipped.present(text, data)
        found = shipped.candidates(present, data, self._budget, ascii_only=plain) if present else []
        for own in self._banks[1:]:
            found += own.candidates(own.present(text, data), data, self._budget, ascii_only=plain)
        self.broken = shipped.broken in present
        replaced = [] if plain else normalise.undisguised(text, data)
        if shipped.coded in present:
            coded, complete = decode.decoded(data, ascii_only=plain)
            replaced += coded
            self._budget.complete = self._budget.complete and complete
        view = normalise.view_of(text, replaced) if replaced else None
        return found + [_at_origin(view, candidate) for candidate in self._in(view)] if view else found

    def read_joined(self, joined: Seams) -> list[Candidate]:
        """The candidates that run from one text into the next."""
        view = joined.view
        return [_at_origin(view, candidate) for candidate in self._in(view) if joined.crossed(candidate.start, candidate.end)]

    def _in(self, view: View) -> list[Candidate]:
        text = view.text
        data = text.encode("utf-8", "replace")
        found: list[Candidate] = []
        for bank in self._banks:
            found += bank.candidates(bank.present(text, data), data, self._budget, ascii_only=text.isascii())
        return found


def _at_origin(view: View, candidate: Candidate) -> Candidate:
    start, end = view.origin(candidate.start, candidate.end)
    return candidate._replace(start=start, end=end)


def _new(more: list[Candidate], known: list[Candidate]) -> list[Candidate]:
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


def _without_overlaps(candidates: list[Candidate]) -> list[Candidate]:
    """The most specific, then longest, then surest of those that overlap."""
    if len(candidates) == 1:
        return candidates
    ranked = sorted(
        candidates, key=lambda one: (-one.rule.specific, one.start - one.end, -one.rule.score, one.start, one.rule.id)
    )
    starts: list[int] = []
    kept: dict[int, Candidate] = {}
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
