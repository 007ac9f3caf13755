"""Everything that an app or an entitlement set can reach under the rules, at most, and what changed since an earlier revision (pure).

At most: a route counts where any of its cells is the app's to enter, also where another rule decides most of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import date

import msgspec

from routing_rules.catalogue import App, EntitlementSet, Tool
from routing_rules.combinations import SHIPPED, Combination
from routing_rules.rules import Effect, Route, Rule, RuleSet
from routing_rules.vocabulary import Capability, Sensitivity

DATA = "(data)"
"""Stands where a capability comes with what is sent, not with a tool."""


class ToolReached(msgspec.Struct, frozen=True):
    """A tool that can be called: what it can do, who answers for it, how often a person approves, and the sets and routes that give it."""

    id: str
    capabilities: tuple[str, ...]
    owner: str
    highest_read: str
    approval: str
    sets: tuple[str, ...]
    routes: tuple[str, ...]


class DeploymentReached(msgspec.Struct, frozen=True):
    """A deployment that data can go to, and the highest sensitivity of it that can."""

    id: str
    up_to: str
    region: str
    internal: bool


class CombinationReached(msgspec.Struct, frozen=True):
    """A combination of capabilities that can come about in one session: which tools bring each, and what becomes of the call that
    completes it, on the least guarded route. `held`: a person decides; `refused`: it is; either unless it is `excused_by` all of these.
    `free`: another set of the identity guards against it, but a route leads around that set."""

    id: str
    parts: dict[str, tuple[str, ...]]
    outcome: str
    excused_by: tuple[str, ...] = ()


class InTheWay(msgspec.Struct, frozen=True):
    """Where a person decides, or a rule forbids: `kind` is approval (of a tool), step_up or prohibition (a rule), closed (a combination
    that every set forbids), overdue (a set that is not granted)."""

    kind: str
    id: str
    who: str
    what: str


class Reach(msgspec.Struct, frozen=True):
    """What one identity can reach. `data` are the levels that can be read or sent, each with where it comes from."""

    kind: str  # app | set
    id: str
    owner: str
    revision: str
    routes: tuple[str, ...]
    tools: tuple[ToolReached, ...]
    capabilities: tuple[str, ...]
    data: dict[str, tuple[str, ...]]
    deployments: tuple[DeploymentReached, ...]
    combinations: tuple[CombinationReached, ...]
    in_the_way: tuple[InTheWay, ...]
    apps: tuple[str, ...] = ()

    def words(self) -> frozenset[str]:
        """All that is reached, word by word: a reach is wider than another where it has all of its words and more."""
        ranks = [level.value for level in Sensitivity]
        found = {f"route {route}" for route in self.routes} | {f"capability {each}" for each in self.capabilities}
        found |= {f"app {app}" for app in self.apps}
        for tool in self.tools:
            found.add(f"tool {tool.id}")
            found |= {f"tool {tool.id} can {each}" for each in tool.capabilities}
            found |= {f"tool {tool.id} by {each}" for each in tool.sets}
        for level, sources in self.data.items():
            found |= {f"{level} data of {source}" for source in sources}
        for deployment in self.deployments:
            found |= {f"deployment {deployment.id} with {level} data" for level in ranks[: ranks.index(deployment.up_to) + 1]}
        found |= {f"combination {each.id}" for each in self.combinations}
        return frozenset(found)

    def guards(self) -> frozenset[str]:
        """All that stands in the way, word by word."""
        return frozenset(f"{each.kind} {each.id}: {each.what}" for each in self.in_the_way)


class Changed(msgspec.Struct, frozen=True):
    """What an identity reaches now and did not before, what it no longer reaches, and what came into the way or left it."""

    since: str
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    guards_gained: tuple[str, ...]
    guards_lost: tuple[str, ...]


def reach_of_app(rules: RuleSet, app: App, today: date) -> Reach:
    """What an app can reach at most, with any key and for any of its purposes."""
    routes = _routes(rules, app, today)
    ceiling = rules.sets.get(app.ceiling)
    given = {route.rule.id: _given(rules, route, ceiling, today) for route in routes}
    overdue = [
        each for each in (ceiling, *(rules.sets.get(route.then.entitlement_set) for route in routes)) if _overdue(each, today)
    ]
    deployments = _deployments(routes, app.clearance, today)
    return _reach(rules, "app", app.id, app.owner, routes, given, deployments, app.clearance, overdue, today, app=app)


def reach_of_set(rules: RuleSet, entitlement_set: EntitlementSet, today: date) -> Reach:
    """What an entitlement set can reach at most, whichever app it is given to."""
    routes: dict[str, Route] = {}
    given: dict[str, frozenset[str]] = {}
    highest: Sensitivity = Sensitivity.PUBLIC
    reached: dict[str, DeploymentReached] = {}
    apps = []
    for app in rules.apps.values():
        own = [route for route in _routes(rules, app, today) if route.then.entitlement_set == entitlement_set.id]
        if not own:
            continue
        apps.append(app.id)
        highest = max(highest, app.clearance)
        for each in _deployments(own, app.clearance, today):
            known = reached.get(each.id)
            if known is None or Sensitivity(known.up_to) < Sensitivity(each.up_to):
                reached[each.id] = each
        for route in own:
            routes[route.rule.id] = route
            tools = _given(rules, route, rules.sets.get(app.ceiling), today)
            given[route.rule.id] = given.get(route.rule.id, frozenset()) | tools
    overdue = [entitlement_set] if _overdue(entitlement_set, today) else []
    deployments = [reached[id] for id in sorted(reached)]
    reach = _reach(
        rules,
        "set",
        entitlement_set.id,
        entitlement_set.owner,
        list(routes.values()),
        given,
        deployments,
        highest,
        overdue,
        today,
    )
    return msgspec.structs.replace(reach, apps=tuple(sorted(apps)))


def changed(before: Reach | None, after: Reach, since: str) -> Changed:
    """The difference. `before` None: there was no such identity, so everything is new."""
    words, guards = (before.words(), before.guards()) if before is not None else (frozenset(), frozenset())
    return Changed(
        since=since,
        gained=tuple(sorted(after.words() - words)),
        lost=tuple(sorted(words - after.words())),
        guards_gained=tuple(sorted(after.guards() - guards)),
        guards_lost=tuple(sorted(guards - after.guards())),
    )


def _reach(
    rules: RuleSet,
    kind: str,
    id: str,
    owner: str,
    routes: Collection[Route],
    given: Mapping[str, frozenset[str]],
    deployments: Iterable[DeploymentReached],
    clearance: Sensitivity,
    overdue: Iterable[EntitlementSet | None],
    today: date,
    app: App | None = None,
) -> Reach:
    reached = {tool: rules.tools[tool] for tool in sorted(frozenset().union(*given.values()))}
    capabilities = frozenset().union(*(tool.capabilities for tool in reached.values()))
    combinations, closed = _combinations(rules, routes, given, reached, clearance)
    return Reach(
        kind=kind,
        id=id,
        owner=owner,
        revision=rules.revision,
        routes=tuple(route.rule.id for route in routes),
        tools=tuple(_tool(tool, routes, given) for tool in reached.values()),
        capabilities=tuple(sorted(capabilities)),
        data=_data(reached.values(), clearance),
        deployments=tuple(deployments),
        combinations=combinations,
        in_the_way=(
            *(InTheWay("approval", tool.id, tool.owner, tool.approval_boundary) for tool in reached.values() if tool.approval_boundary != "none"),
            *_rules_in_the_way(rules, app, capabilities, today),
            *closed,
            *_each_once(
                InTheWay("overdue", each.id, each.approver, f"not granted since its review of {each.review_by} is overdue")
                for each in overdue
                if each is not None
            ),
        ),
    )  # fmt: skip


def _routes(rules: RuleSet, app: App, today: date) -> list[Route]:
    """The routes of which the app can enter a cell."""
    return [
        rules.index.routes[rule.id] for rule in rules.rules if rule.effect is Effect.PERMIT and _open_to(rules, rule, app, today)
    ]


def _open_to(rules: RuleSet, rule: Rule, app: App, today: date) -> bool:
    when = rule.when
    if not rule.in_force(today):
        return False
    if app.id not in when.get("app", (app.id,)) or app.team not in when.get("team", (app.team,)):
        return False
    if "sensitivity" in when and not any(Sensitivity(word) <= app.clearance for word in when["sensitivity"]):
        return False
    return any(
        purpose.id in when.get("purpose", (purpose.id,))
        and str(purpose.business_impact) in when.get("business_impact", (str(purpose.business_impact),))
        and str(purpose.latency_class) in when.get("latency_class", (str(purpose.latency_class),))
        for purpose in (rules.purposes[held] for held in app.purposes if held in rules.purposes)
    )


def _given(rules: RuleSet, route: Route, ceiling: EntitlementSet | None, today: date) -> frozenset[str]:
    own = rules.sets.get(route.then.entitlement_set)
    if own is None or ceiling is None or _overdue(own, today) or _overdue(ceiling, today):
        return frozenset()
    return (own.tools & ceiling.tools).intersection(rules.tools)


def _overdue(entitlement_set: EntitlementSet | None, today: date) -> bool:
    return entitlement_set is not None and entitlement_set.granted_until < today


def _tool(tool: Tool, routes: Iterable[Route], given: Mapping[str, frozenset[str]]) -> ToolReached:
    giving = [route for route in routes if tool.id in given[route.rule.id]]
    return ToolReached(
        id=tool.id,
        capabilities=tuple(sorted(tool.capabilities)),
        owner=tool.owner,
        highest_read=tool.highest_read.value,
        approval=tool.approval_boundary,
        sets=tuple(sorted({route.then.entitlement_set for route in giving})),
        routes=tuple(route.rule.id for route in giving),
    )


_READS = frozenset({Capability.READS_PRIVATE, Capability.READS_RESTRICTED, Capability.EXECUTES_CODE, Capability.COMPUTER_CONTROL})


def _data(tools: Iterable[Tool], clearance: Sensitivity) -> dict[str, tuple[str, ...]]:
    """For each level, where data of it comes from: what the app may send, and tools that read it."""
    found: dict[Sensitivity, list[str]] = {clearance: [DATA]}
    for tool in tools:
        if not tool.capabilities.isdisjoint(_READS):
            level = Sensitivity.RESTRICTED if Capability.READS_RESTRICTED in tool.capabilities else tool.highest_read
            found.setdefault(level, []).append(tool.id)
    return {level.value: tuple(sorted(found[level])) for level in sorted(found)}


def _deployments(routes: Iterable[Route], clearance: Sensitivity, today: date) -> list[DeploymentReached]:
    highest: dict[str, DeploymentReached] = {}
    for route in routes:
        words = route.rule.when.get("sensitivity")
        levels = [level for level in Sensitivity if level <= clearance and (words is None or level.value in words)]
        if route.then.mask:
            # What is masked may leave as less than it was, so that the route itself bounds nothing; the deployment does.
            levels = [level for level in Sensitivity if level <= clearance]
        for slot in route.slots:
            cleared = [level for level in levels if slot.cleared_for(level.rank, today)]
            known = highest.get(slot.id)
            if cleared and (known is None or Sensitivity(known.up_to) < max(cleared)):
                deployment = slot.deployment
                highest[slot.id] = DeploymentReached(slot.id, max(cleared).value, deployment.region, deployment.internal)
    return [highest[id] for id in sorted(highest)]


def _from_data(clearance: Sensitivity) -> frozenset[Capability]:
    """What a session may hold without any tool: what the app sends may be private, and may hold an attacker's words."""
    found = {Capability.READS_UNTRUSTED}
    if clearance >= Sensitivity.CONFIDENTIAL:
        found.add(Capability.READS_PRIVATE)
    return frozenset(found)


