"""Who may open what in the console: one table of routes, roles and steps of signing in, and the navigation that follows from it."""

from __future__ import annotations

import msgspec

from router.principals import Role

BASE = "/console"

PASSWORD, CODE, ENROL, IN = "password", "code", "enrol", "in"
"""Steps of signing in: a new password must be chosen, a second factor is asked for, one must be set up, and done."""

ANYBODY = frozenset(Role)
LOOKING = frozenset({Role.VIEWER, Role.EDITOR, Role.APPROVER, Role.ADMIN})
WATCHING = frozenset({Role.VIEWER, Role.APPROVER, Role.ADMIN})
ENDING = frozenset({Role.APPROVER, Role.ADMIN})
DECIDING = frozenset({Role.APPROVER, Role.TOOL_OWNER})
EDITING = frozenset({Role.EDITOR})
QUEUEING = frozenset({Role.VIEWER, Role.APPROVER, Role.TOOL_OWNER, Role.ADMIN})
FINANCE = frozenset({Role.FINANCE, Role.ADMIN})
CATALOGUE = ANYBODY - {Role.FINANCE}
DISCUSSING = CATALOGUE
REGISTERING = frozenset({Role.EDITOR, Role.TOOL_OWNER})


class Door(msgspec.Struct, frozen=True):
    """Who may use a route: any of these roles, at any of these steps. `open`: everybody, signed in or not."""

    roles: frozenset[Role] = ANYBODY
    steps: frozenset[str] = frozenset({IN})
    open: bool = False


OPEN = Door(open=True)
EVERY_STEP = Door(steps=frozenset({PASSWORD, CODE, ENROL, IN}))

