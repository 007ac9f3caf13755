"""How a tool that nobody registered becomes one that somebody answers for: seen or imported, suggested, confirmed or rejected."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Protocol

import msgspec

from router.governance import rules as governance
from router.principals import Person, Role
from routing_rules.catalogue import Tool
from routing_rules.edit import add_tools, add_tools_to_set, set_pins
from routing_rules.load import SERVER_ADDRESS, UNPINNED, load
from routing_rules.provenance import ACTS
from routing_rules.rules import RuleSet
from routing_rules.server_lists import tool_digest
from routing_rules.suggest import Suggestion, suggest
from routing_rules.task import ToolAsk
from routing_rules.vocabulary import Capability

MOST_IMPORTED = 2_000
REGISTERING = (Role.EDITOR, Role.TOOL_OWNER)
GRAVE = ACTS - {Capability.EGRESS, Capability.WRITES_STATE}
"""Acts for which an owner is suggested to have each call approved."""

_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9_.-]+")
_ARGUMENT = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
LONGEST_NAME = 128


class Status(StrEnum):
    """How far a registration got."""

    PENDING = "pending"
    CHANGED = "changed"  # pending, and until it is decided its MCP server is unknown
    CONFIRMED = "confirmed"
    REJECTED = "rejected"


class Registration(msgspec.Struct, frozen=True):
    """A tool that nobody had registered when it was asked for, or that was imported, with the class that is suggested for it.

    `kind` is `function`, `custom`, `mcp` or a hosted type; `server` the label of the MCP server that has it (a registration of the server
    itself has that label as its name, too), `address` where that is, if an owner said so. `digest` is of the definition; nothing else
    of it is kept. `revision` is the one that brought the tool into the rules.
    """

    id: str
    kind: str
    name: str
    suggestion: Suggestion
    first_seen: datetime
    last_seen: datetime
    server: str = ""
    address: str = ""
    digest: str = ""
    apps: tuple[str, ...] = ()
    status: Status = Status.PENDING
    decided_by: str | None = None
    decided: datetime | None = None
    revision: str | None = None


class Seen(msgspec.Struct, frozen=True):
    """A tool as somebody asked for it or as it was imported: its name, whose it is, and its definition."""

    kind: str
    name: str
    definition: Mapping[str, Any]
    server: str = ""
    address: str = ""
    app: str = ""
    changed: bool = False  # a provider says so of an MCP server that was pinned


class Registrations(Protocol):
    """Registrations, kept for ever. Each call is one transaction; SQL down: the driver's error, and nothing has changed."""

    def note(self, found: Sequence[Registration], reopen: bool = False) -> None: ...
    def all(self) -> list[Registration]: ...
    def decide(self, ids: Sequence[str], status: Status, *, actor: str, at: datetime, revision: str | None) -> None: ...


class NoSuchTool(Exception):
    """No pending registration has this name; the sentence says what to do."""


class NotATool(ValueError):
    """What was to be imported is no list of tools; the sentence says where."""


def registration_of(seen: Seen, at: datetime) -> Registration:
    """The registration with the class that name, description, schema and a server's own hints suggest."""
    held = seen.definition.get("function") or seen.definition.get("custom") or seen.definition
    definition: Mapping[str, Any] = held if isinstance(held, Mapping) else {}
    name = seen.name[:LONGEST_NAME]
    if seen.kind == "mcp" and seen.name == seen.server:
        # A whole server: nobody has looked at what it offers.
        return _made(seen, name, Suggestion(UNPINNED, because=("the tools of this server are not known",)), "", at)
    schema = next((definition[key] for key in ("parameters", "input_schema", "inputSchema") if definition.get(key)), None)
    description = definition.get("description")
    suggestion = suggest(
        name,
        description if isinstance(description, str) else "",
        schema if isinstance(schema, Mapping) else None,
        definition.get("annotations"),
    )
    # An argument's name is the app's own text: what does not look like a name is not kept.
    named = tuple(each for each in suggestion.destination_arguments if _ARGUMENT.fullmatch(each))
    return _made(
        seen,
        name,
        msgspec.structs.replace(suggestion, destination_arguments=named),
        tool_digest({**definition, "name": seen.name}),
        at,
    )


