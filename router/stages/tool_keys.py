"""Which tool of a grant an object on the wire means: a definition, a choice, or a call in an answer."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, Protocol

import msgspec

from router.errors import Refused, RouterError, UpstreamFailed
from router.exchange import JsonObject
from router.stages.plain import reads_one_way
from routing_rules.decisions import ServerGrant, ToolGrant
from routing_rules.server_lists import has_changed, list_digests

CLIENT_CALLS = frozenset(
    {
        "function_call",
        "custom_tool_call",
        "computer_call",
        "local_shell_call",
        "shell_call",
        "apply_patch_call",
        "tool_search_call",
        "mcp_approval_request",
    }
)
"""Items of a responses answer that the app has to act on; the provider waits for it."""

NOT_A_TOOL = frozenset({"message", "reasoning", "compaction"})
"""Items of a responses answer that need no entitlement."""

# A hosted type may carry a variant (`web_search_preview_2025_03_11`), its calls never do.
_FAMILIES = (
    "web_search",
    "file_search",
    "code_interpreter",
    "computer",
    "image_generation",
    "local_shell",
    "shell",
    "apply_patch",
    "tool_search",
    "programmatic_tool_calling",
)

_ITEM_FAMILY = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
    "computer_call": "computer",
    "computer_call_output": "computer",
    "image_generation_call": "image_generation",
    "local_shell_call": "local_shell",
    "local_shell_call_output": "local_shell",
    "shell_call": "shell",
    "shell_call_output": "shell",
    "apply_patch_call": "apply_patch",
    "apply_patch_call_output": "apply_patch",
    "tool_search_call": "tool_search",
    "tool_search_output": "tool_search",
    "additional_tools": "tool_search",
    "program": "programmatic_tool_calling",
    "program_output": "programmatic_tool_calling",
    "function_call_output": "programmatic_tool_calling",
    "custom_tool_call_output": "programmatic_tool_calling",
}

_ACTION_FIELDS = ("action", "actions", "operation", "arguments", "input")

_MCP_ITEMS = frozenset({"mcp_call", "mcp_list_tools", "mcp_approval_request"})

_encode = msgspec.json.Encoder().encode

_SPEAKABLE = re.compile(r"[A-Za-z0-9_.:-]{1,64}").fullmatch


def shown(name: object) -> str:
    """A tool's name as records and notes may show it: a model can write anything for a name, so only what looks like one is."""
    return name if isinstance(name, str) and _SPEAKABLE(name) else "(unnamed)"


def key_of(tool: JsonObject, namespace: object = None) -> tuple[str, str]:
    """(kind, name) of a tool definition or a named choice, in either wire format, as the grant has it; ("", "") where it is none.

    An MCP server's name is its label.
    """
    kind = tool.get("type", "function")
    if kind == "function" or kind == "custom":
        holder = tool.get(kind)
        name = holder.get("name") if isinstance(holder, dict) else tool.get("name")
        return (kind, _dotted(namespace or tool.get("namespace"), name)) if isinstance(name, str) else ("", "")
    if kind == "mcp":
        label = tool.get("server_label")
        return (kind, label) if isinstance(label, str) else ("", "")
    return (kind, kind) if isinstance(kind, str) else ("", "")


def item_name(item: JsonObject) -> str:
    """The name by which records show the tool that an item of a responses answer calls."""
    kind = item.get("type")
    if not isinstance(kind, str):
        return shown(None)
    if kind == "function_call" or kind == "custom_tool_call":
        name = item.get("name")
        return shown(_dotted(item.get("namespace"), name) if isinstance(name, str) else None)
    if kind in _MCP_ITEMS:
        name, label = item.get("name"), item.get("server_label")
        return shown(_dotted(label, name) if isinstance(name, str) else label)
    return shown(_ITEM_FAMILY.get(kind, kind))


class Called(NamedTuple):
    """One call in an answer. `kind` and `name` are those of its tool in the grant (of an MCP server: `mcp`, and the server's own name for
    the tool), `written` its arguments as JSON, as the model wrote them; where it wrote a text, that is `{"input": text}`."""

    kind: str
    name: str
    written: str
    call_id: str | None = None
    server: str | None = None


class Judge(Protocol):
    """Decides whether a call that is granted may be made now (see `judge_calls`). `error`: what ends the answer."""

    error: RouterError | None

    def released(self, called: Called) -> bool:
        """Whether the call may reach the app; asked again, it answers the same."""
        ...

    def why(self, name: str) -> tuple[str, str] | None:
        """Reason code and remedy of a call that was refused by it."""
        ...

    def denial(self, names: tuple[str, ...]) -> Refused:
        """The error that stands for refused calls."""
        ...

    def list_changed(self, label: str, tools: list[Any]) -> None:
        """Told that an MCP server offers something else than was pinned."""
        ...


def is_released(judge: Judge, called: Called) -> bool:
    """Whether a call may be made now. One whose arguments have a key twice ends the answer: they are judged by the last of them, and
    who carries it out may go by the first."""
    if reads_one_way(called.written):
        return judge.released(called)
    judge.error = judge.error or UpstreamFailed(
        "upstream_error", "the provider's answer has a call whose arguments have a key twice", transient=True
    )
    return False


