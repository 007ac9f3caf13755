"""Assess a task: short texts at once, long ones and files in a process of their own, so that no other request waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from classifiers.apart import Apart
from classifiers.assess import Assessor
from router.errors import Unavailable
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.task import Task
from routing_rules.vocabulary import Assessment, Capability

SHORT_TEXT = 4_000
"""Characters below which a text is assessed at once, whatever stands in it."""

LONG_TEXT = 16_000
"""Characters from which a text leaves the event loop: the engines hold the interpreter's lock while they scan."""

PART_WEIGHT = 40
"""Characters that each part counts for besides its text: twenty thousand parts of one letter are no short text."""

DEAR_WEIGHT = 4
"""What every byte that is no letter counts for besides: digits and signs may be the beginning of a number, and texts made of them
take ten times as long as prose."""

START_SECONDS = 60.0
"""What a process that is started anew may take to be ready for work, on a machine that is busy."""

_CHEAP = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ \n"


def is_long(task: Task) -> bool:
    """Whether assessing this task could keep other requests waiting."""
    size = 0
    for part in task.parts:
        if part.payload:  # how much text a file holds is not known before it is read, and reading it takes time
            return True
        size += len(part.text) + PART_WEIGHT
    if size < SHORT_TEXT or size >= LONG_TEXT:
        return size >= LONG_TEXT
    dear = sum(len(part.text.encode().translate(None, _CHEAP)) for part in task.parts)
    return size + DEAR_WEIGHT * dear >= LONG_TEXT


class Classifiers:
    """The assessor of one rule set, and a process for long texts that is shared with the rule sets before and after it.

    No assessor, or a process that dies: Unavailable(`classifier_unavailable`), never an unclassified task.
    """

    def __init__(self, policy: SensitivityPolicy, key: bytes, time_limit: float = 20.0) -> None:
        self._policy = policy
        self._key = key
        self._time_limit = time_limit
        self._assessor = Assessor(policy, key)
        self._turn = asyncio.Lock()

    async def assess(self, task: Task, capabilities: Sequence[frozenset[Capability] | None]) -> Assessment:
        """The assessment of everything that the task sends."""
        if not is_long(task):
            return self._assessor.assess(task, capabilities)
        # One at a time, so that a text which takes too long takes only itself down, not those that wait behind it.
        try:
            await asyncio.wait_for(self._turn.acquire(), 2 * self._time_limit + START_SECONDS)
        except TimeoutError as failure:
            raise _not_in_time(failure) from None
        apart = Apart.running()
        try:
            await asyncio.wait_for(asyncio.to_thread(apart.wait), START_SECONDS)
            work = asyncio.to_thread(apart.assess, self._policy, self._key, task, tuple(capabilities))
            return await asyncio.wait_for(work, self._time_limit)
        except (EOFError, OSError, TimeoutError) as failure:  # it died, or takes too long
            apart.close()
            raise _not_in_time(failure) from None
        finally:
            self._turn.release()

    def close(self) -> None:
        """End the process for long texts; the next long text starts another."""
        if Apart.current is not None:
            Apart.current.close()


def _not_in_time(failure: Exception) -> Unavailable:
    message = "the task could not be classified in time, so it was not forwarded"
    return Unavailable("classifier_unavailable", message, detail=type(failure).__name__)
