"""Streams whose app has left are read on as far as the rule says, so that what their provider tells is booked; else what was seen counts."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from governed import deployment, rule_files
from inspecting import entries, held
from running import Running, running, wait_for
from stub_provider import StubProvider, serving

ASK: dict[str, Any] = {
    "model": "auto",
    "stream": True,
    "messages": [{"role": "user", "content": "Translate: the train leaves at nine."}],
}
NO_LIMIT = "drain_seconds: 50, drain_output_tokens: 4000"


def left(service: Running, stub: StubProvider) -> dict[str, Any]:
    """The ledger entry of a stream of which the app read the beginning and then left."""
    body = json.dumps(ASK).encode()
    with closing(socket.create_connection(("127.0.0.1", service.port))) as raw:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {service.key()}\r\n"
        raw.sendall(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        wait_for(lambda: stub.requests, what="the provider was asked")
        assert raw.recv(100)
    wait_for(lambda: stub.requests[0].answered or stub.requests[0].cut, what="the provider is done")
    service.settled()
    (entry,) = entries(service.data_dir)
    assert held(service.data_dir) == {}
    return dict(entry)


@pytest.mark.parametrize(
    ("limits", "environment", "read_on"),
    [
        (NO_LIMIT, {}, True),
        ("drain_seconds: 0.2, drain_output_tokens: 4000", {}, False),
        ("drain_seconds: 50, drain_output_tokens: 1", {}, False),
        (NO_LIMIT, {"ROUTER_MOST_DRAINS": "0"}, False),
    ],
    ids=["to-its-end", "for-so-long", "for-so-many-tokens", "unless-too-many-are"],
)
def test_a_stream_is_read_on_within_the_limits_of_its_rule(
    tmp_path: Path, limits: str, environment: Mapping[str, str], read_on: bool
) -> None:
    with serving() as stub:
        rules = rule_files([deployment("m", stub.url)], limits=f"max_output_tokens: 64, request_seconds: 30, {limits}")
        with running(tmp_path / "data", rules=rules, environment=environment) as service:
            stub.script("m", "slow:0.1")
            entry = left(service, stub)
            assert stub.requests[0].answered is read_on
            assert entry["outcome"] == ("completed" if read_on else "cancelled")
            assert entry["basis"] == ("reported" if read_on else "estimated")
            assert entry["cost_nano"] > 0


def test_usage_that_is_reported_as_zero_stays_zero(tmp_path: Path) -> None:
    with serving() as stub:
        stub.usage = (0, 0, 0, 0)
        rules = rule_files([deployment("m", stub.url)], limits=f"max_output_tokens: 64, request_seconds: 30, {NO_LIMIT}")
        with running(tmp_path / "data", rules=rules) as service:
            stub.script("m", "slow:0.05")
            entry = left(service, stub)
            assert (entry["outcome"], entry["basis"], entry["cost_nano"]) == ("completed", "reported", 0)
