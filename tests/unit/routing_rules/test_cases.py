"""The authors' tests: run, counted, made of what was decided, and compared between two revisions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from random import Random

import msgspec
import pytest
from random_facts import random_facts

from routing_rules.cases import case_faults, case_of, cases_ran, cases_weakened, coverage, facts_in, run_cases
from routing_rules.decide import decide
from routing_rules.decisions import Permit, ToolGrant
from routing_rules.edit import add_case
from routing_rules.entitlements import authorise
from routing_rules.facts import Facts
from routing_rules.faults import RuleFaults
from routing_rules.load import complete, load
from routing_rules.rules import RuleSet
from routing_rules.vocabulary import Sensitivity, TaskKind

Build = Callable[..., Facts]
TODAY = date(2026, 11, 23)


def with_cases(text: str) -> RuleSet:
    return load(complete({}, TODAY) | {"cases/routes.yaml": text})


def test_every_rule_that_is_shipped_decides_a_case(rules: RuleSet) -> None:
    covered = coverage(rules)
    assert covered.failing == ()
    assert covered.without == ()


def test_a_cell_is_covered_by_a_case_that_its_rule_decides() -> None:
    covered = coverage(
        with_cases("cases: [{name: plan, facts: {task: planning, complexity: simple}, expect: {rule: work-of-many-steps}}]")
    )
    assert (covered.cases, covered.cells_covered, len(covered.empty)) == (1, 1, covered.cells - 1)
    rows = {row.rule: row for row in covered.rules}
    assert (rows["work-of-many-steps"].cases, rows["work-of-many-steps"].cells_covered) == (("plan",), 1)
    assert rows["work-of-many-steps"].cells == 12
    assert "routine-work" in covered.without
    assert sum(row.cells for row in covered.rules) == covered.cells


def test_a_case_that_fails_is_named_and_is_an_error() -> None:
    rules = with_cases("cases: [{name: wrong, facts: {task: planning}, expect: {tier: fast}}]")
    assert coverage(rules).failing == ("wrong",)
    (fault,) = run_cases(rules)
    assert (fault.code, fault.severity, fault.file) == ("case_failed", "error", "cases/routes.yaml")


def test_a_case_of_a_decision_holds_under_the_rules_that_made_it(rules: RuleSet) -> None:
    random = Random(11)
    for number in range(150):
        facts = random_facts(random, rules, strange=False)
        decision = decide(rules, facts)
        grant = authorise(rules, facts, decision) if isinstance(decision, Permit) else ToolGrant()
        given, expected = case_of(rules, f"case {number}", facts, decision, grant)
        faults = case_faults(rules, f"case {number}", given, expected)
        assert faults == [], (facts, decision)


def test_a_case_leaves_out_what_made_no_difference(rules: RuleSet, facts: Build) -> None:
    asked = facts(
        task=TaskKind.PLANNING, input_bytes=412, unavailable=frozenset(list(rules.deployments)[:1]), declared=Sensitivity.PUBLIC
    )
    given, expected = case_of(rules, "plan", asked, decide(rules, asked), ToolGrant())
    assert {"task"} <= set(given) <= {"app", "task", "clearance", "ceiling"}
    assert expected["rule"] == "work-of-many-steps"


def test_a_case_keeps_what_the_decision_rests_on(rules: RuleSet, facts: Build) -> None:
    asked = facts(input_bytes=10**9)
    given, expected = case_of(rules, "long", asked, decide(rules, asked), ToolGrant())
    assert given["input_bytes"] == 10**9
    assert expected["code"] == "context_length_exceeded"


def test_a_case_that_is_added_stands_behind_the_others_and_moves_nothing(
    rules: RuleSet, facts: Build, files: dict[str, str]
) -> None:
    asked = facts(task=TaskKind.CODING, functions=("search_web",))
    decision = decide(rules, asked)
    assert isinstance(decision, Permit)
    given, expected = case_of(rules, "a new one", asked, decision, authorise(rules, asked, decision))
    after = add_case(files, "cases/routes.yaml", "a new one", given, expected)
    before = files["cases/routes.yaml"]
    assert after["cases/routes.yaml"].startswith(before)
    changed = load(after)
    assert run_cases(changed) == []
    assert cases_ran(changed)[0][-1].name == "a new one"
    with pytest.raises(RuleFaults, match="there is a case `a new one` already"):
        add_case(after, "cases/routes.yaml", "a new one", given, expected)


def test_a_case_file_is_made_where_there_is_none(rules: RuleSet) -> None:
    after = add_case(
        rules.files, "cases/own.yaml", "plan", {"task": "planning"}, {"rule": "work-of-many-steps", "withheld": ("a", "b")}
    )
    assert after["cases/own.yaml"].splitlines()[0] == "cases:"
    assert "withheld: [a, b]" in after["cases/own.yaml"]


def test_cases_that_are_lost_or_ask_for_less_are_named() -> None:
    one = "{name: one, facts: {task: planning}, expect: {rule: work-of-many-steps, tier: reasoning}}"
    two = "{name: two, facts: {task: lookup}, expect: {rule: routine-work}}"
    before = with_cases(f"cases: [{one}, {two}]")
    assert cases_weakened(before, before) == ()
    assert cases_weakened(before, with_cases(f"cases: [{one}]")) == ("two",)
    weaker = "{name: one, facts: {task: planning}, expect: {tier: reasoning}}"
    assert cases_weakened(before, with_cases(f"cases: [{weaker}, {two}]")) == ("one",)
    elsewhere = "{name: one, facts: {task: agentic}, expect: {rule: work-of-many-steps, tier: reasoning}}"
    assert cases_weakened(before, with_cases(f"cases: [{elsewhere}, {two}]")) == ("one",)
    stronger = "{name: one, facts: {task: planning}, expect: {rule: work-of-many-steps, tier: reasoning, set: agentic}}"
    assert cases_weakened(before, with_cases(f"cases: [{stronger}, {two}]")) == ()


def test_facts_in_the_words_of_a_case_are_read_and_faults_are_told(rules: RuleSet, facts: Build) -> None:
    _, read = facts_in(rules, "facts.yaml", "{task: planning, sensitivity: internal, tools: [search_web]}", facts().now)
    assert (read.task, read.labels.confidentiality, read.tools[0].name) == (TaskKind.PLANNING, Sensitivity.INTERNAL, "search_web")
    with pytest.raises(RuleFaults, match="did you mean `planning`"):
        facts_in(rules, "facts.yaml", "{task: planing}", facts().now)


def test_what_a_case_ran_on_can_be_written_down(rules: RuleSet) -> None:
    ran, _ = cases_ran(rules)
    assert all(each.holds for each in ran)
    assert msgspec.json.decode(msgspec.json.encode(ran[0].facts), type=Facts) == ran[0].facts
