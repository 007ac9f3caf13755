"""`router rules review`: whether what the rules assume of each route still holds."""

from __future__ import annotations

from datetime import timedelta

import click
import msgspec

from router.cli.data import rules_for, store, until_drained
from router.clock import utc_now
from router.reports.review import review as review_of
from router.reports.review import told
from router.settings import load_settings
from router.storage.sql.approvals import SqlApprovals
from router.storage.sql.review import requests_seen

DAYS = 30


@click.command()
@click.option("--days", type=click.IntRange(min=1), default=DAYS, show_default=True, help="How many days back.")
@click.option("--wait", is_flag=True, help="First wait until no record is on its way from Redis to SQL any more.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def review(days: int, wait: bool, as_json: bool) -> None:
    """What the rules assume of each route beside what was observed, and the change that would make it true again."""
    settings = load_settings()
    if wait:
        until_drained(settings)
    rules = rules_for(settings)
    until = utc_now()
    since = until - timedelta(days=days)
    with store(settings) as engine:
        approvals = SqlApprovals(engine).history(since=since, until=until, limit=None)
        report = review_of(rules, requests_seen(engine, since, until), approvals, since, until)
    click.echo(msgspec.json.encode(report).decode() if as_json else told(report))
