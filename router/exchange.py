"""What travels along the line: the request as received, the record it grows, and what is written down of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zlib import crc32

import msgspec

from router.usage import Basis, Line
from routing_rules.decisions import Decision, ToolGrant
from routing_rules.facts import Facts, Labels
from routing_rules.loops import CallSeen
from routing_rules.task import Endpoint, Task
from routing_rules.vocabulary import Assessment, Capability, Complexity, Sensitivity, TaskKind

JsonObject = dict[str, Any]

SHARDS = 64
"""Sessions, their open reservations and their outbox are spread over so many hash tags."""


def shard_of(session_id: str) -> int:
    """The shard of a session (or of a request that has none)."""
    return crc32(session_id.encode()) % SHARDS


@dataclass(frozen=True, slots=True)
class Request:
    """A request as received: known fields only, already checked for shape. `headers` has lower-case names, router's own only.

    `body` is never changed after this; `body_digest` is a keyed hash of the bytes, for retries and approvals.
    """

    id: str
    endpoint: Endpoint
    body: JsonObject
    headers: Mapping[str, str]
    authorization: str | None
    received: datetime
    body_digest: str
    body_bytes: int


class Asked(msgspec.Struct, frozen=True):
    """What the last ask of a session that was let through was taken for."""

    complexity: Complexity
    task: TaskKind


class IssuedCall(msgspec.Struct, frozen=True, array_like=True):
    """A tool call that a session let through: a digest of its id, the tool's id in the catalogue, what tells a repetition of it, and
    whether its tool reads the outside world and nothing of ours, so that what comes back is nobody's word but theirs. `asked` is the
    digest of the body that it answered, received at `at` (milliseconds since the epoch); `replaced`: a retry of that body brought
    another call in its place."""

    call: str
    tool: str
    seen: CallSeen
    external: bool = False
    asked: str = ""
    at: int = 0
    replaced: bool = False


class CallState(msgspec.Struct, frozen=True):
    """What a session holds for the judgement of its next tool call: its labels, what its calls could do, the ids of their tools, how many
    there were, and the latest of them by their number in the session, the oldest first."""

    labels: Labels = Labels()
    used: frozenset[Capability] = frozenset()
    used_tools: frozenset[str] = frozenset()
    count: int = 0
    calls: dict[int, IssuedCall] = {}
    drift: float = 0.0


class Release(msgspec.Struct, frozen=True):
    """What the release of some calls changes in a session, in one atomic step, and only if it still holds `before`: labels, what was
    used, the calls themselves, and what has come back of earlier ones. `most_calls`: how many the session may make in all."""

    app: str
    session_id: str
    before: CallState
    labels: Labels
    used: frozenset[Capability]
    used_tools: frozenset[str]
    issued: tuple[IssuedCall, ...]
    answered: tuple[tuple[int, IssuedCall], ...] = ()
    most_calls: int | None = None
    drift: float = 0.0


class SessionState(msgspec.Struct, frozen=True):
    """What a session holds at the moment it was read. Money in nano-USD. `new` where nothing was stored yet.

    `forwarded` is the highest sensitivity of what left us in it: below `labels.confidentiality` where the rest was masked. `calls` is
    None where it was not asked for. `waiting`: the approval that was asked for when the same body came before.
    """

    id: str
    shard: int
    new: bool
    labels: Labels
    label_version: int
    spent_nano: int = 0
    held_nano: int = 0
    requests: int = 0
    created: float = 0.0  # epoch seconds, 0 where new
    last_seen: float = 0.0
    ended: str | None = None
    unavailable: frozenset[str] = frozenset()  # deployments in cool-down
    forwarded: Sensitivity = Sensitivity.PUBLIC
    asked: Asked | None = None
    calls: CallState | None = None
    waiting: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


class HoldRequest(msgspec.Struct, frozen=True):
    """What `reserve` must hold, all in one atomic step. Money in nano-USD, tokens and counts as integers.

    The hold is `fixed_nano + output_tokens * output_nano`; where the rest of the budget is smaller, `output_tokens` is
    lowered, but not below `min_output_tokens` (then it is refused). `output_nano` is for all `choices` together, `output_tokens`
    for each of them. `labels` is what the session will carry, `forwarded` the sensitivity of what will have left us in it (None: the
    same as of all that was sent). `asked` is remembered by the session (None: it keeps what it had). `news` tells the latest that came
    from outside, so that reasoning without anything new can be bounded. `owner_hard_nano` is the owner's limit in the `month`,
    `owner_others` are the ids and limits (-1: none) of other periods that the owner pays from at once.
    """

    request_id: str
    session_id: str
    shard: int
    app: str
    owner: str
    worker: str
    now: float
    expires: float
    label_version: int
    labels: Labels
    fixed_nano: int
    output_nano: int
    output_tokens: int
    min_output_tokens: int
    input_tokens: int
    budget_cost_nano: int | None
    budget_requests: int | None
    budget_input_tokens: int | None
    budget_output_tokens: int | None
    budget_idle_seconds: int | None
    budget_total_seconds: int | None
    owner_hard_nano: int | None
    new_session_limit: int | None  # session rotations per app and hour; counted only for a new session
    session_is_new: bool
    choices: int = 1
    forwarded: Sensitivity | None = None
    asked: Asked | None = None
    budget_reasoning_tokens: int | None = None
    budget_reasoning_growth: int | None = None
    news: str = ""
    month: str = ""  # the month that the owner pays from, by its id; empty: that of `now` in UTC
    owner_others: tuple[tuple[str, int], ...] = ()


class Reservation(msgspec.Struct, frozen=True):
    """Money held for one request. `output_tokens` is what the answer may use at most, `month` names the periods from whose budgets
    the owner pays: the month first, then others, with spaces between them."""

    request_id: str
    session_id: str
    shard: int
    owner: str
    amount_nano: int
    output_tokens: int
    session_left_nano: int | None  # of the cost budget, after this hold; None: no limit
    app: str = ""
    month: str = ""  # as `2026-08`, or `2026-08 2026-Q3`


class Settlement(msgspec.Struct, frozen=True):
    """What a request cost in the end. `session_left_nano` is what the session may still spend."""

    cost_nano: int
    basis: Basis
    session_left_nano: int | None
    duplicate: bool = False  # the reaper or an earlier call had closed the entry


class HeldCall(msgspec.Struct, frozen=True):
    """One tool call that waits for a person. `tool` is the catalogue's id, `name` what the model called; `arguments_digest` is a keyed
    hash of the arguments as they were written, `meaning_digest` one of what they say, however it is written. `arguments` is their JSON
    with what was found in it masked: content all the same, so it is kept as the answer is. `objections` are pairs of a reason code and what would make the call pass, `drift` lies in [0, 1].
    """

    tool: str
    name: str
    owner: str
    capabilities: frozenset[Capability]
    arguments_digest: str
    arguments: str
    objections: tuple[tuple[str, str], ...]
    drift: float = 0.0
    meaning_digest: str = ""


class Held(msgspec.Struct, frozen=True):
    """What waits for a person, with everything that is needed to judge it: an answer with the calls in it that are held, or, without
    calls, the task itself, whose `answer` is empty.

    `answer` is the provider's body (or stream of events) in full; it and the calls' `arguments` are content, and are only kept
    encrypted, until `expires`. `approvers` are the e-mail addresses of those who may decide, any of them. `spent_nano`, `requests`
    and `tool_calls` are what the session has used so far. `end_user` is whom the app names as its own user, in its own words.
    """

    request_id: str
    app: str
    owner: str
    team: str
    key_id: str
    purpose: str
    session_id: str
    endpoint: Endpoint
    body_digest: str
    revision: str
    rule: str
    message: str
    at: datetime
    expires: datetime
    calls: tuple[HeldCall, ...] = ()
    approvers: tuple[str, ...] = ()
    labels: Labels = Labels()
    used: frozenset[Capability] = frozenset()
    spent_nano: int = 0
    requests: int = 0
    tool_calls: int = 0
    drift: float = 0.0
    stream: bool = False
    answer: bytes = b""
    end_user: str | None = None


class ApprovalState(msgspec.Struct, frozen=True):
    """How far an approval is. `status`: pending, approved, denied, expired or used. A denied one holds for the same calls until it expires.
    `revision` it was asked under, of calls of the catalogue's `tools`, at which `endpoint` (None: not known) and whether as a `stream`."""

    id: str
    status: str
    app: str
    session_id: str
    body_digest: str
    expires: datetime
    is_task: bool = False
    decided_by: str | None = None
    revision: str = ""
    tools: frozenset[str] = frozenset()
    endpoint: Endpoint | None = None
    stream: bool = False


