"""What one rule set changes against another, exactly: which cells of the vocabulary space, what widens, and what was weakened (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from math import prod
from typing import Any, NamedTuple

import msgspec

from routing_rules.budgets import CallLimits, OwnerBudget, SessionBudget
from routing_rules.calendars import FISCAL
from routing_rules.catalogue import App, Deployment, EntitlementSet, Price, Review, Tool
from routing_rules.combinations import Combination
from routing_rules.deliveries import Delivery
from routing_rules.prices import TOKEN_CLASSES
from routing_rules.read_deliveries import deliveries_of
from routing_rules.rules import DIMENSIONS, UNDECLARED, Effect, Route, Rule, RuleSet
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.vocabulary import Sensitivity

PLAIN_DIMENSIONS = ("sensitivity", "access", "complexity", "task", "integrity", "endpoint", "wish", "state", "declared")
MANY_VALUED = ("category", "capability")
NOT_SHOWN = "none"
"""Of the categories or capabilities that some rule names, a task shows none. Where it shows several, they stand as `pii+phi`."""

ALWAYS_SHOWN = frozenset({"sensitivity"})
"""Axes of which each word is a cell of its own: a deployment is cleared up to a level."""

MOST_STEPS = 1_000_000
"""After so many steps two rule sets differ in too many ways to be told cell by cell; then everything counts as widened."""

MOST_CHANGES = 500
"""Groups of cells that are told one by one; all are counted."""

EVERY = date.max
MORE, LESS = 1, -1
LEVELS = DIMENSIONS["sensitivity"]
REFUSED = len(LEVELS)
"""What a label that is refused ranks as: above every level."""
INJECTION = "injection"
"""The category that says nothing of the data, and counts only where the organisation gives it a level."""
WISHES = ("refuse", "override", "honour")
"""What becomes of a model that an app names, the widest last."""
SIGNS = "*?["
APPROVALS = ("none", "first_use", "every_call")


class Outcome(msgspec.Struct, frozen=True):
    """What the rules come to in a cell. `tools` are the ids that the entitlement set grants, `deployments` those cleared for the cell.

    `budget` is the name of the session budget. A refused cell has nothing of all that; one that is held has what an approval would allow.
    """

    effect: str  # permit | hold | refuse
    rule: str | None
    tiers: tuple[str, ...] = ()
    deployments: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    entitlement_set: str | None = None
    budget: str | None = None
    obligations: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()


class CellChange(msgspec.Struct, frozen=True):
    """A group of cells that change alike. `where` names the words on each axis that does not go through whole; `cells` is how many.

    `gains` says what makes it wider, as `tier reasoning`, `deployment x`, `tool y`, `budget cost`, `obligation no_store lifted`,
    `approver z`; none: it is no wider. `since`: the first day on which it is so (a rule may begin later).
    """

    where: dict[str, tuple[str, ...]]
    cells: int
    since: date
    before: Outcome
    after: Outcome
    gains: tuple[str, ...] = ()

    @property
    def widens(self) -> bool:
        """Whether the cells gain anything."""
        return bool(self.gains)


class Widening(msgspec.Struct, frozen=True):
    """Something of the whole revision that grew, or that protects and became weaker. `kind`: clearance, ceiling, purpose, expiry, detector,
    label, prohibition, combination, step_up, case, app, tool, deployment, price, budget, destination, owner, approver, provider_state,
    space."""

    kind: str
    subject: str
    message: str


class Diff(msgspec.Struct, frozen=True):
    """What changes from one revision to another. `cells` is the size of the space looked at: all words of all axes that a rule of either
    looks at. `sets` are the entitlement sets, as they were before, whose tools or cells a widening is about. `dearer` says what costs more
    than before, and who pays it."""

    before: str
    after: str
    cells: int
    changed: int
    widened: int
    changes: tuple[CellChange, ...] = ()
    widenings: tuple[Widening, ...] = ()
    files: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    dearer: tuple[str, ...] = ()

    @property
    def widens(self) -> bool:
        """Whether anything is wider than before: then a second person decides, whatever the hurry."""
        return self.widened > 0 or bool(self.widenings)

    @property
    def narrows_only(self) -> bool:
        """Whether something changes and nothing is wider."""
        return bool(self.files) and not self.widens


def grid(found: Diff) -> dict[tuple[str, str], bool]:
    """The cells of the picture sensitivity × task in which something changes, and whether it widens anything there."""
    cells: dict[tuple[str, str], bool] = {}
    for change in found.changes:
        for level in change.where.get("sensitivity", LEVELS):
            for task in change.where.get("task", DIMENSIONS["task"]):
                cells[level, str(task)] = cells.get((level, str(task)), False) or change.widens
    return cells


class TooManySteps(Exception):
    """Two rule sets differ in too many ways to be compared cell by cell."""


def diff(before: RuleSet, after: RuleSet, today: date) -> Diff:
    """Compare two rule sets as they stand on `today` and on every later day on which a rule begins or ends."""
    files = tuple(sorted(name for name in {*before.files, *after.files} if before.files.get(name) != after.files.get(name)))
    widenings = list(_widenings(before, after, today))
    sets: set[str] = set()
    changes: list[CellChange] = []
    seen: set[tuple[Any, ...]] = set()
    cells = 0
    try:
        for day in _days(before, after, today):
            comparison = _Comparison(before, after, day)
            cells = max(cells, comparison.size)
            for change in comparison.changes():
                key = (tuple(sorted(change.where.items())), change.before, change.after)
                if key not in seen:
                    seen.add(key)
                    changes.append(change)
    except TooManySteps:
        message = "the rules differ in too many ways to be compared cell by cell, so everything counts as wider"
        widenings.append(Widening("space", "routes.yaml", message))
    for change in changes:
        if change.widens:
            sets |= {name for name in (change.before.entitlement_set, change.after.entitlement_set) if name is not None}
    sets |= {each.subject for each in widenings if each.subject in before.sets}
    told = sorted(changes, key=lambda change: (not change.gains, -change.cells))
    return Diff(
        before=before.revision,
        after=after.revision,
        cells=cells,
        changed=sum(change.cells for change in changes),
        widened=sum(change.cells for change in changes if change.gains),
        changes=tuple(told[:MOST_CHANGES]),
        widenings=tuple(widenings),
        files=files,
        sets=tuple(sorted(name for name in sets if name in before.sets)),
        dearer=tuple(_dearer_deployments(before, after, today)),
    )


def _days(before: RuleSet, after: RuleSet, today: date) -> list[date]:
    """Today, and the later days on which some rule begins or has just ended."""
    days = {today}
    for rule in (*before.rules, *after.rules):
        if rule.valid_from is not None and rule.valid_from > today:
            days.add(rule.valid_from)
        if rule.valid_until is not None and today <= rule.valid_until < EVERY:
            days.add(rule.valid_until + timedelta(days=1))
    return sorted(days)


class _Class(NamedTuple):
    """Words of an axis that no rule tells apart, with the rules of either side that admit them."""

    words: tuple[str, ...]
    before: int
    after: int


class _Side(NamedTuple):
    """One of the two rule sets, with the bits of its rules in their common order."""

    rules: RuleSet
    bits: dict[int, Rule]


class _Comparison:
    """Two rule sets on one day. Every rule has a bit; one that stands in both unchanged has the same bit in both, so that a part of the
    space in which only such rules are left need not be looked at."""

    def __init__(self, before: RuleSet, after: RuleSet, day: date) -> None:
        self._day = day
        self._steps = 0
        mine = [rule for rule in before.rules if rule.in_force(day)]
        theirs = [rule for rule in after.rules if rule.in_force(day)]
        keys = [_key(before, rule, day) for rule in mine], [_key(after, rule, day) for rule in theirs]
        self._before, self._after = _Side(before, {}), _Side(after, {})
        self._same = 0
        position = 0
        for tag, a, b, c, d in SequenceMatcher(None, *keys, autojunk=False).get_opcodes():
            if tag == "equal":
                for rule, other in zip(mine[a:b], theirs[c:d], strict=True):
                    self._before.bits[1 << position] = rule
                    self._after.bits[1 << position] = other
                    self._same |= 1 << position
                    position += 1
                continue
            for side, rules in ((self._before, mine[a:b]), (self._after, theirs[c:d])):
                for rule in rules:
                    side.bits[1 << position] = rule
                    position += 1
        used: set[str] = set(ALWAYS_SHOWN).union(*(rule.when for rule in (*mine, *theirs)))
        self._axes: list[tuple[str, list[_Class]]] = [(name, self._closed(name)) for name in PLAIN_DIMENSIONS if name in used]
        if used & {"app", "team"}:
            self._axes.append(("app", self._classes([*dict.fromkeys((*before.apps, *after.apps))], _admits_app)))
        if used & {"purpose", "business_impact", "latency_class"}:
            purposes = [*dict.fromkeys((*before.purposes, *after.purposes))]
            self._axes.append(("purpose", self._classes(purposes, _admits_purpose)))
        self._axes += [(name, self._shown(name)) for name in MANY_VALUED if name in used]
        self._whole = {name: sum(len(each.words) for each in classes) for name, classes in self._axes}
        self.size = prod(self._whole.values())
        self._outcomes: dict[tuple[bool, int, str], _Weighed] = {}

    def changes(self) -> list[CellChange]:
        """The cells that come out otherwise, in groups that do not overlap. Raises TooManySteps."""
        found: list[tuple[tuple[_Class, ...], _Weighed, _Weighed]] = []
        everything = sum(self._before.bits), sum(self._after.bits)
        self._look(0, *everything, (), found)
        groups: dict[tuple[Outcome, Outcome, tuple[str, ...]], list[dict[str, tuple[str, ...]]]] = {}
        for chosen, was, now in found:
            gains = _gains(was, now)
            key = (was.outcome, now.outcome, gains)
            box = {name: each.words for (name, _), each in zip(self._axes, chosen, strict=True)}
            groups.setdefault(key, []).append(box)
        changes = []
        for (was_outcome, now_outcome, gains), boxes in groups.items():
            for box in self._merged(boxes):
                count = 1
                for words in box.values():
                    count *= len(words)
                where = {name: words for name, words in box.items() if len(words) < self._whole[name]}
                changes.append(CellChange(where, count, self._day, was_outcome, now_outcome, gains))
        return changes

    def _look(
        self,
        depth: int,
        before: int,
        after: int,
        chosen: tuple[_Class, ...],
        found: list[tuple[tuple[_Class, ...], _Weighed, _Weighed]],
    ) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise TooManySteps
        if before == after and not (before & ~self._same):
            return
        if depth == len(self._axes):
            words = {name: each.words for (name, _), each in zip(self._axes, chosen, strict=True)}
            level = words["sensitivity"][0]
            if (declared := words.get("declared")) is not None and not _can_declare(declared, level):
                return
            was, now = self._weigh(True, before, level), self._weigh(False, after, level)
            if was.outcome != now.outcome or was.key != now.key:
                found.append((chosen, was, now))
            return
        for each in self._axes[depth][1]:
            self._look(depth + 1, before & each.before, after & each.after, (*chosen, each), found)

    def _weigh(self, first: bool, mask: int, level: str) -> _Weighed:
        key = (first, mask, level)
        known = self._outcomes.get(key)
        if known is None:
            known = self._outcomes[key] = _weighed(self._before if first else self._after, mask, level, self._day)
        return known

    def _classes(self, words: Sequence[str], admits: Callable[[RuleSet, Rule, str], bool]) -> list[_Class]:
        by_rules: dict[tuple[int, int], list[str]] = {}
        for word in words:
            masks = tuple(
                sum(bit for bit, rule in side.bits.items() if admits(side.rules, rule, word))
                for side in (self._before, self._after)
            )
            by_rules.setdefault((masks[0], masks[1]), []).append(str(word))
        return [_Class(tuple(held), *masks) for masks, held in by_rules.items()]

    def _closed(self, name: str) -> list[_Class]:
        found = self._classes(DIMENSIONS[name], lambda _, rule, word: _listed(rule, name, word))
        if name not in ALWAYS_SHOWN and name != "declared":
            return found
        return [_Class((word,), each.before, each.after) for each in found for word in each.words]

    def _shown(self, name: str) -> list[_Class]:
        """A task shows any number of these words: every distinct set of rules that some choice of them lets through."""
        sides = (self._before, self._after)
        indifferent = [sum(bit for bit, rule in side.bits.items() if name not in rule.when) for side in sides]
        listed = sorted({str(word) for side in sides for rule in side.bits.values() for word in rule.when.get(name, ())})
        own = {
            word: [sum(bit for bit, rule in side.bits.items() if word in rule.when.get(name, ())) for side in sides]
            for word in listed
        }
        found: dict[tuple[int, int], list[str]] = {(indifferent[0], indifferent[1]): [NOT_SHOWN]}
        for word, (mine, theirs) in own.items():
            found.setdefault((indifferent[0] | mine, indifferent[1] | theirs), []).append(word)
        shown = {masks: (labels[0],) for masks, labels in found.items()} | {(indifferent[0], indifferent[1]): ()}
        for word, (mine, theirs) in own.items():
            for (before, after), words in list(shown.items()):
                masks = (before | mine, after | theirs)
                if masks not in shown:
                    shown[masks] = (*words, word)
                    found[masks] = ["+".join(shown[masks])]
                    if len(found) > MOST_STEPS:
                        raise TooManySteps
        return [_Class(tuple(labels), *masks) for masks, labels in found.items()]

    def _merged(self, boxes: list[dict[str, tuple[str, ...]]]) -> list[dict[str, tuple[str, ...]]]:
        """The same cells in fewer boxes: those that differ on one axis only become one."""
        for name, classes in self._axes:
            order = {word: place for place, word in enumerate(word for each in classes for word in each.words)}
            joined: dict[tuple[tuple[str, tuple[str, ...]], ...], set[str]] = {}
            for box in boxes:
                rest = tuple((key, words) for key, words in box.items() if key != name)
                joined.setdefault(rest, set()).update(box[name])
            boxes = [
                {
                    key: dict(rest).get(key, ()) if key != name else tuple(sorted(words, key=order.__getitem__))
                    for key, _ in self._axes
                }
                for rest, words in joined.items()
            ]
        return boxes


class _Weighed(NamedTuple):
    """An outcome with what it is compared by: what a route's budget and limits allow, and the deployments as they are."""

    outcome: Outcome
    key: tuple[Any, ...]
    limits: tuple[tuple[str, float], ...] = ()
    deployments: tuple[tuple[str, str], ...] = ()
    held: _Held | None = None


