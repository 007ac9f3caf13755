"""Static faults of a rule set, and the authors' cases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import msgspec
import pytest

from routing_rules.cases import run_cases
from routing_rules.check import check
from routing_rules.entitlements import grant_within
from routing_rules.facts import Facts
from routing_rules.faults import Fault, RuleFaults
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


def test_a_rule_behind_one_that_admits_more_is_shadowed(rules_with: Rules) -> None:
    rules = rules_with(
        routes=f"routes: [{route('wide', 'task: [coding, planning]')}, {route('dead', 'task: coding, access: read')}, {route('rest')}]"
    )
    fault = found(rules, "shadowed_rule")[0]
    assert "`dead` can never decide" in fault.message
    assert "`wide`" in fault.message
    assert fault.line == 1


def test_a_rule_that_several_cover_only_together_is_unreachable(rules_with: Rules) -> None:
    halves = [route("low", "sensitivity: {at_most: internal}"), route("high", "sensitivity: {at_least: confidential}")]
    rules = rules_with(routes=f"routes: [{', '.join([*halves, route('dead', 'task: coding')])}]")
    assert [fault.message for fault in found(rules, "unreachable_rule")] == [
        "rule `dead` can never decide: whatever it admits is decided before by `low`, `high`"
    ]


def test_a_rule_that_one_category_more_reaches_is_alive(rules_with: Rules) -> None:
    rules = rules_with(
        routes=f"routes: [{route('one', 'category: [pci]')}, {route('two', 'category: [pci, phi]')}, {route('three', 'category: phi')}, {route('rest')}]"
    )
    assert [fault.message.split("`")[1] for fault in found(rules, "shadowed_rule")] == ["three"]


def test_a_rule_that_says_what_another_says_is_a_duplicate_whatever_its_words(rules_with: Rules) -> None:
    rules = rules_with(
        routes=f"routes: [{route('one', 'complexity: [moderate, complex]')}, {route('two', 'complexity: {at_least: moderate}')}, {route('rest')}]"
    )
    assert [(fault.message.split("`")[1], str(fault.severity)) for fault in found(rules, "duplicate_rule")] == [
        ("two", "warning")
    ]


def test_two_rules_that_say_the_opposite_of_the_same_tasks_are_an_error(rules_with: Rules) -> None:
    other = "{id: two, owner: o, reason: r, when: {task: coding}, then: {tier: reasoning, set: none, budget: default}}"
    rules = rules_with(routes=f"routes: [{route('one', 'task: coding')}, {other}, {route('rest')}]")
    assert [(fault.message.split("`")[1], str(fault.severity)) for fault in found(rules, "contradictory_rules")] == [
        ("two", "error")
    ]


def test_a_route_that_means_to_permit_what_is_prohibited_is_an_error(rules_with: Rules) -> None:
    forbid = "prohibitions: [{id: no-code, owner: o, reason: r, when: {task: coding}}]"
    rules = rules_with(routes=f"{forbid}\nroutes: [{route('but-mine', 'task: coding, purpose: research')}, {route('rest')}]")
    fault = found(rules, "loosens_prohibition")[0]
    assert "`but-mine`" in fault.message
    assert "`no-code`" in fault.message
    assert str(fault.severity) == "error"


def test_a_prohibition_that_nothing_can_meet_never_fires(rules_with: Rules) -> None:
    impossible = "{id: impossible, owner: o, reason: r, when: {declared: restricted, sensitivity: public}}"
    rules = rules_with(routes=f"prohibitions: [{impossible}]\nroutes: [{route('rest')}]")
    assert [fault.message.split("`")[1] for fault in found(rules, "never_fires")] == ["impossible"]


def test_a_prohibition_of_what_no_tool_can_do_never_fires(rules_with: Rules) -> None:
    tools = "tools: [{id: calculator, owner: o, capabilities: [pure], functions: [calculate]}]"
    sets = "sets: [{id: none, owner: o, business_purpose: b, approver: a, review_by: 2027-11-01, tools: []}]"
    apps = "apps: [{id: a, owner: o, clearance: internal, ceiling: none, purposes: [general]}]"
    forbid = "prohibitions: [{id: no-spending, owner: o, reason: r, when: {capability: [spends_money]}}]"
    rules = rules_with(tools=tools, entitlements=sets, apps=apps, routes=f"{forbid}\nroutes: [{route('rest')}]")
    assert "no tool in tools.yaml has `spends_money`" in found(rules, "never_fires")[0].message


def test_a_step_up_where_no_route_is_has_nothing_to_ask_about(rules_with: Rules) -> None:
    step = "step_ups: [{id: ask, owner: o, reason: r, when: {task: coding}}]"
    rules = rules_with(routes=f"{step}\nroutes: [{route('a', 'task: writing')}]")
    assert "no route permits what it asks about" in found(rules, "unreachable_rule")[0].message


def test_an_app_asks_only_for_the_purposes_that_it_holds(rules_with: Rules) -> None:
    apps = "apps: [{id: a, owner: o, clearance: internal, ceiling: none, purposes: [general]}]"
    rules = rules_with(apps=apps, routes=f"routes: [{route('never', 'app: a, purpose: research')}, {route('rest')}]")
    assert [fault.message.split("`")[1] for fault in found(rules, "unreachable_rule")] == ["never"]


def test_rules_for_half_the_year_each_cover_one_for_the_whole_together(rules_with: Rules) -> None:
    halves = [
        route("first", extra="from: 2027-01-01, until: 2027-06-30, "),
        route("second", extra="from: 2027-07-01, until: 2027-12-31, "),
    ]
    whole = route("whole", extra="from: 2027-01-01, until: 2027-12-31, ")
    rules = rules_with(routes=f"routes: [{', '.join([*halves, whole])}, {route('rest')}]")
    assert [fault.message.split("`")[1] for fault in found(rules, "unreachable_rule")] == ["whole"]


def test_tasks_that_are_uncovered_from_some_day_on_are_told(rules_with: Rules) -> None:
    rules = rules_with(routes=f"routes: [{route('a', extra='until: 2026-12-31, ')}]")
    assert [fault.message for fault in found(rules, "uncovered")] == [
        "from 2027-01-01 on no rule admits any task; such tasks are refused"
    ]


def test_a_combination_that_no_grant_can_reach_is_told(rules_with: Rules) -> None:
    sets = """sets:
  - id: none
    owner: o
    business_purpose: b
    approver: a
    review_by: 2027-11-01
    tools: [calculator]
    prohibited: [{id: never, capabilities: [spends_money, egress]}]
