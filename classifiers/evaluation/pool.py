"""Harmless texts, on which a detector should find nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

CORPUS = Path(__file__).parent.parent / "corpus"


def pool_of(path: Path | None = None) -> list[str]:
    """The texts of a file (a line each, or JSON lines with `text`), or without one the harmless part of our corpus.

    Raises ValueError for a file that holds none or cannot be read.
    """
    files = sorted(CORPUS.glob("*.jsonl")) if path is None else [path]
    try:
        texts = [text for file in files for text in _texts(file.read_text(encoding="utf-8"))]
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise ValueError(f"the pool cannot be read: {error}") from None
    if not texts:
        raise ValueError("the pool holds no text")
    return texts


def _texts(content: str) -> Iterator[str]:
    for line in content.splitlines():
        if not line.strip():
            continue
        if not line.startswith("{"):
            yield line
            continue
        row = msgspec.json.decode(line)
        if isinstance(row.get("text"), str) and not row.get("sensitive"):
            yield row["text"]
