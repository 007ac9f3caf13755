"""The model of what apps may send: every field of OpenAI's and Anthropic's specifications, how it is treated and why, and the checks.

Four tables (`CHAT`, `RESPONSES`, `EMBEDDINGS`, `MESSAGES`) hold one row per top-level field. `parse` turns bytes into a body that fits its
table, or refuses it with the path of the field at fault. No message ever repeats content: names of fields and the words of the
specification only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple, Optional

import msgspec
from msgspec import Meta, Struct

from router.api import messages_shapes as anthropic
from router.api.shapes import (
    HOSTED_CHOICE,
    MAX_TOOLS,
    AdditionalTools,
    AllowedChoice,
    ApplyPatchCall,
    ApplyPatchOutput,
    ApplyPatchTool,
    AssistantMessage,
    AudioOutput,
    CacheOptions,
    ChatAllowedChoice,
    ChatCustomChoice,
    ChatCustomTool,
    ChatFunctionChoice,
    ChatFunctionTool,
    ChatSchemaFormat,
    ChatStreamOptions,
    CodeInterpreterCall,
    CodeInterpreterTool,
    Compaction,
    CompactionTrigger,
    ComputerCall,
    ComputerCallOutput,
    ComputerTool,
    ComputerUsePreviewTool,
    ContextManagement,
    CustomCallItem,
    CustomCallOutput,
    CustomChoice,
    CustomTool,
    DeveloperMessage,
    Effort,
    FileSearchCall,
    FileSearchTool,
    FunctionCallItem,
    FunctionCallOutput,
    FunctionChoice,
    FunctionDefinition,
    FunctionMessage,
    FunctionTool,
    Identifier,
    ImageGenerationCall,
    ImageGenerationTool,
    Includable,
    ItemReference,
    JsonFormat,
    Label,
    Level3,
    LocalShellCall,
    LocalShellOutput,
    LocalShellTool,
    McpApprovalRequest,
    McpApprovalResponse,
    McpCall,
    McpChoice,
    McpListTools,
    McpTool,
    MessageItem,
    Metadata,
    Moderation,
    Named,
    NamespaceTool,
    Prediction,
    Program,
    ProgrammaticTool,
    ProgramOutput,
    Reasoning,
    ReasoningItem,
    ShellCall,
    ShellCallOutput,
    ShellTool,
    StreamOptions,
    SystemMessage,
    TextFormat,
    TextOptions,
    ToolMessage,
    ToolSearchCall,
    ToolSearchOutput,
    ToolSearchTool,
    UserMessage,
    WebSearchCall,
    WebSearchOptions,
    WebSearchPreviewTool,
    WebSearchPreviewTool20250311,
    WebSearchTool,
    WebSearchTool20250826,
)
from router.errors import Refused
from router.exchange import JsonObject
from router.stages.messages_keys import call_names, family_of, is_client_tool
from routing_rules.task import Endpoint

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Largest body that is read at all; the edge answers 413 above it."""

MAX_MESSAGES = 5_000
MAX_DEPTH = 128
MAX_ENTRIES = 100_000
MAX_TOKEN_NUMBERS = 500_000
MAX_EMBEDDING_INPUTS = 2_048

_INT64 = 2**63 - 1
_TOKENS = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class Treatment(StrEnum):
    """What the router does with a field."""

    READ = "read"  # a fact is taken from it: what is asked for, how much, by whom
    CLASSIFY = "classify"  # its text is read by the classifiers
    PASS = "pass"  # noqa: S105 - forwarded as it is, after its type was checked; it cannot carry content
    REFUSE = "refuse"  # not accepted, because it cannot be governed


class Field(NamedTuple):
    """One row of a table: the field's type (an annotation msgspec understands), its treatment and the reason for it."""

    type: Any
    treatment: tuple[Treatment, ...]
    why: str
    required: bool = False


READ, CLASSIFY, PASS, REFUSE = ((treatment,) for treatment in Treatment)
READ_CLASSIFY = READ + CLASSIFY


# The tables

_MODEL = Field(Label, READ, "the name is a wish that the rules honour, override or refuse", required=True)
_STREAM = Field(bool, READ, "whether the answer is streamed")
_TEMPERATURE = Field(Annotated[float, Meta(ge=0, le=2)], PASS, "sampling; dropped where the deployment does not take it")
_TOP_P = Field(Annotated[float, Meta(ge=0, le=1)], PASS, "sampling; dropped where the deployment does not take it")
_TOP_LOGPROBS = Field(Annotated[int, Meta(ge=0, le=20)], READ, "filters deployments that give log probabilities")
_METADATA = Field(Metadata, CLASSIFY, "free text that the provider stores")
_USER = Field(Annotated[str, Meta(max_length=1_024)], READ_CLASSIFY, "the end user, for session linking; may name a person")
_SAFETY_IDENTIFIER = Field(Annotated[str, Meta(max_length=1_024)], READ_CLASSIFY, "the end user; takes precedence over `user`")
_CACHE_KEY = Field(Annotated[str, Meta(max_length=1_024)], CLASSIFY, "free text that the provider stores")
_CACHE_OPTIONS = Field(CacheOptions, PASS, "how the provider caches the prefix")
_CACHE_RETENTION = Field(
    Literal["in_memory", "in-memory", "24h"],
    PASS,
    "how long the provider caches the prefix; its terms are the clearance's concern",
)
_SERVICE_TIER = Field(
    Literal["auto", "default", "flex", "scale", "priority", "fast"],
    PASS,
    "how fast the provider works; a tier dearer than the price that the deployment has is dropped",
)
_PARALLEL = Field(bool, READ, "filters deployments that call tools in parallel")
_MODERATION = Field(Moderation, PASS, "the provider's own moderation, beside ours")
_TOOLS = Field(
    Annotated[list[Any], Meta(max_length=MAX_TOOLS)],
    READ_CLASSIFY,
    "what may be called: entitled one by one; names, descriptions and schemas are text that the model reads",
)

