"""Days of rules begin where the organisation is, also on the days on which clocks are changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest

from routing_rules.decide import decide
from routing_rules.facts import Facts
from routing_rules.faults import RuleFaults
from routing_rules.rules import RuleSet

Rules = Callable[..., RuleSet]


def table(zone: str, first: str, last: str) -> str:
    return f"""time_zone: {zone}
routes:
  - {{id: dated, owner: o, reason: r, from: {first}, until: {last}, then: {{tier: fast, fallback_tiers: [reasoning], set: none, budget: default}}}}
  - {{id: rest, owner: o, reason: r, then: {{tier: fast, fallback_tiers: [reasoning], set: none, budget: default}}}}
"""


def decider(rules: RuleSet, facts: Facts, moment: str) -> str:
    now = datetime.fromisoformat(moment)
    return decide(rules, msgspec.structs.replace(facts, now=now.replace(tzinfo=UTC))).rule


@pytest.mark.parametrize(
    ("zone", "day", "before", "first", "last", "after"),
    [
        # An ordinary day, east and west of Greenwich.
        ("Europe/Berlin", "2027-01-15", "2027-01-14T22:59:59", "2027-01-14T23:00", "2027-01-15T22:59:59", "2027-01-15T23:00"),
        ("America/New_York", "2027-01-15", "2027-01-15T04:59:59", "2027-01-15T05:00", "2027-01-16T04:59:59", "2027-01-16T05:00"),
        # A day of 23 hours, and one of 25.
        ("Europe/Berlin", "2027-03-28", "2027-03-27T22:59:59", "2027-03-27T23:00", "2027-03-28T21:59:59", "2027-03-28T22:00"),
        ("Europe/Berlin", "2027-10-31", "2027-10-30T21:59:59", "2027-10-30T22:00", "2027-10-31T22:59:59", "2027-10-31T23:00"),
        # A day that begins at one o'clock, because midnight is left out.
        ("America/Santiago", "2024-09-08", "2024-09-08T03:59:59", "2024-09-08T04:00", "2024-09-09T02:59:59", "2024-09-09T03:00"),
        # A day whose last hour comes twice.
        ("America/Santiago", "2024-04-06", "2024-04-06T02:59:59", "2024-04-06T03:00", "2024-04-07T03:59:59", "2024-04-07T04:00"),
        ("UTC", "2027-01-15", "2027-01-14T23:59:59", "2027-01-15T00:00", "2027-01-15T23:59:59", "2027-01-16T00:00"),
    ],
)
def test_a_rule_is_in_force_for_the_whole_local_day_and_no_longer(
    rules_with: Rules, facts: Callable[..., Facts], zone: str, day: str, before: str, first: str, last: str, after: str
) -> None:
    rules = rules_with(routes=table(zone, day, day))
    assert [decider(rules, facts(), moment) for moment in (before, first, last, after)] == ["rest", "dated", "dated", "rest"]


@pytest.mark.parametrize("name", ["Europe/Berlim", "../../etc/passwd", "/etc/localtime", "europe", "''"])
def test_a_time_zone_that_does_not_exist_is_told(rules_with: Rules, name: str) -> None:
    with pytest.raises(RuleFaults) as raised:
        rules_with(routes=table(name, "2027-01-01", "2027-01-02"))
    fault = raised.value.faults[0]
    assert (fault.file, fault.line, fault.column) == ("routes.yaml", 1, 12)


def test_the_nearest_time_zone_is_named(rules_with: Rules) -> None:
    with pytest.raises(RuleFaults, match="did you mean `Europe/Berlin`"):
        rules_with(routes=table("Europe/Berlim", "2027-01-01", "2027-01-02"))
