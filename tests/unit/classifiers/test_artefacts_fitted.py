"""A fitted model is served as it was fitted, made anew to the same bytes, and refused where it was changed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import numpy as np
import pytest

from classifiers.artefacts import (
    FITTED,
    FORMAT,
    ArtefactAltered,
    ArtefactError,
    ArtefactMissing,
    FormatUnsupported,
    Manifest,
    ManifestInvalid,
    load,
    shipped,
)
from classifiers.ask.current import Ask
from classifiers.ask.intent import OBJECTS
from classifiers.ask.reader import Reader
from classifiers.sensitivity.topics import ANY, TOPICS
from classifiers.training.corpus import digest, examples
from classifiers.training.train import pipelines, train
from routing_rules.vocabulary import Capability, TaskKind

SEED = 7
SHARE = 0.04  # of the corpus: enough that every head has something to learn from

TEXTS = [
    "",
    "Translate this sentence into German: The train leaves at nine.",
    "Prove that the sum of two even numbers is even.",
    "xyzzy plugh 字字字 1234567 £££",
    "a b c " * 900,  # longer than what is read of an ask
]
CONVERSATION = Ask("and the second one, please", "You translate into French.", "Translate the first sentence.", "Le premier.")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fitted")
    train(directory, SEED, share=SHARE)
    return directory


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The shipped model in a place where it may be damaged."""
    for ending in ("npz", "toml"):
        (tmp_path / f"ask.{ending}").write_bytes((FITTED / f"ask.{ending}").read_bytes())
    return tmp_path


def test_served_scores_are_those_of_the_fitted_pipelines(trained: Path) -> None:
    known = [example for example in examples(SEED, SHARE) if not example.blind]
    fitted = load(directory=trained)
    texts = TEXTS + [example.text for example in examples(SEED, SHARE)[::60]]
    asks = [Ask(text) for text in texts] + [CONVERSATION] + [e.ask for e in examples(SEED, SHARE) if e.around is not None]
    for head, models in pipelines(known, SEED).items():
        reader = Reader((fitted, (head,)))
        [model] = reader.models
        if head.startswith("topics"):
            given: list[str] | list[Ask] = texts
            served = np.array([reader.scores(model, reader.sums(reader.read(text))).logits for text in texts])
        else:
            given = asks
            served = np.array([reader.scores(model, reader.sums(reader.read(ask.text), ask)).logits for ask in asks])
        if head == "task":
            assert tuple(map(str, models["task"].classes_)) == fitted.classes(head)
            meant = models["task"].decision_function(given)
        else:
            meant = np.array([model.decision_function(given) for model in models.values()]).T
        assert np.abs(served - meant).max() < 1e-5, head


