"""Whatever the order of reserving, extending, settling, dying and coming back: no limit is passed and no nano-dollar is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from router.clock import utc_now
from router.errors import Refused
from router.exchange import HoldRequest, Outcome, Reservation, Turned, shard_of
from router.money import LARGEST_NANO
from router.storage.embedded_redis import EmbeddedRedis
from router.storage.reaper import reap
from router.storage.redis_announce import RedisAnnouncements
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient
from router.storage.redis_keys import month
from router.storage.redis_outbox import RedisOutbox
from router.usage import Basis
from routing_rules.facts import Labels

NOW = utc_now()  # leases end by the real clock
YEAR = str(NOW.year)
APP, OWNER, MONTH = "assistant", "ann@example.org", month(NOW.timestamp())

amounts = st.one_of(st.integers(0, 1000), st.integers(LARGEST_NANO // 4 - 1000, LARGEST_NANO // 4))
limits = st.one_of(st.integers(0, 5000), st.integers(LARGEST_NANO - 1000, LARGEST_NANO))


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
    yield server.start()
    server.stop()


def outcome(request_id: str, cost_nano: int) -> Outcome:
    return Outcome(request_id, NOW, "completed", None, "fast-1", (), cost_nano, Basis.REPORTED, False, (), (), {})


class Budgets(RuleBasedStateMachine):
    """The model beside the store: what is open at which amount, what each closed request cost, who is taken for dead."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.client = RedisClient(self.url, time_limit=10)
        self.budgets = RedisBudgets(self.client)
        self.outbox = RedisOutbox(self.client)
        self.reservations: dict[str, Reservation] = {}
        self.open: dict[str, Reservation] = {}
        self.worker: dict[str, str] = {}
        self.cost: dict[str, int] = {}
        self.reaped: set[str] = set()
        self.limit: dict[str, int] = {}
        self.owner_limit = self.year_limit = 0
        self.booked = 0
        self.drained: set[str] = set()
        self.count = 0

    def run(self, step: Any) -> Any:
        return self.loop.run_until_complete(step)

    def teardown(self) -> None:
        self.run(self.client.aclose())
        self.loop.close()

    @initialize(first=limits, second=limits, owner=limits, year=limits)
    def begin(self, first: int, second: int, owner: int, year: int) -> None:
        self.run(self.client.call("FLUSHALL"))
        self.run(RedisAnnouncements(self.client).heartbeat("alive"))
        self.limit = {"s1": first, "s2": second}
        self.owner_limit, self.year_limit = owner, year
        self.run(self.budgets.set_owner_spent(OWNER, YEAR, 0))

    def hold(self, session: str, fixed: int, per_token: int, tokens: int, least: int, worker: str) -> HoldRequest:
        self.count += 1
        return HoldRequest(
            request_id=f"r{self.count}",
            session_id=session,
            shard=shard_of(session),
            app=APP,
            owner=OWNER,
            worker=worker,
            now=NOW.timestamp(),
            expires=NOW.timestamp() + 86_000,
            label_version=0,
            labels=Labels(),
            fixed_nano=fixed,
            output_nano=per_token,
            output_tokens=tokens,
            min_output_tokens=least,
            input_tokens=1,
            budget_cost_nano=self.limit[session],
            budget_requests=None,
            budget_input_tokens=None,
            budget_output_tokens=None,
            budget_idle_seconds=None,
            budget_total_seconds=None,
            owner_hard_nano=self.owner_limit,
            new_session_limit=None,
            session_is_new=True,
            owner_others=((YEAR, self.year_limit),),
        )

    @rule(
        session=st.sampled_from(("s1", "s2")),
        wishes=st.lists(st.tuples(amounts, st.integers(0, 50), st.integers(0, 40), st.integers(0, 5)), min_size=1, max_size=8),
        worker=st.sampled_from(("alive", "dead")),
    )
    def reserve_several_at_once(self, session: str, wishes: list[tuple[int, int, int, int]], worker: str) -> None:
        holds = [self.hold(session, *wish, worker) for wish in wishes]
        record = Turned("any", NOW, session, None, None, APP, OWNER, "x", None, "", {}, {}, "single", "", {})

        async def all_at_once() -> list[Any]:
            return await asyncio.gather(*(self.budgets.reserve(h, record) for h in holds), return_exceptions=True)

        for hold, result in zip(holds, self.run(all_at_once()), strict=True):
            if isinstance(result, Reservation):
                assert min(hold.min_output_tokens, hold.output_tokens) <= result.output_tokens <= hold.output_tokens
                assert result.amount_nano == hold.fixed_nano + result.output_tokens * hold.output_nano
                self.reservations[hold.request_id] = self.open[hold.request_id] = result
                self.worker[hold.request_id] = worker
            else:
                assert isinstance(result, Refused), result
                least = hold.fixed_nano + min(hold.min_output_tokens, hold.output_tokens) * hold.output_nano
                held = self.held(session)
                room = self.limit[session] - self.spent(session) - held
                owner_room = min(self.owner_limit, self.year_limit) - self.booked - self.leased()
                assert least > min(room, owner_room)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), accrued=st.integers(0, 100), amount=amounts)
    def extend(self, data: st.DataObject, accrued: int, amount: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.open)))
        try:
            self.open[name] = self.reservations[name] = self.run(self.budgets.extend(self.open[name], accrued, amount))
        except Refused:
            pass

    @precondition(lambda self: self.reservations)
    @rule(data=st.data(), share=st.integers(0, 100))
    def settle_or_settle_again(self, data: st.DataObject, share: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.reservations)))
        cost = self.reservations[name].amount_nano * share // 100
        settlement = self.run(self.budgets.settle(self.reservations[name], outcome(name, cost)))
        assert settlement.duplicate == (name not in self.open)
        if name in self.open or name in self.reaped:
            self.cost[name] = cost
        self.open.pop(name, None)
        self.reaped.discard(name)

    @rule()
    def the_reaper_comes(self) -> None:
        lost = [name for name in self.open if self.worker[name] == "dead"]
        assert self.run(reap(self.client, NOW + timedelta(seconds=60))) == len(lost)
        for name in lost:
            self.cost[name] = self.open.pop(name).amount_nano
            self.reaped.add(name)

    @rule(acknowledge=st.booleans())
    def the_drainer_comes(self, acknowledge: bool) -> None:
        entries = self.run(self.outbox.read(10_000))
        self.run(self.outbox.settle_owners(entries))
        self.booked = sum(self.cost.values())
        self.drained = set(self.cost)
        if acknowledge:
            self.run(self.outbox.ack([(shard, entry) for shard, entry, _ in entries]))

    def leased(self) -> int:
        return sum(r.amount_nano for name, r in self.reservations.items() if name not in self.drained)

    def held(self, session: str) -> int:
        return sum(r.amount_nano for r in self.open.values() if r.session_id == session)

    def spent(self, session: str) -> int:
        return sum(cost for name, cost in self.cost.items() if self.reservations[name].session_id == session)

    @invariant()
    def no_limit_is_passed_and_nothing_is_lost(self) -> None:
        for session, limit in self.limit.items():
            spent, held = self.run(self.budgets.session_balance(APP, session))
            assert (spent, held) == (self.spent(session), self.held(session))
            assert spent + held <= limit
        for period, limit in ((MONTH, self.owner_limit), (YEAR, self.year_limit)):
            booked, leased = self.run(self.budgets.owner_balance(OWNER, period))
            assert (booked, leased) == (self.booked, self.leased())
            assert booked + leased <= limit


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_holds_and_spending_never_pass_a_limit_and_always_add_up(redis_url: str) -> None:
    Budgets.url = redis_url
    run_state_machine_as_test(
        Budgets,
        settings=settings(
            max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), database=None
        ),
    )
