"""How well sensitive data is found, and at which cost, measured on the labelled sets in `DIR/sensitivity`."""

from __future__ import annotations

import gzip
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from classifiers.assess import Assessor
from classifiers.evaluation.cost import costs
from classifiers.evaluation.marks import Mark, at_least, at_most, bootstrap, f1, share
from classifiers.sensitivity.combine import level
from classifiers.sensitivity.engine import Detector
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.task import Endpoint, Part, Provenance, Role, Task
from routing_rules.vocabulary import Sensitivity

PII_SETS = ("pii_presidio_generated_large", "pii_presidio_synth_v2", "multilingual_pii")
IDENTIFIERS = frozenset(
    {"EMAIL_ADDRESS", "PHONE_NUMBER", "US_SSN", "IBAN_CODE", "US_DRIVER_LICENSE", "email", "phone", "gov_id", "iban"}
)
"""What the sets call a value that leads to one person or account. Names, addresses, ages and places alone do not."""

_NOT_IDENTIFYING = frozenset({"person_name", "postal_address", "birth_date"})
_OF_PEOPLE = ("pii", "phi", "financial")
_SETS = (
    *PII_SETS,
    "secrets_vendor",
    "evasion",
    "synth_topical",
    "phi_clinical",
    "legal_contracts",
    "source_code",
    "benign_user_prompts",
    "benign_hard_topics",
    "benign_public_financials",
)
_UNSCORED = frozenset({"weak", "unlabelled_low"})
_TOPIC = {"children": "minors"}
_OUT_OF_SCOPE = frozenset({"reversed", "rot13"})  # texts that no reader and no model takes for what they stand for
_ROLES = {"assistant": (Role.ASSISTANT, Provenance.MODEL), "system": (Role.SYSTEM, Provenance.APP)}


class Row(msgspec.Struct, frozen=True):
    """One labelled text and what was said of it. `flagged`: confidential or higher; `by_detectors`: by findings alone."""

    dataset: str
    pool: str
    labels: frozenset[str]
    source: str
    group: str
    identified: bool
    kinds: frozenset[tuple[str, str]]
    categories: frozenset[str]
    flagged: bool
    by_detectors: bool

    def found(self, *categories: str) -> bool:
        """Whether the detectors found something of one of these categories."""
        return any(category in categories for category, _ in self.kinds)

    def identifier(self) -> bool:
        """Whether the detectors found a value that leads to one person or account."""
        return any(category in _OF_PEOPLE and kind not in _NOT_IDENTIFYING for category, kind in self.kinds)


Question = Callable[[Row], bool]


def measure(data: Path, policy: SensitivityPolicy, key: bytes) -> list[Mark]:
    """All marks on sensitivity: what is found first, then what it costs.

    Raises OSError and ValueError for data that cannot be read.
    """
    given = [(name, entry) for name in _SETS for entry in _read(data / "sensitivity" / f"{name}.jsonl.gz")]
    assessor, detector = Assessor(policy, key), Detector(policy, key)
    rows = [judged(assessor, detector, policy, name, entry) for name, entry in given if entry["pool"] not in _UNSCORED]
    prose = [entry["text"] for name, entry in given if name not in ("evasion", "secrets_vendor") and "text" in entry]
    return [*accuracy(rows), *costs(policy, key, prose)]


def judged(assessor: Assessor, detector: Detector, policy: SensitivityPolicy, dataset: str, entry: dict[str, Any]) -> Row:
    """The row of one line of a set."""
    task = _task(entry)
    said, scan = assessor.assess(task, ()), detector.scan(task.parts)
    alone = level(policy, scan.findings, {}, task.parts, scan.state)
    held = {span["type"] for span in entry.get("spans", ())} | set(entry.get("sub", ()))
    return Row(
        dataset=dataset,
        pool=entry["pool"],
        labels=frozenset(entry["labels"]),
        source=entry.get("technique") or entry.get("lang") or entry["source"],
        group=entry.get("group", ""),
        identified=bool(held & IDENTIFIERS),
        kinds=frozenset((finding.category, finding.kind) for finding in scan.findings),
        categories=said.categories,
        flagged=said.sensitivity >= Sensitivity.CONFIDENTIAL,
        by_detectors=alone.sensitivity >= Sensitivity.CONFIDENTIAL,
    )


def accuracy(rows: Sequence[Row]) -> list[Mark]:
    """The marks on what is found. A row is one request; it counts once, whatever it holds."""
    people = [row for row in rows if row.dataset in PII_SETS]
    alike = [row for row in rows if row.dataset == "evasion" and row.pool == "hard_benign"]
    benign = [row for row in rows if row.pool == "benign"]
    hard = [row for row in rows if row.pool == "hard_benign" and row.dataset != "evasion"]
    secrets = [row for row in rows if row.dataset == "secrets_vendor"]
    everyday = [*people, *benign, *hard]
    return [
        *_found("PII identifiers", everyday, lambda row: row.identified, Row.identifier, least_f1=0.92),
        _at_most("PII identifiers: flagged by detectors, benign", benign, lambda row: row.by_detectors, 0.005),
        _at_most("PII identifiers: flagged by detectors, hard", hard, lambda row: row.by_detectors, 0.01),
        *_found("payment cards", everyday, lambda row: "pci" in row.labels, lambda row: row.found("pci"), least=(0.99, 0.97)),
        *_found("credentials", secrets, lambda row: bool(row.labels), lambda row: row.found("credentials"), least_f1=0.78),
        _at_most(
            "credentials: near misses taken for secrets",
            [row for row in secrets if not row.labels],
            lambda row: row.found("credentials"),
            0.10,
        ),
        *_evasions([row for row in rows if row.dataset == "evasion" and row.pool == "evasion"]),
        _at_most("evasions: look-alikes flagged", alike, lambda row: row.flagged, 0.01),
        _at_most("confidential or higher, benign", benign, lambda row: row.flagged, 0.012),
        _at_most("confidential or higher, hard", hard, lambda row: row.flagged, 0.04),
        *_topics([row for row in rows if row.dataset == "synth_topical" and row.labels]),
        _at_least(
            "clinical notes: confidential or higher", [row for row in rows if row.dataset == "phi_clinical"], lambda row: row.flagged, 0.95
        ),
        _at_least(
            "contracts: confidential or higher", [row for row in rows if row.dataset == "legal_contracts"], lambda row: row.flagged, 0.96
        ),
    ]  # fmt: skip


