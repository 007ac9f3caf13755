"""Usage as providers report it, each payload after the document or type that defines it, with what it costs calculated by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from router.stages.read_usage import MOST_TOKENS, chat_usage, hosted_calls, messages_usage, usage_of
from router.usage import Usage, lines
from routing_rules.catalogue import Price

Json = dict[str, Any]
PER_USD = 1_000_000_000


def price(input: float, output: float, **more: Any) -> Price:
    """Dollars per million tokens; hosted tools in dollars per thousand calls."""
    amounts = {
        name: round(value * PER_USD)
        for name, value in {"input": input, "output": output, **more}.items()
        if not isinstance(value, (dict, tuple))
    }
    tools = {name: round(value * 1_000 * PER_USD) for name, value in more.get("tools", {}).items()}
    return Price(**amounts, tools=tools, above=more.get("above", ()), service_tiers=more.get("service_tiers", {}))


MINI = price(
    0.40,
    1.60,
    cached_input=0.10,
    service_tiers={"priority": price(0.70, 2.80, cached_input=0.175), "batch": price(0.20, 0.80)},
    tools={"web_search": 25},
)  # gpt-4.1-mini
O3 = price(
    2,
    8,
    cached_input=0.50,
    service_tiers={"flex": price(1, 4, cached_input=0.25), "priority": price(3.50, 14, cached_input=0.875), "batch": price(1, 4)},
    tools={"web_search": 10, "file_search": 2.50, "code_interpreter": 30},
)
GPT54 = price(
    2.50,
    15,
    cached_input=0.25,
    above=((272_000, price(5, 22.50, cached_input=0.50)),),
    service_tiers={
        "flex": price(1.25, 7.50, cached_input=0.13, above=((272_000, price(2.50, 11.25, cached_input=0.25)),)),
        "priority": price(5, 30, cached_input=0.50),
    },
)
SPEECH = price(2.50, 10, audio_input=40, audio_output=80)  # gpt-4o-audio-preview
REALTIME = price(4, 16, cached_input=0.40, audio_input=32, audio_cached_input=0.40, audio_output=64)  # gpt-realtime
SEARCHING = price(2.50, 10, tools={"web_search": 25})  # gpt-4o-search-preview
SMALL_EMBEDDING = price(0.02, 0)
SONNET = price(
    3,
    15,
    cached_input=0.30,
    cache_write=3.75,
    cache_write_1h=6,
    above=((200_000, price(6, 22.50, cached_input=0.60, cache_write=7.50, cache_write_1h=12)),),
    service_tiers={"batch": price(1.50, 7.50, cached_input=0.15, cache_write=1.875, cache_write_1h=3)},
    tools={"web_search": 10},
)  # claude-sonnet-4-5
GEMINI_PRO = price(1.25, 10, cached_input=0.125, above=((200_000, price(2.50, 15, cached_input=0.25)),), tools={"web_search": 35})
GEMINI_FLASH = price(0.30, 2.50, cached_input=0.03, audio_input=1, audio_cached_input=0.10, image_output=30)
DEEPSEEK = price(0.28, 0.42, cached_input=0.028)
NOVA = price(0.80, 3.20, cached_input=0.20)  # amazon.nova-pro-v1:0
BEDROCK_CLAUDE = price(3, 15, cached_input=0.30, cache_write=3.75, cache_write_1h=6)
GROK = price(3, 15, cached_input=0.75)
VOXTRAL = price(0.10, 0.30, audio_input=1)
KIMI = price(0.60, 2.50, cached_input=0.15)
LOCAL = price(0.05, 0.10)
SONAR = price(1, 1, tools={"web_search": 5})


def chat(usage: Json, tier: Any = "default", model: str = "m") -> Usage | None:
    return chat_usage(usage, tier, model)


def response(usage: Json, output: tuple[Json, ...] = (), tier: Any = "default") -> Usage | None:
    return usage_of(usage, service_tier=tier, tools=hosted_calls(output))


def message(usage: Json) -> Usage | None:
    return messages_usage(usage)


def embedding(usage: Json) -> Usage | None:
    return usage_of(usage, embeddings=True)


class Case(NamedTuple):
    """`after`: the document or type that the payload follows. `nano`: its cost, in billionths of a dollar; one thousand of them per token is
    a dollar per million."""

    name: str
    after: str
    usage: Usage | None
    price: Price
    nano: int
    classes: dict[str, int]


OPENAI_CHAT = "openai-python types/completion_usage.py CompletionUsage"
OPENAI_RESPONSE = "openai-python types/responses/response_usage.py ResponseUsage"
OPENAI_TIER = "openai-python types/chat/chat_completion.py ChatCompletion.service_tier"
ANTHROPIC = "anthropic-sdk-python types/usage.py Usage"
LITELLM = "litellm types/utils.py Usage"


def details(cached: int = 0, audio: int = 0, **more: Any) -> Json:
    return {"cached_tokens": cached, "audio_tokens": audio, **more}


def made(reasoning: int = 0, audio: int = 0, **more: int) -> Json:
    return {
        "reasoning_tokens": reasoning,
        "audio_tokens": audio,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
        **more,
    }


def openai(prompt: int, completion: int, of_prompt: Json | None = None, of_completion: Json | None = None) -> Json:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": details() if of_prompt is None else of_prompt,
        "completion_tokens_details": made() if of_completion is None else of_completion,
    }


def responded(given: int, output: int, cached: int = 0, reasoning: int = 0) -> Json:
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": given + output,
    }


def anthropic(given: int, output: int, read: int = 0, written: int = 0, hour: int = 0, **more: Any) -> Json:
    return {
        "input_tokens": given,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": written - hour, "ephemeral_1h_input_tokens": hour},
        "output_tokens": output,
        "server_tool_use": None,
        "service_tier": "standard",
        **more,
    }


SEARCHED = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}
OPENED = {
    "type": "web_search_call",
    "id": "ws_2",
    "status": "completed",
    "action": {"type": "open_page", "url": "https://example.org"},
}
FILES = {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": ["q"]}
RAN = {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "status": "completed"}

CASES = (
    # OpenAI, chat completions
    Case("plain chat", OPENAI_CHAT, chat(openai(1_000, 500)), MINI, 1_200_000, {"input": 1_000, "output": 500}),
    Case("cached input is a part of the prompt", OPENAI_CHAT, chat(openai(2_006, 300, details(1_920))), MINI, 706_400, {"input": 86, "cached_input": 1_920, "output": 300}),
    Case("reasoning is a part of the completion", OPENAI_CHAT, chat(openai(100, 900, None, made(640))), O3, 7_400_000, {"input": 100, "output": 260, "reasoning": 640}),
    Case("rejected predictions are billed as the completion that they are in", OPENAI_CHAT, chat(openai(100, 60, None, made(rejected_prediction_tokens=20))), MINI, 136_000, {"input": 100, "output": 60}),
    Case("the last chunk of a stream", "openai-python types/chat/chat_completion_chunk.py ChatCompletionChunk.usage", chat(openai(12, 4)), MINI, 11_200, {"input": 12, "output": 4}),
    Case("several choices are in one completion count", OPENAI_CHAT, chat(openai(50, 3_000)), MINI, 4_820_000, {"input": 50, "output": 3_000}),
    Case("nothing but zeros stays zero", OPENAI_CHAT, chat(openai(0, 0)), MINI, 0, {}),
    Case("no details at all", "OpenAI API reference, chat completion object (older servers)", chat({"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}), MINI, 22_800, {"input": 9, "output": 12}),
    # Tiers of service
    Case("flex", OPENAI_TIER, chat(openai(10_000, 1_000, details(4_000)), "flex"), O3, 11_000_000, {"input": 6_000, "cached_input": 4_000, "output": 1_000}),
    Case("priority", OPENAI_TIER, chat(openai(1_000, 100), "priority"), O3, 4_900_000, {"input": 1_000, "output": 100}),
    Case("priority with cached input", OPENAI_TIER, chat(openai(1_000, 100, details(800)), "priority"), MINI, 560_000, {"input": 200, "cached_input": 800, "output": 100}),
    Case("auto was served as default", OPENAI_TIER, chat(openai(1_000, 100), "default"), O3, 2_800_000, {"input": 1_000, "output": 100}),
    Case("scale tier is prepaid, its tokens are priced as any", OPENAI_TIER, chat(openai(1_000, 100), "scale"), O3, 2_800_000, {"input": 1_000, "output": 100}),
    Case("batch", "OpenAI Batch API guide, response.body.service_tier", chat(openai(1_000, 100), "batch"), MINI, 280_000, {"input": 1_000, "output": 100}),
    # Long input
    Case("one token below the step", "OpenAI model page gpt-5.4, input above 272K tokens", chat(openai(272_000, 1_000)), GPT54, 695_000_000, {"input": 272_000, "output": 1_000}),
    Case("above the step the whole request is dearer", "OpenAI model page gpt-5.4, input above 272K tokens", chat(openai(272_001, 1_000)), GPT54, 1_382_505_000, {"input": 272_001, "output": 1_000}),
    Case("above the step under flex", "OpenAI model page gpt-5.4, flex", chat(openai(300_000, 1_000, details(100_000)), "flex"), GPT54, 536_250_000, {"input": 200_000, "cached_input": 100_000, "output": 1_000}),
    # Audio
    Case("speech in and out", OPENAI_CHAT, chat(openai(150, 220, details(audio=100), made(audio=180))), SPEECH, 18_925_000, {"input": 50, "audio_input": 100, "output": 40, "audio_output": 180}),
    Case("cached speech", "openai-python types/realtime/realtime_response_usage.py RealtimeResponseUsage", usage_of({"input_tokens": 1_000, "output_tokens": 200, "total_tokens": 1_200, "input_tokens_details": {"cached_tokens": 600, "text_tokens": 200, "audio_tokens": 800, "cached_tokens_details": {"text_tokens": 100, "audio_tokens": 500}}, "output_tokens_details": {"text_tokens": 50, "audio_tokens": 150}}), REALTIME, 20_640_000, {"input": 100, "cached_input": 100, "audio_input": 300, "audio_cached_input": 500, "output": 50, "audio_output": 150}),
    Case("speech told by its seconds and the total", "Mistral audio guide, Voxtral chat usage", chat({"prompt_audio_seconds": 203, "prompt_tokens": 4, "total_tokens": 3_264, "completion_tokens": 635}, None), VOXTRAL, 2_815_900, {"input": 4, "audio_input": 2_625, "output": 635}),
    # OpenAI, responses
    Case("plain response", OPENAI_RESPONSE, response(responded(328, 52)), MINI, 214_400, {"input": 328, "output": 52}),
    Case("response with a cache and reasoning", OPENAI_RESPONSE, response(responded(5_000, 2_000, 4_096, 1_536)), O3, 19_856_000, {"input": 904, "cached_input": 4_096, "output": 464, "reasoning": 1_536}),
    Case("response under flex", OPENAI_RESPONSE, response(responded(1_000, 1_000, reasoning=700), tier="flex"), O3, 5_000_000, {"input": 1_000, "output": 300, "reasoning": 700}),
    Case("web search: a search is billed, what is opened then is not", "OpenAI web search guide, web_search_call.action", response(responded(1_000, 100), (SEARCHED, OPENED, SEARCHED)), O3, 22_800_000, {"input": 1_000, "output": 100, "web_search": 2}),
    Case("file search", "OpenAI pricing page, built-in tools", response(responded(2_000, 100), (FILES,)), O3, 7_300_000, {"input": 2_000, "output": 100, "file_search": 1}),
    Case("two calls in one container are one container", "openai-python types/responses/response_code_interpreter_tool_call.py", response(responded(500, 100), (RAN, RAN)), O3, 31_800_000, {"input": 500, "output": 100, "code_interpreter": 1}),
    Case("a computer is paid for by its tokens", "openai-python types/responses/response_computer_tool_call.py", response(responded(500, 100), ({"type": "computer_call", "id": "cu_1"},)), O3, 1_800_000, {"input": 500, "output": 100}),
    Case("a model that searches for every answer", "OpenAI model page gpt-4o-search-preview", chat(openai(100, 100), model="gpt-4o-search-preview-2025-03-11"), SEARCHING, 26_250_000, {"input": 100, "output": 100, "web_search": 1}),
    # Embeddings
    Case("embeddings have no output", "openai-python types/create_embedding_response.py Usage", embedding({"prompt_tokens": 8_191, "total_tokens": 8_191}), SMALL_EMBEDDING, 163_820, {"input": 8_191}),
    # Anthropic
    Case("plain message", ANTHROPIC, message(anthropic(2_095, 503)), SONNET, 13_830_000, {"input": 2_095, "output": 503}),
    Case("cache written for five minutes", ANTHROPIC, message(anthropic(21, 393, written=188_086)), SONNET, 711_280_500, {"input": 21, "cache_write": 188_086, "output": 393}),
    Case("cache read is beside the input", ANTHROPIC, message(anthropic(21, 393, read=188_086)), SONNET, 62_383_800, {"input": 21, "cached_input": 188_086, "output": 393}),
    Case("cache written for five minutes and for an hour", "anthropic-sdk-python types/cache_creation.py CacheCreation", message(anthropic(2_048, 503, read=1_800, written=248, hour=100)), SONNET, 15_384_000, {"input": 2_048, "cached_input": 1_800, "cache_write": 148, "cache_write_1h": 100, "output": 503}),
    Case("cache and input together make a long context", "Anthropic pricing page, long context", message(anthropic(10_000, 1_000, read=190_001)), SONNET, 196_500_600, {"input": 10_000, "cached_input": 190_001, "output": 1_000}),
    Case("server tools", "anthropic-sdk-python types/server_tool_usage.py ServerToolUsage", message(anthropic(6_039, 931, server_tool_use={"web_search_requests": 2, "web_fetch_requests": 1})), SONNET, 52_082_000, {"input": 6_039, "output": 931, "web_search": 2}),
    Case("message batch", "Anthropic Message Batches guide, usage.service_tier", message(anthropic(1_000, 200, service_tier="batch")), SONNET, 3_000_000, {"input": 1_000, "output": 200}),
    Case("priority capacity is committed, not dearer", "Anthropic service tiers guide", message(anthropic(410, 585, service_tier="priority")), SONNET, 10_005_000, {"input": 410, "output": 585}),
    Case("no cache fields", ANTHROPIC, message({"input_tokens": 10, "output_tokens": 20, "cache_creation_input_tokens": None, "cache_read_input_tokens": None}), SONNET, 330_000, {"input": 10, "output": 20}),
    # Anthropic, Bedrock and Gemini in OpenAI's words
    Case("Anthropic translated", LITELLM, chat({**openai(189_000, 500, details(100_000, cache_creation_tokens=88_000, cache_creation_token_details={"ephemeral_5m_input_tokens": 8_000, "ephemeral_1h_input_tokens": 80_000})), "cache_creation_input_tokens": 88_000, "cache_read_input_tokens": 100_000}), SONNET, 550_500_000, {"input": 1_000, "cached_input": 100_000, "cache_write": 8_000, "cache_write_1h": 80_000, "output": 500}),
    Case("Anthropic's searches translated", LITELLM, chat(openai(1_000, 100, details(web_search_requests=3))), SONNET, 34_500_000, {"input": 1_000, "output": 100, "web_search": 3}),
    Case("Bedrock Converse translated", "AWS Converse TokenUsage, litellm types/utils.py Usage", chat({**openai(10_000, 200, details(8_000)), "cache_read_input_tokens": 8_000, "cache_creation_input_tokens": 0}), NOVA, 3_840_000, {"input": 2_000, "cached_input": 8_000, "output": 200}),
    Case("Bedrock with a cache written", "AWS Converse TokenUsage cacheWriteInputTokens, litellm types/utils.py Usage", chat({**openai(5_000, 100, details(0)), "cache_read_input_tokens": 0, "cache_creation_input_tokens": 4_000}), BEDROCK_CLAUDE, 19_500_000, {"input": 1_000, "cache_write": 4_000, "output": 100}),
    Case("cache beside the prompt, told by the total", "OpenAI-shaped usage of Converse proxies (inputTokens without cache)", chat({"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 9_100, "cache_read_input_tokens": 8_000, "cache_creation_input_tokens": 0}), BEDROCK_CLAUDE, 6_900_000, {"input": 1_000, "cached_input": 8_000, "output": 100}),
    Case("Gemini, OpenAI-compatible: thoughts in the total alone", "Gemini API, OpenAI compatibility (any-llm issue 1290)", chat({"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}), GEMINI_PRO, 6_055_000, {"input": 20, "output": 198, "reasoning": 405}),
    Case("Gemini translated", "Gemini API UsageMetadata, litellm types/utils.py Usage", chat(openai(1_000, 700, {"cached_tokens": 400, "text_tokens": 600, "audio_tokens": None, "image_tokens": None}, {"reasoning_tokens": 500, "text_tokens": 200})), GEMINI_PRO, 7_800_000, {"input": 600, "cached_input": 400, "output": 200, "reasoning": 500}),
    Case("Gemini above 200k", "Gemini API pricing page, prompts above 200k tokens", chat(openai(250_000, 1_000, details(50_000))), GEMINI_PRO, 527_500_000, {"input": 200_000, "cached_input": 50_000, "output": 1_000}),
    Case("Gemini hears", "Gemini API UsageMetadata.promptTokensDetails, litellm types/utils.py Usage", chat(openai(1_000, 100, {"cached_tokens": 0, "text_tokens": 200, "audio_tokens": 800})), GEMINI_FLASH, 1_110_000, {"input": 200, "audio_input": 800, "output": 100}),
    Case("Gemini sees and draws", "Gemini API UsageMetadata.candidatesTokensDetails, litellm types/utils.py Usage", chat(openai(300, 1_300, {"text_tokens": 42, "image_tokens": 258}, {"image_tokens": 1_290, "text_tokens": 10})), GEMINI_FLASH, 38_815_000, {"input": 42, "image_input": 258, "output": 10, "image_output": 1_290}),
    Case("Gemini searched", "litellm types/utils.py PromptTokensDetailsWrapper.web_search_requests", chat(openai(100, 100, {"text_tokens": 100, "web_search_requests": 1})), GEMINI_PRO, 36_125_000, {"input": 100, "output": 100, "web_search": 1}),
    # Others
    Case("DeepSeek tells hits and misses", "DeepSeek API reference, usage.prompt_cache_hit_tokens", chat({"prompt_tokens": 1_000, "completion_tokens": 200, "total_tokens": 1_200, "prompt_cache_hit_tokens": 900, "prompt_cache_miss_tokens": 100}), DEEPSEEK, 137_200, {"input": 100, "cached_input": 900, "output": 200}),
    Case("DeepSeek thinks", "DeepSeek API reference, completion_tokens_details.reasoning_tokens", chat({"prompt_tokens": 50, "completion_tokens": 1_000, "total_tokens": 1_050, "prompt_cache_hit_tokens": 0, "prompt_cache_miss_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 800}}), DEEPSEEK, 434_000, {"input": 50, "output": 200, "reasoning": 800}),
    Case("xAI counts reasoning beside the completion", "xAI API reference, usage", chat({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135, "prompt_tokens_details": {"text_tokens": 32, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 6}, "completion_tokens_details": {"reasoning_tokens": 94, "audio_tokens": 0}}), GROK, 1_627_500, {"input": 26, "cached_input": 6, "output": 9, "reasoning": 94}),
    Case("Moonshot tells the cache beside", "Moonshot API reference, usage.cached_tokens", chat({"prompt_tokens": 300, "completion_tokens": 100, "total_tokens": 400, "cached_tokens": 256}), KIMI, 314_800, {"input": 44, "cached_input": 256, "output": 100}),
    Case("vLLM", "vLLM entrypoints/openai/protocol.py UsageInfo", chat({"prompt_tokens": 17, "total_tokens": 37, "completion_tokens": 20, "prompt_tokens_details": None}), LOCAL, 2_850, {"input": 17, "output": 20}),
    Case("Perplexity's searches", "Perplexity API reference, usage.num_search_queries", chat({"prompt_tokens": 14, "completion_tokens": 400, "total_tokens": 414, "search_context_size": "low", "num_search_queries": 1}), SONAR, 5_414_000, {"input": 14, "output": 400, "web_search": 1}),
    Case("OpenRouter's cache writes", "OpenRouter usage accounting, prompt_tokens_details.cache_write_tokens", chat(openai(10_339, 60, details(10_318, cache_write_tokens=0))), BEDROCK_CLAUDE, 4_058_400, {"input": 21, "cached_input": 10_318, "output": 60}),
    Case("counts as floats", "llama.cpp server and JSON numbers", chat({"prompt_tokens": 10.0, "completion_tokens": 5.0, "total_tokens": 15.0}), LOCAL, 1_000, {"input": 10, "output": 5}),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_payload_costs_what_its_document_says(case: Case) -> None:
    assert case.usage is not None
    booked = lines(1, "d", "p", "m", case.usage, case.price, "completed")
    assert {line.token_class: line.quantity for line in booked} == case.classes
    assert all(line.unit_price is not None for line in booked)
    assert sum(line.cost_nano for line in booked) == case.nano


def test_there_are_at_least_forty_payloads_and_each_cites_what_it_follows() -> None:
    assert len(CASES) >= 40
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(case.after for case in CASES)


@pytest.mark.parametrize(
    ("reader", "payload"),
    [
        (chat, None),
        (chat, {}),
        (chat, {"prompt_tokens": 5}),
        (chat, {"prompt_tokens": -1, "completion_tokens": 1}),
        (chat, {"prompt_tokens": True, "completion_tokens": 1}),
        (chat, {"prompt_tokens": "7", "completion_tokens": 1}),
        (chat, {"prompt_tokens": MOST_TOKENS + 1, "completion_tokens": 1}),
        (message, {"input_tokens": None, "output_tokens": 1}),
        (message, [1, 2]),
    ],
)
def test_usage_that_is_missing_or_absurd_is_none_and_so_estimated_elsewhere(
    reader: Callable[[Any], Usage | None], payload: Any
) -> None:
    assert reader(payload) is None


def test_details_that_are_nonsense_leave_the_counts_that_are_billed() -> None:
    told = {
        "prompt_tokens": 5,
        "completion_tokens": 3,
        "prompt_tokens_details": [1],
        "completion_tokens_details": "x",
        "service_tier": [],
    }
    assert chat(told, tier=["flex"]) == Usage(input=5, output=3)


def test_a_dearer_tier_without_a_price_of_its_own_is_unpriced_not_cheap() -> None:
    (line,) = lines(1, "d", "p", "m", Usage(input=10, service_tier="priority"), price(1, 2), "completed")
    assert (line.unit_price, line.cost_nano, line.quantity) == (None, 0, 10)


@pytest.mark.parametrize("tier", ["batch", "flex"])
def test_a_cheaper_tier_without_a_price_of_its_own_costs_what_the_standard_one_does(tier: str) -> None:
    (line,) = lines(1, "d", "p", "m", Usage(input=10, service_tier=tier), price(1, 2), "completed")
    assert line.cost_nano == 10_000


@pytest.mark.parametrize(
    "used", [Usage(input=5, audio_input=5), Usage(output=5, audio_output=5), Usage(output=5, image_output=5)]
)
def test_speech_and_pictures_are_never_billed_as_text(used: Usage) -> None:
    (line,) = lines(1, "d", "p", "m", used, price(1, 2), "completed")
    assert line.unit_price is None


def test_a_hosted_tool_without_a_price_is_its_own_unpriced_line_in_calls() -> None:
    (line,) = lines(1, "d", "p", "m", Usage(tools=(("web_search", 3),)), price(1, 2), "completed")
    assert (line.token_class, line.unit, line.quantity, line.unit_price) == ("web_search", "calls", 3, None)
