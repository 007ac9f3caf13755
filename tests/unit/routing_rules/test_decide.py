"""What becomes of a task: which rule decides, where it may go, and what a refusal says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import msgspec
import pytest

from routing_rules.decide import cleared, decide
from routing_rules.decisions import Hold, Permit, Refuse
from routing_rules.facts import Facts
from routing_rules.rules import RuleSet
from routing_rules.task import Endpoint, Feature, ToolAsk
from routing_rules.vocabulary import Access, Complexity, Integrity, Sensitivity, TaskKind

Build = Callable[..., Facts]
Rules = Callable[..., RuleSet]

TWO_DEPLOYMENTS = """
deployments:
  - {id: quick, base_url: "http://127.0.0.1:1/v1", clearance: confidential, tier: fast, region: eu,
     price: {input_usd_per_million: 1, output_usd_per_million: 2}}
  - {id: deep, base_url: "http://127.0.0.1:1/v1", clearance: internal, tier: reasoning, region: us, model_names: [o3],
     price: {input_usd_per_million: 1, output_usd_per_million: 2}}
"""


def routes(text: str) -> str:
    """A decision table whose routes need only say what a test is about."""
    return text.replace("@", "owner: o@example.org, reason: because")


def permitted(decision: object) -> Permit:
    assert isinstance(decision, Permit), decision
    return decision


def refused(decision: object) -> Refuse:
    assert isinstance(decision, Refuse), decision
    return decision


def test_routine_work_goes_to_the_fast_tier(rules: RuleSet, facts: Build) -> None:
    permit = permitted(decide(rules, facts()))
    assert (permit.rule, permit.tier, permit.candidates[0]) == ("routine-work", "fast", "sim-fast")
    assert permit.revision == rules.revision


def test_work_of_many_steps_goes_to_the_reasoning_tier(rules: RuleSet, facts: Build) -> None:
    permit = permitted(decide(rules, facts(task=TaskKind.PLANNING)))
    assert (permit.rule, permit.tier, permit.budget.name, permit.entitlement_set) == (
        "work-of-many-steps",
        "reasoning",
        "reasoning",
        "agentic",
    )


def test_confidential_content_reaches_cleared_deployments_only(rules: RuleSet, facts: Build) -> None:
    permit = permitted(decide(rules, facts(sensitivity=Sensitivity.CONFIDENTIAL)))
    assert permit.candidates == ("sim-fast-private", "sim-reasoning", "sim-vault")
    assert [deployment.id for deployment in cleared(rules, permit)] == list(permit.candidates)


def test_a_permit_does_not_clear_a_deployment_below_its_sensitivity(rules: RuleSet, facts: Build) -> None:
    permit = permitted(decide(rules, facts(sensitivity=Sensitivity.CONFIDENTIAL)))
    forged = msgspec.structs.replace(permit, candidates=("sim-fast", "sim-vault", "nowhere"))
    assert [deployment.id for deployment in cleared(rules, forged)] == ["sim-vault"]


def test_a_pasted_secret_is_refused_unless_an_internal_deployment_is_cleared(
    rules: RuleSet, rules_with: Rules, facts: Build
) -> None:
    pasted = facts(sensitivity=Sensitivity.RESTRICTED, categories=frozenset({"credentials"}))
    refusal = refused(decide(rules, pasted))
    assert (refusal.code, refusal.rule) == ("no_cleared_deployment", "credentials-stay-inside")
    assert "replace it with a new one" in refusal.message
    own = rules_with(
        models="""
deployments:
  - {id: ours, base_url: "http://127.0.0.1:1/v1", clearance: restricted, tier: fast, internal: true,
     price: {input_usd_per_million: 0, output_usd_per_million: 0, source: own hardware}}
