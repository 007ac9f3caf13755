"""How hard the current ask is: what is counted of it, a score in [0, 1], its band, and when a session keeps the band it had (pure)."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise, repeat

from classifiers.artefacts import Fitted, ManifestInvalid, from_text, shipped_complexity
from classifiers.ask.features import Key, Rows, excerpt, words
from classifiers.ask.thesaurus import Thesaurus
from classifiers.ask.thesaurus import shipped as shipped_thesaurus
from routing_rules.sensitivity import COMPLEXITY_TARGETS, ComplexityPolicy
from routing_rules.vocabulary import Complexity

MODERATE_FROM = 0.35
COMPLEX_FROM = 0.65
MARGIN = 0.1
"""How far beyond the border of its band a score must be before a session changes its band: rewording an ask moves most less."""

_BORDERS = {
    Complexity.SIMPLE: (0.0, MODERATE_FROM),
    Complexity.MODERATE: (MODERATE_FROM, COMPLEX_FROM),
    Complexity.COMPLEX: (COMPLEX_FROM, 1.0),
}

TARGETS = COMPLEXITY_TARGETS

CALIBRATED = "calibrated"
"""The target of a model that was calibrated on an organisation's own outcomes."""

_SURE_AT = 0.15
"""Distance from the nearest threshold from which on the band is taken as sure: small changes of wording move less."""

_CONDITIONS = frozenset(
    "each every then after before if unless until twice half thrice remaining total per more less least most exactly only such given"
    " respectively suppose assume let where when while without must exceed greater fewer average rate times both neither either"
    " jeder jede jedes dann nachdem bevor wenn falls sofern doppelt mindestens höchstens genau pro gesamt ohne muss"
    " chaque puis après avant si moins plus exactement par total sans doit cada luego después antes menos más exactamente sin debe"
    " ogni poi dopo prima se meno più esattamente senza deve".split()
)
"""Words that count steps or set conditions: a problem is as hard as what must be held together to solve it."""

_FIRST_CONCEPTS = 4
_OPTION_LETTERS = frozenset("ABCDEFGHIJ")
_OPTION_SIGNS = frozenset(".):")
_CODE = ("def ", "return ", "import ", "print(", "class ", "for ", "```", "SELECT ")
_OPERATORS = "=+*/^<>"


