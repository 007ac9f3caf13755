"""Raises of owners' budgets in SQL; each step of one is a link of the administrative audit chain."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Engine, Row, insert, select, update

from router.errors import Refused
from router.governance.raises import BudgetRaise
from router.storage.sql.administration import Administration, administering
from router.storage.sql.engine import reading
from router.storage.sql.tables import budget_raises as table
from routing_rules.budgets import Raise


class SqlRaises:
    """The raises of a SQL store. SQL down: sqlalchemy.exc.DBAPIError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def ask(self, wanted: BudgetRaise) -> BudgetRaise:
        """Keep a raise that waits for somebody to approve it."""
        with administering(self._engine, wanted.asked_by, wanted.asked_at) as administration:
            administration.connection.execute(insert(table).values(**msgspec.structs.asdict(wanted)))
            _note(administration, "budget.raise_asked", wanted)
        return wanted

    def approve(self, raise_id: str, *, by: str, at: datetime) -> BudgetRaise:
        """Put it in force. Raises Refused(`not_found`) where it does not wait."""
        return self._change(raise_id, "budget.raise_approved", by, at, approved_by=by, approved_at=at)

    def end(self, raise_id: str, *, by: str, at: datetime) -> BudgetRaise:
        """End it, approved or not. Raises Refused(`not_found`) where it has been ended."""
        return self._change(raise_id, "budget.raise_ended", by, at, ended_by=by, ended_at=at)

    def all(self) -> list[BudgetRaise]:
        """Every raise there ever was, the latest first."""
        with reading(self._engine) as connection:
            return [_raise_of(row) for row in connection.execute(select(table).order_by(table.c.asked_at.desc(), table.c.id))]

    def in_force(self, now: datetime) -> dict[str, tuple[Raise, ...]]:
        """By owner, what is approved and not over."""
        query = select(table).where(table.c.ends > now, table.c.approved_at.is_not(None), table.c.ended_at.is_(None))
        found: dict[str, tuple[Raise, ...]] = {}
        with reading(self._engine) as connection:
            for row in connection.execute(query.order_by(table.c.id)):
                effect = _raise_of(row).effect
                if effect is not None:
                    found[effect.owner] = (*found.get(effect.owner, ()), effect)
        return found

    def _change(self, raise_id: str, act: str, by: str, at: datetime, **values: Any) -> BudgetRaise:
        with administering(self._engine, by, at) as administration:
            # Of two who act at once one finds it changed.
            still = [table.c.id == raise_id, table.c.ended_at.is_(None)]
            still += [table.c.approved_at.is_(None)] if "approved_at" in values else []
            if administration.connection.execute(update(table).where(*still).values(**values)).rowcount != 1:
                raise Refused("not_found", "there is no such raise any more")
            changed = _raise_of(administration.connection.execute(select(table).where(table.c.id == raise_id)).one())
            _note(administration, act, changed)
            return changed


def _note(administration: Administration, act: str, changed: BudgetRaise) -> None:
    administration.note(act, f"raise:{changed.id}", msgspec.to_builtins(changed, order="sorted"))


def _raise_of(row: Row[Any]) -> BudgetRaise:
    return msgspec.convert({str(name): value for name, value in row._asdict().items()}, BudgetRaise)
