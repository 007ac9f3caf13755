"""What an app asks for: tools, features, limits, references, and the headers it sends with them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from router.api.wire import parse
from router.errors import Refused
from router.stages.read_task import HEADERS, NO_HEADERS, RouterHeaders, read_headers, read_task
from routing_rules.server_lists import address_digest, list_digests
from routing_rules.task import Endpoint, Feature, Task, ToolAsk, ToolChoice
from routing_rules.vocabulary import Sensitivity

HELLO = {"role": "user", "content": "Hello"}
FLAT = {"type": "function", "name": "look_up"}
NESTED = {"type": "function", "function": {"name": "look_up"}}
CUSTOM = {"type": "custom", "custom": {"name": "shout"}}
NAMESPACE = {"type": "namespace", "name": "crm", "description": "Customers", "tools": [FLAT, {"type": "custom", "name": "note"}]}


def task_of(endpoint: Endpoint, body: dict[str, Any], headers: RouterHeaders = NO_HEADERS) -> Task:
    return read_task(
        endpoint,
        parse(endpoint, msgspec.json.encode(body)),
        headers,
        {"geheim": Sensitivity.RESTRICTED},
        Sensitivity.CONFIDENTIAL,
    )


def chat(*messages: dict[str, Any], **fields: Any) -> Task:
    return task_of(Endpoint.CHAT, {"model": "auto", "messages": list(messages) or [HELLO], **fields})


def responses(given: Any = "Hello", **fields: Any) -> Task:
    return task_of(Endpoint.RESPONSES, {"model": "auto", "input": given, **fields})


# Tools


def test_chat_tools_are_asked_for_by_name() -> None:
    assert chat(tools=[NESTED, CUSTOM]).tools == (
        ToolAsk("look_up", "function", "tools[0]"),
        ToolAsk("shout", "custom", "tools[1]"),
    )


def test_older_functions_are_asked_for_likewise() -> None:
    assert chat(functions=[{"name": "look_up"}]).tools == (ToolAsk("look_up", "function", "functions[0]"),)


def test_a_hosted_tool_is_asked_for_by_its_type_on_either_format() -> None:
    assert chat(tools=[{"type": "browser", "anything": 1}]).tools == (ToolAsk("browser", "browser", "tools[0]"),)
    assert responses(tools=[{"type": "web_search_2025_08_26"}]).tools == (
        ToolAsk("web_search_2025_08_26", "web_search_2025_08_26", "tools[0]"),
    )


def test_web_search_options_ask_for_a_hosted_tool() -> None:
    task = chat(web_search_options={})
    assert task.tools == (ToolAsk("web_search", "web_search", "web_search_options"),)
    assert Feature.HOSTED_TOOLS in task.features


def test_tools_in_a_namespace_have_dotted_names() -> None:
    assert responses(tools=[NAMESPACE]).tools == (
        ToolAsk("crm.look_up", "function", "tools[0].tools[0]"),
        ToolAsk("crm.note", "custom", "tools[0].tools[1]"),
    )


def test_an_mcp_server_is_asked_for_by_its_label() -> None:
    tool = {"type": "mcp", "server_label": "wiki", "server_url": "https://example.org"}
    assert responses(tools=[tool]).tools == (ToolAsk("mcp", "mcp", "tools[0]", "wiki", address_digest("https://example.org")),)
    with_key = responses(tools=[{**tool, "server_url": "https://example.org/?key=1", "headers": {"x-key": "1"}}])
    assert with_key.tools[0].credentials
    assert with_key.tools[0].address != address_digest("https://example.org")


def test_items_that_bring_tools_ask_for_them() -> None:
    task = responses(
        [
            HELLO,
            {"type": "additional_tools", "role": "developer", "tools": [FLAT, {"type": "shell"}]},
            {"type": "tool_search_output", "call_id": "call_1", "tools": [NAMESPACE]},
            {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "wiki", "tools": [{"name": "search", "input_schema": {}}]},
        ]
    )
    assert task.tools == (
        ToolAsk("look_up", "function", "input[1].tools[0]"),
        ToolAsk("shell", "shell", "input[1].tools[1]"),
        ToolAsk("crm.look_up", "function", "input[2].tools[0].tools[0]"),
        ToolAsk("crm.note", "custom", "input[2].tools[0].tools[1]"),
        ToolAsk("mcp", "mcp", "input[3]", "wiki", listed=list_digests([{"name": "search", "input_schema": {}}])),
    )


CHAT_CHOICES: list[tuple[Any, ToolChoice]] = [
    ("none", ToolChoice("none")),
    ("auto", ToolChoice("auto")),
    ("required", ToolChoice("required")),
    (NESTED, ToolChoice("named", ("look_up",), True)),
    (CUSTOM, ToolChoice("named", ("shout",), True)),
    (
        {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NESTED, CUSTOM]}},
        ToolChoice("allowed", ("look_up", "shout"), True),
    ),
    (
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [CUSTOM]}},
        ToolChoice("allowed", ("shout",), False),
    ),
]


@pytest.mark.parametrize(("choice", "expected"), CHAT_CHOICES)
def test_the_choice_of_a_chat_has_one_normal_form(choice: Any, expected: ToolChoice) -> None:
    assert chat(tool_choice=choice, tools=[NESTED, CUSTOM]).tool_choice == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("none", ToolChoice("none")), ("auto", ToolChoice("auto")), ({"name": "look_up"}, ToolChoice("named", ("look_up",), True))],
)
def test_the_older_choice_has_the_same_normal_form(choice: Any, expected: ToolChoice) -> None:
    assert chat(function_call=choice, functions=[{"name": "look_up"}]).tool_choice == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("required", ToolChoice("required")),
        ({"type": "function", "name": "save"}, ToolChoice("named", ("save",), True)),
        ({"type": "function", "name": "look_up"}, ToolChoice("named", ("crm.look_up",), True)),
        ({"type": "custom", "name": "note"}, ToolChoice("named", ("crm.note",), True)),
        ({"type": "mcp", "server_label": "wiki", "name": "search"}, ToolChoice("named", ("wiki",), True)),
        ({"type": "web_search_preview"}, ToolChoice("named", ("web_search_preview_2025_03_11",), True)),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "save"}, {"type": "shell"}]},
            ToolChoice("allowed", ("save", "shell"), False),
        ),
    ],
)
def test_the_choice_of_a_responses_request_names_what_is_asked_for(choice: Any, expected: ToolChoice) -> None:
    tools = [
        {"type": "function", "name": "save"},
        NAMESPACE,
        {"type": "mcp", "server_label": "wiki"},
        {"type": "web_search_preview_2025_03_11"},
        {"type": "shell"},
    ]
    assert responses(tool_choice=choice, tools=tools).tool_choice == expected


# Features


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
CALLS = {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "custom", "custom": {"name": "shout", "input": "a"}}]}
SCHEMA = {"name": "answer", "schema": {}}


@pytest.mark.parametrize(
    ("fields", "feature"),
    [
        ({"stream": True}, Feature.STREAMING),
        ({"n": 2}, Feature.SEVERAL_CHOICES),
        ({"seed": 0}, Feature.SEED),
        ({"logprobs": True}, Feature.LOGPROBS),
        ({"top_logprobs": 3}, Feature.LOGPROBS),
        ({"tools": [NESTED]}, Feature.TOOLS),
        ({"tools": [CUSTOM]}, Feature.CUSTOM_TOOLS),
        ({"tools": [{"type": "browser"}]}, Feature.HOSTED_TOOLS),
        ({"parallel_tool_calls": True}, Feature.PARALLEL_TOOLS),
        ({"response_format": {"type": "json_object"}}, Feature.JSON_MODE),
        ({"response_format": {"type": "json_schema", "json_schema": SCHEMA}}, Feature.JSON_SCHEMA),
        ({"prediction": {"type": "content", "content": [{"type": "text", "text": "a"}]}}, Feature.PREDICTION),
        ({"modalities": ["text", "audio"]}, Feature.AUDIO),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, Feature.VISION),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}, Feature.FILES),
        ({"messages": [HELLO, {"role": "assistant", "audio": {"id": "audio_1"}}]}, Feature.AUDIO),
        ({"messages": [HELLO, {"role": "assistant", "audio": {"id": "audio_1"}}]}, Feature.STORED_STATE),
        ({"messages": [HELLO, {"role": "tool", "tool_call_id": "call_1", "content": "4"}]}, Feature.TOOLS),
        ({"messages": [HELLO, CALLS]}, Feature.CUSTOM_TOOLS),
    ],
)
def test_a_chat_needs_what_its_fields_ask_for(fields: dict[str, Any], feature: Feature) -> None:
    task = task_of(Endpoint.CHAT, {"model": "auto", "messages": [HELLO], **fields})
    assert {feature, Feature.CHAT_API} <= task.features


@pytest.mark.parametrize(
    ("fields", "feature"),
    [
        ({"stream": True, "background": True}, Feature.BACKGROUND),
        ({"previous_response_id": "resp_1"}, Feature.STORED_STATE),
        ({"store": True}, Feature.STORED_STATE),
        ({"include": ["message.output_text.logprobs"]}, Feature.LOGPROBS),
        ({"text": {"format": {"type": "json_schema", **SCHEMA}}}, Feature.JSON_SCHEMA),
        ({"text": {"format": {"type": "json_object"}}}, Feature.JSON_MODE),
        ({"tools": [NAMESPACE]}, Feature.CUSTOM_TOOLS),
        ({"tools": [{"type": "computer"}]}, Feature.HOSTED_TOOLS),
        ({"input": [{"type": "function_call_output", "call_id": "call_1", "output": "4"}]}, Feature.TOOLS),
        ({"input": [{"type": "custom_tool_call_output", "call_id": "call_1", "output": "4"}]}, Feature.CUSTOM_TOOLS),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://a.example"}]}]}, Feature.VISION),
    ],
)
def test_a_responses_request_needs_what_its_fields_ask_for(fields: dict[str, Any], feature: Feature) -> None:
    task = task_of(Endpoint.RESPONSES, {"model": "auto", "input": "Hello", **fields})
    assert {feature, Feature.RESPONSES_API} <= task.features


def test_what_is_switched_off_or_default_needs_nothing() -> None:
    task = chat(
        stream=False,
        n=1,
        logprobs=False,
        store=True,
        seed=None,
        parallel_tool_calls=False,
        modalities=["text"],
        tools=[],
        response_format={"type": "text"},
        temperature=1,
    )
    assert task.features == {Feature.CHAT_API}


def test_embeddings_need_embeddings() -> None:
    task = task_of(Endpoint.EMBEDDINGS, {"model": "text-embedding-3-small", "input": "Hello", "dimensions": 256})
    assert task.features == {Feature.EMBEDDINGS}
    assert task.conversation == ()


# Wishes and limits


def test_wishes_and_limits_of_a_chat() -> None:
    task = chat(model="gpt-4o", max_tokens=50, n=3, stream=True, reasoning_effort="high", user="ann")
    assert (task.wish, task.max_output_tokens, task.choices, task.stream) == ("gpt-4o", 50, 3, True)
    assert (task.reasoning_effort, task.end_user) == ("high", "ann")


def test_the_newer_names_count_too() -> None:
    assert chat(max_completion_tokens=50).max_output_tokens == 50
    assert chat(user="ann", safety_identifier="a1").end_user == "a1"
    task = responses(max_output_tokens=50, reasoning={"effort": "low", "summary": "auto"})
    assert (task.max_output_tokens, task.reasoning_effort) == (50, "low")


def test_null_is_as_good_as_absent() -> None:
    fields = dict.fromkeys(("max_tokens", "n", "stream", "tools", "tool_choice", "user", "metadata", "stop", "response_format"))
    assert chat(**fields) == chat()


@pytest.mark.parametrize(
    ("label", "level"),
    [("geheim", Sensitivity.RESTRICTED), ("Internal", Sensitivity.INTERNAL), ("who knows", Sensitivity.CONFIDENTIAL)],
)
def test_a_declared_label_is_a_mapped_one_a_level_or_counts_as_unmapped(label: str, level: Sensitivity) -> None:
    assert task_of(Endpoint.CHAT, {"model": "auto", "messages": [HELLO]}, RouterHeaders(label=label)).declared is level


def test_headers_reach_the_task() -> None:
    headers = RouterHeaders(purpose="support", session_id="s-1")
    task = task_of(Endpoint.CHAT, {"model": "auto", "messages": [HELLO]}, headers)
    assert (task.purpose, task.session_header, task.declared) == ("support", "s-1", None)


# References


def test_ids_of_a_chat_in_the_order_they_stand_in_once_each() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    task = chat(
        HELLO,
        {"role": "assistant", "tool_calls": [call, {**call, "id": "call_2"}]},
        {"role": "tool", "tool_call_id": "call_2", "content": "2"},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
        {"role": "tool", "tool_call_id": "call_0", "content": "0"},
    )
    assert task.issued_ids == ("call_1", "call_2", "call_0")


def test_ids_of_a_responses_request() -> None:
    task = responses(
        [
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "4"},
            {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": False},
        ],
        previous_response_id="resp_1",
    )
    assert set(task.issued_ids) == {"rs_1", "call_1", "mcpr_1", "resp_1"}
    assert task.previous_response_id == "resp_1"


def test_the_conversation_marks_the_models_turns() -> None:
    task = chat({"role": "system", "content": "Be brief."}, HELLO, {"role": "assistant", "content": "Hi"}, HELLO)
    assert (len(task.conversation), task.assistant_turns) == (4, (2,))
    items = responses(
        [
            HELLO,
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "4"},
            {"role": "assistant", "content": "Hi"},
        ]
    )
    assert (len(items.conversation), items.assistant_turns) == (4, (1, 3))


def test_both_formats_tell_the_same_conversation() -> None:
    said = [HELLO, {"role": "assistant", "content": "Hi"}, HELLO]
    assert chat(*said).conversation == responses(said).conversation


# The bound on input tokens


def test_the_bound_is_never_less_than_the_bytes_of_all_text() -> None:
    text = "Zürich 東京 " * 20
    schema = {"type": "object", "description": text}
    task = chat(
        {"role": "system", "content": text},
        {"role": "user", "content": [{"type": "text", "text": text}]},
        tools=[{"type": "function", "function": {"name": "look_up", "parameters": schema}}],
    )
    assert 3 * len(text.encode()) < task.input_bytes < 3 * len(text.encode()) + 400
    assert not task.input_unbounded


def test_images_and_audio_count_as_tokens_not_as_bytes() -> None:
    picture = "data:image/png;base64,iVBORw0KGgo" + "A" * 1_000_000
    image = chat({"role": "user", "content": [{"type": "image_url", "image_url": {"url": picture}}]})
    original = chat({"role": "user", "content": [{"type": "image_url", "image_url": {"url": picture, "detail": "original"}}]})
    audio = chat({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "A" * 64_000, "format": "mp3"}}]})
    assert 3_000 <= image.input_bytes < original.input_bytes < 20_000
    assert 2_000 <= audio.input_bytes < 3_000
    assert not any(task.input_unbounded for task in (image, original, audio))


@pytest.mark.parametrize(
    "task",
    [
        responses(previous_response_id="resp_1"),
        responses([{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]),
        responses([{"role": "user", "content": [{"type": "input_file", "file_url": "https://example.org/a.pdf"}]}]),
        responses([{"role": "user", "content": [{"type": "input_file", "file_data": "data:application/pdf;base64,JVBERg=="}]}]),
        chat({"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}),
        chat(HELLO, {"role": "assistant", "audio": {"id": "audio_1"}}),
    ],
)
def test_what_the_provider_adds_has_no_bound(task: Task) -> None:
    assert task.input_unbounded


# Headers


def test_without_headers_of_ours_nothing_is_declared() -> None:
    assert read_headers({"authorization": "Bearer x", "content-type": "application/json"}) == RouterHeaders()


def test_all_headers() -> None:
    headers = {
        "x-router-purpose": "support",
        "x-router-label": "Geheim (intern)",
        "x-session-id": "case:4711",
        "x-router-approval": "ap_1",
        "x-router-debug": "1",
        "x-stainless-retry-count": "2",
    }
    assert {*headers, "anthropic-version", "anthropic-beta"} == HEADERS.keys()
    assert read_headers({**headers, "anthropic-version": "2023-06-01", "anthropic-beta": "pdfs-2024-09-25"}) == RouterHeaders(
        "support", "Geheim (intern)", "case:4711", "ap_1", True, 2
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x-session-id", "", "the header `x-session-id` must be 1 to 128 of A-Z a-z 0-9 . _ : -"),
        ("x-session-id", "a" * 129, "the header `x-session-id` must be 1 to 128 of A-Z a-z 0-9 . _ : -"),
        ("x-session-id", "a b", "the header `x-session-id` must be 1 to 128 of A-Z a-z 0-9 . _ : -"),
        ("x-session-id", "a\r\nx-admin: 1", "the header `x-session-id` must be 1 to 128 of A-Z a-z 0-9 . _ : -"),
        ("x-session-id", "a\n", "the header `x-session-id` must be 1 to 128 of A-Z a-z 0-9 . _ : -"),
        ("x-router-purpose", "sup\x00port", "the header `x-router-purpose` must be 1 to 64 of A-Z a-z 0-9 . _ -"),
        ("x-router-label", "geheim\n", "the header `x-router-label` must be 1 to 256 printable characters"),
        ("x-router-label", "gehéim", "the header `x-router-label` must be 1 to 256 printable characters"),
        ("x-router-debug", "yes", "the header `x-router-debug` must be 0, 1, true or false"),
        ("x-router-approval", "a/b", "the header `x-router-approval` must be 1 to 256 of A-Z a-z 0-9 . _ : -"),
        ("x-stainless-retry-count", "-1", "the header `x-stainless-retry-count` must be a number from 0 to 999"),
    ],
)
def test_a_malformed_header_is_named(name: str, value: str, message: str) -> None:
    with pytest.raises(Refused) as caught:
        read_headers({name: value})
    assert (caught.value.code, caught.value.param, caught.value.message) == ("invalid_request", name, message)


def test_a_misspelt_header_of_ours_is_refused_rather_than_ignored() -> None:
    with pytest.raises(Refused) as caught:
        read_headers({"x-router-lable": "geheim"})
    assert caught.value.message == "there is no such `x-router-` header; did you mean `x-router-label`?"
