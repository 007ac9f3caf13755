"""What a classifier must answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from routing_rules.task import Task
from routing_rules.vocabulary import Assessment, Capability


class Classifier(Protocol):
    """Assesses a task. Pure CPU, no I/O, safe to call from one thread at a time.

    When a part of it is down the answer errs towards caution: `unscanned`, the policy's level for that, complex.
    """

    @property
    def name(self) -> str:
        """What it is called in evidence."""

    @property
    def version(self) -> str:
        """Changes whenever an answer may change."""

    def assess(self, task: Task, capabilities: Sequence[frozenset[Capability] | None]) -> Assessment:
        """Everything the classifier says of a task. `capabilities` are those of `task.tools`, in order; None: unregistered."""
