"""The official Python client, unmodified, against the running service: with the simulated provider, and with a stub behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import openai
import pytest
from governed import deployment, rule_files
from inspecting import rows
from pydantic import BaseModel
from running import Running, running
from stub_provider import StubProvider, serving

from router.exchange import Admitted, Record, Turned
from routing_rules.decide import decide
from routing_rules.load import load

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
DROP: Any = {"type": "function", "function": {"name": "drop_database", "parameters": {"type": "object", "properties": {}}}}
ASK: Any = [{"role": "user", "content": "What is the weather in Lisbon?"}]
HELLO: Any = [{"role": "user", "content": "Translate into French: the train leaves at nine."}]
FEATURES = "features: [tools, parallel_tools, custom_tools, json_schema, json_mode, streaming, logprobs, several_choices, vision, seed, chat_api, responses_api, stored_state]"


class City(BaseModel):
    name: str
    country: str


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The service as it is after `make run`: shipped rules, simulated provider."""
    with running(tmp_path_factory.mktemp("simulated") / "data") as started:
        yield started


@pytest.fixture(scope="module")
def key(service: Running) -> str:
    return service.key()


@pytest.fixture
def client(service: Running, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=service.base_url + "/v1", api_key=key, max_retries=0) as made:
        yield made


class Behind:
    """A service with stub deployments behind it, and a client of it."""

    def __init__(self, service: Running, stub: StubProvider) -> None:
        self.service = service
        self.stub = stub
        self.key = service.key()
        self.client = openai.OpenAI(base_url=service.base_url + "/v1", api_key=self.key, max_retries=0)

    def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        told = {"authorization": f"Bearer {self.key}", **headers}
        return httpx.post(f"{self.service.base_url}/v1/{path}", json=body, headers=told, timeout=30)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    with serving() as stub:
        deployments = [
            deployment("m", stub.url, more=FEATURES),
            deployment("other", stub.url, more=FEATURES + ", allowed_fields: [top_k]"),
            deployment("embed-a", stub.url, more="features: [embeddings]"),
        ]
        with running(tmp_path_factory.mktemp("stubbed") / "data", rules=rule_files(deployments)) as started:
            yield Behind(started, stub)


@pytest.fixture
def fresh(behind: Behind) -> Behind:
    behind.stub.requests.clear()
    behind.stub.scripts.clear()
    return behind


# ── with the simulated provider ───────────────────────────────────────────────────────────────────────────────────────


def test_chat_answers_and_says_how_it_was_governed(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=HELLO)
    completion = raw.parse()
    assert completion.choices[0].message.content
    assert "simulated" in completion.choices[0].message.content
    assert completion.usage is not None
    assert completion.usage.total_tokens > 0
    told = raw.headers
    assert told["x-router-tier"] == "fast"
    assert told["x-router-sensitivity"] == "public"
    assert told["x-router-task"] == "translation"
    assert float(told["x-router-cost-usd"]) > 0
    assert float(told["x-router-budget-remaining-usd"]) > 0


