"""Two months of made-up traffic of four teams, written as the drainer writes it; the team `search` overspends in the last one."""

from __future__ import annotations

import calendar
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sql_records import admitted, line, outcome, raw
from sqlalchemy import Engine

from router.exchange import Admitted, Outcome
from router.storage.sql.records import SqlRecords
from router.usage import Basis
from routing_rules.facts import Labels
from routing_rules.vocabulary import Sensitivity, TaskKind

TEAMS = (("search", "sam@example.org", "cc-410", "finder", 9), ("support", "sue@example.org", "cc-420", "desk", 6), ("finance", "fay@example.org", "cc-430", "ledger", 3), ("unknown", "unknown", "unknown", "trial", 1))  # fmt: skip
"""Name, owner, cost centre, app, requests on an ordinary day."""

OVERSPENDING, OVERSPENT = "search", 3
"""Who spends so many times as much, in which month."""

TIERS = (("fast", "fast-1", 150_000_000, 600_000_000), ("reasoning", "slow-2", 2_500_000_000, 10_000_000_000))
LEVELS = (Sensitivity.PUBLIC, Sensitivity.INTERNAL, Sensitivity.INTERNAL, Sensitivity.CONFIDENTIAL, Sensitivity.RESTRICTED)


def month_before(at: datetime, months: int = 1) -> datetime:
    """The beginning of a month before that of a moment (UTC)."""
    first = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for _ in range(months):
        first = (first - timedelta(days=1)).replace(day=1)
    return first


def traffic(now: datetime) -> Iterator[Admitted | Outcome]:
    """Three months: the one before last, the last one, and this one until now."""
    chance = random.Random(6)
    number = 0
    for months in (2, 1, 0):
        first = month_before(now, months)
        for day in range(calendar.monthrange(first.year, first.month)[1]):
            for team, owner, cost_center, app, usual in TEAMS:
                many = usual * (OVERSPENT if team == OVERSPENDING and months == 1 and day >= 9 else 1)
                for _ in range(chance.randint(many // 2, many)):
                    at = first + timedelta(days=day, seconds=chance.randint(0, 86_000))
                    if at + timedelta(seconds=5) < now:
                        number += 1
                        yield from _request(chance, f"req_spent{number:05}", at, team, owner, cost_center, app)


def _request(chance: random.Random, name: str, at: datetime, team: str, owner: str, cost_center: str, app: str) -> Iterator[Any]:
    tier, deployment, price_in, price_out = TIERS[chance.random() < 0.3]
    record = admitted(name, app=app, owner=owner, task=chance.choice(list(TaskKind)), session=f"s_{app}-{chance.randint(1, 40)}", at=at)  # fmt: skip
    replace = msgspec.structs.replace
    caller = replace(record.facts.caller, team=team, cost_center=cost_center)
    facts = replace(record.facts, caller=caller, labels=Labels(confidentiality=chance.choice(LEVELS)))
    rule = "work-of-many-steps" if tier == "reasoning" else "ordinary-work"
    yield replace(record, facts=facts, decision=replace(record.decision, tier=tier, rule=rule), deployment=deployment)
    taken, given = chance.randint(2_000, 60_000), chance.randint(100, 9_000)
    lines = [
        line(-(-taken * price_in // 10**6), quantity=taken, deployment=deployment, unit_price=price_in),
        line(-(-given * price_out // 10**6), token_class="output", quantity=given, deployment=deployment, unit_price=price_out),
    ]
    if chance.random() < 0.02:
        lines = [line(0, quantity=taken, deployment="new-3", unit_price=None)]
    basis = Basis.ESTIMATED if chance.random() < 0.05 else Basis.REPORTED
    lines = [replace(each, basis=basis) for each in lines]
    yield outcome(name, tuple(lines), deployment=lines[0].deployment, basis=basis, at=at + timedelta(seconds=4))


def spent(engine: Engine, now: datetime) -> int:
    """Write it all; how many records."""
    records = [(1, raw(record)) for record in traffic(now)]
    store = SqlRecords(engine)
    for first in range(0, len(records), 500):
        store.write(records[first : first + 500])
    return len(records)
