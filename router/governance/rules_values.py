"""What a change of the rules is while it is made: the proposal with its steps, who acts on it, and what stands in its way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from router.principals import SINGLE, Person
from routing_rules.diff import Diff
from routing_rules.faults import Fault, Severity

SHADOW, CANARY = "shadow", "canary"
TRIALS = (SHADOW, CANARY)


class Status(StrEnum):
    """How far a proposal got. A draft has faults; only what is approved can take effect."""

    DRAFT = "draft"
    CHECKED = "checked"
    APPROVED = "approved"
    ACTIVE = "active"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


OPEN = frozenset({Status.DRAFT, Status.CHECKED, Status.APPROVED})
"""Proposals on which something can still be done."""


class Kind(StrEnum):
    """What made a proposal."""

    CHANGE = "change"
    ROLLBACK = "rollback"
    START = "start"  # the first rules of an empty store


class Actor(msgspec.Struct, frozen=True):
    """Who acts. `name` is what records say; `person` None: whoever holds the admin key or the data directory, or the service itself.

    `via`: console, api, cli, git or service.
    """

    name: str
    person: Person | None = None
    via: str = "cli"


class Approval(msgspec.Struct, frozen=True):
    """One person's yes. `meets` are the needs of the proposal that it met (see `Proposal.needs`)."""

    by: str
    at: datetime
    note: str = ""
    meets: tuple[str, ...] = ()


class Comment(msgspec.Struct, frozen=True):
    """A word in the discussion of a proposal."""

    by: str
    at: datetime
    text: str


class AppImpact(msgspec.Struct, frozen=True):
    """What would have changed for one app. Money in nano-USD; counts are of requests, `sessions` of sessions.

    `spend_before`, `spend_after`: of its requests under the one and the other revision; what was refused costs nothing.
    """

    app: str
    requests: int
    changed: int
    sessions: int
    sessions_changed: int
    spend_before: int
    spend_after: int
    refused: int = 0  # passed before, refused or held after
    permitted: int = 0  # refused or held before, passing after
    tools_gained: dict[str, int] = {}
    tools_lost: dict[str, int] = {}


class Example(msgspec.Struct, frozen=True):
    """A recorded request that would have been decided otherwise. `before` and `after` are short accounts of the two decisions."""

    request_id: str
    at: datetime
    app: str
    session: str | None
    before: str
    after: str


class Replay(msgspec.Struct, frozen=True):
    """Recorded decisions of some days, decided anew under two revisions. Money in nano-USD.

    `outcomes` counts changes by `before → after`: `permit → refuse`, `hold → permit`, … ; `tiers` by `fast → reasoning`. `skipped` were
    refused before there were facts to decide on. `notes` say what a replay cannot tell. `by_day`: (day, requests, changed).
    """

    before: str
    after: str
    since: datetime
    until: datetime
    decisions: int
    changed: int
    sessions: int
    sessions_changed: int
    spend_before: int
    spend_after: int
    outcomes: dict[str, int] = {}
    tiers: dict[str, int] = {}
    rules: dict[str, int] = {}  # `rule → rule`, how many requests moved between them
    tools_gained: dict[str, int] = {}
    tools_lost: dict[str, int] = {}
    apps: tuple[AppImpact, ...] = ()
    by_day: tuple[tuple[str, int, int], ...] = ()
    examples: tuple[Example, ...] = ()
    skipped: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


class Proposal(msgspec.Struct, frozen=True):
    """A change of the rules with all that happened to it.

    `id` is `p1`, `p2`, …; `revision` names its files, `base` the revision in force when it was made: `diff` is between the two.
    `faults` are errors (then it is a draft) and warnings. `needs` say who has to approve: a role, or the e-mail address of a person;
    empty where nobody has to. `lone`: it took effect on one person's word, as under `single`. `emergency`: the same under `four_eyes`,
    because it only narrows; `review` is then `pending` until somebody else has looked at it (`done`).
    `trial`: shadow or canary, with `share` percent of the sessions. `signed`: by which pinned key it was signed, if so.
    """

    id: str
    revision: str
    base: str | None
    author: str
    created: datetime
    reason: str
    status: Status
    governance: str
    kind: Kind = Kind.CHANGE
    via: str = "cli"
    faults: tuple[Fault, ...] = ()
    needs: tuple[str, ...] = ()
    approvals: tuple[Approval, ...] = ()
    comments: tuple[Comment, ...] = ()
    diff: Diff | None = None
    replay: Replay | None = None
    trial: str | None = None
    share: int = 0
    trial_since: datetime | None = None
    trial_by: str | None = None
    changed: datetime | None = None  # when its files were last changed
    rejected_by: str | None = None
    rejected: datetime | None = None
    activated_by: str | None = None
    activated: datetime | None = None
    ended: datetime | None = None  # when another revision took its place
    lone: bool = False
    emergency: bool = False
    review: str | None = None
    reviewed_by: str | None = None
    reviewed: datetime | None = None
    signed: str | None = None
    authors: tuple[str, ...] = ()  # everybody who has changed its files, the first author included

    @property
    def open(self) -> bool:
        """Whether something can still be done with it."""
        return self.status in OPEN

    def wants(self) -> tuple[str, ...]:
        """The needs that no approval has met yet."""
        met = {need for approval in self.approvals for need in approval.meets}
        return tuple(need for need in self.needs if need not in met)


