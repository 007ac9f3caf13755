"""The life of a change of the rules: saved, checked, compared, discussed, approved by somebody else, tried, put in force, taken back.

Every surface (console, API, command line, Git, the service itself) calls these use cases, and none can skip a step: what takes effect was
checked just before, is based on what is in force, and was approved by whom governance asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from classifiers.recalls import published
from router.governance.models import model_faults
from router.governance.packs import pack_faults
from router.governance.people import state_of
from router.governance.rules_merge import merge
from router.governance.rules_values import (
    CANARY,
    OPEN,
    SHADOW,
    TRIALS,
    Actor,
    Approval,
    Comment,
    Kind,
    Merge,
    NoSuchProposal,
    NotAllowed,
    Proposal,
    Replay,
    RuleStore,
    Stale,
    Status,
    StoredRevision,
    erring,
    nobodys,
    refuse_unready,
    same,
    who,
    wrote,
)
from router.principals import SINGLE, Person, Role
from routing_rules.cases import run_cases
from routing_rules.catalogue import App
from routing_rules.check import check
from routing_rules.diff import Diff
from routing_rules.diff import diff as compare
from routing_rules.edit import add_app, add_deployment_rows, disable_simulated
from routing_rules.faults import Fault, RuleFaults, Severity
from routing_rules.load import complete, load
from routing_rules.rules import RuleSet, revision_of

__all__ = ["Actor", "NotAllowed", "RuleStore", "Stale", "StoredRevision"]

AT_START = "router"
"""Who is named as the author of what the service itself does at start."""

SERVICE = Actor(AT_START, via="service")

MOST_FAULTS = 200
"""Faults that a draft keeps; somebody who has more starts with these."""

MOST_BYTES = 8 * 1024 * 1024
LONGEST_TEXT = 4_000
PROPOSING = (Role.EDITOR,)
ACTIVATING = (Role.EDITOR, Role.APPROVER)
DISCUSSING = tuple(role for role in Role if role is not Role.FINANCE)
PENDING, DONE = "pending", "done"


class Preview(msgspec.Struct, frozen=True):
    """What would come of files that nobody has saved yet. `diff` is None where they do not load."""

    revision: str
    faults: tuple[Fault, ...]
    diff: Diff | None

    @property
    def usable(self) -> bool:
        """Whether nothing stands in the way."""
        return not erring(self.faults)


# Checking.


def checked(files: Mapping[str, str], at: datetime) -> tuple[RuleSet, list[Fault]]:
    """The compiled rule set and its warnings. Raises RuleFaults where anything in it is an error, or a case or an example fails."""
    rules = load(files)
    faults = [*check(rules, at.date(), published()), *run_cases(rules), *pack_faults(rules), *model_faults(rules)]
    errors = [fault for fault in faults if fault.severity is Severity.ERROR]
    if errors:
        raise RuleFaults(errors)
    return rules, faults


def preview(store: RuleStore, files: Mapping[str, str], at: datetime, base: str | None = None) -> Preview:
    """Check and compare an edit without keeping anything. `base`: the revision that was edited; default: what is in force."""
    before = in_force(store) if base is None else _revision(store, base)
    whole = _whole(before.files, files)
    try:
        rules = load(whole)
    except RuleFaults as error:
        return Preview(revision_of(whole), error.faults[:MOST_FAULTS], None)
    faults = [*check(rules, at.date(), published()), *run_cases(rules), *pack_faults(rules), *model_faults(rules)]
    return Preview(rules.revision, tuple(faults[:MOST_FAULTS]), compare(load(before.files), rules, at.date()))


def diff(store: RuleStore, before: str, after: str, at: datetime) -> Diff:
    """What changes between any two revisions. Raises NoSuchProposal, RuleFaults."""
    return compare(load(_revision(store, before).files), load(_revision(store, after).files), at.date())


# Saving.


def save(
    store: RuleStore,
    files: Mapping[str, str],
    *,
    by: Actor,
    reason: str,
    governance: str,
    at: datetime,
    people: Sequence[Person] = (),
    base: str | None = None,
    beside: bool = False,
    signed: str | None = None,
) -> Proposal:
    """Keep a change as a proposal, checked; with errors it is a draft. Files that are left out stay as they are in `base`.

    `base` is the revision that was edited (default: what is in force). Raises Stale where another is in force by now, or where somebody
    else's open proposal changes the same files and `beside` does not say that both shall stand; its merge holds everybody's texts. Raises
    NotAllowed for a person who is no editor, under `four_eyes` for whoever is no person, and for what was `signed` where that signature
    has brought a proposal already that was decided.
    """
    governance = store.mode(governance)
    _may(by, PROPOSING, governance, "propose a change of the rules")
    if signed is not None:
        _refuse_replayed(store, signed)
    return _save(
        store,
        files,
        by=by,
        reason=reason,
        governance=governance,
        at=at,
        people=people,
        base=base,
        beside=beside or base is None,
        signed=signed,
    )


def revise(
    store: RuleStore,
    proposal_id: str,
    files: Mapping[str, str],
    *,
    by: Actor,
    seen: str,
    governance: str,
    at: datetime,
    people: Sequence[Person] = (),
    reason: str | None = None,
) -> Proposal:
    """Save an open proposal again. Whoever had approved it is asked anew, a trial of it ends.

    `seen` is the revision of the proposal that was edited. Raises Stale where it is another by now, NotAllowed as `save`.
    """
    governance = store.mode(governance)
    _may(by, PROPOSING, governance, "change a proposal")
    found = proposal(store, proposal_id)
    whole = _whole(_revision(store, seen).files, files)
    checked_now = _examined(store, whole, found.base, at, people)

    def step(now: Proposal, active: StoredRevision) -> Proposal:
        _must_be(now, OPEN)
        if now.revision != seen:
            theirs = _revision(store, now.revision)
            raise Stale(
                f"`{proposal_id}` was saved by somebody else meanwhile",
                merge(
                    _revision(store, seen).files,
                    theirs.files,
                    whole,
                    revisions=(seen, now.revision),
                    by=now.authors[-1],
                    proposal=proposal_id,
                ),
            )
        return _rewritten(now, checked_now, by, reason, at, governance)

    return store.step(proposal_id, "rules.revised", step, actor=by.name, at=at, files=whole)


def rebase(
    store: RuleStore, proposal_id: str, *, by: Actor, governance: str, at: datetime, people: Sequence[Person] = ()
) -> Proposal:
    """Bring an open proposal onto what is in force. Raises Stale, with the merge, where both changed the same lines."""
    governance = store.mode(governance)
    _may(by, PROPOSING, governance, "change a proposal")
    found = proposal(store, proposal_id)
    active = in_force(store)
    if found.base == active.revision:
        return found
    both = _onto(store, found, active)
    if both.conflicts:
        raise Stale(f"`{proposal_id}` and what is in force change the same lines of {_named(both.conflicts)}", both)
    whole = _whole(active.files, both.merged_files())
    checked_now = _examined(store, whole, active.revision, at, people)

    def step(now: Proposal, in_force_now: StoredRevision) -> Proposal:
        _must_be(now, OPEN)
        if now.revision != found.revision or in_force_now.revision != active.revision:
            raise Stale(f"`{proposal_id}` changed meanwhile: try again", _onto(store, now, in_force_now))
        return _rewritten(now, checked_now, by, None, at, governance)

    return store.step(proposal_id, "rules.rebased", step, actor=by.name, at=at, files=whole)


def withdraw(store: RuleStore, proposal_id: str, *, by: Actor, at: datetime) -> Proposal:
    """Take one's own proposal back."""

    def step(now: Proposal, _: StoredRevision) -> Proposal:
        _must_be(now, OPEN)
        if by.person is not None and not _wrote(now, by):
            raise NotAllowed("only who made a proposal takes it back: an approver may reject it")
        return msgspec.structs.replace(_untried(now), status=Status.WITHDRAWN, rejected_by=by.name, rejected=at)

    return store.step(proposal_id, "rules.withdrawn", step, actor=by.name, at=at)


