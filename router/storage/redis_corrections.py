"""Corrections in Redis: the difference goes to the session's balance at once, and on to the owner's periods and the ledger by the
outbox, as settlements do. Implements `router.governance.corrections.Books`."""

from __future__ import annotations

import hashlib

from router.exchange import Outcome
from router.governance.corrections import Booked
from router.money import LARGEST_NANO
from router.storage import redis_keys as keys
from router.storage.redis_budget import ENCODER, OUTBOX_CAP
from router.storage.redis_client import RedisClient, script

CORRECT = script("correct", "correct.lua")
MARK_SECONDS = 30 * 86400
"""How long a correction is known: longer than any record waits for SQL."""


class RedisCorrections:
    """Redis down: Unavailable; the same correction may then be tried again, and is booked once."""

    def __init__(self, client: RedisClient, outbox_cap: int = OUTBOX_CAP) -> None:
        self._client = client
        self._outbox_cap = outbox_cap

    async def correct(self, booked: Booked, outcome: Outcome, periods: str) -> str:
        """Book the difference between the two outcomes; see `router.governance.corrections.Books`."""
        shard, request = booked.shard, booked.request_id
        names = (
            keys.session(shard, booked.app, booked.session),
            keys.corrected(shard, request),
            keys.closed(shard, request),
            keys.reservation(shard, request),
            keys.OUTBOXES[shard],
        )
        words = (
            request,
            min(booked.outcome.cost_nano, LARGEST_NANO),
            min(outcome.cost_nano, LARGEST_NANO),
            ENCODER.encode(outcome),
            booked.owner,
            periods,
            booked.lines,
            MARK_SECONDS,
            self._outbox_cap,
            hashlib.blake2b(ENCODER.encode(outcome.lines), digest_size=16).hexdigest(),
        )
        state: bytes = await self._client.run(CORRECT, names, words)
        return state.decode()
