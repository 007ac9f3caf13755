"""Everything that the official Python client offers beside plain calls, the same for its sync and its async form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import openai
import pytest
from pydantic import BaseModel
from running import Running, running

Call = Callable[[Any], Any]

CITY_ASK = "What is the weather in Lisbon?"
ASK: Any = [{"role": "user", "content": CITY_ASK}]
SUMMARISE: Any = [{"role": "user", "content": "Summarise: the library opens at nine and the garden closes at dusk."}]
WEATHER_AND_TIME = "Tell me the weather and the current time in Lisbon."


class GetWeather(BaseModel):
    """The current weather of a city."""

    city: str


class Place(BaseModel):
    city: str
    visits: int


def function(name: str, description: str) -> Any:
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    return {"name": name, "description": description, "parameters": parameters, "strict": True}


WEATHER = function("get_weather", "The current weather of a city.")
TIME = function("get_current_time", "The current time in a city.")
CHAT_TOOLS: Any = [{"type": "function", "function": each} for each in (WEATHER, TIME)]
FLAT_TOOLS: Any = [{"type": "function", **each} for each in (WEATHER, TIME)]


class Form(Protocol):
    """One form of the client: what a call returns, what a stream yields, what a stream helper gathers."""

    def ask(self, call: Call) -> Any: ...
    def stream(self, call: Call) -> list[Any]: ...
    def gather(self, call: Call, final: str) -> tuple[list[Any], Any]: ...


class Sync:
    def __init__(self, base_url: str, key: str) -> None:
        self._client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)

    def ask(self, call: Call) -> Any:
        return call(self._client)

    def stream(self, call: Call) -> list[Any]:
        return list(call(self._client))

    def gather(self, call: Call, final: str) -> tuple[list[Any], Any]:
        with call(self._client) as stream:
            return list(stream), getattr(stream, final)()

    def close(self) -> None:
        self._client.close()


class Async:
    def __init__(self, base_url: str, key: str) -> None:
        self._runner = asyncio.Runner()
        self._client = openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0)

    def ask(self, call: Call) -> Any:
        async def run() -> Any:
            return await call(self._client)

        return self._runner.run(run())

    def stream(self, call: Call) -> list[Any]:
        async def run() -> list[Any]:
            return [item async for item in await call(self._client)]

        return self._runner.run(run())

    def gather(self, call: Call, final: str) -> tuple[list[Any], Any]:
        async def run() -> tuple[list[Any], Any]:
            async with call(self._client) as stream:
                return [event async for event in stream], await getattr(stream, final)()

        return self._runner.run(run())

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("helpers") / "data") as started:
        yield started


@pytest.fixture(scope="module", params=[Sync, Async], ids=["sync", "async"])
def client(request: pytest.FixtureRequest, service: Running) -> Iterator[Form]:
    made = request.param(service.base_url + "/v1", service.key())
    yield made
    made.close()


def test_the_chat_stream_helper_gives_content_events_and_the_same_text_whole(client: Form) -> None:
    events, final = client.gather(
        lambda c: c.chat.completions.stream(model="auto", messages=SUMMARISE, stream_options={"include_usage": True}),
        "get_final_completion",
    )
    text = "".join(event.delta for event in events if event.type == "content.delta")
    (done,) = [event for event in events if event.type == "content.done"]
    assert text == done.content == final.choices[0].message.content
    assert text.startswith("[simulated]")
    assert final.usage.total_tokens == final.usage.prompt_tokens + final.usage.completion_tokens > 0


def test_the_chat_stream_helper_parses_a_model(client: Form) -> None:
    events, final = client.gather(
        lambda c: c.chat.completions.stream(model="auto", messages=ASK, response_format=Place), "get_final_completion"
    )
    (done,) = [event for event in events if event.type == "content.done"]
    assert isinstance(done.parsed, Place)
    assert final.choices[0].message.parsed == done.parsed


def test_chat_parse_gives_the_arguments_of_a_call_as_a_model(client: Form) -> None:
    tool = openai.pydantic_function_tool(GetWeather, name="get_weather")
    completion = client.ask(lambda c: c.chat.completions.parse(model="auto", messages=ASK, tools=[tool]))
    (call,) = completion.choices[0].message.tool_calls
    assert call.function.parsed_arguments == GetWeather(city="Lisbon")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_parallel_calls_are_made_answered_and_summed_up(client: Form, stream: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": WEATHER_AND_TIME}]

    def turn() -> Any:
        if stream:
            return client.gather(
                lambda c: c.chat.completions.stream(model="auto", messages=messages, tools=CHAT_TOOLS), "get_final_completion"
            )[1]
        return client.ask(lambda c: c.chat.completions.create(model="auto", messages=messages, tools=CHAT_TOOLS))

    message = turn().choices[0].message
    assert [call.function.name for call in message.tool_calls] == ["get_weather", "get_current_time"]
    messages.append(message)
    messages += [{"role": "tool", "tool_call_id": call.id, "content": '{"ok": true}'} for call in message.tool_calls]
    final = turn().choices[0]
    assert final.finish_reason == "stop"
    assert "get_weather, get_current_time" in final.message.content


def test_parallel_calls_can_be_declined(client: Form) -> None:
    completion = client.ask(
        lambda c: c.chat.completions.create(
            model="auto",
            messages=[{"role": "user", "content": WEATHER_AND_TIME}],
            tools=CHAT_TOOLS,
            parallel_tool_calls=False,
        )
    )
    assert len(completion.choices[0].message.tool_calls) == 1


def test_several_choices_and_their_logprobs_are_streamed(client: Form) -> None:
    chunks = client.stream(
        lambda c: c.chat.completions.create(
            model="auto", messages=SUMMARISE, n=2, logprobs=True, top_logprobs=1, stream=True, max_tokens=40
        )
    )
    texts = {0: "", 1: ""}
    tokens = {0: "", 1: ""}
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.logprobs is not None:
                tokens[choice.index] += "".join(each.token for each in choice.logprobs.content)
    assert texts == tokens
    assert all(texts.values())


def test_a_response_streams_events_in_order_and_the_helper_gathers_them(client: Form) -> None:
    events, final = client.gather(lambda c: c.responses.stream(model="auto", input=SUMMARISE), "get_final_response")
    kinds = [event.type for event in events]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == final.output_text


def test_a_response_is_parsed_whole_and_from_a_stream(client: Form) -> None:
    whole = client.ask(lambda c: c.responses.parse(model="auto", input=CITY_ASK, text_format=Place))
    assert isinstance(whole.output_parsed, Place)
    _, streamed = client.gather(
        lambda c: c.responses.stream(model="auto", input=CITY_ASK, text_format=Place), "get_final_response"
    )
    assert isinstance(streamed.output_parsed, Place)


def test_a_response_calls_tools_and_goes_on_from_its_own_id(client: Form) -> None:
    raw = client.ask(
        lambda c: c.responses.with_raw_response.create(model="auto", input=WEATHER_AND_TIME, tools=FLAT_TOOLS, store=True)
    )
    first = raw.parse()
    calls = [item for item in first.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["get_weather", "get_current_time"]
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": '{"ok": true}'} for call in calls]
    again = client.ask(
        lambda c: c.responses.with_raw_response.create(
            model="auto", input=results, tools=FLAT_TOOLS, previous_response_id=first.id
        )
    )
    assert again.headers["x-router-session"] == raw.headers["x-router-session"]
    assert again.headers["x-router-model"] == raw.headers["x-router-model"]
    assert again.parse().output_text


def test_a_response_stream_calls_tools_and_goes_on_with_its_items(client: Form) -> None:
    given: list[Any] = [{"role": "user", "content": CITY_ASK}]
    events, first = client.gather(lambda c: c.responses.stream(model="auto", input=given, tools=FLAT_TOOLS), "get_final_response")
    (done,) = [event for event in events if event.type == "response.function_call_arguments.done"]
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert json.loads(done.arguments) == json.loads(call.arguments) == {"city": "Lisbon"}
    given += first.output
    given.append({"type": "function_call_output", "call_id": call.call_id, "output": '{"degrees": 21}'})
    last = client.ask(lambda c: c.responses.create(model="auto", input=given, tools=FLAT_TOOLS))
    assert "get_weather" in last.output_text


def test_a_stream_hands_out_its_headers_before_its_body(service: Running) -> None:
    with openai.OpenAI(base_url=service.base_url + "/v1", api_key=service.key(), max_retries=0) as client:
        ask = client.chat.completions.with_streaming_response
        with ask.create(model="auto", messages=SUMMARISE, stream=True) as raw:
            assert raw.headers["content-type"].startswith("text/event-stream")
            assert raw.headers["x-router-rule"] == "routine-work"
            assert float(raw.headers["x-router-budget-remaining-usd"]) > 0
            assert "x-router-cost-usd" not in raw.headers
            lines = [line for line in raw.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"


def test_a_refusal_is_raised_before_a_stream_begins(client: Form) -> None:
    pasted = [{"role": "user", "content": "Why does this fail? aws_access_key_id = " + "AKIA" + "Q3EGT5PLXW7ZB2NK"}]
    for call in (
        lambda c: c.chat.completions.create(model="auto", messages=pasted, stream=True),
        lambda c: c.responses.create(model="auto", input=pasted, stream=True),
    ):
        with pytest.raises(openai.PermissionDeniedError) as refused:
            client.stream(call)
        assert refused.value.code == "no_cleared_deployment"
        assert refused.value.response.headers["x-should-retry"] == "false"


def test_an_unknown_name_is_answered_with_the_nearest(client: Form) -> None:
    with pytest.raises(openai.NotFoundError, match="gpt-4o-mini") as refused:
        client.ask(lambda c: c.chat.completions.create(model="gpt-4o-mni", messages=SUMMARISE))
    assert refused.value.code == "model_not_found"
    assert refused.value.param == "model"


def test_models_are_paged_through_and_looked_up(client: Form) -> None:
    found = client.ask(lambda c: c.models.retrieve("sim-fast"))
    assert (found.id, found.owned_by) == ("sim-fast", "simulated")
    assert found.to_dict()["simulated"] is True


def test_numbers_and_packed_vectors_are_the_same_vectors(client: Form) -> None:
    asked = {"model": "text-embedding-3-small", "input": ["the cat sat", "bonds fell"], "dimensions": 16}
    packed = client.ask(lambda c: c.embeddings.create(**asked))
    numbers = client.ask(lambda c: c.embeddings.create(**asked, encoding_format="float"))
    for one, other in zip(packed.data, numbers.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, rel=1e-6)
        assert len(one.embedding) == 16
