"""`router report budgets`: budgets against what was spent, how fast it goes, and where it will end."""

from __future__ import annotations

import click
import msgspec

from router.cli.data import rules_for, store, until_drained
from router.clock import utc_now
from router.settings import load_settings


@click.command()
@click.option("--owner", help="Of one owner only.")
@click.option("--wait", is_flag=True, help="First wait until no record is on its way from Redis to SQL any more.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def budgets(owner: str | None, wait: bool, as_json: bool) -> None:
    """Budgets of owners in the periods that run: settled, held, what remains, the pace, and a forecast with its interval."""
    from router.reports.burn import document, table
    from router.storage.sql.owner_budgets import budget_rows
    from router.storage.sql.raises import SqlRaises

    settings = load_settings()
    if wait:
        until_drained(settings)
    rules, now = rules_for(settings), utc_now()
    with store(settings) as engine:
        raised = SqlRaises(engine).in_force(now)
        rows = budget_rows(engine, rules, lambda each: raised.get(each, ()), now, owner)
    click.echo(msgspec.json.encode(document(rows, now)).decode() if as_json else table(rows))


COMMANDS = (budgets,)
