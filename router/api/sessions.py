"""Sessions and what is under way in them, over HTTP: looked at with their timeline, ended at once on every replica."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from router.api.asgi import error_headers
from router.api.people import Who, in_sql, read_body
from router.errors import Refused, RouterError
from router.exchange import ApprovalHistory, JsonObject, Record, SessionState
from router.governance.approvals import Waiting
from router.pipeline import error_event
from router.reports.sessions import budget_of, now_of, timeline
from router.sse import SseSplitter, data_of
from router.stages.settle import BYTES_PER_TOKEN
from router.streaming import Inference, Inferences, Progress, Pumps, Running
from routing_rules.decisions import Hold, Permit
from routing_rules.task import Endpoint

SESSION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
MOST_REQUESTS = 500
SESSION_ENDED, INFERENCE_ENDED = "session_ended", "inference_ended"


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    """Body of what ends something: why, for the record and for the app."""

    reason: str = "ended by a person"


class Sessions(Protocol):
    """Sessions in Redis (see ports)."""

    async def open(self, session_id: str, app: str, deployments: tuple[()], *, calls: bool = False) -> SessionState: ...
    async def end(self, session_id: str, reason: str, app: str | None = None) -> bool: ...


class UnderWay(Protocol):
    """What is under way on all replicas."""

    async def looked_at(self, app: str | None = None, session_id: str | None = None) -> list[Running]: ...
    async def under_way(self, app: str | None = None, session_id: str | None = None) -> list[Running]: ...
    async def apps(self, session_id: str) -> list[str]: ...
    async def end(self, app: str, session_id: str, request_id: str | None, code: str) -> None: ...


class Records(Protocol):
    """What SQL knows of sessions."""

    def apps(self, session_id: str) -> list[str]: ...
    def records(self, app: str, session_id: str, limit: int) -> list[Record]: ...
    def endings(self, app: str, session_id: str) -> list[tuple[datetime, str, str]]: ...
    def end(self, app: str, session_id: str, *, actor: str, at: datetime, why: str, request_id: str | None = None) -> None: ...


class Approvals(Protocol):
    """What waits in a session."""

    async def of_session(self, app: str, session_id: str) -> list[Waiting]: ...
    async def decide(self, approval_id: str, *, approve: bool, by: str, via: str, note: str, now: datetime) -> str | None: ...


class Decided(Protocol):
    """What is remembered of approvals for good."""

    def history(self, *, app: str | None, session: str | None) -> list[ApprovalHistory]: ...


@dataclass(frozen=True, slots=True)
class Looking:
    """What looks at sessions and ends them; the command line uses the same."""

    sessions: Sessions
    running: UnderWay
    records: Records
    approvals: Approvals
    decided: Decided
    clock: Callable[[], datetime]

    async def app_of(self, session_id: str, app: str | None) -> str:
        """The one app that has a session of this id. Raises Refused: `not_found`, `invalid_request` where several have."""
        if not SESSION_ID.fullmatch(session_id):
            raise Refused("not_found", "there is no such session")
        if app is not None:
            return app
        apps = await in_sql(lambda: self.records.apps(session_id)) or await self.running.apps(session_id)
        if not apps:
            raise Refused("not_found", f"no app has a session `{session_id}`")
        if len(apps) > 1:
            raise Refused(
                "invalid_request", f"several apps have a session of this id: name one of {', '.join(apps)}", param="app"
            )
        return apps[0]

    async def account(self, session_id: str, app: str | None, limit: int) -> JsonObject:
        """Everything that is known of a session. Raises Refused as `app_of`."""
        app = await self.app_of(session_id, app)
        state = await self.sessions.open(session_id, app, (), calls=True)
        records, endings, history = await in_sql(
            lambda: (
                self.records.records(app, session_id, limit),
                self.records.endings(app, session_id),
                self.decided.history(app=app, session=session_id),
            )
        )
        waiting = {each.history.id: each.history for each in await self.approvals.of_session(app, session_id)}
        known = {row.id: row for row in history} | waiting
        if state.new and not records and not known:
            raise _no_such(session_id, app)
        document: JsonObject = {"id": session_id, "app": app, **now_of(state)}
        document["budget"] = budget_of(records, state)
        document["running"] = await self.running.looked_at(app, session_id)
        document["timeline"] = timeline(records, known.values(), endings)
        plain: JsonObject = msgspec.to_builtins(document)
        return plain

    async def end(self, session_id: str, app: str | None, *, by: str, why: str) -> JsonObject:
        """End a session everywhere: its next request is refused, what is under way in it is cut, what waits in it is denied."""
        app = await self.app_of(session_id, app)
        if not await self.sessions.end(session_id, why, app):
            raise _no_such(session_id, app)
        now = self.clock()
        await self.running.end(app, session_id, None, SESSION_ENDED)
        for each in await self.approvals.of_session(app, session_id):
            await self.approvals.decide(each.history.id, approve=False, by=by, via="session", note=why, now=now)
        await in_sql(lambda: self.records.end(app, session_id, actor=by, at=now, why=why))
        return {"id": session_id, "app": app, "ended": why}

    async def end_one(self, request_id: str, *, by: str, why: str) -> JsonObject:
        """End one request that is under way; its session goes on."""
        found = next((each for each in await self.running.under_way() if each.request_id == request_id), None)
        if found is None:
            raise Refused("not_found", "nothing with this id is under way")
        await self.running.end(found.app, found.session, request_id, INFERENCE_ENDED)
        now = self.clock()
        await in_sql(lambda: self.records.end(found.app, found.session, actor=by, at=now, why=why, request_id=request_id))
        return {"request_id": request_id, "app": found.app, "session": found.session, "ended": why}


def add_routes(api: APIRouter, looking: Looking) -> None:
    """The routes under `/api`."""

    @api.get("/sessions/{session_id}")
    async def show(session_id: str, app: str | None = None, limit: int = 100) -> JSONResponse:
        if not 1 <= limit <= MOST_REQUESTS:
            raise Refused("invalid_request", f"`limit` is a number from 1 to {MOST_REQUESTS}", param="limit")
        return JSONResponse(await looking.account(session_id, app, limit))

    @api.post("/sessions/{session_id}/end")
    async def end(request: Request, session_id: str, app: str | None = None) -> JSONResponse:
        who: Who = request.state.who
        why = reason_of((await read_body(request, Reason)).reason)
        return JSONResponse(await looking.end(session_id, app, by=who.name, why=why))

    @api.get("/running")
    async def running(app: str | None = None) -> JSONResponse:
        return JSONResponse({"data": msgspec.to_builtins(await looking.running.looked_at(app))})

    @api.post("/running/{request_id}/end")
    async def end_one(request: Request, request_id: str) -> JSONResponse:
        who: Who = request.state.who
        why = reason_of((await read_body(request, Reason)).reason)
        return JSONResponse(await looking.end_one(request_id, by=who.name, why=why))


def _no_such(session_id: str, app: str) -> Refused:
    return Refused("not_found", f"the app `{app[:100]}` has no session `{session_id}`")


def reason_of(told: str) -> str:
    """The reason as it is kept: one line, not too long, not empty."""
    return " ".join(told.split())[:200] or Reason().reason


def end_inferences(inferences: Inferences, pumps: Pumps, app: str, session_id: str, request_id: str | None, code: str) -> int:
    """End what this process has under way in a session, or one request of it; how many. The app is told why."""
    ended = 0
    for one in inferences:
        hold = one.hold
        if (hold.app, hold.session_id) != (app, session_id) or request_id not in (None, hold.request_id) or one.task is None:
            continue
        one.ended = code
        pumps.cut(one.task, _last_word(one, code))
        ended += 1
    return ended


def how_far(one: Inference, now: float) -> Progress:
    """How far an answer is, and what is left of its limits. Tokens are estimated from what was passed on."""
    sent = one.answer.so_far() if one.answer is not None else b""
    text, reasoning = _lengths(sent)
    streams = one.answer is not None and one.answer.started
    decision = one.record.decision.permit if isinstance(one.record.decision, Hold) else one.record.decision
    limits = decision.limits if isinstance(decision, Permit) else None
    tokens = -(-(text + reasoning) // BYTES_PER_TOKEN)
    left = one.reservation.session_left_nano
    return Progress(
        request_id=one.hold.request_id,
        answering=streams,
        output_tokens=tokens if streams else None,
        reasoning_tokens=-(-reasoning // BYTES_PER_TOKEN) if streams else None,
        limits_left={
            "seconds": None if limits is None else round(max(limits.request_seconds - (now - one.hold.now), 0.0), 1),
            "output_tokens": max(one.reservation.output_tokens - tokens, 0),
            "session_nano": left,
        },
    )


def _lengths(sent: bytes) -> tuple[int, int]:
    """Characters of text (arguments included) and of reasoning in the events of a stream, in any of the wire formats."""
    splitter = SseSplitter()
    text = reasoning = 0
    for event in [*splitter.feed(sent), splitter.end()]:
        data = data_of(event)
        if not data or data.startswith(b"[DONE]"):
            continue
        try:
            found = msgspec.json.decode(data)
        except msgspec.DecodeError:
            continue
        if not isinstance(found, dict):
            continue
        kind = str(found.get("type", ""))
        delta = found.get("delta")
        if isinstance(delta, str):
            of_reasoning = "reasoning" in kind
            reasoning += len(delta) if of_reasoning else 0
            text += 0 if of_reasoning else len(delta)
        elif isinstance(delta, dict):
            text += _characters(delta, "text", "partial_json")
            reasoning += _characters(delta, "thinking")
        choices = found.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            inner = choice.get("delta") if isinstance(choice, dict) else None
            if isinstance(inner, dict):
                text += _characters(inner, "content", "refusal")
                reasoning += _characters(inner, "reasoning_content", "reasoning")
    return text, reasoning


def _characters(delta: JsonObject, *names: str) -> int:
    return sum(len(value) for name in names if isinstance(value := delta.get(name), str))


async def _last_word(one: Inference, code: str) -> None:
    """Tell the app that its answer was ended: as an error where nothing was told yet, else as the event that ends its stream."""
    message = "this session has ended; start a new one" if code == SESSION_ENDED else "a person has ended this answer"
    error: RouterError = Refused(code, message)
    answer = one.answer
    if answer is None:
        return
    endpoint = one.record.facts.endpoint
    if answer.started:
        await answer.finish(error_event(endpoint, error, 0))
        return
    request_id = one.hold.request_id
    body = msgspec.json.encode(error.messages_body(request_id) if endpoint is Endpoint.MESSAGES else error.body())
    headers = [
        *error_headers(error),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id.encode()),
    ]
    await answer.start(error.row.status, headers)
    await answer.finish(body)
