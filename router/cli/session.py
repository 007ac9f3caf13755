"""`router session`: look at a session's balances, or end it everywhere."""

from __future__ import annotations

import click
import msgspec

from router.cli.data import with_redis
from router.exchange import SessionState
from router.money import usd
from router.settings import load_settings
from router.storage.redis_client import RedisClient
from router.storage.redis_sessions import RedisSessions


@click.group()
def session() -> None:
    """Sessions."""


@session.command()
@click.argument("session_id")
@click.option("--app", required=True, help="The app it belongs to.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def show(session_id: str, app: str, as_json: bool) -> None:
    """What a session holds: labels, balances, whether it has ended."""

    async def work(client: RedisClient) -> SessionState:
        return await RedisSessions(client).open(session_id, app, ())

    state = with_redis(load_settings(), work)
    if state is None:
        raise click.ClickException("Redis does not answer: is the service running?")
    if as_json:
        click.echo(msgspec.json.encode(state).decode())
        return
    if state.new:
        raise click.ClickException(f"the app `{app}` has no session `{session_id}`")
    click.echo(
        f"{session_id}: {state.labels.confidentiality}, {state.labels.integrity}; spent ${usd(state.spent_nano)}, "
        f"held ${usd(state.held_nano)}, {state.requests} requests" + (f"; ended: {state.ended}" if state.ended else "")
    )


@session.command()
@click.argument("session_id")
@click.option("--app", required=True, help="The app it belongs to.")
@click.option("--reason", default="ended by an operator", show_default=True)
def end(session_id: str, app: str, reason: str) -> None:
    """End a session everywhere; its next request is refused with `session_ended`."""

    async def work(client: RedisClient) -> bool:
        return await RedisSessions(client).end(session_id, reason, app)

    ended = with_redis(load_settings(), work)
    if ended is None:
        raise click.ClickException("Redis does not answer: is the service running?")
    if not ended:
        raise click.ClickException(f"the app `{app}` has no session `{session_id}`")
    click.echo(f"{session_id} has ended")
