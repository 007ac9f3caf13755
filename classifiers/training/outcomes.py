"""Fits the model of complexity on labelled outcomes (which of two models answered well), with our own asks for ordinary work beside them."""

from __future__ import annotations

import gzip
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse
import sklearn
from sklearn.linear_model import LogisticRegression, Ridge

from classifiers.artefacts import FORMAT, Manifest, Source, save
from classifiers.ask.complexity import COMPLEX_FROM, MODERATE_FROM, TARGETS, band_of, probability
from classifiers.ask.features import Key, excerpt, words
from classifiers.ask.structure import keys
from classifiers.ask.thesaurus import shipped as shipped_thesaurus
from classifiers.evaluation.deferral import Outcomes, apgr
from classifiers.training.corpus import Example, digest, examples
from routing_rules.vocabulary import Complexity

OWNER = "platform@example.org"
NAME = "complexity"
TEMPLATES = "templates"
_OF_A_TEMPLATE = 2

UNKNOWN_WEIGHT = 4.0
"""Squared weight of a word without a row in the norm, as for the other models of asks."""

FOLDS = 5
_NGRAM = 13
_FRAMING = 20
"""A run of thirteen words that more prompts than this share is an instruction around them, not their content."""

_LEAST_TEXTS = 3
_MOST_KEYS = 24_000
_FAILS_PENALTY = 1.0  # scikit-learn's C
_GAIN_PENALTY = 10.0  # scikit-learn's alpha
_ASKS_WEIGHT = {"fast_fails": 4.0, "strong_minus_weak": 1.0}
"""Weight of all our own asks together, in that of all outcomes together."""

_ALL_ALIKE = 3.0
_PAIR = 3.0
"""Value of the column of each pair of models: how able the weaker one is must not count as how hard its prompts are."""

_STEEPNESS = 4.0  # at a score of 0.5 the logistic function of four times x rises as x does

_WORD = re.compile(r"\w+")

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]


class OutcomeRow(msgspec.Struct, frozen=True):
    """One line of a labelled set: how well (in [0, 1]) a weaker and a stronger model answered a prompt."""

    prompt: str
    weak: float
    strong: float
    weak_model: str = ""
    license: str = ""


class OutcomeSet(NamedTuple):
    """One file of labelled outcomes."""

    name: str
    rows: list[OutcomeRow]
    sha256: str


