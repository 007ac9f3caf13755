"""Attach what was decided to a request of Anthropic's Messages API: tools and servers as granted, the output limit, the effort (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from router.errors import Refused
from router.exchange import JsonObject
from router.stages.messages_keys import CODE, MCP_TOOLSET, MessagesGranted, family_of
from routing_rules.budgets import CallLimits
from routing_rules.decisions import ServerGrant, ToolGrant
from routing_rules.server_lists import address_digest

LEAST_THOUGHT = 1_024
"""Tokens: a model that thinks by a budget takes none below it, and needs more output than that."""

DIRECT = ["direct"]
EFFORTS = {"minimal": "low"}
"""What the rules call an effort → what this wire calls it, where that is not the same."""

_RUNS_CODE = frozenset({"web_search", "web_fetch"})
"""Tools that let code at the provider call them where the request says nothing of their callers (since 2026)."""


def attach_to_messages(sent: JsonObject, grant: ToolGrant, limits: CallLimits, output_tokens: int) -> None:
    """Change a shallow copy of the checked body into what may leave us.

    Raises Refused(`tool_not_entitled`) where the request insists on a tool that is not granted.
    """
    granted = MessagesGranted(grant)
    sent["max_tokens"] = min(sent["max_tokens"], output_tokens)
    _limit_thinking(sent, limits)
    _cut_servers(sent, granted)
    _cut_tools(sent, granted)
    if any(type(message["content"]) is list and _mentions_tools(message["content"]) for message in sent["messages"]):
        sent["messages"] = list(_cut_messages(sent["messages"], granted))
    if edits := (sent.get("context_management") or {}).get("edits"):
        sent["context_management"] = {**sent["context_management"], "edits": [_cut_edit(edit, granted) for edit in edits]}


def features_asked(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that say which version of the API an app means, and which features beside it, out of those it sent."""
    return {name: headers[name] for name in ("anthropic-version", "anthropic-beta") if headers.get(name)}


def _limit_thinking(sent: JsonObject, limits: CallLimits) -> None:
    thinking = sent.get("thinking")
    if thinking and thinking["type"] == "enabled" and thinking["budget_tokens"] >= sent["max_tokens"]:
        left = sent["max_tokens"] - 1
        sent["thinking"] = {**thinking, "budget_tokens": left} if left >= LEAST_THOUGHT else {"type": "disabled"}
    effort = limits.reasoning_effort
    if effort == "none":
        sent["thinking"] = {"type": "disabled"}
        if sent.get("output_config"):
            sent["output_config"] = {name: value for name, value in sent["output_config"].items() if name != "effort"}
            if not sent["output_config"]:
                del sent["output_config"]
    elif effort is not None:
        sent["output_config"] = {**(sent.get("output_config") or {}), "effort": EFFORTS.get(effort, effort)}


# MCP servers


def _cut_servers(sent: JsonObject, granted: MessagesGranted) -> None:
    given = sent.get("mcp_servers")
    if given is None:
        return
    sets = {tool.get("mcp_server_name") for tool in sent.get("tools") or () if tool.get("type") == MCP_TOOLSET}
    sent["mcp_servers"] = [
        _cut_server(server, granted, server["name"] in sets) for server in given if _may_be_sent(server, granted)
    ]
    if not sent["mcp_servers"]:
        del sent["mcp_servers"]


def _may_be_sent(server: JsonObject, granted: MessagesGranted) -> bool:
    """Whether an MCP server is granted, and is where it is registered."""
    if not granted.server(server["name"]):
        return False
    known = granted.servers.get(server["name"])
    return known is None or not known.addresses or address_digest(server["url"]) in known.addresses


def _cut_server(server: JsonObject, granted: MessagesGranted, has_set: bool) -> JsonObject:
    """The server with those of its tools that are granted, which stand here or in a set of `tools`. Credentials go to registered
    addresses only."""
    known = granted.servers.get(server["name"])
    if known is None:
        return server
    cut = dict(server)
    if not known.addresses:
        cut.pop("authorization_token", None)
    if not known.whole and (server.get("tool_configuration") is not None or not has_set):
        configuration = server.get("tool_configuration") or {}
        wanted = configuration.get("allowed_tools")
        cut["tool_configuration"] = {
            **configuration,
            "allowed_tools": [name for name in _callable(known) if wanted is None or name in wanted],
        }
    return cut


def _cut_toolset(tool: JsonObject, granted: MessagesGranted) -> JsonObject:
    """A server's tools, of which none may be called but those that are granted and that the app lets be called."""
    known = granted.servers.get(tool["mcp_server_name"])
    if known is None or known.whole:
        return tool
    configs, default = tool.get("configs") or {}, (tool.get("default_config") or {}).get("enabled")
    names = _callable(known)

    def enabled(name: str) -> bool:
        own = (configs.get(name) or {}).get("enabled")
        return (own if own is not None else default) is not False

    cut = {**tool, "default_config": {**(tool.get("default_config") or {}), "enabled": False}}
    cut["configs"] = {name: {**(configs.get(name) or {}), "enabled": enabled(name)} for name in names}
    if tool.get("tools"):
        cut["tools"] = [listed for listed in tool["tools"] if listed["name"] in names]
    return cut


def _callable(server: ServerGrant) -> list[str]:
    return [tool.name for tool in server.tools if not tool.ask]


# Tools


