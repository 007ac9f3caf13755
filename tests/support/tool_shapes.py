"""Every shape in which tools stand on the wire: how an app asks for one, how a provider calls it uninvited, how it stands in a history.

The conformance matrix runs each shape through the service; `python tests/support/tool_shapes.py` prints `docs/tool-shapes.md` from it.
Words tell what has leaked: `NAMED` is part of the name of all that is not granted, `DEFINED` stands only in definitions, `CALLED` only
in calls.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

NAMED, DEFINED, CALLED = "quagga", "bandicoot", "numbat"
LEVER = f"{NAMED}_lever"
SIBLING = "calculator"
SIBLING_CALL = "call_sibling"
SIBLING_ARGUMENTS = '{"expression": "6 * 7"}'
ASK = "What is six times seven? Please use the calculator."
SCHEMA = {"type": "object", "properties": {"expression": {"type": "string"}}}
USAGE = (120, 64, 20, 8)  # input, cached of it, output, reasoning of it

WITHHELD, REFUSED, NEVER = "withheld", "refused", "never"
SAID, CUT, DENIED = "said", "cut", "denied"


@dataclass(frozen=True)
class Shape:
    """One shape. `request` are fields beside the ask; what it asks for is not granted, but for the sibling.

    `asked` is what becomes of that: WITHHELD (`names` are those that the header `x-router-tools-withheld` tells), or REFUSED with `code`
    and `param`; NEVER: it is only met in answers or histories. `types` are the words of the specification that must not reach the
    provider as a `type`, `fields` those that must not as a field. `kept` are tools that must reach it beside the sibling, as they must look there. `answer` is what a provider sends uninvited (a call of a chat, an
    item of a response). `history` are messages or items of earlier turns, and `remembered` what becomes of them: SAID (they stay what
    was said, and grant nothing), CUT (they leave without the tools in them), DENIED (403 `history_code`). `control`: whether an app that
    is granted everything has it forwarded.
    """

    api: str
    name: str
    request: Json
    asked: str = WITHHELD
    kept: tuple[Json, ...] = ()
    names: tuple[str, ...] = (LEVER,)
    code: str = "tool_not_entitled"
    param: str | None = None
    types: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    answer: Json | None = None
    shown: str = LEVER
    history: tuple[Json, ...] = ()
    remembered: str = SAID
    history_code: str = "tool_not_entitled"
    control: bool = True
    status: int = 403

    @property
    def id(self) -> str:
        return f"{self.api}-{self.name}".replace(" ", "-")


def flat(name: str, description: str = "Works out a sum.", **more: Any) -> Json:
    """A function of the responses format."""
    return {"type": "function", "name": name, "description": description, "parameters": SCHEMA, **more}


def nested(name: str, description: str = "Works out a sum.") -> Json:
    """A function of the chat format."""
    return {"type": "function", "function": {"name": name, "description": description, "parameters": SCHEMA}}


def chat_call(name: str, arguments: str, call_id: str = "call_uninvited") -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def custom_call(name: str) -> Json:
    return {"id": "call_uninvited", "type": "custom", "custom": {"name": name, "input": f"run {CALLED}"}}


def call(kind: str, **fields: Any) -> Json:
    """An item of a responses answer."""
    return {"id": f"it_{kind}", "type": kind, "status": "completed", **fields}


def said(message: Json, *results: Json) -> tuple[Json, ...]:
    """A chat in which a call was made and answered."""
    return ({"role": "user", "content": "Pull it."}, message, *results)


ARGUMENTS = json.dumps({"word": CALLED})
FORBIDDEN = nested(LEVER, f"Opens the {DEFINED} gate.")
FORBIDDEN_FLAT = flat(LEVER, f"Opens the {DEFINED} gate.")
GRAMMAR = {"definition": f'start: "{DEFINED}"', "syntax": "lark"}
CHAT_HISTORY = said(
    {"role": "assistant", "content": None, "tool_calls": [chat_call(LEVER, "{}", "call_before")]},
    {"role": "tool", "tool_call_id": "call_before", "content": "The gate is open."},
)
TOOL_RESULT = {"type": "function_call_output", "call_id": "call_before", "output": "The gate is open."}
SERVER = {"type": "mcp", "server_label": f"{NAMED}_server", "server_url": f"https://{DEFINED}.example.org/mcp"}
LISTED = {"name": LEVER, "input_schema": {"type": "object"}, "description": f"Opens the {DEFINED} gate."}
SERVER_NAME = f"{NAMED}_server"
PINNED_SERVER = {"type": "mcp", "server_label": "wiki", "server_url": "https://wiki.example.org/mcp"}
PINNED = {"name": "lookup", "input_schema": {"type": "object"}, "description": "Looks a page up."}
CUT_SERVER = {**PINNED_SERVER, "allowed_tools": ["lookup"], "require_approval": "never"}


CHAT = (
    Shape(
        "chat",
        "function",
        {"tools": [nested(SIBLING), FORBIDDEN]},
        answer=chat_call(LEVER, ARGUMENTS),
        history=CHAT_HISTORY,
    ),
    Shape(
        "chat",
        "custom (text)",
        {
            "tools": [
                nested(SIBLING),
                {"type": "custom", "custom": {"name": LEVER, "description": DEFINED, "format": {"type": "text"}}},
            ]
        },
        answer=custom_call(LEVER),
        history=said(
            {"role": "assistant", "content": None, "tool_calls": [{**custom_call(LEVER), "id": "call_before"}]},
            {"role": "tool", "tool_call_id": "call_before", "content": "The gate is open."},
        ),
    ),
    Shape(
        "chat",
        "custom (grammar)",
        {
            "tools": [
                nested(SIBLING),
                {"type": "custom", "custom": {"name": LEVER, "format": {"type": "grammar", "grammar": GRAMMAR}}},
            ]
        },
        answer=custom_call(LEVER),
    ),
    Shape(
        "chat",
        "functions",
        {"functions": [nested(SIBLING)["function"], FORBIDDEN["function"]]},
        answer={"function_call": {"name": LEVER, "arguments": ARGUMENTS}},
        history=said(
            {"role": "assistant", "content": None, "function_call": {"name": LEVER, "arguments": "{}"}},
            {"role": "function", "name": LEVER, "content": "The gate is open."},
        ),
    ),
    Shape(
        "chat",
        "functions, none granted",
        {"functions": [FORBIDDEN["function"]], "function_call": "auto"},
        fields=("functions", "function_call"),
    ),
    Shape(
        "chat",
        "function_call naming a removed function",
        {"functions": [nested(SIBLING)["function"], FORBIDDEN["function"]], "function_call": {"name": LEVER}},
        asked=REFUSED,
        param="tool_choice",
    ),
    Shape(
        "chat",
        "web_search_options",
        {"tools": [nested(SIBLING)], "web_search_options": {"search_context_size": "low"}},
        names=("web_search",),
        fields=("web_search_options",),
    ),
    Shape(
        "chat",
        "search-preview model",
        {"model": "stub-search-preview", "tools": [nested(SIBLING)]},
        names=("web_search",),
    ),
    Shape(
        "chat",
        "allowed_tools with a removed tool",
        {
            "tools": [nested(SIBLING), FORBIDDEN],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": name}} for name in (SIBLING, LEVER)],
                },
            },
        },
    ),
    Shape(
        "chat",
        "allowed_tools of removed tools only",
        {
            "tools": [nested(SIBLING), FORBIDDEN],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": LEVER}}]},
            },
        },
        asked=REFUSED,
        param="tool_choice",
    ),
    Shape(
        "chat",
        "tool_choice naming a removed function",
        {"tools": [nested(SIBLING), FORBIDDEN], "tool_choice": {"type": "function", "function": {"name": LEVER}}},
        asked=REFUSED,
        param="tool_choice",
    ),
    Shape(
        "chat",
        "tool_choice naming a removed custom tool",
        {
            "tools": [nested(SIBLING), {"type": "custom", "custom": {"name": LEVER}}],
            "tool_choice": {"type": "custom", "custom": {"name": LEVER}},
        },
        asked=REFUSED,
        param="tool_choice",
    ),
    Shape(
        "chat",
        "required with nothing left",
        {"tools": [FORBIDDEN], "tool_choice": "required"},
        asked=REFUSED,
        param="tool_choice",
    ),
    Shape(
        "chat",
        "nothing left, not required",
        {"tools": [FORBIDDEN], "tool_choice": "auto", "parallel_tool_calls": False},
        fields=("tools", "tool_choice", "parallel_tool_calls"),
    ),
    Shape(
        "chat",
        "unknown type",
        {"tools": [nested(SIBLING), {"type": f"{NAMED}_type", "settings": {"note": DEFINED}}]},
        names=(f"{NAMED}_type",),
        answer={"id": "call_uninvited", "type": f"{NAMED}_type", f"{NAMED}_type": {"name": LEVER, "input": CALLED}},
        shown=f"{NAMED}_type",
        control=False,
    ),
    Shape(
        "chat",
        "namespace (not in this format)",
        {"tools": [nested(SIBLING), {"type": "namespace", "name": "", "tools": [flat(SIBLING), FORBIDDEN_FLAT]}]},
        names=("namespace",),
        types=("namespace",),
        control=False,
    ),
)


def hosted(
    name: str,
    tool: Json,
    answer: Json | None,
    *,
    family: str | None = None,
    results: Sequence[Json] = (),
    history: Sequence[Json] | None = None,
    **more: Any,
) -> Shape:
    """A tool that the provider runs, or hands to the app to run."""
    kind = tool["type"]
    earlier = tuple(history) if history is not None else (answer, *results) if answer is not None else ()
    return Shape(
        "responses",
        name,
        {"tools": [flat(SIBLING), tool]},
        names=(SERVER_NAME,) if kind == "mcp" else (kind,),
        types=(kind,),
        answer=answer,
        shown=family or kind,
        history=earlier,
        **more,
    )


def searches(kind: str) -> Shape:
    return hosted(
        kind,
        {"type": kind},
        call("web_search_call", action={"type": "search", "query": f"where the {CALLED} sleeps"}),
        family="web_search",
    )


ENVIRONMENT = {"type": "container_auto"}
RESPONSES = (
    Shape(
        "responses",
        "function",
        {"tools": [flat(SIBLING), FORBIDDEN_FLAT]},
        answer=call("function_call", call_id="call_uninvited", name=LEVER, arguments=ARGUMENTS),
        history=(call("function_call", call_id="call_before", name=LEVER, arguments="{}"), TOOL_RESULT),
    ),
    Shape(
        "responses",
        "custom",
        {
            "tools": [
                flat(SIBLING),
                {"type": "custom", "name": LEVER, "description": DEFINED, "format": {"type": "grammar", **GRAMMAR}},
            ]
        },
        answer=call("custom_tool_call", call_id="call_uninvited", name=LEVER, input=f"run {CALLED}"),
        history=(
            call("custom_tool_call", call_id="call_before", name=LEVER, input="run"),
            {"type": "custom_tool_call_output", "call_id": "call_before", "output": "The gate is open."},
        ),
    ),
    Shape(
        "responses",
        "namespace",
        {
            "tools": [
                flat(SIBLING),
                {"type": "namespace", "name": f"{NAMED}_space", "description": DEFINED, "tools": [flat("lever", DEFINED)]},
            ]
        },
        names=(f"{NAMED}_space.lever",),
        types=("namespace",),
        answer=call("function_call", call_id="call_uninvited", namespace=f"{NAMED}_space", name="lever", arguments=ARGUMENTS),
        shown=f"{NAMED}_space.lever",
        history=(
            call("function_call", call_id="call_before", namespace=f"{NAMED}_space", name="lever", arguments="{}"),
            TOOL_RESULT,
        ),
    ),
    Shape(
        "responses",
        "namespace around a granted name",
        {
            "tools": [
                flat(SIBLING),
                {"type": "namespace", "name": f"{NAMED}_space", "description": DEFINED, "tools": [flat(SIBLING, DEFINED)]},
            ]
        },
        names=(f"{NAMED}_space.{SIBLING}",),
        types=("namespace",),
        answer=call("function_call", call_id="call_uninvited", namespace=f"{NAMED}_space", name=SIBLING, arguments=ARGUMENTS),
        shown=f"{NAMED}_space.{SIBLING}",
    ),
    searches("web_search"),
    searches("web_search_2025_08_26"),
    searches("web_search_preview"),
    searches("web_search_preview_2025_03_11"),
    hosted(
        "file_search",
        {"type": "file_search", "vector_store_ids": [f"vs_{DEFINED}"]},
        call("file_search_call", queries=[f"the {CALLED} papers"]),
    ),
    hosted(
        "code_interpreter",
        {"type": "code_interpreter", "container": {"type": "auto"}},
        call(
            "code_interpreter_call", code=f"print('{CALLED}')", container_id="cntr_1", outputs=[{"type": "logs", "logs": CALLED}]
        ),
    ),
    hosted(
        "code_interpreter (a container by id)",
        {"type": "code_interpreter", "container": f"cntr_{DEFINED}"},
        None,
    ),
    hosted(
        "computer",
        {"type": "computer"},
        call(
            "computer_call",
            call_id="call_uninvited",
            pending_safety_checks=[],
            actions=[{"type": "type", "text": CALLED}],
        ),
        results=(
            {
                "type": "computer_call_output",
                "call_id": "call_uninvited",
                "output": {"type": "computer_screenshot", "image_url": "https://example.org/screen.png"},
            },
        ),
    ),
    hosted(
        "computer_use_preview",
        {"type": "computer_use_preview", "display_height": 600, "display_width": 800, "environment": "browser"},
        call(
            "computer_call",
            call_id="call_uninvited",
            pending_safety_checks=[],
            action={"type": "type", "text": CALLED},
        ),
        family="computer",
    ),
    hosted(
        "image_generation",
        {"type": "image_generation"},
        call("image_generation_call", result=CALLED),
    ),
    hosted(
        "mcp (url)",
        SERVER,
        call("mcp_call", server_label=SERVER_NAME, name=LEVER, arguments=ARGUMENTS, output=CALLED, error=None),
        family=f"{SERVER_NAME}.{LEVER}",
    ),
    hosted(
        "mcp (credentials)",
        {**SERVER, "authorization": f"token-{DEFINED}", "headers": {"x-key": DEFINED}, "require_approval": "never"},
        call("mcp_approval_request", server_label=SERVER_NAME, name=LEVER, arguments=ARGUMENTS),
        family=f"{SERVER_NAME}.{LEVER}",
    ),
    hosted(
        "mcp (connector)",
        {"type": "mcp", "server_label": SERVER_NAME, "connector_id": f"connector_{DEFINED}", "authorization": DEFINED},
        None,
    ),
    Shape(
        "responses",
        "mcp (a server with one pinned tool)",
        {"tools": [flat(SIBLING), PINNED_SERVER]},
        names=(),
        kept=(CUT_SERVER,),
        answer=call("mcp_call", server_label="wiki", name=LEVER, arguments=ARGUMENTS, output=CALLED, error=None),
        shown=f"wiki.{LEVER}",
        control=False,
    ),
    Shape(
        "responses",
        "mcp (allowed_tools beyond the pinned)",
        {"tools": [flat(SIBLING), {**PINNED_SERVER, "allowed_tools": ["lookup", LEVER], "require_approval": "never"}]},
        names=(),
        kept=(CUT_SERVER,),
        answer=call("mcp_approval_request", server_label="wiki", name=LEVER, arguments=ARGUMENTS),
        shown=f"wiki.{LEVER}",
        control=False,
    ),
    Shape(
        "responses",
        "mcp (a pinned server elsewhere)",
        {"tools": [flat(SIBLING), {**PINNED_SERVER, "server_url": f"https://{DEFINED}.example.org/mcp"}]},
        names=("wiki",),
        types=("mcp",),
        answer=call("mcp_call", server_label="wiki", name="lookup", arguments=ARGUMENTS, output=CALLED, error=None),
        shown="wiki.lookup",
        control=False,
    ),
    Shape(
        "responses",
        "mcp (two servers under one label)",
        {"tools": [flat(SIBLING), PINNED_SERVER, {**PINNED_SERVER, "server_url": f"https://{DEFINED}.example.org/mcp"}]},
        names=("wiki",),
        kept=(CUT_SERVER,),
        control=False,
    ),
    Shape(
        "responses",
        "mcp (a changed list)",
        {"tools": [flat(SIBLING), PINNED_SERVER]},
        asked=NEVER,
        answer=call("mcp_list_tools", server_label="wiki", tools=[PINNED, {**LISTED, "description": CALLED}]),
        shown="wiki",
        history=({"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "wiki", "tools": [PINNED, LISTED]},),
        types=("mcp_list_tools",),
        remembered=CUT,
        control=False,
    ),
    Shape(
        "responses",
        "tool_choice naming a removed tool of a server",
        {"tools": [flat(SIBLING), PINNED_SERVER], "tool_choice": {"type": "mcp", "server_label": "wiki", "name": LEVER}},
        asked=REFUSED,
        param="tool_choice",
        control=False,
    ),
    hosted(
        "shell",
        {"type": "shell", "environment": ENVIRONMENT},
        call(
            "shell_call",
            call_id="call_uninvited",
            action={"commands": [f"echo {CALLED}"], "max_output_length": None, "timeout_ms": None},
            environment=None,
        ),
        results=(
            {
                "type": "shell_call_output",
                "call_id": "call_uninvited",
                "output": [{"outcome": {"type": "exit", "exit_code": 0}, "stdout": "done", "stderr": ""}],
            },
        ),
    ),
    hosted(
        "local_shell",
        {"type": "local_shell"},
        call("local_shell_call", call_id="call_uninvited", action={"type": "exec", "command": ["echo", CALLED], "env": {}}),
        results=({"type": "local_shell_call_output", "id": "it_1", "output": "done"},),
    ),
    hosted(
        "apply_patch",
        {"type": "apply_patch"},
        call(
            "apply_patch_call",
            call_id="call_uninvited",
            operation={"type": "create_file", "path": f"{CALLED}.txt", "diff": "+1"},
        ),
        results=({"type": "apply_patch_call_output", "call_id": "call_uninvited", "status": "completed", "output": "done"},),
    ),
    hosted(
        "tool_search",
        {"type": "tool_search", "description": DEFINED},
        call("tool_search_call", call_id="call_uninvited", arguments={"query": CALLED}, execution="client"),
        history=(),
    ),
    Shape(
        "responses",
        "tool_search_output",
        {"tools": [flat(SIBLING)]},
        asked=NEVER,
        answer=call("tool_search_output", call_id="call_search", execution="server", tools=[flat(LEVER, CALLED)]),
        shown="tool_search",
        history=(
            call("tool_search_call", call_id="call_search", arguments={"query": "sums"}, execution="client"),
            {
                "type": "tool_search_output",
                "call_id": "call_search",
                "tools": [FORBIDDEN_FLAT, flat(SIBLING)],
                "execution": "client",
            },
        ),
        remembered=CUT,
    ),
    Shape(
        "responses",
        "defer_loading",
        {"tools": [flat(SIBLING, defer_loading=True), flat(LEVER, DEFINED, defer_loading=True), {"type": "tool_search"}]},
        names=(LEVER, "tool_search"),
        types=("tool_search",),
        fields=("defer_loading",),
    ),
    hosted(
        "programmatic calling",
        {"type": "programmatic_tool_calling"},
        call("program", call_id="call_uninvited", code=f"await tools.calculator('{CALLED}')", fingerprint="f"),
        remembered=DENIED,
    ),
    Shape(
        "responses",
        "programmatic calling of a granted tool",
        {"tools": [flat(SIBLING, allowed_callers=["direct"])]},
        asked=NEVER,
        answer=call(
            "function_call",
            call_id="call_uninvited",
            name=SIBLING,
            arguments=json.dumps({"expression": CALLED}),
            caller={"type": "program", "caller_id": "call_program"},
        ),
        shown=SIBLING,
        history=(
            call("program", call_id="call_program", code="await tools.calculator('1')", fingerprint="f"),
            call(
                "function_call",
                call_id="call_before",
                name=SIBLING,
                arguments="{}",
                caller={"type": "program", "caller_id": "call_program"},
            ),
            {**TOOL_RESULT, "caller": {"type": "program", "caller_id": "call_program"}},
        ),
        remembered=DENIED,
    ),
    Shape(
        "responses",
        "additional_tools",
        {"tools": [flat(SIBLING)]},
        asked=NEVER,
        answer=call("additional_tools", role="developer", tools=[flat(LEVER, CALLED)]),
        shown="tool_search",
        history=(
            {
                "type": "additional_tools",
                "role": "developer",
                "tools": [FORBIDDEN_FLAT, {"type": "shell"}, SERVER, flat(SIBLING)],
            },
        ),
        types=("shell", "mcp"),
        remembered=CUT,
    ),
    Shape(
        "responses",
        "mcp_list_tools",
        {"tools": [flat(SIBLING)]},
        asked=NEVER,
        answer=call("mcp_list_tools", server_label=SERVER_NAME, tools=[{**LISTED, "description": CALLED}]),
        shown=SERVER_NAME,
        history=({"type": "mcp_list_tools", "id": "mcpl_1", "server_label": SERVER_NAME, "tools": [LISTED]},),
        types=("mcp_list_tools",),
        remembered=CUT,
    ),
    Shape(
        "responses",
        "mcp_approval_response",
        {"tools": [flat(SIBLING)]},
        asked=NEVER,
        history=(
            call("mcp_approval_request", server_label=SERVER_NAME, name=LEVER, arguments="{}"),
            {"type": "mcp_approval_response", "approval_request_id": "it_mcp_approval_request", "approve": True},
        ),
        remembered=DENIED,
    ),
    Shape(
        "responses",
        "allowed_tools with a removed tool",
        {
            "tools": [flat(SIBLING), FORBIDDEN_FLAT, {"type": "shell"}],
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": SIBLING}, {"type": "function", "name": LEVER}, {"type": "shell"}],
            },
        },
        names=(LEVER, "shell"),
        types=("shell",),
    ),
    Shape(
        "responses",
        "allowed_tools of removed tools only",
        {
            "tools": [flat(SIBLING), FORBIDDEN_FLAT],
            "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": LEVER}]},
        },
        asked=REFUSED,
        param="tool_choice",
    ),
    Shape(
        "responses",
        "tool_choice naming a removed function",
        {"tools": [flat(SIBLING), FORBIDDEN_FLAT], "tool_choice": {"type": "function", "name": LEVER}},
        asked=REFUSED,
        param="tool_choice",
    ),
    Shape(
        "responses",
        "tool_choice naming a removed hosted tool",
        {"tools": [flat(SIBLING), {"type": "shell"}], "tool_choice": {"type": "shell"}},
        asked=REFUSED,
        param="tool_choice",
    ),
    Shape(
        "responses",
        "tool_choice naming a removed server",
        {"tools": [flat(SIBLING), SERVER], "tool_choice": {"type": "mcp", "server_label": SERVER_NAME, "name": LEVER}},
        asked=REFUSED,
        param="tool_choice",
    ),
    Shape(
        "responses",
        "required with nothing left",
        {"tools": [FORBIDDEN_FLAT], "tool_choice": "required"},
        asked=REFUSED,
        param="tool_choice",
    ),
    Shape(
        "responses",
        "unknown type",
        {"tools": [flat(SIBLING), {"type": f"{NAMED}_type", "note": DEFINED}]},
        names=(f"{NAMED}_type",),
        answer=call(f"{NAMED}_type_call", payload=CALLED),
        shown=f"{NAMED}_type_call",
        control=False,
    ),
    Shape(
        "responses",
        "unknown item",
        {"tools": [flat(SIBLING)], "input": [{"type": f"{NAMED}_item", "note": DEFINED}]},
        asked=REFUSED,
        status=400,
        code="invalid_request",
        param="input[0].type",
        control=False,
    ),
    Shape(
        "responses",
        "previous_response_id of nobody",
        {"tools": [flat(SIBLING)], "previous_response_id": f"resp_{NAMED}"},
        asked=REFUSED,
        status=404,
        code="response_not_found",
        param="previous_response_id",
        control=False,
    ),
    Shape(
        "responses",
        "background that nobody keeps",
        {"tools": [flat(SIBLING)], "background": True, "store": False},
        asked=REFUSED,
        status=400,
        code="invalid_request",
        param="background",
        control=False,
    ),
    Shape(
        "responses",
        "conversation",
        {"tools": [flat(SIBLING)], "conversation": {"id": f"conv_{NAMED}"}},
        asked=REFUSED,
        status=400,
        code="invalid_request",
        param="conversation",
        control=False,
    ),
    Shape(
        "responses",
        "item_reference",
        {"tools": [flat(SIBLING)], "input": [{"type": "item_reference", "id": f"fc_{NAMED}"}]},
        asked=REFUSED,
        status=400,
        code="invalid_request",
        param="input[0]",
        control=False,
    ),
    Shape(
        "responses",
        "prompt",
        {"tools": [flat(SIBLING)], "prompt": {"id": f"pmpt_{NAMED}"}},
        asked=REFUSED,
        status=400,
        code="invalid_request",
        param="prompt",
        control=False,
    ),
)

SHAPES = (*CHAT, *RESPONSES)


# What is sent


def body_of(shape: Shape, stream: bool) -> Json:
    """The request that asks for the shape."""
    if shape.api == "chat":
        return {"model": "auto", "stream": stream, "messages": [{"role": "user", "content": ASK}], **shape.request}
    return {"model": "auto", "stream": stream, "input": ASK, **shape.request}


def history_of(shape: Shape, stream: bool) -> Json:
    """A request with the shape in its history, and nothing but the sibling among its tools."""
    if shape.api == "chat":
        offered = {"functions": [nested(SIBLING)["function"]]} if "functions" in shape.request else {"tools": [nested(SIBLING)]}
        return {"model": "auto", "stream": stream, **offered, "messages": [*shape.history, {"role": "user", "content": ASK}]}
    message = {"type": "message", "role": "user", "content": ASK}
    return {"model": "auto", "stream": stream, "tools": [flat(SIBLING)], "input": [*shape.history, message]}


# What is answered


def answer_of(shape: Shape, stream: bool, *, alone: bool = False) -> bytes:
    """A provider's answer with the call that nobody was granted, and, unless it is `alone`, the sibling after it."""
    assert shape.answer is not None
    if shape.api == "chat":
        return chat_answer(shape.answer, stream, alone)
    items = [shape.answer]
    if not alone:
        items.append(call("function_call", call_id=SIBLING_CALL, name=SIBLING, arguments=SIBLING_ARGUMENTS))
        items[-1]["id"] = "fc_sibling"
    return responses_answer(items, stream)


