"""`router report reconcile`: a provider's usage or invoice export beside the ledger, by day and model."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from router.cli.data import rules_for, store
from router.money import parse_usd
from router.reports.invoices import InvoiceFault, InvoiceRow, Layout, mapped, read_invoice
from router.reports.reconcile import FORMATS, render
from router.reports.reconcile import reconcile as compared
from router.settings import load_settings

HOSTS = {
    "openai": "api.openai.com",
    "anthropic": "api.anthropic.com",
    "mistral": "api.mistral.ai",
    "groq": "api.groq.com",
    "openrouter": "openrouter.ai",
    "deepseek": "api.deepseek.com",
    "gemini": "generativelanguage.googleapis.com",
}
"""Where providers are reached, so that a deployment tells whose invoice it is on."""


@click.command()
@click.argument(
    "invoices", metavar="INVOICE.csv…", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option("--provider", required=True, help="Whose invoice it is: openai, anthropic, bedrock, azure, …")
@click.option(
    "--deployment",
    "chosen",
    multiple=True,
    help="A deployment that is on it (may hold `*`, may be repeated). Default: by provider.",
)
@click.option("--columns", help="For other exports: day=…,model=…,class=…,quantity=…,cost=…,currency=…")
@click.option("--alias", "aliases", multiple=True, metavar="THEIRS=OURS", help="Two names of one model; may be repeated.")
@click.option("--rate", metavar="USD", help="US dollars for one of the invoice's currency.")
@click.option("--zone", default="UTC", show_default=True, help="Time zone of the provider's days.")
@click.option(
    "--tolerance", default="0.01", show_default=True, metavar="USD", help="How much may be left without an explanation."
)
@click.option("--accept-outside", is_flag=True, help="Use that did not go through the router is expected on this invoice.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
def reconcile(
    invoices: tuple[Path, ...],
    provider: str,
    chosen: tuple[str, ...],
    columns: str | None,
    aliases: tuple[str, ...],
    rate: str | None,
    zone: str,
    tolerance: str,
    accept_outside: bool,
    form: str,
) -> None:
    """Explain by day and model what differs; exit status 1 where more is left than the tolerance."""
    from router.storage.sql.invoices import booked, deployments_seen

    rows: list[InvoiceRow] = []
    layouts: list[str] = []
    try:
        by_hand = mapped(_pairs(columns.split(","), "--columns")) if columns else None
        renamed = _pairs(aliases, "--alias")
        tolerated = parse_usd(tolerance)
        factor = None if rate is None else Decimal(rate)
        where = ZoneInfo(zone)
        for path in invoices:
            name, found = _read(path, by_hand, where, factor)
            layouts.append(name)
            rows += found
    except (ValueError, InvalidOperation, ZoneInfoNotFoundError) as error:
        told = "--rate is a number, such as 1.08" if isinstance(error, InvalidOperation) else str(error).strip("'\"")
        raise click.ClickException(told) from None
    settings = load_settings()
    hosts = {name: urlsplit(one.base_url or "").hostname or "" for name, one in rules_for(settings).deployments.items()}
    with store(settings) as engine:
        seen = deployments_seen(engine)
        deployments = {name for name in seen if _is_on(name, seen[name], provider.lower(), chosen, hosts)}
        if not deployments:
            told = f"the ledger has nothing of `{provider[:40]}`; it has {', '.join(sorted(seen)) or 'nothing at all'}"
            raise click.ClickException(f"{told}: name what is on the invoice by --deployment")
        first, last = min(row.day for row in rows), max(row.day for row in rows)
        lines = booked(engine, deployments, first, last, zone)
    result = compared(
        rows,
        lines,
        provider=provider,
        layouts=layouts,
        deployments=sorted(deployments),
        aliases=renamed,
        tolerance_nano=tolerated,
        accept_outside=accept_outside,
    )
    click.echo(render(result, form), nl=False)
    sys.exit(0 if result.agrees else 1)


def _read(path: Path, by_hand: Layout | None, zone: ZoneInfo, rate: Decimal | None) -> tuple[str, list[InvoiceRow]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return read_invoice(file, by_hand=by_hand, zone=zone, rate=rate)
    except InvoiceFault as fault:
        raise click.ClickException(f"{path.name}: {fault}") from None


def _pairs(given: Iterable[str], option: str) -> Mapping[str, str]:
    pairs = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise ValueError(f"{option}: write it as NAME=VALUE")
        pairs[name.strip()] = value.strip()
    return pairs


def _is_on(deployment: str, named: str, provider: str, chosen: Iterable[str], hosts: Mapping[str, str]) -> bool:
    """Whether a deployment is on a provider's invoice: as was said, else by the provider's name, the deployment's own or its host."""
    patterns = tuple(chosen)
    if patterns:
        return any(fnmatchcase(deployment, pattern) for pattern in patterns)
    host = hosts.get(deployment, "")
    by_host = bool(host) and host == HOSTS.get(provider)
    return by_host or named.lower() == provider or deployment.lower().split("-")[0] == provider
