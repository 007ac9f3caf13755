"""However many requests run at once, a session never gets more than its budget: the embedded set-up, two workers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import aiohttp
from governed import deployment, rule_files
from inspecting import held
from running import Running, inherited, running, until, written
from stub_provider import StubProvider

from router.money import usd

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
