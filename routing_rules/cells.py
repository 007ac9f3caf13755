"""The tasks that rules can tell apart, exactly: each as the set of the rules that it matches, however many words there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from routing_rules.rules import DIMENSIONS, MANY_VALUED_DIMENSIONS, UNDECLARED, Rule, RuleSet

MOST_SETS = 1_000_000
"""With more sets of rules than this that some task matches, nothing is claimed, and that is said."""

MOST_SEEDS = 1_000
"""Of the boxes outside some rules so many are looked at."""

PLAIN_DIMENSIONS = ("access", "complexity", "task", "integrity", "endpoint", "wish", "state")
APP_DIMENSIONS = ("app", "team")
PURPOSE_DIMENSIONS = ("purpose", "business_impact", "latency_class")
TOLD_IN_ORDER = ("sensitivity", "declared", *PLAIN_DIMENSIONS, "app", "purpose", *MANY_VALUED_DIMENSIONS)
NONE_OF_THESE = "none that a rule names"


class TooManyCells(Exception):
    """The rules tell more tasks apart than can be looked at."""


class Kind(NamedTuple):
    """Tasks that no rule tells apart on an axis. `matching`: the rules that admit them there, as bits; `members`: what they show,
    a word for each dimension of the axis."""

    matching: int
    members: tuple[tuple[str, ...], ...]


class Axis(NamedTuple):
    """One thing in which tasks differ, by one or several dimensions that hang together."""

    dimensions: tuple[str, ...]
    kinds: tuple[Kind, ...]


Box = tuple[tuple[Kind, ...], ...]
"""For each axis the kinds that it may be: all tasks with any of them."""


class Cells:
    """All tasks that there can be under a rule set, over the dimensions that some rule looks at.

    A label is never above the content, an app has one team and its own purposes, a purpose one impact; a task shows any number of
    categories and capabilities. What rules cannot tell apart is one cell, so this is exact. Bit i stands for the i-th rule.
    Raises TooManyCells.
    """

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        labels, *others = self._axes()
        self.axes = (labels, *sorted(others, key=lambda axis: len(axis.kinds)))  # what branches most is looked at last
        self._extents = [
            tuple(sum(1 << i for i, kind in enumerate(axis.kinds) if kind.matching >> place & 1) for axis in self.axes)
            for place in range(len(rules.rules))
        ]
        self.by_level = self._by_level()
        """For each sensitivity, every set of rules that some task of it matches."""

    def inhabited(self, place: int) -> bool:
        """Whether some task meets all conditions of the rule at this place."""
        return all(self._extents[place])

    def within(self, place: int, other: int) -> bool:
        """Whether one rule admits only what another admits, too."""
        return all(not mine & ~theirs for mine, theirs in zip(self._extents[place], self._extents[other], strict=True))

    def outside(self, covering: int) -> Iterator[Box]:
        """The tasks that none of these rules admits, in boxes that are as wide as they can be and may overlap."""
        found: list[Box] = []
        for seed in islice(self._outside(0, covering, (), set()), MOST_SEEDS):
            if not any(_holds(box, seed) for box in found):
                found.append(self._grown(seed, covering))
                yield found[-1]

    def described(self, box: Box) -> str:
        """A box in words: only what narrows it."""
        narrow = {}
        for axis, kinds in zip(self.axes, box, strict=True):
            if len(kinds) == len(axis.kinds):
                continue
            for place, dimension in enumerate(axis.dimensions):
                everything = dict.fromkeys(member[place] for kind in axis.kinds for member in kind.members)
                shown = dict.fromkeys(member[place] for kind in kinds for member in kind.members)
                if len(shown) < len(everything):
                    narrow[dimension] = "/".join(word for word in everything if word in shown)
        told = [f"{dimension} {narrow[dimension]}" for dimension in TOLD_IN_ORDER if dimension in narrow]
        return "tasks with " + ", ".join(told) if told else "any task"

    def _axes(self) -> Iterator[Axis]:
        used = frozenset().union(*(rule.when for rule in self.rules.rules))
        yield self._labels("declared" in used)
        for dimension in PLAIN_DIMENSIONS:
            if dimension in used:
                yield _axis((dimension,), (((word,), self._admitting(dimension, word)) for word in DIMENSIONS[dimension]))
        if used & set(APP_DIMENSIONS) and self.rules.apps:
            yield self._callers()
        elif used & set(PURPOSE_DIMENSIONS):
            yield _axis(("purpose",), (((word,), self._of_purpose(word)) for word in self.rules.purposes))
        for dimension in MANY_VALUED_DIMENSIONS:
            if dimension in used:
                yield _axis((dimension,), self._any_number(dimension))

    def _labels(self, declared: bool) -> Axis:
        """What the content counts as, and the label that was declared: never above it."""
        levels = DIMENSIONS["sensitivity"]
        masks = {level: self._admitting("sensitivity", level) for level in levels}
        if not declared:
            return _axis(("sensitivity",), (((level,), masks[level]) for level in levels))
        pairs = ((level, word) for i, level in enumerate(levels) for word in (UNDECLARED, *levels[: i + 1]))
        told = {word: self._admitting("declared", word) for word in DIMENSIONS["declared"]}
        return _axis(("sensitivity", "declared"), ((pair, masks[pair[0]] & told[pair[1]]) for pair in pairs))

    def _callers(self) -> Axis:
        """The apps, each with the purposes that it holds."""
        pairs = ((app, purpose) for app in self.rules.apps.values() for purpose in app.purposes)
        return _axis(
            ("app", "purpose"),
            (
                (
                    (app.id, purpose),
                    self._admitting("app", app.id) & self._admitting("team", app.team) & self._of_purpose(purpose),
                )
                for app, purpose in pairs
            ),
        )

    def _of_purpose(self, word: str) -> int:
        purpose = self.rules.purposes[word]
        return (
            self._admitting("purpose", word)
            & self._admitting("business_impact", str(purpose.business_impact))
            & self._admitting("latency_class", purpose.latency_class)
        )

    def _any_number(self, dimension: str) -> Iterator[tuple[tuple[str, ...], int]]:
        """The fewest words with which each set of rules is reached, as a task may show any number of them."""
        indifferent = sum(1 << i for i, rule in enumerate(self.rules.rules) if dimension not in rule.when)
        named = sorted(frozenset().union(*(rule.when.get(dimension, frozenset()) for rule in self.rules.rules)))
        reached: dict[int, tuple[str, ...]] = {indifferent: ()}
        for word in named:
            mask = self._admitting(dimension, word)
            for known, words in list(reached.items()):
                if len(reached) > MOST_SETS:
                    raise TooManyCells
                shorter = reached.get(known | mask)
                if shorter is None or len(shorter) > len(words) + 1:
                    reached[known | mask] = (*words, word)
        for mask, words in reached.items():
            yield (" and ".join(words) or NONE_OF_THESE,), mask

    def _admitting(self, dimension: str, word: str) -> int:
        return sum(1 << i for i, rule in enumerate(self.rules.rules) if admits(rule, dimension, word))

    def _by_level(self) -> Mapping[str, frozenset[int]]:
        everywhere = {(1 << len(self.rules.rules)) - 1}
        for axis in self.axes[1:]:
            masks = [kind.matching for kind in axis.kinds]
            if len(everywhere) * len(masks) > MOST_SETS:
                raise TooManyCells
            everywhere = {known & mask for known in everywhere for mask in masks}
        found = {}
        for level in DIMENSIONS["sensitivity"]:
            masks = [kind.matching for kind in self.axes[0].kinds if any(member[0] == level for member in kind.members)]
            found[level] = frozenset({known & mask for known in everywhere for mask in masks})
        return found

    def _outside(self, place: int, covering: int, chosen: Box, closed: set[tuple[int, int]]) -> Iterator[Box]:
        """Boxes outside these rules that do not overlap. `closed`: where nothing was found, so that nobody looks there twice."""
        rest = tuple(axis.kinds for axis in self.axes[place:])
        if not covering:
            yield (*chosen, *rest)
        elif rest and (place, covering) not in closed:
            found = False
            for kind in rest[0]:
                left = covering & kind.matching
                if not left:
                    found = True
                    yield (*chosen, (kind,), *rest[1:])
                elif len(rest) > 1:
                    for box in self._outside(place + 1, left, (*chosen, (kind,)), closed):
                        found = True
                        yield box
            if not found:
                closed.add((place, covering))

    def _grown(self, box: Box, covering: int) -> Box:
        """The box with every kind more, axis by axis, with which it still lies outside these rules."""
        grown = list(box)
        for place, axis in enumerate(self.axes):
            others = covering
            for other, kinds in enumerate(grown):
                if other != place:
                    others &= _any_of(kinds)
            grown[place] = tuple(kind for kind in axis.kinds if not kind.matching & others)
        return tuple(grown)


def admits(rule: Rule, dimension: str, word: str) -> bool:
    """Whether the rule's condition on a dimension admits a word."""
    words = rule.when.get(dimension)
    return words is None or word in words


def bits(of: int) -> Iterator[int]:
    """The places of the bits that are set, lowest first."""
    while of:
        yield (of & -of).bit_length() - 1
        of &= of - 1


def _axis(dimensions: tuple[str, ...], members: Iterable[tuple[tuple[str, ...], int]]) -> Axis:
    """Members that the same rules admit are one kind."""
    alike: dict[int, list[tuple[str, ...]]] = {}
    for member, mask in members:
        alike.setdefault(mask, []).append(member)
    return Axis(dimensions, tuple(Kind(mask, tuple(words)) for mask, words in alike.items()))


def _any_of(kinds: Sequence[Kind]) -> int:
    found = 0
    for kind in kinds:
        found |= kind.matching
    return found


def _holds(box: Box, seed: Box) -> bool:
    return all(outer == inner or set(inner) <= set(outer) for outer, inner in zip(box, seed, strict=True))
