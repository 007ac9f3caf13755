"""What is measured is what the model card says: rows by their labels, techniques alike, other detectors on the same rows."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import msgspec
import pytest

from classifiers.assess import Assessor
from classifiers.evaluation.cost import hostile
from classifiers.evaluation.marks import Mark
from classifiers.evaluation.sensitivity import _read, accuracy, judged
from classifiers.sensitivity.engine import Detector
from routing_rules.sensitivity import SensitivityPolicy

MAIL = "maria.keller@" + "kundenwerk.de"
CARD = "4539 1488 " + "0343 6467"
KEY = "gh" + "p_" + "k3Jd9sLq2Wx8" + "Vb6Nm4Pz7Rt1" + "Yc5Hf0Gg2Ta9"


def row(text: str, labels: list[str], **more: Any) -> dict[str, Any]:
    return {"text": text, "labels": labels, "pool": "positive", "source": "ours", **more}


ROWS = [
    ("pii_presidio_synth_v2", row(f"write to {MAIL}", ["pii"], spans=[{"type": "EMAIL_ADDRESS", "start": 9, "end": 30}])),
    ("pii_presidio_synth_v2", row("call me there", ["pii"], spans=[{"type": "PHONE_NUMBER", "start": 0, "end": 4}])),
    ("pii_presidio_synth_v2", row("Anna came", ["pii"], spans=[{"type": "PERSON", "start": 0, "end": 4}])),
    ("pii_presidio_synth_v2", row(f"my card is {CARD}", ["pci"], spans=[{"type": "CREDIT_CARD", "start": 11, "end": 30}])),
    ("benign_user_prompts", row("tell me a joke", [], pool="benign")),
    ("secrets_vendor", row(f"use {KEY}", ["credentials"])),
    ("secrets_vendor", row("use YOUR_TOKEN_HERE", [], pool="near_miss")),
    ("evasion", row(f"my card is {CARD}", ["pci"], pool="evasion", technique="plain")),
    ("evasion", row(f"my card is {CARD.replace(' ', '.')}", ["pci"], pool="evasion", technique="dots")),
    ("evasion", row("my card is nowhere", ["pci"], pool="evasion", technique="hidden")),
    ("evasion", {"messages": [{"role": "user", "content": f"it is {CARD[:9]}"}, {"role": "user", "content": CARD[9:]}],
                 "labels": ["pci"], "pool": "evasion", "source": "ours", "technique": "split_messages"}),
    ("evasion", row("version 1.2.3", [], pool="hard_benign", technique="version")),
]  # fmt: skip


@pytest.fixture(scope="module")
def marks(policy: SensitivityPolicy) -> dict[str, Mark]:
    assessor, detector = Assessor(policy, b"key"), Detector(policy, b"key")
    others = {"finds everything": lambda _text: frozenset({("pii", "x"), ("pci", "x"), ("credentials", "x")})}
    return {mark.name: mark for mark in accuracy([judged(assessor, detector, others, policy, *given) for given in ROWS])}


def test_a_row_counts_once_by_its_labels(marks: dict[str, Mark]) -> None:
    assert (marks["PII identifiers: recall"].value, marks["PII identifiers: recall"].n) == (0.5, 2)
    assert (marks["PII identifiers: precision"].value, marks["PII identifiers: precision"].n) == (1.0, 1)
    assert (marks["payment cards: recall"].value, marks["payment cards: recall"].n) == (1.0, 1)
    assert marks["credentials: F1"].value == 1.0
    assert (marks["credentials: near misses taken for secrets"].value, marks["credentials: near misses taken for secrets"].n) == (
        0.0,
        1,
    )


def test_each_technique_counts_alike_and_plain_text_is_none(marks: dict[str, Mark]) -> None:
    assert marks["evasions: plain"].holds
    assert marks["evasions: mean over techniques in scope"].value == pytest.approx(2 / 3)
    assert marks["evasions: hidden"].value == 0.0
    assert "evasions: dots" not in marks


def test_others_are_scored_on_the_same_rows(marks: dict[str, Mark]) -> None:
    assert marks["PII identifiers: recall"].beside == {"finds everything": 1.0}
    assert marks["PII identifiers: flagged by detectors, benign"].beside == {"finds everything": 1.0}
    assert marks["evasions: mean over techniques in scope"].beside == {"finds everything": 1.0}


def test_a_set_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    assert list(_read(tmp_path / "nothing.jsonl.gz")) == []
    (tmp_path / "one.jsonl.gz").write_bytes(gzip.compress(msgspec.json.encode({"text": "a"}) + b"\n"))
    assert list(_read(tmp_path / "one.jsonl.gz")) == [{"text": "a"}]


def test_hostile_texts_are_a_megabyte_each() -> None:
    for name, made in hostile().items():
        assert 50_000 < len(made().encode("utf-8", "replace")) <= 1_000_000, name
