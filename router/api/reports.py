"""Reports over HTTP, for finance: the same figures as `router report`, as JSON or CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from fastapi.responses import Response

from router.api.people import in_sql
from router.exchange import JsonObject

if TYPE_CHECKING:
    from router.reports.analysis import KnownPrice
    from router.reports.requests import BookingsPage
    from router.reports.spend import SpendReport
    from routing_rules.rules import RuleSet

NAMES = ("spend", "requests", "movers", "anomalies", "savings")
"""The reports that are asked for by parameters alone."""


class Ledger(Protocol):
    """What reports are read from, in one state of it per call. Money in nano-USD, times in UTC."""

    def zone(self) -> ZoneInfo:
        """The time zone of the days in reports."""
        ...

    def spend(
        self,
        by: Sequence[str],
        since: datetime | None = None,
        until: datetime | None = None,
        where: Mapping[str, Sequence[str]] | None = None,
    ) -> SpendReport:
        """Cost and use by these dimensions."""
        ...

    def bookings(
        self,
        where: Mapping[str, Sequence[str]],
        since: datetime | None,
        until: datetime | None,
        after: tuple[datetime, str] | None,
        limit: int,
    ) -> BookingsPage:
        """The single requests behind such figures."""
        ...

    def upstream_medians(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> Mapping[tuple[str, str, str], tuple[int, int]]:
        """How many requests of each task, complexity and tier were completed, and the median of their upstream time."""
        ...

    def request(self, request_id: str) -> tuple[JsonObject, list[JsonObject]] | None:
        """One request and its lines."""
        ...


class Prices(NamedTuple):
    """Where other models' prices are from: the rules in force, and what is publicly known by name."""

    rules: Callable[[], RuleSet]
    known: Callable[[Iterable[str]], Mapping[str, KnownPrice]]


def add_routes(api: APIRouter, ledger: Ledger, prices: Prices, clock: Callable[[], datetime]) -> None:
    """The routes of the reports. What answers them is imported when it is first asked."""

    def answering(name: str) -> None:
        @api.get(f"/reports/{name}")
        async def show(request: Request) -> Response:
            return await answer(request, name)

    async def answer(request: Request, name: str, request_id: str | None = None) -> Response:
        given, accept = request.query_params.multi_items(), request.headers.get("accept", "")
        answers = import_module("router.api.report_answers")
        found: Response = await in_sql(lambda: answers.answered(ledger, prices, name, given, accept, clock(), request_id))
        return found

    for name in NAMES:
        answering(name)

    @api.get("/reports/requests/{request_id}")
    async def one(request: Request, request_id: str) -> Response:
        return await answer(request, "request", request_id)
