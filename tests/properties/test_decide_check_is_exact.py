"""What `check` says of a rule set agrees with trying out every task there is."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import chain, combinations, product

from hypothesis import given, settings
from hypothesis import strategies as st

from routing_rules.check import check
from routing_rules.load import load, shipped
from routing_rules.rules import DIMENSIONS, Effect, Rule, RuleSet, Then

TODAY = date(2026, 11, 23)
SHIPPED = load(shipped(TODAY))
SMALL = {
    "sensitivity": DIMENSIONS["sensitivity"],
    "declared": DIMENSIONS["declared"],
    "access": DIMENSIONS["access"],
    "category": ("pci", "phi"),
    "purpose": tuple(SHIPPED.purposes),
}
THEN = Then(tiers=("fast",), entitlement_set="none", budget="default")

conditions = st.dictionaries(st.sampled_from(sorted(SMALL)), st.none(), max_size=3).flatmap(
    lambda names: st.fixed_dictionaries({name: st.frozensets(st.sampled_from(SMALL[name]), min_size=1) for name in names})
)


@st.composite
def rule_sets(draw: st.DrawFn) -> RuleSet:
    rules = [
        Rule(
            id=f"{effect}-{i}",
            effect=effect,
            owner="o",
            reason="r",
            when=draw(conditions),
            then=THEN if effect is Effect.PERMIT else None,
        )
        for effect, most in ((Effect.FORBID, 2), (Effect.STEP_UP, 1), (Effect.PERMIT, 5))
        for i in range(draw(st.integers(0, most)))
    ]
    return replace(SHIPPED, rules=tuple(rules))


def every_task() -> list[dict[str, frozenset[str]]]:
    """Every combination of words, categories as sets; no label above the content."""
    categories = [frozenset(some) for some in chain.from_iterable(combinations(SMALL["category"], n) for n in range(3))]
    levels = DIMENSIONS["sensitivity"]
    return [
        {
            "sensitivity": frozenset({s}),
            "declared": frozenset({d}),
            "access": frozenset({a}),
            "category": c,
            "purpose": frozenset({p}),
        }
        for s, d, a, c, p in product(levels, SMALL["declared"], SMALL["access"], categories, SMALL["purpose"])
        if d == "undeclared" or levels.index(d) <= levels.index(s)
    ]


TASKS = every_task()


@settings(max_examples=60, deadline=None)
@given(rule_sets())
def test_unreachable_rules_and_uncovered_tasks_are_found_exactly(rules: RuleSet) -> None:
    alive: set[str] = set()
    uncovered = False
    for task in TASKS:
        matched = [rule for rule in rules.rules if all(words & task[name] for name, words in rule.when.items())]
        forbids = [rule.id for rule in matched if rule.effect is Effect.FORBID]
        routes = [rule.id for rule in matched if rule.effect is Effect.PERMIT]
        if forbids:
            alive.add(forbids[0])
            continue
        alive.update(rule.id for rule in matched if rule.effect is Effect.STEP_UP)
        alive.update(routes[:1])
        uncovered = uncovered or not routes
    told = check(rules, TODAY)
    dead = {fault.message.split("`")[1] for fault in told if fault.code == "unreachable_rule"}
    assert dead == {rule.id for rule in rules.rules} - alive
    assert any(fault.code == "uncovered" for fault in told) is uncovered
