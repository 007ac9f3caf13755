"""Finds the terms of the organisation's dictionaries, of which there may be many thousands, in one pass over a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b

import ahocorasick
import msgspec

from classifiers.sensitivity import decode, normalise
from classifiers.sensitivity.engine import mask
from routing_rules.sensitivity import CustomPattern
from routing_rules.task import Part
from routing_rules.vocabulary import Finding

_MOST_KNOWN = 4_096
_NO_SPACES = "\u2e80"  # from here on most scripts put no spaces between words
_SPACES = dict.fromkeys(map(ord, "\t\n\v\f\r\u00a0\u2007\u202f\u3000"), " ")


class Dictionaries:
    """Looks for terms as whole words, whatever their case. `key`: the secret of the findings' digests. Safe to use from several threads.

    Texts are read as they stand and with disguises off and codes read. What was found in a text is kept by the interpreter's own
    keyed hash of it.
    """

    def __init__(self, patterns: Sequence[CustomPattern], allow_listed: frozenset[str], key: bytes) -> None:
        self._patterns = [pattern for pattern in patterns if pattern.terms]
        self._key = blake2b(key, digest_size=32, person=b"dictionaries").digest()
        allowed = {_lower(value) for value in allow_listed}
        owners: dict[str, list[int]] = {}
        for number, pattern in enumerate(self._patterns):
            for term in {_lower(term) for term in pattern.terms} - allowed:
                owners.setdefault(term, []).append(number)
        self._automaton = ahocorasick.Automaton()
        for term, numbers in owners.items():
            self._automaton.add_word(term, (len(term), numbers))
        self._automaton.make_automaton()
        self._known: dict[tuple[int, int], tuple[Finding, ...]] = {}

    def findings(self, parts: Sequence[Part]) -> tuple[Finding, ...]:
        """The findings in all parts."""
        if not self._patterns:
            return ()
        found: list[Finding] = []
        for number, part in enumerate(parts):
            text = part.text
            if text:
                place = hash(text), len(text)
                known = self._known.get(place)
                if known is None:
                    known = tuple(self._read(text))
                    if len(self._known) >= _MOST_KNOWN:
                        self._known.clear()
                    self._known[place] = known
                if known:
                    found += [msgspec.structs.replace(finding, part=number) for finding in known]
        return tuple(found)

    def _read(self, text: str) -> Iterator[Finding]:
        spans = set(self._spans(text))
        data = text.encode("utf-8", "replace")
        plain = len(data) == len(text)
        replaced = [] if plain else normalise.undisguised(text, data)[0]
        view = normalise.view_of(text, replaced + decode.decoded(data, ascii_only=plain)[0])
        if view is not None:
            spans.update((number, *view.origin(start, end)) for number, start, end in self._spans(view.text))
        last: dict[int, int] = {}
        for number, start, end in sorted(spans, key=lambda span: (span[1], -span[2])):
            if start < last.get(number, 0):  # inside a longer term of the same dictionary
                continue
            last[number] = end
            pattern, value = self._patterns[number], text[start:end]
            masked = mask(value, secret=pattern.category == "credentials")
            digest = blake2b(
                f"{pattern.id}\0{_lower(value)}".encode("utf-8", "replace"), key=self._key, digest_size=16
            ).hexdigest()
            yield Finding(pattern.category, pattern.id, pattern.id, 0, start, end, pattern.score, masked, digest)

    def _spans(self, text: str) -> Iterator[tuple[int, int, int]]:
        """Number of the dictionary, start and end of each term that stands as a whole word."""
        lowered = _lower(text)
        for last, (length, numbers) in self._automaton.iter(lowered):
            start, end = last - length + 1, last + 1
            if not (_continues(lowered, start - 1, start) or _continues(lowered, end, end - 1)):
                for number in numbers:
                    yield number, start, end


def _continues(text: str, outside: int, inside: int) -> bool:
    """Whether the word whose border character is at `inside` goes on at `outside`."""
    if not 0 <= outside < len(text) or not text[inside].isalnum() or text[inside] >= _NO_SPACES:
        return False
    return text[outside].isalnum() or text[outside] == "_"


def _lower(text: str) -> str:
    """The text in lower case, each character still at its place."""
    lowered = text.lower()
    if len(lowered) != len(text):
        lowered = "".join(small if len(small := each.lower()) == 1 else each for each in text)
    return lowered.translate(_SPACES)
