"""Days on which somebody's spend was out of the ordinary, and why: the change from an ordinary day, taken apart so that the parts add up.

Ordinary is the median of the same weekday in the eight weeks before, since the first spend. A day stands out where it differs from that by
more than four spreads (the median absolute deviation, scaled to a standard deviation, and at least a tenth of the median) and by more than
the least amount that matters. At least four such weekdays must be known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from fractions import Fraction
from statistics import median, median_low
from typing import Any

import msgspec

from router.money import usd
from router.reports.movers import csv_of
from router.reports.requests import aligned
from router.reports.spend import WHOLE_REQUEST, SpendReport

WEEKS = 8
FEWEST = 4
SPREADS = 4
SCALED = Fraction(14826, 10000)  # of the median absolute deviation, for what is spread like a bell
LEAST_SPREAD = Fraction(1, 10)  # of the median
LEAST_NANO = 1_000_000_000
"""Changes below this many nano-USD a day are not told of, unless another amount is asked for."""

VOLUME, MIX, PRICE, OTHER, CORRECTIONS = "volume", "mix", "price", "other", "corrections"
MEANT = {
    VOLUME: "more or fewer requests",
    MIX: "requests went to other deployments",
    PRICE: "the same use at another price",
    OTHER: "retries, charged holds and use without a request that was settled that day",
    CORRECTIONS: "corrections that were booked that day",
}
"""What the parts of a change are; each token class is a part of its own: more or less of it per request."""

PARTS_BY = ("day", "deployment", "token_class")
"""The dimensions that a change is taken apart by."""


class Suspect(msgspec.Struct, frozen=True):
    """A day that stands out. `compared` is the day whose spend was the (lower) median of those before."""

    group: str
    day: str
    cost_nano: int
    expected_nano: int
    low_nano: int
    high_nano: int
    compared: str
    compared_nano: int


class Anomaly(msgspec.Struct, frozen=True):
    """A day that stands out, in nano-USD, with its `cause`: the largest of the `parts` that went the same way. The parts add up exactly to
    the difference from `compared`; `detail` names what moved most in it."""

    dimension: str
    suspect: Suspect
    parts: dict[str, int]
    cause: str
    detail: str


class AnomaliesReport(msgspec.Struct, frozen=True):
    """The largest first. `judged` days of `groups` were looked at; `unjudged` days had too little before them."""

    dimension: str
    first: date
    behind: date
    judged: int
    unjudged: int
    anomalies: tuple[Anomaly, ...]


def looked_back(first: date) -> date:
    """The first day that must be known to judge the days from `first` on."""
    return first - timedelta(weeks=WEEKS)


def suspects(
    report: SpendReport, first: date, behind: date, least_nano: int = LEAST_NANO
) -> tuple[tuple[Suspect, ...], int, int]:
    """The days from `first` to before `behind` that stand out, the largest difference first; how many were judged, and how many could not be.
    `report` is by a dimension and day, from `looked_back(first)` on."""
    daily: dict[str, dict[date, int]] = defaultdict(dict)
    for row in report.rows:
        daily[row.group[0]][date.fromisoformat(row.group[1])] = row.figures.cost_nano
    found, judged, unjudged = [], 0, 0
    for group, costs in daily.items():
        begun = min(costs)
        for day in _days(max(first, begun), behind):
            usual = {each: costs.get(each, 0) for week in range(1, WEEKS + 1) if (each := day - timedelta(weeks=week)) >= begun}
            if len(usual) < FEWEST:
                unjudged += 1
                continue
            judged += 1
            if suspect := _suspect(group, day, costs.get(day, 0), usual, least_nano):
                found.append(suspect)
    found.sort(key=lambda each: (-abs(each.cost_nano - each.expected_nano), each.group, each.day))
    return tuple(found), judged, unjudged


def _suspect(group: str, day: date, cost: int, usual: Mapping[date, int], least_nano: int) -> Suspect | None:
    middle = median(Fraction(each) for each in usual.values())
    off = median(abs(each - middle) for each in usual.values())
    room = max(SPREADS * max(SCALED * off, LEAST_SPREAD * abs(middle)), Fraction(least_nano))
    if abs(cost - middle) <= room:
        return None
    typical = median_low(usual.values())
    compared = max(each for each, value in usual.items() if value == typical)
    low, high = int(middle - room), int(middle + room)
    return Suspect(group, day.isoformat(), cost, int(middle), max(low, 0), high, compared.isoformat(), typical)


def _days(first: date, behind: date) -> Iterable[date]:
    return (first + timedelta(days=number) for number in range((behind - first).days))


class _Day:
    """One day's requests and cost by deployment, and use and cost by deployment and token class; corrections and what has no use apart."""

    def __init__(self) -> None:
        self.requests: dict[str, int] = defaultdict(int)
        self.used: dict[tuple[str, str], int] = defaultdict(int)
        self.cost: dict[tuple[str, str], int] = defaultdict(int)
        self.corrections = 0

    @property
    def total(self) -> int:
        """All that was booked."""
        return sum(self.cost.values()) + self.corrections


