"""Corrections of what is booked: prices that were found later, and what a provider's invoice says. Nothing is edited: the request's
outcome is stated anew, the ledger takes back the lines before it, and the balances of session and owner change by the difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from router.errors import Refused
from router.exchange import Outcome
from router.governance.rules_values import Actor
from router.money import cost_nano
from router.principals import SINGLE, Role
from router.usage import STANDARD_TIER, Basis, Line
from routing_rules.catalogue import Deployment, Price
from routing_rules.prices import INPUT_CLASSES

MOST_LINES = 200
LONGEST_REASON = 500

BOOKED, REPEATED, CHANGED, OPEN, FULL = "booked", "repeated", "changed", "open", "full"
"""What becomes of a correction: booked now; on its way already; another one is, or the request's own late truth; the request is not
settled; the outbox takes nothing at present."""


TIER_UNTOLD = Price(source="tier untold")
"""Instead of a price: lines of earlier versions do not tell under which service tier they were served, and that decides their price."""


class Booked(msgspec.Struct, frozen=True):
    """A settled request as the ledger has it. `outcome` is the last one, `incurred_at` when the use was, `lines` how many are booked."""

    request_id: str
    shard: int
    app: str
    owner: str
    session: str
    opened_at: datetime
    incurred_at: datetime
    lines: int
    outcome: Outcome


class Stated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line as somebody states it: nano-USD per million of `unit`. What is left out is as in the line that it replaces, the one of the
    same attempt and token class."""

    token_class: str
    quantity: int
    attempt: int = 1
    unit_price: int | None = None
    list_price: int | None = None
    unit: str = ""
    deployment: str = ""
    provider: str = ""
    model: str = ""


class Ledger(Protocol):
    """The booked requests. SQL down: sqlalchemy.exc.DBAPIError."""

    def booked(self, request_id: str) -> Booked | None:
        """A settled request; None where there is none."""
        ...

    def unpriced(self) -> Iterator[Booked]:
        """Requests with a use of which nothing is booked but that it has no price, in order of their ids."""
        ...

    def note(self, actor: str, at: datetime, act: str, subject: str, state: dict[str, object]) -> None:
        """Enter an act into the administrative audit chain."""
        ...


class Books(Protocol):
    """Where corrections are booked: on the session's balance, the owner's periods and the way to the ledger. Down: Unavailable."""

    async def correct(self, booked: Booked, outcome: Outcome, periods: str) -> str:
        """Book the difference, once; one of `BOOKED`, `REPEATED`, `CHANGED`, `OPEN`, `FULL`."""
        ...


class Pricing(msgspec.Struct, frozen=True):
    """What came of pricing: requests and lines that got a price, what they cost more, and uses that still have none, by model: `unpriced`
    for want of a price, `untold` because nobody noted the service tier that decides it."""

    requests: int = 0
    lines: int = 0
    added_nano: int = 0
    skipped: int = 0
    unpriced: dict[str, int] = {}
    untold: dict[str, int] = {}


def may_correct(actor: Actor, governance: str) -> None:
    """Raises Refused(`role_required`) unless the actor may correct the ledger: a person with the role `finance`, or under `single`
    whoever holds the data directory."""
    if actor.person is None and governance == SINGLE:
        return
    if actor.person is None or not actor.person.holds(Role.FINANCE):
        raise Refused("role_required", "the role `finance` corrects the ledger: send the token of a person who has it")


def repriced(booked: Booked, at: datetime, price_of: Callable[[Line, datetime], Price | None]) -> Outcome | None:
    """The outcome with prices for the uses that have none; None where no price is known for any of them.

    A price is that of the moment when the request came, by all that its attempt took in.
    """
    lines = [
        line if line.unit_price is not None or not line.quantity else _with_price(line, booked, price_of)
        for line in booked.outcome.lines
    ]
    if lines == list(booked.outcome.lines):
        return None
    return _anew(booked, at, lines)


