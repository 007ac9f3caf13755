"""What an app did, as evidence has it: the records from which onboarding proposes rules."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import Engine, select

from router.exchange import Admitted, Turned
from router.storage.sql.engine import reading
from router.storage.sql.evidence import ADMITTED, REFUSED, decode
from router.storage.sql.tables import evidence

MOST_RECORDS = 20_000


def records_of(engine: Engine, app: str, since: datetime, limit: int = MOST_RECORDS) -> Iterator[Admitted | Turned]:
    """The decisions on an app's tasks since a moment, newest first. SQL down: sqlalchemy.exc.DBAPIError."""
    query = (
        select(evidence.c.record)
        .where(evidence.c.app == app, evidence.c.at >= since, evidence.c.kind.in_((ADMITTED, REFUSED)))
        .order_by(evidence.c.at.desc())
        .limit(limit)
    )
    with reading(engine) as connection:
        for text in connection.execution_options(yield_per=500).scalars(query):
            record = decode(text)
            if isinstance(record, Admitted | Turned):
                yield record
