"""Keys and rules: what may follow what, and that each act is kept."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sql_records import NOON
from sqlalchemy import Engine, text

from router.storage.sql.administration import administering, events
from router.storage.sql.directory import NoSuchKey, SqlKeys, load_keys
from router.storage.sql.rules import ACTIVE, RuleStore
from routing_rules.vocabulary import Sensitivity

DAY = timedelta(days=1)
FILES = {"apps.yaml": "apps: []\n", "routes.yaml": "routes: []\n"}


def test_a_key_is_found_by_its_digest_and_its_secret_is_nowhere(store: Engine) -> None:
    new = SqlKeys(store).create(
        "desk", actor="ana", at=NOON, clearance=Sensitivity.INTERNAL, ceiling="everyday", purposes=["support"], expires=NOON + DAY
    )
    assert new.secret.startswith("rk-")
    assert new.key.prefix == new.secret[:9]
    assert load_keys(store) == {hashlib.sha256(new.secret.encode()).hexdigest(): new.key}
    assert (new.key.clearance, new.key.purposes, new.key.expires) == (Sensitivity.INTERNAL, ("support",), NOON + DAY)
    with store.connect() as connection:
        for table in ("keys", "admin_events"):
            assert all(new.secret not in str(row) for row in connection.execute(text(f"SELECT * FROM {table}")))


def test_no_two_keys_are_alike(store: Engine) -> None:
    made = [SqlKeys(store).create("desk", actor="ana", at=NOON) for _ in range(20)]
    assert len({new.secret for new in made}) == len({new.key.id for new in made}) == 20


def test_a_rotated_key_works_through_its_grace_and_its_successor_may_do_the_same(store: Engine) -> None:
    keys = SqlKeys(store)
    old = keys.create("desk", actor="ana", at=NOON, clearance=Sensitivity.INTERNAL, expires=NOON + 30 * DAY).key
    new = keys.rotate(old.id, actor="bob", at=NOON + 10 * DAY, grace=DAY).key
    known = {key.id: key for key in keys.all()}
    assert known[old.id].expires == NOON + 11 * DAY
    assert (new.app, new.clearance, new.expires) == ("desk", Sensitivity.INTERNAL, NOON + 40 * DAY)


def test_a_grace_never_outlives_the_key_itself(store: Engine) -> None:
    keys = SqlKeys(store)
    old = keys.create("desk", actor="ana", at=NOON, expires=NOON + DAY).key
    keys.rotate(old.id, actor="ana", at=NOON, grace=7 * DAY)
    assert load_keys(store)[old.sha256].expires == NOON + DAY


def test_a_revoked_key_stays_known_as_revoked(store: Engine) -> None:
    keys = SqlKeys(store)
    key = keys.create("desk", actor="ana", at=NOON).key
    assert keys.revoke(key.id, actor="bob", at=NOON + DAY).revoked == NOON + DAY
    assert load_keys(store)[key.sha256].revoked == NOON + DAY


def test_what_no_longer_works_is_neither_rotated_nor_revoked(store: Engine) -> None:
    keys = SqlKeys(store)
    revoked = keys.create("desk", actor="ana", at=NOON).key
    keys.revoke(revoked.id, actor="ana", at=NOON)
    expired = keys.create("desk", actor="ana", at=NOON, expires=NOON + DAY).key
    for key_id in (revoked.id, expired.id, "unheard of"):
        with pytest.raises(NoSuchKey):
            keys.rotate(key_id, actor="ana", at=NOON + DAY, grace=DAY)
        with pytest.raises(NoSuchKey):
            keys.revoke(key_id, actor="ana", at=NOON + DAY)


def test_an_act_without_a_name_is_refused(store: Engine) -> None:
    with pytest.raises(ValueError, match="name"):
        SqlKeys(store).create("desk", actor=" ", at=NOON)
    assert load_keys(store) == {}


def test_every_act_is_kept_newest_first(store: Engine) -> None:
    key = SqlKeys(store).create("desk", actor="ana", at=NOON).key
    SqlKeys(store).revoke(key.id, actor="bob", at=NOON + DAY)
    kept = events(store, subject=f"key:{key.id}")
    assert [(event.act, event.actor, event.at) for event in kept] == [
        ("key.revoked", "bob", NOON + DAY),
        ("key.created", "ana", NOON),
    ]


def test_an_act_that_fails_is_not_kept(store: Engine) -> None:
    def fail() -> None:
        with administering(store, "ana", NOON) as administration:
            administration.note("key.created", "key:none", {})
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail()
    assert events(store) == []


def test_acts_at_the_same_time_follow_one_another(store: Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: SqlKeys(store).create("desk", actor="ana", at=NOON), range(20)))
    assert len(load_keys(store)) == len(events(store)) == 20


def test_an_empty_store_has_no_rules_and_is_seeded_once(store: Engine) -> None:
    rules = RuleStore(store)
    assert rules.current() is None
    with ThreadPoolExecutor(4) as pool:
        seeded = list(
            pool.map(lambda n: rules.seed(f"rev-{n}", FILES, author="ana", note="seed", governance="single", at=NOON), range(4))
        )
    assert len({one.revision for one in seeded}) == 1
    assert [(one.number, one.status) for one in rules.history()] == [(0, ACTIVE)]


def test_a_revision_nobody_knows_is_not_found(store: Engine) -> None:
    assert RuleStore(store).get("unheard of") is None
    assert RuleStore(store).proposal("p7") is None
