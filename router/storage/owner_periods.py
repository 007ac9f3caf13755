"""Keeps what Redis says owners have spent true to the ledger: a limit that is new begins with what was spent before it."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import Engine

from router import telemetry
from router.storage.redis_announce import RedisAnnouncements
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient
from router.storage.sql.owner_spend import spent_between
from router.storage.sql.rules import RuleStore
from routing_rules.calendars import Per, Period, following
from routing_rules.faults import RuleFaults
from routing_rules.load import load
from routing_rules.rules import RuleSet

LOOK_SECONDS = 0.5
AGAIN_SECONDS = 60.0
"""When a period is added up once more: what was under way as its limit came into force was not held under it."""

STEADY = 1 / 720
"""After which share of a period it is compared with the ledger again, in which corrections may have come: a month after an hour."""

AHEAD = timedelta(days=1)
"""How long before a period begins its balance is there, so that its first request finds it."""


class OwnerPeriods:
    """Call `keep` only while every settlement that is booked in Redis is in SQL too. Only one process does so: the leading drainer."""

    def __init__(self, engine: Engine, client: RedisClient) -> None:
        self._engine = engine
        self._budgets = RedisBudgets(client)
        self._announcements = RedisAnnouncements(client)
        self._rules: tuple[RuleSet, ...] = ()
        self._seen = -1
        self._next_look = 0.0
        self._due: dict[tuple[str, str], float] = {}

    async def keep(self, now: datetime) -> int:
        """Add up what is due; how many balances that were. Raises RouterError (Redis) or SQLAlchemyError; it is then due still."""
        moment = time.monotonic()
        if moment < self._next_look:
            return 0
        self._next_look = moment + LOOK_SECONDS
        version = (await self._announcements.look()).version
        changed = version != self._seen  # Redis may have lost its balances, too
        if changed:
            self._rules = await asyncio.to_thread(self._read)
            self._seen = version
        wanted = dict(self._wanted(now))
        self._due = {key: at for key, at in self._due.items() if key in wanted}
        unsure = [key for key in wanted if changed or key not in self._due]
        for key, counted in zip(unsure, await self._budgets.counted(unsure), strict=True):
            self._due[key] = self._due.get(key, moment + _steady(*wanted[key])) if counted else 0.0
        due: dict[tuple[datetime, datetime], list[tuple[str, str]]] = defaultdict(list)
        for key, at in self._due.items():
            if at <= moment:
                due[wanted[key]].append(key)
        for (begins, ends), keys in due.items():
            known = await self._budgets.counted(keys)
            booked = [(await self._budgets.owner_balance(*key))[0] for key in keys]
            spent = await asyncio.to_thread(spent_between, self._engine, begins, ends)
            for (owner, period), counted, before in zip(keys, known, booked, strict=True):
                await self._budgets.correct_owner_spent(owner, period, before, spent.get(owner, 0))
                self._due[owner, period] = moment + (_steady(begins, ends) if counted else AGAIN_SECONDS)
        return sum(map(len, due.values()))

    def _read(self) -> tuple[RuleSet, ...]:
        """The rules in force, and those that are tried beside them."""
        store = RuleStore(self._engine)
        current, tried = store.current(), store.tried()
        revisions = [each for each in (current, None if tried is None else tried[1]) if each is not None]
        found = []
        for revision in revisions:
            try:
                found.append(load(revision.files))
            except RuleFaults:
                telemetry.logger().error("owner_periods_without_rules", number=revision.number)
        return tuple(found)

    def _wanted(self, now: datetime) -> Iterator[tuple[tuple[str, str], tuple[datetime, datetime]]]:
        """Each owner and period with a budget, with when the period begins and ends: what runs, and what soon will."""
        for rules in self._rules:
            for owner in {*rules.owner_budgets, *(app.owner for app in rules.apps.values())}:
                for per in {Per.MONTH, *(budget.per for budget in rules.budgets_of(owner))}:
                    for period in _soon(rules, per, now):
                        yield (owner, period.id), period.moments(rules.time_zone)


def _soon(rules: RuleSet, per: Per, now: datetime) -> Iterator[Period]:
    """The period that runs, and the next one where it is about to begin."""
    running = rules.period(per, now)
    yield running
    if running.moments(rules.time_zone)[1] - now < AHEAD:
        yield following(running, rules.fiscal_year)


def _steady(begins: datetime, ends: datetime) -> float:
    """After how many seconds a period is compared with the ledger again."""
    return (ends - begins).total_seconds() * STEADY
