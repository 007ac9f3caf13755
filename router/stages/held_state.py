"""State at a provider that a request names: files, stores of vectors, containers. An app may name what was issued to it or is registered (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

import msgspec

from router.errors import Refused
from router.exchange import JsonObject
from routing_rules.catalogue import App
from routing_rules.task import Task

ANY = "*"
"""Registered for an app whose account at the provider is its own: it may name everything there."""

_WORDS = (b"file_id", b"vector_store", b"container", b"skill_id", b"\\u")  # a key may be written with escapes
_NAMES = frozenset({"file_id", "file_ids", "vector_store_ids", "container", "container_id", "skill_id"})
_OWN = frozenset({"metadata", "parameters", "input_schema", "schema", "arguments"})
"""Fields of the app's own making, in which a provider looks nothing up."""

_TELLS = frozenset({"file_citation", "container_file_citation", "file_path", "file_search_call", "tool_use", "server_tool_use"})
"""Types that tell what was found or done before, and fetch nothing."""


def named_state(raw: bytes, body: JsonObject) -> dict[str, str]:
    """The ids that a body names, and where it first does. Most bodies are not looked through, since no word of it is in them."""
    if not any(word in raw for word in _WORDS):
        return {}
    found: dict[str, str] = {}
    for held, path in _named(body):
        found.setdefault(held, path)
    return found


def with_state(task: Task, named: Mapping[str, str]) -> Task:
    """The task as one that refers to what it names: what was issued with an answer leads to the session of that answer."""
    return msgspec.structs.replace(task, issued_ids=(*task.issued_ids, *named)) if named else task


def check_state(named: Mapping[str, str], never_issued: Set[str], app: App | None) -> None:
    """Raise Refused `not_permitted_by_rule` where an app names what it was neither issued nor is registered for it."""
    registered = app.provider_state if app is not None else ()
    if ANY in registered:
        return
    for held, path in named.items():
        if held in never_issued and held not in registered:
            raise Refused(
                "not_permitted_by_rule",
                f"`{path}` names state at the provider that this app was not given in the last day; "
                "its owner can register it at `provider_state` of the app in apps.yaml, or send the content itself",
                param=path,
            )


def _named(body: Any) -> Iterator[tuple[str, str]]:
    waiting: list[tuple[Any, str]] = [(body, "")]
    while waiting:
        value, path = waiting.pop()
        if type(value) is list:
            waiting += [(inner, f"{path}[{place}]") for place, inner in enumerate(value) if type(inner) in (dict, list)]
            continue
        kind = value.get("type")
        if type(kind) is str and kind in _TELLS:
            continue
        for name, inner in value.items():
            where = f"{path}.{name}" if path else name
            if name in _NAMES:
                for one in inner if type(inner) is list else (inner,):
                    if type(one) is str and one:
                        yield one, where
            if type(inner) in (dict, list) and name not in _OWN:
                waiting.append((inner, where))
