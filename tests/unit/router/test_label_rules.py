"""Every label rule still stands where its proof takes it away, and names tests that there are; `make mutants` runs the proofs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.mutants.label_rules import LABEL_RULES, LabelRule

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("rule", LABEL_RULES, ids=lambda rule: rule.id)
def test_a_label_rule_stands_where_its_proof_takes_it_away(rule: LabelRule) -> None:
    assert (ROOT / rule.file).read_text().count(rule.now) == 1
    file, words = rule.tests
    told = (ROOT / file).read_text()
    for word in set(re.findall(r"\w+", words)) - {"and", "or", "not"}:
        assert word in told, word


def test_no_two_label_rules_have_one_name() -> None:
    assert len({rule.id for rule in LABEL_RULES}) == len(LABEL_RULES)
