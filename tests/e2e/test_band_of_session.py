"""Complexity as an app sees it over a session: tools that answer change nothing, a new ask of the user does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from governed import deployment, rule_files
from running import running
from stub_provider import serving

PROOF = "Prove rigorously that every continuous function on a compact metric space is uniformly continuous."
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}


def test_the_band_of_the_user_turn_stays_while_tools_answer_and_ends_with_the_next(tmp_path: Path) -> None:
    loop: list[dict[str, Any]] = [
        {"role": "user", "content": "hi there"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "{}"},
    ]
    with serving() as stub:
        rules = rule_files([deployment("m", stub.url, clearance="restricted")])
        with running(tmp_path / "data", rules=rules) as service:
            key = service.key("steady", "steady@example.org", "--clearance", "restricted")

            def told(messages: list[dict[str, Any]], session: str) -> tuple[str, str]:
                headers = {"authorization": f"Bearer {key}", "x-session-id": session}
                body = {"model": "auto", "messages": messages}
                answer = httpx.post(service.base_url + "/v1/chat/completions", json=body, headers=headers, timeout=30)
                assert answer.status_code == 200, answer.text
                return answer.headers["x-router-complexity"], answer.headers["x-router-task"]

            assert told([{"role": "user", "content": PROOF}], "one") == ("complex", "mathematics")
            assert told(loop, "one") == ("complex", "mathematics")
            assert told([{"role": "user", "content": "hi there"}], "one")[0] == "simple"
            assert told(loop, "another")[0] == "simple"
