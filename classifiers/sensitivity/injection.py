"""Finds text that addresses the model inside what was only to be read: tool results, files, passages that a user quotes.

A sign is a turn of phrase that makes sense only when it is said to a model, or that hides text from people. A strong sign is a finding
by itself, weak ones only together: near each other, or in a part of a page that nobody sees. Findings are a signal and no more: an
order in plain words that is not recognisable as one stays unnoticed.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

import re2

from classifiers.sensitivity import decode, normalise
from classifiers.sensitivity.bank import Budget, bank_of
from classifiers.sensitivity.injection_signs import SIGNS
from classifiers.sensitivity.kinds.rule import Rule
from routing_rules.task import Part, Provenance
from routing_rules.vocabulary import Finding

CATEGORY = "injection"
CERTAIN = 0.5
"""From this score on a finding counts as one; quoted by a user it is told with a lower score."""

_QUOTED = 0.45  # of the score: a user who quotes such a text mostly wants to talk about it
_NEAR = 400  # characters between signs that belong together
_HIDDEN_BONUS = 0.3
_CONCEPT = 0.3  # up to this a sign is only a word that such texts use too; hidden or not, it says nothing alone
_MOST_SIGNS = 10_000
_MOST_NEAR = 50
_MOST_FINDINGS = 200
_MOST_KNOWN = 4_096
_LONGEST_EXCERPT = 80

_QUOTES = re.compile(r"```.*?(?:```|\Z)|^>[^\n]*(?:\n>[^\n]*)*|\"\"\".*?(?:\"\"\"|\Z)|<(documents?|doc|e?mail|page|web_?page|file|context|article|source|search_results?|tool_results?|attachment|quote|blockquote|untrusted)\b.*?(?:</\1>|\Z)", re.DOTALL | re.MULTILINE)  # fmt: skip

_INVISIBLE = re.compile(
    "(?P<tags>[\U000e0020-\U000e007e]{4,})|(?P<selectors>[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,})"
    "|(?P<zero>[\u200b-\u200d\u2060-\u2064\ufeff\u180e]{12,})"
)
_FLAG = "\U0001f3f4"  # before the tag characters of a regional flag
_HIDDEN = re2.compile(
    r"(?is)<!--.*?-->"
    r"|<[a-z]{1,12}\b[^<>]{0,400}?(?:display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?:px|pt|em|;|\"|')|opacity\s*:\s*0(?:\.0*)?\s*(?:;|\"|')"
    r"|[^-]color\s*:\s*(?:#fff(?:fff)?\b|white|transparent)|\shidden\b|text-indent\s*:\s*-\d{3,})[^<>]{0,400}>[^<]+"
)
_WORD = re.compile(r"[^\W\d_]+")
_KNOWN_WORDS = frozenset(word.lower() for sign in SIGNS for word in _WORD.findall(sign.pattern) if len(word) > 2)


class _Seen(NamedTuple):
    """A sign at characters `start` to `end` of a text."""

    rule: Rule
    start: int
    end: int


class Injections:
    """Looks for signs in parts. `key`: the secret of the findings' digests. Safe to use from several threads.

    What was found in a text is kept by the interpreter's own keyed hash of it, so that a conversation which grows by a turn costs
    that turn.
    """

    def __init__(self, key: bytes) -> None:
        self._key = blake2b(key, digest_size=32, person=b"injection").digest()
        # Nearly every sign has words of its own, which Aho-Corasick finds as fast, and Hyperscan takes most of a second to compile.
        self._bank = bank_of(SIGNS, "aho-corasick")
        self._known: dict[tuple[int, int], tuple[Finding, ...]] = {}

    def findings(self, parts: Sequence[Part]) -> tuple[Finding, ...]:
        """The findings in all parts that were only to be read, and in what users quote. Places are those in the part's text."""
        found: list[Finding] = []
        for number, part in enumerate(parts):  # most parts are known and hold nothing: each must cost next to nothing
            text, provenance = part.text, part.provenance
            if provenance is Provenance.USER:
                if "```" in text or "\n>" in text or '"""' in text or "<" in text or text[:1] == ">":
                    for quote in _QUOTES.finditer(text):
                        found += [_at(finding, number, quote.start(), _QUOTED) for finding in self._in(quote[0])]
            elif text and (provenance is Provenance.TOOL_RESULT or provenance is Provenance.ATTACHMENT):
                known = self._known.get((hash(text), len(text)))
                if known is None:
                    known = self._in(text)
                if known:
                    found += [_at(finding, number, 0, 1.0) for finding in known]
        return tuple(found)

    def _in(self, text: str) -> tuple[Finding, ...]:
        place = hash(text), len(text)
        known = self._known.get(place)
        if known is None:
            known = tuple(self._read(text))
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[place] = known
        return known

    def _read(self, text: str) -> Iterator[Finding]:
        seen, complete = self._signs(text)
        hidden = _hidden(text) if seen and "<" in text else []
        kept: list[tuple[_Seen, float]] = []
        for index, sign in enumerate(seen):
            score = sign.rule.score
            if score > _CONCEPT and _inside(hidden, sign.start):
                score = min(score + _HIDDEN_BONUS, 0.99)
            if score < CERTAIN:
                score = _together(index, score, seen)
            if score >= CERTAIN and not (kept and kept[-1][0].end >= sign.end and kept[-1][0].rule.kind == sign.rule.kind):
                kept.append((sign, score))
        for sign, score in kept[:_MOST_FINDINGS]:
            yield self._finding(sign.rule.kind, sign.rule.id, sign.start, sign.end, score, text[sign.start : sign.end])
        if not complete:  # who wants an order overlooked may bury it under others
            yield Finding(CATEGORY, "too_many_signs", "injection.too_many_signs", 0, 0, len(text), CERTAIN, "****")
        if not text.isascii():
            yield from self._invisible(text)

    def _signs(self, text: str) -> tuple[list[_Seen], bool]:
        """All signs, in the text as it stands and with its disguises off and its codes read, in order, each once; and whether
        everything was looked at."""
        budget = Budget(_MOST_SIGNS)
        data = text.encode("utf-8", "replace")
        plain = len(data) == len(text)
        found = {
            _Seen(one.rule, one.start, one.end)
            for one in self._bank.candidates(self._bank.present(text, data), data, budget, ascii_only=plain)
        }
        replaced = [] if plain else normalise.undisguised(text, data)[0]
        if self._bank.coded in self._bank.present(text, data):
            replaced = replaced + decode.decoded(data, ascii_only=plain)[0]
        view = normalise.view_of(text, replaced) if replaced else None
        if view is not None:
            other = view.text
            read = other.encode("utf-8", "replace")
            for one in self._bank.candidates(self._bank.present(other, read), read, budget, ascii_only=other.isascii()):
                found.add(_Seen(one.rule, *view.origin(one.start, one.end)))
        return sorted(found, key=lambda sign: (sign.start, -sign.end, sign.rule.id)), budget.complete

    def _invisible(self, text: str) -> Iterator[Finding]:
        for match in _INVISIBLE.finditer(text):
            run = match[0]
            if match["tags"] and text[match.start() - 1 : match.start()] == _FLAG:
                continue
            if match["zero"] and _repeats(run):  # what fills the preview line of newsletters
                continue
            score = 0.95 if match["tags"] else 0.7
            kind = "invisible_text"
            digest = self._digest(kind, run)
            yield Finding(CATEGORY, kind, f"injection.{match.lastgroup}", 0, match.start(), match.end(), score, f"**** ({len(run)} invisible characters)", digest)  # fmt: skip

    def _finding(self, kind: str, rule: str, start: int, end: int, score: float, text: str) -> Finding:
        return Finding(CATEGORY, kind, rule, 0, start, end, round(score, 4), _excerpt(text), self._digest(kind, text))

    def _digest(self, kind: str, text: str) -> str:
        return blake2b(f"{kind}\0{text.lower()}".encode("utf-8", "replace"), key=self._key, digest_size=16).hexdigest()


