"""Everything that is sent is read: as whose words, from where, at which place."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from official_client import bodies

from router.api.wire import parse
from router.errors import Refused
from router.stages.enforce import enforce_json
from router.stages.read_task import NO_HEADERS, read_task
from routing_rules.decisions import ToolGrant
from routing_rules.task import Endpoint, Part, Provenance, Role, Task
from routing_rules.vocabulary import Sensitivity

CONTROL = frozenset("model role type previous_response_id voice mode".split())
"""Fields that may hold a string of the app's choice and are not read as text: names of models and voices, words, an id that we issued."""


def task_of(endpoint: Endpoint, body: dict[str, Any], allowed: frozenset[str] = frozenset()) -> Task:
    checked = parse(endpoint, msgspec.json.encode(body), allowed)
    return read_task(endpoint, checked, NO_HEADERS, {}, Sensitivity.RESTRICTED)


def chat(*messages: dict[str, Any], **fields: Any) -> Task:
    return task_of(Endpoint.CHAT, {"model": "auto", "messages": list(messages), **fields})


def responses(given: Any, **fields: Any) -> Task:
    return task_of(Endpoint.RESPONSES, {"model": "auto", "input": given, **fields})


def seen(task: Task) -> list[tuple[str, str, str, str]]:
    return [(part.role.value, part.provenance.value, part.path, part.unreadable or part.text) for part in task.parts]


# Nothing is sent that no part covers


def marked(value: Any, path: str, name: str, marks: dict[str, tuple[str, str]]) -> Any:
    """A copy with a mark of its own in place of each string and each name of the app's choice; `marks` says where each stands."""
    if isinstance(value, dict):
        copy = {}
        for key, held in value.items():
            if key == "1":
                key = f"k{len(marks)}k"
                marks[key] = (path, name)
            copy[key] = marked(held, f"{path}.{key}".removeprefix("."), key if not key.startswith("k") else name, marks)
        return copy
    if isinstance(value, list):
        return [marked(held, f"{path}[{index}]", name, marks) for index, held in enumerate(value)]
    if value == "word":
        mark = f"w{len(marks)}w"
        marks[mark] = (path, name)
        return mark
    return value


@pytest.mark.parametrize("endpoint", list(Endpoint))
def test_every_string_that_the_official_client_can_send_is_in_a_part_or_makes_an_unreadable_one(endpoint: Endpoint) -> None:
    read = 0
    for body in bodies(endpoint):
        try:
            parse(endpoint, msgspec.json.encode(body))
        except Refused:
            continue
        marks: dict[str, tuple[str, str]] = {}
        task = read_task(endpoint, marked(body, "", "", marks), NO_HEADERS, {}, Sensitivity.RESTRICTED)
        texts = "\n".join(part.text for part in task.parts)
        unreadable = {part.path for part in task.parts if part.unreadable}
        for mark, (path, name) in marks.items():
            if mark.startswith("k") and name == "logit_bias":
                continue
            chosen = path.startswith(("tool_choice", "function_call", "context_management"))
            assert name in CONTROL or chosen or mark in texts or path in unreadable, (path, body)
            read += 1
    assert read > 3


TEXT = st.text(min_size=1).filter(str.strip)
SCHEMA = st.recursive(
    TEXT | st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=5
)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, held in value.items():
            yield name
            yield from strings(held)
    elif isinstance(value, list):
        for held in value:
            yield from strings(held)


@given(TEXT, TEXT, st.dictionaries(TEXT, SCHEMA, max_size=3))
def test_no_text_or_name_is_hidden_by_the_notation_of_json(description: str, text: str, schema: dict[str, Any]) -> None:
    function = {"name": "look_up", "description": description, "parameters": schema}
    task = chat(
        {"role": "user", "content": [{"type": "text", "text": text}]},
        tools=[{"type": "function", "function": function}],
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    )
    tool = next(part.text for part in task.parts if part.path == "tools[0]")
    wanted = next(part.text for part in task.parts if part.path == "response_format")
    assert description in tool
    assert any(part.text == text for part in task.parts)
    for held in strings(schema):
        assert held in tool
        assert held in wanted


# Who says what


