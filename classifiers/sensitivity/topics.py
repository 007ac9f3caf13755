"""How likely the texts of a task are about a sensitive subject: linear models over windows of everything that was sent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from classifiers.artefacts import Fitted
from classifiers.ask.complexity import probability
from classifiers.ask.reader import Model, Reader, Sums
from routing_rules.task import Part, Provenance

TOPICS = ("phi", "legal", "hr", "financial", "security", "minors", "source_code")

TOPIC_HEADS = ("topics_short", "topics_long")
"""The heads whose columns, in this order, `Topics` reads."""

ANY = "any"
"""The head for short texts that says whether one is sensitive by its subject at all, whichever it is."""

SHORT_CHARACTERS = 900
"""Up to this length a text is scored by the model for short texts: a prompt has other words than a document."""

_LONG_FROM_OF = {"phi": 150, "source_code": SHORT_CHARACTERS + 1}
"""From this length on a text is scored for a topic by the model for documents: notes and dialogues are pasted into prompts too."""

_LONG_FROM = 600  # other topics: a contract or a report has no shorter passages
_FROM = tuple(_LONG_FROM_OF.get(topic, _LONG_FROM) for topic in TOPICS)
_SHORTEST = min(_FROM)

_NOTHING: Mapping[str, Sums] = {}
_WINDOW = 2_000
_MOST_WINDOWS = 24
_NEWEST = 8  # of them
_MOST_KNOWN = 8_192
_SYSTEM_CHARACTERS = 400
"""A shorter system text says what the app is for, not what this task holds; a longer one often carries documents."""

_APP, _DEFINITION, _METADATA = Provenance.APP, Provenance.TOOL_DEFINITION, Provenance.METADATA
_NONE = (0.0,) * len(TOPICS)


class Topics:
    """Scores topics with the fitted heads for prompts and for documents."""

    def __init__(self, model: Model, reader: Reader) -> None:
        """`model` is the reader's, of `TOPIC_HEADS`."""
        self._model = model
        self._reader = reader
        self._known: dict[tuple[int, int], tuple[float, ...]] = {}

    def score(self, parts: Iterable[Part], read: Mapping[str, Sums] = _NOTHING) -> dict[str, float]:
        """The highest probability of each topic in any window; present from 0.5, which is where the models' threshold lies.

        `read` holds texts whose sums are known already.
        """
        best = _NONE
        for text in windows(parts):
            place = hash(text), len(text)  # the interpreter's own keyed hash
            found = self._known.get(place)
            if found is None:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                found = self._known[place] = self._read(text, read)
            best = tuple(map(max, best, found))
        return dict(zip(TOPICS, best, strict=True))

    def _read(self, text: str, read: Mapping[str, Sums]) -> tuple[float, ...]:
        sums = read.get(text) or self._reader.sums(self._reader.read(text))
        logits = self._reader.scores(self._model, sums).logits
        short, long = _named(logits[: -len(TOPICS)]), logits[-len(TOPICS) :]
        if len(text) > SHORT_CHARACTERS:
            short = [-math.inf] * len(TOPICS)
        if len(text) >= _SHORTEST:
            short = [max(pair) if len(text) >= least else pair[0] for *pair, least in zip(short, long, _FROM, strict=True)]
        return tuple(map(probability, short))


def topics_of(fitted: Fitted) -> Topics:
    """The topics of a fitted model by themselves, where nothing else of it is read."""
    reader = Reader((fitted, TOPIC_HEADS))
    return Topics(reader.models[0], reader)


def _named(logits: list[float]) -> list[float]:
    """The logits of the topics by the model for prompts: what its last head finds, the likeliest topic names."""
    *topics, found = logits
    likeliest = topics.index(max(topics))
    topics[likeliest] = max(topics[likeliest], found)
    return topics


def windows(parts: Iterable[Part]) -> list[str]:
    """The texts to read: short neighbours apart, a long text in windows over its whole length.

    At most `_MOST_WINDOWS` for all parts together (of a conversation of many turns some more): the last ones of several parts, and of
    those before them some that are spread evenly. So neither the middle of a long document nor one of many messages is passed over, and of a conversation that grows the
    new turns are read whatever went before.
    """
    found: list[str] = []
    texts = 0
    for part in parts:
        text, provenance = part.text, part.provenance
        if not text or provenance is _DEFINITION or provenance is _METADATA:
            continue
        if provenance is _APP and len(text) < _SYSTEM_CHARACTERS:
            continue
        texts += 1
        if len(text) <= _WINDOW:
            found.append(text)
        else:
            size = -(-len(text) // -(-len(text) // _WINDOW))  # equal windows: a short rest would fall to the model for prompts
            found += [text[start : start + size] for start in range(0, len(text), size)]
    if len(found) <= _MOST_WINDOWS:
        return found
    newest = min(_NEWEST, texts - 1)
    earlier, spread = len(found) - newest, _MOST_WINDOWS - newest
    if newest < _NEWEST:  # few texts, some of them long
        return [*(found[number * earlier // spread] for number in range(spread)), *found[earlier:]]
    # Steps that double, so that a conversation which grows by a turn keeps its places: they were read when they were new.
    return [*found[: earlier : 1 << (earlier // spread).bit_length() - 1], *found[earlier:]]
