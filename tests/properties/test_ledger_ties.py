"""Whatever requests do, and whenever months are closed: reports, sums, lines and balances come to the same nano-dollar."""

from __future__ import annotations

import asyncio
import shutil
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from booked_requests import BookedRequests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_ledger import BEGIN, DIMENSIONS, Traffic, Truth, traffic
from sqlalchemy import Engine, func, select

from router.errors import Refused
from router.exchange import HoldRequest, Reservation, shard_of
from router.governance.corrections import BOOKED
from router.governance.months import CLOSED, Actor, close
from router.reports.spend import DIMENSIONS as REPORTED
from router.storage.embedded_redis import EmbeddedRedis
from router.storage.redis_budget import REAPED_MARK_SECONDS
from router.storage.redis_budget import close as close_reservation
from router.storage.redis_client import RedisClient
from router.storage.redis_keys import month
from router.storage.sql import rollups
from router.storage.sql.engine import open_engine, writing
from router.storage.sql.ledger import spend
from router.storage.sql.migrate import migrate
from router.storage.sql.months import SqlMonths
from router.storage.sql.tables import ledger_lines, spend_days
from routing_rules.facts import Labels

GHOST = "ghost@example.com"
"""Who pays for a request whose intent was lost: the worker knew it, the ledger does not."""

