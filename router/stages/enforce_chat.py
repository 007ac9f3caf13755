"""Enforce a grant on answers in the chat format: text at once, tool calls when they are whole and only if they were granted."""

from __future__ import annotations

from typing import Any

import msgspec

from router import sse
from router.errors import RouterError
from router.exchange import JsonObject
from router.stages.conversation import chat_message
from router.stages.enforced import (
    Enforced,
    canonical,
    denial,
    not_understood,
    provider_error,
    refusal_note,
    text_or_none,
)
from router.stages.plain import Fragments, plain_event
from router.stages.read_usage import chat_usage, own_searches
from router.stages.tool_keys import Called, Granted, Judge, shown, text_arguments

_CALL_FINISHES = ("tool_calls", "function_call")


class _Delta(msgspec.Struct, gc=False):
    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None  # what vLLM, DeepSeek and others call the reasoning that they show
    reasoning: Any = None
    tool_calls: Any = None
    function_call: Any = None


class _StreamedChoice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: Any = None
    message: Any = None


class _Chunk(msgspec.Struct, gc=False):
    id: Any = None
    model: Any = None
    choices: list[_StreamedChoice] | None = None
    usage: Any = None
    service_tier: Any = None
    error: Any = None


class _Choice(msgspec.Struct, gc=False):
    message: JsonObject
    finish_reason: Any = None


class _Completion(msgspec.Struct, gc=False):
    id: Any = None
    model: Any = None
    choices: list[_Choice] | None = None
    usage: Any = None
    service_tier: Any = None
    error: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_completion = msgspec.json.Decoder(_Completion).decode
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def enforce_chat_json(raw: bytes, granted: Granted, denial_is_error: bool) -> Enforced:
    """See `enforce_json`. Raises one of UNREADABLE where the bytes are no chat completion."""
    answer = _decode_completion(raw)
    if answer.choices is None:
        return Enforced(b"", error=provider_error(answer.error) if answer.error else not_understood("a chat completion"))
    verdict = _Verdict(granted)
    error: RouterError | None = None
    changed = False
    chars = 0
    for choice in answer.choices:
        message = choice.message
        chars += _message_chars(message)
        if not (message.get("tool_calls") or message.get("function_call")):
            continue
        refused = verdict.cut(message)
        if not refused:
            continue
        changed = True
        if not (message.get("tool_calls") or message.get("function_call")):
            if denial_is_error:
                error = denial(refused, granted.judge)
            _append_note(message, refusal_note(refused, granted.judge))
            if choice.finish_reason in _CALL_FINISHES:
                choice.finish_reason = "stop"
    error = granted.error or error
    if changed and error is None:
        body = _decode(raw)
        for told, choice in zip(body["choices"], answer.choices, strict=True):
            told["message"] = choice.message
            told["finish_reason"] = choice.finish_reason
        raw = _encode(body)
    return Enforced(
        body=raw if error is None else b"",
        usage=chat_usage(answer.usage, answer.service_tier, answer.model),
        hosted=own_searches(answer.model),
        complete=True,
        model=text_or_none(answer.model),
        response_id=text_or_none(answer.id),
        issued_ids=tuple(verdict.issued) if error is None else (),
        assistant=canonical(chat_message, [choice.message for choice in answer.choices]) if error is None else (),
        released=tuple(verdict.released) if error is None else (),
        refused=tuple(verdict.refused),
        output_chars=chars,
        error=error,
    )


