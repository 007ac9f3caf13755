"""Who may decide on what waits, and which signature of a webhook counts."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.api.approvals import TOLERANCE_SECONDS, checked_signature
from router.errors import Refused
from router.exchange import Held, HeldCall
from router.governance.approvals import Decider, check_decider, concerns
from router.principals import Person, Role
from routing_rules.task import Endpoint

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
CALL = HeldCall("mail", "send", "mail@example.org", frozenset(), "d", "{}", ())
HELD = Held(
    request_id="req_1",
    app="desk",
    owner="Ann@Example.org",
    team="t",
    key_id="key_1",
    purpose="support",
    session_id="s1",
    endpoint=Endpoint.CHAT,
    body_digest="b",
    revision="rev",
    rule="r",
    message="m",
    at=NOW,
    expires=NOW + timedelta(hours=1),
    calls=(CALL,),
    approvers=("mail@example.org", "set@example.org"),
)
TWO = msgspec.structs.replace(HELD, calls=(CALL, msgspec.structs.replace(CALL, tool="files", owner="files@example.org")))
SECRET = b"k" * 32


def person(email: str, *roles: Role) -> Person:
    return Person("p", email, roles, "rp-", "0", NOW)


def may(who: Person | None, held: Held = HELD, governance: str = "four_eyes", *asked_by: str) -> bool:
    try:
        check_decider(Decider("somebody", who), held, [held.owner, *asked_by], governance)
    except Refused as refusal:
        return refusal.code != "role_required"
    return True


def test_an_approver_decides_on_everything_and_an_owner_on_what_is_theirs() -> None:
    assert may(person("eve@example.org", Role.APPROVER))
    assert may(person("mail@example.org", Role.TOOL_OWNER))
    assert may(person("set@example.org", Role.TOOL_OWNER))  # the approver of the entitlement set
    assert not may(person("files@example.org", Role.TOOL_OWNER))
    assert not may(person("mail@example.org", Role.VIEWER, Role.ADMIN, Role.EDITOR, Role.FINANCE))


def test_the_owner_of_one_of_several_tools_does_not_decide_on_all() -> None:
    assert not may(person("mail@example.org", Role.TOOL_OWNER), TWO)
    assert not may(person("files@example.org", Role.TOOL_OWNER), TWO)
    assert may(person("set@example.org", Role.TOOL_OWNER), TWO)


def test_without_a_person_nobody_decides_where_two_are_needed() -> None:
    assert may(None, HELD, "single")
    assert not may(None, HELD, "four_eyes")


@given(st.sets(st.sampled_from(list(Role))), st.sampled_from(["ann@example.org", "maker@example.org"]), st.booleans())
def test_who_asked_never_decides_whatever_they_may_else(roles: set[Role], email: str, single: bool) -> None:
    owned = msgspec.structs.replace(HELD, calls=(msgspec.structs.replace(CALL, owner=email),), approvers=(email, email.upper()))
    assert not may(person(email, *roles), owned, "single" if single else "four_eyes", "Maker@example.org")


def test_an_owner_is_told_only_of_what_concerns_them() -> None:
    assert concerns(person("mail@example.org", Role.TOOL_OWNER), HELD)
    assert not concerns(person("files@example.org", Role.TOOL_OWNER), HELD)
    assert concerns(person("vic@example.org", Role.VIEWER), HELD)
    assert not concerns(person("finn@example.org", Role.FINANCE), HELD)


def signed(body: bytes, at: datetime = NOW, secret: bytes = SECRET) -> str:
    seconds = int(at.timestamp())
    return f"t={seconds},v1={hmac.new(secret, b'%d.' % seconds + body, hashlib.sha256).hexdigest()}"


def test_a_signature_counts_for_its_body_its_time_and_its_secret() -> None:
    assert checked_signature(SECRET, signed(b"body"), b"body", NOW)
    edge = timedelta(seconds=TOLERANCE_SECONDS)
    assert checked_signature(SECRET, signed(b"body", NOW - edge), b"body", NOW)
    late = signed(b"body", NOW - edge - timedelta(seconds=1))
    ahead = signed(b"body", NOW + edge + timedelta(seconds=1))
    moved = signed(b"body").replace("t=1", "t=2")
    for header in (late, ahead, moved, signed(b"other"), signed(b"body", secret=b"x" * 32)):
        with pytest.raises(Refused) as refused:
            checked_signature(SECRET, header, b"body", NOW)
        assert refused.value.code == "invalid_signature"


@given(st.text(max_size=100))
def test_no_header_is_too_strange_to_be_refused(header: str) -> None:
    with pytest.raises(Refused):
        checked_signature(SECRET, header, b"body", NOW)
