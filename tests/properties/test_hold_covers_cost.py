"""What is held before a request covers what it can cost, at any prices, as long as the provider keeps to the limits it was sent."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from router.exchange import HoldRequest, SessionState
from router.stages.reserve import hold_request
from router.stages.settle import attempt_lines
from router.usage import Usage
from routing_rules.budgets import CallLimits, OwnerLimits, SessionBudget
from routing_rules.catalogue import Deployment, Price
from routing_rules.decisions import Permit
from routing_rules.facts import Caller, Labels
from routing_rules.task import Endpoint, Task
from routing_rules.vocabulary import Sensitivity

NOW = datetime(2026, 8, 1, tzinfo=UTC)
CALLER = Caller("app", "owner@example.org", "team", "1", "key", Sensitivity.INTERNAL, "standard", "general")
SESSION = SessionState("s", 0, True, Labels(), 0)
rates = st.integers(0, 200 * 10**9)
prices = st.builds(
    Price,
    input=rates,
    output=rates,
    cached_input=st.none() | rates,
    cache_write=st.none() | rates,
    reasoning=st.none() | rates,
    tools=st.dictionaries(st.sampled_from(["web_search", "file_search"]), rates),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Task, Deployment, Permit, Usage]:
    price = draw(prices)
    # Cached input is never dearer than plain input; the other classes may be.
    if price.cached_input is not None and price.input is not None:
        price = msgspec.structs.replace(price, cached_input=min(price.cached_input, price.input))
    deployment = Deployment(
        "d", "openai_compatible", "m", "fast", Sensitivity.INTERNAL, context_window=draw(st.integers(1, 10**6)), price=price
    )
    task = Task(
        draw(st.sampled_from(Endpoint)),
        "auto",
        (),
        choices=draw(st.integers(1, 8)),
        max_output_tokens=draw(st.none() | st.integers(1, 10**5)),
        input_bytes=draw(st.integers(0, 10**7)),
        input_unbounded=draw(st.booleans()),
    )
    limits = CallLimits(max_output_tokens=draw(st.integers(1, 10**5)), hosted_calls=draw(st.integers(1, 20)))
    permit = Permit("r", "rev", "fast", ("d",), "standard", SessionBudget("b"), limits)
    hold = held(task, deployment, permit)
    given_in = draw(st.integers(0, hold.input_tokens))
    cached = draw(st.integers(0, given_in))
    most = 0 if task.endpoint is Endpoint.EMBEDDINGS else hold.output_tokens * task.choices
    made = draw(st.integers(0, most))
    written, thought, calls = (draw(st.integers(0, most)) for most in (given_in - cached, made, limits.hosted_calls))
    called = (draw(st.sampled_from(["web_search", "file_search", "computer_use"])), calls)
    usage = Usage(given_in, cached, written, made, thought, tools=(called,) if calls else ())
    return task, deployment, permit, usage


def held(task: Task, deployment: Deployment, permit: Permit) -> HoldRequest:
    return hold_request(
        request_id="req",
        task=task,
        caller=CALLER,
        permit=permit,
        deployment=deployment,
        session=SESSION,
        labels=Labels(),
        owner=OwnerLimits("2026-08"),
        new_sessions_per_hour=None,
        worker="w",
        now=NOW,
        hosted_calls=permit.limits.hosted_calls,
    )


@given(cases())
def test_the_hold_covers_any_usage_within_the_limits_that_were_sent(case: tuple[Task, Deployment, Permit, Usage]) -> None:
    task, deployment, permit, usage = case
    hold = held(task, deployment, permit)
    cost = sum(line.cost_nano for line in attempt_lines(1, deployment, usage, "completed", NOW))
    assert cost <= hold.fixed_nano + hold.output_nano * hold.output_tokens


@given(cases())
def test_lines_account_for_every_token_once(case: tuple[Task, Deployment, Permit, Usage]) -> None:
    _, deployment, _, usage = case
    lines = attempt_lines(1, deployment, usage, "completed", NOW)
    quantity = {line.token_class: line.quantity for line in lines}
    assert len(quantity) == len(lines)
    assert all(quantity.get(tool, 0) == calls for tool, calls in usage.tools)
    assert sum(quantity.get(name, 0) for name in ("input", "cached_input", "cache_write")) == usage.input
    assert sum(quantity.get(name, 0) for name in ("output", "reasoning")) == usage.output
    assert all(line.quantity > 0 for line in lines)
