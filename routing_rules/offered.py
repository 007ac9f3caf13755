"""Which of the granted tools a session may still be offered: what a provider runs by itself can only be judged before it is asked (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from routing_rules.catalogue import Tool
from routing_rules.decisions import Permit, ServerGrant, ToolGrant, Withheld
from routing_rules.entitlements import choice_refusal
from routing_rules.facts import Facts, Labels
from routing_rules.judge import OFFER_RULES, CallFacts, Outcome, judge, labels_after
from routing_rules.rules import RuleSet
from routing_rules.task import ToolAsk
from routing_rules.vocabulary import Capability, Intent

RUN_BY_THE_APP = (
    *("function", "custom", "computer", "local_shell", "shell", "apply_patch"),
    *("bash", "text_editor", "memory", "browser_toolset"),
)
"""Types of tool, also with a variant behind them, whose calls come to the app and are judged then."""


_VARIANTS = tuple(f"{own}_" for own in RUN_BY_THE_APP)


class Offered(NamedTuple):
    """The grant that is left, and what the session holds once it is forwarded."""

    grant: ToolGrant
    labels: Labels
    used: frozenset[Capability]
    used_tools: frozenset[str]


def is_run_by_provider(kind: str) -> bool:
    """Whether calls of a tool of this type have run by the time that they are seen."""
    return kind not in RUN_BY_THE_APP and not kind.startswith(_VARIANTS)


def within_session(
    rules: RuleSet,
    facts: Facts,
    permit: Permit,
    grant: ToolGrant,
    labels: Labels,
    used: frozenset[Capability],
    used_tools: frozenset[str],
) -> Offered:
    """The grant without what must not meet with what the session has had in it, or with what is offered beside it and comes first.

    What is left counts as used from the moment that it is forwarded.
    """
    own = rules.sets.get(permit.entitlement_set)
    left: list[tuple[str, str]] = []
    withheld: list[Withheld] = []
    for key in grant.granted:
        kind, name = key
        reason = None
        for tool in _runs(rules, grant, kind, name) if is_run_by_provider(kind) else ():
            judgement = judge(
                CallFacts(
                    tool=tool,
                    offered=True,
                    intent=Intent(facts.intent),
                    confidence=1.0,
                    labels=labels,
                    used=used,
                    used_tools=used_tools,
                    third_party=kind == "mcp" and not tool.internal,
                    prohibited=own.prohibited if own is not None else (),
                    step_ups=own.step_ups if own is not None else (),
                ),
                OFFER_RULES,
            )
            if judgement.outcome is not Outcome.RELEASED:
                reason = _REASONS.get(judgement.objections[0].code.partition(":")[0], "combination")
                break
            labels, used, used_tools = labels_after(labels, tool), used | judgement.adds, used_tools | {tool.id}
        if reason is None:
            left.append(key)
        else:
            withheld.append(Withheld(name=name, kind=kind, reason=reason))
    if not withheld:
        return Offered(grant, labels, used, used_tools)
    offered = frozenset(left)
    asks = [ask for ask in facts.tools if (ask.kind, ask.server if ask.kind == "mcp" else ask.name) in offered]
    every = (*grant.withheld, *withheld)
    cut = ToolGrant(
        granted=tuple(left),
        withheld=every,
        choice_refusal=grant.choice_refusal or choice_refusal(facts.tool_choice, asks, withheld, permit.rule),
        servers=tuple(server for server in grant.servers if ("mcp", server.label) in offered),
    )
    return Offered(cut, labels, used, used_tools)


_REASONS = {
    "prohibited_combination": "prohibited_combination",
    "approval_every_call": "approval_required",
    "approval_first_use": "approval_required",
    "restricted_to_third_party": "restricted_to_third_party",
    "evaluation_error": "evaluation_error",
}


def _runs(rules: RuleSet, grant: ToolGrant, kind: str, name: str) -> Iterator[Tool]:
    """The tools that the provider may run by itself where this is granted."""
    if kind != "mcp":
        tool = rules.tool_index.find(ToolAsk(name, kind, ""))
        if tool is not None:
            yield tool
        return
    for server in grant.servers:
        if server.label == name:
            yield from _of_server(rules, server)


def _of_server(rules: RuleSet, server: ServerGrant) -> Iterator[Tool]:
    """Of an MCP server, those of its tools that it need not ask for; what it asks for is judged then."""
    free = {tool.entry for tool in server.tools if not tool.ask}
    if server.whole and not server.ask:
        free |= {entry for entry, _ in server.entries if not rules.tools[entry].pinned}
    for entry in sorted(free):
        # The boundary has been kept by having the server ask.
        yield msgspec.structs.replace(rules.tools[entry], approval_boundary="none")
