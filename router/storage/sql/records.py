"""Writes outbox records to SQL: evidence, ledger and audit chains in one transaction, however often a batch comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from router.clock import utc_now
from router.exchange import SHARDS, Admitted, Outcome, Record
from router.storage.sql import bulk, rollups
from router.storage.sql.chain import digest_of, lock_heads, save_heads
from router.storage.sql.engine import writing
from router.storage.sql.evidence import CORRECTION, OUTCOME, decode, kind_of, row_of
from router.storage.sql.ledger import Entry, EntryLine, opened, posted
from router.storage.sql.periods import first_open
from router.storage.sql.tables import evidence, ledger_entries, ledger_lines, quarantine

_KNOWN = select(evidence.c.request_id, evidence.c.kind, evidence.c.digest).where(
    evidence.c.request_id.in_(bindparam("requests", expanding=True))
)
_ENTRIES = select(ledger_entries).where(ledger_entries.c.request_id.in_(bindparam("requests", expanding=True)))
_LAST_OUTCOME = (
    select(evidence.c.record)
    .where(evidence.c.request_id == bindparam("request"), evidence.c.kind.in_((OUTCOME, CORRECTION)))
    .order_by(evidence.c.seq.desc())
    .limit(1)
)


class Written(msgspec.Struct, frozen=True):
    """What became of a batch: records entered, records that were there already, records put aside."""

    entered: int = 0
    repeated: int = 0
    quarantined: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(self.entered + other.entered, self.repeated + other.repeated, self.quarantined + other.quarantined)


class _Link(msgspec.Struct, frozen=True):
    """A record on its way into a chain."""

    shard: int
    raw: bytes
    digest: bytes
    record: Record


class _Misfit(msgspec.Struct, frozen=True):
    """A record that cannot be entered, and why."""

    shard: int
    raw: bytes
    reason: str


class SqlRecords:
    """The evidence and ledger of a SQL store, as the drainer writes them.

    SQL down: raises sqlalchemy.exc.DBAPIError and nothing of the batch is kept; the caller brings it again.
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._clock = clock
        self._groups: dict[rollups.Group, int] = {}

    def write(self, batch: Sequence[tuple[int, bytes]]) -> Written:
        """Enter `(shard, record)` pairs, in order, in one transaction. A record that is there already changes nothing.

        What cannot be read, or contradicts what is there, is put into quarantine with the reason, so that it does not
        hold up the rest.
        """
        links: list[_Link] = []
        misfits: list[_Misfit] = []
        for shard, raw in batch:
            try:
                if not 0 <= shard < SHARDS:
                    raise ValueError("no such shard")
                links.append(_Link(shard, raw, digest_of(raw), decode(raw)))
            except (msgspec.DecodeError, ValueError):
                # The exception's own words could quote the record.
                misfits.append(_Misfit(shard, raw, "not a record"))
        return self._enter(links, misfits)

    def _enter(self, links: Sequence[_Link], misfits: Sequence[_Misfit]) -> Written:
        try:
            with writing(self._engine) as connection:
                batch = _Batch(connection, links, self._groups)
                written = batch.write(misfits, self._clock())
            self._groups |= batch.new_groups
        except (StatementError, OverflowError, ValueError) as error:
            if isinstance(error, DBAPIError) and not isinstance(error, DataError | IntegrityError):
                raise  # the database is in trouble, no record is at fault
            if not links:
                raise
            if len(links) == 1:
                reason = f"the database does not take it: {type(error).__name__}"
                return self._enter((), [*misfits, _Misfit(links[0].shard, links[0].raw, reason)])
        else:
            return written
        half = len(links) // 2
        return self._enter(links[:half], misfits) + self._enter(links[half:], ())


