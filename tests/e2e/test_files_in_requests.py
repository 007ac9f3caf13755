"""Files in requests over HTTP: their text counts on both wire formats, and a hostile one keeps nobody waiting."""

from __future__ import annotations

import io
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from governed import deployment, rule_files
from running import Running, running
from stub_provider import serving

Body = dict[str, Any]


class World:
    def __init__(self, service: Running) -> None:
        self._url = service.base_url + "/v1/"
        self._key = service.key("reader", "reader@example.org", "--clearance", "restricted", "--purpose", "research")

    def post(self, path: str, body: Body) -> httpx.Response:
        headers = {"authorization": f"Bearer {self._key}"}
        answer = httpx.post(self._url + path, json={"model": "auto", **body}, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving() as stub:
        rules = rule_files([deployment("m", stub.url, clearance="restricted")], budget="cost_usd: 10")
        with running(tmp_path_factory.mktemp("files") / "data", rules=rules, workers=1) as service:
            yield World(service)


def letter(xml: str) -> str:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", xml)
    return "data:application/octet-stream;base64," + b64encode(buffer.getvalue()).decode()


def chat(file: str) -> Body:
    parts = [{"type": "file", "file": {"file_data": file}}, {"type": "text", "text": "Summarise the letter."}]
    return {"messages": [{"role": "user", "content": parts}]}


def test_the_text_of_a_file_counts_on_both_wire_formats(world: World) -> None:
    harmless, card = letter("<p>The train leaves at nine.</p>"), letter("<p>Charge 4242 4242 4242 4242 today.</p>")
    assert world.post("chat/completions", chat(harmless)).headers["x-router-sensitivity"] == "public"
    assert world.post("chat/completions", chat(card)).headers["x-router-sensitivity"] == "restricted"
    item = {"role": "user", "content": [{"type": "input_file", "filename": "a.docx", "file_data": card}]}
    assert world.post("responses", {"input": [item]}).headers["x-router-sensitivity"] == "restricted"


def test_a_hostile_file_is_unread_and_keeps_nobody_waiting(world: World) -> None:
    hostile, short = chat(letter("<a>" * 1_500_000)), {"messages": [{"role": "user", "content": "The train leaves at nine."}]}
    world.post("chat/completions", chat(letter("<p>starts the process that reads files</p>")))

    def sensitivity(body: Body) -> str:
        return world.post("chat/completions", body).headers["x-router-sensitivity"]

    with ThreadPoolExecutor(4) as pool:
        reading = [pool.submit(sensitivity, hostile) for _ in range(2)]
        waited = 0
        while not any(each.done() for each in reading):
            assert sensitivity(short) == "public"
            waited += 1
        assert {each.result() for each in reading} == {"confidential"}
    assert waited > 1, "short requests are answered while files are read"