def _at(finding: Finding, part: int, shift: int, share: float) -> Finding:
    start, end, score = finding.start + shift, finding.end + shift, round(finding.score * share, 4)
    return Finding(finding.category, finding.kind, finding.rule, part, start, end, score, finding.masked, finding.digest)


def _together(index: int, score: float, seen: Sequence[_Seen]) -> float:
    """How sure a weak sign is with the strongest of each other kind near it."""
    sign = seen[index]
    strongest: dict[str, float] = {}
    for step in (-1, 1):
        place = index + step
        while 0 <= place < len(seen) and abs(seen[place].start - sign.start) <= _NEAR and abs(place - index) <= _MOST_NEAR:
            other = seen[place]
            apart = other.start >= sign.end or other.end <= sign.start  # the same words are no second sign
            if apart and other.rule.kind != sign.rule.kind:
                strongest[other.rule.kind] = max(strongest.get(other.rule.kind, 0.0), other.rule.score)
            place += step
    missed = 1.0 - score
    for other_score in strongest.values():
        missed *= 1.0 - other_score
    return 1.0 - missed


def _hidden(text: str) -> list[tuple[int, int]]:
    """Where a page holds text that its readers do not see."""
    return [match.span() for match in _HIDDEN.finditer(text)]


def _inside(spans: Sequence[tuple[int, int]], place: int) -> bool:
    """Whether a place lies in one of some spans, which are in order and do not overlap."""
    before = bisect_right(spans, (place, sys.maxsize)) - 1
    return before >= 0 and place < spans[before][1]


def _repeats(run: str) -> bool:
    """Whether some few characters come over and over: filling, in which nothing can be written."""
    return any(run[period:] == run[:-period] for period in range(1, 7))


def _excerpt(text: str) -> str:
    """What can be shown: the words of the sign itself; what stands between them may be anything."""
    shown = _WORD.sub(lambda word: word[0] if word[0].lower() in _KNOWN_WORDS else "****", " ".join(text.split()))
    shown = re.sub(r"[\d_]+", "*", shown)
    return shown if len(shown) <= _LONGEST_EXCERPT else shown[:_LONGEST_EXCERPT] + "…"
