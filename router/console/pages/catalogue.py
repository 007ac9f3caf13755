"""The catalogue: where data may go and how long the reviews hold, which tools there are and which wait, and what an app can reach."""

from __future__ import annotations

from datetime import date, timedelta

import msgspec

from router.console.access import REGISTERING
from router.console.drawing import Graph, graph
from router.console.site import Answer, Asked, Handler, Move, Page, Site, in_sql, not_found
from router.console.view_models import Catalogue, Reach
from router.errors import Refused
from router.governance import tools as governance
from router.governance.rules import NotAllowed
from router.governance.rules_values import Actor
from routing_rules import blast_radius
from routing_rules.catalogue import Deployment, Grace, Review
from routing_rules.faults import RuleFaults
from routing_rules.reviews import REMINDERS, Due, due_reviews
from routing_rules.rules import RuleSet

SOON = timedelta(days=REMINDERS[0])
KINDS = {"set": "entitlement set", "access_review": "access review", "capability_review": "capability review"}
MOST_WAITING = 200
DONE = {
    "confirmed": "Registered: the tool is in the rules in force.",
    "proposed": "Proposed: the tool is offered once somebody else has approved it.",
    "rejected": "Rejected: nobody is asked about it again until it is imported.",
}
GRAVE = ("destructive", "executes_code", "spends_money", "admin_privilege", "computer_control")


class ReviewShown(msgspec.Struct, frozen=True):
    """A review and how it stands: good, soon (30 days or less), grace (past its day, and counting still), overdue, or none.
    `grace_by`: who gave it the grace that ends on `expires`; `due` is the day before that."""

    by: str
    due: str
    expires: str
    state: str
    grace_by: tuple[str, ...] = ()


class DueShown(msgspec.Struct, frozen=True):
    """A review that somebody is reminded of. `reminder` tells which of the reminders holds today, in words."""

    what: str
    id: str
    owner: str
    reminder: str
    review: ReviewShown


class DeploymentShown(msgspec.Struct, frozen=True):
    """A deployment with both its reviews. `effective` is what may go there today."""

    deployment: Deployment
    capability: ReviewShown
    access: ReviewShown
    effective: str


class ToolShown(msgspec.Struct, frozen=True):
    """A tool, and the sets that hold it."""

    id: str
    owner: str
    capabilities: tuple[str, ...]
    highest_read: str
    approval: str
    sets: tuple[str, ...]
    names: tuple[str, ...]


async def show(site: Site, asked: Asked) -> Answer:
    """The catalogue of the rules in force."""
    rules, today = site.directory.rules(), asked.at.date()
    waiting = await in_sql(lambda: governance.pending(site.registrations))
    model = Catalogue(
        due=tuple(_due(each, today) for each in sorted(due_reviews(rules, today), key=lambda due: (due.counts_until, due.id))),
        deployments=tuple(_deployment(each, today) for each in rules.deployments.values()),
        tools=tuple(_tool(rules, id) for id in sorted(rules.tools)),
        waiting=tuple(waiting[:MOST_WAITING]),
        sets=tuple((each, _standing(each.owner, each.review_by, each.grace, today)) for each in rules.sets.values()),
        apps=tuple(rules.apps.values()),
        owner=asked.person.email,
        may_register=asked.person.holds(*REGISTERING),
        done=DONE.get(asked.query.get("done", ""), ""),
    )
    return Page("catalogue.html", model)