class ApprovalHistory(msgspec.Struct, frozen=True):
    """An approval as it is remembered for good: no arguments and no answer. Times in UTC.

    `status` as in `ApprovalState`; one that was approved and not used in time is expired, and has been decided. `ended` is when it was
    used or found expired.
    """

    id: str
    kind: str  # call | task
    app: str
    owner: str
    session: str
    request_id: str
    purpose: str
    tools: tuple[str, ...]
    reasons: tuple[str, ...]
    rule: str
    revision: str
    sensitivity: str
    asked: datetime
    expires: datetime
    status: str = "pending"
    decided: datetime | None = None
    decided_by: str | None = None
    via: str | None = None
    note: str | None = None
    ended: datetime | None = None


class Taken(msgspec.Struct, frozen=True):
    """What an approval gives, once: the calls it was given for as `(tool, arguments_digest)`, and the answer that was kept."""

    session_id: str
    revision: str
    calls: tuple[tuple[str, str], ...]
    answer: bytes


class Masking(msgspec.Struct, frozen=True):
    """Evidence of what came before masking: the decision that ordered it, on which facts, and what was masked: `category/kind` → how
    many values."""

    facts: Facts
    decision: Decision
    masked: dict[str, int]


class Admitted(msgspec.Struct, frozen=True, tag="admitted"):
    """Evidence of a request that was let through, written in the same step as its hold (the intent).

    With `masking`, `facts` and `decision` are those of the masked content, and `findings` were found before.
    """

    request_id: str
    at: datetime
    session: str
    facts: Facts
    decision: Decision
    grant: ToolGrant
    findings: dict[str, int]  # `category/kind` → how many; never text
    classifier_versions: dict[str, str]
    held_nano: int
    output_tokens: int
    deployment: str
    governance: str  # single | four_eyes
    body_digest: str
    timings_us: dict[str, int]
    masking: Masking | None = None
    approval: str | None = None
    business_impact: str = ""  # of the purpose, as the rules in force have it
    latency_class: str = ""


