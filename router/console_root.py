"""Composition root of the console, imported when it is first asked for: a worker that serves apps only pays nothing for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib import import_module

from sqlalchemy import Engine
from starlette.responses import Response
from starlette.types import ASGIApp

from router.api import exports
from router.api.approvals import Deciding
from router.api.sessions import Looking
from router.clock import utc_now
from router.console.app import create_console
from router.console.charts import Artist
from router.console.site import Oidc, Site, in_sql
from router.reports.burn import BudgetRow
from router.settings import Settings
from router.storage.redis_client import RedisClient
from router.storage.redis_undrained import undrained
from router.storage.redis_visits import RedisVisits
from router.storage.snapshot import Snapshot
from router.storage.sql.accounts import SqlAccounts
from router.storage.sql.decisions import SqlDecisions
from router.storage.sql.directory import SqlKeys
from router.storage.sql.finance_store import SqlFinance
from router.storage.sql.months import SqlMonths
from router.storage.sql.owner_budgets import budget_rows
from router.storage.sql.people import SqlPeople
from router.storage.sql.raises import SqlRaises
from router.storage.sql.recorded import Recorded
from router.storage.sql.registrations import SqlRegistrations
from router.storage.sql.rules import RuleStore
from router.storage.sql.statements import SqlStatements
from router.upstream.prices import look_up
from routing_rules.load import load
from routing_rules.rules import RuleSet

MOST_COMPILED = 4
"""Revisions that are kept compiled, for looking at: each takes some megabytes."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker has already, and the console works with."""

    settings: Settings
    secret: bytes
    redis: RedisClient
    engine: Engine
    snapshot: Snapshot
    looking: Looking
    deciding: Deciding
    changed: Callable[[str | None], Awaitable[None]]  # tells all workers that keys or rules have changed


class Compiled:
    """Revisions as compiled rule sets, the last few of them remembered."""

    def __init__(self, store: RuleStore) -> None:
        self._store = store
        self._known: OrderedDict[str, RuleSet] = OrderedDict()

    def of(self, revision: str) -> RuleSet | None:
        """The rules of a revision; None where it is not stored. Raises RuleFaults for a draft with errors."""
        if (known := self._known.get(revision)) is not None:
            return known
        found = self._store.get(revision)
        if found is None:
            return None
        rules = self._known[revision] = load(found.files)
        while len(self._known) > MOST_COMPILED:
            self._known.popitem(last=False)
        return rules


def build(parts: Parts) -> ASGIApp:
    """The console of a worker."""
    settings, rules = parts.settings, RuleStore(parts.engine)
    compiled = Compiled(rules)
    visits = RedisVisits(parts.redis, idle=settings.console_idle_seconds, absolute=settings.console_visit_seconds)
    return create_console(
        Site(
            visits=visits,
            accounts=SqlAccounts(parts.engine, parts.secret),
            directory=parts.snapshot,
            clock=utc_now,
            secret=parts.secret,
            mode=lambda: rules.mode(settings.governance_mode),
            people=SqlPeople(parts.engine),
            rules=rules,
            recorded=Recorded(parts.engine),
            rules_of=compiled.of,
            decisions=SqlDecisions(parts.engine),
            looking=parts.looking,
            deciding=parts.deciding,
            keys=SqlKeys(parts.engine),
            registrations=SqlRegistrations(parts.engine),
            changed=parts.changed,
            books=SqlFinance(parts.engine),
            export=_exports(SqlFinance(parts.engine)),
            statements=SqlStatements(parts.engine),
            budgets=partial(_budgets, parts),
            raises=SqlRaises(parts.engine),
            known_prices=look_up,
            months=SqlMonths(parts.engine),
            undrained=partial(undrained, parts.redis),
            artist=Artist(settings.data_dir / "charts"),
            secure=settings.address.startswith("https://") or not settings.on_loopback,
            second_factor=settings.console_second_factor == "required",
            provider=settings.oidc_name if settings.oidc_issuer is not None else "",
            oidc=_provider(settings, visits),
        )
    )


def _budgets(parts: Parts, now: datetime, owner: str | None = None) -> list[BudgetRow]:
    return budget_rows(parts.engine, parts.snapshot.rules(), parts.snapshot.raised, now, owner)


def _exports(ledger: SqlFinance) -> Callable[[Sequence[tuple[str, str]]], Awaitable[Response]]:
    """Answers with a file of the ledger, written by a process of its own."""
    running = exports.Running()

    async def export(given: Sequence[tuple[str, str]]) -> Response:
        arguments, headers = await in_sql(lambda: exports.asked(ledger, given, utc_now()))
        return exports.Streamed(await running.start(arguments), headers)

    return export


def _provider(settings: Settings, visits: RedisVisits) -> Oidc | None:
    """The OpenID provider that the settings name. What it takes is imported only then."""
    if settings.oidc_issuer is None or settings.oidc_client_id is None or settings.oidc_client_secret is None:
        return None
    secret, here = settings.oidc_client_secret.get_secret_value(), f"{settings.address}/console"
    provider: Oidc = import_module("router.console.oidc").Provider(
        settings.oidc_issuer, settings.oidc_client_id, secret, here, visits, utc_now
    )
    return provider
