"""Sessions in Redis: which one a request belongs to, what it carries, how it ends. Implements `router.ports.Sessions`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec

from router.errors import Refused
from router.exchange import Asked, CallState, IssuedCall, Release, SessionState, shard_of
from router.ports import NO_LABELS, Linked
from router.storage import redis_keys as keys
from router.storage.redis_client import RedisClient, Reply, Word, script
from routing_rules.facts import Labels
from routing_rules.loops import MOST_CALLS
from routing_rules.vocabulary import Capability, Complexity, Integrity, Sensitivity, TaskKind

SESSION_SECONDS = 2 * 86400  # kept after the last request; longer than any link, so that no link leads to forgotten labels
LINK_SECONDS = 24 * 3600  # how long an answer's ids and prefix lead back, counted anew with each answer
END_SECONDS = 30 * 86400  # how long an ended session stays refused
AT_ONCE = 512  # keys that Redis is asked for in one command, so that a long history does not hold up all others
SESSIONS_PER_PREFIX = 4  # beyond, a prefix keeps only the labels of the further sessions that hold it

_INTEGRITIES = tuple(Integrity)
_SENSITIVITIES = tuple(Sensitivity)
_FIELDS = ("i", "c", "v", "spent", "held", "n", "created", "last", "ended", "f", "ask", "in", "out", "reasoning")
_CALL_FIELDS = ("u", "ut", "nc", "dr")
_FIELDS_AND_CALLS = (*_FIELDS, *_CALL_FIELDS)
_PLACES = {capability: place for place, capability in enumerate(Capability)}  # as bits: a new capability goes to the end
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(IssuedCall)
_RELEASE = script("release", "release.lua")
_REMEMBER = script("remember", "remember.lua")
_END = script("end", "masks.lua", "end.lua")


class RedisSessions:
    """Sessions of all apps. Every method is one round trip unless it says otherwise; Redis down: Unavailable."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def link(self, app: str, issued: Sequence[str], prefixes: Sequence[str], said: Sequence[str] = ()) -> Linked:
        """The session behind the issued ids, else behind the last known prefix. Nothing to look up: no round trip.

        `pinned` is the deployment that issued the first known id, in the order given. One session too many behind the ids, or
        behind one prefix, makes a new session with the maximum of their labels, which costs a second round trip.
        """
        if not issued and not prefixes and not said:
            return Linked(None, NO_LABELS)
        names = [keys.issued(app, one) for one in issued]
        names += [keys.prefix(app, one) for one in prefixes] + [keys.prefix(app, one) for one in said]
        if self._client.cluster:
            found = await self._client.many([("GET", name) for name in names])
        elif len(names) <= AT_ONCE:
            found = await self._client.call("MGET", *names)
        else:
            parts = [names[start : start + AT_ONCE] for start in range(0, len(names), AT_ONCE)]
            found = [value for part in await self._client.many([("MGET", *part) for part in parts]) for value in part]
        by_id = [value.decode().split(" ", 1) for value in found[: len(issued)] if value is not None]
        pinned = by_id[0][1] if by_id else None
        sessions = list(dict.fromkeys(session for session, _ in by_id))
        unknown = frozenset(one for one, value in zip(issued, found, strict=False) if value is None)
        # What each known turn carried, whichever session it belongs to now.
        floor, forwarded = NO_LABELS, Sensitivity.PUBLIC
        held_by: list[str] = []
        followed = False
        for place, value in enumerate(found[len(issued) :]):
            if value is not None:
                integrity, levels, *held = value.decode().split(" ")
                confidentiality, _, left = levels.partition("/")
                floor, forwarded = (
                    floor.join(_labels(integrity, confidentiality)),
                    max(forwarded, _level(left or confidentiality)),
                )
                if place < len(prefixes):
                    held_by, followed = held, True
        exact = bool(sessions)
        sessions = sessions or held_by
        if len(sessions) > 1:
            named = [session for session in sessions if session != "*"]
            for i, c, f in await self._client.many([("HMGET", self._key(app, session), "i", "c", "f") for session in named]):
                floor, forwarded = floor.join(_labels(i, c)), max(forwarded, _level(f or c))
        left_us = None if forwarded is floor.confidentiality else forwarded
        return Linked(sessions[0] if len(sessions) == 1 else None, floor, pinned, left_us, unknown, exact, followed)

    async def open(
        self, session_id: str, app: str, deployments: Sequence[str], *, calls: bool = False, body_digest: str | None = None
    ) -> SessionState:
        """What the session holds now, and which of `deployments` rest. Creates nothing."""
        shard = shard_of(session_id)
        name = keys.session(shard, app, session_id)
        commands: list[tuple[Word, ...]] = [
            ("HMGET", name, *(_FIELDS_AND_CALLS if calls else _FIELDS)),
            ("ZRANGEBYSCORE", keys.COOL_DOWNS, str(time.time()), "+inf"),
        ]
        if calls:
            commands.append(("HGETALL", keys.calls(shard, app, session_id)))
        if body_digest is not None:
            commands.append(("GET", keys.waiting(app, body_digest)))
        stored, resting, *more = await self._client.many(commands)
        integrity, confidentiality, version, spent, held, requests, created, last, ended, forwarded, ask, *rest = stored
        taken, spoken, thought, *used = rest
        labels = _labels(integrity, confidentiality)
        waiting = more[-1] if body_digest is not None else None
        return SessionState(
            id=session_id,
            shard=shard,
            new=created is None,
            labels=labels,
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
            calls=_call_state(labels, used, more[0]) if calls else None,
            waiting=None if waiting is None else waiting.decode(),
            input_tokens=int(taken or 0),
            output_tokens=int(spoken or 0),
            reasoning_tokens=int(thought or 0),
        )

    async def release(self, release: Release) -> CallState | None:
        """Let tool calls through; see `router.ports.Sessions`. A second round trip where the session had changed."""
        r = release
        shard = shard_of(r.session_id)
        names = [keys.session(shard, r.app, r.session_id), keys.calls(shard, r.app, r.session_id)]
        words: list[Word] = [
            *_call_words(r.before.labels, r.before.used, r.before.used_tools),
            *_call_words(r.labels, r.used, r.used_tools),
            -1 if r.most_calls is None else r.most_calls,
            SESSION_SECONDS * 1000,
            MOST_CALLS,
            round(r.drift * 1000),
            len(r.answered),
        ]
        for number, call in r.answered:
            words += [number, _ENCODER.encode(call)]
        words += [_ENCODER.encode(call) for call in r.issued]
        reply = await self._client.run(_RELEASE, names, words)
        match reply:
            case [b"released"]:
                return None
            case [b"ended", bytes(reason)]:
                raise Refused("session_ended", f"the session was ended ({reason.decode()}): start a new session")
            case [b"calls", limit, used]:
                why = f"the session's budget of {limit} tool calls does not suffice: {used} are used; start a new session"
                raise Refused("session_budget_exceeded", why)
        stored, known = await self._client.many([("HMGET", names[0], "i", "c", *_CALL_FIELDS), ("HGETALL", names[1])])
        return _call_state(_labels(stored[0], stored[1]), stored[2:], known)

    async def count_calls(self, app: str, session_id: str, ran: int) -> None:
        """Count calls that have run; see `router.ports.Sessions`."""
        await self._client.call("HINCRBY", self._key(app, session_id), "nc", ran)

    async def wait_for(self, app: str, body_digest: str, approval_id: str, seconds: float) -> None:
        """Let the same body lead to an approval; see `router.ports.Sessions`."""
        await self._client.call("SET", keys.waiting(app, body_digest), approval_id, "EX", max(1, int(seconds)))

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


def _call_words(labels: Labels, used: frozenset[Capability], tools: frozenset[str]) -> tuple[Word, ...]:
    mask = sum(1 << _PLACES[capability] for capability in used)
    return labels.integrity.rank, labels.confidentiality.rank, mask, " ".join(sorted(tools))


def _call_state(labels: Labels, stored: Sequence[Reply], known: Reply) -> CallState:
    used, tools, count, drift = stored
    mask = int(used or 0)
    latest = {int(number): _DECODER.decode(call) for number, call in zip(known[::2], known[1::2], strict=True)}
    return CallState(
        labels=labels,
        used=frozenset(capability for capability, place in _PLACES.items() if mask >> place & 1),
        used_tools=frozenset((tools or b"").decode().split()),
        count=int(count or 0),
        calls=dict(sorted(latest.items())),
        drift=int(drift or 0) / 1000,
    )


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
