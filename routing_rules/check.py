"""Static faults of a rule set, found exactly over its finite vocabularies: what can never match, what nothing admits, what is overdue."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice

import msgspec

from routing_rules.catalogue import Deployment
from routing_rules.cells import Cells, TooManyCells, bits
from routing_rules.faults import Fault, Severity, did_you_mean
from routing_rules.layers import layers_of, parts_left_out
from routing_rules.reviews import Due, due_reviews
from routing_rules.rules import DIMENSIONS, Effect, Rule, RuleSet
from routing_rules.sensitivity import LEAST_RECALL
from routing_rules.task import Feature
from routing_rules.vocabulary import Capability

MOST_UNCOVERED = 10
DAY = timedelta(days=1)
ID = re.compile(r"""\bid:\s*["']?([A-Za-z0-9][A-Za-z0-9._-]*)""")

SAYS_NOTHING = frozenset({"id", "owner", "reason", "serves", "remedy", "valid_from", "valid_until", "file", "line", "column"})
"""What two rules that decide the same may differ in."""

HELD_BY_LABELS = frozenset({Capability.READS_PRIVATE, Capability.READS_RESTRICTED, Capability.READS_UNTRUSTED})
"""What a session may hold by what it was sent, whatever tools it has."""


def check(rules: RuleSet, today: date, recalls: Mapping[str, float] = {}) -> list[Fault]:
    """Everything that is worth a look in a rule set that loads. `recalls`: published recall by category or kind of finding.

    Errors are rules that say the opposite of an earlier one about the very same tasks, those that mean to permit what is prohibited, and those
    that rely on masking what is not found surely enough; all else are warnings, as none of it lets anything through.
    """
    faults: list[Fault] = []
    try:
        faults.extend(_about_cells(rules, Cells(rules), today))
    except TooManyCells:
        message = "the rules tell too many tasks apart to be checked in full for unreachable rules and uncovered tasks"
        faults.append(Fault(Severity.WARNING, "too_many_cells", "routes.yaml", 0, 0, message))
    for rule in rules.rules:
        faults.extend(_about_rule(rules, rule, today))
        faults.extend(_about_masking(rule, recalls))
    faults.extend(_about_deployments(rules, today))
    faults.extend(_about_reviews(rules, today))
    faults.extend(_about_combinations(rules))
    faults.extend(_about_apps(rules, today))
    faults.extend(_about_parts(rules))
    return faults


class _Reached:
    """Which rules have a say, and where, from a day on: in each stretch of days in which the same rules are in force.

    The first prohibition that matches decides; else the first route, and the first step-up asks before it. All sets of rules are bits.
    """

    def __init__(self, rules: RuleSet, cells: Cells, today: date) -> None:
        self.rules = rules.rules
        self.cells = cells
        self.of = {effect: sum(1 << i for i, rule in enumerate(rules.rules) if rule.effect is effect) for effect in Effect}
        self.stretches = tuple(_stretches(rules.rules, today))
        self.taken: dict[int, int] = {}
        """For each prohibition and route, the rules that match where it decides; for each step-up, those where it asks."""
        self.uncovered: set[date] = set()
        """The first days of the stretches in which some task is met by neither a prohibition nor a route."""
        self.unrouted = 0
        """The rules that match where neither a prohibition nor a route does."""
        self.levels = dict.fromkeys(cells.by_level, 0)
        for day, in_force in self.stretches:
            for level, matched in cells.by_level.items():
                self.levels[level] |= self._decide(matched, day, in_force)

    def _decide(self, matched: frozenset[int], day: date, in_force: int) -> int:
        """Who has a say where these sets of rules match."""
        forbids, steps, permits = (self.of[effect] & in_force for effect in (Effect.FORBID, Effect.STEP_UP, Effect.PERMIT))
        taken, found = self.taken, 0
        for mask in matched:
            first = mask & forbids
            if not first:
                first = mask & permits
                if not first:
                    self.unrouted |= mask & in_force
                    self.uncovered.add(day)
                    continue
                step = mask & steps
                if step:
                    step &= -step
                    found |= step
                    taken[step] = taken.get(step, 0) | mask
            first &= -first
            found |= first
            taken[first] = taken.get(first, 0) | mask
        return found

    def has_a_say(self, place: int) -> bool:
        """Whether a rule ever has one."""
        return any(deciding >> place & 1 for deciding in self.levels.values())

    def in_force(self, place: int) -> list[bool]:
        """For each stretch, whether a rule is in force."""
        return [bool(in_force >> place & 1) for _, in_force in self.stretches]

    def covering(self, place: int) -> list[int]:
        """The rules before a rule each of which takes all that it admits, on every day on which it is in force."""
        rivals = self.of[Effect.FORBID] | self.of[self.rules[place].effect]
        days = self.in_force(place)
        return [
            other
            for other in bits(rivals & ((1 << place) - 1))
            if self.cells.within(place, other)
            and all(before for before, own in zip(self.in_force(other), days, strict=True) if own)
        ]

    def taking(self, place: int) -> list[int]:
        """The rules that have the say where a rule matches, instead of it."""
        rivals = self.of[Effect.FORBID] | self.of[self.rules[place].effect]
        return [(first.bit_length() - 1) for first in sorted(self.taken) if first & rivals and self.taken[first] >> place & 1]

    def alike(self, one: int, other: int) -> bool:
        """Whether two rules match the very same tasks on the very same days."""
        same = self.cells.within(one, other) and self.cells.within(other, one)
        return same and self.in_force(one) == self.in_force(other)


