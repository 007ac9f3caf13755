"""Enforce the grant on the answer: what was not granted never reaches the app, and everything else passes as it came."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from router.errors import RouterError, UpstreamFailed
from router.sse import SseSplitter, data_of
from router.stages.enforce_chat import ChatStream, enforce_chat_json
from router.stages.enforce_messages import MessagesStream, enforce_messages_json
from router.stages.enforce_responses import ResponsesStream, enforce_responses_json
from router.stages.enforced import UNREADABLE, Enforced, not_understood, provider_error, text_or_none
from router.stages.entitlement_token import Guard, GuardedStream, event_without_tokens, without_tokens
from router.stages.messages_keys import MessagesGranted
from router.stages.plain import plain_json
from router.stages.read_usage import usage_of
from router.stages.screen import Screen, ScreenedStream
from router.stages.tool_keys import Granted, Judge
from router.stages.unmask import Placeholders, StreamPlaceholders
from routing_rules.decisions import ToolGrant
from routing_rules.task import Endpoint

__all__ = ["Enforced", "StreamEnforcer", "enforce_json"]

_HELD_LIMIT = 32 * 1024 * 1024  # characters of one answer that are kept in memory

_WHAT = {
    Endpoint.CHAT: "a chat completion",
    Endpoint.RESPONSES: "a response object",
    Endpoint.EMBEDDINGS: "a list of embeddings",
    Endpoint.MESSAGES: "a message",
}


class _Embeddings(msgspec.Struct, gc=False):
    data: list[msgspec.Raw] | None = None
    model: Any = None
    usage: Any = None
    error: Any = None


_decode_embeddings = msgspec.json.Decoder(_Embeddings).decode


def enforce_json(
    endpoint: Endpoint,
    raw: bytes,
    grant: ToolGrant,
    *,
    denial_is_error: bool,
    placeholders: Placeholders | None = None,
    judge: Judge | None = None,
    screen: Screen | None = None,
) -> Enforced:
    """What may be given of an answer in one piece. Never raises: what is wrong with the answer is in `error`.

    `denial_is_error`: the app asked for structure, so that a sentence in place of a refused call would be wrong. `placeholders`
    are replaced by their values before anything is judged, so that all that is known of the answer is what the app sees. The `judge`
    says of each granted call whether it may be made now; what it lets through has yet to be released in the session. The `screen`
    replaces links in the words of the answer.
    """
    try:
        if endpoint is not Endpoint.EMBEDDINGS:
            raw = without_tokens(plain_json(raw))
        if placeholders is not None:
            raw = placeholders.message(raw) if endpoint is Endpoint.MESSAGES else placeholders.whole(raw)
        if screen is not None:
            raw = screen.whole(raw)
        if endpoint is Endpoint.CHAT:
            return enforce_chat_json(raw, Granted(grant, judge), denial_is_error)
        if endpoint is Endpoint.RESPONSES:
            return enforce_responses_json(raw, Granted(grant, judge), denial_is_error)
        if endpoint is Endpoint.MESSAGES:
            return enforce_messages_json(raw, MessagesGranted(grant, judge), denial_is_error)
        return _embeddings(raw)
    except UNREADABLE:
        return Enforced(b"", error=not_understood(_WHAT[endpoint]))


def _embeddings(raw: bytes) -> Enforced:
    answer = _decode_embeddings(raw)
    if answer.data is None:
        return Enforced(b"", error=provider_error(answer.error) if answer.error else not_understood(_WHAT[Endpoint.EMBEDDINGS]))
    return Enforced(raw, usage=usage_of(answer.usage, embeddings=True), complete=True, model=text_or_none(answer.model))


class StreamEnforcer:
    """Enforces a grant on one stream. Feed it the provider's bytes as they come; never raises."""

    def __init__(
        self,
        endpoint: Endpoint,
        grant: ToolGrant,
        *,
        strip_usage: bool,
        denial_is_error: bool,
        placeholders: Placeholders | None = None,
        judge: Judge | None = None,
        screen: Screen | None = None,
    ) -> None:
        granted = Granted(grant, judge)
        self._splitter = SseSplitter()
        self._rewriting: list[StreamPlaceholders] = []  # in this order
        if endpoint is Endpoint.RESPONSES and any(server.internal for server in grant.servers):
            self._rewriting.append(GuardedStream(endpoint, Guard()))
        if placeholders is not None:
            self._rewriting.append(StreamPlaceholders(endpoint, placeholders))
        if screen is not None:
            self._rewriting.append(ScreenedStream(endpoint, screen))
        self._stream: ChatStream | ResponsesStream | MessagesStream
        if endpoint is Endpoint.RESPONSES:
            self._stream = ResponsesStream(granted, denial_is_error=denial_is_error)
        elif endpoint is Endpoint.MESSAGES:
            self._stream = MessagesStream(MessagesGranted(grant, judge), denial_is_error=denial_is_error)
        else:
            self._stream = ChatStream(granted, strip_usage=strip_usage, denial_is_error=denial_is_error)

    @property
    def error(self) -> RouterError | None:
        """What ends the answer; nothing of it is passed on any more."""
        return self._stream.error

    @property
    def held_chars(self) -> int:
        """Characters of the answer that were read so far."""
        return self._stream.held_chars

    def fail(self, error: RouterError) -> None:
        """End the answer with an error, unless it has one."""
        self._stream.error = self._stream.error or error

    def feed(self, data: bytes) -> bytes:
        """What may be passed on right now. Nothing any more once there is an error; reading on may still bring the usage."""
        try:
            events = self._splitter.feed(data)
        except UpstreamFailed as failure:
            self._stream.error = self._stream.error or failure
            return b""
        return self._take(events)

    def end(self) -> Enforced:
        """What is known when the provider's stream has ended, by itself or not."""
        rest = self._splitter.end()
        last = self._take([rest + b"\n\n"]) if _is_whole(rest) else b""
        for place, rewriting in enumerate(self._rewriting, 1):
            last += self._pass(_rewritten(rewriting.end(), self._rewriting[place:]))
        enforced = self._stream.end()
        return msgspec.structs.replace(enforced, body=last) if last else enforced

    def _take(self, events: list[bytes]) -> bytes:
        events = _rewritten(events, self._rewriting) if self._rewriting else events
        return self._pass([event_without_tokens(event) for event in events])

    def _pass(self, events: list[bytes]) -> bytes:
        stream = self._stream
        out: list[bytes] = []
        take = stream.event
        for event in events:
            try:
                take(event, out if stream.error is None else [])
            except UNREADABLE:
                stream.error = stream.error or not_understood("a stream of events in this format")
        if stream.held_chars > _HELD_LIMIT and stream.error is None:
            stream.error = UpstreamFailed(
                "upstream_error", "the provider's answer is longer than the router takes", cool_down=True
            )
        return b"".join(out)


def _rewritten(events: list[bytes], by: Iterable[StreamPlaceholders]) -> list[bytes]:
    for rewriting in by:
        events = [told for event in events for told in rewriting.event(event)]
    return events


def _is_whole(rest: bytes) -> bool:
    """Whether a last event without its blank line is nevertheless all there: some servers save the last line feed."""
    data = data_of(rest)
    if not data:
        return False
    if data.startswith(b"[DONE]"):
        return True
    try:
        msgspec.json.decode(data)
    except UNREADABLE:
        return False
    return True
