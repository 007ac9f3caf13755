"""Recorded requests decided anew: under two revisions, to see what a change would have done; and under their own, to see that nothing differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import perf_counter
from typing import NamedTuple, Protocol

import msgspec

from router.exchange import Admitted, Masking, Turned
from router.governance.rules_values import AppImpact, Example, NoSuchProposal, Replay, RuleStore
from router.money import cost_nano
from router.stages.authenticate import under
from routing_rules.catalogue import Price
from routing_rules.decide import decide
from routing_rules.decisions import Decision, Hold, Permit, Refuse, ToolGrant
from routing_rules.entitlements import authorise, authorise_masked
from routing_rules.facts import Facts
from routing_rules.faults import RuleFaults
from routing_rules.load import load
from routing_rules.prices import INPUT_CLASSES, TOKEN_CLASSES
from routing_rules.rules import RuleSet, revision_of

MOST_EXAMPLES = 50
MOST_DIFFERENCES = 200
CHUNK = 500
NOT_TOLD = (
    "what content counts as is not told anew: no content is recorded, so a change of sensitivity.yaml shows in the diff, not here",
    "a request that would have passed and was refused then has no usage: it counts as no spend",
)


class Used(NamedTuple):
    """Tokens of one class that a request used, and what they cost (nano-USD)."""

    token_class: str
    quantity: int
    cost: int


class Revised(msgspec.Struct, frozen=True):
    """Of a recorded decision only the revision."""

    revision: str


class Passed(msgspec.Struct, frozen=True, tag="admitted"):
    """Of a request that was let through, what a replay reads."""

    request_id: str
    at: datetime
    session: str
    facts: Facts
    decision: Revised
    deployment: str
    masking: Masking | None = None


class Stopped(msgspec.Struct, frozen=True, tag="refused"):
    """Of a request that was refused, what a replay reads."""

    request_id: str
    at: datetime
    app: str
    session: str | None = None
    facts: Facts | None = None
    decision: Revised | None = None
    masking: Masking | None = None


class Recorded(Protocol):
    """What was decided, as evidence and the ledger have it. SQL down: the driver's error."""

    def decisions(self, since: datetime, until: datetime) -> Iterator[Passed | Stopped]: ...
    def records(self, since: datetime, until: datetime) -> Iterator[Admitted | Turned]: ...
    def costs(self, since: datetime, until: datetime) -> Mapping[str, tuple[str, int]]: ...
    def usage(self, request_ids: Sequence[str]) -> Mapping[str, Sequence[Used]]: ...


class Account(NamedTuple):
    """A decision as far as two of them are compared."""

    effect: str  # permit | hold | refuse
    why: str  # the code of a refusal
    tier: str
    deployment: str
    price: Price | None
    tools: tuple[tuple[str, str], ...]
    terms: tuple[object, ...]  # set, budget, limits, obligations, masking
    rule: str


class Difference(msgspec.Struct, frozen=True):
    """Something recorded that does not come out the same."""

    request_id: str | None
    at: datetime | None
    message: str


class Reproduced(msgspec.Struct, frozen=True):
    """Recorded decisions made again: `same` of `decisions` came out equal. `differences` are the first of the others, and whatever stored
    fact is not as it was written; `differing` counts them all."""

    since: datetime
    until: datetime
    decisions: int
    same: int
    differing: int
    differences: tuple[Difference, ...] = ()
    skipped: int = 0

    @property
    def holds(self) -> bool:
        """Whether everything came out the same and nothing was changed."""
        return self.differing == 0


def replay(store: RuleStore, recorded: Recorded, before: str, after: str, *, days: int, at: datetime) -> Replay:
    """Decide the last days' requests anew under any two revisions. Raises NoSuchProposal, RuleFaults."""
    return replayed(_Revisions(store), recorded, before, after, since=at - timedelta(days=days), until=at)


