"""The decision table as rows, and rows back into the files: nothing that was not changed moves, and comments stay where they belong."""

from __future__ import annotations

import copy
from datetime import date

import pytest

from routing_rules.export_table import Row, joined, split, tables, with_tables
from routing_rules.faults import RuleFaults
from routing_rules.load import complete, load, shipped
from routing_rules.rules import RuleSet

TODAY = date(2026, 11, 23)
RULES = load(shipped(TODAY))
Tables = dict[str, list[Row]]


def place(table: str, number: int, column: str) -> str:
    return f"{table} row {number} {column}"


def changed(given: Tables, rules: RuleSet = RULES) -> str:
    return with_tables(rules, given, place)["routes.yaml"]


@pytest.fixture
def given() -> Tables:
    return copy.deepcopy(tables(RULES))


def row(given: Tables, id: str) -> Row:
    return next(each for rows in given.values() for each in rows if each["id"] == id)


def test_the_tables_hold_every_rule_in_the_order_in_which_they_decide(given: Tables) -> None:
    assert [each["id"] for rows in given.values() for each in rows] == [rule.id for rule in RULES.rules]
    assert row(given, "demanding-code")["when.complexity"] == "at_least moderate"
    assert row(given, "acting-tools")["then.fallback_tiers"] == "reasoning"
    assert row(given, "no-computer-control-with-sensitive-data")["serves"] == "ASI02, ASI03, PR.AA-05"


def test_tables_that_nobody_changed_leave_the_files_to_the_letter(given: Tables) -> None:
    assert with_tables(RULES, given, place) == RULES.files
    assert with_tables(RULES, {}, place) == RULES.files


def test_a_changed_cell_changes_its_rule_only(given: Tables) -> None:
    row(given, "demanding-code")["then.tier"] = "fast"
    row(given, "demanding-code")["then.fallback_tiers"] = "reasoning"
    before, after = RULES.files["routes.yaml"].splitlines(), changed(given).splitlines()
    assert [line for line in before if line not in after] == [
        "    then: {tier: reasoning, fallback_tiers: [fast], set: agentic, budget: reasoning, hints: true}"
    ] or len(before) == len(after)
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


def test_cells_are_added_and_emptied_in_every_kind_of_column(given: Tables) -> None:
    code = row(given, "demanding-code")
    code |= {
        "when.complexity": "at_least simple, at_most moderate",
        "when.task": "coding, planning",
        "when.purpose": "software-development",
        "then.limits.request_seconds": "90.5",
        "then.limits.reasoning_effort": "low",
        "then.hints": "false",
        "then.obligations": "drain",
        "from": "2026-12-01",
        "until": "2026-12-31",
        "remedy": "say: less # please",
        "serves": "",
    }
    after = load({**RULES.files, "routes.yaml": changed(given)})
    rule = next(each for each in after.rules if each.id == "demanding-code")
    assert rule.when["complexity"] == {"simple", "moderate"}
    assert rule.when["task"] == {"coding", "planning"}
    assert rule.then is not None
    assert (rule.then.limits.request_seconds, rule.then.limits.reasoning_effort, rule.then.hints) == (90.5, "low", False)
    assert (rule.valid_from, rule.valid_until) == (date(2026, 12, 1), date(2026, 12, 31))
    assert (rule.remedy, rule.serves) == ("say: less # please", ())
    said = {key: text for key, text in code.items() if text}
    assert row(tables(after), "demanding-code") == said


def test_emptied_conditions_leave_no_empty_mapping_behind(given: Tables) -> None:
    for key in ("when.sensitivity", "when.category"):
        row(given, "credentials-stay-inside")[key] = ""
    text = changed(given)
    rule = load({**RULES.files, "routes.yaml": text}).rules[3]
    assert (rule.id, rule.when) == ("credentials-stay-inside", {})
    assert "when: {}" not in text


def test_rules_move_with_the_comment_above_them(given: Tables) -> None:
    routes = given["routes"]
    routes.insert(0, routes.pop(next(at for at, each in enumerate(routes) if each["id"] == "trial")))
    lines = changed(given).splitlines()
    at = lines.index("  - id: trial")
    assert "From here on the content is public or internal" in lines[at - 1]
    assert sorted(lines) == sorted(RULES.files["routes.yaml"].splitlines())