def comment(store: RuleStore, proposal_id: str, text: str, *, by: Actor, at: datetime) -> Proposal:
    """Add a word to the discussion, also of what has taken effect."""
    if by.person is not None and not by.person.holds(*DISCUSSING):
        raise NotAllowed("to discuss a proposal takes a role that looks at the rules")
    said = _text(text, "a comment")

    def step(now: Proposal, _: StoredRevision) -> Proposal:
        return msgspec.structs.replace(now, comments=(*now.comments, Comment(by.name, at, said)))

    return store.step(proposal_id, "rules.commented", step, actor=by.name, at=at)


def keep_replay(store: RuleStore, proposal_id: str, replayed: Replay, *, by: Actor, at: datetime) -> Proposal:
    """Keep the figures of a replay with the proposal that it was about. Raises NotAllowed where they are of other revisions."""

    def step(now: Proposal, _: StoredRevision) -> Proposal:
        if replayed.after != now.revision:
            raise NotAllowed("the replay is not of this proposal as it is now")
        return msgspec.structs.replace(now, replay=replayed)

    return store.step(proposal_id, "rules.replayed", step, actor=by.name, at=at)


# Deciding.


def may_approve(found: Proposal, by: Actor, governance: str) -> str | None:
    """Why this person may not approve this proposal; None where they may."""
    if found.status is not Status.CHECKED:
        return f"`{found.id}` is {found.status}: only what is checked and not decided yet is approved"
    if governance != SINGLE:
        if (unsigned := nobodys(found)) is not None:
            return unsigned
        if by.person is None:
            return "under `four_eyes` a person approves: send the token of an approver"
        if _wrote(found, by):
            return "you proposed it: somebody else approves"
    if by.person is not None and not _meets(found.needs, by.person):
        return f"it takes {who(found.needs)}"
    if any(same(approval.by, by.name) for approval in found.approvals):
        return "you have approved it already"
    return None


