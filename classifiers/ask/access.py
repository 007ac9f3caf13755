"""How far the tools that a task asks for reach: by their registered capabilities, else by what their names suggest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from routing_rules.task import Provenance, Task, ToolAsk
from routing_rules.vocabulary import Access, Capability

_CONTROL = frozenset(
    {
        Capability.EXECUTES_CODE,
        Capability.DESTRUCTIVE,
        Capability.ADMIN_PRIVILEGE,
        Capability.COMPUTER_CONTROL,
        Capability.DELEGATES_MODEL,
        Capability.LOADS_TOOLS,
    }
)
_READ = frozenset({Capability.PURE, Capability.READS_PRIVATE, Capability.READS_RESTRICTED, Capability.READS_UNTRUSTED})

_HOSTED = (
    ("file_search", Access.READ),
    ("web_search*", Access.ACT),  # the query leaves the house
    ("image_generation", Access.ACT),
    ("mcp", Access.ACT),
    ("code_interpreter", Access.CONTROL),
    ("*shell", Access.CONTROL),
    ("apply_patch", Access.CONTROL),
    ("computer*", Access.CONTROL),
)

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_CONTROL_WORDS = frozenset(
    "delete remove drop purge destroy wipe erase truncate terminate kill execute exec run eval shell bash terminal command script"
    " python deploy install uninstall grant revoke permission permissions role admin sudo password credentials firewall restart"
    " shutdown reboot click type keyboard mouse screenshot browser computer delegate agent subagent spawn plugin".split()
)
_ACT_WORDS = frozenset(
    "send post publish create update write edit add set put insert append move rename upload submit share invite book pay transfer"
    " buy order purchase refund schedule cancel reschedule assign close open merge push commit approve reply forward notify call"
    " email message remember save store escalate handoff sync import subscribe enable disable change modify patch".split()
)
_READ_WORDS = frozenset(
    "get list search read find fetch lookup query show describe view check count calculate compute convert retrieve browse summarize"
    " status info details history current validate compare translate parse format weather time date".split()
)
_DESCRIPTION_WORDS = 12  # what a tool does stands in the first words of its description


def access(task: Task, capabilities: Sequence[frozenset[Capability] | None]) -> Access:
    """The widest access of the tools asked for. `capabilities` are those of `task.tools`, in order; None: unregistered."""
    widest = Access.NONE
    for tool, known in zip(task.tools, capabilities, strict=True):
        widest = max(widest, _suggested(tool, task) if known is None else _registered(known))
    return widest


def _registered(capabilities: frozenset[Capability]) -> Access:
    if capabilities & _CONTROL:
        return Access.CONTROL
    return Access.READ if capabilities <= _READ else Access.ACT


def _suggested(tool: ToolAsk, task: Task) -> Access:
    """What an unregistered tool probably does; one that says nothing is taken to act."""
    if tool.kind not in ("function", "custom"):
        return next((level for pattern, level in _HOSTED if fnmatchcase(tool.kind, pattern)), Access.CONTROL)
    named = [word.lower() for word in _WORD.findall(tool.name)]
    description = next(
        (part.text for part in task.parts if part.provenance is Provenance.TOOL_DEFINITION and part.path == tool.path), ""
    )
    described = [word.lower() for word in _WORD.findall(description[:400])][: _DESCRIPTION_WORDS + len(named)]
    if _CONTROL_WORDS.intersection(named):
        return Access.CONTROL
    for words in (named[:1], named, described):
        if _ACT_WORDS.intersection(words):
            return Access.ACT
        if _READ_WORDS.intersection(words):
            return Access.CONTROL if _CONTROL_WORDS.intersection(described[:4]) else Access.READ
    return Access.CONTROL if _CONTROL_WORDS.intersection(described) else Access.ACT
