"""Two readings of prompts of others: the labels are in the corpus by the hash of a text, the texts are wherever the data is."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import msgspec

LABELS = Path(__file__).parents[1] / "corpus" / "labels"
_PLACES = ("", "sensitivity", "routing")  # the data may be one set, or the folder above its kinds

Entries = list[tuple[int, dict[str, Any]]]


def found(data: Path) -> dict[str, Entries]:
    """By reader, the prompts that are in `data`, numbered, with their text and the reader's labels; empty where none is there.

    Every reader has the same prompts in the same order.
    """
    readings = {path.stem.removeprefix("reader-"): _by_hash(path) for path in sorted(LABELS.glob("reader-*.jsonl"))}
    names = {row["set"] for rows in readings.values() for row in rows.values()}
    paths = [data / place / f"{name}.jsonl.gz" for place in _PLACES for name in sorted(names)]
    texts: dict[str, str] = {}
    for path in paths:
        if path.is_file():
            with gzip.open(path) as lines:
                for line in lines:
                    row = msgspec.json.decode(line)
                    text = row["text"] if "text" in row else row.get("prompt", "")
                    texts[hashlib.sha256(text.encode()).hexdigest()] = text
    common = sorted(set(texts).intersection(*readings.values())) if readings else []
    if not common:
        return {}
    return {
        reader: [(number, {**rows[digest], "text": texts[digest]}) for number, digest in enumerate(common, 1)]
        for reader, rows in readings.items()
    }


def _by_hash(path: Path) -> dict[str, dict[str, Any]]:
    return {row["sha256"]: row for row in map(msgspec.json.decode, path.read_bytes().splitlines())}
