"""What an entitlement set adds to the combinations of capabilities that must not meet, as `entitlements.yaml` says it."""

from __future__ import annotations

from datetime import date

import pytest

from routing_rules.combinations import Combination, Effect
from routing_rules.faults import RuleFaults
from routing_rules.load import complete, load, shipped
from routing_rules.vocabulary import Capability

C = Capability
TODAY = date(2026, 11, 23)


def files(more: str) -> dict[str, str]:
    start = shipped(TODAY)["entitlements.yaml"]
    head, _, _ = start.partition("  - id: agentic")
    own = (
        "  - id: agentic\n    owner: o@example.org\n    business_purpose: tests\n    approver: a@example.org\n"
        f"    review_by: 2027-01-01\n    tools: [web-search, email-send]\n{more}"
    )
    return complete({"entitlements.yaml": head + own}, TODAY)


def test_a_set_adds_prohibited_combinations_step_ups_and_destinations() -> None:
    more = (
        "    prohibited:\n      - {id: no-mail-after-web, capabilities: [reads_untrusted, egress], brought_by: [egress], serves: [ASI02]}\n"
        "    step_ups:\n      - {id: ask-first, capabilities: [egress], vouched: true, asked: true}\n"
        '    allowed_destinations: ["@example.org", "https://intranet.example.org/"]\n'
    )
    found = load(files(more)).sets["agentic"]
    assert found.prohibited == (
        Combination(
            "no-mail-after-web", frozenset({C.READS_UNTRUSTED, C.EGRESS}), frozenset({C.EGRESS}), Effect.FORBID, serves=("ASI02",)
        ),
    )
    assert found.step_ups == (
        Combination("ask-first", frozenset({C.EGRESS}), frozenset({C.EGRESS}), Effect.STEP_UP, vouched=True, asked=True),
    )
    assert found.allowed_destinations == ("@example.org", "https://intranet.example.org/")


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ("    prohibited: [{id: x, capabilities: [reads_privat]}]\n", "unknown_word"),
        ("    prohibited: [{id: x}]\n", "missing_key"),
        ("    prohibited: [{id: x, capabilities: []}]\n", "wrong_type"),
        ("    step_ups: [{id: x, capabilities: [egress], brought_by: [spends_money]}]\n", "unknown_word"),
        ("    step_ups: [{id: private_egress, capabilities: [egress]}]\n", "duplicate_id"),
        ("    step_ups: [{id: x, capabilities: [egress]}, {id: x, capabilities: [egress]}]\n", "duplicate_id"),
        ("    step_ups: [{id: x, capabilities: [egress], vouchd: true}]\n", "unknown_key"),
        ('    allowed_destinations: ["@"]\n', "wrong_type"),
    ],
)
def test_a_bad_combination_is_told_with_its_place(more: str, code: str) -> None:
    with pytest.raises(RuleFaults) as raised:
        load(files(more))
    fault = raised.value.faults[0]
    assert (fault.code, fault.file) == (code, "entitlements.yaml")
    assert fault.line > 0
    assert fault.column > 0
