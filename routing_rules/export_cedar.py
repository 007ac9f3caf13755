"""The decision to forward as Cedar policies, schema and entities, for tools that analyse Cedar (pure; an export, never what decides here).

A request asks whether an app may `send` a task with these facts to one deployment; `mask` is asked instead where a route orders
masking and nothing is masked yet. The task is permitted where some deployment is. Cedar skips a policy whose condition errs, so that
a prohibition could be lost; therefore each permit first looks at everything that any prohibition looks at, and falls with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from routing_rules.decide import ENDPOINT_FEATURE, features_granted, may_search
from routing_rules.entitlements import capabilities_of, grant_within
from routing_rules.facts import Facts
from routing_rules.rules import (
    AUTO_WISHES,
    DIMENSIONS,
    MANY_VALUED_DIMENSIONS,
    UNDECLARED,
    Effect,
    Route,
    Rule,
    RuleSet,
    Slot,
    wish_kind,
)
from routing_rules.task import Feature
from routing_rules.vocabulary import Sensitivity

OTHER = "(other)"
"""Stands for a word that the rules do not know."""

TYPES = {
    "sensitivity": "Sensitivity",
    "access": "Access",
    "complexity": "Complexity",
    "task": "Task",
    "integrity": "Integrity",
    "endpoint": "Endpoint",
    "wish": "Wish",
    "state": "State",
    "declared": "Declared",
    "team": "Team",
    "purpose": "Purpose",
    "category": "Category",
    "capability": "Capability",
}
"""The enumerated entity of each dimension. Business impact and latency class are those of a purpose, and an app is an entity of its own."""

ATTRIBUTES = {"category": "categories", "capability": "capabilities"}
"""Where a dimension has another name in the context."""

BOOLEANS = ("session_ended", "model_known", "pinned", "masked", "approved", "money_limited")
FIRST_DAY, LAST_DAY = 10_000_101, 99_991_231


def policies(rules: RuleSet) -> str:
    """The policies, in Cedar's own language."""
    words = _words(rules)
    routes = [rule for rule in rules.rules if rule.effect is Effect.PERMIT]
    parts = [
        f"// Rules of revision {rules.revision}, exported. Validate every request against the schema that comes with them.",
        "// An app that is only watched is exported as if it were held to the rules.",
        *_standing(),
        *(_restriction(rules, rule) for rule in rules.rules if rule.effect is not Effect.PERMIT),
    ]
    for place, rule in enumerate(routes):
        route = rules.index.routes[rule.id]
        if route.not_carried_out:  # whatever comes to it is refused
            continue
        before = [earlier for earlier in routes[:place] if _may_meet(rules, earlier, rule)]
        parts += [_permit(rules, words, route, before, action) for action in (("mask", "send") if route.then.mask else ("send",))]
    return "\n\n".join(parts) + "\n"


def schema(rules: RuleSet) -> str:
    """The schema, in Cedar's own language: every vocabulary is an enumerated entity."""
    words = _words(rules)
    lines = [f"entity {name} enum [{', '.join(map(_quoted, found))}];" for name, found in words.items()]
    context = {
        **{
            ATTRIBUTES.get(dimension, dimension): name
            for dimension, name in TYPES.items()
            if dimension not in MANY_VALUED_DIMENSIONS
        },
        **{ATTRIBUTES[dimension]: f"Set<{TYPES[dimension]}>" for dimension in MANY_VALUED_DIMENSIONS},
        "clearance": "Sensitivity",
        "day": "Long",
        "review_day": "Long",
        "input_bytes": "Long",
        **dict.fromkeys(BOOLEANS, "Bool"),
        "named": "Set<Deployment>",
        "holder": "Set<Deployment>",
        "fields": "Set<String>",
        "searches_granted": "Set<EntitlementSet>",
    }
    needs = ", ".join(f"{_quoted(name)}: Set<Feature>" for name in rules.sets)
    return "\n".join(
        [
            *lines,
            "entity App { purposes: Set<Purpose> };",
            "entity Deployment {",
            "  tier: Tier, region: Region, clearance: Sensitivity, review_until: Long, endpoints: Set<Endpoint>, features: Set<Feature>,",
            "  fields: Set<String>, most_bytes: Long, priced: Bool, searches: Bool, internal: Bool",
            "};",
            "type Facts = {",
            *(f"  {name}: {kind}," for name, kind in context.items()),
            "  // by entitlement set: what a deployment must be able to do once the tools that the set does not grant are withheld",
            f"  needs: {{ {needs} }}",
            "};",
            *(
                f'action "{action}" appliesTo {{ principal: [App], resource: [Deployment], context: Facts }};'
                for action in ("send", "mask")
            ),
            "",
        ]
    )


