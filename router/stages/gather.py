"""Everything that `decide` may look at, put into one value."""

from __future__ import annotations

from datetime import datetime

from classifiers.ask.complexity import held
from router.exchange import Asked, SessionState
from routing_rules.facts import Caller, Facts, Labels
from routing_rules.task import Endpoint, Provenance, Role, Task
from routing_rules.vocabulary import Assessment, Complexity, TaskKind


def gather(
    *,
    now: datetime,
    caller: Caller,
    task: Task,
    wish_known: bool,
    assessment: Assessment,
    session: SessionState,
    labels: Labels,
    pinned: str | None,
    masked: bool = False,
    changed_servers: frozenset[str] = frozenset(),
    degraded: str = "",
) -> Facts:
    """The facts of one request. Nothing is looked up here.

    Band and kind of the work are those of the session's last ask while results of tools come in for it, and the band is so while
    the score is close to it: a route shall not change in mid-work, nor for a word more or less.
    """
    before = session.asked if task.endpoint is not Endpoint.EMBEDDINGS else None
    on_with_it = before is not None and continues(task)
    kind, band = _asked(assessment, before, on_with_it)
    return Facts(
        now=now,
        endpoint=task.endpoint,
        caller=caller,
        wish=task.wish,
        wish_known=wish_known,
        detected=assessment.sensitivity,
        declared=task.declared,
        labels=labels,
        categories=assessment.categories,
        access=assessment.access,
        intent=assessment.intent.capabilities,
        task=kind,
        complexity=band,
        complexity_score=assessment.complexity_score,
        state=assessment.state,
        tools=task.tools,
        tool_choice=task.tool_choice,
        features=task.features,
        extra_fields=task.extra_fields,
        input_bytes=task.input_bytes,
        max_output_tokens=task.max_output_tokens,
        choices=task.choices,
        unavailable=session.unavailable,
        pinned=pinned,
        session_ended=session.ended,
        masked=masked,
        complexity_before=before.complexity if before is not None else None,
        continues=on_with_it,
        changed_servers=frozenset(ask.server for ask in task.tools if ask.server in changed_servers)
        if changed_servers
        else changed_servers,
        degraded=degraded,
    )


def continues(task: Task) -> bool:
    """Whether the request ends with what tools brought, so that the ask is still the one before."""
    for part in reversed(task.parts):
        if part.role is Role.TOOL:
            return True
        if part.role is Role.USER and part.provenance in (Provenance.USER, Provenance.ATTACHMENT):
            return False
    return False


def asked(facts: Facts) -> Asked | None:
    """What the session will remember of the ask; nothing of a request for vectors."""
    return None if facts.endpoint is Endpoint.EMBEDDINGS else Asked(facts.complexity, facts.task)


def _asked(assessment: Assessment, before: Asked | None, on_with_it: bool) -> tuple[TaskKind, Complexity]:
    if before is None:
        return assessment.task, assessment.complexity
    if on_with_it:
        return before.task, before.complexity
    return assessment.task, held(assessment.complexity_score, before.complexity)
