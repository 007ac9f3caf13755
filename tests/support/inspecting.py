"""Looks at a running service from behind: its private Redis, its SQLite file, its processes. For assertions only, never for synchronising alone."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from redis import Redis

from router.storage import redis_keys as keys


def private_redis(data_dir: Path) -> Redis:
    """A client of the service's private Redis; close it (it is a context manager)."""
    return Redis(unix_socket_path=json.loads((data_dir / "redis.json").read_text())["socket"], socket_timeout=10)


def redis_pid(data_dir: Path) -> int:
    """Process id of the service's private Redis, as its supervisor recorded it."""
    return int(json.loads((data_dir / "redis.json").read_text())["pid"])


def rows(data_dir: Path, query: str) -> list[dict[str, Any]]:
    """Rows of a query on the SQLite store."""
    with closing(sqlite3.connect(f"file:{data_dir / 'router.db'}?mode=ro", uri=True, timeout=30)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


def entries(data_dir: Path) -> list[dict[str, Any]]:
    """The ledger entries, oldest first."""
    return rows(data_dir, "SELECT * FROM ledger_entries ORDER BY opened_at")


def admitted(data_dir: Path) -> list[str]:
    """Request ids of everything that was let through, as evidence has them."""
    return [row["request_id"] for row in rows(data_dir, "SELECT request_id FROM evidence WHERE kind = 'admitted'")]


def reservations(data_dir: Path) -> dict[str, str]:
    """The open reservations: request id → the worker that holds it."""
    with private_redis(data_dir) as redis:
        members = [member.decode().split("|") for name in keys.OPEN for member in redis.zrange(name, 0, -1)]
    return {request: worker for worker, _, request in members}


def under_way(data_dir: Path) -> int:
    """How many reservations are open now."""
    return len(reservations(data_dir))


def redis_clients(data_dir: Path) -> dict[str, int]:
    """Connections to the private Redis beside our own: id → bytes that were sent on it and are not carried out."""
    with private_redis(data_dir) as redis:
        mine = str(redis.client_id())
        clients = redis.client_list()
    return {one["id"]: int(one["qbuf"]) + int(one["argv-mem"]) for one in clients if one["id"] != mine}


def worker_id(pid: int) -> str:
    """The name under which a worker process holds money."""
    told = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(word.removeprefix(b"ROUTER_WORKER_ID=").decode() for word in told if word.startswith(b"ROUTER_WORKER_ID="))


def listening(port: int) -> int:
    """How many processes accept connections on a port of 127.0.0.1: each worker has a socket of its own."""
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(local == f"0100007F:{port:04X}" and state == "0A" for _, local, _, state, *_ in sockets)


def held(data_dir: Path) -> dict[str, int]:
    """What is still held, by key, in nano-USD and tokens: sessions, owners, reservations. Empty where nothing is."""
    found: dict[str, int] = {}
    with private_redis(data_dir) as redis:
        for key in redis.scan_iter(count=1000):
            name = key.decode(errors="replace")
            if ":sess:" in name or name.startswith("{o:"):
                if redis.type(key) != b"hash" or name.endswith(":leases"):
                    continue
                for field in ("held", "hin", "hout"):
                    if amount := int(redis.hget(key, field) or 0):
                        found[f"{name} {field}"] = amount
            if ":res:" in name or name.endswith((":open", ":leases", ":expiry")):
                found[name] = 1
    return found
