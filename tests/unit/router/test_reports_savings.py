"""Savings: what was billed is exact, what it would have cost elsewhere is an interval, and what cannot be compared is said."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any

import pytest
from governed import rule_files
from hypothesis import given, settings
from hypothesis import strategies as st

from router.reports import analysis, savings
from router.reports.question import Misread, asked
from router.reports.spend import WHOLE_REQUEST, Figures, SpendReport, SpendRow
from routing_rules.catalogue import Price
from routing_rules.load import complete, load
from routing_rules.rules import RuleSet

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DOLLAR = 10**9
BY = ("rule", *savings.CELL)


def deployment(name: str, tier: str, read: str, written: str, more: str = "") -> str:
    price = f"{{input_usd_per_million: {read}, output_usd_per_million: {written}}}"
    return f"  - {{id: {name}, base_url: 'http://127.0.0.1:1', model: {name}, tier: {tier}, clearance: internal, price: {price}{more}}}\n"


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    files = rule_files(
        [
            deployment("quick", "fast", "1", "2"),
            deployment("deep", "reasoning", "10", "40", ", model_names: [deep-thought]"),
            deployment("deeper", "reasoning", "20", "80"),
        ]
    )
    return load(complete(files, date(2026, 3, 10)))


def row(
    rule: str = "r-1",
    tier: str = "fast",
    deployment: str = "quick",
    asked_model: str = "auto",
    token_class: str = "input",  # noqa: S107
    task: str = "coding",
    **figures: Any,
) -> SpendRow:
    return SpendRow((rule, tier, deployment, deployment, asked_model, task, "simple", token_class), Figures(**figures))


def million(
    tier: str = "fast", deployment: str = "quick", asked_model: str = "auto", rule: str = "r-1", requests: int = 1
) -> list[SpendRow]:
    """A million tokens read and as many written, at a dollar and two."""
    where = {"tier": tier, "deployment": deployment, "asked_model": asked_model, "rule": rule}
    return [
        row(**where, token_class="input", cost_nano=1 * DOLLAR, input_tokens=10**6),
        row(**where, token_class="output", cost_nano=2 * DOLLAR, output_tokens=10**6),
        row(**where, token_class=WHOLE_REQUEST, requests=requests, router_us=1_000, upstream_us=2_000_000 * requests),
    ]


def report(
    rules: RuleSet,
    rows: list[SpendRow],
    by: tuple[str, ...] = ("rule",),
    medians: savings.Medians | None = None,
    known: dict[str, savings.Rate] | None = None,
    rate_nano: int | None = None,
) -> savings.SavingsReport:
    spend = SpendReport(BY, None, None, tuple(rows))
    wished = (known or {}) | savings.asked_rates(savings.asked_names(spend), rules, NOW)
    return savings.savings_report(spend, by, rules, savings.reasoning_rate(spend, rules, NOW), wished, medians or {}, rate_nano)


def test_what_ran_on_the_fast_tier_is_priced_on_the_reasoning_tier_with_an_interval(rules: RuleSet) -> None:
    found = report(rules, million())
    assert found.reasoning is not None
    assert found.reasoning.name == "deep"  # nobody served any: the cheapest
    assert found.total.cost_nano == 3 * DOLLAR
    # Read: 10 dollars, a fifth less to a quarter more; written: 40 dollars, up to four times as much.
    assert found.total.reasoning.saved == ((8 + 40 - 3) * DOLLAR, (10 + 40 - 3) * DOLLAR, int((12.5 + 160 - 3) * DOLLAR))
    assert any("assumed" in each for each in found.assumptions)


def test_what_ran_on_the_reasoning_tier_is_as_it_was_billed_and_says_which_deployment_stands_for_it(rules: RuleSet) -> None:
    found = report(rules, million("reasoning", "deeper"))
    assert found.reasoning is not None
    assert found.reasoning.name == "deeper"
    assert found.total.reasoning.saved == (0, 0, 0)


def test_who_asked_for_auto_is_not_in_what_the_apps_asked_for(rules: RuleSet) -> None:
    found = report(rules, [*million(), *million(asked_model="deep-thought", rule="r-2"), *million(asked_model="nobody-knows")])
    assert found.total.asked.billed_nano == 3 * DOLLAR
    assert found.total.not_compared_nano == 6 * DOLLAR
    assert found.total.asked.saved[1] == (10 + 40 - 3) * DOLLAR
    assert any("`auto`" in each for each in found.assumptions)


def test_who_got_what_they_asked_for_saved_nothing_and_who_got_more_saved_less_than_nothing(rules: RuleSet) -> None:
    got = report(rules, million("reasoning", "deep", "deep-thought"))
    assert got.total.asked.saved == (0, 0, 0)
    more = report(
        rules,
        million("reasoning", "deep", "small"),
        known={"small": savings.Rate("small", Price(input=DOLLAR // 10, output=DOLLAR // 10), False)},
    )
    low, middle, high = more.total.asked.saved
    assert low < middle <= high < 0


def test_embeddings_and_hosted_tools_stay_as_they_were_billed(rules: RuleSet) -> None:
    embedded = report(rules, [row(token_class="input", cost_nano=DOLLAR, input_tokens=10**6)])
    assert embedded.total.reasoning.saved == (0, 0, 0)
    searched = report(rules, [*million(), row(token_class="web_search", cost_nano=7 * DOLLAR, tool_uses=700)])
    assert searched.total.cost_nano == 10 * DOLLAR
    assert searched.total.reasoning.saved == report(rules, million()).total.reasoning.saved


def test_unpriced_use_is_on_neither_side_and_is_counted(rules: RuleSet) -> None:
    found = report(rules, [row(token_class="output", output_tokens=500, unpriced_tokens=500)])
    assert (found.total.unpriced_tokens, found.total.reasoning.saved) == (500, (0, 0, 0))


def test_ratios_are_measured_where_both_tiers_served_enough_of_enough_kinds(rules: RuleSet) -> None:
    seen = []
    for number, kind in enumerate(("coding", "lookup", "writing")):
        seen += [((kind, "simple"), False, 30, 3_000), ((kind, "simple"), True, 60, 6_000 * (number + 2))]
    assert savings.measured(seen) == savings.Ratio(Fraction(2), Fraction(3), Fraction(4), 3)
    assert savings.measured(seen[:4]) == savings.THINKING
    assert savings.measured([*seen[:5], ((("writing"), "simple"), True, 29, 9)]) == savings.THINKING


def test_seconds_are_compared_with_the_reasoning_tier_at_the_same_kind_of_task(rules: RuleSet) -> None:
    medians = {("coding", "simple", "reasoning"): (40, 9_000_000), ("coding", "simple", "fast"): (40, 1)}
    found = report(rules, million(requests=3), medians=medians, rate_nano=3_600 * 10**6)
    assert (found.total.timed, found.total.saved_us) == (3, 3 * 7_000_000)
    assert savings.router_nano(found.total.router_us, found.rate_nano) == 1_000
    few = report(rules, million(), medians={("coding", "simple", "reasoning"): (29, 9_000_000)})
    assert (few.total.timed, savings.flat(few, few.total)["estimated_saved_us"]) == (0, None)


def test_the_report_reads_the_same_in_each_form_and_marks_what_is_estimated(rules: RuleSet) -> None:
    found = report(rules, million())
    document = json.loads(savings.render(found, "json"))
    total = document["total"]
    assert (total["cost_nano"], total["reasoning_estimated_saved_nano"]) == (3 * DOLLAR, 47 * DOLLAR)
    assert total["reasoning_estimated_saved_usd"] == "47"
    assert document["assumptions"]
    (line,) = csv.DictReader(io.StringIO(savings.render(found, "csv")))
    assert line["reasoning_estimated_saved_high_nano"] == str(total["reasoning_estimated_saved_high_nano"])
    table = savings.render(found, "table")
    assert "47.000000 (45.000000 to 169.500000)" in table
    assert "estimated" in table


def test_a_catalogue_without_a_priced_reasoning_model_compares_nothing_with_it() -> None:
    rules = load(complete(rule_files([deployment("quick", "fast", "1", "2")]), date(2026, 3, 10)))
    found = report(rules, million())
    assert found.reasoning is None
    assert not any(name.startswith("reasoning") for name in savings.flat(found, found.total))


class NoLedger:
    def spend(self, *_: Any) -> SpendReport:
        raise AssertionError("nothing is to be read")

    def upstream_medians(self, *_: Any) -> savings.Medians:
        raise AssertionError("nothing is to be read")


@pytest.mark.parametrize(("by", "where"), [("token_class", []), ("rule", ["basis=reported"])])
def test_savings_are_of_whole_requests(rules: RuleSet, by: str, where: list[str]) -> None:
    what = asked(NOW, UTC, by=by, where=where)  # type: ignore[arg-type]
    with pytest.raises(Misread, match="whole requests"):
        analysis.savings_of(NoLedger(), what, NOW, rules, lambda _: {})


ROWS = st.builds(
    row,
    rule=st.sampled_from(["r-1", "r-2"]),
    tier=st.sampled_from(["fast", "reasoning"]),
    deployment=st.sampled_from(["quick", "deep", "gone"]),
    asked_model=st.sampled_from(["auto", "deep-thought", "other"]),
    token_class=st.sampled_from(["input", "output", "reasoning", "cached_input"]),
    task=st.sampled_from(["coding", "lookup"]),
    cost_nano=st.integers(-(10**6), 10**12),
    output_tokens=st.integers(-5, 10**7),
)


@settings(deadline=None)
@given(rows=st.lists(ROWS, max_size=12, unique_by=lambda each: each.group))
def test_every_dimension_adds_up_to_the_same_and_what_is_compared_to_what_was_billed(
    rules: RuleSet, rows: list[SpendRow]
) -> None:
    whole = report(rules, rows, ())
    billed = sum(each.figures.cost_nano for each in rows)
    for by in (("rule",), ("tier", "task"), ("asked_model",)):
        found = report(rules, rows, by)
        assert found.total == whole.total
        for each in (*found.rows, found.total):
            assert each.asked.billed_nano + each.not_compared_nano == each.cost_nano == each.reasoning.billed_nano
            for way in (each.reasoning, each.asked):
                assert way.saved[0] <= way.saved[1] <= way.saved[2]
        assert found.total.cost_nano == billed
