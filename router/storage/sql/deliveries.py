"""What became of deliveries: each is claimed by one process over all replicas, and claimed anew where it failed or its process died."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Engine, select, update
from sqlalchemy.dialects import postgresql, sqlite

from router.storage.sql.engine import reading, writing
from router.storage.sql.tables import report_deliveries as table

CLAIMED = timedelta(minutes=20)
"""After so long a process that has not said what became of its delivery counts as dead."""

FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=2), timedelta(hours=4)
RUNNING, DONE, FAILED = "running", "done", "failed"


class Delivered(msgspec.Struct, frozen=True):
    """One delivery of one period. `next_at` is when it may be tried again; money in nano-USD."""

    delivery: str
    period: str
    state: str  # running | done | failed
    attempts: int
    next_at: datetime | None
    finished_at: datetime | None
    rows: int | None
    total_nano: int | None
    sha256: str | None
    error: str | None


class SqlDeliveries:
    """The deliveries of a SQL store. SQL down: sqlalchemy.exc.DBAPIError, and nothing is delivered."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def waiting(self, wanted: Sequence[tuple[str, str]], now: datetime) -> list[tuple[str, str]]:
        """Those of (delivery, period) that nobody has done or is about to do."""
        with reading(self._engine) as connection:
            kept = {(row.delivery, row.period): Delivered(*row) for row in connection.execute(select(table))}
        return [each for each in wanted if _open(kept.get(each), now)]

    def known(self) -> dict[tuple[str, str], bool]:
        """Of each (delivery, period) that was ever tried, whether it was delivered."""
        return {(each.delivery, each.period): each.state == DONE for each in self.all()}

    def claim(self, delivery: str, period: str, now: datetime, again: bool = False) -> bool:
        """Whether it is for the caller to deliver it now: of several at once, one is told so. `again`: also what is done."""
        with writing(self._engine) as connection:
            insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
            fresh = {"delivery": delivery, "period": period, "state": FAILED, "attempts": 0, "next_at": now}
            connection.execute(insert(table).values(**fresh).on_conflict_do_nothing())
            this = (table.c.delivery == delivery, table.c.period == period)
            kept = Delivered(*connection.execute(select(table).where(*this).with_for_update()).one())
            if not _open(kept, now) and not (again and kept.state != RUNNING):
                return False
            changed = {"state": RUNNING, "attempts": kept.attempts + 1, "next_at": now + CLAIMED}
            connection.execute(update(table).where(*this).values(**changed))
        return True

    def done(self, delivery: str, period: str, now: datetime, rows: int, total_nano: int, sha256: str) -> None:
        """It was delivered."""
        self._end(
            delivery,
            period,
            state=DONE,
            next_at=None,
            finished_at=now,
            rows=rows,
            total_nano=total_nano,
            sha256=sha256,
            error=None,
        )

    def failed(self, delivery: str, period: str, now: datetime, error: str) -> None:
        """It was not; it is tried again after a pause that grows."""
        with reading(self._engine) as connection:
            query = select(table.c.attempts).where(table.c.delivery == delivery, table.c.period == period)
            attempts = connection.scalar(query) or 1
        pause = min(FIRST_PAUSE * 2 ** min(attempts - 1, 16), LONGEST_PAUSE)
        self._end(delivery, period, state=FAILED, next_at=now + pause, finished_at=now, error=error[:200])

    def all(self) -> list[Delivered]:
        """All of them, the latest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(table).order_by(table.c.period.desc(), table.c.delivery))
            return [Delivered(*row) for row in rows]

    def _end(self, delivery: str, period: str, **values: object) -> None:
        with writing(self._engine) as connection:
            connection.execute(update(table).where(table.c.delivery == delivery, table.c.period == period).values(**values))


def _open(kept: Delivered | None, now: datetime) -> bool:
    return kept is None or (kept.state != DONE and kept.next_at is not None and kept.next_at <= now)