def _found(
    name: str,
    rows: Sequence[Row],
    holds: Question,
    found: Question,
    *,
    least_f1: float | None = None,
    least: tuple[float, float] | None = None,
) -> list[Mark]:
    """F1, precision and recall; those without a bound are only reported."""
    wanted = np.array([holds(row) for row in rows], dtype=bool)
    answered = np.array([found(row) for row in rows], dtype=bool)

    def score(drawn: Any) -> float:
        hit, meant = answered[drawn], wanted[drawn]
        return f1(int((hit & meant).sum()), int((hit & ~meant).sum()), int((~hit & meant).sum()))

    both = int((wanted & answered).sum())
    marks = [_bounded(f"{name}: F1", score(slice(None)), bootstrap(len(rows), score), int(wanted.sum()), least_f1)]
    for title, of, bound in (
        ("precision", int(answered.sum()), least and least[0]),
        ("recall", int(wanted.sum()), least and least[1]),
    ):
        marks.append(_bounded(f"{name}: {title}", *share(both, of), of, bound))
    return marks


def _evasions(rows: Sequence[Row]) -> list[Mark]:
    """Found as plain text, and the mean over techniques, each counted alike."""
    seen: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        seen[row.source].append(row.found(*row.labels))
    plain = seen.pop("plain", [])
    scope = {technique: hits for technique, hits in seen.items() if technique not in _OUT_OF_SCOPE}
    missed = {technique: round(sum(hits) / len(hits), 3) for technique, hits in sorted(scope.items()) if not all(hits)}
    return [
        at_least("evasions: plain", *share(sum(plain), len(plain)), len(plain), 1.0),
        _mean("evasions: mean over techniques in scope", scope, 0.94),
        _mean("evasions: mean over all techniques", seen, None),
        *(_reported(f"evasions: {technique}", *share(sum(seen[technique]), len(seen[technique])), len(seen[technique])) for technique in missed),
    ]  # fmt: skip


def _mean(name: str, seen: dict[str, list[bool]], bound: float | None) -> Mark:
    """The mean of the techniques' shares, its interval from drawing rows anew within each technique."""
    if not seen:
        return _bounded(name, math.nan, (0.0, 1.0), 0, bound)
    rng = np.random.default_rng(0)
    shares = np.array([sum(hits) / len(hits) for hits in seen.values()])
    sizes = np.array([len(hits) for hits in seen.values()])
    drawn = (rng.binomial(sizes, shares, (500, len(sizes))) / sizes).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return _bounded(name, float(shares.mean()), (float(low), float(high)), int(sizes.sum()), bound)


def _topics(rows: Sequence[Row]) -> list[Mark]:
    counts = Counter(label for row in rows for label in row.labels)
    marks = []
    for label in sorted(counts):
        topic = _TOPIC.get(label, label)
        hits = sum(topic in row.categories and row.flagged for row in rows if label in row.labels)
        marks.append(at_least(f"short prompts: {topic} recall", *share(hits, counts[label]), counts[label], 0.90))
    return marks


def _at_most(name: str, rows: Sequence[Row], hit: Question, bound: float) -> Mark:
    return at_most(name, *share(sum(map(hit, rows)), len(rows)), len(rows), bound)


def _at_least(name: str, rows: Sequence[Row], hit: Question, bound: float) -> Mark:
    return at_least(name, *share(sum(map(hit, rows)), len(rows)), len(rows), bound)


def _bounded(name: str, value: float, ci: tuple[float, float], n: int, bound: float | None) -> Mark:
    return _reported(name, value, ci, n) if bound is None else at_least(name, value, ci, n, bound)


def _reported(name: str, value: float, ci: tuple[float, float], n: int) -> Mark:
    """A figure without a bound."""
    return Mark(name, value, ci, n, "reported", True)


def _task(entry: dict[str, Any]) -> Task:
    """The request that a line stands for: one user turn, or its messages."""
    if "text" in entry:
        return Task(Endpoint.CHAT, "auto", (Part(Role.USER, Provenance.USER, entry["text"], "text", 0),))
    parts = []
    for turn, message in enumerate(entry["messages"]):
        role, provenance = _ROLES.get(message["role"], (Role.USER, Provenance.USER))
        parts.append(Part(role, provenance, message["content"], f"messages[{turn}]", turn))
    return Task(Endpoint.CHAT, "auto", tuple(parts))


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a set; one that is not there has none."""
    if not path.exists():
        return
    with gzip.open(path) as lines:
        for line in lines:
            yield msgspec.json.decode(line)
