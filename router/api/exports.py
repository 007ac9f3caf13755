"""`GET /api/reports/export`: the ledger as a file, streamed from a process of its own, so that no request waits behind it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from importlib import import_module
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from router.api.people import in_sql
from router.errors import Refused, Unavailable

PARAMETERS = ("format", "focus", "grain", "dataset", "period", "since", "until")
CHUNK = 64 * 1024
AT_ONCE = 2
"""Exports that a worker has running; each is a process that reads the ledger."""

RETRY_SECONDS = 5.0


class Zoned(Protocol):
    """Knows the time zone of the days in reports."""

    def zone(self) -> ZoneInfo:
        """That zone."""
        ...


def add_routes(api: APIRouter, ledger: Zoned, clock: Callable[[], datetime]) -> None:
    """The route of exports."""
    running = Running()

    @api.get("/reports/export")
    async def export(request: Request) -> Response:
        given = request.query_params.multi_items()
        arguments, headers = await in_sql(lambda: asked(ledger, given, clock()))
        return Streamed(await running.start(arguments), headers)


def asked(ledger: Zoned, given: Sequence[tuple[str, str]], now: datetime) -> tuple[list[str], dict[str, str]]:
    """The command's options, and the headers of the answer. Raises Refused."""
    question: Any = import_module("router.reports.question")  # these are not needed before somebody asks
    write: Any = import_module("router.reports.exports.write")
    try:
        parameters, where = question.parameters(given, PARAMETERS)
        spans = {name: parameters.get(name) for name in ("period", "since", "until")}
        what = question.asked(now, ledger.zone(), by="", where=where, **spans)
    except question.Misread as misread:
        raise Refused("invalid_request", f"`{misread.parameter}`: {misread}", param=misread.parameter) from None
    defaults = {"format": "csv", "focus": "", "grain": write.GRAINS[0], "dataset": write.DATASETS[0]}
    form = write.Form(**{name: parameters.get(name, default) for name, default in defaults.items()})
    try:
        write.check(form)
    except ValueError as error:
        raise Refused("invalid_request", str(error)) from None
    arguments = [f"--{name}={value}" for name, value in parameters.items() if name in defaults]
    arguments += [f"--since={what.since.isoformat()}"] if what.since else []
    arguments += [f"--until={what.until.isoformat()}"] if what.until else []
    arguments += [f"--where={name}={value}" for name, values in what.where.items() for value in values]
    name = write.file_name(form)
    return arguments, {
        "content-type": write.MEDIA_TYPES[form.format],
        "content-disposition": f'attachment; filename="{name}"',
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }


class Exporting:
    """An export that runs: `router report export` as a child of this worker, whose standard output goes to the client."""

    def __init__(self, process: asyncio.subprocess.Process, ended: Callable[[], None]) -> None:
        self._process = process
        self._ended = ended
        self._first = b""

    async def begin(self) -> None:
        """Wait for the first bytes. Raises Unavailable where there are none."""
        self._first = await self._read()
        if not self._first and await self._process.wait() != 0:
            raise Unavailable("store_unavailable", "the export cannot be made: try again shortly", retry_after=RETRY_SECONDS)

    async def pieces(self) -> AsyncIterator[bytes]:
        """All bytes. Raises ConnectionAbortedError where the export fails: the answer then breaks off without its end, so that nobody
        takes it for all."""
        piece = self._first
        while piece:
            yield piece
            piece = await self._read()
        if await self._process.wait() != 0:
            raise ConnectionAbortedError("an export failed half-way")

    def end(self) -> None:
        """Nobody reads on."""
        if self._process.returncode is None:
            self._process.kill()
        self._ended()

    async def _read(self) -> bytes:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        return await self._process.stdout.read(CHUNK)


class Running:
    """The exports that a worker has running."""

    def __init__(self) -> None:
        self._count = 0

    async def start(self, arguments: Sequence[str]) -> Exporting:
        """One more. Raises Refused where too many run, Unavailable where it fails at once."""
        if self._count >= AT_ONCE:
            raise Refused("rate_limit_exceeded", "other exports are running: try again shortly", retry_after=RETRY_SECONDS)
        self._count += 1
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "router", "report", "export", "--output=-", *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except BaseException:
            self._ended()
            raise
        exporting = Exporting(process, self._ended)
        try:
            await exporting.begin()
        except BaseException:
            exporting.end()
            raise
        return exporting

    def _ended(self) -> None:
        self._count -= 1


class Streamed(StreamingResponse):
    """The answer with an export, which ends with it, even where the client left before the first byte."""

    def __init__(self, exporting: Exporting, headers: dict[str, str]) -> None:
        super().__init__(exporting.pieces(), headers=headers)
        self._exporting = exporting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._exporting.end()