CHAT: dict[str, Field] = {
    "model": _MODEL,
    "messages": Field(
        Annotated[
            list[DeveloperMessage | SystemMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage],
            Meta(min_length=1, max_length=MAX_MESSAGES),
        ],
        READ_CLASSIFY,
        "the conversation: its text is classified, its ids and turns lead to the session",
        required=True,
    ),
    "audio": Field(AudioOutput, PASS, "voice and format of spoken output"),
    "frequency_penalty": Field(Annotated[float, Meta(ge=-2, le=2)], PASS, "sampling"),
    "function_call": Field(
        Literal["none", "auto"] | Named, READ, "older form of `tool_choice`; kept consistent with what is granted"
    ),
    "functions": Field(
        Annotated[list[FunctionDefinition], Meta(max_length=MAX_TOOLS)], READ_CLASSIFY, "older form of `tools`; entitled likewise"
    ),
    "logit_bias": Field(
        Annotated[
            dict[Annotated[str, Meta(pattern=r"\A[0-9]{1,9}\Z")], Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=1_024)
        ],
        PASS,
        "token numbers, no text",
    ),
    "logprobs": Field(bool, READ, "filters deployments that give log probabilities"),
    "max_completion_tokens": Field(_TOKENS, READ, "lowers the worst case that is held; clamped to the rule's maximum"),
    "max_tokens": Field(_TOKENS, READ, "older form of `max_completion_tokens`"),
    "metadata": _METADATA,
    "modalities": Field(list[Literal["text", "audio"]], READ, "filters deployments that speak"),
    "moderation": _MODERATION,
    "n": Field(Annotated[int, Meta(ge=1, le=128)], READ, "multiplies the worst case; filters deployments that give several"),
    "parallel_tool_calls": _PARALLEL,
    "prediction": Field(Prediction, READ_CLASSIFY, "content that is sent; filters deployments that take it"),
    "presence_penalty": Field(Annotated[float, Meta(ge=-2, le=2)], PASS, "sampling"),
    "prompt_cache_key": _CACHE_KEY,
    "prompt_cache_options": _CACHE_OPTIONS,
    "prompt_cache_retention": _CACHE_RETENTION,
    "reasoning_effort": Field(Effort, READ, "a wish; the rule's budget says what is sent"),
    "response_format": Field(
        TextFormat | JsonFormat | ChatSchemaFormat, READ_CLASSIFY, "filters deployments; a schema is text the model reads"
    ),
    "safety_identifier": _SAFETY_IDENTIFIER,
    "seed": Field(
        Annotated[int, Meta(ge=-_INT64 - 1, le=_INT64)],
        READ_CLASSIFY,
        "filters deployments that take one; has digits enough for any number",
    ),
    "service_tier": _SERVICE_TIER,
    "stop": Field(str | Annotated[list[str], Meta(max_length=4)], CLASSIFY, "short texts that are sent"),
    "store": Field(bool, PASS, "asks the provider to keep a copy, which changes no answer; a rule may order `no_store`"),
    "stream": _STREAM,
    "stream_options": Field(ChatStreamOptions, READ, "whether the app wants the usage that the router asks for anyway"),
    "temperature": _TEMPERATURE,
    "tool_choice": Field(
        Literal["none", "auto", "required"] | ChatFunctionChoice | ChatCustomChoice | ChatAllowedChoice,
        READ,
        "kept consistent with what is granted, or refused",
    ),
    "tools": _TOOLS,
    "top_logprobs": _TOP_LOGPROBS,
    "top_p": _TOP_P,
    "user": _USER,
    "verbosity": Field(Level3, PASS, "length of the answer"),
    "web_search_options": Field(WebSearchOptions, READ_CLASSIFY, "a hosted tool outside `tools`: entitled like one"),
}

