"""What is known of an answer after the grant was enforced on it, and the words for what was refused in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from router.errors import CODES, Refused, RouterError, UpstreamFailed
from router.exchange import JsonObject
from router.stages.tool_keys import Judge, shown
from router.usage import Usage

UNREADABLE = (ValueError, RecursionError)
"""What decoding raises on bytes that are not what they should be: not UTF-8, not JSON, another shape, or nested too deeply."""


class Enforced(msgspec.Struct, frozen=True):
    """An answer as the app may have it, and what must be recorded of it.

    `body` is what may be sent now (JSON: everything, the identical object where nothing had to change; a stream: what was
    still held), `tail` the event that ends a stream, kept back so that the request is settled before its end is seen.
    `usage` is None where the provider reported none. `hosted` are the hosted calls that were seen, by kind. `complete`: the answer came to a proper end. `failed`: that end is the
    provider's own report of a failure. `issued_ids` are the ids by which a later request can refer to this answer,
    `assistant` its canonical conversation items (chat: one per choice). `released` and `refused` name tool calls, once per
    call. `output_chars` counts the characters of text and arguments, passed on or not. With an `error`, neither body nor
    tail may be sent. `next_number` is the sequence number that an event of ours would have.
    """

    body: bytes
    tail: bytes = b""
    usage: Usage | None = None
    hosted: tuple[tuple[str, int], ...] = ()
    complete: bool = False
    failed: bool = False
    model: str | None = None
    response_id: str | None = None
    issued_ids: tuple[str, ...] = ()
    assistant: tuple[bytes, ...] = ()
    released: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    output_chars: int = 0
    error: RouterError | None = None
    next_number: int = 0


def text_or_none(value: Any) -> str | None:
    """The value where it is a non-empty string."""
    return value if isinstance(value, str) and value else None


def canonical(form: Callable[[JsonObject], bytes | None], items: Iterable[JsonObject]) -> tuple[bytes, ...]:
    """Canonical forms of what the app received; what a provider sent in no known shape has none, and links nothing later."""
    forms = []
    for item in items:
        try:
            found = form(item)
        except (AttributeError, KeyError, TypeError):
            continue
        if found is not None:
            forms.append(found)
    return tuple(forms)


def refusal_note(refused: Sequence[str], judge: Judge | None = None) -> str:
    """The sentence that stands where refused calls stood, for the people and the models that read the answer."""
    reason = next((why for name in refused if judge is not None and (why := judge.why(name)) is not None), None)
    if reason is not None:
        told = ", ".join(f"`{name}`" for name in dict.fromkeys(refused))
        return f"A call of {told} was refused and removed from the answer ({reason[0]}): {reason[1]}."
    names = ", ".join(f"`{name}`" for name in dict.fromkeys(refused))
    if len(set(refused)) > 1:
        return f"The tools {names} are not entitled for this task, so their calls were removed from the answer."
    return f"The tool {names} is not entitled for this task, so its call was removed from the answer."


def denial(refused: Sequence[str], judge: Judge | None = None) -> Refused:
    """The error that stands for refused calls where the app asked for structure, so that prose would be wrong."""
    if judge is not None:
        return judge.denial(tuple(refused))
    names = ", ".join(f"`{name}`" for name in dict.fromkeys(refused))
    return Refused("tool_not_entitled", f"the answer calls {names}, which is not entitled for this task", param="tools")


def not_understood(what: str) -> UpstreamFailed:
    """The error for an answer that breaks the wire format."""
    return UpstreamFailed("upstream_error", f"the provider's answer is not {what}", transient=True)


def provider_error(error: Any) -> UpstreamFailed:
    """The error that a provider put into an answer which it began as a success. Its own words stay out: they may quote content."""
    told = (error.get("code"), error.get("type")) if isinstance(error, dict) else ()
    word = next((shown(part) for part in told if isinstance(part, str)), "")
    limited = word == "rate_limit_exceeded"
    code = word if limited or word == "context_length_exceeded" else "upstream_error"
    because = f": `{word}`" if word in CODES or word.replace("_", "").isalpha() else ""
    transient = code != "context_length_exceeded"
    return UpstreamFailed(
        code,
        f"the provider reported an error in place of an answer{because}",
        transient=transient,
        cool_down=limited,
        detail=word,
    )
