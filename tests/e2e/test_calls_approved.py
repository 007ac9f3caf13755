"""A held call waits for a person: the app gets the answer itself once it is given, on all wires, without a second call upstream."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from running import Running, running
from stub_provider import StubProvider, serving
from tool_rules import Agent, Call, tool_rules

CASES = [(api, stream) for api in ("chat", "responses", "messages") for stream in (False, True)]
ASKS: Call = ("ask_first", {"what": "the IBAN DE12500105170648489890"})
STEP_UP = "  - {id: planning, owner: rules@example.org, reason: plans are read first, when: {declared: restricted}}\n"


class World:
    def __init__(self, service: Running, stub: StubProvider) -> None:
        self.service, self.stub = service, stub
        self.key = service.key("agent", "agent@example.org")
        self.other = service.key("other", "other@example.org")

    def agent(self, case: tuple[str, bool] = ("chat", False)) -> Agent:
        return Agent(self.service, self.key, self.stub, api=case[0], stream=case[1])

    def approve(self, approval: str) -> None:
        self.service.cli("approvals", "approve", approval)

    def deny(self, approval: str) -> None:
        self.service.cli("approvals", "reject", approval)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving() as stub:
        rules = tool_rules(stub)
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
