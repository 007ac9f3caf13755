"""What a change of prices does: who pays more and from when on is named, what is cheaper widens, because limits in money bind later."""

from __future__ import annotations

from datetime import date

from routing_rules.diff import diff
from routing_rules.load import load, shipped
from routing_rules.rules import RuleSet

TODAY = date(2026, 11, 23)
SHIPPED = shipped(TODAY)
NOW = "prices: [{id: a, deployment: sim-fast, from: 2026-01-01, until: 2026-12-31, per_million: {input: 1, output: 2}}"


def book(text: str) -> RuleSet:
    return load({**SHIPPED, "prices.yaml": text})


def test_a_price_that_rises_later_is_told_with_its_day_and_the_apps_that_pay_and_widens_nothing() -> None:
    rise = ", {id: b, deployment: sim-fast, from: 2027-01-01, per_million: {input: 1, output: 3}}]"
    same = ", {id: b, deployment: sim-fast, from: 2027-01-01, per_million: {input: 1, output: 2}}]"
    found = diff(book(NOW + same), book(NOW + rise), TODAY)
    (told,) = found.dearer
    assert "`sim-fast` costs more from 2027-01-01 on: `output`" in told
    assert "paid by the owners of" in told
    assert not found.widens


def test_a_price_that_falls_widens_and_nobody_pays_more() -> None:
    found = diff(book(f"{NOW}]"), book(f"{NOW}]".replace("output: 2", "output: 1")), TODAY)
    assert found.dearer == ()
    assert [each.kind for each in found.widenings] == ["price"]


def test_what_held_in_the_past_is_of_no_account() -> None:
    past = "prices: [{id: a, deployment: sim-fast, from: 2020-01-01, until: 2020-12-31, per_million: {input: 1, output: 2}}]"
    found = diff(book(past), book(past.replace("input: 1", "input: 9")), TODAY)
    assert (found.dearer, found.widenings) == ((), ())


def test_a_discount_that_ends_makes_it_dearer_from_the_day_after() -> None:
    off = "\ndiscounts: [{id: d, deployment: sim-fast, percent: 10, from: 2026-01-01UNTIL}]"
    found = diff(book(f"{NOW}]" + off.replace("UNTIL", "")), book(f"{NOW}]" + off.replace("UNTIL", ", until: 2026-11-30")), TODAY)
    assert any("from 2026-12-01 on" in each for each in found.dearer)
