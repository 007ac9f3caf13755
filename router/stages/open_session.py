"""Which session a task belongs to, and what that session holds: issued ids first, then the header, then the conversation so far."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import takewhile
from secrets import token_hex

from router.errors import Refused
from router.exchange import SessionState
from router.ports import Linked, Sessions
from router.stages.conversation import joined
from routing_rules.facts import Labels
from routing_rules.task import Feature, Provenance, Task
from routing_rules.vocabulary import Assessment, Integrity, Sensitivity

MOST_PREFIXES = 32
"""How many of the latest answers of a conversation are looked up: a fork further back than that is a new session."""

BEGINNING = 384
"""Bytes without white space by which a text is known that begins with them: nobody else would begin so."""

MOST_PIECES = 8
"""Turns of the model in a row that are read as one answer."""

LONG_TURN = 256
"""Bytes without white space from which on a text by itself is known as a whole."""

VARIED = 12
"""Different bytes that every fourth of a beginning has at least: lines, empty tables and zeros say nothing about where they come from."""

_USER, _NO_WORDS = b'["user"', b'["user","",'  # how a message of the user begins in its canonical form, and how one without text
_RESULT = b'["tool"'
_NEXT = b'","'
"""What stands between who speaks and what they say, and behind that: no text holds it, since its quotation marks are escaped."""

NOTHING_LINKED = Linked(session_id=None, labels=Labels())


@dataclass(frozen=True, slots=True)
class Opened:
    """The session as read, the labels this request gives it, and the chain to which the answer's prefix will be added.

    `left_before` is the sensitivity of what has left us in the session so far, `leaves` the same with this request as it was sent.
    `unknown` are the ids in the history that this app was never given.
    """

    session: SessionState
    labels: Labels
    pinned: str | None
    chain: bytes
    left_before: Sensitivity
    leaves: Sensitivity
    unknown: frozenset[str] = frozenset()


class ConversationChain:
    """A keyed hash over (app, end user, messages so far). Without the key nobody can compute where a conversation leads."""

    def __init__(self, key: bytes) -> None:
        self._key = key[:64]

    def start(self, app: str, end_user: str | None) -> bytes:
        """The chain before the first message."""
        return blake2b(f"{len(app)}:{app}{end_user or ''}".encode(), key=self._key, digest_size=20).digest()

    def extend(self, chain: bytes, messages: Iterable[bytes]) -> bytes:
        """The chain after these messages."""
        for message in messages:
            chain = blake2b(chain + message, key=self._key, digest_size=20).digest()
        return chain

    def of(self, app: str, task: Task) -> tuple[bytes, list[str]]:
        """The chain after the whole conversation, and its value (hex) after each of the model's turns, oldest first."""
        chain = self.start(app, task.end_user)
        turns = frozenset(task.assistant_turns)
        prefixes: list[str] = []
        for index, message in enumerate(task.conversation):
            chain = self.extend(chain, (message,))
            if index in turns:
                prefixes.append(chain.hex())
        return chain, prefixes

    def said(self, app: str, messages: Sequence[bytes], turns: Iterable[int], *, shortest: int = LONG_TURN) -> list[str]:
        """Digests (hex) by which turns of the model are known again where the conversation around them was changed: each together with
        the message before it, with the user's before it, and by itself where it has at least `shortest` bytes (see `alone`). White space
        within a turn does not matter."""
        found = []
        seen, asked = 0, -1
        for index in turns:
            for place in range(seen, index):
                if _is_said_by_user(messages[place]):
                    asked = place
            seen = max(seen, index)
            bare = _without_blanks(messages[index])
            if index:
                if not messages[index - 1].startswith(_RESULT):  # many say `Done.` to an `ok`; a result carries labels of its own
                    found.append(self._known_by(app, messages[index - 1], bare))
                if 0 <= asked != index - 1:
                    found.append(self._known_by(app, messages[asked], bare))
            if len(bare) >= shortest and (known := self._alone(app, bare)) is not None:
                found.append(known)
        return found

    def alone(self, app: str, turn: bytes) -> str | None:
        """The digest (hex) by which the text of a turn is known whoever says it and whatever stands around it: that of its beginning,
        so that a part of it and a longer text that begins with it are known too. None where it is too short for that."""
        return self._alone(app, _without_blanks(turn))

    def _alone(self, app: str, bare: bytes) -> str | None:
        start = bare.index(_NEXT, 2) + len(_NEXT)
        end = bare.find(_NEXT, start, start + BEGINNING + len(_NEXT))
        if 0 <= end < start + LONG_TURN:
            return None
        beginning = bare[start : end if end >= 0 else start + BEGINNING]
        if len(set(beginning[::4])) >= VARIED:
            return self._known_by(app, b"", beginning)
        if len(beginning) < BEGINNING:
            return None
        return self._known_by(app, b"", bare[start : bare.index(_NEXT, start)])

    def _known_by(self, app: str, before: bytes, turn: bytes) -> str:
        told = blake2b(f"{len(app)}:{app}{len(before)}:".encode(), key=self._key, digest_size=20, person=b"said")
        told.update(before)
        told.update(turn)
        return told.hexdigest()

    def in_pieces(self, app: str, messages: Sequence[bytes], turns: Sequence[int]) -> list[str]:
        """The same of answers that are sent as several turns of the model, one right behind the other."""
        found = []
        of_model = frozenset(turns)
        for index in turns:
            if index + 1 in of_model and len(messages[index]) < 2 * BEGINNING:
                pieces = takewhile(of_model.__contains__, range(index, index + MOST_PIECES))
                whole = joined(messages[place] for place in pieces)
                if whole is not None and (known := self.alone(app, whole)) is not None:
                    found.append(known)
        return found

    def latest(self, app: str, task: Task) -> list[str]:
        """Digests of what may have been said before, in the latest turns of the model.

        Where the task asks for tools, the texts of all others are looked at too, since an app may hand on an answer in any role.
        """
        turns = task.assistant_turns[-MOST_PREFIXES:]
        found = self.said(app, task.conversation, turns) + self.in_pieces(app, task.conversation, turns)
        if task.tools:
            spoken = frozenset(task.assistant_turns)
            for index, turn in enumerate(task.conversation):
                if len(turn) >= LONG_TURN and index not in spoken and (known := self.alone(app, turn)) is not None:
                    found.append(known)
        return found

    def earlier(self, app: str, task: Task) -> list[str]:
        """The same of the turns of the model before the latest."""
        turns = task.assistant_turns[:-MOST_PREFIXES]
        return self.said(app, task.conversation, turns) + self.in_pieces(app, task.conversation, turns)


