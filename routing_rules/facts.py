"""Everything that a decision may look at, read before the decision and recorded with it."""

from __future__ import annotations

from datetime import datetime

import msgspec

from routing_rules.catalogue import Observing
from routing_rules.task import Endpoint, Feature, ToolAsk, ToolChoice
from routing_rules.vocabulary import (
    Access,
    Capability,
    Complexity,
    Integrity,
    ScanState,
    Sensitivity,
    TaskKind,
)


class Labels(msgspec.Struct, frozen=True):
    """What a session carries. Both axes only ever rise."""

    integrity: Integrity = Integrity.TRUSTED
    confidentiality: Sensitivity = Sensitivity.PUBLIC

    def join(self, other: Labels) -> Labels:
        """The least labels that are at least both."""
        return Labels(max(self.integrity, other.integrity), max(self.confidentiality, other.confidentiality))


class Caller(msgspec.Struct, frozen=True):
    """Who asks, after the key has narrowed the app: what both together allow."""

    app: str
    owner: str
    team: str
    cost_center: str
    key_id: str
    clearance: Sensitivity
    ceiling: str
    purpose: str
    mode: str = "enforce"
    key_ceiling: str | None = None  # a key's own ceiling: what is granted lies within both
    observing: Observing | None = None  # set while the mode is `observe`: on whose word, and for which days


class Facts(msgspec.Struct, frozen=True):
    """Input of `decide`. JSON round trips keep it equal, so that a recorded decision can be re-run.

    `wish` is the model name the app sent, `wish_known` whether it is a name of the catalogue or of the price map.
    `detected` is what the classifiers found in this request; `labels` are the session's, already joined with what this
    request carries, so `labels.confidentiality` is the effective sensitivity. `unavailable` are deployments in
    cool-down, `pinned` the deployment that holds provider-side state this request refers to. `masked`: these are the facts of
    what is left after masking, so that what is decided on them is final; `labels` then leave out what was masked.
    `complexity` is the band that counts: that of `complexity_score`, or `complexity_before`, the one of the session's last ask,
    where the score lies within a margin of it, or where the request only `continues` that ask with results of tools.
    `changed_servers` are labels of MCP servers asked for that were found to list something else than was pinned.
    `degraded`: the period of the owner's budget, by its id, whose hard limit leaves only the fast tier.
    """

    now: datetime
    endpoint: Endpoint
    caller: Caller
    wish: str
    wish_known: bool
    detected: Sensitivity
    declared: Sensitivity | None
    labels: Labels
    categories: frozenset[str]
    access: Access
    intent: frozenset[Capability]
    task: TaskKind
    complexity: Complexity
    complexity_score: float
    state: ScanState
    tools: tuple[ToolAsk, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    features: frozenset[Feature] = frozenset()
    extra_fields: frozenset[str] = frozenset()
    input_bytes: int = 0
    max_output_tokens: int | None = None
    choices: int = 1
    unavailable: frozenset[str] = frozenset()
    pinned: str | None = None
    session_ended: str | None = None
    masked: bool = False
    complexity_before: Complexity | None = None
    continues: bool = False
    changed_servers: frozenset[str] = frozenset()
    degraded: str = ""
