"""Lets a retry join an attempt that runs in another worker of the same service, over a Unix socket in a private directory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from router.ports import Client
from router.streaming import Broadcast

ASK_SECONDS = 1.0
"""How long a sibling may take to say whether the attempt runs there; one that is busy for longer is passed over."""

SUFFIX = ".join"


class _Begin(msgspec.Struct, frozen=True, tag="begin"):
    status: int
    headers: list[tuple[bytes, bytes]]


class _Piece(msgspec.Struct, frozen=True, tag="piece"):
    data: bytes
    last: bool


class _Found(msgspec.Struct, frozen=True, tag="found"):
    found: bool


_Frame = _Begin | _Piece | _Found
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Frame).decode


class Siblings:
    """The workers that share a directory. Without one (a single worker started by hand) nothing is ever joined.

    Nothing is stored: an answer goes to the sibling as it goes to the client. A sibling that dies cuts the joined answer as it
    cuts its own.
    """

    def __init__(self, directory: Path | None, worker: str, running: Mapping[tuple[str, str], Broadcast]) -> None:
        self._directory = directory
        self._own = directory / f"{worker}{SUFFIX}" if directory is not None else None
        self._running = running
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Answer siblings from now on."""
        if self._own is not None:
            self._server = await asyncio.start_unix_server(self._answer, self._own)

    async def stop(self) -> None:
        """Answer nobody any more."""
        if self._server is not None and self._own is not None:
            self._server.close()
            self._own.unlink(missing_ok=True)

    async def join(self, app: str, digest: str, client: Client) -> bool:
        """Whether the attempt runs in a sibling and the client has been given its whole answer."""
        if self._directory is None:
            return False
        for path in self._directory.glob(f"*{SUFFIX}"):
            if path != self._own and await self._join_at(path, app, digest, client):
                return True
        return False

    async def _join_at(self, path: Path, app: str, digest: str, client: Client) -> bool:
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_unix_connection(path), ASK_SECONDS)
        except (OSError, TimeoutError):
            return False  # it has died, and its socket stayed behind
        begun = False
        try:
            _send(writer, _encode((app, digest)))
            if _decode(await asyncio.wait_for(_receive(reader), ASK_SECONDS)) != _Found(True):
                return False
            while True:
                match _decode(await _receive(reader)):
                    case _Begin(status, headers):
                        begun = True
                        await client.start(status, headers)
                    case _Piece(data, last):
                        await (client.finish(data) if last else client.send(data))
                        if last:
                            return True
                    case _Found():
                        return False
        except (OSError, EOFError, TimeoutError, msgspec.DecodeError):
            return begun  # an answer that was cut is not finished: the server closes the connection, and the client sees it
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, msgspec.DecodeError):
            app, digest = msgspec.msgpack.decode(await _receive(reader), type=tuple[str, str])
            broadcast = self._running.get((app, digest))
            _send(writer, _encode(_Found(broadcast is not None)))
            if broadcast is not None and not await broadcast.join(_Wire(writer)):
                _send(writer, _encode(_Found(False)))
            await writer.drain()
        writer.close()


class _Wire:
    """A Client at the other end of a sibling's socket. The sibling keeps the connection as long as it waits for the answer."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        await self._pass_on(_Begin(status, list(headers)))

    async def send(self, data: bytes) -> None:
        await self._pass_on(_Piece(data, last=False))

    async def finish(self, data: bytes = b"") -> None:
        await self._pass_on(_Piece(data, last=True))

    async def gone(self) -> None:
        await self._writer.wait_closed()

    async def _pass_on(self, frame: _Frame) -> None:
        if not self._writer.is_closing():
            _send(self._writer, _encode(frame))
            with contextlib.suppress(OSError):
                await self._writer.drain()


def _send(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(len(frame).to_bytes(4) + frame)


async def _receive(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4)))
