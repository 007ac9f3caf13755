"""The corpus holds what its page says: every label, enough languages and templates, twins, and nothing blind that was fitted on."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cache
from typing import Any

import msgspec
import pytest

from classifiers.ask.features import words
from classifiers.ask.intent import OBJECTS
from classifiers.sensitivity.topics import TOPICS
from classifiers.training.corpus import BATCHES, COMPLEXITY_OF_BAND, asked, examples
from routing_rules.vocabulary import Capability, TaskKind

BLIND = "blind"
SHINGLE = 4  # words
MOST_IN_COMMON = 0.4  # of the shingles of the shorter text


@cache
def rows(pattern: str) -> tuple[dict[str, Any], ...]:
    """Every row of the files, with `blind` true for those of the blind part."""
    found = []
    for path in sorted(BATCHES.glob(f"**/{pattern}")):
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            row = msgspec.json.decode(line)
            row["place"] = f"{path.name}:{number}"
            row["blind"] = path.parent.name == BLIND
            found.append(row)
    return tuple(found)


def text_of(row: dict[str, Any]) -> str:
    return row["text"] if "text" in row else asked(row["messages"])


def asks() -> tuple[dict[str, Any], ...]:
    return rows("asks*.jsonl")


def topics() -> tuple[dict[str, Any], ...]:
    return rows("topics*.jsonl")


def test_there_are_four_thousand_prompts_in_ten_languages_and_a_blind_tenth() -> None:
    every = [*asks(), *topics()]
    assert len(every) >= 4_000
    assert len([language for language, count in Counter(row["language"] for row in every).items() if count >= 30]) >= 10
    assert {row["batch"] == BLIND for row in every if row["blind"]} == {True}
    assert len({row["batch"] for row in asks()} - {BLIND}) >= 3
    assert len({row["batch"] for row in topics()} - {BLIND}) >= 3


@pytest.mark.parametrize("blind", [False, True])
def test_every_label_is_there_and_no_other(blind: bool) -> None:
    mine = [row for row in asks() if row["blind"] is blind]
    least = 8 if blind else 40
    tasks = Counter(row["task"] for row in mine)
    assert set(tasks) == {kind.value for kind in TaskKind}
    assert min(tasks.values()) >= least
    assert {row["complexity"] for row in mine} == set(COMPLEXITY_OF_BAND)
    implied = Counter(name for row in mine for name in row["intent"])
    assert set(implied) == {capability.value for capability in Capability} - {Capability.PURE.value}
    assert min(implied.values()) >= least
    assert {name for row in mine for name in row["objects"]} <= set(OBJECTS)
    assert any(row.get("delegates") for row in mine)


def test_protected_records_are_private_ones_too() -> None:
    assert [row["place"] for row in asks() if "reads_restricted" in row["intent"] and "reads_private" not in row["intent"]] == []


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_has_three_hundred_templates_each_with_a_harmless_twin(topic: str) -> None:
    pairs: defaultdict[tuple[str, int], list[bool]] = defaultdict(list)
    for row in topics():
        if row["topic"] == topic and not row["blind"]:
            pairs[row["batch"], row["pair"]].append(row["sensitive"])
    assert len(pairs) >= 290
    assert [pair for pair, sides in pairs.items() if sorted(sides) != [False, True]] == []


def test_no_two_rows_are_the_same_text() -> None:
    counted = Counter(" ".join(words(text_of(row))) for row in (*asks(), *topics()))
    assert [text for text, count in counted.items() if count > 1] == []


def test_nothing_in_the_blind_part_is_close_to_anything_that_is_fitted_on() -> None:
    blind = [(row["place"], shingles(text_of(row))) for row in (*asks(), *topics()) if row["blind"]]
    holders: defaultdict[tuple[str, ...], set[int]] = defaultdict(set)
    for number, (_, found) in enumerate(blind):
        for shingle in found:
            holders[shingle].add(number)
    close = []
    for example in examples(7):
        if example.blind:
            continue
        found = shingles(example.text)
        shared = Counter(number for shingle in found for number in holders.get(shingle, ()))
        close += [
            (blind[number][0], example.text[:80])
            for number, count in shared.items()
            if count > MOST_IN_COMMON * min(len(found), len(blind[number][1])) and count > 2
        ]
    assert close == []


def shingles(text: str) -> set[tuple[str, ...]]:
    found = words(text)
    return set(zip(*(found[start:] for start in range(SHINGLE)), strict=False))
