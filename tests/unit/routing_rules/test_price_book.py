"""`prices.yaml`: what a deployment costs at a moment, and what is refused with its place and a remedy."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random

import pytest
from random_facts import random_facts

from routing_rules.catalogue import Deployment, Price
from routing_rules.decide import decide
from routing_rules.facts import Facts
from routing_rules.faults import RuleFaults
from routing_rules.load import load, shipped
from routing_rules.prices import rounded
from routing_rules.rules import RuleSet

TODAY = date(2026, 11, 23)
SHIPPED = shipped(TODAY)
SHIPPED_RULES = load(SHIPPED)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def book(text: str) -> RuleSet:
    return load({**SHIPPED, "prices.yaml": text})


def fast(text: str) -> Deployment:
    return book(text).deployments["sim-fast"]


def on(deployment: Deployment, day: str, hour: int = 0, minute: int = 0, second: int = 0) -> Price:
    return deployment.price_at(datetime.fromisoformat(day).replace(hour=hour, minute=minute, second=second, tzinfo=UTC))


def candidates(rules: RuleSet, asked: list[Facts]) -> set[str]:
    return {id for facts in asked for id in getattr(decide(rules, facts), "candidates", ())}


def faults(text: str) -> list[tuple[int, str]]:
    with pytest.raises(RuleFaults) as found:
        book(text)
    assert all(fault.file == "prices.yaml" for fault in found.value.faults)
    assert all(fault.hint or fault.message for fault in found.value.faults)
    return [(fault.line, fault.code) for fault in found.value.faults]


def test_a_rule_set_without_the_file_costs_what_models_yaml_says() -> None:
    rules = load({name: text for name, text in SHIPPED.items() if name != "prices.yaml"})
    assert rules.deployments["sim-fast"].price_at(NOON).input == 150_000_000
    assert rules.deployments["sim-fast"].price_at(NOON).book == ""


def test_a_price_holds_from_its_first_moment_to_its_last_in_utc() -> None:
    found = fast(
        """
prices:
  - {id: a, deployment: sim-fast, from: 2028-02-28, until: 2028-02-29, per_million: {input: 1, output: 2}}
  - {id: b, deployment: sim-fast, from: 2028-03-01, per_million: {input: 3, output: 4}}
"""
    )
    assert on(found, "2028-02-27", 23, 59, 59).input == 150_000_000
    assert on(found, "2028-02-28").input == 1_000_000_000
    assert on(found, "2028-02-29", 23, 59, 59).input == 1_000_000_000
    assert on(found, "2028-03-01").input == 3_000_000_000


def test_a_day_without_a_row_is_unpriced_where_models_yaml_has_no_price_either() -> None:
    models = SHIPPED["models.yaml"].replace(
        "price: {input_usd_per_million: 0.15, cached_input_usd_per_million: 0.075, output_usd_per_million: 0.60, source: simulated}",
        "price: {}",
    )
    text = "prices: [{id: a, deployment: sim-fast, from: 2026-01-01, until: 2026-06-30, per_million: {input: 1, output: 2}}]"
    rules = load({**SHIPPED, "models.yaml": models, "prices.yaml": text})
    slot = rules.slots["sim-fast"]
    assert slot.priced_at(datetime(2026, 6, 30, 23, tzinfo=UTC))
    assert not slot.priced_at(datetime(2026, 7, 1, tzinfo=UTC))


def test_under_a_limit_in_money_an_unpriced_deployment_is_no_candidate_until_a_price_is_assumed() -> None:
    models = SHIPPED["models.yaml"].replace(
        "price: {input_usd_per_million: 0.15, cached_input_usd_per_million: 0.075, output_usd_per_million: 0.60, source: simulated}",
        "price: {}",
    )
    without = load({**SHIPPED, "models.yaml": models})
    text = "prices: [{id: a, model: sim-fast, assumed: true, per_million: {input: 1, output: 2}}]"
    assumed = load({**SHIPPED, "models.yaml": models, "prices.yaml": text})
    asked = [random_facts(Random(seed), SHIPPED_RULES, strange=False) for seed in range(200)]
    assert "sim-fast" in candidates(SHIPPED_RULES, asked)
    assert "sim-fast" not in candidates(without, asked)
    assert "sim-fast" in candidates(assumed, asked)
    assert assumed.deployments["sim-fast"].price_at(NOON).source == "assumed"


@pytest.mark.parametrize(("speech", "candidate"), [("", False), (", audio_input: 40, audio_output: 80", True)])
def test_who_hears_is_a_candidate_under_a_limit_in_money_where_speech_has_a_price(speech: str, candidate: bool) -> None:
    slot = book(f"prices: [{{id: a, deployment: sim-fast, per_million: {{input: 1, output: 2{speech}}}}}]").slots["sim-fast"]
    assert slot.priced_at(NOON)
    assert slot.priced_at(NOON, audio=True) is candidate


def test_the_most_particular_row_counts() -> None:
    found = fast(
        """
