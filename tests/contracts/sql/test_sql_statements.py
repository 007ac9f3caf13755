"""Statements are made of the ledger's own lines: together they are the month, and what earlier months changed stands by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sql_records import admitted, line, outcome, raw
from sqlalchemy import Engine

from router.errors import Refused
from router.exchange import Admitted, Outcome
from router.governance.months import Actor, close
from router.storage.sql import rollups
from router.storage.sql.months import SqlMonths
from router.storage.sql.records import SqlRecords
from router.storage.sql.statements import SqlStatements

OCTOBER = datetime(2026, 10, 15, 9, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 3, 9, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 2, 9, tzinfo=UTC)


def write(store: Engine, *records: Admitted | Outcome) -> None:
    SqlRecords(store).write([(1, raw(record)) for record in records])


def shut(store: Engine, month: str, at: datetime) -> str:
    period = close(SqlMonths(store), month, actor=Actor("ops"), at=at, governance="single", undrained=())
    assert period.digest is not None
    return period.digest


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_the_statements_of_all_cost_centres_are_the_month(store: Engine, zone: str) -> None:
    rollups.ensure(store, zone)
    for number, app in enumerate(("desk", "bench", "desk")):
        write(store, admitted(f"r{number}", app=app, at=OCTOBER), outcome(f"r{number}", (line(10**number),), at=OCTOBER))
    write(store, outcome("nobody", (line(5_000),), at=OCTOBER))
    assert [(one.name, one.cost_nano) for one in SqlStatements(store).cost_centers("2026-10")] == [
        ("unallocated", 5_000),
        ("cc-desk", 101),
        ("cc-bench", 10),
    ]
    before = SqlStatements(store).statement("cc-desk", "2026-10", NOVEMBER)
    assert (before.close, before.total_nano, before.zone) == (None, 101, zone)
    digest = shut(store, "2026-10", NOVEMBER)
    made = [SqlStatements(store).statement(one.name, "2026-10", NOVEMBER) for one in SqlStatements(store).cost_centers("2026-10")]
    (period,) = SqlMonths(store).all()
    assert sum(one.total_nano for one in made) == period.total_nano == 5_111
    assert {one.close.digest for one in made if one.close} == {digest}
    assert made[0].unallocated_nano == 5_000


def test_a_cost_centre_on_which_nothing_is_booked_has_no_statement(store: Engine) -> None:
    write(store, admitted("r1", at=OCTOBER), outcome("r1", (line(900),), at=OCTOBER))
    for cost_center, month in (("cc-dsek", "2026-10"), ("cc-desk", "2026-09"), ("unallocated", "2026-10")):
        with pytest.raises(Refused, match="nothing is booked on"):
            SqlStatements(store).statement(cost_center, month, NOVEMBER)


def test_a_correction_of_a_closed_month_stands_in_the_next_statement_under_its_own_month(store: Engine) -> None:
    write(store, admitted("r1", at=OCTOBER), outcome("r1", (line(900),), at=OCTOBER))
    shut(store, "2026-10", NOVEMBER)
    write(store, outcome("r1", (line(400),), at=OCTOBER + timedelta(minutes=5), correction=True))
    write(store, admitted("late", at=OCTOBER), outcome("late", (line(33),), at=OCTOBER))
    write(store, admitted("r2", at=NOVEMBER), outcome("r2", (line(7),), at=NOVEMBER))
    write(store, outcome("r2", (line(9),), at=NOVEMBER, correction=True))  # of the same month: it is netted
    october, november = (SqlStatements(store).statement("cc-desk", month, DECEMBER) for month in ("2026-10", "2026-11"))
    assert (october.total_nano, october.earlier) == (900, ())
    assert [(each.cost_nano, each.corrected_nano) for each in november.lines] == [(9, 2)]
    assert [(each.month, each.late, each.cost_nano) for each in november.earlier] == [
        ("2026-10", False, -500),
        ("2026-10", True, 33),
    ]
    assert november.total_nano == -458
