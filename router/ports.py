"""The protocols between the line and the world: what each must do at once, and what happens when it is down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from router.exchange import (
    ApprovalState,
    CallState,
    Held,
    HoldRequest,
    JsonObject,
    Record,
    Release,
    Reservation,
    SessionState,
    Settlement,
    Taken,
)
from router.principals import Key
from routing_rules.budgets import CallLimits
from routing_rules.decide import ClearedDeployment
from routing_rules.facts import Labels
from routing_rules.rules import RuleSet
from routing_rules.task import Endpoint
from routing_rules.vocabulary import Sensitivity

NO_LABELS = Labels()


@dataclass(frozen=True, slots=True)
class Linked:
    """Where a request belongs. `session_id` None: a new session, which starts with `labels`, and with `forwarded` as the sensitivity
    of what has left us (None: the same). `pinned`: the deployment that holds provider-side state the request refers to. `unknown`:
    those of the issued ids that this app was never given. `exact`: an issued id named the session, not the conversation. `followed`:
    one of the prefixes is known, so that `labels` are at least those of all that was said before it."""

    session_id: str | None
    labels: Labels
    pinned: str | None = None
    forwarded: Sensitivity | None = None
    unknown: frozenset[str] = frozenset()
    exact: bool = False
    followed: bool = False

    def joined(self, earlier: Linked) -> Linked:
        """The same session, with what earlier turns carry."""
        left = max(self.forwarded or self.labels.confidentiality, earlier.forwarded or earlier.labels.confidentiality)
        labels = self.labels.join(earlier.labels)
        return replace(self, labels=labels, forwarded=None if left is labels.confidentiality else left)


class Sessions(Protocol):
    """Sessions in Redis. Each call is one atomic step in one shard. Down: raises Unavailable(`store_unavailable`)."""

    async def link(self, app: str, issued: Sequence[str], prefixes: Sequence[str], said: Sequence[str] = ()) -> Linked:
        """The session that issued ids (first) or conversation-prefix HMACs (latest known wins) belong to.

        Several sessions behind the ids, or behind one prefix: no session, and the maximum of their labels. Whatever the session, the
        labels are at least those of all known prefixes, and of what was `said`: HMACs of single turns of the model.
        """
        ...

    async def open(
        self, session_id: str, app: str, deployments: Sequence[str], *, calls: bool = False, body_digest: str | None = None
    ) -> SessionState:
        """Labels and their version, balances, and which of `deployments` are in cool-down. Creates nothing.

        The same id from another app is another session. `calls`: also what the next tool call is judged by. With a `body_digest`, also
        which approval was asked for when the same body came before.
        """
        ...

    async def release(self, release: Release) -> CallState | None:
        """Let tool calls through: what they add is in the session from now on. None where that was done; where the session no longer
        holds what the calls were judged by, nothing was, and what it holds now is given back: judge again.

        Raises Refused: `session_ended`, `session_budget_exceeded` (tool calls).
        """
        ...

    async def count_calls(self, app: str, session_id: str, ran: int) -> None:
        """Count `ran` more tool calls to the session: calls that a provider has run by itself, so that nothing can be refused any more."""
        ...

    async def wait_for(self, app: str, body_digest: str, approval_id: str, seconds: float) -> None:
        """Let the same body lead to an approval that was asked for, for so long."""
        ...

    async def remember(
        self,
        app: str,
        session_id: str,
        issued: Sequence[str],
        prefixes: Sequence[str],
        deployment: str,
        labels: Labels = NO_LABELS,
        forwarded: Sensitivity | None = None,
    ) -> None:
        """Make issued ids and prefix HMACs lead back to this session, which carries `labels`, and from which `forwarded` has left
        (None: the same sensitivity)."""
        ...

    async def cool_down(self, deployment: str, seconds: float) -> None:
        """Let no replica use a deployment for a while."""
        ...

    async def end(self, session_id: str, reason: str, app: str | None = None) -> bool:
        """End a session everywhere; its next request is refused. False where there is none. `app` None: whosoever it is."""
        ...


class Approvals(Protocol):
    """Calls and tasks that wait for a person. Down: raises Unavailable(`store_unavailable`), and nothing is released.

    An approval is for one use, by one app in one session, of the calls (tool and hash of the arguments) that it was asked for, under the
    revision it was asked under, until it expires. The line looks up which approval a request means (by the `x-router-approval` header,
    or by the same body of the same app), releases what `take` gives and nothing else, and never asks the provider again.
    """

    async def request(self, held: Held) -> str:
        """Ask for an approval; its id. While one for the same app, session, body and calls is pending, the same id, so that a client
        that tries again asks once. The answer is kept encrypted until `held.expires`, or until it is taken or denied."""
        ...

    async def state(self, approval_id: str, app: str) -> ApprovalState | None:
        """How far it is. None: this app has no such approval."""
        ...

    async def take(
        self, approval_id: str, app: str, session_id: str, body_digest: str | None, revision: str, now: datetime
    ) -> Taken | None:
        """Use an approval, in one atomic step: of any number at once, one gets it. None where it is not approved, expired, used, another's,
        of another session, of another revision than `revision`, or, with a `body_digest`, of another body. A held task always has one."""
        ...


class Masks(Protocol):
    """What each session's placeholders stand for, encrypted, in Redis; it ends with the session. Down: Unavailable(`store_unavailable`)."""

    async def assign(self, app: str, session_id: str, values: Sequence[tuple[str, str]]) -> dict[str, str]:
        """Text → placeholder for all that the session has masked, these `(kind, text)` included: the same text always has the same
        placeholder, however many ask at once. A session that holds too many leaves further ones out. Raises Refused(`session_ended`).
        """
        ...