prices:
  - {id: model, model: sim-fast, per_million: {input: 3, output: 3}}
  - {id: provider, provider: simulated, model: sim-fast, per_million: {input: 2, output: 2}}
  - {id: other, provider: openai, model: sim-fast, per_million: {input: 9, output: 9}}
"""
    )
    assert on(found, "2026-11-23").input == 2_000_000_000


def test_a_percentage_is_taken_off_the_list_price_and_rounded_up() -> None:
    found = on(
        fast(
            """
prices: [{id: a, deployment: sim-fast, per_million: {input: 0.000000003, output: 2}, per_thousand_calls: {web_search: 10}}]
discounts: [{id: d, provider: simulated, percent: 12.5, source: contract 7}]
"""
        ),
        "2026-11-23",
    )
    assert (found.input, found.output) == (3, 1_750_000_000)
    assert found.tools == {"web_search": 8_750_000_000_000}
    assert found.at_list is not None
    assert (found.at_list.input, found.at_list.output) == (3, 2_000_000_000)


@pytest.mark.parametrize(
    ("discounts", "made", "reasoning"),
    [
        ("{id: o, provider: simulated, percent: 50, classes: [output]}", 4, 4),
        ("{id: r, provider: simulated, percent: 50, classes: [reasoning]}", 8, 4),
        (
            "{id: o, provider: simulated, percent: 50, classes: [output]}, {id: r, deployment: sim-fast, percent: 25, classes: [reasoning]}",
            4,
            6,
        ),
    ],
)
def test_reasoning_follows_the_output_unless_a_discount_names_it(discounts: str, made: int, reasoning: int) -> None:
    prices = "prices: [{id: a, deployment: sim-fast, per_million: {input: 4, output: 8}}]\n"
    found = on(fast(f"{prices}discounts: [{discounts}]\n"), "2026-11-23")
    assert [found.of("output"), found.of("reasoning")] == [made * 1_000_000_000, reasoning * 1_000_000_000]


def test_a_fixed_price_of_a_hosted_tool_is_for_that_tool_alone() -> None:
    prices = "prices: [{id: a, deployment: sim-fast, per_million: {input: 4, output: 8}, per_thousand_calls: {web_search: 10}}]\n"
    fixed = "{id: t, deployment: sim-fast, classes: [web_search], fixed: {per_thousand_calls: {web_search: 5}}}"
    found = on(fast(f"{prices}discounts: [{fixed}]\n"), "2026-11-23")
    assert (found.tools, found.input) == ({"web_search": 5_000_000_000_000}, 4_000_000_000)


def test_discounts_do_not_add_up_the_most_particular_one_has_the_word_class_by_class() -> None:
    found = on(
        fast(
            """
discounts:
  - {id: all, provider: simulated, percent: 50}
  - {id: output, deployment: sim-fast, percent: 10, classes: [output]}
