"""What finance's reports cost on a large ledger, and whether every sum of many requests is the same. `python -m tests.benchmarks.finance`

Three parts, of which arguments name some: `postgresql` (ten million lines in one month), `sqlite` (one million), `ties` (200,000 requests
through the outbox, the drainer's steps and both stores). A part takes minutes, most of it to fill the store.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine, func, select, text

from router.exchange import Outcome, shard_of
from router.reports.spend import DIMENSIONS
from router.storage.embedded_redis import EmbeddedRedis
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient, Word
from router.storage.redis_keys import OUTBOXES
from router.storage.redis_outbox import RedisOutbox
from router.storage.sql import rollups
from router.storage.sql.engine import open_engine, writing
from router.storage.sql.finance import Where
from router.storage.sql.ledger import spend
from router.storage.sql.migrate import migrate
from router.storage.sql.records import SqlRecords
from router.storage.sql.tables import ledger_entries, ledger_lines, spend_days, spend_groups

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from random_ledger import Traffic, Truth, traffic
from sql_records import raw

BEGIN, END = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
SECONDS = int((END - BEGIN).total_seconds())
CLASSES = ("input", "cached_input", "output")
ROUNDS = 3
BARS = {"postgresql": 2.0, "sqlite": 1.0}
LINES = {"postgresql": 10_000_000, "sqlite": 1_000_000}
APPS = {"postgresql": 40, "sqlite": 20}
REQUESTS = 200_000

REPORTS: tuple[tuple[str, tuple[str, ...], Where], ...] = (
    ("the whole", (), {}),
    ("by owner and model", ("owner", "model"), {}),
    ("by day and team", ("day", "team"), {}),
    ("by rule, tier and what was asked for", ("rule", "tier", "asked_model"), {}),
    ("by token class", ("token_class",), {}),
    ("by day of one team", ("day", "model"), {"team": ("team-3",)}),
    ("by app of one cost centre's restricted work", ("app", "task"), {"cost_center": ("cc-1",), "sensitivity": ("restricted",)}),
    ("by week of high impact", ("week", "purpose"), {"impact": ("high",)}),
)


def fill(engine: Engine, lines: int, apps: int) -> None:
    """A month of requests of three lines each, made by the database itself. Apps differ in owner, team, cost centre and purpose; each
    has eight kinds of tasks at three sensitivities and three complexities, which decide tier, rule and model."""
    requests = lines // len(CLASSES)
    postgres = engine.dialect.name == "postgresql"
    begin = int(BEGIN.timestamp())
    if postgres:
        numbers = f"SELECT n FROM generate_series(0, {requests - 1}) AS s(n)"
        moment = f"to_timestamp({begin} + (n::bigint * {SECONDS}) / {requests})"
    else:
        numbers = f"WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {requests - 1}) SELECT n FROM s"
        seconds = f"{begin} + (n * {SECONDS}) / {requests}"
        moment = f"strftime('%Y-%m-%dT%H:%M:%S', {seconds}, 'unixepoch') || '.000000+00:00'"
    parts = {
        "a": f"(n * 7 + n / 11) % {apps}", "k": "(n / 3 + n / 1009) % 8", "s": "(n / 5) % 3", "c": "(n / 7) % 3", "w": "(n / 13) % 3",
    }  # fmt: skip
    drawn = ", ".join(f"{expression} AS {name}" for name, expression in parts.items())
    entry = {
        "request_id": "'req_' || n", "opened_at": "at", "closed_at": "at", "app": "'app-' || a", "owner": "'owner-' || a",
        "team": "'team-' || (a % 8)", "cost_center": "'cc-' || (a % 5)", "purpose": "'purpose-' || (a % 6)", "session": "'s_' || (n / 5)",
        "task": "'task-' || k", "sensitivity": word("s", ("internal", "confidential", "restricted")),
        "complexity": word("c", ("simple", "moderate", "complex")), "rule": "'r-' || c || s", "revision": "'rev-1'",
        "tier": word("c", ("fast", "fast", "reasoning")), "deployment": "'d-' || c", "model": "'m-' || c", "provider": "'openai'",
        "outcome": "'completed'", "code": "NULL", "basis": "'reported'", "held_nano": "0", "cost_nano": "3000 + n % 9", "over_hold": "false",
        "line_count": "3", "corrections": "0", "asked_model": word("w", ("auto", "gpt-4o", "o3")),
        "impact": word("a % 3", ("low", "normal", "high")), "latency_class": word("a % 2", ("interactive", "batch")),
        "router_us": "900", "upstream_us": "800000",
    }  # fmt: skip
    line = {
        "request_id": "request_id", "line": "l", "at": "closed_at", "attempt": "1", "deployment": "deployment", "provider": "provider",
        "model": "model", "token_class": word("l", CLASSES), "quantity": "1000", "unit_price": "1000000",
        "cost_nano": "CASE l WHEN 2 THEN cost_nano - 2000 ELSE 1000 END", "basis": "basis", "outcome": "outcome",
        "price_source": "'catalogue'", "correction": "false", "unit": "'tokens'", "list_price": "1000000", "price_book": "'book-1'",
        "corrects": "NULL", "incurred_at": "closed_at",
    }  # fmt: skip
    with writing(engine) as connection:
        if postgres:
            connection.execute(text("SET session_replication_role = replica"))  # what refers to nothing is not looked for
        connection.execute(text(
            f"INSERT INTO ledger_entries ({', '.join(entry)}) SELECT {', '.join(entry.values())} "
            f"FROM (SELECT n, {moment} AS at, {drawn} FROM ({numbers}) AS m) AS drawn"
        ))  # fmt: skip
        connection.execute(text(
            f"INSERT INTO ledger_lines ({', '.join(line)}) SELECT {', '.join(line.values())} "
            "FROM ledger_entries CROSS JOIN (SELECT 0 AS l UNION ALL SELECT 1 UNION ALL SELECT 2) AS classes"
        ))  # fmt: skip
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def word(number: str, words: Sequence[str]) -> str:
    """The SQL expression that picks a word by its number."""
    return f"CASE {number} {' '.join(f'WHEN {place} THEN {each!r}' for place, each in enumerate(words))} END"


def best(work: Callable[[], object]) -> float:
    """Seconds of the quickest of some rounds."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return min(took)


