"""`router serve`: starts and owns the private Redis, the drainer and the workers, restarts what dies, and stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from router import telemetry
from router.handshake import GO, READY
from router.settings import Settings
from router.storage.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from router.bootstrap import Prepared

READY_SECONDS = 60.0
RESTART_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 1.0
QUICK_DEATH_SECONDS = 3.0
DRAINER_STOP_SECONDS = 30.0


class PortTaken(RuntimeError):
    """Somebody else listens where this service should."""


class Child:
    """One process of ours that is restarted when it dies, after a pause that grows while it dies at once."""

    def __init__(self, name: str, arguments: list[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._arguments = arguments
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    async def keep_running(self, go: asyncio.Event, ready: asyncio.Event) -> None:
        """Start it, let it work from `go` on, set `ready` when it says so, start it again whenever it dies.

        Returns when it was told to stop.
        """
        pause = RESTART_PAUSE_SECONDS
        clock = asyncio.get_running_loop()
        while not self._stopping:
            began = clock.time()
            reader, writer = os.pipe()
            gate, opener = os.pipe()
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "router",
                    *self._arguments,
                    env={
                        **self._environment,
                        READY: str(writer),
                        GO: str(gate),
                        "ROUTER_WORKER_ID": f"{self.name}-{os.urandom(4).hex()}",
                    },
                    pass_fds=(writer, gate),
                    start_new_session=True,  # Ctrl-C reaches the supervisor, which stops the others in order
                )
            finally:
                os.close(writer)
                os.close(gate)
            told = asyncio.ensure_future(_say_go(opener, go))
            announced = asyncio.ensure_future(_said_ready(reader, ready))
            code = await self._process.wait()
            told.cancel()
            announced.cancel()
            telemetry.forget_process(self._process.pid, self._environment["PROMETHEUS_MULTIPROC_DIR"])
            if self._stopping:
                return
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS) if clock.time() - began < QUICK_DEATH_SECONDS else RESTART_PAUSE_SECONDS
            telemetry.logger().error("process_died", process=self.name, code=code, restart_in_seconds=pause)
            await asyncio.sleep(pause)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to stop; it is not started again."""
        self._stopping = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(how)


async def _say_go(opener: int, go: asyncio.Event) -> None:
    """Let a child do its work once it may; without that word it exits when this end of the pipe is closed."""
    with os.fdopen(opener, "wb", buffering=0) as pipe:
        await go.wait()
        with contextlib.suppress(BrokenPipeError):
            pipe.write(b"1")


async def _said_ready(reader: int, ready: asyncio.Event) -> None:
    """Wait for the byte that a child writes when it is ready."""
    loop = asyncio.get_running_loop()
    pipe = os.fdopen(reader, "rb", buffering=0)
    protocol_reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(protocol_reader), pipe)
    try:
        if await protocol_reader.read(1):
            ready.set()
    finally:
        transport.close()


