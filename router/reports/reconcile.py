"""A provider's invoice beside the ledger, by day and model: what differs, and how much of that is explained by what."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import msgspec

from router.money import NANO_PER_USD, usd
from router.reports.invoices import ANY_MODEL, TOOL, InvoiceRow, folded
from router.reports.spend import TOKEN_CLASSES

FORMATS = ("table", "csv", "json")

PRICE = "price"
UNPRICED = "unpriced"
BORDER = "day border"
CANCELLED = "cancelled streams"
ESTIMATED = "estimated"
ROUNDING = "rounding"
OUTSIDE = "outside the router"
UNEXPLAINED = "unexplained"

REASONS = {
    PRICE: "the same units at another unit price",
    UNPRICED: "units that the ledger holds without a price",
    BORDER: "requests that began on one day of the provider's and ended on the next",
    CANCELLED: "streams that were cut: their tokens were counted here, not reported",
    ESTIMATED: "other costs that no provider had reported, up to what was estimated",
    ROUNDING: "amounts that the provider writes in whole cents, or prices finer than a nano-dollar",
    OUTSIDE: "use of models of which the ledger has nothing on that day",
    UNEXPLAINED: "none of these",
}
"""What a difference may come from, in the order in which it is looked for after the price."""

MOST_PRICES = 20
"""So many prices are listed in the table; JSON has all of them."""

HALF_CENT = NANO_PER_USD // 200

_DATED = re.compile(r"[-@](20\d{2}-?[01]\d-?[0-3]\d|latest|preview)$")
_VERSION = re.compile(r"(-v\d+)?(:\d+)?$")
_REGION = re.compile(r"^(us|eu|apac|jp|au|global)\.")
_MAKER = re.compile(r"^(models/|[a-z_-]+/|anthropic\.|amazon\.|meta\.|mistral\.|openai\.|cohere\.)")


class Booked(msgspec.Struct, frozen=True):
    """Ledger lines that have all this in common. `began` is the provider's day on which their requests were let through. Nano-USD."""

    day: date
    began: date
    model: str
    token_class: str
    estimated: bool
    cancelled: bool
    priced: bool
    lines: int
    quantity: int
    cost_nano: int


class PriceSeen(msgspec.Struct, frozen=True):
    """A class of tokens (empty: all) of which both sides tell another average price: exact decimal dollars for a million units, to
    six decimals."""

    token_class: str
    theirs_usd: str
    ours_usd: str


class Difference(msgspec.Struct, frozen=True):
    """One day and model. `parts` add up to `theirs_nano - ours_nano`, by reason. Where the export has no amounts, `theirs_nano` is
    their units at our prices, and `unvalued` are units of theirs for which there is none."""

    day: date
    model: str
    theirs_nano: int
    ours_nano: int
    theirs_units: int | None
    ours_units: int
    parts: dict[str, int]
    unvalued: int = 0
    notes: tuple[str, ...] = ()
    prices: tuple[PriceSeen, ...] = ()

    @property
    def nano(self) -> int:
        """How much more the provider bills."""
        return self.theirs_nano - self.ours_nano


class Reconciliation(msgspec.Struct, frozen=True):
    """All days and models of an invoice. `tolerance_nano`: how much may be left without an explanation, all signs taken away."""

    provider: str
    layouts: tuple[str, ...]
    deployments: tuple[str, ...]
    first: date
    last: date
    differences: tuple[Difference, ...]
    tolerance_nano: int
    accept_outside: bool

    @property
    def parts(self) -> dict[str, int]:
        """The whole difference by reason."""
        return {
            reason: sum(each.parts.get(reason, 0) for each in self.differences)
            for reason in REASONS
            if any(each.parts.get(reason) for each in self.differences)
        }

    @property
    def open_nano(self) -> int:
        """What is left to be looked into: the sizes of all unexplained parts, and of those outside the router where that is not accepted."""
        kinds = (UNEXPLAINED,) if self.accept_outside else (UNEXPLAINED, OUTSIDE)
        return sum(abs(each.parts.get(kind, 0)) for each in self.differences for kind in kinds)

    @property
    def unvalued(self) -> int:
        """Units of theirs of which nobody can say here what they cost."""
        return sum(each.unvalued for each in self.differences)

    @property
    def agrees(self) -> bool:
        """Whether no more than the tolerance is left."""
        return self.open_nano <= self.tolerance_nano and (self.accept_outside or not self.unvalued)


