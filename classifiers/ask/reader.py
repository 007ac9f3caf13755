"""Reads a text for several linear models at once: each word is looked up once, keys are numbers, and one matrix holds all weights."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from classifiers.artefacts import Fitted
from classifiers.ask.current import Ask
from classifiers.ask.features import (
    FIRST_CONCEPTS,
    MEASURES,
    NEAR_END,
    NEAR_START,
    Key,
    excerpt,
    frame,
    has_stem,
    instructions,
    is_word,
    measured,
    stem,
    words,
)
from classifiers.ask.structure import COUNTS, counted
from classifiers.ask.thesaurus import shipped as shipped_thesaurus

_SHIFT = 24  # the code of a pair holds its first atom above this bit and its second below
_MOST_INSTRUCTIONS = 1_000
_COUNTING = 3  # columns of each model beyond its classes: squared scale, known keys, known words

Codes = npt.NDArray[np.int64]
Chosen = tuple[Fitted, tuple[str, ...]]
"""A fitted model, and the heads of it that are to be read (together only such as read the same keys)."""


class Reading(NamedTuple):
    """The words of a text (of a long one: of what is read of it), the concepts they mean, and the codes of all keys it switches on."""

    words: list[str]
    concepts: list[str]
    codes: set[int]


class Sums(NamedTuple):
    """The weights of all models, added up over a text's keys: `alone` of the text, `totals` also of what stands around it."""

    totals: list[float]
    alone: list[float]
    distinct: int  # words of the text


class Scores(NamedTuple):
    """The logits of a model's classes, and the share of a text that the model knows: the smaller, the less the logits mean."""

    logits: list[float]
    known: float


class Model(NamedTuple):
    """Some heads of a fitted model, as a reader holds them: `classes` name the logits."""

    classes: tuple[str, ...]
    version: str
    columns: slice  # of the reader's weights: a column for each class, then squared scale, known keys, known words
    bias: list[float]
    unknown_weight: float


