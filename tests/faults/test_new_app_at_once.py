"""A key of a new app works at once, in a worker that knew neither when the request came."""

from __future__ import annotations

import json
import os
import signal
import socket
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from governed import deployment, rule_files
from running import running
from stub_provider import StubProvider

BODY = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "Say hello."}]})


def test_a_key_of_a_new_app_is_known_with_its_app_and_the_rules_that_hold_it(data_dir: Path, stub: StubProvider) -> None:
    with running(data_dir, rules=rule_files([deployment("m", stub.url)])) as service:
        workers = service.children("work")
        address = urlsplit(service.base_url)
        for number in range(3):
            for worker in workers:
                os.kill(worker, signal.SIGSTOP)  # so that nobody has heard of the key before it is used
            key = service.key(f"new-{number}", "new@example.org")
            with socket.create_connection((str(address.hostname), address.port or 80), timeout=60) as connection:
                connection.sendall(
                    f"POST /v1/chat/completions HTTP/1.1\r\nhost: {address.netloc}\r\nauthorization: Bearer {key}\r\n"
                    f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n{BODY}".encode()
                )
                for worker in workers:
                    os.kill(worker, signal.SIGCONT)
                answer = HTTPResponse(connection)
                answer.begin()
                assert answer.status == 200, answer.read()
