"""How hard the current ask is: a score in [0, 1], its band, and when a session keeps the band it had (pure)."""

from __future__ import annotations

import math

from classifiers.artefacts import Fitted, ManifestInvalid, from_text, shipped_complexity
from classifiers.ask.reader import Chosen, Reader
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


class ComplexityModel:
    """One target of a fitted model of complexity, ready to score. Raises ArtefactError where the model does not hold the target."""

    def __init__(self, fitted: Fitted, target: str = TARGETS[0]) -> None:
        self._reader = Reader(_target_of(fitted, target))

    def score(self, text: str) -> float:
        """The score of a whole text, in [0, 1]."""
        reader = self._reader
        return probability(reader.scores(reader.models[0], reader.sums(reader.read(text))).logits[0])


def chosen_by(policy: ComplexityPolicy) -> Chosen:
    """The model that a rule set names, and its target. Raises ArtefactError where it cannot be used."""
    if not policy.model:
        return _target_of(shipped_complexity(), policy.target)
    fitted = from_text(policy.text)
    if fitted.manifest.version != policy.model:
        raise ManifestInvalid("the model of complexity is not the one that the rules name")
    return _target_of(fitted, CALIBRATED)


def _target_of(fitted: Fitted, target: str) -> Chosen:
    if target not in fitted.manifest.heads:
        raise ManifestInvalid(f"fitted model `{fitted.manifest.name}` has no target `{target}`")
    return fitted, (target,)


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
