"""Who gets an entitlement token from the running service, and that its published keys check it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from governed import deployment, rule_files
from running import Running, running
from stub_provider import StubProvider, serving

from routing_rules.server_lists import list_digests

PAGE = Path(__file__).parents[2] / "docs" / "entitlement-tokens.md"
ADDRESS = "https://crm.example.org/mcp"
LOOK_UP = {"name": "look_up", "description": "Looks a customer up.", "input_schema": {"type": "object"}}
CRM = {"type": "mcp", "server_label": "crm", "server_url": ADDRESS, "headers": {"X-Entitlement-Token": "forged", "x-tenant": "7"}}
WIKI = {"type": "mcp", "server_label": "wiki", "server_url": "https://wiki.example.org/mcp"}
TOOLS = f"""
tools:
  - id: crm-read
    owner: crm@example.org
    capabilities: [reads_private]
    servers: [crm]
    server_urls: ['{ADDRESS}']
    pinned: {{look_up: {dict(list_digests([LOOK_UP]))["look_up"]}}}
    internal: true
  - {{id: wiki, owner: o@example.org, capabilities: [reads_private], servers: [wiki], server_urls: ['https://wiki.example.org/mcp']}}
  - {{id: calculator, owner: o@example.org, capabilities: [pure], functions: [calculator]}}
"""
SETS = """
sets:
  - {id: standard, owner: o@example.org, business_purpose: p, approver: a@example.org, review_by: 2099-01-01, tools: [crm-read, wiki, calculator]}
"""


@pytest.fixture(scope="module", params=[False, True], ids=["provider", "ours"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Running, StubProvider, bool]]:
    ours: bool = request.param
    with serving() as stub:
        rules = rule_files([deployment("m", stub.url, clearance="restricted", more="internal: true" if ours else "")])
        rules |= {"tools.yaml": TOOLS, "entitlements.yaml": SETS}
        environment = {"ROUTER_PUBLIC_URL": "https://router.example.org/"}
        with running(tmp_path_factory.mktemp("tokens") / "data", rules=rules, environment=environment) as service:
            yield service, stub, ours


def verified(service: Running, token: str, audience: str) -> dict[str, Any]:
    """The claims, checked as the documentation tells tool servers to."""
    documented = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert documented
    names: dict[str, Any] = {}
    exec(documented[1], names)  # noqa: S102 - our own page
    answer = httpx.get(service.base_url + "/.well-known/jwks.json")
    assert answer.headers["cache-control"] == "public, max-age=3600"
    claims: dict[str, Any] = names["entitlement"](token, answer.json(), audience)
    return claims


def test_a_server_of_ours_and_a_deployment_of_ours_are_told_what_the_session_may_do(
    world: tuple[Running, StubProvider, bool],
) -> None:
    service, stub, ours = world
    key = service.key("tokens", "t@example.org", "--clearance", "restricted")
    answer = httpx.post(
        service.base_url + "/v1/responses",
        json={"model": "auto", "input": "How much is 3 and 4?", "tools": [CRM, WIKI]},
        headers={"authorization": f"Bearer {key}"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    received = stub.requests[-1]
    crm, wiki = received.body["tools"]
    assert set(crm["headers"]) == {"x-entitlement-token", "x-tenant"}
    claims = verified(service, crm["headers"]["x-entitlement-token"], ADDRESS)
    assert (claims["iss"], claims["sub"], claims["act"]) == ("https://router.example.org", "tokens", {"sub": "m"})
    assert (claims["sid"], claims["purpose"]) == (answer.headers["x-router-session"], "general")
    assert claims["revision"] == answer.headers["x-router-revision"]
    tool, *budget = claims["authorization_details"]
    assert tool == {"type": "tool", "identifier": "crm-read", "locations": [ADDRESS], "approval": "none", "actions": ["look_up"]}
    assert [each["type"] for each in budget] == (["budget"] if ours else [])  # a provider could read it on its way
    assert abs(claims["iat"] - time.time()) < 30
    assert "headers" not in wiki

    assert ("x-entitlement-token" in received.headers) is ours
    if ours:
        claims = verified(service, received.headers["x-entitlement-token"], stub.url)
        assert [each.get("identifier") for each in claims["authorization_details"]] == ["crm", "wiki", None]


def test_nobody_else_gets_one(world: tuple[Running, StubProvider, bool]) -> None:
    service, stub, ours = world
    key = service.key("plain", "t@example.org")
    body = {"model": "auto", "messages": [{"role": "user", "content": "How much is 3 and 4?"}]}
    headers = {"authorization": f"Bearer {key}", "x-entitlement-token": "forged"}
    assert httpx.post(service.base_url + "/v1/chat/completions", json=body, headers=headers, timeout=30).status_code == 200
    assert ("x-entitlement-token" in stub.requests[-1].headers) is ours
    assert "forged" not in json.dumps(stub.requests[-1].headers)


def test_the_app_never_gets_one_back(world: tuple[Running, StubProvider, bool]) -> None:
    service, stub, _ = world
    key = service.key("echoed", "t@example.org", "--clearance", "restricted")
    sent = {"authorization": f"Bearer {key}"}
    url = service.base_url + "/v1/responses"
    body = {"model": "auto", "input": "How much is 3 and 4?", "tools": [CRM | {"headers": {"x-tenant": "7"}}]}

    def clean(answer: httpx.Response) -> httpx.Response:
        assert answer.status_code == 200, answer.text
        assert "eyJ" not in answer.text
        assert "x-entitlement-token" not in answer.text.lower()
        return answer

    whole = clean(httpx.post(url, json=body, headers=sent, timeout=30))
    assert whole.json()["tools"][0]["headers"] == {"x-tenant": "7"}
    assert "x-entitlement-token" in stub.requests[-1].body["tools"][0]["headers"]
    clean(httpx.get(f"{url}/{whole.json()['id']}", headers=sent, timeout=30))
    clean(httpx.get(f"{url}/{whole.json()['id']}/input_items", headers=sent, timeout=30))
    clean(httpx.post(url, json={**body, "stream": True}, headers=sent, timeout=30))
    behind = clean(httpx.post(url, json={**body, "background": True}, headers=sent, timeout=30)).json()["id"]
    clean(httpx.get(f"{url}/{behind}", headers=sent, timeout=30))
    clean(httpx.delete(f"{url}/{whole.json()['id']}", headers=sent, timeout=30))


def test_a_provider_that_complains_of_one_does_not_tell_it(world: tuple[Running, StubProvider, bool]) -> None:
    service, stub, _ = world
    key = service.key("complained", "t@example.org", "--clearance", "restricted")
    body = {"model": "auto", "input": "How much is 3 and 4?", "tools": [CRM]}
    stub.script("m", "complains")
    try:
        answer = httpx.post(service.base_url + "/v1/responses", json=body, headers={"authorization": f"Bearer {key}"}, timeout=30)
    finally:
        stub.scripts.clear()
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("Invalid tools:")
    assert "eyJ" not in answer.text
