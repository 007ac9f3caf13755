"""`router approvals`: what waits for a person, and the decision on it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
import msgspec
from sqlalchemy import Engine

from router.cli.data import actor, redis_url, store
from router.clock import utc_now
from router.errors import Refused, RouterError
from router.exchange import JsonObject
from router.governance import approvals as governance
from router.governance import people
from router.governance.approvals import Decider
from router.money import usd
from router.principals import SINGLE
from router.secret_key import read_secret
from router.settings import Settings, load_settings
from router.storage.redis_approvals import RedisApprovals
from router.storage.redis_client import RedisClient
from router.storage.sql.approvals import SqlApprovals
from router.storage.sql.people import load_people
from router.storage.sql.rules import RuleStore

T = TypeVar("T")
TOKEN = "ROUTER_TOKEN"  # noqa: S105 - the name of a variable
STATUSES = ("pending", "approved", "denied", "used", "expired")


@click.group()
def approvals() -> None:
    """Calls and tasks that wait for a person."""


@approvals.command("list")
@click.option("--status", type=click.Choice(STATUSES), default="pending", show_default=True)
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def list_approvals(status: str, limit: int, as_json: bool) -> None:
    """What waits, the oldest first; or what became of the latest ones."""
    settings = load_settings()
    if status == governance.PENDING:
        waiting = in_redis(settings, lambda approvals: approvals.pending(utc_now()))
        rows = [governance.shown(one) for one in waiting[:limit]]
    else:
        with store(settings) as engine:
            rows = [msgspec.to_builtins(row) for row in SqlApprovals(engine).history(status=status, limit=limit)]
    if as_json:
        click.echo(msgspec.json.encode(rows).decode())
        return
    for row in rows:
        what = ", ".join(row["tools"]) or "the task itself"
        by = f"  {row['decided_by']}" if row["decided_by"] else ""
        click.echo(f"{row['id']}  {row['app']:20}  {what:30}  {', '.join(row['reasons']) or row['rule']}  {row['asked']}{by}")


@approvals.command()
@click.argument("approval_id")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def show(approval_id: str, as_json: bool) -> None:
    """Everything that is needed to judge it. Values that were found to be sensitive are masked."""
    settings = load_settings()
    found = in_redis(settings, lambda approvals: approvals.waiting(approval_id))
    if found is not None:
        document = governance.shown(found)
    else:
        with store(settings) as engine:
            row = SqlApprovals(engine).one(approval_id)
        if row is None:
            raise click.ClickException(f"there is no approval `{approval_id[:64]}`")
        document = msgspec.to_builtins(row)
    click.echo(msgspec.json.encode(document).decode() if as_json else told(document))


@approvals.command()
@click.argument("approval_id")
@click.option("--token", envvar=TOKEN, help="Of the person who decides. Under `single` it may be left out.")
@click.option("--note", default="", help="Why, for the record.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def approve(approval_id: str, token: str | None, note: str, as_json: bool) -> None:
    """Let the app have it, once."""
    decide(approval_id, token, note, as_json, yes=True)


@approvals.command()
@click.argument("approval_id")
@click.option("--token", envvar=TOKEN, help="Of the person who decides. Under `single` it may be left out.")
@click.option("--note", default="", help="Why, for the record.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def reject(approval_id: str, token: str | None, note: str, as_json: bool) -> None:
    """Deny it; the same calls stay denied until it would have expired."""
    decide(approval_id, token, note, as_json, yes=False)


def decide(approval_id: str, token: str | None, note: str, as_json: bool, *, yes: bool) -> None:
    """Decide as the person behind the token, or as whoever holds the data directory."""
    settings = load_settings()
    with store(settings) as engine:
        decider = decider_of(engine, token)
        mode = mode_of(settings, engine)

        async def work(approvals: RedisApprovals) -> governance.Waiting:
            found = await approvals.waiting(approval_id)
            made_by = SqlApprovals(engine).maker_of(found.held.key_id) if found is not None else None
            return await governance.decide(
                approvals,
                approval_id,
                decider,
                approve=yes,
                via="cli",
                note=note,
                now=utc_now(),
                governance=mode,
                made_by=made_by,
            )

        decided = in_redis(settings, work)
    if as_json:
        click.echo(msgspec.json.encode(governance.shown(decided)).decode())
        return
    click.echo(f"{approval_id}: {decided.history.status} by {decided.history.decided_by}")


def decider_of(engine: Engine, token: str | None) -> Decider:
    """The person behind a token; without one, whoever is logged in."""
    if token is None:
        return Decider(f"{actor()} (command line)")
    person = load_people(engine).get(hashlib.sha256(token.strip().encode()).hexdigest())
    if person is None or people.state_of(person, utc_now()) != "active":
        raise click.ClickException("--token: nobody signs in with this token")
    return Decider(person.email, person)


def mode_of(settings: Settings, engine: Engine) -> str:
    """The stricter of what the settings say and what the rules in force were put there by: the service may have been told otherwise."""
    active = RuleStore(engine).current()
    moved = active.governance if active is not None else SINGLE
    return settings.governance_mode if moved == SINGLE else moved


def in_redis(settings: Settings, work: Callable[[RedisApprovals], Awaitable[T]]) -> T:
    """Do something with the service's approvals; what cannot be done is one sentence."""
    url = redis_url(settings)
    if url is None:
        raise click.ClickException("Redis does not answer: is the service running?")

    async def run() -> T:
        client = RedisClient(url, cluster=settings.redis_cluster)
        try:
            return await work(RedisApprovals(client, read_secret(settings)))
        finally:
            await client.aclose()

    try:
        return asyncio.run(run())
    except Refused as refusal:
        raise click.ClickException(refusal.message) from None
    except RouterError as error:
        raise click.ClickException(f"{error.message}: is the service running?") from None


def told(row: JsonObject) -> str:
    """An approval in words."""
    lines = [f"{row['id']}: {row['status']}" + (f" by {row['decided_by']}" if row["decided_by"] else "")]
    lines.append(f"  asked by    the app `{row['app']}` of {row['owner']}, for `{row['purpose']}`, at {row['asked']}")
    lines.append(f"  rule        {row['rule']} of revision {row['revision']}; expires {row['expires']}")
    so_far = row.get("session_so_far")
    if so_far:
        lines.append(
            f"  session     {row['session']}: {so_far['confidentiality']}, {so_far['integrity']}; {so_far['requests']} requests, "
            f"{so_far['tool_calls']} calls, ${usd(so_far['spent_nano'])}; has used {', '.join(so_far['used']) or 'nothing'}; "
            f"drift {so_far['drift']:.2f}"
        )
    for call in row.get("calls", ()):
        lines.append(f"  call        {call['name']} ({call['tool']}, owner {call['owner']}): {', '.join(call['capabilities'])}")
        lines.append(f"              {msgspec.json.encode(call['arguments']).decode()}")
        lines += [f"              {why['code']}: passes where {why['remedy']}" for why in call["why"]]
        lines.append(f"              drift {call['drift']:.2f}")
    return "\n".join(lines)
