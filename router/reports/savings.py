"""What routing saved: what was billed, beside what the same work would have cost elsewhere, in dollars and in seconds.

Two other ways are compared: all of it on the reasoning tier, and each request on the model that its app asked for. What was billed is exact;
what it would have cost is an estimate with an interval, because another model counts tokens otherwise and writes more or less.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from statistics import median
from typing import Any

import msgspec

from router.money import TOKENS_PER_PRICE_UNIT, usd
from router.reports.movers import csv_of
from router.reports.requests import aligned
from router.reports.spend import TOKEN_CLASSES, UNKNOWN, WHOLE_REQUEST, Figures, SpendReport
from routing_rules.catalogue import Price
from routing_rules.rules import RuleSet

REASONING = "reasoning"
AUTO = "auto"

CELL = ("tier", "deployment", "model", "asked_model", "task", "complexity", "token_class")
"""By what spend must be told apart to be priced anew."""

WRITTEN = frozenset({"output", "reasoning", "audio_output", "image_output"})
"""Token classes of what a model writes; the others are of what it reads."""

FEWEST = 30
"""Requests of the same task and complexity that each of two tiers must have served before they are compared."""

KINDS = 3
"""In how many kinds of task they must have been, before measured ratios replace the assumed ones."""

MICROSECONDS_PER_HOUR = 3_600_000_000


class Ratio(msgspec.Struct, frozen=True):
    """How many tokens another model takes for one of this: the least, the most likely and the most. `kinds`: from how many kinds of task that
    was measured; 0: it is assumed."""

    low: Fraction
    middle: Fraction
    high: Fraction
    kinds: int = 0


SAME = Ratio(Fraction(1), Fraction(1), Fraction(1))
READ = Ratio(Fraction(4, 5), Fraction(1), Fraction(5, 4))
"""Assumed of what is read, by any other model: the text is the same, the tokens are another vocabulary's."""

ANOTHER = READ
"""Assumed of what is written, by another model that reasons as much."""

THINKING = Ratio(Fraction(1), Fraction(1), Fraction(4))
"""Assumed of what a reasoning model writes for one token of another, its thoughts with it. The most likely is the lowest, so that no
saving is claimed that nobody measured."""


class Rate(msgspec.Struct, frozen=True):
    """What a model costs. `name` is how the report calls it, `deployments` are those that are it, `reasoning` whether it reasons."""

    name: str
    price: Price
    reasoning: bool
    deployments: frozenset[str] = frozenset()


class Against(msgspec.Struct, frozen=True):
    """One other way: `billed_nano` of what is compared, and what that would have cost there: nano-USD, estimated, as an interval."""

    billed_nano: int = 0
    low: Fraction = Fraction(0)
    middle: Fraction = Fraction(0)
    high: Fraction = Fraction(0)

    def __add__(self, other: Against) -> Against:
        return Against(
            self.billed_nano + other.billed_nano, self.low + other.low, self.middle + other.middle, self.high + other.high
        )

    @property
    def saved(self) -> tuple[int, int, int]:
        """The least, the most likely and the most that was saved, in whole nano-USD."""
        low, middle, high = (round(each) - self.billed_nano for each in (self.low, self.middle, self.high))
        return low, middle, high


class Row(msgspec.Struct, frozen=True):
    """One group. Money in nano-USD, times in microseconds. `not_compared_nano` of its cost has no model that was asked for by a name with a
    price. `saved_us` is by how much the `timed` requests were quicker than the median of the reasoning tier at the same kind of task."""

    group: tuple[str, ...]
    requests: int = 0
    cost_nano: int = 0
    unpriced_tokens: int = 0
    reasoning: Against = Against()
    asked: Against = Against()
    not_compared_nano: int = 0
    router_us: int = 0
    upstream_us: int = 0
    timed: int = 0
    saved_us: int = 0

    def __add__(self, other: Row) -> Row:
        return Row(
            self.group,
            *(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__[1:]),
        )


class SavingsReport(msgspec.Struct, frozen=True):
    """Rows, the largest saving against the reasoning tier first, and what they rest on. `since` and `until` in UTC; None: no bound.
    `rate_nano` is what an hour of the router costs, in nano-USD; None: nobody said."""

    by: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    where: dict[str, tuple[str, ...]]
    reasoning: Rate | None
    thinking: Ratio
    rows: tuple[Row, ...]
    total: Row
    assumptions: tuple[str, ...]
    rate_nano: int | None = None


Medians = Mapping[tuple[str, str, str], tuple[int, int]]
"""Of each task, complexity and tier: how many requests were completed, and the median of their upstream time in microseconds."""


def dimensions(by: Sequence[str]) -> tuple[str, ...]:
    """By what spend is to be read for a report by these dimensions."""
    return (*by, *(name for name in CELL if name not in by))