def _stretches(rules: Sequence[Rule], today: date) -> Iterator[tuple[date, int]]:
    """From today on, the first day of each stretch in which the same rules are in force, and which they are, as bits."""
    days = {today}
    for rule in rules:
        days |= {day for day in (rule.valid_from, rule.valid_until and _next(rule.valid_until)) if day and day > today}
    for day in sorted(days):
        yield day, sum(1 << i for i, rule in enumerate(rules) if rule.in_force(day))


def _next(day: date) -> date:
    return day if day == date.max else day + DAY


def _about_cells(rules: RuleSet, cells: Cells, today: date) -> Iterator[Fault]:
    """Rules without a say, tasks without a rule, and tasks for which nobody is cleared."""
    reached = _Reached(rules, cells, today)
    for place, rule in enumerate(rules.rules):
        levels = [rank for rank, deciding in enumerate(reached.levels.values()) if deciding >> place & 1]
        if levels:
            yield from _uncleared(rules, rule, levels, today)
        elif any(reached.in_force(place)):
            yield _without_a_say(reached, place)
    covering = reached.of[Effect.FORBID] | reached.of[Effect.PERMIT]
    told: set[str] = set()
    for day, in_force in reached.stretches:
        if day not in reached.uncovered:
            continue
        for box in islice(cells.outside(covering & in_force), MOST_UNCOVERED):
            tasks = cells.described(box)
            if tasks not in told:
                told.add(tasks)
                since = "" if day == today else f"from {day} on "
                message = f"{since}no rule admits {tasks}; such tasks are refused"
                hint = "add a route that admits them, or a prohibition that says why they are refused"
                yield Fault(Severity.WARNING, "uncovered", "routes.yaml", 0, 0, message, hint)


def _without_a_say(reached: _Reached, place: int) -> Fault:
    """Why a rule can never decide, and which rules keep it from it."""
    rule = reached.rules[place]
    never = f"rule `{rule.id}` can never decide: "
    if not reached.cells.inhabited(place):
        code = "never_fires" if rule.effect is Effect.FORBID else "unreachable_rule"
        hint = "a label is never above the content, an app has one team and its own purposes"
        return _at(rule, code, f"{never}nothing meets all of its conditions", hint)
    if rule.effect is Effect.STEP_UP and reached.unrouted >> place & 1:
        message = f"{never}no route permits what it asks about, so there is nothing that an approval could allow"
        return _at(rule, "unreachable_rule", message, "add a route for such tasks, or leave it out")
    covering = reached.covering(place)
    for other in covering:
        same = reached.rules[other]
        if same.effect is rule.effect and reached.alike(other, place):
            if _outcome(same) == _outcome(rule):
                return _at(rule, "duplicate_rule", f"{never}`{same.id}` says the same of the same tasks", "leave one of them out")
            message = f"{never}`{same.id}` says something else of the very same tasks, and comes first"
            return _at(rule, "contradictory_rules", message, "decide which of them is meant", Severity.ERROR)
    taking = [reached.rules[other] for other in covering[:1] or reached.taking(place)]
    names = ", ".join(f"`{other.id}`" for other in taking)
    if rule.effect is not Effect.FORBID and all(other.effect is Effect.FORBID for other in taking):
        message = f"{never}whatever it admits is prohibited by {names}, and nothing loosens a prohibition"
        return _at(rule, "loosens_prohibition", message, "narrow the prohibition, or leave this rule out", Severity.ERROR)
    code = "shadowed_rule" if covering else "unreachable_rule"
    return _at(rule, code, f"{never}whatever it admits is decided before by {names}", "put it before them, or leave it out")


def _outcome(rule: Rule) -> dict[str, object]:
    """What a rule comes to, where it decides."""
    return {name: value for name, value in msgspec.structs.asdict(rule).items() if name not in SAYS_NOTHING | {"when"}}


