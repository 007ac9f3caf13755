"""Why a task was decided as it was: the deciding rule, why the others did not, and the nearest change that would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import TypeVar

import msgspec

from routing_rules.decide import decide
from routing_rules.decisions import Decision, Hold, Permit
from routing_rules.entitlements import capabilities_of
from routing_rules.facts import Facts
from routing_rules.rules import AUTO_WISHES, Effect, Rule, RuleSet, shown, wish_kind
from routing_rules.vocabulary import Access, Complexity, Integrity, Ordered, ScanState, Sensitivity, TaskKind

L = TypeVar("L", bound=Ordered)

MOST_CHANGES = 5
"""How many of the nearest changes are told."""


class Loser(msgspec.Struct, frozen=True):
    """A rule that did not decide. `dimension` is its first condition that failed, with what it admits and what the task
    shows; empty where all conditions held and a stronger or earlier rule came first."""

    rule: str
    effect: Effect
    dimension: str
    admits: tuple[str, ...]
    shows: tuple[str, ...]
    why: str


class Change(msgspec.Struct, frozen=True):
    """One thing about a task that could be different."""

    dimension: str
    before: str
    after: str


class Nearest(msgspec.Struct, frozen=True):
    """What would have been decided otherwise, had these one or two things been different."""

    changes: tuple[Change, ...]
    rule: str
    outcome: str  # permit, hold, or the code of a refusal
    tier: str | None


class Explanation(msgspec.Struct, frozen=True):
    """A decision with its reasons. `reason` and `owner` are the deciding rule's, empty where no written rule decided."""

    decision: Decision
    rule: str
    reason: str
    owner: str
    serves: tuple[str, ...]
    losers: tuple[Loser, ...]
    nearest: tuple[Nearest, ...]


def explain(rules: RuleSet, facts: Facts) -> Explanation:
    """Why `decide` comes to its answer on these facts. Pure; takes milliseconds, as it decides many neighbours."""
    decision = decide(rules, facts)
    decider = next((rule for rule in rules.rules if rule.id == decision.rule), None)
    return Explanation(
        decision=decision,
        rule=decision.rule,
        reason=decider.reason if decider else "",
        owner=decider.owner if decider else "",
        serves=decider.serves if decider else (),
        losers=_losers(rules, facts, decision, decider),
        nearest=_nearest(rules, facts, decision),
    )


def _losers(rules: RuleSet, facts: Facts, decision: Decision, decider: Rule | None) -> tuple[Loser, ...]:
    if facts.caller.purpose not in rules.purposes:
        return ()
    capabilities = frozenset().union(*(capabilities_of(rules, ask) or frozenset() for ask in facts.tools))
    task = shown(rules, facts, capabilities)
    losers = []
    for rule in rules.rules:
        if rule is decider:
            continue
        failed = next((dimension for dimension, words in rule.when.items() if not words & task[dimension]), "")
        if failed:
            admits, shows = tuple(sorted(rule.when[failed])), tuple(sorted(task[failed]))
            why = f"it admits {failed} {_listed(admits)}, and the task shows {_listed(shows)}"
        else:
            admits, shows = (), ()
            why = "it is not in force on this day" if not rule.in_force(facts.now.date()) else _beaten(rule, decider, decision)
        losers.append(Loser(rule=rule.id, effect=rule.effect, dimension=failed, admits=admits, shows=shows, why=why))
    return tuple(losers)


def _beaten(rule: Rule, decider: Rule | None, decision: Decision) -> str:
    if decider is None:
        return f"it matches, but `{decision.rule}` holds under every rule set and comes first"
    if isinstance(decision, Hold) and decision.permit.rule == rule.id:
        return f"it matches and decides what an approval would allow, but `{decider.id}` asks for the approval first"
    if rule.effect is decider.effect:
        return f"it matches, but `{decider.id}` stands before it"
    return f"it matches, but `{decider.id}` is a {decider.effect} and a {rule.effect} gives way to it"


