"""Drives a gateway with requests that all differ, over kept connections, and tells throughput and latency as one JSON line.

Run: python -m tests.benchmarks.load --port 8080 --key rk-… --connections 32 --seconds 6 [--stream]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

import msgspec
import uvloop

OPENINGS = [
    "Summarise the note below in one sentence:",
    "Translate this into Spanish, please:",
    "What is the capital city of the country that",
    "Write a short friendly reply to the message:",
    "Classify the feedback as positive or negative:",
    "Explain to a new colleague what it means that",
    "Rewrite this more politely:",
    "List three ideas for",
]
MIDDLES = [
    "the delivery was moved to the following week because the truck broke down on its way",
    "our reading group wants to meet in the garden when the weather is good enough",
    "the museum opens at ten and the guided tour starts a quarter of an hour later",
    "a small bakery on the corner offers fresh bread every morning before eight",
    "the printer on the second floor is out of paper again and nobody has noticed",
    "trains are late today, so the workshop will begin with the second session",
]


def prompt(number: int) -> str:
    """A prompt of some 150 characters that no other number gives."""
    return f"{OPENINGS[number % len(OPENINGS)]} {MIDDLES[number // 8 % len(MIDDLES)]} (case {number} of the series, reference {number * 7919 % 99991})"


class Caller(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        if self._run.over():
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(self._run.next_request())  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        if at >= 0:
            whole = len(self._buffer) >= end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])
        else:
            whole = self._buffer.endswith(b"0\r\n\r\n")
        if whole:
            good = head.startswith(b"http/1.1 200") and (at >= 0 or b"[DONE]" in self._buffer)
            if not good and not self._run.failed:
                sys.stderr.write(self._buffer[:600].decode(errors="replace") + "\n")
            self._buffer = b""
            self._run.done(time.perf_counter() - self._began, good)
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._run.left -= 1
        if not self._run.left:
            self._run.ended.set()


class Run:
    """The state of one run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._number = int(time.time() * 1000) % 10_000_000 * 100
        self._ends = time.perf_counter() + options.seconds
        self._stream = options.stream
        self._head = (
            f"POST {options.path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {options.key}\r\n"
            "content-type: application/json\r\ncontent-length: "
        ).encode()
        self._model = options.model
        self.times: list[float] = []
        self.failed = 0
        self.left = options.connections
        self.ended = asyncio.Event()

    def over(self) -> bool:
        """Whether no more requests are to be sent."""
        return time.perf_counter() >= self._ends

    def next_request(self) -> bytes:
        """A request that was never sent before."""
        self._number += 1
        body: dict[str, object] = {
            "model": self._model,
            "messages": [
                {"role": "system", "content": "You are a helpful assistant. Answer briefly."},
                {"role": "user", "content": prompt(self._number)},
            ],
            "temperature": 0.2,
        }
        if self._stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        encoded = msgspec.json.encode(body)
        return b"%s%d\r\n\r\n%s" % (self._head, len(encoded), encoded)

    def done(self, seconds: float, good: bool) -> None:
        """Count one answer."""
        self.times.append(seconds)
        self.failed += not good


async def _run(options: argparse.Namespace) -> dict[str, float]:
    run = Run(options)
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    for _ in range(options.connections):
        await loop.create_connection(lambda: Caller(run), "127.0.0.1", options.port)
    await run.ended.wait()
    took = time.perf_counter() - began
    times = sorted(run.times)
    at = lambda share: round(1000 * times[min(int(share * len(times)), len(times) - 1)], 3)  # noqa: E731
    return {
        "requests": len(times),
        "failed": run.failed,
        "per_second": round(len(times) / took, 1),
        "p50_ms": at(0.5),
        "p99_ms": at(0.99),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", default="none")
    parser.add_argument("--path", default="/v1/chat/completions")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--stream", action="store_true")
    sys.stdout.write(msgspec.json.encode(uvloop.run(_run(parser.parse_args()))).decode() + "\n")
