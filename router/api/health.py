"""Liveness, readiness with its reasons, and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

Check = Callable[[], Awaitable[str | None]]
"""Answers None where all is well, else one sentence that says what is wrong."""

CHECK_SECONDS = 1.0


async def readiness(checks: Mapping[str, Check], notes: Mapping[str, str]) -> tuple[int, dict[str, object]]:
    """(status, body): 200 where every check passes within a second, else 503 with each failure's sentence."""
    faults = await asyncio.gather(*(_within(check) for check in checks.values()))
    results = dict(zip(checks, faults, strict=True))
    ready = all(fault is None for fault in faults)
    body: dict[str, object] = {
        "ready": ready,
        "checks": {name: "ok" if fault is None else fault for name, fault in results.items()},
        "notes": dict(notes),
    }
    return (200 if ready else 503), body


async def _within(check: Check) -> str | None:
    try:
        return await asyncio.wait_for(check(), CHECK_SECONDS)
    except TimeoutError:
        return "no answer within a second"
