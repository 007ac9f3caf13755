"""Responses that the provider keeps: fetched, listed, cancelled and deleted by the app they were given to, and settled whoever asks."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import openai
import pytest
from governed import deployment, rule_files
from running import Running, running, wait_for, written
from stub_provider import StubProvider, serving

from router.clock import utc_now
from routing_rules.load import shipped

APPS = """apps:
  - {id: one, owner: one@example.org, clearance: restricted, ceiling: standard, purposes: [general]}
  - {id: two, owner: two@example.org, clearance: restricted, ceiling: standard, purposes: [general]}
"""
FORBIDDEN = {"type": "function", "name": "quagga_lever", "parameters": {"type": "object", "properties": {}}}
CALCULATOR = {"type": "function", "name": "calculator", "parameters": {"type": "object", "properties": {}}}
ASK = {"model": "auto", "input": "What is six times seven? Please use the calculator."}
LEAVING = """  - id: leaving
    owner: tests@example.org
    reason: an app whose answers end when it leaves
    when: {app: two}
    then: {tier: fast, set: standard, budget: test, obligations: [cancel]}
"""
ASKED_FIRST = """
  - {id: asks, owner: owner@example.org, capabilities: [pure], functions: [ask_first], approval_boundary: every_call, highest_read: public}
"""
SETS = """sets:
  - {id: standard, owner: o@example.org, business_purpose: tests, approver: o@example.org, review_by: 2099-01-01, tools: [calculator, asks]}
