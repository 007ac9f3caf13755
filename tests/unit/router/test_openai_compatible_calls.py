"""The direct way to a provider, against a real HTTP server on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from stub_provider import StubProvider
from upstream_calls import ask, deployment, streamed

from router.errors import UpstreamFailed
from router.ports import UpstreamRequest
from router.upstream.openai_compatible import OpenAICompatible, refusal, retry_after
from routing_rules.task import Endpoint

Scenario = Callable[[StubProvider, OpenAICompatible], Awaitable[None]]


def run(scenario: Scenario, environ: dict[str, str] | None = None) -> None:
    async def main() -> None:
        async with StubProvider() as stub:
            upstream = OpenAICompatible(environ or {})
            try:
                async with asyncio.timeout(20):
                    await scenario(stub, upstream)
            finally:
                await upstream.aclose()

    asyncio.run(main())


async def whole(upstream: OpenAICompatible, stub: StubProvider, request: UpstreamRequest, **fields: Any) -> bytes:
    answer = await upstream.send(deployment(base_url=stub.url, **fields), request)
    try:
        return await answer.read() if not request.stream else b"".join([chunk async for chunk in answer.chunks()])
    finally:
        await answer.aclose()


async def failure(upstream: OpenAICompatible, stub: StubProvider, request: UpstreamRequest, **fields: object) -> UpstreamFailed:
    with pytest.raises(UpstreamFailed) as caught:
        await whole(upstream, stub, request, **fields)
    return caught.value


@pytest.mark.parametrize(
    ("endpoint", "path", "kind"),
    [
        (Endpoint.CHAT, "/v1/chat/completions", "chat.completion"),
        (Endpoint.RESPONSES, "/v1/responses", "response"),
        (Endpoint.EMBEDDINGS, "/v1/embeddings", "list"),
    ],
)
def test_each_endpoint_is_posted_under_the_base_url(endpoint: Endpoint, path: str, kind: str) -> None:
    async def scenario(stub: StubProvider, upstream: OpenAICompatible) -> None:
        request = ask(endpoint=endpoint)
        assert json.loads(await whole(upstream, stub, request))["object"] == kind
        (received,) = stub.requests
        assert received.path == path
        assert received.body == request.body

    run(scenario)


def test_the_secret_behind_the_reference_is_sent_and_nothing_identifies_the_app() -> None:
    async def scenario(stub: StubProvider, upstream: OpenAICompatible) -> None:
        await whole(upstream, stub, ask(headers={"x-entitlement-token": "t"}), api_key="env:STUB_KEY")
        await whole(upstream, stub, ask(), api_key="env:STUB_KEY")
        first, second = stub.requests
        assert first.headers["authorization"] == "Bearer sk-planted"
        assert first.headers["accept-encoding"] == "identity"
        assert first.headers["x-entitlement-token"] == "t"
        assert "x-entitlement-token" not in second.headers
        assert set(second.headers) == {
            "host",
            "accept",
            "accept-encoding",
            "authorization",
            "content-length",
            "content-type",
            "user-agent",
        }

    run(scenario, {"STUB_KEY": "sk-planted"})


def test_azure_takes_its_version_in_the_query_and_its_key_in_its_own_header() -> None:
    async def scenario(stub: StubProvider, upstream: OpenAICompatible) -> None:
        await whole(upstream, stub, ask(), api_key="env:AZURE", params={"api_version": "2026-01-01"})
        (received,) = stub.requests
        assert received.query == {"api-version": "2026-01-01"}
        assert received.headers["api-key"] == "k"
        assert "authorization" not in received.headers

    run(scenario, {"AZURE": "k"})


def test_a_missing_credential_is_named_and_nothing_is_sent() -> None:
    async def scenario(stub: StubProvider, upstream: OpenAICompatible) -> None:
        error = await failure(upstream, stub, ask(), api_key="env:ABSENT_KEY")
        assert (error.code, error.sent, error.transient) == ("upstream_error", False, True)
        assert "ABSENT_KEY" in error.detail
        assert stub.requests == []

    run(scenario)


def test_a_changed_deployment_of_the_same_id_is_called_as_it_now_is() -> None:
    async def scenario(stub: StubProvider, upstream: OpenAICompatible) -> None:
        await whole(upstream, stub, ask(), api_key="env:OLD")
        await whole(upstream, stub, ask(), api_key="env:NEW")
        assert [received.headers["authorization"] for received in stub.requests] == ["Bearer old", "Bearer new"]

    run(scenario, {"OLD": "old", "NEW": "new"})


def test_a_stream_arrives_byte_for_byte() -> None:
    async def scenario(stub: StubProvider, upstream: OpenAICompatible) -> None:
        text = await whole(upstream, stub, streamed())
        assert text.endswith(b"data: [DONE]\n\n")
        assert text.count(b"stub answer") == 20

    run(scenario)


def test_only_a_few_headers_of_the_provider_are_passed_back() -> None:
    async def scenario(stub: StubProvider, upstream: OpenAICompatible) -> None:
        answer = await upstream.send(deployment(base_url=stub.url), ask())
        await answer.read()
        await answer.aclose()
        assert set(answer.headers) == {"content-type", "x-upstream-request-id", "openai-processing-ms"}
        assert answer.headers["x-upstream-request-id"] == "req_stub"

    run(scenario)


def test_one_connection_serves_requests_one_after_the_other() -> None:
    async def scenario(stub: StubProvider, upstream: OpenAICompatible) -> None:
        for request in (ask(), streamed(), ask(), ask(model="status:400"), ask()):
            if request.body["model"] == "ok":
                await whole(upstream, stub, request)
            else:
                await failure(upstream, stub, request)
        assert len({received.peer for received in stub.requests}) == 1

    run(scenario)


@pytest.mark.parametrize(
    ("status", "code", "transient", "cool_down", "sent"),
    [
        (400, "invalid_request", False, False, False),
        (401, "upstream_error", True, True, False),
        (402, "upstream_error", True, True, False),
        (403, "upstream_error", True, True, False),
        (404, "upstream_error", True, False, False),
        (408, "upstream_timeout", True, False, True),
        (409, "upstream_error", True, False, False),
        (413, "request_too_large", False, False, False),
        (422, "invalid_request", False, False, False),
        (429, "rate_limit_exceeded", True, True, False),
        (500, "upstream_error", True, False, True),
        (502, "upstream_error", True, False, True),
        (503, "upstream_error", True, True, True),
        (307, "upstream_error", True, False, False),
    ],
)
def test_each_status_of_a_provider_has_one_meaning(status: int, code: str, transient: bool, cool_down: bool, sent: bool) -> None:
    async def scenario(stub: StubProvider, upstream: OpenAICompatible) -> None:
        error = await failure(upstream, stub, ask(model=f"status:{status}"))
        assert (error.code, error.transient, error.cool_down, error.sent) == (code, transient, cool_down, sent)
        assert len(stub.requests) == 1

    run(scenario)


def test_the_providers_own_sentence_reaches_the_app_only_where_the_request_is_at_fault() -> None:
    body = b'{"error": {"message": "your text `swordfish` is odd", "type": "x", "code": "a swordfish", "param": "messages[0]"}}'
    bad = refusal("d", 400, body, None)
    assert bad.message == "your text `swordfish` is odd"
    assert bad.param == "messages[0]"
    assert "swordfish" not in bad.detail
    for status in (401, 404, 429, 500):
        error = refusal("d", status, body, None)
        assert "swordfish" not in error.message + error.detail


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"\xff\xfe", b'{"error": null}', b'{"error": {"message": 3, "param": {}}}']
)
def test_an_error_body_of_any_shape_is_survived(body: bytes) -> None:
    assert refusal("d", 400, body, None).message == "the provider of deployment `d` refused the request"


def test_a_context_that_is_too_long_keeps_its_code() -> None:
    error = refusal("d", 400, b'{"error": {"message": "too long", "code": "context_length_exceeded"}}', None)
    assert (error.code, error.row.status) == ("context_length_exceeded", 400)


def test_retry_after_is_read_in_seconds_milliseconds_and_as_a_date() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert retry_after({"retry-after": "7"}, now) == 7
    assert retry_after({"retry-after": "0.5"}, now) == 0.5
    assert retry_after({"retry-after-ms": "1500", "retry-after": "9"}, now) == 1.5
    assert retry_after({"retry-after": format_datetime(now + timedelta(seconds=90), usegmt=True)}, now) == 90
    assert retry_after({"retry-after": format_datetime(now - timedelta(seconds=90), usegmt=True)}, now) == 0
    assert retry_after({"retry-after": "999999999"}, now) == 86_400
    assert retry_after({"retry-after-ms": "nan"}, now) == 0
    for unreadable in ({}, {"retry-after": "soon"}, {"retry-after": ""}, {"retry-after": "1x"}, {"retry-after-ms": "x"}):
        assert retry_after(unreadable, now) is None


def test_a_rate_limit_carries_the_providers_wait() -> None:
    async def scenario(stub: StubProvider, upstream: OpenAICompatible) -> None:
        assert (await failure(upstream, stub, ask(model="status:429:7"))).retry_after == 7

    run(scenario)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (ask(model="hang", request_seconds=0.2), "upstream_timeout"),
        (ask(model="silent", request_seconds=0.2), "upstream_timeout"),
        (streamed("hang", first_token_seconds=0.2), "upstream_timeout"),
        (streamed("silent", first_token_seconds=0.2), "upstream_timeout"),
        (streamed("stall", inter_token_seconds=0.2), "upstream_timeout"),
        (streamed("stall", request_seconds=0.2), "upstream_timeout"),
        (ask(model="half"), "upstream_truncated"),
        (streamed("half"), "upstream_truncated"),
        (ask(model="disconnect"), "upstream_error"),
        (streamed("disconnect"), "upstream_error"),
        (ask(model="garbage"), "upstream_error"),
        (streamed("garbage"), "upstream_error"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.body['model']}-{'stream' if value.stream else 'json'}",
)
def test_whatever_goes_wrong_on_the_way_ends_in_a_clear_error(request_: UpstreamRequest, code: str) -> None:
    async def scenario(stub: StubProvider, upstream: OpenAICompatible) -> None:
        error = await failure(upstream, stub, request_)
        assert (error.code, error.transient, error.sent) == (code, True, True)
        assert "hello" not in error.message + error.detail

    run(scenario)


def test_a_slow_answer_in_one_piece_is_not_bound_by_the_first_token_limit() -> None:
    async def scenario(stub: StubProvider, upstream: OpenAICompatible) -> None:
        assert await whole(upstream, stub, ask(model="slow:0.3", first_token_seconds=0.1, inter_token_seconds=0.1))

    run(scenario)


def test_a_slow_stream_that_keeps_coming_is_not_cut() -> None:
    async def scenario(stub: StubProvider, upstream: OpenAICompatible) -> None:
        stub.chunks = 3
        assert b"[DONE]" in await whole(upstream, stub, streamed("slow:0.15", first_token_seconds=0.4, inter_token_seconds=0.4))

    run(scenario)


def test_nobody_at_the_address_means_nothing_was_sent() -> None:
    async def scenario(stub: StubProvider, upstream: OpenAICompatible) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
            with pytest.raises(UpstreamFailed) as caught:
                await upstream.send(deployment(base_url=url), ask())
        error = caught.value
        assert (error.code, error.sent, error.transient, error.cool_down) == ("upstream_error", False, True, True)

    run(scenario)


@pytest.mark.parametrize("url", ["http://", "ftp://host/v1", "http://no such host/v1", "not a url"])
def test_a_base_url_that_cannot_be_called_is_an_upstream_error(url: str) -> None:
    async def scenario(stub: StubProvider, upstream: OpenAICompatible) -> None:
        with pytest.raises(UpstreamFailed) as caught:
            await upstream.send(deployment(base_url=url), ask())
        assert (caught.value.code, caught.value.sent) == ("upstream_error", False)

    run(scenario)


def test_closing_an_unfinished_stream_cuts_the_call_at_the_provider() -> None:
    async def scenario(stub: StubProvider, upstream: OpenAICompatible) -> None:
        answer = await upstream.send(deployment(base_url=stub.url), streamed("stall"))
        await anext(answer.chunks())
        await answer.aclose()
        await stub.left()
        assert not stub.requests[0].answered

    run(scenario)


def test_a_cancelled_call_is_cut_at_the_provider() -> None:
    async def scenario(stub: StubProvider, upstream: OpenAICompatible) -> None:
        call = asyncio.create_task(upstream.send(deployment(base_url=stub.url), ask(model="hang")))
        await stub.arrived(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await stub.left()

    run(scenario)


def test_many_calls_run_at_once() -> None:
    async def scenario(stub: StubProvider, upstream: OpenAICompatible) -> None:
        stub.barrier_size = 150
        answers = await asyncio.gather(*(whole(upstream, stub, ask(model="barrier")) for _ in range(150)))
        assert len(answers) == 150

    run(scenario)