def chat_answer(uninvited: Json, stream: bool, alone: bool) -> bytes:
    taken, cached, given, reasoning = USAGE
    usage = {
        "prompt_tokens": taken,
        "completion_tokens": given,
        "total_tokens": taken + given,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
    legacy = uninvited.get("function_call")
    calls = [] if legacy else [uninvited]
    if not alone and not legacy:
        calls.append(chat_call(SIBLING, SIBLING_ARGUMENTS, SIBLING_CALL))
    finish = "function_call" if legacy else "tool_calls"
    head: Json = {"id": "chatcmpl-1", "created": 1_750_000_000, "model": "m"}
    message: Json = {"role": "assistant", "content": None, "refusal": None}
    message |= {"function_call": legacy} if legacy else {"tool_calls": calls}
    if not stream:
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        return json.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
    deltas: list[Json] = [{"role": "assistant", "content": None}]
    if legacy:
        deltas += [{"function_call": {**legacy, "arguments": ""}}, {"function_call": {"arguments": legacy["arguments"]}}]
    for index, each in enumerate(calls):
        deltas += [{"tool_calls": [{"index": index, **fragment}]} for fragment in fragments(each)]
    head["object"] = "chat.completion.chunk"
    chunks = [
        {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}], "usage": None}
        for delta in deltas
    ]
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": finish}], "usage": None})
    chunks.append({**head, "choices": [], "usage": usage})
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


