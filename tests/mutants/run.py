"""Proves the label rules: takes each away in a copy of the sources, and sees that its tests fail. `python -m tests.mutants.run [ID …]`.

Exit status 1 where a rule can be taken away unnoticed, or where its tests fail without that.
"""

from __future__ import annotations

import concurrent.futures
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.label_rules import LABEL_RULES, LabelRule

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("router", "routing_rules", "tests", "pyproject.toml")
LINKED = ("classifiers", "docs", "README.md")
"""What no rule is in: large, and compiled already."""

FAILED, NOTHING_RUN = 1, 5
SECONDS = 300


def copied(into: Path) -> Path:
    """A copy of the sources in which anything may be changed."""
    into.mkdir()
    for name in COPIED:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, into / name)
    for name in LINKED:
        (into / name).symlink_to(ROOT / name)
    return into


def tried(where: Path, tests: tuple[str, str]) -> tuple[int, str]:
    """Exit status of pytest on these tests in a copy, and its last words."""
    file, words = tests
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", file, "-k", words]
    environment = {**os.environ, "PYTHONPATH": str(where)}
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=SECONDS)
    return done.returncode, done.stdout[-2000:]


def proved(rule: LabelRule, copies: queue.Queue[Path]) -> str:
    """`killed`, or what is wrong."""
    where = copies.get()
    place = where / rule.file
    before = place.read_text()
    try:
        if before.count(rule.now) != 1:
            return f"its place is not in {rule.file} exactly once"
        place.write_text(before.replace(rule.now, rule.then))
        status, told = tried(where, rule.tests)
        if status == FAILED:
            return "killed"
        return (
            "no test of this name"
            if status == NOTHING_RUN
            else "SURVIVES"
            if status == 0
            else f"pytest ended with {status}: {told}"
        )
    finally:
        place.write_text(before)
        copies.put(where)


def tell(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(names: list[str]) -> int:
    """Prove all rules, or those that are named."""
    rules = [rule for rule in LABEL_RULES if not names or rule.id in names]
    workers = min(os.cpu_count() or 1, 4)
    copies: queue.Queue[Path] = queue.Queue()
    began, wrong = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as made, concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for number in range(workers):
            copies.put(copied(Path(made) / str(number)))
        for rule, outcome in zip(rules, pool.map(lambda rule: proved(rule, copies), rules), strict=True):
            wrong += outcome != "killed"
            tell(f"{rule.id:24} {outcome:10} {rule.says}")
        where = copies.get()
        whole = {
            file: " or ".join(f"({rule.tests[1]})" for rule in rules if rule.tests[0] == file)
            for file, _ in (r.tests for r in rules)
        }
        for file, words in whole.items():
            status, told = tried(where, (file, words))
            if status:
                wrong += 1
                tell(f"{file} fails although no rule was taken away:\n{told}")
    tell(f"{len(rules)} rules, {wrong} not proved, {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