def taken_apart(report: SpendReport, compared: str, day: str) -> tuple[dict[str, int], dict[str, str]]:
    """The parts of the change of cost from one day to another, and of some parts what moved most in them. `report` is by `PARTS_BY`.

    With n requests, of which a deployment served the share s, at u units of each class per request and the price p of each (cost by
    units): the cost is the sum of n·s·u·p. The change is taken one after the other: n at the old rest is volume, s mix, u the classes' own
    parts, p price. A deployment or class that is new is taken at what it cost when it came: a new deployment is mix, a new class use.
    The parts add up to the change to the nano-dollar: what rounding leaves goes to the largest.
    """
    days: dict[str, _Day] = defaultdict(_Day)
    for row in report.rows:
        at, deployment, token_class = row.group
        figures = row.figures
        if token_class == WHOLE_REQUEST:
            days[at].requests[deployment] += figures.requests
            continue
        quantity = sum(getattr(figures, name) for name in _QUANTITIES)
        days[at].used[deployment, token_class] += quantity
        days[at].cost[deployment, token_class] += figures.cost_nano - figures.corrected_nano
        days[at].corrections += figures.corrected_nano
    once, now = days[compared], days[day]
    parts: dict[str, Fraction] = defaultdict(Fraction)
    shifts: dict[str, Fraction] = defaultdict(Fraction)
    parts[CORRECTIONS] = Fraction(now.corrections - once.corrections)
    served_once, served_now = _served(once), _served(now)
    for each, sign in ((once, -1), (now, 1)):
        served = served_once if each is once else served_now
        parts[OTHER] += sign * sum(
            cost for (name, kind), cost in each.cost.items() if name not in served or each.used[name, kind] <= 0
        )
    all_once, all_now = sum(served_once.values()), sum(served_now.values())
    if not all_once or not all_now:
        parts[VOLUME] += sum(_served_cost(now, served_now).values()) - sum(_served_cost(once, served_once).values())
    else:
        cost_once, cost_now = _served_cost(once, served_once), _served_cost(now, served_now)
        each_once = Fraction(sum(cost_once.values()), all_once)
        parts[VOLUME] += (all_now - all_once) * each_once
        for name in served_once.keys() | served_now.keys():
            count = served_now.get(name, 0)
            usual = Fraction(cost_once[name], served_once[name]) if name in served_once else Fraction(cost_now[name], count)
            share_once = Fraction(served_once.get(name, 0), all_once)
            shift = (count - all_now * share_once) * usual
            parts[MIX] += shift
            shifts[name] += shift
            if name in served_once and count:
                _per_request(parts, shifts, once, now, name, served_once[name], count)
    return _rounded(parts, now.total - once.total), {MIX: _most(shifts, "deployment"), PRICE: _most(shifts, "price")}


_QUANTITIES = (
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_tokens",
    "image_tokens",
    "tool_uses",
)


def _served(day: _Day) -> dict[str, int]:
    return {name: count for name, count in day.requests.items() if count > 0}


def _served_cost(day: _Day, served: Mapping[str, int]) -> dict[str, int]:
    found = dict.fromkeys(served, 0)
    for (name, kind), cost in day.cost.items():
        if name in served and day.used[name, kind] > 0:
            found[name] += cost
    return found


