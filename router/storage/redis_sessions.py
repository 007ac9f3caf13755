"""Sessions in Redis: which one a request belongs to, what it carries, how it ends. Implements `router.ports.Sessions`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from router.exchange import Asked, SessionState, shard_of
from router.ports import NO_LABELS, Linked
from router.storage import redis_keys as keys
from router.storage.redis_client import RedisClient, Reply, script
from routing_rules.facts import Labels
from routing_rules.vocabulary import Complexity, Integrity, Sensitivity, TaskKind

SESSION_SECONDS = 2 * 86400  # kept after the last request; longer than any link, so that no link leads to forgotten labels
LINK_SECONDS = 24 * 3600  # how long an answer's ids and prefix lead back, counted anew with each answer
END_SECONDS = 30 * 86400  # how long an ended session stays refused
SESSIONS_PER_PREFIX = 4  # beyond, a prefix keeps only the labels of the further sessions that hold it

_INTEGRITIES = tuple(Integrity)
_SENSITIVITIES = tuple(Sensitivity)
_FIELDS = ("i", "c", "v", "spent", "held", "n", "created", "last", "ended", "f", "ask")
_REMEMBER = script("remember", "remember.lua")
_END = script("end", "masks.lua", "end.lua")


class RedisSessions:
    """Sessions of all apps. Every method is one round trip unless it says otherwise; Redis down: Unavailable."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def link(self, app: str, issued: Sequence[str], prefixes: Sequence[str]) -> Linked:
        """The session behind the issued ids, else behind the last known prefix. No ids and no prefixes: no round trip.

        `pinned` is the deployment that issued the first known id, in the order given. One session too many behind the ids, or
        behind one prefix, makes a new session with the maximum of their labels, which costs a second round trip.
        """
        if not issued and not prefixes:
            return Linked(None, NO_LABELS)
        names = [keys.issued(app, one) for one in issued] + [keys.prefix(app, one) for one in prefixes]
        if self._client.cluster:
            found = await self._client.many([("GET", name) for name in names])
        else:
            found = await self._client.call("MGET", *names)
        by_id = [value.decode().split(" ", 1) for value in found[: len(issued)] if value is not None]
        pinned = by_id[0][1] if by_id else None
        sessions = list(dict.fromkeys(session for session, _ in by_id))
        floor, forwarded = NO_LABELS, Sensitivity.PUBLIC
        if not sessions:
            held_by = next((value for value in reversed(found[len(issued) :]) if value is not None), None)
            if held_by is None:
                return Linked(None, NO_LABELS)
            integrity, levels, *sessions = held_by.decode().split(" ")
            confidentiality, _, left = levels.partition("/")
            floor, forwarded = _labels(integrity, confidentiality), _level(left or confidentiality)
        if len(sessions) == 1:
            return Linked(sessions[0], NO_LABELS, pinned)
        named = [session for session in sessions if session != "*"]
        for i, c, f in await self._client.many([("HMGET", self._key(app, session), "i", "c", "f") for session in named]):
            floor, forwarded = floor.join(_labels(i, c)), max(forwarded, _level(f or c))
        return Linked(None, floor, pinned, None if forwarded is floor.confidentiality else forwarded)

    async def open(self, session_id: str, app: str, deployments: Sequence[str]) -> SessionState:
        """What the session holds now, and which of `deployments` rest. Creates nothing."""
        stored, resting = await self._client.many(
            [
                ("HMGET", self._key(app, session_id), *_FIELDS),
                ("ZRANGEBYSCORE", keys.COOL_DOWNS, str(time.time()), "+inf"),
            ]
        )
        integrity, confidentiality, version, spent, held, requests, created, last, ended, forwarded, ask = stored
        return SessionState(
            id=session_id,
            shard=shard_of(session_id),
            new=created is None,
            labels=_labels(integrity, confidentiality),
            label_version=int(version or 0),
            forwarded=_level(forwarded or confidentiality),
            spent_nano=int(spent or 0),
            held_nano=int(held or 0),
            requests=int(requests or 0),
            created=int(created or 0) / 1000,
            last_seen=int(last or 0) / 1000,
            ended=None if ended is None else ended.decode(),
            unavailable=frozenset({name.decode() for name in resting}.intersection(deployments)) if resting else frozenset(),
            asked=None if ask is None else _asked(ask),
        )

    async def remember(
        self,
        app: str,
        session_id: str,
        issued: Sequence[str],
        prefixes: Sequence[str],
        deployment: str,
        labels: Labels = NO_LABELS,
        forwarded: Sensitivity | None = None,
    ) -> None:
        """Make ids that we issued and prefix HMACs lead back to this session; see `router.ports.Sessions`."""
        by_id = [keys.issued(app, one) for one in issued]
        by_prefix = [keys.prefix(app, one) for one in prefixes]
        if not by_id and not by_prefix:
            return
        left = (forwarded or labels.confidentiality).rank
        rest = (session_id, labels.integrity.rank, labels.confidentiality.rank, SESSIONS_PER_PREFIX, LINK_SECONDS, left)
        target = f"{session_id} {deployment}"
        if self._client.cluster:
            await asyncio.gather(
                *(self._client.run(_REMEMBER, [key], (1, target, *rest)) for key in by_id),
                *(self._client.run(_REMEMBER, [key], (0, target, *rest)) for key in by_prefix),
            )
        else:
            await self._client.run(_REMEMBER, by_id + by_prefix, (len(by_id), target, *rest))

    async def cool_down(self, deployment: str, seconds: float) -> None:
        """Let no replica use a deployment for `seconds`; a longer rest already ordered stays."""
        now = time.time()
        await self._client.many(
            [
                ("ZREMRANGEBYSCORE", keys.COOL_DOWNS, "-inf", str(now)),
                ("ZADD", keys.COOL_DOWNS, "GT", str(now + seconds), deployment),
            ]
        )

    async def end(self, session_id: str, reason: str, app: str | None = None) -> bool:
        """End a session everywhere. Without `app`, whichever app's session has this id: that looks through all of Redis."""
        shard = shard_of(session_id)
        if app is not None:
            found = [keys.session(shard, app, session_id)]
        else:
            found = await self._client.scan(keys.session(shard, "*", session_id))
        ended = [await self._client.run(_END, [name], (reason, END_SECONDS * 1000)) for name in found]
        return any(ended)

    @staticmethod
    def _key(app: str, session_id: str) -> str:
        return keys.session(shard_of(session_id), app, session_id)


def _labels(integrity: Reply, confidentiality: Reply) -> Labels:
    return Labels(_INTEGRITIES[int(integrity or 0)], _level(confidentiality))


def _level(rank: Reply) -> Sensitivity:
    return _SENSITIVITIES[int(rank or 0)]


def _asked(ask: Reply) -> Asked | None:
    """None for words of another version, which costs nothing but steadiness."""
    band, _, kind = ask.decode().partition(" ")
    try:
        return Asked(Complexity(band), TaskKind(kind))
    except ValueError:
        return None