"""
    )
    assert permitted(decide(own, pasted)).candidates == ("ours",)


def test_no_tier_is_widened_when_nobody_is_cleared(rules_with: Rules, facts: Build) -> None:
    rules = rules_with(models=TWO_DEPLOYMENTS)
    refusal = refused(decide(rules, facts(sensitivity=Sensitivity.RESTRICTED)))
    assert refusal.code == "no_cleared_deployment"
    assert "`restricted`" in refusal.message
    assert "restricted-routine" in refusal.message


def test_content_above_the_callers_clearance_is_refused_with_both_levels(rules: RuleSet, facts: Build) -> None:
    asked = facts(sensitivity=Sensitivity.CONFIDENTIAL, caller={"clearance": Sensitivity.INTERNAL}, categories=frozenset({"pii"}))
    refusal = refused(decide(rules, asked))
    assert refusal.code == "sensitivity_not_permitted"
    for word in ("`confidential`", "`internal`", "pii", "take the sensitive content out"):
        assert word in refusal.message


def test_an_ended_session_is_refused_before_anything_else(rules: RuleSet, facts: Build) -> None:
    assert refused(decide(rules, facts(session_ended="by its owner", wish_known=False, wish="nonsense"))).code == "session_ended"


def test_an_unknown_model_is_answered_with_the_nearest_name(rules: RuleSet, facts: Build) -> None:
    refusal = refused(decide(rules, facts(wish="gpt-4o-mimi", wish_known=False)))
    assert (refusal.code, refusal.param) == ("model_not_found", "model")
    assert "`gpt-4o-mini`" in refusal.message


def test_a_model_name_that_is_no_name_is_not_repeated(rules: RuleSet, facts: Build) -> None:
    assert "secret" not in refused(decide(rules, facts(wish="my secret\nis 42", wish_known=False))).message


def test_a_purpose_that_the_app_does_not_hold_is_refused(rules: RuleSet, facts: Build) -> None:
    refusal = refused(decide(rules, facts(caller={"purpose": "research"})))
    assert refusal.code == "purpose_not_permitted"
    assert "`general`, `trial`" in refusal.message


def test_an_app_that_is_not_registered_is_refused(rules: RuleSet, facts: Build) -> None:
    assert refused(decide(rules, facts(caller={"app": "stranger"}))).rule == "router:known-app"


def test_a_named_model_is_overridden_unless_the_rule_honours_it(rules: RuleSet, rules_with: Rules, facts: Build) -> None:
    named = facts(wish="o3")
    assert permitted(decide(rules, named)).candidates == ("sim-fast", "sim-fast-private")
    honouring = rules_with(
        models=TWO_DEPLOYMENTS,
        routes=routes("routes: [{id: all, @, then: {tier: fast, set: none, budget: default, wish: honour}}]"),
    )
    permit = permitted(decide(honouring, named))
    assert (permit.candidates, permit.tier, permit.wish_honoured) == (("deep", "quick"), "reasoning", True)


def test_a_wish_is_never_honoured_beyond_a_clearance(rules_with: Rules, facts: Build) -> None:
    rules = rules_with(
        models=TWO_DEPLOYMENTS,
        routes=routes("routes: [{id: all, @, then: {tier: fast, set: none, budget: default, wish: honour}}]"),
    )
    permit = permitted(decide(rules, facts(wish="o3", sensitivity=Sensitivity.CONFIDENTIAL)))
    assert (permit.candidates, permit.wish_honoured) == (("quick",), False)


def test_a_rule_can_refuse_named_models(rules_with: Rules, facts: Build) -> None:
    rules = rules_with(routes=routes("routes: [{id: all, @, then: {tier: fast, set: none, budget: default, wish: refuse}}]"))
    assert refused(decide(rules, facts(wish="gpt-4o"))).param == "model"
    assert permitted(decide(rules, facts(wish="auto-fast"))).tier == "fast"


@pytest.mark.parametrize(("wish", "tier"), [("auto", "reasoning"), ("auto-fast", "fast"), ("auto-reasoning", "reasoning")])
def test_a_hint_chooses_among_the_tiers_of_the_route(rules: RuleSet, facts: Build, wish: str, tier: str) -> None:
    assert permitted(decide(rules, facts(task=TaskKind.ANALYSIS, wish=wish))).tier == tier


def test_a_hint_never_widens(rules: RuleSet, facts: Build) -> None:
    assert permitted(decide(rules, facts(wish="auto-reasoning"))).candidates == ("sim-fast", "sim-fast-private")


def test_embeddings_go_to_the_named_model_only(rules: RuleSet, facts: Build) -> None:
    named = facts(endpoint=Endpoint.EMBEDDINGS, wish="text-embedding-3-small", features=frozenset({Feature.EMBEDDINGS}))
    assert permitted(decide(rules, named)).candidates == ("sim-embed",)
    restricted = facts(endpoint=Endpoint.EMBEDDINGS, wish="text-embedding-3-small", sensitivity=Sensitivity.RESTRICTED)
    assert refused(decide(rules, restricted)).code == "no_cleared_deployment"
    for wish in ("auto", "voyage-3"):
        assert refused(decide(rules, facts(endpoint=Endpoint.EMBEDDINGS, wish=wish))).code == "model_not_found"
    assert refused(decide(rules, facts(endpoint=Endpoint.EMBEDDINGS, wish="gpt-4o"))).code == "no_capable_deployment"


def test_provider_held_state_pins_the_deployment(rules: RuleSet, facts: Build) -> None:
    assert permitted(decide(rules, facts(pinned="sim-reasoning"))).candidates == ("sim-reasoning",)
    assert refused(decide(rules, facts(pinned="sim-fast", sensitivity=Sensitivity.CONFIDENTIAL))).code == "no_cleared_deployment"
    assert refused(decide(rules, facts(pinned="gone"))).code == "no_cleared_deployment"


def test_a_resting_deployment_moves_to_the_end(rules: RuleSet, facts: Build) -> None:
    assert permitted(decide(rules, facts(unavailable=frozenset({"sim-fast"})))).candidates == ("sim-fast-private", "sim-fast")


def test_a_feature_nobody_has_is_named(rules: RuleSet, facts: Build) -> None:
    refusal = refused(decide(rules, facts(features=frozenset({Feature.AUDIO}))))
    assert refusal.code == "no_capable_deployment"
    assert "`audio`" in refusal.message


def test_a_hosted_tool_that_is_withheld_needs_no_deployment_that_can_run_it(rules_with: Rules, facts: Build) -> None:
    rules = rules_with(
        models="""
