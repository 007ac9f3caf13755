"""The pure decision: facts in, Permit, Hold or Refuse out, with the rules that made it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NewType, cast

import msgspec

from routing_rules.budgets import FAST_TIER
from routing_rules.catalogue import Deployment
from routing_rules.decisions import CARRIED_OUT, Decision, Hold, Obligation, Permit, Refuse, ToolGrant
from routing_rules.entitlements import grant_within
from routing_rules.facts import Facts
from routing_rules.faults import did_you_mean
from routing_rules.rules import AUTO_WISHES, Effect, Route, Rule, RuleSet, Slot, Then, Verdict, wish_kind, within
from routing_rules.task import Endpoint, Feature
from routing_rules.vocabulary import Integrity, Sensitivity

if TYPE_CHECKING:  # a NewType of a msgspec class makes mypy 2.4 fail; a subclass says the same

    class ClearedDeployment(Deployment, frozen=True):
        """A deployment that a Permit names and that was checked against it. Only `cleared` makes one."""
else:
    ClearedDeployment = NewType("ClearedDeployment", Deployment)

DEFAULT_DENY = "router:default-deny"
EVALUATION_ERROR = "router:evaluation-error"
SESSION_ENDED = "router:session-ended"
KNOWN_MODEL = "router:known-model"
KNOWN_APP = "router:known-app"
GOVERNED_PURPOSE = "router:governed-purpose"
APP_CLEARANCE = "router:app-clearance"
"""Names of what holds under every rule set. Rules cannot take them: their ids have no colon."""

STILL_REFUSES = frozenset({EVALUATION_ERROR, SESSION_ENDED, KNOWN_MODEL, KNOWN_APP, GOVERNED_PURPOSE, APP_CLEARANCE})
"""What an app that is only watched is refused by, too."""

ANY_OUTPUT = 2**31
"""More tokens than any deployment writes: then only its own limit counts."""

ENDPOINT_FEATURE = {
    Endpoint.CHAT: Feature.CHAT_API,
    Endpoint.RESPONSES: Feature.RESPONSES_API,
    Endpoint.EMBEDDINGS: Feature.EMBEDDINGS,
    Endpoint.MESSAGES: Feature.MESSAGES_API,
}

FEATURE_FIELD = {
    Feature.TOOLS: "tools",
    Feature.CUSTOM_TOOLS: "tools",
    Feature.HOSTED_TOOLS: "tools",
    Feature.SERVER_TOOLS: "tools",
    Feature.PARALLEL_TOOLS: "parallel_tool_calls",
    Feature.LOGPROBS: "logprobs",
    Feature.SEVERAL_CHOICES: "n",
    Feature.JSON_SCHEMA: "response_format",
    Feature.JSON_MODE: "response_format",
    Feature.STREAMING: "stream",
    Feature.SEED: "seed",
    Feature.PREDICTION: "prediction",
    Feature.STORED_STATE: "store",
    Feature.BACKGROUND: "background",
}
"""The request field by which an app asks for a feature; the rest is asked for by the content."""

SCREENED = frozenset({Obligation.SCREEN_OUTPUT})

TOOL_FEATURES = frozenset(
    {Feature.TOOLS, Feature.PARALLEL_TOOLS, Feature.CUSTOM_TOOLS, Feature.HOSTED_TOOLS, Feature.SERVER_TOOLS}
)

SHORT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,63}")


def decide(rules: RuleSet, facts: Facts) -> Decision:
    """What becomes of a task. Pure, and it never raises: whatever cannot be evaluated is refused."""
    try:
        decision = _decide(rules, facts)
        return _watched(rules, facts, decision) if facts.caller.mode == "observe" else decision
    except Exception as error:  # fail closed: a rule that errs must not let anything through
        message = f"the rules could not be evaluated ({type(error).__name__}), so nothing is permitted"
        return Refuse(code="not_permitted_by_rule", message=message, rule=EVALUATION_ERROR, revision=rules.revision)


def cleared(rules: RuleSet, permit: Permit) -> tuple[ClearedDeployment, ...]:
    """The deployments a Permit lets a task go to, in order, each checked again against what the Permit was given for."""
    found = (rules.deployments.get(candidate) for candidate in permit.candidates)
    return tuple(cast("ClearedDeployment", each) for each in found if each is not None and each.clearance >= permit.sensitivity)


def _decide(rules: RuleSet, facts: Facts) -> Decision:
    refusal = _standing_refusal(rules, facts)
    if refusal is not None:
        return refusal
    wish = wish_kind(facts.wish)
    verdict = rules.index.verdict(rules.index.matching(facts, wish, _capabilities(rules, facts)))
    rule, route = verdict.rule, verdict.route
    if rule is None:
        return _refuse(rules, verdict, DEFAULT_DENY, "not_permitted_by_rule", _nothing_matched(facts))
    if verdict.effect is Effect.FORBID:
        return _refuse(rules, verdict, rule.id, rule.code, _with_remedy(f"rule `{rule.id}` prohibits this: {rule.reason}", rule))
    if route is None:  # a step-up alone: there is nothing that an approval could allow
        return _refuse(rules, verdict, DEFAULT_DENY, "not_permitted_by_rule", _nothing_matched(facts))
    permit = _permit(rules, facts, verdict, route, wish)
    if verdict.effect is Effect.STEP_UP and isinstance(permit, Permit):
        message = _with_remedy(f"rule `{rule.id}` asks for a person's approval: {rule.reason}", rule)
        return Hold(rule=rule.id, revision=rules.revision, message=message, permit=permit, matched=verdict.matched)
    return permit


def _watched(rules: RuleSet, facts: Facts, decision: Decision) -> Decision:
    """What becomes of a task of an app that is only watched: it goes to the model it names where that is cleared, else as the rules say.

    Clearances, sessions that have ended and names that mean nothing still refuse; whatever else would have is told.
    """
    if isinstance(decision, Refuse) and decision.rule in STILL_REFUSES:
        return decision
    wish = wish_kind(facts.wish)
    verdict = rules.index.verdict(rules.index.matching(facts, wish, _capabilities(rules, facts)))
    route = verdict.route
    if route is None:
        return decision
    permit = decision.permit if isinstance(decision, Hold) else decision
    if isinstance(permit, Refuse):
        permit = _permit(rules, facts, verdict, route, wish)
    priced = rules.is_limited(facts.caller.owner)
    slots = [rules.slots[id] for id in rules.models.get(facts.wish, ())] if facts.pinned is None else []
    named = tuple(slot.id for slot in _suitable(facts, slots, facts.features, priced))
    if isinstance(permit, Refuse):
        if not named:
            return permit
        permit = Permit(
            rule=route.rule.id,
            revision=rules.revision,
            tier=rules.slots[named[0]].tier,
            candidates=(),
            entitlement_set=route.then.entitlement_set,
            budget=route.budget,
            limits=route.then.limits,
            obligations=route.then.obligations & CARRIED_OUT,
            matched=verdict.matched,
            sensitivity=facts.labels.confidentiality,
            mask=route.then.mask,
        )
    would = decision if not isinstance(decision, Permit) else None
    candidates = (*named, *(each for each in permit.candidates if each not in named))
    return msgspec.structs.replace(
        permit,
        candidates=candidates,
        tier=rules.slots[candidates[0]].tier if candidates else permit.tier,
        limits=msgspec.structs.replace(permit.limits, max_output_tokens=ANY_OUTPUT, min_output_tokens=1, reasoning_effort=None),
        wish_honoured=bool(named),
        would_refuse=None if would is None else "approval_required" if isinstance(would, Hold) else would.code,
        would_rule=None if would is None else would.rule,
    )


def _standing_refusal(rules: RuleSet, facts: Facts) -> Refuse | None:
    """What holds under every rule set: a live session, a known model, app and purpose, and the caller's own clearance."""
    caller = facts.caller
    if facts.session_ended is not None:
        message = f"this session has ended ({facts.session_ended}); start a new one"
        return _refuse(rules, None, SESSION_ENDED, "session_ended", message)
    if not facts.wish_known and facts.wish not in rules.models and facts.wish not in AUTO_WISHES:
        return _unknown_model(rules, None, KNOWN_MODEL, facts.wish, [*AUTO_WISHES, *rules.models])
    app = rules.apps.get(caller.app)
    if app is None:
        message = f"the app `{caller.app}` is not in apps.yaml of revision `{rules.revision}`; register it"
        return _refuse(rules, None, KNOWN_APP, "not_permitted_by_rule", message)
    if caller.purpose not in app.purposes or caller.purpose not in rules.purposes:
        message = f"the app `{caller.app}` does not hold this purpose: send one of {_listed(app.purposes)} as `x-router-purpose`, or have apps.yaml changed"
        return _refuse(rules, None, GOVERNED_PURPOSE, "purpose_not_permitted", message, param="x-router-purpose")
    if facts.labels.confidentiality.rank > caller.clearance.rank:
        message = (
            f"the task counts as `{facts.labels.confidentiality}`{_because(facts)}, and app `{caller.app}` may send at most "
            f"`{caller.clearance}` with this key: take the sensitive content out, start a new session without it, or have the "
            "app's clearance raised in apps.yaml"
        )
        return _refuse(rules, None, APP_CLEARANCE, "sensitivity_not_permitted", message)
    return None


