"""Random traffic as the outbox would hold it, from a seed: retries, cancels, failures, dead workers, late truth, prices found later.

Beside the records stands what they come to by plain addition, so that whatever is stored or reported of them can be held to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import NamedTuple

import msgspec
from sql_records import admitted, raw
from sqlalchemy import Engine

from router.exchange import Admitted, Outcome, shard_of
from router.reports.spend import UNALLOCATED, UNALLOCATED_DIMENSIONS, UNKNOWN
from router.storage.sql.records import SqlRecords, Written
from router.usage import Basis, Line, Usage, lines
from routing_rules.catalogue import Price
from routing_rules.decisions import Permit
from routing_rules.facts import Labels
from routing_rules.vocabulary import Complexity, Sensitivity, TaskKind

BEGIN = datetime(2028, 1, 1, tzinfo=UTC)
"""A leap year, so that its February has 29 days."""

MILLION = 1_000_000_000  # nano-USD per million units: one dollar

DISCOUNTED = Price(2 * MILLION, MILLION // 2, None, 8 * MILLION, None, at_list=Price(3 * MILLION, MILLION, None, 12 * MILLION))
PRICES = {
    "fast-1": Price(150_000_000, 75_000_000, 187_500_000, 600_000_000, tools={"web_search": 10_000 * MILLION}),
    "fast-2": Price(1, None, None, 3),  # finer than a nano-dollar a token
    "slow-1": msgspec.structs.replace(DISCOUNTED, book="book-1"),
    "nobody": Price(),  # unpriced
}
MODELS = {"fast-1": "gpt-4o-mini", "fast-2": "small", "slow-1": "o3", "nobody": "new"}
APPS = (  # app, owner, team, cost centre, purpose, impact, latency class
    ("desk", "ana@example.com", "support", "cc-1", "support", "normal", "interactive"),
    ("bench", "bob@example.com", "research", "cc-2", "analysis", "high", "patient"),
    ("night", "bob@example.com", "research", "cc-2", "indexing", "low", "batch"),
    ("stray", "zoe@example.com", "", "", "support", "normal", "interactive"),
)

DIMENSIONS = (
    "app", "owner", "team", "cost_center", "purpose", "task", "sensitivity", "complexity", "rule", "revision", "tier", "session",
    "asked_model", "impact", "latency_class", "deployment", "model", "provider", "token_class", "basis", "outcome",
)  # fmt: skip
"""What a line can be told apart by, beside time: `outcome` is that of its attempt."""


class Traffic(NamedTuple):
    """Records of one request, in the order in which they come to the outbox; `last` is the outcome that counts in the end."""

    intent: Admitted | None
    outcomes: tuple[Outcome, ...]

    @property
    def records(self) -> tuple[Admitted | Outcome, ...]:
        return self.outcomes if self.intent is None else (self.intent, *self.outcomes)

    @property
    def last(self) -> Outcome | None:
        return self.outcomes[-1] if self.outcomes else None


def traffic(seed: int, requests: int, *, begin: datetime = BEGIN, days: int = 91, first: int = 0) -> Iterator[Traffic]:
    """So many requests within so many days from `begin` on; the same for the same seed, whatever else is called."""
    random = Random(seed)
    intents = _Intents()
    step = timedelta(days=days) / max(requests, 1)
    for number in range(first, first + requests):
        yield _request(random, intents, f"r{seed}-{number:07d}", begin + (number - first) * step)


def fill(engine: Engine, requests: Iterable[Traffic], batch: int = 2_000) -> Written:
    """Bring the records to the store as the drainer does."""
    records = SqlRecords(engine)
    written = Written()
    entries = ((shard_of(_session(one)), raw(record)) for one in requests for record in one.records)
    for some in _chunks(entries, batch):
        written += records.write(some)
    return written


class Truth:
    """What requests come to in the end, by plain addition over their last outcomes: independent of ledger, sums and reports."""

    def __init__(self) -> None:
        self.cost_nano = 0
        self.requests = 0
        self.open_requests = 0
        self.unpriced = 0
        self.by: dict[str, dict[str, int]] = {name: defaultdict(int) for name in DIMENSIONS}
        self.by_owner_month: dict[tuple[str, str], int] = defaultdict(int)  # of admission, in UTC

    def add(self, one: Traffic) -> None:
        if one.last is None:
            self.open_requests += 1
            return
        self.requests += 1
        self.cost_nano += one.last.cost_nano
        common = _common(one)
        for line in _itemised(one.last):
            own = {"deployment": line.deployment, "model": line.model or UNKNOWN, "provider": line.provider or UNKNOWN}
            own |= {"token_class": line.token_class, "basis": line.basis.value, "outcome": line.outcome}
            for name, value in (common | own).items():
                said = UNALLOCATED if name in UNALLOCATED_DIMENSIONS and value in ("", UNKNOWN) else value
                self.by[name][said] += line.cost_nano
            if line.unit_price is None and line.unit == "tokens":
                self.unpriced += line.quantity
        if one.intent is not None:
            owner = one.intent.facts.caller.owner
            self.by_owner_month[owner, one.intent.at.strftime("%Y-%m")] += one.last.cost_nano

    def all(self, requests: Iterable[Traffic]) -> Iterator[Traffic]:
        """Add what passes through."""
        for one in requests:
            self.add(one)
            yield one


def _common(one: Traffic) -> dict[str, str]:
    if one.intent is None:
        return dict.fromkeys(DIMENSIONS[: DIMENSIONS.index("deployment")], UNKNOWN)
    facts, decision = one.intent.facts, one.intent.decision
    assert isinstance(decision, Permit)
    caller = facts.caller
    return {
        "app": caller.app,
        "owner": caller.owner,
        "team": caller.team,
        "cost_center": caller.cost_center,
        "purpose": caller.purpose,
        "task": facts.task.value,
        "sensitivity": facts.labels.confidentiality.value,
        "complexity": facts.complexity.value,
        "rule": decision.rule,
        "revision": decision.revision,
        "tier": decision.tier,
        "session": one.intent.session,
        "asked_model": facts.wish,
        "impact": one.intent.business_impact,
        "latency_class": one.intent.latency_class,
    }


def _itemised(outcome: Outcome) -> Iterator[Line]:
    """Its lines, and one for what they do not account for."""
    yield from outcome.lines
    rest = outcome.cost_nano - sum(line.cost_nano for line in outcome.lines)
    if rest:
        last = outcome.lines[-1] if outcome.lines else None
        provider, model = (last.provider, last.model) if last else (UNKNOWN, UNKNOWN)
        deployment = outcome.deployment or UNKNOWN
        yield Line(0, deployment, provider, model, "unitemised", 0, None, rest, outcome.basis, outcome.outcome)


class _Intents:
    """Admitted requests made of a few that are made once."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, ...], Admitted] = {}

    def make(self, random: Random, request_id: str, session: str, at: datetime, held: int) -> Admitted:
        key = (random.randrange(len(APPS)), random.randrange(3), random.randrange(4), random.randrange(3), random.randrange(3))
        template = self._made.get(key) or self._made.setdefault(key, self._template(*key))
        facts = msgspec.structs.replace(template.facts, now=at)
        return msgspec.structs.replace(
            template, request_id=request_id, session=session, at=at, held_nano=held, facts=facts, deployment="fast-1"
        )

    def _template(self, app: int, task: int, sensitivity: int, wish: int, tier: int) -> Admitted:
        name, owner, team, cost_center, purpose, impact, latency = APPS[app]
        made = admitted("template", app=name, owner=owner, task=list(TaskKind)[task])
        caller = msgspec.structs.replace(made.facts.caller, team=team, cost_center=cost_center, purpose=purpose)
        facts = msgspec.structs.replace(
            made.facts,
            caller=caller,
            wish=("auto", "gpt-4o", "o3")[wish],
            labels=Labels(confidentiality=list(Sensitivity)[sensitivity]),
            complexity=list(Complexity)[tier],
        )
        assert isinstance(made.decision, Permit)
        decision = msgspec.structs.replace(
            made.decision, rule=f"r-{app}{tier}", revision=f"rev-{tier % 2}", tier="reasoning" if tier == 2 else "fast"
        )
        return msgspec.structs.replace(made, facts=facts, decision=decision, business_impact=impact, latency_class=latency)