class _Held(NamedTuple):
    """The entitlement set of an outcome, what its tools can do, and who answers for the step-up that decides, if one does."""

    entitlements: EntitlementSet | None
    can: frozenset[str]
    owner: str


def _weighed(side: _Side, mask: int, level: str, day: date) -> _Weighed:
    """What the rules of these bits come to for content of a level."""
    matched = [rule for bit, rule in side.bits.items() if mask & bit]
    decider = matched[0] if matched else None
    route = next((side.rules.index.routes[rule.id] for rule in matched if rule.effect is Effect.PERMIT), None)
    if decider is None or decider.effect is Effect.FORBID or route is None or route.not_carried_out:
        forbidding = decider is not None and decider.effect is Effect.FORBID
        return _Weighed(Outcome("refuse", decider.id if decider is not None and forbidding else None), ())
    rank = Sensitivity(level).rank
    slots = [slot for slot in route.slots if slot.cleared_for(rank, day)]
    held = side.rules.sets.get(route.then.entitlement_set)
    tools = tuple(sorted(held.tools)) if held is not None and held.granted_until >= day else ()
    obligations = tuple(sorted(str(each) for each in route.then.obligations))
    effect = "hold" if decider.effect is Effect.STEP_UP else "permit"
    wishing = (WISHES.index(route.then.wish), route.then.hints)
    if not slots and not route.then.mask:
        return _Weighed(Outcome("refuse", route.rule.id), ())
    outcome = Outcome(
        effect=effect,
        rule=decider.id,
        tiers=tuple(dict.fromkeys(slot.tier for slot in slots)) or route.then.tiers,
        deployments=tuple(slot.id for slot in slots),
        tools=tools,
        entitlement_set=route.then.entitlement_set,
        budget=route.budget.name,
        obligations=obligations,
        mask=tuple(sorted(route.then.mask)),
    )
    limits = _limits(route)
    can = frozenset(str(each) for tool in tools for each in side.rules.tools[tool].capabilities)
    holds = _Held(held, can, decider.owner if effect == "hold" else "")
    deployments = tuple((slot.id, _identity(slot.deployment)) for slot in slots)
    return _Weighed(outcome, (limits, wishing), limits, deployments, holds)


