"""Where the destinations of a tool call come from: the user's own words, an allow-list, earlier results, or nowhere but the model (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from routing_rules.task import Part, Provenance, Role
from routing_rules.vocabulary import Capability, Ordered

MOST_USER_CHARACTERS = 200_000
"""Of the user's turns, the newest first; what lies before vouches for nothing."""
MOST_JSON_CHARACTERS = 400_000
"""Of one result, and of all results of a conversation together. A longer result vouches for nothing."""
MOST_YAML_CHARACTERS = 8_000
"""The same for results that are no JSON: reading YAML takes a hundred times as long."""
MOST_LEAVES = 50_000
MOST_DEPTH = 64
LONGEST_VALUE = 512
"""Characters of a destination. A longer one is no address, and nothing vouches for it."""
MOST_VALUES = 200
"""Values of one destination argument."""
_MOST_OPEN = 8
"""Brackets that may be open at once in YAML."""
_MOST_TRIES = 64
"""Places of the user's words at which a value may stand inside another word before the search is given up."""

_JOINED_BEFORE = frozenset("@._-+/\\%&#~$")
_JOINED_AFTER = frozenset("@_-+/\\%&#~$=")
_JOINED_BEFORE_MORE = frozenset(".:?!")  # end a sentence, or go on within a value
_SCHEME = re.compile(r"(?<![\w.@/\\%&#~$+-])(?:https?://|mailto:)", re.IGNORECASE)
_ODD = re.compile(
    "([\u0130\u01c5\u01c8\u01cb\u01f2\u03a3\u03f4\u1e9e\u1f88-\u1f8f\u1f98-\u1f9f\u1fa8-\u1faf\u1fbc\u1fcc\u1ffc\u2126\u212a\u212b])"
)
"""Capital letters that share their small letter with another, or have none of their own: a domain may be another with it."""
_NOTHING: tuple[Any, ...] = (None, "", [], {})
_IBAN = 15
_SAYS_NOTHING = frozenset(
    "a all also an and any anyone are as at be but by can did do every everybody everyone for from get has he her here him his how i if"
    " in into is it its let may new no not now of on one or others our out put say see she so some than that the their them then there"
    " these they this to too two up us use was we what when where which who will with you your".split()
)
"""Words that stand in nearly every text, so that to find one there names nobody. Some are names of lists to everybody."""
_ORDINARY = frozenset(
    "about above across add added again agenda ago already always answer answers arrange ask asked attach attached back been before"
    " below best better book booking both bring bye call called calendar cancel change check clear close come complete confirm contact"
    " content copy correct could create current data date day days deadline delete describe description detail details discuss document"
    " documents done down draft due during each early either email emails end enough event events every everything example exactly"
    " file files fill final find first fix follow following forward found full further give given go going good great had have having"
    " hear hello help hi hour hours how however immediately important include including info inform information instead invitation"
    " invite invited item items join just keep kind know last late later latest least leave less like link list little long look lot"
    " mail mails make many matter maybe meet meeting meetings message messages might minute minutes money month months more morning"
    " most move much must my name named names need needed needs never next note notes nothing number offer ok okay old once only open"
    " order other over own page paid part pay payment place plan please point possible post price print proper provide put question"
    " questions quick quickly rather read ready really receive received recent regarding remember remind reminder remove rename"
    " replace reply report request require reschedule reserve respond rest result results return right room same save say schedule"
    " search second see seem send sending sent set several share shared should show sign since soon start status stop sum summarise"
    " summarize summary sure take task tell text thank thanks thing things think through till time times title today together tomorrow"
    " too top topic total transfer try turn under until update updated upload useful using very view visit wait want way week weekend"
    " weeks well were while whole why within without word work would write written wrong year years yes yesterday yet your".split()
).union(_SAYS_NOTHING)
"""Words that requests are made of. Alone they name something only where they are marked as a name: `#report`, "report"."""
_MARKED = frozenset("#@\"'`\u201c\u201e\u00ab\u2018")
_ALWAYS = frozenset(
    "to cc bcc recipient recipients attendee attendees participant participants invitee invitees guest guests forward_to reply_to"
    " webhook webhook_url payee beneficiary".split()
)
"""Arguments of an act that say where to, whether or not the tool's owner has named them."""
_WHERE = frozenset(
    "cc bcc recipient recipients attendee attendees participant participants invitee invitees guest guests webhook payee beneficiary"
    " iban".split()
)
"""Words of such names: `additional_recipients`, `ccEmails`."""
_LONGEST_NAME = 100
_NAME_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_MOST_INNER = 8
"""Texts within each other that are JSON."""

