"""What commands share: the stores of a data directory, who is acting, and saying that something has changed."""

from __future__ import annotations

import asyncio
import getpass
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from router.clock import utc_now
from router.errors import RouterError
from router.secret_key import read_secret
from router.settings import Settings
from router.storage.embedded_redis import redis_url_of
from router.storage.redis_client import RedisClient
from router.storage.sql.engine import open_engine
from router.storage.sql.migrate import migrate
from router.storage.sql.rules import RuleStore
from routing_rules.faults import RuleFaults
from routing_rules.load import complete, load, read_rules
from routing_rules.rules import RuleSet

T = TypeVar("T")

WAIT_SECONDS = 30.0

CLASSIFYING_KEY = b"\0" * 32
"""Findings that a command prints are not correlated with anything, so their digests need no secret."""


def classifying_key(settings: Settings, rules: RuleSet) -> bytes:
    """The key to classify with: names that are listed as keyed hashes are found only under the installation's own."""
    return read_secret(settings) if rules.sensitivity.code_names else CLASSIFYING_KEY


@contextmanager
def store(settings: Settings) -> Iterator[Engine]:
    """The SQL store, with its tables. What an operator can put right is one sentence."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = open_engine(settings.sql_url)
    try:
        migrate(engine)
        yield engine
    except RuleFaults as faults:
        raise click.ClickException(str(faults)) from None
    except SQLAlchemyError as error:
        raise click.ClickException(
            f"the SQL store cannot be used ({type(error).__name__}): look at ROUTER_DATABASE_URL"
        ) from None
    finally:
        engine.dispose()


def redis_url(settings: Settings) -> str | None:
    """The Redis of the running service, or None where there is none."""
    return settings.redis_url.get_secret_value() if settings.redis_url is not None else redis_url_of(settings.data_dir.absolute())


def with_redis(settings: Settings, work: Callable[[RedisClient], Awaitable[T]]) -> T | None:
    """Do something in the service's Redis; None where there is none or it does not answer."""
    url = redis_url(settings)
    if url is None:
        return None

    async def run(url: str) -> T:
        client = RedisClient(url, cluster=settings.redis_cluster)
        try:
            return await work(client)
        finally:
            await client.aclose()

    try:
        return asyncio.run(run(url))
    except RouterError:
        return None


def announce(settings: Settings, revoked: str | None = None) -> None:
    """Tell running workers that keys or rules have changed. Where none runs, the next start reads them anyway."""
    from router.storage.redis_announce import RedisAnnouncements

    async def work(client: RedisClient) -> None:
        announcements = RedisAnnouncements(client)
        if revoked is not None:
            await announcements.revoke(revoked)
        else:
            await announcements.announce()

    with_redis(settings, work)


def until_drained(settings: Settings) -> None:
    """Wait until no record is on its way from Redis to SQL any more."""
    from router.storage.redis_outbox import RedisOutbox

    async def backlog(client: RedisClient) -> int:
        return await RedisOutbox(client).backlog()

    deadline = time.monotonic() + WAIT_SECONDS
    while with_redis(settings, backlog):
        if time.monotonic() > deadline:
            raise click.ClickException(
                f"records are still on their way to SQL after {WAIT_SECONDS:.0f} s: is the drainer running?"
            )
        time.sleep(0.05)


def rules_for(settings: Settings, directory: Path | None = None) -> RuleSet:
    """The rules to look at: a directory's, else those in force, else the shipped ones."""
    try:
        if directory is not None:
            today = utc_now().date()
            return load(complete(read_rules(directory, today, settings.environment), today))
        if settings.database_url is not None or (settings.data_dir / "router.db").exists():
            with store(settings) as engine:
                if (active := RuleStore(engine).current()) is not None:
                    return load(active.files)
        return load(complete({}, utc_now().date()))
    except RuleFaults as faults:
        raise click.ClickException(str(faults)) from None


def actor() -> str:
    """Who is acting, for the administrative audit chain."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def governance_of(settings: Settings) -> str:
    """The governance mode that the settings ask for."""
    return settings.governance_mode
