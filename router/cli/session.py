"""`router session`: look at a session and what happened in it, see what is under way, end either everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
import msgspec

from router.api.sessions import Looking, reason_of
from router.cli.data import actor, redis_url, store
from router.clock import utc_now
from router.errors import Refused, RouterError
from router.money import usd
from router.reports.sessions import told
from router.secret_key import read_secret
from router.settings import load_settings
from router.storage.redis_approvals import RedisApprovals
from router.storage.redis_client import RedisClient
from router.storage.redis_running import RedisRunning
from router.storage.redis_sessions import RedisSessions
from router.storage.sql.approvals import SqlApprovals
from router.storage.sql.sessions import SqlSessions

T = TypeVar("T")


@click.group()
def session() -> None:
    """Sessions, and what is under way in them."""


@session.command()
@click.argument("session_id")
@click.option("--app", help="The app it belongs to; needed where several apps have a session of this id.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Latest requests to tell of.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def show(session_id: str, app: str | None, limit: int, as_json: bool) -> None:
    """What a session holds, what is under way in it, and everything that happened."""
    account = looking(lambda look: look.account(session_id, app, limit))
    if as_json:
        click.echo(msgspec.json.encode(account).decode())
        return
    if account["new"]:
        click.echo(f"{session_id} of {account['app']}: nothing is held of it any more; this is what the evidence has")
    else:
        labels = account["labels"]
        click.echo(
            f"{session_id} of {account['app']}: {labels['confidentiality']}, {labels['integrity']}; spent "
            f"${usd(account['spent_nano'])}, held ${usd(account['held_nano'])}, {account['requests']} requests, "
            f"{account['tool_calls']} calls, drift {account['drift']:.2f}"
            + (f"; ended: {account['ended']}" if account["ended"] else "")
        )
    for one in account["running"]:
        click.echo(progress_of(one))
    for event in account["timeline"]:
        click.echo(told(event))


@session.command()
@click.argument("session_id")
@click.option("--app", help="The app it belongs to; needed where several apps have a session of this id.")
@click.option("--reason", default="ended by an operator", show_default=True)
def end(session_id: str, app: str | None, reason: str) -> None:
    """End a session everywhere: its next request is refused, what is under way in it is cut, what waits in it is denied."""
    looking(lambda look: look.end(session_id, app, by=f"{actor()} (command line)", why=reason_of(reason)))
    click.echo(f"{session_id} has ended")


@session.command()
@click.option("--app", help="Only of this app.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def running(app: str | None, as_json: bool) -> None:
    """Every answer that is under way, on all replicas, and how far it is."""
    found = msgspec.to_builtins(looking(lambda look: look.running.looked_at(app)))
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    for one in found:
        click.echo(progress_of(one))


@session.command()
@click.argument("request_id")
@click.option("--reason", default="ended by an operator", show_default=True)
def stop(request_id: str, reason: str) -> None:
    """End one answer that is under way; its session goes on."""
    looking(lambda look: look.end_one(request_id, by=f"{actor()} (command line)", why=reason_of(reason)))
    click.echo(f"{request_id} was ended")


def looking(work: Callable[[Looking], Awaitable[T]]) -> T:
    """Look at sessions, or end them, in the stores of the service; what cannot be done is one sentence."""
    settings = load_settings()
    url = redis_url(settings)
    if url is None:
        raise click.ClickException("Redis does not answer: is the service running?")

    with store(settings) as engine:

        async def run() -> T:
            client = RedisClient(url, cluster=settings.redis_cluster)
            try:
                return await work(
                    Looking(
                        RedisSessions(client),
                        RedisRunning(client),
                        SqlSessions(engine),
                        RedisApprovals(client, read_secret(settings)),
                        SqlApprovals(engine),
                        utc_now,
                    )
                )
            finally:
                await client.aclose()

        try:
            return asyncio.run(run())
        except Refused as refusal:
            raise click.ClickException(refusal.message) from None
        except RouterError as error:
            raise click.ClickException(f"{error.message}: is the service running?") from None


def progress_of(one: dict[str, object]) -> str:
    """One line about an answer that is under way, from its plain JSON values."""
    progress = one["progress"]
    far = "no word of how far it is"
    if isinstance(progress, dict):
        left = progress["limits_left"]
        tokens = "in one piece" if progress["output_tokens"] is None else f"some {progress['output_tokens']} tokens"
        thought = progress["reasoning_tokens"]
        far = f"{tokens}, {thought or 0} of them reasoning; left: {left['output_tokens']} tokens"
    return (
        f"  under way  {one['request_id']}  {one['app']}  {one['session']}  {one['deployment']}  {one['elapsed_seconds']} s "
        f"({one['seconds_left']} s left)  {far}"
    )
