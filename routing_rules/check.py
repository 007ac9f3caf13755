"""Static faults of a rule set, found exactly over its finite vocabularies: what can never match, what nothing admits, what is overdue."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import islice
from typing import NamedTuple

from routing_rules.catalogue import Review
from routing_rules.faults import Fault, Severity, did_you_mean
from routing_rules.rules import DIMENSIONS, MANY_VALUED_DIMENSIONS, UNDECLARED, Effect, Rule, RuleSet
from routing_rules.sensitivity import LEAST_RECALL
from routing_rules.task import Feature

SOON = timedelta(days=30)
MOST_STEPS = 100_000
"""After so many steps a rule set overlaps too much to be taken apart; that is said, and nothing is claimed."""
MOST_UNCOVERED = 10

PLAIN_DIMENSIONS = ("sensitivity", "access", "complexity", "task", "integrity", "endpoint", "wish", "state", "declared")
APP_DIMENSIONS = ("app", "team")
PURPOSE_DIMENSIONS = ("purpose", "business_impact", "latency_class")
EFFECTS_BEFORE = {
    Effect.FORBID: (Effect.FORBID,),
    Effect.STEP_UP: (Effect.FORBID, Effect.STEP_UP),
    Effect.PERMIT: (Effect.FORBID, Effect.PERMIT),
}
"""Whose earlier match keeps a rule from having any say; a step-up leaves the route in play."""


class TooManySteps(Exception):
    """The overlaps of the rules are too many to be taken apart."""


class Axis(NamedTuple):
    """One thing in which tasks differ. Its words are the bits of a box from `offset` on."""

    name: str
    words: tuple[str, ...]
    offset: int

    @property
    def bits(self) -> int:
        """All of its words."""
        return ((1 << len(self.words)) - 1) << self.offset

    def bit(self, word: str) -> int:
        """One of its words."""
        return 1 << (self.offset + self.words.index(word))


def check(rules: RuleSet, today: date, recalls: Mapping[str, float] = {}) -> list[Fault]:
    """Everything that is worth a look in a rule set that loads. All are warnings, as none of them lets anything through, but one:
    a rule that relies on masking what is not found surely enough. `recalls`: published recall by category or kind of finding.
    """
    faults: list[Fault] = []
    try:
        space = _Space(rules)
        for rule in rules.rules:
            levels = space.levels_reached(rule)
            if levels:
                faults.extend(_uncleared(rules, rule, levels, today))
            else:
                faults.append(_at(rule, "unreachable_rule", f"rule `{rule.id}` can never decide: {_shadows(space, rule)}"))
        for box in islice(space.uncovered(today), MOST_UNCOVERED):
            message = f"no rule admits {space.described(box)}; such tasks are refused"
            faults.append(Fault(Severity.WARNING, "uncovered", "routes.yaml", 0, 0, message))
    except TooManySteps:
        message = "the rules overlap in too many ways to be checked in full for unreachable rules and uncovered tasks"
        faults.append(Fault(Severity.WARNING, "too_many_overlaps", "routes.yaml", 0, 0, message))
    for rule in rules.rules:
        faults.extend(_about_rule(rules, rule, today))
        faults.extend(_about_masking(rule, recalls))
    faults.extend(_about_deployments(rules, today))
    faults.extend(_about_sets(rules, today))
    faults.extend(_about_apps(rules, today))
    return faults


class _Space:
    """All tasks that there can be, over the axes that some rule looks at. A set of tasks is a box: an integer that holds, for
    each axis, the words that a task may show; between two axes one bit is spare.

    App and team are one axis (an app has one team), as are purpose, impact and latency. Each category and each
    capability is an axis of its own, because a task shows any number of them.
    """

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self.steps = 0
        self.axes = self._axes()
        self.everything = sum(axis.bits for axis in self.axes.values())
        self.spare = sum(1 << (axis.offset + len(axis.words)) for axis in self.axes.values())
        self.possible = self._possible()
        self.boxes = {rule.id: self._boxes(rule) for rule in rules.rules}

    def inhabited(self, box: int) -> bool:
        """Whether a box holds a task: some word on every axis. (Adding all ones carries into the spare bit unless all are 0.)"""
        return (box + self.everything) & self.spare == self.spare

    def left(self, box: int, others: Sequence[int]) -> Iterator[int]:
        """What is left of a box without the others, exactly, in pieces that do not overlap. Raises TooManySteps."""
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise TooManySteps
        meeting = [other for other in others if self.inhabited(box & other)]
        if not meeting:
            yield box
            return
        widest = min(meeting, key=lambda other: (((box & ~other) + self.everything) & self.spare).bit_count())
        outside = box & ~widest
        for axis in self.axes.values():
            part = outside & axis.bits
            if part:
                yield from self.left(box & ~axis.bits | part, meeting)
                box &= ~part

    def levels_reached(self, rule: Rule) -> list[int]:
        """Ranks of the sensitivities at which a rule has a say: where it admits a task that no rule before it takes."""
        before = [box for other in self.before(rule) for box in self.boxes[other.id]]
        axis = self.axes["sensitivity"]
        mine = [own & world for own in self.boxes[rule.id] for world in self.possible]
        return [rank for rank, word in enumerate(axis.words) if self._some_left(mine, axis.bits & ~axis.bit(word), before)]

    def _some_left(self, boxes: Sequence[int], barred: int, others: Sequence[int]) -> bool:
        """Whether the boxes, without the words that are barred, hold a task that none of the others does."""
        narrowed = (box & ~barred for box in boxes)
        return any(self.inhabited(box) and next(self.left(box, others), None) is not None for box in narrowed)

    def before(self, rule: Rule) -> list[Rule]:
        """The rules that come before this one wherever both match, and are in force whenever it is."""
        earlier = self.rules.rules[: self.rules.rules.index(rule)]
        return [other for other in earlier if other.effect in EFFECTS_BEFORE[rule.effect] and _covers_in_time(other, rule)]

    def meet(self, one: Rule, other: Rule) -> bool:
        """Whether some task matches both."""
        return any(
            self.inhabited(a & b & world) for a in self.boxes[one.id] for b in self.boxes[other.id] for world in self.possible
        )

    def uncovered(self, today: date) -> Iterator[int]:
        """The tasks that no prohibition and no route admits today."""
        taken = [rule for rule in self.rules.rules if rule.effect is not Effect.STEP_UP and rule.in_force(today)]
        boxes = [box for rule in taken for box in self.boxes[rule.id]]
        for world in self.possible:
            yield from self.left(world, boxes)

    def described(self, box: int) -> str:
        """A box in words: only the axes on which it is narrower than everything."""
        narrow = [
            f"{axis.name} {'/'.join(word for word in axis.words if box & axis.bit(word))}"
            for axis in self.axes.values()
            if box & axis.bits != axis.bits
        ]
        return "tasks with " + ", ".join(narrow) if narrow else "any task"

    def _axes(self) -> dict[str, Axis]:
        used = frozenset({"sensitivity"}).union(*(rule.when for rule in self.rules.rules))
        words: dict[str, tuple[str, ...]] = {name: DIMENSIONS[name] for name in PLAIN_DIMENSIONS if name in used}
        if used & set(APP_DIMENSIONS) and self.rules.apps:
            words["app"] = tuple(self.rules.apps)
        if used & set(PURPOSE_DIMENSIONS):
            words["purpose"] = tuple(self.rules.purposes)
        for dimension in MANY_VALUED_DIMENSIONS:
            listed = frozenset().union(*(rule.when.get(dimension, frozenset()) for rule in self.rules.rules))
            words |= {f"{dimension}:{word}": ("absent", "present") for word in sorted(listed)}
        axes, offset = {}, 0
        for name, own in words.items():
            axes[name] = Axis(name, own, offset)
            offset += len(own) + 1
        return axes

    def _possible(self) -> list[int]:
        """Everything, but what was declared is never above what the content counts as."""
        if "declared" not in self.axes:
            return [self.everything]
        declared, sensitivity = self.axes["declared"], self.axes["sensitivity"]
        worlds = []
        for word in declared.words:
            least = 0 if word == UNDECLARED else sensitivity.words.index(word)
            levels = sum(sensitivity.bit(level) for level in sensitivity.words[least:])
            worlds.append(self.everything & ~(declared.bits | sensitivity.bits) | declared.bit(word) | levels)
        return worlds

    def _boxes(self, rule: Rule) -> list[int]:
        """What a rule admits, as boxes that do not overlap."""
        boxes = [sum(axis.bit(word) for axis in self.axes.values() for word in axis.words if self._admits(rule, axis.name, word))]
        for dimension in MANY_VALUED_DIMENSIONS:
            listed = sorted(rule.when.get(dimension, frozenset()))
            if listed:
                boxes = [
                    split for box in boxes for split in self._any_of(box, [self.axes[f"{dimension}:{word}"] for word in listed])
                ]
        return [box for box in boxes if self.inhabited(box)]

    def _any_of(self, box: int, axes: Sequence[Axis]) -> list[int]:
        """At least one of these is present: the first is, or it is absent and the second is, and so on."""
        found = []
        for axis in axes:
            found.append(box & ~axis.bit("absent"))
            box &= ~axis.bit("present")
        return found

    def _admits(self, rule: Rule, axis: str, word: str) -> bool:
        if axis == "app":
            return _listed(rule, "app", word) and _listed(rule, "team", self.rules.apps[word].team)
        if axis == "purpose":
            purpose = self.rules.purposes[word]
            impact = _listed(rule, "business_impact", str(purpose.business_impact))
            return _listed(rule, "purpose", word) and impact and _listed(rule, "latency_class", purpose.latency_class)
        return _listed(rule, axis, word)


def _listed(rule: Rule, dimension: str, word: str) -> bool:
    words = rule.when.get(dimension)
    return words is None or word in words


def _covers_in_time(other: Rule, rule: Rule) -> bool:
    """Whether `other` is in force on every day on which `rule` is."""
    begins = other.valid_from is None or (rule.valid_from is not None and other.valid_from <= rule.valid_from)
    ends = other.valid_until is None or (rule.valid_until is not None and rule.valid_until <= other.valid_until)
    return begins and ends


def _shadows(space: _Space, rule: Rule) -> str:
    if not space.boxes[rule.id]:
        return "nothing meets all of its conditions"
    names = ", ".join(f"`{other.id}`" for other in space.before(rule) if space.meet(other, rule))
    return f"whatever it admits is decided before by {names}" if names else "nothing meets all of its conditions"


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
        place = ("models.yaml", _line(rules, "models.yaml", deployment.id))
        for kind, review, consequence in (
            ("access_review", deployment.access_review, "it receives public content only"),
            ("capability_review", deployment.capability_review, "what it is said to be able to do is nobody's word any more"),
        ):
            found += _about_review(deployment.id, kind, review, consequence, place, today)
        if not deployment.price.known:
            message = f"deployment `{deployment.id}` has no full price: it is no candidate under a limit in money"
            found.append(Fault(Severity.WARNING, "no_price", *place, 1, message, "give it a `price` or an `assumed_price`"))
    return found


def _about_review(
    id: str, kind: str, review: Review | None, consequence: str, place: tuple[str, int], today: date
) -> list[Fault]:
    name = kind.replace("_", " ")
    if review is None:
        return [
            Fault(
                Severity.WARNING,
                f"no_{kind}",
                *place,
                1,
                f"deployment `{id}` has no {name}",
                f"add `{kind}` with reviewer and expires",
            )
        ]
    if review.expires < today:
        return [
            Fault(
                Severity.WARNING,
                f"{kind}_overdue",
                *place,
                1,
                f"the {name} of deployment `{id}` expired on {review.expires}: {consequence}",
            )
        ]
    if review.expires - today <= SOON:
        return [Fault(Severity.WARNING, f"{kind}_due", *place, 1, f"the {name} of deployment `{id}` expires on {review.expires}")]
    return []


def _about_sets(rules: RuleSet, today: date) -> list[Fault]:
    found = []
    for each in rules.sets.values():
        place = ("entitlements.yaml", _line(rules, "entitlements.yaml", each.id))
        if each.review_by < today:
            found.append(
                Fault(
                    Severity.WARNING,
                    "set_overdue",
                    *place,
                    1,
                    f"the review of set `{each.id}` was due on {each.review_by}: it grants nothing",
                )
            )
        elif each.review_by - today <= SOON:
            found.append(
                Fault(Severity.WARNING, "set_due", *place, 1, f"the review of set `{each.id}` is due on {each.review_by}")
            )
    return found


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
        found.append(Fault(Severity.WARNING, code, "apps.yaml", _line(rules, "apps.yaml", app.id), 1, message))
    return found


def _at(rule: Rule, code: str, message: str) -> Fault:
    return Fault(Severity.WARNING, code, rule.file, rule.line, rule.column, message)


def _line(rules: RuleSet, file: str, id: str) -> int:
    """The line where something is defined, for people who look for it; 0 where it is not found."""
    pattern = re.compile(rf"^[^#]*\bid:\s*[\"']?{re.escape(id)}[\"']?\s*(,|\}}|#|$)")
    lines = rules.files.get(file, "").splitlines()
    return next((number for number, line in enumerate(lines, 1) if pattern.match(line)), 0)
