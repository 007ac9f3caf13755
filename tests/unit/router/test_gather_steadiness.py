"""A session keeps its band for a word more or less, and the work it is at while tools answer."""

from __future__ import annotations

import msgspec
import pytest

from classifiers.ask.complexity import COMPLEX_FROM, MARGIN, band_of, held
from router.clock import utc_now
from router.exchange import Asked, SessionState
from router.stages.gather import asked, gather
from routing_rules.facts import Caller, Facts, Labels
from routing_rules.task import Endpoint, Part, Provenance, Role, Task
from routing_rules.vocabulary import (
    Access,
    Assessment,
    Complexity,
    Confidence,
    Intent,
    ScanState,
    Sensitivity,
    TaskKind,
)

CALLER = Caller("app", "owner", "team", "cc", "key", Sensitivity.PUBLIC, "standard", "trial")
ASK = Part(Role.USER, Provenance.USER, "prove it", "messages[0].content", 0)
RESULT = Part(Role.TOOL, Provenance.TOOL_RESULT, "{}", "messages[2].content", 2, call_id="call_1")
AGAIN = Part(Role.USER, Provenance.USER, "and now?", "messages[3].content", 3)


def facts(score: float, before: Asked | None, *parts: Part, endpoint: Endpoint = Endpoint.CHAT) -> Facts:
    assessment = Assessment(
        sensitivity=Sensitivity.PUBLIC,
        categories=frozenset(),
        findings=(),
        access=Access.NONE,
        intent=Intent(),
        task=TaskKind.LOOKUP,
        complexity_score=score,
        complexity=band_of(score),
        confidence=Confidence(),
        state=ScanState.COMPLETE,
        scanned_bytes=1,
        versions={},
    )
    return gather(
        now=utc_now(),
        caller=CALLER,
        task=Task(endpoint, "auto", parts or (ASK,)),
        wish_known=True,
        assessment=assessment,
        session=SessionState("s", 0, before is None, Labels(), 0, asked=before),
        labels=Labels(),
        pinned=None,
    )


def test_a_score_close_to_the_last_band_keeps_it_and_a_clear_one_changes_it() -> None:
    before = Asked(Complexity.COMPLEX, TaskKind.CODING)

    near, far = facts(COMPLEX_FROM - 0.05, before), facts(COMPLEX_FROM - MARGIN - 0.05, before)

    assert (near.complexity, far.complexity) == (Complexity.COMPLEX, Complexity.MODERATE)
    assert near.complexity_before is Complexity.COMPLEX
    assert near.task is TaskKind.LOOKUP  # only the band is held


def test_the_first_ask_of_a_session_counts_as_it_is() -> None:
    assert facts(COMPLEX_FROM - 0.01, None).complexity is Complexity.MODERATE
    assert facts(COMPLEX_FROM - 0.01, None).complexity_before is None


def test_while_tools_answer_the_work_of_the_user_turn_goes_on() -> None:
    before = Asked(Complexity.COMPLEX, TaskKind.PLANNING)

    loop, turn = facts(0.01, before, ASK, RESULT), facts(0.01, before, ASK, RESULT, AGAIN)

    assert (loop.complexity, loop.task, loop.continues) == (Complexity.COMPLEX, TaskKind.PLANNING, True)
    assert (turn.complexity, turn.task, turn.continues) == (Complexity.SIMPLE, TaskKind.LOOKUP, False)


def test_results_alone_go_on_with_what_the_session_remembers() -> None:
    assert facts(0.5, Asked(Complexity.SIMPLE, TaskKind.LOOKUP), RESULT).complexity is Complexity.SIMPLE


def test_a_request_for_vectors_neither_keeps_nor_sets_a_band() -> None:
    found = facts(0.0, Asked(Complexity.COMPLEX, TaskKind.CODING), endpoint=Endpoint.EMBEDDINGS)

    assert found.complexity is Complexity.SIMPLE
    assert asked(found) is None
    assert asked(facts(0.9, None)) == Asked(Complexity.COMPLEX, TaskKind.LOOKUP)


def test_facts_with_the_last_band_survive_being_recorded() -> None:
    found = facts(COMPLEX_FROM - 0.05, Asked(Complexity.COMPLEX, TaskKind.CODING), ASK, RESULT)

    assert msgspec.json.decode(msgspec.json.encode(found), type=Facts) == found


def test_facts_recorded_before_bands_were_held_still_load() -> None:
    older = msgspec.json.decode(msgspec.json.encode(facts(0.2, None)))
    del older["complexity_before"], older["continues"]

    assert msgspec.convert(older, Facts).complexity is Complexity.SIMPLE


@pytest.mark.parametrize("last", list(Complexity))
def test_a_held_band_is_never_further_from_the_score_than_the_margin(last: Complexity) -> None:
    for step in range(101):
        score = step / 100
        kept = held(score, last)
        assert kept is band_of(score) or any(
            band_of(min(max(score + off, 0.0), 1.0)) is kept for off in (-MARGIN - 1e-9, MARGIN + 1e-9)
        )