def _thermometer(name: str, *edges: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Edges and one key an edge; a count switches on the keys of all edges below it. No word begins with `#` and goes on."""
    return edges, tuple(f"#{name}>{edge}" for edge in edges)


_COUNTS = (
    _thermometer("characters", 20, 40, 60, 90, 130, 200, 300, 450, 700, 1_000, 1_500, 2_500, 4_000, 8_000),
    _thermometer("words", 5, 10, 20, 30, 45, 60, 80, 100, 130, 170, 220, 300),
    _thermometer("opening", 30, 60, 100, 160, 250, 400, 700, 1_200),
    _thermometer("lines", 0, 1, 3, 7, 15, 30),
    _thermometer("indented", 0, 2, 7, 20),
    _thermometer("sentences", 0, 1, 2, 4, 8, 16),
    _thermometer("questions", 0, 1, 3),
    _thermometer("numbers", 0, 1, 2, 3, 4, 6, 8, 12, 20),
    _thermometer("conditions", 0, 1, 2, 3, 4, 6, 8, 12),
    _thermometer("options", 0, 2, 3, 4, 5, 7, 9),
    _thermometer("commands", 0, 2, 5, 10, 20),
    _thermometer("formulas", 0, 1, 3, 7, 15),
    _thermometer("code", 0, 1, 3, 6),
    _thermometer("operators", 0, 1, 3, 6, 10, 20),
    _thermometer("word_length", 30, 35, 40, 45, 50, 55, 60),  # tenths of a letter, on average
)


def counts(text: str, found: Sequence[str], length: int | None = None) -> list[str]:
    """Keys for how long a text is and how it is built: steps, conditions, numbers, formulas, choices, code.

    `found` are its words as `features.words` gives them, `length` its characters where `text` is an excerpt.
    """
    lines = text.split("\n")
    several = len(lines) > 1
    counted = (
        len(text) if length is None else length,
        len(found),
        len(lines[0]),
        len(lines) - 1,
        text.count("\n  ") + text.count("\n\t") if several else 0,
        text.count(". "),
        text.count("?"),
        sum(map(str.isdigit, found)),
        sum(map(_CONDITIONS.__contains__, found)),
        sum(map(_is_option, lines)) if several else 0,
        text.count("\\"),
        text.count("$"),
        sum(map(text.count, _CODE)),
        sum(map(text.count, _OPERATORS)),
        10 * (len(text) - text.count(" ")) // max(len(found), 1),
    )
    keys: list[str] = []
    for (edges, names), count in zip(_COUNTS, counted, strict=True):
        keys += names[: bisect_right(edges, count - 1)]
    return keys


def _is_option(line: str) -> bool:
    """Whether a line is a choice to tick: `A. …`, `B) …`, `(C) …`."""
    if line[:1] == "(":
        line = line[1:]
    return line[:1] in _OPTION_LETTERS and line[1:2] in _OPTION_SIGNS


def keys(thesaurus: Thesaurus, text: str, found: Sequence[str], length: int | None = None) -> tuple[set[str], set[Key]]:
    """The distinct words of a text, and all other keys that the model of complexity may weigh."""
    concepts = thesaurus.sequence(found)
    others: set[Key] = set(pairwise(found))
    others.update(concepts)
    others.update(pairwise(concepts))
    others.update(zip(repeat("^~"), concepts[:_FIRST_CONCEPTS], strict=False))
    others.update(counts(text, found, length))
    return set(found), others


def rows(
    row_of: Callable[[Key, int], int], text: str, found: Sequence[str], concepts: Sequence[str], length: int | None = None
) -> Rows:
    """What `keys` finds, as row numbers of a weight matrix, and how many distinct words have no row (which is row 0)."""
    distinct = set(found)
    none = repeat(0)
    known = set(map(row_of, distinct, none))
    unknown = len(distinct) - len(known - {0})
    known.update(map(row_of, pairwise(found), none))
    known.update(map(row_of, concepts, none))
    known.update(map(row_of, pairwise(concepts), none))
    known.update(map(row_of, zip(repeat("^~"), concepts[:_FIRST_CONCEPTS], strict=False), none))
    known.update(map(row_of, counts(text, found, length), none))
    known.discard(0)
    return known, unknown


class ComplexityModel:
    """One target of a fitted model of complexity, ready to score. Raises ArtefactError where the model does not hold the target."""

    def __init__(self, fitted: Fitted, target: str = TARGETS[0]) -> None:
        if target not in fitted.manifest.heads:
            raise ManifestInvalid(f"fitted model `{fitted.manifest.name}` has no target `{target}`")
        self.version = fitted.manifest.version
        self._row_of = fitted.row_of
        # Its weights cannot be fitted anew wherever a word is added to the thesaurus, and lose little by one: it is not pinned.
        self._thesaurus = shipped_thesaurus()
        self._matrix = fitted.matrix(target)

    def logit(
        self, text: str, found: Sequence[str], length: int | None = None, concepts: Sequence[str] | None = None
    ) -> tuple[float, float]:
        """The logit of the score, and the share of the words that the model knows.

        `found` are the words of `text`, as `features.words` gives them, and `concepts` what the thesaurus makes of them, where
        that is known already; `length` is in characters, where `text` is an excerpt.
        """
        meant = self._thesaurus.sequence(found) if concepts is None else concepts
        known = rows(self._row_of, text, found, meant, length)
        return self._matrix.logits(known)[0], len(known[0]) / (len(known[0]) + 2 * known[1] + 1)

    def score(self, text: str) -> float:
        """The score of a whole text, in [0, 1]."""
        short = excerpt(text)
        return probability(self.logit(short, words(short), len(text))[0])


def model_of(policy: ComplexityPolicy) -> ComplexityModel:
    """The model that a rule set names. Raises ArtefactError where it cannot be used."""
    if not policy.model:
        return ComplexityModel(shipped_complexity(), policy.target)
    fitted = from_text(policy.text)
    if fitted.manifest.version != policy.model:
        raise ManifestInvalid("the model of complexity is not the one that the rules name")
    return ComplexityModel(fitted, CALIBRATED)


def complexity(logit: float) -> tuple[float, Complexity, float]:
    """Score, band, and how sure the band is (0 on a threshold, 1 well inside)."""
    score = probability(logit)
    distance = min(abs(score - MODERATE_FROM), abs(score - COMPLEX_FROM))
    return score, band_of(score), min(distance / _SURE_AT, 1.0)


def band_of(score: float) -> Complexity:
    """The band of a score in [0, 1]."""
    if score >= COMPLEX_FROM:
        return Complexity.COMPLEX
    return Complexity.MODERATE if score >= MODERATE_FROM else Complexity.SIMPLE


def held(score: float, last: Complexity | None, margin: float = MARGIN) -> Complexity:
    """The band of a score in a session whose last ask had the band `last`: kept while the score is within `margin` of its borders."""
    if last is None:
        return band_of(score)
    low, high = _BORDERS[last]
    return last if low - margin <= score < high + margin else band_of(score)


def probability(logit: float) -> float:
    """The logistic function, for any finite argument."""
    if logit < -700.0:  # exp would overflow
        return 0.0
    return 1.0 / (1.0 + math.exp(-logit))
