"""The line, from a request as it came in to its last byte and its last record; read it aloud."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from secrets import token_hex
from time import perf_counter_ns
from typing import NamedTuple

from router import telemetry
from router.errors import Refused, RouterError, Unavailable, UpstreamFailed
from router.exchange import Admitted, Exchange, JsonObject, Request, Reservation, Settlement, Turned
from router.money import usd
from router.ports import Client, UpstreamRequest
from router.services import InForce, Services
from router.stages.attach import attach
from router.stages.authenticate import authenticate
from router.stages.enforce import Enforced, StreamEnforcer, enforce_json
from router.stages.forward import Forwarded, forward
from router.stages.gather import gather
from router.stages.open_session import Opened, digest_of, open_session
from router.stages.read_task import RouterHeaders, read_task
from router.stages.reserve import hold_request, worst_case
from router.stages.settle import attempt_lines, estimated_usage, outcome_of
from router.streaming import Broadcast
from router.usage import Line, Usage
from routing_rules.catalogue import Deployment
from routing_rules.decide import ClearedDeployment, cleared, decide
from routing_rules.decisions import Decision, Hold, Obligation, Permit, Refuse, ToolGrant
from routing_rules.entitlements import authorise, capabilities_of
from routing_rules.facts import Caller, Facts
from routing_rules.task import Endpoint, Feature, Task
from routing_rules.vocabulary import Assessment


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request at the edge: the bytes of its body, the headers that matter, and how its wire format is parsed."""

    endpoint: Endpoint
    raw: bytes
    authorization: str | None
    headers: Mapping[str, str]  # lower-case names
    parse: Callable[[Endpoint, bytes, frozenset[str]], JsonObject]


class Admission(NamedTuple):
    """Everything that `answer` needs: what was decided, and the money that is held for it."""

    request: Request
    task: Task
    assessment: Assessment
    opened: Opened
    permit: Permit
    grant: ToolGrant
    candidates: tuple[ClearedDeployment, ...]
    reservation: Reservation
    timings_us: dict[str, int]


async def serve(services: Services, incoming: Incoming, client: Client) -> None:
    """Answer one request, whatever happens: with the provider's answer or with an error of the refusal table.

    receive → authenticate → read task → classify → open session → decide → authorise tools → reserve → forward →
    enforce response → settle. Run it as a task of the app (`Pumps.run`), so that a client that leaves ends nothing.
    """
    watch = Stopwatch()
    now = services.clock()
    request_id = "req_" + token_hex(12)
    telemetry.IN_FLIGHT.inc()
    caller: Caller | None = None
    x: Exchange | None = None
    broadcast = Broadcast(client)
    running_as: tuple[str, str] | None = None
    force: InForce | None = None
    try:
        force = services.in_force()
        rules = force.rules
        headers = read_headers(incoming.headers)
        caller = authenticate(services.directory, incoming.authorization, headers.purpose, now)
        running_as = (caller.app, digest_of(services.secret, caller.app, incoming.raw))
        if headers.retry_count and await _joined(services.running.get(running_as), client):
            return
        services.running[running_as] = broadcast
        request = Request(
            id=request_id,
            endpoint=incoming.endpoint,
            body=incoming.parse(incoming.endpoint, incoming.raw, force.extra_fields),
            headers=incoming.headers,
            authorization=None,
            received=now,
            body_digest=running_as[1],
            body_bytes=len(incoming.raw),
        )
        x = Exchange(request)
        task = read_task(request.endpoint, request.body, headers, rules.sensitivity.labels, rules.sensitivity.unmapped_label)
        x = replace(x, task=task)
        watch.lap("receive")
        assessment = await force.classifiers.assess(task, [capabilities_of(rules, ask) for ask in task.tools])
        x = replace(x, assessment=assessment)
        watch.lap("classify")
        wish_known = task.wish in rules.models or task.wish in services.known_models()
        for attempt in (1, 2):
            opened = await open_session(services.sessions, services.chains, caller.app, task, assessment, force.deployments)
            watch.lap("open")
            facts = gather(
                now=now,
                caller=caller,
                task=task,
                wish_known=wish_known,
                assessment=assessment,
                session=opened.session,
                labels=opened.labels,
                pinned=opened.pinned,
            )
            x = replace(x, session=opened.session, facts=facts)
            decision = decide(rules, facts)
            x = replace(x, decision=decision)
            permit = permitted(decision)
            grant = authorise(rules, facts, permit)
            x = replace(x, grant=grant)
            if grant.choice_refusal is not None:
                raise Refused("tool_not_entitled", grant.choice_refusal, param="tool_choice", rule=permit.rule)
            candidates = cleared(rules, permit)
            watch.lap("decide")
            hold = hold_request(
                request_id=request_id,
                task=task,
                caller=caller,
                permit=permit,
                deployment=candidates[0],
                session=opened.session,
                labels=opened.labels,
                owner_budget=rules.owner_budget(caller.owner),
                new_sessions_per_hour=rules.new_sessions_per_hour,
                worker=services.worker,
                now=now,
            )
            record = Admitted(
                request_id=request_id,
                at=now,
                session=opened.session.id,
                facts=facts,
                decision=decision,
                grant=grant,
                findings=counted(assessment),
                classifier_versions=assessment.versions,
                held_nano=0,  # the store writes what was really held
                output_tokens=hold.output_tokens,
                deployment=candidates[0].id,
                governance=services.governance,
                body_digest=request.body_digest,
                timings_us=watch.laps,
            )
            try:
                reservation = await services.budgets.reserve(hold, record)
                break
            except Refused as refusal:
                if refusal.code != "session_changed" or attempt == 2:
                    raise
        watch.lap("reserve")
        admission = Admission(request, task, assessment, opened, permit, grant, candidates, reservation, watch.laps)
        await _answer(services, admission, broadcast, watch)
    except RouterError as error:
        await _refuse(services, error, request_id, caller, incoming.endpoint, x, force, watch, broadcast)
    except Exception as error:  # the last resort: nothing private is told, and nothing was sent
        failure = Unavailable("internal_error", "the router failed on this request; its id leads to the log", detail=type(error).__name__)
        telemetry.logger().error("request_failed", request_id=request_id, error=type(error).__name__, at=_where(error))
        await _refuse(services, failure, request_id, caller, incoming.endpoint, x, force, watch, broadcast)
    finally:
        broadcast.close()
        if running_as is not None and services.running.get(running_as) is broadcast:
            del services.running[running_as]
        telemetry.IN_FLIGHT.dec()
        watch.observe(incoming.endpoint)


