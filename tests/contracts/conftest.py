"""A real, private Redis for the contract tests: one server for the session, emptied before each test; and a cluster of one node,
which enforces hash slots as a large one does."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NotYet

from router.exchange import Admitted, HoldRequest, Outcome, shard_of
from router.storage.embedded_redis import EmbeddedRedis, _binary, command
from router.storage.redis_client import RedisClient
from router.usage import Basis, Line
from routing_rules.budgets import CallLimits, SessionBudget
from routing_rules.decisions import Permit, ToolGrant
from routing_rules.facts import Caller, Facts, Labels
from routing_rules.task import Endpoint
from routing_rules.vocabulary import Access, Complexity, ScanState, Sensitivity, TaskKind


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Coroutine tests run in an event loop of their own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    url = redis_server.start()  # a no-op unless a test has killed it
    assert command(url.removeprefix("unix://"), "FLUSHALL") == b"+OK"
    return url


def _low_port() -> int:
    """A free port; a cluster node also listens 10,000 above it."""
    while True:
        with contextlib.closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port < 55_000:
            return port


@pytest.fixture(scope="session")
def cluster_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a Redis Cluster of one node that holds every slot."""
    home = tmp_path_factory.mktemp("cluster")
    port = _low_port()
    process = subprocess.Popen(
        [
            str(_binary(home)),
            *("--port", str(port)),
            *("--bind", "127.0.0.1"),
            *("--dir", str(home)),
            *("--cluster-enabled", "yes"),
            *("--save", ""),
            *("--logfile", str(home / "redis.log")),
        ]
    )
    with contextlib.closing(Redis(port=port)) as node:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                node.ping()
                break
            except NotYet:
                time.sleep(0.05)
        command: Callable[..., Any] = node.execute_command
        command("CLUSTER", "ADDSLOTS", *range(16384))
        while time.monotonic() < deadline and b"cluster_state:ok" not in command("CLUSTER", "INFO"):
            time.sleep(0.05)
    yield port
    process.terminate()
    process.wait()


@dataclass(frozen=True)
class Store:
    """Where a test's Redis is, and how to talk to it."""

    url: str
    cluster: bool

    @contextlib.asynccontextmanager
    async def client(self, time_limit: float = 5.0) -> AsyncIterator[RedisClient]:
        """Patient by default: the machine that runs the tests may be busy."""
        client = RedisClient(self.url, cluster=self.cluster, time_limit=time_limit)
        try:
            yield client
        finally:
            await client.aclose()


@pytest.fixture(params=["one server", "cluster"])
def store(request: pytest.FixtureRequest) -> Store:
    """Every contract holds on one server and in a cluster."""
    if request.param == "one server":
        return Store(request.getfixturevalue("redis_url"), cluster=False)
    port = request.getfixturevalue("cluster_server")
    with contextlib.closing(Redis(port=port)) as node:
        node.flushall()
    return Store(f"redis://127.0.0.1:{port}", cluster=True)


@pytest.fixture
def single(redis_url: str) -> Store:
    return Store(redis_url, cluster=False)


NOW = datetime(2026, 8, 14, 12, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Requests:
    """Makes holds, intents and outcomes that belong together. Times count from one fixed moment."""

    now: datetime = NOW

    def hold(self, request_id: str, session_id: str = "conversation-1", **changes: Any) -> HoldRequest:
        """$0.001 for the input and $0.00001 for each of 100 output tokens, no limits but those given."""
        at = changes.pop("at", self.now).timestamp()
        values: dict[str, Any] = {
            "request_id": request_id,
            "session_id": session_id,
            "shard": shard_of(session_id),
            "app": "assistant",
            "owner": "ann@example.org",
            "worker": "worker-1",
            "now": at,
            "expires": at + 120.0,
            "label_version": 0,
            "labels": Labels(),
            "fixed_nano": 1_000_000,
            "output_nano": 10_000,
            "output_tokens": 100,
            "min_output_tokens": 16,
            "input_tokens": 500,
            "budget_cost_nano": None,
            "budget_requests": None,
            "budget_input_tokens": None,
            "budget_output_tokens": None,
            "budget_idle_seconds": None,
            "budget_total_seconds": None,
            "owner_hard_nano": None,
            "new_session_limit": None,
            "session_is_new": True,
        }
        return HoldRequest(**values | changes)

    def admitted(self, hold: HoldRequest) -> Admitted:
        facts = Facts(
            now=self.now,
            endpoint=Endpoint.CHAT,
            caller=Caller(hold.app, hold.owner, "core", "cc-1", "key-1", Sensitivity.RESTRICTED, "all", "support"),
            wish="auto",
            wish_known=True,
            detected=Sensitivity.PUBLIC,
            declared=None,
            labels=hold.labels,
            categories=frozenset(),
            access=Access.NONE,
            intent=frozenset(),
            task=TaskKind.CONVERSATION,
            complexity=Complexity.SIMPLE,
            complexity_score=0.1,
            state=ScanState.COMPLETE,
        )
        return Admitted(
            request_id=hold.request_id,
            at=self.now,
            session=hold.session_id,
            facts=facts,
            decision=Permit("r-1", "rev-1", "fast", ("fast-1",), "none", SessionBudget("default"), CallLimits()),
            grant=ToolGrant(),
            findings={},
            classifier_versions={},
            held_nano=hold.fixed_nano + hold.output_tokens * hold.output_nano,
            output_tokens=hold.output_tokens,
            deployment="fast-1",
            governance="single",
            body_digest="d",
            timings_us={},
        )

    def outcome(self, request_id: str, cost_nano: int, *, taken: int = 10, spoken: int = 20, thought: int = 0) -> Outcome:
        used = {"input": (taken, cost_nano), "output": (spoken, 0), "reasoning": (thought, 0)}
        return Outcome(
            request_id=request_id,
            at=self.now,
            outcome="completed",
            code=None,
            deployment="fast-1",
            lines=tuple(
                Line(1, "fast-1", "simulated", "m", kind, quantity, 1, cost, Basis.REPORTED, "completed")
                for kind, (quantity, cost) in used.items()
                if quantity
            ),
            cost_nano=cost_nano,
            basis=Basis.REPORTED,
            over_hold=False,
            tools_released=(),
            tools_refused=(),
            timings_us={},
        )


@pytest.fixture
def requests() -> Requests:
    return Requests()
