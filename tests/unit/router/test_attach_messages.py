"""What leaves for the Messages API: limits, effort, tools and servers as they were granted; and how it is adapted to a deployment."""

from __future__ import annotations

from typing import Any

import pytest
from upstream_calls import deployment

from router.errors import Refused
from router.stages.attach import attach
from router.stages.messages_keys import MessagesGranted
from router.upstream.adapt import adapt
from router.upstream.adapt_messages import adapt_features
from routing_rules.budgets import CallLimits
from routing_rules.decisions import ServerGrant, ServerTool, ToolGrant
from routing_rules.server_lists import address_digest, list_digests
from routing_rules.task import Endpoint

HELLO: Any = {"role": "user", "content": "hi"}
NOTES: Any = {"type": "url", "name": "notes", "url": "https://mcp.example.org/notes", "authorization_token": "tok"}
LOOK_UP: Any = {"name": "look_up", "input_schema": {"type": "object"}}
WRITE: Any = {"name": "write", "input_schema": {"type": "object"}}


def attached(
    granted: tuple[tuple[str, str], ...] = (),
    servers: tuple[ServerGrant, ...] = (),
    limits: CallLimits | None = None,
    **fields: Any,
) -> dict[str, Any]:
    body = {"model": "auto", "max_tokens": 4_000, "messages": [HELLO], **fields}
    return attach(
        Endpoint.MESSAGES,
        body,
        grant=ToolGrant(granted=granted, servers=servers),
        limits=limits or CallLimits(),
        output_tokens=2_000,
        model="m",
        obligations=(),
        stream=False,
    ).body


def server(*tools: ServerTool, **more: Any) -> ServerGrant:
    return ServerGrant("notes", (("notes", "none"),), addresses=(address_digest(NOTES["url"]),), tools=tools, **more)


READS, ASKS = ServerTool("read", "d1", "notes", False), ServerTool("wipe", "d2", "notes", True)
MCP = (("mcp", "notes"),)


class TestLimits:
    def test_the_output_limit_is_the_lower_one(self) -> None:
        assert attached()["max_tokens"] == 2_000
        assert attached(max_tokens=7)["max_tokens"] == 7

    @pytest.mark.parametrize(("asked", "sent"), [(1_500, 1_500), (3_000, 1_999)])
    def test_a_thought_fits_into_the_output(self, asked: int, sent: int) -> None:
        thinking = {"type": "enabled", "budget_tokens": asked}
        assert attached(thinking=thinking)["thinking"] == {"type": "enabled", "budget_tokens": sent}

    def test_where_there_is_no_room_for_a_thought_there_is_none(self) -> None:
        assert attached(max_tokens=1_000, thinking={"type": "enabled", "budget_tokens": 1_024})["thinking"] == {
            "type": "disabled"
        }

    def test_the_rules_effort_wins_over_the_apps(self) -> None:
        given = {"effort": "max", "format": {"type": "json_schema", "schema": {}}}
        sent = attached(limits=CallLimits(reasoning_effort="minimal"), output_config=given)
        assert sent["output_config"] == {**given, "effort": "low"}

    def test_no_effort_at_all_is_no_thought(self) -> None:
        sent = attached(
            limits=CallLimits(reasoning_effort="none"), thinking={"type": "adaptive"}, output_config={"effort": "high"}
        )
        assert sent["thinking"] == {"type": "disabled"}
        assert "output_config" not in sent


