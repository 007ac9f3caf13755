"""Capabilities that must not meet in one session: the shipped combinations, and the form in which entitlement sets add their own (pure)."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from routing_rules.vocabulary import Capability


class Effect(StrEnum):
    """What an objection comes to: a forbidden call is refused, a step-up waits for a person. Without objections a call is permitted."""

    FORBID = "forbid"
    STEP_UP = "step_up"


class Combination(msgspec.Struct, frozen=True):
    """Capabilities that must not meet in one session. It is looked at when a call brings one of `brought_by`.

    With `vouched`, it is excused where every destination of the call is vouched for; with `asked`, where the user's words
    ask for the act (with both, by both). `one_tool`: capabilities that this very call must have together.
    """

    id: str
    capabilities: frozenset[Capability]
    brought_by: frozenset[Capability]
    effect: Effect = Effect.STEP_UP
    vouched: bool = False
    asked: bool = False
    one_tool: frozenset[Capability] = frozenset()
    serves: tuple[str, ...] = ()


def _any(id: str, *capabilities: Capability, vouched: bool = False, serves: str = "ASI02") -> Combination:
    """Capabilities of which each completes the combination."""
    held = frozenset(capabilities)
    return Combination(id, held, held, vouched=vouched, serves=(serves,))


def _after(
    id: str, before: Capability, act: Capability, *, vouched: bool = False, asked: bool = False, serves: str = "ASI01"
) -> Combination:
    """An act that is dangerous once something else has been."""
    return Combination(id, frozenset({before, act}), frozenset({act}), vouched=vouched, asked=asked, serves=(serves,))


_C = Capability
SHIPPED: tuple[Combination, ...] = (
    _any("private_untrusted_egress", _C.READS_PRIVATE, _C.READS_UNTRUSTED, _C.EGRESS, vouched=True, serves="ASI01"),
    _after("private_egress", _C.READS_PRIVATE, _C.EGRESS, vouched=True, serves="ASI02"),
    _after("untrusted_spend", _C.READS_UNTRUSTED, _C.SPENDS_MONEY, vouched=True, asked=True),
    _after("untrusted_admin", _C.READS_UNTRUSTED, _C.ADMIN_PRIVILEGE, vouched=True, asked=True, serves="ASI03"),
    _after("untrusted_destructive", _C.READS_UNTRUSTED, _C.DESTRUCTIVE, vouched=True, asked=True),
    _after("untrusted_execute", _C.READS_UNTRUSTED, _C.EXECUTES_CODE, asked=True, serves="ASI05"),
    _after("untrusted_computer", _C.READS_UNTRUSTED, _C.COMPUTER_CONTROL, serves="ASI05"),
    _after("untrusted_memory", _C.READS_UNTRUSTED, _C.MEMORY_PERSIST, serves="ASI01"),
    _after("untrusted_loading", _C.READS_UNTRUSTED, _C.LOADS_TOOLS, serves="ASI02"),
    _any("web_files_code", _C.READS_UNTRUSTED, _C.EGRESS, _C.READS_PRIVATE, _C.EXECUTES_CODE, serves="ASI05"),
    Combination(
        "network_execution_private",
        frozenset({_C.READS_PRIVATE, _C.EXECUTES_CODE, _C.EGRESS}),
        frozenset({_C.EXECUTES_CODE}),
        one_tool=frozenset({_C.EXECUTES_CODE, _C.EGRESS}),
        serves=("ASI05",),
    ),
)
"""The toxic combinations that hold in every session; an entitlement set adds its own."""
