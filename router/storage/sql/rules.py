"""Revisions of the rules and the proposals that lead to them, in SQL: kept for ever, so that every decision can name the one it used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from router.governance.rules_values import (
    OPEN,
    Differing,
    Kind,
    Make,
    NoSuchProposal,
    NotAllowed,
    Proposal,
    ShadowReport,
    Status,
    Step,
    refuse_unready,
)
from router.storage.sql.administration import Administration, administering
from router.storage.sql.chain import digest_of
from router.storage.sql.engine import reading, writing
from router.storage.sql.tables import admin_events, proposals, revisions, shadow_counts, shadow_differences

PROPOSED, ACTIVE, SUPERSEDED, REJECTED = "proposed", "active", "superseded", "rejected"

FOUR_EYES = "four_eyes"
LEFT_SINGLE = "governance.left_single"
"""The act after which one person alone changes nothing any more. It is a link of the administrative chain, so it cannot be taken back."""

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Proposal)


class Revision(msgspec.Struct, frozen=True):
    """One revision: its hash, its files as they were written, and how far it got.

    `number` counts from 0 in the order proposed. `base` is the revision that was in force when it was first proposed. `governance` is how
    it was last moved (single | four_eyes), `decided_by` who put it in force or rejected it. The proposals say more.
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


class RuleStore:
    """The rule store (see `router.governance.rules_values.RuleStore`). SQL down: sqlalchemy.exc.DBAPIError."""

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

    def proposal(self, proposal_id: str) -> Proposal | None:
        """The proposal with this id."""
        with reading(self._engine) as connection:
            return _proposal(connection, proposal_id)

    def proposals(self, statuses: Sequence[Status] = (), limit: int = 100) -> list[Proposal]:
        """Proposals of these statuses (none: all), the newest first."""
        query = select(proposals.c.document).order_by(proposals.c.number.desc()).limit(limit)
        if statuses:
            query = query.where(proposals.c.status.in_([status.value for status in statuses]))
        with reading(self._engine) as connection:
            return [_decoder.decode(text) for text in connection.scalars(query)]

    def tried(self) -> tuple[Proposal, Revision] | None:
        """The proposal that is tried on live traffic, with its files."""
        with reading(self._engine) as connection:
            text = connection.scalar(select(proposals.c.document).where(proposals.c.trial.is_not(None)).limit(1))
            found = None if text is None else _decoder.decode(text)
            revision = None if found is None else _find(connection, found.revision)
            return None if found is None or revision is None else (found, revision)

    def seed(self, revision: str, files: Mapping[str, str], *, author: str, note: str, governance: str, at: datetime) -> Revision:
        """Put the first revision in force in an empty store, and return what is in force: where several processes start at once,
        the first one's."""
        with administering(self._engine, author, at) as administration:
            if (active := _active(administration.connection)) is not None:
                return active
            first = _put(administration, revision, files, None, note, governance)
            proposal = Proposal(
                id="p0",
                revision=revision,
                base=None,
                author=author,
                created=at,
                reason=note,
                status=Status.ACTIVE,
                governance=governance,
                kind=Kind.START,
                via="service",
                activated_by=author,
                activated=at,
                authors=(author,),
            )
            _insert(administration, 0, proposal, "rules.seeded")
            return _move(administration, first, ACTIVE, governance, "rules.activated")

    def add(self, files: Mapping[str, str], make: Make, *, actor: str, at: datetime) -> Proposal:
        """Keep a new proposal and its files. What `make` raises, nothing is kept."""
        with administering(self._engine, actor, at) as administration:
            connection = administration.connection
            number = 1 + (connection.scalar(select(func.max(proposals.c.number))) or 0)
            proposal = make(f"p{number}", _in_force(connection), _open(connection))
            _put(administration, proposal.revision, files, proposal.base, proposal.reason, proposal.governance)
            _insert(administration, number, proposal, "rules.proposed")
            return proposal

    def step(
        self, proposal_id: str, act: str, step: Step, *, actor: str, at: datetime, files: Mapping[str, str] | None = None
    ) -> Proposal:
        """Change a proposal, and what is in force with it where it takes effect. What `step` raises, nothing is changed.

        Raises NotAllowed, whatever `step` says, where a proposal would take effect that is not ready for it.
        """
        with administering(self._engine, actor, at) as administration:
            connection = administration.connection
            before = _proposal(connection, proposal_id)
            if before is None:
                raise NoSuchProposal(f"there is no proposal `{proposal_id[:64]}`: `router rules log` lists them")
            active = _in_force(connection)
            after = step(before, active)
            if files is not None:
                _put(administration, after.revision, files, after.base, after.reason, after.governance)
            if after.trial is not None and before.trial is None:
                _end_trials(administration)
            if after.status is Status.ACTIVE and before.status is not Status.ACTIVE:
                _take_effect(administration, before, after, active)
            if after.status is Status.REJECTED and before.status is not Status.REJECTED:
                _reject(administration, after)
            _update(administration, after, act)
            return after

    def differences(self, proposal_id: str, limit: int = 100) -> ShadowReport:
        """What a shadow of this proposal has seen on all workers, the latest differences first."""
        counts = select(func.sum(shadow_counts.c.compared), func.sum(shadow_counts.c.differing)).where(
            shadow_counts.c.proposal == proposal_id
        )
        query = (
            select(shadow_differences)
            .where(shadow_differences.c.proposal == proposal_id)
            .order_by(shadow_differences.c.at.desc())
            .limit(limit)
        )
        with reading(self._engine) as connection:
            compared, differing = connection.execute(counts).one()
            rows = tuple(
                Differing(row.request_id, row.at, row.app, row.session, row.before, row.after)
                for row in connection.execute(query)
            )
        return ShadowReport(proposal_id, int(compared or 0), int(differing or 0), rows)

    def note_shadow(self, proposal_id: str, worker: str, compared: int, differing: int, rows: Sequence[Differing]) -> None:
        """Keep what one worker has compared since it last said so; of a request that is there already, nothing."""
        mine = (shadow_counts.c.proposal == proposal_id) & (shadow_counts.c.worker == worker)
        with writing(self._engine) as connection:
            raised = connection.execute(
                update(shadow_counts)
                .where(mine)
                .values(compared=shadow_counts.c.compared + compared, differing=shadow_counts.c.differing + differing)
            )
            if not raised.rowcount:
                connection.execute(
                    insert(shadow_counts).values(proposal=proposal_id, worker=worker, compared=compared, differing=differing)
                )
            if rows:
                add = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
                values = [{"proposal": proposal_id, **msgspec.structs.asdict(row)} for row in rows]
                connection.execute(add(shadow_differences).on_conflict_do_nothing(), values)

    def mode(self, asked: str) -> str:
        """The way of governance that is in force: what is asked for, but never `single` again once it was left."""
        with reading(self._engine) as connection:
            return _mode(connection, asked)


