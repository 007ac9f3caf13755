"""Turns a text into the set of keys that the linear models weigh: words, neighbouring words, edges and rough measures (pure)."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise, repeat

from classifiers.ask.current import Ask
from classifiers.ask.thesaurus import Thesaurus

Rows = tuple[set[int], int]
"""The rows of a weight matrix that a text switches on, and how many of its distinct words have none."""

Key = str | tuple[str, str]
"""A word, a measure (`lines>3`) or a concept (`~delete`), or two that are neighbours (concepts: with whatever lies between);
`("^^", word)` and `("$$", word)` stand near the start and the end, `("^~", concept)` is among the first concepts. Of asks
alone: `("^0", word)` is the first word, `("~0", concept)` the first concept, `("$~", concept)` near the end, and `("<s", key)`,
`("<e", key)`, `("<a", key)` a word or concept of the app's instructions, of the turn before, of the last answer."""

HEAD_CHARACTERS = 1_200
TAIL_CHARACTERS = 800
"""An ask says what it wants at its start or at its end; between them lies the material."""

_NEAR_START = 10
_NEAR_END = 8
_FIRST_CONCEPTS = 4
_PLACES = ("^0", "^1", "^2")
_PLACES_OF_CONCEPTS = ("~0", "~1")
_EARLIER = 300  # characters
_INSTRUCTED = 20  # words at the start of the app's instructions that count as the start of the ask
_CONCEPTS_INSTRUCTED = 6
_NAMES_WITHIN = 500  # characters: names further on tell nothing new
_NAME = re.compile(r"[A-ZÀ-Þ][a-zß-ÿ]+ (?:[A-ZÀ-Þ]\. )?[A-ZÀ-Þ][a-zß-ÿ]+")
_DIGITS = "123456789"
_BLANKS = ",.'\"-_~"  # also the sign of concepts, which no word may look like
_OTHER_BLANKS = "’‘“”„«»–—…¿¡·，。、"
_WITHOUT_BLANKS = "\u2e80"  # from here on scripts that do not part words: each character counts as one
_CHARACTER = re.compile(r"[\u2e80-\uffff]")
_SIGNS = "?!(){}[]=;:<>/+*^$%#@\\|&`€£√∑∫≤≥？"