RESPONSES: dict[str, Field] = {
    "model": _MODEL,
    "input": Field(
        str | Annotated[list[Any], Meta(max_length=MAX_MESSAGES)],
        READ_CLASSIFY,
        "the conversation; items that add tools are read as asks for tools",
    ),
    "background": Field(
        bool, READ, "filters deployments; the router follows the answer to its end, and settles it whoever asks for it"
    ),
    "context_management": Field(list[ContextManagement], PASS, "when the provider compacts its context"),
    "conversation": Field(Any, REFUSE, "the provider would add history that the router cannot see; send it in `input`"),
    "include": Field(list[Includable], READ, "what the answer shows; log probabilities filter deployments"),
    "instructions": Field(str, CLASSIFY, "what the app tells the model"),
    "max_output_tokens": Field(_TOKENS, READ, "lowers the worst case that is held; clamped to the rule's maximum"),
    "max_tool_calls": Field(
        Annotated[int, Meta(ge=1, le=2**31 - 1)],
        PASS,
        "lowered to the rule's `hosted_calls` and the session's budget before it is sent",
    ),
    "metadata": _METADATA,
    "moderation": _MODERATION,
    "parallel_tool_calls": _PARALLEL,
    "previous_response_id": Field(
        Identifier, READ, "history that the provider holds: only an id that the router issued to this app, on its deployment"
    ),
    "prompt": Field(Any, REFUSE, "a template at the provider that the router cannot see; send its text in `instructions`"),
    "prompt_cache_key": _CACHE_KEY,
    "prompt_cache_options": _CACHE_OPTIONS,
    "prompt_cache_retention": _CACHE_RETENTION,
    "reasoning": Field(Reasoning, READ, "its effort is a wish; the rule's budget says what is sent"),
    "safety_identifier": _SAFETY_IDENTIFIER,
    "service_tier": _SERVICE_TIER,
    "store": Field(bool, READ, "asks the provider to keep the answer, so that it can be continued; a rule may order `no_store`"),
    "stream": _STREAM,
    "stream_options": Field(StreamOptions, PASS, "padding of stream events"),
    "temperature": _TEMPERATURE,
    "text": Field(TextOptions, READ_CLASSIFY, "filters deployments; a schema is text the model reads"),
    "tool_choice": Field(
        Literal["none", "auto", "required"] | FunctionChoice | CustomChoice | McpChoice | AllowedChoice | HOSTED_CHOICE,
        READ,
        "kept consistent with what is granted, or refused",
    ),
    "tools": _TOOLS,
    "top_logprobs": _TOP_LOGPROBS,
    "top_p": _TOP_P,
    "truncation": Field(Literal["auto", "disabled"], PASS, "what happens when the context is full"),
    "user": _USER,
}

EMBEDDINGS: dict[str, Field] = {
    "model": _MODEL._replace(why="embeddings go to the named model or are refused: vectors of two models do not mix"),
    "input": Field(
        str | Annotated[list[str | int | list[int]], Meta(min_length=1)],
        CLASSIFY,
        "the texts; token numbers cannot be read and count as unscanned",
        required=True,
    ),
    "dimensions": Field(Annotated[int, Meta(ge=1, le=65_536)], PASS, "length of the vectors"),
    "encoding_format": Field(Literal["float", "base64"], PASS, "how the vectors are written"),
    "user": _USER,
}

MESSAGES: dict[str, Field] = {
    "model": _MODEL,
    "messages": Field(
        Annotated[
            list[anthropic.UserMessage | anthropic.AssistantMessage | anthropic.SystemMessage],
            Meta(min_length=1, max_length=MAX_MESSAGES),
        ],
        READ_CLASSIFY,
        "the conversation: its text is classified, its ids and turns lead to the session; blocks that add tools are read as asks for tools",
        required=True,
    ),
    "max_tokens": Field(_TOKENS, READ, "lowers the worst case that is held; clamped to the rule's maximum", required=True),
    "billing_policy": Field(Any, REFUSE, "who pays is said in apps.yaml"),
    "cache_control": Field(anthropic.CacheControl, PASS, "how the provider caches the prefix"),
    "compaction": Field(Any, REFUSE, "the usage that is reported does not hold what it costs; shorten `messages` instead"),
    "container": Field(Any, REFUSE, "the provider would add files and skills that the router cannot see"),
    "context_management": Field(
        anthropic.ContextEdits, READ_CLASSIFY, "what the provider leaves out; names of tools are cut to the grant"
    ),
    "diagnostics": Field(
        anthropic.Diagnostics, CLASSIFY, "compares with an earlier answer and brings nothing of it; an id may be any text"
    ),
    "fallback_credit_token": Field(Any, REFUSE, "the rules say which models may answer, and who pays"),
    "fallbacks": Field(Any, REFUSE, "the rules say which models may answer"),
    "inference_geo": Field(Any, REFUSE, "the rules say in which region a task may be worked on"),
    "mcp_servers": Field(
        Annotated[list[anthropic.McpServer], Meta(max_length=MAX_TOOLS)],
        READ_CLASSIFY,
        "servers whose tools the provider calls by itself: entitled one by one; a token is a credential",
    ),
    "metadata": Field(anthropic.MessagesMetadata, READ_CLASSIFY, "the end user, for session linking; may name a person"),
    "output_config": Field(
        anthropic.OutputConfig, READ_CLASSIFY, "its effort is a wish; a schema filters deployments, and is text the model reads"
    ),
    "output_format": Field(anthropic.SchemaFormat, READ_CLASSIFY, "older form of `output_config.format`"),
    "service_tier": Field(Literal["auto", "standard_only"], PASS, "which capacity the provider uses; the price is the same"),
    "speed": Field(Literal["standard", "fast"], PASS, "how fast the provider works; `fast` is dearer and dropped"),
    "stop_sequences": Field(Annotated[list[str], Meta(max_length=8_192)], CLASSIFY, "short texts that are sent"),
    "stream": _STREAM,
    "system": Field(str | list[anthropic.OnlyText], CLASSIFY, "what the app tells the model"),
    "temperature": Field(Annotated[float, Meta(ge=0, le=1)], PASS, "sampling; dropped where the deployment does not take it"),
    "thinking": Field(
        anthropic.ThinkingEnabled | anthropic.ThinkingAdaptive | anthropic.ThinkingBetweenTools | anthropic.ThinkingDisabled,
        READ,
        "how much the model thinks; its tokens are output, and lowered with `max_tokens`",
    ),
    "thread": Field(Any, REFUSE, "the provider would add history that the router cannot see; send it in `messages`"),
    "tool_choice": Field(
        anthropic.AutoChoice | anthropic.AnyChoice | anthropic.NamedChoice | anthropic.NoChoice,
        READ,
        "kept consistent with what is granted, or refused",
    ),
    "tools": _TOOLS,
    "top_k": Field(Annotated[int, Meta(ge=0, le=2**31 - 1)], PASS, "sampling; dropped where the deployment does not take it"),
    "top_p": _TOP_P,
}