deployments:
  - {id: plain, base_url: "http://127.0.0.1:1/v1", clearance: internal, tier: fast, features: [chat_api, streaming],
     price: {input_usd_per_million: 1, output_usd_per_million: 2}}
"""
    )
    shell = (ToolAsk("shell", "shell", "tools[0]"),)
    assert permitted(decide(rules, facts(tools=shell, features=frozenset({Feature.HOSTED_TOOLS})))).candidates == ("plain",)
    search = (ToolAsk("web_search", "web_search", "tools[0]"),)
    assert refused(decide(rules, facts(tools=search, features=frozenset({Feature.HOSTED_TOOLS})))).param == "tools"


def test_a_field_beyond_the_specification_filters_deployments(rules: RuleSet, rules_with: Rules, facts: Build) -> None:
    asked = facts(extra_fields=frozenset({"top_k"}))
    refusal = refused(decide(rules, asked))
    assert (refusal.code, refusal.param) == ("unknown_parameter", "top_k")
    allowed = rules_with(models=TWO_DEPLOYMENTS.replace("tier: fast,", "tier: fast, allowed_fields: [top_k],"))
    assert permitted(decide(allowed, asked)).candidates == ("quick",)
    assert (
        refused(decide(allowed, facts(task=TaskKind.PLANNING, pinned="deep", extra_fields=frozenset({"top_k"})))).code
        == "no_capable_deployment"
    )


def test_an_input_that_no_window_holds_is_refused(rules: RuleSet, facts: Build) -> None:
    refusal = refused(decide(rules, facts(input_bytes=10_000_000)))
    assert (refusal.code, refusal.param) == ("context_length_exceeded", "messages")


def test_a_deployment_without_a_price_is_no_candidate_under_a_money_limit(rules_with: Rules, facts: Build) -> None:
    unpriced = 'deployments: [{id: free, base_url: "http://127.0.0.1:1/v1", clearance: internal, tier: fast%s}]'
    refusal = refused(decide(rules_with(models=unpriced % ""), facts()))
    assert (refusal.code, "assumed_price" in refusal.message) == ("no_capable_deployment", True)
    assumed = ", assumed_price: {input_usd_per_million: 1, output_usd_per_million: 4}"
    assert permitted(decide(rules_with(models=unpriced % assumed), facts())).candidates == ("free",)
    no_limits = "session_budgets: [{id: default, requests: 5}, {id: reasoning, requests: 5}, {id: tiny, requests: 1}]"
    assert permitted(decide(rules_with(models=unpriced % "", budgets=no_limits), facts())).candidates == ("free",)


def test_an_expired_access_review_leaves_public_content_only(rules_with: Rules, facts: Build) -> None:
    reviewed = 'deployments: [{id: one, base_url: "http://127.0.0.1:1/v1", clearance: internal, tier: fast, access_review: {reviewer: r, expires: 2026-12-31}, price: {input_usd_per_million: 1, output_usd_per_million: 2}}]'
    rules = rules_with(models=reviewed)
    last_day, next_day = datetime(2026, 12, 31, 23, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    assert permitted(decide(rules, facts(sensitivity=Sensitivity.INTERNAL, now=last_day)))
    refusal = refused(decide(rules, facts(sensitivity=Sensitivity.INTERNAL, now=next_day)))
    assert "the access review of `one` has expired" in refusal.message
    assert permitted(decide(rules, facts(now=next_day)))


def test_a_route_can_bind_the_region(rules_with: Rules, facts: Build) -> None:
    rules = rules_with(
        models=TWO_DEPLOYMENTS,
        routes=routes(
            "routes: [{id: all, @, then: {tier: fast, fallback_tiers: [reasoning], set: none, budget: default, regions: [us]}}]"
        ),
    )
    assert permitted(decide(rules, facts())).candidates == ("deep",)


def test_a_prohibition_beats_a_step_up_which_beats_a_route(rules_with: Rules, facts: Build) -> None:
    rules = rules_with(
        routes=routes("""
