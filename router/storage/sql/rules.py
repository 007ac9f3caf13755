"""Revisions of the rules in SQL: proposed, put in force, kept for ever, so that every decision can name the one it used."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, func, insert, select, update

from router.storage.sql.administration import Administration, administering
from router.storage.sql.chain import digest_of
from router.storage.sql.engine import reading
from router.storage.sql.tables import revisions

PROPOSED, ACTIVE, SUPERSEDED, REJECTED = "proposed", "active", "superseded", "rejected"


class Revision(msgspec.Struct, frozen=True):
    """One revision: its hash, its files as they were written, and how far it got.

    `number` counts from 0 in the order proposed. `base` is the revision that was in force at the proposal; where another
    one is by now, what was looked at is not what would change. `governance` is how it was last moved (single | four_eyes),
    `decided_by` who put it in force or rejected it.
    """

    number: int
    revision: str
    files: dict[str, str]
    base: str | None
    author: str
    created: datetime
    note: str
    status: str
    governance: str
    decided_by: str | None = None
    decided: datetime | None = None


class NoSuchRevision(Exception):
    """No revision has this hash, or it cannot make this step from where it stands."""


class RuleStore:
    """The rule store. Every change is an administrative act. SQL down: sqlalchemy.exc.DBAPIError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def current(self) -> Revision | None:
        """The revision in force; None in an empty store."""
        with reading(self._engine) as connection:
            return _active(connection)

    def get(self, revision: str) -> Revision | None:
        """The revision with this hash."""
        with reading(self._engine) as connection:
            return _find(connection, revision)

    def history(self, limit: int | None = None) -> list[Revision]:
        """All revisions, newest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(revisions).order_by(revisions.c.number.desc()).limit(limit))
            return [revision_of(row) for row in rows]

    def seed(self, revision: str, files: Mapping[str, str], *, author: str, note: str, governance: str, at: datetime) -> Revision:
        """Put revision 0 in force in an empty store, and return what is in force: where several processes start at once,
        the first one's."""
        with administering(self._engine, author, at) as administration:
            if (active := _active(administration.connection)) is not None:
                return active
            proposal = _propose(administration, revision, files, note, governance)
            return _activate(administration, proposal, governance)

    def propose(
        self, revision: str, files: Mapping[str, str], *, author: str, note: str, governance: str, at: datetime
    ) -> Revision:
        """Keep a revision for somebody to decide on. One that was rejected or superseded becomes a proposal again; one that
        is proposed or in force already is returned as it is."""
        with administering(self._engine, author, at) as administration:
            return _propose(administration, revision, files, note, governance)

    def activate(self, revision: str, *, actor: str, governance: str, at: datetime) -> Revision:
        """Put a revision in force in place of the current one. A superseded one may come back (rollback).

        Raises NoSuchRevision for one that is unknown or rejected. Who may do this is governance's to say.
        """
        with administering(self._engine, actor, at) as administration:
            found = _find(administration.connection, revision)
            if found is None or found.status == REJECTED:
                raise NoSuchRevision(f"there is no revision `{revision}` to put in force")
            return _activate(administration, found, governance)

    def reject(self, revision: str, *, actor: str, governance: str, at: datetime) -> Revision:
        """Turn a proposal down. Raises NoSuchRevision for one that is not proposed."""
        with administering(self._engine, actor, at) as administration:
            found = _find(administration.connection, revision)
            if found is None or found.status != PROPOSED:
                raise NoSuchRevision(f"there is no proposal `{revision}`")
            return _move(administration, found, REJECTED, governance, "rules.rejected")


def _propose(administration: Administration, revision: str, files: Mapping[str, str], note: str, governance: str) -> Revision:
    connection = administration.connection
    active = _active(connection)
    base = None if active is None else active.revision
    found = _find(connection, revision)
    if found is not None and found.status in {PROPOSED, ACTIVE}:
        return found
    if found is not None:
        renewed = msgspec.structs.replace(
            found, base=base, author=administration.actor, created=administration.at, note=note, decided_by=None, decided=None
        )
        return _store(administration, msgspec.structs.replace(renewed, status=PROPOSED, governance=governance), "rules.proposed")
    number = connection.scalar(select(func.count()).select_from(revisions)) or 0
    proposal = Revision(number, revision, dict(files), base, administration.actor, administration.at, note, PROPOSED, governance)
    connection.execute(insert(revisions).values(**msgspec.structs.asdict(proposal)))
    administration.note("rules.proposed", f"revision:{revision}", stored_state(proposal))
    return proposal


def _activate(administration: Administration, revision: Revision, governance: str) -> Revision:
    if revision.status == ACTIVE:
        return revision
    if (active := _active(administration.connection)) is not None:
        _store(administration, msgspec.structs.replace(active, status=SUPERSEDED), "rules.superseded")
    return _move(administration, revision, ACTIVE, governance, "rules.activated")


def _move(administration: Administration, revision: Revision, status: str, governance: str, act: str) -> Revision:
    moved = msgspec.structs.replace(
        revision, status=status, governance=governance, decided_by=administration.actor, decided=administration.at
    )
    return _store(administration, moved, act)


def _store(administration: Administration, revision: Revision, act: str) -> Revision:
    changed = msgspec.structs.asdict(revision)
    administration.connection.execute(update(revisions).where(revisions.c.number == revision.number).values(**changed))
    administration.note(act, f"revision:{revision.revision}", stored_state(revision))
    return revision


def stored_state(revision: Revision) -> dict[str, Any]:
    """A revision as plain values, as the audit chain holds it: of the files their digest."""
    state: dict[str, Any] = msgspec.to_builtins(revision)
    files = msgspec.json.encode(state.pop("files"), order="deterministic")
    return state | {"files_sha256": digest_of(files).hex()}


def _active(connection: Connection) -> Revision | None:
    row = connection.execute(select(revisions).where(revisions.c.status == ACTIVE)).one_or_none()
    return None if row is None else revision_of(row)


def _find(connection: Connection, revision: str) -> Revision | None:
    row = connection.execute(select(revisions).where(revisions.c.revision == revision)).one_or_none()
    return None if row is None else revision_of(row)


def revision_of(row: Row[Any]) -> Revision:
    """The revision in a row of the table."""
    return Revision(**row._asdict())
