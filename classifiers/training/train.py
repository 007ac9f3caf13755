"""Fits all heads on the corpus and writes arrays and manifest; the same bytes for the same seed and versions."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse
import sklearn
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC

from classifiers.artefacts import FORMAT, Manifest, save
from classifiers.ask.current import Ask
from classifiers.ask.features import Key, ask_keys, excerpt, keys
from classifiers.ask.intent import OBJECTS
from classifiers.ask.thesaurus import shipped as shipped_thesaurus
from classifiers.sensitivity.topics import ANY, SHORT_CHARACTERS, TOPIC_HEADS, TOPICS
from classifiers.training.corpus import TEMPLATES, Example, digest, examples
from classifiers.training.evaluate import measure
from routing_rules.vocabulary import Capability, TaskKind

OWNER = "platform@example.org"
UNKNOWN_WEIGHT = 4.0
"""Squared weight of a word without a row in the norm: a text of mostly unknown words is scored close to the bias."""

_LEAST_TEXTS = 3
_LEAST_GROUPS = 2
_MOST_KEYS = 100_000
_TOPIC_KEYS = 24_000
"""With rarer keys the models of topics take more harmless texts for sensitive: on subjects, unlike on acts, our rows are not the world."""

_TASK_PENALTY = 0.3  # scikit-learn's C: larger follows the corpus more closely
_LABEL_PENALTY = 1.0
_SHORT_TOPIC_PENALTY = 3.0
_LONG_TOPIC_PENALTY = 20.0
_LONG_FROM = 350  # characters: both topic models learn from texts between this and SHORT_CHARACTERS
_FOLDS = 4
_MOST_OF_A_TEMPLATE = 4  # further examples of it tell the models of asks and of short topics nothing new
_WEIGHT_OF_A_TEMPLATE = 0.5  # beside rows that were written one by one
_WEIGHT_OF_A_TWIN = 0.25
"""A harmless twin differs from its sensitive text by so little that at full weight it would unlearn the subject."""

_RARE = 0.5
"""Rows of a rare label weigh more, by this power of its rarity: 0 leaves them as they are, 1 makes all labels equally heavy."""

_SHARPNESS = np.array([1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0])
"""What margins may be multiplied with before they are read as log-odds."""

_ASKS_TAKEN_FOR_SENSITIVE = {"any": 0.0135, "source_code": 0.0005}
"""Share of asks of batches left out that the short head may take for sensitive; few of them are as plain as what people mostly ask."""

_TAKEN_FOR_ONE_TOPIC = 0.0005
_DOCUMENTS_TAKEN_FOR_SENSITIVE = 0.005  # share of documents without the topic, in cross-validation
_LONG_MARGIN = 0.25
_LONG_MARGINS = {"phi": 0.6, "legal": -0.7}
"""Added to what cross-validation gives (in log-odds): documents of the world differ more from ours than ours among each other,
contracts more than others, which the sentences of ours that are no contract resemble least."""

Model: TypeAlias = LogisticRegression | LinearSVC
Array = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]


class KeyVectorizer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Rows of inverse document frequencies at the keys of each text or ask, of length 1 counting also words without a column."""

    def __init__(self, unknown_weight: float = UNKNOWN_WEIGHT) -> None:
        self.unknown_weight = unknown_weight

    def fit(self, texts: Sequence[str | Ask], groups: Sequence[str], about: Sequence[bool] = ()) -> KeyVectorizer:
        """Chooses the keys: frequent enough, and in more than one group. The first `_TOPIC_KEYS` are the most frequent ones of those
        texts that `about` flags, the others follow by their frequency in all texts."""
        found = Counter[Key]()
        found_about = Counter[Key]()
        in_groups: defaultdict[Key, set[str]] = defaultdict(set)
        for text, group, is_about in zip(texts, groups, about or [False] * len(texts), strict=True):
            distinct, others = _keys(text)
            if is_about:
                found_about.update((*distinct, *others))
            for key in (*distinct, *others):
                found[key] += 1
                if len(in_groups[key]) < _LEAST_GROUPS:
                    in_groups[key].add(group)
        kept = [key for key, count in found.items() if count >= _LEAST_TEXTS and len(in_groups[key]) >= _LEAST_GROUPS]
        kept.sort(key=lambda key: (-found_about[key], -found[key], _spelled(key)))
        self.vocabulary_ = kept[:_TOPIC_KEYS] + sorted(kept[_TOPIC_KEYS:], key=lambda key: (-found[key], _spelled(key)))
        del self.vocabulary_[_MOST_KEYS:]
        self.idf_ = np.array([math.log(len(texts) / found[key]) + 1.0 for key in self.vocabulary_], dtype=np.float32)
        self._column = {key: column for column, key in enumerate(self.vocabulary_)}
        return self

    def first(self, keys: int) -> KeyVectorizer:
        """The same with the first keys only, which are the most frequent ones."""
        shorter = KeyVectorizer(self.unknown_weight)
        shorter.vocabulary_, shorter.idf_ = self.vocabulary_[:keys], self.idf_[:keys]
        shorter._column = {key: column for column, key in enumerate(shorter.vocabulary_)}
        return shorter

    def transform(self, texts: Iterable[str | Ask]) -> sparse.csr_matrix:
        """One row a text; what `Reader` does at serving time, written for clarity instead of speed."""
        data: list[float] = []
        columns: list[int] = []
        starts = [0]
        for text in texts:
            distinct, others = _keys(text)
            known = sorted({column for key in (*distinct, *others) if (column := self._column.get(key)) is not None})
            unknown = sum(word not in self._column for word in distinct)
            weights = self.idf_[known].astype(np.float64)
            norm = math.sqrt(float((weights**2).sum()) + unknown * self.unknown_weight) or 1.0
            data += (weights / norm).tolist()
            columns += known
            starts.append(len(columns))
        return sparse.csr_matrix((data, columns, starts), shape=(len(starts) - 1, len(self.vocabulary_)))