def fragments(whole: Json) -> Iterator[Json]:
    """A call of a chat as a stream has it: its name first, then what it is called with, in two pieces."""
    kind = whole["type"]
    field = "arguments" if kind == "function" else "input"
    text = whole[kind][field]
    yield {**whole, kind: {**whole[kind], field: ""}}
    for piece in (text[:3], text[3:]):
        yield {kind: {field: piece}}


def response_object(status: str, output: Sequence[Json]) -> Json:
    taken, cached, given, reasoning = USAGE
    usage = {
        "input_tokens": taken,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": given,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": taken + given,
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_750_000_000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "m",
        "output": list(output),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None if status == "in_progress" else usage,
    }


_FRAGMENTED = {"function_call": ("function_call_arguments", "arguments"), "custom_tool_call": ("custom_tool_call_input", "input")}


def responses_answer(items: Sequence[Json], stream: bool) -> bytes:
    if not stream:
        return json.dumps(response_object("completed", items)).encode()
    events: list[Json] = [{"type": "response.created", "response": response_object("in_progress", [])}]
    for index, item in enumerate(items):
        event, field = _FRAGMENTED.get(item["type"], ("", ""))
        begun = {**item, "status": "in_progress", **({field: ""} if field else {})}
        events.append({"type": "response.output_item.added", "output_index": index, "item": begun})
        where = {"item_id": item["id"], "output_index": index}
        if field:
            events += [
                {"type": f"response.{event}.delta", **where, "delta": piece} for piece in (item[field][:4], item[field][4:])
            ]
            events.append({"type": f"response.{event}.done", **where, field: item[field], "name": item["name"]})
        elif item["type"] in (
            "web_search_call",
            "file_search_call",
            "code_interpreter_call",
            "image_generation_call",
            "mcp_call",
        ):
            events.append({"type": f"response.{item['type']}.in_progress", **where})
            if item["type"] == "code_interpreter_call":
                events.append({"type": "response.code_interpreter_call_code.delta", **where, "delta": CALLED})
            if item["type"] == "mcp_call":
                events.append({"type": "response.mcp_call_arguments.delta", **where, "delta": CALLED})
            events.append({"type": f"response.{item['type']}.completed", **where})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": "response.completed", "response": response_object("completed", items)})
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps({'sequence_number': number, **event})}\n\n".encode()
        for number, event in enumerate(events)
    )


