"""Finance takes the ledger away as files, from the command line and over HTTP, and both are worth what the report says."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import httpx
import openpyxl
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from governing import api, token
from running import Running, running, wait_for
from spent import traffic

from router.api.exports import AT_ONCE
from router.clock import utc_now
from router.exchange import shard_of
from router.money import NANO_PER_USD
from router.storage.sql.engine import open_engine
from router.storage.sql.records import SqlRecords

from sql_records import raw  # isort: skip


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("exports") / "data") as started:
        engine = open_engine(f"sqlite:///{started.data_dir}/router.db")
        SqlRecords(engine).write([(shard_of(one.request_id), raw(one)) for one in traffic(utc_now())][:600])
        engine.dispose()
        yield started


@pytest.fixture(scope="module")
def finance(service: Running) -> str:
    return token(service, "fin@example.org", "finance")


def total(service: Running, *narrowed: str) -> int:
    report = json.loads(service.cli("report", "spend", "--format", "json", *narrowed))
    return int(report["total"]["cost_nano"])


@pytest.mark.parametrize("form", ["csv", "json", "parquet", "xlsx"])
def test_a_file_over_http_is_worth_what_the_report_says(service: Running, finance: str, form: str) -> None:
    answer = api(service, "GET", f"/api/reports/export?format={form}&team=search&team=support", finance)
    assert answer.status_code == 200, answer.text
    narrowed = ("--where", "team=search", "--where", "team=support")
    if form == "csv":
        costs = [int(row["cost_nano"]) for row in csv.DictReader(io.StringIO(answer.text))]
    elif form == "json":
        costs = [json.loads(line)["cost_nano"] for line in answer.text.splitlines()]
    elif form == "parquet":
        costs = pq.read_table(io.BytesIO(answer.content))["cost_nano"].to_pylist()
    else:
        rows = openpyxl.load_workbook(io.BytesIO(answer.content))["Lines"].iter_rows(values_only=True)
        place = next(rows).index("cost_nano")
        costs = [row[place] for row in rows]
    assert sum(costs) == total(service, *narrowed) > 0
    assert answer.headers["cache-control"] == "no-store"
    assert "attachment" in answer.headers["content-disposition"]


def test_focus_comes_in_both_versions_with_the_regions_of_the_rules(service: Running, finance: str) -> None:
    for version, provider in (("1.2", "ProviderName"), ("1.4", "ServiceProviderName")):
        answer = api(service, "GET", f"/api/reports/export?focus={version}&grain=day", finance)
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert sum(Decimal(row["BilledCost"]) for row in rows) * NANO_PER_USD == total(service)
        assert rows[0][provider]
    answer = api(service, "GET", "/api/reports/export?focus=1.4&dataset=BillingPeriod", finance)
    periods = list(csv.DictReader(io.StringIO(answer.text)))
    assert {row["BillingPeriodStatus"] for row in periods} == {"Open"}
    assert len({row["BillingPeriodStart"] for row in periods}) >= 1


@pytest.mark.parametrize(
    ("query", "param"),
    [("format=pdf", None), ("focus=1.2&format=xlsx", None), ("colour=red", "colour"), ("period=yesteryear", "period")],
)
def test_what_cannot_be_exported_is_refused_in_words(service: Running, finance: str, query: str, param: str | None) -> None:
    answer = api(service, "GET", f"/api/reports/export?{query}", finance)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert answer.json()["error"]["param"] == param


def test_the_command_line_writes_a_whole_file_and_says_what_is_in_it(service: Running, tmp_path: Path) -> None:
    path = tmp_path / "spend.parquet"
    done = subprocess.run(
        [sys.executable, "-m", "router", "report", "export", "--format", "parquet", "-o", str(path)],
        env=service.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert sum(pq.read_table(path)["cost_nano"].to_pylist()) == total(service)
    assert hashlib.sha256(path.read_bytes()).hexdigest() in done.stderr
    assert list(tmp_path.iterdir()) == [path]
    assert "cannot be written" in refusal(service, "report", "export", "-o", str(tmp_path / "nowhere" / "file.csv"))
    assert "xlsx" in refusal(service, "report", "export", "--format", "xlsx", "--focus", "1.2")


def refusal(service: Running, *arguments: str) -> str:
    with pytest.raises(AssertionError) as failure:
        service.cli(*arguments)
    return str(failure.value)


def test_exports_that_nobody_reads_are_ended_and_leave_room_for_others(service: Running, finance: str) -> None:
    told = {"authorization": f"Bearer {finance}"}
    address = service.base_url + "/api/reports/export?format=json"
    for _ in range(2 * AT_ONCE):
        with httpx.stream("GET", address, headers=told, timeout=60) as answer:
            assert answer.status_code == 200
            next(answer.iter_raw())
    wait_for(lambda: not children_exporting(service), 20, "the end of exports whose clients have left")
    assert httpx.get(address, headers=told, timeout=60).status_code == 200


def children_exporting(service: Running) -> list[int]:
    """Processes that export from the data of this service."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            where = (process / "environ").read_bytes()
        except OSError:
            continue
        if b"export\0--output=-" in words and os.fsencode(service.data_dir) in where:
            found.append(int(process.name))
    return found
