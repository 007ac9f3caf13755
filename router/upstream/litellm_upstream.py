"""Calls providers that speak a protocol of their own through litellm, which is imported when the first such call is made."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from types import ModuleType
from typing import Any

import msgspec

from router.errors import UpstreamFailed
from router.exchange import JsonObject
from router.ports import UpstreamRequest
from router.upstream.openai_compatible import api_key, refusal, retry_after_now
from routing_rules.budgets import CallLimits
from routing_rules.catalogue import Deployment
from routing_rules.decide import ClearedDeployment
from routing_rules.task import Endpoint

PASSED = frozenset(
    {
        "messages",
        "stream_options",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "verbosity",
    }
)
"""Chat fields that are handed to litellm. It reads other keywords as orders to itself (`metadata`, `api_base`, `mock_response`)."""

DROPPABLE = PASSED - {"messages", "stream_options", "tools", "tool_choice", "functions", "function_call", "response_format", "n"}
"""What may be left out where the provider does not know it; the rest is refused by the provider or by litellm."""

LOCATION = {
    "api_version": "api_version",
    "project": "vertex_project",
    "region": "aws_region_name",
    "location": "vertex_location",
    "role": "aws_role_name",
}
"""`params` of a deployment → litellm's keyword."""

NEVER_SENT = frozenset(
    {"ConnectError", "ConnectTimeout", "ClientConnectorError", "ClientConnectorDNSError", "ConnectionRefusedError"}
)
DONE = b"data: [DONE]\n\n"

encode = msgspec.json.Encoder().encode


class TranslatedAnswer:
    """An answer that litellm has translated: a body, or a stream that is encoded chunk by chunk."""

    __slots__ = ("_body", "_deployment", "_limits", "_stream", "_until", "dropped", "headers", "status")

    def __init__(
        self, deployment: Deployment, given: Any, request: UpstreamRequest, dropped: tuple[str, ...], until: float
    ) -> None:
        self.status = 200
        self.headers: Mapping[str, str] = {"content-type": "text/event-stream" if request.stream else "application/json"}
        self.dropped = dropped
        self._deployment = deployment
        self._limits: CallLimits = request.limits
        self._until = until
        self._stream: Any = given if request.stream else None
        self._body = b"" if request.stream else encode(_whole(given.model_dump(exclude_none=True)))

    async def read(self) -> bytes:
        """The whole body, which has arrived already."""
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        """Server-sent events in OpenAI's shape. Raises UpstreamFailed where the provider stalls, breaks off or says nothing at all."""
        stream = aiter(self._stream)
        seconds = self._limits.first_token_seconds
        silent: list[bytes] = []  # held back until something was said: litellm ends a broken stream like an empty answer
        spoke = False
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout_at(min(self._until, loop.time() + seconds)):
                    given = await anext(stream, None)
            except TimeoutError:
                raise self._failed("upstream_timeout", "went silent in the middle of its answer") from None
            except Exception as error:  # litellm raises whatever its providers' clients raise
                raise self._failed("upstream_truncated", "broke off in the middle of its answer", type(error).__name__) from None
            if given is None:
                break
            seconds = self._limits.inter_token_seconds
            chunk = _chunk(given.model_dump(exclude_none=True))
            event = b"data: " + encode(chunk) + b"\n\n"
            spoke = spoke or _says_something(chunk)
            if spoke:
                for held in silent:
                    yield held
                silent = []
                yield event
            else:
                silent.append(event)
        if not spoke:
            raise self._failed("upstream_truncated", "ended its stream without an answer")
        yield DONE

    async def aclose(self) -> None:
        """Cut the stream where it has not ended."""
        if self._stream is not None and hasattr(self._stream, "aclose"):
            await self._stream.aclose()

    def _failed(self, code: str, what: str, detail: str = "") -> UpstreamFailed:
        return UpstreamFailed(code, f"the provider of deployment `{self._deployment.id}` {what}", transient=True, detail=detail)


