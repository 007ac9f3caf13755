"""Each template is given a view model and reads exactly its fields; no template carries script or style of its own."""

from __future__ import annotations

import inspect
import re
from importlib.resources import files

import msgspec
import pytest
from jinja2 import Environment, PackageLoader, nodes

from router.console import view_models
from router.console.shown import FILTERS

OF = {
    "account.html": view_models.Account,
    "approval.html": view_models.Approval,
    "approvals.html": view_models.Approvals,
    "catalogue.html": view_models.Catalogue,
    "code.html": view_models.Code,
    "decision.html": view_models.Decision,
    "decisions.html": view_models.Decisions,
    "failure.html": view_models.Failure,
    "finance.html": view_models.Finance,
    "finance_budget.html": view_models.FinanceBudget,
    "finance_budgets.html": view_models.FinanceBudgets,
    "finance_exports.html": view_models.FinanceExports,
    "finance_month.html": view_models.FinanceMonth,
    "finance_months.html": view_models.FinanceMonths,
    "finance_movers.html": view_models.FinanceMovers,
    "finance_request.html": view_models.FinanceRequest,
    "finance_requests.html": view_models.FinanceRequests,
    "finance_savings.html": view_models.FinanceSavings,
    "finance_statement.html": view_models.FinanceStatement,
    "home.html": view_models.Home,
    "keys.html": view_models.Keys,
    "map.html": view_models.Map,
    "password.html": view_models.NewPassword,
    "people.html": view_models.People,
    "proposal.html": view_models.Proposal,
    "proposals.html": view_models.Proposals,
    "reach.html": view_models.Reach,
    "recovery_codes.html": view_models.RecoveryCodes,
    "rules.html": view_models.Rules,
    "rules_edit.html": view_models.RulesEdit,
    "second_factor.html": view_models.SecondFactor,
    "session.html": view_models.Session,
    "sessions.html": view_models.Sessions,
    "sign_in.html": view_models.SignIn,
}
PARTS = {"base.html", "parts.html", "approval_parts.html", "finance_parts.html", "rules_parts.html"}
TEMPLATES = files("router.console") / "templates"


def names() -> set[str]:
    return {each.name for each in TEMPLATES.iterdir() if each.name.endswith(".html")}


def test_every_template_has_a_view_model_and_every_view_model_a_template() -> None:
    assert names() == set(OF) | PARTS
    models = {
        model
        for _, model in inspect.getmembers(view_models, inspect.isclass)
        if model.__module__ == view_models.__name__ and issubclass(model, msgspec.Struct)
    }
    assert models - set(OF.values()) == {view_models.Chrome, view_models.Filter, view_models.Raised}


@pytest.mark.parametrize("name", sorted(OF))
def test_a_template_reads_exactly_the_fields_of_its_view_model(name: str) -> None:
    environment = Environment(loader=PackageLoader("router.console"), autoescape=True)
    environment.filters |= FILTERS
    tree = environment.parse((TEMPLATES / name).read_text(encoding="utf-8"))
    read = {each.attr for each in tree.find_all(nodes.Getattr) if isinstance(each.node, nodes.Name) and each.node.name == "page"}
    assert read == set(OF[name].__struct_fields__)


@pytest.mark.parametrize("name", sorted(OF) + sorted(PARTS))
def test_a_template_carries_no_script_and_no_style_and_marks_nothing_as_safe(name: str) -> None:
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|\|\s*safe|https?://", text)
    assert re.findall(r"<script[^>]*>", text) in ([], ['<script src="{{ base }}/static/console.js" defer>'])
    for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", text, re.DOTALL):
        assert "parts.hidden(chrome)" in form or 'name="form" value="{{ chrome.form }}"' in form, "a form without its token"
