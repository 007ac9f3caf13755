"""What was booked without a price, or other than the invoice says, is put right by further lines, and all balances with it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
from booked_requests import BookedRequests, in_month
from sql_records import line, outcome
from sqlalchemy import Engine

from router.errors import Refused, Unavailable
from router.exchange import Outcome
from router.governance import corrections, months
from router.governance.corrections import BOOKED, CHANGED, REPEATED, Booked, Pricing, Stated
from router.governance.rules_values import Actor
from router.principals import Person, Role
from router.storage.audit_chain import Checkpoints, public_key, verify
from router.storage.redis_client import RedisClient
from router.storage.redis_corrections import RedisCorrections
from router.storage.sql.administration import events
from router.storage.sql.ledger import EntryLine, entry_of, spend
from router.storage.sql.months import SqlMonths
from router.storage.sql.rollups import list_cost
from router.usage import Basis, Line, Usage
from router.usage import lines as used_lines
from routing_rules.catalogue import Deployment, Price
from routing_rules.vocabulary import Sensitivity

AUGUST = datetime(2026, 8, 14, 12, 30, tzinfo=UTC)
LATER = AUGUST + timedelta(days=20)
ROOT = Actor("root")
PRICE = Price(2_000_000_000, None, None, 8_000_000_000, book="book-7", at_list=Price(3_000_000_000, None, None, 12_000_000_000))


class Redis(Protocol):
    client: Callable[..., AbstractAsyncContextManager[RedisClient]]


def unpriced(token_class: str, quantity: int, deployment: str = "new-1") -> Line:
    return line(0, token_class=token_class, quantity=quantity, unit_price=None, deployment=deployment)


def price_of(used: Line, _moment: datetime) -> Price | None:
    return PRICE if used.deployment == "new-1" else None


async def priced(world: BookedRequests, at: datetime = LATER, by: Callable[[Line, datetime], Price | None] = price_of) -> Pricing:
    return await corrections.price(
        world.ledger, world.books, actor=ROOT, at=at, governance="single", price_of=by, periods_of=in_month
    )


async def one(world: BookedRequests, request: str, lines: tuple[Line, ...], at: datetime = AUGUST, session: str = "s-1") -> None:
    reservation = await world.admit(request, at, session=session)
    await world.settle(reservation, outcome(request, lines, at=at))


def lines_of(store: Engine, request: str) -> list[EntryLine]:
    found = entry_of(store, request)
    assert found is not None
    return found[1]


async def test_a_price_that_came_later_changes_session_owner_and_ledger_by_the_same(
    single: Redis, store: Engine, tmp_path: Path
) -> None:
    async with single.client() as client:
        world = BookedRequests(client, store)
        await one(world, "r1", (unpriced("input", 1_001), unpriced("output", 10), line(700)))
        await world.drain()
        before = spend(store, ()).total
        assert (before.cost_nano, before.unpriced_tokens) == (700, 1_011)
        assert await priced(world) == Pricing(requests=1, lines=2, added_nano=2_002_000 + 80_000)
        await world.drain()
        after = spend(store, ()).total
        assert (after.cost_nano, after.unpriced_tokens, after.requests) == (700 + 2_082_000, 0, 1)
        assert await world.spent_by("ana@example.com", "2026-08") == after.cost_nano
        assert await world.spent_in("s-1") == after.cost_nano
    lines = lines_of(store, "r1")
    assert [(each.corrects, each.correction) for each in lines] == [(None, False)] * 3 + [(0, True), (1, True), (2, True)] * 2
    assert {(each.at, each.incurred_at) for each in lines[3:]} == {(LATER, AUGUST)}
    assert [(each.unit_price, each.list_price, each.price_book) for each in lines[6:8]] == [
        (2_000_000_000, 3_000_000_000, "book-7"),
        (8_000_000_000, 12_000_000_000, "book-7"),
    ]
    acts = [event.act for event in events(store, subject="ledger")]
    assert acts == ["ledger.priced", "ledger.pricing_began"]
    checkpoints = Checkpoints(tmp_path / "audit")
    checkpoints.write(store, LATER)
    assert verify(store, checkpoints.path, public_key(tmp_path / "audit")).faults == ()


async def test_pricing_again_changes_nothing_whether_or_not_the_first_has_reached_the_ledger(
    single: Redis, store: Engine
) -> None:
    async with single.client() as client:
        world = BookedRequests(client, store)
        await one(world, "r1", (unpriced("input", 500),))
        await world.drain()
        assert (await priced(world)).requests == 1
        again = await priced(world, LATER + timedelta(hours=1))  # the first is still in the outbox
        assert (again.requests, again.skipped) == (0, 1)
        await world.drain()
        assert await priced(world) == Pricing()
        assert await world.spent_by("ana@example.com", "2026-08") == spend(store, ()).total.cost_nano == 1_000_000


async def test_pricing_that_was_cut_short_goes_on_where_it_stopped(single: Redis, store: Engine) -> None:
    class DiesAfterTwo(RedisCorrections):
        calls = 0

        async def correct(self, booked: Booked, outcome: Outcome, periods: str) -> str:
            if self.calls == 2:
                raise Unavailable("store_unavailable", "gone")
            self.calls += 1
            return await super().correct(booked, outcome, periods)

    async with single.client() as client:
        world = BookedRequests(client, store)
        for number in range(5):
            await one(world, f"r{number}", (unpriced("input", 500),), session=f"s-{number}")
        await world.drain()
        world.books = DiesAfterTwo(client)
        with pytest.raises(Unavailable):
            await priced(world)
        await world.drain()
        world.books = RedisCorrections(client)
        assert (await priced(world)).requests == 3
        await world.drain()
        assert await world.spent_by("ana@example.com", "2026-08") == spend(store, ()).total.cost_nano == 5_000_000


async def test_a_model_that_still_has_no_price_stays_a_line_of_its_own(single: Redis, store: Engine) -> None:
    async with single.client() as client:
        world = BookedRequests(client, store)
        await one(world, "r1", (unpriced("input", 500), unpriced("input", 40, "odd-1")))
        await world.drain()
        uses = {(use.deployment, use.token_class, use.quantity, use.requests) for use in world.ledger.unpriced_uses()}
        assert uses == {("new-1", "input", 500, 1), ("odd-1", "input", 40, 1)}
        assert (await priced(world)).unpriced == {"model of odd-1": 40}
        await world.drain()
        assert [(use.deployment, use.quantity) for use in world.ledger.unpriced_uses()] == [("odd-1", 40)]
        assert spend(store, ()).total.unpriced_tokens == 40


TIERED = Price(2_000_000, None, None, 8_000_000, service_tiers={"flex": Price(1_000_000, None, None, 4_000_000)})


def deployed(price: Price, *allowed: str) -> Deployment:
    return Deployment("new-1", "openai", "m", "fast", Sensitivity.PUBLIC, price=price, allowed_fields=frozenset(allowed))


async def served(world: BookedRequests, request: str, service_tier: str) -> None:
    """A request settled by a deployment that had no price then."""
    used = used_lines(1, "new-1", "openai", "m", Usage(input=1_000_000, service_tier=service_tier), Price(), "completed")
    await one(world, request, used, session=request)


@pytest.mark.parametrize(
    ("service_tier", "cost"), [("", 2_000_000), ("flex", 1_000_000), ("batch", 2_000_000), ("priority", None)]
)
async def test_a_use_is_priced_by_the_tier_under_which_it_was_served(
    single: Redis, store: Engine, service_tier: str, cost: int | None
) -> None:
    async with single.client() as client:
        world = BookedRequests(client, store)
        await served(world, "r1", service_tier)
        await world.drain()
        came = await priced(world, by=corrections.prices_of([deployed(TIERED, "service_tier")]))
        if cost is None:
            assert came == Pricing(unpriced={"m": 1_000_000})
        else:
            assert came == Pricing(requests=1, lines=1, added_nano=cost)


async def test_a_correction_of_the_quantity_keeps_the_tier_under_which_it_was_served(single: Redis, store: Engine) -> None:
    async with single.client() as client:
        world = BookedRequests(client, store)
        await served(world, "r1", "flex")
        await world.drain()
        booked = world.ledger.booked("r1")
        assert booked is not None
        assert [each.service_tier for each in corrections.restated(booked, LATER, [Stated("input", 400)]).lines] == ["flex"]


@pytest.mark.parametrize(
    ("deployment", "came"),
    [
        (deployed(TIERED), Pricing(untold={"m": 1_000_000})),
        (deployed(PRICE, "service_tier"), Pricing(untold={"m": 1_000_000})),
        (deployed(PRICE), Pricing(requests=1, lines=1, added_nano=2_000_000_000)),
    ],
)
async def test_a_use_whose_tier_nobody_noted_is_priced_only_where_no_tier_could_change_its_price(
    single: Redis, store: Engine, deployment: Deployment, came: Pricing
) -> None:
    async with single.client() as client:
        world = BookedRequests(client, store)
        used = msgspec.structs.replace(unpriced("input", 1_000_000), provider="openai", model="m")
        await one(world, "r1", (used,))
        await world.drain()
        assert await priced(world, by=corrections.prices_of([deployment])) == came


async def test_an_invoice_that_says_less_lowers_all_balances_and_keeps_when_the_use_was(single: Redis, store: Engine) -> None:
    async with single.client() as client:
        world = BookedRequests(client, store)
        await one(world, "r1", (line(150, quantity=1_000, unit_price=150_000),))
        await world.drain()
        stated = [Stated("input", 400), Stated("web_search", 2, unit_price=10_000_000_000_000, unit="calls")]
        arguments = {"reason": "invoice 7", "actor": ROOT, "at": LATER, "governance": "single", "periods_of": in_month}
        added = await corrections.correct(world.ledger, world.books, "r1", stated, **arguments)  # type: ignore[arg-type]
        await world.drain()
        total = spend(store, ()).total
        assert added == total.cost_nano - 150 == 60 + 20_000_000 - 150
        assert await world.spent_by("ana@example.com", "2026-08") == await world.spent_in("s-1") == total.cost_nano
        lines = lines_of(store, "r1")
        assert [(each.quantity, each.cost_nano, each.corrects) for each in lines] == [
            (1_000, 150, None), (-1_000, -150, 0), (400, 60, 0), (2, 20_000_000, 0),
        ]  # fmt: skip
        assert {each.incurred_at for each in lines} == {AUGUST}
        assert events(store, subject="request:r1")[0].state == {"reason": "invoice 7", "added_nano": added}
        with pytest.raises(Refused, match="these are the lines"):
            await corrections.correct(world.ledger, world.books, "r1", stated, **arguments)  # type: ignore[arg-type]


async def test_a_late_truth_on_its_way_to_the_ledger_is_not_overwritten(single: Redis, store: Engine) -> None:
    async with single.client() as client:
        world = BookedRequests(client, store)
        await one(world, "r1", (unpriced("input", 500),))
        await world.drain()
        booked = world.ledger.booked("r1")
        assert booked is not None
        first = corrections.restated(booked, LATER, [Stated("input", 500, unit_price=4_000_000)])
        other = corrections.restated(booked, LATER, [Stated("input", 500, unit_price=6_000_000)])
        assert await world.books.correct(booked, first, "2026-08") == BOOKED
        assert await world.books.correct(booked, first, "2026-08") == REPEATED
        assert await world.books.correct(booked, other, "2026-08") == CHANGED
        await world.drain()
        again = world.ledger.booked("r1")
        assert again is not None
        assert await world.books.correct(again, other, "2026-08") == BOOKED
        await world.drain()
        assert await world.spent_by("ana@example.com", "2026-08") == spend(store, ()).total.cost_nano == 3_000


async def test_another_correction_of_the_same_total_is_told_as_another_one(single: Redis, store: Engine) -> None:
    async with single.client() as client:
        world = BookedRequests(client, store)
        await one(world, "r1", (unpriced("input", 500),))
        await world.drain()
        booked = world.ledger.booked("r1")
        assert booked is not None
        first = corrections.restated(booked, LATER, [Stated("input", 500, unit_price=4_000_000)])
        again = corrections.restated(booked, LATER + timedelta(hours=1), [Stated("input", 500, unit_price=4_000_000)])
        other = corrections.restated(booked, LATER, [Stated("input", 250, unit_price=8_000_000)])
        assert first.cost_nano == other.cost_nano
        assert await world.books.correct(booked, first, "2026-08") == BOOKED
        assert await world.books.correct(booked, again, "2026-08") == REPEATED
        assert await world.books.correct(booked, other, "2026-08") == CHANGED


async def test_a_correction_that_was_cut_short_has_its_beginning_in_the_administrative_chain(
    single: Redis, store: Engine
) -> None:
    class Dies(RedisCorrections):
        async def correct(self, booked: Booked, outcome: Outcome, periods: str) -> str:
            await super().correct(booked, outcome, periods)
            raise Unavailable("store_unavailable", "gone")

    async with single.client() as client:
        world = BookedRequests(client, store)
        await one(world, "r1", (line(150, quantity=1_000, unit_price=150_000),))
        await world.drain()
        arguments = {"reason": "invoice 7", "actor": ROOT, "at": LATER, "governance": "single", "periods_of": in_month}
        stated = [Stated("input", 400)]
        with pytest.raises(Unavailable):
            await corrections.correct(world.ledger, Dies(client), "r1", stated, **arguments)  # type: ignore[arg-type]
        noted = [(event.act, event.state) for event in events(store, subject="request:r1")]
        assert noted == [("ledger.correction_began", {"reason": "invoice 7", "added_nano": -90})]
        assert await corrections.correct(world.ledger, world.books, "r1", stated, **arguments) == -90  # type: ignore[arg-type]
        assert events(store, subject="request:r1")[0].act == "ledger.corrected"


async def test_a_request_that_is_not_settled_cannot_be_corrected(single: Redis, store: Engine) -> None:
    async with single.client() as client:
        world = BookedRequests(client, store)
        await world.admit("r1", AUGUST)
        await world.drain()
        assert world.ledger.booked("r1") is None
        assert world.ledger.booked("nobody") is None


async def test_only_finance_corrects_the_ledger_where_four_eyes_govern(single: Redis, store: Engine) -> None:
    eve = Actor("eve", Person("person_eve", "eve@example.org", (Role.ADMIN,), "rp-", "x", AUGUST))
    for actor, governance in ((ROOT, "four_eyes"), (eve, "four_eyes"), (eve, "single")):
        with pytest.raises(Refused, match="role `finance`"):
            corrections.may_correct(actor, governance)
    corrections.may_correct(
        Actor("fay", Person("person_fay", "fay@example.org", (Role.FINANCE,), "rp-", "x", AUGUST)), "four_eyes"
    )
    corrections.may_correct(ROOT, "single")


def test_what_no_price_is_known_of_keeps_its_outcome() -> None:
    booked = Booked(
        "r1", 1, "desk", "ana", "s-1", AUGUST, AUGUST, 1, outcome("r1", (unpriced("input", 5, "odd-1"),), basis=Basis.ESTIMATED)
    )
    assert corrections.repriced(booked, LATER, price_of) is None


@pytest.mark.parametrize(
    ("quantity", "cost", "unit_price", "list_price", "at_list"),
    [
        (3, 1, 1, 1, 1),
        (3, 1, 1, 2, 1),  # less than a nano-dollar is rounded up once
        (1_000_001, 2, 1, 1_000_000, 1_000_001),
        (-1_000_001, -2, 1, 1_000_000, -1_000_001),  # what is taken back is what was booked
        (0, 9_000, None, None, 9_000),  # a hold that was charged
        (10**7, 1, 1, 10**15, 10**16),
    ],
)
def test_list_cost_rounds_as_bills_do(
    quantity: int, cost: int, unit_price: int | None, list_price: int | None, at_list: int
) -> None:
    assert list_cost(quantity, cost, unit_price, list_price) == at_list


async def test_a_price_that_came_after_the_month_was_closed_is_booked_in_the_next_and_paid_by_the_month_of_the_use(
    single: Redis, store: Engine, tmp_path: Path
) -> None:
    async with single.client() as client:
        world = BookedRequests(client, store)
        await one(world, "r1", (unpriced("input", 500), line(700)))
        await world.drain()
        august = months.close(
            SqlMonths(store), "2026-08", actor=months.Actor("root"), at=LATER, governance="single", undrained=()
        )
        await priced(
            world, AUGUST + timedelta(days=1)
        )  # a clock that is slow: the correction itself is dated into the closed month
        await world.drain()
        by_month = {row.group[0]: row.figures.cost_nano for row in spend(store, ("month",)).rows}
        assert (august.total_nano, by_month) == (700, {"2026-08": 700, "2026-09": 1_000_000})
        assert {each.at for each in lines_of(store, "r1")[2:]} == {august.ends}
        assert {each.incurred_at for each in lines_of(store, "r1")} == {AUGUST}
        assert await world.spent_by("ana@example.com", "2026-08") == 1_000_700
    checkpoints = Checkpoints(tmp_path / "audit")
    checkpoints.write(store, LATER)
    assert verify(store, checkpoints.path, public_key(tmp_path / "audit")).faults == ()
