"""Turns a text into the set of keys that the linear models weigh: words, neighbouring words, edges and rough measures (pure)."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise, repeat

from classifiers.ask.current import Ask
from classifiers.ask.thesaurus import Thesaurus

Key = str | tuple[str, str]
"""A word, the beginning of one (`trans*`), a measure (`lines>3`, `#words>5`) or a concept (`~delete`), or two that are neighbours (concepts: with whatever lies between);
`("^^", word)` and `("$$", word)` stand near the start and the end, `("^~", concept)` is among the first concepts. Of asks
alone: `("^0", word)` is the first word, `("~0", concept)` the first concept, `("~$", concept)` one of the last ones, and `("<s", key)`,
`("<e", key)`, `("<a", key)` a word or concept of the app's instructions, of the turn before, of the last answer."""

HEAD_CHARACTERS = 1_200
TAIL_CHARACTERS = 800
"""An ask says what it wants at its start or at its end; between them lies the material."""

STEM = 5  # characters
NEAR_START = 10
NEAR_END = 8
FIRST_CONCEPTS = LAST_CONCEPTS = 4
"""How many words count as near the start and near the end, and how many concepts as the first and the last ones."""

_PLACES = ("^0", "^1", "^2")
_PLACES_OF_CONCEPTS = ("~0", "~1")
_EARLIER = 300  # characters
_INSTRUCTED = 20  # words at the start of the app's instructions that count as the start of the ask
_CONCEPTS_INSTRUCTED = 6
_TAGS = frozenset({"<s", "<e", "<a"})
_NAMES_WITHIN = 500  # characters: names further on tell nothing new
_NAME = re.compile(r"[A-ZÀ-Þ][a-zß-ÿ]+ (?:[A-ZÀ-Þ]\. )?[A-ZÀ-Þ][a-zß-ÿ]+")
_DIGITS = "123456789"
_BLANKS = ",.'\"-_~"  # also the sign of concepts, which no word may look like
_OTHER_BLANKS = "’‘“”„«»–—…¿¡·，。、"
_WITHOUT_BLANKS = "\u2e80"  # from here on scripts that do not part words: each character counts as one
_CHARACTER = re.compile(r"[\u2e80-\uffff]")
_SIGNS = "?!(){}[]=;:<>/+*^$%#@\\|&`€£√∑∫≤≥？"


Thermometer = tuple[tuple[int, ...], tuple[str, ...]]
"""Edges and one key an edge. A count switches on the keys of all edges below it, so that a small change moves one key."""


def thermometer(name: str, *edges: int) -> Thermometer:
    """The thermometer of a count."""
    return edges, tuple(f"{name}>{edge}" for edge in edges)


MEASURES = (
    thermometer("characters", 20, 40, 60, 90, 130, 200, 300, 450, 700, 1_000, 1_500, 2_500, 4_000, 8_000),
    thermometer("opening", 30, 60, 100, 160, 250, 400, 700, 1_200),  # first line: an instruction, or already the problem
    thermometer("lines", 0, 1, 3, 7, 15, 30),
    thermometer("indented", 0, 2, 7, 20),
    thermometer("digits", 0, 2, 4, 8, 16, 32, 64),
    thermometer("questions", 0, 1, 3),
    thermometer("names", 0, 1, 3),
    thermometer("sentences", 0, 1, 2, 4, 8, 16),
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


def measured(text: str, found: Sequence[str], length: int | None = None) -> tuple[int, ...]:
    """How long, how structured and how numeric a text is: one count for each of `MEASURES`.

    `found` are its words; `length` is in characters, where `text` is an excerpt.
    """
    return (
        len(text) if length is None else length,
        len(text.partition("\n")[0]),
        text.count("\n"),
        text.count("\n  ") + text.count("\n\t"),
        sum(map(str.isdigit, found)),
        text.count("?"),
        len(_NAME.findall(text, 0, _NAMES_WITHIN)),
        text.count(". "),
    )


def switched_on(thermometers: Sequence[Thermometer], counts: Sequence[int]) -> list[str]:
    """The keys of all edges below their counts."""
    return [
        name
        for (edges, names), count in zip(thermometers, counts, strict=True)
        for name in names[: bisect_right(edges, count - 1)]
    ]


def has_stem(word: str) -> bool:
    """Whether a word is so long that its beginning tells something of it: most languages bend words at their end. Numbers do not."""
    return len(word) > STEM and word.isalpha()


def stem(word: str) -> str:
    """The key of a word's beginning; no word holds a sign and goes on."""
    return f"{word[:STEM]}*"


def is_word(key: Key) -> bool:
    """Whether a key is a word of a text, by itself."""
    if not isinstance(key, str) or key[0] == "~" or key in _TAGS:
        return False
    return len(key) == 1 or not (">" in key or key.endswith("*"))


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
    others.update(frame(thesaurus, found, concepts, ask))
    if ask.system:
        others.update(instructions(thesaurus, ask.system))
    return set(found), others


def _others(text: str, found: list[str], concepts: list[str], length: int | None) -> set[Key]:
    others: set[Key] = set(pairwise(found))
    others.update(zip(repeat("^^"), found[:NEAR_START], strict=False))
    others.update(zip(repeat("$$"), found[-NEAR_END:], strict=False))
    others.update(map(stem, filter(has_stem, found)))
    others.update(concepts)
    others.update(pairwise(concepts))
    others.update(zip(repeat("^~"), concepts[:FIRST_CONCEPTS], strict=False))
    others.update(switched_on(MEASURES, measured(text, found, length)))
    return others


def frame(thesaurus: Thesaurus, found: list[str], concepts: list[str], ask: Ask) -> list[Key]:
    """What only asks have: keys of exact places, and of what stands around the turn.

    Instructions and earlier turns count both as themselves and as if they were said now: "You translate into French" with
    a bare text after it asks for the same as one turn that holds both.
    """
    around: list[Key] = [*zip(_PLACES, found, strict=False), *zip(_PLACES_OF_CONCEPTS, concepts, strict=False)]
    around += zip(repeat("~$"), concepts[-LAST_CONCEPTS:], strict=False)
    if ask.earlier:
        said = words(ask.earlier[:_EARLIER])
        meant = thesaurus.sequence(said)
        around += _tagged("<e", said, meant)
        around += [*said, *meant]
    if ask.answer:
        said = words(ask.answer)
        around += _tagged("<a", said, thesaurus.sequence(said))
    return around


def instructions(thesaurus: Thesaurus, system: str) -> list[Key]:
    """What an app's instructions add to the keys of an ask."""
    said = words(system)
    meant = thesaurus.sequence(said)
    return [
        *_tagged("<s", said, meant),
        *said,
        *meant,
        *zip(repeat("^^"), said[:_INSTRUCTED], strict=False),
        *zip(repeat("^~"), meant[:_CONCEPTS_INSTRUCTED], strict=False),
    ]


def _tagged(tag: str, said: list[str], meant: list[str]) -> list[Key]:
    return [tag, *zip(repeat(tag), said, strict=False), *zip(repeat(tag), meant, strict=False)]
