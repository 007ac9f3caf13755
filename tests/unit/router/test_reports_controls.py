"""The controls report: every id of the frameworks beside what serves it, and what is missing said plainly."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from router.reports.controls import CONTROLS, TESTS, Control, controls_report, told
from routing_rules.load import complete, load, shipped
from routing_rules.rules import RuleSet

ROOT = Path(__file__).parents[3]
TODAY = date(2026, 11, 23)
RULES = load(shipped(TODAY))
START = datetime(2026, 11, 1, tzinfo=UTC)
END = START + timedelta(days=30)


def control(
    id: str, rules: RuleSet = RULES, decisions: Mapping[tuple[str, str], int] = {}, calls: Mapping[str, int] = {}
) -> Control:
    return next(each for each in controls_report(rules, decisions, calls, START, END).controls if each.id == id)


def test_every_id_is_there_and_every_shipped_rule_serves_one() -> None:
    report = controls_report(RULES, {}, {}, START, END)
    assert [each.id for each in report.controls] == list(CONTROLS)
    assert report.not_serving == ()
    assert all(each.rules or each.combinations for each in report.controls)


@pytest.mark.parametrize("id", CONTROLS)
def test_the_tests_that_are_named_are_there(id: str) -> None:
    assert TESTS[id]
    assert all((ROOT / path).is_file() for path in TESTS[id])


def test_rules_cases_and_recorded_decisions_of_an_id_are_counted() -> None:
    decisions = {("credentials-stay-inside", "refuse"): 3, ("credentials-stay-inside", "permit"): 1, ("trial", "permit"): 9}
    served = control("NHI7", decisions=decisions)
    assert served.rules == ("credentials-stay-inside",)
    assert served.decisions == {"credentials-stay-inside": {"permit": 1, "refuse": 3}}
    assert "a pasted key stays inside" in served.cases
    assert served.missing == ()


def test_combinations_serve_too_and_the_calls_that_met_them_are_evidence() -> None:
    served = control("ASI05", calls={"untrusted_execute": 2, "private_egress": 4})
    assert "untrusted_execute" in served.combinations
    assert served.calls == {"untrusted_execute": 2}
    assert "no decision was recorded" not in served.missing


def test_what_nothing_serves_is_said() -> None:
    text = "routes: [{id: all, owner: o, reason: r, serves: [OWN-1], then: {tier: fast, set: none, budget: default}}]\n"
    rules = load(complete({"routes.yaml": text}, TODAY))
    assert control("NHI7", rules).missing == ("no rule or combination serves it", "no decision was recorded")
    own = control("OWN-1", rules)
    assert (own.rules, own.name) == (("all",), "named by the rules only")
    assert own.missing == (
        "no case that holds shows a rule of it deciding",
        "no test of the router shows it",
        "no decision was recorded",
    )
    silent = load(complete({"routes.yaml": text.replace("serves: [OWN-1], ", "")}, TODAY))
    assert controls_report(silent, {}, {}, START, END).not_serving == ("all",)


def test_the_report_reads_aloud_and_can_be_written_as_json() -> None:
    report = controls_report(RULES, {}, {}, START, END)
    assert "not wholly served: ASI01, ASI02" in told(report)
    assert msgspec.json.decode(msgspec.json.encode(report))["controls"][0]["id"] == "ASI01"