class LitellmUpstream:
    """Upstream for every provider that is neither OpenAI-compatible nor simulated."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._litellm: ModuleType | None = None
        self._loading = asyncio.Lock()

    async def warm_up(self) -> None:
        """Import litellm now (seconds, and some 165 MiB) rather than within the first request."""
        await self._load()

    async def send(self, deployment: ClearedDeployment, request: UpstreamRequest) -> TranslatedAnswer:
        """Translate, send and wait for the answer (a stream: for its start)."""
        key = api_key(deployment, self._environ)
        if request.endpoint is Endpoint.RESPONSES:
            message = f"deployment `{deployment.id}` does not take requests of the Responses API"
            raise UpstreamFailed("invalid_request", message, sent=False, detail="responses are not translated")
        litellm = await self._load()
        until = asyncio.get_running_loop().time() + request.limits.request_seconds
        given, dropped = self._arguments(litellm, deployment, request)
        given |= {
            "model": f"{deployment.provider}/{deployment.model}",
            "api_key": key,
            "api_base": deployment.base_url,
            "timeout": request.limits.request_seconds,
            "num_retries": 0,
            "max_retries": 0,
        }
        given |= {theirs: deployment.params[ours] for ours, theirs in LOCATION.items() if ours in deployment.params}
        first_by = asyncio.get_running_loop().time() + request.limits.first_token_seconds if request.stream else until
        try:
            async with asyncio.timeout_at(min(first_by, until)):
                if request.endpoint is Endpoint.EMBEDDINGS:
                    answer = await litellm.aembedding(**given)
                else:
                    # Without this, litellm wants the `mcp` package for any tool, and would call MCP servers by itself.
                    answer = await litellm.acompletion(**given, stream=request.stream, _skip_mcp_handler=True)
        except TimeoutError:
            message = f"the provider of deployment `{deployment.id}` did not answer in time"
            raise UpstreamFailed("upstream_timeout", message, transient=True, detail="time limit") from None
        except Exception as error:  # litellm raises whatever its providers' clients raise
            raise failure_of(deployment.id, error) from None
        return TranslatedAnswer(deployment, answer, request, dropped, until)

    async def aclose(self) -> None:
        """Close litellm's connections, where it was imported at all."""
        if self._litellm is not None:
            await self._litellm.close_litellm_async_clients()

    async def _load(self) -> ModuleType:
        async with self._loading:
            if self._litellm is None:
                self._litellm = await asyncio.to_thread(_import)
        return self._litellm

    def _arguments(
        self, litellm: ModuleType, deployment: Deployment, request: UpstreamRequest
    ) -> tuple[JsonObject, tuple[str, ...]]:
        """litellm's keywords, and the app's parameters that are left out because the provider does not know them."""
        body = request.body
        if request.endpoint is Endpoint.EMBEDDINGS:
            return {field: body[field] for field in ("input", "dimensions", "encoding_format") if field in body}, ()
        passed = PASSED | deployment.allowed_fields
        supported = litellm.get_supported_openai_params(model=deployment.model, custom_llm_provider=deployment.provider)
        unknown = DROPPABLE - set(supported) if supported else frozenset()
        left_out = [field for field in body if field not in ("model", "stream") and (field not in passed or field in unknown)]
        given = {field: value for field, value in body.items() if field in passed and field not in unknown}
        return given, tuple(field for field in left_out if body[field] not in (None, False, "", [], {}))


def failure_of(deployment: str, error: BaseException) -> UpstreamFailed:
    """What one of litellm's exceptions means to the app."""
    if _never_sent(error):
        message = f"the provider of deployment `{deployment}` could not be reached"
        return UpstreamFailed("upstream_error", message, transient=True, cool_down=True, sent=False, detail=type(error).__name__)
    status = getattr(error, "status_code", None)
    headers = getattr(error, "litellm_response_headers", None) or {}
    text = str(error)  # "litellm.BadRequestError: AnthropicException - {the provider's body}"
    body = text[text.find("{") : text.rfind("}") + 1].encode()
    failure = refusal(deployment, status if isinstance(status, int) else 500, body, retry_after_now(headers))
    failure.detail = f"{failure.detail} {type(error).__name__}"
    return failure


def _never_sent(error: BaseException | None) -> bool:
    for _ in range(8):
        if error is None:
            return False
        if type(error).__name__ in NEVER_SENT:
            return True
        error = error.__cause__ or error.__context__
    return False


def _import() -> ModuleType:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it fetches its price map from the network
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")  # else it reads a .env file of the working directory
    import litellm

    litellm.suppress_debug_info = True
    litellm.disable_aiohttp_trust_env = True
    litellm.drop_params = False
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # its messages may hold prompt text
    return litellm


def _whole(body: JsonObject) -> JsonObject:
    """The translated body in OpenAI's shape: what a client may rely on is there, what is litellm's own is not."""
    for choice in body.get("choices", ()):
        choice.setdefault("logprobs", None)
        choice.pop("provider_specific_fields", None)
        message = choice["message"]
        message.pop("provider_specific_fields", None)
        message.setdefault("content", None)
        message.setdefault("refusal", None)
    _clean_usage(body)
    return body


def _chunk(body: JsonObject) -> JsonObject:
    body.pop("provider_specific_fields", None)
    body.pop("citations", None)
    for choice in body.get("choices", ()):
        choice.setdefault("finish_reason", None)
        choice.setdefault("logprobs", None)
        choice.setdefault("delta", {}).pop("provider_specific_fields", None)
    if "usage" in body and not _has_content(body):
        body["choices"] = []
    _clean_usage(body)
    return body


def _clean_usage(body: JsonObject) -> None:
    usage = body.get("usage", {})
    ran = usage.get("server_tool_use")
    if isinstance(ran, dict) and ran.get("web_search_requests"):
        details = usage["prompt_tokens_details"] = usage.get("prompt_tokens_details") or {}
        details.setdefault("web_search_requests", ran["web_search_requests"])
    for field in ("cost", "iterations", "inference_geo", "server_tool_use", "speed"):
        usage.pop(field, None)


def _has_content(chunk: JsonObject) -> bool:
    return any(
        choice["finish_reason"] or any(value for key, value in choice["delta"].items() if key != "role")
        for choice in chunk["choices"]
    )


def _says_something(chunk: JsonObject) -> bool:
    """Whether this chunk proves that the provider has answered: words, a call, or a count of tokens."""
    if chunk.get("usage", {}).get("completion_tokens"):
        return True
    return any(any(value for key, value in choice["delta"].items() if key != "role") for choice in chunk["choices"])
