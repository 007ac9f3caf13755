"""The compiled form of everything that is governed: rules as bit masks, and the catalogue beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from enum import StrEnum
from fnmatch import fnmatchcase, translate
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

import msgspec

from routing_rules.budgets import DEGRADE, NO_LIMIT, CallLimits, OwnerBudget, OwnerLimits, Raise, SessionBudget, limit_of
from routing_rules.calendars import CALENDAR_YEAR, FiscalYear, Per, Period, period_of
from routing_rules.catalogue import App, Deployment, EntitlementSet, Purpose, Tool, searches_by_itself
from routing_rules.decisions import CARRIED_OUT, Obligation
from routing_rules.facts import Facts
from routing_rules.prices import NO_BOOK, PriceBook
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.server_lists import address_digest
from routing_rules.task import Endpoint, ToolAsk
from routing_rules.vocabulary import (
    Access,
    BusinessImpact,
    Capability,
    Complexity,
    Integrity,
    LatencyClass,
    ScanState,
    Sensitivity,
    TaskKind,
)

AUTO_WISHES = ("auto", "auto-fast", "auto-reasoning")
"""Model names by which an app leaves the choice to the rules; the last two are hints."""

UNDECLARED = "undeclared"

DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "sensitivity": tuple(str(level) for level in Sensitivity),
    "access": tuple(str(access) for access in Access),
    "complexity": tuple(str(band) for band in Complexity),
    "task": tuple(TaskKind),
    "integrity": tuple(str(integrity) for integrity in Integrity),
    "business_impact": tuple(str(impact) for impact in BusinessImpact),
    "latency_class": tuple(LatencyClass),
    "endpoint": tuple(Endpoint),
    "wish": (*AUTO_WISHES, "named"),
    "state": tuple(ScanState),
    "declared": (UNDECLARED, *(str(level) for level in Sensitivity)),
    "capability": tuple(Capability),
}
"""Dimensions whose words are fixed. A rule may also look at `app`, `team`, `purpose` and `category`, whose words are governed."""

GOVERNED_DIMENSIONS = ("app", "team", "purpose", "category")

ORDERED_DIMENSIONS = frozenset({"sensitivity", "access", "complexity", "integrity", "business_impact"})

MANY_VALUED_DIMENSIONS = ("category", "capability")
"""A task shows any number of these; a rule admits it if one of them is listed."""

MOST_REMEMBERED = 4096
"""Entries of each memo below; a full memo starts again empty."""


class Effect(StrEnum):
    """What a matching rule does. Forbid beats step-up beats permit, in whatever order they are written."""

    FORBID = "forbid"
    STEP_UP = "step_up"
    PERMIT = "permit"


class Then(msgspec.Struct, frozen=True):
    """What a route gives. `tiers` are tried in this order; `regions` empty means any; `mask` are categories and kinds of finding.

    `wish` says what becomes of a model the app names: `override`, `honour` or `refuse`. With `hints`, `auto-fast` and
    `auto-reasoning` put that tier first, if it is one of `tiers`.
    """

    tiers: tuple[str, ...]
    entitlement_set: str
    budget: str
    limits: CallLimits = CallLimits()
    obligations: frozenset[Obligation] = frozenset()
    regions: frozenset[str] = frozenset()
    internal_only: bool = False
    wish: str = "override"
    hints: bool = False
    mask: tuple[str, ...] = ()


class Rule(msgspec.Struct, frozen=True):
    """One governed statement. `when` holds the admitted words by dimension; a dimension that is absent admits all.

    `valid_from` and `valid_until` are inclusive days, in the time zone of the rule set. `then` is set for a route, `code` matters for a prohibition
    only. `remedy` is told to whoever is refused.
    """

    id: str
    effect: Effect
    owner: str
    reason: str
    when: dict[str, frozenset[str]] = {}
    then: Then | None = None
    serves: tuple[str, ...] = ()
    remedy: str = ""
    code: str = "not_permitted_by_rule"
    valid_from: date | None = None
    valid_until: date | None = None
    file: str = "routes.yaml"
    line: int = 0
    column: int = 0

    def in_force(self, day: date) -> bool:
        """Whether the rule applies on this day."""
        return (self.valid_from is None or self.valid_from <= day) and (self.valid_until is None or day <= self.valid_until)


@dataclass(frozen=True, slots=True)
class Slot:
    """A deployment as the decision reads it. `most_bytes`: an input above it cannot fit the context window, as a token
    is at least one byte and, on average, not more than four. `priced`: its price is known on every day."""

    deployment: Deployment
    id: str
    tier: str
    rank: int
    review_expires: date
    features: frozenset[str]
    allowed_fields: frozenset[str]
    most_bytes: int
    priced: bool
    searches: bool = False

    def priced_at(self, moment: datetime, audio: bool = False) -> bool:
        """Whether its price is known at a moment, that of speech too where it is asked for, so that a worst case can be held."""
        if audio:
            price = self.deployment.price_at(moment)
            return price.known and (price.audio_input is not None or price.audio_output is not None)
        return self.priced or (bool(self.deployment.prices) and self.deployment.price_at(moment).known)

    def cleared_for(self, rank: int, today: date) -> bool:
        """Whether content of this sensitivity may go there today; an expired access review leaves public only."""
        return rank <= self.rank and (rank == 0 or today <= self.review_expires)


@dataclass(frozen=True, slots=True)
class Route:
    """A permitting rule with everything it refers to. `not_carried_out` are obligations that no stage can carry out."""

    rule: Rule
    then: Then
    slots: tuple[Slot, ...]
    budget: SessionBudget
    not_carried_out: tuple[Obligation, ...]


class Verdict(NamedTuple):
    """What a set of matching rules comes to: who decides, the first route among them, all of their ids."""

    effect: Effect | None
    rule: Rule | None
    route: Route | None
    matched: tuple[str, ...]


BYTES_PER_TOKEN = 4


class Index:
    """For every word of every dimension, the rules that admit it, as the bits of an integer; the AND of the masks matches.

    Bit i is the i-th rule: prohibitions first, then step-ups, then routes, each in the order written.
    """

    def __init__(
        self, rules: tuple[Rule, ...], routes: Mapping[str, Route], purposes: Mapping[str, Purpose], time_zone: tzinfo = UTC
    ) -> None:
        self.rules = rules
        self.time_zone = time_zone
        self.routes = routes
        self.dated = tuple((1 << i, rule) for i, rule in enumerate(rules) if rule.valid_from or rule.valid_until)
        self.sensitivity = self._ordered("sensitivity")
        self.access = self._ordered("access")
        self.complexity = self._ordered("complexity")
        self.integrity = self._ordered("integrity")
        self.task = self._closed("task")
        self.endpoint = self._closed("endpoint")
        self.wish = self._closed("wish")
        self.state = self._closed("state")
        self.declared = self._closed("declared")
        self.app, self.any_app = self._open("app")
        self.team, self.any_team = self._open("team")
        named, any_purpose = self._open("purpose")
        impact, latency = self._closed("business_impact"), self._closed("latency_class")
        self.purpose = {
            purpose.id: named.get(purpose.id, any_purpose) & impact[str(purpose.business_impact)] & latency[purpose.latency_class]
            for purpose in purposes.values()
        }
        self.category, self.any_category = self._many("category")
        self.capability, self.any_capability = self._many("capability")
        self._verdicts: dict[int, Verdict] = {}

    def _admitting(self, dimension: str, word: str) -> int:
        mask = 0
        for i, rule in enumerate(self.rules):
            words = rule.when.get(dimension)
            if words is None or word in words:
                mask |= 1 << i
        return mask

    def _ordered(self, dimension: str) -> tuple[int, ...]:
        return tuple(self._admitting(dimension, word) for word in DIMENSIONS[dimension])

    def _closed(self, dimension: str) -> dict[str, int]:
        return {word: self._admitting(dimension, word) for word in DIMENSIONS[dimension]}

    def _open(self, dimension: str) -> tuple[dict[str, int], int]:
        """Masks of the words that some rule lists, and the mask for every other word."""
        words = frozenset().union(*(rule.when.get(dimension, frozenset()) for rule in self.rules))
        return {word: self._admitting(dimension, word) for word in words}, self._indifferent(dimension)

    def _many(self, dimension: str) -> tuple[dict[str, int], int]:
        """Masks of the rules that list a word, and the mask of those that do not look; the OR of what is shown admits."""
        masks: dict[str, int] = {}
        for i, rule in enumerate(self.rules):
            for word in rule.when.get(dimension, ()):
                masks[word] = masks.get(word, 0) | 1 << i
        return masks, self._indifferent(dimension)

    def _indifferent(self, dimension: str) -> int:
        return sum(1 << i for i, rule in enumerate(self.rules) if dimension not in rule.when)

    def matching(self, facts: Facts, wish: str, capabilities: Iterable[str]) -> int:
        """The rules that match, as bits. Raises KeyError for a purpose that is not governed."""
        caller = facts.caller
        mask = (
            self.sensitivity[facts.labels.confidentiality.rank]
            & self.access[facts.access.rank]
            & self.complexity[facts.complexity.rank]
            & self.task[facts.task]
            & self.integrity[facts.labels.integrity.rank]
            & self.endpoint[facts.endpoint]
            & self.wish[wish]
            & self.state[facts.state]
            & self.declared[UNDECLARED if facts.declared is None else facts.declared.value]
            & self.app.get(caller.app, self.any_app)
            & self.team.get(caller.team, self.any_team)
            & self.purpose[caller.purpose]
        )
        if self.category:
            shown = self.any_category
            for category in facts.categories:
                shown |= self.category.get(category, 0)
            mask &= shown
        if self.capability:
            shown = self.any_capability
            for capability in capabilities:
                shown |= self.capability.get(capability, 0)
            mask &= shown
        if self.dated:
            today = facts.now.astimezone(self.time_zone).date()
            for bit, rule in self.dated:
                if mask & bit and not rule.in_force(today):
                    mask ^= bit
        return mask

    def verdict(self, mask: int) -> Verdict:
        """What these rules come to. The lowest bit of the strongest effect decides."""
        known = self._verdicts.get(mask)
        if known is None:
            known = self._weigh(mask)
            if len(self._verdicts) >= MOST_REMEMBERED:
                self._verdicts.clear()
            self._verdicts[mask] = known
        return known

    def _weigh(self, mask: int) -> Verdict:
        matched = [rule for i, rule in enumerate(self.rules) if mask >> i & 1]
        route = next((self.routes[rule.id] for rule in matched if rule.effect is Effect.PERMIT), None)
        decider = matched[0] if matched else None
        return Verdict(decider.effect if decider else None, decider, route, tuple(rule.id for rule in matched))


class ToolIndex:
    """Finds the governed tool behind one that is asked for: exact names first, then globs in the order of the catalogue."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._exact: dict[tuple[str, str], Tool] = {}
        self._globs: dict[str, list[tuple[re.Pattern[str], Tool]]] = {"function": [], "hosted": []}
        self._servers: dict[str, list[Tool]] = {}
        for tool in tools:
            for label in tool.servers:
                self._servers.setdefault(label, []).append(tool)
            for family, names in (("function", tool.functions), ("hosted", tool.hosted)):
                for name in names:
                    if any(sign in name for sign in "*?["):
                        self._globs[family].append((re.compile(translate(name)), tool))
                    else:
                        self._exact.setdefault((family, name), tool)
        self._known: dict[tuple[str, str], Tool | None] = {}

    def find(self, ask: ToolAsk) -> Tool | None:
        """The governed tool, or None where nobody registered it. Of an MCP server that several entries cover, the first."""
        if ask.kind in ("function", "custom"):
            return self._find("function", ask.name)
        return next(iter(self.entries(ask)), None)

    def entries(self, ask: ToolAsk) -> tuple[Tool, ...]:
        """All entries for what is asked for: an MCP server may have several, each for some of its tools.

        Only MCP servers go by their label: on any other tool it is a word that the app chose.
        """
        if ask.kind in ("function", "custom"):
            found = self._find("function", ask.name)
        elif ask.kind == "mcp" and ask.server is not None and (covering := self._covering(ask.server, ask.address)):
            return covering
        else:
            found = self._find("hosted", ask.kind)
        return () if found is None else (found,)

    def _covering(self, label: str, address: str | None) -> tuple[Tool, ...]:
        """The entries of a server. Once an address is registered for a label, a server elsewhere is not meant by it; where
        the address is not told (a list in the history), the label alone counts."""
        found = self._servers.get(label) or [
            tool for name, tools in self._servers.items() if fnmatchcase(label, name) for tool in tools
        ]
        if any(tool.server_urls for tool in found):
            found = [tool for tool in found if tool.server_urls and (address is None or address in digests_of(tool))]
        return tuple(found)

    def _find(self, family: str, name: str) -> Tool | None:
        key = (family, name)
        tool = self._exact.get(key)
        if tool is not None:
            return tool
        if key in self._known:
            return self._known[key]
        tool = next((candidate for pattern, candidate in self._globs[family] if pattern.match(name)), None)
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[key] = tool
        return tool