def _made(seen: Seen, name: str, suggestion: Suggestion, digest: str, at: datetime) -> Registration:
    key = "\0".join((seen.kind, seen.server, seen.name))
    return Registration(
        id=f"tool_{sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}",
        kind=seen.kind[:64],
        name=name,
        suggestion=suggestion,
        first_seen=at,
        last_seen=at,
        server=seen.server[:LONGEST_NAME],
        address=seen.address,
        digest=digest,
        apps=(seen.app,) if seen.app else (),
        status=Status.CHANGED if seen.changed else Status.PENDING,
    )


def listed(document: Any, server: str = "", address: str = "") -> list[Seen]:
    """The tools of an OpenAI `tools` array, or of the result of MCP's `tools/list`, also inside its JSON-RPC answer.

    Raises NotATool.
    """
    while isinstance(document, Mapping):
        inner = next((document[key] for key in ("result", "tools") if key in document), None)
        if inner is None:
            raise NotATool("expected a list of tools, or an object with `tools`")
        document = inner
    if not isinstance(document, list) or len(document) > MOST_IMPORTED:
        raise NotATool(f"expected a list of at most {MOST_IMPORTED} tools")
    return [_listed(tool, f"tools[{place}]", server, address) for place, tool in enumerate(document)]


def _listed(tool: Any, place: str, server: str, address: str) -> Seen:
    if not isinstance(tool, Mapping):
        raise NotATool(f"`{place}` is no object")
    kind = "mcp" if server else tool.get("type", "function")
    if kind not in ("function", "custom", "mcp"):
        return Seen(str(kind), str(kind), {})
    held = tool.get(kind) if isinstance(tool.get(kind), Mapping) else tool
    name = held.get("name") if isinstance(held, Mapping) else None
    if not isinstance(name, str) or not name:
        raise NotATool(f"`{place}` has no name")
    return Seen(kind, name, tool, server, address)


class Imported(msgspec.Struct, frozen=True):
    """What an import found: names that are new or changed (and so pending), known as they are, and gone from the server."""

    pending: tuple[str, ...]
    known: tuple[str, ...]
    gone: tuple[str, ...] = ()


def import_tools(registrations: Registrations, rules: RuleSet, found: Sequence[Seen], *, at: datetime) -> Imported:
    """Register everything in a list that the rules do not know as it is. What was rejected or has changed is pending again."""
    new = [each for each in found if not _known(rules, each)]
    registrations.note([registration_of(each, at) for each in new], reopen=True)
    servers = {each.server for each in found if each.server}
    names = {(each.server, each.name) for each in found}
    gone = [
        name
        for tool in rules.tools.values()
        for label in tool.servers
        if label in servers
        for name, _ in tool.pinned
        if (label, name) not in names
    ]
    pending = {id(each) for each in new}
    return Imported(
        tuple(each.name for each in new), tuple(each.name for each in found if id(each) not in pending), tuple(sorted(set(gone)))
    )


def _known(rules: RuleSet, seen: Seen) -> bool:
    """Whether the rules hold this very tool. One of an MCP server whose definition has changed is unknown again."""
    if seen.kind != "mcp":
        return rules.tool_index.find(ToolAsk(seen.name, seen.kind, "")) is not None
    pair = (seen.name, tool_digest({**seen.definition, "name": seen.name}))
    return any(seen.server in tool.servers and pair in tool.pinned for tool in rules.tools.values())


def pending(registrations: Registrations) -> list[Registration]:
    """What waits for an owner, the latest asked for first."""
    return [each for each in registrations.all() if each.status in (Status.PENDING, Status.CHANGED)]


def named(found: Iterable[Registration], names: Sequence[str]) -> list[Registration]:
    """Those with these names, ids, or `server.name`s. Raises NoSuchTool for a name that none has."""
    chosen: dict[str, Registration] = {}
    registrations = list(found)
    for name in names:
        matching = [each for each in registrations if name in (each.id, each.name, f"{each.server}.{each.name}")]
        if not matching:
            raise NoSuchTool(f"no tool `{name[:LONGEST_NAME]}` is pending: `router tools pending` lists what is")
        chosen |= {each.id: each for each in matching}
    return list(chosen.values())


class Confirmation(msgspec.Struct, frozen=True):
    """What the owner says: who answers, and what differs from the suggestion. `sets` are to hold the tools; `address` is where their MCP
    server is, `internal` whether it is ours."""

    owner: str
    sets: tuple[str, ...] = ()
    capabilities: frozenset[Capability] | None = None
    approval: str | None = None
    address: str = ""
    internal: bool = False