class TestServers:
    def test_a_pinned_server_is_cut_to_what_need_not_be_asked_for(self) -> None:
        sent = attached(MCP, (server(READS, ASKS),), mcp_servers=[NOTES])
        assert sent["mcp_servers"] == [{**NOTES, "tool_configuration": {"allowed_tools": ["read"]}}]

    def test_the_app_may_narrow_it_further(self) -> None:
        asked = {**NOTES, "tool_configuration": {"allowed_tools": ["wipe"]}}
        assert attached(MCP, (server(READS, ASKS),), mcp_servers=[asked])["mcp_servers"][0]["tool_configuration"] == {
            "allowed_tools": []
        }

    def test_a_set_of_its_tools_is_cut_alike(self) -> None:
        toolset = {
            "type": "mcp_toolset",
            "mcp_server_name": "notes",
            "configs": {"wipe": {"enabled": True}, "read": {"defer_loading": True}},
        }
        sent = attached(MCP, (server(READS, ASKS),), mcp_servers=[NOTES], tools=[toolset])
        assert sent["mcp_servers"] == [NOTES]
        assert sent["tools"] == [
            {**toolset, "default_config": {"enabled": False}, "configs": {"read": {"defer_loading": True, "enabled": True}}}
        ]

    def test_what_the_app_switched_off_stays_off(self) -> None:
        toolset = {"type": "mcp_toolset", "mcp_server_name": "notes", "default_config": {"enabled": False}}
        sent = attached(MCP, (server(READS),), mcp_servers=[NOTES], tools=[toolset])
        assert sent["tools"][0]["configs"] == {"read": {"enabled": False}}

    def test_a_server_of_which_every_call_must_be_asked_for_does_not_leave(self) -> None:
        assert "mcp_servers" not in attached(MCP, (server(ASKS),), mcp_servers=[NOTES])
        assert "mcp_servers" not in attached(MCP, (server(whole=True, ask=True),), mcp_servers=[NOTES])

    def test_a_server_at_another_address_does_not_leave(self) -> None:
        toolset = {"type": "mcp_toolset", "mcp_server_name": "notes"}
        sent = attached(MCP, (server(READS),), mcp_servers=[{**NOTES, "url": "https://elsewhere.example.org"}], tools=[toolset])
        assert "mcp_servers" not in sent
        assert "tools" not in sent

    def test_credentials_go_to_registered_addresses_only(self) -> None:
        anywhere = ServerGrant("notes", (("notes", "none"),), whole=True, ask=False)
        assert "authorization_token" not in attached(MCP, (anywhere,), mcp_servers=[NOTES])["mcp_servers"][0]


