"""Which of the tools asked for are offered: asked ∩ ceilings of app and key ∩ the entitlement set of the route."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date

import msgspec

from routing_rules.catalogue import EntitlementSet, Tool
from routing_rules.decisions import Permit, ServerGrant, ServerTool, ToolGrant, Withheld
from routing_rules.facts import Facts
from routing_rules.provenance import ACTS
from routing_rules.rules import RuleSet, digests_of
from routing_rules.server_lists import has_changed
from routing_rules.task import Endpoint, ToolAsk, ToolChoice
from routing_rules.vocabulary import Capability

LONGEST_ECHO = 64
"""Characters of a tool's name that a refusal repeats."""

REMEDIES = {
    "unregistered": "nobody has registered it in tools.yaml",
    "over_ceiling": "it lies above the ceiling of the app or of its key",
    "not_in_set": "the entitlement set of the rule does not hold it",
    "set_overdue": "the review of its entitlement set is overdue",
    "combination": "with what the session has had in it, it would make a combination that needs an approval",
    "prohibited_combination": "with what the session has had in it, it would make a combination that is prohibited",
    "approval_required": "its owner approves each use, and the provider would run it without being asked",
    "restricted_to_third_party": "restricted data stays away from servers that are not ours",
    "evaluation_error": "a rule could not be evaluated",
    "credentials_unregistered": "the request brings credentials for a server whose address tools.yaml does not register",
    "list_changed": "its server's list of tools is not the one that was pinned: `router tools import` shows what is new",
}


def capabilities_of(rules: RuleSet, ask: ToolAsk) -> frozenset[Capability] | None:
    """What a tool that is asked for can do, by the catalogue. None where nobody registered it."""
    entries = rules.tool_index.entries(ask)
    if len(entries) == 1:
        return entries[0].capabilities
    return frozenset().union(*(tool.capabilities for tool in entries)) if entries else None


def grant_key(ask: ToolAsk) -> tuple[str, str]:
    """How a tool is named in a grant: its kind and its name; an MCP server goes by its label."""
    return (ask.kind, ask.server if ask.kind == "mcp" and ask.server is not None else ask.name)


def authorise(rules: RuleSet, facts: Facts, permit: Permit) -> ToolGrant:
    """What is offered of the tools asked for, and why the others are withheld. Never more than was asked."""
    if not facts.tools:
        return ToolGrant()
    grant = grant_within(rules, facts, permit.rule, permit.entitlement_set)
    if facts.caller.mode == "observe":
        return ToolGrant(granted=tuple(grant_key(ask) for ask in facts.tools), would_withhold=grant.withheld)
    return grant


def authorise_masked(rules: RuleSet, first: tuple[Facts, Permit], last: tuple[Facts, Permit]) -> ToolGrant:
    """What is offered once a task was masked: what both decisions give. Tools are called with the values that were masked, so the
    rules for these hold for tools, too."""
    facts, permit = last
    before = authorise(rules, *first)
    offered = frozenset(before.granted)
    left = msgspec.structs.replace(facts, tools=tuple(ask for ask in facts.tools if grant_key(ask) in offered))
    grant = authorise(rules, left, permit)
    refusal = before.choice_refusal or grant.choice_refusal
    servers = _within_both(before.servers, grant.servers)
    would = tuple(dict.fromkeys((*before.would_withhold, *grant.would_withhold)))
    return ToolGrant(grant.granted, (*before.withheld, *grant.withheld), refusal, servers, would)


def grant_within(rules: RuleSet, facts: Facts, rule: str, entitlement_set: str) -> ToolGrant:
    """The grant that a route with this set would give. A set that does not exist grants nothing."""
    today = facts.now.date()
    caller = facts.caller
    ceilings = [rules.sets.get(caller.ceiling)]
    if caller.key_ceiling is not None:
        ceilings.append(rules.sets.get(caller.key_ceiling))
    own = rules.sets.get(entitlement_set)
    within = _in_all((*ceilings, own), today)
    granted: list[tuple[str, str]] = []
    offered: list[ToolAsk] = []
    withheld: list[Withheld] = []
    servers: dict[str, ServerGrant] = {}
    for ask in facts.tools:
        if ask.kind == "mcp":
            reason = _server_reason(rules, facts, ask, lambda tool: _reason(tool.id, ceilings, own, today), servers)
        else:
            tool = rules.tool_index.find(ask)
            if tool is None:
                reason = "unregistered"
            else:
                reason = None if tool.id in within else _reason(tool.id, ceilings, own, today)
        if reason is None:
            granted.append(grant_key(ask))
            offered.append(ask)
        else:
            kind, name = grant_key(ask)
            withheld.append(Withheld(name=name, kind=kind, reason=reason))
    return ToolGrant(
        granted=tuple(granted),
        withheld=tuple(withheld),
        choice_refusal=choice_refusal(facts.tool_choice, offered, withheld, rule) if withheld else None,
        servers=tuple(servers.values()),
    )