prohibitions: [{id: never, @, when: {task: agentic}}]
step_ups: [{id: ask, @, when: {task: [agentic, planning]}}]
routes: [{id: all, @, then: {tier: fast, set: none, budget: default}}]
""")
    )
    assert permitted(decide(rules, facts())).rule == "all"
    held = decide(rules, facts(task=TaskKind.PLANNING))
    assert isinstance(held, Hold)
    assert (held.rule, held.permit.rule, held.matched) == ("ask", "all", ("ask", "all"))
    assert refused(decide(rules, facts(task=TaskKind.AGENTIC))).rule == "never"


def test_what_no_rule_admits_is_refused(rules_with: Rules, facts: Build) -> None:
    rules = rules_with(
        routes=routes("routes: [{id: some, @, when: {task: coding}, then: {tier: fast, set: none, budget: default}}]")
    )
    refusal = refused(decide(rules, facts()))
    assert (refusal.code, refusal.rule) == ("not_permitted_by_rule", "router:default-deny")
    assert "`summarisation`" in refusal.message


def test_a_step_up_alone_permits_nothing(rules_with: Rules, facts: Build) -> None:
    rules = rules_with(
        routes=routes("""
step_ups: [{id: ask, @}]
routes: [{id: some, @, when: {task: coding}, then: {tier: fast, set: none, budget: default}}]
""")
    )
    assert refused(decide(rules, facts())).rule == "router:default-deny"


def test_a_rule_is_in_force_from_its_first_to_its_last_day(rules_with: Rules, facts: Build) -> None:
    rules = rules_with(
        routes=routes(
            "routes: [{id: may, @, from: 2027-05-01, until: 2027-05-31, then: {tier: fast, set: none, budget: default}}]"
        )
    )
    for day, allowed in (
        (date(2027, 4, 30), False),
        (date(2027, 5, 1), True),
        (date(2027, 5, 31), True),
        (date(2027, 6, 1), False),
    ):
        decision = decide(rules, facts(now=datetime(day.year, day.month, day.day, 12, tzinfo=UTC)))
        assert isinstance(decision, Permit) is allowed, day


def test_an_obligation_that_no_stage_carries_out_refuses(rules_with: Rules, facts: Build) -> None:
    rules = rules_with(
        routes=routes("routes: [{id: all, @, then: {tier: fast, set: none, budget: default, obligations: [no_store, notify]}}]")
    )
    refusal = refused(decide(rules, facts()))
    assert (refusal.code, "`notify`" in refusal.message) == ("not_permitted_by_rule", True)


@pytest.mark.parametrize(
    ("when", "match", "other"),
    [
        ("category: [pci, phi]", {"categories": frozenset({"phi", "pii"})}, {"categories": frozenset({"pii"})}),
        ("capability: [egress]", {"functions": ("send_email",)}, {"functions": ("calculator", "nobody_registered_this")}),
        ("app: demo", {}, {"caller": {"app": "second"}}),
        ("team: [platform]", {}, {"caller": {"app": "second", "team": "sales"}}),
        ("purpose: trial", {"caller": {"purpose": "trial"}}, {}),
        ("business_impact: {at_most: low}", {"caller": {"purpose": "trial"}}, {}),
        ("latency_class: interactive", {}, {"caller": {"app": "second", "purpose": "research"}}),
        ("access: {at_least: act}", {"access": Access.CONTROL}, {"access": Access.READ}),
        ("complexity: [moderate, complex]", {"complexity": Complexity.MODERATE}, {}),
        ("integrity: untrusted", {"integrity": Integrity.UNTRUSTED}, {}),
        ("endpoint: [responses]", {"endpoint": Endpoint.RESPONSES}, {}),
        ("wish: named", {"wish": "gpt-4o"}, {"wish": "auto-fast"}),
        ("declared: undeclared", {}, {"declared": Sensitivity.PUBLIC}),
        (
            "sensitivity: {at_least: internal, at_most: confidential}",
            {"sensitivity": Sensitivity.CONFIDENTIAL},
            {"sensitivity": Sensitivity.RESTRICTED},
        ),
    ],
)
def test_each_dimension_admits_what_it_lists(
    rules_with: Rules, facts: Build, when: str, match: dict[str, object], other: dict[str, object]
) -> None:
    apps = """