FIELDS: Mapping[Endpoint, Mapping[str, Field]] = {
    Endpoint.CHAT: CHAT,
    Endpoint.RESPONSES: RESPONSES,
    Endpoint.EMBEDDINGS: EMBEDDINGS,
    Endpoint.MESSAGES: MESSAGES,
}


def _body(name: str, table: Mapping[str, Field]) -> type[Struct]:
    """The struct that a table describes. Null counts as absent for every field that may be absent."""
    rows: list[Any] = []
    for field, row in table.items():
        if row.required:
            rows.append((field, row.type))
        else:
            rows.append((field, Optional[row.type], None))  # noqa: UP045 - a type known at run time
    return msgspec.defstruct(name, rows, kw_only=True, forbid_unknown_fields=True)


_BODIES = {endpoint: _body(f"{endpoint.value.title()}Body", table) for endpoint, table in FIELDS.items()}
_KNOWN = {endpoint: frozenset(table) for endpoint, table in FIELDS.items()}
_REFUSED = {
    endpoint: tuple((name, row.why) for name, row in table.items() if row.treatment == REFUSE)
    for endpoint, table in FIELDS.items()
}

CHAT_TOOLS: dict[str, type[Struct]] = {"function": ChatFunctionTool, "custom": ChatCustomTool}
RESPONSES_TOOLS: dict[str, type[Struct]] = {
    str(tool.__struct_config__.tag): tool
    for tool in (
        FunctionTool,
        CustomTool,
        NamespaceTool,
        FileSearchTool,
        ComputerTool,
        ComputerUsePreviewTool,
        WebSearchTool,
        WebSearchTool20250826,
        WebSearchPreviewTool,
        WebSearchPreviewTool20250311,
        McpTool,
        CodeInterpreterTool,
        ProgrammaticTool,
        ImageGenerationTool,
        LocalShellTool,
        ShellTool,
        ToolSearchTool,
        ApplyPatchTool,
    )
}
ITEMS: dict[str, type[Struct]] = {
    str(item.__struct_config__.tag): item
    for item in (
        MessageItem,
        FileSearchCall,
        ComputerCall,
        ComputerCallOutput,
        WebSearchCall,
        FunctionCallItem,
        FunctionCallOutput,
        CustomCallItem,
        CustomCallOutput,
        ToolSearchCall,
        ToolSearchOutput,
        AdditionalTools,
        ReasoningItem,
        Compaction,
        CompactionTrigger,
        ImageGenerationCall,
        CodeInterpreterCall,
        LocalShellCall,
        LocalShellOutput,
        ShellCall,
        ShellCallOutput,
        ApplyPatchCall,
        ApplyPatchOutput,
        McpListTools,
        McpApprovalRequest,
        McpApprovalResponse,
        McpCall,
        ItemReference,
        Program,
        ProgramOutput,
    )
}


# Parsing

NO_EXTRA: frozenset[str] = frozenset()
_DECODER = msgspec.json.Decoder()
_TOOL_TYPE = re.compile(r"\A[A-Za-z0-9_.-]{1,64}\Z")
_EXTRA_INSIDE = re.compile(r"\A(?:messages|input)\[\](?:\.(?:content|tool_calls)\[\])?\.\w+\Z")
_SHOWABLE = re.compile(r"\A[A-Za-z0-9_.-]{1,64}\Z")


def parse(endpoint: Endpoint, raw: bytes, allowed_extra: frozenset[str] = frozenset()) -> JsonObject:
    """the body as a plain object that fits the endpoint's table.

    `allowed_extra` are fields unknown to the specification that some deployment takes: `top_k` at the top, or with indices left out
    one of a message, an item, a content part or a call: `messages[].reasoning_content`, `messages[].tool_calls[].extra_content`. Raises Refused (`invalid_request`, `unknown_parameter`) and
    nothing else, whatever the bytes are.
    """
    body = _decode(endpoint, raw)
    checked = body
    unknown = body.keys() - _KNOWN[endpoint]
    if unknown:
        for name in sorted(unknown):
            if name not in allowed_extra:
                raise _unknown(name, "", _KNOWN[endpoint])
        checked = {name: value for name, value in body.items() if name not in unknown}
    for name, why in _REFUSED[endpoint]:
        if body.get(name) is not None:
            raise _invalid(name, f"`{name}` is not accepted here: {why}")
    typed = _check(checked, _BODIES[endpoint], "", NO_EXTRA if endpoint is Endpoint.MESSAGES else allowed_extra)
    if endpoint is Endpoint.CHAT:
        _check_chat(body, typed, allowed_extra)
    elif endpoint is Endpoint.RESPONSES:
        _check_responses(body, typed, allowed_extra)
    elif endpoint is Endpoint.MESSAGES:
        _check_messages(body, typed)
    else:
        _check_embeddings(typed)
    return body


