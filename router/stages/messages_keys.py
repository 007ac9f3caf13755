"""Which tool of a grant a tool, a choice or a block of Anthropic's Messages API means (pure)."""

from __future__ import annotations

import re

import msgspec

from router.exchange import JsonObject
from router.stages.tool_keys import Called, Judge, is_released, shown
from routing_rules.decisions import ServerGrant, ToolGrant
from routing_rules.server_lists import has_changed, list_digests

_encode = msgspec.json.Encoder().encode
_DATED = re.compile(r"\A(?P<family>[a-z][a-z0-9_]*?)(?:_20[0-9]{6})?\Z").match

MCP_TOOLSET = "mcp_toolset"
CODE = "code_execution"

_CALLED_BY = {"text_editor": frozenset({"str_replace_editor", "str_replace_based_edit_tool"})}
"""Family of tools whose calls have another name than the family."""

_TOOLSETS = {"computer": "computer_toolset", "browser": "browser_toolset"}
"""What a call of a tool that belongs to a set calls that set → the set's family."""

_RUN_BY_PROVIDER = {
    "web_search": "web_search",
    "web_fetch": "web_fetch",
    "code_execution": CODE,
    "bash_code_execution": CODE,
    "text_editor_code_execution": CODE,
    "tool_search_tool_regex": "tool_search_tool_regex",
    "tool_search_tool_bm25": "tool_search_tool_bm25",
}
"""Name of a call that the provider has carried out → the family of its tool."""

NOT_A_TOOL = frozenset({"text", "thinking", "redacted_thinking"})
"""Blocks of an answer that need no entitlement."""

CLIENT_CALLS = frozenset({"tool_use"})
"""Blocks of an answer that the app has to act on."""

PROVIDER_CALLS = frozenset({"server_tool_use", "mcp_tool_use"})
RESULT = "_tool_result"


def family_of(kind: str) -> str:
    """What a type of tool is, whatever the day of its version: `web_search_20260318` is `web_search`."""
    dated = _DATED(kind)
    return dated["family"] if dated else kind


def is_client_tool(tool: JsonObject) -> bool:
    """Whether a tool is one that the app defines by a schema of its own."""
    return tool.get("type") in (None, "custom")


def key_of(tool: JsonObject) -> tuple[str, str]:
    """(kind, name) of a tool, as the grant has it; ("", "") where it is none. What an app defines is a function, as in the other
    formats; an MCP server's name is its label."""
    if is_client_tool(tool):
        name = tool.get("name")
        return ("function", name) if isinstance(name, str) else ("", "")
    kind = tool["type"]
    if kind == MCP_TOOLSET:
        label = tool.get("mcp_server_name")
        return ("mcp", label) if isinstance(label, str) else ("", "")
    return (kind, kind) if isinstance(kind, str) else ("", "")


def call_names(tool: JsonObject) -> frozenset[str]:
    """The names by which a tool is chosen, or called outside a set. The names of an MCP server's tools are known to the server alone."""
    if is_client_tool(tool):
        return frozenset({str(tool.get("name"))})
    kind = tool.get("type")
    if not isinstance(kind, str) or kind == MCP_TOOLSET:
        return frozenset()
    family = family_of(kind)
    return _CALLED_BY.get(family, frozenset({family}))


def families_called(name: str) -> tuple[str, ...]:
    """The families of provider-defined tools that may be called by this name."""
    return tuple(family for family, names in _CALLED_BY.items() if name in names) or (name,)


