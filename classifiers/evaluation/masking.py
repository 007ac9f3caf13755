"""Whether values are found so surely that a rule may rely on masking them: recall by kind of finding, value by value."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from classifiers.evaluation.marks import Mark, at_least, share
from classifiers.evaluation.sensitivity import PII_SETS, _read, _task
from classifiers.recalls import Recall
from classifiers.sensitivity.engine import Detector
from routing_rules.sensitivity import LEAST_RECALL, SensitivityPolicy

LEAST_VALUES = 30
"""Of fewer values nothing is published."""

_SPANS = {
    "EMAIL_ADDRESS": "email_address",
    "CREDIT_CARD": "payment_card",
    "IBAN_CODE": "iban",
    "US_SSN": "us_ssn",
    "PHONE_NUMBER": "phone_number",
    "US_DRIVER_LICENSE": "driving_licence",
}
"""What the sets call a value → the kind of finding that must cover it. Names, places and topics are never masked."""

_HELD = {"email": "email_address", "iban": "iban", "phone": "phone_number"}
"""The same for a set that says what a text holds, but not where: a text counts as one value."""


def recalls(data: Path, policy: SensitivityPolicy, key: bytes) -> dict[str, Recall]:
    """Kind → its recall, where there are enough values. Raises OSError and ValueError for data that cannot be read."""
    detector = Detector(policy, key)
    seen: dict[str, list[bool]] = defaultdict(list)
    sets: dict[str, dict[str, None]] = defaultdict(dict)
    for name in PII_SETS:
        for entry in _read(data / "sensitivity" / f"{name}.jsonl.gz"):
            findings = detector.scan(_task(entry).parts).findings
            for span in entry.get("spans", ()):
                kind = _SPANS.get(span["type"])
                if kind is not None:
                    covering = (f for f in findings if f.start <= span["start"] and span["end"] <= f.end)
                    seen[kind].append(any(finding.kind == kind for finding in covering))
                    sets[kind][name] = None
            for held in entry.get("sub", ()):
                kind = _HELD.get(held)
                if kind is not None:
                    seen[kind].append(any(finding.kind == kind for finding in findings))
                    sets[kind][name] = None
    found = {}
    for kind, hits in sorted(seen.items()):
        if len(hits) >= LEAST_VALUES:
            value, (low, high) = share(sum(hits), len(hits))
            found[kind] = Recall(value, (low, high), len(hits), tuple(sets[kind]))
    return found


def marks(measured: Mapping[str, Recall]) -> list[Mark]:
    """One mark for each kind that was measured."""
    return [at_least(f"masking: {kind} recall", one.recall, one.ci, one.n, LEAST_RECALL) for kind, one in measured.items()]


def as_toml(measured: Mapping[str, Recall]) -> str:
    """The text of `fitted/recalls.toml`."""
    lines = [
        "# The share of labelled values that a finding of the kind covers whole; `router eval masking --toml` writes this file."
    ]
    for kind, one in measured.items():
        low, high = one.ci
        names = ", ".join(f'"{name}"' for name in one.sets)
        lines += [
            "",
            f"[{kind}]",
            f"recall = {one.recall:.4f}",
            f"ci = [{low:.4f}, {high:.4f}]",
            f"n = {one.n}",
            f"sets = [{names}]",
        ]
    return "\n".join(lines) + "\n"