_HOST = r"(?:(?:[^\s/?#\\@:<>.\u3002\uff0e\uff61]+[.\u3002\uff0e\uff61])+(?:[^\W\d_][\w-]+|(?<=\d\.)\d{1,3})|localhost|\[[0-9a-f:.]+\])"
_URL = re.compile(
    rf"(?:https?|ftps?|sftp|wss?|file|javascript|smb|ssh|tel|sms|s3|gs):(?=\S)|(?:mailto|data):|www\.|[/\\]{{2}}|{_HOST}(?:[/?#\\]|:\d)",
    re.IGNORECASE,
)
"""Where a URL begins, as browsers and clients read it: strokes may be missing, or lean the other way, and so may the scheme."""
_IGNORED = re.compile(r"[\x00-\x1f\x7f]")
_AT = re.compile("[@\uff20\ufe6b]|%40")
_PHONE = re.compile(r"\+[0-9][0-9()/.-]{6,20}")
_SIGNS = re.compile(
    "[@\uff20\ufe6b:/\\\\.\u3002\uff0e\uff61%+[]"
    "(?:(?<=[@\uff20\ufe6b[])|(?<=:)\\S|(?<=[/\\\\])[/\\\\]|(?<=[.\u3002\uff0e\uff61])\\w|(?<=%)40|(?<=[+])[0-9])"
)
"""What stands in every address and URL, and in few words."""
_PIECE = re.compile("[^\\s,;|\u3001\uff0c\uff1b]+")
_QUOTED_NAME = re.compile(r'"[^"]*"\s*(?=<)')
_PARTED_ADDRESS = re.compile(r"(?:(?<=\S)\s{1,9}@\s{0,9}|@\s{1,9})(?=[\w-]{1,63}\.[a-z])", re.IGNORECASE)
"""Blanks around the sign of an address, which programs that read mail pass over."""
_BRACKETED = re.compile(r"<([^<>]*)>")
_AFTER = " \t\r\n,;."
_AROUND = "<>()[]{}\"'`\u201c\u201d\u201e\u00ab\u00bb.!?*_"
_LEADING = _AROUND + " "
_BETWEEN = frozenset("and & + or und et y e og och en i".split())
_MOST_WORDS = 16
"""Words more than addresses, after which a text is taken for prose."""


class Source(Ordered):
    """What vouches for a value, the best first."""

    USER = "user"  # whole words of a user turn
    LISTED = "listed"  # an allow-list
    LEAF = "leaf"  # one whole scalar of an earlier result, of a tool that is ours
    EXTERNAL_LEAF = "external_leaf"  # the same, of a tool that reads the outside world only
    MODEL = "model"  # nothing


ACTS = frozenset(Capability) - {
    Capability.PURE,
    Capability.READS_PRIVATE,
    Capability.READS_RESTRICTED,
    Capability.READS_UNTRUSTED,
    Capability.HUMAN_HANDOFF,
}
"""What changes something, or carries something out of the house."""


