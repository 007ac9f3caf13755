"""A service delivers what `reports.yaml` says by itself, once, and says what became of it."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from running import running, wait_for
from spent import traffic
from sql_records import raw

from router.clock import utc_now
from router.exchange import shard_of
from router.storage.sql.engine import open_engine
from router.storage.sql.migrate import migrate
from router.storage.sql.records import SqlRecords

RULES = """
deliveries:
  - {{id: yesterday, format: csv, every: day, directory: {to}}}
  - {{id: focus, format: parquet, focus: "1.4", every: month, directory: {to}}}
  - {{id: lost, format: csv, every: day, s3: {{bucket: finance, access_key: env:NOBODY_SET, secret_key: env:NOBODY_SET_EITHER}}}}
"""


def test_reports_are_delivered_once_and_what_fails_shows(tmp_path: Path) -> None:
    to, data = tmp_path / "to", tmp_path / "data"
    to.mkdir()
    data.mkdir()
    engine = open_engine(f"sqlite:///{data}/router.db")
    migrate(engine)
    SqlRecords(engine).write([(shard_of(one.request_id), raw(one)) for one in traffic(utc_now())])
    engine.dispose()
    yesterday = (utc_now() - timedelta(days=1)).date().isoformat()
    with running(data, rules={"reports.yaml": RULES.format(to=to)}) as service:
        wait_for(lambda: len(list(to.rglob("*.manifest.json"))) == 2, 60, "two deliveries")
        wait_for(
            lambda: {each["state"] for each in told(service.cli("report", "deliveries", "--json"))} == {"done", "failed"},
            60,
            "what became of three deliveries",
        )
        kept = {each["delivery"]: each for each in told(service.cli("report", "deliveries", "--json"))}
        assert "NOBODY_SET" in kept["lost"]["error"]
        assert kept["yesterday"]["attempts"] == kept["focus"]["attempts"] == 1
        manifest = json.loads((to / "yesterday" / f"{yesterday}.csv.manifest.json").read_text())
        content = (to / "yesterday" / f"{yesterday}.csv").read_bytes()
        assert hashlib.sha256(content).hexdigest() == manifest["sha256"] == kept["yesterday"]["sha256"]
        spent = json.loads(service.cli("report", "spend", "--period", yesterday, "--format", "json"))["total"]["cost_nano"]
        assert spent == manifest["total_nano_usd"] > 0
        service.cli("report", "deliver", "yesterday")
        assert (to / "yesterday" / f"{yesterday}.csv").read_bytes() == content
        again = {each["delivery"]: each for each in told(service.cli("report", "deliveries", "--json"))}
        assert again["yesterday"]["attempts"] == 2
        assert "yesterday" in service.cli("report", "deliveries")


def told(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)["deliveries"]
    return found
