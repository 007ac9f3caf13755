"""What only a provider can read: thoughts, search results and code that it encrypted for itself, known again by a digest.

An app hands them back in later turns. What it was given by us came out of a session, so it is no more than that session holds, and leads
back to it; what comes from elsewhere may be anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from router.exchange import JsonObject
from router.ports import Sessions

_MARKS = (b"encrypted_", b"redacted_thinking")
NONE: frozenset[str] = frozenset()


def seal_of(data: str) -> str:
    """The id by which something encrypted is known again."""
    return f"sealed_{blake2b(data.encode('utf-8', 'surrogatepass'), digest_size=20).hexdigest()}"


def seals(value: Any) -> Iterator[str]:
    """The ids of all that is encrypted in items or blocks."""
    if type(value) is list:
        for held in value:
            yield from seals(held)
    elif type(value) is dict:
        for name, held in value.items():
            if type(held) is str:
                if held and (name.startswith("encrypted_") or (name == "data" and value.get("type") == "redacted_thinking")):
                    yield seal_of(held)
            else:
                yield from seals(held)


async def own_seals(sessions: Sessions, app: str, raw: bytes, body: JsonObject) -> frozenset[str]:
    """Of all that is encrypted in a request, what this app was given by us. Raises Unavailable where that cannot be asked."""
    if not any(mark in raw for mark in _MARKS):
        return NONE
    found = tuple(dict.fromkeys(seals(body)))
    return frozenset(found) - (await sessions.link(app, found, ())).unknown if found else NONE
