"""Whatever a provider does, the app gets a clear error or an answer from a cleared deployment, and the ledger one closed entry."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import openai
import pytest
from governed import deployment, rule_files
from inspecting import entries, held, private_redis
from running import Running, free_port, running, wait_for
from stub_provider import StubProvider, serving

BODY: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Translate: the train leaves at nine."}]}
LIMITS = "max_output_tokens: 64, request_seconds: 6, first_token_seconds: 1.5, inter_token_seconds: 1.5, connect_seconds: 1"


class Behind:
    def __init__(self, service: Running, stub: StubProvider) -> None:
        self.service = service
        self.stub = stub
        self.key = service.key()

    def post(self, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.post(self.service.base_url + "/v1/chat/completions", json={**BODY, **more}, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    with serving() as stub:
        rules = rule_files([deployment("m", stub.url)], limits=LIMITS)
        with running(tmp_path_factory.mktemp("one") / "data", rules=rules) as service:
            yield Behind(service, stub)


@pytest.fixture
def lone(behind: Behind) -> Iterator[Behind]:
    """One deployment, nothing to fall back to."""
    behind.stub.requests.clear()
    yield behind
    behind.service.settled()
    assert held(behind.service.data_dir) == {}
    assert all(entry["closed_at"] for entry in entries(behind.service.data_dir))


FAILURES = (
    ("status:400", 400, "invalid_request"),
    ("status:422", 400, "invalid_request"),
    ("status:429:20", 429, "rate_limit_exceeded"),
    ("status:500", 502, "upstream_error"),
    ("status:503", 502, "upstream_error"),
    ("status:401", 502, "upstream_error"),
    ("status:403", 502, "upstream_error"),
    ("hang", 504, "upstream_timeout"),
    ("garbage", 502, "upstream_error"),
    ("disconnect", 502, "upstream_error"),
)


# A stream that breaks off half-way has begun by then: see the next test.
@pytest.mark.parametrize(
    ("stream", "behaviour", "status", "code"),
    [(stream, *failure) for stream in (False, True) for failure in FAILURES] + [(False, "half", 502, "upstream_truncated")],
)
def test_each_failure_ends_in_its_row_of_the_table(lone: Behind, stream: bool, behaviour: str, status: int, code: str) -> None:
    # A second script entry would be a success: no failure may be hidden by one more try.
    lone.stub.script("m", behaviour)
    answer = lone.post(stream=stream)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    if behaviour == "status:429:20":
        assert int(answer.headers["retry-after"]) >= 19
    # What rests after a failure must not keep the next test from asking.
    forget_cool_downs(lone.service)


def forget_cool_downs(service: Running) -> None:
    with private_redis(service.data_dir) as redis:
        redis.delete("router:cooling")


@pytest.mark.parametrize("behaviour", ["half", "stall", "error_event"])
def test_a_stream_that_breaks_off_ends_with_an_error_event_and_not_as_if_it_were_whole(lone: Behind, behaviour: str) -> None:
    lone.stub.script("m", behaviour)
    client = openai.OpenAI(base_url=lone.service.base_url + "/v1", api_key=lone.key, max_retries=0)
    seen: list[object] = []
    stream = client.chat.completions.create(**BODY, stream=True)
    with pytest.raises(openai.APIError):
        seen.extend(stream)
    assert seen
    raw = lone.post(stream=True)
    assert b"[DONE]" not in raw.content
    assert b'"error"' in raw.content
    lone.service.settled()
    assert entries(lone.service.data_dir)[-1]["basis"] == "estimated"
    forget_cool_downs(lone.service)


@pytest.mark.parametrize("obligation", ["drain", "cancel"])
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_the_rule_says_whether_an_answer_goes_on_when_the_app_has_left(
    tmp_path_factory: pytest.TempPathFactory, obligation: str, stream: bool
) -> None:
    with serving() as stub:
        rules = rule_files([deployment("m", stub.url)], then=f"obligations: [{obligation}]")
        with running(tmp_path_factory.mktemp("left") / "data", rules=rules) as service:
            stub.script("m", "slow:0.1" if stream else "slow:1.5")
            body = json.dumps({**BODY, "stream": stream}).encode()
            with closing(socket.create_connection(("127.0.0.1", service.port))) as raw:
                head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {service.key()}\r\n"
                raw.sendall(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
                wait_for(lambda: stub.requests, what="the provider was asked")
                if stream:
                    assert raw.recv(100)
            wait_for(lambda: stub.requests[0].answered or stub.requests[0].cut, what="the provider is done")
            assert stub.requests[0].answered is (obligation == "drain")
            service.settled()
            (entry,) = entries(service.data_dir)
            assert entry["outcome"] == ("completed" if obligation == "drain" else "cancelled")
            assert entry["basis"] == ("reported" if obligation == "drain" else "estimated")
            assert entry["cost_nano"] > 0
            assert held(service.data_dir) == {}


def test_the_next_cleared_candidate_answers_and_an_uncleared_one_is_never_asked(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving() as stub:
        rules = rule_files(
            [
                deployment("broken", stub.url, clearance="confidential"),
                deployment("uncleared", stub.url, clearance="internal"),
                deployment("sound", stub.url, clearance="confidential"),
            ],
            limits=LIMITS,
        )
        with running(tmp_path_factory.mktemp("chain") / "data", rules=rules) as service:
            behind = Behind(service, stub)
            private = {"x-router-label": "confidential", "authorization": f"Bearer {behind.key}"}

            def ask() -> httpx.Response:
                return httpx.post(service.base_url + "/v1/chat/completions", json=BODY, headers=private, timeout=30)

            stub.script("broken", "status:500")
            answer = ask()
            assert (answer.status_code, answer.headers["x-router-model"]) == (200, "sound")
            stub.script("sound", "status:500")
            forget_cool_downs(service)
            assert ask().status_code == 502
            assert "uncleared" not in {received.model for received in stub.requests}


def test_a_chain_whose_only_sound_member_lacks_the_clearance_is_refused_and_it_is_sent_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with serving() as stub:
        rules = rule_files([deployment("sound", stub.url, clearance="internal")])
        with running(tmp_path_factory.mktemp("uncleared") / "data", rules=rules) as service:
            key = service.key()
            client = openai.OpenAI(
                base_url=service.base_url + "/v1", api_key=key, max_retries=2, default_headers={"x-router-label": "confidential"}
            )
            with pytest.raises(openai.PermissionDeniedError) as refused:
                client.chat.completions.create(**BODY)
            assert refused.value.code == "no_cleared_deployment"
            assert refused.value.response.headers["x-should-retry"] == "false"
            assert not stub.requests


def test_a_provider_that_is_not_there_is_an_upstream_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    rules = rule_files([deployment("m", f"http://127.0.0.1:{free_port()}/v1")], limits=LIMITS)
    with serving() as stub, running(tmp_path_factory.mktemp("absent") / "data", rules=rules) as service:
        answer = Behind(service, stub).post()
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")
        service.settled()
        assert entries(service.data_dir)[0]["cost_nano"] == 0
