"""Fits complexity to an organisation's own outcomes: the shipped model as a start, moved by which tier was right for which prompt."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from datetime import date
from itertools import count
from typing import NamedTuple

import msgspec
import numpy as np
import scipy.sparse as sparse
import sklearn
from sklearn.linear_model import Ridge

from classifiers.artefacts import FORMAT, Fitted, Manifest, Source, shipped_complexity, to_text
from classifiers.ask.complexity import CALIBRATED, COMPLEX_FROM, MODERATE_FROM, TARGETS, probability
from classifiers.ask.features import Key
from classifiers.evaluation.deferral import Outcomes, apgr, apgr_interval
from classifiers.evaluation.marks import share
from classifiers.training.outcomes import FOLDS, NAME, OWNER, UNKNOWN_WEIGHT, Array, Index, Texts, families, folds_of

TIERS = {"fast": (1.0, 0.0), "reasoning": (0.0, 1.0), "both": (1.0, 1.0), "neither": (0.0, 0.0)}
"""Which tier answered well: how well the fast one and the reasoning one did."""

LEAST_ROWS = 50
LEAST_OF_A_TIER = 10
_LEAST_TEXTS = 3
"""A word that fewer prompts hold is not learnt, and so not written to the model either: it may be a name."""

_PENALTY = 10.0  # scikit-learn's alpha
_BASE = 1.0
"""What the shipped model's two logits, of variance 1, are multiplied by beside the words: they are hardly penalised."""


class Labelled(NamedTuple):
    """What a table of outcomes says: prompts, or else recorded scores; and how well both tiers did."""

    prompts: list[str]
    scores: list[float]
    outcomes: Outcomes
    sha256: str

    @property
    def gains(self) -> Array:
        """1 where only the reasoning tier was right, -1 where only the fast one was."""
        return self.outcomes.strong - self.outcomes.weak


class Facts(msgspec.Struct):
    """The part of recorded facts that counts here."""

    complexity_score: float


class Figure(NamedTuple):
    """One figure of the report card, before and after, with 95 % intervals."""

    name: str
    before: float
    before_ci: tuple[float, float]
    after: float
    after_ci: tuple[float, float]


class Calibrated(NamedTuple):
    """A model file as text, what it was measured to do on outcomes that it had not seen, and on how many."""

    manifest: Manifest
    text: str
    figures: list[Figure]
    rows: int
    reasoning: int  # rows in which only the reasoning tier was right


