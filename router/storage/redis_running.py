"""What is under way on all replicas, as its reservations say, and orders to whoever works on it: tell how far it is, end it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from secrets import token_hex

import msgspec

from router.exchange import SHARDS, shard_of
from router.storage import redis_keys as keys
from router.storage.redis_client import RedisClient
from router.streaming import Order, Progress, Running

ORDERS = "router:orders"
MOST_ORDERS = 1000
ORDER_SECONDS = 3600
TOLD_SECONDS = 10
WAIT_SECONDS = 0.8
"""How long is waited for the workers to tell how far they are; one that is busy for longer is left out."""

LOOK_SECONDS = 0.05
MOST_OPEN_PER_SHARD = 200
_FIELDS = ("session", "deployment", "amount", "output", "left", "owner")


class RedisRunning:
    """Redis down: every method raises Unavailable."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._last = ""

    async def under_way(self, app: str | None = None, session_id: str | None = None) -> list[Running]:
        """What is under way, of one session of one app or everywhere, the oldest first; without asking how far it is."""
        shards = range(SHARDS) if session_id is None else [shard_of(session_id)]
        found = await self._client.many(
            [("ZRANGE", keys.OPEN[shard], 0, MOST_OPEN_PER_SHARD - 1, "WITHSCORES") for shard in shards]
        )
        open_ = [
            (shard, member.decode(), float(score))
            for shard, members in zip(shards, found, strict=True)
            for member, score in zip(members[::2], members[1::2], strict=True)
        ]
        rows = await self._client.many(
            [("HMGET", keys.reservation(shard, member.split("|")[2]), *_FIELDS) for shard, member, _ in open_]
        )
        now = time.time()
        running = []
        for (_, member, since), (where, deployment, amount, output, left, owner) in zip(open_, rows, strict=True):
            if where is None:
                continue  # it has just ended
            worker, expires, request_id = member.split("|")
            session, _, of = where.decode().rpartition("@")
            if app not in (None, of) or session_id not in (None, session):
                continue
            running.append(
                Running(
                    request_id=request_id,
                    app=of,
                    session=session,
                    owner=owner.decode(),
                    deployment=deployment.decode(),
                    worker=worker,
                    since=since / 1000,
                    elapsed_seconds=round(max(now - since / 1000, 0.0), 3),
                    seconds_left=round(max(int(expires) / 1000 - now, 0.0), 3),
                    held_nano=int(amount),
                    most_output_tokens=int(output),
                    budget_left_nano=None if int(left) < 0 else int(left),
                )
            )
        return sorted(running, key=lambda one: one.since)

    async def apps(self, session_id: str) -> list[str]:
        """The apps that have a session of this id; looks through all of Redis."""
        found = await self._client.scan(keys.session(shard_of(session_id), "*", session_id))
        return sorted(name.rpartition("@")[2] for name in found)

    async def looked_at(self, app: str | None = None, session_id: str | None = None) -> list[Running]:
        """The same, with how far each is."""
        running = await self.under_way(app, session_id)
        if not running:
            return []
        look = token_hex(8)
        await self.give(Order("look", app=app, session=session_id, look=look))
        told: dict[str, Progress] = {}
        deadline = time.monotonic() + WAIT_SECONDS
        while len(told) < len(running) and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
            found = await self._client.call("HGETALL", f"router:told:{look}")
            told = {
                name.decode(): msgspec.json.decode(text, type=Progress)
                for name, text in zip(found[::2], found[1::2], strict=True)
            }
        return [msgspec.structs.replace(one, progress=told.get(one.request_id)) for one in running]

    async def end(self, app: str, session_id: str, request_id: str | None, code: str) -> None:
        """Let all workers end what they have under way in a session, or one request of it; the app is told `code`."""
        await self.give(Order("end", app=app, session=session_id, request=request_id, code=code))

    async def give(self, order: Order) -> None:
        """Give an order to all workers on all replicas; each looks for new ones several times a second."""
        await self._client.call("XADD", ORDERS, "MAXLEN", "~", MOST_ORDERS, "*", "o", msgspec.json.encode(order))
        await self._client.call("EXPIRE", ORDERS, ORDER_SECONDS)

    async def orders(self) -> list[Order]:
        """Orders given since the last call; the first call only remembers where they are."""
        if not self._last:
            newest = await self._client.call("XREVRANGE", ORDERS, "+", "-", "COUNT", 1)
            self._last = newest[0][0].decode() if newest else "0-0"
            return []
        found = await self._client.call("XRANGE", ORDERS, f"({self._last}", "+")
        if found:
            self._last = found[-1][0].decode()
        given = []
        for _, fields in found:
            with contextlib.suppress(msgspec.MsgspecError):  # a replica of another version may know other orders
                given.append(msgspec.json.decode(fields[1], type=Order))
        return given

    async def tell(self, look: str, progress: list[Progress]) -> None:
        """Tell whoever looks how far these are."""
        name = f"router:told:{look}"
        words = [word for one in progress for word in (one.request_id, msgspec.json.encode(one))]
        await self._client.call("HSET", name, *words)
        await self._client.call("EXPIRE", name, TOLD_SECONDS)
