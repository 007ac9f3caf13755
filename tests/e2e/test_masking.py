"""Masked values never reach the provider and always come back to the app: a real service, a provider that repeats what it is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from governed import deployment, rule_files
from openai import OpenAI
from running import Running, running
from sqlalchemy import create_engine, text
from stub_provider import StubProvider, serving

from routing_rules.decide import decide
from routing_rules.decisions import Permit, Refuse
from routing_rules.facts import Facts
from routing_rules.load import load, read_directory

Json = dict[str, Any]
EMAIL, OTHER, CARD = "anna.sommer@northwind-trading.com", "bert.kohl@northwind-trading.com", "4539 1488 0343 6467"
TOOL = {"name": "get_weather", "parameters": {"type": "object", "properties": {"said": {"type": "string"}}}}
MASKS = """  - id: customers-stay-here
    owner: privacy@example.org
    reason: the work needs no addresses and no card numbers
    when: {sensitivity: {at_least: internal}}
    then: {tier: fast, set: standard, budget: test, mask: [email_address, payment_card]}
"""


class App:
    def __init__(self, service: Running, stub: StubProvider, name: str) -> None:
        self.service, self.stub = service, stub
        self.key = service.key(name, f"{name}@example.org", "--clearance", "restricted")

    def post(self, path: str, body: Json, **headers: str) -> httpx.Response:
        told = {"authorization": f"Bearer {self.key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return httpx.post(f"{self.service.base_url}/v1/{path}", json={"model": "auto", **body}, headers=told, timeout=30)

    def chat(self, messages: list[Json], behaviour: str = "echo", **more: Any) -> httpx.Response:
        self.stub.script("plain", behaviour)
        return self.post("chat/completions", {"messages": messages, **more})

    def responses(self, given: Any, behaviour: str = "echo", **more: Any) -> httpx.Response:
        self.stub.script("plain", behaviour)
        return self.post("responses", {"input": given, **more})

    def sent(self) -> str:
        """What the provider was sent last."""
        return self.stub.requests[-1].text


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with serving() as stub:
        rules = rule_files([deployment("plain", stub.url, clearance="internal")], routes=MASKS)
        with running(tmp_path_factory.mktemp("masking") / "data", rules=rules, workers=2) as service:
            yield App(service, stub, "masked")


def user(content: Any) -> Json:
    return {"role": "user", "content": content}


def deltas(answer: httpx.Response) -> list[Json]:
    events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ") and line != "data: [DONE]"]
    return [json.loads(event) for event in events]


def streamed_text(answer: httpx.Response) -> str:
    chunks = deltas(answer)
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c.get("choices"))


def test_the_provider_sees_placeholders_and_the_app_its_own_values(app: App) -> None:
    said = f"Write to {EMAIL} and to {OTHER}, then again to {EMAIL}; the card was {CARD}."
    answer = app.chat([user(said)])
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == said
    sent = app.stub.requests[-1].body["messages"][0]["content"]
    assert sent == (
        "Write to [EMAIL_ADDRESS_1] and to [EMAIL_ADDRESS_2], then again to [EMAIL_ADDRESS_1]; the card was [PAYMENT_CARD_1]."
    )
    assert answer.headers["x-router-sensitivity"] == "restricted"
    assert answer.headers["x-router-rule"] == "everything"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 19, 400])
def test_a_stream_brings_the_values_back_however_it_is_cut(app: App, size: int) -> None:
    said = f"Translate this list: [a] {EMAIL} [b {CARD}] [EMAIL_ADDRESS_ [E ["
    answer = app.chat([user(said)], f"echo:{size}", stream=True)
    assert answer.status_code == 200, answer.text
    assert streamed_text(answer) == said
    assert EMAIL not in app.sent()
    assert CARD not in app.sent()
    spoken = app.responses(said, f"echo:{size}", stream=True)
    events = deltas(spoken)
    assert "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta") == said
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == said
    assert [event["sequence_number"] for event in events] == list(
        range(events[0]["sequence_number"], events[0]["sequence_number"] + len(events))
    )
    assert EMAIL not in app.sent()


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_get_the_values_in_their_arguments(app: App, stream: bool) -> None:
    said = f"Tell {EMAIL} that the card {CARD} is fine"
    chat = app.chat([user(said)], "echo_tool:get_weather", stream=stream, tools=[{"type": "function", "function": TOOL}])
    assert chat.status_code == 200, chat.text
    if stream:
        calls = [call for c in deltas(chat) for choice in c["choices"] for call in choice["delta"].get("tool_calls") or ()]
        arguments = "".join(call["function"].get("arguments", "") for call in calls)
    else:
        arguments = chat.json()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"said": said}
    assert EMAIL not in app.sent()
    spoken = app.responses(said, "echo_tool:get_weather", stream=stream, tools=[{"type": "function", **TOOL}])
    assert spoken.status_code == 200, spoken.text
    if stream:
        events = deltas(spoken)
        arguments = "".join(e["delta"] for e in events if e["type"] == "response.function_call_arguments.delta")
        item = events[-1]["response"]["output"][0]
    else:
        item = spoken.json()["output"][0]
        arguments = item["arguments"]
    assert json.loads(arguments) == json.loads(item["arguments"]) == {"said": said}
    assert EMAIL not in app.sent()


def test_a_conversation_stays_one_session_with_the_same_placeholders(app: App) -> None:
    messages = [user(f"Remember the address {EMAIL}")]
    first = app.chat(messages)
    messages += [first.json()["choices"][0]["message"], user(f"And {OTHER}, beside {EMAIL}")]
    second = app.chat(messages, stream=True)
    assert second.headers["x-router-session"] == first.headers["x-router-session"]
    contents = [message["content"] for message in app.stub.requests[-1].body["messages"]]
    assert contents == [
        "Remember the address [EMAIL_ADDRESS_1]",
        "Remember the address [EMAIL_ADDRESS_1]",
        "And [EMAIL_ADDRESS_2], beside [EMAIL_ADDRESS_1]",
    ]
    messages += [{"role": "assistant", "content": streamed_text(second)}, user("What was it?")]
    third = app.chat(messages)
    assert third.status_code == 200, third.text
    assert third.headers["x-router-session"] == first.headers["x-router-session"]
    assert EMAIL not in app.sent()


def test_two_conversations_with_the_same_masked_beginning_can_both_go_on(app: App) -> None:
    beginning = [user(f"Summarise what {EMAIL} paid with {CARD}")]
    first, second = app.chat(beginning), app.chat(beginning)
    assert first.headers["x-router-session"] != second.headers["x-router-session"]
    on = app.chat([*beginning, first.json()["choices"][0]["message"], user("Shorter, please")])
    assert on.status_code == 200, on.text
    assert on.headers["x-router-sensitivity"] == "restricted"
    assert EMAIL not in app.sent()


def test_values_are_masked_wherever_content_stands(app: App) -> None:
    tool = {"type": "function", "function": {**TOOL, "description": f"Writes to {EMAIL}"}}
    made = app.chat([user("Get the weather")], "tools:get_weather", tools=[tool]).json()
    issued = made["choices"][0]["message"]["tool_calls"][0][
        "id"
    ]  # a result of any other call would be private, whatever is masked
    call = {"id": issued, "type": "function", "function": {"name": "get_weather", "arguments": json.dumps({"to": EMAIL})}}
    messages = [
        {"role": "system", "content": f"The customer is {EMAIL}."},
        user([{"type": "text", "text": f"Ask {EMAIL}"}, {"type": "text", "text": "please"}]),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": issued, "content": json.dumps({"from": EMAIL, "inner": json.dumps({"card": CARD})})},
        user("Go on"),
    ]
    answer = app.chat(messages, user=EMAIL, tools=[tool])
    assert answer.status_code == 200, answer.text
    body = app.stub.requests[-1].body
    assert EMAIL not in app.sent()
    assert CARD not in app.sent()
    assert json.loads(body["messages"][2]["tool_calls"][0]["function"]["arguments"]) == {"to": "[EMAIL_ADDRESS_1]"}
    assert json.loads(json.loads(body["messages"][3]["content"])["inner"]) == {"card": "[PAYMENT_CARD_1]"}
    assert body["user"] == "[EMAIL_ADDRESS_1]"


def test_what_cannot_be_masked_stays_and_is_decided_on(app: App) -> None:
    before = len(app.stub.requests)
    for said in (
        "card NDUzOTE0ODgwMzQzNjQ2Nw== in base64, and 4539148803436467",
        "My card is 4539 1488 0343 6467 and my IBAN GB33BUKB20201555555555",
    ):
        refused = app.chat([user(said)])
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "no_cleared_deployment"), said
    keyed = app.chat([user(f"{CARD}")], metadata={CARD: "yes"})
    assert keyed.status_code == 403
    assert len(app.stub.requests) == before


def test_a_placeholder_that_somebody_writes_stands_for_itself(app: App) -> None:
    said = f"{EMAIL} wrote: send it to [EMAIL_ADDRESS_1] and [EMAIL_ADDRESS_77]"
    answer = app.chat([user(said)], "echo:4", stream=True)
    assert app.stub.requests[-1].body["messages"][0]["content"] == (
        "[EMAIL_ADDRESS_1] wrote: send it to [TEXT_1] and [EMAIL_ADDRESS_77]"
    )
    assert streamed_text(answer) == said


def test_both_decisions_are_recorded_and_nothing_of_the_values(app: App) -> None:
    answer = app.chat([user(f"Please answer {EMAIL} about {CARD}")])
    app.service.settled()
    engine = create_engine(f"sqlite:///{app.service.data_dir / 'router.db'}")
    with engine.connect() as connection:
        rows = connection.execute(
            text("select record from evidence where request_id = :id"), {"id": answer.headers["x-request-id"]}
        )
        admitted = next(record for (raw,) in rows if (record := json.loads(raw))["type"] == "admitted")
    assert admitted["masking"]["decision"]["mask"] == ["email_address", "payment_card"]
    assert admitted["masking"]["masked"] == {"pii/email_address": 1, "pci/payment_card": 1}
    assert admitted["masking"]["facts"]["labels"]["confidentiality"] == "restricted"
    assert (admitted["facts"]["labels"]["confidentiality"], admitted["facts"]["masked"]) == ("public", True)
    assert admitted["decision"]["rule"] == "everything"
    assert admitted["findings"] == {"pii/email_address": 1, "pci/payment_card": 1}
    assert reproduces(app, admitted)
    for path in (path for path in app.service.data_dir.rglob("*") if path.is_file()):
        held = path.read_bytes()
        assert EMAIL.encode() not in held, path
        assert CARD.encode() not in held, path
    assert EMAIL not in app.service.log.read_text()


def test_tools_and_obligations_of_the_first_route_hold_too(tmp_path: Path) -> None:
    strict = MASKS.replace("set: standard, budget: test,", "set: none, budget: test, obligations: [no_store],")
    with serving() as stub:
        with running(tmp_path / "data", rules=rule_files([deployment("plain", stub.url)], routes=strict)) as service:
            app = App(service, stub, "strict")
            masked = app.chat([user(f"Write to {EMAIL}")], tools=[{"type": "function", "function": TOOL}])
            assert masked.status_code == 200, masked.text
            assert masked.headers["x-router-tools-withheld"] == "get_weather;not_in_set"
            assert "tools" not in stub.requests[-1].body
            assert stub.requests[-1].body["store"] is False
            plain = app.chat([user("Write to nobody")], tools=[{"type": "function", "function": TOOL}])
            assert "x-router-tools-withheld" not in plain.headers
            assert stub.requests[-1].body["tools"]
            insists = app.chat(
                [user(f"Write to {EMAIL}")], tools=[{"type": "function", "function": TOOL}], tool_choice="required"
            )
            assert (insists.status_code, insists.json()["error"]["code"]) == (403, "tool_not_entitled")


def test_a_refusal_after_masking_records_both_decisions_too(app: App) -> None:
    refused = app.chat([user(f"My card is {CARD} and my IBAN GB33BUKB20201555555555")])
    assert refused.status_code == 403
    told = recorded(app, refused, "refused")
    assert told["masking"]["masked"] == {"pci/payment_card": 1}
    assert told["code"] == told["decision"]["code"] == "no_cleared_deployment"
    assert told["facts"]["masked"]
    assert reproduces(app, told)


def test_later_turns_without_history_go_where_what_has_left_may_go(app: App) -> None:
    first = app.responses(f"Remember {CARD} of {EMAIL}")
    assert first.status_code == 200, first.text
    later = app.responses("Translate this for me: good morning", previous_response_id=first.json()["id"])
    assert later.status_code == 200, later.text
    assert later.headers["x-router-session"] == first.headers["x-router-session"]
    assert later.headers["x-router-sensitivity"] == "restricted"
    asked = app.responses("Repeat: [PAYMENT_CARD_1]", previous_response_id=first.json()["id"])
    assert app.stub.requests[-1].body["input"] == "Repeat: [TEXT_1]"
    assert asked.json()["output"][0]["content"][0]["text"] == "Repeat: [PAYMENT_CARD_1]"


def test_what_left_a_session_unmasked_counts_for_what_is_masked_later(app: App) -> None:
    masked = app.post("chat/completions", {"messages": [user(f"Card {CARD}")]}, x_session_id="floor")
    assert masked.status_code == 200, masked.text
    declared = app.post(
        "chat/completions", {"messages": [user("Translate: hello")]}, x_session_id="floor", x_router_label="confidential"
    )
    assert (declared.status_code, declared.json()["error"]["code"]) == (403, "no_cleared_deployment")
    again = app.post("chat/completions", {"messages": [user(f"Card {CARD}")]}, x_session_id="floor")
    assert again.status_code == 200, again.text


def test_texts_to_embed_are_masked(tmp_path: Path) -> None:
    with serving() as stub:
        embedder = deployment("embedder", stub.url, more="features: [embeddings]")
        with running(tmp_path / "data", rules=rule_files([embedder], routes=MASKS)) as service:
            key = service.key("embeds", "embeds@example.org", "--clearance", "restricted")
            body = {"model": "embedder", "input": [f"card {CARD}", EMAIL]}
            headers = {"authorization": f"Bearer {key}"}
            answer = httpx.post(f"{service.base_url}/v1/embeddings", json=body, headers=headers, timeout=30)
            assert answer.status_code == 200, answer.text
            assert stub.requests[-1].body["input"] == ["card [PAYMENT_CARD_1]", "[EMAIL_ADDRESS_1]"]


def test_parallel_requests_of_a_session_share_their_placeholders(app: App) -> None:
    app.stub.script("plain", "echo")

    def ask(turn: int) -> tuple[str, str]:
        said = f"Write to user{turn % 5}@northwind-trading.com, turn {turn}"
        answer = app.post("chat/completions", {"messages": [user(said)]}, x_session_id="parallel")
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"] == said
        return said, said

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(24)))
    sent = [
        received.body["messages"][0]["content"]
        for received in app.stub.requests
        if "turn" in received.text and "user" in received.text
    ]
    meant: dict[str, set[int]] = {}
    for said in sent:
        if said.startswith("Write to [EMAIL_ADDRESS_"):
            meant.setdefault(said.split()[2], set()).add(int(said.rsplit(" ", 1)[1]) % 5)
    assert len(meant) == 5
    assert all(len(users) == 1 for users in meant.values())


def recorded(app: App, answer: httpx.Response, kind: str) -> Json:
    """The evidence of a request, as SQL holds it."""
    app.service.settled()
    engine = create_engine(f"sqlite:///{app.service.data_dir / 'router.db'}")
    with engine.connect() as connection:
        rows = connection.execute(
            text("select record from evidence where request_id = :id"), {"id": answer.headers["x-request-id"]}
        )
        return next(record for (raw,) in rows if (record := json.loads(raw))["type"] == kind)


def reproduces(app: App, record: Json) -> bool:
    """Whether both decisions come out of their own recorded facts again, under the rules in force."""
    folder = app.service.data_dir.parent / "exported"
    app.service.cli("rules", "export", str(folder))
    rules = load(read_directory(folder))
    steps = [record["masking"], record]
    return all(
        decide(rules, msgspec.convert(step["facts"], Facts, strict=False)) == msgspec.convert(step["decision"], Permit | Refuse)
        for step in steps
    )


@pytest.mark.parametrize("size", [1, 5])
def test_the_official_client_puts_streams_together_as_if_nothing_had_been_masked(app: App, size: int) -> None:
    said = f"Translate: {EMAIL} and ({CARD}) and then ["
    app.stub.script("plain", f"echo:{size}")
    with OpenAI(base_url=f"{app.service.base_url}/v1", api_key=app.key, max_retries=0, timeout=30) as client:
        with client.chat.completions.stream(model="auto", messages=[{"role": "user", "content": said}]) as chat:
            assert chat.get_final_completion().choices[0].message.content == said
        with client.responses.stream(model="auto", input=said) as spoken:
            pieces = [event.delta for event in spoken if event.type == "response.output_text.delta"]
            assert "".join(pieces) == spoken.get_final_response().output_text == said
    assert EMAIL not in app.sent()