"""
        ),
        "2026-11-23",
    )
    assert (found.input, found.output) == (75_000_000, 540_000_000)


OFF_THE_CACHE = "{id: c, provider: simulated, percent: 50, classes: [cached_input]}"
OFF_THE_INPUT = "{id: i, provider: simulated, percent: 50, classes: [input]}"
OFF_ALL = "{id: all, deployment: sim-fast, percent: 10}"
FIXED = "{id: all, deployment: sim-fast, fixed: {per_million: {input: 1}}}"


@pytest.mark.parametrize(
    ("discounts", "whole", "cached", "for_an_hour"),
    [
        (OFF_THE_CACHE, 4, 2, 4),
        (OFF_THE_INPUT, 2, 4, 4),
        (f"{OFF_THE_CACHE}, {OFF_THE_INPUT}", 2, 2, 4),
        (f"{OFF_THE_INPUT}, {OFF_ALL}", 3.6, 3.6, 3.6),
        (f"{OFF_THE_CACHE}, {FIXED}", 1, 1, 1),
        (FIXED, 1, 1, 1),
        (FIXED.replace("sim-fast,", "sim-fast, classes: [input, cached_input],"), 1, 1, 4),
    ],
)
def test_a_discount_is_on_the_classes_it_names_also_where_one_is_billed_by_the_price_of_another(
    discounts: str, whole: float, cached: float, for_an_hour: float
) -> None:
    prices = "prices: [{id: a, deployment: sim-fast, per_million: {input: 4, output: 8}}]\n"
    found = on(fast(f"{prices}discounts: [{discounts}]\n"), "2026-11-23")
    billed = [found.of(name) for name in ("input", "cached_input", "cache_write_1h", "output", "reasoning")]
    dearer = 7_200_000_000 if OFF_ALL in discounts else 8_000_000_000
    assert billed == [*(int(each * 1_000_000_000) for each in (whole, cached, for_an_hour)), dearer, dearer]


@pytest.mark.parametrize(
    ("discounts", "source"),
    [
        ("{id: d, provider: simulated, percent: 10}", "assumed"),
        ("{id: d, provider: simulated, fixed: {per_million: {input: 1}}}", "assumed"),
        ("{id: d, provider: simulated, fixed: {per_million: {input: 1, output: 1}}}", "price book"),
        (
            "{id: d, provider: simulated, fixed: {per_million: {input: 1, output: 1}}}, {id: e, deployment: sim-fast, percent: 10}",
            "assumed",
        ),
    ],
)
def test_a_price_is_assumed_until_fixed_prices_cover_it(discounts: str, source: str) -> None:
    models = SHIPPED["models.yaml"].replace(
        "price: {input_usd_per_million: 0.15, cached_input_usd_per_million: 0.075, output_usd_per_million: 0.60, source: simulated}",
        "price: {}",
    )
    text = (
        f"prices: [{{id: a, model: sim-fast, assumed: true, per_million: {{input: 1, output: 2}}}}]\ndiscounts: [{discounts}]\n"
    )
    found = load({**SHIPPED, "models.yaml": models, "prices.yaml": text}).deployments["sim-fast"]
    assert found.price_at(NOON).source == source


def test_a_fixed_price_replaces_the_list_price_of_its_classes_and_steps() -> None:
    found = on(
        fast(
            """
prices: [{id: a, deployment: sim-fast, per_million: {input: 1, output: 2}, above: [{input_tokens: 1000, per_million: {input: 2, output: 4}}]}]
discounts: [{id: d, deployment: sim-fast, fixed: {per_million: {output: 1.5}, above: [{input_tokens: 1000, per_million: {input: 1.8}}]}}]
"""
        ),
        "2026-11-23",
    )
    assert (found.input, found.output) == (1_000_000_000, 1_500_000_000)
    assert found.applied(1_000, "").output == 1_500_000_000
    assert (found.applied(1_001, "").input, found.applied(1_001, "").output) == (1_800_000_000, 4_000_000_000)


def test_another_currency_is_converted_at_the_rate_of_the_day_and_rounded_up() -> None:
    found = fast(
        """