def approve(
    store: RuleStore, proposal_id: str, *, by: Actor, at: datetime, governance: str, note: str = "", seen: str | None = None
) -> Proposal:
    """Say yes to a checked proposal. It is `approved` once everybody has whom it needs; an author's yes does not count.

    `seen` is the revision of the proposal that was looked at. Raises Stale where it is another by now.
    """
    governance = store.mode(governance)

    def step(now: Proposal, active: StoredRevision) -> Proposal:
        if (why := may_approve(now, by, governance)) is not None:
            raise NotAllowed(why)
        _must_be_as(store, now, seen)
        if now.base != active.revision:
            raise Stale(
                f"another revision is in force since `{now.id}` was made: bring it onto that first", _onto(store, now, active)
            )
        meets = now.needs if by.person is None else _meets(now.needs, by.person)
        approval = Approval(by.name, at, note[:LONGEST_TEXT], meets)
        decided = msgspec.structs.replace(now, approvals=(*now.approvals, approval), governance=governance)
        return decided if decided.wants() else msgspec.structs.replace(decided, status=Status.APPROVED)

    return store.step(proposal_id, "rules.approved", step, actor=by.name, at=at)


def reject(
    store: RuleStore, proposal_id: str, *, by: Actor, at: datetime, governance: str, note: str = "", seen: str | None = None
) -> Proposal:
    """Say no to an open proposal, for good; a trial of it ends. `seen` as in `approve`."""
    governance = store.mode(governance)
    _may(by, (Role.APPROVER,), governance, "reject a proposal")

    def step(now: Proposal, _: StoredRevision) -> Proposal:
        _must_be(now, OPEN)
        _must_be_as(store, now, seen)
        said = (*now.comments, Comment(by.name, at, note[:LONGEST_TEXT])) if note.strip() else now.comments
        return msgspec.structs.replace(_untried(now), status=Status.REJECTED, rejected_by=by.name, rejected=at, comments=said)

    return store.step(proposal_id, "rules.rejected", step, actor=by.name, at=at)


# Taking effect.


