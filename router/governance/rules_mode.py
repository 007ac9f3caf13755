"""How one person alone stops changing the rules: for good, once the first approver has come in with a token that works once."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from router.governance.people import NewPerson, address, state_of
from router.governance.rules_values import Actor, NotAllowed
from router.principals import SINGLE, Person, Role

LIFETIME = timedelta(hours=24)
FIRST_ROLES = (Role.APPROVER, Role.VIEWER)


class Enrolments(Protocol):
    """Where the token waits, as its SHA-256. Each call is one transaction and one administrative act."""

    def offer(self, sha256: str, expires: datetime, *, actor: str, at: datetime) -> None: ...
    def take(self, sha256: str, *, email: str, at: datetime) -> bool: ...


class People(Protocol):
    """Everybody who may act."""

    def all(self) -> Sequence[Person]: ...
    def add(self, email: str, roles: Sequence[Role], *, actor: str, at: datetime) -> NewPerson: ...


def offer(enrolments: Enrolments, people: People, *, by: Actor, governance: str, at: datetime) -> str:
    """A token with which the first approver comes in, shown this once; one that was offered before works no more.

    Raises NotAllowed where `single` was left already and somebody is there who approves.
    """
    if governance != SINGLE and has_approver(people, at):
        raise NotAllowed("`single` was left, and an approver is here: an admin adds further people")
    if by.person is not None and not by.person.holds(Role.ADMIN):
        raise NotAllowed("to let the first approver in takes the role `admin`")
    token = f"re-{secrets.token_urlsafe(32)}"
    enrolments.offer(_digest(token), at + LIFETIME, actor=by.name, at=at)
    return token


def enrol(enrolments: Enrolments, people: People, token: str, email: str, *, at: datetime) -> NewPerson:
    """Come in as the first approver. From here on two people make a change, and there is no way back.

    Raises NotAllowed where the token is not the one that was offered last, or too old; Refused(`invalid_request`) for a bad address.
    """
    name = address(email)
    if any(person.email == name and person.ended is None for person in people.all()):
        raise NotAllowed(f"`{name}` is here already: the first approver is somebody new")
    if not enrolments.take(_digest(token.strip()), email=name, at=at):
        raise NotAllowed("this token lets nobody in: it was used, replaced, or is older than a day")
    return people.add(name, FIRST_ROLES, actor=name, at=at)


def has_approver(people: People, at: datetime) -> bool:
    """Whether somebody is here who approves."""
    return any(person.holds(Role.APPROVER) and state_of(person, at) == "active" for person in people.all())


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
