"""Recorded decisions and what they cost, read in bulk: what a change of the rules is replayed on. Implements `rules_replay.Recorded`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Engine, Select, func, select

from router.exchange import Admitted, Turned
from router.governance.rules_replay import Passed, Stopped, Used
from router.storage.sql.engine import reading
from router.storage.sql.evidence import ADMITTED, REFUSED, decode
from router.storage.sql.tables import evidence, ledger_entries, ledger_lines

FETCHED = 1_000
"""Rows that are held at once."""

_decoder = msgspec.json.Decoder(Passed | Stopped)


class Recorded:
    """SQL down: sqlalchemy.exc.DBAPIError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def decisions(self, since: datetime, until: datetime) -> Iterator[Passed | Stopped]:
        """What a replay reads of each decision, the oldest first."""
        for text in self._texts(since, until):
            yield _decoder.decode(text)

    def records(self, since: datetime, until: datetime) -> Iterator[Admitted | Turned]:
        """The whole record of each decision, the oldest first."""
        for text in self._texts(since, until):
            record = decode(text)
            if isinstance(record, Admitted | Turned):
                yield record

    def costs(self, since: datetime, until: datetime) -> Mapping[str, tuple[str, int]]:
        """Request → (the deployment that answered, what it cost in nano-USD)."""
        entries = ledger_entries.c
        query = select(entries.request_id, entries.deployment, entries.cost_nano).where(
            entries.opened_at >= since, entries.opened_at < until
        )
        with reading(self._engine) as connection:
            return {row.request_id: (row.deployment, row.cost_nano) for row in connection.execute(query)}

    def usage(self, request_ids: Sequence[str]) -> Mapping[str, Sequence[Used]]:
        """What these requests used in all, by token class, corrections included."""
        lines = ledger_lines.c
        query = (
            select(lines.request_id, lines.token_class, func.sum(lines.quantity), func.sum(lines.cost_nano))
            .where(lines.request_id.in_(request_ids))
            .group_by(lines.request_id, lines.token_class)
        )
        found: dict[str, list[Used]] = {}
        with reading(self._engine) as connection:
            for request_id, token_class, quantity, cost in connection.execute(query):
                found.setdefault(request_id, []).append(Used(token_class, int(quantity), int(cost)))
        return found

    def _texts(self, since: datetime, until: datetime) -> Iterator[str]:
        query: Select[str] = (
            select(evidence.c.record)
            .where(evidence.c.at >= since, evidence.c.at < until, evidence.c.kind.in_((ADMITTED, REFUSED)))
            .order_by(evidence.c.at)
        )
        with reading(self._engine) as connection:
            yield from connection.execution_options(yield_per=FETCHED).scalars(query)