def measure(kind: str, url: str, lines: int, apps: int) -> bool:
    """Fill a store, add it up, and time the reports of its month; whether the bar was met."""
    engine = open_engine(url)
    migrate(engine)
    began = time.perf_counter()
    fill(engine, lines, apps)
    say(f"{kind}: {lines:,} lines were made in {time.perf_counter() - began:.0f} s")
    began = time.perf_counter()
    with writing(engine) as connection:
        rollups.rebuild(connection, "UTC")
    took = time.perf_counter() - began
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
        sums, groups = (connection.scalar(select(func.count()).select_from(table)) for table in (spend_days, spend_groups))
        stored = connection.scalar(select(func.sum(ledger_lines.c.cost_nano)))
    say(f"{kind}: added up by day in {took:.0f} s: {sums:,} sums of {groups:,} groups")
    met = True
    for title, by, where in REPORTS:
        seconds = best(lambda by=by, where=where: spend(engine, by, BEGIN, END, where))  # type: ignore[misc]
        met &= seconds <= BARS[kind]
        say(f"{kind}: month report {title}: {seconds:.2f} s")
    assert spend(engine, (), BEGIN, END).total.cost_nano == stored
    engine.dispose()
    say(f"{kind}: bar of {BARS[kind]:.0f} s {'met' if met else 'MISSED'}")
    return met


