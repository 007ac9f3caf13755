"""The access log: whom it names, and that it names nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from running import running, wait_for

ASKED = {"model": "auto", "messages": [{"role": "user", "content": "Where do cranes nest?"}]}
FORWARDED = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}


@pytest.mark.parametrize(
    ("trusted", "client"), [("[]", "127.0.0.1"), ('["127.0.0.1"]', "203.0.113.9"), ('["10.0.0.1"]', "127.0.0.1")]
)
def test_the_access_log_believes_the_addresses_of_trusted_proxies_only(tmp_path: Path, trusted: str, client: str) -> None:
    environment = {"ROUTER_ACCESS_LOG": "true", "ROUTER_TRUSTED_PROXIES": trusted}
    with running(tmp_path / "data", environment=environment) as service:
        headers = {**FORWARDED, "authorization": f"Bearer {service.key()}"}
        answer = httpx.post(service.base_url + "/v1/chat/completions?q=secret", json=ASKED, headers=headers, timeout=30)
        assert answer.status_code == 200

        def logged() -> list[dict[str, object]]:
            lines = [json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")]
            return [line for line in lines if line["event"] == "request" and line["path"] == "/v1/chat/completions"]

        (line,) = wait_for(logged, what="the line")
        assert {name: line[name] for name in ("client", "method", "status", "request_id")} == {
            "client": client,
            "method": "POST",
            "status": 200,
            "request_id": answer.headers["x-request-id"],
        }
        assert "cranes" not in service.log.read_text()
        assert "secret" not in json.dumps(line)
