"""Whether a session goes round in circles: the same call again and again, or a few by turns, with nothing new in between (pure).

What makes progress is no loop: the next page, a result that changed, a look at something that says it is not ready yet, the
same request sent again by a client library. Progress is believed for a while only: past `PATIENCE` times the limit it stops too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

from routing_rules.provenance import as_text, walk

PATIENCE = 25
MOST_CALLS = 512
"""How far a session is looked back over."""
_MOST_CHARACTERS = 20_000
_LONGEST_PERIOD = 3
_WORD = re.compile(r"[^\W_]+")
_NAME_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_WORD_OF_STATE = re.compile(r"\w+")
_PAGING = frozenset(
    "page pages page_number pagenumber page_no page_token pagetoken next_page next_page_token offset cursor after before skip start"
    " start_at startat start_index from from_line since_id max_id marker continuation continuation_token continue token next_token"
    " start_cursor end_cursor position line line_start start_line begin view_range chunk part index batch".split()
)
_NONCES = frozenset(
    "request_id requestid idempotency_key idempotencykey nonce timestamp ts uuid trace_id correlation_id cache_buster".split()
)
_WAITS = frozenset("sleep wait delay pause".split())
_AWAITS = frozenset("poll receive listen watch tail await unread incoming new updates".split())
"""Words of tools that are asked again and again until there is something."""
_TURNS = frozenset("scroll next more pagedown pageup screenshot".split())
"""Words of tools, and whole arguments, that turn a page without naming it: what comes back says whether there was another."""
_MAKES = frozenset(
    "send create add post pay delete remove write update order buy transfer submit invite share publish reply".split()
)
"""Words of tools that make something each time, whatever else their names say."""
_WORKS = frozenset(
    "job jobs task build run runs operation operations deploy deployment pipeline workflow process export import upload download check"
    " status state progress health ready rollout migration instance cluster transfer render".split()
)
"""Words of tools that ask after something that is being done."""
_NOT_READY = frozenset(
    "pending running queued processing progress in_progress inprogress waiting building creating containercreating provisioning"
    " not_ready notready initializing initialising deploying uploading downloading incomplete executing rendering syncing indexing"
    " compiling pulling migrating booting transcoding restarting rebuilding terminating stopping validating preparing enqueued delayed"
    " throttled unhealthy unavailable in_queue".split()
)
_NOT_READY_OF_WORKS = frozenset(
    "scheduled starting started accepted working busy active submitted open new partial created".split()
)
"""States that a customer or a contract may have for years, and a job only while it is under way."""
_FEW = 2
_SHORT = 300
"""Characters of a result up to which its words are taken for a message; in a longer one only what is named a state is."""
_STATE = re.compile(
    r"""\b(?:\w*_)?(?:status|state|phase|stage|conclusion|progress)["']?\s{0,3}[:=]\s{0,3}["']?([a-z][\w -]{0,40})""",
    re.IGNORECASE,
)
_UNDONE = re.compile(
    r"""\b(?:is_?)?(?:done|ready|finished|complete|completed)["']?\s{0,3}[:=]\s{0,3}["']?(?:false|no)\b""", re.IGNORECASE
)
_SHARE = re.compile(
    r"""\b(?:\w*_)?(percent|percentage|pct|progress|completion)\w{0,12}["']?\s{0,3}[:=]\s{0,3}["']?([0-9]{1,3}(?:\.[0-9]{1,9})?)(?![0-9])"""
    r"""|\b([0-9]{1,2}(?:\.[0-9]{1,9})?)\s?%""",
    re.IGNORECASE,
)
_SAYS_WAIT = re.compile(
    r"\b(?:not|never|nothing|no \w+) (?:yet|ready|finished|done|complete|completed|available|healthy|up)\b|\byet\b|\bstill \w+ing\b|\btry again\b"
    r"|\bretry(?:ing| after| later)\b|\bretry_after\b|\brate.?limit|\btoo many requests\b|\btemporarily\b|\bin progress\b|\bwarming up\b",
    re.IGNORECASE,
)
_EMPTY = frozenset(("", "[]", "{}", "null", "none", "0", "no messages", "no new messages", "nothing"))


class LoopKind(StrEnum):
    """How a session goes round."""

    IDENTICAL = "identical"
    NEAR_IDENTICAL = "near_identical"
    ALTERNATING = "alternating"


class Loop(msgspec.Struct, frozen=True):
    """A loop: the tool of the call that closes it, and how many times round it was."""

    kind: LoopKind
    tool: str
    rounds: int


