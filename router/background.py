"""The process beside the workers: moves records from Redis to SQL, settles what dead workers left, keeps the history of approvals,
signs audit checkpoints."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from importlib import import_module
from itertools import count
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from router import telemetry
from router.clock import utc_now
from router.errors import RouterError
from router.handshake import say_ready
from router.secret_key import read_secret
from router.settings import Settings
from router.storage.approval_history import keep_history
from router.storage.audit_chain import Checkpoints
from router.storage.drainer import Drainer
from router.storage.notifier import Notifier
from router.storage.owner_periods import OwnerPeriods
from router.storage.reaper import reap
from router.storage.redis_approvals import RedisApprovals
from router.storage.redis_client import RedisClient
from router.storage.redis_outbox import RedisOutbox
from router.storage.sql import rollups
from router.storage.sql.approvals import SqlApprovals
from router.storage.sql.engine import open_engine
from router.storage.sql.finance import report_zone
from router.storage.sql.rules import RuleStore
from routing_rules.faults import RuleFaults
from routing_rules.read_deliveries import REPORTS, deliveries_of
from routing_rules.report_zone import time_zone_of

REAP_SECONDS = 1.0
HISTORY_SECONDS = 0.5
TELL_SECONDS = 1.0
ZONE_SECONDS = 10.0
DELIVERY_SECONDS = 5.0
ROUNDS_TO_CLOSE = 600
"""After so many rounds it is looked for approvals that Redis has lost."""

COLLECTOR = (50_000, 20, 100)
"""A batch holds tens of thousands of small values that all live until it is committed: looking for garbage among them is in vain."""


async def run_background(settings: Settings) -> None:
    """Run until SIGTERM; then drain what is there and sign a last checkpoint."""
    if settings.redis_url is None:
        raise RuntimeError("the drainer needs ROUTER_REDIS_URL; `router serve` sets it")
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    url = settings.redis_url.get_secret_value()
    outbox_client = RedisClient(url, cluster=settings.redis_cluster, time_limit=10.0)
    reaper_client = RedisClient(url, cluster=settings.redis_cluster, time_limit=10.0)
    engine = open_engine(settings.sql_url)
    drainer = Drainer(
        RedisOutbox(outbox_client),
        engine,
        Checkpoints(settings.data_dir / "audit"),
        drainer_id=os.environ.get("ROUTER_WORKER_ID"),
        checkpoint_seconds=settings.checkpoint_seconds,
        between=OwnerPeriods(engine, outbox_client).keep,
    )
    gc.freeze()
    gc.set_threshold(*COLLECTOR)
    say_ready()
    approvals = RedisApprovals(reaper_client, read_secret(settings))
    beside = [
        asyncio.create_task(_keep_reaping(reaper_client)),
        asyncio.create_task(_keep_history(approvals, SqlApprovals(engine))),
        asyncio.create_task(_add_up(engine)),
        asyncio.create_task(_keep_delivering(engine)),
        asyncio.create_task(_keep_telling(Notifier(engine, reaper_client, settings))),
    ]
    try:
        await drainer.run(stop)
    finally:
        for task in beside:
            task.cancel()
        await outbox_client.aclose()
        await reaper_client.aclose()
        engine.dispose()


async def _keep_reaping(client: RedisClient) -> None:
    while True:
        await asyncio.sleep(REAP_SECONDS)
        with contextlib.suppress(RouterError):
            settled = await reap(client, utc_now())
            if settled:
                telemetry.logger().warning("reaped", requests=settled)


async def _add_up(engine: Engine) -> None:
    """Have the ledger added up by the days of the time zone that the rules in force name: where an earlier version wrote it, and
    whenever they name another one."""
    added_for: str | None = None
    while True:
        with contextlib.suppress(SQLAlchemyError):
            added_for = await asyncio.to_thread(add_up, engine, added_for)
        await asyncio.sleep(REAP_SECONDS if added_for is None else ZONE_SECONDS)


def add_up(engine: Engine, added_for: str | None) -> str:
    """Have the ledger added up by days as the revision in force says, unless it is the one for which that was done; which one it is.

    Reports read what was added up before until all of it is there anew. An empty rule store counts in UTC. SQL down:
    sqlalchemy.exc.DBAPIError.
    """
    revision = RuleStore(engine).current()
    if revision is not None and revision.revision == added_for:
        return added_for
    zone = None if revision is None else time_zone_of(revision.files)
    if rollups.ensure(engine, zone):
        telemetry.logger().info("ledger_added_up", time_zone=zone or "UTC")
    return "" if revision is None else revision.revision


async def _keep_telling(notifier: Notifier) -> None:
    while True:
        await asyncio.sleep(TELL_SECONDS)
        with contextlib.suppress(RouterError, SQLAlchemyError, RuleFaults):  # it is due still
            await notifier.tell(utc_now())


async def _keep_delivering(engine: Engine) -> None:
    """Have reports delivered that are due, by a process of its own: records do not wait behind a report."""
    while True:
        with contextlib.suppress(SQLAlchemyError, RuleFaults):
            if await asyncio.to_thread(undelivered, engine):
                await _deliver()
        await asyncio.sleep(DELIVERY_SECONDS)


def undelivered(engine: Engine) -> bool:
    """Whether a report is due that nobody has delivered or is delivering. SQL down: sqlalchemy.exc.DBAPIError."""
    revision = RuleStore(engine).current()
    if revision is None or REPORTS not in revision.files:
        return False
    deliveries: Any = import_module("router.reports.deliveries")  # most services deliver nothing
    store: Any = import_module("router.storage.sql.deliveries")
    now, records = utc_now(), store.SqlDeliveries(engine)
    wanted = deliveries.due(deliveries_of(revision.files), now, report_zone(engine), records.known())
    return bool(records.waiting([(each.delivery.id, each.period.name) for each in wanted], now))


async def _deliver() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "router", "report", "deliver", "--due"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        if await process.wait():
            telemetry.logger().warning("report_not_delivered", look_at="router report deliveries")
    finally:
        if process.returncode is None:
            process.terminate()


async def _keep_history(approvals: RedisApprovals, records: SqlApprovals) -> None:
    for rounds in count():
        await asyncio.sleep(HISTORY_SECONDS)
        with contextlib.suppress(RouterError, SQLAlchemyError):  # the drainer says what is down
            await keep_history(approvals, records, utc_now())
            if rounds % ROUNDS_TO_CLOSE == 0:
                await asyncio.to_thread(records.close_lost, utc_now())
