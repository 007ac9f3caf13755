"""Raises of an owner's budget for a while: one person asks, another approves, and at its end date it is over by itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from router.errors import Refused
from router.money import LARGEST_NANO
from router.principals import SINGLE, Person, Role
from routing_rules.budgets import Raise
from routing_rules.calendars import Per
from routing_rules.rules import RuleSet

LONGEST = timedelta(days=92)
MOST_PERCENT = 1000
LONGEST_REASON = 500
WAITING, IN_FORCE, OVER = "waiting", "in force", "over"


class Actor(msgspec.Struct, frozen=True):
    """Who acts: a person, or (None) whoever holds the admin key or the data directory. `name` is what records say."""

    name: str
    person: Person | None = None


class BudgetRaise(msgspec.Struct, frozen=True):
    """One raise as it was asked for, and what became of it: `amount_nano` (nano-USD) or `percent` of the limit more in every budget of a
    kind of period, from its approval until `ends`. Times in UTC."""

    id: str
    owner: str
    per: Per
    amount_nano: int | None
    percent: int | None
    reason: str
    asked_by: str
    asked_at: datetime
    ends: datetime
    approved_by: str | None = None
    approved_at: datetime | None = None
    ended_by: str | None = None
    ended_at: datetime | None = None

    def state(self, now: datetime) -> str:
        """waiting (for somebody to approve it), in force, or over."""
        if self.ended_at is not None or self.ends <= now:
            return OVER
        return WAITING if self.approved_at is None else IN_FORCE

    @property
    def effect(self) -> Raise | None:
        """What it does to limits; None while it is not approved, and once somebody has ended it."""
        if self.approved_at is None or self.ended_at is not None:
            return None
        return Raise(self.owner, self.per, self.approved_at, self.ends, self.amount_nano, self.percent)


class Raises(Protocol):
    """All raises. Each change is one transaction and one administrative act, and raises Refused(`not_found`) for an id that is unknown."""

    def ask(self, wanted: BudgetRaise) -> BudgetRaise: ...
    def approve(self, raise_id: str, *, by: str, at: datetime) -> BudgetRaise: ...
    def end(self, raise_id: str, *, by: str, at: datetime) -> BudgetRaise: ...
    def all(self) -> Sequence[BudgetRaise]: ...


def ask(
    raises: Raises,
    rules: RuleSet,
    *,
    raise_id: str,
    owner: str,
    per: str,
    amount_nano: int | None,
    percent: int | None,
    ends: datetime,
    reason: str,
    actor: Actor,
    at: datetime,
    governance: str,
) -> BudgetRaise:
    """Ask for a raise. Raises Refused: `role_required`; `invalid_request` for what cannot be raised, or not by so much or for so long."""
    _check_role(actor, governance)
    if per not in tuple(Per):
        raise Refused("invalid_request", f"`per` is one of {', '.join(Per)}", param="per")
    if not any(budget.per == per and budget.hard_nano is not None for budget in rules.budgets_of(owner)):
        raise Refused("invalid_request", "this owner has no hard limit of that kind to raise", param="owner")
    if (amount_nano is None) == (percent is None):
        raise Refused("invalid_request", "a raise is an amount or percents of the limit, one of both", param="percent")
    if amount_nano is not None and not 0 < amount_nano <= LARGEST_NANO // 2:
        raise Refused("invalid_request", "the amount lies above zero and below four million dollars", param="amount_usd")
    if percent is not None and not 0 < percent <= MOST_PERCENT:
        raise Refused("invalid_request", f"percents lie from 1 to {MOST_PERCENT}", param="percent")
    if not at < ends <= at + LONGEST:
        raise Refused("invalid_request", f"a raise ends within {LONGEST.days} days, and not before now", param="ends")
    if not reason.strip() or len(reason) > LONGEST_REASON:
        raise Refused("invalid_request", f"say why, in up to {LONGEST_REASON} characters", param="reason")
    return raises.ask(BudgetRaise(raise_id, owner, Per(per), amount_nano, percent, reason.strip(), actor.name, at, ends))


def approve(raises: Raises, raise_id: str, *, actor: Actor, at: datetime, governance: str) -> BudgetRaise:
    """Put a raise in force. Raises Refused: `not_found`; `role_required` also for whoever asked, unless the mode is `single`;
    `invalid_request` where it does not wait."""
    _check_role(actor, governance)
    found = _found(raises, raise_id)
    if governance != SINGLE and actor.name.lower() == found.asked_by.lower():
        raise Refused("role_required", "you asked for it: somebody else approves")
    if found.state(at) != WAITING:
        raise Refused("invalid_request", f"this raise does not wait: it is {found.state(at)}")
    return raises.approve(raise_id, by=actor.name, at=at)


def end(raises: Raises, raise_id: str, *, actor: Actor, at: datetime, governance: str) -> BudgetRaise:
    """End a raise before its time, or refuse one that waits. Raises Refused: `not_found`, `role_required`, `invalid_request`."""
    _check_role(actor, governance)
    if _found(raises, raise_id).state(at) == OVER:
        raise Refused("invalid_request", "this raise is over already")
    return raises.end(raise_id, by=actor.name, at=at)


def _found(raises: Raises, raise_id: str) -> BudgetRaise:
    found = next((each for each in raises.all() if each.id == raise_id), None)
    if found is None:
        raise Refused("not_found", "there is no such raise: `router budgets list` names all")
    return found


def _check_role(actor: Actor, governance: str) -> None:
    if actor.person is None:
        if governance != SINGLE:
            raise Refused(
                "role_required", "under `four_eyes` a person acts: send the token of somebody of finance, or of an admin"
            )
    elif not actor.person.holds(Role.FINANCE, Role.ADMIN):
        raise Refused("role_required", "budgets are raised by somebody of finance, or an admin")
