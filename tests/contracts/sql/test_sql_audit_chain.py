"""Whatever is changed behind the program's back shows; what it wrote itself does not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sql_records import NOON, admitted, outcome, raw, turned
from sqlalchemy import Engine, select, text

from router.storage.audit_chain import PUBLIC_KEY, SIGNING_KEY, Checkpoints, Report, public_key, verify
from router.storage.sql.chain import genesis
from router.storage.sql.directory import SqlKeys
from router.storage.sql.engine import writing
from router.storage.sql.migrate import store_fact
from router.storage.sql.records import SqlRecords
from router.storage.sql.rules import RuleStore
from router.storage.sql.tables import evidence

SHARD = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
def kept(store: Engine, folder: Path) -> Engine:
    """A store with six links in a shard, keys and rules, and a checkpoint of all of it."""
    fill(store, "r1", "r2")
    SqlRecords(store).write([(SHARD, raw(turned("r3"))), (SHARD, raw(outcome("r1", (), cost=5, correction=True)))])
    SqlKeys(store).create("desk", actor="ana", at=NOON)
    RuleStore(store).seed("rev-1", {"routes.yaml": "routes: []\n"}, author="ana", note="first", governance="single", at=NOON)
    Checkpoints(folder).write(store, NOON)
    return store


def fill(store: Engine, *requests: str) -> None:
    SqlRecords(store).write([(SHARD, raw(one)) for name in requests for one in (admitted(name), outcome(name))])


def checked(store: Engine, folder: Path) -> Report:
    return verify(store, folder / "checkpoints.jsonl", public_key(folder))


def kinds(report: Report) -> set[str]:
    return {fault.kind for fault in report.faults}


def tamper(store: Engine, *statements: str) -> None:
    with writing(store) as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_what_the_program_wrote_is_intact(kept: Engine, folder: Path) -> None:
    report = checked(kept, folder)
    assert report.faults == ()
    assert report.intact
    assert (report.links, report.entries, report.checkpoints, report.unanchored) == (10, 2, 1, 0)
    assert report.last_checkpoint == NOON


def test_an_empty_store_is_intact_without_a_checkpoint(store: Engine, folder: Path) -> None:
    assert Checkpoints(folder).write(store, NOON) is None
    assert checked(store, folder).intact


def test_links_after_the_last_checkpoint_are_counted(kept: Engine, folder: Path) -> None:
    fill(kept, "r9")
    report = checked(kept, folder)
    assert report.intact
    assert report.unanchored == 2


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE evidence SET record = replace(record, 'ana@', 'bob@') WHERE request_id = 'r1'", "edited"),
        ("UPDATE evidence SET owner = 'bob@example.com' WHERE request_id = 'r1'", "edited"),
        ("UPDATE evidence SET code = NULL WHERE request_id = 'r3'", "edited"),
        ("DELETE FROM evidence WHERE shard = 3 AND seq = 2", "gap"),
        ("DELETE FROM evidence WHERE shard = 3 AND seq = 1", "gap"),
        ("DELETE FROM evidence WHERE shard = 3 AND seq > 3", "truncated"),
        ("UPDATE ledger_entries SET cost_nano = 1 WHERE request_id = 'r2'", "ledger"),
        ("UPDATE ledger_entries SET owner = 'bob@example.com' WHERE request_id = 'r2'", "ledger"),
        ("UPDATE ledger_lines SET quantity = 1 WHERE request_id = 'r2' AND line = 0", "ledger"),
        ("DELETE FROM ledger_lines WHERE request_id = 'r2'", "ledger"),
        ("UPDATE keys SET revoked = NULL, admin = true", "administration"),
        ("DELETE FROM keys", "administration"),
        ("UPDATE revisions SET author = 'bob'", "administration"),
        ("UPDATE revisions SET files = '{}'", "administration"),
        ("UPDATE proposals SET document = replace(document, 'ana', 'bob')", "administration"),
        ("UPDATE proposals SET trial = 'canary'", "administration"),
        ("DELETE FROM proposals", "administration"),
        ("UPDATE admin_events SET actor = 'bob' WHERE seq = 1", "edited"),
        ("DELETE FROM admin_events WHERE seq = 1", "gap"),
        ("UPDATE chain_heads SET seq = seq - 1 WHERE chain = 3", "truncated"),
        ("DELETE FROM chain_heads WHERE chain = 3", "truncated"),
        ("UPDATE store_facts SET value = 'another' WHERE name = 'instance'", "checkpoint"),
    ],
)
def test_a_change_behind_the_programs_back_shows(kept: Engine, folder: Path, statement: str, kind: str) -> None:
    tamper(kept, statement)
    assert kind in kinds(checked(kept, folder))


def test_rows_that_no_record_accounts_for_show(kept: Engine, folder: Path) -> None:
    same = "app, owner, team, cost_center, purpose, session, task, sensitivity, complexity, rule, revision, tier, deployment, model, provider"
    rest = "held_nano, cost_nano, over_hold, line_count, corrections"
    tamper(
        kept,
        f"INSERT INTO ledger_entries (request_id, {same}, {rest}) SELECT 'made up', {same}, {rest} FROM ledger_entries WHERE request_id = 'r1'",
    )
    assert kinds(checked(kept, folder)) == {"ledger"}


def test_two_links_that_changed_places_show(kept: Engine, folder: Path) -> None:
    tamper(
        kept,
        "UPDATE evidence SET seq = 99 WHERE shard = 3 AND seq = 2",
        "UPDATE evidence SET seq = 2 WHERE shard = 3 AND seq = 3",
        "UPDATE evidence SET seq = 3 WHERE shard = 3 AND seq = 99",
    )
    assert "broken_link" in kinds(checked(kept, folder))


def test_a_tail_cut_off_together_with_its_head_shows_by_the_checkpoint(kept: Engine, folder: Path) -> None:
    rewrite(kept, keep=4)
    assert "truncated" in kinds(checked(kept, folder))


def test_a_chain_rewritten_from_its_beginning_shows_by_the_checkpoint(kept: Engine, folder: Path) -> None:
    tamper(
        kept,
        "UPDATE evidence SET record = replace(record, 'ana@', 'bob@'), owner = replace(owner, 'ana@', 'bob@') WHERE shard = 3",
    )
    tamper(kept, "UPDATE ledger_entries SET owner = replace(owner, 'ana@', 'bob@')")
    rewrite(kept)
    report = checked(kept, folder)
    assert kinds(report) == {"rewritten"}


def rewrite(store: Engine, keep: int = 1_000) -> None:
    """Make the shard's chain consistent again, as somebody would who knows how it is made."""
    with writing(store) as connection:
        previous, count = genesis(store_fact(store, "instance"), SHARD), 0
        for row in connection.execute(select(evidence).where(evidence.c.shard == SHARD).order_by(evidence.c.seq)).all():
            where = (evidence.c.shard == SHARD) & (evidence.c.seq == row.seq)
            if row.seq > keep:
                connection.execute(evidence.delete().where(where))
                continue
            digest = hashlib.sha256(row.record.encode()).digest()
            previous, count = hashlib.sha256(previous + digest).digest(), row.seq
            connection.execute(evidence.update().where(where).values(digest=digest, hash=previous))
        connection.execute(
            text("UPDATE chain_heads SET seq = :seq, hash = :hash WHERE chain = 3"), {"seq": count, "hash": previous}
        )