def test_roles_and_provenance_of_a_chat() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"city":"Bern"}'}}
    task = chat(
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Use metric units."}]},
        {"role": "user", "content": "How warm is it?", "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "21 degrees"},
        {"role": "assistant", "content": "Warm.", "refusal": None},
    )
    assert seen(task) == [
        ("system", "app", "messages[0].content", "Be brief."),
        ("system", "app", "messages[1].content[0].text", "Use metric units."),
        ("user", "user", "messages[2].content", "How warm is it?"),
        ("user", "metadata", "messages[2].name", "ann"),
        ("assistant", "metadata", "messages[3].tool_calls[0].id", "call_1"),
        ("assistant", "model", "messages[3].tool_calls[0].function.name", "look_up"),
        ("assistant", "model", "messages[3].tool_calls[0].function.arguments", '{"city":"Bern"}'),
        ("tool", "metadata", "messages[4].tool_call_id", "call_1"),
        ("tool", "tool_result", "messages[4].content", "21 degrees"),
        ("assistant", "model", "messages[5].content", "Warm."),
    ]
    assert [part.turn for part in task.parts] == [0, 1, 2, 2, 3, 3, 3, 4, 4, 5]
    assert [part.call_id for part in task.parts] == [None] * 4 + ["call_1"] * 5 + [None]


def test_older_function_calls_are_read_like_tool_calls() -> None:
    task = chat(
        {"role": "user", "content": "How warm is it?"},
        {"role": "assistant", "content": None, "function_call": {"name": "look_up", "arguments": "{}"}},
        {"role": "function", "name": "look_up", "content": "21 degrees"},
    )
    assert seen(task)[1:] == [
        ("assistant", "model", "messages[1].function_call.name", "look_up"),
        ("assistant", "model", "messages[1].function_call.arguments", "{}"),
        ("tool", "tool_result", "messages[2].content", "21 degrees"),
        ("tool", "metadata", "messages[2].name", "look_up"),
    ]


def test_roles_and_provenance_of_a_responses_request() -> None:
    task = responses(
        [
            {"role": "user", "content": "How warm is it?"},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Ask the tool"}]},
            {"type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": "{}", "id": "fc_1", "status": None},
            {"type": "function_call_output", "call_id": "call_1", "output": "21 degrees"},
            {
                "type": "message",
                "role": "assistant",
                "id": "msg_1",
                "status": "completed",
                "content": [
                    {
                        "type": "output_text",
                        "text": "Warm.",
                        "annotations": [
                            {
                                "type": "url_citation",
                                "url": "https://example.org/warm",
                                "title": "Weather",
                                "start_index": 0,
                                "end_index": 1,
                            }
                        ],
                    }
                ],
            },
            {
                "type": "mcp_call",
                "id": "mcp_1",
                "server_label": "wiki",
                "name": "search",
                "arguments": "{}",
                "output": "a page",
                "error": None,
            },
        ],
        instructions="Be brief.",
    )
    assert seen(task) == [
        ("user", "user", "input[0].content", "How warm is it?"),
        ("assistant", "metadata", "input[1].id", "rs_1"),
        ("assistant", "model", "input[1].summary[0].text", "Ask the tool"),
        ("assistant", "metadata", "input[2].call_id", "call_1"),
        ("assistant", "model", "input[2].name", "look_up"),
        ("assistant", "model", "input[2].arguments", "{}"),
        ("assistant", "metadata", "input[2].id", "fc_1"),
        ("tool", "metadata", "input[3].call_id", "call_1"),
        ("tool", "tool_result", "input[3].output", "21 degrees"),
        ("assistant", "model", "input[4].content[0].text", "Warm."),
        ("assistant", "model", "input[4].content[0].annotations[0].url", "https://example.org/warm"),
        ("assistant", "model", "input[4].content[0].annotations[0].title", "Weather"),
        ("assistant", "metadata", "input[4].id", "msg_1"),
        ("assistant", "metadata", "input[5].id", "mcp_1"),
        ("assistant", "model", "input[5].server_label", "wiki"),
        ("assistant", "model", "input[5].name", "search"),
        ("assistant", "model", "input[5].arguments", "{}"),
        ("tool", "tool_result", "input[5].output", "a page"),
        ("system", "app", "instructions", "Be brief."),
    ]


def test_what_stands_beside_the_conversation_is_read() -> None:
    task = chat(
        {"role": "user", "content": "Hello"},
        metadata={"case": "4711", "client": "ACME"},
        user="ann@example.org",
        safety_identifier="ann",
        prompt_cache_key="acme",
        stop=["END", "STOP"],
        prediction={"type": "content", "content": "Hello Ann"},
        web_search_options={"user_location": {"type": "approximate", "approximate": {"city": "Bern"}}},
    )
    assert seen(task)[1:] == [
        ("user", "metadata", "metadata", "case: 4711\nclient: ACME"),
        ("user", "metadata", "user", "ann@example.org"),
        ("user", "metadata", "safety_identifier", "ann"),
        ("user", "metadata", "prompt_cache_key", "acme"),
        ("user", "metadata", "stop", "END"),
        ("user", "metadata", "stop", "STOP"),
        ("assistant", "metadata", "prediction.content", "Hello Ann"),
        ("system", "metadata", "web_search_options.user_location.approximate.city", "Bern"),
    ]


def test_a_tool_is_one_part_with_its_name_description_and_schema() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string", "description": "where"}}}
    task = chat(
        {"role": "user", "content": "Hello"},
        tools=[
            {"type": "function", "function": {"name": "look_up", "description": "The weather", "parameters": schema}},
            {"type": "custom", "custom": {"name": "shout", "format": {"type": "text"}}},
        ],
        functions=[],
    )
    assert seen(task)[1:] == [
        (
            "system",
            "tool_definition",
            "tools[0]",
            'look_up\nThe weather\n{"parameters":{"type":"object","properties":{"city":{"type":"string","description":"where"}}}}',
        ),
        ("system", "tool_definition", "tools[1]", 'shout\n\n{"format":{"type":"text"}}'),
    ]


def test_the_credentials_of_an_mcp_server_are_parts_of_their_own() -> None:
    tool = {"type": "mcp", "server_label": "wiki", "authorization": "Bearer abc", "headers": {"x-key": "def"}}
    assert seen(responses("Hello", tools=[tool]))[1:] == [
        ("system", "tool_definition", "tools[0].authorization", "Bearer abc"),
        ("system", "tool_definition", "tools[0].headers", '{"x-key":"def"}'),
        ("system", "tool_definition", "tools[0]", 'mcp\n{"server_label":"wiki"}'),
    ]


@pytest.mark.parametrize(("given", "path"), [("Hello", "input"), (["Hello"], "input[0]")], ids=["one text", "a list of texts"])
def test_texts_to_embed_are_the_users(given: Any, path: str) -> None:
    task = task_of(Endpoint.EMBEDDINGS, {"model": "text-embedding-3-small", "input": given})
    assert task.parts == (Part(Role.USER, Provenance.USER, "Hello", path, 0),)


def test_a_field_of_another_provider_is_read_and_named() -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}], "guided_json": {"title": "Invoice"}}
    task = task_of(Endpoint.CHAT, body, frozenset({"guided_json"}))
    assert task.extra_fields == {"guided_json"}
    assert seen(task)[1:] == [("user", "metadata", "guided_json", '{"title":"Invoice"}')]


