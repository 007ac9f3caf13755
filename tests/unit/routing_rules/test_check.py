"""Static faults of a rule set, and the authors' cases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import pytest

from routing_rules.cases import run_cases
from routing_rules.check import check
from routing_rules.faults import Fault
from routing_rules.load import complete, load
from routing_rules.rules import RuleSet

TODAY = date(2026, 11, 23)
THEN = "then: {tier: fast, set: none, budget: default}"

Rules = Callable[..., RuleSet]


def found(rules: RuleSet, *codes: str) -> list[Fault]:
    return [fault for fault in check(rules, TODAY) if fault.code in codes]


def route(id: str, when: str = "", extra: str = "") -> str:
    condition = f"when: {{{when}}}, " if when else ""
    return f"{{id: {id}, owner: o, reason: r, {condition}{extra}{THEN}}}"


def test_the_shipped_rules_have_no_dead_rule_and_leave_no_task_uncovered(rules: RuleSet) -> None:
    assert not found(rules, "unreachable_rule", "uncovered", "too_many_overlaps", "obligation_not_carried_out", "expired_rule")


def test_the_shipped_catalogue_is_reviewed_and_priced(rules: RuleSet) -> None:
    assert {fault.code for fault in check(rules, TODAY)} == {"nobody_cleared"}
    assert [fault.message.split("`")[1] for fault in check(rules, TODAY)] == ["credentials-stay-inside"]


def test_every_shipped_rule_says_whom_and_what_it_serves(rules: RuleSet) -> None:
    for rule in rules.rules:
        assert rule.owner, rule.id
        assert rule.reason, rule.id
        assert rule.serves, rule.id


def test_a_rule_behind_one_that_admits_more_is_unreachable(rules_with: Rules) -> None:
    rules = rules_with(
        routes=f"routes: [{route('wide', 'task: [coding, planning]')}, {route('dead', 'task: coding, access: read')}, {route('rest')}]"
    )
    fault = found(rules, "unreachable_rule")[0]
    assert "`dead` can never decide" in fault.message
    assert "`wide`" in fault.message
    assert fault.line == 1


def test_a_rule_that_several_cover_only_together_is_unreachable(rules_with: Rules) -> None:
    halves = [route("low", "sensitivity: {at_most: internal}"), route("high", "sensitivity: {at_least: confidential}")]
    rules = rules_with(routes=f"routes: [{', '.join([*halves, route('dead', 'task: coding')])}]")
    assert [fault.message.split("`")[1] for fault in found(rules, "unreachable_rule")] == ["dead"]


def test_a_rule_that_one_category_more_reaches_is_alive(rules_with: Rules) -> None:
    rules = rules_with(
        routes=f"routes: [{route('one', 'category: [pci]')}, {route('two', 'category: [pci, phi]')}, {route('three', 'category: phi')}, {route('rest')}]"
    )
    assert [fault.message.split("`")[1] for fault in found(rules, "unreachable_rule")] == ["three"]


def test_a_rule_for_a_while_does_not_kill_one_for_ever(rules_with: Rules) -> None:
    rules = rules_with(routes=f"routes: [{route('summer', extra='from: 2027-06-01, until: 2027-08-31, ')}, {route('always')}]")
    assert not found(rules, "unreachable_rule")
    assert not found(rules, "uncovered")


def test_a_label_above_the_content_is_no_task(rules_with: Rules) -> None:
    rules = rules_with(routes=f"routes: [{route('impossible', 'declared: restricted, sensitivity: public')}, {route('rest')}]")
    assert [fault.message.split("`")[1] for fault in found(rules, "unreachable_rule")] == ["impossible"]


def test_tasks_that_no_rule_admits_are_told_exactly(rules_with: Rules) -> None:
    rules = rules_with(
        routes=f"routes: [{route('a', 'complexity: [simple, moderate]')}, {route('b', 'complexity: complex, access: [none, read, act]')}]"
    )
    assert [fault.message for fault in found(rules, "uncovered")] == [
        "no rule admits tasks with access control, complexity complex; such tasks are refused"
    ]


def test_a_step_up_covers_nothing(rules_with: Rules) -> None:
    rules = rules_with(routes=f"step_ups: [{{id: ask, owner: o, reason: r}}]\nroutes: [{route('a', 'task: coding')}]")
    assert found(rules, "uncovered")


def test_sensitivity_that_nobody_is_cleared_for_is_told(rules_with: Rules) -> None:
    rules = rules_with(routes=f"routes: [{route('all')}]")
    assert "admits `restricted` content" in found(rules, "nobody_cleared")[0].message


def test_reviews_and_sets_are_told_when_due_and_when_overdue(files: dict[str, str]) -> None:
    rules = load(files)
    later = {fault.code for fault in check(rules, TODAY + timedelta(days=175))}
    assert {"access_review_due", "set_due", "set_overdue"} <= later


def test_an_app_that_is_only_watched_is_not_forgotten(rules_with: Callable[..., RuleSet]) -> None:
    app = "{id: a, owner: o, clearance: internal, ceiling: none, purposes: [general], mode: observe, observe: {owner: ann, from: 2026-11-01, until: 2026-11-20}}"
    rules = rules_with(apps=f"apps: [{app}]")
    assert "app_observed" in {fault.code for fault in check(rules, date(2026, 11, 20))}
    assert "observe_ended" in {fault.code for fault in check(rules, date(2026, 11, 21))}
    assert {"access_review_overdue", "capability_review_overdue"} <= {
        fault.code for fault in check(rules, TODAY + timedelta(days=400))
    }


def test_a_deployment_without_reviews_or_price_is_told_with_its_line(rules_with: Rules) -> None:
    rules = rules_with(models='deployments:\n  - id: one\n    base_url: "http://x/v1"\n    clearance: internal\n    tier: fast\n')
    told = found(rules, "no_access_review", "no_capability_review", "no_price")
    assert len(told) == 3
    assert {(fault.file, fault.line) for fault in told} == {("models.yaml", 2)}


def test_an_obligation_without_a_stage_and_an_expired_rule_are_told(rules_with: Rules) -> None:
    table = f"routes: [{route('old', extra='until: 2020-01-01, ')}, {{id: masks, owner: o, reason: r, then: {{tier: fast, set: none, budget: default, obligations: [notify]}}}}]"
    assert {fault.code for fault in check(rules_with(routes=table), TODAY)} >= {"expired_rule", "obligation_not_carried_out"}


def test_the_shipped_cases_hold(rules: RuleSet) -> None:
    assert run_cases(rules) == []


def test_a_case_that_does_not_hold_is_told_with_its_place_and_why(files: dict[str, str]) -> None:
    own = "cases:\n  - name: coding is routine\n    facts: {task: coding, complexity: moderate}\n    expect: {rule: routine-work, tier: fast}\n"
    faults = run_cases(load({**files, "cases/own.yaml": own}))
    assert [(fault.code, fault.file, fault.line) for fault in faults] == [("case_failed", "cases/own.yaml", 2)] * 2
    assert "expected rule `routine-work`, got `demanding-code`" in faults[0].message


def test_a_case_can_speak_of_everything_a_decision_says(files: dict[str, str]) -> None:
    own = """cases:
  - name: an internal lookup with tools
    facts: {sensitivity: internal, task: lookup, app: demo, tools: [search_web, send_email], day: 2026-12-01, wish: gpt-4o-mini}
    expect:
      decision: permit
      tier: fast
      set: standard
      budget: default
      candidates: [sim-fast, sim-fast-private]
      granted: [search_web]
      withheld: [send_email]
  - name: a regulated decision that controls
    facts: {purpose: regulated-decisions, access: control}
    expect: {decision: hold, rule: control-in-regulated-decisions}
"""
    assert run_cases(load({**files, "cases/own.yaml": own})) == []


@pytest.mark.parametrize(
    "case",
    [
        "{name: x, facts: {tsk: coding}, expect: {}}",
        "{name: x, facts: {task: codin}, expect: {}}",
        "{name: x, facts: {}, expect: {rule: no-such-rule}}",
        "{name: x, facts: {}}",
        "{facts: {}, expect: {}}",
        "{name: x, facts: {app: nobody}, expect: {}}",
    ],
)
def test_a_case_with_a_fault_is_told_and_not_run(files: dict[str, str], case: str) -> None:
    faults = run_cases(load({**files, "cases/own.yaml": f"cases: [{case}]"}))
    assert faults
    assert "case_failed" not in {fault.code for fault in faults}


def test_shipped_cases_come_along_only_with_what_they_test() -> None:
    own = {"models.yaml": 'deployments: [{id: one, base_url: "http://x/v1", clearance: restricted, tier: fast}]'}
    with_models = load(complete(own, TODAY))
    assert "cases/routes.yaml" in with_models.files
    assert run_cases(with_models) == []
    assert "cases/routes.yaml" not in complete({"routes.yaml": f"routes: [{route('all')}]"}, TODAY)
