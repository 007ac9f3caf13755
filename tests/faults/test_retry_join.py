"""A retry of a request that is still running is the same request: one call at the provider, one ledger entry, one answer for all."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from governed import deployment, rule_files
from running import running
from stub_provider import StubProvider

RETRIES = 12  # each on a connection of its own, so that both workers get some


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_retries_join_the_attempt_that_is_still_running_in_whichever_worker(
    data_dir: Path, stub: StubProvider, stream: bool
) -> None:
    stub.script("m", "barrier")
    with running(data_dir, rules=rule_files([deployment("m", stub.url)]), workers=2) as service:
        bodies = asyncio.run(_ask(service.base_url + "/v1/chat/completions", service.key(), stub, stream))
        assert len(bodies) == RETRIES + 1
        assert len(set(bodies)) == 1
        assert b"stub answer" in bodies[0] or stream
        assert len(stub.requests) == 1
        assert service.settled()["total"]["requests"] == 1


def test_a_retry_after_the_attempt_has_ended_runs_anew(data_dir: Path, stub: StubProvider) -> None:
    async def twice(url: str, key: str) -> None:
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
            for count in ("0", "1"):
                async with session.post(url, data=_body(False), headers={"x-stainless-retry-count": count}) as response:
                    assert response.status == 200

    with running(data_dir, rules=rule_files([deployment("m", stub.url)])) as service:
        asyncio.run(twice(service.base_url + "/v1/chat/completions", service.key()))
        assert len(stub.requests) == 2
        assert service.settled()["total"]["requests"] == 2


def _body(stream: bool) -> bytes:
    flag = b"true" if stream else b"false"
    return b'{"model":"auto","stream":' + flag + b',"messages":[{"role":"user","content":"Summarise: it rained."}]}'


async def _ask(url: str, key: str, stub: StubProvider, stream: bool) -> list[bytes]:
    async def one(count: int) -> bytes:
        connector = aiohttp.TCPConnector(force_close=True)
        headers = {"authorization": f"Bearer {key}", "x-stainless-retry-count": str(count), "content-type": "application/json"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            async with session.post(url, data=_body(stream)) as response:
                assert response.status == 200, await response.text()
                return await response.read()

    first = asyncio.create_task(one(0))
    while not stub.requests:  # noqa: ASYNC110 - the stub lives in a thread of its own
        await asyncio.sleep(0.02)
    retries = [asyncio.create_task(one(1 + number % 2)) for number in range(RETRIES)]
    # Every retry has been judged when none of them has reached the provider and all are waiting: the answer lets them go.
    await asyncio.wait(retries, timeout=1.0)
    stub.release()
    return [await first, *await asyncio.gather(*retries)]