class Budgets(Protocol):
    """Holds in Redis: they never exceed a limit, however many run at once. Down: Unavailable(`store_unavailable`)."""

    async def reserve(self, hold: HoldRequest, record: Record) -> Reservation:
        """Hold the worst case and append `record` to the outbox in the same step; idempotent by request id.

        Raises Refused: `session_budget_exceeded`, `owner_budget_exceeded`, `session_ended`, `session_changed` (the labels
        rose since they were read: decide once more), `rate_limit_exceeded` (session rotation).
        """
        ...

    async def extend(self, reservation: Reservation, accrued_nano: int, amount_nano: int) -> Reservation:
        """Before another attempt: replace the hold by what was spent so far plus the next worst case. Raises as `reserve`."""
        ...

    async def settle(self, reservation: Reservation, record: Record) -> Settlement:
        """Book the outcome's cost, free the hold and append the outcome in the same step; idempotent by request id."""
        ...

    async def retry(self) -> int:
        """Try again what was settled, or given up, while the store was down; how many are still owed."""
        ...

    async def report(self, shard: int, record: Record) -> None:
        """Append evidence that holds no money (a refusal)."""
        ...


class Directory(Protocol):
    """Keys and rules as this worker knows them: a snapshot, refreshed within a second of a change. Looked up without I/O; only an unknown key makes the line look again.

    SQL down: the last snapshot stays in force. No snapshot yet: Unavailable(`not_ready`).
    """

    def key(self, sha256: str) -> Key | None:
        """The key with this digest, revoked ones included."""
        ...

    def rules(self) -> RuleSet:
        """The rule set in force."""
        ...

    async def refresh(self) -> None:
        """Look now whether something has changed; what cannot be read stays as it was."""
        ...


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """What is sent to a deployment: the body as it shall leave us, the limits it must keep, headers of ours that may go there."""

    endpoint: Endpoint
    body: JsonObject
    stream: bool
    limits: CallLimits
    headers: Mapping[str, str]
    request_id: str


class UpstreamAnswer(Protocol):
    """An answer under way. `status` is 2xx: everything else was raised as UpstreamFailed by `send`."""

    status: int
    headers: Mapping[str, str]  # lower-case names
    dropped: tuple[str, ...]  # parameters that this deployment does not take and that were left out

    async def read(self) -> bytes:
        """The whole body of a non-streaming answer. Raises UpstreamFailed (`upstream_timeout`, `upstream_truncated`)."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Raw bytes of a stream as they come. Raises UpstreamFailed where the provider breaks off or stalls."""
        ...

    async def aclose(self) -> None:
        """Give the connection back, or cut it where the answer has not ended."""
        ...


class Upstream(Protocol):
    """One way to call providers. Raises UpstreamFailed only, with `sent=False` where nothing can have been billed."""

    async def send(self, deployment: ClearedDeployment, request: UpstreamRequest) -> UpstreamAnswer:
        """Send the request and wait for the status line (a stream: for the headers)."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class Client(Protocol):
    """The app at the other end of a connection. Sending to one that has left does nothing: the answer goes on without it."""

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the status line and headers, once."""
        ...

    async def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        ...

    async def finish(self, data: bytes = b"") -> None:
        """Send the last piece of the body and end the answer."""
        ...

    async def gone(self) -> None:
        """Return when the client has left; do not return before."""
        ...