def reasoning_tier(rules: RuleSet) -> str:
    """The tier that counts as the reasoning one: that of this name, else the last."""
    return REASONING if REASONING in rules.tiers or not rules.tiers else rules.tiers[-1]


def reasoning_rate(spend: SpendReport, rules: RuleSet, moment: datetime) -> Rate | None:
    """The deployment that stands for the reasoning tier: of those with a price the one that served most requests, else the cheapest. None
    where no price is known."""
    served: dict[str, int] = defaultdict(int)
    at = spend.by.index("deployment")
    for row in spend.rows:
        served[row.group[at]] += row.figures.requests
    tier = reasoning_tier(rules)
    found = []
    for each in rules.deployments.values():
        price = each.price_at(moment)
        if each.tier == tier and price.input is not None and price.output is not None:
            found.append((-served.get(each.id, 0), price.input + price.output, each.id, price))
    if not found:
        return None
    _, _, name, price = min(found, key=lambda each: each[:3])
    return Rate(name, price, True, frozenset({name}))


def asked_names(spend: SpendReport) -> frozenset[str]:
    """The models that apps asked for by name."""
    at = spend.by.index("asked_model")
    return frozenset(row.group[at] for row in spend.rows) - {AUTO, UNKNOWN}


def asked_rates(names: Iterable[str], rules: RuleSet, moment: datetime) -> dict[str, Rate]:
    """Of the models that the catalogue has a price of: what each costs. A model of several deployments costs what its cheapest does."""
    found = {}
    tier = reasoning_tier(rules)
    for name in names:
        served_by = [rules.deployments[each] for each in rules.models.get(name, ()) if each in rules.deployments]
        priced = [each for each in served_by if each.price_at(moment).known]
        if priced:
            cheapest = min(
                priced, key=lambda each: ((each.price_at(moment).input or 0) + (each.price_at(moment).output or 0), each.id)
            )
            reasons = cheapest.tier == tier or cheapest.reasoning_model
            found[name] = Rate(name, cheapest.price_at(moment), reasons, frozenset(each.id for each in served_by))
    return found


class _Cell:
    """What was used and billed that has everything of `CELL` but the token class in common."""

    def __init__(self) -> None:
        self.whole = Figures()
        self.classes: dict[str, tuple[int, int]] = {}

    @property
    def cost_nano(self) -> int:
        """What was billed."""
        return sum(cost for _, cost in self.classes.values())

    @property
    def written(self) -> int:
        """Tokens that the model wrote."""
        return sum(quantity for name, (quantity, _) in self.classes.items() if name in WRITTEN)


def savings_report(
    spend: SpendReport,
    by: Sequence[str],
    rules: RuleSet,
    reasoning: Rate | None,
    asked: Mapping[str, Rate],
    medians: Medians,
    rate_nano: int | None = None,
) -> SavingsReport:
    """The report by these dimensions. `spend` is by `dimensions(by)`; `asked` are rates of the models that apps asked for."""
    tier = reasoning_tier(rules)
    place = {name: number for number, name in enumerate(spend.by)}
    cells: dict[tuple[str, ...], _Cell] = defaultdict(_Cell)
    unpriced: dict[tuple[str, ...], int] = defaultdict(int)
    at_class = place["token_class"]
    for row in spend.rows:
        token_class, key = row.group[at_class], (*row.group[:at_class], "", *row.group[at_class + 1 :])
        if token_class == WHOLE_REQUEST:
            cells[key].whole += row.figures
            continue
        quantity = sum(getattr(row.figures, name) for name in _QUANTITIES) - row.figures.unpriced_tokens
        cells[key].classes[token_class] = (quantity, row.figures.cost_nano)
        unpriced[key] += row.figures.unpriced_tokens
    thinking = measured(
        ((key[place["task"]], key[place["complexity"]]), key[place["tier"]] == tier, cell.whole.requests, cell.written)
        for key, cell in cells.items()
    )
    groups: dict[tuple[str, ...], Row] = {}
    for key, cell in cells.items():
        group = tuple(key[place[name]] for name in by)
        named = {name: key[place[name]] for name in CELL}
        found = Row(
            group,
            requests=cell.whole.requests,
            cost_nano=cell.cost_nano,
            unpriced_tokens=unpriced[key],
            router_us=cell.whole.router_us,
            upstream_us=cell.whole.upstream_us,
        )
        on_reasoning, on_asked = _compared(cell, named, tier, reasoning, asked, thinking)
        timed, saved_us = _timed(cell, named, tier, medians)
        found = msgspec.structs.replace(
            found,
            reasoning=on_reasoning,
            asked=on_asked or Against(),
            not_compared_nano=cell.cost_nano if on_asked is None else 0,
            timed=timed,
            saved_us=saved_us,
        )
        groups[group] = groups[group] + found if group in groups else found
    rows = sorted(groups.values(), key=lambda each: (-each.reasoning.saved[1], each.group))
    return SavingsReport(
        by=tuple(by),
        since=spend.since,
        until=spend.until,
        where=spend.where,
        reasoning=reasoning,
        thinking=thinking,
        rows=tuple(rows),
        total=sum((each for each in rows), Row(())),
        assumptions=_assumptions(reasoning, thinking, tier, asked, rate_nano),
        rate_nano=rate_nano,
    )


