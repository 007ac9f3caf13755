"""The organisation's own detectors put to the test: on the examples that come with them, and on texts in which they should find nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from classifiers.assess import detector_of
from classifiers.sensitivity.dictionaries import Dictionaries
from classifiers.sensitivity.kinds.gitleaks import rules_from
from routing_rules.faults import Fault, Severity
from routing_rules.load import GITLEAKS
from routing_rules.rules import RuleSet
from routing_rules.sensitivity import CustomPattern, SensitivityPolicy
from routing_rules.task import Part, Provenance, Role
from routing_rules.vocabulary import Finding

LEAST_EXAMPLES = 3
FILE = "sensitivity.yaml"

_NO_KEY = b"examples are correlated with nothing"
_TOML_PLACE = re.compile(r"at line (\d+), column (\d+)")
_RULE_ID = re.compile(r"rule `([^`]+)`")


class Trial(msgspec.Struct, frozen=True):
    """What one detector did on a pool of harmless texts. `hits` of `texts` were flagged; `cost_us` is microseconds per 1,000 bytes."""

    rule: str
    hits: int
    texts: int
    cost_us: float


class _Detectors:
    """All that a policy brings, in one."""

    def __init__(self, policy: SensitivityPolicy) -> None:
        self._patterns = detector_of(policy, _NO_KEY)
        self._terms = Dictionaries(policy.patterns, policy.allow_listed, _NO_KEY)

    def findings(self, part: Part) -> tuple[Finding, ...]:
        return self._patterns.scan([part]).findings + self._terms.findings([part])


def pack_faults(rules: RuleSet) -> list[Fault]:
    """What the examples of the detectors say of them: one that fails, or too few of them. Reads no text but the rule files."""
    policy = rules.sensitivity
    faults: list[Fault] = []
    for pattern in policy.patterns:
        faults += _tried(pattern.id, _Detectors(SensitivityPolicy(patterns=(pattern,))), {pattern.id}, pattern)
    if policy.gitleaks:
        faults += _gitleaks(policy)
    return faults


def dry_run(policy: SensitivityPolicy, texts: Sequence[str], clock: Callable[[], float]) -> list[Trial]:
    """Each detector of the organisation's over harmless texts, by itself, beside what the shipped ones take.

    `clock` tells seconds. Raises ValueError for a rule file that cannot be used.
    """
    base = _run(_Detectors(SensitivityPolicy()), texts, clock)[1]
    packs: list[tuple[str, SensitivityPolicy]] = [
        (pattern.id, SensitivityPolicy(patterns=(pattern,))) for pattern in policy.patterns
    ]
    if policy.gitleaks:
        packs.append((GITLEAKS, SensitivityPolicy(gitleaks=policy.gitleaks)))
    trials = []
    for id, alone in packs:
        own = _ids(alone)
        found, seconds = _run(_Detectors(alone), texts, clock)
        size = sum(len(text.encode("utf-8", "replace")) for text in texts) or 1
        cost = max(seconds - base, 0.0) * 1e6 / (size / 1000)
        trials.append(Trial(id, sum(bool(rules & own) for rules in found), len(texts), cost))
    return trials


def _gitleaks(policy: SensitivityPolicy) -> list[Fault]:
    try:
        detector = _Detectors(SensitivityPolicy(gitleaks=policy.gitleaks))
    except ValueError as error:
        return [_bad_file(str(error), policy.gitleaks)]
    pack = CustomPattern(GITLEAKS, "", policy.floor, positive=policy.gitleaks_positive, negative=policy.gitleaks_negative)
    return _tried(GITLEAKS, detector, _ids(policy), pack)


def _bad_file(reason: str, text: str) -> Fault:
    """A rule file that cannot be used, with the place where it says so."""
    line, column = 0, 0
    if place := _TOML_PLACE.search(reason):
        line, column = int(place[1]), int(place[2])
    elif named := _RULE_ID.search(reason):
        pattern = re.compile(rf"\s*id\s*=\s*[\"']{re.escape(named[1])}[\"']")
        line = next((number for number, each in enumerate(text.splitlines(), 1) if pattern.match(each)), 0)
        column = 1 if line else 0
    return Fault(Severity.ERROR, "bad_pattern", GITLEAKS, line, column, reason)


def _tried(id: str, detector: _Detectors, own: set[str], pack: CustomPattern) -> list[Fault]:
    faults = []
    for kind, texts, wanted in (("positive", pack.positive, True), ("negative", pack.negative, False)):
        if len(texts) < LEAST_EXAMPLES:
            message = f"`{id}` comes with {len(texts)} {kind} examples; at least {LEAST_EXAMPLES} are needed"
            hint = f"add `{kind}`: texts in which it must {'' if wanted else 'not '}find something"
            if id == GITLEAKS:
                hint += ", under `gitleaks_examples`"
            faults.append(Fault(Severity.ERROR, "few_examples", FILE, pack.line, pack.column, message, hint))
        for number, text in enumerate(texts, 1):
            if bool(_rules_in(detector, text) & own) is not wanted:
                message = f"`{id}` finds {'nothing' if wanted else 'something'} in its {kind} example {number}"
                faults.append(Fault(Severity.ERROR, "example_failed", FILE, pack.line, pack.column, message))
    return faults


def _ids(policy: SensitivityPolicy) -> set[str]:
    return {pattern.id for pattern in policy.patterns} | {rule.id for rule in rules_from(policy.gitleaks)}


def _run(detector: _Detectors, texts: Sequence[str], clock: Callable[[], float]) -> tuple[list[set[str]], float]:
    began = clock()
    found = [_rules_in(detector, text) for text in texts]
    return found, clock() - began


def _rules_in(detector: _Detectors, text: str) -> set[str]:
    part = Part(Role.USER, Provenance.USER, text, "text", 0)
    return {finding.rule for finding in detector.findings(part)}
