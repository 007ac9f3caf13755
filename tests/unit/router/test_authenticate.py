"""A key belongs to an app and can only narrow it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import pytest

from router.errors import Refused
from router.principals import Key
from router.stages.authenticate import authenticate
from routing_rules.load import complete, load
from routing_rules.rules import RuleSet
from routing_rules.vocabulary import Sensitivity

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
RULES = load(complete({}, date(2026, 8, 1)))
SECRET = "rk-test"
DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()


@dataclass
class Known:
    """A directory that knows the shipped rules and one key."""

    held: Key
    rule_set: RuleSet = field(default_factory=lambda: RULES)

    def key(self, sha256: str) -> Key | None:
        return self.held if sha256 == self.held.sha256 else None

    def rules(self) -> RuleSet:
        return self.rule_set

    async def refresh(self) -> None: ...


def known(**told: object) -> Known:
    return Known(Key(**{"id": "key_1", "prefix": "rk-te", "sha256": DIGEST, "app": "demo", "created": NOW, **told}))  # type: ignore[arg-type]


def code_of(directory: Known, header: str | None, purpose: str | None = None) -> str:
    with pytest.raises(Refused) as refused:
        authenticate(directory, header, purpose, NOW)
    assert SECRET not in refused.value.message
    return refused.value.code


def test_a_key_gives_what_its_app_holds() -> None:
    caller = authenticate(known(), f"Bearer {SECRET}", None, NOW)
    app = RULES.apps["demo"]
    assert (caller.app, caller.owner, caller.clearance, caller.ceiling) == ("demo", app.owner, app.clearance, app.ceiling)
    assert caller.purpose == app.purposes[0]


@pytest.mark.parametrize("level", list(Sensitivity))
def test_a_keys_clearance_never_exceeds_its_apps(level: Sensitivity) -> None:
    caller = authenticate(known(clearance=level), f"bearer {SECRET}", None, NOW)
    assert caller.clearance == min(level, RULES.apps["demo"].clearance)


def test_a_key_with_a_purpose_of_its_own_holds_no_other() -> None:
    assert authenticate(known(purposes=("trial",)), f"Bearer {SECRET}", None, NOW).purpose == "trial"
    assert code_of(known(purposes=("trial",)), f"Bearer {SECRET}", "general") == "purpose_not_permitted"


def test_a_purpose_that_the_app_does_not_hold_gives_a_key_nothing() -> None:
    assert code_of(known(purposes=("research",)), f"Bearer {SECRET}") == "purpose_not_permitted"
    assert code_of(known(), f"Bearer {SECRET}", "research") == "purpose_not_permitted"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", SECRET, f"Basic {SECRET}", "Bearer rk-other"])
def test_without_a_known_bearer_key_nobody_is_let_in(header: str | None) -> None:
    assert code_of(known(), header) == "invalid_api_key"


def test_expired_and_revoked_keys_and_keys_of_unknown_apps_are_refused() -> None:
    assert code_of(known(expires=NOW), f"Bearer {SECRET}") == "key_expired"
    assert code_of(known(revoked=NOW), f"Bearer {SECRET}") == "invalid_api_key"
    assert code_of(known(app="nobody"), f"Bearer {SECRET}") == "invalid_api_key"
    authenticate(known(expires=NOW + timedelta(seconds=1)), f"Bearer {SECRET}", None, NOW)


def test_an_admin_key_sends_no_tasks() -> None:
    assert code_of(known(admin=True), f"Bearer {SECRET}") == "invalid_api_key"
