"""The price book: what models cost, from when until when, in which currency, and what was agreed with whom (pure)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal
from hashlib import sha256

import msgspec

from routing_rules.catalogue import BILLED_AS, Deployment, Price
from routing_rules.task import Feature

TOKEN_CLASSES = (
    "input",
    "cached_input",
    "cache_write",
    "cache_write_1h",
    "output",
    "reasoning",
    "audio_input",
    "audio_cached_input",
    "audio_output",
    "image_input",
    "image_output",
)
"""Classes of tokens that have prices, as `Price` names them."""

INPUT_CLASSES = frozenset(
    {"input", "cached_input", "cache_write", "cache_write_1h", "audio_input", "audio_cached_input", "image_input"}
)
"""Those of them that count as input of a request: the steps of `above` are about their sum."""

HOSTED_TOOLS = ("web_search", "file_search", "code_interpreter", "computer_use", "image_generation", "web_fetch")
"""Hosted tools that usage readers count by these names; a price book may name others."""

SERVICE_TIERS = ("batch", "flex", "priority")
USD = "USD"
BOOK, ASSUMED = "price book", "assumed"
"""What `Price.source` says of a price from the book, and of one that nobody was told."""

NANO = 1_000_000_000
ALL_PERCENT = 100 * NANO
BEGINNING = date.min
DAY = timedelta(days=1)


class Scope(msgspec.Struct, frozen=True, order=True):
    """What a row of the book is about. A row for a deployment goes before one for a provider's model, this before one for a model
    wherever it runs, and this before one for a provider."""

    deployment: str = ""
    provider: str = ""
    model: str = ""

    @property
    def rank(self) -> int:
        """How particular it is; the lowest goes first."""
        if self.deployment:
            return 0
        return (1 if self.provider else 2) if self.model else 3

    def covers(self, deployment: Deployment) -> bool:
        """Whether a deployment is meant."""
        return (
            self.deployment in ("", deployment.id)
            and self.provider in ("", deployment.provider)
            and self.model in ("", deployment.model)
        )


class Span(msgspec.Struct, frozen=True):
    """Days (UTC) on which something holds, both included; None: without end."""

    since: date | None = None
    until: date | None = None

    def holds(self, day: date) -> bool:
        """Whether it holds on this day."""
        return (self.since is None or self.since <= day) and (self.until is None or day <= self.until)

    def meets(self, other: Span) -> bool:
        """Whether there is a day on which both hold."""
        return (self.since or date.min) <= (other.until or date.max) and (other.since or date.min) <= (self.until or date.max)


class Row(msgspec.Struct, frozen=True):
    """A list price. `price` is in billionths of the `currency` per million. `assumed`: nobody was told it, it is what limits count with.

    `source` says where it was read, and `read` when; `reason` why a price is zero.
    """

    id: str
    scope: Scope
    price: Price
    span: Span = Span()
    currency: str = USD
    assumed: bool = False
    source: str = ""
    read: date | None = None
    reason: str = ""


class Discount(msgspec.Struct, frozen=True):
    """What a contract takes off: `percent` in billionths of a percent, or `fixed` prices. `classes` and tools it is about; empty: all."""

    id: str
    scope: Scope
    span: Span = Span()
    percent: int | None = None
    fixed: Price | None = None
    currency: str = USD
    classes: tuple[str, ...] = ()
    source: str = ""


class Rate(msgspec.Struct, frozen=True):
    """What one unit of a currency is worth from a day on, in nano-USD."""

    since: date
    nano_usd: int


class PriceBook(msgspec.Struct, frozen=True):
    """All of `prices.yaml`. `version` names its contents."""

    version: str = ""
    rows: tuple[Row, ...] = ()
    discounts: tuple[Discount, ...] = ()
    rates: dict[str, tuple[Rate, ...]] = {}


NO_BOOK = PriceBook()
"""A rule set without prices of its own: what models.yaml says is what counts."""


def rounded(amount: Decimal) -> int:
    """The one way in which a price becomes whole nano-USD: what is left over is rounded up, so that no price is ever below the true one."""
    return int(amount.to_integral_value(rounding=ROUND_CEILING))


def version_of(declared: str, rows: Iterable[Row], discounts: Iterable[Discount], rates: Mapping[str, tuple[Rate, ...]]) -> str:
    """The name of a book's contents: the version that it declares, and a digest, so that two contents never have one name."""
    contents = msgspec.json.encode((list(rows), list(discounts), dict(sorted(rates.items()))), enc_hook=str)
    digest = sha256(contents).hexdigest()[:8]
    return f"{declared}.{digest}" if declared else f"pb-{digest}"


def priced(deployment: Deployment, book: PriceBook) -> Deployment:
    """The deployment with what the book says of it: its price from each day on from which another one holds."""
    rows = [row for row in book.rows if row.scope.covers(deployment)]
    discounts = [discount for discount in book.discounts if discount.scope.covers(deployment)]
    if not rows and not discounts:
        return deployment
    days = {BEGINNING}
    for span in (*(row.span for row in rows), *(discount.span for discount in discounts)):
        days |= {span.since} if span.since is not None else set()
        days |= {span.until + DAY} if span.until is not None and span.until < date.max else set()
    for currency in {row.currency for row in rows} | {discount.currency for discount in discounts}:
        days |= {rate.since for rate in book.rates.get(currency, ())}
    dated: list[tuple[datetime, Price]] = []
    for day in sorted(days):
        price = price_on(deployment, rows, discounts, book, day)
        if not dated or dated[-1][1] != price:
            dated.append((datetime.combine(day, time.min, UTC), price))
    return msgspec.structs.replace(deployment, prices=tuple(dated))


