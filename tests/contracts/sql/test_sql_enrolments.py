"""The first approver comes in with a token that works once, and from then on nobody changes the rules alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from router.governance.rules_mode import LIFETIME, enrol, has_approver, offer
from router.governance.rules_values import Actor, NotAllowed
from router.principals import Person, Role
from router.storage.sql.enrolments import SqlEnrolments
from router.storage.sql.people import SqlPeople
from router.storage.sql.rules import RuleStore

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
OPERATOR = Actor("root")
SINGLE, FOUR_EYES = "single", "four_eyes"


def offered(store: Engine, mode: str = SINGLE, by: Actor = OPERATOR) -> str:
    return offer(SqlEnrolments(store), SqlPeople(store), by=by, governance=mode, at=NOON)


def coming_in(store: Engine, token: str, email: str = "eve@example.org", after: timedelta = timedelta()) -> Person:
    return enrol(SqlEnrolments(store), SqlPeople(store), token, email, at=NOON + after).person


def test_the_first_approver_comes_in_and_there_is_no_way_back(store: Engine) -> None:
    rules = RuleStore(store)
    token = offered(store)
    assert rules.mode(SINGLE) == SINGLE
    person = coming_in(store, token)
    assert person.holds(Role.APPROVER)
    assert has_approver(SqlPeople(store), NOON)
    assert rules.mode(SINGLE) == FOUR_EYES
    SqlPeople(store).end(person.email, actor="root", at=NOON)
    assert rules.mode(SINGLE) == FOUR_EYES


def test_a_token_works_once_for_a_day_and_only_the_last_one(store: Engine) -> None:
    first, second = offered(store), offered(store)
    for token, after in ((first, timedelta()), ("re-nothing", timedelta()), ("", timedelta()), (second, LIFETIME)):
        with pytest.raises(NotAllowed, match="lets nobody in"):
            coming_in(store, token, after=after)
    coming_in(store, second)
    with pytest.raises(NotAllowed, match="lets nobody in"):
        coming_in(store, second, "mallory@example.org")
    assert [person.email for person in SqlPeople(store).all()] == ["eve@example.org"]


def test_who_is_here_already_does_not_become_the_second_person(store: Engine) -> None:
    SqlPeople(store).add("ann@example.org", [Role.EDITOR], actor="root", at=NOON)
    with pytest.raises(NotAllowed, match="somebody new"):
        coming_in(store, offered(store), "Ann@example.org")


def test_none_is_offered_where_somebody_approves_and_single_was_left(store: Engine) -> None:
    coming_in(store, offered(store))
    with pytest.raises(NotAllowed, match="an approver is here"):
        offered(store, FOUR_EYES)
    editor = Person("p", "ed@example.org", (Role.EDITOR,), "", "", NOON)
    with pytest.raises(NotAllowed, match="role `admin`"):
        offered(store, SINGLE, Actor(editor.email, editor))
