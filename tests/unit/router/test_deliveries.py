"""What is due when, what `reports.yaml` may say, and that a file gets whole to a directory and to an S3-compatible store, or says why not."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import boto3  # type: ignore[import-untyped]
import pytest
from moto.server import ThreadedMotoServer

from router.reports.deliveries import MANIFEST, NotDelivered, deliver, destination, due, file_name, manifest_of
from router.reports.exports.write import Written
from routing_rules.deliveries import Bucket, Delivery
from routing_rules.diff import diff
from routing_rules.faults import RuleFaults
from routing_rules.load import complete, load
from routing_rules.read_deliveries import deliveries_of

NEW_YORK = ZoneInfo("America/New_York")
ENVIRONMENT = {"EXPORT_KEY": "key", "EXPORT_SECRET": "secret"}
YAML = """
deliveries:
  - id: month-focus
    format: parquet
    focus: "1.2"
    grain: day
    every: month
    hour: 6
    where: [team=search]
    s3: {bucket: finance, prefix: /exports/, endpoint: "http://127.0.0.1:9", access_key: env:EXPORT_KEY, secret_key: env:EXPORT_SECRET}
  - {id: days, format: csv, every: day, directory: /srv/finance}
"""


def delivery(**changes: Any) -> Delivery:
    return Delivery(**{"id": "d", "format": "csv", "every": "day", "hour": 6, "directory": "/nowhere", **changes})


@pytest.mark.parametrize(
    ("every", "local", "expected"),
    [
        ("day", "2026-03-10T06:00", "2026-03-09"),
        ("day", "2026-03-10T05:59", "2026-03-08"),
        ("day", "2026-03-08T06:00", "2026-03-07"),  # clocks went forward that night
        ("day", "2028-03-01T07:00", "2028-02-29"),
        ("week", "2026-03-09T06:00", "2026-W10"),
        ("week", "2026-03-09T05:00", "2026-W09"),
        ("week", "2027-01-04T06:00", "2026-W53"),
        ("month", "2026-03-01T06:00", "2026-02"),
        ("month", "2026-03-01T05:00", "2026-01"),
        ("month", "2026-01-31T23:00", "2025-12"),
    ],
)
def test_the_last_period_is_due_from_its_hour_on(every: str, local: str, expected: str) -> None:
    now = datetime.fromisoformat(local).replace(tzinfo=NEW_YORK).astimezone(UTC)
    (one,) = due([delivery(every=every)], now, NEW_YORK)
    assert one.period.name == expected
    assert one.period.until <= now
    assert file_name(one) == f"d/{expected}.csv"


def test_at_midnight_records_of_the_day_have_a_minute_to_be_written() -> None:
    for second, expected in ((59, "2026-11-18"), (60, "2026-11-19")):
        now = datetime(2026, 11, 20, tzinfo=UTC) + timedelta(seconds=second)
        assert [each.period.name for each in due([delivery(hour=0)], now, ZoneInfo("UTC"))] == [expected]


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, ["19"]),  # a new one does not begin with the past
        ({"19": True}, ["19"]),
        ({"15": True}, ["16", "17", "18", "19"]),
        ({"12": True, "13": False, "14": True, "17": True, "18": False}, ["13", "18", "19"]),
        ({"16": False, "18": False}, ["16", "17", "18", "19"]),
    ],
)
def test_what_an_outage_has_missed_is_due_beside_the_last_period(known: dict[str, bool], expected: list[str]) -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    tried = {("d", f"2026-11-{day}"): done for day, done in known.items()}
    found = due([delivery()], now, ZoneInfo("UTC"), tried)
    assert [each.period.name for each in found] == [f"2026-11-{day}" for day in expected]


@pytest.mark.parametrize(
    ("every", "first", "expected"), [("week", "2026-W43", 3), ("month", "2026-07", 3), ("month", "2011-01", 1)]
)
def test_missed_weeks_and_months_are_due_as_well_up_to_a_bound(every: str, first: str, expected: int) -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert len(due([delivery(every=every)], now, ZoneInfo("UTC"), {("d", first): True})) == expected


def files(text: str) -> dict[str, str]:
    return complete({"reports.yaml": text}, date(2026, 11, 23))


def test_a_rule_file_says_what_is_delivered() -> None:
    month, days = deliveries_of(load(files(YAML)).files)
    assert month.bucket == Bucket("finance", "exports", "http://127.0.0.1:9", "", "EXPORT_KEY", "EXPORT_SECRET")
    assert (month.focus, month.grain, month.hour, month.where) == ("1.2", "day", 6, ("team=search",))
    assert (days.directory, days.bucket, days.hour) == ("/srv/finance", None, 0)
    assert deliveries_of(load(complete({}, date(2026, 11, 23))).files) == ()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{id: a, format: pdf, every: day, directory: /x}", "format"),
        ("{id: a, format: csv, every: hour, directory: /x}", "every"),
        ("{id: a, format: csv, every: day, hour: 24, directory: /x}", "hour"),
        ("{id: a, format: csv, every: day}", "directory"),
        ("{id: a, format: csv, every: day, directory: x}", "absolute"),
        ("{id: a, format: xlsx, focus: '1.2', every: day, directory: /x}", "FOCUS"),
        ("{id: a, format: csv, grain: day, every: day, directory: /x}", "FOCUS"),
        ("{id: a, format: csv, every: day, directory: /x, colour: red}", "colour"),
        ("{id: a, format: csv, every: day, s3: {bucket: finance, access_key: AKIA123, secret_key: env:S}}", "environment"),
        ("{id: a, format: csv, every: day, s3: {bucket: finance, access_key: env:A}}", "together"),
        ("{id: a, format: csv, every: day, s3: {bucket: finance, endpoint: 'file:///etc'}}", "endpoint"),
    ],
)
def test_what_cannot_be_delivered_is_a_fault_with_its_place(line: str, said: str) -> None:
    with pytest.raises(RuleFaults) as faults:
        load(files(f"deliveries:\n  - {line}\n"))
    assert said in str(faults.value)
    assert "reports.yaml" in str(faults.value)
    assert "AKIA123" not in str(faults.value)


def something(tmp_path: Path, text: str) -> tuple[Path, Written]:
    path = tmp_path / "file"
    path.write_text(text)
    return path, Written(3, 1_500_000_001, len(text), hashlib.sha256(text.encode()).hexdigest())


def delivered(tmp_path: Path, wanted: Delivery, text: str) -> str:
    """Deliver a text; its name."""
    now = datetime(2026, 3, 10, 12, tzinfo=UTC)
    (one,) = due([wanted], now, NEW_YORK)
    path, written = something(tmp_path, text)
    deliver(destination(wanted, ENVIRONMENT), file_name(one), path, manifest_of(one, written, now))
    return file_name(one)


def test_a_directory_gets_the_file_and_a_manifest_and_the_same_again_replaces_them(tmp_path: Path) -> None:
    to = tmp_path / "to"
    to.mkdir()
    for text in ("first", "second"):
        name = delivered(tmp_path, delivery(directory=str(to)), text)
        assert (to / name).read_text() == text
        manifest = json.loads((to / (name + MANIFEST)).read_text())
        assert manifest["sha256"] == hashlib.sha256(text.encode()).hexdigest()
        assert (manifest["rows"], manifest["total_nano_usd"], manifest["total_usd"]) == (3, 1_500_000_001, "1.500000001")
        assert manifest["since"] == "2026-03-09T04:00:00Z"
    assert sorted(path.name for path in (to / "d").iterdir()) == ["2026-03-09.csv", "2026-03-09.csv" + MANIFEST]


def test_others_may_read_a_delivered_file_as_the_mode_of_new_files_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        name = delivered(tmp_path, delivery(directory=str(tmp_path)), "text")
    finally:
        os.umask(before)
    assert {(tmp_path / each).stat().st_mode & 0o777 for each in (name, name + MANIFEST)} == {0o640}


@pytest.fixture
def s3() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def client(endpoint: str) -> Any:
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )


def test_a_store_gets_the_file_and_a_manifest_and_the_same_again_replaces_them(tmp_path: Path, s3: str) -> None:
    client(s3).create_bucket(Bucket="finance")
    wanted = delivery(directory="", bucket=Bucket("finance", "exports", s3, "", "EXPORT_KEY", "EXPORT_SECRET"))
    for text in ("first", "second"):
        name = delivered(tmp_path, wanted, text)
        assert client(s3).get_object(Bucket="finance", Key=f"exports/{name}")["Body"].read() == text.encode()
    kept = [each["Key"] for each in client(s3).list_objects_v2(Bucket="finance")["Contents"]]
    assert kept == ["exports/d/2026-03-09.csv", "exports/d/2026-03-09.csv" + MANIFEST]
    manifest = json.loads(client(s3).get_object(Bucket="finance", Key=kept[1])["Body"].read())
    assert manifest["file"] == "2026-03-09.csv"


def test_why_a_store_does_not_take_a_file_is_said_without_a_secret(tmp_path: Path, s3: str) -> None:
    bucket = Bucket("missing", "", s3, "", "EXPORT_KEY", "EXPORT_SECRET")
    with pytest.raises(NotDelivered, match="does not take it") as failure:
        delivered(tmp_path, delivery(directory="", bucket=bucket), "text")
    assert "secret" not in str(failure.value)
    with pytest.raises(NotDelivered, match="EXPORT_KEY"):
        destination(delivery(directory="", bucket=bucket), {})


def test_a_store_that_is_described_wrongly_is_said_without_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotDelivered, match="ValueError") as failure:
        destination(delivery(directory="", bucket=Bucket("finance", endpoint="not a url")), {})
    assert "not a url" not in str(failure.value)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(NotDelivered, match="ProfileNotFound"):
        destination(delivery(directory="", bucket=Bucket("finance")), {})


def test_why_a_directory_does_not_take_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(NotDelivered, match="cannot be written"):
        delivered(tmp_path, delivery(directory=str(tmp_path / "taken")), "text")


def test_whoever_sends_reports_elsewhere_widens_the_rules() -> None:
    today = date(2026, 11, 23)
    none, some = load(complete({}, today)), load(files(YAML))
    elsewhere = load(files(YAML.replace("bucket: finance", "bucket: other")))
    more = load(files(YAML.replace("[team=search]", "[team=search, team=support]")))
    assert [widening.subject for widening in diff(none, some, today).widenings] == ["month-focus", "days"]
    (moved,) = diff(some, elsewhere, today).widenings
    assert (moved.kind, moved.subject) == ("destination", "month-focus")
    assert "bucket `other`" in moved.message
    assert "bucket `finance`" in moved.message
    assert [widening.subject for widening in diff(some, more, today).widenings] == ["month-focus"]
    assert diff(some, none, today).widenings == ()
