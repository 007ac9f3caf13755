"""Evidence: the stored account of each request, from which its decision can be re-run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import NoneType

import msgspec
from sqlalchemy import Engine, select

from router.exchange import Admitted, Outcome, Record, Turned
from router.storage.sql.engine import reading
from router.storage.sql.tables import evidence
from routing_rules.decisions import Hold, Permit, Refuse

ADMITTED, REFUSED, OUTCOME, CORRECTION = "admitted", "refused", "outcome", "correction"

FILTERS = ("app", "owner", "session", "sensitivity", "complexity", "task", "rule", "revision", "tier", "decision", "code")

_DECISIONS = {Permit: "permit", Hold: "hold", Refuse: "refuse", NoneType: None}

_decoder = msgspec.json.Decoder(Record)


class EvidenceRow(msgspec.Struct, frozen=True):
    """One link of a shard's chain, as columns to search by. `sensitivity` is the effective one, session floor included."""

    request_id: str
    kind: str
    at: datetime
    app: str | None = None
    owner: str | None = None
    session: str | None = None
    sensitivity: str | None = None
    complexity: str | None = None
    task: str | None = None
    rule: str | None = None
    revision: str | None = None
    tier: str | None = None
    decision: str | None = None
    code: str | None = None


class Account(msgspec.Struct, frozen=True):
    """All that is known of one request. `outcomes` in the order they came: the closing one, then corrections."""

    admitted: Admitted | None
    refused: Turned | None
    outcomes: tuple[Outcome, ...]


def decode(record: bytes | str) -> Admitted | Turned | Outcome:
    """A record from its JSON. Raises msgspec.DecodeError."""
    decoded: Admitted | Turned | Outcome = _decoder.decode(record)
    return decoded


def kind_of(record: Record) -> str:
    """Which of the four kinds of link a record makes."""
    if isinstance(record, Admitted):
        return ADMITTED
    if isinstance(record, Turned):
        return REFUSED
    return CORRECTION if record.correction else OUTCOME


def row_of(record: Record) -> EvidenceRow:
    """The searchable columns of a record."""
    if isinstance(record, Outcome):
        return EvidenceRow(record.request_id, kind_of(record), record.at, code=record.code)
    facts, decision = record.facts, record.decision
    source = record.facts.caller if isinstance(record, Admitted) else record
    permit = decision.permit if isinstance(decision, Hold) else decision
    return EvidenceRow(
        request_id=record.request_id,
        kind=kind_of(record),
        at=record.at,
        app=source.app,
        owner=source.owner,
        session=record.session,
        sensitivity=facts.labels.confidentiality.value if facts else None,
        complexity=facts.complexity.value if facts else None,
        task=facts.task.value if facts else None,
        rule=record.rule if isinstance(record, Turned) else record.decision.rule,
        revision=decision.revision if decision else None,
        tier=permit.tier if isinstance(permit, Permit) else None,
        decision=_DECISIONS[type(decision)],
        code=record.code if isinstance(record, Turned) else None,
    )


def search(
    engine: Engine,
    where: Mapping[str, str],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 100,
) -> list[EvidenceRow]:
    """The latest decisions (admitted or refused) that match every column in `where`, newest first.

    `since` is inclusive, `until` exclusive. Raises ValueError for a column that cannot be searched.
    """
    if unknown := set(where) - set(FILTERS):
        raise ValueError(f"evidence cannot be searched by `{min(unknown)}`; it can by {', '.join(FILTERS)}")
    columns = [evidence.c[name] for name in EvidenceRow.__struct_fields__]
    query = select(*columns).where(evidence.c.kind.in_((ADMITTED, REFUSED)))
    for name, value in where.items():
        query = query.where(evidence.c[name] == value)
    if since:
        query = query.where(evidence.c.at >= since)
    if until:
        query = query.where(evidence.c.at < until)
    with reading(engine) as connection:
        return [EvidenceRow(*row) for row in connection.execute(query.order_by(evidence.c.at.desc()).limit(limit))]


def account_of(engine: Engine, request_id: str) -> Account | None:
    """Everything recorded of a request, or None."""
    query = select(evidence.c.record).where(evidence.c.request_id == request_id).order_by(evidence.c.seq)
    with reading(engine) as connection:
        records = [decode(text) for text in connection.scalars(query)]
    if not records:
        return None
    return Account(
        admitted=next((record for record in records if isinstance(record, Admitted)), None),
        refused=next((record for record in records if isinstance(record, Turned)), None),
        outcomes=tuple(record for record in records if isinstance(record, Outcome)),
    )