def _request(random: Random, intents: _Intents, request_id: str, at: datetime) -> Traffic:
    held = random.randrange(10**6, 10**8)
    intent = intents.make(random, request_id, f"s-{random.randrange(10_000)}", at, held)
    end = at + timedelta(seconds=random.randrange(1, 600))
    how = random.random()
    if how < 0.01:
        return Traffic(intent, ())  # still under way
    if how < 0.03:  # its worker died
        reaped = _outcome(request_id, end, "reaped", (), cost=held)
        if random.random() < 0.5:
            return Traffic(intent, (reaped,))
        return Traffic(intent, (reaped, _late(random, _truth(random, request_id, end, "completed"))))
    if how < 0.05:
        return Traffic(intent, (_outcome(request_id, end, "failed", (), cost=0),))
    word = "cancelled" if how < 0.12 else "completed"
    first = _truth(random, request_id, end, word)
    if how > 0.97:  # the provider's invoice, or a price that came later, says otherwise
        corrected = _late(random, _truth(random, request_id, end, word))
        return Traffic(intent, (first, corrected))
    if how > 0.965:  # a store of before lost its intent
        return Traffic(None, (first,))
    return Traffic(intent, (first,))


def _late(random: Random, outcome: Outcome) -> Outcome:
    at = outcome.at + timedelta(seconds=random.randrange(1, 40 * 86_400))
    return msgspec.structs.replace(outcome, at=at, correction=True)