def test_evidence_without_any_checkpoint_shows(kept: Engine, folder: Path) -> None:
    (folder / "checkpoints.jsonl").unlink()
    assert kinds(checked(kept, folder)) == {"checkpoint"}


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [lines[0].replace(b'"number":1', b'"number":2'), *lines[1:]],
        lambda lines: lines[1:],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [lines[0], lines[2]],
        lambda lines: [*lines, lines[2]],
        lambda lines: [b"nonsense\n", *lines],
    ],
    ids=["edited", "first one gone", "reordered", "middle one gone", "repeated", "nonsense"],
)
def test_changed_checkpoints_show(kept: Engine, folder: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    for minute in (1, 2):
        fill(kept, f"later{minute}")
        Checkpoints(folder).write(kept, NOON + timedelta(minutes=minute))
    path = folder / "checkpoints.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    path.write_bytes(b"".join(change(lines)))
    assert "checkpoint" in kinds(checked(kept, folder))


def test_checkpoints_signed_with_another_key_show(kept: Engine, folder: Path) -> None:
    stranger = Ed25519PrivateKey.generate().public_key()
    assert "checkpoint" in kinds(verify(kept, folder / "checkpoints.jsonl", stranger))


def test_a_checkpoint_half_written_at_a_crash_is_replaced_by_the_next(kept: Engine, folder: Path) -> None:
    path = folder / "checkpoints.jsonl"
    with path.open("ab") as file:
        file.write(b'{"at":"2026-03-10T12:0')
    assert checked(kept, folder).intact
    fill(kept, "r9")
    written = Checkpoints(folder).write(kept, NOON + timedelta(minutes=1))
    assert written is not None
    assert written.number == 2
    report = checked(kept, folder)
    assert report.intact
    assert report.checkpoints == 2


def test_nothing_is_signed_twice(kept: Engine, folder: Path) -> None:
    assert Checkpoints(folder).write(kept, NOON + timedelta(minutes=1)) is None


def test_the_signing_key_is_its_owners_alone_and_stays(folder: Path) -> None:
    Checkpoints(folder)
    before = (folder / SIGNING_KEY).read_bytes()
    Checkpoints(folder)
    assert (folder / SIGNING_KEY).read_bytes() == before
    assert (folder / SIGNING_KEY).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in folder.iterdir()) == [SIGNING_KEY, PUBLIC_KEY]