@lru_cache(maxsize=MOST_REMEMBERED)
def digests_of(tool: Tool) -> tuple[str, ...]:
    """The digests of the addresses that are registered for an MCP server."""
    return tuple(address_digest(url) for url in tool.server_urls)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All that is in force, in one revision. Deployments that are not enabled are left out.

    `models` maps each name an app may ask for to the deployments that serve it. `rules` are in the order of their
    effects, then as written. `categories` are the shipped ones and the organisation's own. `time_zone` is where the days of rules and the
    periods of owners' budgets begin; reviews count in UTC. `owner_budgets` has the default among each owner's, where it holds for them.
    """

    revision: str
    files: Mapping[str, str]
    apps: Mapping[str, App]
    purposes: Mapping[str, Purpose]
    deployments: Mapping[str, Deployment]
    tools: Mapping[str, Tool]
    sets: Mapping[str, EntitlementSet]
    session_budgets: Mapping[str, SessionBudget]
    owner_budgets: Mapping[str, tuple[OwnerBudget, ...]]
    default_owner_budget: OwnerBudget
    sensitivity: SensitivityPolicy
    new_sessions_per_hour: int | None
    tiers: tuple[str, ...]
    categories: tuple[str, ...]
    rules: tuple[Rule, ...]
    fiscal_year: FiscalYear = CALENDAR_YEAR
    time_zone: tzinfo = UTC
    price_book: PriceBook = NO_BOOK
    models: Mapping[str, tuple[str, ...]] = field(init=False)
    slots: Mapping[str, Slot] = field(init=False)
    index: Index = field(init=False)
    tool_index: ToolIndex = field(init=False)

    def __post_init__(self) -> None:
        slots = {deployment.id: slot_of(deployment) for deployment in self.deployments.values()}
        routes = {rule.id: self._route(rule, rule.then, slots) for rule in self.rules if rule.then is not None}
        object.__setattr__(self, "models", models_of(self.deployments.values()))
        object.__setattr__(self, "slots", slots)
        object.__setattr__(self, "index", Index(self.rules, routes, self.purposes, self.time_zone))
        object.__setattr__(self, "tool_index", ToolIndex(self.tools.values()))

    def _route(self, rule: Rule, then: Then, slots: Mapping[str, Slot]) -> Route:
        in_order = [slot for tier in then.tiers for slot in slots.values() if slot.tier == tier and within(then, slot)]
        return Route(
            rule=rule,
            then=then,
            slots=tuple(in_order),
            budget=self.session_budgets[then.budget],
            not_carried_out=tuple(sorted(then.obligations - CARRIED_OUT)),
        )

    def day(self, now: datetime) -> date:
        """The day on which rules look at a task, in the organisation's time zone."""
        return now.astimezone(self.time_zone).date()

    def budgets_of(self, owner: str) -> tuple[OwnerBudget, ...]:
        """What this owner may spend, in one budget for each kind of period: its own rows, and the default where none is for its kind."""
        return self.owner_budgets.get(owner) or (self.default_owner_budget,)

    def is_limited(self, owner: str) -> bool:
        """Whether there is a hard limit on what this owner may spend."""
        for budget in self.budgets_of(owner):
            if budget.hard_nano is not None:
                return True
        return False

    def limits_of(self, owner: str, now: datetime, raised: Iterable[Raise] = (), *, fast: bool = False) -> OwnerLimits:
        """What an owner may spend now, in all periods that run; on the `fast` tier, or on others."""
        day = self.day(now)
        month_nano: int | None = None
        others: tuple[tuple[str, int], ...] = ()
        for budget in self.budgets_of(owner):
            limit = limit_of(budget, now, raised, fast=fast)
            if budget.per is Per.MONTH:
                month_nano = limit
            else:
                others = (*others, (period_of(budget.per, day, self.fiscal_year).id, NO_LIMIT if limit is None else limit))
        return OwnerLimits(period_of(Per.MONTH, day).id, month_nano, others)

    def degrades(self, owner: str, period: str, now: datetime) -> bool:
        """Whether tasks of this owner go on in the fast tier where what is left of a period (by its id) does not suffice."""
        return any(budget.on_hard == DEGRADE and self.period(budget.per, now).id == period for budget in self.budgets_of(owner))

    def period(self, per: Per, now: datetime) -> Period:
        """The period of a kind that is running, in the organisation's time zone."""
        return period_of(per, self.day(now), self.fiscal_year)


