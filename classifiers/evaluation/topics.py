"""How well sensitive subjects are found in short texts that were written for measuring alone, with what that costs beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from classifiers.artefacts import shipped
from classifiers.evaluation.marks import Mark, at_least, at_most, reported, share
from classifiers.sensitivity.topics import TOPICS, Topics, topics_of
from classifiers.training.corpus import TEMPLATES, Example, examples
from routing_rules.task import Part, Provenance, Role

CODE = "source_code"
"""A topic that the shipped policy counts as internal: code in a prompt is most often no secret, and little tells which is."""

_MOST_FALSE_ALARMS = 0.005


def measure(prompts: Sequence[str]) -> list[Mark]:
    """The marks on topics. `prompts` are ordinary ones of people outside, on which false alarms count beside the blind asks.

    Figures of batches left out are those that were taken while fitting: the shipped model knows every batch.
    """
    fitted = shipped()
    topics = topics_of(fitted)
    blind = [e for e in examples(fitted.manifest.seed) if e.blind and e.batch != TEMPLATES and e.topics is not None]
    return [*_blind(topics, blind, prompts), *_left_out(fitted.manifest.metrics)]


def _blind(topics: Topics, blind: Sequence[Example], prompts: Sequence[str]) -> Iterator[Mark]:
    sensitive = [e for e in blind if e.topics]
    found = [_present(topics, e.text) for e in sensitive]
    yield at_least("topics, blind short texts: any topic", *share(sum(map(bool, found)), len(found)), len(found), 0.90)
    for topic in TOPICS:
        mine = [names for e, names in zip(sensitive, found, strict=True) if topic in (e.topics or ())]
        yield reported(f"topics, blind {topic}: any topic", *share(sum(map(bool, mine)), len(mine)), len(mine))
        yield reported(f"topics, blind {topic}: named so", *share(sum(topic in names for names in mine), len(mine)), len(mine))
    six = [bool(names - {CODE}) for e, names in zip(sensitive, found, strict=True) if e.topics != frozenset({CODE})]
    yield reported("topics, blind short texts, source code aside: any topic", *share(sum(six), len(six)), len(six))
    for english in (True, False):
        mine = [names for e, names in zip(sensitive, found, strict=True) if (e.language == "en") is english]
        title = "English" if english else "other languages"
        yield reported(f"topics, blind, {title}: any topic", *share(sum(map(bool, mine)), len(mine)), len(mine))
    asks = [_present(topics, e.text) for e in blind if e.task is not None]
    twins = [_present(topics, e.text) for e in blind if not e.topics and e.task is None]
    ordinary = [*(_present(topics, text) for text in prompts), *asks]
    taken = share(sum(map(bool, ordinary)), len(ordinary))
    yield at_most("topics: ordinary prompts taken for sensitive", *taken, len(ordinary), _MOST_FALSE_ALARMS)
    for title, some in (("ordinary prompts", ordinary), ("blind asks", asks), ("harmless twins", twins)):
        taken = share(sum(bool(names - {CODE}) for names in some), len(some))
        yield reported(f"topics: {title} taken for sensitive, source code aside", *taken, len(some))


def _left_out(metrics: dict[str, float]) -> Iterator[Mark]:
    """What fitting found on batches that it left out in turn."""
    for title, key, bound in (
        ("any topic", "recall", 0.90),
        ("asks taken for sensitive", "asks_taken_for_sensitive", None),
        ("harmless twins taken for sensitive", "twins_taken_for_sensitive", None),
    ):
        n = int(metrics[f"left_out.topic.{key}.n"])
        value = share(round(metrics[f"left_out.topic.{key}"] * n), n)
        name = f"topics, batches left out: {title}"
        yield reported(name, *value, n) if bound is None else at_least(name, *value, n, bound)


def _present(topics: Topics, text: str) -> set[str]:
    scores = topics.score([Part(Role.USER, Provenance.USER, text, "text")])
    return {topic for topic, score in scores.items() if score >= 0.5}
