"""`router train`: fit the classifiers, from the corpus in the repository or, for complexity, on labelled outcomes."""

from __future__ import annotations

from pathlib import Path

import click

from router.clock import utc_now


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory to write to.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Directory of labelled outcomes (`prompt`, `weak`, `strong`): fits the model of complexity, and nothing else.",
)
@click.option("--licence", default="not stated", help="Written to the manifest for sets whose rows name no licence.")
@click.option("--seed", type=int, default=7, show_default=True, help="The same seed gives the same weights.")
def train(out: Path, data: Path | None, licence: str, seed: int) -> None:
    """Fit models and write arrays with their manifest: task, intent and topics from the corpus, or with --data complexity."""
    out.mkdir(parents=True, exist_ok=True)
    today = utc_now().date()
    if data is None:
        from classifiers.training.train import train as fit

        fit(out, seed, today)
    else:
        from classifiers.training.outcomes import train as fit_complexity

        try:
            fit_complexity(out, data, seed, today, licence)
        except (OSError, ValueError) as error:
            raise click.ClickException(str(error)) from None
    click.echo(f"fitted models and their manifest are in {out}")