_QUANTITIES = (
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_tokens",
    "image_tokens",
)


def measured(seen: Iterable[tuple[tuple[str, str], bool, int, int]]) -> Ratio:
    """What a reasoning model writes for one token of another: measured where both served enough requests of enough kinds of task, else
    `THINKING`. `seen` has of each kind of task whether it was the reasoning tier, how many requests, and how many tokens were written."""
    kinds: dict[tuple[str, str], dict[bool, tuple[int, int]]] = defaultdict(dict)
    for kind, reasons, requests, written in seen:
        counted, tokens = kinds[kind].get(reasons, (0, 0))
        kinds[kind][reasons] = (counted + requests, tokens + written)
    ratios = []
    for tiers in kinds.values():
        (requests, tokens), (others, written) = tiers.get(True, (0, 0)), tiers.get(False, (0, 0))
        if requests >= FEWEST and others >= FEWEST and tokens > 0 and written > 0:
            ratios.append(Fraction(tokens * others, written * requests).limit_denominator(1000))
    if len(ratios) < KINDS:
        return THINKING
    return Ratio(min(ratios), median(ratios), max(ratios), len(ratios))


def _compared(
    cell: _Cell, named: Mapping[str, str], tier: str, reasoning: Rate | None, asked: Mapping[str, Rate], thinking: Ratio
) -> tuple[Against, Against | None]:
    """A cell on the reasoning tier, and on the model that was asked for; None where that has no price."""
    billed, reasons = Fraction(cell.cost_nano), named["tier"] == tier
    stays = Against(cell.cost_nano, billed, billed, billed)
    # What writes nothing, such as embeddings, has no reasoning model in its place.
    elsewhere = reasoning is not None and not reasons and cell.written > 0
    on_reasoning = _priced(cell, reasoning.price, READ, thinking) if reasoning is not None and elsewhere else stays
    wish = asked.get(named["asked_model"])
    if wish is None:
        return on_reasoning, None
    if named["deployment"] in wish.deployments or named["model"] == wish.name:
        return on_reasoning, stays
    written = ANOTHER
    if wish.reasoning and not reasons:
        written = thinking
    elif reasons and not wish.reasoning:
        written = Ratio(1 / thinking.high, 1 / thinking.middle, 1 / thinking.low)
    return on_reasoning, _priced(cell, wish.price, READ, written)


def _priced(cell: _Cell, price: Price, read: Ratio, written: Ratio) -> Against:
    """A cell at another price. Hosted tools, charged holds and what that price does not name stay as they were billed."""
    ways = []
    for which in ("low", "middle", "high"):
        total = Fraction(0)
        for name, (quantity, cost) in cell.classes.items():
            unit = price.of(name) if name in TOKEN_CLASSES else None
            ratio = written if name in WRITTEN else read
            total += cost if unit is None else Fraction(quantity * unit, TOKENS_PER_PRICE_UNIT) * getattr(ratio, which)
        ways.append(total)
    return Against(cell.cost_nano, min(ways), ways[1], max(ways))


def _timed(cell: _Cell, named: Mapping[str, str], tier: str, medians: Medians) -> tuple[int, int]:
    """How many requests have a median to be compared with, and by how many microseconds they were quicker."""
    counted, usual = medians.get((named["task"], named["complexity"], tier), (0, 0))
    if named["tier"] == tier or counted < FEWEST or not cell.whole.requests or not cell.whole.upstream_us:
        return 0, 0
    return cell.whole.requests, cell.whole.requests * usual - cell.whole.upstream_us


