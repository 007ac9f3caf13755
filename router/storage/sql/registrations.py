"""Registrations of tools in SQL: noted when somebody asks for one, decided by an owner."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, func, insert, select, update

from router.governance.tools import Registration, Status
from router.storage.sql.administration import administering
from router.storage.sql.engine import reading, writing
from router.storage.sql.tables import tool_registrations as table

MOST_PENDING = 5_000
"""Apps choose the names of tools, so that there is no end to them: what comes after so many waits until some are decided."""

MOST_APPS = 50


class SqlRegistrations:
    """The registrations of a SQL store. Every decision is an administrative act. SQL down: sqlalchemy.exc.DBAPIError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def note(self, found: Sequence[Registration], reopen: bool = False) -> None:
        """Keep what was seen: a new registration is pending, a known one was seen again. With `reopen`, one that was decided is
        pending again, as it is now."""
        if not found:
            return
        with writing(self._engine) as connection:
            pending = connection.scalar(select(func.count()).select_from(table).where(table.c.status == Status.PENDING)) or 0
            for each in found:
                row = connection.execute(select(table).where(table.c.id == each.id)).one_or_none()
                if row is not None:
                    _see_again(connection, registration_of(row), each, reopen)
                elif pending < MOST_PENDING or reopen:
                    connection.execute(insert(table).values(**_columns(each)))
                    pending += 1

    def all(self) -> list[Registration]:
        """Every registration, the latest seen first."""
        with reading(self._engine) as connection:
            return [
                registration_of(row) for row in connection.execute(select(table).order_by(table.c.last_seen.desc(), table.c.id))
            ]

    def decide(self, ids: Sequence[str], status: Status, *, actor: str, at: datetime, revision: str | None) -> None:
        """Say what became of some. An id that is unknown is passed over."""
        with administering(self._engine, actor, at) as administration:
            for row in administration.connection.execute(select(table).where(table.c.id.in_(ids))).all():
                decided = msgspec.structs.replace(
                    registration_of(row), status=status, decided_by=actor, decided=at, revision=revision
                )
                administration.connection.execute(update(table).where(table.c.id == decided.id).values(**_columns(decided)))
                administration.note(f"tool.{status.value}", f"tool:{decided.id}", msgspec.to_builtins(decided, order="sorted"))


def _see_again(connection: Connection, known: Registration, now: Registration, reopen: bool) -> None:
    apps = tuple(dict.fromkeys((*known.apps, *now.apps)))[:MOST_APPS]
    seen = msgspec.structs.replace(known, last_seen=max(known.last_seen, now.last_seen), apps=apps)
    if reopen:
        seen = msgspec.structs.replace(
            now,
            first_seen=known.first_seen,
            apps=apps,
            address=now.address or known.address,
            status=Status.CHANGED if known.status is Status.CHANGED else Status.PENDING,
        )
    elif now.status is Status.CHANGED and (known.status is not Status.CONFIRMED or now.digest != known.digest):
        seen = msgspec.structs.replace(now, first_seen=known.first_seen, apps=apps, address=known.address)
    elif known.status in _UNDECIDED and now.digest and now.digest != known.digest:
        # What an owner looks at is what was asked for last; two definitions under one name show as both their capabilities.
        both = msgspec.structs.replace(now.suggestion, capabilities=known.suggestion.capabilities | now.suggestion.capabilities)
        seen = msgspec.structs.replace(seen, digest=now.digest, suggestion=both)
    connection.execute(update(table).where(table.c.id == seen.id).values(**_columns(seen)))


_UNDECIDED = (Status.PENDING, Status.CHANGED)


def changed_servers(engine: Engine) -> frozenset[str]:
    """The labels of MCP servers of which a provider told other tools than were pinned, and nobody has looked at them since."""
    with reading(engine) as connection:
        return frozenset(connection.scalars(select(table.c.server).where(table.c.status == Status.CHANGED)))


def _columns(registration: Registration) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(registration, order="sorted", builtin_types=(datetime,))
    return built


def registration_of(row: Row[Any]) -> Registration:
    """The registration in a row of the table."""
    return msgspec.convert({str(name): value for name, value in row._asdict().items()}, Registration)
