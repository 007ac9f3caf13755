"""What the autonomy review looks at: every request that a route decided, with its end and its tool calls, read once and in order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec
from sqlalchemy import Engine, func, select

from router.reports.review import REAPED, RequestSeen
from router.storage.sql.engine import reading
from router.storage.sql.evidence import ADMITTED, OUTCOME, REFUSED
from router.storage.sql.tables import evidence

ROWS_AT_ONCE = 2_000


# Of each record only what is counted here: the rest of the JSON is skipped, not built.
class _Permit(msgspec.Struct, tag="permit"):
    rule: str


class _Hold(msgspec.Struct, tag="hold"):
    rule: str
    permit: _Permit


class _Refuse(msgspec.Struct, tag="refuse"):
    rule: str


class _Call(msgspec.Struct):
    tool: str
    outcome: str
    codes: tuple[str, ...] = ()


class _Decided(msgspec.Struct):
    decision: _Permit | _Hold | _Refuse | None = None


class _Ended(msgspec.Struct):
    outcome: str
    tools_released: tuple[str, ...] = ()
    judgements: tuple[_Call, ...] = ()


_RUNNING: tuple[datetime | None, _Ended] = (None, _Ended(""))

_decided = msgspec.json.Decoder(_Decided)
_ended = msgspec.json.Decoder(_Ended)


def requests_seen(engine: Engine, since: datetime, until: datetime) -> Iterator[RequestSeen]:
    """Every request that was decided from `since` (inclusive) to `until`, whichever of its records comes first. Requests that no rule
    decided are left out. SQL down: sqlalchemy.exc.DBAPIError."""
    ends: dict[str, tuple[datetime | None, _Ended]] = {}
    columns = (
        evidence.c.request_id,
        evidence.c.kind,
        evidence.c.at,
        evidence.c.app,
        evidence.c.session,
        evidence.c.code,
        evidence.c.record,
    )
    with reading(engine) as connection:
        # An end may come after `until`, so it is read to the last one.
        closing = select(evidence.c.request_id, evidence.c.at, evidence.c.record).where(
            evidence.c.kind == OUTCOME, evidence.c.at >= since
        )
        for request_id, at, record in connection.execution_options(yield_per=ROWS_AT_ONCE).execute(closing):
            end = _ended.decode(record)
            ends[request_id] = (None if end.outcome == REAPED else at, end)
        decided = select(*columns).where(evidence.c.kind.in_((ADMITTED, REFUSED)), evidence.c.at >= since, evidence.c.at < until)
        for request_id, _kind, at, app, session, code, record in connection.execute(decided):
            decision = _decided.decode(record).decision
            if decision is None:
                continue
            ended, end = ends.get(request_id, _RUNNING)
            yield RequestSeen(
                request_id=request_id,
                route=decision.permit.rule if isinstance(decision, _Hold) else decision.rule,
                app=app,
                session=session,
                began=at,
                ended=ended,
                code=code,
                tools=_tools(end),
                combinations=_combinations(end),
            )


def decisions_by_rule(engine: Engine, since: datetime, until: datetime) -> dict[tuple[str, str], int]:
    """How many decisions were recorded from `since` (inclusive) to `until`, by the rule that decided and what it decided (permit, hold,
    refuse). SQL down: sqlalchemy.exc.DBAPIError."""
    rule, decision = evidence.c.rule, evidence.c.decision
    query = (
        select(rule, decision, func.count())
        .where(evidence.c.kind.in_((ADMITTED, REFUSED)), evidence.c.at >= since, evidence.c.at < until)
        .where(rule.is_not(None), decision.is_not(None))
        .group_by(rule, decision)
    )
    with reading(engine) as connection:
        return {(by, decided): int(count) for by, decided, count in connection.execute(query)}


def _tools(end: _Ended) -> tuple[str, ...]:
    """The calls that were released, by the catalogue's id where they were judged."""
    judged = tuple(call.tool for call in end.judgements if call.outcome == "released")
    return judged or end.tools_released


def _combinations(end: _Ended) -> tuple[str, ...]:
    """The combinations that calls met: their codes end in the combination's id."""
    return tuple(code.partition(":")[2] for call in end.judgements for code in call.codes if ":" in code)
