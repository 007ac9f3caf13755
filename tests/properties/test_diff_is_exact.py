"""Whatever two rule sets differ in: a task is decided otherwise exactly where the diff says so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from routing_rules.decide import decide
from routing_rules.decisions import Decision, Hold, Permit
from routing_rules.diff import CellChange, diff
from routing_rules.facts import Caller, Facts, Labels
from routing_rules.load import load, shipped
from routing_rules.rules import Effect, Rule, RuleSet, Then
from routing_rules.task import Endpoint
from routing_rules.vocabulary import Access, Complexity, Integrity, ScanState, Sensitivity, TaskKind

TODAY = date(2026, 11, 23)
BASE = load(shipped(TODAY))
WORDS = {
    "sensitivity": ("public", "internal", "confidential"),
    "task": ("coding", "planning", "lookup"),
    "complexity": ("simple", "complex"),
    "category": ("pii", "legal"),
    "purpose": ("general", "trial"),
}
EFFECTS = (Effect.FORBID, Effect.STEP_UP, Effect.PERMIT, Effect.PERMIT, Effect.PERMIT)


@st.composite
def rules(draw: st.DrawFn, name: str) -> Rule:
    when = {
        axis: frozenset(draw(st.sets(st.sampled_from(words), min_size=1))) for axis, words in WORDS.items() if draw(st.booleans())
    }
    effect = draw(st.sampled_from(EFFECTS))
    then = None
    if effect is Effect.PERMIT:
        tiers = draw(st.sampled_from((("fast",), ("reasoning",), ("fast", "reasoning"))))
        then = Then(tiers, draw(st.sampled_from(("none", "pure"))), draw(st.sampled_from(("default", "tiny"))))
    return Rule(name, effect, "o@example.org", "a test", when, then)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Rule, ...]:
    """A few rules, in the order of their effects as a loaded set has them."""
    drawn = [draw(rules(f"rule-{number}")) for number in range(draw(st.integers(1, 5)))]
    return tuple(sorted(drawn, key=lambda rule: list(Effect).index(rule.effect)))


@st.composite
def edits(draw: st.DrawFn) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """Two tables; the second is often the first with a few rules changed."""
    first = draw(tables())
    if draw(st.booleans()):
        return first, draw(tables())
    second = [draw(rules(rule.id)) if draw(st.booleans()) else rule for rule in first]
    return first, tuple(sorted(second, key=lambda rule: list(Effect).index(rule.effect)))


@st.composite
def tasks(draw: st.DrawFn) -> Facts:
    level = Sensitivity(draw(st.sampled_from(WORDS["sensitivity"])))
    purpose = draw(st.sampled_from(WORDS["purpose"]))
    return Facts(
        now=datetime(2026, 11, 23, 12, tzinfo=UTC),
        endpoint=Endpoint.CHAT,
        caller=Caller("demo", "demo@example.org", "platform", "cc", "k", Sensitivity.RESTRICTED, "agentic", purpose),
        wish="auto",
        wish_known=True,
        detected=level,
        declared=None,
        labels=Labels(Integrity.TRUSTED, level),
        categories=frozenset(draw(st.sets(st.sampled_from(("pii", "legal", "hr"))))),
        access=Access.NONE,
        intent=frozenset(),
        task=TaskKind(draw(st.sampled_from(WORDS["task"]))),
        complexity=Complexity(draw(st.sampled_from(WORDS["complexity"]))),
        complexity_score=0.1,
        state=ScanState.COMPLETE,
    )


def holds(change: CellChange, facts: Facts, listed: frozenset[str]) -> bool:
    """Whether a task lies in a group of cells."""
    shown = {
        "sensitivity": facts.labels.confidentiality.value,
        "task": facts.task.value,
        "complexity": facts.complexity.value,
        "purpose": facts.caller.purpose,
        "category": "+".join(sorted(facts.categories & listed)) or "none",
    }
    return all(word in change.where.get(name, (word,)) for name, word in shown.items())


def told(decision: Decision) -> tuple[object, ...]:
    permit = decision.permit if isinstance(decision, Hold) else decision
    kind = {Permit: "permit", Hold: "hold"}.get(type(decision), "refuse")
    return (kind, permit.entitlement_set, permit.budget.name, permit.tier) if isinstance(permit, Permit) else (kind,)


@settings(max_examples=100, deadline=None)
@given(edits(), st.lists(tasks(), min_size=8, max_size=8))
def test_a_task_comes_out_otherwise_exactly_where_the_diff_says_so(
    both: tuple[tuple[Rule, ...], tuple[Rule, ...]], asked: list[Facts]
) -> None:
    before, after = _pair(both)
    found = diff(before, after, TODAY)
    listed = frozenset().union(*(rule.when.get("category", frozenset()) for table in both for rule in table))
    for facts in asked:
        if len(facts.categories & listed) > 1:  # of several, one that comes to the same stands for the others
            continue
        was, now = told(decide(before, facts)), told(decide(after, facts))
        groups = [change for change in found.changes if holds(change, facts, listed)]
        assert len(groups) <= 1, "a cell lies in one group at most"
        if was != now:
            assert groups, "nothing in the diff says so"
        for change in groups:
            assert (change.before.effect, change.after.effect) == (was[0], now[0])
            assert now[0] == "refuse" or (change.after.entitlement_set, change.after.budget) == now[1:3]


@settings(max_examples=50, deadline=None)
@given(edits())
def test_what_changes_one_way_changes_the_other_way_and_only_more_rights_widen(
    both: tuple[tuple[Rule, ...], tuple[Rule, ...]],
) -> None:
    before, after = _pair(both)
    there, back = diff(before, after, TODAY), diff(after, before, TODAY)
    assert (there.changed, there.cells) == (back.changed, back.cells)
    for change in there.changes:
        assert not (change.after.effect == "refuse" and change.widens)
        assert change.widens or change.before.effect != "refuse" or change.after.effect == "refuse"


ANSWERING = {
    "apps": ("owner", "team", "cost_center"),
    "purposes": ("owner",),
    "tools": ("owner",),
    "sets": ("owner", "approver"),
}


@settings(max_examples=50, deadline=None)
@given(st.data(), edits())
def test_whatever_else_changes_another_person_who_answers_for_something_is_named(
    data: st.DataObject, both: tuple[tuple[Rule, ...], tuple[Rule, ...]]
) -> None:
    before, after = _pair(both)
    table = data.draw(st.sampled_from(sorted(ANSWERING)))
    rows = getattr(after, table)
    row, name = data.draw(st.sampled_from(sorted(rows))), data.draw(st.sampled_from(ANSWERING[table]))
    other = data.draw(st.emails().filter(lambda person: person != getattr(rows[row], name)))
    answering: dict[str, Any] = {table: {**rows, row: structs.replace(rows[row], **{name: other})}}
    widenings = diff(before, replace(after, **answering), TODAY).widenings
    assert row in {each.subject for each in widenings if each.kind in ("owner", "approver")}


def _pair(both: tuple[tuple[Rule, ...], tuple[Rule, ...]]) -> tuple[RuleSet, RuleSet]:
    return replace(BASE, rules=both[0], revision="a"), replace(BASE, rules=both[1], revision="b")
