"""What an explanation says of a decision is so: the clauses hold, the losers lost, and the changes it names change the decision."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from random import Random

import msgspec
import pytest
from random_facts import random_facts

from routing_rules.budgets import CallLimits
from routing_rules.decide import TOOL_FEATURES, decide
from routing_rules.decisions import Hold, Permit
from routing_rules.entitlements import capabilities_of, grant_key
from routing_rules.explain import Change, Nearest, explain
from routing_rules.facts import Facts
from routing_rules.load import load, shipped
from routing_rules.rules import AUTO_WISHES, DIMENSIONS, UNDECLARED, Effect, Rule, RuleSet, Then, shown
from routing_rules.task import Endpoint, Feature, ToolChoice
from routing_rules.vocabulary import Access, Complexity, Integrity, ScanState, Sensitivity, TaskKind

SHIPPED = load(shipped(date(2026, 11, 23)))


def random_rules(random: Random) -> RuleSet:
    """The shipped catalogue under rules of any kind."""
    words = {**DIMENSIONS, "category": SHIPPED.categories, "purpose": tuple(SHIPPED.purposes)}
    rules = []
    for effect, most in ((Effect.FORBID, 3), (Effect.STEP_UP, 2), (Effect.PERMIT, 6)):
        for number in range(random.randint(0, most)):
            dimensions = random.sample(sorted(words), random.randint(0, 3))
            when = {
                name: frozenset(random.sample(words[name], random.randint(1, min(3, len(words[name]))))) for name in dimensions
            }
            tiers = random.choice((("fast",), ("reasoning", "fast")))
            then = Then(tiers, random.choice(list(SHIPPED.sets)), "default", CallLimits(), hints=random.random() < 0.5)
            until = random.choice((None, None, date(2026, 6, 1)))
            rules.append(
                Rule(f"{effect}-{number}", effect, "o", "r", when, then if effect is Effect.PERMIT else None, valid_until=until)
            )
    return replace(SHIPPED, rules=tuple(rules))


def changed(facts: Facts, change: Change) -> Facts:
    """The task with a change that is read from its words alone."""
    kind, _, family = change.dimension.partition(":")
    after = change.after
    labels, caller = facts.labels, facts.caller
    put = msgspec.structs.replace
    if kind == "sensitivity":
        return put(facts, labels=put(labels, confidentiality=Sensitivity(after)))
    if kind == "integrity":
        return put(facts, labels=put(labels, integrity=Integrity(after)))
    if kind == "declared":
        return put(facts, declared=None if after == UNDECLARED else Sensitivity(after))
    if kind == "category":
        return put(facts, categories=facts.categories - {change.before})
    if kind == "tool":
        return put(facts, tools=tuple(ask for ask in facts.tools if grant_key(ask) != (family, change.before)))
    if kind == "tools":
        return put(facts, tools=(), tool_choice=ToolChoice(), features=facts.features - TOOL_FEATURES)
    if kind == "purpose":
        return put(facts, caller=put(caller, purpose=after))
    if kind == "clearance":
        return put(facts, caller=put(caller, clearance=Sensitivity(after)))
    if kind == "feature":
        return put(facts, features=facts.features - {Feature(change.before)})
    if kind == "field":
        return put(facts, extra_fields=facts.extra_fields - {change.before})
    if kind == "day":
        return put(facts, now=datetime.combine(date.fromisoformat(after), facts.now.timetz()))
    if kind == "session":
        return put(facts, session_ended=None)
    if kind == "state held by":
        return put(facts, pinned=None)
    if kind == "input_bytes":
        return put(facts, input_bytes=int(after))
    types = {"task": TaskKind, "complexity": Complexity, "access": Access, "state": ScanState, "endpoint": Endpoint, "wish": str}
    return put(facts, **{kind: types[kind](after)})


def told(rules: RuleSet, facts: Facts, nearest: Nearest) -> tuple[str, str, str | None]:
    for change in nearest.changes:
        facts = changed(facts, change)
    return outcome(rules, facts)


def outcome(rules: RuleSet, facts: Facts) -> tuple[str, str, str | None]:
    decision = decide(rules, facts)
    if isinstance(decision, Permit):
        return "permit", decision.rule, decision.tier
    if isinstance(decision, Hold):
        return "hold", decision.rule, decision.permit.tier
    return decision.code, decision.rule, None


@pytest.mark.parametrize("seed", range(6))
def test_every_change_that_is_named_leads_to_the_decision_that_is_named(seed: int) -> None:
    random = Random(seed)
    named = 0
    for _ in range(15):
        rules = random.choice((SHIPPED, random_rules(random)))
        facts = random_facts(random, rules)
        before = outcome(rules, facts)
        for nearest in explain(rules, facts).nearest:
            after = told(rules, facts, nearest)
            assert after == (nearest.outcome, nearest.rule, nearest.tier)
            assert after != before
            assert before[0] == "permit" or after[0] == "permit" or not any_permit(rules, facts)
            named += 1
    assert named > 20


def any_permit(rules: RuleSet, facts: Facts) -> bool:
    """Whether another kind of task alone would let this one through: then that is what has to be told."""
    return any(outcome(rules, msgspec.structs.replace(facts, task=task))[0] == "permit" for task in TaskKind)


@pytest.mark.parametrize("seed", range(4))
def test_two_changes_are_named_only_where_no_one_of_them_suffices(seed: int) -> None:
    random = Random(100 + seed)
    for _ in range(25):
        facts = random_facts(random, SHIPPED)
        before = outcome(SHIPPED, facts)
        nearest = explain(SHIPPED, facts).nearest
        follows = {"declared", "access"}  # what is changed along with the level, and with the tools
        if not nearest or len({change.dimension for change in nearest[0].changes} - follows) < 2:
            continue
        single = [
            *(Change("task", "", str(task)) for task in TaskKind),
            *(Change("complexity", "", str(band)) for band in Complexity),
            *(Change("wish", "", wish) for wish in AUTO_WISHES),
            *(Change("clearance", "", str(level)) for level in Sensitivity if level >= facts.caller.clearance),
            Change("tools", "", "none"),
            Change("session", "", "new"),
        ]
        after = [outcome(SHIPPED, changed(facts, change)) for change in single]
        if nearest[0].outcome == "permit" and before[0] != "permit":
            assert "permit" not in {each[0] for each in after}
        else:
            assert set(after) == {before}


@pytest.mark.parametrize("seed", range(4))
def test_the_clauses_hold_and_every_other_rule_lost_for_the_reason_given(seed: int) -> None:
    random = Random(200 + seed)
    for _ in range(25):
        rules = random.choice((SHIPPED, random_rules(random)))
        facts = random_facts(random, rules)
        account = explain(rules, facts)
        if facts.caller.purpose not in rules.purposes:
            continue
        task = shown(rules, facts, frozenset().union(*(capabilities_of(rules, ask) or frozenset() for ask in facts.tools)))
        by_id = {rule.id: rule for rule in rules.rules}
        decider = by_id.get(account.rule)
        if decider is not None:
            assert [clause.dimension for clause in account.clauses] == list(decider.when)
            assert all(set(clause.shows) == decider.when[clause.dimension] & task[clause.dimension] for clause in account.clauses)
            assert all(clause.shows for clause in account.clauses)
        assert {loser.rule for loser in account.losers} == set(by_id) - {account.rule}
        for loser in account.losers:
            when = by_id[loser.rule].when
            if loser.dimension:
                assert not when[loser.dimension] & task[loser.dimension]
            else:
                assert all(words & task[dimension] for dimension, words in when.items())