class ChatStream:
    """One chat stream, event by event."""

    def __init__(self, granted: Granted, *, strip_usage: bool, denial_is_error: bool) -> None:
        self._verdict = _Verdict(granted)
        self._strip_usage = strip_usage
        self._denial_is_error = denial_is_error
        self._choices: dict[int, _ChoiceSoFar] = {}
        self._envelope: JsonObject = {}
        self._chars = 0
        self._usage: Any = None
        self._tier: Any = None
        self._id: Any = None
        self._model: Any = None
        self._tail = b""
        self._fragments = Fragments()
        self._speaks: list[str] | None = None  # where the words of such a fragment go
        self.error: RouterError | None = None

    @property
    def held_chars(self) -> int:
        """Characters kept in memory for this stream."""
        return self._chars

    def event(self, raw: bytes, out: list[bytes]) -> None:
        """Take one raw event; append to `out` what may be passed on now. Raises one of UNREADABLE where it breaks the format."""
        if self._tail:
            return
        text = self._fragments.text(raw)
        if text is not None and self._speaks is not None:
            self._chars += len(text)
            self._speaks.append(text)
            out.append(raw)
            return
        self._fragments.forget()
        raw, data = plain_event(raw)
        if not data:
            out.append(raw)
            return
        if data.startswith(b"[DONE]"):
            self._done(raw, out)
            return
        chunk = _decode_chunk(data)
        if chunk.error:
            self._fail(provider_error(chunk.error))
            return
        if chunk.usage is not None:
            self._usage = chunk.usage
            self._tier = chunk.service_tier or self._tier
        if not chunk.choices:
            if not (self._strip_usage and chunk.usage is not None):
                out.append(raw)
            return
        if self._id is None:
            self._id = chunk.id
            self._model = chunk.model
            self._tier = chunk.service_tier
        plain = True
        for choice in chunk.choices:
            so_far = self._choices.get(choice.index)
            if so_far is None:
                so_far = self._choices[choice.index] = _ChoiceSoFar()
            delta = choice.delta
            if delta is not None:
                if type(delta.content) is str:
                    self._chars += len(delta.content)
                    so_far.text.append(delta.content)
                else:
                    self._chars += so_far.read(delta)
                if delta.tool_calls or delta.function_call:
                    plain = False
            if choice.finish_reason:
                so_far.finished = True
                if so_far.calls or so_far.legacy:
                    plain = False
            if choice.message is not None:
                plain = False
        if plain:
            out.append(raw)
            if len(chunk.choices) == 1 and delta is not None and type(delta.content) is str and not choice.finish_reason:
                self._fragments.learn(raw, delta.content)
                self._speaks = self._choices[choice.index].text
        else:
            self._rework(raw, data, out)

    def end(self) -> Enforced:
        """What is known at the end. Calls that were still held are not released: they may not be whole."""
        choices = [choice for _, choice in sorted(self._choices.items())]
        finished = bool(choices) and all(choice.finished for choice in choices)
        verdict = self._verdict
        return Enforced(
            body=b"",
            tail=self._tail if self.error is None else b"",
            usage=chat_usage(self._usage, self._tier, self._model),
            hosted=own_searches(self._model),
            complete=bool(self._tail) or finished,
            model=text_or_none(self._model),
            response_id=text_or_none(self._id),
            issued_ids=tuple(verdict.issued),
            assistant=canonical(chat_message, [choice.message() for choice in choices]) if self.error is None else (),
            released=tuple(verdict.released),
            refused=tuple(verdict.refused),
            output_chars=self._chars,
            error=self.error,
        )

    def _done(self, raw: bytes, out: list[bytes]) -> None:
        for index, choice in self._choices.items():
            if not choice.finished:  # a provider that never says why it finished
                released, _ = self._release(choice, None)
                self._tell(index, released, out)
        self._tail = raw

    def _fail(self, error: RouterError) -> None:
        if self.error is None:
            self.error = error

    def _rework(self, raw: bytes, data: bytes, out: list[bytes]) -> None:
        """Pass on an event that touches tool calls: without the calls, and after those that it makes whole."""
        chunk = _decode(data)
        self._envelope = {key: value for key, value in chunk.items() if key not in ("choices", "usage", "obfuscation")}
        changed = False
        kept = []
        for choice in chunk["choices"]:
            index = choice.get("index", 0)
            so_far = self._choices[index]
            delta = choice.get("delta") or {}
            changed |= choice.pop("message", None) is not None
            took = so_far.take(delta)
            self._chars += took
            changed |= took > 0
            if choice.get("finish_reason"):
                released, choice["finish_reason"] = self._release(so_far, choice["finish_reason"])
                if released:
                    changed = True
                    choice["delta"] = {}
                    said = [delta] if any(value is not None for value in delta.values()) else []
                    self._tell(index, [*said, *released], out)
            elif took and not any(value is not None for value in delta.values()) and choice.get("logprobs") is None:
                continue
            kept.append(choice)
        if self.error is not None:
            return
        if not changed:
            out.append(raw)
        elif kept or chunk.get("usage") is not None:
            out.append(sse.event(_encode({**chunk, "choices": kept or chunk["choices"]})))

    def _release(self, so_far: _ChoiceSoFar, reason: Any) -> tuple[list[JsonObject], Any]:
        """Judge the calls of a choice that is whole now: the deltas that pass on what is granted, and the finish reason that is true."""
        message = so_far.whole_calls()
        refused = self._verdict.cut(message)
        so_far.kept = message or so_far.kept
        judge = self._verdict.judge
        if judge is not None and judge.error is not None:
            self._fail(judge.error)
            return [], reason
        if refused and not message:
            if self._denial_is_error:
                self._fail(denial(refused, judge))
                return [], reason
            note = {"content": so_far.say(refusal_note(refused, judge))}
            return [note], "stop" if reason in _CALL_FINISHES else reason
        deltas: list[JsonObject] = []
        if calls := message.get("tool_calls"):
            deltas.append({"tool_calls": [{"index": position, **call} for position, call in enumerate(calls)]})
        if call := message.get("function_call"):
            deltas.append({"function_call": call})
        return deltas, reason

    def _tell(self, index: int, deltas: list[JsonObject], out: list[bytes]) -> None:
        for delta in deltas:
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
            out.append(sse.event(_encode({**self._envelope, "choices": [choice]})))


