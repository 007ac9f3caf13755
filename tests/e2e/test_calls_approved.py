"""A held call waits for a person: the app gets the answer itself once it is given, on all wires, without a second call upstream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from governing import api, token
from running import Running, running
from stub_provider import StubProvider, serving
from tool_rules import Agent, Call, tool_rules

CASES = [(api, stream) for api in ("chat", "responses", "messages") for stream in (False, True)]
ASKS: Call = ("ask_first", {"what": "the IBAN DE12500105170648489890"})
STEP_UP = "  - {id: planning, owner: rules@example.org, reason: plans are read first, when: {declared: restricted}}\n"


class World:
    def __init__(self, service: Running, stub: StubProvider) -> None:
        self.service, self.stub = service, stub
        self.eve = token(service, "eve@example.org", "approver")
        self.key = service.key("agent", "agent@example.org")
        self.other = service.key("other", "other@example.org")
        self.narrow = service.key("agent", "agent@example.org", "--ceiling", "none")

    def agent(self, case: tuple[str, bool] = ("chat", False)) -> Agent:
        return Agent(self.service, self.key, self.stub, api=case[0], stream=case[1])

    def status(self, approval: str) -> str:
        return str(self.shown(approval)["status"])

    def shown(self, approval: str) -> dict[str, Any]:
        shown: dict[str, Any] = api(self.service, "GET", f"/api/approvals/{approval}", self.eve).json()
        return shown

    def approve(self, approval: str) -> None:
        assert api(self.service, "POST", f"/api/approvals/{approval}/approve", self.eve).status_code == 200

    def deny(self, approval: str) -> None:
        assert api(self.service, "POST", f"/api/approvals/{approval}/reject", self.eve).status_code == 200


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving() as stub:
        rules = tool_rules(stub, budget="cost_usd: 1000, requests: 6")
        rules["routes.yaml"] = "step_ups:\n" + STEP_UP + rules["routes.yaml"]
        with running(tmp_path_factory.mktemp("approved") / "data", rules=rules, workers=2) as service:
            yield World(service, stub)


@pytest.fixture
def world(started: World) -> World:
    started.stub.scripts.clear()
    started.stub.requests.clear()
    return started


@pytest.mark.parametrize("case", CASES)
def test_the_held_answer_is_given_once_it_is_approved_and_the_provider_is_not_asked_again(
    world: World, case: tuple[str, bool]
) -> None:
    agent = world.agent(case)
    held = agent.ask("Please find out what it is.", ASKS, said="Let me ask.")
    assert agent.called(held) == []
    assert agent.code(held) == "approval_required"
    if not agent.stream:
        approval = held.headers["x-router-approval"]
        told = held.json()["error"]["approval"]
        assert (told["id"], told["status"]) == (approval, "pending")
        assert told["url"].endswith(f"/api/approvals/{approval}")
        assert told["authorization_details"][0]["identifier"] == "asks"
        assert "DE12" not in held.text
    else:
        approval = next(
            (event.get("error") or event)["approval"]["id"]
            for event in map(json.loads, (line[6:] for line in held.text.splitlines() if line.startswith("data: {")))
            if "error" in event or event.get("type") == "error"
        )
    assert len(world.stub.requests) == 1

    waiting = agent.post()
    assert (waiting.status_code, agent.code(waiting)) == (403, "approval_required")
    assert waiting.headers["x-router-approval"] == approval
    assert "not decided" in waiting.json()["error"]["message"]

    world.approve(approval)
    given = agent.post()
    assert [name for _, name in agent.called(given)] == ["ask_first"], given.text
    assert agent.code(given) is None
    assert "Let me ask." in given.text
    assert len(world.stub.requests) == 1
    # It is for one use, and the conversation goes on in its session.
    agent.results(given, {"answer": 42})
    after = agent.send(said="42")
    assert after.status_code == 200
    assert after.headers["x-router-session"] == waiting.headers.get("x-router-session", after.headers["x-router-session"])
    assert len(world.stub.requests) == 2


def test_an_approval_is_used_once_by_its_app_alone_and_also_by_its_header(world: World) -> None:
    agent = world.agent()
    approval = agent.ask("Please find out what it is.", ASKS).headers["x-router-approval"]
    world.approve(approval)
    stranger = Agent(world.service, world.other, world.stub)
    stranger.history = agent.history
    assert stranger.code(stranger.post(x_router_approval=approval)) == "invalid_request"
    given = agent.post(x_router_approval=approval)
    assert [name for _, name in agent.called(given)] == ["ask_first"]
    again = agent.post(x_router_approval=approval)
    assert (again.status_code, agent.code(again)) == (403, "approval_required")


def test_a_denied_call_stays_denied(world: World) -> None:
    agent = world.agent()
    approval = agent.ask("Please find out what it is, by all means.", ASKS).headers["x-router-approval"]
    world.deny(approval)
    denied = agent.post()
    assert (denied.status_code, agent.code(denied)) == (403, "tool_not_entitled")
    assert len(world.stub.requests) == 1


def test_a_denied_call_that_is_written_otherwise_asks_nobody_again_and_is_told_to_be_denied(world: World) -> None:
    agent = world.agent()
    agent.headers = {"x-session-id": "denied-otherwise"}
    approval = agent.ask("Please find out, as before.", ("ask_first", {"q": 1, "z": "a"})).headers["x-router-approval"]
    world.deny(approval)
    otherwise: list[dict[str, Any]] = [{"z": "a", "q": 1}, {"q": 1.0, "z": "a"}, {"q": 1, "z": "a", "then": None}]
    for number, arguments in enumerate(otherwise):
        agent.history = [{"role": "user", "content": f"Please find out, number {number}."}]
        denied = agent.send(("ask_first", arguments))
        assert (denied.status_code, agent.code(denied)) == (403, "tool_not_entitled"), denied.text
        told = denied.json()["error"]["approval"]
        assert (told["id"], told["status"]) == (approval, "denied")


@pytest.mark.parametrize("case", [("messages", False), ("chat", True)])
def test_an_approval_is_not_used_up_by_asking_for_its_answer_where_it_was_not_asked_for(
    world: World, case: tuple[str, bool]
) -> None:
    agent = world.agent()
    approval = agent.ask(f"Please find out where it was asked: {case}.", ASKS).headers["x-router-approval"]
    world.approve(approval)
    elsewhere = world.agent(case)
    elsewhere.history = agent.history
    refused = elsewhere.post(x_router_approval=approval)
    assert (refused.status_code, elsewhere.code(refused)) == (400, "invalid_request")
    assert world.status(approval) == "approved"
    assert [name for _, name in agent.called(agent.post())] == ["ask_first"]


def test_an_approval_is_not_used_up_by_a_key_that_may_not_use_the_tool(world: World) -> None:
    agent = world.agent()
    approval = agent.ask("Please find out with another key.", ASKS).headers["x-router-approval"]
    world.approve(approval)
    narrow = Agent(world.service, world.narrow, world.stub)
    narrow.history = agent.history
    refused = narrow.post(x_router_approval=approval)
    assert (refused.status_code, narrow.code(refused)) == (403, "tool_not_entitled")
    assert world.status(approval) == "approved"
    assert [name for _, name in agent.called(agent.post())] == ["ask_first"]


def test_an_approval_is_not_used_up_where_the_session_has_nothing_left(world: World) -> None:
    agent = world.agent()
    agent.headers = {"x-session-id": "nothing-left"}
    approval = agent.ask("Please find out while something is left.", ASKS).headers["x-router-approval"]
    for _ in range(5):
        assert Agent.ask(world.agent(), "Hello.", x_session_id="nothing-left").status_code == 200
    world.approve(approval)
    refused = agent.post()
    assert (refused.status_code, agent.code(refused)) == (402, "session_budget_exceeded")
    assert world.status(approval) == "approved"


def test_people_are_told_which_end_user_it_is_for(world: World) -> None:
    agent = world.agent()
    agent.more = {"user": "customer-4711"}
    approval = agent.ask("Please find out for a customer.", ASKS).headers["x-router-approval"]
    assert world.shown(approval)["end_user"] == "customer-4711"


def test_an_answer_of_a_held_task_whose_call_is_held_too_is_given_once_both_are_approved(world: World) -> None:
    agent = world.agent()
    task = agent.ask("Write the plan, and find out what it is.", ASKS, x_router_label="restricted")
    world.approve(task.headers["x-router-approval"])
    call = agent.post(x_router_label="restricted")
    assert (call.status_code, agent.code(call)) == (403, "approval_required"), call.text
    assert call.headers["x-router-approval"] != task.headers["x-router-approval"]
    world.approve(call.headers["x-router-approval"])
    given = agent.post(x_router_label="restricted")
    assert [name for _, name in agent.called(given)] == ["ask_first"], given.text
    assert len(world.stub.requests) == 1


def test_a_held_task_is_forwarded_once_it_is_approved(world: World) -> None:
    agent = world.agent()
    held = agent.ask("Write the plan.", said="The plan.", x_router_label="restricted")
    assert (held.status_code, agent.code(held)) == (403, "approval_required")
    approval = held.headers["x-router-approval"]
    assert held.json()["error"]["approval"]["authorization_details"][0]["type"] == "task"
    assert world.stub.requests == []
    world.approve(approval)
    given = agent.post(x_router_label="restricted")
    assert given.status_code == 200, given.text
    assert len(world.stub.requests) == 1
    assert agent.post(x_router_label="restricted").status_code == 403
