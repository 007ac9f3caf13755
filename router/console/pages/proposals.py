"""Proposals: what each changes and widens, what it would have done to the last days, who said what, and the decision on it."""

from __future__ import annotations

from typing import Any

from router.console.access import DISCUSSING, EDITING
from router.console.drawing import Bars, bars
from router.console.pages.rules import changed_lines, governed
from router.console.shown import count, dollars
from router.console.site import Answer, Asked, Handler, Move, Page, Site, in_sql
from router.console.view_models import Proposal, Proposals
from router.errors import Refused
from router.governance import rules as governance
from router.governance import rules_replay
from router.governance.rules_values import Actor, NotAllowed, Stale, Status, who
from router.governance.rules_values import Proposal as Change
from router.principals import SINGLE, Role
from routing_rules.diff import grid
from routing_rules.faults import RuleFaults
from routing_rules.rules import DIMENSIONS

REPLAY_DAYS = 7
MOST_DAYS = 92
DONE = {
    "saved": "Saved.",
    "approve": "Approved.",
    "reject": "Rejected.",
    "withdraw": "Taken back.",
    "activate": "In force on every replica within two seconds.",
    "emergency": "In force at once; somebody else reviews it now.",
    "comment": "Said.",
    "replay": "Replayed.",
    "rebase": "Brought onto what is in force.",
    "review": "Reviewed.",
    "trial": "The trial has changed.",
    "rollback": "Taken back to the revision before.",
}


async def listed(site: Site, asked: Asked) -> Answer:
    """Open proposals, and what took effect or did not."""
    found = await in_sql(lambda: site.rules.proposals((), 100))
    may = asked.person.holds(Role.APPROVER, Role.EDITOR)
    done = DONE.get(asked.query.get("done", ""), "")
    model = Proposals(tuple(each for each in found if each.open), tuple(each for each in found if not each.open), may, done)
    return Page("proposals.html", model)


async def show(site: Site, asked: Asked) -> Answer:
    """One proposal."""
    return await _page(site, asked)


async def act(site: Site, asked: Asked) -> Answer:
    """Something that somebody does to a proposal. Governance says whether they may."""
    form, name = asked.form, asked.names["proposal_id"]
    by, note, verb = (
        Actor(asked.person.email, asked.person, "console"),
        asked.form.get("note", "").strip(),
        asked.form.get("action", ""),
    )

    def work() -> None:
        store, at, mode = site.rules, asked.at, site.mode()
        seen = form.get("seen", "")
        if verb == "comment":
            governance.comment(store, name, note, by=by, at=at)
        elif verb == "approve":
            governance.approve(store, name, by=by, at=at, governance=mode, note=note, seen=seen)
        elif verb == "reject":
            governance.reject(store, name, by=by, at=at, governance=mode, note=note, seen=seen)
        elif verb == "withdraw":
            governance.withdraw(store, name, by=by, at=at)
        elif verb in ("activate", "emergency"):
            governance.activate(store, name, by=by, at=at, governance=mode, emergency=verb == "emergency", seen=seen)
        elif verb == "rebase":
            governance.rebase(store, name, by=by, governance=mode, at=at, people=site.people.all())
        elif verb == "review":
            governance.review(store, name, by=by, at=at, governance=mode, note=note)
        elif verb == "trial":
            kind, share = form.get("kind", ""), form.get("share", "10")
            if not share.isdigit() or not 1 <= int(share) <= 100:
                raise Refused("invalid_request", "a share is a percentage from 1 to 100")
            governance.trial(store, name, kind or None, by=by, at=at, governance=mode, share=int(share))
        elif verb == "replay":
            _replay(site, asked, name, by)
        else:
            raise Refused("invalid_request", "this is nothing that can be done to a proposal")

    try:
        await in_sql(work)
    except (Stale, NotAllowed, RuleFaults) as error:
        return await _page(site, asked, str(error), 409 if isinstance(error, Stale) else 403)
    if verb in ("activate", "emergency", "trial"):
        await site.changed(None)
    return Move(f"/proposals/{name}?done={verb}")


async def rollback(site: Site, asked: Asked) -> Answer:
    """Back to the revision before, which is itself a change."""
    by, reason = Actor(asked.person.email, asked.person, "console"), asked.form.get("note", "").strip() or "taken back"
    made: Change = await governed(
        lambda: governance.rollback(
            site.rules, by=by, at=asked.at, governance=site.mode(), reason=reason, people=site.people.all()
        )
    )
    await site.changed(None)
    return Move(f"/proposals/{made.id}?done={'rollback' if made.status is Status.ACTIVE else 'saved'}")


