"""The direct way to a provider of the Messages API, against a real HTTP server on loopback."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from stub_provider import Received, StubProvider
from upstream_calls import ask, deployment

from router.errors import UpstreamFailed
from router.upstream.anthropic_compatible import OWN_ADDRESS, AnthropicCompatible
from router.upstream.dispatch import ProviderDispatch
from router.upstream.openai_compatible import refusal
from routing_rules.task import Endpoint

BODY: Any = {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


def sent(address: str = "{url}", headers: dict[str, str] | None = None, **fields: Any) -> tuple[Received, Any]:
    """What the provider got, and the answer of the upstream."""

    async def scenario() -> tuple[Received, Any]:
        async with StubProvider() as stub:
            upstream = ProviderDispatch({"KEY": "sk-1"})
            target = deployment(
                provider="anthropic_compatible", base_url=address.format(url=stub.url.removesuffix("/v1")), **fields
            )
            answer = await upstream.send(target, ask(BODY, endpoint=Endpoint.MESSAGES, headers=headers))
            assert json.loads(await answer.read())["type"] == "message"
            await answer.aclose()
            await upstream.aclose()
            return stub.requests[0], answer

    return asyncio.run(scenario())


@pytest.mark.parametrize("address", ["{url}", "{url}/", "{url}/v1", "{url}/v1/"])
def test_an_address_may_say_the_version_or_leave_it_out(address: str) -> None:
    assert sent(address)[0].path == "/v1/messages"


def test_the_key_goes_where_this_format_has_it() -> None:
    got, _ = sent(api_key="env:KEY")
    assert got.headers["x-api-key"] == "sk-1"
    assert "authorization" not in got.headers
    assert got.headers["anthropic-version"] == "2023-06-01"


def test_a_key_may_be_sent_as_a_bearer_token() -> None:
    got, _ = sent(api_key="env:KEY", params={"auth": "bearer"})
    assert got.headers["authorization"] == "Bearer sk-1"
    assert "x-api-key" not in got.headers


def test_version_and_features_are_those_that_the_app_means() -> None:
    got, answer = sent(headers={"anthropic-version": "2026-10-21", "anthropic-beta": "pdfs-2024-09-25,advisor-tool-2026-03-01"})
    assert got.headers["anthropic-version"] == "2026-10-21"
    assert got.headers["anthropic-beta"] == "pdfs-2024-09-25"
    assert answer.dropped == ("anthropic-beta:advisor-tool-2026-03-01",)


def test_a_deployment_of_anthropic_itself_needs_no_address() -> None:
    route = AnthropicCompatible({})._route(deployment(provider="anthropic"))
    assert str(route.urls[Endpoint.MESSAGES]) == f"{OWN_ADDRESS}/messages"
    with pytest.raises(UpstreamFailed):
        AnthropicCompatible({})._route(deployment(provider="anthropic_compatible"))


def test_a_context_that_is_too_long_is_called_so() -> None:
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"}}
    assert refusal("d", 400, json.dumps(error).encode(), None).code == "context_length_exceeded"
