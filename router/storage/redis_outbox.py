"""The outbox: records that Redis holds until SQL has them, and the owners' months that are booked from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from router.exchange import Admitted, Outcome, Record
from router.storage import redis_keys as keys
from router.storage.redis_budget import ENCODER, kept_seconds
from router.storage.redis_client import RedisClient, Word, script

LEADER_MILLISECONDS = 5000

_BOOK = script("book", "owner.lua", "book.lua")
_LEAD = script("lead", "lead.lua")
_DECODER = msgspec.json.Decoder(type=Record)


class _Booking(NamedTuple):
    """What an entry changes in an owner's periods, in nano-USD. `periods` are their ids, the month first."""

    owner: str
    periods: str
    request_id: str
    amount: bytes


class RedisOutbox:
    """Read, book, write to SQL, acknowledge: in this order an entry is neither lost nor counted twice, whatever dies in between.

    One drainer works at a time (`lead`). Give it a client of its own: a large batch must not hold up the line.
    """

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._bookings: dict[tuple[int, str], _Booking] = {}

    async def lead(self, drainer_id: str) -> bool:
        """Become or stay the one drainer for the next five seconds; False while another one is."""
        return bool(await self._client.run(_LEAD, [keys.DRAINER], (drainer_id, LEADER_MILLISECONDS)))

    async def step_down(self, drainer_id: str) -> None:
        """Let another drainer take over at once."""
        await self._client.run(_LEAD, [keys.DRAINER], (drainer_id, 0))

    async def read(self, limit: int) -> list[tuple[int, str, bytes]]:
        """Up to `limit` entries that are not yet acknowledged, as (shard, entry id, record), in order within each shard.

        A record says what the step decided: an admitted one carries the tokens and the amount that were held in the end, an
        outcome that came after the reaper's says that it is a correction.
        """
        entries: list[tuple[int, str, bytes]] = []
        self._bookings.clear()
        for shard, entry_id, fields in await self._oldest(limit):
            found = dict(zip(fields[::2], fields[1::2], strict=True))
            entries.append((shard, entry_id, _final(found)))
            if found.get(b"w"):
                self._bookings[shard, entry_id] = _Booking(
                    found[b"w"].decode(), found[b"m"].decode(), found[b"q"].decode(), found[b"n"]
                )
        return entries

    async def ack(self, entries: Iterable[tuple[int, str]]) -> None:
        """Forget entries that SQL has."""
        by_shard: dict[int, list[Word]] = defaultdict(list)
        for shard, entry_id in entries:
            by_shard[shard].append(entry_id)
            self._bookings.pop((shard, entry_id), None)
        if by_shard:
            await self._client.many([("XDEL", keys.OUTBOXES[shard], *ids) for shard, ids in by_shard.items()])

    async def backlog(self) -> int:
        """How many entries SQL does not have yet."""
        return sum(await self._client.many([("XLEN", name) for name in keys.OUTBOXES]))

    async def settle_owners(self, entries: Iterable[tuple[int, str, bytes]]) -> int:
        """Book settlements on the owners' months, each once, however often it is called. Returns how many were new.

        `entries` are as `read` gave them last, none left out: what a shard booked last is how a repeat is known.
        """
        by_period: dict[tuple[str, str, int], list[Word]] = {}
        for shard, entry_id, _ in entries:
            booking = self._bookings.get((shard, entry_id))
            if booking is None:
                continue
            for number, period in enumerate(booking.periods.split()):
                words = by_period.setdefault((booking.owner, period, number), [kept_seconds(period)])
                words.extend((shard, *entry_id.split("-"), booking.request_id, booking.amount))
        booked = 0
        for (owner, period, number), words in by_period.items():
            new = await self._client.run(_BOOK, keys.owner(owner, period), words)
            booked += new if number == 0 else 0
        return booked

    async def _oldest(self, limit: int) -> list[tuple[int, str, list[bytes]]]:
        """The oldest entries of each shard, as many from each as the limit and the other shards leave."""
        lengths = await self._client.many([("XLEN", name) for name in keys.OUTBOXES])
        filled = [(shard, length) for shard, length in enumerate(lengths) if length]
        if not filled:
            return []
        share = max(limit // len(filled), 1)
        shards = [shard for shard, _ in filled][:limit]
        found = await self._client.many([("XRANGE", keys.OUTBOXES[shard], "-", "+", "COUNT", share) for shard in shards])
        return [
            (shard, entry_id.decode(), fields) for shard, stream in zip(shards, found, strict=True) for entry_id, fields in stream
        ]


def _final(fields: dict[bytes, bytes]) -> bytes:
    """The record with what only the script could know."""
    raw = fields[b"r"]
    if b"h" in fields:
        admitted = _DECODER.decode(raw)
        if isinstance(admitted, Admitted):
            held, tokens = int(fields[b"h"]), int(fields[b"o"])
            return ENCODER.encode(msgspec.structs.replace(admitted, held_nano=held, output_tokens=tokens))
    elif b"c" in fields:
        outcome = _DECODER.decode(raw)
        if isinstance(outcome, Outcome):
            return ENCODER.encode(msgspec.structs.replace(outcome, correction=True))
    return raw