class CallSeen(msgspec.Struct, frozen=True):
    """What is remembered of a call to tell a repetition by: hashes only. `exact` is of the arguments as they are but
    for what is new in every call, `near` of their words in no order, without the places of a page, `page` of those places (empty: none),
    `result` of what came back (empty: nothing yet). `looks`: the call changes nothing, or turns a page. `not_ready`: what came back says
    so, or the call itself only waits."""

    tool: str
    exact: str
    near: str
    page: str = ""
    result: str = ""
    looks: bool = False
    not_ready: bool = False


def seen(tool: str, arguments: Any, *, looks: bool, result: str | None = None) -> CallSeen:
    """What is remembered of a call. `arguments` is the decoded JSON. A call that a client library sent again after a failure
    is the same call, and is not to be counted as another."""
    words = _words_of(tool)
    written = [(name, text) for name, text in _written(arguments) if _plain_name(name[:100]) not in _NONCES]
    pages, rest = _parted(written)
    if not looks and words.isdisjoint(_MAKES):
        looks = bool(words & _TURNS) or any(text.partition(":")[2].casefold() in _TURNS for _, text in written[:20])
    return CallSeen(
        tool=tool,
        exact=_digest(sorted(written)),
        near=_digest(sorted(word for _, text in rest for word in _words(text))),
        page=_digest(sorted(pages)) if pages else "",
        result="" if result is None else _digest([("", result)]),
        looks=looks,
        not_ready=bool(words & _WAITS) or (looks and result is not None and _says_not_ready(words, result)),
    )


def answered(call: CallSeen, result: str) -> CallSeen:
    """The same call once its result is known."""
    not_ready = call.not_ready or (call.looks and _says_not_ready(_words_of(call.tool), result))
    return msgspec.structs.replace(call, result=_digest([("", result)]), not_ready=not_ready)


def loop(calls: Sequence[CallSeen], limit: int) -> Loop | None:
    """The loop that the last of these calls closes, None where it closes none. `limit` calls, or rounds, in a row are admitted."""
    calls = calls[-MOST_CALLS:]
    if not calls or limit < 1:
        return None
    return _in_a_row(calls, limit) or _by_turns(calls, limit)


def rounds(calls: Sequence[CallSeen]) -> int:
    """How many times round the last of these calls is by now, so that a warning can say what is left of a limit."""
    calls = calls[-MOST_CALLS:]
    if not calls:
        return 0
    return max(_run(calls)[0], *(_periods(calls, period)[0] for period in range(2, _LONGEST_PERIOD + 1)))


def _in_a_row(calls: Sequence[CallSeen], limit: int) -> Loop | None:
    stuck, total, same = _run(calls)
    if stuck > limit or total > limit * PATIENCE:
        return Loop(LoopKind.IDENTICAL if same else LoopKind.NEAR_IDENTICAL, calls[-1].tool, stuck if stuck > limit else total)
    return None


def _run(calls: Sequence[CallSeen]) -> tuple[int, int, bool]:
    """Of the calls at the end that are nearly the same: how many since the last progress, how many without a further page,
    and whether all of the first are identical."""
    last = calls[-1]
    first = len(calls) - 1
    while first and (calls[first - 1].tool, calls[first - 1].near) == (last.tool, last.near):
        first -= 1
    run = calls[first:]
    pages: set[str] = set()
    stuck = total = 0
    same = True
    for place, call in enumerate(run):
        if call.page and call.page not in pages:
            pages.add(call.page)
            stuck, total, same = 1, 1, True
            continue
        total += 1
        if place and (call.page != run[place - 1].page or _moved(run[place - 2] if place > 1 else None, run[place - 1])):
            stuck, same = 1, True
        else:
            same = same and (not stuck or call.exact == run[place - 1].exact)
            stuck += 1
    return stuck, total, same


def _moved(before: CallSeen | None, last: CallSeen) -> bool:
    """Whether the call before this one brought something new, or told to come again. An act that is repeated is not excused by
    what it returns: it makes a new thing each time."""
    if last.not_ready:
        return True
    if not last.looks or before is None or before.exact != last.exact:
        return False
    return bool(before.result and last.result) and before.result != last.result


def _by_turns(calls: Sequence[CallSeen], limit: int) -> Loop | None:
    for period in range(2, _LONGEST_PERIOD + 1):
        stuck, total = _periods(calls, period)
        if stuck > limit or total > limit * PATIENCE:
            return Loop(LoopKind.ALTERNATING, calls[-1].tool, stuck if stuck > limit else total)
    return None


