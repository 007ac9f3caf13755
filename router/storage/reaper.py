"""Settles what a dead process left open, so that every admitted request is closed exactly once and no hold stays.

The reaper cannot know what a provider did with a request that was under way, so it charges what was held, the worst case: a
budget may then refuse too early, never too late. The entry is marked as an estimate, in a line of the class `hold`. If the worker
was only slow and comes back with the truth, that is booked as a correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from router.exchange import Outcome, Reservation
from router.storage import redis_keys as keys
from router.storage.redis_announce import HEARTBEAT_MILLISECONDS
from router.storage.redis_budget import REAPED_MARK_SECONDS, close
from router.storage.redis_client import RedisClient
from router.usage import Basis, Line

EXPIRY_MARGIN_SECONDS = 10.0  # a request may end this long after its time limit before it is taken for lost
LOOKED_AT_PER_SHARD = 1000


class _Open(NamedTuple):
    """An open reservation as the open set names it: `worker|expiry in ms|request id`."""

    shard: int
    worker: str
    expires: float
    request_id: str


async def reap(client: RedisClient, now: datetime) -> int:
    """Settle open reservations of workers that fell silent, and those past their expiry. Returns how many were settled.

    May run anywhere, several at once, at any time: each reservation is settled once. Raises Unavailable where Redis is down.
    """
    seconds = now.timestamp()
    settled = 0
    for one in await _lost(client, seconds):
        settled += await _settle(client, one, now)
    return settled


async def _lost(client: RedisClient, now: float) -> list[_Open]:
    """Open reservations older than a heartbeat whose worker is silent, or which are past their expiry."""
    newest = int(now * 1000) - HEARTBEAT_MILLISECONDS
    found = await client.many(
        [("ZRANGEBYSCORE", name, "-inf", newest, "LIMIT", 0, LOOKED_AT_PER_SHARD) for name in keys.OPEN],
    )
    old = [_parsed(shard, member) for shard, members in enumerate(found) for member in members]
    workers = sorted({one.worker for one in old})
    beats = await client.many([("EXISTS", keys.worker(worker)) for worker in workers])
    alive = {worker for worker, beat in zip(workers, beats, strict=True) if beat}
    return [one for one in old if one.worker not in alive or one.expires + EXPIRY_MARGIN_SECONDS < now]


async def _settle(client: RedisClient, one: _Open, now: datetime) -> int:
    fields = ("amount", "input", "spoken", "session", "owner", "month", "deployment")
    found: Sequence[bytes | None] = await client.call("HMGET", keys.reservation(one.shard, one.request_id), *fields)
    if found[0] is None:
        return 0  # settled meanwhile
    amount, taken, spoken, session, owner, month, deployment = (value.decode() for value in found if value is not None)
    session_id, _, app = session.partition("@")
    reservation = Reservation(one.request_id, session_id, one.shard, owner, int(amount), int(spoken), None, app, month)
    outcome = _estimate(one.request_id, now, deployment, int(amount))
    tokens = (int(taken), int(spoken), 0)
    state, _ = await close(client, "reap", reservation, outcome, tokens, REAPED_MARK_SECONDS)
    return int(state == b"settled")


def _estimate(request_id: str, now: datetime, deployment: str, held_nano: int) -> Outcome:
    line = Line(
        attempt=1,
        deployment=deployment,
        provider="",
        model="",
        token_class="hold",  # noqa: S106 - tokens of text
        quantity=0,
        unit_price=None,
        cost_nano=held_nano,
        basis=Basis.ESTIMATED,
        outcome="reaped",
        price_source="hold",
    )
    return Outcome(
        request_id=request_id,
        at=now,
        outcome="reaped",
        code=None,
        deployment=deployment or None,
        lines=(line,),
        cost_nano=held_nano,
        basis=Basis.ESTIMATED,
        over_hold=False,
        tools_released=(),
        tools_refused=(),
        timings_us={},
    )


def _parsed(shard: int, member: bytes) -> _Open:
    worker, expires, request_id = member.decode().split("|", 2)
    return _Open(shard, worker, int(expires) / 1000, request_id)
