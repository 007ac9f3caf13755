"""Measures a fitted model on examples that it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from classifiers.artefacts import load
from classifiers.ask.complexity import band_of, complexity
from classifiers.ask.features import excerpt
from classifiers.ask.intent import intent
from classifiers.ask.task import task_kind
from classifiers.sensitivity.topics import TOPICS, Topics
from classifiers.training.corpus import Example
from routing_rules.task import Part, Provenance, Role
from routing_rules.vocabulary import TaskKind


def measure(directory: Path, blind: Sequence[Example], name: str = "ask") -> dict[str, float]:
    """Figures of the served form on labelled examples, each with the number of examples behind it (`*.n`).

    `task.accuracy`; `complexity.mean_error` and `complexity.band_accuracy`; `intent.precision` and `.recall` over all
    capabilities; `objects.*` likewise; `topic.<name>.recall`, and `topic.false_alarms` as the share of examples without
    any topic that get one.
    """
    fitted = load(name, directory)
    task_matrix = fitted.matrix("task")
    kinds = [TaskKind(value) for value in fitted.classes("task")]
    complexity_matrix = fitted.matrix("complexity")
    intent_heads = ("intent", "objects", "delegates")
    intent_matrix = fitted.matrix(*intent_heads)
    topics = Topics(fitted)

    asks = [e for e in blind if e.task is not None]
    right = in_band = 0
    error = 0.0
    implied, objects = _Counts(), _Counts()
    for example in asks:
        known = fitted.rows(excerpt(example.text), len(example.text))
        kind, _ = task_kind(kinds, task_matrix.logits(known), tools=False)
        right += kind.value == example.task
        score, band, _ = complexity(complexity_matrix.logits(known)[0])
        wanted = example.complexity or 0.0
        error += abs(score - wanted)
        in_band += band is band_of(wanted)
        found, _ = intent(fitted.classes(*intent_heads), intent_matrix.logits(known))
        implied.add(frozenset(c.value for c in found.capabilities), example.capabilities or frozenset())
        objects.add(found.objects, example.objects or frozenset())
    figures = {
        "task.n": float(len(asks)),
        "task.accuracy": right / max(len(asks), 1),
        "complexity.mean_error": error / max(len(asks), 1),
        "complexity.band_accuracy": in_band / max(len(asks), 1),
        "intent.precision": implied.precision,
        "intent.recall": implied.recall,
        "objects.precision": objects.precision,
        "objects.recall": objects.recall,
    }
    subjects = [e for e in blind if e.topics is not None]
    scored = [topics.score([Part(Role.USER, Provenance.USER, e.text, "input")]) for e in subjects]
    for topic in TOPICS:
        present = [s[topic] >= 0.5 for e, s in zip(subjects, scored, strict=True) if topic in (e.topics or ())]
        figures[f"topic.{topic}.n"] = float(len(present))
        figures[f"topic.{topic}.recall"] = sum(present) / max(len(present), 1)
    plain = [max(s.values()) >= 0.5 for e, s in zip(subjects, scored, strict=True) if not e.topics]
    figures["topic.none.n"] = float(len(plain))
    figures["topic.false_alarms"] = sum(plain) / max(len(plain), 1)
    return {key: round(value, 4) for key, value in figures.items()}


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
