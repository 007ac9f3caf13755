"""Budgets in Redis: holds that never exceed a limit however many run at once. Implements `router.ports.Budgets`.

Each step is one script in one shard, and appends its record to that shard's outbox, so that nothing is held that is not recorded.
An owner's periods lie on the same server, and are then part of the same step; in a cluster they do not, and the lease on all of them is
taken just before the session's hold and given back where that refuses. Redis down: Unavailable, and nothing is let through.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec

from router.clock import utc_now
from router.errors import Refused, RouterError, Unavailable
from router.exchange import Admitted, HoldRequest, Outcome, Record, Reservation, Settlement, shard_of
from router.money import LARGEST_NANO, usd
from router.storage import redis_keys as keys
from router.storage.redis_client import RedisClient, Reply, Word, script
from router.storage.redis_sessions import SESSION_SECONDS
from router.usage import Basis
from routing_rules.prices import INPUT_CLASSES, TOKEN_CLASSES

OUTBOX_CAP = 20_000  # entries per shard; a record is 1 to 3 KB
MARK_SECONDS = 300  # how long a closed request is remembered: longer than any repeat of its settlement
REAPED_MARK_SECONDS = 24 * 3600  # a worker that was taken for dead may come back with the truth
LEASE_SECONDS = 24 * 3600
OWNER_MONTH_SECONDS = 62 * 86400
OWNER_PERIOD_SECONDS = 800 * 86400  # of other periods: longer than the longest with nothing spent in it

RESERVE = script("reserve", "owner.lua", "masks.lua", "reserve.lua")
EXTEND = script("extend", "owner.lua", "extend.lua")
LEASE = script("lease", "owner.lua", "lease.lua")
SETTLE = script("settle", "settle.lua")
APPEND = script("append", "append.lua")

ENCODER = msgspec.json.Encoder(order="deterministic")


class RedisBudgets:
    """Session and owner budgets. `outbox_cap` bounds each shard's outbox: at the cap nothing new is admitted."""

    def __init__(self, client: RedisClient, outbox_cap: int = OUTBOX_CAP) -> None:
        self._client = client
        self._outbox_cap = outbox_cap
        self._unanswered: dict[str, tuple[HoldRequest, str]] = {}  # reserves that may or may not have happened
        self._unsettled: dict[str, tuple[Reservation, Outcome]] = {}  # settlements that may or may not have happened

    async def reserve(self, hold: HoldRequest, record: Record) -> Reservation:
        """Hold the worst case and append `record`; see `router.ports.Budgets`.

        Where the answer is lost, or nobody waits for it any more, the hold is given back by `retry`.
        """
        request = hold.request_id
        month = _periods(hold)
        output, least = _exact_output(hold)
        deployment = record.deployment if isinstance(record, Admitted) else ""
        names: list[Word] = [*_names(hold.shard, hold.app, hold.session_id, request)]
        joint = not self._client.cluster
        if joint:
            names.append(keys.rotation(hold.app, hold.now))
            names.extend(_owner_names(hold.owner, month))
        now, lease_ends = int(hold.now * 1000), int((hold.now + LEASE_SECONDS) * 1000)
        try:
            if not joint:
                output = await self._enter_apart(hold, month, output, least)
            if isinstance(record, Admitted) and output != record.output_tokens:
                amount = hold.fixed_nano + output * hold.output_nano
                record = msgspec.structs.replace(record, held_nano=amount, output_tokens=output)
            reply = await self._client.run(
                RESERVE,
                names,
                (
                    request,
                    now,
                    f"{hold.worker}|{int(hold.expires * 1000)}|{request}",
                    hold.labels.integrity.rank,
                    hold.labels.confidentiality.rank,
                    hold.fixed_nano,
                    hold.output_nano,
                    output,
                    least,
                    hold.input_tokens,
                    _limit(hold.budget_cost_nano),
                    _limit(hold.budget_requests),
                    _limit(hold.budget_input_tokens),
                    _limit(hold.budget_output_tokens),
                    _limit(hold.budget_idle_seconds),
                    _limit(hold.budget_total_seconds),
                    _limit(hold.owner_hard_nano),
                    _limit(hold.new_session_limit),
                    self._outbox_cap,
                    f"{hold.session_id}@{hold.app}",
                    hold.owner,
                    month,
                    deployment,
                    ENCODER.encode(record),
                    SESSION_SECONDS * 1000,
                    lease_ends,
                    hold.choices,
                    (hold.forwarded or hold.labels.confidentiality).rank,
                    "" if hold.asked is None else f"{hold.asked.complexity.value} {hold.asked.task.value}",
                    _limit(hold.budget_reasoning_tokens),
                    _limit(hold.budget_reasoning_growth),
                    hold.news,
                    *(limit for _, limit in hold.owner_others),
                ),
            )
        except (Unavailable, asyncio.CancelledError):
            self._unanswered[request] = (hold, deployment)
            raise
        if reply[0] != b"held":
            if not joint:
                await self._leave_apart(hold, month)
            raise _refusal(reply, hold.owner, hold.now, month)
        _, amount, tokens, left = reply
        return Reservation(
            request_id=request,
            session_id=hold.session_id,
            shard=hold.shard,
            owner=hold.owner,
            amount_nano=amount,
            output_tokens=tokens,
            session_left_nano=None if left < 0 else left,
            app=hold.app,
            month=month,
        )

    async def extend(self, reservation: Reservation, accrued_nano: int, amount_nano: int) -> Reservation:
        """Replace the hold by `accrued_nano + amount_nano` before another attempt; the old hold stays where this is refused.

        Raises `session_changed` where the reservation has been closed meanwhile (the worker was taken for dead).
        """
        r = reservation
        amount = accrued_nano + amount_nano
        seconds = time.time()
        if amount > LARGEST_NANO:
            raise _refusal([b"cost", LARGEST_NANO, 0, 0, amount], r.owner, seconds)
        now = int(seconds * 1000)
        owner = _owner_names(r.owner, r.month)
        names: list[Word] = [*_names(r.shard, r.app, r.session_id, r.request_id)[:2]]
        if not self._client.cluster:
            names.extend(owner)
        else:
            hard, others = await self._client.call("HMGET", names[1], "hard", "others")
            if hard is not None and (int(hard) >= 0 or others):
                limits = [int(hard), *(int(each) for each in (others or b"").split())]
                lease: list[Word] = [r.request_id, amount, 0, 0, 0, now, now + LEASE_SECONDS * 1000, *limits]
                reply = await self._client.run(LEASE, owner[: 3 * len(limits)], lease)
                if reply[0] != b"held":
                    raise _refusal(reply, r.owner, seconds, r.month)
        reply = await self._client.run(EXTEND, names, (r.request_id, amount, now, now + LEASE_SECONDS * 1000))
        if reply[0] != b"held":
            raise _refusal(reply, r.owner, seconds, r.month)
        left = reply[2]
        return msgspec.structs.replace(r, amount_nano=amount, session_left_nano=None if left < 0 else left)

    async def settle(self, reservation: Reservation, record: Record) -> Settlement:
        """Book the outcome and free the hold. Redis down: raises Unavailable, keeps the outcome and books it in `retry`."""
        if not isinstance(record, Outcome):
            raise TypeError("a settlement needs an outcome")
        try:
            state, left = await self._close("settle", reservation, record)
        except (Unavailable, asyncio.CancelledError):
            self._unsettled[reservation.request_id] = (reservation, record)
            raise
        self._unsettled.pop(reservation.request_id, None)
        return Settlement(
            cost_nano=record.cost_nano,
            basis=record.basis,
            session_left_nano=None if left < 0 else left,
            duplicate=state in (b"duplicate", b"corrected"),
        )

    async def report(self, shard: int, record: Record) -> None:
        """Append evidence that holds no money."""
        if not await self._client.run(APPEND, [keys.OUTBOXES[shard]], (ENCODER.encode(record), self._outbox_cap)):
            raise _outbox_full()

    async def session_balance(self, app: str, session_id: str) -> tuple[int, int]:
        """Spent and held of a session, in nano-USD."""
        return await self._balance(keys.session(shard_of(session_id), app, session_id))

    async def owner_balance(self, owner: str, period: str) -> tuple[int, int]:
        """Booked and leased of an owner in a period (`2026-08`), in nano-USD."""
        return await self._balance(keys.owner(owner, period)[0])

    async def owner_balances(self, wanted: Sequence[tuple[str, str]]) -> list[tuple[int, int] | None]:
        """Booked and leased of owners in periods, in nano-USD; None of a period that has yet to be added up."""
        if not wanted:
            return []
        names = [keys.owner(owner, period)[0] for owner, period in wanted]
        found = await self._client.many([("HMGET", name, "spent", "held", "counted") for name in names])
        return [
            None if counted is None and not keys.is_month(period) else (int(spent or 0), int(held or 0))
            for (_, period), (spent, held, counted) in zip(wanted, found, strict=True)
        ]

    async def counted(self, wanted: Sequence[tuple[str, str]]) -> list[bool]:
        """Which of these owners' periods hold what was spent before they were booked, months among them."""
        found = await self._client.many([("HEXISTS", keys.owner(*each)[0], "counted") for each in wanted]) if wanted else []
        return [bool(each) for each in found]

    async def set_owner_spent(self, owner: str, period: str, spent_nano: int) -> None:
        """State what an owner has spent in a period, as the ledger has it: where a limit is new, and for a Redis that lost its balances."""
        name = keys.owner(owner, period)[0]
        await self._client.call("HSET", name, "spent", spent_nano, "counted", 1)
        await self._client.call("EXPIRE", name, kept_seconds(period))

    async def correct_owner_spent(self, owner: str, period: str, booked_nano: int, spent_nano: int) -> None:
        """Bring what was booked in a period, as it was read before the ledger was, to what the ledger has: by the difference, so that
        bookings which came meanwhile count on top."""
        name = keys.owner(owner, period)[0]
        await self._client.call("HINCRBY", name, "spent", min(spent_nano, LARGEST_NANO) - booked_nano)
        await self._client.call("HSET", name, "counted", 1)
        await self._client.call("EXPIRE", name, kept_seconds(period))

    @property
    def owed(self) -> int:
        """How many steps `retry` still has to make up for."""
        return len(self._unanswered) + len(self._unsettled)

    async def retry(self) -> int:
        """Make up for steps whose answer was lost: book settlements, give back holds nobody uses. Returns how many are left (0).

        Raises Unavailable where Redis is still down.
        Call it every second or so, and before the worker ends. What a worker cannot make up for, the reaper will.
        """
        for request, (reservation, outcome) in list(self._unsettled.items()):
            await self._close("settle", reservation, outcome)
            self._unsettled.pop(request, None)
        for request, (hold, deployment) in list(self._unanswered.items()):
            month = _periods(hold)
            reservation = Reservation(request, hold.session_id, hold.shard, hold.owner, 0, 0, None, hold.app, month)
            await self._close("abandon", reservation, _never_used(request, deployment))
            if self._client.cluster:
                await self._leave_apart(hold, month)
            self._unanswered.pop(request, None)
        return self.owed

    async def _close(self, mode: str, reservation: Reservation, outcome: Outcome) -> tuple[bytes, int]:
        return await close(self._client, mode, reservation, outcome, _tokens(outcome), MARK_SECONDS)

    async def _balance(self, name: str) -> tuple[int, int]:
        spent, held = await self._client.call("HMGET", name, "spent", "held")
        return int(spent or 0), int(held or 0)

    async def _enter_apart(self, hold: HoldRequest, month: str, output: int, least: int) -> int:
        """Where the shard lies elsewhere: count the new session and take the owner's lease first. Returns the output tokens."""
        if hold.session_is_new and hold.new_session_limit is not None:
            counter = keys.rotation(hold.app, hold.now)
            count, _ = await self._client.many([("INCR", counter), ("EXPIRE", counter, 7200)])
            if count > hold.new_session_limit:
                await self._client.call("DECR", counter)
                raise _refusal([b"rotation", hold.new_session_limit], hold.owner, hold.now)
        if hold.owner_hard_nano is None and not hold.owner_others:
            return output
        now, ends = int(hold.now * 1000), int((hold.now + LEASE_SECONDS) * 1000)
        limits = (_limit(hold.owner_hard_nano), *(limit for _, limit in hold.owner_others))
        reply = await self._client.run(
            LEASE,
            _owner_names(hold.owner, month),
            (hold.request_id, hold.fixed_nano, hold.output_nano, output, least, now, ends, *limits),
        )
        if reply[0] != b"held":
            await self._leave_apart(hold, month)
            raise _refusal(reply, hold.owner, hold.now, month)
        tokens: int = reply[1]
        return tokens

    async def _leave_apart(self, hold: HoldRequest, month: str) -> None:
        """Give back what `_enter_apart` took."""
        if hold.session_is_new and hold.new_session_limit is not None:
            await self._client.call("DECR", keys.rotation(hold.app, hold.now))
        if hold.owner_hard_nano is not None or hold.owner_others:
            await self._client.run(LEASE, _owner_names(hold.owner, month), (hold.request_id, -1, 0, 0, 0, 0, 0))