def _periods(calls: Sequence[CallSeen], period: int) -> tuple[int, int]:
    """How many full rounds of so many calls stand at the end, since the last progress and in all. The last call has no result yet."""
    keys = [_key(call) for call in calls[-period:]]
    if len(keys) < period or len(set(keys)) == 1:
        return 0, 0
    stuck = total = 0
    still = True
    for end in range(len(calls), period - 1, -period):
        part = calls[end - period : end]
        if [_key(call) for call in part] != keys:
            break
        total += 1
        if still:
            stuck += 1
            earlier = calls[end - 2 * period : end - period] if end >= 2 * period else ()
            still = not any(_news(before, now) for before, now in zip(earlier, part, strict=bool(earlier)))
    return stuck, total


def _news(before: CallSeen, now: CallSeen) -> bool:
    if before.not_ready or now.not_ready:
        return True
    return now.looks and before.exact == now.exact and bool(before.result and now.result) and before.result != now.result


def _key(call: CallSeen) -> tuple[str, str, str]:
    return call.tool, call.near, call.page


def _written(arguments: Any) -> list[tuple[str, str]]:
    """Every scalar of the arguments with the name of the argument it stands in."""
    named = arguments.items() if isinstance(arguments, dict) else [("", arguments)]
    found: list[tuple[str, str]] = []
    for name, value in named:
        for leaf, depth in walk(value):
            found.append((str(name), f"{depth}:{_as_text(leaf)}"[:_MOST_CHARACTERS]))
    return found


def _as_text(leaf: Any) -> str:
    return as_text(leaf) or f"<{leaf!s}>"[:64] if leaf is None or isinstance(leaf, bool | int | float | str) else ""


def _parted(written: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The scalars that say which page is meant, and the others."""
    pages: list[tuple[str, str]] = []
    rest: list[tuple[str, str]] = []
    for name, text in written:
        plain = _plain_name(name[:100])
        (pages if plain in _PAGING else rest).append((plain, text))
    return pages, rest


@lru_cache(maxsize=2048)
def _plain_name(name: str) -> str:
    """`pageToken`, `page-token` and `page_token` are one name."""
    parted = "".join(f"_{sign.lower()}" if sign.isupper() else sign for sign in name)
    return parted.replace("-", "_").strip("_")


def _words(text: str) -> list[tuple[str, str]]:
    return [("", word) for word in _WORD.findall(text.casefold())]


@lru_cache(maxsize=2048)
def _words_of(tool: str) -> frozenset[str]:
    """The words of a tool's name: `getJobStatus`, `get-job-status` and `GET_JOB_STATUS` have the same."""
    return frozenset(word.lower() for word in _NAME_WORD.findall(tool[:200]))


def _says_not_ready(words: frozenset[str], result: str) -> bool:
    """Whether what came back says to come again: a state that is not the last, a share of the whole, or a message to that effect."""
    text = result[:2_000]
    works = not words.isdisjoint(_WORKS)
    states = _NOT_READY | _NOT_READY_OF_WORKS if works else _NOT_READY
    bare = text.strip()
    if not words.isdisjoint(_AWAITS) and (bare.casefold() in _EMPTY or bare.rstrip(" ]}").endswith(("[", ": 0", ":0"))):
        return True
    named = _STATE.findall(text)
    if works or len(named) <= _FEW:  # what many things are called is no word about one that is waited for
        for state in named:
            if not states.isdisjoint([*_WORD_OF_STATE.findall(state.casefold()), state.strip().casefold().replace(" ", "_")]):
                return True
    undone = _UNDONE.findall(text)
    if undone and (works or len(undone) <= _FEW) and bare[:1] != "[":
        return True
    for name, share, signed in _SHARE.findall(text):
        if (works or name.casefold() == "progress") and float(share or signed) < (1.0 if "." in share else 100.0):
            return True
    if len(result) > _SHORT:
        return False
    told = bare[:1] not in ("{", "[") and not states.isdisjoint(_WORD_OF_STATE.findall(text.casefold()))
    return told or _SAYS_WAIT.search(text) is not None


def _digest(pairs: list[tuple[str, str]]) -> str:
    told = "".join([f"{len(name)}:{name}{len(text)}:{text}" for name, text in pairs])
    return blake2b(told.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
