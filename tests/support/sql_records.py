"""Records as the line would write them, for the tests of the SQL store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from router.exchange import Admitted, Outcome, Turned
from router.usage import Basis, Line
from routing_rules.budgets import CallLimits, SessionBudget
from routing_rules.decisions import Permit, Refuse, ToolGrant
from routing_rules.facts import Caller, Facts, Labels
from routing_rules.task import Endpoint, ToolAsk
from routing_rules.vocabulary import Access, Complexity, ScanState, Sensitivity, TaskKind

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)

_encoder = msgspec.json.Encoder(order="deterministic")


def raw(record: Admitted | Turned | Outcome) -> bytes:
    """The bytes that stand in the outbox."""
    return _encoder.encode(record)


def facts(
    app: str = "desk", owner: str = "ana@example.com", task: TaskKind = TaskKind.SUMMARISATION, at: datetime = NOON
) -> Facts:
    return Facts(
        now=at,
        endpoint=Endpoint.CHAT,
        caller=Caller(
            app=app,
            owner=owner,
            team=f"team of {app}",
            cost_center=f"cc-{app}",
            key_id="key-1",
            clearance=Sensitivity.CONFIDENTIAL,
            ceiling="everyday",
            purpose="support",
        ),
        wish="gpt-4o",
        wish_known=True,
        detected=Sensitivity.PUBLIC,
        declared=None,
        labels=Labels(confidentiality=Sensitivity.INTERNAL),
        categories=frozenset({"pii"}),
        access=Access.READ,
        intent=frozenset(),
        task=task,
        complexity=Complexity.SIMPLE,
        complexity_score=0.2,
        state=ScanState.COMPLETE,
        tools=(ToolAsk("search", "function", "tools[0]"),),
    )


def admitted(
    request_id: str,
    *,
    app: str = "desk",
    owner: str = "ana@example.com",
    task: TaskKind = TaskKind.SUMMARISATION,
    session: str = "session-1",
    held: int = 9_000,
    at: datetime = NOON,
) -> Admitted:
    return Admitted(
        request_id=request_id,
        at=at,
        session=session,
        facts=facts(app, owner, task, at),
        decision=Permit(
            rule="r-fast",
            revision="rev-1",
            tier="fast",
            candidates=("fast-1", "fast-2"),
            entitlement_set="everyday",
            budget=SessionBudget(name="normal", cost_nano=10_000_000),
            limits=CallLimits(),
            matched=("r-fast",),
        ),
        grant=ToolGrant(granted=(("function", "search"),)),
        findings={"pii/email": 1},
        classifier_versions={"task": "1", "sensitivity": "1"},
        held_nano=held,
        output_tokens=512,
        deployment="fast-1",
        governance="single",
        body_digest="b" * 32,
        timings_us={"classify": 210, "decide": 12},
    )


def turned(request_id: str, *, at: datetime = NOON, decided: bool = True) -> Turned:
    refusal = Refuse(code="no_cleared_deployment", message="nothing is cleared", rule="r-1", revision="rev-1")
    return Turned(
        request_id=request_id,
        at=at,
        session="session-1" if decided else None,
        facts=facts() if decided else None,
        decision=refusal if decided else None,
        app="desk",
        owner="ana@example.com",
        code="no_cleared_deployment",
        rule="r-1" if decided else None,
        message="nothing is cleared",
        findings={},
        classifier_versions={},
        governance="single",
        body_digest="b" * 32,
        timings_us={},
    )


def line(
    cost: int = 150,
    *,
    token_class: str = "input",  # noqa: S107
    quantity: int = 1_000,
    deployment: str = "fast-1",
    attempt: int = 1,
    unit_price: int | None = 150_000,
) -> Line:
    return Line(
        attempt=attempt,
        deployment=deployment,
        provider="openai_compatible",
        model=f"model of {deployment}",
        token_class=token_class,
        quantity=quantity,
        unit_price=unit_price,
        cost_nano=cost,
        basis=Basis.REPORTED,
        outcome="completed",
    )


def outcome(
    request_id: str,
    lines: tuple[Line, ...] | None = None,
    *,
    cost: int | None = None,
    how: str = "completed",
    basis: Basis = Basis.REPORTED,
    deployment: str | None = "fast-1",
    correction: bool = False,
    at: datetime = NOON + timedelta(seconds=3),
) -> Outcome:
    lines = (line(), line(600, token_class="output", quantity=100, unit_price=6_000_000)) if lines is None else lines
    return Outcome(
        request_id=request_id,
        at=at,
        outcome=how,
        code=None,
        deployment=deployment,
        lines=lines,
        cost_nano=sum(one.cost_nano for one in lines) if cost is None else cost,
        basis=basis,
        over_hold=False,
        tools_released=("search",),
        tools_refused=(),
        timings_us={"forward": 800_000},
        correction=correction,
    )
