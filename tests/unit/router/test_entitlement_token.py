"""Entitlement tokens, checked by the code that the documentation gives to those who write tool servers."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature

from router.clock import utc_now
from router.stages.enforce import StreamEnforcer
from router.stages.entitlement_token import (
    AHEAD,
    BEHIND,
    LIFETIME,
    PERIOD,
    Bearer,
    Right,
    TokenKeys,
    sentence_without_tokens,
    without_tokens,
)
from routing_rules.decisions import ServerGrant, ToolGrant
from routing_rules.task import Endpoint

PAGE = (Path(__file__).parents[3] / "docs" / "entitlement-tokens.md").read_text(encoding="utf-8")
KEYS = TokenKeys(b"s" * 32, "https://router.example.org")
BEARER = Bearer("helpdesk", "s-1", "customer-support", "r-0123456789ab")
RIGHTS = [Right("crm", ("lookup_customer",), "first_use")]
SERVER = "https://crm.example.org/mcp"

Claims = dict[str, Any]
Check = Callable[[str, Claims, str], Claims]


def token(at: datetime | None = None, keys: TokenKeys = KEYS, audience: str = SERVER, **more: Any) -> str:
    return keys.token(BEARER, "fast-1", audience, RIGHTS, at or utc_now(), "t-1", **more)


def documented(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def in_python(token: str, jwks: Claims, audience: str) -> Claims:
    names: dict[str, Any] = {}
    exec(documented("python"), names)  # noqa: S102 - our own page
    claims: Claims = names["entitlement"](token, jwks, audience)
    return claims


def in_node(token: str, jwks: Claims, audience: str) -> Claims:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no Node.js")
    call = f"console.log(JSON.stringify(entitlement(...{json.dumps([token, jwks, audience])})))"
    done = subprocess.run([node, "-e", documented("js") + call], capture_output=True, timeout=30)
    if done.returncode:
        raise PermissionError(done.stderr.decode())
    claims: Claims = json.loads(done.stdout)
    return claims


REFUSALS = (PermissionError, InvalidSignature, StopIteration)


@pytest.fixture(params=[in_python, in_node], ids=["python", "node"])
def check(request: pytest.FixtureRequest) -> Check:
    found: Check = request.param
    return found


def test_a_tool_server_sees_who_may_do_what_for_how_long(check: Check) -> None:
    claims = check(token(left_nano=1_250_000_000), KEYS.key_set(utc_now()), SERVER)
    assert (claims["iss"], claims["aud"]) == ("https://router.example.org", SERVER)
    assert (claims["sub"], claims["act"]) == ("helpdesk", {"sub": "fast-1"})
    assert (claims["sid"], claims["purpose"], claims["revision"]) == ("s-1", "customer-support", "r-0123456789ab")
    assert claims["exp"] - claims["iat"] == LIFETIME.total_seconds()
    assert claims["authorization_details"] == [
        {
            "type": "tool",
            "identifier": "crm",
            "locations": [SERVER],
            "approval": "first_use",
            "actions": ["lookup_customer"],
        },
        {"type": "budget", "currency": "USD", "amount": "1.25"},
    ]


@pytest.mark.parametrize("seconds", [-330, -50, 0, 50], ids=lambda seconds: f"issued {seconds:+} s")
def test_clocks_may_differ_by_a_minute(check: Check, seconds: int) -> None:
    made = token(utc_now() + timedelta(seconds=seconds))
    assert check(made, KEYS.key_set(utc_now()), SERVER)["sid"] == "s-1"


@pytest.mark.parametrize("seconds", [-380, 90], ids=lambda seconds: f"issued {seconds:+} s")
def test_beyond_that_a_token_has_ended_or_not_begun(check: Check, seconds: int) -> None:
    with pytest.raises(REFUSALS):
        check(token(utc_now() + timedelta(seconds=seconds)), KEYS.key_set(utc_now()), SERVER)


def test_a_token_for_one_server_is_none_for_another(check: Check) -> None:
    with pytest.raises(REFUSALS):
        check(token(), KEYS.key_set(utc_now()), "https://payments.example.org/mcp")


def test_a_token_of_another_installation_is_refused(check: Check) -> None:
    with pytest.raises(REFUSALS):
        check(token(keys=TokenKeys(b"o" * 32, KEYS.issuer)), KEYS.key_set(utc_now()), SERVER)


def test_a_changed_token_is_refused(check: Check) -> None:
    head, body, signature = token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["authorization_details"][0]["actions"] = ["delete_customer"]
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    with pytest.raises(REFUSALS):
        check(f"{head}.{forged}.{signature}", KEYS.key_set(utc_now()), SERVER)


def test_a_token_that_says_it_needs_no_signature_is_refused(check: Check) -> None:
    head, body, _ = token().split(".")
    kid = json.loads(base64.urlsafe_b64decode(head + "=="))["kid"]
    unsigned = json.dumps({"alg": "none", "typ": "entitlement+jwt", "kid": kid}).encode()
    with pytest.raises(REFUSALS):
        check(f"{base64.urlsafe_b64encode(unsigned).rstrip(b'=').decode()}.{body}.", KEYS.key_set(utc_now()), SERVER)


def kid_of(made: str) -> str:
    head = made.split(".")[0]
    kid: str = json.loads(base64.urlsafe_b64decode(head + "=="))["kid"]
    return kid


def kids(at: datetime) -> list[str]:
    return [key["kid"] for key in KEYS.key_set(at)["keys"]]


CHANGE = datetime(1970, 1, 1, tzinfo=UTC) + 2970 * PERIOD


def test_keys_change_and_old_ones_verify_until_their_last_token_has_ended() -> None:
    before, after = CHANGE - timedelta(seconds=1), CHANGE
    old, new = kid_of(token(before)), kid_of(token(after))
    assert old != new
    assert {old, new} <= set(kids(before))  # published ahead
    assert {old, new} <= set(kids(after + LIFETIME + timedelta(minutes=5)))
    assert old not in kids(after + BEHIND + timedelta(seconds=1))
    assert new not in kids(after - AHEAD - timedelta(seconds=1))


def test_between_changes_one_key_is_published() -> None:
    assert len(kids(CHANGE + PERIOD / 2)) == 1


def test_every_replica_has_the_same_keys_and_no_private_half_is_published() -> None:
    assert TokenKeys(b"s" * 32, "elsewhere").key_set(CHANGE) == KEYS.key_set(CHANGE)
    for key in KEYS.key_set(CHANGE)["keys"]:
        assert set(key) == {"kty", "crv", "x", "kid", "alg", "use"}


# What a provider repeats


def test_nothing_of_a_token_is_left_in_what_a_provider_repeats() -> None:
    made = token()
    echoed = {
        "tools": [{"type": "mcp", "headers": {"X-Entitlement-Token": made, "x-tenant": "7"}}],
        "error": {"message": f"no {made}!"},
    }
    told = without_tokens(json.dumps(echoed).encode())
    assert json.loads(told) == {"tools": [{"type": "mcp", "headers": {"x-tenant": "7"}}], "error": {"message": "no [removed]!"}}
    assert sentence_without_tokens(f"bad header {made}") == "bad header [removed]"
    other = b'{"text": "send it as x-entitlement-token: eyJhbGciOiJIUzI1NiJ9.e30.c2ln"}'
    assert without_tokens(other) is other


@pytest.mark.parametrize("size", [1, 7, 59, 60, 61, 200])
def test_a_token_that_a_model_recites_is_taken_out_wherever_its_stream_is_cut(size: int) -> None:
    said = f"The server was sent {token()} and eyJust that."
    where = {"item_id": "m1", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": said, "annotations": []}
    item = {"id": "m1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    pieces = [said[at : at + size] for at in range(0, len(said), size)]
    events: list[dict[str, Any]] = [
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        *({"type": "response.output_text.delta", **where, "delta": piece} for piece in pieces),
        {"type": "response.output_text.done", **where, "text": said},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [item]}},
    ]
    grant = ToolGrant((("mcp", "crm"),), servers=(ServerGrant("crm", (("crm", "none"),), internal=True),))
    enforcer = StreamEnforcer(Endpoint.RESPONSES, grant, strip_usage=False, denial_is_error=False)
    stream = b"".join(
        f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n".encode()
        for number, event in enumerate(events)
    )
    told = enforcer.feed(stream)
    enforced = enforcer.end()
    received = [
        json.loads(line[6:]) for line in (told + enforced.body + enforced.tail).splitlines() if line.startswith(b"data: ")
    ]
    clean = "The server was sent [removed] and eyJust that."
    assert "".join(event["delta"] for event in received if event["type"].endswith(".delta")) == clean
    assert [event["sequence_number"] for event in received] == list(range(len(received)))
    assert received[-1]["response"]["output"][0]["content"][0]["text"] == clean
    assert enforced.error is None
