"""`router ledger` on a data directory and its Redis: what it shows, prices and corrects, and what it refuses in one sentence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from booked_requests import BookedRequests
from click.testing import CliRunner, Result
from sql_records import line, outcome
from sqlalchemy import Engine

from router.cli import cli
from router.clock import utc_now
from router.storage.embedded_redis import EmbeddedRedis
from router.storage.redis_client import RedisClient
from router.storage.sql.engine import open_engine
from router.storage.sql.ledger import spend
from router.storage.sql.migrate import migrate
from routing_rules.load import complete, load

NOW = utc_now()
MODEL = next(one for one in load(complete({}, NOW.date())).deployments.values() if one.price_at(NOW).input)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
    yield server.start()
    server.stop()


@pytest.fixture
def store(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A data directory with one request that used 1,000 tokens without a price, and another 40 of a model nobody knows."""
    monkeypatch.setenv("ROUTER_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ROUTER_REDIS_URL", redis_url)
    engine = open_engine(f"sqlite:///{tmp_path}/router.db")
    migrate(engine)
    used = (
        line(0, quantity=1_000, unit_price=None, deployment=MODEL.id),
        line(0, quantity=40, unit_price=None, deployment="odd-1", attempt=2),
    )
    at = NOW - timedelta(minutes=5)

    async def book() -> None:
        client = RedisClient(redis_url, time_limit=10)
        try:
            await client.call("FLUSHALL")
            world = BookedRequests(client, engine)
            await world.settle(await world.admit("r1", at), outcome("r1", used, at=at))
            await world.drain()
        finally:
            await client.aclose()

    asyncio.run(book())
    yield engine
    engine.dispose()


def drain(url: str, engine: Engine) -> int:
    """Records to SQL; what the owner's month has then."""

    async def work() -> int:
        client = RedisClient(url, time_limit=10)
        try:
            world = BookedRequests(client, engine)
            await world.drain()
            at = NOW - timedelta(minutes=5)
            return await world.spent_by("ana@example.com", at.strftime("%Y-%m"))
        finally:
            await client.aclose()

    return asyncio.run(work())


def run(*words: str, text: str = "") -> Result:
    return CliRunner().invoke(cli, ["ledger", *words], input=text)


def test_what_has_no_price_is_listed_priced_once_and_shown_with_what_it_corrects(store: Engine, redis_url: str) -> None:
    listed = run("unpriced")
    assert f"{MODEL.id}  model of {MODEL.id}  input  1000 tokens in 1 requests" in listed.output, listed.output
    price = MODEL.price_at(NOW).input
    assert price
    cost = -(-1_000 * price // 1_000_000)
    priced = run("price")
    assert priced.exit_code == 0, priced.output
    assert "1 lines of 1 requests now have a price" in priced.output
    assert "no price is known of `model of odd-1` for 40 units: add it to prices.yaml" in priced.output
    assert drain(redis_url, store) == spend(store, ()).total.cost_nano == cost
    assert "0 lines of 0 requests" in run("price").output
    shown = json.loads(run("show", "r1", "--json").output)
    assert [each["corrects"] for each in shown["lines"]] == [None, None, 0, 1, 0, 1]
    assert "about line 0" in run("show", "r1").output


def test_lines_of_an_invoice_replace_what_was_booked(store: Engine, redis_url: str) -> None:
    stated = json.dumps([{"token_class": "input", "quantity": 900, "unit_price": 2_000_000}])
    corrected = run("correct", "r1", "--lines", "-", "--reason", "invoice 4711", text=stated)
    assert (corrected.exit_code, corrected.output) == (0, "r1 costs $0.0000018 more\n")
    assert drain(redis_url, store) == spend(store, ()).total.cost_nano == 1_800
    assert "every use has its price" in run("unpriced").output


@pytest.mark.parametrize(
    ("words", "text", "told"),
    [
        (("correct", "r1", "--lines", "-", "--reason", "x"), "{}", "--lines: Expected `array`"),
        (("correct", "r1", "--lines", "-", "--reason", "x"), '[{"token_class": "input", "quantity": 1, "cost": 2}]', "`cost`"),
        (("correct", "r1", "--lines", "-", "--reason", "x"), '[{"token_class": "input", "quantity": -1}]', "not negative"),
        (("correct", "r1", "--lines", "-", "--reason", " "), '[{"token_class": "input", "quantity": 1}]', "needs a reason"),
        (("correct", "r9", "--lines", "-", "--reason", "x"), '[{"token_class": "input", "quantity": 1}]', "no settled request"),
        (("correct", "r1", "--lines", "-", "--reason", "x"), "[]", "1 to 200 lines"),
        (("price", "--token", "nobody's"), "", "nobody signs in with this token"),
        (("show", "r9"), "", "no request of this id"),
    ],
)
def test_what_cannot_be_done_is_told_and_books_nothing(store: Engine, words: tuple[str, ...], text: str, told: str) -> None:
    refused = run(*words, text=text)
    assert refused.exit_code == 1
    assert told in refused.output, refused.output
    assert spend(store, ()).total.cost_nano == 0
