"""The months of finance: which of them are closed, and where the first one begins that is not."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, select

from router.storage.sql.tables import finance_periods

CLOSED = "Closed"
"""FOCUS's word for a period whose charges are final."""


def first_open(connection: Connection) -> datetime | None:
    """The first moment (UTC) behind all closed months; None where none is closed. Nothing is booked before it."""
    moment: datetime | None = connection.scalar(select(func.max(finance_periods.c.ends)).where(finance_periods.c.state == CLOSED))
    return moment
