"""Which words mean the same, in many languages: what is learned of one wording then holds for the others (pure)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

FILES = sorted(Path(__file__).parent.glob("thesaurus_*.txt"))

_ANY_END = "*"
_SHORTEST_STEM = 3
_JOIN = "_"
_WITHOUT_BLANKS = "\u2e80"  # as in features: from here on each character came as a word of its own
_LONGEST_RUN = 5  # characters of such scripts that are looked up together
_MOST_REMEMBERED = 60_000


class Thesaurus:
    """Concepts by word. Read from lines `concept: word stem* two_words …`; a line that begins with a blank goes on the line before.

    A stem with `*` stands for every word that begins so, the longest stem first; words that are joined by `_` are
    neighbours. In each of the texts the whole word goes before its stems; what several texts say of a word is joined.
    Raises ValueError, naming the line, for a line without a concept and for a stem of fewer than three letters.
    """

    def __init__(self, *texts: str) -> None:
        self.digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
        self._lists = [_List(text) for text in texts]
        self._runs: dict[str, tuple[str, ...]] = {}
        self._after: dict[str, dict[str, tuple[str, ...]]] = {}
        for each in self._lists:
            for word in each.exact:
                if _JOIN in word:
                    first, _, second = word.partition(_JOIN)
                    self._after.setdefault(first, {})[second] = self._exactly(word)
                elif word >= _WITHOUT_BLANKS:
                    self._runs[word] = self._exactly(word)
        self._remembered: dict[str, tuple[tuple[str, ...], dict[str, tuple[str, ...]] | None]] = {}

    def of(self, word: str) -> tuple[str, ...]:
        """The concepts of one word in lower case, each as `~name`; empty where it has none."""
        return self._met(word)[0]

    def sequence(self, words: Sequence[str]) -> list[str]:
        """The concepts of words (as `features.words` gives them), in their order."""
        found: list[str] = []
        remembered = self._remembered
        last = len(words) - 1
        free = 0  # the first place that nothing before it has taken
        for place, word in enumerate(words):
            if place < free:
                continue
            known = remembered.get(word)
            if known is None:
                if word >= _WITHOUT_BLANKS and len(word) == 1:
                    free = place + 1 + self._run(words, place, found)
                    continue
                known = self._met(word)
            concepts, after = known
            if after is not None and place < last:
                joined = after.get(words[place + 1])
                if joined is not None:
                    found += joined
                    free = place + 2
                    continue
            if concepts:
                found += concepts
        return found

    def _met(self, word: str) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]] | None]:
        """What a word means by itself, and what with each word that may follow."""
        met = self._remembered.get(word)
        if met is None:
            meant = dict.fromkeys(concept for each in self._lists for concept in each.of(word))
            met = tuple(meant), self._after.get(word)
            if len(word) > 1 or word < _WITHOUT_BLANKS:
                if len(self._remembered) >= _MOST_REMEMBERED:
                    self._remembered.clear()
                self._remembered[word] = met
        return met

    def _exactly(self, word: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(concept for each in self._lists for concept in each.exact.get(word, ())))

    def _run(self, words: Sequence[str], place: int, found: list[str]) -> int:
        """Looks up characters that were parted for want of blanks, the longest run first; how many further ones it took."""
        run = "".join(word for word in words[place : place + _LONGEST_RUN] if len(word) == 1 and word >= _WITHOUT_BLANKS)
        for length in range(len(run), 0, -1):
            known = self._runs.get(run[:length])
            if known is not None:
                found += known
                return length - 1
        return 0


class _List:
    """The words and stems of one text."""

    def __init__(self, text: str) -> None:
        self.exact: dict[str, tuple[str, ...]] = {}
        self._stems: dict[str, tuple[str, ...]] = {}
        meant: tuple[str, ...] = ()
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            if not line[0].isspace():
                concept, colon, line = line.partition(":")
                if not colon or not concept.isidentifier():
                    raise ValueError(f"thesaurus, line {number}: expected `concept: word word …`")
                meant = (f"~{concept}",)
            for word in line.lower().split():
                if word[-1] != _ANY_END:
                    known = self.exact.get(word)
                    self.exact[word] = meant if known is None else known + meant
                    continue
                stem = word[:-1]
                if len(stem) < _SHORTEST_STEM and stem[-1:] < _WITHOUT_BLANKS:
                    raise ValueError(f"thesaurus, line {number}: the stem `{word}` is too short to tell words apart")
                self._stems[stem] = self._stems.get(stem, ()) + meant
        self._longest = max(map(len, self._stems), default=0)

    def of(self, word: str) -> tuple[str, ...]:
        found = self.exact.get(word)
        if found is not None:
            return found  # with what is said twice twice: who joins what several texts say takes each once
        for length in range(min(len(word), self._longest), _SHORTEST_STEM - 1, -1):
            if word[:length] in self._stems:
                return self._stems[word[:length]]
        return ()


@lru_cache(maxsize=1)
def shipped() -> Thesaurus:
    """The thesaurus in the package, read once a process."""
    return Thesaurus(*(path.read_text(encoding="utf-8") for path in FILES))
