"""The chargeback statement of a cost centre for a month: what it pays for, by whom it was used, and what earlier months changed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from router.money import NANO_PER_USD, usd
from router.reports.spend import UNALLOCATED, UNKNOWN

FORMATS = ("html", "csv", "xlsx", "json")
NANO_PER_CENT = NANO_PER_USD // 100

PRELIMINARY, FINAL = "preliminary", "final"

ROUNDING = (
    "Every amount is kept to the billionth of a dollar. Cents are shown so that they add up: each line is rounded down, and the cents "
    "that the rounded total has over go to the lines with the largest remainders."
)

CLASSES = (
    "input",
    "cached_input",
    "cache_write",
    "cache_write_1h",
    "output",
    "reasoning",
    "audio_input",
    "audio_cached_input",
    "audio_output",
    "image_input",
    "image_output",
)
"""Classes of tokens in the order in which they are shown; uses of hosted tools follow by their names."""


class Booked(msgspec.Struct, frozen=True):
    """Ledger lines that have all this in common, added up. Money in nano-USD. `month` is set where the use was in an earlier month."""

    app: str
    owner: str
    purpose: str
    model: str
    token_class: str
    estimated: bool
    correction: bool
    priced: bool
    month: str
    quantity: int
    cost_nano: int
    list_nano: int


class Close(msgspec.Struct, frozen=True):
    """How far the month is: closed with this digest, or (None) still open."""

    version: int
    digest: str
    by: str
    at: datetime


class StatementLine(msgspec.Struct, frozen=True):
    """What one app, owner, purpose and model cost. Money in nano-USD; `cents` is what is shown of `cost_nano`.

    `quantities` are by token class, `unpriced` the part of them that has no price and so costs nothing yet; `estimated_nano` and
    `corrected_nano` are parts of the cost. In the block of earlier months, `month` is when the use was, and `late` says that it
    was not corrected but came late.
    """

    app: str
    owner: str
    purpose: str
    model: str
    quantities: dict[str, int]
    unpriced: dict[str, int]
    list_nano: int
    cost_nano: int
    estimated_nano: int
    corrected_nano: int
    cents: int
    month: str = ""
    late: bool = False

    @property
    def discount_nano(self) -> int:
        """What was taken off the list price, as a negative amount."""
        return self.cost_nano - self.list_nano

    @property
    def unallocated(self) -> bool:
        """Whether nobody is known who answers for it."""
        return UNALLOCATED in (self.owner, self.purpose)


class Statement(msgspec.Struct, frozen=True):
    """A statement. `begins` and `ends` (exclusive) in UTC, of the month in `zone`; `close` None: preliminary."""

    cost_center: str
    month: str
    zone: str
    begins: datetime
    ends: datetime
    made_at: datetime
    close: Close | None
    lines: tuple[StatementLine, ...]
    earlier: tuple[StatementLine, ...]

    @property
    def status(self) -> str:
        """final or preliminary."""
        return PRELIMINARY if self.close is None else FINAL

    @property
    def all_lines(self) -> tuple[StatementLine, ...]:
        """The month's own lines and those of earlier months."""
        return self.lines + self.earlier

    @property
    def total_nano(self) -> int:
        """What the cost centre pays, exact."""
        return sum(line.cost_nano for line in self.all_lines)

    @property
    def total_cents(self) -> int:
        """The same in cents: the sum of the cents of all lines."""
        return sum(line.cents for line in self.all_lines)

    @property
    def list_nano(self) -> int:
        """What it would be at list prices."""
        return sum(line.list_nano for line in self.all_lines)

    @property
    def discount_nano(self) -> int:
        """What was taken off list prices, as a negative amount."""
        return self.total_nano - self.list_nano

    @property
    def estimated_nano(self) -> int:
        """The part that no provider has reported."""
        return sum(line.estimated_nano for line in self.all_lines)

    @property
    def unallocated_nano(self) -> int:
        """The part for which nobody is known to answer."""
        return sum(line.cost_nano for line in self.all_lines if line.unallocated)

    @property
    def quantities(self) -> dict[str, int]:
        """Everything that was used, by class."""
        return _added(line.quantities for line in self.all_lines)

    @property
    def unpriced(self) -> dict[str, int]:
        """What was used and has no price yet, by class."""
        return _added(line.unpriced for line in self.all_lines)

    @property
    def columns(self) -> tuple[str, ...]:
        """The classes that occur, in the order in which they are shown."""
        return in_order(self.quantities)