def acts_of(capabilities: frozenset[Capability]) -> frozenset[Capability]:
    """The acts among capabilities. The way out that a look at the outside world takes is not one: nobody is told anything by it,
    and what it can give away is judged by the combination with private data."""
    acts = capabilities & ACTS
    return frozenset() if acts == {Capability.EGRESS} and Capability.READS_UNTRUSTED in capabilities else acts


class Origin(msgspec.Struct, frozen=True):
    """What vouches for one destination of a call: the argument's name and the source, never the value."""

    argument: str
    source: Source
    url: bool = False


def vouches(source: Source, capabilities: frozenset[Capability]) -> bool:
    """Whether a value from this source may be a destination of a call that can do this.

    What an earlier result says is never enough to spend or to administer; what the outside world says is enough only to read.
    """
    if capabilities & {Capability.SPENDS_MONEY, Capability.ADMIN_PRIVILEGE}:
        return source <= Source.LISTED
    return source <= (Source.LEAF if acts_of(capabilities) else Source.EXTERNAL_LEAF)


class Result(msgspec.Struct, frozen=True):
    """One tool result of a conversation. `external`: its tool reads the outside world and nothing of ours."""

    text: str
    external: bool = False

    def __repr__(self) -> str:
        return f"Result({len(self.text)} characters, external={self.external})"


class Sources:
    """What a conversation vouches for. Values are looked up as wholes; nothing is ever found inside a longer text of a result."""

    def __init__(self, user_turns: Iterable[str], allow_list: Iterable[str] = (), results: Iterable[Result] = ()) -> None:
        """`user_turns` from the oldest to the newest. An entry of `allow_list` is a value, `@domain` for every address of a
        domain, or a URL that ends in `/` for everything below it. `results` are those of calls that were issued here."""
        self._said = _plain("\n".join(_newest(list(user_turns))))
        entries = [entry for entry in allow_list if entry.strip()]
        self._domains = frozenset(_small(entry[1:]) for entry in entries if entry.startswith("@") and len(entry) > 1)
        self._below = tuple(entry for entry in entries if entry.endswith("/") and "://" in entry)
        self._listed = frozenset(_plain(entry) for entry in entries if not entry.startswith("@"))
        self._results = tuple(results)
        self._leaves: tuple[frozenset[str], frozenset[str]] | None = None
        self._found: dict[str, Source] = {}  # the same value is looked at as a destination, and for how far the call strays

    @classmethod
    def of_parts(cls, parts: Iterable[Part], allow_list: Iterable[str] = (), issued: Mapping[str, bool] | None = None) -> Sources:
        """The same from the parts of a task. `issued` holds the ids of calls that were issued here, and whether their tool is
        external; the result of any other call vouches for nothing, nor do attachments."""
        turns: list[str] = []
        results: list[Result] = []
        for part in parts:
            if part.provenance is Provenance.USER and part.role is Role.USER:
                turns.append(part.text)
            elif part.provenance is Provenance.TOOL_RESULT and part.call_id is not None and issued:
                external = issued.get(part.call_id)
                if external is not None:
                    results.append(Result(part.text, external))
        return cls(turns, allow_list, results)

    def __repr__(self) -> str:
        return f"Sources({len(self._said)} characters said, {len(self._listed)} listed, {len(self._results)} results)"

    def of(self, value: str) -> Source:
        """What vouches for a value; several values in one text, parted by commas or semicolons, have the source of the worst."""
        found = self._found.get(value)
        if found is None:
            found = self._found[value] = self._of_any(value)
        return found

    def _of_any(self, value: str) -> Source:
        found = self._of_whole(value)
        if found is Source.MODEL and len(value) <= LONGEST_VALUE and ("," in value or ";" in value):
            several = [each.strip() for each in value.replace(";", ",").split(",") if each.strip()]
            if several:
                return max(map(self._of_whole, several))
        return found

    def _of_whole(self, value: str) -> Source:
        if not value.strip() or len(value) > LONGEST_VALUE or not value.isprintable():
            return Source.MODEL
        plain = _plain(value)
        if plain.strip() not in _SAYS_NOTHING:
            marked = _ORDINARY.issuperset(plain.split())
            if any(_stands_in(self._said, form, marked) for form in _forms(plain)):
                return Source.USER
        if plain in self._listed or _domain(value) in self._domains or any(_is_below(value, entry) for entry in self._below):
            return Source.LISTED
        if self._leaves is None:
            self._leaves = _leaves_of(self._results)
        own, external = self._leaves
        if value in own:
            return Source.LEAF
        return Source.EXTERNAL_LEAF if value in external else Source.MODEL


