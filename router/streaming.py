"""Requests under way: tasks that the app owns, not the connection, and answers that a retry can join."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from router.ports import Client

LOOK_SECONDS = 0.05
"""How often an answer that all clients have left looks whether somebody is joining it."""


class Pumps:
    """Tasks owned by the app: a client that leaves, or a server that gives up on it, ends none of them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start work that lives until it ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Start work and wait for it; being cancelled ends the waiting, not the work."""
        await asyncio.shield(self.start(work))

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


class Broadcast:
    """A Client that keeps what was sent while the answer is under way, so that a retry of the same request can join it."""

    def __init__(self, client: Client) -> None:
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
