"""Budgets of owners in the whole service: several at once, and going on in the fast tier where a rule says so."""

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
from receivers import webhooks
from running import Running, running, wait_for
from stub_provider import StubProvider, serving

from router.clock import utc_now

OWNER = "demo@example.org"
ASK = {"model": "auto", "messages": [{"role": "user", "content": "Summarise this: the meeting was moved to Thursday."}]}


@pytest.fixture
def stub() -> Iterator[StubProvider]:
    with serving() as provider:
        yield provider


def rules_with(stub: StubProvider, *budgets: str) -> dict[str, str]:
    """All tasks go to the reasoning tier; the demo app's owner has these budgets."""
    files = rule_files([deployment("quick", stub.url), deployment("deep", stub.url, tier="reasoning")])
    rows = "".join(f"  - {{owner: {OWNER}, {each}}}\n" for each in budgets)
    return {
        **files,
        "routes.yaml": files["routes.yaml"].replace("tier: fast", "tier: reasoning"),
        "budgets.yaml": files["budgets.yaml"] + "owner_budgets:\n" + rows,
    }


def ask(service: Running, key: str, **more: Any) -> httpx.Response:
    """One answer, once the periods have been added up."""

    def answered() -> httpx.Response | None:
        headers = {"authorization": f"Bearer {key}"}
        answer = httpx.post(service.base_url + "/v1/chat/completions", json={**ASK, **more}, headers=headers, timeout=30)
        return None if answer.status_code == 503 else answer

    answer: httpx.Response = wait_for(answered, what="that the periods are added up")
    return answer


def test_from_the_hard_limit_on_tasks_go_to_the_fast_tier_until_nothing_is_left(tmp_path: Path, stub: StubProvider) -> None:
    budgets = ("per: year, hard_usd: 0.0001, on_hard: degrade, stop_usd: 0.004", "hard_usd: 5")
    with running(tmp_path / "data", rules=rules_with(stub, *budgets)) as service:
        key = service.key()
        first = ask(service, key)
        assert first.status_code == 200, first.text
        assert first.headers["x-router-tier"] == "fast"
        year = first.headers["x-router-degraded"].removeprefix("owner_budget_exceeded;")
        assert len(year) == 4
        assert [each.model for each in stub.requests] == ["quick"]

        streamed = ask(service, key, stream=True)
        assert (streamed.status_code, streamed.headers["x-router-tier"]) == (200, "fast")

        def refused() -> httpx.Response | None:
            answer = ask(service, key)
            return answer if answer.status_code != 200 else None

        stub.usage = (120, 0, 256, 0)
        last: httpx.Response = wait_for(refused, what="that nothing is left")
        assert last.status_code == 402
        assert last.json()["error"]["code"] == "owner_budget_exceeded"
        assert last.json()["error"]["period"] == year
        assert {each.model for each in stub.requests} == {"quick"}

        service.settled()
        with closing(sqlite3.connect(service.data_dir / "router.db")) as store:
            records = [json.loads(row[0]) for row in store.execute("select record from evidence where record like '%admitted%'")]
        assert {record["facts"]["degraded"] for record in records} == {year}
        assert {record["decision"]["tier"] for record in records} == {"fast"}


def test_every_budget_of_an_owner_holds_and_the_refusal_says_which_stood_in_the_way(tmp_path: Path, stub: StubProvider) -> None:
    budgets = ("hard_usd: 5", "per: quarter, hard_usd: 0.0001", "per: fiscal_year, hard_usd: 5")
    with running(tmp_path / "data", rules=rules_with(stub, *budgets), workers=2) as service:
        refused = ask(service, service.key())
        assert refused.status_code == 402
        assert "-Q" in refused.json()["error"]["period"]
        assert refused.headers["x-should-retry"] == "false"
        assert stub.requests == []


def test_where_the_fast_tier_is_not_cleared_the_hard_limit_refuses(tmp_path: Path, stub: StubProvider) -> None:
    rules = rules_with(stub, "hard_usd: 0.0001, on_hard: degrade, stop_usd: 5")
    rules["models.yaml"] = (
        "deployments:\n"
        + deployment("quick", stub.url, clearance="public")
        + deployment("deep", stub.url, tier="reasoning", clearance="restricted")
    )
    with running(tmp_path / "data", rules=rules) as service:
        headers = {"authorization": f"Bearer {service.key()}", "x-router-label": "confidential"}
        refused = httpx.post(service.base_url + "/v1/chat/completions", json=ASK, headers=headers, timeout=30)
        assert refused.status_code == 402, refused.text
        assert refused.json()["error"]["code"] == "owner_budget_exceeded"
        assert stub.requests == []


TODAY = utc_now().date()