def _gains(was: _Weighed, now: _Weighed) -> tuple[str, ...]:
    """What a cell has that it had not: a tier, a deployment, a tool, more of a budget; or an obligation it is rid of."""
    before, after = was.outcome, now.outcome
    if after.effect == "refuse":
        return ()
    gains = [f"tier {tier}" for tier in after.tiers if tier not in before.tiers]
    gains += [f"deployment {name}" for name, identity in now.deployments if (name, identity) not in was.deployments]
    gains += [f"tool {tool}" for tool in after.tools if tool not in before.tools]
    if before.effect != "refuse":
        known = dict(was.limits)
        gains += [f"budget {name}" for name, value in now.limits if value > known[name]]
        gains += [f"obligation {name} lifted" for name in before.obligations if name not in after.obligations]
        gains += [f"masking of {name} lifted" for name in before.mask if name not in after.mask]
    else:
        gains.append(f"budget {after.budget}")
    if before.effect == "hold" and after.effect == "permit":
        gains.append("approval lifted")
    if before.effect != "refuse" and any(new > old for new, old in zip(now.key[1], was.key[1], strict=True)):
        gains.append("choice of model")
    if before.effect != "refuse" and was.held is not None and now.held is not None:
        gains += _gains_of_sets(was.held, now.held)
    return tuple(gains)


def _gains_of_sets(was: _Held, now: _Held) -> Iterable[str]:
    """What a cell gains by having another entitlement set, or another step-up: who decides, where calls may go, what may meet."""
    if was.owner and now.owner and was.owner != now.owner:
        yield f"approver {now.owner}"
    old, new = was.entitlements, now.entitlements
    if old is None or new is None or old.id == new.id:
        return
    if new.approver != old.approver and (now.can or now.owner):
        yield f"approver {new.approver}"
    if not now.can:
        return
    yield from (f"destination {each}" for each in sorted(set(new.allowed_destinations) - set(old.allowed_destinations)))
    for _, combination in _weaker_combinations(old, new):
        if combination.brought_by & now.can:
            yield f"combination {combination.id} lifted"


SESSION_LIMITS = tuple(
    (name, MORE)
    for name in (
        "cost_nano",
        "input_tokens",
        "output_tokens",
        "reasoning_tokens",
        "requests",
        "tool_calls",
        "identical_calls",
        "idle_seconds",
        "total_seconds",
        "reasoning_growth_tokens",
        "warn_percent",
        "drift_warn",
        "drift_hold",
        "drift_stop",
    )
)
CALL_LIMITS = (
    "max_output_tokens",
    "hosted_calls",
    "request_seconds",
    "connect_seconds",
    "first_token_seconds",
    "inter_token_seconds",
    "drain_seconds",
    "drain_output_tokens",
)
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
WITHOUT_LIMIT = float("inf")


def _limits(route: Route) -> tuple[tuple[str, float], ...]:
    """What a route's budget and limits allow: the more, the wider. No limit is the widest."""
    budget: SessionBudget = route.budget
    limits: CallLimits = route.then.limits
    found = [(name, WITHOUT_LIMIT if (value := getattr(budget, name)) is None else float(value)) for name, _ in SESSION_LIMITS]
    found += [(name, float(getattr(limits, name))) for name in CALL_LIMITS]
    effort = limits.reasoning_effort
    found.append(("reasoning_effort", WITHOUT_LIMIT if effort is None else float(EFFORTS.index(effort))))
    return tuple(found)


