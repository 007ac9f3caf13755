"""What the detectors compile to is kept beside the bytecode, and what is kept is never trusted blindly."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from classifiers.sensitivity.prefilter import HyperscanPrefilter, Watched

pytest.importorskip("hyperscan", reason="hyperscan has no wheel for this platform")

WATCHED = (Watched(0, "badger[0-9]"), Watched(1, "heron"))
TEXT = "a heron and badger7"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where bytecode goes."""
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    return tmp_path


def kept(place: Path) -> list[Path]:
    return sorted(place.rglob("*.hyperscan"))


def hits(*watched: Watched) -> list[int]:
    return sorted(HyperscanPrefilter(watched).hits(TEXT, TEXT.encode()))


def test_what_was_compiled_is_read_again(place: Path) -> None:
    assert hits(*WATCHED) == [0, 1]
    (file,) = kept(place)
    before = file.stat().st_mtime_ns
    assert hits(*WATCHED) == [0, 1]
    assert kept(place) == [file]
    assert file.stat().st_mtime_ns == before


def test_other_patterns_are_not_found_under_the_same_name(place: Path) -> None:
    hits(*WATCHED)
    assert hits(WATCHED[0], Watched(1, "otter")) == [0]
    assert len(kept(place)) == 2


def test_patterns_of_an_operator_are_compiled_together_with_the_others(place: Path) -> None:
    own = [Watched(number, f"own{number}_[a-z0-9]{{2,4}}", exact=False) for number in range(2, 5)]
    assert hits(*WATCHED, *own) == [0, 1]
    assert len(kept(place)) == 1
    assert sorted(HyperscanPrefilter([*WATCHED, *own]).hits("own3_ab", b"own3_ab")) == [3]


def test_one_that_the_engine_does_not_take_is_always_reported_and_the_others_are_looked_for(place: Path) -> None:
    watched = (*WATCHED, Watched(2, "(", exact=False), Watched(3, "otter", exact=False))
    assert hits(*watched) == [0, 1, 2]


@pytest.mark.parametrize("damage", [b"", b"no automaton", None])
def test_a_damaged_file_is_compiled_anew(place: Path, damage: bytes | None) -> None:
    hits(*WATCHED)
    (file,) = kept(place)
    whole = file.read_bytes()
    file.write_bytes(whole[:-8] if damage is None else damage)
    assert hits(*WATCHED) == [0, 1]
    assert file.read_bytes() == whole


def test_a_flipped_bit_is_seen(place: Path) -> None:
    hits(*WATCHED)
    (file,) = kept(place)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :])
    assert hits(*WATCHED) == [0, 1]


def test_only_the_newest_are_kept(place: Path) -> None:
    for number in range(7):
        hits(WATCHED[0], Watched(1, f"heron{number}?"))
    assert len(kept(place)) == 4


def test_nothing_is_written_where_python_writes_no_bytecode(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert hits(*WATCHED) == [0, 1]
    assert not kept(place)
