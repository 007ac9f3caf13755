"""What rules cost: deciding, a compiled set in memory, the exact analysis, and refusing hostile files. `python -m tests.benchmarks.rules`"""

from __future__ import annotations

import gc
import math
import random
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime

from routing_rules.check import check
from routing_rules.decide import decide
from routing_rules.decisions import Permit
from routing_rules.facts import Caller, Facts, Labels
from routing_rules.faults import RuleFaults
from routing_rules.load import complete, load, shipped
from routing_rules.rules import DIMENSIONS, Effect, Rule, RuleSet, Then
from routing_rules.task import Endpoint
from routing_rules.vocabulary import Access, Complexity, Integrity, ScanState, Sensitivity, TaskKind
from tests.benchmarks.hostile import FILES

TODAY = date(2026, 11, 23)
RULES = 200
DIMENSIONS_LOOKED_AT = ("sensitivity", "access", "complexity", "task", "integrity", "state")
CALLS = 2_000
ROUNDS = 15


def table(rules: int) -> str:
    """A routes.yaml as an organisation might write it: each rule with four conditions, the last one for what is left."""
    rows = []
    for i in range(rules - 1):
        levels, tasks = DIMENSIONS["sensitivity"], DIMENSIONS["task"]
        rows.append(
            f"  - id: rule-{i}\n    owner: team-{i % 20}@example.org\n    reason: what row {i} of the decision table is for\n    serves: [ASI02]\n"
            f"    when: {{sensitivity: {levels[i % 4]}, task: [{tasks[i % 16]}, {tasks[(i + 5) % 16]}], complexity: {{at_least: {DIMENSIONS['complexity'][i % 3]}}}, access: [{DIMENSIONS['access'][i % 4]}]}}\n"
            f"    then: {{tier: {('fast', 'reasoning')[i % 2]}, fallback_tiers: [{('reasoning', 'fast')[i % 2]}], set: none, budget: default, limits: {{max_output_tokens: {1000 + i}}}}}\n"
        )
    rest = "  - {id: rest, owner: o@example.org, reason: the rest, then: {tier: fast, fallback_tiers: [reasoning], set: none, budget: default}}\n"
    return "routes:\n" + "".join(rows) + rest


def scattered(rules: int, seed: int) -> RuleSet:
    """A rule set that tells as many tasks apart as possible: every rule looks at some dimensions, at any of their words."""
    chance = random.Random(seed)
    then = Then(tiers=("fast", "reasoning"), entitlement_set="none", budget="default")
    base = load(shipped(TODAY))
    words = {name: DIMENSIONS[name] for name in DIMENSIONS_LOOKED_AT} | {
        "purpose": tuple(base.purposes),
        "category": ("pii", "pci"),
    }
    found = []
    for i in range(rules):
        effect = Effect.FORBID if i < rules // 20 else Effect.STEP_UP if i < rules // 10 else Effect.PERMIT
        when = {
            name: frozenset(chance.sample(each, chance.randint(1, len(each) - 1)))
            for name, each in words.items()
            if chance.random() < 0.5
        }
        found.append(Rule(f"r{i}", effect, "o", "r", when, then if effect is Effect.PERMIT else None))
    return replace(base, rules=tuple(found))


def cells(rules: RuleSet) -> int:
    """How many combinations of words there are."""
    sizes = [len(DIMENSIONS[name]) for name in DIMENSIONS_LOOKED_AT]
    return math.prod(sizes) * len(rules.purposes) * 4  # two categories, each there or not


def facts() -> list[Facts]:
    """Ordinary tasks of many kinds."""
    chance = random.Random(7)
    caller = Caller("demo", "demo@example.org", "platform", "cc-demo", "k", Sensitivity.RESTRICTED, "standard", "general")
    found = []
    for _ in range(200):
        level = chance.choice([*Sensitivity])
        found.append(
            Facts(
                now=datetime(2026, 11, 24, 12, tzinfo=UTC),
                endpoint=Endpoint.CHAT,
                caller=caller,
                wish="auto",
                wish_known=True,
                detected=level,
                declared=None,
                labels=Labels(Integrity.TRUSTED, level),
                categories=frozenset(),
                access=chance.choice([*Access]),
                intent=frozenset(),
                task=chance.choice([*TaskKind]),
                complexity=chance.choice([*Complexity]),
                complexity_score=0.5,
                state=ScanState.COMPLETE,
                input_bytes=400,
            )
        )
    return found


def best(work: Callable[[], object], rounds: int) -> float:
    """Seconds of processor time of the fastest round: neighbours on the machine only ever add."""
    fastest = math.inf
    for _ in range(rounds):
        begin = time.process_time()
        work()
        fastest = min(fastest, time.process_time() - begin)
    return fastest


def told(line: str) -> None:
    """Tell one figure."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure, and tell."""
    rules = load(complete({"routes.yaml": table(RULES)}, TODAY))
    tasks = facts()
    permitted = sum(isinstance(decide(rules, task), Permit) for task in tasks)
    per_call = best(lambda: [decide(rules, task) for task in tasks for _ in range(CALLS // len(tasks))], ROUNDS) / CALLS
    told(f"decide, {RULES} rules: {per_call * 1e6:.1f} µs ({permitted} of {len(tasks)} tasks permitted); bar 10 µs")

    files = complete({"routes.yaml": table(500)}, TODAY)
    load(files)  # what is kept of reading, whoever reads, is no part of the set
    gc.collect()
    tracemalloc.start()
    kept = load(files)
    for task in tasks:
        decide(kept, task)
    gc.collect()
    told(f"a compiled set of {len(kept.rules)} rules: {tracemalloc.get_traced_memory()[0] / 2**20:.1f} MiB; bar 10 MiB")
    tracemalloc.stop()

    wide = scattered(RULES, seed=1)
    seconds = best(lambda: check(wide, TODAY), ROUNDS)
    told(
        f"check, {RULES} rules over {cells(wide):,} cells: {seconds * 1e3:.0f} ms, {len(check(wide, TODAY))} faults; bar 150 ms over 50,000 cells"
    )
    plain = best(lambda: check(rules, TODAY), ROUNDS)
    told(f"check, {RULES} rules of a decision table: {plain * 1e3:.0f} ms")

    for name, (file, text, _) in FILES.items():
        hostile = complete({file: text}, TODAY)
        begin, wall = time.process_time(), time.perf_counter()
        try:
            load(hostile)
        except RuleFaults:
            told(
                f"refused, {name}: {time.process_time() - begin:.2f} s of processor, {time.perf_counter() - wall:.2f} s; bar 2 s"
            )


if __name__ == "__main__":
    main()
