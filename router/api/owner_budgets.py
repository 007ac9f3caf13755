"""`/api/owner-budgets`: budgets against what was spent, and raises of them for a while."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from router.api.people import Who, in_sql, read_body
from router.errors import Refused
from router.exchange import JsonObject
from router.governance import raises as governance
from router.money import usd
from router.reports.burn import BudgetRow, document
from routing_rules.reading import nano_usd
from routing_rules.rules import RuleSet


class Rows(Protocol):
    """Reads every budget, or those of one owner, against the ledger."""

    def __call__(self, now: datetime, owner: str | None = None) -> Sequence[BudgetRow]: ...


class NewRaise(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /api/owner-budgets/raises`: an amount in dollars or percents of the limit, until a moment with its zone."""

    owner: str
    ends: datetime
    reason: str
    per: str = "month"
    amount_usd: str | None = None
    percent: int | None = None


def add_routes(
    api: APIRouter,
    rows: Rows,
    raises: governance.Raises,
    rules: Callable[[], RuleSet],
    changed: Callable[[str | None], Awaitable[None]],
    clock: Callable[[], datetime],
    mode: Callable[[], str],
) -> None:
    """The routes. `changed` tells all workers; `mode` is `single` or `four_eyes`."""

    @api.get("/owner-budgets")
    async def budgets(owner: str | None = None) -> JSONResponse:
        now = clock()
        return JSONResponse(document(await in_sql(lambda: rows(now, owner)), now))

    @api.get("/owner-budgets/raises")
    async def listed() -> JSONResponse:
        now = clock()
        return JSONResponse({"data": [shown(each, now) for each in await in_sql(raises.all)]})

    @api.post("/owner-budgets/raises")
    async def ask(request: Request) -> JSONResponse:
        wanted = await read_body(request, NewRaise)
        if wanted.ends.tzinfo is None:
            raise Refused("invalid_request", "`ends` needs its zone, such as `2027-01-31T00:00:00Z`", param="ends")
        made = await in_sql(
            lambda: governance.ask(
                raises,
                rules(),
                raise_id=new_id(),
                owner=wanted.owner,
                per=wanted.per,
                amount_nano=amount_of(wanted.amount_usd),
                percent=wanted.percent,
                ends=wanted.ends,
                reason=wanted.reason,
                actor=_actor(request),
                at=clock(),
                governance=mode(),
            )
        )
        return JSONResponse(shown(made, clock()), status_code=201)

    @api.post("/owner-budgets/raises/{raise_id}/approve")
    async def approve(request: Request, raise_id: str) -> JSONResponse:
        actor = _actor(request)
        done = await in_sql(lambda: governance.approve(raises, raise_id, actor=actor, at=clock(), governance=mode()))
        await changed(None)
        return JSONResponse(shown(done, clock()))

    @api.post("/owner-budgets/raises/{raise_id}/end")
    async def end(request: Request, raise_id: str) -> JSONResponse:
        actor = _actor(request)
        done = await in_sql(lambda: governance.end(raises, raise_id, actor=actor, at=clock(), governance=mode()))
        await changed(None)
        return JSONResponse(shown(done, clock()))


def new_id() -> str:
    """An id for a raise."""
    return f"raise_{secrets.token_hex(8)}"


def amount_of(text: str | None) -> int | None:
    """An amount in dollars as nano-USD. Raises Refused(`invalid_request`)."""
    try:
        return None if text is None else nano_usd(text)
    except ValueError:
        raise Refused("invalid_request", "`amount_usd` is an amount such as `250.00`", param="amount_usd") from None


def shown(raised: governance.BudgetRaise, now: datetime) -> JsonObject:
    """A raise as programs are told of it."""
    built: JsonObject = msgspec.to_builtins(raised)
    amount = None if raised.amount_nano is None else usd(raised.amount_nano)
    return {**built, "amount_usd": amount, "state": raised.state(now)}


def _actor(request: Request) -> governance.Actor:
    who: Who = request.state.who
    return governance.Actor(who.name, who.person)
