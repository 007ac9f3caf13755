"""Each deployment is called the way its provider needs, with parameters that it takes."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest
from stub_provider import StubProvider
from upstream_calls import ask, deployment

from router.errors import UpstreamFailed
from router.upstream.dispatch import FAILURES_IN_A_ROW, ProviderDispatch

BODY = {"messages": [{"role": "user", "content": "hi"}], "temperature": 0.3, "max_completion_tokens": 9}


def test_a_compatible_provider_gets_the_adapted_body_and_the_answer_names_what_was_dropped() -> None:
    async def scenario() -> None:
        async with StubProvider() as stub:
            upstream = ProviderDispatch({})
            request = ask(BODY)
            answer = await upstream.send(deployment("r", base_url=stub.url, reasoning_model=True), request)
            await answer.read()
            await answer.aclose()
            assert answer.dropped == ("temperature",)
            assert "temperature" not in stub.requests[0].body
            assert "temperature" in request.body
            await upstream.aclose()

    asyncio.run(scenario())


def test_the_simulated_provider_is_reached_without_a_network() -> None:
    async def scenario() -> None:
        upstream = ProviderDispatch({})
        answer = await upstream.send(deployment("s", provider="simulated"), ask(BODY))
        assert json.loads(await answer.read())["system_fingerprint"] == "simulated"
        assert answer.dropped == ()
        await upstream.aclose()

    asyncio.run(scenario())


def test_litellm_is_not_imported_for_deployments_that_do_not_need_it() -> None:
    async def scenario() -> None:
        upstream = ProviderDispatch({})
        await upstream.warm_up([deployment("s", provider="simulated"), deployment("o")])
        await upstream.aclose()

    before = "litellm" in sys.modules
    asyncio.run(scenario())
    assert ("litellm" in sys.modules) == before


def test_a_deployment_that_keeps_failing_needs_a_rest_and_one_success_forgives() -> None:
    async def scenario() -> None:
        async with StubProvider() as stub:
            upstream = ProviderDispatch({})
            target = deployment("d", base_url=stub.url)

            async def rest_is_needed() -> bool:
                with pytest.raises(UpstreamFailed) as caught:
                    await upstream.send(target, ask(model="m"))
                return caught.value.cool_down

            stub.script("m", "status:500")
            assert [await rest_is_needed() for _ in range(FAILURES_IN_A_ROW)] == [False, False, True]
            stub.script("m", "ok")
            answer = await upstream.send(target, ask(model="m"))
            await answer.read()
            await answer.aclose()
            stub.script("m", "status:500")
            assert not await rest_is_needed()
            await upstream.aclose()

    asyncio.run(scenario())
