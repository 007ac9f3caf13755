"""A backup taken beside the running service comes back whole, into either kind of store, and no old Redis passes for its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sql_records import NOON, admitted, outcome, raw
from sqlalchemy import Engine

from router.storage.audit_chain import Checkpoints, public_key, verify
from router.storage.backup import DATABASE, MANIFEST, BackupFault, backup, close_lost, rebuild_owner_spend, restore
from router.storage.sql.directory import SqlKeys, load_keys
from router.storage.sql.engine import open_engine
from router.storage.sql.ledger import entry_of, open_entries, spend
from router.storage.sql.migrate import store_fact
from router.storage.sql.records import SqlRecords
from router.storage.sql.rules import RuleStore
from routing_rules.load import complete, load, shipped


@pytest.fixture
def data_dir(tmp_path: Path, store: Engine) -> Path:
    """A data directory in use: keys, rules, records, checkpoints, a secret, and a Redis of its own."""
    folder = tmp_path / "data"
    SqlRecords(store).write([(1, raw(admitted("r1"))), (1, raw(outcome("r1"))), (2, raw(admitted("r2")))])
    SqlKeys(store).create("desk", actor="ana", at=NOON, purposes=["support"])
    RuleStore(store).seed("rev-1", {"routes.yaml": "routes: []\n"}, author="ana", note="", governance="single", at=NOON)
    Checkpoints(folder / "audit").write(store, NOON)
    (folder / "secret.key").write_bytes(b"s" * 32)
    (folder / "redis").mkdir()
    (folder / "redis" / "appendonly.aof").write_bytes(b"balances")
    return folder


def test_everything_comes_back_with_a_new_epoch(
    store: Engine, store_url: str, new_store_url: Callable[[], str], data_dir: Path, tmp_path: Path
) -> None:
    backup(data_dir, tmp_path / "kept", store_url)
    target_url, target = new_store_url(), tmp_path / "restored"
    restore(tmp_path / "kept", target, target_url)
    restored = open_engine(target_url)
    try:
        assert load_keys(restored) == load_keys(store)
        assert RuleStore(restored).history() == RuleStore(store).history()
        assert entry_of(restored, "r1") == entry_of(store, "r1")
        assert spend(restored, ("owner",)) == spend(store, ("owner",))
        assert (target / "secret.key").read_bytes() == b"s" * 32
        assert not (target / "redis").exists()
        assert store_fact(restored, "instance") == store_fact(store, "instance")
        assert store_fact(restored, "epoch") != store_fact(store, "epoch")
        report = verify(restored, target / "audit" / "checkpoints.jsonl", public_key(target / "audit"))
        assert report.faults == ()
        assert report.checkpoints == 1
    finally:
        restored.dispose()


def test_a_backup_is_readable_by_its_owner_only_and_has_no_log_beside_it(store_url: str, data_dir: Path, tmp_path: Path) -> None:
    backup(data_dir, tmp_path / "kept", store_url)
    files = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {
        DATABASE,
        MANIFEST,
        "secret.key",
        "checkpoints.jsonl",
        "checkpoint_key.pem",
        "checkpoint_key.pub",
    }
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


def test_a_backup_taken_while_records_come_in_is_one_state(
    store: Engine, store_url: str, new_store_url: Callable[[], str], data_dir: Path, tmp_path: Path
) -> None:
    stop = threading.Event()

    def keep_writing() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            SqlRecords(store).write([(5, raw(admitted(f"w{number}"))), (5, raw(outcome(f"w{number}")))])

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        backup(data_dir, tmp_path / "kept", store_url)
    finally:
        stop.set()
        writer.join()
    target_url, target = new_store_url(), tmp_path / "restored"
    restore(tmp_path / "kept", target, target_url)
    restored = open_engine(target_url)
    try:
        report = verify(restored, target / "audit" / "checkpoints.jsonl", public_key(target / "audit"))
        assert report.faults == ()
    finally:
        restored.dispose()


def test_a_backup_restores_into_the_other_kind_of_store(store: Engine, store_url: str, data_dir: Path, tmp_path: Path) -> None:
    backup(data_dir, tmp_path / "kept", store_url)
    target = tmp_path / "restored"
    url = f"sqlite:///{target / DATABASE}"
    restore(tmp_path / "kept", target, url)
    restored = open_engine(url)
    try:
        assert spend(restored, ("owner",)) == spend(store, ("owner",))
    finally:
        restored.dispose()


def test_a_damaged_backup_is_refused_before_anything_is_written(
    store_url: str, new_store_url: Callable[[], str], data_dir: Path, tmp_path: Path
) -> None:
    backup(data_dir, tmp_path / "kept", store_url)
    (tmp_path / "kept" / "secret.key").write_bytes(b"other")
    with pytest.raises(BackupFault, match=r"secret\.key"):
        restore(tmp_path / "kept", tmp_path / "restored", new_store_url())
    assert not (tmp_path / "restored").exists()


def test_what_is_no_backup_is_refused(tmp_path: Path, new_store_url: Callable[[], str]) -> None:
    with pytest.raises(BackupFault, match="no backup"):
        restore(tmp_path, tmp_path / "restored", new_store_url())


def test_neither_a_backup_nor_a_restore_writes_over_anything(store_url: str, data_dir: Path, tmp_path: Path) -> None:
    backup(data_dir, tmp_path / "kept", store_url)
    with pytest.raises(BackupFault, match="not empty"):
        backup(data_dir, tmp_path / "kept", store_url)
    with pytest.raises(BackupFault, match="inside the data directory"):
        backup(data_dir, data_dir / "kept", store_url)
    with pytest.raises(BackupFault, match="empty"):
        restore(tmp_path / "kept", data_dir, store_url)
    with pytest.raises(BackupFault, match="empty"):
        restore(tmp_path / "kept", tmp_path / "elsewhere", store_url)


def test_what_a_lost_redis_held_is_closed_at_its_hold_and_owners_start_from_the_ledger(store: Engine, data_dir: Path) -> None:
    rules = load(complete({}, date(2026, 3, 1)))
    assert rebuild_owner_spend(store, rules, NOON) == {("ana@example.com", "2026-03"): 750}
    later = NOON + timedelta(hours=1)
    assert close_lost(store, before=later, at=later) == 1
    assert close_lost(store, before=later, at=later) == 0
    assert open_entries(store, later) == []
    found = entry_of(store, "r2")
    assert found is not None
    assert (found[0].outcome, found[0].basis, found[0].cost_nano) == ("reaped", "estimated", 9_000)
    assert rebuild_owner_spend(store, rules, NOON) == {("ana@example.com", "2026-03"): 9_750}
    assert verify(store, data_dir / "audit" / "checkpoints.jsonl", public_key(data_dir / "audit")).intact


def test_owners_start_from_the_periods_that_run_in_the_time_zone_of_the_rules(store: Engine) -> None:
    def write(request_id: str, at: datetime) -> None:
        SqlRecords(store).write([(1, raw(admitted(request_id, at=at))), (1, raw(outcome(request_id, at=at)))])

    write("r1", datetime(2026, 10, 1, 6, tzinfo=UTC))  # still September there
    write("r2", datetime(2026, 10, 20, 12, tzinfo=UTC))
    budgets = (
        "session_budgets: [{id: default}, {id: reasoning}, {id: tiny}]\n"
        "owner_budgets: [{owner: ana@example.com, per: year, hard_usd: 9}]\n"
    )
    routes = "time_zone: America/Los_Angeles\n" + shipped(date(2026, 1, 1))["routes.yaml"]
    rules = load(complete({"budgets.yaml": budgets, "routes.yaml": routes}, date(2026, 1, 1)))
    spent = rebuild_owner_spend(store, rules, datetime(2026, 11, 1, 3, tzinfo=UTC))
    assert spent == {("ana@example.com", "2026-10"): 750, ("ana@example.com", "2026"): 1_500}