def _take_effect(administration: Administration, before: Proposal, after: Proposal, active: Revision) -> None:
    """Put the revision of a proposal in force in place of the current one, whose proposal ends."""
    refuse_unready(before, _mode(administration.connection, after.governance), emergency=after.emergency)
    if after.revision != before.revision or after.base != active.revision:
        raise NotAllowed(f"`{after.id}` is not based on what is in force")
    connection = administration.connection
    _end_trials(administration)  # what is tried was made beside the rules that end now
    ending = select(proposals.c.document).where(
        proposals.c.status == Status.ACTIVE.value, proposals.c.revision == active.revision
    )
    for text in connection.scalars(ending).all():
        ended = msgspec.structs.replace(_decoder.decode(text), status=Status.SUPERSEDED, ended=administration.at)
        _update(administration, ended, "rules.superseded")
    _store(administration, msgspec.structs.replace(active, status=SUPERSEDED), "rules.superseded")
    found = _find(connection, after.revision)
    if found is None:
        raise NoSuchProposal(f"there is no revision `{after.revision}`")
    _move(administration, found, ACTIVE, after.governance, "rules.activated")


def _mode(connection: Connection, asked: str) -> str:
    """What is asked for; `four_eyes` once that was the way in which rules came into force here, or `single` was left for good."""
    if (
        connection.scalar(select(revisions.c.number).where(revisions.c.status == ACTIVE, revisions.c.governance == FOUR_EYES))
        is not None
    ):
        return FOUR_EYES
    left = connection.scalar(select(admin_events.c.seq).where(admin_events.c.act == LEFT_SINGLE).limit(1))
    return asked if left is None else FOUR_EYES


