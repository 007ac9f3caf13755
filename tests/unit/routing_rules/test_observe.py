"""An app that is only watched: what still refuses it, and what is only told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import msgspec
import pytest

from routing_rules.catalogue import Observing
from routing_rules.decide import cleared, decide
from routing_rules.decisions import Permit, Refuse
from routing_rules.entitlements import authorise
from routing_rules.facts import Facts
from routing_rules.load import load
from routing_rules.rules import RuleSet
from routing_rules.task import ToolChoice
from routing_rules.vocabulary import Access, BusinessImpact, Integrity, Sensitivity

Build = Callable[..., Facts]
WATCHED = {"mode": "observe", "observing": Observing("ann@example.org", date(2026, 11, 20), date(2026, 12, 1))}


def permit_of(rules: RuleSet, facts: Facts) -> Permit:
    permit = decide(rules, facts)
    assert isinstance(permit, Permit), permit
    return permit


def test_an_ordinary_task_is_permitted_as_ever_and_nothing_is_told(rules: RuleSet, facts: Build) -> None:
    held = permit_of(rules, facts())
    watched = permit_of(rules, facts(caller=WATCHED))
    assert (watched.candidates, watched.rule, watched.would_refuse) == (held.candidates, held.rule, None)


def test_a_task_goes_to_the_model_it_names(rules: RuleSet, facts: Build) -> None:
    named = facts(wish="sim-reasoning", caller=WATCHED)
    permit = permit_of(rules, named)
    assert permit.candidates[0] == "sim-reasoning"
    assert permit.wish_honoured
    assert permit_of(rules, facts(wish="sim-reasoning")).candidates[0] != "sim-reasoning"  # held to the rules, it does not


def test_but_never_to_one_that_is_not_cleared(rules: RuleSet, facts: Build) -> None:
    secret = facts(wish="sim-fast", sensitivity=Sensitivity.CONFIDENTIAL, caller=WATCHED)
    permit = permit_of(rules, secret)
    assert "sim-fast" not in permit.candidates
    assert all(each.clearance >= Sensitivity.CONFIDENTIAL for each in cleared(rules, permit))


def test_a_prohibition_and_a_step_up_are_only_told(rules: RuleSet, facts: Build) -> None:
    forbidden = facts(integrity=Integrity.UNTRUSTED, functions=("make_payment",), access=Access.CONTROL, caller=WATCHED)
    permit = permit_of(rules, forbidden)
    assert (permit.would_refuse, permit.would_rule) == ("tool_combination_prohibited", "no-admin-tools-after-untrusted-content")
    regulated = facts(functions=("make_payment",), access=Access.CONTROL, caller={**WATCHED, "purpose": "regulated-decisions"})
    files = {**rules.files, "apps.yaml": rules.files["apps.yaml"].replace("[general,", "[general, regulated-decisions,")}
    own = load(files)
    assert own.purposes["regulated-decisions"].business_impact is BusinessImpact.HIGH
    permit = permit_of(own, regulated)
    assert (permit.would_refuse, permit.would_rule) == ("approval_required", "control-in-regulated-decisions")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"session_ended": "by somebody"}, "session_ended"),
        ({"sensitivity": Sensitivity.RESTRICTED}, "sensitivity_not_permitted"),
        ({"wish": "nothing-known", "wish_known": False}, "model_not_found"),
    ],
)
def test_clearance_ended_sessions_and_unknown_names_still_refuse(
    rules: RuleSet, facts: Build, change: dict[str, object], code: str
) -> None:
    told = decide(rules, facts(**change, caller={**WATCHED, "clearance": Sensitivity.CONFIDENTIAL}))
    assert isinstance(told, Refuse)
    assert told.code == code


def test_tools_are_not_cut_and_what_would_be_is_told(rules: RuleSet, facts: Build) -> None:
    asking = facts(functions=("calculator", "frobnicate", "make_payment"), caller=WATCHED, tool_choice=ToolChoice("required"))
    grant = authorise(rules, asking, permit_of(rules, asking))
    assert [name for _, name in grant.granted] == ["calculator", "frobnicate", "make_payment"]
    assert (grant.withheld, grant.choice_refusal) == ((), None)
    assert [(each.name, each.reason) for each in grant.would_withhold] == [
        ("frobnicate", "unregistered"),
        ("make_payment", "over_ceiling"),
    ]


def test_a_recorded_decision_comes_out_the_same(rules: RuleSet, facts: Build) -> None:
    asked = facts(wish="sim-reasoning", now=datetime(2026, 11, 24, tzinfo=UTC), caller=WATCHED)
    again = msgspec.json.decode(msgspec.json.encode(asked), type=Facts)
    assert again == asked
    assert decide(rules, again) == decide(rules, asked)
