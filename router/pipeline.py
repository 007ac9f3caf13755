"""The line, from a request as it came in to its last byte and its last record; read it aloud."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from secrets import token_hex
from time import perf_counter_ns
from typing import Any, NamedTuple, TypeVar

import msgspec

from router import telemetry
from router.errors import Refused, RouterError, Unavailable, UpstreamFailed
from router.exchange import (
    Admitted,
    ApprovalState,
    CallState,
    Exchange,
    Held,
    HeldCall,
    HoldRequest,
    JsonObject,
    Masking,
    Request,
    Reservation,
    Settlement,
    Taken,
    Turned,
    shard_of,
)
from router.money import NANO_PER_USD, usd
from router.ports import NO_LABELS, Client, UpstreamRequest
from router.services import InForce, Services
from router.sse import chat_error, messages_error, responses_error
from router.stages import approve
from router.stages.approve import Kept
from router.stages.attach import attach
from router.stages.attach_messages import features_asked
from router.stages.authenticate import PurposeNotHeld, authenticate, under
from router.stages.conversation import joined
from router.stages.enforce import StreamEnforcer, enforce_json
from router.stages.enforced import Enforced
from router.stages.entitlement_token import Bearer, with_tokens
from router.stages.forward import AllFailed, AttemptFailure, Forwarded, forward
from router.stages.gather import asked, gather
from router.stages.held_state import check_state, named_state, with_state
from router.stages.judge_calls import Asked as Judged
from router.stages.judge_calls import CallJudge, call_digest
from router.stages.keep_responses import (
    KEPT_BY,
    Keeper,
    KeptResponse,
    UnderWay,
    can_be_fetched,
    longest_usage,
    outcome_by,
    response_under_way,
    status_of,
)
from router.stages.mask import mask
from router.stages.open_session import BEGINNING, LONG_TURN, ConversationChain, Opened, after_masking, digest_of, open_session
from router.stages.read_task import RouterHeaders, read_task
from router.stages.release import let_through
from router.stages.remaining import remaining, with_tool_calls_left
from router.stages.reserve import hold_request, hosted_calls, with_hosted, worst_case
from router.stages.screen import Screen
from router.stages.sealed import own_seals
from router.stages.settle import BYTES_PER_TOKEN, attempt_lines, estimated_usage, outcome_of, seen_usage
from router.stages.told import Told
from router.stages.unmask import Placeholders
from router.streaming import Broadcast, Departure
from router.usage import Line, Usage
from routing_rules.budgets import FAST_TIER
from routing_rules.catalogue import Deployment, Observing
from routing_rules.decide import ClearedDeployment, cleared, decide
from routing_rules.decisions import Decision, Hold, Obligation, Permit, Refuse, ToolGrant
from routing_rules.entitlements import authorise, authorise_masked, capabilities_of
from routing_rules.facts import Caller, Facts, Labels
from routing_rules.offered import is_run_by_provider, within_session
from routing_rules.rules import AUTO_WISHES, RuleSet
from routing_rules.task import Endpoint, Feature, Task
from routing_rules.vocabulary import Assessment, Sensitivity

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request at the edge: the bytes of its body, the headers that matter, and how its wire format is parsed."""

    endpoint: Endpoint
    raw: bytes
    authorization: str | None
    headers: Mapping[str, str]  # lower-case names
    read_headers: Callable[[Mapping[str, str]], RouterHeaders]
    parse: Callable[[Endpoint, bytes, frozenset[str]], JsonObject]


class Sent(NamedTuple):
    """What is to leave us: the body as received or masked, how it reads, and what the session will have sent with it."""

    body: JsonObject
    task: Task
    assessment: Assessment
    leaves: Sensitivity
    placeholders: Placeholders | None = None


class Admission(NamedTuple):
    """Everything that `answer` needs: what was decided, and the money that is held for it. `assessment` is of what the app sent."""

    request: Request
    sent: Sent
    assessment: Assessment
    opened: Opened
    facts: Facts
    permit: Permit
    grant: ToolGrant
    candidates: tuple[ClearedDeployment, ...]
    reservation: Reservation
    timings_us: dict[str, int]
    force: InForce
    task: Task  # as the app sent it
    judge: CallJudge | None = None
    kept: Kept | None = None
    debug: bool = False


