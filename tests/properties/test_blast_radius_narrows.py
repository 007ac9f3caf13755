"""Whatever the rules say: a narrower ceiling, clearance or list of purposes never reaches more."""

from __future__ import annotations

from dataclasses import fields
from datetime import date
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from routing_rules.blast_radius import reach_of_app, reach_of_set
from routing_rules.catalogue import EntitlementSet
from routing_rules.load import load, shipped
from routing_rules.rules import RuleSet
from routing_rules.vocabulary import Sensitivity

TODAY = date(2026, 11, 23)
RULES = load(shipped(TODAY))
TOOLS = sorted(RULES.tools)
PURPOSES = sorted(RULES.purposes)


def with_ceiling(rules: RuleSet, tools: frozenset[str], review_by: date) -> RuleSet:
    ceiling = EntitlementSet("ceiling", "o@x", "p", "a@x", review_by, tools)
    return rules_with(rules, sets={**rules.sets, "ceiling": ceiling})


def rules_with(rules: RuleSet, **changes: object) -> RuleSet:
    """The rule set with other parts, compiled anew."""
    parts: dict[str, Any] = {each.name: getattr(rules, each.name) for each in fields(RuleSet) if each.init}
    return RuleSet(**(parts | changes))


@settings(max_examples=60, deadline=None)
@given(
    wide=st.frozensets(st.sampled_from(TOOLS)),
    left=st.data(),
    clearance=st.sampled_from(list(Sensitivity)),
    purposes=st.lists(st.sampled_from(PURPOSES), min_size=1, unique=True),
)
def test_a_narrower_identity_never_reaches_more(
    wide: frozenset[str], left: st.DataObject, clearance: Sensitivity, purposes: list[str]
) -> None:
    narrow = left.draw(st.frozensets(st.sampled_from(sorted(wide)))) if wide else frozenset()
    lower = left.draw(st.sampled_from([level for level in Sensitivity if level <= clearance]))
    fewer = left.draw(st.lists(st.sampled_from(purposes), min_size=1, unique=True))
    overdue = left.draw(st.booleans())
    app = msgspec.structs.replace(RULES.apps["demo"], ceiling="ceiling", clearance=clearance, purposes=tuple(purposes))
    less = msgspec.structs.replace(app, clearance=lower, purposes=tuple(fewer))
    rules = with_ceiling(RULES, wide, date(2030, 1, 1))
    narrower = with_ceiling(RULES, narrow, date(2020, 1, 1) if overdue else date(2030, 1, 1))
    words = reach_of_app(rules, app, TODAY).words()
    own_level = {word for word in reach_of_app(narrower, less, TODAY).words() if word.endswith("(data)")}
    assert reach_of_app(narrower, less, TODAY).words() - own_level <= words
    assert {each.split()[1] for each in words if each.startswith("tool ")} <= wide


@settings(max_examples=30, deadline=None)
@given(tools=st.frozensets(st.sampled_from(TOOLS)), left=st.data())
def test_a_smaller_set_never_reaches_more(tools: frozenset[str], left: st.DataObject) -> None:
    fewer = left.draw(st.frozensets(st.sampled_from(sorted(tools)))) if tools else frozenset()

    def words(held: frozenset[str]) -> frozenset[str]:
        own = msgspec.structs.replace(RULES.sets["standard"], tools=held)
        rules = rules_with(RULES, sets={**RULES.sets, "standard": own})
        return reach_of_set(rules, own, TODAY).words()

    assert words(fewer) <= words(tools)