class _Batch:
    """One transaction: what the store knows of the requests in it, and what it adds."""

    def __init__(self, connection: Connection, links: Sequence[_Link], groups: Mapping[rollups.Group, int]) -> None:
        self._connection = connection
        self._links = links
        self._groups = groups
        self.new_groups: dict[rollups.Group, int] = {}
        requests = list({link.record.request_id for link in links})
        # All records of a request come through one shard: whoever holds the heads is alone with these requests.
        self._heads = lock_heads(connection, {link.shard for link in links})
        known = connection.execute(_KNOWN, {"requests": requests}).all()
        self._digests = {(row.request_id, row.digest) for row in known}
        self._kinds = {(row.request_id, row.kind) for row in known}
        self._entries = {row.request_id: Entry(*row) for row in connection.execute(_ENTRIES, {"requests": requests})}
        self._first_open = first_open(connection)
        zone = rollups.zone_of(connection)
        self._sums = None if zone is None else rollups.Sums(zone)
        self._touched: set[str] = set()
        self._last_outcomes: dict[str, Outcome] = {}
        self._evidence: list[tuple[Any, ...]] = []
        self._lines: list[EntryLine] = []

    def write(self, misfits: Iterable[_Misfit], now: datetime) -> Written:
        """Enter the links, put aside the misfits and those links that contradict the store."""
        aside = list(misfits)
        repeated = 0
        for link in self._links:
            if (link.record.request_id, link.digest) in self._digests:
                repeated += 1
            elif not self._fits(link.record):
                aside.append(_Misfit(link.shard, link.raw, "contradicts an earlier record of the same request"))
            else:
                self._book(link.record)
                self._append(link)
        self._store()
        self._put_aside(aside, now)
        return Written(len(self._evidence), repeated, len(aside))

    def _fits(self, record: Record) -> bool:
        if isinstance(record, Outcome):
            entry = self._entries.get(record.request_id)
            return record.correction or entry is None or entry.closed_at is None
        return (record.request_id, kind_of(record)) not in self._kinds

    def _append(self, link: _Link) -> None:
        head = self._heads[link.shard]
        head.append(link.digest)
        row = row_of(link.record)
        self._evidence.append((*msgspec.structs.astuple(row), link.shard, head.seq, link.raw.decode(), link.digest, head.hash))
        self._digests.add((row.request_id, link.digest))
        self._kinds.add((row.request_id, row.kind))

    def _book(self, record: Record) -> None:
        request_id = record.request_id
        entry = self._entries.get(request_id)
        lines: list[EntryLine] = []
        if isinstance(record, Admitted):
            new = opened(entry, record)
        elif isinstance(record, Outcome):
            previous = self._last_outcome(request_id) if entry and entry.closed_at else None
            new, lines = posted(entry, record, previous, self._first_open)
            self._last_outcomes[request_id] = record
        else:
            return
        if self._sums is not None:
            if entry is not None and isinstance(record, Admitted):  # its outcome came first: nobody's costs become somebody's
                before = self._lines_of(request_id)
                self._sums.lines(entry, before, -1)
                self._sums.lines(new, before)
            if entry is not None:
                self._sums.request(entry, -1)
            self._sums.request(new)
            self._sums.lines(new, lines)
        self._entries[request_id] = new
        self._lines += lines
        self._touched.add(request_id)

    def _lines_of(self, request_id: str) -> list[EntryLine]:
        stored = self._connection.execute(select(ledger_lines).where(ledger_lines.c.request_id == request_id))
        return [EntryLine(*row) for row in stored] + [line for line in self._lines if line.request_id == request_id]

    def _last_outcome(self, request_id: str) -> Outcome | None:
        if request_id in self._last_outcomes:
            return self._last_outcomes[request_id]
        text = self._connection.scalar(_LAST_OUTCOME, {"request": request_id})
        record = None if text is None else decode(text)
        return record if isinstance(record, Outcome) else None

    def _store(self) -> None:
        if not self._evidence:
            return
        bulk.add(self._connection, evidence, self._evidence)
        save_heads(self._connection, self._heads)
        entries = [msgspec.structs.astuple(self._entries[request_id]) for request_id in self._touched]
        bulk.add(self._connection, ledger_entries, entries, bulk.Clash.REPLACES)
        bulk.add(self._connection, ledger_lines, [msgspec.structs.astuple(line) for line in self._lines])
        if self._sums is not None:
            self.new_groups = self._sums.save(self._connection, self._groups)

    def _put_aside(self, misfits: Iterable[_Misfit], now: datetime) -> None:
        rows = [
            {"digest": digest_of(misfit.raw), "at": now, "shard": misfit.shard, "reason": misfit.reason, "record": misfit.raw}
            for misfit in misfits
        ]
        if rows:
            add = sqlite.insert if self._connection.dialect.name == "sqlite" else postgresql.insert
            self._connection.execute(add(quarantine).on_conflict_do_nothing(), rows)
