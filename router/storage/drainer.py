"""Moves records from the Redis outbox to SQL, in order, until told to stop; what SQL cannot take now waits in Redis."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from router import telemetry
from router.clock import utc_now
from router.errors import RouterError
from router.exchange import SHARDS
from router.storage.audit_chain import Checkpoints
from router.storage.sql.records import SqlRecords, Written

BATCH = 500
"""Entries per transaction: enough that a commit to disk costs little per record."""

PACE_SECONDS = 0.2
"""How long a small batch waits for more: a round costs much the same for one record as for fifty."""

FOLLOWER_SECONDS = 1.0
SHORTEST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


class Outbox(Protocol):
    """Where records wait. Down: RouterError."""

    async def lead(self, drainer_id: str) -> bool:
        """Become or stay the one drainer for a few seconds; False while another one is."""
        ...

    async def step_down(self, drainer_id: str) -> None:
        """Let another drainer take over at once."""
        ...

    async def read(self, limit: int) -> list[tuple[int, str, bytes]]:
        """Entries not yet acknowledged as (shard, entry id, record), in order within each shard."""
        ...

    async def settle_owners(self, entries: Iterable[tuple[int, str, bytes]]) -> int:
        """Book the entries on their owners' months, each once."""
        ...

    async def ack(self, entries: Iterable[tuple[int, str]]) -> None:
        """Forget entries that SQL has."""
        ...

    async def backlog(self) -> int:
        """How many entries SQL does not have yet."""
        ...


@dataclass(slots=True)
class Progress:
    """How far the drainer is. `lag_seconds` is how long the oldest record of the last batch had waited, `down` what keeps it
    from going on (None: nothing)."""

    leading: bool = False
    entered: int = 0
    repeated: int = 0
    quarantined: int = 0
    backlog: int = 0
    lag_seconds: float = 0.0
    down: str | None = None


class Drainer:
    """Reads, books owners, writes, acknowledges: whatever dies in between, the next round begins with the same entries.

    SQL or Redis down: it logs that once, waits, and tries again; nothing is acknowledged that SQL has not committed.
    `between` is called between two rounds, while SQL has all that Redis has booked. Checkpoints of the audit chains are written beside it, by every drainer into its own data directory: each is a witness.
    """

    def __init__(
        self,
        outbox: Outbox,
        engine: Engine,
        checkpoints: Checkpoints,
        *,
        drainer_id: str | None = None,
        checkpoint_seconds: float = 60.0,
        batch: int = BATCH,
        clock: Callable[[], datetime] = utc_now,
        between: Callable[[datetime], Awaitable[object]] | None = None,
    ) -> None:
        self.progress = Progress()
        self._outbox = outbox
        self._engine = engine
        self._records = SqlRecords(engine, clock)
        self._checkpoints = checkpoints
        self._id = drainer_id or f"drainer-{os.urandom(4).hex()}"
        self._checkpoint_seconds = checkpoint_seconds
        self._next_checkpoint = 0.0
        self._batch = batch
        self._clock = clock
        self._between = between
        self._all_written = False  # whether SQL has all that Redis has booked

    async def run(self, stop: asyncio.Event, finish_seconds: float = 20.0) -> None:
        """Drain until `stop` is set, then what is still there for at most `finish_seconds`, and sign a last checkpoint."""
        pause = SHORTEST_PAUSE_SECONDS
        while not stop.is_set():
            try:
                entered = await self.drain_once()
                if self._between is not None and self._all_written:
                    await self._between(self._clock())
                await self._checkpoint_when_due()
            except (RouterError, SQLAlchemyError, OSError) as error:
                self._is_down(error)
                await _sleep(pause, stop)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            self._is_up()
            pause = SHORTEST_PAUSE_SECONDS
            if entered < self._batch // 2:
                await _sleep(PACE_SECONDS if self.progress.leading else FOLLOWER_SECONDS, stop)
        await self._finish(finish_seconds)

    async def drain_once(self) -> int:
        """One round; how many entries it acknowledged. Raises RouterError (Redis) or SQLAlchemyError; nothing is lost."""
        self.progress.leading = await self._outbox.lead(self._id)
        if not self.progress.leading:
            self._all_written = False
            return 0
        entries = await self._outbox.read(self._batch)
        if not entries:
            self.progress.backlog, self.progress.lag_seconds = 0, 0.0
            self._all_written = True
            return 0
        oldest = min(int(entry_id.partition("-")[0]) for _, entry_id, _ in entries) / 1000
        self.progress.lag_seconds = max(self._clock().timestamp() - oldest, 0.0)
        all_were, self._all_written = self._all_written, False
        await self._outbox.settle_owners(entries)
        # In a thread: a database that hangs must not keep this process from answering signals, nor the reaper from its work.
        written = await asyncio.to_thread(self._records.write, [(shard, record) for shard, _, record in entries])
        await self._outbox.ack([(shard, entry_id) for shard, entry_id, _ in entries])
        # So few that no shard had more than it was read for: whatever another drainer had booked, and not written, is among them.
        self._all_written = all_were or len(entries) < self._batch // SHARDS
        self.progress.backlog = await self._outbox.backlog()
        self._count(written)
        return len(entries)

    async def checkpoint(self) -> None:
        """Sign where the audit chains stand now, if they have grown. Raises SQLAlchemyError."""
        checkpoint = await asyncio.to_thread(self._checkpoints.write, self._engine, self._clock())
        if checkpoint is not None:
            # A log that is shipped elsewhere is one more witness.
            telemetry.logger().info("audit_checkpoint", number=checkpoint.number, signature=checkpoint.signature)

    async def _checkpoint_when_due(self) -> None:
        if time.monotonic() >= self._next_checkpoint:
            await self.checkpoint()
            self._next_checkpoint = time.monotonic() + self._checkpoint_seconds

    async def _finish(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while await self.drain_once():
                    pass
                await self.checkpoint()
        except (RouterError, SQLAlchemyError, OSError) as error:
            self._is_down(error)
        with suppress(RouterError):
            await self._outbox.step_down(self._id)

    def _count(self, written: Written) -> None:
        self.progress.entered += written.entered
        self.progress.repeated += written.repeated
        self.progress.quarantined += written.quarantined
        if written.quarantined:
            telemetry.logger().error("records_quarantined", count=written.quarantined)

    def _is_down(self, error: Exception) -> None:
        what = type(error).__name__
        if self.progress.down != what:
            self.progress.down = what
            telemetry.logger().error("drainer_waits", reason=what)

    def _is_up(self) -> None:
        if self.progress.down is not None:
            self.progress.down = None
            telemetry.logger().info("drainer_goes_on")


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