def within(then: Then, slot: Slot) -> bool:
    """Whether a route lets its data go to this deployment, clearance aside."""
    deployment = slot.deployment
    return (not then.regions or deployment.region in then.regions) and (deployment.internal or not then.internal_only)


def slot_of(deployment: Deployment) -> Slot:
    """The deployment as the decision reads it."""
    return Slot(
        deployment=deployment,
        id=deployment.id,
        tier=deployment.tier,
        rank=deployment.clearance.rank,
        review_expires=deployment.access_review.counts_until if deployment.access_review else date.max,
        features=frozenset(deployment.features),
        allowed_fields=deployment.allowed_fields,
        most_bytes=deployment.context_window * BYTES_PER_TOKEN,
        priced=all(price.known for _, price in deployment.prices) if deployment.prices else deployment.price.known,
        searches=searches_by_itself(deployment.model),
    )


def models_of(deployments: Iterable[Deployment]) -> dict[str, tuple[str, ...]]:
    """Every name by which an app may wish for a deployment: its id, the provider's name for the model, its model names."""
    names: dict[str, tuple[str, ...]] = {}
    for deployment in deployments:
        for name in dict.fromkeys((deployment.id, deployment.model, *deployment.model_names)):
            names[name] = (*names.get(name, ()), deployment.id)
    return names