def _server_reason(
    rules: RuleSet,
    facts: Facts,
    ask: ToolAsk,
    reason_of: Callable[[Tool], str | None],
    servers: dict[str, ServerGrant],
) -> str | None:
    """Why an MCP server is withheld, None where some of it is granted: then how far is put into `servers`."""
    entries = rules.tool_index.entries(ask)
    reasons = [reason_of(tool) for tool in entries]
    granted = [tool for tool, reason in zip(entries, reasons, strict=True) if reason is None]
    if not granted:
        return reasons[0] if reasons else "unregistered"
    label = ask.server if ask.server is not None else ask.name
    if any(tool.pinned for tool in entries):
        # What is listed may lie in an entry that is not granted: that is withheld, but it is no change.
        pinned = frozenset(pair for tool in entries for pair in tool.pinned)
        lists = (other.listed for other in facts.tools if other.server == ask.server and other.listed is not None)
        if label in facts.changed_servers or any(has_changed(each, pinned) for each in lists):
            servers.pop(label, None)
            return "list_changed"
    if ask.credentials and not any(tool.server_urls for tool in granted):
        return "credentials_unregistered"
    servers[label] = ServerGrant(
        label=label,
        entries=tuple((tool.id, tool.approval_boundary) for tool in granted),
        addresses=tuple(digest for tool in granted for digest in digests_of(tool)),
        tools=tuple(ServerTool(name, digest, tool.id, _asked_first(tool)) for tool in granted for name, digest in tool.pinned),
        whole=not all(tool.pinned for tool in granted),
        ask=any(_asked_first(tool) for tool in granted if not tool.pinned),
        internal=all(tool.internal for tool in granted),
    )
    if facts.endpoint is Endpoint.MESSAGES and not servers[label].callable_unasked():  # that wire has no way to ask first
        del servers[label]
        return "approval_required"
    return None


def _asked_first(tool: Tool) -> bool:
    """Whether each call has to be asked for before the server runs it: what acts can only be judged before."""
    return tool.approval_boundary != "none" or not ACTS.isdisjoint(tool.capabilities)


def _within_both(first: Iterable[ServerGrant], last: Iterable[ServerGrant]) -> tuple[ServerGrant, ...]:
    """The later grants of servers, as far as the earlier ones went."""
    before = {grant.label: grant for grant in first}
    found = []
    for grant in last:
        wider = before.get(grant.label)
        if wider is None:
            continue
        if not wider.whole:
            named = {tool.name for tool in wider.tools}
            grant = msgspec.structs.replace(grant, tools=tuple(tool for tool in grant.tools if tool.name in named), whole=False)
        found.append(grant)
    return tuple(found)


def _in_all(sets: Sequence[EntitlementSet | None], today: date) -> frozenset[str]:
    """The tools that every one of some sets holds; none where one is missing, or its review is overdue."""
    held = [each.tools for each in sets if each is not None and each.granted_until >= today]
    return held[0].intersection(*held[1:]) if len(held) == len(sets) else frozenset()


def _reason(tool: str, ceilings: list[EntitlementSet | None], own: EntitlementSet | None, today: date) -> str | None:
    """Why a registered tool is withheld, None where it is granted."""
    for ceiling in ceilings:
        if ceiling is None or tool not in ceiling.tools:
            return "over_ceiling"
    if own is None or tool not in own.tools:
        return "not_in_set"
    if any(each is not None and each.granted_until < today for each in (*ceilings, own)):
        return "set_overdue"
    return None


def choice_refusal(choice: ToolChoice, offered: list[ToolAsk], withheld: list[Withheld], rule: str) -> str | None:
    """Why the app's `tool_choice` cannot be kept once some tools are withheld; None where it can.

    It is never widened: an app that insists on a tool it does not get is told so, rather than handed another.
    """
    if choice.mode == "required" and not offered:
        return f"`tool_choice` requires a tool, and none of those asked for is granted by rule `{rule}`: {_why(withheld)}"
    if choice.mode in ("named", "allowed"):
        names = frozenset(choice.names)
        if not any(names & {ask.name, ask.kind, ask.server} for ask in offered):
            asked = [item for item in withheld if item.name in names or item.kind in names] or withheld
            return f"`tool_choice` insists on a tool that rule `{rule}` does not grant: {_why(asked)}"
    return None


def _why(withheld: list[Withheld]) -> str:
    first = withheld[0]
    return f"`{first.name[:LONGEST_ECHO]}` is withheld ({first.reason}), as {REMEDIES[first.reason]}"
