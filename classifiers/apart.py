"""A process of its own for texts that take long to assess, so that no other request waits for them."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection

from classifiers.assess import Assessor, warm_up
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.task import Task
from routing_rules.vocabulary import Assessment, Capability


def prepare() -> None:
    """Make ready what classifying takes, and the process for long texts with it: forked now, it shares the memory of all that.

    To be called once, before there are threads, sockets or an event loop.
    """
    warm_up()
    gc.freeze()  # what is never looked through again is never copied
    Apart.current = Apart("fork")


class Apart:
    """A process that assesses one task after another. Safe to use from several threads."""

    current: Apart | None = None

    def __init__(self, method: str) -> None:
        context = multiprocessing.get_context(method)
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, method == "fork"), daemon=True)  # type: ignore[attr-defined]
        self._process.start()
        theirs.close()
        self._turn = threading.Lock()
        self._ready = False
        self._rules: tuple[SensitivityPolicy, bytes] | None = None

    @property
    def process_id(self) -> int:
        """Of the operating system."""
        return self._process.pid  # type: ignore[no-any-return]

    @classmethod
    def running(cls) -> Apart:
        """The process of this one, started if there is none."""
        if cls.current is None:
            cls.current = cls("spawn")  # forked now it would keep this process's sockets open
        return cls.current

    def wait(self) -> None:
        """Return when it can work. Raises EOFError where it cannot start."""
        with self._turn:
            if not self._ready:
                self._connection.recv()
                self._ready = True

    def assess(
        self, policy: SensitivityPolicy, key: bytes, task: Task, capabilities: tuple[frozenset[Capability] | None, ...]
    ) -> Assessment:
        """What an `Assessor` of that policy says of the task. Raises EOFError or OSError where the process dies."""
        with self._turn:
            known = self._rules is not None and self._rules[0] is policy and self._rules[1] is key
            self._connection.send((None if known else (policy, key), task, capabilities))
            self._rules = policy, key
            result: Assessment = self._connection.recv()
            return result

    def close(self) -> None:
        """End it; whoever waits for an answer gets none."""
        if Apart.current is self:
            Apart.current = None
        self._process.kill()


def _work(connection: Connection, forked: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us ends us
    if forked:  # what was open there must end with that process, not with this one
        kept = connection.fileno()
        os.closerange(3, kept)
        os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
    else:
        warm_up()
    connection.send("ready")
    assessor: Assessor | None = None
    while True:
        try:
            rules, task, capabilities = connection.recv()
        except EOFError:
            return
        if rules is not None or assessor is None:
            assessor = Assessor(*rules)
        connection.send(assessor.assess(task, capabilities))
