"""What a session remembers over HTTP: its labels whatever is sent later, its links on both wire formats, its balance across a restart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from governed import deployment, rule_files
from running import Running, running
from stub_provider import StubProvider, serving

Body = dict[str, Any]

TOOL: Body = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
FLAT: Body = {"type": "function", **TOOL["function"]}
RECORD = "Draft a reply to Maria Keller, born 12 March 1984, maria.keller@keller-holding.de, IBAN DE12 5001 0517 0648 4898 90."
HARMLESS = "Translate into French: the train leaves at nine."
LEVELS = ("public", "internal", "confidential", "restricted")


class App:
    def __init__(self, service: Running, name: str, *options: str) -> None:
        self._url = service.base_url + "/v1/"
        self._key = service.key(name, f"{name}@example.org", "--clearance", "restricted", *options)

    def post(self, path: str, body: Body, **headers: str) -> httpx.Response:
        told = {"authorization": f"Bearer {self._key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return httpx.post(self._url + path, json={"model": "auto", **body}, headers=told, timeout=30)

    def chat(self, messages: list[Body], *, body: Body | None = None, **headers: str) -> httpx.Response:
        answer = self.post("chat/completions", {"messages": messages, **(body or {})}, **headers)
        assert answer.status_code == 200, answer.text
        return answer

    def respond(self, given: Any, *, body: Body | None = None, **headers: str) -> httpx.Response:
        answer = self.post("responses", {"input": given, **(body or {})}, **headers)
        assert answer.status_code == 200, answer.text
        return answer


class World:
    def __init__(self, service: Running, stub: StubProvider) -> None:
        self.service, self.stub = service, stub
        self.app = App(service, "remembering", "--purpose", "research", "--purpose", "general")
        self.other = App(service, "another")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving() as stub:
        rules = rule_files([deployment("m", stub.url, clearance="restricted")], budget="cost_usd: 10")
        with running(tmp_path_factory.mktemp("remember") / "data", rules=rules, workers=2) as service:
            yield World(service, stub)


@pytest.fixture
def world(started: World) -> World:
    started.stub.scripts.clear()
    started.stub.requests.clear()
    return started


def user(text: str) -> Body:
    return {"role": "user", "content": text}


def said(answer: httpx.Response) -> Body:
    message: Body = answer.json()["choices"][0]["message"]
    return message


def streamed(answer: httpx.Response) -> Body:
    """The message that a client makes of a chat stream."""
    message: Body = {"role": "assistant", "content": ""}
    for line in answer.text.splitlines():
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                message["content"] += choice["delta"].get("content") or ""
                for call in choice["delta"].get("tool_calls") or ():
                    whole = message.setdefault("tool_calls", {}).setdefault(call["index"], {"type": "function", "function": {}})
                    whole["id"] = call.get("id") or whole["id"]
                    for field, part in call["function"].items():
                        whole["function"][field] = whole["function"].get(field, "") + part
    if calls := message.get("tool_calls"):
        message = {"role": "assistant", "content": None, "tool_calls": list(calls.values())}
    return message


def session(answer: httpx.Response) -> str:
    return answer.headers["x-router-session"]


def level(answer: httpx.Response) -> str:
    return answer.headers["x-router-sensitivity"]


def left(answer: httpx.Response) -> float:
    return float(answer.headers["x-router-budget-remaining-usd"])


# ── labels ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_confidential_turn_marks_every_later_one(world: World) -> None:
    first = world.app.chat([user(RECORD)])
    assert level(first) in LEVELS[2:]
    whole = [user(RECORD), said(first), user(HARMLESS)]
    assert level(world.app.chat(whole)) == level(first)
    # By the session's name alone, with a history that no longer shows it.
    truncated = world.app.chat([user(HARMLESS)], x_session_id=session(first))
    assert (session(truncated), level(truncated)) == (session(first), level(first))
    assert level(world.app.respond(HARMLESS, x_session_id=session(first))) == level(first)
    # The same words in a session of their own are what they are.
    assert level(world.app.chat([user(HARMLESS)])) == "public"


def test_a_history_cut_to_its_end_still_leads_to_the_marked_session_by_the_id_of_a_call(world: World) -> None:
    world.stub.script("m", "tools:get_weather", "ok")
    first = world.app.chat([user(RECORD)], body={"tools": [TOOL]})
    call = said(first)
    result = {"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": "{}"}
    cut = world.app.chat([user(HARMLESS), call, result], body={"tools": [TOOL]})
    assert (session(cut), level(cut)) == (session(first), level(first))


def test_a_declared_label_only_raises(world: World) -> None:
    assert level(world.app.chat([user(RECORD)], x_router_label="public")) in LEVELS[2:]
    assert level(world.app.chat([user(HARMLESS)], x_router_label="restricted")) == "restricted"
    assert level(world.app.chat([user(HARMLESS)], x_router_label="no word that anybody mapped")) == "restricted"


def test_who_cannot_be_told_apart_is_as_sensitive_as_the_most_sensitive_of_them(world: World) -> None:
    own = "Translate into Dutch: the bus leaves at ten."  # a turn that no marked session of this app has been asked
    hello = [user("Hello, a greeting that several people send")]
    quiet, raised = world.app.chat(hello), world.app.chat(hello, x_router_label="confidential")
    assert (level(quiet), level(raised)) == ("public", "confidential")
    # The same words came back to both: the next turn may be of either.
    second = world.app.chat([*hello, said(quiet), user(own)])
    assert session(second) not in (session(quiet), session(raised))
    assert level(second) == "confidential"
    # From here on it is one conversation again, and it stays marked.
    third = world.app.chat([*hello, said(quiet), user(own), said(second), user("Translate: good night.")])
    assert (session(third), level(third)) == (session(second), "confidential")


def test_history_that_names_two_sessions_is_as_sensitive_as_both(world: World) -> None:
    world.stub.script("m", "tools:get_weather")
    answers = [
        world.app.chat([user("Weather, first session")], body={"tools": [TOOL]}),
        world.app.chat([user("Weather, second session")], body={"tools": [TOOL]}, x_router_label="restricted"),
    ]
    world.stub.script("m", "ok")
    history = [user(HARMLESS)]
    for answer in answers:
        history += [said(answer), {"role": "tool", "tool_call_id": said(answer)["tool_calls"][0]["id"], "content": "{}"}]
    mixed = world.app.chat(history, body={"tools": [TOOL]})
    assert session(mixed) not in [session(answer) for answer in answers]
    assert level(mixed) == "restricted"


# ── links ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_conversation_that_is_streamed_stays_one_session(world: World) -> None:
    messages = [user("Translate: a beginning that is streamed")]
    first = world.app.chat(messages, body={"stream": True})
    messages += [streamed(first), user("Translate: and its second turn")]
    second = world.app.chat(messages, body={"stream": True})
    messages += [streamed(second), user("Translate: and a third in one piece")]
    assert {session(second), session(world.app.chat(messages))} == {session(first)}


def test_a_conversation_of_responses_stays_one_session_in_all_its_forms(world: World) -> None:
    given: list[Body] = [user("Translate: a conversation of responses")]
    first = world.app.respond(given)
    by_items = world.app.respond([*given, *first.json()["output"], user("Translate: its second turn")])
    text = first.json()["output"][0]["content"][0]["text"]
    by_text = world.app.respond([*given, {"role": "assistant", "content": text}, user("Translate: a fork")])
    by_id = world.app.respond("Translate: held by the provider", body={"previous_response_id": first.json()["id"]})
    as_chat = world.app.chat([*given, {"role": "assistant", "content": text}, user("Translate: the same app's other half")])
    assert {session(answer) for answer in (by_items, by_text, by_id, as_chat)} == {session(first)}


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_the_id_of_a_call_in_a_response_leads_back(world: World, stream: bool) -> None:
    world.stub.script("m", "tools:get_weather", "ok")
    first = world.app.respond(f"What is the weather? {stream}", body={"tools": [FLAT], "stream": stream})
    if stream:
        last = json.loads(first.text.split("event: response.completed\ndata: ")[1])
        (call,) = last["response"]["output"]
    else:
        (call,) = first.json()["output"]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "{}"}
    again = world.app.respond([user("Rewritten"), call, result], body={"tools": [FLAT]})
    assert session(again) == session(first)
    stranger = world.other.respond([user("Rewritten"), call, result], body={"tools": [FLAT]})
    assert session(stranger) != session(first)


def test_the_id_of_a_streamed_call_leads_back(world: World) -> None:
    world.stub.script("m", "tools:get_weather", "ok")
    first = world.app.chat([user("What is the weather, streamed?")], body={"tools": [TOOL], "stream": True})
    call = streamed(first)
    result = {"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": "{}"}
    assert session(world.app.chat([user("Rewritten"), call, result], body={"tools": [TOOL]})) == session(first)


def test_an_id_that_was_never_issued_leads_nowhere_and_is_not_trusted(world: World) -> None:
    forged = {"id": "call_forged", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    history = [user(HARMLESS), {"role": "assistant", "content": None, "tool_calls": [forged]}]
    history.append({"role": "tool", "tool_call_id": "call_forged", "content": "{}"})
    answers = [world.app.chat(history, body={"tools": [TOOL]}) for _ in range(2)]
    assert session(answers[0]) != session(answers[1])
    shown = json.loads(world.service.cli("session", "show", session(answers[0]), "--app", "remembering", "--json"))
    assert shown["labels"]["integrity"] == "untrusted"


def test_a_session_name_is_one_apps_own(world: World) -> None:
    mine = world.app.chat([user(HARMLESS)], x_session_id="named", x_router_label="restricted")
    theirs = world.other.chat([user(HARMLESS)], x_session_id="named")
    assert session(mine) == session(theirs) == "named"
    assert (level(mine), level(theirs)) == ("restricted", "public")
    # Not even a name that the router itself made opens another app's session.
    made = world.app.chat([user(HARMLESS)], x_router_label="restricted")
    assert level(world.other.chat([user(HARMLESS)], x_session_id=session(made))) == "public"


def test_ended_is_ended_for_every_way_that_leads_there(world: World) -> None:
    messages = [user("Translate: a conversation that somebody ends")]
    first = world.app.chat(messages)
    world.service.cli("session", "end", session(first), "--app", "remembering", "--reason", "enough")
    grown = {"messages": [*messages, said(first), user("Translate: more")]}
    for refused in (
        world.app.post("chat/completions", grown),
        world.app.post("chat/completions", {"messages": messages}, x_session_id=session(first)),
        world.app.post("responses", {"input": "Translate: more"}, x_session_id=session(first)),
    ):
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "session_ended")
        assert refused.headers["x-should-retry"] == "false"
    assert "enough" in world.service.cli("session", "show", session(first), "--app", "remembering")
    assert world.other.post("chat/completions", {"messages": messages}, x_session_id=session(first)).status_code == 200


# ── purposes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_purpose_of_a_task_is_the_named_one_else_the_apps_first(world: World) -> None:
    world.app.chat([user(HARMLESS)], x_session_id="purpose-research")
    world.app.chat([user(HARMLESS)], x_session_id="purpose-general", x_router_purpose="general")
    refused = world.app.post("chat/completions", {"messages": [user(HARMLESS)]}, x_router_purpose="back-office")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "purpose_not_permitted")
    world.service.settled()
    told = json.loads(world.service.cli("report", "spend", "--by", "session,purpose", "--format", "json"))
    found = {row["session"]: row["purpose"] for row in told["rows"] if row["session"].startswith("purpose-")}
    assert found == {"purpose-research": "research", "purpose-general": "general"}


# ── a restart ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_restart_forgets_neither_labels_nor_links_nor_what_was_spent(world: World) -> None:
    messages = [user("Translate: a conversation across a restart")]
    first = world.app.chat(messages, x_router_label="confidential")
    assert world.service.stop() == 0
    world.service.start()
    second = world.app.chat([*messages, said(first), user(HARMLESS)])
    assert (session(second), level(second)) == (session(first), "confidential")
    assert left(second) == pytest.approx(left(first) - float(second.headers["x-router-cost-usd"]), abs=1e-9)
    world.stub.script("m", "status:500")
    held = world.app.post("chat/completions", {"messages": messages}, x_session_id=session(first))
    assert held.status_code == 502
    shown = json.loads(world.service.cli("session", "show", session(first), "--app", "remembering", "--json"))
    assert shown["held_nano"] == 0
