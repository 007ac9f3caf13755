"""For every field of the governed files: whether a change of it widens, there and back; a field without a row here fails."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import date
from typing import Any, NamedTuple

import pytest

from routing_rules.diff import Diff, diff
from routing_rules.load import FILES, POLICIES, load
from routing_rules.prices import SERVICE_TIERS, TOKEN_CLASSES

TODAY = date(2026, 11, 23)
REVIEW = {"reviewer": "r@example.org", "expires": "2027-05-01", "grace": {"until": "2027-05-05", "approved_by": ["ann", "bob"]}}
DEPLOYMENT = {
    "id": "one",
    "provider": "simulated",
    "model": "m",
    "tier": "fast",
    "clearance": "internal",
    "region": "eu",
    "features": ["streaming", "tools"],
    "context_window": 1000,
    "max_output_tokens": 100,
    "params": {"version": "1"},
    "fixed_params": {"store": False},
    "price": {"input_usd_per_million": 2, "output_usd_per_million": 4},
    "capability_review": REVIEW,
    "access_review": REVIEW,
}
MEETING = {"id": "leak", "capabilities": ["reads_private", "egress"], "brought_by": ["egress", "reads_private"]}
SPEND = {"id": "spending", "capabilities": ["reads_private", "spends_money"], "brought_by": ["reads_private", "spends_money"]}
TOOL = {"id": "lookup", "owner": "t@example.org", "capabilities": ["reads_private"], "functions": ["look_up"]}
SERVER = {
    "id": "lookup",
    "owner": "t@example.org",
    "capabilities": ["reads_private"],
    "servers": ["crm"],
    "server_urls": ["https://crm.example.org/mcp"],
    "pinned": {"find": "0" * 32},
}
GENERAL = {"id": "general", "owner": "g@example.org"}
RULE = {"id": "rule", "owner": "o@example.org", "reason": "a test"}
THEN = {"tier": "fast", "set": "reading", "budget": "plain"}
BASE: dict[str, Any] = {
    "apps.yaml": {
        "apps": [
            {
                "id": "first",
                "owner": "a@example.org",
                "team": "blue",
                "cost_center": "c1",
                "clearance": "confidential",
                "ceiling": "reading",
                "purposes": ["general"],
            },
            {"id": "second", "owner": "b@example.org", "team": "red", "clearance": "internal", "ceiling": "nothing", "purposes": ["other"]},
        ]
    },
    "purposes.yaml": {"purposes": [GENERAL, {"id": "other", "owner": "g@example.org", "business_impact": "high", "latency_class": "batch"}]},
    "models.yaml": {"tiers": ["fast", "reasoning"], "deployments": [DEPLOYMENT]},
    "tools.yaml": {"tools": [TOOL, {"id": "send", "owner": "t@example.org", "capabilities": ["egress"], "functions": ["send_it"]}]},
    "entitlements.yaml": {
        "sets": [
            {
                "id": "reading",
                "owner": "s@example.org",
                "business_purpose": "reading",
                "approver": "s@example.org",
                "review_by": "2027-05-01",
                "grace": {"until": "2027-05-05", "approved_by": ["ann", "bob"]},
                "tools": ["lookup"],
                "prohibited": [MEETING],
                "step_ups": [SPEND],
            },
            {"id": "nothing", "owner": "s@example.org", "business_purpose": "none", "approver": "s@example.org", "review_by": "2027-05-01", "tools": []},
        ]
    },
    "budgets.yaml": {"session_budgets": [{"id": "plain"}, {"id": "large", "cost_usd": 9}], "owner_budgets": [{"owner": "a@example.org"}]},
    "sensitivity.yaml": {
        "own_categories": ["plans"],
        "patterns": [{"id": "codename", "category": "plans", "level": "confidential", "terms": ["heron"]}],
        "code_names": [{"id": "names", "category": "plans", "level": "confidential", "key": "0" * 8, "hashes": ["0" * 16]}],
    },
    "routes.yaml": {"routes": [{**RULE, "id": "all", "then": THEN}]},
    "prices.yaml": {"prices": []},
}  # fmt: skip


class Row(NamedTuple):
    """Two values of a field, whether going from the first to the second widens, and whether going back does; `under` is where the values
    go, if not into the field itself, and `beside` is what else must stand in the files."""

    less: Any
    more: Any
    there: bool = True
    back: bool = False
    under: str = ""
    beside: tuple[tuple[str, Any], ...] = ()


def either(one: Any, other: Any, **more: Any) -> Row:
    return Row(one, other, True, True, **more)


def neither(one: Any, other: Any, **more: Any) -> Row:
    return Row(one, other, False, False, **more)


def grows(less: Any, more: Any, **beside: Any) -> Row:
    return Row(less, more, **beside)


ONE, OTHER = "x@example.org", "y@example.org"
D, S, R = "models.deployments[]", "entitlements.sets[]", "sensitivity"
UNPRICED = ((f"{D}.price", {"source": "catalogue"}),)
WATCHED = {"owner": ONE, "from": "2026-11-20", "until": "2026-12-01"}
BY_MODE = (("apps.apps[].mode", "observe"), ("apps.apps[].observe", WATCHED))
BY_FISCAL_YEAR = (("budgets.owner_budgets[].per", "fiscal_year"), ("budgets.owner_budgets[].hard_usd", 5))
BY_SERVER = (("tools.tools[]", SERVER),)
MODEL = 'version = "v1"\n'

ROWS: dict[str, Row] = {
    "apps.apps": grows([], [BASE["apps.yaml"]["apps"][0]]),
    "apps.apps[].id": either("first", "third"),
    "apps.apps[].owner": either(ONE, OTHER),
    "apps.apps[].team": either("blue", "red"),
    "apps.apps[].cost_center": either("c1", "c2"),
    "apps.apps[].clearance": grows("internal", "confidential"),
    "apps.apps[].ceiling": grows("nothing", "reading"),
    "apps.apps[].purposes": grows(["general"], ["general", "other"]),
    "apps.apps[].provider_state": grows([], ["file-1"]),
    "apps.apps[].mode": grows({}, {"mode": "observe", "observe": WATCHED}, under="apps.apps[].+"),
    "apps.apps[].observe": grows({}, {"mode": "observe", "observe": WATCHED}, under="apps.apps[].+"),
    "apps.apps[].observe.owner": either(ONE, OTHER, beside=BY_MODE),
    "apps.apps[].observe.from": grows("2026-11-21", "2026-11-20", beside=BY_MODE),
    "apps.apps[].observe.until": grows("2026-12-01", "2026-12-02", beside=BY_MODE),
    "budgets.new_sessions_per_hour": grows(5, 6),
    "budgets.default_owner_budget": grows({"hard_usd": 5}, {}),
    "budgets.default_owner_budget.soft_usd": grows(5, 6),
    "budgets.default_owner_budget.hard_usd": grows(5, 6),
    "budgets.session_budgets": grows([{"id": "plain", "requests": 5}], [{"id": "plain"}]),
    "budgets.session_budgets[].id": grows("plain", "bare", beside=(("budgets.session_budgets[].cost_usd", 1),), under="routes.routes[].then.+budget"),
    "budgets.session_budgets[].warn_percent": grows(50, 60),
    "budgets.session_budgets[].drift": grows({"warn": 0.1, "hold": 0.2}, {"warn": 0.1}),
    "budgets.session_budgets[].drift.warn": grows(0.1, 0.2),
    "budgets.session_budgets[].drift.hold": grows(0.5, 0.6),
    "budgets.session_budgets[].drift.stop": grows(0.5, 0.6),
    "budgets.session_budgets[].limits": grows({"max_output_tokens": 5000}, {"max_output_tokens": 6000}),
    "budgets.owner_budgets": grows([{"owner": ONE, "hard_usd": 1}], []),
    "budgets.owner_budgets[].owner": either(ONE, OTHER, beside=(("budgets.owner_budgets[].hard_usd", 1),)),
    "budgets.owner_budgets[].soft_usd": grows(5, 6),
    "budgets.owner_budgets[].hard_usd": grows(5, 6),
    "budgets.default_owner_budget.per": either("month", "year", beside=(("budgets.default_owner_budget.hard_usd", 5),)),
    "budgets.default_owner_budget.soft_percents": grows([50, 80], [80], beside=(("budgets.default_owner_budget.hard_usd", 5),)),
    "budgets.default_owner_budget.on_hard": neither("refuse", "degrade", beside=(("budgets.default_owner_budget.hard_usd", 5),)),
    "budgets.default_owner_budget.stop_usd": grows(6, 7, beside=(("budgets.default_owner_budget.hard_usd", 5), ("budgets.default_owner_budget.on_hard", "degrade"))),
    "budgets.default_owner_budget.notify": grows([ONE, OTHER], [ONE], beside=(("budgets.default_owner_budget.hard_usd", 5),)),
    "budgets.owner_budgets[].per": either("month", "year", beside=(("budgets.owner_budgets[].hard_usd", 5),)),
    "budgets.owner_budgets[].soft_percents": grows([50, 80], [80], beside=(("budgets.owner_budgets[].hard_usd", 5),)),
    "budgets.owner_budgets[].on_hard": neither("refuse", "degrade", beside=(("budgets.owner_budgets[].hard_usd", 5),)),
    "budgets.owner_budgets[].stop_usd": grows(6, 7, beside=(("budgets.owner_budgets[].hard_usd", 5), ("budgets.owner_budgets[].on_hard", "degrade"))),
    "budgets.owner_budgets[].notify": grows([ONE, OTHER], [ONE], beside=(("budgets.owner_budgets[].hard_usd", 5),)),
    "budgets.fiscal_year": either({}, {"first_month": 4}, beside=BY_FISCAL_YEAR),
    "budgets.fiscal_year.first_month": either(2, 4, beside=BY_FISCAL_YEAR),
    "budgets.fiscal_year.weeks": either("4-4-5", "4-5-4", beside=BY_FISCAL_YEAR),
    "budgets.fiscal_year.weekday": either("monday", "friday", beside=(*BY_FISCAL_YEAR, ("budgets.fiscal_year.weeks", "4-4-5"))),
    "entitlements.sets": grows(BASE["entitlements.yaml"]["sets"], [*BASE["entitlements.yaml"]["sets"], {**BASE["entitlements.yaml"]["sets"][0], "id": "more"}]),
    f"{S}.id": either("reading", "more", under="entitlements.sets[].+renamed"),
    f"{S}.owner": either(ONE, OTHER),
    f"{S}.approver": either(ONE, OTHER),
    f"{S}.business_purpose": neither("reading", "writing"),
    f"{S}.review_by": grows("2027-05-01", "2027-05-02", under=f"{S}.+review_by"),
    f"{S}.tools": grows(["lookup"], ["lookup", "send"]),
    f"{S}.allowed_destinations": grows([], ["@example.org"]),
    f"{S}.grace": grows({}, {"grace": {"until": "2027-05-05", "approved_by": ["ann", "bob"]}}, under=f"{S}.+grace"),
    f"{S}.grace.until": grows("2027-05-05", "2027-05-06"),
    f"{S}.grace.approved_by": either(["ann", "bob"], ["ann", "eve"]),
    "models.tiers": neither(["fast", "reasoning"], ["fast"]),
    "models.deployments": grows([], [DEPLOYMENT]),
    f"{D}.id": either("one", "two"),
    f"{D}.provider": either("simulated", "openai"),
    f"{D}.model": either("m", "n"),
    f"{D}.tier": grows("reasoning", "fast"),
    f"{D}.clearance": grows("internal", "confidential"),
    f"{D}.region": either("eu", "us"),
    f"{D}.base_url": either("https://a.example.org", "https://b.example.org"),
    f"{D}.api_key": either("env:A", "env:B"),
    f"{D}.params": either({}, {"version": "1"}),
    f"{D}.params.*": either("1", "2", under=f"{D}.params.version"),
    f"{D}.fixed_params": either({}, {"store": True}),
    f"{D}.fixed_params.*": either(False, True, under=f"{D}.fixed_params.store"),
    f"{D}.model_names": grows([], ["gpt"]),
    f"{D}.features": grows(["tools"], ["tools", "vision"]),
    f"{D}.allowed_fields": grows([], ["extra"]),
    f"{D}.context_window": grows(1000, 2000),
    f"{D}.max_output_tokens": grows(100, 200),
    f"{D}.reasoning_model": either(False, True),
    f"{D}.internal": either(False, True),
    f"{D}.enabled": grows(False, True),
    f"{D}.price": grows({"input_usd_per_million": 3, "output_usd_per_million": 4}, {"input_usd_per_million": 2, "output_usd_per_million": 4}),
    f"{D}.price.source": either("catalogue", "internal: own hardware"),
    f"{D}.assumed_price": either({"input_usd_per_million": 3, "output_usd_per_million": 4}, {}, beside=UNPRICED),
    f"{D}.assumed_price.source": either("assumed", "guessed", beside=(*UNPRICED, (f"{D}.assumed_price", {"input_usd_per_million": 3, "output_usd_per_million": 4}))),
    "purposes.purposes": neither([*BASE["purposes.yaml"]["purposes"]], [*BASE["purposes.yaml"]["purposes"], {"id": "third", "owner": ONE}]),
    "purposes.purposes[].id": either("general", "special", under="purposes.purposes[].+renamed"),
    "purposes.purposes[].owner": either(ONE, OTHER),
    "purposes.purposes[].business_impact": either("high", "normal", beside=(("routes.prohibitions", [{**RULE, "when": {"business_impact": ["high"]}}]),)),
    "purposes.purposes[].latency_class": either("batch", "patient", beside=(("routes.prohibitions", [{**RULE, "when": {"latency_class": ["batch"]}}]),)),
    f"{R}.own_categories": neither(["plans"], ["plans", "more"]),
    f"{R}.many": grows(10, 11),
    f"{R}.bulk": grows(10, 11),
    f"{R}.unmapped_label": grows("refuse", "restricted"),
    f"{R}.floor": grows("internal", "public"),
    f"{R}.unscanned": grows("restricted", "confidential"),
    f"{R}.label_fields": grows(["a", "b"], ["a"]),
    f"{R}.allow_listed": grows([], ["4111"]),
    f"{R}.gitleaks_examples": grows({"positive": ["a"]}, {}),
    f"{R}.gitleaks_examples.positive": grows(["a", "b"], ["a"]),
    f"{R}.gitleaks_examples.negative": grows(["a", "b"], ["a"]),
    f"{R}.categories": grows({}, {"legal": "internal"}),
    f"{R}.categories.*": grows("restricted", "internal", under=f"{R}.categories.legal"),
    f"{R}.kinds": either({}, {"email_address": "internal"}),
    f"{R}.kinds.*": grows("restricted", "internal", under=f"{R}.kinds.email_address"),
    f"{R}.topics": grows({}, {"legal": "internal"}),
    f"{R}.topics.*": grows("confidential", "internal", under=f"{R}.topics.legal"),
    f"{R}.unreadable": grows({}, {"image": "internal"}),
    f"{R}.unreadable.*": grows("restricted", "internal", under=f"{R}.unreadable.encrypted"),
    f"{R}.labels": grows({}, {"Streng Geheim": "public"}),
    f"{R}.labels.*": grows("restricted", "confidential", under=f"{R}.labels.Secret"),
    f"{R}.thresholds": grows({}, {"pii": 0.5}, under=f"{R}.thresholds"),
    f"{R}.thresholds.*": grows(0.5, 0.6, under=f"{R}.thresholds.pii"),
    f"{R}.topic_thresholds": either({}, {"legal": 0.6}),
    f"{R}.topic_thresholds.*": grows(0.5, 0.6, under=f"{R}.topic_thresholds.legal"),
    f"{R}.level_names": grows({}, {"public": "Streng Geheim"}),
    **{
        f"{R}.level_names.{level}": grows({}, {level: "Streng Geheim"}, beside=((f"{R}.unmapped_label", "refuse"),), under=f"{R}.level_names")
        for level in ("public", "internal", "confidential", "restricted")
    },
    f"{R}.complexity": either({}, {"target": "strong_minus_weak"}),
    f"{R}.complexity.target": either("fast_fails", "strong_minus_weak"),
    f"{R}.complexity.model": either({}, {"model": "v1"}, under=f"{R}.+model"),
    f"{R}.patterns": either([], BASE["sensitivity.yaml"]["patterns"]),
    f"{R}.patterns[].id": either("codename", "name"),
    f"{R}.patterns[].pattern": either("abc", "abd", under=f"{R}.patterns[].+pattern"),
    f"{R}.patterns[].terms": either(["heron"], ["heron", "stork"]),
    f"{R}.patterns[].score": either(0.8, 0.9),
    f"{R}.patterns[].positive": grows(["heron", "a heron"], ["heron"]),
    f"{R}.patterns[].negative": grows(["crow", "a crow"], ["crow"]),
    f"{R}.patterns[].category": either("plans", "legal"),
    f"{R}.patterns[].level": grows("confidential", "internal"),
    f"{R}.code_names": either([], BASE["sensitivity.yaml"]["code_names"]),
    f"{R}.code_names[].id": either("names", "others"),
    f"{R}.code_names[].key": either("0" * 8, "1" * 8),
    f"{R}.code_names[].hashes": either(["0" * 16], ["0" * 16, "1" * 16]),
    f"{R}.code_names[].category": either("plans", "legal"),
    f"{R}.code_names[].level": grows("confidential", "internal"),
    "routes.time_zone": either("UTC", "Europe/Berlin", beside=(("routes.routes[].until", "2027-01-01"),)),
    "routes.prohibitions": grows([RULE], []),
    "routes.step_ups": grows([RULE], []),
    "routes.routes": grows([{**RULE, "when": {"task": ["coding"]}, "then": THEN}], [{**RULE, "then": THEN}]),
    "routes.prohibitions[].code": neither("not_permitted_by_rule", "purpose_not_permitted"),
    "routes.routes[].then": grows({**THEN, "budget": "large", "obligations": ["no_store"]}, {**THEN, "budget": "large"}),
    "routes.routes[].then.tier": grows("reasoning", "fast"),
    "routes.routes[].then.fallback_tiers": grows([], ["fast"], beside=(("routes.routes[].then.tier", "reasoning"),)),
    "routes.routes[].then.budget": grows("large", "plain"),
    "routes.routes[].then.obligations": grows(["no_store"], []),
    "routes.routes[].then.mask": grows(["email_address", "person_name"], ["email_address"]),
    "routes.routes[].then.set": grows("nothing", "reading"),
    "routes.routes[].then.regions": grows(["us"], ["us", "eu"], beside=(("models.deployments", [DEPLOYMENT, {**DEPLOYMENT, "id": "us", "region": "us"}]),)),
    "routes.routes[].then.internal_only": grows(True, False),
    "routes.routes[].then.wish": grows("refuse", "override"),
    "routes.routes[].then.hints": grows(False, True),
    "routes.routes[].then.limits": grows({"max_output_tokens": 500}, {"max_output_tokens": 600}),
    "tools.tools": neither(BASE["tools.yaml"]["tools"], [*BASE["tools.yaml"]["tools"], {**TOOL, "id": "more", "functions": ["more"]}]),
    "tools.tools[].id": either("lookup", "search", under="tools.tools[].+renamed"),
    "tools.tools[].owner": either(ONE, OTHER),
    "tools.tools[].capabilities": grows(["reads_private", "egress"], ["reads_private"]),
    "tools.tools[].functions": grows(["a"], ["a", "b"]),
    "tools.tools[].hosted": grows([], ["file_search"]),
    "tools.tools[].servers": grows(["crm"], ["crm", "erp"], beside=BY_SERVER),
    "tools.tools[].server_urls": grows(["https://a.example.org"], ["https://a.example.org", "https://b.example.org"], beside=BY_SERVER),
    "tools.tools[].pinned": grows({"find": "0" * 32}, {"find": "0" * 32, "get": "0" * 32}, beside=BY_SERVER),
    "tools.tools[].pinned.*": either("0" * 32, "1" * 32, beside=BY_SERVER, under="tools.tools[].pinned.find"),
    "tools.tools[].arguments_schema": either('{"type": "object"}', "{}"),
    "tools.tools[].highest_read": grows("confidential", "internal"),
    "tools.tools[].approval_boundary": grows("every_call", "first_use"),
    "tools.tools[].destination_arguments": either([], ["to"]),
    "tools.tools[].internal": grows(False, True, beside=BY_SERVER),
}  # fmt: skip

LIMITS = (
    "input_tokens", "output_tokens", "reasoning_tokens", "requests", "tool_calls", "identical_calls", "idle_seconds", "total_seconds",
    "reasoning_growth_tokens", "cost_usd",
)  # fmt: skip
ROWS |= {f"budgets.session_budgets[].{name}": grows(50, 60) for name in LIMITS}
for under in ("budgets.session_budgets[].limits", "routes.routes[].then.limits"):
    ROWS |= {f"{under}.{name}": grows(500, 600) for name in ("max_output_tokens", "hosted_calls", "request_seconds", "connect_seconds", "first_token_seconds", "inter_token_seconds", "drain_seconds", "drain_output_tokens")}  # fmt: skip
    ROWS[f"{under}.reasoning_effort"] = grows("low", "high")
    # How much room for an answer there must be at least: with less of it a call is refused, and no limit is another.
    ROWS[f"{under}.min_output_tokens"] = neither(5, 6)
for price, beside in (("price", ()), ("assumed_price", UNPRICED)):
    full = {"input_usd_per_million": 9, "output_usd_per_million": 9}
    ROWS |= {
        f"{D}.{price}.{name}_usd_per_million": grows(3, 2, beside=(*beside, (f"{D}.{price}", full)))
        for name in ("input", "cached_input", "cache_write", "output", "reasoning")
    }
for review in ("access_review", "capability_review"):
    ROWS |= {
        f"{D}.{review}": grows(REVIEW, {**REVIEW, "grace": {**REVIEW["grace"], "until": "2027-05-06"}}),  # type: ignore[dict-item]
        f"{D}.{review}.reviewer": either(ONE, OTHER),
        f"{D}.{review}.expires": grows({"reviewer": ONE, "expires": "2027-05-01"}, {"reviewer": ONE, "expires": "2027-05-02"}, under=f"{D}.{review}"),
        f"{D}.{review}.grace": grows({"reviewer": "r@example.org", "expires": "2027-05-01"}, REVIEW, under=f"{D}.{review}"),
        f"{D}.{review}.grace.until": grows("2027-05-05", "2027-05-06"),
        f"{D}.{review}.grace.approved_by": either(["ann", "bob"], ["ann", "eve"]),
    }  # fmt: skip
for held, row in (("prohibited", MEETING), ("step_ups", SPEND)):
    ROWS |= {
        f"{S}.{held}": grows([row], []),
        f"{S}.{held}[].id": neither("one-name", "another"),
        f"{S}.{held}[].capabilities": grows(row["capabilities"], [*row["capabilities"], "loads_tools"]),
        f"{S}.{held}[].brought_by": grows(row["brought_by"], ["reads_private"]),
        f"{S}.{held}[].vouched": grows(False, True),
        f"{S}.{held}[].asked": grows(False, True),
        f"{S}.{held}[].serves": neither([], ["ASI02"]),
    }

WORDS: dict[str, tuple[Any, Any]] = {
    "task": (["coding"], ["coding", "planning"]),
    "latency_class": (["batch"], ["batch", "interactive"]),
    "endpoint": (["chat"], ["chat", "responses"]),
    "wish": (["auto"], ["auto", "named"]),
    "state": (["complete"], ["complete", "unscanned"]),
    "declared": (["public"], ["public", "undeclared"]),
    "capability": (["egress"], ["egress", "pure"]),
    "app": (["first"], ["first", "second"]),
    "team": (["blue"], ["blue", "red"]),
    "purpose": (["general"], ["general", "other"]),
    "category": (["pii"], ["pii", "legal"]),
}
ORDERED = {
    "sensitivity": ("public", "internal"),
    "access": ("none", "read"),
    "complexity": ("simple", "moderate"),
    "integrity": ("trusted", "untrusted"),
    "business_impact": ("normal", "high"),
}
for key, stricter in (("prohibitions", True), ("step_ups", True), ("routes", False)):
    at, rule = f"routes.{key}[]", ({**RULE, "then": THEN} if key == "routes" else RULE)
    beside_it: tuple[tuple[str, Any], ...] = ((f"routes.{key}", [rule]),)

    def ordered(less: Any, more: Any, wider: bool = not stricter, **more_of: Any) -> Row:
        """A row of which the second value admits more: wider for a route, narrower for what stops."""
        return Row(less, more, **more_of) if wider else Row(more, less, **more_of)

    whens = WORDS | {name: ([low], [low, high]) for name, (low, high) in ORDERED.items()}
    for dimension, (less, more) in whens.items():
        ROWS[f"{at}.when.{dimension}"] = ordered({dimension: less}, {dimension: more}, under=f"{at}.when", beside=beside_it)
    for dimension, (low, high) in ORDERED.items():
        ROWS[f"{at}.when.{dimension}.at_least"] = ordered({dimension: {"at_least": high}}, {dimension: {"at_least": low}}, under=f"{at}.when", beside=beside_it)  # fmt: skip
        ROWS[f"{at}.when.{dimension}.at_most"] = ordered({dimension: {"at_most": low}}, {dimension: {"at_most": high}}, under=f"{at}.when", beside=beside_it)  # fmt: skip
    ROWS[f"{at}.when"] = ordered({"task": ["coding"]}, {}, beside=beside_it)
    ROWS[f"{at}.from"] = ordered("2027-01-01", "2026-12-01", beside=beside_it)
    ROWS[f"{at}.until"] = ordered("2026-12-01", "2027-01-01", beside=beside_it)
    ROWS[f"{at}.id"] = neither("one", "other", beside=beside_it) if key == "routes" else either("one", "other", beside=beside_it)
    ROWS[f"{at}.owner"] = either(ONE, OTHER, beside=beside_it)
    for name in ("reason", "remedy"):
        ROWS[f"{at}.{name}"] = neither("one", "other", beside=beside_it)
    ROWS[f"{at}.serves"] = neither([], ["ASI02"], beside=beside_it)

for stops in ("prohibitions", "step_ups"):
    # The rule that stops as much under another name is found, so that a new name alone weakens nothing.
    ROWS[f"routes.{stops}[].id"] = neither("one", "other", beside=((f"routes.{stops}", [RULE]),))
ROWS["routes.prohibitions[].code"] = ROWS["routes.prohibitions[].code"]._replace(beside=(("routes.prohibitions", [RULE]),))


def amounts(usd: int) -> dict[str, Any]:
    return dict.fromkeys(TOKEN_CLASSES, usd)


EUR = {"EUR": [{"from": "2026-01-01", "usd": 2}]}
WHOLE = {
    "per_million": amounts(5),
    "per_thousand_calls": {"web_search": 5},
    "above": [{"input_tokens": 1000, "per_million": amounts(5)}],
}
TIERED = {**WHOLE, "service_tiers": dict.fromkeys(SERVICE_TIERS, WHOLE)}
PRICED = {"id": "p", "deployment": "one", "from": "2026-01-01", **TIERED}
FIXED = {"id": "d", "deployment": "one", "from": "2026-01-01", "fixed": TIERED}
PERCENT = {"id": "d", "deployment": "one", "percent": 10}
AT_PRICES, AT_DISCOUNTS = "prices.prices[]", "prices.discounts[]"
OF_PRICES, OF_FIXED = ((AT_PRICES[:-2], [PRICED]),), ((AT_DISCOUNTS[:-2], [FIXED]),)
OF_PERCENT = ((AT_DISCOUNTS[:-2], [PERCENT]),)
IN_EUR = (("prices.rates", EUR), (AT_PRICES[:-2], [{**PRICED, "currency": "EUR"}]))


def rows_of_amounts(at: str, beside: tuple[tuple[str, Any], ...]) -> Iterator[tuple[str, Row]]:
    """Of each amount under a price: what is cheaper widens, as limits in money bind later."""
    yield (
        f"{at}.service_tiers",
        grows({"flex": {"per_million": amounts(5)}}, {"flex": {"per_million": amounts(4)}}, beside=beside),
    )
    for place in (at, *(f"{at}.service_tiers.{tier}" for tier in SERVICE_TIERS)):
        if place != at:
            yield place, grows({"per_million": amounts(6)}, {"per_million": amounts(5)}, beside=beside)
        dear = {"input_tokens": 1000, "per_million": amounts(6)}
        yield f"{place}.above", grows([dear], [], beside=beside)
        steps = [{"above": [{**dear, "input_tokens": tokens}]} for tokens in (1000, 2000)]
        yield f"{place}.above[].input_tokens", grows(*steps, under=f"{place}.+", beside=beside)
        yield f"{place}.per_thousand_calls", grows({"web_search": 6}, {"web_search": 5}, beside=beside)
        yield f"{place}.per_thousand_calls.*", grows(6, 5, under=f"{place}.per_thousand_calls.web_search", beside=beside)
        for inner in (place, f"{place}.above[]"):
            yield f"{inner}.per_million", grows(amounts(6), amounts(5), beside=beside)
            for name in TOKEN_CLASSES:
                yield f"{inner}.per_million.{name}", grows(6, 5, beside=beside)


ROWS |= dict(rows_of_amounts(AT_PRICES, OF_PRICES)) | dict(rows_of_amounts(f"{AT_DISCOUNTS}.fixed", OF_FIXED))
ROWS |= {
    "prices.version": neither("a", "b", beside=OF_PRICES),
    "prices.currency": grows("EUR", "USD", beside=(("prices.rates", EUR), *OF_PRICES)),
    "prices.rates": neither({}, EUR),
    "prices.rates.*": grows(
        [{"from": "2026-01-01", "usd": 2}], [{"from": "2026-01-01", "usd": 1}], under="prices.rates.EUR", beside=IN_EUR
    ),
    "prices.rates.*[].from": grows(
        *([*EUR["EUR"], {"from": day, "usd": 1}] for day in ("2027-02-01", "2027-01-01")), under="prices.rates.EUR", beside=IN_EUR
    ),
    "prices.rates.*[].usd": grows(2, 1, under="prices.rates.EUR[].usd", beside=IN_EUR),
    "prices.prices": either([], [PRICED]),
    f"{AT_PRICES}.id": neither("p", "q", beside=OF_PRICES),
    f"{AT_PRICES}.deployment": either({}, {"deployment": None, "model": "n"}, under=f"{AT_PRICES}.+", beside=OF_PRICES),
    f"{AT_PRICES}.model": either(
        *({"deployment": None, "model": model} for model in "mn"), under=f"{AT_PRICES}.+", beside=OF_PRICES
    ),
    f"{AT_PRICES}.provider": either(
        *({"deployment": None, "model": "m", "provider": each} for each in ("simulated", "openai")),
        under=f"{AT_PRICES}.+",
        beside=OF_PRICES,
    ),
    f"{AT_PRICES}.from": either("2026-01-01", "2027-01-01", beside=OF_PRICES),
    f"{AT_PRICES}.until": either("2027-01-01", "2027-06-01", beside=OF_PRICES),
    f"{AT_PRICES}.currency": grows("EUR", "USD", beside=IN_EUR),
    f"{AT_PRICES}.assumed": either(False, True, beside=OF_PRICES),
    f"{AT_PRICES}.source": neither("a list", "another list", beside=OF_PRICES),
    f"{AT_PRICES}.read": neither("2026-10-01", "2026-10-02", beside=OF_PRICES),
    f"{AT_PRICES}.reason": neither("one", "another", beside=OF_PRICES),
    "prices.discounts": grows([], [PERCENT]),
    f"{AT_DISCOUNTS}.id": neither("d", "e", beside=OF_PERCENT),
    f"{AT_DISCOUNTS}.deployment": grows({"deployment": None, "model": "n"}, {}, under=f"{AT_DISCOUNTS}.+", beside=OF_PERCENT),
    f"{AT_DISCOUNTS}.model": grows(
        *({"deployment": None, "model": model} for model in "nm"), under=f"{AT_DISCOUNTS}.+", beside=OF_PERCENT
    ),
    f"{AT_DISCOUNTS}.provider": grows(
        *({"deployment": None, "provider": each} for each in ("openai", "simulated")),
        under=f"{AT_DISCOUNTS}.+",
        beside=OF_PERCENT,
    ),
    f"{AT_DISCOUNTS}.from": grows("2027-01-01", "2026-01-01", beside=OF_PERCENT),
    f"{AT_DISCOUNTS}.until": grows("2027-01-01", "2027-06-01", beside=OF_PERCENT),
    f"{AT_DISCOUNTS}.percent": grows(10, 20, beside=OF_PERCENT),
    f"{AT_DISCOUNTS}.classes": grows(["input"], ["input", "output"], beside=OF_PERCENT),
    f"{AT_DISCOUNTS}.fixed": grows({"per_million": amounts(2)}, {"per_million": amounts(1)}, beside=OF_FIXED),
    f"{AT_DISCOUNTS}.currency": grows("EUR", "USD", beside=(("prices.rates", EUR), *OF_FIXED)),
    f"{AT_DISCOUNTS}.source": neither("one contract", "another", beside=OF_PERCENT),
}


def fields(schema: dict[str, Any], at: str) -> Iterator[str]:
    """The fields of a schema, as `apps.apps[].id`; `*` is any name."""
    for branch in (schema, *schema.get("anyOf", ())):
        if isinstance(items := branch.get("items"), dict):
            yield from fields(items, f"{at}[]")
        for name, inner in branch.get("properties", {}).items():
            yield f"{at}.{name}"
            yield from fields(inner, f"{at}.{name}")
        if isinstance(inner := branch.get("additionalProperties"), dict):
            yield f"{at}.*"
            yield from fields(inner, f"{at}.*")


def every_field() -> set[str]:
    """All but `include`, of which only what it brings counts, and the cases, which are compared as text."""
    found: set[str] = set()
    for file in FILES:
        stem = file.removesuffix(".yaml")
        schema = json.loads((POLICIES / "schemas" / f"{stem}.json").read_text())
        found |= {name for name in fields(schema, stem) if name != f"{stem}.include"}
    return found


def put(files: dict[str, Any], path: str, value: Any) -> None:
    """Set a field; of a list that of the first row."""
    stem, *names = path.replace("[]", ".0").split(".")
    at: Any = files[f"{stem}.yaml"]
    for place, name in enumerate(names):
        last = place == len(names) - 1
        if name.startswith("+"):
            special(files, at, path, value)
        elif isinstance(at, list):
            if last:
                at[0] = value
            else:
                at = at[0]
        elif last:
            at[name] = value
        else:
            at = at.setdefault(name, [{}] if names[place + 1] == "0" else {})


def special(files: dict[str, Any], row: dict[str, Any], path: str, value: Any) -> None:
    """What takes more than one field: a row that is named elsewhere, or fields that go together."""
    what = path.partition("+")[2]
    if what == "renamed":
        old, row["id"] = row["id"], value
        for name, text in files.items():
            if isinstance(text, dict):
                files[name] = json.loads(json.dumps(text).replace(f'"{old}"', f'"{value}"'))
    elif what == "budget":
        files["budgets.yaml"]["session_budgets"].append({"id": "bare"})
        row["budget"] = value
    elif what == "review_by":
        row.pop("grace")
        row["review_by"] = value
    elif what == "grace":
        row.pop("grace")
        row.update(value)
    elif what == "pattern":
        row.pop("terms")
        row["pattern"] = value
    elif what == "model":
        if value:
            files["complexity.toml"] = MODEL
        row["complexity"] = value
    else:
        row.update(value)


def compared(path: str, row: Row, *, back: bool) -> Diff:
    made = []
    for value in (row.less, row.more):
        files = copy.deepcopy(BASE)
        for other, said in row.beside:
            put(files, other, copy.deepcopy(said))
        put(files, row.under or path, copy.deepcopy(value))
        made.append(load({name: text if isinstance(text, str) else json.dumps(text) for name, text in files.items()}))
    less, more = made
    return diff(more, less, TODAY) if back else diff(less, more, TODAY)


def test_every_field_has_its_row() -> None:
    assert set(ROWS) == every_field()


@pytest.mark.parametrize("path", sorted(ROWS))
def test_a_change_of_a_field_widens_where_it_is_said_to(path: str) -> None:
    row = ROWS[path]
    there, back = compared(path, row, back=False), compared(path, row, back=True)
    assert there.files
    assert (there.widens, back.widens) == (row.there, row.back), (there.widenings, back.widenings)