async def serve(services: Services, incoming: Incoming, client: Client) -> None:
    """Answer one request, whatever happens: with the provider's answer or with an error of the refusal table.

    receive → authenticate → read task → classify → open session → decide (→ mask → decide) → authorise tools → reserve →
    forward → enforce response → settle. Run it as a task of the app (`Pumps.run`), so that a client that leaves ends nothing.
    """
    watch = Stopwatch()
    now = services.clock()
    # Ids that rise with time keep the ledger's index compact: random ones cost the drainer half as much again.
    request_id = f"req_{int(now.timestamp() * 1000):011x}{token_hex(8)}"
    caller: Caller | None = None
    x: Exchange | None = None
    broadcast = Broadcast(client)
    running_as: tuple[str, str] | None = None
    try:
        force = services.in_force()
        rules = force.rules
        headers = incoming.read_headers(incoming.headers)
        try:
            caller = authenticate(services.directory, incoming.authorization, headers.purpose, now)
        except Refused as refusal:
            if refusal.code != "invalid_api_key":
                raise
            await services.directory.refresh()  # the key may have been made a moment ago, and its app with it
            force = services.in_force()
            rules = force.rules
            caller = authenticate(services.directory, incoming.authorization, headers.purpose, now)
        body_digest = digest_of(services.secret, caller.app, incoming.raw)
        running_as = (caller.app, asked_as(incoming.endpoint, caller, headers, body_digest))
        if headers.retry_count and await _joined(services, running_as, client):
            return
        services.running[running_as] = broadcast
        request = Request(
            id=request_id,
            endpoint=incoming.endpoint,
            body=incoming.parse(incoming.endpoint, incoming.raw, force.extra_fields),
            headers=incoming.headers,
            authorization=None,
            received=now,
            body_digest=body_digest,
            body_bytes=len(incoming.raw),
        )
        x = Exchange(request)
        policy = rules.sensitivity
        own = await own_seals(services.sessions, caller.app, incoming.raw, request.body)
        task = read_task(request.endpoint, request.body, headers, policy.labels, policy.unmapped_label, policy, own)
        named = named_state(incoming.raw, request.body)
        task = x.task = with_state(task, named)
        watch.lap("receive")
        assessment = await force.classifiers.assess(task, [capabilities_of(rules, ask) for ask in task.tools])
        x.assessment = assessment
        watch.lap("classify")
        wish_known = task.wish in rules.models or task.wish in services.known_models()
        approval = await approval_named(services, headers, caller)
        usable: ApprovalState | None = None
        decided_anew = False
        degraded = ""  # by which of the owner's budgets
        short: Refused | None = None  # what it told
        session_id: str | None = None
        while True:
            opened = await open_session(
                services.sessions,
                services.chains,
                caller.app,
                task,
                assessment,
                force.deployments,
                body_digest=body_digest,
                session_id=approval.session_id if approval is not None else session_id,
            )
            if force.trial is not None and force.trial.takes(opened.session.id):
                # From here on the session is the canary's: the request is read and decided as if its rules were in force.
                before, force, session_id = rules, force.trial.force, opened.session.id
                rules, policy = force.rules, force.rules.sensitivity
                caller = under(caller, before.apps.get(caller.app), rules.apps.get(caller.app), now.date())
                task = read_task(request.endpoint, request.body, headers, policy.labels, policy.unmapped_label, policy, own)
                task = x.task = with_state(task, named)
                assessment = await force.classifiers.assess(task, [capabilities_of(rules, ask) for ask in task.tools])
                x.assessment = assessment
                wish_known = task.wish in rules.models or task.wish in services.known_models()
                continue
            if approval is None and opened.session.waiting is not None:
                approval = await approval_for(services, caller, opened.session.waiting)
                if approval is not None and approval.session_id != opened.session.id:
                    continue  # what was held belongs to the session that it was asked for in
            watch.lap("open")
            known = partial(
                gather,
                now=now,
                caller=caller,
                wish_known=wish_known,
                session=opened.session,
                pinned=opened.pinned,
                changed_servers=services.changed_servers(),
                degraded=degraded,
            )
            facts = known(task=task, assessment=assessment, labels=opened.labels)
            x.session = opened.session
            decision = decide(rules, facts)
            x.facts, x.decision = facts, decision
            if short is not None and isinstance(decision, Refuse):
                raise short  # nothing in the fast tier may, or can, do this
            if not wish_known and task.wish not in AUTO_WISHES:
                # A name that nobody knows may be anything that was pasted there: the app is told it again, no record holds it.
                x.facts = msgspec.structs.replace(facts, wish=UNKNOWN_WISH)
                x.decision = decide(rules, x.facts)
            if named and caller.mode != "observe":
                check_state(named, opened.unknown, rules.apps.get(caller.app))
            if force.trial is not None and not force.trial.share:
                services.note_shadow(force, request_id, opened.session.id, x.facts, x.decision)
            if isinstance(decision, Hold):
                approval = approval or await task_approval(services, caller, opened.session.id, body_digest)
                if approval is not None and approval.session_id != opened.session.id:
                    continue
            usable = None if approval is None else usable_for(approval, headers, decision, task, body_digest)
            if isinstance(decision, Hold) and usable is None:
                raise await held_task(services, force, request, caller, opened, task, decision)
            permit = permitted(decision, approved=usable is not None)
            sent = Sent(request.body, task, assessment, opened.leaves)
            if permit.mask:
                watch.lap("decide")
                sent, counts = await masked_as(services, force, headers, caller, opened, sent, permit, own)
                watch.lap("mask")
                x.masking = Masking(facts, decision, counts)
                labels = after_masking(opened, sent.task, sent.assessment)
                facts = known(task=sent.task, assessment=sent.assessment, labels=labels, masked=True)
                decision = decide(rules, facts)
                x.facts, x.decision = facts, decision
                first, permit = permit, permitted(decision, approved=usable is not None)
                grant = authorise_masked(rules, (x.masking.facts, first), (facts, permit))
                permit = with_obligations(permit, first)
            else:
                grant = authorise(rules, facts, permit)
            if runs_tools(grant):
                state = opened.session.calls or CallState()
                offered = within_session(rules, facts, permit, grant, opened.labels, state.used, state.used_tools)
                grant = grant if caller.mode == "observe" else offered.grant
            x.grant = grant
            if grant.withheld or grant.would_withhold:
                services.note_tools(caller.app, sent.task.tools, sent.body, (*grant.withheld, *grant.would_withhold))
            if grant.choice_refusal is not None:
                raise Refused("tool_not_entitled", grant.choice_refusal, param="tool_choice", rule=permit.rule)
            if usable is not None:
                approve.check_grant(usable, rules, grant)
            candidates = cleared(rules, permit)
            sent = sent._replace(task=with_hosted(sent.task, grant))
            watch.lap("decide")
            hold = hold_request(
                request_id=request_id,
                task=sent.task,
                caller=caller,
                permit=permit,
                deployment=candidates[0],
                session=opened.session,
                labels=opened.labels,
                owner=rules.limits_of(
                    caller.owner, now, services.raised(caller.owner), fast=all(one.tier == FAST_TIER for one in candidates)
                ),
                new_sessions_per_hour=rules.new_sessions_per_hour,
                worker=services.worker,
                now=now,
                leaves=sent.leaves,
                asked=asked(facts),
                hosted_calls=hosted_calls(grant, permit),
            )
            if usable is not None and not usable.is_task:
                hold = nothing_more(hold)
            if caller.mode == "observe":
                hold = only_counted(hold)
            purpose = rules.purposes.get(caller.purpose)
            record = Admitted(
                request_id=request_id,
                at=now,
                session=opened.session.id,
                facts=facts,
                decision=decision,
                grant=grant,
                findings=counted(assessment),
                classifier_versions=assessment.versions,
                held_nano=hold.fixed_nano + hold.output_nano * hold.output_tokens,  # the store lowers both where it holds less
                output_tokens=hold.output_tokens,
                deployment=candidates[0].id,
                governance=services.governance(),
                body_digest=request.body_digest,
                timings_us=watch.laps,
                masking=x.masking,
                approval=usable.id if usable is not None else None,
                business_impact=str(purpose.business_impact) if purpose is not None else "",
                latency_class=purpose.latency_class.value if purpose is not None else "",
            )
            try:
                reservation = await services.budgets.reserve(hold, record)
                break
            except Refused as refusal:
                if may_degrade(rules, caller, now, refusal) and not degraded:
                    degraded, short = refusal.details["period"], refusal
                elif refusal.code != "session_changed" or decided_anew:
                    raise
                else:
                    decided_anew = True
        x.reservation = reservation
        taken = None if usable is None else await taken_by(services, usable, headers, reservation, watch.laps)
        watch.lap("reserve")
        admission = Admission(
            request,
            sent,
            assessment,
            opened,
            facts,
            permit,
            grant,
            candidates,
            reservation,
            watch.laps,
            force,
            task,
            judge_of(services, force, request, headers, task, assessment, opened, facts, permit, grant, usable, taken),
            Kept.unpacked(taken.answer) if taken is not None and taken.answer else None,
            headers.debug,
        )
        await Answering(services, admission, broadcast, watch).run()
    except RouterError as error:
        if isinstance(error, PurposeNotHeld):
            caller = error.caller
        await _refuse(services, error, caller, x, request_id, watch, broadcast, incoming.endpoint)
    except Exception as error:  # the last resort: nothing private is told, and nothing was sent
        await _refuse(services, broken(error, request_id), caller, x, request_id, watch, broadcast, incoming.endpoint)
    finally:
        broadcast.close()
        if running_as is not None and services.running.get(running_as) is broadcast:
            del services.running[running_as]
        watch.observe(incoming.endpoint)


async def masked_as(
    services: Services,
    force: InForce,
    headers: RouterHeaders,
    caller: Caller,
    opened: Opened,
    sent: Sent,
    permit: Permit,
    own: frozenset[str],
) -> tuple[Sent, dict[str, int]]:
    """What a rule lets leave us: the request masked, read and classified again; and how many values of which kinds were masked. `own`
    as for `read_task`."""
    rules, endpoint = force.rules, sent.task.endpoint
    body, placeholders, counts = await mask(
        services.masks, caller.app, opened.session.id, sent.body, sent.task, sent.assessment.findings, permit.mask
    )
    policy = rules.sensitivity
    task = read_task(endpoint, body, headers, policy.labels, policy.unmapped_label, policy, own)
    assessment = await force.classifiers.assess(task, [capabilities_of(rules, ask) for ask in task.tools])
    leaves = after_masking(opened, task, assessment).confidentiality
    return Sent(body, task, assessment, leaves, Placeholders(placeholders) if placeholders else None), counts


def with_obligations(permit: Permit, first: Permit) -> Permit:
    """The permit that counts after masking, with all else that the one before it ordered; what to do when the app leaves, the last says."""
    also = first.obligations
    if permit.obligations & WHEN_GONE:
        also -= WHEN_GONE
    return msgspec.structs.replace(permit, obligations=permit.obligations | also)


def permitted(decision: Decision, *, approved: bool = False) -> Permit:
    """The Permit of a decision, also of a Hold that was `approved`; raises Refused for anything else."""
    match decision:
        case Permit():
            return decision
        case Hold() if approved:
            return decision.permit
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


def asked_as(endpoint: Endpoint, caller: Caller, headers: RouterHeaders, body_digest: str) -> str:
    """What makes two requests of an app the same one: besides the body, all that the decision may turn on. An answer that one key
    was given is no answer for another, which may be cleared for less."""
    told = (headers.label or "", headers.session_id or "", headers.approval or "", body_digest)
    return "|".join((endpoint.value, caller.key_id, caller.purpose, *told))


