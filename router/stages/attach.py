"""Attach what was decided to the request: the model, the tools that are granted, the output limit, the effort, what not to store."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from router.errors import Refused
from router.exchange import JsonObject
from router.stages.attach_messages import attach_to_messages
from router.stages.tool_keys import Granted, key_of
from routing_rules.budgets import CallLimits
from routing_rules.decisions import Obligation, ServerGrant, ToolGrant
from routing_rules.server_lists import address_digest, address_of
from routing_rules.task import Endpoint

_TOOL_FIELDS = ("tools", "tool_choice", "parallel_tool_calls")


class Attached(NamedTuple):
    """The body to forward, and whether the usage that we ask a chat stream for must be kept from the app."""

    body: JsonObject
    strip_usage: bool


def attach(
    endpoint: Endpoint,
    body: JsonObject,
    *,
    grant: ToolGrant,
    limits: CallLimits,
    output_tokens: int,
    model: str,
    obligations: Collection[Obligation],
    stream: bool,
    passes_on: Callable[[str, bool], bool] = lambda _id, _brought: False,
) -> Attached:
    """The body that leaves us, made of the checked one, which is not changed. `output_tokens` bounds each choice. `passes_on` says
    whether a client may pass on the approval of a call, by its id and by whether the client brings the call itself.

    Raises Refused(`tool_not_entitled`) where the request insists on a tool that is not granted, or approves a call by itself.
    """
    sent = {**body, "model": model}
    if endpoint is Endpoint.EMBEDDINGS:
        return Attached(sent, False)
    if endpoint is Endpoint.MESSAGES:  # knows no `store`: there is no answer of it to go on from
        attach_to_messages(sent, grant, limits, output_tokens)
        return Attached(sent, False)
    if Obligation.NO_STORE in obligations:
        sent["store"] = False
    granted = Granted(grant)
    if sent.get("background") and sent.get("store") is False:
        raise Refused(
            "invalid_request",
            "`background` needs a provider that may keep the answer, and it is ordered not to: leave `background` out",
            param="background",
        )
    if endpoint is Endpoint.RESPONSES:
        _check_approvals(sent.get("input"), passes_on)
        _attach_to_responses(sent, granted, limits, output_tokens)
        return Attached(sent, False)
    return Attached(sent, _attach_to_chat(sent, granted, limits, output_tokens, stream))


def _attach_to_chat(sent: JsonObject, granted: Granted, limits: CallLimits, output_tokens: int, stream: bool) -> bool:
    asked = [limit for limit in (sent.pop("max_tokens", None), sent.get("max_completion_tokens")) if limit is not None]
    sent["max_completion_tokens"] = min(*asked, output_tokens) if asked else output_tokens
    if limits.reasoning_effort is not None:
        sent["reasoning_effort"] = limits.reasoning_effort
    _cut_tools(sent, granted, _cut_plain_tool)
    if sent.get("functions"):
        sent["functions"] = [one for one in sent["functions"] if key_of({"function": one}) in granted]
        if not sent["functions"]:
            del sent["functions"]
    choice = sent.get("function_call")
    if isinstance(choice, dict) and key_of({"function": choice}) not in granted:
        raise _insists("function_call")
    if choice is not None and "functions" not in sent:
        del sent["function_call"]
    if "web_search_options" in sent and not granted.family("web_search"):
        del sent["web_search_options"]
    if not stream:
        return False
    options = sent.get("stream_options") or {}
    sent["stream_options"] = {**options, "include_usage": True}
    return not options.get("include_usage")


def _attach_to_responses(sent: JsonObject, granted: Granted, limits: CallLimits, output_tokens: int) -> None:
    asked = sent.get("max_output_tokens")
    sent["max_output_tokens"] = output_tokens if asked is None else min(asked, output_tokens)
    if limits.reasoning_effort is not None:
        sent["reasoning"] = {**(sent.get("reasoning") or {}), "effort": limits.reasoning_effort}
    _cut_tools(sent, granted, _cut_tool)
    items = sent.get("input")
    if isinstance(items, list) and any(item.get("type") in _ITEM_RULES for item in items):
        sent["input"] = [kept for item in items if (kept := _cut_item(item, granted)) is not None]


def _cut_tools(sent: JsonObject, granted: Granted, cut: Callable[[JsonObject, Granted], JsonObject | None]) -> None:
    tools = [kept for tool in sent.get("tools") or () if (kept := cut(tool, granted)) is not None]
    choice = sent.get("tool_choice")
    if isinstance(choice, dict):
        choice = _cut_choice(choice, granted)
    if tools:
        sent["tools"] = tools
        if choice is not None:
            sent["tool_choice"] = choice
        return
    if choice == "required":
        raise _insists("tool_choice")
    for field in _TOOL_FIELDS:
        sent.pop(field, None)


def _cut_plain_tool(tool: JsonObject, granted: Granted) -> JsonObject | None:
    """The tool where it is granted. A chat knows no namespaces: what calls itself one is a tool of that type, whatever it holds."""
    if key_of(tool) not in granted:
        return None
    server = granted.server(tool.get("server_label")) if tool.get("type") == "mcp" else None
    return tool if server is None else _cut_server(tool, server)


def _cut_server(tool: JsonObject, server: ServerGrant) -> JsonObject | None:
    """The MCP server with those of its tools that are granted; each call that acts has to be asked for before the server runs it.

    An app may narrow both. None where the server is not where it is registered, or nothing of it is left.
    """
    address = address_of(tool)
    if server.addresses and (address is None or address_digest(address) not in server.addresses):
        return None
    cut = dict(tool)
    if not server.addresses:
        for credentials in ("authorization", "headers"):
            cut.pop(credentials, None)
    wanted, asked = tool.get("allowed_tools"), tool.get("require_approval")
    if server.whole:
        if server.ask:
            cut["require_approval"] = "always"
        return cut
    only = wanted.get("tool_names") if isinstance(wanted, dict) else wanted
    left = [each for each in server.tools if not isinstance(only, list) or each.name in only]
    if not left:
        return None
    names = [each.name for each in left]
    cut["allowed_tools"] = {**wanted, "tool_names": names} if isinstance(wanted, dict) else names
    cut["require_approval"] = _approval(asked, [each.name for each in left if each.ask], names)
    return cut


def _approval(asked: Any, ask: Collection[str], names: Collection[str]) -> JsonObject | str:
    """What the provider asks for before a server runs it: what the rules want asked for, and whatever else the app does. An app that
    says nothing wants nothing asked for that the rules do not."""
    if asked == "always":
        return "always"
    more = (asked.get("always") or {}).get("tool_names") if isinstance(asked, dict) else None
    always = [name for name in names if name in ask or (isinstance(more, list) and name in more)]
    if len(always) == len(names):
        return "always"
    if not always:
        return "never"
    return {"always": {"tool_names": always}, "never": {"tool_names": [name for name in names if name not in always]}}


def _cut_tool(tool: JsonObject, granted: Granted) -> JsonObject | None:
    """The tool of a responses request as far as it is granted; None where nothing of it is."""
    if tool.get("type") != "namespace":
        kept = _cut_plain_tool(tool, granted)
        return None if kept is None else _at_once(kept, granted)
    nested = [_at_once(one, granted) for one in tool.get("tools") or () if key_of(one, tool.get("name")) in granted]
    return {**tool, "tools": nested} if nested else None


def _at_once(tool: JsonObject, granted: Granted) -> JsonObject:
    """The tool, offered from the start where no search for tools is granted that could load it later."""
    if not tool.get("defer_loading") or granted.family("tool_search"):
        return tool
    return {name: value for name, value in tool.items() if name != "defer_loading"}


def _cut_choice(choice: JsonObject, granted: Granted) -> JsonObject | str:
    """The choice, never wider than it was. Authorising has refused what cannot be kept; to meet it here is refused again."""
    if choice.get("type") != "allowed_tools":
        if not granted.choice(choice):
            raise _insists("tool_choice")
        return choice
    holder = choice.get("allowed_tools")
    holder = holder if isinstance(holder, dict) else choice
    allowed = [tool for tool in holder.get("tools") or () if granted.choice(tool)]
    if not allowed:
        if holder.get("mode") == "required":
            raise _insists("tool_choice")
        return "none"
    if holder is choice:
        return {**choice, "tools": allowed}
    return {**choice, "allowed_tools": {**holder, "tools": allowed}}


def _cut_loaded_tools(item: JsonObject, granted: Granted) -> JsonObject | None:
    tools = [kept for tool in item.get("tools") or () if (kept := _cut_tool(tool, granted)) is not None]
    return {**item, "tools": tools} if tools else None


def _cut_server_tools(item: JsonObject, granted: Granted) -> JsonObject | None:
    if key_of({**item, "type": "mcp"}) not in granted:
        return None
    server = granted.server(item.get("server_label"))
    if server is None or server.whole:
        return item
    names = {tool.name for tool in server.tools}
    return {**item, "tools": [tool for tool in item.get("tools") or () if tool.get("name") in names]}


def _check_approvals(items: Any, passes_on: Callable[[str, bool], bool]) -> None:
    """What a client approves is no approval. At most it passes on ours."""
    if not isinstance(items, list):
        return
    approvals = [item for item in items if item.get("type") == "mcp_approval_response" and item.get("approve")]
    if not approvals:
        return
    brought = {item.get("id") for item in items if item.get("type") == "mcp_approval_request"}
    for item in approvals:
        request = item.get("approval_request_id")
        if not isinstance(request, str) or not passes_on(request, request in brought):
            raise Refused(
                "tool_not_entitled",
                "an `mcp_approval_response` in the input approves nothing here: approvals are given by the tool's approver. It may only "
                "pass on the approval of a call that this session was given, by `previous_response_id` and without the request itself",
                param="input",
            )


def _check_program(item: JsonObject, granted: Granted) -> JsonObject | None:
    if not granted.family("programmatic_tool_calling"):
        raise Refused(
            "tool_not_entitled",
            "the input goes on with a program of the model's, and `programmatic_tool_calling` is not granted: leave these items out",
            param="input",
        )
    return item


def _check_caller(item: JsonObject, granted: Granted) -> JsonObject | None:
    return item if granted.caller(item) else _check_program(item, granted)


def _drop_parsed(item: JsonObject, granted: Granted) -> JsonObject | None:
    """What the client made of the arguments says nothing that they do not, and OpenAI refuses it."""
    _check_caller(item, granted)
    return {name: value for name, value in item.items() if name != "parsed_arguments"} if "parsed_arguments" in item else item


_ITEM_RULES: dict[Any, Any] = {
    "function_call": _drop_parsed,
    "function_call_output": _check_caller,
    "custom_tool_call": _check_caller,
    "custom_tool_call_output": _check_caller,
    "shell_call": _check_caller,
    "shell_call_output": _check_caller,
    "apply_patch_call": _check_caller,
    "apply_patch_call_output": _check_caller,
    "program": _check_program,
    "program_output": _check_program,
    "additional_tools": _cut_loaded_tools,
    "tool_search_output": _cut_loaded_tools,
    "mcp_list_tools": _cut_server_tools,
}
"""Input items that bring tools or programs with them, or what only the client knows."""


def _cut_item(item: JsonObject, granted: Granted) -> JsonObject | None:
    rule = _ITEM_RULES.get(item.get("type"))
    cut: JsonObject | None = item if rule is None else rule(item, granted)
    return cut


def _insists(param: str) -> Refused:
    return Refused("tool_not_entitled", f"`{param}` insists on a tool that is not granted", param=param)
