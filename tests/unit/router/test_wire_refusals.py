"""What a body may not be: each fault has its code, the path of the field and a sentence that says what to do."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.api.wire import FIELDS, MAX_MESSAGES, RESPONSES_TOOLS, parse
from router.errors import Refused
from router.exchange import JsonObject
from routing_rules.task import Endpoint

HELLO = [{"role": "user", "content": "Hello"}]
FUNCTION = {"type": "function", "function": {"name": "look_up"}}
FLAT = {"type": "function", "name": "look_up", "parameters": {}, "strict": True}


def chat(**fields: Any) -> bytes:
    return msgspec.json.encode({"model": "auto", "messages": HELLO, **fields})


def said(*messages: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"model": "auto", "messages": list(messages)})


def responses(**fields: Any) -> bytes:
    return msgspec.json.encode({"model": "auto", "input": "Hello", **fields})


def embeddings(given: Any) -> bytes:
    return msgspec.json.encode({"model": "text-embedding-3-small", "input": given})


def nested(depth: int) -> bytes:
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    return b'{"model":"auto","messages":[],"metadata":' + deep + b"}"


def refusal(endpoint: Endpoint, raw: bytes, allowed: frozenset[str] = frozenset()) -> Refused:
    with pytest.raises(Refused) as caught:
        parse(endpoint, raw, allowed)
    return caught.value


NOT_JSON = "the body is not valid JSON; send one JSON object, with no NaN or Infinity in it"
DEEP = "the body is nested too deeply; send at most 128 levels"

CHAT: list[tuple[str, bytes, str | None, str]] = [
    ("nothing", b"", None, NOT_JSON),
    ("not JSON", b"hello", None, NOT_JSON),
    ("two bodies", chat() + chat(), None, NOT_JSON),
    ("NaN", b'{"model":"auto","messages":[],"temperature":NaN}', None, NOT_JSON),
    ("Infinity", b'{"model":"auto","messages":[],"temperature":-Infinity}', None, NOT_JSON),
    ("half a surrogate pair", b'{"model":"\\ud800"}', None, NOT_JSON),
    (
        "a number without bounds",
        b'{"seed":1e999}',
        None,
        "the body holds a number that is out of range; send numbers that fit 64 bits",
    ),
    ("invalid UTF-8", b'{"model":"\xff"}', None, "the body is not valid UTF-8; encode it as UTF-8"),
    ("an array", b"[]", None, "the body must be a JSON object, not an array"),
    ("null", b"null", None, "the body must be a JSON object, not null"),
    ("deep", nested(200), None, DEEP),
    ("very deep", nested(100_000), None, DEEP),
    ("very deep arrays", b"[" * 1_000_000, None, DEEP),
    (
        "too much of anything",
        chat(metadata=[0] * 100_001),
        None,
        "the body holds more than 100000 fields and entries; send less at once",
    ),
    ("no model", b'{"messages":[{"role":"user","content":"Hello"}]}', "model", "`model` is required"),
    ("model is null", chat(model=None), "model", "`model` must be a string, not null"),
    (
        "model with a line break",
        chat(model="gpt\n4"),
        "model",
        "`model` must match [A-Za-z0-9_.:/@+-]{1,128}",
    ),
    ("no messages", b'{"model":"auto"}', "messages", "`messages` is required"),
    ("empty messages", chat(messages=[]), "messages", "`messages` must not be empty"),
    ("messages is a string", chat(messages="Hello"), "messages", "`messages` must be an array, not a string"),
    (
        "10,000 messages",
        chat(messages=HELLO * 10_000),
        "messages",
        f"`messages` must hold at most {MAX_MESSAGES} entries",
    ),
    ("a message is a string", said("Hello"), "messages[0]", "`messages[0]` must be an object, not a string"),  # type: ignore[arg-type]
    ("no role", said({"content": "Hello"}), "messages[0].role", "`messages[0].role` is required"),
    (
        "unknown role",
        said(*HELLO, {"role": "wizard", "content": "Hello"}),
        "messages[1].role",
        "`messages[1].role` must be one of: assistant, developer, function, system, tool, user",
    ),
    (
        "role is a number",
        said({"role": 3, "content": "Hello"}),
        "messages[0].role",
        "`messages[0].role` must be a string, not an integer",
    ),
    (
        "content is a number",
        said({"role": "user", "content": 3}),
        "messages[0].content",
        "`messages[0].content` must be a string or an array, not an integer",
    ),
    (
        "unknown part",
        said({"role": "user", "content": [{"type": "smell"}]}),
        "messages[0].content[0].type",
        "`messages[0].content[0].type` must be one of: file, image_url, input_audio, text",
    ),
    (
        "part of another role",
        said({"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://example.org"}}]}),
        "messages[0].content[0].type",
        "`messages[0].content[0].type` must be one of: text",
    ),
    (
        "a part without a type",
        said({"role": "tool", "tool_call_id": "call_1", "content": [{"text": "4"}]}),
        "messages[0].content[0].type",
        "`messages[0].content[0].type` is required",
    ),
    (
        "unknown detail",
        said({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "", "detail": "much"}}]}),
        "messages[0].content[0].image_url.detail",
        "`messages[0].content[0].image_url.detail` must be one of: auto, high, low, original",
    ),
    (
        "tool result without its call",
        said({"role": "tool", "content": "4"}),
        "messages[0].tool_call_id",
        "`messages[0].tool_call_id` is required",
    ),
    ("negative max_tokens", chat(max_tokens=-1), "max_tokens", "`max_tokens` must be at least 1"),
    ("max_tokens of 65 bits", chat(max_tokens=2**64), "max_tokens", "`max_tokens` must be at most 2147483647"),
    ("max_tokens with a fraction", chat(max_tokens=1.5), "max_tokens", "`max_tokens` must be an integer, not a number"),
    (
        "two limits",
        chat(max_tokens=5, max_completion_tokens=6),
        "max_tokens",
        "`max_tokens` and `max_completion_tokens` contradict each other; send one of them",
    ),
    ("seed of 65 bits", chat(seed=2**63), "seed", "`seed` must be at most 9223372036854775807"),
    ("n of 0", chat(n=0), "n", "`n` must be at least 1"),
    ("n of 129", chat(n=129), "n", "`n` must be at most 128"),
    ("hot", chat(temperature=2.1), "temperature", "`temperature` must be at most 2"),
    ("temperature is true", chat(temperature=True), "temperature", "`temperature` must be a number, not true or false"),
    ("top_p", chat(top_p=1.01), "top_p", "`top_p` must be at most 1"),
    ("stream is a word", chat(stream="yes"), "stream", "`stream` must be true or false, not a string"),
    ("five stops", chat(stop=["a", "b", "c", "d", "e"]), "stop", "`stop` must hold at most 4 entries"),
    (
        "17 pairs",
        chat(metadata={str(index): "" for index in range(17)}),
        "metadata",
        "`metadata` must hold at most 16 entries",
    ),
    ("a long name", chat(metadata={"a" * 65: ""}), "metadata", "a name in `metadata` must hold at most 64 characters"),
    ("a long value", chat(metadata={"a": "b" * 513}), "metadata", "a value in `metadata` must hold at most 512 characters"),
    ("a number in metadata", chat(metadata={"a": 1}), "metadata", "a value in `metadata` must be a string, not an integer"),
    (
        "unknown effort",
        chat(reasoning_effort="huge"),
        "reasoning_effort",
        "`reasoning_effort` must be one of: high, low, max, medium, minimal, none, xhigh",
    ),
    (
        "stream options without a stream",
        chat(stream_options={"include_usage": True}),
        "stream_options",
        "`stream_options` needs `stream: true`; set it, or leave `stream_options` out",
    ),
    (
        "a tool's name",
        chat(tools=[{"type": "function", "function": {"name": "look up"}}]),
        "tools[0].function.name",
        "`tools[0].function.name` must match [A-Za-z0-9_-]{1,64}",
    ),
    (
        "a tool's type",
        chat(tools=[{"function": {"name": "look_up"}}]),
        "tools[0].type",
        "`tools[0].type` is required: a word such as custom, function",
    ),
    ("a tool is a string", chat(tools=["look_up"]), "tools[0]", "`tools[0]` must be an object, not a string"),
    (
        "choice without tools",
        chat(tool_choice="required"),
        "tool_choice",
        "`tool_choice` needs `tools`; add them, or leave `tool_choice` out",
    ),
    (
        "choice without tools, empty",
        chat(tool_choice="auto", tools=[]),
        "tool_choice",
        "`tool_choice` needs `tools`; add them, or leave `tool_choice` out",
    ),
    (
        "choice of a tool that is not there",
        chat(tools=[FUNCTION], tool_choice={"type": "function", "function": {"name": "delete"}}),
        "tool_choice",
        "`tool_choice` names a tool that is not in `tools`; add it there",
    ),
    (
        "allowed tool that is not there",
        chat(
            tools=[FUNCTION],
            tool_choice={
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "custom", "custom": {"name": "look_up"}}]},
            },
        ),
        "tool_choice",
        "`tool_choice` names a tool that is not in `tools`; add it there",
    ),
    (
        "two contradictory choices",
        chat(tools=[FUNCTION], tool_choice="none", function_call={"name": "look_up"}),
        "function_call",
        "`function_call` and `tool_choice` contradict each other; send `tool_choice` only",
    ),
    (
        "old and new tools",
        chat(tools=[FUNCTION], functions=[{"name": "look_up"}]),
        "functions",
        "`functions` and `tools` contradict each other; move the functions into `tools`",
    ),
    (
        "function_call without functions",
        chat(function_call="auto"),
        "function_call",
        "`function_call` needs `functions`; add them, or leave `function_call` out",
    ),
    (
        "function_call of another function",
        chat(functions=[{"name": "look_up"}], function_call={"name": "delete"}),
        "function_call.name",
        "`function_call` names a function that is not in `functions`; add it there",
    ),
    (
        "a schema without a name",
        chat(response_format={"type": "json_schema", "json_schema": {"schema": {}}}),
        "response_format.json_schema.name",
        "`response_format.json_schema.name` is required",
    ),
    (
        "unknown response format",
        chat(response_format={"type": "yaml"}),
        "response_format.type",
        "`response_format.type` must be one of: json_object, json_schema, text",
    ),
]


@pytest.mark.parametrize(("raw", "param", "message"), [case[1:] for case in CHAT], ids=[case[0] for case in CHAT])
def test_a_bad_chat_request_is_refused_with_the_field_and_the_remedy(raw: bytes, param: str | None, message: str) -> None:
    refused = refusal(Endpoint.CHAT, raw)
    assert (refused.code, refused.param, refused.message) == ("invalid_request", param, message)


RESPONSES: list[tuple[str, bytes, str, str]] = [
    ("no input", b'{"model":"auto"}', "input", "`input` is required and must not be empty; send a string or a list of items"),
    (
        "empty input",
        responses(input=[]),
        "input",
        "`input` is required and must not be empty; send a string or a list of items",
    ),
    ("an item is a string", responses(input=["Hello"]), "input[0]", "`input[0]` must be an object, not a string"),
    (
        "unknown role",
        responses(input=[{"role": "tool", "content": "4"}]),
        "input[0].role",
        "`input[0].role` must be one of: assistant, developer, system, user",
    ),
    ("no content", responses(input=[{"role": "user"}]), "input[0].content", "`input[0].content` is required"),
    (
        "a result without its call",
        responses(input=[{"type": "function_call_output", "output": "4"}]),
        "input[0].call_id",
        "`input[0].call_id` is required",
    ),
    (
        "unknown action",
        responses(input=[{"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "guess"}}]),
        "input[0].action.type",
        "`input[0].action.type` must be one of: find_in_page, open_page, search",
    ),
    (
        "reference to an item",
        responses(input=[{"type": "item_reference", "id": "msg_1"}]),
        "input[0]",
        "`input[0]` refers to an item that the router cannot see; send the item itself",
    ),
    (
        "reference to an item without a type",
        responses(input=[{"id": "msg_1"}]),
        "input[0]",
        "`input[0]` refers to an item that the router cannot see; send the item itself",
    ),
    (
        "conversation",
        responses(conversation="conv_1"),
        "conversation",
        "`conversation` is not accepted here: the provider would add history that the router cannot see; send it in `input`",
    ),
    (
        "stored prompt",
        responses(prompt={"id": "pmpt_1"}),
        "prompt",
        "`prompt` is not accepted here: a template at the provider that the router cannot see; send its text in `instructions`",
    ),
    (
        "background",
        responses(background=True, store=False),
        "background",
        "`background` needs the provider to keep the answer; leave `store: false` out",
    ),
    (
        "a tool inside a namespace",
        responses(tools=[{"type": "namespace", "name": "crm", "description": "", "tools": [{"type": "mcp"}]}]),
        "tools[0].tools[0].type",
        "`tools[0].tools[0].type` must be one of: custom, function",
    ),
    (
        "a tool added in the input",
        responses(input=[{"type": "additional_tools", "role": "developer", "tools": [{"type": "function"}]}]),
        "input[0].tools[0].name",
        "`input[0].tools[0].name` is required",
    ),
    (
        "choice of a hosted tool that is not there",
        responses(tools=[FLAT], tool_choice={"type": "file_search"}),
        "tool_choice",
        "`tool_choice` names a tool that is not in `tools`; add it there",
    ),
    (
        "required choice without tools",
        responses(tool_choice="required"),
        "tool_choice",
        "`tool_choice` needs `tools`; add them, or leave `tool_choice` out",
    ),
    (
        "stream options without a stream",
        responses(stream_options={"include_obfuscation": False}),
        "stream_options",
        "`stream_options` needs `stream: true`; set it, or leave `stream_options` out",
    ),
    ("negative limit", responses(max_output_tokens=-5), "max_output_tokens", "`max_output_tokens` must be at least 1"),
]


@pytest.mark.parametrize(("raw", "param", "message"), [case[1:] for case in RESPONSES], ids=[case[0] for case in RESPONSES])
def test_a_bad_responses_request_is_refused_with_the_field_and_the_remedy(raw: bytes, param: str, message: str) -> None:
    refused = refusal(Endpoint.RESPONSES, raw)
    assert (refused.code, refused.param, refused.message) == ("invalid_request", param, message)


EMBEDDINGS: list[tuple[str, bytes, str]] = [
    ("nothing", embeddings(""), "`input` must not be empty; send a text"),
    ("no texts", embeddings([]), "`input` must not be empty"),
    ("an empty text", embeddings(["a", ""]), "`input` must not hold an empty text; leave it out"),
    ("no tokens", embeddings([[]]), "`input` must not hold an empty text; leave it out"),
    (
        "a mixture",
        embeddings(["a", 1]),
        "`input` must hold either texts, or token numbers, or lists of token numbers, not a mixture",
    ),
    ("too many", embeddings(["a"] * 2_049), "`input` holds more than 2048 texts; send several requests"),
]


@pytest.mark.parametrize(("raw", "message"), [case[1:] for case in EMBEDDINGS], ids=[case[0] for case in EMBEDDINGS])
def test_bad_texts_to_embed_are_refused_with_the_remedy(raw: bytes, message: str) -> None:
    refused = refusal(Endpoint.EMBEDDINGS, raw)
    assert (refused.code, refused.param, refused.message) == ("invalid_request", "input", message)


UNKNOWN: list[tuple[str, Endpoint, bytes, str | None, str]] = [
    (
        "misspelt",
        Endpoint.CHAT,
        chat(temprature=1),
        "temprature",
        "Unknown parameter: 'temprature'; did you mean 'temperature'?",
    ),
    ("of another provider", Endpoint.CHAT, chat(top_k=5), "top_k", "Unknown parameter: 'top_k'; did you mean 'top_p'?"),
    ("like nothing", Endpoint.CHAT, chat(zzz=1), "zzz", "Unknown parameter: 'zzz'; leave it out"),
    (
        "in a message",
        Endpoint.CHAT,
        said({"role": "user", "content": "Hello", "nmae": "a"}),
        "messages[0].nmae",
        "Unknown parameter: 'messages[0].nmae'; did you mean 'name'?",
    ),
    (
        "in a part",
        Endpoint.CHAT,
        said({"role": "user", "content": [{"type": "text", "text": "Hello", "cache_control": {}}]}),
        "messages[0].content[0].cache_control",
        "Unknown parameter: 'messages[0].content[0].cache_control'; leave it out",
    ),
    (
        "in a tool",
        Endpoint.RESPONSES,
        responses(tools=[{**FLAT, "paramters": {}}]),
        "tools[0].paramters",
        "Unknown parameter: 'tools[0].paramters'; did you mean 'parameters'?",
    ),
    (
        "of the other format",
        Endpoint.RESPONSES,
        responses(max_completion_tokens=5),
        "max_completion_tokens",
        "Unknown parameter: 'max_completion_tokens'; did you mean 'max_output_tokens'?",
    ),
    (
        "with a name that is content",
        Endpoint.CHAT,
        chat(**{"my secret is 12345": 1}),
        None,
        "Unknown parameter at the top; its name cannot be shown; leave it out",
    ),
    (
        "with such a name in a message",
        Endpoint.CHAT,
        said({"role": "user", "content": "Hello", "my secret": "a"}),
        "messages[0]",
        "Unknown parameter in `messages[0]`; its name cannot be shown; leave it out",
    ),
]


@pytest.mark.parametrize(
    ("endpoint", "raw", "param", "message"), [case[1:] for case in UNKNOWN], ids=[case[0] for case in UNKNOWN]
)
def test_an_unknown_field_is_named_with_the_nearest_known_one(
    endpoint: Endpoint, raw: bytes, param: str | None, message: str
) -> None:
    refused = refusal(endpoint, raw)
    assert (refused.code, refused.param, refused.message) == ("unknown_parameter", param, message)


def test_a_field_that_some_deployment_takes_is_accepted() -> None:
    assert parse(Endpoint.CHAT, chat(top_k=5), frozenset({"top_k"}))["top_k"] == 5


def test_a_field_inside_a_message_that_some_deployment_takes_is_accepted_there_only() -> None:
    raw = said({"role": "assistant", "content": "4", "reasoning_content": "2 + 2"})
    allowed = frozenset({"messages[].reasoning_content"})
    assert parse(Endpoint.CHAT, raw, allowed)["messages"][0]["reasoning_content"] == "2 + 2"
    assert refusal(Endpoint.CHAT, raw).param == "messages[0].reasoning_content"
    elsewhere = chat(reasoning_content="2 + 2")
    assert refusal(Endpoint.CHAT, elsewhere, allowed).param == "reasoning_content"


def test_a_field_in_a_place_that_is_not_read_apart_is_never_allowed() -> None:
    raw = chat(tools=[{**FUNCTION, "cache_control": {}}])
    assert refusal(Endpoint.CHAT, raw, frozenset({"tools[].cache_control"})).param == "tools[0].cache_control"


def test_another_fault_beside_an_allowed_field_is_still_found() -> None:
    raw = said({"role": "assistant", "content": 4, "reasoning_content": "2 + 2"})
    assert refusal(Endpoint.CHAT, raw, frozenset({"messages[].reasoning_content"})).param == "messages[0].content"


def test_an_unknown_type_of_item_is_answered_with_all_types() -> None:
    refused = refusal(Endpoint.RESPONSES, responses(input=[{"type": "telepathy"}]))
    assert refused.param == "input[0].type"
    assert "function_call_output" in refused.message


@pytest.mark.parametrize("kind", sorted(RESPONSES_TOOLS.keys() - {"function", "custom"} | {"web_search_2027_01_01", "browser"}))
def test_a_tool_type_that_chat_does_not_know_is_left_to_the_entitlements(kind: str) -> None:
    assert parse(Endpoint.CHAT, chat(tools=[{"type": kind, "anything": [1]}]))["tools"][0]["type"] == kind


def test_a_tool_may_be_chosen_by_another_variant_of_its_hosted_type_and_inside_its_namespace() -> None:
    namespace = {"type": "namespace", "name": "crm", "description": "Customers", "tools": [FLAT]}
    tools = [{"type": "web_search_preview_2025_03_11"}, {"type": "mcp", "server_label": "wiki"}, namespace]
    for choice in (
        {"type": "web_search_preview"},
        {"type": "mcp", "server_label": "wiki"},
        {"type": "function", "name": "look_up"},
        {"type": "function", "name": "crm.look_up"},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp", "server_label": "wiki"}]},
    ):
        assert parse(Endpoint.RESPONSES, responses(tools=tools, tool_choice=choice))["tool_choice"] == choice


def test_tools_that_the_input_adds_may_be_chosen() -> None:
    added = {"type": "additional_tools", "role": "developer", "tools": [FLAT]}
    body = responses(input=[*HELLO, added], tool_choice="required")
    assert parse(Endpoint.RESPONSES, body)["tool_choice"] == "required"


def test_the_last_of_two_equal_names_counts_as_it_is_what_goes_on() -> None:
    raw = b'{"model":"auto","model":"gpt-4o","messages":[{"role":"user","content":"Hello"}]}'
    assert parse(Endpoint.CHAT, raw)["model"] == "gpt-4o"


def test_many_token_numbers_are_not_too_much_to_embed() -> None:
    assert parse(Endpoint.EMBEDDINGS, embeddings([1] * 200_000))


def test_no_more_token_numbers_than_any_model_embeds_at_once() -> None:
    assert refusal(Endpoint.EMBEDDINGS, embeddings([1] * 500_001)).message.startswith("the body holds more than 500000")


def test_brackets_in_texts_do_not_count_as_depth() -> None:
    assert parse(Endpoint.CHAT, chat(messages=[{"role": "user", "content": "[{" * 5_000}]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELD = st.sampled_from(sorted(FIELDS[Endpoint.CHAT].keys() | FIELDS[Endpoint.RESPONSES].keys()))


def outcome(endpoint: Endpoint, raw: bytes, allowed: frozenset[str] = frozenset()) -> JsonObject | Refused:
    try:
        return parse(endpoint, raw, allowed)
    except Refused as refused:
        return refused


@given(st.sampled_from(list(Endpoint)), st.binary(max_size=200))
def test_no_bytes_whatever_lead_to_anything_but_a_refusal(endpoint: Endpoint, raw: bytes) -> None:
    assert isinstance(outcome(endpoint, raw), Refused)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(list(Endpoint)), st.dictionaries(FIELD, JSON, max_size=3))
def test_any_json_is_either_refused_or_comes_back_as_it_is(endpoint: Endpoint, fields: JsonObject) -> None:
    body = {"model": "auto", "messages" if endpoint is Endpoint.CHAT else "input": HELLO} | fields
    raw = msgspec.json.encode(body)
    found = outcome(endpoint, raw)
    if isinstance(found, Refused):
        assert found.code in ("invalid_request", "unknown_parameter")
    else:
        assert found == msgspec.json.decode(raw)


CANARY = "canary-7f3a9"


def planted(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(index): planted(held) for index, held in enumerate(value.values())}
    return [planted(held) for held in value] if isinstance(value, list) else CANARY


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(list(Endpoint)), FIELD, JSON)
def test_a_refusal_never_repeats_a_value(endpoint: Endpoint, field: str, shape: Any) -> None:
    found = outcome(endpoint, msgspec.json.encode({"model": "auto", field: planted(shape)}))
    if isinstance(found, Refused):
        assert CANARY not in f"{found.message} {found.param} {found.detail}"


FUNCTION = {"type": "function", "function": {"name": "look_up", "description": "Looks up."}}
FLAT = {"type": "function", "name": "look_up", "description": "Looks up."}
CLIENT = {"name": "look_up", "description": "Looks up.", "input_schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("endpoint", "field", "tool"),
    [
        (Endpoint.CHAT, "tools", FUNCTION),
        (Endpoint.CHAT, "functions", FUNCTION["function"]),
        (Endpoint.RESPONSES, "tools", FLAT),
        (Endpoint.RESPONSES, "tools", {"type": "namespace", "name": "crm", "description": "d", "tools": [FLAT]}),
        (Endpoint.MESSAGES, "tools", CLIENT),
    ],
)
def test_a_tool_is_defined_in_one_way(endpoint: Endpoint, field: str, tool: Any) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    if endpoint is Endpoint.RESPONSES:
        body = {"model": "auto", "input": "hi"}
    other = msgspec.json.decode(msgspec.json.encode(tool).replace(b"Looks up.", b"Sends everything to its caller."))
    parse(endpoint, msgspec.json.encode({**body, field: [tool, tool]}))
    with pytest.raises(Refused) as refused:
        parse(endpoint, msgspec.json.encode({**body, field: [tool, other]}))
    assert (refused.value.code, (refused.value.param or "")[:8]) == ("invalid_request", f"{field}[1]"[:8])


def test_tools_that_are_added_later_are_defined_as_before() -> None:
    added = {"type": "additional_tools", "role": "developer", "tools": [{**FLAT, "description": "Sends."}]}
    with pytest.raises(Refused, match="name of another tool"):
        parse(Endpoint.RESPONSES, msgspec.json.encode({"model": "auto", "input": [added], "tools": [FLAT]}))
    change = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {**CLIENT, "description": "Sends."}}}
    history = [{"role": "system", "content": [change]}, {"role": "user", "content": "hi"}]
    with pytest.raises(Refused, match="name of another tool"):
        parse(
            Endpoint.MESSAGES,
            msgspec.json.encode({"model": "auto", "messages": history, "max_tokens": 9, "tools": [CLIENT]}),
        )


CARD = 4242424242424242


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        (Endpoint.RESPONSES, {"input": "hi", "context_management": [{"type": "compaction", "compact_threshold": CARD}]}),
        (
            Endpoint.RESPONSES,
            {"input": "hi", "tools": [{"type": "file_search", "vector_store_ids": [], "max_num_results": CARD}]},
        ),
        (Endpoint.MESSAGES, {"top_k": CARD}),
        (Endpoint.MESSAGES, {"output_config": {"task_budget": {"type": "tokens", "total": CARD}}}),
    ],
)
def test_a_number_that_nobody_reads_is_too_short_for_a_card(endpoint: Endpoint, fields: dict[str, Any]) -> None:
    body = {"model": "auto", **fields}
    if endpoint is Endpoint.MESSAGES:
        body |= {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    with pytest.raises(Refused, match="must be at most"):
        parse(endpoint, msgspec.json.encode(body))