def _identity(deployment: Deployment) -> str:
    """What makes a deployment another one, under the same id: where content goes, under whose account, and what comes along."""
    told = (
        deployment.provider,
        deployment.model,
        deployment.base_url,
        deployment.region,
        deployment.internal,
        sorted(deployment.params.items()),
        sorted(deployment.fixed_params.items()),
        deployment.reasoning_model,
        deployment.api_key,
    )
    return repr(told)


def _key(rules: RuleSet, rule: Rule, day: date) -> tuple[Any, ...]:
    """All that a rule comes to: two rules of the same key do the same everywhere."""
    when = tuple(sorted((name, tuple(sorted(words))) for name, words in rule.when.items()))
    route = rules.index.routes.get(rule.id)
    if route is None:
        return (rule.id, rule.effect, when, rule.code)
    held = rules.sets.get(route.then.entitlement_set)
    granted = () if held is None or held.granted_until < day else tuple(sorted(held.tools))
    slots = tuple((slot.id, slot.tier, slot.rank, slot.review_expires >= day, _identity(slot.deployment)) for slot in route.slots)
    then = route.then
    orders = (tuple(sorted(then.obligations)), tuple(sorted(then.mask)), then.wish, then.hints, route.not_carried_out)
    return (
        rule.id,
        rule.effect,
        when,
        then.tiers,
        then.entitlement_set,
        granted,
        _limits(route),
        orders,
        slots,
        route.budget.name,
    )


def _listed(rule: Rule, dimension: str, word: str) -> bool:
    words = rule.when.get(dimension)
    return words is None or word in words


def _admits_app(rules: RuleSet, rule: Rule, word: str) -> bool:
    app = rules.apps.get(word)
    return app is not None and _listed(rule, "app", word) and _listed(rule, "team", app.team)


def _admits_purpose(rules: RuleSet, rule: Rule, word: str) -> bool:
    purpose = rules.purposes.get(word)
    if purpose is None:
        return False
    impact = _listed(rule, "business_impact", str(purpose.business_impact))
    return _listed(rule, "purpose", word) and impact and _listed(rule, "latency_class", purpose.latency_class)


def _can_declare(declared: tuple[str, ...], level: str) -> bool:
    """What was declared is never above what the content counts as."""
    return any(word == UNDECLARED or LEVELS.index(word) <= LEVELS.index(level) for word in declared)


# What of a whole revision is wider.


def _widenings(before: RuleSet, after: RuleSet, today: date) -> Iterable[Widening]:
    yield from _of_people(before, after)
    yield from _of_apps(before, after, today)
    yield from _of_sets(before, after)
    yield from _of_deployments(before, after, today)
    yield from _of_tools(before, after)
    yield from _of_owner_budgets(before, after)
    yield from _of_deliveries(before, after)
    yield from _of_policy(before.sensitivity, after.sensitivity)
    yield from _of_declared(before, after)
    yield from _of_rules(before, after, today)
    if str(after.time_zone) != str(before.time_zone) and any(rule.valid_from or rule.valid_until for rule in after.rules):
        yield Widening("expiry", "time_zone", f"days of rules begin in {after.time_zone} instead of {before.time_zone}")
    yield from _of_cases(before, after)


def _of_people(before: RuleSet, after: RuleSet) -> Iterable[Widening]:
    """Everybody who answers for something, approves it, reviews it or pays for it, and is somebody else. Who decides on approvals, and who
    counts as having asked, follows from these names, so that no change of one is harmless."""
    for what, name, mine, theirs in (
        ("app", "owner", _named_by(before.apps, "owner"), _named_by(after.apps, "owner")),
        ("app", "team", _named_by(before.apps, "team"), _named_by(after.apps, "team")),
        ("app", "cost_center", _named_by(before.apps, "cost_center"), _named_by(after.apps, "cost_center")),
        ("watched app", "owner", _watchers(before), _watchers(after)),
        ("purpose", "owner", _named_by(before.purposes, "owner"), _named_by(after.purposes, "owner")),
        ("tool", "owner", _named_by(before.tools, "owner"), _named_by(after.tools, "owner")),
        ("set", "owner", _named_by(before.sets, "owner"), _named_by(after.sets, "owner")),
        ("set", "approver", _named_by(before.sets, "approver"), _named_by(after.sets, "approver")),
        ("set", "approved_by", _graced(before.sets), _graced(after.sets)),
        ("rule", "owner", {each.id: each.owner for each in before.rules}, {each.id: each.owner for each in after.rules}),
        *(
            (what.replace("_", " ") + " of the deployment", name, told(_reviews(before, what)), told(_reviews(after, what)))
            for what in ("access_review", "capability_review")
            for name, told in (("reviewer", lambda held: _named_by(held, "reviewer")), ("approved_by", _graced))
        ),
    ):
        for id, now in theirs.items():
            if (was := mine.get(id, now)) != now:
                kind = "approver" if name == "approver" else "owner"
                yield Widening(kind, id, f"the {what} `{id}`: `{name}` is `{now}` instead of `{was}`")


def _named_by(rows: Mapping[str, Any], name: str) -> dict[str, str]:
    return {id: getattr(row, name) for id, row in rows.items()}


def _watchers(rules: RuleSet) -> dict[str, str]:
    return {app.id: app.observing.owner for app in rules.apps.values() if app.observing is not None}


def _graced(rows: Mapping[str, EntitlementSet] | Mapping[str, Review]) -> dict[str, str]:
    """Who gave a grace, by what was given one."""
    return {id: ", ".join(sorted(row.grace.approved_by)) for id, row in rows.items() if row.grace is not None}


def _reviews(rules: RuleSet, name: str) -> dict[str, Review]:
    held: dict[str, Review | None] = {each.id: getattr(each, name) for each in rules.deployments.values()}
    return {id: review for id, review in held.items() if review is not None}