COUNTED = frozenset(
    "model messages system tools tool_choice mcp_servers thinking output_config output_format context_management cache_control speed".split()
)
"""Fields of a message whose tokens can be counted before it is sent; the others would change nothing of its input."""


def parse_to_count(raw: bytes) -> JsonObject:
    """The same for a message whose tokens are to be counted, which has no `max_tokens` of its own."""
    body = _decode(Endpoint.MESSAGES, raw)
    for name in sorted(body.keys() - COUNTED):
        raise _unknown(name, "", COUNTED)
    return parse(Endpoint.MESSAGES, msgspec.json.encode({**body, "max_tokens": 1}))


def _decode(endpoint: Endpoint, raw: bytes) -> JsonObject:
    try:
        body = _DECODER.decode(raw)
    except RecursionError:
        raise _invalid(None, f"the body is nested too deeply; send at most {MAX_DEPTH} levels") from None
    except UnicodeDecodeError:
        raise _invalid(None, "the body is not valid UTF-8; encode it as UTF-8") from None
    except msgspec.ValidationError:
        raise _invalid(None, "the body holds a number that is out of range; send numbers that fit 64 bits") from None
    except (msgspec.DecodeError, ValueError):
        raise _invalid(None, "the body is not valid JSON; send one JSON object, with no NaN or Infinity in it") from None
    if type(body) is not dict:
        raise _invalid(None, f"the body must be a JSON object, not {_kind(body)}")
    # Brackets inside texts count too, and the shortest entry has two bytes: so this only says that the walk cannot find anything.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH or len(raw) > 2 * MAX_ENTRIES:
        _check_size(endpoint, body)
    return body


