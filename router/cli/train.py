"""`router train`: fit the classifiers from the corpus in the repository."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=None, help="Where to write; default: in place.")
@click.option("--seed", type=int, default=7, show_default=True, help="The same seed gives the same bytes.")
def train(out: Path | None, seed: int) -> None:
    """Fit the task, complexity, topic and intent models and write arrays with their manifests."""
    from classifiers.training.train import train as fit

    for manifest in fit(out, seed):
        click.echo(manifest)
