"""How well sensitive data is found, and at which cost, measured on the labelled sets in `DIR/sensitivity`."""

from __future__ import annotations

import gzip
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from classifiers.assess import Assessor
from classifiers.evaluation.cost import costs
from classifiers.evaluation.marks import Mark, at_least, at_most, bootstrap, f1, share
from classifiers.evaluation.others import Kinds, Other, others
from classifiers.evaluation.topics import measure as short_topics
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


OURS = ""


class Row(msgspec.Struct, frozen=True):
    """One labelled text and what was said of it.

    `kinds` are the categories and kinds found, by who found them. `flagged`: confidential or higher by the whole
    assessment; `by_detectors`: by findings alone.
    """

    dataset: str
    pool: str
    labels: frozenset[str]
    source: str
    identified: bool
    kinds: dict[str, Kinds]
    categories: frozenset[str]
    flagged: bool
    by_detectors: bool

    def found(self, who: str, categories: Collection[str]) -> bool:
        """Whether something of one of these categories was found."""
        return any(category in categories for category, _ in self.kinds[who])

    def identifier(self, who: str) -> bool:
        """Whether a value was found that leads to one person or account."""
        return any(category in _OF_PEOPLE and kind not in _NOT_IDENTIFYING for category, kind in self.kinds[who])


Question = Callable[[Row], bool]
Answer = Callable[[Row, str], bool]


def measure(data: Path, policy: SensitivityPolicy, key: bytes) -> list[Mark]:
    """All marks on sensitivity: what is found first, then what it costs. Other detectors are scored beside where installed.

    Raises OSError and ValueError for data that cannot be read.
    """
    given = [(name, entry) for name in _SETS for entry in _read(data / "sensitivity" / f"{name}.jsonl.gz")]
    assessor, detector, compared = Assessor(policy, key), Detector(policy, key), others()
    rows = [judged(assessor, detector, compared, policy, name, entry) for name, entry in given if entry["pool"] not in _UNSCORED]
    prose = [entry["text"] for name, entry in given if name not in ("evasion", "secrets_vendor") and "text" in entry]
    ordinary = [entry["text"] for name, entry in given if name == "benign_user_prompts" and "text" in entry]
    return [*accuracy(rows), *short_topics(ordinary), *costs(policy, key, prose)]


def judged(
    assessor: Assessor,
    detector: Detector,
    compared: Mapping[str, Other],
    policy: SensitivityPolicy,
    dataset: str,
    entry: dict[str, Any],
) -> Row:
    """The row of one line of a set."""
    task = _task(entry)
    said, scan = assessor.assess(task, ()), detector.scan(task.parts)
    alone = level(policy, scan.findings, {}, task.parts, scan.state)
    held = {span["type"] for span in entry.get("spans", ())} | set(entry.get("sub", ()))
    text = "\n".join(part.text for part in task.parts)
    ours = frozenset((finding.category, finding.kind) for finding in scan.findings)
    return Row(
        dataset=dataset,
        pool=entry["pool"],
        labels=frozenset(entry["labels"]),
        source=entry.get("technique") or entry.get("lang") or entry["source"],
        identified=bool(held & IDENTIFIERS),
        kinds={OURS: ours, **{name: other(text) for name, other in compared.items()}},
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
        *_breakdown("PII identifiers: recall", people),
        _at_most("PII identifiers: flagged by detectors, benign", benign, lambda row: row.by_detectors, 0.005, _anything),
        _at_most("PII identifiers: flagged by detectors, hard", hard, lambda row: row.by_detectors, 0.01, _anything),
        *_found("payment cards", everyday, lambda row: "pci" in row.labels, _of("pci"), least=(0.99, 0.97)),
        *_found("credentials", secrets, lambda row: bool(row.labels), _of("credentials"), least_f1=0.78),
        _at_most(
            "credentials: near misses taken for secrets",
            [row for row in secrets if not row.labels],
            lambda row: row.found(OURS, ("credentials",)),
            0.10,
            _of("credentials"),
        ),
        *_evasions([row for row in rows if row.dataset == "evasion" and row.pool == "evasion"]),
        _at_most("evasions: look-alikes flagged", alike, lambda row: row.flagged, 0.01, _anything),
        _at_most("confidential or higher, benign", benign, lambda row: row.flagged, 0.012),
        _at_most("confidential or higher, hard", hard, lambda row: row.flagged, 0.04),
        *_topics([row for row in rows if row.dataset == "synth_topical" and row.labels]),
        _at_least("clinical notes: confidential or higher", _in(rows, "phi_clinical"), lambda row: row.flagged, 0.95),
        _at_least("contracts: confidential or higher", _in(rows, "legal_contracts"), lambda row: row.flagged, 0.96),
    ]


def _in(rows: Sequence[Row], dataset: str) -> list[Row]:
    return [row for row in rows if row.dataset == dataset]


def _of(*categories: str) -> Answer:
    return lambda row, who: row.found(who, categories)


def _anything(row: Row, who: str) -> bool:
    return bool(row.kinds[who])


def _beside(rows: Sequence[Row]) -> list[str]:
    """Who else was asked about these rows."""
    return [who for who in rows[0].kinds if who != OURS] if rows else []


