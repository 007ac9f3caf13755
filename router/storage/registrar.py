"""Notes the tools that apps ask for and nobody has registered: beside the line, without a word of SQL on it."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from router import telemetry
from router.exchange import JsonObject
from router.governance.tools import Registrations, Seen, registration_of
from routing_rules.decisions import Withheld
from routing_rules.entitlements import grant_key
from routing_rules.server_lists import tool_digest
from routing_rules.task import ToolAsk

MOST_REMEMBERED = 4096
MOST_OF_AN_APP = 256
"""Apps choose the names of tools: one that makes up ever new ones must not keep those of others from being noted."""

MOST_WAITING = 512
AGAIN_SECONDS = 3600.0
"""A tool that is asked for again and again is noted once in so long."""

UNTOLD = timedelta(seconds=60)
"""How long a server that was found changed counts as such though the store does not say so."""

NOTED = frozenset({"unregistered", "list_changed"})

_STEP = re.compile(r"([a-z_]+)|\[(\d+)\]")


class Registrar:
    """What a worker has seen and not yet written down. Noting costs a look into a dictionary; writing happens in a thread.

    SQL down: what waits is written later, and what does not fit is noted when it is next asked for.
    """

    def __init__(self, registrations: Registrations, clock: Callable[[], datetime]) -> None:
        self._registrations = registrations
        self._clock = clock
        self._seen: dict[tuple[str, str, str], float] = {}
        self._by_app = Counter[str]()
        self._waiting: list[tuple[Seen, datetime]] = []
        self._changed: frozenset[str] = frozenset()
        self._told: dict[str, datetime] = {}  # labels of changed servers that the store has not told of yet

    def note(self, app: str, asks: Sequence[ToolAsk], body: JsonObject, withheld: Sequence[Withheld]) -> None:
        """Remember the withheld tools that nobody has registered. The body is read here, and nothing of it is kept but their definitions,
        until they are written down."""
        unknown = {(each.kind, each.name): each.reason for each in withheld if each.reason in NOTED}
        if not unknown:
            return
        now = self._clock()
        for ask in asks:
            key = grant_key(ask)
            if key not in unknown or len(self._waiting) >= MOST_WAITING:
                continue
            if unknown[key] == "list_changed" and ask.listed is None:
                continue  # the server itself is known; which of its tools are not, its list says
            seen = (app, *key)
            known = self._seen.get(seen)
            if known is None and self._by_app[app] >= MOST_OF_AN_APP:
                continue
            if known is not None and now.timestamp() - known < AGAIN_SECONDS:
                continue
            if len(self._seen) >= MOST_REMEMBERED:
                self._seen.clear()
                self._by_app.clear()
            self._by_app[app] += known is None
            self._seen[seen] = now.timestamp()
            self._waiting.extend((each, now) for each in _seen(app, ask, _at(body, ask.path)))

    def note_changed(self, app: str, label: str, tools: Sequence[Any]) -> None:
        """Remember what an MCP server told its provider that it offers, which is not what was pinned: the server is unknown from now on,
        here at once, and everywhere once it is written down."""
        now = self._clock()
        self._changed |= {label}
        self._told[label] = now
        for tool in tools:
            if isinstance(tool, Mapping) and isinstance(tool.get("name"), str) and len(self._waiting) < MOST_WAITING:
                seen = (label, "changed", tool_digest(tool))
                if now.timestamp() - self._seen.get(seen, 0.0) >= AGAIN_SECONDS:
                    self._seen[seen] = now.timestamp()
                    self._waiting.append((Seen("mcp", tool["name"], tool, label, app=app, changed=True), now))

    def changed_servers(self) -> frozenset[str]:
        """The labels of servers that were found changed and that nobody has looked at since."""
        return self._changed

    def looked_at(self, changed: frozenset[str]) -> None:
        """What the store says of that: the labels of servers that nobody has looked at. What waits to be written counts, too, and what was
        found a moment ago: the store may have been asked before it was written down."""
        oldest = self._clock() - UNTOLD
        self._told = {label: at for label, at in self._told.items() if label not in changed and at > oldest}
        self._changed = changed | {seen.server for seen, _ in self._waiting if seen.changed} | self._told.keys()

    async def write(self) -> bool:
        """Write down what waits. Whether there was a changed server among it, which the other workers have to know of."""
        if not self._waiting:
            return False
        waiting, self._waiting = self._waiting, []
        try:
            await asyncio.to_thread(self._write, waiting)
        except SQLAlchemyError as error:
            self._waiting = (waiting + self._waiting)[:MOST_WAITING]
            telemetry.logger().warning("tools_not_registered", error=type(error).__name__)
            return False
        return any(seen.changed for seen, _ in waiting)

    def _write(self, waiting: Sequence[tuple[Seen, datetime]]) -> None:
        self._registrations.note([registration_of(seen, at) for seen, at in waiting])


def _seen(app: str, ask: ToolAsk, definition: Any) -> list[Seen]:
    """What an ask says of a tool, or of the tools of an MCP server whose list came with it."""
    held: Mapping[str, Any] = definition if isinstance(definition, Mapping) else {}
    if ask.kind != "mcp":
        return [Seen(ask.kind, ask.name, held, app=app)]
    label = ask.server if ask.server is not None else ask.name
    tools = held.get("tools") if ask.listed is not None else None
    named = [tool for tool in tools or () if isinstance(tool, Mapping) and isinstance(tool.get("name"), str)]
    return [Seen("mcp", tool["name"], tool, label, app=app) for tool in named] or [Seen("mcp", label, {}, label, app=app)]


def _at(body: Any, path: str) -> Any:
    """What stands at a path such as `input[2].tools[0]`; None where nothing does."""
    for name, place in _STEP.findall(path):
        if name and isinstance(body, Mapping):
            body = body.get(name)
        elif place and isinstance(body, list) and int(place) < len(body):
            body = body[int(place)]
        else:
            return None
    return body
