"""What every process must hear of soon: changed keys and rules, revoked keys, which workers live, and whether this is still the same Redis."""

from __future__ import annotations

from typing import NamedTuple

from router.storage import redis_keys as keys
from router.storage.redis_client import RedisClient

HEARTBEAT_MILLISECONDS = 5000  # a worker that has not been heard of for so long is dead; it says that it lives every second


class Announced(NamedTuple):
    """One look: `version` rises with every change, `epoch` is None in a Redis that lost its memory."""

    version: int
    epoch: str | None


class RedisAnnouncements:
    """Redis down: every method raises Unavailable; what was heard before stays in force."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def look(self) -> Announced:
        """The version of keys, apps and rules, and the epoch. Cheap enough for several times a second."""
        version, epoch = await self._client.many([("GET", keys.ANNOUNCEMENT), ("GET", keys.EPOCH)])
        return Announced(int(version or 0), None if epoch is None else epoch.decode())

    async def announce(self) -> int:
        """Say that keys, apps or rules have changed; returns the new version."""
        version: int = await self._client.call("INCR", keys.ANNOUNCEMENT)
        return version

    async def revoke(self, key_id: str) -> None:
        """Announce that a key is revoked, for workers that hear of it before they can read SQL."""
        await self._client.call("SADD", keys.REVOKED, key_id)
        await self.announce()

    async def revoked(self) -> frozenset[str]:
        """Ids of all revoked keys."""
        return frozenset(name.decode() for name in await self._client.call("SMEMBERS", keys.REVOKED))

    async def heartbeat(self, worker_id: str) -> None:
        """Say that a worker lives, every second and before its first request; its holds are settled for it once it falls silent."""
        await self._client.call("SET", keys.worker(worker_id), "1", "PX", HEARTBEAT_MILLISECONDS)

    async def farewell(self, worker_id: str) -> None:
        """Say that a worker has ended."""
        await self._client.call("DEL", keys.worker(worker_id))

    async def set_epoch(self, epoch: str, *, only_if_new: bool = True) -> str:
        """Mark this Redis as the one whose balances we know; returns the epoch in force."""
        await self._client.call("SET", keys.EPOCH, epoch, *(("NX",) if only_if_new else ()))
        in_force: bytes = await self._client.call("GET", keys.EPOCH)
        return in_force.decode()