class TestTools:
    def test_a_choice_of_a_withheld_tool_is_refused(self) -> None:
        with pytest.raises(Refused, match="tool_choice"):
            attached((("function", "write"),), tools=[LOOK_UP, WRITE], tool_choice={"type": "tool", "name": "look_up"})
        with pytest.raises(Refused, match="tool_choice"):
            attached(tools=[LOOK_UP], tool_choice={"type": "any"})

    def test_a_choice_without_any_tool_left_goes_with_them(self) -> None:
        sent = attached(tools=[LOOK_UP], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
        assert "tools" not in sent
        assert "tool_choice" not in sent

    def test_a_tool_that_only_code_may_call_goes_with_the_code(self) -> None:
        by_code = {**LOOK_UP, "allowed_callers": ["code_execution_20250825"]}
        by_both = {**WRITE, "allowed_callers": ["direct", "code_execution_20250825"]}
        sent = attached((("function", "look_up"), ("function", "write")), tools=[by_code, by_both])
        assert sent["tools"] == [{**WRITE, "allowed_callers": ["direct"]}]

    def test_tools_that_nothing_finds_any_more_are_offered_from_the_start(self) -> None:
        search = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
        later = {**LOOK_UP, "defer_loading": True}
        assert attached((("function", "look_up"),), tools=[search, later])["tools"] == [LOOK_UP]
        both = (("function", "look_up"), (search["type"], search["type"]))
        assert attached(both, tools=[search, later])["tools"] == [search, later]

    def test_a_message_is_left_out_where_nothing_of_it_may_leave(self) -> None:
        added = {"role": "system", "content": [{"type": "tool_addition", "tool": {"type": "tool_reference", "name": "write"}}]}
        assert attached(messages=[HELLO, added, HELLO])["messages"] == [HELLO, HELLO]

    def test_the_body_that_was_checked_is_not_changed(self) -> None:
        body: dict[str, Any] = {
            "mcp_servers": [dict(NOTES)],
            "tools": [dict(LOOK_UP)],
            "thinking": {"type": "enabled", "budget_tokens": 9_000},
        }
        attached(MCP, (server(READS),), **body)
        assert body == {"mcp_servers": [NOTES], "tools": [LOOK_UP], "thinking": {"type": "enabled", "budget_tokens": 9_000}}


SMALL: Any = {"model": "m", "max_tokens": 50, "messages": [HELLO]}


class TestDeployments:
    def sent(self, given: dict[str, Any], **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
        adapted = adapt(deployment(provider="anthropic_compatible", **fields), Endpoint.MESSAGES, {**SMALL, **given})
        return {name: value for name, value in adapted.body.items() if SMALL.get(name) != value}, adapted.dropped

    def test_a_model_that_reasons_takes_an_effort_and_no_sampling(self) -> None:
        given = {"temperature": 0.2, "top_p": 1, "output_config": {"effort": "high"}}
        assert self.sent(given, reasoning_model=True) == ({"output_config": {"effort": "high"}}, ("temperature",))

    def test_another_takes_sampling_and_no_effort(self) -> None:
        schema = {"format": {"type": "json_schema", "schema": {}}}
        given = {"temperature": 0.2, "output_config": {"effort": "high", **schema}}
        assert self.sent(given) == ({"temperature": 0.2, "output_config": schema}, ("output_config.effort",))
        assert self.sent({"output_config": {"effort": "low"}}, allowed_fields=frozenset({"output_config"})) == (
            {"output_config": {"effort": "low"}},
            (),
        )

    def test_caches_live_no_longer_than_the_price_is_for(self) -> None:
        hour, usual = {"type": "ephemeral", "ttl": "1h"}, {"type": "ephemeral"}
        text = {"type": "text", "text": "ttl", "cache_control": hour}
        call = {"type": "tool_use", "id": "t", "name": "n", "input": {"cache_control": hour}}
        given = {"system": [text], "messages": [{"role": "assistant", "content": [call, text]}], "cache_control": hour}
        sent, dropped = self.sent(given)
        assert sent["system"] == [{**text, "cache_control": usual}]
        assert sent["messages"][0]["content"] == [call, {**text, "cache_control": usual}]
        assert sent["cache_control"] == usual
        assert dropped == ("cache_control.ttl",)
        assert self.sent(given, allowed_fields=frozenset({"cache_control.ttl"})) == (given, ())

    def test_fixed_parameters_win_and_only_lower_the_output(self) -> None:
        sent, dropped = self.sent({"temperature": 0.2}, fixed_params={"temperature": 1, "max_tokens": 9, "model": "other"})
        assert (sent, dropped) == ({"temperature": 1, "max_tokens": 9}, ("temperature",))
        assert self.sent({}, fixed_params={"max_tokens": 500}) == ({}, ())

    def test_features_that_are_not_known_to_be_governed_are_left_out(self) -> None:
        headers = {
            "anthropic-beta": "pdfs-2024-09-25, context-1m-2025-08-07,,skills-2025-10-02",
            "anthropic-version": "2023-06-01",
        }
        assert adapt_features(headers) == (
            {"anthropic-version": "2023-06-01", "anthropic-beta": "pdfs-2024-09-25"},
            ("anthropic-beta:context-1m-2025-08-07", "anthropic-beta:skills-2025-10-02"),
        )


class TestLists:
    def test_a_list_that_is_not_the_pinned_one_ends_what_the_server_may_do(self) -> None:
        listed = [{"name": "read", "description": "reads", "input_schema": {}}]
        pinned = tuple(ServerTool(name, digest, "notes", False) for name, digest in list_digests(listed))
        use: Any = {"type": "mcp_tool_use", "id": "u", "name": "read", "server_name": "notes", "input": {}}

        def passed(tools: Any) -> list[bool]:
            granted = MessagesGranted(ToolGrant(granted=MCP, servers=(server(*pinned),)))
            listing = {"type": "mcp_tool_listing", "mcp_server_name": "notes", "tools": tools}
            return [granted.block(use), granted.block(listing), granted.block(use)]

        assert passed(listed) == [True, True, True]
        assert passed([{**listed[0], "description": "reads, and tells"}]) == [True, False, False]
        assert passed("all of them") == [True, False, False]