async def close(
    client: RedisClient, mode: str, reservation: Reservation, outcome: Outcome, tokens: tuple[int, int, int], mark_seconds: int
) -> tuple[bytes, int]:
    """Close a request by `settle.lua` in one of its modes: its state and what the session has left (-1: no limit).

    `tokens` are input, output and reasoning tokens, output including reasoning.
    """
    r = reservation
    state, left = await client.run(
        SETTLE,
        _names(r.shard, r.app, r.session_id, r.request_id),
        (
            mode,
            r.request_id,
            min(outcome.cost_nano, LARGEST_NANO),
            *tokens,
            ENCODER.encode(outcome),
            r.owner,
            r.month,
            mark_seconds,
            SESSION_SECONDS * 1000,
        ),
    )
    return state, left


def _names(shard: int, app: str, session_id: str, request_id: str) -> tuple[str, str, str, str, str]:
    return (
        keys.session(shard, app, session_id),
        keys.reservation(shard, request_id),
        keys.closed(shard, request_id),
        keys.OPEN[shard],
        keys.OUTBOXES[shard],
    )


def kept_seconds(period: str) -> int:
    """How long after its last booking a period is kept."""
    return OWNER_MONTH_SECONDS if keys.is_month(period) else OWNER_PERIOD_SECONDS


