"""A provider on loopback that answers at once: JSON with usage, or a stream of 23 events. Nothing else is in its way.

Run: python -m tests.benchmarks.stub --port 9100
"""

from __future__ import annotations

import argparse
import asyncio

import msgspec
import uvloop

WORDS = "the quick brown fox jumps over the lazy dog and then rests in the warm shade of an old oak".split()
USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 24,
    "total_tokens": 144,
    "prompt_tokens_details": {"cached_tokens": 64},
    "completion_tokens_details": {"reasoning_tokens": 8},
}
COMMON = {"id": "chatcmpl-bench", "created": 1_780_000_000, "model": "bench"}


def _chunk(choices: list[dict[str, object]], usage: object = None) -> bytes:
    return (
        b"data: "
        + msgspec.json.encode({**COMMON, "object": "chat.completion.chunk", "choices": choices, "usage": usage})
        + b"\n\n"
    )


def _chunked(part: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(part), part)


_message = {"role": "assistant", "content": " ".join(WORDS)}
_body = msgspec.json.encode(
    {
        **COMMON,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": _message, "finish_reason": "stop"}],
        "usage": USAGE,
    }
)
JSON_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(_body), _body)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM_PARTS = [
    _chunked(part)
    for part in (
        _chunk([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]),
        *(_chunk([{"index": 0, "delta": {"content": word + " "}, "finish_reason": None}]) for word in WORDS),
        _chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
        _chunk([], USAGE),
        b"data: [DONE]\n\n",
    )
] + [b"0\r\n\r\n"]


class Stub(asyncio.Protocol):
    """Answers each request as soon as its last byte is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        buffer = self._buffer + data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            head = buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            stop = end + 4 + length
            if len(buffer) < stop:
                break
            self._answer(buffer[end + 4 : stop])
            buffer = buffer[stop:]
        self._buffer = buffer

    def _answer(self, body: bytes) -> None:
        write = self._transport.write  # type: ignore[attr-defined]
        if b'"stream":true' not in body:
            write(JSON_ANSWER)
            return
        write(STREAM_HEAD)
        for part in STREAM_PARTS:  # one write an event, as providers do
            write(part)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port, backlog=2048)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(_serve(parser.parse_args().port))
