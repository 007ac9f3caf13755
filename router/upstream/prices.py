"""What is publicly known of models (prices, limits, abilities), read as data from the price map in litellm's wheel."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Iterable
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from pathlib import Path

import msgspec

from router.money import NANO_PER_USD, TOKENS_PER_PRICE_UNIT
from routing_rules.catalogue import Price
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
    """One row of the price map. `context_window` ends where a higher price would begin, so that `price` holds all through it."""

    name: str
    provider: str
    mode: str
    price: Price
    context_window: int
    max_output_tokens: int
    reasoning: bool
    features: frozenset[Feature]


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
    return int(exact.to_integral_value(rounding=ROUND_CEILING))


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
    )


def _price(row: dict[str, object], key: str) -> int | None:
    value = row.get(key)
    return nano_per_million(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(row: dict[str, object], key: str, default: int) -> int:
    value = row.get(key)
    return int(value) if isinstance(value, int | float) and value > 0 else default
