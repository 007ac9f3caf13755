"""A delivery is done once over all replicas, again where it failed or its process died, and nobody claims what another is at."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from router.storage.sql.deliveries import CLAIMED, FIRST_PAUSE, SqlDeliveries

NOW = datetime(2026, 4, 1, 6, tzinfo=UTC)
WANTED = [("month", "2026-03"), ("days", "2026-03-31")]


def test_of_many_that_claim_at_once_one_delivers(store: Engine) -> None:
    with ThreadPoolExecutor(6) as pool:
        claims = list(pool.map(lambda _: SqlDeliveries(store).claim("month", "2026-03", NOW), range(6)))
    assert claims.count(True) == 1
    assert SqlDeliveries(store).waiting(WANTED, NOW) == [("days", "2026-03-31")]


def test_what_was_delivered_is_not_delivered_again_unless_somebody_asks(store: Engine) -> None:
    records = SqlDeliveries(store)
    assert records.claim("month", "2026-03", NOW)
    assert not records.claim("month", "2026-03", NOW, again=True)  # somebody is at it
    records.done("month", "2026-03", NOW, 12, 345, "a" * 64)
    later = NOW + timedelta(days=9)
    assert records.waiting(WANTED[:1], later) == []
    assert not records.claim("month", "2026-03", later)
    assert records.claim("month", "2026-03", later, again=True)
    records.done("month", "2026-03", later, 13, 346, "b" * 64)
    (kept,) = records.all()
    assert (kept.state, kept.attempts, kept.rows, kept.total_nano, kept.sha256) == ("done", 2, 13, 346, "b" * 64)


def test_what_failed_is_tried_again_after_a_pause_that_grows_and_says_why(store: Engine) -> None:
    records = SqlDeliveries(store)
    now = NOW
    for attempt in range(1, 4):
        assert records.claim("month", "2026-03", now)
        records.failed("month", "2026-03", now, "the store does not take it: NoSuchBucket")
        pause = FIRST_PAUSE * 2 ** (attempt - 1)
        assert records.waiting(WANTED[:1], now + pause - timedelta(seconds=1)) == []
        now += pause
        assert records.waiting(WANTED[:1], now) == WANTED[:1]
    (kept,) = records.all()
    assert (kept.state, kept.attempts, kept.error) == ("failed", 3, "the store does not take it: NoSuchBucket")


def test_what_a_dead_process_had_claimed_is_claimed_by_another(store: Engine) -> None:
    records = SqlDeliveries(store)
    assert records.claim("month", "2026-03", NOW)
    assert not records.claim("month", "2026-03", NOW + CLAIMED - timedelta(seconds=1))
    assert records.claim("month", "2026-03", NOW + CLAIMED)