def _with_price(line: Line, booked: Booked, price_of: Callable[[Line, datetime], Price | None]) -> Line:
    price = price_of(line, booked.opened_at)
    if price is None:
        return line
    taken = sum(
        each.quantity for each in booked.outcome.lines if each.attempt == line.attempt and each.token_class in INPUT_CLASSES
    )
    billed = _rate(price, line, taken)
    if billed is None:
        return line
    listed = billed if price.at_list is None else _rate(price.at_list, line, taken)
    return msgspec.structs.replace(
        line,
        unit_price=billed,
        list_price=listed,
        cost_nano=cost_nano(line.quantity, billed),
        price_source=price.source,
        price_book=price.book,
    )


def _rate(price: Price, line: Line, taken: int) -> int | None:
    rates = price.applied(taken, "" if line.service_tier == STANDARD_TIER else line.service_tier)
    return rates.of(line.token_class) if line.unit == "tokens" else rates.tools.get(line.token_class)


def prices_of(deployments: Sequence[Deployment]) -> Callable[[Line, datetime], Price | None]:
    """Prices by the deployment that was used, and where it is gone, by another one of the same provider and model; `TIER_UNTOLD` where
    the tier would matter and is not known."""
    by_id = {deployment.id: deployment for deployment in deployments}
    by_model = {(deployment.provider, deployment.model): deployment for deployment in deployments}

    def price_of(line: Line, moment: datetime) -> Price | None:
        found = by_id.get(line.deployment) or by_model.get((line.provider, line.model))
        if found is None:
            return None
        price = found.price_at(moment)
        tiered = bool(price.service_tiers) or "service_tier" in found.allowed_fields
        return TIER_UNTOLD if tiered and not line.service_tier else price

    return price_of


def restated(booked: Booked, at: datetime, stated: Sequence[Stated]) -> Outcome:
    """The outcome with these lines instead of its own. Raises Refused(`invalid_request`)."""
    if not 1 <= len(stated) <= MOST_LINES:
        raise Refused("invalid_request", f"a request has 1 to {MOST_LINES} lines", param="lines")
    before = {(line.attempt, line.token_class): line for line in booked.outcome.lines}
    lines = [_stated(each, before.get((each.attempt, each.token_class)), booked) for each in stated]
    return _anew(booked, at, lines, itemised=True)


def _stated(stated: Stated, before: Line | None, booked: Booked) -> Line:
    if stated.quantity < 0 or min(stated.unit_price or 0, stated.list_price or 0) < 0:
        raise Refused(
            "invalid_request", "quantities and prices are not negative: state what the use was in the end", param="lines"
        )
    other = before or next(iter(booked.outcome.lines), None)
    line = Line(
        attempt=stated.attempt,
        deployment=stated.deployment or (other.deployment if other else booked.outcome.deployment or ""),
        provider=stated.provider or (other.provider if other else ""),
        model=stated.model or (other.model if other else ""),
        token_class=stated.token_class,
        quantity=stated.quantity,
        unit_price=stated.unit_price,
        cost_nano=0,
        basis=Basis.REPORTED,
        outcome=other.outcome if other else booked.outcome.outcome,
        price_source="correction",
        unit=stated.unit or (before.unit if before else "tokens"),
        list_price=stated.unit_price if stated.list_price is None else stated.list_price,
        service_tier=before.service_tier if before else "",
    )
    if before is not None and stated.unit_price is None:
        line = msgspec.structs.replace(
            line,
            unit_price=before.unit_price,
            list_price=before.list_price if stated.list_price is None else stated.list_price,
            price_source=before.price_source,
            price_book=before.price_book,
        )
    if line.unit_price is None:
        return line
    return msgspec.structs.replace(line, cost_nano=cost_nano(line.quantity, line.unit_price))


