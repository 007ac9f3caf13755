"""`prices.yaml` to the price book, every fault with its place."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from routing_rules.catalogue import Deployment, Price
from routing_rules.faults import did_you_mean
from routing_rules.prices import (
    ALL_PERCENT,
    SERVICE_TIERS,
    TOKEN_CLASSES,
    USD,
    Discount,
    PriceBook,
    Rate,
    Row,
    Scope,
    Span,
    version_of,
)
from routing_rules.reading import Entry

CURRENCY = re.compile(r"[A-Z]{3}")
TOOL = re.compile(r"[a-z][a-z0-9_]{0,31}")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
ROW_EXAMPLE = "`deployment: ID`, or `model: NAME` with or without `provider: NAME`"

T = TypeVar("T", Row, Discount)


def read_prices(top: Entry, deployments: Collection[Deployment]) -> PriceBook:
    """The book that a file describes. It may name models that nothing runs yet, but no deployment that there is not."""
    declared = top.text("version", "")
    if declared and not VERSION.fullmatch(declared):
        top.fault("version", "wrong_type", "a version is up to 32 letters, digits, `.`, `_` or `-`")
    rates = _rates(top)
    default = _currency(top, rates, USD)
    ids = tuple(deployment.id for deployment in deployments)
    rows: dict[str, Row] = {}
    for entry in top.entries("prices", required=False):
        row = _row(entry, entry.identifier(rows), ids, default, rates)
        _check_overlap(entry, row, rows.values())
        rows[row.id] = row
        entry.close()
    discounts: dict[str, Discount] = {}
    for entry in top.entries("discounts", required=False):
        discount = _discount(entry, entry.identifier(discounts), ids, default, rates)
        _check_overlap(entry, discount, discounts.values())
        discounts[discount.id] = discount
        entry.close()
    found = tuple(rows.values()), tuple(discounts.values())
    if not any(found):
        return PriceBook()
    return PriceBook(version_of(declared, *found, rates), *found, rates)


def _rates(top: Entry) -> dict[str, tuple[Rate, ...]]:
    entry = top.entry("rates")
    if entry is None:
        return {}
    found: dict[str, tuple[Rate, ...]] = {}
    for currency in entry.keys():
        if not CURRENCY.fullmatch(currency) or currency == USD:
            entry.fault(currency, "bad_currency", f"`{currency[:8]}` is no other currency; expected three capitals such as `EUR`")
        rates: list[Rate] = []
        for each in entry.entries(currency):
            since, worth = each.day("from"), each.maybe_nano("usd")
            if worth is None or worth == 0:
                each.fault("usd", "bad_amount", "a rate says what one unit is worth", "add a line such as `usd: 1.0842`")
            elif rates and since <= rates[-1].since:
                each.fault("from", "wrong_type", "rates stand in the order of their days, each day once")
            else:
                rates.append(Rate(since, worth))
            each.close()
        found[currency] = tuple(rates)
    return found


def _currency(entry: Entry, rates: Mapping[str, Sequence[Rate]], default: str) -> str:
    currency = entry.text("currency", default)
    if currency != USD and currency not in rates:
        hint = did_you_mean(currency, (*rates, USD)) or f"add `rates: {{{currency[:3]}: [{{from: 2026-01-01, usd: 1.0842}}]}}`"
        entry.fault("currency", "unknown_word", f"there is no rate for the currency `{currency[:8]}`", hint)
    return currency


def _scope(entry: Entry, ids: Collection[str], *, of_provider: bool) -> Scope:
    deployment = entry.word("deployment", ids, "")
    scope = Scope(deployment=deployment, provider=entry.text("provider", ""), model=entry.text("model", ""))
    if scope.deployment and (scope.provider or scope.model):
        entry.fault(
            "deployment", "wrong_type", "a deployment says already which model of which provider it is", "leave those out"
        )
    elif not (scope.deployment or scope.model or (of_provider and scope.provider)):
        expected = f"{ROW_EXAMPLE}, or `provider: NAME`" if of_provider else ROW_EXAMPLE
        entry.fault(None, "missing_key", "the entry does not say what it is about", f"expected {expected}")
    return scope


def _span(entry: Entry) -> Span:
    span = Span(entry.maybe_day("from"), entry.maybe_day("until"))
    if span.since and span.until and span.until < span.since:
        entry.fault("until", "wrong_type", "`until` is before `from`")
    return span


def _row(entry: Entry, id: str, ids: Collection[str], default: str, rates: Mapping[str, Sequence[Rate]]) -> Row:
    row = Row(
        id=id,
        scope=_scope(entry, ids, of_provider=False),
        price=_amounts(entry),
        span=_span(entry),
        currency=_currency(entry, rates, default),
        assumed=entry.boolean("assumed", False),
        source=entry.text("source", ""),
        read=entry.maybe_day("read"),
        reason=entry.text("reason", ""),
    )
    if row.price.input is None:
        hint = "add a line such as `per_million: {input: 0.40, output: 1.60}`"
        entry.fault(None, "missing_key", "a price says at least what input costs", hint)
    if 0 in (row.price.input, row.price.output) and not row.reason:
        entry.fault(None, "zero_price", "a price of zero needs a reason", "say in `reason` who pays, such as `own hardware`")
    _check_rates(entry, row.span, row.currency, rates)
    return row


def _discount(entry: Entry, id: str, ids: Collection[str], default: str, rates: Mapping[str, Sequence[Rate]]) -> Discount:
    percent, fixed = entry.maybe_nano("percent"), entry.entry("fixed")
    prices = None
    if fixed is not None:
        prices = _amounts(fixed)
        fixed.close()
    if (percent is None) == (prices is None):
        entry.fault(None, "missing_key", "a discount is one thing: `percent`, or `fixed` prices")
    if percent is not None and not 0 < percent <= ALL_PERCENT:
        entry.fault("percent", "bad_amount", "a discount is above 0 and up to 100 percent")
    if percent == ALL_PERCENT and not entry.has("source"):
        entry.fault("percent", "zero_price", "a price of zero needs a reason", "say in `source` which contract gives it")
    classes = entry.words("classes", default=())
    for name in classes:
        if name not in TOKEN_CLASSES and not TOOL.fullmatch(name):
            entry.fault("classes", "unknown_word", f"unknown class `{name[:32]}`", did_you_mean(name, TOKEN_CLASSES))
    discount = Discount(
        id=id,
        scope=_scope(entry, ids, of_provider=True),
        span=_span(entry),
        percent=percent,
        fixed=prices,
        currency=_currency(entry, rates, default),
        classes=classes,
        source=entry.text("source", ""),
    )
    if prices is not None:
        _check_rates(entry, discount.span, discount.currency, rates)
        if 0 in (prices.input, prices.output) and not discount.source:
            entry.fault("fixed", "zero_price", "a price of zero needs a reason", "say in `source` which contract gives it")
    return discount


def _check_rates(entry: Entry, span: Span, currency: str, rates: Mapping[str, Sequence[Rate]]) -> None:
    """A price in another currency holds from no earlier day than it can be converted on."""
    known = rates.get(currency, ())
    if currency != USD and known and (span.since is None or span.since < known[0].since):
        hint = f"write `from: {known[0].since}` or add an earlier rate"
        entry.fault(
            "from", "no_rate", f"the first rate of `{currency[:8]}` is of {known[0].since}, and the price holds earlier", hint
        )


def _check_overlap(entry: Entry, one: T, others: Collection[T]) -> None:
    for other in others:
        if other.scope == one.scope and other.span.meets(one.span) and _same_matter(one, other):
            message = f"`{other.id}` is about the same, and both hold on some day"
            entry.fault(None, "overlap", message, "end one with `until` on the day before the other's `from`")
            return


def _same_matter(one: Row | Discount, other: Row | Discount) -> bool:
    if isinstance(one, Discount) and isinstance(other, Discount):
        return not one.classes or not other.classes or bool({*one.classes} & {*other.classes})
    return isinstance(one, Row) and isinstance(other, Row) and one.assumed == other.assumed


def _amounts(entry: Entry) -> Price:
    """The prices under an entry: of the standard tier, above numbers of input tokens, and of other tiers."""
    tiers = entry.entry("service_tiers")
    found: dict[str, Price] = {}
    if tiers is not None:
        for name in SERVICE_TIERS:
            tier = tiers.entry(name)
            if tier is not None:
                found[name] = _with_larger(tier)
                tier.close()
        tiers.close()
    plain = _with_larger(entry)
    tools = plain.tools
    return Price(
        **_classes(plain),
        tools=tools,
        above=plain.above,
        # A tool costs the same under every tier that says nothing else.
        service_tiers={name: _with_tools(price, tools) for name, price in found.items()},
    )


def _with_larger(entry: Entry) -> Price:
    own, tools = _per_million(entry), _calls(entry)
    larger: list[tuple[int, Price]] = []
    for each in entry.entries("above", required=False):
        tokens = each.maybe_integer("input_tokens", least=1)
        if tokens is None:
            each.fault("input_tokens", "missing_key", "the step does not say above how many tokens", "add `input_tokens: 200000`")
        elif larger and tokens <= larger[-1][0]:
            each.fault("input_tokens", "wrong_type", "steps stand in the order of their numbers, the least first")
        amounts = _per_million(each)
        if amounts.get("input") is None:
            each.fault(
                None, "missing_key", "a step says at least what input costs", "add a line such as `per_million: {input: 2.50}`"
            )
        larger.append((tokens or 0, Price(**amounts, tools=tools)))
        each.close()
    return Price(**own, tools=tools, above=tuple(larger))


def _with_tools(price: Price, tools: dict[str, int]) -> Price:
    every = tools | price.tools
    above = tuple((tokens, Price(**_classes(each), tools=every)) for tokens, each in price.above)
    return Price(**_classes(price), tools=every, above=above)


def _classes(price: Price) -> dict[str, Any]:
    return {name: getattr(price, name) for name in TOKEN_CLASSES}


def _per_million(parent: Entry) -> dict[str, Any]:
    entry = parent.entry("per_million")
    if entry is None:
        return {}
    found = {name: amount for name in TOKEN_CLASSES if (amount := entry.maybe_nano(name)) is not None}
    entry.close()
    return found


def _calls(parent: Entry) -> dict[str, int]:
    """Of hosted tools, per million calls: contracts and price lists tell it per thousand."""
    entry = parent.entry("per_thousand_calls")
    if entry is None:
        return {}
    found = {}
    for name in entry.keys():
        amount = entry.maybe_nano(name)
        if not TOOL.fullmatch(name) and name != "*":
            entry.fault(name, "unknown_word", f"`{name[:32]}` names no hosted tool; expected a name such as `web_search`")
        if amount is not None:
            found[name] = amount * 1_000
    return found