def reproduce(store: RuleStore, recorded: Recorded, *, days: int, at: datetime, faults: Iterable[str] = ()) -> Reproduced:
    """Make every recorded decision of the last days again, under the revision that it names. `faults`: what a look at the audit chains found,
    so that a fact that was changed or deleted counts as a difference even where the decision still comes out the same."""
    revisions = _Revisions(store)
    since = at - timedelta(days=days)
    found: list[Difference] = []
    decisions = same = differing = skipped = 0
    for message in faults:
        differing += 1
        if len(found) < MOST_DIFFERENCES:
            found.append(Difference(None, None, message))
    for record in recorded.records(since, at):
        if record.facts is None or record.decision is None:
            skipped += 1
            continue
        decisions += 1
        why = _why_not(revisions, record, record.facts, record.decision)
        if why is None:
            same += 1
            continue
        differing += 1
        if len(found) < MOST_DIFFERENCES:
            found.append(Difference(record.request_id, record.at, why))
    return Reproduced(since, at, decisions, same, differing, tuple(found), skipped)


def _why_not(revisions: _Revisions, record: Admitted | Turned, facts: Facts, decision: Decision) -> str | None:
    """What of a record does not come out the same; None where all does."""
    rules = revisions.get(decision.revision)
    if isinstance(rules, str):
        return rules
    for its_facts, its_decision in (
        (facts, decision),
        *(((record.masking.facts, record.masking.decision),) if record.masking is not None else ()),
    ):
        again = decide(rules, its_facts)
        if again != its_decision:
            return f"decided {_told(its_decision)}, and now {_told(again)}"
    permit = decision.permit if isinstance(decision, Hold) else decision
    if isinstance(record, Admitted) and isinstance(permit, Permit):
        masking = record.masking
        first = masking.decision if masking is not None else None
        if masking is not None and isinstance(first, Permit):
            grant = authorise_masked(rules, (masking.facts, first), (facts, permit))
        else:
            grant = authorise(rules, facts, permit)
        # What a session has had in it may have cut the grant further; it never adds to it.
        if more := sorted(name for _, name in set(record.grant.granted) - set(grant.granted)):
            return f"granted {', '.join(more)}, which is not granted now"
    return None


def _told(decision: Decision) -> str:
    """A decision in a few words; nothing of the request."""
    if isinstance(decision, Refuse):
        return f"refuse `{decision.code}` by `{decision.rule}`"
    permit = decision.permit if isinstance(decision, Hold) else decision
    verb = "hold" if isinstance(decision, Hold) else "permit"
    return f"{verb} by `{decision.rule}`, {permit.tier}, {permit.candidates[0] if permit.candidates else 'nowhere'}"


class _Revisions:
    """Compiled revisions by name, each once."""

    def __init__(self, store: RuleStore) -> None:
        self._store = store
        self._known: dict[str, RuleSet | str] = {}

    def get(self, revision: str) -> RuleSet | str:
        """The rule set, or why there is none."""
        if revision not in self._known:
            self._known[revision] = self._load(revision)
        return self._known[revision]

    def must(self, revision: str) -> RuleSet:
        """The rule set. Raises NoSuchProposal."""
        found = self.get(revision)
        if isinstance(found, str):
            raise NoSuchProposal(found)
        return found

    def _load(self, revision: str) -> RuleSet | str:
        kept = self._store.get(revision)
        if kept is None:
            return f"the revision `{revision[:64]}` is not kept"
        if revision_of(kept.files) != revision:
            return f"the files of the revision `{revision[:64]}` are not those that it was made of"
        try:
            return load(kept.files)
        except RuleFaults as faults:
            return f"the revision `{revision[:64]}` cannot be loaded any more: {faults.faults[0]}"


@dataclass(slots=True)
class _Tally:
    """What is counted of one app, or of all."""

    requests: int = 0
    changed: int = 0
    refused: int = 0
    permitted: int = 0
    before: int = 0
    after: int = 0
    sessions: set[str] = field(default_factory=set)
    sessions_changed: set[str] = field(default_factory=set)
    gained: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)


