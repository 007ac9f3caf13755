"""The collaborators of the line, built once by the composition root and never changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zlib import crc32

from router.exchange import JsonObject
from router.ports import Approvals, Budgets, Directory, Masks, Sessions, Upstream
from router.siblings import Siblings
from router.stages.classify import Classifiers
from router.stages.entitlement_token import TokenKeys
from router.stages.keep_responses import Keeper
from router.stages.open_session import ConversationChain
from router.streaming import Broadcast, Drains, Pumps
from routing_rules.budgets import Raise
from routing_rules.decisions import Decision, Withheld
from routing_rules.facts import Facts
from routing_rules.rules import RuleSet
from routing_rules.task import ToolAsk


@dataclass(frozen=True, slots=True)
class Trial:
    """A rule set that is tried on live traffic: as a canary it decides on `share` percent of the sessions, else (0) on none."""

    proposal: str
    share: int
    force: InForce

    def takes(self, session_id: str) -> bool:
        """Whether this session is decided by it: a session from its first request to its last."""
        return self.share > 0 and crc32(f"{self.proposal}:{session_id}".encode()) % 100 < self.share


@dataclass(frozen=True, slots=True)
class InForce:
    """One rule set with what was built from it: classifiers, fields allowed beyond OpenAI's, ids of deployments. While another is tried
    beside it, fields and deployments are those of both."""

    rules: RuleSet
    classifiers: Classifiers
    extra_fields: frozenset[str]
    deployments: tuple[str, ...]
    trial: Trial | None = None

    def rules_of(self, session_id: str) -> tuple[RuleSet, ...]:
        """The rule set that decides on a session, before the other that decides on others while a canary is tried."""
        if self.trial is None or not self.trial.share:
            return (self.rules,)
        both = (self.trial.force.rules, self.rules)
        return both if self.trial.takes(session_id) else both[::-1]


def nothing_raised(_: str) -> tuple[Raise, ...]:
    """For a line without raises of owners' budgets."""
    return ()


@dataclass(frozen=True, slots=True)
class Services:
    """What the line works with. `in_force` raises Unavailable(`not_ready`) before the first rules are loaded."""

    directory: Directory
    in_force: Callable[[], InForce]
    sessions: Sessions
    masks: Masks
    budgets: Budgets
    upstream: Upstream
    chains: ConversationChain
    pumps: Pumps
    running: dict[tuple[str, str], Broadcast]
    siblings: Siblings
    known_models: Callable[[], frozenset[str]]
    clock: Callable[[], datetime]
    secret: bytes
    tokens: TokenKeys
    note_tools: Callable[[str, Sequence[ToolAsk], JsonObject, Sequence[Withheld]], None]
    note_changed: Callable[[str, str, Sequence[Any]], None]  # app, label of an MCP server, the tools that it lists
    drains: Drains
    changed_servers: Callable[[], frozenset[str]]  # labels of MCP servers that listed something else than was pinned
    worker: str
    governance: Callable[[], str]
    note_shadow: Callable[[InForce, str, str, Facts, Decision], None]  # request and session, for what is tried as a shadow
    approvals: Approvals | None = None  # None: nobody can be asked, and what is held is refused
    address: str = ""  # where others reach the service, without a slash at its end
    raised: Callable[[str], tuple[Raise, ...]] = nothing_raised  # what an owner's limits were raised by
    keeper: Keeper | None = None  # None: no response can be fetched again, and none is left to itself in the background
