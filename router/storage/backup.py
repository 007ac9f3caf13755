"""Backs up a data directory and its SQL store while the service runs, and restores both elsewhere."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import msgspec
from sqlalchemy import Connection, Engine, delete, func, insert, make_url, select, update

from router.clock import utc_now
from router.exchange import Outcome
from router.storage.sql.administration import administering
from router.storage.sql.engine import open_engine, reading, writing
from router.storage.sql.ledger import open_entries
from router.storage.sql.migrate import HEAD, migrate, store_fact
from router.storage.sql.owner_spend import spent_between
from router.storage.sql.records import SqlRecords
from router.storage.sql.tables import evidence, metadata, store_facts
from router.usage import Basis
from routing_rules.calendars import Per
from routing_rules.rules import RuleSet

DATABASE = "router.db"
MANIFEST = "backup.json"

LEFT_OUT = frozenset({"redis", "redis.json", DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal"})
"""Of the data directory: the live database, which is copied its own way, and Redis, whose balances are rebuilt from the ledger."""

_CHUNK = 1_000


class BackupFault(Exception):
    """A backup cannot be made there, or what is there is no whole backup; the message says why."""


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds: the store it is of, its migration, and the SHA-256 of each file."""

    made: datetime
    instance: str
    migration: str
    files: dict[str, str]


