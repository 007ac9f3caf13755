"""The words of a stream as an app has them so far, for answers that never come to their proper end (pure)."""

from __future__ import annotations

from typing import Any

import msgspec

from router.sse import SseSplitter, data_of
from router.stages.conversation import chat_message
from routing_rules.task import Endpoint

ENOUGH = 4096
"""Characters of an answer after which it is known by what was read of it, in whatever way it goes on."""


class _Text(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    text: str | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Text | None = None
    index: int = 0


class _Chat(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None


class _Response(msgspec.Struct, gc=False):
    type: str
    delta: Any = None
    output_index: int = 0


class _Message(msgspec.Struct, gc=False):
    type: str
    delta: _Text | None = None
    index: int = 0


_decode_chat = msgspec.json.Decoder(_Chat).decode
_decode_response = msgspec.json.Decoder(_Response).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_SPOKEN = frozenset({"response.output_text.delta", "response.refusal.delta"})


class Told:
    """Reads along what is passed on of a stream, until it is enough."""

    def __init__(self, endpoint: Endpoint, choices: int = 1) -> None:
        self._endpoint = endpoint
        self._splitter = SseSplitter()
        self._texts: dict[int, list[str]] = {}
        self._chars, self._most = 0, ENOUGH * choices

    @property
    def chars(self) -> int:
        """How much was read."""
        return self._chars

    def feed(self, passed: bytes) -> bool:
        """Take whole events as they are passed on; whether they say something that is read."""
        if self._chars >= self._most:
            return False
        before = self._chars
        for event in self._splitter.feed(passed):
            data = data_of(event)
            if data.startswith(b"{"):
                try:
                    self._read(data)
                except msgspec.MsgspecError:
                    continue  # what no reader of this format understands says nothing
        return self._chars > before

    def turns(self) -> tuple[bytes, ...]:
        """The canonical form of what was said so far: one for each choice of a chat or item of a response, one for all of a message."""
        texts = ["".join(pieces) for _, pieces in sorted(self._texts.items())]
        if self._endpoint is Endpoint.MESSAGES:
            texts = ["".join(texts)]
        return tuple(chat_message({"role": "assistant", "content": text}) for text in texts if text)

    def _read(self, data: bytes) -> None:
        if self._endpoint is Endpoint.CHAT:
            for choice in _decode_chat(data).choices or ():
                if choice.delta is not None:
                    self._say(choice.index, choice.delta.content or choice.delta.refusal)
        elif self._endpoint is Endpoint.RESPONSES:
            event = _decode_response(data)
            if event.type in _SPOKEN and type(event.delta) is str:
                self._say(event.output_index, event.delta)
        else:
            told = _decode_message(data)
            if told.type == "content_block_delta" and told.delta is not None:
                self._say(told.index, told.delta.text)

    def _say(self, place: int, text: str | None) -> None:
        if text:
            self._texts.setdefault(place, []).append(text)
            self._chars += len(text)
