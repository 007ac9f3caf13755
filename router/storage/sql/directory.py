"""App keys in SQL: made, rotated, revoked, and read as one snapshot; the secret itself is never stored."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Engine, Row, insert, select, update

from router.principals import Key
from router.storage.sql.administration import Administration, administering
from router.storage.sql.engine import reading
from router.storage.sql.tables import keys
from routing_rules.vocabulary import Sensitivity

SECRET_BYTES = 32
PREFIX_LENGTH = 9  # `rk-` and six characters

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"  # no two that look alike


class NewKey(msgspec.Struct, frozen=True):
    """A key as it was made, with the secret, which can be shown this once."""

    key: Key
    secret: str


class NoSuchKey(Exception):
    """No key has this id, or the one that has it no longer works."""


def digest(secret: str) -> str:
    """The SHA-256 (hex) under which a key is known."""
    return hashlib.sha256(secret.encode()).hexdigest()


class SqlKeys:
    """The keys of a SQL store. Every change is an administrative act. SQL down: sqlalchemy.exc.DBAPIError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(
        self,
        app: str,
        *,
        actor: str,
        at: datetime,
        expires: datetime | None = None,
        clearance: Sensitivity | None = None,
        ceiling: str | None = None,
        purposes: Sequence[str] = (),
        admin: bool = False,
    ) -> NewKey:
        """Make a key for an app. What is given narrows the app."""
        with administering(self._engine, actor, at) as administration:
            return _add(
                administration, Key("", "", "", app, at, expires, None, clearance, ceiling, tuple(purposes), admin), "key.created"
            )

    def rotate(self, key_id: str, *, actor: str, at: datetime, grace: timedelta) -> NewKey:
        """Make a successor that may do the same; the old key works for `grace` longer, but not beyond its own expiry.

        Raises NoSuchKey, also for a key that is revoked or expired.
        """
        with administering(self._engine, actor, at) as administration:
            old = _usable(administration, key_id)
            lifetime = None if old.expires is None else at + (old.expires - old.created)
            new = _add(administration, msgspec.structs.replace(old, created=at, expires=lifetime), "key.created")
            end = at + grace if old.expires is None else min(at + grace, old.expires)
            _change(administration, msgspec.structs.replace(old, expires=end), "key.rotated")
            return new

    def revoke(self, key_id: str, *, actor: str, at: datetime) -> Key:
        """End a key at once. Raises NoSuchKey, also for a key that is revoked or expired."""
        with administering(self._engine, actor, at) as administration:
            revoked = msgspec.structs.replace(_usable(administration, key_id), revoked=at)
            _change(administration, revoked, "key.revoked")
            return revoked

    def all(self) -> list[Key]:
        """Every key there ever was, oldest first."""
        with reading(self._engine) as connection:
            return [key_of(row) for row in connection.execute(select(keys).order_by(keys.c.created, keys.c.id))]


def load_keys(engine: Engine) -> dict[str, Key]:
    """Every key by its SHA-256, revoked ones included: what a worker takes its snapshot from."""
    return {key.sha256: key for key in SqlKeys(engine).all()}


def _add(administration: Administration, template: Key, act: str) -> NewKey:
    secret = f"rk-{base58(secrets.token_bytes(SECRET_BYTES))}"
    key = msgspec.structs.replace(
        template, id=f"key_{secrets.token_hex(8)}", prefix=secret[:PREFIX_LENGTH], sha256=digest(secret), revoked=None
    )
    administration.connection.execute(insert(keys).values(**_columns(key)))
    administration.note(act, f"key:{key.id}", stored_state(key))
    return NewKey(key, secret)


def _change(administration: Administration, key: Key, act: str) -> None:
    administration.connection.execute(update(keys).where(keys.c.id == key.id).values(expires=key.expires, revoked=key.revoked))
    administration.note(act, f"key:{key.id}", stored_state(key))


def _usable(administration: Administration, key_id: str) -> Key:
    row = administration.connection.execute(select(keys).where(keys.c.id == key_id)).one_or_none()
    key = None if row is None else key_of(row)
    if key is None or key.revoked is not None or (key.expires is not None and key.expires <= administration.at):
        raise NoSuchKey(f"no key `{key_id}` is in use")
    return key


def stored_state(key: Key) -> dict[str, Any]:
    """A key as plain JSON values, as the audit chain holds it."""
    state: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(key))
    return state


def _columns(key: Key) -> dict[str, Any]:
    return msgspec.structs.asdict(key) | {
        "clearance": None if key.clearance is None else key.clearance.value,
        "purposes": list(key.purposes),
    }


def key_of(row: Row[Any]) -> Key:
    """The key in a row of the table."""
    # SQLAlchemy names columns with a str of its own kind, which msgspec does not take for a field's name.
    return msgspec.convert({str(name): value for name, value in row._asdict().items()}, Key)


def base58(data: bytes) -> str:
    """The bytes in letters and digits of which no two look alike."""
    number = int.from_bytes(data)
    digits = []
    while number:
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
