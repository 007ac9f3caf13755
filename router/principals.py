"""Who is calling: an app by its key, or a person by a token."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from routing_rules.vocabulary import Sensitivity

SINGLE = "single"
"""The way of governance in which one person may do both steps of a change."""


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


class Role(StrEnum):
    """What a person may do; one person may hold several."""

    VIEWER = "viewer"  # looks at sessions and at what was asked and decided
    EDITOR = "editor"  # proposes changes of the rules
    APPROVER = "approver"  # decides on what waits for a person
    FINANCE = "finance"  # reads what was spent
    TOOL_OWNER = "tool-owner"  # decides on calls of their own tools
    ADMIN = "admin"  # adds and ends people


class Person(msgspec.Struct, frozen=True):
    """Somebody who signs in with a token: never the token itself, only its SHA-256 and its visible prefix.

    `expires` and `ended` are UTC. The e-mail is in lower case; of one e-mail there is one person at a time. `waits`: an admin other than
    who added them (`added_by`) has yet to confirm them; until then they may nothing.
    """

    id: str
    email: str
    roles: tuple[Role, ...]
    prefix: str
    sha256: str
    created: datetime
    expires: datetime | None = None
    ended: datetime | None = None
    added_by: str = ""
    waits: bool = False
    confirmed_by: str = ""

    def holds(self, *roles: Role) -> bool:
        """Whether the person has one of these roles."""
        return any(role in self.roles for role in roles)


class Visit(msgspec.Struct, frozen=True):
    """One browser, from signing in to signing out. `step` says how far it got: `code` (a second factor is asked for), `password` (a new one
    must be chosen), `enrol` (a second factor must be set up), or `in`. `form` is what each of its forms must bring back; `begun` is in
    epoch seconds; `way` is how they signed in: `password` or `oidc`."""

    person: str
    email: str
    step: str
    form: str
    begun: float
    era: int
    way: str = "password"
