"""The organisation's view of what a finding, a topic, a label or an unreadable part counts as."""

from __future__ import annotations

import msgspec

from routing_rules.vocabulary import Sensitivity

LEAST_RECALL = 0.97
"""What a rule masks must be found so surely, measured: what is missed is forwarded as if it were harmless."""


class CustomPattern(msgspec.Struct, frozen=True):
    """A detector of the organisation's own: an RE2 pattern or a list of terms, with category, kind and level."""

    id: str
    category: str
    level: Sensitivity
    pattern: str | None = None
    terms: tuple[str, ...] = ()


class SensitivityPolicy(msgspec.Struct, frozen=True):
    """`kinds` overrides `categories` for one kind of finding; `many` is how many distinct values of a kind raise one level.

    `floor` is what a task without any finding counts as (never lowered by anything a caller sends). `labels` maps
    declared labels and label ids to levels; an unmapped label counts as `unmapped_label`.
    `allow_listed` are documented examples that are no finding (`4111 1111 1111 1111`).
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
