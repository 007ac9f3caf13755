"""What can be wrong with governed files, said so that an author finds the place and the remedy."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from enum import StrEnum
from itertools import islice

import msgspec

LONGEST_ECHO = 60
MOST_FAULTS = 100
"""After so many faults nobody reads on."""
MOST_COMPARED = 500
"""So many words are looked at for the nearest one."""
LENGTHS_APART = 4


class Severity(StrEnum):
    """An error keeps a rule set from being loaded or activated; a warning is worth a look."""

    ERROR = "error"
    WARNING = "warning"


class Fault(msgspec.Struct, frozen=True):
    """One fault and its place. `line` and `column` count from 1; 0 where the fault belongs to no line."""

    severity: Severity
    code: str
    file: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.severity}: {self.message}" + (f"; {self.hint}" if self.hint else "")


class RuleFaults(Exception):
    """Governed files cannot be used. `faults` holds everything that was found, not only the first."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


def nearest(word: str, words: Collection[str]) -> str | None:
    """The word of `words` that looks most like `word`; None where none comes close."""
    wanted = word.lower()[:LONGEST_ECHO]
    if len(words) > MOST_COMPARED:
        words = [*islice((each for each in words if abs(len(each) - len(wanted)) <= LENGTHS_APART), MOST_COMPARED)]
    close = get_close_matches(wanted, [*words], n=1, cutoff=0.5)
    return close[0] if close else None


def did_you_mean(word: str, words: Collection[str]) -> str:
    """A hint that names the nearest valid word, or an empty text."""
    close = nearest(word, words)
    return f"did you mean `{close}`?" if close else ""
