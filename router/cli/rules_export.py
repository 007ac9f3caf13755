"""`router rules export` and `router rules import`: the files in force, or the rules in a form that other tools read and write."""

from __future__ import annotations

import json
from pathlib import Path

import click
import msgspec

from router.cli.data import rules_for, store
from router.clock import utc_now
from router.settings import load_settings
from router.storage.sql.rules import RuleStore
from routing_rules.faults import RuleFaults
from routing_rules.load import STARTING_SETS, complete, load, read_directory, shipped

CEDAR_FILES = ("policies.cedar", "schema.cedarschema", "entities.json")


@click.command()
@click.argument("what", metavar="[DIR | cedar | json | xlsx]")
@click.option("--set", "name", type=click.Choice([*STARTING_SETS]), help="A starting set instead of the files in force.")
@click.argument("to", required=False, type=click.Path(path_type=Path))
@click.option(
    "--rules", "directory", type=click.Path(path_type=Path, file_okay=False), help="Rule files; default: those in force."
)
def export(what: str, to: Path | None, directory: Path | None, name: str | None) -> None:
    """Write the files in force to a directory, to edit them there; or export the rules.

    \b
    export DIR             the governed files (a directory that is called like a form: ./json)
    export cedar DIR       policies.cedar, schema.cedarschema and entities.json, for Cedar's tools
    export json [FILE]     everything that is in force as one document; default: standard output
    export xlsx FILE       the decision table as a workbook, for `router rules import xlsx`
    """
    if what == "cedar":
        click.echo(_cedar(_needed(what, to), directory))
    elif what == "json":
        from routing_rules.export_json import document

        text = msgspec.json.format(msgspec.json.encode(document(rules_for(load_settings(), directory))), indent=2).decode() + "\n"
        if to is None:
            click.echo(text, nl=False)
        else:
            to.write_text(text, encoding="utf-8")
            click.echo(f"the rules are in {to}")
    elif what == "xlsx":
        click.echo(_workbook(_needed(what, to), directory))
    elif to is not None:
        raise click.UsageError(f"`{what}` is no form of export: cedar, json, xlsx; or one directory for the governed files")
    else:
        click.echo(_files(Path(what), name))


def _needed(what: str, to: Path | None) -> Path:
    if to is None:
        raise click.UsageError(f"say where to: router rules export {what} PATH")
    return to


def _files(directory: Path, name: str | None = None) -> str:
    from routing_rules.schema import written

    today = utc_now().date()
    if name is not None:
        active, files = None, complete(shipped(today, name), today)
    else:
        with store(load_settings()) as engine:
            active = RuleStore(engine).current()
        files = dict(active.files) if active is not None else complete({}, today)
    for name, text in {**files, **written()}.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return f"{len(files)} files in {directory}" + (f", revision {active.revision}" if active else ", as shipped")


def _cedar(to: Path, directory: Path | None) -> str:
    from routing_rules.export_cedar import entities, policies, schema

    rules = rules_for(load_settings(), directory)
    to.mkdir(parents=True, exist_ok=True)
    texts = (policies(rules), schema(rules), json.dumps(entities(rules), indent=2) + "\n")
    for name, text in zip(CEDAR_FILES, texts, strict=True):
        (to / name).write_text(text, encoding="utf-8")
    return f"{', '.join(CEDAR_FILES)} in {to}, of revision {rules.revision}"


def _workbook(to: Path, directory: Path | None) -> str:
    from router.governance.workbooks import workbook

    rules = rules_for(load_settings(), directory)
    try:
        to.write_bytes(workbook(rules))
    except RuleFaults as faults:
        raise click.ClickException(str(faults)) from None
    return f"the decision table of {rules.revision} is in {to}"


@click.command("import")
@click.argument("form", type=click.Choice(["xlsx"]))
@click.argument("table", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--into",
    "directory",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The directory of rule files to change; where there is none, it is made from those in force.",
)
def import_(form: str, table: Path, directory: Path) -> None:
    """Bring an edited decision table into a directory of rule files, for `router rules propose --from` it.

    What the table does not change stays to the letter, comments included. Nothing is written where a cell is wrong; exit status 1 then.
    """
    from router.governance.workbooks import files_of

    if not directory.exists():
        _files(directory)
    try:
        own = read_directory(directory)
        before = complete(own, utc_now().date())
        after = files_of(table.read_bytes(), load(before))
    except RuleFaults as faults:
        raise click.ClickException(f"{table.name} is not taken over:\n{faults}") from None
    changed = sorted(name for name, text in after.items() if text != before.get(name))
    for name in changed:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(after[name], encoding="utf-8")
    click.echo(f"{', '.join(changed)} changed in {directory}" if changed else f"the table says what {directory} says already")