def alias(model: str) -> str:
    """What names of the same model have in common: without maker, region, snapshot and version, in one way of writing."""
    if model.startswith(TOOL) or model == ANY_MODEL:
        return model
    name = model.strip().lower()
    name = _MAKER.sub("", _REGION.sub("", _MAKER.sub("", name)))
    name = _DATED.sub("", _VERSION.sub("", name))
    words = [word for word in re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=\d)|(?<=\d)(?=[a-z])", "-", name)) if word]
    if words[:1] == ["claude"]:  # written as claude-3-5-haiku and as Claude Haiku 3.5
        words = [word for word in words if not word.isdigit()] + [word for word in words if word.isdigit()]
    return "-".join(words)


def reconcile(
    rows: Sequence[InvoiceRow],
    booked: Iterable[Booked],
    *,
    provider: str,
    layouts: Sequence[str] = (),
    deployments: Sequence[str] = (),
    aliases: Mapping[str, str] | None = None,
    tolerance_nano: int = 0,
    accept_outside: bool = False,
) -> Reconciliation:
    """Compare an invoice's rows with the ledger's lines of the same days, and of the day before and after for requests across midnight.

    `aliases`: names of theirs to names of ours. Of each difference the price part and the units part are exact; the units part is then laid
    to the reasons in order, to none more than there is of it.
    """
    renamed = [_renamed(row, aliases or {}) for row in rows]
    ours = [_tooled(each) for each in booked]
    if any(row.model == ANY_MODEL for row in renamed):
        renamed = [msgspec.structs.replace(row, model=ANY_MODEL) for row in renamed]
        ours = [msgspec.structs.replace(each, model=ANY_MODEL) for each in ours]
    labels, notes = _labels({row.model for row in renamed}, {each.model for each in ours})
    first, last = min(row.day for row in renamed), max(row.day for row in renamed)
    cents = all(row.decimals <= 2 for row in renamed)
    costs_told = any(row.cost is not None for row in renamed)
    cells: dict[tuple[date, str], _Cell] = {}
    for row in renamed:
        cells.setdefault((row.day, labels[row.model]), _Cell()).theirs.append(row)
    moved: dict[tuple[date, str], int] = {}
    for each in ours:
        label = labels[each.model]
        if first <= each.day <= last:
            cells.setdefault((each.day, label), _Cell()).ours.append(each)
        if each.began < each.day:
            moved[each.day, label] = moved.get((each.day, label), 0) + each.cost_nano
    for cell in cells.values():
        cell.compare(costs_told, cents)
    _across_midnight(cells, moved)
    differences = [cell.told(day, label, notes.get(label, ())) for (day, label), cell in sorted(cells.items())]
    return Reconciliation(
        provider,
        tuple(dict.fromkeys(layouts)),
        tuple(sorted(deployments)),
        first,
        last,
        tuple(differences),
        tolerance_nano,
        accept_outside,
    )


def _renamed(row: InvoiceRow, aliases: Mapping[str, str]) -> InvoiceRow:
    return msgspec.structs.replace(row, model=aliases[row.model]) if row.model in aliases else row


def _tooled(each: Booked) -> Booked:
    """A hosted tool's calls stand by themselves on invoices; the other classes as providers bill them."""
    if each.token_class in TOKEN_CLASSES or not each.quantity:
        return msgspec.structs.replace(each, token_class=folded(each.token_class))
    return msgspec.structs.replace(each, model=TOOL + each.token_class, token_class="")


