"""An app that is only watched, on the running service: nothing of it breaks, all of it is told."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from governed import deployment, rule_files
from running import Running, running
from stub_provider import StubProvider, serving

from router.clock import utc_now

TOOL = {
    "type": "function",
    "function": {"name": "send_parcel", "description": "Sends a parcel.", "parameters": {"type": "object"}},
}
TODAY = utc_now().date()
APPS = f"""
apps:
  - id: watched
    owner: w@example.org
    clearance: confidential
    ceiling: none
    purposes: [general]
    mode: observe
    observe: {{owner: ann@example.org, from: {TODAY}, until: {TODAY + timedelta(days=9)}}}
  - id: past
    owner: w@example.org
    clearance: confidential
    ceiling: none
    purposes: [general]
    mode: observe
    observe: {{owner: ann@example.org, from: {TODAY - timedelta(days=9)}, until: {TODAY - timedelta(days=1)}}}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, StubProvider, Path]]:
    with serving() as stub:
        rules = rule_files(
            [
                deployment("m", stub.url, clearance="restricted"),
                deployment("own", stub.url, tier="reasoning", clearance="confidential"),
            ],
            budget="cost_usd: 1000, requests: 2",
        )
        data = tmp_path_factory.mktemp("watched") / "data"
        with running(data, rules={**rules, "apps.yaml": APPS}) as service:
            yield service, stub, data


def ask(service: Running, key: str, **fields: Any) -> httpx.Response:
    body = {"model": "own", "messages": [{"role": "user", "content": "Send the parcel to Berlin."}], "tools": [TOOL], **fields}
    headers = {"authorization": f"Bearer {key}", "x-session-id": "one"}
    return httpx.post(service.base_url + "/v1/chat/completions", json=body, headers=headers, timeout=30)


def test_what_would_be_refused_passes_and_is_told_until_the_last_day(world: tuple[Running, StubProvider, Path]) -> None:
    service, stub, data = world
    key = service.key("watched", "w@example.org")
    stub.script("own", "tools:send_parcel")
    for number in range(4):  # the rules allow two requests in a session
        answer = ask(service, key)
        assert answer.status_code == 200, answer.text
        assert stub.requests[-1].model == "own"  # the model that it names, not the one of the rules
        assert stub.requests[-1].body["tools"] == [TOOL]
        (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
        assert call["function"]["name"] == "send_parcel"
        assert answer.headers["x-router-observed"].startswith("ann@example.org; from=")
        told = answer.headers["x-router-would-refuse"]
        assert "tool_not_entitled;send_parcel" in told
        assert ("session_budget_exceeded;everything" in told) is (number >= 2)

    past = ask(service, service.key("past", "w@example.org"))
    assert "x-router-observed" not in past.headers
    assert past.headers["x-router-tools-withheld"] == "send_parcel;unregistered"
    assert stub.requests[-1].model == "m"

    service.settled()
    with closing(sqlite3.connect(data / "router.db")) as connection:
        records = [json.loads(row[0]) for row in connection.execute("SELECT record FROM evidence WHERE app = 'watched'")]
    assert len(records) == 4
    for record in records:
        assert record["facts"]["caller"]["observing"]["owner"] == "ann@example.org"
        assert record["grant"]["would_withhold"][0]["reason"] == "unregistered"

    told = json.loads(service.cli("onboard", "watched", "--propose", "--json"))
    assert (told["seen"]["tasks"], told["seen"]["owner"], told["seen"]["models"]) == (4, "ann@example.org", {"own": 4})
    assert told["seen"]["would_refuse"] == {"tool_not_entitled;send_parcel": 4}
    (entry,) = told["proposal"]["tools"]
    assert (entry["functions"], entry["owner"]) == (["send_parcel"], "w@example.org")
    assert told["proposal"]["entitlement_set"]["tools"] == ["send_parcel"]
    assert told["proposal"]["route"]["then"]["wish"] == "honour"
    assert told["revision"] in service.cli("rules", "log", "--json")

    (pending,) = json.loads(service.cli("tools", "pending", "--json"))
    assert (pending["name"], sorted(pending["apps"])) == ("send_parcel", ["past", "watched"])


def test_its_clearance_still_refuses_and_says_on_whose_word_it_is_watched(world: tuple[Running, StubProvider, Path]) -> None:
    service, _, _ = world
    key = service.key("watched", "w@example.org", "--clearance", "internal")
    body = {"model": "own", "messages": [{"role": "user", "content": "x"}]}
    headers = {"authorization": f"Bearer {key}", "x-router-label": "confidential"}
    refused = httpx.post(service.base_url + "/v1/chat/completions", json=body, headers=headers, timeout=30)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "sensitivity_not_permitted")
    assert refused.headers["x-router-observed"].startswith("ann@example.org; from=")