class Differing(msgspec.Struct, frozen=True):
    """A request that a revision which is only tried would have decided otherwise. `before` and `after` are short accounts."""

    request_id: str
    at: datetime
    app: str
    session: str
    before: str
    after: str


class ShadowReport(msgspec.Struct, frozen=True):
    """What the shadow of a proposal has compared so far, and the latest differences."""

    proposal: str
    compared: int
    differing: int
    differences: tuple[Differing, ...] = ()


class StoredRevision(Protocol):
    """A revision as the store keeps it."""

    @property
    def number(self) -> int: ...
    @property
    def revision(self) -> str: ...
    @property
    def files(self) -> Mapping[str, str]: ...
    @property
    def author(self) -> str: ...
    @property
    def status(self) -> str: ...


Step = Callable[[Proposal, StoredRevision], Proposal]
"""A proposal as it stands and the revision in force → the proposal after a step. Called inside the store's transaction."""


Make = Callable[[str, StoredRevision, Sequence[tuple[Proposal, StoredRevision]]], Proposal]
"""The id of a new proposal, the revision in force, and what is open with its files → the proposal. Called as a step is."""


class RuleStore(Protocol):
    """Revisions and proposals, kept for ever. Each call is one transaction and one administrative act, and they follow one another:
    none sees half of another. SQL down: the driver's error, and nothing has changed."""

    def current(self) -> StoredRevision | None: ...
    def get(self, revision: str) -> StoredRevision | None: ...
    def seed(
        self, revision: str, files: Mapping[str, str], *, author: str, note: str, governance: str, at: datetime
    ) -> StoredRevision: ...
    def proposal(self, proposal_id: str) -> Proposal | None: ...
    def proposals(self, statuses: Sequence[Status] = (), limit: int = 100) -> list[Proposal]: ...
    def add(self, files: Mapping[str, str], make: Make, *, actor: str, at: datetime) -> Proposal: ...
    def step(
        self, proposal_id: str, act: str, step: Step, *, actor: str, at: datetime, files: Mapping[str, str] | None = None
    ) -> Proposal: ...
    def mode(self, asked: str) -> str: ...


class NotAllowed(Exception):
    """Governance does not let this person make this change; the sentence says who could."""


class NoSuchProposal(NotAllowed):
    """There is no proposal or revision of this name."""


class FileMerge(msgspec.Struct, frozen=True):
    """One file of a three-way merge. A text is None where the file is not there.

    `state`: `same`, `yours` (only you changed it), `theirs`, `merged` (both did, in different lines) or `conflict`. `merged` is the text
    of both, with conflict marks where they meet.
    """

    name: str
    state: str
    base: str | None
    theirs: str | None
    yours: str | None
    merged: str | None


class Merge(msgspec.Struct, frozen=True):
    """What somebody wants to save beside what was saved meanwhile. `base` and `theirs` are revisions; `by` and `proposal` are whose
    proposal the other is, where it is not in force yet. `files` are those that differ; nothing of yours is lost."""

    base: str
    theirs: str
    files: tuple[FileMerge, ...]
    by: str | None = None
    proposal: str | None = None

    @property
    def conflicts(self) -> tuple[str, ...]:
        """Names of the files that a person has to bring together."""
        return tuple(file.name for file in self.files if file.state == "conflict")

    def merged_files(self) -> dict[str, str]:
        """What to save instead, where there is no conflict."""
        return {file.name: file.merged for file in self.files if file.merged is not None and file.state != "same"}


class Stale(NotAllowed):
    """What was edited is not what is there any more. `merge` brings both together."""

    def __init__(self, message: str, merge: Merge) -> None:
        super().__init__(message)
        self.merge = merge


def refuse_unready(found: Proposal, governance: str, emergency: bool = False) -> None:
    """Raises NotAllowed where a proposal must not take effect: unchecked, failing, or not approved by whom it needs."""
    if found.status not in (Status.CHECKED, Status.APPROVED) or erring(found.faults):
        raise NotAllowed(f"`{found.id}` is {found.status}: only what is checked takes effect")
    if governance == SINGLE:
        return
    if (unsigned := nobodys(found)) is not None:
        raise NotAllowed(unsigned)
    if found.status is Status.APPROVED and not found.wants() and any(not wrote(found, each.by) for each in found.approvals):
        return
    if not emergency:
        raise NotAllowed(
            f"`{found.id}` is not approved: under `four_eyes` it takes {who(found.wants() or found.needs)}, and not its author"
        )
    if found.diff is None or not found.diff.narrows_only:
        raise NotAllowed(f"`{found.id}` widens something: that is approved first, also in an emergency")


def nobodys(found: Proposal) -> str | None:
    """Why a proposal stands still under `four_eyes` although it was checked: it was saved when nobody had to say who they are."""
    if found.governance != SINGLE:
        return None
    return f"`{found.id}` was saved under `single`, when nobody had to say who they are: let a person save it again"


def wrote(found: Proposal, name: str) -> bool:
    """Whether somebody of this name has written any of it."""
    return any(same(author, name) for author in (found.author, *found.authors))


def same(one: str, other: str) -> bool:
    """Whether two names are of the same person."""
    return one.strip().lower() == other.strip().lower()


def erring(faults: Iterable[Fault]) -> bool:
    """Whether one of these keeps the rules from taking effect."""
    return any(fault.severity is Severity.ERROR for fault in faults)


def who(needs: Sequence[str]) -> str:
    """Whom it takes, in words."""
    return " and ".join(f"`{need}`" if "@" in need else f"the role `{need}`" for need in needs) or "nobody"
