"""Workers that are killed with -9 at any point of a request: every admitted request is closed exactly once, and no hold stays.

Each phase is held open from outside, by a provider or a Redis that does not go on, and looked at before the kill: both workers have
requests in it, and none has left it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import aiohttp
from governed import deployment, rule_files
from inspecting import admitted, entries, held, listening, private_redis, redis_clients, reservations, rows, under_way, worker_id
from running import Running, running, until, wait_for
from stub_provider import StubProvider

WORKERS = 2
ROUNDS = 10  # each kills both workers: twenty kills in each phase
LEAST_IN_FLIGHT = 4
LIMITS = "max_output_tokens: 64, request_seconds: 120, first_token_seconds: 110, inter_token_seconds: 100, connect_seconds: 100"
SETTLEMENT_BYTES = 700  # a settlement is longer than this on its way to Redis; a heartbeat or a look is far shorter


class Load:
    """Requests under way, each on a connection and in a session of its own; `got` is what each has received so far."""

    def __init__(self, service: Running, session: aiohttp.ClientSession, *, stream: bool) -> None:
        self.got: list[bytearray] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._url = service.base_url + "/v1/chat/completions"
        self._session = session
        self._stream = stream

    @property
    def sent(self) -> int:
        return len(self.tasks)

    def more(self, count: int = 1) -> None:
        """Send further requests."""
        for _ in range(count):
            self.got.append(bytearray())
            self.tasks.append(asyncio.create_task(self._one(self.sent)))

    async def _one(self, number: int) -> None:
        words = f"Translate into French: the train number {number} leaves at nine."
        body = {"model": "auto", "stream": self._stream, "messages": [{"role": "user", "content": words}]}
        try:
            async with self._session.post(self._url, json=body) as answer:
                assert answer.status == 200, await answer.text()
                async for piece in answer.content.iter_any():
                    self.got[number] += piece
        except aiohttp.ClientError:
            pass  # the worker it was connected to has been killed


@asynccontextmanager
async def load(service: Running, key: str, *, stream: bool) -> AsyncIterator[Load]:
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}, connector=connector) as session:
        requests = Load(service, session, stream=stream)
        yield requests
        await asyncio.wait_for(asyncio.gather(*requests.tasks), 30)  # each has lost its worker


async def kill_again_and_again(
    service: Running,
    *,
    reached: Callable[[Load], bool],
    stream: bool = False,
    before: Callable[[Load], None] = lambda _: None,
    left: Callable[[Load], bool] = lambda _: True,
    after: Callable[[], None] = lambda: None,
) -> int:
    """Bring requests into a phase, in both workers, see that they are in it, kill the workers, let them come back, and again.

    `reached` says whether all requests are in the phase; once both workers have some, `before` may push all of them on to where
    `left` holds. `after` puts right what was held open. Returns how many requests were killed.
    """
    key = service.key()
    killed = 0
    for _ in range(ROUNDS):
        await until(lambda: listening(service.port) == WORKERS, 60, "that both workers listen")
        workers = {worker_id(pid): pid for pid in service.children("work")}
        assert len(workers) == WORKERS
        async with load(service, key, stream=stream) as requests:
            requests.more(LEAST_IN_FLIGHT)
            while True:
                await until(lambda requests=requests: reached(requests), 30, "the phase")
                mine = [worker for worker in reservations(service.data_dir).values() if worker in workers]
                assert len(mine) == requests.sent  # all are in the phase, and none has been settled
                if set(mine) == set(workers):
                    break
                requests.more()  # the kernel gave all connections to one worker
            before(requests)
            await until(lambda requests=requests: left(requests), 30, "what lies before the kill")
            for pid in workers.values():
                os.kill(pid, signal.SIGKILL)
            after()
        killed += requests.sent
    return killed


def everything_is_closed(service: Running, killed: int) -> None:
    """Wait for the reaper; then every admission has one closed entry, and nothing is held."""
    asyncio.run(until(lambda: under_way(service.data_dir) == 0, 60, "that all reservations are closed"))
    service.settled()
    closed = entries(service.data_dir)
    assert len(closed) == killed >= ROUNDS * LEAST_IN_FLIGHT
    assert sorted(entry["request_id"] for entry in closed) == sorted(admitted(service.data_dir))
    # None had got as far as its settlement, so the reaper closed each at what was held for it.
    assert {entry["outcome"] for entry in closed} == {"reaped"}
    assert all(entry["closed_at"] and entry["cost_nano"] == entry["held_nano"] > 0 for entry in closed)
    lines = rows(service.data_dir, "SELECT request_id, sum(cost_nano) AS cost FROM ledger_lines GROUP BY request_id")
    assert {line["request_id"]: line["cost"] for line in lines} == {entry["request_id"]: entry["cost_nano"] for entry in closed}
    assert held(service.data_dir) == {}


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


def test_killed_when_the_money_is_reserved_and_nothing_was_sent(data_dir: Path) -> None:
    with (
        deaf_port() as port,
        running(
            data_dir, rules=rule_files([deployment("m", f"http://127.0.0.1:{port}/v1")], limits=LIMITS), workers=WORKERS
        ) as service,
    ):
        before: set[str] = set()

        def reached(requests: Load) -> bool:
            # Reserved, while the only provider has not even accepted a connection.
            return len(set(reservations(data_dir)) - before) == requests.sent

        def after() -> None:
            before.update(reservations(data_dir))

        everything_is_closed(service, asyncio.run(kill_again_and_again(service, reached=reached, after=after)))


def test_killed_while_the_provider_thinks(data_dir: Path, stub: StubProvider) -> None:
    stub.script("m", "hang")
    with running(data_dir, rules=rule_files([deployment("m", stub.url)], limits=LIMITS), workers=WORKERS) as service:

        def reached(requests: Load) -> bool:
            return len(stub.requests) == requests.sent

        killed = asyncio.run(kill_again_and_again(service, reached=reached, after=stub.requests.clear))
        everything_is_closed(service, killed)


def test_killed_in_the_middle_of_a_stream(data_dir: Path, stub: StubProvider) -> None:
    stub.script("m", "stall")
    with running(data_dir, rules=rule_files([deployment("m", stub.url)], limits=LIMITS), workers=WORKERS) as service:

        def reached(requests: Load) -> bool:
            # Every app has begun to read its answer, and the provider has ended none.
            return all(got.count(b"chat.completion.chunk") >= 2 for got in requests.got)

        def left(_: Load) -> bool:
            return not any(received.answered for received in stub.requests)

        killed = asyncio.run(kill_again_and_again(service, reached=reached, left=left, stream=True))
        everything_is_closed(service, killed)


def test_killed_when_the_answer_is_there_and_not_yet_settled(data_dir: Path, stub: StubProvider) -> None:
    stub.script("m", "barrier")
    rules = rule_files([deployment("m", stub.url)], limits=LIMITS)
    with running(data_dir, rules=rules, workers=WORKERS, environment={"ROUTER_REDIS_TIMEOUT": "30"}) as service:

        def reached(requests: Load) -> bool:
            return stub.waiting == requests.sent

        def before(_: Load) -> None:
            # From here on Redis reads what it is sent and carries out no write.
            with private_redis(data_dir) as redis:
                redis.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
            stub.release()

        connected: set[str] = set()

        def left(requests: Load) -> bool:
            # The answers have come, and their settlements have been sent to Redis and not carried out.
            waiting = redis_clients(data_dir)
            connected.clear()
            connected.update(waiting)
            return sum(waiting.values()) > requests.sent * SETTLEMENT_BYTES

        def after() -> None:
            assert all(received.answered for received in stub.requests)
            stub.close_barrier()
            # Redis must have seen that the workers are gone: else it would carry out what they had sent.
            wait_for(lambda: len(connected - set(redis_clients(data_dir))) >= WORKERS, what="that Redis misses the workers")
            with private_redis(data_dir) as redis:
                redis.execute_command("CLIENT", "UNPAUSE")

        killed = asyncio.run(kill_again_and_again(service, reached=reached, before=before, left=left, after=after))
        everything_is_closed(service, killed)
