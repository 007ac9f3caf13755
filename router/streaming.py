"""Requests under way: tasks that the app owns, not the connection, and answers that a retry can join."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import msgspec

from router.exchange import Admitted, HoldRequest, Outcome, Record, Reservation, Settlement
from router.ports import Budgets, Client

LOOK_SECONDS = 0.05
"""How often an answer that all clients have left looks whether somebody is joining it."""


class Pumps:
    """Tasks owned by the app: a client that leaves, or a server that gives up on it, ends none of them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._cut: dict[asyncio.Task[None], Coroutine[Any, Any, None]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start work that lives until it ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Start work and wait for it; being cancelled ends the waiting, not the work. Work that was cut ends with what `cut` was given."""
        task = self.start(work)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            last_word = self._cut.pop(task, None) if task.cancelled() else None
            if last_word is None:
                raise
            await last_word
        finally:
            if self._cut:
                self._forget(task)

    def cut(self, task: asyncio.Task[None], last_word: Coroutine[Any, Any, None]) -> None:
        """End work now; once it has, `last_word` tells the client so."""
        if task in self._tasks and task not in self._cut:
            self._cut[task] = last_word
            task.cancel()
        else:
            last_word.close()

    def _forget(self, task: asyncio.Task[None]) -> None:
        unsaid = self._cut.pop(task, None) if task.done() else None
        if unsaid is not None:  # the work came to its end before it was cut
            unsaid.close()

    async def drain(self, seconds: float) -> int:
        """Wait for what is under way, at most so long; what is left is cancelled and counted."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1.0)
        return len(left)


class Drains:
    """How many streams are read on in this process although their clients have left; beyond `most` they are counted by what was seen."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._now = 0

    def __len__(self) -> int:
        return self._now

    @contextmanager
    def room(self) -> Iterator[bool]:
        """Whether one more may be read on; it counts until the end of the block."""
        if self._now >= self._most:
            yield False
            return
        self._now += 1
        try:
            yield True
        finally:
            self._now -= 1


class Departure:
    """Bounds how long a stream is read on once its clients have left, so that its provider still tells what it used.

    `async with` it around the reading: a TimeoutError comes out where the reading was cut, and `cut` says so.
    """

    def __init__(self, client: Client, drains: Drains, seconds: float, chars: int) -> None:
        self._client = client
        self._drains = drains
        self._seconds = seconds
        self._chars = chars
        self._left_at: int | None = None
        self._read = 0
        self._enough = asyncio.Event()
        self._timeout = asyncio.timeout(None)
        self._watching: asyncio.Task[None] | None = None

    @property
    def cut(self) -> bool:
        """Whether the reading was ended because nobody waited for it any more."""
        return self._timeout.expired()

    def read(self, chars: int) -> None:
        """Say how many characters of the answer have been read in all."""
        self._read = chars
        if self._left_at is not None and chars - self._left_at >= self._chars:
            self._enough.set()

    async def __aenter__(self) -> Departure:
        await self._timeout.__aenter__()
        self._watching = asyncio.get_running_loop().create_task(self._watch())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._watching is not None:
            self._watching.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    async def _watch(self) -> None:
        await self._client.gone()
        self._left_at = self._read
        with self._drains.room() as has_room:
            if has_room:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._seconds):
                        await self._enough.wait()
                await self._client.gone()  # a retry may have joined meanwhile
        self._timeout.reschedule(asyncio.get_running_loop().time())


class Broadcast:
    """A Client that keeps what was sent while the answer is under way, so that a retry of the same request can join it."""

    def __init__(self, client: Client) -> None:
        ANSWER.set(self)
        self._clients: list[Client] = [client]
        self._start: tuple[int, Sequence[tuple[bytes, bytes]]] | None = None
        self._sent: list[bytes] = []
        self._joining = 0
        self._started = asyncio.Event()
        self._ended = asyncio.Event()

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """See Client."""
        self._start = (status, headers)
        self._started.set()
        for client in tuple(self._clients):
            await client.start(status, headers)

    async def send(self, data: bytes) -> None:
        """See Client."""
        self._sent.append(data)
        for client in tuple(self._clients):
            await client.send(data)

    async def finish(self, data: bytes = b"") -> None:
        """See Client."""
        self._sent.append(data)
        self._ended.set()
        for client in tuple(self._clients):
            await client.finish(data)

    @property
    def started(self) -> bool:
        """Whether the client has been told a status."""
        return self._start is not None

    def so_far(self) -> bytes:
        """What was sent until now."""
        return b"".join(self._sent)

    async def gone(self) -> None:
        """Return when every client has left, those included that are just joining."""
        while True:
            clients = tuple(self._clients)
            for client in clients:
                await client.gone()
            if clients == tuple(self._clients) and not self._joining:
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def join(self, client: Client) -> bool:
        """Give a late client all that was sent so far and then what follows; return when the answer has ended.

        False where the answer ended before it began: nothing was given, and the request must run anew.
        """
        self._joining += 1
        try:
            return await self._give(client)
        finally:
            self._joining -= 1

    async def _give(self, client: Client) -> bool:
        await self._started.wait()
        if self._start is None:
            return False
        await client.start(*self._start)
        told = 0
        while told < len(self._sent):  # sending waits, so more may have come: no wait lies between the last look and joining
            last = self._ended.is_set() and told == len(self._sent) - 1
            await (client.finish(self._sent[told]) if last else client.send(self._sent[told]))
            told += 1
        if not self._ended.is_set():
            self._clients.append(client)
            await self._ended.wait()
        return True

    def close(self) -> None:
        """Nothing more will come: whoever waits to join goes on alone."""
        self._started.set()
        self._ended.set()


ANSWER: ContextVar[Broadcast | None] = ContextVar("answer", default=None)
"""The answer that the work of this task gives."""


@dataclass(slots=True, eq=False)
class Inference:
    """An admitted request under way in this process. `ended`: why somebody has ended it."""

    hold: HoldRequest
    record: Admitted
    reservation: Reservation
    task: asyncio.Task[None] | None
    answer: Broadcast | None
    ended: str | None = None

    def is_of(self, app: str | None, session_id: str | None) -> bool:
        """Whether it belongs to this app and session (None: whichever)."""
        return app in (None, self.hold.app) and session_id in (None, self.hold.session_id)


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """An order to all workers about what they have under way in a session, or about one request: `end` or `look`.

    `code` is what the app is told where it is ended; `look` names where to tell how far it is.
    """

    what: str
    app: str | None = None
    session: str | None = None
    request: str | None = None
    code: str = "session_ended"
    look: str = ""


class Progress(msgspec.Struct, frozen=True):
    """How far an answer is. Tokens are estimated from what was passed on so far; None where an answer comes in one piece."""

    request_id: str
    answering: bool
    output_tokens: int | None
    reasoning_tokens: int | None
    limits_left: dict[str, int | float | None]


class Running(msgspec.Struct, frozen=True):
    """A request under way. Times in epoch seconds, money in nano-USD. `progress` None: its worker did not tell in time."""

    request_id: str
    app: str
    session: str
    owner: str
    deployment: str
    worker: str
    since: float
    elapsed_seconds: float
    seconds_left: float
    held_nano: int
    most_output_tokens: int
    budget_left_nano: int | None
    progress: Progress | None = None


class Inferences:
    """The Budgets port, which thereby knows what is under way in this process, from its hold to its settlement."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._under_way: dict[str, Inference] = {}

    def __iter__(self) -> Iterator[Inference]:
        return iter(list(self._under_way.values()))

    async def reserve(self, hold: HoldRequest, record: Record) -> Reservation:
        """See Budgets."""
        reservation = await self._budgets.reserve(hold, record)
        if isinstance(record, Admitted):
            task = asyncio.current_task()
            self._under_way[hold.request_id] = Inference(hold, record, reservation, task, ANSWER.get())
        return reservation

    async def extend(self, reservation: Reservation, accrued_nano: int, amount_nano: int) -> Reservation:
        """See Budgets."""
        extended = await self._budgets.extend(reservation, accrued_nano, amount_nano)
        inference = self._under_way.get(reservation.request_id)
        if inference is not None:
            inference.reservation = extended
        return extended

    async def settle(self, reservation: Reservation, record: Record) -> Settlement:
        """See Budgets. What a person has ended is recorded as that, not as a failure of ours."""
        inference = self._under_way.pop(reservation.request_id, None)
        if inference is not None and inference.ended is not None and isinstance(record, Outcome):
            record = msgspec.structs.replace(record, outcome="cancelled", code=inference.ended)
        return await self._budgets.settle(reservation, record)

    async def retry(self) -> int:
        """See Budgets."""
        return await self._budgets.retry()

    async def report(self, shard: int, record: Record) -> None:
        """See Budgets."""
        await self._budgets.report(shard, record)
