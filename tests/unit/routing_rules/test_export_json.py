"""Everything that is in force as one document: whole, the same each time, and readable without us."""

from __future__ import annotations

import json

import msgspec

from routing_rules.export_json import FORMAT, document
from routing_rules.load import load
from routing_rules.rules import RuleSet


def test_the_document_holds_every_rule_in_the_order_in_which_it_decides(rules: RuleSet) -> None:
    found = document(rules)
    assert (found["format"], found["revision"], found["time_zone"]) == (FORMAT, rules.revision, "UTC")
    assert [rule["id"] for rule in found["rules"]] == [rule.id for rule in rules.rules]
    for part, held in (("apps", rules.apps), ("deployments", rules.deployments), ("tools", rules.tools), ("sets", rules.sets)):
        assert [each["id"] for each in found[part]] == list(held)


def test_a_bound_is_written_out_as_the_words_that_it_admits(rules: RuleSet) -> None:
    rule = next(each for each in document(rules)["rules"] if each["id"] == "demanding-code")
    assert rule["when"]["complexity"] == ["complex", "moderate"]


def test_the_same_files_make_the_same_document(rules: RuleSet) -> None:
    again = document(load(rules.files))
    assert msgspec.json.encode(again) == msgspec.json.encode(document(rules))
    assert json.loads(msgspec.json.encode(again))["revision"] == rules.revision