def _combinations(
    rules: RuleSet,
    routes: Iterable[Route],
    given: Mapping[str, frozenset[str]],
    reached: Mapping[str, Tool],
    clearance: Sensitivity,
) -> tuple[tuple[CombinationReached, ...], list[InTheWay]]:
    """Those that can come about in one session, whose requests may take different routes; and those that every route forbids."""
    data = _from_data(clearance)
    giving = [(own, given[route.rule.id]) for route in routes if (own := rules.sets.get(route.then.entitlement_set)) is not None]
    known = dict.fromkeys((*SHIPPED, *(each for own, _ in giving for each in (*own.prohibited, *own.step_ups))))
    possible: dict[str, CombinationReached] = {}
    closed: dict[str, InTheWay] = {}
    for combination in known:
        parts = {
            each.value: tuple(sorted(tool.id for tool in reached.values() if each in _can(tool)))
            + ((DATA,) if each in data else ())
            for each in sorted(combination.capabilities)
        }
        if not all(parts.values()):
            continue
        for own, tools in giving:
            completing = [reached[tool] for tool in tools if _completes(combination, reached[tool])]
            if not completing:
                continue
            outcome, excused, by = _outcome(combination, completing, own)
            if by is not None:
                closed.setdefault(
                    combination.id, InTheWay("closed", combination.id, own.approver, f"forbidden by set {own.id}: {by.id}")
                )
                continue
            worse = possible.get(combination.id)
            if worse is None or OUTCOMES.index(outcome) > OUTCOMES.index(worse.outcome):
                possible[combination.id] = CombinationReached(combination.id, parts, outcome, excused)
    return (
        tuple(possible[id] for id in sorted(possible)),
        [closed[id] for id in sorted(closed) if id not in possible],
    )


