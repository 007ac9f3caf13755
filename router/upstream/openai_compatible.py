"""Calls providers that speak OpenAI's protocol, passing bytes through untouched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import aiohttp
import msgspec
from multidict import CIMultiDict, istr
from yarl import URL

from router.clock import utc_now
from router.errors import UpstreamFailed
from router.ports import UpstreamRequest
from routing_rules.budgets import CallLimits
from routing_rules.catalogue import Deployment
from routing_rules.decide import ClearedDeployment
from routing_rules.task import Endpoint

LARGEST_ANSWER = 64 * 1024 * 1024
LARGEST_ERROR = 64 * 1024
LONGEST_MESSAGE = 2_000
LONGEST_WORD = 60
LONGEST_WAIT = 86_400.0
ERROR_BODY_SECONDS = 5.0
TOO_LONG = "prompt is too long"
"""How Anthropic says that the context is longer than the model's: it has no code for that."""
KEPT_SECONDS = 30.0

PATHS = {
    Endpoint.CHAT: "/chat/completions",
    Endpoint.RESPONSES: "/responses",
    Endpoint.EMBEDDINGS: "/embeddings",
    Endpoint.MESSAGES: "/messages",
}

PASSED_HEADERS: tuple[tuple[istr, str], ...] = (
    (istr("content-type"), "content-type"),
    (istr("x-request-id"), "x-upstream-request-id"),
    (istr("openai-processing-ms"), "openai-processing-ms"),
    (istr("x-ratelimit-limit-requests"), "x-ratelimit-limit-requests"),
    (istr("x-ratelimit-limit-tokens"), "x-ratelimit-limit-tokens"),
    (istr("x-ratelimit-remaining-requests"), "x-ratelimit-remaining-requests"),
    (istr("x-ratelimit-remaining-tokens"), "x-ratelimit-remaining-tokens"),
    (istr("x-ratelimit-reset-requests"), "x-ratelimit-reset-requests"),
    (istr("x-ratelimit-reset-tokens"), "x-ratelimit-reset-tokens"),
)
"""What an app gets to see of a provider's headers: provider's name → ours. Everything else stays here."""

encode = msgspec.json.Encoder().encode


class Route(NamedTuple):
    """How one deployment is reached: URL by endpoint, and the headers that every request to it carries."""

    deployment: Deployment
    urls: dict[Endpoint, URL]
    headers: CIMultiDict[str]


