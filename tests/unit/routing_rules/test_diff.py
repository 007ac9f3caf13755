"""What one rule set changes against another: exactly the cells that come out otherwise, and everything that became wider."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date

import pytest

from routing_rules.diff import Diff, diff, grid
from routing_rules.load import load
from routing_rules.rules import RuleSet

TODAY = date(2026, 11, 23)
ANSWERS = re.compile(r"\b(owner|approver|reviewer|cost_center|team): ([\w@.-]+)")


@pytest.fixture
def compared(rules: RuleSet, files: dict[str, str]) -> Callable[..., Diff]:
    """The diff from the shipped rules to those in which a text of a file is another: `compared("routes.yaml", old, new)`."""

    def build(*edits: tuple[str, str, str], back: bool = False) -> Diff:
        changed = dict(files)
        for name, old, new in edits:
            assert old in changed[name], old
            changed[name] = changed[name].replace(old, new, 1)
        other = load(changed)
        return diff(other, rules, TODAY) if back else diff(rules, other, TODAY)

    return build


def test_the_same_rules_change_nothing(rules: RuleSet) -> None:
    found = diff(rules, rules, TODAY)
    assert (found.changed, found.widened, found.changes, found.widenings, found.files) == (0, 0, (), (), ())
    assert not found.widens
    assert not found.narrows_only


def test_a_comment_changes_the_file_and_no_cell(compared: Callable[..., Diff]) -> None:
    found = compared(("routes.yaml", "prohibitions:\n", "# more\nprohibitions:\n"))
    assert found.files == ("routes.yaml",)
    assert (found.changed, found.widens) == (0, False)


def test_one_task_at_one_level_that_moves_to_reasoning_is_one_cell_of_the_picture(compared: Callable[..., Diff]) -> None:
    old = "task: [mathematics, analysis, planning, agentic]}"
    found = compared(("routes.yaml", old, old.replace("agentic", "agentic, coding")))
    assert grid(found) == {("confidential", "coding"): True}
    assert found.sets == ("private",)
    back = compared(("routes.yaml", old, old.replace("agentic", "agentic, coding")), back=True)
    assert grid(back) == {("confidential", "coding"): False}
    assert back.narrows_only
    assert back.changed == found.changed


def test_groups_of_cells_do_not_overlap(compared: Callable[..., Diff]) -> None:
    found = compared(
        (
            "routes.yaml",
            "when: {integrity: untrusted, capability: [admin_privilege, spends_money]}",
            "when: {integrity: untrusted, capability: [admin_privilege]}",
        )
    )
    assert found.changed == sum(change.cells for change in found.changes) <= found.cells
    for place, one in enumerate(found.changes):
        for other in found.changes[:place]:
            axes = one.where.keys() & other.where.keys()
            assert any(not set(one.where[axis]) & set(other.where[axis]) for axis in axes)


@pytest.mark.parametrize(
    ("edit", "kind", "subject"),
    [
        (("models.yaml", "clearance: internal", "clearance: confidential"), "clearance", "sim-fast"),
        (
            ("routes.yaml", "capability: [admin_privilege, spends_money]", "capability: [admin_privilege]"),
            "prohibition",
            "no-admin-tools-after-untrusted-content",
        ),
        (
            (
                "routes.yaml",
                "when: {business_impact: high, access: control}",
                "when: {business_impact: high, access: control, task: coding}",
            ),
            "step_up",
            "control-in-regulated-decisions",
        ),
        (
            (
                "entitlements.yaml",
                "    review_by: 2027-11-23\n",
                "    review_by: 2027-11-23\n    grace: {until: 2027-12-01, approved_by: [ann, bob]}\n",
            ),
            "expiry",
            "none",
        ),
        (
            (
                "models.yaml",
                "access_review: {reviewer: security@example.org, expires: 2027-05-22}",
                "access_review: {reviewer: security@example.org, expires: 2027-05-22, grace: {until: 2027-06-01, approved_by: [ann, bob]}}",
            ),
            "expiry",
            "sim-fast",
        ),
    ],
)
def test_what_protects_and_becomes_weaker_is_named(
    compared: Callable[..., Diff], edit: tuple[str, str, str], kind: str, subject: str
) -> None:
    found = compared(edit)
    assert (kind, subject) in {(each.kind, each.subject) for each in found.widenings}
    assert found.widens
    assert (kind, subject) not in {(each.kind, each.subject) for each in compared(edit, back=True).widenings}


def test_a_prohibition_that_another_one_covers_is_not_missed(compared: Callable[..., Diff]) -> None:
    old = "  - id: no-admin-tools-after-untrusted-content\n"
    found = compared(
        ("routes.yaml", old, old.replace("no-admin", "never-admin")),
        (
            "routes.yaml",
            "when: {integrity: untrusted, capability: [admin_privilege, spends_money]}",
            "when: {capability: [admin_privilege, spends_money]}",
        ),
        ("cases/routes.yaml", "rule: no-admin-tools", "rule: never-admin-tools"),
    )
    assert "prohibition" not in {each.kind for each in found.widenings}


def test_a_rule_that_begins_later_widens_on_that_day(compared: Callable[..., Diff]) -> None:
    later = "routes:\n  - {id: soon, owner: o@example.org, reason: a test, from: 2026-12-24, when: {sensitivity: confidential}, then: {tier: reasoning, set: agentic, budget: reasoning}}\n"
    found = compared(("routes.yaml", "routes:\n", later))
    assert found.widened > 0
    assert {change.since for change in found.changes} == {date(2026, 12, 24)}


def test_days_that_begin_elsewhere_are_named_where_rules_have_days(compared: Callable[..., Diff]) -> None:
    dated = ("routes.yaml", "    when: {purpose: trial}\n", "    until: 2027-12-31\n    when: {purpose: trial}\n")
    zone = ("routes.yaml", "prohibitions:\n", "time_zone: Pacific/Auckland\nprohibitions:\n")
    assert "time_zone" in {each.subject for each in compared(dated, zone).widenings}
    assert "time_zone" not in {each.subject for each in compared(zone).widenings}


def test_fewer_cases_are_a_widening_and_more_are_none(compared: Callable[..., Diff]) -> None:
    line = "  - {name: a one-liner does not, facts: {task: coding, complexity: simple}, expect: {rule: routine-work}}\n"
    fewer = compared(("cases/routes.yaml", line, ""))
    assert [each.kind for each in fewer.widenings] == ["case"]
    assert compared(("cases/routes.yaml", line, ""), back=True).widenings == ()
    assert compared(
        ("cases/routes.yaml", line, f"{line}  - {{name: another, facts: {{task: lookup}}, expect: {{rule: routine-work}}}}\n")
    ).narrows_only


def test_a_larger_budget_widens_every_cell_it_pays_for_and_a_smaller_one_none(
    compared: Callable[..., Diff], files: dict[str, str]
) -> None:
    name = next(line for line in files["budgets.yaml"].splitlines() if "cost_usd" in line)
    larger = compared(("budgets.yaml", name, name.replace("cost_usd: ", "cost_usd: 9")))
    assert larger.widened == larger.changed > 0
    assert all(change.gains == ("budget cost_nano",) for change in larger.changes)
    assert compared(("budgets.yaml", name, name.replace("cost_usd: ", "cost_usd: 9")), back=True).narrows_only


def test_an_obligation_that_is_lifted_widens(compared: Callable[..., Diff]) -> None:
    old = "then: {tier: fast, fallback_tiers: [reasoning], set: pure, budget: default}"
    back = compared(("routes.yaml", old, old.replace("budget: default", "budget: default, obligations: [no_store]")), back=True)
    assert {gain for change in back.changes for gain in change.gains} == {"obligation no_store lifted"}


def test_an_app_that_may_send_more_is_named(compared: Callable[..., Diff]) -> None:
    lower = ("apps.yaml", "clearance: restricted", "clearance: internal")
    assert [(each.kind, each.subject) for each in compared(lower, back=True).widenings] == [("clearance", "demo")]
    assert compared(lower).widenings == ()


def test_a_detector_that_takes_more_is_named(compared: Callable[..., Diff]) -> None:
    assert [each.kind for each in compared(("sensitivity.yaml", "many: 10", "many: 99")).widenings] == ["detector"]
    assert compared(("sensitivity.yaml", "many: 10", "many: 5")).narrows_only


@pytest.mark.parametrize("unmapped", ["refuse", "restricted"])
@pytest.mark.parametrize(
    ("mapped", "added", "lower"),
    [
        ("", "labels: {Secret: restricted, Streng Geheim: public}", "labels.Streng Geheim"),
        ("", "level_names: {public: Streng Geheim}\nlabels: {Secret: restricted}", "labels.Streng Geheim"),
        ("labels: {Secret: restricted}", "level_names: {public: secret}\nlabels: {Secret: restricted}", "labels.secret"),
        ("labels: {a: restricted, A: public}", "labels: {A: public, a: restricted}", "labels.a"),
    ],
)
def test_a_label_that_comes_to_less_than_it_did_is_named(
    rules_with: Callable[..., RuleSet], unmapped: str, mapped: str, added: str, lower: str
) -> None:
    before = rules_with(sensitivity=f"unmapped_label: {unmapped}\n{mapped}\n")
    after = rules_with(sensitivity=f"unmapped_label: {unmapped}\n{added}\n")
    assert lower in {each.subject for each in diff(before, after, TODAY).widenings if each.kind == "label"}


def test_a_label_that_comes_to_more_is_no_widening(compared: Callable[..., Diff]) -> None:
    assert compared(("sensitivity.yaml", "  secret: restricted\n", "  secret: restricted\n  top: restricted\n")).narrows_only
    assert compared(("sensitivity.yaml", "  internal use only: internal\n", "")).narrows_only


def test_a_step_up_that_takes_the_place_of_another_is_no_way_to_decide_oneself(compared: Callable[..., Diff]) -> None:
    rule = "step_ups:\n  - {{id: mine, owner: {}, reason: a test, when: {{business_impact: high, access: control}}}}\n"
    other = compared(("routes.yaml", "step_ups:\n", rule.format("ed@example.org")))
    assert {gain for change in other.changes for gain in change.gains} == {"approver ed@example.org"}
    assert compared(("routes.yaml", "step_ups:\n", rule.format("compliance@example.org"))).narrows_only


def test_another_set_with_the_same_tools_widens_by_what_it_stops_less(
    compared: Callable[..., Diff], files: dict[str, str]
) -> None:
    listed = files["entitlements.yaml"]
    block = listed[listed.index("  - id: agentic\n") :]
    new = block.replace("id: agentic", "id: copy").replace("approver: security@", "approver: ed@")
    new = new[: new.index("    prohibited:")]
    added = ("entitlements.yaml", block, block.rstrip("\n") + "\n" + new)
    route = ("routes.yaml", "set: agentic, budget: reasoning", "set: copy, budget: reasoning")
    gains = {gain for change in compared(added, route).changes for gain in change.gains}
    assert gains == {"approver ed@example.org", "combination restricted-way-out lifted"}


def test_a_route_or_an_app_with_fewer_tools_only_narrows(compared: Callable[..., Diff]) -> None:
    assert compared(("routes.yaml", "set: agentic, budget: reasoning", "set: pure, budget: reasoning")).narrows_only
    assert compared(("routes.yaml", "set: standard, budget: tiny", "set: none, budget: tiny")).narrows_only
    assert compared(("apps.yaml", "ceiling: standard", "ceiling: pure")).narrows_only
    assert compared(("entitlements.yaml", "web-search, ", "")).narrows_only


def test_what_a_tool_meant_is_not_taken_over_by_one_that_is_watched_less(compared: Callable[..., Diff]) -> None:
    first = 'tools:\n  - {id: lax, owner: data@example.org, capabilities: [pure], functions: ["delete_*"]}\n'
    taken = compared(("tools.yaml", "tools:\n", first))
    assert ("tool", "delete-records") in {(each.kind, each.subject) for each in taken.widenings}
    strict = first.replace("[pure]", "[writes_state, destructive]").replace("]}\n", "], approval_boundary: every_call}\n")
    assert compared(("tools.yaml", "tools:\n", strict)).narrows_only


@pytest.mark.parametrize("name", ["apps", "purposes", "tools", "entitlements", "routes", "models"])
def test_whoever_answers_for_something_is_never_exchanged_unseen(rules: RuleSet, files: dict[str, str], name: str) -> None:
    file = f"{name}.yaml"
    places = [match.span(2) for match in ANSWERS.finditer(files[file])]
    assert places
    for start, end in places:
        changed = {**files, file: f"{files[file][:start]}somebody-else@example.org{files[file][end:]}"}
        assert {each.kind for each in diff(rules, load(changed), TODAY).widenings} & {"owner", "approver"}
