"""The autonomy review: what the rules assume of each route's work, beside what was observed, and which change would make it true again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from math import ceil

import msgspec

from router.exchange import ApprovalHistory
from routing_rules.rules import Route, RuleSet
from routing_rules.task import ToolAsk

OVER_SHARE = 0.05
"""Where more of what was observed reaches the limit, the assumption does not hold any more."""

CLOSE_SHARE = 0.8
"""From this share of a limit on, the 95th percentile is close to it."""

ROOM = 1.25
"""How far above the most that was observed a limit is proposed."""

MOST_APPROVALS = 1
"""The rules assume that a person is asked once in a session at most."""

HOLDS, CLOSE, BROKEN, UNSEEN, UNLIMITED = "holds", "close", "broken", "unseen", "no limit"

REAPED = "reaped"
"""How a request ended of which nobody heard any more: when, says nothing of how long it took."""

REMEDIES = {
    "destination_not_vouched": "name the usual destinations in `allowed_destinations` of the set",
    "approval_every_call": "have the tool's owner settle for `approval_boundary: first_use`, or move the work into fewer calls",
    "approval_first_use": "give such work a set without the tool that is asked for",
    "act_not_asked": "have the app put the act into the user's own turn",
    "intent_unsure": "have the app put the act into the user's own turn, in plain words",
    "drifted": "split the work into sessions with an ask of their own",
}
"""What makes people be asked less, by the reason for which they were."""


class RequestSeen(msgspec.Struct, frozen=True):
    """One request that a route decided, as the evidence has it. `ended` is None while it runs, and where its end is not known.

    `code` is set where it was refused. `tools` are the names of calls that were released (ids of the catalogue where they are known),
    `combinations` the ids of combinations that its calls met.
    """

    request_id: str
    route: str
    app: str
    session: str | None
    began: datetime
    ended: datetime | None = None
    code: str | None = None
    tools: tuple[str, ...] = ()
    combinations: tuple[str, ...] = ()


class Measure(msgspec.Struct, frozen=True):
    """One assumption beside what was observed `seen` times. `assumed` None: the rules set no such limit. `over`: how many reached the
    limit (of approvals and combinations: went over it). `state`: holds, close, broken, unseen, no limit. `change` would make it true again."""

    name: str
    unit: str
    assumed: float | None
    seen: int
    p50: float | None
    p95: float | None
    most: float | None
    over: int
    state: str
    change: str = ""


class RouteReview(msgspec.Struct, frozen=True):
    """One route: what was asked of it in how many sessions, what was refused by which code, and its assumptions. `combinations` and
    `tools` count what its calls met and used; `unused_tools` are tools of its set that no route with that set has used."""

    route: str
    owner: str
    tier: str
    entitlement_set: str
    budget: str
    requests: int
    sessions: int
    refused: dict[str, int]
    tools: dict[str, int]
    unused_tools: tuple[str, ...]
    combinations: dict[str, int]
    measures: tuple[Measure, ...]

    @property
    def holds(self) -> bool:
        """Whether all that the rules assume of it still does."""
        return all(measure.state != BROKEN for measure in self.measures)


class Review(msgspec.Struct, frozen=True):
    """All routes, in the order of the rules. `since` and `until` in UTC. `elsewhere`: requests of routes that the rules no longer have."""

    revision: str
    since: datetime
    until: datetime
    routes: tuple[RouteReview, ...]
    elsewhere: int


def review(
    rules: RuleSet, requests: Iterable[RequestSeen], approvals: Iterable[ApprovalHistory], since: datetime, until: datetime
) -> Review:
    """What was observed from `since` (inclusive) to `until`, route by route. `approvals` are those asked for in that time."""
    by_route: dict[str, list[RequestSeen]] = {}
    route_of: dict[str, str] = {}
    for request in requests:
        by_route.setdefault(request.route, []).append(request)
        route_of[request.request_id] = request.route
    asked: dict[str, list[ApprovalHistory]] = {}
    for approval in approvals:
        asked.setdefault(route_of.get(approval.request_id, approval.rule), []).append(approval)
    used = _used_by_set(rules, by_route)
    rows = [
        _route(rules, route, by_route.get(id, ()), asked.get(id, ()), used.get(route.then.entitlement_set, Counter()))
        for id, route in rules.index.routes.items()
    ]
    elsewhere = sum(len(seen) for id, seen in by_route.items() if id not in rules.index.routes)
    return Review(rules.revision, since, until, tuple(rows), elsewhere)


def _used_by_set(rules: RuleSet, by_route: dict[str, list[RequestSeen]]) -> dict[str, Counter[str]]:
    """How often each tool of a set was used, on any route that grants the set."""
    used: dict[str, Counter[str]] = {}
    for id, requests in by_route.items():
        route = rules.index.routes.get(id)
        if route is not None:
            count = used.setdefault(route.then.entitlement_set, Counter())
            count.update(_tool(rules, name) for request in requests for name in request.tools)
    return used


def _route(
    rules: RuleSet, route: Route, seen: Sequence[RequestSeen], asked: Sequence[ApprovalHistory], used: Counter[str]
) -> RouteReview:
    then, budget = route.then, route.budget
    admitted = [request for request in seen if request.code is None]
    sessions: dict[tuple[str, str | None], list[RequestSeen]] = {}
    for request in admitted:
        sessions.setdefault((request.app, request.session or request.request_id), []).append(request)
    seconds = [(request.ended - request.began).total_seconds() for request in admitted if request.ended is not None]
    spans = [_span(requests) for requests in sessions.values()]
    calls = [sum(len(request.tools) for request in requests) for requests in sessions.values()]
    distinct = [len({_tool(rules, tool) for request in requests for tool in request.tools}) for requests in sessions.values()]
    met = [sum(len(request.combinations) for request in requests) for requests in sessions.values()]
    asked_in = Counter((approval.app, approval.session) for approval in asked)
    people = [asked_in.get((app, session or ""), 0) for app, session in sessions]
    people += [count for key, count in asked_in.items() if key not in sessions]  # what waits has not been let through yet
    held = rules.sets[then.entitlement_set].tools if then.entitlement_set in rules.sets else frozenset[str]()
    unused = tuple(sorted(held - set(used))) if used else ()  # where nobody uses tools at all, nothing is known of them
    id = route.rule.id
    combinations = Counter(combination for request in seen for combination in request.combinations)
    measures = (
        _limit("answers within", "s", then.limits.request_seconds, seconds, f"raise `request_seconds` of route `{id}`", "send it to a faster tier"),
        _limit("steps in a session", "requests", budget.requests, [len(each) for each in sessions.values()], f"raise `requests` of budget `{budget.name}`", "end sessions sooner"),
        _limit("tool calls in a session", "calls", budget.tool_calls, calls, f"raise `tool_calls` of budget `{budget.name}`", "grant fewer tools"),
        _limit("session lasts", "s", budget.total_seconds, spans, f"raise `total_seconds` of budget `{budget.name}`", "end sessions sooner"),
        _tools(len(held), distinct, unused, then.entitlement_set),
        _bound("approvals in a session", MOST_APPROVALS, people, _fewer_approvals(asked, then.entitlement_set)),
        _bound("combinations in a session", 0, met, _fewer_combinations(combinations, then.entitlement_set)),
    )  # fmt: skip
    return RouteReview(
        route=id,
        owner=route.rule.owner,
        tier=then.tiers[0],
        entitlement_set=then.entitlement_set,
        budget=budget.name,
        requests=len(seen),
        sessions=len(sessions),
        refused=dict(sorted(Counter(request.code for request in seen if request.code is not None).items())),
        tools=dict(Counter(_tool(rules, tool) for request in admitted for tool in request.tools).most_common()),
        unused_tools=unused,
        combinations=dict(combinations.most_common()),
        measures=measures,
    )


def _span(requests: Sequence[RequestSeen]) -> float:
    """Seconds from the first request of a session to the last end."""
    return (
        max(request.ended or request.began for request in requests) - min(request.began for request in requests)
    ).total_seconds()


def _tool(rules: RuleSet, name: str) -> str:
    """The catalogue's id of a tool that was called by this name, or by its id; the name itself where there is none."""
    if name in rules.tools:
        return name
    tool = rules.tool_index.find(ToolAsk(name, "function", ""))
    return name if tool is None else tool.id