def _nearest(rules: RuleSet, facts: Facts, decision: Decision) -> tuple[Nearest, ...]:
    """The smallest changes that lead to another rule; for a refusal or a hold, to a permit if any does."""
    wanted: list[Callable[[Decision], bool]] = [lambda other: other.rule != decision.rule]
    if not isinstance(decision, Permit):
        wanted.insert(0, lambda other: isinstance(other, Permit))
    singles = list(_changes(rules, facts))
    pairs = [(a, b) for a, b in combinations(singles, 2) if a[0].dimension != b[0].dimension]
    groups = ([(single,) for single in singles], pairs)
    decided = [
        [(tuple(change for change, _ in steps), decide(rules, _applied(facts, [f for _, f in steps]))) for steps in group]
        for group in groups
    ]
    for is_wanted in wanted:
        for neighbours in decided:
            found = _distinct([_told(changes, other) for changes, other in neighbours if is_wanted(other)])
            if found:
                return found[:MOST_CHANGES]
    return ()


def _distinct(found: list[Nearest]) -> tuple[Nearest, ...]:
    """The first change for each other outcome comes first; what only repeats an outcome follows."""
    seen: set[tuple[str, str]] = set()
    first: list[Nearest] = []
    rest: list[Nearest] = []
    for each in found:
        (rest if (each.rule, each.outcome) in seen else first).append(each)
        seen.add((each.rule, each.outcome))
    return (*first, *rest)


def _told(changes: tuple[Change, ...], decision: Decision) -> Nearest:
    if isinstance(decision, Permit):
        return Nearest(changes, decision.rule, "permit", decision.tier)
    if isinstance(decision, Hold):
        return Nearest(changes, decision.rule, "hold", decision.permit.tier)
    return Nearest(changes, decision.rule, decision.code, None)


def _applied(facts: Facts, steps: list[Callable[[Facts], Facts]]) -> Facts:
    for step in steps:
        facts = step(facts)
    return facts


def _changes(rules: RuleSet, facts: Facts) -> Iterator[tuple[Change, Callable[[Facts], Facts]]]:
    """Every single thing that could be different about a task, nearest first within an ordered dimension."""
    labels = facts.labels
    for level in _by_distance(list(Sensitivity), labels.confidentiality):
        yield Change("sensitivity", str(labels.confidentiality), str(level)), _labelling(confidentiality=level)
    for category in sorted(facts.categories):
        yield Change("category", category, "none of it"), _setting(categories=facts.categories - {category})
    for task in TaskKind:
        if task != facts.task:
            yield Change("task", str(facts.task), str(task)), _setting(task=task)
    for complexity in _by_distance(list(Complexity), facts.complexity):
        yield Change("complexity", str(facts.complexity), str(complexity)), _setting(complexity=complexity)
    for access in _by_distance(list(Access), facts.access):
        yield Change("access", str(facts.access), str(access)), _setting(access=access)
    if facts.tools:
        yield Change("capability", f"{len(facts.tools)} tools asked for", "no tools"), _setting(tools=())
    app = rules.apps.get(facts.caller.app)
    for purpose in app.purposes if app is not None else ():
        if purpose != facts.caller.purpose:
            caller = msgspec.structs.replace(facts.caller, purpose=purpose)
            yield Change("purpose", facts.caller.purpose, purpose), _setting(caller=caller)
    for wish in AUTO_WISHES:
        if wish != facts.wish:
            yield Change("wish", wish_kind(facts.wish), wish), _setting(wish=wish)
    for integrity in _by_distance(list(Integrity), labels.integrity):
        yield Change("integrity", str(labels.integrity), str(integrity)), _labelling(integrity=integrity)
    for state in ScanState:
        if state != facts.state:
            yield Change("state", str(facts.state), str(state)), _setting(state=state)
    if facts.session_ended is not None:
        yield Change("session", "ended", "new"), _setting(session_ended=None)
    for feature in sorted(facts.features):
        yield Change("feature", str(feature), "not asked for"), _setting(features=facts.features - {feature})
    for name in sorted(facts.extra_fields):
        yield Change("field", "sent", "left out"), _setting(extra_fields=facts.extra_fields - {name})


def _setting(**values: object) -> Callable[[Facts], Facts]:
    return lambda facts: msgspec.structs.replace(facts, **values)


def _labelling(**values: object) -> Callable[[Facts], Facts]:
    return lambda facts: msgspec.structs.replace(facts, labels=msgspec.structs.replace(facts.labels, **values))


def _by_distance(members: list[L], present: L) -> list[L]:
    """The other members of an ordered vocabulary, the next ones first."""
    return sorted((member for member in members if member != present), key=lambda member: abs(member.rank - present.rank))


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(f"`{word}`" for word in words) or "nothing"
