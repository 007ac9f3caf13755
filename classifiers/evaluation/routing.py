"""Whether the score of complexity tells which prompts need the stronger model, measured on labelled outcomes of pairs of models."""

from __future__ import annotations

import gzip
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from classifiers.artefacts import shipped_complexity
from classifiers.ask.complexity import MARGIN, TARGETS, ComplexityModel, band_of, held
from classifiers.evaluation.deferral import apgr, apgr_interval, cpt, cpt_interval
from classifiers.evaluation.marks import Mark, at_least, at_most, share
from classifiers.evaluation.perturb import KINDS
from classifiers.training.outcomes import Collection, Index, read

KNOWLEDGE = "routellm_mmlu"
REASONING = ("ze_math_l5", "ze_crux", "ze_gsm")
SAME_TEXT = "routellm_gsm8k"
"""The prompts of `ze_gsm` with the outcomes of another pair: no other set, where one is asked for."""

UNLABELLED = "arena_hard_prompts"
_OF_EACH_SET = 60
_NO_ASKS: Index = np.zeros(0, dtype=np.intp)

Array = npt.NDArray[np.float64]


def measure(data: Path) -> list[Mark]:
    """The marks on `data/routing`: cross-validated in domain, learnt from other sets, the weights that ship, and how steady they are.

    Prompts that share thirteen words in a row are never on both sides. Beside each figure: prompt length as a score, and the
    other target of the model. A set that is missing leaves its marks with N = 0. Raises ValueError or FileNotFoundError as
    `read` does.
    """
    collection = Collection(read(data))
    knowledge, reasoning = collection.of(KNOWLEDGE), collection.of(*REASONING)
    known = _crossed(collection, knowledge)
    mixed = _crossed(collection, reasoning)
    others = _others(collection, reasoning)
    fails, gain = TARGETS
    marks = [
        _gap("MMLU in domain (strong minus weak)", collection, knowledge, known[gain], 0.65, {fails: known[fails]}),
        _gap("ze mix in domain (fast fails)", collection, reasoning, mixed[fails], 0.74, {gain: mixed[gain]}),
        _gap("ze mix, trained on other sets only (fast fails)", collection, reasoning, others[fails], 0.70, {gain: others[gain]}),
        _calls("ze mix in domain (fast fails)", collection, reasoning, mixed[fails], 44.0),
        *steadiness(_prompts(data, collection)),
        _calls("ze mix, trained on other sets only (fast fails)", collection, reasoning, others[fails]),
    ]
    for name in collection.names:
        if name != KNOWLEDGE and name not in REASONING:
            which = collection.of(name)
            crossed = _crossed(collection, which)
            marks.append(
                _gap(f"{name} in domain (strong minus weak)", collection, which, crossed[gain], None, {fails: crossed[fails]})
            )
    return [*marks, *_shipped(collection)]


class _Set(NamedTuple):
    name: str
    which: Index


def _crossed(collection: Collection, which: Index) -> dict[str, Array]:
    """The scores of some outcomes by models that have learnt from the other families of the same ones."""
    return collection.crossed(which, _NO_ASKS) if len(which) else dict.fromkeys(TARGETS, np.zeros(0))


def _others(collection: Collection, which: Index) -> dict[str, Array]:
    """The scores of some outcomes by a model that has seen no prompt of their sets nor of their families."""
    if not len(which):
        return dict.fromkeys(TARGETS, np.zeros(0))
    own = np.isin(collection.set, collection.set[which]) | np.isin(collection.set, collection.set[collection.of(SAME_TEXT)])
    apart = np.flatnonzero(~own & ~np.isin(collection.family, collection.family[which]))
    return (
        collection.scores(which, collection.learn(apart, _NO_ASKS))
        if len(apart)
        else dict.fromkeys(TARGETS, np.zeros(len(which)))
    )


def _gap(
    name: str, collection: Collection, which: Index, scores: Array, bound: float | None, others: dict[str, Array] | None = None
) -> Mark:
    outcomes = collection.outcomes(which)
    beside = {"prompt length": apgr(_lengths(collection, which), outcomes)}
    beside |= {other: apgr(found, outcomes) for other, found in (others or {}).items()}
    value, interval = apgr(scores, outcomes), apgr_interval(scores, outcomes)
    if bound is None:
        return Mark(f"APGR: {name}", value, interval, len(which), "reported", True, beside)
    return at_least(f"APGR: {name}", value, interval, len(which), bound, beside)


