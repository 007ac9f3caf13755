"""Adapt a request of the Messages API to the deployment that will get it: what it does not take, and what would cost more than its price."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from router.exchange import JsonObject
from routing_rules.catalogue import Deployment

BETA = "anthropic-beta"
_DAY = re.compile(r"-20[0-9]{2}-[0-9]{2}-[0-9]{2}\Z")

FEATURES = frozenset(
    {
        "advanced-tool-use",
        "code-execution",
        "computer-use",
        "context-management",
        "effort",
        "extended-cache-ttl",
        "files-api",
        "fine-grained-tool-streaming",
        "inline-tools",
        "interleaved-thinking",
        "mcp-client",
        "mid-conversation-system-clear-at",
        "mid-conversation-tool-changes",
        "model-context-window-exceeded",
        "output-128k",
        "output-300k",
        "pdfs",
        "prompt-caching",
        "structured-outputs",
        "task-budgets",
        "thinking-display-updates",
        "thinking-token-count",
        "token-efficient-tools",
        "tool-search-tool",
        "web-fetch",
    }
)
"""Features that an app may ask for, without the day of their version: they change nothing that is not governed by the fields of the
body. Any other is left out: it may bring other models, other prices, or state that the router cannot see."""

_SAMPLING: dict[str, tuple[Any, ...]] = {"temperature": (1,), "top_p": (1,), "top_k": ()}
"""What reasoning models refuse, with the values that ask for nothing."""

_DEARER = "cache_control.ttl"
"""How an entry of `allowed_fields` says that the price for cache writes is that of the longer time."""

_OURS = frozenset({"model", "stream", "messages", "system", "tools", "tool_choice", "mcp_servers", "max_tokens", "output_config"})


def adapt_messages(deployment: Deployment, body: JsonObject) -> tuple[JsonObject, tuple[str, ...]]:
    """The body for one deployment, and what of the app's it does not follow; the one that is given is not changed.

    `fixed_params` win over the app, but `max_tokens` only ever lowers, and they never touch what the rules decided.
    """
    sent = dict(body)
    dropped: list[str] = []
    taken = deployment.allowed_fields
    if deployment.reasoning_model:
        for field, neutral in _SAMPLING.items():
            if field in sent and field not in taken:
                value = sent.pop(field)
                if value is not None and value not in neutral:
                    dropped.append(field)
    elif (sent.get("output_config") or {}).get("effort") is not None and "output_config" not in taken:
        sent["output_config"] = {name: value for name, value in sent["output_config"].items() if name != "effort"}
        dropped.append("output_config.effort")
        if not sent["output_config"]:
            del sent["output_config"]
    if sent.get("speed") == "fast" and "speed" not in taken:
        del sent["speed"]
        dropped.append("speed")
    if _DEARER not in taken:
        before = len(dropped)
        for field in ("cache_control", "system", "tools", "messages"):
            held = sent.get(field)
            cheaper = _shorter(held, field)
            if cheaper is not held:
                sent[field] = cheaper
                if len(dropped) == before:
                    dropped.append(_DEARER)
    for field, value in deployment.fixed_params.items():
        if field == "max_tokens" and isinstance(value, int):
            sent[field] = min(sent[field], value)
        elif field not in _OURS:
            asked, sent[field] = sent.get(field), value
            if asked is not None and asked != value and field not in dropped:
                dropped.append(field)
    return sent, tuple(dropped)


def adapt_features(headers: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The headers with those features that may be asked for, and the names of the others."""
    asked = headers.get(BETA)
    if asked is None:
        return dict(headers), ()
    names = [name for each in asked.split(",") if (name := each.strip())]
    kept = [name for name in names if _DAY.sub("", name) in FEATURES]
    sent = {name: value for name, value in headers.items() if name != BETA}
    if kept:
        sent[BETA] = ",".join(kept)
    return sent, tuple(f"{BETA}:{name}" for name in names if name not in kept)


def _shorter(value: Any, name: str) -> Any:
    """The value with all cached prefixes kept for the usual time; the same object where they are. What calls and schemas hold is content."""
    kind = type(value)
    if kind is list:
        found = [_shorter(held, name) for held in value]
        return found if any(one is not other for one, other in zip(found, value, strict=True)) else value
    if kind is not dict:
        return value
    if name == "cache_control":
        return {field: held for field, held in value.items() if field != "ttl"} if value.get("ttl") == "1h" else value
    changed = {
        field: cut
        for field in ("cache_control", "content", "source", "definition", "tool")
        if field in value and (cut := _shorter(value[field], field)) is not value[field]
    }
    return {**value, **changed} if changed else value
