"""More than a hundred benign conversations through the running service: what becomes of the calls that each turn needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from governed import deployment, rule_files
from governing import api, token
from ruamel.yaml import YAML
from running import Running, running, wait_for
from stub_provider import StubProvider, serving
from talks import CATALOGUE, TALKS, Talk
from tool_rules import FEATURES, Agent, Body

WIRES = [(api, stream) for api in ("chat", "responses", "messages") for stream in (False, True)]
"""The conversations take turns on them."""

OF_TOOL: dict[str, dict[str, Any]] = {
    function: tool for tool in YAML(typ="safe").load(CATALOGUE)["tools"] for function in tool["functions"]
}
MEETING = {"reads_private", "reads_untrusted", "egress"}
SET = """sets:
  - {{id: {id}, owner: o@office.example, business_purpose: office work, approver: approver@office.example, review_by: 2099-01-01, tools: [{tools}]}}
"""
APPS = "apps:\n  - {id: office, owner: app@office.example, clearance: restricted, ceiling: everything, purposes: [general]}\n"
RELEASED, APPROVED = "released", "approved"


class Ran(NamedTuple):
    """What became of each call of a conversation: released, approved, or how it failed."""

    talk: Talk
    wire: tuple[str, bool]
    outcomes: list[tuple[str, str]]

    @property
    def passes(self) -> bool:
        return all(outcome in (RELEASED, APPROVED) for _, outcome in self.outcomes)

    @property
    def automatic(self) -> bool:
        return all(outcome == RELEASED for _, outcome in self.outcomes)

    @property
    def tame(self) -> bool:
        """Whether private data, others' words and a way out never meet, and no owner wants to be asked."""
        tools = [OF_TOOL[step[0]] for turn in self.talk.turns for step in turn.steps]
        met = {capability for tool in tools for capability in tool["capabilities"]}
        if any("executes_code" in tool["capabilities"] and tool["highest_read"] == "confidential" for tool in tools):
            met.add("reads_private")  # code may read whatever lies where it runs
        return not met >= MEETING and all("approval_boundary" not in tool for tool in tools)


def rules(stub: StubProvider) -> dict[str, str]:
    """The catalogue in one set, and the limits of the shipped budget."""
    files = rule_files(
        [deployment("m", stub.url, clearance="restricted", more=FEATURES)],
        budget="cost_usd: 1000, requests: 200, tool_calls: 200, identical_calls: 5",
    )
    tools = sorted({tool["id"] for tool in OF_TOOL.values()})
    sets = SET.format(id="none", tools="") + SET.format(id="everything", tools=", ".join(tools)).removeprefix("sets:\n")
    routes = files["routes.yaml"].replace("set: standard", "set: everything")
    return {**files, "routes.yaml": routes, "tools.yaml": CATALOGUE, "entitlements.yaml": sets, "apps.yaml": APPS}


def offered(wire: str) -> list[Body]:
    """Every tool of the catalogue, as an app offers it."""
    described = [(name, {"type": "object", "properties": {}}) for name in OF_TOOL]
    if wire == "messages":
        return [{"name": name, "input_schema": schema} for name, schema in described]
    told: list[Body] = [{"name": name, "parameters": schema} for name, schema in described]
    if wire == "responses":
        return [{"type": "function", **each} for each in told]
    return [{"type": "function", "function": each} for each in told]