async def _joined(services: Services, running_as: tuple[str, str], client: Client) -> bool:
    """Whether a retry could join the attempt that is still running, here or in a sibling (and has been answered by it)."""
    here = services.running.get(running_as)
    if here is not None:
        return await here.join(client)
    return await services.siblings.join(*running_as, client)


async def approval_named(services: Services, headers: RouterHeaders, caller: Caller) -> ApprovalState | None:
    """The approval that the app names. Raises Refused where that is none of its own, or of no use (yet)."""
    if headers.approval is None:
        return None
    state = None if services.approvals is None else await services.approvals.state(headers.approval, caller.app)
    if state is None:
        raise approve.unknown()
    if state.status != approve.APPROVED:
        raise approve.refused(state, services.address)
    return state


async def approval_for(services: Services, caller: Caller, approval_id: str) -> ApprovalState | None:
    """The approval that the same body waits for; None where that is over, so that the request is a new one. Raises Refused while nobody
    has decided, and where it was denied."""
    state = None if services.approvals is None else await services.approvals.state(approval_id, caller.app)
    if state is None or state.status not in (approve.PENDING, approve.APPROVED, approve.DENIED):
        return None
    if state.status != approve.APPROVED:
        raise approve.refused(state, services.address)
    return state


async def task_approval(services: Services, caller: Caller, session_id: str, body_digest: str) -> ApprovalState | None:
    """The approval that was asked for a task that is held, when the same body came before. Raises Refused as `approval_for`."""
    session = await services.sessions.open(session_id, caller.app, (), body_digest=body_digest)
    return None if session.waiting is None else await approval_for(services, caller, session.waiting)


def usable_for(
    approval: ApprovalState, headers: RouterHeaders, decision: Decision, task: Task, body_digest: str
) -> ApprovalState | None:
    """The approval, where it is of use for this request. None where it is not and the app has not named it, so that the request is a new
    one; Refused where the app has."""
    named = headers.approval is not None
    if approve.fits(approval, decision, task, body_digest, named=named):
        return approval
    if named:
        raise approve.spent(approval.id)
    return None


async def taken_by(
    services: Services, approval: ApprovalState, headers: RouterHeaders, reservation: Reservation, timings_us: dict[str, int]
) -> Taken:
    """What an approval gives, which is used with that, now that nothing but its loss to another request stands in the way. Raises Refused
    where it is lost; then what was held for this request is given up."""
    try:
        if services.approvals is None:
            raise approve.spent(approval.id)
        named = headers.approval is not None and not approval.is_task
        bound = None if named else approval.body_digest
        taken = await services.approvals.take(
            approval.id, approval.app, approval.session_id, bound, approval.revision, services.clock()
        )
        if taken is None:
            raise approve.spent(approval.id)
        return taken
    except RouterError as error:
        record = outcome_of(
            request_id=reservation.request_id,
            at=services.clock(),
            outcome="failed",
            code=error.code,
            deployment=None,
            booked=(),
            held_nano=reservation.amount_nano,
            released=(),
            refused=(),
            timings_us=timings_us,
        )
        with suppress(Unavailable):
            await services.budgets.settle(reservation, record)
        raise


async def held_task(
    services: Services, force: InForce, request: Request, caller: Caller, opened: Opened, task: Task, decision: Hold
) -> Refused:
    """Ask for the approval of a task; what the app is told."""
    if services.approvals is None:
        return Refused("approval_required", decision.message, rule=decision.rule)
    held = approve.held(
        rules=force.rules,
        request_id=request.id,
        caller=caller,
        session=opened.session,
        labels=opened.labels,
        state=opened.session.calls or CallState(),
        endpoint=request.endpoint,
        body_digest=request.body_digest,
        permit=decision.permit,
        rule=decision.rule,
        message=decision.message,
        now=request.received,
        end_user=task.end_user,
    )
    return await _asked_for(services, held)


async def _asked_for(services: Services, held: Held) -> Refused:
    if services.approvals is None:
        return Refused("approval_required", held.message, rule=held.rule)
    approval_id = await services.approvals.request(held)
    await services.sessions.wait_for(held.app, held.body_digest, approval_id, approve.LIFETIME.total_seconds())
    # It may be one that the same calls wait for already, or were denied by.
    state = await services.approvals.state(approval_id, held.app)
    if state is None:
        return approve.waits(approval_id, services.address, held, held.expires)
    if state.status == approve.DENIED:
        return approve.refused(state, services.address)
    return approve.waits(approval_id, services.address, held, state.expires, state.status)


def may_degrade(rules: RuleSet, caller: Caller, now: datetime, refusal: Refused) -> bool:
    """Whether a refusal is of an owner's budget that lets tasks go on in the fast tier."""
    if refusal.code != "owner_budget_exceeded" or caller.mode == "observe":
        return False
    return rules.degrades(caller.owner, refusal.details["period"], now)


def nothing_more(hold: HoldRequest) -> HoldRequest:
    """The hold of a request that costs nothing: its answer has been paid for."""
    return msgspec.structs.replace(hold, fixed_nano=0, output_nano=0, output_tokens=0, min_output_tokens=0, input_tokens=0)


def only_counted(hold: HoldRequest) -> HoldRequest:
    """The hold of an app that is only watched: its session's limits are counted against and not held to; its owner's budget is."""
    return msgspec.structs.replace(
        hold,
        budget_cost_nano=None,
        budget_requests=None,
        budget_input_tokens=None,
        budget_output_tokens=None,
        budget_idle_seconds=None,
        budget_total_seconds=None,
        budget_reasoning_tokens=None,
        budget_reasoning_growth=None,
    )


def judge_of(
    services: Services,
    force: InForce,
    request: Request,
    headers: RouterHeaders,
    task: Task,
    assessment: Assessment,
    opened: Opened,
    facts: Facts,
    permit: Permit,
    grant: ToolGrant,
    approval: ApprovalState | None,
    taken: Taken | None,
) -> CallJudge | None:
    """Who judges the calls of the answer; nobody where none can be granted."""
    if not grant.granted:
        return None
    asked_for = Judged(
        rules=force.rules,
        permit=permit,
        grant=grant,
        task=task,
        assessment=assessment,
        body=request.body,
        app=facts.caller.app,
        session_id=opened.session.id,
        secret=services.secret,
        body_digest=request.body_digest,
        at=int(request.received.timestamp() * 1000),
        retry=headers.retry_count > 0,
        observe=facts.caller.mode == "observe",
        approval=approval.id if approval is not None else None,
        approved=frozenset(taken.calls) if taken is not None else frozenset(),
    )
    # The hold has put these labels into the session; what was there of them before matters no more.
    return CallJudge(asked_for, msgspec.structs.replace(opened.session.calls or CallState(), labels=opened.labels))


