"""However a governed file is mangled, it loads or its faults are told; nothing else is raised."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing_rules.faults import Fault, RuleFaults
from routing_rules.load import FILES, load, shipped

FILES_AS_SHIPPED = shipped(date(2026, 11, 23))
SCRAPS = (
    "",
    "null",
    "[]",
    "{}",
    "- ",
    ": ",
    "x",
    "-1",
    "1e9",
    "0x1f",
    "9" * 5000,
    "2026-13-01",
    "&a",
    "*a",
    "!!python/object:os",
    "\t",
    "'",
    "{[",
    "é",
    "<<: {a: 1}",
)


def faults_of(files: dict[str, str]) -> tuple[Fault, ...] | None:
    """What is wrong with the files; None where they load."""
    try:
        load(files)
    except RuleFaults as raised:
        return raised.faults
    return None


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(FILES), st.data())
def test_a_mangled_file_loads_or_is_told(name: str, data: st.DataObject) -> None:
    lines = FILES_AS_SHIPPED[name].splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        words = lines[at].split(" ")
        words[data.draw(st.integers(0, len(words) - 1))] = data.draw(st.sampled_from(SCRAPS))
        lines[at] = " ".join(words)
    faults = faults_of({**FILES_AS_SHIPPED, name: "\n".join(lines)})
    assert faults is None or (faults and all(fault.message for fault in faults))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FILES), st.booleans(), st.data())
def test_a_mangled_overlay_or_part_loads_or_is_told(name: str, part: bool, data: st.DataObject) -> None:
    lines = FILES_AS_SHIPPED[name].splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = data.draw(st.sampled_from(SCRAPS))
    text = "\n".join(lines)
    stem = name.removesuffix(".yaml")
    if part:
        own = {name: f"include: {stem}/part.yaml\n{FILES_AS_SHIPPED[name]}", f"{stem}/part.yaml": text}
    else:
        own = {f"overlays/test/{name}": text}
    faults = faults_of({**FILES_AS_SHIPPED, **own})
    assert faults is None or (faults and all(fault.message for fault in faults))


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 100_000, "a: &x [*x]", "? [a]\n: b", "apps: &x\n  - *x", "\x00", "\ufeffapps: []"]
)
def test_hostile_yaml_is_told(text: str) -> None:
    faults = faults_of({**FILES_AS_SHIPPED, "apps.yaml": text})
    assert faults is None or faults
