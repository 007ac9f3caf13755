"""Whatever was used at whatever prices: lines account for all of it, more never costs less, and a discount never adds."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from router.money import cost_nano
from router.stages.read_usage import usage_of
from router.usage import Usage, lines
from routing_rules.catalogue import Deployment, Price
from routing_rules.prices import ALL_PERCENT, TOKEN_CLASSES, USD, Discount, PriceBook, Rate, Row, Scope, Span, each_amount, priced
from routing_rules.vocabulary import Sensitivity

amounts = st.integers(0, 200 * 10**9)
classes = st.fixed_dictionaries({"input": amounts, "output": amounts}, optional=dict.fromkeys(TOKEN_CLASSES[1:4], amounts))


def price_of(found: dict[str, Any]) -> Price:
    return Price(**found)


plain = classes.map(price_of)
counts = st.integers(0, 10**6)
PARTS = ("cached_input", "cache_write", "cache_write_1h", "audio_input", "audio_cached_input", "image_input")
MADE = ("reasoning", "audio_output", "image_output")
DEPLOYMENT = Deployment("d", "p", "m", "fast", Sensitivity.PUBLIC)
NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    given_in: dict[str, Any] = {name: draw(counts) for name in draw(st.sets(st.sampled_from(PARTS)))}
    made: dict[str, Any] = {name: draw(counts) for name in draw(st.sets(st.sampled_from(MADE)))}
    tools = (("web_search", draw(st.integers(1, 50))),) if draw(st.booleans()) else ()
    return Usage(
        input=sum(given_in.values()) + draw(counts), output=sum(made.values()) + draw(counts), tools=tools, **given_in, **made
    )


@st.composite
def whole_prices(draw: st.DrawFn) -> Price:
    """Some classes or all of them, and for larger inputs the double."""
    price = draw(plain | st.fixed_dictionaries(dict.fromkeys(TOKEN_CLASSES, amounts)).map(price_of))
    price = msgspec.structs.replace(price, tools={"web_search": draw(amounts)})
    doubled = each_amount(price, lambda _, amount: amount * 2)
    return msgspec.structs.replace(price, above=((draw(st.integers(1, 10**6)), doubled),)) if draw(st.booleans()) else price


def booked(usage: Usage, price: Price) -> int:
    return sum(line.cost_nano for line in lines(1, "d", "p", "m", usage, price, "completed"))


@given(usages(), whole_prices())
def test_lines_hold_every_token_and_call_once_and_each_costs_its_quantity_times_its_price(usage: Usage, price: Price) -> None:
    found = lines(1, "d", "p", "m", usage, price, "completed")
    tokens = {line.token_class: line.quantity for line in found if line.unit == "tokens"}
    assert len({line.token_class for line in found}) == len(found)
    assert sum(tokens.get(name, 0) for name in ("input", *PARTS)) == usage.input
    assert sum(tokens.get(name, 0) for name in ("output", *MADE)) == usage.output
    assert [(line.token_class, line.quantity) for line in found if line.unit == "calls"] == list(usage.tools)
    assert all(line.cost_nano == (0 if line.unit_price is None else cost_nano(line.quantity, line.unit_price)) for line in found)


@given(usages(), whole_prices(), st.sampled_from(("input", "output")), counts)
def test_more_tokens_never_cost_less(usage: Usage, price: Price, direction: str, more: int) -> None:
    grown = msgspec.structs.replace(usage, **{direction: getattr(usage, direction) + more})
    assert booked(grown, price) >= booked(usage, price)


@given(plain, st.integers(1, ALL_PERCENT), usages())
def test_a_discount_never_adds_and_the_list_price_stays_beside_it(price: Price, percent: int, usage: Usage) -> None:
    row = Row("r", Scope(deployment="d"), price)
    off = Discount("o", Scope(deployment="d"), percent=percent)
    listed = priced(DEPLOYMENT, PriceBook("v", (row,))).price_at(NOON)
    billed = priced(DEPLOYMENT, PriceBook("v", (row,), (off,))).price_at(NOON)
    assert booked(usage, billed) <= booked(usage, listed)
    for line in lines(1, "d", "p", "m", usage, billed, "completed"):
        assert (line.list_price is None) == (line.unit_price is None)
        assert line.list_price is None or line.unit_price is None or line.unit_price <= line.list_price


@given(amounts, st.integers(1, 10**10))
def test_conversion_is_never_below_the_exact_amount_nor_a_whole_nano_above_it(amount: int, rate: int) -> None:
    since = date(2026, 1, 1)
    row = Row("r", Scope(deployment="d"), Price(input=amount, output=amount), Span(since), "EUR")
    found = priced(DEPLOYMENT, PriceBook("v", (row,), (), {"EUR": (Rate(since, rate),)})).price_at(NOON).input
    assert found is not None
    assert 0 <= found * 10**9 - amount * rate < 10**9


@given(
    st.lists(
        st.tuples(st.dates(date(2026, 1, 1), date(2027, 12, 31)), amounts), unique_by=lambda pair: pair[0], min_size=1, max_size=6
    ),
    st.dates(date(2026, 1, 1), date(2028, 1, 1)),
    st.times(),
)
def test_at_every_moment_the_row_of_its_day_counts(starts: list[tuple[date, int]], day_asked: date, at: time) -> None:
    ordered = sorted(starts)
    ends = [day for day, _ in ordered[1:]]
    rows = tuple(
        Row(
            f"r{i}",
            Scope(deployment="d"),
            Price(input=amount, output=amount),
            Span(day, date.fromordinal(ends[i].toordinal() - 1) if i < len(ends) else None),
        )
        for i, (day, amount) in enumerate(ordered)
    )
    found = priced(DEPLOYMENT, PriceBook("v", rows)).price_at(datetime.combine(day_asked, at, UTC)).input
    expected = next((row.price.input for row in rows if row.span.holds(day_asked)), None)
    assert found == expected
    assert USD == rows[0].currency


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**12) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
WORDS = (
    "prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "prompt_tokens_details", "completion_tokens_details",
    "prompt_cache_hit_tokens", "cache_creation_input_tokens", "cached_tokens", "prompt_audio_seconds", "num_search_queries",
)  # fmt: skip
NESTED = (
    "cached_tokens",
    "audio_tokens",
    "image_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cached_tokens_details",
    "web_search_requests",
)


@given(
    st.dictionaries(
        st.sampled_from(WORDS),
        counts | json_values | st.dictionaries(st.sampled_from(NESTED), counts | json_values, max_size=5),
        max_size=8,
    ),
    json_values,
)
def test_whatever_is_reported_is_read_to_parts_within_their_whole_or_to_nothing(
    reported: dict[str, object], tier: object
) -> None:
    usage = usage_of(reported, service_tier=tier)
    if usage is not None:
        assert sum(getattr(usage, name) for name in PARTS) <= usage.input
        assert sum(getattr(usage, name) for name in MADE) <= usage.output
        assert all(getattr(usage, name) >= 0 for name in (*PARTS, *MADE))
