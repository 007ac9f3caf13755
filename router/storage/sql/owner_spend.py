"""What owners have spent in a period, as budgets count it: by when a request was admitted, not by when its cost was booked."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, func, select

from router.storage.sql.engine import reading
from router.storage.sql.tables import ledger_entries


def spent_between(engine: Engine, begins: datetime, ends: datetime) -> dict[str, int]:
    """What each owner's requests cost that were admitted from `begins` on and before `ends`, in nano-USD. Open entries cost nothing yet."""
    entry = ledger_entries.c
    admitted = func.coalesce(entry.opened_at, entry.closed_at)  # of an intent that was never recorded, only the end is known
    # Nothing is closed before it was admitted: by that, the index on when entries were closed serves.
    query = select(entry.owner, func.sum(entry.cost_nano)).where(entry.closed_at >= begins, admitted >= begins, admitted < ends)
    with reading(engine) as connection:
        return {owner: int(nano) for owner, nano in connection.execute(query.group_by(entry.owner))}


def held_since(engine: Engine, begins: datetime) -> dict[str, int]:
    """What is held for each owner's requests that were admitted from `begins` on and are not settled yet, in nano-USD."""
    entry = ledger_entries.c
    query = select(entry.owner, func.sum(entry.held_nano)).where(entry.closed_at.is_(None), entry.opened_at >= begins)
    with reading(engine) as connection:
        return {owner: int(nano) for owner, nano in connection.execute(query.group_by(entry.owner))}
