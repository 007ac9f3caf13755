"""Hold the worst case before anything is sent: the whole input at the dearest input price, and the longest answer allowed."""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2b
from operator import attrgetter

import msgspec

from router.errors import Refused
from router.exchange import Asked, HoldRequest, SessionState
from router.money import cost_nano, per_token_ceiling
from routing_rules.budgets import OwnerLimits
from routing_rules.catalogue import Deployment, Price
from routing_rules.decisions import Permit, ToolGrant
from routing_rules.facts import Caller, Labels
from routing_rules.task import Endpoint, Feature, Provenance, Task
from routing_rules.vocabulary import Sensitivity

CLIENT_KINDS = ("function", "custom")
"""Tools that the app runs, not the provider."""

HOLD_MARGIN_SECONDS = 60.0
"""How long after its time limit a request's hold is given up, where the process that held it says nothing."""


def hold_request(
    *,
    request_id: str,
    task: Task,
    caller: Caller,
    permit: Permit,
    deployment: Deployment,
    session: SessionState,
    labels: Labels,
    owner: OwnerLimits,
    new_sessions_per_hour: int | None,
    worker: str,
    now: datetime,
    leaves: Sensitivity | None = None,
    asked: Asked | None = None,
    hosted_calls: int = 0,
) -> HoldRequest:
    """The worst case of a task at a deployment, and the limits it must stay within. Raises Refused `session_budget_exceeded`
    where the app asks for less output than the rule's minimum would allow to buy."""
    output = output_limit(task, permit, deployment)
    fixed, per_output_token = worst_case(task, deployment, now, hosted_calls)
    epoch = now.timestamp()
    budget = permit.budget
    return HoldRequest(
        request_id=request_id,
        session_id=session.id,
        shard=session.shard,
        app=caller.app,
        owner=caller.owner,
        worker=worker,
        now=epoch,
        expires=epoch + permit.limits.request_seconds + HOLD_MARGIN_SECONDS,
        label_version=session.label_version,
        labels=labels,
        fixed_nano=fixed,
        output_nano=per_output_token,
        output_tokens=output,
        min_output_tokens=min(permit.limits.min_output_tokens, output),
        input_tokens=input_bound(task, deployment),
        budget_cost_nano=budget.cost_nano,
        budget_requests=budget.requests,
        budget_input_tokens=budget.input_tokens,
        budget_output_tokens=budget.output_tokens,
        budget_idle_seconds=budget.idle_seconds,
        budget_total_seconds=budget.total_seconds,
        owner_hard_nano=owner.month_nano,
        new_session_limit=new_sessions_per_hour,
        session_is_new=session.new,
        choices=task.choices,
        forwarded=leaves,
        asked=asked,
        budget_reasoning_tokens=budget.reasoning_tokens,
        budget_reasoning_growth=budget.reasoning_growth_tokens,
        news=news(task) if budget.reasoning_growth_tokens is not None else "",
        month=owner.month,
        owner_others=owner.others,
    )


def news(task: Task) -> str:
    """A digest of what came last from outside: a turn of the user, or results of tools. While it stays the same, nothing is new."""
    told = blake2b(digest_size=12, person=b"news")
    for part in reversed(task.parts):
        if part.provenance in (Provenance.MODEL, Provenance.APP):
            break
        if part.provenance in (Provenance.USER, Provenance.TOOL_RESULT, Provenance.ATTACHMENT):
            told.update(f"{part.turn}:{part.call_id}:{len(part.text)}:{part.text}".encode("utf-8", "surrogatepass"))
    return told.hexdigest()


def output_limit(task: Task, permit: Permit, deployment: Deployment) -> int:
    """Output tokens that one choice may use: the least of what the app, the rule and the deployment allow."""
    if task.endpoint is Endpoint.EMBEDDINGS:
        return 0
    limit = min(permit.limits.max_output_tokens, deployment.max_output_tokens)
    if task.max_output_tokens is not None:
        limit = min(limit, task.max_output_tokens)
    if limit < 1:
        raise Refused("invalid_request", f"the rule `{permit.rule}` leaves no output tokens for this request", rule=permit.rule)
    return limit


def input_bound(task: Task, deployment: Deployment) -> int:
    """Tokens that the input cannot exceed: its bytes; the whole context window where the provider adds what is not in the body."""
    return max(task.input_bytes, deployment.context_window) if task.input_unbounded else task.input_bytes


def with_hosted(task: Task, grant: ToolGrant) -> Task:
    """The task as its provider will charge it: what a hosted tool finds becomes input, and no byte of it is in the body."""
    if task.input_unbounded or all(kind in CLIENT_KINDS for kind, _ in grant.granted):
        return task
    return msgspec.structs.replace(task, input_unbounded=True)


def hosted_calls(grant: ToolGrant, permit: Permit) -> int:
    """How often the provider may call tools of its own in one answer."""
    return permit.limits.hosted_calls if any(kind not in CLIENT_KINDS for kind, _ in grant.granted) else 0


def worst_case(task: Task, deployment: Deployment, at: datetime, hosted_calls: int = 0) -> tuple[int, int]:
    """(nano-USD of the whole input and of so many calls of hosted tools, nano-USD of one output token in all choices), at the dearest
    class of each direction and the dearest hosted tool.

    An unpriced deployment holds nothing: under a money limit it is no candidate.
    """
    price, bound = deployment.price_at(at), input_bound(task, deployment)
    ways = [price]
    # Without the field nothing dearer than the standard tier is asked for.
    if price.service_tiers and "service_tier" in deployment.allowed_fields:
        ways.extend(price.service_tiers.values())
    ways += [larger for way in ways for tokens, larger in way.above if tokens < bound]
    only_text = not task.features or task.features.isdisjoint(NOT_ONLY_TEXT)
    given = max([_dearest(way, _INPUTS if only_text else _ALL_INPUTS) for way in ways])
    made = max([_dearest(way, _OUTPUTS if only_text else _ALL_OUTPUTS) for way in ways])
    fixed = bound * per_token_ceiling(given)
    if hosted_calls:
        fixed += cost_nano(hosted_calls, max([fee for way in ways for fee in way.tools.values()], default=0))
    return fixed, 0 if task.endpoint is Endpoint.EMBEDDINGS else per_token_ceiling(made) * task.choices


def _dearest(price: Price, classes: attrgetter[tuple[int | None, ...]]) -> int:
    return max([rate or 0 for rate in classes(price)])


_INPUTS = attrgetter("input", "cached_input", "cache_write", "cache_write_1h")
_ALL_INPUTS = attrgetter(
    "input", "cached_input", "cache_write", "cache_write_1h", "audio_input", "audio_cached_input", "image_input"
)
_OUTPUTS = attrgetter("output", "reasoning")
_ALL_OUTPUTS = attrgetter("output", "reasoning", "audio_output", "image_output")
NOT_ONLY_TEXT = frozenset({Feature.AUDIO, Feature.VISION, Feature.HOSTED_TOOLS})
"""What a task must ask for that classes of tokens other than text may come in."""
