"""Adapt a body to the deployment that will get it: what this model calls otherwise, does not take, or has fixed."""

from __future__ import annotations

from typing import Any, NamedTuple

from router.exchange import JsonObject
from router.upstream.adapt_messages import adapt_messages
from routing_rules.catalogue import Deployment
from routing_rules.task import Endpoint

_NOT_FOR_REASONING: dict[str, tuple[Any, ...]] = {
    "temperature": (1,),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "stop": ([],),
}
"""What reasoning models refuse, with the values that ask for nothing: leaving those out changes no answer and is not reported."""

_DEARER_TIERS = ("priority", "fast")
"""What providers bill above the price that a deployment has here, and so above what was held for the request."""

_OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_OURS = frozenset({"model", "stream", "stream_options", "store", "tools", "tool_choice", "functions", "function_call"})


class Adapted(NamedTuple):
    """The body as this deployment takes it, and the names of the app's parameters that it does not follow."""

    body: JsonObject
    dropped: tuple[str, ...]


def adapt(deployment: Deployment, endpoint: Endpoint, body: JsonObject) -> Adapted:
    """The body for one deployment; the one that is given is not changed.

    `params.max_tokens_field` is `max_tokens` for servers that know only the old name; `params.developer_role` is `system` for
    those that know no `developer` role. A field in `allowed_fields` passes whatever the kind of model. `fixed_params` win over
    the app, except that they can only lower the output limit, and never touch what the rules decided.
    """
    if endpoint is Endpoint.EMBEDDINGS:
        return Adapted(body, ())
    if endpoint is Endpoint.MESSAGES:
        return Adapted(*adapt_messages(deployment, body))
    sent = dict(body)
    dropped: list[str] = []
    if deployment.reasoning_model:
        for field, neutral in _NOT_FOR_REASONING.items():
            if field in sent and field not in deployment.allowed_fields:
                value = sent.pop(field)
                if value is not None and value not in neutral:
                    dropped.append(field)
    else:
        field = "reasoning" if endpoint is Endpoint.RESPONSES else "reasoning_effort"
        if field in sent and field not in deployment.allowed_fields and sent.pop(field) is not None:
            dropped.append(field)
    if sent.get("service_tier") in _DEARER_TIERS and "service_tier" not in deployment.allowed_fields:
        del sent["service_tier"]
        dropped.append("service_tier")
    if deployment.params.get("developer_role") == "system":
        _speak_as_system(sent, "input" if endpoint is Endpoint.RESPONSES else "messages")
    if deployment.fixed_params:
        _fix(sent, endpoint, deployment, dropped)
    if deployment.params.get("max_tokens_field") == "max_tokens" and "max_completion_tokens" in sent:
        sent["max_tokens"] = sent.pop("max_completion_tokens")
    return Adapted(sent, tuple(dropped))


def _speak_as_system(sent: JsonObject, field: str) -> None:
    turns = sent.get(field)
    if isinstance(turns, list) and any(turn.get("role") == "developer" for turn in turns):
        sent[field] = [{**turn, "role": "system"} if turn.get("role") == "developer" else turn for turn in turns]


def _fix(sent: JsonObject, endpoint: Endpoint, deployment: Deployment, dropped: list[str]) -> None:
    limit = "max_output_tokens" if endpoint is Endpoint.RESPONSES else "max_completion_tokens"
    for field, value in deployment.fixed_params.items():
        if field in _OURS:
            continue
        if field in _OUTPUT_LIMITS:
            if isinstance(value, int) and value < sent.get(limit, value + 1):
                sent[limit] = value
            continue
        if field == "reasoning_effort" and endpoint is Endpoint.RESPONSES:
            asked = (sent.get("reasoning") or {}).get("effort")
            sent["reasoning"] = {**(sent.get("reasoning") or {}), "effort": value}
        else:
            asked = sent.get(field)
            sent[field] = value
        if asked is not None and asked != value and field not in dropped:
            dropped.append(field)
