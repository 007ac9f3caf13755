"""Budgets of owners in the whole service: several at once, and going on in the fast tier where a rule says so."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from governed import deployment, rule_files
from running import Running, running, wait_for
from stub_provider import StubProvider, serving

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
        stub.usage = (1000, 0, 256, 0)  # the dearest: at most two more fit below the last limit
        answers = [ask(service, key) for _ in range(4)]
        assert answers[-1].status_code == 402
        assert answers[-1].json()["error"]["code"] == "owner_budget_exceeded"
        assert answers[-1].json()["error"]["period"] == year
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