def origins(
    arguments: Any, destinations: Iterable[str], sources: Sources, capabilities: frozenset[Capability]
) -> tuple[Origin, ...]:
    """What vouches for each destination of a call. Beside the named arguments these are, for a call that only reads, all that
    hold a URL, and for one that acts, all that are nothing but addresses or URLs: a tool may know more names than its owner.

    A name such as `message.to` means what stands within, in each item of a list. `arguments` is the decoded JSON of the call.
    Values that cannot all be looked at count as the model's.
    """
    if not isinstance(arguments, dict):
        return ()
    named = frozenset(destinations)
    alike = frozenset(map(_plain_name, named))
    nested = [name for name in named if "." in name and name not in arguments]
    reads_only = capabilities & ACTS <= {Capability.EGRESS} and not capabilities <= ACTS
    found: list[Origin] = []
    for name, given in arguments.items():
        if name in named or _plain_name(name) in alike:  # some readers do not look at capitals
            found += (Origin(name, source, url) for source, url in _each(given, sources))
        elif reads_only:
            found += (Origin(name, source, url) for source, url in _each(given, sources) if url)
        elif _is_address(name):  # an argument that is called like an address: the name is a value, and is not to be told
            found.append(Origin("", sources.of(name)))
        else:
            found += (Origin(name, source) for source in _hidden(name, given, sources))
    for name in nested:
        for count, given in enumerate(_below(arguments, name.split("."))):
            if count >= MOST_VALUES:
                found.append(Origin(name, Source.MODEL))
                break
            found += (Origin(name, source, url) for source, url in _each(given, sources))
    return tuple(found)


def _each(given: Any, sources: Sources) -> Iterator[tuple[Source, bool]]:
    """Source of every scalar below a value, and whether it is a URL; of names within it, where they are an address."""
    if given in _NOTHING:
        return
    for count, text in enumerate(_scalars(given)):
        if text is None or count > MOST_VALUES:
            yield Source.MODEL, True
            return
        if text:
            yield sources.of(text), _holds_url(text)


def _scalars(given: Any) -> Iterator[str | None]:
    """Every scalar below a value as it would be written, and every name that is an address; None where it nests too deeply."""
    waiting = [(given, 0)]
    while waiting:
        each, depth = waiting.pop()
        if isinstance(each, dict | list):
            if depth >= MOST_DEPTH:
                yield None
                return
            if isinstance(each, dict):
                yield from (name for name in each if _is_address(name))
            waiting += ((below, depth + 1) for below in (each.values() if isinstance(each, dict) else each))
        else:
            yield as_text(each)


def _below(value: Any, path: Sequence[str]) -> Iterator[Any]:
    """What stands at a path of names, in every item where there is a list on the way."""
    waiting = [(value, 0)]
    while waiting:
        each, place = waiting.pop()
        if isinstance(each, list):
            waiting += ((item, place) for item in each)
        elif place == len(path):
            yield each
        elif isinstance(each, dict) and path[place] in each:
            waiting.append((each[path[place]], place + 1))


