"""Why a task was decided as it was, in words that lead to a remedy."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from routing_rules.decide import decide
from routing_rules.decisions import Hold
from routing_rules.explain import explain
from routing_rules.facts import Facts
from routing_rules.rules import RuleSet
from routing_rules.vocabulary import Access, Integrity, Sensitivity, TaskKind

Build = Callable[..., Facts]


def test_the_deciding_rule_and_every_loser_are_named(rules: RuleSet, facts: Build) -> None:
    told = explain(rules, facts(task=TaskKind.CODING))
    assert (told.rule, told.owner) == ("routine-work", "platform@example.org")
    assert told.reason
    assert {loser.rule for loser in told.losers} == {rule.id for rule in rules.rules} - {"routine-work"}
    lost = next(loser for loser in told.losers if loser.rule == "demanding-code")
    assert (lost.dimension, lost.admits, lost.shows) == ("complexity", ("complex", "moderate"), ("simple",))


def test_a_rule_that_matched_and_lost_says_to_whom(rules: RuleSet, facts: Build) -> None:
    told = explain(rules, facts(task=TaskKind.PLANNING))
    lost = next(loser for loser in told.losers if loser.rule == "routine-work")
    assert lost.why == "it matches, but `work-of-many-steps` stands before it"
    told = explain(rules, facts(integrity=Integrity.UNTRUSTED, functions=("make_payment",)))
    lost = next(loser for loser in told.losers if loser.rule == "routine-work")
    assert lost.why == "it matches, but `no-admin-tools-after-untrusted-content` is a forbid and a permit gives way to it"


def test_the_nearest_change_of_a_refusal_leads_to_a_permit(rules: RuleSet, facts: Build) -> None:
    refused = facts(sensitivity=Sensitivity.RESTRICTED, categories=frozenset({"credentials"}))
    told = explain(rules, refused)
    assert all(nearest.outcome == "permit" for nearest in told.nearest)
    assert any(change.dimension == "category" for nearest in told.nearest for change in nearest.changes)
    assert all(len(nearest.changes) == 1 for nearest in told.nearest)


def test_two_changes_are_tried_where_one_does_not_suffice(rules: RuleSet, facts: Build) -> None:
    refused = facts(session_ended="idle", sensitivity=Sensitivity.RESTRICTED, categories=frozenset({"credentials"}))
    told = explain(rules, refused)
    assert told.nearest
    assert all(len(nearest.changes) == 2 for nearest in told.nearest)
    assert all({"session"} < {change.dimension for change in nearest.changes} for nearest in told.nearest)


def test_a_held_task_says_which_rule_an_approval_would_follow(rules_with: Callable[..., RuleSet], facts: Build) -> None:
    rules = rules_with(
        routes="""
step_ups: [{id: ask, owner: o, reason: r, when: {access: control}}]
routes: [{id: all, owner: o, reason: r, then: {tier: fast, set: none, budget: default}}]
"""
    )
    asked = facts(access=Access.CONTROL)
    assert isinstance(decide(rules, asked), Hold)
    told = explain(rules, asked)
    assert "what an approval would allow" in told.losers[0].why
    assert told.nearest[0].outcome == "permit"


def test_a_task_that_no_rule_can_judge_is_explained_all_the_same(rules: RuleSet, facts: Build) -> None:
    told = explain(rules, facts(caller={"purpose": "nobody-governs-this"}))
    assert (told.rule, told.losers) == ("router:governed-purpose", ())
    assert told.nearest[0].changes[0].dimension == "purpose"


def test_an_explanation_can_be_written_as_json(rules: RuleSet, facts: Build) -> None:
    assert msgspec.json.decode(msgspec.json.encode(explain(rules, facts())))["rule"] == "routine-work"
