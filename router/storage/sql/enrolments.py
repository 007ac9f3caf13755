"""The token with which the first approver comes in, as its SHA-256, and the act by which `single` is left for good."""

from __future__ import annotations

import hmac
from datetime import datetime

from sqlalchemy import Engine, delete, insert, select

from router.storage.sql.administration import administering
from router.storage.sql.rules import LEFT_SINGLE
from router.storage.sql.tables import store_facts

_NAME = "enrolment"


class SqlEnrolments:
    """SQL down: sqlalchemy.exc.DBAPIError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def offer(self, sha256: str, expires: datetime, *, actor: str, at: datetime) -> None:
        """Keep a token in place of any other."""
        with administering(self._engine, actor, at) as administration:
            administration.connection.execute(delete(store_facts).where(store_facts.c.name == _NAME))
            administration.connection.execute(insert(store_facts).values(name=_NAME, value=f"{sha256} {expires.isoformat()}"))
            administration.note("governance.enrolment_offered", "store", {"expires": expires.isoformat()})

    def take(self, sha256: str, *, email: str, at: datetime) -> bool:
        """Use the token, once, and leave `single`. False where it is another, or too old."""
        with administering(self._engine, email, at) as administration:
            kept = administration.connection.scalar(select(store_facts.c.value).where(store_facts.c.name == _NAME))
            digest, _, expires = (kept or "").partition(" ")
            if not expires or not hmac.compare_digest(digest, sha256) or datetime.fromisoformat(expires) <= at:
                return False
            administration.connection.execute(delete(store_facts).where(store_facts.c.name == _NAME))
            administration.note(LEFT_SINGLE, "store", {"approver": email})
            return True