class Granted:
    """A grant, asked about objects on the wire. What it does not know is not granted. With a `judge`, what is granted is also judged."""

    __slots__ = ("_changed", "_families", "_keys", "_servers", "judge")

    def __init__(self, grant: ToolGrant, judge: Judge | None = None) -> None:
        self.judge = judge
        self._keys = frozenset(grant.granted)
        self._servers = {server.label: server for server in grant.servers}
        self._changed: set[str] = set()
        self._families: frozenset[str] | None = None

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self._keys

    def family(self, family: str) -> bool:
        """Whether a hosted tool of this family is granted, in whatever variant."""
        if self._families is None:
            self._families = frozenset(_family(kind) for kind, _ in self._keys)
        return family in self._families

    def server(self, label: object) -> ServerGrant | None:
        """How far an MCP server is granted; None where the grant says no more than that it is."""
        return self._servers.get(label) if isinstance(label, str) else None

    def _server_item(self, item: JsonObject) -> bool:
        """Whether an item about an MCP server may reach the app. A list that shows something else than what was pinned is withheld,
        and so is everything that the server does after it."""
        label = item.get("server_label")
        if not isinstance(label, str) or ("mcp", label) not in self._keys or label in self._changed:
            return False
        server = self._servers.get(label)
        if server is None or server.whole:
            return True
        if item.get("type") != "mcp_list_tools":
            return any(tool.name == item.get("name") for tool in server.tools)
        listed = item.get("tools")
        pinned = frozenset((tool.name, tool.digest) for tool in server.tools)
        if isinstance(listed, list) and has_changed(list_digests(listed), pinned):
            self._changed.add(label)
            if self.judge is not None:
                self.judge.list_changed(label, listed)
            return False
        return True

    @property
    def error(self) -> RouterError | None:
        """What ends the answer by the judge's word."""
        return None if self.judge is None else self.judge.error

    def released(self, called: Called) -> bool:
        """Whether a call that is granted, and whole, may be made now."""
        return self.judge is None or is_released(self.judge, called)

    def call(self, item: JsonObject) -> Called | None:
        """The call that an item of a responses answer asks the app to make, where it is to be judged; None for every other item."""
        kind = item["type"]
        if kind == "function_call" or kind == "custom_tool_call":
            name = _dotted(item.get("namespace"), item["name"])
            call_id = _id(item.get("call_id"))
            if kind == "function_call":
                return Called("function", name, _text(item.get("arguments")), call_id)
            return Called("custom", name, text_arguments(item.get("input")), call_id)
        if kind == "mcp_approval_request":
            named, server = str(item.get("name")), str(item.get("server_label"))
            return Called("mcp", named, _text(item.get("arguments")), _id(item.get("id")), server)
        if kind not in CLIENT_CALLS or kind == "tool_search_call":  # what loads tools is judged where it is offered
            return None
        family = _ITEM_FAMILY[kind]
        tool = next((granted for granted, _ in self._keys if _family(granted) == family), family)
        written = _encode({field: item[field] for field in _ACTION_FIELDS if field in item}).decode()
        return Called(tool, tool, written, _id(item.get("call_id")))

    def choice(self, choice: JsonObject) -> bool:
        """Whether the tool that a choice names is granted. A hosted tool may be chosen by another variant than it is defined by, and
        a tool inside a namespace by its own name alone."""
        kind, name = key_of(choice)
        if kind == "mcp":
            server, wanted = self._servers.get(name), choice.get("name")
            named = server is None or server.whole or wanted is None or any(tool.name == wanted for tool in server.tools)
            return (kind, name) in self._keys and named
        if (kind, name) in self._keys:
            return True
        if kind == "function" or kind == "custom":
            return any(granted_kind == kind and granted.endswith("." + name) for granted_kind, granted in self._keys)
        return self.family(_family(kind))

    def caller(self, item: JsonObject) -> bool:
        """Whether who makes the call of an item may make calls: the model itself, or a program where programs are granted."""
        caller = item.get("caller")
        direct = caller is None or (isinstance(caller, dict) and caller.get("type") == "direct")
        return direct or self.family("programmatic_tool_calling")

    def item(self, item: JsonObject) -> bool:
        """Whether an item of a responses answer may reach the app."""
        kind = item.get("type")
        if not isinstance(kind, str):
            return False
        if kind in NOT_A_TOOL:
            return True
        if not self.caller(item):
            return False
        if kind == "function_call" or kind == "custom_tool_call":
            name = item.get("name")
            if not isinstance(name, str):
                return False
            return ("function" if kind == "function_call" else "custom", _dotted(item.get("namespace"), name)) in self._keys
        if kind in _MCP_ITEMS:
            return self._server_item(item)
        family = _ITEM_FAMILY.get(kind)
        return family is not None and self.family(family)


def text_arguments(text: object) -> str:
    """The arguments of a call that the model wrote as a text, as a JSON object."""
    return _encode({"input": text}).decode()


def _text(value: object) -> str:
    return value if isinstance(value, str) else _encode(value).decode()


def _id(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _dotted(namespace: Any, name: str) -> str:
    return f"{namespace}.{name}" if namespace else name


def _family(kind: str) -> str:
    return next((family for family in _FAMILIES if kind == family or kind.startswith(family + "_")), kind)
