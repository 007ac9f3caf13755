"""Short ways to make the deployments and requests that tests of upstreams need."""

from __future__ import annotations

from typing import Any, cast

from router.ports import UpstreamRequest
from routing_rules.budgets import CallLimits
from routing_rules.catalogue import Deployment
from routing_rules.decide import ClearedDeployment
from routing_rules.task import Endpoint
from routing_rules.vocabulary import Sensitivity


def deployment(id: str = "d", **fields: Any) -> ClearedDeployment:
    """A deployment that counts as cleared."""
    given = {"provider": "openai_compatible", "model": id, "tier": "fast", "clearance": Sensitivity.INTERNAL, **fields}
    return cast("ClearedDeployment", Deployment(id=id, **given))


def ask(
    body: dict[str, Any] | None = None,
    *,
    model: str = "ok",
    endpoint: Endpoint = Endpoint.CHAT,
    headers: dict[str, str] | None = None,
    **limits: Any,
) -> UpstreamRequest:
    """A request as it leaves `attach`; it streams where its body says so."""
    if body is None:
        body = {"messages": [{"role": "user", "content": "hello"}]}
    if endpoint is Endpoint.RESPONSES and "messages" in body:
        body = {**body, "input": "hello"}
        del body["messages"]
    if endpoint is Endpoint.EMBEDDINGS and "messages" in body:
        body = {"input": "hello"}
    body = {"model": model, **body}
    return UpstreamRequest(endpoint, body, bool(body.get("stream")), CallLimits(**limits), headers or {}, "req-1")


def streamed(model: str = "ok", **limits: Any) -> UpstreamRequest:
    """A chat request that asks for a stream."""
    return ask({"messages": [{"role": "user", "content": "hello"}], "stream": True}, model=model, **limits)