def _calls(name: str, collection: Collection, which: Index, scores: Array, bound: float | None = None) -> Mark:
    outcomes = collection.outcomes(which)
    beside = {"prompt length": cpt(_lengths(collection, which), outcomes)}
    value, interval = cpt(scores, outcomes), cpt_interval(scores, outcomes)
    if bound is None:
        return Mark(f"CPT80 %: {name}", value, interval, len(which), "reported", True, beside)
    return at_most(f"CPT80 %: {name}", value, interval, len(which), bound, beside)


def _lengths(collection: Collection, which: Index) -> Array:
    return np.array([len(collection.prompts[row]) for row in which], dtype=np.float64)


def _shipped(collection: Collection) -> list[Mark]:
    """The weights of the package, as they are. On sets that they were fitted on (see their manifest) this flatters them."""
    fails, gain = TARGETS
    models = {target: ComplexityModel(shipped_complexity(), target) for target in TARGETS}
    scores = {
        target: np.array([model.score(prompt) for prompt in collection.prompts], dtype=np.float64)
        for target, model in models.items()
    }
    sets = [_Set(name, collection.of(name)) for name in collection.names]
    mix = collection.of(*REASONING)
    if len(mix):
        sets.append(_Set("ze mix", mix))
    return [
        _gap(
            f"{one.name}, shipped weights (fast fails)",
            collection,
            one.which,
            scores[fails][one.which],
            None,
            {gain: scores[gain][one.which]},
        )
        for one in sets
    ]


def _prompts(data: Path, collection: Collection) -> list[str]:
    """Some prompts of every set, and of the unlabelled one; the same ones every time."""
    chosen: list[str] = []
    pools = [[collection.prompts[row] for row in collection.of(name)] for name in collection.names]
    for path in (data / "routing" / f"{UNLABELLED}.jsonl.gz", data / f"{UNLABELLED}.jsonl.gz"):
        if path.is_file():
            lines = gzip.decompress(path.read_bytes()).splitlines()
            pools.append([msgspec.json.decode(line)["prompt"] for line in lines])
    for pool in pools:
        chosen += random.Random(7).sample(pool, min(_OF_EACH_SET, len(pool)))
    return chosen


def steadiness(prompts: Sequence[str], seed: int = 7) -> list[Mark]:
    """Share of prompts whose band, and with it the route, stays when they are written a little differently in the same session.

    The band counts as served: held within a margin of the session's last one. Beside it the same without that margin, each kind
    of rewording by itself, and, as the hardest case, two routes that part at the median of the scores, with and without margin.
    """
    if not prompts:
        return [at_least("routes stable under light perturbation", math.nan, (0.0, 1.0), 0, 0.95)]
    model = ComplexityModel(shipped_complexity(), TARGETS[0])
    dice = random.Random(seed)
    kinds = [list(KINDS)[number % len(KINDS)] for number in range(len(prompts))]
    before = np.array([model.score(prompt) for prompt in prompts])
    after = np.array([model.score(KINDS[kind](prompt, dice)) for kind, prompt in zip(kinds, prompts, strict=True)])
    pairs = list(zip(before.tolist(), after.tolist(), strict=True))
    stays = np.array([held(new, band_of(old)) is band_of(old) for old, new in pairs])
    above, change = before >= np.median(before), after - np.median(before)
    beside = {
        "at a hard threshold": float(np.mean([band_of(new) is band_of(old) for old, new in pairs])),
        "cut at the median": float(np.mean(np.where(above, change >= -MARGIN, change < MARGIN))),
        "cut at the median, hard": float(np.mean(above == (change >= 0.0))),
    }
    beside |= {kind: float(np.mean(stays[[one == kind for one in kinds]])) for kind in KINDS if kind in kinds}
    value, interval = share(int(stays.sum()), len(prompts))
    return [at_least("routes stable under light perturbation", value, interval, len(prompts), 0.95, beside)]