ROUTES: dict[tuple[str, str], Door] = {
    ("GET", "/static/{name}"): OPEN,
    ("GET", "/sign-in"): OPEN,
    ("POST", "/sign-in"): OPEN,
    ("GET", "/oidc"): OPEN,
    ("GET", "/oidc/back"): OPEN,
    ("GET", "/code"): Door(steps=frozenset({CODE})),
    ("POST", "/code"): Door(steps=frozenset({CODE})),
    ("GET", "/password"): Door(steps=frozenset({PASSWORD, IN})),
    ("POST", "/password"): Door(steps=frozenset({PASSWORD, IN})),
    ("GET", "/second-factor"): Door(steps=frozenset({ENROL, IN})),
    ("POST", "/second-factor"): Door(steps=frozenset({ENROL, IN})),
    ("POST", "/second-factor/off"): Door(),
    ("POST", "/sign-out"): EVERY_STEP,
    ("GET", "/"): Door(),
    ("GET", "/account"): Door(),
    ("GET", "/decisions"): Door(LOOKING),
    ("GET", "/decisions/{request_id}"): Door(LOOKING),
    ("POST", "/decisions/{request_id}/case"): Door(EDITING),
    ("GET", "/sessions"): Door(WATCHING),
    ("GET", "/sessions/{app}/{session_id}"): Door(WATCHING),
    ("POST", "/sessions/{app}/{session_id}/end"): Door(ENDING),
    ("POST", "/running/{request_id}/end"): Door(ENDING),
    ("GET", "/approvals"): Door(QUEUEING),
    ("GET", "/approvals/{approval_id}"): Door(QUEUEING),
    ("POST", "/approvals/{approval_id}"): Door(DECIDING),
    ("GET", "/map"): Door(),
    ("GET", "/rules"): Door(CATALOGUE),
    ("GET", "/rules/workbook"): Door(CATALOGUE),
    ("POST", "/rules/workbook"): Door(EDITING),
    ("GET", "/rules/edit"): Door(EDITING),
    ("POST", "/rules/edit"): Door(EDITING),
    ("GET", "/proposals"): Door(CATALOGUE),
    ("GET", "/proposals/{proposal_id}"): Door(CATALOGUE),
    ("POST", "/proposals/{proposal_id}"): Door(DISCUSSING),
    ("POST", "/rollback"): Door(frozenset({Role.EDITOR, Role.APPROVER})),
    ("GET", "/catalogue"): Door(CATALOGUE),
    ("GET", "/catalogue/reach/{identity}"): Door(CATALOGUE),
    ("POST", "/catalogue/tools"): Door(REGISTERING),
    ("GET", "/keys"): Door(frozenset({Role.ADMIN})),
    ("POST", "/keys"): Door(frozenset({Role.ADMIN})),
    ("POST", "/keys/{key_id}/rotate"): Door(frozenset({Role.ADMIN})),
    ("POST", "/keys/{key_id}/revoke"): Door(frozenset({Role.ADMIN})),
    ("GET", "/people"): Door(frozenset({Role.ADMIN})),
    ("POST", "/people"): Door(frozenset({Role.ADMIN})),
    ("POST", "/people/{who}/confirm"): Door(frozenset({Role.ADMIN})),
    ("POST", "/people/{who}/end"): Door(frozenset({Role.ADMIN})),
    ("GET", "/finance"): Door(FINANCE),
    ("GET", "/finance/files/{name}"): Door(FINANCE),
    ("GET", "/finance/movers"): Door(FINANCE),
    ("GET", "/finance/savings"): Door(FINANCE),
    ("GET", "/finance/budgets"): Door(FINANCE),
    ("GET", "/finance/budgets/{owner}"): Door(FINANCE),
    ("POST", "/finance/raises"): Door(FINANCE),
    ("POST", "/finance/raises/{raise_id}"): Door(FINANCE),
    ("GET", "/finance/exports"): Door(FINANCE),
    ("GET", "/finance/exports/file"): Door(FINANCE),
    ("GET", "/finance/months"): Door(FINANCE),
    ("GET", "/finance/months/{month}"): Door(FINANCE),
    ("POST", "/finance/months/{month}/close"): Door(frozenset({Role.FINANCE})),
    ("POST", "/finance/months/{month}/reopen"): Door(frozenset({Role.FINANCE})),
    ("GET", "/finance/months/{month}/statement"): Door(FINANCE),
    ("GET", "/finance/months/{month}/statement/{form}"): Door(FINANCE),
    ("GET", "/finance/requests"): Door(FINANCE),
    ("GET", "/finance/requests/{request_id}"): Door(FINANCE),
    ("GET", "/spend"): Door(FINANCE),
}
"""Which roles may use which route below `/console`. A route that is not here is nobody's."""


class Item(msgspec.Struct, frozen=True):
    """A line of the navigation."""

    name: str
    path: str


class Group(msgspec.Struct, frozen=True):
    """Some lines of the navigation under one heading."""

    name: str
    items: tuple[Item, ...]


NAVIGATION = (
    Group("Look", (Item("Decisions", "/decisions"), Item("Sessions", "/sessions"), Item("Approvals", "/approvals"))),
    Group(
        "Finance",
        (
            Item("Spend", "/finance"),
            Item("Budgets", "/finance/budgets"),
            Item("Savings", "/finance/savings"),
            Item("What changed", "/finance/movers"),
            Item("Months", "/finance/months"),
            Item("Exports", "/finance/exports"),
        ),
    ),
    Group(
        "Govern",
        (Item("Map", "/map"), Item("Rules", "/rules"), Item("Proposals", "/proposals"), Item("Catalogue", "/catalogue")),
    ),
    Group("Administer", (Item("Keys", "/keys"), Item("People", "/people"))),
)
"""Everything that somebody could be shown; each person sees what they may open."""


def navigation(roles: tuple[Role, ...]) -> tuple[Group, ...]:
    """The navigation of somebody with these roles."""
    groups = (Group(group.name, tuple(item for item in group.items if may_open(roles, "GET", item.path))) for group in NAVIGATION)
    return tuple(group for group in groups if group.items)


def may_open(roles: tuple[Role, ...], method: str, path: str) -> bool:
    """Whether somebody with these roles may use a route; `path` as in the table."""
    door = ROUTES.get((method, path))
    return door is not None and (door.open or any(role in door.roles for role in roles))
