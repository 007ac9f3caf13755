"""From findings, topics and what could not be read to one level; evidence only ever raises it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.task import Part
from routing_rules.vocabulary import Finding, ScanState, Sensitivity

_LEVELS = tuple(Sensitivity)
_WEAK_ALONE = frozenset({"email_address", "person_name", "ip_address", "internal_host", "postal_address", "bic", "birth_date"})
"""Kinds that say little by themselves: internal, unless the policy names the kind."""

_OF_A_PERSON = frozenset({"pii", "phi"})
_TOPIC_PRESENT = 0.5
_UNREAD_CONFIDENCE = 0.5


class Level(msgspec.Struct, frozen=True):
    """How sensitive a task is, in which categories, and how sure that is (in [0, 1])."""

    sensitivity: Sensitivity
    categories: frozenset[str]
    confidence: float


def level(
    policy: SensitivityPolicy,
    findings: Sequence[Finding],
    topics: Mapping[str, float],
    parts: Iterable[Part],
    state: ScanState,
) -> Level:
    """The highest of what each piece of evidence counts as, never below the policy's floor.

    A topic (a score in [0, 1], present from 0.5) raises to confidential at most. `policy.many` distinct values of a kind
    raise that kind by one level. Two kinds of identifier of a person link, and are confidential together. What could
    not be read or scanned counts as the policy says, and at least as internal.
    """
    answer = policy.floor
    confidence = 1.0 - min(max(topics.values(), default=0.0), 1.0)
    categories: set[str] = set()

    def raise_to(evidence: Sensitivity, sure: float) -> None:
        nonlocal answer, confidence
        if evidence > answer:
            answer, confidence = evidence, sure
        elif evidence is answer and answer is not policy.floor:
            confidence = max(confidence, sure)

    values: dict[str, set[str]] = {}
    surest: dict[tuple[str, str, str], Finding] = {}  # by all that a level depends on
    for finding in findings:
        categories.add(finding.category)
        values.setdefault(finding.kind, set()).add(finding.digest or f"{finding.part}:{finding.start}")
        source = finding.kind, finding.category, finding.rule
        if source not in surest or finding.score > surest[source].score:
            surest[source] = finding
    identifiers: dict[str, float] = {}
    for finding in surest.values():
        counts_as = _counts_as(policy, finding)
        raise_to(_above(counts_as) if len(values[finding.kind]) >= policy.many else counts_as, finding.score)
        if finding.category in _OF_A_PERSON:
            identifiers[finding.kind] = max(identifiers.get(finding.kind, 0.0), finding.score)
    if len(identifiers) >= 2:
        raise_to(Sensitivity.CONFIDENTIAL, min(identifiers.values()))
    for topic, score in topics.items():
        if score >= _TOPIC_PRESENT:
            categories.add(topic)
            counts_as = policy.topics.get(topic) or policy.categories.get(topic) or Sensitivity.CONFIDENTIAL
            raise_to(min(counts_as, Sensitivity.CONFIDENTIAL), score)
    for part in parts:
        if part.unreadable is not None:
            raise_to(max(policy.unreadable.get(part.unreadable, policy.unscanned), Sensitivity.INTERNAL), _UNREAD_CONFIDENCE)
    if state is ScanState.UNSCANNED:
        raise_to(max(policy.unscanned, Sensitivity.INTERNAL), _UNREAD_CONFIDENCE)
    return Level(answer, frozenset(categories), confidence)


def _counts_as(policy: SensitivityPolicy, finding: Finding) -> Sensitivity:
    if finding.kind in policy.kinds:
        return policy.kinds[finding.kind]
    if finding.kind in _WEAK_ALONE:
        return Sensitivity.INTERNAL
    for pattern in policy.patterns:
        if pattern.id == finding.rule:
            return pattern.level
    return policy.categories.get(finding.category, Sensitivity.CONFIDENTIAL)


def _above(evidence: Sensitivity) -> Sensitivity:
    return _LEVELS[min(_LEVELS.index(evidence) + 1, len(_LEVELS) - 1)]
