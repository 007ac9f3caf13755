"""How people sign in to the console, in SQL: the hash of a password, the sealed secret of a second factor, hashes of recovery codes."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b, sha256
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Engine, Row, insert, select, update

from router.errors import Unavailable
from router.storage.sql.administration import Administration, administering
from router.storage.sql.engine import reading
from router.storage.sql.tables import accounts

_NONCE = 12


class Account(msgspec.Struct, frozen=True):
    """How one person signs in. `secret` is of the second factor, in base 32; None: there is none. `recovery` are hashes of codes that
    stand in for it, each once."""

    person: str
    password: str
    changed: datetime
    secret: str | None = None
    secret_since: datetime | None = None
    recovery: tuple[str, ...] = ()


class SqlAccounts:
    """The accounts of a SQL store. Every change is an administrative act. `secret` is the service's secret key; with another one, the
    second factors cannot be read (Unavailable), and nobody who has one gets in. SQL down: sqlalchemy.exc.DBAPIError."""

    def __init__(self, engine: Engine, secret: bytes) -> None:
        self._engine = engine
        self._cipher = AESGCM(blake2b(b"accounts", key=secret[:64], person=b"second-factor", digest_size=32).digest())

    def get(self, person: str) -> Account | None:
        """The account of the person with this id; None before they have chosen a password."""
        with reading(self._engine) as connection:
            row = connection.execute(select(accounts).where(accounts.c.person == person)).one_or_none()
        if row is None:
            return None
        return self._opened(row)

    def set_password(self, person: str, password: str, *, actor: str, at: datetime) -> None:
        """Keep the hash of a new password; the second factor stays as it is."""
        with administering(self._engine, actor, at) as administration:
            there = administration.connection.execute(select(accounts.c.person).where(accounts.c.person == person)).first()
            if there is None:
                values = {"person": person, "password": password, "changed": at, "recovery": []}
                administration.connection.execute(insert(accounts).values(**values))
            else:
                changed = update(accounts).where(accounts.c.person == person).values(password=password, changed=at)
                administration.connection.execute(changed)
            _note(administration, person, "account.password")

    def set_second_factor(self, person: str, secret: str | None, recovery: Sequence[str], *, actor: str, at: datetime) -> None:
        """Keep the secret of a second factor with the hashes of its recovery codes, or (None) do without one."""
        sealed = None if secret is None else self._sealed(person, secret)
        with administering(self._engine, actor, at) as administration:
            since = None if secret is None else at
            changed = update(accounts).where(accounts.c.person == person)
            administration.connection.execute(changed.values(secret=sealed, secret_since=since, recovery=list(recovery)))
            _note(administration, person, "account.second_factor" if secret else "account.second_factor_off")

    def use_recovery(self, person: str, code: str, *, actor: str, at: datetime) -> bool:
        """Take the recovery code with this hash out, once; whether it was there."""
        with administering(self._engine, actor, at) as administration:
            row = administration.connection.execute(select(accounts.c.recovery).where(accounts.c.person == person)).first()
            left = list(row.recovery) if row is not None else []
            if code not in left:
                return False
            left.remove(code)
            administration.connection.execute(update(accounts).where(accounts.c.person == person).values(recovery=left))
            _note(administration, person, "account.recovery_used")
            return True

    def _sealed(self, person: str, secret: str) -> str:
        nonce = os.urandom(_NONCE)
        return b64encode(nonce + self._cipher.encrypt(nonce, secret.encode(), person.encode())).decode()

    def _opened(self, row: Row[Any]) -> Account:
        secret = None
        if row.secret is not None:
            raw = b64decode(row.secret)
            try:
                secret = self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], row.person.encode()).decode()
            except InvalidTag:
                message = "second factors cannot be read: they were made under another secret key"
                raise Unavailable("store_unavailable", message) from None
        return Account(row.person, row.password, row.changed, secret, row.secret_since, tuple(row.recovery))


def stored_state(row: Row[Any]) -> dict[str, Any]:
    """An account as the audit chain holds it: digests, never what they are of."""
    return {
        "person": row.person,
        "changed": row.changed.isoformat(),
        "password_sha256": sha256(row.password.encode()).hexdigest(),
        "secret_sha256": None if row.secret is None else sha256(row.secret.encode()).hexdigest(),
        "secret_since": None if row.secret_since is None else row.secret_since.isoformat(),
        "recovery_sha256": sha256("\n".join(row.recovery).encode()).hexdigest(),
    }


def _note(administration: Administration, person: str, act: str) -> None:
    row = administration.connection.execute(select(accounts).where(accounts.c.person == person)).one()
    administration.note(act, f"account:{person}", stored_state(row))
