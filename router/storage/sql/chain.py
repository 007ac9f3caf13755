"""Audit chains: every link is a hash over the one before it and the digest of one record."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

import msgspec
from sqlalchemy import Connection, bindparam, select, update

from router.exchange import SHARDS
from router.storage.sql.tables import chain_heads

ADMINISTRATION = SHARDS
"""The number of the chain of administrative acts, after those of the shards."""

CHAINS = range(SHARDS + 1)

_MOVE = (
    update(chain_heads)
    .where(chain_heads.c.chain == bindparam("of_chain"))
    .values(seq=bindparam("to_seq"), hash=bindparam("to_hash"))
)


class Head(msgspec.Struct):
    """The end of a chain: how many links it has and the hash of the last one. Grows by `append`."""

    seq: int
    hash: bytes

    def append(self, digest: bytes) -> None:
        """Make `digest` the next link."""
        self.seq += 1
        self.hash = link(self.hash, digest)


def digest_of(record: bytes) -> bytes:
    """SHA-256 of a record's bytes."""
    return hashlib.sha256(record).digest()


def link(previous: bytes, digest: bytes) -> bytes:
    """The hash of the link that follows `previous`."""
    return hashlib.sha256(previous + digest).digest()


def genesis(instance: str, chain: int) -> bytes:
    """What stands before the first link, so that a chain of another store does not fit."""
    return hashlib.sha256(f"{instance}/{chain}".encode()).digest()


def lock_heads(connection: Connection, chains: Collection[int]) -> dict[int, Head]:
    """The heads of these chains, theirs alone until the transaction ends."""
    rows = connection.execute(
        select(chain_heads).where(chain_heads.c.chain.in_(chains)).order_by(chain_heads.c.chain).with_for_update()
    )
    return {row.chain: Head(row.seq, row.hash) for row in rows}


def save_heads(connection: Connection, heads: Mapping[int, Head]) -> None:
    """Store heads that have grown."""
    connection.execute(_MOVE, [{"of_chain": chain, "to_seq": head.seq, "to_hash": head.hash} for chain, head in heads.items()])
