"""Which words of a task are its current ask, and which stand around it."""

from __future__ import annotations

from typing import NamedTuple

from routing_rules.task import Provenance, Role, Task

_SHORT = 40
"""Characters. A shorter turn ("and in French?") says only together with the turn before what is wanted."""

_BEFORE = 600
_SYSTEM = 400
_ANSWER = 300


class Ask(NamedTuple):
    """The user's last turn, and the start of what stands around it: the app's instructions, the turn before, the last answer."""

    text: str
    system: str = ""
    earlier: str = ""
    answer: str = ""

    @property
    def joined(self) -> str:
        """The turn, after the turn before it where it is very short."""
        return f"{self.earlier}\n{self.text}" if self.earlier and len(self.text) < _SHORT else self.text


def ask_of(task: Task) -> Ask:
    """The current ask; the app's words where nobody else says anything.

    Empty where nobody says anything at all, as when only tool results are sent with provider-held history.
    """
    system = answer = ""
    turns: dict[int, list[str]] = {}
    for part in task.parts:
        if not part.text:
            continue
        if part.provenance is Provenance.USER and part.role is Role.USER:
            turns.setdefault(part.turn, []).append(part.text)
        elif part.provenance is Provenance.APP:
            system = part.text
        elif part.provenance is Provenance.MODEL:
            answer = part.text
    if not turns:
        return Ask(system)
    *before, last = ("\n".join(turns[turn]) for turn in sorted(turns))
    return Ask(last, system[:_SYSTEM], before[-1][:_BEFORE] if before else "", answer[:_ANSWER])


def current_ask(task: Task) -> str:
    """The last turn in the user's own words, after the turn before it where it is very short; else the app's words."""
    return ask_of(task).joined