def test_a_field_of_another_provider_inside_a_message_is_read_and_named() -> None:
    allowed = frozenset(
        {"messages[].reasoning_content", "messages[].content[].cache_control", "messages[].tool_calls[].extra_content"}
    )
    call = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}, "extra_content": "signature"}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": "Hi", "reasoning_content": "A greeting", "tool_calls": [call]},
    ]
    task = task_of(Endpoint.CHAT, {"model": "auto", "messages": messages}, allowed)
    assert task.extra_fields == allowed
    assert [part.text for part in task.parts] == [
        "Hello",
        "cache_control",
        '{"type":"ephemeral"}',
        "Hi",
        "reasoning_content",
        "A greeting",
        "call_1",
        "look_up",
        "{}",
        "extra_content",
        "signature",
    ]


def test_a_field_of_another_provider_inside_an_item_is_read_and_named() -> None:
    body = {"model": "auto", "input": [{"type": "message", "role": "user", "content": "Hello", "mood": "good"}]}
    task = task_of(Endpoint.RESPONSES, body, frozenset({"input[].mood"}))
    assert task.extra_fields == {"input[].mood"}
    assert [part.text for part in task.parts] == ["Hello", "mood", "good"]


# What cannot be read


def text_file(text: str, media_type: str = "text/plain") -> str:
    return f"data:{media_type};base64,{b64encode(text.encode()).decode()}"