def _limit(name: str, unit: str, limit: float | None, seen: Sequence[float], wider: str, narrower: str) -> Measure:
    """A limit that the router enforces, so that what reaches it was cut off there."""
    over = 0 if limit is None else sum(value >= limit for value in seen)
    state = _state(limit, seen, over)
    change = ""
    if limit is not None and state in (BROKEN, CLOSE):
        least = max(ceil(max(seen) * ROOM), ceil(limit * ROOM) if over else 0)
        change = f"{wider} to {least}" + (" or more" if over else "") + f", or {narrower}"
    return _measure(name, unit, limit, seen, over, state, change)


def _bound(name: str, most: int, seen: Sequence[float], change: str) -> Measure:
    """A number that nothing enforces, and that a well-cut route keeps below by itself."""
    over = sum(value > most for value in seen)
    state = UNSEEN if not seen else BROKEN if over > OVER_SHARE * len(seen) else CLOSE if over else HOLDS
    return _measure(name, "times", most, seen, over, state, change if over else "")


def _tools(held: int, seen: Sequence[float], unused: Sequence[str], entitlement_set: str) -> Measure:
    """A set assumes that its tools are needed: one that nobody has used is an entitlement too many."""
    state = UNSEEN if not seen else CLOSE if unused else HOLDS
    change = f"take {_listed(unused)} out of set `{entitlement_set}`: no session used it" if unused and seen else ""
    return _measure("distinct tools in a session", "tools", held, seen, 0, state, change)


