"""What is read of the ledger to be held beside a provider's invoice: lines by the provider's days, whenever they were booked."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Engine, func, select

from router.reports.reconcile import Booked
from router.storage.sql import rollups
from router.storage.sql.engine import reading
from router.storage.sql.tables import ledger_entries, ledger_lines, spend_groups
from router.usage import Basis

CANCELLED = ("cancelled", "reaped", "truncated")


def deployments_seen(engine: Engine) -> dict[str, str]:
    """The deployments that were ever used, each with its provider's name in the ledger."""
    with reading(engine) as connection:
        query = select(spend_groups.c.deployment, spend_groups.c.provider).distinct()
        return {row.deployment: row.provider for row in connection.execute(query)}


def booked(engine: Engine, deployments: Collection[str], first: date, last: date, zone: str) -> list[Booked]:
    """The lines of deployments from the first day of a time zone to the one after the last, by the day of the use. Raises
    zoneinfo.ZoneInfoNotFoundError."""
    where = ZoneInfo(zone)
    begins, ends = (datetime.combine(day, time(), where).astimezone(UTC) for day in (first, last + timedelta(days=2)))
    entry, line = ledger_entries.c, ledger_lines.c
    with reading(engine) as connection:
        began = func.coalesce(entry.opened_at, line.incurred_at, type_=line.incurred_at.type)
        days = [rollups.day_column(connection, zone, moment) for moment in (line.incurred_at, began)]
        keys: list[ColumnElement[Any]] = [
            *days,
            line.model,
            line.token_class,
            line.basis,
            line.outcome,
            line.unit_price.is_not(None),
        ]
        sums = [func.count(), func.sum(line.quantity), func.sum(line.cost_nano)]
        query = select(*keys, *sums).select_from(ledger_lines.join(ledger_entries)).group_by(*keys)
        # A line is never booked before its use, and there is an index for when it was booked.
        spans = (line.at >= begins, line.incurred_at >= begins, line.incurred_at < ends, line.deployment.in_(deployments))
        return [
            Booked(
                date.fromisoformat(day),
                min(date.fromisoformat(began_on), date.fromisoformat(day)),
                model,
                token_class,
                basis == Basis.ESTIMATED.value,
                outcome in CANCELLED,
                bool(priced),
                int(lines),
                int(quantity),
                int(cost),
            )
            for day, began_on, model, token_class, basis, outcome, priced, lines, quantity, cost in connection.execute(
                query.where(*spans)
            )
        ]