def _capabilities(rules: RuleSet, facts: Facts) -> Iterable[str]:
    """What the tools asked for can do. One that nobody registered counts as nothing, because it is withheld."""
    if not facts.tools or not rules.index.capability:
        return ()
    return frozenset().union(*(tool.capabilities for ask in facts.tools for tool in rules.tool_index.entries(ask)))


def _permit(rules: RuleSet, facts: Facts, verdict: Verdict, route: Route, wish: str) -> Permit | Refuse:
    rule, then = route.rule, route.then
    if route.not_carried_out:
        message = f"rule `{rule.id}` orders `{route.not_carried_out[0]}`, which no stage carries out; have the rule changed"
        return _refuse(rules, verdict, rule.id, "not_permitted_by_rule", message)
    asked_for = rules.models.get(facts.wish, ())
    if facts.endpoint is Endpoint.EMBEDDINGS and not asked_for:
        makers = [name for name, ids in rules.models.items() if Feature.EMBEDDINGS in rules.slots[ids[0]].features]
        return _unknown_model(rules, verdict, rule.id, facts.wish, makers)
    if wish == "named" and then.wish == "refuse" and not facts.pinned and facts.endpoint is not Endpoint.EMBEDDINGS:
        message = f"rule `{rule.id}` lets no app choose its model; send `auto` as `model`"
        return _refuse(rules, verdict, rule.id, "not_permitted_by_rule", message, param="model")
    pool = _pool(rules, facts, route, wish, asked_for)
    if facts.degraded:
        pool = _fast(rules, facts, then, pool)
    if any(slot.searches for slot in pool) and not may_search(_grant(rules, facts, route)):
        pool = [slot for slot in pool if not slot.searches]
        if not pool:
            message = f"the model searches the web by itself, and rule `{rule.id}` does not grant `web_search` here; ask for another model"
            return _refuse(rules, verdict, rule.id, "tool_not_entitled", message, param="model")
    hard = rules.is_limited(facts.caller.owner)
    priced = hard or route.budget.cost_nano is not None
    found = _suitable(facts, pool, facts.features, priced)
    if not found and facts.tools:
        found = _suitable(facts, pool, features_granted(facts, _grant(rules, facts, route)), priced)
    if not found and not (then.mask and not facts.masked):
        return _nobody(rules, facts, verdict, route, pool)
    if facts.unavailable and len(found) > 1:
        resting = facts.unavailable
        found = [slot for slot in found if slot.id not in resting] + [slot for slot in found if slot.id in resting]
    return Permit(
        rule=rule.id,
        revision=rules.revision,
        tier=found[0].tier if found else then.tiers[0],
        candidates=tuple([slot.id for slot in found]),
        entitlement_set=then.entitlement_set,
        budget=route.budget,
        limits=then.limits,
        obligations=then.obligations | SCREENED if _may_carry_out(facts) else then.obligations,
        matched=verdict.matched,
        wish_honoured=bool(found) and found[0].id in asked_for,
        sensitivity=facts.labels.confidentiality,
        mask=then.mask,
    )


