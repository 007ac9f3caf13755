"""`router rules`: check, export, propose, put in force, and the log of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from secrets import token_hex
from time import perf_counter
from typing import TextIO

import click
import msgspec

from classifiers.evaluation.marks import share
from classifiers.evaluation.pool import pool_of
from classifiers.recalls import published
from classifiers.sensitivity.code_names import Names, hashed
from router.cli import rules_life
from router.cli.data import rules_for, store
from router.cli.rules_cases import case, cases
from router.cli.rules_export import export, import_
from router.cli.rules_review import review
from router.cli.rules_schema import schema
from router.clock import utc_now
from router.governance.packs import dry_run, pack_faults
from router.secret_key import read_secret
from router.settings import load_settings
from router.storage.sql.rules import RuleStore
from routing_rules.cases import run_cases
from routing_rules.check import check as check_rules
from routing_rules.faults import Fault, RuleFaults, Severity
from routing_rules.load import complete, load, read_rules
from routing_rules.rules import RuleSet

DIRECTORY = click.Path(path_type=Path, file_okay=False)


@click.group()
def rules() -> None:
    """The governed rules: which task may go where, with which tools and which budget."""


rules.add_command(case)
rules.add_command(cases)
rules.add_command(review)
rules.add_command(schema)
rules.add_command(export)
rules.add_command(import_)
for command in rules_life.COMMANDS:
    rules.add_command(command)


@rules.command()
@click.argument("given", metavar="[DIR]", required=False, type=DIRECTORY)
@click.option("--rules", "directory", type=DIRECTORY, help="The same as DIR.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def check(given: Path | None, directory: Path | None, as_json: bool) -> None:
    """Everything that is wrong with the rules in a directory (or a starting set, by its name; default: the rules in force), or worth
    a look; exit status 1 where there is an error."""
    settings = load_settings()
    today = utc_now().date()
    directory = given if given is not None else directory
    faults: Sequence[Fault]
    try:
        if directory is not None:
            files = complete(read_rules(directory, today, settings.environment), today)
        else:
            with store(settings) as engine:
                active = RuleStore(engine).current()
            files = dict(active.files) if active is not None else complete({}, today)
        loaded = load(files)
        faults = [*check_rules(loaded, today, published()), *run_cases(loaded), *pack_faults(loaded), *_foreign_lists(loaded)]
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


def _foreign_lists(loaded: RuleSet) -> list[Fault]:
    """Lists of code names that were made under another installation's key."""
    lists = loaded.sensitivity.code_names
    if not lists:
        return []
    key = read_secret(load_settings())
    message = "`{}` was made under another key than this installation's: it finds nothing here, and every task is unscanned"
    hint = "make it anew with `router rules hash-names`, or give both installations one ROUTER_SECRET_KEY"
    foreign = [each for each in lists if not Names([each], key).usable]
    return [
        Fault(Severity.WARNING, "foreign_key", "sensitivity.yaml", each.line, each.column, message.format(each.id), hint)
        for each in foreign
    ]


@rules.command("dry-run")
@click.option("--rules", "directory", type=DIRECTORY, help="A directory of rule files; default: the rules in force.")
@click.option(
    "--pool",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help='Harmless texts: a line each, or JSON lines with "text"; default: a pool of ours.',
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def dry_run_command(directory: Path | None, pool: Path | None, as_json: bool) -> None:
    """Your own detectors over harmless texts: how often each takes one for a find, and what it costs."""
    policy = rules_for(load_settings(), directory).sensitivity
    try:
        texts = pool_of(pool)
        trials = dry_run(policy, texts, perf_counter)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    rows = [(trial, *share(trial.hits, trial.texts)) for trial in trials]
    if as_json:
        document = [{**msgspec.to_builtins(trial), "false_positive_rate": rate, "ci": ci} for trial, rate, ci in rows]
        click.echo(msgspec.json.encode(document).decode())
        return
    for trial, rate, (low, high) in rows:
        click.echo(
            f"{trial.rule}: {trial.hits} of {trial.texts} harmless texts flagged"
            f" ({rate:.2%}, 95 % interval {low:.2%} to {high:.2%}), {trial.cost_us:.2f} µs per kB"
        )
    if not rows:
        click.echo("there are no detectors of your own: `patterns` in sensitivity.yaml, or gitleaks.toml")


@rules.command("hash-names")
@click.argument("names", type=click.File("r", encoding="utf-8"), default="-")
@click.option("--id", "list_id", default="code-names", show_default=True, help="Id of the list.")
@click.option("--category", default="financial", show_default=True, help="Category of the findings.")
@click.option("--level", default="restricted", show_default=True, help="What a find counts as.")
def hash_names(names: TextIO, list_id: str, category: str, level: str) -> None:
    """Names, one a line, to an entry of `code_names` in sensitivity.yaml from which nobody reads them.

    The hashes are keyed with the secret of this installation: another one needs the same secret, or a list of its own.
    """
    made = hashed(names.read().splitlines(), read_secret(load_settings()), iter(lambda: token_hex(8), ""))
    click.echo("code_names:")
    click.echo(f"  - {{id: {list_id}, category: {category}, level: {level}, key: '{made.key_id}', hashes: [")
    for digest in made.hashes:
        click.echo(f"      '{digest}',")
    click.echo("    ]}")
