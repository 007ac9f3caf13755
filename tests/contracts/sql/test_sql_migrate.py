"""A store comes to the newest tables whoever starts first, and says so quickly when there is nothing to do."""

from __future__ import annotations

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, func, select, text

from router.storage.sql.chain import CHAINS, genesis
from router.storage.sql.engine import open_engine, writing
from router.storage.sql.migrate import HEAD, SCRIPTS, StoreIsNewer, migrate, stamped, store_fact
from router.storage.sql.tables import chain_heads, metadata

MIGRATE = """
import sys
from router.storage.sql.engine import open_engine
from router.storage.sql.migrate import migrate
engine = open_engine(sys.argv[1])
print(migrate(engine))
engine.dispose()
"""
MIGRATE_THEN_LIST = MIGRATE + "print(any(name.split('.')[0] == 'alembic' for name in sys.modules))\n"


def test_migrations_make_the_tables_that_the_program_uses(store: Engine) -> None:
    with store.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_head_named_in_the_program_is_the_newest_script() -> None:
    config = Config()
    config.set_main_option("path_separator", "os")
    config.set_main_option("script_location", str(SCRIPTS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_processes_that_start_at_once_migrate_once(store_url: str) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", MIGRATE, store_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(4)
    ]
    answers = [process.communicate(timeout=60) for process in started]
    assert [error for _, error in answers] == [b""] * 4
    assert sorted(said for said, _ in answers) == [b"False\n"] * 3 + [b"True\n"]
    engine = open_engine(store_url)
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(chain_heads)) == len(CHAINS)
    engine.dispose()


def test_a_store_that_is_as_it_should_be_needs_no_alembic(store: Engine, store_url: str) -> None:
    said = subprocess.run(
        [sys.executable, "-W", "error", "-c", MIGRATE_THEN_LIST, store_url], check=True, capture_output=True, timeout=60
    )
    assert said.stdout.split() == [b"False", b"False"]


def test_a_store_of_a_later_version_is_left_alone(store: Engine) -> None:
    with writing(store) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'r9999'"))
    with pytest.raises(StoreIsNewer, match="later version"):
        migrate(store)
    with store.connect() as connection:
        assert stamped(connection) == "r9999"


def test_chains_of_one_store_do_not_fit_another(new_store) -> None:  # type: ignore[no-untyped-def]
    one, other = store_fact(new_store(), "instance"), store_fact(new_store(), "instance")
    assert genesis(one, 0) != genesis(other, 0)


def test_a_store_that_is_no_sqlite_file_nor_postgresql_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="not `mysql`"):
        open_engine("mysql://somewhere/db")
    with pytest.raises(ValueError, match="needs a file"):
        open_engine("sqlite://")