def activate(
    store: RuleStore,
    named: str,
    *,
    by: Actor,
    at: datetime,
    governance: str,
    emergency: bool = False,
    seen: str | None = None,
) -> Proposal:
    """Put a proposal (by its id, or by its revision) in force. The caller announces it afterwards.

    It is checked once more. Raises RuleFaults where it has become invalid, Stale where another revision is in force than it is based on, and
    NotAllowed where it was not approved by whom it needs. `emergency`: one person may put in force what only narrows; somebody else looks
    at it afterwards (`review`). Under `single` one person may do it all, and the proposal says so. `seen` as in `approve`.
    """
    governance = store.mode(governance)
    _may(by, ACTIVATING, governance, "put a change in force")
    found = _named_proposal(store, named)
    before = _revision(store, found.revision)
    refuse_unready(found, governance, emergency)
    checked(before.files, at)

    def step(now: Proposal, active: StoredRevision) -> Proposal:
        refuse_unready(now, governance, emergency)
        _must_be_as(store, now, seen)
        if now.revision != found.revision:
            raise NotAllowed(f"`{now.id}` was changed meanwhile: look at it again")
        if now.base != active.revision:
            raise Stale(
                f"another revision is in force since `{now.id}` was made: bring it onto that first", _onto(store, now, active)
            )
        return _in_effect(now, by, at, governance, emergency and now.status is not Status.APPROVED)

    return store.step(found.id, "rules.activated", step, actor=by.name, at=at)


def rollback(
    store: RuleStore,
    *,
    by: Actor,
    at: datetime,
    governance: str,
    reason: str = "",
    to: str | None = None,
    people: Sequence[Person] = (),
) -> Proposal:
    """Take the last change back, or go back to any earlier revision: itself a change, with its diff, in the history.

    At once under `single`, and where it only narrows (somebody else looks at it afterwards); else it waits for approval. Raises NoSuchProposal.
    """
    governance = store.mode(governance)
    _may(by, ACTIVATING, governance, "take a change back")
    active = in_force(store)
    target = _revision(store, to if to is not None else _one_before(store, active))
    if target.revision == active.revision:
        raise NotAllowed(f"`{target.revision}` is in force already")
    if target.status not in ("superseded", "active"):
        raise NotAllowed(f"`{target.revision}` was never in force: propose it as a change")
    made = _save(
        store,
        _instead(active.files, target.files),
        by=by,
        reason=reason or f"back to {target.revision}",
        governance=governance,
        at=at,
        people=people,
        base=active.revision,
        beside=True,
        kind=Kind.ROLLBACK,
    )
    narrows = made.diff is not None and made.diff.narrows_only
    if made.status is not Status.CHECKED or not (governance == SINGLE or narrows):
        return made
    return activate(store, made.id, by=by, at=at, governance=governance, emergency=governance != SINGLE)


def review(store: RuleStore, proposal_id: str, *, by: Actor, at: datetime, governance: str, note: str = "") -> Proposal:
    """Say that one has looked at what took effect in an emergency. Raises NotAllowed for whoever made or activated it."""
    governance = store.mode(governance)
    _may(by, (Role.APPROVER,), governance, "look at an emergency")

    def step(now: Proposal, _: StoredRevision) -> Proposal:
        if now.review != PENDING:
            raise NotAllowed(f"`{now.id}` does not wait to be looked at")
        if governance != SINGLE and (_wrote(now, by) or same(now.activated_by or "", by.name)):
            raise NotAllowed("you made it: somebody else looks at it")
        said = (*now.comments, Comment(by.name, at, note[:LONGEST_TEXT])) if note.strip() else now.comments
        return msgspec.structs.replace(now, review=DONE, reviewed_by=by.name, reviewed=at, comments=said)

    return store.step(proposal_id, "rules.reviewed", step, actor=by.name, at=at)


