"""What a provider says that an answer used, in the words of each wire format and of those who speak it differently, to one form (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from router.exchange import JsonObject
from router.usage import Usage
from routing_rules.catalogue import searches_by_itself
from routing_rules.prices import SERVICE_TIERS

MOST_TOKENS = 10**9
"""A count above it is no count of one answer's tokens: its cost would leave the numbers that the stores hold."""

MOST_CALLS = 10_000
"""Hosted calls that one answer may be charged for."""

SEARCH = "web_search"
CALLED = {"web_search_call": SEARCH, "file_search_call": "file_search", "image_generation_call": "image_generation"}
"""Items of a response that its provider bills by the call. What is paid by its tokens alone (`computer_call`) is not among them."""

INTERPRETER, CONTAINER = "code_interpreter_call", "container_id"


def usage_of(
    reported: Any,
    *,
    embeddings: bool = False,
    service_tier: Any = None,
    tools: tuple[tuple[str, int], ...] = (),
) -> Usage | None:
    """Usage as a provider reports it, in the words of either of OpenAI's wire formats; None where a count that is billed is missing or
    absurd. `service_tier` is what the answer says of its tier, `tools` the hosted calls seen in it."""
    if not isinstance(reported, dict):
        return None
    given = _count(reported.get("prompt_tokens", reported.get("input_tokens")))
    made = 0 if embeddings else _count(reported.get("completion_tokens", reported.get("output_tokens")))
    if given is None or made is None:
        return None
    of_input = reported.get("prompt_tokens_details") or reported.get("input_tokens_details") or {}
    of_output = reported.get("completion_tokens_details") or reported.get("output_tokens_details") or {}
    if not (isinstance(of_input, dict) and isinstance(of_output, dict)):
        of_input = of_output = {}
    cached = _first(of_input, ("cached_tokens",)) or _first(reported, CACHED)
    written = _first(of_input, WRITTEN) or _first(reported, WRITTEN)
    reasoning = _first(of_output, ("reasoning_tokens",))
    audio, images = _first(of_input, ("audio_tokens",)), _first(of_input, ("image_tokens",))
    total = None if embeddings else _count(reported.get("total_tokens"))
    if total is not None and total > given + made:
        beside = total - given - made
        if reasoning == beside:
            made += reasoning  # some servers count reasoning beside the output, not within it
        elif cached + written == beside:
            given += beside  # and some the cache beside the input
        elif reported.get("prompt_audio_seconds"):
            given += beside  # of speech they tell the seconds, and its tokens in the total alone
            audio = beside
        elif not reasoning:
            made += beside  # or thoughts in the total alone
            reasoning = beside
    searches = _first(of_input, ("web_search_requests",)) or _first(reported, ("num_search_queries",))
    if searches and not tools:
        tools = ((SEARCH, min(searches, MOST_CALLS)),)
    tier = service_tier if type(service_tier) is str and service_tier in TIERS else ""
    spoken, drawn = _first(of_output, ("audio_tokens",)), _first(of_output, ("image_tokens",))
    if not (written or audio or images or spoken or drawn):  # as nearly always
        reasoning = min(reasoning, made)
        return Usage(
            input=given, cached_input=min(cached, given), output=made, reasoning=reasoning, tools=tools, service_tier=tier
        )
    heard = min(_nested(of_input, "cached_tokens_details", "audio_tokens"), cached, audio)
    hour = min(_nested(of_input, "cache_creation_token_details", "ephemeral_1h_input_tokens"), written)
    # Where the parts are more than the whole they overlap, in a way that is not told: the dearer ones keep what is theirs.
    hour, written, audio, images, heard, cached = _within(
        given, (hour, written - hour, audio - heard, images, heard, cached - heard)
    )
    spoken, drawn, reasoning = _within(made, (spoken, drawn, reasoning))
    return Usage(
        input=given,
        cached_input=cached,
        cache_write=written,
        output=made,
        reasoning=reasoning,
        cache_write_1h=hour,
        audio_input=audio,
        audio_cached_input=heard,
        audio_output=spoken,
        image_input=images,
        image_output=drawn,
        tools=tools,
        service_tier=tier,
    )