def _periods(hold: HoldRequest) -> str:
    """The ids of the periods that a request is paid from, the month first."""
    month = hold.month or keys.month(hold.now)
    return " ".join((month, *(period for period, _ in hold.owner_others))) if hold.owner_others else month


def _owner_names(owner: str, periods: str) -> tuple[str, ...]:
    """The keys of an owner's periods, three for each."""
    if " " not in periods:
        return keys.owner(owner, periods)
    return tuple(name for period in periods.split() for name in keys.owner(owner, period))


def _limit(value: int | None) -> int:
    return -1 if value is None else value


def _exact_output(hold: HoldRequest) -> tuple[int, int]:
    """Output tokens that may be asked for, and the fewest: small enough that no product leaves the exact numbers of Lua."""
    if min(hold.fixed_nano, hold.output_nano, hold.output_tokens, hold.min_output_tokens, hold.input_tokens) < 0:
        raise ValueError("a hold cannot be negative")
    output = hold.output_tokens
    least = min(hold.min_output_tokens, output)
    if hold.fixed_nano + least * hold.output_nano > LARGEST_NANO:
        needed = hold.fixed_nano + least * hold.output_nano
        raise _refusal([b"cost", min(hold.budget_cost_nano or LARGEST_NANO, LARGEST_NANO), 0, 0, needed], hold.owner, hold.now)
    if hold.fixed_nano + output * hold.output_nano > LARGEST_NANO:
        output = (LARGEST_NANO - hold.fixed_nano) // hold.output_nano
    return output, least