def _replay(site: Site, asked: Asked, name: str, by: Actor) -> None:
    days = asked.form.get("days", str(REPLAY_DAYS))
    if not days.isdigit() or not 1 <= int(days) <= MOST_DAYS:
        raise Refused("invalid_request", f"a replay goes from 1 to {MOST_DAYS} days back")
    found = governance.proposal(site.rules, name)
    if found.base is None:
        raise NotAllowed("there is nothing before the first rules to compare with")
    figures = rules_replay.replay(site.rules, site.recorded, found.base, found.revision, days=int(days), at=asked.at)
    governance.keep_replay(site.rules, name, figures, by=by, at=asked.at)


async def _page(site: Site, asked: Asked, fault: str = "", status: int = 200) -> Page:
    name, person = asked.names["proposal_id"], asked.person
    found: Change = await governed(lambda: governance.proposal(site.rules, name))
    mode = asked.governance
    why_not = governance.may_approve(found, Actor(person.email, person, "console"), mode) or ""
    if not person.holds(Role.APPROVER, Role.TOOL_OWNER) and mode != SINGLE:
        why_not = why_not or "it takes an approver"
    shadow = await in_sql(lambda: site.rules.differences(name, 20)) if found.trial == "shadow" else None
    levels = DIMENSIONS["sensitivity"]
    changed = grid(found.diff) if found.diff is not None else {}
    squares = tuple(
        (task, tuple({True: "widens", False: "changes", None: ""}[changed.get((level, task))] for level in levels))
        for task in map(str, DIMENSIONS["task"])
        if any((level, task) in changed for level in levels)
    )
    replay = found.replay
    ready = found.status is Status.APPROVED or (mode == SINGLE and found.status is Status.CHECKED)
    model = Proposal(
        proposal=found,
        why_not=why_not,
        wants=who(found.wants()) if found.wants() else "",
        grid=squares,
        map_changed=sum(bool(each) for _, cells in squares for each in cells),
        map_widened=sum(each == "widens" for _, cells in squares for each in cells),
        changes=tuple(sorted(found.diff.changes, key=lambda change: (not change.widens, -change.cells)))
        if found.diff is not None
        else (),
        levels=levels,
        plot=_by_day(replay) if replay is not None else None,
        outcomes=_outcomes(replay) if replay is not None else None,
        spend=_spend(replay) if replay is not None else None,
        shadow=shadow,
        may_edit=found.open and person.holds(*EDITING),
        may_approve=found.open and not why_not,
        may_activate=ready and person.holds(Role.APPROVER, Role.EDITOR),
        may_talk=person.holds(*DISCUSSING),
        cases=sum(fault.code == "case_failed" for fault in found.faults),
        files=await in_sql(lambda: _files(site, found)),
        done=DONE.get(asked.query.get("done", ""), ""),
        fault=fault,
    )
    return Page("proposal.html", model, status)


def _by_day(replay: Any) -> Bars:
    return bars([(day, float(changed), f"{changed:,} of {requests:,}") for day, requests, changed in replay.by_day], labels=90)


def _outcomes(replay: Any) -> Bars:
    rows = sorted([*replay.outcomes.items(), *replay.tiers.items()], key=lambda pair: -pair[1])[:12]
    return bars([(name, float(number), count(number)) for name, number in rows], labels=170)


def _spend(replay: Any) -> Bars:
    return bars(
        [
            ("before", float(replay.spend_before), dollars(replay.spend_before)),
            ("after", float(replay.spend_after), dollars(replay.spend_after)),
        ],
        labels=60,
    )


def _files(site: Site, found: Change) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """The changed files, line by line: (name, (kind of line, line))."""
    base = site.rules.get(found.base) if found.base is not None else None
    after = site.rules.get(found.revision)
    if base is None or after is None:
        return ()
    shown = []
    for name in sorted({*base.files, *after.files}):
        before_text, after_text = base.files.get(name, ""), after.files.get(name, "")
        if before_text != after_text:
            shown.append((name, changed_lines(before_text, after_text)))
    return tuple(shown)


HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/proposals"): listed,
    ("GET", "/proposals/{proposal_id}"): show,
    ("POST", "/proposals/{proposal_id}"): act,
    ("POST", "/rollback"): rollback,
}
