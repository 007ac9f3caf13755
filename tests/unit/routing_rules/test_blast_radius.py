"""What an app or a set can reach, counted by hand on small rule sets."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest

from routing_rules.blast_radius import DATA, Reach, changed, reach_of_app, reach_of_set
from routing_rules.load import complete, load
from routing_rules.rules import RuleSet

TODAY = date(2026, 11, 23)
TOOLS = """
tools:
  - {id: calc, owner: a@x, capabilities: [pure], functions: [calc], highest_read: public}
  - {id: crm, owner: b@x, capabilities: [reads_private], functions: [crm], highest_read: confidential}
  - {id: staff, owner: b@x, capabilities: [reads_restricted], functions: [staff], highest_read: internal}
  - {id: mail, owner: c@x, capabilities: [egress], functions: [mail], approval_boundary: every_call, destination_arguments: [to]}
  - {id: web, owner: c@x, capabilities: [reads_untrusted], functions: [web], highest_read: public}
  - {id: pay, owner: d@x, capabilities: [spends_money], functions: [pay], approval_boundary: first_use}
"""
SET = "  - {{id: {}, owner: o@x, business_purpose: p, approver: a@x, review_by: {}, tools: [{}]{}}}\n"
SETS = "sets:\n" + "".join(
    SET.format(id, review, tools, more)
    for id, review, tools, more in (
        ("all", "2030-01-01", "calc, crm, staff, mail, web, pay", ""),
        ("reading", "2030-01-01", "calc, crm, web", ""),
        ("sending", "2030-01-01", "calc, mail", ""),
        ("late", "2026-11-22", "calc, crm", ""),
        (
            "guarded",
            "2030-01-01",
            "calc, crm, mail, web",
            ", prohibited: [{id: private-out, capabilities: [reads_private, egress], brought_by: [egress, reads_private]}]",
        ),
    )
)
APPS = """
apps:
  - {id: desk, owner: desk@x, team: t, clearance: confidential, ceiling: all, purposes: [general]}
  - {id: site, owner: site@x, clearance: public, ceiling: reading, purposes: [trial]}
"""
MODELS = """
deployments:
  - {id: open, base_url: 'http://a/v1', tier: fast, clearance: internal, price: {input_usd_per_million: 1, output_usd_per_million: 1}}
  - {id: safe, base_url: 'http://b/v1', tier: fast, clearance: restricted, internal: true, price: {input_usd_per_million: 1, output_usd_per_million: 1}}
  - id: stale
    base_url: 'http://c/v1'
    tier: fast
    clearance: restricted
    price: {input_usd_per_million: 1, output_usd_per_million: 1}
    access_review: {reviewer: r@x, expires: 2026-11-22}
