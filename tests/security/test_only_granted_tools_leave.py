"""A tool that is not granted leaves by no shape of the wire, and no word that an app chooses makes it another tool."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest

from router.api.wire import parse
from router.stages.attach import attach
from router.stages.read_task import NO_HEADERS, read_task
from routing_rules.budgets import CallLimits
from routing_rules.decisions import ToolGrant
from routing_rules.entitlements import grant_within
from routing_rules.facts import Caller, Facts, Labels
from routing_rules.load import load, shipped
from routing_rules.rules import RuleSet
from routing_rules.task import Endpoint, Task
from routing_rules.vocabulary import Access, Complexity, ScanState, Sensitivity, TaskKind

TODAY = date(2026, 8, 3)
NOW = datetime(2026, 8, 3, 12, tzinfo=UTC)
HELLO = {"role": "user", "content": "Hello"}
CALCULATOR = {"type": "function", "function": {"name": "calculator"}}


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    files = shipped(TODAY)
    files["tools.yaml"] += (
        "  - {id: wiki, owner: knowledge@example.org, capabilities: [reads_private], servers: [wiki], highest_read: internal}\n"
    )
    files["entitlements.yaml"] = files["entitlements.yaml"].replace("tools: [calculator,", "tools: [wiki, calculator,")
    return load(files)


def asked(endpoint: Endpoint, body: dict[str, Any]) -> tuple[dict[str, Any], Task]:
    checked = parse(endpoint, msgspec.json.encode({"model": "auto", **body}))
    return checked, read_task(endpoint, checked, NO_HEADERS, {}, Sensitivity.RESTRICTED)


def granted(rules: RuleSet, task: Task) -> ToolGrant:
    app = rules.apps["demo"]
    facts = Facts(
        now=NOW,
        endpoint=task.endpoint,
        caller=Caller(app.id, app.owner, app.team, app.cost_center, "k", app.clearance, "standard", "general"),
        wish=task.wish,
        wish_known=True,
        detected=Sensitivity.PUBLIC,
        declared=None,
        labels=Labels(),
        categories=frozenset(),
        access=Access.READ,
        intent=frozenset(),
        task=TaskKind.OTHER,
        complexity=Complexity.SIMPLE,
        complexity_score=0.0,
        state=ScanState.COMPLETE,
        tools=task.tools,
        tool_choice=task.tool_choice,
    )
    return grant_within(rules, facts, "rule", "standard")


def sent(rules: RuleSet, endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any]:
    checked, task = asked(endpoint, body)
    return attach(
        endpoint,
        checked,
        grant=granted(rules, task),
        limits=CallLimits(),
        output_tokens=16,
        model="m",
        obligations=(),
        stream=False,
    ).body


@pytest.mark.parametrize("kind", ["shell", "code_interpreter", "computer", "anything"])
def test_the_label_of_a_granted_server_makes_no_other_tool_a_granted_one(rules: RuleSet, kind: str) -> None:
    assert "tools" not in sent(rules, Endpoint.CHAT, {"messages": [HELLO], "tools": [{"type": kind, "server_label": "wiki"}]})


def test_nor_does_it_in_the_responses_format(rules: RuleSet) -> None:
    assert "tools" not in sent(
        rules, Endpoint.RESPONSES, {"input": "Hello", "tools": [{"type": "anything", "server_label": "wiki"}]}
    )


def test_the_server_itself_is_granted(rules: RuleSet) -> None:
    tool = {"type": "mcp", "server_label": "wiki", "server_url": "https://wiki.example.org"}
    asked_for_first = {**tool, "require_approval": "always"}  # nobody has looked at its tools
    assert sent(rules, Endpoint.RESPONSES, {"input": "Hello", "tools": [tool]})["tools"] == [asked_for_first]


def test_a_namespace_in_a_chat_does_not_leave_by_the_granted_tools_in_it(rules: RuleSet) -> None:
    smuggled = {
        "type": "namespace",
        "name": "",
        "more": [{"type": "shell"}],
        "tools": [{"type": "function", "name": "calculator"}],
    }
    assert sent(rules, Endpoint.CHAT, {"messages": [HELLO], "tools": [CALCULATOR, smuggled]})["tools"] == [CALCULATOR]


@pytest.mark.parametrize("label", [["wiki"], {"wiki": 1}, 7, True])
def test_a_label_that_is_no_text_names_no_server(rules: RuleSet, label: Any) -> None:
    assert "tools" not in sent(rules, Endpoint.CHAT, {"messages": [HELLO], "tools": [{"type": "mcp", "server_label": label}]})
    assert "tools" not in sent(rules, Endpoint.RESPONSES, {"input": "Hello", "tools": [{"type": "other", "server_label": label}]})
