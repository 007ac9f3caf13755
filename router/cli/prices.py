"""`router prices`: what models cost and where that was read, rows from the public price map, and what is unknown or old."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec

from router.cli.data import rules_for
from router.clock import utc_now
from router.money import usd
from router.settings import load_settings
from router.upstream.prices import SEED_SOURCE, KnownModel, book_row, known_models, look_up, nearest_model
from routing_rules.catalogue import Deployment, Price
from routing_rules.edit import put_prices
from routing_rules.faults import RuleFaults
from routing_rules.load import complete, load, read_rules
from routing_rules.prices import ASSUMED, TOKEN_CLASSES, Row, row_on
from routing_rules.rules import RuleSet

RULES = click.option(
    "--rules",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="A directory of rules, in place of those in force.",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document.")
AT = click.option("--at", type=click.DateTime(["%Y-%m-%d"]), help="The prices of this day (UTC); today without it.")
FORMATS = frozenset({"openai_compatible", "anthropic_compatible", "simulated"})
"""Providers that are only a format: whose model it is does not follow from them."""

NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")
LONGEST_NAME = 50
OLD_DAYS = 90


@click.group()
def prices() -> None:
    """Prices: what is in the book, what is known publicly, and what is missing."""


@prices.command("list")
@RULES
@AT
@AS_JSON
def list_prices(directory: Path | None, at: datetime | None, as_json: bool) -> None:
    """What each deployment costs, in dollars per million tokens, and where that comes from."""
    rules, day = rules_for(load_settings(), directory), _day(at)
    rows = [shown(rules, deployment, day) for deployment in rules.deployments.values()]
    if as_json:
        click.echo(msgspec.json.encode(rows).decode())
        return
    for row in rows:
        told = f"{row['per_million'].get('input', 'unknown'):>12}  {row['per_million'].get('output', 'unknown'):>12}"
        until = f"  until {row['until']}" if row["until"] else ""
        click.echo(f"{row['deployment']:32}  {told}  {row['source']}{until}")


@prices.command()
@click.argument("model")
@RULES
@AT
@AS_JSON
def show(model: str, directory: Path | None, at: datetime | None, as_json: bool) -> None:
    """Every price of a deployment, or of the deployments that run MODEL: classes, larger inputs, tiers, hosted tools, and the days."""
    rules, day = rules_for(load_settings(), directory), _day(at)
    found = [each for each in rules.deployments.values() if model in (each.id, each.model, *each.model_names)]
    if not found:
        raise click.ClickException(f"no deployment is called `{model[:60]}` or runs it; `router prices list` names them")
    rows = [shown(rules, deployment, day) for deployment in found]
    if as_json:
        click.echo(msgspec.json.encode(rows).decode())
        return
    for deployment, row in zip(found, rows, strict=True):
        click.echo(f"{deployment.id}: {deployment.provider} {deployment.model}, on {day}")
        for name in ("source", "read", "since", "until", "price_book"):
            click.echo(f"  {name:12} {row[name] or '-'}")
        for line in _lines_of(deployment.price_at(_moment(day))):
            click.echo(f"  {line}")
        for since, price in deployment.prices:
            if since.date() > day:
                click.echo(f"  from {since.date()}: input {_usd(price.input)}, output {_usd(price.output)}")


@prices.command()
@click.argument("names", nargs=-1)
@click.option(
    "--rules",
    "directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    help="Where prices.yaml is.",
)
@click.option("--deployment", help="Write the row for this deployment, whatever the map calls its model.")
def seed(names: tuple[str, ...], directory: Path, deployment: str | None) -> None:
    """Write rows of the price map into prices.yaml, or bring those up to date that it wrote before.

    NAMES are models as the map writes them; without any, the models of all deployments that it knows. Rows that a person wrote stay.
    """
    settings, today = load_settings(), utc_now().date()
    try:
        files = read_rules(directory, today, settings.environment)
        rules = load(complete(files, today))
        if deployment is not None and (len(names) != 1 or deployment not in rules.deployments):
            raise click.ClickException("`--deployment` takes the id of a deployment and one name of the price map")
        rows = [book_row(*_named(scope, today), known, today) for scope, known in _wanted(rules, names, deployment)]
        changed = put_prices({name: text for name, text in files.items() if name == "prices.yaml"}, rows, today, SEED_SOURCE)
        load(complete({**files, **changed}, today))
    except RuleFaults as faults:
        raise click.ClickException(str(faults)) from None
    if changed["prices.yaml"] != files.get("prices.yaml"):
        (directory / "prices.yaml").write_text(changed["prices.yaml"], encoding="utf-8")
    for row in rows:
        click.echo(f"{row['id']:50}  {row['source']}")
    click.echo(f"{len(rows)} rows read into {directory / 'prices.yaml'}; propose them with: router rules propose {directory}")


@prices.command()
@RULES
@click.option("--old-days", default=OLD_DAYS, show_default=True, help="Days after which a price should be looked up again.")
@AS_JSON
def check(directory: Path | None, old_days: int, as_json: bool) -> None:
    """What has no price, an assumed one, one that ends or is old, or another one than the public price map. Exit status 1 where a price
    is unknown."""
    rules, today = rules_for(load_settings(), directory), utc_now().date()
    found = list(_findings(rules, today, old_days))
    if as_json:
        click.echo(
            msgspec.json.encode(
                [{"kind": kind, "subject": subject, "message": message} for kind, subject, message in found]
            ).decode()
        )
    else:
        for kind, subject, message in found:
            click.echo(f"{kind:8}  {subject:32}  {message}")
        if not found:
            click.echo("every deployment has a price that somebody has looked up lately")
    if any(kind == "unknown" for kind, _, _ in found):
        raise SystemExit(1)


def _findings(rules: RuleSet, today: date, old_days: int) -> Iterable[tuple[str, str, str]]:
    now = _moment(today)
    public = look_up({name for each in rules.deployments.values() for name in _map_names(each)})
    for deployment in rules.deployments.values():
        price, row = deployment.price_at(now), _row_of(rules, deployment, today)
        if not price.known:
            yield (
                "unknown",
                deployment.id,
                "no full price: no candidate under a limit in money, and its use is booked as unpriced",
            )
        elif price.source == ASSUMED:
            yield "assumed", deployment.id, "limits count with an assumed price"
        ends = next((since.date() for since, later in deployment.prices if since > now and not later.known), None)
        if price.known and ends is not None:
            yield "ends", deployment.id, f"no price is known from {ends} on"
        if row is not None and row.read is not None and (today - row.read).days > old_days:
            yield (
                "old",
                deployment.id,
                f"row `{row.id}` was read {(today - row.read).days} days ago; router prices seed reads it again",
            )
        known = next((public[name] for name in _map_names(deployment) if name in public), None)
        listed = price.at_list or price
        if known is not None and price.known and (listed.input, listed.output) != (known.whole.input, known.whole.output):
            yield (
                "differs",
                deployment.id,
                f"the price map says {_usd(known.whole.input)} and {_usd(known.whole.output)} for `{known.name}`",
            )
    for written in rules.price_book.rows:
        if not any(written.scope.covers(each) for each in rules.deployments.values()):
            yield "unused", written.id, "no deployment in service is meant by this row"


def shown(rules: RuleSet, deployment: Deployment, day: date) -> dict[str, Any]:
    """A deployment's prices on a day, as JSON tells them: dollars as decimal texts."""
    moment = _moment(day)
    price, row = deployment.price_at(moment), _row_of(rules, deployment, day)
    later = next((since.date() for since, _ in deployment.prices if since > moment), None)
    since = next((since.date() for since, _ in reversed(deployment.prices) if since <= moment), None)
    return {
        "deployment": deployment.id,
        "model": deployment.model,
        "per_million": _amounts(price),
        "list_per_million": _amounts(price.at_list or price),
        "per_thousand_calls": {name: usd(amount // 1_000) for name, amount in price.tools.items()},
        "above": [{"input_tokens": tokens, "per_million": _amounts(each)} for tokens, each in price.above],
        "service_tiers": {name: _amounts(each) for name, each in price.service_tiers.items()},
        "source": (row.source if row is not None and row.source else price.source) if price.known else "unknown",
        "read": row.read.isoformat() if row is not None and row.read else "",
        "since": since.isoformat() if since and since > date.min else "",
        "until": (later - timedelta(days=1)).isoformat() if later else "",
        "price_book": price.book,
    }


def _lines_of(price: Price) -> Iterable[str]:
    listed = price.at_list or price
    for name, amount in _amounts(price).items():
        was = _usd(getattr(listed, name))
        yield f"{name:20} {amount:>14} per million" + (f"  (list {was})" if was != amount else "")
    for name, calls in price.tools.items():
        yield f"{name:20} {usd(calls // 1_000):>14} per thousand calls"
    for tokens, larger in price.above:
        yield f"above {tokens} input tokens: " + ", ".join(f"{name} {amount}" for name, amount in _amounts(larger).items())
    for tier, each in price.service_tiers.items():
        yield f"{tier}: " + ", ".join(f"{name} {amount}" for name, amount in _amounts(each).items())


def _amounts(price: Price) -> dict[str, str]:
    return {name: usd(amount) for name in TOKEN_CLASSES if (amount := getattr(price, name)) is not None}


def _usd(nano: int | None) -> str:
    return "unknown" if nano is None else usd(nano)


def _row_of(rules: RuleSet, deployment: Deployment, day: date) -> Row | None:
    return row_on((row for row in rules.price_book.rows if row.scope.covers(deployment)), day)


def _day(at: datetime | None) -> date:
    return utc_now().date() if at is None else at.date()


def _moment(day: date) -> datetime:
    return datetime.combine(day, time.max, UTC)


def _map_names(deployment: Deployment) -> tuple[str, ...]:
    """What the price map may call the model of a deployment, the most particular name first."""
    named = (
        (deployment.model,) if deployment.provider in FORMATS else (f"{deployment.provider}/{deployment.model}", deployment.model)
    )
    return () if deployment.provider == "simulated" else named


def _wanted(rules: RuleSet, names: tuple[str, ...], deployment: str | None) -> list[tuple[dict[str, str], KnownModel]]:
    """What rows are about, and what the map knows of it. Raises click.ClickException for a name that it does not hold."""
    if not names:
        every = list(rules.deployments.values())
        known = look_up({name for each in every for name in _map_names(each)})
        pairs = [({"deployment": each.id}, known.get(name)) for each in every for name in _map_names(each)[:1]]
        return [(scope, model) for scope, model in pairs if model is not None]
    known = look_up(names)
    found = []
    for name in names:
        if name not in known:
            near = nearest_model(name, known_models())
            raise click.ClickException(f"the price map has no `{name[:80]}`" + (f"; did you mean `{near}`?" if near else ""))
        if deployment is not None:
            scope = {"deployment": deployment}
        elif "/" in name and name.startswith(f"{known[name].provider}/"):
            scope = {"provider": known[name].provider, "model": name.partition("/")[2]}
        else:
            scope = {"model": name}
        found.append((scope, known[name]))
    return found


def _named(scope: dict[str, str], today: date) -> tuple[str, dict[str, str]]:
    name = NO_NAME.sub("-", "-".join(scope.values())).strip("-._")[:LONGEST_NAME]
    return f"{name}-{today:%Y%m%d}", scope
