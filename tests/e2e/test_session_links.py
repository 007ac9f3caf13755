"""Which requests share a session, as an app sees it: issued ids, the header, or the conversation so far."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from governed import deployment, rule_files
from running import Running, running
from stub_provider import StubProvider, serving

Messages = list[dict[str, Any]]
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}


class App:
    def __init__(self, service: Running, name: str) -> None:
        self.service = service
        self.key = service.key(name, f"{name}@example.org", "--clearance", "restricted")

    def ask(self, messages: Messages, *, session: str | None = None, label: str | None = None, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.key}"}
        headers |= {name: value for name, value in (("x-session-id", session), ("x-router-label", label)) if value}
        body = {"model": "auto", "messages": messages, **more}
        answer = httpx.post(self.service.base_url + "/v1/chat/completions", json=body, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer


class World:
    def __init__(self, service: Running, stub: StubProvider) -> None:
        self.service, self.stub = service, stub
        self.app, self.other = App(service, "linked"), App(service, "other")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving() as stub:
        rules = rule_files([deployment("m", stub.url, clearance="restricted")])
        with running(tmp_path_factory.mktemp("links") / "data", rules=rules, workers=2) as service:
            yield World(service, stub)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def session_of(answer: httpx.Response) -> str:
    return answer.headers["x-router-session"]


def said(answer: httpx.Response) -> dict[str, Any]:
    message: dict[str, Any] = answer.json()["choices"][0]["message"]
    return message


def test_two_users_who_both_say_hello_share_no_session_nor_at_their_second_turn(world: World) -> None:
    hello = [user("Hello, this is a test of greetings")]
    ann, bob = world.app.ask(hello), world.app.ask(hello)
    assert session_of(ann) != session_of(bob)
    assert said(ann) == said(bob)
    ann2 = world.app.ask([*hello, said(ann), user("And now the weather")])
    bob2 = world.app.ask([*hello, said(bob), user("And now the weather")])
    assert len({session_of(answer) for answer in (ann, bob, ann2, bob2)}) == 4


def test_a_growing_conversation_stays_one_session_and_its_forks_belong_to_it(world: World) -> None:
    messages = [user("Translate: a unique beginning of one conversation")]
    first = world.app.ask(messages)
    messages += [said(first), user("Translate: the second turn")]
    second = world.app.ask(messages)
    third = world.app.ask([*messages, said(second), user("Translate: the third turn")])
    fork = world.app.ask([*messages[:2], user("Translate: another second turn")])
    assert {session_of(answer) for answer in (first, second, third, fork)} == {session_of(first)}
    streamed = world.app.ask([*messages, said(second), user("Translate: streamed")], stream=True)
    assert session_of(streamed) == session_of(first)


def test_the_same_conversation_of_another_app_or_end_user_is_another_session(world: World) -> None:
    messages = [user("Translate: a beginning that two apps share")]
    first = world.app.ask(messages)
    more = [*messages, said(first), user("Translate: go on")]
    assert session_of(world.app.ask(more)) == session_of(first)
    assert session_of(world.other.ask(more)) != session_of(first)
    assert session_of(world.app.ask(more, safety_identifier="somebody-else")) != session_of(first)


def test_an_issued_tool_call_id_leads_back_whatever_became_of_the_history(world: World) -> None:
    world.stub.script("m", "tools:get_weather", "ok")
    first = world.app.ask([user("What is the weather like?")], tools=[TOOL])
    call = said(first)["tool_calls"][0]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "{}"}
    echoed = {"role": "assistant", "content": None, "tool_calls": [call]}
    again = world.app.ask([user("A history that was rewritten"), echoed, result], tools=[TOOL])
    assert session_of(again) == session_of(first)
    assert session_of(world.other.ask([user("A history that was rewritten"), echoed, result], tools=[TOOL])) != session_of(first)


def test_a_session_header_is_the_apps_own(world: World) -> None:
    mine = world.app.ask([user("Translate: one")], session="shared-name")
    assert session_of(mine) == "shared-name"
    left = mine.headers["x-router-budget-remaining-usd"]
    theirs = world.other.ask([user("Translate: one")], session="shared-name")
    assert theirs.headers["x-router-budget-remaining-usd"] == left  # another session under the same name: nothing is spent in it
    again = world.app.ask([user("Translate: two")], session=session_of(mine))
    assert float(again.headers["x-router-budget-remaining-usd"]) < float(left)


def test_what_a_session_has_once_carried_it_carries_to_its_end(world: World) -> None:
    first = world.app.ask([user("Translate: good day")], session="labelled")
    assert first.headers["x-router-sensitivity"] == "public"
    raised = world.app.ask([user("Translate: good day")], session="labelled", label="confidential")
    assert raised.headers["x-router-sensitivity"] == "confidential"
    later = world.app.ask([user("Translate: good day")], session="labelled")
    assert later.headers["x-router-sensitivity"] == "confidential"
    # A truncated history, or a new header for an old conversation, does not wash it clean.
    linked = world.app.ask([user("Translate: a private beginning")], label="restricted")
    grown = world.app.ask([user("Translate: a private beginning"), said(linked), user("Translate: harmless")])
    assert session_of(grown) == session_of(linked)
    assert grown.headers["x-router-sensitivity"] == "restricted"
