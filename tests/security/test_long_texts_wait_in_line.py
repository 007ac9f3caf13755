"""A task that is slow to classify delays nobody but those behind it, and takes none of them down."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from datetime import date

from router.errors import Unavailable
from router.stages.classify import Classifiers, is_long
from routing_rules.load import load, shipped
from routing_rules.task import Endpoint, Part, Provenance, Role, Task
from routing_rules.vocabulary import Sensitivity

POLICY = load(shipped(date(2026, 8, 3))).sensitivity


def task(*texts: str) -> Task:
    parts = tuple(Part(Role.USER, Provenance.USER, text, "messages[0].content", 0) for text in texts)
    return Task(endpoint=Endpoint.CHAT, wish="auto", parts=parts)


async def outcomes(classifiers: Classifiers, tasks: list[Task]) -> list[object]:
    try:
        return await asyncio.gather(*(classifiers.assess(each, []) for each in tasks), return_exceptions=True)
    finally:
        classifiers.close()


def test_those_that_wait_for_their_turn_are_classified_though_one_before_them_took_too_long() -> None:
    async def scenario() -> list[object]:
        classifiers = Classifiers(POLICY, b"k" * 32, time_limit=10.0)
        quick = task("Card 4242 4242 4242 4242. " + "word " * 4_000)
        await classifiers.assess(quick, [])
        (process,) = multiprocessing.active_children()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)  # takes longer than any text could
        return await outcomes(classifiers, [quick, quick, quick])

    slow, *waited = asyncio.run(scenario())
    assert isinstance(slow, Unavailable)
    assert [getattr(found, "sensitivity", found) for found in waited] == [Sensitivity.RESTRICTED] * 2


def test_what_takes_long_to_read_for_its_length_or_its_parts_leaves_the_loop_and_prose_of_that_length_does_not() -> None:
    made_to_be_slow = [(text * 32_000)[:15_900] for text in ("4\u2009", "\u0664 ", "\u0660-", "1.2.3.4 ")]
    assert [is_long(task(text)) for text in made_to_be_slow] == [True] * 4
    assert is_long(task(*["a"] * 20_000))
    assert is_long(task("word " * 4_000))
    assert not is_long(task(("word " * 4_000)[:12_000]))
    assert not is_long(task("4\u2009" * 1_900))
