"""How the simulated provider says its script in Anthropic's Messages API: one message, whole or as events."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import msgspec

from router.exchange import JsonObject
from router.upstream.script import Script

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

PIECES = 20
"""Into how many fragments a text is cut at most."""


class ScriptedMessage:
    """One message."""

    def __init__(self, body: JsonObject, model: str, said: Script) -> None:
        self._said = said
        self._tokens: Sequence[str] = said.choices[0] if said.choices else ()
        thinks = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive") and said.reasoning_tokens
        self._content: list[JsonObject] = []
        if thinks:
            signature = b64encode(b"simulated").decode()
            self._content.append({"type": "thinking", "thinking": "This is simulated.", "signature": signature})
        if said.calls:
            for call in said.calls:
                made = _decode(call.arguments)
                self._content.append({"type": "tool_use", "id": f"toolu_sim_{uuid4().hex}", "name": call.name, "input": made})
        else:
            self._content.append({"type": "text", "text": "".join(self._tokens)})
        self._head = {"id": f"msg_sim_{uuid4().hex}", "type": "message", "role": "assistant", "model": model}

    def whole(self) -> JsonObject:
        """The message in one piece."""
        return {**self._head, "content": self._content, **self._end(), "usage": self._usage(self._said.output_tokens)}

    def events(self) -> Iterator[bytes]:
        """The message as a stream."""
        begun: JsonObject = {**self._head, "content": [], "stop_reason": None, "stop_sequence": None, "usage": self._usage(1)}
        yield _event("message_start", message=begun)
        for index, block in enumerate(self._content):
            empty, deltas = self._fragments(block)
            yield _event("content_block_start", index=index, content_block=empty)
            for delta in deltas:
                yield _event("content_block_delta", index=index, delta=delta)
            yield _event("content_block_stop", index=index)
        yield _event("message_delta", delta=self._end(), usage=self._usage(self._said.output_tokens))
        yield _event("message_stop")

    def _fragments(self, block: JsonObject) -> tuple[JsonObject, list[JsonObject]]:
        """A block without what comes in fragments, and these."""
        if block["type"] == "tool_use":
            written = _encode(block["input"]).decode()
            middle = len(written) // 2
            parts = (written[:middle], written[middle:])
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]
        if block["type"] == "thinking":
            said: list[JsonObject] = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
            return {**block, "thinking": "", "signature": ""}, said
        size = max(-(-len(self._tokens) // PIECES), 1)
        groups = (self._tokens[start : start + size] for start in range(0, len(self._tokens), size))
        return {"type": "text", "text": ""}, [{"type": "text_delta", "text": "".join(group)} for group in groups]

    def _end(self) -> JsonObject:
        reason = "tool_use" if self._said.calls else "max_tokens" if self._said.truncated else "end_turn"
        return {"stop_reason": reason, "stop_sequence": None}

    def _usage(self, made: int) -> JsonObject:
        said = self._said
        return {
            "input_tokens": said.input_tokens - said.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": said.cached_tokens,
            "output_tokens": made,
            "output_tokens_details": {"thinking_tokens": min(said.reasoning_tokens, made)},
        }


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), _encode({"type": kind, **fields}))