"""
    apps = "apps: [{id: a, owner: o, clearance: internal, ceiling: none, purposes: [general]}]"
    rules = rules_with(entitlements=sets, apps=apps, routes=f"routes: [{route('rest')}]")
    fault = found(rules, "combination_unreachable")[0]
    assert "`never`" in fault.message
    assert (fault.file, fault.line) == ("entitlements.yaml", 2)


@pytest.mark.parametrize(
    ("days", "said"),
    [(31, None), (30, "reminder of 30 days"), (7, "reminder of 7 days"), (1, "tomorrow (reminder of 1 day)"), (0, "today")],
)
def test_a_review_is_told_thirty_seven_and_one_day_ahead(rules_with: Rules, days: int, said: str | None) -> None:
    sets = f"sets: [{{id: none, owner: ann, business_purpose: b, approver: a, review_by: {TODAY + timedelta(days=days)}, tools: []}}]"
    apps = "apps: [{id: a, owner: o, clearance: internal, ceiling: none, purposes: [general]}]"
    told = found(rules_with(entitlements=sets, apps=apps, routes=f"routes: [{route('rest')}]"), "set_due")
    assert [said is not None and said in fault.message for fault in told] == ([] if said is None else [True])


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (
            "entitlements",
            "sets: [{id: none, business_purpose: b, approver: a, review_by: 2027-01-01, tools: []}]",
            "the key `owner` is missing",
        ),
        (
            "entitlements",
            "sets: [{id: none, owner: ' ', business_purpose: b, approver: a, review_by: 2027-01-01, tools: []}]",
            "`owner` is empty",
        ),
        (
            "entitlements",
            "sets: [{id: none, owner: o, approver: a, review_by: 2027-01-01, tools: []}]",
            "the key `business_purpose` is missing",
        ),
        (
            "entitlements",
            "sets: [{id: none, owner: o, business_purpose: b, approver: a, tools: []}]",
            "the key `review_by` is missing",
        ),
        ("tools", "tools: [{id: x, owner: o, functions: [x]}]", "the key `capabilities` is missing"),
        ("tools", "tools: [{id: x, owner: o, functions: [x], capabilities: []}]", "a tool has at least one capability"),
    ],
)
def test_a_set_without_owner_purpose_or_review_and_a_tool_without_a_class_are_errors(
    rules_with: Rules, file: str, text: str, said: str
) -> None:
    with pytest.raises(RuleFaults, match=said):
        rules_with(**{file: text})


GRACE = "sets: [{{id: none, owner: ann, business_purpose: b, approver: a, review_by: 2026-11-20, grace: {{until: {until}, approved_by: [{people}]}}, tools: [calculator]}}]"
CEILING = "apps: [{id: demo, owner: o, clearance: internal, ceiling: none, purposes: [general]}]"


def test_a_set_whose_review_is_overdue_is_granted_as_long_as_two_people_let_it(
    rules_with: Rules, facts: Callable[..., Facts]
) -> None:
    rules = rules_with(
        entitlements=GRACE.format(until="2026-12-04", people="ann, bob"), apps=CEILING, routes=f"routes: [{route('rest')}]"
    )
    assert "on the word of ann and bob" in found(rules, "set_in_grace")[0].message
    asked = facts(functions=("calculate",), caller={"ceiling": "none"})
    for day, granted in ((4, (("function", "calculate"),)), (5, ())):
        now = asked.now.replace(month=12, day=day)
        assert grant_within(rules, msgspec.structs.replace(asked, now=now), "rest", "none").granted == granted
    assert "set_overdue" in {fault.code for fault in check(rules, date(2026, 12, 5))}


@pytest.mark.parametrize(
    ("until", "people"),
    [("2026-12-05", "ann, bob"), ("2026-11-20", "ann, bob"), ("2026-12-01", "ann"), ("2026-12-01", "ann, ' Ann'")],
)
def test_a_grace_is_short_and_given_by_two(rules_with: Rules, until: str, people: str) -> None:
    with pytest.raises(RuleFaults):
        rules_with(entitlements=GRACE.format(until=until, people=people), apps=CEILING, routes=f"routes: [{route('rest')}]")


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
    own = {
        "models.yaml": 'deployments: [{id: one, base_url: "http://x/v1", clearance: restricted, tier: fast, price: {input_usd_per_million: 1, output_usd_per_million: 2}}]'
    }
    with_models = load(complete(own, TODAY))
    assert "cases/routes.yaml" in with_models.files
    assert run_cases(with_models) == []
    assert "cases/routes.yaml" not in complete({"routes.yaml": f"routes: [{route('all')}]"}, TODAY)
