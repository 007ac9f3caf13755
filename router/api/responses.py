"""Responses that are fetched again: shown, cancelled, forgotten, and what was sent with them, each for the app that it was given to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from secrets import token_hex
from typing import get_args

from fastapi import FastAPI, Request
from fastapi.responses import Response

from router import telemetry
from router.api.asgi import JSON
from router.api.shapes import Includable
from router.errors import Refused, RouterError
from router.services import Services
from router.stages.authenticate import authenticate
from router.stages.keep_responses import Found, Keeper
from router.stages.read_task import read_headers
from routing_rules.facts import Caller

PATH = "/v1/responses/{response_id}"
INCLUDED = re.compile("|".join(re.escape(word) for word in get_args(Includable)))
TRUTH = re.compile("true|false")
SHOWN_WITH = {"include": INCLUDED, "include[]": INCLUDED, "include_obfuscation": TRUTH, "stream": TRUTH}
LISTED_WITH = {
    "include": INCLUDED,
    "include[]": INCLUDED,
    "limit": re.compile("[0-9]{1,3}"),
    "order": re.compile("asc|desc"),
    "after": re.compile("[A-Za-z0-9_-]{1,256}"),
}
"""Parameter → what its value must match. All go to the provider, so none may hold a text."""


def add_routes(app: FastAPI, services: Services) -> None:
    """Serve kept responses. Every path is governed like the task that began the response: its app, its session, its tools, its clearance."""

    @app.get(PATH)
    async def show(request: Request, response_id: str) -> Response:
        query = _query(request, SHOWN_WITH)
        if any(name == "stream" and value != "false" for name, value in query):
            raise Refused("invalid_request", "a kept response is given in one piece: leave `stream` out", param="stream")
        keeper, found = await _found(services, request, response_id)
        return _answer(services, found, await keeper.show(found, query))

    @app.delete(PATH)
    async def delete(request: Request, response_id: str) -> Response:
        _query(request, {})
        keeper, found = await _found(services, request, response_id)
        return _answer(services, found, await keeper.delete(found))

    @app.post(f"{PATH}/cancel")
    async def cancel(request: Request, response_id: str) -> Response:
        _query(request, {})
        keeper, found = await _found(services, request, response_id)
        return _answer(services, found, await keeper.cancel(found))

    @app.get(f"{PATH}/input_items")
    async def input_items(request: Request, response_id: str) -> Response:
        query = _query(request, LISTED_WITH)
        keeper, found = await _found(services, request, response_id)
        return _answer(services, found, await keeper.input_items(found, query))


async def _found(services: Services, request: Request, response_id: str) -> tuple[Keeper, Found]:
    """The response that a request means, where it is the caller's."""
    caller: Caller | None = None
    try:
        caller = await _caller(services, request)
        if services.keeper is None:
            raise Refused("response_not_found", "no responses are kept here")
        return services.keeper, await services.keeper.find(caller, request.headers.get("x-session-id"), response_id)
    except RouterError as error:
        telemetry.logger().warning("request_refused", code=error.code, app=caller.app if caller else None, detail=error.detail)
        raise


async def _caller(services: Services, request: Request) -> Caller:
    headers = read_headers(dict(request.headers))
    authorization = request.headers.get("authorization")
    try:
        return authenticate(services.directory, authorization, headers.purpose, services.clock())
    except Refused as refusal:
        if refusal.code != "invalid_api_key":
            raise
        await services.directory.refresh()  # the key may have been made a moment ago
        return authenticate(services.directory, authorization, headers.purpose, services.clock())


def _query(request: Request, known: Mapping[str, re.Pattern[str]]) -> list[tuple[str, str]]:
    """The parameters of a request. One that is not known is refused, as in a body."""
    found = request.query_params.multi_items()
    for name, value in found:
        if name not in known:
            raise Refused("unknown_parameter", "the address has a parameter that is not served here; leave it out")
        if not known[name].fullmatch(value):
            raise Refused("invalid_request", f"`{name}` does not have a value that the specification allows", param=name)
    return found


def _answer(services: Services, found: Found, body: bytes) -> Response:
    headers = {
        "x-request-id": f"req_{int(services.clock().timestamp() * 1000):011x}{token_hex(8)}",
        "x-router-session": found.kept.session_id,
        "x-router-model": found.kept.deployment,
        "x-router-revision": services.in_force().rules.revision,
        "x-router-sensitivity": found.session.labels.confidentiality.value,
    }
    return Response(body, media_type=JSON[1].decode(), headers=headers)
