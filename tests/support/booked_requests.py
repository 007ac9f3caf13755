"""Requests that are held, settled and drained as the service does it, in a real Redis and a real SQL store."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from sql_records import admitted
from sqlalchemy import Engine

from router.exchange import HoldRequest, Outcome, Reservation, shard_of
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient
from router.storage.redis_corrections import RedisCorrections
from router.storage.redis_outbox import RedisOutbox
from router.storage.sql.corrections import SqlCorrections
from router.storage.sql.records import SqlRecords
from routing_rules.facts import Labels

HELD = 1_000_000_000


class BookedRequests:
    """Both stores, and what goes to and from them."""

    def __init__(self, client: RedisClient, engine: Engine) -> None:
        self.client = client
        self.engine = engine
        self.budgets = RedisBudgets(client)
        self.books = RedisCorrections(client)
        self.ledger = SqlCorrections(engine)
        self._outbox = RedisOutbox(client)
        self._records = SqlRecords(engine)

    async def admit(
        self, request_id: str, at: datetime, *, session: str = "s-1", app: str = "desk", owner: str = "ana@example.com"
    ) -> Reservation:
        """Let a request through, with a dollar held for it."""
        intent = msgspec.structs.replace(
            admitted(request_id, app=app, owner=owner, session=session, at=at, held=HELD),
            business_impact="normal",
            latency_class="interactive",
        )
        hold = HoldRequest(
            request_id=request_id,
            session_id=session,
            shard=shard_of(session),
            app=app,
            owner=owner,
            worker="worker-1",
            now=at.timestamp(),
            expires=(at + timedelta(minutes=2)).timestamp(),
            label_version=0,
            labels=Labels(),
            fixed_nano=HELD,
            output_nano=0,
            output_tokens=intent.output_tokens,
            min_output_tokens=0,
            input_tokens=0,
            budget_cost_nano=None,
            budget_requests=None,
            budget_input_tokens=None,
            budget_output_tokens=None,
            budget_idle_seconds=None,
            budget_total_seconds=None,
            owner_hard_nano=None,
            new_session_limit=None,
            session_is_new=False,
        )
        return await self.budgets.reserve(hold, intent)

    async def settle(self, reservation: Reservation, outcome: Outcome) -> None:
        await self.budgets.settle(reservation, outcome)

    async def drain(self, most: int = 500) -> int:
        """What the drainer does, until nothing is left; how many records it moved."""
        moved = 0
        while entries := await self._outbox.read(most):
            await self._outbox.settle_owners(entries)
            self._records.write([(shard, record) for shard, _, record in entries])
            await self._outbox.ack([(shard, entry_id) for shard, entry_id, _ in entries])
            moved += len(entries)
        return moved

    async def spent_by(self, owner: str, month: str) -> int:
        return (await self.budgets.owner_balance(owner, month))[0]

    async def spent_in(self, session: str, app: str = "desk") -> int:
        return (await self.budgets.session_balance(app, session))[0]


def in_month(_owner: str, moment: datetime) -> str:
    """The periods of an owner who has a month only, counted in UTC."""
    return moment.strftime("%Y-%m")
