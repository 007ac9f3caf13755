"""People in SQL: added with a token that is shown once, listed, ended. The token itself is never stored."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Engine, Row, insert, or_, select, update

from router.errors import Refused
from router.principals import Person, Role
from router.storage.sql.administration import administering
from router.storage.sql.directory import PREFIX_LENGTH, SECRET_BYTES, base58, digest
from router.storage.sql.engine import reading
from router.storage.sql.tables import people

LONGEST_NAME = 254


class NewPerson(msgspec.Struct, frozen=True):
    """A person as they were added, with the token, which can be shown this once."""

    person: Person
    token: str


class SqlPeople:
    """The people of a SQL store. Every change is an administrative act. SQL down: sqlalchemy.exc.DBAPIError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(
        self,
        email: str,
        roles: Sequence[Role],
        *,
        actor: str,
        at: datetime,
        expires: datetime | None = None,
        waits: bool = False,
    ) -> NewPerson:
        """Add a person and make their token, of use at once unless they are to wait for another admin. Raises Refused(`invalid_request`)
        where they are there already."""
        with administering(self._engine, actor, at) as administration:
            if administration.connection.execute(_usable(email)).first() is not None:
                raise Refused(
                    "invalid_request",
                    f"`{email}` is there already: `router people end` first, to give them another token or role",
                )
            token = f"rp-{base58(secrets.token_bytes(SECRET_BYTES))}"
            person = Person(
                id=f"person_{secrets.token_hex(8)}",
                email=email,
                roles=tuple(dict.fromkeys(roles)),
                prefix=token[:PREFIX_LENGTH],
                sha256=digest(token),
                created=at,
                expires=expires,
                added_by=actor[:LONGEST_NAME],
                waits=waits,
            )
            values = msgspec.structs.asdict(person) | {"roles": [role.value for role in person.roles]}
            administration.connection.execute(insert(people).values(**values))
            administration.note("person.added", f"person:{person.id}", stored_state(person))
            return NewPerson(person, token)

    def confirm(self, who: str, *, by: str, at: datetime) -> Person:
        """Let a person who waits in, by e-mail or id. Raises Refused(`not_found`) where nobody of that name waits."""
        with administering(self._engine, by, at) as administration:
            row = administration.connection.execute(_usable(who).where(people.c.waits)).first()
            if row is None:
                raise Refused("not_found", f"nobody `{who[:100]}` waits to be confirmed")
            person = msgspec.structs.replace(person_of(row), waits=False, confirmed_by=by)
            changed = update(people).where(people.c.id == person.id).values(waits=False, confirmed_by=by)
            administration.connection.execute(changed)
            administration.note("person.confirmed", f"person:{person.id}", stored_state(person))
            return person

    def end(self, who: str, *, actor: str, at: datetime) -> Person:
        """End a person, by e-mail or id, at once. Raises Refused(`not_found`)."""
        with administering(self._engine, actor, at) as administration:
            row = administration.connection.execute(_usable(who)).first()
            if row is None:
                raise Refused("not_found", f"there is nobody `{who[:100]}`: `router people list` names everybody")
            person = msgspec.structs.replace(person_of(row), ended=at)
            administration.connection.execute(update(people).where(people.c.id == person.id).values(ended=at))
            administration.note("person.ended", f"person:{person.id}", stored_state(person))
            return person

    def all(self) -> list[Person]:
        """Everybody there ever was, oldest first."""
        with reading(self._engine) as connection:
            return [person_of(row) for row in connection.execute(select(people).order_by(people.c.created, people.c.id))]


def _usable(who: str) -> Any:
    return select(people).where(people.c.ended.is_(None), or_(people.c.email == who, people.c.id == who))


def load_people(engine: Engine) -> dict[str, Person]:
    """Everybody by the SHA-256 of their token, those who were ended included: what a worker takes its snapshot from."""
    return {person.sha256: person for person in SqlPeople(engine).all()}


def stored_state(person: Person) -> dict[str, Any]:
    """A person as plain JSON values, as the audit chain holds them: of those added before people were confirmed it holds no more."""
    state: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(person))
    return {name: value for name, value in state.items() if value or name not in ("added_by", "waits", "confirmed_by")}


def person_of(row: Row[Any]) -> Person:
    """The person in a row of the table."""
    return msgspec.convert({str(name): value for name, value in row._asdict().items()}, Person)
