"""`router ledger`: what is booked for a request, uses without a price, and corrections. Nothing that is booked is ever edited."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import BinaryIO, TypeVar

import click
import msgspec

from router.cli.acting import acting, with_token
from router.cli.data import governance_of, redis_url, rules_for, store, until_drained
from router.clock import utc_now
from router.errors import Refused, RouterError
from router.governance import corrections
from router.money import usd
from router.settings import Settings, load_settings
from router.storage.redis_client import RedisClient
from router.storage.redis_corrections import RedisCorrections
from router.storage.sql.corrections import SqlCorrections
from router.storage.sql.ledger import entry_of
from routing_rules.rules import RuleSet

T = TypeVar("T")

LONGEST_FILE = 1_000_000


@click.group()
def ledger() -> None:
    """The ledger: what is booked, and corrections of it."""


@ledger.command()
@click.argument("request_id")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def show(request_id: str, as_json: bool) -> None:
    """What is booked for a request, line by line."""
    with store(load_settings()) as engine:
        found = entry_of(engine, request_id)
    if found is None:
        raise click.ClickException("the ledger has no request of this id")
    entry, lines = found
    if as_json:
        click.echo(msgspec.json.encode({"entry": entry, "lines": lines}).decode())
        return
    click.echo(
        f"{entry.request_id}  {entry.app}  {entry.owner}  {entry.outcome or 'open'}  ${usd(entry.cost_nano)}  {entry.basis or ''}"
    )
    for line in lines:
        price = "no price" if line.unit_price is None else f"${usd(line.unit_price)} per million"
        about = f"  about line {line.corrects}" if line.corrects is not None else ""
        click.echo(
            f"  {line.line:>3}  {line.at:%Y-%m-%d %H:%M}  attempt {line.attempt}  {line.deployment}  {line.token_class}  "
            f"{line.quantity} {line.unit}  {price}  ${usd(line.cost_nano)}{about}"
        )


@ledger.command()
@click.option("--wait", is_flag=True, help="First wait until no record is on its way from Redis to SQL any more.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def unpriced(wait: bool, as_json: bool) -> None:
    """Uses that no price was known for, by model and token class. They cost nothing yet: `router ledger price` prices them."""
    settings = load_settings()
    if wait:
        until_drained(settings)
    with store(settings) as engine:
        found = SqlCorrections(engine).unpriced_uses()
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    for use in found:
        click.echo(
            f"{use.deployment}  {use.model}  {use.token_class}  {use.quantity} {use.unit} in {use.requests} requests  "
            f"{use.first:%Y-%m-%d} to {use.last:%Y-%m-%d}"
        )
    if not found:
        click.echo("every use has its price")


@ledger.command()
@with_token
def price(token: str | None) -> None:
    """Price the uses without a price by the prices in force, as corrections. May be called again after whatever ended it."""
    settings = load_settings()
    until_drained(settings)
    rules = rules_for(settings)
    with store(settings) as engine:
        done = booking(
            settings,
            lambda books: corrections.price(
                SqlCorrections(engine),
                books,
                actor=acting(engine, token),
                at=utc_now(),
                governance=governance_of(settings),
                price_of=corrections.prices_of(tuple(rules.deployments.values())),
                periods_of=periods_of(rules),
            ),
        )
    click.echo(f"{done.lines} lines of {done.requests} requests now have a price, ${usd(done.added_nano)} in all")
    if done.skipped:
        click.echo(f"{done.skipped} requests have something on its way to the ledger: call it again in a moment")
    for model, quantity in sorted(done.unpriced.items()):
        click.echo(f"no price is known of `{model}` for {quantity} units: add it to prices.yaml")
    for model, quantity in sorted(done.untold.items()):
        click.echo(
            f"not priced: {quantity} units of `{model}`, whose price depends on the service tier, which was not recorded then: state them "
            "with `router ledger correct`"
        )


@ledger.command()
@click.argument("request_id")
@click.option("--lines", "file", type=click.File("rb"), required=True, help="JSON list of lines; `-`: standard input.")
@click.option("--reason", required=True, help="Why, for the administrative audit chain.")
@with_token
def correct(request_id: str, file: BinaryIO, reason: str, token: str | None) -> None:
    """State what a request used and cost in the end, say after an invoice. The lines replace all that the ledger has of it.

    Each line names `token_class` and `quantity`, and where they are not as before `attempt`, `unit_price` and `list_price` (nano-USD per
    million), `unit`, `deployment`, `provider`, `model`.
    """
    settings = load_settings()
    try:
        stated = msgspec.json.decode(file.read(LONGEST_FILE), type=list[corrections.Stated])
    except (msgspec.DecodeError, ValueError) as error:
        raise click.ClickException(f"--lines: {error}") from None
    until_drained(settings)
    rules = rules_for(settings)
    with store(settings) as engine:
        added = booking(
            settings,
            lambda books: corrections.correct(
                SqlCorrections(engine),
                books,
                request_id,
                stated,
                reason=reason,
                actor=acting(engine, token),
                at=utc_now(),
                governance=governance_of(settings),
                periods_of=periods_of(rules),
            ),
        )
    click.echo(f"{request_id} costs ${usd(abs(added))} {'less' if added < 0 else 'more'}")


def periods_of(rules: RuleSet) -> Callable[[str, datetime], str]:
    """The ids of the periods from which an owner pays at a moment, as reservations name them."""

    def named(owner: str, moment: datetime) -> str:
        limits = rules.limits_of(owner, moment)
        return " ".join((limits.month, *(period for period, _ in limits.others)))

    return named


def booking(settings: Settings, work: Callable[[RedisCorrections], Awaitable[T]]) -> T:
    """Book corrections in the service's Redis; what cannot be done is one sentence."""
    url = redis_url(settings)
    if url is None:
        raise click.ClickException("corrections go through Redis, which does not answer: is the service running?")

    async def run(url: str) -> T:
        client = RedisClient(url, cluster=settings.redis_cluster, time_limit=10.0)
        try:
            return await work(RedisCorrections(client))
        finally:
            await client.aclose()

    try:
        return asyncio.run(run(url))
    except Refused as refusal:
        raise click.ClickException(refusal.message) from None
    except RouterError as error:
        raise click.ClickException(f"{error.message}: is the service running?") from None