def read(data: Path) -> list[OutcomeSet]:
    """Every set of outcomes in `data` or in its folder `routing`, by name; files of other rows are passed over.

    Raises ValueError, naming file and line, for a line that is no JSON and for an outcome outside [0, 1]; where there is no set
    at all, FileNotFoundError.
    """
    folder = data / "routing" if (data / "routing").is_dir() else data
    sets = []
    for path in sorted({*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")}):
        raw = path.read_bytes()
        lines = (gzip.decompress(raw) if path.suffix == ".gz" else raw).splitlines()
        if not lines or b'"weak"' not in lines[0]:
            continue
        rows = []
        for number, line in enumerate(lines, 1):
            try:
                row = msgspec.json.decode(line, type=OutcomeRow)
            except msgspec.DecodeError as wrong:
                raise ValueError(f"{path.name}, line {number}: {wrong}") from None
            if not (0.0 <= row.weak <= 1.0 and 0.0 <= row.strong <= 1.0):
                raise ValueError(f"{path.name}, line {number}: `weak` and `strong` lie in [0, 1]")
            rows.append(row)
        sets.append(OutcomeSet(path.name.partition(".")[0], rows, hashlib.sha256(raw).hexdigest()))
    if not sets:
        raise FileNotFoundError(f"no file of labelled outcomes (`prompt`, `weak`, `strong`) in {folder}")
    return sets


def families(prompts: Sequence[str]) -> Index:
    """A number for each prompt: those that share a run of thirteen words, directly or through others, have the same one."""
    runs = []
    shared = Counter[int]()
    for prompt in prompts:
        found = _WORD.findall(prompt.lower())
        of_prompt = {hash(tuple(found[start : start + _NGRAM])) for start in range(max(len(found) - _NGRAM + 1, 1))}
        runs.append(of_prompt)
        shared.update(of_prompt)
    parent = list(range(len(prompts)))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    first: dict[int, int] = {}
    for one, of_prompt in enumerate(runs):
        for run in of_prompt:
            if shared[run] <= _FRAMING:
                # The least number stands for the family, so that it does not depend on the order of a set.
                low, high = sorted((root(one), root(first.setdefault(run, one))))
                parent[high] = low
    return np.array([root(one) for one in range(len(prompts))], dtype=np.intp)


def folds_of(family: Index, seed: int = 0) -> Index:
    """A fold for each row, the same for a whole family."""
    names, place = np.unique(family, return_inverse=True)
    return np.asarray(np.random.default_rng(seed).permutation(len(names))[place] % FOLDS, dtype=np.intp)


class Texts:
    """Which keys each of some texts has; from these, weighted rows for any choice of texts to learn from."""

    def __init__(self, texts: Iterable[str]) -> None:
        thesaurus = shipped_thesaurus()
        places: dict[Key, int] = {}
        number = count()
        columns: list[int] = []
        starts = [0]
        single: set[int] = set()
        for text in texts:
            short = excerpt(text)
            distinct, others = keys(thesaurus, short, words(short), len(text))
            # In a fixed order, so that the same texts give the same columns whatever the hash seed.
            ordered = [*sorted(distinct), *sorted(others, key=_in_order)]
            for key in ordered:
                if key not in places:
                    places[key] = next(number)
            columns += [places[key] for key in ordered]
            single.update(places[key] for key in distinct)
            starts.append(len(columns))
        self.keys = list(places)
        ones = np.ones(len(columns), dtype=np.float64)
        self._has = sparse.csr_matrix((ones, columns, starts), shape=(len(starts) - 1, len(places)))
        self._is_word = np.zeros(len(places), dtype=bool)
        self._is_word[list(single)] = True

    def frequencies(self) -> Array:
        """How many of the texts have each of `keys`."""
        return np.asarray(self._has.sum(axis=0), dtype=np.float64).ravel()

    def choose(self, learnt: Index, least: int = _LEAST_TEXTS) -> tuple[Index, Array]:
        """The keys that at least so many of the texts learnt from have, the most frequent first, and their scale."""
        found = np.asarray(self._has[learnt].sum(axis=0)).ravel()
        kept = np.flatnonzero(found >= least)
        kept = kept[np.argsort(-found[kept], kind="stable")][:_MOST_KEYS]
        return kept, np.log(len(learnt) / found[kept]) + 1.0

    def rows(self, which: Index, kept: Index, scale: Array) -> sparse.csr_matrix:
        """One row of length 1 a text, counting also words that are not kept: what `Matrix.logits` does when serving.

        Places in `kept` from the number of `keys` on stand for keys that no text has.
        """
        has = self._has[which]
        inside = kept < len(self.keys)
        chosen = sparse.csr_matrix(
            (np.ones(int(inside.sum())), (kept[inside], np.flatnonzero(inside))), shape=(len(self.keys), len(kept))
        )
        weighted = (has @ chosen).multiply(scale).tocsr()
        unknown = self._is_word.copy()
        unknown[kept[inside]] = False
        square = np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel() + UNKNOWN_WEIGHT * (has @ unknown.astype(np.float64))
        return (sparse.diags(1.0 / np.sqrt(np.maximum(square, 1e-12))) @ weighted).tocsr()


class Lessons(NamedTuple):
    """Outcomes to learn from, and our own asks with the score of their band. `pair` and `set` are numbers, a row each."""

    weak: Array
    strong: Array
    pair: Index
    set: Index
    asks: Array


def fit(rows: sparse.csr_matrix, lessons: Lessons, target: str) -> tuple[Array, float]:
    """Weights and bias of one target, on the logit of the score. `rows` are the outcomes' and after them the asks'."""
    outcomes, asks = len(lessons.weak), len(lessons.asks)
    sizes = Counter(lessons.set.tolist())
    even = np.array([sizes[one] ** -0.5 for one in lessons.set.tolist()])
    even /= even.mean()
    own = np.full(asks, _ASKS_WEIGHT[target] * outcomes / max(asks, 1))
    pairs = sparse.csr_matrix(
        (np.full(outcomes, _PAIR), (np.arange(outcomes), lessons.pair)), shape=(outcomes + asks, int(lessons.pair.max()) + 1)
    )
    both = sparse.hstack([rows, pairs]).tocsr()
    wanted = np.concatenate([1.0 - lessons.weak, lessons.asks])
    if target == "fast_fails":
        return _soft(both, wanted, np.concatenate([even, own]), rows.shape[1])
    wanted[:outcomes] = _GAIN_AT_NONE + _GAIN_SPAN * (lessons.strong - lessons.weak)
    ridge = Ridge(_GAIN_PENALTY).fit(both, wanted, sample_weight=np.concatenate([even, own]))
    return _STEEPNESS * ridge.coef_[: rows.shape[1]], _STEEPNESS * (float(ridge.intercept_) - 0.5)


_GAIN_AT_NONE = 0.15
_GAIN_SPAN = 0.7
"""No gain reads as a simple ask of ours, a whole one as a complex ask."""


def _soft(rows: sparse.csr_matrix, wanted: Array, weights: Array, width: int) -> tuple[Array, float]:
    """Logistic regression on shares instead of classes: each row stands once for each class that it is partly of."""
    yes, no = np.flatnonzero(wanted > 0.0), np.flatnonzero(wanted < 1.0)
    if not len(yes) or not len(no):  # nothing to tell apart: the same score for all
        return np.zeros(width), _ALL_ALIKE if len(yes) else -_ALL_ALIKE
    model = LogisticRegression(C=_FAILS_PENALTY, solver="lbfgs", max_iter=300, tol=1e-3)
    model.fit(
        sparse.vstack([rows[yes], rows[no]]).tocsr(),
        np.repeat([1, 0], [len(yes), len(no)]),
        sample_weight=np.concatenate([(wanted * weights)[yes], ((1.0 - wanted) * weights)[no]]),
    )
    return np.asarray(model.coef_[0][:width], dtype=np.float64), float(model.intercept_[0])


class Collection:
    """Labelled sets and our own asks, ready to be learnt from in parts."""

    def __init__(self, sets: Sequence[OutcomeSet], asks: Sequence[Example] = ()) -> None:
        rows = [row for one in sets for row in one.rows]
        pairs = {name: place for place, name in enumerate(sorted({row.weak_model for row in rows}))}
        self.prompts = [row.prompt for row in rows]
        self.names = [one.name for one in sets]
        self.pairs = list(pairs)
        self.weak = np.array([row.weak for row in rows])
        self.strong = np.array([row.strong for row in rows])
        self.pair = np.array([pairs[row.weak_model] for row in rows], dtype=np.intp)
        self.set = np.repeat(np.arange(len(sets)), [len(one.rows) for one in sets])
        self.family = families(self.prompts)
        self.asks = np.array([ask.complexity for ask in asks], dtype=np.float64)
        self.texts = Texts([*self.prompts, *(ask.text for ask in asks)])

    def of(self, *names: str) -> Index:
        """The rows of some sets."""
        return np.flatnonzero(np.isin(self.set, [place for place, name in enumerate(self.names) if name in names]))

    def outcomes(self, which: Index) -> Outcomes:
        """How well both models did on some rows."""
        return Outcomes(self.weak[which], self.strong[which])

    def learn(
        self, which: Index, asks: Index, targets: Sequence[str] = TARGETS
    ) -> tuple[Index, Array, dict[str, tuple[Array, float]]]:
        """Keys and scale chosen on, and weights and bias of each target fitted on, some outcomes and some of the asks."""
        chosen = np.concatenate([which, len(self.weak) + asks])
        kept, scale = self.texts.choose(chosen)
        rows = self.texts.rows(chosen, kept, scale)
        lessons = Lessons(self.weak[which], self.strong[which], self.pair[which], self.set[which], self.asks[asks])
        return kept, scale, {target: fit(rows, lessons, target) for target in targets}

    def scores(self, which: Index, learnt: tuple[Index, Array, dict[str, tuple[Array, float]]]) -> dict[str, Array]:
        """The logit of each target for some rows (outcomes first, the asks after them)."""
        kept, scale, models = learnt
        rows = self.texts.rows(which, kept, scale)
        return {target: np.asarray(rows @ weights + bias) for target, (weights, bias) in models.items()}

    def crossed(self, which: Index, asks: Index, targets: Sequence[str] = TARGETS, seed: int = 0) -> dict[str, Array]:
        """The logit of each target for some outcomes, each by a model that has learnt from the other families only."""
        fold = folds_of(self.family[which], seed)
        scores = {target: np.zeros(len(which)) for target in targets}
        for one in range(FOLDS):
            learnt = self.learn(which[fold != one], asks, targets)
            for target, found in self.scores(which[fold == one], learnt).items():
                scores[target][fold == one] = found
        return scores


def train(out: Path, data: Path, seed: int = 7, fitted_on: date | None = None, licence: str = "not stated") -> Manifest:
    """Fits both targets on all outcomes of `data` and on the asks of the corpus, and writes `complexity.npz` and `.toml` to `out`.

    `licence` is written of sets whose rows do not name one. Raises as `read` does.
    """
    sets = read(data)
    known, blind = asks_of_corpus(seed)
    collection = Collection(sets, [*known, *blind])
    every, asks = np.arange(len(collection.weak)), np.arange(len(known))
    kept, scale, models = collection.learn(every, asks)
    scale = scale.astype(np.float32).astype(np.float64)
    weights = np.stack([models[target][0] for target in TARGETS], axis=1).astype(np.float16)
    bias = np.array([models[target][1] for target in TARGETS], dtype=np.float32)
    rounded = {target: (weights[:, place].astype(np.float64), float(bias[place])) for place, target in enumerate(TARGETS)}
    unseen = np.arange(len(blind)) + len(every) + len(known)
    metrics: dict[str, float] = {}
    for target, logits in collection.scores(unseen, (kept, scale, rounded)).items():
        metrics |= {f"{target}.{name}": value for name, value in _on_asks(logits, blind).items()}
    for target, logits in collection.crossed(every, asks).items():
        for place, one in enumerate(collection.names):
            of_set = np.flatnonzero(collection.set == place)
            metrics[f"{target}.apgr.{one}"] = apgr(logits[of_set], collection.outcomes(of_set))
        for place, one in enumerate(collection.pairs):
            of_pair = np.flatnonzero(collection.pair == place)
            if len(np.unique(collection.set[of_pair])) > 1:
                metrics[f"{target}.apgr.all of {one}"] = apgr(logits[of_pair], collection.outcomes(of_pair))
    manifest = Manifest(
        format=FORMAT,
        name=NAME,
        owner=OWNER,
        fitted_on=fitted_on.isoformat() if fitted_on else "",
        seed=seed,
        sklearn=sklearn.__version__,
        numpy=np.__version__,
        corpus=digest(),
        sha256="",
        examples=len(every) + len(known),
        blind_examples=len(blind),
        unknown_weight=UNKNOWN_WEIGHT,
        heads={target: [target] for target in TARGETS},
        thresholds={"moderate": MODERATE_FROM, "complex": COMPLEX_FROM},
        metrics={name: round(value, 4) for name, value in metrics.items()},
        sources={one.name: Source(_licence(one, licence), one.sha256, len(one.rows)) for one in sets},
    )
    vocabulary = [collection.texts.keys[place] for place in kept]
    return save(out, manifest, vocabulary, weights, scale.astype(np.float32), bias)


def asks_of_corpus(seed: int) -> tuple[list[Example], list[Example]]:
    """Asks of the corpus with a known complexity, to learn from and blind; of what one template makes, a few, and none blind."""
    made = Counter[str]()
    known: list[Example] = []
    blind: list[Example] = []
    for example in examples(seed):
        if example.complexity is None:
            continue
        if example.batch != TEMPLATES:
            (blind if example.blind else known).append(example)
        elif not example.blind and made[example.group] < _OF_A_TEMPLATE:
            made[example.group] += 1
            known.append(example)
    return known, blind


def _on_asks(logits: Array, asks: Sequence[Example]) -> dict[str, float]:
    """Share of asks in the right band, and how far the score is off, on the blind part of the corpus."""
    scores = [probability(float(logit)) for logit in logits]
    wanted = [ask.complexity or 0.0 for ask in asks]
    bands: list[tuple[Complexity, Complexity]] = [(band_of(s), band_of(w)) for s, w in zip(scores, wanted, strict=True)]
    return {
        "band_accuracy": sum(found is right for found, right in bands) / max(len(asks), 1),
        "mean_error": sum(math.fabs(s - w) for s, w in zip(scores, wanted, strict=True)) / max(len(asks), 1),
    }


def _licence(one: OutcomeSet, default: str) -> str:
    return ", ".join(sorted({row.license or default for row in one.rows}))


def _in_order(key: Any) -> str:
    return key if isinstance(key, str) else "\t".join(key)
