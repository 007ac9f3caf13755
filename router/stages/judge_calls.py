"""Judges the tool calls of one answer, one after the other, by what the user said and what the session holds; and says what their
release would change in the session (no I/O: the line lets them through in one atomic step, and has them judged again where that fails)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from classifiers.ask.acts import joined, named
from classifiers.ask.drift import Drift, DriftLimits, DriftVerdict, Said, drift, verdict
from classifiers.ask.thesaurus import shipped
from router.errors import Refused, RouterError
from router.exchange import CallState, HeldCall, IssuedCall, JsonObject, JudgedCall, Release
from router.stages.tool_keys import Called, shown
from routing_rules.budgets import SessionBudget
from routing_rules.catalogue import EntitlementSet, Tool
from routing_rules.combinations import Effect
from routing_rules.decisions import Permit, ToolGrant
from routing_rules.facts import Facts, Labels
from routing_rules.judge import SURE, CallFacts, Judgement, Objection, Outcome, facts_of_arguments, judge, labels_after
from routing_rules.loops import CallSeen, answered, loop, rounds, seen
from routing_rules.offered import within_session
from routing_rules.provenance import Origin, Sources, acts_of
from routing_rules.rules import RuleSet
from routing_rules.suggest import objects_of
from routing_rules.task import Provenance, Role, Task, ToolAsk
from routing_rules.vocabulary import Assessment, Capability, Intent

MOST_REMEMBERED = 8_000
"""Characters of a text up to which what was read in it is remembered for the next step of an agent."""

RETRY_MILLISECONDS = 10 * 60 * 1000
"""How long after a body the same one may be a retry of it."""

_STEPS = re.compile(r"(\w+)\[([0-9]+)\]")
LOOP, DRIFTED = "loop_detected", "drift"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the calls of an answer are judged by, beside the state of the session. `body` is the request's, for the descriptions of its
    tools; `approved` are the calls that an approval was given for, as `(tool, digest of the arguments)`, `approval` its id. A `retry`
    of a client library is no other round of a loop where the same body (`body_digest`, received at `at`, in milliseconds since the
    epoch) was answered a short while ago; where an app is only watched (`observe`), nothing is held back."""

    rules: RuleSet
    permit: Permit
    grant: ToolGrant
    task: Task
    assessment: Assessment
    body: JsonObject
    app: str
    session_id: str
    secret: bytes
    body_digest: str = ""
    at: int = 0
    retry: bool = False
    observe: bool = False
    approval: str | None = None
    approved: frozenset[tuple[str, str]] = frozenset()


class _Looked(NamedTuple):
    """What is known of a call whatever the session holds."""

    called: Called
    tool: Tool | None
    arguments: Any
    read: bool
    kept: bool
    origins: tuple[Origin, ...]
    objects: frozenset[str]
    digest: str
    seen: CallSeen
    strayed: Drift


