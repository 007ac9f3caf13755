"""An invoice is held beside the lines of the provider's days, whenever they were booked, and whatever zone the reports have."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from sql_records import admitted, line, outcome, raw
from sqlalchemy import Engine

from router.exchange import Admitted, Outcome
from router.governance.months import Actor, close
from router.reports.invoices import InvoiceRow
from router.reports.reconcile import BORDER, CANCELLED, reconcile
from router.storage.sql import rollups
from router.storage.sql.invoices import booked, deployments_seen
from router.storage.sql.months import SqlMonths
from router.storage.sql.records import SqlRecords
from router.usage import Basis

LAST = date(2026, 10, 31)
MODEL = "model of fast-1"


def write(store: Engine, *records: Admitted | Outcome) -> None:
    SqlRecords(store).write([(1, raw(record)) for record in records])


def used(store: Engine, name: str, at: datetime, cost: int, quantity: int, seconds: int = 3) -> None:
    lines = (line(cost, quantity=quantity),)
    write(store, admitted(name, at=at), outcome(name, lines, at=at + timedelta(seconds=seconds)))


def day(store: Engine, first: date, zone: str = "UTC") -> dict[str, int]:
    return {str(each.day): each.cost_nano for each in booked(store, ["fast-1"], first, first, zone)}


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu"])
def test_the_days_are_the_providers_whatever_zone_the_reports_have(store: Engine, zone: str) -> None:
    rollups.ensure(store, zone)
    used(store, "r1", datetime(2026, 10, 31, 0, 0, tzinfo=UTC), 1, 10)
    used(store, "r2", datetime(2026, 10, 31, 23, 30, tzinfo=UTC), 20, 10)
    used(store, "r3", datetime(2026, 11, 1, 6, tzinfo=UTC), 300, 10)
    assert day(store, LAST) == {"2026-10-31": 21, "2026-11-01": 300}
    assert day(store, date(2026, 10, 30), "America/Los_Angeles") == {"2026-10-30": 1, "2026-10-31": 320}
    assert deployments_seen(store) == {"fast-1": "openai_compatible"}
    assert booked(store, ["other"], LAST, LAST, "UTC") == []


def test_what_was_booked_late_or_corrected_stands_on_the_day_of_its_use(store: Engine) -> None:
    noon = datetime(2026, 10, 31, 12, tzinfo=UTC)
    used(store, "r1", noon, 900, 10)
    close(SqlMonths(store), "2026-10", actor=Actor("ops"), at=noon + timedelta(days=3), governance="single", undrained=())
    write(store, outcome("r1", (line(400),), at=noon + timedelta(days=3), correction=True))
    used(store, "late", noon, 33, 10)
    assert day(store, LAST) == {"2026-10-31": 433}


def test_midnight_and_a_cut_stream_explain_an_invoice(store: Engine) -> None:
    midnight = datetime(2026, 11, 1, tzinfo=UTC)
    used(store, "r1", midnight - timedelta(hours=3), 2_000_000, 1_000)
    used(store, "across", midnight - timedelta(seconds=2), 500_000, 250)
    cut = (line(400_000, quantity=200),)
    at = midnight - timedelta(hours=2)
    write(store, admitted("cut", at=at), outcome("cut", cut, how="cancelled", basis=Basis.ESTIMATED, at=at))
    cancelled = outcome("cut2", cut, how="cancelled", basis=Basis.ESTIMATED, at=at)
    write(store, admitted("cut2", at=at), cancelled)
    lines = booked(store, ["fast-1"], LAST, LAST, "UTC")
    invoice = [InvoiceRow(LAST, MODEL, "input", 1_500, Decimal("0.003"), 9)]
    result = reconcile(invoice, lines, provider="openai")
    assert result.parts.keys() <= {BORDER, CANCELLED, "estimated"}
    assert result.agrees
