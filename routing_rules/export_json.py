"""A rule set as one JSON document: everything that is in force, as it was understood, for tools of others (pure)."""

from __future__ import annotations

from typing import Any

import msgspec

from routing_rules.rules import DIMENSIONS, RuleSet

FORMAT = 1
"""Rises when a key changes its meaning or goes; new keys may come at any time."""


def document(rules: RuleSet) -> dict[str, Any]:
    """Plain values: the vocabularies, the decision table in the order in which it decides, and the catalogue. Words of a condition and
    other sets are sorted, conditions hold every admitted word, money is in nano-USD. Secrets are references, as in the files."""
    words = {**DIMENSIONS, "category": rules.categories, "purpose": tuple(rules.purposes), "app": tuple(rules.apps)}
    found: dict[str, Any] = msgspec.to_builtins(
        {
            "format": FORMAT,
            "revision": rules.revision,
            "vocabularies": words,
            "time_zone": str(rules.time_zone),
            "tiers": rules.tiers,
            "rules": rules.rules,
            "apps": list(rules.apps.values()),
            "purposes": list(rules.purposes.values()),
            "deployments": list(rules.deployments.values()),
            "tools": list(rules.tools.values()),
            "sets": list(rules.sets.values()),
            "session_budgets": list(rules.session_budgets.values()),
            "owner_budgets": [
                rules.default_owner_budget,
                *(each for own in rules.owner_budgets.values() for each in own if each is not rules.default_owner_budget),
            ],
            "sensitivity": rules.sensitivity,
            "new_sessions_per_hour": rules.new_sessions_per_hour,
        },
        order="deterministic",
    )
    return found