def _reject(administration: Administration, proposal: Proposal) -> None:
    """Mark a revision as rejected, unless it was in force once or somebody else proposes it, too."""
    found = _find(administration.connection, proposal.revision)
    others = administration.connection.scalar(
        select(func.count())
        .select_from(proposals)
        .where(
            proposals.c.revision == proposal.revision,
            proposals.c.id != proposal.id,
            proposals.c.status.in_([status.value for status in OPEN]),
        )
    )
    if found is not None and found.status == PROPOSED and not others:
        _move(administration, found, REJECTED, proposal.governance, "rules.rejected")


def _end_trials(administration: Administration) -> None:
    """One proposal is tried at a time."""
    for text in administration.connection.scalars(select(proposals.c.document).where(proposals.c.trial.is_not(None))).all():
        ended = msgspec.structs.replace(_decoder.decode(text), trial=None, share=0)
        _update(administration, ended, "rules.trial_ended")


def _put(
    administration: Administration, revision: str, files: Mapping[str, str], base: str | None, note: str, governance: str
) -> Revision:
    """The revision with these files, kept if it is new. One that was rejected is a proposal again."""
    connection = administration.connection
    found = _find(connection, revision)
    if found is not None and found.files != dict(files):
        raise NotAllowed(f"other files have the name `{revision}` already: change anything in yours")
    if found is not None and found.status != REJECTED:
        return found
    if found is not None:
        return _store(
            administration,
            msgspec.structs.replace(found, status=PROPOSED, decided_by=None, decided=None, governance=governance),
            "rules.proposed",
        )
    number = connection.scalar(select(func.count()).select_from(revisions)) or 0
    made = Revision(number, revision, dict(files), base, administration.actor, administration.at, note, PROPOSED, governance)
    connection.execute(insert(revisions).values(**msgspec.structs.asdict(made)))
    administration.note("rules.kept", f"revision:{revision}", stored_state(made))
    return made


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


def _insert(administration: Administration, number: int, proposal: Proposal, act: str) -> None:
    administration.connection.execute(insert(proposals).values(number=number, **_columns(proposal)))
    administration.note(act, f"proposal:{proposal.id}", proposal_state(_columns(proposal)))


def _update(administration: Administration, proposal: Proposal, act: str) -> None:
    columns = _columns(proposal)
    administration.connection.execute(update(proposals).where(proposals.c.id == proposal.id).values(**columns))
    administration.note(act, f"proposal:{proposal.id}", proposal_state(columns))


def _columns(proposal: Proposal) -> dict[str, Any]:
    return {
        "id": proposal.id,
        "revision": proposal.revision,
        "status": proposal.status.value,
        "trial": proposal.trial,
        "document": _encoder.encode(proposal).decode(),
    }


def stored_state(revision: Revision) -> dict[str, Any]:
    """A revision as plain values, as the audit chain holds it: of the files their digest."""
    state: dict[str, Any] = msgspec.to_builtins(revision)
    files = msgspec.json.encode(state.pop("files"), order="deterministic")
    return state | {"files_sha256": digest_of(files).hex()}


def proposal_state(columns: Mapping[str, Any]) -> dict[str, Any]:
    """A proposal's row as plain values, as the audit chain holds it: of the document its digest."""
    kept = {name: columns[name] for name in ("id", "revision", "status", "trial")}
    return kept | {"document_sha256": digest_of(str(columns["document"]).encode()).hex()}


def _active(connection: Connection) -> Revision | None:
    row = connection.execute(select(revisions).where(revisions.c.status == ACTIVE)).one_or_none()
    return None if row is None else revision_of(row)


def _in_force(connection: Connection) -> Revision:
    active = _active(connection)
    if active is None:
        raise NotAllowed("no rules are in force: start the service once")
    return active


def _find(connection: Connection, revision: str) -> Revision | None:
    row = connection.execute(select(revisions).where(revisions.c.revision == revision)).one_or_none()
    return None if row is None else revision_of(row)


def _proposal(connection: Connection, proposal_id: str) -> Proposal | None:
    text = connection.scalar(select(proposals.c.document).where(proposals.c.id == proposal_id))
    return None if text is None else _decoder.decode(text)


def _open(connection: Connection) -> list[tuple[Proposal, Revision]]:
    query = (
        select(proposals.c.document, revisions)
        .join(revisions, revisions.c.revision == proposals.c.revision)
        .where(proposals.c.status.in_([status.value for status in OPEN]))
        .order_by(proposals.c.number.desc())
    )
    return [(_decoder.decode(row.document), Revision(*row[1:])) for row in connection.execute(query)]


def revision_of(row: Row[Any]) -> Revision:
    """The revision in a row of the table."""
    return Revision(**row._asdict())
