"""What is counted of how an ask is built, and the keys that the model of complexity weighs (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, repeat

from classifiers.ask.features import FIRST_CONCEPTS, Key, Thermometer, measured, switched_on, thermometer
from classifiers.ask.thesaurus import Thesaurus

_CONDITIONS = frozenset(
    "each every then after before if unless until twice half thrice remaining total per more less least most exactly only such given"
    " respectively suppose assume let where when while without must exceed greater fewer average rate times both neither either"
    " jeder jede jedes dann nachdem bevor wenn falls sofern doppelt mindestens höchstens genau pro gesamt ohne muss"
    " chaque puis après avant si moins plus exactement par total sans doit cada luego después antes menos más exactamente sin debe"
    " ogni poi dopo prima se meno più esattamente senza deve".split()
)
"""Words that count steps or set conditions: a problem is as hard as what must be held together to solve it."""

_OPTION_LETTERS = frozenset("ABCDEFGHIJ")
_OPTION_SIGNS = frozenset(".):")
_CODE = ("def ", "return ", "import ", "print(", "class ", "for ", "```", "SELECT ")
_OPERATORS = "=+*/^<>"


def _counted(name: str, *edges: int) -> Thermometer:
    """A thermometer whose keys are no others': no word begins with `#` and goes on."""
    return thermometer(f"#{name}", *edges)


COUNTS = (
    _counted("characters", 20, 40, 60, 90, 130, 200, 300, 450, 700, 1_000, 1_500, 2_500, 4_000, 8_000),
    _counted("words", 5, 10, 20, 30, 45, 60, 80, 100, 130, 170, 220, 300),
    _counted("opening", 30, 60, 100, 160, 250, 400, 700, 1_200),
    _counted("lines", 0, 1, 3, 7, 15, 30),
    _counted("indented", 0, 2, 7, 20),
    _counted("sentences", 0, 1, 2, 4, 8, 16),
    _counted("questions", 0, 1, 3),
    _counted("numbers", 0, 1, 2, 3, 4, 6, 8, 12, 20),
    _counted("conditions", 0, 1, 2, 3, 4, 6, 8, 12),
    _counted("options", 0, 2, 3, 4, 5, 7, 9),
    _counted("commands", 0, 2, 5, 10, 20),
    _counted("formulas", 0, 1, 3, 7, 15),
    _counted("code", 0, 1, 3, 6),
    _counted("operators", 0, 1, 3, 6, 10, 20),
    _counted("word_length", 30, 35, 40, 45, 50, 55, 60),  # tenths of a letter, on average
)


def counted(text: str, found: Sequence[str], measures: Sequence[int]) -> tuple[int, ...]:
    """How long a text is and how it is built (steps, conditions, numbers, formulas, choices, code): one count for each of `COUNTS`.

    `found` are its words as `features.words` gives them, `measures` what `features.measured` gives of it.
    """
    length, opening, lines, indented, numbers, questions, _, sentences = measures
    return (
        length,
        len(found),
        opening,
        lines,
        indented,
        sentences,
        questions,
        numbers,
        sum(map(_CONDITIONS.__contains__, found)),
        sum(map(_is_option, text.split("\n"))) if lines else 0,
        text.count("\\"),
        text.count("$"),
        sum(map(text.count, _CODE)),
        sum(map(text.count, _OPERATORS)),
        10 * (len(text) - text.count(" ")) // max(len(found), 1),
    )


def _is_option(line: str) -> bool:
    """Whether a line is a choice to tick: `A. …`, `B) …`, `(C) …`."""
    if line[:1] == "(":
        line = line[1:]
    return line[:1] in _OPTION_LETTERS and line[1:2] in _OPTION_SIGNS


def keys(thesaurus: Thesaurus, text: str, found: Sequence[str], length: int | None = None) -> tuple[set[str], set[Key]]:
    """The distinct words of a text, and all other keys that the model of complexity may weigh."""
    concepts = thesaurus.sequence(found)
    others: set[Key] = set(pairwise(found))
    others.update(concepts)
    others.update(pairwise(concepts))
    others.update(zip(repeat("^~"), concepts[:FIRST_CONCEPTS], strict=False))
    others.update(switched_on(COUNTS, counted(text, found, measured(text, found, length))))
    return set(found), others
