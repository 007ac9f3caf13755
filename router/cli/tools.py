"""`router tools`: the tools that may be offered, and those that wait for somebody to answer for them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TextIO

import click
import msgspec

from router.cli.acting import acting, with_token
from router.cli.data import actor, announce, rules_for, store
from router.clock import utc_now
from router.exchange import JsonObject
from router.governance import rules as governance
from router.governance import tools as registry
from router.settings import load_settings
from router.storage.sql.people import SqlPeople
from router.storage.sql.registrations import SqlRegistrations
from router.storage.sql.rules import RuleStore
from routing_rules.catalogue import EntitlementSet, Tool
from routing_rules.load import APPROVAL_BOUNDARIES, load
from routing_rules.vocabulary import Capability

AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document.")
ADDRESS = click.option("--url", "address", default="", help="Where the MCP server is: `https://…` or `connector:ID`.")


@click.group()
def tools() -> None:
    """Tools: what is registered, and what waits for an owner."""


@tools.command()
@AS_JSON
def pending(as_json: bool) -> None:
    """Tools that were asked for or imported and that nobody has registered, each with the class that is suggested."""
    with store(load_settings()) as engine:
        found = registry.pending(SqlRegistrations(engine))
    if as_json:
        click.echo(msgspec.json.encode([shown(each) for each in found]).decode())
        return
    for each in found:
        click.echo(
            f"{qualified(each):40}  {each.kind:9}  {', '.join(sorted(each.suggestion.capabilities))}"
            f"  asked for by {', '.join(each.apps) or 'nobody yet'}, last {each.last_seen:%Y-%m-%d %H:%M}"
        )
    click.echo("confirm with: router tools confirm NAME --owner E-MAIL --set SET" if found else "nothing is pending")


@tools.command("list")
@AS_JSON
def list_tools(as_json: bool) -> None:
    """Every tool of the rules in force, with the sets that hold it."""
    rules = rules_for(load_settings())
    today = utc_now().date()
    rows = [entry(tool, rules.sets.values()) for tool in rules.tools.values()]
    if as_json:
        click.echo(msgspec.json.encode(rows).decode())
        return
    for row in rows:
        overdue = [each.id for each in rules.sets.values() if each.id in row["sets"] and each.granted_until < today]
        late = f"  (review overdue: {', '.join(overdue)})" if overdue else ""
        click.echo(f"{row['id']:32}  {', '.join(row['capabilities'])}  in {', '.join(row['sets']) or 'no set'}{late}")


@tools.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--owner", required=True, help="Who answers for the tool (e-mail).")
@click.option("--set", "sets", multiple=True, help="An entitlement set that shall hold it; may be repeated.")
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    type=click.Choice([each.value for each in Capability]),
    help="What it can do, in place of what is suggested; may be repeated.",
)
@click.option(
    "--approval", type=click.Choice(APPROVAL_BOUNDARIES), help="How often a person approves. Unset: grave acts each time."
)
@ADDRESS
@click.option("--internal", is_flag=True, help="The MCP server is ours: it gets the entitlement token.")
@with_token
@AS_JSON
def confirm(
    names: tuple[str, ...],
    owner: str,
    sets: tuple[str, ...],
    capabilities: tuple[str, ...],
    approval: str | None,
    address: str,
    internal: bool,
    token: str | None,
    as_json: bool,
) -> None:
    """Register pending tools: a new revision of the rules, or a proposal under four_eyes."""
    said = registry.Confirmation(
        owner=owner,
        sets=sets,
        capabilities=frozenset(map(Capability, capabilities)) if capabilities else None,
        approval=approval,
        address=checked(address),
        internal=internal,
    )
    settings = load_settings()
    with store(settings) as engine:
        try:
            revision, active, made = registry.confirm(
                RuleStore(engine),
                SqlRegistrations(engine),
                names,
                said,
                by=acting(engine, token),
                governance_mode=settings.governance_mode,
                at=utc_now(),
                people=SqlPeople(engine).all(),
            )
        except (registry.NoSuchTool, governance.NotAllowed) as error:
            raise click.ClickException(str(error)) from None
        held = load(revision.files).sets.values()
    announce(settings)
    if as_json:
        document = {"revision": revision.revision, "in_force": active, "tools": [entry(tool, held) for tool in made]}
        click.echo(msgspec.json.encode(document).decode())
        return
    state = "is in force" if active else "is proposed: a second person puts it in force with `router rules activate`"
    click.echo(f"{revision.revision} {state}")
    for tool in made:
        row = entry(tool, held)
        where = f"in {', '.join(row['sets'])}" if row["sets"] else "in no entitlement set yet: name one with --set"
        click.echo(f"  {tool.id}: {', '.join(row['capabilities'])}, approval {tool.approval_boundary}, {where}")


@tools.command()
@click.argument("names", nargs=-1, required=True)
@AS_JSON
def reject(names: tuple[str, ...], as_json: bool) -> None:
    """Leave pending tools out; they stay withheld, and nobody is asked again."""
    settings = load_settings()
    with store(settings) as engine:
        try:
            rejected = registry.reject(SqlRegistrations(engine), names, actor=actor(), at=utc_now())
        except registry.NoSuchTool as error:
            raise click.ClickException(str(error)) from None
    announce(settings)
    told = [qualified(each) for each in rejected]
    click.echo(msgspec.json.encode(told).decode() if as_json else f"rejected: {', '.join(told)}")


@tools.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option(
    "--server", default="", help="Label of the MCP server whose `tools/list` this is: its tools are pinned as they are."
)
@ADDRESS
@AS_JSON
def import_file(file: TextIO, server: str, address: str, as_json: bool) -> None:
    """Register every tool of a list that is new or has changed: OpenAI's `tools` array, or the result of MCP's `tools/list`."""
    try:
        found = registry.listed(json.load(file), server, checked(address))
    except (ValueError, RecursionError) as error:
        told = str(error) if isinstance(error, registry.NotATool) else "not valid JSON"
        raise click.ClickException(f"`{file.name}`: {told}") from None
    settings = load_settings()
    rules = rules_for(settings)
    with store(settings) as engine:
        done = registry.import_tools(SqlRegistrations(engine), rules, found, at=utc_now())
    if as_json:
        click.echo(msgspec.json.encode(done).decode())
        return
    click.echo(f"{len(done.pending)} pending, {len(done.known)} known as they are")
    for name in done.pending:
        click.echo(f"  {name}")
    if done.gone:
        click.echo(f"no longer offered by `{server}`: {', '.join(done.gone)}")


def checked(address: str) -> str:
    """The address. Raises ClickException where tools.yaml would not take it."""
    if address and not registry.is_address(address):
        raise click.ClickException("--url: expected `https://…` without a user, a query or a fragment, or `connector:ID`")
    return address


def qualified(registration: registry.Registration) -> str:
    """The name by which a registration is confirmed."""
    whole = not registration.server or registration.server == registration.name
    return registration.name if whole else f"{registration.server}.{registration.name}"


def shown(registration: registry.Registration) -> JsonObject:
    """A registration as a document."""
    document: JsonObject = msgspec.to_builtins(registration, order="sorted")
    return document


def entry(tool: Tool, sets: Iterable[EntitlementSet]) -> JsonObject:
    """A tool as a document, with the ids of the sets that hold it."""
    document: JsonObject = msgspec.to_builtins(tool, order="sorted")
    return document | {"pinned": dict(tool.pinned), "sets": sorted(each.id for each in sets if tool.id in each.tools)}
