"""What a request alone gives a session, and what counts of it once it was masked."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from router.exchange import SessionState
from router.stages.open_session import Opened, after_masking, carried
from routing_rules.facts import Labels
from routing_rules.task import Endpoint, Part, Provenance, Role, Task
from routing_rules.vocabulary import (
    Access,
    Assessment,
    Complexity,
    Confidence,
    Integrity,
    Intent,
    ScanState,
    Sensitivity,
    TaskKind,
)

NOW = datetime(2026, 9, 1, tzinfo=UTC)
CLEAN = Assessment(
    sensitivity=Sensitivity.PUBLIC,
    categories=frozenset(),
    findings=(),
    access=Access.NONE,
    intent=Intent(frozenset()),
    task=TaskKind.OTHER,
    complexity_score=0.0,
    complexity=Complexity.SIMPLE,
    confidence=Confidence(1.0, 1.0, 1.0, 1.0),
    state=ScanState.COMPLETE,
    scanned_bytes=0,
    versions={},
)


def task(*parts: Part, declared: Sensitivity | None = None) -> Task:
    return Task(Endpoint.CHAT, "auto", parts, declared=declared)


def told(call_id: str | None) -> Part:
    return Part(Role.TOOL, Provenance.TOOL_RESULT, "done", "messages[0].content", 0, call_id)


@pytest.mark.parametrize("part", [told(None), told("call_strange")], ids=["without an id", "with an id of nobody"])
def test_a_result_of_a_call_that_was_never_issued_is_untrusted_and_private(part: Part) -> None:
    assert carried(task(part), CLEAN, frozenset({"call_strange"})) == Labels(Integrity.UNTRUSTED, Sensitivity.CONFIDENTIAL)


def test_a_result_of_an_issued_call_brings_nothing_by_itself() -> None:
    assert carried(task(told("call_1")), CLEAN) == Labels()


def test_what_has_left_a_session_counts_however_much_is_masked_now() -> None:
    state = SessionState(
        id="s",
        shard=0,
        new=False,
        labels=Labels(),
        label_version=1,
        spent_nano=0,
        held_nano=0,
        requests=1,
        created=0.0,
        last_seen=0.0,
    )
    opened = Opened(state, Labels(), None, b"", Sensitivity.CONFIDENTIAL, Sensitivity.RESTRICTED)
    assert after_masking(opened, task(), CLEAN) == Labels(Integrity.TRUSTED, Sensitivity.CONFIDENTIAL)
    sent = msgspec.structs.replace(CLEAN, sensitivity=Sensitivity.RESTRICTED)
    assert after_masking(opened, task(), sent).confidentiality is Sensitivity.RESTRICTED
