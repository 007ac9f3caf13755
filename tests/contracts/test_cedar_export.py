"""The export to Cedar, judged by Cedar's own engine: it agrees with our decisions, and what is missing or garbled permits nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from random import Random
from typing import Any

import msgspec
import pytest
from cedarpy import Entities, PolicySet, Schema, is_authorized_batch, validate_policies
from random_facts import random_facts

from routing_rules.decide import decide
from routing_rules.decisions import Decision, Hold, Permit
from routing_rules.export_cedar import context, entities, policies, request, schema
from routing_rules.facts import Facts
from routing_rules.load import complete, load
from routing_rules.rules import RuleSet

TODAY = date(2026, 11, 23)

OWN_ROUTES = """
time_zone: Asia/Tokyo
prohibitions:
  - {id: no-injection, owner: o, reason: 'r "quoted" \\\\ and ünusual', when: {category: [injection, security], integrity: untrusted}}
  - {id: not-in-spring, owner: o, reason: r, from: 2026-03-01, until: 2026-05-31, when: {task: [brainstorming, agentic]}}
  - {id: no-payments, owner: o, reason: r, when: {capability: [spends_money], sensitivity: {at_least: internal}}}
step_ups:
  - {id: ask-for-control, owner: o, reason: r, when: {access: [control, act], complexity: complex}}
  - {id: ask-for-impact, owner: o, reason: r, when: {business_impact: [high, low]}}
routes:
  - {id: unscanned, owner: o, reason: r, when: {state: unscanned}, then: {tier: reasoning, set: none, budget: default, wish: refuse}}
  - {id: masked, owner: o, reason: r, when: {category: [pii, hr]}, then: {tier: fast, set: pure, budget: default, mask: [email_address]}}
  - {id: declared, owner: o, reason: r, when: {declared: [internal, confidential]}, then: {tier: reasoning, fallback_tiers: [fast], set: private, budget: reasoning, wish: honour}}
  - {id: lazy, owner: o, reason: r, when: {task: lookup}, then: {tier: fast, set: standard, budget: default, obligations: [notify]}}
  - {id: batch, owner: o, reason: r, when: {latency_class: [batch, patient]}, until: 2027-06-30, then: {tier: reasoning, set: agentic, budget: reasoning, internal_only: true}}
  - {id: hints, owner: o, reason: r, when: {wish: [auto-fast, auto-reasoning]}, then: {tier: fast, fallback_tiers: [reasoning], set: standard, budget: tiny, hints: true}}
  - {id: team, owner: o, reason: r, when: {team: platform, endpoint: [chat, responses]}, then: {tier: fast, set: agentic, budget: free}}
  - {id: rest, owner: o, reason: r, when: {complexity: {at_most: moderate}}, then: {tier: fast, set: standard, budget: free, wish: honour}}
"""

MODELS = """
deployments:
  - {id: little, provider: simulated, tier: fast, clearance: internal, region: eu, price: {input_usd_per_million: 1, output_usd_per_million: 1}, access_review: {reviewer: r, expires: 2027-01-31}}
  - {id: free, provider: simulated, tier: fast, clearance: confidential, region: us, allowed_fields: [top_k], model_names: [gpt-4o], internal: true}
  - {id: finder, provider: simulated, model: gpt-4o-search-preview, tier: fast, clearance: restricted, price: {input_usd_per_million: 1, output_usd_per_million: 1}}
  - {id: large, provider: simulated, tier: reasoning, clearance: restricted, internal: true, context_window: 1000000, price: {input_usd_per_million: 1, output_usd_per_million: 1}}
  - {id: vectors, provider: simulated, tier: fast, clearance: restricted, features: [embeddings], price: {input_usd_per_million: 1}}
  - {id: claude, provider: simulated, tier: reasoning, clearance: confidential, model_names: [claude], access_review: {reviewer: r, expires: 2026-06-30}, price: {input_usd_per_million: 1, output_usd_per_million: 1}}
"""

BUDGETS = """
session_budgets:
  - {id: default, cost_usd: 1}
  - {id: reasoning, cost_usd: 5}
  - {id: tiny, requests: 3}
  - {id: free, requests: 100}
default_owner_budget: {soft_usd: 10}
owner_budgets: []
"""


@lru_cache
def shipped_rules() -> RuleSet:
    return load(complete({}, TODAY))


@lru_cache
def own_rules() -> RuleSet:
    return load(complete({"routes.yaml": OWN_ROUTES, "models.yaml": MODELS, "budgets.yaml": BUDGETS}, TODAY))


class Cedar:
    """Cedar's engine with the export of a rule set."""

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self.schema = Schema.from_str(schema(rules))
        self.policies = PolicySet.from_str(policies(rules))
        self.entities = Entities.from_json_str(json.dumps(entities(rules)))

    def allowed(self, facts: Facts, *, approved: bool, action: str = "send") -> set[str]:
        """The deployments that the task may be sent to."""
        told = context(self.rules, facts, approved=approved)
        asked = [request(self.rules, facts, id, approved=approved, action=action) | {"context": told} for id in self.rules.slots]
        return self.permitted(asked, self.schema)

    def permitted(self, asked: list[dict[str, Any]], known: Schema | None) -> set[str]:
        """The deployments of those requests that are permitted. With a schema, an error in one is a failure."""
        answers = is_authorized_batch(asked, self.policies, self.entities, known)
        if known is not None:
            assert [error for answer in answers for error in answer.diagnostics.errors] == []
        return {each["resource"]["id"] for each, answer in zip(asked, answers, strict=True) if answer.allowed}