def _per_request(
    parts: dict[str, Fraction], shifts: dict[str, Fraction], once: _Day, now: _Day, name: str, count_once: int, count: int
) -> None:
    """Of a deployment that served on both days: what more of each class per request cost, and what another price did."""
    kinds = {kind for each in (once, now) for (one, kind), used in each.used.items() if one == name and used > 0}
    for kind in kinds:
        used_once, used_now = max(once.used[name, kind], 0), max(now.used[name, kind], 0)
        cost_once = once.cost[name, kind] if used_once else 0
        cost_now = now.cost[name, kind] if used_now else 0
        price = Fraction(cost_once, used_once) if used_once else Fraction(cost_now, used_now)
        parts[f"{kind} per request"] += (used_now - Fraction(used_once * count, count_once)) * price
        if used_now:
            parts[PRICE] += cost_now - used_now * price
            shifts[f"price of {name}"] += cost_now - used_now * price


def _most(shifts: Mapping[str, Fraction], what: str) -> str:
    priced = what == "price"
    found = {name: each for name, each in shifts.items() if name.startswith("price of ") == priced and each}
    return max(found, key=lambda name: (abs(found[name]), name)) if found else ""


def _rounded(parts: Mapping[str, Fraction], total: int) -> dict[str, int]:
    found = {name: round(part) for name, part in parts.items()}
    if rest := total - sum(found.values()):
        found[max(found, key=lambda name: abs(found[name]))] += rest
    return {name: part for name, part in sorted(found.items(), key=lambda item: (-abs(item[1]), item[0])) if part}


def anomaly(dimension: str, suspect: Suspect, report: SpendReport) -> Anomaly:
    """A suspect with its cause. `report` is by `PARTS_BY`, of this group, with both days in it."""
    parts, details = taken_apart(report, suspect.compared, suspect.day)
    rose = suspect.cost_nano > suspect.compared_nano
    same_way = [name for name, part in parts.items() if (part > 0) == rose]
    cause = same_way[0] if same_way else OTHER
    return Anomaly(dimension, suspect, parts, cause, details.get(cause, ""))


def with_price_books(found: Anomaly, once: tuple[str, ...], now: tuple[str, ...]) -> Anomaly:
    """An anomaly with the versions of the price book before and on its day, where they differ."""
    if once == now:
        return found
    return msgspec.structs.replace(found, detail=f"{found.detail}: price book {', '.join(once)} before, {', '.join(now)} now")


def document(report: AnomaliesReport) -> dict[str, Any]:
    """The report as JSON has it."""
    return {
        "dimension": report.dimension,
        "first_day": report.first,
        "last_day": report.behind - timedelta(days=1),
        "method": " ".join((__doc__ or "").split("\n\n")[1].split()),
        "judged_days": report.judged,
        "days_with_too_little_before": report.unjudged,
        "currency": "USD",
        "rows": [_row(each) for each in report.anomalies],
    }


def _row(each: Anomaly) -> dict[str, Any]:
    suspect = each.suspect
    amounts: dict[str, Any] = {}
    for name in ("cost_nano", "expected_nano", "low_nano", "high_nano", "compared_nano"):
        nano = getattr(suspect, name)
        amounts |= {name: nano, name.removesuffix("_nano") + "_usd": usd(nano)}
    return {
        each.dimension: suspect.group,
        "day": suspect.day,
        **amounts,
        "compared_day": suspect.compared,
        "cause": each.cause,
        "meaning": meaning(each.cause),
        "detail": each.detail,
        "parts": {name: {"nano": part, "usd": usd(part)} for name, part in each.parts.items()},
    }


def meaning(part: str) -> str:
    """What a part of a change is, in words."""
    return MEANT.get(part, f"more or less of {part.removesuffix(' per request')} in each request")


def render(report: AnomaliesReport, form: str) -> str:
    """The report as `table`, `csv` (a row per part) or `json`, ending in a newline."""
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(document(report)), indent=2).decode() + "\n"
    if form == "csv":
        rows = []
        for each in report.anomalies:
            row = _row(each)
            del row["parts"]
            rows += [{**row, "part": name, "part_nano": part, "part_usd": usd(part)} for name, part in each.parts.items()]
        return csv_of(rows)
    lines = [["day", report.dimension, "cause", "spent USD", "usual USD"]]
    for each in report.anomalies:
        cause = f"{each.cause} ({each.detail})" if each.detail else each.cause
        suspect = each.suspect
        lines.append(
            [suspect.day, suspect.group, cause, usd(suspect.cost_nano), f"{usd(suspect.low_nano)} to {usd(suspect.high_nano)}"]
        )
    counted = f"{report.judged} days judged, {report.unjudged} with too little before them, {len(report.anomalies)} out of the ordinary\n"
    return (aligned(lines, right=2) if report.anomalies else "") + counted
