"""Enforce a grant on answers in the responses format: items of tools that were not granted leave no trace but a note."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from router import sse
from router.errors import RouterError
from router.exchange import JsonObject
from router.stages.conversation import response_item
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
from router.stages.read_usage import CALLED, INTERPRETER, hosted_calls, usage_of
from router.stages.sealed import seals
from router.stages.tool_keys import CLIENT_CALLS, Granted, item_name

_HELD = CLIENT_CALLS - {"tool_search_call"}
"""Calls that are judged, and so held until they are whole."""
_BILLED = (*CALLED, INTERPRETER)
_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})

# Events that may pass for an item which was never announced: they carry what the model says, not what it does.
_SPOKEN = ("response.output_text.", "response.content_part.", "response.refusal.", "response.reasoning", "response.audio")

_WORDS = frozenset(f"response.{what}.delta" for what in ("output_text", "refusal", "reasoning_text", "reasoning_summary_text"))
"""Events of which an answer in words has many."""

_TOLD_OF = {"mcp_approval_request": "response.mcp_call_arguments."}
"""Type of item → how the names of its events begin, where that is not by its type."""

_NO_WORDS = frozenset({"type", "item_id", "obfuscation"})
"""Fields of an event of a call that say nothing of the call."""


class _Response(msgspec.Struct, gc=False):
    id: Any = None
    model: Any = None
    status: Any = None
    output: list[JsonObject] | None = None
    usage: Any = None
    service_tier: Any = None
    error: Any = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    sequence_number: int | None = None
    output_index: int | None = None
    delta: Any = None
    item: JsonObject | None = None
    response: _Response | None = None
    error: Any = None
    code: Any = None


class _Waiting(msgspec.Struct, gc=False):
    """An event that waits until the calls before it are whole."""

    raw: bytes
    index: int | None
    number: int | None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_response = msgspec.json.Decoder(_Response).decode
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def enforce_responses_json(raw: bytes, granted: Granted, denial_is_error: bool) -> Enforced:
    """See `enforce_json`. Raises one of UNREADABLE where the bytes are no response object."""
    answer = _decode_response(raw)
    if answer.output is None and (answer.error or answer.id is None):
        return Enforced(b"", error=provider_error(answer.error) if answer.error else not_understood("a response object"))
    output = answer.output or []
    kept, refused = _judged(granted, output)
    names = _names(refused)
    error: RouterError | None = granted.error
    if refused and error is None:
        if _needs_note(kept, refused):
            kept.append(_note_item(answer.id, refusal_note(names, granted.judge)))
            error = denial(names, granted.judge) if denial_is_error else None
        if error is None:
            raw = _encode({**_decode(raw), "output": kept})
    if error is not None:
        raw, kept = b"", []
    hosted = hosted_calls(output)
    return Enforced(
        body=raw,
        usage=usage_of(answer.usage, service_tier=answer.service_tier, tools=hosted),
        hosted=hosted,
        complete=True,
        failed=answer.status == "failed",
        model=text_or_none(answer.model),
        response_id=text_or_none(answer.id),
        issued_ids=_issued(answer.id, kept) if error is None else (),
        assistant=canonical(response_item, kept),
        released=_names(_calls(kept)),
        refused=names,
        output_chars=sum(_chars(item) for item in output),
        error=error,
    )


class ResponsesStream:
    """One responses stream, event by event."""

    def __init__(self, granted: Granted, *, denial_is_error: bool) -> None:
        self._granted = granted
        self._denial_is_error = denial_is_error
        self._announced: dict[int, str] = {}  # where an item stands → its type
        self._hosted: dict[int, JsonObject] = {}  # where an item stands that the provider bills as a call → what is known of it
        self._dropped: set[int] = set()
        self._dropped_ids: set[str] = set()
        self._refused: list[JsonObject] = []
        self._items: list[JsonObject] = []  # whole items that were passed on, in order
        self._calls: set[int] = set()  # where calls stand, which wait until all that are open are whole
        self._open: set[int] = set()  # calls that are not whole yet
        self._places: dict[int, int] = {}  # where the provider has an item → where the app has it
        self._altered = False  # whether anything was dropped, or has overtaken a call
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._last: _Response | None = None
        self._next_number = 0
        self._chars = 0
        self._complete = False
        self._tail = b""
        self._fragments = Fragments()
        self.error: RouterError | None = None

    @property
    def held_chars(self) -> int:
        """Bytes kept in memory for this stream."""
        return self._waiting_bytes

    def event(self, raw: bytes, out: list[bytes]) -> None:
        """Take one raw event; append to `out` what may be passed on now. Raises one of UNREADABLE where it breaks the format."""
        text = self._fragments.text(raw)
        if text is not None:
            self._chars += len(text)
            self._next_number = self._fragments.number + 1
            out.append(raw)
            return
        self._fragments.forget()
        raw, data = plain_event(raw)
        if not data:
            if not self._complete:
                out.append(raw)
            return
        if data.startswith(b"[DONE]"):
            self._tail += raw
            return
        if self._complete:
            return
        event = _decode_event(data)
        kind = event.type
        if type(event.delta) is str and kind != "response.audio.delta":
            self._chars += len(event.delta)
        index = event.output_index
        if event.response is not None and event.item is not None:  # no event has both, and only one of them would be judged
            self._fail(not_understood("a stream of response events"))
            return
        if event.response is not None:
            self._last = event.response
            if kind in _TERMINAL:
                self._terminate(raw, data, event, out)
                return
            if event.response.output:
                raw = self._without_refused(raw, data, event.response.output)
        elif kind == "error" or event.error:
            self._fail(provider_error(event.error or {"code": event.code}))
            return
        elif event.item is not None or kind == "response.output_item.added" or kind == "response.output_item.done":
            if event.item is None or index is None:
                self._fail(not_understood("a stream of response events"))
                return
            if event.item.get("type") in _BILLED:
                self._hosted[index] = event.item
            if not self._judge(index, event.item, whole=kind == "response.output_item.done"):
                self._flush(out)
                return
            if kind == "response.output_item.done":
                if index in self._calls and not _tells_the_same(self._waiting, index, event.item):
                    self._fail(not_understood("a stream of response events"))
                    return
                self._pass(raw, index, event.sequence_number, out)
                self._items.append(event.item)
                self._open.discard(index)
                self._flush(out)
                return
            self._announced[index] = text_or_none(event.item.get("type")) or ""
            if event.item.get("type") in _HELD:
                self._calls.add(index)
                self._open.add(index)
        elif index in self._dropped:
            return
        elif not (kind.startswith(_SPOKEN) or self._is_about(kind, index)):
            self._altered = True  # nobody has judged what it tells
            return
        self._pass(raw, index, event.sequence_number, out)
        if kind in _WORDS and not (self._altered or self._waiting) and event.sequence_number is not None:
            self._fragments.learn(raw, text_or_none(event.delta) or "", event.sequence_number)

    def end(self) -> Enforced:
        """What is known at the end. Calls that were still held are not released: they may not be whole."""
        last = self._last or _Response()
        kept = self._items if self.error is None else []
        hosted = hosted_calls((self._complete and last.output) or self._hosted.values())
        return Enforced(
            body=b"",
            tail=self._tail if self.error is None else b"",
            usage=usage_of(last.usage, service_tier=last.service_tier, tools=hosted),
            hosted=hosted,
            complete=self._complete,
            failed=last.status == "failed",
            model=text_or_none(last.model),
            response_id=text_or_none(last.id),
            issued_ids=_issued(last.id, kept),
            assistant=canonical(response_item, kept),
            released=_names(_calls(self._items)),
            refused=_names(self._refused),
            output_chars=self._chars,
            error=self.error,
            next_number=self._next_number,
        )

    def _fail(self, error: RouterError) -> None:
        if self.error is None:
            self.error = error

    def _judge(self, index: int, item: JsonObject, *, whole: bool) -> bool:
        """Whether an item may pass; one that may not is dropped with everything that belongs to it."""
        if index not in self._dropped and self._granted.item(item) and not (whole and _is_refused(self._granted, item)):
            return True
        if self._granted.error is not None:
            self._fail(self._granted.error)
        if index not in self._dropped:
            self._altered = True
            self._dropped.add(index)
            if isinstance(item.get("id"), str):
                self._dropped_ids.add(item["id"])
            self._refused.append(item)
            self._open.discard(index)
            self._waiting = [event for event in self._waiting if event.index != index]
        return False

    def _is_about(self, kind: str, index: int | None) -> bool:
        """Whether an event tells of an item that was announced, and of nothing but what such an item has; or only that all is well."""
        if index is None:
            return kind == "keepalive"
        announced = self._announced.get(index)
        return announced is not None and kind.startswith(_TOLD_OF.get(announced, f"response.{announced}"))

    def _pass(self, raw: bytes, index: int | None, number: int | None, out: list[bytes]) -> None:
        if self._open and index in self._calls:  # calls of one answer come one after the other; text waits for none of them
            self._waiting.append(_Waiting(raw, index, number))
            self._waiting_bytes += len(raw)
            return
        self._altered = self._altered or bool(self._waiting)
        if self._altered:
            raw = self._renumbered(raw, index, number)
        else:
            if number is not None:
                self._next_number = number + 1
            if index is not None:
                self._places[index] = index
        out.append(raw)

    def _flush(self, out: list[bytes]) -> None:
        if self._open:
            return
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for event in waiting:
            self._pass(event.raw, event.index, event.number, out)

    def _next_place(self) -> int:
        return max(self._places.values(), default=-1) + 1

    def _renumbered(self, raw: bytes, index: int | None, number: int | None) -> bytes:
        """The event as if the dropped items had never been, and the others had come in this order."""
        body = _decode(sse.data_of(raw))
        if number is not None:
            body["sequence_number"] = self._number()
        if index is not None:
            if index not in self._places:
                self._places[index] = self._next_place()
            body["output_index"] = self._places[index]
        return _rebuilt(raw, body)

    def _number(self) -> int:
        number = self._next_number
        self._next_number += 1
        return number

    def _without_refused(self, raw: bytes, data: bytes, output: list[JsonObject]) -> bytes:
        kept = [item for item in output if self._granted.item(item)]
        if len(kept) == len(output):
            return raw
        body = _decode(data)
        body["response"]["output"] = kept
        return _rebuilt(raw, body)

    def _terminate(self, raw: bytes, data: bytes, event: _Event, out: list[bytes]) -> None:
        """Hold the last event back; it carries the whole output again."""
        self._complete = True
        self._open.clear()
        self._flush(out)
        response = event.response or _Response()
        last = len(response.output or ())
        by_place = sorted(enumerate(response.output or ()), key=lambda each: self._places.get(each[0], last))
        output = [item for _, item in by_place]
        left = [item for item in output if text_or_none(item.get("id")) not in self._dropped_ids]
        kept, refused = _judged(self._granted, left)
        self._refused += refused
        if self._granted.error is not None:
            self._fail(self._granted.error)
            return
        if output:
            self._items = kept
            self._chars = max(self._chars, sum(_chars(item) for item in output))
        if self._refused and _needs_note(self._items, self._refused):
            names = _names(self._refused)
            if self._denial_is_error:
                self._fail(denial(names, self._granted.judge))
                return
            note = _note_item(response.id, refusal_note(names, self._granted.judge))
            self._tell(note, out)
            kept.append(note)
            self._items = [*self._items, note] if not output else kept
        if self._altered or self._refused:
            body = _decode(data)
            body["response"]["output"] = kept
            if event.sequence_number is not None:
                body["sequence_number"] = self._number()
            raw = _rebuilt(raw, body)
        elif event.sequence_number is not None:
            self._next_number = event.sequence_number + 1
        self._tail = raw

    def _tell(self, item: JsonObject, out: list[bytes]) -> None:
        """The events of a message of ours."""
        part = item["content"][0]
        where = {"item_id": item["id"], "output_index": self._next_place(), "content_index": 0}
        empty = {**part, "text": ""}
        begun = {**item, "status": "in_progress", "content": []}
        for kind, fields in (
            ("response.output_item.added", {"output_index": where["output_index"], "item": begun}),
            ("response.content_part.added", {**where, "part": empty}),
            ("response.output_text.delta", {**where, "delta": part["text"], "logprobs": []}),
            ("response.output_text.done", {**where, "text": part["text"], "logprobs": []}),
            ("response.content_part.done", {**where, "part": part}),
            ("response.output_item.done", {"output_index": where["output_index"], "item": item}),
        ):
            out.append(sse.event(_encode({"type": kind, "sequence_number": self._number(), **fields}), kind))


def _rebuilt(raw: bytes, body: JsonObject) -> bytes:
    kind = body.get("type")
    # A name with a line break in it would end its line, and begin one that nobody has judged.
    named = raw.startswith(b"event:") and isinstance(kind, str) and kind.replace(".", "_").isidentifier()
    return sse.event(_encode(body), kind if named else None)


def _needs_note(kept: Iterable[JsonObject], refused: Iterable[JsonObject]) -> bool:
    """Whether the app would be left without an answer, or waiting for a call that never comes."""
    kinds = {item["type"] for item in kept}
    if kinds & CLIENT_CALLS:
        return False
    return "message" not in kinds or any(text_or_none(item.get("type")) in CLIENT_CALLS for item in refused)


def _judged(granted: Granted, items: list[JsonObject]) -> tuple[list[JsonObject], list[JsonObject]]:
    """The items that may reach the app, and the others."""
    kept: list[JsonObject] = []
    refused: list[JsonObject] = []
    for item in items:
        (kept if granted.item(item) and not _is_refused(granted, item) else refused).append(item)
    return kept, refused


def _is_refused(granted: Granted, item: JsonObject) -> bool:
    """Whether a granted item is a call that may not be made now."""
    if granted.judge is None or item["type"] not in _HELD:
        return False
    call = granted.call(item)
    return call is not None and not granted.released(call)


def _tells_the_same(waiting: Iterable[_Waiting], index: int, item: JsonObject) -> bool:
    """Whether the events of a call have told of it what stands in the item that is judged: a client may go by either."""
    written: dict[tuple[str, Any], str] = {}
    told: list[str] = []
    for event in (_decode(sse.data_of(each.raw)) for each in waiting if each.index == index):
        kind = event["type"]
        if kind.endswith(".delta") and isinstance(event.get("delta"), str):
            text = (kind, str(event.get("command_index")))
            written[text] = written.get(text, "") + event["delta"]
        elif "item" not in event:
            told += (value for name, value in event.items() if isinstance(value, str) and name not in _NO_WORDS)
    return all(text in _strings(item) for text in (*told, *written.values()) if text)


def _strings(value: Any) -> list[str]:
    """Every string in it."""
    if isinstance(value, str):
        return [value]
    held = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in held for text in _strings(each)]


def _note_item(response_id: Any, note: str) -> JsonObject:
    part = {"type": "output_text", "text": note, "annotations": [], "logprobs": []}
    return {"type": "message", "id": f"msg_note_{response_id}", "status": "completed", "role": "assistant", "content": [part]}


def _names(items: Iterable[JsonObject]) -> tuple[str, ...]:
    """Names of the tools that items belong to."""
    return tuple(item_name(item) for item in items)


def _calls(items: Iterable[JsonObject]) -> list[JsonObject]:
    return [item for item in items if item["type"].endswith("_call") or item["type"] in CLIENT_CALLS]


def _issued(response_id: Any, kept: Iterable[JsonObject]) -> tuple[str, ...]:
    ids = [response_id] if isinstance(response_id, str) else []
    for item in kept:
        # What a later request can refer to: a call by its result, a request for approval, and reasoning by itself.
        issued = item.get("id") if item["type"] in ("mcp_approval_request", "reasoning") else item.get("call_id")
        if isinstance(issued, str):
            ids.append(issued)
        ids += seals(item)
        ids += _state_in(item)
    return tuple(dict.fromkeys(ids))


def _state_in(item: JsonObject) -> Iterator[str]:
    """What an answer made at the provider, which a later request may name: the container in which code ran, and files out of it."""
    content = item.get("content")
    parts = content if isinstance(content, list) else ()
    cited = (part["annotations"] for part in parts if isinstance(part, dict) and isinstance(part.get("annotations"), list))
    for told in (item, *(note for notes in cited for note in notes if isinstance(note, dict))):
        for name in ("container_id", "file_id") if told.get("type") == "container_file_citation" else ("container_id",):
            if isinstance(told.get(name), str):
                yield told[name]


def _chars(item: JsonObject) -> int:
    chars = 0
    content = item.get("content")
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict):
            chars += sum(len(part[key]) for key in ("text", "refusal") if isinstance(part.get(key), str))
    return chars + sum(len(item[key]) for key in ("arguments", "input", "code") if isinstance(item.get(key), str))
