"""What `check` says of a rule set agrees with deciding every task there is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain, combinations, product

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from routing_rules.catalogue import App
from routing_rules.check import check
from routing_rules.decide import DEFAULT_DENY, decide
from routing_rules.decisions import Hold
from routing_rules.facts import Caller, Facts, Labels
from routing_rules.load import load, shipped
from routing_rules.rules import DIMENSIONS, Effect, Rule, RuleSet, Then
from routing_rules.task import Endpoint
from routing_rules.vocabulary import Access, Complexity, Integrity, ScanState, Sensitivity, TaskKind

TODAY = date(2026, 11, 23)
SHIPPED = load(shipped(TODAY))
APPS = {
    id: App(id, "o", team, "c", Sensitivity.RESTRICTED, "agentic", purposes)
    for id, team, purposes in (("one", "red", ("general", "trial")), ("two", "blue", ("research",)))
}
PURPOSES = {id: purpose for id, purpose in SHIPPED.purposes.items() if any(id in app.purposes for app in APPS.values())}
WORDS = {
    "sensitivity": DIMENSIONS["sensitivity"],
    "declared": DIMENSIONS["declared"],
    "access": DIMENSIONS["access"],
    "category": ("pci", "phi"),
    "app": tuple(APPS),
    "team": ("red", "blue"),
    "purpose": tuple(PURPOSES),
    "latency_class": DIMENSIONS["latency_class"],
}
THENS = [Then(tiers=("fast", "reasoning"), entitlement_set=name, budget="default") for name in ("none", "pure")]
DAYS = (None, TODAY + timedelta(days=10), TODAY + timedelta(days=20))

conditions = st.dictionaries(st.sampled_from(sorted(WORDS)), st.none(), max_size=3).flatmap(
    lambda names: st.fixed_dictionaries({name: st.frozensets(st.sampled_from(WORDS[name]), min_size=1) for name in names})
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            id=f"{effect}-{i}",
            effect=effect,
            owner="o",
            reason="r",
            when=draw(conditions),
            then=draw(st.sampled_from(THENS)) if effect is Effect.PERMIT else None,
            valid_from=draw(st.sampled_from(DAYS[:2])),
            valid_until=draw(st.sampled_from(DAYS[::2])),
        )
        for effect, most in ((Effect.FORBID, 2), (Effect.STEP_UP, 2), (Effect.PERMIT, 4))
        for i in range(draw(st.integers(0, most)))
    )


def every_task() -> list[Facts]:
    """Every combination of words, categories as sets; no label above the content, no purpose that the app does not hold."""
    categories = [frozenset(some) for some in chain.from_iterable(combinations(WORDS["category"], n) for n in range(3))]
    tasks = []
    for level, declared, access, shown, app in product(
        Sensitivity, (None, *Sensitivity), WORDS["access"], categories, APPS.values()
    ):
        if declared is None or declared <= level:
            for purpose in app.purposes:
                tasks.append(
                    Facts(
                        now=datetime.combine(TODAY, time(12), UTC),
                        endpoint=Endpoint.CHAT,
                        caller=Caller(app.id, "o", app.team, "c", "k", Sensitivity.RESTRICTED, "agentic", purpose),
                        wish="auto",
                        wish_known=True,
                        detected=level,
                        declared=declared,
                        labels=Labels(Integrity.TRUSTED, level),
                        categories=shown,
                        access=Access(access),
                        intent=frozenset(),
                        task=TaskKind.OTHER,
                        complexity=Complexity.SIMPLE,
                        complexity_score=0.1,
                        state=ScanState.COMPLETE,
                    )
                )
    return tasks


TASKS = every_task()


def tried(rules: RuleSet) -> tuple[set[str], bool]:
    """The rules that have a say in some decision, and whether some task is refused for want of a rule."""
    alive: set[str] = set()
    uncovered = False
    for days in (0, 10, 21):
        for task in TASKS:
            decision = decide(rules, msgspec.structs.replace(task, now=task.now + timedelta(days=days)))
            if decision.rule == DEFAULT_DENY:
                uncovered = True
            else:
                alive.add(decision.rule)
            if isinstance(decision, Hold):
                alive.add(decision.permit.rule)
    return alive, uncovered


@settings(max_examples=40, deadline=None)
@given(tables())
def test_rules_without_a_say_and_uncovered_tasks_are_those_that_deciding_finds(table: tuple[Rule, ...]) -> None:
    rules = replace(SHIPPED, apps=APPS, purposes=PURPOSES, rules=table)
    alive, uncovered = tried(rules)
    told = check(rules, TODAY)
    silent = {
        fault.message.split("`")[1]
        for fault in told
        if fault.code
        in ("unreachable_rule", "shadowed_rule", "duplicate_rule", "contradictory_rules", "loosens_prohibition", "never_fires")
    }
    assert silent == {rule.id for rule in table} - alive
    assert any(fault.code == "uncovered" for fault in told) is uncovered
