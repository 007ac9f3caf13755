"""The pages of the console, one module for each question: handler, frozen view model, template."""

from __future__ import annotations

from router.console.pages import (
    account,
    approvals,
    catalogue,
    decisions,
    finance,
    finance_budgets,
    finance_exports,
    finance_months,
    finance_movers,
    finance_requests,
    finance_savings,
    keys,
    map,
    oidc,
    people,
    proposals,
    rules,
    sessions,
    sign_in,
)
from router.console.site import Handler

HANDLERS: dict[tuple[str, str], Handler] = {
    **sign_in.HANDLERS,
    **oidc.HANDLERS,
    **account.HANDLERS,
    **decisions.HANDLERS,
    **sessions.HANDLERS,
    **approvals.HANDLERS,
    **map.HANDLERS,
    **rules.HANDLERS,
    **proposals.HANDLERS,
    **catalogue.HANDLERS,
    **keys.HANDLERS,
    **people.HANDLERS,
    **finance.HANDLERS,
    **finance_requests.HANDLERS,
    **finance_months.HANDLERS,
    **finance_exports.HANDLERS,
    **finance_budgets.HANDLERS,
    **finance_savings.HANDLERS,
    **finance_movers.HANDLERS,
}
"""Every page by method and path below `/console`."""