def _cut_tools(sent: JsonObject, granted: MessagesGranted) -> None:
    servers = {server["name"] for server in sent.get("mcp_servers") or ()}
    tools = [kept for tool in sent.get("tools") or () if (kept := _cut_tool(tool, granted, servers)) is not None]
    asked = sent.get("tools") or ()
    if len(tools) < len(asked) and any(map(_searches, asked)) and not any(map(_searches, tools)):
        # Nothing finds them any more, so they are offered from the start.
        tools = [{name: value for name, value in tool.items() if name != "defer_loading"} for tool in tools]
    choice = sent.get("tool_choice")
    added = bool(servers) or any(
        block["type"] == "tool_addition"
        and block["tool"]["type"] == "tool_definition"
        and granted.tool(block["tool"]["definition"])
        for message in sent["messages"]
        if type(message["content"]) is list
        for block in message["content"]
    )
    if choice is not None and choice["type"] == "tool" and not granted.called(choice["name"]):
        raise _insists()
    if tools:
        sent["tools"] = tools
        return
    sent.pop("tools", None)
    if choice is not None and not added:
        if choice["type"] == "any":
            raise _insists()
        del sent["tool_choice"]


def _cut_tool(tool: JsonObject, granted: MessagesGranted, servers: Iterable[str] | None) -> JsonObject | None:
    """The tool as far as it is granted; None where it is not."""
    if not granted.tool(tool):
        return None
    kind = tool.get("type")
    if kind == MCP_TOOLSET:
        return _cut_toolset(tool, granted) if servers is not None and tool["mcp_server_name"] in servers else None
    callers = tool.get("allowed_callers")
    if callers is None:
        if type(kind) is str and _lets_code_call(kind) and not granted.code_runs(CODE):
            tool = {**tool, "allowed_callers": DIRECT}
    else:
        kept = [caller for caller in callers if caller in DIRECT or granted.code_runs(caller)]
        if not kept:
            return None
        if len(kept) < len(callers):
            tool = {**tool, "allowed_callers": kept}
    sources = tool.get("url_sources")
    if type(sources) is dict and kind is not None:
        tool = {**tool, "url_sources": {name: _cut_source(source, granted) for name, source in sources.items()}}
    return tool


def _searches(tool: JsonObject) -> bool:
    """Whether a tool finds other tools."""
    return str(tool.get("type")).startswith("tool_search_tool")


def _lets_code_call(kind: str) -> bool:
    return family_of(kind) in _RUNS_CODE and kind.rpartition("_")[2] >= "2026"


def _cut_source(source: Any, granted: MessagesGranted) -> Any:
    if type(source) is not dict or not source.get("tools"):
        return source
    return {**source, "tools": [tool for tool in source["tools"] if granted.called(tool["name"])]}


# Messages


_CUT = frozenset({"tool_addition", "tool_removal", "mcp_tool_listing", "tool_result", "tool_search_tool_result"})
"""Blocks that bring tools with them, or name tools that may be called."""


def _mentions_tools(content: list[JsonObject]) -> bool:
    return any(block["type"] in _CUT for block in content)


def _cut_messages(messages: list[JsonObject], granted: MessagesGranted) -> Iterable[JsonObject]:
    for message in messages:
        content = message["content"]
        if type(content) is str or not _mentions_tools(content):
            yield message
            continue
        kept = [cut for block in content if (cut := _cut_block(block, granted)) is not None]
        if kept or not content:
            yield message if len(kept) == len(content) and all(map(_same, kept, content)) else {**message, "content": kept}


def _same(one: object, other: object) -> bool:
    return one is other


def _cut_block(block: JsonObject, granted: MessagesGranted) -> JsonObject | None:
    kind = block["type"]
    if kind == "tool_addition" or kind == "tool_removal":
        return _cut_change(block, granted)
    if kind == "mcp_tool_listing":
        return _cut_listing(block, granted)
    content = block.get("content")
    if kind == "tool_result" and type(content) is list and any(inner["type"] == "tool_reference" for inner in content):
        left = [inner for inner in content if inner["type"] != "tool_reference" or granted.called(inner["tool_name"])]
        return {**block, "content": left}
    if kind == "tool_search_tool_result" and type(content) is dict and content.get("tool_references"):
        named = [reference for reference in content["tool_references"] if granted.called(reference["tool_name"])]
        return {**block, "content": {**content, "tool_references": named}}
    return block


def _cut_change(block: JsonObject, granted: MessagesGranted) -> JsonObject | None:
    tool = block["tool"]
    if tool["type"] == "tool_definition":
        kept = _cut_tool(tool["definition"], granted, None)
        return None if kept is None else {**block, "tool": {**tool, "definition": kept}}
    if tool["type"] == "mcp_tool_reference":
        return block if granted.server_tool(tool["server_name"], tool["name"]) else None
    if tool["type"] == "mcp_toolset_reference":
        # Naming the whole set would call back what was left out of it.
        known = granted.servers.get(tool["server_name"])
        whole = granted.server(tool["server_name"]) and (known is None or known.whole)
        return block if whole or (block["type"] == "tool_removal" and granted.server(tool["server_name"])) else None
    return block if granted.called(tool["name"]) else None


def _cut_listing(block: JsonObject, granted: MessagesGranted) -> JsonObject | None:
    label = block["mcp_server_name"]
    if not granted.server(label):
        return None
    known = granted.servers.get(label)
    if known is None or known.whole:
        return block
    names = _callable(known)
    return {**block, "tools": [tool for tool in block["tools"] if tool["name"] in names]}


def _cut_edit(edit: JsonObject, granted: MessagesGranted) -> JsonObject:
    """An edit of the context names tools, too."""
    return {
        name: [tool for tool in value if granted.called(tool)] if type(value) is list else value for name, value in edit.items()
    }


def _insists() -> Refused:
    return Refused("tool_not_entitled", "`tool_choice` insists on a tool that is not granted", param="tool_choice")