apps:
  - {id: demo, owner: o, team: platform, clearance: restricted, ceiling: agentic, purposes: [general, trial]}
  - {id: second, owner: o, team: sales, clearance: restricted, ceiling: agentic, purposes: [general, research]}
"""
    then = "then: {tier: reasoning, fallback_tiers: [fast], set: none, budget: default}"
    table = routes(f"routes: [{{id: it, @, when: {{{when}}}, {then}}}]")
    rules = rules_with(apps=apps, routes=table)
    assert permitted(decide(rules, facts(**match))).rule == "it"
    assert refused(decide(rules, facts(**other))).rule == "router:default-deny"


def test_facts_that_cannot_be_evaluated_are_refused(rules: RuleSet, facts: Build) -> None:
    refusal = refused(decide(rules, facts(task="poetry")))
    assert (refusal.code, refusal.rule) == ("not_permitted_by_rule", "router:evaluation-error")


DEGRADING = "session_budgets: [{id: b}]\ndefault_owner_budget: {hard_usd: 1, on_hard: degrade}"
TO_REASONING = "routes: [{id: one, @, then: {tier: reasoning, set: none, budget: b}}]"


def test_where_the_owners_budget_leaves_only_the_fast_tier_a_task_goes_there(rules_with: Rules, facts: Build) -> None:
    rules = rules_with(models=TWO_DEPLOYMENTS, budgets=DEGRADING, routes=routes(TO_REASONING))
    permit = permitted(decide(rules, facts(degraded="2026-11")))
    assert (permit.rule, permit.tier, permit.candidates) == ("one", "fast", ("quick",))


def test_a_degraded_task_goes_only_where_it_is_cleared_to_go(rules_with: Rules, facts: Build) -> None:
    rules = rules_with(models=TWO_DEPLOYMENTS, budgets=DEGRADING, routes=routes(TO_REASONING))
    assert refused(decide(rules, facts(degraded="2026-11", sensitivity=Sensitivity.RESTRICTED))).code == "no_cleared_deployment"
    elsewhere = routes(TO_REASONING.replace("tier: reasoning", "tier: reasoning, regions: [us]"))
    rules = rules_with(models=TWO_DEPLOYMENTS, budgets=DEGRADING, routes=elsewhere)
    assert refused(decide(rules, facts(degraded="2026-11"))).code == "no_cleared_deployment"


def test_a_degraded_task_stays_with_the_deployment_that_holds_its_state(rules_with: Rules, facts: Build) -> None:
    rules = rules_with(models=TWO_DEPLOYMENTS, budgets=DEGRADING, routes=routes(TO_REASONING))
    assert refused(decide(rules, facts(degraded="2026-11", pinned="deep"))).code == "no_cleared_deployment"


def test_no_wish_for_a_reasoning_model_is_honoured_beyond_the_hard_limit(rules_with: Rules, facts: Build) -> None:
    honouring = routes(TO_REASONING.replace("tier: reasoning", "tier: reasoning, wish: honour"))
    rules = rules_with(models=TWO_DEPLOYMENTS, budgets=DEGRADING, routes=honouring)
    assert permitted(decide(rules, facts(wish="o3"))).candidates[0] == "deep"
    assert permitted(decide(rules, facts(wish="o3", degraded="2026-11"))).candidates == ("quick",)
