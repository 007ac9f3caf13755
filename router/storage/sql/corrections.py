"""What corrections read of the ledger: settled requests with their last outcome, and uses that still have no price."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection, Engine, Select, func, select

from router.exchange import Outcome
from router.governance.corrections import Booked
from router.storage.sql.administration import administering
from router.storage.sql.engine import reading
from router.storage.sql.evidence import CORRECTION, OUTCOME, decode
from router.storage.sql.tables import evidence, ledger_entries, ledger_lines

PAGE = 500


class Unpriced(msgspec.Struct, frozen=True):
    """Uses without a price: so many `unit`s of a token class in so many requests, the first and the last of them (UTC)."""

    deployment: str
    provider: str
    model: str
    token_class: str
    unit: str
    quantity: int
    requests: int
    first: datetime
    last: datetime


class SqlCorrections:
    """The ledger as corrections see it (`router.governance.corrections.Ledger`). SQL down: sqlalchemy.exc.DBAPIError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def booked(self, request_id: str) -> Booked | None:
        """A settled request; None where there is none."""
        with reading(self._engine) as connection:
            return next(iter(_booked(connection, [request_id])), None)

    def unpriced(self) -> Iterator[Booked]:
        """Requests with uses that have no price, in order of their ids; those that get one meanwhile do not disturb it."""
        last = ""
        while True:
            with reading(self._engine) as connection:
                found: list[str] = list(connection.scalars(_without_price(last)))
                page = _booked(connection, found)
            yield from page
            if len(found) < PAGE:
                return
            last = found[-1]

    def unpriced_uses(self) -> list[Unpriced]:
        """All uses without a price, the largest first."""
        line = ledger_lines.c
        kinds = (line.deployment, line.provider, line.model, line.token_class, line.unit)
        open_uses = (
            select(*kinds, line.request_id, func.sum(line.quantity).label("quantity"), func.min(line.incurred_at).label("at"))
            .where(line.unit_price.is_(None), line.quantity != 0)
            .group_by(*kinds, line.request_id)
            .having(func.sum(line.quantity) != 0)
            .subquery()
        )
        uses = open_uses.c
        named = [uses[kind.name] for kind in kinds]
        quantity = func.sum(uses.quantity)
        query = (
            select(*named, quantity, func.count(), func.min(uses.at), func.max(uses.at))
            .group_by(*named)
            .order_by(quantity.desc(), *named)
        )
        with reading(self._engine) as connection:
            return [
                Unpriced(*row[:5], quantity=int(row[5]), requests=row[6], first=row[7], last=row[8])
                for row in connection.execute(query)
            ]

    def note(self, actor: str, at: datetime, act: str, subject: str, state: dict[str, object]) -> None:
        """Enter an act into the administrative audit chain."""
        with administering(self._engine, actor, at) as administration:
            administration.note(act, subject, state)


def _without_price(after: str) -> Select[str]:
    line = ledger_lines.c
    taken = (line.deployment, line.model, line.token_class, line.attempt)
    per_use = (
        select(line.request_id)
        .where(line.unit_price.is_(None), line.quantity != 0, line.request_id > after)
        .group_by(line.request_id, *taken)
        .having(func.sum(line.quantity) != 0)
        .subquery()
    )
    request = per_use.c.request_id
    return select(request).group_by(request).order_by(request).limit(PAGE)


def _booked(connection: Connection, request_ids: Sequence[str]) -> list[Booked]:
    """Those of the requests that are settled, in the order given."""
    query = select(evidence.c.request_id, evidence.c.shard, evidence.c.record).where(
        evidence.c.request_id.in_(request_ids), evidence.c.kind.in_((OUTCOME, CORRECTION))
    )
    last: dict[str, tuple[int, Outcome]] = {}
    for row in connection.execute(query.order_by(evidence.c.shard, evidence.c.seq)):
        record = decode(row.record)
        if isinstance(record, Outcome):
            last[row.request_id] = (row.shard, record)
    line = ledger_lines.c
    first_use = (
        select(line.request_id, func.min(line.incurred_at)).where(line.request_id.in_(request_ids)).group_by(line.request_id)
    )
    uses = {row[0]: row[1] for row in connection.execute(first_use)}
    entries = {
        row.request_id: row
        for row in connection.execute(select(ledger_entries).where(ledger_entries.c.request_id.in_(request_ids)))
    }
    found = []
    for request_id in request_ids:
        entry = entries.get(request_id)
        if entry is None or entry.closed_at is None or request_id not in last:
            continue
        shard, outcome = last[request_id]
        incurred = uses.get(request_id) or outcome.incurred_at or outcome.at
        opened = entry.opened_at or incurred
        found.append(
            Booked(request_id, shard, entry.app, entry.owner, entry.session, opened, incurred, entry.line_count, outcome)
        )
    return found
