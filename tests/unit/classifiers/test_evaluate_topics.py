"""What is measured of topics in short texts."""

from __future__ import annotations

import pytest

from classifiers.evaluation.marks import Mark
from classifiers.evaluation.topics import measure


@pytest.fixture(scope="module")
def marks() -> dict[str, Mark]:
    prompts = [
        "What is the capital of Peru?",
        "Write a haiku about rain.",
        "Our patient in bed 4 has stopped taking his insulin.",
    ]
    return {mark.name: mark for mark in measure(prompts)}


def test_what_is_found_stands_beside_what_is_taken_for_it(marks: dict[str, Mark]) -> None:
    found = marks["topics, blind short texts: any topic"]
    taken = marks["topics: ordinary prompts taken for sensitive"]
    assert (found.mark, taken.mark) == (">= 0.9", "<= 0.005")
    assert found.value > 0.5
    assert taken.value < 0.1
    assert found.n == sum(marks[name].n for name in marks if name.endswith("named so"))


def test_ordinary_prompts_are_those_of_people_outside_and_the_blind_asks(marks: dict[str, Mark]) -> None:
    asks = marks["topics: blind asks taken for sensitive, source code aside"]
    assert marks["topics: ordinary prompts taken for sensitive"].n == asks.n + 3


def test_batches_left_out_are_told_with_their_number(marks: dict[str, Mark]) -> None:
    assert marks["topics, batches left out: any topic"].n > 1_000
