"""Which records of the outbox were written before a moment and are not in SQL yet."""

from __future__ import annotations

from datetime import datetime

from router.errors import RouterError
from router.storage import redis_keys as keys
from router.storage.redis_client import RedisClient

NAMED_PER_SHARD = 10


async def undrained(client: RedisClient, before: datetime) -> list[str] | None:
    """The first of them in each shard, by `shard/entry`; None where Redis cannot be asked, so that nobody knows."""
    last = f"{int(before.timestamp() * 1000) - 1}"
    try:
        found = await client.many([("XRANGE", name, "-", last, "COUNT", NAMED_PER_SHARD) for name in keys.OUTBOXES])
    except RouterError:
        return None
    return [f"{shard}/{entry_id.decode()}" for shard, entries in enumerate(found) for entry_id, _ in entries]