def _tokens(outcome: Outcome) -> tuple[int, int, int]:
    """Input, output and reasoning tokens of all attempts; output includes reasoning."""
    taken = spoken = thought = 0
    for line in outcome.lines:
        match line.token_class:
            case "reasoning":
                thought += line.quantity
            case name if name in INPUT_CLASSES:
                taken += line.quantity
            case name if name in TOKEN_CLASSES:
                spoken += line.quantity
    return taken, spoken + thought, thought


def _never_used(request_id: str, deployment: str) -> Outcome:
    return Outcome(
        request_id=request_id,
        at=utc_now(),
        outcome="failed",
        code="store_unavailable",
        deployment=deployment,
        lines=(),
        cost_nano=0,
        basis=Basis.REPORTED,  # nothing was sent, so nothing is guessed
        over_hold=False,
        tools_released=(),
        tools_refused=(),
        timings_us={},
    )


def _outbox_full() -> Unavailable:
    return Unavailable("store_unavailable", "records cannot be written at present: try again later", detail="the outbox is full")


def _refusal(reply: Sequence[Reply], owner: str, now: float, periods: str = "") -> RouterError:
    """Why a script held nothing, as a sentence that says what would make it pass. `periods` are those that the owner pays from."""
    match reply:
        case [b"full"]:
            return _outbox_full()
        case [b"closed"]:
            return Unavailable("store_unavailable", "this request was already closed: send it again")
        case [b"gone"]:
            return Refused("session_changed", "this request was taken for lost and closed meanwhile: send it again")
        case [b"changed"]:
            return Refused("session_changed", "the session's labels rose while this request was being decided: send it again")
        case [b"ended", bytes(reason)]:
            return Refused("session_ended", f"the session was ended ({reason.decode()}): start a new session")
        case [b"idle", limit, seconds]:
            why = f"the session was idle for {seconds} s and may be for {limit} s: start a new session"
            return Refused("session_ended", why)
        case [b"total", limit, seconds]:
            return Refused("session_ended", f"the session has lasted {seconds} s and may last {limit} s: start a new session")
        case [b"rotation", limit]:
            wait = 3600 - int(now) % 3600
            why = f"this app may start {limit} new sessions an hour: continue a session, or wait {wait} s"
            return Refused("rate_limit_exceeded", why, retry_after=float(wait))
        case [b"requests", limit, *_]:
            return Refused("session_budget_exceeded", f"the session's budget of {limit} requests is used up: start a new session")
        case [b"reasoning_tokens", limit, used]:
            why = f"the session's budget of {limit} reasoning tokens is used up ({used} are used): start a new session"
            return Refused("session_budget_exceeded", why)
        case [b"reasoning_growth", limit, used]:
            why = (
                f"the session has thought for {used} tokens without anything new from the user or a tool, and may for {limit}: "
                "say something new, or start a new session"
            )
            return Refused("loop_detected", why)
        case [b"input_tokens" | b"output_tokens" as kind, limit, used, held, needed]:
            why = (
                f"the session's budget of {limit} {kind.decode().replace('_', ' ')} does not suffice: {used} are used, {held} are held for "
                f"requests under way, and this request needs {needed}: send less, or start a new session"
            )
            return Refused("session_budget_exceeded", why)
        case [b"unknown", int(number)]:
            why = f"what `{owner}` has spent in {periods.split()[number]} is being added up: try again"
            return Unavailable("store_unavailable", why, retry_after=1.0)
        case [b"owner", limit, spent, held, needed, int(number)]:
            period = periods.split()[number]
            whose, then = ("monthly budget", "month") if number == 0 else (f"budget of {period}", "period")
            why = (
                f"the {whose} of ${usd(limit)} of `{owner}` does not suffice: ${usd(spent)} is spent, ${usd(held)} is held for "
                f"requests under way, and this request needs at least ${usd(needed)}: ask for less output, raise the budget, or wait "
                f"for the next {then}"
            )
            return Refused("owner_budget_exceeded", why, details={"period": period})
        case [b"cost", limit, spent, held, needed]:
            why = (
                f"the session's budget of ${usd(limit)} does not suffice: ${usd(spent)} is spent, ${usd(held)} is held for requests under "
                f"way, and this request needs at least ${usd(needed)}: ask for less output, wait for them, or start a new session"
            )
            return Refused("session_budget_exceeded", why)
    raise TypeError(f"reserve.lua answered {reply[0]!r}")
