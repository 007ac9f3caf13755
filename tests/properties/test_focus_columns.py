"""What FOCUS 1.2 and 1.4 ask of each column and between columns, held over random ledgers, without the official validator."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.money import NANO_PER_USD, cost_nano
from router.reports.exports.lines import FinanceLine, Period, Source, month_of
from router.reports.exports.write import Form, write

NOW = datetime(2027, 1, 1, tzinfo=UTC)
UNITS = ("tokens", "calls", "seconds")
WORDS = st.sampled_from(("", "unknown", "desk", "=1+1", 'ümlaut "x"', "two\nlines"))

MANDATORY = {
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost", "EffectiveCost",
    "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit", "ServiceCategory", "ServiceName",
}  # fmt: skip
"""Of both versions."""

OF_VERSION = {"1.2": {"ProviderName", "PublisherName"}, "1.4": {"ServiceProviderName", "HostProviderName"}}
GONE = {"1.2": OF_VERSION["1.4"], "1.4": OF_VERSION["1.2"]}
CONDITIONAL = {
    "ChargeFrequency", "ConsumedQuantity", "ConsumedUnit", "ContractedUnitPrice", "ListUnitPrice", "PricingCategory", "RegionId",
    "RegionName", "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId", "SubAccountId", "SubAccountName", "Tags",
}  # fmt: skip
"""Those of what this ledger has: use that is measured, prices by the unit, accounts below the account, regions and tags."""

NEVER_NULL = MANDATORY - {"ChargeClass", "PricingQuantity", "PricingUnit"} | {
    "ChargeFrequency",
    "ServiceSubcategory",
    "PricingCurrency",
}
DECIMALS = {
    "BilledCost", "ConsumedQuantity", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "ListCost", "ListUnitPrice",
    "PricingQuantity",
}  # fmt: skip
TIMES = {"BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart"}


@st.composite
def finance_lines(draw: st.DrawFn) -> FinanceLine:
    listed = draw(st.none() | st.integers(0, 10**14))
    price = None if listed is None else listed * draw(st.sampled_from((100, 85, 0))) // 100
    token_class = draw(st.sampled_from(("input", "cache_write_1h", "output", "web_search", "unitemised")))
    if token_class == "unitemised":
        price = listed = None
    quantity = 0 if token_class == "unitemised" else draw(st.integers(-(10**9), 10**9))
    if price is not None:
        cost = cost_nano(quantity, price) if quantity >= 0 else -cost_nano(-quantity, price)
    else:
        cost = draw(st.integers(0, 10**12)) if token_class == "unitemised" else 0
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=draw(st.integers(0, 200 * 86_400)))
    late = timedelta(days=draw(st.sampled_from((0, 0, 0, 1, 40))))
    words = {name: draw(WORDS) for name in FinanceLine._fields[FinanceLine._fields.index("app") :]}
    return FinanceLine(
        at=at,
        incurred_at=at - late,
        correction=bool(late),
        request_id=f"req_{draw(st.integers(0, 999))}",
        line=draw(st.integers(0, 9)),
        attempt=1,
        model=draw(st.sampled_from(("fast", "slow"))),
        deployment="fast-eu",
        provider=draw(st.sampled_from(("openai", "anthropic"))),
        token_class=token_class,
        unit=draw(st.sampled_from(UNITS)),
        quantity=quantity,
        unit_price=price,
        list_price=listed,
        cost_nano=cost,
        basis="reported",
        outcome="completed",
        price_source="book",
        price_book=draw(st.sampled_from(("", "book-1"))),
        corrects=None,
        **words,
    )


def source_of(lines: list[FinanceLine], zone: str) -> Source:
    ordered = sorted(lines, key=lambda line: (line.at, line.request_id, line.line))
    total = sum(line.cost_nano for line in lines)
    where = ZoneInfo(zone)
    periods = [Period(month_of(NOW, where), "Open", None), Period(month_of(NOW - timedelta(days=40), where), "Closed", NOW)]
    return Source(
        where,
        None,
        None,
        {},
        len(lines),
        total,
        "account-1",
        NOW,
        lambda: iter([ordered]),
        periods,
        ["openai"],
        {"fast-eu": "eu"},
    )


def rows_of(lines: list[FinanceLine], version: str, grain: str, zone: str = "Asia/Kolkata") -> tuple[Any, list[dict[str, Any]]]:
    sink = io.BytesIO()
    write(source_of(lines, zone), Form("parquet", version, grain), sink)
    table = pq.read_table(sink)
    return table.schema, table.to_pylist()


def check_row(row: dict[str, Any], version: str) -> None:
    for name in (NEVER_NULL | OF_VERSION[version]) & set(row):
        assert row[name] is not None, name
    assert "" not in row.values()  # an empty cell is null, no word stands for it
    assert row["BillingCurrency"] == "USD"
    assert row["ChargeCategory"] in {"Usage", "Adjustment"}
    assert row["ChargeClass"] in {None, "Correction"}
    assert row["ChargeFrequency"] in {"One-Time", "Recurring", "Usage-Based"}
    assert (row["ServiceCategory"], row["ServiceSubcategory"]) == ("AI and Machine Learning", "Generative AI")
    assert row["BillingPeriodStart"] < row["BillingPeriodEnd"]
    assert row["ChargePeriodStart"] < row["ChargePeriodEnd"]
    late = row["ChargePeriodStart"] < row["BillingPeriodStart"]
    assert (row["ChargeClass"] == "Correction") == late
    if not late:
        assert row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]
    assert row["BilledCost"] == row["EffectiveCost"]
    assert (row["ConsumedQuantity"] is None) == (row["ConsumedUnit"] is None)
    assert (row["PricingQuantity"] is None) == (row["PricingUnit"] is None)
    assert (row["RegionId"] is None) == (row["RegionName"] is None)
    assert (row["SubAccountId"] is None) == (row["SubAccountName"] is None)
    assert (row["SkuPriceId"] is None) == (row["SkuPriceDetails"] is None)
    assert (row["SkuId"] is None) == (row["SkuMeter"] is None)
    priced = (
        "ConsumedQuantity",
        "ListUnitPrice",
        "ContractedUnitPrice",
        "PricingQuantity",
        "PricingCategory",
        "SkuId",
        "SkuPriceId",
    )
    if row["ChargeCategory"] == "Usage":
        assert all(row[name] is not None for name in priced)
        assert row["PricingCategory"] == "Standard"
        for unit, cost in (("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost")):
            assert row[unit] >= 0
            assert row[unit] * row["PricingQuantity"] == row[cost]
        assert abs(row["ContractedCost"] - row["BilledCost"]) < Decimal(row.get("x_Lines", 1)) / NANO_PER_USD
        assert row["SkuPriceId"].startswith(row["SkuId"])
    else:
        assert all(row[name] is None for name in priced)
        assert row["ListCost"] == row["ContractedCost"] == row["BilledCost"]
    for name in ("Tags", "SkuPriceDetails"):
        if row[name] is not None:
            properties = json.loads(row[name])
            assert all(isinstance(value, str) for value in properties.values())
            assert name == "Tags" or all(re.fullmatch(r"x_[A-Z][A-Za-z]+", key) for key in properties)


@given(st.lists(finance_lines(), min_size=1, max_size=12), st.sampled_from(("1.2", "1.4")), st.sampled_from(("request", "day")))
@settings(max_examples=60, deadline=None)
def test_every_row_holds_the_rules_of_its_columns_and_all_are_worth_the_ledger(
    lines: list[FinanceLine], version: str, grain: str
) -> None:
    _, rows = rows_of(lines, version, grain)
    for row in rows:
        check_row(row, version)
    assert sum(row["BilledCost"] for row in rows) * NANO_PER_USD == sum(line.cost_nano for line in lines)
    assert sum(row["x_Quantity"] for row in rows) == sum(line.quantity for line in lines)
    assert sum(row.get("x_Lines", 1) for row in rows) == len(lines)


@pytest.mark.parametrize("version", ["1.2", "1.4"])
def test_columns_are_those_of_the_version_with_our_own_behind_them(version: str) -> None:
    schema, _ = rows_of([], version, "request")
    names = schema.names
    assert MANDATORY | CONDITIONAL | OF_VERSION[version] <= set(names)
    assert not GONE[version] & set(names)
    own = [name for name in names if name.startswith("x_")]
    assert names[-len(own) :] == own
    assert all(re.fullmatch(r"(x_)?[A-Z][A-Za-z]{1,49}", name) for name in names)
    wanted = {"x_Sensitivity", "x_Rule", "x_SessionId", "x_Purpose", "x_CostCenter", "x_Task", "x_Tier", "x_RequestId"}
    assert wanted <= set(own)
    for name in DECIMALS:
        assert str(schema.field(name).type).startswith("decimal128(38, "), name
    for name in TIMES:
        assert str(schema.field(name).type) == "timestamp[us, tz=UTC]", name
    for name in NEVER_NULL & set(names):
        assert not schema.field(name).nullable, name


def a_line(**changes: Any) -> FinanceLine:
    at = datetime(2026, 3, 8, 12, tzinfo=UTC)
    line = FinanceLine(
        at, at, False, "req_1", 0, 1, "fast", "fast-eu", "openai", "input", "tokens", 1_500_000, 127_500_000, 150_000_000, 191_250_000,
        "reported", "completed", "book", "book-1", None, "desk", "ana", "t", "cc", "support", "s", "coding", "internal", "simple", "low",
        "batch", "r-1", "rev", "fast", "auto",
    )  # fmt: skip
    return line._replace(**changes)


def test_a_token_row_shows_list_price_and_discount_by_the_million() -> None:
    _, (row,) = rows_of([a_line()], "1.2", "request")
    assert (row["ConsumedQuantity"], row["ConsumedUnit"]) == (1_500_000, "Tokens")
    assert (row["PricingQuantity"], row["PricingUnit"]) == (Decimal("1.5"), "1000000 Tokens")
    assert (row["ListUnitPrice"], row["ListCost"]) == (Decimal("0.15"), Decimal("0.225"))
    assert (row["ContractedUnitPrice"], row["ContractedCost"]) == (Decimal("0.1275"), Decimal("0.19125"))
    assert row["BilledCost"] == row["EffectiveCost"] == Decimal("0.19125")
    assert json.loads(row["Tags"]) == {"owner": "ana", "team": "t", "cost_center": "cc", "purpose": "support"}
    assert (row["SubAccountId"], row["RegionId"]) == ("desk", "eu")


def test_a_hosted_tool_is_priced_by_the_thousand_calls() -> None:
    line = a_line(token_class="web_search", unit="calls", quantity=3, unit_price=10**13, list_price=10**13, cost_nano=30_000_000)
    _, (row,) = rows_of([line], "1.4", "request")
    assert (row["ConsumedUnit"], row["PricingUnit"], row["ListUnitPrice"]) == ("Calls", "1000 Calls", Decimal(10))
    assert (row["PricingQuantity"], row["ListCost"]) == (Decimal("0.003"), Decimal("0.03"))


def test_a_use_without_a_price_is_an_adjustment_of_nothing_that_still_says_its_quantity() -> None:
    _, (row,) = rows_of([a_line(unit_price=None, list_price=None, cost_nano=0)], "1.2", "request")
    assert (row["ChargeCategory"], row["BilledCost"], row["ListUnitPrice"]) == ("Adjustment", 0, None)
    assert (row["x_Priced"], row["x_Quantity"], row["x_TokenClass"]) == (False, 1_500_000, "input")


def test_what_is_booked_behind_the_month_of_its_use_is_a_correction_and_within_it_is_none() -> None:
    early = datetime(2026, 2, 28, 23, tzinfo=UTC)
    _, rows = rows_of([a_line(incurred_at=early, correction=True), a_line(correction=True, line=1)], "1.2", "request", "UTC")
    assert [row["ChargeClass"] for row in rows] == ["Correction", None]
    assert rows[0]["ChargePeriodStart"] == early


def test_months_and_days_are_those_of_the_reports_time_zone_over_a_change_of_clocks() -> None:
    _, (row,) = rows_of([a_line()], "1.2", "day", "America/New_York")  # clocks go forward on 8 March
    assert row["BillingPeriodStart"] == datetime(2026, 3, 1, 5, tzinfo=UTC)
    assert row["BillingPeriodEnd"] == datetime(2026, 4, 1, 4, tzinfo=UTC)
    assert row["ChargePeriodEnd"] - row["ChargePeriodStart"] == timedelta(hours=23)


def test_the_periods_of_1_4_say_which_months_are_closed_for_each_issuer() -> None:
    sink = io.BytesIO()
    write(source_of([], "UTC"), Form("parquet", "1.4", dataset="BillingPeriod"), sink)
    rows = pq.read_table(sink).to_pylist()
    assert {row["BillingPeriodStatus"] for row in rows} == {"Open", "Closed"}
    assert all(row["InvoiceIssuerName"] == "openai" and None not in row.values() for row in rows)
    assert all(row["BillingPeriodCreated"] <= row["BillingPeriodLastUpdated"] for row in rows)
