"""Mask named findings in a body: each value by a placeholder that is its own for the whole session, everywhere it stands.

What cannot be masked safely stays as it is, everywhere: a value that was read in another form than it is written in (decoded,
undisguised, across two parts), that also stands in a key, a name, an address or another field that must not be rewritten, or that
holds a sign which JSON escapes. The task is classified again afterwards, so whatever stayed counts.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import ahocorasick
import msgspec
import numpy as np
import numpy.typing as npt

from classifiers.sensitivity.engine import mask as shown_form
from router.exchange import JsonObject
from router.ports import Masks
from router.stages.classify import LONG_TEXT
from routing_rules.task import Task
from routing_rules.vocabulary import Finding

PLACEHOLDER = re.compile(r"\[[A-Z][A-Z0-9_]{0,63}_[0-9]{1,9}\]")
"""What a placeholder looks like: `[EMAIL_ADDRESS_1]`. Only those that a session has given out stand for a value."""

MOST_VALUES = 2_000
"""Values of one request that are masked; what a session may hold is limited alike."""

LITERAL = "TEXT"
"""The kind of a placeholder that stands for a text which only looks like one."""

_AS_THEY_ARE = frozenset(
    """
    model type role status phase name namespace id call_id caller_id tool_call_id item_id approval_request_id container_id
    previous_response_id conversation file_id file_ids file_url file_data filename image_url url data fingerprint
    encrypted_content server_url server_label connector_id authorization headers pattern format encoding_format detail
    allowed_tools require_approval tool_choice function_call include modalities $ref $schema $id
    tool_use_id server_name mcp_server_name tool_name toolset_name mcp_servers media_type thinking signature
    """.split()
)
"""Fields that say how a request is to be served, or where something is: nothing under them is replaced but in their objects."""

_FREELY = frozenset({"metadata", "variables", "attributes", "parsed", "parsed_arguments"})
"""Fields that hold an object whose own names are the app's: what stands under them is content, whatever it is called."""

_WHOLLY = frozenset({"headers", "tool_choice", "allowed_tools", "require_approval"})
"""Fields nothing below which is replaced, however deep."""

_SHORTEST_NUMBER = 6  # digits; no kind of value that may be masked is shorter
_UNSAFE = re.compile(r'["\\\x00-\x1f\x7f-\x9f\ud800-\udfff]')
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*')
_NOT_ESSENTIAL = re.compile(r"[\W_]+")
_SEPARATORS = np.frombuffer(b" .-", dtype=np.uint8)

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


T = TypeVar("T")


class Value(NamedTuple):
    """A text to be replaced, and the kind that its placeholder shows."""

    label: str
    text: str


class Masked(NamedTuple):
    """A body without the values, what every placeholder of the session stands for, and how many values of each `category/kind`."""

    body: JsonObject
    placeholders: Mapping[str, str]
    counts: dict[str, int]


async def mask(
    masks: Masks, app: str, session_id: str, body: JsonObject, task: Task, findings: Sequence[Finding], wanted: Collection[str]
) -> Masked:
    """Replace what a rule wants masked, and whatever the session has masked before. The body itself is not changed.

    Raises Unavailable(`store_unavailable`) where the session's mapping cannot be reached, Refused(`session_ended`).
    """
    content, fixed = texts_of(body)
    work = _aside if sum(map(len, content)) >= LONG_TEXT else _here
    found = await work(_found, task, findings, wanted, content, fixed)
    known = await masks.assign(app, session_id, tuple(found))
    alike = lookalikes(content, known)
    if alike:
        known = await masks.assign(app, session_id, alike)
    counts: dict[str, int] = {}
    for value, name in found.items():
        if value.text in known:
            counts[name] = counts.get(name, 0) + 1
    left = await work(masked, body, known, fixed)
    return Masked(left, {placeholder: text for text, placeholder in known.items()}, counts)


async def _here(work: Callable[..., T], *given: Any) -> T:
    return work(*given)


async def _aside(work: Callable[..., T], *given: Any) -> T:
    """In a thread, so that other requests get their turn meanwhile."""
    return await asyncio.to_thread(work, *given)


def _found(
    task: Task, findings: Sequence[Finding], wanted: Collection[str], content: Sequence[str], fixed: str
) -> dict[Value, str]:
    found = maskable(task, findings, wanted)
    found |= otherwise_written(found, content)
    stuck = standing((value.text for value in found), fixed)
    return {value: name for value, name in found.items() if value.text not in stuck}


