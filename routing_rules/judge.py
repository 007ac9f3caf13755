"""Judges one proposed tool call in its session: released, held for an approval, or refused, and why (pure).

Every rule looks at the facts by itself and may object; the strongest objection decides, in whatever order the rules stand.
A rule that fails refuses. The facts hold no argument values, so that they can be recorded and shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import msgspec

from routing_rules.catalogue import Tool
from routing_rules.combinations import SHIPPED, Combination, Effect
from routing_rules.constraints import keeps_to
from routing_rules.facts import Labels
from routing_rules.provenance import ACTS, Origin, Source, Sources, acts_of, origins, vouches
from routing_rules.vocabulary import Capability, Integrity, Intent, Sensitivity

SURE = 0.5
"""Confidence of the intent from which on an act counts as asked for."""

_STRINGS = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"(\s*:)?')
"""The strings of a JSON text, and whether each is a name."""

_C = Capability
_LIGHT = frozenset({Capability.EGRESS, Capability.WRITES_STATE})
_GRAVE = ACTS - _LIGHT
_PRIVATE = frozenset({Capability.READS_PRIVATE, Capability.READS_RESTRICTED})
_CARRIES_WORDS = frozenset({Capability.READS_UNTRUSTED, Capability.COMPUTER_CONTROL, Capability.DELEGATES_MODEL})
_VALUES_MATTER = frozenset(
    {Capability.EGRESS, Capability.WRITES_STATE, Capability.DESTRUCTIVE, Capability.SPENDS_MONEY, Capability.ADMIN_PRIVILEGE}
)


class Outcome(Enum):
    """What becomes of a call."""

    RELEASED = "released"
    HELD = "held"
    REFUSED = "refused"


class Objection(msgspec.Struct, frozen=True, order=True):
    """Why a call is not released: a reason code, what it does, and what would make the call pass."""

    code: str
    effect: Effect
    remedy: str


class CallFacts(msgspec.Struct, frozen=True):
    """Everything that the judgement of one call may look at.

    `tool` is the catalogue entry, None where nobody registered it; `offered` whether the grant holds it. `arguments_read`: the
    arguments are a JSON object; `arguments_kept`: within the owner's constraints. `intent` is what the user's words imply,
    `confidence` in [0, 1] how sure that is; `objects` are the kinds of object that the tool is about. `labels` are the
    session's, `used` what its released calls could do (see `Judgement.adds`), `used_tools` the ids of tools that were approved
    or released before. `prohibited` and `step_ups` are the entitlement set's own.
    """

    tool: Tool | None
    offered: bool
    intent: Intent
    confidence: float
    labels: Labels
    used: frozenset[Capability] = frozenset()
    used_tools: frozenset[str] = frozenset()
    origins: tuple[Origin, ...] = ()
    objects: frozenset[str] = frozenset()
    arguments_read: bool = True
    arguments_kept: bool = True
    third_party: bool = False  # an MCP server that is not marked as ours
    delegate_clearance: Sensitivity = Sensitivity.PUBLIC  # of the model that a delegating tool hands its work to
    prohibited: tuple[Combination, ...] = ()
    step_ups: tuple[Combination, ...] = ()


class Judgement(msgspec.Struct, frozen=True):
    """What becomes of the call, why, and what its release adds to what the session has used (in the same atomic step)."""

    outcome: Outcome
    objections: tuple[Objection, ...] = ()
    adds: frozenset[Capability] = frozenset()


class Rule(msgspec.Struct, frozen=True):
    """One rule of the judgement: what it may object to."""

    id: str
    objections: Callable[[CallFacts], Iterator[Objection]]


def facts_of_arguments(tool: Tool, raw: str | bytes, sources: Sources) -> tuple[bool, bool, tuple[Origin, ...]]:
    """Of the raw arguments of a call: whether they are a JSON object, whether they keep to the owner's constraints, and what
    vouches for their destinations. The values themselves are not kept. A schema that is not understood is not kept to."""
    try:
        arguments = msgspec.json.decode(raw) if raw else {}
        if not isinstance(arguments, dict) or _says_twice(raw):
            return False, False, ()
        kept = tool.arguments_schema is None or keeps_to(tool.arguments_schema, arguments)
        return True, kept, origins(arguments, tool.destination_arguments, sources, tool.capabilities)
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError):
        return False, False, ()


def _says_twice(raw: str | bytes) -> bool:
    """Whether an object of a JSON text has a name twice: some readers take the first of them, some the last."""
    text = raw if isinstance(raw, str) else raw.decode()
    names = [name for name, colon in _STRINGS.findall(text) if colon]
    if len(names) == len(set(names)) and "\\" not in "".join(names):
        return False
    twice = False

    def each(pairs: list[tuple[str, Any]]) -> None:
        nonlocal twice
        twice = twice or len(pairs) != len({name for name, _ in pairs})

    json.loads(text, object_pairs_hook=each)
    return twice


def judge(facts: CallFacts, rules: tuple[Rule, ...] | None = None) -> Judgement:
    """The judgement of one call. Never raises. `rules` are the shipped ones unless given."""
    found: set[Objection] = set()
    for rule in RULES if rules is None else rules:
        try:
            found.update(rule.objections(facts))
        except Exception:  # nothing may fail open: whatever breaks in a rule refuses the call
            found.add(Objection("evaluation_error", Effect.FORBID, f"the rule `{rule.id}` could not be evaluated"))
    objections = tuple(sorted(found, key=lambda each: (each.effect is not Effect.FORBID, each.code)))
    if any(each.effect is Effect.FORBID for each in objections):
        return Judgement(Outcome.REFUSED, objections)
    adds = added(facts)
    return Judgement(Outcome.HELD if objections else Outcome.RELEASED, objections, adds)


def added(facts: CallFacts) -> frozenset[Capability]:
    """What the release of this call adds to what the session has used.

    Egress to destinations that are all vouched for is no way out for data that the model chooses to send, so it does not count.
    """
    if facts.tool is None:
        return frozenset()
    can = _can(facts)
    return can - {_C.EGRESS} if _vouched(facts) else can


def labels_after(labels: Labels, tool: Tool | None) -> Labels:
    """The labels of a session once the result of a call is in it. A result of a call that nobody issued is untrusted and private."""
    if tool is None:
        return labels.join(Labels(Integrity.UNTRUSTED, Sensitivity.CONFIDENTIAL))
    can = tool.capabilities
    level = (
        tool.highest_read
        if can & (_PRIVATE | {_C.EXECUTES_CODE, _C.COMPUTER_CONTROL, _C.DELEGATES_MODEL})
        else Sensitivity.PUBLIC
    )
    if _C.READS_RESTRICTED in can:
        level = Sensitivity.RESTRICTED
    return labels.join(Labels(Integrity.UNTRUSTED if can & _CARRIES_WORDS else Integrity.TRUSTED, level))


def _can(facts: CallFacts) -> frozenset[Capability]:
    """What this very call can do: what its tool can, and egress where the model chose a URL. A tool whose only way out are its
    destination arguments sends nothing where none is given."""
    if facts.tool is None:
        return frozenset()
    can = facts.tool.capabilities
    if any(origin.url and not vouches(origin.source, can) for origin in facts.origins):
        return can | {_C.EGRESS}
    if not facts.origins and facts.tool.destination_arguments and _C.WRITES_STATE in can:
        return can - {_C.EGRESS}
    return can


def _vouched(facts: CallFacts) -> bool:
    """Whether there are destinations, and something vouches for each."""
    can = facts.tool.capabilities if facts.tool is not None else frozenset()
    return bool(facts.origins) and all(vouches(origin.source, can) for origin in facts.origins)


def _asked(facts: CallFacts) -> bool:
    """Whether the user's words ask for what the call does, and for a thing of this kind.

    Each grave act must be asked for. Of the light ones one is enough: who has an appointment made has the guests told. Who has
    others' words carried out asks for light acts on what is vouched for, and for egress to what they or an allow-list name; never
    for a grave act.
    """
    acts = _can(facts) & ACTS
    implied = facts.intent.capabilities
    grave, light = acts & _GRAVE, acts & _LIGHT
    named = all(origin.source <= Source.LISTED for origin in facts.origins)
    if not grave and light and facts.intent.delegates and _vouched(facts) and (named or _C.EGRESS not in light):
        return True
    if not grave <= implied or (light and not grave and not light & implied):
        return False
    return not (facts.objects and facts.intent.objects and facts.objects.isdisjoint(facts.intent.objects))


def _untrusted(facts: CallFacts) -> bool:
    return facts.labels.integrity is Integrity.UNTRUSTED or _C.READS_UNTRUSTED in facts.used


def _session(facts: CallFacts) -> frozenset[Capability]:
    """What the session has had in it, by its calls and by its labels."""
    held = set(facts.used)
    if facts.labels.integrity is Integrity.UNTRUSTED:
        held.add(_C.READS_UNTRUSTED)
    if facts.labels.confidentiality >= Sensitivity.CONFIDENTIAL:
        held.add(_C.READS_PRIVATE)
    if facts.labels.confidentiality is Sensitivity.RESTRICTED:
        held.add(_C.READS_RESTRICTED)
    if held & _PRIVATE:
        held.add(_C.READS_PRIVATE)
    return frozenset(held)


def _registration(facts: CallFacts) -> Iterator[Objection]:
    if facts.tool is None:
        yield Objection("unregistered", Effect.FORBID, "an owner registers the tool in tools.yaml")
    elif not facts.offered:
        yield Objection(
            "not_offered", Effect.FORBID, "the tool is put into the entitlement set of the rule and the app's ceiling"
        )


def _arguments(facts: CallFacts) -> Iterator[Objection]:
    if not facts.arguments_read:
        yield Objection("arguments_unreadable", Effect.FORBID, "the arguments are one JSON object")
    elif not facts.arguments_kept:
        yield Objection("arguments_not_permitted", Effect.FORBID, "the arguments keep to the schema of the tool's owner")


def _boundary(facts: CallFacts) -> Iterator[Objection]:
    if facts.tool is None:
        return
    boundary = facts.tool.approval_boundary
    if boundary == "every_call":
        yield Objection("approval_every_call", Effect.STEP_UP, "the tool's owner approves this call")
    elif boundary == "first_use":
        if facts.tool.id not in facts.used_tools:
            yield Objection("approval_first_use", Effect.STEP_UP, "the tool's owner approves its first use in the session")
    elif boundary != "none":
        yield Objection("evaluation_error", Effect.FORBID, "the tool has an approval boundary that is known")


def _reach(facts: CallFacts) -> Iterator[Objection]:
    restricted = facts.labels.confidentiality is Sensitivity.RESTRICTED or _C.READS_RESTRICTED in facts.used
    if facts.third_party and restricted:
        yield Objection("restricted_to_third_party", Effect.FORBID, "restricted data stays away from servers that are not ours")
    level = Sensitivity.RESTRICTED if restricted else facts.labels.confidentiality
    if _C.DELEGATES_MODEL in _can(facts) and level > facts.delegate_clearance:
        yield Objection("delegate_not_cleared", Effect.FORBID, "the other model is cleared for the data of the session")


def _intent(facts: CallFacts) -> Iterator[Objection]:
    """Once words of others are in the session, what changes anything must be what the user asked for. A grave act always must."""
    acts = acts_of(_can(facts))
    if not acts or not (_untrusted(facts) or acts & _GRAVE):
        return
    if not _asked(facts):
        yield Objection("act_not_asked", Effect.STEP_UP, "the user asks for this act in a turn of their own")
    elif facts.confidence < SURE or facts.confidence != facts.confidence:
        yield Objection("intent_unsure", Effect.STEP_UP, "the user asks for this act in plainer words")


def _provenance(facts: CallFacts) -> Iterator[Objection]:
    """Once words of others are in the session, where an act goes to must come from somewhere that can be trusted."""
    can = _can(facts)
    if not (acts_of(can) & _VALUES_MATTER and _untrusted(facts)):
        return
    if any(not vouches(origin.source, can) for origin in facts.origins):
        remedy = "the user names the destination, it is put on the allow-list, or it is a whole value of an earlier result"
        yield Objection("destination_not_vouched", Effect.STEP_UP, remedy)


def _combinations(facts: CallFacts) -> Iterator[Objection]:
    can = _can(facts)
    brings = can | {_C.READS_PRIVATE} if can & _PRIVATE else can
    reach = _session(facts) | brings
    asked = vouched = None  # looked at where a combination turns on it: most calls complete none
    for combination, effect in _every_combination(facts):
        if brings.isdisjoint(combination.brought_by) or not combination.capabilities <= reach or not combination.one_tool <= can:
            continue
        if combination.vouched or combination.asked:
            if asked is None:
                asked, vouched = _asked(facts) and facts.confidence >= SURE, _vouched(facts)
            if (vouched or not combination.vouched) and (asked or not combination.asked):
                continue
        code = "prohibited_combination" if effect is Effect.FORBID else "combination"
        yield Objection(f"{code}:{combination.id}", effect, "the session does without one of the parts of this combination")


def _every_combination(facts: CallFacts) -> Iterator[tuple[Combination, Effect]]:
    for combination in SHIPPED:
        yield combination, combination.effect
    for combination in facts.prohibited:
        yield combination, Effect.FORBID
    for combination in facts.step_ups:
        yield combination, Effect.STEP_UP


RULES: tuple[Rule, ...] = (
    Rule("registration", _registration),
    Rule("arguments", _arguments),
    Rule("boundary", _boundary),
    Rule("reach", _reach),
    Rule("intent", _intent),
    Rule("provenance", _provenance),
    Rule("combinations", _combinations),
)
"""The rules, in no order that matters."""

OFFER_RULES: tuple[Rule, ...] = (Rule("boundary", _boundary), Rule("reach", _reach), Rule("combinations", _combinations))
"""Those that can be asked before there is a call: for tools that a provider runs by itself."""