def _of_apps(before: RuleSet, after: RuleSet, today: date) -> Iterable[Widening]:
    for app in after.apps.values():
        old = before.apps.get(app.id)
        if old is None:
            yield Widening(
                "app", app.id, f"the app `{app.id}` is new: it may send up to `{app.clearance}`, within `{app.ceiling}`"
            )
            continue
        if app.clearance > old.clearance:
            yield Widening("clearance", app.id, f"the app `{app.id}` may send `{app.clearance}` instead of `{old.clearance}`")
        was = before.sets.get(old.ceiling)
        if was is not None and was.granted_until < today and app.ceiling != old.ceiling:
            was = None  # its tools are not granted any more
        if more := _more_tools(was, after.sets.get(app.ceiling)):
            yield Widening("ceiling", app.id, f"the ceiling of the app `{app.id}` also holds {_named(more)}")
        if more := sorted(set(app.purposes) - set(old.purposes)):
            yield Widening("purpose", app.id, f"the app `{app.id}` also holds the purpose {_named(more)}")
        if more := sorted(set(app.provider_state) - set(old.provider_state)):
            yield Widening("provider_state", app.id, f"the app `{app.id}` may also name {_named(more)} at providers")
        if (until := _watched_until(app)) is not None and until > (_watched_until(old) or date.min):
            yield Widening("expiry", app.id, f"the app `{app.id}` is only watched until {until}")
        elif app.observing is not None and old.observing is not None and app.observing.start < old.observing.start:
            yield Widening("expiry", app.id, f"the app `{app.id}` is only watched from {app.observing.start} on")


def _watched_until(app: App) -> date | None:
    return None if app.observing is None else app.observing.end


def _more_tools(before: EntitlementSet | None, after: EntitlementSet | None) -> list[str]:
    held = before.tools if before is not None else frozenset[str]()
    return sorted(after.tools - held) if after is not None else []


def _of_sets(before: RuleSet, after: RuleSet) -> Iterable[Widening]:
    for each in after.sets.values():
        old = before.sets.get(each.id)
        if old is None:
            if each.tools:  # what it brings is seen where it is used, but for keys: they name their ceiling themselves
                yield Widening("ceiling", each.id, f"the set `{each.id}` is new, and keys may have it as their ceiling")
            continue
        if each.granted_until > old.granted_until:
            message = f"the set `{each.id}` is granted until {each.granted_until} instead of {old.granted_until}"
            yield Widening("expiry", each.id, message)
        if more := _more_tools(old, each):
            yield Widening("tool", each.id, f"the set `{each.id}` also holds {_named(more)}")
        if more := sorted(set(each.allowed_destinations) - set(old.allowed_destinations)):
            yield Widening("destination", each.id, f"calls of the set `{each.id}` may also go to {_named(more)}")
        for kind, combination in _weaker_combinations(old, each):
            yield Widening(kind, each.id, f"in the set `{each.id}`, the combination `{combination.id}` is weaker or gone")


def _weaker_combinations(old: EntitlementSet, new: EntitlementSet) -> Iterable[tuple[str, Combination]]:
    """The combinations of one set that another one stops no longer, or less of, with whether they were prohibited."""
    for kind, mine, theirs in (
        ("combination", old.prohibited, new.prohibited),
        ("step_up", old.step_ups, (*new.prohibited, *new.step_ups)),
    ):
        for combination in mine:
            if not any(_as_strict(other, combination) for other in theirs):
                yield kind, combination


def _as_strict(other: Combination, than: Combination) -> bool:
    """Whether a combination stops all that another one did."""
    return (
        other.capabilities <= than.capabilities
        and other.brought_by >= than.brought_by
        and other.one_tool <= than.one_tool
        and (than.vouched or not other.vouched)
        and (than.asked or not other.asked)
    )


def _of_deployments(before: RuleSet, after: RuleSet, today: date) -> Iterable[Widening]:
    for each in after.deployments.values():
        old = before.deployments.get(each.id)
        if old is None:
            continue  # what it brings is seen where it is used
        if each.clearance > old.clearance:
            message = f"the deployment `{each.id}` is cleared for `{each.clearance}` instead of `{old.clearance}`"
            yield Widening("clearance", each.id, message)
        for name, mine, theirs in (
            ("access review", old.access_review, each.access_review),
            ("capability review", old.capability_review, each.capability_review),
        ):
            if _until(theirs) > _until(mine):
                until = "for good" if theirs is None else f"until {theirs.counts_until}"
                yield Widening("expiry", each.id, f"the {name} of the deployment `{each.id}` counts {until}")
        if more := sorted(map(str, each.features - old.features)):
            yield Widening("deployment", each.id, f"the deployment `{each.id}` is also said to do {_named(more)}")
        if more := sorted(each.allowed_fields - old.allowed_fields):
            yield Widening("deployment", each.id, f"the deployment `{each.id}` is also sent {_named(more)}")
        if each.internal and not old.internal:
            yield Widening("deployment", each.id, f"the deployment `{each.id}` counts as our own")
        if _identity(each) != _identity(old):
            yield Widening("deployment", each.id, f"the deployment `{each.id}` leads somewhere else")
        if more := sorted(set(each.model_names) - set(old.model_names)):
            yield Widening("deployment", each.id, f"the deployment `{each.id}` also answers to {_named(more)}")
        for name, most, was in (
            ("context_window", each.context_window, old.context_window),
            ("max_output_tokens", each.max_output_tokens, old.max_output_tokens),
        ):
            if most > was:
                yield Widening("deployment", each.id, f"`{name}` of the deployment `{each.id}` is {most} instead of {was}")
        for cheaper, since in _first_days(old, each, today, _cheaper):
            message = f"the deployment `{each.id}` counts for less money, or for no known sum{since}: {_named(cheaper)}"
            yield Widening("price", each.id, message)


def _dearer_deployments(before: RuleSet, after: RuleSet, today: date) -> Iterable[str]:
    """What costs more than before, from when on, and the apps that the rules may send there: their owners pay it."""
    for each in after.deployments.values():
        old = before.deployments.get(each.id)
        if old is None:
            continue
        for dearer, since in _first_days(old, each, today, lambda new, was: _lower(was, new)):
            routes = [after.index.routes[rule.id] for rule in after.rules if rule.then is not None]
            reached = [route.rule for route in routes if any(slot.id == each.id for slot in route.slots)]
            apps = sorted(app for app in after.apps if any(_admits_app(after, rule, app) for rule in reached))
            who = _named(apps[:MOST_NAMED]) + (f" and {len(apps) - MOST_NAMED} more" if len(apps) > MOST_NAMED else "")
            yield f"the deployment `{each.id}` costs more{since}: {_named(dearer)}; {f'paid by the owners of {who}' if apps else 'no app is sent there'}"


def _first_days(
    old: Deployment, new: Deployment, today: date, found: Callable[[Price, Price], list[str]]
) -> Iterable[tuple[list[str], str]]:
    """What is found between two prices, once, with the first day from today on which it is so (in words; none for today)."""
    now = datetime.combine(today, time.max, UTC)
    told: set[str] = set()
    for moment in sorted({now, *(since for since, _ in (*old.prices, *new.prices) if since > now)}):
        names = [name for name in found(new.price_at(moment), old.price_at(moment)) if name not in told]
        told.update(names)
        if names:
            yield names, "" if moment == now else f" from {moment.date()} on"


