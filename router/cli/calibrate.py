"""`router calibrate`: a model of complexity from an organisation's own outcomes, to be proposed like a change of the rules."""

from __future__ import annotations

from pathlib import Path

import click

from router.clock import utc_now


@click.command()
@click.argument("outcomes", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory to write to.")
@click.option("--seed", type=int, default=7, show_default=True, help="The same seed gives the same model.")
def calibrate(outcomes: Path, out: Path, seed: int) -> None:
    """Fit complexity to OUTCOMES, a CSV table with the columns `prompt` (or recorded `facts`) and `tier`.

    `tier` says which was right: fast, reasoning, both or neither.

    Writes the model file `complexity.toml` and `report.md`. Nothing changes until a rule set holds the file and names its version.
    """
    from classifiers.training.calibrate import calibrate as fit
    from classifiers.training.calibrate import card, read_outcomes

    try:
        made = fit(read_outcomes(outcomes.read_bytes()), seed, utc_now().date())
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{outcomes.name}: {error}") from None
    out.mkdir(parents=True, exist_ok=True)
    (out / "complexity.toml").write_text(made.text, encoding="utf-8")
    report = card(made, outcomes.name)
    (out / "report.md").write_text(report, encoding="utf-8")
    click.echo(report)
    click.echo(
        f"To use it, put {out / 'complexity.toml'} beside the rule files, set `complexity: {{model: {made.manifest.version}}}` in "
        "sensitivity.yaml, and propose the change."
    )
