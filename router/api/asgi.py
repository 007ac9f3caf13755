"""The edge between ASGI and the line: reading bodies within a limit, writing answers and errors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from starlette.types import Message, Receive, Scope, Send

from router.errors import Refused, RouterError

JSON = (b"content-type", b"application/json")


class Connection:
    """A Client (see ports) over ASGI. Once the app has left, sending does nothing."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._left = False

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """See Client."""
        await self._try({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def send(self, data: bytes) -> None:
        """See Client."""
        await self._try({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        """See Client."""
        await self._try({"type": "http.response.body", "body": data})

    async def gone(self) -> None:
        """See Client."""
        while not self._left:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._left = True

    async def _try(self, message: Message) -> None:
        if self._left:
            return
        try:
            await self._send(message)
        except OSError:  # the server says so only where it knows; the answer goes on without the client
            self._left = True


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body. Raises Refused `request_too_large` as soon as it is known to be over `limit` bytes.

    A client that leaves while it sends raises ConnectionResetError.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise _too_large(limit)
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        pieces.append(piece)
        if not message.get("more_body"):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


ONCE = frozenset({b"authorization", b"x-api-key", b"x-session-id", b"x-stainless-retry-count"})
OURS = b"x-router-"


def sent_twice(headers: Iterable[tuple[bytes, bytes]]) -> Refused | None:
    """The refusal of a request that says twice who asks, or for what: whichever counted, somebody on the way may have meant the other."""
    seen = set()
    for name, _ in headers:
        if name in ONCE or name.startswith(OURS):
            if name in seen:
                shown = name.decode("latin-1") if name in ONCE else "x-router-"
                return Refused("invalid_request", f"the header `{shown}` is there twice; send it once", param=shown)
            seen.add(name)
    return None


def _too_large(limit: int) -> Refused:
    return Refused("request_too_large", f"the body is larger than {limit} bytes: send less, or raise ROUTER_MAX_BODY_BYTES")


def error_headers(error: RouterError) -> list[tuple[bytes, bytes]]:
    """What the official SDKs read of an error: whether to retry, and when."""
    headers = [JSON]
    if not error.row.retry:
        headers.append((b"x-should-retry", b"false"))
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(int(error.retry_after + 0.999), 1)).encode()))
    return headers


async def send_error(
    client: Connection,
    error: RouterError,
    extra: Sequence[tuple[bytes, bytes]] = (),
    told: Mapping[str, object] | None = None,
) -> None:
    """Answer with an error body: OpenAI's, where it is not `told`."""
    body = msgspec.json.encode(error.body() if told is None else told)
    await client.start(error.row.status, [*error_headers(error), (b"content-length", str(len(body)).encode()), *extra])
    await client.finish(body)


async def read_rest(receive: Receive, seconds: float = 2.0) -> None:
    """Read what a refused client still sends, for a moment: closing at once would reset the connection before it reads the answer."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive()).get("more_body"):
                pass
    except TimeoutError:
        pass
