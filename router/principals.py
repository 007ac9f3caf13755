"""Who is calling: a key, the app it belongs to, and what both together allow."""

from __future__ import annotations

from datetime import datetime

import msgspec

from routing_rules.vocabulary import Sensitivity


class Key(msgspec.Struct, frozen=True):
    """An app key as stored: never the secret, only its SHA-256 and its visible prefix. It may only narrow its app.

    `expires` and `revoked` are UTC. A rotated key stays valid until `expires` (the grace).
    """

    id: str
    prefix: str
    sha256: str
    app: str
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None
    clearance: Sensitivity | None = None
    ceiling: str | None = None
    purposes: tuple[str, ...] = ()
    admin: bool = False
