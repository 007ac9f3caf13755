"""What the words of the current ask imply: capabilities, kinds of object, whether it leaves the choice to others' words."""

from __future__ import annotations

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


def intent(names: list[str], logits: list[float]) -> tuple[Intent, float]:
    """The implied intent and how sure it is: of all yes-or-no answers, the least sure one. `logits` in the order of `names`.

    `names` holds capabilities, then objects, then `delegates`.
    """
    present = {name for name, logit in zip(names, logits, strict=True) if logit >= 0.0}
    unsure = min(map(abs, logits))
    return (
        Intent(
            capabilities=frozenset([_CAPABILITIES[name] for name in present if name in _CAPABILITIES]),
            objects=frozenset(present.intersection(OBJECTS)),
            delegates="delegates" in present,
        ),
        2.0 * probability(unsure) - 1.0,
    )