def trial(
    store: RuleStore, proposal_id: str, kind: str | None, *, by: Actor, at: datetime, governance: str, share: int = 10
) -> Proposal:
    """Try a proposal on live traffic, or (None) end that. One proposal is tried at a time. The caller announces it afterwards.

    `shadow`: it decides beside what is in force, and only differences are kept; it must be checked. `canary`: it decides on `share` percent
    of the sessions, each session from its first request to its last; it must be approved as if it took effect.
    """
    governance = store.mode(governance)
    _may(by, ACTIVATING, governance, "try a change")
    if kind is not None and kind not in TRIALS:
        raise NotAllowed(f"a trial is {SHADOW} or {CANARY}")
    if kind == CANARY and not 1 <= share <= 99:
        raise NotAllowed("a canary takes a share of 1 to 99 percent of the sessions")
    found = proposal(store, proposal_id)
    if kind is not None and found.status is Status.DRAFT:
        raise NotAllowed(f"`{found.id}` is {found.status}: only what is checked is tried")
    if kind is not None:
        checked(_revision(store, found.revision).files, at)

    def step(now: Proposal, active: StoredRevision) -> Proposal:
        if kind is None:
            return _untried(now)
        if now.status not in (Status.CHECKED, Status.APPROVED) or erring(now.faults) or now.revision != found.revision:
            raise NotAllowed(f"`{now.id}` is {now.status}: only what is checked is tried")
        if governance != SINGLE and (unsigned := nobodys(now)) is not None:
            raise NotAllowed(unsigned)
        if kind == CANARY:
            refuse_unready(now, governance)
            if now.base != active.revision:
                raise Stale(f"another revision is in force since `{now.id}` was made", _onto(store, now, active))
        return msgspec.structs.replace(
            now, trial=kind, share=share if kind == CANARY else 0, trial_since=at, trial_by=by.name, governance=governance
        )

    return store.step(proposal_id, f"rules.{kind or 'trial_ended'}", step, actor=by.name, at=at)


# Looking.


def proposal(store: RuleStore, proposal_id: str) -> Proposal:
    """One proposal. Raises NoSuchProposal."""
    found = store.proposal(proposal_id)
    if found is None:
        raise NoSuchProposal(f"there is no proposal `{proposal_id[:64]}`: `router rules log` lists them")
    return found


def files_of(store: RuleStore, revision: str) -> dict[str, str]:
    """The files of any revision. Raises NoSuchProposal."""
    return dict(_revision(store, revision).files)


def history(store: RuleStore, limit: int = 100) -> tuple[Proposal, ...]:
    """What took effect, the latest first: who, when, why, with diff and replay."""
    effective = store.proposals((Status.ACTIVE, Status.SUPERSEDED), limit)
    return tuple(sorted(effective, key=lambda each: each.activated or each.created, reverse=True))


def in_force(store: RuleStore) -> StoredRevision:
    """The revision in force. Raises NotAllowed in an empty store."""
    active = store.current()
    if active is None:
        raise NotAllowed("no rules are in force: start the service once")
    return active


def differs(store: RuleStore, files: Mapping[str, str], at: datetime) -> bool:
    """Whether a directory of rule files says something else than what is in force."""
    active = in_force(store).files
    return any(active.get(name) != text for name, text in complete(files, at.date()).items() if name in files)


# What the service and its operators change.


def seed(store: RuleStore, files: Mapping[str, str], *, governance: str, at: datetime) -> StoredRevision:
    """Put the first revision in force in an empty store; where there is one already, that one. Raises RuleFaults."""
    rules, _ = checked(files, at)
    return store.seed(rules.revision, files, author=AT_START, note="first start", governance=governance, at=at)


