"""How far a tool call lies from what the user asked, in parts that explain the score, and how far a whole session does (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from routing_rules.provenance import Origin, Source, Sources, acts_of, as_text, walk
from routing_rules.vocabulary import Capability, Intent, Ordered

MOST_VALUES = 100
"""Argument values of a call that are looked at; of each, so many characters."""
MOST_CHARACTERS = 2_000
MOST_SAID = 40_000

_WEIGHTS = {"act": 0.3, "thing": 0.15, "destination": 0.3, "values": 0.25}
_BY_SOURCE = {Source.USER: 0.0, Source.LISTED: 0.0, Source.LEAF: 0.25, Source.EXTERNAL_LEAF: 0.6, Source.MODEL: 1.0}
_SHORTEST_WORD = 2


class Drift(msgspec.Struct, frozen=True):
    """A score in [0, 1] and its parts, each in [0, 1]: the act that nobody asked for, the thing that nobody spoke of, the
    destination that nothing vouches for, the argument values that are not the user's words."""

    score: float
    act: float
    thing: float
    destination: float
    values: float


class DriftLimits(msgspec.Struct, frozen=True):
    """From which score on a call is noted, held for an approval, and its session stopped. Above 1: never."""

    warn: float = 0.4
    hold: float = 0.7
    stop: float = 1.01


class DriftVerdict(Ordered):
    """What a drift score comes to."""

    PASS = "pass"  # noqa: S105  (no password)
    WARN = "warn"
    HOLD = "hold"
    STOP = "stop"


def verdict(score: float, limits: DriftLimits) -> DriftVerdict:
    """What a score comes to; one that is no number stops."""
    if score != score or score >= limits.stop:
        return DriftVerdict.STOP
    if score >= limits.hold:
        return DriftVerdict.HOLD
    return DriftVerdict.WARN if score >= limits.warn else DriftVerdict.PASS


class Said:
    """The words of the user's turns, made ready to compare the calls of a session with them."""

    def __init__(self, turns: Iterable[str]) -> None:
        left = MOST_SAID
        found: set[str] = set()
        for turn in reversed(list(turns)):
            found.update(_exact_words(turn[:left]))
            left -= len(turn)
            if left <= 0:
                break
        self._words = frozenset(found)

    def __repr__(self) -> str:
        return f"Said({len(self._words)} words)"

    def share_of(self, text: str) -> float | None:
        """Which share of a text's words the user has said; None for a text without words."""
        distinct = _exact_words(text)
        return len(distinct & self._words) / len(distinct) if distinct else None


def drift(
    intent: Intent,
    capabilities: frozenset[Capability],
    objects: frozenset[str],
    origins: Iterable[Origin],
    arguments: Any,
    said: Said,
    sources: Sources,
) -> Drift:
    """The drift of one call. `capabilities` and `objects` are its tool's, `arguments` the decoded JSON. Never raises."""
    acts = acts_of(capabilities)
    missing = acts - intent.capabilities
    act = len(missing) / len(acts) if acts else 0.0
    if acts and not intent.capabilities & acts:
        act = 1.0
    if not objects:
        thing = 0.5
    elif intent.objects:
        thing = 0.0 if objects & intent.objects else 1.0
    else:
        thing = 0.5
    destination = max((_BY_SOURCE[origin.source] for origin in origins), default=0.0)
    values = _values(arguments, said, sources)
    parts = {"act": act, "thing": thing, "destination": destination, "values": values}
    return Drift(sum(weight * parts[name] for name, weight in _WEIGHTS.items()), **parts)


def session_drift(scores: Iterable[float]) -> float:
    """The drift of a session from those of its calls: that of the worst call, as one is enough to do harm. 0 without calls."""
    return max(scores, default=0.0)


def _values(arguments: Any, said: Said, sources: Sources) -> float:
    """Mean over the values: nothing for the user's words, little for a whole value of an earlier result, else what share was not said."""
    found: list[float] = []
    for count, (leaf, _) in enumerate(walk(arguments)):
        if count >= MOST_VALUES:
            break
        text = as_text(leaf)[:MOST_CHARACTERS]
        if not text.strip():
            continue
        source = sources.of(text)
        if source is not Source.MODEL:
            found.append(_BY_SOURCE[source])
            continue
        share = said.share_of(text)
        if share is not None:
            found.append(1.0 - share)
    return sum(found) / len(found) if found else 0.0


def _exact_words(text: str) -> frozenset[str]:
    """Words and numbers of a text as they are: the user's `5` is not just any digit."""
    plain = "".join(sign if sign.isalnum() else " " for sign in text.casefold())
    return frozenset(word for word in plain.split() if len(word) >= _SHORTEST_WORD or word.isdigit())
