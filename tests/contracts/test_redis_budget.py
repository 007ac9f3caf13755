"""Holds never exceed a limit, every request is closed once, and what is recorded is what was held: on one server and in a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
import pytest

from router.errors import Refused, Unavailable
from router.exchange import Admitted, HoldRequest, Outcome, Record, Reservation
from router.money import LARGEST_NANO
from router.storage import redis_keys
from router.storage.reaper import reap
from router.storage.redis_announce import RedisAnnouncements
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient
from router.storage.redis_outbox import RedisOutbox
from router.storage.redis_sessions import RedisSessions
from routing_rules.facts import Labels
from routing_rules.prices import INPUT_CLASSES, TOKEN_CLASSES
from routing_rules.vocabulary import Integrity, Sensitivity

APP, OWNER, SESSION, MONTH = "assistant", "ann@example.org", "conversation-1", "2026-08"
HOLD = 2_000_000  # what Requests.hold holds


class Store(Protocol):
    client: Callable[..., AbstractAsyncContextManager[RedisClient]]
    cluster: bool


class Requests(Protocol):
    now: datetime
    hold: Callable[..., HoldRequest]
    admitted: Callable[[HoldRequest], Admitted]
    outcome: Callable[..., Outcome]


async def records(client: RedisClient) -> list[Record]:
    return [msgspec.json.decode(raw, type=Record) for _, _, raw in await RedisOutbox(client).read(10_000)]


async def holds_left(client: RedisClient) -> int:
    return sum([await client.call("ZCARD", name) for name in redis_keys.OPEN])


def tally(results: list[Any]) -> tuple[int, int]:
    held = sum(isinstance(one, Reservation) for one in results)
    refused = sum(isinstance(one, Refused) for one in results)
    assert held + refused == len(results), results
    return held, refused


async def test_of_300_requests_at_once_on_a_budget_of_40_holds_exactly_40_are_admitted(store: Store, requests: Requests) -> None:
    async with store.client(20) as client:
        budgets = RedisBudgets(client)
        holds = [requests.hold(f"r{n}", budget_cost_nano=40 * HOLD, min_output_tokens=100) for n in range(300)]
        results = await asyncio.gather(*(budgets.reserve(h, requests.admitted(h)) for h in holds), return_exceptions=True)

        assert tally(results) == (40, 260)
        assert await budgets.session_balance(APP, SESSION) == (0, 40 * HOLD)
        assert len(await records(client)) == 40
        for one in results:
            if isinstance(one, Reservation):
                await budgets.settle(one, requests.outcome(one.request_id, HOLD))
        assert await budgets.session_balance(APP, SESSION) == (40 * HOLD, 0)
        assert await holds_left(client) == 0


async def test_of_300_requests_at_once_on_a_budget_of_40_requests_exactly_40_are_admitted(
    store: Store, requests: Requests
) -> None:
    async with store.client(20) as client:
        budgets = RedisBudgets(client)
        holds = [requests.hold(f"r{n}", budget_requests=40) for n in range(300)]
        results = await asyncio.gather(*(budgets.reserve(h, requests.admitted(h)) for h in holds), return_exceptions=True)

        assert tally(results) == (40, 260)


async def test_an_owners_hard_limit_holds_across_sessions(store: Store, requests: Requests) -> None:
    async with store.client(20) as client:
        budgets = RedisBudgets(client)
        holds = [
            requests.hold(f"r{n}", f"s{n}", owner_hard_nano=7 * HOLD + 1, min_output_tokens=100, budget_cost_nano=HOLD)
            for n in range(30)
        ]
        results = await asyncio.gather(*(budgets.reserve(h, requests.admitted(h)) for h in holds), return_exceptions=True)

        assert tally(results) == (7, 23)
        assert {one.code for one in results if isinstance(one, Refused)} == {"owner_budget_exceeded"}
        assert await budgets.owner_balance(OWNER, MONTH) == (0, 7 * HOLD)
        assert len(await records(client)) == 7


QUARTER, YEAR = "2026-Q3", "2026"


async def test_all_budgets_of_an_owner_hold_at_once_over_two_replicas(store: Store, requests: Requests) -> None:
    async with store.client(20) as one, store.client(20) as other:
        replicas = [RedisBudgets(one), RedisBudgets(other)]
        for period in (QUARTER, YEAR):
            await replicas[0].set_owner_spent(OWNER, period, HOLD)
        limits = {"owner_hard_nano": 9 * HOLD, "owner_others": ((QUARTER, 7 * HOLD), (YEAR, 20 * HOLD)), "min_output_tokens": 100}
        holds = [requests.hold(f"r{n}", f"s{n}", **limits) for n in range(60)]
        results = await asyncio.gather(
            *(replicas[n % 2].reserve(hold, requests.admitted(hold)) for n, hold in enumerate(holds)), return_exceptions=True
        )

        assert tally(results) == (6, 54)
        assert {one.details["period"] for one in results if isinstance(one, Refused)} == {QUARTER}
        balances = await replicas[1].owner_balances([(OWNER, period) for period in (MONTH, QUARTER, YEAR)])
        assert balances == [(0, 6 * HOLD), (HOLD, 6 * HOLD), (HOLD, 6 * HOLD)]
        outbox = RedisOutbox(one)
        for reservation in results:
            if isinstance(reservation, Reservation):
                await replicas[0].settle(reservation, requests.outcome(reservation.request_id, HOLD // 2))
        for _ in range(2):  # what is booked twice counts once
            assert await outbox.settle_owners(await outbox.read(1000)) in (6, 0)
        balances = await replicas[1].owner_balances([(OWNER, period) for period in (MONTH, QUARTER, YEAR)])
        assert balances == [(3 * HOLD, 0), (4 * HOLD, 0), (4 * HOLD, 0)]


async def test_a_period_whose_spend_is_not_known_yet_lets_nothing_through(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        hold = requests.hold("r1", owner_hard_nano=100 * HOLD, owner_others=((YEAR, 100 * HOLD),))
        with pytest.raises(Unavailable, match="is being added up"):
            await budgets.reserve(hold, requests.admitted(hold))
        assert await budgets.owner_balances([(OWNER, MONTH), (OWNER, YEAR)]) == [(0, 0), None]
        await budgets.set_owner_spent(OWNER, YEAR, 0)
        await budgets.reserve(hold, requests.admitted(hold))
        assert await budgets.owner_balances([(OWNER, MONTH), (OWNER, YEAR)]) == [(0, HOLD), (0, HOLD)]


async def test_a_period_without_a_limit_is_counted_and_holds_nothing(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets, outbox = RedisBudgets(client), RedisOutbox(client)
        hold = requests.hold("r1", owner_others=((YEAR, -1),))
        reservation = await budgets.reserve(hold, requests.admitted(hold))
        await budgets.settle(reservation, requests.outcome("r1", HOLD))
        await outbox.settle_owners(await outbox.read(10))
        assert await budgets.owner_balance(OWNER, YEAR) == (HOLD, 0)


async def test_the_output_shrinks_to_the_tightest_of_an_owners_budgets(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        await budgets.set_owner_spent(OWNER, YEAR, 0)
        limits = {"owner_hard_nano": 1_000_000 + 50 * 10_000, "owner_others": ((YEAR, 1_000_000 + 40 * 10_000),)}
        hold = requests.hold("r1", **limits)
        assert (await budgets.reserve(hold, requests.admitted(hold))).output_tokens == 40


async def test_another_attempt_is_held_to_every_budget_of_the_owner(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        await budgets.set_owner_spent(OWNER, YEAR, 0)
        hold = requests.hold("r1", owner_hard_nano=10 * HOLD, owner_others=((YEAR, 2 * HOLD),))
        reservation = await budgets.reserve(hold, requests.admitted(hold))
        more = await budgets.extend(reservation, HOLD, HOLD)
        assert more.amount_nano == 2 * HOLD
        with pytest.raises(Refused, match="the budget of 2026 of"):
            await budgets.extend(more, HOLD, HOLD + 1)
        assert await budgets.owner_balances([(OWNER, MONTH), (OWNER, YEAR)]) == [(0, 2 * HOLD), (0, 2 * HOLD)]


async def test_a_session_that_refuses_gives_back_the_leases_on_every_period(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        await budgets.set_owner_spent(OWNER, YEAR, 0)
        hold = requests.hold("r1", owner_hard_nano=9 * HOLD, owner_others=((YEAR, 9 * HOLD),), budget_requests=0)
        with pytest.raises(Refused):
            await budgets.reserve(hold, requests.admitted(hold))
        assert await budgets.owner_balances([(OWNER, MONTH), (OWNER, YEAR)]) == [(0, 0), (0, 0)]


async def test_a_session_that_refuses_takes_nothing_from_its_owner(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        hold = requests.hold("r1", owner_hard_nano=100 * HOLD, budget_requests=0, new_session_limit=5)
        with pytest.raises(Refused):
            await budgets.reserve(hold, requests.admitted(hold))

        assert await budgets.owner_balance(OWNER, MONTH) == (0, 0)
        assert int(await client.call("GET", redis_keys.rotation(APP, hold.now)) or 0) == 0
        assert await records(client) == []


async def test_the_refusal_says_what_is_spent_held_and_needed_to_the_nano_dollar(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        first, second = (requests.hold(name, budget_cost_nano=3_000_001) for name in ("r1", "r2"))
        await budgets.reserve(first, requests.admitted(first))
        with pytest.raises(Refused) as refused:
            await budgets.reserve(second, requests.admitted(second))

    assert refused.value.code == "session_budget_exceeded"
    assert refused.value.message == (
        "the session's budget of $0.003000001 does not suffice: $0 is spent, $0.002 is held for requests under way, and this "
        "request needs at least $0.00116: ask for less output, wait for them, or start a new session"
    )


async def test_the_output_shrinks_to_what_is_left_but_not_below_the_least_and_the_record_says_so(
    store: Store, requests: Requests
) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        hold = requests.hold("r1", budget_cost_nano=1_000_000 + 16 * 10_000 + 9_999)
        reservation = await budgets.reserve(hold, requests.admitted(hold))

        assert (reservation.output_tokens, reservation.amount_nano) == (16, 1_160_000)
        assert reservation.session_left_nano == 9_999
        [record] = await records(client)
        assert isinstance(record, Admitted)
        assert (record.output_tokens, record.held_nano) == (16, 1_160_000)
        less = requests.hold("r2", "s2", budget_cost_nano=1_000_000 + 16 * 10_000 - 1)
        with pytest.raises(Refused):
            await budgets.reserve(less, requests.admitted(less))


async def test_the_owners_limit_shrinks_the_output_too(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        hold = requests.hold("r1", owner_hard_nano=1_500_000)
        reservation = await budgets.reserve(hold, requests.admitted(hold))

        assert (reservation.output_tokens, reservation.amount_nano) == (50, 1_500_000)
        assert await budgets.owner_balance(OWNER, MONTH) == (0, 1_500_000)


async def test_output_tokens_of_open_holds_and_of_settled_answers_both_count(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        limits = {"budget_output_tokens": 150, "budget_input_tokens": 10_000}
        first = requests.hold("r1", **limits)
        reservation = await budgets.reserve(first, requests.admitted(first))
        second = requests.hold("r2", **limits)
        assert (await budgets.reserve(second, requests.admitted(second))).output_tokens == 50
        third = requests.hold("r3", **limits)
        with pytest.raises(Refused, match="0 are used, 150 are held for requests under way, and this request needs 16"):
            await budgets.reserve(third, requests.admitted(third))
        await budgets.settle(reservation, requests.outcome("r1", 1, spoken=20, thought=30))

        assert (await budgets.reserve(third, requests.admitted(third))).output_tokens == 50


async def test_each_of_several_choices_takes_its_share_of_the_output_tokens(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        first = requests.hold("r1", budget_output_tokens=450, choices=4, output_tokens=90)
        reservation = await budgets.reserve(first, requests.admitted(first))
        assert reservation.output_tokens == 90
        second = requests.hold("r2", budget_output_tokens=450, choices=4)
        assert (await budgets.reserve(second, requests.admitted(second))).output_tokens == 22
        third = requests.hold("r3", budget_output_tokens=450, choices=2)
        with pytest.raises(Refused, match="0 are used, 448 are held for requests under way, and this request needs 32"):
            await budgets.reserve(third, requests.admitted(third))
        await budgets.settle(reservation, requests.outcome("r1", 1, spoken=360))
        with pytest.raises(Refused, match="360 are used, 88 are held"):
            await budgets.reserve(third, requests.admitted(third))


async def test_input_tokens_beyond_the_budget_are_refused(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        hold = requests.hold("r1", budget_input_tokens=499)
        with pytest.raises(Refused, match="budget of 499 input tokens"):
            await RedisBudgets(client).reserve(hold, requests.admitted(hold))


@pytest.mark.parametrize("token_class", TOKEN_CLASSES)
async def test_tokens_of_every_class_count_towards_the_sessions_token_budgets(
    store: Store, requests: Requests, token_class: str
) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        limits = {"budget_output_tokens": 150, "budget_input_tokens": 1_000}
        first = requests.hold("r1", **limits)
        reservation = await budgets.reserve(first, requests.admitted(first))
        settled = requests.outcome("r1", 1)
        used = msgspec.structs.replace(settled.lines[0], token_class=token_class, quantity=990)
        await budgets.settle(reservation, msgspec.structs.replace(settled, lines=(used,)))

        second = requests.hold("r2", **limits)
        with pytest.raises(Refused, match="input tokens" if token_class in INPUT_CLASSES else "output tokens"):
            await budgets.reserve(second, requests.admitted(second))


async def test_the_same_request_is_held_and_recorded_once_and_gets_the_same_answer(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        hold = requests.hold("r1", budget_cost_nano=10 * HOLD, owner_hard_nano=10 * HOLD)
        answers = await asyncio.gather(*(budgets.reserve(hold, requests.admitted(hold)) for _ in range(20)))

        assert len(set(answers)) == 1
        assert await budgets.session_balance(APP, SESSION) == (0, HOLD)
        assert await budgets.owner_balance(OWNER, MONTH) == (0, HOLD)
        assert len(await records(client)) == 1


async def test_a_settlement_counts_once_however_often_it_is_sent(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        hold = requests.hold("r1", budget_cost_nano=10 * HOLD)
        reservation = await budgets.reserve(hold, requests.admitted(hold))
        settlements = await asyncio.gather(*(budgets.settle(reservation, requests.outcome("r1", 1_234)) for _ in range(20)))

        assert sorted(s.duplicate for s in settlements) == [False] + [True] * 19
        assert {s.session_left_nano for s in settlements} == {10 * HOLD - 1_234}
        assert await budgets.session_balance(APP, SESSION) == (1_234, 0)
        assert len(await records(client)) == 2


async def test_usage_above_the_hold_is_charged_in_full(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        hold = requests.hold("r1", budget_cost_nano=HOLD)
        reservation = await budgets.reserve(hold, requests.admitted(hold))
        settlement = await budgets.settle(reservation, requests.outcome("r1", 5 * HOLD))

        assert settlement.session_left_nano == 0
        assert await budgets.session_balance(APP, SESSION) == (5 * HOLD, 0)
        free = requests.hold("r2", budget_cost_nano=HOLD, fixed_nano=0, output_nano=0)
        with pytest.raises(Refused):
            await budgets.reserve(free, requests.admitted(free))


async def test_amounts_next_to_the_largest_stay_exact_and_more_is_refused(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        odd = LARGEST_NANO - 2
        limits = {"output_nano": 0, "budget_cost_nano": LARGEST_NANO, "owner_hard_nano": LARGEST_NANO}
        first = requests.hold("r1", fixed_nano=odd, **limits)
        reservation = await budgets.reserve(first, requests.admitted(first))
        assert (reservation.amount_nano, reservation.session_left_nano) == (odd, 2)
        assert await budgets.owner_balance(OWNER, MONTH) == (0, odd)
        too_much = requests.hold("r2", fixed_nano=3, **limits)
        with pytest.raises(Refused):
            await budgets.reserve(too_much, requests.admitted(too_much))
        await budgets.settle(reservation, requests.outcome("r1", odd))
        assert await budgets.session_balance(APP, SESSION) == (odd, 0)
        fits = requests.hold("r3", fixed_nano=2, **limits | {"owner_hard_nano": None})
        assert (await budgets.reserve(fits, requests.admitted(fits))).session_left_nano == 0


async def test_a_product_beyond_the_largest_amount_shrinks_and_never_wraps(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        price = 10**12
        hold = requests.hold("r1", fixed_nano=1, output_nano=price, output_tokens=10**6)
        reservation = await budgets.reserve(hold, requests.admitted(hold))
        assert reservation.output_tokens == (LARGEST_NANO - 1) // price
        assert reservation.amount_nano == 1 + reservation.output_tokens * price
        beyond = requests.hold("r2", "s2", output_nano=10**15, output_tokens=100)
        with pytest.raises(Refused):
            await budgets.reserve(beyond, requests.admitted(beyond))


async def test_labels_that_rose_meanwhile_send_the_request_back_to_be_decided_anew(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets, sessions = RedisBudgets(client), RedisSessions(client)
        public = requests.hold("r1")
        secret = requests.hold("r2", labels=Labels(Integrity.UNTRUSTED, Sensitivity.RESTRICTED))
        await budgets.reserve(secret, requests.admitted(secret))
        with pytest.raises(Refused) as refused:
            await budgets.reserve(public, requests.admitted(public))
        assert refused.value.code == "session_changed"
        state = await sessions.open(SESSION, APP, ())
        assert state.labels == secret.labels
        again = msgspec.structs.replace(public, labels=state.labels, label_version=state.label_version)
        await budgets.reserve(again, requests.admitted(again))

        assert (await sessions.open(SESSION, APP, ())).label_version == state.label_version


@pytest.mark.parametrize(
    ("held", "left"),
    [
        (Labels(Integrity.UNTRUSTED, Sensitivity.PUBLIC), Sensitivity.PUBLIC),
        (Labels(Integrity.TRUSTED, Sensitivity.RESTRICTED), Sensitivity.PUBLIC),
        (Labels(Integrity.TRUSTED, Sensitivity.INTERNAL), Sensitivity.RESTRICTED),
    ],
    ids=["integrity", "confidentiality", "what has left"],
)
async def test_each_label_that_rose_meanwhile_sends_the_request_back(
    store: Store, requests: Requests, held: Labels, left: Sensitivity
) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        first = requests.hold("r1", labels=held, forwarded=left)
        await budgets.reserve(first, requests.admitted(first))
        lower = requests.hold("r2", labels=Labels(Integrity.TRUSTED, Sensitivity.INTERNAL), forwarded=Sensitivity.PUBLIC)
        with pytest.raises(Refused) as refused:
            await budgets.reserve(lower, requests.admitted(lower))
        assert refused.value.code == "session_changed"


async def test_labels_only_rise_and_each_rise_is_a_new_version(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets, sessions = RedisBudgets(client), RedisSessions(client)
        steps = [
            Labels(),
            Labels(Integrity.TRUSTED, Sensitivity.CONFIDENTIAL),
            Labels(Integrity.UNTRUSTED, Sensitivity.CONFIDENTIAL),
        ]
        versions = []
        for n, labels in enumerate(steps):
            hold = requests.hold(f"r{n}", labels=labels)
            await budgets.reserve(hold, requests.admitted(hold))
            state = await sessions.open(SESSION, APP, ())
            assert state.labels == labels
            versions.append(state.label_version)

        assert versions == [1, 2, 3]


async def test_an_ended_session_refuses_even_what_was_decided_before(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets, sessions = RedisBudgets(client), RedisSessions(client)
        first, second = requests.hold("r1"), requests.hold("r2")
        reservation = await budgets.reserve(first, requests.admitted(first))
        assert await sessions.end(SESSION, "leaked", APP)
        with pytest.raises(Refused, match=r"the session was ended \(leaked\)") as refused:
            await budgets.reserve(second, requests.admitted(second))
        assert refused.value.code == "session_ended"
        with pytest.raises(Refused):
            await budgets.extend(reservation, 0, 1)

        assert (await budgets.settle(reservation, requests.outcome("r1", 7))).cost_nano == 7


@pytest.mark.parametrize(("limit", "after"), [("budget_idle_seconds", 61), ("budget_total_seconds", 61)])
async def test_a_session_that_lasted_too_long_takes_no_more(store: Store, requests: Requests, limit: str, after: int) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        for n, seconds in enumerate((0, 60)):
            hold = requests.hold(f"r{n}", at=requests.now + timedelta(seconds=seconds), **{limit: 60})
            await budgets.reserve(hold, requests.admitted(hold))
        late = requests.hold("r3", at=requests.now + timedelta(seconds=60 + after), **{limit: 60})
        with pytest.raises(Refused) as refused:
            await budgets.reserve(late, requests.admitted(late))

    assert refused.value.code == "session_ended"


async def test_an_app_may_start_so_many_sessions_an_hour_and_go_on_with_those_it_has(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        for n in range(3):
            hold = requests.hold(f"r{n}", f"s{n}", new_session_limit=3)
            await budgets.reserve(hold, requests.admitted(hold))
        fourth = requests.hold("r3", "s3", new_session_limit=3)
        with pytest.raises(Refused) as refused:
            await budgets.reserve(fourth, requests.admitted(fourth))
        assert refused.value.code == "rate_limit_exceeded"
        assert refused.value.retry_after == 1800
        known = requests.hold("r4", "s2", new_session_limit=3, session_is_new=False)
        await budgets.reserve(known, requests.admitted(known))
        other = requests.hold("r5", "s5", app="another", new_session_limit=3)
        await budgets.reserve(other, requests.admitted(other))


async def test_another_attempt_holds_what_was_spent_and_its_own_worst_case_or_keeps_the_old_hold(
    store: Store, requests: Requests
) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        hold = requests.hold("r1", budget_cost_nano=2 * HOLD, owner_hard_nano=10 * HOLD)
        reservation = await budgets.reserve(hold, requests.admitted(hold))
        reservation = await budgets.extend(reservation, 500, HOLD)
        assert (reservation.amount_nano, reservation.session_left_nano) == (HOLD + 500, HOLD - 500)
        assert await budgets.session_balance(APP, SESSION) == (0, HOLD + 500)
        assert await budgets.owner_balance(OWNER, MONTH) == (0, HOLD + 500)
        with pytest.raises(Refused):
            await budgets.extend(reservation, HOLD, HOLD + 1)
        assert await budgets.session_balance(APP, SESSION) == (0, HOLD + 500)
        await budgets.settle(reservation, requests.outcome("r1", 9))
        with pytest.raises(Refused, match="closed meanwhile"):
            await budgets.extend(reservation, 0, 1)


async def test_owners_are_charged_from_the_outbox_once_each_with_or_without_a_limit(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets, outbox = RedisBudgets(client), RedisOutbox(client)
        for n in range(10):
            limit = {"owner_hard_nano": 100 * HOLD} if n % 2 else {}
            hold = requests.hold(f"r{n}", f"s{n}", **limit)
            await budgets.settle(await budgets.reserve(hold, requests.admitted(hold)), requests.outcome(f"r{n}", 100 + n))
        assert await budgets.owner_balance(OWNER, MONTH) == (0, 5 * HOLD)
        entries = await outbox.read(1000)
        assert await outbox.settle_owners(entries) == 10
        assert await outbox.settle_owners(entries) == 0
        assert await RedisOutbox(client).settle_owners(await RedisOutbox(client).read(1000)) == 0

        another = RedisOutbox(client)
        assert await another.settle_owners(await another.read(1000)) == 0
        assert await budgets.owner_balance(OWNER, MONTH) == (1045, 0)
        await outbox.ack([(shard, entry) for shard, entry, _ in entries])
        assert await outbox.backlog() == 0


async def test_a_lease_whose_settlement_never_came_expires_after_a_day(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        lost = requests.hold("r1", owner_hard_nano=HOLD)
        await budgets.reserve(lost, requests.admitted(lost))
        for hours, fits in ((23, False), (25, True)):
            hold = requests.hold(f"r{hours}", "s2", at=requests.now + timedelta(hours=hours), owner_hard_nano=HOLD)
            if fits:
                await budgets.reserve(hold, requests.admitted(hold))
            else:
                with pytest.raises(Refused):
                    await budgets.reserve(hold, requests.admitted(hold))


async def test_a_full_outbox_admits_nothing_new_and_still_settles(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client, outbox_cap=2)
        first, second, third = (requests.hold(name) for name in ("r1", "r2", "r3"))
        reservation = await budgets.reserve(first, requests.admitted(first))
        await budgets.reserve(second, requests.admitted(second))
        with pytest.raises(Unavailable):
            await budgets.reserve(third, requests.admitted(third))
        with pytest.raises(Unavailable):
            await budgets.report(third.shard, requests.admitted(third))

        await budgets.settle(reservation, requests.outcome("r1", 1))
        assert await RedisOutbox(client).backlog() == 3


async def test_what_a_dead_worker_left_is_settled_once_at_its_hold_and_the_late_truth_corrects_it(
    store: Store, requests: Requests
) -> None:
    async with store.client() as client:
        budgets, announcements, outbox = RedisBudgets(client), RedisAnnouncements(client), RedisOutbox(client)
        await announcements.heartbeat("alive")
        dead = requests.hold("r1", worker="dead", owner_hard_nano=10 * HOLD, budget_output_tokens=1000)
        alive = requests.hold("r2", worker="alive")
        reservation = await budgets.reserve(dead, requests.admitted(dead))
        await budgets.reserve(alive, requests.admitted(alive))

        assert await reap(client, requests.now + timedelta(seconds=4)) == 0
        later = requests.now + timedelta(seconds=6)
        assert sum(await asyncio.gather(*(reap(client, later) for _ in range(5)))) == 1
        assert await budgets.session_balance(APP, SESSION) == (HOLD, HOLD)
        reaped = (await records(client))[-1]
        assert isinstance(reaped, Outcome)
        assert (reaped.outcome, reaped.basis, reaped.cost_nano) == ("reaped", "estimated", HOLD)
        assert sum(line.cost_nano for line in reaped.lines) == HOLD

        settlement = await budgets.settle(reservation, requests.outcome("r1", 77))
        assert settlement.duplicate
        assert await budgets.session_balance(APP, SESSION) == (77, HOLD)
        corrected = (await records(client))[-1]
        assert isinstance(corrected, Outcome)
        assert (corrected.correction, corrected.cost_nano) == (True, 77)
        assert (await budgets.settle(reservation, requests.outcome("r1", 77))).duplicate
        await outbox.settle_owners(await outbox.read(100))
        assert await budgets.owner_balance(OWNER, MONTH) == (77, 0)


async def test_a_request_far_past_its_expiry_is_settled_though_its_worker_lives(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        await RedisAnnouncements(client).heartbeat("worker-1")
        hold = requests.hold("r1")
        await budgets.reserve(hold, requests.admitted(hold))

        assert await reap(client, requests.now + timedelta(seconds=125)) == 0
        assert await reap(client, requests.now + timedelta(seconds=131)) == 1
        assert await holds_left(client) == 0


async def test_a_reserve_nobody_waited_for_is_given_back(store: Store, requests: Requests) -> None:
    async with store.client() as client:
        budgets = RedisBudgets(client)
        hold = requests.hold("r1", owner_hard_nano=10 * HOLD)
        await budgets.session_balance(APP, SESSION)  # connected from here on
        task = asyncio.create_task(budgets.reserve(hold, requests.admitted(hold)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert budgets.owed == 1
        assert await budgets.retry() == 0

        assert await budgets.session_balance(APP, SESSION) == (0, 0)
        outbox = RedisOutbox(client)
        await outbox.settle_owners(await outbox.read(10))
        assert await budgets.owner_balance(OWNER, MONTH) == (0, 0)
        with pytest.raises(Unavailable):
            await budgets.reserve(hold, requests.admitted(hold))