def test_a_rule_is_taken_out_and_a_new_one_comes_in(given: Tables) -> None:
    routes = [each for each in given["routes"] if each["id"] != "deliberation"]
    new = {
        "id": "nights",
        "owner": "o@example.org",
        "reason": "=1+1",
        "then.tier": "fast",
        "then.set": "none",
        "then.budget": "tiny",
    }
    routes.insert(3, new)
    after = load({**RULES.files, "routes.yaml": changed({"routes": routes})})
    ids = [rule.id for rule in after.rules if rule.then is not None]
    assert ids == [each["id"] for each in routes]
    assert next(rule for rule in after.rules if rule.id == "nights").reason == "=1+1"


def test_a_list_may_become_empty_and_be_filled_again(given: Tables) -> None:
    emptied = load(with_tables(RULES, {"step_ups": []}, place))
    assert not [rule for rule in emptied.rules if rule.effect == "step_up"]
    again = load(with_tables(emptied, {"step_ups": given["step_ups"]}, place))
    assert tables(again) == given


def test_lists_in_brackets_are_read_and_written() -> None:
    text = "routes: [{id: all, owner: o, reason: r, then: {tier: fast, set: none, budget: default}}]\n"
    rules = load(complete({"routes.yaml": text}, TODAY))
    given = tables(rules)
    assert with_tables(rules, given, place)["routes.yaml"] == text
    given["routes"].append(given["routes"][0] | {"id": "more", "when.task": "lookup"})
    given["routes"].reverse()
    assert tables(load(with_tables(rules, given, place))) == given


def test_another_organisation_s_table_comes_over_whole(given: Tables) -> None:
    text = """
# the only rule of all
routes:
  - {id: all, owner: o, reason: r, then: {tier: fast, set: none, budget: default}} # short
"""
    rules = load(complete({"routes.yaml": text}, TODAY))
    files = with_tables(rules, given, place)
    assert tables(load(files)) == given
    assert files["routes.yaml"].startswith("\n# the only rule of all\n")


@pytest.mark.parametrize(
    ("table", "id", "column", "cell", "told"),
    [
        (
            "routes",
            "trial",
            "then.tier",
            "fsat",
            "unknown word `fsat`; expected one of `fast`, `reasoning`; did you mean `fast`?",
        ),
        ("routes", "trial", "when.task", "lookup, codnig", "did you mean `coding`?"),
        ("routes", "trial", "when.sensitivity", "at_least confidental", "did you mean `confidential`?"),
        ("routes", "trial", "when.task", "at_least coding", "unknown word `at_least coding`"),
        ("routes", "trial", "then.hints", "yes", "expected one of `true`, `false`"),
        ("routes", "trial", "then.limits.request_seconds", "soon", "is no number"),
        ("routes", "trial", "until", "next week", "is no day; expected one such as `2027-01-31`"),
        ("routes", "trial", "owner", " ", "`owner` is empty"),
        ("routes", "trial", "id", "a b", "is no identifier"),
        ("routes", "trial", "id", "routine-work", "`routine-work` is defined twice"),
        ("prohibitions", "no-computer-control-with-sensitive-data", "code", "no", "expected one of `not_permitted_by_rule`"),
    ],
)
def test_a_wrong_cell_is_named_with_what_was_expected(
    given: Tables, table: str, id: str, column: str, cell: str, told: str
) -> None:
    found = next(each for each in given[table] if each["id"] == id)
    found[column] = cell
    with pytest.raises(RuleFaults) as faults:
        changed(given)
    assert told in str(faults.value)
    assert {fault.file.split()[0] for fault in faults.value.faults} == {table}
    assert column in {fault.file.split()[-1] for fault in faults.value.faults}


@pytest.mark.parametrize("words", [["a"], ["a", "b"], ["a, b", 'say "no"', "c"], ["ümlaut x"], []])
def test_words_come_back_out_of_a_cell(words: list[str]) -> None:
    assert split(joined(words)) == words


def test_what_the_files_do_not_take_is_told_by_them(given: Tables) -> None:
    row(given, "trial")["then.limits.min_output_tokens"] = "100000"
    with pytest.raises(RuleFaults, match="`min_output_tokens` is above `max_output_tokens`"):
        changed(given)
