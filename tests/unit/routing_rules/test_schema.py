"""The published JSON Schemas say what the files may hold: no more, and no less."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor

from router.cli.rules import rules as command
from routing_rules.cases import run_cases
from routing_rules.faults import RuleFaults
from routing_rules.load import FILES, POLICIES, STARTING_SETS, complete, load, read_directory, shipped
from routing_rules.schema import schemas, written

TODAY = date(2026, 11, 23)
SCHEMAS = schemas()
WRITTEN = written()
FILES_AS_SHIPPED = shipped(TODAY)
SHAPE = ("unknown_key", "missing_key", "wrong_type", "unknown_word", "bad_amount")
BY_KEYS = ("missing_key", "unknown_key")


class _Days(SafeConstructor):
    """Days stay texts, as in an editor."""


_Days.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


def read(text: str) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Days
    return yaml.load(text)


def named(file: str) -> dict[str, Any]:
    return SCHEMAS["cases.yaml" if file.startswith("cases/") else file]


def objections(file: str, document: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft7Validator(named(file)).iter_errors(document)]


@pytest.mark.parametrize("name", STARTING_SETS)
def test_every_shipped_file_is_described_and_points_to_its_schema(name: str) -> None:
    for file, text in read_directory(STARTING_SETS[name]).items():
        assert objections(file, read(shipped(TODAY, name)[file])) == [], file
        pointed = text.splitlines()[0].partition("$schema=")[2]
        assert (Path(file).parent / pointed).as_posix().replace("cases/../", "") in WRITTEN, file


def test_the_published_schemas_are_those_of_the_reader() -> None:
    published = {f"schemas/{path.name}": path.read_text(encoding="utf-8") for path in (POLICIES / "schemas").glob("*.json")}
    assert published == WRITTEN, "router rules schema --to routing_rules/policies writes them anew"


def test_every_schema_is_one() -> None:
    for schema in SCHEMAS.values():
        jsonschema.Draft7Validator.check_schema(schema)


def rows(document: Any) -> list[dict[str, Any]]:
    """Every mapping in a document."""
    if isinstance(document, dict):
        return [document, *(row for value in document.values() for row in rows(value))]
    return [row for value in document for row in rows(value)] if isinstance(document, list) else []


def faults_of(file: str, document: Any) -> list[str]:
    try:
        loaded = load({**FILES_AS_SHIPPED, file: json.dumps(document)})
    except RuleFaults as error:
        return [fault.code for fault in error.faults]
    return [fault.code for fault in run_cases(loaded)] if file.startswith("cases/") else []


@pytest.mark.parametrize("file", [*FILES, "cases/routes.yaml"])
def test_a_key_that_nobody_knows_is_an_objection_where_the_reader_says_so(file: str) -> None:
    text = FILES_AS_SHIPPED[file]
    compared = 0
    for place in range(len(rows(read(text)))):
        document = read(text)
        rows(document)[place]["nonsense"] = "x"
        schema_objects, told = bool(objections(file, document)), faults_of(file, document)
        assert schema_objects == any(code in SHAPE for code in told), (file, place, told)
        compared += schema_objects
        if compared > 4:
            break
    assert compared


@pytest.mark.parametrize("file", [*FILES, "cases/routes.yaml"])
def test_a_key_that_is_missing_is_an_objection_only_where_the_reader_says_so(file: str) -> None:
    text = FILES_AS_SHIPPED[file]
    for place in range(1, min(len(rows(read(text))), 4)):
        for key in list(rows(read(text))[place]):
            document = read(text)
            del rows(document)[place][key]
            if objections(file, document):
                assert "missing_key" in faults_of(file, document), (file, place, key)


@pytest.mark.parametrize(
    ("file", "document"),
    [
        ("routes.yaml", {"routes": [{"id": "a", "owner": "o", "reason": "r", "when": {"task": "planing"}}]}),
        ("apps.yaml", {"apps": [{"id": "a", "owner": "o", "clearance": "secret", "ceiling": "none", "purposes": ["general"]}]}),
        ("budgets.yaml", {"new_sessions_per_hour": -1}),
        ("entitlements.yaml", {"sets": {"id": "a"}}),
        ("models.yaml", {"deployments": [{"id": "a b", "tier": "fast", "clearance": "public", "provider": "simulated"}]}),
    ],
)
def test_what_the_reader_refuses_for_its_form_is_an_objection(file: str, document: Any) -> None:
    assert objections(file, document)
    with pytest.raises(RuleFaults):
        load(complete({file: json.dumps(document)}, TODAY))


def test_a_schema_is_printed_and_all_are_written(tmp_path: Path) -> None:
    printed = CliRunner().invoke(command, ["schema", "routes.yaml"])
    assert json.loads(printed.output) == SCHEMAS["routes.yaml"]
    assert CliRunner().invoke(command, ["schema", "--to", str(tmp_path)]).exit_code == 0
    assert {f"schemas/{path.name}" for path in (tmp_path / "schemas").iterdir()} == set(WRITTEN)
