"""Starting: what is imported, and what becomes of the processes when the stores cannot be prepared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from running import free_port, inherited, wait_for

ELSEWHERE = {"litellm", "sklearn", "scipy", "joblib", "alembic", "jinja2", "psycopg", "openai", "tiktoken"}
"""What only translation, training, migration, pages, PostgreSQL or the demo need: each would cost tenths of a second."""


def imported_by(module: str) -> set[str]:
    """Top-level names that a fresh interpreter holds after this import."""
    program = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("router.app", ELSEWHERE),
        ("router.background", ELSEWHERE | {"fastapi", "aiohttp", "numpy", "classifiers"}),
        ("router.supervisor", ELSEWHERE | {"fastapi", "aiohttp", "numpy", "classifiers", "sqlalchemy", "redis"}),
    ],
)
def test_a_process_imports_nothing_that_it_does_not_need_at_the_start(module: str, without: set[str]) -> None:
    assert imported_by(module).isdisjoint(without)


def test_where_the_stores_cannot_be_prepared_it_says_so_and_leaves_no_process_behind(tmp_path: Path) -> None:
    nobody = f"postgresql://router@127.0.0.1:{free_port()}/router"
    data = tmp_path / "data"
    done = subprocess.run(
        [sys.executable, "-m", "router", "serve", "--port", str(free_port()), "--data-dir", str(data)],
        env={**inherited(), "ROUTER_DATABASE_URL": nobody},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "Error: the SQL store cannot be used (OperationalError): look at ROUTER_DATABASE_URL"
    wait_for(lambda: not _started_on(data), what="the end of every process")


def test_a_worker_whose_supervisor_gave_up_does_not_serve() -> None:
    program = """
import os, subprocess, sys
gate, opener = os.pipe()
worker = subprocess.Popen([sys.executable, "-m", "router", "work"], pass_fds=(gate,), env={**os.environ, "ROUTER_GO_FD": str(gate)})
os.close(gate)
os.close(opener)
sys.exit(worker.wait(30))
"""
    environment = {**inherited(), "ROUTER_REDIS_URL": "unix:///nowhere"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def _started_on(data: Path) -> list[str]:
    """Processes that were told to use this data directory."""
    told = f"ROUTER_DATA_DIR={data}".encode()
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if told in environment.read_bytes().split(b"\0"):
                found.append(environment.parent.name)
        except OSError:
            continue  # somebody else's, or gone by now
    return found
