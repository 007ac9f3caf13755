"""Administrative acts: each changes keys, rules or the store itself, and is a link of the administrative audit chain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, insert, select

from router.storage.sql.chain import ADMINISTRATION, Head, digest_of, lock_heads, save_heads
from router.storage.sql.engine import reading, writing
from router.storage.sql.tables import admin_events

_encoder = msgspec.json.Encoder(order="deterministic")


class AdminEvent(msgspec.Struct, frozen=True):
    """Who did what to which subject (`key:…`, `revision:…`, `store`), and how that subject stands afterwards."""

    at: datetime
    actor: str
    act: str
    subject: str
    state: dict[str, Any]


class Administration:
    """One transaction of administrative acts. Made by `administering` only."""

    def __init__(self, connection: Connection, head: Head, actor: str, at: datetime) -> None:
        self.connection = connection
        self.actor = actor
        self.at = at
        self._head = head

    def note(
        self, act: str, subject: str, state: dict[str, Any], *, actor: str | None = None, at: datetime | None = None
    ) -> None:
        """Record an act of this transaction, or one that somebody did before it and that is only entered now."""
        actor, at = actor or self.actor, at or self.at
        raw = _encoder.encode(AdminEvent(at, actor, act, subject, state))
        digest = digest_of(raw)
        self._head.append(digest)
        self.connection.execute(
            insert(admin_events).values(
                seq=self._head.seq,
                at=at,
                actor=actor,
                act=act,
                subject=subject,
                record=raw.decode(),
                digest=digest,
                hash=self._head.hash,
            )
        )


@contextmanager
def administering(engine: Engine, actor: str, at: datetime) -> Iterator[Administration]:
    """A transaction in which administrative acts happen one after another, never beside each other.

    Raises ValueError for an actor without a name.
    """
    if not actor.strip():
        raise ValueError("an administrative act needs the name of who does it")
    with writing(engine) as connection:
        heads = lock_heads(connection, [ADMINISTRATION])
        yield Administration(connection, heads[ADMINISTRATION], actor, at)
        save_heads(connection, heads)


def events(engine: Engine, *, limit: int = 100, subject: str | None = None) -> list[AdminEvent]:
    """The latest administrative acts, newest first."""
    query = select(admin_events.c.record).order_by(admin_events.c.seq.desc()).limit(limit)
    if subject is not None:
        query = query.where(admin_events.c.subject == subject)
    with reading(engine) as connection:
        return [msgspec.json.decode(text, type=AdminEvent) for text in connection.scalars(query)]
