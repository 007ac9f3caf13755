"""What `router eval intent` reads and counts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from classifiers.evaluation.intent import Row, accuracy, measure
from classifiers.evaluation.marks import Mark
from routing_rules.vocabulary import Complexity, TaskKind


def row(**changed: Any) -> Row:
    same: dict[str, Any] = {
        "file": "asks.jsonl", "language": "en", "task": TaskKind.AGENTIC, "said_task": TaskKind.AGENTIC,
        "intent": frozenset({"egress"}), "said_intent": frozenset({"egress"}), "band": Complexity.SIMPLE,
        "said_band": Complexity.SIMPLE,
    }  # fmt: skip
    return Row(**(same | changed))


def by_name(marks: list[Mark]) -> dict[str, Mark]:
    return {mark.name: mark for mark in marks}


def test_acts_are_counted_over_all_asks_together() -> None:
    marks = by_name(
        accuracy(
            [
                row(intent=frozenset({"egress", "destructive"})),
                row(said_intent=frozenset({"egress", "spends_money"}), said_task=TaskKind.WRITING),
            ]
        )
    )
    assert marks["intent micro-F1"].value == pytest.approx(2 * 2 / (3 + 3))
    assert marks["task accuracy"].value == 0.5
    assert marks["task agentic: recall"].value == 0.5
    assert marks["intent destructive: recall"].value == 0.0
    assert not marks["intent micro-F1"].holds


def test_what_is_right_throughout_holds_the_marks() -> None:
    marks = by_name(accuracy([row(), row(intent=frozenset(), said_intent=frozenset())]))
    assert marks["task accuracy"].holds
    assert marks["intent micro-F1"].holds
    assert marks["complexity: band accuracy"].value == 1.0


def test_every_file_of_asks_is_read_whether_packed_or_not_and_others_are_passed_over(tmp_path: Path) -> None:
    said = {"task": "translation", "intent": [], "complexity": "simple", "text": "Translate into French: good morning"}
    (tmp_path / "plain.jsonl").write_text(json.dumps(said) + "\n\n")
    spoken = {
        "task": "summarization", "intent": "none", "messages": [{"role": "user", "content": [{"type": "text", "text": "Summarise."}]}]
    }  # fmt: skip
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(json.dumps(spoken).encode()))
    (tmp_path / "other.jsonl").write_text(json.dumps({"text": "nothing to see", "level": "public"}))
    marks = by_name(measure(tmp_path))
    assert marks["task accuracy"].n == 2
    assert marks["complexity: band accuracy"].n == 1
    assert "file packed.jsonl.gz: task accuracy" in marks


def test_acts_may_be_named_in_plain_words_of_which_read_holds_every_kind_of_reading(tmp_path: Path) -> None:
    asks = [
        {"task": "agentic", "intent": ["read", "send"], "text": "Find the e-mail from Anna and forward it to Tom."},
        {"task": "lookup", "intent": "read", "text": "Show my unread emails"},
    ]
    (tmp_path / "asks.jsonl").write_text("\n".join(map(json.dumps, asks)))
    names = {mark.name for mark in measure(tmp_path)}
    assert "intent read: recall" in names
    assert not any("reads_" in name for name in names)


@pytest.mark.parametrize("wrong", [{"task": "swimming"}, {"intent": ["swims"]}, {"complexity": "wet"}])
def test_an_unknown_label_is_refused_with_its_place_and_without_its_words(tmp_path: Path, wrong: dict[str, Any]) -> None:
    ask = {"task": "agentic", "intent": ["egress"], "complexity": "simple", "text": "hello"}
    (tmp_path / "asks.jsonl").write_text(json.dumps(ask) + "\n" + json.dumps(ask | wrong))
    with pytest.raises(ValueError, match=r"asks\.jsonl, line 2") as refused:
        measure(tmp_path)
    assert "swim" not in str(refused.value)


def test_nothing_to_measure_holds_nothing(tmp_path: Path) -> None:
    assert not any(mark.holds for mark in measure(tmp_path) if mark.mark != "reported")
