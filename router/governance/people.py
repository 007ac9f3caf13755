"""Who may be added as a person, and who is behind a token. Every surface calls this."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from router.errors import Refused
from router.principals import Person, Role

EMAIL = re.compile(r"[^\s@<>\"',;:()\\]+@[^\s@<>\"',;:()\\]+")
LONGEST_EMAIL = 254


class NewPerson(Protocol):
    """A person as they were added, with the token that is shown this once."""

    @property
    def person(self) -> Person: ...
    @property
    def token(self) -> str: ...


class People(Protocol):
    """Everybody who may act. Each call is one transaction and one administrative act."""

    def add(
        self, email: str, roles: Sequence[Role], *, actor: str, at: datetime, expires: datetime | None = None
    ) -> NewPerson: ...
    def end(self, who: str, *, actor: str, at: datetime) -> Person: ...


def add(
    people: People, email: str, roles: Sequence[str], *, actor: str, at: datetime, expires: datetime | None = None
) -> NewPerson:
    """Add a person. Raises Refused(`invalid_request`) for something that is no e-mail address or no role, for a day that is
    over, and where the person is there already."""
    if expires is not None and expires <= at:
        raise Refused("invalid_request", "the token would have expired already")
    return people.add(address(email), roles_of(roles), actor=actor, at=at, expires=expires)


def end(people: People, who: str, *, actor: str, at: datetime) -> Person:
    """End a person, by e-mail or id: every worker refuses their token within a second. Raises Refused(`not_found`)."""
    return people.end(who.strip().lower(), actor=actor, at=at)


def address(email: str) -> str:
    """The e-mail address in the form in which it is compared. Raises Refused(`invalid_request`)."""
    address = email.strip().lower()
    if len(address) > LONGEST_EMAIL or not EMAIL.fullmatch(address):
        raise Refused("invalid_request", "a person is named by an e-mail address, such as `ann@example.org`")
    return address


def roles_of(names: Sequence[str]) -> tuple[Role, ...]:
    """The roles of these names, at least one. Raises Refused(`invalid_request`)."""
    if not names:
        raise Refused("invalid_request", f"a person has at least one role: {', '.join(Role)}")
    try:
        return tuple(Role(name) for name in names)
    except ValueError:
        raise Refused("invalid_request", f"the roles are {', '.join(Role)}") from None


def state_of(person: Person, now: datetime) -> str:
    """active, expired or ended."""
    if person.ended is not None and person.ended <= now:
        return "ended"
    return "expired" if person.expires is not None and person.expires <= now else "active"
