"""How hard the current ask is: a score in [0, 1] and its band."""

from __future__ import annotations

import math

from routing_rules.vocabulary import Complexity

MODERATE_FROM = 0.35
COMPLEX_FROM = 0.65
_SURE_AT = 0.15
"""Distance from the nearest threshold from which on the band is taken as sure: small changes of wording move less."""


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


def probability(logit: float) -> float:
    """The logistic function, for any finite argument."""
    if logit < -700.0:  # exp would overflow
        return 0.0
    return 1.0 / (1.0 + math.exp(-logit))
