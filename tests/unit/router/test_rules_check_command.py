"""`router rules check` and what takes a starting set by its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from router.cli.data import store
from router.cli.rules import rules as command
from router.governance.rules import seed
from router.settings import load_settings
from router.storage.sql.rules import RuleStore
from routing_rules.load import FILES, STARTING_SETS, complete
from tests.benchmarks.hostile import FILES as HOSTILE

Run = Callable[..., Result]
THEN = "then: {tier: fast, set: none, budget: default}"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("ROUTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(command, list(arguments))


def written(directory: Path, **files: str) -> str:
    for name, text in files.items():
        path = directory / (name.replace("__", "/") + ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return str(directory)


def test_each_fault_is_an_object_with_exactly_these_keys(run: Run, tmp_path: Path) -> None:
    table = f"routes:\n  - {{id: all, owner: o, reason: r, {THEN}}}\n  - {{id: dead, owner: o, reason: r, when: {{task: coding}}, {THEN}}}\n"
    told = run("check", written(tmp_path / "rules", routes=table), "--json")
    faults = json.loads(told.output)
    assert {tuple(sorted(fault)) for fault in faults} == {("code", "column", "file", "hint", "line", "message", "severity")}
    dead = next(fault for fault in faults if fault["code"] == "shadowed_rule")
    assert (dead["severity"], dead["file"], dead["line"], dead["column"]) == ("warning", "routes.yaml", 3, 5)
    assert "`all`" in dead["message"]
    assert told.exit_code == 0


def test_the_exit_status_is_one_where_there_is_an_error(run: Run, tmp_path: Path) -> None:
    broken = run("check", written(tmp_path / "rules", routes="routes: [{id: a, ownr: o}]"), "--json")
    assert broken.exit_code == 1
    assert "did you mean `owner`?" in {fault["hint"] for fault in json.loads(broken.output)}


@pytest.mark.parametrize("name", STARTING_SETS)
def test_a_starting_set_is_checked_by_name(run: Run, name: str) -> None:
    told = run("check", name)
    assert told.exit_code == 0, told.output
    assert "error" not in told.output


def test_a_starting_set_is_written_out_and_passes_as_a_directory(run: Run, tmp_path: Path) -> None:
    assert run("export", "--set", "cautious-company", str(tmp_path / "mine")).exit_code == 0
    assert {path.name for path in (tmp_path / "mine").glob("*.yaml")} >= set(FILES)
    assert run("check", str(tmp_path / "mine")).exit_code == 0


def test_the_overlay_of_the_environment_is_read(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = written(tmp_path / "rules", overlays__staging__budgets="new_sessions_per_hour: few", apps="apps: []")
    assert run("check", directory).exit_code == 0
    monkeypatch.setenv("ROUTER_ENVIRONMENT", "staging")
    told = run("check", directory)
    assert told.exit_code == 1
    assert "overlays/staging/budgets.yaml:1:24: error" in told.output


def test_a_directory_brings_its_parts_and_overlay_and_leaves_those_it_has_no_more(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = f"{{id: rest, owner: o, reason: r, {THEN}}}"
    first = {
        "routes.yaml": f"include: routes/old.yaml\nroutes: [{rest}]",
        "routes/old.yaml": "routes: []",
        "overlays/old/budgets.yaml": "new_sessions_per_hour: 5",
    }
    with store(load_settings()) as engine:
        seed(RuleStore(engine), complete(first, date(2026, 11, 23)), governance="single", at=datetime(2026, 11, 23, tzinfo=UTC))
    directory = written(
        tmp_path / "rules",
        routes=f"include: routes/new.yaml\nroutes: [{rest}]",
        routes__new="routes: []",
        overlays__staging__budgets="new_sessions_per_hour: 6",
    )
    monkeypatch.setenv("ROUTER_ENVIRONMENT", "staging")
    told = run("propose", "--from", directory, "--json")
    assert told.exit_code == 0, told.output
    with store(load_settings()) as engine:
        proposed = RuleStore(engine).get(json.loads(told.output)["revision"])
    assert proposed is not None
    satellites = {name for name in proposed.files if "/" in name and not name.startswith("cases/")}
    assert satellites == {"routes/new.yaml", "overlays/staging/budgets.yaml"}


@pytest.mark.parametrize(
    "name", ["ten thousand rules", "aliases that stand for millions", "a zero byte", "one key ten thousand times"]
)
def test_a_hostile_file_is_refused_and_what_is_in_force_stays(run: Run, tmp_path: Path, name: str) -> None:
    file, text, reason = HOSTILE[name]
    with store(load_settings()) as engine:
        before = seed(
            RuleStore(engine), complete({}, date(2026, 11, 23)), governance="single", at=datetime(2026, 11, 23, tzinfo=UTC)
        )
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / file).write_text(text, encoding="utf-8")
    told = run("propose", "--from", str(tmp_path / "rules"))
    assert told.exit_code == 1
    assert reason in told.output
    with store(load_settings()) as engine:
        kept = RuleStore(engine)
        assert kept.current() == before
        assert [each.revision for each in kept.history()] == [before.revision]
