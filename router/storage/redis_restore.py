"""Makes a Redis that lost its memory usable again: owners' spend from the ledger, no sessions, the epoch of the store."""

from __future__ import annotations

from collections.abc import Mapping

from router.storage.redis_announce import RedisAnnouncements
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient

FORGOTTEN = ("{s*}:sess:*", "{s*}:res:*", "{s*}:open", "{s*}:done:*", "link:*", "{o:*")
"""Balances and links of another time. The outbox stays: what is in it has happened, and SQL enters it once."""


async def rebuild(client: RedisClient, epoch: str, spent: Mapping[tuple[str, str], int]) -> None:
    """Forget sessions, holds and links, set what owners have spent in which periods (nano-USD), then mark the epoch.

    The epoch comes last: until then the service is not ready. Raises Unavailable where Redis is down. Not for clusters.
    """
    for pattern in FORGOTTEN:
        cursor: bytes | int = 0
        while True:
            cursor, found = await client.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            if found:
                await client.call("DEL", *found)
            if int(cursor) == 0:
                break
    budgets = RedisBudgets(client)
    for (owner, period), amount in spent.items():
        await budgets.set_owner_spent(owner, period, amount)
    await RedisAnnouncements(client).set_epoch(epoch, only_if_new=False)
