"""Fits all heads on the corpus and writes arrays and manifest; the same bytes for the same seed and versions."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse
import sklearn
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from classifiers.artefacts import FORMAT, Manifest, save
from classifiers.ask.complexity import COMPLEX_FROM, MODERATE_FROM
from classifiers.ask.features import Key, excerpt, keys
from classifiers.ask.intent import OBJECTS
from classifiers.ask.thesaurus import shipped as shipped_thesaurus
from classifiers.sensitivity.topics import SHORT_CHARACTERS, TOPICS
from classifiers.training.corpus import Example, digest, examples
from classifiers.training.evaluate import measure
from routing_rules.vocabulary import Capability, TaskKind

OWNER = "platform@example.org"
UNKNOWN_WEIGHT = 4.0
"""Squared weight of a word without a row in the norm: a text of mostly unknown words is scored close to the bias."""

_LEAST_TEXTS = 3
_LEAST_GROUPS_OF_A_PAIR = 2
_MOST_KEYS = 16_000
_TASK_PENALTY = 12.0  # scikit-learn's C: larger follows the corpus more closely
_COMPLEXITY_PENALTY = 4.0
_LABEL_PENALTY = 20.0
_TOPIC_PENALTY = 20.0
_LONG_FROM = 350  # characters: both topic models learn from texts between this and SHORT_CHARACTERS
_FOLDS = 4
_TOPIC_FALSE_ALARMS = 0.005  # share of texts without the topic that may be taken for it, in cross-validation
_TOPIC_MARGINS = {"topics_short": 0.0, "topics_long": 0.75}
"""Added to what cross-validation gives (in log-odds): documents of the world differ more from ours than ours among each other."""

_LABEL_THRESHOLD = 0.5

Array = npt.NDArray[np.float64]


class KeyVectorizer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Rows of inverse document frequencies at the keys of each text, of length 1 counting also words without a column."""

    def __init__(self, unknown_weight: float = UNKNOWN_WEIGHT) -> None:
        self.unknown_weight = unknown_weight

    def fit(self, texts: Sequence[str], groups: Sequence[str]) -> KeyVectorizer:
        """Chooses the keys: frequent enough, pairs of words only if different templates hold them."""
        found = Counter[Key]()
        in_groups: defaultdict[Key, set[str]] = defaultdict(set)
        for text, group in zip(texts, groups, strict=True):
            distinct, others = keys(shipped_thesaurus(), excerpt(text), len(text))
            for key in (*distinct, *others):
                found[key] += 1
                if len(in_groups[key]) < _LEAST_GROUPS_OF_A_PAIR:
                    in_groups[key].add(group)
        kept = [
            key
            for key, count in found.items()
            if count >= _LEAST_TEXTS and (isinstance(key, str) or len(in_groups[key]) >= _LEAST_GROUPS_OF_A_PAIR)
        ]
        kept.sort(key=lambda key: (-found[key], key if isinstance(key, str) else "\t".join(key)))
        self.vocabulary_ = kept[:_MOST_KEYS]
        self.idf_ = np.array([math.log(len(texts) / found[key]) + 1.0 for key in self.vocabulary_], dtype=np.float32)
        self._column = {key: column for column, key in enumerate(self.vocabulary_)}
        return self

    def transform(self, texts: Iterable[str]) -> sparse.csr_matrix:
        """One row a text; what `Matrix.logits` does at serving time, written for clarity instead of speed."""
        data: list[float] = []
        columns: list[int] = []
        starts = [0]
        for text in texts:
            distinct, others = keys(shipped_thesaurus(), excerpt(text), len(text))
            known = sorted(column for key in (*distinct, *others) if (column := self._column.get(key)) is not None)
            unknown = sum(word not in self._column for word in distinct)
            weights = self.idf_[known].astype(np.float64)
            norm = math.sqrt(float((weights**2).sum()) + unknown * self.unknown_weight) or 1.0
            data += (weights / norm).tolist()
            columns += known
            starts.append(len(columns))
        return sparse.csr_matrix((data, columns, starts), shape=(len(starts) - 1, len(self.vocabulary_)))


def train(out_dir: Path, seed: int = 7, fitted_on: date | None = None, share: float = 1.0) -> Manifest:
    """Fits, measures on the blind tenth, and writes `ask.npz` and `ask.toml` to `out_dir`.

    `fitted_on` is the date for the manifest (None: no date, so that two runs on different days give the same bytes);
    `share` in (0, 1] thins the corpus out, for quick checks.
    """
    known = [example for example in examples(seed, share) if not example.blind]
    blind = [example for example in examples(seed, share) if example.blind]
    vectorizer, fitted = fit(known)
    weights = np.concatenate([_coefficients(model) for models in fitted.values() for model in models.values()])
    bias = np.concatenate([_intercepts(model) for models in fitted.values() for model in models.values()])
    manifest = Manifest(
        format=FORMAT,
        name="ask",
        owner=OWNER,
        fitted_on=fitted_on.isoformat() if fitted_on else "",
        seed=seed,
        sklearn=sklearn.__version__,
        numpy=np.__version__,
        corpus=digest(),
        sha256="",
        examples=len(known),
        blind_examples=len(blind),
        unknown_weight=UNKNOWN_WEIGHT,
        heads={
            head: [str(name) for model in models.values() for name in model.classes_] if head == "task" else list(models)
            for head, models in fitted.items()
        },
        thresholds={
            "complexity.moderate": MODERATE_FROM,
            "complexity.complex": COMPLEX_FROM,
            "intent": _LABEL_THRESHOLD,
            "topics": _LABEL_THRESHOLD,
        },
        metrics={},
        thesaurus=shipped_thesaurus().digest,
    )
    arrays = weights.T.astype(np.float16), vectorizer.idf_, bias.astype(np.float32)
    saved = save(out_dir, manifest, vectorizer.vocabulary_, *arrays)
    return save(out_dir, _with_metrics(saved, measure(out_dir, blind)), vectorizer.vocabulary_, *arrays)


