"""The simulated provider as the official client sees it, over HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import jsonschema
import msgspec
import openai
import pytest
from aiohttp import web
from hypothesis import example as instance
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from upstream_calls import ask, deployment

from router.errors import UpstreamFailed
from router.ports import UpstreamRequest
from router.upstream.script import LABEL, example, script, subject
from router.upstream.scripted import Scripted
from routing_rules.budgets import CallLimits
from routing_rules.task import Endpoint

PATHS = {
    "/v1/chat/completions": Endpoint.CHAT,
    "/v1/responses": Endpoint.RESPONSES,
    "/v1/embeddings": Endpoint.EMBEDDINGS,
}

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "strict": True,
        "description": "The weather forecast of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
MAIL: Any = {
    "type": "function",
    "function": {
        "name": "send_mail",
        "strict": True,
        "parameters": {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
    },
}
USER = "What is the weather forecast in Oslo? Answer in fahrenheit."


class Step(BaseModel):
    explanation: str
    minutes: int


class Plan(BaseModel):
    title: str
    mood: Literal["calm", "busy"]
    steps: list[Step]
    note: str | None


def run(scenario: Callable[[openai.AsyncOpenAI], Awaitable[None]], *, reasoning: bool = False) -> None:
    """Run a scenario with an official client that talks to the simulated provider."""

    async def main() -> None:
        upstream = Scripted()
        served = deployment("sim", provider="simulated", model="sim-model", reasoning_model=reasoning)

        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.json()
            asked = UpstreamRequest(PATHS[request.path], body, bool(body.get("stream")), CallLimits(), {}, "r")
            answer = await upstream.send(served, asked)
            if not asked.stream:
                return web.Response(body=await answer.read(), headers=dict(answer.headers))
            response = web.StreamResponse(headers=dict(answer.headers))
            await response.prepare(request)
            async for chunk in answer.chunks():
                await response.write(chunk)
            await response.write_eof()
            return response

        app = web.Application()
        for path in PATHS:
            app.router.add_post(path, handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        try:
            async with (
                openai.AsyncOpenAI(api_key="k", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0) as client,
                asyncio.timeout(20),
            ):
                await scenario(client)
        finally:
            await runner.cleanup()

    asyncio.run(main())


def test_a_chat_answer_says_that_it_is_simulated() -> None:
    async def scenario(client: openai.AsyncOpenAI) -> None:
        answer = await client.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": "Summarise the quarterly minutes"}]
        )
        assert answer.model == "sim-model"
        assert answer.system_fingerprint == "simulated"
        assert (answer.choices[0].message.content or "").startswith(LABEL)
        assert "quarterly" in (answer.choices[0].message.content or "")
        assert answer.choices[0].finish_reason == "stop"

    run(scenario)


def test_the_text_depends_on_the_task() -> None:
    async def scenario(client: openai.AsyncOpenAI) -> None:
        asks = ("Summarise this", "Translate this", "Prove this theorem", "Review this code", "Plan the migration", "hello")
        texts = set()
        for text in asks:
            answer = await client.chat.completions.create(model="auto", messages=[{"role": "user", "content": text}])
            texts.add(answer.choices[0].message.content)
        assert len(texts) == len(asks)

    run(scenario)


def test_usage_varies_and_holds_cached_and_reasoning_tokens() -> None:
    async def scenario(client: openai.AsyncOpenAI) -> None:
        seen = set()
        reasoned = 0
        for _ in range(6):
            answer = await client.chat.completions.create(
                model="auto", messages=[{"role": "user", "content": "Analyse the trade-offs " * 20}]
            )
            usage = answer.usage
            assert usage is not None
            assert usage.prompt_tokens_details is not None
            assert usage.completion_tokens_details is not None
            assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
            assert (usage.prompt_tokens_details.cached_tokens or 0) < usage.prompt_tokens
            reasoned += usage.completion_tokens_details.reasoning_tokens or 0
            seen.add((usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens))
        assert len(seen) > 1
        assert reasoned > 0

    run(scenario, reasoning=True)


def test_a_stream_comes_in_some_twenty_chunks_and_reports_usage_only_if_asked() -> None:
    async def scenario(client: openai.AsyncOpenAI) -> None:
        for wanted in (False, True):
            stream = await client.chat.completions.create(
                model="auto",
                messages=[{"role": "user", "content": "Plan the migration of the ledger"}],
                stream=True,
                stream_options={"include_usage": True} if wanted else openai.omit,
            )
            chunks = [chunk async for chunk in stream]
            text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
            assert text.startswith(LABEL)
            assert 10 <= len(chunks) <= 25
            assert (chunks[-1].usage is not None) is wanted

    run(scenario)


def test_the_streaming_helper_and_the_plain_answer_agree() -> None:
    async def scenario(client: openai.AsyncOpenAI) -> None:
        messages: Any = [{"role": "user", "content": "Rewrite the invitation"}]
        plain = await client.chat.completions.create(model="auto", messages=messages)
        async with client.chat.completions.stream(model="auto", messages=messages) as stream:
            async for _ in stream:
                pass
            final = await stream.get_final_completion()
        assert final.choices[0].message.content == plain.choices[0].message.content

    run(scenario)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_mentioned_tool_is_called_and_its_result_is_answered(streamed: bool) -> None:
    async def scenario(client: openai.AsyncOpenAI) -> None:
        messages: Any = [{"role": "user", "content": USER}]
        if streamed:
            async with client.chat.completions.stream(model="auto", messages=messages, tools=[WEATHER, MAIL]) as stream:
                async for _ in stream:
                    pass
                choice: Any = (await stream.get_final_completion()).choices[0]
        else:
            choice = (await client.chat.completions.create(model="auto", messages=messages, tools=[WEATHER, MAIL])).choices[0]
        assert choice.finish_reason == "tool_calls"
        (call,) = choice.message.tool_calls
        assert call.function.name == "get_weather"
        assert json.loads(call.function.arguments) == {"city": "Oslo", "unit": "fahrenheit"}
        messages.append(
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": call.id, "type": "function", "function": call.function.model_dump(include={"name", "arguments"})}
                ],
            }
        )
        messages.append({"role": "tool", "tool_call_id": call.id, "content": "12 degrees"})
        final = await client.chat.completions.create(model="auto", messages=messages, tools=[WEATHER, MAIL])
        assert final.choices[0].finish_reason == "stop"
        assert "get_weather" in (final.choices[0].message.content or "")

    run(scenario)


def test_parallel_calls_are_made_unless_they_are_forbidden() -> None:
    async def scenario(client: openai.AsyncOpenAI) -> None:
        messages: Any = [{"role": "user", "content": "Look up the weather forecast in Oslo and mail it to ann@example.org"}]
        both = await client.chat.completions.create(model="auto", messages=messages, tools=[WEATHER, MAIL])
        calls: Any = both.choices[0].message.tool_calls
        assert [call.function.name for call in calls] == ["get_weather", "send_mail"]
        assert json.loads(calls[1].function.arguments) == {"to": "ann@example.org"}
        one = await client.chat.completions.create(
            model="auto", messages=messages, tools=[WEATHER, MAIL], parallel_tool_calls=False
        )
        assert len(one.choices[0].message.tool_calls or ()) == 1

    run(scenario)


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("none", []),
        ("auto", []),
        ("required", ["get_weather"]),
        ({"type": "function", "function": {"name": "send_mail"}}, ["send_mail"]),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "send_mail"}}]},
            },
            ["send_mail"],
        ),
    ],
)
def test_tool_choice_is_kept(choice: Any, called: list[str]) -> None:
    body = {"messages": [{"role": "user", "content": "Tell me a story"}], "tools": [WEATHER, MAIL], "tool_choice": choice}
    assert [call.name for call in script(Endpoint.CHAT, body, reasoning=False, count=1).calls] == called


def test_structured_outputs_parse_in_both_formats() -> None:
    async def scenario(client: openai.AsyncOpenAI) -> None:
        chat = await client.chat.completions.parse(
            model="auto", messages=[{"role": "user", "content": "Plan a busy day"}], response_format=Plan
        )
        assert chat.choices[0].message.parsed is not None
        assert chat.choices[0].message.parsed.mood == "busy"
        response = await client.responses.parse(model="auto", input="Plan a busy day", text_format=Plan)
        assert response.output_parsed is not None
        assert len(response.output_parsed.steps) == 1

    run(scenario)


def test_several_choices_and_logprobs_come_as_asked() -> None:
    async def scenario(client: openai.AsyncOpenAI) -> None:
        answer = await client.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": "Ideas for a name"}], n=3, logprobs=True, top_logprobs=1
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        assert len({choice.message.content for choice in answer.choices}) == 3
        logprobs = answer.choices[0].logprobs
        assert logprobs is not None
        assert "".join(token.token for token in logprobs.content or ()) == answer.choices[0].message.content

    run(scenario)


def test_a_limit_ends_the_answer_by_length() -> None:
    async def scenario(client: openai.AsyncOpenAI) -> None:
        chat = await client.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": "Write an essay"}], max_completion_tokens=5
        )
        assert chat.choices[0].finish_reason == "length"
        assert chat.usage is not None
        assert chat.usage.completion_tokens == 5
        response = await client.responses.create(model="auto", input="Write an essay", max_output_tokens=16)
        assert response.status == "incomplete"
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == "max_output_tokens"

    run(scenario)


def test_a_response_streams_its_events_in_order_and_ends_with_the_whole() -> None:
    async def scenario(client: openai.AsyncOpenAI) -> None:
        stream = await client.responses.create(model="auto", input="Summarise the minutes", stream=True)
        events: list[Any] = [event async for event in stream]
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert events[0].type == "response.created"
        assert events[-1].type == "response.completed"
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert events[-1].response.output_text == text
        assert text.startswith(LABEL)
        assert events[-1].response.output[0].type == "reasoning"
        assert events[-1].response.usage.output_tokens_details.reasoning_tokens > 0

    run(scenario, reasoning=True)


def test_a_response_calls_a_tool_and_answers_its_result() -> None:
    async def scenario(client: openai.AsyncOpenAI) -> None:
        tool: Any = {"type": "function", **WEATHER["function"]}
        async with client.responses.stream(model="auto", input=USER, tools=[tool]) as stream:
            async for _ in stream:
                pass
            response = await stream.get_final_response()
        (call,) = response.output
        assert call.type == "function_call"
        history: Any = [
            {"role": "user", "content": USER},
            {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
            {"type": "function_call_output", "call_id": call.call_id, "output": "12 degrees"},
        ]
        final = await client.responses.create(model="auto", input=history, tools=[tool])
        assert "get_weather" in final.output_text

    run(scenario)


@pytest.mark.parametrize("endpoint", [Endpoint.CHAT, Endpoint.RESPONSES])
def test_a_custom_tool_gets_free_text(endpoint: Endpoint) -> None:
    async def scenario(client: openai.AsyncOpenAI) -> None:
        if endpoint is Endpoint.CHAT:
            tool: Any = {"type": "custom", "custom": {"name": "run_query"}}
            answer = await client.chat.completions.create(
                model="auto", messages=[{"role": "user", "content": "Query the orders"}], tools=[tool]
            )
            calls: Any = answer.choices[0].message.tool_calls
            assert calls[0].custom.name == "run_query"
        else:
            response = await client.responses.create(
                model="auto", input="Query the orders", tools=[{"type": "custom", "name": "run_query"}]
            )
            assert response.output[0].type == "custom_tool_call"

    run(scenario)


def test_legacy_functions_are_called_the_legacy_way() -> None:
    async def scenario(client: openai.AsyncOpenAI) -> None:
        answer = await client.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": USER}], functions=[WEATHER["function"]]
        )
        assert answer.choices[0].finish_reason == "function_call"
        assert answer.choices[0].message.function_call is not None
        assert answer.choices[0].message.function_call.name == "get_weather"

    run(scenario)


def test_embeddings_are_unit_vectors_and_like_texts_lie_near() -> None:
    async def scenario(client: openai.AsyncOpenAI) -> None:
        texts = ["the red house by the sea", "a red house near the sea", "quarterly tax return"]
        packed = await client.embeddings.create(model="auto", input=texts)
        plain = await client.embeddings.create(model="auto", input=texts, encoding_format="float")
        vectors = [row.embedding for row in packed.data]
        for vector, row in zip(vectors, plain.data, strict=True):
            assert sum(value * value for value in vector) == pytest.approx(1, abs=1e-5)
            assert vector == pytest.approx(row.embedding, abs=1e-6)
        near, far = (sum(a * b for a, b in zip(vectors[0], other, strict=True)) for other in vectors[1:])
        assert near > far
        short = await client.embeddings.create(model="auto", input=[1, 2, 3], dimensions=8)
        assert [len(row.embedding) for row in short.data] == [8]

    run(scenario)


def test_ids_are_never_issued_twice() -> None:
    async def scenario() -> None:
        request = ask({"messages": [{"role": "user", "content": "hi"}]})
        upstream, served = Scripted(), deployment("sim", provider="simulated")
        ids = [json.loads(await (await upstream.send(served, request)).read())["id"] for _ in range(50)]
        assert len(set(ids)) == 50

    asyncio.run(scenario())


def test_nothing_that_could_be_a_secret_is_repeated() -> None:
    planted = "sk-proj-abcdefghijkl 4111111111111111 ann@example.org hunter2 https://example.org/private PASSWORD=swordfish9"
    said = subject(f"please look at {planted}")
    for secret in ("abcdefghijkl", "4111", "ann", "hunter", "private", "swordfish"):
        assert secret not in said


SCHEMAS = st.recursive(
    st.one_of(
        st.just({"type": "boolean"}),
        st.just({"type": "null"}),
        st.builds(lambda low: {"type": "integer", "minimum": low, "maximum": low + 5}, st.integers(-50, 50)),
        st.builds(lambda low: {"type": "number", "exclusiveMinimum": low, "maximum": low + 5}, st.integers(-50, 50)),
        st.builds(lambda low: {"type": "string", "minLength": low, "maxLength": low + 9}, st.integers(0, 40)),
        st.builds(lambda words: {"enum": words}, st.lists(st.text(max_size=5), min_size=1, max_size=3)),
        st.just({"type": ["string", "null"]}),
        st.just({"$ref": "#/$defs/Named"}),
    ),
    lambda inner: st.one_of(
        st.builds(lambda item: {"type": "array", "items": item, "minItems": 2}, inner),
        st.builds(lambda one: {"anyOf": [one, {"type": "null"}]}, inner),
        st.builds(
            lambda fields: {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False},
            st.dictionaries(st.text(min_size=1, max_size=8), inner, max_size=4),
        ),
    ),
    max_leaves=8,
)


@given(schema=SCHEMAS, ask=st.text(max_size=60))
def test_every_example_satisfies_its_schema(schema: dict[str, Any], ask: str) -> None:
    whole = {**schema, "$defs": {"Named": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}}}
    jsonschema.validate(example(whole, ask), whole)


@given(
    limit=st.integers(0, 300),
    count=st.integers(1, 1000),
    n=st.integers(1, 3),
    content=st.text(max_size=200),
    reasoning=st.booleans(),
)
def test_no_choice_ever_uses_more_than_its_limit(limit: int, count: int, n: int, content: str, reasoning: bool) -> None:
    body = {"messages": [{"role": "user", "content": content}], "max_completion_tokens": limit or None, "n": n}
    said = script(Endpoint.CHAT, body, reasoning=reasoning, count=count)
    if limit:
        assert said.output_tokens <= limit * n
    assert said.reasoning_tokens <= said.output_tokens
    assert 0 <= said.cached_tokens < said.input_tokens <= len(msgspec.json.encode(body))


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 10**12), st.text(max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["type", "properties", "items", "enum", "anyOf", "$ref", "required", "minLength", "minimum", "x"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)


@given(parameters=ANYTHING)
@instance({"type": "string", "minLength": 10**12})
@instance({"type": "object", "required": ["a"], "properties": {"a": {"type": "string", "minLength": 10**12}}})
@instance({"type": "object", "required": ["a"], "properties": {"a": {"type": "array", "minItems": 10**12}}})
@instance({"type": "object", "required": ["a"], "properties": {"a": {"enum": 3}}})
@instance({"type": "object", "required": ["a"], "properties": []})
@instance({"type": "object", "required": list("abcdefghij"), "properties": {key: {"$ref": "#"} for key in "abcdefghij"}})
def test_a_malformed_schema_is_answered_or_refused(parameters: Any) -> None:
    tool = {"type": "function", "function": {"name": "look_up", "parameters": parameters}}
    body = {"messages": [{"role": "user", "content": "look it up"}], "tools": [tool], "tool_choice": "required"}

    async def outcome() -> str:
        try:
            answer = await Scripted().send(deployment("sim", provider="simulated"), ask(body))
        except UpstreamFailed as failure:
            return failure.code
        return str(json.loads(await answer.read())["object"])

    assert asyncio.run(outcome()) in ("chat.completion", "invalid_request")
