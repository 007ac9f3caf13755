"""What a finance page is asked for: days and months as forms bring them, what they are compared with, and addresses of other views."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import pytest

from router.console.pages.finance import view_of
from router.console.site import Asked
from router.errors import Refused

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)


def asked(**query: str) -> Asked:
    return Asked("GET", "/finance", NOW, query={name.rstrip("_"): value for name, value in query.items()})


def test_a_month_is_that_of_the_reports_time_zone_also_where_clocks_are_put_back() -> None:
    view = view_of(asked(period="2026-10"), BERLIN)
    assert (view.since, view.until) == (datetime(2026, 9, 30, 22, tzinfo=UTC), datetime(2026, 10, 31, 23, tzinfo=UTC))
    assert (view.name, view.month, view.grain, view.by) == ("October 2026", "2026-10", "day", "team")
    assert view.before == (datetime(2026, 8, 31, 22, tzinfo=UTC), view.since)


def test_a_month_that_runs_is_compared_with_as_much_of_the_one_before() -> None:
    view = view_of(asked(), BERLIN)
    assert (view.name, view.before_name) == ("November 2026", "as much of October 2026")
    assert view.before[1] - view.before[0] == NOW - view.since


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"from_": "2026-10-03", "to": "2026-10-05"}, "2026-10-03 to 2026-10-05"),
        ({"period": "2026-10", "was": "2026-10", "from_": "2026-10-03", "to": "2026-10-05"}, "2026-10-03 to 2026-10-05"),
        ({"period": "2026-09", "was": "", "from_": "2026-10-03", "to": "2026-10-05"}, "September 2026"),
        ({"period": "2026-09", "was": "2026-10", "from_": "", "to": ""}, "September 2026"),
        ({"period": "2026-Q3"}, "2026-Q3"),
    ],
)
def test_what_was_changed_in_a_form_counts(query: dict[str, str], name: str) -> None:
    assert view_of(asked(**query), BERLIN).name == name


@pytest.mark.parametrize(
    "query",
    [
        {"period": "2026-13"},
        {"from_": "2026-10-05", "to": "2026-10-04"},
        {"from_": "yesterday"},
        {"to": "0001-01-01"},
        {"by": "prompt"},
        {"by": "day"},
        {"grain": "second"},
    ],
)
def test_what_is_no_period_and_no_dimension_is_refused_by_name(query: dict[str, str]) -> None:
    with pytest.raises(Refused) as refusal:
        view_of(asked(**query), BERLIN)
    assert refusal.value.code == "invalid_request"


def test_an_address_leads_back_to_the_same_view_and_keeps_its_filters() -> None:
    view = view_of(asked(period="2026-10", by="owner", team="a & b=c", rule="r#1", grain="week"), BERLIN)
    again = view_of(Asked("GET", "/finance", NOW, query=dict(parse_qsl(view.query()))), BERLIN)
    assert again == view
    assert view.where == {"team": "a & b=c", "rule": "r#1"}
    narrower = dict(parse_qsl(view.query(by="app", owner="x", rule=None)))
    assert narrower == {"period": "2026-10", "by": "app", "grain": "week", "team": "a & b=c", "owner": "x"}
