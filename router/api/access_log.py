"""One log line for every request, where the operator asks for it."""

from __future__ import annotations

from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router import telemetry

_LONGEST_PATH = 100


class AccessLog:
    """Logs who asked for which path, how it was answered and how long that took; no query, no header but the request id.

    The address is that of the connection, or what a trusted proxy says of it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        status = 0
        request_id = ""

        async def noting(message: Message) -> None:
            nonlocal status, request_id
            if message["type"] == "http.response.start":
                status = message["status"]
                request_id = next((value.decode() for name, value in message["headers"] if name == b"x-request-id"), "")
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            telemetry.logger().info(
                "request",
                client=scope["client"][0] if scope.get("client") else None,
                method=scope["method"],
                path=scope["path"][:_LONGEST_PATH],
                status=status,
                request_id=request_id,
                seconds=round(perf_counter() - began, 6),
            )
