"""The one normal form of what an app asks, whatever the wire format it came in."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from routing_rules.vocabulary import Sensitivity


class Endpoint(StrEnum):
    """The wire format a request came in."""

    CHAT = "chat"
    RESPONSES = "responses"
    EMBEDDINGS = "embeddings"
    MESSAGES = "messages"  # Anthropic's


class Role(StrEnum):
    """Who speaks in a part."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Provenance(StrEnum):
    """Where the text of a part came from; rules trust some sources less than others."""

    APP = "app"  # system and developer messages, instructions
    USER = "user"
    MODEL = "model"  # earlier answers, and the arguments of earlier tool calls
    TOOL_RESULT = "tool_result"
    ATTACHMENT = "attachment"
    TOOL_DEFINITION = "tool_definition"  # names, descriptions and schemas of tools
    METADATA = "metadata"  # metadata, end-user name, response format, cache keys, other strings


class Feature(StrEnum):
    """What a deployment must be able to do to serve the request as asked."""

    VISION = "vision"
    AUDIO = "audio"
    FILES = "files"
    TOOLS = "tools"
    PARALLEL_TOOLS = "parallel_tools"
    CUSTOM_TOOLS = "custom_tools"
    HOSTED_TOOLS = "hosted_tools"
    LOGPROBS = "logprobs"
    SEVERAL_CHOICES = "several_choices"  # n > 1
    JSON_SCHEMA = "json_schema"
    JSON_MODE = "json_mode"
    STREAMING = "streaming"
    SEED = "seed"
    PREDICTION = "prediction"
    STORED_STATE = "stored_state"
    BACKGROUND = "background"
    EMBEDDINGS = "embeddings"
    RESPONSES_API = "responses_api"
    CHAT_API = "chat_api"
    MESSAGES_API = "messages_api"
    SERVER_TOOLS = "server_tools"  # those that Anthropic runs


class Part(msgspec.Struct, frozen=True):
    """One readable (or unreadable) piece of a request.

    `path` names where it stands in the body (`messages[2].content[0].text`), `turn` counts messages or items from 0
    (-1 for what belongs to no turn). A path that ends in `#json` is the same text with the escapes of its JSON resolved. A
    part that cannot be read has `unreadable` set to what it is (`image`, `audio`, `file`, `remote`, `encrypted`, `tokens`)
    and an empty text. `payload` is a file as it was sent (base64 or a data URI), of which nobody has tried to read the text yet;
    a file that was read in part has both a text and `unreadable`. `labels` are the ids of the labels that a file carries.
    """

    role: Role
    provenance: Provenance
    text: str
    path: str
    turn: int = -1
    call_id: str | None = None
    unreadable: str | None = None
    payload: str = ""
    labels: tuple[str, ...] = ()


class ToolAsk(msgspec.Struct, frozen=True):
    """One tool that the app asks for. `kind` is `function`, `custom` or the type of a hosted tool (`web_search`, `mcp`).

    `name` is the function's name, or the hosted type; `server` is an MCP server's label; `path` points into the body.
    A tool nested in a namespace has the dotted name `namespace.tool`. Of an MCP server, `address` is the digest of where it is (an
    address may hold a secret), `credentials` whether the request brings any for it, and `listed` the digests of the tools that an
    `mcp_list_tools` item says it has, by name (see `routing_rules.server_lists`).
    """

    name: str
    kind: str
    path: str
    server: str | None = None
    address: str | None = None
    credentials: bool = False
    listed: tuple[tuple[str, str], ...] | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """`mode` is none, auto, required, named (exactly one) or allowed (a subset, `required` says whether one must be called)."""

    mode: str = "auto"
    names: tuple[str, ...] = ()
    required: bool = False


class Task(msgspec.Struct, frozen=True):
    """What an app asks: parts, tools, features, wishes and references.

    `conversation` holds one canonical byte string per message or item, in order, and `assistant_turns` the indices of
    those that are the model's; session linking computes its prefix HMACs from them. `issued_ids` are the tool-call and
    response ids that the history refers to. `input_bytes` bounds the input tokens from above, unless `input_unbounded` says
    that the provider adds more than the router can count (files, remote content, state it holds): then only the deployment's
    context window bounds them.
    """

    endpoint: Endpoint
    wish: str
    parts: tuple[Part, ...]
    tools: tuple[ToolAsk, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    features: frozenset[Feature] = frozenset()
    extra_fields: frozenset[str] = frozenset()
    declared: Sensitivity | None = None
    purpose: str | None = None
    session_header: str | None = None
    end_user: str | None = None
    stream: bool = False
    choices: int = 1
    max_output_tokens: int | None = None
    reasoning_effort: str | None = None
    input_bytes: int = 0
    input_unbounded: bool = False
    conversation: tuple[bytes, ...] = ()
    assistant_turns: tuple[int, ...] = ()
    issued_ids: tuple[str, ...] = ()
    previous_response_id: str | None = None
