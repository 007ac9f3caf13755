"""`router train`: fit the classifiers from the corpus in the repository."""

from __future__ import annotations

from pathlib import Path

import click

from router.clock import utc_now


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory to write to.")
@click.option("--seed", type=int, default=7, show_default=True, help="The same seed gives the same weights.")
def train(out: Path, seed: int) -> None:
    """Fit the task, complexity, topic and intent models and write arrays with their manifest."""
    from classifiers.training.train import train as fit

    out.mkdir(parents=True, exist_ok=True)
    fit(out, seed, utc_now().date())
    click.echo(f"fitted models and their manifest are in {out}")
