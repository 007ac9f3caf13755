"""What was assessed is drawn with its reasons; no value that was found is shown, and no terminal obeys the text."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from classifiers.assess import Assessor
from router.cli.classify import classify
from router.cli.drawing import drawn
from routing_rules.load import load, shipped
from routing_rules.task import Endpoint, Part, Provenance, Role, Task
from routing_rules.vocabulary import Finding, Sensitivity

POLICY = load(shipped(date(2026, 11, 23))).sensitivity
SECRET = "gh" + "p_" + "k3Jd9sLq2Wx8" + "Vb6Nm4Pz7Rt1" + "Yc5Hf0Gg2Ta9"
CARD = "4242 4242 4242 4242"


@pytest.fixture(scope="module")
def assessor() -> Assessor:
    return Assessor(POLICY, b"key")


def draw(assessor: Assessor, *texts: str, colours: bool = False, **more: object) -> str:
    parts = tuple(Part(Role.USER, Provenance.USER, text, f"messages[{turn}].content", turn) for turn, text in enumerate(texts))
    task, result, reasons = assessor.explain(Task(Endpoint.CHAT, "auto", parts, **more), [])  # type: ignore[arg-type]
    return drawn(task, result, reasons, POLICY, colours=colours)


def test_findings_are_marked_where_they_stand_with_their_rule_and_why_they_count(assessor: Assessor) -> None:
    picture = draw(assessor, f"Please charge {CARD} today.")
    assert "Please charge [1 payment_card ****4242] today." in picture
    assert "restricted  `payment_card`, by rule `payments.card_number` (score 0.95)" in picture
    assert " 1  pci/payment_card  payments.card_number  messages[0].content 14–33  score 0.95  ****4242" in picture
    assert CARD not in picture


def test_what_several_findings_are_together_is_told(assessor: Assessor) -> None:
    picture = draw(assessor, "My name is Ann Other, date of birth: 12 March 1984.")
    assert "linked, as they lead to one person: `birth_date`, `person_name`" in picture
    many = draw(assessor, " ".join(f"user{number}@kundenwerk{number}.de" for number in range(12)))
    assert "so many: 12 distinct values of `email_address`" in many


def test_nothing_found_and_what_was_declared_are_told_too(assessor: Assessor) -> None:
    assert "public  nothing speaks for more" in draw(assessor, "What is the capital of Peru?")
    assert "confidential  declared by the app" in draw(assessor, "Hello", declared=Sensitivity.CONFIDENTIAL)


def test_a_file_is_drawn_as_it_was_read_and_what_was_not_is_marked(assessor: Assessor) -> None:
    file = Part(Role.USER, Provenance.ATTACHMENT, "", "messages[0].content[0].file.file_data", 0, None, "file", "UEsDBA==")
    task, result, reasons = assessor.explain(Task(Endpoint.CHAT, "auto", (file,)), [])
    picture = drawn(task, result, reasons, POLICY, colours=False)
    assert "unread: `file` at `messages[0].content[0].file.file_data`" in picture
    assert "[file: not read]" in picture


def test_colours_are_drawn_where_they_are_asked_for_and_none_elsewhere(assessor: Assessor) -> None:
    assert "\x1b[7m 1 payment_card ****4242 \x1b[0m" in draw(assessor, f"charge {CARD}", colours=True)
    assert "\x1b" not in draw(assessor, f"charge {CARD} \x1b[2J\x1b]0;title\x07 now\u202e")


def test_long_stretches_without_findings_are_left_out(assessor: Assessor) -> None:
    picture = draw(assessor, "word " * 1_000 + CARD + " word" * 1_000)
    assert len(picture) < 2_000
    assert picture.count("characters …") == 2


def test_levels_have_the_names_of_the_organisation(assessor: Assessor) -> None:
    task, result, reasons = assessor.explain(
        Task(Endpoint.CHAT, "auto", (Part(Role.USER, Provenance.USER, f"charge {CARD}", "text", 0),)), []
    )
    own = msgspec.structs.replace(POLICY, level_names={"restricted": "Streng geheim"})
    assert drawn(task, result, reasons, own, colours=False).startswith("Streng geheim")


@given(
    st.text(st.sampled_from("abc \n\x1b\u200b"), min_size=1, max_size=60),
    st.lists(st.tuples(st.integers(0, 59), st.integers(1, 20)), max_size=5),
)
def test_whatever_was_found_is_never_drawn(assessor: Assessor, text: str, places: list[tuple[int, int]]) -> None:
    size = len(text)
    spans = [(start % size, min(start % size + length, size)) for start, length in places]
    secret = "".join("X" if any(start <= i < end for start, end in spans) else each for i, each in enumerate(text))
    findings = tuple(Finding("pii", "some_kind", "a.rule", 0, start, end, 0.9, "****") for start, end in spans)
    result = msgspec.structs.replace(assessor.assess(Task(Endpoint.CHAT, "auto", ()), []), findings=findings)
    task = Task(Endpoint.CHAT, "auto", (Part(Role.USER, Provenance.USER, secret, "text", 0),))
    picture = drawn(task, result, [], POLICY, colours=False)
    assert "X" not in picture
    assert "\x1b" not in picture


def test_the_command_draws_plainly_when_piped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUTER_DATA_DIR", str(tmp_path))
    text = CliRunner().invoke(classify, ["--explain"], input=f"use {SECRET} here")
    assert text.exit_code == 0, text.output
    assert "github_token" in text.output
    assert SECRET not in text.output
    assert "\x1b" not in text.output
    body = {"messages": [{"role": "user", "content": f"use {SECRET}"}], "metadata": {"sensitivity_label": "confidential"}}
    lines = CliRunner().invoke(classify, ["--jsonl", "--explain"], input=json.dumps(body) + "\n")
    assert "declared by the app" in lines.output
    assert SECRET not in lines.output
