"""The authors' tests: facts in, expected decision out, written beside the rules and run before a revision takes effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time
from enum import Enum
from itertools import product
from typing import TypeVar

import msgspec

from routing_rules.catalogue import App
from routing_rules.decide import decide
from routing_rules.decisions import Decision, Hold, Permit, Refuse, ToolGrant
from routing_rules.entitlements import authorise
from routing_rules.facts import Caller, Facts, Labels
from routing_rules.faults import Fault, RuleFaults
from routing_rules.reading import Entry, open_file
from routing_rules.rules import AUTO_WISHES, DIMENSIONS, UNDECLARED, Effect, RuleSet
from routing_rules.task import Endpoint, Feature, ToolAsk
from routing_rules.vocabulary import Access, Complexity, Integrity, ScanState, Sensitivity, TaskKind

CASE_APP = "case"
"""The app that asks where a case names none: it may send everything, holds every purpose and has every tool under its ceiling."""

DECISIONS = ("permit", "hold", "refuse")
LEVELS = DIMENSIONS["sensitivity"]
FIRST_DAY = datetime(2000, 1, 1, tzinfo=UTC)
"""When a case happens that does not say: no review is overdue then."""

E = TypeVar("E", bound=Enum)

Words = dict[str, str | int | bool | tuple[str, ...]]
"""Facts, or what is expected, in the words of a case file."""

TOOLS_BY_KEY = {"tools": "function", "custom": "custom", "hosted": None, "servers": "mcp"}
"""Under which key a case names the tools of which kind; hosted ones by their type."""

INCIDENTAL = ("day", "unavailable", "input_bytes", "features", "extra_fields", "wish", "wish_known", "pinned", "declared")
"""Facts of a recorded request that a case of it leaves out where the decision is the same without them, in this order."""

CELL_DIMENSIONS = ("sensitivity", "task", "complexity")


class Ran(msgspec.Struct, frozen=True):
    """One case as it came out: its name and file, the facts it stands for, what was decided on them, and whether it holds."""

    name: str
    file: str
    facts: Facts
    decision: Decision
    expected: dict[str, str | tuple[str, ...]]
    holds: bool


class RuleCovered(msgspec.Struct, frozen=True):
    """How far the cases cover one rule: those that it decides, and of the plain cells that it decides how many have a case that it
    decides. A rule that looks at tools, apps or findings decides few plain cells or none."""

    rule: str
    effect: Effect
    cases: tuple[str, ...]
    cells: int
    cells_covered: int


class Coverage(msgspec.Struct, frozen=True):
    """What the cases of a rule set look at. A cell is one sensitivity, task and complexity. `without` are the rules that no case
    shows deciding; `empty` the cells without any case, in the order of the vocabularies."""

    cases: int
    failing: tuple[str, ...]
    rules: tuple[RuleCovered, ...]
    without: tuple[str, ...]
    cells: int
    cells_covered: int
    empty: tuple[tuple[str, str, str], ...]


def run_cases(rules: RuleSet, now: datetime = FIRST_DAY) -> list[Fault]:
    """Every case of the rule set that does not come out as expected, and every fault in the case files. Empty: all hold.

    All of these faults are errors, so that a revision with one cannot be put in force.
    """
    return cases_ran(rules, now)[1]


def cases_ran(rules: RuleSet, now: datetime = FIRST_DAY) -> tuple[list[Ran], list[Fault]]:
    """Every case that can be read, as it came out, and what `run_cases` tells."""
    faults: list[Fault] = []
    ran: list[Ran] = []
    asked = _with_case_app(rules)
    try:
        for name in sorted(rules.files):
            if name.startswith("cases/"):
                top = open_file(name, rules.files[name], faults)
                found = (run_case(asked, entry, now) for entry in top.entries("cases"))
                ran += [each for each in found if each is not None]
                top.close()
    except RuleFaults as too_many:
        faults = [*too_many.faults]
    return ran, faults


def coverage(rules: RuleSet, now: datetime = FIRST_DAY) -> Coverage:
    """Which rules and cells the cases of a rule set look at."""
    ran, _ = cases_ran(rules, now)
    deciding: dict[str, list[str]] = {}
    by_cell: dict[tuple[str, str, str], set[str]] = {}
    for each in ran:
        deciding.setdefault(each.decision.rule, []).append(each.name)
        by_cell.setdefault(_cell(each.facts), set()).add(each.decision.rule)
    decided = _cells_decided(rules, now)
    cells = list(product(*(DIMENSIONS[dimension] for dimension in CELL_DIMENSIONS)))
    rows = [
        RuleCovered(
            rule=rule.id,
            effect=rule.effect,
            cases=tuple(deciding.get(rule.id, ())),
            cells=sum(by == rule.id for by in decided.values()),
            cells_covered=sum(by == rule.id and by in by_cell.get(cell, ()) for cell, by in decided.items()),
        )
        for rule in rules.rules
    ]
    return Coverage(
        cases=len(ran),
        failing=tuple(each.name for each in ran if not each.holds),
        rules=tuple(rows),
        without=tuple(row.rule for row in rows if not row.cases),
        cells=len(cells),
        cells_covered=sum(cell in by_cell for cell in cells),
        empty=tuple((level, task, band) for level, task, band in cells if (level, task, band) not in by_cell),
    )


def cases_weakened(before: RuleSet, after: RuleSet) -> tuple[str, ...]:
    """Names of the cases that `after` lost, or that ask for less there, or for something else, or about other facts."""
    kept = {each.name: each for each in cases_ran(after)[0]}
    lost = []
    for each in cases_ran(before)[0]:
        now = kept.get(each.name)
        if now is None or now.facts != each.facts or not each.expected.items() <= now.expected.items():
            lost.append(each.name)
    return tuple(lost)


def facts_in(rules: RuleSet, file: str, text: str, now: datetime) -> tuple[RuleSet, Facts]:
    """Facts that are written in the words of a case, as YAML or JSON, and the rule set with the app that asks. Raises RuleFaults."""
    faults: list[Fault] = []
    found = _facts(rules, open_file(file, text, faults), now)
    if faults:
        raise RuleFaults(faults)
    return found


def case_of(rules: RuleSet, name: str, facts: Facts, decision: Decision, grant: ToolGrant) -> tuple[Words, Words]:
    """What a case says of a decision that was made: (facts, expected), in the words of a case file, without what made no difference.

    A case has no word for everything (the address of a server, an app that is only watched), and the rules may have changed since:
    `case_faults` tells whether it holds.
    """
    expected: Words = {key: value for key, value in _described(decision, grant).items() if key != "candidates" and value != ()}
    given = _words_of(rules, facts)
    for key in INCIDENTAL:
        without = {other: value for other, value in given.items() if other != key}
        if key in given and not case_faults(rules, name, without, expected):
            given = without
    return given, expected


def case_faults(rules: RuleSet, name: str, given: Words, expected: Words, now: datetime = FIRST_DAY) -> list[Fault]:
    """Why a case does not hold under these rules. Empty: it does."""
    text = msgspec.json.encode({"cases": [{"name": name, "facts": given, "expect": expected}]}).decode()
    return run_cases(replace(rules, files={"cases/new.yaml": text}), now)


def _cell(facts: Facts) -> tuple[str, str, str]:
    return str(facts.labels.confidentiality), str(facts.task), str(facts.complexity)


def _cells_decided(rules: RuleSet, now: datetime) -> dict[tuple[str, str, str], str]:
    """Which rule decides a plain task of each cell: no tools, no findings, asked by the app of cases."""
    using, plain = _facts(rules, open_file("", "{}", []), now)
    decided = {}
    for level, task, band in product(Sensitivity, TaskKind, Complexity):
        facts = msgspec.structs.replace(
            plain, detected=level, labels=Labels(Integrity.TRUSTED, level), task=task, complexity=band
        )
        decided[_cell(facts)] = decide(using, facts).rule
    return decided


def _words_of(rules: RuleSet, facts: Facts) -> Words:
    """Facts in the words of a case, what is ordinary left out."""
    caller = facts.caller
    app = rules.apps.get(caller.app)
    words: dict[str, tuple[object, object]] = {
        "app": (caller.app, None),
        "purpose": (caller.purpose, app.purposes[0] if app else None),
        "clearance": (str(caller.clearance), str(app.clearance) if app else None),
        "ceiling": (caller.ceiling, app.ceiling if app else None),
        "key_ceiling": (caller.key_ceiling, None),
        "sensitivity": (str(facts.labels.confidentiality), str(Sensitivity.PUBLIC)),
        "declared": (None if facts.declared is None else str(facts.declared), None),
        "categories": (tuple(sorted(facts.categories)), ()),
        "integrity": (str(facts.labels.integrity), str(Integrity.TRUSTED)),
        "access": (str(facts.access), str(Access.NONE)),
        "task": (str(facts.task), str(TaskKind.OTHER)),
        "complexity": (str(facts.complexity), str(Complexity.SIMPLE)),
        "state": (str(facts.state), str(ScanState.COMPLETE)),
        "endpoint": (str(facts.endpoint), str(Endpoint.CHAT)),
        "wish": (facts.wish, "auto"),
        "wish_known": (facts.wish_known, facts.wish in AUTO_WISHES or facts.wish in rules.models),
        **{key: (_named(facts.tools, key), ()) for key in TOOLS_BY_KEY},
        "features": (tuple(sorted(facts.features)), ()),
        "extra_fields": (tuple(sorted(facts.extra_fields)), ()),
        "input_bytes": (facts.input_bytes, 0),
        "unavailable": (tuple(sorted(facts.unavailable & set(rules.deployments))), ()),
        "pinned": (facts.pinned, None),
        "session_ended": (facts.session_ended, None),
        "masked": (facts.masked, False),
        "changed_servers": (tuple(sorted(facts.changed_servers)), ()),
        "day": (facts.now.date().isoformat(), None),
    }
    return {key: _word(value) for key, (value, ordinary) in words.items() if value is not None and value != ordinary}


def _word(value: object) -> str | int | bool | tuple[str, ...]:
    if isinstance(value, tuple):
        return tuple(str(each) for each in value)
    return value if isinstance(value, bool | int) else str(value)


def _named(asks: Sequence[ToolAsk], key: str) -> tuple[str, ...]:
    """The tools of one kind, as a case names them."""
    if key == "hosted":
        return tuple(dict.fromkeys(ask.kind for ask in asks if ask.kind not in TOOLS_BY_KEY.values()))
    kind = TOOLS_BY_KEY[key]
    return tuple(dict.fromkeys((ask.server or ask.name) if kind == "mcp" else ask.name for ask in asks if ask.kind == kind))


def run_case(rules: RuleSet, entry: Entry, now: datetime) -> Ran | None:
    """One case, read and tried; what is wrong with it is added to the faults of its entry. None where it cannot be tried."""
    before = len(entry.faults)
    name = entry.text("name")
    given, expected = entry.entry("facts"), entry.entry("expect")
    for key, part in (("facts", given), ("expect", expected)):
        if part is None and not entry.has(key):
            entry.fault(None, "missing_key", f"the key `{key}` is missing")
    entry.close()
    if given is None or expected is None:
        return None
    using, facts = _facts(rules, given, now)
    wanted = _expected(rules, expected)
    if len(entry.faults) > before:
        return None
    decision = decide(using, facts)
    got = _described(decision, authorise(using, facts, decision) if isinstance(decision, Permit) else ToolGrant())
    for key, value in wanted.items():
        if got.get(key) != value:
            why = f": {decision.message}" if isinstance(decision, Refuse) else ""
            entry.fault(
                "name",
                "case_failed",
                f"case `{name}`: expected {key} {_said(value)}, got {_said(got.get(key))}",
                f"rule `{decision.rule}` decided{why}",
            )
    return Ran(name, entry.file, facts, decision, wanted, len(entry.faults) == before)


def _with_case_app(rules: RuleSet) -> RuleSet:
    """The rule set with the app that asks where a case names none. It is made once for all cases, as compiling takes its time."""
    if CASE_APP in rules.apps:
        return rules
    everything = frozenset(rules.tools)
    app = App(
        id=CASE_APP,
        owner=CASE_APP,
        team=CASE_APP,
        cost_center=CASE_APP,
        clearance=Sensitivity.RESTRICTED,
        ceiling=max(rules.sets.values(), key=lambda each: len(each.tools & everything)).id,
        purposes=tuple(rules.purposes),
    )
    return replace(rules, apps={**rules.apps, CASE_APP: app})


def _facts(rules: RuleSet, entry: Entry, now: datetime) -> tuple[RuleSet, Facts]:
    """The facts of a case, and the rule set with the app that asks."""
    purpose = entry.word("purpose", rules.purposes, "") if entry.has("purpose") else None
    ceiling = entry.word("ceiling", rules.sets, "") if entry.has("ceiling") else None
    key_ceiling = entry.word("key_ceiling", rules.sets, "") if entry.has("key_ceiling") else None
    named = entry.word("app", {id: app for id, app in rules.apps.items() if id != CASE_APP}) if entry.has("app") else CASE_APP
    rules = _with_case_app(rules)
    app = rules.apps.get(named) or rules.apps[CASE_APP]
    sensitivity = _one(entry, "sensitivity", Sensitivity, Sensitivity.PUBLIC)
    declared = entry.word("declared", DIMENSIONS["declared"], UNDECLARED)
    complexity = _one(entry, "complexity", Complexity, Complexity.SIMPLE)
    day = entry.maybe_day("day")
    wish = entry.text("wish", "auto")
    input_bytes = entry.maybe_integer("input_bytes")
    asks = [ask for key, kind in TOOLS_BY_KEY.items() for ask in _asks(entry, key, kind)]
    facts = Facts(
        now=now if day is None else datetime.combine(day, time(12), UTC),
        endpoint=_one(entry, "endpoint", Endpoint, Endpoint.CHAT),
        caller=Caller(
            app=app.id,
            owner=app.owner,
            team=app.team,
            cost_center=app.cost_center,
            key_id=CASE_APP,
            clearance=_one(entry, "clearance", Sensitivity, app.clearance),
            ceiling=ceiling or app.ceiling,
            purpose=purpose or app.purposes[0],
            key_ceiling=key_ceiling,
        ),
        wish=wish,
        wish_known=entry.boolean("wish_known", wish in AUTO_WISHES or wish in rules.models),
        detected=sensitivity,
        declared=None if declared == UNDECLARED or declared not in LEVELS else Sensitivity(declared),
        labels=Labels(_one(entry, "integrity", Integrity, Integrity.TRUSTED), sensitivity),
        categories=frozenset(entry.words("categories", rules.categories, ())),
        access=_one(entry, "access", Access, Access.NONE),
        intent=frozenset(),
        task=_one(entry, "task", TaskKind, TaskKind.OTHER),
        complexity=complexity,
        complexity_score=complexity.rank / len(Complexity),
        state=_one(entry, "state", ScanState, ScanState.COMPLETE),
        tools=tuple(asks),
        features=frozenset(Feature(word) for word in entry.words("features", tuple(Feature), ()) if word in tuple(Feature)),
        extra_fields=frozenset(entry.words("extra_fields", default=())),
        input_bytes=input_bytes or 0,
        unavailable=frozenset(entry.words("unavailable", rules.deployments, ())),
        pinned=entry.maybe_text("pinned"),
        session_ended=entry.maybe_text("session_ended"),
        masked=entry.boolean("masked", False),
        changed_servers=frozenset(entry.words("changed_servers", default=())),
    )
    entry.close()
    return rules, facts


def _asks(entry: Entry, key: str, kind: str | None) -> list[ToolAsk]:
    """Tools asked for: functions by name, hosted ones by type, MCP servers by label."""
    names = entry.words(key, default=())
    return [
        ToolAsk(
            name=kind if kind == "mcp" else name, kind=kind or name, path=f"{key}[{i}]", server=name if kind == "mcp" else None
        )
        for i, name in enumerate(names)
    ]


def _one(entry: Entry, key: str, kind: type[E], default: E) -> E:
    word = entry.word(key, tuple(str(member) for member in kind), str(default))
    return next((member for member in kind if str(member) == word), default)


def _expected(rules: RuleSet, entry: Entry) -> dict[str, str | tuple[str, ...]]:
    """What a case expects, only what it says."""
    ids = [rule.id for rule in rules.rules]
    wanted: dict[str, str | tuple[str, ...]] = {}
    for key, words in (
        ("decision", DECISIONS),
        ("rule", None),
        ("code", None),
        ("tier", rules.tiers),
        ("set", rules.sets),
        ("budget", rules.session_budgets),
    ):
        if entry.has(key):
            wanted[key] = entry.text(key) if words is None else entry.word(key, words)
    rule = wanted.get("rule")
    if isinstance(rule, str) and rule not in ids and not rule.startswith("router:"):
        entry.word("rule", ids)
    if entry.has("candidates"):
        wanted["candidates"] = entry.words("candidates", rules.deployments)
    for key in ("granted", "withheld", "mask"):
        if entry.has(key):
            wanted[key] = tuple(sorted(entry.words(key)))
    entry.close()
    return wanted


def _described(decision: Decision, grant: ToolGrant) -> Mapping[str, str | tuple[str, ...]]:
    """A decision in the words of a case."""
    if isinstance(decision, Refuse):
        return {"decision": "refuse", "rule": decision.rule, "code": decision.code}
    permit = decision.permit if isinstance(decision, Hold) else decision
    return {
        "decision": "hold" if isinstance(decision, Hold) else "permit",
        "rule": decision.rule,
        "tier": permit.tier,
        "set": permit.entitlement_set,
        "budget": permit.budget.name,
        "candidates": permit.candidates,
        "granted": tuple(sorted(name for _, name in grant.granted)),
        "withheld": tuple(sorted(item.name for item in grant.withheld)),
        "mask": permit.mask,
    }


def _said(value: str | tuple[str, ...] | None) -> str:
    if value is None:
        return "nothing"
    return f"`{value}`" if isinstance(value, str) else f"[{', '.join(value)}]"
