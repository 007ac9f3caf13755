"""Compares what was decided with what a revision that is tried as a shadow would have: beside the line, keeping differences only."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from router import telemetry
from router.governance.rules_replay import shadowed
from router.governance.rules_values import Differing
from router.services import InForce
from router.storage.sql.rules import RuleStore
from routing_rules.decisions import Decision
from routing_rules.facts import Facts

MOST_WAITING = 4096
"""Decisions that wait to be compared; under more than that, the oldest are not, and are not counted either."""

MOST_KEPT = 500
"""Differences that one round keeps; all are counted."""


class Decided(NamedTuple):
    """A decision as the line took it."""

    force: InForce
    request_id: str
    session_id: str
    facts: Facts
    decision: Decision


class Shadow:
    """What a worker has decided and not yet compared. Noting costs an append; comparing happens in a thread. SQL down: what was compared
    meanwhile is not kept."""

    def __init__(self, store: RuleStore, worker: str, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._worker = worker[:64]
        self._clock = clock
        self._waiting: deque[Decided] = deque(maxlen=MOST_WAITING)

    def note(self, force: InForce, request_id: str, session_id: str, facts: Facts, decision: Decision) -> None:
        """Remember a decision until it is compared. `force` is what decided, with what is tried beside it."""
        self._waiting.append(Decided(force, request_id, session_id, facts, decision))

    async def write(self) -> None:
        """Compare what waits, and keep what differs."""
        if not self._waiting:
            return
        waiting = list(self._waiting)
        self._waiting.clear()
        try:
            await asyncio.to_thread(self._compare, waiting)
        except SQLAlchemyError as error:
            telemetry.logger().warning("shadow_not_kept", error=type(error).__name__)

    def _compare(self, waiting: Sequence[Decided]) -> None:
        at = self._clock()
        compared: dict[str, int] = {}
        found: dict[str, list[Differing]] = {}
        for each in waiting:
            trial = each.force.trial
            if trial is None:
                continue
            compared[trial.proposal] = compared.get(trial.proposal, 0) + 1
            told = shadowed(each.force.rules, trial.force.rules, each.facts, each.decision)
            if told is not None:
                one = Differing(each.request_id, at, each.facts.caller.app, each.session_id, *told)
                found.setdefault(trial.proposal, []).append(one)
        for proposal, count in compared.items():
            differing = found.get(proposal, [])
            self._store.note_shadow(proposal, self._worker, count, len(differing), differing[:MOST_KEPT])