OUTCOMES = ("refused", "held", "free")
"""What can become of the call that completes a combination, the safest first."""


def _outcome(
    combination: Combination, completing: Iterable[Tool], own: EntitlementSet
) -> tuple[str, tuple[str, ...], Combination | None]:
    """What becomes of it under a set, what excuses it, and the prohibition without exceptions that closes it there."""
    closing = _closing(combination, completing, own.prohibited)
    excused = tuple(word for word, holds in (("vouched", combination.vouched), ("asked", combination.asked)) if holds)
    if closing is not None or combination in own.prohibited:
        return "refused", excused, closing
    if combination in SHIPPED or combination in own.step_ups:
        return "held", excused, None
    return "free", (), None


def _can(tool: Tool) -> frozenset[Capability]:
    """What a call of a tool can bring into a session: what is restricted is private, too, and a destination that the model chooses may
    be an address that is read, which is a way out."""
    found = set(tool.capabilities)
    if Capability.READS_RESTRICTED in found:
        found.add(Capability.READS_PRIVATE)
    if tool.destination_arguments:
        found.add(Capability.EGRESS)
    return frozenset(found)


def _completes(combination: Combination, tool: Tool) -> bool:
    can = _can(tool)
    return not can.isdisjoint(combination.brought_by) and combination.one_tool <= can


