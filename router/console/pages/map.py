"""The map: what the rules come to in every cell of two dimensions, as a picture; and what a proposal would change in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby

import msgspec

from router.console.shown import dollars
from router.console.site import Answer, Asked, Handler, Page, Site, in_sql
from router.console.view_models import Filter, Map
from router.governance.rules import NotAllowed, proposal
from routing_rules.cases import facts_in
from routing_rules.decide import decide
from routing_rules.decisions import Decision, Hold, Permit
from routing_rules.diff import Diff
from routing_rules.facts import Facts, Labels
from routing_rules.faults import RuleFaults
from routing_rules.rules import DIMENSIONS, RuleSet
from routing_rules.vocabulary import Access, Complexity, Integrity, Sensitivity, TaskKind

AXES = ("sensitivity", "task", "complexity", "access", "app")
SPLIT = "complexity"
"""What a cell is divided by, unless it is an axis or chosen."""


class Outcome(msgspec.Struct, frozen=True):
    """What a cell comes to: `effect` is permit, hold or refuse; `kind` colours it."""

    effect: str
    kind: str
    tier: str
    rule: str
    entitlement_set: str = ""
    budget: str = ""
    obligations: tuple[str, ...] = ()
    code: str = ""
    deployments: tuple[str, ...] = ()


class Band(msgspec.Struct, frozen=True):
    """A part of a cell: `words` are those of what it is divided by. `before` where it differs from `now`; `change` is widens, narrows,
    changes, same (beside what changes) or nothing."""

    words: tuple[str, ...]
    span: int
    now: Outcome
    before: Outcome | None
    change: str
    title: str


class Chosen(msgspec.Struct, frozen=True):
    """What the picture is about."""

    rows: str
    columns: str
    fixed: dict[str, str]
    split: bool


async def show(site: Site, asked: Asked) -> Answer:
    """The map of the rules in force, or beside a proposal."""
    query, active = asked.query, site.directory.rules()
    found: Diff | None = None
    after, compared = active, query.get("proposal", "")
    if compared:
        try:
            proposed = await in_sql(lambda: proposal(site.rules, compared))
            rules = await in_sql(lambda: site.rules_of(proposed.revision))
            earlier = proposed.base
            base = await in_sql(lambda: site.rules_of(earlier)) if earlier and not proposed.open else active
            active, after, found = base or active, rules or active, proposed.diff
        except (NotAllowed, RuleFaults):
            compared = ""
    chosen = _chosen(query)
    only = query.get("only") == "changed" and bool(compared)
    rows = picture(active, after if compared else None, found, chosen, asked.at)
    if only:
        rows = tuple(row for row in rows if any(band.change not in ("", "same") for cell in row[1] for band in cell))
    changes = [{band.change for band in cell} - {"", "same"} for _, cells in rows for cell in cells]
    model = Map(
        filters=_filters(active, query, chosen),
        axes=tuple((axis, axis) for axis in AXES),
        row_axis=chosen.rows,
        column_axis=chosen.columns,
        columns=_words(active, chosen.columns),
        rows=rows,
        split=SPLIT if chosen.split else "",
        tiers=active.tiers,
        compared=compared,
        changed=sum(bool(each) for each in changes),
        widened=sum("widens" in each for each in changes),
        only=only,
    )
    return Page("map.html", model)


def picture(
    before: RuleSet, after: RuleSet | None, found: Diff | None, chosen: Chosen, at: datetime
) -> tuple[tuple[str, tuple[tuple[Band, ...], ...]], ...]:
    """The rows of the map: (word of the row, cells), a cell being its bands from left to right."""
    told = {name: word for name, word in chosen.fixed.items() if name in ("app", "purpose")}
    using, facts = facts_in(before, "map", msgspec.json.encode(told).decode(), at)
    later = facts_in(after, "map", msgspec.json.encode(told).decode(), at) if after is not None else None
    later_rules = later[0] if later is not None else None
    for name, word in chosen.fixed.items():
        facts = _varied(using, facts, name, word)
    rows = []
    for row in _words(before, chosen.rows):
        cells = []
        for column in _words(before, chosen.columns):
            cell = _varied(using, _varied(using, facts, chosen.rows, row), chosen.columns, column)
            place = {chosen.rows: row, chosen.columns: column, **chosen.fixed}
            parts = [(word, _varied(using, cell, SPLIT, word)) for word in DIMENSIONS[SPLIT]] if chosen.split else [("", cell)]
            looked = [
                (word, *_compared(using, later_rules, found, part, {**place, SPLIT: word} if word else place))
                for word, part in parts
            ]
            cells.append(_bands(looked))
        rows.append((row, tuple(cells)))
    return tuple(rows)


def outcome(rules: RuleSet, decision: Decision) -> Outcome:
    """What a decision is on the map."""
    permit = decision.permit if isinstance(decision, Hold) else decision
    if not isinstance(permit, Permit):
        return Outcome("refuse", "refuse", "", permit.rule.removeprefix("router:").replace("-", " "), code=permit.code)
    held = isinstance(decision, Hold)
    cost = permit.budget.cost_nano
    return Outcome(
        effect="hold" if held else "permit",
        kind="hold" if held else permit.tier if permit.tier in ("fast", "reasoning") else "other",
        tier=permit.tier,
        rule=decision.rule,
        entitlement_set=permit.entitlement_set,
        budget=f"{permit.budget.name} {dollars(cost)}" if cost is not None else permit.budget.name,
        obligations=tuple(sorted(permit.obligations)),
        deployments=permit.candidates,
    )


def _compared(
    rules: RuleSet, after: RuleSet | None, found: Diff | None, facts: Facts, place: Mapping[str, str]
) -> tuple[Outcome, Outcome | None, str]:
    """(now, before where it differs, how it changes)."""
    was = outcome(rules, decide(rules, facts))
    if after is None:
        return was, None, ""
    now = outcome(after, decide(after, facts))
    if msgspec.structs.replace(now, rule=was.rule) == was:
        return now, None, "same"  # perhaps by another rule, which nobody feels
    covering = [change for change in found.changes if _covers(change.where, place)] if found is not None else []
    if any(change.widens for change in covering):
        return now, was, "widens"
    return now, was, "narrows" if covering and _ranks(now) <= _ranks(was) else "changes"


def _covers(where: Mapping[str, Sequence[str]], place: Mapping[str, str]) -> bool:
    return all(axis not in where or word in where[axis] for axis, word in place.items())


def _ranks(one: Outcome) -> int:
    return ("refuse", "hold", "permit").index(one.effect)


def _bands(looked: Sequence[tuple[str, Outcome, Outcome | None, str]]) -> tuple[Band, ...]:
    """Neighbours that come to the same are one band."""
    bands = []
    for (now, before, change), group in groupby(looked, key=lambda each: each[1:]):
        words = tuple(word for word, *_ in group)
        told = [
            now.effect,
            now.tier,
            f"by rule {now.rule}",
            now.code and f"({now.code})",
            now.entitlement_set and f"set {now.entitlement_set}",
            now.budget and f"budget {now.budget}",
        ]
        if now.obligations:
            told.append(f"obligations {', '.join(now.obligations)}")
        if now.deployments:
            told.append(f"to {', '.join(now.deployments)}")
        title = f"{' and '.join(filter(None, words))}: " if any(words) and len(words) < len(looked) else ""
        bands.append(
            Band(
                words if len(words) < len(looked) else (), len(words), now, before, change, title + ", ".join(filter(None, told))
            )
        )
    return tuple(bands)


def _varied(rules: RuleSet, facts: Facts, dimension: str, word: str) -> Facts:
    """The facts with another word in one dimension."""
    replaced = msgspec.structs.replace
    if dimension == "sensitivity":
        return replaced(facts, detected=Sensitivity(word), labels=Labels(facts.labels.integrity, Sensitivity(word)))
    if dimension == "integrity":
        return replaced(facts, labels=Labels(Integrity(word), facts.labels.confidentiality))
    if dimension == "task":
        return replaced(facts, task=TaskKind(word))
    if dimension == "complexity":
        band = Complexity(word)
        return replaced(facts, complexity=band, complexity_score=(band.rank + 0.5) / len(Complexity))
    if dimension == "access":
        return replaced(facts, access=Access(word))
    if dimension == "category":
        return replaced(facts, categories=frozenset({word}))
    if dimension == "app":
        app = rules.apps[word]
        purpose = facts.caller.purpose if facts.caller.purpose in app.purposes else app.purposes[0] if app.purposes else ""
        caller = replaced(
            facts.caller,
            app=app.id,
            owner=app.owner,
            team=app.team,
            clearance=app.clearance,
            ceiling=app.ceiling,
            purpose=purpose,
        )
        return replaced(facts, caller=caller)
    return facts


def _chosen(query: Mapping[str, str]) -> Chosen:
    rows, columns = query.get("rows", ""), query.get("columns", "")
    rows = rows if rows in AXES else "task"
    columns = columns if columns in AXES and columns != rows else "sensitivity" if rows != "sensitivity" else "task"
    fixed = {
        name: query[name]
        for name in ("app", "purpose", "complexity", "access", "integrity", "category")
        if query.get(name) and name not in (rows, columns)
    }
    return Chosen(rows, columns, fixed, SPLIT not in (rows, columns) and SPLIT not in fixed)


def _words(rules: RuleSet, axis: str) -> tuple[str, ...]:
    return tuple(rules.apps) if axis == "app" else tuple(str(word) for word in DIMENSIONS[axis])


def _filters(rules: RuleSet, query: Mapping[str, str], chosen: Chosen) -> tuple[Filter, ...]:
    words = {
        "app": tuple(rules.apps),
        "purpose": tuple(rules.purposes),
        "complexity": DIMENSIONS["complexity"],
        "access": DIMENSIONS["access"],
        "integrity": DIMENSIONS["integrity"],
        "category": rules.categories,
    }
    return tuple(
        Filter(name, name.capitalize(), query.get(name, ""), each)
        for name, each in words.items()
        if name not in (chosen.rows, chosen.columns)
    )


HANDLERS: dict[tuple[str, str], Handler] = {("GET", "/map"): show}