PNG = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "image_url", "image_url": {"url": PNG}}, [("image_url.url", "image", "")]),
        (
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png?user=ann"}},
            [("image_url.url", "image", ""), ("image_url.url", None, "https://example.org/a.png?user=ann")],
        ),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, [("input_audio.data", "audio", "")]),
        ({"type": "file", "file": {"file_id": "file-1"}}, [("file.file_id", "file", ""), ("file.file_id", None, "file-1")]),
        (
            {"type": "file", "file": {"filename": "ann.txt", "file_data": text_file("Ann's salary")}},
            [("file.filename", None, "ann.txt"), ("file.file_data", None, "Ann's salary")],
        ),
        (
            {"type": "file", "file": {"file_data": b64encode(b"a,b\n1,2").decode()}},
            [("file.file_data", None, "a,b\n1,2")],
        ),
        (
            {"type": "file", "file": {"file_data": text_file('{"a":1}', "application/ld+json")}},
            [("file.file_data", None, '{"a":1}')],
        ),
        (
            {"type": "file", "file": {"file_data": text_file("%PDF-1.7", "application/pdf")}},
            [("file.file_data", "file", "")],
        ),
        ({"type": "file", "file": {"file_data": text_file("%PDF-1.7")}}, [("file.file_data", "file", "")]),
        (
            {"type": "file", "file": {"file_data": "data:text/plain,Ann"}},
            [("file.file_data", "file", ""), ("file.file_data", None, "data:text/plain,Ann")],
        ),
        (
            {"type": "file", "file": {"file_data": "not base64!"}},
            [("file.file_data", "file", ""), ("file.file_data", None, "not base64!")],
        ),
        (
            {"type": "image_url", "image_url": {"url": text_file("Ann")}},
            [("image_url.url", "image", ""), ("image_url.url", None, "Ann")],
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,Ann"}},
            [("image_url.url", "image", ""), ("image_url.url", None, "data:image/png;base64,Ann")],
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "Ann speaks", "format": "wav"}},
            [("input_audio.data", "audio", ""), ("input_audio.data", None, "Ann speaks")],
        ),
        (
            {"type": "file", "file": {"file_data": b64encode(b"\xff\xfe\x00").decode()}},
            [("file.file_data", "file", "")],
        ),
    ],
)
def test_attachments_are_read_where_they_are_text(part: dict[str, Any], expected: list[tuple[str, str | None, str]]) -> None:
    task = chat({"role": "user", "content": [part]})
    assert [(found.path, found.unreadable, found.text) for found in task.parts] == [
        (f"messages[0].content[0].{path}", unreadable, text) for path, unreadable, text in expected
    ]
    assert {found.provenance for found in task.parts} == {Provenance.ATTACHMENT}


@pytest.mark.parametrize(
    ("given", "path", "unreadable"),
    [
        ([{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}], "input[0].content[0].file_id", "image"),
        (
            [{"role": "user", "content": [{"type": "input_file", "file_url": "https://example.org/a.pdf"}]}],
            "input[0].content[0].file_url",
            "remote",
        ),
        (
            [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}],
            "input[0].encrypted_content",
            "encrypted",
        ),
        ([{"type": "compaction", "encrypted_content": "gAAAA"}], "input[0].encrypted_content", "encrypted"),
        (
            [{"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBORw0KGgo="}],
            "input[0].result",
            "image",
        ),
        (
            [
                {
                    "type": "computer_call_output",
                    "call_id": "call_1",
                    "output": {"type": "computer_screenshot", "image_url": PNG},
                }
            ],
            "input[0].output.image_url",
            "image",
        ),
        (
            [{"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_image", "image_url": PNG}]}],
            "input[0].output[0].image_url",
            "image",
        ),
    ],
)
def test_what_a_responses_request_hides_makes_an_unreadable_part(given: Any, path: str, unreadable: str) -> None:
    task = responses(given)
    assert [(part.path, part.unreadable) for part in task.parts if part.unreadable] == [(path, unreadable)]
    assert not any("iVBORw0KGgo" in part.text for part in task.parts)


