"""An invoice is read by the columns of the provider's export and explained to the nano-dollar; a bad file says where it is bad."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.reports.invoices import ANY_MODEL, InvoiceFault, InvoiceRow, class_of, mapped, read_invoice
from router.reports.reconcile import (
    BORDER,
    CANCELLED,
    ESTIMATED,
    FORMATS,
    OUTSIDE,
    PRICE,
    REASONS,
    ROUNDING,
    UNEXPLAINED,
    UNPRICED,
    Booked,
    PriceSeen,
    Reconciliation,
    alias,
    reconcile,
    render,
)

FIRST, SECOND = date(2026, 10, 5), date(2026, 10, 6)
USED = Booked(FIRST, FIRST, "gpt-4o-2024-08-06", "input", False, False, True, 1, 1_000_000, 2_500_000_000)
BILLED = InvoiceRow(FIRST, "gpt-4o-2024-08-06", "input", 1_000_000, Decimal("2.5"), 9)

OPENAI_USAGE = (
    "start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_key_id,model,batch,service_tier,"
    "input_tokens,output_tokens,input_cached_tokens,input_uncached_tokens\n"
    "1759622400,1759708800,2025-10-05T00:00:00+00:00,2025-10-06T00:00:00+00:00,p,10.0,u,k,gpt-4o-2024-08-06,FALSE,default,"
    "59200.0,10646.0,5760.0,53440.0\n"
    "1759881600,1759968000,2025-10-08T00:00:00+00:00,2025-10-09T00:00:00+00:00,,,,,,,,,,,\n"
)
OPENAI_COSTS = (
    "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id,organization_id,organization_name\n"
    '1759622400,1759708800,2025-10-05T00:00:00+00:00,2025-10-06T00:00:00+00:00,0.8958740000000000,usd,"gpt-5-2025-08-07, cached input",,o,n\n'
    '1759622400,1759708800,2025-10-05T00:00:00+00:00,2025-10-06T00:00:00+00:00,0.10,usd,"priority | gpt-5.6-sol, output, long context",,o,n\n'
    "1759622400,1759708800,2025-10-05T00:00:00+00:00,2025-10-06T00:00:00+00:00,0.02,usd,web search tool calls,,o,n\n"
    "1759968000,1760054400,2025-10-09T00:00:00+00:00,2025-10-10T00:00:00+00:00,,,,,,\n"
)
CLAUDE_USAGE = (
    "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,"
    "web_search_count,inference_geo,speed\n"
    "2026-08-04,claude-sonnet-4-5-20250929,k,Default,standard,0-200k,100,20,3,4000,55,2,global,\n"
)
CLAUDE_COSTS = (
    "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,inference_geo,speed\n"
    "2026-08-04,Claude Haiku 4.5,Default,k,message,≤ 200k,input_no_cache,0.05,0.05,token,not_available,\n"
    "2026-08-04,Claude Haiku 4.5,Default,k,message,≤ 200k,input_cache_write_1h,0.02,0.02,token,not_available,\n"
)
AWS = (
    "bill_payer_account_id,line_item_usage_start_date,line_item_product_code,line_item_usage_type,line_item_usage_amount,"
    "line_item_unblended_cost,line_item_currency_code,pricing_unit\n"
    "1,2026-08-04 13:00:00,AmazonBedrock,USE1-Claude4.5Sonnet-input-tokens,12.5,0.0375,USD,1K tokens\n"
    "1,2026-08-04 13:00:00,AmazonBedrock,USE1-Claude4.5Sonnet-cache-read-input-token-count,2,0.0006,USD,1K tokens\n"
    "1,2026-08-04 13:00:00,AmazonEC2,USE1-BoxUsage:t3.small,1,0.02,USD,Hrs\n"
)
AZURE = (
    "Date,MeterCategory,MeterSubCategory,MeterName,Quantity,UnitOfMeasure,EffectivePrice,CostInBillingCurrency,BillingCurrencyCode\n"
    "08/04/2026,Cognitive Services,Azure OpenAI,gpt-4o-0806-Inp-glbl Tokens,250,1K,0.0025,0.625,USD\n"
    "08/04/2026,Storage,Tables,LRS Data Stored,1,1 GB,0.02,0.02,USD\n"
)
FOCUS = (
    "BilledCost,BillingCurrency,ChargeCategory,ChargePeriodStart,ConsumedQuantity,ConsumedUnit,SkuId,SkuMeter,x_model\n"
    "0.5,USD,Usage,2026-08-04T00:00:00Z,200000,Tokens,s1,Input Tokens,gpt-4o\n"
    "9,USD,Tax,2026-08-04T00:00:00Z,,,,,\n"
)


def read(text: str, **options: object) -> tuple[str, list[InvoiceRow]]:
    return read_invoice(io.StringIO(text), **options)  # type: ignore[arg-type]


def found(rows: list[InvoiceRow], booked: list[Booked], **options: object) -> Reconciliation:
    return reconcile(rows, booked, provider="openai", **options)  # type: ignore[arg-type]


def parts(rows: list[InvoiceRow], booked: list[Booked], **options: object) -> dict[str, int]:
    return found(rows, booked, **options).parts


def told(rows: list[InvoiceRow]) -> list[tuple[object, ...]]:
    return [(str(row.day), row.model, row.token_class, row.quantity, None if row.cost is None else str(row.cost)) for row in rows]


@pytest.mark.parametrize(
    ("text", "layout", "rows"),
    [
        (
            OPENAI_USAGE,
            "openai usage",
            [
                ("2025-10-05", "gpt-4o-2024-08-06", "input", 53_440, None),
                ("2025-10-05", "gpt-4o-2024-08-06", "cached_input", 5_760, None),
                ("2025-10-05", "gpt-4o-2024-08-06", "output", 10_646, None),
            ],
        ),
        (
            OPENAI_COSTS,
            "openai costs",
            [
                ("2025-10-05", "gpt-5-2025-08-07", "cached_input", None, "0.8958740000000000"),
                ("2025-10-05", "gpt-5.6-sol", "output", None, "0.10"),
                ("2025-10-05", "tool:web_search", "", None, "0.02"),
            ],
        ),
        (
            CLAUDE_USAGE,
            "anthropic usage",
            [
                ("2026-08-04", "claude-sonnet-4-5-20250929", "input", 100, None),
                ("2026-08-04", "claude-sonnet-4-5-20250929", "cached_input", 4_000, None),
                ("2026-08-04", "claude-sonnet-4-5-20250929", "cache_write", 20, None),
                ("2026-08-04", "claude-sonnet-4-5-20250929", "cache_write_1h", 3, None),
                ("2026-08-04", "claude-sonnet-4-5-20250929", "output", 55, None),
                ("2026-08-04", "tool:web_search", "", 2, None),
            ],
        ),
        (
            CLAUDE_COSTS,
            "anthropic costs",
            [
                ("2026-08-04", "Claude Haiku 4.5", "input", None, "0.05"),
                ("2026-08-04", "Claude Haiku 4.5", "cache_write_1h", None, "0.02"),
            ],
        ),
        (
            AWS,
            "aws cur",
            [
                ("2026-08-04", "Claude4.5Sonnet", "input", 12_500, "0.0375"),
                ("2026-08-04", "Claude4.5Sonnet", "cached_input", 2_000, "0.0006"),
            ],
        ),
        (AZURE, "azure", [("2026-08-04", "gpt-4o-0806", "input", 250_000, "0.625")]),
        (FOCUS, "focus", [("2026-08-04", "gpt-4o", "input", 200_000, "0.5")]),
    ],
)
def test_the_exports_of_providers_are_known_by_their_columns(text: str, layout: str, rows: list[tuple[object, ...]]) -> None:
    assert (read(text)[0], told(read(text)[1])) == (layout, rows)
    assert told(read(text.replace(",", "\t"))[1]) == rows or '"' in text
    assert told(read(text.replace("\n", "\r\n"))[1]) == rows


def test_other_exports_are_read_by_columns_that_are_named() -> None:
    layout = mapped({"day": "When", "model": "What", "class": "Kind", "quantity": "Units", "cost": "Sum", "currency": "Cur"})
    text = 'When;What;Kind;Units;Sum;Cur\n2026-10-05;gpt-4o;Output tokens;1200;"2,000.50";EUR\n'
    _, rows = read(text, by_hand=layout, rate=Decimal("1.1"))
    assert told(rows) == [("2026-10-05", "gpt-4o", "output", 1_200, "2200.550")]
    with pytest.raises(InvoiceFault, match=r"row 2, column `Sum`.*--rate"):
        read(text, by_hand=layout)
    for columns, words in (({"when": "x"}, "there is no field"), ({"day": "When"}, "at least one")):
        with pytest.raises(InvoiceFault, match=words):
            mapped(columns)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "row 1: the file is empty"),
        ("\n", "row 1: the file is empty"),
        ("foo,bar\n1,2\n", "row 1: no known export has the columns `foo`, `bar`"),
        ("usage_date_utc,cost_usd\n2026-10-05,0.1\n2026-13-05,0.1\n", "row 3, column `usage_date_utc`: `2026-13-05` is no day"),
        ("usage_date_utc,cost_usd\n2026-10-05,$4\n", "row 2, column `cost_usd`: `\\$4` is no number"),
        ("usage_date_utc,cost_usd\n2026-10-05,NaN\n", "row 2, column `cost_usd`: `NaN` is no amount"),
        ("usage_date_utc,cost_usd\n2026-10-05,1e999\n", "row 2, column `cost_usd`"),
        ("usage_date_utc,cost_usd\n2026-10-05\n", "row 2: 1 cells where the first line names 2 columns"),
        ("usage_date_utc,cost_usd\n", "no use in it"),
        ('usage_date_utc,cost_usd\n2026-10-05,"0.1\n', "row 2: it is no CSV"),
    ],
)
def test_a_bad_file_names_row_column_and_remedy(text: str, words: str) -> None:
    with pytest.raises(InvoiceFault, match=words):
        read(text)


@given(st.text(max_size=300))
def test_whatever_a_file_holds_it_is_read_or_refused(text: str) -> None:
    for head in ("", "usage_date_utc,cost_usd\n", "start_time,amount_value,amount_currency,line_item\n"):
        try:
            read(head + text)
        except InvoiceFault as fault:
            told = str(fault)
        else:
            continue
        assert len(told) < 900


def test_days_are_the_providers_own() -> None:
    text = "start_time,amount_value\n1759622400,1\n"  # midnight UTC
    assert read(text)[1][0].day == date(2025, 10, 5)
    assert read(text, zone=ZoneInfo("America/Los_Angeles"))[1][0].day == date(2025, 10, 4)
    assert read(text, zone=UTC)[1][0].model == ANY_MODEL


def test_nothing_is_left_where_both_say_the_same() -> None:
    result = found([BILLED], [USED])
    assert result.parts == {}
    assert result.agrees
    assert result.open_nano == 0


def test_a_difference_is_split_into_price_and_units_to_the_nano_dollar() -> None:
    dearer = msgspec.structs.replace(BILLED, quantity=1_100_000, cost=Decimal("3.3"))  # 3.0 instead of 2.5, and 10 % more
    result = found([dearer], [USED])
    assert result.parts == {PRICE: 550_000_000, UNEXPLAINED: 250_000_000}
    assert result.differences[0].prices == (PriceSeen("input", "3.000000", "2.500000"),)
    assert "gpt-4o-2024-08-06 input: theirs 3.000000, ours 2.500000" in render(result, "table")


def test_units_that_the_ledger_has_no_price_for_are_told_apart() -> None:
    free = msgspec.structs.replace(USED, priced=False, quantity=400_000, cost_nano=0)
    more = msgspec.structs.replace(BILLED, quantity=1_400_000, cost=Decimal("3.5"))
    assert parts([more], [USED, free]) == {UNPRICED: 1_000_000_000}
    assert parts([msgspec.structs.replace(more, quantity=None)], [USED, free]) == {UNPRICED: 1_000_000_000}


@pytest.mark.parametrize(("cancelled", "reason"), [(True, CANCELLED), (False, ESTIMATED)])
def test_what_was_only_estimated_explains_no_more_than_itself(cancelled: bool, reason: str) -> None:
    guessed = msgspec.structs.replace(USED, estimated=True, cancelled=cancelled, quantity=100_000, cost_nano=250_000_000)
    assert parts([BILLED], [USED, guessed]) == {reason: -250_000_000}
    far_less = msgspec.structs.replace(BILLED, quantity=800_000, cost=Decimal("2.0"))
    assert parts([far_less], [USED, guessed]) == {reason: -250_000_000, UNEXPLAINED: -500_000_000}


def test_a_request_across_the_providers_midnight_is_on_either_day() -> None:
    over = msgspec.structs.replace(USED, day=SECOND, began=FIRST, quantity=100_000, cost_nano=250_000_000)
    on_second = msgspec.structs.replace(USED, day=SECOND, began=SECOND)
    billed = [
        msgspec.structs.replace(BILLED, quantity=1_100_000, cost=Decimal("2.75")),
        msgspec.structs.replace(BILLED, day=SECOND),
    ]
    result = found(billed, [USED, over, on_second])
    assert [each.parts for each in result.differences] == [{BORDER: 250_000_000}, {BORDER: -250_000_000}]
    assert result.agrees
    last_day = found(billed[:1], [USED, over])  # it ended after the invoice's last day
    assert [each.parts for each in last_day.differences] == [{BORDER: 250_000_000}]


def test_cents_of_the_provider_are_rounding_and_no_more_than_half_a_cent_a_row() -> None:
    small = msgspec.structs.replace(USED, quantity=1_001, cost_nano=2_502_500)
    rounded = InvoiceRow(FIRST, USED.model, "input", None, Decimal("0.00"), 0)
    assert parts([rounded], [small]) == {ROUNDING: -2_502_500}
    exact = InvoiceRow(FIRST, USED.model, "input", None, Decimal("0.001"), 3)
    assert parts([exact], [small]) == {UNEXPLAINED: -1_502_500}


def test_prices_finer_than_a_nano_dollar_are_rounding() -> None:
    ours = msgspec.structs.replace(USED, lines=3, quantity=10, cost_nano=3)  # each line was rounded up
    assert parts([InvoiceRow(FIRST, USED.model, "input", 10, Decimal("0.000000001"), 9)], [ours]) == {ROUNDING: -2}


def test_use_outside_the_router_is_named_and_fails_unless_it_is_expected() -> None:
    other = InvoiceRow(FIRST, "o3-2025-04-16", "output", 500, Decimal("4"), 2)
    result = found([BILLED, other], [USED])
    assert result.parts == {OUTSIDE: 4_000_000_000}
    assert not result.agrees
    assert found([BILLED, other], [USED], accept_outside=True).agrees


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("Claude Haiku 4.5", "claude-haiku-4-5-20251001"),
        ("anthropic.claude-3-5-haiku-20241022-v1:0", "Claude Haiku 3.5"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("Claude4.5Sonnet", "claude-sonnet-4-5"),
        ("models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("openai/gpt-5-mini", "gpt-5-mini-2025-08-07"),
        ("gpt 4o", "gpt-4o"),
    ],
)
def test_names_of_the_same_model_are_compared_as_one(one: str, other: str) -> None:
    assert alias(one) == alias(other)
    result = found([msgspec.structs.replace(BILLED, model=one)], [msgspec.structs.replace(USED, model=other)])
    assert result.agrees
    assert result.differences[0].notes == (f"theirs {one}; ours {other}",)


@pytest.mark.parametrize(("one", "other"), [("gpt-4o", "gpt-4o-mini"), ("gpt-4.1", "gpt-4"), ("o3", "o3-mini"), ("o1", "o3")])
def test_names_of_different_models_stay_apart(one: str, other: str) -> None:
    assert alias(one) != alias(other)


def test_two_names_are_one_where_somebody_says_so() -> None:
    row = msgspec.structs.replace(BILLED, model="house name")
    assert not found([row], [USED]).agrees
    assert found([row], [USED], aliases={"house name": USED.model}).agrees


def test_usage_without_amounts_is_valued_at_the_ledgers_prices() -> None:
    more = msgspec.structs.replace(BILLED, quantity=1_200_000, cost=None)
    assert parts([more], [USED]) == {UNEXPLAINED: 500_000_000}
    unknown = msgspec.structs.replace(BILLED, model="o3", quantity=7, cost=None)
    result = found([msgspec.structs.replace(BILLED, cost=None), unknown], [USED])
    assert (result.parts, result.unvalued, result.agrees) == ({}, 7, False)


def test_usage_and_costs_of_a_provider_are_read_together() -> None:
    units = msgspec.structs.replace(BILLED, quantity=1_100_000, cost=None)
    amounts = msgspec.structs.replace(BILLED, quantity=None, cost=Decimal("3.3"))
    assert parts([units, amounts], [USED]) == {PRICE: 550_000_000, UNEXPLAINED: 250_000_000}
    whole_day = InvoiceRow(FIRST, ANY_MODEL, "", None, Decimal("2.5"), 9)
    spoken = InvoiceRow(FIRST, USED.model, "output", 5, None)
    assert parts([units, spoken, whole_day], [USED]) == {}  # of several classes the day's amount is all that can be compared


def test_reasoning_is_billed_as_output_and_hosted_tools_by_themselves() -> None:
    spoken = [msgspec.structs.replace(USED, token_class=name, quantity=50, cost_nano=500_000) for name in ("output", "reasoning")]
    search = msgspec.structs.replace(USED, token_class="web_search", quantity=2, cost_nano=20_000_000)
    rows = [
        InvoiceRow(FIRST, USED.model, "output", 100, Decimal("0.001"), 3),
        InvoiceRow(FIRST, "tool:web_search", "", 2, Decimal("0.02"), 2),
    ]
    assert parts(rows, [*spoken, search]) == {}


AMOUNTS = st.integers(0, 5 * 10**12)
ROWS = st.lists(
    st.builds(
        InvoiceRow,
        day=st.sampled_from([FIRST, SECOND]),
        model=st.sampled_from(["gpt-4o", "gpt-4o-2024-08-06", "o3"]),
        token_class=st.sampled_from(["input", "output", ""]),
        quantity=st.none() | st.integers(0, 10**7),
        cost=AMOUNTS.map(lambda nano: Decimal(nano) / 10**9),
        decimals=st.sampled_from([2, 9]),
    ),
    min_size=1,
    max_size=6,
)
LINES = st.lists(
    st.builds(
        Booked,
        day=st.sampled_from([FIRST, SECOND]),
        began=st.just(FIRST),
        model=st.sampled_from(["gpt-4o", "gpt-4o-2024-08-06", "gpt-4.1"]),
        token_class=st.sampled_from(["input", "output", "reasoning", "hold", "web_search"]),
        estimated=st.booleans(),
        cancelled=st.booleans(),
        priced=st.booleans(),
        lines=st.integers(1, 9),
        quantity=st.integers(-(10**6), 10**7),
        cost_nano=st.integers(-(10**9), 10**12),
    ),
    max_size=6,
)


@given(ROWS, LINES)
def test_the_parts_of_every_difference_add_up_exactly(rows: list[InvoiceRow], lines: list[Booked]) -> None:
    result = found(rows, lines)
    for each in result.differences:
        assert sum(each.parts.values()) == each.nano
        assert set(each.parts) <= set(REASONS)
    assert sum(each.theirs_nano for each in result.differences) == sum(
        int(row.cost * 10**9) for row in rows if row.cost is not None
    )
    in_days = [each.cost_nano for each in lines if result.first <= each.day <= result.last]
    assert sum(each.ours_nano for each in result.differences) == sum(in_days)
    for form in FORMATS:
        assert render(result, form).endswith("\n")


def test_the_reconciliation_is_told_as_table_csv_and_json() -> None:
    result = found([msgspec.structs.replace(BILLED, quantity=1_100_000, cost=Decimal("3.3"))], [USED], layouts=["openai costs"])
    table = render(result, "table")
    assert "price 0.55, unexplained 0.25" in table
    assert "DOES NOT AGREE: 0.25 USD left to explain" in table
    (row,) = csv.DictReader(io.StringIO(render(result, "csv")))
    assert (row["difference_usd"], row["price"], row["unexplained"]) == ("0.8", "0.55", "0.25")
    document = json.loads(render(result, "json"))
    assert (document["agrees"], document["open_nano"], document["differences"][0]["difference_nano"]) == (
        False,
        250_000_000,
        800_000_000,
    )


@pytest.mark.parametrize(
    ("words", "token_class"),
    [
        ("input_no_cache", "input"),
        ("input_cache_read", "cached_input"),
        ("input_cache_write_5m", "cache_write"),
        ("input_cache_write_1h", "cache_write_1h"),
        ("USE1-Claude4.5Sonnet-cache-write-input-token-count", "cache_write"),
        ("Output Tokens", "output"),
        ("gpt-4o-0806-Outp-glbl Tokens", "output"),
        ("gpt-4o-0806-cchd-Inp-glbl Tokens", "cached_input"),
        ("training", ""),
    ],
)
def test_words_of_providers_mean_token_classes(words: str, token_class: str) -> None:
    assert class_of(words) == token_class
