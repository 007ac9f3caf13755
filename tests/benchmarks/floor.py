"""The floor of a Python gateway: FastAPI and aiohttp passing bytes through, without deciding anything.

Run: BENCH_UPSTREAM=http://127.0.0.1:9100/v1 uvicorn tests.benchmarks.floor:app --port 9110
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

UPSTREAM = os.environ.get("BENCH_UPSTREAM", "http://127.0.0.1:9100/v1")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client for all requests."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        app.state.session = session
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/chat/completions")
async def chat(request: Request) -> Response:
    """Pass one request through."""
    body = await request.body()
    stream = msgspec.json.decode(body).get("stream")
    answer = await request.app.state.session.post(f"{UPSTREAM}/chat/completions", data=body)
    if not stream:
        return Response(await answer.read(), media_type="application/json")

    async def passed() -> AsyncIterator[bytes]:
        async for piece in answer.content.iter_any():
            yield piece
        answer.release()

    return StreamingResponse(passed(), media_type="text/event-stream")
