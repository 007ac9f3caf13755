"""The client answers every question with its own answer, fails within its time limit, and recovers by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from redis.exceptions import RedisError

from router.errors import Unavailable
from router.storage.embedded_redis import EmbeddedRedis
from router.storage.redis_client import RedisClient, Script, durability_faults


@asynccontextmanager
async def connected(url: str, time_limit: float = 1.0) -> AsyncIterator[RedisClient]:
    client = RedisClient(url, time_limit=time_limit)
    try:
        yield client
    finally:
        await client.aclose()


async def test_thousands_of_commands_at_once_each_get_their_own_answer(redis_url: str) -> None:
    async with connected(redis_url, 10) as client:
        answers = await asyncio.gather(*(client.call("ECHO", f"word {n}") for n in range(3000)))

    assert answers == [f"word {n}".encode() for n in range(3000)]


async def test_an_answer_nobody_waits_for_does_not_meet_the_next_question(redis_url: str) -> None:
    async with connected(redis_url) as client:
        abandoned = asyncio.create_task(client.call("ECHO", "one"))
        await client.call("PING")
        second = asyncio.create_task(client.call("ECHO", "two"))
        await asyncio.sleep(0)
        second.cancel()

        assert await client.call("ECHO", "three") == b"three"
        assert await abandoned == b"one"


async def test_a_wrong_command_is_an_error_of_its_own_and_spoils_nothing(redis_url: str) -> None:
    async with connected(redis_url) as client:
        right, wrong = await asyncio.gather(client.call("ECHO", "a"), client.call("NONSENSE"), return_exceptions=True)
        assert right == b"a"
        assert isinstance(wrong, RedisError)
        with pytest.raises(RedisError, match="NONSENSE"):
            await client.many([("PING",), ("NONSENSE",)])


async def test_a_script_is_taught_to_a_server_that_forgot_it(redis_url: str) -> None:
    text = b"return ARGV[1]"
    echo = Script("echo", text, "10dd7bc4f57f6d8ffc2d29aa0a79bca2b6a30a3a")
    async with connected(redis_url) as client:
        await client.call("SCRIPT", "FLUSH")
        assert await client.run(echo, (), ("first",)) == b"first"
        echo = echo._replace(sha1=(await client.call("SCRIPT", "LOAD", text)).decode())
        assert await client.run(echo, (), ("second",)) == b"second"


async def test_nobody_there_is_unavailable_at_once(tmp_path: Path) -> None:
    async with connected(f"unix://{tmp_path}/nobody.sock") as client:
        started = time.monotonic()
        with pytest.raises(Unavailable) as refused:
            await client.call("PING")

    assert refused.value.code == "store_unavailable"
    assert time.monotonic() - started < 5.0


async def test_a_server_that_hangs_is_unavailable_within_the_time_limit_and_serves_again_when_it_is_back(
    redis_url: str, redis_server: EmbeddedRedis
) -> None:
    assert redis_server.pid is not None
    async with connected(redis_url, 0.3) as client:
        await client.call("PING")
        os.kill(redis_server.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            answers = await asyncio.gather(*(client.call("INCR", "count") for _ in range(50)), return_exceptions=True)
            waited = time.monotonic() - started
        finally:
            os.kill(redis_server.pid, signal.SIGCONT)

        assert all(isinstance(answer, Unavailable) for answer in answers)
        assert waited < 5.0  # fifty limits one after the other are fifteen seconds
        assert await client.call("PING") == b"PONG"


async def test_after_a_crash_and_restart_of_the_server_the_same_client_serves_on(data_dir: Path) -> None:
    server = EmbeddedRedis(data_dir)
    async with connected(server.start()) as client:
        await client.call("SET", "balance", "41")
        assert server.pid is not None
        process = psutil.Process(server.pid)
        process.kill()
        await asyncio.to_thread(process.wait, 10)
        with pytest.raises(Unavailable):
            await client.call("PING")
        server.start()

        assert await client.call("GET", "balance") == b"41"
    server.stop()


async def test_a_server_that_takes_no_writes_is_unavailable(redis_url: str) -> None:
    async with connected(redis_url) as client:
        await client.call("CONFIG", "SET", "maxmemory", "1")
        try:
            with pytest.raises(Unavailable):
                await client.call("SET", "a", "1")
        finally:
            await client.call("CONFIG", "SET", "maxmemory", "0")


async def test_a_configuration_that_could_lose_balances_is_named(redis_url: str) -> None:
    async with connected(redis_url) as client:
        assert await durability_faults(client) == []
        await client.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        try:
            assert await durability_faults(client) == ["Redis may evict balances: set `maxmemory-policy noeviction`"]
        finally:
            await client.call("CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_a_tls_option_that_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match="ssl_cert_reqs"):
        RedisClient("rediss://localhost/0?ssl_cert_reqs=none")
