"""The organisation's view of what a finding, a topic, a label or an unreadable part counts as."""

from __future__ import annotations

import msgspec

from routing_rules.vocabulary import Sensitivity

LEAST_RECALL = 0.97
"""What a rule masks must be found so surely, measured: what is missed is forwarded as if it were harmless."""


class CustomPattern(msgspec.Struct, frozen=True):
    """A detector of the organisation's own: an RE2 pattern or a list of terms, with category, kind and level.

    `score` lies in [0, 1]. `positive` are texts in which it must find something, `negative` texts in which it must not; they are
    tried before the rules take effect. `line` and `column` say where it is written, from 1 (0: nowhere).
    """

    id: str
    category: str
    level: Sensitivity
    pattern: str | None = None
    terms: tuple[str, ...] = ()
    score: float = 0.9
    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    line: int = 0
    column: int = 0


class CodeNames(msgspec.Struct, frozen=True):
    """Names that must not leave, listed without being told: each as a keyed hash of its words (`router rules hash-names`).

    `key_id` names the key without telling it. A list made under another key finds nothing, so tasks are `unscanned` then.
    """

    id: str
    category: str
    level: Sensitivity
    key_id: str
    hashes: frozenset[str]
    line: int = 0
    column: int = 0


COMPLEXITY_TARGETS = ("fast_fails", "strong_minus_weak")
"""What the shipped score of complexity may foretell: that a fast model fails, or by how much a stronger one does better."""


class ComplexityPolicy(msgspec.Struct, frozen=True):
    """Which score of complexity counts: a target of the shipped model, or a calibrated `model` by its version and text."""

    target: str = COMPLEXITY_TARGETS[0]
    model: str = ""
    text: str = ""


class SensitivityPolicy(msgspec.Struct, frozen=True):
    """`kinds` overrides `categories` for one kind of finding.

    `many` distinct values of a kind raise it by one level, `bulk` distinct values about people by two. `floor` is what a task
    without any finding counts as (never lowered by anything a caller sends). `labels` maps declared labels and label ids to levels;
    an unmapped label counts as `unmapped_label`, or is refused with `refuse_unmapped`; `label_fields` are the keys of a request's
    `metadata` that declare a label. `thresholds` (by kind or category of finding) and `topic_thresholds` are scores from which on
    evidence counts. `level_names` are the organisation's own names of the levels. `gitleaks` is the text of its rule file in that
    format, with examples as in `CustomPattern`. `allow_listed` are documented examples that are no finding (`4111 1111 1111 1111`).
    """

    floor: Sensitivity = Sensitivity.PUBLIC
    categories: dict[str, Sensitivity] = {}
    kinds: dict[str, Sensitivity] = {}
    topics: dict[str, Sensitivity] = {}
    unreadable: dict[str, Sensitivity] = {}
    unscanned: Sensitivity = Sensitivity.CONFIDENTIAL
    labels: dict[str, Sensitivity] = {}
    unmapped_label: Sensitivity = Sensitivity.RESTRICTED
    many: int = 10
    allow_listed: frozenset[str] = frozenset()
    patterns: tuple[CustomPattern, ...] = ()
    bulk: int = 100
    refuse_unmapped: bool = False
    label_fields: tuple[str, ...] = ("sensitivity_label",)
    thresholds: dict[str, float] = {}
    topic_thresholds: dict[str, float] = {}
    level_names: dict[str, str] = {}
    code_names: tuple[CodeNames, ...] = ()
    complexity: ComplexityPolicy = ComplexityPolicy()
    gitleaks: str = ""
    gitleaks_positive: tuple[str, ...] = ()
    gitleaks_negative: tuple[str, ...] = ()

    def label_level(self, label: str) -> Sensitivity | None:
        """What a declared label, a label id or a level's own name counts as; None where nobody has mapped it."""
        if label in self.labels:
            return self.labels[label]
        name = label.strip().lower()
        for level, own in self.level_names.items():
            if own.lower() == name:
                return Sensitivity(level)
        return next((level for known, level in self.labels.items() if known.lower() == name), _NAMES.get(name))


_NAMES = {level.value: level for level in Sensitivity}
