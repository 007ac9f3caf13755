"""Whatever tools a request of the Messages API asks for, in whatever place, the provider is told of none that is not granted."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from router.api.wire import parse
from router.errors import Refused
from router.stages.attach import attach
from router.stages.read_task import NO_HEADERS, read_task
from router.upstream.adapt import adapt
from routing_rules.budgets import CallLimits
from routing_rules.catalogue import Deployment
from routing_rules.decisions import ServerGrant, ServerTool, ToolGrant
from routing_rules.entitlements import grant_key
from routing_rules.server_lists import address_digest
from routing_rules.task import Endpoint
from routing_rules.vocabulary import Sensitivity

DEPLOYMENT = Deployment("d", "anthropic_compatible", "m", "fast", Sensitivity.INTERNAL)
SCHEMA = {"type": "object"}
OWN = {
    "bash": "bash_20250124",
    "memory": "memory_20250818",
    "web_search": "web_search_20260318",
    "web_fetch": "web_fetch_20250910",
    "code_execution": "code_execution_20250825",
    "computer_toolset": "computer_toolset_20260801",
    "tool_search_tool_regex": "tool_search_tool_regex_20251119",
}
NAMES = [f"tool_{letter}" for letter in "abcdefgh"]
SERVERS = ["srv_one", "srv_two", "srv_three"]
ADDRESS = "https://mcp.example.org/"

names = st.sampled_from(NAMES)
servers = st.sampled_from(SERVERS)
callers = st.none() | st.lists(st.sampled_from(["direct", "code_execution_20250825"]), min_size=1, max_size=2, unique=True)


def client(name: str, allowed: list[str] | None) -> dict[str, Any]:
    return {"name": name, "description": f"does what {name} does", "input_schema": SCHEMA} | (
        {} if allowed is None else {"allowed_callers": allowed}
    )


def own(family: str, sources: list[str]) -> dict[str, Any]:
    tool: dict[str, Any] = {"type": OWN[family]}
    if not family.endswith("toolset"):
        tool["name"] = family
    if family == "web_fetch" and sources:
        tool["url_sources"] = {
            "client_tool_results": {"type": "only", "tools": [{"type": "tool_reference", "name": n} for n in sources]}
        }
    return tool


CLIENT = st.builds(client, names, callers)
TOOLS = st.one_of(
    CLIENT,
    st.builds(own, st.sampled_from(sorted(OWN)), st.lists(names, max_size=2, unique=True)),
)
LISTED = st.lists(st.builds(lambda name: {"name": name, "input_schema": SCHEMA}, names), max_size=2)
REFERENCES = st.builds(lambda name: {"type": "tool_reference", "tool_name": name}, names)
BLOCKS = st.one_of(
    st.builds(lambda tool: {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool}}, TOOLS),
    st.builds(lambda name: {"type": "tool_addition", "tool": {"type": "tool_reference", "name": name}}, names),
    st.builds(lambda name: {"type": "tool_removal", "tool": {"type": "tool_reference", "name": name}}, names),
    st.builds(
        lambda name, server: {
            "type": "tool_addition",
            "tool": {"type": "mcp_tool_reference", "name": name, "server_name": server},
        },
        names,
        servers,
    ),
    st.builds(
        lambda server: {"type": "tool_addition", "tool": {"type": "mcp_toolset_reference", "server_name": server}}, servers
    ),
    st.builds(lambda server, tools: {"type": "mcp_tool_listing", "mcp_server_name": server, "tools": tools}, servers, LISTED),
    st.builds(lambda refs: {"type": "tool_result", "tool_use_id": "t", "content": refs}, st.lists(REFERENCES, max_size=3)),
    st.builds(
        lambda refs: {
            "type": "tool_search_tool_result",
            "tool_use_id": "s",
            "content": {"type": "tool_search_tool_search_result", "tool_references": refs},
        },
        st.lists(REFERENCES, max_size=3),
    ),
)
EDITS = st.builds(
    lambda excluded, cleared: {"type": "clear_tool_uses_20250919", "exclude_tools": excluded, "clear_tool_inputs": cleared},
    st.lists(names, max_size=3),
    st.lists(names, max_size=2) | st.booleans(),
)
CONFIGURED = st.none() | st.builds(lambda allowed: {"allowed_tools": allowed}, st.lists(names, max_size=3))
SWITCHES = st.dictionaries(names, st.builds(lambda on: {"enabled": on}, st.booleans()), max_size=3)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    tools = draw(st.lists(TOOLS, max_size=5))
    asked = draw(st.lists(servers, max_size=3, unique=True))
    given_servers = []
    for name in asked:
        address = ADDRESS + draw(st.sampled_from(["right", "wrong"]))
        server: dict[str, Any] = {"type": "url", "name": name, "url": address, "authorization_token": "tok"}
        configuration = draw(CONFIGURED)
        if configuration is not None:
            server["tool_configuration"] = configuration
        given_servers.append(server)
        if draw(st.booleans()):
            toolset: dict[str, Any] = {"type": "mcp_toolset", "mcp_server_name": name, "configs": draw(SWITCHES)}
            if draw(st.booleans()):
                toolset["default_config"] = {"enabled": draw(st.booleans())}
            if draw(st.booleans()):
                toolset["tools"] = draw(LISTED)
            tools.append(toolset)
    body: dict[str, Any] = {
        "model": "auto",
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": draw(st.lists(BLOCKS, max_size=4))}],
        "tools": tools,
        "mcp_servers": given_servers,
        "context_management": {"edits": draw(st.lists(EDITS, max_size=1))},
    }
    kind = draw(st.sampled_from(["auto", "any", "none", "tool"]))
    if kind == "tool":
        body["tool_choice"] = {"type": "tool", "name": draw(names | st.sampled_from(sorted(OWN)))}
    elif draw(st.booleans()):
        body["tool_choice"] = {"type": kind}
    return body


GRANTED = st.sets(st.sampled_from([*NAMES, *OWN.values(), *SERVERS]))


@settings(max_examples=300)
@given(requests(), GRANTED, st.dictionaries(servers, st.lists(names, max_size=3, unique=True), max_size=3))
def test_no_name_that_is_not_granted_stands_anywhere_in_what_leaves(
    body: dict[str, Any], wanted: set[str], pinned: dict[str, list[str]]
) -> None:
    try:
        checked = parse(Endpoint.MESSAGES, msgspec.json.encode(body))
    except Refused:
        return
    task = read_task(Endpoint.MESSAGES, checked, NO_HEADERS, {}, Sensitivity.RESTRICTED)
    keys = tuple(key for ask in task.tools if (key := grant_key(ask))[1] in wanted)
    grant = ToolGrant(
        granted=keys,
        servers=tuple(
            ServerGrant(
                label,
                ((label, "none"),),
                addresses=(address_digest(f"{ADDRESS}right"),),
                tools=tuple(ServerTool(name, "d", label, False) for name in tools),
            )
            for label, tools in pinned.items()
        ),
    )
    try:
        sent = attach(
            Endpoint.MESSAGES,
            checked,
            grant=grant,
            limits=CallLimits(),
            output_tokens=5,
            model="m",
            obligations=(),
            stream=False,
        ).body
    except Refused:
        return
    text = msgspec.json.encode(adapt(DEPLOYMENT, Endpoint.MESSAGES, sent).body).decode()
    granted_names = {name for kind, name in keys if kind == "function"}
    of_servers = {name for label, tools in pinned.items() if ("mcp", label) in keys for name in tools}
    whole = {label for kind, label in keys if kind == "mcp" and label not in pinned}
    for name in NAMES:
        # Of a server that is granted as a whole, the app may name any tool.
        assert name in granted_names | of_servers or whole or f'"{name}"' not in text, (name, text)
    for kind in OWN.values():
        assert (kind, kind) in keys or f'"type":"{kind}"' not in text, (kind, text)
    for label in SERVERS:
        assert ("mcp", label) in keys or f'"{label}"' not in text, (label, text)
        if label in pinned:
            assert f'"name":"{label}","url":"{ADDRESS}wrong"' not in text
    assert sent["max_tokens"] == 5
    if "tool_choice" in sent:
        assert sent["tool_choice"] == body["tool_choice"]
    if ("code_execution_20250825", "code_execution_20250825") not in keys:
        assert "code_execution_20250825" not in text


@given(requests())
def test_a_grant_of_everything_changes_nothing_but_the_limit_and_the_model(body: dict[str, Any]) -> None:
    try:
        checked = parse(Endpoint.MESSAGES, msgspec.json.encode(body))
    except Refused:
        return
    task = read_task(Endpoint.MESSAGES, checked, NO_HEADERS, {}, Sensitivity.RESTRICTED)
    grant = ToolGrant(
        granted=(
            *map(grant_key, task.tools),
            *(("function", name) for name in NAMES),
            *((kind, kind) for kind in OWN.values()),
            *(("mcp", label) for label in SERVERS),
        )
    )
    sent = attach(
        Endpoint.MESSAGES, checked, grant=grant, limits=CallLimits(), output_tokens=99, model="m", obligations=(), stream=False
    ).body
    expected = {**body, "model": "m"}
    for field in ("tools", "mcp_servers"):
        if not expected[field]:
            del expected[field]
    if "tools" not in expected and "mcp_servers" not in expected and "tool_choice" not in sent:
        expected.pop("tool_choice", None)
    assert sent == expected
