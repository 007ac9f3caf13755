"""How much of what a stronger model adds a score recovers when it chooses whom to ask: APGR and CPT as RouteLLM defines them.

I. Ong et al., RouteLLM: Learning to Route LLMs with Preference Data, arXiv:2406.18665, section 4. Every cut of the score is used
instead of a few bins, and prompts with the same score count as sent in random order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from classifiers.evaluation.marks import bootstrap

Array = npt.NDArray[np.float64]


class Outcomes(NamedTuple):
    """How well, in [0, 1], a weaker and a stronger model answered each of some prompts."""

    weak: Array
    strong: Array

    def take(self, which: npt.NDArray[np.intp]) -> Outcomes:
        """The outcomes of some of the prompts."""
        return Outcomes(self.weak[which], self.strong[which])


def recovered(scores: Array, outcomes: Outcomes) -> Array:
    """What is gained over the weaker model alone when the k prompts of the highest scores go to the stronger one, for each k from 0."""
    order = np.argsort(-scores, kind="stable")
    gains, sorted_scores = (outcomes.strong - outcomes.weak)[order], scores[order]
    first = np.flatnonzero(np.concatenate([[True], sorted_scores[1:] != sorted_scores[:-1]]))
    sizes = np.diff(np.concatenate([first, [len(gains)]]))
    expected = np.repeat(np.add.reduceat(gains, first) / sizes, sizes)
    return np.concatenate([[0.0], np.cumsum(expected)]) / len(gains)


def apgr(scores: Array, outcomes: Outcomes) -> float:
    """Average performance gap recovered: .5 for a score that knows nothing; nan where the stronger model adds nothing."""
    gap = float((outcomes.strong - outcomes.weak).mean()) if len(scores) else 0.0
    if gap == 0.0:
        return float("nan")
    curve = recovered(scores, outcomes)
    return float((curve[1:] + curve[:-1]).sum() / 2 / len(scores)) / gap


def cpt(scores: Array, outcomes: Outcomes, of_gap: float = 0.8) -> float:
    """The least share of calls, in percent, to the stronger model that recovers this share of the gap; nan where none does."""
    if not len(scores):
        return float("nan")
    gap = float((outcomes.strong - outcomes.weak).mean())
    enough = np.flatnonzero(recovered(scores, outcomes) >= of_gap * gap - 1e-12)
    return 100.0 * float(enough[0]) / len(scores) if len(enough) else float("nan")


def apgr_interval(scores: Array, outcomes: Outcomes) -> tuple[float, float]:
    """95 % interval of `apgr`, by drawing prompts anew."""
    return bootstrap(len(scores), lambda drawn: apgr(scores[drawn], outcomes.take(drawn)))


def cpt_interval(scores: Array, outcomes: Outcomes, of_gap: float = 0.8) -> tuple[float, float]:
    """95 % interval of `cpt`, by drawing prompts anew."""
    return bootstrap(len(scores), lambda drawn: cpt(scores[drawn], outcomes.take(drawn), of_gap))
