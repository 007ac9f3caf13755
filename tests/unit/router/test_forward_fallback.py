"""Forwarding along the candidates, against real HTTP servers on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from stub_provider import StubProvider, several
from upstream_calls import ask, deployment, streamed

from router.errors import Refused, UpstreamFailed
from router.ports import UpstreamRequest
from router.stages.forward import AllFailed, AttemptFailure, Forwarded, forward
from router.upstream.openai_compatible import OpenAICompatible
from routing_rules.decide import ClearedDeployment


@dataclass
class Line:
    """Three providers behind one upstream, and what the stage asked of its neighbours."""

    stubs: list[StubProvider]
    upstream: OpenAICompatible
    rested: list[tuple[str, float]] = field(default_factory=list)
    extended: list[tuple[str, int]] = field(default_factory=list)
    refuse_to_extend: bool = False

    def candidates(self, *behaviours: str) -> list[ClearedDeployment]:
        chosen = [deployment(f"d{index}", base_url=self.stubs[index].url) for index in range(len(behaviours))]
        for stub, behaviour in zip(self.stubs, behaviours, strict=False):
            stub.script("m", *behaviour.split(" then "))
        return chosen

    async def extend(self, next_one: ClearedDeployment, failures: tuple[AttemptFailure, ...]) -> None:
        self.extended.append((next_one.id, len(failures)))
        if self.refuse_to_extend:
            raise Refused("session_budget_exceeded", "nothing is left")

    async def cool_down(self, id: str, seconds: float) -> None:
        self.rested.append((id, seconds))

    async def forward(self, candidates: list[ClearedDeployment], request: UpstreamRequest) -> Forwarded:
        forwarded = await forward(self.upstream, candidates, lambda _: request, extend=self.extend, cool_down=self.cool_down)
        await forwarded.answer.aclose()
        return forwarded

    async def failure(self, candidates: list[ClearedDeployment], request: UpstreamRequest) -> AllFailed:
        with pytest.raises(AllFailed) as caught:
            await self.forward(candidates, request)
        return caught.value

    @property
    def received(self) -> list[int]:
        return [len(stub.requests) for stub in self.stubs]


def run(scenario: Callable[[Line], Awaitable[None]]) -> None:
    async def main() -> None:
        async with several(3) as stubs, asyncio.timeout(20):
            line = Line(stubs, OpenAICompatible({}))
            try:
                await scenario(line)
            finally:
                await line.upstream.aclose()

    asyncio.run(main())


REQUEST = ask(model="m")
STREAM = streamed("m")


def test_a_healthy_first_candidate_is_the_only_one_asked() -> None:
    async def scenario(line: Line) -> None:
        forwarded = await line.forward(line.candidates("ok", "ok"), REQUEST)
        assert forwarded.deployment.id == "d0"
        assert (forwarded.attempt, forwarded.failures) == (1, ())
        assert forwarded.body is not None
        assert line.received == [1, 0, 0]
        assert line.extended == []

    run(scenario)


@pytest.mark.parametrize("behaviour", ["status:500", "status:429", "status:401", "status:404", "half", "garbage", "disconnect"])
def test_a_transient_failure_moves_on_to_the_next_candidate(behaviour: str) -> None:
    async def scenario(line: Line) -> None:
        forwarded = await line.forward(line.candidates(behaviour, "ok", "ok"), REQUEST)
        assert forwarded.deployment.id == "d1"
        assert forwarded.attempt == 2
        assert [failure.deployment.id for failure in forwarded.failures] == ["d0"]
        assert line.received == [1, 1, 0]
        assert line.extended == [("d1", 1)]

    run(scenario)


@pytest.mark.parametrize("behaviour", ["hang", "silent", "empty", "garbage", "status:500"])
def test_a_stream_that_does_not_begin_moves_on(behaviour: str) -> None:
    async def scenario(line: Line) -> None:
        forwarded = await line.forward(line.candidates(behaviour, "ok"), streamed("m", first_token_seconds=0.3))
        assert forwarded.deployment.id == "d1"
        assert forwarded.first_chunk is not None

    run(scenario)


def test_a_stream_that_has_begun_is_never_asked_for_again() -> None:
    async def scenario(line: Line) -> None:
        forwarded = await forward(
            line.upstream, line.candidates("half", "ok"), lambda _: STREAM, extend=line.extend, cool_down=line.cool_down
        )
        assert forwarded.first_chunk
        assert forwarded.rest is not None
        with pytest.raises(UpstreamFailed) as caught:
            async for _ in forwarded.rest:
                pass
        await forwarded.answer.aclose()
        assert caught.value.code == "upstream_truncated"
        assert line.received == [1, 0, 0]

    run(scenario)


def test_the_first_chunk_and_the_rest_are_the_whole_stream() -> None:
    async def scenario(line: Line) -> None:
        forwarded = await forward(
            line.upstream, line.candidates("ok"), lambda _: STREAM, extend=line.extend, cool_down=line.cool_down
        )
        assert forwarded.first_chunk is not None
        assert forwarded.rest is not None
        text = forwarded.first_chunk + b"".join([chunk async for chunk in forwarded.rest])
        await forwarded.answer.aclose()
        assert text.count(b"stub answer") == 20
        assert text.endswith(b"data: [DONE]\n\n")

    run(scenario)


def test_a_request_that_is_at_fault_is_not_tried_elsewhere() -> None:
    async def scenario(line: Line) -> None:
        error = await line.failure(line.candidates("status:400", "ok"), REQUEST)
        assert error.code == "invalid_request"
        assert error.message == "the stub refuses"
        assert line.received == [1, 0, 0]

    run(scenario)


def test_nobody_beyond_the_candidates_is_ever_asked() -> None:
    async def scenario(line: Line) -> None:
        candidates = line.candidates("status:500", "status:401", "ok")[:2]
        error = await line.failure(candidates, REQUEST)
        assert [failure.deployment.id for failure in error.failures] == ["d0", "d1"]
        assert line.received == [1, 1, 0]

    run(scenario)


def test_the_only_candidate_is_asked_once_more() -> None:
    async def scenario(line: Line) -> None:
        forwarded = await line.forward(line.candidates("status:500 then ok"), REQUEST)
        assert forwarded.attempt == 2
        assert line.received == [2, 0, 0]
        error = await line.failure(line.candidates("status:500"), REQUEST)
        assert [failure.attempt for failure in error.failures] == [1, 2]
        assert line.received == [4, 0, 0]

    run(scenario)


def test_a_retry_after_is_waited_for_where_nobody_else_can_answer() -> None:
    async def scenario(line: Line) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        forwarded = await line.forward(line.candidates("status:429:0.3 then ok"), REQUEST)
        assert forwarded.attempt == 2
        assert loop.time() - started >= 0.3
        assert line.rested == [("d0", 0.3)]

    run(scenario)


def test_a_long_retry_after_is_handed_to_the_app_instead() -> None:
    async def scenario(line: Line) -> None:
        error = await line.failure(line.candidates("status:429:60"), REQUEST)
        assert (error.code, error.retry_after) == ("rate_limit_exceeded", 60)
        assert line.received == [1, 0, 0]
        assert line.rested == [("d0", 60)]

    run(scenario)


def test_a_deployment_that_should_rest_is_not_asked_again() -> None:
    async def scenario(line: Line) -> None:
        await line.failure(line.candidates("status:401"), REQUEST)
        assert line.received == [1, 0, 0]
        assert [id for id, _ in line.rested] == ["d0"]

    run(scenario)


def test_all_attempts_share_one_time_limit() -> None:
    async def scenario(line: Line) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        error = await line.failure(line.candidates("hang", "hang"), ask(model="m", request_seconds=0.5))
        assert error.code == "upstream_timeout"
        assert loop.time() - started < 2
        assert line.received == [1, 0, 0]

    run(scenario)


def test_what_the_second_reservation_refuses_is_not_sent() -> None:
    async def scenario(line: Line) -> None:
        line.refuse_to_extend = True
        with pytest.raises(Refused) as caught:
            await line.forward(line.candidates("status:500", "ok"), REQUEST)
        assert caught.value.code == "session_budget_exceeded"
        assert line.received == [1, 0, 0]

    run(scenario)


def test_failures_say_whether_they_may_be_billed() -> None:
    async def scenario(line: Line) -> None:
        forwarded = await line.forward(line.candidates("status:429", "status:500", "ok"), REQUEST)
        assert [(failure.code, failure.sent) for failure in forwarded.failures] == [
            ("rate_limit_exceeded", False),
            ("upstream_error", True),
        ]

    run(scenario)


def test_a_cancelled_request_cuts_the_call_and_tries_nobody_else() -> None:
    async def scenario(line: Line) -> None:
        task = asyncio.create_task(line.forward(line.candidates("hang", "ok"), REQUEST))
        await line.stubs[0].arrived(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await line.stubs[0].left()
        assert line.received == [1, 0, 0]

    run(scenario)