def test_chat_streams_with_usage_at_the_end(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(model="auto", messages=HELLO, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).startswith("[simulated]")
    assert chunks[-1].usage is not None
    plain = list(client.chat.completions.create(model="auto", messages=HELLO, stream=True))
    assert all(chunk.choices for chunk in plain)  # who did not ask for usage is not sent its chunk


def test_the_streaming_helper_gives_events_and_the_whole(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="auto", messages=ASK, tools=[WEATHER]) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "chunk" in kinds
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.name == "get_weather"
    assert final.choices[0].finish_reason == "tool_calls"


def test_parse_gives_the_model_that_was_asked_for(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(
        model="auto", messages=[{"role": "user", "content": "Extract the city: Lisbon, Portugal."}], response_format=City
    )
    assert isinstance(parsed.choices[0].message.parsed, City)
    response = client.responses.parse(model="auto", input="Extract the city: Lisbon, Portugal.", text_format=City)
    assert isinstance(response.output_parsed, City)


def test_a_tool_call_and_its_result_stay_in_one_session(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=ASK, tools=[WEATHER])
    message = raw.parse().choices[0].message
    assert message.tool_calls
    result: Any = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": '{"degrees": 21}'}
    echoed: Any = message.model_dump(exclude_none=True)
    again = client.chat.completions.with_raw_response.create(model="auto", messages=[*ASK, echoed, result], tools=[WEATHER])
    assert again.parse().choices[0].message.content
    assert again.headers["x-router-session"] == raw.headers["x-router-session"]


def test_several_choices_logprobs_and_a_picture_pass(client: openai.OpenAI) -> None:
    several = client.chat.completions.create(model="auto", messages=HELLO, n=3, logprobs=True, top_logprobs=2)
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    assert several.choices[0].logprobs is not None
    picture: Any = [
        {"type": "text", "text": "Describe this."},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    ]
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=[{"role": "user", "content": picture}])
    assert raw.headers["x-router-sensitivity"] != "public"  # what nobody could read is never public


def test_embeddings_in_both_encodings(client: openai.OpenAI) -> None:
    name = next(model.id for model in client.models.list() if "embed" in model.id)
    floats = client.embeddings.create(model=name, input=["a", "b"], encoding_format="float")
    packed = client.embeddings.create(model=name, input=["a", "b"])
    assert len(floats.data) == len(packed.data) == 2
    assert len(floats.data[0].embedding) == len(packed.data[0].embedding)


def test_responses_answer_and_stream(client: openai.OpenAI) -> None:
    response = client.responses.create(model="auto", input="Translate into French: good morning.")
    assert response.output_text.startswith("[simulated]")
    assert response.usage is not None
    kinds = [
        event.type for event in client.responses.create(model="auto", input="Translate into French: good night.", stream=True)
    ]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    with client.responses.stream(model="auto", input="Translate into French: good night.") as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text


def test_models_are_listed_and_said_to_be_simulated(client: openai.OpenAI) -> None:
    names = {model.id: model for model in client.models.list()}
    assert {"auto", "auto-fast", "auto-reasoning"} <= set(names)
    assert client.models.retrieve("auto").owned_by == "router"
    assert any(getattr(model, "simulated", False) for model in names.values())
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_the_async_client_runs_many_at_once(service: Running, key: str) -> None:
    async def many() -> list[str]:
        async with openai.AsyncOpenAI(base_url=service.base_url + "/v1", api_key=key, max_retries=0) as client:

            async def one(number: int) -> str:
                asked: Any = [{"role": "user", "content": f"Translate into French: room number {number} is free."}]
                if number % 2:
                    stream = await client.chat.completions.create(model="auto", messages=asked, stream=True)
                    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
                return (await client.chat.completions.create(model="auto", messages=asked)).choices[0].message.content or ""

            return await asyncio.gather(*(one(number) for number in range(20)))

    answers = asyncio.run(many())
    assert len(answers) == 20
    assert all(answer.startswith("[simulated]") for answer in answers)


def test_a_hard_coded_model_name_is_a_wish_and_an_unknown_one_a_404(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
    assert raw.headers["x-router-model"].startswith("sim-")
    with pytest.raises(openai.NotFoundError, match="auto") as refused:
        client.chat.completions.create(model="autto", messages=HELLO)
    assert refused.value.code == "model_not_found"


# ── with a stub provider behind ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_in_which_nothing_had_to_change_is_the_providers_byte_for_byte(fresh: Behind, path: str, stream: bool) -> None:
    body: dict[str, Any] = {"model": "auto", "stream": stream}
    body |= {"input": "Translate: good day."} if path == "responses" else {"messages": HELLO}
    if stream and path != "responses":
        body["stream_options"] = {"include_usage": True}
    governed = fresh.post(path, body)
    assert governed.status_code == 200
    sent = fresh.stub.requests[-1].body
    number = fresh.stub._answers
    fresh.stub._answers -= 1  # the stub numbers its answers: the same one again, straight from it
    direct = httpx.post(f"{fresh.stub.url}/{path}", json=sent)
    assert fresh.stub._answers == number
    assert governed.content == direct.content


def test_what_is_forwarded_is_ours_and_nothing_of_ours(fresh: Behind) -> None:
    fresh.post(
        "chat/completions",
        {"model": "gpt-4o", "messages": HELLO, "max_tokens": 50, "tools": [WEATHER, DROP], "temperature": 0.1},
        **{"x-session-id": "mine", "x-router-label": "internal", "x-custom": "1"},
    )
    received = fresh.stub.requests[-1]
    assert received.body["model"] == "m"
    assert received.body["max_completion_tokens"] == 50
    assert "max_tokens" not in received.body
    assert [tool["function"]["name"] for tool in received.body["tools"]] == ["get_weather"]
    assert received.body["messages"] == HELLO
    assert not [name for name in received.headers if name.startswith(("x-router", "x-session", "x-custom", "x-stainless"))]
    assert fresh.key not in received.text + json.dumps(received.headers)


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_was_not_granted_never_reaches_the_app(fresh: Behind, stream: bool) -> None:
    fresh.stub.script("m", "tools:drop_database")
    body = {"model": "auto", "messages": ASK, "tools": [WEATHER, DROP], "stream": stream}
    chat = fresh.post("chat/completions", body)
    assert chat.status_code == 200
    assert chat.headers["x-router-tools-withheld"].startswith("drop_database;")
    flat = [{"type": "function", **tool["function"]} for tool in (WEATHER, DROP)]
    response = fresh.post("responses", {"model": "auto", "input": "What is the weather?", "tools": flat, "stream": stream})
    for answer in (chat, response):
        assert '"name":"drop_database"' not in answer.text.replace(" ", "")
        assert "not entitled" in answer.text


def test_a_choice_of_a_withheld_tool_is_refused_and_not_widened(fresh: Behind) -> None:
    with pytest.raises(openai.PermissionDeniedError) as refused:
        fresh.client.chat.completions.create(
            model="auto",
            messages=ASK,
            tools=[WEATHER, DROP],
            tool_choice={"type": "function", "function": {"name": "drop_database"}},
        )
    assert refused.value.code == "tool_not_entitled"
    assert not fresh.stub.requests


def test_an_embedding_goes_to_the_model_it_names_or_nowhere(fresh: Behind) -> None:
    fresh.client.embeddings.create(model="embed-a", input="text")
    assert fresh.stub.requests[-1].body["model"] == "embed-a"
    for name in ("auto", "text-embedding-3-small", "m"):
        with pytest.raises(openai.APIStatusError):
            fresh.client.embeddings.create(model=name, input="text")
    assert len(fresh.stub.requests) == 1


def test_provider_held_state_goes_back_to_the_deployment_that_holds_it(fresh: Behind) -> None:
    first = fresh.post("responses", {"model": "auto", "input": "Remember: blue."})
    held = first.json()["id"]
    second = fresh.post("responses", {"model": "auto", "input": "Which colour?", "previous_response_id": held})
    assert second.status_code == 200, second.text
    assert second.headers["x-router-model"] == first.headers["x-router-model"]
    assert second.headers["x-router-session"] == first.headers["x-router-session"]
    with pytest.raises(openai.NotFoundError) as refused:
        fresh.client.responses.create(model="auto", input="Which colour?", previous_response_id="resp_of_somebody_else")
    assert refused.value.code == "response_not_found"
    stranger = fresh.service.key("stranger", "stranger@example.org")
    other = openai.OpenAI(base_url=fresh.service.base_url + "/v1", api_key=stranger, max_retries=0)
    with pytest.raises(openai.NotFoundError):
        other.responses.create(model="auto", input="Which colour?", previous_response_id=held)


def test_a_field_beyond_the_specification_goes_only_where_the_catalogue_allows_it(fresh: Behind) -> None:
    allowed = fresh.post("chat/completions", {"model": "auto", "messages": HELLO, "top_k": 5})
    assert allowed.headers["x-router-model"] == "other"
    assert fresh.stub.requests[-1].body["top_k"] == 5
    refused = fresh.post("chat/completions", {"model": "auto", "messages": HELLO, "top_q": 5})
    assert refused.status_code == 400
    assert (refused.json()["error"]["code"], refused.json()["error"]["param"]) == ("unknown_parameter", "top_q")


def test_every_recorded_decision_comes_out_the_same_again(fresh: Behind) -> None:
    fresh.post("chat/completions", {"model": "auto", "messages": HELLO})
    fresh.service.settled()
    data_dir = fresh.service.data_dir
    rules = {row["revision"]: load(json.loads(row["files"])) for row in rows(data_dir, "SELECT revision, files FROM revisions")}
    seen = 0
    for row in rows(data_dir, "SELECT record FROM evidence"):
        record = msgspec.json.decode(row["record"], type=Record)
        if isinstance(record, Admitted | Turned) and record.facts is not None and record.decision is not None:
            assert decide(rules[record.decision.revision], record.facts) == record.decision
            seen += 1
    assert seen
