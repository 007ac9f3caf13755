"""Whole answers, before and after, as files that a person can compare."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.stages.enforce import StreamEnforcer, enforce_json
from routing_rules.decisions import ToolGrant
from routing_rules.task import Endpoint

WIRE = Path(__file__).parents[2] / "golden" / "wire"
GRANT = ToolGrant(granted=(("function", "find_customer"),))


@pytest.mark.parametrize("sent", sorted(WIRE.glob("*.in")), ids=lambda path: path.stem)
def test_an_app_gets_exactly_this_of_what_the_provider_sent(sent: Path) -> None:
    endpoint = Endpoint(sent.name.split("_")[0])
    raw = sent.read_bytes()
    if ".json" in sent.suffixes:
        got = enforce_json(endpoint, raw, GRANT, denial_is_error=False).body
    else:
        enforcer = StreamEnforcer(endpoint, GRANT, strip_usage=True, denial_is_error=False)
        passed = enforcer.feed(raw)
        end = enforcer.end()
        got = passed + end.body + end.tail
    assert got.decode() == sent.with_suffix(".out").read_bytes().decode()


def test_there_are_answers_to_compare() -> None:
    assert len(list(WIRE.glob("*.in"))) == len(list(WIRE.glob("*.out"))) >= 8