def wish_kind(wish: str) -> str:
    """The word of the `wish` dimension for the model name an app sent."""
    return wish if wish in AUTO_WISHES else "named"


def shown(rules: RuleSet, facts: Facts, capabilities: Iterable[str]) -> dict[str, frozenset[str]]:
    """What a task shows in every dimension, in the words of the rules."""
    purpose = rules.purposes[facts.caller.purpose]
    single = {
        "sensitivity": str(facts.labels.confidentiality),
        "access": str(facts.access),
        "complexity": str(facts.complexity),
        "task": str(facts.task),
        "integrity": str(facts.labels.integrity),
        "business_impact": str(purpose.business_impact),
        "latency_class": str(purpose.latency_class),
        "endpoint": str(facts.endpoint),
        "wish": wish_kind(facts.wish),
        "state": str(facts.state),
        "declared": UNDECLARED if facts.declared is None else str(facts.declared),
        "app": facts.caller.app,
        "team": facts.caller.team,
        "purpose": purpose.id,
    }
    return {dimension: frozenset({word}) for dimension, word in single.items()} | {
        "category": frozenset(facts.categories),
        "capability": frozenset(str(capability) for capability in capabilities),
    }


def revision_of(files: Mapping[str, str]) -> str:
    """The name of a rule set: a hash over its files, the same wherever and in whatever order they were read."""
    digest = sha256()
    for name in sorted(files):
        content = files[name].encode()
        digest.update(f"{len(name)}:{name}:{len(content)}:".encode())
        digest.update(content)
    return "r-" + digest.hexdigest()[:12]
