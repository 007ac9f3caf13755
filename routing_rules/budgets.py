"""Limits as values: what a session, an owner and one call may use."""

from __future__ import annotations

import msgspec


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


class OwnerBudget(msgspec.Struct, frozen=True):
    """What an owner may spend in a calendar month (UTC), in nano-USD. Above `soft_nano` it is reported, above `hard_nano` refused."""

    owner: str
    soft_nano: int | None = None
    hard_nano: int | None = None


class CallLimits(msgspec.Struct, frozen=True):
    """What one call may use. Time limits in seconds. `reasoning_effort` None: the deployment's own default."""

    max_output_tokens: int = 4096
    min_output_tokens: int = 16
    request_seconds: float = 120.0
    connect_seconds: float = 5.0
    first_token_seconds: float = 60.0
    inter_token_seconds: float = 30.0
    reasoning_effort: str | None = None