class _ChoiceSoFar:
    """What came of one choice of a stream."""

    __slots__ = ("calls", "finished", "kept", "legacy", "refusal", "released", "text")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.refusal: list[str] = []
        self.calls: dict[int, JsonObject] = {}  # by the provider's index
        self.legacy: JsonObject = {}
        self.kept: JsonObject = {}
        self.finished = False
        self.released = False

    def read(self, delta: _Delta) -> int:
        """Read a delta whose content is no string; returns how many characters it holds."""
        chars = 0
        if isinstance(delta.content, list):
            for part in delta.content:
                if isinstance(part, dict) and isinstance(part.get("text"), str):
                    self.text.append(part["text"])
                    chars += len(part["text"])
        if isinstance(delta.refusal, str):
            self.refusal.append(delta.refusal)
            chars += len(delta.refusal)
        for shown_reasoning in (delta.reasoning_content, delta.reasoning):
            if isinstance(shown_reasoning, str):
                chars += len(shown_reasoning)
                break
        return chars

    def take(self, delta: JsonObject) -> int:
        """Take the tool-call fragments out of a delta; returns how many characters they hold, at least 1 where there are any."""
        chars = 0
        calls = delta.pop("tool_calls", None)
        legacy = delta.pop("function_call", None)
        for fragment in calls if isinstance(calls, list) else ():
            if isinstance(fragment, dict):
                index = fragment.pop("index", None)
                if not isinstance(index, int):  # some servers send whole calls without an index
                    index = len(self.calls) if fragment.get("id") or not self.calls else max(self.calls)
                chars += _merge(self.calls.setdefault(index, {}), fragment)
        if isinstance(legacy, dict):
            chars += _merge(self.legacy, legacy)
        return max(chars, 1) if calls or legacy else 0

    def whole_calls(self) -> JsonObject:
        """The calls as a message has them, taken out: a call is judged once, and what follows its end belongs to no message."""
        message: JsonObject = {}
        if self.released:
            return message
        if self.calls:
            message["tool_calls"] = [call for _, call in sorted(self.calls.items())]
            self.calls = {}
        if self.legacy:
            message["function_call"] = self.legacy
            self.legacy = {}
        self.released = bool(message)
        return message

    def say(self, note: str) -> str:
        """Add a note to the text; returns what to add, with a blank line before it where text precedes."""
        if any(piece.strip() for piece in self.text):
            note = "\n\n" + note
        self.text.append(note)
        return note

    def message(self) -> JsonObject:
        """The message as the app received it."""
        return {"role": "assistant", "content": "".join(self.text), "refusal": "".join(self.refusal), **self.kept}