def _found(
    name: str,
    rows: Sequence[Row],
    holds: Question,
    found: Answer,
    *,
    least_f1: float | None = None,
    least: tuple[float, float] | None = None,
) -> list[Mark]:
    """F1, precision and recall; those without a bound are only reported."""
    wanted = np.array([holds(row) for row in rows], dtype=bool)
    values: dict[str, tuple[float, float, float]] = {}
    for who in (OURS, *_beside(rows)):
        hit = np.array([found(row, who) for row in rows], dtype=bool)
        both, answers = int((wanted & hit).sum()), int(hit.sum())
        missed = int(wanted.sum()) - both
        values[who] = f1(both, answers - both, missed), share(both, answers)[0], share(both, both + missed)[0]
    answered = np.array([found(row, OURS) for row in rows], dtype=bool)

    def score(drawn: Any) -> float:
        hit, meant = answered[drawn], wanted[drawn]
        return f1(int((hit & meant).sum()), int((hit & ~meant).sum()), int((~hit & meant).sum()))

    both = int((wanted & answered).sum())
    figures = (
        ("F1", bootstrap(len(rows), score), int(wanted.sum()), least_f1),
        ("precision", share(both, int(answered.sum()))[1], int(answered.sum()), least and least[0]),
        ("recall", share(both, int(wanted.sum()))[1], int(wanted.sum()), least and least[1]),
    )
    return [
        _bounded(f"{name}: {title}", values[OURS][index], ci, n, bound, {who: values[who][index] for who in _beside(rows)})
        for index, (title, ci, n, bound) in enumerate(figures)
    ]


def _breakdown(name: str, rows: Sequence[Row]) -> Iterator[Mark]:
    """Recall by source or language, only reported."""
    sources: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.identified:
            sources[row.source].append(row)
    for source, held in sorted(sources.items()):
        beside = {who: sum(row.identifier(who) for row in held) / len(held) for who in _beside(held)}
        yield _bounded(f"{name}, {source}", *share(sum(row.identifier(OURS) for row in held), len(held)), len(held), None, beside)


def _evasions(rows: Sequence[Row]) -> list[Mark]:
    """Found as plain text, and the mean over techniques, each counted alike."""
    seen: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        seen[row.source].append(row)
    plain = seen.pop("plain", [])
    scope = {technique: held for technique, held in seen.items() if technique not in _OUT_OF_SCOPE}
    marks = [
        at_least("evasions: plain", *share(_hits(plain, OURS), len(plain)), len(plain), 1.0, _shares(plain)),
        _mean("evasions: mean over techniques in scope", scope, 0.94),
        _mean("evasions: mean over all techniques", seen, None),
    ]
    for technique, held in sorted(seen.items()):
        if _hits(held, OURS) < len(held):
            marks.append(_bounded(f"evasions: {technique}", *share(_hits(held, OURS), len(held)), len(held), None, _shares(held)))
    return marks


def _hits(rows: Sequence[Row], who: str) -> int:
    return sum(row.found(who, row.labels) for row in rows)


def _shares(rows: Sequence[Row]) -> dict[str, float]:
    return {who: _hits(rows, who) / len(rows) for who in _beside(rows)}


def _mean(name: str, seen: Mapping[str, Sequence[Row]], bound: float | None) -> Mark:
    """The mean of the techniques' shares, its interval from drawing rows anew within each technique."""
    if not seen:
        return _bounded(name, math.nan, (0.0, 1.0), 0, bound, {})
    rng = np.random.default_rng(0)
    shares = np.array([_hits(held, OURS) / len(held) for held in seen.values()])
    sizes = np.array([len(held) for held in seen.values()])
    drawn = (rng.binomial(sizes, shares, (500, len(sizes))) / sizes).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    beside = {
        who: sum(_hits(held, who) / len(held) for held in seen.values()) / len(seen) for who in _beside(next(iter(seen.values())))
    }
    return _bounded(name, float(shares.mean()), (float(low), float(high)), int(sizes.sum()), bound, beside)


def _topics(rows: Sequence[Row]) -> list[Mark]:
    counts = Counter(label for row in rows for label in row.labels)
    marks = []
    for label in sorted(counts):
        topic = _TOPIC.get(label, label)
        hits = sum(topic in row.categories and row.flagged for row in rows if label in row.labels)
        marks.append(at_least(f"short prompts: {topic} recall", *share(hits, counts[label]), counts[label], 0.90))
    return marks


def _at_most(name: str, rows: Sequence[Row], hit: Question, bound: float, beside: Answer | None = None) -> Mark:
    others_say = {who: sum(beside(row, who) for row in rows) / len(rows) for who in _beside(rows)} if beside else {}
    return at_most(name, *share(sum(map(hit, rows)), len(rows)), len(rows), bound, others_say)


def _at_least(name: str, rows: Sequence[Row], hit: Question, bound: float) -> Mark:
    return at_least(name, *share(sum(map(hit, rows)), len(rows)), len(rows), bound)


def _bounded(name: str, value: float, ci: tuple[float, float], n: int, bound: float | None, beside: Mapping[str, float]) -> Mark:
    """A figure that should reach its bound, or is only reported."""
    if bound is None:
        return Mark(name, value, ci, n, "reported", True, dict(beside))
    return at_least(name, value, ci, n, bound, beside)


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