def read_outcomes(raw: bytes) -> Labelled:
    """A CSV table with the columns `prompt` (or `facts`: recorded facts as JSON) and `tier`: which tier was right.

    `tier` is `fast`, `reasoning`, `both` or `neither`. Who only knows which tier a prompt should have gone to says `fast` or
    `reasoning`. Raises ValueError, naming row (the header is row 1) and column, never what stands there.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        row = raw[: wrong.start].count(b"\n") + 1
        raise ValueError(f"row {row}: the table is not UTF-8 text") from None
    csv.field_size_limit(8 * 1024 * 1024)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        kind = next((name for name in ("prompt", "facts") if name in header), None)
        if kind is None:
            raise ValueError("row 1: there is neither a column `prompt` nor a column `facts`")
        if "tier" not in header:
            raise ValueError("row 1: there is no column `tier`")
        told: list[str] = []
        tiers: list[str] = []
        scores: list[float] = []
        for row, cells in enumerate(reader, 2):
            if not cells:
                continue
            if len(cells) != len(header):
                raise ValueError(f"row {row}: {len(cells)} cells under {len(header)} columns")
            cell, tier = cells[header.index(kind)], cells[header.index("tier")].strip().lower()
            if not cell.strip():
                raise ValueError(f"row {row}, column `{kind}`: empty")
            if tier not in TIERS:
                raise ValueError(f"row {row}, column `tier`: expected one of {', '.join(f'`{name}`' for name in TIERS)}")
            if kind == "facts":
                scores.append(_score(cell, row))
            else:
                told.append(cell)
            tiers.append(tier)
    except csv.Error as wrong:
        raise ValueError(f"row {reader.line_num}: no CSV ({wrong})") from None
    if len(tiers) < LEAST_ROWS:
        raise ValueError(f"column `tier`: {len(tiers)} rows, but fewer than {LEAST_ROWS} tell nothing")
    alone = tiers.count("reasoning")
    if min(alone, len(tiers) - alone) < LEAST_OF_A_TIER:
        raise ValueError(f"column `tier`: `reasoning` must be in {LEAST_OF_A_TIER} rows at least, and missing in as many")
    right = np.array([TIERS[tier] for tier in tiers], dtype=np.float64)
    return Labelled(told, scores, Outcomes(right[:, 0], right[:, 1]), hashlib.sha256(raw).hexdigest())


def _score(cell: str, row: int) -> float:
    try:
        score = msgspec.json.decode(cell, type=Facts).complexity_score
    except msgspec.DecodeError:
        raise ValueError(f"row {row}, column `facts`: no recorded facts (JSON with a `complexity_score`)") from None
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"row {row}, column `facts`: `complexity_score` lies in [0, 1]")
    return score


def calibrate(labelled: Labelled, seed: int = 7, fitted_on: date | None = None, base: Fitted | None = None) -> Calibrated:
    """A model of its own from the shipped one (or `base`) and outcomes. The figures are cross-validated by families of prompts."""
    base = base or shipped_complexity()
    started = _Started(labelled, base) if labelled.prompts else _Rescaled(labelled)
    every = np.arange(len(labelled.gains))
    fold = folds_of(families(labelled.prompts) if labelled.prompts else every, seed)
    after = np.zeros(len(every))
    for one in range(FOLDS):
        after[fold == one] = started.logits(started.learn(every[fold != one]), every[fold == one])
    alone = int((labelled.gains > 0.0).sum())
    steepness, middle = _bands(after, alone / len(every))
    figures = _figures(started.before, steepness * (after - middle), labelled.outcomes)
    vocabulary, weights, scale, bias = started.arrays(started.learn(every), base)
    weights, bias = steepness * weights, steepness * (bias - middle)
    manifest = Manifest(
        format=FORMAT,
        name=NAME,
        owner=OWNER,
        fitted_on=fitted_on.isoformat() if fitted_on else "",
        seed=seed,
        sklearn=sklearn.__version__,
        numpy=np.__version__,
        corpus=base.manifest.corpus,
        sha256="",
        examples=len(every),
        blind_examples=0,
        unknown_weight=UNKNOWN_WEIGHT,
        heads={CALIBRATED: [CALIBRATED]},
        thresholds={"moderate": MODERATE_FROM, "complex": COMPLEX_FROM},
        metrics={
            f"{figure.name}, {when}": round(value, 4)
            for figure in figures
            for when, value in (("before", figure.before), ("after", figure.after))
        },
        base=base.manifest.version,
        sources={"outcomes": Source("the organisation's own", labelled.sha256, len(every))},
    )
    arrays = (weights[:, None].astype(np.float16), scale.astype(np.float32), np.array([bias], dtype=np.float32))
    manifest, text = to_text(manifest, vocabulary, *arrays)
    return Calibrated(manifest, text, figures, len(every), alone)


Learnt = tuple[Array, float]
"""Weights of the columns, and bias."""


class _Started:
    """Prompts: both targets of the shipped model as columns, and words of the prompts that move the score from there."""

    def __init__(self, labelled: Labelled, base: Fitted) -> None:
        texts = Texts(labelled.prompts)
        found = texts.frequencies()
        places = {key: place for place, key in enumerate(texts.keys)}
        known = base.keys
        shipped_keys = frozenset(known)
        new = [key for key in texts.keys if key not in shipped_keys and found[places[key]] >= _LEAST_TEXTS]
        own = np.log(len(labelled.prompts) / np.array([found[places[key]] for key in new], dtype=np.float64)) + 1.0
        fresh = count(len(texts.keys))
        self._vocabulary: list[Key] = [*known, *new]
        self._scale: Array = np.concatenate([base.arrays[1].astype(np.float64), own])
        kept = np.array([places[key] if key in places else next(fresh) for key in self._vocabulary], dtype=np.intp)
        self._rows = texts.rows(np.arange(len(labelled.prompts)), kept, self._scale)
        shipped = np.stack([base.arrays[0][:, base.classes(*TARGETS).index(target)] for target in TARGETS], axis=1)
        self._shipped = np.concatenate([shipped.astype(np.float64), np.zeros((len(new), len(TARGETS)))])
        self._bias = base.arrays[2].astype(np.float64)
        starts = self._rows @ self._shipped + self._bias
        self.before: Array = starts[:, 0]
        # A word that a few prompts hold is not learnt, so that it has no say in which prompts it was.
        often = np.concatenate(
            [[found[places[key]] >= _LEAST_TEXTS if key in places else False for key in known], np.ones(len(new))]
        )
        words = (self._rows @ sparse.diags(often.astype(np.float64))).tocsr()
        self._unit = _BASE / np.maximum(starts.std(axis=0), 1e-6)
        self._columns = sparse.hstack([sparse.csr_matrix(starts * self._unit), words]).tocsr()
        self._gains = labelled.gains

    def learn(self, which: Index) -> Learnt:
        return _fit(self._columns[which], self._gains[which])

    def logits(self, learnt: Learnt, which: Index) -> Array:
        return np.asarray(self._columns[which] @ learnt[0] + learnt[1])

    def arrays(self, learnt: Learnt, base: Fitted) -> tuple[list[Key], Array, Array, float]:
        starts, words = self._unit * learnt[0][: len(TARGETS)], learnt[0][len(TARGETS) :]
        return self._vocabulary, self._shipped @ starts + words, self._scale, learnt[1] + float(starts @ self._bias)


class _Rescaled:
    """Recorded scores: the shipped model stretched and moved, no word of it weighed anew."""

    def __init__(self, labelled: Labelled) -> None:
        inside = np.clip(np.array(labelled.scores, dtype=np.float64), 1e-6, 1.0 - 1e-6)
        self.before: Array = np.log(inside / (1.0 - inside))
        self._columns = sparse.csr_matrix(self.before[:, None])
        self._gains = labelled.gains

    def learn(self, which: Index) -> Learnt:
        return _fit(self._columns[which], self._gains[which])

    def logits(self, learnt: Learnt, which: Index) -> Array:
        return np.asarray(self._columns[which] @ learnt[0] + learnt[1])

    def arrays(self, learnt: Learnt, base: Fitted) -> tuple[list[Key], Array, Array, float]:
        weights, scale, bias = (array.astype(np.float64) for array in base.arrays)
        column = base.classes(*TARGETS).index(TARGETS[0])
        stretch = float(learnt[0][0])
        return base.keys, stretch * weights[:, column], scale, stretch * float(bias[column]) + learnt[1]


def _fit(columns: sparse.csr_matrix, gains: Array) -> Learnt:
    model = Ridge(_PENALTY).fit(columns, gains)
    return np.asarray(model.coef_, dtype=np.float64), float(model.intercept_)


def _bands(expected: Array, alone: float) -> tuple[float, float]:
    """Steepness and middle by which an expected gain becomes the logit of a score.

    As many prompts count as complex as needed the reasoning tier in the outcomes, and as many again (at most half of the others)
    as moderate.
    """
    complex_from = 1.0 - alone
    moderate_from = max(1.0 - 2.0 * alone, (1.0 - alone) / 2.0)
    low, high = (float(value) for value in np.quantile(expected, [moderate_from, complex_from]))
    low_logit, high_logit = (math.log(one / (1.0 - one)) for one in (MODERATE_FROM, COMPLEX_FROM))
    steepness = (high_logit - low_logit) / max(high - low, 1e-3)
    return steepness, high - high_logit / steepness


def _figures(before: Array, after: Array, outcomes: Outcomes) -> list[Figure]:
    needed = outcomes.strong > outcomes.weak
    return [
        Figure(
            "APGR", apgr(before, outcomes), apgr_interval(before, outcomes), apgr(after, outcomes), apgr_interval(after, outcomes)
        ),
        _share("of the prompts that needed reasoning, sent there", _sent(before)[needed], _sent(after)[needed]),
        _share("of all prompts, sent to reasoning", _sent(before), _sent(after)),
    ]


def _share(name: str, before: Array, after: Array) -> Figure:
    return Figure(name, *share(int(before.sum()), len(before)), *share(int(after.sum()), len(after)))


def _sent(logits: Array) -> Array:
    """1 where the band `complex` sends a prompt to the reasoning tier."""
    return np.array([probability(float(logit)) >= COMPLEX_FROM for logit in logits], dtype=np.float64)


def card(made: Calibrated, source: str) -> str:
    """The report card, in Markdown."""
    lines = [
        f"# Complexity, calibrated: `{made.manifest.version}`",
        "",
        f"From `{made.manifest.base}` (shipped) and {made.rows:,} outcomes in `{source}` (sha256 `{made.manifest.sources['outcomes'].sha256}`);",
        f"only the reasoning tier was right in {made.reasoning:,} of them. Fitted on {made.manifest.fitted_on or 'no stated day'}.",
        "Cross-validated: each prompt was scored by a model that saw neither it nor a prompt that shares thirteen words in a row with it.",
        "",
        "| | before | after |",
        "|---|---|---|",
        *(
            f"| {one.name} | {one.before:.3f} ({one.before_ci[0]:.3f} – {one.before_ci[1]:.3f}) "
            f"| {one.after:.3f} ({one.after_ci[0]:.3f} – {one.after_ci[1]:.3f}) |"
            for one in made.figures
        ),
        "",
        f"In brackets 95 % intervals, N = {made.rows:,}. APGR: .5 is chance, higher finds sooner what needs reasoning. A prompt goes to",
        "reasoning where its band is `complex`; as many are so as needed it in the outcomes. Intervals that overlap mean: more outcomes are needed to tell whether this is better.",
        "",
        f"The model file holds words, and pairs of neighbouring words, that at least {_LEAST_TEXTS} of the prompts share.",
        "",
    ]
    return "\n".join(lines)
