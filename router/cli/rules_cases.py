"""`router rules case` and `router rules cases`: a recorded request as a case, and what the cases cover."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from router.cli.data import rules_for, store, until_drained
from router.governance.cases import MadeCase, NoCase, made_case
from router.settings import load_settings
from router.storage.sql.evidence import account_of
from routing_rules.cases import Coverage, coverage, run_cases
from routing_rules.faults import RuleFaults

MOST_CELLS_TOLD = 12


@click.command()
@click.argument("request_id")
@click.option(
    "--append",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A case file to add it to; made where there is none.",
)
@click.option("--name", help="What the case is called; default: day, kind of task, app and request.")
@click.option(
    "--rules",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Rule files it is to hold under; default: those in force.",
)
@click.option("--wait", is_flag=True, help="First wait until no record is on its way from Redis to SQL any more.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def case(request_id: str, file: Path | None, name: str | None, directory: Path | None, wait: bool, as_json: bool) -> None:
    """A recorded request as a case: its facts, and what was decided on them; exit status 1 where the rules decide otherwise now."""
    settings = load_settings()
    if wait:
        until_drained(settings)
    rules = rules_for(settings, directory)
    with store(settings) as engine:
        account = account_of(engine, request_id)
    record = None if account is None else account.admitted or account.refused
    if record is None:
        raise click.ClickException(f"there is no record of a request `{request_id}`")
    try:
        made = made_case(record, rules, name)
        if file is not None:
            append(made, file)
    except NoCase as error:
        raise click.ClickException(str(error)) from None
    except RuleFaults as faults:
        raise click.ClickException(f"{file}: {faults}") from None
    if as_json:
        click.echo(msgspec.json.encode(made).decode())
    elif file is None:
        click.echo(made.text(), nl=False)
    else:
        click.echo(f"`{made.name}` is in {file}")
    for fault in made.faults:
        click.echo(f"router: under the rules now, it does not hold: {fault.message}; {fault.hint}", err=True)
    sys.exit(bool(made.faults))


def append(made: MadeCase, file: Path) -> None:
    """Add a case to a file, whose comments and order stay. Raises RuleFaults."""
    before = {file.name: file.read_text(encoding="utf-8")} if file.exists() else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(made.added_to(before, file.name)[file.name], encoding="utf-8")


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def cases(directory: Path | None, as_json: bool) -> None:
    """Which rules and cells the cases cover, of a directory of rule files or of those in force; exit status 1 where a case fails."""
    rules = rules_for(load_settings(), directory)
    covered, faults = coverage(rules), run_cases(rules)
    if as_json:
        document = {**msgspec.to_builtins(covered), "faults": msgspec.to_builtins(faults)}
        click.echo(msgspec.json.encode(document).decode())
    else:
        click.echo(told(covered))
        for fault in faults:
            click.echo(str(fault))
    sys.exit(bool(faults))


def told(covered: Coverage) -> str:
    """The coverage, for people."""
    width = max((len(row.rule) for row in covered.rules), default=0)
    lines = [
        f"{covered.cases} cases, {len(covered.failing)} of them fail; {covered.cells_covered} of {covered.cells} cells have one"
    ]
    for row in covered.rules:
        cells = f"{row.cells_covered} of {row.cells} plain cells" if row.cells else "no plain cell of its own"
        lines.append(f"{row.rule:{width}}  {row.effect:7}  {len(row.cases):3} cases  {cells}")
    if covered.without:
        lines.append(f"without a case: {', '.join(covered.without)}")
    if covered.empty:
        shown = ", ".join("/".join(cell) for cell in covered.empty[:MOST_CELLS_TOLD])
        more = len(covered.empty) - MOST_CELLS_TOLD
        lines.append(f"cells without a case: {shown}" + (f" and {more} more" if more > 0 else ""))
    return "\n".join(lines)
