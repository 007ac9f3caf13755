"""`router report periods | close | reopen | verify | statement | statements`: months that close, and what cost centres pay for them."""

from __future__ import annotations

import hashlib
import re
import sys
from datetime import datetime
from pathlib import Path

import click
import msgspec

from router.cli.acting import acting, with_token
from router.cli.data import governance_of, store, with_redis
from router.clock import utc_now
from router.errors import Refused
from router.governance import months as governance
from router.money import usd
from router.reports.statement import FORMATS
from router.settings import Settings, load_settings
from router.storage.redis_client import RedisClient
from router.storage.redis_undrained import undrained
from router.storage.sql.months import SqlMonths
from router.storage.sql.rules import RuleStore
from router.storage.sql.statements import SqlStatements

_SAFE = re.compile(r"[^A-Za-z0-9._-]")

with_json = click.option("--json", "as_json", is_flag=True, help="One JSON document.")
with_format = click.option("--format", "form", type=click.Choice(FORMATS), default="html", show_default=True)


@click.command()
@with_json
def periods(as_json: bool) -> None:
    """Closed months, the one that is next, and what holds it up."""
    with store(load_settings()) as engine:
        months = SqlMonths(engine)
        closed, standing = months.all(), months.standing(utc_now())
    if as_json:
        document = {"data": [_shown(period) for period in closed], "next": standing.next, "held_up_by": standing.hindrances}
        click.echo(msgspec.json.encode(document).decode())
        return
    for period in closed:
        total = (
            "" if period.total_nano is None else f"  {usd(period.total_nano)} USD, sha256 {period.digest}, by {period.closed_by}"
        )
        asked = f"; {period.asked_by} asks to open it again" if period.asked_by else ""
        click.echo(f"{period.month}  {period.state:6}  version {period.version}{total}{asked}")
    if standing.next is None:
        click.echo("nothing was ever booked")
    else:
        when = "has ended" if standing.ended else f"ends {standing.next.ends.isoformat()}"
        held = "".join(f"; {one.count} {one.what}: {', '.join(one.examples)}" for one in standing.hindrances)
        click.echo(f"{standing.next.month}  next    {when}{held}")


@click.command()
@click.argument("month", metavar="YYYY-MM")
@with_token
@with_json
def close(month: str, token: str | None, as_json: bool) -> None:
    """Freeze a month that has ended. What is booked later stands in the next one."""
    settings = load_settings()
    at = utc_now()
    with store(settings) as engine:
        months = SqlMonths(engine)
        who = acting(engine, token)
        waiting = _waiting(settings, governance.written_before(months.standing(at), at))
        mode = RuleStore(engine).mode(governance_of(settings))
        actor = governance.Actor(who.name, who.person)
        try:
            period = governance.close(months, month, actor=actor, at=at, governance=mode, undrained=waiting)
        except Refused as error:
            raise click.ClickException(error.message) from None
    if as_json:
        click.echo(msgspec.json.encode(_shown(period)).decode())
        return
    click.echo(f"closed {period.month}, version {period.version}: {usd(period.total_nano or 0)} USD\nsha256 {period.digest}")


@click.command()
@click.argument("month", metavar="YYYY-MM")
@with_token
@with_json
def reopen(month: str, token: str | None, as_json: bool) -> None:
    """Open the last closed month again: one person asks, another one confirms by the same command."""
    with store(load_settings()) as engine:
        who = acting(engine, token)
        try:
            period = governance.reopen(SqlMonths(engine), month, actor=governance.Actor(who.name, who.person), at=utc_now())
        except Refused as error:
            raise click.ClickException(error.message) from None
    if as_json:
        click.echo(msgspec.json.encode(_shown(period)).decode())
    elif period.state == governance.OPEN:
        click.echo(f"{period.month} is open again; version {period.version} of its close is kept")
    else:
        click.echo(f"asked: somebody else with the role `finance` confirms by `router report reopen {period.month} --token rp-…`")


@click.command()
@with_json
def verify(as_json: bool) -> None:
    """Add closed months up from the ledger's lines again; exit status 1 where one is not as it was frozen."""
    with store(load_settings()) as engine:
        months = SqlMonths(engine)
        closed = sum(period.state == governance.CLOSED for period in months.all())
        wrong = months.wrong()
    if as_json:
        faults = [{"month": month, "message": what} for month, what in wrong]
        click.echo(msgspec.json.encode({"intact": not wrong, "months": closed, "faults": faults}).decode())
    else:
        for month, what in wrong:
            click.echo(f"{month}: {what}")
        click.echo(
            f"{closed} closed months, " + (f"{len(wrong)} NOT as they were frozen" if wrong else "all as they were frozen")
        )
    sys.exit(1 if wrong else 0)


@click.command()
@click.argument("cost_center", metavar="COST_CENTRE")
@click.option("--month", metavar="YYYY-MM", required=True)
@with_format
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write; default: standard output.")
def statement(cost_center: str, month: str, form: str, output: Path | None) -> None:
    """The chargeback statement of a cost centre (or of `unallocated`) for a month."""
    from router.reports.statement_files import rendered

    with store(load_settings()) as engine:
        try:
            content = rendered(SqlStatements(engine).statement(cost_center, month, utc_now()), form)
        except Refused as error:
            raise click.ClickException(error.message) from None
    if output is None:
        click.echo(content, nl=False)
    else:
        _write(output, content)
        click.echo(f"wrote {output}")


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--month", metavar="YYYY-MM", required=True)
@with_format
def statements(directory: Path, month: str, form: str) -> None:
    """The statements of all cost centres of a month, each as a file in a directory."""
    from router.reports.statement_files import rendered

    with store(load_settings()) as engine:
        made = SqlStatements(engine)
        try:
            found = made.cost_centers(month)
        except Refused as error:
            raise click.ClickException(error.message) from None
        directory.mkdir(parents=True, exist_ok=True)
        for center in found:
            path = directory / file_name(center.name, month, form)
            _write(path, rendered(made.statement(center.name, month, utc_now()), form))
            click.echo(f"{usd(center.cost_nano):>18}  {center.name}  {path.name}")
    click.echo(f"{usd(sum(center.cost_nano for center in found)):>18}  {len(found)} cost centres, {month}")


def file_name(cost_center: str, month: str, form: str) -> str:
    """The name of a statement's file: one that any file system takes, and no other cost centre's."""
    plain = _SAFE.sub("_", cost_center)[:80]
    # Some file systems do not tell `Ops` from `ops`.
    told = plain if plain == cost_center.lower() else f"{plain}-{hashlib.sha256(cost_center.encode()).hexdigest()[:8]}"
    return f"statement-{month}-{told}.{form}"


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _waiting(settings: Settings, before: datetime) -> list[str] | None:
    async def ask(client: RedisClient) -> list[str] | None:
        return await undrained(client, before)

    return with_redis(settings, ask)


def _shown(period: governance.Period) -> dict[str, object]:
    return {name: value for name, value in msgspec.to_builtins(period).items() if name != "document"}


COMMANDS = (periods, close, reopen, verify, statement, statements)