def _spelled(key: Key) -> str:
    return key if isinstance(key, str) else "\t".join(key)


def _keys(text: str | Ask) -> tuple[set[str], set[Key]]:
    if isinstance(text, Ask):
        return ask_keys(shipped_thesaurus(), text)
    return keys(shipped_thesaurus(), excerpt(text), len(text))


class Models(NamedTuple):
    """Everything that was fitted: by head and class. `left_out` holds figures on batches that were not fitted on."""

    vectorizer: KeyVectorizer
    heads: dict[str, dict[str, Model]]
    left_out: dict[str, float]


def train(out_dir: Path, seed: int = 7, fitted_on: date | None = None, share: float = 1.0) -> Manifest:
    """Fits, measures on the blind tenth, and writes `ask.npz` and `ask.toml` to `out_dir`.

    `fitted_on` is the date for the manifest (None: no date, so that two runs on different days give the same bytes);
    `share` in (0, 1] thins the corpus out, for quick checks.
    """
    known = [example for example in examples(seed, share) if not example.blind]
    blind = [example for example in examples(seed, share) if example.blind]
    vectorizer, heads, left_out = fit(known, seed)
    size = len(vectorizer.vocabulary_)
    weights = np.concatenate([_coefficients(model, size) for models in heads.values() for model in models.values()])
    bias = np.concatenate([_intercepts(model) for models in heads.values() for model in models.values()])
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
            for head, models in heads.items()
        },
        thresholds={"intent": 0.5, "topics": 0.5},
        metrics={},
        thesaurus=shipped_thesaurus().digest,
        keys=dict.fromkeys(TOPIC_HEADS, _TOPIC_KEYS),
    )
    arrays = weights.T.astype(np.float16), vectorizer.idf_, bias.astype(np.float32)
    saved = save(out_dir, manifest, vectorizer.vocabulary_, *arrays)
    metrics = {**measure(out_dir, blind), **{name: round(value, 4) for name, value in left_out.items()}}
    return save(out_dir, msgspec.structs.replace(saved, metrics=metrics), vectorizer.vocabulary_, *arrays)