def _cheaper(new: Price, old: Price) -> list[str]:
    """The prices that are lower than they were: limits in money bind later then. Whoever says where figures come from says who pays."""
    found = [name for name in ("input", "output") if (getattr(new, name) is None) != (getattr(old, name) is None)]
    return found + _lower(new, old) + (["source"] if new.source != old.source else [])


def _lower(new: Price, old: Price) -> list[str]:
    """The classes and hosted tools that cost less, for requests of any size and under any service tier."""
    sizes = {
        0,
        *(tokens + 1 for price in (new, old) for way in (price, *price.service_tiers.values()) for tokens, _ in way.above),
    }
    found: dict[str, None] = {}
    for tier in sorted({"", *new.service_tiers, *old.service_tiers}):
        for size in sorted(sizes):
            now, was = new.applied(size, tier), old.applied(size, tier)
            for name in TOKEN_CLASSES:
                rate, before = now.of(name), was.of(name)
                if rate is not None and before is not None and rate < before:
                    found[name] = None
            for name, before in was.tools.items():
                if now.tools.get(name, 0) < before:
                    found[name] = None
    return list(found)


MOST_NAMED = 8
"""Apps that are named one by one where many are meant."""


def _until(review: Review | None) -> date:
    return EVERY if review is None else review.counts_until


def _of_tools(before: RuleSet, after: RuleSet) -> Iterable[Widening]:
    looked_at = frozenset(
        word for rule in after.rules if rule.effect is Effect.PERMIT for word in rule.when.get("capability", frozenset())
    )
    for tool in after.tools.values():
        old = before.tools.get(tool.id)
        if old is None:
            continue  # granted only where a set holds it
        for what in _weaker(old, tool):
            yield Widening("tool", tool.id, f"the tool `{tool.id}` {what}")
        if more := sorted(name for _, name in _recognises(tool) - _recognises(old)):
            yield Widening("tool", tool.id, f"the tool `{tool.id}` also means {_named(more)}")
        if more := sorted(looked_at & set(map(str, tool.capabilities - old.capabilities))):
            yield Widening("tool", tool.id, f"the tool `{tool.id}` opens routes for what can do {_named(more)}")
    if list(before.tools.values()) != list(after.tools.values()):
        yield from _of_names(before, after)


def _of_names(before: RuleSet, after: RuleSet) -> Iterable[Widening]:
    """Names that another entry of the catalogue recognises from now on, which takes less care of them."""
    earlier, later = _Names(before.tools.values()), _Names(after.tools.values())
    for old in before.tools.values():
        told: set[str] = set()
        for family, pattern in sorted(_recognises(old)):
            for other, theirs in later.alike(family, pattern):
                if other.id in (old.id, *told) or not later.first((other, theirs), (old, pattern), family):
                    continue
                if earlier.first((other, theirs), (old, pattern), family):
                    continue
                if what := next(iter(_weaker(old, other)), "has another owner" if other.owner != old.owner else ""):
                    told.add(other.id)
                    yield Widening("tool", old.id, f"what the tool `{old.id}` meant may count as `{other.id}`, which {what}")


