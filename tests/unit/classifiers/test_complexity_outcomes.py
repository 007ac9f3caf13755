"""Complexity is learnt from labelled outcomes: prompts that overlap stay together, the same data gives the same weights."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from classifiers.artefacts import Fitted, load, shipped_complexity
from classifiers.ask.complexity import TARGETS, ComplexityModel, probability
from classifiers.ask.features import measured, switched_on, words
from classifiers.ask.structure import COUNTS, counted
from classifiers.evaluation.deferral import Outcomes, apgr, cpt, recovered
from classifiers.evaluation.perturb import KINDS
from classifiers.evaluation.routing import measure, steadiness
from classifiers.training.outcomes import Collection, families, folds_of, read
from classifiers.training.train import train as train_on_corpus

EASY = "Please write the word {a} and then the word {b} in capital letters for the sign at our door number {n}."
HARD = "Suppose that {n} = {a} + {b}^2 where each {a} must exceed {b}; prove that exactly {n} such pairs exist, unless {b} is less than {n}."
NOUNS = "apple river stone cloud garden window copper violin harbour candle meadow rocket pepper anchor".split()


def rows(seed: int, number: int) -> list[dict[str, object]]:
    dice = random.Random(seed)
    made: list[dict[str, object]] = []
    for index in range(number):
        hard = index % 2 == 0
        a, b = dice.sample(NOUNS, 2)
        prompt = (HARD if hard else EASY).format(a=a, b=b, n=dice.randrange(10_000))
        made.append({"prompt": prompt, "weak": float(not hard), "strong": 1.0, "weak_model": "small", "license": "MIT"})
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "routing"
    folder.mkdir()
    for seed, name in enumerate(("routellm_mmlu", "ze_math_l5", "ze_gsm", "another")):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows(seed, 80))
    (folder / "unlabelled.jsonl").write_text('{"prompt": "hello"}\n')
    return folder.parent


def test_apgr_is_the_area_that_a_score_recovers_and_chance_is_half() -> None:
    outcomes = Outcomes(np.array([0.0, 1.0, 0.0, 1.0]), np.ones(4))

    assert apgr(np.array([2.0, 1.0, 2.0, 1.0]), outcomes) == pytest.approx(0.75)
    assert apgr(np.array([1.0, 2.0, 1.0, 2.0]), outcomes) == pytest.approx(0.25)
    assert apgr(np.zeros(4), outcomes) == pytest.approx(0.5)
    assert np.isnan(apgr(np.zeros(4), Outcomes(np.ones(4), np.ones(4))))


def test_cpt_is_the_least_share_of_calls_that_recovers_enough() -> None:
    outcomes = Outcomes(np.array([0.0, 1.0, 0.0, 1.0, 1.0]), np.ones(5))

    assert cpt(np.array([5.0, 3.0, 4.0, 2.0, 1.0]), outcomes) == pytest.approx(40.0)
    assert cpt(np.zeros(5), outcomes) == pytest.approx(80.0)
    assert cpt(np.array([5.0, 3.0, 4.0, 2.0, 1.0]), outcomes, of_gap=0.5) == pytest.approx(20.0)


def test_prompts_of_one_score_count_as_sent_in_random_order() -> None:
    outcomes = Outcomes(np.array([0.0, 1.0]), np.ones(2))

    assert recovered(np.zeros(2), outcomes).tolist() == [0.0, 0.25, 0.5]


def test_prompts_that_share_thirteen_words_are_one_family_through_others_too() -> None:
    one = " ".join(f"w{number}" for number in range(13))
    two = " ".join(f"v{number}" for number in range(13))

    found = families([f"{one} first", "something else entirely", f"so {one} and {two}", f"{two}!", one.upper()])

    assert found.tolist() == [0, 1, 0, 0, 0]
    assert len(set(folds_of(found)[[0, 2, 3, 4]].tolist())) == 1


def test_an_instruction_around_many_prompts_makes_no_family_of_them() -> None:
    framing = " ".join(f"w{number}" for number in range(20))

    assert len(set(families([f"{framing} case {number}" for number in range(30)]).tolist())) == 30


def test_served_scores_are_those_that_were_fitted(data: Path) -> None:
    collection = Collection(read(data))
    every = np.arange(len(collection.prompts))
    kept, scale, models = collection.learn(every, every[:0])
    weights = np.stack([models[target][0] for target in TARGETS], axis=1).astype(np.float32)
    bias = np.array([models[target][1] for target in TARGETS], dtype=np.float32)
    manifest = shipped_complexity().manifest
    served = Fitted(manifest, [collection.texts.keys[place] for place in kept], weights, scale.astype(np.float32), bias)

    for target, logits in collection.scores(every, (kept, scale, models)).items():
        model = ComplexityModel(served, target)
        for row in range(0, len(every), 7):
            assert model.score(collection.prompts[row]) == pytest.approx(probability(logits[row]), abs=1e-5)


def test_the_same_outcomes_give_the_same_weights_in_another_process(data: Path) -> None:
    script = (
        "import sys, hashlib, numpy as np; from pathlib import Path; from classifiers.training.outcomes import Collection, read;"
        "c = Collection(read(Path(sys.argv[1]))); k, s, m = c.learn(np.arange(len(c.prompts)), np.arange(0));"
        "print(hashlib.sha256(s.tobytes() + b''.join(w.tobytes() for w, _ in m.values())).hexdigest(), c.family.tolist()[:40])"
    )
    root = Path(__file__).parents[3]
    told = {
        subprocess.run(
            [sys.executable, "-c", script, str(data)],
            check=True,
            cwd=root,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "4711")
    }
    assert len(told) == 1


@pytest.mark.parametrize("line", ['{"prompt": "x", "weak": 1}', '{"prompt": "x", "weak": 2.0, "strong": 1.0}', "weak"])
def test_a_line_that_is_no_outcome_is_named_by_file_and_number(tmp_path: Path, line: str) -> None:
    (tmp_path / "own.jsonl").write_text('{"prompt": "x", "weak": 0, "strong": 1}\n' + line + "\n")

    with pytest.raises(ValueError, match=r"own\.jsonl, line 2"):
        read(tmp_path)


def test_a_folder_without_outcomes_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file of labelled outcomes"):
        read(tmp_path)


def test_the_shipped_weights_name_the_sets_that_they_were_fitted_on() -> None:
    manifest = shipped_complexity().manifest

    assert {"routellm_mmlu", "ze_math_l5", "ze_crux", "ze_gsm"} <= set(manifest.sources)
    assert all(len(source.sha256) == 64 and source.licence and source.rows for source in manifest.sources.values())
    assert tuple(manifest.heads) == TARGETS


def test_every_mark_is_measured_with_its_baseline_and_a_missing_set_holds_nothing(data: Path) -> None:
    marks = {mark.name: mark for mark in measure(data)}

    mmlu = marks["APGR: MMLU in domain (strong minus weak)"]
    assert (mmlu.n, mmlu.mark, mmlu.holds) == (80, ">= 0.65", True)
    assert all("prompt length" in mark.beside for name, mark in marks.items() if name.startswith(("APGR", "CPT80")))
    assert marks["APGR: ze mix in domain (fast fails)"].n == 160
    assert marks["CPT80 %: ze mix in domain (fast fails)"].mark == "<= 44"
    assert marks["routes stable under light perturbation"].mark == ">= 0.95"


def test_without_the_sets_of_a_mark_it_does_not_hold(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(1, 40)))

    marks = {mark.name: mark for mark in measure(tmp_path)}

    assert (marks["APGR: MMLU in domain (strong minus weak)"].n, marks["APGR: MMLU in domain (strong minus weak)"].holds) == (
        0,
        False,
    )


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_perturbation_is_light_and_the_same_every_time(kind: str) -> None:
    text = HARD.format(a="apple", b="river", n=12)

    once, again = (KINDS[kind](text, random.Random(3)) for _ in range(2))

    assert once == again
    assert abs(len(once) - len(text)) < 90
    assert len(set(words(text)) - set(words(once))) <= 3
    assert KINDS[kind]("", random.Random(3)) is not None


def test_steadiness_of_no_prompts_is_no_figure() -> None:
    assert steadiness([])[0].n == 0


def test_what_a_problem_is_made_of_is_counted() -> None:
    text = "Which holds?\n(A) $x^2 = 4$\n(B) if each is 3, then 5\n(C) \\frac{1}{2}\n(D) none"

    found = set(switched_on(COUNTS, counted(text, words(text), measured(text, words(text)))))

    assert {"#options>3", "#numbers>3", "#conditions>2", "#formulas>1", "#commands>0", "#lines>3"} <= found
    assert not {"#options>4", "#code>0"} & found


def test_a_run_on_the_corpus_alone_leaves_complexity_as_it_is(tmp_path: Path) -> None:
    for name in ("complexity.npz", "complexity.toml"):
        (tmp_path / name).write_text("as it was")

    train_on_corpus(tmp_path, share=0.02)

    assert {path.name for path in tmp_path.iterdir()} == {"ask.npz", "ask.toml", "complexity.npz", "complexity.toml"}
    assert {(tmp_path / name).read_text() for name in ("complexity.npz", "complexity.toml")} == {"as it was"}
    assert not set(TARGETS) & set(load(directory=tmp_path).manifest.heads)