class CallJudge:
    """Judges the calls of one answer. `error` is set once one of them ends it: a call is held, goes round in a loop, or strays too far."""

    def __init__(self, asked: Asked, state: CallState) -> None:
        self._asked = asked
        self._set: EntitlementSet | None = asked.rules.sets.get(asked.permit.entitlement_set)
        self._known: dict[Called, bool] = {}
        self._fresh: list[_Looked] = []  # judged as released, and not yet let through
        self._evidence: dict[Called, JudgedCall] = {}
        self._waits: list[tuple[_Looked, Judgement]] = []
        self._reasons: dict[str, Objection] = {}
        self._offering: Facts | None = None
        self.error: RouterError | None = None
        self.changed_lists: list[tuple[str, list[Any]]] = []  # of MCP servers, by label
        self.issued: list[str] = []  # ids of calls that were let through
        self.passed: list[str] = []  # names of the same
        self._begin(state)

    def _begin(self, state: CallState) -> None:
        self._before = state
        self._labels, self._used, self._used_tools, self._drift = state.labels, state.used, state.used_tools, state.drift
        self._updated = self._answered(state) if state.calls else {}
        if self._asked.retry:
            self._replace(state)
        calls = [self._updated.get(number, call) for number, call in state.calls.items()]
        self._history = [call.seen for call in calls if not call.replaced]
        self._given = {(call.call, call.seen.exact) for call in state.calls.values()}

    # What the stages ask

    def released(self, called: Called) -> bool:
        """Whether a granted call may reach the app. Once for each call: asked again, it answers the same."""
        known = self._known.get(called)
        if known is None:
            known = self._known[called] = self._judge(self._look(called))
        return known

    def why(self, name: str) -> tuple[str, str] | None:
        """Reason code and remedy of a call that was refused here; None where it was refused for want of a grant."""
        objection = self._reasons.get(name)
        return None if objection is None else (objection.code, objection.remedy)

    def list_changed(self, label: str, tools: list[Any]) -> None:
        """An MCP server offers something else than was pinned: its owner has to look at it."""
        self.changed_lists.append((label, tools))

    # What the line asks

    @property
    def labels(self) -> Labels:
        """The labels of the session with all that was let through."""
        return self._labels

    @property
    def state(self) -> CallState:
        """What the session held when the calls were last judged."""
        return self._before

    @property
    def count(self) -> int:
        """How many calls were judged and may reach the app."""
        return sum(self._known.values())

    @property
    def evidence(self) -> tuple[JudgedCall, ...]:
        """What became of each call."""
        return tuple(self._evidence.values())

    @property
    def warnings(self) -> tuple[str, ...]:
        """The limits that the calls of the session have come near to, drift among them."""
        budget, found = self._budget, []
        if self._evidence and budget.identical_calls is not None:
            if rounds(self._history) * 100 >= budget.identical_calls * budget.warn_percent:
                found.append("identical_calls")
        if budget.drift_warn is not None and self._drift >= budget.drift_warn:
            found.append(DRIFTED)
        return tuple(found)

    def offer(self, facts: Facts) -> None:
        """Count what the provider may run by itself as used, from before it is asked. `error` where the session no longer allows it."""
        self._offering = facts
        self._offer(facts)

    def _offer(self, facts: Facts) -> None:
        asked = self._asked
        offered = within_session(asked.rules, facts, asked.permit, asked.grant, self._labels, self._used, self._used_tools)
        if offered.grant.granted != asked.grant.granted and not asked.observe:
            self.error = Refused("session_changed", "the session no longer allows what was offered: send this request again")
        self._labels, self._used, self._used_tools = offered.labels, offered.used, offered.used_tools

    def release(self) -> Release | None:
        """What letting the calls through that wait for it, and offering what was offered, changes in the session. None: nothing."""
        if not self._fresh and (self._offering is None or self._before.used == self._used):
            return None
        return Release(
            app=self._asked.app,
            session_id=self._asked.session_id,
            before=self._before,
            labels=self._labels,
            used=self._used,
            used_tools=self._used_tools,
            issued=tuple(self._remembered(looked) for looked in self._fresh),
            answered=tuple(self._updated.items()),
            most_calls=None if self._asked.observe else self._budget.tool_calls,
            drift=self._drift,
        )

    def let_through(self) -> None:
        """The release has happened: what follows in this answer is judged by what the session holds now."""
        calls = {**self._before.calls, **self._updated}
        for number, looked in enumerate(self._fresh, self._before.count + 1):
            calls[number] = self._remembered(looked)
            self.passed.append(shown(looked.called.name))
            if looked.called.call_id is not None:
                self.issued.append(looked.called.call_id)
        count = self._before.count + len(self._fresh)
        self._fresh, self._updated, self._offering = [], {}, None
        self._before = CallState(self._labels, self._used, self._used_tools, count, calls, self._drift)

    def again(self, state: CallState) -> None:
        """The session has changed meanwhile: judge the calls that wait for their release by what it holds now. One that may no longer pass
        ends the answer, since its words may be on the way already."""
        fresh, self._fresh = self._fresh, []
        self._begin(state)
        if self._offering is not None:
            self._offer(self._offering)
        for looked in fresh:
            if not self._judge(looked) and self.error is None:
                self.error = self.denial((shown(looked.called.name),))

    def denial(self, names: tuple[str, ...]) -> Refused:
        """The error that stands for refused calls where a sentence in their place would be wrong."""
        told = ", ".join(f"`{name}`" for name in dict.fromkeys(names))
        reason = next((self._reasons[name] for name in names if name in self._reasons), None)
        if reason is None:
            return Refused("tool_not_entitled", f"the answer calls {told}, which is not entitled for this task", param="tools")
        code = "tool_combination_prohibited" if reason.code.startswith("prohibited_combination") else "tool_not_entitled"
        return Refused(code, f"the answer calls {told}, which was refused ({reason.code}): {reason.remedy}", param="tools")

    def held(self) -> tuple[tuple[HeldCall, str], ...]:
        """The calls that wait for a person, each with its arguments as they were written."""
        return tuple((self._held(looked, judgement), looked.called.written) for looked, judgement in self._waits)

    # How

    @property
    def _budget(self) -> SessionBudget:
        return self._asked.permit.budget

    @cached_property
    def _turns(self) -> tuple[str, ...]:
        parts = self._asked.task.parts
        return tuple(part.text for part in parts if part.provenance is Provenance.USER and part.role is Role.USER)

    @cached_property
    def _intent(self) -> tuple[Intent, float]:
        """What all turns of the user ask for: what they name, with what the model says of the last where it is sure."""
        assessment = self._asked.assessment
        return joined(_named(self._turns), assessment.intent, assessment.confidence.intent, SURE)

    @cached_property
    def _said(self) -> Said:
        return _said(self._turns) if sum(map(len, self._turns)) < MOST_REMEMBERED else Said(self._turns)

    @cached_property
    def _sources(self) -> Sources:
        external: dict[str, bool] = {}
        for call in self._before.calls.values():  # some servers give their ids again and again: then the worst of them counts
            external[call.call] = external.get(call.call, False) or call.external
        issued = {
            part.call_id: external[digest]
            for part in self._asked.task.parts
            if part.call_id is not None and (digest := call_digest(part.call_id)) in external
        }
        listed = self._set.allowed_destinations if self._set is not None else ()
        return Sources.of_parts(self._asked.task.parts, listed, issued)

    def _description(self, called: Called) -> str:
        """What the request says of a tool that it defines."""
        path = next((ask.path for ask in self._asked.task.tools if ask.name == called.name), "")
        found: Any = self._asked.body
        for name, place in _STEPS.findall(path):
            found = found.get(name) if isinstance(found, dict) else None
            found = found[int(place)] if isinstance(found, list) and int(place) < len(found) else None
        told = found.get(called.kind, found) if isinstance(found, dict) else None
        description = told.get("description") if isinstance(told, dict) else None
        return description if isinstance(description, str) else ""

    def _answered(self, state: CallState) -> dict[int, IssuedCall]:
        """What has come back of calls of which that was not known yet."""
        waiting = {call.call: number for number, call in state.calls.items() if not call.seen.result}
        results: dict[int, list[str]] = {}
        for part in self._asked.task.parts if waiting else ():
            if part.provenance is Provenance.TOOL_RESULT and part.call_id is not None:
                number = waiting.get(call_digest(part.call_id))
                if number is not None:
                    results.setdefault(number, []).append(part.text)
        return {
            number: msgspec.structs.replace(state.calls[number], seen=answered(state.calls[number].seen, "\n".join(texts)))
            for number, texts in results.items()
        }

    def _replace(self, state: CallState) -> None:
        """The calls that the same body has brought before are those that this retry brings: they are counted once."""
        asked = self._asked
        for number, call in state.calls.items():
            if call.asked == asked.body_digest and 0 < asked.at - call.at <= RETRY_MILLISECONDS:
                self._updated[number] = msgspec.structs.replace(self._updated.get(number, call), replaced=True)

    def _look(self, called: Called) -> _Looked:
        tool = self._tool(called)
        if tool is None:
            return _Looked(called, None, None, False, False, (), frozenset(), "", seen(shown(called.name), {}, looks=False), _FAR)
        read, kept, origins = facts_of_arguments(tool, called.written, self._sources)
        arguments = msgspec.json.decode(called.written) if read and called.written else {}
        objects = _objects(called.name, self._description(called))
        intent, _ = self._intent
        return _Looked(
            called=called,
            tool=tool,
            arguments=arguments,
            read=read,
            kept=kept,
            origins=origins,
            objects=objects,
            digest=arguments_digest(self._asked.secret, tool.id, called.written),
            seen=seen(shown(called.name), arguments, looks=not acts_of(tool.capabilities)),
            strayed=drift(intent, tool.capabilities, objects, origins, arguments, self._said, self._sources),
        )

    def _tool(self, called: Called) -> Tool | None:
        """The catalogue's entry for a call. Of an MCP server, the one that was pinned for this tool."""
        if called.kind != "mcp":
            return self._asked.rules.tool_index.find(ToolAsk(called.name, called.kind, ""))
        for server in self._asked.grant.servers:
            if server.label == called.server:
                entry = next((tool.entry for tool in server.tools if tool.name == called.name), None)
                if entry is not None:
                    return self._asked.rules.tools.get(entry)
        return self._asked.rules.tool_index.find(ToolAsk("mcp", "mcp", "", called.server))

    def _judge(self, looked: _Looked) -> bool:
        called, tool = looked.called, looked.tool
        if self._asked.approval is not None and called.call_id is not None:
            if (call_digest(called.call_id), looked.seen.exact) in self._given:
                return True  # an answer that is given again: the call has been let through, and counts once
        judgement = self._judged(looked)
        approved = judgement.outcome is Outcome.HELD and tool is not None and (tool.id, looked.digest) in self._asked.approved
        outcome = Outcome.RELEASED if approved or self._asked.observe else judgement.outcome
        round_about = None if approved or self._asked.observe else self._loop(looked)
        if round_about is not None:
            outcome = Outcome.REFUSED
            self.error = self.error or round_about
        self._note(looked, judgement, outcome, LOOP if round_about is not None else None, approved)
        if outcome is Outcome.RELEASED and tool is None:  # an app that is only watched keeps tools that nobody registered, too
            self._labels = labels_after(self._labels, None)
            self._fresh.append(looked)
            return True
        if outcome is Outcome.RELEASED and tool is not None:
            self._labels = labels_after(self._labels, tool)
            self._used |= judgement.adds - {Capability.EGRESS} if approved else judgement.adds
            self._used_tools |= {tool.id}
            self._drift = max(self._drift, looked.strayed.score)
            self._history.append(looked.seen)
            self._fresh.append(looked)
            return True
        if outcome is Outcome.HELD:
            self._waits.append((looked, judgement))
            self.error = self.error or _approval_required(self._asked.permit, looked, judgement)
        elif judgement.objections:
            self._reasons[shown(called.name)] = judgement.objections[0]
        return False

    def _judged(self, looked: _Looked) -> Judgement:
        tool = looked.tool
        intent, confidence = self._intent
        judgement = judge(
            CallFacts(
                tool=tool,
                offered=tool is not None,
                intent=intent,
                confidence=confidence,
                labels=self._labels,
                used=self._used,
                used_tools=self._used_tools,
                origins=looked.origins,
                objects=looked.objects,
                arguments_read=looked.read,
                arguments_kept=looked.kept,
                third_party=looked.called.kind == "mcp" and tool is not None and not tool.internal,
                prohibited=self._set.prohibited if self._set is not None else (),
                step_ups=self._set.step_ups if self._set is not None else (),
            )
        )
        return self._with_drift(looked, judgement)

    def _with_drift(self, looked: _Looked, judgement: Judgement) -> Judgement:
        """The judgement with what the score of the call comes to. A stop ends the answer; a call that a rule has refused stays refused."""
        budget = self._budget
        limits = DriftLimits(budget.drift_warn or _NEVER, budget.drift_hold or _NEVER, budget.drift_stop or _NEVER)
        found = verdict(looked.strayed.score, limits)
        if found < DriftVerdict.HOLD or judgement.outcome is Outcome.REFUSED:
            return judgement
        effect = Effect.FORBID if found is DriftVerdict.STOP else Effect.STEP_UP
        objections = (*judgement.objections, Objection(DRIFTED, effect, "the user asks for this in words of their own"))
        if found is DriftVerdict.STOP:
            return Judgement(Outcome.REFUSED, (objections[-1], *judgement.objections))
        return Judgement(Outcome.HELD, objections, judgement.adds)

    def _loop(self, looked: _Looked) -> Refused | None:
        limit = self._budget.identical_calls
        if limit is None:
            return None
        found = loop([*self._history, looked.seen], limit)
        if found is None:
            return None
        message = (
            f"the session goes round in circles: `{shown(looked.called.name)}` was called {found.rounds} times ({found.kind}) with nothing "
            f"new in between, and the limit is {limit}; ask in another way, or start a new session"
        )
        return Refused("loop_detected", message, rule=self._asked.permit.rule)

    def _note(self, looked: _Looked, judgement: Judgement, outcome: Outcome, also: str | None, approved: bool) -> None:
        codes = tuple(objection.code for objection in judgement.objections)
        far = looked.strayed
        self._evidence[looked.called] = JudgedCall(
            name=shown(looked.called.name),
            tool=looked.tool.id if looked.tool is not None else "",
            outcome=outcome.value,
            codes=(*codes, also) if also is not None else codes,
            sources=tuple((origin.argument, origin.source.value) for origin in looked.origins),
            drift=round(far.score, 3),
            strayed=(round(far.act, 3), round(far.thing, 3), round(far.destination, 3), round(far.values, 3)),
            adds=tuple(sorted(judgement.adds)) if outcome is Outcome.RELEASED else (),
            by=self._asked.approval if approved else None,
        )

    def _remembered(self, looked: _Looked) -> IssuedCall:
        can = looked.tool.capabilities if looked.tool is not None else frozenset()
        call_id = looked.called.call_id
        return IssuedCall(
            call=call_digest(call_id) if call_id is not None else "",
            tool=looked.tool.id if looked.tool is not None else "",
            seen=looked.seen,
            external=Capability.READS_UNTRUSTED in can and Capability.READS_PRIVATE not in can,
            asked=self._asked.body_digest,
            at=self._asked.at,
        )

    def _held(self, looked: _Looked, judgement: Judgement) -> HeldCall:
        tool = looked.tool
        return HeldCall(
            tool=tool.id if tool is not None else "",
            name=shown(looked.called.name),
            owner=tool.owner if tool is not None else "",
            capabilities=tool.capabilities if tool is not None else frozenset(),
            arguments_digest=looked.digest,
            meaning_digest=meaning_digest(self._asked.secret, tool.id, looked.arguments)
            if tool is not None and looked.read
            else "",
            arguments="",
            objections=tuple((objection.code, objection.remedy) for objection in judgement.objections),
            drift=looked.strayed.score,
        )