"""
SECONDS = 6
TRUE_COST = Decimal(120 * 3 + 20 * 7) / 1_000_000


class Service(NamedTuple):
    running: Running
    stub: StubProvider
    one: str
    two: str

    def call(self, verb: str, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> httpx.Response:
        told = {"authorization": f"Bearer {key or self.one}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.request(verb, f"{self.running.base_url}/v1/responses{path}", json=body, headers=told, timeout=30)

    def ended(self, response_id: str) -> dict[str, Any]:
        """The response, once it is no longer under way."""
        found: list[dict[str, Any]] = []

        def over() -> bool:
            answer = self.call("GET", f"/{response_id}")
            assert answer.status_code == 200, answer.text
            found.append(answer.json())
            return found[-1]["status"] not in ("queued", "in_progress")

        wait_for(over, what="the end of the response")
        return found[-1]

    def spent(self) -> tuple[int, Decimal]:
        """Requests, and what they have cost in USD, once nothing is on its way any more."""
        total = self.running.settled()["total"]
        return total["requests"], Decimal(total["cost_usd"])


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving() as stub:
        rules = rule_files(
            [deployment("m", stub.url)], limits=f"max_output_tokens: 256, request_seconds: {SECONDS}", routes=LEAVING
        )
        tools = {"tools.yaml": shipped(utc_now().date())["tools.yaml"].rstrip() + ASKED_FIRST, "entitlements.yaml": SETS}
        with running(tmp_path_factory.mktemp("kept") / "data", rules=rules | tools | {"apps.yaml": APPS}) as service:
            yield Service(service, stub, service.key("one", "one@example.org"), service.key("two", "two@example.org"))


@pytest.fixture
def service(started: Service) -> Service:
    started.stub.scripts.clear()
    started.stub.asked_for.clear()
    started.stub.looks = 2
    return started


def test_a_response_is_shown_listed_and_deleted_by_the_official_client(service: Service) -> None:
    client = openai.OpenAI(api_key=service.one, base_url=f"{service.running.base_url}/v1", max_retries=0)
    made = client.responses.create(model="auto", input="Hello there")
    assert client.responses.retrieve(made.id).output_text == made.output_text
    assert client.responses.input_items.list(made.id).data[0].type == "message"
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError) as gone:
        client.responses.retrieve(made.id)
    assert gone.value.code == "response_not_found"
    assert service.stub.asked_for == [f"GET {made.id}", f"GET {made.id}/input_items", f"DELETE {made.id}"]


@pytest.mark.parametrize(
    ("verb", "tail"),
    [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")],
    ids=["show", "delete", "cancel", "list"],
)
def test_nobody_else_gets_anything_of_it(service: Service, verb: str, tail: str) -> None:
    response_id = service.call("POST", "", ASK).json()["id"]
    strangers = [
        service.call(verb, f"/{response_id}{tail}", key=service.two),
        service.call(verb, f"/{response_id}{tail}", x_session_id="another-session"),
        service.call(verb, f"/resp_of_nobody{tail}"),
    ]
    assert [(each.status_code, each.json()["error"]["code"]) for each in strangers] == [(404, "response_not_found")] * 3
    assert service.call(verb, f"/{response_id}{tail}", key="rk-nobody").status_code == 401
    assert service.stub.asked_for == []


def test_a_key_that_is_cleared_for_less_gets_none_of_a_session_above_it(service: Service) -> None:
    low = service.running.key("one", "one@example.org", "--clearance", "public")
    response_id = service.call("POST", "", ASK, x_router_label="internal").json()["id"]
    refused = service.call("GET", f"/{response_id}", key=low)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "sensitivity_not_permitted")


def test_of_an_ended_session_nothing_is_shown(service: Service) -> None:
    made = service.call("POST", "", ASK)
    service.running.cli("session", "end", made.headers["x-router-session"], "--app", "one", "--reason", "test")
    refused = service.call("GET", f"/{made.json()['id']}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "session_ended")


def test_a_call_that_was_removed_is_not_had_by_fetching_the_response_again(service: Service) -> None:
    service.stub.script("m", "two_tools")
    service.stub.script("m", "tools:quagga_lever")
    made = service.call("POST", "", {**ASK, "tools": [CALCULATOR, FORBIDDEN]}).json()
    assert [item["type"] for item in made["output"]] == ["message"]
    kept = service.stub.kept[made["id"]]
    assert kept.whole["output"][0]["name"] == "quagga_lever"
    again = service.call("GET", f"/{made['id']}").json()
    assert [item["type"] for item in again["output"]] == ["message"]
    kept.whole["output"] = [{**kept.whole["output"][0], "name": "calculator", "call_id": "call_never_issued"}]
    assert service.call("GET", f"/{made['id']}").json()["output"] == []


def test_calls_that_were_let_through_are_shown_again(service: Service) -> None:
    service.stub.script("m", "tools:calculator")
    made = service.call("POST", "", {**ASK, "tools": [CALCULATOR]}).json()
    again = service.call("GET", f"/{made['id']}").json()
    assert again["output"] == made["output"]
    assert again["output"][0]["name"] == "calculator"


def test_calls_that_were_never_let_through_are_not_among_the_items_that_were_sent(service: Service) -> None:
    made = service.call("POST", "", ASK).json()
    service.stub.kept[made["id"]].items.append(
        {"id": "fc_1", "type": "function_call", "call_id": "call_never_issued", "name": "calculator", "arguments": "{}"}
    )
    told = service.call("GET", f"/{made['id']}/input_items").json()
    assert [item["type"] for item in told["data"]] == ["message"]
    assert told["last_id"] == told["data"][-1]["id"]


def test_what_the_address_asks_beyond_what_is_served_is_refused(service: Service) -> None:
    response_id = service.call("POST", "", ASK).json()["id"]
    assert service.call("GET", f"/{response_id}?stream=true").json()["error"]["param"] == "stream"
    assert service.call("GET", f"/{response_id}?mood=kind").json()["error"]["code"] == "unknown_parameter"
    for query in ("include[]=the+picnic+is+off", "include_obfuscation=maybe"):
        assert service.call("GET", f"/{response_id}?{query}").json()["error"]["code"] == "invalid_request"
    for query in ("after=the+picnic+is+off", "limit=ten", "order=random", "include=mood"):
        assert service.call("GET", f"/{response_id}/input_items?{query}").json()["error"]["code"] == "invalid_request"
    assert service.call("PUT", f"/{response_id}").status_code == 405
    assert service.stub.asked_for == []


def test_what_the_provider_was_told_not_to_keep_is_not_found(service: Service) -> None:
    response_id = service.call("POST", "", {**ASK, "store": False}).json()["id"]
    assert service.call("GET", f"/{response_id}").status_code == 404


# In the background


def test_a_response_in_the_background_is_settled_with_what_it_cost_although_nobody_asks(service: Service) -> None:
    requests, cost = service.spent()
    begun = service.call("POST", "", {**ASK, "background": True})
    assert (begun.status_code, begun.json()["status"]) == (200, "in_progress")
    assert service.spent() == (requests + 1, cost + TRUE_COST)
    assert service.ended(begun.json()["id"])["usage"]["output_tokens"] == 20


def test_its_calls_are_judged_at_its_end_and_a_session_knows_them(service: Service) -> None:
    service.stub.script("m", "two_tools")
    begun = service.call("POST", "", {**ASK, "background": True, "tools": [CALCULATOR, FORBIDDEN]}).json()
    output = service.ended(begun["id"])["output"]
    assert [item["name"] for item in output if item["type"] == "function_call"] == ["calculator"]
    assert "quagga_lever" not in str([item for item in output if item["type"] == "function_call"])


def test_a_call_in_it_that_waits_for_a_person_is_given_once_it_is_approved_and_not_before(service: Service) -> None:
    service.stub.script("m", "tools:ask_first")
    body = {**ASK, "background": True, "tools": [{**CALCULATOR, "name": "ask_first"}]}
    response_id = service.call("POST", "", body).json()["id"]
    wait_for(lambda: service.call("GET", f"/{response_id}").status_code == 403, what="the judgement")
    error = service.call("GET", f"/{response_id}").json()["error"]
    assert error["code"] == "approval_required"
    service.running.cli("approvals", "approve", error["approval"]["id"])
    given = service.call("POST", "", body).json()
    assert [item["name"] for item in given["output"]] == ["ask_first"]
    assert service.call("GET", f"/{response_id}").json()["output"] == given["output"]


def test_while_it_is_under_way_nothing_of_it_is_told_and_nothing_can_follow_it(service: Service) -> None:
    service.stub.looks = None
    begun = service.call("POST", "", {**ASK, "background": True}).json()
    shown = service.call("GET", f"/{begun['id']}").json()
    assert (begun["output"], shown["output"], shown["status"]) == ([], [], "in_progress")
    follow = {**ASK, "previous_response_id": begun["id"]}
    refused = service.call("POST", "", follow)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "response_not_found")
    service.call("POST", f"/{begun['id']}/cancel")
    assert service.ended(begun["id"])["status"] == "cancelled"
    wait_for(lambda: service.call("POST", "", follow).status_code == 200, what="the end of the response")


def test_it_is_cancelled_by_its_app_and_settled(service: Service) -> None:
    service.stub.looks = None
    requests, _ = service.spent()
    response_id = service.call("POST", "", {**ASK, "background": True}).json()["id"]
    assert service.call("DELETE", f"/{response_id}").status_code == 400
    service.call("POST", f"/{response_id}/cancel")
    assert service.ended(response_id)["status"] == "cancelled"
    assert service.call("DELETE", f"/{response_id}").json()["deleted"] is True
    assert service.spent()[0] == requests + 1


def test_it_is_cut_at_its_time_limit(service: Service) -> None:
    service.stub.looks = None
    began = time.monotonic()
    response_id = service.call("POST", "", {**ASK, "background": True}).json()["id"]
    assert service.ended(response_id)["status"] == "cancelled"
    assert SECONDS - 1 < time.monotonic() - began < SECONDS + 30
    assert f"POST {response_id}/cancel" in service.stub.asked_for


def test_it_ends_with_its_session(service: Service) -> None:
    service.stub.looks = None
    begun = service.call("POST", "", {**ASK, "background": True})
    service.running.cli("session", "end", begun.headers["x-router-session"], "--app", "one", "--reason", "test")
    wait_for(lambda: f"POST {begun.json()['id']}/cancel" in service.stub.asked_for, what="the end at the provider")


def test_a_stream_in_the_background_that_breaks_off_is_followed_to_its_end(service: Service) -> None:
    service.stub.script("m", "half")
    requests, cost = service.spent()
    told = service.call("POST", "", {**ASK, "background": True, "stream": True}).text
    assert "upstream_truncated" in told
    (response_id,) = set(re.findall(r'"id": ?"(resp_[a-z0-9_]+)"', told))
    assert service.ended(response_id)["status"] == "completed"
    assert service.spent() == (requests + 1, cost + TRUE_COST)


def test_a_stream_in_the_background_is_ended_at_the_provider_when_its_app_has_left(service: Service) -> None:
    service.stub.script("m", "stall")
    service.stub.looks = None
    requests, _ = service.spent()
    url = f"{service.running.base_url}/v1/responses"
    body = {**ASK, "background": True, "stream": True}
    with httpx.stream("POST", url, json=body, headers={"authorization": f"Bearer {service.two}"}, timeout=30) as answer:
        told = next(answer.iter_text())
    (response_id,) = set(re.findall(r'"id": ?"(resp_[a-z0-9_]+)"', told))
    wait_for(lambda: f"POST {response_id}/cancel" in service.stub.asked_for, what="the end at the provider")
    assert service.spent()[0] == requests + 1


def test_after_a_crash_another_worker_follows_it_and_the_true_cost_corrects_the_estimate(service: Service) -> None:
    service.stub.looks = 1_000_000
    requests, cost = service.spent()
    response_id = service.call("POST", "", {**ASK, "background": True}).json()["id"]
    (worker,) = service.running.children("work")
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: service.running.get("/readyz")[0] == 200, 30, "the next worker")
    service.stub.kept[response_id].looks = 0

    wait_for(lambda: service.spent() == (requests + 1, cost + TRUE_COST), 30, "the correction")
    assert service.ended(response_id)["usage"]["output_tokens"] == 20


def test_of_a_deployment_that_only_a_canary_knows_it_is_fetched_and_settled_as_any_other(
    service: Service, tmp_path: Path
) -> None:
    requests, cost = service.spent()
    tried = written(tmp_path / "tried", rule_files([deployment("tried", service.stub.url)]))
    (tried / "routes.yaml").unlink()
    (tried / "budgets.yaml").unlink()
    made = json.loads(service.running.cli("rules", "propose", "--from", str(tried), "--json"))
    service.running.cli("rules", "canary", made["id"], "--share", "50")
    names = [f"tried-{number}" for number in range(100)]
    used = 0

    def session_of(revision: str) -> str:
        """A session that is decided by a revision."""
        nonlocal used
        while used < len(names):
            used += 1
            answer = service.call("POST", "", ASK, x_session_id=names[used - 1])
            if answer.headers["x-router-revision"] == revision:
                return names[used - 1]
        raise AssertionError(f"no session is decided by {revision}")

    mine = session_of(made["revision"])
    others = session_of(made["base"])
    begun = service.call("POST", "", {**ASK, "background": True}, x_session_id=mine)
    assert begun.headers["x-router-model"] == "tried"
    assert service.ended(begun.json()["id"])["usage"]["output_tokens"] == 20
    elsewhere = service.call("POST", "", {**ASK, "background": True}, x_session_id=others)
    assert elsewhere.headers["x-router-model"] == "m"
    assert service.ended(elsewhere.json()["id"])["status"] == "completed"

    service.stub.looks = 1_000_000
    left = service.call("POST", "", {**ASK, "background": True}, x_session_id=mine).json()["id"]
    (worker,) = service.running.children("work")
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: service.running.get("/readyz")[0] == 200, 30, "the next worker")
    service.stub.kept[left].looks = 0
    asked = requests + used + 3
    wait_for(lambda: service.spent() == (asked, cost + (asked - requests) * TRUE_COST), 30, "the correction")
    service.running.cli("rules", "canary", made["id"], "--end")
