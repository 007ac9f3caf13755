"""The autonomy review reads every request once, with its end and its calls, in both databases."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from sql_records import NOON, admitted, outcome, raw, turned
from sqlalchemy import Engine

from router.exchange import Admitted, JudgedCall, Outcome, Turned
from router.reports.review import RequestSeen
from router.storage.sql.records import SqlRecords
from router.storage.sql.review import decisions_by_rule, requests_seen
from routing_rules.decisions import Hold, Permit

DAY = timedelta(days=1)


def seen(store: Engine, *records: Admitted | Turned | Outcome) -> list[RequestSeen]:
    SqlRecords(store).write([(3, raw(record)) for record in records])
    return sorted(requests_seen(store, NOON - DAY, NOON + DAY), key=lambda request: request.request_id)


def test_a_request_is_seen_with_its_end_and_the_tools_that_were_released(store: Engine) -> None:
    (one,) = seen(store, admitted("req_1"), outcome("req_1"))
    assert one == RequestSeen("req_1", "r-fast", "desk", "session-1", NOON, NOON + timedelta(seconds=3), tools=("search",))


def test_judged_calls_tell_their_tool_and_the_combinations_they_met(store: Engine) -> None:
    calls = (
        JudgedCall("find", "search", "released"),
        JudgedCall("mail", "send_email", "held", ("act_not_asked", "combination:private_egress")),
        JudgedCall("pay", "make_payment", "refused", ("prohibited_combination:untrusted_spend",)),
    )
    (one,) = seen(store, admitted("req_1"), msgspec.structs.replace(outcome("req_1"), judgements=calls, tools_released=("find",)))
    assert one.tools == ("search",)
    assert one.combinations == ("private_egress", "untrusted_spend")


def test_a_refusal_counts_by_the_rule_that_was_asked_and_one_before_any_rule_not_at_all(store: Engine) -> None:
    (one,) = seen(store, turned("req_1"), turned("req_2", decided=False))
    assert (one.request_id, one.route, one.code, one.ended) == ("req_1", "r-1", "no_cleared_deployment", None)


def test_what_was_approved_counts_for_the_route_that_it_followed(store: Engine) -> None:
    permit = admitted("req_1").decision
    assert isinstance(permit, Permit)
    held = Hold(rule="step-up", revision="rev-1", message="ask", permit=permit)
    (one,) = seen(store, msgspec.structs.replace(admitted("req_1"), decision=held))
    assert (one.route, one.ended) == ("r-fast", None)


def test_an_end_that_nobody_saw_tells_no_duration_and_a_late_one_counts(store: Engine) -> None:
    first, second = seen(
        store,
        *(admitted("req_1"), outcome("req_1", (), cost=0, how="reaped")),
        *(admitted("req_2"), outcome("req_2", at=NOON + 2 * DAY)),
    )
    assert first.ended is None
    assert second.ended == NOON + 2 * DAY


def test_only_what_was_decided_in_the_time_is_seen(store: Engine) -> None:
    found = seen(store, admitted("req_1", at=NOON - 2 * DAY), admitted("req_2"), admitted("req_3", at=NOON + DAY))
    assert [one.request_id for one in found] == ["req_2"]


def test_decisions_are_counted_by_rule_and_by_what_was_decided(store: Engine) -> None:
    records = (admitted("req_1"), outcome("req_1"), admitted("req_2"), turned("req_3"), turned("req_4", decided=False))
    seen(store, *records, admitted("req_5", at=NOON + DAY))
    assert decisions_by_rule(store, NOON - DAY, NOON + DAY) == {("r-fast", "permit"): 2, ("r-1", "refuse"): 1}
