"""What was decided once is explained, becomes a case, and is looked at by the reports: on a running service and its data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from running import Running, running

PLAN: Any = {"model": "auto", "messages": [{"role": "user", "content": "Plan a migration of our intranet in twelve steps."}]}
TOOLS: Any = [{"type": "function", "function": {"name": "drop_database", "parameters": {"type": "object"}}}]
SECRET = "AKIA" + "Q3EGT5PLXW7ZB2NK"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("recorded") / "data") as started:
        yield started


@pytest.fixture(scope="module")
def asked(service: Running) -> dict[str, str]:
    """Ids of a request that was let through, one that was refused, and one that was refused before the rules were asked."""
    key = service.key()
    bodies = {
        "plan": {**PLAN, "tools": TOOLS},
        "secret": {"model": "auto", "messages": [{"role": "user", "content": f"aws_access_key_id = {SECRET}"}]},
    }
    told = {name: ask(service, key, body) for name, body in bodies.items()}
    assert told["plan"].status_code == 200
    assert told["secret"].status_code == 403
    service.settled()
    return {name: answer.headers["x-request-id"] for name, answer in told.items()}


def ask(service: Running, key: str, body: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(service.base_url + "/v1/chat/completions", json=body, headers=headers, timeout=30)


def test_a_recorded_request_is_explained_under_the_revision_that_decided_it(service: Running, asked: dict[str, str]) -> None:
    told = json.loads(service.cli("explain", "--request", asked["plan"], "--json"))
    assert told["same"] is True
    assert told["explanation"]["rule"] == told["decision"]["rule"]
    assert told["explanation"]["nearest"]
    assert told["code"] is None
    refused = json.loads(service.cli("explain", "--request", asked["secret"], "--json"))
    assert (refused["same"], refused["code"], refused["explanation"]["rule"]) == (
        True,
        "no_cleared_deployment",
        "credentials-stay-inside",
    )
    assert {nearest["outcome"] for nearest in refused["explanation"]["nearest"]} == {"permit"}
    assert SECRET not in json.dumps(refused)


def test_the_explanation_for_people_names_clauses_losers_and_the_nearest_change(service: Running, asked: dict[str, str]) -> None:
    lines = service.cli("explain", "--request", asked["secret"]).splitlines()
    assert any(line.startswith("  clause   category is credentials") for line in lines)
    assert any("restricted-routine: it matches, but `credentials-stay-inside` stands before it" in line for line in lines)
    assert any(line.startswith("  nearest  with") for line in lines)
    assert service.cli("explain", "--request", "nobody", check=False) == ""
    assert service.cli("explain", check=False) == ""


def test_a_recorded_request_becomes_a_case_that_holds(service: Running, asked: dict[str, str], tmp_path: Path) -> None:
    directory = tmp_path / "rules"
    service.cli("rules", "export", str(directory))
    file = directory / "cases" / "routes.yaml"
    before = file.read_text()
    for request in asked.values():
        service.cli("rules", "case", request, "--append", str(file))
    assert file.read_text().startswith(before)
    assert SECRET not in file.read_text()
    covered = json.loads(service.cli("rules", "cases", str(directory), "--json"))
    assert (covered["failing"], covered["faults"]) == ([], [])
    assert covered["cases"] == json.loads(service.cli("rules", "cases", "--json"))["cases"] + 2
    assert "withheld: [drop_database]" in file.read_text()
    service.cli("rules", "propose", "--from", str(directory), "--note", "what was decided stays so")
    assert service.cli("rules", "case", asked["plan"], "--append", str(file), check=False) == ""  # it is there


def test_a_revision_that_a_case_forbids_is_not_even_proposed(service: Running, asked: dict[str, str], tmp_path: Path) -> None:
    directory = tmp_path / "rules"
    service.cli("rules", "export", str(directory))
    service.cli("rules", "case", asked["plan"], "--append", str(directory / "cases" / "own.yaml"), "--name", "plans deliberate")
    table = directory / "routes.yaml"
    table.write_text(
        table.read_text()
        .replace("task: [planning, agentic]}\n    then: {tier: reasoning", "task: [planning, agentic]}\n    then: {tier: fast", 1)
        .replace(
            "fallback_tiers: [fast], set: agentic, budget: reasoning, hints: true}\n  - id: deliberation",
            "set: agentic, budget: reasoning, hints: true}\n  - id: deliberation",
            1,
        )
    )
    covered = service.cli("rules", "cases", str(directory), check=False)
    assert "case `plans deliberate`: expected tier `reasoning`, got `fast`" in covered
    with pytest.raises(AssertionError, match="plans deliberate"):
        service.cli("rules", "propose", "--from", str(directory))


def test_facts_that_nobody_has_asked_are_explained_in_the_words_of_a_case(service: Running, tmp_path: Path) -> None:
    file = tmp_path / "facts.yaml"
    file.write_text("{sensitivity: confidential, hosted: [computer_use_preview], access: control}\n")
    told = json.loads(service.cli("explain", "--facts", str(file), "--json"))
    assert told["rule"] == "no-computer-control-with-sensitive-data"
    assert {clause["dimension"] for clause in told["clauses"]} == {"sensitivity", "capability"}
    file.write_text("{sensitivty: confidential}\n")
    with pytest.raises(AssertionError, match="did you mean `sensitivity`"):
        service.cli("explain", "--facts", str(file))


def test_the_reports_count_what_was_recorded(service: Running, asked: dict[str, str]) -> None:
    assert asked
    reviewed = json.loads(service.cli("rules", "review", "--days", "1", "--wait", "--json"))
    rows = {row["route"]: row for row in reviewed["routes"]}
    assert rows["credentials-stay-inside"]["refused"] == {"no_cleared_deployment": 1}
    admitted = [row for row in rows.values() if row["sessions"]]
    assert len(admitted) == 1
    answers = admitted[0]["measures"][0]
    assert (answers["seen"], answers["state"]) == (1, "holds")
    report = json.loads(service.cli("report", "controls", "--days", "1", "--json"))
    served = next(control for control in report["controls"] if control["id"] == "NHI7")
    assert (served["decisions"], served["missing"]) == ({"credentials-stay-inside": {"refuse": 1}}, [])


def test_a_workbook_goes_out_and_an_unchanged_one_changes_nothing(service: Running, tmp_path: Path) -> None:
    table, directory = tmp_path / "table.xlsx", tmp_path / "rules"
    service.cli("rules", "export", "xlsx", str(table))
    assert "already" in service.cli("rules", "import", "xlsx", str(table), "--into", str(directory))
    table.write_bytes(b"no workbook")
    with pytest.raises(AssertionError, match="is not taken over"):
        service.cli("rules", "import", "xlsx", str(table), "--into", str(directory))