class _Names:
    """The names and globs by which a catalogue recognises tools, in the order in which they count."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._order: dict[tuple[str, str, str], int] = {}
        self._exact: dict[tuple[str, str], list[Tool]] = {}
        self._globs: dict[str, list[tuple[Tool, str]]] = {}
        for tool in tools:
            for family, pattern in sorted(_recognises(tool)):
                self._order[tool.id, family, pattern] = len(self._order)
                if _is_glob(pattern):
                    self._globs.setdefault(family, []).append((tool, pattern))
                else:
                    self._exact.setdefault((family, pattern), []).append(tool)

    def alike(self, family: str, pattern: str) -> Iterable[tuple[Tool, str]]:
        """The entries that may recognise something that a name or glob does, with theirs."""
        if _is_glob(pattern):
            for (of, name), tools in self._exact.items():
                if of == family and fnmatchcase(name, pattern):
                    yield from ((tool, name) for tool in tools)
        else:
            yield from ((tool, pattern) for tool in self._exact.get((family, pattern), ()))
        for tool, glob in self._globs.get(family, ()):
            if _may_meet(glob, pattern):
                yield tool, glob

    def first(self, one: tuple[Tool, str], other: tuple[Tool, str], family: str) -> bool:
        """Whether an entry comes before another for what both recognise: exact names first, then as written."""
        mine = self._order.get((one[0].id, family, one[1]))
        theirs = self._order.get((other[0].id, family, other[1]))
        if mine is None or theirs is None:
            return mine is not None
        return (_is_glob(one[1]), mine) < (_is_glob(other[1]), theirs)


def _is_glob(pattern: str) -> bool:
    return any(sign in pattern for sign in SIGNS)


def _may_meet(glob: str, other: str) -> bool:
    """Whether a glob may recognise something that another one, or a name, does; told by how both begin."""
    if not _is_glob(other):
        return fnmatchcase(other, glob)
    mine, theirs = (pattern[: min(pattern.find(sign) for sign in SIGNS if sign in pattern)] for pattern in (glob, other))
    return mine.startswith(theirs) or theirs.startswith(mine)


def _recognises(tool: Tool) -> frozenset[tuple[str, str]]:
    return frozenset(
        [("function", name) for name in tool.functions]
        + [("hosted", name) for name in tool.hosted]
        + [("server", name) for name in tool.servers]
    )


def _weaker(old: Tool, new: Tool) -> Iterable[str]:
    """In what one entry takes less care of a tool than another did."""
    if lost := sorted(map(str, old.capabilities - new.capabilities)):
        yield f"is no longer said to be able to do {_named(lost)}"
    if APPROVALS.index(new.approval_boundary) < APPROVALS.index(old.approval_boundary):
        yield f"is approved `{new.approval_boundary}` instead of `{old.approval_boundary}`"
    if new.highest_read < old.highest_read:
        yield f"is said to read up to `{new.highest_read}` instead of `{old.highest_read}`"
    if changed := sorted(set(old.destination_arguments) ^ set(new.destination_arguments)):
        # One more may be what is vouched for, where before nothing was.
        yield f"counts other arguments as destinations: {_named(changed)}"
    if old.arguments_schema is not None and new.arguments_schema != old.arguments_schema:
        yield "has another schema of arguments"
    if old.server_urls and (not new.server_urls or set(new.server_urls) - set(old.server_urls)):
        yield "may be at more addresses"
    if old.pinned and (not new.pinned or set(new.pinned) - set(old.pinned)):
        yield "is pinned to other definitions"
    if new.internal and not old.internal:
        yield "counts as our own"


def _of_owner_budgets(before: RuleSet, after: RuleSet) -> Iterable[Widening]:
    for owner in sorted({*before.owner_budgets, *after.owner_budgets}):
        for why in _of_budgets(before.budgets_of(owner), after.budgets_of(owner)):
            yield Widening("budget", owner, f"`{owner}` {why}")
    for why in _of_budgets((before.default_owner_budget,), (after.default_owner_budget,)):
        yield Widening("budget", "default", f"owners without a budget of their own {why}")
    everybody = (after.default_owner_budget, *(each for own in after.owner_budgets.values() for each in own))
    if after.fiscal_year != before.fiscal_year and any(each.per in FISCAL for each in everybody):
        yield Widening("budget", "fiscal_year", "budgets of fiscal years begin anew on other days")
    if _above(after.new_sessions_per_hour, before.new_sessions_per_hour):
        yield Widening("budget", "new_sessions_per_hour", "apps may start more sessions in an hour")


def _of_budgets(before: Iterable[OwnerBudget], after: Iterable[OwnerBudget]) -> Iterable[str]:
    """What is wider of the budgets of one owner."""
    later = {budget.per: budget for budget in after}
    for old in before:
        new, span = later.get(old.per, OwnerBudget(old.owner)), old.per.replace("_", " ")
        if _above(new.end_nano, old.end_nano) or _above(new.hard_nano, old.hard_nano) or _above(new.soft_nano, old.soft_nano):
            yield f"may spend more in a {span}"
        if set(old.soft_percents) - set(new.soft_percents) or set(old.notify) - set(new.notify):
            yield f"is told later, or other people are, of what is spent in a {span}"


def _above(new: float | None, old: float | None) -> bool:
    """Whether a limit is wider; None is no limit."""
    return old is not None and (new is None or new > old)


def _of_deliveries(before: RuleSet, after: RuleSet) -> Iterable[Widening]:
    known = {delivery.id: delivery for delivery in deliveries_of(before.files)}
    for delivery in deliveries_of(after.files):
        old = known.get(delivery.id)
        if old is None:
            yield Widening("destination", delivery.id, f"reports go to {_place(delivery)}")
        elif (delivery.directory, delivery.bucket) != (old.directory, old.bucket):
            yield Widening("destination", delivery.id, f"reports go to {_place(delivery)} instead of {_place(old)}")
        elif (delivery.where, delivery.focus, delivery.grain) != (old.where, old.focus, old.grain):
            yield Widening("destination", delivery.id, f"other things are reported to {_place(delivery)}")


def _place(delivery: Delivery) -> str:
    if delivery.bucket is None:
        return f"the directory `{delivery.directory}`"
    at = f" at `{delivery.bucket.endpoint}`" if delivery.bucket.endpoint else ""
    return f"the bucket `{delivery.bucket.name}`{at}"


def _of_policy(before: SensitivityPolicy, after: SensitivityPolicy) -> Iterable[Widening]:
    for name, old, new in (
        ("floor", before.floor, after.floor),
        ("unscanned", before.unscanned, after.unscanned),
        ("unmapped_label", before.unmapped_label, after.unmapped_label),
    ):
        if new < old:
            kind = "label" if name == "unmapped_label" else "detector"
            yield Widening(kind, name, f"`{name}` counts as `{new}` instead of `{old}`")
    if before.refuse_unmapped and not after.refuse_unmapped:
        yield Widening("label", "unmapped_label", "labels that nobody has mapped are no longer refused")
    yield from _of_levels(before, after)
    if lost := sorted(set(before.label_fields) - set(after.label_fields)):
        yield Widening("label", "label_fields", f"{_named(lost)} no longer declares a label")
    for name, most, more in (("many", before.many, after.many), ("bulk", before.bulk, after.bulk)):
        if more > most:
            yield Widening("detector", name, f"`{name}` takes {more} values instead of {most}")
    for name, scores, later in (
        ("thresholds", before.thresholds, after.thresholds),
        ("topic_thresholds", before.topic_thresholds, after.topic_thresholds),
    ):
        for key in sorted({*scores, *later}):
            was, now = scores.get(key), later.get(key)
            # One without a row has that of its category or the default: none for a finding, for a topic one that is not told here.
            highest = max(later.values(), default=0.0) if name == "thresholds" else 1.0
            if (highest if now is None else now) > (0.0 if was is None else was):
                yield Widening("detector", f"{name}.{key}", f"`{key}` counts from another score on")
    if more_allowed := sorted(after.allow_listed - before.allow_listed):
        yield Widening("detector", "allow_listed", f"{len(more_allowed)} more texts are no finding")
    yield from _of_detectors(before, after)
    if before.complexity != after.complexity:
        yield Widening("detector", "complexity", "complexity is told by another model or target")


def _of_detectors(before: SensitivityPolicy, after: SensitivityPolicy) -> Iterable[Widening]:
    """Detectors of the organisation's own. They are the most specific, so that one more may also hide what others find."""
    patterns = {each.id: each for each in before.patterns}
    for pattern in after.patterns:
        old = patterns.get(pattern.id)
        if old is None:
            yield Widening("detector", pattern.id, f"the detector `{pattern.id}` is new, and comes before others")
        elif (old.pattern, old.category, frozenset(old.terms)) != (pattern.pattern, pattern.category, frozenset(pattern.terms)):
            yield Widening("detector", pattern.id, f"the detector `{pattern.id}` looks for something else")
        elif pattern.level < old.level or pattern.score != old.score:
            yield Widening("detector", pattern.id, f"the detector `{pattern.id}` counts for less, or as sure otherwise")
        elif {*old.positive, *old.negative} - {*pattern.positive, *pattern.negative} or set(old.positive) & set(pattern.negative):
            yield Widening("case", pattern.id, f"the detector `{pattern.id}` has fewer examples")
    names = {each.id: each for each in before.code_names}
    for listed in after.code_names:
        was = names.get(listed.id)
        if was is None:
            yield Widening("detector", listed.id, f"the list of code names `{listed.id}` is new, and comes before others")
        elif (was.hashes, was.key_id, was.category) != (
            listed.hashes,
            listed.key_id,
            listed.category,
        ) or listed.level < was.level:
            yield Widening("detector", listed.id, f"the list of code names `{listed.id}` is another, or counts for less")
    kept = {each.id for each in after.patterns} | {each.id for each in after.code_names}
    for gone in sorted({*patterns, *names} - kept):
        yield Widening("detector", gone, f"the detector `{gone}` is gone")
    if after.gitleaks != before.gitleaks:
        yield Widening("detector", "gitleaks.toml", "the detectors of credentials are others")
    examples = {*before.gitleaks_positive, *before.gitleaks_negative} - {*after.gitleaks_positive, *after.gitleaks_negative}
    if examples or set(before.gitleaks_positive) & set(after.gitleaks_negative):
        yield Widening("case", "gitleaks.toml", "the detectors of credentials have fewer examples")


