"""A whole service as its users run it: `router serve` as a process, on loopback, on a data directory of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_SECONDS = 60.0
CREDENTIALS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "MISTRAL_API_KEY", "GROQ_API_KEY", "OPENROUTER_API_KEY")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Any, seconds: float = 20.0, what: str = "condition") -> Any:
    """The first true answer of `condition()`; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come true within {seconds} s")


def inherited() -> dict[str, str]:
    """The environment without anything that would change how a service behaves."""
    ours = ("REDIS_URL", "DATABASE_URL", *CREDENTIALS)
    return {name: value for name, value in os.environ.items() if not name.startswith("ROUTER_") and name not in ours}


def written(directory: Path, rules: Mapping[str, str]) -> Path:
    """The directory, with these rule files in it."""
    directory.mkdir(exist_ok=True)
    for name, text in rules.items():
        (directory / name).write_text(text)
    return directory


async def until(condition: Callable[[], object], seconds: float = 20.0, what: str = "condition") -> None:
    """Wait in an event loop until `condition()` holds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if condition():
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        await asyncio.sleep(0.01)


class Running:
    """A running service: where it is, and the command line on its data directory."""

    def __init__(self, port: int, data_dir: Path, environment: Mapping[str, str], log: Path, arguments: Sequence[str]) -> None:
        self.port = port
        self.data_dir = data_dir
        self.environment = dict(environment)
        self.log = log
        self.base_url = f"http://127.0.0.1:{port}"
        self._arguments = list(arguments)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it says that it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "router", "serve", *self._arguments],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self._up, START_SECONDS, "readiness")

    def _up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the service ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")
        return self.get("/readyz")[0] == 200

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop it and wait; the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(90)

    def get(self, path: str, headers: Mapping[str, str] = {}) -> tuple[int, str]:
        """(status, body) of a GET; (0, reason) where nothing answers."""
        request = urllib.request.Request(self.base_url + path, headers=dict(headers))  # noqa: S310 - to our own service
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def cli(self, *arguments: str, stdin: bytes = b"", check: bool = True) -> str:
        """Standard output of a `router` command on this data directory."""
        done = subprocess.run(
            [sys.executable, "-m", "router", *arguments], env=self.environment, input=stdin, capture_output=True, timeout=300
        )
        if check and done.returncode:
            raise AssertionError(f"router {' '.join(arguments)}: exit {done.returncode}\n{done.stderr.decode()}")
        return done.stdout.decode()

    def key(self, app: str = "demo", owner: str = "demo@example.org", *more: str) -> str:
        """A new key of an app."""
        return str(json.loads(self.cli("keys", "create", "--app", app, "--owner", owner, *more, "--json"))["key"])

    def children(self, command: str) -> list[int]:
        """Process ids of the running children of that kind (`work`, `drain`)."""
        assert self.process is not None
        listed = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)], capture_output=True, text=True
        ).stdout
        return [int(line.split()[0]) for line in listed.splitlines() if line.rstrip().endswith(f"-m router {command}")]

    def settled(self) -> dict[str, Any]:
        """The spend report, once nothing is on its way any more."""
        report: dict[str, Any] = json.loads(self.cli("report", "spend", "--format", "json", "--wait"))
        return report


@contextmanager
def running(
    data_dir: Path,
    *,
    rules: Mapping[str, str] | None = None,
    workers: int = 1,
    environment: Mapping[str, str] | None = None,
    port: int | None = None,
) -> Iterator[Running]:
    """A service on `data_dir`, ready; stopped at the end. `rules` are rule files by name, which overlay the shipped ones."""
    port = port or free_port()
    arguments = ["--port", str(port), "--workers", str(workers)]
    if rules is not None:
        arguments += ["--rules", str(written(data_dir.parent / f"{data_dir.name}-rules", rules))]
    told = {**inherited(), "ROUTER_DATA_DIR": str(data_dir), "ROUTER_PORT": str(port), **(environment or {})}
    service = Running(port, data_dir, told, data_dir.parent / f"{data_dir.name}.log", arguments)
    try:
        service.start()
        yield service
    finally:
        if service.process is not None and service.process.poll() is None:
            service.stop()