def fit(known: list[Example], seed: int = 7) -> Models:
    """The fitted vectorizer and models, with weights rounded as they are stored."""
    asks = _thinned([e for e in known if e.task is not None])
    short = _thinned([e for e in known if e.topics is not None and len(e.text) <= SHORT_CHARACTERS])
    long = [e for e in known if e.topics is not None and len(e.text) >= _LONG_FROM]
    every = [*asks, *short, *long]
    vectorizer = KeyVectorizer().fit(
        [*(e.ask for e in asks), *(e.text for e in [*short, *long])],
        [e.group for e in every],
        [place >= len(asks) and e.task is None for place, e in enumerate(every)],
    )
    unseen = {kind.value for kind in TaskKind} - {e.task for e in asks}
    if unseen:
        raise ValueError(f"the corpus has no example of {', '.join(sorted(unseen))}")
    left_out: dict[str, float] = {}
    heads = _asks(vectorizer.transform(e.ask for e in asks), asks, seed, left_out)
    frequent = vectorizer.first(_TOPIC_KEYS)
    heads["topics_short"] = _short_topics(frequent.transform(e.text for e in short), short, left_out)
    documents = frequent.transform(e.text for e in long)
    heads["topics_long"] = {topic: _long_topic(documents, long, topic) for topic in TOPICS}
    for models in heads.values():
        for model in models.values():
            model.coef_ = model.coef_.astype(np.float16).astype(np.float64)
            model.intercept_ = np.asarray(model.intercept_).astype(np.float32).astype(np.float64)
    return Models(vectorizer, heads, left_out)


def pipelines(known: list[Example], seed: int = 7) -> dict[str, dict[str, Pipeline]]:
    """The fitted models as scikit-learn pipelines from text or ask to scores: what the served form must equal."""
    vectorizer, heads, _ = fit(known, seed)
    return {
        head: {
            name: Pipeline([("keys", vectorizer.first(_TOPIC_KEYS) if head in TOPIC_HEADS else vectorizer), ("model", model)])
            for name, model in models.items()
        }
        for head, models in heads.items()
    }


def _asks(rows: sparse.csr_matrix, asks: list[Example], seed: int, left_out: dict[str, float]) -> dict[str, dict[str, Model]]:
    """Task by a margin between all kinds; every other label by a margin of its own, cut where its F1 on batches left out is best."""
    even, folds = _even(asks), _folds(asks)
    written = np.array([e.batch != TEMPLATES for e in asks])
    tasks = np.array([e.task for e in asks])

    def fit_task(inside: Array | slice) -> LinearSVC:
        return _margins(_TASK_PENALTY, seed).fit(rows[inside], tasks[inside], sample_weight=_rarer(even[inside], tasks[inside]))

    task = fit_task(slice(None))
    scores = np.full((len(asks), len(task.classes_)), -1.0)
    for fold in range(_FOLDS):
        model = fit_task(np.flatnonzero(folds != fold))
        columns = np.searchsorted(task.classes_, model.classes_)
        outside = np.flatnonzero(folds == fold)
        scores[np.ix_(outside, columns)] = model.decision_function(rows[outside])
    _sharpen(task, _best_sharpness(scores[written], np.searchsorted(task.classes_, tasks[written])))
    left_out["left_out.task.accuracy"] = float((task.classes_[scores.argmax(axis=1)] == tasks)[written].mean())
    left_out["left_out.task.n"] = float(written.sum())

    labels = {
        "intent": {name.value: np.array([name in (e.capabilities or ()) for e in asks]) for name in Capability},
        "objects": {name: np.array([name in (e.objects or ()) for e in asks]) for name in OBJECTS},
        "delegates": {"delegates": np.array([bool(e.delegates) for e in asks])},
    }
    heads: dict[str, dict[str, Model]] = {"task": {"task": task}}
    for head, present in labels.items():
        heads[head] = {}
        counts = np.zeros(3)
        for name, wanted in present.items():
            heads[head][name], counted = _label(rows, wanted, even, folds, written, seed)
            counts += counted
        left_out[f"left_out.{head}.f1"] = float(2 * counts[0] / max(2 * counts[0] + counts[1] + counts[2], 1.0))
    return heads