def _of_levels(before: SensitivityPolicy, after: SensitivityPolicy) -> Iterable[Widening]:
    """What counts for less than it did, whether by a row of its own or by what holds without one."""
    for kind, field, names, counts_as in (
        ("detector", "categories", {*before.categories, *after.categories}, _category),
        ("detector", "topics", {*before.topics, *after.topics}, _topic),
        ("detector", "unreadable", {*before.unreadable, *after.unreadable}, _unreadable),
        ("label", "labels", _labels(before, after), _label),
    ):
        for name in sorted(names):
            old, new = counts_as(before, name), counts_as(after, name)
            if new < old:
                yield Widening(
                    kind, f"{field}.{name.strip()}", f"`{name.strip()}` counts as {_rank(new)} instead of {_rank(old)}"
                )
    # A kind without a row of its own counts as its category, which is not told here.
    for name in sorted({*before.kinds, *after.kinds}):
        was, now = before.kinds.get(name, Sensitivity.RESTRICTED), after.kinds.get(name, Sensitivity.PUBLIC)
        if now < was:
            what = "by its category" if name not in after.kinds else f"as `{now}`"
            told = "of its category" if name not in before.kinds else f"`{was}`"
            yield Widening("detector", f"kinds.{name}", f"`{name}` counts {what} instead of {told}")


def _category(policy: SensitivityPolicy, name: str) -> int:
    if name == INJECTION and name not in policy.categories:
        return -1
    return policy.categories.get(name, Sensitivity.CONFIDENTIAL).rank


def _topic(policy: SensitivityPolicy, name: str) -> int:
    level = policy.topics.get(name) or policy.categories.get(name) or Sensitivity.CONFIDENTIAL
    return min(level, Sensitivity.CONFIDENTIAL).rank


def _unreadable(policy: SensitivityPolicy, name: str) -> int:
    return max(policy.unreadable.get(name, policy.unscanned), Sensitivity.INTERNAL).rank


def _label(policy: SensitivityPolicy, name: str) -> int:
    level = policy.label_level(name)
    if level is None:
        return REFUSED if policy.refuse_unmapped else policy.unmapped_label.rank
    return level.rank


def _labels(*policies: SensitivityPolicy) -> set[str]:
    """Every label that is known, as it is written, and in a form in which nobody has written it, so that capitals do not count."""
    known = set(LEVELS).union(*(policy.labels for policy in policies), *(policy.level_names.values() for policy in policies))
    room = " " * max(map(len, known))
    return known | {f" {name.strip()}{room}" for name in known}


def _rank(rank: int) -> str:
    return "nothing" if rank < 0 else "refused" if rank == REFUSED else f"`{LEVELS[rank]}`"


def _of_declared(before: RuleSet, after: RuleSet) -> Iterable[Widening]:
    """Fields that declare a label may open routes that look at what was declared."""
    more = sorted(set(after.sensitivity.label_fields) - set(before.sensitivity.label_fields))
    if more and any(rule.effect is Effect.PERMIT and "declared" in rule.when for rule in after.rules):
        yield Widening("label", "label_fields", f"{_named(more)} also declares a label, at which routes look")


def _of_rules(before: RuleSet, after: RuleSet, today: date) -> Iterable[Widening]:
    """Prohibitions and step-ups that stop less than they did, and routes that hold for longer."""
    for rule in before.rules:
        if rule.effect is Effect.PERMIT or (rule.valid_until is not None and rule.valid_until < today):
            continue
        strict = (Effect.FORBID,) if rule.effect is Effect.FORBID else (Effect.FORBID, Effect.STEP_UP)
        if not any(other.effect in strict and _stops_all(before, after, rule, other) for other in after.rules):
            kind = "prohibition" if rule.effect is Effect.FORBID else "step_up"
            gone = all(other.id != rule.id for other in after.rules)
            yield Widening(kind, rule.id, f"the {kind.replace('_', '-')} `{rule.id}` is {'gone' if gone else 'weaker'}")
    routes = {rule.id: rule for rule in before.rules if rule.effect is Effect.PERMIT}
    for rule in after.rules:
        old = routes.get(rule.id)
        if rule.effect is not Effect.PERMIT or old is None:
            continue
        if (rule.valid_until or EVERY) > (old.valid_until or EVERY):
            yield Widening(
                "expiry",
                rule.id,
                f"the route `{rule.id}` holds {'for good' if rule.valid_until is None else f'until {rule.valid_until}'}",
            )
        if (rule.valid_from or date.min) < (old.valid_from or date.min) and (old.valid_from or date.min) > today:
            yield Widening("expiry", rule.id, f"the route `{rule.id}` holds from an earlier day on")


def _stops_all(before: RuleSet, after: RuleSet, rule: Rule, other: Rule) -> bool:
    """Whether a rule after stops all that a rule before did, on every day."""
    if (other.valid_from or date.min) > (rule.valid_from or date.min) or (other.valid_until or EVERY) < (
        rule.valid_until or EVERY
    ):
        return False
    for dimension, words in other.when.items():
        admitted = rule.when.get(dimension)
        if admitted is None:
            whole = DIMENSIONS.get(dimension)
            if dimension in MANY_VALUED or whole is None or set(whole) - words:
                return False
        elif admitted - words:
            return False
    if "team" in rule.when and any(before.apps[id].team != app.team for id, app in after.apps.items() if id in before.apps):
        return False
    if {"business_impact", "latency_class"} & set(rule.when):
        same = all(before.purposes.get(id) in (None, purpose) for id, purpose in after.purposes.items())
        return same
    return True


def _of_cases(before: RuleSet, after: RuleSet) -> Iterable[Widening]:
    """Files of cases that say less. A case is its text: one that was changed no longer asks what it asked."""
    for name, text in before.files.items():
        if not name.startswith("cases/") or after.files.get(name) == text:
            continue
        kept = after.files.get(name)
        if kept is None or not kept.strip():
            yield Widening("case", name, f"the cases in `{name}` are gone")
        elif lost := _case_lines(text) - _case_lines(kept):
            yield Widening("case", name, f"{len(lost)} lines of cases in `{name}` are gone or others")


def _case_lines(text: str) -> frozenset[str]:
    lines = (line.strip() for line in text.splitlines())
    return frozenset(line for line in lines if line and not line.startswith("#"))


def _named(words: Iterable[str]) -> str:
    listed = [f"`{word}`" for word in words]
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")
