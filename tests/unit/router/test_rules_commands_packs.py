"""The commands for an organisation's own detectors: check tries the examples, dry-run counts, hash-names hides."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from classifiers.sensitivity.code_names import Names
from router.cli.data import classifying_key, rules_for
from router.cli.rules import rules as command
from router.governance.rules import checked
from router.settings import load_settings
from routing_rules.faults import RuleFaults
from routing_rules.load import shipped

NOW = datetime(2026, 11, 23, tzinfo=UTC)
PACK = """
patterns:
  - id: case-number
    category: legal
    level: confidential
    pattern: '\\bCASE-\\d{6}\\b'
    positive: [CASE-123456, 'see CASE-000001.', 'CASE-999999 is closed']
    negative: [case closed, CASE-12, CASE-1234567]
"""

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("ROUTER_DATA_DIR", str(tmp_path / "data"))

    def invoke(*arguments: str, text: str = "") -> Result:
        return CliRunner().invoke(command, list(arguments), input=text)

    return invoke


def written(directory: Path, text: str, name: str = "sensitivity.yaml") -> str:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(text, encoding="utf-8")
    return str(directory)


def test_check_tries_the_examples_of_each_detector(run: Run, tmp_path: Path) -> None:
    good = run("check", "--rules", written(tmp_path / "good", PACK))
    assert (good.exit_code, "case-number" in good.output) == (0, False), good.output
    bad = run("check", "--rules", written(tmp_path / "bad", PACK.replace("[CASE-123456,", "[CASE-1,")))
    assert bad.exit_code == 1
    assert "sensitivity.yaml:3:5: error: `case-number` finds nothing in its positive example 1" in bad.output


def test_what_fails_its_examples_cannot_be_proposed() -> None:
    files = {**shipped(NOW.date()), "sensitivity.yaml": PACK}
    checked(files, NOW)
    with pytest.raises(RuleFaults, match="finds something in its negative example 2"):
        checked({**files, "sensitivity.yaml": PACK.replace("CASE-12,", "CASE-121212,")}, NOW)


def test_a_rule_file_in_the_format_of_gitleaks_is_read_with_the_others(run: Run, tmp_path: Path) -> None:
    directory = written(tmp_path / "rules", "floor: public")
    written(tmp_path / "rules", "[[rules]]\nid = 'acme'\nregex = '(?!x)y'\n", "gitleaks.toml")
    result = run("check", "--rules", directory)
    assert result.exit_code == 1
    assert "gitleaks.toml:2:1: error: rule `acme`: a regex does not compile: invalid perl operator" in result.output


def test_dry_run_tells_the_rate_of_false_alarms_and_the_cost(run: Run, tmp_path: Path) -> None:
    pool = tmp_path / "pool.txt"
    pool.write_text("CASE-123456\n" + "nothing of the kind\n" * 99)
    directory = written(tmp_path / "rules", PACK)
    plain = run("dry-run", "--rules", directory, "--pool", str(pool))
    assert "case-number: 1 of 100 harmless texts flagged (1.00%, 95 % interval 0.18% to 5.45%)" in plain.output
    (row,) = json.loads(run("dry-run", "--rules", directory, "--json").output)
    assert (row["rule"], row["hits"], row["texts"] > 1_000, row["cost_us"] >= 0.0) == ("case-number", 0, True, True)
    assert "no detectors of your own" in run("dry-run", "--rules", written(tmp_path / "none", "floor: public")).output


def test_hashed_names_are_a_part_of_the_rules_that_tells_no_name(run: Run, tmp_path: Path) -> None:
    made = run("hash-names", "--id", "projects", text="Blue Heron\n\nQuartz\n").output
    assert "heron" not in made.lower()
    assert "quartz" not in made.lower()
    result = run("check", "--rules", written(tmp_path / "rules", made))
    assert (result.exit_code, "another key" in result.output) == (0, False), result.output
    rules = rules_for(load_settings(), tmp_path / "rules")
    assert Names(rules.sensitivity.code_names, classifying_key(load_settings(), rules)).usable
    (tmp_path / "data" / "secret.key").write_bytes(b"x" * 32)
    assert "`projects` was made under another key" in run("check", "--rules", written(tmp_path / "rules", made)).output
