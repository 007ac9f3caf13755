"""Finance reads the same figures over HTTP as from the command line, down to the single request, and nobody else reads them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from governed import deployment, rule_files
from governing import api, token
from running import Running, running
from stub_provider import serving

SECRET_WORDS = "the owl flies at nine"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving() as stub:
        rules = rule_files([deployment("m", stub.url)], then="wish: honour")
        with running(tmp_path_factory.mktemp("reports") / "data", rules=rules) as started:
            key = started.key()
            for stream in (False, True):
                body: Any = {
                    "model": "auto",
                    "messages": [{"role": "user", "content": f"Translate: {SECRET_WORDS}."}],
                    "stream": stream,
                }
                told = {"authorization": f"Bearer {key}"}
                assert httpx.post(started.base_url + "/v1/chat/completions", json=body, headers=told, timeout=30).is_success
            started.settled()
            yield started


@pytest.fixture(scope="module")
def finance(service: Running) -> str:
    return token(service, "fin@example.org", "finance")


def asked(service: Running, secret: str, path: str) -> Any:
    answer = api(service, "GET", f"/api/reports/{path}", secret)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_http_and_command_line_say_the_same(service: Running, finance: str) -> None:
    report = asked(service, finance, "spend?by=owner,model,day&period=this-year&owner=demo@example.org")
    narrowed = ("--by", "owner,model,day", "--period", "this-year", "--where", "owner=demo@example.org")
    assert report == json.loads(service.cli("report", "spend", "--format", "json", *narrowed))
    assert report["total"]["requests"] == 2
    assert report["total"]["cost_nano"] == sum(row["cost_nano"] for row in report["rows"])
    assert isinstance(report["total"]["cost_usd"], str)


def test_csv_comes_by_accept_or_by_name(service: Running, finance: str) -> None:
    by_name = api(service, "GET", "/api/reports/spend?by=owner&format=csv", finance)
    by_accept = api(service, "GET", "/api/reports/spend?by=owner", finance, accept="text/csv")
    assert by_name.text == by_accept.text == service.cli("report", "spend", "--by", "owner", "--format", "csv")
    assert by_name.headers["content-type"].startswith("text/csv")
    assert [row["requests"] for row in csv.DictReader(io.StringIO(by_name.text))] == ["2"]


def test_a_figure_leads_to_its_requests_and_a_request_to_its_lines_without_a_word_of_text(service: Running, finance: str) -> None:
    total = asked(service, finance, "spend?by=")["total"]
    first = asked(service, finance, "requests?limit=1")
    second = asked(service, finance, f"requests?limit=1&after={first['next'].replace('+', '%2B')}")
    listed = [*first["data"], *second["data"]]
    assert second["next"] is None
    assert sum(each["cost_nano"] for each in listed) == total["cost_nano"]
    one = asked(service, finance, f"requests/{listed[0]['request_id']}")
    assert sum(line["cost_nano"] for line in one["lines"]) == one["request"]["cost_nano"] == listed[0]["cost_nano"]
    assert one == json.loads(service.cli("report", "request", listed[0]["request_id"], "--format", "json"))
    assert listed == json.loads(service.cli("report", "requests", "--format", "json"))["data"]
    assert "owl" not in json.dumps([first, second, one])


@pytest.mark.parametrize(
    ("name", "query", "options"),
    [
        ("movers", "by=model&period=2001-02", ("--by", "model", "--period", "2001-02")),
        ("anomalies", "by=app&period=2001-02&least_usd=0.5", ("--by", "app", "--period", "2001-02", "--least-usd", "0.5")),
        (
            "savings",
            "by=impact,latency_class&period=this-year&router_usd_per_hour=0.05",
            ("--by", "impact,latency_class", "--period", "this-year", "--router-usd-per-hour", "0.05"),
        ),
    ],
)
def test_what_changed_reads_the_same_both_ways(
    service: Running, finance: str, name: str, query: str, options: tuple[str, ...]
) -> None:
    assert asked(service, finance, f"{name}?{query}") == json.loads(service.cli("report", name, "--format", "json", *options))


def test_what_routing_saved_is_of_what_was_spent(service: Running, finance: str) -> None:
    found = asked(service, finance, "savings")
    assert found["total"]["cost_nano"] == asked(service, finance, "spend?by=")["total"]["cost_nano"]
    assert found["total"]["router_us"] > 0
    assert found["total"]["asked_not_compared_nano"] == found["total"]["cost_nano"]  # everybody asked for `auto`


def test_who_spent_nothing_before_is_new(service: Running, finance: str) -> None:
    (row,) = asked(service, finance, "movers?by=app&period=this-year")["rows"]
    assert (row["app"], row["kind"], row["before_nano"], row["percent"]) == ("demo", "new", 0, None)


@pytest.mark.parametrize(
    ("path", "param", "said"),
    [
        ("spend?by=colour", "by", "cost_center"),
        ("spend?colour=red", "colour", "dimensions"),
        ("spend?where=colour%3Dred", "where", "cost_center"),
        ("spend?owner=", "where", "needs a value"),
        ("spend?period=sometime", "period", "last-month"),
        ("spend?period=2026-10&since=2026-10-01", "period", "not both"),
        ("spend?since=2026-13-01", "since", "2026-10-05"),
        ("spend?since=2026-10-05&until=2026-10-05", "until", "ends before"),
        ("spend?format=xml", "format", "csv"),
        ("spend?by=owner&by=app", "by", "twice"),
        ("requests?limit=0", "limit", "1 to 1000"),
        ("requests?after=here", "after", "next"),
        ("movers?since=2026-10-05T12:00:00Z", "since", "whole days"),
        ("movers?until=2026-10-05", "since", "since"),
        ("anomalies?by=owner,app", "by", "one dimension"),
        ("anomalies?least_usd=much", "least_usd", "dollars"),
        ("savings?by=token_class", "by", "whole requests"),
        ("savings?router_usd_per_hour=-1", "router_usd_per_hour", "nought or more"),
        ("requests/none?limit=3", "limit", "format"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_it_may_be(
    service: Running, finance: str, path: str, param: str, said: str
) -> None:
    answer = api(service, "GET", f"/api/reports/{path}", finance)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_request", param)
    assert said in error["message"]


def test_a_request_that_is_not_there_is_not_found(service: Running, finance: str) -> None:
    answer = api(service, "GET", "/api/reports/requests/none", finance)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_a_command_line_that_cannot_be_read_is_named(service: Running) -> None:
    assert service.cli("report", "spend", "--period", "sometime", check=False) == ""
    assert service.cli("report", "spend", "--where", "colour=red", check=False) == ""
