"""The authors' tests: facts in, expected decision out, written beside the rules and run before a revision takes effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, time
from enum import Enum
from typing import TypeVar

from routing_rules.catalogue import App
from routing_rules.decide import decide
from routing_rules.decisions import Decision, Hold, Permit, Refuse, ToolGrant
from routing_rules.entitlements import authorise
from routing_rules.facts import Caller, Facts, Labels
from routing_rules.faults import Fault
from routing_rules.reading import Entry, open_file
from routing_rules.rules import AUTO_WISHES, DIMENSIONS, UNDECLARED, RuleSet
from routing_rules.task import Endpoint, Feature, ToolAsk
from routing_rules.vocabulary import Access, Complexity, Integrity, ScanState, Sensitivity, TaskKind

CASE_APP = "case"
"""The app that asks where a case names none: it may send everything, holds every purpose and has every tool under its ceiling."""

DECISIONS = ("permit", "hold", "refuse")
LEVELS = DIMENSIONS["sensitivity"]
FIRST_DAY = datetime(2000, 1, 1, tzinfo=UTC)
"""When a case happens that does not say: no review is overdue then."""

E = TypeVar("E", bound=Enum)


def run_cases(rules: RuleSet, now: datetime = FIRST_DAY) -> list[Fault]:
    """Every case of the rule set that does not come out as expected, and every fault in the case files. Empty: all hold."""
    faults: list[Fault] = []
    for name in sorted(rules.files):
        if name.startswith("cases/"):
            top = open_file(name, rules.files[name], faults)
            for entry in top.entries("cases"):
                _run(rules, entry, now)
            top.close()
    return faults


def _run(rules: RuleSet, entry: Entry, now: datetime) -> None:
    before = len(entry.faults)
    name = entry.text("name")
    given, expected = entry.entry("facts"), entry.entry("expect")
    for key, part in (("facts", given), ("expect", expected)):
        if part is None and not entry.has(key):
            entry.fault(None, "missing_key", f"the key `{key}` is missing")
    entry.close()
    if given is None or expected is None:
        return
    using, facts = _facts(rules, given, now)
    wanted = _expected(rules, expected)
    if len(entry.faults) > before:
        return
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


def _facts(rules: RuleSet, entry: Entry, now: datetime) -> tuple[RuleSet, Facts]:
    """The facts of a case, and the rule set with the app that asks."""
    purpose = entry.word("purpose", rules.purposes, "") if entry.has("purpose") else None
    ceiling = entry.word("ceiling", rules.sets, "") if entry.has("ceiling") else None
    if entry.has("app"):
        app = rules.apps.get(entry.word("app", rules.apps))
    else:
        app = None
    if app is None:
        everything = frozenset(rules.tools)
        widest = max(rules.sets.values(), key=lambda each: len(each.tools & everything)).id
        app = App(
            id=CASE_APP,
            owner=CASE_APP,
            team=CASE_APP,
            cost_center=CASE_APP,
            clearance=Sensitivity.RESTRICTED,
            ceiling=widest,
            purposes=tuple(rules.purposes),
        )
        rules = replace(rules, apps={**rules.apps, CASE_APP: app})
    sensitivity = _one(entry, "sensitivity", Sensitivity, Sensitivity.PUBLIC)
    declared = entry.word("declared", DIMENSIONS["declared"], UNDECLARED)
    complexity = _one(entry, "complexity", Complexity, Complexity.SIMPLE)
    day = entry.maybe_day("day")
    wish = entry.text("wish", "auto")
    input_bytes = entry.maybe_integer("input_bytes")
    asks = [*_asks(entry, "tools", "function"), *_asks(entry, "hosted", None), *_asks(entry, "servers", "mcp")]
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
