"""Finds names that are listed only as keyed hashes, so that the list tells nobody what must not leave."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import msgspec

from routing_rules.sensitivity import CodeNames
from routing_rules.task import Part
from routing_rules.vocabulary import Finding

MOST_WORDS = 4
"""A longer name is known by its first four words."""

_BATCH = 64  # a list is filled up to a multiple, so that its length says little
_SCORE = 0.95
_MOST_KNOWN = 4_096
_WORD = re.compile(r"[^\W_]+")


class Hashed(msgspec.Struct, frozen=True):
    """A list to be put into `sensitivity.yaml`: the id of the key, and the hashes in no telling order."""

    key_id: str
    hashes: tuple[str, ...]


class Names:
    """Looks for the names of all lists that were made under this key. Safe to use from several threads.

    `usable` is whether all of them were: a list made under another key finds nothing.
    """

    def __init__(self, lists: Sequence[CodeNames], key: bytes) -> None:
        self._key = _derived(key)
        mine = _key_id(self._key)
        self.usable = all(each.key_id == mine for each in lists)
        self._lists = tuple(lists)
        self._hashes = frozenset().union(*(each.hashes for each in lists))
        self._known: dict[tuple[int, int], tuple[Finding, ...]] = {}

    def findings(self, parts: Sequence[Part]) -> tuple[Finding, ...]:
        """The findings in all parts. Words count whole, whatever stands between them: `Blue Heron`, `blue-heron`, `BLUEHERON`."""
        if not self._lists:
            return ()
        found: list[Finding] = []
        for number, part in enumerate(parts):
            if part.text:
                place = hash(part.text), len(part.text)
                known = self._known.get(place)
                if known is None:
                    known = tuple(self._in(part.text))
                    if len(self._known) >= _MOST_KNOWN:
                        self._known.clear()
                    self._known[place] = known
                found += [msgspec.structs.replace(finding, part=number) for finding in known]
        return tuple(found)

    def _in(self, text: str) -> Iterable[Finding]:
        words = [(_plain(match[0]), match.start(), match.end()) for match in _WORD.finditer(text)]
        heads = {word for word in {word for word, _, _ in words} if _hash(self._key, "head", word) in self._hashes}
        if not heads:
            return
        end_of_last = 0
        for index, (word, start, _) in enumerate(words):
            if word not in heads or start < end_of_last:
                continue
            for count in range(min(MOST_WORDS, len(words) - index), 0, -1):  # the longest name counts
                name = "".join(one for one, _, _ in words[index : index + count])
                digest = _hash(self._key, "name", name)
                if digest not in self._hashes:
                    continue
                end_of_last = words[index + count - 1][2]
                for each in self._lists:
                    if digest in each.hashes:
                        yield Finding(each.category, each.id, each.id, 0, start, end_of_last, _SCORE, "****", digest)
                break


def hashed(names: Iterable[str], key: bytes, fill: Iterable[str]) -> Hashed:
    """The list of these names under a key. `fill`: hexadecimal digits, 16 each, that no name has, to fill the list up.

    Names without a letter or digit are left out.
    """
    key = _derived(key)
    found: set[str] = set()
    for name in names:
        words = [_plain(word) for word in _WORD.findall(name)][:MOST_WORDS]
        if words:
            joined = "".join(words)
            found |= {_hash(key, "name", joined), _hash(key, "head", words[0]), _hash(key, "head", joined)}
    for digest in fill:
        if len(found) % _BATCH == 0:
            break
        found.add(digest)
    return Hashed(_key_id(key), tuple(sorted(found)))


def _derived(key: bytes) -> bytes:
    return blake2b(key, digest_size=32, person=b"code names").digest()


def _key_id(derived: bytes) -> str:
    return blake2b(derived, digest_size=4, person=b"key id").hexdigest()


def _hash(key: bytes, use: str, word: str) -> str:
    return blake2b(f"{use}\0{word}".encode("utf-8", "replace"), key=key, digest_size=8).hexdigest()


def _plain(word: str) -> str:
    """A word without case and accents."""
    if word.isascii():
        return word.lower()
    return "".join(each for each in unicodedata.normalize("NFKD", word).casefold() if not unicodedata.combining(each))
