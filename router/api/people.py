"""Who may use `/api`: a person's token or the admin key, by one table of routes and roles; and the routes about people themselves."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from router.errors import Refused, RouterError, Unavailable
from router.exchange import JsonObject
from router.governance import people as governance
from router.ports import Directory
from router.principals import Person, Role
from router.stages.authenticate import key_behind

T = TypeVar("T")

ANYBODY = frozenset(Role)
MOST_BYTES = 64 * 1024

READING_RULES = frozenset({Role.VIEWER, Role.EDITOR, Role.APPROVER, Role.TOOL_OWNER, Role.ADMIN})
EDITING = frozenset({Role.EDITOR})
APPROVING = frozenset({Role.APPROVER})
EITHER = EDITING | APPROVING
READING_REPORTS = frozenset({Role.FINANCE, Role.ADMIN})
REPORTS_READ = (
    "/spend",
    "/export",
    "/requests",
    "/requests/{request_id}",
    "/movers",
    "/anomalies",
    "/savings",
    "/periods",
    "/periods/{month}",
    "/verify",
    "/statements",
    "/statements/{cost_center:path}",
)
CLOSING = ("/periods/{month}/close", "/periods/{month}/reopen")
RULES_READ = (
    "",
    "/revisions/{revision}",
    "/history",
    "/diff",
    "/replay",
    "/proposals",
    "/proposals/{proposal_id}",
    "/proposals/{proposal_id}/differences",
)
RULES_CHANGED = {
    "/preview": EITHER,
    "/proposals": EDITING,
    "/proposals/{proposal_id}/revise": EDITING,
    "/proposals/{proposal_id}/rebase": EDITING,
    "/proposals/{proposal_id}/withdraw": EDITING,
    "/proposals/{proposal_id}/replay": EITHER,
    "/proposals/{proposal_id}/comment": READING_RULES,
    "/proposals/{proposal_id}/approve": frozenset(Role),  # a set may name anybody for what widens it
    "/proposals/{proposal_id}/reject": APPROVING,
    "/proposals/{proposal_id}/review": APPROVING,
    "/proposals/{proposal_id}/activate": EITHER,
    "/proposals/{proposal_id}/trial": EITHER,
    "/rollback": EITHER,
}

ROUTES: dict[tuple[str, str], frozenset[Role]] = {
    ("GET", "/api/me"): ANYBODY,
    ("GET", "/api/people"): frozenset({Role.ADMIN}),
    ("POST", "/api/people"): frozenset({Role.ADMIN}),
    ("POST", "/api/people/{who}/confirm"): frozenset({Role.ADMIN}),
    ("POST", "/api/people/{who}/end"): frozenset({Role.ADMIN}),
    ("GET", "/api/approvals"): frozenset({Role.VIEWER, Role.APPROVER, Role.TOOL_OWNER, Role.ADMIN}),
    ("GET", "/api/approvals/{approval_id}"): frozenset({Role.VIEWER, Role.APPROVER, Role.TOOL_OWNER, Role.ADMIN}),
    ("POST", "/api/approvals/{approval_id}/approve"): frozenset({Role.APPROVER, Role.TOOL_OWNER}),
    ("POST", "/api/approvals/{approval_id}/reject"): frozenset({Role.APPROVER, Role.TOOL_OWNER}),
    ("GET", "/api/sessions/{session_id}"): frozenset({Role.VIEWER, Role.APPROVER, Role.ADMIN}),
    ("POST", "/api/sessions/{session_id}/end"): frozenset({Role.APPROVER, Role.ADMIN}),
    ("GET", "/api/running"): frozenset({Role.VIEWER, Role.APPROVER, Role.ADMIN}),
    ("POST", "/api/running/{request_id}/end"): frozenset({Role.APPROVER, Role.ADMIN}),
    **{("GET", f"/api/reports{path}"): READING_REPORTS for path in REPORTS_READ},
    **{("POST", f"/api/reports{path}"): frozenset({Role.FINANCE}) for path in CLOSING},
    **{("GET", f"/api/owner-budgets{path}"): READING_REPORTS for path in ("", "/raises")},
    **{("POST", f"/api/owner-budgets/raises{path}"): READING_REPORTS for path in ("", "/{raise_id}/approve", "/{raise_id}/end")},
    **{("GET", f"/api/rules{path}"): READING_RULES for path in RULES_READ},
    **{("POST", f"/api/rules{path}"): roles for path, roles in RULES_CHANGED.items()},
}
"""Which roles may use which route, any of them; the admin key may use all. A route that is not here is nobody's."""


class Who(msgspec.Struct, frozen=True):
    """Who uses a route: a person, or (None) whoever holds the admin key. `name` is what records say."""

    name: str
    person: Person | None = None


class Tokens(Directory, Protocol):
    """The Directory, which also knows people. Looked up without I/O."""

    def person(self, sha256: str) -> Person | None:
        """The person whose token has this digest, those who were ended included."""
        ...

    def person_of(self, email: str) -> Person | None:
        """The person who has this e-mail address and was not ended."""
        ...


