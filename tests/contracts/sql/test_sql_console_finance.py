"""The finance pages on a real store: what is drawn is what was booked, also where clocks are put back; budgets are told of whole owners."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sql_records import admitted, line, outcome, raw
from sqlalchemy import Engine

from router.console.pages.finance import DOWNLOADS
from router.console.site import Asked, Site
from router.storage.sql import rollups
from router.storage.sql.finance_store import SqlFinance
from router.storage.sql.records import SqlRecords
from routing_rules.budgets import OwnerBudget

TWICE = (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC))
"""Both are half past two in Berlin."""

NOW = datetime(2026, 11, 3, tzinfo=UTC)


def booked(store: Engine, *requests: tuple[str, str, datetime, int], owner: str = "ana@example.com") -> None:
    records: list[tuple[int, bytes]] = []
    for name, app, at, cost in requests:
        records += [(1, raw(admitted(name, app=app, owner=owner, at=at))), (1, raw(outcome(name, (line(cost),), at=at)))]
    SqlRecords(store).write(records)


def site(store: Engine, *budgets: OwnerBudget) -> Site:
    rules = SimpleNamespace(budgets_of=lambda owner: tuple(each for each in budgets if each.owner == owner))
    return cast(Site, SimpleNamespace(books=SqlFinance(store), directory=SimpleNamespace(rules=lambda: rules)))


def panel(store: Engine, name: str, *budgets: OwnerBudget, **query: str) -> Any:
    return DOWNLOADS[name](site(store, *budgets), Asked("GET", "/finance", NOW, query={"by": "app", **query}))


def test_the_hour_that_a_day_has_twice_is_drawn_twice(store: Engine) -> None:
    rollups.ensure(store, "Europe/Berlin")
    booked(store, ("r1", "desk", TWICE[0], 3_000_000_000), ("r2", "desk", TWICE[1], 5_000_000_000))
    found = panel(store, "over-time", **{"from": "2026-10-25", "to": "2026-10-25"})
    (series,) = found.chart.series
    assert (len(found.chart.labels), found.chart.labels.count("10-25 02:00")) == (25, 2)
    assert [value for value in series.values if value] == [3.0, 5.0]
    assert sum(row.values[2] for row in found.table.rows) == found.table.total.values[2] == 8_000_000_000


@pytest.mark.parametrize(("query", "told"), [({}, {"team of desk": 2}), ({"cost_center": "cc-desk"}, {"team of desk": 2})])
def test_a_budget_is_told_where_all_that_its_owner_spent_is_in_view(
    store: Engine, query: dict[str, str], told: dict[str, int]
) -> None:
    at = datetime(2026, 10, 5, 12, tzinfo=UTC)
    limits = (OwnerBudget("ana@example.com", hard_nano=1_000), OwnerBudget("bo@example.com", soft_nano=1_000))
    booked(store, ("r1", "desk", at, 1_002))
    booked(store, ("r2", "desk", at, 5_000), ("r3", "shop", at, 70), owner="bo@example.com")
    found = panel(store, "groups", *limits, period="2026-10", **{**query, "by": "team"})
    over = {row.values[0]: row.values[3] for row in found.table.rows if row.values[3] is not None}
    assert over == told
    narrowed = panel(store, "groups", *limits, period="2026-10", team="team of shop", by="owner")
    assert [(row.values[0], row.values[2]) for row in narrowed.table.rows] == [("bo@example.com", None)], (
        "only a part of it is in view"
    )
