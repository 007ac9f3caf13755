"""What waits for a person, in Redis. Implements `router.ports.Approvals` and `router.governance.approvals.Approvals`.

Everything of an approval lies in its session's shard, so that each step is one script. The answer and the arguments are AES-GCM under
a key derived from the secret and the approval: Redis alone tells nothing of them. The answer is gone once it is taken, denied or expired.
What SQL has yet to hear of is noted in the same step (`news`).
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from secrets import token_hex

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from router.clock import utc_now
from router.errors import Refused, Unavailable
from router.exchange import SHARDS, ApprovalHistory, ApprovalState, Held, Taken, shard_of
from router.governance.approvals import APPROVED, DENIED, EXPIRED, PENDING, Waiting, history_of
from router.storage import redis_keys as keys
from router.storage.redis_client import RedisClient, Word, script
from routing_rules.task import Endpoint

MOST_WAITING = 20  # of a session: whoever must decide on more decides on none of them with care
MOST_ANSWER_BYTES = 8 * 1024 * 1024
KNOWN_MILLISECONDS = 7 * 86400 * 1000  # how long one that is over is known here: longer than SQL is likely to be down
DUE_PER_SHARD = 100
MOST_LISTED = 500

OPEN = (PENDING.encode(), APPROVED.encode())

_ID = re.compile(r"\Aapr_([0-5][0-9]|6[0-3])[0-9a-f]{24}\Z")
_NONCE = 12
_REQUEST = script("approval_request", "approval_request.lua")
_DECIDE = script("approval_decide", "approval_decide.lua")
_TAKE = script("approval_take", "approval_take.lua")
_EXPIRE = script("approval_expire", "approval_expire.lua")
_STATE = ("s", "exp", "app", "session", "body", "task", "by", "rev", "calls", "shape")
_CALLS = tuple[tuple[str, str], ...]


class RedisApprovals:
    """Approvals of all sessions. `secret` is the service's secret key. Redis down: Unavailable."""

    def __init__(self, client: RedisClient, secret: bytes) -> None:
        self._client = client
        self._secret = secret[:64]

    async def request(self, held: Held) -> str:
        """See `router.ports.Approvals`. Raises Refused: `session_ended`, `rate_limit_exceeded` where too many wait in the session."""
        if len(held.answer) > MOST_ANSWER_BYTES:
            raise Refused(
                "approval_required", "a person must approve this answer, and it is too long to be kept for that: ask for less"
            )
        shard = shard_of(held.session_id)
        approval_id = f"apr_{shard:02d}{token_hex(12)}"
        expires = _ms(held.expires)
        calls = tuple((call.tool, call.arguments_digest) for call in held.calls)
        same, denied = self._digests(held, calls)
        told = msgspec.json.encode(msgspec.structs.replace(held, answer=b""))
        words: list[Word] = [approval_id, _ms(held.at), expires, expires + KNOWN_MILLISECONDS, MOST_WAITING]
        words.append(self._sealed(approval_id, b"answer", held.answer) if held.answer else b"")
        fields: dict[str, Word] = {
            "app": held.app,
            "session": held.session_id,
            "body": held.body_digest,
            "rev": held.revision,
            "task": int(not held.calls),
            "calls": msgspec.json.encode(calls),
            "shape": f"{held.endpoint.value} {int(held.stream)}",
            "same": same,
            "denied": denied,
            "row": msgspec.json.encode(history_of(approval_id, held)),
            "told": self._sealed(approval_id, b"told", told),
        }
        for name, value in fields.items():
            words += [name, value]
        names = _names(shard, approval_id, held.app, held.session_id, same, denied)
        kind, *rest = await self._client.run(_REQUEST, names, words)
        if kind == b"ended":
            raise Refused("session_ended", f"this session has ended ({rest[0].decode()}); start a new one")
        if kind == b"many":
            raise Refused(
                "rate_limit_exceeded",
                f"{MOST_WAITING} calls of this session wait for a person already: let them be decided first",
            )
        return str(rest[0].decode())

    async def state(self, approval_id: str, app: str) -> ApprovalState | None:
        """See `router.ports.Approvals`. One that is past its time is expired, whether that was noticed or not."""
        shard = _shard(approval_id)
        if shard is None:
            return None
        found = await self._client.call("HMGET", _name(shard, approval_id), *_STATE)
        status, expires, owner, session, body, task, by, revision, calls, shape = found
        if status is None or owner.decode() != app:
            return None
        endpoint, _, stream = (shape or b"").decode().partition(" ")
        ends = _time(expires)
        return ApprovalState(
            id=approval_id,
            status=EXPIRED if status in OPEN and utc_now() >= ends else status.decode(),
            app=app,
            session_id=session.decode(),
            body_digest=body.decode(),
            expires=ends,
            is_task=task == b"1",
            decided_by=None if by is None else by.decode(),
            revision=revision.decode(),
            tools=frozenset(tool for tool, _ in msgspec.json.decode(calls, type=_CALLS)),
            endpoint=Endpoint(endpoint) if endpoint else None,
            stream=stream == "1",
        )

    async def take(
        self, approval_id: str, app: str, session_id: str, body_digest: str | None, revision: str, now: datetime
    ) -> Taken | None:
        """See `router.ports.Approvals`. Two round trips: the first finds where it lies."""
        names = await self._places(approval_id)
        if names is None:
            return None
        words: list[Word] = [approval_id, _ms(now), app, session_id, body_digest or "", revision]
        reply = await self._client.run(_TAKE, names, words)
        if not reply:
            return None
        session, asked_under, calls, answer = reply
        return Taken(
            session_id=session.decode(),
            revision=asked_under.decode(),
            calls=msgspec.json.decode(calls, type=_CALLS),
            answer=self._opened(approval_id, b"answer", answer) if answer else b"",
        )

    async def waiting(self, approval_id: str) -> Waiting | None:
        """An approval with all that is needed to judge it, decided or not; None where none is known (any more)."""
        shard = _shard(approval_id)
        if shard is None:
            return None
        return self._read(approval_id, await self._client.call("HGETALL", _name(shard, approval_id)))

    async def pending(self, now: datetime) -> list[Waiting]:
        """What waits for a person, in all shards, the oldest first; where it is very much, what expires first."""
        found = await self._client.many(
            [
                ("ZRANGEBYSCORE", _open(shard), f"({_ms(now)}", "+inf", "WITHSCORES", "LIMIT", 0, MOST_LISTED)
                for shard in range(SHARDS)
            ]
        )
        due = sorted((int(ends), name) for names in found for name, ends in zip(names[::2], names[1::2], strict=True))
        waiting = await self._all(name.decode() for _, name in due[:MOST_LISTED])
        return sorted((one for one in waiting if one.history.status == PENDING), key=lambda one: one.history.asked)

    async def of_session(self, app: str, session_id: str) -> list[Waiting]:
        """What waits in a session."""
        shard = shard_of(session_id)
        found = await self._client.call("ZRANGE", _of_session(shard, app, session_id), 0, -1)
        return [one for one in await self._all(name.decode() for name in found) if one.history.status == PENDING]

    async def decide(self, approval_id: str, *, approve: bool, by: str, via: str, note: str, now: datetime) -> str | None:
        """Decide, once: None where that was done, else the state it is in (`unknown` and `ended` for its session included)."""
        names = await self._places(approval_id)
        if names is None:
            return "unknown"
        words: list[Word] = [approval_id, _ms(now), APPROVED if approve else DENIED, by, via, note]
        (state,) = await self._client.run(_DECIDE, names, words)
        return None if state == b"decided" else str(state.decode())

    async def first_time(self, signature: str, seconds: int) -> bool:
        """Whether this signature was not seen within the last `seconds`; it has been from now on."""
        return bool(await self._client.call("SET", f"router:hook:{signature}", "1", "NX", "EX", seconds))

    async def expire(self, now: datetime) -> int:
        """Let everything be over that was not used in time; how many. May run anywhere, several at once."""
        due = await self._client.many(
            [("ZRANGEBYSCORE", _open(shard), "-inf", _ms(now), "LIMIT", 0, DUE_PER_SHARD) for shard in range(SHARDS)]
        )
        expired = 0
        for shard, names in enumerate(due):
            for name in names:
                places = await self._places(name.decode())
                if places is None:
                    await self._client.call("ZREM", _open(shard), name)
                    continue
                expired += await self._client.run(_EXPIRE, places, [name, _ms(now)])
        return expired

    async def news(self) -> list[ApprovalHistory]:
        """Approvals of which SQL has not heard everything yet, as they are now."""
        found = await self._client.many([("SMEMBERS", _news(shard)) for shard in range(SHARDS)])
        ids = [name.decode() for names in found for name in names]
        rows = await self._client.many([("HGETALL", _name(_shard_in(one), one)) for one in ids])
        known = [_history(_fields(row)) for row in rows if row]
        forgotten = [one for one, row in zip(ids, rows, strict=True) if not row]
        if forgotten:  # SQL was down for longer than they are known here
            await self._client.many([("SREM", _news(_shard_in(one)), one) for one in forgotten])
        return known

    async def heard(self, told: Iterable[ApprovalHistory]) -> None:
        """SQL has these. One that has changed since is news still."""
        for row in told:
            shard = _shard_in(row.id)
            await self._client.call("SREM", _news(shard), row.id)
            found = _fields(await self._client.call("HGETALL", _name(shard, row.id)))
            if found and _history(found) != row:
                await self._client.call("SADD", _news(shard), row.id)

    async def _all(self, ids: Iterable[str]) -> list[Waiting]:
        names = list(ids)
        rows = await self._client.many([("HGETALL", _name(_shard_in(one), one)) for one in names])
        found = []
        for one, row in zip(names, rows, strict=True):
            await asyncio.sleep(0)  # requests go on meanwhile
            found.append(self._read(one, row))
        return [one for one in found if one is not None]

    def _read(self, approval_id: str, row: Sequence[bytes]) -> Waiting | None:
        fields = _fields(row)
        if not fields:
            return None
        told = self._opened(approval_id, b"told", fields["told"])
        return Waiting(_history(fields), msgspec.json.decode(told, type=Held))

    async def _places(self, approval_id: str) -> list[str] | None:
        shard = _shard(approval_id)
        if shard is None:
            return None
        found = await self._client.call("HMGET", _name(shard, approval_id), "app", "session", "same", "denied")
        if None in found:
            return None
        app, session, same, denied = (value.decode() for value in found)
        return _names(shard, approval_id, app, session, same, denied)

    def _digests(self, held: Held, calls: _CALLS) -> tuple[str, str]:
        """By which the same request is known again, and by which the same calls are, whatever body they came with and however they
        are written."""
        meant = sorted({(call.tool, call.meaning_digest or call.arguments_digest) for call in held.calls})
        told = msgspec.json.encode((held.app, held.session_id, held.revision, meant or held.body_digest))
        with_body = msgspec.json.encode((held.app, held.session_id, held.revision, calls, held.body_digest))
        key = self._secret
        return (
            blake2b(with_body, key=key, person=b"approval-same", digest_size=16).hexdigest(),
            blake2b(told, key=key, person=b"approval-denied", digest_size=16).hexdigest(),
        )

    def _cipher(self, approval_id: str) -> AESGCM:
        return AESGCM(blake2b(approval_id.encode(), key=self._secret, person=b"approval-kept", digest_size=32).digest())

    def _sealed(self, approval_id: str, what: bytes, content: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher(approval_id).encrypt(nonce, content, what)

    def _opened(self, approval_id: str, what: bytes, sealed: bytes) -> bytes:
        try:
            return self._cipher(approval_id).decrypt(sealed[:_NONCE], sealed[_NONCE:], what)
        except (InvalidTag, ValueError) as failure:
            message = "what was kept for this approval cannot be read: ask anew"
            raise Unavailable("store_unavailable", message, detail=type(failure).__name__) from None


def _shard(approval_id: str) -> int | None:
    found = _ID.match(approval_id)
    return int(found[1]) if found else None


def _shard_in(approval_id: str) -> int:
    return int(approval_id[4:6])


def _tag(shard: int) -> str:
    return f"{{s{shard:02d}}}:apr"


def _name(shard: int, approval_id: str) -> str:
    return f"{_tag(shard)}:{approval_id}"


def _open(shard: int) -> str:
    return f"{_tag(shard)}:open"


def _news(shard: int) -> str:
    return f"{_tag(shard)}:news"


def _of_session(shard: int, app: str, session_id: str) -> str:
    return f"{_tag(shard)}:of:{session_id}@{app}"


def _names(shard: int, approval_id: str, app: str, session_id: str, same: str, denied: str) -> list[str]:
    """The keys that every script is given, in this order."""
    name = _name(shard, approval_id)
    return [
        name,
        f"{name}:kept",
        f"{_tag(shard)}:same:{same}",
        f"{_tag(shard)}:denied:{denied}",
        _open(shard),
        _news(shard),
        _of_session(shard, app, session_id),
        keys.session(shard, app, session_id),
    ]


def _fields(row: Sequence[bytes]) -> dict[str, bytes]:
    return {name.decode(): value for name, value in zip(row[::2], row[1::2], strict=True)}


def _history(fields: dict[str, bytes]) -> ApprovalHistory:
    """The stored row with what has become of it since."""
    decided, over, note = fields.get("at"), fields.get("over"), fields.get("note")
    return msgspec.structs.replace(
        msgspec.json.decode(fields["row"], type=ApprovalHistory),
        status=fields["s"].decode(),
        decided=_time(decided) if decided else None,
        decided_by=fields["by"].decode() if decided else None,
        via=fields["via"].decode() if decided else None,
        note=note.decode() if note else None,
        ended=_time(over) if over else None,
    )


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _time(milliseconds: bytes) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