class Answering:
    """The second half of the line, for one admitted request. However it goes, the ledger entry is closed exactly once."""

    def __init__(self, services: Services, admission: Admission, client: Client, watch: Stopwatch) -> None:
        self._services = services
        self._admission = admission
        self._client = client
        self._watch = watch
        self._reservation = admission.reservation
        self._priced_at = admission.request.received  # what it costs is what held then
        self._booked: list[Line] = []
        self._counted_failures = 0
        self._strip_usage = False
        self._asked: Deployment | None = None
        self._settled = False
        self._begun = False
        self._screen = screen_of(admission)
        self._read: list[bytes] = []  # of a stream whose calls are judged, in case somebody must be asked
        self._told: Told | None = None  # what the app has of a stream that it must be known by
        self._known: set[str] = set()
        self._look_at = TOLD_CHARS

    async def run(self) -> None:
        """Forward, enforce, settle, answer. Raises RouterError where nothing was sent to the app yet."""
        try:
            if self._admission.kept is not None:
                await self._given_again(self._admission.kept)
                return
            if self._admission.judge is not None and runs_tools(self._admission.grant):
                self._admission.judge.offer(self._admission.facts)
                refusal = self._admission.judge.error or await let_through(self._services.sessions, self._admission.judge)
                if refusal is not None:
                    raise refusal
            gone, forwarded = await self._unless_gone(
                forward(
                    self._services.upstream,
                    self._admission.candidates,
                    self._build,
                    extend=self._extend,
                    cool_down=self._services.sessions.cool_down,
                ),
                only_once_begun=Feature.BACKGROUND in self._admission.sent.task.features,
            )
            if gone or forwarded is None:
                await self._cancelled()
                return
            try:
                if forwarded.body is not None:
                    await self._whole(forwarded, forwarded.body)
                else:
                    await self._stream(forwarded)
            finally:
                await forwarded.answer.aclose()
        except AllFailed as failure:
            self._book_failures(failure.failures, "failed")
            await self._settle("failed", failure.code, None, None)
            raise
        except BaseException as failure:
            # Budget refused before a further attempt, a mistake of ours, or the process is told to end: closed all the same.
            self._book_under_way()
            await self._settle("failed", failure.code if isinstance(failure, RouterError) else "internal_error", None, None)
            if self._begun and isinstance(failure, Exception):
                # An answer that has begun ends with an error event, never as if it were complete.
                ours = failure if isinstance(failure, RouterError) else broken(failure, self._admission.request.id)
                await self._client.finish(error_event(self._admission.sent.task.endpoint, ours, 0))
                return
            raise

    async def _unless_gone(self, work: Coroutine[Any, Any, T], *, only_once_begun: bool = False) -> tuple[bool, T | None]:
        """Do the work to its end; where the rule orders `cancel`, only until the client has left: (whether it was cut, its result).

        What goes on in the background can be ended `only_once_begun`, since its id has to be known for that."""
        if only_once_begun or Obligation.CANCEL not in self._admission.permit.obligations:
            return False, await work
        working = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self._client.gone())
        try:
            await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return False, working.result()
            working.cancel()
            await asyncio.wait({working})
            return True, None
        finally:
            working.cancel()
            gone.cancel()

    async def _cancelled(self) -> None:
        """The client left before the answer began: what was asked of the provider may be billed, and is booked as an estimate."""
        if self._asked is not None:
            usage = estimated_usage(self._admission.sent.task, 0)
            self._booked.extend(attempt_lines(self._counted_failures + 1, self._asked, usage, "cancelled", self._priced_at))
        await self._settle("cancelled", None, self._asked, None)
        self._count("cancelled")
        await self._client.finish()

    def _build(self, deployment: ClearedDeployment) -> UpstreamRequest:
        self._asked = deployment
        task, permit = self._admission.sent.task, self._admission.permit
        body, self._strip_usage = attach(
            task.endpoint,
            self._admission.sent.body,
            grant=self._admission.grant,
            limits=permit.limits,
            output_tokens=self._reservation.output_tokens,
            model=deployment.model,
            obligations=permit.obligations,
            stream=task.stream,
            passes_on=self._passes_on,
        )
        if runs_tools(self._admission.grant):
            session = self._admission.opened.session
            body = with_tool_calls_left(task.endpoint, body, permit.budget, session, permit.limits.hosted_calls)
        headers: Mapping[str, str] = {}
        if deployment.internal or self._admission.grant.servers:
            body, headers = self._with_tokens(body, deployment)
        if task.endpoint is Endpoint.MESSAGES:
            headers = {**headers, **features_asked(self._admission.request.headers)}
        return UpstreamRequest(task.endpoint, body, task.stream, permit.limits, headers, self._admission.request.id)

    def _passes_on(self, call_id: str, brought: bool) -> bool:
        """Whether the app may tell an MCP server's provider that a call is approved: one that was judged and let through in this session,
        whose tool is still granted, and which the provider itself holds, so that it is the call that was judged."""
        admission = self._admission
        if admission.facts.caller.mode == "observe":
            return True
        state = admission.opened.session.calls
        if brought or state is None:
            return False
        entries = {entry for server in admission.grant.servers for entry, _ in server.entries}
        digest = call_digest(call_id)
        return any(call.call == digest and call.tool in entries for call in state.calls.values())

    def _with_tokens(self, body: JsonObject, deployment: ClearedDeployment) -> tuple[JsonObject, Mapping[str, str]]:
        """What leaves us, with a token of what this session may do for each server of ours that it reaches."""
        admission = self._admission
        caller = admission.facts.caller
        return with_tokens(
            self._services.tokens,
            Bearer(caller.app, admission.opened.session.id, caller.purpose, admission.permit.revision),
            body,
            admission.grant,
            deployment,
            self._services.clock(),
            self._reservation.session_left_nano,
        )

    async def _extend(self, deployment: ClearedDeployment, failures: tuple[AttemptFailure, ...]) -> None:
        """Before another attempt: what the failed ones may have cost and the next worst case must fit together."""
        self._book_failures(failures, "retried")
        self._asked = None
        admission = self._admission
        calls = hosted_calls(admission.grant, admission.permit)
        fixed, each = worst_case(admission.sent.task, deployment, self._priced_at, calls)
        spent = sum(line.cost_nano for line in self._booked)
        amount = fixed + each * self._reservation.output_tokens
        self._reservation = await self._services.budgets.extend(self._reservation, spent, amount)

    def _book_under_way(self) -> None:
        """Book an attempt whose end is not known: its input and the longest answer allowed, as the reaper would. A budget may
        then refuse too early, never too late."""
        if self._asked is not None and not self._settled:
            task = self._admission.sent.task
            longest = self._reservation.output_tokens * task.choices
            usage = msgspec.structs.replace(estimated_usage(task, 0), output=longest)
            self._booked.extend(attempt_lines(self._counted_failures + 1, self._asked, usage, "failed", self._priced_at))

    def _book_failures(self, failures: tuple[AttemptFailure, ...], outcome: str) -> None:
        """Lines for attempts that failed: their input is charged as an estimate where the provider may have worked on it."""
        for failure in failures[self._counted_failures :]:
            telemetry.UPSTREAM_FAILURES.labels(failure.deployment.id, failure.code).inc()
            may_bill = failure.sent and failure.code in MAY_BE_BILLED
            usage = estimated_usage(self._admission.sent.task, 0) if may_bill else Usage()
            self._booked.extend(attempt_lines(failure.attempt, failure.deployment, usage, outcome, self._priced_at))
        self._counted_failures = len(failures)

    async def _whole(self, forwarded: Forwarded, body: bytes) -> None:
        sent = self._admission.sent
        if Feature.BACKGROUND in sent.task.features and await self._in_background(forwarded, body):
            return
        enforced = enforce_json(
            sent.task.endpoint,
            body,
            self._admission.grant,
            denial_is_error=denial_is_error(sent.task),
            placeholders=sent.placeholders,
            judge=self._admission.judge,
            screen=self._screen,
        )
        enforced = await self._judged(enforced, body, forwarded.deployment.id, stream=False)
        settlement = await self._finish(forwarded, enforced, outcome_in_answer(enforced))
        if enforced.error is not None:
            raise enforced.error
        headers = headers_of(self._admission, forwarded, settlement)
        self._begun = True
        await self._client.start(forwarded.answer.status, [CONTENT_JSON, length_of(enforced.body), *headers])
        await self._client.finish(enforced.body)
        self._count("ok")

    async def _in_background(self, forwarded: Forwarded, body: bytes) -> bool:
        """Tell the app that its answer is under way, and follow it to its end, whoever asks for it. False where it is not."""
        keeper, response_id = self._services.keeper, response_under_way(body)
        if keeper is None or response_id is None:
            return False
        limits = self._admission.permit.limits
        stop_at = self._admission.request.received + timedelta(seconds=limits.request_seconds)
        kept = await self._left_with(keeper, forwarded, response_id, stop_at)
        shown = await keeper.given(kept, body)
        self._begun = True
        headers = headers_of(self._admission, forwarded, None, self._reservation)
        await self._client.start(forwarded.answer.status, [CONTENT_JSON, length_of(shown), *headers])
        await self._client.finish(shown)
        self._count("ok")
        return True

    async def _goes_on(self, forwarded: Forwarded, enforced: Enforced, *, cut: bool) -> bool:
        """Whether an answer goes on in the background although its stream has ended; then it is followed. Where the client's leaving
        is to end it, it is ended."""
        keeper, background = self._services.keeper, Feature.BACKGROUND in self._admission.sent.task.features
        if keeper is None or not background or not can_be_fetched(enforced.response_id):
            return False
        limits, now = self._admission.permit.limits, self._services.clock()
        stop_at = now if cut else self._admission.request.received + timedelta(seconds=limits.request_seconds)
        try:
            await self._left_with(keeper, forwarded, str(enforced.response_id), stop_at)
        except Unavailable:
            return False
        return True

    async def _left_with(self, keeper: Keeper, forwarded: Forwarded, response_id: str, stop_at: datetime) -> KeptResponse:
        """Have a response followed that is under way in the background."""
        task = self._admission.sent.task
        self._book_failures(forwarded.failures, "retried")
        rest = UnderWay(
            reservation=self._reservation,
            attempt=forwarded.attempt,
            booked=tuple(self._booked),
            longest=longest_usage(estimated_usage(task, 0), self._reservation.output_tokens * task.choices),
            stop_at=stop_at,
            began=self._priced_at,
        )
        kept = self._kept(response_id, forwarded.deployment.id, rest)
        await keeper.begin(kept, forwarded.deployment)
        keeper.follow(kept, self._followed(forwarded, kept))  # its id leads to the session once it has ended and was judged
        return kept

    async def _followed(self, forwarded: Forwarded, kept: KeptResponse) -> None:
        """Judge and settle a response in the background once it has ended, as if the app had waited for it."""
        keeper = self._services.keeper
        if keeper is None:
            raise TypeError("nobody keeps responses here")
        refusal: RouterError | None
        try:
            refusal = await self._has_ended(forwarded, await keeper.ended(kept, forwarded.deployment))
        except Exception as failure:
            refusal = failure if isinstance(failure, RouterError) else broken(failure, self._admission.request.id)
            self._book_under_way()
            await self._settle("failed", refusal.code, forwarded.deployment, None)
        with suppress(Unavailable):
            await keeper.has_ended(kept, refusal)

    async def _has_ended(self, forwarded: Forwarded, body: bytes | None) -> RouterError | None:
        if body is None:
            self._book_under_way()
            await self._settle("failed", "upstream_truncated", forwarded.deployment, None)
            return UpstreamFailed("upstream_truncated", "the provider does not tell how this response has ended")
        sent = self._admission.sent
        enforced = enforce_json(
            sent.task.endpoint,
            body,
            self._admission.grant,
            denial_is_error=denial_is_error(sent.task),
            placeholders=sent.placeholders,
            judge=self._admission.judge,
            screen=self._screen,
        )
        enforced = await self._judged(enforced, body, forwarded.deployment.id, stream=False)
        if enforced.usage is None:
            longest = self._reservation.output_tokens * sent.task.choices
            enforced = msgspec.structs.replace(enforced, usage=longest_usage(estimated_usage(sent.task, 0), longest))
        outcome = outcome_by(status_of(body)) if enforced.error is None else outcome_in_answer(enforced)
        await self._finish(forwarded, enforced, outcome)
        return enforced.error

    def _kept(self, response_id: str, deployment: str, under_way: UnderWay | None = None) -> KeptResponse:
        admission = self._admission
        return KeptResponse(
            id=response_id,
            app=admission.facts.caller.app,
            session_id=admission.opened.session.id,
            deployment=deployment,
            request_id=admission.request.id,
            grant=admission.grant,
            key_ceiling=admission.facts.caller.key_ceiling,
            structured=denial_is_error(admission.sent.task),
            masked=admission.sent.placeholders is not None,
            screened=None if self._screen is None else self._screen.listed,
            under_way=under_way,
        )

    async def _stream(self, forwarded: Forwarded) -> None:
        admission = self._admission
        enforcer = StreamEnforcer(
            admission.sent.task.endpoint,
            admission.grant,
            strip_usage=self._strip_usage,
            denial_is_error=denial_is_error(admission.sent.task),
            placeholders=admission.sent.placeholders,
            judge=admission.judge,
            screen=self._screen,
        )
        if admission.judge is not None or admission.opened.labels != NO_LABELS:
            choices = admission.sent.task.choices
            self._told, self._look_at = Told(admission.sent.task.endpoint, choices), TOLD_CHARS * choices
        cut, failure = await self._read_on(forwarded, enforcer)
        enforced = await self._judged(enforcer.end(), b"".join(self._read), forwarded.deployment.id, stream=True)
        error = enforced.error or failure
        if error is None and not cut and not enforced.complete:
            error = UpstreamFailed(
                "upstream_truncated", f"the provider of deployment `{forwarded.deployment.id}` broke off its answer"
            )
        outcome = "cancelled" if cut else "completed" if error is None else "truncated"
        if error is not None or not enforced.complete:
            await self._remember_part(forwarded.deployment.id)
        if enforced.complete or not await self._goes_on(forwarded, enforced, cut=cut):
            await self._finish(forwarded, enforced, outcome, error)
        if not self._begun:
            if error is not None:
                raise error
            await self._begin(forwarded)
        if error is None:
            await self._client.finish(enforced.body + enforced.tail)
        else:
            await self._client.finish(error_event(admission.sent.task.endpoint, error, enforced.next_number))
            _log_refusal(error, admission.request.id, admission.facts.caller)
        self._count("ok" if error is None else error.code)

    async def _read_on(self, forwarded: Forwarded, enforcer: StreamEnforcer) -> tuple[bool, RouterError | None]:
        """Read a stream to its end; once its client has left, as far as the rule lets it be read on: (whether it was cut, its failure)."""
        permit = self._admission.permit
        if Obligation.CANCEL in permit.obligations:
            return await self._unless_gone(self._read_stream(forwarded, enforcer))
        limits = permit.limits
        departure = Departure(
            self._client, self._services.drains, limits.drain_seconds, limits.drain_output_tokens * BYTES_PER_TOKEN
        )
        try:
            async with departure:
                return False, await self._read_stream(forwarded, enforcer, departure)
        except TimeoutError:
            if not departure.cut:
                raise
            return True, None

    async def _read_stream(
        self, forwarded: Forwarded, enforcer: StreamEnforcer, departure: Departure | None = None
    ) -> RouterError | None:
        """Pass on what may be passed on, as it comes; the error with which the provider's stream ended, if it did."""
        if forwarded.first_chunk is None or forwarded.rest is None:
            raise TypeError("this answer is no stream")
        try:
            allowed = enforcer.feed(forwarded.first_chunk)
            judge = self._admission.judge
            if judge is not None:
                self._read.append(forwarded.first_chunk)
                allowed = await self._through(enforcer, allowed)
            if allowed:
                await self._pass_on(forwarded, allowed)
            async for chunk in forwarded.rest:
                allowed = enforcer.feed(chunk)
                if departure is not None:
                    departure.read(enforcer.held_chars)
                if judge is not None:
                    self._read.append(chunk)
                    allowed = await self._through(enforcer, allowed)
                if allowed:
                    await self._pass_on(forwarded, allowed)
        except UpstreamFailed as failure:
            return failure
        return None

    async def _pass_on(self, forwarded: Forwarded, allowed: bytes) -> None:
        """Send a piece of a stream. Once the app has so much of it that it can be known by that, it is, before the app has it: a client
        may stop at any time, and go on with what it has."""
        told = self._told
        if told is not None and told.feed(allowed) and told.chars >= self._look_at:
            self._look_at *= 2
            if self._labels_now()[0] != NO_LABELS:
                chains, app, turns = self._services.chains, self._admission.facts.caller.app, told.turns()
                whole = joined(turns)
                found = (chains.alone(app, turn) for turn in (turns if whole is None else (*turns, whole)))
                new = {digest for digest in found if digest is not None} - self._known
                self._known |= new
                await self._remember((), sorted(new), forwarded.deployment.id)
        await self._begin(forwarded)
        await self._client.send(allowed)

    async def _remember_part(self, deployment: str) -> None:
        """Make what the app has of an answer that came to no proper end lead back to the session's labels."""
        admission, chains = self._admission, self._services.chains
        turns = () if self._told is None else self._told.turns()
        if turns and self._labels_now()[0] != NO_LABELS:
            endpoint = admission.sent.task.endpoint
            prefixes = prefixes_after(chains, admission.opened.chain, endpoint, turns)
            prefixes += said_after(chains, admission.facts.caller.app, admission.task, turns)
            await self._remember((), prefixes, deployment)

    async def _through(self, enforcer: StreamEnforcer, allowed: bytes) -> bytes:
        """What may be passed on once the calls in it are let through; nothing where they are not, and the answer ends."""
        judge = self._admission.judge
        if judge is None or (enforcer.error is not None and judge.release() is None):
            return allowed
        if enforcer.error is not None:  # with one call held, those beside it wait for the same decision
            return b""
        error = await let_through(self._services.sessions, judge)
        if error is None:
            return allowed
        enforcer.fail(error)
        return b""

    async def _judged(self, enforced: Enforced, raw: bytes, deployment: str, *, stream: bool) -> Enforced:
        """The answer with its calls let through. Where one is held, a person is asked, and the answer is kept for them."""
        judge = self._admission.judge
        if judge is None:
            return enforced
        error = enforced.error
        if error is None and (error := await let_through(self._services.sessions, judge)) is None:
            return enforced
        if error is judge.error and (waiting := judge.held()):
            try:
                error = await self._ask_for(judge, waiting, error, Kept(stream, deployment, raw))
            except RouterError as failure:
                error = failure
        return msgspec.structs.replace(
            enforced, error=error, body=b"", tail=b"", issued_ids=tuple(judge.issued), assistant=(), released=tuple(judge.passed)
        )

    async def _ask_for(
        self, judge: CallJudge, waiting: Sequence[tuple[HeldCall, str]], error: RouterError, kept: Kept
    ) -> RouterError:
        admission = self._admission
        if self._services.approvals is None:
            return error
        held = approve.held(
            rules=admission.force.rules,
            request_id=admission.request.id,
            caller=admission.facts.caller,
            session=admission.opened.session,
            labels=judge.labels,
            state=judge.state,
            endpoint=admission.request.endpoint,
            body_digest=admission.request.body_digest,
            permit=admission.permit,
            rule=admission.permit.rule,
            message=error.message,
            now=self._services.clock(),
            calls=await approve.shown(waiting, admission.force.classifiers.assess),
            answer=kept.packed(),
            stream=kept.stream,
            end_user=admission.task.end_user,
        )
        return await _asked_for(self._services, held)

    async def _given_again(self, kept: Kept) -> None:
        """Give an answer that was kept while somebody was asked; its provider has been paid, and is not asked again."""
        admission = self._admission
        task = admission.sent.task
        told: tuple[bytes, Enforced]
        if kept.stream:
            enforcer = StreamEnforcer(
                task.endpoint,
                admission.grant,
                strip_usage=not (admission.sent.body.get("stream_options") or {}).get("include_usage"),
                denial_is_error=denial_is_error(task),
                placeholders=admission.sent.placeholders,
                judge=admission.judge,
                screen=self._screen,
            )
            first = enforcer.feed(kept.body)
            enforced = enforcer.end()
            told = first, enforced
        else:
            enforced = enforce_json(
                task.endpoint,
                kept.body,
                admission.grant,
                denial_is_error=denial_is_error(task),
                placeholders=admission.sent.placeholders,
                judge=admission.judge,
                screen=self._screen,
            )
            told = b"", enforced
        enforced = await self._judged(enforced, kept.body, kept.deployment, stream=kept.stream)
        first = told[0]
        if enforced.error is None:
            await self._count_calls(enforced)
            await self._remember_answer(enforced, kept.deployment)
        settlement = await self._settle(
            outcome_in_answer(enforced), enforced.error.code if enforced.error else None, None, enforced
        )
        if enforced.error is not None:
            raise enforced.error
        headers = headers_of(admission, None, settlement)
        self._begun = True
        if kept.stream:
            await self._client.start(200, [CONTENT_EVENTS, NO_CACHE, *headers])
            await self._client.finish(first + enforced.body + enforced.tail)
        else:
            await self._client.start(200, [CONTENT_JSON, length_of(enforced.body), *headers])
            await self._client.finish(enforced.body)
        self._count("ok")

    async def _begin(self, forwarded: Forwarded) -> None:
        if not self._begun:
            self._begun = True
            headers = headers_of(self._admission, forwarded, None, self._reservation)
            await self._client.start(forwarded.answer.status, [CONTENT_EVENTS, NO_CACHE, *headers])

    async def _finish(
        self, forwarded: Forwarded, enforced: Enforced, outcome: str, error: RouterError | None = None
    ) -> Settlement | None:
        """Book the answer, make its ids and its prefix lead back to the session, and settle."""
        admission = self._admission
        deployment = forwarded.deployment
        if admission.judge is not None:
            for label, tools in admission.judge.changed_lists:
                self._services.note_changed(admission.facts.caller.app, label, tools)
        self._book_failures(forwarded.failures, "retried")
        usage = seen_usage(
            admission.sent.task, enforced.usage, enforced.output_chars, complete=enforced.complete, tools=enforced.hosted
        )
        self._booked.extend(attempt_lines(forwarded.attempt, deployment, usage, outcome, self._priced_at))
        await self._count_calls(enforced)
        code = (enforced.error or error).code if enforced.error or error else None  # type: ignore[union-attr]
        if (enforced.complete and enforced.error is None) or (admission.judge is not None and enforced.issued_ids):
            remembering = asyncio.ensure_future(self._remember_answer(enforced, deployment.id))
            settlement = await self._settle(outcome, code, deployment, enforced)
            await remembering
            return settlement
        return await self._settle(outcome, code, deployment, enforced)

    async def _count_calls(self, enforced: Enforced) -> None:
        """Count to the session's calls those that the provider has run by itself. Of a chat no more is known than that it may have."""
        judge, admission = self._admission.judge, self._admission
        if judge is None or not runs_tools(admission.grant):
            return
        ran = len(enforced.released) - judge.count
        if admission.request.endpoint is Endpoint.CHAT:
            ran = 1 if enforced.complete else 0
        if ran > 0:
            with suppress(Unavailable):
                await self._services.sessions.count_calls(admission.facts.caller.app, admission.opened.session.id, ran)

    async def _remember_answer(self, enforced: Enforced, deployment: str) -> None:
        """Make the ids of an answer, and the conversation up to it, lead back to the session."""
        admission = self._admission
        prefixes: list[str] = []
        if enforced.error is None:
            chain = admission.opened.chain
            prefixes = prefixes_after(self._services.chains, chain, admission.sent.task.endpoint, enforced.assistant)
            if self._labels_now()[0] != NO_LABELS:
                chains, app = self._services.chains, admission.facts.caller.app
                # Our own words about a refused call are said in many answers: by them alone none is known.
                shortest = BEGINNING if enforced.refused else LONG_TURN
                prefixes += said_after(chains, app, admission.task, enforced.assistant, shortest)
        await self._remember(enforced.issued_ids, prefixes, deployment)
        if admission.request.endpoint is Endpoint.RESPONSES and enforced.error is None:
            await self._keep(enforced.response_id, deployment)

    async def _keep(self, response_id: str | None, deployment: str) -> None:
        """Know which app and session a response belongs to that its provider keeps."""
        admission = self._admission
        stored = admission.request.body.get("store") is not False and Obligation.NO_STORE not in admission.permit.obligations
        keeper, holder = self._services.keeper, admission.force.rules.deployments.get(deployment)
        if response_id is None or keeper is None or not stored or holder is None or holder.provider != KEPT_BY:
            return
        try:
            await keeper.store.keep(self._kept(response_id, deployment))
        except Unavailable:
            telemetry.logger().warning("link_not_stored", request_id=admission.request.id)

    async def _remember(self, issued: Sequence[str], prefixes: Sequence[str], deployment: str) -> None:
        admission = self._admission
        try:
            await self._services.sessions.remember(
                admission.facts.caller.app,
                admission.opened.session.id,
                issued,
                prefixes,
                deployment,
                *self._labels_now(),
            )
        except Unavailable:
            telemetry.logger().warning("link_not_stored", request_id=admission.request.id)

    def _labels_now(self) -> tuple[Labels, Sensitivity]:
        """The labels of the session with the calls of this answer, and the sensitivity of what will have left us in it."""
        admission = self._admission
        labels, leaves = admission.opened.labels, admission.sent.leaves
        if admission.judge is None or admission.judge.labels == labels:
            return labels, leaves
        return admission.judge.labels, max(leaves, admission.judge.labels.confidentiality)

    async def _settle(
        self, outcome: str, code: str | None, deployment: Deployment | None, enforced: Enforced | None
    ) -> Settlement | None:
        """Close the entry, once. Never fails the caller: what could not be settled is owed (`Budgets.retry`), and if this process
        ends before it is paid, the reaper closes the entry."""
        if self._settled:
            return None
        self._settled = True
        self._watch.lap("forward")
        record = outcome_of(
            request_id=self._admission.request.id,
            at=self._services.clock(),
            outcome=outcome,
            code=code,
            deployment=deployment.id if deployment else None,
            booked=self._booked,
            held_nano=self._reservation.amount_nano,
            released=enforced.released if enforced else (),
            refused=enforced.refused if enforced else (),
            timings_us=self._watch.laps,
            judgements=self._admission.judge.evidence if self._admission.judge is not None else (),
        )
        if self._screen is not None and self._screen.removed:
            record = msgspec.structs.replace(record, screened=len(self._screen.removed))
        for line in self._booked:
            telemetry.TOKENS.labels(line.deployment, line.token_class).inc(line.quantity)
        if deployment is not None:
            telemetry.COST.labels(deployment.id).inc(record.cost_nano / NANO_PER_USD)
        try:
            return await self._services.budgets.settle(self._reservation, record)
        except Unavailable:
            return None

    def _count(self, code: str) -> None:
        admission = self._admission
        telemetry.REQUESTS.labels(
            admission.sent.task.endpoint.value, admission.facts.caller.app, admission.permit.tier, code
        ).inc()


