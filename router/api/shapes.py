"""The shapes that stand inside the fields of OpenAI's specification: messages, items, parts, tools, choices and options.

A field that the specification lets be absent may also be null, as clients send back what they were answered. `Loose` objects are
known by their place, `Typed` ones by their `type`, which only a union of several asks for; neither may hold a field that is not written here.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

MAX_CONTENT_PARTS = 2_000
MAX_TOOLS = 1_024


class Loose(Struct, forbid_unknown_fields=True):
    """An object known by its place."""


class Typed(Struct, forbid_unknown_fields=True, tag_field="type"):
    """An object known by its `type`."""


Level3 = Literal["low", "medium", "high"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Detail = Literal["auto", "low", "high", "original"]
Summary = Literal["auto", "concise", "detailed"]
Callers = list[Literal["direct", "programmatic"]]
Whole = Annotated[int, Meta(ge=-(2**31), le=2**32 - 1)]
"""A number that nobody reads as text: it has too few digits for one of a card or an account."""

Identifier = Annotated[str, Meta(min_length=1, max_length=1_024)]
Label = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.:/@+-]{1,128}\Z")]
Word = Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9_.-]{0,63}\Z")]
ChatToolName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
ToolName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,128}\Z")]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=16),
]
Schema = dict[str, Any]


class CacheBreakpoint(Loose):
    mode: Literal["explicit"]


class CacheOptions(Loose):
    mode: Literal["implicit", "explicit"] | None = None
    ttl: Literal["30m"] | None = None


class ModerationMode(Loose):
    mode: Literal["score", "block"]


class ModerationPolicy(Loose):
    input: ModerationMode | None = None
    output: ModerationMode | None = None


class Moderation(Loose):
    model: Word
    policy: ModerationPolicy | None = None


# Chat: messages


class TextPart(Typed, tag="text"):
    text: str
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class OnlyText(Loose):
    """A text part where no other may stand."""

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class ImageUrl(Loose):
    url: str
    detail: Detail | None = None


class ImagePart(Typed, tag="image_url"):
    image_url: ImageUrl
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class InputAudio(Loose):
    data: str
    format: Literal["wav", "mp3"]


class AudioPart(Typed, tag="input_audio"):
    input_audio: InputAudio
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class FileReference(Loose):
    file_data: str | None = None
    file_id: Identifier | None = None
    filename: str | None = None


class FilePart(Typed, tag="file"):
    file: FileReference
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class RefusalPart(Typed, tag="refusal"):
    refusal: str


TextContent = str | Annotated[list[OnlyText], Meta(max_length=MAX_CONTENT_PARTS)]
UserContent = str | Annotated[list[TextPart | ImagePart | AudioPart | FilePart], Meta(max_length=MAX_CONTENT_PARTS)]
AssistantContent = str | Annotated[list[TextPart | RefusalPart], Meta(max_length=MAX_CONTENT_PARTS)]


class CalledFunction(Loose):
    name: str
    arguments: str
    parsed_arguments: Any = None  # added by the official client's `parse` helper


class CalledCustom(Loose):
    name: str
    input: str


class FunctionCall(Typed, tag="function"):
    id: str
    function: CalledFunction
    index: Whole | None = None  # clients that put a stream together leave it in


class CustomCall(Typed, tag="custom"):
    id: str
    custom: CalledCustom
    index: Whole | None = None


class AnsweredAudio(Loose):
    id: Identifier
    data: str | None = None
    expires_at: Whole | None = None
    transcript: str | None = None


class CitedUrl(Loose):
    start_index: Whole
    end_index: Whole
    title: str
    url: str


class ChatCitation(Loose):
    type: Literal["url_citation"]
    url_citation: CitedUrl


class ChatMessage(Struct, forbid_unknown_fields=True, tag_field="role"):
    """A message, known by its role."""


class DeveloperMessage(ChatMessage, tag="developer"):
    content: TextContent
    name: str | None = None


class SystemMessage(ChatMessage, tag="system"):
    content: TextContent
    name: str | None = None


class UserMessage(ChatMessage, tag="user"):
    content: UserContent
    name: str | None = None


class AssistantMessage(ChatMessage, tag="assistant"):
    content: AssistantContent | None = None
    name: str | None = None
    refusal: str | None = None
    audio: AnsweredAudio | None = None
    function_call: CalledFunction | None = None
    tool_calls: list[FunctionCall | CustomCall] | None = None
    annotations: list[ChatCitation] | None = None  # in every answer, so it comes back
    parsed: Any = None  # added by the official client's `parse` helper


class ToolMessage(ChatMessage, tag="tool"):
    content: TextContent
    tool_call_id: str
    name: str | None = None  # older clients repeat the tool's name


class FunctionMessage(ChatMessage, tag="function"):
    content: str | None
    name: str


# Chat: tools, choices and options


class FunctionDefinition(Loose):
    name: ChatToolName
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class ChatFunctionTool(Typed, tag="function"):
    function: FunctionDefinition


class Grammar(Loose):
    definition: str
    syntax: Literal["lark", "regex"]


class TextFormat(Typed, tag="text"):
    pass


class ChatGrammarFormat(Typed, tag="grammar"):
    grammar: Grammar


class CustomDefinition(Loose):
    name: ChatToolName
    description: str | None = None
    format: TextFormat | ChatGrammarFormat | None = None


class ChatCustomTool(Typed, tag="custom"):
    custom: CustomDefinition


class Named(Loose):
    name: str


class ChatFunctionChoice(Typed, tag="function"):
    function: Named


class ChatCustomChoice(Typed, tag="custom"):
    custom: Named


class AllowedTools(Loose):
    mode: Literal["auto", "required"]
    tools: list[ChatFunctionChoice | ChatCustomChoice]


class ChatAllowedChoice(Typed, tag="allowed_tools"):
    allowed_tools: AllowedTools


class VoiceId(Loose):
    id: Identifier


class AudioOutput(Loose):
    format: Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"]
    voice: Word | VoiceId


class Prediction(Loose):
    type: Literal["content"]
    content: TextContent


class ChatStreamOptions(Loose):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class JsonFormat(Typed, tag="json_object"):
    pass


class JsonSchema(Loose):
    name: ChatToolName
    description: str | None = None
    schema: Schema | None = None
    strict: bool | None = None


class ChatSchemaFormat(Typed, tag="json_schema"):
    json_schema: JsonSchema


class Place(Loose):
    city: str | None = None
    country: str | None = None
    region: str | None = None
    timezone: str | None = None


class ApproximatePlace(Loose):
    type: Literal["approximate"]
    approximate: Place


class WebSearchOptions(Loose):
    search_context_size: Level3 | None = None
    user_location: ApproximatePlace | None = None


# Responses: content


class InputText(Typed, tag="input_text"):
    text: str
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class InputImage(Typed, tag="input_image"):
    detail: Detail | None = None
    file_id: Identifier | None = None
    image_url: str | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class InputFile(Typed, tag="input_file"):
    detail: Detail | None = None
    file_data: str | None = None
    file_id: Identifier | None = None
    file_url: str | None = None
    filename: str | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class FileCitation(Typed, tag="file_citation"):
    file_id: Identifier
    filename: str
    index: Whole


class UrlCitation(Typed, tag="url_citation"):
    start_index: Whole
    end_index: Whole
    title: str
    url: str


class ContainerCitation(Typed, tag="container_file_citation"):
    container_id: Identifier
    file_id: Identifier
    filename: str
    start_index: Whole
    end_index: Whole


class FilePath(Typed, tag="file_path"):
    file_id: Identifier
    index: Whole


class TopLogprob(Loose):
    token: str
    bytes: list[Whole]
    logprob: float


class Logprob(Loose):
    token: str
    bytes: list[Whole]
    logprob: float
    top_logprobs: list[TopLogprob]


class OutputText(Typed, tag="output_text"):
    text: str
    annotations: list[FileCitation | UrlCitation | ContainerCitation | FilePath] | None = None
    logprobs: list[Logprob] | None = None
    parsed: Any = None  # added by the official client's `parse` helper


ItemContent = (
    str
    | Annotated[
        list[InputText | InputImage | InputFile | AudioPart | OutputText | RefusalPart], Meta(max_length=MAX_CONTENT_PARTS)
    ]
)
OutputContent = str | Annotated[list[InputText | InputImage | InputFile], Meta(max_length=MAX_CONTENT_PARTS)]

ItemStatus = Literal["in_progress", "completed", "incomplete", "searching", "generating", "interpreting", "calling", "failed"]


# Responses: tools


class FunctionTool(Typed, tag="function"):
    name: ToolName
    parameters: Schema | None = None
    strict: bool | None = None
    description: str | None = None
    output_schema: Schema | None = None
    defer_loading: bool | None = None
    allowed_callers: Callers | None = None


class GrammarFormat(Typed, tag="grammar"):
    definition: str
    syntax: Literal["lark", "regex"]


class CustomTool(Typed, tag="custom"):
    name: ToolName
    description: str | None = None
    format: TextFormat | GrammarFormat | None = None
    defer_loading: bool | None = None
    allowed_callers: Callers | None = None


class NamespaceTool(Typed, tag="namespace"):
    name: ToolName
    description: str
    tools: Annotated[list[FunctionTool | CustomTool], Meta(max_length=MAX_TOOLS)]


class HybridSearch(Loose):
    embedding_weight: float
    text_weight: float


class Ranking(Loose):
    ranker: Literal["auto", "default-2024-11-15"] | None = None
    score_threshold: float | None = None
    hybrid_search: HybridSearch | None = None


class FileSearchTool(Typed, tag="file_search"):
    vector_store_ids: list[Identifier]
    filters: Schema | None = None  # comparisons nested at will: bounded by MAX_DEPTH, read as text
    max_num_results: Whole | None = None
    ranking_options: Ranking | None = None


class ComputerTool(Typed, tag="computer"):
    pass


class ComputerUsePreviewTool(Typed, tag="computer_use_preview"):
    display_height: Whole
    display_width: Whole
    environment: Literal["windows", "mac", "linux", "ubuntu", "browser"]


class DomainFilter(Loose):
    allowed_domains: list[str] | None = None


class SearchPlace(Place):
    type: Literal["approximate"] | None = None


class WebSearchTool(Typed, tag="web_search"):
    filters: DomainFilter | None = None
    search_context_size: Level3 | None = None
    user_location: SearchPlace | None = None


class WebSearchTool20250826(WebSearchTool, tag="web_search_2025_08_26"):
    pass


class WebSearchPreviewTool(Typed, tag="web_search_preview"):
    search_content_types: list[Literal["text", "image"]] | None = None
    search_context_size: Level3 | None = None
    user_location: SearchPlace | None = None


class WebSearchPreviewTool20250311(WebSearchPreviewTool, tag="web_search_preview_2025_03_11"):
    pass


class ToolFilter(Loose):
    read_only: bool | None = None
    tool_names: list[str] | None = None


class ApprovalFilter(Loose):
    always: ToolFilter | None = None
    never: ToolFilter | None = None


class McpTool(Typed, tag="mcp"):
    server_label: Label
    allowed_callers: Callers | None = None
    allowed_tools: list[str] | ToolFilter | None = None
    authorization: str | None = None
    connector_id: Label | None = None
    defer_loading: bool | None = None
    headers: dict[str, str] | None = None
    require_approval: Literal["always", "never"] | ApprovalFilter | None = None
    server_description: str | None = None
    server_url: str | None = None
    tunnel_id: Identifier | None = None


class DomainSecret(Loose):
    domain: str
    name: str
    value: str


class NetworkDisabled(Typed, tag="disabled"):
    pass


class NetworkAllowlist(Typed, tag="allowlist"):
    allowed_domains: list[str]
    domain_secrets: list[DomainSecret] | None = None


class AutoContainer(Typed, tag="auto"):
    file_ids: list[Identifier] | None = None
    memory_limit: Literal["1g", "4g", "16g", "64g"] | None = None
    network_policy: NetworkDisabled | NetworkAllowlist | None = None


class CodeInterpreterTool(Typed, tag="code_interpreter"):
    container: Identifier | AutoContainer
    allowed_callers: Callers | None = None


class ProgrammaticTool(Typed, tag="programmatic_tool_calling"):
    pass


class ImageMask(Loose):
    file_id: Identifier | None = None
    image_url: str | None = None


class ImageGenerationTool(Typed, tag="image_generation"):
    action: Literal["generate", "edit", "auto"] | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    input_fidelity: Literal["high", "low"] | None = None
    input_image_mask: ImageMask | None = None
    model: Label | None = None
    moderation: Literal["auto", "low"] | None = None
    output_compression: Whole | None = None
    output_format: Literal["png", "webp", "jpeg"] | None = None
    partial_images: Whole | None = None
    quality: Literal["low", "medium", "high", "auto"] | None = None
    size: Label | None = None


class LocalShellTool(Typed, tag="local_shell"):
    pass


class SkillReference(Typed, tag="skill_reference"):
    skill_id: Identifier
    version: Label | None = None


class SkillSource(Loose):
    type: Literal["base64"]
    data: str
    media_type: Literal["application/zip"]


class InlineSkill(Typed, tag="inline"):
    name: str
    description: str
    source: SkillSource


class LocalSkill(Loose):
    name: str
    description: str
    path: str


class ShellContainer(AutoContainer, tag="container_auto"):
    skills: list[SkillReference | InlineSkill] | None = None


class LocalEnvironment(Typed, tag="local"):
    skills: list[LocalSkill] | None = None


class ContainerReference(Typed, tag="container_reference"):
    container_id: Identifier


class ShellTool(Typed, tag="shell"):
    environment: ShellContainer | LocalEnvironment | ContainerReference | None = None
    allowed_callers: Callers | None = None


class ToolSearchTool(Typed, tag="tool_search"):
    description: str | None = None
    execution: Literal["server", "client"] | None = None
    parameters: Schema | None = None


class ApplyPatchTool(Typed, tag="apply_patch"):
    allowed_callers: Callers | None = None


# Responses: tool choices


class FunctionChoice(Typed, tag="function"):
    name: str


class CustomChoice(Typed, tag="custom"):
    name: str


class McpChoice(Typed, tag="mcp"):
    server_label: str
    name: str | None = None


_HOSTED_TYPES = (
    "file_search",
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
    "computer",
    "computer_use",
    "computer_use_preview",
    "image_generation",
    "code_interpreter",
    "programmatic_tool_calling",
    "apply_patch",
    "shell",
    "local_shell",
    "tool_search",
)
HOSTED_CHOICE: Any = reduce(or_, (msgspec.defstruct("HostedChoice", [], bases=(Typed,), tag=kind) for kind in _HOSTED_TYPES))


class AllowedChoice(Typed, tag="allowed_tools"):
    mode: Literal["auto", "required"]
    tools: Annotated[list[Schema], Meta(max_length=MAX_TOOLS)]


# Responses: items of `input`


class DirectCaller(Typed, tag="direct"):
    pass


class ProgramCaller(Typed, tag="program"):
    caller_id: str


Caller = DirectCaller | ProgramCaller


class Item(Typed):
    """An item of `input`. `created_by` stands in answers, so clients send it back."""

    id: str | None = None
    status: ItemStatus | None = None
    created_by: str | None = None


class MessageItem(Item, tag="message", kw_only=True):
    role: Literal["user", "assistant", "system", "developer"]
    content: ItemContent
    phase: Literal["commentary", "final_answer"] | None = None


class SearchResult(Loose):
    attributes: dict[str, str | float | bool] | None = None
    file_id: Identifier | None = None
    filename: str | None = None
    score: float | None = None
    text: str | None = None


class FileSearchCall(Item, tag="file_search_call", kw_only=True):
    queries: list[str]
    results: list[SearchResult] | None = None


class Point(Loose):
    x: Whole
    y: Whole


class KeysHeld(Typed):
    keys: list[str] | None = None


class Click(KeysHeld, tag="click", kw_only=True):
    button: Literal["left", "right", "wheel", "back", "forward"]
    x: Whole
    y: Whole


class DoubleClick(KeysHeld, tag="double_click", kw_only=True):
    x: Whole
    y: Whole


class Drag(KeysHeld, tag="drag", kw_only=True):
    path: list[Point]


class Keypress(KeysHeld, tag="keypress"):
    pass


class Move(KeysHeld, tag="move", kw_only=True):
    x: Whole
    y: Whole


class Screenshot(Typed, tag="screenshot"):
    pass


class Scroll(KeysHeld, tag="scroll", kw_only=True):
    x: Whole
    y: Whole
    scroll_x: Whole
    scroll_y: Whole


class TypeKeys(Typed, tag="type"):
    text: str


class Wait(Typed, tag="wait"):
    pass


ComputerAction = Click | DoubleClick | Drag | Keypress | Move | Screenshot | Scroll | TypeKeys | Wait


class SafetyCheck(Loose):
    id: str
    code: str | None = None
    message: str | None = None


class ComputerCall(Item, tag="computer_call", kw_only=True):
    call_id: str
    pending_safety_checks: list[SafetyCheck] | None = None
    action: ComputerAction | None = None
    actions: list[ComputerAction] | None = None


class ComputerScreenshot(Loose):
    type: Literal["computer_screenshot"]
    file_id: Identifier | None = None
    image_url: str | None = None


class ComputerCallOutput(Item, tag="computer_call_output", kw_only=True):
    call_id: str
    output: ComputerScreenshot
    acknowledged_safety_checks: list[SafetyCheck] | None = None


class UrlSource(Loose):
    type: Literal["url"]
    url: str


class SearchAction(Typed, tag="search"):
    query: str | None = None
    queries: list[str] | None = None
    sources: list[UrlSource] | None = None


class OpenPageAction(Typed, tag="open_page"):
    url: str | None = None


class FindAction(Typed, tag="find_in_page"):
    pattern: str
    url: str


class WebSearchCall(Item, tag="web_search_call", kw_only=True):
    action: SearchAction | OpenPageAction | FindAction


class FunctionCallItem(Item, tag="function_call", kw_only=True):
    call_id: str
    name: str
    arguments: str
    namespace: str | None = None
    caller: Caller | None = None
    parsed_arguments: Any = None  # added by the official client's helpers; its async form sends it back


class FunctionCallOutput(Item, tag="function_call_output", kw_only=True):
    call_id: str
    output: OutputContent
    name: str | None = None
    namespace: str | None = None
    caller: Caller | None = None


class CustomCallItem(Item, tag="custom_tool_call", kw_only=True):
    call_id: str
    name: str
    input: str
    namespace: str | None = None
    caller: Caller | None = None


class CustomCallOutput(Item, tag="custom_tool_call_output", kw_only=True):
    call_id: str
    output: OutputContent
    caller: Caller | None = None


class ToolSearchCall(Item, tag="tool_search_call", kw_only=True):
    arguments: Any
    call_id: str | None = None
    execution: Literal["server", "client"] | None = None


class ToolSearchOutput(Item, tag="tool_search_output", kw_only=True):
    tools: Annotated[list[Any], Meta(max_length=MAX_TOOLS)]
    call_id: str | None = None
    execution: Literal["server", "client"] | None = None


class AdditionalTools(Item, tag="additional_tools", kw_only=True):
    role: Literal["developer"]
    tools: Annotated[list[Any], Meta(max_length=MAX_TOOLS)]


class SummaryText(Loose):
    type: Literal["summary_text"]
    text: str


class ReasoningText(Loose):
    type: Literal["reasoning_text"]
    text: str


class ReasoningItem(Item, tag="reasoning", kw_only=True):
    summary: list[SummaryText]
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None


class Compaction(Item, tag="compaction", kw_only=True):
    encrypted_content: str


class CompactionTrigger(Typed, tag="compaction_trigger"):
    pass


class ImageGenerationCall(Item, tag="image_generation_call", kw_only=True):
    result: str | None
    action: Label | None = None  # what follows is in answers only, so clients send it back
    background: Label | None = None
    output_format: Label | None = None
    quality: Label | None = None
    size: Label | None = None
    revised_prompt: str | None = None


class LogsOutput(Typed, tag="logs"):
    logs: str


class ImageOutput(Typed, tag="image"):
    url: str


class CodeInterpreterCall(Item, tag="code_interpreter_call", kw_only=True):
    code: str | None
    container_id: Identifier
    outputs: list[LogsOutput | ImageOutput] | None = None


class LocalShellAction(Loose):
    type: Literal["exec"]
    command: list[str]
    env: dict[str, str]
    timeout_ms: Whole | None = None
    user: str | None = None
    working_directory: str | None = None


class LocalShellCall(Item, tag="local_shell_call", kw_only=True):
    call_id: str
    action: LocalShellAction


class LocalShellOutput(Item, tag="local_shell_call_output", kw_only=True):
    output: str


class ShellAction(Loose):
    commands: list[str]
    max_output_length: Whole | None = None
    timeout_ms: Whole | None = None


class ShellCall(Item, tag="shell_call", kw_only=True):
    call_id: str
    action: ShellAction
    environment: LocalEnvironment | ContainerReference | None = None
    caller: Caller | None = None


class Timeout(Typed, tag="timeout"):
    pass


class Exit(Typed, tag="exit"):
    exit_code: Whole


class ShellOutput(Loose):
    outcome: Timeout | Exit
    stdout: str
    stderr: str
    created_by: str | None = None


class ShellCallOutput(Item, tag="shell_call_output", kw_only=True):
    call_id: str
    output: list[ShellOutput]
    max_output_length: Whole | None = None
    caller: Caller | None = None


class CreateFile(Typed, tag="create_file"):
    path: str
    diff: str


class DeleteFile(Typed, tag="delete_file"):
    path: str


class UpdateFile(Typed, tag="update_file"):
    path: str
    diff: str


class ApplyPatchCall(Item, tag="apply_patch_call", kw_only=True):
    call_id: str
    operation: CreateFile | DeleteFile | UpdateFile
    caller: Caller | None = None


class ApplyPatchOutput(Item, tag="apply_patch_call_output", kw_only=True):
    call_id: str
    output: str | None = None
    caller: Caller | None = None


class ListedTool(Loose):
    name: str
    input_schema: Any
    annotations: Any = None
    description: str | None = None


class McpListTools(Item, tag="mcp_list_tools", kw_only=True):
    server_label: Label
    tools: Annotated[list[ListedTool], Meta(max_length=MAX_TOOLS)]
    error: Any = None


class McpApprovalRequest(Item, tag="mcp_approval_request", kw_only=True):
    server_label: Label
    name: str
    arguments: str


class McpApprovalResponse(Item, tag="mcp_approval_response", kw_only=True):
    approval_request_id: str
    approve: bool
    reason: str | None = None


class McpCall(Item, tag="mcp_call", kw_only=True):
    server_label: Label
    name: str
    arguments: str
    approval_request_id: str | None = None
    output: str | None = None
    error: Any = None


class ItemReference(Item, tag="item_reference"):
    pass


class Program(Item, tag="program", kw_only=True):
    call_id: str
    code: str
    fingerprint: str


class ProgramOutput(Item, tag="program_output", kw_only=True):
    call_id: str
    result: str


# Responses: options


class ContextManagement(Loose):
    type: Word
    compact_threshold: Whole | None = None


class Reasoning(Loose):
    effort: Effort | None = None
    summary: Summary | None = None
    generate_summary: Summary | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    mode: Word | None = None


class StreamOptions(Loose):
    include_obfuscation: bool | None = None


class SchemaFormat(Typed, tag="json_schema"):
    name: ChatToolName
    schema: Schema
    description: str | None = None
    strict: bool | None = None


class TextOptions(Loose):
    format: TextFormat | JsonFormat | SchemaFormat | None = None
    verbosity: Level3 | None = None


Includable = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]
