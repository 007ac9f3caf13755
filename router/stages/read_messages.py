"""Read a checked body of Anthropic's Messages API into the one normal form: what its fields and content blocks say (pure).

As in the other formats, every string is the text of a part, or makes a part that says it cannot be read, or is a control field.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from router.exchange import JsonObject
from router.stages.conversation import messages_message
from router.stages.messages_keys import MCP_TOOLSET, PROVIDER_CALLS, RESULT, families_called, is_client_tool
from routing_rules.server_lists import address_digest, brings_credentials, list_digests
from routing_rules.task import Feature, Provenance, Role, ToolAsk, ToolChoice

_ROLES = {
    "user": (Role.USER, Provenance.USER),
    "assistant": (Role.ASSISTANT, Provenance.MODEL),
    "system": (Role.SYSTEM, Provenance.APP),
}
_CONTROL = frozenset({"type", "media_type", "file_type", "error_code", "cache_control"})
"""Fields inside blocks whose values are words or numbers of the specification, or are read on their own."""


class Reading(Protocol):
    """What is being read of one body (see `read_task`)."""

    features: set[Feature]
    tools: list[ToolAsk]
    tool_choice: ToolChoice
    reasoning_effort: str | None
    unbounded: bool

    def text(self, text: str, role: Role, provenance: Provenance, path: str, turn: int = ..., call_id: str | None = ...) -> None:
        """A text that is sent."""

    def free(self, value: Any, role: Role, provenance: Provenance, path: str, turn: int = ..., call_id: str | None = ...) -> None:
        """JSON of any shape."""

    def image(self, url: str | None, detail: str | None, role: Role, path: str, turn: int, call_id: str | None = ...) -> None:
        """A picture, by its address or as a data URI."""

    def file_data(self, data: str, role: Role, path: str, turn: int, call_id: str | None = ...) -> None:
        """A file that is sent along."""

    def elsewhere(self, kind: str, where: str, role: Role, path: str, turn: int, call_id: str | None = ...) -> None:
        """A file that the provider gets from somewhere else."""

    def unreadable(
        self, kind: str, role: Role, path: str, turn: int = ..., call_id: str | None = ..., payload: str = ...
    ) -> None:
        """What is not read here."""

    def sealed(self, data: str, role: Role, path: str, turn: int, call_id: str | None = ...) -> None:
        """What only its provider can read."""

    def tool(self, tool: JsonObject, kind: str, path: str, namespace: str = ...) -> None:
        """A tool that the app defines."""

    def issued_id(self, issued: Any) -> None:
        """An id by which the history may refer to an earlier answer."""

    def said(self, canonical: bytes | None, by_model: bool) -> None:
        """A turn of the conversation in its canonical form."""


def system(reading: Reading, given: Any) -> None:
    """`system`."""
    _content(reading, given, "system", -1)


def messages(reading: Reading, given: list[JsonObject]) -> None:
    """`messages`, turn by turn."""
    for turn, message in enumerate(given):
        role = message["role"]
        _content(reading, message["content"], f"messages[{turn}].content", turn, role)
        reading.said(messages_message(message), role == "assistant")
    if _answers_a_thought(given):
        reading.features.add(Feature.STORED_STATE)


def _answers_a_thought(given: list[JsonObject]) -> bool:
    """Whether the model goes on with what it thought before it called a tool: only who signed that thought can read it."""
    last = given[-1]
    if (
        last["role"] != "user"
        or type(last["content"]) is str
        or not any(block["type"] == "tool_result" for block in last["content"])
    ):
        return False
    before = next((message["content"] for message in reversed(given) if message["role"] == "assistant"), "")
    return type(before) is list and any(block["type"] in ("thinking", "redacted_thinking") for block in before)


def _content(reading: Reading, content: Any, path: str, turn: int, speaker: str = "system") -> None:
    role, provenance = _ROLES[speaker]
    if type(content) is str:
        reading.text(content, role, provenance, path, turn)
        return
    for index, block in enumerate(content):
        _block(reading, block, role, provenance, f"{path}[{index}]", turn, None)


def _block(
    reading: Reading, block: JsonObject, role: Role, provenance: Provenance, path: str, turn: int, call_id: str | None
) -> None:
    kind = block["type"]
    if kind == "text":
        reading.text(block["text"], role, provenance, f"{path}.text", turn, call_id)
    else:
        reader = _BLOCKS.get(kind)
        if reader is not None:
            reader(reading, block, role, path, turn, call_id)
        elif kind.endswith(RESULT):
            _result_of_provider(reading, block, path, turn)
        else:
            _strings(reading, block, role, provenance, path, turn, call_id)
            return
    citations = block.get("citations")
    if type(citations) is list:
        if provenance is not Provenance.MODEL:
            provenance = Provenance.ATTACHMENT  # words of what is cited, not of who cites it
        for index, citation in enumerate(citations):
            _strings(reading, citation, role, provenance, f"{path}.citations[{index}]", turn, call_id)


def _strings(
    reading: Reading, value: Any, role: Role, provenance: Provenance, path: str, turn: int, call_id: str | None = None
) -> None:
    """Every string inside a value of a known shape."""
    kind = type(value)
    if kind is str:
        reading.text(value, role, provenance, path, turn, call_id)
    elif kind is list:
        for index, held in enumerate(value):
            _strings(reading, held, role, provenance, f"{path}[{index}]", turn, call_id)
    elif kind is dict:
        for name, held in value.items():
            if name in _CONTROL or held is None:
                continue
            place = f"{path}.{name}"
            if name == "file_id":
                reading.elsewhere("file", held, role, place, turn, call_id)
            elif name.startswith("encrypted_"):
                reading.sealed(held, role, place, turn, call_id)
            elif name == "content" and type(held) is dict and held.get("type") == "document":
                _document(reading, held, role, place, turn, call_id)
            else:
                _strings(reading, held, role, provenance, place, turn, call_id)


def _image(reading: Reading, block: JsonObject, role: Role, path: str, turn: int, call_id: str | None) -> None:
    source = block["source"]
    kind = source["type"]
    if kind == "base64":
        reading.image(f"data:{source['media_type']};base64,{source['data']}", None, role, f"{path}.source.data", turn, call_id)
    elif kind == "url":
        reading.image(source["url"], None, role, f"{path}.source.url", turn, call_id)
    else:
        reading.image(None, None, role, f"{path}.source.file_id", turn, call_id)
        reading.text(source["file_id"], role, Provenance.ATTACHMENT, f"{path}.source.file_id", turn, call_id)
    transformations = block.get("transformations")
    if transformations and transformations.get("oversized_image") is not None:
        reading.features.add(Feature.VISION)


def _document(reading: Reading, block: JsonObject, role: Role, path: str, turn: int, call_id: str | None) -> None:
    source = block["source"]
    kind = source["type"]
    place = f"{path}.source"
    if kind == "base64":
        reading.file_data(source["data"], role, f"{place}.data", turn, call_id)
    elif kind == "url":
        reading.elsewhere("remote", source["url"], role, f"{place}.url", turn, call_id)
    elif kind == "file":
        reading.elsewhere("file", source["file_id"], role, f"{place}.file_id", turn, call_id)
    elif kind == "text":
        reading.text(source["data"], role, Provenance.ATTACHMENT, f"{place}.data", turn, call_id)
    elif type(source["content"]) is str:
        reading.text(source["content"], role, Provenance.ATTACHMENT, f"{place}.content", turn, call_id)
    else:
        for index, inner in enumerate(source["content"]):
            _block(reading, inner, role, Provenance.ATTACHMENT, f"{place}.content[{index}]", turn, call_id)
    for field in ("title", "context"):
        if block.get(field):
            reading.text(block[field], role, Provenance.ATTACHMENT, f"{path}.{field}", turn, call_id)


def _search_result(reading: Reading, block: JsonObject, role: Role, path: str, turn: int, call_id: str | None) -> None:
    for field in ("source", "title"):
        reading.text(block[field], role, Provenance.ATTACHMENT, f"{path}.{field}", turn, call_id)
    for index, inner in enumerate(block["content"]):
        _block(reading, inner, role, Provenance.ATTACHMENT, f"{path}.content[{index}]", turn, call_id)


def _thinking(reading: Reading, block: JsonObject, role: Role, path: str, turn: int, call_id: str | None) -> None:
    reading.text(block["thinking"], role, Provenance.MODEL, f"{path}.thinking", turn, call_id)
    # An app can write anything there; what looks like a signature is judged like any other text.
    reading.text(block["signature"], role, Provenance.METADATA, f"{path}.signature", turn, call_id)


def _redacted(reading: Reading, block: JsonObject, role: Role, path: str, turn: int, call_id: str | None) -> None:
    reading.sealed(block["data"], role, f"{path}.data", turn, call_id)


def _tool_use(reading: Reading, block: JsonObject, role: Role, path: str, turn: int, call_id: str | None) -> None:
    issued = block["id"]
    reading.issued_id(issued)
    reading.features.add(Feature.SERVER_TOOLS if block["type"] in PROVIDER_CALLS else Feature.TOOLS)
    reading.text(issued, Role.ASSISTANT, Provenance.METADATA, f"{path}.id", turn, issued)
    for field in ("name", "server_name", "toolset_name"):
        if block.get(field):
            reading.text(block[field], Role.ASSISTANT, Provenance.MODEL, f"{path}.{field}", turn, issued)
    reading.free(block["input"], Role.ASSISTANT, Provenance.MODEL, f"{path}.input", turn, issued)
    _caller(reading, block, Role.ASSISTANT, path, turn, issued)


def _caller(reading: Reading, block: JsonObject, role: Role, path: str, turn: int, call_id: str | None) -> None:
    caller = block.get("caller")
    if caller and caller.get("tool_id"):
        reading.text(caller["tool_id"], role, Provenance.METADATA, f"{path}.caller.tool_id", turn, call_id)


def _tool_result(reading: Reading, block: JsonObject, _: Role, path: str, turn: int, __: str | None) -> None:
    issued = block["tool_use_id"]
    reading.issued_id(issued)
    reading.features.add(Feature.TOOLS)
    reading.text(issued, Role.TOOL, Provenance.METADATA, f"{path}.tool_use_id", turn, issued)
    if block.get("toolset_name"):
        reading.text(block["toolset_name"], Role.TOOL, Provenance.METADATA, f"{path}.toolset_name", turn, issued)
    content = block.get("content")
    if type(content) is str:
        reading.text(content, Role.TOOL, Provenance.TOOL_RESULT, f"{path}.content", turn, issued)
    for index, inner in enumerate(content if type(content) is list else ()):
        _block(reading, inner, Role.TOOL, Provenance.TOOL_RESULT, f"{path}.content[{index}]", turn, issued)


def _result_of_provider(reading: Reading, block: JsonObject, path: str, turn: int) -> None:
    """What a tool that the provider ran brought: from outside, whoever sends it."""
    issued = block["tool_use_id"]
    reading.issued_id(issued)
    reading.features.add(Feature.SERVER_TOOLS)
    reading.text(issued, Role.TOOL, Provenance.METADATA, f"{path}.tool_use_id", turn, issued)
    _strings(reading, block.get("content"), Role.TOOL, Provenance.TOOL_RESULT, f"{path}.content", turn, issued)
    _caller(reading, block, Role.TOOL, path, turn, issued)


def _listing(reading: Reading, block: JsonObject, role: Role, path: str, turn: int, call_id: str | None) -> None:
    label = block["mcp_server_name"]
    reading.tools.append(ToolAsk("mcp", "mcp", path, label, listed=list_digests(block["tools"])))
    reading.features.add(Feature.SERVER_TOOLS)
    reading.free({"mcp_server_name": label, "tools": block["tools"]}, Role.SYSTEM, Provenance.TOOL_DEFINITION, path, turn)


def _tool_change(reading: Reading, block: JsonObject, role: Role, path: str, turn: int, call_id: str | None) -> None:
    """A tool that is added or taken away in the middle of a conversation."""
    tool = block["tool"]
    place = f"{path}.tool"
    if tool["type"] == "tool_definition":
        _tool(reading, tool["definition"], f"{place}.definition")
    else:
        reading.features.add(Feature.SERVER_TOOLS if "server_name" in tool else Feature.TOOLS)
        for field in ("name", "server_name"):
            if tool.get(field):
                reading.text(tool[field], Role.SYSTEM, Provenance.TOOL_DEFINITION, f"{place}.{field}", turn)


_BLOCKS: dict[str, Callable[[Reading, JsonObject, Role, str, int, str | None], None]] = {
    "image": _image,
    "document": _document,
    "search_result": _search_result,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "tool_use": _tool_use,
    "server_tool_use": _tool_use,
    "mcp_tool_use": _tool_use,
    "tool_result": _tool_result,
    "mcp_tool_listing": _listing,
    "tool_addition": _tool_change,
    "tool_removal": _tool_change,
}


def tools(reading: Reading, given: list[JsonObject]) -> None:
    """`tools`."""
    for index, tool in enumerate(given):
        _tool(reading, tool, f"tools[{index}]")


def _tool(reading: Reading, tool: JsonObject, path: str) -> None:
    if is_client_tool(tool):
        reading.tool(tool, "function", path)
        return
    reading.features.add(Feature.SERVER_TOOLS)
    kind = tool["type"]
    if kind != MCP_TOOLSET:  # a server is asked for where its address is
        reading.tools.append(ToolAsk(kind, kind, path))
    listed = tool.get("tools") if kind == MCP_TOOLSET else None
    if listed:
        reading.tools.append(ToolAsk("mcp", "mcp", f"{path}.tools", tool["mcp_server_name"], listed=list_digests(listed)))
    reading.free(
        {field: value for field, value in tool.items() if value is not None}, Role.SYSTEM, Provenance.TOOL_DEFINITION, path
    )


def mcp_servers(reading: Reading, given: list[JsonObject]) -> None:
    """`mcp_servers`."""
    for index, server in enumerate(given):
        path = f"mcp_servers[{index}]"
        reading.features.add(Feature.SERVER_TOOLS)
        address, token = server["url"], server.get("authorization_token")
        credentials = brings_credentials({"server_url": address, "authorization": token})
        reading.tools.append(ToolAsk("mcp", "mcp", path, server["name"], address_digest(address), credentials))
        for field in ("name", "url", "authorization_token"):  # one by one, so that a finding says where it is
            if server.get(field):
                reading.text(server[field], Role.SYSTEM, Provenance.TOOL_DEFINITION, f"{path}.{field}")
        if server.get("tool_configuration"):
            reading.free(server["tool_configuration"], Role.SYSTEM, Provenance.TOOL_DEFINITION, f"{path}.tool_configuration")


def tool_choice(reading: Reading, choice: JsonObject) -> None:
    """`tool_choice`. A tool of the provider's types may be chosen by a name that is not its type's."""
    kind = choice["type"]
    if kind == "tool":
        name = choice["name"]
        reading.tool_choice = ToolChoice("named", tuple(dict.fromkeys((name, *families_called(name)))), True)
    else:
        reading.tool_choice = ToolChoice("required" if kind == "any" else kind)


def output_config(reading: Reading, options: JsonObject) -> None:
    """`output_config`."""
    reading.reasoning_effort = options.get("effort")
    if options.get("format"):
        output_format(reading, options["format"])


def output_format(reading: Reading, wanted: JsonObject) -> None:
    """`output_format`, or the same inside `output_config`."""
    reading.features.add(Feature.JSON_SCHEMA)
    reading.free(wanted["schema"], Role.SYSTEM, Provenance.METADATA, "output_config.format")


def metadata(reading: Reading, given: JsonObject) -> None:
    """`metadata`."""
    if given.get("user_id"):
        reading.text(given["user_id"], Role.USER, Provenance.METADATA, "metadata.user_id")


def stop_sequences(reading: Reading, given: list[str]) -> None:
    """`stop_sequences`."""
    for index, text in enumerate(given):
        reading.text(text, Role.USER, Provenance.METADATA, f"stop_sequences[{index}]")


def context_management(reading: Reading, given: JsonObject) -> None:
    """`context_management`: names of tools are all that an app can write there."""
    _strings(reading, given, Role.SYSTEM, Provenance.METADATA, "context_management", -1)


def diagnostics(reading: Reading, given: JsonObject) -> None:
    """`diagnostics`."""
    _strings(reading, given, Role.USER, Provenance.METADATA, "diagnostics", -1)


def streams(reading: Reading, wanted: bool) -> None:
    """`stream`."""
    if wanted:
        reading.features.add(Feature.STREAMING)


READERS: dict[str, Callable[[Any, Any], None] | None] = {
    "model": None,
    "messages": messages,
    "max_tokens": None,
    "billing_policy": None,
    "cache_control": None,
    "compaction": None,
    "container": None,
    "context_management": context_management,
    "diagnostics": diagnostics,
    "fallback_credit_token": None,
    "fallbacks": None,
    "inference_geo": None,
    "mcp_servers": mcp_servers,
    "metadata": metadata,
    "output_config": output_config,
    "output_format": output_format,
    "service_tier": None,
    "speed": None,
    "stop_sequences": stop_sequences,
    "stream": streams,
    "system": system,
    "temperature": None,
    "thinking": None,
    "thread": None,
    "tool_choice": tool_choice,
    "tools": tools,
    "top_k": None,
    "top_p": None,
}
"""Field → what reads it; None for what holds no text, or is refused before it is read."""
