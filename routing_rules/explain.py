"""Why a task was decided as it was: the deciding rule, why the others did not, and the nearest change that would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import combinations
from typing import NamedTuple, TypeVar

import msgspec

from routing_rules.decide import (
    APP_CLEARANCE,
    GOVERNED_PURPOSE,
    KNOWN_APP,
    KNOWN_MODEL,
    SESSION_ENDED,
    SHORT_NAME,
    TOOL_FEATURES,
    decide,
)
from routing_rules.decisions import Decision, Hold, Permit
from routing_rules.entitlements import capabilities_of, grant_key
from routing_rules.facts import Facts
from routing_rules.rules import AUTO_WISHES, UNDECLARED, Effect, Rule, RuleSet, shown, wish_kind
from routing_rules.task import Endpoint, ToolChoice
from routing_rules.vocabulary import Access, Complexity, Integrity, Ordered, ScanState, Sensitivity, TaskKind

L = TypeVar("L", bound=Ordered)

MOST_CHANGES = 5
"""How many of the nearest changes are told."""


class Clause(msgspec.Struct, frozen=True):
    """One condition of the rule that decided: what it asks of a task, and what this task shows. Where the router itself decided, what
    it asks for is what the task does not show."""

    dimension: str
    admits: tuple[str, ...]
    shows: tuple[str, ...]


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
    """One thing about a task that could be different. All else is taken to stay as it is, also what would often follow from it."""

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
    """A decision with its reasons. `reason` and `owner` are the deciding rule's, empty where no written rule decided; `clauses` are its
    conditions, all of which the task met (none: it admits every task)."""

    decision: Decision
    rule: str
    reason: str
    owner: str
    serves: tuple[str, ...]
    clauses: tuple[Clause, ...]
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
        clauses=_clauses(rules, facts, decision, decider),
        losers=_losers(rules, facts, decision, decider),
        nearest=_nearest(rules, facts, decision),
    )


def outcome_of(decision: Decision) -> tuple[str, str, str | None]:
    """(`permit`, `hold` or the code of a refusal; the rule; the tier, None where there is none): what makes two decisions differ."""
    if isinstance(decision, Permit):
        return "permit", decision.rule, decision.tier
    if isinstance(decision, Hold):
        return "hold", decision.rule, decision.permit.tier
    return decision.code, decision.rule, None


def _shown(rules: RuleSet, facts: Facts) -> dict[str, frozenset[str]]:
    capabilities = frozenset().union(*(capabilities_of(rules, ask) or frozenset() for ask in facts.tools))
    return shown(rules, facts, capabilities)


def _clauses(rules: RuleSet, facts: Facts, decision: Decision, decider: Rule | None) -> tuple[Clause, ...]:
    if decider is not None:
        task = _shown(rules, facts)
        return tuple(
            Clause(dimension, tuple(sorted(words)), tuple(sorted(words & task[dimension])))
            for dimension, words in decider.when.items()
        )
    caller = facts.caller
    app = rules.apps.get(caller.app)
    standing = {
        SESSION_ENDED: Clause("session", ("live",), (facts.session_ended or "",)),
        KNOWN_MODEL: Clause("wish", AUTO_WISHES, (_name(facts.wish),)),
        KNOWN_APP: Clause("app", tuple(sorted(rules.apps)), (caller.app,)),
        GOVERNED_PURPOSE: Clause("purpose", app.purposes if app is not None else (), (caller.purpose,)),
        APP_CLEARANCE: Clause(
            "sensitivity",
            tuple(str(level) for level in Sensitivity if level <= caller.clearance),
            (str(facts.labels.confidentiality),),
        ),
    }
    found = standing.get(decision.rule)
    return () if found is None else (found,)


def _losers(rules: RuleSet, facts: Facts, decision: Decision, decider: Rule | None) -> tuple[Loser, ...]:
    if facts.caller.purpose not in rules.purposes:
        return ()
    task = _shown(rules, facts)
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
            why = (
                "it is not in force on this day" if not rule.in_force(rules.day(facts.now)) else _beaten(rule, decider, decision)
            )
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


class _Step(NamedTuple):
    """One thing that can be done about a task: the changes it makes, how far it goes, and the task as it would be then."""

    changes: tuple[Change, ...]
    distance: int
    apply: Callable[[Facts], Facts]

    @property
    def dimensions(self) -> frozenset[str]:
        """What it changes; two steps that change the same thing are no pair."""
        return frozenset(change.dimension for change in self.changes)


def _nearest(rules: RuleSet, facts: Facts, decision: Decision) -> tuple[Nearest, ...]:
    """The smallest changes that lead to another decision; for a refusal or a hold, to a permit if any does.

    Each one was decided on, so that none is told that changes nothing. One step comes before two, a short one before a long one.
    """
    outcome = outcome_of(decision)
    wanted: list[Callable[[Decision], bool]] = [lambda other: outcome_of(other) != outcome]
    if not isinstance(decision, Permit):
        wanted.insert(0, lambda other: isinstance(other, Permit))
    singles = list(_steps(rules, facts))
    pairs = [(a, b) for a, b in combinations(singles, 2) if a.dimensions.isdisjoint(b.dimensions)]
    for is_wanted in wanted:
        for group in ([(single,) for single in singles], pairs):
            decided = ((steps, decide(rules, _applied(facts, steps))) for steps in group)
            found = [(steps, other) for steps, other in decided if is_wanted(other)]
            if found:
                found.sort(key=lambda each: sum(step.distance for step in each[0]))
                return _distinct([_told(steps, other) for steps, other in found])[:MOST_CHANGES]
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


def _told(steps: tuple[_Step, ...], decision: Decision) -> Nearest:
    outcome, rule, tier = outcome_of(decision)
    return Nearest(tuple(change for step in steps for change in step.changes), rule, outcome, tier)


def _applied(facts: Facts, steps: tuple[_Step, ...]) -> Facts:
    for step in steps:
        facts = step.apply(facts)
    return facts


def _steps(rules: RuleSet, facts: Facts) -> Iterator[_Step]:
    """Everything that could be different about a task, one thing at a time."""
    yield from _about_content(facts)
    yield from _about_tools(facts)
    yield from _about_caller(rules, facts)
    yield from _about_request(rules, facts)


def _about_content(facts: Facts) -> Iterator[_Step]:
    labels, declared = facts.labels, facts.declared
    for level, far in _others(list(Sensitivity), labels.confidentiality):
        change = Change("sensitivity", str(labels.confidentiality), str(level))
        if declared is None or level >= declared:
            yield _Step((change,), far, _labelling(confidentiality=level))
        else:  # what is declared is a floor
            yield _Step((change, Change("declared", str(declared), str(level))), far, _declaring(level))
    if declared is not None:
        yield _Step((Change("declared", str(declared), UNDECLARED),), 1, _setting(declared=None))
    for category in sorted(facts.categories):
        yield _Step((Change("category", category, "none of it"),), 1, _without("categories", category))
    for integrity, far in _others(list(Integrity), labels.integrity):
        yield _Step((Change("integrity", str(labels.integrity), str(integrity)),), far, _labelling(integrity=integrity))
    for task in TaskKind:
        if task != facts.task:
            yield _Step((Change("task", str(facts.task), str(task)),), 1, _setting(task=task))
    for complexity, far in _others(list(Complexity), facts.complexity):
        yield _Step((Change("complexity", str(facts.complexity), str(complexity)),), far, _setting(complexity=complexity))
    for state in ScanState:
        if state != facts.state:
            yield _Step((Change("state", str(facts.state), str(state)),), 1, _setting(state=state))


def _about_tools(facts: Facts) -> Iterator[_Step]:
    for access, far in _others(list(Access), facts.access):
        yield _Step((Change("access", str(facts.access), str(access)),), far, _setting(access=access))
    if not facts.tools:
        return
    keys = list(dict.fromkeys(grant_key(ask) for ask in facts.tools))
    if len(keys) > 1:
        for kind, name in keys:
            if SHORT_NAME.fullmatch(name):
                yield _Step((Change(f"tool:{kind}", name, "left out"),), 1, _leaving_out(kind, name))
    none = Change("tools", f"{len(keys)} asked for", "none")
    reach = (Change("access", str(facts.access), str(Access.NONE)),) if facts.access is not Access.NONE else ()
    yield _Step((none, *reach), len(keys), _without_tools)


def _about_caller(rules: RuleSet, facts: Facts) -> Iterator[_Step]:
    caller = facts.caller
    app = rules.apps.get(caller.app)
    for purpose in app.purposes if app is not None else ():
        if purpose != caller.purpose:
            yield _Step((Change("purpose", caller.purpose, purpose),), 1, _calling(purpose=purpose))
    for level in Sensitivity:
        if level > caller.clearance:
            far = level.rank - caller.clearance.rank
            yield _Step((Change("clearance", str(caller.clearance), str(level)),), far, _calling(clearance=level))


def _about_request(rules: RuleSet, facts: Facts) -> Iterator[_Step]:
    for wish in AUTO_WISHES:
        if wish != facts.wish:
            yield _Step((Change("wish", wish_kind(facts.wish), wish),), 1, _setting(wish=wish))
    for endpoint in Endpoint:
        if endpoint != facts.endpoint:
            yield _Step((Change("endpoint", str(facts.endpoint), str(endpoint)),), 2, _setting(endpoint=endpoint))
    if facts.session_ended is not None:
        yield _Step((Change("session", "ended", "new"),), 1, _setting(session_ended=None))
    if facts.pinned is not None:
        yield _Step((Change("state held by", facts.pinned, "nobody"),), 1, _setting(pinned=None))
    for feature in sorted(facts.features):
        yield _Step((Change("feature", str(feature), "not asked for"),), 1, _without("features", feature))
    for name in sorted(facts.extra_fields):
        if SHORT_NAME.fullmatch(name):
            yield _Step((Change("field", name, "left out"),), 1, _without("extra_fields", name))
    sizes = sorted({slot.most_bytes for slot in rules.slots.values() if slot.most_bytes < facts.input_bytes}, reverse=True)
    for far, size in enumerate(sizes, 1):
        yield _Step((Change("input_bytes", str(facts.input_bytes), str(size)),), far, _setting(input_bytes=size))
    today = rules.day(facts.now)
    starts = {rule.valid_from for rule in rules.rules if rule.valid_from is not None and rule.valid_from > today}
    ends = {rule.valid_until + timedelta(1) for rule in rules.rules if rule.valid_until is not None and rule.valid_until >= today}
    for far, day in enumerate(sorted(starts | ends), 1):
        later = facts.now + (day - today)
        yield _Step((Change("day", today.isoformat(), day.isoformat()),), far, _setting(now=later))


def _setting(**values: object) -> Callable[[Facts], Facts]:
    return lambda facts: msgspec.structs.replace(facts, **values)


def _labelling(**values: object) -> Callable[[Facts], Facts]:
    return lambda facts: msgspec.structs.replace(facts, labels=msgspec.structs.replace(facts.labels, **values))


def _calling(**values: object) -> Callable[[Facts], Facts]:
    return lambda facts: msgspec.structs.replace(facts, caller=msgspec.structs.replace(facts.caller, **values))


def _declaring(level: Sensitivity) -> Callable[[Facts], Facts]:
    lower = _labelling(confidentiality=level)
    return lambda facts: msgspec.structs.replace(lower(facts), declared=level)


def _without(field: str, word: str) -> Callable[[Facts], Facts]:
    return lambda facts: msgspec.structs.replace(facts, **{field: getattr(facts, field) - {word}})


def _leaving_out(kind: str, name: str) -> Callable[[Facts], Facts]:
    def left(facts: Facts) -> Facts:
        return msgspec.structs.replace(facts, tools=tuple(ask for ask in facts.tools if grant_key(ask) != (kind, name)))

    return left


def _without_tools(facts: Facts) -> Facts:
    features = facts.features - TOOL_FEATURES
    return msgspec.structs.replace(facts, tools=(), tool_choice=ToolChoice(), access=Access.NONE, features=features)


def _others(members: list[L], present: L) -> list[tuple[L, int]]:
    """The other members of an ordered vocabulary with how far they are, the next ones first."""
    far = [(member, abs(member.rank - present.rank)) for member in members if member != present]
    return sorted(far, key=lambda each: each[1])


def _name(word: str) -> str:
    """A name from the request, repeated only where it looks like a name."""
    return word if SHORT_NAME.fullmatch(word) else "…"


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(f"`{word}`" for word in words) or "nothing"
