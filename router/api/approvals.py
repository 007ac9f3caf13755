"""What waits for a person, over HTTP: listed, shown and decided on with a person's token, or decided on by a signed webhook."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from router.api.people import Tokens, Who, in_sql, read_body, read_raw
from router.errors import Refused
from router.exchange import ApprovalHistory
from router.governance import approvals as governance
from router.governance import people
from router.governance.approvals import Decider, Waiting
from router.principals import Person

WEBHOOK = "/webhooks/approvals"
SIGNATURE = "x-router-signature"
TOLERANCE_SECONDS = 300
"""How old, or how far ahead, a signed decision may be; it is remembered for longer, so that it counts once."""

MOST_LISTED = 500
STATUSES = ("pending", "approved", "denied", "used", "expired")


class Note(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a decision: why, for the record."""

    note: str = ""


class Signed(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a signed webhook. `by` is the e-mail address of the person who decided."""

    approval: str
    decision: str  # approve | reject
    by: str
    note: str = ""


class Approvals(governance.Approvals, Protocol):
    """Where approvals wait, and where it is remembered which webhooks came."""

    async def first_time(self, signature: str, seconds: int) -> bool: ...


class Records(Protocol):
    """What is remembered of approvals for good."""

    def history(self, *, session: str | None, app: str | None, status: str | None, limit: int) -> list[ApprovalHistory]: ...
    def one(self, approval_id: str) -> ApprovalHistory | None: ...
    def maker_of(self, key_id: str) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Deciding:
    """What the routes work with. `secret`: with which webhooks are signed; None: no webhook decides."""

    approvals: Approvals
    records: Records
    tokens: Tokens
    clock: Callable[[], datetime]
    governance: Callable[[], str]
    secret: bytes | None

    async def decide(self, approval_id: str, who: Who | Decider, *, approve: bool, via: str, note: str) -> Waiting:
        """See `governance.decide`; also looks up who made the key that asked."""
        found = await self.approvals.waiting(approval_id)
        made_by = await in_sql(lambda: self.records.maker_of(found.held.key_id)) if found is not None else None
        return await governance.decide(
            self.approvals,
            approval_id,
            Decider(who.name, who.person),
            approve=approve,
            via=via,
            note=note,
            now=self.clock(),
            governance=self.governance(),
            made_by=made_by,
        )


def add_routes(api: APIRouter, deciding: Deciding) -> None:
    """The routes under `/api`."""

    @api.get("/approvals")
    async def listed(
        request: Request, status: str = "pending", app: str | None = None, session: str | None = None, limit: int = 100
    ) -> JSONResponse:
        who: Who = request.state.who
        if status not in STATUSES:
            raise Refused("invalid_request", f"`status` is one of {', '.join(STATUSES)}", param="status")
        if not 1 <= limit <= MOST_LISTED:
            raise Refused("invalid_request", f"`limit` is a number from 1 to {MOST_LISTED}", param="limit")
        if status == governance.PENDING:
            waiting = await deciding.approvals.pending(deciding.clock())
            mine = [each for each in waiting if governance.concerns(who.person, each.held)]
            chosen = [each for each in mine if app in (None, each.held.app) and session in (None, each.held.session_id)]
            return JSONResponse({"data": [governance.shown(each) for each in chosen[:limit]]})
        rows = await in_sql(lambda: deciding.records.history(app=app, session=session, status=status, limit=limit))
        seen = [row for row in rows if governance.may_recall(who.person, row)]
        return JSONResponse({"data": [msgspec.to_builtins(row) for row in seen]})

    @api.get("/approvals/{approval_id}")
    async def show(request: Request, approval_id: str) -> JSONResponse:
        who: Who = request.state.who
        found = await deciding.approvals.waiting(approval_id)
        if found is not None and governance.concerns(who.person, found.held):
            return JSONResponse(governance.shown(found))
        row = await in_sql(lambda: deciding.records.one(approval_id)) if found is None else None
        if row is None or not governance.may_recall(who.person, row):
            raise Refused("not_found", "there is no such approval")
        return JSONResponse(msgspec.to_builtins(row))

    @api.post("/approvals/{approval_id}/approve")
    async def approve(request: Request, approval_id: str) -> JSONResponse:
        return await decided(request, approval_id, approve=True)

    @api.post("/approvals/{approval_id}/reject")
    async def reject(request: Request, approval_id: str) -> JSONResponse:
        return await decided(request, approval_id, approve=False)

    async def decided(request: Request, approval_id: str, *, approve: bool) -> JSONResponse:
        note = (await read_body(request, Note)).note
        result = await deciding.decide(approval_id, request.state.who, approve=approve, via="api", note=note)
        return JSONResponse(governance.shown(result))


async def webhook(deciding: Deciding, request: Request) -> JSONResponse:
    """A decision that another system took over from a person, and signed. Raises Refused: `unknown_path` where no secret is set,
    `invalid_signature`, and what a decision raises."""
    if deciding.secret is None:
        raise Refused("unknown_path", "no webhook decides here: ROUTER_WEBHOOK_SECRET is not set")
    raw = await read_raw(request)
    now = deciding.clock()
    signature = checked_signature(deciding.secret, request.headers.get(SIGNATURE), raw, now)
    try:
        body = msgspec.json.decode(raw, type=Signed)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Refused("invalid_request", "the body is `{approval, decision, by, note}`") from None
    if body.decision not in ("approve", "reject"):
        raise Refused("invalid_request", "`decision` is approve or reject", param="decision")
    person = person_named(deciding.tokens, body.by, now)
    if not await deciding.approvals.first_time(signature, 2 * TOLERANCE_SECONDS):
        raise Refused("invalid_signature", "this was received before: it counts once")
    who = Who(person.email, person)
    result = await deciding.decide(body.approval, who, approve=body.decision == "approve", via="webhook", note=body.note)
    shown = result.history
    return JSONResponse({"id": shown.id, "status": shown.status, "decided_by": shown.decided_by})


def checked_signature(secret: bytes, header: str | None, raw: bytes, now: datetime) -> str:
    """The signature of a webhook, `t=SECONDS,v1=HEX`: HMAC-SHA256 over `SECONDS.BODY`. Raises Refused(`invalid_signature`)."""
    parts = dict(part.strip().partition("=")[::2] for part in (header or "").split(","))
    told, signature = parts.get("t", ""), parts.get("v1", "")
    if not told.isascii() or not told.isdigit() or len(told) > 12:
        raise Refused("invalid_signature", f"`{SIGNATURE}` is missing or is not `t=SECONDS,v1=HEX`")
    expected = hmac.new(secret, told.encode() + b"." + raw, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.encode("ascii", "replace")):
        raise Refused("invalid_signature", "the signature does not fit the body")
    if abs(now.timestamp() - int(told)) > TOLERANCE_SECONDS:
        raise Refused("invalid_signature", f"it was signed more than {TOLERANCE_SECONDS} seconds ago or ahead")
    return expected


def person_named(tokens: Tokens, email: str, now: datetime) -> Person:
    """The person with this e-mail who may decide now. Raises Refused(`role_required`)."""
    person = tokens.person_of(email.strip().lower())
    if person is None or people.state_of(person, now) != "active" or not person.holds(*governance.DECIDERS):
        raise Refused("role_required", "`by` names nobody who may decide: `router people list` names everybody")
    return person
