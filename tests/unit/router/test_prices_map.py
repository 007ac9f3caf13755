"""The price map that is read from litellm's wheel as data."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.upstream.prices import known_models, look_up, nano_per_million, nearest_model
from routing_rules.task import Feature


def test_well_known_names_are_known_with_and_without_their_provider() -> None:
    known = known_models()
    assert {"gpt-4o", "o3", "claude-sonnet-4-5", "gemini/gemini-2.5-pro", "gemini-2.5-pro", "text-embedding-3-small"} <= known
    assert "sample_spec" not in known
    assert not {"dall-e-3", "whisper-1"} & known


def test_the_map_is_read_without_importing_litellm() -> None:
    code = "import sys; from router.upstream.prices import known_models; known_models(); sys.exit('litellm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=".").returncode == 0


def test_a_row_becomes_prices_limits_and_features() -> None:
    row = look_up(["gpt-4o-mini", "no-such-model"])
    assert list(row) == ["gpt-4o-mini"]
    model = row["gpt-4o-mini"]
    assert (model.price.input, model.price.cached_input, model.price.output) == (150_000_000, 75_000_000, 600_000_000)
    assert model.price.source == "litellm"
    assert (model.context_window, model.max_output_tokens, model.reasoning) == (128_000, 16_384, False)
    assert {Feature.TOOLS, Feature.VISION, Feature.JSON_SCHEMA} <= model.features


def test_the_context_ends_where_a_higher_price_would_begin() -> None:
    model = look_up(["gemini/gemini-2.5-pro"])["gemini/gemini-2.5-pro"]
    assert model.context_window == 200_000
    assert model.price.output == 10_000_000_000


@pytest.mark.parametrize(
    ("dollars", "nano"),
    [(1.5e-07, 150_000_000), (7.5e-08, 75_000_000), (0.0, 0), (2.8e-08, 28_000_000), (1e-16, 1), (3e-06, 3_000_000_000)],
)
def test_prices_are_exact(dollars: float, nano: int) -> None:
    assert nano_per_million(dollars) == nano


@given(st.decimals(min_value=0, max_value=1, places=15))
def test_no_price_is_ever_rounded_down(amount: Decimal) -> None:
    assert 0 <= nano_per_million(float(amount)) - amount * 10**15 < 1


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("gpt-4o-mni", "gpt-4o-mini"), ("claude-sonet-4-5", "claude-sonnet-4-5"), ("gtp-4o", "gpt-4o"), ("zzzzzz", None)],
)
def test_the_nearest_name_is_suggested(wrong: str, meant: str | None) -> None:
    assert nearest_model(wrong, known_models()) == meant


def test_a_name_of_any_length_is_answered_at_once() -> None:
    assert nearest_model("g" * 1_000_000, known_models()) is None
    assert nearest_model("", known_models()) is None