def _state(limit: float | None, seen: Sequence[float], over: int) -> str:
    if limit is None:
        return UNLIMITED
    if not seen:
        return UNSEEN
    if over > OVER_SHARE * len(seen):
        return BROKEN
    return CLOSE if over or percentile(seen, 95) > CLOSE_SHARE * limit else HOLDS


def _measure(name: str, unit: str, assumed: float | None, seen: Sequence[float], over: int, state: str, change: str) -> Measure:
    figures = (percentile(seen, 50), percentile(seen, 95), max(seen)) if seen else (None, None, None)
    p50, p95, most = (None if figure is None else round(figure, 3) for figure in figures)
    return Measure(name, unit, assumed, len(seen), p50, p95, most, over, state, change)


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that at least so many percent of them do not exceed (nearest rank). Raises ValueError where there is none."""
    if not values:
        raise ValueError("there is no percentile of nothing")
    return sorted(values)[max(ceil(percent / 100 * len(values)), 1) - 1]


def _fewer_approvals(asked: Sequence[ApprovalHistory], entitlement_set: str) -> str:
    reasons = Counter(reason for approval in asked for reason in approval.reasons)
    for reason, count in reasons.most_common(1):
        if ":" in reason:
            return f"{count} of {len(asked)} asked for {reason}: take a tool of that combination out of set `{entitlement_set}`"
        remedy = REMEDIES.get(reason, f"have set `{entitlement_set}` split by what is asked for")
        return f"{count} of {len(asked)} asked for {reason}: {remedy}"
    return f"have set `{entitlement_set}` split, so that what needs a person is asked for in sessions of its own"


def _fewer_combinations(met: Counter[str], entitlement_set: str) -> str:
    for combination, count in met.most_common(1):
        return f"`{combination}` was met {count} times: take one of its tools out of set `{entitlement_set}`, or give that work a set of its own"
    return ""


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def told(report: Review) -> str:
    """The review for people."""
    lines = [f"{report.since:%Y-%m-%d} to {report.until:%Y-%m-%d}, under {report.revision}"]
    for row in report.routes:
        refused = ", ".join(f"{count} {code}" for code, count in row.refused.items())
        counted = f"{row.requests} requests in {row.sessions} sessions" + (f"; refused: {refused}" if refused else "")
        lines += ["", f"{row.route} (tier {row.tier}, set {row.entitlement_set}, budget {row.budget}): {counted}"]
        if not row.requests and not any(measure.seen for measure in row.measures):
            continue
        for measure in row.measures:
            assumed = "no limit" if measure.assumed is None else f"{measure.assumed:g}"
            seen = "-" if measure.p50 is None else f"p50 {measure.p50:g}, p95 {measure.p95:g}, most {measure.most:g}"
            lines.append(f"  {measure.state:8}  {measure.name} {assumed} {measure.unit}; observed {seen}")
            if measure.change:
                lines.append(f"            → {measure.change}")
        if row.combinations:
            lines.append("  met       " + ", ".join(f"{count} {name}" for name, count in row.combinations.items()))
    if report.elsewhere:
        lines += ["", f"{report.elsewhere} requests went by routes that these rules no longer have"]
    broken = [row.route for row in report.routes if not row.holds]
    lines += ["", f"what is assumed no longer holds of {', '.join(broken)}" if broken else "what is assumed holds of every route"]
    return "\n".join(lines)