TIERS = frozenset(SERVICE_TIERS)
CACHED = ("prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens")
"""Where some tell what was read from a cache, beside the details: DeepSeek, Anthropic's words, Moonshot."""

WRITTEN = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")


def messages_usage(reported: Any) -> Usage | None:
    """Usage as Anthropic's format reports it: what was read from a cache or written to it is counted beside the other input, not within
    it. The capacity that a `priority` answer used is paid for by a commitment, so its tokens are priced as any other."""
    if not isinstance(reported, dict):
        return None
    cached, written = reported.get("cache_read_input_tokens") or 0, reported.get("cache_creation_input_tokens") or 0
    given = [reported.get("input_tokens"), cached, written]
    if any(type(count) is not int or count < 0 for count in given):
        return None
    details, ran = reported.get("output_tokens_details"), reported.get("server_tool_use")
    thought = details.get("thinking_tokens") if isinstance(details, dict) else 0
    searches = _count(ran.get("web_search_requests")) if isinstance(ran, dict) else 0
    return usage_of(
        {
            "input_tokens": sum(given),
            "output_tokens": reported.get("output_tokens"),
            "input_tokens_details": {
                "cached_tokens": cached,
                "cache_write_tokens": written,
                "cache_creation_token_details": reported.get("cache_creation"),
            },
            "output_tokens_details": {"reasoning_tokens": thought},
        },
        service_tier="batch" if reported.get("service_tier") == "batch" else None,
        tools=((SEARCH, min(searches, MOST_CALLS)),) if searches else (),
    )


def chat_usage(reported: Any, service_tier: Any, model: Any) -> Usage | None:
    """Usage of a chat completion. A model that searches the web for every answer is billed a search for each."""
    return usage_of(reported, service_tier=service_tier, tools=own_searches(model))


def own_searches(model: Any) -> tuple[tuple[str, int], ...]:
    """The hosted calls of a chat completion, as far as the name of its model tells them."""
    return ((SEARCH, 1),) if type(model) is str and searches_by_itself(model) else ()


def searches_of(content: Iterable[JsonObject]) -> tuple[tuple[str, int], ...]:
    """The hosted calls of a message that are billed one by one, as its blocks tell them."""
    searches = sum(block.get("type") == "server_tool_use" and block.get("name") == SEARCH for block in content)
    return ((SEARCH, searches),) if searches else ()


def hosted_calls(output: Iterable[JsonObject]) -> tuple[tuple[str, int], ...]:
    """The hosted calls of a response that are billed one by one. Of a web search only the search itself is, not what is then read;
    code is billed by the container that it runs in."""
    counts: dict[str, int] = {}
    containers: set[Any] = set()
    for item in output:
        kind = item.get("type")
        if type(kind) is not str:
            continue
        if kind in CALLED:
            action = item.get("action")
            if kind != "web_search_call" or not isinstance(action, dict) or action.get("type") in (None, "search"):
                counts[CALLED[kind]] = counts.get(CALLED[kind], 0) + 1
        elif kind == INTERPRETER:
            containers.add(str(item.get(CONTAINER)))
    if containers:
        counts["code_interpreter"] = len(containers)
    return tuple(counts.items())


def _within(whole: int, parts: tuple[int, ...]) -> list[int]:
    """The parts, cut from the last one on where they are more than the whole."""
    left, found = whole, []
    for part in parts:
        found.append(min(max(part, 0), left))
        left -= found[-1]
    return found


def _first(counts: JsonObject, names: tuple[str, ...]) -> int:
    for name in names:
        if (told := counts.get(name)) and (found := _count(told)):
            return found
    return 0


def _nested(counts: JsonObject, name: str, inner: str) -> int:
    details = counts.get(name)
    return (_count(details.get(inner)) or 0) if isinstance(details, dict) else 0


def _count(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None
