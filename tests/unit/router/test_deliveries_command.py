"""`router report deliver --due` on a data directory and its Redis: what it delivers, what it puts off, and that each goes by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from router.cli import cli
from router.clock import utc_now
from router.storage import redis_keys as keys
from router.storage.embedded_redis import EmbeddedRedis
from router.storage.redis_client import RedisClient
from router.storage.sql.deliveries import Delivered, SqlDeliveries
from router.storage.sql.engine import open_engine
from router.storage.sql.migrate import migrate
from router.storage.sql.rules import RuleStore
from routing_rules.load import complete

RULES = """
deliveries:
  - {{id: broken, format: csv, every: day, s3: {{bucket: finance}}}}
  - {{id: unreadable, format: csv, every: day, directory: "/x\\0y"}}
  - {{id: whole, format: csv, every: day, directory: {to}}}
"""
YESTERDAY = (utc_now() - timedelta(days=1)).date()


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
    yield server.start()
    server.stop()


def call(url: str, *words: str) -> None:
    async def work() -> None:
        client = RedisClient(url, time_limit=10)
        try:
            await client.call(*words)
        finally:
            await client.aclose()

    asyncio.run(work())


@pytest.fixture
def to(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where reports go, by the rules of a data directory; an empty ledger and an empty Redis."""
    monkeypatch.setenv("ROUTER_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ROUTER_REDIS_URL", redis_url)
    call(redis_url, "FLUSHALL")
    to = tmp_path / "to"
    to.mkdir()
    engine = open_engine(f"sqlite:///{tmp_path}/router.db")
    migrate(engine)
    files = complete({"reports.yaml": RULES.format(to=to)}, YESTERDAY)
    RuleStore(engine).seed("rev-1", files, author="ana", note="first", governance="single", at=utc_now())
    engine.dispose()
    return to


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["report", "deliver", *words])


def kept(to: Path) -> dict[tuple[str, str], Delivered]:
    engine = open_engine(f"sqlite:///{to.parent}/router.db")
    found = {(each.delivery, each.period): each for each in SqlDeliveries(engine).all()}
    engine.dispose()
    return found


def test_deliveries_that_cannot_be_made_do_not_keep_the_others_back(to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    result = run("--due")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    states = {id: each.state for (id, _), each in kept(to).items()}
    assert states == {"broken": "failed", "unreadable": "failed", "whole": "done"}
    assert (to / "whole" / f"{YESTERDAY}.csv").exists()


def test_periods_that_were_missed_are_delivered_with_the_last_one(to: Path) -> None:
    assert run("whole", "--period", f"{YESTERDAY - timedelta(days=3)}").exit_code == 0
    run("--due")
    days = [f"{YESTERDAY - timedelta(days=days)}" for days in (3, 2, 1, 0)]
    assert [period for id, period in sorted(kept(to)) if id == "whole"] == days
    assert run("whole").exit_code == 0
    assert [each.attempts for (id, _), each in sorted(kept(to).items()) if id == "whole"] == [1, 1, 1, 2]


def test_a_report_waits_for_records_that_were_written_before_its_end_and_are_not_in_sql(to: Path, redis_url: str) -> None:
    end = int(datetime(YESTERDAY.year, YESTERDAY.month, YESTERDAY.day, tzinfo=UTC).timestamp() * 1_000) + 86_400_000
    call(redis_url, "XADD", keys.OUTBOXES[3], f"{end - 1}-1", "r", "{}")
    run("--due")
    put_off = kept(to)["whole", f"{YESTERDAY}"]
    assert (put_off.state, "on their way" in (put_off.error or "")) == ("failed", True)
    assert not (to / "whole").exists()
    call(redis_url, "DEL", keys.OUTBOXES[3])
    call(redis_url, "XADD", keys.OUTBOXES[3], f"{end + 60_000}-1", "r", "{}")  # of the next day
    assert run("whole").exit_code == 0
    assert kept(to)["whole", f"{YESTERDAY}"].state == "done"


def test_without_redis_nobody_knows_and_nothing_is_delivered(to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUTER_REDIS_URL", f"unix://{to}/none.sock")
    assert run("whole").exit_code == 1
    assert "cannot be asked" in (kept(to)["whole", f"{YESTERDAY}"].error or "")