def test_training_again_in_another_process_gives_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    script = f"from pathlib import Path; from classifiers.training.train import train; train(Path({str(tmp_path)!r}), {SEED}, share={SHARE})"
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", script], check=True, cwd=root, env={**os.environ, "PYTHONHASHSEED": "4711"})
    for name in ("ask.npz", "ask.toml"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


def test_the_manifest_says_what_was_fitted_on_what(trained: Path) -> None:
    manifest = load(directory=trained).manifest
    assert manifest == msgspec.convert(tomllib.loads((trained / "ask.toml").read_text()), Manifest)
    assert (manifest.seed, manifest.format, manifest.corpus) == (SEED, FORMAT, digest())
    assert manifest.sha256 == hashlib.sha256((trained / "ask.npz").read_bytes()).hexdigest()
    assert manifest.version == f"{FORMAT}-{manifest.sha256[:12]}"
    assert manifest.examples + manifest.blind_examples == len(examples(SEED, SHARE))
    assert {"blind.task.accuracy", "left_out.task.accuracy", "left_out.topic.recall"} <= set(manifest.metrics)


def test_the_shipped_model_was_fitted_on_the_corpus_beside_it() -> None:
    assert shipped().manifest.corpus == digest()


def test_the_shipped_model_has_a_column_for_every_word_that_it_may_answer() -> None:
    heads = shipped().manifest.heads
    assert set(heads["task"]) == {kind.value for kind in TaskKind}
    assert set(heads["intent"]) == {capability.value for capability in Capability}
    assert tuple(heads["objects"]) == OBJECTS
    assert tuple(heads["topics_short"]) == (*TOPICS, ANY)
    assert tuple(heads["topics_long"]) == TOPICS


def test_blind_examples_are_made_from_templates_that_are_never_trained_on() -> None:
    made = examples(SEED, 0.2)
    assert {example.group for example in made if example.blind}.isdisjoint(example.group for example in made if not example.blind)
    assert any(example.blind for example in made)


# Damage


def test_arrays_of_which_one_byte_was_changed_are_refused(copy: Path) -> None:
    packed = bytearray((copy / "ask.npz").read_bytes())
    packed[len(packed) // 2] ^= 1
    (copy / "ask.npz").write_bytes(packed)
    with pytest.raises(ArtefactAltered, match=r"ask\.npz"):
        load(directory=copy)


def rehashed(directory: Path) -> None:
    """Make the manifest's hash that of the arrays, as somebody would who changes both."""
    manifest = tomllib.loads((directory / "ask.toml").read_text())
    new = hashlib.sha256((directory / "ask.npz").read_bytes()).hexdigest()
    changed = (directory / "ask.toml").read_text().replace(manifest["sha256"], new)
    (directory / "ask.toml").write_text(changed)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_holds_no_arrays_is_refused_even_with_the_right_hash(copy: Path, content: bytes) -> None:
    (copy / "ask.npz").write_bytes(content)
    rehashed(copy)
    with pytest.raises(ArtefactAltered):
        load(directory=copy)


def test_pickled_objects_are_never_read(copy: Path) -> None:
    with np.load(copy / "ask.npz") as arrays:
        kept = {name: arrays[name] for name in arrays.files}
    np.savez(copy / "ask.npz", **{**kept, "bias": np.array([{"a": "dictionary"}], dtype=object)})
    rehashed(copy)
    with pytest.raises(ArtefactAltered):
        load(directory=copy)


@pytest.mark.parametrize("name", ["weights", "scale", "bias"])
def test_arrays_of_another_shape_are_refused(copy: Path, name: str) -> None:
    with np.load(copy / "ask.npz") as arrays:
        kept = {each: arrays[each] for each in arrays.files}
    np.savez(copy / "ask.npz", **{**kept, name: kept[name][:-1]})
    rehashed(copy)
    with pytest.raises(ArtefactAltered):
        load(directory=copy)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("format = 1", "format = 99", FormatUnsupported),
        ("seed = 7", "", ManifestInvalid),
        ("seed = 7", 'seed = "seven"', ManifestInvalid),
        ("seed = 7", "seed = 7\nodd = 1", ManifestInvalid),
        ("seed = 7", "seed = = 7", ManifestInvalid),
        ('sha256 = "', 'sha256 = "0', ArtefactAltered),
        ('"delegates" = ["delegates"]', '"delegates" = ["delegates", "more"]', ArtefactAltered),
    ],
)
def test_a_manifest_that_was_changed_is_refused(copy: Path, old: str, new: str, error: type[ArtefactError]) -> None:
    text = (copy / "ask.toml").read_text()
    assert old in text
    (copy / "ask.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(error):
        load(directory=copy)


@pytest.mark.parametrize("name", ["ask.npz", "ask.toml"])
def test_a_missing_file_is_named_with_what_writes_it(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ArtefactMissing, match="router train"):
        load(directory=copy)


def test_serving_loads_no_training_library() -> None:
    script = (
        "import json, sys, classifiers.assess as a; from routing_rules.sensitivity import SensitivityPolicy as P; a.Assessor(P(), b'k');"
        "print(json.dumps([m for m in ('sklearn', 'scipy', 'joblib', 'litellm', 'classifiers.training') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[3], capture_output=True)
    assert json.loads(done.stdout) == []
