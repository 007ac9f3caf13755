"""What docs/rules.md shows must work as shown."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from routing_rules.cases import run_cases
from routing_rules.load import complete, load
from routing_rules.rules import DIMENSIONS, GOVERNED_DIMENSIONS
from routing_rules.task import Feature
from routing_rules.vocabulary import Capability

PAGE = (Path(__file__).parents[3] / "docs" / "rules.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
TODAY = date(2026, 11, 23)
MARKETING = "apps: [{id: campaigns, owner: o, team: marketing, clearance: internal, ceiling: none, purposes: [general]}]"


@pytest.mark.parametrize("name", ["models.yaml", "routes.yaml", "cases/own.yaml"])
def test_every_example_loads_as_the_only_file_of_a_directory(name: str) -> None:
    own = {name: EXAMPLES[name]} | ({"apps.yaml": MARKETING} if name == "routes.yaml" else {})
    rules = load(complete(own, TODAY))
    assert run_cases(rules) == []


@pytest.mark.parametrize(
    "word", [*DIMENSIONS, *GOVERNED_DIMENSIONS, *(word for words in DIMENSIONS.values() for word in words), *Feature, *Capability]
)
def test_every_word_is_on_the_page(word: str) -> None:
    assert f"`{word}`" in PAGE
