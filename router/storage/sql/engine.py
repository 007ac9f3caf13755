"""Opens the SQL store, SQLite in WAL or PostgreSQL, and begins transactions that do not lose a race half-way."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.pool import ConnectionPoolEntry

BUSY_SECONDS = 10
"""How long a SQLite connection waits for another writer."""

CONNECT_SECONDS = 5

CACHE_KIB = 32_768
CHECKPOINT_PAGES = 4_000
"""SQLite copies its log into the file once it has this many pages (16 MiB): pages written often are then copied once."""


def open_engine(url: str) -> Engine:
    """An engine for `sqlite:///PATH` or `postgresql://…` (psycopg). Opens no connection yet.

    Raises ValueError for another kind of database.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    if parsed.get_backend_name() == "postgresql":
        return create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": 1000 * BUSY_SECONDS},
        )
    raise ValueError(f"the SQL store is sqlite or postgresql, not `{parsed.get_backend_name()}`")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that will write.

    In SQLite it takes the write lock at once: one that reads first and then writes would fail, not wait, when another
    writer came between.
    """
    with engine.connect() as connection, connection.execution_options(router_writes=True).begin():
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one state of the store throughout."""
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


def ping(engine: Engine) -> None:
    """Ask the store for a sign of life. Raises sqlalchemy.exc.DBAPIError where there is none."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def _sqlite(url: URL) -> Engine:
    if url.database in (None, "", ":memory:"):
        raise ValueError("the SQL store needs a file: `sqlite:///PATH`")
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver shall begin nothing by itself
        cursor = connection.cursor()
        _switch_to_wal(cursor)
        # An outbox entry is given up once its batch is committed: the commit must survive a power cut.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        cursor.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("router_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _switch_to_wal(cursor: DBAPICursor) -> None:
    # SQLite does not wait its busy time for this switch, and several processes may open a fresh file at once.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
