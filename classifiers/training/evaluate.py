"""Measures a fitted model on examples that it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from classifiers.artefacts import Fitted, load
from classifiers.ask.intent import INTENT_HEADS, intent
from classifiers.ask.reader import Reader
from classifiers.ask.task import task_kind
from classifiers.sensitivity.topics import TOPICS, topics_of
from classifiers.training.corpus import TEMPLATES, Example
from routing_rules.task import Part, Provenance, Role
from routing_rules.vocabulary import TaskKind


def measure(directory: Path, blind: Sequence[Example], name: str = "ask") -> dict[str, float]:
    """Figures of the served form on labelled examples, each with the number of examples behind it (`*.n`).

    Of asks: `task.accuracy`, and `intent.*` and `objects.*` over all labels together. Of topics: `topic.<name>.recall` where
    the topic itself was named, `topic.recall` where any was, and the shares of harmless twins and of asks that got one. What
    was written for measuring alone stands under `blind.`, templates under `templates.`.
    """
    fitted = load(name, directory)
    parts = {"blind": [e for e in blind if e.batch != TEMPLATES], "templates": [e for e in blind if e.batch == TEMPLATES]}
    return {f"{part}.{key}": round(value, 4) for part, some in parts.items() for key, value in _figures(fitted, some).items()}


def _figures(fitted: Fitted, blind: Sequence[Example]) -> dict[str, float]:
    reader = Reader((fitted, ("task", *INTENT_HEADS)))
    [model] = reader.models
    kinds = [TaskKind(value) for value in fitted.classes("task")]
    names = fitted.classes(*INTENT_HEADS)
    asks = [e for e in blind if e.task is not None]
    right = 0
    implied, objects = _Counts(), _Counts()
    for example in asks:
        logits = reader.scores(model, reader.sums(reader.read(example.ask.text), example.ask)).logits
        kind, _ = task_kind(kinds, logits[: len(kinds)], tools=False)
        right += kind.value == example.task
        found, _ = intent(names, logits[len(kinds) :])
        implied.add(frozenset(c.value for c in found.capabilities), example.capabilities or frozenset())
        objects.add(found.objects, example.objects or frozenset())
    figures = {
        "task.n": float(len(asks)),
        "task.accuracy": right / max(len(asks), 1),
        "intent.f1": implied.f1,
        "intent.precision": implied.precision,
        "intent.recall": implied.recall,
        "objects.f1": objects.f1,
    }
    topics = topics_of(fitted)
    subjects = [e for e in blind if e.topics is not None]
    scored = [topics.score([Part(Role.USER, Provenance.USER, e.text, "input")]) for e in subjects]
    for topic in TOPICS:
        present = [s[topic] >= 0.5 for e, s in zip(subjects, scored, strict=True) if topic in (e.topics or ())]
        figures[f"topic.{topic}.n"] = float(len(present))
        figures[f"topic.{topic}.recall"] = sum(present) / max(len(present), 1)
    for title, chosen in (
        ("recall", [bool(e.topics) for e in subjects]),
        ("twins_taken_for_sensitive", [not e.topics and e.task is None for e in subjects]),
        ("asks_taken_for_sensitive", [not e.topics and e.task is not None for e in subjects]),
    ):
        taken = [max(s.values()) >= 0.5 for s, counts in zip(scored, chosen, strict=True) if counts]
        figures[f"topic.{title}"] = sum(taken) / max(len(taken), 1)
        figures[f"topic.{title}.n"] = float(len(taken))
    return figures


class _Counts:
    def __init__(self) -> None:
        self._both = self._found = self._wanted = 0

    def add(self, found: frozenset[str], wanted: frozenset[str]) -> None:
        self._both += len(found & wanted)
        self._found += len(found)
        self._wanted += len(wanted)

    @property
    def precision(self) -> float:
        return self._both / max(self._found, 1)

    @property
    def recall(self) -> float:
        return self._both / max(self._wanted, 1)

    @property
    def f1(self) -> float:
        return 2 * self._both / max(self._found + self._wanted, 1)
