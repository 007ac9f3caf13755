"""How people sign in: what is stored tells nobody how to, each change is kept, and what was changed past the program is found."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sql_records import NOON
from sqlalchemy import Engine, text

from router.errors import Unavailable
from router.principals import Role
from router.storage.audit_chain import Checkpoints, public_key, verify
from router.storage.sql.accounts import SqlAccounts
from router.storage.sql.administration import events
from router.storage.sql.people import SqlPeople

KEY, SECRET = b"k" * 32, "JBSWY3DPEHPK3PXP"


@pytest.fixture
def person(store: Engine) -> str:
    return SqlPeople(store).add("ann@example.org", [Role.VIEWER], actor="root", at=NOON).person.id


def with_second_factor(store: Engine, person: str) -> SqlAccounts:
    accounts = SqlAccounts(store, KEY)
    accounts.set_password(person, "$argon2id$first", actor="ann@example.org", at=NOON)
    accounts.set_second_factor(person, SECRET, ["h1", "h2"], actor="ann@example.org", at=NOON)
    return accounts


def test_nobody_has_an_account_before_they_choose_a_password(store: Engine, person: str) -> None:
    assert SqlAccounts(store, KEY).get(person) is None


def test_a_new_password_leaves_the_second_factor_as_it_is(store: Engine, person: str) -> None:
    accounts = with_second_factor(store, person)
    accounts.set_password(person, "$argon2id$second", actor="ann@example.org", at=NOON + timedelta(days=1))
    account = accounts.get(person)
    assert account is not None
    assert (account.password, account.changed) == ("$argon2id$second", NOON + timedelta(days=1))
    assert (account.secret, account.secret_since, account.recovery) == (SECRET, NOON, ("h1", "h2"))
    accounts.set_second_factor(person, None, (), actor="ann@example.org", at=NOON)
    gone = accounts.get(person)
    assert gone is not None
    assert (gone.secret, gone.secret_since, gone.recovery) == (None, None, ())


def test_the_secret_is_stored_sealed_and_is_none_under_another_key(store: Engine, person: str) -> None:
    with_second_factor(store, person)
    with store.connect() as connection:
        for table in ("accounts", "admin_events"):
            assert all(SECRET not in str(row) for row in connection.execute(text(f"SELECT * FROM {table}")))
    with pytest.raises(Unavailable):
        SqlAccounts(store, b"another key of thirty-two bytes!").get(person)


def test_a_recovery_code_counts_once(store: Engine, person: str) -> None:
    accounts = with_second_factor(store, person)
    used = [accounts.use_recovery(person, code, actor="ann@example.org", at=NOON) for code in ("h1", "h1", "h3", "h2")]
    assert used == [True, False, False, True]
    assert not accounts.use_recovery("person_none", "h1", actor="ann@example.org", at=NOON)


def test_every_change_is_kept_without_what_it_was_about(store: Engine, person: str) -> None:
    with_second_factor(store, person).use_recovery(person, "h1", actor="ann@example.org", at=NOON)
    kept = events(store, subject=f"account:{person}")
    assert [event.act for event in kept] == ["account.recovery_used", "account.second_factor", "account.password"]
    assert "argon2" not in str(kept)


def test_a_password_that_was_put_behind_the_programs_back_is_found(store: Engine, person: str, tmp_path: Path) -> None:
    with_second_factor(store, person)
    Checkpoints(tmp_path).write(store, NOON)
    assert verify(store, tmp_path / "checkpoints.jsonl", public_key(tmp_path)).intact
    for change in ("password = '$argon2id$theirs'", "secret = NULL", "recovery = '[\"mine\"]'"):
        with store.begin() as connection:
            before = connection.execute(text("SELECT password, secret, recovery FROM accounts")).one()
            connection.execute(text(f"UPDATE accounts SET {change}"))
        report = verify(store, tmp_path / "checkpoints.jsonl", public_key(tmp_path))
        assert [fault.message for fault in report.faults] == [f"`account:{person}` is not as the last recorded act left it"]
        with store.begin() as connection:
            restore = text("UPDATE accounts SET password = :password, secret = :secret, recovery = :recovery")
            connection.execute(
                restore,
                {
                    "password": before.password,
                    "secret": before.secret,
                    "recovery": before.recovery if isinstance(before.recovery, str) else '["h1", "h2"]',
                },
            )
    assert verify(store, tmp_path / "checkpoints.jsonl", public_key(tmp_path)).intact
