"""Months over HTTP: how far they are, closed, opened again, held against the ledger; and the statements of cost centres."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from importlib import import_module
from typing import Protocol

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from router.api.people import Who, in_sql
from router.errors import Refused
from router.exchange import JsonObject
from router.governance import months as governance
from router.governance.months import Period, Standing, Version
from router.reports.statement import FORMATS, Statement

Undrained = Callable[[datetime], Awaitable[Sequence[str] | None]]


class CostCenter(Protocol):
    """A cost centre with what is booked on it, in nano-USD."""

    @property
    def name(self) -> str: ...
    @property
    def cost_nano(self) -> int: ...


class Months(governance.Months, Protocol):
    """The months of a store, with all that was ever done about each."""

    def versions(self, month: str) -> Sequence[Version]: ...
    def wrong(self) -> Sequence[tuple[str, str]]: ...


class Statements(Protocol):
    """The statements of cost centres."""

    def cost_centers(self, month: str) -> Sequence[CostCenter]: ...
    def statement(self, cost_center: str, month: str, at: datetime) -> Statement: ...


def add_routes(
    api: APIRouter,
    months: Months,
    statements: Statements,
    undrained: Undrained,
    clock: Callable[[], datetime],
    mode: Callable[[], str],
) -> None:
    """The routes under `/api/reports`. `undrained` names records that were written before a moment and are not in SQL yet (None: nobody
    knows); `mode` is `single` or `four_eyes`."""

    @api.get("/reports/periods")
    async def listed() -> JSONResponse:
        def work() -> tuple[Sequence[Period], Standing]:
            return months.all(), months.standing(clock())

        periods, standing = await in_sql(work)
        return JSONResponse({"data": [shown(period) for period in periods], **standing_shown(standing)})

    @api.get("/reports/periods/{month}")
    async def one(month: str) -> JSONResponse:
        versions = await in_sql(lambda: months.versions(month))
        if not versions:
            raise Refused("not_found", "nothing was ever done about such a month")
        return JSONResponse({"month": month, "versions": [version_shown(each) for each in versions]})

    @api.post("/reports/periods/{month}/close")
    async def close(request: Request, month: str) -> JSONResponse:
        at = clock()
        standing = await in_sql(lambda: months.standing(at))
        waiting = await undrained(governance.written_before(standing, at))
        actor = acting(request)
        closed = await in_sql(lambda: governance.close(months, month, actor=actor, at=at, governance=mode(), undrained=waiting))
        return JSONResponse(shown(closed))

    @api.post("/reports/periods/{month}/reopen")
    async def reopen(request: Request, month: str) -> JSONResponse:
        actor = acting(request)
        return JSONResponse(shown(await in_sql(lambda: governance.reopen(months, month, actor=actor, at=clock()))))

    @api.get("/reports/verify")
    async def verify() -> JSONResponse:
        wrong = await in_sql(months.wrong)
        return JSONResponse({"intact": not wrong, "faults": [{"month": month, "message": what} for month, what in wrong]})

    @api.get("/reports/statements")
    async def centers(month: str = "") -> JSONResponse:
        found = await in_sql(lambda: statements.cost_centers(month))
        return JSONResponse({"month": month, "data": [msgspec.to_builtins(each) for each in found]})

    @api.get("/reports/statements/{cost_center:path}")
    async def statement(cost_center: str, month: str = "", format: str = "html") -> Response:
        if format not in FORMATS:
            raise Refused("invalid_request", f"`format` is one of {', '.join(FORMATS)}", param="format")

        def work() -> bytes:
            made = statements.statement(cost_center, month, clock())
            content: bytes = import_module("router.reports.statement_files").rendered(made, format)
            return content

        content = await in_sql(work)
        types = import_module("router.reports.statement_files").TYPES
        headers = {
            "content-disposition": f'{"inline" if format == "html" else "attachment"}; filename="statement-{month}.{format}"'
        }
        if format == "html":
            headers["content-security-policy"] = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
        return Response(content, media_type=types[format], headers=headers)


def acting(request: Request) -> governance.Actor:
    """Who acts, by what the gate found."""
    who: Who = request.state.who
    return governance.Actor(who.name, who.person)


def shown(period: Period) -> JsonObject:
    """A month without its document."""
    document: JsonObject = msgspec.to_builtins(period)
    del document["document"]
    return document


def version_shown(version: Version) -> JsonObject:
    """An act on a month, with what was frozen as JSON."""
    told: JsonObject = msgspec.to_builtins(version)
    frozen = version.document if version.act == "closed" else None
    return {**told, "document": None if frozen is None else msgspec.json.decode(frozen)}


def standing_shown(standing: Standing) -> JsonObject:
    """Which month is next and what holds it up."""
    return {
        "next": None if standing.next is None else shown(standing.next),
        "ended": standing.ended,
        "held_up_by": msgspec.to_builtins(list(standing.hindrances)),
    }