def _uncleared(rules: RuleSet, rule: Rule, ranks: Sequence[int], today: date) -> list[Fault]:
    """Sensitivities that a route permits and that none of its deployments is cleared for."""
    route = rules.index.routes.get(rule.id)
    if route is None or route.then.mask:  # what is masked is decided anew
        return []
    slots = [slot for slot in route.slots if slot.features & {Feature.CHAT_API, Feature.RESPONSES_API}]
    alone = [f"`{DIMENSIONS['sensitivity'][rank]}`" for rank in ranks if not any(slot.cleared_for(rank, today) for slot in slots)]
    if not alone:
        return []
    message = f"rule `{rule.id}` admits {', '.join(alone)} content, and no deployment it may use is cleared for it; it is refused"
    return [_at(rule, "nobody_cleared", message)]


def _about_rule(rules: RuleSet, rule: Rule, today: date) -> list[Fault]:
    found = []
    if rule.valid_until is not None and rule.valid_until < today:
        found.append(_at(rule, "expired_rule", f"rule `{rule.id}` has not been in force since {rule.valid_until}"))
    route = rules.index.routes.get(rule.id)
    for obligation in route.not_carried_out if route is not None else ():
        found.append(
            _at(
                rule,
                "obligation_not_carried_out",
                f"rule `{rule.id}` orders `{obligation}`, which no stage carries out: whatever it admits is refused",
            )
        )
    return found


def _about_masking(rule: Rule, recalls: Mapping[str, float]) -> list[Fault]:
    """What a rule orders to be masked although nobody has shown that it is found."""
    found = []
    for name in rule.then.mask if rule.then is not None else ():
        recall = recalls.get(name)
        if recall is not None and recall >= LEAST_RECALL:
            continue
        known = [each for each, share in recalls.items() if share >= LEAST_RECALL]
        measured = "no model card publishes its recall" if recall is None else f"its published recall is {recall:.3f}"
        hint = did_you_mean(name, known) or (f"expected one of {', '.join(f'`{each}`' for each in known)}" if known else "")
        message = f"rule `{rule.id}` masks `{name}`, and {measured}: masking takes at least {LEAST_RECALL:g}"
        found.append(Fault(Severity.ERROR, "not_maskable", rule.file, rule.line, rule.column, message, hint))
    return found


def _about_deployments(rules: RuleSet, today: date) -> list[Fault]:
    found = []
    for deployment in rules.deployments.values():
        place = _place(rules, "models.yaml", deployment.id)
        for kind, review in (
            ("access_review", deployment.access_review),
            ("capability_review", deployment.capability_review),
        ):
            if review is None:
                message = f"deployment `{deployment.id}` has no {kind.replace('_', ' ')}"
                found.append(Fault(Severity.WARNING, f"no_{kind}", *place, message, f"add `{kind}` with reviewer and expires"))
        if (unpriced := _unpriced_from(deployment, today)) is not None:
            since = "" if unpriced <= today else f" from {unpriced} on"
            message = f"deployment `{deployment.id}` has no full price{since}: it is no candidate under a limit in money"
            hint = "give it a `price` or an `assumed_price`, or a row in prices.yaml that does not end"
            found.append(Fault(Severity.WARNING, "no_price", *place, message, hint))
    return found


def _unpriced_from(deployment: Deployment, today: date) -> date | None:
    """The first day from today on for which no full price is known; None where there is one for every day."""
    if not deployment.prices:
        return None if deployment.price.known else today
    if not deployment.price_at(datetime.combine(today, time.max, UTC)).known:
        return today
    return next((since.date() for since, price in deployment.prices if since.date() > today and not price.known), None)


LAPSED = {
    "set": "it grants nothing",
    "access_review": "it receives public content only",
    "capability_review": "what it is said to be able to do is nobody's word any more",
}
"""What follows once a review does not count any more."""


def _about_reviews(rules: RuleSet, today: date) -> Iterator[Fault]:
    for due in due_reviews(rules, today):
        file = "entitlements.yaml" if due.kind == "set" else "models.yaml"
        what = (
            f"the review of set `{due.id}`" if due.kind == "set" else f"the {due.kind.replace('_', ' ')} of deployment `{due.id}`"
        )
        code, message, hint = _due(due, what, today)
        yield Fault(Severity.WARNING, f"{due.kind}_{code}", *_place(rules, file, due.id), message, hint)