def propose(
    store: RuleStore,
    files: Mapping[str, str],
    *,
    by: Actor,
    note: str,
    governance: str,
    at: datetime,
    people: Sequence[Person] = (),
    roles: Sequence[Role] = PROPOSING,
) -> StoredRevision:
    """Keep a change that a command or the service itself makes, for somebody to put in force. What is proposed already, or in force, is
    returned as it is. `roles`: whose change it may be. Raises RuleFaults, and keeps nothing, where anything in it is an error; NotAllowed
    as `save`, but for the service itself."""
    governance = store.mode(governance)
    if by != SERVICE:
        _may(by, roles, governance, "propose a change of the rules")
    active = in_force(store)
    whole = _whole(active.files, files)
    rules, _ = checked(whole, at)
    if rules.revision == active.revision or any(each.revision == rules.revision for each in store.proposals(tuple(OPEN))):
        return _revision(store, rules.revision)
    made = _save(
        store,
        whole,
        by=by,
        reason=note[:LONGEST_TEXT],  # it may name any number of tools
        governance=governance,
        at=at,
        people=people,
        base=active.revision,
        beside=True,
    )
    return _revision(store, made.revision)


def change(
    store: RuleStore,
    files: Mapping[str, str],
    *,
    by: Actor,
    note: str,
    governance: str,
    at: datetime,
    people: Sequence[Person] = (),
    roles: Sequence[Role] = PROPOSING,
) -> tuple[StoredRevision, bool]:
    """Propose, and under `single` put in force at once: (the revision, whether it is in force). Raises as `propose`."""
    governance = store.mode(governance)
    revision = propose(store, files, by=by, note=note, governance=governance, at=at, people=people, roles=roles)
    if governance != SINGLE or revision.status == "active":
        return revision, revision.status == "active"
    # Whoever may make this change under `single` has it take effect, too: that takes no role of its own.
    activate(store, revision.revision, by=Actor(by.name, via=by.via), at=at, governance=governance)
    return _revision(store, revision.revision), True


def register_app(
    store: RuleStore, app: App, *, by: Actor, governance: str, at: datetime, people: Sequence[Person] = ()
) -> tuple[StoredRevision, bool]:
    """Add an app that the rules do not know yet: (the revision, whether it is in force). Raises as `propose`."""
    files = add_app(in_force(store).files, app)
    return change(store, files, by=by, note=f"register the app {app.id}", governance=governance, at=at, people=people)


def adopt(
    store: RuleStore, rows: Sequence[Mapping[str, Any]], *, governance: str, at: datetime, people: Sequence[Person] = ()
) -> tuple[StoredRevision, bool, tuple[str, ...]] | None:
    """Add the deployments of credentials that were found, and take the simulated ones out of service.

    (the revision, whether it is in force, ids of what was added), or None where everything is there already. A deployment that
    somebody has edited or switched off since stays as they left it.
    """
    active = in_force(store)
    known = load(active.files)
    listed = set(known.deployments) | _ids_in(active.files.get("models.yaml", ""))
    new = [row for row in rows if row["id"] not in listed]
    if not new:
        return None
    files = disable_simulated(add_deployment_rows(active.files, new))
    ids = tuple(str(row["id"]) for row in new)
    note = f"credentials found at start: {', '.join(ids)}"
    revision, active_now = change(store, files, by=SERVICE, note=note, governance=governance, at=at, people=people)
    return revision, active_now, ids


def _ids_in(text: str) -> set[str]:
    """Every id written in models.yaml, also of deployments that are out of service."""
    return {line.split(":", 1)[1].strip().strip("\"'") for line in text.splitlines() if line.strip().startswith("- id:")}


# How it is done.


class _Examined(msgspec.Struct, frozen=True):
    """What a check of files came to, against the revision that they change."""

    revision: str
    base: str | None
    faults: tuple[Fault, ...]
    diff: Diff | None
    needs: tuple[str, ...]

    @property
    def status(self) -> Status:
        return Status.DRAFT if erring(self.faults) else Status.CHECKED


def _examined(store: RuleStore, whole: Mapping[str, str], base: str | None, at: datetime, people: Sequence[Person]) -> _Examined:
    before = in_force(store) if base is None else _revision(store, base)
    seen = preview(store, _instead(before.files, whole), at, before.revision)
    needs = _needs(load(before.files), seen.diff, people, at)
    return _Examined(revision_of(whole), before.revision, seen.faults, seen.diff, needs)


