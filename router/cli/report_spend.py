"""`router report spend`, `requests`, `request`, `movers`, `anomalies` and `savings`: what was spent, what changed, what was saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec
from sqlalchemy import Engine

from router.cli.data import rules_for, store, until_drained
from router.clock import utc_now
from router.reports import analysis, anomalies, movers, question, requests, savings, spend
from router.settings import load_settings
from router.storage.sql import finance
from router.storage.sql.finance_requests import bookings
from router.storage.sql.finance_store import SqlFinance
from router.storage.sql.ledger import entry_of
from router.upstream.prices import look_up

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

by_option = click.option(
    "--by", default="owner,model", show_default=True, help=f"Dimensions, with commas between: {', '.join(spend.DIMENSIONS)}."
)
format_option = click.option("--format", "form", type=click.Choice(spend.FORMATS), default="table", show_default=True)
limit_option = click.option("--limit", default=analysis.MOST, show_default=True, help="The largest so many.")
wait_option = click.option("--wait", is_flag=True, help="First wait until no record is on its way from Redis to SQL any more.")


def narrowing(command: F) -> F:
    """The options that say of when and of what a report is; days and months are those of the reports' time zone."""
    for option in (
        click.option("--until", help="Day before which it ends, or a moment with its zone."),
        click.option("--since", help="First day (2026-10-05), or a moment with its zone."),
        click.option("--period", help="last-month, this-quarter, last-30-days, 2026-10, 2026-Q3, 2026-W40, 2026-10-05 …"),
        click.option(
            "--where", multiple=True, metavar="DIMENSION=VALUE", help="Only this; several values of one dimension: any of them."
        ),
    ):
        command = option(command)
    return command


def read(engine: Engine, by: str, options: dict[str, Any]) -> question.Question:
    """What the options ask for. Raises click.ClickException naming the option."""
    names = ("where", "period", "since", "until")
    given = {name: options[name] for name in names}
    return told(lambda: question.asked(utc_now(), finance.report_zone(engine), by=by, **given))


def told(reading: Callable[[], T]) -> T:
    """What is read. Raises click.ClickException naming the option that cannot be."""
    try:
        return reading()
    except question.Misread as misread:
        raise click.ClickException(f"--{misread.parameter}: {misread}") from None


def drained(wait: bool) -> Any:
    """The store of the settings, once nothing is on its way to it where that was asked for."""
    settings = load_settings()
    if wait:
        until_drained(settings)
    return store(settings)


@click.command(name="spend")
@by_option
@narrowing
@format_option
@wait_option
def spend_command(by: str, form: str, wait: bool, **options: Any) -> None:
    """Spend, exact to the nano-dollar, from the ledger."""
    with drained(wait) as engine:
        what = read(engine, by, options)
        report = finance.spend(engine, what.by, what.since, what.until, what.where)
    click.echo(spend.render(report, form), nl=False)


@click.command(name="requests")
@narrowing
@click.option("--after", help="Where the page before ended.")
@click.option("--limit", default=100, show_default=True, help=f"Bookings on a page, {requests.MOST} at most.")
@format_option
@wait_option
def requests_command(after: str | None, limit: int, form: str, wait: bool, **options: Any) -> None:
    """The single requests behind a figure, in the order of their bookings. Never their text."""
    with drained(wait) as engine:
        what = read(engine, "", options)
        behind, count = told(lambda: question.page(after, limit))
        found = bookings(engine, what.where, what.since, what.until, behind, count)
    click.echo(requests.render(found, form), nl=False)


@click.command(name="request")
@click.argument("request_id")
@format_option
@wait_option
def request_command(request_id: str, form: str, wait: bool) -> None:
    """One request with all its ledger lines. Never its text."""
    with drained(wait) as engine:
        found = entry_of(engine, request_id)
    if found is None:
        raise click.ClickException(f"no request `{request_id}` is in the ledger; --wait first waits for what is on its way")
    entry, lines = found
    click.echo(
        requests.render_one(msgspec.structs.asdict(entry), [msgspec.structs.asdict(line) for line in lines], form), nl=False
    )


@click.command(name="movers")
@click.option("--by", default="owner", show_default=True, help="Dimensions, with commas between.")
@narrowing
@limit_option
@format_option
@wait_option
def movers_command(by: str, limit: int, form: str, wait: bool, **options: Any) -> None:
    """Top movers: a period (this month) against the one before, the largest changes first."""
    with drained(wait) as engine:
        what, now, zone = read(engine, by, options), utc_now(), finance.report_zone(engine)
        found = told(lambda: analysis.movers_of(SqlFinance(engine).spend, what, now, zone, question.at_most(limit, limit)))
    click.echo(movers.render(found, form), nl=False)


@click.command(name="anomalies")
@click.option("--by", default="owner", show_default=True, help="One dimension: owner, app, model …")
@narrowing
@limit_option
@click.option("--least-usd", default=None, help="Differences of less are not told of; $1 a day unless given.")
@format_option
@wait_option
def anomalies_command(by: str, limit: int, least_usd: str | None, form: str, wait: bool, **options: Any) -> None:
    """Days (of the last thirty) on which spend was out of the ordinary, with the cause."""
    with drained(wait) as engine:
        what, now, zone = read(engine, by, options), utc_now(), finance.report_zone(engine)
        least = told(lambda: question.amount("least-usd", least_usd, anomalies.LEAST_NANO))
        most = told(lambda: question.at_most(limit, limit))
        found = told(lambda: analysis.anomalies_of(SqlFinance(engine).spend, what, now, zone, most, least))
    click.echo(anomalies.render(found, form), nl=False)


@click.command(name="savings")
@click.option("--by", default="rule", show_default=True, help="Dimensions, with commas between: rule, impact, latency_class …")
@narrowing
@click.option(
    "--router-usd-per-hour", default=None, help="What an hour of the router's time costs; without it only seconds are given."
)
@format_option
@wait_option
def savings_command(by: str, router_usd_per_hour: str | None, form: str, wait: bool, **options: Any) -> None:
    """What routing saved: against all on the reasoning tier, and against what the apps asked for; dollars and seconds."""
    rules = rules_for(load_settings())
    with drained(wait) as engine:
        what = read(engine, by, options)
        given = router_usd_per_hour
        rate = None if given is None else told(lambda: question.amount("router-usd-per-hour", given, 0))
        found = told(lambda: analysis.savings_of(SqlFinance(engine), what, utc_now(), rules, look_up, rate))
    click.echo(savings.render(found, form), nl=False)


COMMANDS = (spend_command, requests_command, request_command, movers_command, anomalies_command, savings_command)