def entities(rules: RuleSet) -> list[dict[str, Any]]:
    """Apps and deployments, as Cedar reads entities from JSON. One app and one deployment stand for those that nobody registered."""
    held = {app.id: app.purposes for app in rules.apps.values()} | {OTHER: ()}
    apps = [
        {
            "uid": {"type": "App", "id": app},
            "attrs": {"purposes": [_entity("Purpose", purpose) for purpose in purposes]},
            "parents": [],
        }
        for app, purposes in held.items()
    ]
    return [*apps, *(_deployment(slot) for slot in rules.slots.values())]


def request(rules: RuleSet, facts: Facts, deployment: str, *, approved: bool = False, action: str = "send") -> dict[str, Any]:
    """The request that asks Cedar what `decide` is asked, for one deployment. `approved`: a person has approved the task."""
    caller = facts.caller
    app = caller.app if caller.app in rules.apps else OTHER
    return {
        "principal": {"type": "App", "id": app},
        "action": {"type": "Action", "id": action},
        "resource": {"type": "Deployment", "id": deployment},
        "context": context(rules, facts, approved=approved),
    }


def context(rules: RuleSet, facts: Facts, *, approved: bool = False) -> dict[str, Any]:
    """The facts of a task in the words of the schema."""
    words = _words(rules)
    caller = facts.caller
    capabilities = frozenset().union(*(capabilities_of(rules, ask) or frozenset() for ask in facts.tools))
    grants = {name: grant_within(rules, facts, "", name) for name in rules.sets}
    shown = {
        "sensitivity": str(facts.labels.confidentiality),
        "access": str(facts.access),
        "complexity": str(facts.complexity),
        "task": str(facts.task),
        "integrity": str(facts.labels.integrity),
        "endpoint": str(facts.endpoint),
        "wish": wish_kind(facts.wish),
        "state": str(facts.state),
        "declared": UNDECLARED if facts.declared is None else str(facts.declared),
        "team": caller.team,
        "purpose": caller.purpose,
    }
    named = rules.models.get(facts.wish, ())
    holder = (facts.pinned,) if facts.pinned in rules.slots else ()
    return {
        **{name: _entity(TYPES[name], word if word in words[TYPES[name]] else OTHER) for name, word in shown.items()},
        "categories": [_entity("Category", word) for word in sorted(facts.categories) if word in words["Category"]],
        "capabilities": [_entity("Capability", str(word)) for word in sorted(capabilities)],
        "clearance": _entity("Sensitivity", str(caller.clearance)),
        "day": _day(rules.day(facts.now)),
        "review_day": _day(facts.now.date()),  # rules begin where the organisation is, reviews end in UTC
        "input_bytes": facts.input_bytes,
        "session_ended": facts.session_ended is not None,
        "model_known": facts.wish_known or facts.wish in rules.models or facts.wish in AUTO_WISHES,
        "pinned": facts.pinned is not None,
        "masked": facts.masked,
        "approved": approved,
        "money_limited": rules.is_limited(caller.owner),
        "named": [_entity("Deployment", id) for id in named],
        "holder": [_entity("Deployment", str(id)) for id in holder],
        "fields": sorted(facts.extra_fields),
        "searches_granted": [_entity("EntitlementSet", name) for name, grant in grants.items() if may_search(grant)],
        "needs": {
            name: [
                _entity("Feature", str(each))
                for each in sorted(features_granted(facts, grant) if facts.tools else facts.features)
            ]
            for name, grant in grants.items()
        },
    }


def _words(rules: RuleSet) -> dict[str, tuple[str, ...]]:
    """The members of every enumerated entity."""
    governed = {
        "team": (*sorted({app.team for app in rules.apps.values()} | _listed_words(rules, "team")), OTHER),
        "purpose": (*rules.purposes, OTHER),
        "category": rules.categories,
    }
    regions = {slot.deployment.region for slot in rules.slots.values()}.union(
        *(route.then.regions for route in rules.index.routes.values())
    )
    return {
        **{name: governed.get(dimension) or DIMENSIONS[dimension] for dimension, name in TYPES.items()},
        "Feature": tuple(Feature),
        "EntitlementSet": tuple(rules.sets),
        "Tier": rules.tiers,
        "Region": tuple(sorted(regions)) or (OTHER,),
    }


