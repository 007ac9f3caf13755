"""However many requests run at once, a session never gets more than its budget: the embedded set-up, two workers."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import aiohttp
from governed import deployment, rule_files
from inspecting import held
from running import Running, inherited, running, until, wait_for, written
from stub_provider import StubProvider

from router.money import usd

OWNER = "demo@example.org"
REQUESTS = 300
AFFORDABLE = 40
BODY = {"model": "auto", "messages": [{"role": "user", "content": "Summarise this: the meeting was moved to Thursday."}]}
OUTPUT_TOKENS = 256
NANO_PER_INPUT_TOKEN, NANO_PER_OUTPUT_TOKEN = 3_000, 7_000  # see governed.PRICE
JUDGED_SECONDS = 60


def test_the_41st_concurrent_request_finds_the_money_held(data_dir: Path, tmp_path: Path, stub: StubProvider) -> None:
    hold, input_tokens = explained(tmp_path / "explained", stub)
    # The provider then bills the very worst case: the budget is spent to the last nano-dollar, and not exceeded.
    stub.usage = (input_tokens, 0, OUTPUT_TOKENS, 0)
    budget = AFFORDABLE * hold
    with running(
        data_dir, rules=rule_files([deployment("m", stub.url)], budget=f"cost_usd: {usd(budget)}"), workers=2
    ) as service:
        refused = race(service, stub)
        assert refused == Counter({(402, "session_budget_exceeded"): REQUESTS - AFFORDABLE})
        assert spent(service) == (AFFORDABLE, budget)
        assert held(service.data_dir) == {}


def test_the_41st_concurrent_request_finds_the_count_used_up(data_dir: Path, stub: StubProvider) -> None:
    with running(data_dir, rules=rule_files([deployment("m", stub.url)], budget=f"requests: {AFFORDABLE}"), workers=2) as service:
        refused = race(service, stub)
        assert refused == Counter({(402, "session_budget_exceeded"): REQUESTS - AFFORDABLE})
        assert spent(service)[0] == AFFORDABLE
        assert held(service.data_dir) == {}


def test_all_budgets_of_an_owner_hold_however_many_requests_run_at_once(
    data_dir: Path, tmp_path: Path, stub: StubProvider
) -> None:
    hold, input_tokens = explained(tmp_path / "explained", stub)
    stub.usage = (input_tokens, 0, OUTPUT_TOKENS, 0)
    budget = AFFORDABLE * hold
    rules = rule_files([deployment("m", stub.url)], owner=f"hard_usd: {usd(3 * budget)}")
    rules["budgets.yaml"] += (
        f"owner_budgets:\n  - {{owner: {OWNER}, hard_usd: {usd(2 * budget)}}}\n"
        f"  - {{owner: {OWNER}, per: quarter, hard_usd: {usd(budget)}}}\n  - {{owner: {OWNER}, per: year, hard_usd: {usd(3 * budget)}}}\n"
    )
    with running(data_dir, rules=rules, workers=2) as service:
        wait_for(lambda: far_too_much(service) == 402, what="that the periods are added up")
        refused = race(service, stub)
        assert refused == Counter({(402, "owner_budget_exceeded"): REQUESTS - AFFORDABLE})
        assert spent(service) == (AFFORDABLE, budget)
        told = json.loads(service.cli("report", "budgets", "--owner", OWNER, "--json"))["data"]
        assert {row["per"]: row["remaining_nano"] for row in told} == {"month": budget, "quarter": 0, "year": 2 * budget}
        assert {(row["settled_nano"], row["held_nano"]) for row in told} == {(budget, 0)}


def far_too_much(service: Running) -> int:
    """The status of a request that no budget admits: known only once every period is."""
    body = {"model": "auto", "messages": [{"role": "user", "content": "word " * 20_000}]}
    request = urllib.request.Request(  # noqa: S310
        service.base_url + "/v1/chat/completions",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {service.key()}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - to our own service
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def explained(data_dir: Path, stub: StubProvider) -> tuple[int, int]:
    """What the request would hold, and for how many input tokens, as `router explain` tells."""
    data_dir.mkdir()
    rules = written(data_dir / "rules", rule_files([deployment("m", stub.url)]))
    service = Running(0, data_dir, {**inherited(), "ROUTER_DATA_DIR": str(data_dir)}, data_dir / "log", ())
    told = json.loads(service.cli("explain", "-", "--rules", str(rules), "--json", stdin=json.dumps(BODY).encode()))
    hold = told["hold"]
    assert hold["output_tokens"] == OUTPUT_TOKENS
    return hold["nano_usd"], (hold["nano_usd"] - OUTPUT_TOKENS * NANO_PER_OUTPUT_TOKEN) // NANO_PER_INPUT_TOKEN


def race(service: Running, stub: StubProvider) -> Counter[tuple[int, str]]:
    """Send all requests at once; the provider answers when every one has been judged. The refusals, by status and code."""
    stub.script("m", "barrier")
    return asyncio.run(_race(service.base_url + "/v1/chat/completions", service.key(), stub))


async def _race(url: str, key: str, stub: StubProvider) -> Counter[tuple[int, str]]:
    refused: Counter[tuple[int, str]] = Counter()
    answered = 0

    async def one(session: aiohttp.ClientSession) -> None:
        nonlocal answered
        async with session.post(url, json=BODY) as response:
            body = await response.json()
            if response.status == 200:
                answered += 1
            else:
                refused[response.status, body["error"]["code"]] += 1

    headers = {"authorization": f"Bearer {key}", "x-session-id": "one-session"}
    timeout = aiohttp.ClientTimeout(total=JUDGED_SECONDS)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        under_way = [asyncio.create_task(one(session)) for _ in range(REQUESTS)]
        await until(lambda: refused.total() + stub.waiting == REQUESTS, JUDGED_SECONDS, "that every request is judged")
        assert answered == 0
        stub.release()
        await asyncio.gather(*under_way)
    assert answered == len(stub.requests) == AFFORDABLE
    return refused


def spent(service: Running) -> tuple[int, int]:
    """Requests and cost of the session in nano-USD, by the spend report."""
    report = json.loads(service.cli("report", "spend", "--format", "json", "--by", "session", "--wait"))
    (row,) = report["rows"]
    assert row["session"] == "one-session"
    assert row["open_requests"] == 0
    return row["requests"], row["cost_nano"]