class Gate:
    """Lets a request through to a route of `/api`, or refuses it. Everything under `/api` hangs below it (see `router`)."""

    def __init__(self, tokens: Tokens, clock: Callable[[], datetime]) -> None:
        self._tokens = tokens
        self._clock = clock

    async def __call__(self, request: Request) -> None:
        """Raises Refused: `invalid_api_key`, `key_expired`, `role_required`. Sets `request.state.who`."""
        path = str(request.scope["route"].path)
        allowed = ROUTES.get((request.method, path), frozenset())
        authorization = request.headers.get("authorization")
        try:
            who = self.identified(authorization)
        except Refused as refusal:
            if refusal.code != "invalid_api_key":
                raise
            await self._tokens.refresh()  # it may have been made a moment ago
            who = self.identified(authorization)
        if who.person is not None and not who.person.holds(*allowed):
            needed = " or ".join(f"`{role}`" for role in Role if role in allowed) or "a role that nobody has"
            raise Refused("role_required", f"{request.method} {path} asks for the role {needed}")
        request.state.who = who

    def may(self, authorization: str | None, roles: frozenset[Role]) -> bool:
        """Whether an Authorization header is that of the admin key, or of a person with one of these roles."""
        try:
            person = self.identified(authorization).person
        except RouterError:
            return False
        return person is None or person.holds(*roles)

    def identified(self, authorization: str | None) -> Who:
        """Who is behind an Authorization header. An app's key is none of them: it is refused as an unknown one."""
        now = self._clock()
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() == "bearer" and secret.strip().startswith("rk-"):
            key = key_behind(self._tokens, authorization, now)
            if not key.admin:
                raise Refused("invalid_api_key", "the key of an app opens nothing here: send a person's token or the admin key")
            return Who(f"admin key {key.prefix}…")
        if scheme.lower() != "bearer" or not secret.strip():
            raise Refused("invalid_api_key", "no token: send `Authorization: Bearer rp-…`")
        person = self._tokens.person(hashlib.sha256(secret.strip().encode()).hexdigest())
        if person is None:
            raise Refused("invalid_api_key", "this token is not known: `router people add` makes one")
        state = governance.state_of(person, now)
        if state == "ended":
            raise Refused("invalid_api_key", f"the token `{person.prefix}…` was ended")
        if state == governance.WAITING:
            raise Refused(
                "invalid_api_key", f"the token `{person.prefix}…` waits for another admin: `router people confirm` lets it in"
            )
        if state == "expired":
            raise Refused("key_expired", f"the token `{person.prefix}…` has expired: `router people` ends it and adds another")
        return Who(person.email, person)


class NewPerson(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /api/people`."""

    email: str
    roles: list[str]
    expires: datetime | None = None


def guarded(gate: Gate) -> APIRouter:
    """Where everything under `/api` is hung: nothing there is answered before the gate has let it through."""
    return APIRouter(prefix="/api", dependencies=[Depends(gate)])


def add_routes(
    api: APIRouter,
    people: governance.People,
    changed: Callable[[str | None], Awaitable[None]],
    clock: Callable[[], datetime],
    mode: Callable[[], str],
) -> None:
    """The routes about people. `changed` tells all workers that somebody was added, or that the person with this id was ended; `mode` is
    `single` or `four_eyes`."""

    @api.get("/me")
    async def me(request: Request) -> JSONResponse:
        who: Who = request.state.who
        return JSONResponse({"name": who.name, "roles": list(who.person.roles if who.person else Role)})

    @api.get("/people")
    async def everybody() -> JSONResponse:
        now = clock()
        return JSONResponse({"data": [shown(person, now) for person in await in_sql(people.all)]})

    @api.post("/people")
    async def add(request: Request) -> JSONResponse:
        asked = await read_body(request, NewPerson)
        who: Who = request.state.who
        if asked.expires is not None and asked.expires.tzinfo is None:
            raise Refused("invalid_request", "`expires` needs its zone, such as `2027-01-31T00:00:00Z`", param="expires")

        def work() -> governance.NewPerson:
            actor = governance.Actor(who.name, who.person)
            return governance.add(
                people, asked.email, asked.roles, actor=actor, at=clock(), governance=mode(), expires=asked.expires
            )

        made = await in_sql(work)
        await changed(None)
        return JSONResponse({**shown(made.person, clock()), "token": made.token}, status_code=201)

    @api.post("/people/{who}/confirm")
    async def confirm(request: Request, who: str) -> JSONResponse:
        actor = governance.Actor(request.state.who.name, request.state.who.person)
        person = await in_sql(lambda: governance.confirm(people, who, actor=actor, at=clock()))
        await changed(None)
        return JSONResponse(shown(person, clock()))

    @api.post("/people/{who}/end")
    async def end(request: Request, who: str) -> JSONResponse:
        actor: Who = request.state.who
        person = await in_sql(lambda: governance.end(people, who, actor=actor.name, at=clock()))
        await changed(person.id)
        return JSONResponse(shown(person, clock()))


def shown(person: Person, now: datetime) -> JsonObject:
    """What may be shown of a person."""
    document: JsonObject = msgspec.to_builtins(person)
    del document["sha256"]
    return {**document, "state": governance.state_of(person, now)}


async def in_sql(work: Callable[[], T]) -> T:
    """Do something with the SQL store beside the event loop. Raises Unavailable where it is down."""
    try:
        return await asyncio.to_thread(work)
    except SQLAlchemyError as error:
        message = "the SQL store is not available: try again shortly"
        raise Unavailable("store_unavailable", message, detail=type(error).__name__, retry_after=1.0) from None


async def read_raw(request: Request, most: int = MOST_BYTES) -> bytes:
    """The body of a request. Raises Refused: `request_too_large`."""
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise Refused("request_too_large", f"the body is larger than {most} bytes")
        pieces.append(piece)
    return b"".join(pieces)


async def read_body(request: Request, kind: type[T], most: int = MOST_BYTES) -> T:
    """The JSON body of a request. Raises Refused: `request_too_large`, `invalid_request`."""
    raw = await read_raw(request, most)
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise Refused("invalid_request", f"the body is not what this path takes: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("invalid_request", "the body is not JSON") from None