"""
ROUTE = "  - {{id: {}, owner: o@x, reason: r, when: {}, then: {{tier: fast, set: {}, budget: default{}}}}}\n"


def rules_of(*routes: str, before: str = "", sets: str = SETS) -> RuleSet:
    files = {
        "tools.yaml": TOOLS,
        "entitlements.yaml": sets,
        "apps.yaml": APPS,
        "models.yaml": MODELS,
        "routes.yaml": before + "routes:\n" + "".join(routes),
    }
    return load(complete(files, TODAY))


def route(id: str, entitlement_set: str, when: str = "{}", more: str = "") -> str:
    return ROUTE.format(id, when, entitlement_set, more).replace("when: {}, ", "")


def desk(rules: RuleSet) -> Reach:
    return reach_of_app(rules, rules.apps["desk"], TODAY)


def tools_of(reach: Reach) -> list[str]:
    return [tool.id for tool in reach.tools]


def guards_of(reach: Reach, kind: str) -> list[str]:
    return [each.id for each in reach.in_the_way if each.kind == kind]


def test_tools_are_those_of_the_routes_that_the_app_can_take_within_its_ceiling() -> None:
    rules = rules_of(route("low", "reading", "{sensitivity: public}"), route("rest", "sending"))
    reach = desk(rules)
    assert tools_of(reach) == ["calc", "crm", "mail", "web"]
    assert reach.routes == ("low", "rest")
    assert reach.tools[0].sets == ("reading", "sending")
    assert reach.tools[2].routes == ("rest",)
    assert reach.capabilities == ("egress", "pure", "reads_private", "reads_untrusted")
    site = reach_of_app(rules, rules.apps["site"], TODAY)
    assert tools_of(site) == ["calc", "crm", "web"]  # its ceiling has no mail


@pytest.mark.parametrize(
    "when",
    [
        "{app: site}",
        "{team: unassigned}",
        "{sensitivity: restricted}",
        "{purpose: research}",
        "{business_impact: high}",
        "{latency_class: batch}",
    ],
)
def test_a_route_that_is_never_the_apps_gives_it_nothing(when: str) -> None:
    assert desk(rules_of(route("theirs", "reading", when), route("mine", "sending"))).routes == ("mine",)


def test_a_route_counts_on_its_days_only() -> None:
    dated = route("old", "reading").replace("reason: r", "reason: r, until: 2026-11-22")
    assert desk(rules_of(dated, route("mine", "sending"))).routes == ("mine",)


def test_an_overdue_set_gives_nothing_and_says_so() -> None:
    reach = desk(rules_of(route("r", "late")))
    assert tools_of(reach) == []
    assert guards_of(reach, "overdue") == ["late"]
    rules = rules_of(route("r", "reading"), sets=SETS.replace("2030-01-01", "2026-01-01"))
    assert (tools_of(desk(rules)), guards_of(desk(rules), "overdue")) == ([], ["all", "reading"])


def test_data_goes_as_far_as_app_route_and_deployment_are_all_cleared() -> None:
    reach = desk(
        rules_of(
            route("low", "reading", "{sensitivity: [public, internal]}"), route("high", "reading", "{sensitivity: restricted}")
        )
    )
    assert [(each.id, each.up_to, each.internal) for each in reach.deployments] == [
        ("open", "internal", False),
        ("safe", "internal", True),
        ("stale", "public", False),  # its review is overdue
    ]
    reach = desk(rules_of(route("any", "reading", more=", internal_only: true")))
    assert [(each.id, each.up_to) for each in reach.deployments] == [("safe", "confidential")]


def test_data_is_what_the_app_may_send_and_what_tools_read() -> None:
    assert desk(rules_of(route("r", "all"))).data == {"confidential": (DATA, "crm"), "restricted": ("staff",)}


class TestCombinations:
    def test_may_come_together_from_several_routes_and_from_what_is_sent(self) -> None:
        reach = desk(rules_of(route("low", "reading", "{sensitivity: public}"), route("rest", "sending")))
        found = {each.id: each for each in reach.combinations}
        assert sorted(found) == ["private_egress", "private_untrusted_egress"]
        both = found["private_untrusted_egress"]
        assert both.parts == {"egress": ("mail",), "reads_private": ("crm", DATA), "reads_untrusted": ("web", DATA)}
        assert (both.outcome, both.excused_by) == ("held", ("vouched",))

    def test_do_not_come_about_where_a_part_is_missing(self) -> None:
        assert desk(rules_of(route("r", "reading"))).combinations == ()

    def test_that_every_route_forbids_are_closed(self) -> None:
        reach = desk(rules_of(route("r", "guarded")))
        assert guards_of(reach, "closed") == ["private-out", "private_egress"]
        # What is sent after the mail may be private, and no call brings it: then reading the web completes this one.
        assert [(each.id, each.outcome) for each in reach.combinations] == [("private_untrusted_egress", "held")]

    def test_that_a_route_leads_around_are_told_to_be_free(self) -> None:
        reach = desk(rules_of(route("low", "guarded", "{sensitivity: public}"), route("rest", "sending")))
        found = {each.id: each.outcome for each in reach.combinations}
        assert found["private-out"] == "free"
        assert found["private_egress"] == "held"
        assert guards_of(reach, "closed") == []


def test_approvals_and_rules_in_the_way_are_named() -> None:
    before = (
        "prohibitions:\n"
        "  - {id: no-pay, owner: o@x, reason: r, when: {capability: spends_money}}\n"
        "  - {id: no-computer, owner: o@x, reason: r, when: {capability: computer_control}}\n"
        "step_ups:\n  - {id: ask, owner: o@x, reason: r, when: {access: control}}\n"
        "  - {id: ask-site, owner: o@x, reason: r, when: {app: site}}\n"
    )
    reach = desk(rules_of(route("r", "all"), before=before))
    assert guards_of(reach, "approval") == ["mail", "pay"]
    assert guards_of(reach, "prohibition") == ["no-pay"]
    assert guards_of(reach, "step_up") == ["ask"]


def test_a_set_reaches_what_the_apps_that_get_it_reach_through_it() -> None:
    rules = rules_of(route("low", "reading", "{sensitivity: public}"), route("rest", "sending"))
    reach = reach_of_set(rules, rules.sets["reading"], TODAY)
    assert (reach.apps, reach.routes, tools_of(reach)) == (("desk", "site"), ("low",), ["calc", "crm", "web"])
    assert {each.id: each.up_to for each in reach.deployments} == {"open": "public", "safe": "public", "stale": "public"}
    assert reach_of_set(rules, rules.sets["all"], TODAY).apps == ()


def test_a_change_is_told_word_by_word() -> None:
    before = desk(rules_of(route("r", "reading")))
    after = desk(rules_of(route("r", "sending")))
    told = changed(before, after, "r-1")
    assert "tool mail" in told.gained
    assert "combination private_egress" in told.gained
    assert {"tool crm", "tool web", "capability reads_private"} <= set(told.lost)
    assert told.guards_gained == ("approval mail: every_call",)
    assert changed(after, after, "r") == changed(None, after, "r").__class__("r", (), (), (), ())
    assert set(changed(None, after, "r").gained) == after.words()


def test_a_reach_is_a_document() -> None:
    reach = desk(rules_of(route("r", "all")))
    assert msgspec.json.decode(msgspec.json.encode(reach), type=Reach) == reach
