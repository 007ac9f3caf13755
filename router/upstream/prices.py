"""What is publicly known of models (prices, limits, abilities), read as data from the price map in litellm's wheel; rows for the price book."""

from __future__ import annotations

import difflib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from router.money import NANO_PER_USD, TOKENS_PER_PRICE_UNIT, usd
from routing_rules.catalogue import Price
from routing_rules.prices import TOKEN_CLASSES, rounded
from routing_rules.task import Feature

PRICE_MAP = "model_prices_and_context_window_backup.json"
WISHED_MODES = frozenset({"chat", "responses", "completion", "embedding"})
LONGEST_NAME = 100
LARGER_CONTEXT = re.compile(r"_above_(\d+)k_tokens")

ABILITIES: tuple[tuple[str, frozenset[Feature]], ...] = (
    ("supports_function_calling", frozenset({Feature.TOOLS})),
    ("supports_parallel_function_calling", frozenset({Feature.PARALLEL_TOOLS})),
    ("supports_vision", frozenset({Feature.VISION})),
    ("supports_pdf_input", frozenset({Feature.FILES})),
    ("supports_audio_input", frozenset({Feature.AUDIO})),
    ("supports_response_schema", frozenset({Feature.JSON_SCHEMA, Feature.JSON_MODE})),
)


class KnownModel(msgspec.Struct, frozen=True):
    """One row of the price map. `context_window` ends where a higher price would begin, so that `price` holds all through it; `whole` is
    all that the map knows: larger inputs, other service tiers and hosted tools, too."""

    name: str
    provider: str
    mode: str
    price: Price
    context_window: int
    max_output_tokens: int
    reasoning: bool
    features: frozenset[Feature]
    whole: Price = Price()


class _Name(msgspec.Struct):
    mode: str | None = None


def price_map_path() -> Path | None:
    """Where the installed litellm keeps its price map; litellm itself is not imported. None where it is not installed."""
    spec = importlib.util.find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / PRICE_MAP
    return path if path.is_file() else None


@lru_cache(maxsize=1)
def known_models() -> frozenset[str]:
    """Names by which an app may wish for a model, with and without the provider's prefix. Read once; empty without a price map."""
    path = price_map_path()
    if path is None:
        return frozenset()
    rows = msgspec.json.decode(path.read_bytes(), type=dict[str, _Name])
    names = {name for name, row in rows.items() if row.mode in WISHED_MODES}
    return frozenset(names | {name.partition("/")[2] for name in names if "/" in name})


def look_up(names: Iterable[str]) -> dict[str, KnownModel]:
    """The rows of these names (exactly as the price map writes them); a name that it does not hold is missing."""
    path = price_map_path()
    if path is None:
        return {}
    rows = msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])
    wanted = {name: rows[name] for name in names if name in rows}
    return {name: _known_model(name, msgspec.json.decode(row)) for name, row in wanted.items()}


def nearest_model(name: str, among: Iterable[str]) -> str | None:
    """The name of `among` that was probably meant by `name`, None where nothing is near."""
    if len(name) > LONGEST_NAME:
        return None
    # Comparing with all names would take tens of milliseconds; a slip in the first letter is rare.
    start = name[:1].lower()
    near = difflib.get_close_matches(name.lower(), sorted(each for each in among if each[:1].lower() == start), n=1, cutoff=0.6)
    return near[0] if near else None


def nano_per_million(dollars_per_token: float) -> int:
    """Nano-USD per million tokens, rounded up, of a price as the map writes it: 1.5e-07 is 150_000_000."""
    # `repr` of a float is the shortest decimal that reads back the same, which is what the file says.
    exact = Decimal(repr(dollars_per_token)) * NANO_PER_USD * TOKENS_PER_PRICE_UNIT
    return rounded(exact)


def _known_model(name: str, row: dict[str, object]) -> KnownModel:
    mode = str(row.get("mode", "chat"))
    price = Price(
        input=_price(row, "input_cost_per_token"),
        cached_input=_price(row, "cache_read_input_token_cost"),
        cache_write=_price(row, "cache_creation_input_token_cost") or None,  # the map writes 0 where nobody looked it up
        output=_price(row, "output_cost_per_token"),
        reasoning=_price(row, "output_cost_per_reasoning_token"),
        source="litellm",
    )
    window = _count(row, "max_input_tokens", _count(row, "max_tokens", 8_192))
    steps = [int(step[1]) * 1_000 for key in row if (step := LARGER_CONTEXT.search(key))]
    features = frozenset().union(*(features for ability, features in ABILITIES if row.get(ability) is True))
    return KnownModel(
        name=name,
        provider=str(row.get("litellm_provider", "")),
        mode=mode,
        price=price,
        context_window=min(window, *steps) if steps else window,
        max_output_tokens=_count(row, "max_output_tokens", _count(row, "max_tokens", 4_096)),
        reasoning=row.get("supports_reasoning") is True,
        features=features,
        whole=_whole(row, steps),
    )