FROM_THE_LINES = datetime(1990, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
"""Not the beginning of a day anywhere: a report from here on is read from the lines themselves."""


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
    yield server.start()
    server.stop()


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To copy: migrating takes longer than all the rest."""
    path = tmp_path_factory.mktemp("store") / "empty.db"
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()
    return path


class Played:
    """Traffic as it meets the service: in any order between requests, with months that are closed meanwhile."""

    def __init__(self, client: RedisClient, engine: Engine, random: Random) -> None:
        self.world = BookedRequests(client, engine)
        self.truth = Truth()
        self.random = random
        self.sessions: set[tuple[str, str]] = set()
        self.owners: set[tuple[str, str]] = set()
        self.closed: dict[str, int] = {}

    async def play(self, requests: list[Traffic]) -> None:
        late: list[tuple[Traffic, Reservation]] = []
        for one in requests:
            reservation = await self.admitted(one)
            self.truth.add(one)
            if one.outcomes:
                await self.first(one, reservation)
            if len(one.outcomes) > 1:
                late.append((one, reservation))
            if late and self.random.random() < 0.5:
                await self.second(*late.pop(self.random.randrange(len(late))))
            if self.random.random() < 0.3:
                await self.world.drain(self.random.randrange(1, 9))
            if self.random.random() < 0.1:
                await self.close_a_month(one.records[0].at)
        for each in late:
            await self.second(*each)
        await self.world.drain()

    async def admitted(self, one: Traffic) -> Reservation:
        intent = one.intent
        if intent is None:
            at, request = one.outcomes[0].at, one.outcomes[0].request_id
            self.sessions.add(("stray", request))
            self.owners.add((GHOST, month(at.timestamp())))
            return Reservation(request, request, shard_of(request), GHOST, 0, 0, None, "stray", month(at.timestamp()))
        caller = intent.facts.caller
        self.sessions.add((caller.app, intent.session))
        self.owners.add((caller.owner, month(intent.at.timestamp())))
        unlimited: dict[str, Any] = {name: None for name in HoldRequest.__struct_fields__ if name.startswith("budget_")}
        hold = HoldRequest(
            **unlimited,
            request_id=intent.request_id,
            session_id=intent.session,
            shard=shard_of(intent.session),
            app=caller.app,
            owner=caller.owner,
            worker="worker-1",
            now=intent.at.timestamp(),
            expires=(intent.at + timedelta(minutes=2)).timestamp(),
            label_version=0,
            labels=Labels(),
            fixed_nano=intent.held_nano,
            output_nano=0,
            output_tokens=intent.output_tokens,
            min_output_tokens=0,
            input_tokens=0,
            owner_hard_nano=None,
            new_session_limit=None,
            session_is_new=False,
        )
        return await self.world.budgets.reserve(hold, intent)

    async def first(self, one: Traffic, reservation: Reservation) -> None:
        outcome = one.outcomes[0]
        if outcome.outcome == "reaped":
            tokens = (0, 0, 0)
            await close_reservation(self.world.client, "reap", reservation, outcome, tokens, REAPED_MARK_SECONDS)
        else:
            await self.world.settle(reservation, outcome)

    async def second(self, one: Traffic, reservation: Reservation) -> None:
        outcome = one.outcomes[1]
        if one.outcomes[0].outcome == "reaped":  # its worker was only slow
            await self.world.settle(reservation, msgspec.structs.replace(outcome, correction=False))
            return
        await self.world.drain()
        booked = self.world.ledger.booked(outcome.request_id)
        assert booked is not None
        assert await self.world.books.correct(booked, outcome, reservation.month) == BOOKED

    async def close_a_month(self, now: datetime) -> None:
        await self.world.drain()
        months = SqlMonths(self.world.engine)
        due = months.standing(now).next
        if due is None:
            return
        try:
            done = close(months, due.month, actor=Actor("root"), at=now, governance="single", undrained=())
        except Refused:
            return  # not over yet, or something in it is not settled
        assert done.total_nano is not None
        self.closed[done.month] = done.total_nano

    async def balances(self) -> tuple[int, int]:
        """What sessions and what owners have settled in all."""
        budgets = self.world.budgets
        sessions = [(await budgets.session_balance(app, session))[0] for app, session in self.sessions]
        owners = [(await budgets.owner_balance(owner, period))[0] for owner, period in self.owners]
        return sum(sessions), sum(owners)


async def played(url: str, engine: Engine, random: Random, requests: list[Traffic]) -> tuple[Played, tuple[int, int]]:
    client = RedisClient(url, time_limit=20)
    try:
        await client.call("FLUSHALL")
        run = Played(client, engine, random)
        await run.play(requests)
        return run, await run.balances()
    finally:
        await client.aclose()


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 40),
    days=st.sampled_from([1, 40, 91]),
    begin=st.sampled_from([BEGIN, datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 10, 20, tzinfo=UTC)]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Pacific/Apia"]),
)
def test_every_sum_of_the_same_requests_is_the_same(
    redis_url: str, empty_store: Path, tmp_path: Path, seed: int, count: int, days: int, begin: datetime, zone: str
) -> None:
    path = tmp_path / f"{uuid4().hex}.db"
    shutil.copy(empty_store, path)
    engine = open_engine(f"sqlite:///{path}")
    try:
        rollups.ensure(engine, zone)
        requests = list(traffic(seed, count, begin=begin, days=days))
        run, (sessions, owners) = asyncio.run(played(redis_url, engine, Random(seed), requests))
        truth = run.truth
        total = spend(engine, ()).total
        assert (total.cost_nano, sessions, owners) == (truth.cost_nano,) * 3
        assert (total.requests, total.open_requests) == (truth.requests, truth.open_requests)
        with engine.connect() as connection:
            for table in (ledger_lines, spend_days):
                assert (connection.scalar(select(func.sum(table.c.cost_nano))) or 0) == truth.cost_nano
        for name in REPORTED:
            assert_dimension(engine, name, truth)
        frozen = {row.group[0]: row.figures.cost_nano for row in spend(engine, ("month",)).rows}
        assert {name: frozen.get(name, 0) for name in run.closed} == run.closed
        kept = spend(engine, ("day", "owner", "deployment", "token_class"))
        with writing(engine) as connection:
            rollups.rebuild(connection, zone)
        assert spend(engine, ("day", "owner", "deployment", "token_class")) == kept
        assert all(period.state == CLOSED for period in SqlMonths(engine).all())
    finally:
        engine.dispose()


def assert_dimension(engine: Engine, name: str, truth: Truth) -> None:
    """A report by one dimension adds up, is the same from the sums and from the lines, and is what was generated."""
    report, from_lines = spend(engine, (name,)), spend(engine, (name,), FROM_THE_LINES)
    assert report.total.cost_nano == truth.cost_nano
    assert report.rows == from_lines.rows
    if name in DIMENSIONS:
        told: dict[str, Any] = defaultdict(int)
        for row in report.rows:
            told[row.group[0]] += row.figures.cost_nano
        assert {each: cost for each, cost in told.items() if cost} == {
            each: cost for each, cost in truth.by[name].items() if cost
        }
