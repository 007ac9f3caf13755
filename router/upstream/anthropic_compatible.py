"""Calls providers that speak Anthropic's Messages API, passing bytes through untouched."""

from __future__ import annotations

from multidict import CIMultiDict, istr

from router.upstream.openai_compatible import OpenAICompatible, Route, api_key, base_of
from routing_rules.catalogue import Deployment
from routing_rules.task import Endpoint

OWN_ADDRESS = "https://api.anthropic.com/v1"
"""Where a deployment of the provider `anthropic` is that has no `base_url`."""

VERSION = "2023-06-01"

_LIMITS = [
    f"anthropic-ratelimit-{what}-{which}"
    for what in ("requests", "tokens", "input-tokens", "output-tokens")
    for which in ("limit", "remaining", "reset")
]
PASSED_HEADERS = (
    (istr("content-type"), "content-type"),
    (istr("request-id"), "x-upstream-request-id"),
    *((istr(name), name) for name in _LIMITS),
)
"""What an app gets to see of a provider's headers: provider's name → ours."""


class AnthropicCompatible(OpenAICompatible):
    """Upstream for deployments that speak Anthropic's format. `base_url` may end in `/v1` or leave it out, as Anthropic's clients do."""

    passed = PASSED_HEADERS

    def _route(self, deployment: Deployment) -> Route:
        address = (deployment.base_url or (OWN_ADDRESS if deployment.provider == "anthropic" else "")).rstrip("/")
        base = base_of(deployment, address if not address or address.endswith("/v1") else f"{address}/v1")
        headers = CIMultiDict(
            {
                "content-type": "application/json",
                "accept-encoding": "identity",
                "user-agent": "task-sensitivity-router",
                "anthropic-version": deployment.params.get("anthropic_version", VERSION),
            }
        )
        key = api_key(deployment, self._environ)
        if key is not None:
            if deployment.params.get("auth", "api-key") == "bearer":
                headers["authorization"] = f"Bearer {key}"
            else:
                headers["x-api-key"] = key
        return Route(deployment, {Endpoint.MESSAGES: base.joinpath("messages")}, headers)
