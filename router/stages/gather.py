"""Everything that `decide` may look at, put into one value."""

from __future__ import annotations

from datetime import datetime

from router.exchange import SessionState
from routing_rules.facts import Caller, Facts, Labels
from routing_rules.task import Task
from routing_rules.vocabulary import Assessment


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
) -> Facts:
    """The facts of one request. Nothing is looked up here."""
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
        task=assessment.task,
        complexity=assessment.complexity,
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
    )
