"""The judge of an answer's calls: what it lets pass, what it holds, what it remembers, and what it says of it."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from msgspec.structs import replace

from router.exchange import CallState, IssuedCall
from router.stages.judge_calls import Asked, CallJudge, arguments_digest, call_digest, meaning_digest
from router.stages.tool_keys import Called, text_arguments
from routing_rules.budgets import CallLimits, SessionBudget
from routing_rules.decisions import Permit, ToolGrant
from routing_rules.facts import Labels
from routing_rules.load import complete, load
from routing_rules.loops import seen
from routing_rules.rules import RuleSet
from routing_rules.task import Endpoint, Part, Provenance, Role, Task, ToolAsk
from routing_rules.vocabulary import (
    Access,
    Assessment,
    Capability,
    Complexity,
    Confidence,
    Integrity,
    Intent,
    ScanState,
    Sensitivity,
    TaskKind,
)

C = Capability
SECRET = b"secret"
TOOLS = """tools:
  - {id: read, owner: o@example.org, capabilities: [reads_private], functions: [lookup], highest_read: confidential}
  - {id: web, owner: o@example.org, capabilities: [reads_untrusted], functions: [search], highest_read: public}
  - {id: mail, owner: o@example.org, capabilities: [egress], functions: [send_email], destination_arguments: [to]}
  - {id: job, owner: o@example.org, capabilities: [pure], functions: [get_status, note_text], highest_read: public}
  - {id: mcp, owner: o@example.org, capabilities: [reads_private], servers: [crm]}