def _due(due: Due, what: str, today: date) -> tuple[str, str, str]:
    """The code of a review that is due, overdue or in its grace, and what to say of it."""
    ask = f"`{due.owner}` answers for it"
    if due.overdue(today):
        after = "" if due.grace is None else f", and its grace ended on {due.counts_until}"
        return "overdue", f"{what} was due on {due.due}{after}: {LAPSED[due.kind]}", ask
    if due.due < today:
        people = " and ".join(due.grace.approved_by if due.grace else ())
        return "in_grace", f"{what} was due on {due.due}; it counts until {due.counts_until} on the word of {people}", ask
    left = (due.due - today).days
    when = "today" if left == 0 else "tomorrow" if left == 1 else f"in {left} days"
    return "due", f"{what} is due on {due.due}, {when} (reminder of {due.reminder} day{'s' if due.reminder > 1 else ''})", ask


def _about_combinations(rules: RuleSet) -> Iterator[Fault]:
    """Combinations of an entitlement set that no session of it can bring about, and prohibitions of what no tool can do."""
    ceilings = [rules.sets[app.ceiling].tools for app in rules.apps.values() if app.ceiling in rules.sets]
    within = frozenset().union(*ceilings) if ceilings else frozenset(rules.tools)
    granted = [
        rules.tools[id] for id in frozenset().union(*(each.tools for each in rules.sets.values())) & within if id in rules.tools
    ]
    held = _with_private(frozenset().union(HELD_BY_LABELS, *(tool.capabilities for tool in granted)))
    for each in rules.sets.values():
        place = _place(rules, "entitlements.yaml", each.id)
        for combination in (*each.prohibited, *each.step_ups):
            missing = combination.capabilities - held
            brought = any(
                _with_private(rules.tools[id].capabilities) & combination.brought_by
                for id in each.tools & within
                if id in rules.tools
            )
            if missing or not brought:
                message = f"no grant can reach the combination `{combination.id}` of set `{each.id}`: " + (
                    f"no tool that anybody is granted has {_listed(missing)}"
                    if missing
                    else f"no tool of the set that anybody is granted brings {_listed(combination.brought_by)}"
                )
                yield Fault(
                    Severity.WARNING,
                    "combination_unreachable",
                    *place,
                    message,
                    "leave it out, or grant a tool that it is about",
                )
    known = frozenset().union(*(tool.capabilities for tool in rules.tools.values()))
    for rule in rules.rules:
        asked = rule.when.get("capability")
        if rule.effect is not Effect.PERMIT and asked is not None and not asked & known:
            message = f"rule `{rule.id}` can never decide as things are: no tool in tools.yaml has {_listed(asked)}"
            yield _at(rule, "never_fires", message, "a tool that nobody registered is withheld, and counts as nothing")


def _with_private(capabilities: frozenset[Capability]) -> frozenset[Capability]:
    """What reads restricted data reads private data."""
    return capabilities | {Capability.READS_PRIVATE} if Capability.READS_RESTRICTED in capabilities else capabilities


def _listed(words: frozenset[str] | frozenset[Capability]) -> str:
    return ", ".join(f"`{word}`" for word in sorted(words))


def _about_parts(rules: RuleSet) -> Iterator[Fault]:
    for name in sorted(parts_left_out(rules.files)):
        message = f"nobody includes `{name}`, so that nothing in it holds"
        yield Fault(Severity.WARNING, "not_included", name, 0, 0, message, "name it under `include`, or take it out")


def _about_apps(rules: RuleSet, today: date) -> list[Fault]:
    """Apps that are only watched: that shall not be forgotten."""
    found = []
    for app in rules.apps.values():
        if app.observing is None:
            continue
        ended = app.observing.end < today
        message = (
            f"the app `{app.id}` was watched until {app.observing.end}, and is held to the rules since"
            if ended
            else f"the app `{app.id}` is only watched until {app.observing.end}, on the word of {app.observing.owner}"
        )
        code = "observe_ended" if ended else "app_observed"
        found.append(Fault(Severity.WARNING, code, *_place(rules, "apps.yaml", app.id), message))
    return found


def _at(rule: Rule, code: str, message: str, hint: str = "", severity: Severity = Severity.WARNING) -> Fault:
    return Fault(severity, code, rule.file, rule.line, rule.column, message, hint)


def _place(rules: RuleSet, file: str, id: str) -> tuple[str, int, int]:
    """File, line and column where something is defined, for people who look for it; line 0 where it is not found."""
    for layer in layers_of(rules.files, file):
        found = _ids(rules.files.get(layer, "")).get(id)
        if found is not None:
            return layer, *found
    return file, 0, 0


@lru_cache(maxsize=64)
def _ids(text: str) -> dict[str, tuple[int, int]]:
    """Where each id of a text is said first."""
    found: dict[str, tuple[int, int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        for match in ID.finditer(line.partition("#")[0]):
            found.setdefault(match[1], (number, match.start() + 1))
    return found