def runs_tools(grant: ToolGrant) -> bool:
    """Whether the provider may run tools by itself."""
    kinds = {kind for kind, _ in grant.granted}
    return any(map(is_run_by_provider, kinds))


WHEN_GONE = frozenset({Obligation.DRAIN, Obligation.CANCEL})
TOLD_CHARS = 600
"""Characters of a stream after which it is seen whether it can be known by what was passed on; again each time they have doubled."""

UNKNOWN_WISH = "(unknown)"
"""What records hold in place of a model name that neither the catalogue nor the price map knows."""

MAY_BE_BILLED = frozenset({"upstream_timeout", "upstream_truncated"})
"""Failures after which a provider may bill what it worked on; one that answers with an error status does not."""

STRUCTURED = frozenset({Feature.JSON_SCHEMA, Feature.JSON_MODE})
CONTENT_JSON = (b"content-type", b"application/json")
CONTENT_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
NO_CACHE = (b"cache-control", b"no-cache")
REQUEST_ID = b"request-id"
"""Where Anthropic's clients look for the id of a request."""


def error_event(endpoint: Endpoint, error: RouterError, number: int) -> bytes:
    """The event that ends a stream which cannot end well, in the words of its wire format."""
    if endpoint is Endpoint.MESSAGES:
        return messages_error(error)
    return responses_error(error, number) if endpoint is Endpoint.RESPONSES else chat_error(error)