def standing(texts: Iterable[str], fixed: str) -> frozenset[str]:
    """Those of the texts that stand where nothing may be replaced."""
    words = {text: text for text in texts}
    return frozenset(text for _, (_, text) in _automaton(words).iter(fixed)) if words and fixed else frozenset()


def maskable(task: Task, findings: Sequence[Finding], wanted: Collection[str]) -> dict[Value, str]:
    """The values that may be replaced, each with the `category/kind` of its finding, in the order in which they stand."""
    named = [finding for finding in findings if finding.kind in wanted or finding.category in wanted]
    alike: dict[tuple[str, str], list[Finding]] = {}
    for finding in named:
        alike.setdefault((finding.digest, finding.rule), []).append(finding)
    values: dict[Value, str] = {}
    texts: set[str] = set()
    for finding in named:
        text = _written(task, finding)
        if len(values) >= MOST_VALUES:
            break
        if not text or text in texts or _UNSAFE.search(text):
            continue
        if shown_form(text, secret=finding.category == "credentials") != finding.masked:
            continue
        texts.add(text)
        if not _runs_on(task, finding, text, alike[finding.digest, finding.rule]):
            values[Value(label_of(finding.kind), text)] = f"{finding.category}/{finding.kind}"
    return values


def otherwise_written(found: Mapping[Value, str], content: Sequence[str]) -> dict[Value, str]:
    """The same values where the content writes them another way, in other cases or with other separators between their signs: nothing
    around such a place may tell a detector what it is."""
    if not found:
        return {}
    exact = {value.text.lower() for value in found if "@" in value.text}
    forms = _automaton({_squeezed(value.text)[0]: (value.label, name) for value, name in found.items()})
    values: dict[Value, str] = {}
    for held in content:
        squeezed, places = _squeezed(held)
        data = held.encode("utf-8", "replace")
        for end, (length, (label, name)) in forms.iter(squeezed):
            span = places[end + 1 - length : end + 1]
            text = data[span[0] : span[-1] + 1].decode("utf-8", "replace")
            alike = text.lower() in exact if "@" in text else bool((span[1:] - span[:-1] <= 2).all())
            if alike and Value(label, text) not in found:
                values[Value(label, text)] = name
    return values


def _squeezed(text: str) -> tuple[str, npt.NDArray[np.intp]]:
    """A text without the separators that people write within values, in small letters, a character for each byte; and where in its
    bytes each of them stands."""
    data = np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8)
    places = np.flatnonzero(~np.isin(data, _SEPARATORS))
    return data[places].tobytes().lower().decode("latin-1"), places


def _automaton(words: Mapping[str, Any]) -> Any:
    """Finds all words (at least one) at once: however many there are, a text is read once. Gives (index of the last sign, (length, payload))."""
    automaton = ahocorasick.Automaton()
    for word, payload in words.items():
        automaton.add_word(word, (len(word), payload))
    automaton.make_automaton()
    return automaton


def label_of(kind: str) -> str:
    """How a kind of finding is written in its placeholders."""
    return (
        "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in kind.upper()).lstrip("_0123456789")[:60] or "VALUE"
    )


def lookalikes(content: Sequence[str], known: Mapping[str, str]) -> tuple[Value, ...]:
    """Texts of the content that are placeholders of the session, by chance or by design: they must stand for themselves. Where there
    are any, so must whatever could be taken for the placeholders that these get."""
    given = frozenset(known.values())
    written = {text for held in content if "[" in held for text in PLACEHOLDER.findall(held)} if given else set()
    alike = written & given - known.keys()
    if alike:
        alike |= {text for text in written if text.startswith(f"[{LITERAL}_")}
    return tuple(Value(LITERAL, text) for text in sorted(alike))


def masked(body: JsonObject, placeholders: Mapping[str, str], fixed: str = "") -> JsonObject:
    """The body with every text of `placeholders` replaced wherever content stands, but for those that also stand in `fixed`; the same
    object where there is none."""
    stuck = standing(placeholders, fixed)
    placeholders = {text: placeholder for text, placeholder in placeholders.items() if text not in stuck}
    if not placeholders:
        return body
    rewritten: JsonObject = _rewritten(body, "", _Replacing(placeholders).text)
    return rewritten