def _hidden(name: str, given: Any, sources: Sources) -> Iterator[Source]:
    """What vouches for the destinations below an argument that nobody named: whatever stands under a name that says where to, texts
    and names that are nothing but addresses and URLs, also within JSON that is written as a text."""
    waiting: list[tuple[Any, bool, int, int]] = [(given, _says_where(name, given), 0, 0)]
    count = 0
    while waiting:
        each, where, depth, inner = waiting.pop()
        values: Iterable[str] = ()
        if isinstance(each, dict | list):
            if depth >= MOST_DEPTH:
                yield Source.MODEL
                return
            if isinstance(each, list):
                waiting += ((below, where, depth + 1, inner) for below in each)
            else:
                waiting += (
                    (below, where or _says_where(key, below, within=True), depth + 1, inner) for key, below in each.items()
                )
                values = [key for key in each if _is_address(key)]
        elif where:
            values = [as_text(each)] if each not in _NOTHING else ()
        elif isinstance(each, str) and each:
            decoded = _inner(each)
            if decoded is None:
                values = _addresses(each)
            elif inner >= _MOST_INNER:
                values = [each]
            else:
                waiting.append((decoded, False, depth + 1, inner + 1))
        for value in values:
            if not value.strip():
                continue
            count += 1
            if count > MOST_VALUES:
                yield Source.MODEL
                return
            yield sources.of(value)


def _plain_name(name: str) -> str:
    return name.strip().lower().replace("-", "_")


def _says_where(name: str, given: Any, *, within: bool = False) -> bool:
    """Whether an argument's name says that it holds whom something goes to. A number of guests is none of them, nor is the `to` of
    a span, which stands `within` another argument."""
    plain = name.strip().lower()
    if plain in _ALWAYS and not (within and plain == "to"):
        return True
    if isinstance(given, int | float) or (isinstance(given, str) and given.strip().isdecimal()):
        return False
    return _kind_of_name(name[:_LONGEST_NAME])[1]


def _is_address(name: str) -> bool:
    return _kind_of_name(name)[0] if len(name) <= _LONGEST_NAME else _leads(name)


@lru_cache(maxsize=2048)
def _kind_of_name(name: str) -> tuple[bool, bool]:
    """Whether the name of an argument is an address itself, and whether it says that it holds one."""
    return _leads(name), any(word.lower() in _WHERE for word in _NAME_WORD.findall(name))


