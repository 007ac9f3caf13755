"""What leaves us, after the decision was attached to what the app sent."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import Refused
from router.stages.attach import Attached, attach
from routing_rules.budgets import CallLimits
from routing_rules.decisions import Obligation, ToolGrant
from routing_rules.task import Endpoint

CHAT = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
RESPONSES = {"model": "auto", "input": "hi"}
NOTHING = ToolGrant()
LIMITS = CallLimits()


def grant(*granted: tuple[str, str]) -> ToolGrant:
    return ToolGrant(granted=granted)


def chat_function(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def chat_custom(name: str) -> dict[str, Any]:
    return {"type": "custom", "custom": {"name": name}}


def flat(name: str, kind: str = "function") -> dict[str, Any]:
    return {"type": kind, "name": name}


def attached(endpoint: Endpoint, body: dict[str, Any], granted: ToolGrant = NOTHING, **settings: Any) -> Attached:
    given = {
        "limits": LIMITS,
        "output_tokens": 500,
        "model": "small-1",
        "obligations": frozenset(),
        "stream": False,
        **settings,
    }
    before = deepcopy(body)
    made = attach(endpoint, body, grant=granted, **given)
    assert body == before, "the checked body is never changed"
    return made


def chat(granted: ToolGrant = NOTHING, *, stream: bool = False, limits: CallLimits = LIMITS, **fields: Any) -> dict[str, Any]:
    return attached(Endpoint.CHAT, {**CHAT, **fields}, granted, stream=stream, limits=limits).body


def responses(granted: ToolGrant = NOTHING, *, limits: CallLimits = LIMITS, **fields: Any) -> dict[str, Any]:
    return attached(Endpoint.RESPONSES, {**RESPONSES, **fields}, granted, limits=limits).body


class TestEveryRequest:
    @pytest.mark.parametrize("endpoint", list(Endpoint))
    def test_the_model_is_the_deployments(self, endpoint: Endpoint) -> None:
        body = {"model": "auto", "input": "hi", "max_tokens": 8, "messages": []}
        assert attached(endpoint, body).body["model"] == "small-1"

    def test_embeddings_leave_with_nothing_else_changed(self) -> None:
        body = {"model": "e", "input": ["a"], "dimensions": 64}
        assert attached(Endpoint.EMBEDDINGS, body, obligations={Obligation.NO_STORE}).body == {**body, "model": "small-1"}

    @pytest.mark.parametrize(("asked", "sent"), [(None, 500), (100, 100), (900, 500)])
    def test_an_output_limit_is_always_sent_and_never_above_the_reservation(self, asked: int | None, sent: int) -> None:
        limit: dict[str, Any] = {} if asked is None else {"max_output_tokens": asked}
        assert responses(**limit)["max_output_tokens"] == sent
        for field in ("max_tokens", "max_completion_tokens"):
            given: dict[str, Any] = {} if asked is None else {field: asked}
            body = chat(**given)
            assert body["max_completion_tokens"] == sent
            assert "max_tokens" not in body

    def test_the_rules_effort_wins_over_the_apps(self) -> None:
        limits = CallLimits(reasoning_effort="low")
        assert chat(limits=limits, reasoning_effort="high")["reasoning_effort"] == "low"
        assert responses(limits=limits, reasoning={"effort": "high", "summary": "auto"})["reasoning"] == {
            "effort": "low",
            "summary": "auto",
        }

    def test_without_a_rule_the_apps_effort_stays(self) -> None:
        assert chat(reasoning_effort="high")["reasoning_effort"] == "high"
        assert responses(reasoning={"effort": "high"})["reasoning"] == {"effort": "high"}

    @pytest.mark.parametrize("endpoint", [Endpoint.CHAT, Endpoint.RESPONSES])
    def test_no_store_forbids_storing_whatever_the_app_asked(self, endpoint: Endpoint) -> None:
        body = {**(CHAT if endpoint is Endpoint.CHAT else RESPONSES), "store": True}
        assert attached(endpoint, body, obligations={Obligation.NO_STORE}).body["store"] is False
        assert attached(endpoint, body).body["store"] is True

    def test_who_the_end_user_is_and_metadata_pass(self) -> None:
        fields: dict[str, Any] = {"user": "u", "safety_identifier": "s", "metadata": {"k": "v"}, "temperature": 0.5, "n": 2}
        sent = chat(**fields)
        assert {key: sent[key] for key in fields} == fields


class TestUsageOfStreams:
    @pytest.mark.parametrize("asked", [None, {}, {"include_usage": False}, {"include_obfuscation": False}])
    def test_usage_is_always_asked_for_and_kept_from_an_app_that_did_not_ask(self, asked: dict[str, Any] | None) -> None:
        made = attached(Endpoint.CHAT, {**CHAT, "stream": True, "stream_options": asked}, stream=True)
        assert made.body["stream_options"] == {**(asked or {}), "include_usage": True}
        assert made.strip_usage

    def test_an_app_that_asked_gets_it(self) -> None:
        made = attached(Endpoint.CHAT, {**CHAT, "stream": True, "stream_options": {"include_usage": True}}, stream=True)
        assert not made.strip_usage

    def test_other_answers_have_it_anyway(self) -> None:
        assert "stream_options" not in chat()
        made = attached(Endpoint.RESPONSES, {**RESPONSES, "stream": True}, stream=True)
        assert "stream_options" not in made.body
        assert not made.strip_usage


class TestTools:
    def test_tools_are_cut_to_the_grant_by_kind_and_name(self) -> None:
        tools = [chat_function("search"), chat_function("wipe"), chat_custom("search"), chat_custom("sql")]
        assert chat(grant(("function", "search"), ("custom", "sql")), tools=tools)["tools"] == [tools[0], tools[3]]
        flat_tools = [flat("search"), flat("wipe"), flat("search", "custom"), flat("sql", "custom")]
        assert responses(grant(("function", "search"), ("custom", "sql")), tools=flat_tools)["tools"] == [
            flat_tools[0],
            flat_tools[3],
        ]

    def test_with_no_tool_left_nothing_speaks_of_tools_any_more(self) -> None:
        fields: dict[str, Any] = {"tools": [chat_function("wipe")], "tool_choice": "auto", "parallel_tool_calls": False}
        assert not chat(**fields).keys() & fields.keys()
        fields = {"tools": [flat("wipe")], "tool_choice": "none", "parallel_tool_calls": True}
        assert not responses(**fields).keys() & fields.keys()

    def test_hosted_tools_need_their_own_grant(self) -> None:
        tools = [{"type": "web_search", "search_context_size": "low"}, {"type": "file_search", "vector_store_ids": ["v"]}]
        assert responses(grant(("web_search", "web_search")), tools=tools)["tools"] == tools[:1]

    def test_each_mcp_server_needs_its_own_grant(self) -> None:
        tools = [
            {"type": "mcp", "server_label": "wiki", "server_url": "https://a"},
            {"type": "mcp", "server_label": "other", "server_url": "https://b"},
        ]
        assert responses(grant(("mcp", "wiki")), tools=tools)["tools"] == tools[:1]

    def test_a_namespace_is_cut_inside(self) -> None:
        crm = {"type": "namespace", "name": "crm", "description": "d", "tools": [flat("read"), flat("wipe")]}
        erp = {"type": "namespace", "name": "erp", "description": "d", "tools": [flat("read")]}
        assert responses(grant(("function", "crm.read")), tools=[crm, erp])["tools"] == [{**crm, "tools": [flat("read")]}]
        assert "tools" not in responses(grant(("function", "read")), tools=[crm, erp])

    def test_chat_web_search_is_a_tool_outside_tools(self) -> None:
        assert "web_search_options" not in chat(web_search_options={})
        assert "web_search_options" in chat(grant(("web_search", "web_search")), web_search_options={})

    def test_legacy_functions_are_cut_too(self) -> None:
        fields: dict[str, Any] = {"functions": [{"name": "search"}, {"name": "wipe"}], "function_call": "auto"}
        assert chat(grant(("function", "search")), **fields)["functions"] == [{"name": "search"}]
        assert not chat(**fields).keys() & fields.keys()
        with pytest.raises(Refused, match="function_call"):
            chat(grant(("function", "search")), **{**fields, "function_call": {"name": "wipe"}})


class TestToolChoice:
    def test_a_choice_that_is_granted_stays(self) -> None:
        both: dict[str, Any] = {"tools": [chat_function("search"), chat_function("wipe")]}
        named = {"type": "function", "function": {"name": "search"}}
        for choice in ("auto", "none", "required", named):
            assert chat(grant(("function", "search")), **both, tool_choice=choice)["tool_choice"] == choice

    @pytest.mark.parametrize(
        "choice",
        [
            flat("wipe"),
            flat("wipe", "custom"),
            {"type": "mcp", "server_label": "wiki"},
            {"type": "code_interpreter"},
            flat("search", "custom"),
        ],
        ids=str,
    )
    def test_a_choice_that_is_not_granted_is_refused_and_never_widened(self, choice: dict[str, Any]) -> None:
        with pytest.raises(Refused) as refusal:
            responses(grant(("function", "search")), tools=[flat("search"), flat("wipe")], tool_choice=choice)
        assert (refusal.value.code, refusal.value.param) == ("tool_not_entitled", "tool_choice")

    def test_required_with_no_tool_left_is_refused(self) -> None:
        with pytest.raises(Refused, match="tool_choice"):
            chat(tools=[chat_function("wipe")], tool_choice="required")

    def test_allowed_tools_are_cut_to_the_grant(self) -> None:
        tools = [chat_function("search"), chat_function("wipe")]
        choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": tools}}
        sent = chat(grant(("function", "search")), tools=tools, tool_choice=choice)["tool_choice"]
        assert sent == {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": tools[:1]}}
        flat_tools = [flat("search"), flat("wipe")]
        flat_choice = {"type": "allowed_tools", "mode": "required", "tools": flat_tools}
        sent = responses(grant(("function", "search")), tools=flat_tools, tool_choice=flat_choice)["tool_choice"]
        assert sent == {**flat_choice, "tools": flat_tools[:1]}

    def test_allowed_tools_of_which_none_is_left_allow_none(self) -> None:
        tools = [flat("search"), flat("wipe")]
        choice = {"type": "allowed_tools", "mode": "auto", "tools": [flat("wipe")]}
        assert responses(grant(("function", "search")), tools=tools, tool_choice=choice)["tool_choice"] == "none"
        with pytest.raises(Refused):
            responses(grant(("function", "search")), tools=tools, tool_choice={**choice, "mode": "required"})

    def test_a_hosted_tool_may_be_chosen_by_an_older_name(self) -> None:
        choice = {"type": "web_search_preview"}
        tools = [{"type": "web_search_preview_2025_03_11"}]
        granted = grant(("web_search_preview_2025_03_11", "web_search_preview_2025_03_11"))
        assert responses(granted, tools=tools, tool_choice=choice)["tool_choice"] == choice

    def test_a_tool_in_a_namespace_may_be_chosen_by_its_own_name(self) -> None:
        crm = {"type": "namespace", "name": "crm", "description": "d", "tools": [flat("read")]}
        assert responses(grant(("function", "crm.read")), tools=[crm], tool_choice=flat("read"))["tool_choice"] == flat("read")
        with pytest.raises(Refused):
            responses(grant(("function", "crm.read")), tools=[crm], tool_choice=flat("read", "custom"))


class TestInputItems:
    def test_tools_that_items_bring_along_are_cut(self) -> None:
        spoken = {"role": "user", "content": "hi"}
        items: list[dict[str, Any]] = [
            spoken,
            {"type": "additional_tools", "role": "developer", "tools": [flat("search"), flat("wipe")]},
            {"type": "tool_search_output", "call_id": "c", "tools": [flat("wipe")]},
            {"type": "mcp_list_tools", "server_label": "wiki", "tools": []},
            {"type": "mcp_list_tools", "server_label": "other", "tools": []},
        ]
        sent = responses(grant(("function", "search"), ("mcp", "wiki")), input=items)["input"]
        assert sent == [spoken, {**items[1], "tools": [flat("search")]}, items[3]]

    def test_an_app_cannot_approve_a_call_by_itself(self) -> None:
        item: dict[str, Any] = {"type": "mcp_approval_response", "approval_request_id": "m", "approve": True}
        with pytest.raises(Refused) as refusal:
            responses(grant(("mcp", "wiki")), input=[item])
        assert refusal.value.code == "tool_not_entitled"
        assert responses(input=[{**item, "approve": False}])["input"] == [{**item, "approve": False}]


NAMES = st.sampled_from(["a", "b", "c", "d"])
TOOLS = st.lists(st.one_of(NAMES.map(flat), NAMES.map(lambda name: flat(name, "custom")), st.just({"type": "shell"})), max_size=6)
KEYS = st.lists(st.tuples(st.sampled_from(["function", "custom"]), NAMES), max_size=5)


@given(tools=TOOLS, nested=st.lists(NAMES.map(flat), max_size=3), granted=KEYS)
def test_no_tool_leaves_us_that_was_not_granted(
    tools: list[dict[str, Any]], nested: list[dict[str, Any]], granted: list[tuple[str, str]]
) -> None:
    namespace = {"type": "namespace", "name": "ns", "description": "d", "tools": nested}
    sent = responses(grant(*granted), tools=[*tools, namespace], input=[{"type": "additional_tools", "tools": tools}])
    left = [*sent.get("tools", []), *[tool for item in sent["input"] for tool in item["tools"]]]
    assert all((tool["type"], tool["name"]) in granted for tool in left)
    assert [tool for tool in tools if (tool["type"], tool.get("name")) in granted] == sent.get("tools", [])
