"""Sends each request by the implementation that its deployment's provider needs, its parameters adapted to that deployment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from router.errors import UpstreamFailed
from router.ports import Upstream, UpstreamAnswer, UpstreamRequest
from router.upstream.adapt import adapt
from router.upstream.adapt_messages import adapt_features
from router.upstream.anthropic_compatible import AnthropicCompatible
from router.upstream.litellm_upstream import LitellmUpstream
from router.upstream.openai_compatible import OpenAICompatible
from router.upstream.scripted import Scripted
from routing_rules.catalogue import Deployment
from routing_rules.decide import ClearedDeployment
from routing_rules.task import Endpoint

OPENAI_COMPATIBLE = "openai_compatible"
ANTHROPIC_COMPATIBLE = "anthropic_compatible"
SIMULATED = "simulated"
DIRECT = (OPENAI_COMPATIBLE, ANTHROPIC_COMPATIBLE, SIMULATED)
"""Providers whose formats nobody has to translate."""
FAILURES_IN_A_ROW = 3


class ProviderDispatch:
    """The Upstream of the service. A deployment that fails three times in a row, for whatever reason, is said to need a rest."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._openai = OpenAICompatible(environ)
        self._anthropic = AnthropicCompatible(environ)
        self._simulated = Scripted()
        self._translated = LitellmUpstream(environ)
        self._failures: dict[str, int] = {}

    async def send(self, deployment: ClearedDeployment, request: UpstreamRequest) -> UpstreamAnswer:
        """Send the adapted request; the answer's `dropped` names what this deployment does not take."""
        adapted = adapt(deployment, request.endpoint, request.body)
        dropped, headers = adapted.dropped, request.headers
        if request.endpoint is Endpoint.MESSAGES and headers:
            headers, left_out = adapt_features(headers)
            dropped += left_out
        if adapted.body is not request.body:
            request = UpstreamRequest(
                endpoint=request.endpoint,
                body=adapted.body,
                stream=request.stream,
                limits=request.limits,
                headers=headers,
                request_id=request.request_id,
            )
        try:
            answer = await self._implementation(deployment.provider, request.endpoint).send(deployment, request)
        except UpstreamFailed as failure:
            if failure.transient:
                count = self._failures[deployment.id] = self._failures.get(deployment.id, 0) + 1
                failure.cool_down = failure.cool_down or count >= FAILURES_IN_A_ROW
            raise
        if self._failures:
            self._failures.pop(deployment.id, None)
        answer.dropped = (*dropped, *answer.dropped)
        return answer

    async def kept(
        self, deployment: Deployment, verb: str, path: Sequence[str], query: Sequence[tuple[str, str]]
    ) -> tuple[int, bytes]:
        """Ask for a response that a provider keeps; one whose format is translated, or that is simulated, keeps none."""
        if deployment.provider != OPENAI_COMPATIBLE:
            return 404, b""
        return await self._openai.kept(deployment, verb, path, query)

    async def warm_up(self, deployments: Iterable[Deployment]) -> None:
        """Do at start what would make the first request slow, as far as these deployments need it."""
        if any(deployment.provider not in DIRECT for deployment in deployments):
            await self._translated.warm_up()

    async def aclose(self) -> None:
        """Close all connections of all implementations."""
        await self._openai.aclose()
        await self._anthropic.aclose()
        await self._simulated.aclose()
        await self._translated.aclose()

    def _implementation(self, provider: str, endpoint: Endpoint) -> Upstream:
        if provider == OPENAI_COMPATIBLE:
            return self._openai
        if provider == SIMULATED:
            return self._simulated
        if provider == ANTHROPIC_COMPATIBLE or endpoint is Endpoint.MESSAGES:
            return self._anthropic
        return self._translated