def test_a_raise_lets_tasks_through_on_every_worker_until_it_is_ended(tmp_path: Path, stub: StubProvider) -> None:
    with running(tmp_path / "data", rules=rules_with(stub, "hard_usd: 0.0001"), workers=2) as service:
        key = service.key()
        assert ask(service, key).status_code == 402
        asked = json.loads(
            service.cli("budgets", "raise", OWNER, "--amount", "1", "--until", str(TODAY), "--reason", "a fair", "--json")
        )
        assert (asked["state"], asked["amount_usd"]) == ("waiting", "1")
        assert ask(service, key).status_code == 402
        approved = json.loads(service.cli("budgets", "approve", asked["id"], "--json"))
        assert approved["state"] == "in force"
        wait_for(lambda: all(ask(service, key).status_code == 200 for _ in range(6)), 5, "the raise on both workers")

        service.settled()
        told = json.loads(service.cli("report", "budgets", "--owner", OWNER, "--json"))
        (row,) = told["data"]
        assert (row["hard_usd"], row["raised_usd"], row["limit_usd"]) == ("0.0001", "1", "1.0001")
        assert row["settled_nano"] + row["remaining_nano"] + row["held_nano"] == row["limit_nano"]
        assert row["settled_nano"] > 0
        assert row["expected_nano"] is None  # of one day nothing is foretold
        assert "too few days" in service.cli("report", "budgets")

        service.cli("budgets", "end", asked["id"])
        wait_for(lambda: all(ask(service, key).status_code == 402 for _ in range(6)), 5, "the end of the raise")
        assert [each["state"] for each in json.loads(service.cli("budgets", "list", "--json"))] == ["over"]
        with closing(sqlite3.connect(service.data_dir / "router.db")) as store:
            acts = [row[0] for row in store.execute("select act from admin_events where subject like 'raise:%' order by seq")]
        assert acts == ["budget.raise_asked", "budget.raise_approved", "budget.raise_ended"]


def test_under_four_eyes_somebody_else_approves_a_raise(tmp_path: Path, stub: StubProvider) -> None:
    environment = {"ROUTER_GOVERNANCE": "four_eyes"}
    with running(tmp_path / "data", rules=rules_with(stub, "hard_usd: 0.0001"), environment=environment) as service:
        tokens = {}
        for name, role in (("ann", "admin"), ("bob", "admin")):
            made = json.loads(service.cli("people", "add", f"{name}@example.org", "--role", role, "--json"))
            tokens[name] = made["token"]
        for name, role in (("fin", "finance"), ("vic", "viewer")):
            made = json.loads(
                service.cli("people", "add", f"{name}@example.org", "--role", role, "--token", tokens["ann"], "--json")
            )
            service.cli("people", "confirm", f"{name}@example.org", "--token", tokens["bob"])
            tokens[name] = made["token"]

        def api(who: str, method: str, path: str, body: object = None) -> httpx.Response:
            headers = {"authorization": f"Bearer {tokens[who]}"}
            return httpx.request(method, f"{service.base_url}/api/owner-budgets{path}", json=body, headers=headers, timeout=30)

        wait_for(lambda: api("fin", "GET", "").status_code == 200, what="that people are known")
        wanted = {"owner": OWNER, "percent": 50, "ends": f"{TODAY + timedelta(days=3)}T00:00:00Z", "reason": "a fair"}
        assert api("vic", "GET", "").json()["error"]["code"] == "role_required"
        assert api("vic", "POST", "/raises", wanted).json()["error"]["code"] == "role_required"
        asked = api("fin", "POST", "/raises", wanted)
        assert asked.status_code == 201, asked.text
        approve = f"/raises/{asked.json()['id']}/approve"
        own = api("fin", "POST", approve)
        assert (own.status_code, own.json()["error"]["code"]) == (403, "role_required")
        assert api("ann", "POST", approve).json()["state"] == "in force"
        assert api("ann", "POST", approve).json()["error"]["code"] == "invalid_request"
        rows = {row["owner"]: row for row in api("fin", "GET", "").json()["data"]}
        assert rows[OWNER]["raised_nano"] == 50_000
        with pytest.raises(AssertionError, match="a person acts"):
            service.cli("budgets", "raise", OWNER, "--percent", "5", "--until", str(TODAY), "--reason", "x")
        too_long = {**wanted, "ends": f"{TODAY + timedelta(days=120)}T00:00:00Z"}
        assert api("fin", "POST", "/raises", too_long).json()["error"]["param"] == "ends"
        nobody = {**wanted, "per": "year"}
        assert api("fin", "POST", "/raises", nobody).json()["error"]["param"] == "owner"


def test_a_threshold_is_posted_to_the_receiver_that_the_settings_name(tmp_path: Path, stub: StubProvider) -> None:
    rules = rules_with(stub, "hard_usd: 0.01, soft_percents: [1, 99]")
    with webhooks() as hooks:
        environment = {"ROUTER_NOTICE_URL": hooks.url, "ROUTER_NOTICE_SECRET": "5e" * 32}
        with running(tmp_path / "data", rules=rules, environment=environment) as service:
            assert ask(service, service.key()).status_code == 200
            wait_for(lambda: hooks.got, what="the notice")
            ((headers, body),) = hooks.got
            assert headers["x-router-signature"].startswith("t=")
            told = json.loads(body)
            assert (told["owner"], told["threshold"], told["limit_usd"]) == (OWNER, "1%", "0.01")
            assert "meeting" not in body.decode()

            def delivered() -> bool:
                return [each["delivered_at"] is not None for each in json.loads(service.cli("budgets", "notices", "--json"))] == [
                    True
                ]

            wait_for(delivered, what="the record of the delivery")