def denial_is_error(task: Task) -> bool:
    """Whether a refused tool call must end the answer with an error, because prose in its place would not be what was asked for."""
    return bool(task.features & STRUCTURED) or task.tool_choice.mode in ("required", "named") or task.tool_choice.required


def prefixes_after(chains: ConversationChain, chain: bytes, endpoint: Endpoint, assistant: Sequence[bytes]) -> list[str]:
    """Where the conversation stands after the answer, as hex: one for each choice of a chat, one for all items of a response."""
    if endpoint is Endpoint.CHAT:
        return [chains.extend(chain, (choice,)).hex() for choice in assistant]
    return [chains.extend(chain, assistant).hex()] if assistant else []


def said_after(
    chains: ConversationChain, app: str, task: Task, assistant: Sequence[bytes], shortest: int = LONG_TURN
) -> list[str]:
    """How the turns of an answer are known again, whatever becomes of the conversation around them (see `ConversationChain.said`)."""
    before = task.conversation
    if task.endpoint is not Endpoint.RESPONSES:  # choices, each of which follows what was sent
        return [digest for turn in assistant for digest in chains.said(app, (*before, turn), (len(before),), shortest=shortest)]
    messages = (*before, *assistant)
    found = chains.said(app, messages, range(len(before), len(messages)), shortest=shortest)
    if (whole := joined(assistant)) is not None:  # what the SDK calls the text of the answer
        found += chains.said(app, (*before, whole), (len(before),), shortest=shortest)
    return found