@contextmanager
def postgres() -> Iterator[str]:
    """A private PostgreSQL with its defaults but for syncing to disk, or the one that ROUTER_TEST_POSTGRES_URL names."""
    if url := os.environ.get("ROUTER_TEST_POSTGRES_URL"):
        yield url
        return
    found = shutil.which("initdb") or next(
        iter(sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), reverse=True)), None
    )
    if found is None:
        raise SystemExit("no PostgreSQL: neither ROUTER_TEST_POSTGRES_URL nor initdb is there")
    programs = Path(found).resolve().parent
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    account: dict[str, str] = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
    if account:
        shutil.chown(folder, **account)
    data = folder / "data"

    def run(*words: str | Path) -> None:
        subprocess.run([str(each) for each in words], cwd=folder, check=True, stdout=subprocess.DEVNULL, **account)  # type: ignore[call-overload]

    try:
        run(programs / "initdb", "-D", data, "-U", "router", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c max_wal_size=8GB"
        run(programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://router@/postgres?host={folder}"
        finally:
            run(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ties(requests: int) -> bool:
    """Bring generated requests through Redis to SQL as the drainer does; every sum must be what plain addition says."""
    truth = Truth()
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{folder}/router.db")
        migrate(engine)
        server = EmbeddedRedis(Path(folder) / "redis")
        began = time.perf_counter()
        try:
            owners = asyncio.run(through_redis(server.start(), engine, truth.all(traffic(1, requests)), truth))
        finally:
            server.stop()
        took = time.perf_counter() - began
        say(f"ties: {requests:,} requests were booked in {took:.0f} s")
        with engine.connect() as connection:
            raw_sum = connection.scalar(select(func.sum(ledger_lines.c.cost_nano)))
            of_entries = connection.scalar(select(func.sum(ledger_entries.c.cost_nano)))
            day_sum = connection.scalar(select(func.sum(spend_days.c.cost_nano)))
        sums = {
            "plain addition": truth.cost_nano,
            "lines": raw_sum,
            "entries": of_entries,
            "sums by day": day_sum,
            "owners in Redis": owners,
        }
        for name in DIMENSIONS:
            report = spend(engine, (name,))
            sums[f"report by {name}"] = report.total.cost_nano
            if name in truth.by:
                told = {row.group[0]: row.figures.cost_nano for row in report.rows if row.figures.cost_nano}
                assert told == {value: cost for value, cost in truth.by[name].items() if cost}, name
        kept = spend(engine, ("day", "app", "model", "token_class"))
        with writing(engine) as connection:
            rollups.rebuild(connection, "UTC")
        assert spend(engine, ("day", "app", "model", "token_class")) == kept
        engine.dispose()
    for name, nano in sums.items():
        say(f"ties: {nano:>20,} nano-USD  {name}")
    return len(set(sums.values())) == 1


async def through_redis(url: str, engine: Engine, requests: Iterable[Traffic], truth: Truth) -> int:
    """Records to the outbox, owners' months, SQL; what all owners have settled in the end."""
    client = RedisClient(url, time_limit=30)
    outbox, records = RedisOutbox(client), SqlRecords(engine)
    lost: set[str] = set()  # months in which somebody pays for a request whose intent was lost
    batch: list[tuple[Word, ...]] = []

    async def drain() -> None:
        await client.many(batch)
        batch.clear()
        while entries := await outbox.read(2_000):
            await outbox.settle_owners(entries)
            records.write([(shard, record) for shard, _, record in entries])
            await outbox.ack([(shard, entry_id) for shard, entry_id, _ in entries])

    try:
        for one in requests:
            batch += commands(one, lost)
            if len(batch) > 4_000:
                await drain()
        await drain()
        budgets = RedisBudgets(client)
        periods = {*truth.by_owner_month, *(("lost", month) for month in lost)}
        return sum([(await budgets.owner_balance(owner, period))[0] for owner, period in sorted(periods)])
    finally:
        await client.aclose()


def commands(one: Traffic, lost: set[str]) -> Iterator[tuple[Word, ...]]:
    """What reserve, settle and correct append to the outbox."""
    session = one.intent.session if one.intent is not None else one.records[0].request_id
    stream, before = OUTBOXES[shard_of(session)], 0
    month = one.records[0].at.strftime("%Y-%m")
    if one.intent is None:
        lost.add(month)
    owner = one.intent.facts.caller.owner if one.intent is not None else "lost"
    for record in one.records:
        if not isinstance(record, Outcome):
            yield ("XADD", stream, "*", "r", raw(record), "q", record.request_id)
            continue
        amount, before = record.cost_nano - before, record.cost_nano
        yield ("XADD", stream, "*", "r", raw(record), "q", record.request_id, "w", owner, "m", month, "n", amount)


def main(parts: Sequence[str]) -> int:
    met = True
    if "sqlite" in parts:
        with tempfile.TemporaryDirectory() as folder:
            met &= measure("sqlite", f"sqlite:///{folder}/router.db", LINES["sqlite"], APPS["sqlite"])
    if "postgresql" in parts:
        with postgres() as url:
            met &= measure("postgresql", url, LINES["postgresql"], APPS["postgresql"])
    if "ties" in parts:
        met &= ties(REQUESTS)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ("sqlite", "postgresql", "ties")))
