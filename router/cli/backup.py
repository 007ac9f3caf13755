"""`router backup` and `router restore`."""

from __future__ import annotations

from pathlib import Path

import click

from router.cli.data import actor, announce, redis_url, rules_for, store, until_drained, with_redis
from router.clock import utc_now
from router.settings import load_settings
from router.storage.backup import BackupFault, close_lost, rebuild_owner_spend
from router.storage.backup import backup as back_up
from router.storage.backup import restore as bring_back
from router.storage.redis_client import RedisClient
from router.storage.redis_restore import rebuild
from router.storage.sql.migrate import store_fact

DIRECTORY = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("directory", type=DIRECTORY)
def backup(directory: Path) -> None:
    """Copy the store, the keys of the audit chain and the checkpoints; the service may run."""
    settings = load_settings()
    try:
        manifest = back_up(settings.data_dir, directory, settings.sql_url)
    except BackupFault as fault:
        raise click.ClickException(str(fault)) from None
    click.echo(f"{len(manifest.files)} files in {directory}")


@click.command()
@click.argument("directory", type=DIRECTORY, required=False)
def restore(directory: Path | None) -> None:
    """Bring a backup back into an empty data directory; without DIRECTORY, rebuild the balances of a Redis that was lost.

    The second closes what was under way at its worst case, ends all sessions, and sets what owners have spent from the ledger.
    """
    settings = load_settings()
    if directory is not None:
        try:
            bring_back(directory, settings.data_dir, settings.sql_url)
        except BackupFault as fault:
            raise click.ClickException(str(fault)) from None
        click.echo(f"restored from {directory}; the next start begins with an empty Redis")
        return
    if redis_url(settings) is None:
        raise click.ClickException("no Redis is running: start the service, or set REDIS_URL")
    rules = rules_for(settings)
    # What waits in the outbox has happened: it must be in the ledger before owners' spend is taken from there.
    until_drained(settings)
    now = utc_now()
    with store(settings) as engine:
        epoch = store_fact(engine, "epoch")
        lost = close_lost(engine, now, now)
        spent = rebuild_owner_spend(engine, rules, now)

    async def work(client: RedisClient) -> bool:
        await rebuild(client, epoch, spent)
        return True

    if not with_redis(settings, work):
        raise click.ClickException("Redis does not answer: nothing was rebuilt there")
    announce(settings)
    click.echo(
        f"rebuilt by {actor()}: {lost} open entries closed at their hold, {len({owner for owner, _ in spent})} owners' spend set, all sessions ended"
    )
