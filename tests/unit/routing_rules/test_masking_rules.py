"""A rule orders masking by name; what nobody has shown to be found surely is refused, and what is left is decided once more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from classifiers.recalls import published, read_recalls
from routing_rules.cases import run_cases
from routing_rules.check import check
from routing_rules.decide import cleared, decide
from routing_rules.decisions import Obligation, Permit, Refuse
from routing_rules.facts import Facts
from routing_rules.faults import Fault, RuleFaults, Severity
from routing_rules.load import complete, load
from routing_rules.rules import RuleSet
from routing_rules.sensitivity import LEAST_RECALL
from routing_rules.vocabulary import Sensitivity

Rules = Callable[..., RuleSet]
Build = Callable[..., Facts]
TODAY = date(2026, 11, 23)
RECALLS = {"email_address": 1.0, "payment_card": 0.98, "phone_number": 0.91}


def table(then: str) -> str:
    return (
        "routes:\n  - id: customers\n    owner: o\n    reason: r\n    when: {category: [pii]}\n"
        f"    then:\n      tier: fast\n      set: none\n      budget: default\n      {then}\n"
        "  - {id: all, owner: o, reason: r, then: {tier: fast, set: none, budget: default}}\n"
    )


def faults(rules_with: Rules, then: str) -> list[Fault]:
    with pytest.raises(RuleFaults) as refused:
        rules_with(routes=table(then))
    return list(refused.value.faults)


def not_maskable(rules: RuleSet) -> list[Fault]:
    return [fault for fault in check(rules, TODAY, RECALLS) if fault.code == "not_maskable"]


def test_a_route_orders_masking_by_the_names_of_findings(rules_with: Rules, facts: Build) -> None:
    rules = rules_with(routes=table("mask: [payment_card, email_address]"))
    permit = decide(rules, facts(categories=frozenset({"pii"})))
    assert isinstance(permit, Permit)
    assert permit.mask == ("email_address", "payment_card")
    assert Obligation.MASK in permit.obligations
    plain = decide(rules, facts())
    assert isinstance(plain, Permit)
    assert plain.mask == ()


@pytest.mark.parametrize(
    ("then", "column", "word"),
    [
        ("obligations: [mask]", 20, "`mask` does not say what is masked"),
        ("mask: []", 13, "orders nothing"),
        ("mask: [Email Address]", 13, "small letters"),
        ("mask: [iban, iban]", 20, "listed twice"),
        ("mask: {pii: yes}", 13, "expected a word"),
    ],
)
def test_an_order_that_says_nothing_is_told_with_its_place(rules_with: Rules, then: str, column: int, word: str) -> None:
    told = [fault for fault in faults(rules_with, then) if word in fault.message]
    assert [(fault.file, fault.line, fault.column) for fault in told] == [("routes.yaml", 10, column)]


def test_only_what_is_found_surely_may_be_masked(rules_with: Rules) -> None:
    assert not_maskable(rules_with(routes=table("mask: [payment_card, email_address]"))) == []
    low, unknown, misspelt = (
        not_maskable(rules_with(routes=table(f"mask: [{name}]"))) for name in ("phone_number", "person_name", "payment_cards")
    )
    assert "its published recall is 0.910" in low[0].message
    assert "no model card publishes its recall" in unknown[0].message
    assert misspelt[0].hint == "did you mean `payment_card`?"
    assert {fault.severity for fault in (*low, *unknown, *misspelt)} == {Severity.ERROR}
    assert low[0].line == 2


def test_nothing_may_be_masked_where_no_recall_is_published(rules_with: Rules) -> None:
    found = check(rules_with(routes=table("mask: [payment_card]")), TODAY)
    assert [fault.code for fault in found if fault.severity is Severity.ERROR] == ["not_maskable"]


def test_what_is_published_was_measured_on_enough_values_and_is_no_name_or_topic() -> None:
    recalls = read_recalls()
    assert {"email_address", "payment_card", "iban"} <= {kind for kind, one in recalls.items() if one.recall >= LEAST_RECALL}
    assert not recalls.keys() & {"person_name", "postal_address", "phi", "legal", "hr", "minors"}
    assert all(one.n >= 30 and one.ci[0] <= one.recall <= one.ci[1] for one in recalls.values())
    assert published() == {kind: one.recall for kind, one in recalls.items()}


def test_masking_comes_before_clearance_and_what_is_left_must_be_cleared(rules_with: Rules, facts: Build) -> None:
    rules = rules_with(routes=table("mask: [email_address]"))
    raw = facts(sensitivity=Sensitivity.RESTRICTED, categories=frozenset({"pii"}))
    first = decide(rules, raw)
    assert isinstance(first, Permit)
    assert (first.rule, first.candidates, first.mask) == ("customers", (), ("email_address",))
    left = decide(rules, facts(sensitivity=Sensitivity.RESTRICTED, categories=frozenset({"pii"}), masked=True))
    assert isinstance(left, Refuse)
    assert left.code == "no_cleared_deployment"
    harmless = decide(rules, facts(masked=True))
    assert isinstance(harmless, Permit)
    assert (harmless.rule, bool(harmless.candidates)) == ("all", True)


def test_a_permit_for_masking_may_go_nowhere_by_itself(rules_with: Rules, facts: Build) -> None:
    rules = rules_with(routes=table("mask: [email_address]"))
    permit = decide(rules, facts(sensitivity=Sensitivity.RESTRICTED, categories=frozenset({"pii"})))
    assert isinstance(permit, Permit)
    assert cleared(rules, permit) == ()


def test_the_authors_of_rules_can_test_both_decisions(rules_with: Rules) -> None:
    cases = """
cases:
  - name: addresses are masked
    facts: {sensitivity: restricted, categories: [pii]}
    expect: {decision: permit, rule: customers, mask: [email_address], candidates: []}
  - name: what is left of them must be cleared
    facts: {sensitivity: restricted, categories: [pii], masked: true}
    expect: {decision: refuse, code: no_cleared_deployment}
  - name: nothing else is masked
    facts: {}
    expect: {rule: all, mask: [email_address]}
"""
    files = complete({"routes.yaml": table("mask: [email_address]"), "cases/own.yaml": cases}, TODAY)
    told = run_cases(load(files))
    assert len(told) == 1
    assert "nothing else is masked" in told[0].message