def _check_size(endpoint: Endpoint, body: JsonObject) -> None:
    """Walks the body level by level, so that depth costs no stack and no body costs more than it may."""
    level: list[Any] = [body]
    entries = 0
    limit = MAX_TOKEN_NUMBERS if endpoint is Endpoint.EMBEDDINGS else MAX_ENTRIES
    for _ in range(MAX_DEPTH):
        entries += sum(map(len, level))
        if entries > limit:
            raise _invalid(None, f"the body holds more than {limit} fields and entries; send less at once")
        level = [
            inner
            for container in level
            for inner in (container.values() if type(container) is dict else container)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return
    raise _invalid(None, f"the body is nested too deeply; send at most {MAX_DEPTH} levels")


def _check(value: Any, kind: Any, path: str, allowed_extra: frozenset[str]) -> Any:
    """`value` as an instance of `kind`, or the refusal that says what is wrong and where."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        inside = frozenset(filter(_EXTRA_INSIDE.match, allowed_extra))
        if inside:
            lean = _without_extras(value, path, inside)
            if lean is not value:
                return _check(lean, kind, path, frozenset())
        raise _explained(str(error), value, kind, path) from None


def _without_extras(value: Any, path: str, allowed_extra: frozenset[str]) -> Any:
    """A copy without the nested fields that some deployment takes although the specification does not know them."""
    place = re.sub(r"\[[0-9]+\]", "[]", path)

    def lean(inner: Any, place: str) -> Any:
        if type(inner) is dict:
            prefix = f"{place}." if place else ""
            return {
                name: lean(held, prefix + name) for name, held in inner.items() if not place or prefix + name not in allowed_extra
            }
        if type(inner) is list:
            return [lean(held, f"{place}[]") for held in inner]
        return inner

    copy = lean(value, place)
    return value if copy == value else copy


def _check_chat(body: JsonObject, typed: Any, allowed_extra: frozenset[str]) -> None:
    if typed.max_tokens is not None and typed.max_completion_tokens is not None:
        raise _invalid("max_tokens", "`max_tokens` and `max_completion_tokens` contradict each other; send one of them")
    if typed.stream_options is not None and not typed.stream:
        raise _invalid("stream_options", "`stream_options` needs `stream: true`; set it, or leave `stream_options` out")
    tools = typed.tools or ()
    names: dict[tuple[str, str], JsonObject] = {}
    for index, tool in enumerate(tools):
        checked = _check_tool(tool, CHAT_TOOLS, f"tools[{index}]", allowed_extra)
        if checked is not None:
            _define(names, (tool["type"], tool[tool["type"]]["name"]), tool, f"tools[{index}]")
    functions: dict[tuple[str, str], JsonObject] = {}
    for index, function in enumerate(body.get("functions") or ()):
        _define(functions, ("function", function["name"]), function, f"functions[{index}]")
    if tools and functions:
        raise _invalid("functions", "`functions` and `tools` contradict each other; move the functions into `tools`")
    if typed.tool_choice is not None and typed.function_call is not None:
        raise _invalid("function_call", "`function_call` and `tool_choice` contradict each other; send `tool_choice` only")
    if typed.function_call is not None:
        if not functions:
            raise _invalid("function_call", "`function_call` needs `functions`; add them, or leave `function_call` out")
        if type(typed.function_call) is Named and ("function", typed.function_call.name) not in functions:
            raise _invalid("function_call.name", "`function_call` names a function that is not in `functions`; add it there")
    choice = typed.tool_choice
    if choice is None:
        return
    if not tools:
        raise _invalid("tool_choice", "`tool_choice` needs `tools`; add them, or leave `tool_choice` out")
    if type(choice) is str:
        return
    wanted: list[ChatFunctionChoice | ChatCustomChoice] = (
        choice.allowed_tools.tools if type(choice) is ChatAllowedChoice else [choice]
    )
    for want in wanted:
        named = ("function", want.function.name) if isinstance(want, ChatFunctionChoice) else ("custom", want.custom.name)
        if named not in names:
            raise _invalid("tool_choice", "`tool_choice` names a tool that is not in `tools`; add it there")


def _check_responses(body: JsonObject, typed: Any, allowed_extra: frozenset[str]) -> None:
    if typed.background and typed.store is False:
        raise _invalid("background", "`background` needs the provider to keep the answer; leave `store: false` out")
    if typed.stream_options is not None and not typed.stream:
        raise _invalid("stream_options", "`stream_options` needs `stream: true`; set it, or leave `stream_options` out")
    if not typed.input and typed.previous_response_id is None:
        raise _invalid("input", "`input` is required and must not be empty; send a string or a list of items")
    offered: list[tuple[str, str]] = []
    defined: dict[tuple[str, str], JsonObject] = {}
    for index, tool in enumerate(typed.tools or ()):
        offered += _offered(tool, _check_tool(tool, RESPONSES_TOOLS, f"tools[{index}]", allowed_extra))
        _define_response_tool(defined, tool, f"tools[{index}]")
    if type(typed.input) is list:
        for index, item in enumerate(typed.input):
            offered += _check_item(item, f"input[{index}]", allowed_extra)
            for place, tool in enumerate(item["tools"]) if item.get("type") == "additional_tools" else ():
                _define_response_tool(defined, tool, f"input[{index}].tools[{place}]")
    choice = typed.tool_choice
    if choice is None or choice in ("none", "auto"):
        return
    if not offered:
        raise _invalid("tool_choice", "`tool_choice` needs `tools`; add them, or leave `tool_choice` out")
    if choice == "required":
        return
    wanted = choice.tools if type(choice) is AllowedChoice else [body["tool_choice"]]
    for want in wanted:
        if not _is_offered(want, offered):
            raise _invalid("tool_choice", "`tool_choice` names a tool that is not in `tools`; add it there")


def _check_item(item: Any, path: str, allowed_extra: frozenset[str]) -> list[tuple[str, str]]:
    """Checks one item of `input`; the tools that it adds."""
    if type(item) is not dict:
        raise _invalid(path, f"`{path}` must be an object, not {_kind(item)}")
    kind = item.get("type")
    if kind is None:
        item = {name: value for name, value in item.items() if name != "type"}
        kind = "message" if "role" in item else "item_reference"
    struct = ITEMS.get(kind) if type(kind) is str else None
    if struct is None:
        raise _invalid(f"{path}.type", f"`{path}.type` must be one of: {', '.join(sorted(ITEMS))}")
    if struct is ItemReference:
        raise _invalid(path, f"`{path}` refers to an item that the router cannot see; send the item itself")
    typed = _check(item, struct, path, allowed_extra)
    offered: list[tuple[str, str]] = []
    if struct is AdditionalTools or struct is ToolSearchOutput:
        for index, tool in enumerate(typed.tools):
            offered += _offered(tool, _check_tool(tool, RESPONSES_TOOLS, f"{path}.tools[{index}]", allowed_extra))
    return offered


def _check_tool(tool: Any, known: Mapping[str, type[Struct]], path: str, allowed_extra: frozenset[str]) -> Any:
    """The tool as its struct; None for a type that the specification does not know, which no set can entitle until it is registered."""
    if type(tool) is not dict:
        raise _invalid(path, f"`{path}` must be an object, not {_kind(tool)}")
    kind = tool.get("type")
    if type(kind) is not str or not _TOOL_TYPE.match(kind):
        raise _invalid(f"{path}.type", f"`{path}.type` is required: a word such as {', '.join(sorted(known))}")
    struct = known.get(kind)
    return None if struct is None else _check(tool, struct, path, allowed_extra)


def _define(defined: dict[tuple[str, str], JsonObject], key: tuple[str, str], tool: JsonObject, path: str) -> None:
    """Note the definition of a tool. One that says otherwise of the same name is refused: a call would not tell which of them it means."""
    if defined.setdefault(key, tool) != tool:
        raise _invalid(path, f"`{path}` has the name of another tool, and says otherwise; give each tool a name of its own")


def _define_response_tool(defined: dict[tuple[str, str], JsonObject], tool: JsonObject, path: str) -> None:
    kind = tool["type"]
    if kind in ("function", "custom"):
        _define(defined, (kind, tool["name"]), tool, path)
    elif kind == "namespace":
        for index, inner in enumerate(tool["tools"]):
            _define(defined, (inner["type"], f"{tool['name']}.{inner['name']}"), inner, f"{path}.tools[{index}]")


def _offered(tool: JsonObject, typed: Any) -> list[tuple[str, str]]:
    """What a tool of the responses format may be chosen by: its type and name, or label."""
    if type(typed) is NamespaceTool:
        return [(inner["type"], name) for inner in tool["tools"] for name in (inner["name"], f"{tool['name']}.{inner['name']}")]
    if type(typed) is McpTool:
        return [("mcp", typed.server_label)]
    return [(tool["type"], tool["name"] if typed is not None and "name" in tool else "")]


def _is_offered(want: JsonObject, offered: list[tuple[str, str]]) -> bool:
    kind = want.get("type")
    if kind in ("function", "custom"):
        return (kind, want.get("name")) in offered
    if kind == "mcp":
        return (kind, want.get("server_label")) in offered
    # The specification knows one hosted tool by several dated names, and chooses it by any of them.
    return type(kind) is str and any(
        other.startswith(kind) or kind.startswith(other) for other, _ in offered if other not in ("function", "custom", "mcp")
    )


def _check_messages(body: JsonObject, typed: Any) -> None:
    offered: set[str] = set()
    defined: dict[tuple[str, str], JsonObject] = {}
    for index, tool in enumerate(typed.tools or ()):
        offered |= _check_messages_tool(tool, f"tools[{index}]")
        if is_client_tool(tool):
            _define(defined, ("function", tool["name"]), tool, f"tools[{index}]")
    servers = _check_servers(typed)
    for turn, message in enumerate(typed.messages):
        if type(message.content) is not list:
            continue
        for index, block in enumerate(message.content):
            if type(block) is anthropic.ToolAddition and type(block.tool) is anthropic.ToolDefined:
                path = f"messages[{turn}].content[{index}].tool.definition"
                if block.tool.definition.get("type") == "mcp_toolset":
                    raise _invalid(path, f"`{path}` is a set of tools of a server; send it in `tools`")
                offered |= _check_messages_tool(block.tool.definition, path)
                if is_client_tool(block.tool.definition):
                    _define(defined, ("function", block.tool.definition["name"]), block.tool.definition, path)
    choice = typed.tool_choice
    if type(choice) is anthropic.AnyChoice and not offered and not servers:
        raise _invalid("tool_choice", "`tool_choice` needs `tools`; add them, or leave `tool_choice` out")
    if type(choice) is anthropic.NamedChoice and choice.name not in offered:
        raise _invalid("tool_choice", "`tool_choice` names a tool that is not in `tools`; add it there")


def _check_servers(typed: Any) -> set[str]:
    """The names of the MCP servers. Each is there once, so that what is granted to one is granted to no other."""
    servers: set[str] = set()
    for index, server in enumerate(typed.mcp_servers or ()):
        if server.name in servers:
            raise _invalid(f"mcp_servers[{index}].name", "two of `mcp_servers` have the same name; give each its own")
        servers.add(server.name)
    sets: set[str] = set()
    for index, tool in enumerate(typed.tools or ()):
        if tool.get("type") == "mcp_toolset":
            path, name = f"tools[{index}].mcp_server_name", tool["mcp_server_name"]
            if name not in servers:
                raise _invalid(path, f"`{path}` names a server that is not in `mcp_servers`; add it there")
            if name in sets:
                raise _invalid(path, f"`{path}` names a server that another set of tools is for; send one for each")
            sets.add(name)
    return servers


def _check_messages_tool(tool: Any, path: str) -> frozenset[str]:
    """Checks a tool; the names by which it is chosen and called."""
    if type(tool) is not dict:
        raise _invalid(path, f"`{path}` must be an object, not {_kind(tool)}")
    kind = tool.get("type")
    if kind is None:
        kind = "custom"
    if type(kind) is not str or not _TOOL_TYPE.match(kind):
        raise _invalid(f"{path}.type", f"`{path}.type` must be a word such as {', '.join(sorted(anthropic.TOOLS))}")
    struct = anthropic.TOOLS.get(family_of(kind))
    if struct is not None:
        _check(tool, struct, path, NO_EXTRA)
    return call_names(tool)


def _check_embeddings(typed: Any) -> None:
    texts = typed.input
    if texts == "":
        raise _invalid("input", "`input` must not be empty; send a text")
    if type(texts) is str:
        return
    kinds = {type(text) for text in texts}
    if len(kinds) > 1:
        raise _invalid("input", "`input` must hold either texts, or token numbers, or lists of token numbers, not a mixture")
    if kinds != {int} and len(texts) > MAX_EMBEDDING_INPUTS:
        raise _invalid("input", f"`input` holds more than {MAX_EMBEDDING_INPUTS} texts; send several requests")
    if "" in texts or [] in texts:
        raise _invalid("input", "`input` must not hold an empty text; leave it out")


# What is wrong, said without repeating content

_ERROR_PLACE = re.compile(r"\A(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$(?P<place>[^`]*)`)?\Z", re.DOTALL)
_STEP = re.compile(r"\.(?P<name>[A-Za-z0-9_]+)|\[(?P<index>[0-9]+)\]|(?P<any>\[\.\.\.\])")
_KINDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "array": "an array",
    "object": "an object",
}
_BOUND = re.compile(r"\AExpected `(?P<kind>\w+)` (?P<of>of length )?(?P<sign><=|>=|<|>) (?P<bound>[-0-9.e+]+)\Z")
_EXPECTED = re.compile(r"\AExpected `(?P<kinds>[^`]*)`, got `(?P<got>[^`]*)`\Z")
_QUOTED_FIELD = re.compile(r"field `(?P<field>.*)`\Z", re.DOTALL)
_BOUND_WORDS = {"<=": "at most", ">=": "at least", "<": "less than", ">": "more than"}


def _explained(message: str, value: Any, kind: Any, path: str) -> Refused:
    """What the converter complains about, in our words."""
    match = _ERROR_PLACE.match(message)
    what, place = (match["what"], match["place"] or "") if match else (message, "")
    steps = list(_STEP.finditer(place))
    shown = path + "".join(step[0] for step in steps if not step["any"])
    shown = shown.removeprefix(".")
    what_it_is = f"`{shown}`" if shown else "the body"
    if match and match["key"]:
        what_it_is = f"a name in `{shown}`"
    elif steps and steps[-1]["any"]:
        what_it_is = f"a value in `{shown}`"
    if field := _QUOTED_FIELD.search(what):
        if "unknown field" in what:
            return _unknown(field["field"], shown, _names_at(kind, value, steps))
        name = f"{shown}.{field['field']}" if shown else field["field"]
        return _invalid(name, f"`{name}` is required")
    if bound := _BOUND.match(what):
        number = bound["bound"].removesuffix(".0")
        words = _BOUND_WORDS[bound["sign"]]
        if not bound["of"]:
            return _invalid(shown, f"{what_it_is} must be {words} {number}")
        if (bound["sign"], number) == (">=", "1"):
            return _invalid(shown, f"{what_it_is} must not be empty")
        things = {"str": "characters", "array": "entries", "object": "entries"}[bound["kind"]]
        return _invalid(shown, f"{what_it_is} must hold {words} {number} {things}")
    if expected := _EXPECTED.match(what):
        kinds = " or ".join(_KINDS.get(word, word) for word in expected["kinds"].split(" | ") if word != "null")
        return _invalid(shown, f"{what_it_is} must be {kinds}, not {_KINDS.get(expected['got'], 'that')}")
    if "matching regex" in what:
        pattern = what.partition("regex ")[2].strip("'").replace("\\\\", "\\").removeprefix("\\A").removesuffix("\\Z")
        return _invalid(shown, f"{what_it_is} must match {pattern}")
    if allowed := _words_at(kind, value, steps):
        return _invalid(shown, f"{what_it_is} must be one of: {', '.join(allowed)}")
    return _invalid(shown, f"{what_it_is} does not have a value that the specification allows")


# Looking through all shapes of a body takes milliseconds.
_type_info = lru_cache(maxsize=256)(msgspec.inspect.type_info)


def _types_at(kind: Any, value: Any, steps: list[re.Match[str]]) -> Iterator[msgspec.inspect.Type]:
    """The types that may stand at a place, following the value where a discriminator decides."""
    found = [_type_info(kind)]
    for step in steps:
        found = [inner for outer in found for inner in _inside(outer, value, step)]
        value = _held(value, step)
    for outer in found:
        yield from _alternatives(outer)


def _alternatives(kind: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Type]:
    if isinstance(kind, msgspec.inspect.Metadata):
        yield from _alternatives(kind.type)
    elif isinstance(kind, msgspec.inspect.UnionType):
        for one in kind.types:
            yield from _alternatives(one)
    else:
        yield kind


def _inside(kind: msgspec.inspect.Type, value: Any, step: re.Match[str]) -> Iterator[msgspec.inspect.Type]:
    for one in _alternatives(kind):
        if isinstance(one, msgspec.inspect.ListType) and step["index"]:
            yield one.item_type
        elif isinstance(one, msgspec.inspect.DictType):
            yield one.value_type
        elif isinstance(one, msgspec.inspect.StructType) and step["name"]:
            if one.tag_field == step["name"]:
                yield msgspec.inspect.LiteralType((one.tag,))
            if one.tag is None or (type(value) is dict and value.get(one.tag_field) in (one.tag, None)):
                yield from (field.type for field in one.fields if field.encode_name == step["name"])


def _held(value: Any, step: re.Match[str]) -> Any:
    if step["name"]:
        return value.get(step["name"]) if type(value) is dict else None
    return value[int(step["index"])] if step["index"] and type(value) is list else None


def _names_at(kind: Any, value: Any, steps: list[re.Match[str]]) -> set[str]:
    held = value
    for step in steps:
        held = _held(held, step)
    return {
        field.encode_name
        for one in _types_at(kind, value, steps)
        if isinstance(one, msgspec.inspect.StructType)
        and (one.tag is None or type(held) is not dict or held.get(one.tag_field) in (one.tag, None))
        for field in one.fields
    }


def _words_at(kind: Any, value: Any, steps: list[re.Match[str]]) -> list[str]:
    return sorted(
        {
            str(word)
            for one in _types_at(kind, value, steps)
            if isinstance(one, msgspec.inspect.LiteralType)
            for word in one.values
        }
    )


def _unknown(name: str, inside: str, known: set[str] | frozenset[str]) -> Refused:
    if not _SHOWABLE.match(name):
        where = f"in `{inside}`" if inside else "at the top"
        return Refused(
            "unknown_parameter", f"Unknown parameter {where}; its name cannot be shown; leave it out", param=inside or None
        )
    path = f"{inside}.{name}" if inside else name
    near = get_close_matches(name, known, n=1)
    remedy = f"did you mean '{near[0]}'?" if near else "leave it out"
    return Refused("unknown_parameter", f"Unknown parameter: '{path}'; {remedy}", param=path)


def _invalid(param: str | None, message: str) -> Refused:
    return Refused("invalid_request", message, param=param or None)


def _kind(value: Any) -> str:
    return {str: "a string", int: "a number", float: "a number", bool: "true or false", list: "an array", dict: "an object"}.get(
        type(value), "null"
    )
