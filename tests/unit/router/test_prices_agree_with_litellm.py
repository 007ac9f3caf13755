"""Costs agree with litellm's `completion_cost` wherever that is right; where it is not, the difference and its reason stand here and in docs/prices.md."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from router.stages.read_usage import chat_usage
from router.upstream.prices import look_up
from router.usage import lines

Json = dict[str, Any]
DOCS = Path(__file__).parents[3] / "docs" / "prices.md"


def told(prompt: int, completion: int, of_prompt: Json | None = None, of_completion: Json | None = None, **more: Any) -> Json:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": of_prompt or {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": of_completion or {"reasoning_tokens": 0},
        **more,
    }


def written(five_minutes: int, hour: int, cached: int) -> Json:
    split = {"ephemeral_5m_input_tokens": five_minutes, "ephemeral_1h_input_tokens": hour}
    return {"cached_tokens": cached, "cache_creation_tokens": five_minutes + hour, "cache_creation_token_details": split}


AGREED = [
    ("gpt-4.1-mini", None, told(1_000, 500)),
    ("gpt-4.1-mini", None, told(2_006, 300, {"cached_tokens": 1_920})),
    ("gpt-4.1-mini", "priority", told(1_000, 100, {"cached_tokens": 800})),
    ("o3", None, told(100, 900, None, {"reasoning_tokens": 640})),
    ("o3", "flex", told(10_000, 1_000, {"cached_tokens": 4_000})),
    ("o3", "priority", told(1_000, 100)),
    ("gpt-5.4", None, told(272_000, 1_000)),
    ("gpt-5.4", None, told(272_001, 1_000)),
    ("gpt-5.4", None, told(300_000, 1_000, {"cached_tokens": 100_000})),
    ("gpt-5.4", "flex", told(300_000, 1_000, {"cached_tokens": 100_000})),
    ("claude-sonnet-4-5", None, told(2_095, 503)),
    ("claude-sonnet-4-5", None, told(189_000, 500, written(8_000, 80_000, 100_000), cache_creation_input_tokens=88_000, cache_read_input_tokens=100_000)),
    ("claude-sonnet-4-5", None, told(200_001, 1_000, {"cached_tokens": 190_000}, cache_read_input_tokens=190_000)),
    ("claude-sonnet-4-5", None, told(260_000, 1_000, written(0, 250_000, 0), cache_creation_input_tokens=250_000)),
    ("gemini/gemini-2.5-pro", None, told(1_000, 700, {"cached_tokens": 400, "text_tokens": 600}, {"reasoning_tokens": 500, "text_tokens": 200})),
    ("gemini/gemini-2.5-pro", None, told(250_000, 1_000, {"cached_tokens": 50_000})),
    ("gemini/gemini-2.5-flash", None, told(1_000, 100, {"cached_tokens": 0, "text_tokens": 200, "audio_tokens": 800})),
    ("gemini/gemini-2.5-flash", "priority", told(1_000, 100)),
    ("gemini/gemini-2.5-flash-image", None, told(300, 1_300, {"text_tokens": 42, "image_tokens": 258}, {"image_tokens": 1_290, "text_tokens": 10})),
    ("deepseek/deepseek-chat", None, {"prompt_tokens": 1_000, "completion_tokens": 200, "total_tokens": 1_200, "prompt_cache_hit_tokens": 900, "prompt_cache_miss_tokens": 100}),
    ("us.amazon.nova-pro-v1:0", None, told(10_000, 200, {"cached_tokens": 8_000}, cache_read_input_tokens=8_000)),
    ("anthropic.claude-sonnet-4-5-20250929-v1:0", None, told(5_000, 100, None, cache_creation_input_tokens=4_000, cache_read_input_tokens=0)),
    ("gpt-realtime", None, told(1_000, 200, {"cached_tokens": 600, "audio_tokens": 800, "cached_tokens_details": {"text_tokens": 100, "audio_tokens": 500}}, {"audio_tokens": 150, "text_tokens": 50})),
    ("gpt-audio", None, told(150, 220, {"audio_tokens": 100, "text_tokens": 50}, {"audio_tokens": 180, "text_tokens": 40})),
    ("groq/openai/gpt-oss-120b", None, told(1_000, 100, {"cached_tokens": 500})),
    ("mistral/mistral-large-latest", None, told(1_000, 100)),
    ("openrouter/openai/gpt-4.1-mini", None, told(1_000, 100, {"cached_tokens": 500})),
]  # fmt: skip

DIFFERENT = [
    # (what docs/prices.md calls it, model, tier, usage, ours, theirs)
    ("Batch answers", "gpt-4.1-mini", "batch", told(1_000, 100), 280_000, 560_000),
    ("Thoughts in the total alone", "gemini/gemini-2.5-pro", None, {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}, 6_055_000, 2_005_000),
    ("Searches of Anthropic's models", "claude-sonnet-4-5", None, told(1_000, 100, {"web_search_requests": 3}), 34_500_000, 4_500_000),
    ("Speech at the price of text", "gemini/gemini-2.5-pro", None, told(1_000, 100, {"cached_tokens": 0, "text_tokens": 200, "audio_tokens": 800}), 2_250_000, 1_250_000),
    ("Priority above a step", "gpt-5.4", "priority", told(300_000, 1_000), 1_530_000_000, 1_522_500_000),
]  # fmt: skip


@pytest.fixture(scope="module")
def litellm() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        patch.setenv("LITELLM_MODE", "PRODUCTION")
        return importlib.import_module("litellm")


def ours(model: str, tier: str | None, usage: Json) -> tuple[int, int]:
    """Nano-USD, and in how many lines, each of which is rounded up once."""
    read = chat_usage(usage, tier, model)
    assert read is not None
    booked = lines(1, "d", "p", model, read, look_up([model])[model].whole, "completed")
    assert all(line.unit_price is not None for line in booked)
    return sum(line.cost_nano for line in booked), len(booked)


def theirs(litellm: ModuleType, model: str, tier: str | None, usage: Json) -> float:
    answer = litellm.ModelResponse(model=model, usage=litellm.Usage(**usage))
    return float(litellm.completion_cost(completion_response=answer, model=model, service_tier=tier)) * 1e9


@pytest.mark.parametrize(("model", "tier", "usage"), AGREED)
def test_costs_agree_but_for_rounding_each_line_up(litellm: ModuleType, model: str, tier: str | None, usage: Json) -> None:
    cost, most = ours(model, tier, usage)
    assert abs(cost - theirs(litellm, model, tier, usage)) <= most


@pytest.mark.parametrize(
    ("name", "model", "tier", "usage", "cost", "their_cost"), DIFFERENT, ids=lambda value: value if isinstance(value, str) else ""
)
def test_where_costs_differ_the_reason_is_written_down(
    litellm: ModuleType, name: str, model: str, tier: str | None, usage: Json, cost: int, their_cost: int
) -> None:
    assert ours(model, tier, usage)[0] == cost
    assert round(theirs(litellm, model, tier, usage)) == their_cost
    assert f"**{name}**" in DOCS.read_text(encoding="utf-8")
