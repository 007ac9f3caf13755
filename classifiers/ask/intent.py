"""What the words of the current ask imply: capabilities, kinds of object, whether it leaves the choice to others' words."""

from __future__ import annotations

from functools import lru_cache

from classifiers.ask.complexity import probability
from routing_rules.vocabulary import Capability, Intent

INTENT_HEADS = ("intent", "objects", "delegates")
"""The heads whose columns, in this order, `intent` reads."""

OBJECTS = (
    "email", "calendar", "file", "customer", "payment", "ticket", "database", "web", "code", "message", "contact", "account",
    "booking", "memory",
)  # fmt: skip
"""What an ask can be about, where it needs a tool."""

_CAPABILITIES = {capability.value: capability for capability in Capability}


def intent(names: tuple[str, ...], logits: list[float]) -> tuple[Intent, float]:
    """The implied intent and how sure it is: of all yes-or-no answers, the least sure one. `logits` in the order of `names`.

    `names` holds capabilities, then objects, then `delegates`.
    """
    present = tuple([logit >= 0.0 for logit in logits])
    return _intent(names, present), 2.0 * probability(min(map(abs, logits))) - 1.0


@lru_cache(maxsize=1_000)
def _intent(names: tuple[str, ...], present: tuple[bool, ...]) -> Intent:
    said = {name for name, is_present in zip(names, present, strict=True) if is_present}
    return Intent(
        capabilities=frozenset([_CAPABILITIES[name] for name in said if name in _CAPABILITIES]),
        objects=frozenset(said.intersection(OBJECTS)),
        delegates="delegates" in said,
    )
