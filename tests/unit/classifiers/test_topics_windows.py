"""Sensitive subjects are found wherever they stand in what was sent, and public questions about them are not."""

from __future__ import annotations

from itertools import pairwise

import pytest

from classifiers.artefacts import shipped
from classifiers.sensitivity.topics import TOPICS, Topics, topics_of, windows
from routing_rules.task import Part, Provenance, Role

NOTE = (
    "HISTORY OF PRESENT ILLNESS: The patient is a 71-year-old female admitted with chest pain and shortness of breath. "
    "PAST MEDICAL HISTORY: Atrial fibrillation, hypertension. MEDICATIONS: Warfarin 5 mg daily. ALLERGIES: Penicillin. "
    "PHYSICAL EXAMINATION: Lungs are clear to auscultation. ASSESSMENT AND PLAN: Continue warfarin, follow up in two weeks. "
)
PUBLIC = "The town council met on Monday and spoke about the new park, the bus line and the summer fair by the lake. "


def part(text: str, provenance: Provenance = Provenance.USER) -> Part:
    return Part(Role.USER, provenance, text, "messages[0].content", 0)


@pytest.fixture(scope="module")
def topics() -> Topics:
    return topics_of(shipped())


@pytest.mark.parametrize(
    "provenance", [Provenance.USER, Provenance.TOOL_RESULT, Provenance.ATTACHMENT, Provenance.MODEL, Provenance.APP]
)
def test_a_clinical_note_is_found_in_whatever_carries_it(topics: Topics, provenance: Provenance) -> None:
    assert topics.score([part(NOTE * 3, provenance)])["phi"] >= 0.5


def test_a_clinical_note_in_the_middle_of_a_long_document_is_found(topics: Topics) -> None:
    assert topics.score([part(PUBLIC * 120 + NOTE * 6 + PUBLIC * 120)])["phi"] >= 0.5


def test_a_clinical_note_among_many_messages_is_found(topics: Topics) -> None:
    assert topics.score([*(part(PUBLIC) for _ in range(10)), part(NOTE), *(part(PUBLIC) for _ in range(10))])["phi"] >= 0.5


@pytest.mark.parametrize(
    "text",
    [
        "What are the symptoms of diabetes?",
        "How does a class action work?",
        "What is a performance review good for?",
        "Explain EBITDA to a beginner.",
        "How does a firewall work?",
        "How do I teach a child to read?",
        PUBLIC * 30,
    ],
)
def test_public_questions_and_texts_have_no_sensitive_topic(topics: Topics, text: str) -> None:
    assert [topic for topic, score in topics.score([part(text)]).items() if score >= 0.5] == []


def test_what_an_app_is_for_does_not_make_every_task_sensitive(topics: Topics) -> None:
    purpose = part("You help nurses write to patients about their illness and medication.", Provenance.APP)
    assert max(topics.score([purpose]).values()) == 0.0


def test_definitions_of_tools_and_metadata_have_no_topic() -> None:
    assert list(windows([part(NOTE, Provenance.TOOL_DEFINITION), part(NOTE, Provenance.METADATA)])) == []


@pytest.mark.parametrize("length", [1, 899, 2_000, 2_001, 5_000, 47_999])
def test_up_to_forty_eight_thousand_characters_are_read_in_full(length: int) -> None:
    text = "".join(chr(97 + place % 26) for place in range(length))
    assert "".join(windows([part(text)])) == text


def test_of_more_than_that_windows_are_spread_over_the_whole_length() -> None:
    numbered = "".join(f"{number:08}" for number in range(40_000))
    read = list(windows([part(numbered)]))
    assert len(read) == 24
    places = [numbered.index(window) for window in read]
    gaps = [after - before for before, after in pairwise(places)]
    assert max(gaps) <= 1.2 * len(numbered) / 24
    assert places[-1] >= len(numbered) - 2 * max(gaps)


def test_of_a_conversation_that_grows_the_last_turns_are_always_read() -> None:
    turns = [part(f"turn {number}") for number in range(200)]
    for length in range(2, 200):
        assert windows(turns[:length])[-2:] == [f"turn {length - 2}", f"turn {length - 1}"]


def test_what_is_read_of_a_conversation_that_grows_was_read_before_but_for_its_last_turn() -> None:
    turns = [part(f"turn {number}") for number in range(400)]
    for length in range(40, 400):
        assert {*windows(turns[:length])} - {*windows(turns[: length - 1])} == {f"turn {length - 1}"}
        assert 24 <= len(windows(turns[:length])) <= 41


def test_what_was_read_once_counts_wherever_it_stands_later(topics: Topics) -> None:
    turns = [part(PUBLIC) for _ in range(6)] + [part(NOTE * 3)]
    assert topics.score(turns) == topics.score(turns[::-1]) == topics.score(turns)


def test_every_topic_is_scored_even_where_nothing_was_sent(topics: Topics) -> None:
    assert topics.score([]) == dict.fromkeys(TOPICS, 0.0)
