"""Rules in several files: parts of a file, and what one environment has differently."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from routing_rules.check import check
from routing_rules.faults import RuleFaults
from routing_rules.load import complete, load, read_directory, together
from routing_rules.rules import RuleSet

TODAY = date(2026, 11, 23)


def row(id: str, more: str = "", tier: str = "fast") -> str:
    return f"{{id: {id}, owner: o, reason: r, {more}then: {{tier: {tier}, set: none, budget: default}}}}"


BASE = f"""prohibitions:
  - {{id: never, owner: o, reason: r, when: {{task: coding}}}}
routes:
  - {row("first", "when: {task: writing}, ")}
  - {row("last")}
"""


def rules_of(**files: str) -> RuleSet:
    return load(complete({name.replace("__", "/") + ".yaml": text for name, text in files.items()}, TODAY))


def faults_of(**files: str) -> list[str]:
    with pytest.raises(RuleFaults) as raised:
        rules_of(**files)
    return [str(fault) for fault in raised.value.faults]


def test_the_rules_of_a_part_follow_those_of_the_file_that_includes_it() -> None:
    rules = rules_of(
        routes=f"include: [routes/b.yaml, routes/a.yaml]\n{BASE}",
        routes__a=f"routes: [{row('of-a')}]",
        routes__b=f"routes: [{row('of-b')}]\nstep_ups: [{{id: ask, owner: o, reason: r}}]",
    )
    assert [rule.id for rule in rules.rules] == ["never", "ask", "first", "last", "of-b", "of-a"]
    assert [rule.file for rule in rules.rules][-2:] == ["routes/b.yaml", "routes/a.yaml"]


def test_a_fault_in_a_part_is_told_where_it_stands() -> None:
    told = faults_of(
        routes=f"include: routes/a.yaml\n{BASE}",
        routes__a="routes:\n  - {id: x, owner: o, reason: r, whn: {}, then: {tier: fast, set: none, budget: default}}",
    )
    assert told == ["routes/a.yaml:2:34: error: unknown key `whn`; did you mean `when`?"]


@pytest.mark.parametrize(
    "name", ["../outside.yaml", "/etc/passwd", "tools/a.yaml", "routes/../../x.yaml", "routes/a.yml", "routes.yaml"]
)
def test_a_part_lies_in_the_directory_that_is_named_like_its_file(name: str) -> None:
    assert any("is no part of routes.yaml" in each for each in faults_of(routes=f"include: ['{name}']\n{BASE}"))


def test_a_part_that_is_missing_is_told_with_the_nearest() -> None:
    told = faults_of(routes=f"include: [routes/marketing.yaml]\n{BASE}", routes__marketting=f"routes: [{row('x')}]")
    assert told == [
        "routes.yaml:1:10: error: the file `routes/marketing.yaml` is missing; did you mean `routes/marketting.yaml`?"
    ]


def test_a_part_that_nobody_includes_is_worth_a_look() -> None:
    told = check(rules_of(routes=BASE, routes__a=f"routes: [{row('x')}]"), TODAY)
    assert [fault.file for fault in told if fault.code == "not_included"] == ["routes/a.yaml"]
    told = check(rules_of(routes=f"include: routes/a.yaml\n{BASE}", routes__a="routes: []"), TODAY)
    assert "not_included" not in {fault.code for fault in told}


@pytest.mark.parametrize("text", ["include: [routes/b.yaml]", "time_zone: UTC", "routes: [word]"])
def test_a_part_holds_entries_and_nothing_else(text: str) -> None:
    assert faults_of(routes=f"include: [routes/a.yaml]\n{BASE}", routes__a=text)


def test_an_overlay_replaces_what_it_names_and_puts_the_rest_first() -> None:
    rules = rules_of(routes=BASE, overlays__staging__routes=f"routes: [{row('new')}, {row('last', tier='reasoning')}]")
    assert [(rule.id, rule.then.tiers) for rule in rules.rules if rule.then] == [
        ("new", ("fast",)),
        ("first", ("fast",)),
        ("last", ("reasoning",)),
    ]
    assert {rule.id: rule.file for rule in rules.rules}["last"] == "overlays/staging/routes.yaml"


def test_an_overlay_replaces_a_value_whole() -> None:
    rules = rules_of(overlays__staging__budgets="default_owner_budget: {soft_usd: 1, hard_usd: 2}")
    assert rules.default_owner_budget.hard_nano == 2_000_000_000


def test_an_overlay_adds_prohibitions_and_loosens_none() -> None:
    added = rules_of(routes=BASE, overlays__x__routes="prohibitions: [{id: more, owner: o, reason: r, when: {task: writing}}]")
    assert {rule.id for rule in added.rules} >= {"never", "more"}
    told = faults_of(routes=BASE, overlays__x__routes="prohibitions: [{id: never, owner: o, reason: r, when: {task: planning}}]")
    assert "an overlay may add prohibitions, not replace `never`" in told[0]


def test_an_overlay_that_says_two_things_of_one_entry_is_told() -> None:
    told = faults_of(routes=BASE, overlays__x__routes=f"routes: [{row('last')}, {row('last', tier='reasoning')}]")
    assert "overlays/x/routes.yaml:1:" in told[0]
    assert "`last` is defined twice" in told[0]


def test_a_revision_is_for_one_environment() -> None:
    told = faults_of(overlays__a__routes=BASE, overlays__b__routes=BASE)
    assert any("a revision is for one environment" in each for each in told)


def test_a_revision_with_another_overlay_is_another_revision() -> None:
    assert rules_of().revision != rules_of(overlays__x__budgets="new_sessions_per_hour: 5").revision


@pytest.mark.parametrize("name", ["overlays/x/nonsense.yaml", "nonsense/a.yaml", "overlays/x/y/routes.yaml"])
def test_a_file_that_belongs_nowhere_is_told(name: str) -> None:
    with pytest.raises(RuleFaults, match="unknown file"):
        load(complete({name: "routes: []"}, TODAY))


def write(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        path = directory / (name.replace("__", "/") + ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def test_a_directory_is_read_for_its_environment_only(tmp_path: Path) -> None:
    write(
        tmp_path,
        routes=BASE,
        routes__a="routes: []",
        overlays__staging__routes="{}",
        overlays__production__routes="{}",
        other__x="{}",
    )
    assert set(read_directory(tmp_path)) == {"routes.yaml", "routes/a.yaml"}
    assert set(read_directory(tmp_path, "staging")) == {"routes.yaml", "routes/a.yaml", "overlays/staging/routes.yaml"}


def test_an_environment_that_has_no_overlay_where_others_have_is_told(tmp_path: Path) -> None:
    write(tmp_path, routes=BASE, overlays__production__routes="{}")
    with pytest.raises(RuleFaults, match="did you mean `production`"):
        read_directory(tmp_path, "prodution")


def test_an_environment_means_nothing_where_there_are_no_overlays(tmp_path: Path) -> None:
    assert set(read_directory(write(tmp_path, routes=BASE), "production")) == {"routes.yaml"}


def test_a_file_brings_its_parts_along_and_an_overlay_its_environment() -> None:
    base = {"routes.yaml": "1", "routes/old.yaml": "1", "tools/kept.yaml": "1", "overlays/old/routes.yaml": "1"}
    own = {"routes.yaml": "2", "overlays/new/routes.yaml": "2"}
    assert together(base, own) == {**own, "tools/kept.yaml": "1"}
    assert together(base, {"apps.yaml": "2"}) == {**base, "apps.yaml": "2"}
