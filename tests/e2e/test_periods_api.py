"""Finance closes months over HTTP and on the command line, two people open one again, and cost centres get their statements."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from governing import admin_key, api, token
from running import Running, running
from sql_records import admitted, line, outcome, raw

from router.storage.sql.engine import open_engine
from router.storage.sql.records import SqlRecords

LAST = (datetime.now(UTC).replace(day=1) - timedelta(days=1)).replace(hour=12)  # noqa: TID251 - the service reads the real clock
MONTH = f"{LAST:%Y-%m}"
NEXT = f"{datetime.now(UTC):%Y-%m}"  # noqa: TID251


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("periods") / "data") as service:
        yield service


@pytest.fixture(scope="module")
def finance(service: Running) -> tuple[str, str]:
    """The tokens of two people, and last month's requests in the ledger."""
    engine = open_engine(f"sqlite:///{service.data_dir}/router.db")
    for number, app in enumerate(("desk", "bench")):
        records = (admitted(f"r{number}", app=app, at=LAST), outcome(f"r{number}", (line(12_345_678),), at=LAST))
        SqlRecords(engine).write([(number, raw(record)) for record in records])
    engine.dispose()
    return token(service, "ann@example.org", "finance"), token(service, "bob@example.org", "finance")


def test_a_month_is_closed_verified_told_in_statements_and_opened_by_two(
    service: Running, finance: tuple[str, str], tmp_path: Path
) -> None:
    ann, bob = finance
    before = api(service, "GET", "/api/reports/periods", ann).json()
    assert (before["data"], before["next"]["month"], before["ended"], before["held_up_by"]) == ([], MONTH, True, [])

    early = api(service, "POST", f"/api/reports/periods/{NEXT}/close", ann)
    assert (early.status_code, early.json()["error"]["code"]) == (409, "month_held_up")
    closed = api(service, "POST", f"/api/reports/periods/{MONTH}/close", ann)
    assert closed.status_code == 200, closed.text
    assert (closed.json()["state"], closed.json()["total_nano"], closed.json()["closed_by"]) == (
        "Closed",
        24_691_356,
        "ann@example.org",
    )
    assert json.loads(service.cli("report", "verify", "--json")) == {"intact": True, "months": 1, "faults": []}
    assert api(service, "GET", "/api/reports/verify", ann).json() == {"intact": True, "faults": []}

    centers = api(service, "GET", f"/api/reports/statements?month={MONTH}", ann).json()["data"]
    assert {each["name"] for each in centers} == {"cc-desk", "cc-bench"}
    for form, begins in (("html", b"<!doctype html>"), ("csv", b"cost_center,"), ("xlsx", b"PK"), ("json", b"{")):
        answer = api(service, "GET", f"/api/reports/statements/cc-desk?month={MONTH}&format={form}", ann)
        assert answer.status_code == 200
        assert answer.content.startswith(begins)
    assert closed.json()["digest"] in service.cli("report", "statement", "cc-desk", "--month", MONTH)
    told = service.cli("report", "statements", str(tmp_path), "--month", MONTH, "--format", "csv")
    assert "2 cost centres" in told
    assert {each.suffix for each in tmp_path.iterdir()} == {".csv"}
    assert len(list(tmp_path.iterdir())) == 2

    alone = api(service, "POST", f"/api/reports/periods/{MONTH}/reopen", admin_key(service))
    assert (alone.status_code, alone.json()["error"]["code"]) == (403, "role_required")
    assert api(service, "POST", f"/api/reports/periods/{MONTH}/reopen", ann).json()["asked_by"] == "ann@example.org"
    again = api(service, "POST", f"/api/reports/periods/{MONTH}/reopen", ann)
    assert (again.status_code, again.json()["error"]["code"]) == (403, "role_required")
    assert "is open again" in service.cli("report", "reopen", MONTH, "--token", bob)
    assert f"closed {MONTH}, version 2" in service.cli("report", "close", MONTH)
    acts = api(service, "GET", f"/api/reports/periods/{MONTH}", ann).json()["versions"]
    assert [each["act"] for each in acts] == ["closed", "reopen asked", "reopened", "closed"]
    assert acts[0]["document"] == acts[3]["document"]
    assert f"{MONTH}  Closed  version 2" in service.cli("report", "periods")


@pytest.mark.parametrize(
    "path", ["/api/reports/periods/2026-1/close", "/api/reports/periods/x/reopen", "/api/reports/periods/2026-13/close"]
)
def test_what_is_no_month_is_refused(service: Running, finance: tuple[str, str], path: str) -> None:
    answer = api(service, "POST", path, finance[0])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
