"""`router people`: who may look, decide and change; added, listed and ended, also while the service runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import click
import msgspec
from sqlalchemy import Engine

from router.cli.data import actor, announce, governance_of, store
from router.clock import utc_now
from router.errors import Refused
from router.exchange import JsonObject
from router.governance import people as governance
from router.principals import Person, Role
from router.settings import load_settings
from router.storage.sql.people import SqlPeople, load_people
from router.storage.sql.rules import RuleStore

with_token = click.option(
    "--token", envvar="ROUTER_TOKEN", help="A person's token; under four_eyes an admin's. Default: ROUTER_TOKEN."
)


@click.group()
def people() -> None:
    """People: an e-mail address, roles, and a token with which they sign in."""


@people.command()
@click.argument("email")
@click.option(
    "--role", "roles", multiple=True, required=True, type=click.Choice([role.value for role in Role]), help="May be repeated."
)
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), help="Last day (UTC) on which the token works.")
@with_token
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def add(email: str, roles: tuple[str, ...], expires: datetime | None, token: str | None, as_json: bool) -> None:
    """Add a person and show their token, this once. Under four_eyes another admin confirms them."""
    settings = load_settings()
    until = expires.replace(tzinfo=UTC) + timedelta(days=1) if expires else None
    with store(settings) as engine:
        try:
            mode, who = RuleStore(engine).mode(governance_of(settings)), acting(engine, token)
            made = governance.add(SqlPeople(engine), email, roles, actor=who, at=utc_now(), governance=mode, expires=until)
        except Refused as error:
            raise click.ClickException(str(error)) from None
    announce(settings)
    if as_json:
        click.echo(msgspec.json.encode({**shown(made.person), "token": made.token}).decode())
        return
    click.echo(f"{made.token}\n  {made.person.email}, {', '.join(made.person.roles)}; shown this once: it is stored as a hash")
    if made.person.waits:
        click.echo(f"  of no use until another admin confirms it: router people confirm {made.person.email} --token rp-…")


@people.command()
@click.argument("who", metavar="EMAIL|ID")
@with_token
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def confirm(who: str, token: str | None, as_json: bool) -> None:
    """Let in a person whom another admin has added."""
    settings = load_settings()
    with store(settings) as engine:
        try:
            person = governance.confirm(SqlPeople(engine), who, actor=acting(engine, token), at=utc_now())
        except Refused as error:
            raise click.ClickException(str(error)) from None
    announce(settings)
    click.echo(msgspec.json.encode(shown(person)).decode() if as_json else f"confirmed {person.email} ({person.prefix}…)")


@people.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def list_people(as_json: bool) -> None:
    """Everybody there ever was, oldest first, without their tokens."""
    now = utc_now()
    with store(load_settings()) as engine:
        rows = [shown(person) | {"state": governance.state_of(person, now)} for person in SqlPeople(engine).all()]
    if as_json:
        click.echo(msgspec.json.encode(rows).decode())
        return
    for row in rows:
        click.echo(f"{row['id']}  {row['prefix']}…  {row['email']:32}  {row['state']:8}  {', '.join(row['roles'])}")


@people.command()
@click.argument("who", metavar="EMAIL|ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def end(who: str, as_json: bool) -> None:
    """End a person; every worker refuses their token within a second."""
    settings = load_settings()
    with store(settings) as engine:
        try:
            person = governance.end(SqlPeople(engine), who, actor=actor(), at=utc_now())
        except Refused as error:
            raise click.ClickException(str(error)) from None
    announce(settings, revoked=person.id)
    click.echo(msgspec.json.encode(shown(person)).decode() if as_json else f"ended {person.email} ({person.prefix}…)")


def acting(engine: Engine, token: str | None) -> governance.Actor:
    """The person behind a token; without one, whoever is logged in on this machine."""
    if token is None:
        return governance.Actor(actor(), local=True)
    person = load_people(engine).get(sha256(token.strip().encode()).hexdigest())
    if person is None or governance.state_of(person, utc_now()) != governance.ACTIVE or not person.holds(Role.ADMIN):
        raise click.ClickException("--token: no admin signs in with this token")
    return governance.Actor(person.email, person)


def shown(person: Person) -> JsonObject:
    """What may be shown of a person."""
    document: JsonObject = msgspec.to_builtins(person)
    del document["sha256"]
    return document
