"""Brings the SQL store to the tables this version needs, also when several processes start at once, and tells which store it is."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, select, text

from router.storage.sql.engine import writing
from router.storage.sql.tables import store_facts

HEAD = "r0010"
"""The newest migration; a test holds it to what Alembic finds in the folder."""

SCRIPTS = Path(__file__).parent.parent / "migrations"

_LOCK = 7_301_502_114_069  # any number: what migrating processes of this program agree on in PostgreSQL


class StoreIsNewer(Exception):
    """The store was migrated by a later version of this program."""


def migrate(engine: Engine) -> bool:
    """Create or change the tables; False where nothing was to be done.

    Raises StoreIsNewer where a later version has been at work, and leaves the store as it is.
    """
    with engine.connect() as connection:
        if stamped(connection) == HEAD:
            return False
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        if stamped(connection) == HEAD:
            return False
        _upgrade(connection)
    return True


def stamped(connection: Connection) -> str | None:
    """The migration the store stands at; None for an empty store."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return version


def store_fact(engine: Engine, name: str) -> str:
    """A fact of the store: `instance`, its name for good, or `epoch`, which is new after each restore.

    Raises KeyError where there is none.
    """
    with engine.connect() as connection:
        value: str | None = connection.scalar(select(store_facts.c.value).where(store_facts.c.name == name))
    if value is None:
        raise KeyError(name)
    return value


def _upgrade(connection: Connection) -> None:
    # Importing Alembic takes longer than all else at start, and nearly every start finds the store as it should be.
    command, config, util = (import_module(f"alembic.{name}") for name in ("command", "config", "util"))
    settings = config.Config()
    settings.set_main_option("path_separator", "os")
    settings.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    settings.attributes["connection"] = connection
    try:
        command.upgrade(settings, "head")
    except util.CommandError as error:
        raise StoreIsNewer("a later version has migrated this store; use that version or a backup") from error