def _inner(text: str) -> Any:
    """What a text holds that is a JSON object or list, None for any other."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None


def _addresses(text: str) -> list[str]:
    """The addresses and URLs of a text that is made of them: one, or a list in any of the ways in which people and programs write
    lists. Empty for words that only mention some."""
    whole = text if text.isprintable() else _IGNORED.sub("", text).strip()
    if _SIGNS.search(whole) is None and "localhost" not in whole:
        return []
    if " " not in whole and whole != text.strip() and _is_url(whole):
        return [text]  # clients pass over line breaks within a URL: whatever stands on the lines, it is not what it looks like
    found: list[str] = []
    others = names = 0
    for word in _PIECE.finditer(_PARTED_ADDRESS.sub("@", _QUOTED_NAME.sub("", text))):
        piece = word[0].strip(_AROUND)
        if not piece:
            continue
        if _leads(piece):
            found.append(piece)
            names += 2 if word[0][0] == "<" else 0
            continue
        others += piece.lower() not in _BETWEEN
        if others > len(found) + _MOST_WORDS:
            break
    # Half of it words is a list with a label or an odd entry, which programs pass over. With links, people write so.
    if max(others - names, 0) < len(found) + (not all(map(_is_url, found))):
        return found
    last = _BRACKETED.findall(text.rstrip(_AFTER))[-1:] if text.rstrip(_AFTER).endswith(">") else []
    return [each for each in (inner.strip() for inner in last) if len(text) <= LONGEST_VALUE and _leads(each)]


def _leads(piece: str) -> bool:
    """Whether a piece of text without blanks is an address, a telephone number or a URL."""
    at = _AT.search(piece, 1)
    return (at is not None and at.end() < len(piece)) or _is_url(piece) or _PHONE.fullmatch(piece) is not None


def _is_url(text: str) -> bool:
    return "://" in text or _URL.match(text.lstrip()) is not None


def _holds_url(text: str) -> bool:
    """The same for a value that may be several, and may hold what clients pass over in a URL."""
    plain = _IGNORED.sub("", text).strip() if not text.isprintable() else text
    if _is_url(plain):
        return True
    return len(text) <= LONGEST_VALUE and any(_is_url(each.lstrip(_LEADING)) for each in plain.replace(";", ",").split(","))


_TOO_DEEP: Any = object()


def walk(value: Any) -> Iterator[tuple[Any, int]]:
    """Every scalar below a decoded JSON value with its depth, without recursion; ends in a mark that is no text beyond MOST_DEPTH."""
    waiting = [(value, 0)]
    while waiting:
        each, depth = waiting.pop()
        if isinstance(each, dict | list | tuple):
            if depth >= MOST_DEPTH:
                yield _TOO_DEEP, depth
                return
            waiting += ((below, depth + 1) for below in (each.values() if isinstance(each, dict) else each))
        else:
            yield each, depth


def as_text(leaf: Any) -> str:
    """A scalar as it would be written; empty for what names nothing: truth values, null, and a number of absurd length."""
    if isinstance(leaf, str):
        return leaf
    if isinstance(leaf, bool) or not isinstance(leaf, int | float) or abs(leaf) > 10**40:
        return ""
    return str(leaf)


def _newest(turns: list[str]) -> list[str]:
    left = MOST_USER_CHARACTERS
    kept: list[str] = []
    for turn in reversed(turns):
        if left <= 0:
            break
        kept.append(turn[:left])
        left -= len(turn)
    return kept[::-1]


def _plain(text: str) -> str:
    """A text without regard to case and without the schemes that people leave out."""
    return _SCHEME.sub("", _small(text)) if ":" in text else _small(text)


def _small(text: str) -> str:
    """A text in small letters. Letters that would become others (`ß`, which is no `ss` in a domain) stay what they are."""
    if text.isascii() or _ODD.search(text) is None:
        return text.lower()
    return "".join(piece if _ODD.match(piece) else piece.lower() for piece in _ODD.split(text))


def _forms(plain: str) -> tuple[str, ...]:
    """How people write a value: as it is, without the stroke at its end, and an account number in groups of four."""
    plain = plain.strip()
    short = plain.rstrip("/")
    if not short:
        return ()
    if len(short) >= _IBAN and short.isascii() and short.isalnum() and short[:2].isalpha() and short[2:4].isdigit():
        return (short, " ".join(short[start : start + 4] for start in range(0, len(short), 4)))
    return (short,)


def _stands_in(said: str, form: str, marked: bool = False) -> bool:
    """Whether a value stands among the user's words as a whole, not inside a longer one; with a sign before it that marks a name
    where it must be `marked`."""
    start = 0
    for _ in range(_MOST_TRIES):
        start = said.find(form, start)
        if start < 0:
            return False
        end = start + len(form)
        if not _joins_before(said, start) and not _joins_after(said, end) and (not marked or said[start - 1 : start] in _MARKED):
            return True
        start = end
    return False


def _joins_before(said: str, start: int) -> bool:
    if start > 0 and said[start - 1] in "#@":  # how people write a channel and a person, where nothing stands before it
        start -= 1
        return start > 0 and not (said[start - 1].isspace() or said[start - 1] in "([\"'")
    return start > 0 and (said[start - 1].isalnum() or said[start - 1] in _JOINED_BEFORE)


def _joins_after(said: str, end: int) -> bool:
    if said[end : end + 1] == "/":
        end += 1
    after = said[end : end + 1]
    if after in _JOINED_BEFORE_MORE and after:
        after = said[end + 1 : end + 2]
    return bool(after) and (after.isalnum() or after in _JOINED_AFTER)


def _domain(value: str) -> str | None:
    """The domain of an address in its plain form, None for anything else."""
    name, at, domain = value.rpartition("@")
    plain = at and name and "@" not in name and not any(sign in value for sign in " \t,;<>()[]\\\"':/%!?&#|")
    return _small(domain) if plain else None


def _is_below(value: str, entry: str) -> bool:
    """Whether a URL lies below an allowed one, and has nothing in it that is read differently by different programs."""
    lowered = value.lower()
    return value.startswith(entry) and not any(sign in lowered for sign in ("..", "\\", "%2e", "%2f", "%5c", " "))


def _leaves_of(results: Iterable[Result]) -> tuple[frozenset[str], frozenset[str]]:
    """The whole scalar leaves of results that parse strictly: of tools that are ours, and of external ones."""
    own: set[str] = set()
    external: set[str] = set()
    json_left, yaml_left = MOST_JSON_CHARACTERS, MOST_YAML_CHARACTERS
    for result in results:
        if len(result.text) > json_left:
            continue
        json_left -= len(result.text)
        into = external if result.external else own
        found = _json_leaves(result.text)
        if found is None and len(result.text) <= yaml_left:
            yaml_left -= len(result.text)
            found = _yaml_leaves(result.text)
        if found is not None and len(into) + len(found) <= MOST_LEAVES:
            into |= found
    return frozenset(own), frozenset(external)


def _json_leaves(text: str) -> set[str] | None:
    """None where the text is no JSON. A single scalar has no structure that could part it from an attacker's words."""
    try:
        value = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None
    found: set[str] = set()
    waiting: list[tuple[Any, int]] = [(value, 0)] if isinstance(value, dict | list) else []
    while waiting:  # as in `walk`, and three times as fast: a result may have tens of thousands of leaves
        each, depth = waiting.pop()
        if depth >= MOST_DEPTH:
            return set()
        for below in each.values() if isinstance(each, dict) else each:
            if isinstance(below, dict | list):
                waiting.append((below, depth + 1))
            else:
                written = below if isinstance(below, str) else as_text(below)
                if _may_be_named(written):
                    found.add(written)
    return found


