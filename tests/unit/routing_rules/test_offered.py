"""What a provider runs by itself is judged before it is asked: by what the session has had in it, and by what is offered beside it."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from msgspec.structs import replace

from routing_rules.budgets import CallLimits, SessionBudget
from routing_rules.decisions import Permit, ServerGrant, ServerTool, ToolGrant
from routing_rules.facts import Caller, Facts, Labels
from routing_rules.load import complete, load
from routing_rules.offered import Offered, is_run_by_provider, within_session
from routing_rules.rules import RuleSet
from routing_rules.task import Endpoint, ToolAsk, ToolChoice
from routing_rules.vocabulary import (
    Access,
    Capability,
    Complexity,
    Integrity,
    ScanState,
    Sensitivity,
    TaskKind,
)

C = Capability
NOTHING: frozenset[Capability] = frozenset()
TRUSTED = Labels()
PRIVATE = Labels(Integrity.TRUSTED, Sensitivity.CONFIDENTIAL)
PERMIT = Permit("r", "rev", "fast", (), "standard", SessionBudget("default"), CallLimits())
FACTS = Facts(
    now=datetime(2026, 11, 23, tzinfo=UTC),
    endpoint=Endpoint.RESPONSES,
    caller=Caller("a", "o", "t", "c", "k", Sensitivity.RESTRICTED, "standard", "general"),
    wish="auto",
    wish_known=True,
    detected=Sensitivity.PUBLIC,
    declared=None,
    labels=Labels(),
    categories=frozenset(),
    access=Access.READ,
    intent=frozenset(),
    task=TaskKind.LOOKUP,
    complexity=Complexity.SIMPLE,
    complexity_score=0.1,
    state=ScanState.COMPLETE,
)


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return load(complete({}, date(2026, 11, 23)))


def offered(
    rules: RuleSet, *kinds: str, labels: Labels = TRUSTED, used: frozenset[Capability] = NOTHING, facts: Facts = FACTS
) -> Offered:
    facts = replace(facts, tools=tuple(ToolAsk(kind, kind, f"tools[{place}]") for place, kind in enumerate(kinds)))
    grant = ToolGrant(tuple((kind, kind) for kind in kinds))
    return within_session(rules, facts, PERMIT, grant, labels, used, frozenset())


def test_what_is_offered_counts_as_used(rules: RuleSet) -> None:
    found = offered(rules, "web_search")
    assert found.grant.granted == (("web_search", "web_search"),)
    assert found.used == {C.READS_UNTRUSTED, C.EGRESS}
    assert found.labels.integrity is Integrity.UNTRUSTED


@pytest.mark.parametrize(("labels", "used"), [(PRIVATE, frozenset()), (Labels(), frozenset({C.READS_PRIVATE}))])
def test_a_search_of_the_web_is_withheld_once_private_data_is_in_the_session(
    rules: RuleSet, labels: Labels, used: frozenset[Capability]
) -> None:
    found = offered(rules, "web_search", labels=labels, used=used)
    assert found.grant.granted == ()
    assert [(each.name, each.reason) for each in found.grant.withheld] == [("web_search", "combination")]
    assert (found.labels, found.used) == (labels, used)


def test_of_files_and_the_web_together_the_second_is_withheld(rules: RuleSet) -> None:
    assert offered(rules, "file_search", "web_search").grant.granted == (("file_search", "file_search"),)
    assert offered(rules, "web_search", "file_search").grant.granted == (("web_search", "web_search"),)


def test_a_choice_that_insists_on_what_is_withheld_is_refused_rather_than_widened(rules: RuleSet) -> None:
    facts = replace(FACTS, tool_choice=ToolChoice("named", ("web_search",), True))
    refusal = offered(rules, "web_search", labels=PRIVATE, facts=facts).grant.choice_refusal
    assert refusal is not None
    assert "combination" in refusal


def test_what_the_app_runs_itself_is_judged_at_the_call(rules: RuleSet) -> None:
    grant = ToolGrant((("function", "send_email"), ("custom", "run_python"), ("local_shell", "local_shell")))
    found = within_session(rules, FACTS, PERMIT, grant, PRIVATE, frozenset({C.READS_UNTRUSTED}), frozenset())
    assert found.grant is grant
    assert not any(map(is_run_by_provider, ("computer_use_preview", "computer_toolset_20260401", "browser_toolset_20260401")))
    assert is_run_by_provider("code_interpreter")


def test_a_server_counts_for_what_it_may_run_without_being_asked(rules: RuleSet) -> None:
    tools = (ServerTool("read", "d1", "customer-lookup", ask=False), ServerTool("send", "d2", "email-send", ask=True))
    grant = ToolGrant((("mcp", "crm"),), servers=(ServerGrant("crm", (("customer-lookup", "none"),), tools=tools),))
    found = within_session(rules, FACTS, PERMIT, grant, Labels(), frozenset(), frozenset())
    assert found.used == {C.READS_PRIVATE}
    restricted = Labels(Integrity.TRUSTED, Sensitivity.RESTRICTED)
    cut = within_session(rules, FACTS, PERMIT, grant, restricted, frozenset(), frozenset()).grant
    assert (cut.granted, cut.servers) == ((), ())
    assert cut.withheld[0].reason == "restricted_to_third_party"
