"""Signed checkpoints of the audit chains, kept outside SQL, and the check that finds what was tampered with."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from sqlalchemy import Connection, Engine, Row, Select, func, select

from router.exchange import SHARDS, Admitted, Outcome
from router.storage.sql import directory, months, rules
from router.storage.sql.accounts import stored_state as state_of_account
from router.storage.sql.administration import AdminEvent
from router.storage.sql.approvals import approval_of
from router.storage.sql.approvals import stored_state as state_of_approval
from router.storage.sql.chain import ADMINISTRATION, CHAINS, Head, digest_of, genesis, link
from router.storage.sql.engine import reading
from router.storage.sql.evidence import EvidenceRow, decode, row_of
from router.storage.sql.ledger import Entry, EntryLine, opened, posted
from router.storage.sql.people import person_of
from router.storage.sql.people import stored_state as state_of_person
from router.storage.sql.tables import (
    accounts,
    admin_events,
    approvals,
    chain_heads,
    evidence,
    finance_periods,
    keys,
    ledger_entries,
    ledger_lines,
    people,
    proposals,
    revisions,
    store_facts,
)

CHECKPOINTS = "checkpoints.jsonl"
SIGNING_KEY = "checkpoint_key.pem"
PUBLIC_KEY = "checkpoint_key.pub"

MOST_FAULTS = 1_000
"""A report stops listing after so many; it still counts."""

STATES = ("key:", "revision:", "proposal:", "person:", "approval:", "account:", "period:")
"""Subjects of administrative acts whose rows must stand as the last act left them."""

_NOTHING_BEFORE = "0" * 64
_TAIL_BYTES = 65_536  # longer than any checkpoint line
_CHUNK = 500

_encoder = msgspec.json.Encoder()  # fields come as declared and heads as sorted below: the same bytes after a round trip


class Checkpoint(msgspec.Struct, frozen=True):
    """Where every chain stood at a moment: chain → (count, hash in hex), chains without a link left out.

    `previous` is the SHA-256 of the line before, `signature` is over this line with an empty signature.
    """

    number: int
    at: datetime
    instance: str
    heads: dict[int, tuple[int, str]]
    previous: str
    signature: str = ""


class Checkpoints:
    """The checkpoint file of one data directory and the key it is signed with, which is made at first use (mode 0600)."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = folder / CHECKPOINTS
        self._key = _signing_key(folder)

    def write(self, engine: Engine, at: datetime) -> Checkpoint | None:
        """Add a checkpoint; None where no chain has grown since the last one."""
        with reading(engine) as connection:
            instance = _instance(connection)
            heads = {chain: (head.seq, head.hash.hex()) for chain, head in sorted(_heads(connection).items()) if head.seq}
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            last = _last_line(file)
            before = None if last is None else msgspec.json.decode(last, type=Checkpoint)
            if heads == ({} if before is None else before.heads):
                return None
            unsigned = Checkpoint(
                number=1 if before is None else before.number + 1,
                at=at,
                instance=instance,
                heads=heads,
                previous=_NOTHING_BEFORE if last is None else digest_of(last).hex(),
            )
            checkpoint = msgspec.structs.replace(unsigned, signature=self._key.sign(_encoder.encode(unsigned)).hex())
            file.write(_encoder.encode(checkpoint) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return checkpoint


class Fault(msgspec.Struct, frozen=True):
    """Something that is not as it was written. `chain` is a shard, or None where the fault lies in no chain.

    Kinds: edited, gap, broken_link, truncated, rewritten, checkpoint, ledger, administration, period.
    """

    kind: str
    message: str
    chain: int | None = None
    seq: int | None = None


class Report(msgspec.Struct, frozen=True):
    """What a verification read and what it found. `unanchored` links are newer than the last checkpoint: only the chain
    itself vouches for them."""

    links: int
    entries: int
    checkpoints: int
    last_checkpoint: datetime | None
    unanchored: int
    fault_count: int
    faults: tuple[Fault, ...]

    @property
    def intact(self) -> bool:
        """Whether nothing was found."""
        return self.fault_count == 0


def public_key(folder: Path) -> Ed25519PublicKey:
    """The public key beside the checkpoints. Who keeps a copy elsewhere also notices a key that was exchanged.

    Raises OSError or ValueError where there is none.
    """
    key = load_pem_public_key((folder / PUBLIC_KEY).read_bytes())
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("checkpoints are signed with Ed25519, and this is another key")
    return key


def verify(engine: Engine, checkpoints: Path, key: Ed25519PublicKey) -> Report:
    """Read all chains, checkpoints, ledger rows, keys and revisions, and say what is not as it was written.

    Found are edits, gaps, reorders, cut tails, rewritten chains, and rows that no record accounts for. It sees one state
    of the store, so it may run beside the service. SQL down: sqlalchemy.exc.DBAPIError.
    """
    verification = _Verification(key)
    verification.read_checkpoints(checkpoints)  # first: none of them may be newer than what is then read
    with reading(engine) as connection:
        verification.read_store(connection)
    return verification.report()


class _Verification:
    """The state of one verification."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self._faults: list[Fault] = []
        self._fault_count = 0
        self._links = 0
        self._entries = 0
        self._lines = 0
        self._month_ends: set[datetime] = set()
        self._unanchored = 0
        self._checkpoints = 0
        self._last: Checkpoint | None = None
        self._instances: set[str] = set()
        self._anchors: dict[int, dict[int, bytes]] = {chain: {} for chain in CHAINS}

    def report(self) -> Report:
        return Report(
            links=self._links,
            entries=self._entries,
            checkpoints=self._checkpoints,
            last_checkpoint=self._last.at if self._last else None,
            unanchored=self._unanchored,
            fault_count=self._fault_count,
            faults=tuple(self._faults),
        )

    def _fault(self, kind: str, message: str, chain: int | None = None, seq: int | None = None) -> None:
        self._fault_count += 1
        if len(self._faults) < MOST_FAULTS:
            self._faults.append(Fault(kind, message, chain, seq))

    def read_checkpoints(self, path: Path) -> None:
        if not path.exists():
            return
        previous = _NOTHING_BEFORE
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return  # cut short by a crash; the writer drops it
                line = line[:-1]
                try:
                    checkpoint = msgspec.json.decode(line, type=Checkpoint)
                    unsigned = msgspec.structs.replace(checkpoint, signature="")
                    self._key.verify(bytes.fromhex(checkpoint.signature), _encoder.encode(unsigned))
                except (msgspec.DecodeError, ValueError):
                    self._fault("checkpoint", f"line {number} of the checkpoints is no checkpoint")
                    return
                except InvalidSignature:
                    self._fault("checkpoint", f"the signature of checkpoint {number} does not fit")
                    return
                if checkpoint.number != number or checkpoint.previous != previous:
                    self._fault("checkpoint", f"checkpoint {number} does not follow the one before it")
                    return
                previous = digest_of(line).hex()
                self._take(checkpoint)

    def _take(self, checkpoint: Checkpoint) -> None:
        self._checkpoints += 1
        self._instances.add(checkpoint.instance)
        for chain, (count, _) in (self._last.heads if self._last else {}).items():
            if checkpoint.heads.get(chain, (0, ""))[0] < count:
                self._fault("checkpoint", f"checkpoint {checkpoint.number} counts fewer links than the one before it", chain)
        for chain, (count, hash_) in checkpoint.heads.items():
            self._anchors.setdefault(chain, {})[count] = bytes.fromhex(hash_)
        self._last = checkpoint

    def read_store(self, connection: Connection) -> None:
        instance = _instance(connection)
        self._month_ends = set(connection.scalars(select(finance_periods.c.ends)))
        if self._instances - {instance}:
            self._fault("checkpoint", "the checkpoints are those of another store")
        heads = _heads(connection)
        for shard in range(SHARDS):
            self._read_shard(connection, shard, instance, heads.get(shard))
        if self._links and not self._checkpoints:
            self._fault("checkpoint", "there is evidence, but no valid checkpoint")
        self._read_administration(connection, instance, heads.get(ADMINISTRATION))
        for month, what in months.faults(connection):
            self._fault("period", f"{month}: {what}")
        self._count_rest(connection)

    def _walk(
        self, connection: Connection, chain: int, query: Select[*tuple[Any, ...]], instance: str, head: Head | None
    ) -> Iterator[Row[*tuple[Any, ...]]]:
        """The rows of a chain whose record is what its digest says, in order, after checking how they hang together."""
        anchors = self._anchors.get(chain, {})
        newest = max(anchors, default=0)
        expected, previous = 1, genesis(instance, chain)
        known = True
        for row in connection.execute(query, execution_options={"yield_per": _CHUNK}):
            self._links += 1
            if row.seq > newest:
                self._unanchored += 1
            if row.seq != expected:
                self._fault("gap", f"links {expected} to {row.seq - 1} are missing", chain, row.seq)
                known = False
            if known and link(previous, row.digest) != row.hash:
                self._fault("broken_link", "the link does not follow the one before it", chain, row.seq)
            if anchors.get(row.seq, row.hash) != row.hash:
                self._fault("rewritten", "the link is another one than a checkpoint saw", chain, row.seq)
            expected, previous, known = row.seq + 1, row.hash, True
            if digest_of(row.record.encode()) == row.digest:
                yield row
            else:
                self._fault("edited", "the record is not the one that was written", chain, row.seq)
        count = expected - 1
        if count < newest:
            self._fault("truncated", f"a checkpoint saw {newest} links, {count} are there", chain)
        if head is None or head.seq != count or head.hash != previous:
            self._fault("truncated", "the chain does not end where its head says", chain)

    def _read_shard(self, connection: Connection, shard: int, instance: str, head: Head | None) -> None:
        query = select(evidence).where(evidence.c.shard == shard).order_by(evidence.c.seq)
        entries: dict[str, Entry] = {}
        lines: dict[str, list[EntryLine]] = {}
        outcomes: dict[str, Outcome] = {}
        for row in self._walk(connection, shard, query, instance, head):
            record = decode(row.record)
            columns = EvidenceRow(*row[: len(EvidenceRow.__struct_fields__)])
            if columns != row_of(record):
                self._fault("edited", "the columns do not say what the record says", shard, row.seq)
            request_id = record.request_id
            entry = entries.get(request_id)
            if isinstance(record, Admitted):
                entries[request_id] = opened(entry, record)
            elif isinstance(record, Outcome):
                entries[request_id], added = posted(entry, record, outcomes.get(request_id))
                lines.setdefault(request_id, []).extend(added)
                outcomes[request_id] = record
        self._entries += len(entries)
        self._lines += sum(map(len, lines.values()))
        self._compare(connection, shard, entries, lines)

    def _compare(
        self, connection: Connection, shard: int, entries: Mapping[str, Entry], lines: Mapping[str, list[EntryLine]]
    ) -> None:
        requests = list(entries)
        for start in range(0, len(requests), _CHUNK):
            chunk = requests[start : start + _CHUNK]
            stored = {
                row.request_id: Entry(*row)
                for row in connection.execute(select(ledger_entries).where(ledger_entries.c.request_id.in_(chunk)))
            }
            stored_lines: dict[str, list[EntryLine]] = {}
            for row in connection.execute(
                select(ledger_lines).where(ledger_lines.c.request_id.in_(chunk)).order_by(ledger_lines.c.line)
            ):
                stored_lines.setdefault(row.request_id, []).append(EntryLine(*row))
            for request_id in chunk:
                entry = stored.get(request_id)
                if entry is None or self._entry_as_told(entry, entries[request_id]) != entries[request_id]:
                    self._fault("ledger", f"the entry of `{request_id}` is not what its records say", shard)
                told = lines.get(request_id, [])
                there = stored_lines.get(request_id, [])
                if [self._line_as_told(*pair) for pair in zip(there, told, strict=False)] != told or len(there) != len(told):
                    self._fault("ledger", f"the lines of `{request_id}` are not what its records say", shard)

    def _entry_as_told(self, entry: Entry, told: Entry) -> Entry:
        return msgspec.structs.replace(entry, closed_at=self._booked(entry.closed_at, told.closed_at))

    def _line_as_told(self, line: EntryLine, told: EntryLine) -> EntryLine:
        """The line as its record tells it: corrections of earlier versions do not say which line they are about."""
        corrects = told.corrects if line.corrects is None else line.corrects
        return msgspec.structs.replace(line, at=self._booked(line.at, told.at) or line.at, corrects=corrects)

    def _booked(self, at: datetime | None, told: datetime | None) -> datetime | None:
        """When it would have been booked, had no month been closed: what came late is booked where a closed month ends."""
        late = at is not None and told is not None and at > told and at in self._month_ends
        return told if late else at

    def _count_rest(self, connection: Connection) -> None:
        for table, expected in ((ledger_entries, self._entries), (ledger_lines, self._lines)):
            there = connection.scalar(select(func.count()).select_from(table)) or 0
            if there > expected:
                self._fault("ledger", f"{there - expected} rows of {table.name} come from no record")

    def _read_administration(self, connection: Connection, instance: str, head: Head | None) -> None:
        states: dict[str, dict[str, Any]] = {}
        query = select(admin_events).order_by(admin_events.c.seq)
        for row in self._walk(connection, ADMINISTRATION, query, instance, head):
            event = msgspec.json.decode(row.record, type=AdminEvent)
            if (event.at, event.actor, event.act, event.subject) != (row.at, row.actor, row.act, row.subject):
                self._fault("edited", "the columns do not say what the record says", ADMINISTRATION, row.seq)
            states[event.subject] = event.state
        now = {f"key:{row.id}": directory.stored_state(directory.key_of(row)) for row in connection.execute(select(keys))}
        now |= {
            f"revision:{row.revision}": rules.stored_state(rules.revision_of(row))
            for row in connection.execute(select(revisions))
        }
        now |= {f"proposal:{row.id}": rules.proposal_state(row._asdict()) for row in connection.execute(select(proposals))}
        now |= {f"person:{row.id}": state_of_person(person_of(row)) for row in connection.execute(select(people))}
        now |= {f"account:{row.person}": state_of_account(row) for row in connection.execute(select(accounts))}
        periods = connection.execute(select(finance_periods))
        now |= {months.subject(row.month): months.stored_state(months.period_of(row)) for row in periods}
        now |= {f"approval:{row.id}": state_of_approval(approval_of(row)) for row in connection.execute(select(approvals))}
        for subject in sorted(now.keys() | {name for name in states if name.startswith(STATES)}):
            if now.get(subject) != states.get(subject):
                self._fault("administration", f"`{subject}` is not as the last recorded act left it", ADMINISTRATION)


def _instance(connection: Connection) -> str:
    return str(connection.scalar(select(store_facts.c.value).where(store_facts.c.name == "instance")))


def _heads(connection: Connection) -> dict[int, Head]:
    return {row.chain: Head(row.seq, row.hash) for row in connection.execute(select(chain_heads))}


def _last_line(file: BinaryIO) -> bytes | None:
    """The last whole line, without its end; what a crash left of another one is cut off. Leaves the file at its end."""
    size = file.seek(0, os.SEEK_END)
    start = file.seek(max(size - _TAIL_BYTES, 0))
    tail = file.read()
    whole = tail.rfind(b"\n") + 1
    file.seek(start + whole)
    file.truncate()
    lines = tail[:whole].splitlines()
    return lines[-1] if lines else None


def _signing_key(folder: Path) -> Ed25519PrivateKey:
    path = folder / SIGNING_KEY
    if not path.exists():
        fresh = Ed25519PrivateKey.generate()
        _place(path, fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"`{path.name}` is no Ed25519 key")
    if not (folder / PUBLIC_KEY).exists():
        _place(folder / PUBLIC_KEY, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return key


def _place(path: Path, content: bytes) -> None:
    """Put a file in place whole, readable by its owner only; one that another process has put there stays."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
