"""How likely the texts of a task are about a sensitive subject: linear models over windows of everything that was sent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from classifiers.artefacts import Fitted
from classifiers.ask.complexity import probability
from classifiers.ask.reader import Model, Reader, Sums
from routing_rules.task import Part, Provenance

TOPICS = ("phi", "legal", "hr", "financial", "security", "minors", "source_code")

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
_SYSTEM_CHARACTERS = 400
"""A shorter system text says what the app is for, not what this task holds; a longer one often carries documents."""

_READ = frozenset({Provenance.USER, Provenance.TOOL_RESULT, Provenance.ATTACHMENT, Provenance.MODEL})


class Topics:
    """Scores topics with the fitted heads `topics_short` and `topics_long`."""

    def __init__(self, model: Model, reader: Reader) -> None:
        """`model` is `model_of_topics` of a fitted model, and one of those that the reader reads for."""
        self._model = model
        self._reader = reader

    def score(self, parts: Iterable[Part], read: Mapping[str, Sums] = _NOTHING) -> dict[str, float]:
        """The highest probability of each topic in any window; present from 0.5, which is where the models' threshold lies.

        `read` holds texts whose sums are known already.
        """
        best = dict.fromkeys(TOPICS, 0.0)
        for text in windows(parts):
            sums = read.get(text) or self._reader.sums(self._reader.read(text))
            logits = self._reader.scores(self._model, sums).logits
            short, long = _named(logits[: -len(TOPICS)]), logits[-len(TOPICS) :]
            if len(text) > SHORT_CHARACTERS:
                short = [-math.inf] * len(TOPICS)
            if len(text) >= _SHORTEST:
                short = [max(pair) if len(text) >= least else pair[0] for *pair, least in zip(short, long, _FROM, strict=True)]
            for topic, logit in zip(TOPICS, short, strict=True):
                best[topic] = max(best[topic], probability(logit))
        return best


def model_of_topics(fitted: Fitted) -> Model:
    """The heads that `Topics` reads."""
    return Model(fitted, "topics_short", "topics_long")


def topics_of(fitted: Fitted) -> Topics:
    """The topics of a fitted model by themselves, where nothing else of it is read."""
    model = model_of_topics(fitted)
    return Topics(model, Reader(model))


def _named(logits: list[float]) -> list[float]:
    """The logits of the topics by the model for prompts: what its last head finds, the likeliest topic names."""
    *topics, found = logits
    likeliest = topics.index(max(topics))
    topics[likeliest] = max(topics[likeliest], found)
    return topics


def windows(parts: Iterable[Part]) -> Iterator[str]:
    """The texts to read: short neighbours apart, a long text in windows over its whole length.

    At most `_MOST_WINDOWS` windows for all parts together, spread evenly, so that neither the middle of a long document
    nor the last of many messages is passed over.
    """
    texts = [part.text for part in parts if _counts(part)]
    spans: list[tuple[str, int, int]] = []
    for text in texts:
        size = -(-len(text) // -(-len(text) // _WINDOW))  # equal windows: a short rest would fall to the model for prompts
        spans += [(text, start, start + size) for start in range(0, len(text), size)]
    step = max(len(spans) / _MOST_WINDOWS, 1.0)
    for number in range(min(len(spans), _MOST_WINDOWS)):
        text, start, end = spans[int(number * step)]
        yield text[start:end]


def _counts(part: Part) -> bool:
    if part.provenance in _READ:
        return bool(part.text)
    return part.provenance is Provenance.APP and len(part.text) >= _SYSTEM_CHARACTERS
