"""Which kind of work the current ask is."""

from __future__ import annotations

import math

from routing_rules.vocabulary import TaskKind

_AGENTIC_WITH_TOOLS = 0.3
"""With tools in hand, an ask of several steps is agentic even where another kind of work is somewhat likelier."""


def task_kind(kinds: list[TaskKind], logits: list[float], *, tools: bool) -> tuple[TaskKind, float]:
    """The likeliest kind and its probability; `logits` in the order of `kinds`."""
    top = max(logits)
    likelihoods = [math.exp(logit - top) for logit in logits]
    total = sum(likelihoods)
    best = likelihoods.index(max(likelihoods))
    if tools:
        agentic = kinds.index(TaskKind.AGENTIC)
        if likelihoods[agentic] >= _AGENTIC_WITH_TOOLS * total:
            best = agentic
    return kinds[best], likelihoods[best] / total