async def register(site: Site, asked: Asked) -> Answer:
    """Confirm or reject a tool that waits."""
    form = asked.form
    names, actor = [form.get("tool", "")], asked.person.email
    if form.get("decision") == "reject":
        try:
            await in_sql(lambda: governance.reject(site.registrations, names, actor=actor, at=asked.at))
        except governance.NoSuchTool as error:
            raise Refused("not_found", str(error)) from None
        return Move("/catalogue?done=rejected#waiting")
    chosen = tuple(each for each in asked.lists.get("set", ()) if each)
    said = governance.Confirmation(owner=form.get("owner", "").strip() or actor, sets=chosen)

    def work() -> bool:
        mode = site.mode()
        by = Actor(actor, asked.person, "console")
        _, active, _ = governance.confirm(
            site.rules, site.registrations, names, said, by=by, governance_mode=mode, at=asked.at, people=site.people.all()
        )
        return active

    try:
        active = await in_sql(work)
    except governance.NoSuchTool as error:
        raise Refused("not_found", str(error)) from None
    except NotAllowed as error:
        raise Refused("role_required", str(error)) from None
    except RuleFaults as faults:
        raise Refused("invalid_request", f"the rules would not stand: {faults}") from None
    await site.changed(None)
    return Move(f"/catalogue?done={'confirmed' if active else 'proposed'}#waiting")


async def reach(site: Site, asked: Asked) -> Answer:
    """What an app, or an entitlement set, can reach at most."""
    rules, today, identity = site.directory.rules(), asked.at.date(), asked.names["identity"]
    if identity in rules.apps:
        found = blast_radius.reach_of_app(rules, rules.apps[identity], today)
    elif identity in rules.sets:
        found = blast_radius.reach_of_set(rules, rules.sets[identity], today)
    else:
        raise not_found("app or entitlement set")
    return Page("reach.html", Reach(found, drawn(found), (*rules.apps, *rules.sets)))


def drawn(found: blast_radius.Reach) -> Graph:
    """From the identity over sets and tools to what they can do, and to where data can go."""
    sets = sorted({each for tool in found.tools for each in tool.sets})
    columns = [
        ("App" if found.kind == "app" else "Set", [("identity", found.id, "", "start")]),
        ("Entitlement sets", [(f"s {each}", each, "", "") for each in sets]),
        ("Tools", [(f"t {tool.id}", tool.id, "", "careful" if tool.approval != "none" else "") for tool in found.tools]),
        ("Can", [(f"c {each}", each.replace("_", " "), "", "grave" if each in GRAVE else "") for each in found.capabilities]),
    ]
    links = [("identity", f"s {each}", "") for each in sets]
    links += [(f"s {each}", f"t {tool.id}", "") for tool in found.tools for each in tool.sets]
    links += [
        (f"t {tool.id}", f"c {each}", "grave" if each in GRAVE else "") for tool in found.tools for each in tool.capabilities
    ]
    return graph(columns, links)


def _deployment(deployment: Deployment, today: date) -> DeploymentShown:
    access = _review(deployment.access_review, today)
    effective = "public" if access.state == "overdue" else str(deployment.clearance)
    return DeploymentShown(deployment, _review(deployment.capability_review, today), access, effective)


def _review(review: Review | None, today: date) -> ReviewShown:
    return ReviewShown("", "", "", "none") if review is None else _standing(review.reviewer, review.expires, review.grace, today)


def _due(due: Due, today: date) -> DueShown:
    days = due.reminder
    reminder = f"{days} day{'s' if days != 1 else ''} or less" if days else "past"
    review = _standing(due.owner, due.due, due.grace, today)
    return DueShown(KINDS[due.kind], due.id, due.owner, reminder, review)


def _standing(by: str, due: date, grace: Grace | None, today: date) -> ReviewShown:
    until = due if grace is None else grace.until
    state = "overdue" if until < today else "grace" if due < today else "soon" if due <= today + SOON else "good"
    return ReviewShown(by, due.isoformat(), until.isoformat(), state, grace.approved_by if grace is not None else ())


def _tool(rules: RuleSet, id: str) -> ToolShown:
    tool = rules.tools[id]
    return ToolShown(
        id=tool.id,
        owner=tool.owner,
        capabilities=tuple(sorted(each.value for each in tool.capabilities)),
        highest_read=str(tool.highest_read),
        approval=tool.approval_boundary,
        sets=tuple(each.id for each in rules.sets.values() if id in each.tools),
        names=(*tool.functions, *tool.hosted, *(f"mcp {label}" for label in tool.servers)),
    )


HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/catalogue"): show,
    ("POST", "/catalogue/tools"): register,
    ("GET", "/catalogue/reach/{identity}"): reach,
}
