"""How surely each kind of finding is found, as published: the one list by which a rule may order masking."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path

import msgspec

RECALLS = Path(__file__).parent / "fitted" / "recalls.toml"


class Recall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The share of the labelled values of a kind that a finding covers whole, its 95 % interval, of how many, and in which sets."""

    recall: float
    ci: tuple[float, float]
    n: int
    sets: tuple[str, ...]


def read_recalls(path: Path = RECALLS) -> dict[str, Recall]:
    """Kind of finding → what was measured of it. Raises OSError, tomllib.TOMLDecodeError, msgspec.ValidationError."""
    return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), dict[str, Recall])


@lru_cache(maxsize=1)
def published() -> dict[str, float]:
    """Kind of finding → recall, read once a process."""
    return {kind: measured.recall for kind, measured in read_recalls().items()}
