"""What must hold of every decision, whatever the task and however the rules are written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import product

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing_rules.budgets import CallLimits
from routing_rules.decide import cleared, decide
from routing_rules.decisions import Decision, Hold, Obligation, Permit, Refuse
from routing_rules.entitlements import authorise, capabilities_of
from routing_rules.facts import Caller, Facts, Labels
from routing_rules.load import load, shipped
from routing_rules.rules import AUTO_WISHES, DIMENSIONS, Effect, Rule, RuleSet, Then, shown
from routing_rules.task import Endpoint, Feature, ToolAsk, ToolChoice
from routing_rules.vocabulary import CATEGORIES, Access, Capability, Complexity, Integrity, ScanState, Sensitivity, TaskKind

TODAY = date(2026, 11, 23)
SHIPPED = load(shipped(TODAY))
FUNCTIONS = ("calculator", "search_web", "send_email", "make_payment", "delete_all", "nobody_knows", "lookup_customer")
HOSTED = ("web_search", "shell", "computer_use_preview", "file_search", "mystery")

asks = st.one_of(
    st.builds(ToolAsk, name=st.sampled_from(FUNCTIONS), kind=st.sampled_from(("function", "custom")), path=st.just("tools[0]")),
    st.sampled_from(HOSTED).map(lambda kind: ToolAsk(kind, kind, "tools[0]")),
    st.sampled_from(("crm", "web")).map(lambda label: ToolAsk("mcp", "mcp", "tools[0]", label)),
)

callers = st.builds(
    Caller,
    app=st.sampled_from(("demo", "stranger")),
    owner=st.just("demo@example.org"),
    team=st.sampled_from(("platform", "sales")),
    cost_center=st.just("cc"),
    key_id=st.just("k"),
    clearance=st.sampled_from(list(Sensitivity)),
    ceiling=st.sampled_from((*SHIPPED.sets, "gone")),
    purpose=st.sampled_from(("general", "trial", "research")),
    key_ceiling=st.sampled_from((None, *SHIPPED.sets)),
)

tasks = st.builds(
    Facts,
    now=st.datetimes(datetime(2026, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    endpoint=st.sampled_from(Endpoint),
    caller=callers,
    wish=st.sampled_from((*AUTO_WISHES, *SHIPPED.models, "gpt-99", "")),
    wish_known=st.booleans(),
    detected=st.sampled_from(list(Sensitivity)),
    declared=st.sampled_from((None, *Sensitivity)),
    labels=st.builds(Labels, st.sampled_from(list(Integrity)), st.sampled_from(list(Sensitivity))),
    categories=st.frozensets(st.sampled_from(CATEGORIES), max_size=3),
    access=st.sampled_from(list(Access)),
    intent=st.frozensets(st.sampled_from(Capability), max_size=2),
    task=st.sampled_from(TaskKind),
    complexity=st.sampled_from(list(Complexity)),
    complexity_score=st.floats(0, 1),
    state=st.sampled_from(ScanState),
    tools=st.lists(asks, max_size=4).map(tuple),
    tool_choice=st.builds(
        ToolChoice,
        st.sampled_from(("auto", "none", "required", "named", "allowed")),
        st.lists(st.sampled_from(FUNCTIONS), max_size=2).map(tuple),
    ),
    features=st.frozensets(st.sampled_from(Feature), max_size=3),
    extra_fields=st.frozensets(st.sampled_from(("top_k", "mirostat")), max_size=1),
    input_bytes=st.sampled_from((0, 500, 600_000, 10**8)),
    unavailable=st.frozensets(st.sampled_from(list(SHIPPED.deployments)), max_size=3),
    pinned=st.sampled_from((None, None, None, *SHIPPED.deployments, "gone")),
    session_ended=st.sampled_from((None, None, None, "ended")),
)

ordinary = tasks.map(
    lambda task: msgspec.structs.replace(
        task,
        caller=msgspec.structs.replace(task.caller, app="demo", purpose="general", clearance=Sensitivity.RESTRICTED),
        session_ended=None,
        wish_known=True,
    )
)

words_by_dimension = {
    **DIMENSIONS,
    "category": CATEGORIES,
    "app": ("demo",),
    "team": ("sales",),
    "purpose": ("general", "trial"),
}
conditions = st.lists(
    st.sampled_from(sorted(words_by_dimension)).flatmap(
        lambda name: st.tuples(st.just(name), st.frozensets(st.sampled_from(words_by_dimension[name]), min_size=1, max_size=3))
    ),
    max_size=3,
).map(dict)
days = st.one_of(st.none(), st.dates(date(2026, 6, 1), date(2028, 6, 1)))
thens = st.builds(
    Then,
    tiers=st.sampled_from((("fast",), ("reasoning",), ("fast", "reasoning"))),
    entitlement_set=st.sampled_from(list(SHIPPED.sets)),
    budget=st.sampled_from(list(SHIPPED.session_budgets)),
    limits=st.just(CallLimits()),
    obligations=st.frozensets(st.sampled_from((Obligation.DRAIN, Obligation.NOTIFY)), max_size=1),
    regions=st.sampled_from((frozenset[str](), frozenset({"eu"}))),
    wish=st.sampled_from(("override", "honour", "refuse")),
    hints=st.booleans(),
)


@st.composite
def rule_sets(draw: st.DrawFn) -> RuleSet:
    """The shipped catalogue under rules of any kind."""
    rules = []
    for effect, most in ((Effect.FORBID, 3), (Effect.STEP_UP, 2), (Effect.PERMIT, 5)):
        for i in range(draw(st.integers(0, most))):
            rules.append(
                Rule(
                    id=f"{effect}-{i}",
                    effect=effect,
                    owner="o",
                    reason="r",
                    when=draw(conditions),
                    then=draw(thens) if effect is Effect.PERMIT else None,
                    valid_from=draw(days),
                    valid_until=draw(days),
                )
            )
    return replace(SHIPPED, rules=tuple(rules))


def candidates(decision: Decision) -> tuple[str, ...]:
    if isinstance(decision, Hold):
        return decision.permit.candidates
    return decision.candidates if isinstance(decision, Permit) else ()


quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(rule_sets(), tasks)
def test_a_decision_never_raises_and_comes_out_the_same_from_recorded_facts(rules: RuleSet, facts: Facts) -> None:
    decision = decide(rules, facts)
    assert not (isinstance(decision, Refuse) and decision.rule == "router:evaluation-error")
    recorded = msgspec.json.decode(msgspec.json.encode(facts), type=Facts)
    assert recorded == facts
    assert decide(rules, recorded) == decision
    assert msgspec.json.decode(msgspec.json.encode(decision), type=Permit | Hold | Refuse) == decision


@quick
@given(rule_sets(), ordinary)
def test_the_masks_match_exactly_the_rules_that_the_words_match(rules: RuleSet, facts: Facts) -> None:
    capabilities = frozenset().union(*(capabilities_of(rules, ask) or frozenset() for ask in facts.tools))
    task = shown(rules, facts, capabilities)
    by_words = [
        rule
        for rule in rules.rules
        if rule.in_force(facts.now.date()) and all(words & task[dimension] for dimension, words in rule.when.items())
    ]
    decision = decide(rules, facts)
    if isinstance(decision, Refuse) and decision.rule.startswith("router:") and decision.rule != "router:default-deny":
        return
    assert decision.matched == tuple(rule.id for rule in by_words)
    forbids = [rule.id for rule in by_words if rule.effect is Effect.FORBID]
    permits = [rule.id for rule in by_words if rule.effect is Effect.PERMIT]
    if forbids:
        assert decision.rule == forbids[0]
        assert isinstance(decision, Refuse)
    elif not permits:
        assert decision.rule == "router:default-deny"
    elif isinstance(decision, Permit):
        assert decision.rule == permits[0]
        assert not any(rule.effect is Effect.STEP_UP for rule in by_words)


@quick
@given(rule_sets(), ordinary)
def test_no_candidate_is_below_the_sensitivity_of_the_task(rules: RuleSet, facts: Facts) -> None:
    decision = decide(rules, facts)
    for candidate in candidates(decision):
        deployment = rules.deployments[candidate]
        assert deployment.clearance >= facts.labels.confidentiality
        review = deployment.access_review
        assert facts.labels.confidentiality is Sensitivity.PUBLIC or (review is not None and facts.now.date() <= review.expires)
    if isinstance(decision, Permit):
        assert tuple(deployment.id for deployment in cleared(rules, decision)) == decision.candidates


@quick
@given(rule_sets(), ordinary, st.sampled_from(list(Sensitivity)))
def test_under_the_same_route_raising_sensitivity_never_adds_a_candidate(
    rules: RuleSet, facts: Facts, level: Sensitivity
) -> None:
    higher = max(level, facts.labels.confidentiality)
    raised = msgspec.structs.replace(facts, labels=Labels(facts.labels.integrity, higher))
    blind = replace(
        rules,
        rules=tuple(
            msgspec.structs.replace(rule, when={name: words for name, words in rule.when.items() if name != "sensitivity"})
            for rule in rules.rules
        ),
    )
    assert set(candidates(decide(blind, raised))) <= set(candidates(decide(blind, facts)))


@quick
@given(ordinary, st.sampled_from(list(Sensitivity)))
def test_in_the_shipped_set_nobody_is_reached_by_more_sensitive_content_who_is_not_cleared_for_it(
    facts: Facts, level: Sensitivity
) -> None:
    raised = msgspec.structs.replace(facts, labels=Labels(facts.labels.integrity, level))
    assert all(SHIPPED.deployments[each].clearance >= level for each in candidates(decide(SHIPPED, raised)))


@quick
@given(rule_sets(), ordinary, st.randoms(use_true_random=False))
def test_the_order_of_prohibitions_and_step_ups_changes_no_outcome(rules: RuleSet, facts: Facts, random: object) -> None:
    groups = [[rule for rule in rules.rules if rule.effect is effect] for effect in Effect]
    for group in groups[:2]:
        random.shuffle(group)  # type: ignore[attr-defined]
    shuffled = replace(rules, rules=tuple(rule for group in groups for rule in group))
    one, other = decide(rules, facts), decide(shuffled, facts)
    assert type(one) is type(other)
    assert candidates(one) == candidates(other)
    assert set(one.matched) == set(other.matched)


@quick
@given(ordinary, st.sampled_from(list(SHIPPED.sets)), st.data())
def test_taking_a_tool_out_of_a_set_never_adds_a_grant(facts: Facts, entitlement_set: str, data: st.DataObject) -> None:
    whole = SHIPPED.sets[entitlement_set]
    kept = data.draw(st.frozensets(st.sampled_from(sorted(whole.tools)))) if whole.tools else frozenset[str]()
    smaller = replace(SHIPPED, sets={**SHIPPED.sets, entitlement_set: msgspec.structs.replace(whole, tools=kept)})
    permit = Permit("r", "r-1", "fast", (), entitlement_set, SHIPPED.session_budgets["default"], CallLimits())
    before, after = authorise(SHIPPED, facts, permit), authorise(smaller, facts, permit)
    assert set(after.granted) <= set(before.granted)
    assert len(after.granted) + len(after.withheld) == len(facts.tools)


@quick
@given(tasks)
def test_what_is_granted_was_asked_for_and_lies_under_both_ceilings(facts: Facts) -> None:
    decision = decide(SHIPPED, facts)
    if not isinstance(decision, Permit):
        return
    grant = authorise(SHIPPED, facts, decision)
    asked = {(ask.kind, ask.server or ask.name): SHIPPED.tool_index.find(ask) for ask in facts.tools}
    ceilings = [facts.caller.ceiling, *([facts.caller.key_ceiling] if facts.caller.key_ceiling else []), decision.entitlement_set]
    for key in grant.granted:
        tool = asked[key]
        assert tool is not None
        assert all(tool.id in SHIPPED.sets[name].tools for name in ceilings)


@pytest.mark.parametrize("sensitivity", list(Sensitivity), ids=str)
def test_the_shipped_set_has_a_rule_for_every_cell(sensitivity: Sensitivity) -> None:
    plain = Facts(
        now=datetime(2026, 11, 24, tzinfo=UTC),
        endpoint=Endpoint.CHAT,
        caller=Caller("demo", "demo@example.org", "platform", "cc", "k", Sensitivity.RESTRICTED, "standard", "general"),
        wish="auto",
        wish_known=True,
        detected=sensitivity,
        declared=None,
        labels=Labels(Integrity.TRUSTED, sensitivity),
        categories=frozenset(),
        access=Access.NONE,
        intent=frozenset(),
        task=TaskKind.OTHER,
        complexity=Complexity.SIMPLE,
        complexity_score=0.0,
        state=ScanState.COMPLETE,
    )
    for access, complexity, task in product(Access, Complexity, TaskKind):
        decision = decide(SHIPPED, msgspec.structs.replace(plain, access=access, complexity=complexity, task=task))
        assert isinstance(decision, Permit), (access, complexity, task)
        assert all(deployment.clearance >= sensitivity for deployment in cleared(SHIPPED, decision))
