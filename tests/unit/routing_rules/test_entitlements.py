"""What is offered of the tools that an app asks for, and why the rest is withheld."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from routing_rules.decide import decide
from routing_rules.decisions import Permit, ToolGrant
from routing_rules.entitlements import authorise, capabilities_of, grant_within
from routing_rules.facts import Facts
from routing_rules.rules import RuleSet
from routing_rules.task import ToolAsk, ToolChoice
from routing_rules.vocabulary import Capability

Build = Callable[..., Facts]

HOSTED = [
    ("web_search", {Capability.READS_UNTRUSTED, Capability.EGRESS}),
    ("web_search_preview_2025_03_11", {Capability.READS_UNTRUSTED, Capability.EGRESS}),
    ("file_search", {Capability.READS_PRIVATE}),
    ("code_interpreter", {Capability.EXECUTES_CODE, Capability.WRITES_STATE}),
    ("shell", {Capability.EXECUTES_CODE, Capability.WRITES_STATE}),
    ("local_shell", {Capability.EXECUTES_CODE, Capability.WRITES_STATE}),
    ("apply_patch", {Capability.WRITES_STATE}),
    (
        "computer_use_preview",
        {Capability.COMPUTER_CONTROL, Capability.READS_UNTRUSTED, Capability.EGRESS, Capability.WRITES_STATE},
    ),
    ("image_generation", {Capability.EGRESS}),
    ("mcp", {Capability.READS_PRIVATE, Capability.READS_UNTRUSTED, Capability.EGRESS, Capability.WRITES_STATE}),
    ("tool_search", {Capability.LOADS_TOOLS}),
    ("namespace", {Capability.LOADS_TOOLS}),
    ("additional_tools", {Capability.LOADS_TOOLS}),
]


def grant_of(rules: RuleSet, facts: Facts) -> ToolGrant:
    permit = decide(rules, facts)
    assert isinstance(permit, Permit)
    return authorise(rules, facts, permit)


@pytest.mark.parametrize(("kind", "capabilities"), HOSTED)
def test_every_hosted_tool_is_in_the_shipped_catalogue(rules: RuleSet, kind: str, capabilities: set[Capability]) -> None:
    found = capabilities_of(rules, ToolAsk(kind, kind, "tools[0]", server="crm" if kind == "mcp" else None))
    assert found is not None
    assert found >= capabilities


def test_a_tool_that_nobody_registered_has_no_capabilities_and_is_withheld(rules: RuleSet, facts: Build) -> None:
    assert capabilities_of(rules, ToolAsk("frobnicate", "function", "tools[0]")) is None
    grant = grant_of(rules, facts(functions=("frobnicate", "calculator")))
    assert grant.granted == (("function", "calculator"),)
    assert [(item.name, item.reason) for item in grant.withheld] == [("frobnicate", "unregistered")]


def test_what_is_granted_lies_within_ceiling_and_set(rules: RuleSet, facts: Build) -> None:
    asked = facts(functions=("send_email", "make_payment", "search_web"), caller={"ceiling": "agentic"})
    reasons = {item.name: item.reason for item in grant_of(rules, asked).withheld}
    assert reasons == {"send_email": "not_in_set", "make_payment": "over_ceiling"}
    narrowed = facts(functions=("search_web", "calculator"), caller={"ceiling": "standard", "key_ceiling": "pure"})
    assert grant_of(rules, narrowed).granted == (("function", "calculator"),)


def test_a_ceiling_that_does_not_exist_grants_nothing(rules: RuleSet, facts: Build) -> None:
    assert grant_of(rules, facts(functions=("calculator",), caller={"ceiling": "gone"})).granted == ()


def test_a_set_whose_review_is_overdue_grants_nothing(rules: RuleSet, facts: Build) -> None:
    late = facts(functions=("calculator",), now=datetime(2029, 1, 1, tzinfo=UTC))
    grant = grant_within(rules, late, "any", "standard")
    assert [item.reason for item in grant.withheld] == ["set_overdue"]


def test_the_kind_of_a_tool_counts_not_only_its_name(rules: RuleSet, facts: Build) -> None:
    pretending = facts(tools=(ToolAsk("calculator", "shell", "tools[0]"), ToolAsk("calculator", "custom", "tools[1]")))
    grant = grant_of(rules, pretending)
    assert grant.granted == (("custom", "calculator"),)
    assert [(item.kind, item.reason) for item in grant.withheld] == [("shell", "over_ceiling")]


def test_an_mcp_server_goes_by_its_label(rules_with: Callable[..., RuleSet], facts: Build) -> None:
    rules = rules_with(
        tools="tools: [{id: crm, owner: o, capabilities: [reads_private], servers: ['crm-*']}, {id: calc, owner: o, capabilities: [pure], functions: [calculator]}]",
        entitlements="sets: [{id: all, owner: o, business_purpose: p, approver: a, review_by: 2030-01-01, tools: [crm]}]",
        apps="apps: [{id: demo, owner: o, clearance: restricted, ceiling: all, purposes: [general]}]",
        routes="routes: [{id: any, owner: o, reason: r, then: {tier: fast, set: all, budget: default}}]",
    )
    servers = tuple(ToolAsk("mcp", "mcp", f"tools[{i}]", server=label) for i, label in enumerate(("crm-eu", "other")))
    grant = grant_of(rules, facts(tools=servers, caller={"ceiling": "all"}))
    assert grant.granted == (("mcp", "crm-eu"),)
    assert [(item.name, item.reason) for item in grant.withheld] == [("other", "unregistered")]


@pytest.mark.parametrize(
    ("choice", "functions", "kept"),
    [
        (ToolChoice("auto"), ("frobnicate",), True),
        (ToolChoice("none"), ("frobnicate",), True),
        (ToolChoice("required"), ("frobnicate", "calculator"), True),
        (ToolChoice("required"), ("frobnicate", "delete_all"), False),
        (ToolChoice("named", ("calculator",)), ("frobnicate", "calculator"), True),
        (ToolChoice("named", ("frobnicate",)), ("frobnicate", "calculator"), False),
        (ToolChoice("allowed", ("frobnicate", "calculator")), ("frobnicate", "calculator"), True),
        (ToolChoice("allowed", ("frobnicate",), required=True), ("frobnicate", "calculator"), False),
        (ToolChoice("allowed", ("frobnicate",)), ("frobnicate", "calculator"), False),
    ],
)
def test_a_tool_choice_is_kept_or_refused_never_widened(
    rules: RuleSet, facts: Build, choice: ToolChoice, functions: tuple[str, ...], kept: bool
) -> None:
    refusal = grant_of(rules, facts(functions=functions, tool_choice=choice)).choice_refusal
    assert (refusal is None) is kept
    if refusal is not None:
        assert "`routine-work`" in refusal
        assert "withheld" in refusal


def test_an_exact_name_comes_before_a_glob(rules_with: Callable[..., RuleSet]) -> None:
    rules = rules_with(
        tools="tools: [{id: any, owner: o, capabilities: [egress], functions: ['send_*']}, {id: note, owner: o, capabilities: [pure], functions: [send_note]}]",
        entitlements="sets: [{id: none, owner: o, business_purpose: p, approver: a, review_by: 2030-01-01, tools: []}]",
        apps="apps: []",
        routes="routes: [{id: any, owner: o, reason: r, then: {tier: fast, set: none, budget: default}}]",
    )
    assert capabilities_of(rules, ToolAsk("send_note", "function", "")) == frozenset({Capability.PURE})
    assert capabilities_of(rules, ToolAsk("send_mail", "function", "")) == frozenset({Capability.EGRESS})
