"""How an app is adopted: only watched for some days, then given the catalogue entries and rules that what was seen asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

from router.exchange import Admitted, Turned
from router.governance import rules as governance
from router.governance.tools import Confirmation, Registration, Status, entry_of
from router.principals import Person
from routing_rules.catalogue import App, EntitlementSet, Observing, Tool
from routing_rules.decide import decide
from routing_rules.decisions import Hold, Permit, Refuse
from routing_rules.edit import add_set, add_tools, observe_app, put_route_first, set_ceiling
from routing_rules.entitlements import authorise
from routing_rules.facts import Facts
from routing_rules.load import MOST_OBSERVED, load
from routing_rules.rules import AUTO_WISHES, RuleSet
from routing_rules.task import ToolAsk
from routing_rules.vocabulary import Sensitivity

REVIEW_AFTER = timedelta(days=90)
MOST_REPLAYED = 2_000
"""Recorded tasks that are decided anew under what is proposed."""


class SeenTool(msgspec.Struct, frozen=True):
    """A tool that an app asked for: how often, its entry in the catalogue if there is one, and why it would have been withheld."""

    kind: str
    name: str
    tasks: int
    entry: str | None = None
    reason: str | None = None


class Watched(msgspec.Struct, frozen=True):
    """What was seen of an app since it is watched. Counts are of tasks. `would_refuse` and `refused` go by `code;rule`."""

    app: str
    mode: str
    owner: str | None
    since: date
    until: date | None
    tasks: int
    would_refuse: dict[str, int]
    refused: dict[str, int]
    highest: Sensitivity
    models: dict[str, int]
    purposes: dict[str, int]
    tiers: dict[str, int]
    tools: tuple[SeenTool, ...]


class Proposal(msgspec.Struct, frozen=True):
    """What would let the app do what it did, held to the rules: new entries, a set of its own, a route. `replayed` recorded tasks come to
    `passing` under it; `still` are the codes of the others, and the tools that would still be withheld, each with how many tasks."""

    tools: tuple[Tool, ...]
    entitlement_set: EntitlementSet
    route: dict[str, Any]
    replayed: int
    passing: int
    still: dict[str, int]


def observe(
    store: governance.RuleStore,
    app: str,
    owner: str,
    days: int,
    *,
    by: governance.Actor,
    governance_mode: str,
    at: datetime,
    people: Sequence[Person] = (),
) -> tuple[governance.StoredRevision, bool, Observing]:
    """Have an app only watched, from today on: (the revision, whether it is in force, for which days). Raises RuleFaults,
    NotAllowed."""
    if not 1 <= days <= MOST_OBSERVED.days:
        raise governance.NotAllowed(f"an app is watched for 1 to {MOST_OBSERVED.days} days")
    observing = Observing(owner, at.date(), at.date() + timedelta(days=days))
    files = observe_app(governance.in_force(store).files, app, observing)
    note = f"watch the app {app} until {observing.end}"
    revision, active = governance.change(store, files, by=by, note=note, governance=governance_mode, at=at, people=people)
    return revision, active, observing


def enforce(
    store: governance.RuleStore,
    app: str,
    *,
    by: governance.Actor,
    governance_mode: str,
    at: datetime,
    people: Sequence[Person] = (),
) -> tuple[governance.StoredRevision, bool]:
    """Hold an app to the rules again: (the revision, whether it is in force). Raises RuleFaults, NotAllowed."""
    files = observe_app(governance.in_force(store).files, app, None)
    note = f"hold the app {app} to the rules"
    return governance.change(store, files, by=by, note=note, governance=governance_mode, at=at, people=people)


def watched(rules: RuleSet, app: App, records: Iterable[Admitted | Turned], since: date) -> tuple[Watched, list[Facts]]:
    """What the records say, and the facts of the latest tasks, to be decided anew."""
    would, refused, models, purposes, tiers = (Counter[str]() for _ in range(5))
    asked, reasons = Counter[tuple[str, str]](), dict[tuple[str, str], str]()
    asks: dict[tuple[str, str], ToolAsk] = {}
    highest: Sensitivity = Sensitivity.PUBLIC
    facts: list[Facts] = []
    tasks = 0
    for record in records:
        tasks += 1
        if isinstance(record, Turned):
            refused[f"{record.code};{record.rule}"] += 1
        if record.facts is None:
            continue
        seen = record.facts
        if len(facts) < MOST_REPLAYED:
            facts.append(seen)
        highest = max(highest, seen.labels.confidentiality)
        models[seen.wish] += 1
        purposes[seen.caller.purpose] += 1
        for ask in seen.tools:
            key = (ask.kind, ask.server or ask.name)
            asks[key] = ask
        asked.update({(ask.kind, ask.server or ask.name) for ask in seen.tools})
        if isinstance(record, Admitted):
            permit = record.decision
            if isinstance(permit, Permit):
                tiers[permit.tier] += 1
                if permit.would_refuse is not None:
                    would[f"{permit.would_refuse};{permit.would_rule}"] += 1
            withheld = (*record.grant.withheld, *record.grant.would_withhold)
            reasons |= {(each.kind, each.name): each.reason for each in withheld}
            would.update({f"tool_not_entitled;{each.name}" for each in withheld})
    found = tuple(
        SeenTool(
            *key,
            tasks=count,
            entry=None if (tool := rules.tool_index.find(asks[key])) is None else tool.id,
            reason=reasons.get(key),
        )
        for key, count in asked.most_common()
    )
    observing = app.observing
    told = Watched(
        app=app.id,
        mode=app.mode,
        owner=observing.owner if observing is not None else None,
        since=since,
        until=observing.end if observing is not None else None,
        tasks=tasks,
        would_refuse=dict(would.most_common()),
        refused=dict(refused.most_common()),
        highest=highest,
        models=dict(models.most_common()),
        purposes=dict(purposes.most_common()),
        tiers=dict(tiers.most_common()),
        tools=found,
    )
    return told, facts


def proposal(
    rules: RuleSet, app: App, seen: Watched, facts: Sequence[Facts], registrations: Iterable[Registration], today: date
) -> tuple[Proposal, dict[str, str]]:
    """What is proposed for what was seen, and the rule files with it. Raises RuleFaults where an earlier proposal was put in force."""
    taken = set(rules.tools)
    new: list[Tool] = []
    for registration in registrations:
        if registration.status is not Status.REJECTED and app.id in registration.apps and not _known(rules, registration):
            tool = entry_of(registration, Confirmation(owner=app.owner), taken)
            taken.add(tool.id)
            new.append(tool)
    ceiling = rules.sets.get(app.ceiling)
    own = EntitlementSet(
        id=f"{app.id}-tools"[:64],
        owner=app.owner,
        business_purpose=f"What the app {app.id} was seen to use.",
        approver=ceiling.approver if ceiling is not None else app.owner,
        review_by=today + REVIEW_AFTER,
        tools=frozenset((*(each.entry for each in seen.tools if each.entry is not None), *(tool.id for tool in new))),
    )
    route = _route(rules, app, seen, own.id)
    files: Mapping[str, str] = observe_app(rules.files, app.id, None)
    if new:
        files = add_tools(files, new)
    made = put_route_first(set_ceiling(add_set(files, own), app.id, own.id), route)
    replayed, passing, still = _replayed(load(made), app.id, facts)
    return Proposal(tuple(new), own, route, replayed, passing, still), made


def _known(rules: RuleSet, registration: Registration) -> bool:
    if registration.kind == "mcp":
        return any(
            registration.server in tool.servers and (registration.name, registration.digest) in tool.pinned
            for tool in rules.tools.values()
        )
    return rules.tool_index.find(ToolAsk(registration.name, registration.kind, "")) is not None


def _route(rules: RuleSet, app: App, seen: Watched, entitlement_set: str) -> dict[str, Any]:
    """A route of the app's own for what is not sensitive; sensitive data keeps to the routes that there are. It gives what the tasks had:
    the tier that most of them had, the budget that goes with it, and the model they named."""
    tier = next((each for each in seen.tiers if each in rules.tiers), rules.tiers[0])
    routes = [rule.then for rule in rules.rules if rule.then is not None]
    budget = next((then.budget for then in reversed(routes) if then.tiers[0] == tier), routes[-1].budget)
    named = sum(count for model, count in seen.models.items() if model not in AUTO_WISHES)
    then: dict[str, Any] = {"tier": tier, "set": entitlement_set, "budget": budget}
    others = [each for each in rules.tiers if each != tier]
    if others:
        then["fallback_tiers"] = others
    if named * 2 > sum(seen.models.values()):
        then["wish"] = "honour"
    return {
        "id": f"{app.id}-adopted"[:64],
        "owner": app.owner,
        "reason": f"what the app {app.id} was seen to need while it was only watched",
        "serves": ["NHI5", "PR.AA-05"],
        "when": {"app": app.id, "sensitivity": {"at_most": Sensitivity.INTERNAL.value}},
        "then": then,
    }


def _replayed(rules: RuleSet, app: str, facts: Sequence[Facts]) -> tuple[int, int, dict[str, int]]:
    """(how many recorded tasks were decided anew, how many pass with all their tools, why the others do not)."""
    still = Counter[str]()
    passing = 0
    ceiling = rules.apps[app].ceiling
    for each in facts:
        caller = msgspec.structs.replace(each.caller, mode="enforce", observing=None, ceiling=ceiling)
        anew = msgspec.structs.replace(each, caller=caller)
        decision = decide(rules, anew)
        if not isinstance(decision, Permit):
            still[_code(decision)] += 1
            continue
        withheld = {f"tool_not_entitled;{tool.name}" for tool in authorise(rules, anew, decision).withheld}
        still.update(withheld)
        passing += not withheld
    return len(facts), passing, dict(still.most_common())


def _code(decision: Hold | Refuse) -> str:
    return f"{decision.code if isinstance(decision, Refuse) else 'approval_required'};{decision.rule}"