def _listed_words(rules: RuleSet, dimension: str) -> frozenset[str]:
    return frozenset().union(*(rule.when.get(dimension, frozenset()) for rule in rules.rules))


def _deployment(slot: Slot) -> dict[str, Any]:
    deployment = slot.deployment
    return {
        "uid": {"type": "Deployment", "id": slot.id},
        "attrs": {
            "tier": _entity("Tier", slot.tier),
            "region": _entity("Region", deployment.region),
            "clearance": _entity("Sensitivity", str(deployment.clearance)),
            "review_until": _day(slot.review_expires),
            "endpoints": [
                _entity("Endpoint", str(each)) for each, feature in ENDPOINT_FEATURE.items() if feature in slot.features
            ],
            "features": [_entity("Feature", str(feature)) for feature in sorted(slot.features)],
            "fields": sorted(slot.allowed_fields),
            "most_bytes": slot.most_bytes,
            "priced": slot.priced,
            "searches": slot.searches,
            "internal": deployment.internal,
        },
        "parents": [],
    }


def _standing() -> list[str]:
    """What holds under every rule set."""
    return [
        _policy("forbid", {"id": "router:session-ended"}, None, [("when", "context.session_ended")]),
        _policy("forbid", {"id": "router:known-model"}, None, [("unless", "context.model_known")]),
        _policy("forbid", {"id": "router:governed-purpose"}, None, [("unless", "principal.purposes.contains(context.purpose)")]),
        _policy(
            "forbid", {"id": "router:app-clearance"}, None, [("unless", _at_most("context.sensitivity", "context.clearance"))]
        ),
    ]


def _restriction(rules: RuleSet, rule: Rule) -> str:
    """A prohibition, or a step-up: that one gives way to an approval."""
    clauses = [("when", _matches(rules, rule))]
    if rule.effect is Effect.STEP_UP:
        clauses.append(("unless", "context.approved"))
    return _policy("forbid", _about(rule), None, clauses)


def _permit(rules: RuleSet, words: Mapping[str, Iterable[str]], route: Route, before: Iterable[Rule], action: str) -> str:
    """A route, for what no route before it takes."""
    clauses = [("when", _guard(rules, words)), ("when", _matches(rules, route.rule))]
    clauses += [("unless", _matches(rules, earlier)) for earlier in before]
    clauses.append(("when", " &&\n    ".join(_goes_to(route))))
    if route.then.mask:
        clauses.append(("unless" if action == "mask" else "when", "context.masked"))
    if action == "send":
        clauses.append(("when", " &&\n    ".join(_suits(route))))
    return _policy("permit", _about(route.rule), action, clauses)


def _guard(rules: RuleSet, words: Mapping[str, Iterable[str]]) -> str:
    """That every fact is there and of its kind: without one that a prohibition looks at, nothing is permitted."""
    single = [dimension for dimension in TYPES if dimension not in MANY_VALUED_DIMENSIONS]
    checks = [f"{_members(TYPES[name], words[TYPES[name]])}.contains(context.{name})" for name in single]
    checks += [
        f"{_members(TYPES[name], words[TYPES[name]])}.containsAll(context.{ATTRIBUTES[name]})" for name in MANY_VALUED_DIMENSIONS
    ]
    checks.append(f"{_members('Sensitivity', words['Sensitivity'])}.contains(context.clearance)")
    checks += [f"(context.{name} == true || context.{name} == false)" for name in BOOLEANS]
    checks += [f"context.{name} >= {FIRST_DAY} && context.{name} <= {LAST_DAY}" for name in ("day", "review_day")]
    checks.append("context.input_bytes >= 0")
    checks.append("principal.purposes.contains(context.purpose)")
    return " &&\n    ".join(checks)


def _matches(rules: RuleSet, rule: Rule) -> str:
    """The conditions of a rule."""
    clauses = [_clause(rules, dimension, words) for dimension, words in rule.when.items()]
    if rule.valid_from is not None:
        clauses.append(f"context.day >= {_day(rule.valid_from)}")
    if rule.valid_until is not None:
        clauses.append(f"context.day <= {_day(rule.valid_until)}")
    return " && ".join(clauses) or "true"


def _clause(rules: RuleSet, dimension: str, words: frozenset[str]) -> str:
    if dimension in MANY_VALUED_DIMENSIONS:
        return f"context.{ATTRIBUTES[dimension]}.containsAny({_members(TYPES[dimension], sorted(words))})"
    if dimension == "app":
        return f"{_members('App', sorted(words))}.contains(principal)"
    if dimension in ("business_impact", "latency_class"):
        words = _purposes(rules, dimension, words)
        dimension = "purpose"
        if not words:
            return "false"
    return f"{_members(TYPES[dimension], sorted(words))}.contains(context.{dimension})"


