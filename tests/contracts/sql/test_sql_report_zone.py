"""The ledger is added up by the days of the time zone that the rules in force name, and anew when they name another one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sql_records import NOON, admitted, line, outcome, raw
from sqlalchemy import Engine, select, update

from router.background import add_up
from router.reports.spend import SpendReport
from router.storage.sql import rollups
from router.storage.sql.engine import reading, writing
from router.storage.sql.ledger import report_zone, spend
from router.storage.sql.records import SqlRecords
from router.storage.sql.rules import RuleStore
from router.storage.sql.tables import revisions, spend_days
from routing_rules.report_zone import time_zone_of

LATE = datetime(2026, 3, 31, 22, 30, tzinfo=UTC)  # in Berlin it is April already


def write(store: Engine, request: str, at: datetime, cost: int = 1_000) -> None:
    records = (admitted(request, at=at), outcome(request, (line(cost),), at=at))
    SqlRecords(store).write([(1, raw(record)) for record in records])


def seed(store: Engine, zone: str) -> None:
    files = {"routes.yaml": f"time_zone: {zone}\nrules: []\n"}
    RuleStore(store).seed(f"in {zone}", files, author="ann", note="first", governance="single", at=NOON)


def name_zone(store: Engine, zone: str) -> None:
    """What the activation of a revision that names another zone comes to."""
    with writing(store) as connection:
        files = {"routes.yaml": f"time_zone: {zone}\nrules: []\n"}
        connection.execute(update(revisions).values(files=files, revision=f"in {zone}"))


def by(report: SpendReport) -> dict[str, int]:
    return {row.group[0]: row.figures.cost_nano for row in report.rows}


def test_the_first_start_takes_the_zone_of_the_rules(store: Engine) -> None:
    write(store, "r1", LATE)
    assert by(spend(store, ("month",))) == {"2026-03": 1_000}
    seed(store, "Europe/Berlin")
    assert add_up(store, None) == "in Europe/Berlin"
    assert report_zone(store).key == "Europe/Berlin"
    assert by(spend(store, ("month",))) == {"2026-04": 1_000}
    write(store, "r2", LATE, 500)
    assert by(spend(store, ("day",))) == {"2026-04-01": 1_500}


def test_rules_that_name_another_zone_have_the_ledger_added_up_anew_once(store: Engine) -> None:
    seed(store, "UTC")
    write(store, "r1", LATE)
    first = add_up(store, None)
    assert add_up(store, first) == first
    name_zone(store, "Asia/Kathmandu")
    assert add_up(store, first) == "in Asia/Kathmandu"
    assert by(spend(store, ("day",))) == {"2026-04-01": 1_000}


def test_a_report_sees_the_sums_of_one_zone_until_all_of_another_are_there(store: Engine) -> None:
    write(store, "r1", LATE)
    with reading(store) as before:
        assert rollups.zone_of(before) == "UTC"
        rollups.ensure(store, "Europe/Berlin")
        assert rollups.zone_of(before) == "UTC"
        assert list(before.scalars(select(spend_days.c.day))) == ["2026-03-31"]
    with reading(store) as after:
        assert list(after.scalars(select(spend_days.c.day))) == ["2026-04-01"]


@pytest.mark.parametrize(
    ("zone", "month", "begins", "ends"),
    [
        ("Europe/Berlin", "2026-03", datetime(2026, 2, 28, 23, tzinfo=UTC), datetime(2026, 3, 31, 22, tzinfo=UTC)),  # summer time begins
        ("Europe/Berlin", "2026-10", datetime(2026, 9, 30, 22, tzinfo=UTC), datetime(2026, 10, 31, 23, tzinfo=UTC)),  # and ends
        ("America/New_York", "2028-02", datetime(2028, 2, 1, 5, tzinfo=UTC), datetime(2028, 3, 1, 5, tzinfo=UTC)),  # a leap day
        ("Asia/Kathmandu", "2026-12", datetime(2026, 11, 30, 18, 15, tzinfo=UTC), datetime(2026, 12, 31, 18, 15, tzinfo=UTC)),
        ("America/Havana", "2026-11", datetime(2026, 11, 1, 4, tzinfo=UTC), datetime(2026, 12, 1, 5, tzinfo=UTC)),  # clocks go back on its first day
    ],
)  # fmt: skip
def test_a_month_has_exactly_the_moments_between_its_first_and_its_last(
    store: Engine, zone: str, month: str, begins: datetime, ends: datetime
) -> None:
    rollups.ensure(store, zone)
    tick = timedelta(microseconds=1)
    for number, moment in enumerate((begins - tick, begins, ends - tick, ends)):
        write(store, f"r{number}", moment, 10**number)
    assert by(spend(store, ("month",)))[month] == 110
    where = ZoneInfo(zone)
    assert spend(store, (), begins.astimezone(where), ends.astimezone(where)).total.cost_nano == 110


def test_files_that_name_no_zone_count_in_utc_and_an_overlay_may_name_another() -> None:
    routes = "rules: []\n"
    assert time_zone_of({"routes.yaml": routes}) == "UTC"
    overlaid = {"routes.yaml": routes, "overlays/prod/routes.yaml": "time_zone: Europe/Paris\n"}
    assert time_zone_of(overlaid) == "Europe/Paris"