def backup(data_dir: Path, target: Path, sql_url: str) -> Manifest:
    """Copy the SQL store and the data directory into `target`, which must not exist or be empty. The service may run.

    The copy of the store is a SQLite file whatever the store is, so that a backup can be restored into either. Redis is not
    copied: sessions are short-lived, and what owners have spent is rebuilt from the ledger. Raises BackupFault.
    """
    if target.resolve().is_relative_to(data_dir.resolve()):
        raise BackupFault("a backup inside the data directory would be lost with it")
    if target.exists() and any(target.iterdir()):
        raise BackupFault(f"`{target}` is not empty")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Files first: a checkpoint that is older than the database fits it, a newer one would not.
    for path in _kept_files(data_dir):
        _copy(path, target / path.relative_to(data_dir))
    engine = open_engine(sql_url)
    try:
        instance = store_fact(engine, "instance")
        _copy_store(engine, target / DATABASE)
    finally:
        engine.dispose()
    manifest = Manifest(
        made=utc_now(),
        instance=instance,
        migration=HEAD,
        files={str(path.relative_to(target)): _sha256(path) for path in _files(target)},
    )
    _claim(target / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    return manifest


def restore(source: Path, data_dir: Path, sql_url: str) -> Manifest:
    """Bring a backup back into an empty data directory and an empty SQL store, which gets a new epoch.

    No Redis knows that epoch yet, so the service is not ready until its balances have been rebuilt. Raises BackupFault
    before anything is written where the backup is damaged or the place is taken.
    """
    manifest = _checked(source)
    url = make_url(sql_url)
    sqlite_store = Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None
    if any(_kept_files(data_dir)) or (sqlite_store is not None and sqlite_store.exists()):
        raise BackupFault("there is a store already: restore into an empty data directory")
    engine = open_engine(sql_url)
    try:
        if sqlite_store is not None:
            sqlite_store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _copy(source / DATABASE, sqlite_store)
            migrate(engine)
        else:
            _load_store(source / DATABASE, engine)
        for name in manifest.files:
            if name != DATABASE:
                _copy(source / name, data_dir / name)
        renew_epoch(engine, utc_now())
    finally:
        engine.dispose()
    return manifest


def renew_epoch(engine: Engine, at: datetime) -> str:
    """Give the store a new epoch, so that no Redis with balances of another time is taken for its own; returns it."""
    epoch = secrets.token_hex(16)
    with administering(engine, "router restore", at) as administration:
        administration.connection.execute(update(store_facts).where(store_facts.c.name == "epoch").values(value=epoch))
        administration.note("store.restored", "store", {"epoch": epoch})
    return epoch


def rebuild_owner_spend(engine: Engine, rules: RuleSet, now: datetime) -> dict[tuple[str, str], int]:
    """What each owner has spent, in nano-USD, as the ledger has it: in the month that runs by the rules, and in each other period that
    runs in which there is a budget."""
    found = {}
    for per in Per:
        running = rules.period(per, now)
        for owner, nano in spent_between(engine, *running.moments(rules.time_zone)).items():
            if per is Per.MONTH or any(budget.per is per for budget in rules.budgets_of(owner)):
                found[owner, running.id] = nano
    return found


def close_lost(engine: Engine, before: datetime, at: datetime) -> int:
    """Close entries opened before a moment whose holds no Redis knows any more, each at its hold, estimated; how many.

    For a Redis that was lost: nobody else will ever settle them.
    """
    lost = open_entries(engine, before)
    shards = _shards(engine, [entry.request_id for entry in lost])
    encoder = msgspec.json.Encoder(order="deterministic")
    outcomes = [
        (
            shards[entry.request_id],
            encoder.encode(
                Outcome(
                    request_id=entry.request_id,
                    at=at,
                    outcome="reaped",
                    code=None,
                    deployment=entry.deployment,
                    lines=(),
                    cost_nano=entry.held_nano,
                    basis=Basis.ESTIMATED,
                    over_hold=False,
                    tools_released=(),
                    tools_refused=(),
                    timings_us={},
                )
            ),
        )
        for entry in lost
    ]
    return SqlRecords(engine).write(outcomes).entered if outcomes else 0


def _shards(engine: Engine, requests: list[str]) -> dict[str, int]:
    shards: dict[str, int] = {}
    with reading(engine) as connection:
        for start in range(0, len(requests), _CHUNK):
            query = select(evidence.c.request_id, evidence.c.shard).where(
                evidence.c.request_id.in_(requests[start : start + _CHUNK])
            )
            shards.update((row.request_id, row.shard) for row in connection.execute(query))
    return shards


def _copy_store(engine: Engine, target: Path) -> None:
    _claim(target)
    if engine.dialect.name == "sqlite":
        source = Path(str(engine.url.database)).absolute().as_uri()
        with closing(sqlite3.connect(f"{source}?mode=ro", uri=True)) as live, closing(sqlite3.connect(target)) as whole:
            live.backup(whole)
    else:
        copied = open_engine(f"sqlite:///{target}")
        migrate(copied)
        with reading(engine) as live, writing(copied) as copy:
            _copy_tables(live, copy)
        copied.dispose()
    # One file, without the log beside it.
    with closing(sqlite3.connect(target)) as file:
        file.execute("PRAGMA journal_mode = DELETE")


def _load_store(source: Path, engine: Engine) -> None:
    migrate(engine)
    with tempfile.TemporaryDirectory() as folder:
        # A copy, for an older backup is migrated before it is read.
        kept = open_engine(f"sqlite:///{shutil.copy(source, folder)}")
        try:
            migrate(kept)
            with writing(engine) as connection, reading(kept) as copy:
                if connection.scalar(select(func.count()).select_from(evidence)):
                    raise BackupFault("there is evidence in the database already: restore into an empty one")
                _copy_tables(copy, connection)
        finally:
            kept.dispose()


def _copy_tables(source: Connection, target: Connection) -> None:
    for table in reversed(metadata.sorted_tables):
        target.execute(delete(table))
    for table in metadata.sorted_tables:
        rows = source.execute(select(table), execution_options={"yield_per": _CHUNK})
        for chunk in rows.mappings().partitions():
            target.execute(insert(table), [dict(row) for row in chunk])


def _checked(source: Path) -> Manifest:
    try:
        manifest = msgspec.json.decode((source / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        raise BackupFault(f"`{source}` holds no backup") from None
    for name, digest in manifest.files.items():
        path = source / name
        if not path.resolve().is_relative_to(source.resolve()):
            raise BackupFault(f"the backup names a file outside itself: `{name}`")
        if not path.is_file() or _sha256(path) != digest:
            raise BackupFault(f"`{name}` of the backup is missing or damaged")
    if DATABASE not in manifest.files:
        raise BackupFault("the backup holds no database")
    return manifest


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def _kept_files(data_dir: Path) -> Iterator[Path]:
    return (path for path in _files(data_dir) if path.relative_to(data_dir).parts[0] not in LEFT_OUT)


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(path, _claim(target))


def _claim(path: Path) -> Path:
    """An empty file that only its owner can read, before anything is in it. Raises FileExistsError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
