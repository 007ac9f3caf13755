"""The same invariants that the fuzzer tries to break, on inputs that Hypothesis makes up: a few, in every run of the suite."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.invariants import CHECKS

WORDS = st.sampled_from(
    [
        "4539 1488 0343 6467", "maria.keller@", "kundenwerk.de", "password: ", "%40", "%25", "%20", "&#64;", "&#x25;", "\\u0040", "**", "\r\n", "\n", " ",
        "\u200b", "\u202e", "\u202c", "\uff14\uff15", "\u0430", "\u0663", "bXkgY2FyZA", "QTQx", "==", "6d79206361726420", "one two three four five six seven",
        "BT (a) Tj ET", "<w:p>", "</w:p>", "<<", ">>",
    ]
)  # fmt: skip
INPUTS = st.binary(max_size=200) | st.lists(WORDS | st.text(max_size=6), max_size=12).map(
    lambda words: "".join(words).encode("utf-8", "surrogatepass")
)


@pytest.mark.parametrize("check", [name for name in CHECKS if name != "repeating"])
@settings(max_examples=60)
@given(data=INPUTS)
def test_no_input_breaks_what_must_hold(check: str, data: bytes) -> None:
    CHECKS[check](data)


@pytest.mark.hostile
@settings(max_examples=4)
@given(data=INPUTS)
def test_a_few_characters_over_and_over_are_read(data: bytes) -> None:
    CHECKS["repeating"](data)
