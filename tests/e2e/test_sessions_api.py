"""A session as people see it, what is under way in it, and the end of either, over HTTP and on two workers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from governed import deployment, rule_files
from governing import api, token
from running import Running, running, wait_for
from stub_provider import StubProvider, serving

TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
NOBODYS = {"type": "function", "function": {"name": "drop_database", "parameters": {"type": "object"}}}
SAID = "Translate into French: the train leaves at nine."


class World:
    def __init__(self, service: Running, stub: StubProvider) -> None:
        self.service, self.stub = service, stub
        self.key = service.key("desk", "desk@example.org", "--clearance", "restricted")
        self.viewer = token(service, "vic@example.org", "viewer")
        self.approver = token(service, "eve@example.org", "approver")

    def chat(self, session: str, said: str = SAID, **body: Any) -> httpx.Response:
        told = {"model": "auto", "messages": [{"role": "user", "content": said}], **body}
        return httpx.post(self.service.base_url + "/v1/chat/completions", json=told, headers=self.headers(session), timeout=60)

    def headers(self, session: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}", "x-session-id": session}

    def show(self, session: str, query: str = "") -> dict[str, Any]:
        shown: dict[str, Any] = api(self.service, "GET", f"/api/sessions/{session}{query}", self.viewer).json()
        return shown

    def until_shown(self, session: str, what: str) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            shown = self.show(session, "?app=desk")
            return shown if what in [event["what"] for event in shown.get("timeline", ())] else None

        shown: dict[str, Any] = wait_for(there, 20, what)
        return shown

    def reading(self, session: str, said: str) -> tuple[threading.Thread, dict[str, Any]]:
        """A stream that is read in a thread: its lines so far, and how it ended."""
        got: dict[str, Any] = {"lines": [], "status": None, "error": None}
        body = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": said}]}

        def read() -> None:
            url = self.service.base_url + "/v1/chat/completions"
            try:
                with httpx.stream("POST", url, json=body, headers=self.headers(session), timeout=60) as answer:
                    got["status"] = answer.status_code
                    for line in answer.iter_lines():
                        got["lines"].append(line)
            except httpx.HTTPError as error:
                got["error"] = type(error).__name__
            got["ended"] = time.monotonic()

        thread = threading.Thread(target=read)
        thread.start()
        return thread, got

    def asking(self, session: str, said: str) -> tuple[threading.Thread, list[httpx.Response]]:
        got: list[httpx.Response] = []
        thread = threading.Thread(target=lambda: got.append(self.chat(session, said)))
        thread.start()
        return thread, got

    def running(self, session: str, ready: Callable[[dict[str, Any]], object] = bool) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            found = api(self.service, "GET", "/api/running?app=desk", self.viewer).json()["data"]
            return next((one for one in found if one["session"] == session and ready(one)), None)

        found: dict[str, Any] = wait_for(there, 20, "an answer under way")
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving() as stub:
        rules = rule_files([deployment("m", stub.url, clearance="restricted")], budget="cost_usd: 10")
        with running(tmp_path_factory.mktemp("sessions") / "data", rules=rules, workers=2) as service:
            yield World(service, stub)


def test_a_session_is_told_from_its_first_ask_to_its_last_cost(world: World) -> None:
    world.chat("told", tools=[TOOL, NOBODYS])
    world.chat("told", "Draft a reply to Maria Keller, maria.keller@keller-holding.de, IBAN DE12 5001 0517 0648 4898 90.")
    wait_for(lambda: len([e for e in world.show("told").get("timeline", ()) if e["what"] == "outcome"]) == 2, 20, "two outcomes")
    shown = world.show("told")
    assert (shown["app"], shown["requests"], shown["ended"], shown["running"]) == ("desk", 2, None, [])
    assert shown["labels"]["confidentiality"] in ("confidential", "restricted")
    assert shown["spent_nano"] > 0
    assert shown["budget"]["left"] == {"cost_nano": 10_000_000_000 - shown["spent_nano"]}
    what = [event["what"] for event in shown["timeline"]]
    assert what[:3] == ["ask", "decision", "grant"]
    assert what.count("labels") == 1
    ask = next(event["told"] for event in shown["timeline"] if event["what"] == "ask")
    assert (ask["task"], ask["tools"], ask["purpose"]) == ("translation", ["get_weather", "drop_database"], "general")
    grant = next(event["told"] for event in shown["timeline"] if event["what"] == "grant")
    assert grant == {"granted": ["get_weather"], "withheld": [{"name": "drop_database", "reason": "over_ceiling"}]}
    outcome = next(event["told"] for event in shown["timeline"] if event["what"] == "outcome")
    assert outcome["outcome"] == "completed"
    assert outcome["cost_nano"] > 0
    for said in ("Maria", "keller", "train leaves"):
        assert said not in json.dumps(shown)
    assert [event["at"] for event in shown["timeline"]] == sorted(event["at"] for event in shown["timeline"])


def test_the_command_line_tells_the_same(world: World) -> None:
    world.chat("same")
    world.until_shown("same", "outcome")
    told = json.loads(world.service.cli("session", "show", "same", "--json"))
    assert told == world.show("same")
    text = world.service.cli("session", "show", "same")
    assert "completed" in text
    assert world.service.cli("session", "show", "nobody", check=False) == ""


def test_what_nobody_has_is_not_found_and_what_two_have_is_asked_for_by_app(world: World) -> None:
    assert world.show("nothing-of-the-kind")["error"]["code"] == "not_found"
    assert world.show("told", "?app=another")["error"]["code"] == "not_found"
    assert world.show("told", "?limit=0")["error"]["param"] == "limit"
    other = world.service.key("shop", "shop@example.org")
    world.chat("shared")
    body = {"model": "auto", "messages": [{"role": "user", "content": SAID}]}
    headers = {"authorization": f"Bearer {other}", "x-session-id": "shared"}
    httpx.post(world.service.base_url + "/v1/chat/completions", json=body, headers=headers, timeout=30)
    wait_for(lambda: world.show("shared").get("error", {}).get("param") == "app", 20, "two apps with one name")
    assert world.show("shared", "?app=shop")["app"] == "shop"


def test_an_answer_under_way_shows_how_far_it_is(world: World) -> None:
    thread, got = world.reading("visible", "[[stub:slow:0.4]] " + SAID)
    one = world.running("visible", lambda one: one["progress"] and (one["progress"]["output_tokens"] or 0) > 0)
    assert one["deployment"] == "m"
    assert one["elapsed_seconds"] > 0
    assert 0 < one["seconds_left"]
    assert one["progress"]["answering"] is True
    assert one["progress"]["limits_left"]["output_tokens"] < one["most_output_tokens"]
    assert one["progress"]["limits_left"]["seconds"] < 60
    assert world.show("visible", "?app=desk")["running"][0]["request_id"] == one["request_id"]
    assert one["request_id"] in world.service.cli("session", "running")
    thread.join()
    assert got["lines"][-2:] == ["data: [DONE]", ""] or "data: [DONE]" in got["lines"]
    wait_for(lambda: not world.show("visible", "?app=desk")["running"], 10, "the end of the answer")


def test_the_end_of_a_session_cuts_its_stream_denies_the_next_and_leaves_the_others(world: World) -> None:
    thread, got = world.reading("cut", "[[stub:slow:1]] " + SAID)
    other, others = world.reading("spared", "[[stub:slow:0.3]] " + SAID)
    wait_for(lambda: got["lines"], 20, "the first chunk")
    began = time.monotonic()
    ended = api(world.service, "POST", "/api/sessions/cut/end?app=desk", world.approver, {"reason": "it went astray"})
    assert ended.json() == {"id": "cut", "app": "desk", "ended": "it went astray"}
    thread.join(20)
    assert got["ended"] - began < 3
    last = json.loads([line for line in got["lines"] if line.startswith("data: ")][-1].removeprefix("data: "))
    assert last["error"]["code"] == "session_ended"
    assert "data: [DONE]" not in got["lines"]
    refused = world.chat("cut")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "session_ended")
    other.join(30)
    assert "data: [DONE]" in others["lines"]
    shown = world.until_shown("cut", "outcome")
    outcome = next(event["told"] for event in shown["timeline"] if event["what"] == "outcome")
    assert (outcome["outcome"], outcome["code"]) == ("cancelled", "session_ended")
    assert outcome["cost_nano"] > 0
    assert [event["told"] for event in shown["timeline"] if event["what"] == "ended"] == [
        {"by": "eve@example.org", "why": "it went astray"}
    ]


def test_one_answer_is_ended_and_its_session_goes_on(world: World) -> None:
    thread, got = world.asking("goes-on", "[[stub:hang]] " + SAID)
    one = world.running("goes-on")
    assert one["progress"] is None or one["progress"]["output_tokens"] is None
    ended = api(world.service, "POST", f"/api/running/{one['request_id']}/end", world.approver, {"reason": "too long"})
    assert ended.json()["session"] == "goes-on"
    thread.join(20)
    assert (got[0].status_code, got[0].json()["error"]["code"]) == (403, "inference_ended")
    assert got[0].headers["x-request-id"] == one["request_id"]
    assert got[0].headers["x-should-retry"] == "false"
    assert world.chat("goes-on").status_code == 200
    gone = api(world.service, "POST", f"/api/running/{one['request_id']}/end", world.approver)
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "not_found")


def test_every_answer_of_an_ended_session_is_cut_on_every_worker(world: World) -> None:
    asked = [world.asking("many", f"[[stub:hang]] {SAID} {n}") for n in range(6)]
    wait_for(lambda: len(world.show("many", "?app=desk").get("running", ())) == 6, 20, "six answers under way")
    world.service.cli("session", "end", "many", "--reason", "enough")
    for thread, _ in asked:
        thread.join(20)
    assert {got[0].json()["error"]["code"] for _, got in asked} == {"session_ended"}
    assert world.show("many", "?app=desk")["held_nano"] == 0
