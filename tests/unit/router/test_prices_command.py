"""`router prices`: what is known of prices, rows from the public map, and what is missing or old."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from router.cli.prices import prices as command

Run = Callable[..., Result]
MODELS = """
tiers: [fast, reasoning]
deployments:
  - {id: mini, base_url: "https://a.example.org/v1", model: gpt-4.1-mini, tier: fast, clearance: internal}
  - {id: big, provider: gemini, model: gemini-2.5-pro, tier: reasoning, clearance: internal, price: {input_usd_per_million: 2, output_usd_per_million: 3}}
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    directory = tmp_path / "rules"
    directory.mkdir()
    (directory / "models.yaml").write_text(MODELS, encoding="utf-8")
    (directory / "prices.yaml").write_text("prices: []\n", encoding="utf-8")
    return directory


@pytest.fixture
def run(tmp_path: Path, rules: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("ROUTER_DATA_DIR", str(tmp_path / "data"))
    return lambda name, *arguments: CliRunner().invoke(command, [name, "--rules", str(rules), *arguments])


def test_an_unknown_price_is_found_and_the_exit_status_says_so(run: Run) -> None:
    told = run("check", "--json")
    found = {(each["kind"], each["subject"]) for each in json.loads(told.stdout)}
    assert {("unknown", "mini"), ("differs", "big")} <= found
    assert told.exit_code == 1


def test_rows_are_written_with_their_source_and_day_and_then_nothing_is_missing(run: Run, rules: Path) -> None:
    told = run("seed")
    assert told.exit_code == 0, told.output
    text = (rules / "prices.yaml").read_text(encoding="utf-8")
    assert "litellm price map" in text
    assert "read:" in text
    assert json.loads(run("check", "--json").stdout) == []
    (mini,) = json.loads(run("show", "mini", "--json").stdout)
    assert (mini["per_million"]["input"], mini["per_million"]["cached_input"], mini["per_million"]["output"]) == (
        "0.4",
        "0.1",
        "1.6",
    )
    assert mini["service_tiers"]["priority"]["input"] == "0.7"
    assert mini["price_book"].startswith("pb-")
    (big,) = json.loads(run("show", "gemini-2.5-pro", "--json").stdout)
    assert big["above"][0]["input_tokens"] == 200_000
    assert "since" in big
    assert "above 200000 input tokens" in run("show", "big").output


def test_seeding_again_changes_nothing(run: Run, rules: Path) -> None:
    run("seed")
    first = (rules / "prices.yaml").read_text(encoding="utf-8")
    run("seed")
    assert (rules / "prices.yaml").read_text(encoding="utf-8") == first


def test_a_price_that_changed_ends_the_old_row_and_begins_a_new_one(run: Run, rules: Path) -> None:
    run("seed")
    path = rules / "prices.yaml"
    text = path.read_text(encoding="utf-8").replace("id: mini-", "id: earlier-")
    path.write_text(text.replace("input: 0.4\n", "input: 0.5\n").replace("from: '20", "from: '19"), encoding="utf-8")
    run("seed", "gpt-4.1-mini", "--deployment", "mini")
    (mini,) = json.loads(run("show", "mini", "--json").stdout)
    assert mini["per_million"]["input"] == "0.4"
    (before,) = json.loads(run("show", "mini", "--at", "1900-01-01", "--json").stdout)
    assert before["source"] == "unknown"
    (then,) = json.loads(run("show", "mini", "--at", "2000-01-01", "--json").stdout)
    assert then["per_million"]["input"] == "0.5"


def test_a_row_that_a_person_wrote_stays(run: Run, rules: Path) -> None:
    own = "prices:\n  # agreed in June\n  - {id: own, deployment: mini, per_million: {input: 9, output: 9}}\n"
    (rules / "prices.yaml").write_text(own, encoding="utf-8")
    assert run("seed", "gpt-4.1-mini", "--deployment", "mini").exit_code == 0
    assert (rules / "prices.yaml").read_text(encoding="utf-8") == own
    assert ("differs", "mini") in {(each["kind"], each["subject"]) for each in json.loads(run("check", "--json").stdout)}


def test_a_name_that_the_map_does_not_hold_is_told_with_a_near_one(run: Run) -> None:
    told = run("seed", "gpt-4.1-minni")
    assert told.exit_code == 1
    assert "did you mean `gpt-4.1-mini`?" in told.output


def test_the_list_says_of_each_deployment_where_its_price_comes_from(run: Run) -> None:
    rows = {row["deployment"]: row for row in json.loads(run("list", "--json").stdout)}
    assert (rows["mini"]["source"], rows["big"]["source"]) == ("unknown", "catalogue")
    assert "unknown" in run("list").output
