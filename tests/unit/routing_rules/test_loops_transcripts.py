"""Two hundred and more sessions that page, poll, wait and work through lists are never taken for loops; real loops are, on time."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from routing_rules.loops import CallSeen, LoopKind, answered, loop, seen

Step = tuple[str, Any, bool, str]
"""Tool, arguments, whether it only looks, result."""
Maker = Callable[[random.Random, int], Iterator[Step]]


def stops_at(steps: list[Step], limit: int) -> tuple[int, LoopKind] | None:
    """At which call a session is stopped, where each result is there before the next call."""
    history: list[CallSeen] = []
    for place, (tool, arguments, looks, result) in enumerate(steps):
        proposed = seen(tool, arguments, looks=looks)
        found = loop([*history, proposed], limit)
        if found is not None:
            return place, found.kind
        history.append(answered(proposed, result))
    return None


def told(**fields: Any) -> str:
    return json.dumps(fields)


# Pages


def numbered_pages(draw: random.Random, length: int) -> Iterator[Step]:
    name = draw.choice(["page", "pageNumber", "page_no", "pageIndex", "p", "currentPage", "pg"])
    result = draw.choice(['{{"rows": [{}]}}', "rows", '{{"rows": []}}'])
    for page in range(length):
        yield "list_invoices", {"status": "open", name: page, "per_page": 20}, True, result.format(page)


def pages_within_an_object(draw: random.Random, length: int) -> Iterator[Step]:
    outer = draw.choice(["pagination", "paging", "options", "query"])
    for page in range(length):
        yield "list_orders", {"filter": {"open": True}, outer: {"page": page, "size": 50}}, True, "rows"


def offsets(draw: random.Random, length: int) -> Iterator[Step]:
    name, size = draw.choice(["offset", "skip", "startAt", "start_index", "from"]), draw.choice([10, 25, 100])
    for page in range(length):
        yield "query_rows", {"table": "customers", name: page * size, "limit": size}, True, "rows"


def opaque_cursors(draw: random.Random, length: int) -> Iterator[Step]:
    name = draw.choice(["cursor", "pageToken", "after", "next_cursor", "scroll_id", "LastEvaluatedKey", "page_token", "nextLink"])
    token: str | None = None
    for _ in range(length):
        yield "search_mail", {"query": "invoice", **({name: token} if token else {})}, True, draw.choice(["[]", '{"items": [1]}'])
        token = f"{draw.getrandbits(80):x}"


def cursors_that_the_server_keeps(draw: random.Random, length: int) -> Iterator[Step]:
    tool, looks = draw.choice([("fetch_more", True), ("next_page", False), ("results.next", True), ("loadMore", False)])
    for page in range(length):
        yield tool, {}, looks, f"rows {page}"


def scrolling(draw: random.Random, length: int) -> Iterator[Step]:
    tool, arguments = draw.choice(
        [
            ("browser_scroll", {"direction": "down"}),
            ("computer", {"action": "scroll", "amount": 3}),
            ("press_key", {"key": "PageDown"}),
        ]
    )
    for page in range(length):
        yield tool, arguments, False, f"text of screen {page}"


def pages_there_and_back(draw: random.Random, length: int) -> Iterator[Step]:
    for page in [*range(length), *range(length)]:
        yield "read_file", {"path": "log.txt", "offset": page * 100}, True, f"lines {page}"


def pages_with_each_item_opened(draw: random.Random, length: int) -> Iterator[Step]:
    for page in range(length):
        yield "list_tickets", {"page": page}, True, "ids"
        for item in range(draw.randint(1, 4)):
            yield "get_ticket", {"id": page * 10 + item}, True, "ticket"


def two_lists_side_by_side(draw: random.Random, length: int) -> Iterator[Step]:
    for page in range(length):
        yield "list_orders", {"page": page}, True, "rows"
        yield "list_payments", {"page": page}, True, "rows"


def days_of_a_calendar(draw: random.Random, length: int) -> Iterator[Step]:
    for day in range(length):
        yield "list_events", {"from": f"2024-05-{day % 28 + 1:02}", "to": f"2024-05-{day % 28 + 2:02}"}, True, "[]"


def parts_of_a_file(draw: random.Random, length: int) -> Iterator[Step]:
    for part in range(length):
        yield "view", {"path": "main.py", "view_range": [part * 80 + 1, part * 80 + 80]}, True, "lines"


# Polls


STATES = (
    "pending running queued PROCESSING in_progress IN-PROGRESS Waiting building ContainerCreating provisioning started accepted working"
    " scheduled rendering Initializing starting active submitted"
).split()


def a_job_until_it_is_done(draw: random.Random, length: int) -> Iterator[Step]:
    key, state = draw.choice(["status", "state", "phase", "job_status"]), draw.choice(STATES)
    for _ in range(length):
        yield "get_job_status", {"job_id": "j-1"}, True, told(id="j-1", **{key: state})
    yield "get_job_status", {"job_id": "j-1"}, True, told(id="j-1", **{key: "succeeded"})


def a_job_that_says_so_in_words(draw: random.Random, length: int) -> Iterator[Step]:
    words = draw.choice(
        ["Not ready yet.", "The build is still running", "Report not available yet, try again in 10 s", "status: running", "In progress...",
         "Rate limit exceeded, retry after 2 s", "Service temporarily unavailable", "40 % done", "HTTP 202 Accepted: queued"]
    )  # fmt: skip
    for _ in range(length):
        yield draw.choice(["get_report_export"]), {"id": 4}, True, words


def a_job_that_is_not_done(draw: random.Random, length: int) -> Iterator[Step]:
    key = draw.choice(["done", "ready", "finished", "completed", "is_complete"])
    for _ in range(length):
        yield "getOperation", {"name": "op/7"}, True, told(name="op/7", **{key: False})
    yield "getOperation", {"name": "op/7"}, True, told(name="op/7", **{key: True})


def a_share_that_grows_slowly(draw: random.Random, length: int) -> Iterator[Step]:
    key, whole = draw.choice([("progress", 100), ("percent", 100), ("percentage_complete", 100), ("progress", 1.0)])
    share = 0
    for _ in range(length):
        yield "check_upload", {"id": "u"}, True, told(**{key: share * whole / 100 if whole == 1.0 else share})
        share = min(share + draw.choice([0, 0, 0, 0, 0, 0, 1, 5]), 99)


def changing_results(draw: random.Random, length: int) -> Iterator[Step]:
    nonce = draw.choice([None, "request_id", "nonce", "timestamp"])
    steady = draw.choice([1, 2])
    for step in range(length):
        arguments = {"id": 3, **({nonce: draw.getrandbits(32)} if nonce else {})}
        yield "read_sensor", arguments, True, f"value {step // steady}"


def a_wait_between_looks(draw: random.Random, length: int) -> Iterator[Step]:
    wait = draw.choice(["sleep", "wait_seconds", "waitFor", "delay", "pause_execution"])
    for _ in range(length):
        yield "get_deployment", {"id": 9}, True, draw.choice(["same", '{"state": "rolling out"}'])
        yield wait, {"seconds": 5}, True, "ok"


def two_jobs_by_turns(draw: random.Random, length: int) -> Iterator[Step]:
    for _ in range(length):
        for job in range(draw.choice([2, 2, 3])):
            yield "get_job", {"id": job}, True, told(state="running")


def an_inbox_until_there_is_mail(draw: random.Random, length: int) -> Iterator[Step]:
    tool = draw.choice(["poll_inbox", "receive_messages", "list_unread", "get_new_messages", "getUpdates"])
    empty = draw.choice(["[]", '{"messages": []}', "", "no new messages", '{"items": [], "count": 0}'])
    for _ in range(length):
        yield tool, {"folder": "in"}, True, empty
    yield tool, {"folder": "in"}, True, '[{"from": "bob"}]'


def health_while_services_are_rolled_out(draw: random.Random, length: int) -> Iterator[Step]:
    for service in range(length):
        yield "deploy_service", {"name": f"s{service}"}, False, "ok"
        for _ in range(draw.randint(0, 8)):
            yield (
                "health_check",
                {"name": f"s{service}"},
                True,
                told(healthy=False, status=draw.choice(["starting", "unhealthy"])),
            )
        yield "health_check", {"name": f"s{service}"}, True, told(healthy=True, status="ok")


def logs_that_grow(draw: random.Random, length: int) -> Iterator[Step]:
    lines: list[str] = []
    for _ in range(length):
        lines += [f"line {len(lines)}"]
        yield "get_logs", {"pod": "web"}, True, "\n".join(lines)


# Retries and work


def retries_after_errors(draw: random.Random, length: int) -> Iterator[Step]:
    for item in range(length):
        for _ in range(draw.randint(0, 2)):
            yield "fetch_url", {"url": f"https://example.com/{item}"}, True, draw.choice(["timeout", "503", "connection reset"])
        yield "fetch_url", {"url": f"https://example.com/{item}"}, True, "page"


def acts_tried_again(draw: random.Random, length: int) -> Iterator[Step]:
    for item in range(length):
        for _ in range(draw.randint(0, 2)):
            yield "create_ticket", {"title": f"Door {item}"}, False, "error: 502"
        yield "create_ticket", {"title": f"Door {item}"}, False, "created"


def batch_over_ids(draw: random.Random, length: int) -> Iterator[Step]:
    tool, looks = draw.choice([("get_customer", True), ("archive_mail", False), ("add_label", False)])
    for item in draw.sample(range(1000), length):
        yield tool, {"id": item, "label": "seen"}, looks, "ok"


def list_and_read(draw: random.Random, length: int) -> Iterator[Step]:
    left = list(range(length))
    while left:
        yield "list_tasks", {"status": "todo"}, True, json.dumps(left)
        yield "complete_task", {"id": left.pop()}, False, "ok"


def next_and_done(draw: random.Random, length: int) -> Iterator[Step]:
    for item in range(length):
        yield "next_item", {}, True, f"item {item}"
        yield draw.choice(["ack", "mark_done"]), {}, False, "ok"


def edit_and_test(draw: random.Random, length: int) -> Iterator[Step]:
    for attempt in range(length):
        yield "read_file", {"path": "a.py"}, True, f"version {attempt}"
        yield "edit_file", {"path": "a.py", "new": f"version {attempt + 1}"}, False, "ok"
        yield "run_tests", {}, False, f"{length - attempt} failed"


def look_act_look(draw: random.Random, length: int) -> Iterator[Step]:
    for step in range(length):
        yield "take_screenshot", {}, False, f"screen {step}"
        yield "click", {"x": draw.randrange(1000), "y": draw.randrange(1000)}, False, "ok"


def other_words_each_time(draw: random.Random, length: int) -> Iterator[Step]:
    words = "harbour rent contract notice landlord deposit flat rules terms end date".split()
    for attempt in range(length):
        yield "search", {"query": " ".join(draw.sample(words, 3)), "n": attempt}, True, "none"


MAKERS: list[Maker] = [
    numbered_pages, pages_within_an_object, offsets, opaque_cursors, cursors_that_the_server_keeps, scrolling, pages_there_and_back,
    pages_with_each_item_opened, two_lists_side_by_side, days_of_a_calendar, parts_of_a_file, a_job_until_it_is_done,
    a_job_that_says_so_in_words, a_job_that_is_not_done, a_share_that_grows_slowly, changing_results, a_wait_between_looks,
    two_jobs_by_turns, an_inbox_until_there_is_mail, health_while_services_are_rolled_out, logs_that_grow, retries_after_errors,
    acts_tried_again, batch_over_ids, list_and_read, next_and_done, edit_and_test, look_act_look, other_words_each_time,
]  # fmt: skip
SEEDS = range(10)
LENGTHS = (6, 12, 25, 40)


@pytest.mark.parametrize("limit", [3, 5])
@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_no_session_that_pages_polls_or_works_through_a_list_is_stopped(maker: Maker, limit: int) -> None:
    stopped = {}
    for seed in SEEDS:
        steps = list(maker(random.Random(f"{maker.__name__} {seed}"), LENGTHS[seed % len(LENGTHS)]))
        if (found := stops_at(steps, limit)) is not None:
            stopped[seed] = (found, steps[found[0]])
    assert stopped == {}


def test_there_are_more_than_two_hundred_of_them_and_no_two_alike() -> None:
    written = {
        repr(list(maker(random.Random(f"{maker.__name__} {seed}"), LENGTHS[seed % 4]))) for maker in MAKERS for seed in SEEDS
    }
    assert len(written) >= 200


def same(draw: random.Random) -> Iterator[Step]:
    calls: list[Step] = [
        ("get_customer", {"id": 7}, True, told(id=7, status="active", plan="gold")),
        ("get_customer", {"id": 7}, True, told(id=7, discount_percent=12, name="Ada")),
        ("read_file", {"path": "notes.txt"}, True, "It is running late, and the work in progress is pending. " * 20),
        ("list_todos", {}, True, json.dumps([{"title": n, "completed": False} for n in range(5)])),
        ("list_orders", {}, True, json.dumps([{"id": n, "status": "processing"} for n in range(9)])),
        ("search", {"query": "rent"}, True, "[]"),
        ("fetch_url", {"url": "https://example.com"}, True, "error: timeout"),
        ("get_product", {"id": 1}, True, told(error="not found", success=False)),
        ("send_mail", {"to": "a@example.com"}, False, "queued"),
        ("run_code", {"code": "main()"}, False, "Traceback"),
        ("list_rows", {"page": 2}, True, "rows"),
        ("get_clock", {"request_id": "x"}, True, "12:00"),
    ]
    tool, arguments, looks, result = draw.choice(calls)
    while True:
        if "request_id" in arguments:
            arguments = {"request_id": f"r{draw.getrandbits(40)}"}
        yield tool, arguments, looks, result


def nearly_same(draw: random.Random) -> Iterator[Step]:
    words = draw.sample("harbour rent contract notice landlord deposit".split(), 4)
    while True:
        draw.shuffle(words)
        query = draw.choice([" ", ", ", "  ", " / "]).join(draw.choice([word, word.upper(), f"'{word}'"]) for word in words)
        yield "search", {"query": query}, True, draw.choice(["none", "nothing found", "no hits"])


def by_turns(draw: random.Random) -> Iterator[Step]:
    looks = draw.choice([True, False])
    turns: list[Step] = [(f"tool_{n}", {"x": n}, looks, "same") for n in range(draw.choice([2, 3]))]
    while True:
        yield from turns


def pages_by_turns(draw: random.Random) -> Iterator[Step]:
    while True:
        yield from [("list_rows", {"page": page, "size": 10}, True, f"rows {page}") for page in (1, 2)]


def search_and_read_by_turns(draw: random.Random) -> Iterator[Step]:
    while True:
        yield "search", {"query": draw.choice(["rome weather", "weather, Rome", "Weather Rome!"])}, True, "one hit"
        yield "read_page", {"id": 4, "request_id": draw.getrandbits(32)}, True, "sunny"


@pytest.mark.parametrize("limit", [2, 3, 5, 8])
@pytest.mark.parametrize("seed", range(24))
def test_the_same_call_is_stopped_at_the_configured_count(seed: int, limit: int) -> None:
    calls = same(random.Random(seed))
    assert stops_at([next(calls) for _ in range(40)], limit) == (limit, LoopKind.IDENTICAL)


@pytest.mark.parametrize("limit", [3, 5, 8])
@pytest.mark.parametrize("seed", range(10))
def test_nearly_the_same_call_is_stopped_at_the_configured_count(seed: int, limit: int) -> None:
    calls = nearly_same(random.Random(seed))
    found = stops_at([next(calls) for _ in range(40)], limit)
    assert found is not None
    assert found[0] == limit


@pytest.mark.parametrize("limit", [3, 5, 8])
@pytest.mark.parametrize("maker", [by_turns, pages_by_turns, search_and_read_by_turns])
@pytest.mark.parametrize("seed", range(6))
def test_calls_by_turns_are_stopped_after_the_configured_rounds(
    maker: Callable[[random.Random], Iterator[Step]], seed: int, limit: int
) -> None:
    calls = maker(random.Random(seed))
    steps = [next(calls) for _ in range(80)]
    period = next(n for n in (2, 3) if (steps[n][0], steps[n][1].get("page")) == (steps[0][0], steps[0][1].get("page")))
    assert stops_at(steps, limit) == ((limit + 1) * period - 1, LoopKind.ALTERNATING)