class MessagesGranted:
    """A grant, asked about objects of the Messages API. What it does not know is not granted. With a `judge`, granted calls are judged."""

    __slots__ = ("_changed", "_families", "_keys", "judge", "servers")

    def __init__(self, grant: ToolGrant, judge: Judge | None = None) -> None:
        self.judge = judge
        self._keys = frozenset(grant.granted)
        self._families = frozenset(family_of(kind) for kind, _ in self._keys if kind not in ("function", "custom", "mcp"))
        self._changed: set[str] = set()
        self.servers: dict[str, ServerGrant] = {server.label: server for server in grant.servers}

    def tool(self, tool: JsonObject) -> bool:
        """Whether a tool that is offered to the model is granted."""
        kind, name = key_of(tool)
        return self.server(name) if kind == "mcp" else (kind, name) in self._keys

    def server(self, label: object) -> bool:
        """Whether an MCP server is granted. There is no asking before a call on this wire: one that must be asked for is not."""
        if not isinstance(label, str) or ("mcp", label) not in self._keys or label in self._changed:
            return False
        known = self.servers.get(label)
        return known is None or known.callable_unasked()

    def server_tool(self, label: object, name: object) -> bool:
        """Whether one tool of an MCP server is granted."""
        if not self.server(label):
            return False
        known = self.servers.get(str(label))
        return known is None or known.whole or any(tool.name == name and not tool.ask for tool in known.tools)

    def _listing(self, block: JsonObject) -> bool:
        """Whether a list of a server's tools may reach the app. One that shows something else than what was pinned is withheld, and so
        is everything that the server does after it."""
        label, listed = block.get("mcp_server_name"), block.get("tools")
        if not self.server(label):
            return False
        known = self.servers.get(str(label))
        if known is None or known.whole:
            return True
        if not isinstance(listed, list) or has_changed(list_digests(listed), [(tool.name, tool.digest) for tool in known.tools]):
            self._changed.add(str(label))
            if self.judge is not None and isinstance(listed, list):
                self.judge.list_changed(str(label), listed)
            return False
        return True

    def family(self, family: str) -> bool:
        """Whether a tool of this family is granted, in whatever version."""
        return family in self._families

    def called(self, name: object, toolset: object = None) -> bool:
        """Whether a tool that the app carries out is granted, by the name of the call and the set it belongs to."""
        if not isinstance(name, str):
            return False
        if toolset is not None:
            return isinstance(toolset, str) and _TOOLSETS.get(toolset, "") in self._families
        return ("function", name) in self._keys or any(family in self._families for family in families_called(name))

    def released(self, block: JsonObject, written: str = "") -> bool:
        """Whether a granted block may reach the app now: a call that the app has to carry out is judged, everything else is as it is.
        `written`: its input as the model wrote it, where that is known."""
        if self.judge is None or block.get("type") not in CLIENT_CALLS:
            return True
        name = block["name"]
        key = ("function", name)
        if block.get("toolset_name") is not None or key not in self._keys:
            families = families_called(name) if block.get("toolset_name") is None else (_TOOLSETS.get(block["toolset_name"], ""),)
            kind = next((kind for kind, _ in self._keys if family_of(kind) in families), name)
            key = (kind, kind)
        return is_released(self.judge, Called(*key, written or _encode(block["input"]).decode(), block["id"]))

    def caller(self, caller: object) -> bool:
        """Whether whoever calls a tool may: the model itself, or code at the provider where that is granted."""
        if caller is None:
            return True
        kind = caller.get("type") if isinstance(caller, dict) else None
        return kind == "direct" or (isinstance(kind, str) and self.code_runs(kind))

    def code_runs(self, kind: str) -> bool:
        """Whether code that the provider runs is granted, and `kind` means such code."""
        return family_of(kind) == CODE and CODE in self._families

    def block(self, block: JsonObject) -> bool:
        """Whether a block of an answer may reach the app, seen by itself."""
        kind = block.get("type")
        if not isinstance(kind, str):
            return False
        if kind in NOT_A_TOOL:
            return True
        if kind == "tool_use":
            return self.called(block.get("name"), block.get("toolset_name")) and self.caller(block.get("caller"))
        if kind == "server_tool_use":
            name = block.get("name")
            return (
                isinstance(name, str) and _RUN_BY_PROVIDER.get(name, name) in self._families and self.caller(block.get("caller"))
            )
        if kind == "mcp_tool_use":
            return self.server_tool(block.get("server_name"), block.get("name"))
        if kind == "mcp_tool_listing":
            return self._listing(block)
        if kind == "container_upload":
            return CODE in self._families
        if kind == "mcp_tool_result":
            return bool([label for key, label in self._keys if key == "mcp" and self.server(label)])
        if kind.endswith(RESULT):
            family = kind.removesuffix(RESULT)
            return any(
                known == _RUN_BY_PROVIDER.get(family, family) or known.startswith(kind.removesuffix("_result"))
                for known in self._families
            )
        return False


def block_name(block: JsonObject) -> str:
    """The name by which records show the tool that a block of an answer belongs to."""
    kind = block.get("type")
    if kind == "mcp_tool_use":
        name, label = block.get("name"), block.get("server_name")
        return shown(f"{label}.{name}" if isinstance(name, str) and isinstance(label, str) else None)
    if kind == "mcp_tool_listing":
        return shown(block.get("mcp_server_name"))
    if kind in ("tool_use", "server_tool_use"):
        return shown(block.get("name"))
    return shown(kind)