def _label(rows: sparse.csr_matrix, wanted: Flags, even: Array, folds: Array, written: Flags, seed: int) -> tuple[Model, Array]:
    """A model that is 0 where F1 on batches left out is best; hits, false alarms and misses there."""

    def fit_label(inside: Array | slice) -> Model:
        if wanted[inside].all() or not wanted[inside].any():
            return _never(rows.shape[1])
        return _margins(_LABEL_PENALTY, seed).fit(
            rows[inside], wanted[inside].astype(int), sample_weight=_rarer(even[inside], wanted[inside])
        )

    model = fit_label(slice(None))
    scores = np.zeros(len(wanted))
    for fold in range(_FOLDS):
        outside = np.flatnonzero(folds == fold)
        scores[outside] = _scores(fit_label(np.flatnonzero(folds != fold)), rows[outside])
    cuts = np.arange(-0.8, 0.41, 0.05)
    said = scores[written][:, None] > cuts
    meant = wanted[written][:, None]
    counted = np.stack([(said & meant).sum(axis=0), (said & ~meant).sum(axis=0), (~said & meant).sum(axis=0)], axis=1)
    if not meant.any():
        return model, np.zeros(3)
    f1 = 2 * counted[:, 0] / (2 * counted[:, 0] + counted[:, 1] + counted[:, 2])
    best = int(f1.argmax())
    model.intercept_ = model.intercept_ - cuts[best]
    _sharpen(model, 3.0)
    return model, counted[best].astype(float)


def _short_topics(rows: sparse.csr_matrix, about: list[Example], left_out: dict[str, float]) -> dict[str, Model]:
    """One model a topic, and one that says whether a text is sensitive by its subject at all, code aside.

    That one finds, the others name: what tells a sensitive text from a harmless one is much the same for all topics.
    """
    twin = np.array([e.task is None and e.batch != TEMPLATES and not e.topics for e in about])
    even = _even(about) * np.where(twin, _WEIGHT_OF_A_TWIN, 1.0)
    folds = _folds(about)
    ordinary = np.array([e.task is not None and e.batch != TEMPLATES for e in about])
    plain = np.array([not e.topics for e in about])
    models: dict[str, Model] = {}
    flagged = np.zeros(len(about), dtype=bool)
    for name in (*TOPICS, ANY):
        wanted = np.array(
            [bool(e.topics - {"source_code"}) if name == ANY else name in e.topics for e in about if e.topics is not None]
        )
        used = (wanted | plain) if name in _ASKS_TAKEN_FOR_SENSITIVE else np.ones(len(about), dtype=bool)

        def fit_topic(inside: Flags, wanted: Flags = wanted) -> Model:
            if not wanted[inside].any():
                return _never(rows.shape[1])
            chosen = np.flatnonzero(inside)
            weights = _rarer(even[chosen], wanted[chosen])
            return _logistic(_SHORT_TOPIC_PENALTY).fit(rows[chosen], wanted[chosen].astype(int), sample_weight=weights)

        model = fit_topic(used)
        scores = np.zeros(len(about))
        for fold in range(_FOLDS):
            outside = folds == fold
            scores[outside] = _scores(fit_topic(used & ~outside), rows[np.flatnonzero(outside)])
        against = scores[ordinary] if ordinary.any() else scores[plain]
        cut = float(np.quantile(against, 1.0 - _ASKS_TAKEN_FOR_SENSITIVE.get(name, _TAKEN_FOR_ONE_TOPIC)))
        model.intercept_ = model.intercept_ - cut
        flagged |= scores > cut
        models[name] = model
    for title, chosen in (
        ("recall", ~plain & np.array([e.batch != TEMPLATES for e in about])),
        ("twins_taken_for_sensitive", twin),
        ("asks_taken_for_sensitive", ordinary),
    ):
        left_out[f"left_out.topic.{title}"] = float(flagged[chosen].mean()) if chosen.any() else 0.0
        left_out[f"left_out.topic.{title}.n"] = float(chosen.sum())
    return models


