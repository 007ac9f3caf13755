"""A task that is slow to classify delays nobody but those behind it, and takes none of them down."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from datetime import date

from router.errors import Unavailable
from router.stages.classify import Classifiers
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


def test_no_text_keeps_the_loop_busy_for_long_however_it_was_made() -> None:
    made_to_be_slow = [
        (text * 32_000)[:size] for text in ("4\u2009", "\u0664 ", "\u0660-", "1.2.3.4 ") for size in (3_900, 15_900)
    ]

    async def scenario() -> float:
        classifiers = Classifiers(POLICY, b"k" * 32)
        longest = 0.0

        async def look() -> None:
            nonlocal longest
            while True:
                before = time.thread_time()
                await asyncio.sleep(0.001)
                longest = max(longest, time.thread_time() - before)

        looking = asyncio.ensure_future(look())
        for each in [*map(task, made_to_be_slow), task(*["a"] * 20_000)]:
            await asyncio.sleep(0.002)
            await classifiers.assess(each, [])
        classifiers.close()
        looking.cancel()
        return longest

    assert asyncio.run(scenario()) < 0.2