rates: {EUR: [{from: 2026-01-01, usd: 1.0842}, {from: 2026-07-01, usd: 1.100000001}]}
prices: [{id: a, deployment: sim-fast, from: 2026-01-01, currency: EUR, per_million: {input: 0.37, output: 1}}]
"""
    )
    assert (on(found, "2026-06-30", 23).input, on(found, "2026-06-30", 23).output) == (401_154_000, 1_084_200_000)
    assert on(found, "2026-07-01").input == 407_000_001  # 407000000.37
    assert on(found, "2025-12-31").input == 150_000_000


@pytest.mark.parametrize(("amount", "whole"), [("0", 0), ("0.1", 1), ("1", 1), ("1.000000001", 2), ("7.5", 8)])
def test_rounding_is_up_and_in_one_place(amount: str, whole: int) -> None:
    assert rounded(Decimal(amount)) == whole


def test_two_contents_never_have_one_version() -> None:
    one = "version: v7\nprices: [{id: a, deployment: sim-fast, per_million: {input: 1, output: 2}}]"
    other = one.replace("input: 1", "input: 1.5")
    first, second = book(one).price_book.version, book(other).price_book.version
    assert first.startswith("v7.")
    assert first != second
    assert book(f"# a remark\n{one}").price_book.version == first
    assert on(fast(one), "2026-11-23").book == first


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prices:\n  - {id: a, model: m}", (2, "missing_key")),
        ("prices:\n  - {id: a, per_million: {input: 1}}", (2, "missing_key")),
        ("prices:\n  - {id: a, deployment: nobody, per_million: {input: 1}}", (2, "unknown_word")),
        ("prices:\n  - {id: a, model: m, per_million: {input: 0, output: 0}}", (2, "zero_price")),
        ("prices:\n  - {id: a, model: m, per_million: {inptu: 1, input: 1}}", (2, "unknown_key")),
        ("prices:\n  - {id: a, model: m, per_million: {input: -1}}", (2, "bad_amount")),
        ("prices:\n  - {id: a, model: m, from: 2026-02-01, until: 2026-01-01, per_million: {input: 1}}", (2, "wrong_type")),
        ("prices:\n  - {id: a, model: m, from: 2026-02-30, per_million: {input: 1}}", (2, "wrong_type")),
        ("prices:\n  - {id: a, model: m, currency: EUR, per_million: {input: 1}}", (2, "unknown_word")),
        (
            "rates: {EUR: [{from: 2026-01-01, usd: 1.1}]}\nprices:\n  - {id: a, model: m, currency: EUR, per_million: {input: 1}}",
            (3, "no_rate"),
        ),
        ("rates: {euro: [{from: 2026-01-01, usd: 1.1}]}", (1, "bad_currency")),
        ("rates:\n  EUR:\n    - {from: 2026-02-01, usd: 1.1}\n    - {from: 2026-01-01, usd: 1.2}", (4, "wrong_type")),
        (
            "prices:\n  - {id: a, model: m, per_million: {input: 1}}\n  - {id: b, model: m, from: 2026-01-01, per_million: {input: 1}}",
            (3, "overlap"),
        ),
        ("prices:\n  - {id: a, model: m, per_million: {input: 1}, above: [{per_million: {input: 2}}]}", (2, "missing_key")),
        ("discounts:\n  - {id: d, model: m}", (2, "missing_key")),
        ("discounts:\n  - {id: d, model: m, percent: 101}", (2, "bad_amount")),
        ("discounts:\n  - {id: d, model: m, percent: 100}", (2, "zero_price")),
        ("version: two words", (1, "wrong_type")),
    ],
)
def test_bad_input_is_refused_with_its_line_and_a_remedy(text: str, told: tuple[int, str]) -> None:
    assert told in faults(text)


def test_zero_is_a_price_where_somebody_says_why() -> None:
    found = fast("prices: [{id: a, deployment: sim-fast, per_million: {input: 0, output: 0}, reason: own hardware}]")
    assert on(found, "2026-11-23").known
    assert on(found, "2026-11-23").input == 0
