"""Writes a prompt a little differently, as people do, without changing what it asks: for measuring how steady an answer is (pure)."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_WORD = re.compile(r"[^\W\d_]{4,}")
_WORDS_A_SLIP = 25
"""One slip of the finger in so many longer words, and at least one."""

_BEFORE = (
    "Hi, could you help me with this? ", "I have a question: ", "Please answer the following. ", "Quick question for you: ",
    "Can you take a look at this one? ", "Here is what I would like to know: ", "Good morning! ", "I was wondering about this: ",
    "Would you please work on this for me: ", "My colleague asked me the following: ",
)  # fmt: skip
_AFTER = (
    " Thanks in advance!", " Thank you.", " I would be glad about your help.", "\n\nLet me know, please.", " Many thanks",
    " Please tell me what you think is right.", "\nCheers", " I appreciate it.",
)  # fmt: skip


def typos(text: str, dice: random.Random) -> str:
    """Two neighbouring letters swapped, or one left out or doubled, in a few words."""
    places = [found.span() for found in _WORD.finditer(text)]
    if not places:
        return text
    chosen = dice.sample(places, max(1, min(len(places) // _WORDS_A_SLIP, 8)))
    for start, end in sorted(chosen, reverse=True):
        at = dice.randrange(start + 1, end - 1)
        first, second = text[at], text[at + 1]
        text = text[:at] + dice.choice((second + first, second, first + first + second)) + text[at + 2 :]
    return text


def case(text: str, dice: random.Random) -> str:
    """All small letters, all capitals, or the first letters of words as capitals."""
    return dice.choice((str.lower, str.upper, lambda plain: _WORD.sub(lambda found: found[0].capitalize(), plain)))(text)


def framing(text: str, dice: random.Random) -> str:
    """Other polite words around it."""
    which = dice.randrange(3)
    return (dice.choice(_BEFORE) if which != 1 else "") + text + (dice.choice(_AFTER) if which != 0 else "")


def spacing(text: str, dice: random.Random) -> str:
    """Blanks and full stops as a phone or a copied page leaves them."""
    return dice.choice(
        (lambda plain: plain.replace(". ", ".  "), lambda plain: plain.rstrip(".?! "), lambda plain: f"\n{plain} \n")
    )(text)


KINDS: dict[str, Callable[[str, random.Random], str]] = {"typos": typos, "case": case, "framing": framing, "spacing": spacing}
