"""Limits as values: what a session, an owner and one call may use."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from routing_rules.calendars import Per


class SessionBudget(msgspec.Struct, frozen=True):
    """What a session may use in all. Money in nano-USD, durations in seconds; None: no limit of that kind.

    `reasoning_growth_tokens`: reasoning tokens between one thing that is new (a turn of the user, a result of a tool) and the next. From
    `warn_percent` of a limit on the app is warned. From which drift on (in [0, 1]) a call is noted, held, and refused: `drift_*`.
    """

    name: str
    cost_nano: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    requests: int | None = None
    tool_calls: int | None = None
    identical_calls: int | None = None
    idle_seconds: int | None = None
    total_seconds: int | None = None
    reasoning_growth_tokens: int | None = None
    warn_percent: int = 80
    drift_warn: float | None = 0.4
    drift_hold: float | None = None
    drift_stop: float | None = None


FAST_TIER = "fast"
"""Where tasks go on from the hard limit on of an owner's budget that degrades."""

REFUSE, DEGRADE = "refuse", "degrade"
ON_HARD = (REFUSE, DEGRADE)


class OwnerBudget(msgspec.Struct, frozen=True):
    """What an owner may spend in a month, or in another `per`iod (days are those of the rules' time zone), in nano-USD.

    At `soft_nano`, and at each of `soft_percents` of `hard_nano`, those in `notify` (e-mail addresses) are told, once in a period. Above
    `hard_nano` tasks are refused; where `on_hard` is `degrade`, they go to the fast tier, up to `stop_nano` (None: `hard_nano`).
    """

    owner: str
    soft_nano: int | None = None
    hard_nano: int | None = None
    per: Per = Per.MONTH
    soft_percents: tuple[int, ...] = ()
    on_hard: str = REFUSE
    stop_nano: int | None = None
    notify: tuple[str, ...] = ()

    @property
    def end_nano(self) -> int | None:
        """What is never exceeded, whatever the tier."""
        return self.hard_nano if self.stop_nano is None else self.stop_nano


class Raise(msgspec.Struct, frozen=True):
    """What an owner may spend more for a while, in every budget of a kind of period: an amount in nano-USD, or `percent` of its limit.

    In force from `begins` up to `ends` (UTC).
    """

    owner: str
    per: Per
    begins: datetime
    ends: datetime
    amount_nano: int | None = None
    percent: int | None = None

    def adds(self, budget: OwnerBudget, now: datetime) -> int:
        """What it adds to a budget's limits at a moment, in nano-USD."""
        if budget.per is not self.per or budget.hard_nano is None or not self.begins <= now < self.ends:
            return 0
        return self.amount_nano or budget.hard_nano * (self.percent or 0) // 100


NO_LIMIT = -1


class OwnerLimits(msgspec.Struct, frozen=True):
    """What an owner may spend at a moment, in nano-USD: in the `month` that runs (by its id; None: no limit), and in `others`, each an
    id and a limit (`NO_LIMIT`: what is spent there is only counted)."""

    month: str
    month_nano: int | None = None
    others: tuple[tuple[str, int], ...] = ()


def limit_of(budget: OwnerBudget, now: datetime, raised: Iterable[Raise] = (), *, fast: bool = False) -> int | None:
    """The hard limit of a budget with what it was raised by; on the `fast` tier, where it may degrade, the limit of that."""
    limit = budget.end_nano if fast and budget.on_hard == DEGRADE else budget.hard_nano
    if limit is not None:
        for each in raised:
            limit += each.adds(budget, now)
    return limit


class CallLimits(msgspec.Struct, frozen=True):
    """What one call may use. Time limits in seconds. `reasoning_effort` None: the deployment's own default.

    `drain_seconds` and `drain_output_tokens` are how far a stream is read on whose client has left, so that its usage is told.
    `hosted_calls` is how often the provider may call tools of its own in one answer: it is told so, and their fees are held.
    """

    max_output_tokens: int = 4096
    min_output_tokens: int = 16
    hosted_calls: int = 10
    request_seconds: float = 120.0
    connect_seconds: float = 5.0
    first_token_seconds: float = 60.0
    inter_token_seconds: float = 30.0
    drain_seconds: float = 60.0
    drain_output_tokens: int = 4096
    reasoning_effort: str | None = None
