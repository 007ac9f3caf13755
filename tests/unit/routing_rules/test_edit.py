"""Edits change what they say and leave the author's text alone."""

from __future__ import annotations

import difflib
from datetime import date

import pytest

from routing_rules.catalogue import App, Price
from routing_rules.edit import (
    add_app,
    add_deployment_rows,
    add_tools_to_set,
    disable_simulated,
    set_ceiling,
    set_deployment_enabled,
)
from routing_rules.faults import RuleFaults
from routing_rules.load import complete, load
from routing_rules.vocabulary import Sensitivity

APP = App(
    id="crm",
    owner="crm@example.org",
    team="sales",
    cost_center="cc-7",
    clearance=Sensitivity.CONFIDENTIAL,
    ceiling="standard",
    purposes=("general", "customer-support"),
)

ROW = {
    "id": "mini",
    "provider": "azure",
    "model": "mini-2026",
    "tier": "fast",
    "clearance": "internal",
    "base_url": "https://llm.example.org",
    "api_key": "env:AZURE_KEY",
    "params": {"api_version": "2026-01-01"},
    "model_names": ["small"],
    "fixed_params": {"temperature": 0.5, "seed": 7, "logprobs": False, "user": "x"},
    "price": {"input_usd_per_million": "0.15", "output_usd_per_million": "2.000000001", "source": "price map"},
}


def changed_lines(before: str, after: str) -> tuple[list[str], list[str]]:
    lines = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]
    return [line[2:] for line in lines if line[0] == "-"], [line[2:] for line in lines if line[0] == "+"]


def test_a_new_app_is_added_and_nothing_else_moves(files: dict[str, str]) -> None:
    edited = add_app(files, APP)
    removed, added = changed_lines(files["apps.yaml"], edited["apps.yaml"])
    assert removed == []
    assert added[0] == "  - id: crm"
    assert load(edited).apps["crm"] == APP
    assert {name for name in files if files[name] != edited[name]} == {"apps.yaml"}


def test_an_app_can_be_added_to_an_empty_list(files: dict[str, str]) -> None:
    assert list(load(add_app({**files, "apps.yaml": "apps: []\n"}, APP)).apps) == ["crm"]


def test_an_app_that_is_there_is_not_added_again(files: dict[str, str]) -> None:
    with pytest.raises(RuleFaults, match="`crm` is defined already"):
        add_app(add_app(files, APP), APP)


def test_a_new_deployment_is_read_as_it_was_given(files: dict[str, str]) -> None:
    edited = add_deployment_rows(files, [ROW])
    assert changed_lines(files["models.yaml"], edited["models.yaml"])[0] == []
    deployment = load(edited).deployments["mini"]
    assert deployment.price == Price(input=150_000_000, output=2_000_000_001, source="price map")
    assert deployment.fixed_params == ROW["fixed_params"]
    assert deployment.params == ROW["params"]
    assert deployment.model_names == ("small",)
    with pytest.raises(RuleFaults, match="`mini` is defined already"):
        add_deployment_rows(edited, [ROW])


def test_simulated_deployments_go_out_of_service_and_come_back(files: dict[str, str]) -> None:
    edited = disable_simulated(add_deployment_rows(files, [ROW]))
    assert list(load(edited).deployments) == ["mini"]
    assert set(changed_lines(files["models.yaml"], disable_simulated(files)["models.yaml"])[1]) == {"    enabled: false"}
    back = set_deployment_enabled(edited, "sim-fast", True)
    assert list(load(back).deployments) == ["sim-fast", "mini"]


def test_a_deployment_that_is_not_there_cannot_be_switched(files: dict[str, str]) -> None:
    with pytest.raises(RuleFaults, match="no deployment `nobody`"):
        set_deployment_enabled(files, "nobody", False)


@pytest.mark.parametrize("text", ["a: [", "- just\n- a list\n"])
def test_a_file_that_cannot_be_read_cannot_be_edited(files: dict[str, str], text: str) -> None:
    with pytest.raises(RuleFaults):
        add_app({**files, "apps.yaml": text}, APP)


def test_an_entry_is_changed_where_it_stands_and_every_comment_stays() -> None:
    part = """# the apps of marketing
apps:
  - id: campaigns # ours
    owner: ann@example.org
    clearance: internal
    ceiling: none   # no tools
    purposes: [general]
"""
    own = {"apps.yaml": "include: apps/marketing.yaml\napps: []\n", "apps/marketing.yaml": part}
    files = complete(own, date(2026, 11, 23))
    changed = set_ceiling(files, "campaigns", "pure")
    assert {name for name in changed if changed[name] != files[name]} == {"apps/marketing.yaml"}
    assert changed["apps/marketing.yaml"] == part.replace("ceiling: none   #", "ceiling: pure   #")
    assert load(changed).apps["campaigns"].ceiling == "pure"


def test_what_an_overlay_replaces_is_changed_in_the_overlay() -> None:
    overlay = """sets:
  - {id: pure, owner: o, business_purpose: b, approver: a, review_by: 2027-11-01, tools: [calculator]} # here only
"""
    files = complete({"overlays/staging/entitlements.yaml": overlay}, date(2026, 11, 23))
    changed = add_tools_to_set(files, "pure", ["date-and-time"])
    assert {name for name in changed if changed[name] != files[name]} == {"overlays/staging/entitlements.yaml"}
    assert load(changed).sets["pure"].tools == {"calculator", "date-and-time"}
    assert "# here only" in changed["overlays/staging/entitlements.yaml"]
