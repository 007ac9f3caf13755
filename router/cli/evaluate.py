"""`router eval`: the classifiers measured on labelled data, with intervals, marks and baselines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from router.cli.data import CLASSIFYING_KEY, rules_for
from router.settings import load_settings

DATA = click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Directory of the labelled data.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")


@click.group(name="eval")
def evaluate() -> None:
    """Measure the classifiers on labelled data. Exit status 0 whether or not the marks hold: read `holds`."""


def _command(name: str, summary: str, measured: Callable[[Path], Any]) -> None:
    @evaluate.command(name, help=summary)
    @DATA
    @JSON
    def run(data: Path, as_json: bool) -> None:
        from classifiers.evaluation.marks import document, table

        try:
            marks = measured(data)
        except (OSError, ValueError) as error:
            raise click.ClickException(str(error)) from None
        click.echo(msgspec.json.encode(document(marks)).decode() if as_json else table(marks))


def _sensitivity(data: Path) -> Any:
    from classifiers.evaluation.sensitivity import measure

    return measure(data, rules_for(load_settings()).sensitivity, CLASSIFYING_KEY)


def _routing(data: Path) -> Any:
    from classifiers.evaluation.routing import measure

    return measure(data)


def _intent(data: Path) -> Any:
    from classifiers.evaluation.intent import measure

    return measure(data)


@evaluate.command()
@DATA
@JSON
@click.option("--toml", is_flag=True, help="The text of classifiers/fitted/recalls.toml.")
def masking(data: Path, as_json: bool, toml: bool) -> None:
    """How surely each kind of finding is found that a rule may order to be masked."""
    from classifiers.evaluation.marks import document, table
    from classifiers.evaluation.masking import as_toml, marks, recalls

    try:
        measured = recalls(data, rules_for(load_settings()).sensitivity, CLASSIFYING_KEY)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    if toml:
        click.echo(as_toml(measured), nl=False)
    else:
        click.echo(msgspec.json.encode(document(marks(measured))).decode() if as_json else table(marks(measured)))


@evaluate.command()
@DATA
@JSON
def entitlements(data: Path, as_json: bool) -> None:
    """Tool calls replayed with and without injected orders: stopped, held, passed; drift."""
    from classifiers.evaluation.entitlements import measure
    from classifiers.evaluation.marks import document, table

    try:
        measured = measure(data)
    except (OSError, ValueError, KeyError) as error:
        raise click.ClickException(f"the data is not as it should be: {error}") from None
    if as_json:
        click.echo(msgspec.json.encode(document(measured.marks) | measured.figures).decode())
    else:
        click.echo(table(measured.marks))


def _injection(data: Path) -> Any:
    from classifiers.evaluation.injection import measure

    return measure(data, CLASSIFYING_KEY)


_command("injection", "Orders to a model in what it reads: noticed, and taken for such.", _injection)
_command("sensitivity", "Detectors, topics, levels, evasions, latency.", _sensitivity)
_command("routing", "Whether complex asks are found: APGR, CPT80, stability.", _routing)
_command("intent", "Task, intent and complexity of asks.", _intent)
