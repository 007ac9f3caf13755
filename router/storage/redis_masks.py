"""What the placeholders of a session stand for, kept in the session itself, encrypted. Implements `router.ports.Masks`.

The mapping lies in the session's own hash: it is in its shard, lives as long as it does, and goes with its end. Its fields are keyed
digests, its texts AES-GCM under a key derived from the secret and the session, bound to their field: Redis alone tells nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from router.errors import Refused, Unavailable
from router.exchange import shard_of
from router.storage import redis_keys as keys
from router.storage.redis_client import RedisClient, Word, script

FIELD = b"mask:"
MOST_FIELDS = 2_000  # of a session: some twenty of its own, the rest are values and counters
UNUSED_SECONDS = 600  # how long values are kept for a session whose first request is refused
_NONCE = 12
_MASK = script("mask", "mask.lua")


class RedisMasks:
    """Mappings of all sessions. `secret` is the service's secret key."""

    def __init__(self, client: RedisClient, secret: bytes) -> None:
        self._client = client
        self._secret = secret[:64]

    async def assign(self, app: str, session_id: str, values: Sequence[tuple[str, str]]) -> dict[str, str]:
        """See `router.ports.Masks`. One round trip."""
        shard = shard_of(session_id)
        name = keys.session(shard, app, session_id)
        naming, cipher = self._derived(b"mask-name", name), AESGCM(self._derived(b"mask-text", name))
        words: list[Word] = [FIELD, MOST_FIELDS, UNUSED_SECONDS * 1000]
        for label, text in values:
            field = FIELD + _digest(naming, f"text {text}")
            nonce = os.urandom(_NONCE)
            sealed = nonce + cipher.encrypt(nonce, f"{label} {text}".encode(), field)
            words += [field, b"masks:" + _digest(naming, f"kind {label}"), sealed]
        reply = await self._client.run(_MASK, [name], words)
        if reply and reply[0] == b"ended":
            message = f"this session has ended ({reply[1].decode()}); start a new one"
            raise Refused("session_ended", message)
        known = {}
        for field, held in zip(reply[::2], reply[1::2], strict=True):
            number, _, sealed = held.partition(b" ")
            try:
                label, _, text = cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], field).decode().partition(" ")
            except (InvalidTag, ValueError) as failure:
                message = "what this session has masked cannot be read: start a new session"
                raise Unavailable("store_unavailable", message, detail=type(failure).__name__) from None
            known[text] = f"[{label}_{int(number)}]"
        return known

    def _derived(self, purpose: bytes, session: str) -> bytes:
        return blake2b(session.encode(), key=self._secret, person=purpose, digest_size=32).digest()


def _digest(key: bytes, text: str) -> bytes:
    return blake2b(text.encode(), key=key, digest_size=16).digest()
