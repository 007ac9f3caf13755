"""The ledger in FOCUS, the FinOps Foundation's format of cost and usage: versions 1.2 and 1.4, by token class and price.

Costs are exact: `BilledCost` and `EffectiveCost` are what the ledger booked, rounded up to a nano-dollar once for each line. `ListCost`
and `ContractedCost` are unit price times quantity, unrounded, so that the products agree to the last digit.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from router.reports.exports.lines import BATCH, OF_REQUEST, Calendar, FinanceLine, Source, day_of, month_of
from router.reports.exports.table import NANO_DIGITS, Batch, Column, Kind, Row, Table
from router.reports.spend import UNITEMISED, UNKNOWN

VERSIONS = ("1.2", "1.4")
GRAINS = ("request", "day")
BILLING_PERIODS = "BillingPeriod"

ACCOUNT_NAME = "Task-sensitivity router"
CURRENCY = "USD"
CATEGORY, SUBCATEGORY, SERVICE = "AI and Machine Learning", "Generative AI", "Model inference"
USAGE, ADJUSTMENT, CORRECTION = "Usage", "Adjustment", "Correction"
PRICE_DIGITS = 15
"""Behind the point of unit prices and of what they come to: a price is nano-dollars for a million units."""

QUANTITY_DIGITS = 6
CONSUMED_DIGITS = 1
"""One digit that is always 0: readers that guess types from text shall take quantities for decimals."""

CONSUMED_SCALE = 10**CONSUMED_DIGITS
NANO_TO_PRICE = 10 ** (PRICE_DIGITS - NANO_DIGITS)
NOTHING = (None,) * 9
SECOND = timedelta(seconds=1)


class _Unit(NamedTuple):
    """How a unit is called, by how many of it a price is said, and what takes quantity and price there."""

    consumed: str
    pricing: str
    quantity_scale: int  # × quantity = PricingQuantity in millionths
    price_scale: int  # × price for a million units = unit price in 10^-15 dollars


UNITS = {
    "tokens": _Unit("Tokens", "1000000 Tokens", 1, 1_000_000),
    "calls": _Unit("Calls", "1000 Calls", 1_000, 1_000),
    "seconds": _Unit("Seconds", "Seconds", 1_000_000, 1),
}

_BOTH = VERSIONS
_1_2, _1_4 = ("1.2",), ("1.4",)
_REQUEST, _DAY = ("request",), ("day",)


class _Field(NamedTuple):
    column: Column
    versions: tuple[str, ...] = _BOTH
    grains: tuple[str, ...] = GRAINS


def _text(name: str, *, empty: bool = False) -> Column:
    return Column(name, Kind.TEXT, empty=empty)


def _time(name: str) -> Column:
    return Column(name, Kind.TIME)


def _decimal(name: str, digits: int, *, empty: bool = False) -> Column:
    return Column(name, Kind.DECIMAL, digits, empty)


FIELDS = (
    _Field(_decimal("BilledCost", NANO_DIGITS)),
    _Field(_text("BillingAccountId")),
    _Field(_text("BillingAccountName")),
    _Field(_text("BillingCurrency")),
    _Field(_time("BillingPeriodEnd")),
    _Field(_time("BillingPeriodStart")),
    _Field(_text("ChargeCategory")),
    _Field(_text("ChargeClass", empty=True)),
    _Field(_text("ChargeDescription")),
    _Field(_text("ChargeFrequency")),
    _Field(_time("ChargePeriodEnd")),
    _Field(_time("ChargePeriodStart")),
    _Field(_text("CommitmentDiscountStatus", empty=True), _1_2),  # always empty: rules about other columns look at it
    _Field(_decimal("ConsumedQuantity", CONSUMED_DIGITS, empty=True)),
    _Field(_text("ConsumedUnit", empty=True)),
    _Field(_decimal("ContractedCost", PRICE_DIGITS)),
    _Field(_decimal("ContractedUnitPrice", PRICE_DIGITS, empty=True)),
    _Field(_decimal("EffectiveCost", NANO_DIGITS)),
    _Field(_text("HostProviderName"), _1_4),
    _Field(_text("InvoiceId", empty=True), _1_2),  # always empty: the providers' invoices come later, and elsewhere
    _Field(_text("InvoiceIssuerName")),
    _Field(_decimal("ListCost", PRICE_DIGITS)),
    _Field(_decimal("ListUnitPrice", PRICE_DIGITS, empty=True)),
    _Field(_text("PricingCategory", empty=True)),
    _Field(_text("PricingCurrency")),
    _Field(_decimal("PricingCurrencyContractedUnitPrice", PRICE_DIGITS, empty=True)),
    _Field(_decimal("PricingCurrencyEffectiveCost", NANO_DIGITS)),
    _Field(_decimal("PricingCurrencyListUnitPrice", PRICE_DIGITS, empty=True)),
    _Field(_decimal("PricingQuantity", QUANTITY_DIGITS, empty=True)),
    _Field(_text("PricingUnit", empty=True)),
    _Field(_text("ProviderName"), _1_2),
    _Field(_text("PublisherName"), _1_2),
    _Field(_text("RegionId", empty=True)),
    _Field(_text("RegionName", empty=True)),
    _Field(_text("ServiceCategory")),
    _Field(_text("ServiceName")),
    _Field(_text("ServiceProviderName"), _1_4),
    _Field(_text("ServiceSubcategory")),
    _Field(_text("SkuId", empty=True)),
    _Field(_text("SkuMeter", empty=True)),
    _Field(Column("SkuPriceDetails", Kind.JSON, empty=True)),
    _Field(_text("SkuPriceId", empty=True)),
    _Field(_text("SubAccountId", empty=True)),
    _Field(_text("SubAccountName", empty=True)),
    _Field(Column("Tags", Kind.JSON, empty=True)),
    _Field(_text("x_AskedModel", empty=True)),
    _Field(Column("x_Attempt", Kind.INTEGER), grains=_REQUEST),
    _Field(_text("x_Basis")),
    _Field(_text("x_BusinessImpact", empty=True)),
    _Field(_text("x_Complexity", empty=True)),
    _Field(Column("x_Corrects", Kind.INTEGER, empty=True), grains=_REQUEST),
    _Field(_text("x_CostCenter", empty=True)),
    _Field(_text("x_Deployment")),
    _Field(_text("x_LatencyClass", empty=True)),
    _Field(Column("x_Line", Kind.INTEGER), grains=_REQUEST),
    _Field(Column("x_Lines", Kind.INTEGER), grains=_DAY),
    _Field(_text("x_Model")),
    _Field(_text("x_Outcome")),
    _Field(_text("x_Owner", empty=True)),
    _Field(_text("x_PriceBook", empty=True)),
    _Field(Column("x_Priced", Kind.FLAG)),
    _Field(_text("x_Purpose", empty=True)),
    _Field(Column("x_Quantity", Kind.INTEGER)),
    _Field(_text("x_RequestId"), grains=_REQUEST),
    _Field(_text("x_Revision", empty=True)),
    _Field(_text("x_Rule", empty=True)),
    _Field(_text("x_Sensitivity", empty=True)),
    _Field(_text("x_SessionId", empty=True), grains=_REQUEST),
    _Field(_text("x_Task", empty=True)),
    _Field(_text("x_Team", empty=True)),
    _Field(_text("x_Tier", empty=True)),
    _Field(_text("x_TokenClass")),
)
"""Every column of cost and usage, those of the format before our own, and where there is which."""

PERIOD_COLUMNS = (
    _time("BillingPeriodCreated"),
    _time("BillingPeriodEnd"),
    _time("BillingPeriodLastUpdated"),
    _time("BillingPeriodStart"),
    _text("BillingPeriodStatus"),
    _text("InvoiceIssuerName"),
)


def moment_text(moment: datetime) -> str:
    """A moment as FOCUS writes it: `2026-03-01T00:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def cost_and_usage(source: Source, version: str, grain: str) -> Table:
    """The dataset `CostAndUsage`: a row for each line, or for all lines of a day that differ in nothing but their requests."""
    places = [place for place, field in enumerate(FIELDS) if version in field.versions and grain in field.grains]
    columns = tuple(FIELDS[place].column for place in places)
    chosen = itemgetter(*places)
    making = _Rows(source, grain == "day")
    of_batches = making.by_day if grain == "day" else making.each

    def rows() -> Iterator[Batch]:
        for batch in of_batches(source.batches()):
            yield [chosen(row) for row in batch]

    return Table(columns, rows, 0, lru_cache(maxsize=4096)(moment_text))


def billing_periods(source: Source) -> Table:
    """The dataset `BillingPeriod` of 1.4: the months of each provider and whether they are closed."""

    def rows() -> Iterator[Batch]:
        found: list[Row] = []
        for period in source.periods:
            begins, ends = period.month.begins, period.month.ends
            changed = period.changed or begins
            found += [(begins, ends, changed, begins, period.state, provider) for provider in source.providers]
        yield found

    return Table(PERIOD_COLUMNS, rows, None, moment_text)


SAME = itemgetter(
    *(
        place
        for place, name in enumerate(FinanceLine._fields)
        if name
        not in (
            *("at", "incurred_at", "correction", "request_id", "line", "attempt", "session"),
            *("quantity", "cost_nano", "price_source", "corrects"),
        )
    )
)
"""What lines of a day have in common that are one row."""


class _Request(NamedTuple):
    """What a row says of its request, nothing where nobody ever said."""

    app: str | None
    tags: str | None
    words: tuple[str | None, ...]  # of `_words`


class _Rows:
    """Makes rows of lines."""

    def __init__(self, source: Source, whole_days: bool) -> None:
        self._account = source.account
        self._regions = source.regions
        self._months = Calendar(month_of, source.zone)
        self._days = Calendar(day_of, source.zone)
        self._whole_days = whole_days
        self._requests = lru_cache(maxsize=4096)(_request)
        self._details = lru_cache(maxsize=4096)(_details)

    def each(self, batches: Iterator[list[FinanceLine]]) -> Iterator[Batch]:
        """A row for each line."""
        for batch in batches:
            yield [self._row(line, line.quantity, line.cost_nano, 1) for line in batch]

    def by_day(self, batches: Iterator[list[FinanceLine]]) -> Iterator[Batch]:
        """A row for all lines that were booked on a day, were incurred on a day, and are of one kind; lines come in the order of
        their booking, so that no more than those of a day are held."""
        sums: dict[tuple[object, ...], list[Any]] = {}
        behind = None
        for batch in batches:
            for line in batch:
                if behind is None or line.at >= behind:
                    yield from self._summed(sums)
                    sums = {}
                    behind = self._days.of(line.at).ends
                key = (self._days.of(line.incurred_at).begins, *SAME(line))
                kept = sums.get(key)
                if kept is None:
                    sums[key] = [line, line.quantity, line.cost_nano, 1]
                else:
                    kept[1] += line.quantity
                    kept[2] += line.cost_nano
                    kept[3] += 1
        yield from self._summed(sums)

    def _summed(self, sums: dict[tuple[object, ...], list[Any]]) -> Iterator[Batch]:
        kept = list(sums.values())
        for first in range(0, len(kept), BATCH):
            yield [self._row(*each) for each in kept[first : first + BATCH]]

    def _row(self, line: FinanceLine, quantity: int, cost: int, lines: int) -> Row:
        month = self._months.of(line.at)
        incurred, price = line.incurred_at, line.unit_price
        if self._whole_days:
            _, begins, ends = self._days.of(incurred)
        else:
            begins = incurred.replace(microsecond=0)
            ends = begins + SECOND
        details = self._details(line.provider, line.model, line.deployment, line.token_class, line.unit)
        request = self._requests(line[OF_REQUEST:])
        region = self._regions.get(line.deployment)
        usage: tuple[Any, ...]
        if price is not None and line.token_class != UNITEMISED:
            unit = details.unit
            at_list = price if line.list_price is None else line.list_price
            contracted, listed = price * quantity, at_list * quantity
            contracted_unit: int | None = price * unit.price_scale
            listed_unit: int | None = at_list * unit.price_scale
            usage = (
                *(USAGE, details.description, quantity * CONSUMED_SCALE, unit.consumed, "Standard"),
                *(
                    quantity * unit.quantity_scale,
                    unit.pricing,
                    details.sku,
                    details.meter,
                    details.price_details,
                    details.sku_price,
                ),
            )
        else:
            contracted = listed = cost * NANO_TO_PRICE
            contracted_unit = listed_unit = None
            usage = (ADJUSTMENT, details.adjustment, *NOTHING)
        category, description, consumed, consumed_unit, pricing, priced, priced_unit, sku, meter, price_details, sku_price = usage
        asked, impact, complexity, center, latency, owner, purpose, revision, rule, level, session, task, team, tier = (
            request.words
        )
        return (
            cost,
            self._account,
            ACCOUNT_NAME,
            CURRENCY,
            month.ends,
            month.begins,
            category,
            CORRECTION if incurred < month.begins else None,
            description,
            "Usage-Based",
            ends,
            begins,
            None,
            consumed,
            consumed_unit,
            contracted,
            contracted_unit,
            cost,
            line.provider,
            None,
            line.provider,
            listed,
            listed_unit,
            pricing,
            CURRENCY,
            contracted_unit,
            cost,
            listed_unit,
            priced,
            priced_unit,
            line.provider,
            line.provider,
            region,
            region,
            CATEGORY,
            SERVICE,
            line.provider,
            SUBCATEGORY,
            sku,
            meter,
            price_details,
            sku_price,
            request.app,
            request.app,
            request.tags,
            asked,
            line.attempt,
            line.basis,
            impact,
            complexity,
            line.corrects,
            center,
            line.deployment,
            latency,
            line.line,
            lines,
            line.model,
            line.outcome,
            owner,
            line.price_book or None,
            price is not None,
            purpose,
            quantity,
            line.request_id,
            revision,
            rule,
            level,
            session,
            task,
            team,
            tier,
            line.token_class,
        )


_words = itemgetter(
    *(
        FinanceLine._fields.index(name) - OF_REQUEST
        for name in (
            *("asked_model", "impact", "complexity", "cost_center", "latency_class", "owner", "purpose", "revision", "rule"),
            *("sensitivity", "session", "task", "team", "tier"),
        )
    )
)


def _request(said: tuple[str, ...]) -> _Request:
    line = dict(zip(FinanceLine._fields[OF_REQUEST:], said, strict=True))
    tags = {name: line[name] for name in ("owner", "team", "cost_center", "purpose") if _known(line[name])}
    return _Request(
        app=_known(line["app"]),
        tags=msgspec.json.encode(tags).decode() if tags else None,
        words=tuple(_known(word) for word in _words(said)),
    )


class _Details(NamedTuple):
    """What is said of a thing that has a price."""

    sku: str
    sku_price: str
    meter: str
    price_details: str
    description: str
    adjustment: str
    unit: _Unit


def _details(provider: str, model: str, deployment: str, token_class: str, unit: str) -> _Details:
    words = token_class.replace("_", " ").capitalize()
    meter = f"{words} {unit}" if unit != "calls" else f"{words} calls"
    sku = f"{provider}/{model}/{token_class}"
    details = {"x_Deployment": deployment, "x_Model": model, "x_TokenClass": token_class}
    without = "Amount held for a request whose use nobody told" if token_class == UNITEMISED else f"{meter} without a known price"
    return _Details(
        sku=sku,
        sku_price=f"{sku}@{deployment}",
        meter=meter,
        price_details=msgspec.json.encode(details).decode(),
        description=f"{meter} of {model} at {provider}",
        adjustment=f"{without}: {model} at {provider}",
        unit=UNITS.get(unit, UNITS["tokens"]),
    )


def _known(word: str) -> str | None:
    """Nothing for what nobody ever said: FOCUS asks for empty cells, not for words that stand for them."""
    return None if word in ("", UNKNOWN) else word