def _closing(combination: Combination, completing: Iterable[Tool], prohibited: Iterable[Combination]) -> Combination | None:
    """The prohibition without exceptions that meets every way to complete the combination."""
    brings = frozenset().union(*(_can(tool) for tool in completing)) & combination.brought_by
    return next(
        (
            each
            for each in prohibited
            if each.capabilities <= combination.capabilities
            and brings <= each.brought_by
            and each.one_tool <= combination.one_tool
            and not each.vouched
            and not each.asked
        ),
        None,
    )


def _rules_in_the_way(rules: RuleSet, app: App | None, capabilities: frozenset[Capability], today: date) -> list[InTheWay]:
    """Step-ups and prohibitions that may meet its tasks."""
    found = []
    for rule in rules.rules:
        if (
            rule.effect is Effect.PERMIT
            or not rule.in_force(today)
            or (app is not None and not _open_to(rules, rule, app, today))
        ):
            continue
        if "capability" in rule.when and capabilities.isdisjoint(rule.when["capability"]):
            continue
        kind = "step_up" if rule.effect is Effect.STEP_UP else "prohibition"
        found.append(InTheWay(kind, rule.id, rule.owner, rule.reason))
    return found


def _each_once(found: Iterable[InTheWay]) -> list[InTheWay]:
    return list(dict.fromkeys(found))