def free_port(host: str, port: int) -> int:
    """The port to use (a free one for 0). Raises PortTaken: workers share the port, so only this look notices a stranger on it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTaken(
                f"cannot listen on {host}:{port} ({error.strerror}): choose another with --port, or stop what uses it"
            ) from None
        return int(probe.getsockname()[1])


async def supervise(settings: Settings, prepare: Callable[[Settings, str], Prepared]) -> int:
    """Run until SIGTERM or SIGINT; the exit status.

    `prepare` makes the stores ready, given the URL of Redis, while the processes import what they need. Raises PortTaken and
    RedisNotStarted with one sentence each, and what `prepare` raises.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    port = free_port(settings.host, settings.port)
    embedded = None if settings.redis_url is not None else EmbeddedRedis(settings.data_dir.absolute())
    runtime_dir = Path(tempfile.mkdtemp(prefix="router-run-"))
    metrics_dir = runtime_dir / "metrics"
    metrics_dir.mkdir()
    try:
        redis_url = settings.redis_url.get_secret_value() if settings.redis_url is not None else ""
        if embedded is not None:
            redis_url = await asyncio.to_thread(embedded.start)
        environment = {
            **os.environ,
            "ROUTER_HOST": settings.host,
            "ROUTER_PORT": str(port),
            "ROUTER_DATA_DIR": str(settings.data_dir.absolute()),
            "ROUTER_REDIS_URL": redis_url,
            "ROUTER_WORKERS": str(settings.workers),
            "ROUTER_GOVERNANCE": settings.governance_mode,
            "ROUTER_RUNTIME_DIR": str(runtime_dir),
            "PROMETHEUS_MULTIPROC_DIR": str(metrics_dir),
            "OPENBLAS_NUM_THREADS": "1",  # sums of a hundred rows need no helpers, each of which takes memory
            "PYTHONHASHSEED": "random",  # texts that were read are known again by the interpreter's hash: its key must be nobody's
        }
        drainer = Child("drainer", ["drain"], environment)
        workers = [Child(f"worker{number}", ["work"], environment) for number in range(settings.workers)]
        go = asyncio.Event()
        ready = {child.name: asyncio.Event() for child in (*workers, drainer)}
        running = {child.name: asyncio.create_task(child.keep_running(go, ready[child.name])) for child in (*workers, drainer)}
        try:
            prepared = await asyncio.to_thread(prepare, settings, redis_url)
        except BaseException:
            await _within(0.0, [*workers, drainer], running)
            raise
        go.set()
        watcher = asyncio.create_task(_watch_redis(embedded)) if embedded is not None else None
        stopped = asyncio.create_task(stop.wait())
        all_ready = asyncio.create_task(_all_of(*(ready[worker.name] for worker in workers)))
        await asyncio.wait({stopped, all_ready}, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if all_ready.done():
            _greet(settings, port, prepared)
        elif not stop.is_set():
            telemetry.logger().error("not_ready", after_seconds=READY_SECONDS, look_at="/readyz and the lines above")
        await stop.wait()
        # Workers first: they finish and settle what is under way. Then the drainer, which writes what they left. Redis last.
        for worker in workers:
            worker.stop()
        await _within(settings.drain_seconds + 5.0, workers, running)
        drainer.stop()
        await _within(DRAINER_STOP_SECONDS, [drainer], running)
        for task in (watcher, stopped, all_ready):
            if task is not None:
                task.cancel()
        return 0
    finally:
        if embedded is not None:
            await asyncio.to_thread(embedded.stop)
        shutil.rmtree(runtime_dir, ignore_errors=True)


async def _all_of(*events: asyncio.Event) -> None:
    for event in events:
        await event.wait()


async def _within(seconds: float, children: list[Child], running: Mapping[str, asyncio.Task[None]]) -> None:
    """Wait for children that were told to stop; those that do not are killed (the reaper settles what they held)."""
    tasks = [running[child.name] for child in children]
    _, late = await asyncio.wait(tasks, timeout=seconds)
    if late:
        for child in children:
            child.stop(signal.SIGKILL)
        await asyncio.wait(late, timeout=5.0)


async def _watch_redis(embedded: EmbeddedRedis) -> None:
    """Start the private Redis again when it dies: same data, same socket."""
    while True:
        await asyncio.sleep(0.25)
        if not embedded.alive():
            telemetry.logger().error("redis_died", action="starting it again")
            try:
                await asyncio.to_thread(embedded.start)
            except RuntimeError as error:
                telemetry.logger().error("redis_not_started", reason=str(error))


def _greet(settings: Settings, port: int, prepared: Prepared) -> None:
    """Say once, on standard output, what a newcomer needs; and log `ready` for scripts."""
    scheme = "https" if settings.tls_cert else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{scheme}://{host}:{port}"
    sys.stdout.write("\n".join(["", *prepared.greeting(address), "", ""]))
    sys.stdout.flush()
    telemetry.logger().info(
        "ready", address=address, workers=settings.workers, revision=prepared.revision, governance=prepared.governance
    )