def test_files_that_a_sandbox_may_open_are_unreadable() -> None:
    container = {"type": "auto", "file_ids": ["file-1", "file-2"]}
    task = responses("Hello", tools=[{"type": "code_interpreter", "container": container}])
    assert [part.path for part in task.parts if part.unreadable] == [
        "tools[0].container.file_ids[0]",
        "tools[0].container.file_ids[1]",
    ]


@pytest.mark.parametrize("given", [[1, 2], [[1, 2], [3]]])
def test_token_numbers_are_unreadable(given: Any) -> None:
    task = task_of(Endpoint.EMBEDDINGS, {"model": "text-embedding-3-small", "input": given})
    assert [(part.path, part.unreadable) for part in task.parts] == [("input", "tokens")]


# JSON inside texts


def test_json_in_a_tool_result_is_read_with_its_escapes_resolved() -> None:
    task = chat(
        {"role": "user", "content": "Who?"},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"mail": "ann\\u0040example.org", "n": 4}'},
    )
    assert [(part.path, part.text) for part in task.parts[1:]] == [
        ("messages[1].tool_call_id", "call_1"),
        ("messages[1].content", '{"mail": "ann\\u0040example.org", "n": 4}'),
        ("messages[1].content#json", "mail\nann@example.org\nn\n4"),
    ]
    assert {part.call_id for part in task.parts[1:]} == {"call_1"}


@pytest.mark.parametrize("text", ["C:\\new", "{not \\json}", "[" * 100_000 + "\\", '{"a": "no escapes"}', ""])
def test_a_text_that_is_not_escaped_json_is_read_once(text: str) -> None:
    assert [part.text for part in chat({"role": "user", "content": text}).parts] == [text] * bool(text)


def test_json_in_a_long_text_is_printed_anew() -> None:
    text = '{"mail": "ann\\u0040example.org", "n": [' + "1," * 200_000 + "1]}"
    printed = chat({"role": "user", "content": text}).parts[1]
    assert printed.path == "messages[0].content#json"
    assert printed.text.startswith('{"mail":"ann@example.org"')


def test_what_an_answer_cites_is_no_word_of_the_user_whoever_sends_it_back() -> None:
    cited = {"type": "url_citation", "start_index": 0, "end_index": 1, "title": "Write to eve", "url": "https://example.org"}
    said = {"type": "output_text", "text": "hi", "annotations": [cited]}
    found = {
        role: {text: provenance for _, provenance, _, text in seen(responses([{"role": role, "content": [said]}]))}
        for role in ("user", "assistant")
    }
    assert (found["user"]["Write to eve"], found["assistant"]["Write to eve"]) == ("attachment", "model")
    assert (found["user"]["hi"], found["assistant"]["hi"]) == ("user", "model")


@pytest.mark.parametrize(("seed", "read"), [(7, False), (2**32 - 1, False), (4242424242424242, True), (-(2**40), True)])
def test_a_seed_that_could_be_the_number_of_a_card_is_read(seed: int, read: bool) -> None:
    task = chat({"role": "user", "content": "hi"}, seed=seed)
    assert (("user", "metadata", "seed", str(seed)) in seen(task)) is read


def test_what_is_encrypted_leads_back_to_where_it_was_given_and_counts_as_unread_only_where_it_was_not() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}
    foreign = responses([thought])
    assert [part.unreadable for part in foreign.parts if part.unreadable] == ["encrypted"]
    seal = next(issued for issued in foreign.issued_ids if issued.startswith("sealed_"))
    checked = parse(Endpoint.RESPONSES, msgspec.json.encode({"model": "auto", "input": [thought]}))
    own = read_task(Endpoint.RESPONSES, checked, NO_HEADERS, {}, Sensitivity.RESTRICTED, own=frozenset({seal}))
    assert [part for part in own.parts if part.unreadable] == []
    assert own.issued_ids == foreign.issued_ids
    assert own.input_bytes == foreign.input_bytes
    answer = {"id": "resp_1", "status": "completed", "output": [thought]}
    assert seal in enforce_json(Endpoint.RESPONSES, msgspec.json.encode(answer), ToolGrant(), denial_is_error=False).issued_ids
