"""Attacks on the running service: answers of others, absurd providers, and what is written down of a refusal."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
from governed import deployment, rule_files
from running import Running, running
from stub_provider import StubProvider

BODY = {"model": "auto", "messages": [{"role": "user", "content": "Write to ann.miller@contoso.com about the picnic."}]}
CHAT = "/v1/chat/completions"


async def post(
    service: Running, key: str, body: Mapping[str, Any], headers: Mapping[str, str] = {}, path: str = CHAT
) -> tuple[int, Any]:
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}", **headers}) as session:
        async with session.post(service.base_url + path, json=body) as answer:
            return answer.status, await answer.json()


def test_a_retry_joins_no_attempt_of_another_key_or_under_another_label(data_dir: Path, stub: StubProvider) -> None:
    async def scenario(service: Running, wide: str, narrow: str) -> list[tuple[int, Any]]:
        first = asyncio.ensure_future(post(service, wide, BODY))
        await asyncio.to_thread(wait_for_request, stub)
        again = {"x-stainless-retry-count": "1"}
        others = [
            await asyncio.wait_for(post(service, narrow, BODY, again), 20),
            await asyncio.wait_for(post(service, wide, BODY, {**again, "x-router-label": "restricted"}), 20),
        ]
        stub.release()
        return [await first, *others]

    stub.script("m", "barrier")
    with running(data_dir, rules=rule_files([deployment("m", stub.url)])) as service:
        narrow = service.key("demo", "demo@example.org", "--clearance", "public")
        answers = asyncio.run(scenario(service, service.key(), narrow))
    assert [status for status, _ in answers] == [200, 403, 403]
    assert [body["error"]["code"] for _, body in answers[1:]] == ["sensitivity_not_permitted", "no_cleared_deployment"]


def test_a_provider_that_reports_absurd_usage_is_estimated_and_the_request_settled(data_dir: Path, stub: StubProvider) -> None:
    stub.usage = (10**30, 0, 2**63, 0)
    with running(data_dir, rules=rule_files([deployment("m", stub.url)])) as service:
        status, _ = asyncio.run(post(service, service.key(), BODY))
        total = service.settled()["total"]
    assert status == 200
    assert (total["requests"], 0 < float(total["cost_usd"]) < 1) == (1, True)


def wait_for_request(stub: StubProvider) -> None:
    async def arrived() -> None:
        await stub.arrived(1)

    assert stub._loop is not None
    asyncio.run_coroutine_threadsafe(arrived(), stub._loop).result(20)


def test_a_request_cut_when_the_service_stops_costs_what_it_may_have_cost(data_dir: Path, stub: StubProvider) -> None:
    async def begin(service: Running, key: str) -> None:
        with contextlib.suppress(aiohttp.ClientError):
            await post(service, key, BODY)

    async def scenario(service: Running, key: str) -> None:
        under_way = asyncio.ensure_future(begin(service, key))
        await asyncio.to_thread(wait_for_request, stub)
        await asyncio.to_thread(service.stop)
        await under_way

    stub.script("m", "hang")
    rules = rule_files([deployment("m", stub.url)])
    with running(data_dir, rules=rules, environment={"ROUTER_DRAIN_SECONDS": "1"}) as service:
        asyncio.run(scenario(service, service.key()))
        service.start()
        total = service.settled()["total"]
    assert total["requests"] == 1
    assert float(total["cost_usd"]) >= 256 * 7.00 / 1_000_000  # the longest answer that was allowed


def test_a_secret_in_place_of_a_model_name_is_in_no_record(data_dir: Path, stub: StubProvider) -> None:
    secret = "sk-live-9tQ2vZ7nXc4LbR8wKd1"
    with running(data_dir, rules=rule_files([deployment("m", stub.url)])) as service:
        status, body = asyncio.run(post(service, service.key(), {**BODY, "model": secret}))
        service.settled()
        records = evidence(data_dir)
        service.stop()
    assert (status, body["error"]["code"]) == (404, "model_not_found")
    assert '"code":"model_not_found"' in records
    assert not [path for path in data_dir.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert secret not in service.log.read_text()


def test_a_purpose_that_is_not_held_is_refused_with_evidence(data_dir: Path, stub: StubProvider) -> None:
    with running(data_dir, rules=rule_files([deployment("m", stub.url)])) as service:
        status, _ = asyncio.run(post(service, service.key(), BODY, {"x-router-purpose": "payroll"}))
        service.settled()
        records = evidence(data_dir)
    assert status == 403
    assert '"code":"purpose_not_permitted"' in records
    assert "payroll" not in records


def evidence(data_dir: Path) -> str:
    """All records of the evidence, as text."""
    with contextlib.closing(sqlite3.connect(data_dir / "router.db")) as connection:
        return "\n".join(record for (record,) in connection.execute("SELECT record FROM evidence"))
