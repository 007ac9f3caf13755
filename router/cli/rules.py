"""`router rules`: check, export, propose, put in force, and the log of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from classifiers.recalls import published
from router.cli.data import actor, announce, store
from router.clock import utc_now
from router.governance import rules as governance
from router.settings import load_settings
from router.storage.sql.rules import RuleStore
from routing_rules.cases import run_cases
from routing_rules.check import check as check_rules
from routing_rules.faults import Fault, RuleFaults, Severity
from routing_rules.load import complete, load, read_directory

DIRECTORY = click.Path(path_type=Path, file_okay=False)


@click.group()
def rules() -> None:
    """The governed rules: which task may go where, with which tools and which budget."""


@rules.command()
@click.option("--rules", "directory", type=DIRECTORY, help="A directory of rule files; default: the rules in force.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def check(directory: Path | None, as_json: bool) -> None:
    """Everything that is wrong with the rules, or worth a look; exit status 1 where there is an error."""
    today = utc_now().date()
    faults: Sequence[Fault]
    try:
        if directory is not None:
            files = complete(read_directory(directory), today)
        else:
            with store(load_settings()) as engine:
                active = RuleStore(engine).current()
            files = dict(active.files) if active is not None else complete({}, today)
        loaded = load(files)
        faults = [*check_rules(loaded, today, published()), *run_cases(loaded)]
    except RuleFaults as error:
        faults = error.faults
    if as_json:
        click.echo(msgspec.json.encode(faults).decode())
    else:
        for fault in faults:
            click.echo(str(fault))
        if not faults:
            click.echo("no faults")
    sys.exit(any(fault.severity is Severity.ERROR for fault in faults))


@rules.command()
@click.argument("directory", type=DIRECTORY)
def export(directory: Path) -> None:
    """Write the files in force to a directory, to edit them there."""
    with store(load_settings()) as engine:
        active = RuleStore(engine).current()
    files = dict(active.files) if active is not None else complete({}, utc_now().date())
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    click.echo(f"{len(files)} files in {directory}" + (f", revision {active.revision}" if active else ", as shipped"))


@rules.command()
@click.option("--from", "directory", type=DIRECTORY, required=True, help="The edited files; what is left out stays as it is.")
@click.option("--note", default="", help="Why.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def propose(directory: Path, note: str, as_json: bool) -> None:
    """Check an edited directory and keep it as a proposal."""
    settings = load_settings()
    with store(settings) as engine:
        try:
            proposal = governance.propose(
                RuleStore(engine),
                read_directory(directory),
                author=actor(),
                note=note,
                governance=settings.governance_mode,
                at=utc_now(),
            )
        except governance.NotAllowed as error:
            raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(
            msgspec.json.encode({"revision": proposal.revision, "number": proposal.number, "status": proposal.status}).decode()
        )
    else:
        click.echo(
            f"{proposal.revision} (number {proposal.number}) is {proposal.status}; `router rules activate {proposal.revision}`"
        )


@rules.command()
@click.argument("revision", required=False)
def activate(revision: str | None) -> None:
    """Put a proposal in force everywhere; the newest proposal where none is named. An earlier revision may come back."""
    settings = load_settings()
    with store(settings) as engine:
        rules_store = RuleStore(engine)
        if revision is None:
            revision = next((each.revision for each in rules_store.history() if each.status == "proposed"), None)
            if revision is None:
                raise click.ClickException("there is no proposal: `router rules propose --from DIR` makes one")
        try:
            active = governance.activate(rules_store, revision, actor=actor(), governance=settings.governance_mode, at=utc_now())
        except governance.NotAllowed as error:
            raise click.ClickException(str(error)) from None
    announce(settings)
    click.echo(f"{active.revision} (number {active.number}) is in force")


@rules.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def log(as_json: bool) -> None:
    """Every revision: who proposed it, who put it in force, when and why; newest first."""
    with store(load_settings()) as engine:
        history = RuleStore(engine).history()
    if as_json:
        rows = [{name: value for name, value in msgspec.to_builtins(each).items() if name != "files"} for each in history]
        click.echo(msgspec.json.encode(rows).decode())
        return
    for each in history:
        decided = f", {each.decided_by} {each.decided:%Y-%m-%d %H:%M}" if each.decided else ""
        click.echo(
            f"{each.number:4}  {each.revision}  {each.status:10}  {each.author} {each.created:%Y-%m-%d %H:%M}{decided}  {each.note}"
        )
