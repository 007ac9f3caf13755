"""An organisation fits complexity to its own outcomes; the model counts only where the rules hold it and name it."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner

from classifiers.artefacts import ArtefactError, from_text, shipped_complexity
from classifiers.ask.complexity import CALIBRATED, ComplexityModel, chosen_by
from classifiers.assess import Assessor
from classifiers.training.calibrate import Calibrated, calibrate, card, read_outcomes
from router.cli.calibrate import calibrate as command
from router.clock import utc_now
from router.governance.rules import checked
from routing_rules.faults import RuleFaults
from routing_rules.load import COMPLEXITY, load, read_directory, shipped
from routing_rules.sensitivity import ComplexityPolicy, SensitivityPolicy
from routing_rules.task import Endpoint, Part, Provenance, Role, Task

HARD = "Reconcile the {a} ledger with the {b} ledger for plant {n}"
EASY = "Send the {a} form for the {b} office to desk {n}"
NOUNS = "apple river stone cloud garden window copper violin harbour candle meadow rocket pepper anchor".split()


def table(kind: str = "prompt", number: int = 240) -> bytes:
    dice = random.Random(5)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["id", kind, "tier"])
    for row in range(number):
        hard = dice.random() < 0.4
        a, b = dice.sample(NOUNS, 2)
        told = (HARD if hard else EASY).format(a=a, b=b, n=dice.randrange(10_000))
        if kind == "facts":
            told = json.dumps({"complexity_score": min(max(dice.gauss(0.6 if hard else 0.4, 0.1), 0.0), 1.0), "app": "x"})
        writer.writerow([row, told, "reasoning" if hard else dice.choice(["fast", "both", "neither"])])
    return out.getvalue().encode()


@pytest.fixture(scope="module")
def made() -> Calibrated:
    return calibrate(read_outcomes(table()), fitted_on=date(2026, 11, 23))


def rule_files(model: str, text: str | None) -> dict[str, str]:
    files = shipped(date(2026, 11, 23))
    lines = [line for line in files["sensitivity.yaml"].splitlines() if not line.startswith("complexity:")]
    files["sensitivity.yaml"] = "\n".join([*lines, *([model] if model else [])]) + "\n"
    if text is not None:
        files[COMPLEXITY] = text
    return files


def test_outcomes_move_the_score_to_what_the_organisation_knows(made: Calibrated) -> None:
    model = ComplexityModel(from_text(made.text), CALIBRATED)

    assert model.score("Reconcile the brass ledger with the silk ledger for plant 12") >= 0.65
    assert model.score("Send the brass form for the silk office to desk 12") < 0.65
    gap = made.figures[0]
    assert gap.name == "APGR"
    assert gap.after > max(gap.before, 0.7)


def test_the_report_card_tells_before_and_after_with_intervals_and_n(made: Calibrated) -> None:
    told = card(made, "outcomes.csv")

    assert "| APGR | " in told
    assert "N = 240" in told
    assert made.manifest.version in told
    assert shipped_complexity().manifest.version in told


def test_words_of_a_few_prompts_only_are_not_in_the_model(made: Calibrated) -> None:
    lone = "zanzibarquux"
    rows = table().replace(b"Reconcile", lone.encode() + b" Reconcile", 2)

    assert lone not in from_text(calibrate(read_outcomes(rows)).text).keys
    assert "ledger" in from_text(made.text).keys


def test_recorded_facts_stretch_the_score_without_weighing_words_anew() -> None:
    rescaled = calibrate(read_outcomes(table("facts")))

    assert from_text(rescaled.text).keys == shipped_complexity().keys
    assert rescaled.figures[0].after == pytest.approx(rescaled.figures[0].before, abs=0.05)


def test_the_same_table_gives_the_same_model(made: Calibrated) -> None:
    assert calibrate(read_outcomes(table()), fitted_on=date(2026, 11, 23)).text == made.text


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "row 1: there is neither a column `prompt` nor a column `facts`"),
        (b"prompt,answer\n", "row 1: there is no column `tier`"),
        (b"prompt,tier\nhello,fast\nsecret words,slow\n", "row 3, column `tier`: expected one of `fast`"),
        (b"prompt,tier\n  ,fast\n", "row 2, column `prompt`: empty"),
        (b"prompt,tier\nhello\n", "row 2: 1 cells under 2 columns"),
        (b"facts,tier\n{secret words},fast\n", "row 2, column `facts`: no recorded facts"),
        (b'facts,tier\n"{""complexity_score"": 7}",fast\n', "row 2, column `facts`: `complexity_score` lies in"),
        (b"prompt,tier\nhello,fast\n\xff\xfe,fast\n", "row 3: the table is not UTF-8"),
        (b"prompt,tier\nhello,fast\n", "column `tier`: 1 rows"),
        (b"prompt,tier\n" + b"hello,fast\n" * 60, "column `tier`: `reasoning` must be in 10 rows"),
        (b'prompt,tier\n"hello,fast\n', "row 2: no CSV"),
    ],
)
def test_a_mistake_is_told_by_row_and_column_and_never_by_content(raw: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}") as raised:
        read_outcomes(raw)

    assert "secret" not in str(raised.value)


def test_the_command_writes_model_and_card_and_changes_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_bytes(table())

    result = CliRunner().invoke(command, [str(tmp_path / "own.csv"), "--out", str(tmp_path / "out")])

    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["complexity.toml", "report.md"]
    assert "propose the change" in result.output
    assert set(read_directory(tmp_path / "out")) == {"complexity.toml"}


def test_the_command_tells_row_and_column_of_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("prompt,tier\nhello,slow\n")

    result = CliRunner().invoke(command, [str(tmp_path / "own.csv"), "--out", str(tmp_path / "out")])

    assert result.exit_code == 1
    assert "own.csv: row 2, column `tier`" in result.output


def test_a_rule_set_that_names_the_model_is_assessed_by_it(made: Calibrated) -> None:
    version = made.manifest.version
    rules, _ = checked(rule_files(f"complexity: {{model: {version}}}", made.text), utc_now())
    task = Task(Endpoint.CHAT, "auto", (Part(Role.USER, Provenance.USER, HARD.format(a="brass", b="silk", n=4), "input", 0),))

    by_own = Assessor(rules.sensitivity, b"key").assess(task, [])
    by_shipped = Assessor(SensitivityPolicy(), b"key").assess(task, [])

    assert by_own.versions["complexity"] == version
    assert by_shipped.versions["complexity"] == shipped_complexity().manifest.version
    assert by_own.complexity_score > by_shipped.complexity_score


def test_a_model_that_nobody_named_or_another_than_was_named_is_refused(made: Calibrated) -> None:
    version = made.manifest.version
    for model, text, told in (
        ("", made.text, "unused_model"),
        ("complexity: {target: fast_fails}", made.text, "unknown_model"),
        (f"complexity: {{model: {version}}}", None, "unknown_model"),
        ("complexity: {model: 1-000000000000}", made.text, "unknown_model"),
        (f"complexity: {{model: {version}, target: fast_fails}}", made.text, "wrong_type"),
        ("complexity: {target: slow}", None, "unknown_word"),
        ("complexity: {goal: fast_fails}", None, "unknown_key"),
        (f"complexity: {{model: {version}}}", "no model", "bad_model"),
    ):
        with pytest.raises(RuleFaults) as raised:
            load(rule_files(model, text))
        assert told in [fault.code for fault in raised.value.faults], model


def test_a_model_whose_arrays_were_changed_cannot_be_proposed(made: Calibrated) -> None:
    start = made.text.index('arrays = "') + 4_000
    changed = made.text[:start] + ("A" if made.text[start] != "A" else "B") + made.text[start + 1 :]

    with pytest.raises(RuleFaults) as raised:
        checked(rule_files(f"complexity: {{model: {made.manifest.version}}}", changed), utc_now())

    assert [fault.code for fault in raised.value.faults] == ["bad_model"]
    with pytest.raises(ArtefactError):
        chosen_by(ComplexityPolicy(model=made.manifest.version, text="arrays = 1"))


def test_a_rule_set_chooses_between_the_two_shipped_targets() -> None:
    rules = load(rule_files("complexity: {target: strong_minus_weak}", None))

    assert rules.sensitivity.complexity == ComplexityPolicy(target="strong_minus_weak")
    assert load(rule_files("", "\n")).sensitivity.complexity == ComplexityPolicy()
    assert load(rule_files("", None)).sensitivity.complexity == ComplexityPolicy(target="fast_fails")
