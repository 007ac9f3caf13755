"""Forward a permitted request: candidates in order, tenacity between the attempts, never beyond the candidates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from router.errors import UpstreamFailed
from router.ports import Upstream, UpstreamAnswer, UpstreamRequest
from router.stages.entitlement_token import sentence_without_tokens
from routing_rules.decide import ClearedDeployment

COOL_DOWN_SECONDS = 30.0  # for a failing deployment that does not say how long
LONGEST_PATIENCE = 10.0  # seconds: a longer Retry-After is passed to the app instead of waited for
PAUSE_SECONDS = 0.25  # before the same deployment is asked a second time


@dataclass(frozen=True, slots=True)
class AttemptFailure:
    """One attempt that failed. `sent`: the provider may have worked on it, and may bill it."""

    deployment: ClearedDeployment
    attempt: int
    code: str
    sent: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Forwarded:
    """An answer that has begun: `body` of one in one piece, else `first_chunk` and `rest` of a stream. The caller closes `answer`."""

    answer: UpstreamAnswer
    deployment: ClearedDeployment
    attempt: int  # counted from 1
    body: bytes | None
    first_chunk: bytes | None
    rest: AsyncIterator[bytes] | None
    failures: tuple[AttemptFailure, ...] = ()


class AllFailed(UpstreamFailed):
    """The last attempt's error, with `failures` of all attempts, the last included."""

    def __init__(self, last: UpstreamFailed, failures: tuple[AttemptFailure, ...]) -> None:
        super().__init__(
            last.code,
            last.message,
            transient=last.transient,
            cool_down=last.cool_down,
            sent=any(failure.sent for failure in failures),
            param=last.param,
            retry_after=last.retry_after,
            detail=last.detail,
        )
        self.failures = failures


Build = Callable[[ClearedDeployment], UpstreamRequest]
Extend = Callable[[ClearedDeployment, tuple[AttemptFailure, ...]], Awaitable[None]]
CoolDown = Callable[[str, float], Awaitable[None]]


async def forward(
    upstream: Upstream,
    candidates: Sequence[ClearedDeployment],
    build: Build,
    *,
    extend: Extend,
    cool_down: CoolDown,
) -> Forwarded:
    """The first answer that a candidate begins: a whole body, or the first chunk of a stream.

    A transient failure moves on to the next candidate; the last candidate is asked once more, unless it needs a rest for longer
    than we wait. `request_seconds` binds all attempts together. Before each attempt but the first, `extend` reserves again (it
    is handed the failures so far; what it raises ends the request); `cool_down` is told of deployments that should rest.
    Raises AllFailed; closes what it opened in every case.
    """
    course = _Course(upstream, candidates, build, extend, cool_down)
    try:
        return await course.attempt()
    except UpstreamFailed as failure:
        if not course.goes_on:
            raise AllFailed(failure, tuple(course.failures)) from failure
        first = [failure]  # tenacity costs 25 µs: it is entered here, with the failure that has happened as its first attempt

    async def attempt() -> Forwarded:
        if first:
            raise first.pop()
        return await course.attempt()

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(UpstreamFailed),
        stop=lambda _: not course.goes_on,
        wait=course.pause,
        reraise=True,
    )
    try:
        return await retrying(attempt)
    except UpstreamFailed as failure:
        raise AllFailed(failure, tuple(course.failures)) from failure


class _Course:
    """The attempts of one request: which candidate is next, and whether there is a next attempt at all."""

    def __init__(
        self, upstream: Upstream, candidates: Sequence[ClearedDeployment], build: Build, extend: Extend, cool_down: CoolDown
    ) -> None:
        self._upstream = upstream
        self._candidates = candidates
        self._build = build
        self._extend = extend
        self._cool_down = cool_down
        self._position = 0
        self._again = False  # the candidate at `_position` is asked for the second time
        self._clock = asyncio.get_running_loop().time
        self._ends = 0.0  # by the loop's clock; set by the first attempt
        self._pause = 0.0
        self.goes_on = True
        self.failures: list[AttemptFailure] = []

    def pause(self, _: RetryCallState) -> float:
        """Seconds to wait before the next attempt."""
        return self._pause

    async def attempt(self) -> Forwarded:
        deployment = self._candidates[self._position]
        number = len(self.failures) + 1
        if self.failures:
            await self._extend(deployment, tuple(self.failures))
        request = self._build(deployment)
        if self.failures:
            left = max(self._ends - self._clock(), 0.001)
            request = UpstreamRequest(
                endpoint=request.endpoint,
                body=request.body,
                stream=request.stream,
                limits=msgspec.structs.replace(request.limits, request_seconds=min(left, request.limits.request_seconds)),
                headers=request.headers,
                request_id=request.request_id,
            )
        else:
            self._ends = self._clock() + request.limits.request_seconds
        try:
            return await self._ask(deployment, request, number)
        except UpstreamFailed as failure:
            failure.message = sentence_without_tokens(failure.message)  # a provider's own words may repeat what it was sent
            self.failures.append(AttemptFailure(deployment, number, failure.code, failure.sent, failure.detail))
            self._move_on(failure)
            if failure.cool_down and failure.retry_after != 0:
                await self._cool_down(deployment.id, failure.retry_after or COOL_DOWN_SECONDS)
            raise

    async def _ask(self, deployment: ClearedDeployment, request: UpstreamRequest, number: int) -> Forwarded:
        answer = await self._upstream.send(deployment, request)
        try:
            if not request.stream:
                body = await answer.read()
                return Forwarded(answer, deployment, number, body, None, None, tuple(self.failures))
            rest = answer.chunks()
            first_chunk = await anext(rest, None)
            if first_chunk is None:
                raise UpstreamFailed(
                    "upstream_truncated",
                    f"the provider of deployment `{deployment.id}` ended its stream before it began",
                    transient=True,
                    detail="empty stream",
                )
            return Forwarded(answer, deployment, number, None, first_chunk, rest, tuple(self.failures))
        except BaseException:  # a cancelled request must give its connection back, too
            await answer.aclose()
            raise

    def _move_on(self, failure: UpstreamFailed) -> None:
        """Choose what the next attempt is, after this failure."""
        self._pause = 0.0
        self.goes_on = failure.transient
        if self._position + 1 < len(self._candidates):
            self._position += 1
            self._again = False
        elif self._again or (failure.cool_down and failure.retry_after is None):
            self.goes_on = False
        else:
            self._again = True
            self._pause = PAUSE_SECONDS if failure.retry_after is None else failure.retry_after
        if self._pause > LONGEST_PATIENCE or self._clock() + self._pause >= self._ends:
            self.goes_on = False
