"""Two people's edits of the same files brought together, line by line; where both changed the same lines, both stay to be looked at (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

from router.governance.rules_values import FileMerge, Merge

YOURS, MIDDLE, THEIRS = "<<<<<<< yours\n", "=======\n", ">>>>>>> theirs\n"


def merge(
    base: Mapping[str, str],
    theirs: Mapping[str, str],
    yours: Mapping[str, str],
    *,
    revisions: tuple[str, str],
    by: str | None = None,
    proposal: str | None = None,
) -> Merge:
    """What became of each file since `base` on either side. `revisions` are the names of base and theirs."""
    files = []
    for name in sorted({*base, *theirs, *yours}):
        merged = _file(name, base.get(name), theirs.get(name), yours.get(name))
        if merged.state != "same":
            files.append(merged)
    return Merge(*revisions, tuple(files), by, proposal)


def _file(name: str, base: str | None, theirs: str | None, yours: str | None) -> FileMerge:
    if theirs == yours:
        state, merged = "same" if theirs == base else "theirs", theirs
    elif yours == base:
        state, merged = "theirs", theirs
    elif theirs == base:
        state, merged = "yours", yours
    else:
        text, clean = merged_text(base or "", theirs or "", yours or "")
        state, merged = ("merged" if clean else "conflict"), text
    return FileMerge(name, state, base, theirs, yours, merged)


def merged_text(base: str, theirs: str, yours: str) -> tuple[str, bool]:
    """(a text with the changes of both, whether they nowhere touch the same lines); where they do, both stand between marks."""
    lines = [text.splitlines(keepends=True) for text in (base, theirs, yours)]
    origin, left, right = lines
    anchors = _anchors(origin, left, right)
    merged: list[str] = []
    clean = True
    a = b = c = 0
    for at, in_left, in_right in (*anchors, (len(origin), len(left), len(right))):
        was, mine, other = origin[a:at], right[c:in_right], left[b:in_left]
        if mine == other or other == was:
            merged += mine
        elif mine == was:
            merged += other
        else:
            merged += [YOURS, *_ended(mine), MIDDLE, *_ended(other), THEIRS]
            clean = False
        if at < len(origin):
            merged.append(origin[at])
        a, b, c = at + 1, in_left + 1, in_right + 1
    return "".join(merged), clean


def _anchors(origin: Sequence[str], left: Sequence[str], right: Sequence[str]) -> list[tuple[int, int, int]]:
    """The lines that all three have: (line of the origin, of the left, of the right)."""
    found = [
        {
            block.a + step: block.b + step
            for block in SequenceMatcher(None, origin, other, autojunk=False).get_matching_blocks()
            for step in range(block.size)
        }
        for other in (left, right)
    ]
    return [(at, found[0][at], found[1][at]) for at in sorted(found[0].keys() & found[1].keys())]


def _ended(lines: Sequence[str]) -> list[str]:
    """The lines, the last of them with an end."""
    return [line if line.endswith("\n") else f"{line}\n" for line in lines]
