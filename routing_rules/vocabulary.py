"""Every word that a rule or a classifier may use, and the values a classifier answers with."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Self

import msgspec


class Ordered(Enum):
    """An enumeration whose members compare in the order in which they are written."""

    rank: int

    def __init__(self, _value: str) -> None:
        self.rank = len(type(self).__members__)

    def __lt__(self, other: Self) -> bool:
        return self.rank < other.rank

    def __le__(self, other: Self) -> bool:
        return self.rank <= other.rank

    def __gt__(self, other: Self) -> bool:
        return self.rank > other.rank

    def __ge__(self, other: Self) -> bool:
        return self.rank >= other.rank

    def __str__(self) -> str:
        return str(self.value)


class Sensitivity(Ordered):
    """How much harm the disclosure of the content would do. Only ever raised, never lowered."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    RESTRICTED = "restricted"


class Access(Ordered):
    """How far the tools asked for reach."""

    NONE = "none"
    READ = "read"
    ACT = "act"
    CONTROL = "control"


class Complexity(Ordered):
    """Band of the difficulty score in [0, 1]."""

    SIMPLE = "simple"
    MODERATE = "moderate"
    COMPLEX = "complex"


class Integrity(Ordered):
    """Whether anything in the session came from a source that could carry an attacker's words."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"


class BusinessImpact(Ordered):
    """What a wrong answer would cost the organisation, by purpose."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class LatencyClass(StrEnum):
    """How long the people behind a purpose can wait."""

    INTERACTIVE = "interactive"
    PATIENT = "patient"
    BATCH = "batch"


class TaskKind(StrEnum):
    """What kind of work the current ask is."""

    SUMMARISATION = "summarisation"
    TRANSLATION = "translation"
    EXTRACTION = "extraction"
    CLASSIFICATION = "classification"
    REWRITING = "rewriting"
    LOOKUP = "lookup"
    QUESTION_ANSWERING = "question_answering"
    CONVERSATION = "conversation"
    BRAINSTORMING = "brainstorming"
    WRITING = "writing"
    CODING = "coding"
    MATHEMATICS = "mathematics"
    ANALYSIS = "analysis"
    PLANNING = "planning"
    AGENTIC = "agentic"
    OTHER = "other"


class Capability(StrEnum):
    """What a tool can do to the world; several may hold for one tool."""

    READS_PRIVATE = "reads_private"
    READS_RESTRICTED = "reads_restricted"
    READS_UNTRUSTED = "reads_untrusted"
    EGRESS = "egress"
    WRITES_STATE = "writes_state"
    DESTRUCTIVE = "destructive"
    EXECUTES_CODE = "executes_code"
    SPENDS_MONEY = "spends_money"
    ADMIN_PRIVILEGE = "admin_privilege"
    COMPUTER_CONTROL = "computer_control"
    DELEGATES_MODEL = "delegates_model"
    LOADS_TOOLS = "loads_tools"
    MEMORY_PERSIST = "memory_persist"
    HUMAN_HANDOFF = "human_handoff"
    PURE = "pure"


CATEGORIES: tuple[str, ...] = (
    "pii",
    "phi",
    "pci",
    "credentials",
    "source_code",
    "legal",
    "hr",
    "financial",
    "security",
    "minors",
    "injection",
)
"""The shipped categories of findings; an organisation adds its own in `sensitivity.yaml`."""


class ScanState(StrEnum):
    """Whether everything that was sent could be read."""

    COMPLETE = "complete"
    UNSCANNED = "unscanned"


class Finding(msgspec.Struct, frozen=True):
    """One detector's observation. Holds a masked form only, so that it can be stored and shown.

    `part` is the index of the part in the task, `start` and `end` are character offsets in that part's text,
    `score` lies in [0, 1], `digest` is a keyed HMAC of the value for correlation (empty where there is none).
    """

    category: str
    kind: str
    rule: str
    part: int
    start: int
    end: int
    score: float
    masked: str
    digest: str = ""


class Intent(msgspec.Struct, frozen=True):
    """What the words of the current ask imply: capabilities, kinds of object, whether it delegates the choice."""

    capabilities: frozenset[Capability] = frozenset()
    objects: frozenset[str] = frozenset()
    delegates: bool = False


class Confidence(msgspec.Struct, frozen=True):
    """How sure the classifiers are of each answer, each in [0, 1]."""

    sensitivity: float = 1.0
    task: float = 0.0
    complexity: float = 0.0
    intent: float = 0.0


class Assessment(msgspec.Struct, frozen=True):
    """Everything the classifiers say of one task. `complexity_score` lies in [0, 1]; `scanned_bytes` are UTF-8 bytes."""

    sensitivity: Sensitivity
    categories: frozenset[str]
    findings: tuple[Finding, ...]
    access: Access
    intent: Intent
    task: TaskKind
    complexity_score: float
    complexity: Complexity
    confidence: Confidence
    state: ScanState
    scanned_bytes: int
    versions: dict[str, str]
