"""`router budgets`: raise what an owner may spend for a while, in two steps by two people."""

from __future__ import annotations

from datetime import datetime, time, timedelta

import click
import msgspec
from sqlalchemy import Engine

from router.api.owner_budgets import amount_of, new_id, shown
from router.cli.acting import acting, with_token
from router.cli.data import announce, governance_of, rules_for, store
from router.clock import utc_now
from router.errors import Refused
from router.governance import raises as governance
from router.settings import load_settings
from router.storage.sql.notices import SqlNotices
from router.storage.sql.raises import SqlRaises
from router.storage.sql.rules import RuleStore
from routing_rules.calendars import Per

with_json = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@click.group()
def budgets() -> None:
    """Budgets of owners: raises for a while. What is spent of them is in `router report budgets`."""


@budgets.command("raise")
@click.argument("owner")
@click.option("--per", type=click.Choice([each.value for each in Per]), default=Per.MONTH.value, show_default=True)
@click.option("--amount", help="How many dollars more.")
@click.option("--percent", type=int, help="How many percent of the limit more.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), required=True, help="Last day, in the time zone of the rules.")
@click.option("--reason", required=True)
@with_token
@with_json
def raise_(
    owner: str, per: str, amount: str | None, percent: int | None, until: datetime, reason: str, token: str | None, as_json: bool
) -> None:
    """Ask for a raise; it is in force once somebody else of finance, or an admin, has approved it."""
    settings = load_settings()
    rules = rules_for(settings)
    ends = datetime.combine(until.date() + timedelta(days=1), time(), rules.time_zone)
    with store(settings) as engine:
        who, mode = _actor(engine, token), RuleStore(engine).mode(governance_of(settings))
        try:
            made = governance.ask(
                SqlRaises(engine),
                rules,
                raise_id=new_id(),
                owner=owner,
                per=per,
                amount_nano=amount_of(amount),
                percent=percent,
                ends=ends,
                reason=reason,
                actor=who,
                at=utc_now(),
                governance=mode,
            )
        except Refused as error:
            raise click.ClickException(str(error)) from None
    _tell(made, as_json, f"asked for; `router budgets approve {made.id}` puts it in force")


@budgets.command()
@click.argument("raise_id", metavar="ID")
@with_token
@with_json
def approve(raise_id: str, token: str | None, as_json: bool) -> None:
    """Put a raise in force, on every replica within a second; under four_eyes not who asked for it."""
    _decide(governance.approve, raise_id, token, as_json, "in force")


@budgets.command()
@click.argument("raise_id", metavar="ID")
@with_token
@with_json
def end(raise_id: str, token: str | None, as_json: bool) -> None:
    """End a raise before its time, or turn down one that waits."""
    _decide(governance.end, raise_id, token, as_json, "over")


@budgets.command("list")
@with_json
def list_raises(as_json: bool) -> None:
    """Every raise there ever was, the latest first."""
    now = utc_now()
    with store(load_settings()) as engine:
        found = [shown(each, now) for each in SqlRaises(engine).all()]
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    for each in found:
        click.echo(_line(each))


@budgets.command()
@with_json
def notices(as_json: bool) -> None:
    """What was told of thresholds, the latest first, and what became of it."""
    with store(load_settings()) as engine:
        found = SqlNotices(engine).all()
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    for each in found:
        state = "delivered" if each.delivered_at else f"failed ({each.error})" if each.error else "waiting"
        when = f"{each.at:%Y-%m-%d %H:%M}"
        click.echo(f"{when}  {each.owner} {each.period} {each.threshold}  {each.channel} {each.recipients}  {state}")


def _decide(act: object, raise_id: str, token: str | None, as_json: bool, what: str) -> None:
    settings = load_settings()
    with store(settings) as engine:
        who, mode = _actor(engine, token), RuleStore(engine).mode(governance_of(settings))
        try:
            done: governance.BudgetRaise = act(  # type: ignore[operator]
                SqlRaises(engine), raise_id, actor=who, at=utc_now(), governance=mode
            )
        except Refused as error:
            raise click.ClickException(str(error)) from None
    announce(settings)
    _tell(done, as_json, what)


def _actor(engine: Engine, token: str | None) -> governance.Actor:
    who = acting(engine, token)
    return governance.Actor(who.name, who.person)


def _tell(raised: governance.BudgetRaise, as_json: bool, what: str) -> None:
    document = shown(raised, utc_now())
    click.echo(msgspec.json.encode(document).decode() if as_json else f"{_line(document)}\n  {what}")


def _line(each: dict[str, object]) -> str:
    more = f"${each['amount_usd']}" if each["amount_usd"] is not None else f"{each['percent']} %"
    by = f", approved by {each['approved_by']}" if each["approved_by"] else ""
    return f"{each['id']}  {each['state']:8}  {each['owner']} {each['per']} +{more} until {each['ends']}  asked by {each['asked_by']}{by}"
