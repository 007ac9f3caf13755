"""Server-sent events as bytes: cut a stream into events wherever its fragments break, read their data, build our own."""

from __future__ import annotations

import re

import msgspec

from router.errors import RouterError, UpstreamFailed

EVENT_LIMIT = 16 * 1024 * 1024
"""Bytes of one event; a generated image inside `response.completed` takes several MiB."""

DONE = b"data: [DONE]\n\n"

_BOM = b"\xef\xbb\xbf"
# Atomic groups: the `\r` and the `\n` of one `\r\n` must never be counted as two line ends.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")


class SseSplitter:
    """Cuts bytes into whole events, each with the blank line that ends it; joined again they are the bytes that came in."""

    __slots__ = ("_limit", "_rest", "_seen")

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._rest = b""
        self._seen = 0  # bytes of the rest that hold no end of an event

    def feed(self, data: bytes) -> list[bytes]:
        """The events that are complete now. Raises UpstreamFailed(`upstream_error`) where one is larger than the limit."""
        buffer = self._rest + data if self._rest else data
        if b"\r" in buffer:
            events, start = self._cut_any(buffer)
        else:
            events = []
            start = 0
            search = self._seen
            while (end := buffer.find(b"\n\n", search)) >= 0:
                events.append(buffer[start : end + 2])
                start = search = end + 2
        self._rest = buffer[start:]
        # A line end of up to four bytes may be cut in two by the fragments.
        self._seen = max(len(self._rest) - 3, 0)
        if len(self._rest) > self._limit:
            raise UpstreamFailed(
                "upstream_error", "the provider sent an event that is larger than the router takes", cool_down=True
            )
        return events

    def end(self) -> bytes:
        """What is left when the stream has ended: an event that its sender did not finish, or nothing."""
        rest, self._rest, self._seen = self._rest, b"", 0
        return rest

    def _cut_any(self, buffer: bytes) -> tuple[list[bytes], int]:
        events = []
        start = 0
        for match in _BLANK_LINE.finditer(buffer, self._seen):
            end = match.end()
            if end == len(buffer) and buffer.endswith(b"\r"):
                break  # the `\n` that belongs to this line end may be on its way
            events.append(buffer[start:end])
            start = end
        return events, start


def data_of(event: bytes) -> bytes:
    """The data of a raw event, its `data` lines joined by line feeds; empty for a comment or an event without data."""
    if b"\r" not in event:
        # The two shapes that providers send, without cutting lines.
        if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2:
            return event[6:-2]
        if event.startswith(b"event: "):
            first = event.find(b"\n")
            if event.startswith(b"data: ", first + 1) and event.find(b"\n", first + 1) == len(event) - 2:
                return event[first + 7 : -2]
    else:
        event = event.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found = []
    for line in event.removeprefix(_BOM).split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            found.append(value.removeprefix(b" "))
    return b"\n".join(found)


def event(data: bytes, name: str | None = None) -> bytes:
    """A raw event. `data` is one line (JSON as we write it has no line breaks)."""
    return b"data: " + data + b"\n\n" if name is None else b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


def chat_error(error: RouterError) -> bytes:
    """The event by which a chat stream ends in an error; OpenAI's SDKs raise it as an APIError."""
    return event(msgspec.json.encode(error.body()))


def messages_error(error: RouterError) -> bytes:
    """The event by which a stream of the Messages API ends in an error."""
    return event(msgspec.json.encode(error.messages_body()), "error")


def responses_error(error: RouterError, sequence_number: int) -> bytes:
    """The event by which a responses stream ends in an error."""
    return event(
        msgspec.json.encode(
            {
                "type": "error",
                "code": error.code,
                "message": error.message,
                "param": error.param,
                "sequence_number": sequence_number,
                **error.details,
            }
        ),
        "error",
    )