def replayed(revisions: _Revisions, recorded: Recorded, before: str, after: str, *, since: datetime, until: datetime) -> Replay:
    """See `replay`."""
    began = perf_counter()
    first, second = revisions.must(before), revisions.must(after)
    costs = recorded.costs(since, until)
    everything, apps = _Tally(), dict[str, _Tally]()
    outcomes, tiers, moved = Counter[str](), Counter[str](), Counter[str]()
    days: dict[str, list[int]] = {}
    examples: list[Example] = []
    repriced: list[tuple[str, str, Price | None, Price | None]] = []
    skipped = 0
    for record in recorded.decisions(since, until):
        if record.facts is None:
            skipped += 1
            continue
        own = revisions.get(record.decision.revision) if record.decision is not None else "unknown"
        was = _account(first, record, own)
        now = _account(second, record, own)
        app = record.facts.caller.app
        tally = apps.setdefault(app, _Tally())
        day = days.setdefault(f"{record.at:%Y-%m-%d}", [0, 0])
        day[0] += 1
        differs = _differ(was, now)
        both = (everything, tally)
        for counted in both:
            counted.requests += 1
            if record.session is not None:
                counted.sessions.add(record.session)
        spent = costs.get(record.request_id)
        if spent is not None:
            known = own.deployments.get(spent[0]) if isinstance(own, RuleSet) else None
            billed = (spent[0], known.price_at(record.at) if known is not None else None)
            # At the prices at which it was billed, what was billed is true to the last correction.
            sides = [spent[1] if (each.deployment, each.price) == billed else None for each in (was, now)]
            for counted in both:
                counted.before += sides[0] or 0
                counted.after += sides[1] or 0
            if None in sides:
                prices = [None if side is not None else each.price for side, each in zip(sides, (was, now), strict=True)]
                repriced.append((record.request_id, app, prices[0], prices[1]))
        if was.rule != now.rule:
            moved[f"{was.rule} → {now.rule}"] += 1
        if not differs:
            continue
        day[1] += 1
        gained = Counter(name for _, name in set(now.tools) - set(was.tools))
        lost = Counter(name for _, name in set(was.tools) - set(now.tools))
        for counted in both:
            counted.changed += 1
            counted.refused += was.effect == "permit" and now.effect != "permit"
            counted.permitted += was.effect != "permit" and now.effect == "permit"
            if record.session is not None:
                counted.sessions_changed.add(record.session)
            counted.gained.update(gained)
            counted.lost.update(lost)
        if was.effect != now.effect or was.why != now.why:
            outcomes[f"{_short(was)} → {_short(now)}"] += 1
        elif was.tier != now.tier:
            tiers[f"{was.tier} → {now.tier}"] += 1
        if len(examples) < MOST_EXAMPLES:
            examples.append(Example(record.request_id, record.at, app, record.session, _said(was), _said(now)))
    for start in range(0, len(repriced), CHUNK):
        chunk = repriced[start : start + CHUNK]
        usage = recorded.usage([request_id for request_id, *_ in chunk])
        for request_id, app, old, new in chunk:
            used = usage.get(request_id, ())
            for counted in (everything, apps[app]):
                counted.before += _priced(used, old)
                counted.after += _priced(used, new)
    return Replay(
        before=before,
        after=after,
        since=since,
        until=until,
        decisions=everything.requests,
        changed=everything.changed,
        sessions=len(everything.sessions),
        sessions_changed=len(everything.sessions_changed),
        spend_before=everything.before,
        spend_after=everything.after,
        outcomes=dict(outcomes.most_common()),
        tiers=dict(tiers.most_common()),
        rules=dict(moved.most_common(50)),
        tools_gained=dict(everything.gained.most_common()),
        tools_lost=dict(everything.lost.most_common()),
        apps=tuple(_impact(app, tally) for app, tally in sorted(apps.items(), key=lambda item: -item[1].changed)),
        by_day=tuple((day, *counts) for day, counts in sorted(days.items())),  # type: ignore[misc]
        examples=tuple(examples),
        skipped=skipped,
        seconds=round(perf_counter() - began, 3),
        notes=NOT_TOLD,
    )


def _impact(app: str, tally: _Tally) -> AppImpact:
    return AppImpact(
        app=app,
        requests=tally.requests,
        changed=tally.changed,
        sessions=len(tally.sessions),
        sessions_changed=len(tally.sessions_changed),
        spend_before=tally.before,
        spend_after=tally.after,
        refused=tally.refused,
        permitted=tally.permitted,
        tools_gained=dict(tally.gained.most_common()),
        tools_lost=dict(tally.lost.most_common()),
    )