def _purposes(rules: RuleSet, dimension: str, words: frozenset[str]) -> frozenset[str]:
    """The purposes of these impacts, or latency classes."""
    return frozenset(id for id, purpose in rules.purposes.items() if str(getattr(purpose, dimension)) in words)


def _may_meet(rules: RuleSet, earlier: Rule, rule: Rule) -> bool:
    """Whether some task could match both; told from each dimension by itself, so that a yes may be one too many."""
    for dimension, words in earlier.when.items():
        other = rule.when.get(dimension)
        if dimension not in MANY_VALUED_DIMENSIONS and other is not None and words.isdisjoint(other):
            return False
    return True


def _goes_to(route: Route) -> list[str]:
    """Whether a deployment is one that the route looks among."""
    then = route.then
    tiers = f"{_members('Tier', then.tiers)}.contains(resource.tier)"
    if then.wish == "honour":
        tiers = f'({tiers} || (context.wish == Wish::"named" && context.named.contains(resource)))'
    embeddings = 'context.endpoint == Endpoint::"embeddings"'
    clauses = [
        f"(if context.pinned then context.holder.contains(resource) else if {embeddings} then context.named.contains(resource) else {tiers})",
        f"(!({embeddings}) || !context.named.isEmpty())",
        f"(!resource.searches || context.searches_granted.contains(EntitlementSet::{_quoted(then.entitlement_set)}))",
    ]
    if then.wish == "refuse":
        clauses.append(f'(context.wish != Wish::"named" || context.pinned || {embeddings})')
    if then.regions:
        clauses.append(f"{_members('Region', sorted(then.regions))}.contains(resource.region)")
    if then.internal_only:
        clauses.append("resource.internal")
    return clauses


def _suits(route: Route) -> list[str]:
    """Whether a deployment is cleared for the content and can do what is asked."""
    limited = "resource.priced" if route.budget.cost_nano is not None else "(resource.priced || !context.money_limited)"
    return [
        f"({_at_most('context.sensitivity', 'resource.clearance')})",
        f"(context.sensitivity == Sensitivity::{_quoted(str(Sensitivity.PUBLIC))} || context.review_day <= resource.review_until)",
        "resource.endpoints.contains(context.endpoint)",
        f"resource.features.containsAll(context.needs[{_quoted(route.then.entitlement_set)}])",
        "resource.fields.containsAll(context.fields)",
        "context.input_bytes <= resource.most_bytes",
        limited,
    ]


def _at_most(level: str, bound: str) -> str:
    """Whether one sensitivity is not above another: no comparison that could err, and false for anything that is no level."""
    names = [str(each) for each in Sensitivity]
    return " || ".join(
        f"({bound} == Sensitivity::{_quoted(name)} && {_members('Sensitivity', names[: place + 1])}.contains({level}))"
        for place, name in enumerate(names)
    )


def _about(rule: Rule) -> dict[str, str]:
    found = {"id": rule.id, "owner": rule.owner, "reason": rule.reason, "serves": ", ".join(rule.serves), "remedy": rule.remedy}
    return {name: text for name, text in found.items() if text}


def _policy(effect: str, about: Mapping[str, str], action: str | None, clauses: Iterable[tuple[str, str]]) -> str:
    notes = "\n".join(f"@{name}({_quoted(text)})" for name, text in about.items())
    scope = "action" if action is None else f'action == Action::"{action}"'
    body = "\n".join(f"{word} {{\n    {condition}\n}}" for word, condition in clauses)
    return f"{notes}\n{effect} (principal, {scope}, resource)\n{body};"


def _members(kind: str, words: Iterable[str]) -> str:
    return "[" + ", ".join(f"{kind}::{_quoted(str(word))}" for word in words) + "]"


def _entity(kind: str, id: str) -> dict[str, dict[str, str]]:
    return {"__entity": {"type": kind, "id": id}}


def _day(day: date) -> int:
    """A day as a number that compares as days do: 20261123."""
    return day.year * 10_000 + day.month * 100 + day.day


def _quoted(text: str) -> str:
    """A Cedar string. What is neither a letter, a digit nor a plain sign is written as its number."""
    return '"' + "".join(char if char.isalnum() or char in " -_.,:;/@()+" else f"\\u{{{ord(char):x}}}" for char in text) + '"'
