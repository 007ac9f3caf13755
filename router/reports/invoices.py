"""What providers export of usage and costs, read into rows by day, model and token class.

The layouts follow what the providers publish: OpenAI's organization usage and costs (platform.openai.com/docs/api-reference/usage; `line_item`
reads `MODEL, cached input`), the usage and cost downloads of the Claude Console (support.claude.com/en/articles/9534590), AWS CUR 2.0
(docs.aws.amazon.com/cur/latest/userguide/table-dictionary-cur2.html, and the Bedrock guide's page on its usage types), Azure's cost and usage
details (learn.microsoft.com/azure/cost-management-billing/dataset-schema), and FOCUS (focus.finops.org).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from typing import TextIO

import msgspec

from router.reports.spend import TOKEN_CLASSES, UNITEMISED

ANY_MODEL = "all models"
"""Stands where an export does not tell models apart."""

TOOL = "tool:"
"""Before the name of a hosted tool, which is compared by itself and not with a model's tokens."""

LONGEST_ECHO = 40
MOST_DIGITS = 30


class InvoiceFault(ValueError):
    """A file that cannot be read; the message names the row, the column and what to do."""


class InvoiceRow(msgspec.Struct, frozen=True):
    """One row: a day of the provider, a model, a token class (empty: not told), units and US dollars (None: not told).

    `decimals` is how many decimals its amount is written with.
    """

    day: date
    model: str
    token_class: str
    quantity: int | None
    cost: Decimal | None
    decimals: int = 0


