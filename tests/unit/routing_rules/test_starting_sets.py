"""Every starting set can be used as it is: no errors, no dead rules, no task without a rule, and its cases hold."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from classifiers.recalls import published
from routing_rules.cases import run_cases
from routing_rules.check import check
from routing_rules.faults import RuleFaults
from routing_rules.load import STARTING_SETS, complete, load, read_rules, shipped, starting_set
from routing_rules.rules import RuleSet

TODAY = date(2026, 11, 23)
PAGE = (Path(__file__).parents[3] / "docs" / "starting-sets.md").read_text(encoding="utf-8")


def started(name: str) -> RuleSet:
    return load(complete(shipped(TODAY, name), TODAY))


@pytest.mark.parametrize("name", STARTING_SETS)
def test_a_starting_set_has_nothing_that_is_worth_a_look_but_what_nobody_is_cleared_for(name: str) -> None:
    assert {fault.code for fault in check(started(name), TODAY, published())} <= {"nobody_cleared"}


@pytest.mark.parametrize("name", STARTING_SETS)
def test_the_cases_of_a_starting_set_hold(name: str) -> None:
    rules = started(name)
    assert any(file.startswith("cases/") for file in rules.files)
    assert run_cases(rules) == []


@pytest.mark.parametrize("name", STARTING_SETS)
def test_every_rule_of_a_starting_set_says_what_it_serves_and_is_explained(name: str) -> None:
    for rule in started(name).rules:
        assert rule.serves, rule.id
        assert name == "default" or f"`{rule.id}`" in PAGE, rule.id


def test_a_set_is_taken_by_name_where_there_is_no_such_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = Path("cautious-company")
    assert starting_set(given) == "cautious-company"
    assert read_rules(given, TODAY) == shipped(TODAY, "cautious-company")
    given.mkdir()
    assert starting_set(given) is None


def test_a_name_that_is_neither_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(RuleFaults, match="`developer-laboratory`"):
        read_rules(tmp_path / "nothing", TODAY)
