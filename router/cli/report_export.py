"""`router report export`: the ledger as a file that finance's tools read."""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path
from typing import Any

import click

from router.cli.data import rules_for
from router.cli.report_spend import drained, narrowing, read, wait_option
from router.clock import utc_now
from router.money import usd
from router.reports.exports import write
from router.reports.exports.focus import GRAINS, VERSIONS
from router.settings import load_settings
from router.storage.sql.finance_lines import exporting

PROGRESS_SECONDS = 2.0
COLLECTOR = (100_000, 50, 1_000)
"""Rows by the thousand live until they are written: looking for garbage among them is in vain."""


class _Told:
    """Says on standard error how far a long export is."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._next = time.monotonic() + PROGRESS_SECONDS

    def __call__(self, rows: int) -> None:
        """So many rows are written."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + PROGRESS_SECONDS
            click.echo(f"{rows:,} rows, of {self._count:,} ledger lines", err=True)


@click.command(name="export")
@click.option("--format", "form", type=click.Choice(write.FORMATS), default="csv", show_default=True)
@click.option("--focus", type=click.Choice(["", *VERSIONS]), default="", help="In FOCUS of this version, as CSV or Parquet.")
@click.option("--grain", type=click.Choice(GRAINS), default=GRAINS[0], show_default=True, help="FOCUS: rows by line or day.")
@click.option("--dataset", type=click.Choice(write.DATASETS), default=write.DATASETS[0], show_default=True, help="Of FOCUS 1.4.")
@click.option("-o", "--output", help="File to write, `-` for standard output. Unset: a name by the format, in this directory.")
@narrowing
@wait_option
def export_command(form: str, focus: str, grain: str, dataset: str, output: str | None, wait: bool, **options: Any) -> None:
    """Ledger lines as CSV, JSON lines, Parquet, a workbook or FOCUS. The file is there only once it is complete and adds up."""
    gc.set_threshold(*COLLECTOR)
    wanted = write.Form(form, focus, grain, dataset)
    try:
        write.check(wanted)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    regions = {}
    if focus:
        regions = {id: deployment.region for id, deployment in rules_for(load_settings()).deployments.items()}
    with drained(wait) as engine:
        what = read(engine, "", options)
        with exporting(engine, what.since, what.until, what.where, utc_now(), regions) as source:
            told = _Told(source.count)
            try:
                if output == "-":
                    written = write.write(source, wanted, sys.stdout.buffer, told)
                    sys.stdout.buffer.flush()
                else:
                    path = Path(output or write.file_name(wanted))
                    written = write.write_file(source, wanted, path, told)
            except write.DoesNotAddUp as error:
                raise click.ClickException(str(error)) from None
            except OSError as error:
                raise click.ClickException(f"the file cannot be written: {error.strerror or type(error).__name__}") from None
    click.echo(f"{written.rows:,} rows, {usd(written.total_nano)} USD, sha256 {written.sha256}", err=True)


COMMANDS = (export_command,)
