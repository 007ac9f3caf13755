"""Movers compare a period with the one before; unusual days are found against the same weekdays, and their change adds up."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.reports import anomalies, movers
from router.reports.spans import before, days, span
from router.reports.spend import WHOLE_REQUEST, Figures, SpendReport, SpendRow

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
DOLLAR = 10**9


def report(by: tuple[str, ...], rows: dict[tuple[str, ...], Figures], first: int = 1) -> SpendReport:
    since = datetime(2026, first, 1, tzinfo=UTC)
    return SpendReport(by, since, datetime(2026, first + 1, 1, tzinfo=UTC), tuple(SpendRow(*each) for each in rows.items()))


def costs(**amounts: int) -> dict[tuple[str, ...], Figures]:
    return {(name,): Figures(cost_nano=amount) for name, amount in amounts.items()}


# ── periods ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "first", "behind", "earlier"),
    [
        ("2028-02", "2028-02-01", "2028-03-01", "2028-01-01"),
        ("2026-01", "2026-01-01", "2026-02-01", "2025-12-01"),
        ("last-month", "2026-02-01", "2026-03-01", "2026-01-01"),
        ("this-month", "2026-03-01", "2026-04-01", "2026-02-01"),
        ("2026-Q1", "2026-01-01", "2026-04-01", "2025-10-01"),
        ("last-quarter", "2025-10-01", "2026-01-01", "2025-07-01"),
        ("2026", "2026-01-01", "2027-01-01", "2025-01-01"),
        ("2026-W53", "2026-12-28", "2027-01-04", "2026-12-21"),
        ("last-week", "2026-03-02", "2026-03-09", "2026-02-23"),
        ("2028-02-29", "2028-02-29", "2028-03-01", "2028-02-28"),
        ("yesterday", "2026-03-14", "2026-03-15", "2026-03-13"),
        ("last-30-days", "2026-02-13", "2026-03-15", "2026-01-14"),
    ],
)
def test_a_period_is_called_as_people_call_it(name: str, first: str, behind: str, earlier: str) -> None:
    found = span(name, NOW, ZoneInfo("UTC"))
    assert (found.first.isoformat(), found.behind.isoformat()) == (first, behind)
    assert before(found, ZoneInfo("UTC")).first.isoformat() == earlier
    assert before(found, ZoneInfo("UTC")).until == found.since


@pytest.mark.parametrize(
    "name", ["", "sometime", "2026-13", "2026-Q5", "2026-W54", "2027-02-29", "last-0-days", "last-decade", "0000"]
)
def test_another_name_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(ValueError, match="last-month"):
        span(name, NOW, ZoneInfo("UTC"))


def test_a_month_with_a_change_of_clocks_is_an_hour_shorter_or_longer() -> None:
    assert [span(name, NOW, BERLIN).until - span(name, NOW, BERLIN).since for name in ("2026-03", "2026-10")] == [
        timedelta(days=31, hours=-1),
        timedelta(days=31, hours=1),
    ]


def test_a_day_that_begins_at_one_begins_at_its_first_moment() -> None:
    assert span("2026-03-08", NOW, ZoneInfo("America/Havana")).since == datetime(2026, 3, 8, 5, tzinfo=UTC)


# ── movers ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_largest_change_comes_first_whichever_way_it_goes() -> None:
    found = movers.movers_report(
        report(("owner",), costs(ana=100, bob=50, cleo=7)), report(("owner",), costs(ana=10, bob=75, dora=1), 2)
    )
    assert [(each.group[0], each.change_nano, movers.percent(each), each.kind) for each in found.movers] == [
        ("ana", -90, "-90.00", "changed"),
        ("bob", 25, "50.00", "changed"),
        ("cleo", -7, "-100.00", "gone"),
        ("dora", 1, None, "new"),
    ]
    assert found.total.change_nano == sum(each.change_nano for each in found.movers) == -71


def test_a_running_month_is_compared_with_as_much_of_the_one_before() -> None:
    zone = ZoneInfo("UTC")
    earlier, later, running = movers.periods(span("this-month", NOW, zone), NOW, zone)
    assert running
    assert later == (datetime(2026, 3, 1, tzinfo=UTC), NOW)
    assert earlier == (datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 15, 12, tzinfo=UTC))
    end = datetime(2026, 3, 31, tzinfo=UTC)  # the month before is shorter
    assert movers.periods(span("this-month", end, zone), end, zone)[0][1] == datetime(2026, 3, 1, tzinfo=UTC)


def test_movers_read_the_same_in_each_form() -> None:
    found = movers.movers_report(report(("owner",), costs(ana=3)), report(("owner",), {("=x",): Figures(cost_nano=1)}, 2), most=1)
    document = json.loads(movers.render(found, "json"))
    assert (document["rows"][0]["change_nano"], document["rows"][0]["change_usd"], document["left_out"]) == (
        -3,
        "-0.000000003",
        1,
    )
    assert document["total"]["percent"] == "-66.67"
    (row,) = csv.DictReader(io.StringIO(movers.render(found, "csv")))
    assert row["owner"] == "ana"
    assert "1 smaller changes are left out" in movers.render(found, "table")


# ── days out of the ordinary ──────────────────────────────────────────────────────────────────────────────────────────

FIRST = date(2026, 3, 2)


def year(amounts: dict[date, int], owner: str = "ana") -> SpendReport:
    return report(("owner", "day"), {(owner, day.isoformat()): Figures(cost_nano=nano) for day, nano in amounts.items()})


def usual(weeks: int = 9) -> dict[date, int]:
    """Ten dollars on weekdays, one at weekends, a little more or less each week."""
    start = FIRST - timedelta(weeks=weeks - 1)
    every = [start + timedelta(days=number) for number in range(7 * weeks)]
    return {day: (DOLLAR if day.weekday() > 4 else 10 * DOLLAR) + day.isocalendar().week % 3 * 10**8 for day in every}


def test_a_weekend_is_judged_by_weekends() -> None:
    days = usual()
    assert anomalies.suspects(year(days), FIRST, FIRST + timedelta(days=7)) == ((), 7, 0)
    saturday = FIRST + timedelta(days=5)
    days[saturday] = 10 * DOLLAR  # as on any Monday
    (found,), _, _ = anomalies.suspects(year(days), FIRST, FIRST + timedelta(days=7))
    assert (found.day, found.cost_nano) == (saturday.isoformat(), 10 * DOLLAR)
    assert found.low_nano < found.expected_nano < found.high_nano < found.cost_nano


def test_one_outlier_before_hides_no_other() -> None:
    days = usual()
    days[FIRST - timedelta(weeks=2)] = 10**15
    days[FIRST] = 100 * DOLLAR
    (found,), _, _ = anomalies.suspects(year(days), FIRST, FIRST + timedelta(days=1))
    assert found.expected_nano < 11 * DOLLAR


def test_a_day_without_any_spend_may_stand_out_too() -> None:
    days = usual()
    del days[FIRST]
    (found,), _, _ = anomalies.suspects(year(days), FIRST, FIRST + timedelta(days=1))
    assert found.cost_nano == 0


def test_who_has_begun_lately_is_not_judged() -> None:
    days = {day: nano for day, nano in usual().items() if day >= FIRST - timedelta(weeks=2)}
    assert anomalies.suspects(year(days), FIRST, FIRST + timedelta(days=1)) == ((), 0, 1)


def test_a_small_amount_stands_out_only_where_that_is_asked_for() -> None:
    days = {day: nano // 10**6 for day, nano in usual().items()}
    days[FIRST] *= 5
    assert anomalies.suspects(year(days), FIRST, FIRST + timedelta(days=1))[0] == ()
    assert len(anomalies.suspects(year(days), FIRST, FIRST + timedelta(days=1), least_nano=1)[0]) == 1


def cells(*days: dict[str, tuple[int, dict[str, tuple[int, int]]]]) -> SpendReport:
    """Per day and deployment the requests, and per token class how many and what they cost."""
    rows: dict[tuple[str, ...], Figures] = {}
    for day, deployments in zip(("2026-03-01", "2026-03-08"), days, strict=True):
        for name, (requests, classes) in deployments.items():
            rows[day, name, WHOLE_REQUEST] = Figures(requests=requests)
            for kind, (count, cost) in classes.items():
                rows[day, name, kind] = Figures(cost_nano=cost, **{f"{kind}_tokens": count})
    return report(anomalies.PARTS_BY, rows)


def parts(*days: dict[str, tuple[int, dict[str, tuple[int, int]]]]) -> dict[str, int]:
    return anomalies.taken_apart(cells(*days), "2026-03-01", "2026-03-08")[0]


def test_twice_the_requests_are_volume() -> None:
    assert parts({"m": (10, {"input": (100, 500)})}, {"m": (20, {"input": (200, 1_000)})}) == {"volume": 500}


def test_a_new_price_of_the_same_use_is_price() -> None:
    found, details = anomalies.taken_apart(
        cells({"m": (10, {"input": (100, 500)})}, {"m": (10, {"input": (100, 700)})}), "2026-03-01", "2026-03-08"
    )
    assert (found, details["price"]) == ({"price": 200}, "price of m")


def test_more_reasoning_in_each_request_is_that_class() -> None:
    once = {"m": (10, {"output": (50, 500), "reasoning": (50, 500)})}
    now = {"m": (10, {"output": (50, 500), "reasoning": (250, 2_500)})}
    assert parts(once, now) == {"reasoning per request": 2_000}


def test_requests_that_went_to_a_dearer_deployment_are_mix() -> None:
    once = {"fast": (9, {"input": (90, 90)}), "slow": (1, {"input": (10, 100)})}
    now = {"fast": (1, {"input": (10, 10)}), "slow": (9, {"input": (90, 900)})}
    found, details = anomalies.taken_apart(cells(once, now), "2026-03-01", "2026-03-08")
    assert (found, details["mix"]) == ({"mix": 720}, "slow")
    assert parts({"fast": (10, {"input": (100, 100)})}, {"new": (10, {"input": (100, 900)})}) == {"mix": 800}


def test_the_cause_is_the_largest_part_that_goes_the_same_way() -> None:
    suspect = anomalies.Suspect("ana", "2026-03-08", 1_200, 500, 0, 600, "2026-03-01", 500)
    data = cells({"m": (10, {"input": (100, 500)})}, {"m": (40, {"input": (400, 1_200)})})
    found = anomalies.anomaly("owner", suspect, data)
    assert (found.parts, found.cause) == ({"volume": 1_500, "price": -800}, "volume")
    told = anomalies.AnomaliesReport("owner", FIRST, FIRST, 1, 0, (found,))
    assert json.loads(anomalies.render(told, "json"))["rows"][0]["parts"]["price"]["nano"] == -800
    assert [row["part"] for row in csv.DictReader(io.StringIO(anomalies.render(told, "csv")))] == ["volume", "price"]
    assert "volume" in anomalies.render(told, "table")


DEPLOYMENTS = st.dictionaries(
    st.sampled_from("abc"),
    st.tuples(
        st.integers(0, 50),
        st.dictionaries(
            st.sampled_from(["input", "output", "reasoning"]), st.tuples(st.integers(-5, 10**6), st.integers(-(10**9), 10**12))
        ),
    ),
)


@settings(deadline=None)
@given(once=DEPLOYMENTS, now=DEPLOYMENTS)
def test_the_parts_add_up_to_the_change_whatever_happened(
    once: dict[str, tuple[int, dict[str, tuple[int, int]]]], now: dict[str, tuple[int, dict[str, tuple[int, int]]]]
) -> None:
    def total(day: dict[str, tuple[int, dict[str, tuple[int, int]]]]) -> int:
        return sum(cost for _, classes in day.values() for _, cost in classes.values())

    found = parts(once, now)
    assert sum(found.values()) == total(now) - total(once)


def test_a_span_of_days_has_no_name_but_its_own() -> None:
    assert days(date(2026, 3, 1), date(2026, 3, 4), BERLIN).name == "2026-03-01 to 2026-03-03"
    with pytest.raises(ValueError, match="no day"):
        days(date(2026, 3, 1), date(2026, 3, 1), BERLIN)