MAP_KEYS = {
    "input": "input_cost_per_token",
    "cached_input": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "output": "output_cost_per_token",
    "reasoning": "output_cost_per_reasoning_token",
    "audio_input": "input_cost_per_audio_token",
    "audio_cached_input": "cache_read_input_audio_token_cost",
    "audio_output": "output_cost_per_audio_token",
    "image_input": "input_cost_per_image_token",
    "image_output": "output_cost_per_image_token",
}
TIER_ENDINGS = {"batch": "_batches", "flex": "_flex", "priority": "_priority"}
CALLS_PER_PRICE_UNIT = 1_000_000
SEED_SOURCE = "litellm price map"
"""How the source of a row begins that was written from the map, and that may be brought up to date from it."""


def _whole(row: dict[str, object], steps: list[int]) -> Price:
    """All prices of a row. Where it tells only some classes of a larger input or a cheaper tier, the others are those of the standard
    one; of a dearer tier nothing is taken from it."""
    plain = _classes_of(row, "")
    tools = _tools_of(row)
    tiers = {}
    for name, ending in TIER_ENDINGS.items():
        if own := _classes_of(row, ending):
            fallback = {} if name == "priority" else plain
            classes = fallback | own
            tiers[name] = Price(**classes, tools=tools, above=_steps_of(row, steps, ending, classes, tools), source="litellm")
    return Price(**plain, tools=tools, above=_steps_of(row, steps, "", plain, tools), service_tiers=tiers, source="litellm")


def _steps_of(
    row: dict[str, object], steps: list[int], ending: str, below: dict[str, Any], tools: dict[str, int]
) -> tuple[tuple[int, Price], ...]:
    found = []
    for step in sorted(set(steps)):
        own = _classes_of(row, f"_above_{step // 1_000}k_tokens{ending}")
        if "input" in own:
            found.append((step, Price(**below | own, tools=tools, source="litellm")))
    return tuple(found)


def _classes_of(row: dict[str, object], ending: str) -> dict[str, Any]:
    found = {name: _price(row, key + ending) for name, key in MAP_KEYS.items()}
    if found["cache_write"] == 0:
        found["cache_write"] = None  # the map writes 0 where nobody looked it up
    if row.get("supports_audio_input") is True and MAP_KEYS["audio_input"] not in row:
        found["audio_input"] = found["input"]  # who hears for the price of text has no price of its own there
    return {name: amount for name, amount in found.items() if amount is not None}


def _tools_of(row: dict[str, object]) -> dict[str, int]:
    found: dict[str, int] = {}
    searching = row.get("search_context_cost_per_query")
    sizes = searching.values() if isinstance(searching, dict) else ()
    per_query = [Decimal(repr(size)) for size in sizes if isinstance(size, int | float)]
    if per_query:
        found["web_search"] = rounded(max(per_query) * NANO_PER_USD * CALLS_PER_PRICE_UNIT)
    for name, key, calls in (
        ("file_search", "file_search_cost_per_1k_calls", 1_000),
        ("code_interpreter", "code_interpreter_cost_per_session", 1),
    ):
        cost = row.get(key)
        if isinstance(cost, int | float):
            found[name] = rounded(Decimal(repr(cost)) / calls * NANO_PER_USD * CALLS_PER_PRICE_UNIT)
    return found


def book_row(id: str, scope: dict[str, str], known: KnownModel, today: date) -> dict[str, Any]:
    """A row for `prices.yaml` of what the map knows of a model, valid from `today`. A zero is left for a person to give a reason."""
    return {
        "id": id,
        **scope,
        "from": today.isoformat(),
        **book_amounts(known.whole, embeds=known.mode == "embedding"),
        "source": f"{SEED_SOURCE} {importlib.metadata.version('litellm')}: {known.name}",
        "read": today.isoformat(),
    }


def book_amounts(price: Price, *, embeds: bool = False) -> dict[str, Any]:
    """A price in the words of `prices.yaml`."""
    found: dict[str, Any] = {"per_million": _dollars(price, embeds)}
    if price.tools:
        found["per_thousand_calls"] = {name: _number(amount // 1_000) for name, amount in price.tools.items()}
    if price.above:
        found["above"] = [{"input_tokens": tokens, "per_million": _dollars(larger, embeds)} for tokens, larger in price.above]
    if price.service_tiers:
        found["service_tiers"] = {
            name: {key: value for key, value in book_amounts(tier, embeds=embeds).items() if key != "per_thousand_calls"}
            for name, tier in price.service_tiers.items()
        }
    return found


def _dollars(price: Price, embeds: bool) -> dict[str, float]:
    names = (name for name in TOKEN_CLASSES if not (embeds and name == "output"))
    return {name: _number(amount) for name in names if (amount := getattr(price, name)) is not None}


def _number(nano: int) -> float:
    # A float prints as the shortest decimal that reads back the same: exactly the digits of the amount.
    return float(usd(nano))


def _price(row: dict[str, object], key: str) -> int | None:
    value = row.get(key)
    return nano_per_million(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(row: dict[str, object], key: str, default: int) -> int:
    value = row.get(key)
    return int(value) if isinstance(value, int | float) and value > 0 else default
