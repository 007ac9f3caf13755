"""The ledger: one entry per admitted request, closed once, and the lines that add up to its cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import chain

import msgspec
from sqlalchemy import Engine, select

from router.exchange import Admitted, Outcome
from router.reports.spend import UNITEMISED as UNITEMISED
from router.reports.spend import UNKNOWN as UNKNOWN
from router.storage.sql.engine import reading
from router.storage.sql.finance import report_zone as report_zone
from router.storage.sql.finance import spend as spend
from router.storage.sql.tables import ledger_entries, ledger_lines
from routing_rules.decisions import Hold, Permit


class Entry(msgspec.Struct, frozen=True):
    """One admitted request, as stored. Money in nano-USD, `router_us` and `upstream_us` in microseconds. `cost_nano` is the sum of
    its lines, `asked_model` what the app wished for."""

    request_id: str
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    app: str = UNKNOWN
    owner: str = UNKNOWN
    team: str = UNKNOWN
    cost_center: str = UNKNOWN
    purpose: str = UNKNOWN
    session: str = UNKNOWN
    task: str = UNKNOWN
    sensitivity: str = UNKNOWN
    complexity: str = UNKNOWN
    rule: str = UNKNOWN
    revision: str = UNKNOWN
    tier: str = UNKNOWN
    deployment: str = UNKNOWN
    model: str = UNKNOWN
    provider: str = UNKNOWN
    outcome: str | None = None
    code: str | None = None
    basis: str | None = None
    held_nano: int = 0
    cost_nano: int = 0
    over_hold: bool = False
    line_count: int = 0
    corrections: int = 0
    asked_model: str = UNKNOWN
    impact: str = UNKNOWN
    latency_class: str = UNKNOWN
    router_us: int = 0
    upstream_us: int = 0


class EntryLine(msgspec.Struct, frozen=True):
    """One line of an entry, as stored: an attempt and a token class. Never edited: a correction takes lines back with opposite signs
    and enters others in their place, and `corrects` says which line each of them is about.

    Prices are nano-USD per million of `unit`, `list_price` before any discount, `price_book` the version of the book they are from.
    `at` is when it was booked, which decides its month; `incurred_at` is when the use was.
    """

    request_id: str
    line: int
    at: datetime
    attempt: int
    deployment: str
    provider: str
    model: str
    token_class: str
    quantity: int
    unit_price: int | None
    cost_nano: int
    basis: str
    outcome: str
    price_source: str
    correction: bool
    unit: str
    list_price: int | None
    price_book: str
    corrects: int | None
    incurred_at: datetime


def opened(entry: Entry | None, record: Admitted) -> Entry:
    """The entry of an admitted request; one that its outcome had to make without it gets what was unknown."""
    facts, decision = record.facts, record.decision
    caller = facts.caller
    entry = entry or Entry(record.request_id, deployment=record.deployment)
    return msgspec.structs.replace(
        entry,
        opened_at=record.at,
        app=caller.app,
        owner=caller.owner,
        team=caller.team,
        cost_center=caller.cost_center,
        purpose=caller.purpose,
        session=record.session,
        task=facts.task.value,
        sensitivity=facts.labels.confidentiality.value,
        complexity=facts.complexity.value,
        rule=decision.rule,
        revision=decision.revision,
        tier=decision.tier if isinstance(decision, Permit) else decision.permit.tier if isinstance(decision, Hold) else UNKNOWN,
        held_nano=record.held_nano,
        asked_model=facts.wish,
        impact=record.business_impact or UNKNOWN,
        latency_class=record.latency_class or UNKNOWN,
    )


def posted(
    entry: Entry | None, record: Outcome, previous: Outcome | None, first_open: datetime | None = None
) -> tuple[Entry, list[EntryLine]]:
    """The entry closed by an outcome, or corrected by a later one, and the lines that this adds.

    `previous` is the outcome that a correction replaces: its lines are taken back first, so that the sum stays the cost. Nothing is
    booked before `first_open`, where the first month begins that is not closed.
    """
    entry = entry or Entry(record.request_id)
    at = record.at if first_open is None else max(record.at, first_open)
    if previous is None:
        lines = _lines(entry, record, at, record.at, entry.line_count)
    else:
        incurred = record.incurred_at or previous.incurred_at or previous.at
        before = _lines(entry, previous, at, incurred)
        first = entry.line_count - len(before)  # the lines of the last outcome are the last of its entry
        taken_back = [
            msgspec.structs.replace(
                line,
                line=entry.line_count + place,
                quantity=-line.quantity,
                cost_nano=-line.cost_nano,
                correction=True,
                corrects=first + place,
            )
            for place, line in enumerate(before)
        ]
        after = _lines(entry, record, at, incurred, entry.line_count + len(before))
        lines = taken_back + [
            msgspec.structs.replace(line, correction=True, corrects=_place_of(line, before, first)) for line in after
        ]
    used = lines[-1] if lines else None
    timings = record.timings_us
    upstream = timings.get("forward", 0)
    return (
        msgspec.structs.replace(
            entry,
            closed_at=entry.closed_at or at,
            deployment=record.deployment or entry.deployment,
            model=used.model if used else entry.model,
            provider=used.provider if used else entry.provider,
            outcome=record.outcome,
            code=record.code,
            basis=record.basis.value,
            cost_nano=record.cost_nano,
            over_hold=record.over_hold,
            line_count=entry.line_count + len(lines),
            corrections=entry.corrections + (previous is not None),
            router_us=sum(timings.values()) - upstream if timings else entry.router_us,
            upstream_us=upstream if timings else entry.upstream_us,
        ),
        lines,
    )


def _place_of(line: EntryLine, before: Sequence[EntryLine], first: int) -> int | None:
    """The number of the line that another one replaces: of the same attempt and class, else of the same attempt, else the first."""
    if not before:
        return None
    use = (line.attempt, line.deployment, line.token_class)
    same = (place for place, other in enumerate(before) if (other.attempt, other.deployment, other.token_class) == use)
    near = (place for place, other in enumerate(before) if other.attempt == line.attempt)
    return first + next(chain(same, near), 0)


def _lines(entry: Entry, record: Outcome, at: datetime, incurred_at: datetime, first: int = 0) -> list[EntryLine]:
    lines = [
        EntryLine(
            request_id=record.request_id,
            line=first + place,
            at=at,
            attempt=line.attempt,
            deployment=line.deployment,
            provider=line.provider or entry.provider,
            model=line.model or entry.model,
            token_class=line.token_class,
            quantity=line.quantity,
            unit_price=line.unit_price,
            cost_nano=line.cost_nano,
            basis=line.basis.value,
            outcome=line.outcome,
            price_source=line.price_source,
            correction=False,
            unit=line.unit,
            list_price=line.unit_price if line.list_price is None else line.list_price,
            price_book=line.price_book,
            corrects=None,
            incurred_at=incurred_at,
        )
        for place, line in enumerate(record.lines)
    ]
    if rest := record.cost_nano - sum(line.cost_nano for line in lines):
        last = record.lines[-1] if record.lines else None
        lines.append(
            EntryLine(
                request_id=record.request_id,
                line=first + len(lines),
                at=at,
                attempt=last.attempt if last else 0,
                deployment=record.deployment or entry.deployment,
                provider=last.provider if last else entry.provider,
                model=last.model if last else entry.model,
                token_class=UNITEMISED,
                quantity=0,
                unit_price=None,
                cost_nano=rest,
                basis=record.basis.value,
                outcome=record.outcome,
                price_source="hold",
                correction=False,
                unit="tokens",
                list_price=None,
                price_book="",
                corrects=None,
                incurred_at=incurred_at,
            )
        )
    return lines


def entry_of(engine: Engine, request_id: str) -> tuple[Entry, list[EntryLine]] | None:
    """A request's entry and its lines in order, or None."""
    with reading(engine) as connection:
        row = connection.execute(select(ledger_entries).where(ledger_entries.c.request_id == request_id)).one_or_none()
        if row is None:
            return None
        lines = connection.execute(
            select(ledger_lines).where(ledger_lines.c.request_id == request_id).order_by(ledger_lines.c.line)
        )
        return Entry(*row), [EntryLine(*line) for line in lines]


def open_entries(engine: Engine, before: datetime) -> list[Entry]:
    """Entries opened before a moment that no outcome has closed."""
    query = select(ledger_entries).where(ledger_entries.c.closed_at.is_(None), ledger_entries.c.opened_at < before)
    with reading(engine) as connection:
        return [Entry(*row) for row in connection.execute(query)]
