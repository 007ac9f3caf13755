"""What a request cost in the end: true usage to ledger lines, or an estimate that says so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from router.exchange import JudgedCall, Outcome
from router.usage import Basis, Line, Usage, lines
from routing_rules.catalogue import Deployment
from routing_rules.task import Endpoint, Task

BYTES_PER_TOKEN = 4
"""Rule of thumb for English text in current tokenizers; used only where a provider reports nothing, and marked `estimated`."""


def estimated_usage(task: Task, output_chars: int, tools: tuple[tuple[str, int], ...] = ()) -> Usage:
    """Usage where the provider reported none: a cancelled or broken answer still cost its input and what was seen of it, hosted calls
    (`tools`) among it."""
    output = 0 if task.endpoint is Endpoint.EMBEDDINGS else -(-output_chars // BYTES_PER_TOKEN)
    return Usage(input=-(-task.input_bytes // BYTES_PER_TOKEN), output=output, basis=Basis.ESTIMATED, tools=tools)


def seen_usage(
    task: Task, reported: Usage | None, output_chars: int, *, complete: bool, tools: tuple[tuple[str, int], ...] = ()
) -> Usage:
    """What an answer used, as far as it was seen: what the provider reported, else an estimate. Messages report their output at the
    beginning, too, long before there is any: of one that came to no end the larger of that and what was seen counts. `tools`: the hosted
    calls that were seen."""
    if reported is None:
        return estimated_usage(task, output_chars, tools)
    if complete or task.endpoint is not Endpoint.MESSAGES or not reported.input:
        return reported
    seen = -(-output_chars // BYTES_PER_TOKEN)
    output = max(seen, reported.output)
    return msgspec.structs.replace(reported, output=output, basis=Basis.ESTIMATED, tools=reported.tools or tools)


def attempt_lines(attempt: int, deployment: Deployment, usage: Usage, outcome: str, at: datetime) -> tuple[Line, ...]:
    """Ledger lines of one attempt, at the prices that held `at` the moment when the request came."""
    price = deployment.price_at(at)
    return lines(attempt, deployment.id, deployment.provider, deployment.model, usage, price, outcome)


def outcome_of(
    *,
    request_id: str,
    at: datetime,
    outcome: str,
    code: str | None,
    deployment: str | None,
    booked: Sequence[Line],
    held_nano: int,
    released: tuple[str, ...],
    refused: tuple[str, ...],
    timings_us: dict[str, int],
    judgements: tuple[JudgedCall, ...] = (),
) -> Outcome:
    """The record that closes the ledger entry. Usage above the hold is charged in full and flagged."""
    cost = sum(line.cost_nano for line in booked)
    estimated = any(line.basis is Basis.ESTIMATED for line in booked)
    return Outcome(
        request_id=request_id,
        at=at,
        outcome=outcome,
        code=code,
        deployment=deployment,
        lines=tuple(booked),
        cost_nano=cost,
        basis=Basis.ESTIMATED if estimated else Basis.REPORTED,
        over_hold=cost > held_nano,
        tools_released=released,
        tools_refused=refused,
        timings_us=timings_us,
        judgements=judgements,
    )
