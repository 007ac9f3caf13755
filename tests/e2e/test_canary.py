"""A secret that is planted in a request is found nowhere afterwards: not in logs, metrics, Redis, SQL, audit files or errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
from governed import deployment, rule_files
from inspecting import private_redis
from running import running
from stub_provider import serving

CANARY = "canary" + "9f3kq7zt"
KEY = "ghp_" + "c4N4ry" + "x7Kq2mVb9TzR4wLc8NdF3hJs6YpA1g"


def asked(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def test_a_planted_secret_is_found_nowhere_afterwards(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    tool = {
        "type": "function",
        "function": {"name": "get_weather", "description": f"about {CANARY}", "parameters": {"type": "object", "title": CANARY}},
    }
    history = [
        *asked(f"my word is {CANARY}"),
        {
            "role": "assistant",
            "content": f"noted {CANARY}",
            "tool_calls": [
                {
                    "id": f"call_{CANARY}",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": f'{{"a":"{CANARY}"}}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": f"call_{CANARY}", "content": CANARY},
    ]
    chat: list[dict[str, Any]] = [
        {
            "model": "auto",
            "messages": asked(f"Translate {CANARY}"),
            "metadata": {"note": CANARY},
            "user": CANARY,
            "tools": [tool],
        },
        {"model": "auto", "messages": asked(f"Translate {CANARY}"), "stream": True, "safety_identifier": CANARY},
        {"model": "auto", "messages": history, "tools": [tool]},
        {"model": "auto", "messages": asked(f"Translate with {KEY}")},  # refused: a credential
        {"model": "auto", "messages": [{"role": CANARY, "content": CANARY}]},  # refused: unknown role
        {"model": "auto", "messages": asked(CANARY), CANARY: 1},  # refused: unknown field
        {"model": "fail", "messages": asked(f"[[stub:status:500]] {CANARY}")},
        {"model": "auto", "messages": asked(f"[[stub:half]] {CANARY}")},
    ]
    with serving() as stub:
        stub.answer = f"you said {CANARY}"
        with running(data_dir, rules=rule_files([deployment("m", stub.url)])) as service:
            headers = {"authorization": f"Bearer {service.key()}"}
            errors = []
            for body in chat:
                answer = httpx.post(service.base_url + "/v1/chat/completions", json=body, headers=headers, timeout=30)
                if answer.status_code >= 400:
                    errors.append(answer.text)
            for path, body in (
                ("responses", {"model": "auto", "input": f"Translate {CANARY}", "instructions": CANARY}),
                ("embeddings", {"model": "m", "input": CANARY}),
            ):
                httpx.post(f"{service.base_url}/v1/{path}", json=body, headers=headers, timeout=30)
            assert CANARY in json.dumps([received.text for received in stub.requests])  # it was really there
            # A field's own name is told to the app that sent it, and to nobody else.
            assert [error for error in errors if KEY in error or (CANARY in error and "unknown_parameter" not in error)] == []
            service.settled()
            assert not found(service.get("/metrics")[1].encode())
            with private_redis(data_dir) as redis:
                assert not [name for name in redis.scan_iter(count=1000) if found(name)]
        assert not found(service.log.read_bytes())
    # The append-only file holds every command that Redis was ever sent, the SQLite file every row.
    for path in data_dir.rglob("*"):
        if path.is_file():
            assert not found(path.read_bytes()), path


def found(data: bytes) -> bool:
    return CANARY.encode() in data or KEY.encode() in data
