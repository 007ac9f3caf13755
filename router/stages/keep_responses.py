"""Responses that a provider keeps: which app and session they belong to, how they are fetched, and how those in the background end."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

import msgspec

from router import telemetry
from router.errors import Refused, RouterError, Unavailable, UpstreamFailed
from router.exchange import JsonObject, Reservation, SessionState
from router.ports import Budgets, Masks, Sessions
from router.stages.enforce import enforce_json
from router.stages.enforced import text_or_none
from router.stages.entitlement_token import without_tokens
from router.stages.read_usage import hosted_calls, usage_of
from router.stages.screen import Screen
from router.stages.settle import attempt_lines, outcome_of
from router.stages.tool_keys import CLIENT_CALLS, Granted
from router.stages.unmask import Placeholders
from router.usage import Basis, Line, Usage
from routing_rules.catalogue import Deployment
from routing_rules.decisions import ToolGrant
from routing_rules.facts import Caller
from routing_rules.rules import RuleSet
from routing_rules.task import Endpoint

KEPT_BY = "openai_compatible"
"""The provider whose responses can be fetched again."""

UNDER_WAY = frozenset({"queued", "in_progress"})
FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.1, 1.0
LEASE_SECONDS = 5.0
"""How long a worker is taken to follow a response after it last said so."""

LAST_WORDS_SECONDS = 10.0
"""How long a response that was cancelled may take to say what it has cost."""

_ID = re.compile(r"\A[A-Za-z0-9_-]{1,256}\Z")
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class UnderWay(msgspec.Struct, frozen=True):
    """What is needed to close the ledger entry of a response in the background, whoever does it. `booked` are the lines of attempts
    before; `longest` the usage to charge where the provider never says; `stop_at` when it is cut. `began`: when it came, whose prices hold."""

    reservation: Reservation
    attempt: int
    booked: tuple[Line, ...]
    longest: Usage
    stop_at: datetime
    began: datetime | None = None


class KeptResponse(msgspec.Struct, frozen=True):
    """A response that its provider keeps, without its content. `structured`: a refused call ends it with an error; `masked`: values were
    masked in its session; `screened`: the places to which alone its words may link. `under_way` is None once it has ended and was settled; `refusal` is the code and sentence with which it did, `details` what stands beside them."""

    id: str
    app: str
    session_id: str
    deployment: str
    request_id: str
    grant: ToolGrant
    key_ceiling: str | None = None
    structured: bool = False
    masked: bool = False
    screened: tuple[str, ...] | None = None
    under_way: UnderWay | None = None
    refusal: tuple[str, str] | None = None
    details: dict[str, Any] = {}


class ResponseStore(Protocol):
    """What is known of kept responses. Down: raises Unavailable(`store_unavailable`), and nothing is given."""

    async def keep(self, kept: KeptResponse) -> None:
        """Know a response, or know it anew, as long as its ids lead back to its session."""
        ...

    async def find(self, app: str, response_id: str) -> KeptResponse | None:
        """The response of this app with this id."""
        ...

    async def forget(self, kept: KeptResponse) -> None:
        """Know it no more."""
        ...

    async def lease(self, kept: KeptResponse, worker: str, seconds: float) -> bool:
        """Follow a response for so long, or go on with it. False where another worker does."""
        ...

    async def release(self, kept: KeptResponse, worker: str) -> None:
        """Let another worker follow it."""
        ...

    async def left_alone(self) -> Sequence[KeptResponse]:
        """Responses under way that no worker follows."""
        ...


class Provider(Protocol):
    """Asks a deployment for what it keeps."""

    async def kept(
        self, deployment: Deployment, verb: str, path: Sequence[str], query: Sequence[tuple[str, str]]
    ) -> tuple[int, bytes]:
        """Status and body. Raises UpstreamFailed where nothing comes back."""
        ...


class Found(NamedTuple):
    """A kept response that a caller may have, and where it is."""

    kept: KeptResponse
    session: SessionState
    deployment: Deployment


class Keeper:
    """Fetches kept responses for the apps that they belong to, and follows those in the background to their end."""

    def __init__(
        self,
        store: ResponseStore,
        provider: Provider,
        sessions: Sessions,
        budgets: Budgets,
        masks: Masks,
        rules: Callable[[str], Sequence[RuleSet]],
        clock: Callable[[], datetime],
        worker: str,
    ) -> None:
        """`rules` are those in force for a session, by its id: what decides on it first, then what others are decided by."""
        self.store = store
        self._provider = provider
        self._sessions = sessions
        self._budgets = budgets
        self._masks = masks
        self._rules = rules
        self._clock = clock
        self._worker = worker
        self._followed: dict[asyncio.Task[None], KeptResponse] = {}
        self._stopped = False

    # For the apps

    async def find(self, caller: Caller, session_header: str | None, response_id: str) -> Found:
        """The response, where it is the caller's. Raises Refused `response_not_found`, `session_ended`, `sensitivity_not_permitted` or
        `no_cleared_deployment`, or what the response itself was refused with."""
        kept = await self.store.find(caller.app, response_id) if _ID.match(response_id) else None
        if kept is None or session_header not in (None, kept.session_id) or caller.key_ceiling not in (None, kept.key_ceiling):
            raise not_found()
        session = await self._sessions.open(kept.session_id, caller.app, ())
        if session.ended is not None:
            raise Refused("session_ended", f"the session of this response was ended ({session.ended}): start a new session")
        level = session.labels.confidentiality
        if level > caller.clearance:
            message = (
                f"the session of this response counts as `{level}`, and this key is cleared for `{caller.clearance}` at most"
            )
            raise Refused("sensitivity_not_permitted", message)
        slot = self._rules(kept.session_id)[0].slots.get(kept.deployment)
        if slot is None or not slot.cleared_for(session.forwarded.rank, self._clock().date()):
            message = (
                f"the deployment `{kept.deployment}`, which keeps this response, is no longer cleared for `{session.forwarded}`"
            )
            raise Refused("no_cleared_deployment", message)
        _unless_refused(kept)
        return Found(kept, session, slot.deployment)

    async def show(self, found: Found, query: Sequence[tuple[str, str]] = ()) -> bytes:
        """The response as its app may have it now."""
        return await self.given(found.kept, await self._asked(found, "GET", (), query))

    async def cancel(self, found: Found) -> bytes:
        """End a response in the background; what there is of it."""
        return await self.given(found.kept, await self._asked(found, "POST", ("cancel",)))

    async def delete(self, found: Found) -> bytes:
        """Have the provider forget a response. One under way has to be cancelled first, so that its cost is known."""
        if found.kept.under_way is not None:
            raise Refused("invalid_request", "the response is under way: cancel it first, and delete it once it has ended")
        await self._asked(found, "DELETE", ())
        await self.store.forget(found.kept)
        return _encode({"id": found.kept.id, "object": "response", "deleted": True})

    async def input_items(self, found: Found, query: Sequence[tuple[str, str]]) -> bytes:
        """A page of what was sent with a response. Calls that were never let through are left out."""
        raw = await self._unmasked(found.kept, await self._asked(found, "GET", ("input_items",), query))
        try:
            body = _decode(without_tokens(raw))
            items = [item for item in body["data"] if isinstance(item, dict)]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise not_understood() from None
        granted = Granted(found.kept.grant)
        strange = await self._never_issued(found.kept, items)
        body["data"] = [item for item in items if _call_id(item) not in strange and (_is_said(item) or granted.item(item))]
        for name, place in (("first_id", 0), ("last_id", -1)):
            if body.get(name) is not None:
                body[name] = body["data"][place].get("id") if body["data"] else None
        return _encode(body)

    async def _asked(self, found: Found, verb: str, tail: Sequence[str], query: Sequence[tuple[str, str]] = ()) -> bytes:
        kept = found.kept
        status, body = await self._provider.kept(found.deployment, verb, (kept.id, *tail), query)
        if 200 <= status < 300:
            return body
        if status in (404, 410):
            raise not_found()
        if status in (400, 409, 422):
            raise Refused("invalid_request", "the provider does not do this with the response as it is now")
        raise UpstreamFailed("upstream_error", f"the provider of deployment `{kept.deployment}` answered with status {status}")

    async def given(self, kept: KeptResponse, raw: bytes) -> bytes:
        """What the app may have of a response object as its provider gives it. Raises RouterError where that is nothing."""
        status = status_of(raw)
        if kept.under_way is not None and status not in UNDER_WAY:
            kept = await self.store.find(kept.app, kept.id) or kept  # it may have been settled since it was looked up
            _unless_refused(kept)
        raw = await self._unmasked(kept, raw)
        screen = None if kept.screened is None else Screen(kept.screened)
        enforced = enforce_json(Endpoint.RESPONSES, raw, kept.grant, denial_is_error=kept.structured, screen=screen)
        if enforced.error is not None:
            raise enforced.error
        body = _decode(enforced.body)
        if kept.under_way is not None:
            # Its calls are judged and its words remembered once it has ended; until then nothing of it is told.
            shown = {**body, "output": []}
            if status not in UNDER_WAY:
                shown |= {"status": "in_progress", "usage": None}
            return _encode(shown)
        output = body.get("output") or []
        strange = await self._never_issued(kept, output)
        if not strange:
            return enforced.body
        return _encode({**body, "output": [item for item in output if _call_id(item) not in strange]})

    async def _never_issued(self, kept: KeptResponse, items: Sequence[JsonObject]) -> frozenset[str]:
        """Ids of calls that this app was never given, whoever made them."""
        ids = [call_id for item in items if (call_id := _call_id(item)) is not None]
        return (await self._sessions.link(kept.app, list(dict.fromkeys(ids)), ())).unknown if ids else frozenset()

    async def _unmasked(self, kept: KeptResponse, raw: bytes) -> bytes:
        if not kept.masked:
            return raw
        known = await self._masks.assign(kept.app, kept.session_id, ())
        return Placeholders({placeholder: text for text, placeholder in known.items()}).whole(raw)

    # In the background

    def follow(self, kept: KeptResponse, work: Coroutine[Any, Any, None]) -> None:
        """Start work that lasts until the response has ended; the stop of the process ends it before, and another goes on."""
        task = asyncio.get_running_loop().create_task(work)
        self._followed[task] = kept
        task.add_done_callback(lambda done: self._followed.pop(done, None))

    async def begin(self, kept: KeptResponse, deployment: Deployment) -> None:
        """Know a response that has begun in the background. Where that cannot be written down, it is ended, and Unavailable is raised."""
        try:
            await self.store.keep(kept)
            await self.store.lease(kept, self._worker, LEASE_SECONDS)
        except Unavailable:
            with contextlib.suppress(UpstreamFailed):
                await self._provider.kept(deployment, "POST", (kept.id, "cancel"), ())
            raise

    async def ended(self, kept: KeptResponse, deployment: Deployment) -> bytes | None:
        """The response as it has ended: by itself, at its time limit, or with its session. None where the provider does not tell."""
        stop_at = kept.under_way.stop_at if kept.under_way is not None else self._clock()
        pause, give_up = FIRST_LOOK_SECONDS, None
        while True:
            with contextlib.suppress(Unavailable):
                await self.store.lease(kept, self._worker, LEASE_SECONDS)
            with contextlib.suppress(UpstreamFailed):
                status, body = await self._provider.kept(deployment, "GET", (kept.id,), ())
                if status in (404, 410):
                    return None
                if 200 <= status < 300 and status_of(body) not in UNDER_WAY:
                    return body
            now = self._clock()
            if give_up is not None and now >= give_up:
                return None
            if give_up is None and (now >= stop_at or await self._session_ended(kept)):
                give_up, pause = now + timedelta(seconds=LAST_WORDS_SECONDS), FIRST_LOOK_SECONDS
                with contextlib.suppress(UpstreamFailed):
                    await self._provider.kept(deployment, "POST", (kept.id, "cancel"), ())
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_LOOK_SECONDS)

    async def has_ended(self, kept: KeptResponse, refusal: RouterError | None) -> None:
        """Know that a response has ended and was settled, and with which error, if any."""
        told = None if refusal is None else (refusal.code, refusal.message)
        details = {} if refusal is None else refusal.details
        await self.store.keep(msgspec.structs.replace(kept, under_way=None, refusal=told, details=details))

    async def adopt(self) -> int:
        """Go on with responses whose worker is gone; how many there were."""
        count = 0
        if self._stopped:
            return 0
        mine = {(kept.app, kept.id) for kept in self._followed.values()}
        for kept in await self.store.left_alone():
            if (kept.app, kept.id) not in mine and await self.store.lease(kept, self._worker, LEASE_SECONDS):
                self.follow(kept, self._close_entry(kept))
                count += 1
        return count

    async def stop(self) -> None:
        """Leave what is followed to other workers, or to the next start."""
        self._stopped = True
        followed = dict(self._followed)
        for task in followed:
            task.cancel()
        if followed:
            await asyncio.wait(followed, timeout=1.0)
        for kept in followed.values():
            with contextlib.suppress(RouterError):
                await self.store.release(kept, self._worker)

    async def _close_entry(self, kept: KeptResponse) -> None:
        """Settle a response that another process began. What its calls were to be judged by is gone with that, so none is let through."""
        rest = kept.under_way
        if rest is None:
            return
        # It goes on, and costs, also where its session is decided by other rules by now.
        known = [rules.deployments for rules in self._rules(kept.session_id) if kept.deployment in rules.deployments]
        deployment = known[0][kept.deployment] if known else None
        body = await self.ended(kept, deployment) if deployment is not None else None
        usage, status = usage_in(body), status_of(body or b"")
        lines = list(rest.booked)
        if deployment is not None:
            outcome = outcome_by(status)
            lines += attempt_lines(rest.attempt, deployment, usage or rest.longest, outcome, rest.began or self._clock())
        record = outcome_of(
            request_id=kept.request_id,
            at=self._clock(),
            outcome=outcome_by(status),
            code=None if body is not None else "upstream_truncated",
            deployment=kept.deployment,
            booked=lines,
            held_nano=rest.reservation.amount_nano,
            released=(),
            refused=(),
            timings_us={},
        )
        with contextlib.suppress(Unavailable):
            await self._budgets.settle(rest.reservation, record)
            await self._sessions.remember(kept.app, kept.session_id, (kept.id,), (), kept.deployment)
        telemetry.logger().warning("background_response_adopted", request_id=kept.request_id, outcome=record.outcome)
        await self.has_ended(kept, None)

    async def _session_ended(self, kept: KeptResponse) -> bool:
        with contextlib.suppress(Unavailable):
            return (await self._sessions.open(kept.session_id, kept.app, ())).ended is not None
        return False


def _unless_refused(kept: KeptResponse) -> None:
    """Raises what a response was refused with, if it was."""
    if kept.refusal is not None:
        code, message = kept.refusal
        raise Refused(code, message, details=kept.details)


def longest_usage(estimate: Usage, output_tokens: int) -> Usage:
    """What to charge for an answer whose usage is never told: the input as estimated, and the longest answer allowed."""
    return msgspec.structs.replace(estimate, output=output_tokens, basis=Basis.ESTIMATED)


def status_of(raw: bytes) -> str | None:
    """The status of a response object."""
    try:
        body = _decode(raw)
    except (ValueError, RecursionError):
        return None
    return text_or_none(body.get("status")) if isinstance(body, dict) else None


def response_under_way(raw: bytes) -> str | None:
    """The id of a response that is not at its end, where it can be fetched by it."""
    if status_of(raw) not in UNDER_WAY:
        return None
    found = text_or_none(_decode(raw).get("id"))
    return found if can_be_fetched(found) else None


def can_be_fetched(response_id: str | None) -> bool:
    """Whether an id is one by which its provider can be asked."""
    return response_id is not None and _ID.match(response_id) is not None


def usage_in(raw: bytes | None) -> Usage | None:
    """The usage that a response object reports."""
    try:
        body = _decode(raw or b"null")
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, Mapping):
        return None
    output = [item for item in body.get("output") or () if isinstance(item, dict)]
    return usage_of(body.get("usage"), service_tier=body.get("service_tier"), tools=hosted_calls(output))


def outcome_by(status: str | None) -> str:
    """The outcome of a response in the background, for the ledger."""
    if status in ("completed", "incomplete"):
        return "completed"
    return "cancelled" if status == "cancelled" else "failed"


def not_found() -> Refused:
    """The refusal that tells nothing: neither whether there is such a response, nor whose it is."""
    return Refused("response_not_found", "there is no response of this id that this app was given in the last day")


def not_understood() -> UpstreamFailed:
    """The error for an answer that breaks the wire format."""
    return UpstreamFailed("upstream_error", "the provider's answer is not a list of items")


def _is_said(item: JsonObject) -> bool:
    """Whether an item is a word of the conversation or the result of a call, which need no entitlement."""
    kind = item.get("type", "message")
    return kind == "message" or (isinstance(kind, str) and kind.endswith("_output") and kind != "tool_search_output")


def _call_id(item: JsonObject) -> str | None:
    """The id by which a call of an item was issued; None where it is no call that an app acts on."""
    if item.get("type") not in CLIENT_CALLS:
        return None
    name = "id" if item["type"] == "mcp_approval_request" else "call_id"
    return text_or_none(item.get(name)) or text_or_none(item.get("id")) or ""