def _is_said_by_user(message: bytes) -> bool:
    """Whether a person's words are in a message: the Messages API sends results of tools as the user's, too."""
    return message.startswith(_USER) and not message.startswith(_NO_WORDS)


def _without_blanks(turn: bytes) -> bytes:
    """A canonical form without the white space of its text, which is written as an escape there."""
    if b"\\" in turn:
        turn = turn.replace(b"\\n", b"").replace(b"\\r", b"").replace(b"\\t", b"")
    return turn.translate(None, b" ")


async def open_session(
    sessions: Sessions,
    chains: ConversationChain,
    app: str,
    task: Task,
    assessment: Assessment,
    deployments: Sequence[str],
    *,
    body_digest: str | None = None,
    session_id: str | None = None,
) -> Opened:
    """Link the task to its session and read it: where it asks for tools, with all that their calls are judged by, and with the approval
    that the same body (`body_digest`) waits for. `session_id`: the session that an approval was asked for in.

    Raises Refused `response_not_found` for a reference to a response that this app was not given, Unavailable where Redis is down.
    """
    chain, prefixes = chains.of(app, task)
    linked = NOTHING_LINKED
    said = chains.latest(app, task)
    pinned = await _holder(sessions, app, task.previous_response_id) if task.previous_response_id is not None else None
    if task.issued_ids or prefixes or said:
        linked = await sessions.link(app, task.issued_ids, prefixes[-MOST_PREFIXES:], said)
    if session_id is None:
        # An app that names its session means it, unless an issued id says otherwise; what its history carries comes along all the same.
        by_conversation = linked.session_id if linked.exact or task.session_header is None else None
        session_id = by_conversation or task.session_header or "s_" + token_hex(12)
    if task.tools:
        opening = sessions.open(session_id, app, deployments, calls=True, body_digest=body_digest)
    else:
        opening = sessions.open(session_id, app, deployments)
    if len(prefixes) > MOST_PREFIXES and not linked.followed:  # one that is followed carries what was ever said in it
        session, before = await asyncio.gather(opening, sessions.link(app, (), (), chains.earlier(app, task)))
        linked = linked.joined(before)
    else:
        session = await opening
    own = carried(task, assessment, linked.unknown)
    labels = session.labels.join(linked.labels).join(own)
    left_before = max(session.forwarded, linked.forwarded or linked.labels.confidentiality)
    if task.session_header is not None and task.session_header != session_id:  # ids of another session than the app says it is
        said_to_be = await sessions.open(task.session_header, app, ())
        labels, left_before = labels.join(said_to_be.labels), max(left_before, said_to_be.forwarded)
    if pinned is None and Feature.STORED_STATE in task.features:
        pinned = linked.pinned
    return Opened(session, labels, pinned, chain, left_before, max(left_before, own.confidentiality), linked.unknown)


async def _holder(sessions: Sessions, app: str, response_id: str) -> str:
    """The deployment that holds the state behind a response."""
    linked = await sessions.link(app, (response_id,), ())
    if linked.pinned is None:
        raise Refused(
            "response_not_found",
            "`previous_response_id` names no response that this app was given in the last day, or one that is still under way: "
            "wait for its end, or send the conversation itself",
            param="previous_response_id",
        )
    return linked.pinned


def after_masking(opened: Opened, task: Task, assessment: Assessment) -> Labels:
    """The labels to decide on once a request was masked: whatever was masked in the session has not left us, all else has."""
    own = carried(task, assessment, opened.unknown)
    return Labels(max(opened.labels.integrity, own.integrity), max(opened.left_before, own.confidentiality))


def carried(task: Task, assessment: Assessment, unknown: frozenset[str] = frozenset()) -> Labels:
    """The labels that this request alone would give a session: recomputed from all that was sent, whatever was sent before.

    A result of a call that was never issued here (`unknown` ids, or none) is untrusted and private. What the result of an issued call
    is, the session knows since the call was released.
    """
    confidentiality = assessment.sensitivity if task.declared is None else max(assessment.sensitivity, task.declared)
    untrusted = "injection" in assessment.categories
    for part in task.parts:
        if part.provenance is Provenance.ATTACHMENT:
            untrusted = True
        elif part.provenance is Provenance.TOOL_RESULT and (part.call_id is None or part.call_id in unknown):
            untrusted, confidentiality = True, max(confidentiality, Sensitivity.CONFIDENTIAL)
    return Labels(Integrity.UNTRUSTED if untrusted else Integrity.TRUSTED, confidentiality)


def digest_of(key: bytes, app: str, raw: bytes) -> str:
    """Keyed hash of a body as received, so that a retry or an approval can be matched without keeping the text."""
    digest = blake2b(app.encode() + b"\0", key=key[:64], person=b"body", digest_size=20)
    digest.update(raw)
    return digest.hexdigest()
