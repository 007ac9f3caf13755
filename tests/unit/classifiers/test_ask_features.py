"""The keys of a text, and which words of a task are its current ask."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.ask.current import Ask, ask_of, current_ask
from classifiers.ask.features import (
    HEAD_CHARACTERS,
    TAIL_CHARACTERS,
    ask_keys,
    excerpt,
    keys,
    words,
)
from classifiers.ask.thesaurus import Thesaurus, shipped
from routing_rules.task import Endpoint, Part, Provenance, Role, Task


def asked(*turns: str, system: str = "") -> Task:
    parts = [Part(Role.USER, Provenance.USER, text, f"messages[{turn}].content", turn) for turn, text in enumerate(turns)]
    if system:
        parts.insert(0, Part(Role.SYSTEM, Provenance.APP, system, "instructions"))
    return Task(Endpoint.CHAT, "auto", tuple(parts))


@given(st.text(max_size=300))
def test_no_word_can_be_taken_for_a_measure_or_break_the_file_of_words(text: str) -> None:
    for word in words(text):
        assert word
        assert not set(word) & set(" \t\n\r~")
        assert word not in ("<s", "<e", "<a")
        assert len(word) == 1 or not (">" in word or word.endswith("*"))


def test_numbers_count_by_their_length_and_signs_stand_alone() -> None:
    assert words("Pay 1,250 to f(x)!") == ["pay", "0", "000", "to", "f", "(", "x", ")", "!"]


def test_scripts_that_do_not_part_words_are_read_by_character() -> None:
    assert words("你好") == ["你", "好"]


def test_words_of_many_languages_have_one_concept() -> None:
    thesaurus = Thesaurus("remove: delete* lösch* 删除 get_rid erase\nmail: e_mail* mail*\n  邮件 posta*")
    for text in ("Delete the e-mails!", "lösche meine Mails", "删除邮件", "get rid of my mail"):
        assert thesaurus.sequence(words(text)) == ["~remove", "~mail"]


def test_the_longest_stem_and_the_whole_word_win() -> None:
    thesaurus = Thesaurus("a: acc*\nb: account*\nc: accountant")
    assert [thesaurus.of(word) for word in ("accept", "accounts", "accountant", "ac")] == [("~a",), ("~b",), ("~c",), ()]


@pytest.mark.parametrize("text", ["no concept here", "a b: c", "x: ab*"])
def test_a_thesaurus_with_a_broken_line_names_it(text: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        Thesaurus("ok: word\n" + text)


def test_one_more_character_moves_at_most_one_measure() -> None:
    for length in range(1, 400):
        _, shorter = keys(shipped(), "a" * length)
        _, longer = keys(shipped(), "a" * (length + 1))
        moved = {key for key in shorter ^ longer if isinstance(key, str)}
        assert len({key for key in moved if str(key).startswith("characters")}) <= 1


def test_of_a_long_ask_the_start_and_the_end_are_read() -> None:
    text = "Summarise this. " + "material " * 2_000 + "In French, please."
    read = excerpt(text)
    assert read.startswith("Summarise this.")
    assert read.endswith("In French, please.")
    assert len(read) == HEAD_CHARACTERS + TAIL_CHARACTERS + 1


def test_the_ask_is_the_last_turn_of_the_user_and_not_the_system_text() -> None:
    task = asked(
        "What is the capital of France and how many people live there?",
        "Now write a poem about the river that flows there.",
        system="Be brief.",
    )
    assert current_ask(task) == "Now write a poem about the river that flows there."


def test_a_very_short_turn_is_read_with_the_turn_before_it() -> None:
    task = asked("Translate 'good morning' into German.", "And in French?")
    assert current_ask(task) == "Translate 'good morning' into German.\nAnd in French?"


def test_without_a_user_the_words_of_the_system_are_the_ask() -> None:
    task = Task(Endpoint.CHAT, "auto", (Part(Role.SYSTEM, Provenance.APP, "Write a haiku.", "messages[0].content", 0),))
    assert current_ask(task) == "Write a haiku."


def test_around_the_ask_stand_the_instructions_the_turn_before_and_the_last_answer() -> None:
    task = Task(
        Endpoint.CHAT,
        "auto",
        (
            Part(Role.SYSTEM, Provenance.APP, "Label each mail as spam or ham.", "messages[0].content", 0),
            Part(Role.USER, Provenance.USER, "Ready?", "messages[1].content", 1),
            Part(Role.ASSISTANT, Provenance.MODEL, "Yes.", "messages[2].content", 2),
            Part(Role.USER, Provenance.USER, "You won a prize, click here to claim it before tonight!", "messages[3].content", 3),
        ),
    )
    assert ask_of(task) == Ask(
        "You won a prize, click here to claim it before tonight!", "Label each mail as spam or ham.", "Ready?", "Yes."
    )


def test_instructions_count_as_if_they_were_said_now() -> None:
    _, alone = ask_keys(shipped(), Ask("Good morning, everyone."))
    _, told = ask_keys(shipped(), Ask("Good morning, everyone.", system="Translate into French."))
    assert "~translate" in told - alone
    assert ("<s", "translate") in told
