"""Warnings, drift and the growth of reasoning, as `budgets.yaml` says them."""

from __future__ import annotations

from datetime import date

import pytest

from routing_rules.budgets import SessionBudget
from routing_rules.faults import RuleFaults
from routing_rules.load import complete, load

TODAY = date(2026, 11, 23)


def budget(more: str) -> SessionBudget:
    text = (
        f"session_budgets:\n  - {{id: default, requests: 5{more}}}\n  - {{id: reasoning}}\n  - {{id: tiny}}\n"
        "default_owner_budget: {soft_usd: 1, hard_usd: 2}\n"
    )
    return load(complete({"budgets.yaml": text}, TODAY)).session_budgets["default"]


def test_what_is_not_said_has_its_usual_value() -> None:
    found = budget("")
    assert (found.warn_percent, found.drift_warn, found.drift_hold, found.drift_stop) == (80, 0.4, None, None)
    assert found.reasoning_growth_tokens is None


def test_every_limit_of_a_session_can_be_said() -> None:
    found = budget(", reasoning_growth_tokens: 9000, warn_percent: 50, drift: {warn: 0.3, hold: 0.6, stop: 0.95}")
    assert (found.reasoning_growth_tokens, found.warn_percent) == (9000, 50)
    assert (found.drift_warn, found.drift_hold, found.drift_stop) == (0.3, 0.6, 0.95)


@pytest.mark.parametrize(
    "more",
    [
        ", warn_percent: 101",
        ", warn_percent: 0",
        ", drift: {hold: 0.9, stop: 0.5}",
        ", drift: {hold: 1.5}",
        ", drift: {hodl: 0.9}",
    ],
)
def test_a_limit_that_cannot_be_kept_is_told_with_its_place(more: str) -> None:
    with pytest.raises(RuleFaults) as raised:
        budget(more)
    assert raised.value.faults[0].file == "budgets.yaml"
    assert raised.value.faults[0].line > 0