def _anew(booked: Booked, at: datetime, lines: Sequence[Line], *, itemised: bool = False) -> Outcome:
    """What no line accounts for stays as it is, unless the lines are all there is."""
    before = booked.outcome
    rest = 0 if itemised else before.cost_nano - sum(line.cost_nano for line in before.lines)
    return msgspec.structs.replace(
        before,
        at=at,
        lines=tuple(lines),
        cost_nano=sum(line.cost_nano for line in lines) + rest,
        basis=Basis.ESTIMATED if any(line.basis is Basis.ESTIMATED for line in lines) else Basis.REPORTED,
        correction=True,
        incurred_at=booked.incurred_at,
    )


async def price(
    ledger: Ledger,
    books: Books,
    *,
    actor: Actor,
    at: datetime,
    governance: str,
    price_of: Callable[[Line, datetime], Price | None],
    periods_of: Callable[[str, datetime], str],
) -> Pricing:
    """Give every use without a price the one that is known by now. What is on its way already is not booked again, so that it may be
    called once more after whatever ended it. Both that it began and what came of it are administrative acts."""
    may_correct(actor, governance)
    ledger.note(actor.name, at, "ledger.pricing_began", "ledger", {})
    requests = lines = added = skipped = 0
    left: Counter[str] = Counter()
    untold: Counter[str] = Counter()
    for booked in ledger.unpriced():
        outcome = repriced(booked, at, price_of)
        if outcome is not None:
            state = await books.correct(booked, outcome, periods_of(booked.owner, booked.opened_at))
            if state == FULL:
                raise Refused("rate_limit_exceeded", "records cannot be written at present: call it again later")
            if state != BOOKED:
                skipped += 1
                continue
            requests += 1
            lines += sum(now != was for now, was in zip(outcome.lines, booked.outcome.lines, strict=True))
            added += outcome.cost_nano - booked.outcome.cost_nano
        for line in (outcome or booked.outcome).lines:
            if line.unit_price is None:
                (untold if price_of(line, booked.opened_at) is TIER_UNTOLD else left)[line.model] += line.quantity
    done = Pricing(requests, lines, added, skipped, dict(left), dict(untold))
    ledger.note(actor.name, at, "ledger.priced", "ledger", msgspec.to_builtins(done))
    return done


async def correct(
    ledger: Ledger,
    books: Books,
    request_id: str,
    stated: Sequence[Stated],
    *,
    reason: str,
    actor: Actor,
    at: datetime,
    governance: str,
    periods_of: Callable[[str, datetime], str],
) -> int:
    """State what a request used and cost in the end; by how much that changes its cost, in nano-USD. Both that it began and that it was
    booked are administrative acts.

    Raises Refused: `role_required`, `not_found`, `invalid_request`; `session_changed` where its own truth, or another correction, is on
    its way to the ledger.
    """
    may_correct(actor, governance)
    if not 1 <= len(reason.strip()) <= LONGEST_REASON:
        raise Refused("invalid_request", f"a correction needs a reason of 1 to {LONGEST_REASON} characters", param="reason")
    booked = ledger.booked(request_id)
    if booked is None:
        raise Refused("not_found", "the ledger has no settled request of this id")
    outcome = restated(booked, at, stated)
    if outcome.lines == booked.outcome.lines and outcome.cost_nano == booked.outcome.cost_nano:
        raise Refused("invalid_request", "these are the lines that are booked", param="lines")
    added = outcome.cost_nano - booked.outcome.cost_nano
    about: dict[str, object] = {"reason": reason.strip(), "added_nano": added}
    ledger.note(actor.name, at, "ledger.correction_began", f"request:{request_id}", about)
    state = await books.correct(booked, outcome, periods_of(booked.owner, booked.opened_at))
    if state == FULL:
        raise Refused("rate_limit_exceeded", "records cannot be written at present: call it again later")
    if state not in (BOOKED, REPEATED):
        raise Refused(
            "session_changed", "something else about this request is on its way to the ledger: call it again in a moment"
        )
    ledger.note(actor.name, at, "ledger.corrected", f"request:{request_id}", about)
    return added