def texts_of(body: JsonObject) -> tuple[list[str], str]:
    """(every text of the body that may be rewritten, all else that is written in it, a line each)."""
    content: list[str] = []
    fixed: list[str] = []
    _gather(body, "", False, content, fixed)
    return content, "\n".join(fixed)


def _gather(value: Any, name: str, within: bool, content: list[str], fixed: list[str]) -> None:
    kind = type(value)
    if kind is str:
        (fixed if within or name in _AS_THEY_ARE else content).append(value)
    elif kind is list:
        for held in value:
            _gather(held, name, within, content, fixed)
    elif kind is dict:
        within = within or name in _WHOLLY
        free = name in _FREELY
        for key, held in value.items():
            fixed.append(key)
            _gather(held, name if free else key, within, content, fixed)
    elif kind is int and abs(value) >= 10 ** (_SHORTEST_NUMBER - 1):
        fixed.append(str(value))
    elif kind is float:
        fixed.append(repr(value))


def _rewritten(value: Any, name: str, text: Callable[[str], str]) -> Any:
    kind = type(value)
    if kind is str:
        return value if name in _AS_THEY_ARE else text(value)
    if kind is list:
        return [_rewritten(held, name, text) for held in value]
    if kind is dict:
        if name in _WHOLLY:
            return value
        free = name in _FREELY
        return {key: _rewritten(held, name if free else key, text) for key, held in value.items()}
    return value


class _Replacing:
    """Replaces values in texts, also where a text is JSON and its notation writes them another way."""

    def __init__(self, placeholders: Mapping[str, str]) -> None:
        self._values = _automaton(placeholders)

    def text(self, text: str) -> str:
        """The text without the values. Each place is replaced once: a placeholder may be a text that somebody wrote, too."""
        if text.lstrip()[:1] not in ("{", "[", '"') or not _is_json(text):
            return self._plain(text)
        pieces: list[str] = []
        after = 0
        for match in _JSON_TOKEN.finditer(text):
            token = match[0]
            if "\\" in token if token[0] == '"' else len(token) >= _SHORTEST_NUMBER:
                pieces += (self._plain(text[after : match.start()]), self._token(token))
                after = match.end()
        return "".join((*pieces, self._plain(text[after:])))

    def _plain(self, text: str) -> str:
        found = sorted((end + 1 - length, -length, placeholder) for end, (length, placeholder) in self._values.iter(text))
        pieces: list[str] = []
        after = 0
        for start, length, placeholder in found:  # from left to right, of those that begin alike the longest
            if start >= after:
                pieces += (text[after:start], placeholder)
                after = start - length
        return text if not pieces else "".join((*pieces, text[after:]))

    def _token(self, token: str) -> str:
        """What JSON writes another way: a text with escapes, and a number, which becomes a text where it is a value."""
        if token[0] != '"':
            without = self._plain(token)
            return token if without == token else f'"{without}"'
        said = _decode(token)
        without = self.text(said)
        return token if without == said else _encode(without).decode()


def _is_json(text: str) -> bool:
    try:
        _decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _written(task: Task, finding: Finding) -> str:
    """The text that a finding covers; empty where it lies in no part of the task as it was read."""
    return task.parts[finding.part].text[finding.start : finding.end] if finding.part < len(task.parts) else ""


def _runs_on(task: Task, finding: Finding, text: str, alike: Sequence[Finding]) -> bool:
    """Whether a finding is but one end of a value that runs from its part into another one. `alike`: all findings of that value."""

    def ends(one: Finding) -> bool:
        return one.end == len(task.parts[one.part].text)

    return any(
        (
            (other.part > finding.part and ends(finding) and other.start == 0)
            or (other.part < finding.part and finding.start == 0 and ends(other))
        )
        and _essence(_written(task, other)) != _essence(text)
        for other in alike
    )


def _essence(text: str) -> str:
    return _NOT_ESSENTIAL.sub("", text).lower()


def numbered(values: Sequence[Value], known: Mapping[str, str] = {}) -> dict[str, str]:
    """Text → placeholder for these values after the known ones: what a store does for a session, without a store."""
    placeholders = dict(known)
    counts: dict[str, int] = {}
    for placeholder in placeholders.values():
        label = placeholder[1:].rpartition("_")[0]
        counts[label] = counts.get(label, 0) + 1
    for value in values:
        if value.text not in placeholders:
            counts[value.label] = counts.get(value.label, 0) + 1
            placeholders[value.text] = f"[{value.label}_{counts[value.label]}]"
    return placeholders