@lru_cache
def cedar_of(rules: str) -> Cedar:
    return Cedar({"shipped": shipped_rules, "own": own_rules}[rules]())


both = pytest.mark.parametrize("rules", ["shipped", "own"])


@both
def test_the_policies_are_valid_under_the_schema(rules: str) -> None:
    known = {"shipped": shipped_rules, "own": own_rules}[rules]()
    told = validate_policies(policies(known), schema(known))
    assert (told.validation_passed, list(told.errors)) == (True, [])
    assert "entity Sensitivity enum" in schema(known)


@pytest.mark.slow
@both
def test_cedar_and_we_agree_on_2500_random_requests_each(rules: str) -> None:
    cedar = cedar_of(rules)
    random = Random(f"cedar {rules}")
    came_to: Counter[str] = Counter()
    for _ in range(2500):
        facts = random_facts(random, cedar.rules)
        came_to[agreed(cedar, facts, random)] += 1
    wanted = {"Permit", "Refuse"} if rules == "shipped" else {"Permit", "Refuse", "Hold", "to be masked"}
    assert {kind for kind, count in came_to.items() if count >= 25} >= wanted, came_to


def agreed(cedar: Cedar, facts: Facts, random: Random) -> str:
    """Check that Cedar comes to our decision, with an approval and without; what kind of decision it was."""
    decision = decide(cedar.rules, facts)
    permit = decision.permit if isinstance(decision, Hold) else decision
    if isinstance(permit, Permit) and permit.mask and not facts.masked:
        if (
            facts.pinned is None and facts.endpoint.value != "embeddings"
        ):  # otherwise masking may lead to nobody, and Cedar says so at once
            assert cedar.allowed(facts, approved=True, action="mask"), facts
        assert not cedar.allowed(facts, approved=True), facts
        return "to be masked"
    approved = cedar.allowed(facts, approved=True)
    assert bool(approved) is isinstance(permit, Permit), (facts, decision, approved)
    if isinstance(permit, Permit):
        assert set(permit.candidates) <= approved
        assert facts.tools or set(permit.candidates) == approved, (facts, permit.candidates, approved)
    if isinstance(decision, Hold) or random.random() < 0.2:
        unapproved = cedar.allowed(facts, approved=False)
        assert unapproved == (set() if isinstance(decision, Hold) else approved), (facts, decision)
    return type(decision).__name__


def permitted_tasks(cedar: Cedar, seed: str, count: int) -> Iterable[Facts]:
    random = Random(seed)
    found = 0
    while found < count:
        facts = random_facts(random, cedar.rules, strange=False)
        decision: Decision = decide(cedar.rules, facts)
        if isinstance(decision, Permit) and decision.candidates and not decision.mask:
            found += 1
            yield facts


@both
def test_a_fact_that_is_missing_or_of_another_kind_permits_nothing_even_without_the_schema(rules: str) -> None:
    cedar = cedar_of(rules)
    for facts in permitted_tasks(cedar, "garbled", 3):
        whole = context(cedar.rules, facts)
        asked = [request(cedar.rules, facts, id) for id in cedar.rules.slots]
        assert cedar.permitted(asked, None)
        looked_at = set(whole) - {
            "named",
            "holder",
            "searches_granted",
            "fields",
        }  # what only ever permits is asked for where it matters
        for name in sorted(looked_at):
            without = {other: value for other, value in whole.items() if other != name}
            assert cedar.permitted([each | {"context": without} for each in asked], None) == set(), name
            for garbage in ("restricted", -1, [], {"__entity": {"type": "App", "id": "(other)"}}, ["pii"]):
                if garbage == [] and name in ("categories", "capabilities"):
                    continue
                odd = whole | {name: garbage}
                assert cedar.permitted([each | {"context": odd} for each in asked], None) == set(), (name, garbage)


@both
def test_an_app_or_a_deployment_that_is_no_entity_is_permitted_nothing(rules: str) -> None:
    cedar = cedar_of(rules)
    (facts,) = permitted_tasks(cedar, "strangers", 1)
    asked = [request(cedar.rules, facts, id) for id in cedar.rules.slots]
    assert cedar.permitted(asked, None)
    assert cedar.permitted([each | {"principal": {"type": "App", "id": "nobody"}} for each in asked], None) == set()
    assert cedar.permitted([each | {"resource": {"type": "Deployment", "id": "nowhere"}} for each in asked], None) == set()


def test_an_app_that_is_only_watched_is_exported_as_if_it_were_held_to_the_rules() -> None:
    cedar = cedar_of("shipped")
    (facts,) = permitted_tasks(cedar, "watched", 1)
    watched = msgspec.structs.replace(facts, caller=msgspec.structs.replace(facts.caller, mode="observe"))
    assert cedar.allowed(watched, approved=False) == cedar.allowed(facts, approved=False)
