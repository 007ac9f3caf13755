"""A file that was made to be slow keeps nobody waiting but those who sent files or long texts too."""

from __future__ import annotations

import asyncio
import io
import zipfile
from base64 import b64encode
from datetime import date

from router.stages.classify import Classifiers, is_long
from routing_rules.load import load, shipped
from routing_rules.task import Endpoint, Part, Provenance, Role, Task
from routing_rules.vocabulary import ScanState, Sensitivity

POLICY = load(shipped(date(2026, 8, 3))).sensitivity
ASK = Part(Role.USER, Provenance.USER, "What is the capital of Peru?", "messages[0].content", 0)


def with_file(xml: str) -> Task:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", xml)
    payload = b64encode(buffer.getvalue()).decode()
    file = Part(Role.USER, Provenance.ATTACHMENT, "", "messages[0].content[0].file.file_data", 0, None, "file", payload)
    return Task(Endpoint.CHAT, "auto", (file, ASK))


def test_short_tasks_are_answered_while_a_hostile_file_is_read() -> None:
    hostile, harmless = with_file("<a>" * 2_000_000), with_file("<p>Card 4242 4242 4242 4242</p>")
    short = Task(Endpoint.CHAT, "auto", (ASK,))
    assert is_long(hostile)
    assert is_long(harmless)
    assert not is_long(short)

    async def scenario() -> tuple[int, list[object]]:
        classifiers = Classifiers(POLICY, b"k" * 32)
        try:
            await classifiers.assess(harmless, [])  # starts the process
            reading = [asyncio.ensure_future(classifiers.assess(each, [])) for each in (hostile, harmless)]
            answered = 0
            while not all(each.done() for each in reading):
                await classifiers.assess(short, [])
                await asyncio.sleep(0.001)
                answered += 1
            return answered, [await each for each in reading]
        finally:
            classifiers.close()

    answered, (slow, quick) = asyncio.run(scenario())
    assert answered > 10
    assert getattr(slow, "state", slow) is ScanState.UNSCANNED
    assert getattr(quick, "sensitivity", quick) is Sensitivity.RESTRICTED