def _save(
    store: RuleStore,
    files: Mapping[str, str],
    *,
    by: Actor,
    reason: str,
    governance: str,
    at: datetime,
    people: Sequence[Person] = (),
    base: str | None = None,
    beside: bool = False,
    kind: Kind = Kind.CHANGE,
    signed: str | None = None,
) -> Proposal:
    said = _text(reason, "a reason") if kind is Kind.CHANGE else reason
    started = in_force(store) if base is None else _revision(store, base)
    whole = _whole(started.files, files)
    examined = _examined(store, whole, started.revision, at, people)

    def make(proposal_id: str, active: StoredRevision, others: Sequence[tuple[Proposal, StoredRevision]]) -> Proposal:
        if active.revision != started.revision:
            raise Stale(
                "another revision is in force since you began",
                merge(started.files, active.files, whole, revisions=(started.revision, active.revision)),
            )
        if examined.revision == active.revision:
            raise NotAllowed("nothing differs from what is in force")
        for other, theirs in others if not beside else ():
            if other.base == active.revision and not wrote(other, by.name) and _both_touch(active, theirs, whole):
                raise Stale(
                    f"`{other.id}` of {other.author} changes the same files and is not decided yet",
                    merge(
                        active.files,
                        theirs.files,
                        whole,
                        revisions=(active.revision, theirs.revision),
                        by=other.author,
                        proposal=other.id,
                    ),
                )
        return Proposal(
            id=proposal_id,
            revision=examined.revision,
            base=examined.base,
            author=by.name,
            created=at,
            reason=said,
            status=examined.status,
            governance=governance,
            kind=kind,
            via=by.via,
            faults=examined.faults,
            needs=examined.needs,
            diff=examined.diff,
            changed=at,
            signed=signed,
            authors=(by.name,),
        )

    return store.add(whole, make, actor=by.name, at=at)


def _rewritten(now: Proposal, examined: _Examined, by: Actor, reason: str | None, at: datetime, governance: str) -> Proposal:
    """The proposal with other files: nobody has approved these."""
    return msgspec.structs.replace(
        _untried(now),
        revision=examined.revision,
        base=examined.base,
        status=examined.status,
        faults=examined.faults,
        diff=examined.diff,
        needs=examined.needs,
        replay=None,
        approvals=(),
        changed=at,
        signed=None,
        governance=governance,
        reason=now.reason if reason is None else _text(reason, "a reason"),
        authors=now.authors if by.name in now.authors else (*now.authors, by.name),
    )


def _in_effect(now: Proposal, by: Actor, at: datetime, governance: str, emergency: bool) -> Proposal:
    others = [each for each in now.approvals if not wrote(now, each.by)]
    return msgspec.structs.replace(
        _untried(now),
        status=Status.ACTIVE,
        governance=governance,
        activated_by=by.name,
        activated=at,
        lone=governance == SINGLE and not others,
        emergency=emergency,
        review=PENDING if emergency else None,
    )


def _untried(now: Proposal) -> Proposal:
    return now if now.trial is None else msgspec.structs.replace(now, trial=None, share=0)


def _whole(base: Mapping[str, str], files: Mapping[str, str]) -> dict[str, str]:
    """All files: those of the base, with these over them; one that is empty now is taken out."""
    whole = {name: text for name, text in {**base, **files}.items() if text or name not in files}
    if sum(map(len, whole.values())) > MOST_BYTES:
        raise NotAllowed(f"the files are larger than {MOST_BYTES} characters together")
    return whole


def _instead(there: Mapping[str, str], files: Mapping[str, str]) -> dict[str, str]:
    """What to lay over files so that exactly these are left."""
    return {**dict.fromkeys(there, ""), **files}


def _both_touch(active: StoredRevision, theirs: StoredRevision, whole: Mapping[str, str]) -> bool:
    def touched(files: Mapping[str, str]) -> set[str]:
        return {name for name in {*active.files, *files} if active.files.get(name) != files.get(name)}

    return bool(touched(theirs.files) & touched(whole))


def _onto(store: RuleStore, found: Proposal, active: StoredRevision) -> Merge:
    """What it takes to bring a proposal onto what is in force."""
    base = _revision(store, found.base) if found.base is not None else active
    mine = _revision(store, found.revision)
    return merge(base.files, active.files, mine.files, revisions=(base.revision, active.revision))


