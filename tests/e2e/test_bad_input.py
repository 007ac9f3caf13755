"""Bad input ends in a clear 4xx that names the field, over real HTTP, and repeats nothing of what was sent."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from running import Running, running

USER = {"role": "user", "content": "Translate: hello."}
CHAT: dict[str, Any] = {"model": "auto", "messages": [USER]}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("input") / "data") as started:
        yield started


@pytest.fixture(scope="module")
def key(service: Running) -> str:
    return service.key()


def send(service: Running, key: str, raw: bytes, path: str = "chat/completions", **headers: str) -> httpx.Response:
    told = {"authorization": f"Bearer {key}", "content-type": "application/json", **headers}
    return httpx.post(f"{service.base_url}/v1/{path}", content=raw, headers=told, timeout=30)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"not json", "invalid_request", None),
        (b"", "invalid_request", None),
        (b"[1, 2]", "invalid_request", None),
        (b'{"model": "auto", "messages": [{"role": "user", "content": "\xff\xfe"}]}', "invalid_request", None),
        (b'{"model": "auto", "messages": ' + b"[" * 100_000, "invalid_request", None),
        ({**CHAT, "metadata": json.loads("[" * 400 + "]" * 400)}, "invalid_request", None),
        ({**CHAT, "temperature": "warm"}, "invalid_request", "temperature"),
        ({**CHAT, "messages": "hello"}, "invalid_request", "messages"),
        ({**CHAT, "messages": []}, "invalid_request", "messages"),
        ({**CHAT, "messages": [{"role": "wizard", "content": "x"}]}, "invalid_request", "messages[0].role"),
        ({**CHAT, "messages": [USER] * 10_000}, "invalid_request", "messages"),
        ({**CHAT, "max_tokens": -1}, "invalid_request", "max_tokens"),
        ({**CHAT, "n": 0}, "invalid_request", "n"),
        ({**CHAT, "no_such_field": 1}, "unknown_parameter", "no_such_field"),
        ({**CHAT, "tool_choice": "required"}, "invalid_request", "tool_choice"),
        ({**CHAT, "tools": [TOOL], "tool_choice": "auto", "functions": [TOOL["function"]], "function_call": "none"}, None, None),
        ({**CHAT, "max_tokens": 10, "max_completion_tokens": 20}, "invalid_request", None),
        ({"messages": [USER]}, "invalid_request", "model"),
    ],
    ids=lambda value: None,
)
def test_a_bad_body_is_a_400_that_names_the_field(
    service: Running, key: str, body: Any, code: str | None, param: str | None
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = send(service, key, raw)
    error = answer.json()["error"]
    assert answer.status_code == 400, answer.text
    assert set(error) == {"message", "type", "param", "code"}
    if code is not None:
        assert error["code"] == code
    if param is not None:
        assert error["param"] == param
    assert answer.headers["x-should-retry"] == "false"
    assert len(error["message"]) < 600


def test_a_body_of_20_megabytes_is_a_413(service: Running, key: str) -> None:
    answer = send(service, key, json.dumps({**CHAT, "messages": [{"role": "user", "content": "a" * 20_000_000}]}).encode())
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-session-id", "has spaces"),
        ("x-session-id", "a" * 129),
        ("x-session-id", "semi;colon"),
        ("x-router-purpose", "no such purpose"),
        ("x-stainless-retry-count", "many"),
    ],
)
def test_a_bad_header_is_named(service: Running, key: str, name: str, value: str) -> None:
    answer = send(service, key, json.dumps(CHAT).encode(), **{name: value})
    assert answer.status_code in (400, 403), answer.text
    assert answer.json()["error"]["param"] == name
    assert value not in answer.text


def test_a_misspelt_header_of_ours_is_refused_with_the_nearest_one(service: Running, key: str) -> None:
    answer = send(service, key, json.dumps(CHAT).encode(), **{"x-router-lable": "internal"})
    assert answer.status_code == 400
    assert "`x-router-label`" in answer.json()["error"]["message"]


def test_a_header_cannot_be_smuggled_into_the_answer(service: Running, key: str) -> None:
    body = json.dumps(CHAT).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nx-session-id: a\x0bset-cookie: b=c\r\n"
    )
    with closing(socket.create_connection(("127.0.0.1", service.port))) as raw:
        raw.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer = raw.recv(65_536)
    assert answer.split(b" ", 2)[1] == b"400"
    assert b"set-cookie" not in answer.lower()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/v1/completions", 404, "unknown_path"),
        ("POST", "/v1/audio/speech", 404, "unknown_path"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/nowhere", 404, "unknown_path"),
    ],
)
def test_other_paths_and_methods_have_openais_error_shape(
    service: Running, key: str, method: str, path: str, status: int, code: str
) -> None:
    answer = httpx.request(method, service.base_url + path, headers={"authorization": f"Bearer {key}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("responses", {"model": "auto", "input": 5}),
        ("responses", {"model": "auto", "input": [], "tools": [{"type": "function"}]}),
        ("responses", {"model": "auto", "input": "x", "conversation": "conv_1"}),
        ("embeddings", {"model": "sim-embed", "input": []}),
        ("embeddings", {"model": "sim-embed", "input": {"text": "x"}}),
        ("embeddings", {"model": "sim-embed", "input": "x", "dimensions": "many"}),
    ],
)
def test_the_other_endpoints_are_as_strict(service: Running, key: str, path: str, body: Any) -> None:
    answer = send(service, key, json.dumps(body).encode(), path)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"]


def test_without_a_key_nothing_is_read(service: Running) -> None:
    answer = httpx.post(service.base_url + "/v1/chat/completions", content=b"not json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses/resp_1/cancel", "/v1/models"])
@pytest.mark.parametrize("name", ["authorization", "x-router-label", "x-session-id"])
def test_who_asks_and_for_what_is_said_once(service: Running, key: str, path: str, name: str) -> None:
    values = {"authorization": f"Bearer {key}", "x-router-label": "restricted", "x-session-id": "one"}
    told = [("authorization", values["authorization"]), (name, values[name]), (name, "public")]
    answer = httpx.request(
        "GET" if path.endswith("models") else "POST", service.base_url + path, content=json.dumps(CHAT), headers=told
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("the header")