def _may_carry_out(facts: Facts) -> bool:
    """Whether the words of the answer could carry out what the session has read: outsiders have spoken in it, and it is not for them."""
    labels = facts.labels
    return labels.integrity is Integrity.UNTRUSTED and labels.confidentiality >= Sensitivity.CONFIDENTIAL


def _pool(rules: RuleSet, facts: Facts, route: Route, wish: str, asked_for: tuple[str, ...]) -> Sequence[Slot]:
    """Where the route would send the task, best first, before anything is checked of the deployments themselves."""
    then = route.then
    if facts.pinned is not None:
        held_by = rules.slots.get(facts.pinned)
        return (held_by,) if held_by is not None and within(then, held_by) else ()
    if facts.endpoint is Endpoint.EMBEDDINGS:
        return [slot for slot in map(rules.slots.__getitem__, asked_for) if within(then, slot)]
    if wish == "named":
        if then.wish == "honour" and asked_for:
            named = [slot for slot in map(rules.slots.__getitem__, asked_for) if within(then, slot)]
            return [*named, *(slot for slot in route.slots if slot.id not in asked_for)]
    elif wish != "auto" and then.hints:
        hinted = wish.removeprefix("auto-")
        return sorted(route.slots, key=lambda slot: slot.tier != hinted)
    return route.slots


