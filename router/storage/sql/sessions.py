"""What SQL knows of one session: its records in order, whose it is, and who ended it."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Engine, select

from router.exchange import Record
from router.storage.sql.administration import AdminEvent, administering
from router.storage.sql.engine import reading
from router.storage.sql.evidence import decode
from router.storage.sql.tables import admin_events, evidence

ENDED = "session.ended"


class SqlSessions:
    """Sessions as the evidence has them. SQL down: sqlalchemy.exc.DBAPIError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def apps(self, session_id: str) -> list[str]:
        """The apps that have a session of this id: each its own."""
        query = select(evidence.c.app).where(evidence.c.session == session_id).distinct()
        with reading(self._engine) as connection:
            return sorted(app for app in connection.scalars(query) if app is not None)

    def records(self, app: str, session_id: str, limit: int) -> list[Record]:
        """The records of the latest `limit` requests of a session, in the order in which they were entered."""
        latest = (
            select(evidence.c.request_id)
            .where(evidence.c.session == session_id, evidence.c.app == app)
            .order_by(evidence.c.at.desc())
            .limit(limit)
        )
        with reading(self._engine) as connection:
            requests = list(dict.fromkeys(connection.scalars(latest)))
            query = (
                select(evidence.c.record).where(evidence.c.request_id.in_(requests)).order_by(evidence.c.shard, evidence.c.seq)
            )
            return [decode(text) for text in connection.scalars(query)] if requests else []

    def end(self, app: str, session_id: str, *, actor: str, at: datetime, why: str, request_id: str | None = None) -> None:
        """Keep that somebody ended a session, or one request in it."""
        state = {"app": app, "session": session_id, "why": why, "request": request_id}
        with administering(self._engine, actor, at) as administration:
            administration.note(ENDED, subject_of(app, session_id), state)

    def endings(self, app: str, session_id: str) -> list[tuple[datetime, str, str]]:
        """(when, who, why) of everybody who ended this session or something in it."""
        query = select(admin_events.c.record).where(admin_events.c.subject == subject_of(app, session_id))
        with reading(self._engine) as connection:
            events = [msgspec.json.decode(text, type=AdminEvent) for text in connection.scalars(query)]
        return [(event.at, event.actor, str(event.state["why"])) for event in events]


def subject_of(app: str, session_id: str) -> str:
    """How the administrative chain names a session."""
    return f"session:{session_id}@{app}"
