"""Recorded requests as cases: what was decided once becomes a test that the rules have to keep. Every surface calls this."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from router.exchange import Admitted, Turned
from routing_rules.cases import Words, case_faults, case_of
from routing_rules.decide import decide
from routing_rules.decisions import Decision, Permit, ToolGrant
from routing_rules.edit import add_case
from routing_rules.entitlements import authorise
from routing_rules.facts import Facts
from routing_rules.faults import Fault
from routing_rules.rules import RuleSet

OWN_CASES = "cases/recorded.yaml"
"""Where a case of a recorded request goes that nobody has named another file for."""


class NoCase(Exception):
    """A request of which no case can be made; the sentence says why."""


class MadeCase(msgspec.Struct, frozen=True):
    """A case of a recorded request: its name, facts and expectation in the words of case files. `faults`: why it does not hold under
    the rules it was made for; none: it does."""

    request_id: str
    name: str
    facts: Words
    expect: Words
    faults: tuple[Fault, ...]

    def added_to(self, files: Mapping[str, str], file: str = OWN_CASES) -> dict[str, str]:
        """The governed files with this case in one of them, to be proposed. Raises RuleFaults where that file has it already."""
        return add_case(files, file, self.name, self.facts, self.expect)

    def text(self) -> str:
        """The case as a case file of its own."""
        return self.added_to({})[OWN_CASES]


def made_case(record: Admitted | Turned, rules: RuleSet, name: str | None = None) -> MadeCase:
    """The case that holds the rules to what was decided on a request. Raises NoCase where nothing was decided on it.

    Of an app that was only watched, the case says what holds once it is held to the rules, because a case has no word for the rest.
    """
    facts, decision = record.facts, record.decision
    if facts is None or decision is None:
        code = record.code if isinstance(record, Turned) else ""
        raise NoCase(
            f"request `{record.request_id}` was refused ({code}) before anything was decided on it, so there is nothing to hold"
        )
    grant = _grant(record, rules, facts, decision)
    if facts.caller.mode == "observe":
        facts = msgspec.structs.replace(facts, caller=msgspec.structs.replace(facts.caller, mode="enforce", observing=None))
        decision = decide(rules, facts)
        grant = authorise(rules, facts, decision) if isinstance(decision, Permit) else ToolGrant()
    name = (
        name or f"{record.at:%Y-%m-%d}: {facts.labels.confidentiality} {facts.task} of {facts.caller.app} ({record.request_id})"
    )
    given, expected = case_of(rules, name, facts, decision, grant)
    return MadeCase(record.request_id, name, given, expected, tuple(case_faults(rules, name, given, expected)))


def _grant(record: Admitted | Turned, rules: RuleSet, facts: Facts, decision: Decision) -> ToolGrant:
    """What of the tools was granted for the task as it stands in the facts; a masked one was cut twice, and a case knows the last cut."""
    if isinstance(record, Admitted) and record.masking is None and not record.grant.would_withhold:
        return record.grant
    return authorise(rules, facts, decision) if isinstance(decision, Permit) else ToolGrant()
