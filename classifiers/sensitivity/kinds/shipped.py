"""All shipped detectors, in one order."""

from __future__ import annotations

from classifiers.sensitivity.kinds import (
    banking,
    conditions,
    contacts,
    documents,
    health,
    national,
    network,
    payments,
    secrets,
    vendors,
)
from classifiers.sensitivity.kinds.rule import Rule

RULES: tuple[Rule, ...] = (
    *payments.RULES,
    *banking.RULES,
    *national.RULES,
    *documents.RULES,
    *health.RULES,
    *conditions.RULES,
    *vendors.RULES,
    *secrets.RULES,
    *contacts.RULES,
    *network.RULES,
)

KINDS: dict[str, str] = {rule.kind: rule.category for rule in RULES}
"""Every kind that a shipped detector can report, with its category."""