def outcome_in_answer(enforced: Enforced) -> str:
    """How an answer that came to its end turned out, for the ledger."""
    if isinstance(enforced.error, UpstreamFailed) or enforced.failed:
        return "failed"
    return "completed" if enforced.error is None else "refused_in_answer"


def screen_of(admission: Admission) -> Screen | None:
    """What the words of the answer are screened by, where that is ordered."""
    if Obligation.SCREEN_OUTPUT not in admission.permit.obligations:
        return None
    own = admission.force.rules.sets.get(admission.permit.entitlement_set)
    return Screen(() if own is None else own.allowed_destinations)


def length_of(body: bytes) -> tuple[bytes, bytes]:
    """The content-length header."""
    return (b"content-length", str(len(body)).encode())


def headers_of(
    admission: Admission, forwarded: Forwarded | None, settlement: Settlement | None, reservation: Reservation | None = None
) -> list[tuple[bytes, bytes]]:
    """What the app is told beside the answer: who decided what, what was withheld, what is left."""
    permit = admission.permit
    told: list[tuple[bytes, str]] = [
        (b"x-request-id", admission.request.id),
        (b"x-router-rule", permit.rule),
        (b"x-router-revision", permit.revision),
        (b"x-router-tier", permit.tier),
        (b"x-router-sensitivity", admission.opened.labels.confidentiality.value),
        (b"x-router-complexity", admission.facts.complexity.value),
        (b"x-router-task", admission.facts.task.value),
        (b"x-router-session", admission.opened.session.id),
    ]
    if admission.request.endpoint is Endpoint.MESSAGES:
        told.append((REQUEST_ID, admission.request.id))
    if admission.grant.withheld:
        told.append((b"x-router-tools-withheld", ", ".join(f"{tool.name};{tool.reason}" for tool in admission.grant.withheld)))
    if admission.facts.degraded:
        told.append((b"x-router-degraded", f"owner_budget_exceeded;{admission.facts.degraded}"))
    if admission.facts.caller.observing is not None:
        told.append((b"x-router-observed", observed(admission.facts.caller.observing)))
        if would := would_refuse(admission):
            told.append((b"x-router-would-refuse", would))
    calls = admission.opened.session.calls if admission.judge is None else admission.judge.state
    left_over, near = remaining(
        permit.budget, admission.opened.session, admission.facts.now.timestamp(), calls.count if calls is not None else 0
    )
    if left_over:
        told.append((b"x-router-limits-remaining", left_over))
    warnings = near if admission.judge is None else ", ".join(filter(None, (near, *admission.judge.warnings)))
    if warnings:
        told.append((b"x-router-limits-warning", warnings))
    if forwarded is not None:
        told.append((b"x-router-model", forwarded.deployment.id))
        if forwarded.answer.dropped:
            told.append((b"x-router-params-dropped", ", ".join(forwarded.answer.dropped)))
    left = settlement.session_left_nano if settlement else reservation.session_left_nano if reservation else None
    if left is not None:
        told.append((b"x-router-budget-remaining-usd", usd(left)))
    if settlement is not None:
        told.append((b"x-router-cost-usd", usd(settlement.cost_nano)))
    if admission.debug:
        told.append((b"x-router-debug", detail(admission)))
    # Names come from the request and are checked to be ASCII words there; whatever else gets here must not end a header.
    headers = [(name, value.encode("ascii", "replace").replace(b"\r", b"?").replace(b"\n", b"?")) for name, value in told]
    if forwarded is not None:
        passed = forwarded.answer.headers.items()
        headers.extend((name.encode(), value.encode("latin-1", "replace")) for name, value in passed if name != "content-type")
    return headers


