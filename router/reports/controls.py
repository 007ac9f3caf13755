"""The controls report: for each id of a framework, the rules, tests and recorded decisions that serve it, and what does not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from routing_rules.cases import cases_ran
from routing_rules.combinations import SHIPPED
from routing_rules.rules import RuleSet

CONTROLS = {
    "ASI01": "OWASP Agentic: goal hijack",
    "ASI02": "OWASP Agentic: tool misuse",
    "ASI03": "OWASP Agentic: identity and privilege abuse",
    "ASI05": "OWASP Agentic: unexpected code execution",
    "ASI09": "OWASP Agentic: human-agent trust",
    "ASI10": "OWASP Agentic: rogue agents",
    "NHI5": "OWASP Non-Human Identities 2025: overprivileged identity",
    "NHI7": "OWASP Non-Human Identities 2025: long-lived secrets",
    "PR.AA-05": "NIST CSF 2.0: permissions are managed, enforced and reviewed, with least privilege and separation of duties",
}
"""The ids that rules may serve, by the names under which their frameworks have them."""

TESTS = {
    "ASI01": ("tests/security/test_laundering.py", "tests/properties/test_judge_properties.py"),
    "ASI02": ("tests/security/test_only_granted_tools_leave.py", "tests/security/test_tool_shapes_matrix.py"),
    "ASI03": ("tests/unit/router/test_authenticate.py", "tests/unit/routing_rules/test_entitlements.py"),
    "ASI05": ("tests/unit/routing_rules/test_judge.py", "tests/security/test_files_are_read_apart.py"),
    "ASI09": ("tests/e2e/test_calls_approved.py", "tests/unit/router/test_reports_approvals.py"),
    "ASI10": ("tests/unit/routing_rules/test_loops.py", "tests/properties/test_budget_holds.py"),
    "NHI5": ("tests/unit/routing_rules/test_blast_radius.py", "tests/unit/router/test_reports_review.py"),
    "NHI7": ("tests/e2e/test_cli_contract.py", "tests/unit/router/test_authenticate.py"),
    "PR.AA-05": ("tests/properties/test_decide_properties.py", "tests/properties/test_blast_radius_narrows.py"),
}
"""Tests of the router itself, in its source, that show what the rules rely on. That they are there is tested, too."""


class Control(msgspec.Struct, frozen=True):
    """One id. `rules` and `combinations` say that they serve it; `cases` are the authors' that such a rule decides and that hold, `tests`
    the router's own. `decisions` counts what was recorded of the rules, by rule and what was decided; `calls` how often tool calls met
    its combinations. `missing`: what there is none of."""

    id: str
    name: str
    rules: tuple[str, ...]
    combinations: tuple[str, ...]
    cases: tuple[str, ...]
    tests: tuple[str, ...]
    decisions: dict[str, dict[str, int]]
    calls: dict[str, int]
    missing: tuple[str, ...]


class ControlsReport(msgspec.Struct, frozen=True):
    """All ids, in the order of their frameworks, then ids that only the rules name. `not_serving` are rules that name none."""

    revision: str
    since: datetime
    until: datetime
    controls: tuple[Control, ...]
    not_serving: tuple[str, ...]


def controls_report(
    rules: RuleSet,
    decisions: Mapping[tuple[str, str], int],
    calls: Mapping[str, int],
    since: datetime,
    until: datetime,
) -> ControlsReport:
    """What serves each id. `decisions` counts recorded decisions by (rule, what was decided) from `since` to `until`, `calls` the
    combinations that recorded tool calls met."""
    by_rule = {rule.id: rule.serves for rule in rules.rules}
    combinations = {each.id: each.serves for each in SHIPPED}
    for entitlement_set in rules.sets.values():
        combinations |= {each.id: each.serves for each in (*entitlement_set.prohibited, *entitlement_set.step_ups)}
    cases: dict[str, list[str]] = {}
    for case in cases_ran(rules)[0]:
        if case.holds:
            cases.setdefault(case.decision.rule, []).append(case.name)
    named = {id for serves in (*by_rule.values(), *combinations.values()) for id in serves}
    found = []
    for id in (*CONTROLS, *sorted(named - set(CONTROLS))):
        serving = tuple(rule for rule, serves in by_rule.items() if id in serves)
        meeting = tuple(sorted(combination for combination, serves in combinations.items() if id in serves))
        control = Control(
            id=id,
            name=CONTROLS.get(id, "named by the rules only"),
            rules=serving,
            combinations=meeting,
            cases=tuple(name for rule in serving for name in cases.get(rule, ())),
            tests=TESTS.get(id, ()),
            decisions={rule: counted for rule in serving if (counted := _counted(decisions, rule))},
            calls={combination: calls[combination] for combination in meeting if calls.get(combination)},
            missing=(),
        )
        found.append(msgspec.structs.replace(control, missing=_missing(control)))
    silent = tuple(rule for rule, serves in by_rule.items() if not serves)
    return ControlsReport(rules.revision, since, until, tuple(found), silent)


def _counted(decisions: Mapping[tuple[str, str], int], rule: str) -> dict[str, int]:
    return {decided: count for (by, decided), count in sorted(decisions.items()) if by == rule}


def _missing(control: Control) -> tuple[str, ...]:
    """What an auditor would look for in vain."""
    found = []
    if not control.rules and not control.combinations:
        found.append("no rule or combination serves it")
    if control.rules and not control.cases:
        found.append("no case that holds shows a rule of it deciding")
    if not control.tests:
        found.append("no test of the router shows it")
    if not control.decisions and not control.calls:
        found.append("no decision was recorded")
    return tuple(found)


def told(report: ControlsReport) -> str:
    """The report for people."""
    lines = [f"{report.since:%Y-%m-%d} to {report.until:%Y-%m-%d}, under {report.revision}"]
    for control in report.controls:
        count = sum(sum(counted.values()) for counted in control.decisions.values())
        lines += ["", f"{control.id}  {control.name}"]
        lines.append(f"  rules      {', '.join(control.rules) or 'none'}")
        if control.combinations:
            lines.append(f"  combined   {', '.join(control.combinations)}")
        lines.append(f"  cases      {len(control.cases)} that hold; tests: {', '.join(control.tests) or 'none'}")
        met = f"; {sum(control.calls.values())} tool calls met a combination" if control.calls else ""
        lines.append(f"  recorded   {count} decisions{met}")
        lines += [f"  missing    {what}" for what in control.missing]
    gaps = [control.id for control in report.controls if control.missing]
    lines += ["", f"not wholly served: {', '.join(gaps)}" if gaps else "every id is served"]
    if report.not_serving:
        lines.append(f"rules that name no id: {', '.join(report.not_serving)}")
    return "\n".join(lines)
