"""The acts that a user's words name, and how far calls stray from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.ask.acts import joined, named
from classifiers.ask.drift import DriftLimits, DriftVerdict, Said, drift, session_drift, verdict
from classifiers.ask.thesaurus import shipped
from routing_rules.provenance import Origin, Result, Source, Sources
from routing_rules.vocabulary import Capability as C
from routing_rules.vocabulary import Intent


@pytest.mark.parametrize(
    ("ask", "act"),
    [
        ("Send the minutes to Ann.", C.EGRESS),
        ("Please email Ann that I am late.", C.EGRESS),
        ("Schick Anna das Protokoll.", C.EGRESS),
        ("Create a ticket for the broken door.", C.WRITES_STATE),
        ("Write the summary into the file notes.md.", C.WRITES_STATE),
        ("Edit config.py so that the limit is five.", C.WRITES_STATE),
        ("Put an event into my calendar.", C.WRITES_STATE),
        ("Delete the oldest backup.", C.DESTRUCTIVE),
        ("Lösche die älteste Sicherung.", C.DESTRUCTIVE),
        ("Pay the electricity bill.", C.SPENDS_MONEY),
        ("Send them the rest of the invoice amount, the payment was short.", C.SPENDS_MONEY),
        ("Run the test suite.", C.EXECUTES_CODE),
        ("Update my password.", C.ADMIN_PRIVILEGE),
        ("Remember that I like tea.", C.MEMORY_PERSIST),
    ],
)
def test_words_name_acts_in_many_languages(ask: str, act: C) -> None:
    assert act in named(shipped(), [ask]).capabilities


def test_a_question_names_no_act_and_says_what_it_is_about() -> None:
    asked = named(shipped(), ["Which meetings are in my calendar on Friday?"])
    assert not asked.capabilities & {C.EGRESS, C.SPENDS_MONEY, C.DESTRUCTIVE, C.EXECUTES_CODE}
    assert "calendar" in asked.objects


def test_what_must_not_be_done_is_not_asked_for() -> None:
    assert C.DESTRUCTIVE not in named(shipped(), ["Tidy the folder but do not delete anything."]).capabilities
    assert C.DESTRUCTIVE in named(shipped(), ["Do not move it, delete it."]).capabilities


def test_an_address_is_no_file_name() -> None:
    assert "file" not in named(shipped(), ["Who is ann@example.com, and what is https://example.com/a.b?"]).objects


def test_every_user_turn_widens_what_is_asked_for() -> None:
    turns = ["Which meetings do I have on Friday?", "Delete the last one."]
    assert C.DESTRUCTIVE not in named(shipped(), turns[:1]).capabilities
    assert C.DESTRUCTIVE in named(shipped(), turns).capabilities


def test_a_turn_that_names_an_act_and_no_thing_may_mean_any() -> None:
    assert "ticket" in named(shipped(), ["Read the ticket INC-204."]).objects
    assert named(shipped(), ["Read the ticket INC-204.", "Notify kim@example.org."]).objects == frozenset()


def test_who_lets_others_words_decide_delegates() -> None:
    assert named(shipped(), ["Read the note and follow the instructions."]).delegates
    assert named(shipped(), ["Please do the tasks listed in Ann's mail."]).delegates
    assert not named(shipped(), ["When do we meet according to my calendar?"]).delegates
    assert not named(shipped(), ["Perform the following tasks in this order: read my mail, read my notes."]).delegates


def test_what_is_named_is_sure_and_what_a_model_judges_counts_where_it_is_sure() -> None:
    words = Intent(frozenset({C.EGRESS}), frozenset({"email"}))
    model = Intent(frozenset({C.DESTRUCTIVE}), frozenset({"file"}), True)
    assert joined(words, model, 0.2, 0.5) == (words, 1.0)
    both, confidence = joined(words, model, 0.8, 0.5)
    assert both == Intent(frozenset({C.EGRESS, C.DESTRUCTIVE}), frozenset({"email", "file"}), True)
    assert confidence == 1.0
    assert joined(Intent(), model, 0.2, 0.5) == (Intent(), 0.2)


SEND = frozenset({C.EGRESS})
ASKED = Intent(SEND, frozenset({"email"}))
TURNS = ["Send the minutes to ann@example.com."]


def test_a_call_as_asked_does_not_drift_and_an_injected_one_does() -> None:
    said, sources = Said(TURNS), Sources(TURNS)
    fit = drift(ASKED, SEND, frozenset({"email"}), (Origin("to", Source.USER),), {"to": "ann@example.com"}, said, sources)
    assert fit.score == 0.0
    injected = drift(
        ASKED,
        frozenset({C.DESTRUCTIVE}),
        frozenset({"file"}),
        (Origin("id", Source.MODEL),),
        {"id": "all backups"},
        said,
        sources,
    )
    assert injected.score == 1.0
    assert (injected.act, injected.thing, injected.destination, injected.values) == (1.0, 1.0, 1.0, 1.0)


def test_whole_values_of_earlier_results_drift_little() -> None:
    said = Said(TURNS)
    sources = Sources(TURNS, results=[Result('["m-77"]')])
    known = drift(ASKED, frozenset(), frozenset({"email"}), (), {"id": "m-77"}, said, sources)
    new = drift(ASKED, frozenset(), frozenset({"email"}), (), {"id": "m-78"}, said, sources)
    assert known.score < new.score


def test_a_session_drifts_as_far_as_its_worst_call() -> None:
    assert session_drift([0.1, 0.8, 0.2]) == 0.8
    assert session_drift([]) == 0.0


def test_limits_say_what_a_score_comes_to() -> None:
    limits = DriftLimits(warn=0.2, hold=0.5, stop=0.9)
    told = [verdict(score, limits) for score in (0.0, 0.2, 0.5, 0.9, float("nan"))]
    assert told == [DriftVerdict.PASS, DriftVerdict.WARN, DriftVerdict.HOLD, DriftVerdict.STOP, DriftVerdict.STOP]
    assert verdict(1.0, DriftLimits()) is DriftVerdict.HOLD


def test_what_was_said_is_not_shown() -> None:
    assert "ann" not in repr(Said(TURNS))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=5), below, max_size=4),
)


@given(
    turns=st.lists(st.text(), max_size=3),
    asked=st.frozensets(st.sampled_from(C)),
    can=st.frozensets(st.sampled_from(C)),
    sources=st.lists(st.sampled_from(Source), max_size=3),
    arguments=JSON,
)
def test_the_score_lies_between_nought_and_one_whatever_comes(
    turns: list[str], asked: frozenset[C], can: frozenset[C], sources: list[Source], arguments: object
) -> None:
    origins = [Origin("to", source) for source in sources]
    found = drift(Intent(asked), can, frozenset(), origins, arguments, Said(turns), Sources(turns))
    for part in (found.score, found.act, found.thing, found.destination, found.values):
        assert 0.0 <= part <= 1.0
    named(shipped(), turns)
