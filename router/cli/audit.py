"""`router audit`: whether evidence, ledger and rules are as they were written."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from router.cli.data import store
from router.settings import load_settings
from router.storage.audit_chain import CHECKPOINTS, public_key
from router.storage.audit_chain import verify as verify_chains


@click.group()
def audit() -> None:
    """The audit chains."""


@audit.command()
@click.option("--checkpoints", type=click.Path(path_type=Path, file_okay=False), help="Default: `audit` in the data directory.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def verify(checkpoints: Path | None, as_json: bool) -> None:
    """Read all chains against the signed checkpoints; exit status 1 where something is not as it was written."""
    settings = load_settings()
    folder = checkpoints or settings.data_dir / "audit"
    try:
        key = public_key(folder)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"no checkpoints can be read in `{folder}`: {error}") from None
    with store(settings) as engine:
        result = verify_chains(engine, folder / CHECKPOINTS, key)
    if as_json:
        click.echo(msgspec.json.encode({"intact": result.intact, **msgspec.to_builtins(result)}).decode())
    else:
        for fault in result.faults:
            click.echo(f"{fault.kind}: {fault.message}")
        state = "intact" if result.intact else f"NOT intact: {result.fault_count} faults"
        click.echo(
            f"{state}; {result.links} links, {result.entries} ledger entries, {result.checkpoints} checkpoints, "
            f"{result.unanchored} links newer than the last one"
        )
    sys.exit(0 if result.intact else 1)
