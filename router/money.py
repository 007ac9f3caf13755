"""Money is integer nano-USD; prices are nano-USD per million tokens."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

NANO_PER_USD = 1_000_000_000
LARGEST_NANO = 2**53 - 1  # what a Redis Lua number still holds exactly
TOKENS_PER_PRICE_UNIT = 1_000_000


def cost_nano(quantity: int, price: int) -> int:
    """Cost in nano-USD of `quantity` units (tokens, calls) at `price` nano-USD per million, rounded up once."""
    return -(-quantity * price // TOKENS_PER_PRICE_UNIT)


def per_token_ceiling(price: int) -> int:
    """The smallest whole nano-USD per token that is not below `price` (nano-USD per million): for holds, never for bills."""
    return -(-price // TOKENS_PER_PRICE_UNIT)


def usd(nano: int) -> str:
    """Exact decimal dollars without an exponent: 1_500_000 nano-USD is `0.0015`."""
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    whole, fraction = divmod(nano, NANO_PER_USD)
    digits = f"{fraction:09d}".rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def parse_usd(text: str | float | int) -> int:
    """Nano-USD of a decimal dollar amount. Raises ValueError where it is no number or finer than a nano-dollar."""

    try:
        nano = Decimal(str(text)) * NANO_PER_USD
    except InvalidOperation:
        raise ValueError(f"`{text}` is not an amount in dollars") from None
    if not nano.is_finite() or nano != nano.to_integral_value():
        raise ValueError(f"`{text}` is finer than a nano-dollar")
    return int(nano)
