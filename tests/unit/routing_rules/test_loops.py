"""What is a loop, and what only looks like one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_rules.loops import PATIENCE, CallSeen, Loop, LoopKind, loop, rounds, seen
from tests.benchmarks.cpu_time import within

LIMIT = 5
Step = tuple[str, Any, bool, str | None]
"""Tool, arguments, whether it only looks, result."""


def stops_at(steps: list[Step], limit: int = LIMIT) -> tuple[int, Loop] | None:
    """At which call a session is stopped: each is proposed without a result, which is there when the next one comes."""
    history: list[CallSeen] = []
    for place, (tool, arguments, looks, result) in enumerate(steps):
        found = loop([*history, seen(tool, arguments, looks=looks)], limit)
        if found is not None:
            return place, found
        history.append(seen(tool, arguments, looks=looks, result=result))
    return None


@pytest.mark.parametrize("limit", [1, 3, 5, 8])
@pytest.mark.parametrize("looks", [True, False])
def test_an_identical_call_is_stopped_at_the_configured_count(limit: int, looks: bool) -> None:
    stopped = stops_at([("get_note", {"id": 7}, looks, "the same")] * 30, limit)
    assert stopped == (limit, Loop(LoopKind.IDENTICAL, "get_note", limit + 1))


def test_nearly_identical_calls_are_stopped_too() -> None:
    wordings = [
        "Rome weather",
        "weather Rome",
        "weather: ROME",
        "Rome, weather",
        "weather  rome!",
        "'Rome' weather",
        "rome weather.",
    ]
    stopped = stops_at(
        [("search", {"query": wording, "request_id": f"r{i}"}, True, "none") for i, wording in enumerate(wordings)]
    )
    assert stopped == (LIMIT, Loop(LoopKind.NEAR_IDENTICAL, "search", LIMIT + 1))


@pytest.mark.parametrize("period", [2, 3])
def test_calls_by_turns_are_stopped(period: int) -> None:
    turns: list[Step] = [(f"tool_{place}", {"x": 1}, True, "same") for place in range(period)]
    stopped = stops_at(turns * 20)
    assert stopped is not None
    assert stopped[1].kind is LoopKind.ALTERNATING
    assert stopped[0] <= (LIMIT + 2) * period


def test_an_act_that_is_repeated_is_not_excused_by_what_it_returns() -> None:
    stopped = stops_at([("send_mail", {"to": "a@example.com"}, False, f"sent as {n}, pending") for n in range(30)])
    assert stopped is not None
    assert stopped[0] == LIMIT


@pytest.mark.parametrize(("tool", "text"), [("send_message", "next"), ("post_more", "x"), ("sendNextReminder", "x")])
def test_an_act_does_not_turn_a_page_because_of_a_word(tool: str, text: str) -> None:
    stopped = stops_at([(tool, {"text": text}, False, f"sent as {n}") for n in range(30)])
    assert stopped is not None
    assert stopped[0] == LIMIT


def test_the_same_page_again_and_again_is_a_loop() -> None:
    stopped = stops_at([("list_rows", {"page": 2}, True, "rows") for _ in range(30)])
    assert stopped is not None
    assert stopped[1].kind is LoopKind.IDENTICAL


def test_patience_ends() -> None:
    polling: list[Step] = [("get_job", {"id": 1}, True, "running")] * (LIMIT * PATIENCE + 50)
    stopped = stops_at(polling)
    assert stopped is not None
    assert stopped[0] == LIMIT * PATIENCE
    changing: list[Step] = [("get_clock", {}, True, str(n)) for n in range(LIMIT * PATIENCE + 50)]
    assert stops_at(changing) is not None


def test_how_many_rounds_there_were_can_be_told() -> None:
    calls = [seen("get_note", {"id": 7}, looks=True, result="same")] * 3
    assert rounds([]) == 0
    assert rounds(calls) == 3
    assert rounds([*calls, seen("other", {}, looks=True)]) == 1


def test_a_request_that_a_client_library_sends_again_is_one_call() -> None:
    # A retry joins the attempt that is still running: the session remembers the call once, however often it was sent.
    once = [("create_ticket", {"title": "Door"}, False, "created"), ("get_ticket", {"id": 1}, True, "open")]
    assert stops_at([*once]) is None


def test_nothing_of_the_arguments_is_kept() -> None:
    assert "secret" not in repr(seen("t", {"a": "secret", "page": "secret"}, looks=True, result="secret"))


# Benign transcripts: each maker is told how long, and draws the rest.


def pages(draw: random.Random, length: int) -> Iterator[Step]:
    name = draw.choice(["page", "pageNumber", "offset", "start_at", "skip", "startIndex"])
    size = draw.choice([1, 10, 50])
    for page in range(length):
        yield "list_orders", {"status": "open", name: page * size, "limit": size}, True, draw.choice(["rows", f"rows {page}"])


def cursors(draw: random.Random, length: int) -> Iterator[Step]:
    name = draw.choice(["cursor", "pageToken", "next_page_token", "after", "continuation", "marker", "page-token"])
    token = None
    for _ in range(length):
        yield "search_mail", {"query": "invoice", name: token}, True, "{...}"
        token = f"{draw.getrandbits(64):x}"


def file_parts(draw: random.Random, length: int) -> Iterator[Step]:
    for part in range(length):
        yield "read_file", {"path": "notes.txt", "view_range": [part * 100 + 1, part * 100 + 100]}, True, "text"


def polls(draw: random.Random, length: int) -> Iterator[Step]:
    word = draw.choice(["pending", "running", "queued", "in_progress", "PROCESSING", "building", "provisioning"])
    for _ in range(length):
        yield "get_job_status", {"job_id": "j-1"}, True, f'{{"status": "{word}"}}'
    yield "get_job_status", {"job_id": "j-1"}, True, '{"status": "done"}'


def polls_with_a_wait(draw: random.Random, length: int) -> Iterator[Step]:
    for _ in range(length):
        yield "get_build", {"id": 9}, True, '{"state": "running"}'
        yield draw.choice(["sleep", "wait_seconds"]), {"seconds": 5}, True, "ok"


def polls_that_count(draw: random.Random, length: int) -> Iterator[Step]:
    for percent in range(length):
        yield "check_upload", {"id": "u"}, True, f'{{"percent": {percent}}}'


def queue(draw: random.Random, length: int) -> Iterator[Step]:
    for item in range(length):
        yield "next_item", {}, True, f"item {item}"


def things_one_by_one(draw: random.Random, length: int) -> Iterator[Step]:
    for item in range(length):
        yield "get_customer", {"id": 1000 + item}, True, f"customer {item}"
        if draw.random() < 0.5:
            yield "add_tag", {"id": 1000 + item, "tag": "seen"}, False, "ok"


def edits_and_tests(draw: random.Random, length: int) -> Iterator[Step]:
    for attempt in range(length):
        yield "edit_file", {"path": "a.py", "new": f"version {attempt}"}, False, "ok"
        yield "run_tests", {}, False, f"{length - attempt} failed"


def better_queries(draw: random.Random, length: int) -> Iterator[Step]:
    words = ["harbour", "rent", "contract", "notice", "2024", "landlord", "deposit", "flat", "rules"]
    for attempt in range(length):
        yield "search_files", {"query": " ".join(draw.sample(words, 3)) + f" {attempt}"}, True, "none"


def hiccups(draw: random.Random, length: int) -> Iterator[Step]:
    for item in range(length):
        for _ in range(draw.randint(1, LIMIT - 1)):
            yield "fetch_page", {"url": f"https://example.com/{item}"}, True, "timeout"


MAKERS: list[Callable[[random.Random, int], Iterator[Step]]] = [
    pages, cursors, file_parts, polls, polls_with_a_wait, polls_that_count, queue, things_one_by_one, edits_and_tests,
    better_queries, hiccups,
]  # fmt: skip


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_no_benign_transcript_is_stopped(maker: Callable[[random.Random, int], Iterator[Step]]) -> None:
    transcripts = [list(maker(random.Random(seed), 6 + seed * 2)) for seed in range(24)]  # 11 makers: 264 transcripts
    assert [place for place, steps in enumerate(transcripts) if stops_at(steps) is not None] == []


def test_parallel_calls_before_any_result_count() -> None:
    proposed = [seen("get_note", {"id": 7}, looks=True) for _ in range(LIMIT + 1)]
    assert loop(proposed, LIMIT) is not None
    assert loop(proposed[:-1], LIMIT) is None


def test_a_limit_below_one_and_an_empty_session_stop_nothing() -> None:
    assert loop([], LIMIT) is None
    assert loop([seen("t", {}, looks=True)] * 9, 0) is None


@pytest.mark.hostile
def test_a_long_session_is_read_once() -> None:
    calls = [seen("a" if n % 2 else "b", {"n": n % 4}, looks=True, result="r") for n in range(20_000)]
    with within(0.5):
        loop(calls, LIMIT)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
)


@given(tool=st.text(), arguments=JSON, looks=st.booleans(), result=st.none() | st.text(), limit=st.integers(-1, 9))
def test_whatever_comes_is_taken_and_repeating_it_ends(
    tool: str, arguments: Any, looks: bool, result: str | None, limit: int
) -> None:
    call = seen(tool, arguments, looks=looks, result=result)
    assert loop([call], max(limit, 1)) is None
    if 0 < limit:
        assert loop([call] * (limit * PATIENCE + 1), limit) is not None


@given(order=st.permutations(["a", "b", "c"]))
def test_the_order_of_arguments_does_not_matter(order: list[str]) -> None:
    assert seen("t", dict.fromkeys(order, 1), looks=True) == seen("t", {"a": 1, "b": 1, "c": 1}, looks=True)