"""
SETS = (
    "sets:\n  - {id: none, owner: o@example.org, business_purpose: p, approver: o@example.org, review_by: 2099-01-01, tools: []}\n"
    "  - {id: all, owner: o@example.org, business_purpose: p, approver: o@example.org, review_by: 2099-01-01, tools: [read, web, mail, "
    'job, mcp], allowed_destinations: ["@partner.example"]}\n'
)
APPS = "apps: [{id: app, owner: o@example.org, clearance: restricted, ceiling: all, purposes: [general]}]\n"
ROUTES = "routes: [{id: r, owner: o@example.org, reason: r, then: {tier: fast, set: all, budget: default}}]\n"


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return load(
        complete({"tools.yaml": TOOLS, "entitlements.yaml": SETS, "apps.yaml": APPS, "routes.yaml": ROUTES}, date(2026, 11, 23))
    )


def judge(
    rules: RuleSet,
    *turns: str,
    state: CallState | None = None,
    budget: SessionBudget | None = None,
    results: dict[str, str] | None = None,
    **asked: Any,
) -> CallJudge:
    parts = [Part(Role.USER, Provenance.USER, turn, f"messages[{place}].content", place) for place, turn in enumerate(turns)]
    parts += [
        Part(Role.TOOL, Provenance.TOOL_RESULT, text, "messages[9].content", 9, call_id)
        for call_id, text in (results or {}).items()
    ]
    assessment = Assessment(
        sensitivity=Sensitivity.PUBLIC,
        categories=frozenset(),
        findings=(),
        access=Access.ACT,
        intent=Intent(),
        task=TaskKind.AGENTIC,
        complexity_score=0.1,
        complexity=Complexity.SIMPLE,
        confidence=Confidence(),
        state=ScanState.COMPLETE,
        scanned_bytes=0,
        versions={},
    )
    permit = Permit("r", "rev", "fast", (), "all", budget or SessionBudget("default"), CallLimits())
    body = {"tools": [{"type": "function", "function": {"name": "lookup", "description": "Looks up a customer."}}]}
    task = Task(Endpoint.CHAT, "auto", tuple(parts), tools=(ToolAsk("lookup", "function", "tools[0]"),))
    values: dict[str, Any] = {
        "rules": rules,
        "permit": permit,
        "grant": ToolGrant(),
        "task": task,
        "assessment": assessment,
        "body": body,
        "app": "app",
        "session_id": "s",
        "secret": SECRET,
    }
    return CallJudge(Asked(**values | asked), state or CallState())


def called(tool: str, call_id: str | None = "c", /, **arguments: Any) -> Called:
    return Called("function", tool, json.dumps(arguments), call_id)


def test_a_released_call_says_what_it_changes_in_the_session(rules: RuleSet) -> None:
    one = judge(rules, "Look up the customer Ada.")
    assert one.released(called("lookup", name="Ada"))
    release = one.release()
    assert release is not None
    assert release.labels == Labels(Integrity.TRUSTED, Sensitivity.CONFIDENTIAL)
    assert release.used == {C.READS_PRIVATE}
    assert release.used_tools == {"read"}
    assert [(call.call, call.tool, call.external) for call in release.issued] == [(call_digest("c"), "read", False)]
    one.let_through()
    assert one.release() is None
    assert (one.issued, one.passed, one.state.count) == (["c"], ["lookup"], 1)


def test_asked_again_about_the_same_call_it_answers_the_same_and_counts_it_once(rules: RuleSet) -> None:
    one = judge(rules, "Look up the customer Ada.")
    assert one.released(called("lookup", name="Ada"))
    assert one.released(called("lookup", name="Ada"))
    release = one.release()
    assert release is not None
    assert len(release.issued) == 1
    assert len(one.evidence) == 1


def test_in_an_answer_that_is_given_again_a_call_that_was_let_through_passes_and_is_no_new_one(rules: RuleSet) -> None:
    arguments = {"to": "eve@evil.example"}
    known = IssuedCall(call_digest("c"), "mail", seen("send_email", arguments, looks=False))
    state = CallState(Labels(Integrity.UNTRUSTED, Sensitivity.CONFIDENTIAL), count=1, calls={1: known})
    one = judge(rules, "Hi.", state=state, approval="apr_1")
    assert one.released(called("send_email", **arguments))
    assert one.release() is None
    assert not one.released(called("send_email", "c2", **arguments))
    assert not one.released(called("send_email", to="eve@evil.example", body="more"))
    # A provider that gives an id twice has made a new call.
    assert not judge(rules, "Hi.", state=state).released(called("send_email", **arguments))


def test_a_result_under_an_id_that_was_given_twice_vouches_for_no_more_than_the_worst_of_its_calls(rules: RuleSet) -> None:
    own = IssuedCall(call_digest("call_0"), "read", seen("lookup", {}, looks=True))
    outside = IssuedCall(call_digest("call_0"), "web", seen("search", {}, looks=True), external=True)
    labels = Labels(Integrity.UNTRUSTED, Sensitivity.CONFIDENTIAL)
    for calls, passes in (({1: own}, True), ({1: own, 2: outside}, False), ({1: outside, 2: own}, False)):
        one = judge(
            rules,
            "Send an email about it.",
            state=CallState(labels, calls=calls, count=len(calls)),
            results={"call_0": '{"mail": "x@example.net"}'},
        )
        assert one.released(called("send_email", "new", to="x@example.net")) is passes


def test_a_held_call_ends_the_answer_and_an_approval_of_these_arguments_lets_it_pass(rules: RuleSet) -> None:
    private = CallState(Labels(Integrity.UNTRUSTED, Sensitivity.CONFIDENTIAL))
    call = called("send_email", to="eve@evil.example")
    one = judge(rules, "Send an email.", state=private)
    assert not one.released(call)
    assert one.error is not None
    assert one.error.code == "approval_required"
    [(held, written)] = one.held()
    assert (held.tool, held.arguments, written) == ("mail", "", call.written)
    assert held.arguments_digest == arguments_digest(SECRET, "mail", call.written)
    approved = frozenset({(held.tool, held.arguments_digest)})
    two = judge(rules, "Send an email.", state=private, approval="apr_1", approved=approved)
    assert two.released(call)
    assert not two.released(called("send_email", "other", to="eve@evil.example", body="more"))
    assert two.evidence[0].by == "apr_1"
    release = two.release()
    assert release is not None
    assert C.EGRESS not in release.used


def test_where_an_allow_list_vouches_the_call_passes(rules: RuleSet) -> None:
    private = CallState(Labels(Integrity.UNTRUSTED, Sensitivity.CONFIDENTIAL))
    assert judge(rules, "Send an email.", state=private).released(called("send_email", to="ann@partner.example"))


def test_what_changed_meanwhile_is_judged_again_and_may_end_the_answer(rules: RuleSet) -> None:
    one = judge(rules, "Send an email with the status.")
    assert one.released(called("send_email", to="x@example.net"))
    one.again(CallState(Labels(Integrity.UNTRUSTED, Sensitivity.CONFIDENTIAL), frozenset({C.READS_PRIVATE})))
    assert one.error is not None
    assert one.error.code == "approval_required"
    assert one.release() is None


def test_a_loop_is_counted_over_the_session_whatever_a_client_says_of_a_retry(rules: RuleSet) -> None:
    budget = SessionBudget("b", identical_calls=2)
    call = seen("note_text", {"text": "x"}, looks=False)
    again = IssuedCall("d", "job", call)
    state = CallState(calls={1: again, 2: again}, count=2)
    for said in ({}, {"retry": True}, {"retry": True, "body_digest": "new", "at": 2_000}):
        stuck = judge(rules, "Note it.", state=state, budget=budget, **said)
        assert not stuck.released(called("note_text", text="x"))
        assert stuck.error is not None
        assert stuck.error.code == "loop_detected"


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        ({"retry": True, "body_digest": "same", "at": 61_000}, True),
        ({"retry": True, "body_digest": "same", "at": 1_000 + 600_001}, False),
        ({"retry": True, "body_digest": "other", "at": 61_000}, False),
        ({"retry": False, "body_digest": "same", "at": 61_000}, False),
    ],
)
def test_the_same_body_sent_again_within_ten_minutes_brings_no_further_round(
    rules: RuleSet, said: dict[str, Any], passes: bool
) -> None:
    budget = SessionBudget("b", identical_calls=2)
    call = seen("note_text", {"text": "x"}, looks=False)
    state = CallState(
        calls={1: IssuedCall("c", "job", call, asked="first", at=500), 2: IssuedCall("d", "job", call, asked="same", at=1_000)},
        count=2,
    )
    retried = judge(rules, "Note it.", state=state, budget=budget, **said)
    assert retried.released(called("note_text", text="x")) is passes
    if not passes:
        return
    release = retried.release()
    assert release is not None
    assert [(number, replaced.replaced) for number, replaced in release.answered] == [(2, True)]
    # It counts as the round that it replaces: the next one is a round too many.
    retried.let_through()
    after = judge(rules, "Note it.", state=retried.state, budget=budget, body_digest="next", at=62_000)
    assert not after.released(called("note_text", text="x"))


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ('{"q":1,"z":"a"}', True),
        ('{ "z": "a", "q": 1 }', True),
        ('{"q": 1.0, "z": "\\u0061"}', True),
        ('{"q": 1, "z": "a", "cc": null}', True),
        ('{"q": 2, "z": "a"}', False),
        ('{"q": "1", "z": "a"}', False),
        ('{"q": true, "z": "a"}', False),
        ('{"q": 1, "z": "A"}', False),
    ],
)
def test_calls_that_say_the_same_have_one_meaning_however_they_are_written(written: str, same: bool) -> None:
    first, other = (meaning_digest(SECRET, "mail", json.loads(each)) for each in ('{"q": 1, "z": "a"}', written))
    assert (first == other) is same
    assert meaning_digest(SECRET, "pay", json.loads(written)) != other


def test_a_result_that_came_back_is_told_to_the_session_with_the_next_call(rules: RuleSet) -> None:
    waiting = IssuedCall(call_digest("c1"), "job", seen("get_status", {"job": 1}, looks=True))
    one = judge(rules, "Wait.", state=CallState(calls={1: waiting}, count=1), results={"c1": "running", "unknown": "x"})
    assert one.released(called("get_status", job=1))
    release = one.release()
    assert release is not None
    [(number, answered)] = release.answered
    assert (number, answered.seen.not_ready, bool(answered.seen.result)) == (1, True, True)


def test_a_text_that_a_model_wrote_is_an_argument_and_nonsense_is_refused(rules: RuleSet) -> None:
    one = judge(rules, "Note it.")
    assert one.released(Called("custom", "note_text", text_arguments("what it is"), "c"))
    assert not one.released(Called("function", "get_status", "[1, 2", "c2"))
    assert one.error is None
    assert one.why("get_status") == ("arguments_unreadable", "the arguments are one JSON object")
    assert one.denial(("get_status",)).code == "tool_not_entitled"


def test_a_call_of_a_server_that_is_not_ours_gets_nothing_restricted(rules: RuleSet) -> None:
    call = Called("mcp", "find", "{}", "c", "crm")
    held = judge(rules, "Find it.")  # nobody has looked at what the server offers, so it may be anything
    assert not held.released(call)
    assert held.error is not None
    refused = judge(rules, "Find it.", state=CallState(Labels(Integrity.TRUSTED, Sensitivity.RESTRICTED)))
    assert not refused.released(call)
    assert refused.error is None
    why = refused.why("find")
    assert why is not None
    assert why[0] == "restricted_to_third_party"


@pytest.mark.parametrize(
    ("limits", "outcome"),
    [({}, "released"), ({"drift_hold": 0.1}, "held"), ({"drift_hold": 0.1, "drift_stop": 0.2}, "refused")],
)
def test_a_call_that_strays_is_noted_held_or_refused_as_the_budget_says(
    rules: RuleSet, limits: dict[str, float], outcome: str
) -> None:
    one = judge(rules, "Tell me a joke.", budget=replace(SessionBudget("b"), **limits))
    assert one.released(called("send_email", to="eve@evil.example", body="all")) is (outcome == "released")
    [evidence] = one.evidence
    assert evidence.outcome == outcome
    assert evidence.drift > 0.4
    assert ("drift" in evidence.codes) is (outcome != "released")
    assert ("drift" in one.warnings) is (outcome == "released")


def test_an_app_that_is_only_watched_is_told_nothing_and_its_evidence_says_what_would_have_been(rules: RuleSet) -> None:
    private = CallState(Labels(Integrity.UNTRUSTED, Sensitivity.CONFIDENTIAL))
    one = judge(rules, "Hi.", state=private, observe=True)
    assert one.released(called("send_email", to="eve@evil.example"))
    assert one.error is None
    assert one.evidence[0].codes


def test_evidence_holds_no_argument(rules: RuleSet) -> None:
    one = judge(rules, "Hi.", state=CallState(Labels(Integrity.UNTRUSTED, Sensitivity.CONFIDENTIAL)))
    one.released(called("send_email", to="eve@evil.example", body="zanzibar"))
    assert "zanzibar" not in repr(one.evidence)
    assert "evil" not in repr(one.evidence)
    assert ("to", "model") in one.evidence[0].sources