def _fast(rules: RuleSet, facts: Facts, then: Then, pool: Sequence[Slot]) -> Sequence[Slot]:
    """What the owner's budget leaves: the fast deployments among those of the route, else all fast ones that its data may go to."""
    fast = [slot for slot in pool if slot.tier == FAST_TIER]
    if fast or facts.pinned is not None or facts.endpoint is Endpoint.EMBEDDINGS:
        return fast
    return [slot for slot in rules.slots.values() if slot.tier == FAST_TIER and within(then, slot)]


def _grant(rules: RuleSet, facts: Facts, route: Route) -> ToolGrant:
    return grant_within(rules, facts, route.rule.id, route.then.entitlement_set)


def may_search(grant: ToolGrant) -> bool:
    """Whether a web search was asked for and is granted."""
    return any(kind.startswith("web_search") for kind, _ in grant.granted)


def _suitable(facts: Facts, pool: Sequence[Slot], features: frozenset[Feature], priced: bool) -> list[Slot]:
    """The deployments of the pool that are cleared for the content and can do what is asked."""
    rank, today = facts.labels.confidentiality.rank, facts.now.date()
    endpoint, extra, size = ENDPOINT_FEATURE[facts.endpoint], facts.extra_fields, facts.input_bytes
    return [
        slot
        for slot in pool
        if slot.cleared_for(rank, today)
        and endpoint in slot.features
        and features <= slot.features
        and extra <= slot.allowed_fields
        and size <= slot.most_bytes
        and (not priced or slot.priced_at(facts.now, Feature.AUDIO in features))
    ]


def features_granted(facts: Facts, grant: ToolGrant) -> frozenset[Feature]:
    """The features still needed once the tools that are not granted are withheld."""
    kinds = {kind for kind, _ in grant.granted}
    needed = facts.features - TOOL_FEATURES
    if kinds:
        needed |= facts.features & {Feature.TOOLS, Feature.PARALLEL_TOOLS}
    if "custom" in kinds:
        needed |= facts.features & {Feature.CUSTOM_TOOLS}
    if kinds - {"function", "custom"}:
        needed |= facts.features & {Feature.HOSTED_TOOLS, Feature.SERVER_TOOLS}
    return needed