def _labels(theirs: set[str], ours: set[str]) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Under which name each model is compared: its own where both sides know the same names of it, else what the names have in common."""
    families: dict[str, tuple[set[str], set[str]]] = {}
    for side, names in ((0, theirs), (1, ours)):
        for name in names:
            families.setdefault(alias(name), (set(), set()))[side].add(name)
    labels: dict[str, str] = {}
    notes: dict[str, tuple[str, ...]] = {}
    for family, (them, us) in families.items():
        if not them or not us or them == us:
            labels |= {name: name for name in them | us}
            continue
        labels |= dict.fromkeys(them | us, family)
        notes[family] = (f"theirs {', '.join(sorted(them))}; ours {', '.join(sorted(us))}",)
    return labels, notes


def _nano(cost: Decimal) -> int:
    return int((cost * NANO_PER_USD).to_integral_value(ROUND_HALF_EVEN))


def _for_a_million(nano: int, units: int) -> str:
    return f"{Decimal(round(Fraction(nano * 1_000_000, units))) / NANO_PER_USD:.6f}"


@dataclass(slots=True)
class _Cell:
    """One day and model while it is compared. `rest` is the units part that no reason has taken yet."""

    theirs: list[InvoiceRow] = field(default_factory=list)
    ours: list[Booked] = field(default_factory=list)
    parts: dict[str, int] = field(default_factory=dict)
    theirs_nano: int = 0
    rest: int = 0
    unvalued: int = 0
    room: int = 0  # what rounding may have made of it
    unpriced_room: int = 0
    prices: list[PriceSeen] = field(default_factory=list)

    @property
    def ours_nano(self) -> int:
        return sum(each.cost_nano for each in self.ours)

    def put(self, reason: str, nano: int) -> None:
        if nano:
            self.parts[reason] = self.parts.get(reason, 0) + nano

    def take(self, reason: str, most: int) -> None:
        """Lay up to so much of the rest, whatever its sign, to a reason."""
        part = max(-most, min(self.rest, most))
        self.put(reason, part)
        self.rest -= part

    def compare(self, costs_told: bool, cents: bool) -> None:
        """Split the difference into price and units, class by class where both sides tell classes."""
        told = {row.token_class for row in self.theirs}
        if "" in told:
            mixed = len(told | {each.token_class for each in self.ours if each.quantity}) > 2
            self._group(self.theirs, self.ours, costs_told, mixed=mixed)
        else:
            for name in sorted(told | {each.token_class for each in self.ours}):
                theirs = [row for row in self.theirs if row.token_class == name]
                self._group(theirs, [each for each in self.ours if each.token_class == name], costs_told)
        self.theirs_nano = self.ours_nano + self.rest + sum(self.parts.values())
        if cents and costs_told:
            self.room += HALF_CENT * sum(row.cost is not None for row in self.theirs)

    def _group(self, theirs: Sequence[InvoiceRow], ours: Sequence[Booked], costs_told: bool, *, mixed: bool = False) -> None:
        """`mixed`: units of several classes are in one figure, of which no unit price can be told."""
        cost = sum(each.cost_nano for each in ours)
        units = sum(each.quantity for each in ours if each.priced)
        unpriced = sum(each.quantity for each in ours if not each.priced)
        lines = sum(each.lines for each in ours)
        quantities = [row.quantity for row in theirs if row.quantity is not None]
        their_units = sum(quantities) if quantities else None if theirs else 0
        if not costs_told:
            self._units_only(their_units or 0, units, unpriced, cost)
            return
        billed = _nano(sum((row.cost for row in theirs if row.cost is not None), Decimal()))
        if their_units is None or not theirs or mixed:
            if unpriced:
                self.unpriced_room += max(billed - cost, 0)
            self.rest += billed - cost
            return
        if unpriced > 0 and their_units > 0:
            met = min(unpriced, their_units)
            part = round(Fraction(billed * met, their_units))
            self.put(UNPRICED, part)
            billed, their_units = billed - part, their_units - met
        if not units or not their_units or not cost:
            self.rest += billed - cost
            return
        in_units = round(Fraction((their_units - units) * cost, units))
        in_price = billed - cost - in_units
        self.put(ROUNDING if abs(in_price) <= lines else PRICE, in_price)
        if abs(in_price) > lines:
            token_class = theirs[0].token_class
            self.prices.append(PriceSeen(token_class, _for_a_million(billed, their_units), _for_a_million(cost, units)))
        self.rest += in_units

    def _units_only(self, their_units: int, units: int, unpriced: int, cost: int) -> None:
        more = their_units - units - unpriced
        if not units:
            self.unvalued += max(more, 0)
            self.rest += -cost if not their_units else 0
        else:
            self.rest += round(Fraction(more * cost, units))

    def settle(self) -> None:
        """Lay what is left to the reasons that have room for it."""
        if self.rest > 0:
            self.take(UNPRICED, self.unpriced_room)
        for reason, cancelled in ((CANCELLED, True), (ESTIMATED, False)):
            self.take(reason, sum(abs(each.cost_nano) for each in self.ours if each.estimated and each.cancelled == cancelled))
        self.take(ROUNDING, self.room)
        self.put(UNEXPLAINED if self.ours else OUTSIDE, self.rest)
        self.rest = 0

    def told(self, day: date, model: str, notes: tuple[str, ...]) -> Difference:
        counts = [row.quantity for row in self.theirs if row.quantity is not None]
        units = sum(each.quantity for each in self.ours)
        parts = {reason: self.parts[reason] for reason in REASONS if self.parts.get(reason)}
        their_units = sum(counts) if counts else None
        return Difference(
            day,
            model,
            self.theirs_nano,
            self.ours_nano,
            their_units,
            units,
            parts,
            self.unvalued,
            notes if self.theirs else (),
            tuple(self.prices),
        )


def _across_midnight(cells: Mapping[tuple[date, str], _Cell], moved: Mapping[tuple[date, str], int]) -> None:
    """A request that began before midnight and ended after it stands here on the day of its end; a provider may have it on the other."""
    for (day, label), most in sorted(moved.items()):
        before, after = cells.get((day - timedelta(days=1), label)), cells.get((day, label))
        short = most if before is None else max(before.rest, 0)
        over = most if after is None else max(-after.rest, 0)
        part = max(min(most, short, over), 0)
        if part and before is not None:
            before.take(BORDER, part)
        if part and after is not None:
            after.take(BORDER, part)
    for cell in cells.values():
        cell.settle()


def render(found: Reconciliation, form: str) -> str:
    """The reconciliation in one of `FORMATS`, ending in a newline."""
    return {"table": _table, "csv": _csv, "json": _json}[form](found)


def _verdict(found: Reconciliation) -> str:
    told = f"{usd(found.open_nano)} USD left to explain, tolerance {usd(found.tolerance_nano)} USD"
    if found.unvalued and not found.accept_outside:
        told += f"; {found.unvalued} units of theirs have no price here"
    return f"{'agrees' if found.agrees else 'DOES NOT AGREE'}: {told}"


def _table(found: Reconciliation) -> str:
    lines = [["day", "model", "invoice USD", "ledger USD", "difference", "why"]]
    for each in found.differences:
        why = ", ".join(f"{reason} {usd(nano)}" for reason, nano in each.parts.items()) or "same"
        if each.unvalued:
            why += f", {each.unvalued} units without a price here"
        lines.append([each.day.isoformat(), each.model, usd(each.theirs_nano), usd(each.ours_nano), usd(each.nano), why])
    theirs, ours = (sum(getattr(each, name) for each in found.differences) for name in ("theirs_nano", "ours_nano"))
    lines.append(["total", "", usd(theirs), usd(ours), usd(theirs - ours), ""])
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    text = [
        "  ".join([*(cell.ljust(w) if at < 2 else cell.rjust(w) for at, (cell, w) in enumerate(zip(line, widths, strict=False))), line[5]]).rstrip()
        for line in lines
    ]  # fmt: skip
    read = (
        f"{found.provider}: {', '.join(found.layouts)}, {found.first} to {found.last}, deployments {', '.join(found.deployments)}"
    )
    parts = [f"  {reason:18} {usd(nano):>18}  {REASONS[reason]}" for reason, nano in found.parts.items()]
    priced = [
        f"  {each.day} {each.model}{f' {one.token_class}' if one.token_class else ''}: theirs {one.theirs_usd}, ours {one.ours_usd}"
        for each in found.differences
        for one in each.prices
    ]
    if priced:
        parts += ["", "average prices that differ, USD for a million units:", *priced[:MOST_PRICES]]
        parts += [f"  and {len(priced) - MOST_PRICES} more"] if len(priced) > MOST_PRICES else []
    names = sorted({f"  {each.model}: {note}" for each in found.differences for note in each.notes})
    same = ["", "compared under one name:", *names] if names else []
    return "\n".join([read, "", *text, "", *parts, *same, "", _verdict(found)]) + "\n"


def _csv(found: Reconciliation) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["day", "model", "invoice_usd", "ledger_usd", "difference_usd", "invoice_units", "ledger_units", *REASONS])
    for each in found.differences:
        money = (usd(each.theirs_nano), usd(each.ours_nano), usd(each.nano))
        model = f"'{each.model}" if each.model[:1] in "=+-@\t\r" else each.model
        units = ("" if each.theirs_units is None else each.theirs_units, each.ours_units)
        writer.writerow([each.day, model, *money, *units, *(usd(each.parts.get(reason, 0)) for reason in REASONS)])
    return text.getvalue()


def _json(found: Reconciliation) -> str:
    document = {
        **msgspec.to_builtins(found),
        "differences": [{**msgspec.to_builtins(each), "difference_nano": each.nano} for each in found.differences],
        "parts": found.parts,
        "open_nano": found.open_nano,
        "unvalued": found.unvalued,
        "agrees": found.agrees,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
