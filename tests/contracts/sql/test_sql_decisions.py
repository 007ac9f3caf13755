"""Decisions as people look for them: every filter, page after page without a gap, one's whole story, and which key was used last."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sql_records import NOON, admitted, outcome, raw, turned
from sqlalchemy import Engine

from router.exchange import Admitted, Outcome, Turned
from router.storage.sql.decisions import FILTERS, SqlDecisions
from router.storage.sql.records import SqlRecords
from routing_rules.vocabulary import TaskKind

SECOND = timedelta(seconds=1)


def write(store: Engine, *records: Admitted | Turned | Outcome) -> None:
    SqlRecords(store).write([(3, raw(record)) for record in records])


@pytest.fixture
def decisions(store: Engine) -> SqlDecisions:
    write(
        store,
        admitted("r1", task=TaskKind.CODING),
        admitted("r2", app="shop", owner="bob@example.com", session="session-2", at=NOON + SECOND),
        turned("r3", at=NOON + 2 * SECOND),
        outcome("r1", deployment="fast-2"),
    )
    return SqlDecisions(store)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({}, ["r3", "r2", "r1"]),
        ({"app": "shop"}, ["r2"]),
        ({"owner": "bob@example.com"}, ["r2"]),
        ({"task": "coding"}, ["r1"]),
        ({"rule": "r-fast", "app": "desk"}, ["r1"]),
        ({"code": "no_cleared_deployment"}, ["r3"]),
        ({"deployment": "fast-2"}, ["r1"]),
        ({"outcome": "completed"}, ["r1"]),
        ({"tool": "search", "session": "session-2"}, ["r2"]),
        ({"tool": "searc"}, []),
        ({"tool": "%"}, []),
        ({"request": "r2"}, ["r2"]),
    ],
)
def test_each_filter_finds_what_it_names(decisions: SqlDecisions, where: dict[str, str], found: list[str]) -> None:
    assert [row.request_id for row in decisions.search(where)] == found


def test_a_filter_that_there_is_not_is_refused(decisions: SqlDecisions) -> None:
    assert "record" not in FILTERS
    with pytest.raises(ValueError, match="record"):
        decisions.search({"record": "x"})


def test_times_bound_a_search(decisions: SqlDecisions) -> None:
    assert [row.request_id for row in decisions.search({}, since=NOON + SECOND, until=NOON + 2 * SECOND)] == ["r2"]


def test_page_after_page_nothing_is_left_out_or_told_twice(store: Engine) -> None:
    write(store, *(admitted(f"r{number:02}", at=NOON + (number // 3) * SECOND) for number in range(10)))  # several at one moment
    decisions, seen, before = SqlDecisions(store), [], None
    while rows := decisions.search({}, before=before, limit=4):
        seen += [row.request_id for row in rows]
        before = (rows[-1].at, rows[-1].request_id)
    assert seen == [f"r{number:02}" for number in reversed(range(10))]


def test_a_story_holds_what_was_decided_and_what_it_cost(decisions: SqlDecisions) -> None:
    story = decisions.story("r1")
    assert story is not None
    assert story.admitted is not None
    assert story.entry is not None
    assert (story.entry.cost_nano, sum(line.cost_nano for line in story.lines)) == (750, 750)
    refused = decisions.story("r3")
    assert refused is not None
    assert (refused.refused is not None, refused.entry, refused.lines) == (True, None, ())
    assert decisions.story("none") is None


def test_a_session_is_listed_once_by_its_latest_decision(decisions: SqlDecisions, store: Engine) -> None:
    write(store, admitted("r4", session="session-2", app="shop", at=NOON + 5 * SECOND))
    listed = [(row.session, row.request_id) for row in decisions.sessions({}) if row.app == "shop"]
    assert listed == [("session-2", "r4")]


def test_the_last_use_of_a_key_is_that_of_its_latest_request(decisions: SqlDecisions) -> None:
    record = decisions.story("r2")
    assert record is not None
    assert record.admitted is not None
    key = record.admitted.facts.caller.key_id
    assert decisions.last_use({key: "shop", "key_unused": "shop"}) == {key: NOON + SECOND}
