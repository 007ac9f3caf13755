"""Who is signed in to the console, in Redis: visits with an idle and an absolute end, failed attempts, codes that were used.

A browser holds a random token; Redis knows its digest only, so that who can read Redis cannot take over a visit.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from secrets import token_urlsafe

import msgspec

from router.principals import Visit
from router.storage import redis_keys as keys
from router.storage.redis_client import RedisClient

TOKEN_BYTES = 32


class RedisVisits:
    """Visits of all people. `idle` and `absolute` in seconds. Redis down: Unavailable, and nobody is signed in."""

    def __init__(self, client: RedisClient, *, idle: float, absolute: float) -> None:
        self._client = client
        self._idle = idle
        self._absolute = absolute

    async def begin(self, person: str, email: str, step: str, now: datetime, *, way: str = "password") -> str:
        """A new visit; the token for the browser."""
        era = int(await self._client.call("GET", keys.visits_era(person)) or 0)
        token = token_urlsafe(TOKEN_BYTES)
        await self._keep(token, Visit(person, email, step, token_urlsafe(TOKEN_BYTES), now.timestamp(), era, way=way), now)
        return token

    async def find(self, token: str, now: datetime) -> Visit | None:
        """The visit of a token, which is used by that; None where it has ended."""
        name = keys.visit(_digest(token))
        raw = await self._client.call("GET", name)
        if raw is None:
            return None
        visit = msgspec.json.decode(raw, type=Visit)
        left = self._left(visit, now)
        era, _ = await self._client.many([("GET", keys.visits_era(visit.person)), ("PEXPIRE", name, max(int(1000 * left), 1))])
        return visit if left > 0 and int(era or 0) == visit.era else None

    async def go_on(self, token: str, visit: Visit, step: str, now: datetime) -> tuple[str, Visit]:
        """The visit at its next step, under a new token: who knew the one before knows nothing. It began when it began."""
        await self.end(token)
        new = token_urlsafe(TOKEN_BYTES)
        moved = msgspec.structs.replace(visit, step=step, form=token_urlsafe(TOKEN_BYTES))
        await self._keep(new, moved, now)
        return new, moved

    async def end(self, token: str) -> None:
        """End a visit."""
        await self._client.call("DEL", keys.visit(_digest(token)))

    async def end_all(self, person: str, token: str, visit: Visit, now: datetime) -> None:
        """End all visits of a person but this one."""
        era: int = await self._client.call("INCR", keys.visits_era(person))
        await self._keep(token, msgspec.structs.replace(visit, era=era), now)

    async def failed(self, name: str, seconds: int, most: int) -> int:
        """Count an attempt under a name; how many there are. They are forgotten `seconds` after the last of the first `most`: whoever
        goes on trying keeps nobody out for longer."""
        count: int = await self._client.call("INCR", keys.failures(_digest(name)))
        if count <= most:
            await self._client.call("EXPIRE", keys.failures(_digest(name)), seconds)
        return count

    async def succeeded(self, name: str) -> None:
        """Forget the failures under a name."""
        await self._client.call("DEL", keys.failures(_digest(name)))

    async def first_time(self, what: str, seconds: int) -> bool:
        """Whether a code is used for the first time within so many seconds."""
        return await self._client.call("SET", keys.once(_digest(what)), "1", "NX", "EX", seconds) is not None

    async def keep_once(self, what: str, value: bytes, seconds: int) -> None:
        """Keep something that `take_once` hands out once."""
        await self._client.call("SET", keys.once(_digest(what)), value, "EX", seconds)

    async def take_once(self, what: str) -> bytes | None:
        """What was kept under this name, once."""
        taken: bytes | None = await self._client.call("GETDEL", keys.once(_digest(what)))
        return taken

    async def _keep(self, token: str, visit: Visit, now: datetime) -> None:
        left = self._left(visit, now)
        await self._client.call("SET", keys.visit(_digest(token)), msgspec.json.encode(visit), "PX", max(int(1000 * left), 1))

    def _left(self, visit: Visit, now: datetime) -> float:
        return min(self._idle, visit.begun + self._absolute - now.timestamp())


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
