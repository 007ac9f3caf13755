"""Composition root of the console, imported when it is first asked for: a worker that serves apps only pays nothing for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy import Engine
from starlette.types import ASGIApp

from router.api.approvals import Deciding
from router.api.sessions import Looking
from router.clock import utc_now
from router.console.app import create_console
from router.console.site import Site
from router.settings import Settings
from router.storage.redis_client import RedisClient
from router.storage.redis_visits import RedisVisits
from router.storage.snapshot import Snapshot
from router.storage.sql.accounts import SqlAccounts


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker has already, and the console works with."""

    settings: Settings
    secret: bytes
    redis: RedisClient
    engine: Engine
    snapshot: Snapshot
    looking: Looking
    deciding: Deciding
    changed: Callable[[str | None], Awaitable[None]]  # tells all workers that keys or rules have changed


def build(parts: Parts) -> ASGIApp:
    """The console of a worker."""
    settings = parts.settings
    return create_console(
        Site(
            visits=RedisVisits(parts.redis, idle=settings.console_idle_seconds, absolute=settings.console_visit_seconds),
            accounts=SqlAccounts(parts.engine, parts.secret),
            directory=parts.snapshot,
            clock=utc_now,
            secret=parts.secret,
            governance=settings.governance_mode,
            secure=settings.address.startswith("https://") or not settings.on_loopback,
            second_factor=settings.console_second_factor == "required",
        )
    )