def _nobody(rules: RuleSet, facts: Facts, verdict: Verdict, route: Route, pool: Sequence[Slot]) -> Refuse:
    """Why no deployment is left: the first condition, in a fixed order, that empties the pool."""
    rule, level, today = route.rule, facts.labels.confidentiality, facts.now.date()
    where = _whereabouts(facts, route)

    def refuse(code: str, message: str, param: str | None = None) -> Refuse:
        return _refuse(rules, verdict, rule.id, code, message, param=param)

    if not pool:
        remedy = rule.remedy or "add or enable one in models.yaml"
        return refuse("no_cleared_deployment", f"rule `{rule.id}` sends this task to {where}, and none is in service; {remedy}")
    left = [slot for slot in pool if slot.cleared_for(level.rank, today)]
    if not left:
        overdue = next((slot.id for slot in pool if slot.rank >= level.rank), None)
        why = f"; the access review of `{overdue}` has expired" if overdue else ""
        remedy = rule.remedy or "take the sensitive content out, or have one cleared in models.yaml"
        return refuse(
            "no_cleared_deployment",
            f"no deployment is cleared for `{level}`{_because(facts)} among {where}: rule `{rule.id}`{why}; {remedy}",
        )
    needed = features_granted(facts, _grant(rules, facts, route)) if facts.tools else facts.features
    for feature in (ENDPOINT_FEATURE[facts.endpoint], *sorted(needed)):
        left = [slot for slot in left if feature in slot.features]
        if not left:
            return refuse(
                "no_capable_deployment",
                f"no deployment cleared for `{level}` among {where} can do `{feature}` with all else that is asked: rule `{rule.id}`; ask without it",
                FEATURE_FIELD.get(feature),
            )
    for name in sorted(facts.extra_fields):
        left = [slot for slot in left if name in slot.allowed_fields]
        if not left:
            anywhere = any(name in slot.allowed_fields for slot in rules.slots.values())
            code = "no_capable_deployment" if anywhere else "unknown_parameter"
            return refuse(
                code, f"no deployment among {where} takes the field `{_echo(name)}`: rule `{rule.id}`; leave it out", _echo(name)
            )
    left = [slot for slot in left if facts.input_bytes <= slot.most_bytes]
    if not left:
        largest = max(slot.deployment.context_window for slot in pool)
        return refuse(
            "context_length_exceeded",
            f"the input of {facts.input_bytes} bytes is longer than any context window among {where} (at most {largest} tokens): rule `{rule.id}`; send less",
            "messages" if facts.endpoint in (Endpoint.CHAT, Endpoint.MESSAGES) else "input",
        )
    return refuse(
        "no_capable_deployment",
        f"no deployment among {where} has a price, and the budget of rule `{rule.id}` is a limit in money; give `{left[0].id}` a price or an `assumed_price`",
    )


def _whereabouts(facts: Facts, route: Route) -> str:
    """The deployments a route looks among, in words."""
    then = route.then
    if facts.pinned is not None:
        return f"the deployment `{facts.pinned}`, which holds the state that this request refers to"
    if facts.endpoint is Endpoint.EMBEDDINGS:
        return f"the deployments of `{_echo(facts.wish)}`"
    inside = "internal deployments" if then.internal_only else "the deployments"
    regions = f" in region {_listed(sorted(then.regions))}" if then.regions else ""
    return f"{inside} of tier {_listed(then.tiers)}{regions}"


def _unknown_model(rules: RuleSet, verdict: Verdict | None, rule: str, wish: str, names: Sequence[str]) -> Refuse:
    hint = did_you_mean(wish, names) or (f"one of {_listed(names[:8])}" if names else "no deployment serves it")
    message = f"the model `{_echo(wish)}` does not exist or nobody deployed it here; {hint}"
    return _refuse(rules, verdict, rule, "model_not_found", message, param="model")


def _nothing_matched(facts: Facts) -> str:
    return (
        f"no rule permits a `{facts.task}` task of complexity `{facts.complexity}` with `{facts.labels.confidentiality}` content and "
        f"access `{facts.access}` for purpose `{facts.caller.purpose}`; a route that admits it has to be added to routes.yaml"
    )


def _refuse(rules: RuleSet, verdict: Verdict | None, rule: str, code: str, message: str, *, param: str | None = None) -> Refuse:
    matched = () if verdict is None else verdict.matched
    return Refuse(code=code, message=message, rule=rule, revision=rules.revision, param=param, matched=matched)


def _with_remedy(message: str, rule: Rule) -> str:
    return f"{message}; {rule.remedy}" if rule.remedy else message


def _because(facts: Facts) -> str:
    """Which categories of finding were seen: kinds of content, never content."""
    return f" ({', '.join(sorted(facts.categories))})" if facts.categories else ""


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _echo(name: str) -> str:
    """A name from the request, repeated only where it looks like a name."""
    return name if SHORT_NAME.fullmatch(name) else "…"
