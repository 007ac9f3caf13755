"""The shapes that stand inside the fields of Anthropic's Messages API: messages, content blocks, tools, choices and options.

A field that may be absent may also be null, as clients send back what they were answered. Nothing may hold a field that is not written here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from router.api.shapes import MAX_CONTENT_PARTS, MAX_TOOLS, Identifier, Label, Loose, Schema, ToolName, Typed, Whole


class CacheControl(Loose):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class CitationsConfig(Loose):
    enabled: bool | None = None


class DirectCaller(Typed, tag="direct"):
    pass


class CodeCaller20250825(Typed, tag="code_execution_20250825"):
    tool_id: str


class CodeCaller20260120(Typed, tag="code_execution_20260120"):
    tool_id: str


class CodeCaller20260521(Typed, tag="code_execution_20260521"):
    tool_id: str


Caller = DirectCaller | CodeCaller20250825 | CodeCaller20260120 | CodeCaller20260521


# Content blocks


class CharLocation(Typed, tag="char_location"):
    cited_text: str
    document_index: Whole
    start_char_index: Whole
    end_char_index: Whole
    document_title: str | None = None
    file_id: str | None = None


class PageLocation(Typed, tag="page_location"):
    cited_text: str
    document_index: Whole
    start_page_number: Whole
    end_page_number: Whole
    document_title: str | None = None
    file_id: str | None = None


class BlockLocation(Typed, tag="content_block_location"):
    cited_text: str
    document_index: Whole
    start_block_index: Whole
    end_block_index: Whole
    document_title: str | None = None
    file_id: str | None = None


class WebLocation(Typed, tag="web_search_result_location"):
    cited_text: str
    encrypted_index: str
    url: str
    title: str | None = None


class SearchLocation(Typed, tag="search_result_location"):
    cited_text: str
    search_result_index: Whole
    source: str
    start_block_index: Whole
    end_block_index: Whole
    title: str | None = None


Citation = CharLocation | PageLocation | BlockLocation | WebLocation | SearchLocation


class Cached(Typed):
    """A block that may end a cached prefix."""

    cache_control: CacheControl | None = None


class Text(Cached, tag="text", kw_only=True):
    text: str
    citations: list[Citation] | None = None


class OnlyText(Loose):
    """A text block where no other may stand."""

    type: Literal["text"]
    text: str
    cache_control: CacheControl | None = None
    citations: list[Citation] | None = None


class Base64Image(Typed, tag="base64"):
    data: str
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]


class UrlSource(Typed, tag="url"):
    url: str


class FileSource(Typed, tag="file"):
    file_id: Identifier


class Transformations(Loose):
    oversized_image: Literal["downsize", "error"] | None = None


class Image(Cached, tag="image", kw_only=True):
    source: Base64Image | UrlSource | FileSource
    transformations: Transformations | None = None


class Base64Pdf(Typed, tag="base64"):
    data: str
    media_type: Literal["application/pdf"]


class PlainText(Typed, tag="text"):
    data: str
    media_type: Literal["text/plain"]


class BlockSource(Typed, tag="content"):
    content: str | Annotated[list[Text | Image], Meta(max_length=MAX_CONTENT_PARTS)]


class Document(Cached, tag="document", kw_only=True):
    source: Base64Pdf | PlainText | BlockSource | UrlSource | FileSource
    citations: CitationsConfig | None = None
    context: str | None = None
    title: str | None = None


class SearchResult(Cached, tag="search_result", kw_only=True):
    content: Annotated[list[OnlyText], Meta(max_length=MAX_CONTENT_PARTS)]
    source: str
    title: str
    citations: CitationsConfig | None = None


class Thinking(Typed, tag="thinking"):
    thinking: str
    signature: str


class RedactedThinking(Typed, tag="redacted_thinking"):
    data: str


class ToolReference(Cached, tag="tool_reference", kw_only=True):
    tool_name: str


class TabOpened(Typed, tag="tab_opened"):
    tab_id: str


class DownloadStarted(Typed, tag="download_started"):
    download_id: str
    url: str


class DownloadCompleted(Typed, tag="download_completed"):
    download_id: str
    url: str
    path: str | None = None
    size_bytes: Annotated[int, Meta(ge=0, le=2**40)] | None = None


class DownloadFailed(Typed, tag="download_failed"):
    download_id: str
    url: str
    error: str | None = None


class Tab(Loose):
    tab_id: str
    title: str
    url: str
    active: bool | None = None


class BrowserState(Cached, tag="browser_state", kw_only=True):
    tabs: list[Tab]
    state_changes: list[TabOpened | DownloadStarted | DownloadCompleted | DownloadFailed] | None = None


class ToolUse(Cached, tag="tool_use", kw_only=True):
    id: Identifier
    name: str
    input: Schema
    caller: Caller | None = None
    toolset_name: str | None = None


class ToolResult(Cached, tag="tool_result", kw_only=True):
    tool_use_id: Identifier
    content: (
        str
        | Annotated[
            list[Text | Image | Document | SearchResult | ToolReference | BrowserState], Meta(max_length=MAX_CONTENT_PARTS)
        ]
        | None
    ) = None
    is_error: bool | None = None
    toolset_name: str | None = None


class ServerToolUse(Cached, tag="server_tool_use", kw_only=True):
    id: Identifier
    name: Label
    input: Schema
    caller: Caller | None = None


class Failure(Loose):
    """What a tool of the provider answers where it failed."""

    type: Label
    error_code: Label
    error_message: str | None = None


class FoundPage(Loose):
    type: Literal["web_search_result"]
    title: str
    url: str
    encrypted_content: str
    page_age: str | None = None


class ServerResult(Cached, kw_only=True):
    """What a tool of the provider answered. It belongs to the call with this id."""

    tool_use_id: Identifier
    caller: Caller | None = None


class WebSearchResult(ServerResult, tag="web_search_tool_result", kw_only=True):
    content: list[FoundPage] | Failure


class FetchedPage(Typed, tag="web_fetch_result"):
    content: Document
    url: str
    retrieved_at: str | None = None


class FetchFailure(Typed, tag="web_fetch_tool_result_error"):
    error_code: Label


class WebFetchResult(ServerResult, tag="web_fetch_tool_result", kw_only=True):
    content: FetchedPage | FetchFailure


class OutputFile(Loose):
    type: Label
    file_id: Identifier


class CodeResult(Typed, tag="code_execution_result"):
    content: list[OutputFile]
    return_code: Whole
    stdout: str
    stderr: str


class EncryptedCodeResult(Typed, tag="encrypted_code_execution_result"):
    content: list[OutputFile]
    return_code: Whole
    encrypted_stdout: str
    stderr: str


class CodeFailure(Typed, tag="code_execution_tool_result_error"):
    error_code: Label


class CodeExecutionResult(ServerResult, tag="code_execution_tool_result", kw_only=True):
    content: CodeResult | EncryptedCodeResult | CodeFailure


class ShellResult(Typed, tag="bash_code_execution_result"):
    content: list[OutputFile]
    return_code: Whole
    stdout: str
    stderr: str


class ShellFailure(Typed, tag="bash_code_execution_tool_result_error"):
    error_code: Label


class BashResult(ServerResult, tag="bash_code_execution_tool_result", kw_only=True):
    content: ShellResult | ShellFailure


class Viewed(Typed, tag="text_editor_code_execution_view_result"):
    content: str
    file_type: Literal["text", "image", "pdf"]
    num_lines: Whole | None = None
    start_line: Whole | None = None
    total_lines: Whole | None = None


class Created(Typed, tag="text_editor_code_execution_create_result"):
    is_file_update: bool


class Replaced(Typed, tag="text_editor_code_execution_str_replace_result"):
    lines: list[str] | None = None
    new_lines: Whole | None = None
    new_start: Whole | None = None
    old_lines: Whole | None = None
    old_start: Whole | None = None


class EditorFailure(Typed, tag="text_editor_code_execution_tool_result_error"):
    error_code: Label
    error_message: str | None = None


class EditorResult(ServerResult, tag="text_editor_code_execution_tool_result", kw_only=True):
    content: Viewed | Created | Replaced | EditorFailure


class FoundTools(Typed, tag="tool_search_tool_search_result"):
    tool_references: Annotated[list[ToolReference], Meta(max_length=MAX_TOOLS)]


class SearchFailure(Typed, tag="tool_search_tool_result_error"):
    error_code: Label
    error_message: str | None = None


class ToolSearchResult(ServerResult, tag="tool_search_tool_result", kw_only=True):
    content: FoundTools | SearchFailure


class McpToolUse(Cached, tag="mcp_tool_use", kw_only=True):
    id: Identifier
    name: str
    server_name: Label
    input: Schema


class McpToolResult(Cached, tag="mcp_tool_result", kw_only=True):
    tool_use_id: Identifier
    content: str | Annotated[list[OnlyText], Meta(max_length=MAX_CONTENT_PARTS)] | None = None
    is_error: bool | None = None


class ServerTool(Loose):
    name: str
    input_schema: Schema
    description: str | None = None


class McpToolListing(Typed, tag="mcp_tool_listing"):
    mcp_server_name: Label
    tools: Annotated[list[ServerTool], Meta(max_length=MAX_TOOLS)]


class ContainerUpload(Cached, tag="container_upload", kw_only=True):
    file_id: Identifier


class ToolNamed(Typed, tag="tool_reference"):
    name: str


class McpToolNamed(Typed, tag="mcp_tool_reference"):
    name: str
    server_name: Label


class McpToolsetNamed(Typed, tag="mcp_toolset_reference"):
    server_name: Label


class ToolDefined(Typed, tag="tool_definition"):
    definition: Schema


class ToolAddition(Cached, tag="tool_addition", kw_only=True):
    tool: ToolNamed | McpToolNamed | McpToolsetNamed | ToolDefined


class ToolRemoval(Cached, tag="tool_removal", kw_only=True):
    tool: ToolNamed | McpToolNamed | McpToolsetNamed


Block = (
    Text
    | Image
    | Document
    | SearchResult
    | Thinking
    | RedactedThinking
    | ToolUse
    | ToolResult
    | ServerToolUse
    | WebSearchResult
    | WebFetchResult
    | CodeExecutionResult
    | BashResult
    | EditorResult
    | ToolSearchResult
    | McpToolUse
    | McpToolResult
    | McpToolListing
    | ContainerUpload
    | ToolAddition
    | ToolRemoval
)
Blocks = str | Annotated[list[Block], Meta(max_length=MAX_CONTENT_PARTS)]


# Messages


class Message(Struct, forbid_unknown_fields=True, tag_field="role"):
    """A message, known by its role."""


class UserMessage(Message, tag="user"):
    content: Blocks


class AssistantMessage(Message, tag="assistant"):
    content: Blocks


class SystemMessage(Message, tag="system"):
    content: str | Annotated[list[Text | ToolAddition | ToolRemoval], Meta(max_length=MAX_CONTENT_PARTS)]
    clear_at: Literal["next_user_message", "never"] | None = None


# Tools


class Tool(Loose, kw_only=True):
    """What tools of every type may say."""

    type: Label | None = None
    allowed_callers: list[Label] | None = None
    cache_control: CacheControl | None = None
    defer_loading: bool | None = None
    input_examples: list[Schema] | None = None
    strict: bool | None = None


class ClientTool(Tool, kw_only=True):
    name: ToolName
    input_schema: Schema
    description: str | None = None
    eager_input_streaming: bool | None = None


class BashTool(Tool, kw_only=True):
    name: Literal["bash"]


class EditorTool(Tool, kw_only=True):
    name: Literal["str_replace_editor", "str_replace_based_edit_tool"]
    max_characters: Whole | None = None


class MemoryTool(Tool, kw_only=True):
    name: Literal["memory"]


class ComputerTool(Tool, kw_only=True):
    name: Literal["computer"]
    display_height_px: Whole
    display_width_px: Whole
    display_number: Whole | None = None
    enable_zoom: bool | None = None


class CodeTool(Tool, kw_only=True):
    name: Literal["code_execution"]


class Place(Loose):
    type: Literal["approximate"]
    city: str | None = None
    country: str | None = None
    region: str | None = None
    timezone: str | None = None


class WebTool(Tool, kw_only=True):
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None
    max_uses: Whole | None = None
    response_inclusion: Literal["full", "excluded"] | None = None


class WebSearchTool(WebTool, kw_only=True):
    name: Literal["web_search"]
    user_location: Place | None = None


class SourceTool(Loose):
    type: Literal["tool_reference"]
    name: str


class Sources(Loose):
    type: Literal["all", "none", "only", "except"]
    tools: list[SourceTool] | None = None


class UrlSources(Loose):
    client_tool_results: Sources | None = None
    server_tool_results: Sources | None = None
    user_input: Sources | None = None


class WebFetchTool(WebTool, kw_only=True):
    name: Literal["web_fetch"]
    citations: CitationsConfig | None = None
    max_content_tokens: Whole | None = None
    url_sources: UrlSources | None = None
    use_cache: bool | None = None


class ToolSearchTool(Tool, kw_only=True):
    name: Literal["tool_search_tool_regex", "tool_search_tool_bm25"]


class Switch(Loose):
    """Whether one tool of a set may be used."""

    enabled: bool | None = None
    defer_loading: bool | None = None


class Toolset(Loose, kw_only=True):
    type: Label
    cache_control: CacheControl | None = None
    configs: dict[ToolName, Switch | None] | None = None


class McpToolset(Toolset, kw_only=True):
    mcp_server_name: Label
    default_config: Switch | None = None
    tools: Annotated[list[ServerTool], Meta(max_length=MAX_TOOLS)] | None = None


TOOLS: dict[str, type[Struct]] = {
    "custom": ClientTool,
    "bash": BashTool,
    "text_editor": EditorTool,
    "memory": MemoryTool,
    "computer": ComputerTool,
    "computer_toolset": Toolset,
    "browser_toolset": Toolset,
    "code_execution": CodeTool,
    "web_search": WebSearchTool,
    "web_fetch": WebFetchTool,
    "tool_search_tool_regex": ToolSearchTool,
    "tool_search_tool_bm25": ToolSearchTool,
    "mcp_toolset": McpToolset,
}
"""Type of a tool without the day of its version → its shape."""


class ToolConfiguration(Loose):
    allowed_tools: list[str] | None = None
    enabled: bool | None = None


class McpServer(Loose):
    type: Literal["url"]
    name: Label
    url: str
    authorization_token: str | None = None
    tool_configuration: ToolConfiguration | None = None


# Choices and options


class AutoChoice(Typed, tag="auto"):
    disable_parallel_tool_use: bool | None = None


class AnyChoice(Typed, tag="any"):
    disable_parallel_tool_use: bool | None = None


class NamedChoice(Typed, tag="tool"):
    name: str
    disable_parallel_tool_use: bool | None = None


class NoChoice(Typed, tag="none"):
    pass


Display = Literal["summarized", "omitted", "updates"]


class BlockBinding(Loose):
    prefix_mismatch_behavior: Label | None = None


class ThinkingEnabled(Typed, tag="enabled"):
    budget_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    block_binding: BlockBinding | None = None
    display: Display | None = None


class ThinkingAdaptive(Typed, tag="adaptive"):
    block_binding: BlockBinding | None = None
    display: Display | None = None


class ThinkingBetweenTools(Typed, tag="between_tools"):
    pass


class ThinkingDisabled(Typed, tag="disabled"):
    pass


class SchemaFormat(Loose):
    type: Literal["json_schema"]
    schema: Schema


class TaskBudget(Loose):
    type: Literal["tokens"]
    total: Whole
    remaining: Whole | None = None


class OutputConfig(Loose):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: SchemaFormat | None = None
    task_budget: TaskBudget | None = None


class MessagesMetadata(Loose):
    user_id: Annotated[str, Meta(max_length=1_024)] | None = None


class Measured(Loose):
    """So many tokens, uses or turns."""

    type: Label
    value: Whole | None = None


class ClearToolUses(Typed, tag="clear_tool_uses_20250919"):
    clear_at_least: Measured | None = None
    clear_tool_inputs: bool | list[str] | None = None
    exclude_tools: list[str] | None = None
    keep: Measured | None = None
    trigger: Measured | None = None


class ClearThinking(Typed, tag="clear_thinking_20251015"):
    keep: Measured | Literal["all"] | None = None


class ContextEdits(Loose):
    edits: list[ClearToolUses | ClearThinking] | None = None


class Diagnostics(Loose):
    previous_message_id: Identifier | None = None
