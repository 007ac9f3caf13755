"""Reports over HTTP, for finance: the same figures as `router report`, as JSON or CSV."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib import import_module

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy import Engine

from router.api.people import in_sql

NAMES = ("spend", "requests")
"""The reports that are asked for by parameters alone."""


def add_routes(api: APIRouter, engine: Engine, clock: Callable[[], datetime]) -> None:
    """The routes of the reports. What answers them is imported when it is first asked."""

    def answering(name: str) -> None:
        @api.get(f"/reports/{name}")
        async def show(request: Request) -> Response:
            return await answer(request, name)

    async def answer(request: Request, name: str, request_id: str | None = None) -> Response:
        given, accept = request.query_params.multi_items(), request.headers.get("accept", "")
        answers = import_module("router.api.report_answers")
        found: Response = await in_sql(lambda: answers.answered(engine, name, given, accept, clock(), request_id))
        return found

    for name in NAMES:
        answering(name)

    @api.get("/reports/requests/{request_id}")
    async def one(request: Request, request_id: str) -> Response:
        return await answer(request, "request", request_id)
