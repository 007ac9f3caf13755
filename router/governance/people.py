"""Who may be added as a person, by whom, and who must confirm it. Every surface calls this."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from router.errors import Refused
from router.principals import SINGLE, Person, Role

EMAIL = re.compile(r"[^\s@<>\"',;:()\\]+@[^\s@<>\"',;:()\\]+")
LONGEST_EMAIL = 254
ACTIVE, WAITING = "active", "waiting"


class NewPerson(Protocol):
    """A person as they were added, with the token that is shown this once."""

    @property
    def person(self) -> Person: ...
    @property
    def token(self) -> str: ...


class People(Protocol):
    """Everybody who may act. Each call is one transaction and one administrative act."""

    def add(
        self,
        email: str,
        roles: Sequence[Role],
        *,
        actor: str,
        at: datetime,
        expires: datetime | None = None,
        waits: bool = False,
    ) -> NewPerson: ...
    def confirm(self, who: str, *, by: str, at: datetime) -> Person: ...
    def end(self, who: str, *, actor: str, at: datetime) -> Person: ...
    def all(self) -> Sequence[Person]: ...


class Actor(msgspec.Struct, frozen=True):
    """Who acts: a person, or (None) whoever holds the admin key, or the data directory (`local`). `name` is what records say."""

    name: str
    person: Person | None = None
    local: bool = False


FOUNDERS = 2
"""How many admins are there on one person's word, so that there are some who can confirm the others."""


def add(
    people: People,
    email: str,
    roles: Sequence[str],
    *,
    actor: Actor,
    at: datetime,
    governance: str,
    expires: datetime | None = None,
) -> NewPerson:
    """Add a person; under `four_eyes` they wait until another admin confirms them (see `waits`). Raises Refused(`invalid_request`)
    for something that is no e-mail address or no role, for a day that is over, and where the person is there already; `role_required`."""
    if expires is not None and expires <= at:
        raise Refused("invalid_request", "the token would have expired already")
    wanted = roles_of(roles)
    later = governance != SINGLE and waits(people.all(), actor, at)
    return people.add(address(email), wanted, actor=actor.name, at=at, expires=expires, waits=later)


def waits(everybody: Sequence[Person], actor: Actor, at: datetime) -> bool:
    """Whether somebody whom this actor adds under `four_eyes` must be confirmed: always where a person adds them. Whoever is no person
    adds without one until there have been two admins; after that only who holds the data directory, where no two admins are left to act.
    Raises Refused(`role_required`) otherwise."""
    if actor.person is not None:
        return True
    admins = [person for person in everybody if person.holds(Role.ADMIN) and not person.waits]
    left = [person for person in admins if state_of(person, at) == ACTIVE]
    if len(admins) < FOUNDERS or (actor.local and len(left) < FOUNDERS):
        return False
    raise Refused("role_required", "under `four_eyes` an admin adds people and another confirms them: send the token of an admin")


def confirm(people: People, who: str, *, actor: Actor, at: datetime) -> Person:
    """Let in a person who waits. Raises Refused: `not_found`; `role_required` for whoever is no admin, added them, or is them."""
    who = who.strip().lower()
    found = next((one for one in people.all() if who in (one.email, one.id) and state_of(one, at) == WAITING), None)
    if found is None:
        raise Refused("not_found", f"nobody `{who[:100]}` waits to be confirmed")
    person = actor.person
    if person is None or not person.holds(Role.ADMIN):
        raise Refused("role_required", "an admin confirms: send the token of one who did not add them")
    if person.email in (found.added_by, found.email):
        raise Refused("role_required", "you added them, or are them: another admin confirms")
    return people.confirm(found.id, by=person.email, at=at)


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
    """active, waiting (for another admin), expired or ended."""
    if person.ended is not None and person.ended <= now:
        return "ended"
    if person.waits:
        return WAITING
    return "expired" if person.expires is not None and person.expires <= now else ACTIVE
