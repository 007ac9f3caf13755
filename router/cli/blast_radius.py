"""`router blast-radius`: everything that an app or an entitlement set can reach, and what changed since a revision."""

from __future__ import annotations

import click
import msgspec

from router.cli.data import rules_for, store
from router.clock import utc_now
from router.exchange import JsonObject
from router.settings import Settings, load_settings
from router.storage.sql.rules import RuleStore
from routing_rules.blast_radius import Changed, Reach, changed, reach_of_app, reach_of_set
from routing_rules.load import load
from routing_rules.rules import RuleSet


@click.command("blast-radius")
@click.argument("identity")
@click.option("--since", help="A revision (`router rules log`): say also what changed since then.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def blast_radius(identity: str, since: str | None, as_json: bool) -> None:
    """Everything that an app, or an entitlement set, can reach at most under the rules in force."""
    settings = load_settings()
    rules = rules_for(settings)
    reach = reach_of(rules, identity)
    if reach is None:
        raise click.ClickException(f"there is no app and no entitlement set `{identity}` in revision {rules.revision}")
    difference = None
    if since is not None:
        earlier = earlier_rules(settings, since)
        difference = changed(reach_of(earlier, identity, reach.kind), reach, earlier.revision)
    if as_json:
        document: JsonObject = msgspec.to_builtins(reach, order="sorted")
        click.echo(msgspec.json.encode(document | {"changed": difference}).decode())
        return
    click.echo("\n".join(told(reach, difference)))


def reach_of(rules: RuleSet, identity: str, kind: str | None = None) -> Reach | None:
    """The reach of the app with this id, else of the set with it; of `kind` only, where that is given."""
    today = utc_now().date()
    if identity in rules.apps and kind != "set":
        return reach_of_app(rules, rules.apps[identity], today)
    if identity in rules.sets and kind != "app":
        return reach_of_set(rules, rules.sets[identity], today)
    return None


def earlier_rules(settings: Settings, revision: str) -> RuleSet:
    """The rules of a revision. Raises ClickException where there is none."""
    with store(settings) as engine:
        found = RuleStore(engine).get(revision)
        if found is None:
            raise click.ClickException(f"there is no revision `{revision}`: `router rules log` lists them")
        return load(found.files)


def told(reach: Reach, difference: Changed | None) -> list[str]:
    """The reach for people, line by line."""
    lines = [f"{reach.kind} {reach.id} (answers: {reach.owner}), revision {reach.revision}"]
    if reach.apps:
        lines.append(f"given to       {', '.join(reach.apps)}")
    lines.append(f"capabilities   {', '.join(reach.capabilities) or 'none'}")
    lines += [f"data           {level}: {', '.join(sources)}" for level, sources in reach.data.items()]
    for deployment in reach.deployments:
        ours = ", ours" if deployment.internal else ""
        lines.append(f"deployment     {deployment.id} ({deployment.region}{ours}): up to {deployment.up_to}")
    lines += [f"tool           {tool.id}: {', '.join(tool.capabilities)}; approval {tool.approval}" for tool in reach.tools]
    for each in reach.combinations:
        parts = "; ".join(f"{part} by {', '.join(sources)}" for part, sources in each.parts.items())
        excused = f" unless {' and '.join(each.excused_by)}" if each.excused_by else ""
        lines.append(f"combination    {each.id} ({each.outcome}{excused}): {parts}")
    lines += [f"in the way     {each.kind} {each.id}: {each.what} ({each.who})" for each in reach.in_the_way]
    if difference is not None:
        lines.append(f"since {difference.since}")
        lines += [f"  + {word}" for word in difference.gained] + [f"  - {word}" for word in difference.lost]
        lines += [f"  + in the way: {word}" for word in difference.guards_gained]
        lines += [f"  - in the way: {word}" for word in difference.guards_lost]
        if lines[-1].startswith("since"):
            lines.append("  nothing has changed")
    return lines
