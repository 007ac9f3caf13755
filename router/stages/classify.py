"""Assess a task: short texts at once, long ones in a process of their own, so that no other request waits for them."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor

from classifiers.assess import Assessor
from router.errors import Unavailable
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.task import Task
from routing_rules.vocabulary import Assessment, Capability

LONG_TEXT = 32_000
"""Characters from which a text leaves the event loop: the engines hold the interpreter's lock while they scan."""


class Classifiers:
    """The assessor of one rule set, and one process for long texts that is started when the first of them comes.

    No assessor, or a process that dies: Unavailable(`classifier_unavailable`), never an unclassified task.
    """

    def __init__(self, policy: SensitivityPolicy, key: bytes, time_limit: float = 20.0) -> None:
        self._policy = policy
        self._key = key
        self._time_limit = time_limit
        self._assessor = Assessor(policy, key)
        self._pool: ProcessPoolExecutor | None = None

    async def assess(self, task: Task, capabilities: Sequence[frozenset[Capability] | None]) -> Assessment:
        """The assessment of everything that the task sends."""
        if sum(len(part.text) for part in task.parts) < LONG_TEXT:
            return self._assessor.assess(task, capabilities)
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                1, multiprocessing.get_context("spawn"), initializer=_start, initargs=(self._policy, self._key)
            )
        try:
            work = asyncio.get_running_loop().run_in_executor(self._pool, _assess, task, tuple(capabilities))
            return await asyncio.wait_for(work, self._time_limit)
        except (BrokenExecutor, TimeoutError) as failure:
            self.close()
            raise Unavailable(
                "classifier_unavailable",
                "the task could not be classified in time, so it was not forwarded",
                detail=type(failure).__name__,
            ) from None

    def close(self) -> None:
        """End the process for long texts."""
        pool, self._pool = self._pool, None
        if pool is not None:
            for process in list((pool._processes or {}).values()):
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)


_here: list[Assessor] = []  # the one assessor of a process for long texts


def _start(policy: SensitivityPolicy, key: bytes) -> None:
    _here.append(Assessor(policy, key))


def _assess(task: Task, capabilities: Sequence[frozenset[Capability] | None]) -> Assessment:
    return _here[0].assess(task, capabilities)
