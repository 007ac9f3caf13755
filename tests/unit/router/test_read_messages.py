"""How a request of the Messages API reads in the one normal form, and what its conversation is known by."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec

from router.api.wire import parse
from router.stages.conversation import messages_message
from router.stages.read_task import NO_HEADERS, read_task
from routing_rules.server_lists import address_digest
from routing_rules.task import Endpoint, Feature, Task, ToolAsk, ToolChoice
from routing_rules.vocabulary import Sensitivity


def task_of(*messages: dict[str, Any], **fields: Any) -> Task:
    body = {"model": "auto", "max_tokens": 64, "messages": list(messages), **fields}
    return read_task(
        Endpoint.MESSAGES, parse(Endpoint.MESSAGES, msgspec.json.encode(body)), NO_HEADERS, {}, Sensitivity.RESTRICTED
    )


def seen(task: Task) -> list[tuple[str, str, str, str]]:
    return [(part.role.value, part.provenance.value, part.path, part.unreadable or part.text) for part in task.parts]


USE: Any = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"city": "Bern"}}
RESULT: Any = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "sunny"}]}
ASK: Any = {"role": "user", "content": "How is it?"}


def test_roles_and_provenance() -> None:
    task = task_of(
        ASK,
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}, USE]},
        {"role": "user", "content": [RESULT, {"type": "text", "text": "And?"}]},
        system="Be brief.",
    )
    assert sorted(seen(task)) == sorted(
        [
            ("user", "user", "messages[0].content", "How is it?"),
            ("assistant", "model", "messages[1].content[0].thinking", "hm"),
            ("assistant", "metadata", "messages[1].content[0].signature", "c2ln"),
            ("assistant", "metadata", "messages[1].content[1].id", "toolu_1"),
            ("assistant", "model", "messages[1].content[1].name", "look_up"),
            ("assistant", "model", "messages[1].content[1].input", '{"city":"Bern"}'),
            ("tool", "metadata", "messages[2].content[0].tool_use_id", "toolu_1"),
            ("tool", "tool_result", "messages[2].content[0].content[0].text", "sunny"),
            ("user", "user", "messages[2].content[1].text", "And?"),
            ("system", "app", "system", "Be brief."),
        ]
    )
    assert task.issued_ids == ("toolu_1",)
    assert task.assistant_turns == (1,)
    assert {part.call_id for part in task.parts if part.role.value == "tool"} == {"toolu_1"}


def test_documents_and_pictures_come_from_outside() -> None:
    text = b64encode(b"plain words").decode()
    task = task_of(
        {
            "role": "user",
            "content": [
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "minutes"}, "title": "Board"},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": text}},
                {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
                {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
                {"type": "search_result", "source": "wiki", "title": "Bern", "content": [{"type": "text", "text": "a city"}]},
            ],
        }
    )
    read = {(provenance, path.partition("content")[2]): text for _, provenance, path, text in seen(task)}
    assert read["attachment", "[0].source.data"] == "minutes"
    assert read["attachment", "[0].title"] == "Board"
    assert read["attachment", "[1].source.data"] == "plain words"
    assert read["attachment", "[2].source.url"] == "https://example.org/a.png"
    assert read["attachment", "[3].source.file_id"] == "file_1"
    assert read["attachment", "[4].content[0].text"] == "a city"
    assert {Feature.FILES, Feature.VISION} <= task.features
    assert {part.unreadable for part in task.parts if part.unreadable} == {"image"}


def test_what_is_cited_is_nobodys_own_word() -> None:
    cited = {
        "type": "char_location",
        "cited_text": "Write to eve",
        "document_index": 0,
        "start_char_index": 0,
        "end_char_index": 1,
    }
    block = {"type": "text", "text": "hi", "citations": [cited]}
    task = task_of({"role": "user", "content": [block]}, {"role": "assistant", "content": [block]}, ASK, system=[block])
    found = [(provenance, path) for _, provenance, path, text in seen(task) if text == "Write to eve"]
    assert sorted(found) == [
        ("attachment", "messages[0].content[0].citations[0].cited_text"),
        ("attachment", "system[0].citations[0].cited_text"),
        ("model", "messages[1].content[0].citations[0].cited_text"),
    ]


def test_tools_of_every_kind_are_asked_for() -> None:
    server = {"type": "url", "name": "notes", "url": "https://mcp.example.org/notes/", "authorization_token": "tok-4711"}
    task = task_of(
        ASK,
        {
            "role": "system",
            "content": [
                {
                    "type": "tool_addition",
                    "tool": {"type": "tool_definition", "definition": {"name": "later", "input_schema": {}}},
                }
            ],
        },
        tools=[
            {"name": "look_up", "description": "Looks up.", "input_schema": {"type": "object"}},
            {"type": "bash_20250124", "name": "bash"},
            {"type": "mcp_toolset", "mcp_server_name": "notes"},
        ],
        mcp_servers=[server],
        tool_choice={"type": "any"},
    )
    asked = {ask.path: ask for ask in task.tools}
    assert asked["tools[0]"] == ToolAsk("look_up", "function", "tools[0]")
    assert asked["tools[1]"] == ToolAsk("bash_20250124", "bash_20250124", "tools[1]")
    assert asked["messages[1].content[0].tool.definition"].name == "later"
    assert asked["mcp_servers[0]"] == ToolAsk(
        "mcp", "mcp", "mcp_servers[0]", "notes", address_digest("https://mcp.example.org/notes"), True
    )
    assert task.tool_choice == ToolChoice("required")
    assert {Feature.TOOLS, Feature.SERVER_TOOLS, Feature.MESSAGES_API} <= task.features
    assert "tok-4711" in [part.text for part in task.parts if part.path == "mcp_servers[0].authorization_token"]


def test_a_choice_by_the_name_of_a_call_finds_the_tool_by_its_type() -> None:
    editor = {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}
    task = task_of(ASK, tools=[editor], tool_choice={"type": "tool", "name": "str_replace_based_edit_tool"})
    assert "text_editor_20250728" in task.tool_choice.names


def test_only_who_signed_a_thought_can_go_on_with_it() -> None:
    thought: Any = {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}, USE]}
    assert Feature.STORED_STATE in task_of(ASK, thought, {"role": "user", "content": [RESULT]}).features
    assert Feature.STORED_STATE not in task_of(ASK, thought, {"role": "user", "content": [RESULT]}, thought, ASK).features


def test_the_end_user_and_the_limits_are_read() -> None:
    task = task_of(ASK, metadata={"user_id": "u-17"}, output_config={"effort": "low"}, stream=True)
    assert (task.end_user, task.max_output_tokens, task.reasoning_effort, task.stream) == ("u-17", 64, "low", True)


# The canonical form


def test_what_an_app_may_leave_out_changes_nothing() -> None:
    text: Any = {"type": "text", "text": "Sunny. "}
    whole: Any = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {**text, "citations": None},
            {**USE, "caller": {"type": "direct"}},
        ],
    }
    rebuilt: Any = {"role": "assistant", "content": [{**text, "cache_control": {"type": "ephemeral"}}, {**USE, "id": "other"}]}
    assert messages_message(whole) == messages_message(rebuilt)
    assert messages_message({"role": "user", "content": " hi"}) == messages_message(
        {"role": "user", "content": [{"type": "text", "text": "hi"}]}
    )


def test_another_word_call_or_result_is_another_conversation() -> None:
    forms = [
        messages_message({"role": "user", "content": [block]})
        for block in (
            RESULT,
            {**RESULT, "content": "rainy"},
            {**RESULT, "tool_use_id": "toolu_2"},
            {"type": "text", "text": "sunny"},
            {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
            {"type": "image", "source": {"type": "url", "url": "https://example.org/b.png"}},
        )
    ]
    forms += [
        messages_message({"role": "assistant", "content": [block]})
        for block in (USE, {**USE, "input": {}}, {**USE, "name": "other"})
    ]
    assert len(set(forms)) == len(forms)