def detail(admission: Admission) -> str:
    """Why it was decided so, for a developer who asks: one line of JSON, with kinds and counts and never a text."""
    permit, facts, assessment = admission.permit, admission.facts, admission.assessment
    told = {
        "matched": permit.matched,
        "candidates": permit.candidates,
        "entitlement_set": permit.entitlement_set,
        "budget": permit.budget.name,
        "access": facts.access.value,
        "complexity_score": round(facts.complexity_score, 3),
        "confidence": {name: round(sure, 3) for name, sure in msgspec.structs.asdict(assessment.confidence).items()},
        "intent": sorted(facts.intent),
        "categories": sorted(facts.categories),
        "findings": counted(assessment),
        "state": assessment.state.value,
        "timings_us": admission.timings_us,
        "tools": [name for _, name in admission.grant.granted],
    }
    text = msgspec.json.encode(told)
    return (text if len(text) <= LONGEST_DETAIL else msgspec.json.encode({**told, "tools": []})).decode()


LONGEST_DETAIL = 4_000
"""Characters of a header that every client still takes."""


def observed(observing: Observing) -> str:
    """On whose word an app is only watched, and for which days."""
    return f"{observing.owner.replace(',', '?').replace(';', '?')}; from={observing.start}; until={observing.end}"


def would_refuse(admission: Admission) -> str:
    """What would have been refused of an app that is only watched: codes, each with the rule or the tool that it is about."""
    permit, session = admission.permit, admission.opened.session
    told = [f"{permit.would_refuse};{permit.would_rule}"] if permit.would_refuse is not None else []
    told += [f"tool_not_entitled;{tool.name}" for tool in admission.grant.would_withhold]
    budget = permit.budget
    spent = session.spent_nano + session.held_nano + admission.reservation.amount_nano
    if budget.cost_nano is not None and spent > budget.cost_nano:
        told.append(f"session_budget_exceeded;{permit.rule}")
    if budget.requests is not None and session.requests >= budget.requests:
        told.append(f"session_budget_exceeded;{permit.rule}")
    if admission.judge is not None:
        told += [f"tool_not_entitled;{call.name}" for call in admission.judge.evidence if call.codes]
    return ", ".join(dict.fromkeys(told))


async def _refuse(
    services: Services,
    error: RouterError,
    caller: Caller | None,
    x: Exchange | None,
    request_id: str,
    watch: Stopwatch,
    client: Client,
    endpoint: Endpoint,
) -> None:
    """Answer with an error of the table, and write down why where we know who asked and nothing was admitted."""
    watch.lap("refuse")
    decision = x.decision if x else None
    assessment = x.assessment if x else None
    telemetry.REQUESTS.labels(endpoint.value, caller.app if caller else "", "", error.code).inc()
    _log_refusal(error, request_id, caller)
    headers = [(b"x-request-id", request_id.encode())]
    if caller is not None and caller.observing is not None:
        headers.append((b"x-router-observed", observed(caller.observing).encode("ascii", "replace")))
    if endpoint is Endpoint.MESSAGES:
        headers.append((REQUEST_ID, request_id.encode()))
    if error.rule is not None:
        headers.append((b"x-router-rule", error.rule.encode("ascii", "replace")))
    if "approval" in error.details:
        headers.append((b"x-router-approval", str(error.details["approval"]["id"]).encode()))
    if decision is not None:
        headers.append((b"x-router-revision", decision.revision.encode()))
    if x is not None and x.facts is not None:
        headers.append((b"x-router-sensitivity", x.facts.labels.confidentiality.value.encode()))
    if x is not None and x.session is not None:
        headers.append((b"x-router-session", x.session.id.encode()))
    record: Turned | None = None
    if caller is not None and (x is None or x.reservation is None):
        record = Turned(
            request_id=request_id,
            at=services.clock(),
            session=x.session.id if x and x.session else None,
            facts=x.facts if x else None,
            decision=decision,
            app=caller.app,
            owner=caller.owner,
            code=error.code,
            rule=error.rule,
            message=_recorded_message(error, x),
            findings=counted(assessment) if assessment else {},
            classifier_versions=assessment.versions if assessment else {},
            governance=services.governance(),
            body_digest=x.request.body_digest if x else "",
            timings_us=watch.laps,
            masking=x.masking if x else None,
        )
    shard = x.session.shard if x and x.session else shard_of(request_id)
    # A store that has just failed may fail again only after its whole time limit: the app shall not wait for that, too.
    told_first = error.code == "store_unavailable"
    if record is not None and not told_first:
        await _report(services, shard, record)
    body = msgspec.json.encode(error.messages_body(request_id) if endpoint is Endpoint.MESSAGES else error.body())
    await client.start(error.row.status, [CONTENT_JSON, length_of(body), *retry_headers(error), *headers])
    await client.finish(body)
    if record is not None and told_first:
        await _report(services, shard, record)


async def _report(services: Services, shard: int, record: Turned) -> None:
    try:
        await services.budgets.report(shard, record)
    except Unavailable:
        telemetry.logger().error("evidence_not_recorded", request_id=record.request_id, code=record.code)


def _recorded_message(error: RouterError, x: Exchange | None) -> str:
    """The words of a refusal as evidence may hold them: a parser's may name content, a decision's are those of its recorded facts."""
    if x is None or x.facts is None:
        return error.code
    return x.decision.message if isinstance(x.decision, Refuse) else error.message


def retry_headers(error: RouterError) -> list[tuple[bytes, bytes]]:
    """What the official SDKs read to decide whether, and when, to send a failed request again."""
    headers = [] if error.row.retry else [(b"x-should-retry", b"false")]
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(int(error.retry_after + 0.999), 1)).encode()))
    return headers


def _log_refusal(error: RouterError, request_id: str, caller: Caller | None) -> None:
    log = telemetry.logger()
    told = log.warning if error.log_level == "warning" else log.error
    told(
        "request_refused",
        request_id=request_id,
        code=error.code,
        app=caller.app if caller else None,
        rule=error.rule,
        detail=error.detail,
    )


def broken(error: Exception, request_id: str) -> Unavailable:
    """What an app is told of a mistake of ours; the log says where it happened, but not with what."""
    telemetry.logger().error("request_failed", request_id=request_id, error=type(error).__name__, at=_where(error))
    return Unavailable(
        "internal_error", "the router failed on this request; its id leads to the log", detail=type(error).__name__
    )


def _where(error: BaseException) -> str:
    """File and line where an unexpected error was raised: enough to find it, and nothing of what was being worked on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}" if trace else "unknown"


class Stopwatch:
    """Microseconds of each part of the line, for evidence and metrics."""

    def __init__(self) -> None:
        self.laps: dict[str, int] = {}
        self._began = self._last = perf_counter_ns()

    def lap(self, name: str) -> None:
        """The time since the last lap belongs to `name`."""
        now = perf_counter_ns()
        self.laps[name] = self.laps.get(name, 0) + (now - self._last) // 1000
        self._last = now

    def observe(self, endpoint: Endpoint) -> None:
        """Put the whole into the metrics, and what was not the provider's into its own."""
        whole = (perf_counter_ns() - self._began) / 1e9
        telemetry.DURATION.labels(endpoint.value).observe(whole)
        telemetry.OVERHEAD.labels(endpoint.value).observe(max(whole - self.laps.get("forward", 0) / 1e6, 0.0))