class _Verdict:
    """Judges the calls of messages and remembers the outcome."""

    __slots__ = ("_granted", "issued", "refused", "released")

    def __init__(self, granted: Granted) -> None:
        self._granted = granted
        self.released: list[str] = []
        self.refused: list[str] = []
        self.issued: list[str] = []

    @property
    def judge(self) -> Judge | None:
        """Who judges what is granted."""
        return self._granted.judge

    def cut(self, message: JsonObject) -> list[str]:
        """Take the calls that were not granted out of a message; returns their names."""
        refused: list[str] = []
        calls = message.get("tool_calls")
        if calls:
            kept = []
            for call in calls if isinstance(calls, list) else [calls]:
                name = self._judge(call)
                if name is None:
                    refused.append(_call_name(call))
                    continue
                kept.append(call)
                self.released.append(name)
                if isinstance(call.get("id"), str):
                    self.issued.append(call["id"])
            message["tool_calls"] = kept
            if not kept:
                del message["tool_calls"]
        legacy = message.get("function_call")
        if legacy:
            name = self._judge({"type": "function", "function": legacy})
            if name is None:
                refused.append(_call_name({"function": legacy}))
                del message["function_call"]
            else:
                self.released.append(name)
        self.refused += refused
        return refused

    def _judge(self, call: Any) -> str | None:
        """The name of a granted call; None for any other. A call that could be read as either kind must be granted as both."""
        if not isinstance(call, dict):
            return None
        found = [(kind, call[kind]) for kind in ("function", "custom") if call.get(kind) is not None]
        if not found or (call.get("type") or found[0][0]) != found[0][0]:
            return None
        name = None
        for kind, called in found:
            name = called.get("name") if isinstance(called, dict) else None
            written = called.get("arguments" if kind == "function" else "input", "") if isinstance(called, dict) else None
            if not isinstance(name, str) or not isinstance(written, str) or (kind, name) not in self._granted:
                return None
        for kind, called in found:
            written = called.get("arguments", "") if kind == "function" else text_arguments(called.get("input", ""))
            if not self._granted.released(Called(kind, called["name"], written, text_or_none(call.get("id")))):
                return None
        return shown(name)


def _call_name(call: Any) -> str:
    called = (call.get("function") or call.get("custom")) if isinstance(call, dict) else None
    if isinstance(called, dict):
        return shown(called.get("name"))
    return shown(call.get("type") if isinstance(call, dict) else None)


def _append_note(message: JsonObject, note: str) -> None:
    content = message.get("content")
    if isinstance(content, list):
        message["content"] = [*content, {"type": "text", "text": note}]
    else:
        message["content"] = f"{content}\n\n{note}" if isinstance(content, str) and content.strip() else note


def _merge(whole: JsonObject, fragment: JsonObject) -> int:
    """Add a fragment of a call to what came before; returns the characters of arguments or input in it."""
    chars = 0
    for key, value in fragment.items():
        before = whole.get(key)
        if value is None:
            continue
        if isinstance(value, dict) and isinstance(before, dict):
            chars += _merge(before, value)
        elif key in ("arguments", "input") and isinstance(value, str):
            whole[key] = before + value if isinstance(before, str) else value
            chars += len(value)
        elif key == "name" and isinstance(value, str) and isinstance(before, str) and value != before:
            whole[key] = before + value
        elif isinstance(value, dict):
            whole[key] = {}
            chars += _merge(whole[key], value)
        elif before is None or before == "":
            whole[key] = value
    return chars


def _message_chars(message: JsonObject) -> int:
    chars = 0
    for key in ("content", "refusal", "reasoning_content"):
        value = message.get(key)
        if isinstance(value, str):
            chars += len(value)
        elif isinstance(value, list):
            chars += sum(len(part["text"]) for part in value if isinstance(part, dict) and isinstance(part.get("text"), str))
    if calls := message.get("tool_calls") or message.get("function_call"):
        chars += _argument_chars(calls)
    return chars


def _argument_chars(value: Any) -> int:
    if isinstance(value, list):
        return sum(_argument_chars(one) for one in value)
    if not isinstance(value, dict):
        return 0
    own = sum(len(value[key]) for key in ("arguments", "input") if isinstance(value.get(key), str))
    return own + sum(_argument_chars(one) for one in value.values())