def confirm(
    rules_store: governance.RuleStore,
    registrations: Registrations,
    names: Sequence[str],
    said: Confirmation,
    *,
    by: governance.Actor,
    governance_mode: str,
    at: datetime,
    people: Sequence[Person] = (),
) -> tuple[governance.StoredRevision, bool, list[Tool]]:
    """Bring pending tools into the rules: (the revision, whether it is in force, the entries). `people` are those who are here, of whom
    a set may name one to approve it.

    Raises NoSuchTool, RuleFaults, and NotAllowed as any change of the rules.
    """
    chosen = named(pending(registrations), names)
    files: Mapping[str, str] = governance.in_force(rules_store).files
    rules = load(files)
    taken = set(rules.tools)
    tools: list[Tool] = []
    for each in chosen:
        pinned = next((tool for tool in rules.tools.values() if _pins(tool, each)), None)
        if pinned is not None:
            # A changed tool keeps its entry, and with that its sets. What it is pinned with is what was looked at now.
            renewed = msgspec.structs.replace(
                entry_of(each, said, set()),
                id=pinned.id,
                pinned=tuple(sorted({**dict(pinned.pinned), each.name: each.digest}.items())),
            )
            files = set_pins(files, pinned.id, renewed.pinned, renewed.capabilities | pinned.capabilities)
            tools.append(renewed)
            continue
        tool = entry_of(each, said, taken)
        taken.add(tool.id)
        tools.append(tool)
        files = add_tools(files, [tool])
    for entitlement_set in said.sets:
        files = add_tools_to_set(files, entitlement_set, [tool.id for tool in tools])
    note = f"register {', '.join(tool.id for tool in tools)}"
    revision, active = governance.change(
        rules_store, files, by=by, note=note, governance=governance_mode, at=at, people=people, roles=REGISTERING
    )
    registrations.decide([each.id for each in chosen], Status.CONFIRMED, actor=by.name, at=at, revision=revision.revision)
    return revision, active, tools


def reject(registrations: Registrations, names: Sequence[str], *, actor: str, at: datetime) -> list[Registration]:
    """Say that these stay out; they are not asked about again. Raises NoSuchTool."""
    chosen = named(pending(registrations), names)
    registrations.decide([each.id for each in chosen], Status.REJECTED, actor=actor, at=at, revision=None)
    return chosen


def entry_of(registration: Registration, said: Confirmation, taken: Iterable[str]) -> Tool:
    """The catalogue entry that a confirmation makes. Where nobody says otherwise, grave acts are approved one by one."""
    capabilities = registration.suggestion.capabilities if said.capabilities is None else said.capabilities
    approval = said.approval or ("every_call" if capabilities & GRAVE else "none")
    suggested = registration.suggestion.tool(registration.name, said.owner)
    tool = msgspec.structs.replace(
        suggested, id=_id_of(registration, set(taken)), capabilities=capabilities, approval_boundary=approval
    )
    if registration.kind in ("function", "custom"):
        return tool
    if registration.kind != "mcp":
        return msgspec.structs.replace(tool, functions=(), hosted=(registration.kind,))
    address = said.address or registration.address
    server = registration.server or registration.name
    pinned = ((registration.name, registration.digest),) if registration.digest else ()
    return msgspec.structs.replace(
        tool,
        functions=(),
        servers=(server,),
        server_urls=(address,) if address else (),
        pinned=pinned,
        internal=said.internal,
    )


def is_address(text: str) -> bool:
    """Whether tools.yaml would take this for the address of an MCP server."""
    return SERVER_ADDRESS.fullmatch(text) is not None


def _pins(tool: Tool, registration: Registration) -> bool:
    return registration.server in tool.servers and any(name == registration.name for name, _ in tool.pinned)


def _id_of(registration: Registration, taken: set[str]) -> str:
    """An id made of the name that is not taken."""
    server = registration.server if registration.server != registration.name else ""
    name = _NOT_IN_AN_ID.sub("-", f"{server}.{registration.name}" if server else registration.name).strip("-.")[:56] or "tool"
    if not name[0].isalnum():
        name = f"t{name}"
    return next(each for each in (name, *(f"{name}-{number}" for number in range(2, 10_000))) if each not in taken)
