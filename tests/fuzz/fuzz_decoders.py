"""Looks for inputs that break what must hold, led by the code that each one reaches: `python -m tests.fuzz.fuzz_decoders CHECK`.

Not part of the suite: it needs atheris, and runs for as long as it is told to (options of libFuzzer follow the name of the check).
"""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from pathlib import Path

import atheris

os.environ["MEASURE_CPU"] = "1"  # read by what is imported below

# Instrumenting the readers of files takes long, and only those who read files are led by them.
_READERS = ["pypdf", "zipfile", "defusedxml"] if {"reading", "office", "pdf"} & set(sys.argv[1:2]) else []
with atheris.instrument_imports(include=["classifiers", *_READERS], enable_loader_override=False):
    import classifiers.sensitivity.pdf  # noqa: F401  # otherwise imported when the first PDF comes
    from tests.fuzz.invariants import CHECKS

_MEGABYTES = 1_500
_WORDS = (
    "my card is 4539 1488 ", "0343 6467", "maria.keller@", "kundenwerk.de", "DE12 5001 0517 ", "password: ", "token = ", "-----BEGIN PRIVATE KEY-----",
    "one two three four five six seven", "%40", "%25", "&#64;", "&#x40;", "\\u0040", "**", "\r\n", "\u200b", "\u202e", "\u202c", "\U000e0041", "４", "а", "٣", "ſ", "\u212a", "①", "–",
    "H4sI", "==", "IA==", "data:text/plain;base64,", "stream", "endstream", "endobj", "/FlateDecode", "/ASCIIHexDecode", "/Filter", "/Annots", "/AcroForm<</Fields[",
    "/Contents", "BT", "ET", "Tj", "TJ", "(", ")", "<<", ">>", "R", "<w:t>", "</w:t>", "<c t=\"s\"><v>", "<si><t>", "<!DOCTYPE", "<!ENTITY a", "&a;", "PK\x03\x04", "\udcff\udcff",
)  # fmt: skip


def _beginnings(folder: Path) -> None:
    """Inputs to begin with: words alone, together, and in codes."""
    for number, word in enumerate(_WORDS):
        raw = word.encode("utf-8", "surrogateescape")
        (folder / f"word{number}").write_bytes(raw)
        (folder / f"coded{number}").write_bytes(base64.b64encode(raw * 3) + b" " + (raw * 3).hex().encode())
    (folder / "together").write_bytes(" ".join(_WORDS).encode("utf-8", "surrogateescape"))


def _dictionary(path: Path) -> None:
    escaped = ("".join(f"\\x{byte:02x}" for byte in word.encode("utf-8", "surrogateescape")) for word in _WORDS)
    path.write_text("".join(f'"{word}"\n' for word in escaped))


def main() -> None:
    """Run one check until an input breaks it or the time is over."""
    if len(sys.argv) < 2 or sys.argv[1] not in CHECKS:
        raise SystemExit(f"name a check: {', '.join(CHECKS)}")
    check = CHECKS[sys.argv.pop(1)]
    with tempfile.TemporaryDirectory() as folder:
        beginnings, words = Path(folder, "beginnings"), Path(folder, "words")
        beginnings.mkdir()
        _beginnings(beginnings)
        _dictionary(words)
        options = ["-max_len=2000", f"-rss_limit_mb={_MEGABYTES}", "-timeout=20", f"-dict={words}"]
        atheris.Setup([sys.argv[0], *options, *sys.argv[1:], str(beginnings)], check)
        atheris.Fuzz()


main()