def _assumptions(
    reasoning: Rate | None, thinking: Ratio, tier: str, asked: Mapping[str, Rate], rate_nano: int | None
) -> tuple[str, ...]:
    """What the estimates rest on, in sentences."""
    told = [
        "What was billed is exact. What it would have cost is estimated: the tokens that were used, at the other model's price of today.",
        f"What is read counts {float(READ.low):g} to {float(READ.high):g} times as many tokens for another model, most likely as many.",
    ]
    if reasoning is None:
        told.append(f"No deployment of the tier `{tier}` has a price, so nothing is compared with it.")
    else:
        told.append(f"The tier `{tier}` is taken at the price of `{reasoning.name}`; what ran there stays as it was billed.")
    spread = f"{float(thinking.low):.3g} to {float(thinking.high):.3g} times, most likely {float(thinking.middle):.3g} times"
    if thinking.kinds:
        told.append(
            f"A reasoning model writes {spread} what another one writes: measured here in {thinking.kinds} kinds of task that both served."
        )
    else:
        told.append(
            f"A reasoning model writes {spread} what another one writes: assumed, because fewer than {KINDS} kinds of task were served "
            f"{FEWEST} times by both."
        )
    told.append(
        f"{len(asked)} models that apps asked for by name have a price. Who asked for `{AUTO}`, or for a model without a price, asked for "
        "none, and is not in that comparison."
    )
    told.append(
        "Cached tokens count as cached there, too, and long input as short. Hosted tools and charged holds stay as they were billed, unpriced "
        "use is on neither side. That a better or worse answer saves or costs further requests is not counted."
    )
    told.append(
        "Seconds saved are those of the reasoning tier's median for the same task and complexity, less what these requests took with their "
        f"providers, where that tier completed {FEWEST} of them; seconds of the router are all that it added, its waiting for stores with it."
    )
    if rate_nano is None:
        told.append("The router's own cost is given in seconds only: no price of its hour was named.")
    else:
        told.append(f"An hour of the router counts as {usd(rate_nano)} USD.")
    return tuple(told)


def router_nano(router_us: int, rate_nano: int | None) -> int | None:
    """What so much of the router's time costs, in nano-USD, rounded up."""
    return None if rate_nano is None else -(-router_us * rate_nano // MICROSECONDS_PER_HOUR)


def document(report: SavingsReport) -> dict[str, Any]:
    """The report as JSON has it. Names with `estimated` are estimates; all other money is exact."""
    return {
        "by": report.by,
        "since": report.since,
        "until": report.until,
        "where": report.where,
        "currency": "USD",
        "assumptions": report.assumptions,
        "written_ratio": {
            "low": f"{float(report.thinking.low):.3f}",
            "middle": f"{float(report.thinking.middle):.3f}",
            "high": f"{float(report.thinking.high):.3f}",
            "measured_in_kinds_of_task": report.thinking.kinds,
        },
        "rows": [flat(report, row) for row in report.rows],
        "total": flat(report, report.total),
    }


def flat(report: SavingsReport, row: Row) -> dict[str, Any]:
    """One row as one object."""
    names = dict(zip(report.by, row.group, strict=True)) if row.group else {}
    amounts: dict[str, int | None] = {"cost": row.cost_nano}
    if report.reasoning is not None:
        amounts |= _amounts("reasoning", row.reasoning)
    amounts |= {**_amounts("asked", row.asked), "asked_not_compared": row.not_compared_nano}
    amounts["router_cost"] = router_nano(row.router_us, report.rate_nano)
    money: dict[str, Any] = {}
    for name, nano in amounts.items():
        money |= {f"{name}_nano": nano, f"{name}_usd": None if nano is None else usd(nano)}
    return {
        **names,
        "requests": row.requests,
        **money,
        "unpriced_tokens": row.unpriced_tokens,
        "router_us": row.router_us,
        "upstream_us": row.upstream_us,
        "timed_requests": row.timed,
        "estimated_saved_us": row.saved_us if row.timed else None,
    }


def _amounts(name: str, way: Against) -> dict[str, int | None]:
    low, middle, high = way.saved
    return {
        f"{name}_compared": way.billed_nano,
        f"{name}_estimated_cost": round(way.middle),
        f"{name}_estimated_saved_low": low,
        f"{name}_estimated_saved": middle,
        f"{name}_estimated_saved_high": high,
    }


def render(report: SavingsReport, form: str) -> str:
    """The report as `table`, `csv` or `json`, ending in a newline."""
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(document(report)), indent=2).decode() + "\n"
    if form == "csv":
        return csv_of([flat(report, row) for row in report.rows])
    lines = [
        [
            *report.by,
            "requests",
            "cost USD",
            "saved on reasoning USD (estimated)",
            "saved on asked USD (estimated)",
            "router s",
            "saved s",
        ]
    ]
    for row in (*report.rows, report.total):
        names = list(row.group) if row is not report.total else (["total"] + [""] * len(report.by))[: len(report.by)]
        saved = f"{row.saved_us / 1e6:.1f}" if row.timed else "-"
        asked = _interval(row.asked) if row.not_compared_nano != row.cost_nano or row.asked.billed_nano else "-"
        reasoning = "-" if report.reasoning is None else _interval(row.reasoning)
        lines.append([*names, str(row.requests), usd(row.cost_nano), reasoning, asked, f"{row.router_us / 1e6:.3f}", saved])
    return aligned(lines, right=6) + "".join(f"- {each}\n" for each in report.assumptions)


def _interval(way: Against) -> str:
    low, middle, high = (f"{each / 1e9:.6f}" for each in way.saved)
    return f"{middle} ({low} to {high})"
