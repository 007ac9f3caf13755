"""A text is read for several models at once, and each of them gets what it was fitted to weigh."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.artefacts import FORMAT, Fitted, Manifest
from classifiers.ask import structure
from classifiers.ask.current import Ask
from classifiers.ask.features import Key, ask_keys, excerpt, keys, words
from classifiers.ask.reader import Reader
from classifiers.ask.thesaurus import shipped

UNKNOWN = 4.0
TEXTS = st.text(max_size=80) | st.lists(
    st.sampled_from("please delete the old e-mails 42 > ~ ? and 你 好 send them to anna . lösche \n ( def book".split()),
    max_size=40,
).map(" ".join)


def fitted(vocabulary: Sequence[Key], seed: int) -> Fitted:
    """A model of two classes that weighs these keys."""
    chance = np.random.default_rng(seed)
    manifest = Manifest(
        format=FORMAT,
        name="drawn",
        owner="nobody",
        fitted_on="",
        seed=seed,
        sklearn="",
        numpy="",
        corpus="",
        sha256="",
        examples=0,
        blind_examples=0,
        unknown_weight=UNKNOWN,
        heads={"one": ["a", "b"], "other": ["c"]},
        thresholds={},
        metrics={},
    )
    size = len(vocabulary)
    weights = chance.normal(size=(size, 3)).astype(np.float32)
    return Fitted(manifest, list(vocabulary), weights, chance.uniform(1, 5, size).astype(np.float32), np.ones(3, np.float32))


def scored(model: Fitted, column: int, distinct: set[str], found: set[Key]) -> tuple[float, int]:
    """What the column of a class says, by its definition; and what share is known of a text with these words and keys."""
    weights, scale, bias = model.arrays
    rows = [row for row, key in enumerate(model.keys) if key in found]
    unknown = len(distinct - set(model.keys))
    square = sum(float(scale[row]) ** 2 for row in rows) + UNKNOWN * unknown
    total = sum(float(weights[row, column]) * float(scale[row]) for row in rows)
    return (total / math.sqrt(square) if rows else 0.0) + float(bias[column]), unknown


@given(TEXTS, TEXTS, TEXTS, TEXTS, st.integers(1, 4), st.integers(1, 4))
def test_each_of_several_models_scores_an_ask_as_if_it_were_alone(
    text: str, system: str, earlier: str, answer: str, keep: int, keep_other: int
) -> None:
    ask = Ask(text, system, earlier, answer)
    distinct, others = ask_keys(shipped(), ask)
    _, counts = structure.keys(shipped(), excerpt(text), words(excerpt(text)), len(text))
    _, alone = keys(shipped(), text)
    first = fitted(sorted({*distinct, *others}, key=str)[::keep] or ["nothing"], 1)
    second = fitted(sorted({*distinct, *counts}, key=str)[::keep_other] or ["nothing"], 2)
    reader = Reader((first, ("one",)), (second, ("other",)))
    one, other = reader.models
    sums = reader.sums(reader.read(text), ask)
    for column, logit in enumerate(reader.scores(one, sums).logits):
        assert logit == pytest.approx(scored(first, column, distinct, {*distinct, *others})[0], abs=1e-5)
    plain = reader.sums(reader.read(text))
    [logit] = reader.scores(other, plain).logits
    meant, unknown = scored(second, 2, distinct, {*distinct, *counts, *alone})
    assert logit == pytest.approx(meant, abs=1e-5)
    known = sum(key in {*distinct, *counts, *alone} for key in second.keys)
    assert reader.scores(other, plain).known == pytest.approx(known / (known + 2 * unknown + 1))
    assert sums.alone == plain.totals


@given(TEXTS)
def test_the_same_text_gives_the_same_sums_to_the_last_bit(text: str) -> None:
    distinct, others = keys(shipped(), text)
    reader = Reader((fitted(sorted({*distinct, *others}, key=str) or ["nothing"], 3), ("one",)))
    assert reader.sums(reader.read(text)) == reader.sums(reader.read(text))


def test_of_a_text_without_any_known_key_the_bias_is_the_score() -> None:
    reader = Reader((fitted(["zebra"], 4), ("one",)))
    for text in ("", "nothing of it", "字"):
        assert reader.scores(reader.models[0], reader.sums(reader.read(text))).logits == [1.0, 1.0]