_FAR = Drift(1.0, 1.0, 1.0, 1.0, 1.0)
_NEVER = 2.0  # above every score


def call_digest(call_id: str) -> str:
    """By what a call is known in the store: providers make the ids, and apps send back what they like."""
    return blake2b(call_id.encode("utf-8", "surrogatepass"), digest_size=12, person=b"call").hexdigest()


def arguments_digest(secret: bytes, tool: str, written: str) -> str:
    """Keyed hash of the arguments of a call, by which an approval is bound to them."""
    digest = blake2b(tool.encode() + b"\0", key=secret[:64], digest_size=20, person=b"arguments")
    digest.update(written.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def meaning_digest(secret: bytes, tool: str, arguments: Any) -> str:
    """Keyed hash of what the arguments of a call say: neither the order of names, nor spaces, escapes, ways to write a number, or
    members that are null make a difference. `arguments` is the decoded JSON."""
    return arguments_digest(secret, tool, _meaning_encoder.encode(_meant(arguments)).decode())


_meaning_encoder = msgspec.json.Encoder(order="deterministic")


def _meant(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _meant(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_meant(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _approval_required(permit: Permit, looked: _Looked, judgement: Judgement) -> Refused:
    reason = judgement.objections[0]
    message = f"the call of `{shown(looked.called.name)}` waits for an approval ({reason.code}): {reason.remedy}"
    return Refused("approval_required", message, rule=permit.rule)


def _named(turns: tuple[str, ...]) -> Intent:
    """What the turns name, each looked at once: an agent sends its turns again with every step."""
    each = [_named_once(turn) if len(turn) < MOST_REMEMBERED else named(shipped(), (turn,)) for turn in turns]
    # A turn that names an act and no thing may mean any.
    anything = any(intent.capabilities and not intent.objects for intent in each)
    return Intent(
        frozenset().union(*(intent.capabilities for intent in each)),
        frozenset() if anything else frozenset().union(*(intent.objects for intent in each)),
        any(intent.delegates for intent in each),
    )


@lru_cache(maxsize=256)
def _named_once(turn: str) -> Intent:
    return named(shipped(), (turn,))


@lru_cache(maxsize=64)
def _said(turns: tuple[str, ...]) -> Said:
    return Said(turns)


@lru_cache(maxsize=2048)
def _objects(name: str, description: str) -> frozenset[str]:
    return objects_of(name, description)