def _needs(before: RuleSet, found: Diff | None, people: Sequence[Person], at: datetime) -> tuple[str, ...]:
    """Who has to approve: an approver, and for what widens within an entitlement set whom that set names, if it is a role or somebody
    who is here. The sets are those in force: a change does not choose its own approver."""
    needs = {Role.APPROVER.value}
    if found is not None and found.widens:
        here = {person.email for person in people if state_of(person, at) == "active"}
        named = {before.sets[name].approver.strip().lower() for name in found.sets if name in before.sets}
        needs |= {name for name in named if name in here or name in set(Role)}
    return tuple(sorted(needs, key=lambda need: (need != Role.APPROVER.value, need)))


def _meets(needs: Sequence[str], person: Person) -> tuple[str, ...]:
    roles = {role.value for role in person.roles}
    return tuple(need for need in needs if need in roles or same(need, person.email))


def _may(by: Actor, roles: Sequence[Role], governance: str, what: str) -> None:
    if by.person is None:
        if governance != SINGLE:
            raise NotAllowed(f"under `four_eyes` a person may {what}: send the token of {who([role.value for role in roles])}")
        return
    if not by.person.holds(*roles):
        raise NotAllowed(f"to {what} takes {who([role.value for role in roles])}")


def _refuse_replayed(store: RuleStore, signed: str) -> None:
    """Whoever holds an old signature must not be able to say its author's word again."""
    decided = tuple(status for status in Status if status not in OPEN)
    for each in store.proposals(decided, 1_000_000):
        if each.signed == signed:
            raise NotAllowed(f"what was signed there was proposed as `{each.id}`, which is {each.status}: sign it anew")


def _must_be(now: Proposal, statuses: Iterable[Status]) -> None:
    if now.status not in statuses:
        raise NotAllowed(f"`{now.id}` is {now.status}: nothing can be done with it any more")


def _must_be_as(store: RuleStore, now: Proposal, seen: str | None) -> None:
    """Raises Stale where a proposal is not any more what somebody has looked at."""
    if seen is None or now.revision == seen:
        return
    looked_at = store.get(seen)
    theirs = _revision(store, now.revision)
    raise Stale(
        f"`{now.id}` was saved again since you looked at it: look at it anew",
        merge(
            theirs.files if looked_at is None else looked_at.files,
            theirs.files,
            theirs.files if looked_at is None else looked_at.files,
            revisions=(seen, now.revision),
            by=now.authors[-1] if now.authors else now.author,
            proposal=now.id,
        ),
    )


def _wrote(found: Proposal, by: Actor) -> bool:
    return wrote(found, by.name) or (by.person is not None and wrote(found, by.person.email))


def _named_proposal(store: RuleStore, named: str) -> Proposal:
    found = store.proposal(named)
    if found is None:
        found = next((each for each in store.proposals(tuple(OPEN), 1000) if each.revision == named), None)
    if found is None:
        there = store.get(named)
        if there is None:
            raise NoSuchProposal(f"there is no revision `{named[:64]}`: `router rules log` lists them")
        raise NotAllowed(f"`{named[:64]}` is {there.status}, and no proposal of it is open: propose it, or roll back to it")
    return found


def _one_before(store: RuleStore, active: StoredRevision) -> str:
    for each in history(store):
        if each.revision == active.revision and each.status is Status.ACTIVE and each.base is not None:
            return each.base
    raise NoSuchProposal("there is no change to take back")


def _revision(store: RuleStore, revision: str) -> StoredRevision:
    found = store.get(revision)
    if found is None:
        raise NoSuchProposal(f"there is no revision `{revision[:64]}`: `router rules log` lists them")
    return found


def _text(text: str, what: str) -> str:
    said = text.strip()
    if not said or len(said) > LONGEST_TEXT:
        raise NotAllowed(f"{what} has 1 to {LONGEST_TEXT} characters")
    return said


def _named(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)
