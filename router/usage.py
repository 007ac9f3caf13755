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
    """Tokens of one attempt. `input` includes `cached_input` and `cache_write`; `output` includes `reasoning`."""

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    basis: Basis = Basis.REPORTED


class Line(msgspec.Struct, frozen=True):
    """One ledger line: an upstream attempt and a token class. `unit_price` is nano-USD per million tokens, None where unpriced."""

    attempt: int
    deployment: str
    provider: str
    model: str
    token_class: str  # input | cached_input | cache_write | output | reasoning
    quantity: int
    unit_price: int | None
    cost_nano: int
    basis: Basis
    outcome: str  # completed | cancelled | failed | retried | truncated
    price_source: str = "catalogue"


def lines(attempt: int, deployment: str, provider: str, model: str, usage: Usage, price: Price, outcome: str) -> tuple[Line, ...]:
    """Ledger lines of one attempt, one per token class that was used; an unpriced class costs 0 and says so by `unit_price` None.

    A class without a price of its own is billed as its parent: cached input and cache writes as input, reasoning as output.
    """
    plain_input = max(usage.input - usage.cached_input - usage.cache_write, 0)
    plain_output = max(usage.output - usage.reasoning, 0)
    classes = (
        ("input", plain_input, price.input),
        ("cached_input", usage.cached_input, price.input if price.cached_input is None else price.cached_input),
        ("cache_write", usage.cache_write, price.input if price.cache_write is None else price.cache_write),
        ("output", plain_output, price.output),
        ("reasoning", usage.reasoning, price.output if price.reasoning is None else price.reasoning),
    )
    return tuple(
        Line(
            attempt=attempt,
            deployment=deployment,
            provider=provider,
            model=model,
            token_class=name,
            quantity=quantity,
            unit_price=unit,
            cost_nano=0 if unit is None else cost_nano(quantity, unit),
            basis=usage.basis,
            outcome=outcome,
            price_source=price.source,
        )
        for name, quantity, unit in classes
        if quantity
    )
