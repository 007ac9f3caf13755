"""Approvals: a queue that can be worked through from the keyboard, and what became of those that were decided."""

from __future__ import annotations

from router.console.access import DECIDING
from router.console.site import Answer, Asked, Handler, Move, Page, Site, in_sql, not_found
from router.console.view_models import Approval, Approvals
from router.errors import Refused
from router.governance import approvals as governance
from router.governance.approvals import Decider

STATUSES = ("pending", "approved", "denied", "used", "expired")
MOST = 200
DONE = {"approve": "Approved: the app gets its answer when it comes back.", "reject": "Denied."}


async def listed(site: Site, asked: Asked) -> Answer:
    """What waits for this person, or what became of approvals."""
    status = asked.query.get("status", governance.PENDING)
    if status not in STATUSES:
        raise Refused("invalid_request", f"a status is one of {', '.join(STATUSES)}")
    person = asked.person
    waiting, rows = [], []
    if status == governance.PENDING:
        found = await site.deciding.approvals.pending(asked.at)
        waiting = [governance.shown(each) for each in found if governance.concerns(person, each.held)][:MOST]
    else:
        known = await in_sql(lambda: site.deciding.records.history(app=None, session=None, status=status, limit=MOST))
        rows = [row for row in known if governance.may_recall(person, row)]
    done = DONE.get(asked.query.get("done", ""), "")
    model = Approvals(status, STATUSES, tuple(waiting), tuple(rows), person.holds(*DECIDING), done)
    return Page("approvals.html", model)


async def show(site: Site, asked: Asked) -> Answer:
    """One approval."""
    approval_id = asked.names["approval_id"]
    found = await site.deciding.approvals.waiting(approval_id)
    if found is not None and governance.concerns(asked.person, found.held):
        waits = found.history.status == governance.PENDING
        return Page("approval.html", Approval(governance.shown(found), waits, waits and asked.person.holds(*DECIDING)))
    row = await in_sql(lambda: site.deciding.records.one(approval_id)) if found is None else None
    if row is None or not governance.may_recall(asked.person, row):
        raise not_found("approval")
    return Page("approval.html", Approval(row, False, False))


async def decide(site: Site, asked: Asked) -> Answer:
    """Approve or deny, once."""
    decision = asked.form.get("decision", "")
    if decision not in DONE:
        raise Refused("invalid_request", "a decision is to approve or to reject")
    who = Decider(asked.person.email, asked.person)
    note = asked.form.get("note", "").strip()
    await site.deciding.decide(asked.names["approval_id"], who, approve=decision == "approve", via="console", note=note)
    return Move(f"/approvals?done={decision}")


HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/approvals"): listed,
    ("GET", "/approvals/{approval_id}"): show,
    ("POST", "/approvals/{approval_id}"): decide,
}
