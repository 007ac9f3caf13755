"""What owners have spent in a period, as budgets count it: by when a request was admitted, not by when its cost was booked."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, func, select

from router.storage.sql.engine import reading
from router.storage.sql.tables import ledger_entries


def spent_between(engine: Engine, begins: datetime, ends: datetime) -> dict[str, int]:
    """What each owner's requests cost that were admitted from `begins` on and before `ends`, in nano-USD. Open entries cost nothing yet."""
    entry = ledger_entries.c
    found: dict[str, int] = {}
    with reading(engine) as connection:
        # Two queries, each by an index: an entry whose intent was never recorded has only the time at which it was closed.
        for moment, also in ((entry.opened_at, ()), (entry.closed_at, (entry.opened_at.is_(None),))):
            query = select(entry.owner, func.sum(entry.cost_nano)).where(moment >= begins, moment < ends, *also)
            for owner, nano in connection.execute(query.group_by(entry.owner)):
                found[owner] = found.get(owner, 0) + int(nano)
    return found


def held_since(engine: Engine, begins: datetime) -> dict[str, int]:
    """What is held for each owner's requests that were admitted from `begins` on and are not settled yet, in nano-USD."""
    entry = ledger_entries.c
    query = select(entry.owner, func.sum(entry.held_nano)).where(entry.closed_at.is_(None), entry.opened_at >= begins)
    with reading(engine) as connection:
        return {owner: int(nano) for owner, nano in connection.execute(query.group_by(entry.owner))}