def permitted(decision: Decision) -> Permit:
    """The Permit of a decision; raises Refused for anything else."""
    match decision:
        case Permit():
            return decision
        case Hold():
            raise Refused("approval_required", decision.message, rule=decision.rule)
        case Refuse():
            raise Refused(decision.code, decision.message, param=decision.param, rule=decision.rule)


def counted(assessment: Assessment) -> dict[str, int]:
    """How many findings of each `category/kind`: what evidence keeps of them."""
    counts: dict[str, int] = {}
    for finding in assessment.findings:
        name = f"{finding.category}/{finding.kind}"
        counts[name] = counts.get(name, 0) + 1
    return counts


async def _joined(running: Broadcast | None, client: Client) -> bool:
    """Whether a retry could join the attempt that is still running (and has been answered by it)."""
    return running is not None and await running.join(client)


async def _answer(services: Services, admission: Admission, client: Broadcast, watch: Stopwatch) -> None:
    """Forward, enforce, settle and give the answer back. Whatever happens, the entry is closed."""
    task, permit, reservation = admission.task, admission.permit, admission.reservation
    denial_is_error = bool(task.features & STRUCTURED) or task.tool_choice.mode in ("required", "named") or task.tool_choice.required
    booked: list[Line] = []
    held = reservation.amount_nano
    strip_usage = False

    def build(deployment: ClearedDeployment, attempt: int) -> UpstreamRequest:
        nonlocal strip_usage
        attached = attach(
            task.endpoint,
            admission.request.body,
            grant=admission.grant,
            limits=permit.limits,
            output_tokens=reservation.output_tokens,
            model=deployment.model,
            obligations=permit.obligations,
            stream=task.stream,
        )
        strip_usage = attached.strip_usage
        return UpstreamRequest(task.endpoint, attached.body, task.stream, permit.limits, {}, admission.request.id)

    async def extend(deployment: ClearedDeployment, attempt: int, failed: Deployment, sent: bool) -> None:
        """Before another attempt: what the failed one may have cost, plus the next worst case, must still fit."""
        nonlocal reservation, held
        booked.extend(attempt_lines(attempt - 1, failed, estimated_usage(task, 0) if sent else Usage(), "retried"))
        fixed, each = worst_case(task, deployment.price)
        spent = sum(line.cost_nano for line in booked)
        reservation = await services.budgets.extend(reservation, spent, fixed + each * reservation.output_tokens)
        held = reservation.amount_nano

    async def settle(outcome: str, code: str | None, deployment: str | None, enforced: Enforced | None) -> Settlement | None:
        watch.lap("forward")
        record = outcome_of(
            request_id=admission.request.id,
            at=services.clock(),
            outcome=outcome,
            code=code,
            deployment=deployment,
            booked=booked,
            held_nano=held,
            released=enforced.released if enforced else (),
            refused=enforced.refused if enforced else (),
            timings_us=watch.laps,
        )
        for line in booked:
            telemetry.TOKENS.labels(line.deployment, line.token_class).inc(line.quantity)
        if deployment is not None:
            telemetry.COST.labels(deployment).inc(record.cost_nano / 1e9)
        try:
            return await services.budgets.settle(reservation, record)
        except Unavailable:
            # Settling never fails the caller: it is tried again until the store is back; if this process ends first,
            # the reaper closes the entry.
            services.pumps.start(_settle_later(services, reservation, record))
            return None
