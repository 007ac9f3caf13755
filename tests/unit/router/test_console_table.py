"""The decision table as rows: what nobody touches stays to the letter, each edit changes one thing, faults stand in their row."""

from __future__ import annotations

from datetime import date
from difflib import unified_diff

import pytest

from router.console.table import Editor, Table
from router.errors import Refused
from routing_rules.faults import Fault, Severity
from routing_rules.load import complete, load

TODAY = date(2026, 5, 4)
FILES = complete({}, TODAY)
TEXT = FILES["routes.yaml"]
RULES = load(FILES)
GOVERNED = {"app": ("demo",), "team": ("platform",), "purpose": tuple(RULES.purposes), "category": RULES.categories}


def place_of(table: Table, id: str) -> int:
    return next(row.place for row in table.rows(TODAY) if row.id == id)


def fields(editor: Editor) -> tuple[dict[str, str], dict[str, list[str]]]:
    """What a browser sends of an open row that nobody has touched."""
    row = editor.row
    form = {"id": row.id, "owner": row.owner, "reason_of_rule": row.reason, "remedy": editor.remedy, "from": row.first_day, "until": row.last_day}  # fmt: skip
    form |= {"tier": row.tier, "set": row.entitlement_set, "budget": row.budget, "wish": editor.wish, "code": row.code}
    form |= {name: "yes" for name in ("internal_only", "hints") if getattr(editor, name)}
    lists = {f"when.{cell.dimension}": list(cell.chosen) for cell in editor.cells}
    lists |= {"fallback_tiers": list(row.fallback), "obligations": list(row.obligations)}
    return form, lists


def changed(table: Table) -> list[str]:
    before = Table(TEXT).text().splitlines()
    return [line for line in unified_diff(before, table.text().splitlines(), lineterm="", n=0) if line[:2] in ("+ ", "- ")]


def test_the_table_shows_every_rule_in_its_order() -> None:
    shown = [(row.id, row.part) for row in Table(TEXT).rows(TODAY)]
    assert [id for id, _ in shown] == [rule.id for rule in RULES.rules]
    assert {part for _, part in shown} == {"prohibitions", "step_ups", "routes"}


@pytest.mark.parametrize("place", range(len(RULES.rules)))
def test_a_row_that_is_opened_and_closed_again_changes_nothing(place: int) -> None:
    table = Table(TEXT)
    form, lists = fields(table.editor(place, GOVERNED, TODAY, ()))
    table.apply(place, form, lists, GOVERNED)
    assert table.text() == Table(TEXT).text()


def test_one_more_word_in_a_cell_changes_one_line() -> None:
    table = Table(TEXT)
    place = place_of(table, "confidential-demanding")
    form, lists = fields(table.editor(place, GOVERNED, TODAY, ()))
    lists["when.task"].append("coding")
    table.apply(place, form, lists, GOVERNED)
    assert [line.strip("+- ") for line in changed(table)] == [
        "when: {sensitivity: confidential, task: [mathematics, analysis, planning, agentic]}",
        "when: {sensitivity: confidential, task: [coding, mathematics, analysis, planning, agentic]}",
    ]
    rule = next(each for each in load({**FILES, "routes.yaml": table.text()}).rules if each.id == "confidential-demanding")
    assert "coding" in rule.when["task"]


def test_no_word_and_every_word_of_a_dimension_are_no_condition() -> None:
    for chosen in ([], ["public", "internal", "confidential", "restricted"]):
        table = Table(TEXT)
        place = place_of(table, "confidential-routine")
        form, lists = fields(table.editor(place, GOVERNED, TODAY, ()))
        table.apply(place, form, lists | {"when.sensitivity": chosen}, GOVERNED)
        assert table.rows(TODAY)[place].when == ()


def test_a_rule_is_added_copied_moved_disabled_enabled_and_removed() -> None:
    table = Table(TEXT)
    count = len(table.rows(TODAY))
    like = {"tier": "fast", "set": "none", "budget": "default"}
    place = table.add("routes", "ann@example.org", like)
    assert next(row.id for row in table.rows(TODAY) if row.part == "routes") == "new-rule"
    assert table.rows(TODAY)[place].tier == "fast"
    copy = table.copy(place)
    assert table.rows(TODAY)[copy].id == "new-rule-copy"
    moved = table.move(copy, -1)
    assert (moved, table.rows(TODAY)[moved].id) == (place, "new-rule-copy")
    assert table.move(0, -1) == 0, "the first of its part"
    load({**FILES, "routes.yaml": table.text()})
    table.end(place, TODAY)
    assert table.rows(TODAY)[place].ended
    table.end(place, TODAY)
    assert not table.rows(TODAY)[place].ended
    table.remove(place)
    table.remove(place)
    assert len(table.rows(TODAY)) == count
    assert changed(table) == []


def test_comments_stay() -> None:
    table = Table(TEXT)
    table.end(place_of(table, "trial"), TODAY)
    comments = [line for line in TEXT.splitlines() if line.strip().startswith("#")]
    assert comments
    assert all(comment in table.text().splitlines() for comment in comments)


def test_a_fault_stands_in_the_row_of_its_line() -> None:
    table = Table(TEXT)
    text = table.text().splitlines()
    line = next(number for number, each in enumerate(text, 1) if "id: deliberation" in each) + 3
    fault = Fault(Severity.ERROR, "unknown_word", "routes.yaml", line, 5, "unknown task")
    (row,) = [row for row in table.rows(TODAY, (fault,)) if row.faults]
    assert row.id == "deliberation"


@pytest.mark.parametrize("text", ["a: [", "\x00", "{" * 20_000])
def test_a_text_that_is_no_yaml_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        Table(text)
    assert refused.value.code == "invalid_request"


@pytest.mark.parametrize("text", ["", "- a", "routes: 5", "routes: [1, text]", "a: &a [*a, *a]"])
def test_a_text_that_is_no_table_has_no_rows(text: str) -> None:
    assert Table(text).rows(TODAY) == ()
