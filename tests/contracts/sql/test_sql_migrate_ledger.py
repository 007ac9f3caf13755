"""A ledger of before its lines had units, list prices and a time of use is brought over whole, and an audit finds it so."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import msgspec
from sql_records import NOON, admitted, line, outcome, raw
from sqlalchemy import Connection, Engine, MetaData, column, select, table, text

from router.exchange import Admitted, Outcome
from router.storage.audit_chain import Checkpoints, public_key, verify
from router.storage.sql import rollups
from router.storage.sql.engine import open_engine, writing
from router.storage.sql.ledger import Entry, EntryLine, entry_of, spend
from router.storage.sql.migrate import SCRIPTS, migrate, stamped
from router.storage.sql.records import SqlRecords
from router.storage.sql.tables import chain_heads, evidence, ledger_entries, ledger_lines, store_facts

RECORDS: tuple[Admitted | Outcome, ...] = (
    admitted("r1"),
    outcome("r1"),
    admitted("r2", app="bench", owner="bob@example.com"),
    outcome("r2", (line(quantity=7, unit_price=None, cost=0),), how="reaped"),
    outcome("r2", correction=True),
    outcome("r3", cost=9_000),  # its intent never came
    admitted("r4"),
)


def earlier_store(url: str, like: Engine) -> Engine:
    """A store at r0007 that holds what another one does."""
    engine = open_engine(url)
    command, config = import_module("alembic.command"), import_module("alembic.config")
    settings = config.Config()
    settings.set_main_option("path_separator", "os")
    settings.set_main_option("script_location", str(SCRIPTS))
    with writing(engine) as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, "r0007")
        assert stamped(connection) == "r0007"
    with writing(engine) as connection, like.connect() as source:
        for each in (store_facts, chain_heads, evidence, ledger_entries, ledger_lines):
            copy(source, connection, each.name)
        connection.execute(
            text("INSERT INTO request_days VALUES ('2026-01-01', 1, 'completed', 5, 0)")
        )  # sums that must not stay
    return engine


def copy(source: Connection, target: Connection, name: str) -> None:
    now = next(each for each in (store_facts, chain_heads, evidence, ledger_entries, ledger_lines) if each.name == name)
    there = MetaData()
    there.reflect(target, only=[name])
    names = [each.name for each in there.tables[name].columns]
    rows = [row._asdict() for row in source.execute(select(*(now.c[each] for each in names)))]
    target.execute(text(f"DELETE FROM {name}"))
    target.execute(table(name, *(column(each, now.c[each].type) for each in names)).insert(), rows)


def test_rows_of_an_earlier_version_are_brought_over_and_pass_the_audit(
    new_store: Callable[[], Engine], new_store_url: Callable[[], str], tmp_path: Path
) -> None:
    fresh = new_store()
    SqlRecords(fresh).write([(1, raw(record)) for record in RECORDS])
    url = new_store_url()
    earlier = earlier_store(url, fresh)
    assert migrate(earlier)
    with earlier.connect() as connection:
        assert rollups.zone_of(connection) is None  # reports read the lines until the sums are there again
    assert spend(earlier, ("owner", "day")) == spend(fresh, ("owner", "day"))
    assert rollups.ensure(earlier)
    assert spend(earlier, ("owner", "day")) == spend(fresh, ("owner", "day"))
    for request in ("r1", "r2", "r3", "r4"):
        there, booked = brought(earlier, request)
        told, lines = brought(fresh, request)
        assert there == told
        assert [line_of(each) for each in booked] == [line_of(each) for each in lines]
    checkpoints = Checkpoints(tmp_path / "audit")
    checkpoints.write(earlier, NOON)
    report = verify(earlier, checkpoints.path, public_key(tmp_path / "audit"))
    assert report.faults == ()
    earlier.dispose()


def test_what_is_booked_after_the_migration_adds_to_what_was_there(
    new_store: Callable[[], Engine], new_store_url: Callable[[], str]
) -> None:
    fresh = new_store()
    SqlRecords(fresh).write([(1, raw(record)) for record in RECORDS])
    earlier = earlier_store(new_store_url(), fresh)
    migrate(earlier)
    more: list[Admitted | Outcome] = [admitted("r9"), outcome("r9"), outcome("r4"), outcome("r1", (), cost=1, correction=True)]
    for store in (fresh, earlier):
        SqlRecords(store).write([(1, raw(record)) for record in more])
    rollups.ensure(earlier)
    assert spend(earlier, ("app", "deployment")) == spend(fresh, ("app", "deployment"))
    earlier.dispose()


def brought(store: Engine, request: str) -> tuple[Entry, list[EntryLine]]:
    found = entry_of(store, request)
    assert found is not None
    return found


def line_of(line: EntryLine) -> EntryLine:
    """Without what earlier versions did not write down."""
    return msgspec.structs.replace(line, corrects=None)