def shadowed(active: RuleSet, tried: RuleSet, facts: Facts, decision: Decision) -> tuple[str, str] | None:
    """What was decided and what a revision that is only tried would have, in words; None where that is the same."""
    was = _of(active, decision, authorise(active, facts, decision) if isinstance(decision, Permit) else ToolGrant(), facts)
    there = as_under(facts, active, tried)
    other = decide(tried, there)
    now = _of(tried, other, authorise(tried, there, other) if isinstance(other, Permit) else ToolGrant(), facts)
    return (_said(was), _said(now)) if _differ(was, now) else None


def _differ(was: Account, now: Account) -> bool:
    return was[:4] != now[:4] or was.tools != now.tools or was.terms != now.terms


def _account(rules: RuleSet, record: Passed | Stopped, own: RuleSet | str) -> Account:
    """What a rule set makes of a record."""
    facts, masking = record.facts, record.masking
    if facts is None:
        raise ValueError("a record without facts cannot be decided anew")
    if masking is not None:
        before = as_under(masking.facts, own, rules)
        first = decide(rules, before)
        if isinstance(first, Permit) and first.mask:
            last = as_under(facts, own, rules)
            decision = decide(rules, last)
            if isinstance(decision, Permit):
                return _of(rules, decision, authorise_masked(rules, (before, first), (last, decision)), facts)
            return _of(rules, decision, ToolGrant(), facts)
        return _of(rules, first, authorise(rules, before, first) if isinstance(first, Permit) else ToolGrant(), facts)
    facts = as_under(facts, own, rules)
    decision = decide(rules, facts)
    grant = authorise(rules, facts, decision) if facts.tools and isinstance(decision, Permit) else ToolGrant()
    return _of(rules, decision, grant, facts)


def as_under(facts: Facts, own: RuleSet | str, rules: RuleSet) -> Facts:
    """The facts as they would have been gathered under another revision: what apps.yaml says of the caller goes into them. Where its key
    narrowed the app, it still does."""
    if not isinstance(own, RuleSet):
        return facts
    name = facts.caller.app
    caller = under(facts.caller, own.apps.get(name), rules.apps.get(name), facts.now.date())
    return facts if caller is facts.caller else msgspec.structs.replace(facts, caller=caller)


def _of(rules: RuleSet, decision: Decision, grant: ToolGrant, facts: Facts) -> Account:
    if isinstance(decision, Refuse):
        return Account("refuse", decision.code, "", "", None, (), (), decision.rule)
    permit = decision.permit if isinstance(decision, Hold) else decision
    terms = (permit.entitlement_set, permit.budget, permit.limits, permit.obligations, permit.mask)
    if isinstance(decision, Hold):
        return Account("hold", "", permit.tier, "", None, (), terms, decision.rule)
    there = next((each for each in map(rules.deployments.get, permit.candidates) if each is not None), None)
    deployment, price = (there.id, there.price_at(facts.now)) if there is not None else ("", None)
    return Account("permit", "", permit.tier, deployment, price, grant.granted, terms, permit.rule)


def _priced(used: Iterable[Used], price: Price | None) -> int:
    """What the same tokens cost at other prices; nothing where the request would not have gone anywhere."""
    if price is None:
        return 0
    used = list(used)
    rates = price.applied(sum(each.quantity for each in used if each.token_class in INPUT_CLASSES), "")
    total = 0
    for each in used:
        if each.token_class in TOKEN_CLASSES:
            unit = rates.of(each.token_class)
        elif each.token_class in rates.tools:
            unit = rates.tools[each.token_class]
        else:
            total += each.cost
            continue
        total += 0 if unit is None else cost_nano(each.quantity, unit)
    return total


def _short(account: Account) -> str:
    return f"{account.effect} {account.why}".strip()


def _said(account: Account) -> str:
    if account.effect == "refuse":
        return f"refuse {account.why} by {account.rule}"
    names = ", ".join(name for _, name in account.tools)
    where = f" on {account.deployment}" if account.deployment else ""
    return f"{account.effect} by {account.rule}: {account.tier}{where}" + (f", with {names}" if names else "")
