"""What is held before a request is sent covers the dearest answer that the app can ask for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from router.stages.reserve import with_hosted, worst_case
from router.upstream.adapt import adapt
from routing_rules.catalogue import Deployment, Price
from routing_rules.decisions import ToolGrant
from routing_rules.task import Endpoint, Task
from routing_rules.vocabulary import Sensitivity

NOW = datetime(2026, 11, 23, tzinfo=UTC)
PRICE = Price(input=1_000_000_000, output=2_000_000_000)
TASK = Task(endpoint=Endpoint.RESPONSES, wish="auto", parts=(), input_bytes=10)


def deployment(allowed: frozenset[str] = frozenset()) -> Deployment:
    return Deployment(
        id="d",
        provider="openai_compatible",
        model="m",
        tier="fast",
        clearance=Sensitivity.PUBLIC,
        allowed_fields=allowed,
        context_window=100_000,
        price=PRICE,
    )


@pytest.mark.parametrize("tool", [("web_search", "web_search"), ("file_search", "file_search"), ("mcp", "wiki")])
def test_what_a_granted_hosted_tool_may_find_is_held_as_input(tool: tuple[str, str]) -> None:
    fixed, _ = worst_case(with_hosted(TASK, ToolGrant(granted=(("function", "calculator"), tool))), deployment(), NOW)
    assert fixed == 100_000 * 1_000


def test_tools_that_the_app_runs_itself_add_nothing() -> None:
    grant = ToolGrant(granted=(("function", "calculator"), ("custom", "grep")))
    assert with_hosted(TASK, grant) is TASK


@pytest.mark.parametrize("tier", ["priority", "fast"])
@pytest.mark.parametrize("endpoint", [Endpoint.CHAT, Endpoint.RESPONSES])
def test_a_service_tier_dearer_than_the_price_is_dropped_and_named(endpoint: Endpoint, tier: str) -> None:
    adapted = adapt(deployment(), endpoint, {"model": "m", "service_tier": tier})
    assert (adapted.body, adapted.dropped) == ({"model": "m"}, ("service_tier",))


@pytest.mark.parametrize("tier", ["auto", "default", "flex", "scale"])
def test_the_other_tiers_are_left_to_the_app(tier: str) -> None:
    body = {"model": "m", "service_tier": tier}
    assert adapt(deployment(), Endpoint.CHAT, body).body == body


def test_a_deployment_whose_price_covers_it_takes_every_tier() -> None:
    body = {"model": "m", "service_tier": "priority"}
    assert adapt(deployment(frozenset({"service_tier"})), Endpoint.CHAT, body).body == body