def fit(known: list[Example]) -> tuple[KeyVectorizer, dict[str, dict[str, LogisticRegression]]]:
    """The fitted vectorizer, and by head and class the fitted models, with weights rounded as they are stored."""
    vectorizer = KeyVectorizer().fit([e.text for e in known], [e.group for e in known])
    rows = vectorizer.transform(e.text for e in known)
    asks = np.array([i for i, e in enumerate(known) if e.task is not None])
    spoken_of = [known[i] for i in asks]
    even = _evenly([e.group for e in spoken_of])

    task = _logistic(_TASK_PENALTY).fit(rows[asks], [e.task for e in spoken_of], sample_weight=even)
    unseen = {kind.value for kind in TaskKind} - set(task.classes_)
    if unseen:
        raise ValueError(f"the corpus has no example of {', '.join(sorted(unseen))}")
    hard = np.array([e.complexity or 0.0 for e in spoken_of])
    complexity = _logistic(_COMPLEXITY_PENALTY).fit(
        sparse.vstack([rows[asks], rows[asks]]),
        np.repeat([1, 0], len(asks)),
        sample_weight=np.concatenate([hard * even, (1.0 - hard) * even]),
    )
    fitted: dict[str, dict[str, LogisticRegression]] = {"task": {"task": task}, "complexity": {"complexity": complexity}}
    fitted["intent"] = {
        name: _binary(rows[asks], [name in (e.capabilities or ()) for e in spoken_of], even, _LABEL_PENALTY)
        for name in Capability
    }
    fitted["objects"] = {
        name: _binary(rows[asks], [name in (e.objects or ()) for e in spoken_of], even, _LABEL_PENALTY) for name in OBJECTS
    }
    fitted["delegates"] = {
        "delegates": _binary(rows[asks], [bool(e.delegates) for e in spoken_of], even, _LABEL_PENALTY),
    }
    for head, chosen in (
        ("topics_short", [i for i, e in enumerate(known) if e.topics is not None and len(e.text) <= SHORT_CHARACTERS]),
        ("topics_long", [i for i, e in enumerate(known) if e.topics is not None and len(e.text) >= _LONG_FROM]),
    ):
        about = [known[i] for i in chosen]
        fitted[head] = {topic: _topic(rows[chosen], about, topic, _TOPIC_MARGINS[head]) for topic in TOPICS}
    for models in fitted.values():
        for model in models.values():
            model.coef_ = model.coef_.astype(np.float16).astype(np.float64)
            model.intercept_ = model.intercept_.astype(np.float32).astype(np.float64)
    return vectorizer, fitted


def pipelines(known: list[Example]) -> dict[str, dict[str, Pipeline]]:
    """The fitted models as scikit-learn pipelines from text to probability: what the served form must equal."""
    vectorizer, fitted = fit(known)
    return {
        head: {name: Pipeline([("keys", vectorizer), ("model", model)]) for name, model in models.items()}
        for head, models in fitted.items()
    }


def _logistic(penalty: float) -> LogisticRegression:
    return LogisticRegression(C=penalty, solver="lbfgs", max_iter=400, tol=1e-4)


def _binary(rows: sparse.csr_matrix, labels: list[bool], weights: Array, penalty: float) -> LogisticRegression:
    if not any(labels):  # nothing to learn from: never
        model = _logistic(penalty)
        model.classes_, model.coef_, model.intercept_ = np.array([0, 1]), np.zeros((1, rows.shape[1])), np.array([-20.0])
        return model
    return _logistic(penalty).fit(rows, np.array(labels, dtype=int), sample_weight=weights)


def _topic(rows: sparse.csr_matrix, about: list[Example], topic: str, margin: float) -> LogisticRegression:
    """A model whose probability is 0.5 where cross-validation gives the false alarms that we accept."""
    labels = [topic in (e.topics or ()) for e in about]
    weights = _evenly([e.group for e in about])
    names = sorted({e.group for e in about})
    fold_of = {name: fold % _FOLDS for fold, name in enumerate(names)}
    folds = np.array([fold_of[e.group] for e in about])
    scores = np.zeros(len(about))
    for fold in range(_FOLDS):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        model = _binary(rows[inside], [labels[i] for i in inside], weights[inside], _TOPIC_PENALTY)
        scores[outside] = rows[outside] @ model.coef_[0] + model.intercept_[0]
    without = scores[~np.array(labels)]
    model = _binary(rows, labels, weights, _TOPIC_PENALTY)
    model.intercept_ = model.intercept_ - float(np.quantile(without, 1.0 - _TOPIC_FALSE_ALARMS)) - margin
    return model


def _evenly(groups: Sequence[str]) -> Array:
    """Weights by which a template counts as the square root of how many examples it made; mean 1."""
    sizes = Counter(groups)
    weights = np.array([sizes[group] ** -0.5 for group in groups])
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def _coefficients(model: LogisticRegression) -> Array:
    return np.asarray(model.coef_, dtype=np.float64)


def _intercepts(model: LogisticRegression) -> Array:
    return np.asarray(model.intercept_, dtype=np.float64)


def _with_metrics(manifest: Manifest, metrics: dict[str, float]) -> Manifest:
    fields: dict[str, Any] = {name: getattr(manifest, name) for name in manifest.__struct_fields__}
    return Manifest(**{**fields, "metrics": metrics})
