"""The SQL store on SQLite always, and on a private PostgreSQL where there is a server."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from router.storage.sql.engine import open_engine
from router.storage.sql.migrate import migrate

UNPRIVILEGED = ("postgres", "nobody")  # the server refuses to run as root


def _server_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def _account() -> dict[str, int]:
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = next(known[name] for name in UNPRIVILEGED if name in known)
    return {"user": entry.pw_uid, "group": entry.pw_gid}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a server on which databases may be made."""
    if url := os.environ.get("ROUTER_TEST_POSTGRES_URL"):
        yield url
        return
    programs = _server_programs()
    if programs is None:
        pytest.skip("no PostgreSQL: neither ROUTER_TEST_POSTGRES_URL nor a server program (initdb) is there")
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # short: it holds a socket
    try:
        if account:
            os.chown(folder, account["user"], account["group"])
        data = folder / "data"
        run = {"cwd": folder, "check": True, "capture_output": True, **account}
        subprocess.run([programs / "initdb", "-D", data, "-U", "router", "-A", "trust", "-E", "UTF8", "--no-sync"], **run)
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        control = [programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
        subprocess.run([*control, "-o", options, "start"], **(run | {"capture_output": False, "stdout": subprocess.DEVNULL}))
        try:
            yield f"postgresql+psycopg://router@/postgres?host={folder}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def new_store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Makes the URL of one more empty database each time it is called."""
    if request.param == "sqlite":
        yield lambda: f"sqlite:///{tmp_path}/{uuid4().hex}.db"
        return
    server = make_url(request.getfixturevalue("postgres_server"))
    admin = create_engine(server.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    made: list[str] = []

    def make() -> str:
        made.append(f"test_{uuid4().hex}")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {made[-1]}"))
        return server.set(database=made[-1]).render_as_string(hide_password=False)

    yield make
    with admin.connect() as connection:
        for name in made:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def store_url(new_store_url: Callable[[], str]) -> str:
    return new_store_url()


@pytest.fixture
def store(store_url: str) -> Iterator[Engine]:
    """A migrated store."""
    engine = open_engine(store_url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def new_store(new_store_url: Callable[[], str]) -> Iterator[Callable[[], Engine]]:
    """Makes one more migrated store each time it is called."""
    engines: list[Engine] = []

    def make() -> Engine:
        engines.append(open_engine(new_store_url()))
        migrate(engines[-1])
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()
