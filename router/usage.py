"""What a provider's answer used, by token class, and what each class costs."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from router.money import cost_nano
from routing_rules.catalogue import Price


class Basis(StrEnum):
    """Where the figures of a ledger line come from."""

    REPORTED = "reported"
    ESTIMATED = "estimated"


class Usage(msgspec.Struct, frozen=True):
    """What one attempt used. `input` is all tokens of the input, of which the classes that are named apart are disjoint parts, and so
    is `output` with `reasoning`, `audio_output` and `image_output`. `cache_write` are entries that live for minutes, `cache_write_1h`
    for an hour. `tools` are calls of hosted tools, by kind. `service_tier` is the tier under which the provider served it, '' its
    standard one."""

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    basis: Basis = Basis.REPORTED
    cache_write_1h: int = 0
    audio_input: int = 0
    audio_cached_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_output: int = 0
    tools: tuple[tuple[str, int], ...] = ()
    service_tier: str = ""


class Line(msgspec.Struct, frozen=True):
    """One ledger line: an upstream attempt and a class of tokens, or a hosted tool. `quantity` counts in `unit` (tokens, calls, seconds).

    `unit_price` is what is billed in nano-USD per million units, None where unpriced; `list_price` the same before any discount.
    `price_book` is the version of the price book that gave them, '' where none did. `service_tier` is the tier under which it was served,
    `standard` the provider's standard one; '' where nobody noted it.
    """

    attempt: int
    deployment: str
    provider: str
    model: str
    token_class: str  # of Usage, or a hosted tool
    quantity: int
    unit_price: int | None
    cost_nano: int
    basis: Basis
    outcome: str  # completed | cancelled | failed | retried | truncated
    price_source: str = "catalogue"
    unit: str = "tokens"
    list_price: int | None = None
    price_book: str = ""
    service_tier: str = ""


STANDARD_TIER = "standard"


def lines(attempt: int, deployment: str, provider: str, model: str, usage: Usage, price: Price, outcome: str) -> tuple[Line, ...]:
    """Ledger lines of one attempt, one per class that was used; an unpriced class costs 0 and says so by `unit_price` None.

    Which price a class without one of its own is billed by: `Price.of`.
    """
    rates = price.applied(usage.input, usage.service_tier)
    listed = rates if price.at_list is None else price.at_list.applied(usage.input, usage.service_tier)
    apart = usage.cache_write_1h + usage.audio_input + usage.audio_cached_input + usage.image_input
    made_apart = usage.audio_output + usage.image_output
    used = [
        ("input", usage.input - usage.cached_input - usage.cache_write - apart),
        ("cached_input", usage.cached_input),
        ("cache_write", usage.cache_write),
        ("output", usage.output - usage.reasoning - made_apart),
        ("reasoning", usage.reasoning),
    ]
    if apart or made_apart:
        used += [(name, getattr(usage, name)) for name in APART]
    tier = usage.service_tier or STANDARD_TIER
    booked = []
    for name, quantity in used:
        if quantity > 0:
            unit_price = rates.of(name)
            list_price = unit_price if listed is rates else listed.of(name)
            cost = 0 if unit_price is None else cost_nano(quantity, unit_price)
            line = Line(
                attempt, deployment, provider, model, name, quantity, unit_price, cost, usage.basis, outcome, price.source,
                "tokens", list_price, price.book, tier,
            )  # fmt: skip
            booked.append(line)
    for tool, calls in usage.tools:
        unit_price, list_price = rates.tools.get(tool), listed.tools.get(tool)
        cost = 0 if unit_price is None else cost_nano(calls, unit_price)
        line = Line(
            attempt, deployment, provider, model, tool, calls, unit_price, cost, usage.basis, outcome, price.source,
            "calls", list_price, price.book, tier,
        )  # fmt: skip
        booked.append(line)
    return tuple(booked)


APART = ("cache_write_1h", "audio_input", "audio_cached_input", "image_input", "audio_output", "image_output")
"""Classes that most requests use nothing of."""
