"""Static faults of a rule set, found exactly over its finite vocabularies: what can never match, what nothing admits, what is overdue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, timedelta

from routing_rules.catalogue import Review
from routing_rules.faults import Fault, Severity
from routing_rules.rules import DIMENSIONS, MANY_VALUED_DIMENSIONS, UNDECLARED, Effect, Rule, RuleSet
from routing_rules.task import Feature

Box = tuple[int, ...]
"""A set of tasks: for each axis the words it may show, as bits; a task lies within if each of its words is among them."""

SOON = timedelta(days=30)
MOST_BOXES = 20_000
"""Above this many pieces a rule set overlaps too much to be taken apart; that is said, and nothing is claimed."""

ABSENT, PRESENT = 1, 2
PLAIN_DIMENSIONS = ("sensitivity", "access", "complexity", "task", "integrity", "endpoint", "wish", "state", "declared")
APP_DIMENSIONS = ("app", "team")
PURPOSE_DIMENSIONS = ("purpose", "business_impact", "latency_class")
EFFECTS_BEFORE = {
    Effect.FORBID: (Effect.FORBID,),
    Effect.STEP_UP: (Effect.FORBID, Effect.STEP_UP),
    Effect.PERMIT: (Effect.FORBID, Effect.PERMIT),
}
"""Whose earlier match keeps a rule from having any say; a step-up leaves the route in play."""


class TooManyBoxes(Exception):
    """The overlaps of the rules are too many to be taken apart."""


def check(rules: RuleSet, today: date) -> list[Fault]:
    """Everything that is worth a look in a rule set that loads. All are warnings: none of them lets anything through."""
    space = _Space(rules)
    faults: list[Fault] = []
    try:
        reachable = {rule.id: space.reachable(rule) for rule in rules.rules}
        for rule in rules.rules:
            if not reachable[rule.id]:
                faults.append(_at(rule, "unreachable_rule", f"rule `{rule.id}` can never decide: {_shadows(space, rule)}"))
        for box in space.uncovered(today):
            faults.append(
                Fault(
                    Severity.WARNING,
                    "uncovered",
                    "routes.yaml",
                    0,
                    0,
                    f"no rule admits {space.described(box)}; such tasks are refused",
                )
            )
        for rule in rules.rules:
            faults.extend(_uncleared(rules, space, rule, reachable[rule.id], today))
    except TooManyBoxes:
        message = "the rules overlap in too many ways to be checked for unreachable rules and uncovered tasks"
        faults.append(Fault(Severity.WARNING, "too_many_overlaps", "routes.yaml", 0, 0, message))
    for rule in rules.rules:
        faults.extend(_about_rule(rules, rule, today))
    faults.extend(_about_deployments(rules, today))
    faults.extend(_about_sets(rules, today))
    return faults


class _Space:
    """All tasks that there can be, as boxes over the axes that some rule looks at.

    App and team are one axis (an app has one team), as are purpose, impact and latency. Each category and each
    capability is an axis of its own, because a task shows any number of them.
    """

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        used = frozenset().union(*(rule.when for rule in rules.rules))
        self.axes: list[tuple[str, tuple[str, ...]]] = [(name, DIMENSIONS[name]) for name in PLAIN_DIMENSIONS if name in used]
        if used & set(APP_DIMENSIONS) and rules.apps:
            self.axes.append(("app", tuple(rules.apps)))
        if used & set(PURPOSE_DIMENSIONS):
            self.axes.append(("purpose", tuple(rules.purposes)))
        for dimension in MANY_VALUED_DIMENSIONS:
            words = sorted(frozenset().union(*(rule.when.get(dimension, frozenset()) for rule in rules.rules)))
            self.axes += [(f"{dimension}:{word}", ("absent", "present")) for word in words]
        self.position = {name: i for i, (name, _) in enumerate(self.axes)}
        self.boxes = {rule.id: self._boxes(rule) for rule in rules.rules}

    def everything(self) -> list[Box]:
        """All possible tasks: what was declared is never above what the content counts as."""
        full = [(1 << len(words)) - 1 for _, words in self.axes]
        if "declared" not in self.position or "sensitivity" not in self.position:
            return [tuple(full)]
        levels = DIMENSIONS["sensitivity"]
        boxes = []
        for word in DIMENSIONS["declared"]:
            least = 0 if word == UNDECLARED else levels.index(word)
            box = list(full)
            box[self.position["declared"]] = 1 << DIMENSIONS["declared"].index(word)
            box[self.position["sensitivity"]] = full[self.position["sensitivity"]] & ~((1 << least) - 1)
            boxes.append(tuple(box))
        return boxes

    def reachable(self, rule: Rule) -> list[Box]:
        """The tasks on which a rule has a say: those that it admits and no rule before it takes."""
        left = [box for own in self.boxes[rule.id] for box in _common(self.everything(), own)]
        for other in self.before(rule):
            left = _without(left, self.boxes[other.id])
        return left

    def before(self, rule: Rule) -> list[Rule]:
        """The rules that come before this one wherever both match, and are in force whenever it is."""
        earlier = self.rules.rules[: self.rules.rules.index(rule)]
        return [other for other in earlier if other.effect in EFFECTS_BEFORE[rule.effect] and _covers_in_time(other, rule)]

    def meet(self, one: Rule, other: Rule) -> bool:
        """Whether some task matches both."""
        return any(_common([a], b) for a in self.boxes[one.id] for b in self.boxes[other.id])

    def uncovered(self, today: date) -> list[Box]:
        """The tasks that no prohibition and no route admits today."""
        left = self.everything()
        for rule in self.rules.rules:
            if rule.effect is not Effect.STEP_UP and rule.in_force(today):
                left = _without(left, self.boxes[rule.id])
        return left

    def levels(self, boxes: Iterable[Box]) -> list[int]:
        """The ranks of sensitivity that occur in these boxes."""
        if "sensitivity" not in self.position:
            return list(range(len(DIMENSIONS["sensitivity"]))) if boxes else []
        bits = 0
        for box in boxes:
            bits |= box[self.position["sensitivity"]]
        return [rank for rank in range(len(DIMENSIONS["sensitivity"])) if bits >> rank & 1]

    def described(self, box: Box) -> str:
        """A box in words: only the axes on which it is narrower than everything."""
        narrow = []
        for (name, words), bits in zip(self.axes, box, strict=True):
            if bits != (1 << len(words)) - 1:
                narrow.append(f"{name} {'/'.join(word for i, word in enumerate(words) if bits >> i & 1)}")
        return "tasks with " + ", ".join(narrow) if narrow else "any task"

    def _boxes(self, rule: Rule) -> list[Box]:
        """What a rule admits, as boxes that do not overlap."""
        base = []
        for name, words in self.axes:
            base.append(sum(1 << i for i, word in enumerate(words) if self._admits(rule, name, word)))
        boxes = [tuple(base)]
        for dimension in MANY_VALUED_DIMENSIONS:
            listed = sorted(rule.when.get(dimension, frozenset()))
            if listed:
                boxes = [
                    split
                    for box in boxes
                    for split in self._any_of(box, [self.position[f"{dimension}:{word}"] for word in listed])
                ]
        return [box for box in boxes if all(box)]

    def _any_of(self, box: Box, positions: Sequence[int]) -> list[Box]:
        """At least one of these is present: the first is, or it is absent and the second is, and so on."""
        found, rest = [], list(box)
        for position in positions:
            found.append((*rest[:position], PRESENT, *rest[position + 1 :]))
            rest[position] = ABSENT
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


def _common(boxes: Iterable[Box], other: Box) -> list[Box]:
    """What the boxes share with another."""
    met = (tuple(a & b for a, b in zip(box, other, strict=True)) for box in boxes)
    return [box for box in met if all(box)]


def _without(boxes: list[Box], others: Iterable[Box]) -> list[Box]:
    """The boxes less the others, exactly, in pieces that do not overlap. Raises TooManyBoxes."""
    for other in others:
        left: list[Box] = []
        for box in boxes:
            if not all(a & b for a, b in zip(box, other, strict=True)):
                left.append(box)
                continue
            rest = list(box)
            for i, bits in enumerate(other):
                outside = rest[i] & ~bits
                if outside:
                    left.append((*rest[:i], outside, *rest[i + 1 :]))
                    rest[i] &= bits
        if len(left) > MOST_BOXES:
            raise TooManyBoxes
        boxes = left
    return boxes


def _shadows(space: _Space, rule: Rule) -> str:
    if not space.boxes[rule.id]:
        return "nothing meets all of its conditions"
    names = ", ".join(f"`{other.id}`" for other in space.before(rule) if space.meet(other, rule))
    return f"whatever it admits is decided before by {names}" if names else "nothing meets all of its conditions"


def _uncleared(rules: RuleSet, space: _Space, rule: Rule, reachable: list[Box], today: date) -> list[Fault]:
    """Sensitivities that a route permits and that none of its deployments is cleared for."""
    route = rules.index.routes.get(rule.id)
    if route is None or not reachable:
        return []
    levels = [
        DIMENSIONS["sensitivity"][rank]
        for rank in space.levels(reachable)
        if not any(slot.cleared_for(rank, today) for slot in route.slots if Feature.EMBEDDINGS not in slot.features)
    ]
    if not levels:
        return []
    words = ", ".join(f"`{level}`" for level in levels)
    return [
        _at(
            rule,
            "nobody_cleared",
            f"rule `{rule.id}` admits {words} content, and no deployment it may use is cleared for it; it is refused",
        )
    ]


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


def _at(rule: Rule, code: str, message: str) -> Fault:
    return Fault(Severity.WARNING, code, rule.file, rule.line, rule.column, message)


def _line(rules: RuleSet, file: str, id: str) -> int:
    """The line where something is defined, for people who look for it; 0 where it is not found."""
    pattern = re.compile(rf"^[^#]*\bid:\s*[\"']?{re.escape(id)}[\"']?\s*(,|\}}|#|$)")
    lines = rules.files.get(file, "").splitlines()
    return next((number for number, line in enumerate(lines, 1) if pattern.match(line)), 0)