def _yaml_leaves(text: str) -> set[str] | None:
    """None where the text is no YAML mapping or list in one document without tags, anchors and aliases."""
    if _nests_deeply(text):
        return None
    found: set[str] = set()
    depth = documents = 0
    is_key: list[Literal["key", "value"] | None] = []  # per open container: what comes next in a mapping, None in a list
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            if isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None:
                return None
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    return None
            elif isinstance(event, MappingEndEvent | SequenceEndEvent):
                depth -= 1
                is_key.pop()
            elif isinstance(event, MappingStartEvent | SequenceStartEvent | ScalarEvent):
                if depth == 0 and isinstance(event, ScalarEvent):
                    return None
                if event.ctag is not None and str(event.ctag) not in ("", "!"):
                    return None
                place = is_key[-1] if is_key else None
                if place is not None:
                    is_key[-1] = "value" if place == "key" else "key"
                if isinstance(event, ScalarEvent):
                    if place != "key" and _may_be_named(event.value):
                        found.add(event.value)
                    continue
                depth += 1
                if depth > MOST_DEPTH:
                    return None
                is_key.append("key" if isinstance(event, MappingStartEvent) else None)
    except Exception:  # whatever a parser that is not ours makes of hostile text, it vouches for nothing
        return None
    return found


def _nests_deeply(text: str) -> bool:
    """Whether more brackets are open at once than are looked into: the parser takes quadratic time over them."""
    open_now = 0
    for sign in text:
        if sign in "[{":
            open_now += 1
            if open_now > _MOST_OPEN:
                return True
        elif sign in "]}":
            open_now -= 1
    return False


def _may_be_named(leaf: str) -> bool:
    return 0 < len(leaf) <= LONGEST_VALUE and leaf.isprintable() and not leaf.isspace()