def _truth(random: Random, request_id: str, at: datetime, word: str) -> Outcome:
    """One to three attempts, of which only the last may have come to an end."""
    attempts = 1 if random.random() < 0.9 else random.randrange(2, 4)
    booked: list[Line] = []
    for attempt in range(1, attempts + 1):
        deployment = random.choice(tuple(PRICES))
        basis = Basis.ESTIMATED if word == "cancelled" and random.random() < 0.5 else Basis.REPORTED
        output = random.randrange(0, 3_000)
        taken = random.randrange(1, 40_000)
        usage = Usage(
            input=taken,
            cached_input=random.randrange(taken) if random.random() < 0.3 else 0,
            output=output,
            reasoning=random.randrange(output) if output and deployment == "slow-1" else 0,
            basis=basis,
            tools=(("web_search", random.randrange(1, 4)),) if random.random() < 0.05 else (),
        )
        how = word if attempt == attempts else "retried"
        booked += lines(attempt, deployment, "openai_compatible", MODELS[deployment], usage, PRICES[deployment], how)
    rest = 7_000 if random.random() < 0.005 else 0
    return _outcome(request_id, at, word, tuple(booked), cost=sum(line.cost_nano for line in booked) + rest)


def _outcome(request_id: str, at: datetime, word: str, booked: tuple[Line, ...], cost: int) -> Outcome:
    return Outcome(
        request_id=request_id,
        at=at,
        outcome=word,
        code=None,
        deployment=booked[-1].deployment if booked else "fast-1",
        lines=booked,
        cost_nano=cost,
        basis=booked[-1].basis if booked else Basis.ESTIMATED,
        over_hold=False,
        tools_released=(),
        tools_refused=(),
        timings_us={"classify": 300, "forward": 900_000},
    )


def _session(one: Traffic) -> str:
    return one.intent.session if one.intent is not None else one.records[0].request_id


def _chunks(entries: Iterable[tuple[int, bytes]], size: int) -> Iterator[Sequence[tuple[int, bytes]]]:
    chunk: list[tuple[int, bytes]] = []
    for entry in entries:
        chunk.append(entry)
        if len(chunk) >= size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
