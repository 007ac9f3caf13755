"""Names of everything kept in Redis. All keys of a shard share one hash tag, so that one script may touch them in a cluster.

Within a shard: sessions, open reservations, marks of closed requests, the outbox. An owner's month has a tag of its own.
Everything else stands alone. No key holds text that came with a request: ids are hashed or checked before they get here.
"""

from __future__ import annotations

import time
from functools import lru_cache
from hashlib import blake2b

from router.exchange import SHARDS

COOL_DOWNS = "router:cooling"  # sorted set: deployment → epoch seconds until which it rests
ANNOUNCEMENT = "router:announce"  # counter: raised with every change of keys, apps or rules
REVOKED = "router:revoked"  # set of ids of revoked keys
EPOCH = "router:epoch"  # string: says that this is the Redis whose balances we know
DRAINER = "router:drainer"  # string: which drainer may drain
UNDER_WAY = "router:underway"  # set: where the responses that are under way in the background are known

_TAGS = tuple(f"{{s{shard:02d}}}" for shard in range(SHARDS))
OUTBOXES = tuple(f"{tag}:out" for tag in _TAGS)
OPEN = tuple(f"{tag}:open" for tag in _TAGS)


def session(shard: int, app: str, session_id: str) -> str:
    """A session belongs to its app: the same id from another app is another session. Ids cannot contain `@`."""
    return f"{_TAGS[shard]}:sess:{session_id}@{app}"


def calls(shard: int, app: str, session_id: str) -> str:
    """What is remembered of a session's tool calls, by their number in it."""
    return f"{_TAGS[shard]}:calls:{session_id}@{app}"


def reservation(shard: int, request_id: str) -> str:
    return f"{_TAGS[shard]}:res:{request_id}"


def closed(shard: int, request_id: str) -> str:
    return f"{_TAGS[shard]}:done:{request_id}"


def corrected(shard: int, request_id: str) -> str:
    return f"{_TAGS[shard]}:fixed:{request_id}"


def issued(app: str, issued_id: str) -> bytes:
    """Where an id that we issued leads; hashed, since apps send back what they like as an id."""
    return _link(b"i", app, issued_id)


def prefix(app: str, digest: str) -> bytes:
    """Where a conversation prefix leads."""
    return _link(b"p", app, digest)


def waiting(app: str, body_digest: str) -> bytes:
    """Where a body leads for which an approval was asked."""
    return _link(b"w", app, body_digest)


def kept(app: str, response_id: str) -> bytes:
    """What is known of a response that its provider keeps."""
    return _link(b"r", app, response_id)


def following(app: str, response_id: str) -> bytes:
    """Which worker follows a response in the background."""
    return _link(b"f", app, response_id)


def _link(kind: bytes, app: str, name: str) -> bytes:
    return b"link:" + blake2b(f"{app}\0{name}".encode(), digest_size=16, person=kind).digest()


def rotation(app: str, now: float) -> str:
    """Counter of an app's new sessions in this hour."""
    return f"router:new:{int(now // 3600)}:{app}"


def visit(digest: str) -> str:
    """Somebody's visit of the console, by the digest of what their browser holds."""
    return f"router:visit:{digest}"


def visits_era(person: str) -> str:
    """A counter: visits of a person that were begun before it was raised have ended."""
    return f"router:visits:{person}"


def failures(digest: str) -> str:
    """How often signing in under a name has failed lately."""
    return f"router:failures:{digest}"


def once(digest: str) -> str:
    """A code that was used, and is not taken again."""
    return f"router:once:{digest}"


def worker(worker_id: str) -> str:
    return f"router:worker:{worker_id}"


@lru_cache(maxsize=4)
def _month_of_day(day: int) -> str:
    return time.strftime("%Y-%m", time.gmtime(day * 86400))


def month(now: float) -> str:
    """Calendar month (UTC) of an epoch time, as `2026-08`."""
    return _month_of_day(int(now // 86400))


def is_month(period: str) -> bool:
    """Whether an id is that of a calendar month, which is booked from its first request on, limited or not."""
    return len(period) == 7 and period[4] == "-" and period[5] != "Q"


def owner(owner: str, period: str) -> tuple[str, str, str]:
    """An owner's month or other period: balances, open leases by request id, and when each lease expires."""
    tag = f"{{o:{owner}}}:{period}"
    return tag, f"{tag}:leases", f"{tag}:expiry"