def _long_topic(rows: sparse.csr_matrix, about: list[Example], topic: str) -> Model:
    """A model whose probability is 0.5 where cross-validation gives the false alarms that we accept."""
    wanted = np.array([topic in (e.topics or ()) for e in about])
    even = _evenly([e.group for e in about])
    folds = _folds(about)

    def fit_topic(chosen: Array) -> Model:
        if not wanted[chosen].any():
            return _never(rows.shape[1])
        return _logistic(_LONG_TOPIC_PENALTY).fit(rows[chosen], wanted[chosen].astype(int), sample_weight=even[chosen])

    scores = np.zeros(len(about))
    for fold in range(_FOLDS):
        outside = np.flatnonzero(folds == fold)
        scores[outside] = _scores(fit_topic(np.flatnonzero(folds != fold)), rows[outside])
    model = fit_topic(np.arange(len(about)))
    cut = float(np.quantile(scores[~wanted], 1.0 - _DOCUMENTS_TAKEN_FOR_SENSITIVE))
    model.intercept_ = model.intercept_ - cut - _LONG_MARGINS.get(topic, _LONG_MARGIN)
    return model


def _logistic(penalty: float) -> LogisticRegression:
    return LogisticRegression(C=penalty, solver="liblinear", max_iter=400, tol=1e-4)


def _margins(penalty: float, seed: int) -> LinearSVC:
    return LinearSVC(C=penalty, random_state=seed, max_iter=4_000)


def _never(columns: int) -> Model:
    """Where there is nothing to learn from."""
    model = _logistic(1.0)
    model.classes_, model.coef_, model.intercept_ = np.array([0, 1]), np.zeros((1, columns)), np.array([-20.0])
    return model


def _scores(model: Model, rows: sparse.csr_matrix) -> Array:
    return np.asarray(rows @ model.coef_[0] + model.intercept_[0], dtype=np.float64)


def _sharpen(model: Model, factor: float) -> None:
    model.coef_, model.intercept_ = model.coef_ * factor, model.intercept_ * factor


def _best_sharpness(scores: Array, right: Array) -> float:
    """The factor with which the scores foretell the right classes best, read as log-odds."""
    losses = []
    for factor in _SHARPNESS:
        odds = factor * (scores - scores.max(axis=1, keepdims=True))
        losses.append(float((np.log(np.exp(odds).sum(axis=1)) - odds[np.arange(len(right)), right]).mean()))
    return float(_SHARPNESS[int(np.argmin(losses))])


def _thinned(given: list[Example]) -> list[Example]:
    """The first few examples of each group."""
    seen = Counter[str]()
    kept = []
    for example in given:
        seen[example.group] += 1
        if seen[example.group] <= _MOST_OF_A_TEMPLATE:
            kept.append(example)
    return kept


def _folds(given: list[Example]) -> Array:
    """The fold of each example: a batch lies in one fold as a whole, and so does a template."""
    batches = {name: fold for fold, name in enumerate(sorted({(e.task is None, e.batch) for e in given}))}
    templates = {name: fold for fold, name in enumerate(sorted({e.group for e in given}))}
    return np.array([(templates[e.group] if e.batch == TEMPLATES else batches[e.task is None, e.batch]) % _FOLDS for e in given])


def _even(given: list[Example]) -> Array:
    """Weights by which a template counts as the square root of how many examples it made, and half of what was written singly."""
    weights = _evenly([e.group for e in given])
    return np.asarray(weights * np.array([_WEIGHT_OF_A_TEMPLATE if e.batch == TEMPLATES else 1.0 for e in given]))


def _evenly(groups: Sequence[str]) -> Array:
    sizes = Counter(groups)
    weights = np.array([sizes[group] ** -0.5 for group in groups])
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def _rarer(weights: Array, labels: npt.NDArray[Any]) -> Array:
    """The weights with rare labels raised; mean 1."""
    total: defaultdict[Any, float] = defaultdict(float)
    for label, weight in zip(labels.tolist(), weights.tolist(), strict=True):
        total[label] += weight
    raised = weights * np.array([total[label] ** -_RARE for label in labels.tolist()])
    return np.asarray(raised / raised.mean(), dtype=np.float64)


def _coefficients(model: Model, size: int) -> Array:
    """Of all keys; those beyond the ones that it was fitted on weigh nothing."""
    own = np.asarray(model.coef_, dtype=np.float64)
    return np.pad(own, ((0, 0), (0, size - own.shape[1])))


def _intercepts(model: Model) -> Array:
    return np.asarray(model.intercept_, dtype=np.float64)
