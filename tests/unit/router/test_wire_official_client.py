"""What the official client makes of an answer when an app sends it back: accepted, read, and still the same conversation."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import openai
import pytest
from pydantic import BaseModel

from router.api.wire import parse
from router.exchange import JsonObject
from router.stages.conversation import chat_message, response_item
from router.stages.read_task import NO_HEADERS, read_task
from routing_rules.task import Endpoint, Task
from routing_rules.vocabulary import Sensitivity


class Weather(BaseModel):
    degrees: int


class LookUp(BaseModel):
    city: str


CALL = {"id": "call_1", "type": "function", "function": {"name": "LookUp", "arguments": '{"city":"Bern"}'}}
CHAT_MESSAGE: JsonObject = {
    "role": "assistant",
    "content": None,
    "refusal": None,
    "annotations": [],
    "tool_calls": [CALL],
}
CHAT_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [{"index": 0, "finish_reason": "tool_calls", "logprobs": None, "message": CHAT_MESSAGE}],
}
OUTPUT: list[JsonObject] = [
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA", "status": None},
    {
        "type": "message",
        "id": "msg_1",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": '{"degrees":21}', "annotations": [], "logprobs": []}],
    },
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "LookUp", "arguments": "{}", "status": "completed"},
]
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-4o",
    "status": "completed",
    "output": OUTPUT,
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}


class Provider:
    """Answers every request of a client with the same body, and keeps what was sent."""

    def __init__(self, answer: JsonObject) -> None:
        self.answer = answer
        self.sent: list[bytes] = []
        transport = httpx.MockTransport(self.handle)
        self.client = openai.OpenAI(
            api_key="none", base_url="http://provider.example", http_client=httpx.Client(transport=transport)
        )

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request.content)
        return httpx.Response(200, json=self.answer)

    def last(self, endpoint: Endpoint) -> Task:
        return read_task(endpoint, parse(endpoint, self.sent[-1]), NO_HEADERS, {}, Sensitivity.RESTRICTED)


def result_of(call_id: str) -> JsonObject:
    return {"role": "tool", "tool_call_id": call_id, "content": "21"}


@pytest.mark.parametrize("helper", [False, True], ids=["create", "parse"])
def test_a_chat_goes_on_with_the_message_it_was_answered(helper: bool) -> None:
    provider = Provider(CHAT_ANSWER)
    completions = provider.client.chat.completions
    tool: Any = openai.pydantic_function_tool(LookUp)
    messages: list[Any] = [{"role": "user", "content": "How warm is it in Bern?"}]

    def ask() -> Any:
        if helper:
            return completions.parse(model="gpt-4o", messages=messages, tools=[tool], response_format=Weather)
        return completions.create(model="gpt-4o", messages=messages, tools=[tool])

    messages += [ask().choices[0].message, result_of("call_1")]
    ask()
    task = provider.last(Endpoint.CHAT)
    assert task.conversation[1] == chat_message(CHAT_MESSAGE)
    assert (task.assistant_turns, task.issued_ids) == ((1,), ("call_1",))


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # the client's own, of its generic answer types
@pytest.mark.parametrize("helper", [False, True], ids=["create", "parse"])
def test_a_responses_request_goes_on_with_the_items_it_was_answered(helper: bool) -> None:
    provider = Provider(RESPONSE)
    given: list[Any] = [{"role": "user", "content": "How warm is it in Bern?"}]

    def ask() -> Any:
        if helper:
            return provider.client.responses.parse(model="gpt-4o", input=given, text_format=Weather)
        return provider.client.responses.create(model="gpt-4o", input=given)

    given += ask().output
    given.append({"type": "function_call_output", "call_id": "call_1", "output": "21"})
    ask()
    task = provider.last(Endpoint.RESPONSES)
    assert task.conversation[1:3] == tuple(response_item(item) for item in OUTPUT[1:])
    reasoned, sealed, called = task.issued_ids  # what the provider encrypted leads back, too
    assert (task.assistant_turns, reasoned, sealed.startswith("sealed_"), called) == ((1, 2), "rs_1", True, "call_1")


def test_embeddings_of_the_client_are_accepted() -> None:
    provider = Provider({"object": "list", "data": [], "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}})
    with pytest.raises(ValueError, match="No embedding data"):
        provider.client.embeddings.create(model="text-embedding-3-small", input=["Hello"])
    assert [part.text for part in provider.last(Endpoint.EMBEDDINGS).parts] == ["Hello"]
    assert msgspec.json.decode(provider.sent[-1])["encoding_format"] == "base64"
