"""A worker that is killed with -9 at any point of a request: every admitted request is closed exactly once, and no hold stays."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import aiohttp
import pytest
from governed import deployment, rule_files
from inspecting import held, private_redis, under_way
from running import Running, running, until
from stub_provider import StubProvider

from router.storage import redis_keys as keys

KILLS = 20
IN_FLIGHT = 4
REAPED_SECONDS = 40  # heartbeats last 5 seconds, the reaper looks every second; the rest is a slow machine


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port whose queue is full: connecting to it neither fails nor succeeds, so that a request stays reserved and unsent."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = []
        try:
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
                waiting.append(filler)
            yield port
        finally:
            for filler in waiting:
                filler.close()


@asynccontextmanager
async def load(service: Running, key: str, *, stream: bool) -> object:
    """Requests under way, each in a session of its own; what each got so far is in the list that is given."""
    got: list[bytes] = []

    async def one(session: aiohttp.ClientSession, number: int) -> None:
        body = {
            "model": "auto",
            "stream": stream,
            "messages": [{"role": "user", "content": f"Translate into French: the train number {number} leaves at nine."}],
        }
        try:
            async with session.post(service.base_url + "/v1/chat/completions", json=body) as answer:
                async for piece in answer.content.iter_any():
                    got.append(piece)
        except aiohttp.ClientError:
            pass  # the worker it was connected to has died

    headers = {"authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:
        tasks = [asyncio.create_task(one(session, number)) for number in range(IN_FLIGHT)]
        try:
            yield got
        finally:
            await asyncio.wait(tasks, timeout=60)


def reservations(data_dir: Path) -> set[bytes]:
    """The open reservations, by name."""
    with private_redis(data_dir) as redis:
        return {member for name in keys.OPEN for member in redis.zrange(name, 0, -1)}


async def kill_again_and_again(
    service: Running, *, stream: bool, in_phase: Callable[[list[bytes]], bool], after: Callable[[], Awaitable[None]]
) -> None:
    """Twenty times: bring requests into the phase, see that they are in it, kill the worker, let it come back."""
    key = service.key()
    for _ in range(KILLS):
        await until(lambda: service.get("/readyz")[0] == 200, 60, "a worker is ready again")
        workers = service.children("work")
        async with load(service, key, stream=stream) as got:
            await until(lambda got=got: in_phase(got), 30, "the phase is reached")
            for worker in workers:
                os.kill(worker, signal.SIGKILL)
            await after()
        await until(lambda workers=workers: set(service.children("work")).isdisjoint(workers), 30, "the worker is replaced")


def everything_is_closed(service: Running, least: int) -> None:
    """Wait for the reaper; then every admission has one closed entry, and nothing is held."""
    asyncio.run(until(lambda: under_way(service.data_dir) == 0, REAPED_SECONDS, "all reservations are closed"))
    service.settled()
    with closing(sqlite3.connect(service.data_dir / "router.db")) as connection:
        admitted = {row[0] for row in connection.execute("SELECT request_id FROM evidence WHERE kind = 'admitted'")}
        closed = [row[0] for row in connection.execute("SELECT request_id FROM ledger_entries WHERE closed_at IS NOT NULL")]
        unbalanced = connection.execute(
            "SELECT count(*) FROM ledger_entries e WHERE cost_nano <> "
            "(SELECT coalesce(sum(cost_nano), 0) FROM ledger_lines l WHERE l.request_id = e.request_id)"
        ).fetchone()[0]
    assert len(admitted) >= least
    assert sorted(closed) == sorted(admitted)
    assert unbalanced == 0
    assert held(service.data_dir) == {}


async def nothing() -> None:
    """Nothing has to be undone after the kill."""


def test_killed_when_the_money_is_reserved_and_nothing_was_sent(data_dir: Path, stub: StubProvider) -> None:
    with deaf_port() as port:
        rules = rule_files(
            [deployment("m", f"http://127.0.0.1:{port}/v1")],
            limits="max_output_tokens: 64, request_seconds: 60, connect_seconds: 50",
        )
        with running(data_dir, rules=rules) as service:
            earlier: set[bytes] = set()

            def in_phase(_: list[bytes]) -> bool:
                # Reserved, while the only provider has not even accepted a connection.
                return len(reservations(data_dir) - earlier) >= IN_FLIGHT

            async def after() -> None:
                earlier.update(reservations(data_dir))

            asyncio.run(kill_again_and_again(service, stream=False, in_phase=in_phase, after=after))
            everything_is_closed(service, KILLS * IN_FLIGHT)


def test_killed_while_the_provider_thinks(data_dir: Path, stub: StubProvider) -> None:
    stub.script("m", "hang")
    with running(data_dir, rules=rule_files([deployment("m", stub.url)])) as service:
        seen = 0

        def in_phase(_: list[bytes]) -> bool:
            return len(stub.requests) - seen >= IN_FLIGHT

        async def after() -> None:
            nonlocal seen
            seen = len(stub.requests)

        asyncio.run(kill_again_and_again(service, stream=False, in_phase=in_phase, after=after))
        assert not any(received.answered for received in stub.requests)
        everything_is_closed(service, KILLS * IN_FLIGHT)


def test_killed_in_the_middle_of_a_stream(data_dir: Path, stub: StubProvider) -> None:
    stub.script("m", "stall")
    with running(data_dir, rules=rule_files([deployment("m", stub.url)])) as service:
        # The app has begun to read the answers, and the provider has not ended them.
        in_phase = lambda got: b"".join(got).count(b"chat.completion.chunk") >= 2 * IN_FLIGHT  # noqa: E731
        asyncio.run(kill_again_and_again(service, stream=True, in_phase=in_phase, after=nothing))
        assert not any(received.answered for received in stub.requests)
        everything_is_closed(service, KILLS * IN_FLIGHT)


@pytest.mark.slow
def test_killed_when_the_answer_is_there_and_not_yet_settled(data_dir: Path, stub: StubProvider) -> None:
    stub.script("m", "barrier")
    with running(data_dir, rules=rule_files([deployment("m", stub.url)]), environment={"ROUTER_REDIS_TIMEOUT": "20"}) as service:
        seen = 0

        def in_phase(_: list[bytes]) -> bool:
            if len(stub.requests) - seen < IN_FLIGHT:
                return False
            if stub.waiting == IN_FLIGHT:
                # All are judged and wait for the provider: from here on Redis takes no writes, so that no answer can be settled.
                with private_redis(data_dir) as redis:
                    redis.execute_command("CLIENT", "PAUSE", "30000", "WRITE")
                stub.release()
                return False
            return all(received.answered for received in stub.requests)

        async def after() -> None:
            nonlocal seen
            seen = len(stub.requests)
            stub.close_barrier()
            assert under_way(data_dir) >= IN_FLIGHT  # none was settled
            with private_redis(data_dir) as redis:
                redis.execute_command("CLIENT", "UNPAUSE")

        asyncio.run(kill_again_and_again(service, stream=False, in_phase=in_phase, after=after))
        everything_is_closed(service, KILLS * IN_FLIGHT)