# What it comes to, as a page

_PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
_REMEMBERED = {
    SAID: "stays what was said; grants nothing",
    CUT: "leaves without the tools that are not granted",
    DENIED: "refused: 403 `{code}`",
}


def _asked(shape: Shape) -> str:
    if shape.asked == NEVER:
        return "–"
    if shape.asked == REFUSED:
        return f"refused: {shape.status} `{shape.code}` at `{shape.param}`"
    shown = ", ".join(f"`{name}`" for name in shape.names)
    return f"withheld ({shown}); the rest goes on" if shown else "cut to what is granted of it"


def page() -> str:
    """`docs/tool-shapes.md`."""
    lines = [
        "# Shapes of tools on the wire",
        "",
        "What becomes of each shape in which a tool can stand in a request, in an answer and in a history, where it is not granted. Each",
        "row is a test that runs through the service over HTTP, once for an answer in one piece and once for a stream",
        "(`tests/security/test_tool_shapes_matrix.py`); this page is printed from the data of these tests by",
        "`python tests/support/tool_shapes.py`. In the names, `quagga` stands for what is not granted.",
        "",
        "- *Asked for*: nothing of it reaches the provider, in whatever place of the body. What is withheld is named in the header",
        "  `x-router-tools-withheld`. Tools that are granted go on beside it.",
        "- *Called all the same*: what a provider answers uninvited does not reach the app. Calls of granted tools beside it do, with",
        "  `finish_reason`, indices, sequence numbers, the last event and the usage as they have to be. Where nothing else is left, a",
        "  sentence stands in its place, or an error where the app insists on structure or on a call.",
        "- *In the history*: an earlier call is text that was said, and grants nothing. Items that bring tools or approvals with them are",
        "  cut or refused.",
        "- *Words*: where a session is untrusted and confidential or higher, links and images in an answer's words that lead to no listed",
        "  place are replaced by a note, on every path, in one piece and in streams",
        "  (`tests/security/test_words_of_answers_are_screened.py`).",
    ]
    for api, path in _PATHS.items():
        lines += [
            "",
            f"## `POST {path}`",
            "",
            "| shape | asked for | called all the same | in the history |",
            "|---|---|---|---|",
        ]
        for shape in SHAPES:
            if shape.api != api:
                continue
            answered = "removed" if shape.answer is not None else "–"
            remembered = _REMEMBERED[shape.remembered].format(code=shape.history_code) if shape.history else "–"
            lines.append(f"| {shape.name} | {_asked(shape)} | {answered} | {remembered} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
