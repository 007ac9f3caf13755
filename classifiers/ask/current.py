"""Which words of a task are its current ask."""

from __future__ import annotations

from routing_rules.task import Provenance, Role, Task

_SHORT = 40
"""Characters. A shorter turn ("and in French?") says only together with the turn before what is wanted."""

_BEFORE = 600


def current_ask(task: Task) -> str:
    """The last turn in the user's own words, after the turn before it where it is very short; else the system's words.

    Empty where nobody says anything, as when only tool results are sent with provider-held history.
    """
    turns: dict[int, list[str]] = {}
    for part in task.parts:
        if part.provenance is Provenance.USER and part.role is Role.USER and part.text:
            turns.setdefault(part.turn, []).append(part.text)
    if turns:
        *before, last = ("\n".join(turns[turn]) for turn in sorted(turns))
        if len(last) < _SHORT and before:
            return f"{before[-1][:_BEFORE]}\n{last}"
        return last
    return next((part.text for part in reversed(task.parts) if part.provenance is Provenance.APP and part.text), "")
