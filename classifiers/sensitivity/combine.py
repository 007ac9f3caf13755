"""From findings, topics and what could not be read to one level; evidence only ever raises it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from classifiers.sensitivity.injection import CATEGORY as INJECTION
from classifiers.sensitivity.injection import CERTAIN
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.task import Part
from routing_rules.vocabulary import Finding, ScanState, Sensitivity

_LEVELS = tuple(Sensitivity)
_WEAK_ALONE = frozenset({"email_address", "person_name", "ip_address", "internal_host", "postal_address", "bic", "birth_date"})
"""Kinds that say little by themselves: internal, unless the policy names the kind."""

_OF_A_PERSON = frozenset({"pii", "phi"})
_ABOUT_PEOPLE = frozenset({"pii", "phi", "pci", "hr", "financial"})
_OF_MACHINES = frozenset({"ip_address", "internal_host", "bic"})
_TOPIC_PRESENT = 0.5
_UNREAD_CONFIDENCE = 0.5


class Level(msgspec.Struct, frozen=True):
    """How sensitive a task is, in which categories, and how sure that is (in [0, 1])."""

    sensitivity: Sensitivity
    categories: frozenset[str]
    confidence: float


class Evidence(msgspec.Struct, frozen=True):
    """One reason for a level. `about` names kinds, a topic, a label or the path of a part; never a value.

    `why` is `finding`, `many` (so many distinct values), `linked` (several kinds about one person), `topic`, `label`,
    `unread` or `unscanned`; `count` is the number of distinct values behind it.
    """

    level: Sensitivity
    sure: float
    why: str
    about: tuple[str, ...]
    count: int = 1


def level(
    policy: SensitivityPolicy,
    findings: Sequence[Finding],
    topics: Mapping[str, float],
    parts: Iterable[Part],
    state: ScanState,
) -> Level:
    """The highest of what each piece of evidence counts as, never below the policy's floor."""
    if policy.thresholds:
        findings = [finding for finding in findings if finding.score >= _threshold(policy, finding)]
    answer = policy.floor
    confidence = 1.0 - min(max(topics.values(), default=0.0), 1.0)
    categories = {finding.category for finding in findings if finding.category != INJECTION or finding.score >= CERTAIN}
    for reason in evidence(policy, findings, topics, parts, state):
        if reason.why == "topic":
            categories.update(reason.about)
        if reason.level > answer:
            answer, confidence = reason.level, reason.sure
        elif reason.level is answer and answer is not policy.floor:
            confidence = max(confidence, reason.sure)
    return Level(answer, frozenset(categories), confidence)


def evidence(
    policy: SensitivityPolicy,
    findings: Sequence[Finding],
    topics: Mapping[str, float],
    parts: Iterable[Part],
    state: ScanState,
) -> list[Evidence]:
    """Everything that bears on the level, in the order: findings, what they are together, topics, parts, the scan.

    A topic (a score in [0, 1], present from a half unless the policy says otherwise) raises to confidential at most. Many distinct
    values of a kind raise that kind by one level, a bulk of values about people by two. Two kinds of identifier of a person link, and
    are confidential together. A label that a file carries counts as the policy says, and so does what could not be read or scanned,
    which is internal at least. An injection says nothing of the data and raises only where the policy gives it a level.
    """
    found = _of_findings(policy, findings) if findings else []
    for topic, score in topics.items():
        if score >= policy.topic_thresholds.get(topic, _TOPIC_PRESENT):
            counts_as = policy.topics.get(topic) or policy.categories.get(topic) or Sensitivity.CONFIDENTIAL
            found.append(Evidence(min(counts_as, Sensitivity.CONFIDENTIAL), score, "topic", (topic,)))
    for part in parts:
        if part.unreadable is not None:
            counts_as = max(policy.unreadable.get(part.unreadable, policy.unscanned), Sensitivity.INTERNAL)
            found.append(Evidence(counts_as, _UNREAD_CONFIDENCE, "unread", (part.unreadable, part.path)))
        for label in part.labels:
            found.append(Evidence(policy.label_level(label) or policy.unmapped_label, 1.0, "label", (label, part.path)))
    if state is ScanState.UNSCANNED:
        found.append(Evidence(max(policy.unscanned, Sensitivity.INTERNAL), _UNREAD_CONFIDENCE, "unscanned", ()))
    return found


def _of_findings(policy: SensitivityPolicy, findings: Sequence[Finding]) -> list[Evidence]:
    values: dict[str, set[str]] = {}
    surest: dict[tuple[str, str, str], Finding] = {}  # by all that a level depends on
    for finding in findings:
        if policy.thresholds and finding.score < _threshold(policy, finding):
            continue
        values.setdefault(finding.kind, set()).add(finding.digest or f"{finding.part}:{finding.start}")
        source = finding.kind, finding.category, finding.rule
        if source not in surest or finding.score > surest[source].score:
            surest[source] = finding
    found: list[Evidence] = []
    identifiers: dict[str, float] = {}
    for finding in surest.values():
        counts_as = _counts_as(policy, finding)
        if counts_as is None:
            continue
        count = len(values[finding.kind])
        found.append(Evidence(counts_as, finding.score, "finding", (finding.kind, finding.rule), count))
        about_people = finding.category in _ABOUT_PEOPLE and finding.kind not in _OF_MACHINES
        steps = 2 if count >= policy.bulk and about_people else 1 if count >= policy.many else 0
        if steps:
            found.append(Evidence(_above(counts_as, steps), finding.score, "many", (finding.kind,), count))
        if finding.category in _OF_A_PERSON:
            identifiers[finding.kind] = max(identifiers.get(finding.kind, 0.0), finding.score)
    if len(identifiers) >= 2:
        found.append(Evidence(Sensitivity.CONFIDENTIAL, min(identifiers.values()), "linked", tuple(sorted(identifiers)), len(identifiers)))  # fmt: skip
    return found


def _threshold(policy: SensitivityPolicy, finding: Finding) -> float:
    return policy.thresholds.get(finding.kind, policy.thresholds.get(finding.category, 0.0))


def _counts_as(policy: SensitivityPolicy, finding: Finding) -> Sensitivity | None:
    if finding.kind in policy.kinds:
        return policy.kinds[finding.kind]
    if finding.category == INJECTION:
        return policy.categories.get(INJECTION)
    if finding.kind in _WEAK_ALONE:
        return Sensitivity.INTERNAL
    own = {each.id: each.level for each in policy.patterns} | {each.id: each.level for each in policy.code_names}
    if finding.rule in own:
        return own[finding.rule]
    return policy.categories.get(finding.category, Sensitivity.CONFIDENTIAL)


def _above(evidence: Sensitivity, steps: int) -> Sensitivity:
    return _LEVELS[min(_LEVELS.index(evidence) + steps, len(_LEVELS) - 1)]