class Row:
    """A row of a file while it is read: whatever is wrong with a cell is said with its place."""

    def __init__(self, number: int, cells: Mapping[str, str], zone: tzinfo, rate: Decimal | None) -> None:
        self._number = number
        self._cells = cells
        self._zone = zone
        self._rate = rate

    def text(self, *names: str) -> str:
        """The first of these columns that is there and not empty."""
        return next((self._cells[name].strip() for name in names if self._cells.get(name, "").strip()), "")

    def fault(self, column: str, what: str) -> InvoiceFault:
        """What is wrong with a cell of this row."""
        return InvoiceFault(f"row {self._number}, column `{column}`: {what}")

    def day(self, *names: str) -> date:
        """The provider's day: of a date, a moment, or seconds since 1970."""
        name = next((each for each in names if self.text(each)), names[0])
        text = self.text(name)
        if re.fullmatch(r"[0-9]{9,11}(\.0*)?", text):
            return datetime.fromtimestamp(int(text.partition(".")[0]), UTC).astimezone(self._zone).date()
        if found := re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4})", text):  # as Azure writes it
            text = f"{found[3]}-{int(found[1]):02d}-{int(found[2]):02d}"
        try:
            if len(text) <= len("2026-10-01"):
                return date.fromisoformat(text)
            moment = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
        except ValueError:
            raise self.fault(name, f"{_echo(text)} is no day: write it as `2026-10-01`") from None
        return moment.date() if moment.tzinfo is None else moment.astimezone(self._zone).date()

    def number(self, *names: str) -> Decimal | None:
        """A number, or None where the cell is empty."""
        name = next((each for each in names if self.text(each)), names[0])
        text = self.text(name)
        if not text:
            return None
        try:
            value = Decimal(text.replace(",", "") if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", text) else text)
        except InvalidOperation:
            raise self.fault(name, f"{_echo(text)} is no number: write it as `1234.56`, without a currency sign") from None
        if not value.is_finite() or value.adjusted() > MOST_DIGITS or len(value.as_tuple().digits) > 2 * MOST_DIGITS:
            raise self.fault(name, f"{_echo(text)} is no amount")
        return value

    def count(self, *names: str, per: int = 1) -> int | None:
        """A whole number of units, of a cell that counts so many at once."""
        value = self.number(*names)
        if value is None:
            return None
        units = value * per
        if units != units.to_integral_value():
            units = units.quantize(Decimal(1))  # shares of a thousand are written rounded
        return int(units)

    def dollars(self, currency: str, *names: str) -> tuple[Decimal | None, int]:
        """An amount in US dollars, and with how many decimals it was written. `currency` is the code that the row names, if any."""
        value = self.number(*names)
        if value is None:
            return None, 0
        exponent = value.normalize().as_tuple().exponent
        decimals = max(-exponent, 0) if isinstance(exponent, int) else 0
        if currency and currency.upper() != "USD":
            if self._rate is None:
                raise self.fault(names[0], f"the amount is in {_echo(currency)}: give --rate, US dollars for one of it")
            value *= self._rate
        return value, decimals


class Layout(msgspec.Struct, frozen=True):
    """A kind of export: the columns by which it is known, and how a row of it is read."""

    name: str
    needs: tuple[tuple[str, ...], ...]  # one of each must be there
    read: Callable[[Row], Iterable[InvoiceRow]]

    def fits(self, columns: Iterable[str]) -> bool:
        """Whether a file with these columns is of this kind."""
        there = set(columns)
        return all(there.intersection(names) for names in self.needs)


def class_of(text: str) -> str:
    """The token class that a provider's words mean; empty where they mean none."""
    words = text.lower().replace("_", " ").replace("-", " ")
    if "no cache" in words or "uncached" in words:
        return "input"
    if "cache" in words or "cchd" in words:
        if any(word in words for word in ("write", "creation", "storage")):
            return "cache_write_1h" if re.search(r"\b1 ?h", words) else "cache_write"
        return "cached_input"
    if any(word in words for word in ("outp", "completion", "generated", "response")) or re.search(r"\bopt?\b|\bout\b", words):
        return "output"
    return "input" if re.search(r"\binp|prompt", words) else ""


def tool_of(text: str) -> str:
    """The hosted tool that a provider's words name; empty where they name none."""
    words = text.lower().replace("_", " ")
    for name in ("web search", "file search", "code interpreter", "code execution", "computer use", "image generation"):
        if name in words:
            return TOOL + name.replace(" ", "_")
    return ""


def _openai_usage(row: Row) -> Iterator[InvoiceRow]:
    model = row.text("model")
    if not model and not row.number("input_tokens"):
        return  # a day without any use
    day = row.day("start_time_iso", "start_time")
    cached = row.count("input_cached_tokens") or 0
    plain = row.count("input_uncached_tokens")
    taken = row.count("input_tokens") or 0
    counts = {
        "input": taken - cached if plain is None else plain,
        "cached_input": cached,
        "output": row.count("output_tokens") or 0,
    }
    for name, count in counts.items():
        if count:
            yield InvoiceRow(day, model or ANY_MODEL, name, count, None)


def _openai_costs(row: Row) -> Iterator[InvoiceRow]:
    cost, decimals = row.dollars(row.text("amount_currency"), "amount_value")
    if cost is None:
        return
    item = row.text("line_item")
    item = item.partition("|")[2].strip() or item  # `priority | MODEL, output`
    model, comma, kind = item.partition(",")
    model = model.removesuffix(" text").removesuffix(" audio").removesuffix(" image").strip()
    name, token_class = (model, class_of(kind)) if comma else (tool_of(item) or item or ANY_MODEL, "")
    yield InvoiceRow(row.day("start_time_iso", "start_time"), name, token_class, row.count("quantity"), cost, decimals)


_CLAUDE = {
    "usage_input_tokens_no_cache": "input",
    "usage_input_tokens_cache_read": "cached_input",
    "usage_input_tokens_cache_write_5m": "cache_write",
    "usage_input_tokens_cache_write_1h": "cache_write_1h",
    "usage_output_tokens": "output",
}


def _claude_usage(row: Row) -> Iterator[InvoiceRow]:
    day, model = row.day("usage_date_utc"), row.text("model_version")
    for column, token_class in _CLAUDE.items():
        if count := row.count(column):
            yield InvoiceRow(day, model, token_class, count, None)
    if searches := row.count("web_search_count"):
        yield InvoiceRow(day, f"{TOOL}web_search", "", searches, None)


def _claude_costs(row: Row) -> Iterator[InvoiceRow]:
    cost, decimals = row.dollars("", "cost_usd")
    if cost is not None:
        tool = tool_of(row.text("cost_type")) or tool_of(row.text("token_type"))
        token_class = "" if tool else class_of(row.text("token_type"))
        model = tool or row.text("model") or ANY_MODEL
        yield InvoiceRow(row.day("usage_date_utc"), model, token_class, None, cost, decimals)


_THOUSANDS = re.compile(r"1[,.]?0{3}(?!\d)|\b1 ?k\b", re.IGNORECASE)
_MILLIONS = re.compile(r"1[,.]?0{3}[,.]?0{3}|\b1 ?m\b|million", re.IGNORECASE)


def _per(unit: str) -> int | None:
    """How many units one of the quantity is; None where the unit does not say."""
    if _MILLIONS.search(unit):
        return 1_000_000
    if _THOUSANDS.search(unit):
        return 1_000
    return (
        1 if re.fullmatch(r"(1 )?(tokens?|calls?|seconds?|count|units?)?", unit.strip(), re.IGNORECASE) and unit.strip() else None
    )


_AWS_KIND = re.compile(
    r"[-_:]?(mantle[-_])?(cache[-_]?(read|write)[-_]?)?(input|output)[-_]?tokens?[-_]?(count)?.*$", re.IGNORECASE
)
_AWS_REGION = re.compile(r"^[A-Z]{2,4}\d[-:]")


def _aws(row: Row) -> Iterator[InvoiceRow]:
    if not re.search(
        r"bedrock|claude|nova|llama|mistral|titan", f"{row.text(*_AWS_PRODUCT)} {row.text(*_AWS_USAGE)}", re.IGNORECASE
    ):
        return  # another service of the same bill
    cost, decimals = row.dollars(row.text(*_AWS_CURRENCY), *_AWS_COST)
    per = _per(row.text(*_AWS_UNIT))
    usage = row.text(*_AWS_USAGE)
    model = _AWS_KIND.sub("", _AWS_REGION.sub("", usage))
    quantity = None if per is None else row.count(*_AWS_AMOUNT, per=per)
    if cost or quantity:
        yield InvoiceRow(row.day(*_AWS_DAY), model or ANY_MODEL, class_of(usage), quantity, cost, decimals)


_AWS_DAY = ("line_item_usage_start_date", "lineItem/UsageStartDate")
_AWS_PRODUCT = ("line_item_product_code", "lineItem/ProductCode", "product_servicename", "product/servicename")
_AWS_USAGE = ("line_item_usage_type", "lineItem/UsageType")
_AWS_AMOUNT = ("line_item_usage_amount", "lineItem/UsageAmount")
_AWS_COST = ("line_item_unblended_cost", "lineItem/UnblendedCost")
_AWS_CURRENCY = ("line_item_currency_code", "lineItem/CurrencyCode")
_AWS_UNIT = ("pricing_unit", "pricing/unit")

_AZURE_KIND = re.compile(
    r"[ -]*\b(cchd |cached )?(inp|input|outp|output|opt|prompt|completion)\b.*$|[ -]*\btokens?\b.*$", re.IGNORECASE
)


def _azure(row: Row) -> Iterator[InvoiceRow]:
    about = f"{row.text('metercategory')} {row.text('metersubcategory')} {row.text('productname', 'product')}".lower()
    if not any(word in about for word in ("openai", "cognitive", "foundry", "ai services", "gpt")):
        return
    currency = row.text("billingcurrency", "billingcurrencycode")
    cost, decimals = row.dollars(currency, "costinbillingcurrency", "cost")
    meter = row.text("metername")
    per = _per(row.text("unitofmeasure"))
    quantity = None if per is None else row.count("quantity", per=per)
    if cost or quantity:
        model = _AZURE_KIND.sub("", meter).strip() or ANY_MODEL
        yield InvoiceRow(row.day("date"), model, class_of(meter), quantity, cost, decimals)


def _focus(row: Row) -> Iterator[InvoiceRow]:
    if (category := row.text("ChargeCategory")) and category not in ("Usage", "Adjustment"):
        return  # purchases, taxes and credits are no use
    cost, decimals = row.dollars(row.text("BillingCurrency"), "BilledCost")
    what = row.text("SkuMeter", "x_SkuMeterName", "SkuId", "ChargeDescription")
    model = row.text("x_Model", "x_model", "x_SkuModel", "ResourceName", "SkuId") or ANY_MODEL
    token_class = row.text("x_TokenClass", "x_token_class") or class_of(what)
    per = _per(row.text("ConsumedUnit") or "tokens")
    quantity = None if per is None else row.count("ConsumedQuantity", per=per)
    if quantity and token_class and token_class not in (*TOKEN_CLASSES, UNITEMISED):
        model, token_class = TOOL + token_class, ""
    if cost is not None or quantity:
        yield InvoiceRow(row.day("ChargePeriodStart"), model, folded(token_class), quantity, cost, decimals)


LAYOUTS = (
    Layout("openai usage", (("start_time_iso", "start_time"), ("num_model_requests",), ("input_tokens",)), _openai_usage),
    Layout("openai costs", (("start_time_iso", "start_time"), ("amount_value",)), _openai_costs),
    Layout("anthropic usage", (("usage_date_utc",), ("model_version",), ("usage_output_tokens",)), _claude_usage),
    Layout("anthropic costs", (("usage_date_utc",), ("cost_usd",)), _claude_costs),
    Layout("aws cur", (_AWS_DAY, _AWS_USAGE, _AWS_COST), _aws),
    Layout("focus", (("ChargePeriodStart",), ("BilledCost",)), _focus),
    Layout("azure", (("date",), ("metername",), ("costinbillingcurrency", "cost")), _azure),
)
"""The exports that are known by their columns. Azure writes its names in several ways: they are compared in lower case."""

FIELDS = ("day", "model", "class", "quantity", "cost", "currency")
"""What a column may be mapped to by hand."""

_FOLDED = {
    "reasoning": "output",
    "audio_input": "input",
    "audio_cached_input": "cached_input",
    "audio_output": "output",
    "image_input": "input",
    "image_output": "output",
}


def folded(token_class: str) -> str:
    """The class with which providers bill one of ours."""
    return _FOLDED.get(token_class, token_class)


def mapped(columns: Mapping[str, str]) -> Layout:
    """A layout by hand: for each of `FIELDS` that the file has, its column. Raises InvoiceFault."""
    for field in columns:
        if field not in FIELDS:
            raise InvoiceFault(f"--columns: there is no field `{field[:LONGEST_ECHO]}`; there are {', '.join(FIELDS)}")
    if "day" not in columns or not {"quantity", "cost"} & columns.keys():
        raise InvoiceFault("--columns names `day` and at least one of `quantity` and `cost`")

    def read(row: Row) -> Iterator[InvoiceRow]:
        currency = row.text(columns["currency"]) if "currency" in columns else ""
        cost, decimals = row.dollars(currency, columns["cost"]) if "cost" in columns else (None, 0)
        quantity = row.count(columns["quantity"]) if "quantity" in columns else None
        model = (row.text(columns["model"]) if "model" in columns else "") or ANY_MODEL
        kind = row.text(columns["class"]) if "class" in columns else ""
        if cost is not None or quantity:
            yield InvoiceRow(row.day(columns["day"]), tool_of(kind) or model, class_of(kind), quantity, cost, decimals)

    return Layout("mapped", tuple((column,) for column in columns.values()), read)


def read_invoice(
    file: TextIO, *, by_hand: Layout | None = None, zone: tzinfo = UTC, rate: Decimal | None = None
) -> tuple[str, list[InvoiceRow]]:
    """The name of the layout and all rows of an export. `zone`: where the provider's days begin; `rate`: US dollars for one of another
    currency. Raises InvoiceFault, and then nothing was read."""
    number = 1
    try:
        sample = file.readline()
        if not sample.strip():
            raise InvoiceFault("row 1: the file is empty, or its first line has no names of columns")
        delimiter = max(",;\t", key=sample.count)
        heads = [head.strip() for head in next(csv.reader([sample], delimiter=delimiter))]
        layout, heads = _known(heads, by_hand)
        rows: list[InvoiceRow] = []
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        number = 2
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if len(cells) != len(heads):
                    told = f"{len(cells)} cells where the first line names {len(heads)} columns"
                    raise InvoiceFault(f"row {number}: {told}: export the file again, or quote what holds a separator")
                rows += layout.read(Row(number, dict(zip(heads, cells, strict=True)), zone, rate))
            number = reader.line_num + 2
    except UnicodeDecodeError:
        raise InvoiceFault("the file is not UTF-8: save it as `CSV UTF-8`") from None
    except csv.Error as error:
        raise InvoiceFault(f"row {number}: it is no CSV ({error}): export the file again") from None
    if not rows:
        raise InvoiceFault(f"the file has no use in it; it was read as `{layout.name}`")
    return layout.name, rows


def _known(heads: Sequence[str], by_hand: Layout | None) -> tuple[Layout, list[str]]:
    lower = [head.lower() for head in heads]
    if by_hand is not None:
        missing = [names[0] for names in by_hand.needs if names[0] not in heads]
        if missing:
            raise InvoiceFault(f"row 1: there is no column `{missing[0][:LONGEST_ECHO]}`; there are {_listed(heads)}")
        return by_hand, list(heads)
    for layout in LAYOUTS:
        if layout.fits(heads):
            return layout, list(heads)
        if layout.fits(lower):
            return layout, lower
    raise InvoiceFault(
        f"row 1: no known export has the columns {_listed(heads)}: name them, as in --columns day=Date,model=Model,cost=Amount"
    )


def _listed(heads: Sequence[str]) -> str:
    return ", ".join(_echo(head) for head in heads[:12]) + (", …" if len(heads) > 12 else "")


def _echo(text: str) -> str:
    plain = "".join(letter for letter in text if letter.isprintable())
    return f"`{plain[:LONGEST_ECHO]}{'…' if len(plain) > LONGEST_ECHO else ''}`"