def _thermometer(name: str, *edges: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Edges and one key an edge. A count switches on the keys of all edges below it, so that a small change moves one key."""
    return edges, tuple(f"{name}>{edge}" for edge in edges)


_MEASURES = (
    _thermometer("characters", 20, 40, 60, 90, 130, 200, 300, 450, 700, 1_000, 1_500, 2_500, 4_000, 8_000),
    _thermometer("opening", 30, 60, 100, 160, 250, 400, 700, 1_200),  # first line: an instruction, or already the problem
    _thermometer("lines", 0, 1, 3, 7, 15, 30),
    _thermometer("indented", 0, 2, 7, 20),
    _thermometer("digits", 0, 2, 4, 8, 16, 32, 64),
    _thermometer("questions", 0, 1, 3),
    _thermometer("names", 0, 1, 3),
    _thermometer("sentences", 0, 1, 2, 4, 8, 16),
)


def excerpt(text: str) -> str:
    """Start and end of a long ask, the whole of a short one: bounds what an ask costs to read."""
    if len(text) <= HEAD_CHARACTERS + TAIL_CHARACTERS:
        return text
    return f"{text[:HEAD_CHARACTERS]}\n{text[-TAIL_CHARACTERS:]}"


def words(text: str) -> list[str]:
    """Words, numbers (`00` is any number of two digits) and signs of a text, in order, in lower case."""
    # Forty replacements take a third of the time of one regular expression: most of them find nothing and return at once.
    plain = text.lower()
    for digit in _DIGITS:
        plain = plain.replace(digit, "0")
    for blank in _BLANKS if plain.isascii() else _BLANKS + _OTHER_BLANKS:
        plain = plain.replace(blank, " ")
    if not plain.isascii() and max(plain) >= _WITHOUT_BLANKS:
        plain = _CHARACTER.sub(r" \g<0> ", plain)
    for sign in _SIGNS:
        plain = plain.replace(sign, f" {sign} ")
    return plain.split()


def measures(text: str, found: list[str], length: int | None = None) -> list[str]:
    """Keys for how long, how structured and how numeric a text is. `length` in characters, where `text` is an excerpt."""
    counts = (
        len(text) if length is None else length,
        len(text.partition("\n")[0]),
        text.count("\n"),
        text.count("\n  ") + text.count("\n\t"),
        sum(map(str.isdigit, found)),
        text.count("?"),
        len(_NAME.findall(text, 0, _NAMES_WITHIN)),
        text.count(". "),
    )
    keys: list[str] = []
    for (edges, names), count in zip(_MEASURES, counts, strict=True):
        keys += names[: bisect_right(edges, count - 1)]
    return keys


def keys(thesaurus: Thesaurus, text: str, length: int | None = None) -> tuple[set[str], set[Key]]:
    """The distinct words of a text, and all its other keys."""
    found = words(text)
    concepts = thesaurus.sequence(found)
    return set(found), _others(text, found, concepts, length)


def ask_keys(thesaurus: Thesaurus, ask: Ask) -> tuple[set[str], set[Key]]:
    """The distinct words of an ask, and all its other keys: those of its text, of their places, and of what stands around it."""
    text = excerpt(ask.text)
    found = words(text)
    concepts = thesaurus.sequence(found)
    others = _others(text, found, concepts, len(ask.text))
    others.update(_frame(thesaurus, found, concepts, ask))
    if ask.system:
        others.update(_instructions(thesaurus, ask.system))
    return set(found), others


def rows(
    row_of: Callable[[Key, int], int],
    thesaurus: Thesaurus,
    text: str,
    length: int | None = None,
    found: list[str] | None = None,
) -> Rows:
    """What `keys` finds, as row numbers of a weight matrix, and how many distinct words have no row.

    `found` are the words of the text, where they are known already. `row_of(key, 0)` is a vocabulary's `get`; row 0 stands
    for every key without a row.
    """
    if found is None:
        found = words(text)
    return _rows(row_of, text, found, thesaurus.sequence(found), length)


def ask_rows(
    row_of: Callable[[Key, int], int],
    thesaurus: Thesaurus,
    ask: Ask,
    found: list[str] | None = None,
    concepts: list[str] | None = None,
    instructed: frozenset[int] = frozenset(),
) -> tuple[Rows, Rows]:
    """The rows of an ask's text alone, as `rows` gives them, and those of the whole ask, as `ask_keys` finds them.

    `instructed` are the `instruction_rows` of the ask's system text.
    """
    text = excerpt(ask.text)
    if found is None:
        found = words(text)
    if concepts is None:
        concepts = thesaurus.sequence(found)
    known, unknown = _rows(row_of, text, found, concepts, len(ask.text))
    framed = known.union(instructed, map(row_of, _frame(thesaurus, found, concepts, ask), repeat(0)))
    framed.discard(0)
    return (known, unknown), (framed, unknown)


def _others(text: str, found: list[str], concepts: list[str], length: int | None) -> set[Key]:
    others: set[Key] = set(pairwise(found))
    others.update(zip(repeat("^^"), found[:_NEAR_START], strict=False))
    others.update(zip(repeat("$$"), found[-_NEAR_END:], strict=False))
    others.update(concepts)
    others.update(pairwise(concepts))
    others.update(zip(repeat("^~"), concepts[:_FIRST_CONCEPTS], strict=False))
    others.update(measures(text, found, length))
    return others


def _rows(
    row_of: Callable[[Key, int], int], text: str, found: list[str], concepts: list[str], length: int | None
) -> tuple[set[int], int]:
    """The same keys as row numbers. No set of keys is built on the way: that would cost as much as everything else here."""
    distinct = set(found)
    none = repeat(0)
    known = set(map(row_of, distinct, none))
    unknown = len(distinct) - len(known - {0})
    known.update(map(row_of, pairwise(found), none))
    known.update(map(row_of, zip(repeat("^^"), found[:_NEAR_START], strict=False), none))
    known.update(map(row_of, zip(repeat("$$"), found[-_NEAR_END:], strict=False), none))
    known.update(map(row_of, concepts, none))
    known.update(map(row_of, pairwise(concepts), none))
    known.update(map(row_of, zip(repeat("^~"), concepts[:_FIRST_CONCEPTS], strict=False), none))
    known.update(map(row_of, measures(text, found, length), none))
    known.discard(0)
    return known, unknown


def _frame(thesaurus: Thesaurus, found: list[str], concepts: list[str], ask: Ask) -> list[Key]:
    """What only asks have: keys of exact places, and of what stands around the turn.

    Instructions and earlier turns count both as themselves and as if they were said now: "You translate into French" with
    a bare text after it asks for the same as one turn that holds both.
    """
    frame: list[Key] = [*zip(_PLACES, found, strict=False), *zip(_PLACES_OF_CONCEPTS, concepts, strict=False)]
    frame += zip(repeat("$~"), thesaurus.sequence(found[-_NEAR_END:]), strict=False)
    if ask.earlier:
        said = words(ask.earlier[:_EARLIER])
        meant = thesaurus.sequence(said)
        frame += _tagged("<e", said, meant)
        frame += [*said, *meant]
    if ask.answer:
        said = words(ask.answer)
        frame += _tagged("<a", said, thesaurus.sequence(said))
    return frame


def _instructions(thesaurus: Thesaurus, system: str) -> list[Key]:
    said = words(system)
    meant = thesaurus.sequence(said)
    return [
        *_tagged("<s", said, meant),
        *said,
        *meant,
        *zip(repeat("^^"), said[:_INSTRUCTED], strict=False),
        *zip(repeat("^~"), meant[:_CONCEPTS_INSTRUCTED], strict=False),
    ]


def instruction_rows(row_of: Callable[[Key, int], int], thesaurus: Thesaurus, system: str) -> frozenset[int]:
    """The rows that an app's instructions add to those of an ask."""
    return frozenset(map(row_of, _instructions(thesaurus, system), repeat(0))) - {0}


def _tagged(tag: str, said: list[str], meant: list[str]) -> list[Key]:
    return [tag, *zip(repeat(tag), said, strict=False), *zip(repeat(tag), meant, strict=False)]
