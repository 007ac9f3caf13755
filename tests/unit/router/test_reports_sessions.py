"""The timeline of a session tells everything that happened, in order, and nothing that was said."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from sql_records import NOON, admitted, outcome, turned

from router.exchange import ApprovalHistory, CallState, JudgedCall, SessionState
from router.reports.sessions import budget_of, now_of, timeline, told
from routing_rules.decisions import Hold, Permit, Withheld
from routing_rules.facts import Labels
from routing_rules.vocabulary import Capability, Integrity, Sensitivity

CALL = JudgedCall("send_email", "mail", "held", ("act_not_asked",), (("to", "user"),), 0.5, adds=("egress",))


def test_a_request_is_told_as_ask_decision_grant_labels_calls_and_outcome() -> None:
    first = admitted("r1")
    first = msgspec.structs.replace(first, grant=msgspec.structs.replace(first.grant, withheld=(Withheld("x", "function", "y"),)))
    ended = msgspec.structs.replace(outcome("r1"), judgements=(CALL,))
    events = timeline([first, ended])
    assert [event.what for event in events] == ["ask", "decision", "grant", "labels", "call", "outcome"]
    assert {event.request_id for event in events} == {"r1"}
    by = {event.what: event.told for event in events}
    assert (by["decision"]["rule"], by["decision"]["tier"], by["decision"]["budget"]) == ("r-fast", "fast", "normal")
    assert by["grant"] == {"granted": ["search"], "withheld": [{"name": "x", "reason": "y"}]}
    assert by["labels"] == {"integrity": "trusted", "confidentiality": "internal"}
    assert (by["call"]["outcome"], by["call"]["why"], by["call"]["drift"]) == ("held", ["act_not_asked"], 0.5)
    assert by["outcome"]["tokens"] == {"input": 1_000, "output": 100}
    assert by["outcome"]["cost_nano"] == 750


def test_labels_are_told_where_they_rise_and_only_there() -> None:
    raised = Labels(Integrity.UNTRUSTED, Sensitivity.RESTRICTED)
    records = [admitted("r1"), admitted("r2"), admitted("r3")]
    higher = msgspec.structs.replace(records[2].facts, labels=raised)
    records[2] = msgspec.structs.replace(records[2], facts=higher)
    labels = [event.told for event in timeline(records) if event.what == "labels"]
    assert [each["confidentiality"] for each in labels] == ["internal", "restricted"]


def test_a_refusal_and_a_held_task_are_told_with_their_code() -> None:
    permit = admitted("r2").decision
    assert isinstance(permit, Permit)
    hold = Hold("r-plan", "rev-1", "a person looks first", permit)
    held = msgspec.structs.replace(turned("r2"), code="approval_required", decision=hold)
    events = timeline([turned("r1"), held, turned("r3", decided=False)])
    decisions = [event.told for event in events if event.what == "decision"]
    assert [each["decision"] for each in decisions] == ["refuse", "hold", "refuse"]
    assert decisions[0]["code"] == "no_cleared_deployment"


def test_approvals_and_endings_stand_where_they_happened() -> None:
    approval = ApprovalHistory(
        id="apr_1",
        kind="call",
        app="desk",
        owner="ana@example.com",
        session="session-1",
        request_id="r1",
        purpose="support",
        tools=("mail",),
        reasons=("act_not_asked",),
        rule="r-1",
        revision="rev-1",
        sensitivity="internal",
        asked=NOON + timedelta(seconds=3),
        expires=NOON + timedelta(hours=1),
        status="used",
        decided=NOON + timedelta(seconds=50),
        decided_by="eve@example.org",
        via="cli",
        ended=NOON + timedelta(seconds=70),
    )
    endings = [(NOON + timedelta(seconds=60), "otto@example.org", "it went astray")]
    events = timeline([admitted("r1"), outcome("r1")], [approval], endings)
    assert [event.what for event in events[-4:]] == ["approval", "approval", "ended", "approval"]
    steps = [event.told["step"] for event in events if event.what == "approval"]
    assert steps == ["asked", "approved", "used"]
    assert events[-2].told == {"by": "otto@example.org", "why": "it went astray"}


def test_one_line_is_told_of_each_event() -> None:
    for event in timeline([admitted("r1"), outcome("r1")]):
        line = told(msgspec.to_builtins(event))
        assert event.what in line
        assert "\n" not in line


def test_what_is_left_of_the_budget_counts_what_is_held() -> None:
    state = SessionState("s1", 1, False, Labels(), 2, spent_nano=1_000, held_nano=500, requests=2)
    budget = budget_of([admitted("r1"), outcome("r1")], state)
    assert budget is not None
    assert (budget["name"], budget["cost_nano"], budget["left"]) == ("normal", 10_000_000, {"cost_nano": 9_998_500})
    assert "requests" not in budget
    assert budget_of([turned("r1")], state) is None


def test_what_a_session_holds_now_is_told_with_what_it_has_used() -> None:
    calls = CallState(used=frozenset({Capability.EGRESS}), used_tools=frozenset({"mail"}), count=3, drift=0.25)
    state = SessionState("s1", 1, False, Labels(), 2, created=1.0, last_seen=2.0, calls=calls)
    now = now_of(state)
    assert (now["used"], now["tools_used"], now["tool_calls"], now["drift"]) == (["egress"], ["mail"], 3, 0.25)
    assert now["created"].timestamp() == 1.0
