"""The endpoints that carry tasks: chat completions, responses, embeddings and messages, all through the one line."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from router.api import wire
from router.api.asgi import OURS, Connection, read_body, read_rest, send_error, sent_twice
from router.errors import Refused, RouterError
from router.pipeline import Incoming, serve
from router.services import Services
from router.stages.read_task import read_headers
from routing_rules.task import Endpoint

READ = frozenset({b"x-session-id", b"x-stainless-retry-count"})
"""The request headers that the line reads, beside those that begin as ours do; none is forwarded. All of ours are handed on, so that a
misspelt one is refused."""
API_KEY = b"x-api-key"
OF_MESSAGES = frozenset({b"anthropic-version", b"anthropic-beta"})
"""What Anthropic's clients send besides: their key, and which version and features of the API they mean."""


class TaskPaths:
    """Sends the task paths to their endpoints, and everything else to the framework.

    Five layers of the framework's middleware stand before its routes; on a task they would cost a tenth of the whole line.
    """

    def __init__(self, endpoints: Mapping[str, ASGIApp], others: ASGIApp) -> None:
        self._endpoints = endpoints
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._others(scope, receive, send)
            return
        endpoint = self._endpoints.get(scope["path"])
        if endpoint is None and (refusal := sent_twice(scope["headers"])) is not None:
            await send_error(Connection(receive, send), refusal)
            return
        await (endpoint or self._others)(scope, receive, send)


class TaskEndpoint:
    """One POST path, as a plain ASGI application: the framework's own request handling would cost as much as all stages together."""

    def __init__(self, services: Services, endpoint: Endpoint, limit: int) -> None:
        self.services = services
        self._endpoint = endpoint
        self._limit = limit
        self._also_read = OF_MESSAGES | {API_KEY} if endpoint is Endpoint.MESSAGES else frozenset()
        self._body = RouterError.messages_body if endpoint is Endpoint.MESSAGES else RouterError.body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        client = Connection(receive, send)
        if scope["method"] != "POST":
            refusal = Refused("method_not_allowed", f"send a POST to `{scope['path']}`")
            await send_error(client, refusal, [(b"allow", b"POST")], self._body(refusal))
            return
        if (twice := sent_twice(scope["headers"])) is not None:
            await send_error(client, twice, [(b"connection", b"close")], self._body(twice))
            await read_rest(receive)
            return
        authorization: str | None = None
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value.decode("latin-1")
            elif name in READ or name.startswith(OURS):
                headers[name.decode()] = value.decode("latin-1")
            elif name in self._also_read:
                _read_also(headers, name.decode(), value.decode("latin-1"))
        secret = headers.pop("x-api-key", None) if self._also_read else None
        if authorization is None and secret is not None:
            authorization = f"Bearer {secret}"
        try:
            raw = await read_body(scope, receive, self._limit)
        except Refused as refusal:
            await send_error(client, refusal, [(b"connection", b"close")], self._body(refusal))
            await read_rest(receive)
            return
        except ConnectionResetError:
            return
        incoming = Incoming(self._endpoint, raw, authorization, headers, read_headers, wire.parse)
        await self.answer(incoming, client)

    async def answer(self, incoming: Incoming, client: Connection) -> None:
        """Answer a request that has been read: the line does."""
        await self.services.pumps.run(serve(self.services, incoming, client))


def _read_also(headers: dict[str, str], name: str, value: str) -> None:
    """Keep a header that may be sent in several lines."""
    headers[name] = f"{headers[name]},{value}" if name in headers else value