def price_on(deployment: Deployment, rows: Iterable[Row], discounts: Iterable[Discount], book: PriceBook, day: date) -> Price:
    """What a deployment costs on a day, by the rows and discounts that cover it; what models.yaml says where no row does."""
    row = row_on(rows, day)
    known = deployment.price.known and deployment.price.source != ASSUMED
    if row is None or (row.assumed and known):
        listed = deployment.price
    else:
        listed = in_usd(row.price, row.currency, book, day)
        listed = msgspec.structs.replace(listed, source=ASSUMED if row.assumed else BOOK)
    if deployment.features == ONLY_EMBEDS and listed.input is not None and listed.output is None:
        listed = msgspec.structs.replace(listed, output=0)  # there is nothing that an answer could be paid for
    holding = [discount for discount in discounts if discount.span.holds(day)]
    if not holding:
        return listed if listed is deployment.price else msgspec.structs.replace(listed, book=book.version)
    # A discount on some classes leaves those alone that would be billed by their price, and reaches those that have none of their own.
    named = {name for discount in holding for name in discount.classes}
    apart = (
        {name for name in BILLED_AS if name in named or name != "reasoning"} if named else set()
    )  # reasoning is output, as a rule
    whole = _with_each_class(listed, listed, apart)
    billed = whole
    agreed: set[str] = set()
    # The most particular has the last word: what it says is of the list price, never of another discount.
    for discount in sorted(holding, key=lambda each: each.scope.rank, reverse=True):
        about = {name for name in TOKEN_CLASSES if not discount.classes or name in discount.classes}  # they may name tools, too
        if discount.percent is not None:
            agreed -= about
            billed = _over(billed, _lowered(whole, discount.percent), discount.classes)
        else:
            fixed = in_usd(discount.fixed or Price(), discount.currency, book, day)
            agreed |= {name for name in about if getattr(fixed, name) is not None}
            billed = _over(billed, _with_each_class(fixed, listed, apart), discount.classes)
    if listed.source == ASSUMED and {name for name in TOKEN_CLASSES if getattr(listed, name)} <= agreed:
        billed = msgspec.structs.replace(billed, source=BOOK)
    return msgspec.structs.replace(billed, at_list=listed, book=book.version)


ONLY_EMBEDS = frozenset({Feature.EMBEDDINGS})


def row_on(rows: Iterable[Row], day: date) -> Row | None:
    """The row that counts on a day: the most particular one, and of an assumed price and one that was told, the latter."""
    holding = [row for row in rows if row.span.holds(day)]
    return min(holding, key=lambda row: (row.assumed, row.scope.rank), default=None)


def in_usd(price: Price, currency: str, book: PriceBook, day: date) -> Price:
    """A price in another currency at the rate of a day; nothing is known of it before the first rate."""
    if currency == USD:
        return price
    rate = next((each.nano_usd for each in reversed(book.rates.get(currency, ())) if each.since <= day), None)
    if rate is None:
        return Price(source=price.source)
    return each_amount(price, lambda _, amount: rounded(Decimal(amount) * rate / NANO))


def each_amount(price: Price, change: Callable[[str, int], int]) -> Price:
    """A price with every amount in it changed, which `change` is given with the name of its class or tool."""
    own = {name: change(name, amount) for name in TOKEN_CLASSES if (amount := getattr(price, name)) is not None}
    return msgspec.structs.replace(
        price,
        **own,
        tools={name: change(name, amount) for name, amount in price.tools.items()},
        above=tuple((tokens, each_amount(each, change)) for tokens, each in price.above),
        service_tiers={name: each_amount(each, change) for name, each in price.service_tiers.items()},
    )


def _with_each_class(price: Price, listed: Price, apart: Collection[str]) -> Price:
    """A price with an amount of its own for each class of `apart` for which `listed` has none, where it is billed as another one."""
    own = {name: price.of(name) for name in apart if getattr(listed, name) is None}
    above, tiers = dict(listed.above), listed.service_tiers
    return msgspec.structs.replace(
        price,
        **own,
        above=tuple((tokens, _with_each_class(each, above.get(tokens, listed), apart)) for tokens, each in price.above),
        service_tiers={
            name: _with_each_class(each, tiers.get(name, listed), apart) for name, each in price.service_tiers.items()
        },
    )


def _lowered(price: Price, percent: int) -> Price:
    """A price with so many billionths of a percent taken off every amount in it."""
    return each_amount(price, lambda _, amount: rounded(Decimal(amount) * (ALL_PERCENT - percent) / ALL_PERCENT))


def _over(below: Price, over: Price, classes: tuple[str, ...]) -> Price:
    """A price whose amounts are those of `over`, as far as it has any for these classes and tools (none: all)."""
    own = {
        name: amount for name in TOKEN_CLASSES if (not classes or name in classes) and (amount := getattr(over, name)) is not None
    }
    tools = below.tools | {name: amount for name, amount in over.tools.items() if not classes or name in classes}
    above, larger = dict(below.above), dict(over.above)
    tiers = {
        name: _over(below.service_tiers.get(name, Price()), over.service_tiers.get(name, Price()), classes)
        for name in {**below.service_tiers, **over.service_tiers}
    }
    return msgspec.structs.replace(
        below,
        **own,
        tools=tools,
        above=tuple(
            (tokens, _over(above.get(tokens, Price()), larger.get(tokens, Price()), classes))
            for tokens in sorted({*above, *larger})
        ),
        service_tiers=tiers,
    )
