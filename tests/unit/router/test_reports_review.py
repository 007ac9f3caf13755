"""The autonomy review: what the rules assume of a route beside what was observed, and the change that makes it true again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest

from router.exchange import ApprovalHistory
from router.reports.review import (
    BROKEN,
    CLOSE,
    HOLDS,
    UNLIMITED,
    UNSEEN,
    Measure,
    RequestSeen,
    RouteReview,
    percentile,
    review,
    told,
)
from routing_rules.load import load, shipped

RULES = load(shipped(date(2026, 11, 23)))
START = datetime(2026, 11, 1, tzinfo=UTC)
END = START + timedelta(days=30)


def seen(
    number: int,
    *,
    route: str = "routine-work",
    session: str = "",
    seconds: float | None = 2.0,
    tools: tuple[str, ...] = (),
    **more: object,
) -> RequestSeen:
    began = START + timedelta(minutes=number)
    ended = None if seconds is None else began + timedelta(seconds=seconds)
    plain = RequestSeen(f"req_{number}", route, "desk", session or f"session-{number}", began, ended, tools=tools)
    return msgspec.structs.replace(plain, **more)


def approval(number: int, session: str, *reasons: str) -> ApprovalHistory:
    at = START + timedelta(minutes=number)
    return ApprovalHistory(
        f"apr_{number}", "call", "desk", "o", session, f"req_{number}", "general", ("mail",), reasons, "routine-work", "r", "public", at, at
    )  # fmt: skip


def looked_at(*requests: RequestSeen, approvals: tuple[ApprovalHistory, ...] = (), route: str = "routine-work") -> RouteReview:
    return next(row for row in review(RULES, requests, approvals, START, END).routes if row.route == route)


def measure(row: RouteReview, name: str) -> Measure:
    return next(each for each in row.measures if each.name.startswith(name))


@pytest.mark.parametrize(("percent", "value"), [(50, 5), (95, 10), (100, 10), (1, 1)])
def test_a_percentile_is_a_value_that_was_observed(percent: int, value: int) -> None:
    assert percentile(range(1, 11), percent) == value


def test_every_route_stands_beside_its_limits_whether_it_was_used_or_not() -> None:
    report = review(RULES, (), (), START, END)
    assert [row.route for row in report.routes] == list(RULES.index.routes)
    assert all(each.state in (UNSEEN, UNLIMITED) for row in report.routes for each in row.measures)
    assert measure(report.routes[-1], "answers").assumed == 120
    assert measure(next(row for row in report.routes if row.route == "trial"), "steps").assumed == 3


def test_short_answers_within_the_limit_hold_and_their_figures_are_told() -> None:
    answers = measure(looked_at(*(seen(number, seconds=float(number)) for number in range(1, 21))), "answers")
    assert (answers.state, answers.seen, answers.p50, answers.p95, answers.most, answers.over) == (HOLDS, 20, 10, 19, 20, 0)
    assert answers.change == ""


def test_answers_that_are_cut_off_break_the_assumption_and_the_change_is_named() -> None:
    row = looked_at(*(seen(number, seconds=120.0 if number % 4 == 0 else 30.0) for number in range(40)))
    answers = measure(row, "answers")
    assert (answers.state, answers.over) == (BROKEN, 10)
    assert "raise `request_seconds` of route `routine-work` to 150 or more" in answers.change
    assert not row.holds


def test_answers_that_come_near_the_limit_are_close() -> None:
    answers = measure(looked_at(*(seen(number, seconds=110.0) for number in range(10))), "answers")
    assert (answers.state, answers.over) == (CLOSE, 0)
    assert "to 138, or" in answers.change


def test_steps_and_calls_are_counted_by_session() -> None:
    requests = [seen(number, route="trial", session=f"s{number % 2}", tools=("search_web", "search_web")) for number in range(6)]
    row = looked_at(*requests, route="trial")
    assert (row.requests, row.sessions) == (6, 2)
    steps, calls, tools = measure(row, "steps"), measure(row, "tool calls"), measure(row, "distinct")
    assert (steps.p50, steps.most, steps.state) == (3, 3, BROKEN)
    assert (calls.p50, tools.most) == (6, 1)
    assert "`requests` of budget `tiny`" in steps.change


def test_requests_without_an_end_count_as_steps_but_not_as_durations() -> None:
    row = looked_at(seen(1), seen(2, seconds=None))
    assert (measure(row, "answers").seen, measure(row, "steps").seen) == (1, 2)


def test_refused_requests_are_counted_by_code_and_take_no_step() -> None:
    row = looked_at(seen(1), seen(2, code="session_budget_exceeded", seconds=None))
    assert (row.requests, row.sessions, row.refused) == (2, 1, {"session_budget_exceeded": 1})


def test_tools_of_a_set_that_no_route_uses_are_an_entitlement_too_many() -> None:
    used = sorted(RULES.sets["standard"].tools)[0]
    row = looked_at(seen(1, tools=(used,)), seen(2, route="trial", tools=(sorted(RULES.sets["standard"].tools)[1],)))
    assert set(row.unused_tools) == RULES.sets["standard"].tools - set(sorted(RULES.sets["standard"].tools)[:2])
    tools = measure(row, "distinct")
    assert tools.state == CLOSE
    assert tools.change.startswith("take `")
    assert "out of set `standard`" in tools.change


def test_more_than_one_approval_in_a_session_is_one_too_many() -> None:
    requests = [seen(number, session="s") for number in range(3)]
    once = looked_at(*requests, approvals=(approval(0, "s", "destination_not_vouched"),))
    assert measure(once, "approvals").state == HOLDS
    twice = looked_at(*requests, approvals=tuple(approval(number, "s", "destination_not_vouched") for number in range(3)))
    asked = measure(twice, "approvals")
    assert (asked.state, asked.most, asked.over) == (BROKEN, 3, 1)
    assert "`allowed_destinations`" in asked.change


def test_combinations_that_calls_met_are_told_with_the_tool_to_take_out() -> None:
    row = looked_at(seen(1, combinations=("private_egress", "private_egress")), seen(2))
    assert row.combinations == {"private_egress": 2}
    met = measure(row, "combinations")
    assert (met.state, met.over) == (BROKEN, 1)
    assert "`private_egress` was met 2 times" in met.change


def test_requests_of_routes_that_are_gone_are_counted_elsewhere() -> None:
    report = review(RULES, [seen(1, route="gone"), seen(2)], (), START, END)
    assert report.elsewhere == 1


def test_the_review_reads_aloud_and_can_be_written_as_json() -> None:
    report = review(RULES, [seen(number, seconds=120.0) for number in range(5)], (), START, END)
    text = told(report)
    assert "what is assumed no longer holds of routine-work" in text
    assert "broken    answers within 120 s; observed p50 120, p95 120, most 120" in text
    assert msgspec.json.decode(msgspec.json.encode(report))["routes"][-1]["measures"][0]["state"] == BROKEN
