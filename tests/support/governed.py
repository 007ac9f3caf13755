"""Small rule sets for tests of the whole service: one route, one budget, and the deployments that a test puts behind the router."""

from __future__ import annotations

from collections.abc import Sequence

PRICE = "{input_usd_per_million: 3.00, output_usd_per_million: 7.00}"


def deployment(name: str, base_url: str, *, tier: str = "fast", clearance: str = "internal", more: str = "") -> str:
    """One deployment of `models.yaml`; `more` are further keys in flow style, such as `features: [embeddings]`."""
    extra = f", {more}" if more else ""
    return f"  - {{id: {name}, base_url: '{base_url}', model: {name}, tier: {tier}, clearance: {clearance}, price: {PRICE}{extra}}}\n"


def rule_files(
    deployments: Sequence[str],
    *,
    budget: str = "cost_usd: 1000",
    limits: str = "max_output_tokens: 256, request_seconds: 60",
    then: str = "",
    routes: str = "",
    owner: str = "hard_usd: 100000",
) -> dict[str, str]:
    """Rule files by name: every task goes to the tier `fast` under the budget `test`; what is given is in flow style.

    `routes` are whole items of the table, before the one that admits everything.
    """
    return {
        "models.yaml": "deployments:\n" + "".join(deployments),
        "budgets.yaml": (
            f"session_budgets:\n  - {{id: test, {budget}, limits: {{{limits}}}}}\ndefault_owner_budget: {{{owner}}}\n"
        ),
        "routes.yaml": (
            f"routes:\n{routes}  - id: everything\n    owner: tests@example.org\n    reason: a test needs no more\n"
            f"    then: {{tier: fast, set: standard, budget: test{', ' + then if then else ''}}}\n"
        ),
    }
