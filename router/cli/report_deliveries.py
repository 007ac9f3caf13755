"""`router report deliveries` and `deliver`: reports that are delivered by themselves, and what became of them."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec
from sqlalchemy import Engine

from router.cli.data import rules_for, store, with_redis
from router.cli.report_export import COLLECTOR
from router.clock import utc_now
from router.money import usd
from router.reports.deliveries import (
    WRITTEN_LATER,
    Due,
    NotDelivered,
    deliver,
    destination,
    due,
    file_name,
    form_of,
    manifest_of,
    narrowed,
)
from router.reports.exports.write import DoesNotAddUp, Written, write_file
from router.reports.spans import span
from router.settings import Settings, load_settings
from router.storage.redis_client import RedisClient
from router.storage.redis_undrained import undrained
from router.storage.sql.deliveries import SqlDeliveries
from router.storage.sql.finance import report_zone
from router.storage.sql.finance_lines import exporting
from routing_rules.deliveries import Delivery
from routing_rules.read_deliveries import deliveries_of


@click.command(name="deliveries")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def deliveries_command(as_json: bool) -> None:
    """Reports that `reports.yaml` has delivered: what is due, what was delivered, and what failed and why."""
    settings = load_settings()
    deliveries = deliveries_of(rules_for(settings).files)
    with store(settings) as engine:
        kept, known = SqlDeliveries(engine).all(), SqlDeliveries(engine).known()
        wanted = due(deliveries, utc_now(), report_zone(engine), known)
    if as_json:
        told = [{"delivery": each.delivery.id, "period": each.period.name} for each in wanted]
        click.echo(msgspec.json.encode({"due": told, "deliveries": kept}).decode())
        return
    for one in wanted:
        if (one.delivery.id, one.period.name) not in known:
            click.echo(f"{one.delivery.id}  {one.period.name}  due")
    for row in kept:
        said = f"{row.rows:,} rows, {usd(row.total_nano or 0)} USD" if row.rows is not None and not row.error else row.error or ""
        click.echo(f"{row.delivery}  {row.period}  {row.state}  {row.attempts}  {said}".rstrip())
    if not wanted and not kept:
        click.echo("no deliveries: reports.yaml says what is delivered, see docs/exports.md")


@click.command(name="deliver")
@click.argument("delivery", required=False)
@click.option(
    "--period", help="Of this day, week or month (2026-03-10, 2026-W11, 2026-03) instead of the last one, also once more."
)
@click.option("--due", "all_due", is_flag=True, help="All that are due and that nobody has delivered, also of earlier periods.")
def deliver_command(delivery: str | None, period: str | None, all_due: bool) -> None:
    """Deliver a report now. The same period again replaces the same file."""
    gc.set_threshold(*COLLECTOR)
    if all_due == (delivery is not None) or (period and all_due):
        raise click.UsageError("either a delivery by its id, or --due")
    settings = load_settings()
    rules = rules_for(settings)
    deliveries = deliveries_of(rules.files)
    regions = {id: deployment.region for id, deployment in rules.deployments.items()}
    if delivery is not None:
        deliveries = tuple(each for each in deliveries if each.id == delivery)
        if not deliveries:
            raise click.ClickException(f"reports.yaml has no delivery `{delivery[:64]}`")
    with store(settings) as engine:
        records, failures = SqlDeliveries(engine), 0
        if period is not None:
            wanted = [_of(engine, deliveries[0], period)]
        elif all_due:
            wanted = due(deliveries, utc_now(), report_zone(engine), records.known())
        else:
            wanted = due(deliveries, utc_now(), report_zone(engine))
        for one in wanted:
            if not records.claim(one.delivery.id, one.period.name, utc_now(), again=not all_due):
                if not all_due:
                    raise click.ClickException("another process delivers it, or has just failed to: see router report deliveries")
                continue
            failures += not _deliver(settings, engine, one, regions)
    if failures:
        raise click.ClickException(f"{failures} of {len(wanted)} not delivered: see router report deliveries")


def _of(engine: Engine, delivery: Delivery, period: str) -> Due:
    try:
        return Due(delivery, span(period, utc_now(), report_zone(engine)))
    except ValueError as error:
        raise click.ClickException(f"--period: {error}") from None


def _deliver(settings: Settings, engine: Engine, one: Due, regions: Mapping[str, str]) -> bool:
    """Deliver one, say what became of it and keep that; whether it got there."""
    records, names = SqlDeliveries(engine), (one.delivery.id, one.period.name)
    try:
        _all_in_sql(settings, one)
        written = _delivered(engine, one, regions)
    except Exception as error:  # whatever it is, the others go on
        reason = _reason(error)
        records.failed(*names, utc_now(), reason)
        click.echo(f"{names[0]} {names[1]}: {reason}", err=True)
        return False
    records.done(*names, utc_now(), written.rows, written.total_nano, written.sha256)
    click.echo(f"{names[0]} {names[1]}: {written.rows:,} rows, {usd(written.total_nano)} USD", err=True)
    return True


def _reason(error: Exception) -> str:
    """Why, without what an error that is not ours may hold."""
    if isinstance(error, NotDelivered | DoesNotAddUp):
        return str(error)
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _all_in_sql(settings: Settings, one: Due) -> None:
    """Raises NotDelivered where records of the period are on their way to SQL, or nobody knows."""
    before = min(utc_now(), one.period.until + WRITTEN_LATER)

    async def ask(client: RedisClient) -> list[str] | None:
        return await undrained(client, before)

    waiting = with_redis(settings, ask)
    if waiting is None:
        raise NotDelivered("Redis cannot be asked whether records of the period are still on their way to SQL")
    if waiting:
        raise NotDelivered("records of the period are still on their way from Redis to SQL")


def _delivered(engine: Engine, one: Due, regions: Mapping[str, str]) -> Written:
    to = destination(one.delivery, os.environ)
    now = utc_now()
    with tempfile.TemporaryDirectory(prefix="delivery-") as folder:
        path = Path(folder) / "file"
        with exporting(engine, one.period.since, one.period.until, narrowed(one.delivery), now, regions) as source:
            written = write_file(source, form_of(one.delivery), path)
        deliver(to, file_name(one), path, manifest_of(one, written, now))
    return written


COMMANDS = (deliveries_command, deliver_command)
