"""Runs every classifier over a task and joins what they say into one assessment."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import msgspec

from classifiers.artefacts import Fitted, shipped
from classifiers.ask.access import access
from classifiers.ask.complexity import chosen_by, complexity
from classifiers.ask.current import ask_of
from classifiers.ask.intent import INTENT_HEADS, intent
from classifiers.ask.reader import Reader, Sums
from classifiers.ask.task import task_kind
from classifiers.sensitivity.attachments import read_attachments
from classifiers.sensitivity.code_names import Names
from classifiers.sensitivity.combine import Evidence, Level, evidence, level
from classifiers.sensitivity.dictionaries import Dictionaries
from classifiers.sensitivity.engine import Detector
from classifiers.sensitivity.injection import Injections
from classifiers.sensitivity.kinds.gitleaks import rules_from
from classifiers.sensitivity.topics import TOPIC_HEADS, Topics
from routing_rules.sensitivity import ComplexityPolicy, SensitivityPolicy
from routing_rules.task import Endpoint, Task
from routing_rules.vocabulary import (
    Access,
    Assessment,
    Capability,
    Complexity,
    Confidence,
    Finding,
    Intent,
    ScanState,
    TaskKind,
)


def readable(task: Task) -> Task:
    """The task with the text of its files in place of what was sent."""
    if not any(part.payload for part in task.parts):
        return task
    return msgspec.structs.replace(task, parts=read_attachments(task.parts))


def detector_of(policy: SensitivityPolicy, key: bytes) -> Detector:
    """The shipped detectors, the organisation's own patterns (its dictionaries are apart), and those of its rule file.

    Raises ValueError where one does not compile.
    """
    patterns = tuple(pattern for pattern in policy.patterns if pattern.pattern is not None)
    more = rules_from(policy.gitleaks) if policy.gitleaks else ()
    return Detector(msgspec.structs.replace(policy, patterns=patterns), key, more=more)


def _reader(fitted: Fitted, policy: ComplexityPolicy) -> Reader:
    return Reader((fitted, ("task",)), (fitted, INTENT_HEADS), (fitted, TOPIC_HEADS), chosen_by(policy))


@lru_cache(maxsize=2)
def _shipped_reader(policy: ComplexityPolicy) -> Reader:
    """Of the shipped models, and the model of complexity that a rule set names: most rule sets name the same one."""
    return _reader(shipped(), policy)


def warm_up() -> None:
    """Make ready what every assessor of a process shares: the shipped detectors and models."""
    Assessor(SensitivityPolicy(), b"")


class Assessor:
    """All classifiers under one sensitivity policy. Built once a rule set, then called for every task.

    `key` is the secret of the findings' digests. Raises `ArtefactError` where the fitted models cannot be used, and
    `ValueError` for a pattern of the organisation's that does not compile. `assess` never raises: a detector that fails
    makes the task `unscanned`, a model that fails makes it complex and of no known kind, both with confidence 0.
    """

    name = "assessor"

    def __init__(self, policy: SensitivityPolicy, key: bytes, fitted: Fitted | None = None) -> None:
        self._policy = policy
        # Most of either is spent in libraries that let others run meanwhile.
        with ThreadPoolExecutor(1) as aside:
            detector = aside.submit(detector_of, policy, key)
            self._reader = _shipped_reader(policy.complexity) if fitted is None else _reader(fitted, policy.complexity)
            self._detector = detector.result()
        self._injections = Injections(key)
        self._dictionaries = Dictionaries(policy.patterns, policy.allow_listed, key)
        self._names = Names(policy.code_names, key)
        self._kind, self._intent, topics, self._complexity = self._reader.models
        self._kinds = [TaskKind(name) for name in self._kind.classes]
        self._topics = Topics(topics, self._reader)
        self.version = self._kind.version
        self._model_versions = dict.fromkeys(("task", "intent", "topics"), self.version)
        self._model_versions["complexity"] = self._complexity.version

    def assess(self, task: Task, capabilities: Sequence[frozenset[Capability] | None]) -> Assessment:
        """What the task sends, how far its tools reach, what it asks for. `capabilities`: of `task.tools`; None: unregistered.

        With files in the task this takes up to a second; their text counts as that of the part that holds the file.
        """
        task = readable(task)
        findings, state, scanned, detectors = self._scan(task)
        read: dict[str, Sums] = {}
        kind, kind_sure, score, band, band_sure, implied, implied_sure = self._read_ask(task, read)
        found, state = self._level(task, findings, state, read)
        return Assessment(
            sensitivity=found.sensitivity,
            categories=found.categories,
            findings=findings,
            access=self._access(task, capabilities),
            intent=implied,
            task=kind,
            complexity_score=score,
            complexity=band,
            confidence=Confidence(found.confidence, kind_sure, band_sure, implied_sure),
            state=ScanState.UNSCANNED if any(part.unreadable for part in task.parts) else state,
            scanned_bytes=scanned,
            versions={**self._model_versions, "detectors": detectors},
        )

    def explain(
        self, task: Task, capabilities: Sequence[frozenset[Capability] | None]
    ) -> tuple[Task, Assessment, list[Evidence]]:
        """The task as it was read, its assessment, and every reason that bears on its level. Not for the hot path."""
        task = readable(task)
        result = self.assess(task, capabilities)
        _, state, _, _ = self._scan(task)
        return task, result, evidence(self._policy, result.findings, self._topics.score(task.parts), task.parts, state)

    # Each of these is a border that no failure may cross: what was not classified must be treated as the worst, not dropped.

    def _scan(self, task: Task) -> tuple[tuple[Finding, ...], ScanState, int, str]:
        try:
            scan = self._detector.scan(task.parts)
        except Exception:
            return (), ScanState.UNSCANNED, 0, "failed"
        try:
            own = self._dictionaries.findings(task.parts) + self._names.findings(task.parts)
            findings = scan.findings + own + self._injections.findings(task.parts)
            state = scan.state if self._names.usable else ScanState.UNSCANNED
            return findings, state, scan.scanned_bytes, scan.version
        except Exception:
            return scan.findings, ScanState.UNSCANNED, scan.scanned_bytes, scan.version

    def _level(
        self, task: Task, findings: tuple[Finding, ...], state: ScanState, read: dict[str, Sums]
    ) -> tuple[Level, ScanState]:
        try:
            return level(self._policy, findings, self._topics.score(task.parts, read), task.parts, state), state
        except Exception:
            state = ScanState.UNSCANNED
            return level(self._policy, findings, {}, task.parts, state), state

    def _access(self, task: Task, capabilities: Sequence[frozenset[Capability] | None]) -> Access:
        try:
            return access(task, capabilities)
        except Exception:
            return Access.CONTROL

    def _read_ask(self, task: Task, read: dict[str, Sums]) -> tuple[TaskKind, float, float, Complexity, float, Intent, float]:
        """Task and its confidence; complexity's score, band and confidence; intent and its confidence.

        Leaves in `read` what it read in full, so that the topics need not read it again.
        """
        if task.endpoint is Endpoint.EMBEDDINGS:  # asks for nothing but vectors
            return TaskKind.OTHER, 1.0, 0.0, Complexity.SIMPLE, 1.0, Intent(), 1.0
        try:
            ask = ask_of(task)
            reader = self._reader
            sums = reader.sums(reader.read(ask.text), ask)
            read[ask.text] = Sums(sums.alone, sums.alone, sums.distinct)
            kinds, meant = reader.scores(self._kind, sums), reader.scores(self._intent, sums)
            kind, kind_sure = task_kind(self._kinds, kinds.logits, tools=bool(task.tools))
            implied, implied_sure = intent(self._intent.classes, meant.logits)
            joined = ask.joined
            whole = read[ask.text] if joined is ask.text else reader.sums(reader.read(joined))
            hard = reader.scores(self._complexity, whole)
            score, band, band_sure = complexity(hard.logits[0])
            return kind, kind_sure * kinds.known, score, band, band_sure * hard.known, implied, implied_sure * meant.known
        except Exception:
            return TaskKind.OTHER, 0.0, 1.0, Complexity.COMPLEX, 0.0, Intent(), 0.0
