"""Facts of requests of every kind, drawn from the words of a rule set and from words that it does not know."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TypeVar

from routing_rules.facts import Caller, Facts, Labels
from routing_rules.rules import AUTO_WISHES, RuleSet
from routing_rules.task import Endpoint, Feature, ToolAsk
from routing_rules.vocabulary import Access, Complexity, Integrity, ScanState, Sensitivity, TaskKind

T = TypeVar("T")

FUNCTIONS = ("calculator", "search_web", "send_email", "make_payment", "delete_all", "nobody_knows", "lookup_customer")
HOSTED = ("web_search", "shell", "computer_use_preview", "file_search", "mystery")
FEATURES = (
    Feature.STREAMING,
    Feature.TOOLS,
    Feature.VISION,
    Feature.AUDIO,
    Feature.LOGPROBS,
    Feature.STORED_STATE,
    Feature.HOSTED_TOOLS,
)


def some(random: Random, words: Sequence[T], most: int) -> tuple[T, ...]:
    """Up to `most` different ones, in any order; none half of the time."""
    count = random.choice((0, 0, *range(1, most + 1)))
    return tuple(random.sample(list(words), min(count, len(words))))


def mostly(random: Random, usual: T, others: Sequence[T], share: float = 0.8) -> T:
    """The usual one, and sometimes one of the others."""
    return usual if random.random() < share else random.choice(others)


def random_facts(random: Random, rules: RuleSet, *, strange: bool = True) -> Facts:
    """One request. With `strange`, also of apps, purposes, sets and deployments that the rules do not know."""
    app = random.choice(list(rules.apps.values()))
    unknown = ("gone",) if strange else ()
    asks = [
        *(ToolAsk(name, random.choice(("function", "custom")), "tools[0]") for name in some(random, FUNCTIONS, 3)),
        *(ToolAsk(kind, kind, "tools[0]") for kind in some(random, HOSTED, 2)),
        *(ToolAsk("mcp", "mcp", "tools[0]", label) for label in some(random, ("crm", "web"), 1)),
    ]
    sensitivity = random.choice(list(Sensitivity))
    declared = [level for level in Sensitivity if level <= sensitivity]
    features = {*some(random, FEATURES, 2)} | ({Feature.TOOLS} if asks else set())
    return Facts(
        now=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=random.randrange(900), hours=random.randrange(24)),
        endpoint=mostly(random, Endpoint.CHAT, list(Endpoint)),
        caller=Caller(
            app=mostly(random, app.id, ("stranger",), 0.97) if strange else app.id,
            owner=app.owner,
            team=app.team,
            cost_center=app.cost_center,
            key_id="k",
            clearance=mostly(random, Sensitivity.RESTRICTED, list(Sensitivity)),
            ceiling=random.choice((*rules.sets, *unknown)),
            purpose=mostly(random, random.choice(app.purposes), (*rules.purposes, *unknown), 0.9),
            key_ceiling=random.choice((None, None, *rules.sets)),
        ),
        wish=random.choice((*AUTO_WISHES, *AUTO_WISHES, *rules.models, "gpt-99")),
        wish_known=random.random() < 0.9,
        detected=sensitivity,
        declared=random.choice((None, None, *declared)),
        labels=Labels(random.choice(list(Integrity)), sensitivity),
        categories=frozenset(some(random, rules.categories, 3)),
        access=random.choice(list(Access)),
        intent=frozenset(),
        task=random.choice(list(TaskKind)),
        complexity=random.choice(list(Complexity)),
        complexity_score=random.random(),
        state=mostly(random, ScanState.COMPLETE, list(ScanState)),
        tools=tuple(asks),
        features=frozenset(features),
        extra_fields=frozenset(some(random, ("top_k", "mirostat"), 1)) if random.random() < 0.2 else frozenset(),
        input_bytes=random.choice((0, 500, 500, 600_000, 10**8)),
        unavailable=frozenset(some(random, list(rules.deployments), 2)),
        pinned=mostly(random, None, (*rules.deployments, *unknown), 0.9),
        session_ended=mostly(random, None, ("idle",), 0.97),
        masked=random.random() < 0.2,
    )
