"""`router people`: who may look, decide and change; added, listed and ended, also while the service runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import msgspec

from router.cli.data import actor, announce, store
from router.clock import utc_now
from router.errors import Refused
from router.exchange import JsonObject
from router.governance import people as governance
from router.principals import Person, Role
from router.settings import load_settings
from router.storage.sql.people import SqlPeople


@click.group()
def people() -> None:
    """People: an e-mail address, roles, and a token with which they sign in."""


@people.command()
@click.argument("email")
@click.option(
    "--role", "roles", multiple=True, required=True, type=click.Choice([role.value for role in Role]), help="May be repeated."
)
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), help="Last day (UTC) on which the token works.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def add(email: str, roles: tuple[str, ...], expires: datetime | None, as_json: bool) -> None:
    """Add a person and show their token, this once."""
    settings = load_settings()
    until = expires.replace(tzinfo=UTC) + timedelta(days=1) if expires else None
    with store(settings) as engine:
        try:
            made = governance.add(SqlPeople(engine), email, roles, actor=actor(), at=utc_now(), expires=until)
        except Refused as error:
            raise click.ClickException(str(error)) from None
    announce(settings)
    if as_json:
        click.echo(msgspec.json.encode({**shown(made.person), "token": made.token}).decode())
        return
    click.echo(f"{made.token}\n  {made.person.email}, {', '.join(made.person.roles)}; shown this once: it is stored as a hash")


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


def shown(person: Person) -> JsonObject:
    """What may be shown of a person."""
    document: JsonObject = msgspec.to_builtins(person)
    del document["sha256"]
    return document