class HttpAnswer:
    """An answer under way over HTTP. Gives its connection back when it has been read to its end, else cuts it in `aclose`."""

    __slots__ = ("_deployment", "_first_by", "_inter_token_seconds", "_response", "dropped", "headers", "status")

    def __init__(
        self,
        deployment: str,
        response: aiohttp.ClientResponse,
        limits: CallLimits,
        first_by: float | None,
        passed: tuple[tuple[istr, str], ...] = PASSED_HEADERS,
    ) -> None:
        self.status = response.status
        received = response.headers
        self.headers: Mapping[str, str] = {ours: value for theirs, ours in passed if (value := received.get(theirs)) is not None}
        self.dropped: tuple[str, ...] = ()
        self._deployment = deployment
        self._response = response
        self._first_by = first_by
        self._inter_token_seconds = limits.inter_token_seconds

    async def read(self) -> bytes:
        """The whole body. Raises UpstreamFailed where it stalls, breaks off, is too large or is no JSON object."""
        content = self._response.content
        parts: list[bytes] = []
        size = 0
        try:
            while part := await content.readany():
                parts.append(part)
                size += len(part)
                if size > LARGEST_ANSWER:
                    raise self._failed("upstream_error", "sent an answer of more than 64 MiB")
        except TimeoutError:
            raise self._failed("upstream_timeout", "did not finish its answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._failed("upstream_truncated", "broke off in the middle of its answer", _name(error)) from None
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if body[:1] != b"{" and body.lstrip()[:1] != b"{":
            raise self._failed("upstream_error", "sent an answer that is not JSON")
        return body

    async def chunks(self) -> AsyncIterator[bytes]:
        """Raw bytes as they come; the first must come within the first-token limit, each further one within the inter-token limit."""
        content = self._response.content
        silent = "did not begin its answer in time"
        try:
            async with asyncio.timeout_at(self._first_by):
                chunk = await content.readany()
            silent = "went silent in the middle of its answer"
            self._limit_reads(self._inter_token_seconds)
            while chunk:
                yield chunk
                chunk = await content.readany()
        except TimeoutError:
            raise self._failed("upstream_timeout", silent) from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._failed("upstream_truncated", "broke off in the middle of its answer", _name(error)) from None

    async def aclose(self) -> None:
        """Give the connection back, or cut it where the answer has not ended."""
        self._response.close()  # a no-op once the body was read to its end: the connection is in the pool again by then

    def _limit_reads(self, seconds: float) -> None:
        connection = self._response.connection
        if connection is not None and connection.protocol is not None:  # None: everything has arrived already
            connection.protocol.read_timeout = seconds
            connection.protocol.start_timeout()

    def _failed(self, code: str, what: str, detail: str = "") -> UpstreamFailed:
        return UpstreamFailed(code, _sentence(self._deployment, what), transient=True, detail=detail)


class OpenAICompatible:
    """Upstream for deployments with a base URL. One session, hence one connection pool, per process."""

    passed = PASSED_HEADERS
    """What an app gets to see of a provider's headers."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._session: aiohttp.ClientSession | None = None
        self._routes: dict[str, Route] = {}
        self._timeouts: dict[tuple[CallLimits, bool], aiohttp.ClientTimeout] = {}

    async def send(self, deployment: ClearedDeployment, request: UpstreamRequest) -> HttpAnswer:
        """Post the body and wait for the headers; any status but 2xx is raised as UpstreamFailed.

        `first_token_seconds` and `inter_token_seconds` bind streams; an answer in one piece is bound by `request_seconds` alone,
        because its headers come only when the model has finished.
        """
        route = self._routes.get(deployment.id)
        if route is None or route.deployment is not deployment:
            route = self._routes[deployment.id] = self._route(deployment)
        headers = route.headers
        if request.headers:
            headers = headers.copy()
            headers.update(request.headers)
        body = encode(request.body)
        limits = request.limits
        first_by = asyncio.get_running_loop().time() + limits.first_token_seconds if request.stream else None
        session = self._session or self._open()
        try:
            response = await session.post(
                route.urls[request.endpoint],
                data=body,
                headers=headers,
                timeout=self._timeout(limits, request.stream),
                allow_redirects=False,
            )
        except aiohttp.ConnectionTimeoutError as error:
            raise _unreachable(deployment, "upstream_timeout", "could not be reached in time", error) from None
        except aiohttp.ClientConnectorError as error:
            raise _unreachable(deployment, "upstream_error", "could not be reached", error) from None
        except TimeoutError as error:
            raise UpstreamFailed(
                "upstream_timeout", _sentence(deployment.id, "did not answer in time"), transient=True, detail=_name(error)
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamFailed(
                "upstream_error", _sentence(deployment.id, "closed the connection"), transient=True, detail=_name(error)
            ) from None
        if not 200 <= response.status < 300:
            try:
                text = await _error_text(response)
            finally:
                response.close()
            raise refusal(deployment.id, response.status, text, retry_after_now(response.headers))
        answer = HttpAnswer(deployment.id, response, limits, first_by, self.passed)
        if request.stream and answer.headers.get("content-type", "").startswith(("application/json", "text/html")):
            response.close()
            raise UpstreamFailed(
                "upstream_error",
                _sentence(deployment.id, "did not answer with a stream"),
                transient=True,
                detail="no event stream",
            )
        return answer

    async def kept(
        self, deployment: Deployment, verb: str, path: Sequence[str], query: Sequence[tuple[str, str]]
    ) -> tuple[int, bytes]:
        """Ask for a response that the provider keeps: status and body. Raises UpstreamFailed where nothing comes back in time."""
        route = self._route(deployment)
        url = route.urls[Endpoint.RESPONSES]
        url = url.joinpath(*path).with_query([*url.query.items(), *query])
        session = self._session or self._open()
        try:
            timeout = aiohttp.ClientTimeout(total=KEPT_SECONDS)
            async with session.request(verb, url, headers=route.headers, timeout=timeout, allow_redirects=False) as response:
                if not 200 <= response.status < 300:
                    return response.status, await _error_text(response)
                answer = HttpAnswer(deployment.id, response, CallLimits(), None)
                return response.status, await answer.read()
        except TimeoutError as error:
            what = _sentence(deployment.id, "did not answer in time")
            raise UpstreamFailed("upstream_timeout", what, transient=True, sent=False, detail=_name(error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(deployment, "upstream_error", "could not be reached", error) from None

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self._session

    def _route(self, deployment: Deployment) -> Route:
        """Raises UpstreamFailed, nothing sent, where the base URL cannot be called or the key is not in the environment."""
        base = base_of(deployment, (deployment.base_url or "").rstrip("/"))
        query = {"api-version": version} if (version := deployment.params.get("api_version")) else {}
        headers = CIMultiDict(
            {
                "content-type": "application/json",
                "accept-encoding": "identity",
                "user-agent": "task-sensitivity-router",
            }
        )
        for param in ("organization", "project"):
            if param in deployment.params:
                headers[f"openai-{param}"] = deployment.params[param]
        key = api_key(deployment, self._environ)
        if key is not None:
            # Azure's dated API takes its key in a header of its own.
            if deployment.params.get("auth", "api-key" if query else "bearer") == "api-key":
                headers["api-key"] = key
            else:
                headers["authorization"] = f"Bearer {key}"
        urls = {endpoint: base.joinpath(path[1:]).with_query(query) for endpoint, path in PATHS.items()}
        return Route(deployment, urls, headers)

    def _timeout(self, limits: CallLimits, stream: bool) -> aiohttp.ClientTimeout:
        timeout = self._timeouts.get((limits, stream))
        if timeout is None:
            if len(self._timeouts) > 1_000:  # the time left of a retried request makes limits of its own
                self._timeouts.clear()
            timeout = self._timeouts[limits, stream] = aiohttp.ClientTimeout(
                total=limits.request_seconds,
                connect=limits.connect_seconds,
                sock_read=limits.first_token_seconds if stream else None,
            )
        return timeout


def base_of(deployment: Deployment, address: str) -> URL:
    """The address as one that can be called. Raises UpstreamFailed, nothing sent, where it cannot."""
    try:
        base = URL(address)
    except ValueError:
        base = URL()
    if base.scheme not in ("http", "https") or not base.host:
        raise _misconfigured(deployment, "has no base URL that can be called", "base_url is not an http or https URL")
    return base


def api_key(deployment: Deployment, environ: Mapping[str, str]) -> str | None:
    """The secret behind the deployment's `env:NAME` reference, None where it needs none. Raises UpstreamFailed, nothing sent."""
    if deployment.api_key is None:
        return None
    scheme, _, name = deployment.api_key.partition(":")
    if scheme != "env" or not name:
        raise _misconfigured(deployment, "has no usable credential", "api_key is not of the form env:NAME")
    secret = environ.get(name)
    if not secret:
        raise _misconfigured(deployment, "has no credential", f"environment variable {name} is not set")
    return secret


def refusal(deployment: str, status: int, text: bytes, wait: float | None) -> UpstreamFailed:
    """What a provider's error status means to the app. `text` is the provider's body, `wait` its Retry-After in seconds.

    The provider's own sentence is passed on only where the request itself is at fault; `detail` never holds more than words.
    """
    message, code, param = _error_of(text)
    detail = f"{status} {code}" if code else str(status)
    if status in (400, 422):
        too_long = code == "context_length_exceeded" or message.startswith(TOO_LONG)
        known = "context_length_exceeded" if too_long else "invalid_request"
        return UpstreamFailed(
            known, message or _sentence(deployment, "refused the request"), param=param, sent=False, detail=detail
        )
    if status == 413:
        return UpstreamFailed(
            "request_too_large", _sentence(deployment, "takes no request of this size"), sent=False, detail=detail
        )
    if status == 429:
        sentence = _sentence(deployment, "is at its rate limit")
        return UpstreamFailed(
            "rate_limit_exceeded", sentence, transient=True, cool_down=True, sent=False, retry_after=wait, detail=detail
        )
    if status == 408:
        return UpstreamFailed("upstream_timeout", _sentence(deployment, "did not answer in time"), transient=True, detail=detail)
    sentence = _sentence(deployment, f"answered with status {status}")
    # 401, 402, 403: our own account is at fault, not the app's. 503, 529: the provider asks for rest.
    rest = status in (401, 402, 403, 503, 529)
    return UpstreamFailed(
        "upstream_error", sentence, transient=True, cool_down=rest, sent=status >= 500, retry_after=wait, detail=detail
    )


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait by `retry-after-ms`, or by `retry-after` in seconds or as a date; None where neither can be read."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return _wait(float(milliseconds) / 1000)
        value = headers.get("retry-after")
        if value is None:
            return None
        if value.strip()[:1].isdigit():
            return _wait(float(value))
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return _wait(((when if when.tzinfo else when.replace(tzinfo=UTC)) - now).total_seconds())


def retry_after_now(headers: Mapping[str, str]) -> float | None:
    """`retry_after` by the present moment."""
    return retry_after(headers, utc_now())


def _wait(seconds: float) -> float:
    return min(seconds, LONGEST_WAIT) if seconds > 0 else 0.0


async def _error_text(response: aiohttp.ClientResponse) -> bytes:
    text = b""
    try:
        async with asyncio.timeout(ERROR_BODY_SECONDS):
            while len(text) < LARGEST_ERROR and (part := await response.content.readany()):
                text += part
    except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
        pass  # the status alone says enough
    return text[:LARGEST_ERROR]


def _error_of(text: bytes) -> tuple[str, str, str | None]:
    """Message, code and param of an error body in OpenAI's shape, or empty."""
    try:
        error: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", "", None
    if isinstance(error, dict):
        error = error.get("error", error)
    if isinstance(error, str):
        return error[:LONGEST_MESSAGE], "", None
    if not isinstance(error, dict):
        return "", "", None
    message = error.get("message")
    param = error.get("param")
    return (
        message[:LONGEST_MESSAGE] if isinstance(message, str) else "",
        _word(error.get("code")) or _word(error.get("type")),
        param if isinstance(param, str) and len(param) <= 200 else None,
    )


def _word(value: object) -> str:
    """`value` where it is a short identifier, so that no content can travel in it; else nothing."""
    if (
        isinstance(value, str)
        and len(value) <= LONGEST_WORD
        and value.replace("_", "").replace("-", "").isalnum()
        and value.isascii()
    ):
        return value
    return ""


def _sentence(deployment: str, what: str) -> str:
    return f"the provider of deployment `{deployment}` {what}"


def _name(error: BaseException) -> str:
    """The kind of a network error; its text may hold addresses and is left out."""
    cause = getattr(error, "os_error", None)
    return f"{type(error).__name__} ({type(cause).__name__})" if cause is not None else type(error).__name__


def _unreachable(deployment: Deployment, code: str, what: str, error: BaseException) -> UpstreamFailed:
    return UpstreamFailed(code, _sentence(deployment.id, what), transient=True, cool_down=True, sent=False, detail=_name(error))


def _misconfigured(deployment: Deployment, what: str, detail: str) -> UpstreamFailed:
    return UpstreamFailed("upstream_error", f"deployment `{deployment.id}` {what}", transient=True, sent=False, detail=detail)
