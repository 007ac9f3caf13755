"""Files, vector stores and containers at a provider belong to the app that was given them, or for which they are registered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from running import Running, running
from stub_provider import StubProvider, serving
from tool_rules import Agent, answers, tool_rules

Body = dict[str, Any]
APPS = """apps:
  - {id: agent, owner: agent@example.org, clearance: restricted, ceiling: standard, purposes: [general]}
  - {id: other, owner: other@example.org, clearance: restricted, ceiling: standard, purposes: [general], provider_state: [file-known, vs_known]}
  - {id: alone, owner: alone@example.org, clearance: restricted, ceiling: standard, purposes: [general], provider_state: ["*"]}
"""


class World:
    def __init__(self, service: Running, stub: StubProvider) -> None:
        self.service, self.stub = service, stub
        self.keys = {app: service.key(app, f"{app}@example.org") for app in ("agent", "other", "alone")}

    def ask(self, app: str, path: str, body: Body) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.keys[app]}"}
        return httpx.post(f"{self.service.base_url}/v1/{path}", json={"model": "auto", **body}, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving() as stub:
        rules = {**tool_rules(stub), "apps.yaml": APPS}
        with running(tmp_path_factory.mktemp("state") / "data", rules=rules) as service:
            yield World(service, stub)


def said(*parts: Body) -> list[Body]:
    return [{"role": "user", "content": list(parts)}]


def named(file: str, store: str = "vs_strange") -> dict[str, tuple[str, Body]]:
    """Every place in which a request names state of a provider."""
    container: Body = {"type": "auto", "file_ids": [file]}
    ran = {
        "type": "code_interpreter_call",
        "id": "ci_1",
        "code": "1",
        "container_id": file,
        "outputs": None,
        "status": "completed",
    }
    document = {"type": "document", "source": {"type": "file", "file_id": file}}
    asked = {"role": "user", "content": "Go on."}
    return {
        "a file in a chat": ("chat/completions", {"messages": said({"type": "file", "file": {"file_id": file}})}),
        "a file in a response": ("responses", {"input": said({"type": "input_file", "file_id": file})}),
        "a picture in a response": ("responses", {"input": said({"type": "input_image", "file_id": file, "detail": "auto"})}),
        "a file in a message": ("messages", {"max_tokens": 64, "messages": said(document)}),
        "a store of vectors": (
            "responses",
            {"input": [asked], "tools": [{"type": "file_search", "vector_store_ids": [store]}]},
        ),
        "a container": ("responses", {"input": [asked], "tools": [{"type": "code_interpreter", "container": file}]}),
        "a file in a container": (
            "responses",
            {"input": [asked], "tools": [{"type": "code_interpreter", "container": container}]},
        ),
        "a container of an earlier call": ("responses", {"input": [asked, ran]}),
    }


@pytest.mark.parametrize("place", named(""))
def test_what_nobody_was_given_and_nobody_registered_is_refused_wherever_it_is_named(world: World, place: str) -> None:
    world.stub.script("m", "ok")
    path, body = named("file-strange")[place]
    refused = world.ask("agent", path, body)
    assert refused.status_code == 403, refused.text
    error = refused.json()["error"]
    assert error["code"] == "not_permitted_by_rule"
    assert "register it at `provider_state`" in error["message"]
    assert "strange" not in refused.text
    # Written with escapes it is the same.
    raw = json.dumps({"model": "auto", **body}).replace('"file_id', '"\\u0066ile_id').replace('"container', '"\\u0063ontainer')
    headers = {"authorization": f"Bearer {world.keys['agent']}", "content-type": "application/json"}
    again = httpx.post(f"{world.service.base_url}/v1/{path}", content=raw, headers=headers, timeout=60)
    assert again.status_code == 403, again.text
    assert world.ask("other", path, body).status_code == 403


@pytest.mark.parametrize("place", named(""))
def test_what_is_registered_for_an_app_may_be_named_by_it(world: World, place: str) -> None:
    world.stub.script("m", "ok")
    path, body = named("file-known", "vs_known")[place]
    for app in ("other", "alone"):
        answer = world.ask(app, path, body)
        assert answer.status_code == 200, answer.text
    assert world.ask("agent", path, body).status_code == 403


def test_a_container_that_an_answer_was_made_in_is_its_apps_and_carries_the_labels_of_its_session(world: World) -> None:
    agent = Agent(world.service, world.keys["agent"], world.stub, api="responses")
    agent.results(agent.ask("Look up the customer Ada.", ("lookup_customer", {"name": "Ada"})), {"plan": "gold"})
    answers(world.stub, text="done", api="responses")
    body = json.loads(world.stub.exact)
    ran = {"type": "code_interpreter_call", "id": "ci_2", "code": "1", "container_id": "cntr_made", "outputs": None}
    note = {"type": "container_file_citation", "container_id": "cntr_made", "file_id": "cfile_made", "filename": "a.csv"}
    body["output"][0]["content"][0]["annotations"] = [{**note, "start_index": 0, "end_index": 4}]
    body["output"].append({**ran, "status": "completed"})
    world.stub.exact = json.dumps(body).encode()
    given = world.ask("agent", "responses", {"input": agent.history})
    assert given.status_code == 200, given.text
    world.stub.script("m", "ok")
    for held in ("cntr_made", "cfile_made"):
        for place in ("a container of an earlier call", "a file in a response"):
            path, again = named(held)[place]
            answer = world.ask("agent", path, again)
            assert (answer.status_code, answer.headers["x-router-session"]) == (200, given.headers["x-router-session"]), (
                answer.text
            )
            assert answer.headers["x-router-sensitivity"] == "confidential"
            assert world.ask("other", path, again).status_code == 403


def test_fields_of_an_apps_own_making_name_no_state(world: World) -> None:
    world.stub.script("m", "ok")
    tool = {"type": "object", "properties": {"file_id": {"type": "string", "default": "file-strange", "file_id": "x"}}}
    body = {
        "messages": [{"role": "user", "content": 'What is "file_id": "file-strange"?'}],
        "metadata": {"file_id": "mine"},
        "tools": [{"type": "function", "function": {"name": "get_status", "parameters": tool}}],
    }
    assert world.ask("agent", "chat/completions", body).status_code == 200
