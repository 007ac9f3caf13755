"""What an app sends back has the same canonical form as what it was answered, however it was rebuilt on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.stages.conversation import chat_message, response_item, spoken_by_model

ANSWER: dict[str, Any] = {
    "role": "assistant",
    "content": "It is warm.",
    "refusal": None,
    "annotations": [],
    "audio": None,
    "function_call": None,
    "tool_calls": None,
}


@pytest.mark.parametrize(
    "sent_back",
    [
        {"role": "assistant", "content": "It is warm."},
        {"role": "assistant", "content": "It is warm.\n"},
        {"role": "assistant", "content": [{"type": "text", "text": "It is warm."}]},
        {"role": "assistant", "content": [{"type": "text", "text": "It is "}, {"type": "text", "text": "warm."}]},
        {"role": "assistant", "content": "It is warm.", "name": "weather_agent"},
        {"role": "assistant", "content": "It is warm.", "tool_calls": []},
        {"role": "assistant", "content": "It is warm.", "reasoning_content": "thermometer"},
    ],
)
def test_an_answer_comes_back_in_many_forms(sent_back: dict[str, Any]) -> None:
    assert chat_message(sent_back) == chat_message(ANSWER)


@pytest.mark.parametrize(
    "other",
    [
        {"role": "assistant", "content": "It is cold."},
        {"role": "user", "content": "It is warm."},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": None},
    ],
)
def test_another_word_or_speaker_is_another_message(other: dict[str, Any]) -> None:
    assert chat_message(other) != chat_message(ANSWER)


def call(name: str, arguments: str, call_id: str = "call_1") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_calls_are_the_same_in_another_order_with_other_ids_and_arguments_printed_anew() -> None:
    answered = {"role": "assistant", "content": None, "tool_calls": [call("a", '{"x":1,"y":"é"}'), call("b", "{}", "call_2")]}
    sent = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"index": 0, **call("b", "{ }", "other")}, call("a", '{"y": "\\u00e9", "x": 1}')],
    }
    assert chat_message(sent) == chat_message(answered)


@pytest.mark.parametrize(
    "other", [[call("a", '{"x":2}')], [call("b", '{"x":1}')], [call("a", '{"x":1}')] * 2, [call("a", "not json")], []]
)
def test_other_calls_are_another_message(other: list[dict[str, Any]]) -> None:
    answered = {"role": "assistant", "content": None, "tool_calls": [call("a", '{"x":1}')]}
    assert chat_message({**answered, "tool_calls": other}) != chat_message(answered)


def test_an_older_function_call_is_a_call() -> None:
    older = {"role": "assistant", "content": None, "function_call": {"name": "a", "arguments": "{}"}}
    assert chat_message(older) == chat_message({"role": "assistant", "tool_calls": [call("a", "{}")]})


def test_a_custom_call_keeps_its_text() -> None:
    answered = {"role": "assistant", "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "a", "input": "[1, 2]"}}]}
    other = {"role": "assistant", "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "a", "input": "[1,2]"}}]}
    assert chat_message(answered) != chat_message(other)


def test_arguments_that_are_no_json_or_too_deep_are_kept_as_they_are() -> None:
    for arguments in ("{", "[" * 100_000, "\ud83d".encode("utf-8", "replace").decode(), ""):
        message = {"role": "assistant", "tool_calls": [call("a", arguments)]}
        assert chat_message(message) == chat_message(message)


def test_a_refusal_is_text_wherever_it_stands() -> None:
    refusal = chat_message({"role": "assistant", "content": None, "refusal": "I cannot."})
    assert chat_message({"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot."}]}) == refusal
    assert chat_message({"role": "assistant", "content": "I cannot."}) == refusal


def test_a_picture_counts_by_its_content() -> None:
    def shown(url: str, **more: Any) -> bytes:
        part = {"type": "image_url", "image_url": {"url": url, **more}}
        return chat_message({"role": "user", "content": [{"type": "text", "text": "Look"}, part]})

    assert shown("https://example.org/a.png") == shown("https://example.org/a.png", detail=None)
    assert shown("https://example.org/a.png") != shown("https://example.org/b.png")
    assert shown("https://example.org/a.png") != chat_message({"role": "user", "content": "Look"})


def test_users_are_told_apart_by_name_and_tool_results_are_not_by_id() -> None:
    assert chat_message({"role": "user", "content": "Hi", "name": "ann"}) != chat_message({"role": "user", "content": "Hi"})
    tool = {"role": "tool", "content": "4", "tool_call_id": "call_1"}
    assert chat_message(tool) == chat_message({**tool, "tool_call_id": "call_2"})


# Items of the responses format

MESSAGE = {
    "type": "message",
    "id": "msg_1",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "It is warm.", "annotations": [], "logprobs": []}],
}


@pytest.mark.parametrize(
    "sent_back",
    [
        {"role": "assistant", "content": "It is warm."},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It is warm."}]},
        {"type": None, "role": "assistant", "content": "It is warm.", "phase": "final_answer"},
    ],
)
def test_a_message_item_comes_back_in_many_forms(sent_back: dict[str, Any]) -> None:
    assert response_item(sent_back) == response_item(MESSAGE)


def test_a_message_is_the_same_in_both_formats() -> None:
    assert response_item(MESSAGE) == chat_message(ANSWER)


def test_a_call_is_the_same_in_both_formats() -> None:
    item = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "a",
        "arguments": '{"x":1}',
        "status": "completed",
    }
    assert response_item(item) == chat_message({"role": "assistant", "tool_calls": [call("a", '{"x": 1}')]})
    assert response_item({**item, "namespace": "crm"}) != response_item(item)
    result = {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "4"}]}
    assert response_item(result) == chat_message({"role": "tool", "content": "4", "tool_call_id": "call_1"})


ACTIONS: list[dict[str, Any]] = [
    {"type": "computer_call", "call_id": "1", "action": {"type": "click", "button": "left", "x": 1, "y": 2}},
    {"type": "computer_call", "call_id": "1", "action": {"type": "double_click", "x": 1, "y": 2}},
    {"type": "computer_call", "call_id": "1", "actions": [{"type": "wait"}]},
    {"type": "local_shell_call", "call_id": "1", "action": {"type": "exec", "command": ["ls"], "env": {}}},
    {"type": "shell_call", "call_id": "1", "action": {"commands": ["ls"]}},
    {"type": "shell_call", "call_id": "1", "action": {"commands": ["rm"]}},
    {"type": "apply_patch_call", "call_id": "1", "operation": {"type": "delete_file", "path": "a"}},
    {"type": "custom_tool_call", "call_id": "1", "name": "a", "input": "x"},
]


def test_calls_that_the_app_carries_out_are_told_apart_by_what_they_do() -> None:
    assert len({response_item(item) for item in ACTIONS}) == len(ACTIONS)
    for item in ACTIONS:
        assert response_item({**item, "id": "x", "status": "completed", "call_id": "2"}) == response_item(item)
        assert spoken_by_model(item)


def test_nulls_inside_an_action_do_not_count() -> None:
    item = {"type": "shell_call", "call_id": "1", "action": {"commands": ["ls"], "timeout_ms": None}}
    assert response_item(item) == response_item(ACTIONS[4])


@pytest.mark.parametrize(
    ("item", "same"),
    [
        (
            {"type": "computer_call_output", "call_id": "1", "output": {"type": "computer_screenshot", "image_url": "a"}},
            {
                "type": "computer_call_output",
                "call_id": "2",
                "output": {"type": "computer_screenshot", "image_url": "a", "file_id": None},
            },
        ),
        (
            {"type": "local_shell_call_output", "id": "1", "output": "a\n"},
            {"type": "local_shell_call_output", "id": "2", "output": "a"},
        ),
        (
            {"type": "apply_patch_call_output", "call_id": "1"},
            {"type": "apply_patch_call_output", "call_id": "1", "output": None},
        ),
        (
            {
                "type": "shell_call_output",
                "call_id": "1",
                "output": [{"stdout": "a", "stderr": "", "outcome": {"type": "timeout"}}],
            },
            {
                "type": "shell_call_output",
                "call_id": "1",
                "output": [{"stderr": "", "stdout": "a", "outcome": {"type": "timeout"}, "created_by": None}],
            },
        ),
    ],
)
def test_results_of_such_calls_are_the_tools(item: dict[str, Any], same: dict[str, Any]) -> None:
    assert response_item(item) == response_item(same)
    assert not spoken_by_model(item)


@pytest.mark.parametrize(
    "kind", ["reasoning", "web_search_call", "mcp_call", "mcp_list_tools", "compaction", "item_reference", "unheard_of", None]
)
def test_what_apps_may_leave_out_has_no_form(kind: str | None) -> None:
    assert response_item({"type": kind, "id": "1"}) is None


# Whatever was said


TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
CALLS = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.dictionaries(TEXT, JSON, max_size=3)), max_size=3)


@given(TEXT, CALLS, st.randoms(use_true_random=False))
def test_any_answer_comes_back_equal_after_a_typical_rebuild(text: str, calls: list[tuple[str, Any]], chance: Any) -> None:
    answered = {
        **ANSWER,
        "content": text or None,
        "tool_calls": [
            call(name, json.dumps(arguments, separators=(",", ":")), f"call_{index}")
            for index, (name, arguments) in enumerate(calls)
        ],
    }
    rebuilt = [call(name, json.dumps(arguments, indent=1, ensure_ascii=False)) for name, arguments in calls]
    chance.shuffle(rebuilt)
    sent = {"role": "assistant", "content": [{"type": "text", "text": text}] if text else "", "tool_calls": rebuilt}
    assert chat_message(sent) == chat_message(answered)


@given(TEXT, TEXT)
def test_different_texts_never_have_the_same_form(one: str, other: str) -> None:
    same = one.strip() == other.strip()
    assert (chat_message({"role": "user", "content": one}) == chat_message({"role": "user", "content": other})) is same