class Office:
    """The running service, its provider, and a person who approves everything."""

    def __init__(self, service: Running, stub: StubProvider) -> None:
        self.service, self.stub = service, stub
        self.key = service.key("office", "app@office.example")
        self.approver = token(service, "approver@office.example", "approver")

    def run(self, talk: Talk, wire: tuple[str, bool], http: httpx.Client) -> Ran:
        """Have the conversation: each turn is said, its calls are made one after the other, and answered in the end."""
        agent = Agent(self.service, self.key, self.stub, api=wire[0], stream=wire[1], http=http)
        agent.tools = offered(wire[0])
        outcomes: list[tuple[str, str]] = []
        for turn in talk.turns:
            agent.history.append({"role": "user", "content": turn.says})
            for function, arguments, result in turn.steps:
                answer = agent.send((function, arguments))
                outcome = RELEASED if agent.called(answer) else agent.code(answer) or "removed"
                if outcome == "approval_required":
                    answer, outcome = self.approved(agent, answer)
                outcomes.append((function, outcome))
                if agent.called(answer):
                    agent.results(answer, result)
            said = agent.send(said="Done.")
            assert said.status_code == 200, said.text
            agent.history.append({"role": "assistant", "content": "Done."})
        return Ran(talk, wire, outcomes)

    def approved(self, agent: Agent, held: httpx.Response) -> tuple[httpx.Response, str]:
        """What the app gets once a person has approved of what is held."""
        approval = agent.approval(held)
        decided = api(self.service, "POST", f"/api/approvals/{approval}/approve", self.approver)
        assert decided.status_code == 200, decided.text
        answer = agent.post()
        return answer, APPROVED if agent.called(answer) else f"approved, then {agent.code(answer)}"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with serving() as stub, running(tmp_path_factory.mktemp("talks") / "data", rules=rules(stub)) as service:
        yield Office(service, stub)


@pytest.fixture(scope="module")
def ran(office: Office) -> list[Ran]:
    with httpx.Client(timeout=60) as http:
        return [office.run(talk, WIRES[number % len(WIRES)], http) for number, talk in enumerate(TALKS)]


def test_there_are_more_than_a_hundred_and_each_turn_needs_tools_that_were_not_used_before() -> None:
    assert len({tuple(turn.says for turn in talk.turns) for talk in TALKS}) >= 100
    for talk in TALKS:
        used: set[str] = set()
        for turn in talk.turns:
            functions = {step[0] for step in turn.steps}
            assert functions - used, talk
            assert functions <= set(OF_TOOL), talk
            used |= functions
        assert 2 <= len(talk.turns) <= 4


def test_every_call_is_released_at_once_or_after_an_approval(ran: list[Ran]) -> None:
    failed = [each for each in ran if not each.passes]
    assert len(failed) <= 0.05 * len(ran), "\n".join(map(str, failed))


def test_calls_pass_by_themselves_where_private_data_others_words_and_a_way_out_do_not_meet(ran: list[Ran]) -> None:
    tame = [each for each in ran if each.tame]
    held = [each for each in tame if not each.automatic]
    assert len(tame) >= 60
    assert len(held) <= 0.05 * len(tame), "\n".join(f"{each.outcomes} {each.talk}" for each in held)


def test_of_all_conversations_most_ask_nobody(ran: list[Ran]) -> None:
    held = [outcome for each in ran for _, outcome in each.outcomes if outcome != RELEASED]
    assert len(held) <= 0.3 * len(ran), f"{len(held)} of {len(ran)}"


def test_the_report_on_approvals_counts_what_was_asked_of_people_and_how_they_decided(office: Office, ran: list[Ran]) -> None:
    held = sum(outcome != RELEASED for each in ran for _, outcome in each.outcomes)
    asked = len(office.stub.requests)  # each reached the provider once; what was approved was given without it

    def told() -> Body | None:
        report: Body = json.loads(office.service.cli("report", "approvals", "--format", "json", "--wait"))
        return report if report["total"]["approved"] == held else None

    report = wait_for(told, what="the report on every approval")
    assert report["tasks"] == asked
    assert report["held_per_100_tasks"] == round(100 * held / asked, 2)
    assert (report["total"]["held"], report["total"]["approved_unchanged"]) == (held, 1.0)
    assert report["total"]["seconds_to_decision"]["median"] < 5
    assert [(row["decided_by"], row["held"]) for row in report["by_decider"]] == [("approver@office.example", held)]
