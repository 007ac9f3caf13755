"""`router report`: what was spent, by whom, on what; how often people were asked; and which controls are served."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import click
import msgspec

from router.cli import report_budgets, report_close, report_deliveries, report_export, report_reconcile, report_spend
from router.cli.data import rules_for, store, until_drained
from router.clock import utc_now
from router.reports import approvals as approvals_view
from router.settings import load_settings
from router.storage.sql.approvals import SqlApprovals


@click.group()
def report() -> None:
    """Reports for finance and governance."""


for command in (
    *report_spend.COMMANDS,
    *report_close.COMMANDS,
    *report_export.COMMANDS,
    *report_deliveries.COMMANDS,
    *report_budgets.COMMANDS,
    report_reconcile.reconcile,
):
    report.add_command(command)


@report.command()
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day (UTC).")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Day (UTC) before which it ends.")
@click.option("--format", "form", type=click.Choice(approvals_view.FORMATS), default="table", show_default=True)
@click.option("--wait", is_flag=True, help="First wait until no record is on its way from Redis to SQL any more.")
def approvals(since: datetime | None, until: datetime | None, form: str, wait: bool) -> None:
    """Approval fatigue: how often people were asked, how long they took, whether they still say no."""
    settings = load_settings()
    if wait:
        until_drained(settings)
    first, end = since and since.replace(tzinfo=UTC), until and until.replace(tzinfo=UTC)
    with store(settings) as engine:
        records = SqlApprovals(engine)
        rows, tasks = records.history(since=first, until=end, limit=None), records.tasks(first, end)
    click.echo(approvals_view.render(approvals_view.approvals_report(rows, tasks, first, end), form), nl=False)


@report.command()
@click.option("--days", type=click.IntRange(min=1), default=30, show_default=True, help="How many days of records.")
@click.option("--wait", is_flag=True, help="First wait until no record is on its way from Redis to SQL any more.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def controls(days: int, wait: bool, as_json: bool) -> None:
    """For each id of a framework, the rules, tests and recorded decisions that serve it, and what is missing."""
    from router.reports import controls as controls_view
    from router.storage.sql.review import decisions_by_rule, requests_seen

    settings = load_settings()
    if wait:
        until_drained(settings)
    rules = rules_for(settings)
    until = utc_now()
    since = until - timedelta(days=days)
    with store(settings) as engine:
        decisions = decisions_by_rule(engine, since, until)
        calls = Counter(each for request in requests_seen(engine, since, until) for each in request.combinations)
    found = controls_view.controls_report(rules, decisions, calls, since, until)
    click.echo(msgspec.json.encode(found).decode() if as_json else controls_view.told(found))
