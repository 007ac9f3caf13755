"""What was written before a moment and is not in SQL yet is named; where Redis is gone, nobody knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from router.storage import redis_keys as keys
from router.storage.redis_undrained import NAMED_PER_SHARD, undrained

END = datetime(2026, 11, 1, tzinfo=UTC)
MILLISECONDS = int(END.timestamp() * 1000)


async def test_records_from_before_a_moment_are_named_and_later_ones_are_not(store: Any) -> None:
    async with store.client() as client:
        assert await undrained(client, END) == []
        for shard, milliseconds in ((3, -1), (3, 0), (60, -86_400_000), (61, 5)):
            await client.call("XADD", keys.OUTBOXES[shard], f"{MILLISECONDS + milliseconds}-7", "r", b"{}")
        assert await undrained(client, END) == [f"3/{MILLISECONDS - 1}-7", f"60/{MILLISECONDS - 86_400_000}-7"]
        assert len(await undrained(client, END + timedelta(seconds=1)) or []) == 4


async def test_no_shard_names_more_than_its_first_ones(store: Any) -> None:
    async with store.client() as client:
        for number in range(NAMED_PER_SHARD + 5):
            await client.call("XADD", keys.OUTBOXES[0], f"{number + 1}-0", "r", b"{}")
        assert len(await undrained(client, END) or []) == NAMED_PER_SHARD


async def test_without_redis_nobody_knows(single: Any, redis_server: Any) -> None:
    async with single.client(0.5) as client:
        redis_server.stop()
        assert await undrained(client, END) is None
