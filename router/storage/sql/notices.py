"""Notices of budgets in SQL: each made once, whoever notices it first, and delivered by one process at a time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Engine, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from router.governance.notices import Notice
from router.storage.sql.engine import reading, writing
from router.storage.sql.tables import budget_notices as table


class SqlNotices:
    """The notices of a SQL store. SQL down: sqlalchemy.exc.DBAPIError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, notice: Notice) -> bool:
        """Keep a notice; False where one for the same owner, period, threshold and channel is there."""
        try:
            with writing(self._engine) as connection:
                connection.execute(insert(table).values(**msgspec.structs.asdict(notice)))
        except IntegrityError:
            return False
        return True

    def due(self, now: datetime, most: int = 50) -> list[Notice]:
        """Those that are to be delivered now, the oldest first."""
        query = select(table).where(table.c.next_at <= now).order_by(table.c.next_at, table.c.id).limit(most)
        with reading(self._engine) as connection:
            return [_notice_of(row) for row in connection.execute(query)]

    def claim(self, notice: Notice, until: datetime) -> bool:
        """Take it for oneself until a moment; of any number who try at once, one gets it."""
        mine = (table.c.id == notice.id, table.c.next_at == notice.next_at)
        with writing(self._engine) as connection:
            return connection.execute(update(table).where(*mine).values(next_at=until)).rowcount == 1

    def close(self, notice: Notice) -> None:
        """Write down what became of an attempt."""
        values = {
            "attempts": notice.attempts,
            "next_at": notice.next_at,
            "delivered_at": notice.delivered_at,
            "error": notice.error,
        }
        with writing(self._engine) as connection:
            connection.execute(update(table).where(table.c.id == notice.id).values(**values))

    def all(self, most: int = 1000) -> list[Notice]:
        """What was told, the latest first."""
        with reading(self._engine) as connection:
            return [
                _notice_of(row) for row in connection.execute(select(table).order_by(table.c.at.desc(), table.c.id).limit(most))
            ]

    def known(self) -> set[tuple[str, str, str, str]]:
        """Owner, period, threshold and channel of every notice."""
        columns = (table.c.owner, table.c.period, table.c.threshold, table.c.channel)
        with reading(self._engine) as connection:
            return {(row[0], row[1], row[2], row[3]) for row in connection.execute(select(*columns))}


def _notice_of(row: Row[Any]) -> Notice:
    return msgspec.convert({str(name): value for name, value in row._asdict().items()}, Notice)
