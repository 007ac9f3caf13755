"""People: their token is nowhere, one e-mail is one person, and each change is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path

import msgspec
import pytest
from sql_records import NOON
from sqlalchemy import Engine, text

from router.errors import Refused
from router.governance import people as governance
from router.principals import SINGLE, Person, Role
from router.storage.audit_chain import Checkpoints, public_key, verify
from router.storage.sql.administration import events
from router.storage.sql.people import SqlPeople, load_people

DAY = timedelta(days=1)
ROOT = governance.Actor("root", local=True)
KEY = governance.Actor("admin key rk-abc…")


def add(store: Engine, email: str = "ann@example.org", *roles: str) -> governance.NewPerson:
    return governance.add(SqlPeople(store), email, roles or ("viewer",), actor=ROOT, at=NOON, governance=SINGLE)


def test_a_person_is_found_by_the_digest_of_a_token_that_is_nowhere(store: Engine) -> None:
    made = add(store, " Ann@Example.org ", "approver", "viewer", "approver")
    assert made.token.startswith("rp-")
    assert len(made.token) > 40
    assert (made.person.email, made.person.roles) == ("ann@example.org", (Role.APPROVER, Role.VIEWER))
    assert load_people(store) == {hashlib.sha256(made.token.encode()).hexdigest(): made.person}
    with store.connect() as connection:
        for table in ("people", "admin_events"):
            assert all(made.token not in str(row) for row in connection.execute(text(f"SELECT * FROM {table}")))


def test_of_one_email_there_is_one_person_at_a_time(store: Engine) -> None:
    first = add(store)
    with pytest.raises(Refused):
        add(store, "ANN@example.org", "admin")
    assert governance.end(SqlPeople(store), "ann@example.org", actor="root", at=NOON + DAY).ended == NOON + DAY
    second = add(store, "ann@example.org", "finance")
    assert second.token != first.token
    assert [person.ended for person in SqlPeople(store).all()].count(None) == 1


def test_of_many_who_add_the_same_person_at_once_one_does(store: Engine) -> None:
    def attempt(_: int) -> bool:
        try:
            add(store)
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(8))) == [False] * 7 + [True]


def test_who_was_ended_cannot_be_ended_again(store: Engine) -> None:
    person = add(store).person
    governance.end(SqlPeople(store), person.id, actor="root", at=NOON)
    for who in (person.id, person.email, "nobody@example.org"):
        with pytest.raises(Refused):
            governance.end(SqlPeople(store), who, actor="root", at=NOON)


@pytest.mark.parametrize(
    ("email", "roles"),
    [("ann", ["viewer"]), ("ann@", ["viewer"]), ("a b@c.d", ["viewer"]), ("ann@example.org", []), ("ann@example.org", ["root"])],
)
def test_what_names_no_person_or_no_role_is_not_added(store: Engine, email: str, roles: list[str]) -> None:
    with pytest.raises(Refused):
        governance.add(SqlPeople(store), email, roles, actor=ROOT, at=NOON, governance=SINGLE)
    assert events(store) == []


def test_a_token_that_would_have_expired_is_not_made(store: Engine) -> None:
    with pytest.raises(Refused):
        governance.add(SqlPeople(store), "ann@example.org", ["viewer"], actor=ROOT, at=NOON, governance=SINGLE, expires=NOON)


def test_every_change_is_kept_with_who_made_it(store: Engine) -> None:
    person = add(store).person
    governance.end(SqlPeople(store), person.id, actor="bob@example.org", at=NOON + DAY)
    kept = events(store, subject=f"person:{person.id}")
    assert [(event.act, event.actor) for event in kept] == [("person.ended", "bob@example.org"), ("person.added", "root")]


def test_a_role_that_was_given_behind_the_programs_back_is_found(store: Engine, tmp_path: Path) -> None:
    person: Person = add(store).person
    Checkpoints(tmp_path).write(store, NOON)
    assert verify(store, tmp_path / "checkpoints.jsonl", public_key(tmp_path)).intact
    with store.begin() as connection:
        connection.execute(text("UPDATE people SET roles = '[\"admin\"]'"))
    report = verify(store, tmp_path / "checkpoints.jsonl", public_key(tmp_path))
    assert [fault.message for fault in report.faults] == [f"`person:{person.id}` is not as the last recorded act left it"]


def joined(store: Engine, actor: governance.Actor, email: str, *roles: str) -> Person:
    """Somebody who is added under `four_eyes`."""
    return governance.add(SqlPeople(store), email, roles, actor=actor, at=NOON, governance="four_eyes").person


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(Refused) as refusal:
        work()
    return refusal.value.code


def test_under_four_eyes_the_first_two_admins_are_there_at_once_and_then_one_adds_and_another_confirms(store: Engine) -> None:
    ann, bob = (joined(store, ROOT, f"{name}@example.org", "admin") for name in ("ann", "bob"))
    assert not ann.waits
    assert not bob.waits
    assert refused(lambda: joined(store, ROOT, "eve@example.org", "approver")) == "role_required"
    assert refused(lambda: joined(store, KEY, "eve@example.org", "approver")) == "role_required"
    by_ann, by_bob = (governance.Actor(one.email, one) for one in (ann, bob))
    eve = joined(store, by_ann, "eve@example.org", "admin", "approver")
    assert (eve.waits, eve.added_by, governance.state_of(eve, NOON)) == (True, "ann@example.org", "waiting")
    people = SqlPeople(store)
    by_eve = governance.Actor(eve.email, eve)
    viewer = governance.Actor("vic@example.org", msgspec.structs.replace(bob, email="vic@example.org", roles=(Role.VIEWER,)))
    for nobody in (by_ann, by_eve, viewer, ROOT, KEY):
        assert refused(partial(governance.confirm, people, "eve@example.org", actor=nobody, at=NOON)) == "role_required"
    confirmed = governance.confirm(people, " EVE@example.org", actor=by_bob, at=NOON)
    assert (confirmed.waits, confirmed.confirmed_by) == (False, "bob@example.org")
    assert governance.state_of(load_people(store)[eve.sha256], NOON) == "active"
    assert refused(lambda: governance.confirm(people, "eve@example.org", actor=by_bob, at=NOON)) == "not_found"


def test_who_ends_the_other_admins_adds_nobody_alone_but_by_the_data_directory(store: Engine) -> None:
    ann, bob = (joined(store, ROOT, f"{name}@example.org", "admin") for name in ("ann", "bob"))
    people = SqlPeople(store)
    governance.end(people, "bob@example.org", actor=ann.email, at=NOON)
    by_ann = governance.Actor(ann.email, ann)
    assert joined(store, by_ann, "mallory@example.org", "approver").waits
    assert refused(lambda: joined(store, KEY, "carl@example.org", "admin")) == "role_required"
    assert refused(lambda: governance.confirm(people, "mallory@example.org", actor=by_ann, at=NOON)) == "role_required"
    dora = joined(store, ROOT, "dora@example.org", "admin")  # else nobody could ever be added again
    assert not dora.waits
    assert bob.email != dora.email


def test_a_person_who_waited_and_was_confirmed_is_what_the_chain_says(store: Engine, tmp_path: Path) -> None:
    ann, bob = (joined(store, ROOT, f"{name}@example.org", "admin") for name in ("ann", "bob"))
    joined(store, governance.Actor(ann.email, ann), "eve@example.org", "approver")
    governance.confirm(SqlPeople(store), "eve@example.org", actor=governance.Actor(bob.email, bob), at=NOON)
    assert [event.act for event in events(store)] == ["person.confirmed", *["person.added"] * 3]
    Checkpoints(tmp_path).write(store, NOON)
    assert verify(store, tmp_path / "checkpoints.jsonl", public_key(tmp_path)).intact
    with store.begin() as connection:
        connection.execute(text("UPDATE people SET added_by = 'bob@example.org' WHERE email = 'eve@example.org'"))
    assert not verify(store, tmp_path / "checkpoints.jsonl", public_key(tmp_path)).intact
