"""What is known of responses that providers keep, in Redis. Implements `router.stages.keep_responses.ResponseStore`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from router.stages.keep_responses import KeptResponse
from router.storage import redis_keys as keys
from router.storage.redis_client import RedisClient, script
from router.storage.redis_sessions import LINK_SECONDS

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(KeptResponse)
_LEASE = script("lease_response", "lease_response.lua")
_RELEASE = script("release_response", "release_response.lua")


class RedisResponses:
    """Kept responses of all apps. Every method is one round trip unless it says otherwise."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def keep(self, kept: KeptResponse) -> None:
        """See `ResponseStore`. One that is under way, or was, takes a second step."""
        name = keys.kept(kept.app, kept.id)
        await self._client.call("SET", name, _ENCODER.encode(kept), "EX", LINK_SECONDS)
        if kept.under_way is not None:
            await self._client.call("SADD", keys.UNDER_WAY, name)

    async def find(self, app: str, response_id: str) -> KeptResponse | None:
        """See `ResponseStore`."""
        found = await self._client.call("GET", keys.kept(app, response_id))
        return None if found is None else _DECODER.decode(found)

    async def forget(self, kept: KeptResponse) -> None:
        """See `ResponseStore`."""
        await self._client.call("DEL", keys.kept(kept.app, kept.id))

    async def lease(self, kept: KeptResponse, worker: str, seconds: float) -> bool:
        """See `ResponseStore`."""
        name = keys.following(kept.app, kept.id)
        return bool(await self._client.run(_LEASE, [name], (worker, int(seconds * 1000))))

    async def release(self, kept: KeptResponse, worker: str) -> None:
        """See `ResponseStore`."""
        await self._client.run(_RELEASE, [keys.following(kept.app, kept.id)], (worker,))

    async def left_alone(self) -> Sequence[KeptResponse]:
        """See `ResponseStore`. Two round trips more where there are any under way; what has ended, or is forgotten, is struck off."""
        names: list[bytes] = list(await self._client.call("SMEMBERS", keys.UNDER_WAY))
        if not names:
            return ()
        held = await self._client.many([("GET", name) for name in names])
        found = [None if value is None else _DECODER.decode(value) for value in held]
        over = [name for name, kept in zip(names, found, strict=True) if kept is None or kept.under_way is None]
        if over:
            await self._client.call("SREM", keys.UNDER_WAY, *over)
        waiting = [kept for kept in found if kept is not None and kept.under_way is not None]
        leases = await self._client.many([("EXISTS", keys.following(kept.app, kept.id)) for kept in waiting])
        return [kept for kept, lease in zip(waiting, leases, strict=True) if not lease]
