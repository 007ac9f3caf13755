"""How many tokens a request of the Messages API would have, before it is sent."""

from __future__ import annotations

from secrets import token_hex

import msgspec

from router import telemetry
from router.api import wire
from router.api.asgi import JSON, Connection, send_error
from router.api.tasks import TaskEndpoint
from router.errors import Refused, RouterError
from router.pipeline import Incoming
from router.stages.authenticate import authenticate
from router.stages.read_task import read_task
from router.stages.settle import estimated_usage
from routing_rules.facts import Caller
from routing_rules.task import Endpoint

PATH = "/v1/messages/count_tokens"


class CountTokens(TaskEndpoint):
    """Counts for whoever may send the task itself, by the same estimate that an answer without usage is charged by.

    Nothing of the request leaves us, so that nothing has to be decided, held or recorded of it: a provider that counted it would have it.
    """

    async def answer(self, incoming: Incoming, client: Connection) -> None:
        """See TaskEndpoint."""
        services = self.services
        request_id = f"req_{int(services.clock().timestamp() * 1000):011x}{token_hex(8)}".encode()
        told = [(b"x-request-id", request_id), (b"request-id", request_id)]
        try:
            headers = incoming.read_headers(incoming.headers)
            await self._caller(incoming.authorization, headers.purpose)
            body = wire.parse_to_count(incoming.raw)
            policy = services.in_force().rules.sensitivity
            task = read_task(Endpoint.MESSAGES, body, headers, policy.labels, policy.unmapped_label, policy)
        except RouterError as refusal:
            telemetry.logger().warning(
                "request_refused", request_id=request_id.decode(), code=refusal.code, detail=refusal.detail
            )
            await send_error(client, refusal, told, refusal.messages_body(request_id.decode()))
            return
        counted = msgspec.json.encode({"input_tokens": estimated_usage(task, 0).input})
        length = (b"content-length", str(len(counted)).encode())
        await client.start(200, [JSON, length, (b"x-router-basis", b"estimated"), *told])
        await client.finish(counted)

    async def _caller(self, authorization: str | None, purpose: str | None) -> Caller:
        directory, now = self.services.directory, self.services.clock()
        try:
            return authenticate(directory, authorization, purpose, now)
        except Refused as refusal:
            if refusal.code != "invalid_api_key":
                raise
            await directory.refresh()  # the key may have been made a moment ago
            return authenticate(directory, authorization, purpose, now)
