"""What an MCP server says of itself, as digests: where it is, and what each of its tools is, so that a change shows (pure)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from typing import Any

import msgspec

DIGEST_LENGTH = 32
"""Hexadecimal digits of a digest."""

Digests = tuple[tuple[str, str], ...]
"""Names of tools, each with its digest."""

CONNECTOR = "connector:"
TUNNEL = "tunnel:"

_encoder = msgspec.json.Encoder(order="deterministic")
_SCHEMAS = ("input_schema", "inputSchema", "parameters")


def address_digest(address: str) -> str:
    """The digest of an address. Addresses are the same where they are written the same, but for a slash at the end."""
    return _digest(address.rstrip("/").encode("utf-8", "surrogatepass"))


def address_of(tool: Mapping[str, Any]) -> str | None:
    """Where the server of an `mcp` tool is, as tools.yaml writes it; None where the tool does not say. One that is said to be in
    several places has an address that nobody can register."""
    given = [
        prefix + value
        for field, prefix in (("server_url", ""), ("connector_id", CONNECTOR), ("tunnel_id", TUNNEL))
        if isinstance(value := tool.get(field), str)
    ]
    return " ".join(given) or None


def brings_credentials(tool: Mapping[str, Any]) -> bool:
    """Whether an `mcp` tool brings credentials for its server, also inside the address."""
    return bool(tool.get("authorization") or tool.get("headers")) or any(sign in str(tool.get("server_url")) for sign in "@?#")


def tool_digest(tool: Mapping[str, Any]) -> str:
    """The digest of what a tool is: its name, its description, its schema and what the server says of its effects, in the words of
    MCP's `tools/list` or of an `mcp_list_tools` item."""
    schema: Any = next((tool[name] for name in _SCHEMAS if tool.get(name)), {})
    annotations = tool.get("annotations")
    told = {name: value for name, value in annotations.items() if value is not None} if isinstance(annotations, Mapping) else {}
    return _digest(_encoder.encode([tool.get("name"), tool.get("description") or "", schema, told]))


def list_digests(tools: Iterable[Any]) -> Digests:
    """The names and digests of a server's tools, in order. A list in which something is no tool is like no other."""
    found: list[tuple[str, str]] = []
    for tool in tools:
        name = tool.get("name") if isinstance(tool, Mapping) else None
        if not isinstance(name, str):
            return (("", ""),)
        found.append((name, tool_digest(tool)))
    return tuple(sorted(found))


def has_changed(listed: Digests, pinned: Collection[tuple[str, str]]) -> bool:
    """Whether a list shows anything that was not pinned like this. A part of what was pinned is no change: lists come cut."""
    return any(each not in pinned for each in listed)


def _digest(raw: bytes) -> str:
    return sha256(raw).hexdigest()[:DIGEST_LENGTH]