class Turned(msgspec.Struct, frozen=True, tag="refused"):
    """Evidence of a request that was refused before anything was forwarded."""

    request_id: str
    at: datetime
    session: str | None
    facts: Facts | None  # None: refused before a decision could be made
    decision: Decision | None
    app: str
    owner: str
    code: str
    rule: str | None
    message: str
    findings: dict[str, int]
    classifier_versions: dict[str, str]
    governance: str
    body_digest: str
    timings_us: dict[str, int]
    masking: Masking | None = None


class JudgedCall(msgspec.Struct, frozen=True):
    """Evidence of what became of one tool call, without its arguments. `outcome`: released, held or refused; `codes` are why it was not
    released at once, `sources` what vouched for its destinations, by argument. `drift` lies in [0, 1], its parts are in `strayed`:
    act, thing, destination, values. `adds` is what its release added to what the session has used. `by` is the approval by which it
    was released."""

    name: str
    tool: str
    outcome: str
    codes: tuple[str, ...] = ()
    sources: tuple[tuple[str, str], ...] = ()
    drift: float = 0.0
    strayed: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    adds: tuple[str, ...] = ()
    by: str | None = None


class Outcome(msgspec.Struct, frozen=True, tag="outcome"):
    """How an admitted request ended, written in the same step as its settlement.

    The first outcome closes the ledger entry. A later one counts only as a `correction`: it states the whole truth anew,
    and the ledger takes back the lines before it. `screened`: how many links were taken out of the answer's words. `incurred_at`: when the
    use was, where that is long before what is stated now (None: at `at`, of a correction when what it corrects was).
    """

    request_id: str
    at: datetime
    outcome: str  # completed | cancelled | failed | truncated | refused_in_answer | reaped
    code: str | None
    deployment: str | None
    lines: tuple[Line, ...]
    cost_nano: int
    basis: Basis
    over_hold: bool
    tools_released: tuple[str, ...]
    tools_refused: tuple[str, ...]
    timings_us: dict[str, int]
    correction: bool = False
    judgements: tuple[JudgedCall, ...] = ()
    screened: int = 0
    incurred_at: datetime | None = None


Record = Admitted | Turned | Outcome


@dataclass(slots=True)
class Exchange:
    """The record that the pipeline alone grows, one frozen fact per stage, for evidence and the error path. Stages never receive it.

    Assigned to rather than replaced: eight copies of it would cost a request as much as the decision.
    """

    request: Request
    task: Task | None = None
    assessment: Assessment | None = None
    session: SessionState | None = None
    facts: Facts | None = None
    decision: Decision | None = None
    masking: Masking | None = None
    grant: ToolGrant | None = None
    reservation: Reservation | None = None