class Reader:
    """The vocabularies of some models as one, and their weights side by side. Built once, then called for every text.

    An atom (a word, a measure, a concept) is known by its number, a pair of atoms by both in one number. The codes of all keys lie
    sorted in one array: to look up a hundred of them takes one search, which touches far less memory than a dictionary would.
    """

    def __init__(self, *chosen: Chosen) -> None:
        """`models` are those of `chosen`, in that order. Nothing of the fitted models themselves is kept."""
        self._atoms: dict[str, int] = {}
        each = {id(fitted): fitted for fitted, _ in chosen}  # of one there may be several heads apart
        codes = {name: np.array([self._coded(key) for key in fitted.keys], np.int64) for name, fitted in each.items()}
        single = {name: np.array([*map(is_word, fitted.keys)], np.float32) for name, fitted in each.items()}
        # Behind them a code larger than any, which weighs nothing: no search then ends beyond the array.
        self._codes: Codes = np.append(np.unique(np.concatenate([*codes.values()])), np.iinfo(np.int64).max)
        models: list[Model] = []
        start = 0
        # In single precision, so that a text's rows crowd less out of the processor's caches; they are added up in double.
        width = sum(fitted.columns(*heads).size + _COUNTING for fitted, heads in chosen)
        self._weights = np.zeros((self._codes.size, width), np.float32)
        for fitted, heads in chosen:
            weights, scale, bias = fitted.arrays
            columns = fitted.columns(*heads)
            # Heads that read only the first keys do so to the letter: to them the others are unknown.
            first = slice(fitted.manifest.keys.get(heads[0]))
            weights, scale, is_single = weights[first], scale[first], single[id(fitted)][first]
            rows = self._codes.searchsorted(codes[id(fitted)][first])
            stop = start + columns.size
            self._weights[rows, start:stop] = weights[:, columns] * scale[:, None]
            self._weights[rows, stop : stop + _COUNTING] = np.stack([scale * scale, np.ones_like(scale), is_single], axis=1)
            stop += _COUNTING
            manifest = fitted.manifest
            models.append(
                Model(
                    fitted.classes(*heads), manifest.version, slice(start, stop), bias[columns].tolist(), manifest.unknown_weight
                )
            )
            start = stop
        self.models = tuple(models)
        number = self._atoms.get
        self._thermometers = [(edges, tuple(number(name, 0) for name in names)) for edges, names in (*MEASURES, *COUNTS)]
        self._near_start, self._near_end, self._first = (number(tag, 0) << _SHIFT for tag in ("^^", "$$", "^~"))
        self._thesaurus = shipped_thesaurus()
        self._instructed: dict[bytes, frozenset[int]] = {}

    def _coded(self, key: Key) -> int:
        """The code of a key of a model, whose atoms get numbers from 1 on."""
        atoms = self._atoms
        if isinstance(key, str):
            return atoms.setdefault(key, len(atoms) + 1)
        first = atoms.setdefault(key[0], len(atoms) + 1)
        return first << _SHIFT | atoms.setdefault(key[1], len(atoms) + 1)

    def code(self, key: Key) -> int:
        """The code of a key; one that no key of a model has, where the models do not know its atoms."""
        number = self._atoms.get
        return number(key, 0) if isinstance(key, str) else number(key[0], 0) << _SHIFT | number(key[1], 0)

    def read(self, text: str) -> Reading:
        """What a text switches on; of a long one its start and end."""
        short = excerpt(text)
        found = words(short)
        concepts = self._thesaurus.sequence(found)
        number = self._atoms.get
        atoms = [number(word, 0) for word in found]
        meant = [number(concept, 0) for concept in concepts]
        # With an atom that no model knows (0), a pair has the code of its other atom, which is there anyway, or of no key at all.
        codes = {*atoms, *meant}
        codes.update([number(stem(word), 0) for word in found if has_stem(word)])
        codes.update([first << _SHIFT | second for first, second in pairwise(atoms)])
        codes.update([first << _SHIFT | second for first, second in pairwise(meant)])
        codes.update(map(self._near_start.__or__, atoms[:NEAR_START]))
        codes.update(map(self._near_end.__or__, atoms[-NEAR_END:]))
        codes.update(map(self._first.__or__, meant[:FIRST_CONCEPTS]))
        measures = measured(short, found, len(text))
        for (edges, names), count in zip(self._thermometers, chain(measures, counted(short, found, measures)), strict=True):
            if count > edges[0]:
                codes.update(names[: bisect_right(edges, count - 1)])
        return Reading(found, concepts, codes)

    def sums(self, reading: Reading, ask: Ask | None = None) -> Sums:
        """The weights added up for a text and, where it is the text of an ask, for what stands around that."""
        distinct = len(set(reading.words))
        codes = _sorted(reading.codes)
        own = codes.size
        if ask is not None:
            codes = np.concatenate((codes, _sorted(self._around(reading, ask))))
        places = self._codes.searchsorted(codes)
        met = self._codes.take(places) == codes
        rows = self._weights.take(places[met], axis=0)
        if ask is None:
            totals = np.add.reduce(rows, dtype=float).tolist()
            return Sums(totals, totals, distinct)
        known = np.count_nonzero(met[:own])
        alone = np.add.reduce(rows[:known], dtype=float)
        return Sums((alone + np.add.reduce(rows[known:], dtype=float)).tolist(), alone.tolist(), distinct)

    def _around(self, reading: Reading, ask: Ask) -> set[int]:
        """The codes that an ask has beyond those of its text."""
        more = set(map(self.code, frame(self._thesaurus, reading.words, reading.concepts, ask)))
        if ask.system:
            more |= self._instructions(ask.system)
        return more - reading.codes

    def _instructions(self, system: str) -> frozenset[int]:
        """The codes of an app's instructions, which come with every request of it: known again by a hash, so that no text is kept."""
        digest = hashlib.blake2b(system.encode("utf-8", "replace"), digest_size=16).digest()
        known = self._instructed.get(digest)
        if known is None:
            if len(self._instructed) >= _MOST_INSTRUCTIONS:
                self._instructed.clear()
            known = self._instructed[digest] = frozenset(map(self.code, instructions(self._thesaurus, system)))
        return known

    def scores(self, model: Model, sums: Sums) -> Scores:
        """What a model makes of sums. A text without any known key scores the bias."""
        columns = model.columns
        *totals, square, keys, _ = sums.totals[columns]
        _, known, known_words = sums.alone[columns.stop - _COUNTING : columns.stop]
        unknown = sums.distinct - known_words
        share = known / (known + 2.0 * unknown + 1.0)
        if not keys:
            return Scores(model.bias, share)
        norm = (square + unknown * model.unknown_weight) ** -0.5
        return Scores([total * norm + bias for total, bias in zip(totals, model.bias, strict=True)], share)


def _sorted(codes: set[int]) -> Codes:
    """In ascending order, so that the same text gives the same sum to the last bit, whatever the order of a set."""
    array = np.fromiter(codes, np.int64, len(codes))
    array.sort()
    return array
