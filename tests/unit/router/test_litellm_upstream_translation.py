"""Translation for a provider with a protocol of its own, against an Anthropic-shaped server on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from stub_provider import StubProvider
from upstream_calls import ask, deployment

from router.errors import UpstreamFailed
from router.ports import UpstreamRequest
from router.upstream.litellm_upstream import LitellmUpstream
from routing_rules.task import Endpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # litellm's own
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

MODEL = "claude-haiku-4-5"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
MESSAGES = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "the weather in Oslo"}]


def run(scenario: Callable[[StubProvider, LitellmUpstream], Awaitable[None]]) -> None:
    async def main() -> None:
        async with StubProvider(chunks=3) as stub:
            upstream = LitellmUpstream({"CLAUDE_KEY": "sk-planted"})
            try:
                async with asyncio.timeout(60):
                    await scenario(stub, upstream)
            finally:
                await upstream.aclose()

    asyncio.run(main())


def claude(stub: StubProvider, **fields: Any) -> Any:
    given = {"base_url": stub.url.removesuffix("/v1"), "api_key": "env:CLAUDE_KEY", **fields}
    return deployment("claude", provider="anthropic", model=MODEL, **given)


def request(**fields: Any) -> UpstreamRequest:
    limits = {
        name: fields.pop(name) for name in ("request_seconds", "first_token_seconds", "inter_token_seconds") if name in fields
    }
    return ask({"messages": MESSAGES, "max_completion_tokens": 50, **fields}, model=MODEL, **limits)


async def events(upstream: LitellmUpstream, stub: StubProvider, asked: UpstreamRequest) -> list[Any]:
    answer = await upstream.send(claude(stub), asked)
    try:
        text = b"".join([chunk async for chunk in answer.chunks()]).decode()
    finally:
        await answer.aclose()
    assert text.endswith("data: [DONE]\n\n")
    return [json.loads(event.removeprefix("data: ")) for event in text.split("\n\n") if event and event != "data: [DONE]"]


def test_a_request_and_its_answer_are_translated() -> None:
    async def scenario(stub: StubProvider, upstream: LitellmUpstream) -> None:
        answer = await upstream.send(claude(stub), request(seed=3, temperature=0.5, metadata={"team": "x"}, store=False))
        body = json.loads(await answer.read())
        await answer.aclose()
        (received,) = stub.requests
        assert received.path == "/v1/messages"
        assert received.headers["x-api-key"] == "sk-planted"
        assert received.body["system"][0]["text"] == "be brief"
        assert (received.body["max_tokens"], received.body["temperature"]) == (50, 0.5)
        assert set(answer.dropped) == {"seed", "metadata"}
        assert body["object"] == "chat.completion"
        assert body["choices"][0]["message"] == {"role": "assistant", "content": "stub answer", "refusal": None}
        assert body["choices"][0]["finish_reason"] == "stop"
        usage = body["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (120, 20)
        assert usage["prompt_tokens_details"]["cached_tokens"] == 64
        assert "cost" not in usage

    run(scenario)


def test_tool_calls_are_translated_both_ways() -> None:
    async def scenario(stub: StubProvider, upstream: LitellmUpstream) -> None:
        stub.script(MODEL, "tools", "ok")
        answer = await upstream.send(claude(stub), request(tools=[TOOL]))
        message = json.loads(await answer.read())["choices"][0]["message"]
        (call,) = message["tool_calls"]
        assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("get_weather", {"city": "stub"})
        history = [*MESSAGES, message, {"role": "tool", "tool_call_id": call["id"], "content": "12 degrees"}]
        await upstream.send(claude(stub), request(messages=history, tools=[TOOL]))
        sent = stub.requests[1].body["messages"]
        assert sent[-1]["content"][0]["type"] == "tool_result"

    run(scenario)


def test_a_stream_is_encoded_as_openai_events() -> None:
    async def scenario(stub: StubProvider, upstream: LitellmUpstream) -> None:
        chunks = await events(upstream, stub, request(stream=True, stream_options={"include_usage": True}))
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        said = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
        assert said == "stub answer " * 3
        finishes = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
        assert finishes == ["stop"]
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"]["completion_tokens"] == 20
        stub.script(MODEL, "tools")
        chunks = await events(upstream, stub, request(stream=True, tools=[TOOL]))
        calls = [call for chunk in chunks for choice in chunk["choices"] for call in choice["delta"].get("tool_calls") or ()]
        assert calls[0]["function"]["name"] == "get_weather"
        assert json.loads("".join(call["function"]["arguments"] for call in calls)) == {"city": "stub"}

    run(scenario)


@pytest.mark.parametrize(
    ("behaviour", "code", "sent"),
    [
        ("status:400", "invalid_request", False),
        ("status:401", "upstream_error", False),
        ("status:429:3", "rate_limit_exceeded", False),
        ("status:500", "upstream_error", True),
        ("garbage", "upstream_error", True),
        ("half", "upstream_error", True),
        ("hang", "upstream_timeout", True),
    ],
)
def test_failures_are_mapped_as_for_any_provider(behaviour: str, code: str, sent: bool) -> None:
    async def scenario(stub: StubProvider, upstream: LitellmUpstream) -> None:
        stub.script(MODEL, behaviour)
        await upstream.warm_up()
        with pytest.raises(UpstreamFailed) as caught:
            await upstream.send(claude(stub), request(request_seconds=1.0))
        error = caught.value
        assert (error.code, error.sent) == (code, sent)
        assert len(stub.requests) == 1
        assert "Oslo" not in error.message + error.detail
        assert "sk-planted" not in error.message + error.detail
        if behaviour == "status:400":
            assert error.message == "the stub refuses"
        if behaviour.startswith("status:429"):
            assert error.retry_after == 3

    run(scenario)


@pytest.mark.parametrize("behaviour", ["garbage", "empty", "half", "error_event", "stall"])
def test_a_stream_that_breaks_never_ends_cleanly(behaviour: str) -> None:
    async def scenario(stub: StubProvider, upstream: LitellmUpstream) -> None:
        stub.script(MODEL, behaviour)
        with pytest.raises(UpstreamFailed) as caught:
            await events(upstream, stub, request(stream=True, stream_options={"include_usage": True}, inter_token_seconds=0.5))
        assert caught.value.code == ("upstream_timeout" if behaviour == "stall" else "upstream_truncated")

    run(scenario)


def test_nobody_at_the_address_means_nothing_was_sent() -> None:
    async def scenario(stub: StubProvider, upstream: LitellmUpstream) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            target = claude(stub, base_url=f"http://127.0.0.1:{free.getsockname()[1]}")
            with pytest.raises(UpstreamFailed) as caught:
                await upstream.send(target, request())
        assert (caught.value.code, caught.value.sent, caught.value.cool_down) == ("upstream_error", False, True)

    run(scenario)


def test_a_missing_credential_or_an_endpoint_without_translation_sends_nothing() -> None:
    async def scenario(stub: StubProvider, upstream: LitellmUpstream) -> None:
        with pytest.raises(UpstreamFailed) as caught:
            await upstream.send(claude(stub, api_key="env:ABSENT"), request())
        assert "ABSENT" in caught.value.detail
        with pytest.raises(UpstreamFailed) as caught:
            await upstream.send(claude(stub), ask(endpoint=Endpoint.RESPONSES))
        assert (caught.value.code, caught.value.sent) == ("invalid_request", False)
        assert stub.requests == []

    run(scenario)