def cents_of(amounts: Sequence[int]) -> list[int]:
    """Cents for amounts in nano-USD whose sum is the rounded sum of the amounts (half a cent is rounded up): the largest remainders get
    what the sum has over, the first of equal ones."""
    floors = [amount // NANO_PER_CENT for amount in amounts]
    over = (2 * sum(amounts) + NANO_PER_CENT) // (2 * NANO_PER_CENT) - sum(floors)
    by_remainder = sorted(range(len(amounts)), key=lambda place: (-(amounts[place] % NANO_PER_CENT), place))
    for place in by_remainder[:over]:
        floors[place] += 1
    return floors


def statement(
    booked: Iterable[Booked],
    *,
    cost_center: str,
    month: str,
    zone: str,
    begins: datetime,
    ends: datetime,
    made_at: datetime,
    close: Close | None = None,
) -> Statement:
    """The statement of what is booked on a cost centre in a month: the dearest lines first, earlier months by month."""
    groups: dict[tuple[str, bool, str, str, str, str], list[Booked]] = {}
    for one in booked:
        late = bool(one.month) and not one.correction
        key = (one.month, late, one.app, _told(one.owner), _told(one.purpose), one.model)
        groups.setdefault(key, []).append(one)
    plain = [_line(key, rows) for key, rows in groups.items()]
    plain.sort(key=lambda line: (line.month, line.late, -line.cost_nano, line.app, line.owner, line.purpose, line.model))
    cents = cents_of([line.cost_nano for line in plain])
    lines = [msgspec.structs.replace(line, cents=share) for line, share in zip(plain, cents, strict=True)]
    own = tuple(line for line in lines if not line.month)
    earlier = tuple(line for line in lines if line.month)
    return Statement(cost_center, month, zone, begins, ends, made_at, close, own, earlier)


def _line(key: tuple[str, bool, str, str, str, str], rows: Sequence[Booked]) -> StatementLine:
    month, late, app, owner, purpose, model = key
    return StatementLine(
        app,
        owner,
        purpose,
        model,
        quantities=_added({row.token_class: row.quantity} for row in rows),
        unpriced=_added({row.token_class: row.quantity} for row in rows if not row.priced),
        list_nano=sum(row.list_nano for row in rows),
        cost_nano=sum(row.cost_nano for row in rows),
        estimated_nano=sum(row.cost_nano for row in rows if row.estimated),
        corrected_nano=sum(row.cost_nano for row in rows if row.correction),
        cents=0,
        month=month,
        late=late,
    )


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in counts:
        for name, count in one.items():
            total[name] = total.get(name, 0) + count
    return {name: count for name, count in total.items() if count}


def _told(name: str) -> str:
    return UNALLOCATED if name in ("", UNKNOWN) else name


def in_order(classes: Iterable[str]) -> tuple[str, ...]:
    """Token classes as they are shown: tokens first, hosted tools by name after them."""
    found = set(classes)
    return (*(name for name in CLASSES if name in found), *sorted(found.difference(CLASSES)))


def dollars(cents: int) -> str:
    """An amount as people read it: `1,234.50`."""
    sign, cents = ("-", -cents) if cents < 0 else ("", cents)
    return f"{sign}{cents // 100:,}.{cents % 100:02d}"


def exact(nano: int) -> str:
    """An amount to the last digit that it has, with two decimals at least."""
    text = usd(nano)
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.ljust(2, '0')}"


def section_of(line: StatementLine) -> str:
    """What a line is called where all of them stand in one table."""
    return "this month" if not line.month else "late" if line.late else "correction"


def as_csv(one: Statement) -> str:
    """One row for each line, so that both columns of amounts sum to the statement's total; all of the statement's own facts on each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = one.columns
    amounts = ("list_usd", "discount_usd", "cost_usd", "estimated_usd", "corrected_usd", "cost_nano", "rounded_usd")
    about = ("currency", "status", "version", "digest", "zone")
    first = ("cost_center", "month", "section", "incurred_month", "app", "owner", "purpose", "model")
    writer.writerow([*first, *classes, *(f"unpriced_{name}" for name in classes), *amounts, *about])
    close = one.close
    facts = ("USD", one.status, close.version if close else "", close.digest if close else "", one.zone)
    for line in one.all_lines:
        named = (
            one.cost_center,
            one.month,
            section_of(line),
            line.month or one.month,
            line.app,
            line.owner,
            line.purpose,
            line.model,
        )
        money = (line.list_nano, line.discount_nano, line.cost_nano, line.estimated_nano, line.corrected_nano)
        writer.writerow(
            [
                *map(plain_cell, named),
                *(line.quantities.get(name, 0) for name in classes),
                *(line.unpriced.get(name, 0) for name in classes),
                *map(usd, money),
                line.cost_nano,
                dollars(line.cents).replace(",", ""),
                *facts,
            ]
        )
    return text.getvalue()


def plain_cell(value: str) -> str:
    """Text that a spreadsheet does not run: it takes what begins like a formula for one."""
    return f"'{value}" if value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


def as_json(one: Statement) -> str:
    """The statement as one JSON document, money in nano-USD and exact dollars."""

    def told(line: StatementLine) -> dict[str, object]:
        money = {"list": line.list_nano, "discount": line.discount_nano, "cost": line.cost_nano, "estimated": line.estimated_nano}
        amounts = {f"{name}_nano": nano for name, nano in money.items()} | {
            f"{name}_usd": usd(nano) for name, nano in money.items()
        }
        return {**msgspec.to_builtins(line), **amounts, "rounded_usd": dollars(line.cents).replace(",", "")}

    document = {
        **{name: getattr(one, name) for name in ("cost_center", "month", "zone", "begins", "ends", "made_at", "status", "close")},
        "currency": "USD",
        "total_nano": one.total_nano,
        "total_usd": usd(one.total_nano),
        "rounded_usd": dollars(one.total_cents).replace(",", ""),
        "list_nano": one.list_nano,
        "discount_nano": one.discount_nano,
        "estimated_nano": one.estimated_nano,
        "unallocated_nano": one.unallocated_nano,
        "quantities": one.quantities,
        "unpriced": one.unpriced,
        "rounding": ROUNDING,
        "lines": [told(line) for line in one.lines],
        "earlier_months": [told(line) for line in one.earlier],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
